//! Runs a case on virtual time and says whether it came out as expected.

use std::collections::{BTreeMap, BTreeSet};

use expressway_engine::diagnostic::{Diagnostic, Severity};
use expressway_engine::hir::{self, StateId, StateKind, StateMachine, SubMachine, WorkflowType};
use expressway_engine::program::StateType;
use expressway_engine::{Deployment, ExecutionName, Program, Slot, Start, Timestamp, compile};
use serde_json::Value;

use super::case::{Call, Case, End, Expectation};
use super::difference::{self, Difference, shown};
use super::player::Player;
use super::trail::Trail;
use crate::clock;
use crate::local::{Ended, Executor, Pace, Status};
use crate::tasks::mock::TestCase;

/// When every execution of a test starts.
pub const START: Timestamp = clock::EXAMPLE;

/// The seed of every execution of a test: what is random comes out the same each time.
const SEED: u64 = 1;

/// A definition, ready to run.
#[derive(Debug)]
pub struct Machine {
    /// Its states.
    pub hir: StateMachine,
    /// What runs.
    pub program: Program,
}

impl Machine {
    /// Compiles a definition under the state machine's `name`.
    ///
    /// # Errors
    /// All findings, when it is refused.
    pub fn compile(definition: &str, workflow_type: WorkflowType, name: &str) -> Result<Self, Vec<Diagnostic>> {
        let hir = hir::lower(definition, workflow_type)?.machine;
        let program = compile(&hir, &Deployment::named(name))?;
        Ok(Self { hir, program })
    }
}

/// What came of a case.
#[derive(Debug)]
pub struct Verdict {
    /// Nothing, when the case passed.
    pub differences: Vec<Difference>,
    /// What the execution did, if one ran.
    pub trail: Trail,
    /// Virtual milliseconds that it took.
    pub took_ms: u64,
}

impl Verdict {
    /// A case that failed before anything ran.
    #[must_use]
    pub fn broken(place: &str, problem: &str) -> Self {
        Self { differences: vec![Difference::new(place, None, Some(problem))], trail: Trail::default(), took_ms: 0 }
    }

    /// Whether the case passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// An execution that has ended, with what it did on the way.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// What it did.
    pub trail: Trail,
    /// The calls that it made, in order, with their answers.
    pub calls: Vec<Call>,
}

/// Judges a case whose definition is in it, or is `machine`; `mocks` is the test case of a mock file.
#[must_use]
pub fn judge(case: &Case, machine: &Result<Machine, Vec<Diagnostic>>, mocks: Option<&TestCase>) -> Verdict {
    match (&case.expect, machine) {
        (Expectation::Refused(expected), Err(found)) => judge_refused(expected, found),
        (Expectation::Refused(_), Ok(_)) => Verdict::broken("definition", "accepted, expected to be refused"),
        (Expectation::End(_), Err(found)) => Verdict::broken("definition", &format!("refused: {}", errors(found).join(", "))),
        (Expectation::End(end), Ok(machine)) => play(case, end, machine, mocks),
    }
}

/// Errors of a refused definition that a verdict repeats; `expressway validate` shows all.
const ERRORS_SHOWN_MAX: usize = 10;

/// The errors among findings, as AWS quotes them.
fn errors(findings: &[Diagnostic]) -> Vec<String> {
    let mut errors: Vec<String> = findings.iter().filter(|finding| finding.severity == Severity::Error).map(ToString::to_string).collect();
    let left = errors.len().saturating_sub(ERRORS_SHOWN_MAX);
    if left > 0 {
        errors.truncate(ERRORS_SHOWN_MAX);
        errors.push(format!("and {left} more"));
    }
    errors
}

fn judge_refused(expected: &[String], found: &[Diagnostic]) -> Verdict {
    let mut left: Vec<&Diagnostic> = found.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let mut differences = Vec::new();
    for text in expected {
        match left.iter().position(|finding| is_told_by(text, finding)) {
            Some(index) => drop(left.remove(index)),
            None => differences.push(Difference::new("finding", Some(text), None)),
        }
    }
    differences.extend(left.iter().map(|finding| Difference::new("finding", None, Some(&finding.to_string()))));
    Verdict { differences, trail: Trail::default(), took_ms: 0 }
}

