//! The data plane: one pipeline from source topics to result and dead-letter topic.
//!
//! # The way of a record
//! `source` polls the consumer and learns of partitions → `assignment` carries them to shards that `router` picks → a `shard` takes batches from its own queue and runs one execution a record with a [`Processor`] → `sink` writes results, and dead letters with a `dead_letter` reason → a delivery report closes the record in its partition's window of `offsets` → the mark is stored, and committed by the client, or under KIP-848 at the control thread's word (see `kafka::commit`).
//!
//! # Why no record is lost
//! 1. *Three outcomes only.* A record ends as an acknowledged result, as an acknowledged dead letter (or, by choice, as a null value passed over), or it is not committed.
//! 2. *A record is open from the moment it is taken.* Its partition's window starts at the assignment's start position, so nothing can be fetched that the window does not know. Records that are dropped (the partition is draining, or gone) were never taken.
//! 3. *Only an acknowledgement closes a record.* The producer is idempotent with `acks=all`; an error that may pass is tried again without limit, an error of the record makes it a dead letter, an error of the topic stops the pipeline.
//! 4. *The mark is the lowest open record.* Only marks are stored, so the committed offset is always the next unfinished record, whatever finished above it.
//! 5. *Nothing crosses assignments.* Records, effects and reports carry the epoch of the assignment they began in; a window takes completions of its own epoch only. A shard applies commands only between two batches, and each is answered.
//! 6. *Nothing is fetched past the shards.* Queues are forwarded before each assignment is applied. A record in the consumer's own queue stops the pipeline.
//! 7. *A revoked partition is drained before it is given up*, within a deadline below `max.poll.interval.ms`. What is not finished then is not committed and runs again elsewhere; its late reports touch nothing.
//! 8. *The way out is a path*: see `source`.
//!
//! So after a crash everything from the committed offset on runs again: at least once, and at most one commit interval of results twice, or one drain, during which nothing is committed, plus what finished above an execution that waits long.
//!
//! With `delivery: transactional` it is once for readers of committed records: see `pipeline::transaction`. There an acknowledgement closes a record when its transaction is committed, and marks are committed with it instead of being stored.
//!
//! # What is told beside
//! With `logging` on, `event_log` writes AWS's log records of the executions; it is best effort and holds nothing up.
//!
//! # Where a result goes
//! Its key is the source's key. Its partition has the source's number when both topics have equally many partitions: related records stay together in order, and no key is hashed (90 ns a record in librdkafka's partitioner). Otherwise the key is hashed as Kafka's own clients hash it; without a key the source's number decides.
//!
//! # Threads
//! One control thread and one thread a shard, plus one that asks for lags, one that writes the log of executions where there is one, and with transactions a clerk for each shard. Shards share nothing but bounded queues, atomics that one thread writes, and mutexes that are taken when something changes for the whole pipeline.

mod assignment;
mod books;
#[cfg(test)]
mod bounds_tests;
mod counters;
pub(crate) mod dead_letter;
mod doing;
mod error;
mod event_log;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod guard_tests;
pub(crate) mod header_name;
mod intake;
mod lag;
pub(crate) mod lanes;
pub mod memory;
pub(crate) mod offsets;
#[cfg(test)]
mod order_tests;
mod processor;
#[cfg(test)]
mod replace_tests;
mod result_headers;
pub(crate) mod router;
mod settings;
mod shard;
mod shared;
mod sink;
mod source;
mod start;
mod stuck;
#[cfg(test)]
mod tests;
pub(crate) mod transaction;
#[cfg(test)]
mod transaction_tests;

use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use expressway_engine::Program;
use hdrhistogram::Histogram;

use self::assignment::Coordinator;
use self::event_log::writer::Writer;
use self::shared::{Desk, Health, lock};
use crate::tasks::Integrations;
use crate::thread;

pub use self::books::PartitionBooks;
pub use self::counters::Counters;
pub use self::dead_letter::Reason;
pub use self::error::Error;
pub(crate) use self::error::without_value;
pub use self::event_log::{Destination, Listener, Log, Logging};
pub use self::lag::PartitionLag;
pub use self::processor::{Engine, Processor, Splice};
pub(crate) use self::settings::{DRAIN_MARGIN, IN_FLIGHT_MAX, drain_timeout_max};
pub use self::settings::{Delivery, OnFailure, OnNull, Ordering, ResultHeaders, Settings};
pub(crate) use self::shard::{seed_of, write_failure};
pub use self::shared::Readiness;
pub(crate) use self::shared::new_histogram;
pub use crate::kafka::{GroupProtocol, Profile};

/// How long a shard may take to hand over its latencies before its last ones are used.
const LATENCY_WAIT: Duration = Duration::from_millis(100);

/// How long the end of the log of executions is waited for, once the shards have ended.
const LOG_WAIT: Duration = Duration::from_secs(10);

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Its execution succeeded, and the result was acknowledged.
    Succeeded,
    /// Its execution failed or timed out, and the result was acknowledged.
    Failed,
    /// Its dead letter was acknowledged.
    DeadLettered,
    /// It had no value and was passed over.
    Skipped,
}

/// One finished record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Index into the source topics.
    pub topic: u32,
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// How it ended.
    pub class: Class,
    /// From the record's Kafka timestamp (or from its intake, when it has none) to the acknowledgement.
    pub latency_ns: u64,
}

/// What results name as their origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The definition's name.
    pub definition: String,
    /// Its version.
    pub version: String,
}

