//! What belongs to one Kafka client and is replaced together with it: the consumer, a queue for each shard, the topics' handles.

use std::sync::Arc;

use super::{Error, Settings};
use crate::kafka::protocol::Joining;
use crate::kafka::queue::TopicHandle;
use crate::kafka::{Consumer, ShardQueue, client};

/// How often the client tells its statistics, which are looked at only when a partition stands still.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// A client that has not subscribed.
pub(super) struct Intake {
    pub(super) consumer: Consumer,
    /// In the order of the source topics.
    pub(super) handles: Arc<[TopicHandle]>,
    /// In the order of the shards.
    pub(super) queues: Vec<Arc<ShardQueue>>,
}

/// Makes clients, all alike but for the group protocol.
pub(super) struct Connector {
    pub(super) settings: Arc<Settings>,
    pub(super) queued_kbytes: u64,
}

impl Connector {
    /// A client for the protocol. Options that the protocol does not know are dropped, each with a warning.
    pub(super) fn connect(&self, joining: Joining) -> Result<Intake, Error> {
        let settings = &self.settings;
        for (option, instead) in joining.clashing(&settings.client_options) {
            tracing::warn!(option, protocol = joining.name(), instead, "client option is dropped, for the group protocol does not know it");
        }
        let mut config = if settings.is_transactional() {
            client::transactional_consumer_config(&settings.client_options, self.queued_kbytes)
        } else {
            client::consumer_config(&settings.client_options, self.queued_kbytes)
        };
        joining.apply(&mut config);
        config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
        let consumer = Consumer::new(&config).map_err(Error::Client)?;
        let handle = |topic: &String| TopicHandle::new(consumer.handle(), topic).ok_or_else(|| Error::TopicMissing { topic: topic.clone(), role: "source" });
        let handles = settings.source_topics.iter().map(handle).collect::<Result<_, _>>()?;
        let queues = (0..settings.shards).map(|_| Arc::new(ShardQueue::new(consumer.handle()))).collect();
        Ok(Intake { consumer, handles, queues })
    }
}
