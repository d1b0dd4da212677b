//! The integrations that live in this process: mocks first, then native handlers.
//!
//! An answer that is due at once is given on the shard's own thread; a later one waits on a timer thread, which is all that `native:delay` needs. The queue towards that thread is bounded; a call that finds it full fails with [`OVERLOADED`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use expressway_engine::Program;

use super::mock::TestCase;
use super::{Call, Integrations, Reply, ReplySender, TaskFailure, native};
use crate::clock::Clock;
use crate::local::{TaskOutcome, TaskReply};

/// The error name of a delayed call that found the timer's queue full.
pub const OVERLOADED: &str = "Native.Overloaded";

/// Delayed answers on their way to the timer thread; those that it holds already are bounded by the executions that are open.
const DELAYED_MAX: usize = 65_536;

/// Mocks and native handlers of one pipeline.
#[derive(Debug)]
pub struct Builtin {
    mocks: Option<TestCase>,
    /// Invocations by shard and slot, where exactly one execution lives at a time.
    visits: Mutex<HashMap<(ThreadId, u32), Visits>>,
    delayed: Sender<Delayed>,
    clock: Clock,
}

/// Invocations per state of the execution that a slot holds.
#[derive(Debug, Default)]
struct Visits {
    generation: u32,
    states: BTreeMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Delayed {
    /// On the monotonic clock.
    due_ns: u64,
    reply: Reply,
    replies: ReplySender,
}

impl Builtin {
    /// Starts the timer thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mocks: Option<TestCase>) -> std::io::Result<Self> {
        let (delayed, receiver) = bounded(DELAYED_MAX);
        let clock = Clock::start();
        thread::Builder::new().name("task-timer".to_owned()).spawn(move || keep_time(&receiver, clock))?;
        Ok(Self { mocks, visits: Mutex::default(), delayed, clock })
    }

    /// The resources of `program` that nothing here answers for. States are mocked one by one, so with mocks any resource may be answered.
    #[must_use]
    pub fn unanswered<'p>(program: &'p Program, mocks: Option<&TestCase>) -> Vec<&'p str> {
        let arns = program.resources().iter().map(|resource| resource.arn.as_str());
        if mocks.is_some() { Vec::new() } else { arns.filter(|arn| !native::is_known(arn)).collect() }
    }

    fn answer(&self, call: &Call) -> TaskReply {
        if let Some(reply) =
            self.mocks.as_ref().and_then(|mocks| mocks.has_state(&call.state).then(|| mocks.reply(&call.state, self.invocation(call)))).flatten()
        {
            return reply;
        }
        native::call(&call.resource, &call.input, call.attempt).unwrap_or_else(|| {
            let cause = format!(
                "nothing answers for resource {} of state \"{}\": it is neither mocked nor one of {}",
                call.resource,
                call.state,
                native::NAMES.join(", ")
            );
            TaskReply::failure("States.Runtime", cause)
        })
    }

    /// Counts this invocation of the state within its execution, from 0.
    fn invocation(&self, call: &Call) -> u32 {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let visits = visits.entry((thread::current().id(), call.id.slot)).or_default();
        if visits.generation != call.id.generation {
            *visits = Visits { generation: call.id.generation, ..Visits::default() };
        }
        let count = visits.states.entry(Arc::clone(&call.state)).or_default();
        *count += 1;
        *count - 1
    }

    fn delay(&self, after_ms: u64, reply: Reply, replies: &ReplySender) {
        let id = reply.id;
        let due_ns = self.clock.now().monotonic_ns.saturating_add(after_ms.saturating_mul(1_000_000));
        let delayed = Delayed { due_ns, reply, replies: replies.clone() };
        if self.delayed.try_send(delayed).is_err() {
            let cause = format!("more than {DELAYED_MAX} delayed answers are waiting to be taken up");
            replies.send(Reply { id, result: Err(TaskFailure { error: OVERLOADED.to_owned(), cause: Some(cause) }) });
        }
    }
}

