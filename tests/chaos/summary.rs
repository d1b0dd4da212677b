//! The last line of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::auditor::{Stopwatch, Verdict};
use crate::feeder::open;
use crate::run::Plan;
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
    /// Kills of a process with nothing else wrong until every partition had a new result, and how long that took.
    kills_timed: usize,
    kill_to_result_ms_median: Option<u128>,
    kill_to_result_ms_max: Option<u128>,
    /// What is allowed, and how many of them took longer.
    kill_to_result_ms_allowed: u128,
    pub(crate) kills_over: usize,
    /// Further ones during which this machine stood still, so that they were not timed.
    kills_stalled: usize,
    /// Processes that were told to end and did so in order, or not; processes that ended by themselves.
    clean_ends: u64,
    unclean_ends: u64,
    own_ends: u64,
    rounds: u64,
    brokers: u16,
    seconds: u64,
}

impl Summary {
    /// What a stage has come to.
    pub(crate) fn of(stage: &Stage, plan: &Plan, faults: u64, rounds: u64, lasted: Duration) -> Self {
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
            kills_timed: kills.len(),
            kill_to_result_ms_median: kills.get(kills.len() / 2).copied(),
            kill_to_result_ms_max: kills.last().copied(),
            kill_to_result_ms_allowed: allowed,
            kills_over: kills.iter().filter(|took| **took > allowed).count(),
            kills_stalled: verdicts.iter().filter(|verdict| **verdict == Verdict::Stalled).count(),
            clean_ends: stage.members.ends.clean,
            unclean_ends: stage.members.ends.unclean,
            own_ends: stage.members.ends.by_itself,
            rounds,
            brokers: stage.brokers,
            seconds: lasted.as_secs(),
        }
    }
}
