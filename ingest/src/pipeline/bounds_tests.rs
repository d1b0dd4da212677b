//! What stalls, and what does not because of it: tasks that never answer, endless loops, full windows, pipelines beside each other, shards that do not move, and memory. On the client library's mock cluster.

use std::collections::BTreeSet;

use crossbeam::channel::bounded;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::tests::*;
use super::*;
use crate::kafka::Rebalancer as _;
use crate::tasks::{Call, NoIntegrations, ReplySender};

const PARTITIONS: usize = 4;

/// Calls a task that nobody answers where the record says so.
const MAY_STALL: &str = r#"{"StartAt":"C","States":{
    "C":{"Type":"Choice","Choices":[{"Variable":"$.stall","IsPresent":true,"Next":"T"}],"Default":"S"},
    "T":{"Type":"Task","Resource":"native:silent","Next":"S"},"S":{"Type":"Succeed"}}}"#;

/// Takes calls and never answers.
struct Silent;

impl Integrations for Silent {
    fn submit(&self, calls: &mut Vec<Call>, _: &ReplySender) {
        calls.clear();
    }
}

#[test]
fn a_task_that_stalls_holds_its_partitions_window_and_nothing_else() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(br#"{"stall":1}"#.to_vec()))]);
    cluster.fill(4, 2_000);
    let (settings, acknowledged) = cluster.settings("stalled");
    let settings = Settings { window_records_max: 100, drain_timeout: Duration::from_secs(1), ..settings };
    let pipeline = Pipeline::start(settings, program(MAY_STALL), Arc::new(Silent)).unwrap();
    // 500 records of each other partition, and what the window of the stalled one takes beside the one that stalls.
    let acks = await_acks(&acknowledged, 3 * 500 + 99);
    let of = |partition: i32| acks.iter().filter(|ack| ack.partition == partition).count();
    assert_eq!([of(0), of(1), of(2), of(3)], [99, 500, 500, 500]);
    await_that("only the stalled partition is paused", || pipeline.counters().partitions_paused == 1);
    assert_eq!(pipeline.readiness(), Readiness::Ready, "a task that is slow is no reason to take the process out of service");
    let report = finish(&pipeline);
    assert_eq!((report.counters.executions_abandoned, report.counters.stalls), (1, 0));
    assert_eq!(cluster.committed("stalled"), vec![0, 500, 500, 500]);
}

