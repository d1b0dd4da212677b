//! Plays the tasks of a case from what its recording says: recorded calls first, then a mock file in Step Functions Local's format, then the recorded behaviour of the Lambda function.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::case::Case;
use super::compare::Bindings;
use super::normalise;
use super::run::{Answer, Call};

/// The player of one case's tasks.
#[derive(Debug)]
pub struct Answers<'c> {
    case: &'c Case,
    used: Vec<bool>,
    calls_by_state: BTreeMap<String, u64>,
}

impl<'c> Answers<'c> {
    /// A player that has played nothing yet.
    #[must_use]
    pub fn new(case: &'c Case) -> Self {
        Self { case, used: vec![false; recorded(case).len()], calls_by_state: BTreeMap::new() }
    }

    /// Whether the case says how its tasks answer: not when it expects an SDK's transport details that only a recorded call has.
    #[must_use]
    pub fn known(case: &Case) -> bool {
        let mocks = case.field("mocks");
        if mocks.get("tasks").is_none() && case.field("expect").to_string().contains("SdkHttpMetadata") {
            return false;
        }
        ["tasks", "sfn_local", "lambdas"].iter().any(|kind| mocks.get(kind).is_some_and(|mocks| !mocks.is_null()))
    }

    /// The answer to one call.
    ///
    /// # Errors
    /// When the recording has no such call: the engine asked for something AWS did not.
    pub fn answer(&mut self, call: &Call<'_>) -> Result<Answer, String> {
        let input: Value = serde_json::from_slice(call.input).map_err(|error| format!("the input of '{}' is not JSON: {error}", call.state))?;
        let mocks = self.case.field("mocks");
        if !recorded(self.case).is_empty() {
            let entry = self.take_recorded(call, &input)?;
            return match lambda(mocks, call, &input) {
                // The recorded answer is the error that the engine itself has to raise on the result.
                Some(function) if function["behaviour"] == "return_large_string" => behave(function, call, &input),
                _ => replay(entry, call),
            };
        }
        if let Some(states) = mocks.get("sfn_local") {
            return self.play_mock_file(states, call);
        }
        let function = lambda(mocks, call, &input).ok_or_else(|| format!("'{}' calls {}, which the case does not know", call.state, call.resource))?;
        behave(function, call, &input)
    }

    /// Checks at the end that every recorded call was made.
    ///
    /// # Errors
    /// Names the first call that is missing.
    pub fn finish(&self) -> Result<(), String> {
        match recorded(self.case).iter().zip(&self.used).find(|&(_, used)| !used) {
            Some((entry, _)) => Err(format!("the recorded call of '{}' was never made", entry["state"].as_str().unwrap_or_default())),
            None => Ok(()),
        }
    }

    /// The first entry of the state that is still unused and has this request; inside Map and Parallel their order is not fixed.
    fn take_recorded(&mut self, call: &Call<'_>, input: &Value) -> Result<&'c Value, String> {
        let actual = normalise::output(self.case, input);
        let mut differences = String::new();
        for (index, entry) in recorded(self.case).iter().enumerate() {
            // Upstream lost the names of states whose events it had sorted.
            if self.used[index] || !(entry["state"] == call.state || entry["state"].is_null()) {
                continue;
            }
            let expected = normalise::output(self.case, &entry["request"]);
            match Bindings::default().compare(&expected, &actual) {
                Ok(()) => {
                    self.used[index] = true;
                    return Ok(entry);
                }
                Err(difference) if differences.is_empty() => differences = difference,
                Err(_) => {}
            }
        }
        if differences.is_empty() {
            return Err(format!("'{}' was called once more than recorded", call.state));
        }
        Err(format!("'{}' was called with another request than recorded: {differences}", call.state))
    }

    /// A mock file numbers the calls of a state: `"0"`, `"1-2"`, …
    fn play_mock_file(&mut self, states: &Value, call: &Call<'_>) -> Result<Answer, String> {
        let count = self.calls_by_state.entry(call.state.to_owned()).or_default();
        let number = *count;
        *count += 1;
        let covers = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<u64>(), last.parse::<u64>()), (Ok(first), Ok(last)) if (first..=last).contains(&number))
        };
        let entries = states.get(call.state).and_then(Value::as_object).ok_or_else(|| format!("no mock for '{}'", call.state))?;
        let (_, entry) = entries.iter().find(|(range, _)| covers(range)).ok_or_else(|| format!("no mock for call {number} of '{}'", call.state))?;
        let after_ms = entry["AfterMs"].as_u64().unwrap_or(0);
        if entry["Silence"] == true {
            return Ok(Answer::Silence);
        }
        if let Some(result) = entry.get("Return") {
            return Ok(Answer::Return(result.to_string().into_bytes(), after_ms));
        }
        let thrown = entry.get("Throw").ok_or_else(|| format!("a mock of '{}' neither returns nor throws", call.state))?;
        let error = thrown["Error"].as_str().unwrap_or_default();
        Ok(Answer::Throw(error.to_owned(), thrown["Cause"].as_str().map(str::to_owned), after_ms))
    }
}

