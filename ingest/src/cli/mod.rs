//! The command line: one file per verb. Data goes to standard output, everything else to standard error.

mod audit;
mod compile;
mod config;
mod connection;
mod definition;
mod demo;
mod dlq;
mod exec;
mod explain;
mod graph;
mod output;
mod replay;
mod run;
mod test;
mod trace;
mod trace_record;
mod tune;
mod validate;

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::LogFormat;
use crate::error::{EXIT_DONE, EXIT_USAGE, Error};
use crate::telemetry;

/// Runs Amazon States Language workflows, Express type, one execution per Kafka record.
#[derive(Debug, Parser)]
#[command(name = "expressway", version, max_term_width = 120, subcommand_required = true, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    log: LogFlags,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the input is at fault, 2 wrong usage, 3 the surroundings failed, 78 bad configuration.\nFlags can also be given as environment variables; each flag's help names its own.";

/// What is logged, and how.
#[derive(Debug, Args)]
struct LogFlags {
    /// Lowest level of log lines: error, warn, info, debug, trace, or a list of target=level [env: EXPRESSWAY_LOG_LEVEL=]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of log lines [env: EXPRESSWAY_LOG_FORMAT=]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogForm>,
}

/// `--log-format`
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the service: every pipeline of the configuration
    Run(run::Flags),
    /// Run everything in one process: simulated devices, a mock broker, the real pipeline
    Demo(demo::Flags),
    /// Check definitions and report every finding
    Validate(validate::Flags),
    /// Compile a definition and show what became of it
    Compile(compile::Flags),
    /// Draw a definition: Mermaid, Graphviz or SVG
    Graph(graph::Flags),
    /// Say what a diagnostic code means and what to do
    Explain(explain::Flags),
    /// Run the test cases of definitions, and say what of them the cases have reached
    Test(test::Flags),
    /// Run executions of a definition here, one per line of input, without Kafka
    Exec(exec::Flags),
    /// Measure a broker, and say which settings suit it
    Tune(tune::Flags),
    /// Look at dead letters, and bring them back
    Dlq(dlq::Flags),
    /// Run records of a source topic again
    Replay(replay::Flags),
    /// Run one record here, and tell its path step by step
    Trace(trace_record::Flags),
    /// Prove that every record of a range has its result or dead letter
    Audit(audit::Flags),
    /// Look at the configuration
    Config(config::Flags),
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The environment of the process: what `EXPRESSWAY_…` keys and placeholders are read from.
type Environment = [(String, String)];

/// Runs the program and returns its exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> u8 {
    // OpenSSL must be told first that it is not to take itself apart at `exit` (`OPENSSL_INIT_NO_ATEXIT`), which it would do under the threads that are still there: clients of a start that was given up, in the midst of a handshake, or the thread that has made the clients and is just about to end, whose own entry both would free.
    openssl_sys::init();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(found) => {
            // Help goes to standard output, a mistake to standard error; a closed pipe is no error.
            let printed = found.print();
            return if found.use_stderr() || printed.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) { EXIT_USAGE } else { EXIT_DONE };
        }
    };
    match dispatch(&cli, environment) {
        Ok(()) => EXIT_DONE,
        Err(error) => {
            if !matches!(error, Error::ClosedPipe) && !error.to_string().is_empty() {
                output::tell(&format!("error: {}", error.sentence()));
            }
            error.exit_code()
        }
    }
}

fn dispatch(cli: &Cli, environment: &Environment) -> Result<(), Error> {
    match &cli.verb {
        Verb::Run(flags) => run::run(flags, &cli.log, environment),
        Verb::Config(flags) => config::run(flags, &cli.log, environment),
        Verb::Tune(flags) => tune::run(flags, &cli.log, environment),
        verb => {
            cli.log.start(environment)?;
            match verb {
                Verb::Validate(flags) => validate::run(flags),
                Verb::Compile(flags) => compile::run(flags),
                Verb::Demo(flags) => demo::run(flags),
                Verb::Test(flags) => test::run(flags, environment),
                Verb::Exec(flags) => exec::run(flags),
                Verb::Graph(flags) => graph::run(flags),
                Verb::Explain(flags) => explain::run(flags),
                Verb::Dlq(flags) => dlq::run(flags, environment),
                Verb::Replay(flags) => replay::run(flags, environment),
                Verb::Trace(flags) => trace_record::run(flags, environment),
                Verb::Audit(flags) => audit::run(flags, environment),
                Verb::Run(_) | Verb::Config(_) | Verb::Tune(_) => unreachable!("matched above"),
            }
        }
    }
}

impl LogFlags {
    /// Sets up logging for the verbs that have no configuration.
    fn start(&self, environment: &Environment) -> Result<(), Error> {
        let variable = |name: &str| environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.as_str());
        let level = self.log_level.as_deref().or_else(|| variable("EXPRESSWAY_LOG_LEVEL")).unwrap_or("warn");
        let format = match (self.log_format, variable("EXPRESSWAY_LOG_FORMAT")) {
            (Some(LogForm::Json), _) | (None, Some("json")) => LogFormat::Json,
            _ => LogFormat::Text,
        };
        telemetry::start(level, format).map(drop)
    }

    /// The flags as a layer of the configuration.
    fn layer(&self) -> Vec<(String, String, String)> {
        let level = self.log_level.as_ref().map(|level| ("log.level".to_owned(), level.clone(), "--log-level".to_owned()));
        let format = self
            .log_format
            .map(|form| ("log.format".to_owned(), if matches!(form, LogForm::Json) { "json" } else { "text" }.to_owned(), "--log-format".to_owned()));
        level.into_iter().chain(format).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example", verb.get_name());
        }
    }

    #[test]
    fn every_flag_has_a_variable_or_a_key() {
        for verb in Cli::command().get_subcommands().filter(|verb| verb.get_name() != "config") {
            for flag in verb.get_arguments().filter(|flag| flag.get_long().is_some_and(|long| !["help", "version", "set"].contains(&long))) {
                let documented = flag.get_help().is_some_and(|help| help.to_string().contains("[env: EXPRESSWAY_"));
                assert!(flag.get_env().is_some() || documented, "{} {:?} has no variable", verb.get_name(), flag.get_long());
            }
        }
    }
}
