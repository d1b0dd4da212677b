//! Which fields a state must have, may have and may not have together, per type and query language (spec/asl.md 1.2, 1.3, 7.1).

use crate::asl::ast::{Place, QueryLanguage, State, StateType, SubMachine};
use crate::diagnostic::instead;

use super::Seconds;
use super::findings::Findings;

const COMMON: [&str; 3] = ["Type", "Comment", "QueryLanguage"];

const PATHS: [&str; 2] = ["InputPath", "OutputPath"];

const TRANSITION: [&str; 2] = ["Next", "End"];

const HANDLERS: [&str; 2] = ["Retry", "Catch"];

const JSON_PATH_ONLY: [&str; 16] = [
    "InputPath",
    "OutputPath",
    "ResultPath",
    "Parameters",
    "ResultSelector",
    "Result",
    "ItemsPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "SecondsPath",
    "TimestampPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "ErrorPath",
    "CausePath",
];

const JSONATA_ONLY: [&str; 3] = ["Arguments", "Output", "Items"];

/// Fields of a Map that have an effect only in its distributed mode.
pub(super) const DISTRIBUTED_ONLY: [&str; 8] = [
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
];

/// Pairs of which at most one may be there, on any type that has them.
const EXCLUSIVE: [[&str; 2]; 7] = [
    ["TimeoutSeconds", "TimeoutSecondsPath"],
    ["HeartbeatSeconds", "HeartbeatSecondsPath"],
    ["MaxConcurrency", "MaxConcurrencyPath"],
    ["ToleratedFailureCount", "ToleratedFailureCountPath"],
    ["ToleratedFailurePercentage", "ToleratedFailurePercentagePath"],
    ["Error", "ErrorPath"],
    ["Cause", "CausePath"],
];

/// The fields of one type beyond [`COMMON`].
fn allowed(state_type: StateType) -> Vec<&'static str> {
    let groups: &[&[&str]] = match state_type {
        StateType::Task => &[
            &PATHS,
            &TRANSITION,
            &HANDLERS,
            &["Parameters", "ResultSelector", "ResultPath", "Arguments", "Output", "Assign", "Resource", "Credentials"],
            &["TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath"],
        ],
        StateType::Pass => &[&PATHS, &TRANSITION, &["Parameters", "ResultPath", "Output", "Assign", "Result"]],
        StateType::Choice => &[&PATHS, &["Output", "Assign", "Choices", "Default"]],
        StateType::Wait => &[&PATHS, &TRANSITION, &["Output", "Assign", "Seconds", "SecondsPath", "Timestamp", "TimestampPath"]],
        StateType::Succeed => &[&PATHS, &["Output"]],
        StateType::Fail => &[&["Error", "ErrorPath", "Cause", "CausePath"]],
        StateType::Parallel => &[&PATHS, &TRANSITION, &HANDLERS, &["Parameters", "ResultSelector", "ResultPath", "Arguments", "Output", "Assign", "Branches"]],
        StateType::Map => &[
            &PATHS,
            &TRANSITION,
            &HANDLERS,
            &["Parameters", "ResultSelector", "ResultPath", "Output", "Assign", "ItemProcessor", "Iterator", "ItemsPath", "Items"],
            &["ItemSelector", "MaxConcurrency", "MaxConcurrencyPath"],
            &DISTRIBUTED_ONLY,
        ],
    };
    groups.iter().flat_map(|group| group.iter().copied()).collect()
}

/// Reports the field faults of a machine and all machines inside it; the depth is bounded by the parser.
pub(super) fn check(body: &SubMachine, findings: &mut Findings<'_>) {
    for state in &body.states {
        if let Some(state_type) = state.state_type {
            check_state(state, state_type, findings);
        }
        for inner in state.inner() {
            check(inner, findings);
        }
    }
}

