//! What must not pass unseen: batches that cannot be read, commits that are refused, brokers that do not tell where a partition ends, threads that are gone. On the client library's mock cluster; each of these tests fails when its guard is taken out.

use std::sync::atomic::{AtomicBool, Ordering as Memory};

use crossbeam::channel::{Receiver, bounded};
use expressway_engine::document::Fault;
use expressway_engine::hir::StateId;
use expressway_engine::{EffectId, Effects, Failure, Reply, ResourceId, Resumed, Start, Step, Timestamp};
use rdkafka::bindings;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::shard::Command;
use super::tests::{CALLS, Cluster, Fragile, Held, MAY_CALL, PATIENCE, SOURCE, await_acks, await_that, finish, identity, program, splice};
use super::*;
use crate::clock::Clock;
use crate::kafka::damage::{self, Damage};
use crate::tasks::NoIntegrations;

/// Has the mock cluster note the requests that come from now on.
pub(super) fn note_requests(cluster: &Cluster) {
    // SAFETY: the mock cluster lives as long as `cluster`.
    #[expect(unsafe_code, reason = "the mock's notes have no call in the bindings")]
    unsafe {
        bindings::rd_kafka_mock_start_request_tracking(cluster.native());
    }
}

/// How many requests of a kind were noted.
pub(super) fn requests(cluster: &Cluster, kind: RDKafkaApiKey) -> usize {
    let mut count = 0;
    // SAFETY: the mock cluster lives as long as `cluster`, and the call gives as many requests as it says.
    #[expect(unsafe_code, reason = "the mock's notes have no call in the bindings")]
    let list = unsafe { bindings::rd_kafka_mock_get_requests(cluster.native(), &raw mut count) };
    if list.is_null() {
        return 0;
    }
    // SAFETY: the list has `count` entries and is ours until it is destroyed below.
    #[expect(unsafe_code, reason = "the notes are a C array")]
    let noted = unsafe { std::slice::from_raw_parts(list, count) };
    // SAFETY: the requests are valid until they are destroyed below.
    #[expect(unsafe_code, reason = "the notes are read by calls of C")]
    let of_kind = noted.iter().filter(|request| unsafe { bindings::rd_kafka_mock_request_api_key(**request) } == i16::from(kind)).count();
    // SAFETY: ours, and given up once.
    #[expect(unsafe_code, reason = "the notes are given up by a call of C")]
    unsafe {
        bindings::rd_kafka_mock_request_destroy_array(list, count);
    }
    of_kind
}

fn is_not_ready(pipeline: &Pipeline) -> bool {
    matches!(pipeline.readiness(), Readiness::NotReady(_))
}

/// A pipeline that finds a stuck record, five others, a damaged batch that `says` to lie at an offset, and five more in the log of partition 0. What the client makes of them, `fetched` in number, waits before the shard takes any of it. Returns why the pipeline ended, what it finished, and what it committed.
fn damaged(group: &str, damage: (Damage, i64), fetched: usize) -> (String, Vec<i64>, i64) {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(b"{\"stuck\":1}".to_vec()))]);
    let (mut settings, acknowledged) = cluster.settings(group);
    settings.client_options.push(("check.crcs".to_owned(), "true".to_owned()));
    let settings = Settings { shards: 1, ..settings };
    let (release, released) = bounded(0);
    let processor = |_| Fragile(Splice::new(1), released.clone());
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), processor).unwrap();
    // Taken by the shard, so that it does not count among what waits.
    release.send_timeout((), PATIENCE).expect("the stuck record is run");
    damage::append(cluster.brokers(), SOURCE, 0, 1, 5, damage);
    cluster.send(&(0..5).map(|_| (0, Some(b"{}".to_vec()))).collect::<Vec<_>>());
    await_that("it is fetched", || pipeline.coordinator.queue(0).len() >= fetched);
    drop(release);
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(is_not_ready(&pipeline));
    let finished = acknowledged.try_iter().flatten().map(|ack| ack.offset).collect();
    (error.to_string(), finished, cluster.committed(group)[0])
}

