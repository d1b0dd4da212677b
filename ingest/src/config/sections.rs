//! The typed configuration: one struct per section of `default.yaml`, and the checks that look at several keys at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use expressway_engine::history::Level;
use expressway_engine::limits::NAME_CHARS_MAX;

use super::kafka::Kafka;
use super::section::Section;
use super::unit::display_duration;
use crate::pipeline::{DRAIN_MARGIN, Delivery, Destination, Logging, OnFailure, OnNull, Ordering, ResultHeaders, drain_timeout_max};

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker and how to reach it.
    pub kafka: Kafka,
    /// Health, metrics and version over HTTP.
    pub http: Http,
    /// The process.
    pub service: Service,
    /// How executions are run.
    pub engine: Engine,
    /// How executions see themselves.
    pub identity: Identity,
    /// What is written to standard error.
    pub log: Log,
    /// The pipelines; may be empty.
    pub pipelines: Vec<Pipeline>,
}

/// Section `http`.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Section `service`.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Shards of each pipeline; 0 for one per processor.
    pub shards: u32,
    /// Whether shards are pinned.
    pub pin_threads: bool,
    /// Longest drain inside a rebalance.
    pub drain_timeout: Duration,
    /// Longest ordered shutdown.
    pub shutdown_timeout: Duration,
    /// How long a start waits for the brokers.
    pub startup_timeout: Duration,
    /// How long a partition with records to read may stand still.
    pub stuck_timeout: Duration,
    /// Longest life with a result topic that refuses records for good.
    pub result_topic_error_timeout: Duration,
    /// What all that grows with the load may take.
    pub memory_limit: MemoryLimit,
    /// Panics of the engine in a minute that are borne.
    pub panics_per_minute_max: u32,
    /// Whether definitions are read again when their files change.
    pub watch_definitions: bool,
}

/// `service.memory_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Four fifths of the control group's limit, and none without one. Not looked up yet.
    Auto,
    /// None.
    Off,
    /// So many bytes.
    Bytes(u64),
    /// Four fifths of the control group's limit, which is this.
    Group(u64),
}

impl MemoryLimit {
    /// The limit in bytes, if there is one.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Auto | Self::Off => None,
            Self::Bytes(bytes) => Some(bytes),
            Self::Group(limit) => Some(limit / 5 * 4),
        }
    }

    /// The same where the control group has that limit.
    #[must_use]
    pub fn within(self, group: Option<u64>) -> Self {
        match self {
            Self::Auto => group.map_or(Self::Off, Self::Group),
            found => found,
        }
    }
}

/// Section `engine`.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Whether messages are read by the shapes of those that came before.
    pub learned_shapes: bool,
}

/// Section `identity`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// AWS region in ARNs.
    pub region: String,
    /// AWS account in ARNs.
    pub account: String,
}

/// Section `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// Filter in the syntax of tracing's `EnvFilter`.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One entry of `pipelines`.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name, also its state machine's.
    pub name: String,
    /// The definition's file.
    pub definition: PathBuf,
    /// Topics to read; never empty.
    pub source_topics: Vec<String>,
    /// Topic of results.
    pub result_topic: String,
    /// Topic of dead letters.
    pub dead_letter_topic: String,
    /// The consumer group, that of the section `kafka` unless the pipeline has its own.
    pub group_id: String,
    /// Mocked task results.
    pub mocks: Option<Mocks>,
    /// Where failed executions go.
    pub on_failure: OnFailure,
    /// What becomes of records without a value.
    pub on_null: OnNull,
    /// Whose executions wait for whom.
    pub ordering: Ordering,
    /// Records of a partition that wait for others, at most.
    pub deferred_records_max: u32,
    /// What a reader of results sees of records that ran more than once.
    pub delivery: Delivery,
    /// Length of a transaction.
    pub transaction_interval: Duration,
    /// Records in one transaction, about.
    pub transaction_records_max: u32,
    /// Which headers a result carries.
    pub result_headers: ResultHeaders,
    /// What is logged of executions; `None` when nothing is.
    pub logging: Option<Logging>,
    /// Executions open at once per shard.
    pub executions_open_max: u32,
    /// Records between the oldest unfinished and the newest, per partition.
    pub window_records_max: u32,
    /// Records taken at once.
    pub batch_records_max: u32,
    /// Results on their way to Kafka per shard.
    pub in_flight_max: u32,
}

/// `pipelines[].mocks`.
#[derive(Debug, Clone)]
pub struct Mocks {
    /// The mock file.
    pub file: PathBuf,
    /// State machine in the mock file.
    pub state_machine: String,
    /// Test case in the mock file.
    pub test_case: String,
}

