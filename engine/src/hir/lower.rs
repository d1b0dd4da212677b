//! Text → ast → hir in one call; the only constructor of a [`StateMachine`].

use std::collections::HashMap;

use crate::asl;
use crate::asl::ast;
use crate::diagnostic::{Diagnostic, Severity};

use super::findings::Findings;
use super::limits::COUNT_MAX;
use super::{
    Assign, Catcher, Choice, ChoiceRule, Concurrency, DataPath, Fail, Map, Path, ResultPath, Retrier, State, StateId, StateKind, StateMachine, SubMachine,
    Task, Transition, Wait, WorkflowType, errors, fields, graph, resource, support, variables,
};

/// A valid definition with the warnings about it.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The definition.
    pub machine: StateMachine,
    /// Findings that do not refuse it, in the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// Parses and lowers a definition by the rules of `workflow_type`.
///
/// ```
/// use expressway_engine::hir::{WorkflowType, lower};
///
/// let text = r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}"#;
/// let findings = lower(text, WorkflowType::Express).unwrap_err();
/// assert_eq!(findings[0].to_string(), "MISSING_TRANSITION_TARGET: Missing 'Next' target: B at /States/A/Next");
/// ```
///
/// # Errors
/// All findings in the order of the text, warnings included; at least one is an error.
pub fn lower(text: &str, workflow_type: WorkflowType) -> Result<Lowered, Vec<Diagnostic>> {
    let (tree, diagnostics) = asl::parse(text);
    let mut findings = Findings::new(text, diagnostics);
    if let Some(tree) = &tree {
        fields::check(&tree.body, &mut findings);
        graph::check(&tree.body, &mut findings);
        variables::check(&tree.body, &mut findings);
        errors::check(&tree.body, &mut findings);
        support::check(tree, workflow_type, &mut findings);
    }
    let findings = findings.into_sorted();
    match tree {
        Some(tree) if findings.iter().all(|finding| finding.severity == Severity::Warning) => {
            Ok(Lowered { machine: machine(tree, workflow_type), warnings: findings })
        }
        _ => Err(findings),
    }
}

const CHECKED: &str = "a definition without errors has every required field, with a value that was understood";

/// Builds the lowered form of a tree about which there is no error.
fn machine(tree: ast::StateMachine, workflow_type: WorkflowType) -> StateMachine {
    let mut builder = Builder { states: Vec::new() };
    let root = builder.sub_machine(tree.body, false);
    let states = builder.states.into_iter().map(|state| state.expect("every reserved place was filled")).collect();
    StateMachine { workflow_type, comment: tree.comment, timeout_seconds: tree.timeout_seconds, root, states }
}

/// The states of one level by name.
type Names = HashMap<String, StateId>;

#[derive(Debug)]
struct Builder {
    /// Places are reserved level by level, then filled.
    states: Vec<Option<State>>,
}

impl Builder {
    fn sub_machine(&mut self, body: ast::SubMachine, sees_outer: bool) -> SubMachine {
        let first = self.states.len();
        let id = |index: usize| StateId(u32::try_from(first + index).expect("a definition of a mebibyte has fewer states"));
        let names: Names = body.states.iter().enumerate().map(|(index, state)| (state.name.value.clone(), id(index))).collect();
        let states = (0..body.states.len()).map(id).collect();
        let variables = variables::assigned(&body).into_iter().map(str::to_owned).collect();
        self.states.resize_with(first + body.states.len(), || None);
        for (index, state) in body.states.into_iter().enumerate() {
            let state = self.state(state, &names);
            self.states[first + index] = Some(state);
        }
        SubMachine { start: target(&names, body.start_at), states, variables, sees_outer }
    }

    fn state(&mut self, state: ast::State, names: &Names) -> State {
        let state_type = state.state_type.expect(CHECKED);
        let not_run = support::not_run(&state);
        let mut fields = *state.fields;
        let transition = match (fields.next.take(), fields.end) {
            (Some(next), _) => Some(Transition::Next(target(names, Some(next)))),
            (None, Some(true)) => Some(Transition::End),
            (None, _) => None,
        };
        let is_map = state_type == ast::StateType::Map;
        // On a Map, Parameters is the old spelling of ItemSelector (spec/asl.md 1.3).
        let (parameters, item_selector) =
            if is_map { (None, fields.item_selector.take().or_else(|| fields.parameters.take())) } else { (fields.parameters.take(), None) };
        fields.item_selector = item_selector;
        State {
            name: state.name.value,
            transition,
            input_path: fields.input_path.take().unwrap_or_else(whole),
            output_path: fields.output_path.take().unwrap_or_else(whole),
            parameters,
            result_selector: fields.result_selector.take(),
            result_path: fields.result_path.take().unwrap_or_else(replace),
            assign: fields.assign.take().map(assign),
            reads: variables::read(&state.variables),
            retriers: std::mem::take(&mut fields.retriers).into_iter().map(retrier).collect(),
            catchers: std::mem::take(&mut fields.catchers).into_iter().map(|entry| catcher(entry, names)).collect(),
            not_run,
            kind: self.kind(state_type, fields, names),
        }
    }