impl Integrations for Builtin {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        for call in calls.drain(..) {
            let TaskReply { after_ms, outcome } = self.answer(&call);
            let result = match outcome {
                TaskOutcome::Success(result) => Ok(result),
                TaskOutcome::Failure { error, cause } => Err(TaskFailure { error, cause }),
                // Exactly one answer a call is owed, so silence is an answer behind every possible time-out.
                TaskOutcome::Silence => Err(TaskFailure { error: "States.Timeout".to_owned(), cause: None }),
            };
            let reply = Reply { id: call.id, result };
            if after_ms == 0 { replies.send(reply) } else { self.delay(after_ms, reply, replies) }
        }
    }
}

/// Gives each answer when it is due; ends when the pipeline is gone.
fn keep_time(receiver: &Receiver<Delayed>, clock: Clock) {
    let mut waiting: BinaryHeap<Reverse<ByDue>> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse(ByDue(delayed))| delayed.due_ns);
        let received = match next {
            Some(due_ns) => receiver.recv_timeout(Duration::from_nanos(due_ns.saturating_sub(clock.now().monotonic_ns))),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(delayed) => waiting.push(Reverse(ByDue(delayed))),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(Reverse(ByDue(delayed))) = waiting.pop() {
                    delayed.replies.send(delayed.reply);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Orders by time alone.
struct ByDue(Delayed);

impl PartialEq for ByDue {
    fn eq(&self, other: &Self) -> bool {
        self.0.due_ns == other.0.due_ns
    }
}

impl Eq for ByDue {}

impl PartialOrd for ByDue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByDue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.due_ns.cmp(&other.0.due_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::task::Waker;

    use expressway_engine::EffectId;

    use super::super::mock::MockFile;
    use super::super::{Inbox, inbox};
    use super::*;

    fn call(resource: &str, input: &str, generation: u32, sequence: u32) -> Call {
        let id = EffectId { slot: 0, generation, strand: 0, sequence };
        Call { id, resource: resource.into(), state: "S".into(), attempt: 0, input: input.as_bytes().to_vec(), execution: "e".into() }
    }

    fn wait(inbox: &Inbox) -> Reply {
        loop {
            if let Some(reply) = inbox.take() {
                return reply;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn delayed_answers_come_in_the_order_of_their_time() {
        let builtin = Builtin::start(None).expect("starts");
        let (replies, inbox) = inbox(8, Waker::noop().clone());
        let mut calls = vec![call("native:delay", "{\"ms\":40}", 1, 1), call("native:delay", "{\"ms\":1}", 1, 2), call("native:echo", "7", 1, 3)];
        builtin.submit(&mut calls, &replies);
        assert!(calls.is_empty());
        let order: Vec<u32> = (0..3).map(|_| wait(&inbox).id.sequence).collect();
        assert_eq!(order, [3, 2, 1]);
    }

    #[test]
    fn mocks_count_invocations_of_one_execution() {
        let text = r#"{"StateMachines":{"m":{"TestCases":{"c":{"S":"R"}}}},"MockedResponses":{"R":{"0":{"Return":0},"1":{"Return":1}}}}"#;
        let case = MockFile::parse(Path::new("m"), text.as_bytes().to_vec()).expect("file").test_case("m", "c").expect("case");
        let builtin = Builtin::start(Some(case)).expect("starts");
        let (replies, inbox) = inbox(8, Waker::noop().clone());
        let mut calls = vec![call("x", "{}", 1, 1), call("x", "{}", 1, 2), call("x", "{}", 2, 1)];
        builtin.submit(&mut calls, &replies);
        let results: Vec<_> = (0..3).map(|_| wait(&inbox).result.expect("mocked")).collect();
        assert_eq!(results, [b"0", b"1", b"0"]);
    }

    #[test]
    fn what_nothing_answers_for_fails_beyond_every_catch() {
        let builtin = Builtin::start(None).expect("starts");
        let (replies, inbox) = inbox(8, Waker::noop().clone());
        builtin.submit(&mut vec![call("arn:x", "{}", 1, 1)], &replies);
        let failure = wait(&inbox).result.expect_err("fails");
        assert_eq!(failure.error, "States.Runtime");
        assert!(failure.cause.is_some_and(|cause| cause.contains("arn:x")));
    }
}
