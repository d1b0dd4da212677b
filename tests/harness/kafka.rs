//! The tests' own view of a cluster: make topics, read whole topics, ask for committed offsets. Nothing here is shared with the service.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::deadline;

/// How long one question to a broker may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A record as the tests read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers; of headers with one name, the last.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers =
            message.headers().map(|headers| headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }

    /// A header as text; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    /// The value as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.value.as_deref().and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default()
    }
}

/// A config for a client of tests that reads or asks.
#[must_use]
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("fetch.message.max.bytes", "16777216").set("log_level", "0");
    config
}

/// A config for a producer of tests: idempotent, large records allowed.
#[must_use]
pub fn producer_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "16777216")
        .set("linger.ms", "5");
    config
}

/// Makes a topic and waits until it can be used.
///
/// # Errors
/// When the cluster refuses.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create().map_err(|error| error.to_string())?;
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN));
    let results = block_on(admin.create_topics([&topic], &options)).map_err(|error| error.to_string())?;
    results.into_iter().try_for_each(|result| result.map(|_| ()).map_err(|(topic, code)| format!("cannot make topic {topic}: {code}")))?;
    // The controller has it; brokers tell of it a little later.
    let consumer: BaseConsumer = config(bootstrap).create().map_err(|error| error.to_string())?;
    deadline::until(&format!("topic {name} known to the brokers"), ANSWER_WITHIN, || {
        let metadata = consumer.fetch_metadata(Some(name), ANSWER_WITHIN).ok()?;
        let topic = metadata.topics().first()?;
        let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0).count();
        (topic.error().is_none() && i32::try_from(led) == Ok(partitions)).then_some(())
    })
}

/// Sets the settings of a topic to exactly these; what is not named falls back to the broker's.
///
/// # Errors
/// When the cluster refuses.
pub fn alter_topic(bootstrap: &str, name: &str, settings: &[(&str, &str)]) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create().map_err(|error| error.to_string())?;
    let altered = settings.iter().fold(AlterConfig::new(ResourceSpecifier::Topic(name)), |altered, (key, value)| altered.set(key, value));
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
    let results = block_on(admin.alter_configs([&altered], &options)).map_err(|error| error.to_string())?;
    results.into_iter().try_for_each(|result| result.map(|_| ()).map_err(|(_, code)| format!("cannot alter topic {name}: {code}")))
}

/// The broker that leads a partition, when there is one now.
///
/// # Errors
/// When the cluster does not answer.
pub fn leader(bootstrap: &str, topic: &str, partition: i32) -> Result<Option<i32>, String> {
    let consumer: BaseConsumer = config(bootstrap).create().map_err(|error| error.to_string())?;
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(|error| error.to_string())?;
    let found = metadata.topics().iter().flat_map(|topic| topic.partitions()).find(|found| found.id() == partition);
    Ok(found.map(|found| found.leader()).filter(|&leader| leader > 0))
}

/// Polls a future on this thread until it is ready; the clients' own threads drive it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// The end offset of each partition of a topic.
///
/// # Errors
/// When the cluster does not answer.
pub fn ends(bootstrap: &str, topic: &str, partitions: i32) -> Result<Vec<i64>, String> {
    let consumer: BaseConsumer = config(bootstrap).create().map_err(|error| error.to_string())?;
    (0..partitions).map(|partition| Ok(consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN).map_err(|error| error.to_string())?.1)).collect()
}

