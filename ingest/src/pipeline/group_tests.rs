//! The group's life against the mock cluster: standstills, replaced clients, lost assignments, drains that are cut short, odd deliveries. Each of these traps loses records, or stops them, when its guard is taken out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::tests::{
    Cluster, PARTITIONS, PATIENCE, RESULTS, SOURCE, await_acks, await_distinct, await_that, distinct, finish, identity, program, rebalance, splice,
};
use super::*;
use crate::kafka::Rebalancer as _;
use crate::tasks::NoIntegrations;

/// One record in each partition that waits for five minutes.
fn send_waits(cluster: &Cluster) {
    cluster.send(&(0..i64::from(PARTITIONS)).map(|seq| (seq, Some(br#"{"wait":300}"#.to_vec()))).collect::<Vec<_>>());
}

const WAITS: &str = r#"{"StartAt":"C","States":{
    "C":{"Type":"Choice","Choices":[{"Variable":"$.wait","IsPresent":true,"Next":"W"}],"Default":"S"},
    "W":{"Type":"Wait","SecondsPath":"$.wait","Next":"S"},"S":{"Type":"Succeed"}}}"#;

fn waiting(settings: Settings) -> Pipeline {
    Pipeline::start(settings, program(WAITS), Arc::new(NoIntegrations)).unwrap()
}

fn all_partitions() -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(SOURCE, 0, PARTITIONS - 1);
    list
}

#[test]
fn a_partition_that_stands_still_gets_a_new_client() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings_to_join_again("standing");
    let pipeline = splice(Settings { stuck_timeout: Duration::from_secs(2), ..settings });
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 400);
    // The client stops fetching, and nobody of us has told it to.
    pipeline.coordinator.consumer().expect("a client").pause(&all_partitions()).unwrap();
    cluster.fill(400, 400);
    await_that(
        "it is told",
        || matches!(pipeline.readiness(), Readiness::NotReady(reasons) if reasons.iter().any(|reason| reason.contains("made anew") || reason.contains("delivered no record"))),
    );
    await_distinct(&acknowledged, &mut done, 400);
    await_that("the pipeline is ready again", || pipeline.readiness() == Readiness::Ready);
    let report = finish(&pipeline);
    assert_eq!((report.counters.client_replacements, report.counters.records_acknowledged), (1, 800), "drained and committed: nothing runs twice");
    assert_eq!(cluster.committed("standing"), vec![200; 4]);
}

/// What a queue forwarded at the first assignment only comes to: fetched, and nobody gets it. The client itself sees nothing wrong.
#[test]
fn records_that_reach_no_shard_are_a_standstill() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings_to_join_again("nowhere");
    let pipeline = splice(Settings { stuck_timeout: Duration::from_secs(2), ..settings });
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 400);
    drop(pipeline.coordinator.consumer().expect("a client").split_partition_queue(SOURCE, 2).expect("a queue"));
    cluster.fill(400, 400);
    await_distinct(&acknowledged, &mut done, 400);
    let report = finish(&pipeline);
    assert_eq!((report.counters.client_replacements, report.counters.records_acknowledged), (1, 800));
    assert_eq!(cluster.committed("nowhere"), vec![200; 4]);
}

#[test]
fn a_standstill_that_a_new_client_does_not_mend_ends_the_pipeline() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    cluster.mock().request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; 10_000]);
    let (settings, acknowledged) = cluster.settings_to_join_again("stuck");
    let pipeline = splice(Settings { stuck_timeout: Duration::from_secs(2), ..settings });
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Stuck { partitions, .. } if partitions.contains(SOURCE)), "{error}");
    assert!(!error.is_configuration());
    assert_eq!(pipeline.counters().client_replacements, 1);
    assert!(acknowledged.is_empty());
    assert!(matches!(pipeline.readiness(), Readiness::NotReady(_)));
}

#[test]
fn executions_that_wait_and_full_shards_are_no_standstill() {
    let cluster = Cluster::new();
    send_waits(&cluster);
    cluster.fill(4, 400);
    let (settings, acknowledged) = cluster.settings("busy");
    // One slot for each waiting execution and none for any other record: nothing can be taken, and nothing is wrong.
    let settings = Settings { stuck_timeout: Duration::from_secs(1), shards: 1, executions_open_max: 4, drain_timeout: Duration::from_secs(1), ..settings };
    let pipeline = waiting(settings);
    await_that("all slots wait", || pipeline.counters().executions_open == 4);
    let asked_ns =
        || pipeline.coordinator.placed().iter().map(|placed| placed.progress.sight((0, 0), 0, 0).end.map_or(0, |(_, at_ns)| at_ns)).min().unwrap_or(0);
    let begun_ns = asked_ns();
    await_that("it has been looked at for longer than is allowed", || asked_ns() > begun_ns + 3_000_000_000);
    assert_eq!(pipeline.counters().client_replacements, 0);
    drop(acknowledged);
    finish(&pipeline);
}

