//! Pipelines against the client library's mock cluster: the real client, the real protocol, in one process.
//!
//! The mock keeps some 100,000 records or 5 MiB a partition; these tests stay far below. The first member of a group is served at once; whoever comes later, or comes back, waits for a second less than the session, so only tests in which somebody does have a short one.
//!
//! Nothing here may depend on how fast the machine is, or whether it moves at all: a time-out is either what the test is about, or far longer than any machine stands still.

#![expect(clippy::disallowed_methods, reason = "a wait for the mock cluster is bounded in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use expressway_engine::document::Fault;
use expressway_engine::hir::{self, StateId, WorkflowType};
use expressway_engine::history::Level;
use expressway_engine::{Deployment, EffectId, Effects, Failure, Program, Reply, ResourceId, Resumed, Start, Step, Timestamp};
use rdkafka::bindings;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::tasks::{Call, NoIntegrations, ReplySender, TaskFailure};

pub(super) const PARTITIONS: i32 = 4;
pub(super) const SOURCE: &str = "heartbeats";
pub(super) const RESULTS: &str = "results";
pub(super) const DEAD: &str = "dead-letters";
/// Longer than anything here takes on a machine that is busy and stands still at times: only a test that fails waits so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

pub(super) struct Cluster {
    /// The client that the mock cluster belongs to.
    owner: BaseProducer,
    brokers: String,
}

impl Cluster {
    pub(super) fn new() -> Self {
        // Shown with a failure, or with `--nocapture`; how much, by RUST_LOG. Another test may have been first.
        tracing_subscriber::fmt().with_test_writer().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init().ok();
        let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create().unwrap();
        serve_first_members_at_once(&owner);
        let brokers = owner.client().mock_cluster().unwrap().bootstrap_servers();
        let cluster = Self { owner, brokers };
        for topic in [SOURCE, RESULTS, DEAD] {
            cluster.mock().create_topic(topic, PARTITIONS, 1).unwrap();
        }
        cluster
    }

    pub(super) fn mock(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.owner.client().mock_cluster().unwrap()
    }

    pub(super) fn native(&self) -> *mut bindings::rd_kafka_mock_cluster_t {
        native_mock(&self.owner)
    }

