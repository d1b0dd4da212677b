//! The hook on everything that makes a history event; compiled away where nobody listens.
//!
//! Ids are counted in any case, because AWS's cause texts quote them. Everything else about an event is found only when somebody asks: an [`Event`] borrows the slot as it stands at that moment, and writes a state's input or output when it is told to.
//!
//! Which event leads to which (spec/asl.md 13): each strand has a chain of its own. An event that closes a bracket around a strand (MapStateSucceeded, MapIterationSucceeded, MapIterationFailed, …Aborted) hangs on the chain without being a link of it.

use super::{Slot, Timestamp};
use crate::document::Unescaped;
use crate::hir::{Resource, ResourceKind, StateId};
use crate::program::{Program, StateType};
use crate::value::{Value, View};

/// What happened, in the vocabulary of spec/asl.md 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// `ExecutionStarted`
    ExecutionStarted,
    /// `ExecutionSucceeded`
    ExecutionSucceeded,
    /// `ExecutionFailed`
    ExecutionFailed,
    /// `ExecutionTimedOut`
    ExecutionTimedOut,
    /// `PassStateEntered` and its like.
    StateEntered(StateType),
    /// `PassStateExited` and its like.
    StateExited(StateType),
    /// `TaskStateAborted` and its like: Task, Wait, Parallel and Map have one.
    StateAborted(StateType),
    /// `LambdaFunctionScheduled` or `TaskScheduled`
    TaskScheduled,
    /// `LambdaFunctionStarted` or `TaskStarted`
    TaskStarted,
    /// `LambdaFunctionSucceeded` or `TaskSucceeded`
    TaskSucceeded,
    /// `LambdaFunctionFailed` or `TaskFailed`
    TaskFailed,
    /// `LambdaFunctionTimedOut` or `TaskTimedOut`
    TaskTimedOut,
    /// `ParallelStateStarted` or `MapStateStarted`
    BranchesStarted,
    /// `ParallelStateSucceeded` or `MapStateSucceeded`
    BranchesSucceeded,
    /// `ParallelStateFailed` or `MapStateFailed`
    BranchesFailed,
    /// `MapIterationStarted`
    IterationStarted,
    /// `MapIterationSucceeded`
    IterationSucceeded,
    /// `MapIterationFailed`
    IterationFailed,
    /// `MapIterationAborted`
    IterationAborted,
}

impl EventKind {
    /// Whether the next event of the strand has this one as its previous.
    fn is_link(self) -> bool {
        !matches!(
            self,
            Self::ExecutionStarted
                | Self::StateAborted(_)
                | Self::BranchesSucceeded
                | Self::IterationSucceeded
                | Self::IterationFailed
                | Self::IterationAborted
        )
    }

    /// Whether it is an event of the execution as a whole.
    fn is_of_execution(self) -> bool {
        matches!(self, Self::ExecutionStarted | Self::ExecutionSucceeded | Self::ExecutionFailed | Self::ExecutionTimedOut)
    }

    fn is_of_iteration(self) -> bool {
        matches!(self, Self::IterationStarted | Self::IterationSucceeded | Self::IterationFailed | Self::IterationAborted)
    }
}

/// What an event tells that the slot does not hold, or not for long: values, which stay where they are, and numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    Nothing,
    /// An input or an output.
    Value(Value),
    /// A state's output, and the object of the variables that it has assigned.
    Exited(Value, Option<Value>),
    /// A call.
    Call(Called),
    /// The number of a Map's items.
    Length(u32),
}

/// What the event of a scheduled task tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called {
    pub(super) input: Value,
    pub(super) timeout_s: Option<u32>,
    pub(super) heartbeat_s: Option<u32>,
    /// The text of the role in `Credentials`.
    pub(super) role_arn: Option<Value>,
}

/// One history event. It borrows the execution as it stands, so whatever is to outlive it must be written out.
#[derive(Debug, Clone, Copy)]
pub struct Event<'e> {
    /// Counts from 1 within the execution.
    pub id: u64,
    /// The event that led to this one; 0 for the first two, and for what comes from outside.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The state that it is about; `None` for events of the execution.
    pub state: Option<StateId>,
    told: Told,
    /// The branch or iteration.
    index: u32,
    slot: &'e Slot,
    program: &'e Program,
}

