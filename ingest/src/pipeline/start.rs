//! Puts a pipeline together: checks, clients, shards, threads.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::bounded;
use rdkafka::error::KafkaError;

use super::assignment::{Coordinator, ShardLink, SourceTopic};
use super::processor::Processor;
use super::shard::{self, Parts, Rules, Shard};
use super::shared::{Alarm, Desk, Health};
use super::sink::Sink;
use super::source::Source;
use super::{Error, Identity, Pipeline, Settings, lag};
use crate::clock::Clock;
use crate::kafka::queue::TopicHandle;
use crate::kafka::{Consumer, Producer, ShardQueue, client};
use crate::tasks::Integrations;

/// How long the first answer of a broker may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands that wait for a shard: an assignment's partitions, at most.
const COMMANDS_MAX: usize = 4_096;

/// The topics' numbers of partitions.
struct Topics {
    sources: Vec<i32>,
    results: i32,
    dead_letters: i32,
}

pub(super) fn start<P: Processor>(
    settings: Settings,
    identity: &Identity,
    tasks: &Arc<dyn Integrations>,
    mut processor: impl FnMut(u32) -> P,
) -> Result<Pipeline, Error> {
    settings.check()?;
    let settings = Arc::new(settings);
    let topics = find_topics(&settings)?;
    let partitions: i64 = topics.sources.iter().map(|count| i64::from(*count)).sum();
    let queued_kbytes = settings.queued_kbytes(u64::try_from(partitions).unwrap_or(1));
    let consumer = Consumer::new(&client::consumer_config(&settings.client_options, queued_kbytes)).map_err(Error::Client)?;
    let handles = topic_handles(&settings, &consumer)?;
    let source_topics = source_topics(&settings, &handles, &topics);
    let (clock, health, epochs) = (Clock::start(), Arc::new(Health::default()), Arc::new(AtomicU32::new(1)));
    health.set_reasons(vec!["starting".to_owned()]);

    let mut shards: Vec<(Shard<P>, Arc<Alarm>)> = Vec::new();
    let (mut links, mut desks) = (Vec::new(), Vec::new());
    for index in 0..settings.shards {
        let queue = Arc::new(ShardQueue::new(consumer.handle()));
        let alarm = Arc::new(Alarm::new(Arc::clone(&queue)));
        let (commands_in, commands) = bounded(COMMANDS_MAX);
        let desk = Arc::new(Desk::new(&epochs));
        let parts = Parts {
            index,
            processor: processor(index),
            queue: Arc::clone(&queue),
            sink: sink(&settings, &topics)?,
            topics: Arc::clone(&handles),
            outside: shard::outside(Arc::clone(tasks), &alarm),
            commands,
            health: Arc::clone(&health),
            desk: Arc::clone(&desk),
            clock,
            rules: rules(&settings, identity),
        };
        links.push(ShardLink { commands: commands_in, alarm: Arc::clone(&alarm), queue });
        desks.push(desk);
        shards.push((parts, alarm));
    }

    let reset = settings.client_options.iter().rev().find(|(key, _)| key == "auto.offset.reset").map_or("earliest", |(_, value)| value.as_str());
    let coordinator = Arc::new(Coordinator::new(source_topics, links, &epochs, &health, clock, reset, settings.drain_timeout));
    consumer.set_rebalancer(Arc::clone(&coordinator) as Arc<dyn crate::kafka::Rebalancer>);
    spawn(settings, consumer, coordinator, health, desks, shards, clock)
}
