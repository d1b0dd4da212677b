//! `simulate`: the pipeline, its real code, under one seeded scheduler with virtual time and a model of the client and the brokers.
//!
//! `build.rs` brings the sources of the service's pipeline in; here they find other modules under the three names through which a pipeline reaches the world: `kafka`, `thread` and `clock`. Threads are coroutines ([`coroutine`]), of which the scheduler ([`world`]) lets one at a time go on to its next wait. [`consumer`], [`producer`] and [`broker`] are the model, [`plan`] draws surroundings and faults, [`ledger`] knows at every step what must hold, and [`run`] is one seed.
//!
//! A seed is one run, to the last step. A failing one prints itself with its last 50 steps, and `--seed N` shows it again.
// The pipeline's own tests are run where they belong.
#![cfg(not(test))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is this program's product")]

mod broker;
mod clock;
mod consumer;
mod coroutine;
mod kafka;
mod ledger;
mod plan;
mod producer;
mod run;
mod thread;
mod transaction;
mod workflow;
mod world;

pub(crate) use expressway_ingest::tasks;

include!(concat!(env!("OUT_DIR"), "/pipeline.rs"));

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::run::Outcome;

/// Steps that a failing seed shows.
const NOTES_MAX: usize = 50;
/// Violations that are shown in full.
const SHOWN_MAX: u64 = 5;
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A seed that takes so long does not end: the longest takes a fraction of a second.
const HANG_AFTER: Duration = Duration::from_secs(120);

/// Runs the pipeline under a seeded scheduler, with virtual time and a model of Kafka.
#[derive(Debug, Parser)]
#[command(name = "simulate", after_help = "Example: simulate --seeds 10000 --from 0\nExit code 1 when a seed found a violation.")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs for so many minutes instead, however many seeds that is.
    #[arg(long)]
    minutes: Option<u64>,
    /// Shows the last steps of one seed, whether it finds something or not.
    #[arg(long, conflicts_with_all = ["seeds", "from", "minutes"])]
    seed: Option<u64>,
    /// How many steps `--seed` shows.
    #[arg(long, default_value_t = NOTES_MAX)]
    steps: usize,
    /// A file of seeds to run first: a number at the beginning of each line.
    #[arg(long)]
    kept: Option<std::path::PathBuf>,
    /// Ends at the first violation.
    #[arg(long)]
    until_found: bool,
    /// Runs every seed twice and compares the two runs step by step.
    #[arg(long)]
    twice: bool,
    /// Threads; one for each core unless told otherwise.
    #[arg(long)]
    threads: Option<usize>,
}

/// What the threads share.
struct Shared {
    kept: Vec<u64>,
    arguments: Arguments,
    next: AtomicU64,
    done: AtomicU64,
    violations: AtomicU64,
    steps: AtomicU64,
    written: AtomicU64,
    duplicates: AtomicU64,
    transactions: AtomicU64,
    replacements: AtomicU64,
    virtual_ms: AtomicU64,
    lowest: Mutex<Option<u64>>,
    is_over: AtomicBool,
    /// By thread: its seed plus one, and when it began.
    running: Vec<Mutex<(u64, Instant)>>,
}