fn recorded(case: &Case) -> &[Value] {
    case.field("mocks").get("tasks").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn replay(entry: &Value, call: &Call<'_>) -> Result<Answer, String> {
    let (reply, after_ms) = (&entry["reply"], entry["after_ms"].as_u64().unwrap_or(0));
    if let Some(result) = reply.get("return") {
        return Ok(Answer::Return(result.to_string().into_bytes(), after_ms));
    }
    if reply.get("timeout").is_some() {
        return Ok(Answer::Silence);
    }
    let thrown = reply.get("throw").ok_or("a recorded reply of unknown form")?;
    let cause = match (&thrown["cause"], &thrown["cause_json"]) {
        (Value::String(cause), _) => Some(cause.clone()),
        (_, Value::Null) => None,
        // A function's own error text is spelled as Python spells it; a service's is compact.
        (_, cause) if call.resource.starts_with("arn:aws:lambda:") => Some(spaced(cause)),
        (_, cause) => Some(cause.to_string()),
    };
    Ok(Answer::Throw(thrown["error"].as_str().unwrap_or_default().to_owned(), cause, after_ms))
}

/// JSON with a blank behind each comma and colon.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(elements) => format!("[{}]", elements.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(key, member)| format!("{}: {}", json!(key), spaced(member))).collect();
            format!("{{{}}}", members.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

fn is_invoke(call: &Call<'_>) -> bool {
    call.resource.starts_with("arn:aws:states:::lambda:invoke")
}

/// The function that a call names, directly or through `lambda:invoke`.
fn lambda<'m>(mocks: &'m Value, call: &Call<'_>, input: &Value) -> Option<&'m Value> {
    let name = if is_invoke(call) { input["FunctionName"].as_str()? } else { call.resource };
    let functions = mocks.get("lambdas")?.as_object()?;
    functions.iter().find(|(function, _)| name == *function || name.ends_with(&format!(":function:{function}"))).map(|(_, function)| function)
}

/// Does what the function did. `lambda:invoke` wraps the payload as the SDK does.
fn behave(function: &Value, call: &Call<'_>, input: &Value) -> Result<Answer, String> {
    let event = if is_invoke(call) { input.get("Payload").cloned().unwrap_or_else(|| json!({})) } else { input.clone() };
    let wrap = |payload: Value| {
        let result = if is_invoke(call) { json!({"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}) } else { payload };
        result.to_string().into_bytes()
    };
    match function["behaviour"].as_str().unwrap_or_default() {
        "echo" => Ok(Answer::Return(wrap(event), 0)),
        "sleep_then_echo" => Ok(Answer::Return(wrap(event), function["seconds"].as_u64().unwrap_or(0) * 1_000)),
        "return" => Ok(Answer::Return(wrap(function["value"].clone()), 0)),
        "return_large_string" => {
            let length = usize::try_from(function["bytes"].as_u64().unwrap_or(0)).map_err(|error| error.to_string())?;
            Ok(Answer::Return(wrap(function["char"].as_str().unwrap_or("a").repeat(length).into()), 0))
        }
        "raise" => {
            let (kind, message) = (function["errorType"].as_str().unwrap_or_default(), function["errorMessage"].as_str().unwrap_or_default());
            // Line 2 of a handler of two lines: the functions that raise look like this one.
            let trace = format!("  File \"/var/task/handler.py\", line 2, in handler\n    raise {kind}(\"{message}\")\n");
            let thrown = json!({"errorMessage": message, "errorType": kind, "requestId": "0a0a0a0a-0000-4000-8000-000000000000", "stackTrace": [trace]});
            // The optimised integration prints the function's error anew, the direct one hands Python's spelling on.
            let cause = if is_invoke(call) { thrown.to_string() } else { spaced(&thrown) };
            Ok(Answer::Throw(kind.to_owned(), Some(cause), 0))
        }
        other => Err(format!("unknown behaviour '{other}' of a function")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'s>(state: &'s str, input: &'s str) -> Call<'s> {
        Call { state, resource: "native:x", input: input.as_bytes() }
    }

    fn case(mocks: Value) -> Case {
        Case { id: "c".to_owned(), group: "g".to_owned(), body: json!({ "mocks": mocks }), own: false }
    }

    #[test]
    fn recorded_calls_are_matched_by_request_and_used_once() {
        let case = case(json!({"tasks": [
            {"state": "A", "request": 1, "reply": {"return": "one"}},
            {"state": "A", "request": 2, "reply": {"throw": {"error": "E", "cause": "c"}}},
        ]}));
        let mut answers = Answers::new(&case);
        assert_eq!(answers.answer(&call("A", "2")), Ok(Answer::Throw("E".to_owned(), Some("c".to_owned()), 0)));
        assert!(answers.finish().is_err());
        assert!(answers.answer(&call("A", "3")).unwrap_err().contains("another request"));
        assert_eq!(answers.answer(&call("A", "1")), Ok(Answer::Return(b"\"one\"".to_vec(), 0)));
        assert!(answers.answer(&call("A", "1")).unwrap_err().contains("once more"));
        assert_eq!(answers.finish(), Ok(()));
    }

    #[test]
    fn a_mock_file_counts_the_calls_of_each_state() {
        let case = case(json!({"sfn_local": {"A": {"0-1": {"Throw": {"Error": "E"}}, "2": {"Return": 7}}}}));
        let mut answers = Answers::new(&case);
        let throw = Answer::Throw("E".to_owned(), None, 0);
        assert_eq!(answers.answer(&call("A", "1")), Ok(throw.clone()));
        assert_eq!(answers.answer(&call("A", "1")), Ok(throw));
        assert_eq!(answers.answer(&call("A", "1")), Ok(Answer::Return(b"7".to_vec(), 0)));
        assert!(answers.answer(&call("A", "1")).is_err());
    }
}
