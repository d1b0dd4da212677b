//! A shard's queue and its batches, over the model.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use super::client::Context;
use super::{BaseConsumer, ConsumerHandle, Headers};
use crate::broker::Record;
use crate::consumer::Item;
use crate::plan::SOURCES;
use crate::world::{self, with};

/// A queue that the partitions of one shard are forwarded to.
pub(crate) struct ShardQueue {
    id: usize,
    consumer: ConsumerHandle,
}

impl ShardQueue {
    pub(crate) fn new(consumer: &ConsumerHandle) -> Self {
        Self { id: with(|world| world.add_queue()), consumer: Arc::clone(consumer) }
    }

    pub(crate) fn forward(&self, base: &BaseConsumer<Context>, topic: &str, partition: i32) -> bool {
        with(|world| world.plan.place(topic, partition).is_some_and(|place| world.forward(base.id(), place, self.id)))
    }

    pub(crate) fn wake_consumer(&self) {
        with(|world| world.yield_queue(self.id));
    }

    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn consumer(&self) -> &ConsumerHandle {
        &self.consumer
    }
}

/// A batch of messages that were consumed and not yet looked at.
pub(crate) struct Batch {
    items: VecDeque<Item>,
    records_max: usize,
    queue: Arc<ShardQueue>,
}

impl Batch {
    pub(crate) fn new(queue: &Arc<ShardQueue>, records_max: usize) -> Self {
        Self { items: VecDeque::new(), records_max: records_max.max(1), queue: Arc::clone(queue) }
    }

    /// As the native call: with a wait it lasts until the batch is full, the wait is over, or the queue is told to yield.
    pub(crate) fn fill(&mut self, records_max: usize, wait: Duration) -> usize {
        debug_assert!(self.items.is_empty(), "the last batch was wholly processed");
        let (queue, consumer, size) = (self.queue.id, self.queue.consumer.id(), records_max.min(self.records_max));
        let items = &mut self.items;
        world::preempt();
        world::wait(wait, |world, task| world.take_items(queue, consumer, task, size, items).then_some(()));
        world::preempt();
        self.items.len()
    }

    pub(crate) fn next(&mut self) -> Option<Message> {
        self.items.pop_front().map(|item| {
            let headers = item.content.as_ref().ok().filter(|record| !record.headers.is_empty()).map(|record| Headers { list: record.headers.clone() });
            let (topic, partition) = with(|world| world.plan.position(item.partition));
            Message { topic, partition, content: item.content, headers }
        })
    }
}

/// A consumed record, or an error that came in its place.
pub(crate) struct Message {
    topic: usize,
    partition: i32,
    content: Result<Rc<Record>, ErrorCode>,
    headers: Option<Headers>,
}

/// Tells topics apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicToken(usize);

impl Message {
    fn record(&self) -> Option<&Record> {
        self.content.as_ref().ok().map(Rc::as_ref)
    }

    pub(crate) fn error(&self) -> Option<ErrorCode> {
        self.content.as_ref().err().copied()
    }

    pub(crate) fn topic(&self) -> TopicToken {
        TopicToken(self.topic)
    }

    pub(crate) fn topic_name(&self) -> &str {
        SOURCES[self.topic]
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.record().map_or(-1, |record| record.offset)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.record()?.key.as_deref()
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.record()?.value.as_deref()
    }

    pub(crate) fn timestamp_ms(&self) -> Option<u64> {
        self.record()?.timestamp_ms
    }

    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        self.headers.take()
    }
}

/// Keeps a topic's token good.
pub(crate) struct TopicHandle(usize);

impl TopicHandle {
    pub(crate) fn new(_: &ConsumerHandle, topic: &str) -> Option<Self> {
        SOURCES.iter().position(|source| *source == topic).map(Self)
    }

    pub(crate) fn token(&self) -> TopicToken {
        TopicToken(self.0)
    }
}
