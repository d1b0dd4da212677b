//! A test file: cases of one definition, in YAML.
//!
//! `NAME.test.yaml` is a list of cases. A case has a `name` and what it expects; its definition stands in it, or is the file `NAME.asl.json` beside it. Unknown words are refused, since a misspelt expectation would always hold. The reference for authors is `configs/definitions/README.md`.

use std::collections::HashSet;

use expressway_engine::diagnostic::nearest;
use expressway_engine::hir::WorkflowType;
use expressway_engine::limits::NAME_CHARS_MAX;
use serde_json::{Map, Value};

use crate::config;
use crate::control::name;
use crate::tasks::mock::TestCase;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// The rule that it holds, for readers.
    pub clause: Option<String>,
    /// The definition's text, where it stands in the case.
    pub definition: Option<String>,
    /// The type it runs as, where the case says so.
    pub workflow_type: Option<WorkflowType>,
    /// The execution's name.
    pub execution: String,
    /// The input, JSON.
    pub input: String,
    /// How tasks answer.
    pub mocks: Mocks,
    /// What must come of it.
    pub expect: Expectation,
}

/// How the tasks of a case answer. `calls` wins over `states`, which wins over a case of a mock file; what none of them has is asked of the native handlers.
#[derive(Debug, Clone, Default)]
pub struct Mocks {
    /// `tasks: [{state: S, request: …, reply: {return: …}}]`: every call that is made, with its input; a call that is not among them, and one of them that is not made, is a failure.
    pub calls: Vec<Call>,
    /// `sfn_local: {S: {"0": {Return: …}, "1-2": {Throw: {Error: …, Cause: …}}}}`: answers by state and number of the call.
    pub states: Option<TestCase>,
    /// `test_case: NAME`: a case of the file in Step Functions Local's format that `--mocks` or `SFN_MOCK_CONFIG` names.
    pub test_case: Option<String>,
}

/// A call that must be made, and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The Task state.
    pub state: String,
    /// Its input; anything when absent.
    pub request: Option<Value>,
    /// The answer.
    pub reply: CallReply,
    /// Milliseconds from the call to the answer.
    pub after_ms: u64,
}

/// What a recorded call answered.
#[derive(Debug, Clone, PartialEq)]
pub enum CallReply {
    /// `return: …`
    Return(Value),
    /// `throw: {error: …, cause: …}`
    Throw {
        /// The error name.
        error: String,
        /// The cause, if any.
        cause: Option<String>,
    },
    /// `timeout: true`: no answer at all.
    Silence,
}

/// What must come of a case.
#[derive(Debug, Clone)]
pub enum Expectation {
    /// `refused: […]`: the definition is refused with exactly these findings, each as `CODE: message at location`, or as `CODE at location` where the message may be any.
    Refused(Vec<String>),
    /// The execution ends.
    End(Box<End>),
}

/// How an execution must end. What is not said is left open.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// `status`: `SUCCEEDED`, `FAILED`, `TIMED_OUT`. When absent, an expected output makes it the first, an expected error the second.
    pub status: String,
    /// `output`: members in any order, numbers by value.
    pub output: Option<Value>,
    /// `output_includes`: the output has these members, and may have others.
    pub output_includes: Option<Value>,
    /// `error`
    pub error: Words,
    /// `cause`; `cause_unpinned: true` says in so many words that it is left open.
    pub cause: Words,
    /// `took_ms`: milliseconds of virtual time from start to end.
    pub took_ms: Option<u64>,
    /// `path`: the names of the states in the order in which they are entered. Levels of which it names no state are left out of the comparison, so the inside of a Parallel or Map need not be told.
    pub path: Option<Vec<String>>,
}

/// What is expected of an error or a cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Words {
    /// Nothing is said: it may be anything, and may be absent.
    #[default]
    Open,
    /// `null`: there is none.
    Absent,
    /// This text.
    Is(String),
}

impl Words {
    fn of(members: &Map<String, Value>, key: &str) -> Result<Self, String> {
        Ok(match members.get(key) {
            None => Self::Open,
            Some(Value::Null) => Self::Absent,
            Some(_) => text(members, key)?.map_or(Self::Absent, Self::Is),
        })
    }

