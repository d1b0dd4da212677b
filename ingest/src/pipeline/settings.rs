//! What a pipeline is told when it starts.

use std::fmt;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::event_log::Logging;
use super::{Acknowledged, Error};
use crate::kafka::{GroupProtocol, Profile, client};

/// What becomes of an execution that fails or times out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Its error and cause are its result.
    #[default]
    Result,
    /// Its record is a dead letter with reason `execution_failed`.
    DeadLetter,
}

/// What becomes of a record whose value is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNull {
    /// It is a dead letter with reason `null_value`.
    #[default]
    DeadLetter,
    /// It is passed over and counted.
    Skip,
}

/// Whose executions wait for whom. Every promise holds from an assignment of the partition to the next; after a crash it begins again at the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// Nobody's.
    None,
    /// Records of one key: their executions never overlap, and their results and dead letters leave in the order of the records. Records without a key wait for nobody.
    #[default]
    Key,
    /// Executions overlap; results of a partition leave in the order of its records.
    Partition,
}

impl Ordering {
    /// The order of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Key, Self::Partition].into_iter().find(|ordering| ordering.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Partition => "partition",
        }
    }
}

/// What a reader of results sees of a record that ran more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Its result at least once.
    #[default]
    AtLeastOnce,
    /// Its result exactly once, if it reads committed records only: results, dead letters and offsets go in transactions.
    Transactional,
}

impl Delivery {
    /// The kind of delivery of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::AtLeastOnce, Self::Transactional].into_iter().find(|delivery| delivery.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::Transactional => "transactional",
        }
    }
}

/// Which headers a result carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultHeaders {
    /// `expressway-source`, from which the execution's name follows, and `expressway-status` unless the execution succeeded.
    #[default]
    Source,
    /// `expressway-status`, `-execution`, `-definition`, `-version` and `-source`.
    Full,
}

/// Settings of one pipeline, already merged and checked for form. Shown without the values of the client's options, for passwords and tokens are among them.
#[derive(Clone)]
pub struct Settings {
    /// The pipeline's name, for logs and thread names.
    pub name: String,
    /// Options of the Kafka client under librdkafka's names, `bootstrap.servers` and `group.id` among them. Options that only a consumer or only a producer knows reach only that one.
    pub client_options: Vec<(String, String)>,
    /// The topics whose records are executed; at least one.
    pub source_topics: Vec<String>,
    /// Where results go.
    pub result_topic: String,
    /// Where records go that cannot be run.
    pub dead_letter_topic: String,
    /// Threads that execute; each owns whole partitions.
    pub shards: u32,
    /// What becomes of failed executions.
    pub on_failure: OnFailure,
    /// What becomes of records without a value.
    pub on_null: OnNull,
    /// Whose executions wait for whom.
    pub ordering: Ordering,
    /// Records of a partition that wait for others, at most. When so many do, the partition is paused.
    pub deferred_records_max: u32,
    /// Which headers a result carries.
    pub result_headers: ResultHeaders,
    /// What a reader of results sees of records that ran more than once.
    pub delivery: Delivery,
    /// In transactional delivery: time from a transaction's first record to its end, apart from what the broker takes.
    pub transaction_interval: Duration,
    /// In transactional delivery: records in one transaction, about. One with so many is ended before its time.
    pub transaction_records_max: u32,
    /// What the clients are set for; `client_options` go above it.
    pub profile: Profile,
    /// What is logged of executions; `None` for nothing, which costs nothing.
    pub logging: Option<Logging>,
    /// Executions that a shard has open at most. When all are in use, it takes no further record.
    pub executions_open_max: u32,
    /// Distance from the mark to the newest record of a partition, at most. When it is reached, the partition is paused.
    pub window_records_max: u32,
    /// Records in one batch.
    pub batch_records_max: u32,
    /// Results in the producer's hands or on their way there, at most, in each shard. A broker that answers within 10 ms is kept busy by the default at a million records a second, and what is under way still fits into the cache.
    pub in_flight_max: u32,
    /// How the group shares out its partitions.
    pub group_protocol: GroupProtocol,
    /// How long a start waits for brokers that do not answer.
    pub startup_timeout: Duration,
    /// How long a partition with records to read may deliver none to a shard that waits for them, before the client is made anew.
    pub stuck_timeout: Duration,
    /// How long a partition that is revoked may take to finish what it began. Has to lie below the client's `max.poll.interval.ms`.
    pub drain_timeout: Duration,
    /// How long the way from the wish to shut down to the end may take.
    pub shutdown_timeout: Duration,
    /// How long a result topic that is missing or refused is tried again before the pipeline ends.
    pub result_topic_error_timeout: Duration,
    /// Panics of the engine that are tolerated in a minute, each a dead letter. One more ends the pipeline.
    pub panics_per_minute_max: u32,
    /// The pipeline's share of memory, in bytes, from which [`memory::Bounds`](super::memory::Bounds) are derived; `None` for no limit.
    pub memory_limit: Option<u64>,
    /// Whether each shard is pinned to a core.
    pub pin_threads: bool,
    /// Whether shards learn the shapes of their messages.
    pub learned_shapes: bool,
    /// Receives every acknowledgement in batches: for demos, benches and tests. When it is full, the shard waits.
    pub audit: Option<Sender<Vec<Acknowledged>>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.client_options.iter().map(|(option, _)| option).collect();
        let topics = (&self.source_topics, &self.result_topic, &self.dead_letter_topic);
        f.debug_struct("Settings").field("name", &self.name).field("topics", &topics).field("client_options", &options).finish_non_exhaustive()
    }
}

