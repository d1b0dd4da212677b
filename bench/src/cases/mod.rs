//! The cases. Each is a folder of `bench/cases` ([`folder`]), and that is all where the engine is to run a definition over messages. One that takes flags, or does something else, is a module here, too.
//!
//! Such a case has flags, runs, checks what it ran and reports; [`CASES`] is all that the command line knows of it.

pub mod choice_rules;
pub mod folder;
pub mod fork;
pub mod heartbeat;
pub mod heartbeat_rate;
pub mod heartbeat_shapes;
pub mod kafka_heartbeat;
pub mod kafka_lag;
pub mod kafka_latency;
pub mod kafka_sigterm;
pub mod overload;
pub mod payload;
pub mod reading;
pub mod scale;
pub mod suspended;
pub mod transitions;

use std::sync::OnceLock;

use clap::{ArgMatches, Args as _, Command};
use expressway_ingest::config::LogFormat;
use expressway_ingest::telemetry;
use serde_json::Value;

use crate::error::Error;
use crate::outcome::Outcome;

/// Runs a case with the flags that were given; what happens meanwhile goes to the second argument, line by line.
pub type Run = fn(&ArgMatches, &mut dyn FnMut(&str)) -> Result<Report, Error>;

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// What it measures, in a line.
    pub summary: &'static str,
    /// Adds its flags to a command.
    pub flags: fn(Command) -> Command,
    /// Runs it.
    pub run: Run,
    /// The flags of each run of it that `run all` makes; none for a case that needs a broker.
    pub all: &'static [&'static [&'static str]],
}