#[test]
fn a_batch_with_a_wrong_checksum_ends_the_pipeline() {
    let (error, finished, committed) = damaged("checksum", (Damage::Checksum, 6), 6);
    assert_eq!(error, "the consumer met a fatal error: a batch of heartbeats/0 at offset 6 cannot be read: BadMessage (Local: Bad message format)");
    assert_eq!((finished, committed), ((0..6).collect(), 6));
}

#[test]
fn a_batch_of_an_unknown_format_is_not_committed_past() {
    let (error, finished, committed) = damaged("format", (Damage::Format, 6), 11);
    assert_eq!(error, "the consumer met a fatal error: a batch of heartbeats/0 at offset 6 cannot be read: NotImplemented (Local: Not implemented)");
    assert_eq!(finished, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11], "the client goes on behind it");
    assert_eq!(committed, 6, "nothing that lies behind it");
}

/// What it says of itself is as damaged as the rest may be.
#[test]
fn a_batch_that_says_to_lie_far_behind_is_not_committed_past() {
    let (_, finished, committed) = damaged("far-behind", (Damage::Format, 1_000_000), 6);
    assert!(finished.starts_with(&[0, 1, 2, 3, 4, 5]) && committed <= 6, "{finished:?}, {committed} is committed");
}

fn refused_commits(group: &str, group_protocol: GroupProtocol) {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    cluster.mock().request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 2]);
    let (mut settings, acknowledged) = cluster.settings(group);
    settings.client_options.push(("auto.commit.interval.ms".to_owned(), "100".to_owned()));
    let pipeline = splice(Settings { group_protocol, ..settings });
    await_acks(&acknowledged, 400);
    await_that("both refusals are told", || pipeline.counters().commit_errors == 2);
    await_that("the next one carries what they did not bring about", || cluster.committed(group) == vec![100; 4]);
    assert_eq!(finish(&pipeline).counters.commit_errors, 2, "what is committed in the end is no error");
}

#[test]
fn a_commit_of_the_client_that_is_refused_is_counted_and_made_up_for() {
    refused_commits("refused-commits", GroupProtocol::Classic);
}

#[test]
fn a_commit_of_ours_that_is_refused_is_counted_and_made_up_for() {
    refused_commits("our-refused-commits", GroupProtocol::Consumer);
}

/// Not 0, for nothing is read meanwhile: the alert would be silent.
#[test]
fn lag_is_what_it_was_while_no_broker_answers() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(CALLS.into()))]);
    cluster.fill(4, 40);
    let (settings, acknowledged) = cluster.settings("unanswered");
    let held = Held::new();
    let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    await_acks(&acknowledged, 40);
    let records = |lags: &[PartitionLag]| lags.iter().map(|lag| lag.records).collect::<Vec<_>>();
    await_that("the brokers have told all ends", || records(&pipeline.lag()) == [11, 0, 0, 0]);
    cluster.mock().request_errors(RDKafkaApiKey::ListOffsets, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10_000]);
    // A thread of our own asks, so that its first answer is one without a broker's.
    let told = Arc::new(Mutex::new(vec![PartitionLag { topic: 0, partition: -1, records: 0, seconds: 0.0 }]));
    let (stop, stopped) = bounded(1);
    let (coordinator, out) = (Arc::clone(&pipeline.coordinator), Arc::clone(&told));
    let asking = std::thread::spawn(move || lag::run(&[SOURCE.to_owned()], &coordinator, Clock::start(), &out, &stopped));
    await_that("it has asked", || lock(&told).iter().all(|lag| lag.partition >= 0));
    assert_eq!(records(&lock(&told)), [11, 0, 0, 0]);
    assert!(lock(&told)[0].seconds > 0.0, "and grows older");
    drop(stop);
    asking.join().unwrap();
    held.release();
    finish(&pipeline);
}

/// Panics at the end of a turn when told to, outside of any execution.
struct Brittle(Splice, Arc<AtomicBool>);

impl Processor for Brittle {
    fn begin(&mut self, slot: u32, input: &[u8], start: &Start<'_>, effects: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault> {
        self.0.begin(slot, input, start, effects, output)
    }

    fn proceed(&mut self, slot: u32, now: Timestamp, effects: &mut Effects, output: &mut Vec<u8>) -> Step {
        self.0.proceed(slot, now, effects, output)
    }

    fn resume(&mut self, id: EffectId, reply: Reply<'_>) -> Resumed {
        self.0.resume(id, reply)
    }