/// Whether an expected finding, `CODE: message at location` or `CODE at location`, is this one.
fn is_told_by(text: &str, finding: &Diagnostic) -> bool {
    text == finding.to_string() || finding.location.as_ref().is_some_and(|location| text == format!("{} at {location}", finding.code))
}

fn play(case: &Case, end: &End, machine: &Machine, mocks: Option<&TestCase>) -> Verdict {
    match run(case, machine, mocks) {
        Ok(ran) => {
            let took_ms = ran.ended.at.0 - START.0;
            Verdict { differences: compare(end, &ran, machine), trail: ran.trail, took_ms }
        }
        Err(Problem { text, trail }) => Verdict { differences: vec![Difference::new("run", None, Some(&text))], trail, took_ms: 0 },
    }
}

/// Why a case has no end that could be compared.
#[derive(Debug)]
pub struct Problem {
    /// A sentence.
    pub text: String,
    /// How far it came.
    pub trail: Trail,
}

/// Whether all states that the mocks name are Task states: one that is misspelt would never answer.
fn check_mocks(case: &Case, machine: &Machine, mocks: Option<&TestCase>) -> Result<(), String> {
    let program = &machine.program;
    let states = (0..).map(StateId).map_while(|id| Some((program.state_type(id)?, program.state_name(id))));
    let tasks: Vec<&str> = states.filter(|(kind, _)| *kind == StateType::Task).map(|(_, name)| name).collect();
    case.mocks.states.iter().chain(mocks).try_for_each(|answers| answers.check_states(&tasks))
}

/// Runs a case to its end.
///
/// # Errors
/// When its input cannot be one, a task has no answer, an expected call is not made, or it never ends.
pub fn run(case: &Case, machine: &Machine, mocks: Option<&TestCase>) -> Result<Ran, Problem> {
    check_mocks(case, machine, mocks).map_err(|text| Problem { text, trail: Trail::default() })?;
    let mut executor = Executor::new(Slot::new(0), Pace::Virtual);
    let start = Start { name: ExecutionName::Text(&case.execution), now: START, seed: SEED };
    let mut player = Player::new(&case.mocks, mocks);
    let mut trail = Trail::default();
    let ended = executor.run(&machine.program, case.input.as_bytes(), &start, &mut |call| player.answer(call), &mut trail);
    let missing = player.missing().map(|state| format!("the mocks have a call of state \"{state}\" that is not made"));
    match (player.problem.take(), ended, missing) {
        (Some(text), _, _) | (None, Ok(_), Some(text)) => Err(Problem { text, trail }),
        (None, Err(error), _) => Err(Problem { text: error.to_string(), trail }),
        (None, Ok(ended), None) => Ok(Ran { ended, trail, calls: player.made }),
    }
}

fn compare(end: &End, ran: &Ran, machine: &Machine) -> Vec<Difference> {
    let ended = &ran.ended;
    let mut differences = Vec::new();
    let mut texts = |place: &str, expected: Option<&str>, found: Option<&str>| {
        if expected != found {
            differences.push(Difference::new(place, expected, found));
        }
    };
    let reasons = [("error", &end.error, ended.error.as_deref()), ("cause", &end.cause, ended.cause.as_deref())];
    if end.status != ended.status.as_str() {
        // Why it ended so, as far as that is no difference of its own.
        let why = reasons.iter().filter(|(_, expected, found)| expected.allow(*found));
        let why: String = why.filter_map(|(place, _, found)| Some(format!(", {place} {}", shown(&Value::from((*found)?))))).collect();
        texts("status", Some(&end.status), Some(&format!("{}{why}", ended.status.as_str())));
    }
    for (place, expected, found) in reasons {
        if !expected.allow(found) {
            texts(place, expected.text(), found);
        }
    }
    if let Some(took_ms) = end.took_ms {
        texts("took_ms", Some(&took_ms.to_string()), Some(&(ended.at.0 - START.0).to_string()));
    }
    if ended.status == Status::Succeeded {
        let output: Value = serde_json::from_slice(&ended.output).unwrap_or_else(|error| Value::from(format!("the output is not JSON: {error}")));
        for (expected, may_have_more) in [(&end.output, false), (&end.output_includes, true)] {
            if let Some(expected) = expected {
                differences.extend(difference::between("output", expected, &output, may_have_more));
            }
        }
    } else if let Some(expected) = end.output.as_ref().or(end.output_includes.as_ref()) {
        differences.push(Difference::new("output", Some(&shown(expected)), None));
    }
    if let Some(expected) = &end.path {
        differences.extend(compare_path(expected, &ran.trail.path, &machine.hir));
    }
    differences
}

