//! Judges bare path expressions: each is what a payload template reads from the case's document, and the answer is compared with that of the Java library behind the service's paths.
//!
//! Two differences are the service's own: an indefinite path gives `[]` where the library finds no path, and forms that the service's documentation does not list may be refused.

use expressway_engine::hir::{self, WorkflowType};
use expressway_engine::{Deployment, Silent, compile};
use serde_json::{Value, json};

use super::case::Case;
use super::compare::Bindings;
use super::judge::{Reason, Verdict};
use super::run;

/// What a path gives.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It is no path.
    Refused,
    /// It names one value, which is not there.
    Missing,
    /// This.
    Value(Value),
}

/// Judges the selector of a case, and its filter in parentheses where the case has that form too.
pub(super) fn judge(case: &Case) -> Verdict {
    let document = case.body.get("document").cloned().unwrap_or_else(|| json!({}));
    let plain = (case.text("selector"), case.field("jayway"));
    let in_parentheses = case.field("jayway_parenthesised");
    let mut refused_only = false;
    for (selector, recorded) in [plain, (in_parentheses["selector"].as_str().unwrap_or_default(), in_parentheses)] {
        if recorded.is_null() {
            continue;
        }
        let expected = library(recorded);
        let found = match ask(selector, &document) {
            Ok(found) => found,
            Err(problem) => return Verdict::Failed(format!("{selector}: {problem}")),
        };
        match (&found, &expected) {
            (Answer::Value(found), Answer::Value(expected)) => {
                if let Err(difference) = Bindings::default().compare(expected, found) {
                    return Verdict::Failed(format!("{selector}: {difference}"));
                }
            }
            (Answer::Refused, other) if *other != Answer::Refused && is_undocumented(selector) => refused_only = true,
            // What cannot be compiled and what finds nothing ends the execution either way.
            (Answer::Refused, Answer::Missing) => {}
            (found, expected) if found == expected => {}
            (found, expected) => return Verdict::Failed(format!("{selector}: {found:?}, expected {expected:?}")),
        }
    }
    if refused_only { Verdict::NotApplicable(Reason::Undocumented) } else { Verdict::Passed }
}

/// What the library said.
fn library(recorded: &Value) -> Answer {
    if recorded.get("compile_error").is_some() {
        return Answer::Refused;
    }
    match recorded.get("value") {
        Some(value) => Answer::Value(value.clone()),
        None if recorded["definite"] == false => Answer::Value(json!([])),
        None => Answer::Missing,
    }
}

/// Whether a selector has something that the service's documentation excludes from its paths: functions, regular expressions, word operators, lists, and references out of a filter.
fn is_undocumented(selector: &str) -> bool {
    let outside = selector.strip_prefix('$').unwrap_or(selector);
    let is_function = |(at, _): (usize, &str)| outside.get(..at).is_some_and(|before| before.ends_with(|last: char| last.is_ascii_alphanumeric()));
    outside.contains('$') || outside.contains("=~") || outside.match_indices('(').any(is_function) || outside.contains("==[") || outside.contains("=={")
}

/// What the engine says.
fn ask(selector: &str, document: &Value) -> Result<Answer, String> {
    let definition = json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"v.$": selector}, "End": true}}}).to_string();
    let Ok(lowered) = hir::lower(&definition, WorkflowType::Express) else { return Ok(Answer::Refused) };
    let program = compile(&lowered.machine, &Deployment::named("paths")).map_err(|findings| format!("does not compile: {findings:?}"))?;
    let mut no_task = |_: &run::Call<'_>| Err("there is no task".to_owned());
    let ended = run::execute(&program, "path", document.to_string().as_bytes(), &mut Silent, &mut no_task)?;
    match (ended.output, ended.cause) {
        (Some(output), _) => {
            let mut output: Value = serde_json::from_slice(&output).map_err(|error| format!("the output is not JSON: {error}"))?;
            Ok(Answer::Value(output["v"].take()))
        }
        (None, Some(cause)) if cause.contains("could not be found in the input") => Ok(Answer::Missing),
        (None, cause) => Err(format!("failed: {}", cause.unwrap_or_default())),
    }
}
