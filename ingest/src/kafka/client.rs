//! Configurations, the consumer's context, and the differences between the two rebalance protocols.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::commit::Commits;
use super::native::{BaseConsumer, ConsumerCalls as _, ConsumerContext, RebalanceProtocol};
use super::{ErrorCode, token};

/// A shared consumer.
pub(crate) type ConsumerHandle = Arc<BaseConsumer<Context>>;

/// Properties whose value the delivery guarantee depends on.
const FIXED: &[(&str, &str)] =
    &[("enable.auto.offset.store", "false"), ("enable.auto.commit", "true"), ("enable.idempotence", "true"), ("enable.partition.eof", "false")];

/// Largest request of a producer, whatever `batch.size` is, unless `message.max.bytes` says otherwise.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 100_000_000;

/// How long a transaction may live at most, unless `transaction.timeout.ms` says otherwise; see [`transaction_timeout_ms`].
pub(crate) const TRANSACTION_TIMEOUT_MAX_MS: u64 = 15_000;
/// The least that a transaction may live: it is open for up to half of that, and reports and commit need the rest on a machine that is busy. With a second or two a pipeline was seen to go round, each of its transactions fenced for its age. The client itself takes 1 s.
pub(crate) const TRANSACTION_TIMEOUT_MIN_MS: u64 = 3_000;

/// How long a session is, unless `session.timeout.ms` says otherwise: librdkafka's default.
const SESSION_TIMEOUT_MS: u64 = 45_000;
/// How often a member tells the group that it lives, unless `heartbeat.interval.ms` says otherwise, or a session is shorter than three of these. By the answer a member learns that the group has lost another one, so this comes on top of the dead one's session. The client's own default is 3 s.
const HEARTBEAT_INTERVAL_MS: u64 = 500;

/// Beginnings of the names that only a consumer takes.
const CONSUMER_ONLY: &[&str] = &[
    "group.",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "auto.",
    "enable.auto.",
    "fetch.",
    "queued.",
    "isolation.level",
    "check.crcs",
    "enable.partition.eof",
    "coordinator.",
    "max.partition.fetch.bytes",
    "consume.",
];

/// Beginnings of the names that only a producer takes.
const PRODUCER_ONLY: &[&str] = &[
    "acks",
    "request.required.acks",
    "linger.ms",
    "queue.buffering.",
    "batch.",
    "compression.",
    "enable.idempotence",
    "retries",
    "message.send.max.retries",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.timeout.ms",
    "partitioner",
    "transactional.id",
    "transaction.",
    "enable.gapless.guarantee",
    "sticky.partitioning.linger.ms",
    "delivery.report.",
];

/// Whether any client takes the option: brokers, security and the like.
pub(crate) fn is_common(option: &str) -> bool {
    !CONSUMER_ONLY.iter().chain(PRODUCER_ONLY).any(|beginning| option.starts_with(beginning))
}

/// The consumer's configuration: our defaults, then the user's options.
pub(crate) fn consumer_config(options: &[(String, String)], queued_kbytes: u64) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("auto.offset.reset", "earliest").set("auto.commit.interval.ms", "1000");
    // The default of a second lets the client sleep whenever its queue was full: a factor of five in throughput.
    config.set("fetch.queue.backoff.ms", "1");
    config.set("queued.max.messages.kbytes", queued_kbytes.to_string());
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS.min(session_timeout_ms(options) / 3).max(1).to_string());
    apply(&mut config, options, PRODUCER_ONLY);
    config.set("enable.auto.offset.store", "false").set("enable.auto.commit", "true").set("enable.partition.eof", "false");
    config
}

/// The consumer's configuration where offsets are committed by transactions of the producers: it reads committed records only, and waits for offsets that are being committed.
pub(crate) fn transactional_consumer_config(options: &[(String, String)], queued_kbytes: u64) -> ClientConfig {
    let mut config = consumer_config(options, queued_kbytes);
    config.set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config
}

/// A shard's producer configuration, with transactions.
pub(crate) fn transactional_producer_config(options: &[(String, String)], buffering_kbytes: u64, transactional_id: &str) -> ClientConfig {
    let mut config = producer_config(options, buffering_kbytes);
    config.set("transactional.id", transactional_id);
    config.set("transaction.timeout.ms", transaction_timeout_ms(options).to_string());
    config
}

