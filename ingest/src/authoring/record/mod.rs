//! An execution becomes a case.
//!
//! Either one that runs now, on virtual time, its tasks answered by mocks or native handlers; or one that ran on AWS, from its history. Its calls become the case's mocks, its end and its path what the case expects. The case is run before it is handed out: where it does not come out as recorded (the order in which branches ran, times), a note says so.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::case::{self, Call, CallReply, Case};
use super::runner::{self, Machine, START};
use super::suite::{self, ENDINGS, Settings};
use crate::control::registry::Definition;
use crate::local::Status;

mod history;

/// Where a case goes, and the definition that it is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// The test file, which need not be there yet.
    pub test: PathBuf,
    /// The definition beside it.
    pub definition: PathBuf,
}

/// Where an execution comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// It runs now.
    Run {
        /// Its input, JSON.
        input: String,
        /// The test case of the mock file that answers its tasks.
        test_case: Option<String>,
    },
    /// It ran on AWS: what `get-execution-history` printed, JSON.
    History(String),
}

/// A new case, in its file.
#[derive(Debug)]
pub struct Entry {
    /// The whole test file with the case.
    pub file: String,
    /// The case alone.
    pub added: String,
    /// What its author should know.
    pub notes: Vec<String>,
}

/// What is written down of an execution.
#[derive(Debug, Default)]
struct Execution {
    input: Value,
    status: String,
    output: Option<Value>,
    error: Option<String>,
    cause: Option<String>,
    calls: Vec<Call>,
    path: Option<Vec<String>>,
    took_ms: Option<u64>,
}

/// The test file and the definition that a path of the command line stands for; either may be named.
///
/// # Errors
/// A sentence, when there is no definition.
pub fn target(path: &Path) -> Result<Target, String> {
    let name = path.to_string_lossy();
    if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        let definition = suite::definition_of(path).ok_or_else(|| format!("there is no definition (*.asl.json) beside {name}"))?;
        return Ok(Target { test: path.to_owned(), definition });
    }
    let stem = name.strip_suffix(".asl.json").or_else(|| name.strip_suffix(".asl.yaml")).or_else(|| name.strip_suffix(".asl.yml"));
    let stem = stem.ok_or_else(|| format!("{name} is neither a test file (*.test.yaml) nor a definition (*.asl.json, *.asl.yaml)"))?;
    Ok(Target { test: format!("{stem}.test.yaml").into(), definition: path.to_owned() })
}

/// Makes a case of an execution.
///
/// # Errors
/// A sentence: the name is taken, the definition refused, the execution has no end, or the history cannot be read.
pub fn case(target: &Target, name: &str, source: &Source, settings: &Settings) -> Result<Entry, String> {
    let before = if target.test.exists() {
        std::fs::read_to_string(&target.test).map_err(|error| format!("{} cannot be read: {error}", target.test.display()))?
    } else {
        String::new()
    };
    let known = case::parse(&before).map_err(|problem| format!("the test file {} is refused: {problem}", target.test.display()))?;
    if known.iter().any(|case| case.name == name) {
        return Err(format!("the test file {} has a case \"{name}\" already", target.test.display()));
    }
    let definition = Definition::read(&target.definition).map_err(|error| error.to_string())?;
    let state_machine = suite::state_machine_of(&target.test);
    let machine = Machine::compile(&definition.text, settings.workflow_type, &state_machine)
        .map_err(|found| format!("the definition {} is refused\n{}", definition.path.display(), definition.render(&definition.placed(found))))?;
    let execution = match source {
        Source::Run { input, test_case } => run_now(name, input, test_case.as_ref(), &machine, &state_machine, settings)?,
        Source::History(text) => history::read(text)?,
    };
    let added = entry(name, &execution);
    let separator = if before.is_empty() || before.ends_with("\n\n") {
        ""
    } else if before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let file = format!("{before}{separator}{added}");
    let notes = check(&file, name, machine)?;
    Ok(Entry { file, added, notes })
}