    /// Has the next requests of a kind answered by these errors, each `late` after it came.
    pub(super) fn answer_late<'e>(&self, request: RDKafkaApiKey, errors: impl Iterator<Item = &'e RDKafkaRespErr>, late: Duration) {
        const BROKER: i32 = 1;
        let (mock, late_ms) = (self.native(), i32::try_from(late.as_millis()).unwrap());
        for error in errors {
            // SAFETY: the mock cluster lives as long as its owner, and one pair of an error and a delay follows, as announced.
            #[expect(unsafe_code, reason = "the mock's setting has no call in the bindings")]
            let code = unsafe { bindings::rd_kafka_mock_broker_push_request_error_rtts(mock, BROKER, request.into(), 1, *error, late_ms) };
            assert_eq!(code, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        }
    }

    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(super) fn settings(&self, group: &str) -> (Settings, Receiver<Vec<Acknowledged>>) {
        let (audit, acknowledged) = bounded(100_000);
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let settings = Settings {
            name: group.to_owned(),
            client_options: vec![
                option("bootstrap.servers", &self.brokers),
                option("group.id", group),
                option("session.timeout.ms", "45000"),
                option("heartbeat.interval.ms", "200"),
                option("linger.ms", "1"),
                option("retry.backoff.ms", "20"),
                option("reconnect.backoff.max.ms", "100"),
            ],
            source_topics: vec![SOURCE.to_owned()],
            result_topic: RESULTS.to_owned(),
            dead_letter_topic: DEAD.to_owned(),
            shards: 2,
            drain_timeout: PATIENCE / 4,
            shutdown_timeout: PATIENCE / 2,
            audit: Some(audit),
            ..Settings::default()
        };
        (settings, acknowledged)
    }

    /// The same with a shorter session, for a group that a member joins when the mock knows it already. A member that is taken for dead while it joins is given no answer by the mock, and asks again when the time between two polls is over.
    pub(super) fn settings_to_join_again(&self, group: &str) -> (Settings, Receiver<Vec<Acknowledged>>) {
        let (mut settings, acknowledged) = self.settings(group);
        let options = [("session.timeout.ms", "12000"), ("max.poll.interval.ms", "15000"), ("auto.commit.interval.ms", "200")];
        settings.client_options.extend(options.map(|(key, value)| (key.to_owned(), value.to_owned())));
        settings.drain_timeout = Duration::from_secs(10);
        (settings, acknowledged)
    }

    /// Writes `count` heartbeats, spread over the partitions, from number `from` on.
    pub(super) fn fill(&self, from: i64, count: i64) {
        let records: Vec<_> = (from..from + count).map(|seq| (seq, Some(format!(r#"{{"type":"heartbeat","battery":57,"seq":{seq}}}"#).into_bytes()))).collect();
        self.send(&records);
    }

    /// Writes records; the number picks the partition.
    pub(super) fn send(&self, records: &[(i64, Option<Vec<u8>>)]) {
        let config = [("bootstrap.servers", self.brokers.as_str()), ("message.max.bytes", "20000000"), ("linger.ms", "1")];
        let producer: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::from_iter(config.map(|(key, value)| (key.to_owned(), value.to_owned()))).create().unwrap();
        for (seq, value) in records {
            let key = format!("device-{seq}");
            let headers = OwnedHeaders::new().insert(rdkafka::message::Header { key: "trace", value: Some(&key) });
            let mut record = BaseRecord::<str, [u8]>::to(SOURCE).key(&key).headers(headers);
            record.partition = Some(i32::try_from(seq % i64::from(PARTITIONS)).unwrap());
            record.payload = value.as_deref();
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    fn reader(&self, group: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("enable.partition.eof", "true");
        config.create().unwrap()
    }

    /// The group's committed offset for every source partition, -1 for none.
    pub(super) fn committed(&self, group: &str) -> Vec<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(SOURCE, 0, PARTITIONS - 1);
        let committed = self.reader(group).committed_offsets(list, PATIENCE).unwrap();
        committed.elements().iter().map(|element| if let Offset::Offset(offset) = element.offset() { offset } else { -1 }).collect()
    }

    /// Everything in a topic: partition, key, value, headers.
    pub(super) fn read_all(&self, topic: &str) -> Vec<Read> {
        let reader = self.reader("reader");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        reader.assign(&list).unwrap();
        let (mut records, mut ended) = (Vec::new(), BTreeSet::new());
        while ended.len() < usize::try_from(PARTITIONS).unwrap() {
            match reader.poll(PATIENCE).expect("the mock answers") {
                Ok(message) => {
                    let headers = message.headers().map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect());
                    records.push(Read {
                        partition: message.partition(),
                        key: text(message.key()),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers.unwrap_or_default(),
                    });
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
                Err(error) => panic!("{error}"),
            }
        }
        records
    }
}

/// The mock would have the first member of a group wait for others for three seconds.
fn serve_first_members_at_once(owner: &BaseProducer) {
    // SAFETY: the mock cluster lives as long as its owner.
    #[expect(unsafe_code, reason = "the mock's setting has no call in the bindings")]
    unsafe {
        bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(native_mock(owner), 0);
    }
}

fn native_mock(owner: &BaseProducer) -> *mut bindings::rd_kafka_mock_cluster_t {
    // SAFETY: the handle is that of a client that is alive; the call reads it.
    #[expect(unsafe_code, reason = "the mock's settings are not all in the bindings")]
    let mock = unsafe { bindings::rd_kafka_handle_mock_cluster(owner.client().native_ptr()) };
    assert!(!mock.is_null());
    mock
}

#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) partition: i32,
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: BTreeMap<String, String>,
}

pub(super) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

pub(super) fn identity() -> Identity {
    Identity { definition: "heartbeat".to_owned(), version: "v1".to_owned() }
}

pub(super) fn splice(settings: Settings) -> Pipeline {
    Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Splice::new(10)).unwrap()
}

pub(super) fn program(definition: &str) -> Arc<Program> {
    let lowered = hir::lower(definition, WorkflowType::Express).unwrap();
    Arc::new(expressway_engine::compile(&lowered.machine, &Deployment::named("test")).unwrap())
}

/// Reads acknowledgements until `count` records are finished, or `until` says so.
pub(super) fn await_acks(acknowledged: &Receiver<Vec<Acknowledged>>, count: usize) -> Vec<Acknowledged> {
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while all.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        let batch = acknowledged.recv_timeout(left);
        all.extend(batch.unwrap_or_else(|_| panic!("{} of {count} records were acknowledged", all.len())));
    }
    all
}

pub(super) fn finish(pipeline: &Pipeline) -> Report {
    pipeline.request_shutdown();
    pipeline.join(PATIENCE).unwrap()
}

pub(super) fn await_that(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(super) fn distinct(acks: &[Acknowledged]) -> BTreeSet<(i32, i64)> {
    acks.iter().map(|ack| (ack.partition, ack.offset)).collect()
}

#[test]
fn every_record_becomes_a_result_and_its_offset_is_committed() {
    let cluster = Cluster::new();
    cluster.fill(0, 4_000);
    let (mut settings, acknowledged) = cluster.settings("whole");
    settings.result_headers = ResultHeaders::Full;
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 4_000);
    assert_eq!(distinct(&acks).len(), 4_000);
    assert!(acks.iter().all(|ack| ack.class == Class::Succeeded));
    await_that("the pipeline is ready", || pipeline.readiness() == Readiness::Ready);
    await_that("the shards tell all latencies", || pipeline.latency().len() == 4_000);
    let report = finish(&pipeline);
    assert_eq!((report.counters.records_read, report.counters.records_acknowledged), (4_000, 4_000));
    assert_eq!((report.counters.stale_reports, report.counters.store_errors, report.counters.executions_open), (0, 0, 0));
    assert_eq!(cluster.committed("whole"), vec![1_000; 4]);

    let results = cluster.read_all(RESULTS);
    assert_eq!(results.len(), 4_000);
    let sources: BTreeSet<_> = results.iter().map(|result| result.headers["expressway-source"].clone()).collect();
    assert_eq!(sources.len(), 4_000);
    let first = results.iter().find(|result| result.headers["expressway-source"] == "heartbeats/1/0").unwrap();
    assert_eq!((first.partition, first.key.as_str()), (1, "device-1"), "the partition's number and the key stay");
    let expected = [("status", "SUCCEEDED"), ("execution", "heartbeats-1-0"), ("definition", "heartbeat"), ("version", "v1"), ("source", "heartbeats/1/0")];
    assert_eq!(first.headers, expected.map(|(name, value)| (format!("expressway-{name}"), value.to_owned())).into());
    assert!(text(first.value.as_deref()).starts_with(r#"{"type":"heartbeat""#));
}

#[test]
fn a_usual_result_names_its_source_alone_and_only_once_in_order() {
    let cluster = Cluster::new();
    // More than one offset's worth of digits, and more than one bundle.
    cluster.fill(0, 4_400);
    let (settings, acknowledged) = cluster.settings("short");
    let pipeline = splice(settings);
    await_acks(&acknowledged, 4_400);
    finish(&pipeline);
    let mut next = [0; 4];
    for result in cluster.read_all(RESULTS) {
        let expected = format!("heartbeats/{}/{}", result.partition, next[usize::try_from(result.partition).unwrap()]);
        assert_eq!(result.headers, BTreeMap::from([("expressway-source".to_owned(), expected)]));
        next[usize::try_from(result.partition).unwrap()] += 1;
    }
    assert_eq!(next, [1_100; 4]);
}

#[test]
fn a_record_that_cannot_be_run_becomes_a_dead_letter_as_it_came() {
    let cluster = Cluster::new();
    let deep = "[".repeat(5_000).into_bytes();
    let values: [(&str, Option<Vec<u8>>); 8] = [
        ("malformed_json", Some(b"{\"type\":}".to_vec())),
        ("malformed_json", Some(b"{\"type\":\"heart".to_vec())),
        ("invalid_utf8", Some(b"{\"type\":\"\xff\xfe\"}".to_vec())),
        ("empty", Some(Vec::new())),
        ("null_value", None),
        ("too_deep", Some(deep)),
        ("too_large", Some(format!("\"{}\"", "x".repeat(300_000)).into_bytes())),
        ("", Some(br#"{"type":"heartbeat"}"#.to_vec())),
    ];
    let records: Vec<_> = values.iter().zip(0..).map(|((_, value), seq)| (seq, value.clone())).collect();
    cluster.send(&records);
    let (settings, acknowledged) = cluster.settings("broken");
    let program = program(r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#);
    let pipeline = Pipeline::start(settings, program, Arc::new(NoIntegrations)).unwrap();
    let acks = await_acks(&acknowledged, values.len());
    assert_eq!(acks.iter().filter(|ack| ack.class == Class::DeadLettered).count(), 7);
    let report = finish(&pipeline);
    assert_eq!(report.counters.dead_letters_total(), 7);
    assert_eq!(cluster.committed("broken"), vec![2; 4]);

    let letters = cluster.read_all(DEAD);
    assert_eq!(letters.len(), 7);
    for ((reason, value), seq) in values.iter().zip(0_i64..).filter(|((reason, _), _)| !reason.is_empty()) {
        let letter = letters.iter().find(|letter| letter.key == format!("device-{seq}")).unwrap();
        assert_eq!(letter.headers["expressway-reason"], *reason);
        assert_eq!(letter.headers["expressway-source"], format!("heartbeats/{}/{}", seq % 4, seq / 4));
        assert_eq!(letter.headers["trace"], format!("device-{seq}"), "the record's own headers stay");
        assert!(letter.headers["expressway-time"].ends_with('Z'));
        assert_eq!(letter.value.as_deref().unwrap_or_default(), value.as_deref().unwrap_or_default());
    }
    let malformed = letters.iter().find(|letter| letter.key == "device-0").unwrap();
    assert_eq!(malformed.headers["expressway-detail"], "unexpected character '}' at byte 8");
}

#[test]
fn null_values_are_passed_over_when_told_so() {
    let cluster = Cluster::new();
    cluster.send(&[(0, None), (4, Some(b"{}".to_vec()))]);
    let (mut settings, acknowledged) = cluster.settings("nulls");
    settings.on_null = OnNull::Skip;
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 2);
    assert!([Class::Succeeded, Class::Skipped].iter().all(|class| acks.iter().any(|ack| ack.class == *class)));
    assert_eq!(finish(&pipeline).counters.records_skipped, 1);
    assert_eq!(cluster.committed("nulls")[0], 2);
    assert!(cluster.read_all(DEAD).is_empty());
}

#[test]
fn failures_are_results_or_dead_letters() {
    let definition = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"Broken","Cause":"it is \"broken\""}}}"#;
    for (group, on_failure) in [("failures-a", OnFailure::Result), ("failures-b", OnFailure::DeadLetter)] {
        let cluster = Cluster::new();
        cluster.fill(0, 4);
        let (mut settings, acknowledged) = cluster.settings(group);
        settings.on_failure = on_failure;
        let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
        let acks = await_acks(&acknowledged, 4);
        finish(&pipeline);
        if on_failure == OnFailure::Result {
            assert!(acks.iter().all(|ack| ack.class == Class::Failed));
            let result = cluster.read_all(RESULTS).pop().unwrap();
            assert_eq!(result.headers["expressway-status"], "FAILED");
            assert_eq!(text(result.value.as_deref()), r#"{"Error":"Broken","Cause":"it is \"broken\""}"#);
        } else {
            assert!(acks.iter().all(|ack| ack.class == Class::DeadLettered));
            let letter = cluster.read_all(DEAD).pop().unwrap();
            assert_eq!(
                (letter.headers["expressway-reason"].as_str(), letter.headers["expressway-detail"].as_str()),
                ("execution_failed", "Broken: it is \"broken\"")
            );
        }
    }
}

#[test]
fn a_long_wait_holds_the_mark_and_not_the_partition() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(br#"{"wait":300}"#.to_vec()))]);
    cluster.fill(4, 400);
    let definition = r#"{"StartAt":"C","States":{
        "C":{"Type":"Choice","Choices":[{"Variable":"$.wait","IsPresent":true,"Next":"W"}],"Default":"S"},
        "W":{"Type":"Wait","SecondsPath":"$.wait","Next":"S"},"S":{"Type":"Succeed"}}}"#;
    let (mut settings, acknowledged) = cluster.settings("waiting");
    settings.drain_timeout = Duration::from_secs(1);
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
    let acks = await_acks(&acknowledged, 400);
    assert!(!distinct(&acks).contains(&(0, 0)));
    await_that("the wait is the only open execution", || pipeline.counters().executions_open == 1);
    let report = finish(&pipeline);
    assert_eq!((report.counters.executions_abandoned, report.counters.drains_cut_short), (1, 1));
    assert_eq!(cluster.committed("waiting"), vec![0, 100, 100, 100], "nothing above the waiting record is committed");
}

/// Calls a task where the record says so.
pub(super) const MAY_CALL: &str = r#"{"StartAt":"C","States":{
    "C":{"Type":"Choice","Choices":[{"Variable":"$.call","IsPresent":true,"Next":"T"}],"Default":"S"},
    "T":{"Type":"Task","Resource":"native:held","Next":"S"},"S":{"Type":"Succeed"}}}"#;

