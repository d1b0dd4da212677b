//! Test files with their definitions: found, run, added up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expressway_engine::diagnostic::Diagnostic;
use expressway_engine::hir::WorkflowType;

use super::case::{self, Case};
use super::coverage::Coverage;
use super::runner::{Machine, Verdict, judge};
use super::trail::Hits;
use crate::clock::Clock;
use crate::control::registry::Definition;
use crate::tasks::mock::{MockFile, TestCase};

/// What a test file's name ends with.
pub const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];

/// What the name of a definition beside it ends with.
const DEFINITION_ENDINGS: [&str; 3] = [".asl.json", ".asl.yaml", ".asl.yml"];

/// Folders inside each other that are searched for test files.
const FOLDER_DEPTH_MAX: u32 = 16;

/// Largest test file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is the same for all cases.
#[derive(Debug)]
pub struct Settings {
    /// The type of cases that do not name one.
    pub workflow_type: WorkflowType,
    /// A file of mocks in Step Functions Local's format.
    pub mocks: Option<MockFile>,
    /// Only cases whose name contains this.
    pub only: Option<String>,
}

/// All that was run.
#[derive(Debug, Default)]
pub struct Report {
    /// By file, in the order given.
    pub files: Vec<FileReport>,
    /// By definition, in the order of their files.
    pub coverages: Vec<Coverage>,
}

/// One test file.
#[derive(Debug)]
pub struct FileReport {
    /// Where it lies.
    pub path: PathBuf,
    /// Its cases, in order.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Nanoseconds that it took in reality.
    pub elapsed_ns: u64,
}

impl Report {
    /// How many cases passed, and how many there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let cases = || self.files.iter().flat_map(|file| &file.cases);
        (cases().filter(|case| case.verdict.has_passed()).count(), cases().count())
    }
}

/// The test files that a path of the command line stands for: itself, that of a definition, or all in a folder.
///
/// # Errors
/// A sentence, when there is none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_dir() {
        let mut found = Vec::new();
        search(path, 0, &mut found)?;
        found.sort();
        return if found.is_empty() { Err(format!("there is no test file (*.test.yaml) in {}", path.display())) } else { Ok(found) };
    }
    if stem(path, &ENDINGS).is_some() {
        return Ok(vec![path.to_owned()]);
    }
    let Some(stem) = stem(path, &DEFINITION_ENDINGS) else {
        return Err(format!("{} is neither a test file (*.test.yaml) nor a definition (*.asl.json, *.asl.yaml) nor a folder", path.display()));
    };
    match ENDINGS.iter().map(|ending| beside(path, &stem, ending)).find(|test| test.is_file()) {
        Some(test) => Ok(vec![test]),
        None => Err(format!("there is no {stem}.test.yaml beside {}", path.display())),
    }
}

fn search(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("the folder {} cannot be read: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() && !path.is_symlink() && depth < FOLDER_DEPTH_MAX {
            search(&path, depth + 1, found)?;
        } else if stem(&path, &ENDINGS).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

/// A file's name without one of the endings.
fn stem(path: &Path, endings: &[&str]) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned)
}

fn beside(path: &Path, stem: &str, ending: &str) -> PathBuf {
    path.with_file_name(format!("{stem}{ending}"))
}

/// The definition beside a test file, if there is one.
#[must_use]
pub fn definition_of(test: &Path) -> Option<PathBuf> {
    let stem = stem(test, &ENDINGS)?;
    DEFINITION_ENDINGS.iter().map(|ending| beside(test, &stem, ending)).find(|path| path.is_file())
}

/// The state machine's name in the cases of a test file.
#[must_use]
pub fn state_machine_of(test: &Path) -> String {
    Definition::json(test, String::new()).stem()
}