/// Compares the levels of which the expectation names a state.
fn compare_path(expected: &[String], path: &[StateId], machine: &StateMachine) -> Option<Difference> {
    let ids: BTreeMap<&str, StateId> = machine.states().iter().zip(0..).map(|(state, id)| (state.name.as_str(), StateId(id))).collect();
    if let Some(unknown) = expected.iter().find(|name| !ids.contains_key(name.as_str())) {
        return Some(Difference::new("path", Some(unknown), Some("no state has this name")));
    }
    let levels = levels(machine);
    let level_of = |id: StateId| levels.get(id.0 as usize).copied();
    // The top level always counts: a path without any state of it is a wrong one.
    let told: BTreeSet<Option<u32>> =
        expected.iter().filter_map(|name| ids.get(name.as_str())).map(|&id| level_of(id)).chain([level_of(machine.root().start)]).collect();
    let found: Vec<&str> = path.iter().filter(|&&id| told.contains(&level_of(id))).map(|id| machine.states()[id.0 as usize].name.as_str()).collect();
    if found == expected {
        return None;
    }
    let step = found.iter().zip(expected).take_while(|(found, expected)| *found == expected).count() + 1;
    let place = format!("path, from step {step} on");
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    Some(Difference::new(&place, Some(&arrows(&expected)), Some(&arrows(&found))))
}

/// Steps of a path that are shown.
const STEPS_SHOWN: usize = 50;

fn arrows(names: &[&str]) -> String {
    let shown = names.iter().take(STEPS_SHOWN).copied().collect::<Vec<_>>().join(" → ");
    if names.len() > STEPS_SHOWN { format!("{shown} → … ({} steps)", names.len()) } else { shown }
}

/// The level of each state, by its number: levels are numbered as they are met.
fn levels(machine: &StateMachine) -> Vec<u32> {
    let mut levels = vec![0; machine.states().len()];
    let mut open: Vec<&SubMachine> = vec![machine.root()];
    let mut number = 0;
    while let Some(level) = open.pop() {
        for id in &level.states {
            levels[id.0 as usize] = number;
            match &machine.states()[id.0 as usize].kind {
                StateKind::Parallel { branches } => open.extend(branches),
                StateKind::Map(map) => open.push(&map.processor),
                _ => {}
            }
        }
        number += 1;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::case::parse;
    use super::*;

    /// Judges the one case of a text whose definition stands in it, and returns its differences by place.
    fn places(text: &str) -> Vec<String> {
        let case = parse(text).expect("a test file").remove(0);
        let machine = Machine::compile(case.definition.as_deref().expect("a definition"), WorkflowType::Express, "m");
        judge(&case, &machine, None).differences.into_iter().map(|difference| difference.place).collect()
    }

    const TASK: &str = r#"- name: c
  definition: {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "native:x", "Retry": [{"ErrorEquals": ["E"]}], "Next": "P"}, "P": {"Type": "Pass", "End": true}}}
  input: {"a": 1}