    fn kind(&mut self, state_type: ast::StateType, fields: ast::Fields, names: &Names) -> StateKind {
        match state_type {
            ast::StateType::Pass => StateKind::Pass { result: fields.result },
            ast::StateType::Task => StateKind::Task(task(fields)),
            ast::StateType::Choice => StateKind::Choice(choice(fields, names)),
            ast::StateType::Wait => StateKind::Wait(wait(fields)),
            ast::StateType::Succeed => StateKind::Succeed,
            ast::StateType::Fail => StateKind::Fail(Fail { error: fields.error, cause: fields.cause }),
            ast::StateType::Parallel => {
                let branches = fields.branches.expect(CHECKED);
                StateKind::Parallel { branches: branches.into_iter().map(|branch| self.sub_machine(branch, true)).collect() }
            }
            ast::StateType::Map => {
                let processor = fields.item_processor.expect(CHECKED);
                let is_distributed = processor.is_distributed();
                StateKind::Map(Map {
                    processor: self.sub_machine(processor, !is_distributed),
                    items_path: fields.items_path.unwrap_or_else(Path::identity),
                    item_selector: fields.item_selector,
                    max_concurrency: fields.max_concurrency.unwrap_or(Concurrency::Literal(0)),
                })
            }
        }
    }
}

fn target(names: &Names, name: Option<ast::Located<String>>) -> StateId {
    let name = name.expect(CHECKED).value;
    *names.get(&name).expect("a definition without errors has no dangling target")
}

fn whole() -> DataPath {
    DataPath::Path(Path::identity())
}

fn replace() -> ResultPath {
    ResultPath::Path(Path::identity())
}

fn task(fields: ast::Fields) -> Task {
    let text = fields.resource.expect(CHECKED).value;
    let (resource, _) = resource::classify(&text).expect("a resource that cannot be classified is an error");
    Task { resource, timeout: fields.timeout, heartbeat: fields.heartbeat.map(|heartbeat| heartbeat.value), role_arn: fields.role_arn }
}

fn choice(fields: ast::Fields, names: &Names) -> Choice {
    let rule =
        |rule: ast::ChoiceRule| ChoiceRule { condition: rule.condition.expect(CHECKED), assign: rule.assign.map(assign), next: target(names, rule.next) };
    Choice { rules: fields.choices.into_iter().map(rule).collect(), default: fields.default.map(|default| target(names, Some(default))) }
}

fn wait(fields: ast::Fields) -> Wait {
    match (fields.seconds, fields.seconds_path, fields.timestamp) {
        (Some(seconds), ..) => Wait::Seconds(seconds),
        (None, Some(path), _) => Wait::SecondsPath(path),
        (None, None, Some(timestamp)) => Wait::Timestamp(timestamp),
        (None, None, None) => Wait::TimestampPath(fields.timestamp_path.expect(CHECKED)),
    }
}

fn assign(entry: ast::Assign) -> Assign {
    Assign(entry.variables.into_iter().map(|(name, value)| (name.value, value.expect(CHECKED))).collect())
}

fn error_names(entry: Option<ast::ErrorEquals>) -> Vec<String> {
    entry.expect(CHECKED).value.into_iter().map(|name| name.value).collect()
}

fn retrier(entry: ast::Retrier) -> Retrier {
    Retrier {
        error_equals: error_names(entry.error_equals),
        interval_seconds: entry.interval_seconds.unwrap_or(1),
        max_attempts: entry.max_attempts.unwrap_or(3).min(COUNT_MAX),
        backoff_rate: entry.backoff_rate.unwrap_or(2.0),
        max_delay_seconds: entry.max_delay_seconds.map(|delay| delay.value),
        full_jitter: entry.full_jitter,
    }
}

fn catcher(entry: ast::Catcher, names: &Names) -> Catcher {
    Catcher {
        error_equals: error_names(entry.error_equals),
        result_path: entry.result_path.unwrap_or_else(replace),
        assign: entry.assign.map(assign),
        next: target(names, entry.next),
    }
}
