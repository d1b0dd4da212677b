//! Reads what `aws stepfunctions get-execution-history` prints.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::case::{Call, CallReply};
use super::Execution;

/// What was done by an execution with this history.
///
/// # Errors
/// A sentence, when it is no history, or the execution has not ended.
pub(super) fn read(text: &str) -> Result<Execution, String> {
    let history: Value = serde_json::from_str(text).map_err(|error| format!("the history is not JSON: {error}"))?;
    let events = history.get("events").unwrap_or(&history).as_array().ok_or("the history has no list of \"events\"")?;
    if history.get("nextToken").is_some_and(|token| !token.is_null()) {
        return Err("the history is not complete: it has a \"nextToken\"".to_owned());
    }
    let mut reader = Reader::default();
    let mut by_id: Vec<&Value> = events.iter().collect();
    // AWS prints them the other way round when asked to.
    by_id.sort_by_key(|event| event["id"].as_u64().unwrap_or(0));
    for event in by_id {
        reader.event(event)?;
    }
    if reader.execution.status.is_empty() {
        return Err("the execution of this history has not ended as SUCCEEDED, FAILED or TIMED_OUT".to_owned());
    }
    reader.execution.path = Some(reader.path);
    Ok(reader.execution)
}

#[derive(Default)]
struct Reader {
    execution: Execution,
    path: Vec<String>,
    /// The state that an event belongs to, by the event's id.
    states: BTreeMap<u64, String>,
    /// The call that an event belongs to, by the event's id.
    calls: BTreeMap<u64, usize>,
}

impl Reader {
    fn event(&mut self, event: &Value) -> Result<(), String> {
        let kind = event["type"].as_str().ok_or("an event has no \"type\"")?;
        let (id, previous) = (event["id"].as_u64().unwrap_or(0), event["previousEventId"].as_u64().unwrap_or(0));
        let details = details(event);
        if let Some(state) = self.states.get(&previous).cloned() {
            self.states.insert(id, state);
        }
        if let Some(&call) = self.calls.get(&previous) {
            self.calls.insert(id, call);
        }
        if kind.ends_with("StateEntered") {
            let name = details["name"].as_str().unwrap_or_default().to_owned();
            self.path.push(name.clone());
            self.states.insert(id, name);
            return Ok(());
        }
        match kind {
            "ExecutionStarted" => self.execution.input = json_text(&details["input"])?,
            "ExecutionSucceeded" => {
                "SUCCEEDED".clone_into(&mut self.execution.status);
                self.execution.output = Some(json_text(&details["output"])?);
            }
            "ExecutionFailed" => self.fail("FAILED", details),
            "ExecutionTimedOut" => self.fail("TIMED_OUT", details),
            "TaskScheduled" | "LambdaFunctionScheduled" | "ActivityScheduled" => {
                let request = ["parameters", "input"].iter().map(|key| &details[*key]).find(|request| !request.is_null());
                let request = request.map(json_text).transpose()?;
                let state = self.states.get(&id).cloned().unwrap_or_default();
                self.calls.insert(id, self.execution.calls.len());
                self.execution.calls.push(Call { state, request, reply: CallReply::Silence, after_ms: 0 });
            }
            "TaskSucceeded" | "LambdaFunctionSucceeded" | "ActivitySucceeded" => {
                let result = json_text(&details["output"])?;
                self.reply(id, CallReply::Return(result));
            }
            "TaskTimedOut" | "LambdaFunctionTimedOut" | "ActivityTimedOut" => self.reply(id, CallReply::Silence),
            _ if kind.ends_with("Failed") => {
                if let Some(error) = details["error"].as_str() {
                    self.reply(id, CallReply::Throw { error: error.to_owned(), cause: details["cause"].as_str().map(str::to_owned) });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fail(&mut self, status: &str, details: &Value) {
        let text = |key: &str| details[key].as_str().map(str::to_owned);
        status.clone_into(&mut self.execution.status);
        (self.execution.error, self.execution.cause) = (text("error"), text("cause"));
    }

    /// The answer of the call that an event belongs to; what failed without one (a state, a branch) has none.
    fn reply(&mut self, id: u64, reply: CallReply) {
        if let Some(call) = self.calls.remove(&id).and_then(|call| self.execution.calls.get_mut(call)) {
            call.reply = reply;
        }
    }
}

/// The member that ends in `EventDetails`.
fn details(event: &Value) -> &Value {
    let found = event.as_object().and_then(|members| members.iter().find(|(key, _)| key.ends_with("EventDetails")));
    found.map_or(&Value::Null, |(_, details)| details)
}

/// JSON that stands in a text.
fn json_text(value: &Value) -> Result<Value, String> {
    match value.as_str() {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(text).map_err(|error| format!("an input or output of the history is not JSON (it may have been cut): {error}")),
    }
}