/// Whether an error in place of records says that a batch cannot be read (`check.crcs`, a compression, a format): the client goes on behind it, or stays before it for ever.
pub(crate) fn is_unreadable(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::BadMessage | ErrorCode::BadCompression | ErrorCode::NotImplemented)
}

/// A shard's producer configuration: our defaults, then the user's options.
pub(crate) fn producer_config(options: &[(String, String)], buffering_kbytes: u64) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("acks", "all");
    config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", buffering_kbytes.to_string());
    // A dead letter is as large as its record, so the limit is left to the broker.
    config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string()).set("allow.auto.create.topics", "false");
    apply(&mut config, options, CONSUMER_ONLY);
    config.set("enable.idempotence", "true");
    config
}

fn apply(config: &mut ClientConfig, options: &[(String, String)], skipped: &[&str]) {
    for (key, value) in options {
        if !skipped.iter().any(|beginning| key.starts_with(beginning)) {
            config.set(key, value);
        }
    }
}

/// The first option that would take away the delivery guarantee, with the value it must have.
pub(crate) fn forbidden_option(options: &[(String, String)]) -> Option<(&str, &str, &'static str)> {
    options.iter().find_map(|(key, value)| {
        let (_, fixed) = FIXED.iter().find(|(name, fixed)| name == key && fixed != value)?;
        Some((key.as_str(), value.as_str(), *fixed))
    })
}

/// A numeric option's value, or librdkafka's default.
pub(crate) fn number_option(options: &[(String, String)], key: &str, default: u64) -> u64 {
    options.iter().rev().find(|(name, _)| name == key).and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
}

fn session_timeout_ms(options: &[(String, String)]) -> u64 {
    number_option(options, "session.timeout.ms", SESSION_TIMEOUT_MS)
}

/// How long a transaction may live before the broker aborts it, at one of its looks (every ten seconds unless it is told otherwise). Until then nobody reads past what a dead process left open, and a partition's new owner waits for the offsets in it, up to half a minute. A member that is silent for a session loses its partitions, and with them the right to commit, so a longer life than that would serve nobody.
pub(crate) fn transaction_timeout_ms(options: &[(String, String)]) -> u64 {
    let default = session_timeout_ms(options).clamp(TRANSACTION_TIMEOUT_MIN_MS, TRANSACTION_TIMEOUT_MAX_MS);
    number_option(options, "transaction.timeout.ms", default)
}

/// Hears of the group's decisions, on the thread that polls the consumer.
pub(crate) trait Rebalancer: Send + Sync {
    /// New partitions come. The list is what will be applied: start positions are put into it here.
    fn assign(&self, consumer: &BaseConsumer<Context>, partitions: &mut TopicPartitionList);
    /// Partitions go. With `lost` they already belong to another member.
    fn revoke(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList, lost: bool);
    /// The client could not carry the decision out.
    fn failed(&self, error: KafkaError);
    /// A commit was answered.
    fn committed(&self, result: &KafkaResult<()>);
    /// The consumer's end: give up everything that keeps the consumer alive.
    fn release(&self);
}

/// The consumer's callbacks.
#[derive(Default)]
pub(crate) struct Context {
    rebalancer: OnceLock<Arc<dyn Rebalancer>>,
    statistics: Mutex<Vec<u8>>,
    statistics_told: AtomicU64,
    last_error: Mutex<Option<(ErrorCode, String)>>,
}

impl Context {
    /// What the client said of itself last, as JSON; empty before it has, and where it was not told to.
    pub(crate) fn statistics(&self) -> Vec<u8> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the client has told its statistics.
    pub(crate) fn statistics_told(&self) -> u64 {
        self.statistics_told.load(Ordering::Relaxed)
    }