#[test]
fn a_lost_partition_is_dropped_at_once_and_not_committed() {
    let cluster = Cluster::new();
    send_waits(&cluster);
    cluster.fill(4, 400);
    let (settings, acknowledged) = cluster.settings_to_join_again("lost");
    let pipeline = waiting(settings);
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 400);
    let before = pipeline.counters();
    // The group does not know the member any more, as after a session that ran out.
    cluster.mock().request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    await_that("the waiting executions are given up", || pipeline.counters().executions_abandoned == 4);
    await_that("the partitions come back", || pipeline.assigned().len() == 4);
    await_that("what was open runs again", || pipeline.counters().executions_open == 4);
    // A revoked partition would have been waited for until the drain's deadline.
    assert_eq!((before.drains_cut_short, pipeline.counters().drains_cut_short), (0, 0));
    assert!(cluster.committed("lost").iter().all(|offset| *offset <= 0), "nothing above the waiting records");
    finish(&pipeline);
}

/// A revocation that waits for executions which do not end: given back at the deadline, uncommitted, and run by the next one; the member stays in the group.
fn cut_short(group: &str, strategy: &str) {
    let cluster = Cluster::new();
    send_waits(&cluster);
    let (mut settings, _acknowledged) = cluster.settings_to_join_again(group);
    settings.client_options.push(("partition.assignment.strategy".to_owned(), strategy.to_owned()));
    let settings = Settings { drain_timeout: Duration::from_secs(1), ..settings };
    let first = waiting(settings.clone());
    await_that("all of them wait", || first.counters().executions_open == 4);
    let second = waiting(settings);
    await_that("both have partitions", || first.assigned().len() == 2 && second.assigned().len() == 2);
    await_that("each runs what is its own", || first.counters().executions_open == 2 && second.counters().executions_open == 2);
    // The group may take more than one round to come to rest, and an eager one revokes everything in each.
    assert!(first.counters().drains_cut_short >= 1);
    assert!(first.counters().executions_abandoned >= 2);
    assert!(first.failed().is_none() && second.failed().is_none());
    finish(&second);
    finish(&first);
    assert!(cluster.committed(group).iter().all(|offset| *offset <= 0), "nothing was finished");
    assert!(cluster.read_all(RESULTS).is_empty());
}

#[test]
fn a_cooperative_drain_past_its_deadline_gives_back_uncommitted() {
    cut_short("cut-cooperative", "cooperative-sticky");
}

#[test]
fn an_eager_drain_past_its_deadline_gives_back_uncommitted() {
    cut_short("cut-eager", "range");
}

#[test]
fn round_robin_members_come_and_go_without_loss() {
    rebalance("round-robin", "roundrobin");
}

/// Cooperative protocols announce changes that change nothing.
#[test]
fn an_empty_list_changes_nothing() {
    let cluster = Cluster::new();
    let (settings, _acknowledged) = cluster.settings("empty");
    let pipeline = splice(settings);
    await_that("all partitions are assigned", || pipeline.assigned().len() == 4);
    let before = pipeline.counters().rebalances;
    let (coordinator, consumer) = (Arc::clone(&pipeline.coordinator), pipeline.coordinator.consumer().expect("a client"));
    coordinator.assign(&consumer, &mut TopicPartitionList::new());
    coordinator.revoke(&consumer, &TopicPartitionList::new(), false);
    assert_eq!((pipeline.counters().rebalances, pipeline.assigned().len()), (before, 4));
    drop((coordinator, consumer));
    finish(&pipeline);
}

#[test]
fn a_position_that_goes_back_runs_again_and_commits_nothing_too_high() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings("seek");
    let pipeline = splice(settings);
    await_acks(&acknowledged, 400);
    await_that("all is committed", || cluster.committed("seek") == vec![100; 4]);
    pipeline.coordinator.consumer().expect("a client").seek(SOURCE, 1, Offset::Offset(40), PATIENCE).unwrap();
    cluster.fill(400, 400);
    // Sixty again, from 40 on, and the new ones; before anything else of that partition.
    let again: Vec<_> = await_acks(&acknowledged, 460).into_iter().filter(|ack| ack.partition == 1).map(|ack| ack.offset).collect();
    assert_eq!(again.iter().copied().collect::<BTreeSet<_>>(), (40..200).collect());
    let report = finish(&pipeline);
    assert_eq!((report.counters.rewinds, report.counters.records_read), (1, 860));
    assert_eq!(cluster.committed("seek"), vec![200; 4]);
}

#[test]
fn an_error_in_place_of_a_record_is_counted_and_the_partition_goes_on() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings("errors");
    let pipeline = splice(settings);
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 400);
    cluster.mock().topic_error(SOURCE, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    cluster.mock().request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1]);
    await_that("an error has come", || pipeline.counters().client_errors > 0);
    cluster.mock().topic_error(SOURCE, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    cluster.fill(400, 400);
    await_distinct(&acknowledged, &mut done, 400);
    finish(&pipeline);
    assert_eq!(cluster.committed("errors"), vec![200; 4]);
}