    /// Whether what was found is as expected.
    #[must_use]
    pub fn allow(&self, found: Option<&str>) -> bool {
        match self {
            Self::Open => true,
            Self::Absent => found.is_none(),
            Self::Is(text) => found == Some(text),
        }
    }

    /// The text that is expected, if any.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Is(text) => Some(text),
            Self::Open | Self::Absent => None,
        }
    }
}

/// The cases of a test file as they stand there.
///
/// # Errors
/// A sentence, when the text is no YAML or no list.
pub fn entries(text: &str) -> Result<Vec<Value>, String> {
    match config::yaml::parse(text)? {
        Value::Array(cases) => Ok(cases),
        Value::Null => Ok(Vec::new()),
        _ => Err("a test file is a list of cases, each beginning with \"- name:\"".to_owned()),
    }
}

/// Reads a test file.
///
/// # Errors
/// A sentence about the first thing that is wrong, with the case it is in.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let cases = entries(text)?;
    let mut names = HashSet::new();
    let mut parsed = Vec::with_capacity(cases.len());
    for (number, case) in (1..).zip(&cases) {
        let case = Case::from_value(case).map_err(|problem| match case.get("name").and_then(Value::as_str) {
            Some(name) => format!("case \"{name}\": {problem}"),
            None => format!("case number {number}: {problem}"),
        })?;
        if !names.insert(case.name.clone()) {
            return Err(format!("two cases are named \"{}\"", case.name));
        }
        parsed.push(case);
    }
    Ok(parsed)
}

const KEYS: [&str; 9] = ["name", "comment", "clause", "definition", "type", "execution", "input", "mocks", "expect"];
const MOCK_KEYS: [&str; 3] = ["tasks", "sfn_local", "test_case"];
const CALL_KEYS: [&str; 4] = ["state", "request", "reply", "after_ms"];
const EXPECT_KEYS: [&str; 9] = ["status", "output", "output_includes", "error", "cause", "cause_unpinned", "took_ms", "path", "refused"];
const STATUSES: [&str; 3] = ["SUCCEEDED", "FAILED", "TIMED_OUT"];

impl Case {
    /// Reads one case.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let members = object(value, "a case", &KEYS)?;
        let name = text(members, "name")?.filter(|name| !name.is_empty()).ok_or("a case needs a \"name\"")?;
        let definition = members.get("definition").map(|definition| match definition {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        });
        let workflow_type = match text(members, "type")?.as_deref() {
            None => None,
            Some("EXPRESS") => Some(WorkflowType::Express),
            Some("STANDARD") => Some(WorkflowType::Standard),
            Some(other) => return Err(format!("\"type\" is EXPRESS or STANDARD, found {other}")),
        };
        Ok(Self {
            clause: text(members, "clause")?,
            definition,
            workflow_type,
            execution: match text(members, "execution")? {
                Some(execution) => name::parse(&execution)?,
                None => execution_name(&name),
            },
            input: members.get("input").map_or_else(|| "{}".to_owned(), Value::to_string),
            mocks: members.get("mocks").map_or_else(|| Ok(Mocks::default()), |mocks| Mocks::from_value(mocks, &name))?,
            expect: Expectation::from_value(members.get("expect").ok_or("a case needs an \"expect\"")?)?,
            name,
        })
    }
}

/// A case's name as the name of its execution: what AWS does not allow there becomes an underscore.
fn execution_name(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' }).collect()
}

impl Mocks {
    fn from_value(value: &Value, name: &str) -> Result<Self, String> {
        let members = object(value, "\"mocks\"", &MOCK_KEYS)?;
        let calls = match members.get("tasks") {
            None => Vec::new(),
            Some(Value::Array(calls)) => calls.iter().map(Call::from_value).collect::<Result<_, _>>()?,
            Some(_) => return Err("\"tasks\" must be a list of calls".to_owned()),
        };
        let states = match members.get("sfn_local") {
            None => None,
            Some(Value::Object(states)) => Some(TestCase::inline(name, states)?),
            Some(_) => return Err("\"sfn_local\" must be an object of state names".to_owned()),
        };
        Ok(Self { calls, states, test_case: text(members, "test_case")? })
    }
}