/// What a case has to say.
#[derive(Debug)]
pub struct Report {
    /// The result's object.
    pub json: Value,
    /// The same for people.
    pub text: String,
    /// What makes it worthless nevertheless, for instance a lost record.
    pub wrong: Option<Error>,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Self { json: outcome.to_json(), text: outcome.to_string(), wrong: None }
    }
}

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "heartbeat",
        summary: "the engine alone: messages in memory, pinned threads, allocations counted",
        flags: heartbeat::Flags::augment_args,
        run: heartbeat::from_flags,
        all: &[&[], &["--cores", "2"]],
    },
    Case {
        name: "heartbeat-shapes",
        summary: "the same over messages of many shapes, mixed at random",
        flags: heartbeat_shapes::Flags::augment_args,
        run: heartbeat_shapes::from_flags,
        all: &[&["--shapes", "1"], &["--shapes", "4"], &["--shapes", "8"], &["--shapes", "1000"]],
    },
    Case {
        name: "heartbeat-rate",
        summary: "latency of the engine alone at an offered rate, open loop",
        flags: heartbeat_rate::Flags::augment_args,
        run: heartbeat_rate::from_flags,
        all: &[&[]],
    },
    Case {
        name: "transitions",
        summary: "a Pass state without data work, with a constant or with a template, all around it subtracted",
        flags: transitions::Flags::augment_args,
        run: transitions::from_flags,
        all: &[&["--kind", "pass"], &["--kind", "constant"], &["--kind", "template"]],
    },
    Case {
        name: "choice-rules",
        summary: "a Choice state with many rules, random way, all around it subtracted",
        flags: choice_rules::Flags::augment_args,
        run: choice_rules::from_flags,
        all: &[
            &["--kind", "string", "--rules", "20"],
            &["--kind", "number", "--rules", "1", "--hit", "last"],
            &["--kind", "number", "--rules", "1"],
            &["--kind", "number", "--rules", "20"],
        ],
    },
    Case {
        name: "map20",
        summary: "a Map over 20 items that adds and formats in each",
        flags: fork::MapFlags::augment_args,
        run: fork::map_from_flags,
        all: &[&[]],
    },
    Case {
        name: "parallel",
        summary: "a Parallel state with a template in each branch",
        flags: fork::ParallelFlags::augment_args,
        run: fork::parallel_from_flags,
        all: &[&[]],
    },
    Case {
        name: "payload",
        summary: "the canonical workflow over large documents: texts, numbers, nesting, many heartbeats",
        flags: payload::Flags::augment_args,
        run: payload::from_flags,
        all: &[
            &["--style", "heartbeat", "--bytes", "1000"],
            &["--style", "heartbeat", "--bytes", "10000"],
            &["--style", "heartbeat", "--bytes", "100000"],
            &["--style", "strings", "--bytes", "10000"],
            &["--style", "numbers", "--bytes", "10000"],
            &["--style", "nested", "--bytes", "10000"],
        ],
    },
    Case {
        name: "reading",
        summary: "the reader alone over large documents, beside simd-json on the same ones",
        flags: payload::Flags::augment_args,
        run: reading::from_flags,
        all: &[
            &["--style", "heartbeat", "--bytes", "1000"],
            &["--style", "heartbeat", "--bytes", "10000"],
            &["--style", "heartbeat", "--bytes", "100000"],
            &["--style", "heartbeat", "--bytes", "261888"],
            &["--style", "strings", "--bytes", "1000"],
            &["--style", "strings", "--bytes", "10000"],
            &["--style", "strings", "--bytes", "100000"],
            &["--style", "strings", "--bytes", "261888"],
            &["--style", "numbers", "--bytes", "1000"],
            &["--style", "numbers", "--bytes", "10000"],
            &["--style", "numbers", "--bytes", "100000"],
            &["--style", "numbers", "--bytes", "261888"],
            &["--style", "nested", "--bytes", "1000"],
            &["--style", "nested", "--bytes", "10000"],
            &["--style", "nested", "--bytes", "100000"],
            &["--style", "nested", "--bytes", "261888"],
        ],
    },
    Case {
        name: "scale",
        summary: "two cores against one, beside what the machine itself makes of a second core",
        flags: scale::Flags::augment_args,
        run: scale::from_flags,
        all: &[&[]],
    },
    Case {
        name: "suspended",
        summary: "memory of executions that wait, of an idle slot and of a shard",
        flags: suspended::Flags::augment_args,
        run: suspended::from_flags,
        all: &[&[]],
    },
    Case {
        name: "kafka-heartbeat",
        summary: "from Kafka to Kafka on a real broker, beside the floor: the same loop without the engine; then the latency at --rate, 0 for none",
        flags: kafka_heartbeat::Flags::augment_args,
        run: kafka_heartbeat::from_flags,
        all: &[],
    },
    Case {
        name: "kafka-lag",
        summary: "a backlog from Kafka to Kafka within a limit of memory",
        flags: kafka_lag::Flags::augment_args,
        run: kafka_lag::from_flags,
        all: &[],
    },
    Case {
        name: "kafka-latency",
        summary: "latency from Kafka to Kafka at an offered rate, open loop, and the memory meanwhile",
        flags: kafka_latency::Flags::augment_args,
        run: kafka_latency::from_flags,
        all: &[],
    },
    Case {
        name: "kafka-sigterm",
        summary: "the service ended by SIGTERM in the middle of a load and started again: how long it takes, what is lost or repeated",
        flags: kafka_sigterm::Flags::augment_args,
        run: kafka_sigterm::from_flags,
        all: &[],
    },
    Case {
        name: "overload",
        summary: "three times as much offered from Kafka to Kafka as can be run: throughput and memory meanwhile, and the drain",
        flags: overload::Flags::augment_args,
        run: overload::from_flags,
        all: &[],
    },
];

impl Case {
    /// The case as a subcommand of `run`.
    #[must_use]
    pub fn command(&self) -> Command {
        (self.flags)(Command::new(self.name).about(self.summary))
    }

    /// Runs it with flags as they would be typed.
    ///
    /// # Errors
    /// The flags are wrong, or the run has no result.
    pub fn run_with(&self, flags: &[&str], progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
        let matches = self.command().no_binary_name(true).try_get_matches_from(flags).map_err(usage)?;
        (self.run)(&matches, progress)
    }
}

/// The case of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// Lets the service's warnings be seen; once a process.
fn start_logging() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| telemetry::start("warn", LogFormat::Text).map(drop).map_err(|error| error.to_string()));
    started.clone().map_err(|error| Error::surroundings("logging", error))
}

fn usage(error: clap::Error) -> Error {
    Error::Usage(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_every_run_of_all_is_well_formed() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!(find(case.name).is_some() && !case.summary.ends_with('.'));
            case.command().debug_assert();
            for flags in case.all {
                case.command().no_binary_name(true).try_get_matches_from(*flags).unwrap();
            }
        }
    }

    #[test]
    fn wrong_flags_are_wrong_usage() {
        let error = CASES[0].run_with(&["--cores", "many"], &mut |_| {}).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