impl Shared {
    fn next_seed(&self) -> Option<u64> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kept = self.kept.len() as u64;
        match usize::try_from(number).ok().and_then(|place| self.kept.get(place)) {
            Some(seed) => Some(*seed),
            None if self.arguments.minutes.is_some() || number - kept < self.arguments.seeds => Some(self.arguments.from + number - kept),
            None => None,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "progress is told in real time")]
    fn work(&self, thread: usize) {
        let program = workflow::program();
        while let Some(seed) = self.next_seed() {
            if let Ok(mut running) = self.running[thread].lock() {
                *running = (seed + 1, Instant::now());
            }
            let mut outcome = run::run(seed, &program, 0);
            if self.arguments.twice && outcome.violation.is_none() {
                let again = run::run(seed, &program, 0);
                if (again.fingerprint, again.steps) != (outcome.fingerprint, outcome.steps) {
                    outcome.violation = Some(format!("two runs differ: {} steps and {} steps", outcome.steps, again.steps));
                }
            }
            self.book(&outcome);
            if outcome.violation.is_some() {
                self.found(seed, &outcome, &program);
            }
        }
        if let Ok(mut running) = self.running[thread].lock() {
            running.0 = 0;
        }
    }

    fn book(&self, outcome: &Outcome) {
        self.steps.fetch_add(outcome.steps, Ordering::Relaxed);
        self.written.fetch_add(outcome.written, Ordering::Relaxed);
        self.duplicates.fetch_add(outcome.duplicates, Ordering::Relaxed);
        self.transactions.fetch_add(outcome.transactions, Ordering::Relaxed);
        self.replacements.fetch_add(outcome.replacements, Ordering::Relaxed);
        self.virtual_ms.fetch_add(outcome.virtual_ns / 1_000_000, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn found(&self, seed: u64, outcome: &Outcome, program: &std::sync::Arc<expressway_engine::Program>) {
        let found = self.violations.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut lowest) = self.lowest.lock() {
            *lowest = Some(lowest.map_or(seed, |lowest| lowest.min(seed)));
        }
        if self.arguments.until_found {
            self.is_over.store(true, Ordering::Relaxed);
        }
        let violation = outcome.violation.as_deref().unwrap_or_default();
        if found >= SHOWN_MAX {
            return eprintln!("seed {seed}: {violation}");
        }
        let again = run::run(seed, program, NOTES_MAX);
        eprintln!("seed {seed}: {violation}\n{}\n(seed {seed} again: {})", again.notes.join("\n"), again.violation.unwrap_or_default());
    }

    fn tell(&self, since: Instant) {
        let (done, took) = (self.done.load(Ordering::Relaxed), since.elapsed());
        let rate = u128::from(done) * 1_000 / took.as_millis().max(1);
        eprintln!("{done} seeds, {} violations, {rate} seeds/s", self.violations.load(Ordering::Relaxed));
    }

    /// Watches over the threads until all have ended.
    #[expect(clippy::disallowed_methods, reason = "a seed that hangs hangs in real time")]
    fn watch(&self, since: Instant) {
        let mut told = Instant::now();
        let minutes = self.arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
        loop {
            std::thread::park_timeout(Duration::from_millis(100));
            let mut all_over = true;
            for running in &self.running {
                let (seed, began) = running.lock().map_or_else(|_| (0, Instant::now()), |running| *running);
                all_over &= seed == 0;
                if seed != 0 && began.elapsed() > HANG_AFTER {
                    eprintln!("seed {}: hangs between two steps", seed - 1);
                    std::process::exit(1);
                }
            }
            if all_over {
                return;
            }
            if minutes.is_some_and(|minutes| since.elapsed() > minutes) {
                self.is_over.store(true, Ordering::Relaxed);
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell(since);
            }
        }
    }
}

fn show(seed: u64, notes: usize) -> ExitCode {
    let outcome = run::run(seed, &workflow::program(), notes);
    for note in &outcome.notes {
        println!("{note}");
    }
    println!(
        "seed {seed}: {} steps, {} instances, {} written: {}",
        outcome.steps,
        outcome.instances,
        outcome.written,
        outcome.violation.as_deref().unwrap_or("fine")
    );
    ExitCode::from(u8::from(outcome.violation.is_some()))
}

fn kept(arguments: &Arguments) -> Vec<u64> {
    let Some(path) = &arguments.kept else { return Vec::new() };
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[expect(clippy::disallowed_methods, reason = "progress is told in real time")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kept = kept(&arguments);
    // Panics are part of the plan; those that are not come out as violations.
    std::panic::set_hook(Box::new(|panic| {
        if std::env::var_os("EXPRESSWAY_SIMULATION_PANICS").is_some() {
            eprintln!("{panic}");
        }
    }));
    if let Some(seed) = arguments.seed {
        return show(seed, arguments.steps);
    }
    let since = Instant::now();
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let shared = Shared {
        kept,
        arguments,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        violations: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        written: AtomicU64::new(0),
        duplicates: AtomicU64::new(0),
        transactions: AtomicU64::new(0),
        replacements: AtomicU64::new(0),
        virtual_ms: AtomicU64::new(0),
        lowest: Mutex::new(None),
        is_over: AtomicBool::new(false),
        running: (0..threads).map(|_| Mutex::new((1, Instant::now()))).collect(),
    };
    std::thread::scope(|scope| {
        let shared = &shared;
        (0..threads).for_each(|thread| drop(scope.spawn(move || shared.work(thread))));
        shared.watch(since);
    });
    shared.tell(since);
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (seeds, violations) = (count(&shared.done), count(&shared.violations));
    let first = shared.lowest.lock().ok().and_then(|lowest| *lowest).map_or_else(|| "null".to_owned(), |seed| seed.to_string());
    println!(
        "{{\"seeds\":{seeds},\"violations\":{violations},\"first\":{first},\"steps\":{},\"written\":{},\"duplicates\":{},\"transactions\":{},\"replacements\":{},\"virtual_seconds\":{},\"seconds\":{}}}",
        count(&shared.steps),
        count(&shared.written),
        count(&shared.duplicates),
        count(&shared.transactions),
        count(&shared.replacements),
        count(&shared.virtual_ms) / 1_000,
        since.elapsed().as_secs()
    );
    ExitCode::from(u8::from(violations > 0))
}