/// Partition 0 has 200 records that stall, in front of the others' records.
fn stalls_beside_others(cluster: &Cluster, padding: usize) {
    let stall = format!(r#"{{"stall":1,"padding":"{}"}}"#, "x".repeat(padding)).into_bytes();
    let stalling: Vec<_> = (0..200).map(|seq| (seq * 4, Some(stall.clone()))).collect();
    cluster.send(&stalling);
    cluster.send(&(0..1_500).map(|seq| (seq + seq / 3 + 1, Some(b"{}".to_vec()))).collect::<Vec<_>>());
}

#[test]
fn a_partition_whose_tasks_stall_takes_no_slot_of_the_others() {
    let cluster = Cluster::new();
    stalls_beside_others(&cluster, 0);
    let (settings, acknowledged) = cluster.settings("share-of-slots");
    let settings = Settings { shards: 1, executions_open_max: 100, drain_timeout: Duration::from_secs(1), ..settings };
    let pipeline = Pipeline::start(settings, program(MAY_STALL), Arc::new(Silent)).unwrap();
    let acks = await_acks(&acknowledged, 1_500);
    assert!(acks.iter().all(|ack| ack.partition != 0));
    await_that("the partition that stalls is paused", || pipeline.counters().partitions_paused == 1);
    // All but what the three others may have whatever this one does: a floor of 3 and as much again of the fair share.
    await_that("it has its share", || pipeline.counters().executions_open == 100 - 3 * 6);
    finish(&pipeline);
    assert_eq!(cluster.committed("share-of-slots"), vec![0, 500, 500, 500]);
}

#[test]
fn a_partition_whose_tasks_stall_takes_no_memory_of_the_others() {
    let cluster = Cluster::new();
    stalls_beside_others(&cluster, 8_000);
    let (settings, acknowledged) = cluster.settings("share-of-memory");
    let settings = Settings { shards: 1, memory_limit: Some(4 << 20), batch_records_max: 16, drain_timeout: Duration::from_secs(1), ..settings };
    let bounds = memory::Bounds::of(&settings, PARTITIONS as u64);
    let pipeline = Pipeline::start(settings, program(MAY_STALL), Arc::new(Silent)).unwrap();
    let acks = await_acks(&acknowledged, 1_500);
    assert!(acks.iter().all(|ack| ack.partition != 0));
    await_that("the partition that stalls is paused", || pipeline.counters().partitions_paused == 1);
    let (open, bytes) = (pipeline.counters().executions_open, pipeline.counters().open_bytes);
    assert!(bytes < bounds.open_bytes_max && open < u64::from(bounds.executions_open_max) / 2, "{open} and {bytes} bytes of {bounds:?}");
    finish(&pipeline);
    assert_eq!(cluster.committed("share-of-memory"), vec![0, 500, 500, 500]);
}

#[test]
fn a_partition_that_was_held_for_its_share_goes_on() {
    let cluster = Cluster::new();
    cluster.send(&(0..300).map(|seq| (seq * 4, Some(br#"{"wait":1}"#.to_vec()))).collect::<Vec<_>>());
    cluster.fill(4, 400);
    let definition = r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.wait","IsPresent":true,"Next":"W"}],"Default":"S"},
        "W":{"Type":"Wait","SecondsPath":"$.wait","Next":"S"},"S":{"Type":"Succeed"}}}"#;
    for ordering in [Ordering::None, Ordering::Key, Ordering::Partition] {
        let group = format!("share-goes-on-{ordering:?}");
        let (settings, acknowledged) = cluster.settings(&group);
        let settings = Settings { shards: 1, executions_open_max: 100, ordering, ..settings };
        let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
        assert_eq!(distinct(&await_acks(&acknowledged, 700)).len(), 700);
        let counters = finish(&pipeline).counters;
        assert!(counters.pauses > 0 && counters.partitions_paused == 0, "{counters:?}");
    }
}

#[test]
fn one_pipelines_stall_does_not_stop_another() {
    let cluster = Cluster::new();
    let stalling: Vec<_> = (0..400).map(|seq| (seq, Some(br#"{"stall":1}"#.to_vec()))).collect();
    cluster.send(&stalling);
    let (settings, stalled_acks) = cluster.settings("stalled-beside");
    let settings = Settings { executions_open_max: 20, drain_timeout: Duration::from_secs(1), ..settings };
    let stalled = Pipeline::start(settings, program(MAY_STALL), Arc::new(Silent)).unwrap();
    await_that("every slot of both shards is taken", || stalled.counters().executions_open == 40);
    let (settings, acknowledged) = cluster.settings("free-beside");
    let free = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Splice::new(1)).unwrap();
    cluster.fill(400, 4_000);
    assert_eq!(distinct(&await_acks(&acknowledged, 4_400)).len(), 4_400);
    await_that("both are ready", || free.readiness() == Readiness::Ready && stalled.readiness() == Readiness::Ready);
    finish(&free);
    assert_eq!((stalled.counters().executions_open, stalled_acks.len()), (40, 0));
    let report = finish(&stalled);
    assert_eq!(report.counters.executions_abandoned, 40);
    assert_eq!((cluster.committed("free-beside"), cluster.committed("stalled-beside")), (vec![1_100; PARTITIONS], vec![0; PARTITIONS]));
}

fn reasons(pipeline: &Pipeline) -> String {
    if let Readiness::NotReady(reasons) = pipeline.readiness() { reasons.join("; ") } else { String::new() }
}

#[test]
fn a_shard_that_does_not_move_is_seen_with_the_record_it_is_at() {
    let cluster = Cluster::new();
    let records: Vec<_> = (0..40).map(|seq| (seq * 4 + 1, Some(if seq == 7 { b"{\"stuck\":1}".to_vec() } else { b"{}".to_vec() }))).collect();
    cluster.send(&records);
    let (settings, acknowledged) = cluster.settings("stuck");
    let settings = Settings { shards: 1, ..settings };
    let (release, released) = bounded(1);
    let processor = |_| Fragile(Splice::new(1), released.clone());
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), processor).unwrap();
    await_that("readiness says where it is stuck", || reasons(&pipeline).contains(": running the execution of heartbeats/1/7"));
    drop(release);
    await_acks(&acknowledged, 40);
    await_that("it is ready again", || pipeline.readiness() == Readiness::Ready);
    assert_eq!(finish(&pipeline).counters.stalls, 1);
}

/// Does not come back from taking calls before it is told to.
struct Jammed(Receiver<()>);

impl Integrations for Jammed {
    fn submit(&self, calls: &mut Vec<Call>, _: &ReplySender) {
        self.0.recv().ok();
        calls.clear();
    }
}

#[test]
fn a_call_that_blocks_its_shard_is_seen_with_its_state() {
    let cluster = Cluster::new();
    cluster.send(&[(2, Some(br#"{"stall":1}"#.to_vec()))]);
    let (settings, _acknowledged) = cluster.settings("jammed");
    let settings = Settings { drain_timeout: Duration::from_secs(1), ..settings };
    let (release, released) = bounded(1);
    let pipeline = Pipeline::start(settings, program(MAY_STALL), Arc::new(Jammed(released))).unwrap();
    await_that("readiness names the call", || reasons(&pipeline).contains("handing calls over, the first to native:silent from state T"));
    release.send(()).unwrap();
    await_that("it is ready again", || pipeline.readiness() == Readiness::Ready);
    finish(&pipeline);
}

/// It would drop the first records of the new partition, and begin its window behind them.
#[test]
fn a_shard_that_does_not_take_its_new_partitions_ends_the_pipeline() {
    let cluster = Cluster::new();
    cluster.send(&[(2, Some(br#"{"stall":1}"#.to_vec()))]);
    let (settings, _acknowledged) = cluster.settings("jammed-assignment");
    let (release, released) = bounded(1);
    let settings = Settings { shards: 1, drain_timeout: Duration::from_secs(1), ..settings };
    let pipeline = Pipeline::start(settings, program(MAY_STALL), Arc::new(Jammed(released))).unwrap();
    await_that("the shard stands", || reasons(&pipeline).contains("handing calls over"));
    let (coordinator, consumer) = (Arc::clone(&pipeline.coordinator), pipeline.coordinator.consumer().expect("a client"));
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(SOURCE, 1);
    coordinator.assign(&consumer, &mut partitions);
    assert!(matches!(pipeline.failed(), Some(Error::Shard { .. })), "{:?}", pipeline.failed());
    drop((coordinator, consumer));
    release.send(()).unwrap();
    assert!(matches!(pipeline.join(PATIENCE), Err(Error::Shard { .. })));
}

#[test]
fn open_records_stay_within_their_memory() {
    let cluster = Cluster::new();
    // 8 MiB in all, of which four shares of a shard's bound would be open at once without one.
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
    let records: Vec<_> = (0..80).map(|seq| (seq, Some(large.clone().into_bytes()))).collect();
    cluster.send(&records);
    let (settings, acknowledged) = cluster.settings("memory");
    let share = 8 << 20;
    let settings = Settings { memory_limit: Some(share), shards: 1, ..settings };
    let bounds = memory::Bounds::of(&settings, PARTITIONS as u64);
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), |_| Splice::new(1)).unwrap();
    let (mut acks, mut most) = (BTreeSet::new(), 0);
    while acks.len() < 80 {
        most = most.max(pipeline.counters().open_bytes);
        acks.extend(distinct(&await_acks(&acknowledged, 1)));
    }
    // The batch that comes at the bound was measured by the one before it: the first may be larger than it was thought to be.
    assert!(most < 2 * bounds.open_bytes_max + 3 * 80 * 100_000 / 4, "{most} of {}", bounds.open_bytes_max);
    assert_eq!(finish(&pipeline).counters.open_bytes, 0);
    assert_eq!(cluster.committed("memory"), vec![20; PARTITIONS]);
}

#[test]
fn executions_that_wait_stay_within_their_memory() {
    let cluster = Cluster::new();
    let padding = "x".repeat(4_000);
    let records: Vec<_> = (0..800).map(|seq| (seq, Some(format!(r#"{{"wait":1,"padding":"{padding}"}}"#).into_bytes()))).collect();
    cluster.send(&records);
    let definition = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","SecondsPath":"$.wait","End":true}}}"#;
    let (settings, acknowledged) = cluster.settings("waiting-memory");
    let settings = Settings { memory_limit: Some(4 << 20), shards: 1, batch_records_max: 16, ..settings };
    let bounds = memory::Bounds::of(&settings, PARTITIONS as u64);
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
    let (mut acks, mut most, mut most_open) = (BTreeSet::new(), 0, 0);
    while acks.len() < 800 {
        let counters = pipeline.counters();
        (most, most_open) = (most.max(counters.open_bytes), most_open.max(counters.executions_open));
        acks.extend(distinct(&await_acks(&acknowledged, 1)));
    }
    // A batch of sixteen may go over the bound.
    assert!(most <= bounds.open_bytes_max + 16 * 32_000, "{most} of {}", bounds.open_bytes_max);
    assert!(most_open < 400, "{most_open} waited at once");
    finish(&pipeline);
    assert_eq!(cluster.committed("waiting-memory"), vec![200; PARTITIONS]);
}

/// Answers `grow` at once with a large result, and keeps every other call until it is released: those of `grown` apart.
struct Grows {
    result: Vec<u8>,
    small: Arc<Held>,
    grown: Arc<Held>,
}

impl Integrations for Grows {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        for call in calls.extract_if(.., |call| &*call.resource == "native:grow") {
            replies.send(crate::tasks::Reply { id: call.id, result: Ok(self.result.clone()) });
        }
        self.grown.submit(&mut calls.extract_if(.., |call| &*call.resource == "native:grown").collect(), replies);
        self.small.submit(calls, replies);
    }
}

/// The bound is on what is taken. What grows afterwards counts, so nothing more is taken, but nobody is stopped from growing: at most, all that were begun while they were small.
#[test]
fn what_executions_grow_by_while_they_wait_goes_beyond_their_memory() {
    const GROWTH: usize = 100_000;
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let definition = r#"{"StartAt":"Small","States":{"Small":{"Type":"Task","Resource":"native:held","Next":"Grow"},
        "Grow":{"Type":"Task","Resource":"native:grow","Next":"Grown"},"Grown":{"Type":"Task","Resource":"native:grown","Next":"S"},"S":{"Type":"Pass","Result":1,"End":true}}}"#;
    let (settings, acknowledged) = cluster.settings("growing-memory");
    let settings = Settings { memory_limit: Some(4 << 20), shards: 1, ..settings };
    let bounds = memory::Bounds::of(&settings, PARTITIONS as u64);
    let (small, grown) = (Held::new(), Held::new());
    let tasks = Grows { result: format!("\"{}\"", "x".repeat(GROWTH)).into_bytes(), small: Arc::clone(&small), grown: Arc::clone(&grown) };
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(tasks)).unwrap();
    // All partitions are as busy, so all slots are taken, or all but a partition's share.
    let many = u64::from(bounds.executions_open_max) / 2;
    await_that("small executions have the slots", || pipeline.counters().executions_open > many);
    assert!(pipeline.counters().open_bytes < bounds.open_bytes_max + 1_000_000, "{} of {bounds:?}", pipeline.counters().open_bytes);
    small.release();
    await_that("they are several times as large as the bound", || pipeline.counters().open_bytes > 4 * bounds.open_bytes_max);
    let open = pipeline.counters().executions_open;
    assert!(open <= bounds.executions_open_max.into(), "{open} of {bounds:?}");
    grown.release();
    assert_eq!(distinct(&await_acks(&acknowledged, 400)).len(), 400);
    assert_eq!(finish(&pipeline).counters.open_bytes, 0);
    assert_eq!(cluster.committed("growing-memory"), vec![100; PARTITIONS]);
}

/// Loops where the record says so, for as many seconds.
fn looping(seconds: u32) -> Arc<Program> {
    program(&format!(
        r#"{{"TimeoutSeconds":{seconds},"StartAt":"C","States":{{
        "C":{{"Type":"Choice","Choices":[{{"Variable":"$.loop","IsPresent":true,"Next":"C"}}],"Default":"S"}},"S":{{"Type":"Succeed"}}}}}}"#
    ))
}

#[test]
fn others_go_on_beside_an_endless_loop() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(br#"{"loop":true}"#.to_vec()))]);
    cluster.fill(4, 400);
    let (settings, acknowledged) = cluster.settings("beside-a-loop");
    let settings = Settings { shards: 1, drain_timeout: Duration::from_secs(1), ..settings };
    let pipeline = Pipeline::start(settings, looping(300), Arc::new(NoIntegrations)).unwrap();
    let acks = await_acks(&acknowledged, 400);
    assert!(!distinct(&acks).contains(&(0, 0)));
    let report = finish(&pipeline);
    assert_eq!((report.counters.executions_abandoned, report.counters.executions_succeeded), (1, 400));
}

#[test]
fn an_endless_loop_times_out() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(br#"{"loop":true}"#.to_vec()))]);
    cluster.fill(4, 400);
    let (settings, acknowledged) = cluster.settings("looping");
    let pipeline = Pipeline::start(Settings { shards: 1, ..settings }, looping(1), Arc::new(NoIntegrations)).unwrap();
    let acks = await_acks(&acknowledged, 401);
    let failed: Vec<_> = acks.iter().filter(|ack| ack.class == Class::Failed).map(|ack| (ack.partition, ack.offset)).collect();
    assert_eq!(failed, [(0, 0)]);
    let report = finish(&pipeline);
    assert_eq!((report.counters.executions_timed_out, report.counters.executions_succeeded), (1, 400));
    let timed_out =
        cluster.read_all(RESULTS).into_iter().find(|result| result.headers.get("expressway-status").is_some_and(|status| status == "TIMED_OUT")).unwrap();
    assert_eq!(timed_out.headers["expressway-source"], "heartbeats/0/0");
}

#[test]
fn a_full_window_pauses_its_partition_and_half_a_window_resumes_it() {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(CALLS.into()))]);
    cluster.send(&(1..2_000).map(|seq| (seq * 4, Some(b"{}".to_vec()))).collect::<Vec<_>>());
    let (mut settings, acknowledged) = cluster.settings("full");
    settings.window_records_max = 100;
    let held = Held::new();
    let pipeline = Pipeline::start(settings, program(MAY_CALL), Arc::clone(&held) as Arc<dyn Integrations>).unwrap();
    let mut acks = await_acks(&acknowledged, 99);
    await_that("the partition is paused", || pipeline.counters().partitions_paused == 1);
    acks.extend(acknowledged.try_iter().flatten());
    assert_eq!(acks.len(), 99, "a window's records overtake the waiting one, and no more");
    held.release();
    acks.extend(await_acks(&acknowledged, 1_901));
    assert_eq!(distinct(&acks).len(), 2_000);
    let report = finish(&pipeline);
    assert!(report.counters.pauses >= 1);
    assert_eq!(report.counters.partitions_paused, 0);
    assert_eq!(cluster.committed("full")[0], 2_000);
}

#[test]
fn executions_open_are_bounded_and_all_end() {
    let cluster = Cluster::new();
    cluster.fill(0, 400);
    let (mut settings, acknowledged) = cluster.settings("bounded");
    (settings.executions_open_max, settings.batch_records_max, settings.shards) = (50, 32, 1);
    let definition = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"End":true}}}"#;
    let pipeline = Pipeline::start(settings, program(definition), Arc::new(NoIntegrations)).unwrap();
    let mut acks = Vec::new();
    while acks.len() < 400 {
        assert!(pipeline.counters().executions_open <= 50);
        acks.extend(await_acks(&acknowledged, 1));
    }
    assert_eq!(distinct(&acks).len(), 400);
    finish(&pipeline);
}
