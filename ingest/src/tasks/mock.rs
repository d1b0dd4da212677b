//! Mocked task results, in the format of Step Functions Local's `MockConfigFile.json`.
//!
//! `StateMachines` names machines, each with `TestCases` that map the names of states to entries of `MockedResponses`; such an entry maps invocation numbers (`"0"`, `"1-2"`) to `{"Return": …}` or `{"Throw": {"Error": …, "Cause": …}}`. Invocations are counted per state and execution, from 0.
//!
//! Two words are ours: `"AfterMs": 50` beside either says how long the answer takes, and `{"Silence": true}` in place of both is no answer at all, so that the state's time-out decides.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use expressway_engine::diagnostic::nearest;
use serde_json::{Map, Value};

use crate::local::{TaskOutcome, TaskReply};

/// A mock file, read but not yet checked beyond its outline.
#[derive(Debug)]
pub struct MockFile {
    path: PathBuf,
    state_machines: Map<String, Value>,
    responses: Map<String, Value>,
}

/// One test case with the responses it names: everything that is needed to answer calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    name: String,
    states: BTreeMap<String, Vec<Mocked>>,
}

/// What a range of invocations answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mocked {
    first: u32,
    last: u32,
    reply: TaskReply,
}

/// What is wrong with a mock file.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    problem: String,
    is_unreadable: bool,
}

impl Error {
    /// Whether the file could not be read at all.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_unreadable { "cannot be read" } else { "is refused" };
        write!(f, "the mock file {} {what}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for Error {}

impl MockFile {
    /// Reads a mock file from disk.
    ///
    /// # Errors
    /// When it cannot be read, is not JSON or lacks its two sections.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error { path: path.to_owned(), problem: error.to_string(), is_unreadable: true })?;
        Self::parse(path, bytes)
    }

    /// Reads a mock file from memory; `path` is for messages.
    ///
    /// # Errors
    /// When it is not JSON or lacks its two sections.
    pub fn parse(path: &Path, mut bytes: Vec<u8>) -> Result<Self, Error> {
        let refuse = |problem: String| Error { path: path.to_owned(), problem, is_unreadable: false };
        let mut value: Value = simd_json::serde::from_slice(&mut bytes).map_err(|error| refuse(format!("it is not valid JSON: {error}")))?;
        let mut section = |name: &str| match value.get_mut(name).map(Value::take) {
            Some(Value::Object(members)) => Ok(members),
            Some(_) => Err(refuse(format!("\"{name}\" must be an object"))),
            None => Err(refuse(format!("\"{name}\" is missing"))),
        };
        let (state_machines, responses) = (section("StateMachines")?, section("MockedResponses")?);
        Ok(Self { path: path.to_owned(), state_machines, responses })
    }

    /// The test case `name` of `state_machine`, or `MACHINE#NAME` of another one, as Step Functions Local spells it.
    ///
    /// # Errors
    /// When there is no such case, or it or one of its responses is malformed.
    pub fn test_case(&self, state_machine: &str, name: &str) -> Result<TestCase, Error> {
        let (machine, name) = name.split_once('#').unwrap_or((state_machine, name));
        let states = self.case_of(machine, name)?;
        let Value::Object(states) = states else { return Err(self.refuse(format!("test case \"{name}\" must be an object of state names"))) };
        let mocked = |(state, response): (&String, &Value)| match response {
            Value::String(response) => Ok((state.clone(), self.response(response)?)),
            _ => Err(self.refuse(format!("state \"{state}\" of test case \"{name}\" must name an entry of \"MockedResponses\""))),
        };
        Ok(TestCase { name: name.to_owned(), states: states.iter().map(mocked).collect::<Result<_, _>>()? })
    }

    fn case_of(&self, machine: &str, name: &str) -> Result<&Value, Error> {
        let found = self
            .state_machines
            .get(machine)
            .ok_or_else(|| self.refuse(format!("state machine \"{machine}\" is not in it; there are {}", list(self.state_machines.keys()))))?;
        let cases = cases(found).ok_or_else(|| self.refuse(format!("state machine \"{machine}\" has no \"TestCases\"")))?;
        cases.get(name).ok_or_else(|| self.refuse(format!("state machine \"{machine}\" has no test case \"{name}\"; there are {}", list(cases.keys()))))
    }

    fn response(&self, name: &str) -> Result<Vec<Mocked>, Error> {
        let response = self
            .responses
            .get(name)
            .ok_or_else(|| self.refuse(format!("\"MockedResponses\" has no entry \"{name}\"; there are {}", list(self.responses.keys()))))?;
        invocations(name, response).map_err(|problem| self.refuse(problem))
    }

    fn refuse(&self, problem: String) -> Error {
        Error { path: self.path.clone(), problem, is_unreadable: false }
    }
}

/// The replies of one entry of `MockedResponses`.
fn invocations(name: &str, response: &Value) -> Result<Vec<Mocked>, String> {
    let Value::Object(invocations) = response else { return Err(format!("response \"{name}\" must be an object of invocation numbers")) };
    let mut mocked = Vec::with_capacity(invocations.len());
    for (key, value) in invocations {
        let (first, last) = invocation_range(key).ok_or_else(|| format!("\"{key}\" in response \"{name}\" is no invocation; write \"0\" or \"1-2\""))?;
        let reply = reply(value)
            .ok_or_else(|| format!("\"{key}\" in response \"{name}\" must hold either \"Return\" or \"Throw\" with \"Error\" and \"Cause\" as texts"))?;
        if mocked.iter().any(|other: &Mocked| first <= other.last && other.first <= last) {
            return Err(format!("\"{key}\" in response \"{name}\" overlaps another invocation"));
        }
        mocked.push(Mocked { first, last, reply });
    }
    Ok(mocked)
}

impl TestCase {
    /// A test case that stands by itself: state names with what an entry of `MockedResponses` holds.
    ///
    /// # Errors
    /// A sentence about the first response that is malformed.
    pub fn inline(name: &str, states: &Map<String, Value>) -> Result<Self, String> {
        let mocked = |(state, response): (&String, &Value)| Ok((state.clone(), invocations(state, response)?));
        Ok(Self { name: name.to_owned(), states: states.iter().map(mocked).collect::<Result<_, String>>()? })
    }

