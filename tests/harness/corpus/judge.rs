//! Decides what becomes of a case. Strict: a missing field, another error, an unexpected success are failures; only seven reasons make a case not applicable.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use expressway_engine::diagnostic::{Code, Diagnostic, Severity};
use expressway_engine::hir::{self, WorkflowType};
use expressway_engine::history::Recorder;
use expressway_engine::{Deployment, Program, compile};
use expressway_ingest::authoring;
use expressway_ingest::authoring::runner::{self, Machine};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answers;
use super::case::Case;
use super::compare::Bindings;
use super::history;
use super::normalise;
use super::paths;
use super::run::{self, Ended};

/// Why a case is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is written in JSONata.
    Jsonata,
    /// It needs what only Standard workflows have.
    StandardOnly,
    /// It is a call of the control plane's API.
    Api,
    /// It needs a task whose answers the case does not hold.
    Task,
    /// The recording stopped before the end.
    NotFinal,
    /// It uses a form of path that the library behind the service knows and the service's documentation excludes.
    Undocumented,
    /// It computes what differs from run to run, so a second interpreter cannot say what comes out.
    Random,
}

impl Reason {
    /// The word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonata => "jsonata",
            Self::StandardOnly => "standard-only",
            Self::Api => "api",
            Self::Task => "task",
            Self::NotFinal => "not-final",
            Self::Undocumented => "undocumented",
            Self::Random => "random",
        }
    }
}

/// What became of a case, or of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As recorded.
    Passed,
    /// Not as recorded: where and how.
    Failed(String),
    /// Not judged.
    NotApplicable(Reason),
}

/// The count of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub cases: usize,
    /// As recorded.
    pub passed: usize,
    /// Not as recorded.
    pub failed: usize,
    /// Not judged.
    pub not_applicable: usize,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, verdict: &Verdict) {
        self.cases += 1;
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::NotApplicable(_) => self.not_applicable += 1,
        }
    }
}

/// The verdict on a case and, where it has one, on its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// On outcome or finding.
    pub outcome: Verdict,
    /// On the history.
    pub history: Option<Verdict>,
}