/// What [`MAY_CALL`] calls a task for.
pub(super) const CALLS: &str = r#"{"call":1}"#;

/// Keeps calls until they are released, and answers those that come later at once: a wait that ends when the test says so.
pub(super) struct Held(Mutex<Option<Vec<(Call, ReplySender)>>>);

impl Held {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Vec::new()))))
    }

    pub(super) fn release(&self) {
        for (call, replies) in lock(&self.0).take().into_iter().flatten() {
            replies.send(crate::tasks::Reply { id: call.id, result: Ok(call.input) });
        }
    }
}

impl Integrations for Held {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        let calls = calls.drain(..).map(|call| (call, replies.clone()));
        match &mut *lock(&self.0) {
            Some(held) => held.extend(calls),
            None => calls.for_each(|(call, replies)| replies.send(crate::tasks::Reply { id: call.id, result: Ok(call.input) })),
        }
    }
}

/// Answers from another thread: `echo` at once, `fail` with an error, everything else never.
struct Outside;

impl Integrations for Outside {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        let (calls, replies) = (std::mem::take(calls), replies.clone());
        std::thread::spawn(move || {
            for call in calls {
                let result = match &*call.resource {
                    "native:echo" => Ok(call.input),
                    "native:fail" => Err(TaskFailure { error: "Custom".to_owned(), cause: Some(format!("attempt {}", call.attempt)) }),
                    _ => continue,
                };
                replies.send(crate::tasks::Reply { id: call.id, result });
            }
        });
    }
}

