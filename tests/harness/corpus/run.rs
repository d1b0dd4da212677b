//! Drives one execution through the engine on virtual time: waits and time-outs take none, and the same case takes the same way every time.

use std::collections::BTreeMap;

use expressway_engine::{Budget, Effect, EffectId, Effects, ExecutionName, Observer, Program, Reply, Resumed, Slot, Start, Step, Timestamp};

/// When every execution starts: 2026-11-20T12:00:00Z.
pub const START: Timestamp = Timestamp(1_795_176_000_000);

/// What the time jumps by when an execution has used up one budget: a loop that never waits meets its deadline after a few hundred of them.
const YIELD_MS: u64 = 1_000;

/// Run calls of one execution; far above what a case of a corpus needs, so that an engine that never ends is found out.
const RUNS_MAX: u32 = 100_000;

/// The budget of one run call, small enough for a case to yield now and then.
const BUDGET: Budget = Budget { transitions: 500, bytes: 1 << 20 };

/// A call of a task, as the engine makes it.
#[derive(Debug)]
pub struct Call<'c> {
    /// The Task state.
    pub state: &'c str,
    /// The `Resource` of the definition.
    pub resource: &'c str,
    /// The input, JSON.
    pub input: &'c [u8],
    /// How often this visit of the state has been retried.
    pub attempt: u32,
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

/// What the driver still owes the engine, ordered by when it is due.
#[derive(Debug, Default)]
struct Agenda {
    due: BTreeMap<(Timestamp, u64), (EffectId, Owed)>,
    entries: u64,
}

#[derive(Debug)]
enum Owed {
    Answer(Answer),
    TimedOut,
    Elapsed,
}

impl Agenda {
    fn add(&mut self, at: Timestamp, id: EffectId, owed: Owed) {
        self.entries += 1;
        self.due.insert((at, self.entries), (id, owed));
    }

    fn forget(&mut self, gone: EffectId) {
        self.due.retain(|_, (id, _)| *id != gone);
    }
}

/// Runs one execution to its end. `answer` plays the tasks.
///
/// # Errors
/// When the input is refused, when `answer` refuses a call, or when the engine breaks its contract: it waits for nothing, or never ends.
pub fn execute<O: Observer>(
    program: &Program,
    name: &str,
    input: &[u8],
    observer: &mut O,
    answer: &mut dyn FnMut(&Call<'_>) -> Result<Answer, String>,
) -> Result<Ended, String> {
    let mut slot = Slot::new(0, expressway_engine::Limits::default());
    let mut now = START;
    slot.start(program, input, &Start { name: ExecutionName::Text(name), now, seed: 1 }).map_err(|fault| format!("input refused: {fault}"))?;
    let (mut effects, mut agenda) = (Effects::default(), Agenda::default());
    for _ in 0..RUNS_MAX {
        effects.clear();
        let step = slot.run(program, now, BUDGET, &mut effects, observer);
        match step {
            Step::Succeeded | Step::Failed | Step::TimedOut => return Ok(ending(program, &slot, step, now)),
            Step::Yielded => now = now.plus_ms(YIELD_MS),
            Step::Suspended => {}
        }
        take_effects(program, &effects, now, &mut agenda, answer)?;
        if step == Step::Suspended {
            deliver_next(program, &mut slot, &mut now, &mut agenda)?;
        }
    }
    Err(format!("no end after {RUNS_MAX} run calls"))
}

fn take_effects(
    program: &Program,
    effects: &Effects,
    now: Timestamp,
    agenda: &mut Agenda,
    answer: &mut dyn FnMut(&Call<'_>) -> Result<Answer, String>,
) -> Result<(), String> {
    for effect in &effects.list {
        match effect {
            Effect::Call { id, resource, state, attempt, input, timeout_at } => {
                let input = effects.bytes.get(input.clone()).ok_or("a call's input lies outside the effects' bytes")?;
                let resource = program.resources().get(resource.0 as usize).ok_or("a call of an unknown resource")?;
                let answer = answer(&Call { state: program.state_name(*state), resource: &resource.arn, input, attempt: *attempt })?;
                if let Some(at) = timeout_at {
                    agenda.add(*at, *id, Owed::TimedOut);
                }
                match answer {
                    Answer::Silence => {}
                    Answer::Return(_, after_ms) | Answer::Throw(_, _, after_ms) => agenda.add(now.plus_ms(after_ms), *id, Owed::Answer(answer)),
                }
            }
            Effect::Sleep { id, until } => agenda.add(*until, *id, Owed::Elapsed),
            Effect::Cancel { id } => agenda.forget(*id),
        }
    }
    Ok(())
}

fn deliver_next(program: &Program, slot: &mut Slot, now: &mut Timestamp, agenda: &mut Agenda) -> Result<(), String> {
    let ((at, _), (id, owed)) = agenda.due.pop_first().ok_or("suspended, but nothing is open")?;
    *now = at.max(*now);
    let reply = match &owed {
        Owed::Answer(Answer::Return(result, _)) => Reply::Success(result),
        Owed::Answer(Answer::Throw(error, cause, _)) => Reply::Failure { error, cause: cause.as_deref() },
        Owed::TimedOut | Owed::Answer(Answer::Silence) => Reply::TimedOut,
        Owed::Elapsed => Reply::Elapsed,
    };
    if slot.resume(program, id, reply) == Resumed::Accepted {
        // An answered call's time-out, and a timed-out call's answer, are no longer wanted.
        agenda.forget(id);
    }
    Ok(())
}

fn ending(program: &Program, slot: &Slot, step: Step, now: Timestamp) -> Ended {
    let took_ms = now.0 - START.0;
    if step == Step::Succeeded {
        let mut output = Vec::new();
        slot.write_output(program, &mut output);
        return Ended { status: "SUCCEEDED", output: Some(output), error: None, cause: None, took_ms };
    }
    let failure = slot.failure();
    let status = if step == Step::TimedOut { "TIMED_OUT" } else { "FAILED" };
    Ended { status, output: None, error: failure.error.map(str::to_owned), cause: failure.cause.map(str::to_owned), took_ms }
}
