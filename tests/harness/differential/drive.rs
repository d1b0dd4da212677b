//! Runs the engine to the end of an execution, on virtual time.

use std::collections::BTreeMap;

use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{
    Budget, Deployment, Effect, EffectId, Effects, Event, EventKind, ExecutionName, Observer, Program, Reply, Slot, Start, Step, Timestamp, compile,
};
use serde_json::Value;

use crate::reference::{Answer, Call, Ended, Setup};

/// Most run calls of one execution; what is made here needs far fewer.
const RUN_CALLS_MAX: u32 = 200_000;

/// What is due at an instant, in the order in which it was asked for.
type Timers = BTreeMap<(Timestamp, u64), (EffectId, Due)>;

/// The states entered.
#[derive(Default)]
struct Path(Vec<String>);

impl Observer for Path {
    const LISTENS: bool = true;

    fn event(&mut self, event: &Event<'_>) {
        if let (EventKind::StateEntered(_), Some(name)) = (event.kind, event.state_name()) {
            self.0.push(name.to_owned());
        }
    }
}

enum Due {
    Elapsed,
    TimedOut,
    Success(Vec<u8>),
    Failure(String, Option<String>),
}

/// Compiles the definition.
///
/// # Errors
/// Names the findings.
pub fn program(setup: &Setup) -> Result<Program, String> {
    let workflow_type = if setup.express { WorkflowType::Express } else { WorkflowType::Standard };
    let findings = |findings: Vec<_>| format!("the definition is refused: {findings:?}");
    let lowered = lower(&setup.definition.to_string(), workflow_type).map_err(findings)?;
    let mut deployment = Deployment::named(&setup.machine);
    deployment.account.clone_from(&setup.account);
    deployment.role_arn.clone_from(&setup.role_arn);
    compile(&lowered.machine, &deployment).map_err(findings)
}

/// Runs one execution to its end.
///
/// # Errors
/// When the definition or the input is refused, or the execution does not end.
pub fn run(setup: &Setup, tasks: &mut dyn FnMut(&Call) -> Answer) -> Result<Ended, String> {
    let program = program(setup)?;
    let mut slot = Slot::new(0);
    let mut now = Timestamp(setup.start_ms);
    let start = Start { name: ExecutionName::Text(&setup.name), now, seed: 1 };
    slot.start(&program, setup.input.to_string().as_bytes(), &start).map_err(|fault| format!("the input is refused: {fault}"))?;
    let (mut effects, mut timers, mut made, mut path) = (Effects::default(), Timers::new(), 0, Path::default());
    for _ in 0..RUN_CALLS_MAX {
        let step = slot.run(&program, now, Budget::default(), &mut effects, &mut path);
        take_effects(&program, now, &mut effects, &mut timers, &mut made, tasks)?;
        let status = match step {
            Step::Succeeded => "SUCCEEDED",
            Step::Failed => "FAILED",
            Step::TimedOut => "TIMED_OUT",
            Step::Yielded => continue,
            Step::Suspended => {
                let ((at, _), (id, due)) = timers.pop_first().ok_or("the engine waits for nothing")?;
                now = now.max(at);
                resume(&program, &mut slot, id, &due);
                continue;
            }
        };
        return Ok(Ended { took_ms: now.0 - setup.start_ms, entered: path.0, ..ended(&program, &slot, status)? });
    }
    Err("the engine does not end".to_owned())
}

fn take_effects(
    program: &Program,
    now: Timestamp,
    effects: &mut Effects,
    timers: &mut Timers,
    made: &mut u64,
    tasks: &mut dyn FnMut(&Call) -> Answer,
) -> Result<(), String> {
    for effect in std::mem::take(&mut effects.list) {
        *made += 1;
        match effect {
            Effect::Sleep { id, until } => {
                timers.insert((until, *made), (id, Due::Elapsed));
            }
            Effect::Cancel { id } => timers.retain(|_, (open, _)| *open != id),
            Effect::Call { id, resource, state, attempt, input, timeout_at } => {
                let input: Value = serde_json::from_slice(&effects.bytes[input]).map_err(|error| format!("a task's input is not JSON: {error}"))?;
                let resource = program.resources()[resource.0 as usize].arn.to_string();
                let call = Call { state: program.state_name(state).to_owned(), resource, input, attempt: u64::from(attempt) };
                let (after_ms, due) = match tasks(&call) {
                    Answer::Return(result, after_ms) => (after_ms, Due::Success(result.to_string().into_bytes())),
                    Answer::Throw(error, cause, after_ms) => (after_ms, Due::Failure(error, cause)),
                    Answer::Silence => (u64::MAX / 2, Due::TimedOut),
                };
                let at = now.plus_ms(after_ms);
                let (at, due) = timeout_at.filter(|&timeout_at| timeout_at < at).map_or((at, due), |timeout_at| (timeout_at, Due::TimedOut));
                timers.insert((at, *made), (id, due));
            }
        }
    }
    effects.clear();
    Ok(())
}

fn resume(program: &Program, slot: &mut Slot, id: EffectId, due: &Due) {
    let reply = match due {
        Due::Elapsed => Reply::Elapsed,
        Due::TimedOut => Reply::TimedOut,
        Due::Success(result) => Reply::Success(result),
        Due::Failure(error, cause) => Reply::Failure { error, cause: cause.as_deref() },
    };
    slot.resume(program, id, reply);
}

fn ended(program: &Program, slot: &Slot, status: &'static str) -> Result<Ended, String> {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let mut ended = Ended {
        status,
        output: None,
        error: own(slot.failure().error),
        cause: own(slot.failure().cause),
        took_ms: 0,
        tied: false,
        entered: Vec::new(),
        concurrent: false,
        aborted: false,
    };
    if status == "SUCCEEDED" {
        let mut output = Vec::new();
        slot.write_output(program, &mut output);
        ended.output = Some(serde_json::from_slice(&output).map_err(|error| format!("the output is not JSON: {error}"))?);
        (ended.error, ended.cause) = (None, None);
    }
    Ok(ended)
}
