//! `expressway demo`: the main job with everything in one process.
//!
//! A mock cluster of the Kafka client's own stands in for the broker; the client, the pipeline and the engine are the real ones. Simulated devices send at a fixed rate; the summary is made of delivery reports alone, for the mock forgets old records.

mod books;
mod generator;
mod price;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clap::Args;
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use expressway_engine::hir::WorkflowType;
use expressway_engine::{Deployment, Program};
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::Format;
use super::definition::refused;
use super::output::{Output, tell};
use crate::clock::Clock;
use crate::control::registry::Definition;
use crate::control::service::processors;
use crate::devices;
use crate::error::Error;
use crate::pipeline::{Acknowledged, Pipeline, Readiness, Settings};
use crate::tasks::builtin::Builtin;
use books::Books;
use generator::{Load, Sent, Shared};
use view::{Live, Moment, Summary, float};

const DEFINITION: &str = include_str!("../../../../configs/definitions/heartbeat.asl.json");
const SOURCE: &str = "heartbeats";
const RESULTS: &str = "heartbeats-results";
const DEAD_LETTERS: &str = "heartbeats-dead-letters";
const GROUP: &str = "expressway-demo";

/// Broken records among 10,000: enough to see each kind, few enough not to be the job.
const BROKEN_PER_10000: u32 = 20;

/// Bytes a second that one partition carries without meeting the generator's window: 4 MiB at most between two commits, with a wide margin.
const PARTITION_BYTES_PER_S: u64 = 2 << 20;

/// A canonical message with its key and overhead, in bytes.
const RECORD_BYTES: u64 = 300;

/// Batches of acknowledgements between the pipeline and the books; the pipeline waits when they are full.
const AUDIT_BATCHES_MAX: usize = 4_096;

/// How long the pipeline may take to get its partitions.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long nothing may be acknowledged, after all is sent, until the rest counts as lost.
const STANDSTILL: Duration = Duration::from_secs(10);

/// How often the books are brought up to date and the committed offsets are asked for.
const TURN: Duration = Duration::from_millis(50);

/// How long the ordered end may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway demo --rate 50000 --duration 20 --format json\n\nNo broker is needed: the Kafka client's own mock cluster runs in this process. The live view is on standard error, the summary on standard output; with --format json its last line is one JSON object. Exits with 1 when a record is lost."
)]
pub(super) struct Flags {
    /// Records a second
    #[arg(long, env = "EXPRESSWAY_RATE", value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// Seconds of load
    #[arg(long, env = "EXPRESSWAY_DURATION", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Devices, each with an id of its own
    #[arg(long, env = "EXPRESSWAY_DEVICES", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// Another definition than the heartbeat workflow
    #[arg(long, env = "EXPRESSWAY_DEFINITION", value_name = "FILE")]
    definition: Option<PathBuf>,
    /// Form of the summary
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let definition = match &flags.definition {
        None => Definition::json(Path::new("heartbeat.asl.json"), DEFINITION.to_owned()),
        Some(path) => Definition::read(path).map_err(|error| refused(&error))?,
    };
    let compiled = definition.compile(WorkflowType::Express, &Deployment::named(&definition.stem())).map_err(|error| refused(&error))?;
    let summary = Stand::build(flags, compiled.program)?.perform(flags, definition.text.len())?;
    let mut out = Output::new();
    match flags.format {
        Format::Text => out.write(summary.text().as_bytes())?,
        Format::Json => {
            tell(&summary.text());
            out.line(&summary.json().to_string())?;
        }
    }
    out.flush()?;
    if summary.lost() == 0 { Ok(()) } else { Err(Error::Input(format!("{} records are lost", summary.lost()))) }
}