impl Config {
    /// Reads every section, collecting what is wrong through the cursor.
    pub(crate) fn read(root: &Section<'_>) -> Self {
        let kafka = Kafka::read(&root.section("kafka"));
        let service = Service::read(&root.section("service"), &kafka);
        let pipelines: Vec<_> = root.sections("pipelines").iter().map(|section| Pipeline::read(section, &kafka)).collect();
        check_apart(root, &pipelines);
        Self {
            engine: Engine { learned_shapes: root.section("engine").flag("learned_shapes") },
            http: Http::read(&root.section("http")),
            identity: Identity::read(&root.section("identity")),
            log: Log::read(&root.section("log")),
            kafka,
            service,
            pipelines,
        }
    }
}

impl Http {
    fn read(section: &Section<'_>) -> Self {
        let listen = section.parsed("listen", "an address with a port, for instance 127.0.0.1:9464", |text| text.parse().ok());
        Self { listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))) }
    }
}

impl Service {
    fn read(section: &Section<'_>, kafka: &Kafka) -> Self {
        let second = Duration::from_secs(1);
        let day = Duration::from_hours(24);
        let drain_timeout = section.duration("drain_timeout", Duration::from_millis(100)..=day);
        let drain_timeout_max = drain_timeout_max(&kafka.client_options);
        if drain_timeout > drain_timeout_max {
            let (margin, limit) = (display_duration(DRAIN_MARGIN), display_duration(drain_timeout_max));
            section.fault("drain_timeout", format!("a drain must end {margin} before max.poll.interval.ms, so at most {limit} is allowed"));
        }
        Self {
            shards: section.count("shards", 0..=256),
            pin_threads: section.flag("pin_threads"),
            drain_timeout,
            shutdown_timeout: section.duration("shutdown_timeout", second..=day),
            startup_timeout: section.duration("startup_timeout", second..=day),
            stuck_timeout: section.duration("stuck_timeout", second..=day),
            result_topic_error_timeout: section.duration("result_topic_error_timeout", second..=day),
            memory_limit: section.size_or_word("memory_limit", 64 << 20, &[("auto", MemoryLimit::Auto), ("off", MemoryLimit::Off)], MemoryLimit::Bytes),
            panics_per_minute_max: section.count("panics_per_minute_max", 0..=1_000_000),
            watch_definitions: section.flag("watch_definitions"),
        }
    }
}

impl Identity {
    fn read(section: &Section<'_>) -> Self {
        let account = section
            .parsed("account", "twelve digits in quotes", |text| (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned()));
        Self { region: section.text("region"), account: account.unwrap_or_default() }
    }
}

