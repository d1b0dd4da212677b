//! Case `heartbeat`: the engine alone, messages in memory.
//!
//! Measured: an execution of the canonical workflow from the bytes of its message to the bytes of its output, start, run and write, in one slot, on a pinned thread. Not measured: Kafka, threads handing over, anything cold. Each core has a thread, a slot and messages of its own.

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, usage};
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::reference;
use crate::timing::{PASSES, Stage, Workload, require_cores, time};
use crate::workflow::{HEARTBEAT, program};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Pinned threads.
    pub cores: usize,
    /// Distinct messages of each thread.
    pub messages: u32,
    /// Timed passes.
    pub passes: u32,
}

impl Default for Settings {
    /// A pass takes about a twentieth of a second: long beside a thread's wake-up, short beside the changes of a shared machine.
    fn default() -> Self {
        Self { cores: 1, messages: 100_000, passes: PASSES }
    }
}

/// Flags of `run heartbeat`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Pinned threads, each with messages of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: usize,
}

/// `run heartbeat`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { cores } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(&Settings { cores, ..Settings::default() }).map(Report::from)
}

/// Runs the case.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or threads cannot be pinned.
pub fn run(settings: &Settings) -> Result<Outcome, Error> {
    let workload = workload(settings.cores, settings.messages)?;
    let timings = time(&[Stage::of(&workload)], settings.passes)?;
    Ok(Outcome::of("heartbeat", Vec::new(), &timings[0]))
}

/// The canonical workflow with messages for so many threads.
pub(crate) fn workload(cores: usize, messages: u32) -> Result<Workload, Error> {
    require_cores(cores)?;
    let seeds = 1_u64..;
    let inputs = seeds.take(cores).map(|seed| Messages::generate(messages, seed)).collect();
    Ok(Workload { program: program(HEARTBEAT, "heartbeat")?, inputs, expected: Box::new(reference::heartbeat) })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SMALL: Settings = Settings { cores: 1, messages: 4_000, passes: 3 };

    #[test]
    fn outcome_has_the_keys_that_are_promised() {
        let json = run(&SMALL).unwrap().to_json();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["case", "cores", "executions", "executions_per_s", "ns_per_execution", "latency_ns", "allocations_per_execution", "spread"]);
        assert_eq!(json["executions"], 12_000);
        assert_eq!(json["allocations_per_execution"], Value::Null, "nobody counts in a test");
    }

    #[test]
    fn more_cores_than_there_are_is_wrong_usage() {
        assert_eq!(run(&Settings { cores: 100_000, ..SMALL }).unwrap_err().exit_code(), 2);
    }
}