#[test]
fn tasks_are_answered_from_outside_and_time_out() {
    let cluster = Cluster::new();
    cluster.fill(0, 200);
    let definition = r#"{"StartAt":"Echo","States":{
        "Echo":{"Type":"Task","Resource":"native:echo","Next":"Fails"},
        "Fails":{"Type":"Task","Resource":"native:fail","Retry":[{"ErrorEquals":["Custom"],"IntervalSeconds":1,"MaxAttempts":1}],"Catch":[{"ErrorEquals":["Custom"],"ResultPath":"$.error","Next":"Silent"}],"End":true},
        "Silent":{"Type":"Task","Resource":"native:silent","TimeoutSeconds":1,"Catch":[{"ErrorEquals":["States.Timeout"],"ResultPath":"$.timeout","Next":"Done"}],"End":true},
        "Done":{"Type":"Succeed"}}}"#;
    let (settings, acknowledged) = cluster.settings("tasks");
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(Outside)).unwrap();
    let acks = await_acks(&acknowledged, 200);
    assert!(acks.iter().all(|ack| ack.class == Class::Succeeded));
    let report = finish(&pipeline);
    assert_eq!((report.counters.task_calls, report.counters.overflowed_replies), (800, 0));
    let result = cluster.read_all(RESULTS).pop().unwrap();
    assert!(text(result.value.as_deref()).contains(r#""error":{"Error":"Custom","Cause":"attempt 1"}"#));
}

const LOG: &str = "log";

/// A pipeline of five records, one state each, that logs everything.
fn logged(cluster: &Cluster, group: &str, destination: Destination) -> Report {
    cluster.fill(0, 5);
    let (settings, acknowledged) = cluster.settings(group);
    let logging = Some(Logging { level: Level::All, include_execution_data: true, destination });
    let settings = Settings { logging, ..settings };
    let program = program(r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#);
    let pipeline = Pipeline::start(settings, program, Arc::new(NoIntegrations)).unwrap();
    await_acks(&acknowledged, 5);
    finish(&pipeline)
}

fn types(lines: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for line in lines {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        *types.entry(record["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    types
}

fn five_of_each() -> BTreeMap<String, usize> {
    ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"].map(|name| (name.to_owned(), 5)).into()
}

#[test]
fn executions_are_logged_to_a_topic_under_their_arns() {
    let cluster = Cluster::new();
    cluster.mock().create_topic(LOG, PARTITIONS, 1).unwrap();
    let report = logged(&cluster, "log-topic", Destination::Topic(LOG.to_owned()));
    assert_eq!((report.counters.log_events, report.counters.log_events_dropped), (20, 0));
    let records = cluster.read_all(LOG);
    assert_eq!(types(records.iter().map(|record| text(record.value.as_deref()))), five_of_each());
    let arns: BTreeSet<&str> = records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(arns.len(), 5);
    assert!(arns.iter().all(|arn| arn.starts_with("arn:aws:states:us-east-1:000000000000:express:test:heartbeats-")), "{arns:?}");
}

#[test]
fn executions_are_logged_to_the_end_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("executions.jsonl");
    std::fs::write(&path, "{\"type\":\"earlier\"}\n").unwrap();
    let report = logged(&Cluster::new(), "log-file", Destination::File(path.clone()));
    assert_eq!((report.counters.log_events, report.counters.log_events_dropped), (20, 0));
    let mut expected = five_of_each();
    expected.insert("earlier".to_owned(), 1);
    assert_eq!(types(std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned)), expected);
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_start() {
    let cluster = Cluster::new();
    let start = |destination| {
        let logging = Some(Logging { level: Level::Fatal, include_execution_data: false, destination });
        let settings = Settings { logging, ..cluster.settings("log-refused").0 };
        Pipeline::start(settings, program(r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#), Arc::new(NoIntegrations)).err()
    };
    assert!(start(Destination::File("/no/such/folder/file".into())).is_some_and(|error| matches!(error, Error::Log { .. }) && error.is_configuration()));
    assert!(matches!(start(Destination::Topic("not-there".to_owned())), Some(Error::TopicMissing { role: "log", .. })));
}

/// Panics on what says so, waits on what says that until the other end of the channel is gone, taking what comes from there, and otherwise copies.
pub(super) struct Fragile(pub(super) Splice, pub(super) Receiver<()>);

impl Processor for Fragile {
    fn begin(&mut self, slot: u32, input: &[u8], start: &Start<'_>, effects: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault> {
        assert!(!input.windows(5).any(|window| window == b"panic"), "told to");
        if input.windows(5).any(|window| window == b"stuck") {
            while self.1.recv().is_ok() {}
        }
        self.0.begin(slot, input, start, effects, output)
    }

    fn proceed(&mut self, _: u32, _: Timestamp, _: &mut Effects, _: &mut Vec<u8>) -> Step {
        Step::Succeeded
    }

    fn resume(&mut self, _: EffectId, _: Reply<'_>) -> Resumed {
        Resumed::Stale
    }

    fn failure(&self, _: u32) -> Failure<'_> {
        Failure { error: None, cause: None }
    }

    fn write_name(&self, _: u32, _: &mut Vec<u8>) {}

    fn finish(&mut self, _: u32) -> u64 {
        0
    }

    fn abandon(&mut self, _: u32) {}

    fn discard(&mut self, _: u32) {}

    fn resource(&self, _: u32, _: ResourceId) -> Arc<str> {
        Arc::from("")
    }

    fn state(&self, _: u32, _: StateId) -> Arc<str> {
        Arc::from("")
    }
}

fn fragile(settings: Settings) -> Pipeline {
    Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Fragile(Splice::new(1), crossbeam::channel::never())).unwrap()
}

#[test]
fn a_panic_costs_one_record() {
    let cluster = Cluster::new();
    let records: Vec<_> = (0..400).map(|seq| (seq, Some(if seq % 100 == 3 { b"{\"panic\":1}".to_vec() } else { b"{}".to_vec() }))).collect();
    cluster.send(&records);
    let (settings, acknowledged) = cluster.settings("fragile");
    let pipeline = fragile(settings);
    let acks = await_acks(&acknowledged, 400);
    assert_eq!(distinct(&acks).len(), 400);
    let report = finish(&pipeline);
    assert_eq!((report.counters.panics, report.counters.dead_letters_total(), report.counters.executions_succeeded), (4, 4, 396));
    assert_eq!(cluster.committed("fragile"), vec![100; 4]);
    assert!(cluster.read_all(DEAD).iter().all(|letter| letter.headers["expressway-detail"] == "told to"));
}

#[test]
fn too_many_panics_stop_the_pipeline_in_order() {
    let cluster = Cluster::new();
    cluster.send(&(0..40).map(|seq| (seq, Some(b"{\"panic\":1}".to_vec()))).collect::<Vec<_>>());
    let (mut settings, _acknowledged) = cluster.settings_to_join_again("panicking");
    settings.panics_per_minute_max = 3;
    let pipeline = fragile(settings);
    assert!(matches!(pipeline.join(PATIENCE), Err(Error::Panics { .. })));
    assert!(matches!(pipeline.readiness(), Readiness::NotReady(_)));
    // What was committed has its letter, bytes unchanged; the rest is for the next run.
    let letters = cluster.read_all(DEAD);
    assert!(letters.iter().all(|letter| letter.value.as_deref() == Some(b"{\"panic\":1}") && letter.headers["expressway-reason"] == "panic"));
    let sources: BTreeSet<_> = letters.iter().map(|letter| letter.headers["expressway-source"].clone()).collect();
    for (partition, committed) in cluster.committed("panicking").into_iter().enumerate() {
        assert!((0..committed).all(|offset| sources.contains(&format!("heartbeats/{partition}/{offset}"))));
    }
    let (settings, acknowledged) = cluster.settings_to_join_again("panicking");
    let next = splice(settings);
    let committed: i64 = cluster.committed("panicking").into_iter().map(|offset| offset.max(0)).sum();
    await_acks(&acknowledged, usize::try_from(40 - committed).unwrap());
    finish(&next);
    assert_eq!(cluster.committed("panicking"), vec![10; 4]);
}

/// A second member comes and goes twice while records flow; nothing is missing, and every committed offset is the end. The mock refuses commits while a group rebalances, which real brokers do not, so here records may run twice.
pub(super) fn rebalance(group: &str, strategy: &str) {
    let cluster = Cluster::new();
    cluster.fill(0, 2_000);
    let (mut settings, acknowledged) = cluster.settings_to_join_again(group);
    settings.client_options.push(("partition.assignment.strategy".to_owned(), strategy.to_owned()));
    let first = splice(settings.clone());
    let mut done = BTreeSet::new();
    await_distinct(&acknowledged, &mut done, 2_000);
    for round in 1..=2 {
        let second = splice(settings.clone());
        await_that("the second member gets partitions", || second.assigned().len() == 2 && first.assigned().len() == 2);
        cluster.fill(round * 4_000, 2_000);
        await_distinct(&acknowledged, &mut done, 2_000);
        finish(&second);
        await_that("the first member gets all partitions back", || first.assigned().len() == 4);
        cluster.fill(round * 4_000 + 2_000, 2_000);
        await_distinct(&acknowledged, &mut done, 2_000);
    }
    // Before the end, for a member that is taken for dead there runs its last records again.
    await_that("all is committed", || cluster.committed(group) == vec![2_500; 4]);
    let report = finish(&first);
    assert!(report.counters.rebalances >= 4);
    assert_eq!((report.counters.store_errors, report.counters.drains_cut_short), (0, 0));
    let sources: BTreeSet<_> = cluster.read_all(RESULTS).into_iter().map(|result| result.headers["expressway-source"].clone()).collect();
    assert_eq!(sources.len(), 10_000);
}

pub(super) fn await_distinct(acknowledged: &Receiver<Vec<Acknowledged>>, done: &mut BTreeSet<(i32, i64)>, more: usize) {
    let count = done.len() + more;
    while done.len() < count {
        done.extend(distinct(&await_acks(acknowledged, 1)));
    }
}

#[test]
fn cooperative_members_come_and_go_without_loss() {
    rebalance("cooperative", "cooperative-sticky");
}

#[test]
fn eager_members_come_and_go_without_loss() {
    rebalance("eager", "range");
}

#[test]
fn a_broker_that_goes_and_comes_back_costs_nothing() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings("outage");
    let pipeline = splice(settings);
    let mut acks = await_acks(&acknowledged, 400);
    cluster.mock().broker_down(1).unwrap();
    await_that("the commit or the fetch notices", || acknowledged.is_empty());
    cluster.mock().broker_up(1).unwrap();
    cluster.fill(400, 400);
    acks.extend(await_acks(&acknowledged, 400));
    assert_eq!(distinct(&acks).len(), 800);
    finish(&pipeline);
    assert_eq!(cluster.committed("outage"), vec![200; 4]);
}

#[test]
fn errors_that_pass_are_tried_again() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    // The client itself retries most codes; this one it hands back.
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 3]);
    let (settings, acknowledged) = cluster.settings("passing");
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 400);
    assert_eq!(distinct(&acks).len(), 400);
    let report = finish(&pipeline);
    assert!(report.counters.produce_retries > 0);
    assert_eq!(report.counters.dead_letters_total(), 0);
    assert_eq!(cluster.committed("passing"), vec![100; 4]);
}