/// The committed offset of each partition; `None` where the group has none.
///
/// # Errors
/// When the cluster does not answer.
pub fn committed(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Result<Vec<Option<i64>>, String> {
    let consumer: BaseConsumer = config(bootstrap).set("group.id", group).create().map_err(|error| error.to_string())?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let answer = consumer.committed_offsets(asked, ANSWER_WITHIN).map_err(|error| error.to_string())?;
    Ok(answer
        .elements()
        .iter()
        .map(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
        .collect())
}

/// A reader of whole topics, from their first record on.
///
/// What a transaction wrote is read once it is committed, and never when it is aborted.
pub struct Reader {
    consumer: BaseConsumer,
    records: Vec<Record>,
    /// Partitions whose end was reached: the last offset may be of no record, but of the end of a transaction.
    ended: BTreeSet<i32>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader at the beginning of every partition of `topic`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn open(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self, String> {
        Self::open_at(bootstrap, topic, partitions, "read_committed")
    }

    /// The same for one that reads everything, what was aborted included.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn open_uncommitted(bootstrap: &str, topic: &str, partitions: i32) -> Result<Self, String> {
        Self::open_at(bootstrap, topic, partitions, "read_uncommitted")
    }

    fn open_at(bootstrap: &str, topic: &str, partitions: i32, isolation: &str) -> Result<Self, String> {
        let mut config = config(bootstrap);
        config.set("isolation.level", isolation).set("enable.partition.eof", "true");
        // A group id is wanted by the client; nothing is ever committed under it.
        let consumer: BaseConsumer = config.set("group.id", "tests-reader").set("enable.auto.commit", "false").create().map_err(|error| error.to_string())?;
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions {
            from.add_partition_offset(topic, partition, Offset::Beginning).map_err(|error| error.to_string())?;
        }
        consumer.assign(&from).map_err(|error| error.to_string())?;
        Ok(Self { consumer, records: Vec::new(), ended: BTreeSet::new() })
    }

    /// Everything read so far.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes what is there within `wait`, and as much more as follows without a pause.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub fn read(&mut self, wait: Duration) -> Result<&[Record], String> {
        let mut wait = wait;
        loop {
            match self.consumer.poll(wait) {
                None => return Ok(&self.records),
                Some(Ok(message)) => self.records.push(Record::of(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(self.ended.insert(partition)),
                // A broker that is down for a while is part of many tests; the deadline of the caller ends it.
                Some(Err(KafkaError::MessageConsumption(_))) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
            wait = Duration::ZERO;
        }
    }

    /// Reads until `enough` holds for all records so far.
    ///
    /// # Errors
    /// When it does not hold within `limit`.
    pub fn read_until(&mut self, what: &str, limit: Duration, mut enough: impl FnMut(&[Record]) -> bool) -> Result<&[Record], String> {
        let end = Instant::now() + limit;
        while !enough(&self.records) {
            if Instant::now() >= end {
                return Err(format!("{what}: not within {limit:?}, {} records read", self.records.len()));
            }
            self.read(Duration::from_millis(50))?;
        }
        Ok(&self.records)
    }

    /// Reads up to what is the end of every partition now.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn read_to_end(&mut self, bootstrap: &str, topic: &str, partitions: i32, limit: Duration) -> Result<&[Record], String> {
        let ends = ends(bootstrap, topic, partitions)?;
        let mut next = vec![0_i64; ends.len()];
        let mut seen = 0;
        let deadline = Instant::now() + limit;
        loop {
            for record in self.records.iter().skip(seen) {
                if let Some(next) = usize::try_from(record.partition).ok().and_then(|partition| next.get_mut(partition)) {
                    *next = record.offset + 1;
                }
            }
            seen = self.records.len();
            if (0..).zip(&next).zip(&ends).all(|((partition, next), end)| next >= end || self.ended.contains(&partition)) {
                return Ok(&self.records);
            }
            if Instant::now() >= deadline {
                return Err(format!("the end of a topic: not within {limit:?}, {seen} records read"));
            }
            self.read(Duration::from_millis(50))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Broker, Mock};
    use crate::ledger::Feeder;

    #[test]
    fn what_is_fed_is_read_back_where_the_ledger_says() {
        let mock = Mock::start().unwrap();
        mock.create_topic("t", 2).unwrap();
        let limit = Duration::from_secs(30);
        let mut feeder = Feeder::new(&mock.bootstrap(), "t").unwrap();
        feeder.stream(100, 100_000, |_| Ok(())).unwrap();
        feeder.raw(Some(1), None).unwrap();
        feeder.flush(limit).unwrap();
        let mut reader = Reader::open(&mock.bootstrap(), "t", 2).unwrap();
        let records = reader.read_to_end(&mock.bootstrap(), "t", 2, limit).unwrap();
        assert_eq!((records.len(), feeder.ledger().owed()), (101, 101));
        let positions = feeder.ledger().positions();
        for record in records.iter().filter(|record| record.value.is_some()) {
            assert_eq!(positions[&record.json()["seq"].as_u64().unwrap()], (record.partition, record.offset));
        }
        assert_eq!(committed(&mock.bootstrap(), "nobody", "t", 2).unwrap(), [None, None]);
    }
}