"#;

    #[test]
    fn only_what_is_expected_passes() {
        for (rest, expected) in [
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {output: 5, path: [T, P], took_ms: 0}", &[][..]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: E}}, '1': {Return: 5}}}}, expect: {output: 5, path: [T, P], took_ms: 1000}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {output: 6}", &["output"]),
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {error: E}", &["status", "error"]),
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {error: null}", &["status"]),
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {output: 5, path: [T]}", &["path, from step 2 on"]),
            ("mocks: {sfn_local: {T: {'0': {Return: 5}}}}, expect: {output: 5, path: [T, Q]}", &["path"]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {error: F}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {status: FAILED}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {error: G}", &["error"]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {error: F, cause: null}", &["cause"]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {error: F, cause: c}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F}}}}}, expect: {error: F, cause: null}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {error: F, cause_unpinned: true}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Throw: {Error: F, Cause: c}}}}}, expect: {output: 1}", &["status", "output"]),
            ("mocks: {sfn_local: {P: {'0': {Return: 5}}}}, expect: {output: 5}", &["run"]),
            ("mocks: {sfn_local: {T: {'0': {Return: {a: 1, b: 2}}}}}, expect: {output_includes: {a: 1}}", &[]),
            ("mocks: {sfn_local: {T: {'0': {Return: {a: 1, b: 2}}}}}, expect: {output_includes: {a: 2}}", &["output.a"]),
        ] {
            let entry = rest.replace(", expect:", "\n  expect:");
            assert_eq!(places(&format!("{TASK}  {entry}\n")), expected, "{rest}");
        }
    }

    #[test]
    fn calls_must_be_made_as_the_mocks_have_them() {
        for (mocks, is_right) in [
            ("[{state: T, request: {a: 1}, reply: {return: 5}}]", true),
            ("[{state: T, reply: {return: 5}}]", true),
            ("[{state: T, request: {a: 2}, reply: {return: 5}}]", false),
            ("[{state: T, reply: {return: 5}}, {state: T, reply: {return: 5}}]", false),
            ("[{state: T, reply: {throw: {error: E}}}]", false),
        ] {
            let found = places(&format!("{TASK}  mocks: {{tasks: {mocks}}}\n  expect: {{output: 5}}\n"));
            assert_eq!(found.is_empty(), is_right, "{mocks}: {found:?}");
        }
        assert_eq!(places(&format!("{TASK}  expect: {{output: 5}}\n")), ["run"], "nothing answers");
    }

    #[test]
    fn levels_that_a_path_does_not_name_are_left_out() {
        let text = r#"- name: c
  definition: {"StartAt": "M", "States": {"M": {"Type": "Map", "Next": "Z", "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}}, "Z": {"Type": "Pass", "End": true}}}
  input: [1, 2]
"#;
        for (path, is_right) in [("[M, Z]", true), ("[M, I, I, Z]", true), ("[M, I, Z]", false), ("[I, I]", false), ("[M]", false)] {
            let found = places(&format!("{text}  expect: {{output: [1, 2], path: {path}}}\n"));
            assert_eq!(found.is_empty(), is_right, "{path}: {found:?}");
        }
    }

    #[test]
    fn a_refusal_is_compared_finding_by_finding() {
        let text = "- name: c\n  definition: {}\n";
        let refused = |findings: &str| places(&format!("{text}  expect: {{refused: {findings}}}\n"));
        assert!(refused("['SCHEMA_VALIDATION_FAILED: These fields are required: [States, StartAt] at /']").is_empty());
        assert!(refused("['SCHEMA_VALIDATION_FAILED at /']").is_empty(), "the message may be left out");
        assert_eq!(refused("[other]"), ["finding", "finding"]);
        assert_eq!(refused("['SCHEMA_VALIDATION_FAILED at /', 'SCHEMA_VALIDATION_FAILED at /']"), ["finding"], "each is told once");
        assert_eq!(places(&format!("{text}  expect: {{output: 1}}\n")), ["definition"]);
        assert_eq!(places(&format!("{TASK}  expect: {{refused: []}}\n")), ["definition"]);
    }
}
