//! The bench's own view of a cluster: make, fill, read and delete topics, ask for committed offsets. Nothing of it runs while something is timed, except the question for committed offsets at the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use expressway_ingest::devices::{Devices, Settings};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use super::ledger::Ledger;
use super::offer;
use crate::clock::pause;
use crate::error::Error;

/// How long one question to a broker may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long the last records of a fill may take to be acknowledged.
const FLUSH_WITHIN: Duration = Duration::from_secs(120);

/// How long a reader may wait for the next record of a topic that has one.
const RECORD_WITHIN: Duration = Duration::from_secs(30);

/// Devices that send; their messages take turns.
pub(super) const DEVICES: u32 = 100_000;

/// The devices whose messages fill a topic.
pub(crate) fn devices() -> Devices {
    Devices::new(Settings { devices: DEVICES, broken_per_10000: 0, seed: 1 })
}

/// The partition that a device's messages go to.
///
/// # Panics
/// Never: a topic has fewer partitions than an `i32` counts.
pub(crate) fn partition_of(device: u32, partitions: u32) -> i32 {
    i32::try_from(device % partitions).expect("a partition's number fits")
}

pub(crate) struct Cluster {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

/// A topic that was filled.
#[derive(Debug, Clone)]
pub(crate) struct Filled {
    /// The end offset of each partition; the first is 0.
    pub(super) ends: Vec<i64>,
    /// Bytes of all values.
    pub(super) bytes: u64,
}

pub(super) fn failed(doing: &str, topic: &str) -> impl FnOnce(KafkaError) -> Error {
    let doing = format!("{doing} {topic}");
    move |error| Error::surroundings(doing, error)
}

impl Cluster {
    pub(crate) fn connect(brokers: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| Error::surroundings("starting a runtime", error))?;
        let admin: AdminClient<DefaultClientContext> = config(brokers).create().map_err(failed("connecting to", brokers))?;
        admin.inner().fetch_metadata(None, ANSWER_WITHIN).map_err(failed("connecting to", brokers))?;
        Ok(Self { brokers: brokers.to_owned(), admin, runtime })
    }

