//! What must not pass unseen: batches that cannot be read. On the client library's mock cluster; each of these tests fails when its guard is taken out.

use crossbeam::channel::bounded;

use super::tests::{Cluster, Fragile, PATIENCE, SOURCE, await_that, identity};
use super::*;
use crate::kafka::damage::{self, Damage};
use crate::tasks::NoIntegrations;

fn is_not_ready(pipeline: &Pipeline) -> bool {
    matches!(pipeline.readiness(), Readiness::NotReady(_))
}

/// A pipeline that finds a stuck record, five others, a damaged batch that `says` to lie at an offset, and five more in the log of partition 0. What the client makes of them, `fetched` in number, waits before the shard takes any of it. Returns why the pipeline ended, what it finished, and what it committed.
fn damaged(group: &str, damage: (Damage, i64), fetched: usize) -> (String, Vec<i64>, i64) {
    let cluster = Cluster::new();
    cluster.send(&[(0, Some(b"{\"stuck\":1}".to_vec()))]);
    damage::append(cluster.brokers(), SOURCE, 0, 1, 5, damage);
    cluster.send(&(0..5).map(|_| (0, Some(b"{}".to_vec()))).collect::<Vec<_>>());
    let (mut settings, acknowledged) = cluster.settings(group);
    settings.client_options.push(("check.crcs".to_owned(), "true".to_owned()));
    let settings = Settings { shards: 1, ..settings };
    let (release, released) = bounded(1);
    let processor = |_| Fragile(Splice::new(1), released.clone());
    let pipeline = Pipeline::start_with(settings, identity(), Arc::new(NoIntegrations), processor).unwrap();
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