impl Call {
    fn from_value(value: &Value) -> Result<Self, String> {
        let members = object(value, "a call in \"tasks\"", &CALL_KEYS)?;
        let state = text(members, "state")?.ok_or("a call in \"tasks\" needs a \"state\"")?;
        let reply = object(members.get("reply").unwrap_or(&Value::Null), "the \"reply\" of a call", &["return", "throw", "timeout"])?;
        let reply = match (reply.get("return"), reply.get("throw"), reply.get("timeout")) {
            (Some(result), None, None) => CallReply::Return(result.clone()),
            (None, Some(thrown), None) => {
                let thrown = object(thrown, "\"throw\"", &["error", "cause"])?;
                CallReply::Throw { error: text(thrown, "error")?.ok_or("\"throw\" needs an \"error\"")?, cause: text(thrown, "cause")? }
            }
            (None, None, Some(Value::Bool(true))) => CallReply::Silence,
            (None, None, Some(_)) => return Err("\"timeout\" can only be true".to_owned()),
            _ => return Err("the \"reply\" of a call holds one of \"return\", \"throw\" and \"timeout\"".to_owned()),
        };
        let after_ms = members.get("after_ms").map_or(Some(0), Value::as_u64).ok_or("\"after_ms\" is a whole number")?;
        Ok(Self { state, request: members.get("request").cloned(), reply, after_ms })
    }
}

impl Expectation {
    fn from_value(value: &Value) -> Result<Self, String> {
        if let Some(findings) = value.get("refused") {
            object(value, "\"expect\" with \"refused\"", &["refused"])?;
            return Ok(Self::Refused(texts(findings, "refused")?));
        }
        let members = object(value, "\"expect\"", &EXPECT_KEYS)?;
        let (error, mut cause) = (Words::of(members, "error")?, Words::of(members, "cause")?);
        let has_output = members.contains_key("output") || members.contains_key("output_includes");
        let status = match text(members, "status")? {
            Some(status) if STATUSES.contains(&status.as_str()) => status,
            Some(other) => return Err(format!("\"status\" is one of {}, found {other}", STATUSES.join(", "))),
            None if has_output => "SUCCEEDED".to_owned(),
            None if error != Words::Open || cause != Words::Open => "FAILED".to_owned(),
            None => return Err("\"expect\" needs a \"status\", an \"output\" or an \"error\"".to_owned()),
        };
        let has_failed = status != "SUCCEEDED";
        if has_failed && has_output {
            return Err(format!("an execution that ends as {status} has no output"));
        }
        if !has_failed && (error.text().is_some() || cause.text().is_some()) {
            return Err(format!("an execution that ends as {status} has no error and no cause"));
        }
        match members.get("cause_unpinned") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => cause = Words::Open,
            Some(_) => return Err("\"cause_unpinned\" is true or false".to_owned()),
        }
        let took_ms = match members.get("took_ms") {
            None => None,
            Some(took_ms) => Some(took_ms.as_u64().ok_or("\"took_ms\" is a whole number")?),
        };
        let path = members.get("path").map(|path| texts(path, "path")).transpose()?;
        let (output, output_includes) = (members.get("output").cloned(), members.get("output_includes").cloned());
        Ok(Self::End(Box::new(End { status, output, output_includes, error, cause, took_ms, path })))
    }
}

/// An object that has none but these members.
fn object<'v>(value: &'v Value, what: &str, keys: &[&str]) -> Result<&'v Map<String, Value>, String> {
    let Value::Object(members) = value else { return Err(format!("{what} must be an object")) };
    match members.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(members),
        Some(key) => {
            let hint = nearest(key, keys).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            Err(format!("{what} has no \"{key}\", allowed are {}{hint}", keys.join(", ")))
        }
    }
}

fn text(members: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("\"{key}\" must be a text, found {other}")),
    }
}