impl Default for Settings {
    /// The values of `configs/default.yaml`, but for one shard; names and topics are empty.
    fn default() -> Self {
        Self {
            name: String::new(),
            client_options: Vec::new(),
            source_topics: Vec::new(),
            result_topic: String::new(),
            dead_letter_topic: String::new(),
            shards: 1,
            on_failure: OnFailure::Result,
            on_null: OnNull::DeadLetter,
            ordering: Ordering::Key,
            deferred_records_max: 10_000,
            result_headers: ResultHeaders::Source,
            delivery: Delivery::AtLeastOnce,
            transaction_interval: Duration::from_millis(100),
            transaction_records_max: 50_000,
            profile: Profile::Throughput,
            logging: None,
            executions_open_max: 10_000,
            window_records_max: 4_194_304,
            batch_records_max: 1_024,
            in_flight_max: IN_FLIGHT_MAX,
            group_protocol: GroupProtocol::Classic,
            startup_timeout: Duration::from_secs(120),
            stuck_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            result_topic_error_timeout: Duration::from_secs(60),
            panics_per_minute_max: 10,
            memory_limit: None,
            pin_threads: false,
            learned_shapes: true,
            audit: None,
        }
    }
}

/// The default of `in_flight_max`. At 50,000 the same run took up to 1.4 times the processor time.
pub(crate) const IN_FLIGHT_MAX: u32 = 10_000;
/// How far below `max.poll.interval.ms` the drain's deadline has to lie: the shards' answers, the final commit and the client's own bookkeeping need their time too.
pub(crate) const DRAIN_MARGIN: Duration = Duration::from_secs(5);
/// How far above `transaction.timeout.ms` the client lets `socket.timeout.ms` lie: it refuses another one without naming what the first is when it is not set.
const SOCKET_MARGIN_MS: u128 = 100;
/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

/// The longest drain that a client with these options leaves time for.
pub(crate) fn drain_timeout_max(client_options: &[(String, String)]) -> Duration {
    Duration::from_millis(client::number_option(client_options, "max.poll.interval.ms", MAX_POLL_INTERVAL_MS)).saturating_sub(DRAIN_MARGIN)
}

