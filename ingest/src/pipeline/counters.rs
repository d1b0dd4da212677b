//! Counts of one shard, kept without locks, and their sum over all shards.
//!
//! A shard counts in plain numbers of its own and publishes them once a turn into atomics that only it writes (relaxed stores). Readers add up what they see: each number is exact as of its shard's last turn.

use std::sync::atomic::{AtomicU64, Ordering};

use super::dead_letter::Reason;

/// One count of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    RecordsRead,
    BytesRead,
    ExecutionsStarted,
    Succeeded,
    Failed,
    TimedOut,
    Skipped,
    RecordsDropped,
    Rewinds,
    Pauses,
    Panics,
    Calls,
    StaleReplies,
    OverflowedReplies,
    StaleReports,
    ProduceRetries,
    TransactionsCommitted,
    TransactionsAborted,
    StoreErrors,
    ClientErrors,
    Abandoned,
    DeadLetters,
    Acknowledged,
    Transitions,
    Turns,
    ShapeHits,
    ShapeMisses,
    ShapeSkips,
    ShapesLearned,
    ShapesEvicted,
    // From here on: levels, not counts.
    ExecutionsOpen,
    RecordsOpen,
    CallsOpen,
    TimersOpen,
    MarkDistance,
    DeadLettersStuck,
    RecordsDeferred,
    OpenBytes,
    PartitionsPaused,
}

const COUNTS: usize = Count::PartitionsPaused as usize + 1;
const REASONS: usize = Reason::ALL.len();

/// A shard's own numbers.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [u64; COUNTS],
    reasons: [u64; REASONS],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: [0; COUNTS], reasons: [0; REASONS] }
    }

    pub(crate) fn add(&mut self, count: Count, amount: u64) {
        self.counts[count as usize] += amount;
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    pub(crate) fn set(&mut self, count: Count, level: u64) {
        self.counts[count as usize] = level;
    }

    pub(crate) fn dead_letter(&mut self, reason: Reason) {
        self.reasons[reason.index()] += 1;
        self.add(Count::DeadLetters, 1);
    }

    /// How many dead letters there are of each reason, in the order of [`Reason::ALL`].
    pub(crate) fn reasons(&self) -> &[u64; REASONS] {
        &self.reasons
    }
}

/// What a shard has published.
#[derive(Debug)]
pub(crate) struct Board {
    counts: [AtomicU64; COUNTS],
    reasons: [AtomicU64; REASONS],
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; COUNTS], reasons: [const { AtomicU64::new(0) }; REASONS] }
    }

    /// Publishes a shard's numbers. Only that shard calls this.
    pub(crate) fn publish(&self, tally: &Tally) {
        for (cell, value) in self.counts.iter().zip(tally.counts) {
            cell.store(value, Ordering::Relaxed);
        }
        for (cell, value) in self.reasons.iter().zip(tally.reasons) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }
}

/// The counts of a pipeline, summed over its shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Records taken up.
    pub records_read: u64,
    /// Bytes of their values.
    pub bytes_read: u64,
    /// Executions begun.
    pub executions_started: u64,
    /// States entered by executions that ended.
    pub transitions: u64,
    /// Executions that succeeded.
    pub executions_succeeded: u64,
    /// Executions that failed.
    pub executions_failed: u64,
    /// Executions that timed out.
    pub executions_timed_out: u64,
    /// Executions given up uncommitted, because their partition went to another member before they ended.
    pub executions_abandoned: u64,
    /// Records whose result or dead letter the broker acknowledged.
    pub records_acknowledged: u64,
    /// Dead letters by reason.
    pub dead_letters: Vec<(Reason, u64)>,
    /// Null values passed over.
    pub records_skipped: u64,
    /// Records that came for a partition which is draining or gone, and were left to its next owner.
    pub records_dropped: u64,
    /// How often a partition's position went back, after its log was cut.
    pub rewinds: u64,
    /// How often a partition was paused: its window was full, too much waited in order or above the mark, or it held its share.
    pub pauses: u64,
    /// Panics of the engine.
    pub panics: u64,
    /// Task calls begun.
    pub task_calls: u64,
    /// Task answers that came too late.
    pub stale_replies: u64,
    /// Task answers that found the inbox full: an integration answered twice.
    pub overflowed_replies: u64,
    /// Delivery reports of an assignment that is over.
    pub stale_reports: u64,
    /// Records that came back from the client and were sent again.
    pub produce_retries: u64,
    /// Transactions committed.
    pub transactions_committed: u64,
    /// Transactions aborted, whose results went again.
    pub transactions_aborted: u64,
    /// Marks that could not be stored.
    pub store_errors: u64,
    /// Errors that came in place of records, and calls that the client refused.
    pub client_errors: u64,
    /// Problems that the consumer has reported and goes on after.
    pub consumer_problems: u64,
    /// Assignments and revocations served.
    pub rebalances: u64,
    /// Revocations that ended before everything was finished.
    pub drains_cut_short: u64,
    /// How often a shard has not moved for seconds.
    pub stalls: u64,
    /// Commits that the broker refused.
    pub commit_errors: u64,
    /// Kafka clients made anew.
    pub client_replacements: u64,
    /// Log records of executions written.
    pub log_events: u64,
    /// Log records of executions that their destination did not take.
    pub log_events_dropped: u64,
    /// Executions open now.
    pub executions_open: u64,
    /// Records open now: executing, or waiting for their acknowledgement.
    pub records_open: u64,
    /// Records taken that wait for others of their key or partition: to be begun, or for their result to be sent.
    pub records_deferred: u64,
    /// Memory of the open records, their results and the executions that wait, as it is counted against the limit.
    pub open_bytes: u64,
    /// Task calls open now.
    pub task_calls_open: u64,
    /// Timers set now.
    pub timers_open: u64,
    /// Records between the marks and the newest records: what would run again after a crash, at most.
    pub mark_distance: u64,
    /// Dead letters that the broker refuses, kept and tried again now and then.
    pub dead_letters_stuck: u64,
    /// Messages read by a learned shape.
    pub shape_hits: u64,
    /// Messages that fitted no learned shape.
    pub shape_misses: u64,
    /// Messages that were not compared with learned shapes, because those had not been worth it.
    pub shape_skips: u64,
    /// Shapes learned.
    pub shapes_learned: u64,
    /// Shapes given up for others.
    pub shapes_evicted: u64,
    /// Partitions paused now.
    pub partitions_paused: u64,
}