#[test]
fn a_batch_refused_for_its_size_is_halved() {
    let cluster = Cluster::new();
    // All in one partition, so the results behind the first request go out together, at least one batch of them.
    let records: Vec<_> = (0..40).map(|seq| (seq * i64::from(PARTITIONS), Some(b"{}".to_vec()))).collect();
    cluster.send(&records);
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &errors);
    let (mut settings, acknowledged) = cluster.settings("sized");
    settings.batch_records_max = 10;
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 40);
    assert!(acks.iter().all(|ack| ack.class == Class::Succeeded), "none of them was too large by itself");
    assert!(finish(&pipeline).counters.produce_retries > 1, "a batch was sent again in parts");
    assert_eq!(cluster.committed("sized")[0], 40);
}

#[test]
fn a_result_that_is_too_large_by_itself_becomes_a_dead_letter() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(b"{}".to_vec()))]);
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 1]);
    let (settings, acknowledged) = cluster.settings("oversized");
    let pipeline = splice(settings);
    assert_eq!(await_acks(&acknowledged, 1)[0].class, Class::DeadLettered);
    finish(&pipeline);
    let letter = cluster.read_all(DEAD).pop().unwrap();
    assert_eq!((letter.headers["expressway-reason"].as_str(), letter.value.as_deref()), ("result_too_large", Some(&b"{}"[..])));
    assert_eq!(cluster.committed("oversized")[0], 1);
}

