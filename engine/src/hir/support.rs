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
    let is_express = workflow_type == WorkflowType::Express;
    match (kind, pattern) {
        (ResourceKind::Activity, _) if is_express => {
            findings.schema(&resource.place, "Express state machine does not support Activity ARN");
        }
        (ResourceKind::Activity, _) => findings.not_supported_here(&resource.place, "An activity"),
        (_, Pattern::Job) if is_express => {
            findings.schema(&resource.place, "Express state machine does not support '.sync' service integration");
        }
        (_, Pattern::Job) => findings.not_supported_here(&resource.place, "A '.sync' service integration"),
        (_, Pattern::Callback) if is_express => {
            // The trailing blank is the service's own.
            findings.schema(&resource.place, "Express state machine does not support '.waitForTaskToken' service integration ");
        }
        (_, Pattern::Callback) => findings.not_supported_here(&resource.place, "A '.waitForTaskToken' service integration"),
        (_, Pattern::Request) => {}
    }
}

fn check_mode(state: &State, workflow_type: WorkflowType, findings: &mut Findings<'_>) {
    let config = state.fields.item_processor.as_ref().and_then(|processor| processor.processor.as_ref());
    match config.and_then(|config| config.distributed.as_ref()) {
        Some(mode) if workflow_type == WorkflowType::Express => {
            findings.schema(mode, "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines");
        }
        Some(mode) => findings.not_supported_here(mode, "A Map in DISTRIBUTED mode"),
        None => check_inline(state, findings),
    }
}

/// Fields of the distributed mode on an inline Map: those that would change its result are refused, the service accepts the others and ignores them.
fn check_inline(state: &State, findings: &mut Findings<'_>) {
    for key in state.keys.iter().filter(|key| DISTRIBUTED_ONLY.contains(&key.name.as_str())) {
        let place = Place { pointer: format!("{}/{}", state.place.pointer, key.name), offset: key.offset };
        if matches!(key.name.as_str(), "ItemReader" | "ItemBatcher" | "ResultWriter") {
            findings.not_supported_here(&place, &format!("A Map with {}", key.name));
        } else {
            findings.warning(Code::FieldWithoutEffect, &place, format!("Field '{}' has no effect on a Map that is not in DISTRIBUTED mode", key.name));
        }
    }
}
