//! Task calls out and back.
//!
//! The engine's effects become calls, timers and nothing (a cancellation is a courtesy: what is cancelled finds no open effect). At most [`CALLS_OPEN_MAX`] calls are open at once, which is what the inbox holds; further ones wait here, bounded by what the open executions can ask for.

use std::collections::VecDeque;
use std::sync::Arc;

use expressway_engine::{Effect, EffectId, Effects};

use super::timers::{Kind, Timers};
use crate::pipeline::doing::Doing;
use crate::pipeline::processor::Processor;
use crate::tasks::{Call, Inbox, Integrations, Reply, ReplySender};

/// Calls a shard has open at once.
pub(crate) const CALLS_OPEN_MAX: usize = 16_384;

/// The shard's way to the integrations and back.
pub(crate) struct Outside {
    integrations: Arc<dyn Integrations>,
    replies: ReplySender,
    inbox: Inbox,
    waiting: VecDeque<Call>,
    batch: Vec<Call>,
    open: usize,
    started: u64,
}

impl Outside {
    pub(crate) fn new(integrations: Arc<dyn Integrations>, replies: ReplySender, inbox: Inbox) -> Self {
        Self { integrations, replies, inbox, waiting: VecDeque::new(), batch: Vec::new(), open: 0, started: 0 }
    }

    /// Turns the engine's effects into calls and timers, leaving `effects` empty. `execution` makes the name of the execution, when a call needs it.
    pub(crate) fn perform<P: Processor>(&mut self, effects: &mut Effects, processor: &P, timers: &mut Timers, execution: impl Fn(&P) -> Arc<str>) {
        let mut name: Option<Arc<str>> = None;
        for effect in &effects.list {
            match effect {
                Effect::Call { id, resource, state, attempt, input, timeout_at } => {
                    let call = Call {
                        id: *id,
                        resource: processor.resource(id.slot, *resource),
                        state: processor.state(id.slot, *state),
                        attempt: *attempt,
                        input: effects.bytes[input.clone()].to_vec(),
                        execution: Arc::clone(name.get_or_insert_with(|| execution(processor))),
                    };
                    self.waiting.push_back(call);
                    if let Some(at) = timeout_at {
                        timers.set(*at, *id, Kind::TimedOut);
                    }
                }
                Effect::Sleep { id, until } => timers.set(*until, *id, Kind::Elapsed),
                Effect::Cancel { id } => self.waiting.retain(|call| call.id != *id),
            }
        }
        effects.clear();
    }

    /// Hands waiting calls to the integrations.
    pub(crate) fn submit(&mut self, doing: &Doing, is_alive: impl Fn(EffectId) -> bool) {
        if self.waiting.is_empty() {
            return;
        }
        while self.open + self.batch.len() < CALLS_OPEN_MAX {
            let Some(call) = self.waiting.pop_front() else { break };
            if is_alive(call.id) {
                self.batch.push(call);
            }
        }
        if !self.batch.is_empty() {
            self.open += self.batch.len();
            self.started += self.batch.len() as u64;
            doing.call(&self.batch[0].resource, &self.batch[0].state);
            self.integrations.submit(&mut self.batch, &self.replies);
            debug_assert!(self.batch.is_empty(), "an integration takes all calls");
            self.batch.clear();
        }
    }

    /// The next answer.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let reply = self.inbox.take()?;
        self.open = self.open.saturating_sub(1);
        Some(reply)
    }

    /// Says that the shard is about to sleep; `false` when an answer is there.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.inbox.prepare_sleep()
    }

    /// Calls under way.
    pub(crate) fn open(&self) -> usize {
        self.open + self.waiting.len()
    }

    /// Calls begun so far.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// Answers too many.
    pub(crate) fn overflowed(&self) -> u64 {
        self.inbox.overflowed()
    }
}
