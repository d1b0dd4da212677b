//! One emitter per state type.

use super::emit::{Emitter, next_id};
use crate::error;
use crate::hir::{
    Catcher, Concurrency, DataPath, Fail, FailText, Map, Resource, ResourceKind, ResultPath, Retrier, Seconds, State, StateId, StateKind, SubMachine, Task,
    Transition, Wait,
};
use crate::program::op::{AssignId, CallId, FailId, ForkId, MapId, Op, WaitId};
use crate::program::pool::{
    CallCode, CatchCode, ConcurrencyCode, FailCode, FailSide, ForkCode, InputCode, MapCode, RetryCode, SecondsCode, StateCode, StateType, WaitCode,
};
use crate::value::time;

impl Emitter<'_> {
    /// Emits the state with this index.
    pub(super) fn state(&mut self, index: usize) {
        let machine = self.machine;
        let state = &machine.states[index];
        let id = StateId(u32::try_from(index).expect("a definition of at most 1 MiB has fewer states"));
        self.scope = self.scopes.of_state(index);
        self.bind(Self::state_label(id));
        self.emit(Op::Enter { state: id });
        if !matches!(state.kind, StateKind::Fail(_)) {
            self.data_path(&state.input_path, true);
        }
        let kind = match &state.kind {
            _ if state.not_run.is_some() => self.not_run(state),
            StateKind::Pass { result } => {
                match (result, &state.parameters) {
                    (Some(literal), _) => {
                        let constant = self.constant(&literal.0);
                        self.emit(Op::Constant { constant });
                    }
                    (None, Some(parameters)) => self.build(parameters),
                    (None, None) => {}
                }
                self.result(state);
                StateType::Pass
            }
            StateKind::Succeed => {
                self.leave(state, None);
                StateType::Succeed
            }
            StateKind::Choice(choice) => {
                self.choice(choice, state);
                StateType::Choice
            }
            StateKind::Wait(wait) => {
                self.wait(wait, state);
                let assign = self.assign(state.assign.as_ref());
                self.leave(state, assign);
                StateType::Wait
            }
            StateKind::Fail(fail) => {
                self.fail(fail);
                StateType::Fail
            }
            StateKind::Task(task) => {
                self.task(task, state);
                self.result(state);
                StateType::Task
            }
            StateKind::Parallel { branches } => {
                self.parallel(branches, state);
                self.result(state);
                StateType::Parallel
            }
            StateKind::Map(map) => {
                self.map(map);
                self.result(state);
                StateType::Map
            }
        };
        let retriers = state.retriers.iter().map(retrier).collect();
        let catchers = state.catchers.iter().map(|catcher| self.catcher(catcher)).collect();
        self.states.push(StateCode { name: state.name.as_str().into(), kind, entry: Self::state_label(id).target(), retriers, catchers });
    }

    /// A state that this engine cannot run: a failure that nothing catches.
    fn not_run(&mut self, state: &State) -> StateType {
        let cause = format!("{} cannot be run by this engine.", state.not_run.unwrap_or_default());
        let fail = FailId(next_id(&self.pools.fails));
        self.pools.fails.push(FailCode { error: Some(FailSide::Literal(error::RUNTIME.into())), cause: Some(FailSide::Literal(cause.into())) });
        self.emit(Op::Fail { fail });
        if matches!(state.kind, StateKind::Map(_)) { StateType::Map } else { StateType::Task }
    }

    /// InputPath or OutputPath.
    pub(super) fn data_path(&mut self, path: &DataPath, is_input: bool) {
        match path {
            DataPath::Null => self.emit(Op::Empty),
            DataPath::Path(path) if path.is_identity() => {}
            DataPath::Path(path) => {
                let path = self.path(path);
                self.emit(if is_input { Op::Input { path } } else { Op::Output { path } });
            }
        }
    }

    /// Assign, ResultSelector, ResultPath, OutputPath, and out.
    fn result(&mut self, state: &State) {
        let assign = self.assign(state.assign.as_ref());
        if let Some(selector) = &state.result_selector {
            self.build(selector);
        }
        self.result_path(&state.result_path, state.retriers.is_empty() && state.catchers.is_empty());
        self.leave(state, assign);
    }

    fn result_path(&mut self, path: &ResultPath, is_last_use: bool) {
        match path {
            ResultPath::Discard => self.emit(Op::Discard),
            ResultPath::Path(path) if path.segments.is_empty() => {}
            ResultPath::Path(path) => {
                let target = self.merge(path, is_last_use);
                self.emit(Op::Merge { target });
            }
        }
    }

    fn leave(&mut self, state: &State, assign: Option<AssignId>) {
        self.data_path(&state.output_path, false);
        self.commit(assign);
        match state.transition {
            Some(Transition::Next(next)) => self.emit(Op::Exit { next: Self::state_label(next).target() }),
            Some(Transition::End) | None => self.emit(Op::Finish),
        }
    }

    fn catcher(&mut self, catcher: &Catcher) -> CatchCode {
        // The Error Output's keys.
        self.symbol("Error");
        self.symbol("Cause");
        let entry = self.label();
        self.bind(entry);
        let assign = self.assign(catcher.assign.as_ref());
        self.result_path(&catcher.result_path, false);
        self.commit(assign);
        self.emit(Op::Exit { next: Self::state_label(catcher.next).target() });
        CatchCode { errors: boxed(&catcher.error_equals), entry: entry.target() }
    }

    fn wait(&mut self, wait: &Wait, state: &State) {
        let code = match wait {
            Wait::Seconds(seconds) => WaitCode::Seconds(*seconds),
            Wait::SecondsPath(path) => WaitCode::SecondsPath(self.path(path)),
            Wait::TimestampPath(path) => WaitCode::TimestampPath(self.path(path)),
            Wait::Timestamp(text) => match time::parse(text) {
                Some(instant) => WaitCode::Timestamp(instant),
                None => return self.refuse(format!("Timestamp '{text}' is not an RFC 3339 instant"), state),
            },
        };
        let wait = WaitId(next_id(&self.pools.waits));
        self.pools.waits.push(code);
        self.emit(Op::Wait { wait });
    }

    fn fail(&mut self, fail: &Fail) {
        let error = self.fail_side(fail.error.as_ref());
        let cause = self.fail_side(fail.cause.as_ref());
        let fail = FailId(next_id(&self.pools.fails));
        self.pools.fails.push(FailCode { error, cause });
        self.emit(Op::Fail { fail });
    }

    fn fail_side(&mut self, text: Option<&FailText>) -> Option<FailSide> {
        Some(match text? {
            FailText::Literal(text) => FailSide::Literal(text.as_str().into()),
            FailText::Path(path) => FailSide::Path(self.path(path)),
            FailText::Intrinsic(call) => FailSide::Intrinsic(self.intrinsic(call)),
        })
    }

    fn task(&mut self, task: &Task, state: &State) {
        if let Some(parameters) = &state.parameters {
            self.build(parameters);
        }
        let timeout = task.timeout.as_ref().map(|seconds| self.seconds(seconds));
        let heartbeat = task.heartbeat.as_ref().map(|seconds| self.seconds(seconds));
        let role_arn = task.role_arn.as_ref().map(|role| self.template(role));
        let input = match &state.input_path {
            DataPath::Null => InputCode::Empty,
            DataPath::Path(path) if path.is_identity() => InputCode::Whole,
            DataPath::Path(path) => InputCode::Path(self.path(path)),
        };
        let resource = self.resource(&task.resource);
        let call = CallId(next_id(&self.pools.calls));
        self.pools.calls.push(CallCode { resource, timeout, heartbeat, role_arn, input, result_name: result_name(&task.resource, &state.name) });
        self.emit(Op::Call { call });
    }

    fn seconds(&mut self, seconds: &Seconds) -> SecondsCode {
        match seconds {
            Seconds::Literal(seconds) => SecondsCode::Literal(*seconds),
            Seconds::Path(path) => SecondsCode::Path(self.path(path)),
        }
    }

    fn parallel(&mut self, branches: &[SubMachine], state: &State) {
        if let Some(parameters) = &state.parameters {
            self.build(parameters);
        }
        let fork = ForkId(next_id(&self.pools.forks));
        self.pools.forks.push(ForkCode { branches: branches.iter().map(|branch| Self::state_label(branch.start).target()).collect() });
        self.emit(Op::Fork { fork });
    }

    fn map(&mut self, map: &Map) {
        let items = if map.items_path.is_identity() { None } else { Some(self.path(&map.items_path)) };
        let selector = map.item_selector.as_ref().map(|selector| self.template(selector));
        let concurrency = match &map.max_concurrency {
            Concurrency::Literal(limit) => ConcurrencyCode::Literal(*limit),
            Concurrency::Path(path) => ConcurrencyCode::Path(self.path(path)),
        };
        let id = MapId(next_id(&self.pools.maps));
        self.pools.maps.push(MapCode { start: Self::state_label(map.processor.start).target(), items, selector, concurrency });
        self.emit(Op::Map { map: id });
    }
}

fn retrier(retrier: &Retrier) -> RetryCode {
    RetryCode {
        errors: boxed(&retrier.error_equals),
        interval_ms: u64::from(retrier.interval_seconds) * 1000,
        attempts_max: retrier.max_attempts,
        backoff_rate: retrier.backoff_rate,
        delay_ms_max: retrier.max_delay_seconds.map(|seconds| u64::from(seconds) * 1000),
        full_jitter: retrier.full_jitter,
    }
}

fn boxed(names: &[String]) -> Box<[Box<str>]> {
    names.iter().map(|name| name.as_str().into()).collect()
}

/// The name under which a result over the payload limit is reported: a direct Lambda's ARN, a service, else the state (spec/asl.md 8.1).
fn result_name(resource: &Resource, state: &str) -> Box<str> {
    match &resource.kind {
        ResourceKind::Lambda => resource.arn.as_str().into(),
        ResourceKind::Service { service, .. } => service.as_str().into(),
        _ => state.into(),
    }
}