impl Log {
    fn read(section: &Section<'_>) -> Self {
        let allowed = "error, warn, info, debug, trace, or a list of target=level";
        let level = section.parsed("level", allowed, |text| tracing_subscriber::EnvFilter::try_new(text).is_ok().then(|| text.to_owned()));
        Self { level: level.unwrap_or_default(), format: section.word("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]) }
    }
}

impl Pipeline {
    fn read(section: &Section<'_>, kafka: &Kafka) -> Self {
        let allowed = format!("letters, digits, hyphens and underscores, at most {NAME_CHARS_MAX}");
        let name = section.parsed("name", &allowed, |text| is_name(text).then(|| text.to_owned())).unwrap_or_default();
        let source_topics = section.texts("source_topics");
        if source_topics.is_empty() {
            section.fault("source_topics", "required, but no topic is named");
        }
        if let Some(topic) = source_topics.iter().find(|topic| !is_topic(topic)) {
            section.fault("source_topics", format!("\"{topic}\" is not allowed; {TOPIC_RULE}"));
        }
        let topic = |key| section.parsed(key, TOPIC_RULE, |text| is_topic(text).then(|| text.to_owned())).unwrap_or_default();
        let result_topic = topic("result_topic");
        let dead_letter_topic = topic("dead_letter_topic");
        Self {
            definition: section.path("definition"),
            group_id: section.optional_text("group_id").unwrap_or_else(|| kafka.group_id.clone()),
            mocks: Mocks::read(&section.section("mocks"), &name),
            on_failure: section.word("on_failure", &[("result", OnFailure::Result), ("dead_letter", OnFailure::DeadLetter)]),
            logging: pipeline_logging(&section.section("logging"), &source_topics),
            result_headers: section.word("result_headers", &[("source", ResultHeaders::Source), ("full", ResultHeaders::Full)]),
            ordering: section.word("ordering", &[("key", Ordering::Key), ("partition", Ordering::Partition), ("none", Ordering::None)]),
            deferred_records_max: section.count("deferred_records_max", 1..=1 << 20),
            delivery: section.word("delivery", &[("at_least_once", Delivery::AtLeastOnce), ("transactional", Delivery::Transactional)]),
            transaction_interval: section.duration("transaction_interval", Duration::from_millis(1)..=Duration::from_secs(10)),
            transaction_records_max: section.count("transaction_records_max", 1..=1 << 20),
            on_null: section.word("on_null", &[("dead_letter", OnNull::DeadLetter), ("skip", OnNull::Skip)]),
            executions_open_max: section.count("executions_open_max", 1..=1 << 20),
            window_records_max: section.count("window_records_max", 1 << 10..=1 << 26),
            batch_records_max: section.count("batch_records_max", 1..=1 << 16),
            in_flight_max: section.count("in_flight_max", 1..=1 << 20),
            name,
            source_topics,
            result_topic,
            dead_letter_topic,
        }
    }
}

impl Mocks {
    fn read(section: &Section<'_>, pipeline: &str) -> Option<Self> {
        let file = section.optional_path("file");
        let state_machine = section.optional_text("state_machine");
        let test_case = section.optional_text("test_case");
        match (file, test_case) {
            (Some(file), Some(test_case)) => Some(Self { file, test_case, state_machine: state_machine.unwrap_or_else(|| pipeline.to_owned()) }),
            (Some(_), None) => {
                section.fault("test_case", "required with mocks.file, but not set");
                None
            }
            (None, Some(_)) => {
                section.fault("file", "required with mocks.test_case, but not set");
                None
            }
            (None, None) => None,
        }
    }
}

/// `pipelines[].logging`; `None` at level OFF.
fn pipeline_logging(section: &Section<'_>, source_topics: &[String]) -> Option<Logging> {
    let level = section.word("level", &[("OFF", Level::Off), ("FATAL", Level::Fatal), ("ERROR", Level::Error), ("ALL", Level::All)]);
    let include_execution_data = section.flag("include_execution_data");
    let kind = section.word("destination", &[("stdout", "stdout"), ("file", "file"), ("topic", "topic")]);
    let (file, topic) = (section.optional_path("file"), section.optional_text("topic"));
    let destination = match (kind, file, topic) {
        ("file", Some(path), None) => Destination::File(path),
        ("topic", None, Some(topic)) => {
            if !is_topic(&topic) {
                section.fault("topic", format!("\"{topic}\" is not allowed; {TOPIC_RULE}"));
            } else if source_topics.contains(&topic) {
                section.fault("topic", format!("\"{topic}\" is also a source topic: the pipeline would feed itself for ever"));
            }
            Destination::Topic(topic)
        }
        ("file", None, _) => return refuse_logging(section, "file", "required with destination: file, but not set"),
        ("topic", _, None) => return refuse_logging(section, "topic", "required with destination: topic, but not set"),
        (_, Some(_), _) => return refuse_logging(section, "file", "only for destination: file"),
        (_, _, Some(_)) => return refuse_logging(section, "topic", "only for destination: topic"),
        _ => Destination::Stdout,
    };
    (level != Level::Off).then_some(Logging { level, include_execution_data, destination })
}

fn refuse_logging(section: &Section<'_>, key: &str, problem: &str) -> Option<Logging> {
    section.fault(key, problem);
    None
}

const TOPIC_RULE: &str = "a topic's name has letters, digits, dots, hyphens and underscores, at most 249";

fn is_topic(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    letters && !text.is_empty() && text.len() <= 249 && text != "." && text != ".."
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Pipelines must not share a name, nor read a topic that any of them writes, nor split one topic between them.
fn check_apart(root: &Section<'_>, pipelines: &[Pipeline]) {
    let sections = root.sections("pipelines");
    for (index, (pipeline, section)) in pipelines.iter().zip(&sections).enumerate() {
        let earlier = &pipelines[..index];
        if let Some(twin) = earlier.iter().position(|other| other.name == pipeline.name && !other.name.is_empty()) {
            section.fault("name", format!("\"{}\" is already the name of pipelines[{twin}]", pipeline.name));
        }
        let shares = |other: &&Pipeline| other.group_id == pipeline.group_id && other.source_topics.iter().any(|topic| pipeline.source_topics.contains(topic));
        if let Some(other) = earlier.iter().find(shares) {
            section.fault(
                "source_topics",
                format!(
                    "pipeline \"{}\" reads the same topic in the same group, so each would get half of it; give one of them a group_id of its own",
                    other.name
                ),
            );
        }
        if pipeline.result_topic == pipeline.dead_letter_topic && !pipeline.result_topic.is_empty() {
            section.fault("dead_letter_topic", "must differ from result_topic");
        }
        for (key, topic) in [("result_topic", &pipeline.result_topic), ("dead_letter_topic", &pipeline.dead_letter_topic)] {
            if pipeline.source_topics.contains(topic) {
                section.fault(key, format!("\"{topic}\" is also a source topic: the pipeline would feed itself for ever"));
            }
        }
    }
}