fn texts(value: &Value, what: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("\"{what}\" must be a list of texts");
    value.as_array().ok_or_else(wrong)?.iter().map(|element| element.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Case, String> {
        parse(&format!("- {text}")).map(|mut cases| cases.remove(0))
    }

    fn end(text: &str) -> End {
        match one(text).expect("a case").expect {
            Expectation::End(end) => *end,
            Expectation::Refused(_) => panic!("it ends"),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let case = one("{name: 'a b', expect: {output: 1}}").expect("a case");
        assert_eq!((case.execution.as_str(), case.input.as_str(), case.definition.is_none()), ("a_b", "{}", true));
        assert_eq!(end("{name: a, expect: {output: 1}}").status, "SUCCEEDED");
        assert_eq!(end("{name: a, expect: {error: E}}").status, "FAILED");
        assert_eq!(end("{name: a, expect: {status: TIMED_OUT, error: States.Timeout}}").status, "TIMED_OUT");
    }

    #[test]
    fn errors_and_causes_are_open_absent_or_a_text() {
        let end = end("{name: a, expect: {error: E}}");
        assert_eq!((&end.error, &end.cause), (&Words::Is("E".to_owned()), &Words::Open));
        let end = self::end("{name: a, expect: {error: null, cause: null}}");
        assert_eq!((end.status.as_str(), &end.error, &end.cause), ("FAILED", &Words::Absent, &Words::Absent));
        let end = self::end("{name: a, expect: {status: TIMED_OUT}}");
        assert_eq!((end.status.as_str(), &end.error, &end.cause), ("TIMED_OUT", &Words::Open, &Words::Open));
        assert_eq!(self::end("{name: a, expect: {error: E, cause: C, cause_unpinned: true}}").cause, Words::Open);
        let holds = |words: &Words| [None, Some("E"), Some("F")].map(|found| words.allow(found));
        assert_eq!(holds(&Words::Open), [true; 3]);
        assert_eq!(holds(&Words::Absent), [true, false, false]);
        assert_eq!(holds(&Words::Is("E".to_owned())), [false, true, false]);
    }

    #[test]
    fn an_output_may_be_null_and_is_then_compared() {
        assert_eq!(end("{name: a, expect: {output: null}}").output, Some(Value::Null));
        assert_eq!(end("{name: a, expect: {status: SUCCEEDED}}").output, None);
    }

    #[test]
    fn what_is_misspelt_is_refused_with_a_hint() {
        for (text, part) in [
            ("{name: a}", "needs an \"expect\""),
            ("{expect: {output: 1}}", "case number 1: a case needs a \"name\""),
            ("{name: a, expects: {output: 1}}", "case \"a\": a case has no \"expects\""),
            ("{name: a, expect: {ouput: 1}}", "did you mean \"output\"?"),
            ("{name: a, expect: {refussed: []}}", "did you mean \"refused\"?"),
            ("{name: a, expect: {}}", "needs a \"status\""),
            ("{name: a, expect: {status: DONE}}", "found DONE"),
            ("{name: a, expect: {status: FAILED, output: 1}}", "has no output"),
            ("{name: a, expect: {status: SUCCEEDED, error: E}}", "has no error"),
            ("{name: a, expect: {output: 1, cause: C}}", "no cause"),
            ("{name: a, execution: 'b c', expect: {output: 1}}", "Invalid Name: 'b c'"),
            ("{name: a, expect: {output: 1, path: A}}", "must be a list of texts"),
            ("{name: a, type: FAST, expect: {output: 1}}", "EXPRESS or STANDARD"),
            ("{name: a, mocks: {sfn_local: {S: {first: 1}}}, expect: {output: 1}}", "is no invocation"),
            ("{name: a, mocks: {tasks: [{state: S, reply: {}}]}, expect: {output: 1}}", "holds one of"),
            ("{name: a, mocks: {tasks: [{state: S, reply: {timeout: false}}]}, expect: {output: 1}}", "can only be true"),
            ("{name: a, expect: {refused: [], output: 1}}", "has no \"output\""),
        ] {
            let problem = one(text).expect_err("must be refused");
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert!(parse("a: 1").is_err());
        assert!(parse("- {name: a, expect: {output: 1}}\n- {name: a, expect: {output: 1}}").expect_err("twice").contains("two cases"));
    }
}
