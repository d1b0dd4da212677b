//! `expressway trace`: one record out of Kafka, run here, step by step.
//!
//! The execution is the one that the service has run: same name, same seed, the clock at the record's own time, so what is random comes out the same. Only the answers of tasks are those of mocks and native handlers; nothing outside of this process is called.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use expressway_engine::hir::WorkflowType;
use expressway_engine::history::{Encoder, Entry, Recorder};
use expressway_engine::{Deployment, ExecutionName, Limits, Program, Slot, Start, Timestamp};
use rdkafka::message::Message as _;
use serde_json::{Value, json};

use super::connection::{ConnectionFlags, now, pipeline_of};
use super::definition::refused;
use super::output::{Output, tell};
use super::{Environment, Format, exec, trace};
use crate::config::{self, Config};
use crate::control::registry::Definition;
use crate::error::Error;
use crate::local::{Ended, Executor, Pace, Status, TaskCall};
use crate::operations::cluster::{Cluster, Range};
use crate::operations::header::{HeaderList, ORIGIN, Position, REASON, SOURCE, STATUS, VERSION};
use crate::operations::reader::{Fetched, Turn, fetch, read};
use crate::pipeline::router::destination;
use crate::pipeline::seed_of;
use crate::tasks::mock::{MockFile, TestCase};

/// Results read in search of the record's own.
const RESULTS_READ_MAX: u64 = 1_000_000;

/// Flags of `trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  expressway trace heartbeats:0:41 --config service.yaml\n  expressway trace heartbeats-dead-letters:2:7 --config service.yaml\n  expressway trace heartbeats:0:41 --brokers localhost:9092 --definition configs/definitions/heartbeat.asl.json\n\nThe position may be a record's own or that of its dead letter, but not that of its result, whose header expressway-source names it; of a dead letter, the execution of the record it stands for is traced. It runs under the definition that its pipeline has in the configuration, or --definition; of several, the one with the version that the record ran with, or --version. Tasks are answered by the pipeline's mocks and the native handlers. Where the pipeline is known, the record's result is looked up and compared.\n\nExit codes: 0 traced, 1 the record is no input, or nothing has the version asked for, 3 the record cannot be read."
)]
pub(super) struct Flags {
    /// The record
    #[arg(value_name = "TOPIC:PARTITION:OFFSET")]
    position: Position,
    /// Run it under this definition, repeatable with --version
    #[arg(long, env = "EXPRESSWAY_DEFINITION", value_name = "FILE")]
    definition: Vec<PathBuf>,
    /// Run it under the definition with this version
    #[arg(long, env = "EXPRESSWAY_DEFINITION_VERSION", value_name = "V")]
    version: Option<String>,
    /// The pipeline whose definition it is, where several read the topic
    #[arg(long, env = "EXPRESSWAY_PIPELINE", value_name = "NAME")]
    pipeline: Option<String>,
    /// Form of the output; json has the whole history
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: ConnectionFlags,
}

pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<(), Error> {
    let (config, cluster) = flags.connection.open(environment)?;
    let consumer = cluster.consumer("expressway-trace")?;
    let record = fetch(&cluster, &consumer, &flags.position)?;
    let is_dead_letter = record.headers.last(REASON).is_some();
    let source = if is_dead_letter { record.headers.position(SOURCE) } else { None }.unwrap_or_else(|| flags.position.clone());
    let pipeline = pipeline_of(&config, &source.topic, flags.pipeline.as_deref())?;
    let recorded = match pipeline {
        Some(_) if is_dead_letter => Some(Recorded::dead_letter(&flags.position, &record)),
        Some(pipeline) => Recorded::find(&cluster, pipeline, &source, &record)?,
        None => None,
    };
    let ran_with = recorded.as_ref().and_then(|recorded| recorded.version.clone());
    if pipeline.is_none() && flags.definition.is_empty() {
        return Err(unread(&flags.position, &source, record.headers.position(SOURCE)));
    }
    let program = flags.program(&config, pipeline, ran_with.as_deref())?;
    let value = record.value.as_deref().ok_or_else(|| Error::Input(format!("the record {} has no value, so there is no execution", flags.position)))?;
    let mocks = pipeline.and_then(|pipeline| pipeline.mocks.as_ref()).map(mocked).transpose()?;
    let started = record.time_ms.and_then(|ms| u64::try_from(ms).ok()).map_or_else(now, Timestamp);
    let (entries, ended) = execute(&program, &source, value, started, mocks.as_ref()).inspect_err(|_| {
        recorded.iter().for_each(|recorded| tell(&format!("the service: {} at {}", recorded.status, recorded.position)));
    })?;
    let replays = record.headers.replays();
    let replay = (replays > 0).then(|| format!("brought back {replays} times, first at {}", record.headers.text(ORIGIN).unwrap_or_default()));
    let traced = Traced { source, replay, program: &program, recorded, entries, ended };
    let mut out = Output::new();
    match flags.format {
        Format::Text => out.write(traced.text().as_bytes())?,
        Format::Json => out.line(&traced.json().to_string())?,
    }
    out.flush()
}