    /// The last problem that the client told, in its own words.
    pub(crate) fn last_error(&self) -> Option<(ErrorCode, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        // That all brokers are down follows from what was told before, and says less.
        if let Some(code) = error.rdkafka_error_code().filter(|code| *code != ErrorCode::AllBrokersDown) {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let mut last = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        last.clear();
        last.extend_from_slice(statistics);
        self.statistics_told.fetch_add(1, Ordering::Relaxed);
    }

    fn generate_oauth_token(&self, option: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::oauth_token(option)
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let Some(rebalancer) = self.rebalancer.get() else { return };
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let applied = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            rebalancer.assign(consumer, partitions);
            if cooperative { consumer.incremental_assign(partitions) } else { consumer.assign(partitions) }
        } else {
            rebalancer.revoke(consumer, partitions, consumer.assignment_lost());
            if cooperative { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
        };
        if let Err(error) = applied {
            rebalancer.failed(error);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Some(rebalancer) = self.rebalancer.get() {
            rebalancer.committed(&result);
        }
    }
}

/// The consumer with its context's promises: set the rebalancer before subscribing, leave before dropping.
pub(crate) struct Consumer {
    handle: ConsumerHandle,
    /// Where the client does not commit what is stored by itself; see [`commit`](super::commit).
    commits: Option<Commits>,
}

impl Consumer {
    /// A consumer that has not subscribed.
    pub(crate) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let mut config = config.clone();
        let interval_ms = take_commit_interval(&mut config);
        let consumer = config.create_with_context::<_, BaseConsumer<Context>>(Context::default())?;
        token::give(consumer.client(), &config);
        let handle = Arc::new(consumer);
        let commits = interval_ms.map(|interval_ms| Commits::new(&handle, interval_ms));
        Ok(Self { handle, commits })
    }

    /// Has what is stored committed, from time to time, where the client does not do that itself. Returns what the broker has answered to the last commit, if it has just done so.
    pub(crate) fn commit_stored(&mut self, has_partitions: bool, now_ns: u64) -> Option<KafkaResult<()>> {
        self.commits.as_mut()?.turn(has_partitions, now_ns)
    }

    /// The shared consumer.
    pub(crate) fn handle(&self) -> &ConsumerHandle {
        &self.handle
    }

    /// The error that made the client useless, in its own words.
    pub(crate) fn fatal_error(&self) -> Option<(ErrorCode, String)> {
        self.handle.client().fatal_error()
    }

    /// Names the one who hears of rebalances; counts once.
    pub(crate) fn set_rebalancer(&self, rebalancer: Arc<dyn Rebalancer>) {
        let fresh = self.handle.context().rebalancer.set(rebalancer).is_ok();
        debug_assert!(fresh, "a consumer has one rebalancer for life");
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(rebalancer) = self.handle.context().rebalancer.get() {
            rebalancer.release();
        }
    }
}

/// Takes the time between two commits out of the configuration of a client that is not to commit by itself while it has its partitions; zero stands for never.
fn take_commit_interval(config: &mut ClientConfig) -> Option<u64> {
    let (is_new, commits) = (config.get("group.protocol") == Some("consumer"), config.get("enable.auto.commit") == Some("true"));
    let interval_ms = config.get("auto.commit.interval.ms")?.parse().ok().filter(|interval_ms| is_new && commits && *interval_ms > 0)?;
    config.set("auto.commit.interval.ms", "0");
    Some(interval_ms)
}

/// How many partitions a topic has.
pub(crate) fn partition_count(consumer: &BaseConsumer<Context>, topic: &str, wait: Duration) -> KafkaResult<Option<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found.filter(|found| found.error().is_none() && !found.partitions().is_empty()).map(|found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)))
}

/// Passes a log line of the client on, under the name `kafka`.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "kafka", facility, detail = message, "client error");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "kafka", facility, detail = message, "client warning"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "kafka", facility, detail = message, "client notice"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "kafka", facility, detail = message, "client detail"),
    }
}

/// Passes an error of the client on. It retries by itself, so this is a warning.
pub(crate) fn log_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "kafka", %error, reason, "client reports a problem");
}

