//! Case `transitions`: what a state costs, everything around it subtracted.
//!
//! A chain of Pass states runs over heartbeats, and so does the same chain of one state, in turns pass by pass. A transition is the difference of the two by the number of states between them: reading, starting, writing and the first write of the ResultPath are in both.

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, usage};
use crate::definitions::{Work, chain};
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::timing::{PASSES, Stage, Workload, time};
use crate::workflow::program;

/// States of all executions of a pass together; few enough for some 50 ms.
const STATES_PER_PASS: u32 = 3_000_000;

/// Distinct messages: enough that branch predictors do not learn them by heart, few enough for the second-level cache.
const MESSAGES_MAX: u32 = 20_000;

/// Flags of `run transitions`.
#[derive(Debug, Args)]
pub struct Flags {
    /// What each state does
    #[arg(long, value_enum, default_value_t = Work::Pass)]
    kind: Work,
    /// States of the chain
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    states: u32,
}

/// `run transitions`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { kind, states } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(kind, states, STATES_PER_PASS, PASSES).map(Report::from)
}

/// Runs the case with so many states a pass.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or the thread cannot be pinned.
pub fn run(kind: Work, states: u32, states_per_pass: u32, passes: u32) -> Result<Outcome, Error> {
    let messages = (states_per_pass / states).clamp(500, MESSAGES_MAX);
    let (long, short) = (workload(kind, states, messages)?, workload(kind, 1, messages)?);
    let timings = time(&[Stage::of(&long), Stage::of(&short)], passes)?;
    let (transition, spread) = timings[0].less(&timings[1], f64::from(states - 1));
    let outcome = Outcome::of("transitions", vec![("kind", kind.name().into()), ("states", states.into())], &timings[0]);
    let meaning = format!("ns a transition, {} ns of an execution with one state subtracted", timings[1].spread().min.round());
    Ok(outcome.with("ns_per_transition", (transition, Some(spread)), 2, meaning))
}

/// A chain of states over so many heartbeats.
pub(crate) fn workload(kind: Work, states: u32, messages: u32) -> Result<Workload, Error> {
    let program = program(&chain(states, kind), "chain")?;
    Ok(Workload { program, inputs: vec![Messages::generate(messages, 1)], expected: Box::new(move |message, _| kind.expected(message)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_run_and_has_its_key() {
        for kind in Work::ALL {
            let json = run(kind, 10, 5_000, 2).unwrap().to_json();
            assert_eq!((&json["kind"], &json["states"]), (&kind.name().into(), &10.into()));
            assert!(json["ns_per_transition"].is_number() && json["spread"]["ns_per_transition"]["median"].is_number(), "{json}");
        }
    }
}
