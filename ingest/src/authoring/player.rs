//! Plays the tasks of a case.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::{Call, CallReply, Mocks};
use super::difference;
use crate::local::{TaskCall, TaskOutcome, TaskReply};
use crate::tasks::mock::TestCase;
use crate::tasks::native;

/// The player of one run of a case.
#[derive(Debug)]
pub(super) struct Player<'c> {
    calls: &'c [Call],
    is_used: Vec<bool>,
    states: Option<&'c TestCase>,
    file: Option<&'c TestCase>,
    counts: BTreeMap<String, u32>,
    /// The first call that had no answer.
    pub(super) problem: Option<String>,
    /// Every call with its answer, in order, for a recording.
    pub(super) made: Vec<Call>,
}

impl<'c> Player<'c> {
    /// A player that has played nothing yet; `file` is the case of a mock file.
    pub(super) fn new(mocks: &'c Mocks, file: Option<&'c TestCase>) -> Self {
        Self {
            calls: &mocks.calls,
            is_used: vec![false; mocks.calls.len()],
            states: mocks.states.as_ref(),
            file,
            counts: BTreeMap::new(),
            problem: None,
            made: Vec::new(),
        }
    }

    /// The answer to one call. What has none stays silent, so that the execution cannot end well by accident.
    pub(super) fn answer(&mut self, call: &TaskCall<'_>) -> TaskReply {
        let reply = self.find(call).unwrap_or_else(|problem| {
            self.problem.get_or_insert(problem);
            TaskReply { after_ms: 0, outcome: TaskOutcome::Silence }
        });
        self.made.push(Call {
            state: call.state.to_owned(),
            request: serde_json::from_slice(call.input).ok(),
            reply: recorded(&reply),
            after_ms: reply.after_ms,
        });
        reply
    }

    fn find(&mut self, call: &TaskCall<'_>) -> Result<TaskReply, String> {
        if !self.calls.is_empty() {
            return self.take_call(call);
        }
        let number = self.counts.entry(call.state.to_owned()).or_default();
        let invocation = *number;
        *number += 1;
        for mocks in [self.states, self.file].into_iter().flatten() {
            if mocks.has_state(call.state) {
                return mocks.foreseen(call.state, invocation).ok_or_else(|| format!("call {invocation} of state \"{}\" is not mocked", call.state));
            }
        }
        native::call(&call.resource.arn, call.input, call.attempt)
            .ok_or_else(|| format!("nothing answers for resource {} of state \"{}\"; add it to the case's mocks", call.resource.arn, call.state))
    }

    /// The first call of the state that is still to come and has this request: inside Map and Parallel their order is not fixed.
    fn take_call(&mut self, call: &TaskCall<'_>) -> Result<TaskReply, String> {
        let input: Value = serde_json::from_slice(call.input).map_err(|error| format!("the input of state \"{}\" is not JSON: {error}", call.state))?;
        let mut nearest = None;
        for (index, expected) in self.calls.iter().enumerate().filter(|(index, expected)| !self.is_used[*index] && expected.state == call.state) {
            let differences = expected.request.as_ref().map(|request| difference::between("request", request, &input, false)).unwrap_or_default();
            match differences.into_iter().next() {
                None => {
                    self.is_used[index] = true;
                    return Ok(TaskReply { after_ms: expected.after_ms, outcome: outcome(&expected.reply) });
                }
                Some(difference) => {
                    nearest.get_or_insert(difference);
                }
            }
        }
        Err(match nearest {
            None => format!("state \"{}\" makes a call more than the mocks have", call.state),
            Some(difference) => {
                let shown = |side: Option<String>| side.unwrap_or_else(|| "nothing".to_owned());
                let (expected, found) = (shown(difference.expected), shown(difference.found));
                format!("state \"{}\" makes a call that the mocks do not have: {} is {found}, expected {expected}", call.state, difference.place)
            }
        })
    }

    /// The first expected call that was never made.
    pub(super) fn missing(&self) -> Option<&str> {
        self.calls.iter().zip(&self.is_used).find(|(_, is_used)| !**is_used).map(|(call, _)| call.state.as_str())
    }
}

fn outcome(recorded: &CallReply) -> TaskOutcome {
    match recorded {
        CallReply::Return(result) => TaskOutcome::Success(result.to_string().into_bytes()),
        CallReply::Throw { error, cause } => TaskOutcome::Failure { error: error.clone(), cause: cause.clone() },
        CallReply::Silence => TaskOutcome::Silence,
    }
}

fn recorded(reply: &TaskReply) -> CallReply {
    match &reply.outcome {
        TaskOutcome::Success(result) => CallReply::Return(serde_json::from_slice(result).unwrap_or(Value::Null)),
        TaskOutcome::Failure { error, cause } => CallReply::Throw { error: error.clone(), cause: cause.clone() },
        TaskOutcome::Silence => CallReply::Silence,
    }
}
