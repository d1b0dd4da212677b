//! Transactional delivery against the client library's mock cluster, which knows the calls and their errors but neither hides a record from readers nor keeps an offset: what readers see, and what is committed, is tested on a real broker.

use crossbeam::channel::Receiver;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::tests::{CALLS, Cluster, DEAD, Held, MAY_CALL, PATIENCE, RESULTS, await_acks, await_that, distinct, finish, program, splice};
use super::*;
use crate::tasks::NoIntegrations;

/// Settings of a pipeline that commits what it acknowledges in transactions.
fn transactional(cluster: &Cluster, group: &str) -> (Settings, Receiver<Vec<Acknowledged>>) {
    let (settings, acknowledged) = cluster.settings(group);
    (Settings { delivery: Delivery::Transactional, transaction_interval: Duration::from_millis(20), ..settings }, acknowledged)
}

/// The positions of everything in the result topic, in the order of the topic.
fn sources(cluster: &Cluster) -> Vec<String> {
    cluster.read_all(RESULTS).into_iter().map(|result| result.headers["expressway-source"].clone()).collect()
}

#[test]
fn every_record_is_committed_with_its_result() {
    let cluster = Cluster::new();
    cluster.fill(0, 4_000);
    let (settings, acknowledged) = transactional(&cluster, "transacted");
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 4_000);
    assert_eq!(distinct(&acks).len(), 4_000);
    let report = finish(&pipeline);
    assert!(report.counters.transactions_committed > 0 && report.counters.transactions_aborted == 0, "{:?}", report.counters);
    assert_eq!((report.counters.records_acknowledged, report.counters.store_errors, report.counters.records_open), (4_000, 0, 0));
    let sources = sources(&cluster);
    assert_eq!((sources.len(), sources.iter().collect::<std::collections::BTreeSet<_>>().len()), (4_000, 4_000));
}

#[test]
fn only_what_lies_below_the_mark_is_produced() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(CALLS.into()))]);
    cluster.fill(0, 400);
    let (settings, acknowledged) = transactional(&cluster, "below");
    let held = Held::new();
    let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    let early = await_acks(&acknowledged, 300);
    assert!(early.iter().all(|ack| ack.partition != 0), "partition 0 waits for its first record");
    assert!(!sources(&cluster).iter().any(|source| source.starts_with("heartbeats/0/")));
    held.release();
    await_acks(&acknowledged, 101);
    let of_first: Vec<_> = sources(&cluster).into_iter().filter(|source| source.starts_with("heartbeats/0/")).collect();
    assert_eq!(of_first, (0..101).map(|offset| format!("heartbeats/0/{offset}")).collect::<Vec<_>>(), "in the order of their offsets");
    finish(&pipeline);
}

#[test]
fn what_a_transaction_held_goes_again_when_it_is_aborted() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    // The group does not take the offsets of the first two transactions.
    cluster.mock().request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION; 2]);
    let (settings, acknowledged) = transactional(&cluster, "aborted");
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 400);
    assert_eq!((acks.len(), distinct(&acks).len()), (400, 400), "each is told once");
    let report = finish(&pipeline);
    assert_eq!(report.counters.transactions_aborted, 2, "{:?}", report.counters);
    assert_eq!(report.counters.executions_started, 400, "no record runs again");
}

#[test]
fn a_result_that_is_refused_becomes_a_dead_letter_in_a_later_transaction() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(b"{}".to_vec())), (0, None)]);
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 1]);
    let (mut settings, acknowledged) = transactional(&cluster, "refused-in-transaction");
    settings.on_null = OnNull::Skip;
    let pipeline = splice(settings);
    let mut acks = await_acks(&acknowledged, 2);
    cluster.send(&[(0, Some(b"{}".to_vec()))]);
    acks.extend(await_acks(&acknowledged, 1));
    acks.sort_by_key(|ack| ack.offset);
    assert_eq!(acks.iter().map(|ack| ack.class).collect::<Vec<_>>(), [Class::DeadLettered, Class::Skipped, Class::Succeeded]);
    let report = finish(&pipeline);
    // One for the refusal; the client may need another for its numbers to be in order again.
    assert!(report.counters.transactions_aborted >= 1);
    assert_eq!(report.counters.dead_letters_total(), 1);
    assert_eq!(cluster.read_all(DEAD).pop().unwrap().headers["expressway-reason"], "result_too_large");
}

#[test]
fn a_dead_letter_that_is_refused_holds_its_partition_and_nothing_else() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(b"{".to_vec()))]);
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 1]);
    let (settings, acknowledged) = transactional(&cluster, "letter-refused");
    let definition = program(r#"{"StartAt":"S","States":{"S":{"Type":"Succeed"}}}"#);
    let pipeline = Pipeline::start(Settings { shards: 1, on_null: OnNull::Skip, ..settings }, definition, Arc::new(NoIntegrations)).unwrap();
    await_that("the dead letter is refused", || pipeline.counters().dead_letters_stuck == 1);
    cluster.send(&(0..100).map(|seq| (seq * 4, if seq % 10 == 3 { None } else { Some(b"{}".to_vec()) })).collect::<Vec<_>>());
    cluster.send(&(0..300).map(|seq| (seq + seq / 3 + 1, Some(b"{}".to_vec()))).collect::<Vec<_>>());
    let early = await_acks(&acknowledged, 300);
    assert!(early.iter().all(|ack| ack.partition != 0), "what lies above the letter waits for it");
    assert_eq!(pipeline.readiness(), Readiness::Ready);
    // It is tried again after half a minute, and taken then.
    let mut late = await_acks(&acknowledged, 101);
    late.sort_by_key(|ack| ack.offset);
    assert_eq!(late.iter().map(|ack| (ack.partition, ack.offset)).collect::<Vec<_>>(), (0..101).map(|offset| (0, offset)).collect::<Vec<_>>());
    assert_eq!((late[0].class, late[4].class, late[5].class), (Class::DeadLettered, Class::Skipped, Class::Succeeded));
    let report = finish(&pipeline);
    assert_eq!((report.counters.executions_started, report.counters.dead_letters_stuck, report.counters.records_open), (390, 0, 0));
    let of_first: Vec<_> = sources(&cluster).into_iter().filter(|source| source.starts_with("heartbeats/0/")).collect();
    let results: Vec<_> = (1..101).filter(|offset| offset % 10 != 4).map(|offset| format!("heartbeats/0/{offset}")).collect();
    // The mock cluster does not hide what was aborted: the client may need another transaction for its numbers to be in order again.
    assert!(of_first.ends_with(&results), "not in the order of their offsets: {of_first:?}");
}