    fn failure(&self, slot: u32) -> Failure<'_> {
        self.0.failure(slot)
    }

    fn write_name(&self, slot: u32, out: &mut Vec<u8>) {
        self.0.write_name(slot, out);
    }

    fn finish(&mut self, slot: u32) -> u64 {
        self.0.finish(slot)
    }

    fn abandon(&mut self, slot: u32) {
        self.0.abandon(slot);
    }

    fn discard(&mut self, slot: u32) {
        self.0.discard(slot);
    }

    fn end_turn(&mut self) {
        assert!(!self.1.swap(false, Memory::Relaxed), "told to");
    }

    fn resource(&self, slot: u32, resource: ResourceId) -> Arc<str> {
        self.0.resource(slot, resource)
    }

    fn state(&self, slot: u32, state: StateId) -> Arc<str> {
        self.0.state(slot, state)
    }
}

/// A pipeline that has worked 400 records off and committed them, and what makes one of its shards panic.
fn committed_once(cluster: &Cluster, group: &str) -> (Pipeline, Receiver<Vec<Acknowledged>>, Arc<AtomicBool>) {
    cluster.fill(0, 400);
    let (mut settings, acknowledged) = cluster.settings(group);
    settings.client_options.push(("auto.commit.interval.ms".to_owned(), "100".to_owned()));
    let panics = Arc::new(AtomicBool::new(false));
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Brittle(Splice::new(1), Arc::clone(&panics))).unwrap();
    await_acks(&acknowledged, 400);
    await_that("all is committed", || cluster.committed(group) == vec![100; 4]);
    (pipeline, acknowledged, panics)
}

#[test]
fn a_shard_that_panics_outside_any_execution_ends_the_pipeline() {
    let cluster = Cluster::new();
    let (pipeline, acknowledged, panics) = committed_once(&cluster, "panicking-shard");
    panics.store(true, Memory::Relaxed);
    await_that("it is told", || pipeline.failed().is_some());
    cluster.fill(400, 400);
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Shard { detail, .. } if detail == "panicked"), "{error}");
    assert!(is_not_ready(&pipeline));
    let finished = 400 + acknowledged.try_iter().flatten().count();
    assert!(finished <= 401, "the other shard may have waited for one, and takes no more");
    assert_eq!(cluster.committed("panicking-shard").iter().sum::<i64>(), i64::try_from(finished).unwrap());
}

#[test]
fn a_shard_that_has_ended_ends_the_pipeline() {
    let cluster = Cluster::new();
    let (pipeline, ..) = committed_once(&cluster, "ended-shards");
    pipeline.coordinator.command_all(|| Command::Stop { deadline_ns: 0 });
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Shard { detail, .. } if detail == "ended"), "{error}");
    assert!(is_not_ready(&pipeline));
    assert_eq!(cluster.committed("ended-shards"), vec![100; 4]);
}

#[test]
fn a_control_thread_that_panics_ends_the_pipeline() {
    let cluster = Cluster::new();
    let (pipeline, ..) = committed_once(&cluster, "panicking-control");
    pipeline.coordinator.misplace();
    await_that("it is told", || pipeline.failed().is_some());
    let since = Clock::start();
    let error = pipeline.join(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Fatal { detail, .. } if detail == "its control thread panicked"), "{error}");
    assert!(u128::from(since.now().monotonic_ns) < PATIENCE.as_nanos() / 2, "nobody is left to tell that it has ended");
    assert!(is_not_ready(&pipeline));
    await_next_turns(&pipeline);
    cluster.fill(400, 400);
    await_next_turns(&pipeline);
    assert_eq!((pipeline.counters().records_read, cluster.committed("panicking-control")), (400, vec![100; 4]), "nothing is taken any more");
    // Shards and client end with the process; until then they want a broker.
    std::mem::forget(cluster);
}

fn await_next_turns(pipeline: &Pipeline) {
    let beats = || pipeline.desks.iter().map(|desk| desk.beat.load(Memory::Relaxed)).collect::<Vec<_>>();
    // The turn that is under way began before, the next one did not.
    for _ in 0..2 {
        let before = beats();
        await_that("the shards go on", || beats().iter().zip(&before).all(|(now, before)| now > before));
    }
}