#[test]
fn a_topic_that_is_not_ours_stops_the_pipeline_with_nothing_committed() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    cluster.mock().request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10_000]);
    let (mut settings, acknowledged) = cluster.settings("refused");
    settings.result_topic_error_timeout = Duration::from_secs(1);
    let pipeline = splice(settings);
    await_that(
        "readiness says so",
        || matches!(pipeline.readiness(), Readiness::NotReady(reasons) if reasons.iter().any(|reason| reason.contains("cannot be written to topic results"))),
    );
    assert!(matches!(pipeline.join(PATIENCE), Err(Error::TopicRefused { .. })));
    assert!(acknowledged.is_empty());
    assert!(cluster.committed("refused").iter().all(|offset| *offset <= 0));
}

#[test]
fn a_start_that_cannot_work_is_refused_with_its_reason() {
    let cluster = Cluster::new();
    let (mut settings, _acknowledged) = cluster.settings("missing");
    settings.result_topic = "nowhere".to_owned();
    settings.startup_timeout = Duration::from_millis(100);
    let start = |settings| Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Splice::new(1)).map(|_| ()).unwrap_err();
    assert_eq!(start(settings.clone()).to_string(), "result topic nowhere does not exist, and Expressway creates none");
    settings.client_options[0].1 = "127.0.0.1:1".to_owned();
    assert_eq!(start(settings).to_string(), "no broker answered at 127.0.0.1:1");
}

