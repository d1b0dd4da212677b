//! `conformance`: every case of a corpus, judged on virtual time.
//!
//! Without a folder it judges the project's own cases and, when it is there, the shared corpus beside the repository. The report goes to stdout; exit code 1 means that a group is below its floor or an own case failed, 2 that the command line is wrong, 3 that a corpus cannot be read. With `UPDATE_GOLDEN=1` in the environment the floors are set to what this run reached, to be read before they are committed.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]
#![expect(clippy::print_stderr, reason = "a command-line program says on stderr what is wrong")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{Parser, ValueEnum};
use harness::corpus::by_reference;
use harness::corpus::case::{self, Case};
use harness::corpus::floor::{self, Floors};
use harness::corpus::judge::{Tally, Verdict, judge};
use harness::corpus::run::BY_SHAPES;
use serde::Serialize;

/// Judge a corpus of state machine cases on virtual time.
#[derive(Debug, Parser)]
#[command(name = "conformance", after_help = "Example: conformance ../shared/conformance --only choice --format json")]
struct Arguments {
    /// A corpus: `asl/*.jsonl` with its sister folders, or a bare folder of such files. Default: the project's own cases, and ../shared/conformance if it is there.
    folder: Option<PathBuf>,
    /// How the report is written.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Read every input by a shape learned from itself.
    #[arg(long)]
    learned_shapes: bool,
    /// Judge one group only, such as `choice`, `choice/history`, `own/map` or `own/map@reference`.
    #[arg(long, value_name = "GROUP")]
    only: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The report, in the order of its JSON.
#[derive(Debug, Default, Serialize)]
struct Report {
    groups: BTreeMap<String, Tally>,
    failed_ids: Vec<String>,
    not_applicable_ids: BTreeMap<String, &'static str>,
    #[serde(skip)]
    differences: Vec<(String, String)>,
}

impl Report {
    fn add(&mut self, group: &str, id: String, verdict: Verdict) {
        self.groups.entry(group.to_owned()).or_default().add(&verdict);
        match verdict {
            Verdict::Passed => {}
            Verdict::Failed(difference) => {
                self.failed_ids.push(id.clone());
                self.differences.push((id, difference));
            }
            Verdict::NotApplicable(reason) => {
                self.not_applicable_ids.insert(id, reason.as_str());
            }
        }
    }
}

/// Behind the name of a group or a case, its history.
const HISTORY: &str = "/history";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cases = match load(arguments.folder.as_deref()) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("conformance: {error}");
            return ExitCode::from(3);
        }
    };
    BY_SHAPES.store(arguments.learned_shapes, Ordering::Relaxed);
    // A panic of the engine is a verdict on its case, told in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let report = judge_all(&cases, arguments.only.as_deref());
    if report.groups.is_empty() {
        eprintln!("conformance: no case of {}", arguments.only.as_deref().map_or_else(|| "any group".to_owned(), |group| format!("group '{group}'")));
        return ExitCode::from(2);
    }
    match arguments.format {
        Format::Json => println!("{}", serde_json::to_string(&report).expect("a report is plain data")),
        Format::Text => print_text(&report, arguments.only.is_some()),
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() && arguments.folder.is_none() && arguments.only.is_none() {
        return update_floors(&report);
    }
    let breaches = floor::breaches(&floors(), &report.groups);
    for breach in &breaches {
        eprintln!("conformance: {breach}");
    }
    if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The tests package: own cases and floors lie there, also when the binary runs elsewhere.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn load(folder: Option<&Path>) -> Result<Vec<Case>, String> {
    let loaded = match folder {
        Some(folder) => {
            if !folder.is_dir() {
                return Err(format!("{} is not a folder", folder.display()));
            }
            case::load_corpus(folder)
        }
        None => case::load_own(&package().join("data/cases")).and_then(|mut cases| {
            cases.extend(case::load_corpus(&package().join("../../shared/conformance"))?);
            Ok(cases)
        }),
    };
    loaded.map_err(|error| error.to_string())
}

fn floors() -> Floors {
    serde_json::from_str(include_str!("floors.json")).expect("the checked-in floors are well formed")
}

fn update_floors(report: &Report) -> ExitCode {
    match std::fs::write(package().join("conformance/floors.json"), floor::print(&report.groups)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: cannot write the floors: {error}");
            ExitCode::from(3)
        }
    }
}

fn judge_all(cases: &[Case], only: Option<&str>) -> Report {
    let wanted = |group: &str| only.is_none_or(|only| only == group);
    let mut report = Report::default();
    for case in cases {
        let histories = format!("{}{HISTORY}", case.group);
        let by_reference = format!("{}{}", case.group, by_reference::SUFFIX);
        if let Some(verdict) = Some(case).filter(|_| wanted(&by_reference)).and_then(by_reference::judge) {
            report.add(&by_reference, format!("{}{}", case.id, by_reference::SUFFIX), verdict);
        }
        if !wanted(&case.group) && !wanted(&histories) {
            continue;
        }
        let judged = judge(case);
        if wanted(&case.group) {
            report.add(&case.group, case.id.clone(), judged.outcome);
        }
        if let Some(history) = judged.history.filter(|_| wanted(&histories)) {
            report.add(&histories, format!("{}{HISTORY}", case.id), history);
        }
    }
    report
}

fn print_text(report: &Report, every_difference: bool) {
    println!("{:<32}{:>7}{:>8}{:>8}{:>8}{:>10}", "group", "cases", "passed", "failed", "n/a", "of those");
    let mut sum = Tally::default();
    for (name, tally) in &report.groups {
        println!("{}", line(name, tally));
        sum.cases += tally.cases;
        sum.passed += tally.passed;
        sum.failed += tally.failed;
        sum.not_applicable += tally.not_applicable;
    }
    println!("{}", line("all", &sum));
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in report.not_applicable_ids.values() {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("n/a     {reason}: {count}");
    }
    for (id, difference) in report.differences.iter().filter(|(id, _)| every_difference || !id.ends_with(HISTORY)) {
        println!("failed  {id}\n        {difference}");
    }
}

/// One group; the last column is the share of the applicable cases that passed.
fn line(name: &str, tally: &Tally) -> String {
    let applicable = tally.passed + tally.failed;
    let share = if applicable == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * as_f64(tally.passed) / as_f64(applicable)) };
    format!("{name:<32}{:>7}{:>8}{:>8}{:>8}{share:>10}", tally.cases, tally.passed, tally.failed, tally.not_applicable)
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