/// Why the record at `position` has no definition: nothing reads the topic of `source`, the record it stands for. A result names in its headers what it is `of`.
fn unread(position: &Position, source: &Position, of: Option<Position>) -> Error {
    let topic = &source.topic;
    Error::Usage(match of {
        Some(of) if position == source => format!("no pipeline of the configuration reads {topic}, and {position} is the result of {of}: trace {of}"),
        _ => format!("no pipeline of the configuration reads {topic}; give --config or --definition"),
    })
}

fn execute(program: &Program, source: &Position, value: &[u8], now: Timestamp, mocks: Option<&TestCase>) -> Result<(Vec<Entry>, Ended), Error> {
    let name = ExecutionName::Position { topic: &source.topic, partition: source.partition, offset: source.offset };
    let start = Start { name, now, seed: seed_of(&source.topic, source.partition, source.offset) };
    let mut recorder = Recorder::default();
    let mut invocations = BTreeMap::new();
    let mut tasks = |call: &TaskCall<'_>| exec::answer(call, mocks, &mut invocations);
    let ended = Executor::new(Slot::new(0), Pace::Virtual).run(program, value, &start, &mut tasks, &mut recorder);
    let ended = ended.map_err(|error| Error::Input(format!("the record {source} has no execution: {error}")))?;
    Ok((recorder.entries().to_vec(), ended))
}

impl Flags {
    /// The program to run: of the definitions at hand, the one with the version asked for, else the one the record ran with, else the first.
    fn program(&self, config: &Config, pipeline: Option<&config::Pipeline>, ran_with: Option<&str>) -> Result<Program, Error> {
        // One of the two is there: `run` has looked.
        let files: Vec<PathBuf> = self.definition.iter().cloned().chain(pipeline.map(|pipeline| pipeline.definition.clone())).collect();
        let mut programs = Vec::with_capacity(files.len());
        for file in &files {
            let definition = Definition::read(file).map_err(|error| refused(&error))?;
            let state_machine = pipeline.map_or_else(|| definition.stem(), |pipeline| pipeline.name.clone());
            let deployment = Deployment {
                region: config.identity.region.clone(),
                account: config.identity.account.clone(),
                role_arn: format!("arn:aws:iam::{}:role/{state_machine}", config.identity.account),
                state_machine,
                limits: Limits::default(),
            };
            programs.push(definition.compile(WorkflowType::Express, &deployment).map_err(|error| refused(&error))?.program);
        }
        let wanted = self.version.as_deref().or_else(|| ran_with.filter(|_| self.definition.is_empty()));
        if let Some(index) = wanted.and_then(|version| programs.iter().position(|program| program.version() == version)) {
            return Ok(programs.swap_remove(index));
        }
        if let Some(version) = &self.version {
            let at_hand: Vec<String> = files.iter().zip(&programs).map(|(file, program)| format!("{} is {}", file.display(), program.version())).collect();
            return Err(Error::Input(format!("no definition at hand has version {version}: {}; give the file with --definition", at_hand.join(", "))));
        }
        Ok(programs.swap_remove(0))
    }
}

fn mocked(mocks: &config::Mocks) -> Result<TestCase, Error> {
    let refuse = |error: crate::tasks::mock::Error| Error::Setting(error.to_string());
    MockFile::read(&mocks.file).map_err(refuse)?.test_case(&mocks.state_machine, &mocks.test_case).map_err(refuse)
}

/// What the service has made of the record.
struct Recorded {
    position: Position,
    status: String,
    version: Option<String>,
    /// The result, as JSON; `None` for a dead letter.
    value: Option<Value>,
}

impl Recorded {
    fn dead_letter(position: &Position, record: &Fetched) -> Self {
        let reason = record.headers.text(REASON).unwrap_or_default();
        Self { position: position.clone(), status: format!("dead letter, {reason}"), version: record.headers.text(VERSION), value: None }
    }

