//! The program `expressway-bench`: allocator, arguments, exit code.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use expressway_bench::error::Error;
use expressway_bench::{CASES, alloc, heartbeat, kafka, peers, probe, record};
use expressway_ingest::config::LogFormat;
use expressway_ingest::telemetry;
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Measures Expressway: the engine alone, and from Kafka to Kafka beside the floor of the same loop.
#[derive(Debug, Parser)]
#[command(name = "expressway-bench", version, max_term_width = 120, after_help = EXAMPLES)]
struct Cli {
    /// Form of results: text, or one JSON object a line
    #[arg(long, global = true, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Without one, the canonical case is run: run heartbeat
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "Examples:\n  cargo run --profile bench -p expressway-bench -- run heartbeat --cores 2 --format json\n  expressway-bench compare bench/record/2026-11-21-epyc-2.jsonl after.jsonl\n\nExit codes: 0 done, 1 an output is wrong or a record is lost, 2 wrong usage or a debug build, 3 the surroundings failed.";

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a case
    Run(RunFlags),
    /// Compare two recorded files, case by case
    Compare {
        /// The earlier results.
        before: PathBuf,
        /// The later results.
        after: PathBuf,
    },
    /// List the cases
    List,
    /// Run the same job with what a user would pick instead, beside ours
    Peers(peers::Flags),
}

#[derive(Debug, Args)]
struct RunFlags {
    #[command(subcommand)]
    case: Case,
    /// Also add the result, with machine, commit and command, to this file of JSON lines
    #[arg(long, global = true, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Case {
    /// The engine alone, messages in memory, pinned threads
    Heartbeat {
        /// Pinned threads, each with messages of its own
        #[arg(long, value_name = "N", default_value_t = 1)]
        cores: usize,
    },
    /// From Kafka to Kafka on a real broker, beside the floor
    KafkaHeartbeat(KafkaFlags),
}

#[derive(Debug, Args)]
struct KafkaFlags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// Records of the source topic
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    records: u64,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4)]
    partitions: u32,
    /// Shards of the pipeline; one for each processor when not given
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Rounds of pipeline and floor
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no =")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    end_on_panic();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("expressway-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// A thread that dies would leave the others waiting for it: there is no result then, so the process ends.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
}

fn run(cli: Cli) -> Result<(), Error> {
    let canonical = RunFlags { case: Case::Heartbeat { cores: 1 }, record: None };
    match cli.verb.unwrap_or(Verb::Run(canonical)) {
        Verb::List => {
            for (name, summary) in CASES {
                print(cli.format, &serde_json::json!({"case": name, "summary": summary}), &format_args!("{name:<16} {summary}"));
            }
            Ok(())
        }
        Verb::Compare { before, after } => {
            print!("{}", record::compare(&record::read(&before)?, &record::read(&after)?));
            Ok(())
        }
        Verb::Run(flags) => run_case(cli.format, &flags),
        Verb::Peers(flags) => run_peers(cli.format, flags),
    }
}

fn run_peers(format: Form, flags: peers::Flags) -> Result<(), Error> {
    probe::require_optimised()?;
    if flags.install {
        peers::install()?;
    }
    warn(flags.broker_pid.as_slice());
    let (record, outcome) = (flags.record.clone(), peers::run(&flags.into(), &mut |line| eprintln!("{line}"))?);
    print(format, &outcome.to_json(), &outcome);
    record.map_or(Ok(()), |file| record::append(&file, &outcome.to_json()))?;
    outcome.wrong().map_or(Ok(()), Err)
}

fn run_case(format: Form, flags: &RunFlags) -> Result<(), Error> {
    probe::require_optimised()?;
    match &flags.case {
        Case::Heartbeat { cores } => {
            warn(&[]);
            let outcome = heartbeat::run(&heartbeat::Settings { cores: *cores, ..heartbeat::Settings::default() })?;
            finish(format, flags, &outcome.to_json(), &outcome)
        }
        Case::KafkaHeartbeat(asked) => run_kafka(format, flags, asked),
    }
}

fn run_kafka(format: Form, flags: &RunFlags, asked: &KafkaFlags) -> Result<(), Error> {
    telemetry::start("warn", LogFormat::Text).map_err(|error| Error::surroundings("logging", error))?;
    warn(asked.broker_pid.as_slice());
    let settings = kafka::Settings {
        brokers: asked.brokers.clone(),
        records: asked.records,
        partitions: asked.partitions,
        shards: asked.shards.unwrap_or_else(probe::processors),
        rounds: asked.rounds,
        broker_pid: asked.broker_pid,
        client_options: asked.client_option.clone(),
    };
    let outcome = kafka::run(&settings, &mut |line| eprintln!("{line}"))?;
    finish(format, flags, &outcome.to_json(), &outcome)?;
    match outcome.lost() {
        0 => Ok(()),
        lost => Err(Error::Wrong(format!("{lost} records have no result"))),
    }
}

fn warn(expected: &[u32]) {
    for disturbance in probe::noise(expected) {
        eprintln!("warning: {disturbance}; the result will be worse than it could be");
    }
}

fn finish(format: Form, flags: &RunFlags, json: &Value, text: &dyn Display) -> Result<(), Error> {
    print(format, json, text);
    flags.record.as_ref().map_or(Ok(()), |file| record::append(file, json))
}

fn print(format: Form, json: &Value, text: &dyn Display) {
    match format {
        Form::Text => println!("{text}"),
        Form::Json => println!("{json}"),
    }
}
