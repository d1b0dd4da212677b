//! Runs one execution to its end on the calling thread: `exec`, the conformance judge and tests.
//!
//! Time is virtual by default: when nothing can go on before some instant, the clock is put to that instant, so a Wait of a year takes no time at all. Task calls are answered by a closure that says what the answer is and after how many milliseconds it comes. No Kafka, no socket, no thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use expressway_engine::document::Fault;
use expressway_engine::hir::Resource;
use expressway_engine::{Budget, Effect, EffectId, Effects, Observer, Program, Reply, Resumed, Shapes, Slot, Start, Step, Timestamp};

/// What an execution that uses up a run call's budget is charged on the virtual clock, so that an endless loop of Choice states reaches its deadline. About a fortieth of a microsecond a transition; an execution within AWS's limits uses few budgets.
const YIELD_MS: u64 = 250;

/// Run calls of one execution. Only a Standard workflow without a time-out, which has no deadline to end an endless loop, comes near it.
const RUN_CALLS_MAX: u32 = 1_000_000;

/// Whether waits take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The clock jumps to the next instant at which something is due.
    #[default]
    Virtual,
    /// The thread waits until something is due.
    Real,
}

/// A task call as its handler sees it.
#[derive(Debug, Clone, Copy)]
pub struct TaskCall<'c> {
    /// What is called.
    pub resource: &'c Resource,
    /// The name of the Task state.
    pub state: &'c str,
    /// How often this visit of the state has been retried, from 0.
    pub attempt: u32,
    /// The JSON input.
    pub input: &'c [u8],
    /// When the call is made.
    pub now: Timestamp,
    /// When the call times out.
    pub timeout_at: Option<Timestamp>,
}

/// The answer to a call, and how long it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReply {
    /// Milliseconds from the call to the answer.
    pub after_ms: u64,
    /// The answer.
    pub outcome: TaskOutcome,
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// With a result, a JSON text.
    Success(Vec<u8>),
    /// With an error.
    Failure {
        /// The error name.
        error: String,
        /// The cause, if any.
        cause: Option<String>,
    },
    /// Not at all: only the call's time-out ends it.
    Silence,
}

impl TaskReply {
    /// An immediate result.
    #[must_use]
    pub fn success(result: impl Into<Vec<u8>>) -> Self {
        Self { after_ms: 0, outcome: TaskOutcome::Success(result.into()) }
    }

    /// An immediate error.
    #[must_use]
    pub fn failure(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { after_ms: 0, outcome: TaskOutcome::Failure { error: error.into(), cause: Some(cause.into()) } }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In which of the three ways.
    pub status: Status,
    /// The output of an execution that succeeded, compact JSON; empty otherwise.
    pub output: Vec<u8>,
    /// The error name of one that did not, where it has one.
    pub error: Option<String>,
    /// The cause of one that did not, where it has one.
    pub cause: Option<String>,
    /// When it ended.
    pub at: Timestamp,
}

/// The status of an execution that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has an output.
    Succeeded,
    /// It has an error, a cause, both or none.
    Failed,
    /// It ran over its time.
    TimedOut,
}

impl Status {
    /// AWS's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
        }
    }
}

/// Why an execution has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The input is not a JSON document, or too large.
    Input(Fault),
    /// A task never answers and nothing times out.
    Stalled,
    /// It was still running after a great number of run calls.
    Endless,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(fault) => fault.fmt(f),
            Self::Stalled => f.write_str("a task never answers and neither it nor the execution has a time-out"),
            Self::Endless => write!(f, "the execution has no time-out and was still running after {RUN_CALLS_MAX} turns"),
        }
    }
}

impl std::error::Error for Error {}

/// Runs executions one after the other in one slot.
#[derive(Debug)]
pub struct Executor {
    slot: Slot,
    shapes: Shapes,
    pace: Pace,
    effects: Effects,
    timers: BinaryHeap<Reverse<Due>>,
    /// Count of timers made, which orders those of one instant.
    made: u64,
}

/// An answer with its time. Each open effect has at most one: of a call's answer and its time-out, only the earlier can matter.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: Timestamp,
    order: u64,
    id: EffectId,
    answer: Answer,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Elapsed,
    TimedOut,
    Success(Vec<u8>),
    Failure { error: String, cause: Option<String> },
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The clock of one execution.
struct Clock {
    pace: Pace,
    real: crate::clock::Clock,
    start: Timestamp,
    now: Timestamp,
}

impl Clock {
    fn new(pace: Pace, start: Timestamp) -> Self {
        Self { pace, real: crate::clock::Clock::start(), start, now: start }
    }

    fn elapsed(&self) -> Timestamp {
        self.start.plus_ms(self.real.now().monotonic_ns / 1_000_000)
    }