fn run_now(name: &str, input: &str, test_case: Option<&String>, machine: &Machine, state_machine: &str, settings: &Settings) -> Result<Execution, String> {
    let input: Value = serde_json::from_str(input).map_err(|error| format!("the input is not JSON: {error}"))?;
    let mut mocks = Map::new();
    mocks.extend(test_case.map(|test_case| ("test_case".to_owned(), test_case.as_str().into())));
    // What it expects does not matter: it is only run.
    let case = Case::from_value(&json!({"name": name, "input": input, "mocks": mocks, "expect": {"output": null}}))?;
    let answers = suite::test_case(&case, settings.mocks.as_ref(), state_machine)?;
    let ran = runner::run(&case, machine, answers.as_ref()).map_err(|problem| problem.text)?;
    let path = ran.trail.path.iter().map(|id| machine.hir.states()[id.0 as usize].name.clone()).collect();
    let output = (ran.ended.status == Status::Succeeded).then(|| serde_json::from_slice(&ran.ended.output)).transpose();
    Ok(Execution {
        input,
        status: ran.ended.status.as_str().to_owned(),
        output: output.map_err(|error| format!("the output is not JSON: {error}"))?,
        error: ran.ended.error,
        cause: ran.ended.cause,
        calls: ran.calls,
        path: Some(path),
        took_ms: Some(ran.ended.at.0 - START.0),
    })
}

/// The case as YAML: keys as blocks, values as JSON, which is YAML too.
fn entry(name: &str, execution: &Execution) -> String {
    let mut out = format!("- name: {}\n  input: {}\n", Value::from(name), execution.input);
    if !execution.calls.is_empty() {
        out.push_str("  mocks:\n    tasks:\n");
        for call in &execution.calls {
            out.push_str(&format!("      - {}\n", call_json(call)));
        }
    }
    out.push_str(&format!("  expect:\n    status: {}\n", execution.status));
    let text = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()));
    let path = execution.path.as_ref().map(|path| json!(path));
    let took_ms = execution.took_ms.map(Value::from);
    let members =
        [("output", execution.output.clone()), ("error", text(&execution.error)), ("cause", text(&execution.cause)), ("took_ms", took_ms), ("path", path)];
    for (key, value) in members {
        if let Some(value) = value {
            out.push_str(&format!("    {key}: {value}\n"));
        }
    }
    out
}

fn call_json(call: &Call) -> Value {
    let reply = match &call.reply {
        CallReply::Return(result) => json!({ "return": result }),
        CallReply::Throw { error, cause: Some(cause) } => json!({"throw": {"error": error, "cause": cause}}),
        CallReply::Throw { error, cause: None } => json!({"throw": {"error": error}}),
        CallReply::Silence => json!({"timeout": true}),
    };
    let mut members = Map::new();
    members.insert("state".to_owned(), call.state.as_str().into());
    members.extend(call.request.clone().map(|request| ("request".to_owned(), request)));
    members.insert("reply".to_owned(), reply);
    members.extend((call.after_ms > 0).then(|| ("after_ms".to_owned(), call.after_ms.into())));
    Value::Object(members)
}

/// Runs the case as the file now has it; what does not come out as recorded becomes a note.
fn check(file: &str, name: &str, machine: Machine) -> Result<Vec<String>, String> {
    let cases = case::parse(file).map_err(|problem| format!("the case cannot be written down: {problem}"))?;
    let case = cases.iter().find(|case| case.name == name).ok_or("the case cannot be found again")?;
    let verdict = runner::judge(case, &Ok(machine), None);
    let told = |difference: &super::difference::Difference| {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("here {} is {}, recorded was {}", difference.place, side(&difference.found), side(&difference.expected))
    };
    Ok(verdict.differences.iter().map(told).collect())
}

#[cfg(test)]
mod tests {
    use expressway_engine::hir::WorkflowType;

    use super::*;

