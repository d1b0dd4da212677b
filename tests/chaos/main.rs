//! `chaos`: the service under kill -9 in mid-stream, on a real broker; a ledger proves that nothing owed is missing.
//!
//! Duplicates are the price of at-least-once and are counted, not forbidden. The last line of stdout is one JSON object.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]
#![expect(clippy::print_stderr, reason = "a command-line program says on stderr what is wrong")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use harness::broker::{Broker, Real};
use harness::deadline;
use harness::kafka::{self, Reader};
use harness::ledger::{Balance, Feeder};
use harness::service::{Config, Service, dead_letters, results};
use serde::Serialize;

/// Kill the service in mid-stream and prove that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = "Example: chaos --kills 10 --records 300000")]
struct Arguments {
    /// How often the service is killed.
    #[arg(long, default_value_t = 3)]
    kills: u64,
    /// Records in all.
    #[arg(long, default_value_t = 120_000)]
    records: u64,
    /// Records a second.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
}

/// The last line.
#[derive(Debug, Serialize)]
struct Summary {
    records: usize,
    results: usize,
    dead_letters: usize,
    duplicates: usize,
    missing: usize,
    wrong: usize,
    kills: u64,
    seconds: f32,
}

const PARTITIONS: i32 = 4;
const SOURCE: &str = "chaos";
const GROUP: &str = "chaos-group";
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begin = Instant::now();
    match run(&arguments) {
        Ok(balance) => {
            let problem = balance.check();
            if let Err(problem) = &problem {
                eprintln!("chaos: {problem}");
            }
            let summary = Summary {
                records: balance.owed,
                results: balance.results,
                dead_letters: balance.dead_letters,
                duplicates: balance.duplicates,
                missing: balance.missing.len(),
                wrong: balance.wrong.len(),
                kills: arguments.kills,
                seconds: begin.elapsed().as_secs_f32(),
            };
            println!("{}", serde_json::to_string(&summary).expect("a summary is plain data"));
            if problem.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(problem) => {
            eprintln!("chaos: {problem}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Balance, String> {
    let broker = Real::start(1, "")?;
    let address = broker.bootstrap();
    for topic in [SOURCE.to_owned(), results(SOURCE), dead_letters(SOURCE)] {
        broker.create_topic(&topic, PARTITIONS)?;
    }
    // A killed member is missed after three seconds, so that the stream outlives every kill.
    let config = Config::new(&address, SOURCE, GROUP, "errands")?.with("kafka/client_options/session.timeout.ms", "3000");
    let mut feeder = Feeder::new(&address, SOURCE)?;
    let mut service = Service::start(&config, LIMIT)?;
    let between = (arguments.records / (arguments.kills + 1)).max(1);
    let (mut killed, mut killed_at, mut results_at_start) = (0, 0, 0);
    // The stream never stops for a kill: records come in while the service is dead and while it starts.
    feeder.stream(arguments.records, arguments.rate, |sent| {
        if killed < arguments.kills && sent - killed_at >= between && is_at_work(&service, &address, results_at_start)? {
            service.signal("KILL")?;
            service.wait(LIMIT)?;
            (killed, killed_at) = (killed + 1, sent);
            eprintln!("chaos: kill {killed} after {sent} records");
            results_at_start = count_results(&address)?;
            service = Service::spawn(&config)?;
        }
        Ok(())
    })?;
    // One errand of each other kind, and a poison record, at the end: a fresh record still passes after everything.
    feeder.raw(None, Some(b"{\"seq\":"))?;
    feeder.errand(None, "fail", "")?;
    feeder.errand(None, "wait", ",\"seconds\":1")?;
    feeder.flush(LIMIT)?;
    wait_all_committed(&address)?;
    service.stop(LIMIT)?;
    if killed < arguments.kills {
        return Err(format!("only {killed} kills, the stream was too short"));
    }
    let read = |topic: String| -> Result<Vec<kafka::Record>, String> {
        Ok(Reader::open(&address, &topic, PARTITIONS)?.read_to_end(&address, &topic, PARTITIONS, LIMIT)?.to_vec())
    };
    Ok(feeder.ledger().balance(SOURCE, &read(results(SOURCE))?, &read(dead_letters(SOURCE))?))
}

/// Whether the service is ready and has produced something since it was started: only then is a kill one in mid-stream.
fn is_at_work(service: &Service, address: &str, results_at_start: i64) -> Result<bool, String> {
    let ready = service.stderr().iter().any(|line| line.trim() == "ready");
    Ok(ready && count_results(address)? > results_at_start)
}

fn count_results(address: &str) -> Result<i64, String> {
    Ok(kafka::ends(address, &results(SOURCE), PARTITIONS)?.iter().sum())
}

fn wait_all_committed(address: &str) -> Result<(), String> {
    let ends: Vec<_> = kafka::ends(address, SOURCE, PARTITIONS)?.into_iter().map(Some).collect();
    let committed = || kafka::committed(address, GROUP, SOURCE, PARTITIONS);
    let done = deadline::until("every record committed", LIMIT, || committed().ok().filter(|committed| *committed == ends));
    done.map(|_| ()).map_err(|late| format!("{late}: committed {:?} of {ends:?}", committed()))
}
