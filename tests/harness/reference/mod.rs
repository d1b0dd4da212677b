//! A second interpreter of the States Language, slow and plain, to hold the engine against.
//!
//! It is written from the specification (spec/asl.md) alone and shares no line with the engine: it walks the definition's JSON as it stands, reads each path and each call anew whenever it meets them, and clones freely. Where the specification leaves a text open, the text holds [`OPEN`], which stands for any text; [`same_text`] and [`same_value`] know it.
//!
//! A branch is a future on virtual time ([`world`]): [`machine`] walks the states, [`data`] makes a state's data of its fields, [`path`], [`choice`], [`intrinsic`] and [`scalar`] are the parts of the language. It trusts its definition, which the engine's front end has accepted.

pub mod choice;
pub mod data;
pub mod intrinsic;
pub mod machine;
pub mod path;
pub mod scalar;
pub mod world;

use std::cell::{Cell, RefCell};

use serde_json::Value;

use world::{Failure, World};

/// Stands for a text that the specification leaves open.
pub const OPEN: &str = "\u{fffc}";

/// Most states that one execution enters before it counts as one that never ends.
const ENTERED_MAX: usize = 200_000;

/// Longest life of an Express execution.
const EXPRESS_MS: u64 = 300_000;

/// Everything about an execution but its tasks.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The definition.
    pub definition: Value,
    /// The input.
    pub input: Value,
    /// Whether it is of the Express type.
    pub express: bool,
    /// When it starts, in milliseconds since the epoch.
    pub start_ms: u64,
    /// The execution's name.
    pub name: String,
    /// The state machine's name.
    pub machine: String,
    /// The account of its ARNs.
    pub account: String,
    /// Its role.
    pub role_arn: String,
}

/// A call of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The Task state.
    pub state: String,
    /// Its `Resource`.
    pub resource: String,
    /// Its input.
    pub input: Value,
    /// Retries so far in this visit of the state.
    pub attempt: u64,
}

/// How a task answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// With a result, after some milliseconds.
    Return(Value, u64),
    /// With an error and perhaps a cause, after some milliseconds.
    Throw(String, Option<String>, u64),
    /// Not at all.
    Silence,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// `SUCCEEDED`, `FAILED` or `TIMED_OUT`.
    pub status: &'static str,
    /// The output of one that succeeded.
    pub output: Option<Value>,
    /// The error name of one that did not.
    pub error: Option<String>,
    /// Its cause.
    pub cause: Option<String>,
    /// Virtual milliseconds from start to end.
    pub took_ms: u64,
    /// Whether two branches failed at one instant, so that either error is right.
    pub tied: bool,
    /// The states that were entered; those of branches that run side by side in no fixed order.
    pub entered: Vec<String>,
    /// Whether branches have run side by side.
    pub concurrent: bool,
    /// Whether a branch failed beside others, which had come as far as they had.
    pub aborted: bool,
}

/// Why an execution has no end here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The player of the tasks refused a call, or nothing can ever happen again.
    Refused(String),
    /// The definition uses what this interpreter does not have.
    Unsupported(String),
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(reason),
            Self::Unsupported(what) => write!(f, "the reference interpreter does not have {what}"),
        }
    }
}

/// The player of the tasks.
pub type Tasks<'t> = dyn FnMut(&Call) -> Result<Answer, String> + 't;

/// Runs one execution to its end.
///
/// # Errors
/// [`Unfit`] when the execution cannot be judged here.
pub fn run(setup: &Setup, tasks: &mut Tasks<'_>) -> Result<Ended, Unfit> {
    let world = World {
        setup: setup.clone(),
        now: Cell::new(setup.start_ms),
        timers: RefCell::default(),
        events: Cell::new(0),
        concurrent: Cell::new(false),
        entered: RefCell::default(),
        tied: Cell::new(false),
        aborted: Cell::new(false),
        unfit: RefCell::default(),
        tasks: RefCell::new(tasks),
    };
    let limit = setup.definition["TimeoutSeconds"].as_u64().map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000));
    let limit = if setup.express { limit.min(EXPRESS_MS) } else { limit };
    world.event();
    let whole = machine::run(&world, setup.definition.clone(), setup.input.clone(), machine::Scope::default());
    let ended = world.drive(whole, setup.start_ms.saturating_add(limit));
    if let Some(unfit) = world.unfit.take() {
        return Err(unfit);
    }
    let (status, output, failure) = match ended {
        Some(Ok(output)) => ("SUCCEEDED", Some(output), Failure { error: None, cause: None }),
        Some(Err(failure)) => ("FAILED", None, failure),
        None => ("TIMED_OUT", None, Failure { error: setup.express.then(|| "States.Timeout".to_owned()), cause: Some(OPEN.to_owned()) }),
    };
    Ok(Ended {
        status,
        output,
        error: failure.error,
        cause: failure.cause,
        took_ms: world.now.get() - setup.start_ms,
        tied: world.tied.get(),
        entered: world.entered.take(),
        concurrent: world.concurrent.get(),
        aborted: world.aborted.get(),
    })
}

/// Whether `actual` is `expected`, in which [`OPEN`] stands for any text.
#[must_use]
pub fn same_text(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split(OPEN);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = actual.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.split_at(at + part.len()).1;
    }
    true
}

/// Whether two values are the same: members unordered, numbers by value, open texts matched.
#[must_use]
pub fn same_value(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_value(value, other))),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Number(a), Value::Number(b)) => scalar::compare_numbers(a, b).is_some_and(std::cmp::Ordering::is_eq),
        (Value::String(a), Value::String(b)) => same_text(a, b),
        _ => expected == actual,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn open_texts_stand_for_any_text_and_nothing_else_does() {
        assert!(same_text("a", "a") && !same_text("a", "ab") && !same_text("b", "ab"));
        assert!(same_text(&format!("a{OPEN}c"), "abbc") && !same_text(&format!("a{OPEN}c"), "abb"));
        assert!(same_text(&format!("a{OPEN}b{OPEN}"), "axby") && !same_text(&format!("a{OPEN}b{OPEN}"), "axy"));
        assert!(same_text(OPEN, "") && same_text(OPEN, "x"));
    }

    #[test]
    fn values_are_compared_by_number_and_without_order() {
        assert!(same_value(&json!({"a": 1, "b": [2.0]}), &json!({"b": [2], "a": 1.0})));
        assert!(!same_value(&json!({"a": 1}), &json!({"a": 1, "b": 1})));
        assert!(!same_value(&json!([1, 2]), &json!([2, 1])));
        assert!(!same_value(&json!("1"), &json!(1)));
    }
}