#[test]
fn a_producer_that_is_fenced_ends_the_pipeline() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    cluster.mock().request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED; 2]);
    let (mut settings, acknowledged) = transactional(&cluster, "fenced");
    // However long the fence takes, the transaction is younger.
    settings.client_options.push(("transaction.timeout.ms".to_owned(), PATIENCE.as_millis().to_string()));
    let pipeline = splice(settings);
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Fatal { client: "transactional producer", .. }), "{error}");
    assert!(acknowledged.try_iter().flatten().count() < 400, "what was fenced is not told");
}

/// A pipeline of one shard whose first transaction is ended by a broker that is away first, for longer than it may live, and gives the answers `then`.
fn ended_late(cluster: &Cluster, group: &str, then: &[RDKafkaRespErr]) -> (Pipeline, Receiver<Vec<Acknowledged>>) {
    // Longer than a delivery report takes on a machine that stands still at times, for a record lives no longer than its transaction.
    const LIFE_MS: usize = 5_000;
    // Each answer takes so long, or longer when the client has given it up, so the transaction has lived for longer than it may when the last one comes, whatever the client's pauses are.
    const ANSWER_MS: usize = 500;
    let away = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; LIFE_MS / ANSWER_MS];
    cluster.answer_late(RDKafkaApiKey::EndTxn, away.iter().chain(then), Duration::from_millis(ANSWER_MS as u64));
    let (mut settings, acknowledged) = transactional(cluster, group);
    settings.shards = 1;
    settings.client_options.push(("transaction.timeout.ms".to_owned(), LIFE_MS.to_string()));
    (splice(settings), acknowledged)
}

#[test]
fn a_producer_that_is_fenced_for_the_age_of_its_transaction_is_made_anew() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (pipeline, acknowledged) = ended_late(&cluster, "renewed", &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    // No transaction is committed before the fence was told, and none of the same producer after it.
    let acks = await_acks(&acknowledged, 400);
    assert_eq!((acks.len(), distinct(&acks).len()), (400, 400), "each is told once");
    cluster.fill(400, 100);
    assert_eq!(distinct(&await_acks(&acknowledged, 100)).len(), 100);
    let report = finish(&pipeline);
    assert_eq!(report.counters.executions_started, 500, "no record runs again");
    assert!(report.counters.transactions_aborted >= 1 && report.counters.records_open == 0, "{:?}", report.counters);
    assert_eq!(sources(&cluster).iter().collect::<std::collections::BTreeSet<_>>().len(), 500);
}

#[test]
fn a_producer_that_is_not_authorised_ends_the_pipeline_however_old_its_transaction_is() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    // Should the client have given the first of these answers up, it gets another one.
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED; 20];
    let (pipeline, acknowledged) = ended_late(&cluster, "not-authorised", &refusals);
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Fatal { client: "transactional producer", .. }), "{error}");
    assert_eq!((pipeline.counters().transactions_aborted, acknowledged.try_iter().flatten().count()), (0, 0));
}

#[test]
fn what_waits_for_the_mark_is_bounded_and_other_partitions_go_on() {
    let cluster = Cluster::new();
    let long = format!(r#"{{"wait":0,"text":"{}"}}"#, "x".repeat(100_000)).into_bytes();
    cluster.send(&[(0, Some(br#"{"wait":300}"#.to_vec()))]);
    cluster.send(&(0..40).map(|_| (0, Some(long.clone()))).collect::<Vec<_>>());
    cluster.send(&(0..400).map(|seq| (seq * 4 + 1, Some(br#"{"wait":0}"#.to_vec()))).collect::<Vec<_>>());
    let definition = r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.wait","NumericEquals":300,"Next":"W"}],"Default":"S"},
        "W":{"Type":"Wait","SecondsPath":"$.wait","Next":"S"},"S":{"Type":"Succeed"}}}"#;
    let (mut settings, acknowledged) = transactional(&cluster, "bounded");
    settings.shards = 1;
    settings.ordering = Ordering::None;
    // 32 MiB for what is not committed, half of it for what waits, shared by four partitions.
    settings.memory_limit = Some(200 << 20);
    settings.drain_timeout = Duration::from_secs(1);
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
    let acks = await_acks(&acknowledged, 400);
    assert!(acks.iter().all(|ack| ack.partition == 1));
    await_that("partition 0 is paused", || pipeline.counters().partitions_paused == 1);
    let books = pipeline.books();
    let taken = books.iter().find(|books| books.partition == 0).unwrap().open;
    // Each counts twice: its result, and itself.
    assert!((18..30).contains(&taken), "{taken} records were taken");
    pipeline.request_shutdown();
    drop(pipeline.join(PATIENCE));
}