    /// The answer to invocation number `invocation` of `state`, from 0, where the file foresees it.
    #[must_use]
    pub fn foreseen(&self, state: &str, invocation: u32) -> Option<TaskReply> {
        let found = self.states.get(state)?.iter().find(|mocked| (mocked.first..=mocked.last).contains(&invocation))?;
        Some(found.reply.clone())
    }

    /// Checks that all states it mocks are among `tasks`, the Task states of a definition: a misspelt one would never answer.
    ///
    /// # Errors
    /// A sentence about the first that is not.
    pub fn check_states(&self, tasks: &[&str]) -> Result<(), String> {
        let Some(unknown) = self.states.keys().find(|state| !tasks.contains(&state.as_str())) else { return Ok(()) };
        let hint = match nearest(unknown, tasks) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are {}", list(tasks.iter())),
        };
        Err(format!("test case \"{}\" mocks \"{unknown}\", which is no Task state of the definition; {hint}", self.name))
    }

    /// Whether calls of this state are mocked.
    #[must_use]
    pub fn has_state(&self, state: &str) -> bool {
        self.states.contains_key(state)
    }

    /// The answer to invocation number `invocation` of `state`, from 0; `None` when the state is not mocked. An invocation that the file does not foresee fails with an error that nothing catches.
    #[must_use]
    pub fn reply(&self, state: &str, invocation: u32) -> Option<TaskReply> {
        let missing = || TaskReply::failure("States.Runtime", format!("test case \"{}\" mocks no invocation {invocation} of state \"{state}\"", self.name));
        self.has_state(state).then(|| self.foreseen(state, invocation).unwrap_or_else(missing))
    }
}

fn cases(machine: &Value) -> Option<&Map<String, Value>> {
    machine.get("TestCases")?.as_object()
}