    /// Looks for the record's end where the pipeline has written it, from the record's time on.
    fn find(cluster: &Cluster, pipeline: &config::Pipeline, source: &Position, record: &Fetched) -> Result<Option<Self>, Error> {
        let consumer = cluster.consumer("expressway-trace")?;
        let source_count = cluster.partitions(&consumer, &source.topic)?;
        for topic in [&pipeline.result_topic, &pipeline.dead_letter_topic] {
            let count = cluster.partitions(&consumer, topic)?;
            let partition = destination(record.key.as_deref(), source.partition, source_count, count);
            let (from, to) = cluster.bounds(&consumer, topic, partition)?;
            let mut range = Range { partition, from, to };
            if let Some(time_ms) = record.time_ms {
                range.from = cluster.since(&consumer, topic, &[range], time_ms)?[0];
            }
            let (mut found, mut count) = (None, 0);
            read(&consumer, topic, &[range], &mut |turn| {
                let Turn::Record(message) = turn else { return Ok(ControlFlow::Continue(())) };
                count += 1;
                let headers = HeaderList::read(message).unwrap_or_default();
                if headers.position(SOURCE).as_ref() == Some(source) {
                    let position = Position::of(message);
                    let reason = headers.text(REASON).filter(|_| *topic == pipeline.dead_letter_topic);
                    let value = message.payload().filter(|_| reason.is_none()).and_then(|value| serde_json::from_slice(value).ok());
                    let status =
                        reason.map_or_else(|| headers.text(STATUS).unwrap_or_else(|| "SUCCEEDED".to_owned()), |reason| format!("dead letter, {reason}"));
                    found = Some(Self { position, status, version: headers.text(VERSION), value });
                }
                Ok(if found.is_some() || count >= RESULTS_READ_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if count >= RESULTS_READ_MAX && found.is_none() {
                tell(&format!("note: the record's end is not among {RESULTS_READ_MAX} records of {topic}/{partition}; \"expressway audit\" reads all of them"));
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whether the trace ended as the service's execution did; `None` where only its kind is known.
    fn is_same(&self, ended: &Ended) -> Option<bool> {
        let value = self.value.as_ref()?;
        let found: Value = if ended.status == Status::Succeeded {
            serde_json::from_slice(&ended.output).unwrap_or_default()
        } else {
            let parts = [("Error", &ended.error), ("Cause", &ended.cause)];
            parts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text.clone()?)))).collect::<serde_json::Map<_, _>>().into()
        };
        Some(self.status == ended.status.as_str() && *value == found)
    }
}

/// A record that has been run again.
struct Traced<'p> {
    source: Position,
    /// How often it came back, and from where.
    replay: Option<String>,
    program: &'p Program,
    recorded: Option<Recorded>,
    entries: Vec<Entry>,
    ended: Ended,
}

impl Traced<'_> {
    fn name(&self) -> String {
        self.source.to_string().replace('/', "-")
    }

    fn text(&self) -> String {
        let mut text = format!("{} under {}, version {}\n", self.source, self.program.state_machine(), self.program.version());
        if let Some(replay) = &self.replay {
            text += &format!("{replay}\n");
        }
        if let Some(recorded) = &self.recorded {
            let same = match recorded.is_same(&self.ended) {
                Some(true) => ", the same as below",
                Some(false) => ", not the same as below",
                None => "",
            };
            text += &format!("the service: {} at {}{same}\n", recorded.status, recorded.position);
            if let Some(version) = recorded.version.as_deref().filter(|version| *version != self.program.version()) {
                text += &format!("the service ran version {version}; give its file with --definition to trace that\n");
            }
        }
        text + &trace::render(&self.name(), &self.entries)
    }

    fn json(&self) -> Value {
        let mut encoder = Encoder::default();
        let event = |entry: &Entry| {
            let mut event = Vec::new();
            encoder.api(entry, &mut event);
            serde_json::from_slice::<Value>(&event).unwrap_or_default()
        };
        let events: Vec<Value> = self.entries.iter().map(event).collect();
        let recorded = self.recorded.as_ref().map(|recorded| {
            json!({"position": recorded.position.to_string(), "status": recorded.status, "version": recorded.version, "same": recorded.is_same(&self.ended)})
        });
        json!({
            "source": self.source.to_string(),
            "execution": self.name(),
            "state_machine": self.program.state_machine(),
            "version": self.program.version(),
            "status": self.ended.status.as_str(),
            "output": serde_json::from_slice::<Value>(&self.ended.output).ok(),
            "error": self.ended.error,
            "cause": self.ended.cause,
            "recorded": recorded,
            "events": events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_no_record_to_trace_but_names_it() {
        let at = |text: &str| text.parse::<Position>().expect("a position");
        let told = |position: &str, source: &str, of: Option<&str>| unread(&at(position), &at(source), of.map(at)).to_string();
        assert_eq!(told("in:0:1", "in:0:1", None), "no pipeline of the configuration reads in; give --config or --definition");
        assert_eq!(told("dead:0:1", "in:0:7", Some("in:0:7")), "no pipeline of the configuration reads in; give --config or --definition");
        let told = told("out:0:1", "out:0:1", Some("in:0:7"));
        assert_eq!(told, "no pipeline of the configuration reads out, and out/0/1 is the result of in/0/7: trace in/0/7");
    }
}
