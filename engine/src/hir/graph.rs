//! Transitions: their targets, unique names, reachability, terminal states.

use std::collections::{HashMap, HashSet};

use crate::asl::ast::{Located, State, StateType, SubMachine};
use crate::diagnostic::{Code, Severity, instead};

use super::findings::Findings;

/// How bad a state is that nothing leads to. AWS refuses such a definition; running it does no harm.
const UNREACHABLE: Severity = Severity::Warning;

/// How bad a workflow without a terminal state is: AWS refuses it.
const ENDLESS: Severity = Severity::Error;

/// Missing targets of one level whose spelling is compared with its states: a person reads no more of them.
const HINTS_MAX: usize = 100;

/// Reports the faults of the whole graph.
pub(super) fn check(body: &SubMachine, findings: &mut Findings<'_>) {
    let mut names = HashSet::new();
    check_names(body, &mut names, findings);
    check_targets(body, &names, findings);
    if may_end(body) {
        check_reachability(body, findings);
    } else {
        findings.without_place(ENDLESS, Code::MissingEndState, "Workflow has no terminal state");
    }
    body.states.iter().flat_map(State::inner).for_each(|inner| check_ends(inner, findings));
}

/// Warns of branches and processors that never end; what the service says of them is not recorded.
fn check_ends(body: &SubMachine, findings: &mut Findings<'_>) {
    if !may_end(body) {
        findings.warning(Code::MissingEndState, &body.place, "No state here ends the branch or iteration");
    }
    body.states.iter().flat_map(State::inner).for_each(|inner| check_ends(inner, findings));
}

/// Whether a state of this level ends it, or lacks so much that this cannot be told.
fn may_end(body: &SubMachine) -> bool {
    let here: HashSet<&str> = body.states.iter().map(|state| state.name.value.as_str()).collect();
    body.states.is_empty() || body.states.iter().any(|state| is_terminal(state) || is_open(state, &here))
}

/// Names are unique in the whole definition, whatever the level.
fn check_names<'a>(body: &'a SubMachine, names: &mut HashSet<&'a str>, findings: &mut Findings<'_>) {
    for state in &body.states {
        if !names.insert(&state.name.value) {
            findings.error(Code::DuplicateStateName, &state.name.place, format!("Duplicate State name: {}", state.name.value));
        }
        for inner in state.inner() {
            check_names(inner, names, findings);
        }
    }
}

/// Every target is a state of the same level.
fn check_targets(body: &SubMachine, everywhere: &HashSet<&str>, findings: &mut Findings<'_>) {
    let mut known = HashSet::new();
    let here: Vec<&str> = body.states.iter().map(|state| state.name.value.as_str()).filter(|name| known.insert(*name)).collect();
    let mut shown = 0;
    for target in body.start_at.iter().chain(body.states.iter().flat_map(targets)) {
        let name = target.value.as_str();
        if known.contains(name) {
            continue;
        }
        let hint = if everywhere.contains(name) {
            Some("a state of this name is on another level; transitions never cross the border of a Branch or ItemProcessor".to_owned())
        } else {
            (shown < HINTS_MAX).then(|| instead(name, &here, "states on this level"))
        };
        shown += 1;
        findings.error(Code::MissingTransitionTarget, &target.place, format!("Missing 'Next' target: {name}")).hint = hint;
    }
    for inner in body.states.iter().flat_map(State::inner) {
        check_targets(inner, everywhere, findings);
    }
}

/// Where a state may go on.
pub(super) fn targets(state: &State) -> impl Iterator<Item = &Located<String>> {
    let fields = &state.fields;
    let rules = fields.choices.iter().filter_map(|rule| rule.next.as_ref());
    let catchers = fields.catchers.iter().filter_map(|catcher| catcher.next.as_ref());
    fields.next.iter().chain(&fields.default).chain(rules).chain(catchers)
}

/// A state that goes nowhere, or to a state that is not there, may be meant to end: its fault is reported already.
fn is_open(state: &State, here: &HashSet<&str>) -> bool {
    let mut targets = targets(state).peekable();
    targets.peek().is_none() || targets.any(|target| !here.contains(target.value.as_str()))
}

/// A state whose type is unknown is given the benefit of the doubt: its fault is reported already.
fn is_terminal(state: &State) -> bool {
    let ends_by_type = state.state_type.is_none_or(|state_type| matches!(state_type, StateType::Succeed | StateType::Fail));
    ends_by_type || (state.key("End").is_some() && state.fields.end != Some(false))
}

fn check_reachability(body: &SubMachine, findings: &mut Findings<'_>) {
    let Some(start) = &body.start_at else { return };
    let states: HashMap<&str, &State> = body.states.iter().map(|state| (state.name.value.as_str(), state)).collect();
    let mut reached = HashSet::new();
    let mut open = vec![start.value.as_str()];
    while let Some(name) = open.pop() {
        if let Some(state) = states.get(name).filter(|_| reached.insert(name)) {
            open.extend(targets(state).map(|target| target.value.as_str()));
        }
    }
    for state in &body.states {
        if !reached.contains(state.name.value.as_str()) {
            findings.report(UNREACHABLE, Code::MissingTransitionTarget, &state.name.place, format!("State \"{}\" is not reachable.", state.name.value));
        }
        for inner in state.inner() {
            check_reachability(inner, findings);
        }
    }
}
