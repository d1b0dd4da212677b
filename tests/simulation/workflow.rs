//! The workflow of the simulation: records of many kinds, the tasks they call, and what may become of each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pipeline::OnFailure;
use expressway_engine::document::Fault;
use expressway_engine::hir::{StateId, WorkflowType, lower};
use expressway_engine::{Deployment, EffectId, Effects, ExecutionName, Failure, Program, Reply, ResourceId, Resumed, Start, Step, Timestamp, compile};
use expressway_ingest::random::Random;
use expressway_ingest::tasks::{Call, Integrations, Reply as TaskReply, ReplySender, TaskFailure};

use crate::broker::Record;
use crate::pipeline::{Engine, Processor};
use crate::plan::{Plan, SOURCES, STALL_S};
use crate::producer::{RESULT_BYTES_MAX, Sent, Target};
use crate::world::{World, with};

const DEFINITION: &str = r#"{"TimeoutSeconds":4,"StartAt":"Kind","States":{
    "Kind":{"Type":"Choice","Choices":[
        {"Variable":"$.kind","StringEquals":"task","Next":"Ask"},
        {"Variable":"$.kind","StringEquals":"flaky","Next":"Try"},
        {"Variable":"$.kind","StringEquals":"silent","Next":"Hope"},
        {"Variable":"$.kind","StringEquals":"hung","Next":"Hang"},
        {"Variable":"$.kind","StringEquals":"failing","Next":"Break"},
        {"Variable":"$.kind","StringEquals":"both","Next":"Both"},
        {"Variable":"$.kind","StringEquals":"waiting","Next":"Rest"},
        {"Variable":"$.kind","StringEquals":"fail","Next":"Fail"}],"Default":"Done"},
    "Ask":{"Type":"Task","Resource":"native:ok","TimeoutSeconds":2,"ResultPath":"$.answer","Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":"$.error","Next":"Done"}],"Next":"Done"},
    "Try":{"Type":"Task","Resource":"native:flaky","ResultPath":"$.answer","Retry":[{"ErrorEquals":["Flaky"],"IntervalSeconds":1,"MaxAttempts":1}],"Next":"Done"},
    "Hope":{"Type":"Task","Resource":"native:silent","TimeoutSeconds":1,"ResultPath":"$.answer","Catch":[{"ErrorEquals":["States.Timeout"],"ResultPath":"$.error","Next":"Done"}],"Next":"Done"},
    "Hang":{"Type":"Task","Resource":"native:silent","End":true},
    "Break":{"Type":"Task","Resource":"native:fail","End":true},
    "Both":{"Type":"Parallel","Branches":[
        {"StartAt":"Left","States":{"Left":{"Type":"Task","Resource":"native:ok","ResultPath":"$.left","End":true}}},
        {"StartAt":"Right","States":{"Right":{"Type":"Task","Resource":"native:ok","ResultPath":"$.right","End":true}}}],"Next":"Done"},
    "Rest":{"Type":"Wait","Seconds":1,"Next":"Done"},
    "Fail":{"Type":"Fail","Error":"Broken","Cause":"as it is"},
    "Done":{"Type":"Succeed"}}}"#;

/// Goes on that many times before it ends, at most.
const SPINS_MAX: u64 = 40;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Task,
    Flaky,
    Silent,
    Hung,
    Failing,
    Both,
    Waiting,
    Fail,
    Spinning,
    Panicking,
    Huge,
    Malformed,
    Null,
}

impl Kind {
    const UNUSUAL: [Self; 13] = [
        Self::Task,
        Self::Flaky,
        Self::Silent,
        Self::Hung,
        Self::Failing,
        Self::Both,
        Self::Waiting,
        Self::Fail,
        Self::Spinning,
        Self::Panicking,
        Self::Huge,
        Self::Malformed,
        Self::Null,
    ];