/// Everything that the run needs, standing.
struct Stand {
    pipeline: Pipeline,
    audit: Receiver<Vec<Acknowledged>>,
    shared: Arc<Shared>,
    clock: Clock,
    /// Last, so that it is dropped last: the clients talk to it until they are closed.
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Stand {
    /// The cluster, its topics and the pipeline.
    fn build(flags: &Flags, program: Program) -> Result<Self, Error> {
        let failed = |error| Error::surroundings("the mock cluster cannot be set up", error);
        if cfg!(debug_assertions) {
            tell("note: this is a debug build, which is several times slower; use cargo run --release");
        }
        let partitions = u32::try_from(flags.rate.saturating_mul(RECORD_BYTES).div_ceil(PARTITION_BYTES_PER_S).clamp(4, 256)).expect("at most 256");
        let cluster = MockCluster::new(1).map_err(failed)?;
        for (topic, count) in [(SOURCE, partitions), (RESULTS, partitions), (DEAD_LETTERS, 1)] {
            cluster.create_topic(topic, i32::try_from(count).unwrap_or(i32::MAX), 1).map_err(failed)?;
        }
        let (sender, audit) = bounded(AUDIT_BATCHES_MAX);
        let unanswered = Builtin::unanswered(&program, None);
        if !unanswered.is_empty() {
            return Err(Error::Input(format!("nothing in the demo answers for {}", unanswered.join(", "))));
        }
        let tasks = Builtin::start(None).map_err(|error| Error::surroundings("the timer thread cannot be started", error))?;
        let options = [
            ("bootstrap.servers", cluster.bootstrap_servers()),
            ("group.id", GROUP.to_owned()),
            ("auto.commit.interval.ms", "250".to_owned()),
            ("linger.ms", "1".to_owned()),
            // The mock answers a fetch that found nothing only when its wait is over, whatever has come in since.
            ("fetch.wait.max.ms", "5".to_owned()),
        ];
        let settings = Settings {
            name: "demo".to_owned(),
            client_options: options.into_iter().map(|(option, value)| (option.to_owned(), value)).collect(),
            source_topics: vec![SOURCE.to_owned()],
            result_topic: RESULTS.to_owned(),
            dead_letter_topic: DEAD_LETTERS.to_owned(),
            // Generator, mock broker and client threads want the other half.
            shards: (processors() / 2).clamp(1, 8),
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            audit: Some(sender),
            ..Settings::default()
        };
        let pipeline =
            Pipeline::start(settings, Arc::new(program), Arc::new(tasks)).map_err(|error| Error::surroundings("the pipeline cannot be started", error))?;
        Ok(Self { pipeline, audit, shared: Arc::new(Shared::new(partitions)), clock: Clock::start(), cluster })
    }

    /// The run: load, live view, standstill, ordered end, books.
    fn perform(self, flags: &Flags, definition_bytes: usize) -> Result<Summary, Error> {
        self.wait_until_ready()?;
        stop_on_interrupt(&self.shared)?;
        let devices = devices::Settings { devices: flags.devices, broken_per_10000: BROKEN_PER_10000, ..devices::Settings::default() };
        let load = Load {
            brokers: self.cluster.bootstrap_servers(),
            topic: SOURCE.to_owned(),
            rate: flags.rate,
            duration: Duration::from_secs(flags.duration),
            devices,
        };
        let (shared, clock) = (Arc::clone(&self.shared), self.clock);
        let spawned = thread::Builder::new().name("generator".to_owned()).spawn(move || generator::run(&load, &shared, clock));
        let generator = spawned.map_err(|error| Error::surroundings("the generator cannot be started", error))?;
        let mut books = Books::new(self.shared.partitions.len());
        let settled_in_time = self.watch(&mut books)?;
        let Sent { took } = generator.join().map_err(|_| Error::Surroundings { what: "the generator panicked".to_owned(), source: None })??;
        self.pipeline.request_shutdown();
        let ended = self.pipeline.join(SHUTDOWN_TIMEOUT);
        // What was acknowledged during the end is still on its way.
        self.audit.try_iter().for_each(|batch| books.enter(&batch));
        if let Err(error) = ended {
            tell(&format!("note: the pipeline did not end in order: {error}"));
        }
        Ok(Summary {
            rate: flags.rate,
            seconds: took.as_secs_f64(),
            devices: flags.devices,
            produced: self.shared.produced(),
            totals: books.totals,
            executions_per_s: float(settled_in_time) / took.as_secs_f64().max(1e-3),
            latency_ms: [books.latency_ms(50.0), books.latency_ms(99.0), books.latency_ms(99.9), books.latency_max_ms()],
            bytes: float(u64::try_from(definition_bytes).unwrap_or(u64::MAX)) + float(RECORD_BYTES),
        })
    }

    fn wait_until_ready(&self) -> Result<(), Error> {
        let began = self.clock.now().monotonic_ns;
        loop {
            let Readiness::NotReady(reasons) = self.pipeline.readiness() else { return Ok(()) };
            if Duration::from_nanos(self.clock.now().monotonic_ns - began) > START_TIMEOUT {
                return Err(Error::Surroundings { what: format!("the pipeline got no partitions: {}", reasons.join("; ")), source: None });
            }
            pause(TURN);
        }
    }

    /// Keeps the books until all is settled or nothing moves any more; what was settled when the load ended.
    fn watch(&self, books: &mut Books) -> Result<u64, Error> {
        let committed = Committed::new(&self.cluster, &self.shared)?;
        let mut live = Live::new();
        let began = self.clock.now().monotonic_ns;
        let (mut shown, mut moved, mut settled_in_time) = (began, began, None);
        loop {
            let settled_before = books.totals.settled();
            self.take_turn(books);
            committed.update(&self.shared);
            let now = self.clock.now().monotonic_ns;
            let seconds_since = |then: u64| Duration::from_nanos(now - then).as_secs_f64();
            if seconds_since(shown) >= 1.0 {
                let (counters, settled) = (self.pipeline.counters(), books.totals.settled());
                live.show(
                    Moment {
                        seconds: seconds_since(began),
                        interval_s: seconds_since(shown),
                        open: counters.executions_open,
                        lag: self.shared.produced().saturating_sub(settled),
                    },
                    books,
                );
                shown = now;
            }
            if books.totals.settled() != settled_before {
                moved = now;
            }
            if self.shared.is_ended.load(Ordering::Acquire) {
                let settled = *settled_in_time.get_or_insert_with(|| books.totals.settled());
                let is_still = seconds_since(moved) > STANDSTILL.as_secs_f64();
                if books.totals.settled() >= self.shared.produced() || is_still || self.pipeline.failed().is_some() {
                    live.end();
                    return Ok(settled);
                }
            }
            if let Some(error) = self.pipeline.failed() {
                self.shared.stop.store(true, Ordering::Relaxed);
                tell(&format!("note: the pipeline stopped itself: {error}"));
            }
        }
    }

    /// Enters what arrives within one turn.
    fn take_turn(&self, books: &mut Books) {
        let deadline = self.clock.now().monotonic_ns + u64::try_from(TURN.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let left = Duration::from_nanos(deadline.saturating_sub(self.clock.now().monotonic_ns));
            match self.audit.recv_timeout(left) {
                Ok(batch) => books.enter(&batch),
                Err(RecvTimeoutError::Timeout) => return,
                // The pipeline is gone; the turn still takes its time.
                Err(RecvTimeoutError::Disconnected) => return pause(left),
            }
            if left.is_zero() {
                return;
            }
        }
    }
}

/// Reads the group's committed offsets, without being a member.
struct Committed {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Committed {
    fn new(cluster: &MockCluster<'static, DefaultProducerContext>, shared: &Shared) -> Result<Self, Error> {
        let consumer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", GROUP).create();
        let consumer = consumer.map_err(|error| Error::surroundings("committed offsets cannot be read", error))?;
        let mut partitions = TopicPartitionList::with_capacity(shared.partitions.len());
        for number in 0..shared.partitions.len() {
            partitions.add_partition(SOURCE, i32::try_from(number).unwrap_or(i32::MAX));
        }
        Ok(Self { consumer, partitions })
    }

    /// An answer that does not come leaves the old offsets, which only makes the generator wait.
    fn update(&self, shared: &Shared) {
        let Ok(found) = self.consumer.committed_offsets(self.partitions.clone(), Duration::from_secs(1)) else { return };
        for element in found.elements() {
            let partition = usize::try_from(element.partition()).ok().and_then(|number| shared.partitions.get(number));
            let offset = element.offset().to_raw().and_then(|offset| u64::try_from(offset).ok());
            if let (Some(partition), Some(offset)) = (partition, offset) {
                partition.committed.fetch_max(offset, Ordering::Relaxed);
            }
        }
    }
}

/// The first SIGINT or SIGTERM ends the load; the books are closed as usual.
fn stop_on_interrupt(shared: &Arc<Shared>) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Error::surroundings("signals cannot be listened to", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let shared = Arc::clone(shared);
    let listen = move || {
        runtime.block_on(async {
            if let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                shared.stop.store(true, Ordering::Relaxed);
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop).map_err(failed)
}

/// Lets time pass on a thread that has nothing to wait for.
fn pause(time: Duration) {
    let passed = crossbeam::channel::after(time).recv();
    debug_assert!(passed.is_ok(), "the channel of a timer delivers once");
}
