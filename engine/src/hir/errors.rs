//! Names of errors: those that begin with `States.` and are none of the predefined ones (spec/asl.md 8.1). They work like any other, so they are worth a warning and no more.

use std::collections::HashSet;

use crate::asl::ast::{Located, Place, State, StateType, SubMachine};
use crate::diagnostic::Code;

use super::FailText;
use super::findings::Findings;

/// The predefined names that can ever be raised or that stand for a group (spec/asl.md 8.1).
const PREDEFINED: [&str; 17] = [
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
];

/// Whether `name` is reserved for the service, and is no name that the service has.
fn is_unknown(name: &str) -> bool {
    name.starts_with("States.") && !PREDEFINED.contains(&name) && !name.starts_with("States.Http.StatusCode.")
}

/// Warns of such names where a Fail state raises them, and where a retrier or catcher waits for one that no Fail state raises.
pub(super) fn check(body: &SubMachine, findings: &mut Findings<'_>) {
    let mut raised = HashSet::new();
    check_raised(body, &mut raised, findings);
    check_awaited(body, &raised, findings);
}

/// The literal `Error` of a Fail state.
fn raised_by(state: &State) -> Option<&str> {
    match &state.fields.error {
        Some(FailText::Literal(name)) if state.state_type == Some(StateType::Fail) => Some(name),
        _ => None,
    }
}

fn check_raised<'a>(body: &'a SubMachine, raised: &mut HashSet<&'a str>, findings: &mut Findings<'_>) {
    for state in &body.states {
        if let Some(name) = raised_by(state).filter(|name| is_unknown(name)) {
            let offset = state.key("Error").map_or(state.place.offset, |key| key.offset);
            let place = Place { pointer: format!("{}/Error", state.place.pointer), offset };
            findings.warning(Code::UnknownErrorName, &place, format!("'{name}' is no predefined error name, and only those begin with 'States.'"));
            raised.insert(name);
        }
        for inner in state.inner() {
            check_raised(inner, raised, findings);
        }
    }
}

fn check_awaited(body: &SubMachine, raised: &HashSet<&str>, findings: &mut Findings<'_>) {
    for state in &body.states {
        let retriers = state.fields.retriers.iter().map(|retrier| &retrier.error_equals);
        let catchers = state.fields.catchers.iter().map(|catcher| &catcher.error_equals);
        let names = retriers.chain(catchers).flatten().flat_map(|names| &names.value);
        for Located { value: name, place } in names.filter(|name| is_unknown(&name.value) && !raised.contains(name.value.as_str())) {
            findings.warning(Code::UnknownErrorName, place, format!("'{name}' is no predefined error name, and no Fail state of this definition raises it"));
        }
        for inner in state.inner() {
            check_awaited(inner, raised, findings);
        }
    }
}
