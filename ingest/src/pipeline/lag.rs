//! How far behind a pipeline is, by our own arithmetic, on a thread of its own.
//!
//! In records: the partition's end less its mark. In seconds: the age of the newest record taken, while there is anything left to take or to finish; zero otherwise. The broker is asked for the ends, because what the client has cached stands still exactly when a shard is too busy to fetch.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::assignment::{Coordinator, Placed};
use super::shared::lock;
use crate::clock::Clock;
use crate::kafka::ConsumerCalls as _;
use crate::thread;
use crossbeam::channel::{Receiver, RecvTimeoutError};

/// Between two rounds of questions.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// One question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How far behind one partition is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartitionLag {
    /// Index into the source topics.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
    /// Records that are not finished.
    pub records: u64,
    /// Age of the newest record taken, in seconds; zero when no record is left.
    pub seconds: f64,
}

/// Asks until told to stop.
pub(super) fn run(topics: &[String], coordinator: &Coordinator, clock: Clock, out: &Arc<Mutex<Vec<PartitionLag>>>, stop: &Receiver<()>) {
    loop {
        let mut lags = Vec::new();
        for placed in coordinator.placed() {
            if stop.try_recv() != Err(crossbeam::channel::TryRecvError::Empty) {
                return;
            }
            let Some(topic) = usize::try_from(placed.topic).ok().and_then(|index| topics.get(index)) else { continue };
            // Asked for each time, so that a client that is replaced is let go of.
            let found = coordinator.consumer().and_then(|consumer| consumer.fetch_watermarks(topic, placed.partition, REQUEST_TIMEOUT).ok());
            if let Some((_, end)) = found {
                placed.progress.ends_at(end, clock.now().monotonic_ns);
            }
            // Without an answer a partition is no less behind than it was.
            lags.extend(placed.progress.end().map(|(end, _)| lag(&placed, end, clock.now().wall_ns)));
        }
        *lock(out) = lags;
        match thread::receive(stop, ASK_EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn lag(placed: &Placed, end: i64, wall_ns: u64) -> PartitionLag {
    let records = u64::try_from(end - placed.progress.mark()).unwrap_or(0);
    let newest_ns = placed.progress.newest_ns();
    let age = if records == 0 || newest_ns == 0 { Duration::ZERO } else { Duration::from_nanos(wall_ns.saturating_sub(newest_ns)) };
    PartitionLag { topic: placed.topic, partition: placed.partition, records, seconds: age.as_secs_f64() }
}