    /// A kind; plain ones but for the given share in a hundred.
    pub(crate) fn draw(random: &mut Random, unusual_percent: u64) -> Self {
        if random.below(100) < unusual_percent { random.one_of(&Self::UNUSUAL) } else { Self::Plain }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Task => "task",
            Self::Flaky => "flaky",
            Self::Silent => "silent",
            Self::Hung => "hung",
            Self::Failing => "failing",
            Self::Both => "both",
            Self::Waiting => "waiting",
            Self::Fail => "fail",
            Self::Spinning => "spinning",
            Self::Panicking => "panicking",
            Self::Huge => "huge",
            Self::Malformed => "malformed",
            Self::Null => "null",
        }
    }

    /// The value of record number `n`.
    pub(crate) fn value(self, n: u64) -> Option<Vec<u8>> {
        match self {
            Self::Null => None,
            Self::Malformed => Some(format!("{{\"kind\":\"malformed\",\"n\":{n},").into_bytes()),
            Self::Huge => Some(format!("{{\"kind\":\"huge\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(RESULT_BYTES_MAX)).into_bytes()),
            kind => Some(format!("{{\"kind\":\"{}\",\"n\":{n}}}", kind.name()).into_bytes()),
        }
    }
}

/// The compiled workflow.
pub(crate) fn program() -> Arc<Program> {
    compiled(DEFINITION)
}

/// The same for runs in which executions stall.
pub(crate) fn stalling_program() -> Arc<Program> {
    compiled(&DEFINITION.replacen("\"TimeoutSeconds\":4", &format!("\"TimeoutSeconds\":{STALL_S}"), 1))
}

fn compiled(definition: &str) -> Arc<Program> {
    let machine = lower(definition, WorkflowType::Express).expect("the definition is valid").machine;
    Arc::new(compile(&machine, &Deployment::named("simulated")).expect("the definition fits"))
}

fn header<'s>(sent: &'s Sent, name: &str) -> Option<&'s str> {
    let (_, value) = sent.headers.list.iter().rev().find(|(found, _)| found == name)?;
    std::str::from_utf8(value).ok()
}

/// Whether a record that was written is one that its source may have become.
pub(crate) fn check(record: &Record, sent: &Sent, plan: &Plan) -> Result<(), String> {
    let expect = |what: &str, holds: bool| if holds { Ok(()) } else { Err(format!("{what}, for a record of kind {:?}: {sent:?}", record.kind)) };
    let (topic, number) = plan.position(record.partition);
    let position = format!("{}/{number}/{}", SOURCES[topic], record.offset);
    expect("it names another source", header(sent, "expressway-source") == Some(position.as_str()))?;
    expect("its key is not its source's", sent.key == record.key)?;
    if sent.target == Target::DeadLetters {
        return check_dead_letter(record, sent, plan, expect);
    }
    let status = header(sent, "expressway-status").unwrap_or("SUCCEEDED");
    let value = sent.value.as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    match record.kind {
        Kind::Plain | Kind::Spinning => expect("its value is not its execution's", status == "SUCCEEDED" && record.value.as_deref() == Some(value)),
        Kind::Task | Kind::Flaky | Kind::Silent | Kind::Both | Kind::Waiting if status == "SUCCEEDED" => {
            let number = record.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let number = number.split_once("\"n\":").map(|(_, rest)| rest.trim_end_matches('}').to_owned()).unwrap_or_default();
            expect("its value is another record's", text.contains(&format!("\"n\":{number}")))
        }
        Kind::Task | Kind::Flaky | Kind::Silent | Kind::Both | Kind::Waiting | Kind::Hung => expect("its status cannot be", status == "TIMED_OUT"),
        Kind::Failing => expect("its status cannot be", status == "FAILED" || status == "TIMED_OUT"),
        Kind::Fail => expect("its status cannot be", status == "FAILED" && text == r#"{"Error":"Broken","Cause":"as it is"}"#),
        Kind::Panicking | Kind::Huge | Kind::Malformed | Kind::Null => expect("there cannot be a result", false),
    }
}

fn check_dead_letter(record: &Record, sent: &Sent, plan: &Plan, expect: impl Fn(&str, bool) -> Result<(), String>) -> Result<(), String> {
    expect("its value is not its source's", sent.value == record.value)?;
    expect("its source's headers are gone", sent.headers.list.starts_with(&record.headers))?;
    let failures_are_dead = plan.on_failure == OnFailure::DeadLetter;
    let can_fail = matches!(record.kind, Kind::Task | Kind::Flaky | Kind::Silent | Kind::Both | Kind::Waiting | Kind::Hung | Kind::Failing | Kind::Fail);
    let holds = match header(sent, "expressway-reason") {
        Some("null_value") => record.kind == Kind::Null,
        Some("malformed_json") => record.kind == Kind::Malformed,
        Some("panic") => record.kind == Kind::Panicking,
        Some("result_too_large") => record.kind == Kind::Huge,
        Some("result_rejected") => !matches!(record.kind, Kind::Null | Kind::Malformed | Kind::Panicking),
        Some("execution_failed") => failures_are_dead && can_fail,
        _ => false,
    };
    expect("its reason cannot be", holds)
}

/// The engine, with executions that panic or go on for long mixed in.
pub(crate) struct Moody {
    engine: Engine,
    spinning: HashMap<u32, Spin>,
}

struct Spin {
    input: Vec<u8>,
    topic: String,
    partition: i32,
    offset: i64,
    seed: u64,
    left: u64,
}

impl Moody {
    pub(crate) fn new(program: &Arc<Program>) -> Self {
        Self { engine: Engine::new(program), spinning: HashMap::new() }
    }
}

fn is_of(input: &[u8], kind: Kind) -> bool {
    input.starts_with(format!("{{\"kind\":\"{}\"", kind.name()).as_bytes())
}

impl Processor for Moody {
    fn begin(&mut self, slot: u32, input: &[u8], start: &Start<'_>, effects: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault> {
        assert!(!is_of(input, Kind::Panicking), "as the record has it");
        if let ExecutionName::Position { topic, partition, offset } = start.name
            && is_of(input, Kind::Spinning)
        {
            let left = 1 + start.seed % SPINS_MAX;
            self.spinning.insert(slot, Spin { input: input.to_vec(), topic: topic.to_owned(), partition, offset, seed: start.seed, left });
            return Ok(Step::Yielded);
        }
        self.engine.begin(slot, input, start, effects, output)
    }

    fn proceed(&mut self, slot: u32, now: Timestamp, effects: &mut Effects, output: &mut Vec<u8>) -> Step {
        let Some(spin) = self.spinning.get_mut(&slot) else { return self.engine.proceed(slot, now, effects, output) };
        spin.left -= 1;
        if spin.left > 0 {
            return Step::Yielded;
        }
        let spin = self.spinning.remove(&slot).expect("it was found just now");
        let name = ExecutionName::Position { topic: &spin.topic, partition: spin.partition, offset: spin.offset };
        self.engine.begin(slot, &spin.input, &Start { name, now, seed: spin.seed }, effects, output).expect("the input is fit")
    }

    fn resume(&mut self, id: EffectId, reply: Reply<'_>) -> Resumed {
        self.engine.resume(id, reply)
    }

    fn failure(&self, slot: u32) -> Failure<'_> {
        self.engine.failure(slot)
    }

    fn write_name(&self, slot: u32, out: &mut Vec<u8>) {
        self.engine.write_name(slot, out);
    }

    fn finish(&mut self, slot: u32) -> u64 {
        self.engine.finish(slot)
    }

    fn abandon(&mut self, slot: u32) {
        if self.spinning.remove(&slot).is_none() {
            self.engine.abandon(slot);
        }
    }

    fn discard(&mut self, slot: u32) {
        self.spinning.remove(&slot);
        self.engine.discard(slot);
    }

    fn resource(&self, slot: u32, resource: ResourceId) -> Arc<str> {
        self.engine.resource(slot, resource)
    }

    fn state(&self, slot: u32, state: StateId) -> Arc<str> {
        self.engine.state(slot, state)
    }

    fn replace(&mut self, program: &Arc<Program>, open: &[u32]) {
        self.engine.replace(program, open);
    }
}