    /// Goes on to `until`, or stays where that is past.
    fn wait(&mut self, until: Timestamp) {
        if self.pace == Pace::Real {
            let ms = until.0.saturating_sub(self.elapsed().0);
            // A channel that only ever delivers the passing of time.
            let passed = crossbeam::channel::after(Duration::from_millis(ms)).recv();
            debug_assert!(passed.is_ok(), "the channel of a timer delivers once");
        }
        self.now = self.now.max(until);
    }

    /// Accounts for a used-up budget.
    fn charge_yield(&mut self) {
        self.now = match self.pace {
            Pace::Virtual => self.now.plus_ms(YIELD_MS),
            Pace::Real => self.now.max(self.elapsed()),
        };
    }
}

impl Executor {
    /// An executor that works in `slot`.
    #[must_use]
    pub fn new(slot: Slot, pace: Pace) -> Self {
        Self { slot, shapes: Shapes::off(), pace, effects: Effects::default(), timers: BinaryHeap::new(), made: 0 }
    }

    /// The same, for which `input` is a message of a shape that it has learned.
    #[must_use]
    pub fn with_learned(mut self, program: &Program, input: &[u8], start: &Start<'_>) -> Self {
        self.shapes = Shapes::new();
        if self.slot.start_with(program, input, start, &mut self.shapes).is_err() {
            // The run will tell why; a text that is no document teaches nothing.
            self.slot.reset(0);
        }
        self
    }

