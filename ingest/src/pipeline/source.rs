//! The control thread of a pipeline: polls the consumer, watches the shards, and walks the way out.
//!
//! The consumer's own queue carries rebalances, errors and answers to commits, and never a record: a record there was fetched past the shards' queues, so the pipeline stops at once.
//!
//! **The way out**, always in this order: stop intake → drain → flush → commit → leave → exit. Leaving is `close_queue()` and polling until `closed()` with the shards still running, because the last revocation is served inside those polls: it drains the partitions (which includes the delivery reports), stores their marks, and the client commits them as it unassigns. Only then do the shards stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::assignment::Coordinator;
use super::shard::Command;
use super::shared::{Desk, Health};
use super::{Error, Settings};
use crate::clock::Clock;
use crate::kafka::{Consumer, ConsumerCalls as _, ErrorCode};
use crate::thread::{self, JoinHandle};

/// One poll of the consumer's own queue.
const POLL: Duration = Duration::from_millis(20);
/// Between two looks at the shards.
const LOOK_EVERY_NS: u64 = 200_000_000;
/// A shard that has not turned for so long is stalled: a turn is a batch, far below a second.
const STALL_AFTER_NS: u64 = 5_000_000_000;
/// What a pipeline that failed still gives its shards to store the marks of what was acknowledged.
const FAILURE_DRAIN: Duration = Duration::from_secs(2);
/// What is kept of the shutdown's time for leaving the group after the drain.
const LEAVE_RESERVE: Duration = Duration::from_secs(3);

/// The control thread's belongings.
pub(super) struct Source {
    pub(super) consumer: Consumer,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) health: Arc<Health>,
    pub(super) desks: Vec<Arc<Desk>>,
    pub(super) shards: Vec<JoinHandle<()>>,
    pub(super) clock: Clock,
    pub(super) settings: Arc<Settings>,
    pub(super) shutdown: Arc<AtomicBool>,
}

impl Source {
    /// Subscribes and runs until the shutdown is asked for or the pipeline fails.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let topics: Vec<&str> = self.settings.source_topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.handle().subscribe(&topics) {
            self.health.fail(Error::Client(error));
        }
        let mut looked_ns = 0;
        while !self.shutdown.load(Ordering::Acquire) && self.health.failure().is_none() {
            self.poll();
            let now_ns = self.clock.now().monotonic_ns;
            if now_ns.saturating_sub(looked_ns) >= LOOK_EVERY_NS || looked_ns == 0 {
                looked_ns = now_ns;
                self.look(now_ns);
            }
        }
        let left = self.leave();
        self.health.failure().map_or(left, Err)
    }

    fn poll(&self) {
        match self.consumer.handle().poll(POLL) {
            None => {}
            Some(Ok(stray)) => {
                self.health.fail(Error::StrayRecord { topic: stray.topic().to_owned(), partition: stray.partition(), offset: stray.offset() });
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                self.health.fail(Error::Fatal { client: "consumer", detail: code.to_string() });
            }
            Some(Err(error)) => self.consumer_error(&error),
        }
    }

    /// The client recovers from these by itself: brokers down, coordinator moved, and the like. A topic that is not ours to read is not one of them.
    fn consumer_error(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(code @ (ErrorCode::TopicAuthorizationFailed | ErrorCode::GroupAuthorizationFailed)) => {
                self.health.fail(Error::Fatal { client: "consumer", detail: code.to_string() });
            }
            _ => {
                self.coordinator.consumer_problems.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "consumer reports a problem");
            }
        }
    }

    /// Looks after the shards, and says whether the pipeline is ready.
    fn look(&mut self, now_ns: u64) {
        let mut reasons = Vec::new();
        if self.coordinator.placed().is_empty() {
            reasons.push("no partition is assigned".to_owned());
        }
        if self.coordinator.is_draining() {
            reasons.push("partitions are draining".to_owned());
        }
        for (index, (desk, thread)) in self.desks.iter().zip(&self.shards).enumerate() {
            let shard = u32::try_from(index).unwrap_or(u32::MAX);
            let still_ns = now_ns.saturating_sub(desk.beat.load(Ordering::Relaxed));
            if thread.is_finished() {
                self.health.fail(Error::Shard { shard, detail: "ended".to_owned() });
            } else if still_ns > STALL_AFTER_NS {
                reasons.push(format!("shard {shard} has not moved for {} s", still_ns / 1_000_000_000));
            }
        }
        self.health.set_reasons(reasons);
    }

    fn leave(&mut self) -> Result<(), Error> {
        self.health.stop_intake();
        self.health.set_reasons(vec!["shutting down".to_owned()]);
        let failed = self.health.failure().is_some();
        let time = if failed { FAILURE_DRAIN + LEAVE_RESERVE } else { self.settings.shutdown_timeout };
        let end_ns = self.clock.now().monotonic_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let drain_end_ns = end_ns.saturating_sub(u64::try_from(LEAVE_RESERVE.min(time / 2).as_nanos()).unwrap_or(0));
        self.coordinator.shut_down_at(drain_end_ns);
        self.coordinator.ring_all();
        if let Err(error) = self.consumer.handle().close_queue() {
            tracing::warn!(%error, "consumer could not be closed in order");
        }
        while !self.consumer.handle().closed() && self.clock.now().monotonic_ns < end_ns {
            self.poll();
        }
        let closed = self.consumer.handle().closed();
        self.coordinator.command_all(|| Command::Stop { deadline_ns: end_ns });
        let stopped = self.join_shards(end_ns);
        if closed && stopped {
            return Ok(());
        }
        tracing::error!(closed, stopped, "shutdown did not end in time");
        Err(Error::ShutdownTimeout)
    }

    fn join_shards(&mut self, end_ns: u64) -> bool {
        // A grace beyond the deadline, for the last turn.
        let grace_ns = u64::try_from(LEAVE_RESERVE.as_nanos()).unwrap_or(u64::MAX);
        while self.shards.iter().any(|thread| !thread.is_finished()) {
            if self.clock.now().monotonic_ns > end_ns.saturating_add(grace_ns) {
                return false;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        // A thread that panicked has said so already.
        self.shards.drain(..).all(|thread| thread.join().is_ok())
    }
}
