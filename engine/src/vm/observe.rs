//! The hook on everything that makes a history event; compiled away where nobody listens.
//!
//! Ids are counted in any case, because AWS's cause texts quote them.

use super::Timestamp;
use crate::hir::StateId;
use crate::program::StateType;

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
}

/// One history event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Counts from 1 within the execution.
    pub id: u64,
    /// The event that led to this one on the same strand; 0 for the first two.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The state that runs on the strand; `None` for events of the execution.
    pub state: Option<StateId>,
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
    fn event(&mut self, event: &Event);

    /// What `state` decides, in front of the event that follows from it.
    fn decision(&mut self, _state: StateId, _decision: Decision) {}
}

/// Hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    const LISTENS: bool = false;

    fn event(&mut self, _: &Event) {}
}
