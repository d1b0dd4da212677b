//! What shards, control thread and control plane share: health, counts, latency, wake-ups. Nothing here is touched more than once a turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Wake;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;

use super::Error;
use super::counters::Board;
use super::doing::Doing;
use crate::kafka::ShardQueue;
use crate::thread::{self, Thread};

/// Shortest latency told apart: a microsecond.
const LATENCY_MIN_NS: u64 = 1_000;
/// Longest latency told apart: an hour, an order of magnitude beyond the longest execution.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Whether records can be worked on, as load balancers ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Partitions are assigned and every shard moves.
    Ready,
    /// Not now, for these reasons.
    NotReady(Vec<String>),
}

/// A mutex whose holders never panic; if one does, its data is still whole, because every change here is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong, and who should stop because of it.
#[derive(Debug, Default)]
pub(super) struct Health {
    stopping: AtomicBool,
    /// How many partitions are assigned: told when they come and go, so that it is never behind the records.
    assigned: AtomicUsize,
    /// Revocations that are being served. The control thread serves them itself, so it cannot say so on its looks.
    draining: AtomicU32,
    failure: Mutex<Option<Error>>,
    blocked: Mutex<BTreeMap<u32, String>>,
    reasons: Mutex<Vec<String>>,
}

impl Health {
    /// Ends the pipeline: no record is taken any more. The first error counts.
    pub(super) fn fail(&self, error: Error) {
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            tracing::error!(%error, "pipeline stops");
            *failure = Some(error);
        }
        self.stopping.store(true, Ordering::Release);
    }

    /// No record is taken any more.
    pub(super) fn stop_intake(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// So many partitions are assigned from now on.
    pub(super) fn set_assigned(&self, partitions: usize) {
        self.assigned.store(partitions, Ordering::Release);
    }

    /// Whether a partition is assigned.
    pub(super) fn has_partitions(&self) -> bool {
        self.assigned.load(Ordering::Acquire) > 0
    }

    /// A revocation begins; it is over when the value is dropped.
    pub(super) fn drain(&self) -> Draining<'_> {
        self.draining.fetch_add(1, Ordering::Relaxed);
        Draining(self)
    }

    /// A shard cannot go on for now.
    pub(super) fn block(&self, shard: u32, reason: String) {
        lock(&self.blocked).insert(shard, reason);
    }

    /// The shard can go on.
    pub(super) fn unblock(&self, shard: u32) {
        lock(&self.blocked).remove(&shard);
    }

    /// What the control thread found on its last look.
    pub(super) fn set_reasons(&self, reasons: Vec<String>) {
        *lock(&self.reasons) = reasons;
    }

    pub(super) fn readiness(&self) -> Readiness {
        let mut reasons = lock(&self.reasons).clone();
        if self.assigned.load(Ordering::Acquire) == 0 {
            reasons.push("no partition is assigned".to_owned());
        }
        if self.draining.load(Ordering::Relaxed) > 0 {
            reasons.push("partitions are draining".to_owned());
        }
        reasons.extend(lock(&self.blocked).values().cloned());
        reasons.extend(lock(&self.failure).as_ref().map(ToString::to_string));
        reasons.dedup();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }
}

/// A revocation that is being served.
pub(super) struct Draining<'h>(&'h Health);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.draining.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A latency histogram: three digits from a microsecond to an hour.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("the bounds are in order and three digits are allowed")
}

/// Where a shard puts what others read.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) board: Board,
    /// The shard's monotonic clock at its last turn.
    pub(super) beat: AtomicU64,
    /// The same when it last looked for records, had room for them, and found none.
    pub(super) found_none_at: AtomicU64,
    /// What it is doing now.
    pub(super) doing: Doing,
    epochs: Arc<AtomicU32>,
    latency_wanted: AtomicBool,
    latency_out: Sender<Histogram<u64>>,
    latency_in: Receiver<Histogram<u64>>,
    latency_last: Mutex<Histogram<u64>>,
}

