//! The log of executions: AWS's log records, one a history event, written beside the results (spec/api.md 6).
//!
//! A shard's [`Log`] hears of every event of its executions, writes those of its level as lines into a chunk of its own, and hands the chunk over once a turn; a [`writer`] thread of the pipeline takes the chunks to standard output, a file or a topic. As with AWS the log is best effort: it never holds a record up, so what the destination does not take in time is dropped, and counted. A pipeline whose level is OFF has neither, and its shards run an engine that makes no events at all.

pub(super) mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::Sender;
use expressway_engine::history::{Encoder, Level};
use expressway_engine::{Event, Observer, Silent};

/// Bytes at which a chunk is handed over before its turn is over.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What is logged of a pipeline's executions, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Which events.
    pub level: Level,
    /// Whether inputs, outputs, parameters and variables are shown.
    pub include_execution_data: bool,
    /// Where they go.
    pub destination: Destination,
}

/// Where log records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, a line each.
    Stdout,
    /// A file that is appended to, a line each.
    File(PathBuf),
    /// A topic, a record each, with the execution's ARN as its key.
    Topic(String),
}

/// A processor's ear.
pub trait Listener: Observer + Send + 'static {
    /// The shard's turn is over: what has been heard may be handed over.
    fn end_turn(&mut self);
}

impl Listener for Silent {
    #[inline]
    fn end_turn(&mut self) {}
}

/// Log records on their way: lines one behind the other, with the ARNs of their executions.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    lines: Vec<u8>,
    arns: Vec<u8>,
    /// Where each line (with its line feed) and each ARN ends.
    ends: Vec<(usize, usize)>,
}

impl Chunk {
    fn records(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The lines without their line feeds, and the ARNs.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = std::iter::once((0, 0)).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|((line, arn), &(line_end, arn_end))| (&self.lines[line..line_end - 1], &self.arns[arn..arn_end]))
    }
}

/// What has become of a pipeline's log records.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// A shard's end of the log.
#[derive(Debug)]
pub struct Log {
    level: Level,
    include_execution_data: bool,
    encoder: Encoder,
    chunk: Chunk,
    /// The execution whose ARN is at hand: events of one execution mostly come together.
    known: Option<(u32, u32)>,
    arn: String,
    out: Sender<Chunk>,
    fates: Arc<Fates>,
}

impl Log {
    pub(super) fn new(logging: &Logging, out: Sender<Chunk>, fates: Arc<Fates>) -> Self {
        let (encoder, chunk) = (Encoder::default(), Chunk::default());
        let Logging { level, include_execution_data, .. } = *logging;
        Self { level, include_execution_data, encoder, chunk, known: None, arn: String::new(), out, fates }
    }

    fn hand_over(&mut self) {
        if self.chunk.ends.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        if let Err(refused) = self.out.try_send(chunk) {
            let records = refused.into_inner().records();
            tracing::warn!(records, "log records of executions are dropped: their destination is too slow");
            self.fates.dropped.fetch_add(records, Ordering::Relaxed);
        }
    }
}

impl Observer for Log {
    const LISTENS: bool = true;

    fn event(&mut self, event: &Event<'_>) {
        if !self.level.includes(event.type_name()) {
            return;
        }
        if self.known != Some(event.execution()) {
            self.known = Some(event.execution());
            self.arn = event.execution_arn();
        }
        self.encoder.log(event, &self.arn, self.include_execution_data, &mut self.chunk.lines);
        self.chunk.lines.push(b'\n');
        self.chunk.arns.extend_from_slice(self.arn.as_bytes());
        self.chunk.ends.push((self.chunk.lines.len(), self.chunk.arns.len()));
        if self.chunk.lines.len() >= CHUNK_BYTES_MAX {
            self.hand_over();
        }
    }
}

impl Listener for Log {
    fn end_turn(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::{Receiver, bounded};
    use expressway_engine::hir::{WorkflowType, lower};
    use expressway_engine::{Deployment, ExecutionName, Slot, Start, Timestamp, compile};

    use super::*;
    use crate::local::{Executor, Pace, TaskReply};

    fn log(level: Level, include_execution_data: bool, room: usize) -> (Log, Receiver<Chunk>, Arc<Fates>) {
        let (out, chunks) = bounded(room);
        let fates = Arc::new(Fates::default());
        let logging = Logging { level, include_execution_data, destination: Destination::Stdout };
        (Log::new(&logging, out, Arc::clone(&fates)), chunks, fates)
    }

    fn run(log: &mut Log, name: &str) {
        let text = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E","Cause":"c"}}}"#;
        let lowered = lower(text, WorkflowType::Express).expect("valid");
        let program = compile(&lowered.machine, &Deployment::named("m")).expect("compiles");
        let start = Start { name: ExecutionName::Text(name), now: Timestamp(5), seed: 1 };
        let ended = Executor::new(Slot::new(0), Pace::Virtual).run(&program, b"{}", &start, &mut |_| TaskReply::success("1"), log);
        assert!(ended.is_ok());
    }

    fn types(chunk: &Chunk) -> Vec<String> {
        let lines = chunk.each().map(|(line, _)| serde_json::from_slice::<serde_json::Value>(line).expect("a line is JSON"));
        lines.map(|record| record["type"].as_str().expect("has a type").to_owned()).collect()
    }

    #[test]
    fn each_level_logs_its_events_with_the_arn_as_key() {
        for (level, expected) in [
            (Level::All, &["ExecutionStarted", "FailStateEntered", "ExecutionFailed"][..]),
            (Level::Error, &["FailStateEntered", "ExecutionFailed"]),
            (Level::Fatal, &["ExecutionFailed"]),
        ] {
            let (mut log, chunks, _) = log(level, true, 1);
            run(&mut log, "one");
            log.end_turn();
            let chunk = chunks.try_recv().expect("a chunk was handed over");
            assert_eq!(types(&chunk), expected);
            assert!(chunk.each().all(|(line, arn)| arn.starts_with(b"arn:aws:states:us-east-1:000000000000:express:m:one:") && line.ends_with(b"}")));
        }
    }

    #[test]
    fn data_is_shown_only_when_asked_for() {
        for (include, shown) in [(true, true), (false, false)] {
            let (mut log, chunks, _) = log(Level::All, include, 1);
            run(&mut log, "one");
            log.end_turn();
            let chunk = chunks.try_recv().expect("a chunk was handed over");
            let text = String::from_utf8(chunk.lines).expect("UTF-8");
            assert_eq!(text.contains("\"input\":\"{}\""), shown, "{text}");
            assert!(text.contains("\"error\":\"E\"") && text.contains("roleArn"), "{text}");
        }
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_counted() {
        let (mut log, chunks, fates) = log(Level::All, true, 1);
        for name in ["one", "two", "three"] {
            run(&mut log, name);
            log.end_turn();
        }
        assert_eq!(chunks.len(), 1);
        assert_eq!(fates.dropped.load(Ordering::Relaxed), 6);
    }
}
