//! Case `heartbeat-shapes`: the canonical workflow over messages of many shapes, mixed at random.
//!
//! As `heartbeat`, but for the messages, which [`crate::shapes`] describes. With one shape it is `heartbeat`; with more than an engine can keep in mind, every message takes the full pass.

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, usage};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::timing::{PASSES, Stage, Workload, require_cores, time};
use crate::workflow::{HEARTBEAT, program};
use crate::{reference, shapes};

/// Distinct messages of each thread.
const MESSAGES: u32 = 100_000;

/// Flags of `run heartbeat-shapes`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Shapes of messages
    #[arg(long, value_name = "K", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shapes: u32,
    /// Pinned threads, each with messages of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: usize,
}

/// `run heartbeat-shapes`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { shapes, cores } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(shapes, cores, MESSAGES, PASSES).map(Report::from)
}

/// Runs the case with so many shapes, threads, messages a thread and passes.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or threads cannot be pinned.
pub fn run(shapes: u32, cores: usize, messages: u32, passes: u32) -> Result<Outcome, Error> {
    let workload = workload(shapes, cores, messages)?;
    let timings = time(&[Stage::of(&workload)], passes)?;
    Ok(Outcome::of("heartbeat-shapes", vec![("shapes", shapes.into())], &timings[0]))
}

/// The canonical workflow with messages of so many shapes for so many threads.
pub(crate) fn workload(shapes: u32, cores: usize, messages: u32) -> Result<Workload, Error> {
    require_cores(cores)?;
    let seeds = 1_u64..;
    let inputs = seeds.take(cores).map(|seed| shapes::generate(messages, seed, shapes)).collect();
    Ok(Workload { program: program(HEARTBEAT, "heartbeat")?, inputs, expected: Box::new(reference::heartbeat) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_shapes_are_run_and_checked() {
        let json = run(1_000, 1, 2_000, 2).unwrap().to_json();
        assert_eq!((&json["shapes"], &json["executions"]), (&1_000.into(), &4_000.into()));
    }
}
