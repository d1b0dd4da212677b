//! The last line of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::auditor::{Stopwatch, Verdict};
use crate::feeder::open;
use crate::run::{Plan, UNEXPLAINED};
use crate::stage::Stage;

/// What a run came to: one JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Records that the source topic acknowledged.
    records: u64,
    /// Faults that were begun.
    faults: u64,
    /// Acknowledged records without an outcome.
    pub(crate) lost: u64,
    /// Outcomes of no record.
    pub(crate) unknown: u64,
    /// Outcomes beyond the first.
    pub(crate) duplicates: u64,
    /// What the faults were drawn from.
    seed: u64,
    /// Outcomes whose payload is not their record's.
    pub(crate) wrong: u64,
    results: u64,
    dead_letters: u64,
    /// Dead letters of results that a result topic made small refused.
    too_large: u64,
    /// Records that were sent and never acknowledged, and how many of them came out all the same.
    refused: usize,
    unacknowledged: u64,
    /// Duplicates by the fault that began last before them.
    duplicates_after: BTreeMap<&'static str, u64>,
    /// Duplicates that come to each fault that may cost some and each of a process's shards, in batches.
    duplicates_per_fault_and_shard_in_batches: f64,
    /// Duplicates in a round before any fault that may cost some.
    pub(crate) unexplained_duplicates: u64,
    /// Kills of a process with nothing else wrong until every partition had a new result, and how long that took.
    kills_timed: usize,
    kill_to_result_ms_median: Option<u128>,
    kill_to_result_ms_max: Option<u128>,
    /// What is allowed, and how many of them took longer.
    kill_to_result_ms_allowed: u128,
    pub(crate) kills_over: usize,
    /// Further ones that were not timed: this program did not come to run meanwhile, or the group gave up a living member too.
    kills_stalled: usize,
    /// Processes that were told to end and did so in order, or not; processes that ended by themselves.
    clean_ends: u64,
    unclean_ends: u64,
    own_ends: u64,
    /// Of the last two, those that no fault explains.
    pub(crate) unexplained_ends: u64,
    rounds: u64,
    brokers: u16,
    seconds: u64,
}

impl Summary {
    /// What a stage has come to.
    pub(crate) fn of(stage: &Stage, plan: &Plan, (faults, disorderly): (u64, u64), rounds: u64, lasted: Duration) -> Self {
        let books = open(&stage.books);
        let verdicts: Vec<_> = stage.auditor.watches().iter().map(Stopwatch::verdict).collect();
        let took = |verdict: &Verdict| if let Verdict::Took(time) = verdict { Some(time.as_millis()) } else { None };
        let mut kills: Vec<_> = verdicts.iter().filter_map(took).collect();
        kills.sort_unstable();
        let allowed = plan.how.kill_bound().as_millis();
        Self {
            records: books.owed,
            faults,
            lost: books.owed - books.settled,
            unknown: books.unknown.count,
            duplicates: books.duplicates.values().sum(),
            seed: plan.seed,
            wrong: books.wrong.count,
            results: books.results,
            dead_letters: books.dead_letters,
            too_large: books.too_large,
            refused: books.refused_count(),
            unacknowledged: books.unacknowledged,
            duplicates_after: books.duplicates.clone(),
            duplicates_per_fault_and_shard_in_batches: in_batches(books.duplicates.values().sum(), disorderly),
            unexplained_duplicates: books.duplicates.get(UNEXPLAINED).copied().unwrap_or(0),
            kills_timed: kills.len(),
            kill_to_result_ms_median: kills.get(kills.len() / 2).copied(),
            kill_to_result_ms_max: kills.last().copied(),
            kill_to_result_ms_allowed: allowed,
            kills_over: kills.iter().filter(|took| **took > allowed).count(),
            kills_stalled: verdicts.iter().filter(|verdict| **verdict == Verdict::Stalled).count(),
            clean_ends: stage.members.ends.clean,
            unclean_ends: stage.members.ends.unclean,
            own_ends: stage.members.ends.by_itself,
            unexplained_ends: stage.members.ends.unexplained,
            rounds,
            brokers: stage.brokers,
            seconds: lasted.as_secs(),
        }
    }
}

/// Shards of a process, as the harness configures it, and records of a batch, as the service does by default.
const SHARDS_TIMES_BATCH: f64 = 2.0 * 1_024.0;

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn in_batches(duplicates: u64, faults: u64) -> f64 {
    (duplicates as f64 / faults.max(1) as f64 / SHARDS_TIMES_BATCH * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_told_in_batches_of_a_shard() {
        assert!((in_batches(45_024, 50) - 0.44).abs() < 1e-9 && in_batches(0, 0) == 0.0);
    }
}