/// One member of an event's details.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Detail<'e> {
    /// A text.
    Text(&'e str),
    /// A number.
    Number(u64),
    /// Data of the execution, which AWS shows as a text that holds JSON: input, output, parameters.
    Data(Shown<'e>),
    /// Variables with their data: `assignedVariables`.
    Variables(Variables<'e>),
    /// An object with one member, a text: `taskCredentials`.
    Member(&'static str, &'e str),
}

/// Variables and their data.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'e>(Names<'e>);

#[derive(Debug, Clone, Copy)]
enum Names<'e> {
    Live(View<'e>, Value),
    Texts(&'e [(Box<str>, Box<str>)]),
}

impl<'e> Variables<'e> {
    /// Variables whose data are JSON texts already.
    #[must_use]
    pub fn of_texts(pairs: &'e [(Box<str>, Box<str>)]) -> Self {
        Self(Names::Texts(pairs))
    }

    /// Calls `tell` with the name and the data of each.
    pub fn each(self, tell: &mut dyn FnMut(&str, Shown<'_>)) {
        match self.0 {
            Names::Live(view, object) => {
                for member in view.members(object) {
                    let (name, _) = view.key(member);
                    tell(&Unescaped::new(name).to_string(), Shown(Form::Live(view, member.value)));
                }
            }
            Names::Texts(pairs) => pairs.iter().for_each(|(name, json)| tell(name, Shown::of_text(json))),
        }
    }
}

/// Data of an execution as an event shows it, written only when asked for.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'e>(Form<'e>);

#[derive(Debug, Clone, Copy)]
enum Form<'e> {
    Live(View<'e>, Value),
    Text(&'e str),
}

impl<'e> Shown<'e> {
    /// Data that is a JSON text already.
    #[must_use]
    pub fn of_text(json: &'e str) -> Self {
        Self(Form::Text(json))
    }

    /// Appends it to `out` as compact JSON.
    pub fn write(self, out: &mut Vec<u8>) {
        match self.0 {
            Form::Live(view, value) => view.write(value, out),
            Form::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl<'e> Event<'e> {
    /// AWS's name of the event's type, for instance `LambdaFunctionScheduled`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        use EventKind as K;
        let is_lambda = || self.resource().is_some_and(|resource| resource.kind == ResourceKind::Lambda);
        let is_map = || self.state.and_then(|state| self.program.state_type(state)) == Some(StateType::Map);
        let either = |condition: bool, yes: &'static str, no: &'static str| if condition { yes } else { no };
        match self.kind {
            K::ExecutionStarted => "ExecutionStarted",
            K::ExecutionSucceeded => "ExecutionSucceeded",
            K::ExecutionFailed => "ExecutionFailed",
            K::ExecutionTimedOut => "ExecutionTimedOut",
            K::StateEntered(kind) => entered(kind),
            K::StateExited(kind) => exited(kind),
            K::StateAborted(kind) => aborted(kind),
            K::TaskScheduled => either(is_lambda(), "LambdaFunctionScheduled", "TaskScheduled"),
            K::TaskStarted => either(is_lambda(), "LambdaFunctionStarted", "TaskStarted"),
            K::TaskSucceeded => either(is_lambda(), "LambdaFunctionSucceeded", "TaskSucceeded"),
            K::TaskFailed => either(is_lambda(), "LambdaFunctionFailed", "TaskFailed"),
            K::TaskTimedOut => either(is_lambda(), "LambdaFunctionTimedOut", "TaskTimedOut"),
            K::BranchesStarted => either(is_map(), "MapStateStarted", "ParallelStateStarted"),
            K::BranchesSucceeded => either(is_map(), "MapStateSucceeded", "ParallelStateSucceeded"),
            K::BranchesFailed => either(is_map(), "MapStateFailed", "ParallelStateFailed"),
            K::IterationStarted => "MapIterationStarted",
            K::IterationSucceeded => "MapIterationSucceeded",
            K::IterationFailed => "MapIterationFailed",
            K::IterationAborted => "MapIterationAborted",
        }
    }

    /// The name of the state that it is about.
    #[must_use]
    pub fn state_name(&self) -> Option<&'e str> {
        self.state.map(|state| self.program.state_name(state))
    }

    /// The resource that the state calls, if it is a Task.
    #[must_use]
    pub fn resource(&self) -> Option<&'e Resource> {
        self.program.resource_of(self.state?)
    }

    /// Tells the execution from the others of its slots: the slot's number and how many executions it has seen.
    #[must_use]
    pub fn execution(&self) -> (u32, u32) {
        (self.slot.index, self.slot.generation)
    }

    /// The ARN of the execution.
    #[must_use]
    pub fn execution_arn(&self) -> String {
        self.slot.execution_arn(self.program)
    }

    /// Whether AWS gives events of this type a details object, be it an empty one.
    #[must_use]
    pub fn has_details(&self) -> bool {
        use EventKind as K;
        match self.kind {
            K::TaskStarted => self.resource().is_some_and(|resource| resource.kind != ResourceKind::Lambda),
            K::BranchesStarted => matches!(self.told, Told::Length(_)),
            K::BranchesSucceeded | K::BranchesFailed | K::StateAborted(_) => false,
            _ => true,
        }
    }

    /// Calls `tell` with the name and value of each member of the event's details, in the order of their names.
    pub fn details(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>)) {
        use EventKind as K;
        let name = self.state_name().unwrap_or_default();
        match self.kind {
            K::ExecutionStarted => {
                tell("input", self.data());
                tell("roleArn", Detail::Text(&self.program.identity.role_arn));
            }
            K::ExecutionSucceeded => tell("output", self.data()),
            K::ExecutionFailed | K::ExecutionTimedOut => self.failure(tell),
            K::StateEntered(_) => {
                tell("input", self.data());
                tell("name", Detail::Text(name));
            }
            K::StateExited(_) => {
                if let Told::Exited(_, Some(object)) = self.told {
                    tell("assignedVariables", Detail::Variables(Variables(Names::Live(self.slot.view(self.program), object))));
                }
                tell("name", Detail::Text(name));
                tell("output", self.data());
            }
            K::BranchesStarted => {
                if let Told::Length(length) = self.told {
                    tell("length", Detail::Number(u64::from(length)));
                }
            }
            K::IterationStarted | K::IterationSucceeded | K::IterationFailed | K::IterationAborted => {
                tell("index", Detail::Number(u64::from(self.index)));
                tell("name", Detail::Text(name));
            }
            K::BranchesSucceeded | K::BranchesFailed | K::StateAborted(_) => {}
            K::TaskScheduled | K::TaskStarted | K::TaskSucceeded | K::TaskFailed | K::TaskTimedOut => self.task_details(tell),
        }
    }

    fn task_details(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>)) {
        let Some(resource) = self.resource() else { return };
        let is_lambda = resource.kind == ResourceKind::Lambda;
        let region = self.program.region();
        let called = if let Told::Call(called) = self.told { Some(called) } else { None };
        // A function that is called directly has no heartbeat.
        if let Some(seconds) = called.and_then(|called| called.heartbeat_s).filter(|_| !is_lambda) {
            tell("heartbeatInSeconds", Detail::Number(u64::from(seconds)));
        }
        match (self.kind, is_lambda) {
            (EventKind::TaskScheduled, true) => tell("input", self.data()),
            (EventKind::TaskScheduled, false) => {
                tell("parameters", self.data());
                tell("region", Detail::Text(region));
            }
            (EventKind::TaskSucceeded, _) => tell("output", self.data()),
            (EventKind::TaskFailed | EventKind::TaskTimedOut, _) => self.failure(tell),
            _ => {}
        }
        if !is_lambda {
            let (service, action) = parts(resource);
            tell("resource", Detail::Text(action));
            tell("resourceType", Detail::Text(service));
        } else if self.kind == EventKind::TaskScheduled {
            tell("resource", Detail::Text(&resource.arn));
        }
        if let Some((role, _)) = called.and_then(|called| self.slot.view(self.program).string(called.role_arn?)) {
            tell("taskCredentials", Detail::Member("roleArn", &Unescaped::new(role).to_string()));
        }
        if let Some(seconds) = called.and_then(|called| called.timeout_s) {
            tell("timeoutInSeconds", Detail::Number(u64::from(seconds)));
        }
    }

    fn data(&self) -> Detail<'e> {
        let value = match self.told {
            Told::Value(value) | Told::Exited(value, _) => value,
            Told::Call(called) => called.input,
            Told::Nothing | Told::Length(_) => Value::NULL,
        };
        Detail::Data(Shown(Form::Live(self.slot.view(self.program), value)))
    }

    fn failure(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>)) {
        let failure = self.slot.failure();
        if let Some(cause) = failure.cause {
            tell("cause", Detail::Text(cause));
        }
        if let Some(error) = failure.error {
            tell("error", Detail::Text(error));
        }
    }
}

/// What task events call `resourceType` and `resource`.
fn parts(resource: &Resource) -> (&str, &str) {
    match &resource.kind {
        ResourceKind::Service { service, action } => (service, action),
        _ => resource.arn.split_once(':').unwrap_or(("native", &resource.arn)),
    }
}

fn entered(kind: StateType) -> &'static str {
    match kind {
        StateType::Pass => "PassStateEntered",
        StateType::Task => "TaskStateEntered",
        StateType::Choice => "ChoiceStateEntered",
        StateType::Wait => "WaitStateEntered",
        StateType::Succeed => "SucceedStateEntered",
        StateType::Fail => "FailStateEntered",
        StateType::Parallel => "ParallelStateEntered",
        StateType::Map => "MapStateEntered",
    }
}