fn check_state(state: &State, state_type: StateType, findings: &mut Findings<'_>) {
    let allowed = allowed(state_type);
    check_allowed(state, &allowed, findings);
    for pair in EXCLUSIVE {
        at_most_one(state, &pair, findings);
    }
    if allowed.contains(&"Next") {
        check_transition(state, findings);
    }
    match state_type {
        StateType::Task => {
            require(state, "Resource", findings);
            check_heartbeat(state, findings);
        }
        StateType::Choice => require(state, "Choices", findings),
        StateType::Parallel => require(state, "Branches", findings),
        StateType::Wait => exactly_one(state, &["SecondsPath", "Seconds", "TimestampPath", "Timestamp"], findings),
        StateType::Map => check_map(state, findings),
        StateType::Pass | StateType::Succeed | StateType::Fail => {}
    }
}

fn check_allowed(state: &State, allowed: &[&str], findings: &mut Findings<'_>) {
    let other = match state.query_language {
        QueryLanguage::JsonPath => &JSONATA_ONLY[..],
        QueryLanguage::Jsonata => &JSON_PATH_ONLY[..],
    };
    for key in &state.keys {
        let name = key.name.as_str();
        let place = Place { pointer: state.place.pointer.clone(), offset: key.offset };
        if !COMMON.contains(&name) && !allowed.contains(&name) {
            let here: Vec<&str> = COMMON.iter().chain(allowed).copied().filter(|field| !other.contains(field)).collect();
            findings.schema(&place, format!("Field '{name}' is not supported")).hint = Some(instead(name, &here, "fields here"));
        } else if other.contains(&name) {
            let (own, needed) = match state.query_language {
                QueryLanguage::JsonPath => ("JSONPath", "JSONata"),
                QueryLanguage::Jsonata => ("JSONata", "JSONPath"),
            };
            findings.schema(&place, format!("The QueryLanguage is set to '{own}', but field '{name}' is only supported for the '{needed}' QueryLanguage"));
        }
    }
}

fn require(state: &State, field: &str, findings: &mut Findings<'_>) {
    if state.key(field).is_none() {
        findings.schema(&state.place, format!("These fields are required: [{field}]"));
    }
}

fn at_most_one(state: &State, fields: &[&str], findings: &mut Findings<'_>) {
    if fields.iter().filter(|field| state.key(field).is_some()).count() > 1 {
        findings.schema(&state.place, format!("There should only be one of the following fields: [{}]", fields.join(", ")));
    }
}

fn exactly_one(state: &State, fields: &[&str], findings: &mut Findings<'_>) {
    at_most_one(state, fields, findings);
    if fields.iter().all(|field| state.key(field).is_none()) {
        findings.schema(&state.place, format!("This object should have only one of the following fields: [{}]", fields.join(", ")));
    }
}

/// `Next` or `End: true`; `End: false` counts as absent, and an `End` of the wrong type has had its finding.
fn check_transition(state: &State, findings: &mut Findings<'_>) {
    let has_next = state.key("Next").is_some();
    let has_end = state.key("End").is_some() && state.fields.end != Some(false);
    if has_next && has_end {
        findings.schema(&state.place, "There should only be one of the following fields: [Next, End]");
    } else if !has_next && !has_end {
        findings.schema(&state.place, "This object should have only one of the following fields: [Next, End]");
    }
}

fn check_heartbeat(state: &State, findings: &mut Findings<'_>) {
    let Some(heartbeat) = &state.fields.heartbeat else { return };
    if let (Seconds::Literal(beat), Some(Seconds::Literal(timeout))) = (&heartbeat.value, &state.fields.timeout)
        && beat >= timeout
    {
        findings.schema(&heartbeat.place, "HeartbeatSeconds must be less than TimeoutSeconds");
    }
}

fn check_map(state: &State, findings: &mut Findings<'_>) {
    exactly_one(state, &["ItemProcessor", "Iterator"], findings);
    at_most_one(state, &["ItemSelector", "Parameters"], findings);
    let config = state.fields.item_processor.as_ref().and_then(|processor| processor.processor.as_ref());
    match config {
        Some(config) if config.distributed.is_some() && !config.has_execution_type => {
            findings.schema(&config.place, "These fields are required: [ExecutionType]");
        }
        Some(config) if config.distributed.is_none() && config.has_execution_type => {
            findings.schema(&config.place, "Field 'ExecutionType' is not supported");
        }
        _ => {}
    }
}