#[test]
fn a_record_past_the_shards_stops_the_pipeline() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings("stray");
    let pipeline = splice(settings);
    await_acks(&acknowledged, 400);
    await_that("all is committed", || cluster.committed("stray") == vec![100; 4]);
    // What a forward too late, or none, comes to: the partition's records go to the consumer's own queue.
    pipeline.coordinator.queue(0).forward_past(SOURCE, 2);
    cluster.fill(400, 400);
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::StrayRecord { partition: 2, offset: 100.., .. }), "{error}");
    assert_eq!(cluster.committed("stray")[2], 100, "nothing of the partition is committed past it");
}

/// Their records come again: sent all the same, they would appear twice.
#[test]
fn results_that_wait_to_be_sent_are_forgotten_when_the_position_goes_back() {
    let cluster = Cluster::new();
    cluster.send(&(0..100).map(|_| (1, Some(b"{}".to_vec()))).collect::<Vec<_>>());
    cluster.answer_late(RDKafkaApiKey::Produce, [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR].iter(), Duration::from_secs(10));
    let (settings, acknowledged) = cluster.settings("forgotten");
    // So that the first result goes alone.
    let pipeline = splice(Settings { batch_records_max: 1, ..settings });
    await_that("the others wait behind the first one", || pipeline.counters().executions_started == 100);
    pipeline.coordinator.consumer().expect("a client").seek(SOURCE, 1, Offset::Offset(40), PATIENCE).unwrap();
    await_that("they are run again", || pipeline.counters().executions_started == 160);
    let in_time = acknowledged.is_empty();
    await_that("all is committed", || cluster.committed("forgotten")[1] == 100);
    finish(&pipeline);
    let results = cluster.read_all(RESULTS).len();
    // On a machine that stood still for ten seconds the first ones had left before.
    assert!(results == 100 || !in_time && results > 100, "{results} results");
}

#[test]
fn a_start_waits_for_its_broker() {
    let cluster = Cluster::new();
    cluster.fill(0, 40);
    let (settings, acknowledged) = cluster.settings("patient");
    cluster.mock().broker_down(1).unwrap();
    let starting = std::thread::spawn(move || splice(settings));
    // Nothing can be told from outside, so this only makes it likely that the first question goes unanswered; either way it must start.
    std::thread::park_timeout(Duration::from_millis(100));
    assert!(!starting.is_finished(), "there is nobody to answer");
    cluster.mock().broker_up(1).unwrap();
    let pipeline = starting.join().unwrap();
    assert_eq!(distinct(&await_acks(&acknowledged, 40)).len(), 40);
    finish(&pipeline);
}

#[test]
fn members_of_the_new_protocol_come_and_go_without_loss() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings("new-protocol");
    // session.timeout.ms and heartbeat.interval.ms are among the options: dropped, or there would be no client.
    let settings = Settings { group_protocol: GroupProtocol::Auto, ..settings };
    let pipeline = splice(settings);
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 400);
    finish(&pipeline);
    assert_eq!(cluster.committed("new-protocol"), vec![100; 4]);
}

/// The client itself would send the refused commit again as it was, behind those that came after it.
#[test]
fn a_commit_that_is_refused_for_its_epoch_takes_nothing_back() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (mut settings, acknowledged) = cluster.settings("stale");
    const INTERVAL_MS: u64 = 500;
    settings.client_options.push(("auto.commit.interval.ms".to_owned(), INTERVAL_MS.to_string()));
    cluster.answer_late(RDKafkaApiKey::OffsetCommit, [RDKafkaRespErr::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH].iter(), Duration::from_millis(INTERVAL_MS * 3 / 2));
    let pipeline = splice(Settings { group_protocol: GroupProtocol::Consumer, ..settings });
    let (mut done, highest) = (BTreeSet::new(), std::cell::RefCell::new(vec![-1; 4]));
    let stands_at = |mark: i64| {
        let committed = cluster.committed("stale");
        assert!(committed.iter().zip(&*highest.borrow()).all(|(now, before)| now >= before), "{committed:?} after {highest:?}");
        *highest.borrow_mut() = committed;
        *highest.borrow() == vec![mark; 4]
    };
    await_distinct(&acknowledged, &mut done, 400);
    for (from, mark) in [(400, 200), (800, 300)] {
        cluster.fill(from, 400);
        await_distinct(&acknowledged, &mut done, 400);
        await_that("it is committed", || stands_at(mark));
    }
    let report = finish(&pipeline);
    assert_eq!((report.counters.commit_errors, report.counters.records_acknowledged), (0, 1_200));
}

#[test]
fn a_group_whose_name_is_refused_ends_the_pipeline() {
    let cluster = Cluster::new();
    let (settings, _acknowledged) = cluster.settings("refused-group");
    cluster.mock().request_errors(RDKafkaApiKey::FindCoordinator, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1_000]);
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Splice::new(1)).unwrap();
    assert!(matches!(pipeline.join(PATIENCE), Err(Error::Fatal { client: "consumer", .. })));
}
