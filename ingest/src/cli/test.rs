//! `expressway test`: what a workflow's author runs in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::Environment;
use super::definition::{Type, refused_mocks};
use super::output::{Output, tell};
use crate::authoring::report::{self, Form, print};
use crate::authoring::suite::{self, Settings};
use crate::authoring::{coverage, record};
use crate::error::Error;
use crate::tasks::mock::MockFile;

const HELP: &str = "Examples:
  expressway test configs/definitions --fail-under 90 --report junit=cases.xml --report lcov=coverage.info
  expressway test orders.test.yaml --record refunds_are_booked --input '{\"order\": 7}'

Cases lie in NAME.test.yaml beside NAME.asl.json (or .asl.yaml). Waits and retry delays take no real time.

  - name: a_busy_bank_is_asked_again        # unique in the file
    input: {order: 7}                       # {} when absent
    type: EXPRESS                           # or STANDARD, else --type
    mocks:                                  # how tasks answer, one of
      sfn_local: {Charge: {'0': {Throw: {Error: Busy}}, '1-2': {Return: {ok: true}}}}
      tasks: [{state: Charge, request: {order: 7}, reply: {return: 5}, after_ms: 20}]
      test_case: Happy                      # of the file in --mocks or SFN_MOCK_CONFIG; MACHINE#CASE for another machine
    expect:                                 # what is not said is left open
      status: FAILED                        # SUCCEEDED with an output, FAILED with an error
      output: {a: 1}                        # or output_includes, for some of its members
      error: Busy                           # null: there is none
      cause: try later                      # null: there is none
      path: [Charge, Wait, Charge]          # of each level that it names a state of
      took_ms: 3000                         # virtual time

Also: comment, clause, execution (its name), definition (in the case itself), expect.refused (a list of findings). The reference is configs/definitions/README.md.

Exit codes: 0 all cases passed, 1 a case failed, none was run, a file is at fault or the coverage is too low, 2 wrong usage, 3 a file named here cannot be read.";

