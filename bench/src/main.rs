//! The program `expressway-bench`: allocator, arguments, exit code.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use expressway_bench::cases::folder::{self, Folder};
use expressway_bench::cases::{self, CASES, Case, Report};
use expressway_bench::error::Error;
use expressway_bench::instructions::accepted::Accepted;
use expressway_bench::sweep::SWEEPS;
use expressway_bench::{alloc, instructions as counting, peers, probe, record, sweep};

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

const EXAMPLES: &str = "Examples:\n  cargo run --profile bench -p expressway-bench -- run heartbeat --cores 2 --format json\n  expressway-bench run transitions --kind constant --states 100\n  expressway-bench run all --record after.jsonl\n  expressway-bench compare bench/record/2026-11-21-epyc-2.jsonl after.jsonl\n\nExit codes: 0 done, 1 an output is wrong or a record is lost, 2 wrong usage or a debug build, 3 the surroundings failed.";

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
    /// Run a case, or all that need no broker
    Run(RunFlags),
    /// Compare two recorded files, case by case
    Compare {
        /// The earlier results.
        before: PathBuf,
        /// The later results.
        after: PathBuf,
    },
    /// Run a case over the values of one of its parameters, with a chart
    Sweep {
        /// The sweep, or all of them: transitions, payload, shapes, failing, batch, cores, kafka-shards, kafka-partitions
        name: String,
        #[command(flatten)]
        flags: sweep::Flags,
        /// Also add the result, with machine, commit and command, to this file of JSON lines
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// Draw the chart into this file; of all sweeps, into this folder
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Count instructions under valgrind and compare them with the accepted counts
    Instructions(InstructionsFlags),
    /// List the cases
    List,
    /// Run the same job with what a user would pick instead, beside ours
    Peers(peers::Flags),
}

#[derive(Debug, Args)]
struct InstructionsFlags {
    /// Accept what is counted: writes the file
    #[arg(long)]
    accept: bool,
    /// The file of accepted counts
    #[arg(long, value_name = "FILE", default_value = "bench/instructions.json")]
    file: PathBuf,
    /// Leave a profile of each case in this folder, for callgrind_annotate
    #[arg(long, value_name = "FOLDER")]
    dumps: Option<PathBuf>,
    /// Also add the counts, with machine, commit and command, to this file of JSON lines
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Run a case phase by phase: what valgrind is given
    #[arg(long, hide = true, value_name = "CASE")]
    phases: Option<String>,
}