    const DEFINITION: &str = r#"{"StartAt":"T","States":{
        "T":{"Type":"Task","Resource":"native:fail-n-times","Retry":[{"ErrorEquals":["Busy"]}],"ResultPath":"$.r","Next":"P"},
        "P":{"Type":"Pass","End":true}}}"#;

    fn folder() -> (tempfile::TempDir, Target, Settings) {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let definition = folder.path().join("m.asl.json");
        std::fs::write(&definition, DEFINITION).expect("written");
        let target = target(&definition).expect("a target");
        (folder, target, Settings { workflow_type: WorkflowType::Express, mocks: None, only: None })
    }

    #[test]
    fn a_run_becomes_a_case_that_passes() {
        let (_folder, target, settings) = folder();
        let source = Source::Run { input: r#"{"times":1,"error":"Busy","reply":"é: # 'x'"}"#.to_owned(), test_case: None };
        let entry = case(&target, "it: \"works\"", &source, &settings).expect("recorded");
        assert_eq!(entry.notes, [""; 0]);
        assert!(
            entry.added.contains("took_ms: 1000") && entry.added.contains("path: [\"T\",\"P\"]") && entry.added.contains("{\"throw\":{\"error\":\"Busy\""),
            "{}",
            entry.added
        );
        std::fs::write(&target.test, &entry.file).expect("written");
        assert!(case(&target, "it: \"works\"", &source, &settings).expect_err("taken").contains("already"));
        let entry = case(&target, "again", &source, &settings).expect("recorded");
        std::fs::write(&target.test, &entry.file).expect("written");
        let report = suite::run(std::slice::from_ref(&target.test), &settings).expect("read");
        assert_eq!(report.counts(), (2, 2));
    }

    #[test]
    fn a_history_of_aws_becomes_a_case() {
        let (_folder, target, settings) = folder();
        let history = json!({"events": [
            {"id": 1, "previousEventId": 0, "type": "ExecutionStarted", "executionStartedEventDetails": {"input": "{\"a\":1}"}},
            {"id": 2, "previousEventId": 0, "type": "TaskStateEntered", "stateEnteredEventDetails": {"name": "T", "input": "{\"a\":1}"}},
            {"id": 3, "previousEventId": 2, "type": "TaskScheduled", "taskScheduledEventDetails": {"parameters": "{\"a\":1}"}},
            {"id": 4, "previousEventId": 3, "type": "TaskStarted"},
            {"id": 5, "previousEventId": 4, "type": "TaskFailed", "taskFailedEventDetails": {"error": "Busy", "cause": "later"}},
            {"id": 6, "previousEventId": 5, "type": "TaskScheduled", "taskScheduledEventDetails": {"parameters": "{\"a\":1}"}},
            {"id": 7, "previousEventId": 6, "type": "TaskStarted"},
            {"id": 8, "previousEventId": 7, "type": "TaskSucceeded", "taskSucceededEventDetails": {"output": "[2]"}},
            {"id": 9, "previousEventId": 8, "type": "TaskStateExited", "stateExitedEventDetails": {"name": "T"}},
            {"id": 10, "previousEventId": 9, "type": "PassStateEntered", "stateEnteredEventDetails": {"name": "P"}},
            {"id": 11, "previousEventId": 10, "type": "PassStateExited", "stateExitedEventDetails": {"name": "P"}},
            {"id": 12, "previousEventId": 11, "type": "ExecutionSucceeded", "executionSucceededEventDetails": {"output": "{\"a\":1,\"r\":[2]}"}}
        ]});
        let entry = case(&target, "aws", &Source::History(history.to_string()), &settings).expect("recorded");
        assert_eq!(entry.notes, [""; 0], "{}", entry.added);
        assert!(entry.added.contains(r#"{"state":"T","request":{"a":1},"reply":{"throw":{"error":"Busy","cause":"later"}}}"#), "{}", entry.added);
    }

    #[test]
    fn what_comes_out_differently_is_noted() {
        let (_folder, target, settings) = folder();
        let history = json!({"events": [
            {"id": 1, "type": "ExecutionStarted", "executionStartedEventDetails": {"input": "{}"}},
            {"id": 2, "type": "ExecutionFailed", "executionFailedEventDetails": {"error": "E"}}
        ]});
        let entry = case(&target, "odd", &Source::History(history.to_string()), &settings).expect("recorded");
        assert!(!entry.notes.is_empty());
    }
}