impl Counters {
    /// Adds up what the shards have published.
    pub(crate) fn sum<'b>(boards: impl Iterator<Item = &'b Board> + Clone) -> Self {
        let sum = |count: Count| boards.clone().map(|board| board.read(count)).sum();
        let dead_letters = |reason: Reason| boards.clone().map(|board| board.reasons[reason.index()].load(Ordering::Relaxed)).sum();
        Self {
            records_read: sum(Count::RecordsRead),
            bytes_read: sum(Count::BytesRead),
            executions_started: sum(Count::ExecutionsStarted),
            transitions: sum(Count::Transitions),
            executions_succeeded: sum(Count::Succeeded),
            executions_failed: sum(Count::Failed),
            executions_timed_out: sum(Count::TimedOut),
            executions_abandoned: sum(Count::Abandoned),
            records_acknowledged: sum(Count::Acknowledged),
            dead_letters: Reason::ALL.into_iter().map(|reason| (reason, dead_letters(reason))).collect(),
            records_skipped: sum(Count::Skipped),
            records_dropped: sum(Count::RecordsDropped),
            rewinds: sum(Count::Rewinds),
            pauses: sum(Count::Pauses),
            panics: sum(Count::Panics),
            task_calls: sum(Count::Calls),
            stale_replies: sum(Count::StaleReplies),
            overflowed_replies: sum(Count::OverflowedReplies),
            stale_reports: sum(Count::StaleReports),
            produce_retries: sum(Count::ProduceRetries),
            transactions_committed: sum(Count::TransactionsCommitted),
            transactions_aborted: sum(Count::TransactionsAborted),
            store_errors: sum(Count::StoreErrors),
            client_errors: sum(Count::ClientErrors),
            shape_hits: sum(Count::ShapeHits),
            shape_misses: sum(Count::ShapeMisses),
            shape_skips: sum(Count::ShapeSkips),
            shapes_learned: sum(Count::ShapesLearned),
            shapes_evicted: sum(Count::ShapesEvicted),
            executions_open: sum(Count::ExecutionsOpen),
            records_open: sum(Count::RecordsOpen),
            open_bytes: sum(Count::OpenBytes),
            records_deferred: sum(Count::RecordsDeferred),
            task_calls_open: sum(Count::CallsOpen),
            timers_open: sum(Count::TimersOpen),
            mark_distance: sum(Count::MarkDistance),
            dead_letters_stuck: sum(Count::DeadLettersStuck),
            partitions_paused: sum(Count::PartitionsPaused),
            ..Self::default()
        }
    }

    /// Dead letters of all reasons together.
    #[must_use]
    pub fn dead_letters_total(&self) -> u64 {
        self.dead_letters.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_add_up() {
        let boards = [Board::new(), Board::new()];
        for (board, amount) in boards.iter().zip([3, 4]) {
            let mut tally = Tally::new();
            tally.add(Count::RecordsRead, amount);
            tally.set(Count::PartitionsPaused, 1);
            tally.dead_letter(Reason::Panic);
            board.publish(&tally);
        }
        let counters = Counters::sum(boards.iter());
        assert_eq!((counters.records_read, counters.partitions_paused, counters.dead_letters_total()), (7, 2, 2));
    }
}