fn exited(kind: StateType) -> &'static str {
    match kind {
        StateType::Pass => "PassStateExited",
        StateType::Task => "TaskStateExited",
        StateType::Choice => "ChoiceStateExited",
        StateType::Wait => "WaitStateExited",
        StateType::Succeed => "SucceedStateExited",
        // A Fail is never left.
        StateType::Fail => "FailStateExited",
        StateType::Parallel => "ParallelStateExited",
        StateType::Map => "MapStateExited",
    }
}

fn aborted(kind: StateType) -> &'static str {
    match kind {
        StateType::Wait => "WaitStateAborted",
        StateType::Parallel => "ParallelStateAborted",
        StateType::Map => "MapStateAborted",
        // The other types do not last, so nothing can abort them.
        _ => "TaskStateAborted",
    }
}

/// What a state decides about the way on. Histories do not tell it; coverage needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// By Next or End, after its work.
    GoesOn,
    /// By a rule of a Choice, counted from 0; the number behind the last rule is Default.
    Chooses(u32),
    /// Once more, by a retrier, counted from 0.
    Retries(u32),
    /// By a catcher, counted from 0.
    Catches(u32),
}

/// Hears of every history event of an execution.
pub trait Observer {
    /// Whether events are wanted at all; with `false` none is made, only counted.
    const LISTENS: bool;

