//! What may run where: the rules that hold only for Express workflows (spec/asl.md 5, 7), and the refusals of what this engine cannot run although AWS can.
//!
//! The two are told apart by their code: the first are AWS's findings, the second are [`Code::NotSupportedHere`](crate::diagnostic::Code::NotSupportedHere).

use crate::asl::ast::{Located, Place, QueryLanguage, State, StateMachine, StateType, SubMachine};
use crate::diagnostic::Code;

use super::fields::DISTRIBUTED_ONLY;
use super::findings::Findings;
use super::resource::{self, Pattern};
use super::{ResourceKind, WorkflowType};

/// Reports what the workflow type forbids and what the engine lacks.
pub(super) fn check(machine: &StateMachine, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    if let Some(language) = machine.query_language.as_ref().filter(|language| language.value == QueryLanguage::Jsonata) {
        findings.not_supported_here(&language.place, "The query language JSONata");
    }
    check_states(&machine.body, workflow_type, findings);
}

fn check_states(body: &SubMachine, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    for state in &body.states {
        if let Some(language) = state.own_query_language.as_ref().filter(|language| language.value == QueryLanguage::Jsonata) {
            findings.not_supported_here(&language.place, "The query language JSONata");
        }
        if let Some(resource) = state.fields.resource.as_ref().filter(|_| state.state_type == Some(StateType::Task)) {
            check_resource(state, resource, workflow_type, findings);
        }
        if state.state_type == Some(StateType::Map) {
            check_mode(state, workflow_type, findings);
        }
        if state.state_type == Some(StateType::Choice) && state.key("Choices").is_some() && state.key("Default").is_none() {
            findings.warning(Code::ChoiceWithoutDefault, &state.place, "The Choice has no Default: when no rule matches, the execution fails");
        }
        for inner in state.inner() {
            check_states(inner, workflow_type, findings);
        }
    }
}

fn check_resource(state: &State, resource: &Located<String>, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    let (kind, pattern) = match resource::classify(&resource.value) {
        Ok((resource, pattern)) => (resource.kind, pattern),
        Err(message) => {
            findings.schema(&resource.place, message);
            return;
        }
    };
    if let Some(key) = state.key("Credentials").filter(|_| kind == ResourceKind::Activity) {
        let place = Place { pointer: format!("{}/Credentials", state.place.pointer), offset: key.offset };
        findings.schema(&place, "The field 'Credentials' is not supported for activities");
    }
    match lacking(kind, pattern) {
        None => {}
        Some(what) if workflow_type == WorkflowType::Standard => findings.fails_here(&resource.place, what.name),
        Some(what) => {
            findings.schema(&resource.place, what.express);
        }
    }
}

/// A form of a Task that only Standard workflows have.
struct Lacking {
    name: &'static str,
    /// AWS's text where an Express workflow has it.
    express: &'static str,
}

fn lacking(kind: ResourceKind, pattern: Pattern) -> Option<Lacking> {
    match (kind, pattern) {
        (ResourceKind::Activity, _) => Some(Lacking { name: "An activity", express: "Express state machine does not support Activity ARN" }),
        (_, Pattern::Job) => {
            Some(Lacking { name: "A '.sync' service integration", express: "Express state machine does not support '.sync' service integration" })
        }
        (_, Pattern::Callback) => Some(Lacking {
            name: "A '.waitForTaskToken' service integration",
            // The trailing blank is the service's own.
            express: "Express state machine does not support '.waitForTaskToken' service integration ",
        }),
        (_, Pattern::Request) => None,
    }
}

/// What a valid state has that this engine does not run; [`lower`](super::lower) lets such a state through in Standard workflows only.
pub(super) fn not_run(state: &State) -> Option<&'static str> {
    match state.state_type? {
        StateType::Task => {
            let (resource, pattern) = resource::classify(&state.fields.resource.as_ref()?.value).ok()?;
            lacking(resource.kind, pattern).map(|what| what.name)
        }
        StateType::Map if state.fields.item_processor.as_ref().is_some_and(SubMachine::is_distributed) => Some(DISTRIBUTED),
        StateType::Map => DISTRIBUTED_WORK.into_iter().find(|(field, _)| state.key(field).is_some()).map(|(_, what)| what),
        _ => None,
    }
}

const DISTRIBUTED: &str = "A Map in DISTRIBUTED mode";

/// Fields of the distributed mode that change what a Map does.
const DISTRIBUTED_WORK: [(&str, &str); 3] =
    [("ItemReader", "A Map with ItemReader"), ("ItemBatcher", "A Map with ItemBatcher"), ("ResultWriter", "A Map with ResultWriter")];

fn check_mode(state: &State, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    let config = state.fields.item_processor.as_ref().and_then(|processor| processor.processor.as_ref());
    match config.and_then(|config| config.distributed.as_ref()) {
        Some(mode) if workflow_type == WorkflowType::Express => {
            findings.schema(mode, "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines");
        }
        Some(mode) => findings.fails_here(mode, DISTRIBUTED),
        None => check_inline(state, workflow_type, findings),
    }
}

/// Fields of the distributed mode on an inline Map: those that would change its result are refused, the service accepts the others and ignores them.
fn check_inline(state: &State, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    for key in state.keys.iter().filter(|key| DISTRIBUTED_ONLY.contains(&key.name.as_str())) {
        let place = Place { pointer: format!("{}/{}", state.place.pointer, key.name), offset: key.offset };
        match DISTRIBUTED_WORK.into_iter().find(|(field, _)| *field == key.name) {
            Some((_, what)) if workflow_type == WorkflowType::Standard => findings.fails_here(&place, what),
            Some((_, what)) => findings.not_supported_here(&place, what),
            None => {
                findings.warning(Code::FieldWithoutEffect, &place, format!("Field '{}' has no effect on a Map that is not in DISTRIBUTED mode", key.name));
            }
        }
    }
}
