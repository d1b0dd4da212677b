//! Task integrations behind one trait: calls leave a shard in batches, answers come back into its bounded inbox.
//!
//! A shard collects the calls that a turn of its loop asked for and hands them over in one [`Integrations::submit`]. Whoever answers holds a clone of the shard's [`ReplySender`] for as long as the call lasts and uses it from any thread.
//!
//! The inbox cannot overflow while integrations keep their one duty, **exactly one answer a call**: a shard keeps at most as many calls open as its inbox holds and keeps further ones back until answers arrive. An answer beyond that is dropped and counted. An answer that comes after its time-out, after a failed sibling branch or for a slot long reused is harmless: its [`EffectId`] is no longer open.

pub mod builtin;
pub mod mock;
pub mod native;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use expressway_engine::EffectId;

/// One task call of one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Names the call in its [`Reply`].
    pub id: EffectId,
    /// The text of the Task's `Resource`.
    pub resource: Arc<str>,
    /// The name of the Task state.
    pub state: Arc<str>,
    /// How often this visit of the state has been retried, from 0.
    pub attempt: u32,
    /// The JSON input.
    pub input: Vec<u8>,
    /// The execution's name, from which idempotency keys derive.
    pub execution: Arc<str>,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The call that is answered.
    pub id: EffectId,
    /// The task's result, a JSON text, or how it failed.
    pub result: Result<Vec<u8>, TaskFailure>,
}

/// How a task failed: a value that Retry and Catch match, not an operating error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The error name, for instance `Lambda.Unknown`.
    pub error: String,
    /// The cause, if any.
    pub cause: Option<String>,
}

/// What runs the calls of a pipeline's Task states.
pub trait Integrations: Send + Sync {
    /// Takes all of `calls`, leaving it empty, and sees to it that each is answered exactly once through `replies`, at once or later from any thread. Called on a shard's thread: it must not block.
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender);
}

/// Answers every call with a failure; for definitions without Task states.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoIntegrations;

impl Integrations for NoIntegrations {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        for call in calls.drain(..) {
            let cause = format!("no integration is configured for resource {}", call.resource);
            replies.send(Reply { id: call.id, result: Err(TaskFailure { error: "States.TaskFailed".to_owned(), cause: Some(cause) }) });
        }
    }
}

#[derive(Debug)]
struct Shared {
    asleep: AtomicBool,
    overflowed: AtomicU64,
}

/// The way back into a shard.
#[derive(Debug, Clone)]
pub struct ReplySender {
    sender: Sender<Reply>,
    shared: Arc<Shared>,
    waker: Waker,
}

impl ReplySender {
    /// Hands an answer to the shard and wakes it if it sleeps. Never blocks.
    pub fn send(&self, reply: Reply) {
        match self.sender.try_send(reply) {
            // The shard is gone with all its executions: nobody waits for this answer.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake_by_ref();
        }
    }
}

/// The shard's end of its inbox.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Reply>,
    shared: Arc<Shared>,
}

impl Inbox {
    /// The next answer, if one is there.
    #[must_use]
    pub fn take(&self) -> Option<Reply> {
        self.receiver.try_recv().ok()
    }

    /// Says that the shard is about to sleep, and returns whether it may: not if an answer is there. From now on an answer wakes the shard.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        self.receiver.is_empty()
    }

    /// Answers that were dropped because the inbox was full, which takes an integration that answers a call twice.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.shared.overflowed.load(Ordering::Relaxed)
    }
}

/// An inbox for `capacity` answers, and the sender into it; `waker` ends the sleep of the shard.
#[must_use]
pub fn inbox(capacity: usize, waker: Waker) -> (ReplySender, Inbox) {
    let (sender, receiver) = bounded(capacity);
    let shared = Arc::new(Shared { asleep: AtomicBool::new(false), overflowed: AtomicU64::new(0) });
    (ReplySender { sender, shared: Arc::clone(&shared), waker }, Inbox { receiver, shared })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn reply(sequence: u32) -> Reply {
        Reply { id: EffectId { slot: 0, generation: 1, strand: 0, sequence }, result: Ok(b"{}".to_vec()) }
    }

    #[test]
    fn an_answer_wakes_a_sleeping_shard_once() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let (sender, inbox) = inbox(4, Waker::from(Arc::clone(&count)));
        sender.send(reply(0));
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "an awake shard needs no waking");
        assert!(!inbox.prepare_sleep(), "an answer is there");
        assert_eq!(inbox.take(), Some(reply(0)));
        assert!(inbox.prepare_sleep());
        sender.send(reply(1));
        sender.send(reply(2));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_answer_too_many_is_dropped_and_counted() {
        let (sender, inbox) = inbox(1, Waker::noop().clone());
        sender.send(reply(0));
        sender.send(reply(1));
        assert_eq!(inbox.overflowed(), 1);
        assert_eq!(inbox.take(), Some(reply(0)));
        assert_eq!(inbox.take(), None);
    }
}
