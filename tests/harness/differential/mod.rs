//! The engine against the [reference interpreter](crate::reference): one definition, one input and one way of answering tasks made from bytes, run on both, compared.
//!
//! [`source`] turns bytes into choices, [`generate`] choices into definitions and [`data`] into inputs and answers, [`drive`] runs the engine on virtual time. The bytes come from a property test or from a fuzzer; the same bytes make the same trial, so a finding is kept as a file of bytes.

pub mod data;
pub mod drive;
pub mod generate;
pub mod source;

use std::fmt::Write as _;

use serde_json::Value;

use crate::reference::{self, Call, Ended, Setup, same_text, same_value};
use source::Source;

/// When every trial starts: 2026-11-20T12:00:00Z.
pub const START_MS: u64 = 1_795_176_000_000;

/// One trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Definition, input and names.
    pub setup: Setup,
    /// What the answers of tasks depend on, besides the call.
    pub answers: u64,
}

/// What became of a trial without a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// Both ended so.
    On(&'static str),
    /// Branches failed at one instant: the order of their errors is open, and nothing was compared.
    Tied,
}

/// The trial that `bytes` make.
#[must_use]
pub fn trial(bytes: &[u8]) -> Trial {
    let mut source = Source::new(bytes);
    let answers = u64::from(source.byte());
    let input = data::input(&mut source);
    let setup = Setup {
        definition: generate::definition(&mut source),
        input,
        express: true,
        start_ms: START_MS,
        name: "trial".to_owned(),
        machine: "machine".to_owned(),
        account: "000000000000".to_owned(),
        role_arn: String::new(),
    };
    Trial { setup, answers }
}

/// Runs the trial that `bytes` make on both.
///
/// # Errors
/// Describes trial and difference.
pub fn check(bytes: &[u8]) -> Result<Agreed, String> {
    let trial = trial(bytes);
    run(&trial).map_err(|difference| {
        let mut text = difference;
        let written = write!(text, "\ninput {}\nanswers {}\ndefinition {:#}", trial.setup.input, trial.answers, trial.setup.definition);
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        text
    })
}

/// Runs a trial on both.
///
/// # Errors
/// Describes the difference.
pub fn run(trial: &Trial) -> Result<Agreed, String> {
    let mut tasks = |call: &Call| Ok(data::answer(trial.answers, call));
    let expected = reference::run(&trial.setup, &mut tasks).map_err(|unfit| format!("the reference did not end: {unfit}"))?;
    let actual = drive::run(&trial.setup, &mut |call| data::answer(trial.answers, call))?;
    if expected.tied {
        return Ok(Agreed::Tied);
    }
    compare(&expected, &actual).map(|()| Agreed::On(expected.status))
}

fn compare(expected: &Ended, actual: &Ended) -> Result<(), String> {
    let texts = |expected: &Option<String>, actual: &Option<String>| match (expected, actual) {
        (Some(expected), Some(actual)) => same_text(expected, actual),
        (None, None) => true,
        // A cause that is left open may be absent.
        (Some(expected), None) => expected == reference::OPEN,
        (None, Some(_)) => false,
    };
    let outputs = match (&expected.output, &actual.output) {
        (Some(expected), Some(actual)) => same_value(expected, actual),
        (expected, actual) => expected.is_none() && actual.is_none(),
    };
    let path = |ended: &Ended| {
        let mut entered = ended.entered.clone();
        if expected.concurrent {
            entered.sort_unstable();
        }
        entered
    };
    let failures = texts(&expected.error, &actual.error) && texts(&expected.cause, &actual.cause);
    if expected.status == actual.status && outputs && failures && expected.took_ms == actual.took_ms && (expected.aborted || path(expected) == path(actual)) {
        return Ok(());
    }
    let shown = |ended: &Ended| {
        let output = ended.output.as_ref().map(Value::to_string);
        format!(
            "{} after {} ms\n  by {:?}\n  output {output:?}\n  error {:?}\n  cause {:?}",
            ended.status, ended.took_ms, ended.entered, ended.error, ended.cause
        )
    };
    Err(format!("the reference: {}\nthe engine: {}", shown(expected), shown(actual)))
}
