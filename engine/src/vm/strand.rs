//! Strands and frames: the explicit stack of one execution.
//!
//! A strand is one thread of control: the top level, a branch of a Parallel, an iteration of a Map. A frame is a Parallel or Map whose strands have not all ended. Both live in vectors of the slot and are reused by number.

#![expect(unsafe_code, reason = "the loop reaches its strand without a check at each transition")]

use super::{Slot, Timestamp};
use crate::hir::StateId;
use crate::program::op::OpId;
use crate::value::Value;

/// No frame: the strand is the top level.
pub(super) const NO_FRAME: u32 = u32::MAX;

/// Where a strand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Not in use.
    Free,
    /// In the queue, or running.
    Ready,
    /// Waits for the effect with this sequence number.
    Waiting(u32),
    /// Waits for the strands of this frame.
    Joining(u32),
}

/// What has come for a strand since it last ran.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inbox {
    Empty,
    /// A task's result.
    Result(Value),
    /// A task's result that is no JSON or does not fit.
    Unusable,
    /// A task failed: `reply_error`, `reply_cause`.
    Failed,
    /// A task ran over its time.
    TimedOut,
}

/// One thread of control.
#[derive(Debug)]
pub(super) struct Strand {
    pub(super) pc: OpId,
    /// The value being worked on.
    pub(super) cur: Value,
    /// The input of the state being run.
    pub(super) raw: Value,
    pub(super) state: StateId,
    pub(super) entered_at: Timestamp,
    /// Event id at which the state was entered.
    pub(super) entered_event: u64,
    /// Id of the last event of this strand; kept for observers only.
    pub(super) last_event: u64,
    /// The frame it belongs to, and which branch or iteration it is.
    pub(super) frame: u32,
    pub(super) index: u32,
    pub(super) life: Life,
    pub(super) inbox: Inbox,
    /// Retries of this visit of the state, over all its retriers.
    pub(super) retry_count: u32,
    /// Catchers of the state that have taken over, at most one: its errors are not caught again. As wide as what is reset together with it.
    pub(super) catches: u32,
    /// Retries of this visit for each retrier; means nothing before the first retry.
    pub(super) retries: Vec<u32>,
    /// The variables of its scope by number; those behind the end have no value.
    pub(super) variables: Vec<Option<Value>>,
    pub(super) reply_error: String,
    pub(super) reply_cause: String,
    pub(super) has_reply_cause: bool,
}

impl Strand {
    pub(super) fn new() -> Self {
        Self {
            pc: OpId(0),
            cur: Value::NULL,
            raw: Value::NULL,
            state: StateId(0),
            entered_at: Timestamp(0),
            entered_event: 0,
            last_event: 0,
            frame: NO_FRAME,
            index: 0,
            life: Life::Free,
            inbox: Inbox::Empty,
            retry_count: 0,
            catches: 0,
            retries: Vec::new(),
            variables: Vec::new(),
            reply_error: String::new(),
            reply_cause: String::new(),
            has_reply_cause: false,
        }
    }

    /// Makes it the thread of control that begins at `pc` with `input`.
    #[inline]
    pub(super) fn begin(&mut self, pc: OpId, input: Value, frame: u32, index: u32, last_event: u64) {
        self.pc = pc;
        self.cur = input;
        self.frame = frame;
        self.index = index;
        self.last_event = last_event;
        self.life = Life::Ready;
        self.inbox = Inbox::Empty;
        self.variables.clear();
    }

    /// Keeps the cause of a task's failure until the strand runs.
    pub(super) fn set_reply_cause(&mut self, cause: Option<std::fmt::Arguments<'_>>) {
        self.reply_cause.clear();
        self.has_reply_cause = cause.is_some();
        if let Some(cause) = cause {
            let written = std::fmt::Write::write_fmt(&mut self.reply_cause, cause);
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
    }

    /// Enters a state, at the event with this id.
    #[inline]
    pub(super) fn enter(&mut self, state: StateId, input: Value, now: Timestamp, event: u64) {
        self.entered_event = event;
        self.state = state;
        self.raw = input;
        self.entered_at = now;
        self.retry_count = 0;
        self.catches = 0;
    }
}

impl Slot {
    /// A strand by its number, for the loop, which has it from the queue.
    #[inline]
    pub(super) fn strand(&self, id: u32) -> &Strand {
        debug_assert!((id as usize) < self.strands.len(), "strands are never taken away while an execution runs");
        // SAFETY: numbers of strands come from `spawn`, which has made the strand, or are 0, which `Slot::new` makes; `strands` is cut only in `forget`, which empties the queue and all frames.
        unsafe { self.strands.get_unchecked(id as usize) }
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn strand_mut(&mut self, id: u32) -> &mut Strand {
        debug_assert!((id as usize) < self.strands.len(), "strands are never taken away while an execution runs");
        // SAFETY: as for `strand`.
        unsafe { self.strands.get_unchecked_mut(id as usize) }
    }
}

/// A Parallel or Map under way.
#[derive(Debug)]
pub(super) struct Frame {
    /// The strand whose state it is; [`NO_FRAME`] marks a frame not in use.
    pub(super) owner: u32,
    /// A Map's items; null for a Parallel.
    pub(super) items: Value,
    /// What the branches start from, or what a Map's ItemSelector reads.
    pub(super) input: Value,
    /// The array of outputs, in order, filled in as strands end.
    pub(super) results: Value,
    pub(super) total: u32,
    /// First branch or iteration not begun.
    pub(super) next: u32,
    /// Strands under way.
    pub(super) live: u32,
    /// A Map's number in the pool; `None` for a Parallel.
    pub(super) map: Option<crate::program::op::MapId>,
}
