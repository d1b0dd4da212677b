//! `chaos`: the service under faults, on real brokers; a ledger proves that nothing owed is missing.
//!
//! A run starts its own brokers, a proxy before each, and up to three processes of the service. Faults are drawn from a seed: processes, brokers, network and the result topic fail, alone and together, while records stream in by bursts ([`fault`]). Rounds end with a reckoning ([`run`]): everything heals, and every acknowledged record must have an outcome, none may be unknown, each must be what the definition makes of its record, and fresh records must go through. Duplicates are the price of at-least-once and are counted, not forbidden; those that no fault explains fail the run, like ends of processes that none explains. The last line of stdout is one JSON object.
//!
//! A seed draws the same faults again, not the same run: processes and brokers keep their own time.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]
#![expect(clippy::print_stderr, reason = "a command-line program says on stderr what is wrong")]
#![expect(clippy::disallowed_methods, reason = "processes and brokers keep real time")]

mod auditor;
mod books;
mod edition;
mod fault;
mod feeder;
mod member;
mod record;
mod run;
mod stage;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;

use crate::fault::KINDS;
use crate::member::{Kind, Protocol};
use crate::run::{Plan, Run};
use crate::stage::Stage;

/// Break everything around the service and prove that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = "Example: chaos --minutes 30 --seed 7 --brokers 3")]
struct Arguments {
    /// How long faults come; set-up and the last reckoning come on top.
    #[arg(long, default_value_t = 0.75)]
    minutes: f32,
    /// What faults and bursts are drawn from; without it, the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Brokers: 1, or 3 with replication factor 3 and two in-sync replicas.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3))]
    brokers: u16,
    /// How the group shares out its partitions.
    #[arg(long, value_enum, default_value = "cooperative-sticky")]
    protocol: Protocol,
    /// Records a second, on average while faults come; an optimised build takes ten millions through in half an hour.
    #[arg(long, default_value_t = if cfg!(debug_assertions) { 3_000 } else { 7_000 })]
    rate: u64,
    /// Seconds between two faults, on average.
    #[arg(long, default_value_t = 5.0)]
    every: f32,
    /// Faults in a round.
    #[arg(long, default_value_t = 10)]
    faults: u32,
    /// Only faults of this kind; may be given more than once.
    #[arg(long, value_name = "KIND")]
    only: Vec<String>,
    /// The service delivers in transactions, and a duplicate is a failure; one broker alone is not killed or restarted then (KAFKA-20734), three are
    #[arg(long)]
    transactional: bool,
    /// The run fails when a process is killed with nothing else wrong, and its partitions are without new results for longer than the session and 2 s (and a heartbeat of the broker under KIP-848)
    #[arg(long)]
    judge_kills: bool,
    /// Where logs are kept when something is wrong, or with --keep-logs.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Keep the logs in any case.
    #[arg(long)]
    keep_logs: bool,
}

/// Writes a line about the run's progress.
fn tell(line: &str) {
    eprintln!("{line}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(problem) = refuse(&arguments) {
        eprintln!("chaos: {problem}");
        return ExitCode::from(2);
    }
    let seed = arguments.seed.unwrap_or_else(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    let folder = arguments.logs.clone().unwrap_or_else(|| logs_of(seed));
    eprintln!("chaos: seed {seed}, {} broker(s), {} records/s, logs in {}", arguments.brokers, arguments.rate, folder.display());
    let how = Kind { protocol: arguments.protocol, is_transactional: arguments.transactional };
    let stage = match Stage::set(arguments.brokers, how, arguments.rate, seed, &folder) {
        Ok(stage) => stage,
        Err(problem) => {
            eprintln!("chaos: {problem}");
            return ExitCode::from(3);
        }
    };
    let plan = Plan {
        lasts: Duration::from_secs_f32(arguments.minutes * 60.0),
        seed,
        rate: arguments.rate,
        every: Duration::from_secs_f32(arguments.every),
        faults: arguments.faults,
        only: arguments.only.clone(),
        keeps_leaders: keeps_leaders(&arguments),
        how,
    };
    let mut run = Run::new(stage, plan);
    let (summary, outcome) = run.play();
    let kept = if arguments.keep_logs && outcome.is_ok() { run.keep_logs() } else { Ok(()) };
    if let Err(problem) = kept {
        eprintln!("chaos: {problem}");
    }
    if arguments.keep_logs || outcome.is_err() {
        eprintln!("chaos: the logs are kept in {}", folder.display());
    } else if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("chaos: {}: {error}", folder.display());
    }
    drop(run);
    if let Err(problem) = &outcome {
        eprintln!("chaos: {problem}; run it again with --seed {seed} --brokers {}", arguments.brokers);
    }
    println!("{}", serde_json::to_string(&summary).expect("a summary is plain data"));
    let twice = if arguments.transactional { summary.duplicates } else { 0 };
    let is_late = arguments.judge_kills && summary.kills_over > 0;
    if is_late {
        eprintln!("chaos: {} kills took longer than allowed until new results came", summary.kills_over);
    }
    let unexplained = summary.unexplained_duplicates + summary.unexplained_ends;
    if unexplained > 0 {
        eprintln!("chaos: no fault explains {} duplicates and {} ends of processes", summary.unexplained_duplicates, summary.unexplained_ends);
    }
    let is_good = outcome.is_ok() && !is_late && unexplained == 0 && summary.lost + summary.unknown + summary.wrong + twice == 0;
    if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Whether faults are left out that take every leader of a partition away: transactions are judged, and there is no replica to take over.
fn keeps_leaders(arguments: &Arguments) -> bool {
    arguments.transactional && arguments.brokers == 1
}

/// What cannot be asked of a run.
fn refuse(arguments: &Arguments) -> Result<(), String> {
    if arguments.brokers == 2 {
        return Err("--brokers is 2, allowed are 1 and 3".to_owned());
    }
    let is_left_out = |name: &String| KINDS.iter().any(|(kind, known, ..)| known == name && kind.takes_every_leader());
    if keeps_leaders(arguments) && !arguments.only.is_empty() && arguments.only.iter().any(is_left_out) {
        return Err(format!(
            "--only {}: with --transactional one broker alone is neither killed nor restarted (KAFKA-20734); --brokers 3 does it",
            arguments.only.join(" --only ")
        ));
    }
    match arguments.only.iter().find(|only| !KINDS.iter().any(|(_, name, ..)| name == only)) {
        Some(only) => Err(format!("--only: there is no kind '{only}'; the kinds are {}", KINDS.map(|(_, name, ..)| name).join(", "))),
        None => Ok(()),
    }
}

/// Beside the program, which is below the target folder: what is kept there outlives the run.
fn logs_of(seed: u64) -> PathBuf {
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned())).unwrap_or_else(harness::scratch);
    here.join(format!("chaos-{seed}"))
}