/// Reads a test file.
///
/// # Errors
/// A sentence with the file's name.
pub fn read(path: &Path) -> Result<Vec<Case>, String> {
    let unreadable = |error: std::io::Error| format!("the test file {} cannot be read: {error}", path.display());
    let bytes_found = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes_found > FILE_BYTES_MAX {
        return Err(format!("the test file {} has {bytes_found} bytes, limit is {FILE_BYTES_MAX}", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    case::parse(&text).map_err(|problem| format!("the test file {} is refused: {problem}", path.display()))
}

/// Runs the cases of test files.
///
/// # Errors
/// A sentence, when a file or definition cannot be read; what a case gets wrong is in the report.
pub fn run(files: &[PathBuf], settings: &Settings) -> Result<Report, String> {
    let mut report = Report::default();
    for path in files {
        let cases = read(path)?;
        let mut file = File::open(path, settings)?;
        let is_wanted = |case: &Case| settings.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
        let cases = cases.iter().filter(|case| is_wanted(case)).map(|case| file.judge(case)).collect();
        report.files.push(FileReport { path: path.clone(), cases });
        report.coverages.extend(file.coverage()?);
    }
    Ok(report)
}

/// A test file at work.
struct File<'s> {
    settings: &'s Settings,
    state_machine: String,
    definition: Option<Definition>,
    /// The definition beside the file, compiled once for each type in use.
    machines: BTreeMap<&'static str, Result<Machine, Vec<Diagnostic>>>,
    hits: Hits,
}

impl<'s> File<'s> {
    fn open(path: &Path, settings: &'s Settings) -> Result<Self, String> {
        let definition = definition_of(path).map(|path| Definition::read(&path)).transpose().map_err(|error| error.to_string())?;
        Ok(Self { settings, state_machine: state_machine_of(path), definition, machines: BTreeMap::new(), hits: Hits::default() })
    }

    fn judge(&mut self, case: &Case) -> CaseReport {
        let clock = Clock::start();
        let verdict = self.verdict(case);
        CaseReport { name: case.name.clone(), verdict, elapsed_ns: clock.now().monotonic_ns }
    }

    fn verdict(&mut self, case: &Case) -> Verdict {
        let mocks = match test_case(case, self.settings.mocks.as_ref(), &self.state_machine) {
            Ok(mocks) => mocks,
            Err(problem) => return Verdict::broken("mocks", &problem),
        };
        let workflow_type = case.workflow_type.unwrap_or(self.settings.workflow_type);
        if let Some(text) = &case.definition {
            return judge(case, &Machine::compile(text, workflow_type, &self.state_machine), mocks.as_ref());
        }
        let Some(definition) = &self.definition else {
            return Verdict::broken("definition", &format!("there is no {}.asl.json beside the test file, and none in the case", self.state_machine));
        };
        let machine = self.machines.entry(type_name(workflow_type)).or_insert_with(|| Machine::compile(&definition.text, workflow_type, &self.state_machine));
        let verdict = judge(case, machine, mocks.as_ref());
        self.hits.add(&verdict.trail.hits);
        verdict
    }

    /// The coverage of the definition beside the file, if a case has used it.
    fn coverage(&self) -> Result<Option<Coverage>, String> {
        let (Some(definition), Some(machine)) = (&self.definition, self.machines.values().find_map(|machine| machine.as_ref().ok())) else { return Ok(None) };
        Ok(Some(Coverage::of(definition, &machine.hir, &self.hits)))
    }
}

fn type_name(workflow_type: WorkflowType) -> &'static str {
    match workflow_type {
        WorkflowType::Express => "EXPRESS",
        WorkflowType::Standard => "STANDARD",
    }
}

/// The case of the mock file that a case names.
///
/// # Errors
/// A sentence, when there is no such file or case.
pub fn test_case(case: &Case, mocks: Option<&MockFile>, state_machine: &str) -> Result<Option<TestCase>, String> {
    let Some(name) = &case.mocks.test_case else { return Ok(None) };
    let mocks = mocks.ok_or_else(|| format!("it names the test case \"{name}\" of a mock file, but neither --mocks nor SFN_MOCK_CONFIG names the file"))?;
    mocks.test_case(state_machine, name).map(Some).map_err(|error| format!("{error}; another machine's case is named MACHINE#CASE"))
}
