//! The same workflow from Kafka to Kafka without any guarantee, for the bench to tell what the guarantee costs.
//!
//! What is the same: the engine, shards with a queue and a producer each, batches in, one batch call a partition out, one header a result, as many results under way, the profile's compression and linger time. What is missing: offsets are stored when records are polled, the producer is not idempotent and asks the leader alone, nothing is heard of what was written, and there is no window, no mark, no drain. A crash, or an error of the broker, loses what was polled and not written. Nothing of the service uses this.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use expressway_engine::{Effects, ExecutionName, Program, Start, Step};
use rdkafka::Offset;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::clock::Clock;
use crate::kafka::client::Context;
use crate::kafka::protocol::Joining;
use crate::kafka::{BaseConsumer, Batch, Bundle, Consumer, ConsumerCalls as _, ErrorCode, Headers, Producer, Rebalancer, ShardQueue, Topic, client};
use crate::pipeline::memory::Bounds;
use crate::pipeline::{Engine, Error, Processor as _, Settings, header_name, write_failure};
use crate::thread::{self, JoinHandle};

/// One poll of the consumer's own queue.
const POLL: Duration = Duration::from_millis(20);
/// Wait for a record when none is there, and for room in a producer.
const WAIT: Duration = Duration::from_millis(1);
/// What the producers hold at the end is written within this time, or not at all.
const FLUSH: Duration = Duration::from_secs(30);