/// Judges one case. A panic of the engine is a failure of the case.
#[must_use]
pub fn judge(case: &Case) -> Judged {
    catch_unwind(AssertUnwindSafe(|| judge_unguarded(case))).unwrap_or_else(|panic| {
        let failed = Verdict::Failed(format!("panicked: {}", panic_text(panic.as_ref())));
        Judged { history: history_recorded(case).then(|| failed.clone()), outcome: failed }
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn history_recorded(case: &Case) -> bool {
    case.field("history").as_array().is_some_and(|events| !events.is_empty())
}

fn judge_unguarded(case: &Case) -> Judged {
    let alone = |outcome| Judged { outcome, history: None };
    if case.own {
        return alone(judge_own(case));
    }
    if let Some(folder) = case.group.split_once('/').map(|(folder, _)| folder) {
        match folder {
            "jsonata" => return alone(Verdict::NotApplicable(Reason::Jsonata)),
            "jsonpath" => return alone(paths::judge(case)),
            "lint" => return alone(judge_lint(case)),
            "real" => return alone(judge_real(case)),
            _ => {}
        }
    }
    if case.body.get("request").is_some() {
        return alone(judge_request(case));
    }
    judge_execution(case)
}

/// The type a case was created with; AWS's default is STANDARD, ours in own cases EXPRESS.
fn workflow_type(case: &Case) -> WorkflowType {
    let named = case.body.get("type").or_else(|| case.field("request").get("type")).and_then(Value::as_str);
    match named {
        Some("EXPRESS") => WorkflowType::Express,
        None if case.own => WorkflowType::Express,
        _ => WorkflowType::Standard,
    }
}

fn errors_of(findings: &[Diagnostic]) -> Vec<&Diagnostic> {
    findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

fn findings_text(findings: &[Diagnostic]) -> String {
    errors_of(findings).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A linter's verdict: only valid or not counts.
fn judge_lint(case: &Case) -> Verdict {
    let valid = case.field("expect")["valid"].as_bool();
    let Some(definition) = case.definition() else { return Verdict::Failed("the case has no definition".to_owned()) };
    let lowered = hir::lower(&definition, WorkflowType::Standard);
    let has_findings = |findings: &Vec<Diagnostic>| errors_of(findings).iter().any(|finding| finding.code != Code::NotSupportedHere);
    // What the expressions are worth is for later; a fault beside them is a fault.
    if case.uses_jsonata() && (valid == Some(true) || !lowered.as_ref().is_err_and(has_findings)) {
        return Verdict::NotApplicable(Reason::Jsonata);
    }
    match (lowered, valid) {
        (Ok(_), Some(true)) | (Err(_), Some(false)) => Verdict::Passed,
        (Ok(_), _) => Verdict::Failed("accepted, expected to be refused".to_owned()),
        (Err(findings), _) => Verdict::Failed(format!("refused, expected to be valid: {}", findings_text(&findings))),
    }
}

/// A real definition must compile.
fn judge_real(case: &Case) -> Verdict {
    if case.uses_jsonata() {
        return Verdict::NotApplicable(Reason::Jsonata);
    }
    match program(case) {
        Ok(_) => Verdict::Passed,
        Err(problem) => Verdict::Failed(problem),
    }
}

/// Calls of the API: those that only check a definition are judged, the others have no API to go to.
fn judge_request(case: &Case) -> Verdict {
    if case.group == "variable-references-api" {
        return judge_variable_references(case);
    }
    let created = matches!(case.text("api"), "create_state_machine" | "update_state_machine" | "validate_state_machine_definition");
    if !created || !case.group.starts_with("valid") {
        return Verdict::NotApplicable(Reason::Api);
    }
    let Some(definition) = case.definition() else { return Verdict::NotApplicable(Reason::Api) };
    let mut findings = match hir::lower(&definition, workflow_type(case)) {
        Ok(lowered) => lowered.warnings,
        Err(findings) => findings,
    };
    if case.uses_jsonata() {
        // That the expressions cannot be run is no finding of the service; a definition without any other is for later.
        findings.retain(|finding| finding.code != Code::NotSupportedHere);
        if findings.is_empty() {
            return Verdict::NotApplicable(Reason::Jsonata);
        }
    }
    if case.text("api") == "validate_state_machine_definition" { judge_validate(case, &findings) } else { judge_create(case, &findings) }
}

/// Which variables the states of a definition read, as the description of its state machine lists them.
fn judge_variable_references(case: &Case) -> Verdict {
    let created = case.field("prior_calls").as_array().into_iter().flatten().find(|call| call["api"] == "create_state_machine");
    let Some(definition) = created.and_then(|call| call["request"]["definition"].as_str()) else { return Verdict::NotApplicable(Reason::Api) };
    let lowered = match hir::lower(definition, WorkflowType::Standard) {
        Ok(lowered) => lowered,
        Err(findings) if findings.iter().any(|finding| finding.code == Code::NotSupportedHere) => return Verdict::NotApplicable(Reason::Jsonata),
        Err(findings) => return Verdict::Failed(format!("definition refused: {}", findings_text(&findings))),
    };
    let found = json!(lowered.machine.variable_references());
    let recorded = case.field("expect").get("variableReferences").cloned().unwrap_or_else(|| json!({}));
    if found == recorded { Verdict::Passed } else { Verdict::Failed(format!("references are {found}, expected {recorded}")) }
}

fn judge_create(case: &Case, findings: &[Diagnostic]) -> Verdict {
    let refused = !errors_of(findings).is_empty();
    let expected = case.field("expect_error");
    if expected.is_null() {
        return if refused { Verdict::Failed(format!("refused: {}", findings_text(findings))) } else { Verdict::Passed };
    }
    if !refused {
        return Verdict::Failed("accepted, expected to be refused".to_owned());
    }
    let message = format!("Invalid State Machine Definition: '{}'", findings_text(findings));
    match expected["message"].as_str() {
        Some(recorded) if recorded != message => Verdict::Failed(format!("message is \"{message}\", expected \"{recorded}\"")),
        _ if expected["code"] != "InvalidDefinition" => Verdict::Failed(format!("the code is InvalidDefinition, expected {}", expected["code"])),
        _ => Verdict::Passed,
    }
}

fn judge_validate(case: &Case, findings: &[Diagnostic]) -> Verdict {
    let listed: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let mut entry = finding.to_json();
            if let Some(members) = entry.as_object_mut() {
                members.retain(|key, _| matches!(key.as_str(), "code" | "location" | "message" | "severity"));
            }
            entry
        })
        .collect();
    let result = if errors_of(findings).is_empty() { "OK" } else { "FAIL" };
    let actual = json!({"diagnostics": listed, "result": result, "truncated": false});
    verdict(Bindings::default().compare(case.field("expect"), &actual))
}

/// An own case, by the runner of `expressway test`.
fn judge_own(case: &Case) -> Verdict {
    let parsed = match authoring::case::Case::from_value(&case.body) {
        Ok(parsed) => parsed,
        Err(problem) => return Verdict::Failed(problem),
    };
    let Some(definition) = &parsed.definition else { return Verdict::Failed("the case has no definition".to_owned()) };
    let machine = Machine::compile(definition, workflow_type(case), case.state_machine());
    let differences = runner::judge(&parsed, &machine, None).differences;
    if differences.is_empty() {
        return Verdict::Passed;
    }
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    let told: Vec<_> =
        differences.iter().map(|difference| format!("{} is {}, expected {}", difference.place, side(&difference.found), side(&difference.expected))).collect();
    Verdict::Failed(told.join("; "))
}

fn verdict(result: Result<(), String>) -> Verdict {
    match result {
        Ok(()) => Verdict::Passed,
        Err(difference) => Verdict::Failed(difference),
    }
}

fn not_applicable(case: &Case) -> Option<Reason> {
    let needs = |wanted: &[&str]| case.field("needs").as_array().is_some_and(|needs| needs.iter().any(|need| wanted.iter().any(|name| need == name)));
    if case.uses_jsonata() {
        return Some(Reason::Jsonata);
    }
    if case.field("express_ok") == false || needs(&["callback", "sync-job", "activity", "distributed-map"]) {
        return Some(Reason::StandardOnly);
    }
    let status = case.field("expect")["status"].as_str().unwrap_or_default();
    if !matches!(status, "SUCCEEDED" | "FAILED" | "TIMED_OUT") {
        return Some(Reason::NotFinal);
    }
    (needs(&["lambda", "service"]) && !Answers::known(case)).then_some(Reason::Task)
}

fn judge_execution(case: &Case) -> Judged {
    let recorded = history_recorded(case);
    if let Some(reason) = not_applicable(case) {
        return Judged { outcome: Verdict::NotApplicable(reason), history: recorded.then_some(Verdict::NotApplicable(reason)) };
    }
    let mut recorder = Recorder::default();
    let mut answers = Answers::new(case);
    let outcome = execute(case, &mut recorder, &mut answers).and_then(|ended| compare_outcome(case, &ended)).and_then(|()| answers.finish());
    let history = recorded.then(|| verdict(history::compare(case, recorder.entries())));
    Judged { outcome: verdict(outcome), history }
}

fn execute(case: &Case, recorder: &mut Recorder, answers: &mut Answers<'_>) -> Result<Ended, String> {
    let program = program(case)?;
    let input = input(case.field("input"))?;
    run::execute(&program, execution_name(case), input.as_bytes(), recorder, &mut |call| answers.answer(call))
}

fn program(case: &Case) -> Result<Program, String> {
    let definition = case.definition().ok_or("the case has no definition")?;
    let lowered = hir::lower(&definition, workflow_type(case)).map_err(|findings| format!("definition refused: {}", findings_text(&findings)))?;
    compile(&lowered.machine, &deployment(case)).map_err(|findings| format!("does not compile: {}", findings_text(&findings)))
}

/// The names that the recordings were made concrete with.
fn deployment(case: &Case) -> Deployment {
    let mut deployment = Deployment::named("ArnPart_0idx");
    "111111111111".clone_into(&mut deployment.account);
    deployment.role_arn = role_arn(case).to_owned();
    deployment
}

/// The role as the recorded start event names it; Express recordings, which have none, used the second word.
fn role_arn(case: &Case) -> &str {
    let started = case.field("history").as_array().and_then(|events| events.first());
    match started.and_then(|event| event["details"]["roleArn"].as_str()) {
        Some(role) => role,
        None if workflow_type(case) == WorkflowType::Express => "sfn_role_arn",
        None => "snf_role_arn",
    }
}

fn execution_name(case: &Case) -> &'static str {
    match (workflow_type(case), case.text("api")) {
        (WorkflowType::Express, "start_sync_execution") => "SyncExecArn_Part1_0idx",
        (WorkflowType::Express, "start_execution") => "ExpressExecArn_Part1_0idx",
        _ => "ExecArnPart_0idx",
    }
}

/// The input as text; `$NOW_PLUS_DAYS:n` is an instant that many days after the start.
fn input(value: &Value) -> Result<String, String> {
    fn resolve(value: &mut Value) -> Result<(), String> {
        match value {
            Value::String(text) => {
                if let Some(days) = text.strip_prefix("$NOW_PLUS_DAYS:") {
                    let days: u64 = days.parse().map_err(|_| format!("unknown input '{text}'"))?;
                    *text = instant(run::START.0 + days * 86_400_000);
                }
                Ok(())
            }
            Value::Array(elements) => elements.iter_mut().try_for_each(resolve),
            Value::Object(members) => members.values_mut().try_for_each(resolve),
            _ => Ok(()),
        }
    }
    let mut value = value.clone();
    resolve(&mut value)?;
    Ok(value.to_string())
}

/// An instant as the recordings spelled their inputs, `%Y-%m-%dT%H:%M:%S.000Z`.
#[must_use]
pub fn instant(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1_000 % 86_400);
    // Civil date from a day count, by eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.000Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn compare_outcome(case: &Case, ended: &Ended) -> Result<(), String> {
    let expect = case.field("expect");
    if expect["status"] != ended.status {
        return Err(format!("{}, expected {}", describe(ended), expect["status"].as_str().unwrap_or_default()));
    }
    let mut bindings = Bindings::default();
    match (&ended.output, expect.get("output")) {
        (Some(output), Some(expected)) => {
            let actual: Value = serde_json::from_slice(output).map_err(|error| format!("the output is not JSON: {error}"))?;
            return bindings.compare(&normalise::output(case, expected), &normalise::output(case, &actual));
        }
        // Some sources assert the status alone; AWS recordings always have the output.
        (Some(_), None) => return if case.text("authority") == "aws" { Err("the recording has no output to compare".to_owned()) } else { Ok(()) },
        (None, Some(_)) => return Err("no output".to_owned()),
        (None, None) => {}
    }
    // DescribeExecution tells no error of an execution that timed out, although it has one; a recording without one leaves it open.
    let error = expect["error"].as_str().or_else(|| (ended.status == "TIMED_OUT" && ended.error.is_some()).then_some("States.Timeout"));
    compare_text(case, &mut bindings, "error", error, ended.error.as_deref())?;
    match expect.get("cause_json") {
        Some(expected) => {
            let actual = ended.cause.as_deref().ok_or("no cause")?;
            let actual: Value = serde_json::from_str(actual).map_err(|error| format!("the cause is not JSON: {error}"))?;
            bindings.compare(&normalise::output(case, expected), &normalise::output(case, &actual))
        }
        None => compare_text(case, &mut bindings, "cause", expect["cause"].as_str(), ended.cause.as_deref()),
    }
}

fn describe(ended: &Ended) -> String {
    match (&ended.error, &ended.cause) {
        (None, None) => ended.status.to_owned(),
        (error, cause) => format!("{} with {}: {}", ended.status, error.as_deref().unwrap_or("no error"), cause.as_deref().unwrap_or("no cause")),
    }
}

fn compare_text(case: &Case, bindings: &mut Bindings, what: &str, expected: Option<&str>, actual: Option<&str>) -> Result<(), String> {
    let same = match (expected, actual) {
        (None, None) => true,
        (Some(expected), Some(actual)) => bindings.matches(&normalise::cause(case, expected), &normalise::cause(case, actual)),
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("{what} is {}, expected {}", json!(actual), json!(expected))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_printed_as_the_recordings_spell_them() {
        assert_eq!(instant(run::START.0), "2026-11-20T12:00:00.000Z");
        assert_eq!(instant(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(instant(run::START.0 + 24_855 * 86_400_000), "2094-12-08T12:00:00.000Z");
    }

    fn ended(status: &'static str, output: Option<&str>, error: Option<&str>, cause: Option<&str>) -> Ended {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ended { status, output: output.map(|text| text.as_bytes().to_vec()), error: own(error), cause: own(cause), took_ms: 0 }
    }

    fn case(expect: Value) -> Case {
        Case { id: "c".to_owned(), group: "g".to_owned(), body: json!({"expect": expect, "authority": "aws"}), own: false }
    }

    #[test]
    fn only_the_recorded_outcome_passes() {
        let succeeded = case(json!({"status": "SUCCEEDED", "output": {"a": 1}}));
        assert!(compare_outcome(&succeeded, &ended("SUCCEEDED", Some("{\"a\":1.0}"), None, None)).is_ok());
        assert!(compare_outcome(&succeeded, &ended("SUCCEEDED", Some("{}"), None, None)).is_err());
        assert!(compare_outcome(&succeeded, &ended("FAILED", None, Some("E"), None)).is_err());
        let failed = case(json!({"status": "FAILED", "error": "E", "cause": "c"}));
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), Some("c"))).is_ok());
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("F"), Some("c"))).is_err());
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), Some("C"))).is_err());
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), None)).is_err());
        assert!(compare_outcome(&failed, &ended("SUCCEEDED", Some("1"), None, None)).is_err());
        let bare = case(json!({"status": "FAILED"}));
        assert!(compare_outcome(&bare, &ended("FAILED", None, None, None)).is_ok());
        assert!(compare_outcome(&bare, &ended("FAILED", None, Some("E"), None)).is_err());
    }

    #[test]
    fn a_cause_that_is_json_is_compared_as_json() {
        let failed = case(json!({"status": "FAILED", "error": "E", "cause_json": {"a": 1, "b": "<uuid:3>"}}));
        let cause = "{\"b\": \"0a0a0a0a-0000-4000-8000-000000000001\", \"a\": 1}";
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), Some(cause))).is_ok());
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), Some("{\"a\": 1}"))).is_err());
        assert!(compare_outcome(&failed, &ended("FAILED", None, Some("E"), Some("text"))).is_err());
    }

    #[test]
    fn five_reasons_make_a_case_not_applicable() {
        let with = |body: Value| not_applicable(&Case { id: String::new(), group: String::new(), body, own: false });
        let end = json!({"status": "SUCCEEDED"});
        assert_eq!(with(json!({"expect": end, "definition": {"QueryLanguage": "JSONata"}})), Some(Reason::Jsonata));
        assert_eq!(with(json!({"expect": end, "express_ok": false})), Some(Reason::StandardOnly));
        assert_eq!(with(json!({"expect": {"status": "RUNNING"}})), Some(Reason::NotFinal));
        assert_eq!(with(json!({"expect": end, "needs": ["lambda"]})), Some(Reason::Task));
        assert_eq!(with(json!({"expect": end, "needs": ["lambda"], "mocks": {"tasks": []}})), None);
        assert_eq!(with(json!({"expect": end, "needs": ["wait"]})), None);
    }
}
