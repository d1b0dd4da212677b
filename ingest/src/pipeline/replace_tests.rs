//! What a running pipeline is told from outside, on the client library's mock cluster: another program, and that its partitions go.

use std::collections::BTreeMap;

use super::tests::*;
use super::*;
use crate::tasks::{Call, ReplySender};

/// Keeps calls as [`Held`] does where the state says so, and answers every other one with the name of its state.
struct NamesStates(Arc<Held>);

impl Integrations for NamesStates {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        let (mut held, named) = calls.drain(..).partition(|call| &*call.state == "Wait");
        self.0.submit(&mut held, replies);
        let named: Vec<Call> = named;
        for call in named {
            replies.send(crate::tasks::Reply { id: call.id, result: Ok(format!("\"{}\"", call.state).into_bytes()) });
        }
    }
}

#[test]
fn open_executions_end_under_their_program_when_another_one_comes() {
    let waits = r#"{"StartAt":"Wait","States":{"Wait":{"Type":"Task","Resource":"native:held","Next":"Early"},
        "Early":{"Type":"Task","Resource":"native:x","Retry":[{"ErrorEquals":["States.ALL"]}],"End":true}}}"#;
    let passes = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Result":"late","End":true}}}"#;
    let fails = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"Late"}}}"#;
    let cluster = Cluster::new();
    let (mut settings, acknowledged) = cluster.settings("replaced");
    (settings.result_headers, settings.on_failure) = (ResultHeaders::Full, OnFailure::DeadLetter);
    let (first, second, third) = (program(waits), program(passes), program(fails));
    let held = Held::new();
    let pipeline = Pipeline::start(settings, Arc::clone(&first), Arc::new(NamesStates(Arc::clone(&held)))).unwrap();
    cluster.fill(0, 40);
    await_that("all of them wait", || pipeline.counters().executions_open == 40);
    assert!(pipeline.replace(&second));
    cluster.fill(40, 4);
    await_acks(&acknowledged, 4);
    held.release();
    await_acks(&acknowledged, 40);
    assert!(pipeline.replace(&third));
    cluster.fill(44, 4);
    await_acks(&acknowledged, 4);
    // A version that comes back is a version like any other, and slots are free of the programs before.
    assert!(pipeline.replace(&first));
    cluster.fill(48, 40);
    await_acks(&acknowledged, 40);
    let report = finish(&pipeline);
    assert_eq!((report.counters.panics, report.counters.executions_succeeded, report.counters.executions_failed), (0, 84, 4));

    let mut ended: BTreeMap<(String, String), u32> = BTreeMap::new();
    for result in cluster.read_all(RESULTS) {
        *ended.entry((result.headers["expressway-version"].clone(), text(result.value.as_deref()))).or_default() += 1;
    }
    let expected = [((first.version(), "\"Early\""), 80), ((second.version(), "\"late\""), 4)];
    assert_eq!(ended, expected.map(|((version, value), count)| ((version.to_owned(), value.to_owned()), count)).into());
    let letters = cluster.read_all(DEAD);
    assert_eq!(letters.len(), 4);
    assert!(letters.iter().all(|letter| letter.headers["expressway-version"] == third.version()));
}

#[test]
fn a_rebalance_that_drains_makes_unready_until_it_is_over() {
    let cluster = Cluster::new();
    cluster.send(&(0..4).map(|seq| (seq, Some(CALLS.into()))).collect::<Vec<_>>());
    let (program, held) = (program(MAY_CALL), Held::new());
    let start = || {
        let (mut settings, acknowledged) = cluster.settings_to_join_again("draining");
        let options = [("partition.assignment.strategy", "range"), ("max.poll.interval.ms", "40000")];
        settings.client_options.extend(options.map(|(key, value)| (key.to_owned(), value.to_owned())));
        settings.drain_timeout = Duration::from_secs(30);
        (Pipeline::start(settings, Arc::clone(&program), Arc::clone(&held) as Arc<dyn Integrations>).unwrap(), acknowledged)
    };
    let (first, _first_acks) = start();
    await_that("all of them wait", || first.counters().executions_open == 4 && first.readiness() == Readiness::Ready);
    let (second, _second_acks) = start();
    let draining = |readiness| matches!(readiness, Readiness::NotReady(reasons) if reasons.iter().any(|reason| reason == "partitions are draining"));
    await_that("it says that it drains", || draining(first.readiness()));
    held.release();
    await_that("it is over", || first.readiness() == Readiness::Ready && second.readiness() == Readiness::Ready);
    await_that("what was waited for is committed", || cluster.committed("draining") == vec![1; 4]);
    finish(&second);
    finish(&first);
}
