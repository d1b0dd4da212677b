//! Stage 4: run. (Signatures fixed, bodies being written.)

mod effect;
mod observe;

pub use effect::{Effect, EffectId, Effects, Reply, ResourceId, Resumed, Timestamp};
pub use observe::{Observer, Silent};

use crate::document::Fault;
use crate::limits::{Budget, Limits};
use crate::program::Program;

/// Who an execution is; everything that the Context Object needs and the program does not know.
#[derive(Debug, Clone, Copy)]
pub struct Start<'s> {
    /// Its name.
    pub name: ExecutionName<'s>,
    /// When it starts.
    pub now: Timestamp,
    /// Seed of everything random in it: jitter, `States.UUID`, `States.MathRandom`.
    pub seed: u64,
}

/// An execution's name, rendered only when something asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionName<'s> {
    /// Given as text, at most 80 characters.
    Text(&'s str),
    /// `topic-partition-offset`; a topic that makes it longer than 80 characters is cut and given a hash.
    Position {
        /// The source topic.
        topic: &'s str,
        /// The source partition.
        partition: i32,
        /// The source offset.
        offset: i64,
    },
}

/// How a run call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The execution succeeded: read [`Slot::write_output`].
    Succeeded,
    /// The execution failed: read [`Slot::failure`].
    Failed,
    /// The execution ran over its time: read [`Slot::failure`].
    TimedOut,
    /// Nothing can go on before one of the open effects is answered.
    Suspended,
    /// The budget is used up: call again when others have had their turn.
    Yielded,
}

/// Error and cause of an execution that failed or timed out; either may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'s> {
    /// The error name.
    pub error: Option<&'s str>,
    /// The cause.
    pub cause: Option<&'s str>,
}

/// The memory of one execution, reused from one to the next: documents, values, strands and frames.
#[derive(Debug)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// An idle slot; `index` comes back in [`EffectId::slot`].
    #[must_use]
    pub fn new(index: u32, limits: Limits) -> Self {
        let _ = limits;
        Self { index, generation: 0 }
    }

    /// Begins an execution of `program` on `input`, a JSON text. Whatever the slot did before is forgotten, and replies to it become stale.
    ///
    /// # Errors
    /// A [`Fault`] when `input` is not a JSON document, or one over the payload limit ([`FaultKind::TooLarge`](crate::document::FaultKind::TooLarge)). The slot is then idle.
    pub fn start(&mut self, program: &Program, input: &[u8], start: &Start<'_>) -> Result<(), Fault> {
        let _ = (program, input, start, self.index);
        self.generation += 1;
        unimplemented!()
    }

    /// Goes on until the end, the next effect or the end of the budget. Effects are appended to `effects`.
    pub fn run<O: Observer>(&mut self, program: &Program, now: Timestamp, budget: Budget, effects: &mut Effects, observer: &mut O) -> Step {
        let _ = (program, now, budget, effects, observer);
        unimplemented!()
    }

    /// Takes the answer to an effect; the execution goes on at the next [`run`](Slot::run).
    pub fn resume<O: Observer>(&mut self, program: &Program, id: EffectId, reply: Reply<'_>, now: Timestamp, observer: &mut O) -> Resumed {
        let _ = (program, id, reply, now, observer);
        unimplemented!()
    }

    /// Appends the output of an execution that succeeded to `out`, as compact JSON.
    pub fn write_output(&self, program: &Program, out: &mut Vec<u8>) {
        let _ = (program, out);
        unimplemented!()
    }

    /// Error and cause of an execution that failed or timed out.
    #[must_use]
    pub fn failure(&self) -> Failure<'_> {
        unimplemented!()
    }

    /// Appends the execution's name to `out`.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        let _ = out;
        unimplemented!()
    }

    /// Ends whatever runs here; replies to it become stale. Memory above `keep_bytes` is given back.
    pub fn reset(&mut self, keep_bytes: usize) {
        let _ = keep_bytes;
        unimplemented!()
    }
}