impl Desk {
    pub(super) fn new(epochs: &Arc<AtomicU32>) -> Self {
        let (latency_out, latency_in) = bounded(1);
        Self {
            board: Board::new(),
            beat: AtomicU64::new(0),
            found_none_at: AtomicU64::new(0),
            doing: Doing::new(),
            epochs: Arc::clone(epochs),
            latency_wanted: AtomicBool::new(false),
            latency_out,
            latency_in,
            latency_last: Mutex::new(new_histogram()),
        }
    }

    /// A fresh epoch, for a partition whose position went back.
    pub(super) fn next_epoch(&self) -> u32 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a copy of the histogram over, if somebody asked for it. Called by the shard, once a turn.
    pub(super) fn hand_over(&self, latency: &Histogram<u64>) {
        if self.latency_wanted.load(Ordering::Relaxed) && self.latency_wanted.swap(false, Ordering::Acquire) {
            // A copy that nobody fetched yet is as good as this one.
            self.latency_out.try_send(latency.clone()).ok();
        }
    }

    /// Asks for a copy of the histogram.
    pub(super) fn want_latency(&self) {
        while self.latency_in.try_recv().is_ok() {}
        self.latency_wanted.store(true, Ordering::Release);
    }

    /// Fetches the copy asked for, or the last one when the shard does not answer in time.
    pub(super) fn latency(&self, wait: Duration) -> Histogram<u64> {
        let mut last = lock(&self.latency_last);
        if let Ok(fresh) = thread::receive(&self.latency_in, wait) {
            *last = fresh;
        }
        last.clone()
    }
}

/// Wakes a shard wherever it waits.
pub(super) struct Alarm {
    /// None while the client is replaced.
    queue: Mutex<Option<Arc<ShardQueue>>>,
    thread: OnceLock<Thread>,
}

impl Alarm {
    pub(super) fn new(queue: Arc<ShardQueue>) -> Self {
        Self { queue: Mutex::new(Some(queue)), thread: OnceLock::new() }
    }

    /// Names the queue at which the shard waits from now on; none lets go of the client.
    pub(super) fn set_queue(&self, queue: Option<Arc<ShardQueue>>) {
        *lock(&self.queue) = queue;
    }

    /// Called on the shard's thread, once.
    pub(super) fn set_thread(&self) {
        self.thread.get_or_init(thread::current);
    }

    pub(super) fn ring(&self) {
        if let Some(queue) = &*lock(&self.queue) {
            queue.wake_consumer();
        }
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned() -> Health {
        let health = Health::default();
        health.set_assigned(1);
        health
    }

    #[test]
    fn ready_begins_and_ends_with_the_partitions() {
        let (health, none) = (Health::default(), Readiness::NotReady(vec!["no partition is assigned".to_owned()]));
        assert_eq!(health.readiness(), none);
        health.set_assigned(2);
        assert_eq!(health.readiness(), Readiness::Ready);
        health.set_assigned(0);
        assert_eq!(health.readiness(), none);
    }

    #[test]
    fn the_first_failure_counts_and_makes_unready() {
        let health = assigned();
        assert_eq!(health.readiness(), Readiness::Ready);
        health.fail(Error::ShutdownTimeout);
        health.fail(Error::Thread("x".to_owned()));
        assert!(health.is_stopping());
        assert_eq!(health.readiness(), Readiness::NotReady(vec![Error::ShutdownTimeout.to_string()]));
    }

    #[test]
    fn a_revocation_makes_unready_until_it_is_over() {
        let health = assigned();
        let draining = health.drain();
        assert_eq!(health.readiness(), Readiness::NotReady(vec!["partitions are draining".to_owned()]));
        drop(draining);
        assert_eq!(health.readiness(), Readiness::Ready);
    }

    #[test]
    fn a_histogram_is_handed_over_on_request() {
        let desk = Desk::new(&Arc::new(AtomicU32::new(1)));
        let mut histogram = new_histogram();
        histogram.saturating_record(5_000_000);
        desk.hand_over(&histogram);
        assert_eq!(desk.latency(Duration::ZERO).len(), 0, "nobody asked");
        desk.want_latency();
        desk.hand_over(&histogram);
        assert_eq!(desk.latency(Duration::ZERO).len(), 1);
        assert_eq!(desk.latency(Duration::ZERO).len(), 1, "the last copy stays");
    }
}