    /// Makes a topic and waits until each partition has a leader.
    pub(crate) fn create(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        let count = i32::try_from(partitions).map_err(|error| Error::Usage(format!("{partitions} partitions: {error}")))?;
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1));
        let answer = self.runtime.block_on(self.admin.create_topics([&new], &options())).map_err(failed("making the topic", topic))?;
        for outcome in answer {
            outcome.map_err(|(_, code)| failed("making the topic", topic)(KafkaError::AdminOp(code)))?;
        }
        let end = Instant::now() + ANSWER_WITHIN;
        while !self.is_led(topic, partitions).map_err(failed("looking for", topic))? {
            if Instant::now() > end {
                return Err(Error::surroundings(format!("waiting for leaders of {topic}"), "they do not come"));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_led(&self, topic: &str, partitions: u32) -> KafkaResult<bool> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ANSWER_WITHIN)?;
        let found = metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|partition| partition.leader() >= 0);
        Ok(found.count() as u64 == u64::from(partitions))
    }

    pub(crate) fn delete(&self, topics: &[String]) -> Result<(), Error> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let answer = self.runtime.block_on(self.admin.delete_topics(&names, &options())).map_err(failed("deleting", "topics"))?;
        answer.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(|(topic, code)| failed("deleting the topic", &topic)(KafkaError::AdminOp(code))))
    }

    /// Fills a topic with messages of simulated devices: keyed, LZ4, every device always to the same partition, partitions evenly.
    pub(crate) fn fill(&self, topic: &str, partitions: u32, records: u64) -> Result<Filled, Error> {
        let mut config = config(&self.brokers);
        config.set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "20").set("batch.size", "1000000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().map_err(failed("connecting to", &self.brokers))?;
        let mut devices = devices();
        let mut bytes = 0;
        for _ in 0..records {
            let record = devices.next_record();
            let value = record.value.expect("no record is broken, so each has a value");
            let partition = partition_of(record.device, partitions);
            bytes += value.len() as u64;
            let mut next = BaseRecord::to(topic).partition(partition).key(record.key).payload(value);
            while let Err((error, back)) = producer.send(next) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed("filling", topic)(error));
                }
                next = back;
                pause(Duration::from_millis(1));
            }
        }
        producer.flush(FLUSH_WITHIN).map_err(failed("filling", topic))?;
        let ends = self.ends(topic, partitions)?;
        let written: i64 = ends.iter().sum();
        if u64::try_from(written).ok() != Some(records) {
            return Err(Error::surroundings(format!("filling {topic}"), format!("it holds {written} of {records} records")));
        }
        Ok(Filled { ends, bytes })
    }

    /// The end offset of each partition.
    pub(crate) fn ends(&self, topic: &str, partitions: u32) -> Result<Vec<i64>, Error> {
        let numbers = 0..i32::try_from(partitions).expect("the topic was made with so many");
        numbers.map(|number| Ok(self.admin.inner().fetch_watermarks(topic, number, ANSWER_WITHIN).map_err(failed("reading the ends of", topic))?.1)).collect()
    }

    /// Reads a result topic from its beginning to its present end into `ledger`.
    pub(super) fn read_back(&self, topic: &str, partitions: u32, ledger: &mut Ledger) -> Result<(), Error> {
        self.read(topic, partitions, |message| {
            offer::enter(message, ledger);
        })
    }

    /// Reads a topic from its beginning to its present end.
    pub(crate) fn read(&self, topic: &str, partitions: u32, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<(), Error> {
        let ends = self.ends(topic, partitions)?;
        let mut open: BTreeSet<i32> = (0..).zip(&ends).filter(|(_, end)| **end > 0).map(|(number, _)| number).collect();
        let mut config = config(&self.brokers);
        // A group is wanted by the client; nothing is ever committed under it.
        config.set("group.id", "expressway-bench-reader").set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "1");
        // The last offset may be that of a transaction's end, at which no record lies.
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().map_err(failed("reading", topic))?;
        let mut from = TopicPartitionList::new();
        for number in (0_i32..).take(ends.len()) {
            from.add_partition_offset(topic, number, Offset::Beginning).map_err(failed("reading", topic))?;
        }
        consumer.assign(&from).map_err(failed("reading", topic))?;
        while !open.is_empty() {
            let message = consumer.poll(RECORD_WITHIN).ok_or_else(|| Error::surroundings(format!("reading {topic}"), "no further record comes"))?;
            let message = match message {
                Err(KafkaError::PartitionEOF(number)) => {
                    open.remove(&number);
                    continue;
                }
                message => message.map_err(failed("reading", topic))?,
            };
            let number = message.partition();
            if message.offset() + 1 == ends[usize::try_from(number).expect("a partition that was asked for is not negative")] {
                open.remove(&number);
            }
            each(&message);
        }
        Ok(())
    }

    /// Someone who asks how far a group has committed, already connected.
    pub(super) fn watcher(&self, group: &str, topic: &str, partitions: u32) -> Result<Watcher, Error> {
        let consumer: BaseConsumer = config(&self.brokers).set("group.id", group).create().map_err(failed("watching", group))?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, i32::try_from(partitions).expect("the topic was made with so many") - 1);
        let watcher = Watcher { consumer, asked, group: group.to_owned() };
        watcher.wait_for_coordinator()?;
        Ok(watcher)
    }
}

pub(super) struct Watcher {
    consumer: BaseConsumer,
    asked: TopicPartitionList,
    group: String,
}

impl Watcher {
    /// Partitions that are watched.
    pub(super) fn partitions(&self) -> usize {
        self.asked.count()
    }

    /// A broker that was started just now makes the topic for offsets at the first question, and cannot answer it yet.
    fn wait_for_coordinator(&self) -> Result<(), Error> {
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.consumer.committed_offsets(self.asked.clone(), ANSWER_WITHIN) {
                Err(error)
                    if matches!(error.rdkafka_error_code(), Some(NotCoordinator | CoordinatorLoadInProgress | CoordinatorNotAvailable))
                        && Instant::now() < end =>
                {
                    pause(Duration::from_millis(100));
                }
                answer => return answer.map(|_| ()).map_err(failed("asking for the offsets of", &self.group)),
            }
        }
    }

    /// Records committed, over all partitions.
    pub(super) fn committed(&self) -> Result<u64, Error> {
        let answer = self.consumer.committed_offsets(self.asked.clone(), ANSWER_WITHIN).map_err(failed("asking for the offsets of", &self.group))?;
        let offsets =
            answer.elements().iter().filter_map(|element| element.offset().to_raw().and_then(|offset| u64::try_from(offset).ok())).collect::<Vec<_>>();
        Ok(offsets.iter().sum())
    }
}

pub(super) fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("log_level", "3");
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN))
}
