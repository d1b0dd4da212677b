//! What the other modules share: compile a definition, run an input to its end on virtual time.

use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{Budget, Deployment, Effect, EffectId, Effects, ExecutionName, Limits, Program, Reply, Silent, Slot, Start, Step, Timestamp, compile};

/// When every test execution starts.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) step: Step,
    /// The output, or empty.
    pub(crate) output: String,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    /// Milliseconds from start to end.
    pub(crate) ms: u64,
    /// How often the budget was used up.
    pub(crate) yields: u32,
}

/// Compiles an Express definition under the given limits.
pub(crate) fn program_with(definition: &str, limits: Limits) -> Program {
    let lowered = lower(definition, WorkflowType::Express).unwrap_or_else(|findings| panic!("{findings:#?}"));
    compile(&lowered.machine, &Deployment { limits, ..Deployment::named("machine") }).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// Compiles a definition of either type.
pub(crate) fn typed_program(definition: &str, workflow_type: WorkflowType) -> Program {
    let lowered = lower(definition, workflow_type).unwrap_or_else(|findings| panic!("{findings:#?}"));
    compile(&lowered.machine, &Deployment::named("machine")).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// Compiles an Express definition.
pub(crate) fn program(definition: &str) -> Program {
    program_with(definition, Limits::default())
}

/// The start of a test execution.
pub(crate) fn start() -> Start<'static> {
    Start { name: ExecutionName::Text("execution"), now: START, seed: 7 }
}

/// Runs `input` to its end: time jumps to the next timer, tasks are answered by `task` from their input.
pub(crate) fn run_with(program: &Program, slot: &mut Slot, input: &str, mut task: impl FnMut(&str) -> Result<String, String>) -> Ended {
    slot.start(program, input.as_bytes(), &start()).unwrap_or_else(|fault| panic!("{fault}: {input}"));
    let mut effects = Effects::default();
    let mut timers: Vec<(Timestamp, EffectId)> = Vec::new();
    let (mut now, mut yields) = (START, 0);
    loop {
        match slot.run(program, now, Budget::default(), &mut effects, &mut Silent) {
            Step::Yielded => {
                yields += 1;
                // A slow machine: a run call takes a tenth of a second.
                now = now.plus_ms(100);
            }
            Step::Suspended => {
                let mut answered = false;
                for effect in std::mem::take(&mut effects.list) {
                    match effect {
                        Effect::Sleep { id, until } => timers.push((until, id)),
                        Effect::Cancel { id } => timers.retain(|(_, open)| *open != id),
                        Effect::Call { id, input, .. } => {
                            answered = true;
                            let input = String::from_utf8(effects.bytes[input].to_vec()).expect("inputs are UTF-8");
                            match task(&input) {
                                Ok(output) => slot.resume(program, id, Reply::Success(output.as_bytes())),
                                Err(error) => slot.resume(program, id, Reply::Failure { error: &error, cause: Some("cause") }),
                            };
                        }
                    }
                }
                effects.clear();
                if !answered {
                    timers.sort_unstable();
                    let (until, id) = timers.remove(0);
                    now = now.max(until);
                    slot.resume(program, id, Reply::Elapsed);
                }
            }
            step => {
                let mut output = Vec::new();
                if step == Step::Succeeded {
                    slot.write_output(program, &mut output);
                }
                let failure = slot.failure();
                return Ended {
                    step,
                    output: String::from_utf8(output).expect("outputs are UTF-8"),
                    error: failure.error.map(str::to_owned),
                    cause: failure.cause.map(str::to_owned),
                    ms: now.0 - START.0,
                    yields,
                };
            }
        }
    }
}

/// Runs `input` through `definition`; tasks echo their input.
pub(crate) fn run(definition: &str, input: &str) -> Ended {
    run_with(&program(definition), &mut Slot::new(0), input, |input| Ok(input.to_owned()))
}

/// The output of an execution that must succeed.
pub(crate) fn output(definition: &str, input: &str) -> String {
    let ended = run(definition, input);
    assert_eq!(ended.step, Step::Succeeded, "{ended:?}");
    ended.output
}
