//! Judges the project's own cases by the [reference interpreter](crate::reference), so that the reference itself is judged.

use expressway_ingest::authoring;
use serde_json::{Value, json};

use super::answer::Answers;
use super::case::Case;
use super::judge::{Reason, Verdict};
use super::run;
use crate::reference::{self, Answer, Call, Setup, Unfit, same_text, same_value};

/// Behind the name of a group, the same cases by the reference.
pub const SUFFIX: &str = "@reference";

/// The account of own cases.
const ACCOUNT: &str = "000000000000";

/// The verdict on what the reference makes of an own case; `None` when the case asks for no execution.
#[must_use]
pub fn judge(case: &Case) -> Option<Verdict> {
    let expect = case.field("expect");
    if !case.own || expect.get("refused").is_some() || case.uses_jsonata() {
        return None;
    }
    let setup = setup(case)?;
    let mut answers = Answers::new(case);
    let ended = reference::run(&setup, &mut |call| answer(&mut answers, call));
    let differs = match ended {
        Err(Unfit::Unsupported(_)) => return Some(Verdict::NotApplicable(Reason::Random)),
        Err(unfit) => Err(unfit.to_string()),
        Ok(ended) => compare(expect, &ended).and_then(|()| answers.finish()),
    };
    Some(differs.map_or_else(Verdict::Failed, |()| Verdict::Passed))
}

fn setup(case: &Case) -> Option<Setup> {
    let express = case.text("type") != "STANDARD";
    let machine = case.state_machine();
    Some(Setup {
        definition: serde_json::from_str(&case.definition()?).ok()?,
        input: case.field("input").clone(),
        express,
        start_ms: run::START.0,
        name: authoring::case::Case::from_value(&case.body).ok()?.execution,
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/{machine}"),
        machine: machine.to_owned(),
        account: ACCOUNT.to_owned(),
    })
}

fn answer(answers: &mut Answers<'_>, call: &Call) -> Result<Answer, String> {
    let input = call.input.to_string();
    Ok(match answers.answer(&run::Call { state: &call.state, resource: &call.resource, input: input.as_bytes() })? {
        // A reply that is no JSON is a failure of the task.
        run::Answer::Return(result, after_ms) => match serde_json::from_slice(&result) {
            Ok(result) => Answer::Return(result, after_ms),
            Err(_) => Answer::Throw("States.TaskFailed".to_owned(), Some(reference::OPEN.to_owned()), after_ms),
        },
        run::Answer::Throw(error, cause, after_ms) => Answer::Throw(error, cause, after_ms),
        run::Answer::Silence => Answer::Silence,
    })
}

fn compare(expect: &Value, ended: &reference::Ended) -> Result<(), String> {
    let shown = || format!("the reference ended {}, expected {expect}", json!([ended.status, ended.took_ms, ended.output, ended.error, ended.cause]));
    let output = match (&ended.output, expect.get("output")) {
        (Some(output), Some(expected)) => same_value(output, expected),
        // A case that names no output leaves it open.
        (_, expected) => expected.is_none(),
    };
    let cause = match (&ended.cause, expect["cause"].as_str()) {
        _ if expect["cause_unpinned"] == true => true,
        (Some(cause), Some(expected)) => same_text(cause, expected),
        (cause, expected) => cause.is_none() && expected.is_none(),
    };
    let took = expect["took_ms"].as_u64().is_none_or(|took_ms| took_ms == ended.took_ms);
    let holds = expect["status"] == ended.status && took && output && cause && expect["error"].as_str() == ended.error.as_deref();
    if holds { Ok(()) } else { Err(shown()) }
}
