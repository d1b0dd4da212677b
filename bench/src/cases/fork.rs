//! Cases `map20` and `parallel`: executions that fork and join.
//!
//! `map20`: a Map over 20 items that adds and formats in each iteration. `parallel`: a Parallel state whose branches each build a template. Both whole: read, run, write.

use clap::{ArgMatches, Args, FromArgMatches as _};
use serde_json::json;

use super::{Report, usage};
use crate::definitions::{MAP, map_expected, parallel, parallel_expected};
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::timing::{PASSES, Stage, Workload, time};
use crate::workflow::program;
use expressway_ingest::random::Random;

/// Messages of a pass.
const MESSAGES: u32 = 10_000;

/// Flags of `run map20`.
#[derive(Debug, Args)]
pub struct MapFlags {
    /// Items of each message
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    items: u32,
}

/// `run map20`.
pub(super) fn map_from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let MapFlags { items } = MapFlags::from_arg_matches(matches).map_err(usage)?;
    // A pass of more items has fewer messages.
    run_map(items, (MESSAGES * 20 / items).clamp(100, MESSAGES * 20), PASSES).map(Report::from)
}

/// Flags of `run parallel`.
#[derive(Debug, Args)]
pub struct ParallelFlags {
    /// Branches of the Parallel state
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    branches: u32,
}

/// `run parallel`.
pub(super) fn parallel_from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let ParallelFlags { branches } = ParallelFlags::from_arg_matches(matches).map_err(usage)?;
    run_parallel(branches, (MESSAGES * 8 / branches).clamp(500, MESSAGES * 4), PASSES).map(Report::from)
}

/// Runs `map20`.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or the thread cannot be pinned.
pub fn run_map(items: u32, messages: u32, passes: u32) -> Result<Outcome, Error> {
    let workload = map_workload(items, messages)?;
    let timings = time(&[Stage::of(&workload)], passes)?;
    let outcome = Outcome::of("map20", vec![("items", items.into())], &timings[0]);
    let item = outcome.ns_per_execution / f64::from(items);
    Ok(outcome.with("ns_per_item", (item, None), 1, "ns an item, its share of everything"))
}

/// Runs `parallel`.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or the thread cannot be pinned.
pub fn run_parallel(branches: u32, messages: u32, passes: u32) -> Result<Outcome, Error> {
    let workload = parallel_workload(branches, messages)?;
    let timings = time(&[Stage::of(&workload)], passes)?;
    let outcome = Outcome::of("parallel", vec![("branches", branches.into())], &timings[0]);
    let branch = outcome.ns_per_execution / f64::from(branches);
    Ok(outcome.with("ns_per_branch", (branch, None), 1, "ns a branch, its share of everything"))
}

pub(crate) fn map_workload(items: u32, messages: u32) -> Result<Workload, Error> {
    let mut random = Random::new(1);
    let mut message = |number: u32| {
        let items: Vec<_> = (0..items).map(|_| json!({"n": random.below(1_000)})).collect();
        json!({"deviceId": format!("dev-{number:06}"), "items": items}).to_string()
    };
    let inputs: Messages = (0..messages).map(&mut message).collect();
    Ok(Workload { program: program(MAP, "map")?, inputs: vec![inputs], expected: Box::new(|message, _| map_expected(message)) })
}

pub(crate) fn parallel_workload(branches: u32, messages: u32) -> Result<Workload, Error> {
    Ok(Workload {
        program: program(&parallel(branches), "parallel")?,
        inputs: vec![Messages::generate(messages, 1)],
        expected: Box::new(move |message, _| parallel_expected(branches, message)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_run_and_have_their_keys() {
        let json = run_map(20, 50, 2).unwrap().to_json();
        assert_eq!((&json["case"], &json["items"], &json["executions"]), (&"map20".into(), &20.into(), &100.into()));
        assert!(json["ns_per_item"].is_number());
        let json = run_parallel(4, 50, 2).unwrap().to_json();
        assert_eq!((&json["case"], &json["branches"]), (&"parallel".into(), &4.into()));
    }
}