    /// One event.
    fn event(&mut self, event: &Event<'_>);

    /// What `state` decides, in front of the event that follows from it.
    fn decision(&mut self, _state: StateId, _decision: Decision) {}
}

/// Hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    const LISTENS: bool = false;

    fn event(&mut self, _: &Event<'_>) {}
}

impl Slot {
    /// Counts an event of the execution or of a strand, and tells who listens.
    #[inline]
    pub(super) fn event<O: Observer>(&mut self, program: &Program, observer: &mut O, strand: u32, kind: EventKind, told: Told) {
        self.events += 1;
        if O::LISTENS {
            self.tell(program, observer, strand, kind, told);
        }
    }

    fn tell<O: Observer>(&mut self, program: &Program, observer: &mut O, id: u32, kind: EventKind, told: Told) {
        let strand = &self.strands[id as usize];
        let state = if kind.is_of_execution() {
            None
        } else if kind.is_of_iteration() {
            // Told of the Map, not of the state that the iteration is in.
            Some(self.strands[self.frames[strand.frame as usize].owner as usize].state)
        } else {
            Some(strand.state)
        };
        // A time-out comes from outside of all strands.
        let previous = if kind == EventKind::ExecutionTimedOut { 0 } else { strand.last_event };
        observer.event(&Event { id: self.events, previous, at: self.now, kind, state, told, index: strand.index, slot: self, program });
        if kind.is_link() {
            self.strands[id as usize].last_event = self.events;
        }
    }
}