impl Settings {
    /// Refuses combinations that cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.source_topics.is_empty() {
            return refuse("source_topics", "none".to_owned(), "at least one topic");
        }
        if let Some(topic) = self.source_topics.iter().find(|topic| **topic == self.result_topic || **topic == self.dead_letter_topic) {
            return refuse("source_topics", topic.clone(), "topics that are neither result nor dead-letter topic");
        }
        if self.result_topic == self.dead_letter_topic {
            return refuse("dead_letter_topic", self.dead_letter_topic.clone(), "a topic other than the result topic");
        }
        let positive = [
            ("shards", self.shards),
            ("executions_open_max", self.executions_open_max),
            ("window_records_max", self.window_records_max),
            ("batch_records_max", self.batch_records_max),
            ("in_flight_max", self.in_flight_max),
            ("deferred_records_max", self.deferred_records_max),
            ("transaction_records_max", self.transaction_records_max),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return refuse(key, "0".to_owned(), "1 or more");
        }
        if let Some((key, value, allowed)) = client::forbidden_option(&self.client_options) {
            return Err(Error::ClientOption { key: key.to_owned(), found: value.to_owned(), allowed });
        }
        let isolation = self.client_options.iter().rev().find(|(key, _)| key == "isolation.level");
        if self.is_transactional()
            && let Some((key, level)) = isolation.filter(|(_, level)| level != "read_committed")
        {
            return Err(Error::ClientOption { key: key.clone(), found: level.clone(), allowed: "read_committed" });
        }
        let life = Duration::from_millis(client::transaction_timeout_ms(&self.client_options));
        if self.is_transactional() && life < Duration::from_millis(client::TRANSACTION_TIMEOUT_MIN_MS) {
            let found = format!("a transaction.timeout.ms of {}", life.as_millis());
            return refuse("client_options", found, format!("a transaction.timeout.ms of {} or more", client::TRANSACTION_TIMEOUT_MIN_MS));
        }
        if self.is_transactional() && self.transaction_interval * 2 > life {
            let found = format!("{:?} with a transaction.timeout.ms of {}", self.transaction_interval, life.as_millis());
            return refuse("transaction_interval", found, "at most half of transaction.timeout.ms");
        }
        let socket_ms = client::number_option(&self.client_options, "socket.timeout.ms", 0);
        if self.is_transactional() && u128::from(socket_ms) > life.as_millis() + SOCKET_MARGIN_MS {
            let found = format!("a socket.timeout.ms of {socket_ms} with a transaction.timeout.ms of {}", life.as_millis());
            let unset_max = client::TRANSACTION_TIMEOUT_MAX_MS;
            let allowed =
                format!("a transaction.timeout.ms (a session, at most {unset_max}, unless set) that is at most {SOCKET_MARGIN_MS} below socket.timeout.ms");
            return refuse("client_options", found, allowed);
        }
        let drain_timeout_max = drain_timeout_max(&self.client_options);
        if self.drain_timeout > drain_timeout_max {
            let allowed = format!("at most {drain_timeout_max:?}, which is {DRAIN_MARGIN:?} less than max.poll.interval.ms");
            return refuse("drain_timeout", format!("{:?}", self.drain_timeout), allowed);
        }
        Ok(())
    }

    /// Whether results and offsets go in transactions.
    pub(super) fn is_transactional(&self) -> bool {
        self.delivery == Delivery::Transactional
    }
}

fn refuse(key: &'static str, found: String, allowed: impl Into<String>) -> Result<(), Error> {
    Err(Error::Setting { key, found, allowed: allowed.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { source_topics: vec!["a".to_owned()], result_topic: "b".to_owned(), dead_letter_topic: "c".to_owned(), ..Settings::default() }
    }

    #[test]
    fn a_drain_must_end_before_the_group_gives_the_member_up() {
        let mut settings = settings();
        settings.client_options = vec![("max.poll.interval.ms".to_owned(), "14999".to_owned())];
        assert!(matches!(settings.check(), Err(Error::Setting { key: "drain_timeout", .. })));
        settings.drain_timeout = Duration::from_millis(9_999);
        assert!(settings.check().is_ok());
    }

    #[test]
    fn a_pipeline_may_not_feed_itself() {
        let mut settings = settings();
        settings.result_topic = "a".to_owned();
        assert!(matches!(settings.check(), Err(Error::Setting { key: "source_topics", .. })));
    }

    #[test]
    fn results_and_dead_letters_may_not_share_a_topic() {
        let mut settings = settings();
        settings.dead_letter_topic = settings.result_topic.clone();
        assert!(matches!(settings.check(), Err(Error::Setting { key: "dead_letter_topic", .. })));
    }

    #[test]
    fn no_secret_shows() {
        let secrets = [("sasl.password", "hunter2"), ("sasl.oauthbearer.config", r#"{"token":"hunter2"}"#)];
        let settings = Settings { client_options: secrets.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(), ..settings() };
        let shown = format!("{settings:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn transactions_are_refused_what_would_break_them() {
        let option = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let mut settings = Settings { delivery: Delivery::Transactional, client_options: option("isolation.level", "read_uncommitted"), ..settings() };
        assert!(matches!(settings.check(), Err(Error::ClientOption { allowed: "read_committed", .. })));
        settings.delivery = Delivery::AtLeastOnce;
        assert!(settings.check().is_ok());
        settings.delivery = Delivery::Transactional;
        settings.client_options = option("transaction.timeout.ms", "2999");
        let refused = settings.check().map_err(|error| error.to_string());
        let text = "client_options is a transaction.timeout.ms of 2999, allowed is a transaction.timeout.ms of 3000 or more";
        assert_eq!(refused, Err(text.to_owned()));
        settings.client_options = option("transaction.timeout.ms", "3000");
        settings.transaction_interval = Duration::from_millis(1_501);
        assert!(matches!(settings.check(), Err(Error::Setting { key: "transaction_interval", .. })));
        settings.transaction_interval = Duration::from_millis(1_500);
        assert!(settings.check().is_ok());
        settings.client_options = [option("session.timeout.ms", "6000"), option("socket.timeout.ms", "6101")].concat();
        assert!(matches!(settings.check(), Err(Error::Setting { key: "client_options", .. })));
        settings.client_options.extend(option("transaction.timeout.ms", "6001"));
        assert!(settings.check().is_ok());
    }
}