/// What a pipeline leaves behind.
#[derive(Debug, Clone)]
pub struct Report {
    /// All counts.
    pub counters: Counters,
    /// Latency of everything acknowledged, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// A running pipeline. Dropping it asks it to shut down and does not wait.
pub struct Pipeline {
    coordinator: Arc<Coordinator>,
    health: Arc<Health>,
    desks: Vec<Arc<Desk>>,
    lags: Arc<Mutex<Vec<PartitionLag>>>,
    shutdown: Arc<AtomicBool>,
    ended: Receiver<Result<(), Error>>,
    outcome: Mutex<Option<Result<(), Error>>>,
    event_log: Option<Writer>,
    _lag_stop: Sender<()>,
}

impl Pipeline {
    /// Starts a pipeline that runs `program`.
    ///
    /// # Errors
    /// Settings that cannot work, no broker in reach, a topic that is missing.
    pub fn start(settings: Settings, program: Arc<Program>, tasks: Arc<dyn Integrations>) -> Result<Self, Error> {
        let identity = Identity { definition: program.state_machine().to_owned(), version: program.version().to_owned() };
        let learned_shapes = settings.learned_shapes;
        let Some(logging) = settings.logging.clone() else {
            return Self::start_with(settings, identity, tasks, |_| Engine::new(&program).with_learned_shapes(learned_shapes));
        };
        let (logs, writer) = Writer::start(&settings, &logging)?;
        let mut pipeline = Self::start_with(settings, identity, tasks, |_| Engine::with_listener(&program, logs.log()).with_learned_shapes(learned_shapes))?;
        pipeline.event_log = Some(writer);
        Ok(pipeline)
    }

    /// Starts a pipeline with processors of one's own, one for each shard.
    ///
    /// # Errors
    /// Settings that cannot work, no broker in reach, a topic that is missing.
    pub fn start_with<P: Processor>(
        settings: Settings,
        identity: Identity,
        tasks: Arc<dyn Integrations>,
        processor: impl FnMut(u32) -> P,
    ) -> Result<Self, Error> {
        start::start(settings, &identity, &tasks, processor)
    }

    /// Runs another program: executions that begin from now on are its, open ones end under the one they began with, and their results and dead letters say which that was. Its state machine has to be the pipeline's. Returns whether every shard runs it now.
    ///
    /// Waits for the shards, so up to a batch.
    #[must_use]
    pub fn replace(&self, program: &Arc<Program>) -> bool {
        self.coordinator.replace(program)
    }

    /// Whether records are worked on, and if not, why.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.health.readiness()
    }

    /// All counts as of the shards' last turns.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (log_events, log_events_dropped) = self.event_log.as_ref().map(Writer::counts).unwrap_or_default();
        Counters {
            log_events,
            log_events_dropped,
            rebalances: self.coordinator.rebalances.load(atomic::Ordering::Relaxed),
            drains_cut_short: self.coordinator.drains_cut_short.load(atomic::Ordering::Relaxed),
            stalls: self.desks.iter().map(|desk| desk.doing.stalls()).sum(),
            commit_errors: self.coordinator.commit_errors.load(atomic::Ordering::Relaxed),
            consumer_problems: self.coordinator.consumer_problems.load(atomic::Ordering::Relaxed),
            client_replacements: self.coordinator.client_replacements.load(atomic::Ordering::Relaxed),
            ..Counters::sum(self.desks.iter().map(|desk| &desk.board))
        }
    }

    /// Latency of everything acknowledged since the start, in nanoseconds. Asks the shards for copies, so it takes up to a turn of each.
    ///
    /// # Panics
    /// Never: all the histograms have the same bounds.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        for desk in &self.desks {
            desk.want_latency();
        }
        self.coordinator.ring_all();
        let mut sum = new_histogram();
        for desk in &self.desks {
            sum.add(desk.latency(LATENCY_WAIT)).expect("all histograms have the same bounds");
        }
        sum
    }

    /// How far behind the assigned partitions are, as of the last round of questions.
    #[must_use]
    pub fn lag(&self) -> Vec<PartitionLag> {
        lock(&self.lags).clone()
    }

    /// The books of the assigned partitions.
    #[must_use]
    pub fn books(&self) -> Vec<PartitionBooks> {
        let placed = self.coordinator.placed();
        placed.iter().map(|placed| PartitionBooks { topic: placed.topic, partition: placed.partition, ..placed.progress.books() }).collect()
    }

    /// The partitions assigned now, as (index into the source topics, partition).
    #[must_use]
    pub fn assigned(&self) -> Vec<(u32, i32)> {
        self.coordinator.placed().iter().map(|placed| (placed.topic, placed.partition)).collect()
    }

    /// Asks the pipeline to shut down in order.
    pub fn request_shutdown(&self) {
        self.shutdown.store(true, atomic::Ordering::Release);
    }

    /// Waits until the pipeline has ended, at most until `deadline` from now.
    ///
    /// # Errors
    /// Why the pipeline stopped itself, or that it has not ended in time.
    pub fn join(&self, deadline: Duration) -> Result<Report, Error> {
        let mut outcome = lock(&self.outcome);
        if outcome.is_none() {
            *outcome = thread::receive(&self.ended, deadline).ok();
            if let (Some(_), Some(event_log)) = (&*outcome, &self.event_log) {
                event_log.join(deadline.min(LOG_WAIT));
            }
        }
        match &*outcome {
            None => Err(self.health.failure().unwrap_or(Error::ShutdownTimeout)),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(())) => Ok(Report { counters: self.counters(), latency: self.latency() }),
        }
    }

    /// Why the pipeline stopped itself, if it did. It still has to be joined.
    #[must_use]
    pub fn failed(&self) -> Option<Error> {
        self.health.failure()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.request_shutdown();
    }
}