fn invocation_range(key: &str) -> Option<(u32, u32)> {
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn reply(value: &Value) -> Option<TaskReply> {
    let after_ms = value.get("AfterMs").map_or(Some(0), Value::as_u64)?;
    let outcome = match (value.get("Return"), value.get("Throw"), value.get("Silence")) {
        (Some(result), None, None) => TaskOutcome::Success(result.to_string().into_bytes()),
        (None, Some(throw), None) => {
            let error = throw.get("Error")?.as_str()?.to_owned();
            // A cause may be absent, but not something else than a text.
            let cause = throw.get("Cause").map(|cause| cause.as_str().map(str::to_owned));
            TaskOutcome::Failure { error, cause: cause.map_or(Some(None), |cause| cause.map(Some))? }
        }
        (None, None, Some(Value::Bool(true))) => TaskOutcome::Silence,
        _ => return None,
    };
    Some(TaskReply { after_ms, outcome })
}

fn list<N: fmt::Display>(names: impl Iterator<Item = N>) -> String {
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "StateMachines": {
            "Orders": {"TestCases": {"Happy": {"Charge": "Paid"}, "Busy": {"Charge": "BusyThenPaid"}}},
            "Other": {"TestCases": {"Happy": {}, "Alone": {}}}
        },
        "MockedResponses": {
            "Paid": {"0": {"Return": {"b": 1.50, "a": [null, "é"]}}},
            "BusyThenPaid": {"0-1": {"Throw": {"Error": "Busy", "Cause": "later"}}, "2": {"Return": "ok"}}
        }
    }"#;

    fn parse(text: &str) -> Result<MockFile, Error> {
        MockFile::parse(Path::new("mocks.json"), text.as_bytes().to_vec())
    }

    fn refused(text: &str, machine: &str, case: &str, part: &str) {
        let problem = parse(text).and_then(|file| file.test_case(machine, case)).expect_err("must be refused").to_string();
        assert!(problem.contains(part) && problem.contains("mocks.json"), "{problem}");
    }

    #[test]
    fn invocations_are_answered_by_range() {
        let case = parse(FILE).expect("file").test_case("Orders", "Busy").expect("case");
        assert_eq!(case.reply("Charge", 0), Some(TaskReply::failure("Busy", "later")));
        assert_eq!(case.reply("Charge", 1), Some(TaskReply::failure("Busy", "later")));
        assert_eq!(case.reply("Charge", 2), Some(TaskReply::success("\"ok\"")));
        let beyond = case.reply("Charge", 3).expect("mocked");
        assert!(matches!(beyond.outcome, TaskOutcome::Failure { ref error, .. } if error == "States.Runtime"));
        assert_eq!(case.reply("Elsewhere", 0), None);
    }

    #[test]
    fn answers_may_take_time_or_not_come() {
        let states = serde_json::json!({"S": {"0": {"Return": 1, "AfterMs": 50}, "1": {"Silence": true}}});
        let case = TestCase::inline("c", states.as_object().expect("an object")).expect("well formed");
        assert_eq!(case.foreseen("S", 0), Some(TaskReply { after_ms: 50, ..TaskReply::success("1") }));
        assert_eq!(case.foreseen("S", 1).map(|reply| reply.outcome), Some(TaskOutcome::Silence));
        assert_eq!(case.foreseen("S", 2), None);
        let states = serde_json::json!({"S": {"0": {"Return": 1, "AfterMs": "soon"}}});
        assert!(TestCase::inline("c", states.as_object().expect("an object")).is_err());
    }

    #[test]
    fn results_keep_their_order_of_keys() {
        let case = parse(FILE).expect("file").test_case("Orders", "Happy").expect("case");
        assert_eq!(case.reply("Charge", 0), Some(TaskReply::success(r#"{"b":1.5,"a":[null,"é"]}"#)));
    }

    #[test]
    fn another_machine_is_named_before_the_case() {
        let file = parse(FILE).expect("file");
        assert_eq!(file.test_case("Other", "Orders#Busy").expect("case"), file.test_case("Orders", "Busy").expect("case"));
        refused(FILE, "Unknown", "Alone", "state machine \"Unknown\" is not in it; there are \"Orders\", \"Other\"");
    }

    #[test]
    fn states_that_are_no_tasks_are_refused() {
        let case = parse(FILE).expect("file").test_case("Orders", "Busy").expect("case");
        assert_eq!(case.check_states(&["Charge", "Other"]), Ok(()));
        let problem = case.check_states(&["Chrage"]).expect_err("misspelt");
        assert_eq!(problem, "test case \"Busy\" mocks \"Charge\", which is no Task state of the definition; did you mean \"Chrage\"?");
        assert!(case.check_states(&[]).expect_err("none").ends_with("; there are none"));
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        refused("[", "M", "x", "not valid JSON");
        refused("{}", "M", "x", "\"StateMachines\" is missing");
        refused(r#"{"StateMachines": [], "MockedResponses": {}}"#, "M", "x", "\"StateMachines\" must be an object");
        refused(FILE, "Order", "Happy", "there are \"Orders\", \"Other\"");
        refused(FILE, "Orders", "Sad", "there are \"Happy\", \"Busy\"");
    }

    #[test]
    fn malformed_responses_are_refused() {
        let with = |responses: &str| format!(r#"{{"StateMachines": {{"M": {{"TestCases": {{"C": {{"S": "R"}}}}}}}}, "MockedResponses": {responses}}}"#);
        for (responses, part) in [
            ("{}", "no entry \"R\"; there are none"),
            (r#"{"R": {"first": {"Return": 1}}}"#, "is no invocation"),
            (r#"{"R": {"2-1": {"Return": 1}}}"#, "is no invocation"),
            (r#"{"R": {"0": {}}}"#, "either \"Return\" or \"Throw\""),
            (r#"{"R": {"0": {"Return": 1, "Throw": {"Error": "E"}}}}"#, "either \"Return\" or \"Throw\""),
            (r#"{"R": {"0": {"Throw": {"Cause": "c"}}}}"#, "either \"Return\" or \"Throw\""),
            (r#"{"R": {"0-2": {"Return": 1}, "2": {"Return": 1}}}"#, "overlaps"),
            (r#"{"R": 5}"#, "must be an object"),
        ] {
            refused(&with(responses), "M", "C", part);
        }
    }
}