/// The world outside of an instance: answers soon, late, wrongly, or never.
pub(crate) struct Outside {
    instance: usize,
}

impl Outside {
    pub(crate) fn new(instance: usize) -> Self {
        Self { instance }
    }
}

impl Integrations for Outside {
    fn submit(&self, calls: &mut Vec<Call>, replies: &ReplySender) {
        for call in calls.drain(..) {
            let failure = |error: &str| Err(TaskFailure { error: error.to_owned(), cause: None });
            let result = match &*call.resource {
                "native:ok" => Ok(br#""yes""#.to_vec()),
                "native:flaky" if call.attempt > 0 => Ok(br#""at last""#.to_vec()),
                "native:flaky" => failure("Flaky"),
                "native:fail" => failure("Wrong"),
                _ => continue,
            };
            let (replies, instance, id) = (replies.clone(), self.instance, call.id);
            with(|world| {
                let delay_ns = task_ns(world);
                world.after_outside(delay_ns, move || {
                    if !with(|world| world.instances[instance].is_dead) {
                        replies.send(TaskReply { id, result });
                    }
                });
            });
        }
    }
}

fn task_ns(world: &mut World) -> u64 {
    match world.random.below(20) {
        0 if !world.is_calm => world.random.between(500_000_000, 3_000_000_000),
        1..=4 => world.random.between(20_000_000, 300_000_000),
        5..=8 => 0,
        _ => world.random.between(100_000, 20_000_000),
    }
}