/// Hears of the group's decisions: partitions go round the shards' queues.
struct Forwarder {
    queues: Mutex<Vec<Arc<ShardQueue>>>,
    assigned: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Forwarder {
    fn fail(&self, why: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

impl Rebalancer for Forwarder {
    fn assign(&self, consumer: &BaseConsumer<Context>, partitions: &mut TopicPartitionList) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for (element, queue) in partitions.elements().iter().zip(queues.iter().cycle()) {
            if !queue.forward(consumer, element.topic(), element.partition()) {
                self.fail(format!("{}/{} cannot be forwarded", element.topic(), element.partition()));
            }
        }
        // The pipeline knows its start positions when it is assigned, too; asking for them would take the client 0.1 s of the run.
        if let Err(error) = partitions.set_all_offsets(Offset::Offset(0)) {
            self.fail(format!("start positions cannot be set: {error}"));
        }
        self.assigned.fetch_add(partitions.count(), Ordering::Release);
    }

    fn revoke(&self, _: &BaseConsumer<Context>, partitions: &TopicPartitionList, _: bool) {
        self.assigned.fetch_sub(partitions.count(), Ordering::Release);
    }

    fn failed(&self, error: KafkaError) {
        self.fail(error.to_string());
    }

    fn committed(&self, _: &KafkaResult<()>) {}

    fn release(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    processed: AtomicU64,
    /// By shard: records in its producer's hands.
    unwritten: Vec<AtomicUsize>,
    is_over: AtomicBool,
}

/// A run without guarantees. Dropping it ends it.
pub struct Careless {
    forwarder: Arc<Forwarder>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Careless {
    /// Starts a run of `program` with a pipeline's settings, as far as they have a meaning here. Source and result topic need equally many `partitions`, there is one source topic, and all of it is read.
    ///
    /// # Errors
    /// A client refuses its configuration.
    pub fn start(mut settings: Settings, program: &Arc<Program>, partitions: u32) -> Result<Self, Error> {
        let below = settings.profile.options_below(settings.client_options.iter().map(|(option, _)| option.as_str()));
        settings.client_options.extend(below);
        let bounds = Bounds::of(&settings, u64::from(partitions));
        let mut config = client::consumer_config(&settings.client_options, bounds.queued_kbytes);
        Joining::Classic.apply(&mut config);
        config.set("enable.auto.offset.store", "true");
        let consumer = Consumer::new(&config).map_err(Error::Client)?;
        let queues: Vec<_> = (0..settings.shards).map(|_| Arc::new(ShardQueue::new(consumer.handle()))).collect();
        let mut config = client::producer_config(&settings.client_options, bounds.buffering_kbytes);
        config.set("enable.idempotence", "false").set("acks", "1").set("delivery.report.only.error", "true");
        let unwritten = queues.iter().map(|_| AtomicUsize::new(0)).collect();
        let shared = Arc::new(Shared { unwritten, ..Shared::default() });
        let forwarder = Arc::new(Forwarder { queues: Mutex::new(queues.clone()), assigned: AtomicUsize::new(0), failure: Mutex::new(None) });
        let mut threads = Vec::new();
        for (index, queue) in queues.iter().enumerate() {
            let producer = Producer::new(&config).map_err(Error::Client)?;
            let topic = producer.topic(&settings.result_topic).map_err(Error::Client)?;
            let careless = Shard {
                index,
                queue: Arc::clone(queue),
                records_max: usize::try_from(settings.batch_records_max).unwrap_or(usize::MAX),
                in_flight_max: usize::try_from(bounds.in_flight_max).unwrap_or(usize::MAX),
                engine: Engine::new(program).with_learned_shapes(settings.learned_shapes),
                source: settings.source_topics.first().cloned().unwrap_or_default(),
                bundles: (0..partitions).map(|_| Bundle::default()).collect(),
                producer,
                topic,
                shared: Arc::clone(&shared),
                forwarder: Arc::clone(&forwarder),
            };
            threads.push(spawn(format!("careless-{index}"), move || careless.run())?);
        }
        consumer.set_rebalancer(Arc::clone(&forwarder) as Arc<dyn Rebalancer>);
        let topics: Vec<&str> = settings.source_topics.iter().map(String::as_str).collect();
        consumer.handle().subscribe(&topics).map_err(Error::Client)?;
        let (own, told) = (Arc::clone(&shared), Arc::clone(&forwarder));
        threads.push(spawn("careless-control".to_owned(), move || poll(&consumer, &own, &told))?);
        Ok(Self { forwarder, shared, threads })
    }

    /// Partitions that are assigned now.
    #[must_use]
    pub fn assigned(&self) -> usize {
        self.forwarder.assigned.load(Ordering::Acquire)
    }

    /// Records whose results were given to the producers, and how many of those are in their hands still.
    #[must_use]
    pub fn processed(&self) -> (u64, usize) {
        let processed = self.shared.processed.load(Ordering::Acquire);
        (processed, self.shared.unwritten.iter().map(|count| count.load(Ordering::Acquire)).sum())
    }

    /// What went wrong first, if anything did.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.forwarder.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the run in order: what the producers hold is written, what was polled is committed.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // A thread that panicked has said so already.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::spawn(name, body).map_err(|error| Error::Thread(error.to_string()))
}

/// The control thread: rebalances and answers to commits are served inside the polls.
fn poll(consumer: &Consumer, shared: &Shared, forwarder: &Forwarder) {
    while !shared.is_over.load(Ordering::Acquire) {
        match consumer.handle().poll(POLL) {
            Some(Ok(_)) => forwarder.fail("a record came past the shards".to_owned()),
            Some(Err(error)) => tracing::warn!(%error, "consumer reports a problem"),
            None => {}
        }
    }
    if consumer.handle().close_queue().is_ok() {
        while !consumer.handle().closed() {
            drop(consumer.handle().poll(POLL));
        }
    }
}

/// A shard's belongings.
struct Shard {
    index: usize,
    queue: Arc<ShardQueue>,
    records_max: usize,
    in_flight_max: usize,
    engine: Engine,
    source: String,
    /// By partition.
    bundles: Vec<Bundle>,
    producer: Producer,
    topic: Topic,
    shared: Arc<Shared>,
    forwarder: Arc<Forwarder>,
}

impl Shard {
    fn run(mut self) {
        let mut batch = Batch::new(&self.queue, self.records_max);
        let (clock, mut effects, mut output, mut position) = (Clock::start(), Effects::default(), Vec::new(), Vec::new());
        while !self.shared.is_over.load(Ordering::Acquire) {
            let held = self.producer.unwritten();
            self.shared.unwritten[self.index].store(held, Ordering::Release);
            if held >= self.in_flight_max {
                self.producer.reports(WAIT, |_| ());
                continue;
            }
            let mut count = batch.fill(self.records_max, Duration::ZERO);
            if count == 0 {
                count = batch.fill(1, WAIT);
            }
            let now = clock.now().timestamp;
            while let Some(message) = batch.next() {
                let (partition, offset) = (message.partition(), message.offset());
                let value = message.value().filter(|_| message.error().is_none());
                let (Some(value), Some(bundle)) = (value, usize::try_from(partition).ok().and_then(|place| self.bundles.get_mut(place))) else { continue };
                output.clear();
                let name = ExecutionName::Position { topic: &self.source, partition, offset };
                let start = Start { name, now, seed: offset.cast_unsigned() };
                let status = match self.engine.begin(0, value, &start, &mut effects, &mut output) {
                    Ok(Step::Succeeded) => None,
                    Ok(Step::Failed) => {
                        output.clear();
                        write_failure(&self.engine.failure(0), &mut output);
                        Some("FAILED")
                    }
                    // The bench's workflow neither waits nor calls, and its records are sound.
                    Ok(_) | Err(_) => {
                        self.engine.abandon(0);
                        continue;
                    }
                };
                self.engine.finish(0);
                position.clear();
                // A vector takes whatever is written.
                drop(write!(position, "{}/{partition}/{offset}", self.source));
                let mut headers = Headers::with_capacity(2);
                headers.add(header_name::SOURCE, &position);
                if let Some(status) = status {
                    headers.add(header_name::STATUS, status.as_bytes());
                }
                bundle.push(message.key(), Some(output.as_slice()), headers, 0);
            }
            self.send();
            self.shared.unwritten[self.index].store(self.producer.unwritten(), Ordering::Release);
            // After what it holds, so that nobody sees all records processed and none held while some are.
            self.shared.processed.fetch_add(count as u64, Ordering::Release);
        }
        self.producer.flush_linger(FLUSH);
    }

    /// Hands every bundle over. What finds no room goes again until the run is over; anything else that is refused is told, and lost.
    fn send(&mut self) {
        let (shared, forwarder) = (&self.shared, &self.forwarder);
        for (partition, bundle) in (0_i32..).zip(&mut self.bundles) {
            while !bundle.is_empty() && !shared.is_over.load(Ordering::Acquire) {
                let mut back = Bundle::default();
                self.producer.send_bundle(&self.topic, partition, bundle, |rejected| match rejected.code {
                    ErrorCode::QueueFull => back.push(rejected.key, rejected.value, rejected.headers, rejected.opaque),
                    code => forwarder.fail(format!("a result is refused: {code}")),
                });
                if !back.is_empty() {
                    *bundle = back;
                    self.producer.reports(WAIT, |_| ());
                }
            }
        }
    }
}