/// A syslog level of the client.
pub(crate) fn log_level(level: i32) -> RDKafkaLogLevel {
    match level {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// A partition list for log lines: `topic/0,1,5`.
pub(crate) fn describe(partitions: &TopicPartitionList) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for element in partitions.elements() {
        if element.topic() == last {
            text += &format!(",{}", element.partition());
        } else {
            let space = if text.is_empty() { "" } else { " " };
            text += &format!("{space}{}/{}", element.topic(), element.partition());
            element.topic().clone_into(&mut last);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Joining;
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_client_gets_only_the_options_it_knows() {
        let options = options(&[("bootstrap.servers", "a:1"), ("group.id", "g"), ("linger.ms", "20"), ("session.timeout.ms", "6000")]);
        let (consumer, producer) = (consumer_config(&options, 1), producer_config(&options, 1));
        assert_eq!((consumer.get("group.id"), consumer.get("linger.ms")), (Some("g"), None));
        assert_eq!((producer.get("group.id"), producer.get("linger.ms")), (None, Some("20")));
        assert_eq!((consumer.get("bootstrap.servers"), producer.get("bootstrap.servers")), (Some("a:1"), Some("a:1")));
    }

    #[test]
    fn the_guarantee_cannot_be_switched_off() {
        let asked = options(&[("enable.auto.offset.store", "true"), ("acks", "all")]);
        assert_eq!(forbidden_option(&asked), Some(("enable.auto.offset.store", "true", "false")));
        assert_eq!(consumer_config(&asked, 1).get("enable.auto.offset.store"), Some("false"));
        assert_eq!(forbidden_option(&options(&[("enable.idempotence", "true")])), None);
        assert_eq!(producer_config(&options(&[("enable.idempotence", "false")]), 1).get("enable.idempotence"), Some("true"));
    }

    #[test]
    fn transactions_commit_the_offsets_themselves() {
        let options = options(&[("group.id", "g"), ("transaction.timeout.ms", "5000")]);
        let consumer = transactional_consumer_config(&options, 1);
        assert_eq!((consumer.get("enable.auto.commit"), consumer.get("isolation.level")), (Some("false"), Some("read_committed")));
        assert_eq!(consumer.get("transaction.timeout.ms"), None);
        let producer = transactional_producer_config(&options, 1, "id");
        assert_eq!((producer.get("transactional.id"), producer.get("transaction.timeout.ms")), (Some("id"), Some("5000")));
    }

    #[test]
    fn a_transaction_lives_no_longer_than_a_session() {
        let life = |pairs: &[(&str, &str)]| transactional_producer_config(&options(pairs), 1, "id").get("transaction.timeout.ms").map(str::to_owned);
        assert_eq!(life(&[]), Some("15000".to_owned()));
        assert_eq!(life(&[("session.timeout.ms", "30000")]), Some("15000".to_owned()));
        assert_eq!(life(&[("session.timeout.ms", "6000")]), Some("6000".to_owned()));
        assert_eq!(life(&[("session.timeout.ms", "1200")]), Some("3000".to_owned()), "it would never end in time");
        assert_eq!(life(&[("session.timeout.ms", "6000"), ("transaction.timeout.ms", "20000")]), Some("20000".to_owned()));
    }

    #[test]
    fn heartbeats_come_often_enough_for_the_session() {
        let interval = |pairs: &[(&str, &str)]| consumer_config(&options(pairs), 1).get("heartbeat.interval.ms").map(str::to_owned);
        assert_eq!(interval(&[]), Some("500".to_owned()));
        assert_eq!(interval(&[("session.timeout.ms", "1200")]), Some("400".to_owned()));
        assert_eq!(interval(&[("heartbeat.interval.ms", "3000")]), Some("3000".to_owned()));
    }

    #[test]
    fn the_client_commits_by_itself_under_the_classic_protocol_alone() {
        let taken = |joining: Joining, mut config: ClientConfig| {
            joining.apply(&mut config);
            (take_commit_interval(&mut config), config.get("auto.commit.interval.ms").map(str::to_owned))
        };
        let own = options(&[("auto.commit.interval.ms", "200")]);
        assert_eq!(taken(Joining::Consumer, consumer_config(&own, 1)), (Some(200), Some("0".to_owned())));
        assert_eq!(taken(Joining::Classic, consumer_config(&own, 1)), (None, Some("200".to_owned())));
        assert_eq!(taken(Joining::Consumer, transactional_consumer_config(&own, 1)), (None, Some("200".to_owned())));
    }

    #[test]
    fn the_new_protocol_gets_no_assignor() {
        let mut config = consumer_config(&[], 1);
        assert_eq!(config.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        Joining::Consumer.apply(&mut config);
        for classic in ["partition.assignment.strategy", "heartbeat.interval.ms"] {
            assert_eq!(config.get(classic), None);
        }
    }
}
