//! What an execution asks of the outside, and the answers.

use std::ops::Range;

use crate::hir::StateId;

/// Milliseconds since the Unix epoch. The engine never reads a clock: every call that needs the time is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The instant `ms` milliseconds later, or the end of time.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Names one open effect: no two effects of one slot ever carry the same id, so a reply that comes too late finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The slot's number, as given to [`Slot::new`](super::Slot::new).
    pub slot: u32,
    /// How many executions the slot has seen.
    pub generation: u32,
    /// The strand of the execution that waits; [`EffectId::DEADLINE`] for the execution as a whole.
    pub strand: u32,
    /// Count of effects within the execution.
    pub sequence: u32,
}

impl EffectId {
    /// The strand number of the sleep that ends at the execution's own deadline.
    pub const DEADLINE: u32 = u32::MAX;
}

/// Index into [`Program::resources`](crate::Program::resources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub u32);

/// One request to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Call a task; answered by [`Reply::Success`], [`Reply::Failure`] or [`Reply::TimedOut`].
    Call {
        /// Names the call in [`Slot::resume`](super::Slot::resume).
        id: EffectId,
        /// What is called.
        resource: ResourceId,
        /// The Task state that calls, for mocks and metrics.
        state: StateId,
        /// How often this visit of the state has been retried, from 0.
        attempt: u32,
        /// The JSON input, as a range of [`Effects::bytes`].
        input: Range<usize>,
        /// When [`Reply::TimedOut`] is due; `None` when the task has no time-out.
        timeout_at: Option<Timestamp>,
    },
    /// Resume with [`Reply::Elapsed`] at `until`.
    Sleep {
        /// Names the sleep in [`Slot::resume`](super::Slot::resume).
        id: EffectId,
        /// When it is due.
        until: Timestamp,
    },
    /// The answer to `id` is no longer wanted. Purely a courtesy: an answer that comes anyway is dropped.
    Cancel {
        /// The effect that is given up.
        id: EffectId,
    },
}

/// The effects of one or more run calls; reused, so that nothing is allocated in steady state.
#[derive(Debug, Default)]
pub struct Effects {
    /// In the order in which they were asked for.
    pub list: Vec<Effect>,
    /// The inputs of the calls.
    pub bytes: Vec<u8>,
}

impl Effects {
    /// Forgets all effects, keeping the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
    }
}

/// The answer to an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'r> {
    /// The task's result, a JSON text.
    Success(&'r [u8]),
    /// The task failed.
    Failure {
        /// The error name, for instance `Lambda.Unknown`.
        error: &'r str,
        /// The cause, if any.
        cause: Option<&'r str>,
    },
    /// The call's `timeout_at` has passed.
    TimedOut,
    /// The sleep's `until` has passed.
    Elapsed,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It was taken; [`Slot::run`](super::Slot::run) goes on.
    Accepted,
    /// Its id is no longer open (time-out, a failed sibling, a reused slot): nothing has changed.
    Stale,
}
