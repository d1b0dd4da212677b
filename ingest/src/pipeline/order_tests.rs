//! What each rule of ordering promises, on the client library's mock cluster; and that the same load breaks the promise without the rule, so that the tests can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::tests::*;
use super::*;
use crate::clock::Clock;
use crate::tasks::{Call, ReplySender};

/// Calls a task, unless the record says not to.
const MAY_BE_QUICK: &str = r#"{"StartAt":"C","States":{
    "C":{"Type":"Choice","Choices":[{"Variable":"$.quick","IsPresent":true,"Next":"S"}],"Default":"T"},
    "T":{"Type":"Task","Resource":"native:slow","Next":"S"},"S":{"Type":"Succeed"}}}"#;

/// Writes records with these keys to partition 0.
fn send(cluster: &Cluster, records: &[(Option<&str>, Option<&str>)]) {
    let config = [("bootstrap.servers", cluster.brokers()), ("linger.ms", "1")];
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::from_iter(config.map(|(key, value)| (key.to_owned(), value.to_owned()))).create().unwrap();
    for (key, value) in records {
        let mut record = BaseRecord::<str, str>::to(SOURCE).partition(0);
        (record.key, record.payload) = (*key, *value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// The order in which these offsets were acknowledged.
fn order_of(acks: &[Acknowledged], offsets: impl Fn(i64) -> bool) -> Vec<i64> {
    acks.iter().map(|ack| ack.offset).filter(|offset| offsets(*offset)).collect()
}

fn source_offset(read: &Read) -> i64 {
    read.headers["expressway-source"].rsplit('/').next().unwrap().parse().unwrap()
}

/// One key waits, has more behind it (one of which is broken, one without a value), and shares its partition with others.
fn waiting_device(ordering: Ordering, group: &str) -> (Cluster, Vec<Acknowledged>, Report) {
    let cluster = Cluster::new();
    let mut records = vec![(Some("slow"), Some(CALLS))];
    records.extend((1..6).map(|offset| {
        (
            Some("slow"),
            if offset == 2 {
                Some("{broken")
            } else if offset == 4 {
                None
            } else {
                Some("{}")
            },
        )
    }));
    records.extend((6..206).map(|offset| (if offset % 3 == 0 { None } else { Some("quick") }, Some("{}"))));
    send(&cluster, &records);
    let (settings, acknowledged) = cluster.settings(group);
    let settings = Settings { ordering, ..settings };
    let held = Held::new();
    let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    // By partition only the dead letters are acknowledged beside what waits, without an order all else.
    let mut acks = await_acks(
        &acknowledged,
        match ordering {
            Ordering::Key => 200,
            Ordering::Partition => 2,
            Ordering::None => 205,
        },
    );
    match ordering {
        Ordering::Key => await_that("the waiting key's other records are deferred", || pipeline.counters().records_deferred == 5),
        Ordering::Partition => await_that("all others have run", || pipeline.counters().executions_started == 204),
        Ordering::None => {}
    }
    held.release();
    let left = 206 - acks.len();
    acks.extend(await_acks(&acknowledged, left));
    assert!(pipeline.books().iter().all(PartitionBooks::is_balanced));
    let report = finish(&pipeline);
    assert_eq!((distinct(&acks).len(), report.counters.records_deferred, cluster.committed(group)[0]), (206, 0, 206));
    (cluster, acks, report)
}

#[test]
fn records_of_one_key_keep_their_order_and_others_overtake_them() {
    let (cluster, acks, report) = waiting_device(Ordering::Key, "by-key");
    assert_eq!(order_of(&acks[..200], |_| true).len(), 200);
    assert!(acks[..200].iter().all(|ack| ack.offset >= 6), "everything of other keys and without a key overtakes");
    assert_eq!(
        (report.counters.executions_succeeded, report.counters.dead_letters_total()),
        (204, 2),
        "a broken record and one without a value pass the turn on"
    );
    let slow: Vec<_> = cluster.read_all(RESULTS).iter().filter(|result| result.key == "slow").map(source_offset).collect();
    assert_eq!(slow, [0, 1, 3, 5]);
    let letters: Vec<_> = cluster.read_all(DEAD).iter().map(source_offset).collect();
    assert_eq!(letters, [2, 4]);
}

#[test]
fn without_ordering_a_key_overtakes_itself() {
    let (_, acks, _) = waiting_device(Ordering::None, "unordered");
    assert_eq!(acks.last().unwrap().offset, 0, "all others were faster");
}

#[test]
fn results_of_a_partition_wait_for_those_below_them() {
    let (cluster, _, _) = waiting_device_by_partition("by-partition");
    let offsets: Vec<_> = cluster.read_all(RESULTS).iter().map(source_offset).collect();
    assert_eq!(offsets.len(), 204);
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert_eq!(cluster.read_all(DEAD).len(), 2);
}

/// As [`waiting_device`], where nothing but dead letters is acknowledged before the wait is over.
fn waiting_device_by_partition(group: &str) -> (Cluster, Vec<Acknowledged>, Report) {
    let (cluster, acks, report) = waiting_device(Ordering::Partition, group);
    assert_eq!(order_of(&acks[..2], |_| true).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([2, 4]), "dead letters keep nobody back");
    (cluster, acks, report)
}

/// Holds calls back until a few have come together, answers them newest first, and counts how many of a key are open at once.
#[derive(Default)]
struct Slow {
    held: Mutex<Vec<(Call, ReplySender)>>,
    overlaps: AtomicU64,
    open: Mutex<BTreeMap<String, usize>>,
    most_open: AtomicUsize,
}

impl Slow {
    fn device(call: &Call) -> String {
        let input: serde_json::Value = serde_json::from_slice(&call.input).unwrap();
        input["device"].as_str().unwrap().to_owned()
    }

    /// Answers what is held, newest first.
    fn answer(&self) {
        let held: Vec<_> = lock(&self.held).drain(..).collect();
        for (call, replies) in held.into_iter().rev() {
            *lock(&self.open).get_mut(&Self::device(&call)).unwrap() -= 1;
            replies.send(crate::tasks::Reply { id: call.id, result: Ok(call.input) });
        }
    }
}

impl Integrations for Slow {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        for call in calls.drain(..) {
            let mut open = lock(&self.open);
            let of_key = open.entry(Self::device(&call)).or_default();
            *of_key += 1;
            self.overlaps.fetch_add(u64::from(*of_key > 1), atomic::Ordering::Relaxed);
            self.most_open.fetch_max(open.values().sum(), atomic::Ordering::Relaxed);
            drop(open);
            lock(&self.held).push((call, replies.clone()));
        }
    }
}

/// Records of eight devices, most of which call a task; how many calls of one device overlapped, how many were open at once, and the results.
fn devices(ordering: Ordering, group: &str) -> (u64, usize, Vec<Read>) {
    const RECORDS: usize = 400;
    let cluster = Cluster::new();
    let names: Vec<_> = (0..8).map(|device| format!("device-{device}")).collect();
    let values: Vec<_> = (0..RECORDS)
        .map(|number| {
            let device = &names[(number * 5 % 8) ^ (number / 7 % 2)];
            (device, if number % 5 == 0 { format!(r#"{{"device":"{device}","quick":true}}"#) } else { format!(r#"{{"device":"{device}"}}"#) })
        })
        .collect();
    send(&cluster, &values.iter().map(|(device, value)| (Some(device.as_str()), Some(value.as_str()))).collect::<Vec<_>>());
    let slow = Arc::new(Slow::default());
    let (settings, acknowledged) = cluster.settings(group);
    let pipeline = Pipeline::start(Settings { ordering, ..settings }, program(MAY_BE_QUICK), Arc::clone(&slow) as Arc<dyn Integrations>).unwrap();
    let done = AtomicUsize::new(0);
    await_that("all records are acknowledged", || {
        slow.answer();
        let acks: usize = acknowledged.try_iter().map(|batch| batch.len()).sum();
        done.fetch_add(acks, atomic::Ordering::Relaxed) + acks >= RECORDS
    });
    finish(&pipeline);
    let results = cluster.read_all(RESULTS);
    assert_eq!((results.len(), cluster.committed(group)[0]), (RECORDS, RECORDS as i64));
    (slow.overlaps.load(atomic::Ordering::Relaxed), slow.most_open.load(atomic::Ordering::Relaxed), results)
}

fn is_sorted_by_key(results: &[Read]) -> bool {
    let mut last = BTreeMap::new();
    results.iter().all(|result| last.insert(result.key.clone(), source_offset(result)).is_none_or(|before| before < source_offset(result)))
}

#[test]
fn executions_of_one_key_never_overlap_and_those_of_others_do() {
    let (overlaps, most_open, results) = devices(Ordering::Key, "devices-by-key");
    assert_eq!(overlaps, 0);
    assert!(most_open > 1, "devices go on beside each other");
    assert!(is_sorted_by_key(&results));
    assert!(!results.iter().map(source_offset).is_sorted(), "devices overtake each other");
}

#[test]
fn executions_of_a_partition_overlap_and_their_results_do_not() {
    let (overlaps, _, results) = devices(Ordering::Partition, "devices-by-partition");
    assert!(overlaps > 0);
    assert!(results.iter().map(source_offset).is_sorted());
}

#[test]
fn without_ordering_executions_of_one_key_overlap_and_overtake() {
    let (overlaps, _, results) = devices(Ordering::None, "devices-unordered");
    assert!(overlaps > 0 && !is_sorted_by_key(&results));
}

#[test]
fn what_waits_in_order_is_bounded_and_everything_ends() {
    for (ordering, group) in [(Ordering::Key, "bound-key"), (Ordering::Partition, "bound-partition")] {
        let cluster = Cluster::new();
        let records: Vec<_> = (0..300).map(|offset| (Some("one"), Some(if offset % 100 == 0 { CALLS } else { "{}" }))).collect();
        send(&cluster, &records);
        let (settings, acknowledged) = cluster.settings(group);
        let settings = Settings { ordering, deferred_records_max: 20, ..settings };
        let held = Held::new();
        let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
        await_that("the partition is paused", || pipeline.counters().partitions_paused == 1);
        assert_eq!((pipeline.counters().records_deferred, acknowledged.len()), (20, 0));
        held.release();
        let mut acks = Vec::new();
        while acks.len() < 300 {
            assert!(pipeline.counters().records_deferred <= 20);
            acks.extend(await_acks(&acknowledged, 1));
        }
        assert!(order_of(&acks, |_| true).is_sorted(), "one key is an order of the whole partition");
        let report = finish(&pipeline);
        assert!(report.counters.pauses >= 1);
        assert_eq!((report.counters.partitions_paused, cluster.committed(group)[0]), (0, 300));
    }
}

#[test]
fn a_drain_finishes_what_was_begun_and_gives_back_what_was_not() {
    let cluster = Cluster::new();
    let mut records = vec![(Some("quick"), Some("{}")), (Some("slow"), Some(CALLS))];
    records.extend([(Some("slow"), Some("{}")); 8]);
    records.extend([(Some("quick"), Some("{}")); 90]);
    send(&cluster, &records);
    let (settings, acknowledged) = cluster.settings_to_join_again("drain");
    let held = Held::new();
    let pipeline = Pipeline::start(settings.clone(), program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    let mut acks = await_acks(&acknowledged, 91);
    await_that("the others wait", || pipeline.counters().records_deferred == 8);
    pipeline.request_shutdown();
    let drains = |readiness| matches!(readiness, Readiness::NotReady(reasons) if reasons.iter().any(|reason| reason == "partitions are draining"));
    await_that("it drains", || drains(pipeline.readiness()));
    await_that("what was not begun is given back", || pipeline.counters().records_deferred == 0);
    held.release();
    let report = finish(&pipeline);
    acks.extend(acknowledged.try_iter().flatten());
    assert_eq!(acks.last().unwrap().offset, 1, "the wait was finished within the deadline");
    assert_eq!((report.counters.executions_started, report.counters.executions_abandoned, report.counters.records_deferred), (92, 0, 0));
    assert_eq!(cluster.committed("drain")[0], 2, "the first record that was not begun is the next one");
    let pipeline = Pipeline::start(settings, program(MAY_CALL), held).unwrap();
    let acks = await_acks(&acknowledged, 98);
    assert!(order_of(&acks, |offset| offset < 10).is_sorted());
    finish(&pipeline);
    assert_eq!(cluster.committed("drain")[0], 100);
}

#[test]
fn a_drain_of_transactions_does_not_wait_for_what_lies_above_a_record_that_was_not_begun() {
    let cluster = Cluster::new();
    let mut records = vec![(Some("slow"), Some(CALLS)), (Some("slow"), Some("{}"))];
    records.extend([(Some("quick"), Some("{}")); 90]);
    send(&cluster, &records);
    let (settings, acknowledged) = cluster.settings("drain-transacted");
    let settings = Settings { delivery: Delivery::Transactional, drain_timeout: Duration::from_secs(60), ..settings };
    let drain_timeout = settings.drain_timeout;
    let held = Held::new();
    let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    await_that("all are taken", || pipeline.counters().executions_started == 91 && pipeline.counters().records_deferred == 1);
    let since_asked = Clock::start();
    pipeline.request_shutdown();
    await_that("what was not begun is given back", || pipeline.counters().records_deferred == 0);
    held.release();
    finish(&pipeline);
    assert!(u128::from(since_asked.now().monotonic_ns) < drain_timeout.as_nanos(), "nothing that can end is left");
    assert_eq!(acknowledged.try_iter().flatten().map(|ack| ack.offset).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_drain_that_is_too_short_gives_the_open_execution_back_too() {
    for (ordering, group) in [(Ordering::Key, "short-key"), (Ordering::Partition, "short-partition")] {
        let cluster = Cluster::new();
        let mut records = vec![(Some("quick"), Some("{}")), (Some("slow"), Some(CALLS))];
        records.extend([(Some("slow"), Some("{}")); 8]);
        send(&cluster, &records);
        let (settings, acknowledged) = cluster.settings(group);
        let settings = Settings { ordering, drain_timeout: Duration::from_secs(1), ..settings };
        let pipeline = Pipeline::start(settings, program(MAY_CALL), Held::new()).unwrap();
        await_acks(&acknowledged, 1);
        await_that("the others wait", || pipeline.counters().records_deferred == 8);
        let report = finish(&pipeline);
        assert!(acknowledged.is_empty());
        assert_eq!((report.counters.executions_abandoned, report.counters.drains_cut_short, report.counters.records_open), (1, 1, 0));
        assert_eq!(cluster.committed(group)[0], 1);
    }
}