/// Flags of `test`.
#[derive(Debug, Args)]
#[command(
    after_help = HELP
)]
pub(super) struct Flags {
    /// Test files (*.test.yaml), definitions with one beside them, or folders of test files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Form of the report on standard output
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: FormFlag,
    /// A report for a file, such as junit=cases.xml or lcov=coverage.info; may be given several times
    #[arg(long = "report", env = "EXPRESSWAY_REPORT", value_name = "FORM=FILE", value_delimiter = ',')]
    reports: Vec<ReportFile>,
    /// Fail when less than this share of all states, transitions, rules, retriers and catchers was reached
    #[arg(long, env = "EXPRESSWAY_FAIL_UNDER", value_name = "PERCENT", value_parser = percent)]
    fail_under: Option<f64>,
    /// Only cases whose name contains this
    #[arg(long, env = "EXPRESSWAY_ONLY", value_name = "NAME")]
    only: Option<String>,
    /// Mocked task results in the format of Step Functions Local, for cases that name a test case of it; also taken from SFN_MOCK_CONFIG
    #[arg(long, env = "EXPRESSWAY_MOCKS", value_name = "FILE")]
    mocks: Option<PathBuf>,
    /// Type whose rules apply to cases that name none
    #[arg(long = "type", env = "EXPRESSWAY_TYPE", value_name = "TYPE", value_enum, ignore_case = true, default_value = "EXPRESS")]
    workflow_type: Type,
    /// Run one execution of the definition and append it to the test file as a case of this name
    #[arg(long, env = "EXPRESSWAY_RECORD", value_name = "NAME", conflicts_with_all = ["reports", "fail_under", "only"])]
    record: Option<String>,
    /// Input of the execution that is recorded: JSON; {} when absent
    #[arg(long, env = "EXPRESSWAY_INPUT", value_name = "JSON", requires = "record")]
    input: Option<String>,
    /// Record this execution of AWS instead: what `aws stepfunctions get-execution-history` printed
    #[arg(long, env = "EXPRESSWAY_HISTORY", value_name = "FILE", requires = "record", conflicts_with = "input")]
    history: Option<PathBuf>,
    /// Test case of the mock file that answers the tasks of the execution that is recorded
    #[arg(long, env = "EXPRESSWAY_TEST_CASE", value_name = "NAME", requires = "record")]
    test_case: Option<String>,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormFlag {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// The cases, for CI systems.
    Junit,
    /// The coverage, for editors and coverage services.
    Lcov,
}

impl From<FormFlag> for Form {
    fn from(form: FormFlag) -> Self {
        match form {
            FormFlag::Text => Self::Text,
            FormFlag::Json => Self::Json,
            FormFlag::Junit => Self::Junit,
            FormFlag::Lcov => Self::Lcov,
        }
    }
}

/// `--report`
#[derive(Debug, Clone)]
struct ReportFile {
    form: Form,
    path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = Form::ALL.map(Form::as_str).join(", ");
        let (form, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(|| format!("write FORM=FILE, where FORM is one of {forms}"))?;
        let form = Form::ALL.into_iter().find(|known| known.as_str() == form).ok_or_else(|| format!("\"{form}\" is none of {forms}"))?;
        Ok(Self { form, path: path.into() })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim_end_matches('%').parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("it is a number from 0 to 100".to_owned()) }
}

pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<(), Error> {
    let mocks = flags.mock_file(environment).map(|path| MockFile::read(&path)).transpose().map_err(|error| refused_mocks(&error))?;
    let settings = Settings { workflow_type: flags.workflow_type.into(), mocks, only: flags.only.clone() };
    if let Some(name) = &flags.record {
        return record_case(flags, name, &settings);
    }
    let mut files = Vec::new();
    for path in &flags.files {
        fs::metadata(path).map_err(|error| Error::surroundings(format!("{} cannot be read", path.display()), error))?;
        for found in suite::find(path).map_err(Error::Input)? {
            if !files.contains(&found) {
                files.push(found);
            }
        }
    }
    let done = suite::run(&files, &settings);
    let (passed, all) = done.counts();
    for file in done.files.iter().filter(|file| flags.only.is_none() && file.cases.is_empty() && file.problem.is_none()) {
        tell(&format!("note: the test file {} has no cases", file.path.display()));
    }
    if let Some(only) = flags.only.as_ref().filter(|_| all == 0 && done.files_at_fault() == 0) {
        return Err(Error::Usage(format!("no case has \"{only}\" in its name")));
    }
    for file in &flags.reports {
        let what = || format!("the report {} cannot be written", file.path.display());
        fs::write(&file.path, print(&done, file.form)).map_err(|error| Error::surroundings(what(), error))?;
    }
    let mut out = Output::new();
    let report = print(&done, flags.format.into());
    if flags.format == FormFlag::Text { out.text(&report) } else { out.write(report.as_bytes()) }?;
    out.flush()?;
    let reached = coverage::total(&done.coverages).percent();
    match flags.fail_under {
        _ if passed < all || done.files_at_fault() > 0 => Err(Error::Input(String::new())),
        // A gate that nothing has gone through is not open.
        _ if all == 0 => Err(Error::Input("no case was run, so nothing is tested".to_owned())),
        Some(_) if done.coverages.is_empty() => Err(Error::Input("no coverage was measured: no case is of a definition beside its test file".to_owned())),
        Some(wanted) if reached < wanted => Err(Error::Input(format!("the coverage is {}, less than the {wanted} % asked for", report::percent(reached)))),
        _ => Ok(()),
    }
}

impl Flags {
    /// The mock file: by the flag, else where Step Functions Local looks.
    fn mock_file(&self, environment: &Environment) -> Option<PathBuf> {
        let variable = || environment.iter().find(|(name, value)| name == "SFN_MOCK_CONFIG" && !value.is_empty()).map(|(_, value)| value.into());
        self.mocks.clone().or_else(variable)
    }
}

fn record_case(flags: &Flags, name: &str, settings: &Settings) -> Result<(), Error> {
    let [file] = flags.files.as_slice() else { return Err(Error::Usage("--record appends to one test file; name that one only".to_owned())) };
    let target = record::target(file).map_err(Error::Input)?;
    let source = match (&flags.history, &flags.input) {
        (Some(path), _) => record::Source::History(read(path)?),
        (None, input) => record::Source::Run { input: input.clone().unwrap_or_else(|| "{}".to_owned()), test_case: flags.test_case.clone() },
    };
    let entry = record::case(&target, name, &source, settings).map_err(Error::Input)?;
    let what = || format!("the test file {} cannot be written", target.test.display());
    fs::write(&target.test, &entry.file).map_err(|error| Error::surroundings(what(), error))?;
    let mut out = Output::new();
    out.write(entry.added.as_bytes())?;
    out.flush()?;
    if entry.notes.is_empty() {
        tell(&format!("the case is written to {}", target.test.display()));
        return Ok(());
    }
    for note in &entry.notes {
        tell(&format!("note: {note}"));
    }
    let file = target.test.display();
    Err(Error::Input(format!("the case is written to {file}, but it does not come out here as it was recorded; as it stands it fails")))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::surroundings(format!("the history {} cannot be read", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_files_name_their_form() {
        let file: ReportFile = "lcov=a=b.info".parse().expect("well formed");
        assert_eq!((file.form, file.path), (Form::Lcov, PathBuf::from("a=b.info")));
        assert!("lcov".parse::<ReportFile>().is_err() && "lcov=".parse::<ReportFile>().is_err());
        assert!("xml=a".parse::<ReportFile>().expect_err("unknown").contains("junit"));
    }

    #[test]
    fn percentages_are_from_0_to_100() {
        assert_eq!([percent("90"), percent("99.5%")], [Ok(90.0), Ok(99.5)]);
        assert!(percent("101").is_err() && percent("NaN").is_err() && percent("much").is_err());
    }
}
