//! Definitions that are measured, and one execution of them from bytes to bytes.

use expressway_engine::document::Fault;
use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{
    Budget, Deployment, Effect, EffectId, Effects, ExecutionName, Failure, Program, Reply, Resumed, Shapes, Silent, Slot, Start, Step, Timestamp, compile,
};
use expressway_ingest::clock;

use crate::error::Error;

/// The canonical workflow, the very file that the service runs.
pub const HEARTBEAT: &str = include_str!("../../configs/definitions/heartbeat.asl.json");

/// An alert with readings: a Parallel state with a Map in it.
pub const ALERT: &str = include_str!("../../configs/definitions/alert.asl.json");

/// A registration: tasks, retries, catchers.
pub const REGISTRATION: &str = include_str!("../../configs/definitions/registration.asl.json");

/// The topic that executions are named after.
pub const TOPIC: &str = "heartbeats";

/// When every execution starts.
pub const NOW: Timestamp = clock::EXAMPLE;

/// Compiles a definition as Express.
///
/// # Errors
/// The definition is refused; the text has its first finding.
pub fn program(text: &str, name: &str) -> Result<Program, Error> {
    let refused = |found: Vec<expressway_engine::diagnostic::Diagnostic>| {
        Error::Wrong(format!("the definition {name} is refused: {}", found.first().map_or("", |found| found.message.as_str())))
    };
    let lowered = lower(text, WorkflowType::Express).map_err(refused)?;
    compile(&lowered.machine, &Deployment::named(name)).map_err(refused)
}

/// Runs executions one after the other in one slot, as a shard does with executions that never wait. Whatever an execution asks of the outside is answered at once: sleeps are over, calls return the runner's one reply.
#[derive(Debug)]
pub struct Runner<'p> {
    program: &'p Program,
    slot: Slot,
    shapes: Shapes,
    effects: Effects,
    reply: &'static [u8],
    last: Step,
    output: Vec<u8>,
}

impl<'p> Runner<'p> {
    /// A runner of `program` with memory of its own. Calls return null.
    #[must_use]
    pub fn new(program: &'p Program) -> Self {
        Self::answering(program, b"null")
    }

    /// As [`new`](Self::new); calls return `reply`, a JSON text.
    #[must_use]
    pub fn answering(program: &'p Program, reply: &'static [u8]) -> Self {
        Self { program, slot: Slot::new(0), shapes: Shapes::new(), effects: Effects::default(), reply, last: Step::Suspended, output: Vec::new() }
    }

    /// The same, but it learns no shapes of messages: each is read by the full pass.
    #[must_use]
    pub fn without_learning(self) -> Self {
        Self { shapes: Shapes::off(), ..self }
    }

    /// Runs one execution from its input to its output, or to error and cause as JSON where it fails, and returns those bytes.
    ///
    /// # Panics
    /// The input is no JSON.
    #[inline]
    pub fn execute(&mut self, input: &[u8], offset: i64) -> &[u8] {
        self.offer(input, offset).expect("measured messages are JSON")
    }

    /// As [`execute`](Self::execute), for an input that may be broken.
    ///
    /// # Errors
    /// What is wrong with the input.
    #[inline]
    pub fn offer(&mut self, input: &[u8], offset: i64) -> Result<&[u8], Fault> {
        self.start(input, offset)?;
        self.proceed();
        Ok(self.write())
    }

    /// The first part of an execution: reads its input.
    ///
    /// # Errors
    /// What is wrong with the input.
    #[inline]
    pub fn start(&mut self, input: &[u8], offset: i64) -> Result<(), Fault> {
        let start = Start { name: ExecutionName::Position { topic: TOPIC, partition: 0, offset }, now: NOW, seed: offset.unsigned_abs() };
        self.slot.start_with(self.program, input, &start, &mut self.shapes)
    }

