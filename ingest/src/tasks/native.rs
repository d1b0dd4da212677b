//! Task handlers built into the process: what a `Resource` that begins with `native:` names.
//!
//! | resource | input | answer |
//! |---|---|---|
//! | `native:echo` | anything | the input |
//! | `native:delay` | `{"ms": 50, "reply": …}` | `reply`, or the input where there is none, after `ms` milliseconds (at most 300,000) |
//! | `native:fail-n-times` | `{"times": 2, "error": "Busy", "cause": "…", "reply": …}` | the error for the first `times` attempts of one visit of the state, then `reply` or the input |
//!
//! They are pure functions of input and attempt, so that `exec` on virtual time and the shards give the same answers. An input that a handler cannot read ends the call with the error `Native.BadInput`.

use serde_json::{Map, Value};

use crate::local::{TaskOutcome, TaskReply};

/// What `Resource` begins with for a handler of this module.
pub const PREFIX: &str = "native:";

/// The error name for an input that a handler cannot read.
pub const BAD_INPUT: &str = "Native.BadInput";

/// The handlers, for messages that say what there is.
pub const NAMES: [&str; 3] = ["native:echo", "native:delay", "native:fail-n-times"];

/// Longest delay, the life of an Express execution.
const DELAY_MS_MAX: u64 = 300_000;

/// Whether `resource` names a handler.
#[must_use]
pub fn is_known(resource: &str) -> bool {
    NAMES.contains(&resource)
}

/// Calls a handler; `attempt` counts the retries of one visit of the state, from 0. `None` when there is no such handler.
///
/// ```
/// use expressway_ingest::tasks::native;
/// let reply = native::call("native:echo", b"{\"a\":1}", 0).expect("echo exists");
/// assert_eq!(reply, expressway_ingest::local::TaskReply::success("{\"a\":1}"));
/// ```
#[must_use]
pub fn call(resource: &str, input: &[u8], attempt: u32) -> Option<TaskReply> {
    match resource {
        "native:echo" => Some(TaskReply::success(input)),
        "native:delay" => Some(delay(input)),
        "native:fail-n-times" => Some(fail_n_times(input, attempt)),
        _ => None,
    }
}

fn delay(input: &[u8]) -> TaskReply {
    let Some(members) = object(input) else { return bad_input("native:delay takes an object with the member \"ms\"") };
    match members.get("ms").and_then(Value::as_u64) {
        Some(after_ms) if after_ms <= DELAY_MS_MAX => TaskReply { after_ms, outcome: TaskOutcome::Success(reply(&members, input)) },
        _ => bad_input("native:delay takes \"ms\", a whole number from 0 to 300000"),
    }
}

fn fail_n_times(input: &[u8], attempt: u32) -> TaskReply {
    let Some(members) = object(input) else { return bad_input("native:fail-n-times takes an object with the member \"times\"") };
    let Some(times) = members.get("times").and_then(Value::as_u64) else { return bad_input("native:fail-n-times takes \"times\", a whole number from 0") };
    if u64::from(attempt) >= times {
        return TaskReply::success(reply(&members, input));
    }
    let text = |key: &str| members.get(key).and_then(Value::as_str).map(str::to_owned);
    TaskReply { after_ms: 0, outcome: TaskOutcome::Failure { error: text("error").unwrap_or_else(|| "Native.Failed".to_owned()), cause: text("cause") } }
}

fn object(input: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(input).ok()
}

/// The member `reply`, or the input itself.
fn reply(members: &Map<String, Value>, input: &[u8]) -> Vec<u8> {
    members.get("reply").map_or_else(|| input.to_vec(), |reply| reply.to_string().into_bytes())
}

fn bad_input(cause: &str) -> TaskReply {
    TaskReply::failure(BAD_INPUT, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_answers_later_with_its_reply() {
        let reply = call("native:delay", br#"{"ms":50,"reply":{"n":1.10}}"#, 0).expect("known");
        assert_eq!(reply, TaskReply { after_ms: 50, outcome: TaskOutcome::Success(br#"{"n":1.10}"#.to_vec()) });
        let input = br#"{"ms":0}"#;
        assert_eq!(call("native:delay", input, 0), Some(TaskReply::success(&input[..])));
    }

    #[test]
    fn fail_n_times_counts_attempts() {
        let input = br#"{"times":2,"error":"Busy","cause":"later","reply":7}"#;
        for attempt in 0..2 {
            assert_eq!(call("native:fail-n-times", input, attempt), Some(TaskReply::failure("Busy", "later")));
        }
        assert_eq!(call("native:fail-n-times", input, 2), Some(TaskReply::success("7")));
    }

    #[test]
    fn inputs_that_cannot_be_read_are_errors_of_the_task() {
        for (resource, input) in [
            ("native:delay", "{}"),
            ("native:delay", "3"),
            ("native:delay", r#"{"ms":300001}"#),
            ("native:fail-n-times", "[]"),
            ("native:fail-n-times", r#"{"times":-1}"#),
        ] {
            let reply = call(resource, input.as_bytes(), 0).expect("known");
            assert!(matches!(reply.outcome, TaskOutcome::Failure { ref error, .. } if error == BAD_INPUT), "{resource} {input}");
        }
    }

    #[test]
    fn unknown_handlers_are_not_answered() {
        assert_eq!(call("native:nothing", b"{}", 0), None);
        assert!(NAMES.iter().all(|name| is_known(name) && name.starts_with(PREFIX) && call(name, b"{}", 0).is_some()));
    }
}