/// The cases are subcommands of `run`, added from their table.
#[derive(Debug, Args)]
struct RunFlags {
    /// Also add the result, with machine, commit and command, to this file of JSON lines
    #[arg(long, global = true, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// The command line with a subcommand of `run` for each case, those of folders among them.
fn command(folders: &[Folder]) -> Command {
    Cli::command().mut_subcommand("run", |run| {
        let all = Command::new("all").about("Every case that needs no broker, one after the other");
        let run = CASES.iter().fold(run.subcommand_required(true), |run, case| run.subcommand(case.command()));
        folders.iter().fold(run, |run, folder| run.subcommand(Command::new(folder.name).about(folder.summary))).subcommand(all)
    })
}

fn main() -> ExitCode {
    end_on_panic();
    let done = folder::all(Path::new(folder::HOME)).and_then(|mut folders| {
        folders.retain(Folder::is_run);
        let matches = command(&folders).get_matches();
        let asked = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        run(asked, &matches, &folders)
    });
    match done {
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

fn run(cli: Cli, matches: &ArgMatches, folders: &[Folder]) -> Result<(), Error> {
    match cli.verb {
        None => run_case(cli.format, None, ("heartbeat", None), folders),
        Some(Verb::List) => {
            list(cli.format, folders);
            Ok(())
        }
        Some(Verb::Peers(flags)) => run_peers(cli.format, flags),
        Some(Verb::Sweep { name, flags, record, svg }) => run_sweeps(cli.format, &name, &flags, record.as_deref(), svg.as_deref()),
        Some(Verb::Instructions(flags)) => instructions(cli.format, &flags),
        Some(Verb::Compare { before, after }) => {
            print!("{}", record::compare(&record::read(&before)?, &record::read(&after)?));
            Ok(())
        }
        Some(Verb::Run(flags)) => {
            let (name, asked) = matches.subcommand_matches("run").and_then(ArgMatches::subcommand).expect("run takes no fewer than one case");
            run_case(cli.format, flags.record, (name, Some(asked)), folders)
        }
    }
}

/// Runs the case of that name, or all; without flags of its own as if none had been given.
fn run_case(format: Form, record: Option<PathBuf>, (name, asked): (&str, Option<&ArgMatches>), folders: &[Folder]) -> Result<(), Error> {
    probe::require_optimised()?;
    if !asked.is_some_and(is_second_process) {
        warn(asked.and_then(|asked| asked.try_get_one::<u32>("broker_pid").ok().flatten()).copied().as_slice());
    }
    let progress: &mut dyn FnMut(&str) = &mut |line| eprintln!("{line}");
    let finish = |report: Report| -> Result<(), Error> {
        print(format, &report);
        record.as_ref().map_or(Ok(()), |file| record::append(file, &report.json))?;
        report.wrong.map_or(Ok(()), Err)
    };
    match (cases::find(name), asked) {
        (Some(case), Some(asked)) => finish((case.run)(asked, progress)?),
        (Some(case), None) => finish(case.run_with(&[], progress)?),
        (None, _) if name == "all" => {
            let runs = CASES.iter().flat_map(|case| case.all.iter().map(move |flags| (case, flags)));
            runs.into_iter().try_for_each(|(case, flags)| finish(case.run_with(flags, progress)?))?;
            folders.iter().try_for_each(|folder| finish(folder.run()?.into()))
        }
        (None, _) => folders.iter().filter(|folder| folder.name == name).try_for_each(|folder| finish(folder.run()?.into())),
    }
}

/// Whether this process makes the load of another one, which has warned already.
fn is_second_process(asked: &ArgMatches) -> bool {
    ["source", "fill"].iter().any(|flag| asked.try_get_one::<String>(flag).ok().flatten().is_some())
}

fn list(format: Form, folders: &[Folder]) {
    for Case { name, summary, .. } in CASES {
        print(format, &Report { json: serde_json::json!({"case": name, "summary": summary}), text: format!("{name:<17} {summary}"), wrong: None });
    }
    for Folder { name, summary, measures, .. } in folders {
        print(
            format,
            &Report { json: serde_json::json!({"case": name, "summary": summary, "measures": measures}), text: format!("{name:<17} {summary}"), wrong: None },
        );
    }
    for sweep::Sweep { name, summary, .. } in SWEEPS {
        print(format, &Report { json: serde_json::json!({"sweep": name, "summary": summary}), text: format!("sweep {name:<17} {summary}"), wrong: None });
    }
}

/// Runs the sweep of that name, or all for which there is what they need.
fn run_sweeps(format: Form, name: &str, flags: &sweep::Flags, record: Option<&Path>, svg: Option<&Path>) -> Result<(), Error> {
    probe::require_optimised()?;
    let chosen: Vec<_> = match (name, sweep::find(name)) {
        ("all", _) => SWEEPS.iter().filter(|sweep| flags.brokers.is_some() || !sweep.needs_brokers).collect(),
        (_, Some(sweep)) => vec![sweep],
        (_, None) => return Err(Error::Usage(format!("there is no sweep {name}; see expressway-bench list"))),
    };
    warn(&[]);
    for sweep in chosen {
        let chart = sweep.run(flags, &mut |line| eprintln!("{line}"))?;
        let report = Report::from(&chart);
        print(format, &report);
        record.map_or(Ok(()), |file| record::append(file, &report.json))?;
        let file = svg.map(|path| if name == "all" { path.join(format!("{}.svg", sweep.name)) } else { path.to_owned() });
        file.map_or(Ok(()), |file| write_chart(&file, &sweep::svg(&chart)?))?;
    }
    Ok(())
}

fn run_peers(format: Form, flags: peers::Flags) -> Result<(), Error> {
    probe::require_optimised()?;
    if flags.install {
        peers::install()?;
    }
    warn(flags.broker_pid.as_slice());
    let (record, outcome) = (flags.record.clone(), peers::run(&flags.into(), &mut |line| eprintln!("{line}"))?);
    let report = Report { json: outcome.to_json(), text: outcome.to_string(), wrong: outcome.wrong() };
    print(format, &report);
    record.map_or(Ok(()), |file| record::append(&file, &report.json))?;
    report.wrong.map_or(Ok(()), Err)
}

fn write_chart(file: &Path, text: &str) -> Result<(), Error> {
    let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(file, text));
    written.map_err(|error| Error::surroundings(format!("writing {}", file.display()), error))
}

fn instructions(format: Form, flags: &InstructionsFlags) -> Result<(), Error> {
    if let Some(case) = &flags.phases {
        println!("{}", counting::child(case)?);
        return Ok(());
    }
    probe::require_optimised()?;
    let before = Accepted::read(&flags.file)?;
    let found = counting::count(flags.dumps.as_deref())?;
    for found in &found {
        print(format, &Report { json: found.to_json(), text: before.table(found), wrong: None });
    }
    flags.record.as_ref().map_or(Ok(()), |file| found.iter().try_for_each(|found| record::append(file, &found.to_json())))?;
    if flags.accept {
        return Accepted::of(&found).write(&flags.file);
    }
    let verdict = counting::verdict(&found, &before);
    print(format, &verdict);
    verdict.wrong.map_or(Ok(()), Err)
}

fn warn(expected: &[u32]) {
    for disturbance in probe::noise(expected) {
        eprintln!("warning: {disturbance}; the result will be worse than it could be");
    }
}

fn print(format: Form, report: &Report) {
    match format {
        Form::Text => println!("{}", report.text),
        Form::Json => println!("{}", report.json),
    }
}
