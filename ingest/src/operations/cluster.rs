//! The cluster as an operator's command sees it: which partitions a topic has, where they begin and end, what groups have committed.
//!
//! Every question has a time limit, and every answer that is not there is a sentence.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::error::Error;
use crate::kafka::client::{self, Context};
use crate::kafka::token;
use crate::pipeline::without_value;

/// How long one question may take.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What a command's consumer may hold fetched in each partition, and its producer unsent, in KiB: enough to keep it busy, little enough beside a service.
pub(crate) const QUEUE_KBYTES: u64 = 64 << 10;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// `host:port`, separated by commas.
    pub(crate) brokers: String,
    options: Vec<(String, String)>,
}

/// A part of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The partition.
    pub(crate) partition: i32,
    /// Its first offset.
    pub(crate) from: i64,
    /// The offset behind its last.
    pub(crate) to: i64,
}

/// What a group has committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next offset to read; `None` when there is none.
    pub(crate) offset: Option<i64>,
    /// What was written beside it.
    pub(crate) metadata: String,
}

impl Cluster {
    /// A cluster by its brokers, with options of the client by librdkafka's names.
    pub(crate) fn new(brokers: &str, client_options: &[(String, String)]) -> Self {
        let brokers_option = ("bootstrap.servers".to_owned(), brokers.to_owned());
        Self { brokers: brokers.to_owned(), options: std::iter::once(brokers_option).chain(client_options.iter().cloned()).collect() }
    }

    /// A consumer that joins no group; what it commits is committed for `group`.
    pub(crate) fn consumer(&self, group: &str) -> Result<BaseConsumer<Context>, Error> {
        let mut config = client::consumer_config(&self.options, QUEUE_KBYTES);
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        // A range may begin where the log has been cut a moment ago: what is left is read, and the gap is seen.
        config.set("auto.offset.reset", "earliest");
        for key in ["group.instance.id", "group.protocol", "partition.assignment.strategy"] {
            config.remove(key);
        }
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context::default()).map_err(|error| Error::surroundings("the Kafka client cannot be made", without_value(error)))?;
        token::give(consumer.client(), &config);
        Ok(consumer)
    }

    /// The configuration of a producer, idempotent and with all replicas' acknowledgement.
    pub(super) fn producer_config(&self) -> ClientConfig {
        let mut config = client::producer_config(&self.options, QUEUE_KBYTES);
        // A command is in no hurry for a single record; what the operator has set stays.
        for (beginning, key, value) in [("compression.", "compression.type", "lz4"), ("linger.ms", "linger.ms", "5")] {
            if !self.options.iter().any(|(option, _)| option.starts_with(beginning)) {
                config.set(key, value);
            }
        }
        config
    }

    /// How many partitions a topic has.
    pub(crate) fn partitions(&self, consumer: &BaseConsumer<Context>, topic: &str) -> Result<i32, Error> {
        let count = client::partition_count(consumer, topic, ANSWER_WITHIN).map_err(|error| self.silent(error))?;
        count.ok_or_else(|| Error::Surroundings { what: format!("there is no topic {topic} on {}", self.brokers), source: None })
    }

    /// The first offset of a partition, and the one behind its last.
    pub(crate) fn bounds(&self, consumer: &BaseConsumer<Context>, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
        consumer
            .fetch_watermarks(topic, partition, ANSWER_WITHIN)
            .map_err(|error| Error::surroundings(format!("the bounds of {topic}/{partition} are not told"), error))
    }

    /// Everything that a topic holds now, partition by partition.
    pub(crate) fn whole(&self, consumer: &BaseConsumer<Context>, topic: &str) -> Result<Vec<Range>, Error> {
        let count = self.partitions(consumer, topic)?;
        let range = |partition| self.bounds(consumer, topic, partition).map(|(from, to)| Range { partition, from, to });
        (0..count).map(range).collect()
    }

    /// For each range, the offset of its first record that is not older than `since_ms`; the range's end when there is none.
    pub(crate) fn since(&self, consumer: &BaseConsumer<Context>, topic: &str, ranges: &[Range], since_ms: i64) -> Result<Vec<i64>, Error> {
        let failed = |error| Error::surroundings(format!("the offsets of a time are not told for {topic}"), error);
        let mut asked = TopicPartitionList::with_capacity(ranges.len());
        for range in ranges {
            asked.add_partition_offset(topic, range.partition, Offset::Offset(since_ms)).map_err(failed)?;
        }
        let answer = consumer.offsets_for_times(asked, ANSWER_WITHIN).map_err(failed)?;
        let mut offsets = Vec::with_capacity(ranges.len());
        for range in ranges {
            let found = answer.find_partition(topic, range.partition);
            let found = found.map(|element| element.error().map(|()| element.offset())).transpose().map_err(failed)?;
            offsets.push(if let Some(Offset::Offset(offset)) = found { offset.clamp(range.from, range.to) } else { range.to });
        }
        Ok(offsets)
    }

    /// What the group of `consumer` has committed for each range's partition.
    pub(crate) fn committed(&self, consumer: &BaseConsumer<Context>, topic: &str, partitions: &[i32]) -> Result<Vec<Committed>, Error> {
        let failed = |error| Error::surroundings(format!("the committed offsets of {topic} are not told"), error);
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            asked.add_partition(topic, partition);
        }
        let answer = consumer.committed_offsets(asked, ANSWER_WITHIN).map_err(failed)?;
        let mut committed = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let element = answer.find_partition(topic, partition);
            if let Some(element) = &element {
                element.error().map_err(failed)?;
            }
            committed.push(element.map_or(Committed { offset: None, metadata: String::new() }, |element| Committed {
                offset: if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None },
                metadata: element.metadata().to_owned(),
            }));
        }
        Ok(committed)
    }

    /// Whether a topic is compacted; `None` when the broker does not say.
    pub(crate) fn is_compacted(&self, topic: &str) -> Option<bool> {
        let config = self.producer_config();
        let admin: AdminClient<DefaultClientContext> = config.create().ok()?;
        token::give(admin.inner(), &config);
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        let answer = runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
        let policy = answer.ok()?.pop()?.ok()?.get("cleanup.policy")?.value.clone()?;
        Some(policy.split(',').any(|word| word.trim() == "compact"))
    }

    fn silent(&self, error: rdkafka::error::KafkaError) -> Error {
        Error::surroundings(format!("the brokers {} do not answer", self.brokers), error)
    }
}