    /// The second part: runs what was started to its end.
    ///
    /// # Panics
    /// The execution runs over its time, or waits for something that nobody will answer: measured workflows do neither.
    #[inline]
    pub fn proceed(&mut self) {
        loop {
            self.last = self.slot.run(self.program, NOW, Budget::default(), &mut self.effects, &mut Silent);
            match self.last {
                Step::Succeeded | Step::Failed => break,
                Step::Yielded => {}
                Step::Suspended => self.answer(),
                Step::TimedOut => panic!("a measured execution ran over its time"),
            }
        }
        self.effects.clear();
    }

    /// Answers everything that was asked, except for the sleep until the execution's own deadline, which never comes.
    fn answer(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        let mut is_answered = false;
        for effect in &effects.list {
            let (id, reply) = match effect {
                Effect::Call { id, .. } => (*id, Reply::Success(self.reply)),
                Effect::Sleep { id, .. } if id.strand != EffectId::DEADLINE => (*id, Reply::Elapsed),
                _ => continue,
            };
            is_answered |= self.slot.resume(self.program, id, reply) == Resumed::Accepted;
        }
        assert!(is_answered, "a measured execution waits for something that nobody answers");
        effects.clear();
        self.effects = effects;
    }

    /// The third part: writes the output of the execution that ran last, or error and cause as JSON where it failed, and returns those bytes.
    #[inline]
    pub fn write(&mut self) -> &[u8] {
        self.output.clear();
        if self.last == Step::Succeeded {
            self.slot.write_output(self.program, &mut self.output);
        } else {
            write_failure(&self.slot.failure(), &mut self.output);
        }
        &self.output
    }
}

/// `{"Error":…,"Cause":…}` with the parts that there are, as results carry it.
fn write_failure(failure: &Failure<'_>, out: &mut Vec<u8>) {
    let mut before: &[u8] = b"{";
    for (name, text) in [("Error", failure.error), ("Cause", failure.cause)] {
        if let Some(text) = text {
            out.extend_from_slice(before);
            write_string(name, out);
            out.push(b':');
            write_string(text, out);
            before = b",";
        }
    }
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_go_from_bytes_to_bytes() {
        let program = program(HEARTBEAT, "heartbeat").unwrap();
        let mut runner = Runner::new(&program);
        let mut check = |input: &str, expected: &str| assert_eq!(String::from_utf8_lossy(runner.execute(input.as_bytes(), 7)), expected);
        let meta = r#""meta":{"deviceId":"d","at":"t","source":"iot","exec":"heartbeats-0-7"}"#;
        check(r#"{"deviceId":"d","type":"alert","ts":"t","battery":50}"#, &format!(r#"{{"deviceId":"d","type":"alert","ts":"t","battery":50,{meta}}}"#));
        check(r#"{"type":"probe"}"#, r#"{"Error":"UnknownType","Cause":"The message is neither a heartbeat nor an alert."}"#);
    }

    #[test]
    fn what_an_execution_asks_for_is_answered_at_once() {
        let program = program(REGISTRATION, "registration").unwrap();
        let mut runner = Runner::answering(&program, br#"{"owner":"fleet-7"}"#);
        for _ in 0..2 {
            assert_eq!(String::from_utf8_lossy(runner.execute(br#"{"deviceId":"d","unreachable":0}"#, 1)), r#"{"owner":"fleet-7"}"#);
        }
    }

    #[test]
    fn broken_input_is_a_fault() {
        let program = program(HEARTBEAT, "heartbeat").unwrap();
        let mut runner = Runner::new(&program);
        assert!(runner.offer(br#"{"type":"#, 1).is_err());
        assert!(runner.offer(br#"{"type":"probe"}"#, 1).is_ok());
    }

    #[test]
    fn refused_definition_is_named_with_its_finding() {
        let error = program("{}", "empty").unwrap_err();
        assert!(error.to_string().starts_with("the definition empty is refused: "), "{error}");
    }
}