#[test]
fn a_second_run_goes_on_where_the_first_one_stopped() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (settings, acknowledged) = cluster.settings_to_join_again("again");
    let pipeline = splice(settings.clone());
    await_acks(&acknowledged, 400);
    finish(&pipeline);
    cluster.fill(400, 400);
    let pipeline = splice(settings);
    let acks = await_acks(&acknowledged, 400);
    assert!(acks.iter().all(|ack| ack.offset >= 100), "nothing runs twice");
    finish(&pipeline);
    assert_eq!(cluster.committed("again"), vec![200; 4]);
}

#[test]
fn the_books_of_every_partition_balance_at_any_time() {
    let cluster = Cluster::new();
    let kinds: [Option<&[u8]>; 4] = [Some(b"{}"), Some(br#"{"fail":1}"#), Some(b"{"), None];
    let records: Vec<_> = (0..2_000).map(|seq: i64| (seq, kinds[usize::try_from(seq / 4 % 4).unwrap()].map(<[u8]>::to_vec))).collect();
    // Under a key of its own, or it would keep others waiting.
    cluster.send(&[(4_000, Some(br#"{"wait":300}"#.to_vec()))]);
    cluster.send(&records);
    let definition = r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[
        {"Variable":"$.wait","IsPresent":true,"Next":"W"},{"Variable":"$.fail","IsPresent":true,"Next":"F"}],"Default":"S"},
        "W":{"Type":"Wait","SecondsPath":"$.wait","Next":"S"},"F":{"Type":"Fail"},"S":{"Type":"Succeed"}}}"#;
    let (mut settings, _acknowledged) = cluster.settings("books");
    settings.on_null = OnNull::Skip;
    settings.drain_timeout = Duration::from_secs(1);
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
    await_that("all but the wait have ended", || {
        let books = pipeline.books();
        assert!(books.iter().all(PartitionBooks::is_balanced), "{books:?}");
        books.iter().map(|books| books.read - books.open).sum::<u64>() == 2_000
    });
    for books in pipeline.books() {
        let ends = [books.succeeded, books.failed, books.dead_lettered, books.skipped, books.given_up];
        assert_eq!((ends, books.open), ([125, 125, 125, 125, 0], u64::from(books.partition == 0)), "{books:?}");
    }
    finish(&pipeline);
}
