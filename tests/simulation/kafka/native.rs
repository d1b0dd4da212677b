//! The consumer under rdkafka's names, over the model.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode as ErrorCode, RDKafkaRespErr};

use crate::consumer::{Event, Item};
use crate::plan::{DEAD_LETTERS, RESULTS, SOURCES};
use crate::world::{self, World, with};

pub(crate) use rdkafka::consumer::RebalanceProtocol;

/// Between two looks of a question that has no answer yet, about.
const ASK_AGAIN_NS: u64 = 5_000_000;

/// Brings nothing into scope: the calls are the type's own.
pub(crate) trait ConsumerCalls {}

/// What a consumer tells its owner.
pub(crate) trait ConsumerContext: ClientContext + Sized {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList);
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList);
}

/// A consumer: a number in the world, and a context.
pub(crate) struct BaseConsumer<C: ConsumerContext> {
    id: usize,
    /// Whether offsets that a transaction is about to commit are waited for.
    is_read_committed: bool,
    context: C,
}

impl<C: ConsumerContext> FromClientConfigAndContext<C> for BaseConsumer<C> {
    fn from_config_and_context(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        let interval_ms: u64 = config.get("auto.commit.interval.ms").and_then(|text| text.parse().ok()).expect("the service sets it");
        assert_eq!(config.get("enable.auto.offset.store"), Some("false"), "the service stores marks itself");
        // The client reads committed records unless told otherwise.
        let is_read_committed = config.get("isolation.level") != Some("read_uncommitted");
        let id = with(|world| world.add_consumer(interval_ms * 1_000_000));
        if let Some(interval_ms) = config.get("statistics.interval.ms").and_then(|text| text.parse::<u64>().ok()) {
            with(|world| world.tell_statistics(id, interval_ms * 1_000_000));
        }
        Ok(Self { id, is_read_committed, context })
    }
}

/// A record that nobody forwarded.
pub(crate) struct Stray(Item);

impl Stray {
    pub(crate) fn topic(&self) -> &str {
        SOURCES[with(|world| world.plan.position(self.0.partition)).0]
    }

    pub(crate) fn partition(&self) -> i32 {
        with(|world| world.plan.position(self.0.partition)).1
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.content.as_ref().map_or(-1, |record| record.offset)
    }
}

/// The partitions of a list, counted through all topics, with their offsets. Takes the world in hand.
pub(super) fn numbers(partitions: &TopicPartitionList) -> Vec<(i32, Option<i64>)> {
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    let place = |topic: &str, number| with(|world| world.plan.place(topic, number)).expect("the topic is a source");
    partitions.elements().iter().map(|element| (place(element.topic(), element.partition()), offset(element.offset()))).collect()
}

impl<C: ConsumerContext> BaseConsumer<C> {
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn context(&self) -> &C {
        &self.context
    }

    /// What lies under a consumer.
    pub(crate) fn client(&self) -> Client {
        Client
    }

