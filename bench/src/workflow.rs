//! Definitions that are measured, and one execution of them from bytes to bytes.

use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{Budget, Deployment, Effects, ExecutionName, Failure, Program, Shapes, Silent, Slot, Start, Step, Timestamp, compile};

use crate::error::Error;

/// The canonical workflow, the very file that the service runs.
pub const HEARTBEAT: &str = include_str!("../../configs/definitions/heartbeat.asl.json");

/// The topic that executions are named after.
pub const TOPIC: &str = "heartbeats";

/// When every execution starts: 2026-11-20T12:00:00Z.
const NOW: Timestamp = Timestamp(1_795_176_000_000);

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

/// Runs executions one after the other in one slot, as a shard does with executions that never wait.
#[derive(Debug)]
pub struct Runner<'p> {
    program: &'p Program,
    slot: Slot,
    shapes: Shapes,
    effects: Effects,
    last: Step,
    output: Vec<u8>,
}

impl<'p> Runner<'p> {
    /// A runner of `program` with memory of its own.
    #[must_use]
    pub fn new(program: &'p Program) -> Self {
        Self { program, slot: Slot::new(0), shapes: Shapes::new(), effects: Effects::default(), last: Step::Suspended, output: Vec::new() }
    }

    /// Runs one execution from its input to its output, or to error and cause as JSON where it fails, and returns those bytes.
    ///
    /// # Panics
    /// The input is no JSON, or the execution does not end in one turn: measured messages and workflows do neither.
    #[inline]
    pub fn execute(&mut self, input: &[u8], offset: i64) -> &[u8] {
        self.run(input, offset);
        self.write();
        &self.output
    }

    /// As [`execute`](Self::execute), without writing the output.
    ///
    /// # Panics
    /// As [`execute`](Self::execute).
    #[inline]
    pub fn run(&mut self, input: &[u8], offset: i64) {
        let start = Start { name: ExecutionName::Position { topic: TOPIC, partition: 0, offset }, now: NOW, seed: offset.unsigned_abs() };
        self.slot.start_with(self.program, input, &start, &mut self.shapes).expect("measured messages are JSON");
        self.last = self.slot.run(self.program, NOW, Budget::default(), &mut self.effects, &mut Silent);
        assert!(matches!(self.last, Step::Succeeded | Step::Failed), "measured executions end in one turn, this one is {:?}", self.last);
        self.effects.clear();
    }

    /// Writes the output of the execution that ran last, or error and cause as JSON where it failed, and returns those bytes.
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
    fn refused_definition_is_named_with_its_finding() {
        let error = program("{}", "empty").unwrap_err();
        assert!(error.to_string().starts_with("the definition empty is refused: "), "{error}");
    }
}
