//! Runs one execution of a case, with the executor that `expressway exec` has: on virtual time, where waits and time-outs take none and the same case takes the same way every time.

use std::sync::atomic::{AtomicBool, Ordering};

use expressway_engine::{ExecutionName, Observer, Program, Slot, Start, Timestamp};
use expressway_ingest::clock;
use expressway_ingest::local::{Executor, Pace, Status, TaskCall, TaskOutcome, TaskReply};

/// Whether every input is read by a shape learned from itself, as that of a second execution would be. Set before the first one, if at all.
pub static BY_SHAPES: AtomicBool = AtomicBool::new(false);

/// When every execution starts.
pub const START: Timestamp = clock::EXAMPLE;

/// A call of a task, as the engine makes it.
#[derive(Debug)]
pub struct Call<'c> {
    /// The Task state.
    pub state: &'c str,
    /// The `Resource` of the definition.
    pub resource: &'c str,
    /// The input, JSON.
    pub input: &'c [u8],
}

/// How a task answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// With a result, JSON, after some milliseconds.
    Return(Vec<u8>, u64),
    /// With an error and perhaps a cause, after some milliseconds.
    Throw(String, Option<String>, u64),
    /// Not at all; the state's time-out, if any, decides.
    Silence,
}

impl From<Answer> for TaskReply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Return(result, after_ms) => Self { after_ms, outcome: TaskOutcome::Success(result) },
            Answer::Throw(error, cause, after_ms) => Self { after_ms, outcome: TaskOutcome::Failure { error, cause } },
            Answer::Silence => Self { after_ms: 0, outcome: TaskOutcome::Silence },
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `SUCCEEDED`, `FAILED` or `TIMED_OUT`.
    pub status: &'static str,
    /// The output, JSON, of one that succeeded.
    pub output: Option<Vec<u8>>,
    /// The error name of one that did not.
    pub error: Option<String>,
    /// Its cause.
    pub cause: Option<String>,
    /// Virtual milliseconds from start to end.
    pub took_ms: u64,
}

/// Runs one execution to its end. `answer` plays the tasks.
///
/// # Errors
/// When the input is refused, when `answer` refuses a call, or when the execution waits for nothing or never ends.
pub fn execute<O: Observer>(
    program: &Program,
    name: &str,
    input: &[u8],
    observer: &mut O,
    answer: &mut dyn FnMut(&Call<'_>) -> Result<Answer, String>,
) -> Result<Ended, String> {
    let mut executor = Executor::new(Slot::new(0), Pace::Virtual);
    let start = Start { name: ExecutionName::Text(name), now: START, seed: 1 };
    if BY_SHAPES.load(Ordering::Relaxed) {
        executor = executor.with_learned(program, input, &start);
    }
    // The executor knows no refusal: the first one is kept, and the task stays silent, so that the execution cannot end well.
    let mut refusal = None;
    let mut play = |call: &TaskCall<'_>| {
        let call = Call { state: call.state, resource: &call.resource.arn, input: call.input };
        answer(&call).map_or_else(
            |reason| {
                refusal.get_or_insert(reason);
                Answer::Silence.into()
            },
            TaskReply::from,
        )
    };
    let ended = executor.run(program, input, &start, &mut play, observer);
    if let Some(reason) = refusal {
        return Err(reason);
    }
    let ended = ended.map_err(|error| error.to_string())?;
    let output = (ended.status == Status::Succeeded).then_some(ended.output);
    Ok(Ended { status: ended.status.as_str(), output, error: ended.error, cause: ended.cause, took_ms: ended.at.0 - START.0 })
}