    /// Runs `program` on `input` to its end. `tasks` answers its calls, `observer` hears its events.
    ///
    /// # Errors
    /// [`Error`] when the input is no document, or the execution would never end.
    pub fn run<O: Observer>(
        &mut self,
        program: &Program,
        input: &[u8],
        start: &Start<'_>,
        tasks: &mut dyn FnMut(&TaskCall<'_>) -> TaskReply,
        observer: &mut O,
    ) -> Result<Ended, Error> {
        self.timers.clear();
        self.effects.clear();
        self.slot.start_with(program, input, start, &mut self.shapes).map_err(Error::Input)?;
        let mut clock = Clock::new(self.pace, start.now);
        for _ in 0..RUN_CALLS_MAX {
            let step = self.slot.run(program, clock.now, Budget::default(), &mut self.effects, observer);
            self.take_effects(program, clock.now, tasks);
            match step {
                Step::Succeeded => return Ok(self.ended(Status::Succeeded, program, clock.now)),
                Step::Failed => return Ok(self.ended(Status::Failed, program, clock.now)),
                Step::TimedOut => return Ok(self.ended(Status::TimedOut, program, clock.now)),
                Step::Yielded => {
                    clock.charge_yield();
                    while self.timers.peek().is_some_and(|Reverse(due)| due.at <= clock.now) {
                        self.fire(program);
                    }
                }
                Step::Suspended => loop {
                    let Reverse(due) = self.timers.peek().ok_or(Error::Stalled)?;
                    clock.wait(due.at);
                    if self.fire(program) == Resumed::Accepted {
                        break;
                    }
                },
            }
        }
        self.slot.reset(0);
        Err(Error::Endless)
    }

    /// Gives the slot the answer that is due first.
    fn fire(&mut self, program: &Program) -> Resumed {
        let Some(Reverse(due)) = self.timers.pop() else { return Resumed::Stale };
        let reply = match &due.answer {
            Answer::Elapsed => Reply::Elapsed,
            Answer::TimedOut => Reply::TimedOut,
            Answer::Success(result) => Reply::Success(result),
            Answer::Failure { error, cause } => Reply::Failure { error, cause: cause.as_deref() },
        };
        self.slot.resume(program, due.id, reply)
    }

    fn take_effects(&mut self, program: &Program, now: Timestamp, tasks: &mut dyn FnMut(&TaskCall<'_>) -> TaskReply) {
        for effect in std::mem::take(&mut self.effects.list) {
            match effect {
                Effect::Sleep { id, until } => self.push(until, id, Answer::Elapsed),
                Effect::Cancel { id } => self.timers.retain(|Reverse(due)| due.id != id),
                Effect::Call { id, resource, state, attempt, input, timeout_at } => {
                    let resource = &program.resources()[resource.0 as usize];
                    let reply = tasks(&TaskCall { resource, state: program.state_name(state), attempt, input: &self.effects.bytes[input], now, timeout_at });
                    self.push_reply(now, id, reply, timeout_at);
                }
            }
        }
        self.effects.clear();
    }

    fn push_reply(&mut self, now: Timestamp, id: EffectId, reply: TaskReply, timeout_at: Option<Timestamp>) {
        let at = now.plus_ms(reply.after_ms);
        let answer = match reply.outcome {
            TaskOutcome::Success(result) => Some(Answer::Success(result)),
            TaskOutcome::Failure { error, cause } => Some(Answer::Failure { error, cause }),
            TaskOutcome::Silence => None,
        };
        // An answer at the very instant of the time-out still counts.
        match (answer, timeout_at) {
            (Some(answer), timeout_at) if timeout_at.is_none_or(|timeout_at| at <= timeout_at) => self.push(at, id, answer),
            (_, Some(timeout_at)) => self.push(timeout_at, id, Answer::TimedOut),
            (_, None) => {}
        }
    }

    fn push(&mut self, at: Timestamp, id: EffectId, answer: Answer) {
        self.made += 1;
        self.timers.push(Reverse(Due { at, order: self.made, id, answer }));
    }

    fn ended(&self, status: Status, program: &Program, at: Timestamp) -> Ended {
        let mut ended = Ended { status, output: Vec::new(), error: None, cause: None, at };
        if status == Status::Succeeded {
            self.slot.write_output(program, &mut ended.output);
        } else {
            let failure = self.slot.failure();
            ended.error = failure.error.map(str::to_owned);
            ended.cause = failure.cause.map(str::to_owned);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use expressway_engine::hir::{WorkflowType, lower};
    use expressway_engine::{Deployment, ExecutionName, Silent, compile};

    use super::*;

    const START: Timestamp = crate::clock::EXAMPLE;

    fn program(text: &str, workflow_type: WorkflowType) -> Program {
        let lowered = lower(text, workflow_type).expect("valid");
        compile(&lowered.machine, &Deployment::named("test")).expect("compiles")
    }

    fn run(text: &str, workflow_type: WorkflowType, input: &str, tasks: &mut dyn FnMut(&TaskCall<'_>) -> TaskReply) -> Result<Ended, Error> {
        let program = program(text, workflow_type);
        let start = Start { name: ExecutionName::Text("one"), now: START, seed: 1 };
        Executor::new(Slot::new(0), Pace::Virtual).run(&program, input.as_bytes(), &start, tasks, &mut Silent)
    }

    fn no_tasks(_: &TaskCall<'_>) -> TaskReply {
        panic!("no task is called")
    }

    const TASK: &str = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","TimeoutSeconds":5,
        "Retry":[{"ErrorEquals":["Busy"],"IntervalSeconds":2,"MaxAttempts":2}],
        "Catch":[{"ErrorEquals":["States.Timeout"],"Next":"Late"}],"End":true},"Late":{"Type":"Pass","Result":"late","End":true}}}"#;

    #[test]
    fn waits_take_no_time_but_the_clock_goes_on() {
        let text = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":200,"Next":"P"},"P":{"Type":"Pass","End":true}}}"#;
        let ended = run(text, WorkflowType::Express, "{\"a\":1}", &mut no_tasks).expect("ends");
        assert_eq!((ended.status, ended.output.as_slice(), ended.at), (Status::Succeeded, &b"{\"a\":1}"[..], START.plus_ms(200_000)));
    }

    #[test]
    fn endless_choice_loop_times_out() {
        let text = r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.a","NumericEquals":1,"Next":"C"}],"Default":"E"},"E":{"Type":"Succeed"}}}"#;
        let ended = run(text, WorkflowType::Express, "{\"a\":1}", &mut no_tasks).expect("ends");
        assert_eq!(ended.status, Status::TimedOut);
        assert!(ended.at >= START.plus_ms(300_000));
    }

    #[test]
    fn failures_are_retried_after_their_delay() {
        let mut seen = Vec::new();
        let ended = run(TASK, WorkflowType::Express, "{}", &mut |call| {
            seen.push((call.attempt, call.now.0 - START.0));
            if call.attempt < 2 { TaskReply::failure("Busy", "later") } else { TaskReply::success("\"done\"") }
        });
        assert_eq!(ended.expect("ends").output, b"\"done\"");
        assert_eq!(seen, [(0, 0), (1, 2_000), (2, 6_000)]);
    }

    #[test]
    fn silence_and_late_answers_end_at_the_time_out() {
        for reply in [TaskReply { after_ms: 0, outcome: TaskOutcome::Silence }, TaskReply { after_ms: 5_001, ..TaskReply::success("1") }] {
            let ended = run(TASK, WorkflowType::Express, "{}", &mut |_| reply.clone()).expect("ends");
            assert_eq!((ended.output.as_slice(), ended.at), (&b"\"late\""[..], START.plus_ms(5_000)));
        }
        let just_in_time = TaskReply { after_ms: 5_000, ..TaskReply::success("1") };
        assert_eq!(run(TASK, WorkflowType::Express, "{}", &mut |_| just_in_time.clone()).expect("ends").output, b"1");
    }

    #[test]
    fn what_cannot_end_is_an_error() {
        let text = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","End":true}}}"#;
        let silence = TaskReply { after_ms: 0, outcome: TaskOutcome::Silence };
        let standard = run(text, WorkflowType::Standard, "{}", &mut |_| silence.clone());
        assert!(matches!(&standard, Err(Error::Stalled)) || standard.is_ok_and(|ended| ended.status != Status::Succeeded));
        assert_eq!(run(text, WorkflowType::Express, "{}", &mut |_| silence.clone()).expect("ends").status, Status::TimedOut);
        assert!(matches!(run(text, WorkflowType::Express, "{", &mut no_tasks), Err(Error::Input(_))));
    }
}