    pub(crate) fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        assert_eq!(topics, with(|world| world.plan.topics()), "these are the source topics");
        with(|world| world.subscribe(self.id));
        Ok(())
    }

    pub(crate) fn poll(&self, wait: Duration) -> Option<KafkaResult<Stray>> {
        match world::wait(wait, |world, task| world.take_event(self.id, task))? {
            Event::Stray(Item { content: Err(_), .. }) => None,
            Event::Stray(item) => Some(Ok(Stray(item))),
            Event::Error(error) => Some(Err(error)),
            Event::Statistics(json) => {
                self.context.stats_raw(&json);
                None
            }
            Event::Committed(result) => {
                self.context.commit_callback(result, &TopicPartitionList::new());
                None
            }
            Event::Rebalance { is_assign, partitions } => {
                let mut list = TopicPartitionList::new();
                for partition in partitions {
                    let (topic, number) = with(|world| world.plan.position(partition));
                    list.add_partition(SOURCES[topic], number);
                }
                let assign = RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
                let event = if is_assign { assign } else { RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS };
                with(|world| world.consumers[self.id].decided_ns = world.now_ns);
                self.context.rebalance(self, event, &mut list);
                with(|world| world.rebalance_served(self.id, is_assign));
                None
            }
        }
    }

    pub(crate) fn rebalance_protocol(&self) -> RebalanceProtocol {
        if with(|world| world.plan.is_eager) { RebalanceProtocol::Eager } else { RebalanceProtocol::Cooperative }
    }

    pub(crate) fn assignment_lost(&self) -> bool {
        with(|world| world.consumers[self.id].is_lost)
    }

    pub(crate) fn assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let numbers = numbers(partitions);
        with(|world| world.assign(self.id, &numbers));
        Ok(())
    }

    pub(crate) fn incremental_assign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        self.assign(partitions)
    }

    pub(crate) fn unassign(&self) -> KafkaResult<()> {
        with(|world| world.unassign(self.id, None));
        Ok(())
    }

    pub(crate) fn incremental_unassign(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = numbers(partitions).into_iter().map(|(partition, _)| partition).collect();
        with(|world| world.unassign(self.id, Some(partitions)));
        Ok(())
    }

    /// Leaving by `unsubscribe` gives the partitions back, but says nothing to the coordinator, as was measured for cooperative members.
    #[cfg_attr(not(has_bug), expect(dead_code, reason = "only a deliberate bug calls it"))]
    pub(crate) fn unsubscribe(&self) {
        with(|world| world.unsubscribe(self.id));
    }

    pub(crate) fn close_queue(&self) -> KafkaResult<()> {
        with(|world| world.close(self.id));
        Ok(())
    }

    pub(crate) fn closed(&self) -> bool {
        with(|world| world.consumers[self.id].is_closed)
    }

    pub(crate) fn store_offsets(&self, offsets: &TopicPartitionList) -> KafkaResult<()> {
        numbers(offsets).into_iter().try_for_each(|(partition, offset)| {
            let offset = offset.expect("a mark is an offset");
            with(|world| world.store(self.id, partition, offset))
        })
    }

    pub(crate) fn pause(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        numbers(partitions).into_iter().for_each(|(partition, _)| with(|world| world.set_paused(self.id, partition, true)));
        Ok(())
    }

    pub(crate) fn resume(&self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        numbers(partitions).into_iter().for_each(|(partition, _)| with(|world| world.set_paused(self.id, partition, false)));
        Ok(())
    }

    /// A question to the brokers: its answer takes time, and may not come.
    fn ask<R>(&self, wait: Duration, answer: impl Fn(&mut World) -> Option<R>) -> Option<R> {
        let latency_ns = with(World::latency_ns);
        world::wait(Duration::from_nanos(latency_ns), |_, _| None::<()>);
        let is_lost = with(|world| world.instances[world.consumers[self.id].instance].cut_off_until_ns > world.now_ns || world.fault(100));
        // Where there is no answer now, the client asks again.
        world::wait_looking(wait, ASK_AGAIN_NS, |world, _| if is_lost { None } else { answer(world) })
    }

    pub(crate) fn committed_offsets(&self, mut partitions: TopicPartitionList, wait: Duration) -> KafkaResult<TopicPartitionList> {
        let places: Vec<i32> = numbers(&partitions).into_iter().map(|(place, _)| place).collect();
        let stable = |world: &mut World| {
            let is_stable = !self.is_read_committed || !world.has_unstable_offsets(&places);
            is_stable.then(|| world.broker.committed.clone())
        };
        let committed = self.ask(wait, stable).ok_or(KafkaError::OffsetFetch(ErrorCode::OperationTimedOut))?;
        for &place in &places {
            let (topic, number) = with(|world| world.plan.position(place));
            let offset = usize::try_from(place).ok().and_then(|place| committed[place]);
            partitions.set_partition_offset(SOURCES[topic], number, offset.map_or(Offset::Invalid, Offset::Offset))?;
        }
        Ok(partitions)
    }

    pub(crate) fn fetch_watermarks(&self, topic: &str, number: i32, wait: Duration) -> KafkaResult<(i64, i64)> {
        let place = with(|world| world.plan.place(topic, number)).expect("the topic is a source");
        let place = usize::try_from(place).expect("partitions count from 0");
        let watermarks = |world: &mut World| {
            let log = &world.broker.logs[place];
            (log.down_until_ns <= world.now_ns).then_some((log.start, log.end))
        };
        self.ask(wait, watermarks).ok_or(KafkaError::MetadataFetch(ErrorCode::OperationTimedOut))
    }

    pub(crate) fn fetch_metadata(&self, topic: Option<&str>, wait: Duration) -> KafkaResult<Metadata> {
        let name = topic.expect("one topic is asked for").to_owned();
        let count = |world: &mut World| match name.as_str() {
            source if SOURCES.contains(&source) => SOURCES.iter().position(|topic| *topic == source).map(|topic| world.plan.partitions_of(topic)),
            RESULTS => Some(world.plan.result_partitions),
            DEAD_LETTERS => Some(world.plan.dead_letter_partitions),
            _ => None,
        };
        let count = self.ask(wait, count).ok_or(KafkaError::MetadataFetch(ErrorCode::OperationTimedOut))?;
        Ok(Metadata { topics: [TopicMetadata { name, partitions: vec![(); count] }] })
    }
}

/// A client that never meets an error it cannot recover from.
pub(crate) struct Client;

impl Client {
    pub(crate) fn fatal_error(&self) -> Option<(ErrorCode, String)> {
        None
    }
}

/// What the brokers say of topics.
pub(crate) struct Metadata {
    topics: [TopicMetadata; 1],
}

/// What the brokers say of one topic.
pub(crate) struct TopicMetadata {
    name: String,
    partitions: Vec<()>,
}

impl Metadata {
    pub(crate) fn topics(&self) -> &[TopicMetadata] {
        &self.topics
    }
}

impl TopicMetadata {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn error(&self) -> Option<RDKafkaRespErr> {
        None
    }

    pub(crate) fn partitions(&self) -> &[()] {
        &self.partitions
    }
}
