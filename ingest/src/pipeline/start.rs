//! Puts a pipeline together: checks, clients, shards, threads.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::bounded;
use rdkafka::error::KafkaError;

use super::assignment::{Coordinator, ShardLink, SourceTopic};
use super::event_log::{Destination, Logging};
use super::intake::{Connector, Intake};
use super::lanes::{BundleMax, Lanes};
use super::memory::Bounds;
use super::processor::Processor;
use super::result_headers::ResultHeaders;
use super::shard::{self, Parts, Rules, Shard};
use super::shared::{Alarm, Desk, Health};
use super::sink::{self, Sink};
use super::source::{Source, StaleEpoch};
use super::stuck::Watch;
use super::transaction::{Cadence, Transaction};
use super::{Error, Identity, Pipeline, Settings, lag};
use crate::clock::Clock;
use crate::kafka::protocol::Joining;
use crate::kafka::{Consumer, ConsumerCalls as _, ErrorCode, Producer, Rebalancer, ShardQueue, client};
use crate::tasks::Integrations;
use crate::thread::{self, JoinHandle};

/// How long one question may take; the next one asks over the connections that this one has made.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Below this even a broker that is well has no chance to answer.
const METADATA_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// How long the client may take to say what is wrong.
const EVENTS_WAIT: Duration = Duration::from_millis(100);
/// Between two questions of a start that finds no broker.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a topic may be unknown to the broker that was asked: one that has just come up, or a topic just made, is known a moment later.
const TOPIC_GRACE: Duration = Duration::from_secs(3);
/// Commands that wait for a shard: an assignment's partitions, at most.
const COMMANDS_MAX: usize = 4_096;

/// The topics' numbers of partitions.
struct Topics {
    sources: Vec<i32>,
    results: i32,
    dead_letters: i32,
}

pub(super) fn start<P: Processor>(
    mut settings: Settings,
    identity: &Identity,
    tasks: &Arc<dyn Integrations>,
    mut processor: impl FnMut(u32) -> P,
) -> Result<Pipeline, Error> {
    settings.check()?;
    let below = settings.profile.options_below(settings.client_options.iter().map(|(option, _)| option.as_str()));
    settings.client_options.extend(below);
    let topics = find_topics(&settings)?;
    let partitions: i64 = topics.sources.iter().map(|count| i64::from(*count)).sum();
    let bounds = Bounds::of(&settings, u64::try_from(partitions).unwrap_or(1));
    // The router gives a partition to the shard with the fewest.
    let partitions_max = u32::try_from(partitions).unwrap_or(u32::MAX).div_ceil(settings.shards.max(1)).max(1);
    settings.client_options.extend(bounds.client_options.iter().map(|(option, value)| ((*option).to_owned(), value.to_string())));
    let settings = Arc::new(settings);
    tell(&settings, &bounds);
    let joining = settings.group_protocol.first();
    let connector = Connector { settings: Arc::clone(&settings), queued_kbytes: bounds.queued_kbytes };
    let Intake { consumer, handles, queues } = connector.connect(joining)?;
    let (clock, health, epochs) = (Clock::start(), Arc::new(Health::default()), Arc::new(AtomicU32::new(1)));

    let mut shards: Vec<(Parts<P>, Arc<Alarm>)> = Vec::new();
    let (mut links, mut desks) = (Vec::new(), Vec::new());
    for (index, queue) in (0..settings.shards).zip(&queues) {
        let alarm = Arc::new(Alarm::new(Arc::clone(queue)));
        let (commands_in, commands) = bounded(COMMANDS_MAX);
        let desk = Arc::new(Desk::new(&epochs));
        let parts = Parts {
            index,
            processor: processor(index),
            queue: Arc::clone(queue),
            sink: sink(&settings, &bounds, identity, &topics, queue, transactions(&settings, index, &alarm))?,
            topics: Arc::clone(&handles),
            outside: shard::outside(Arc::clone(tasks), &alarm),
            commands,
            health: Arc::clone(&health),
            desk: Arc::clone(&desk),
            clock,
            rules: rules(&settings, &bounds, identity, partitions_max),
        };
        links.push(ShardLink { commands: commands_in, alarm: Arc::clone(&alarm), queue: None });
        desks.push(desk);
        shards.push((parts, alarm));
    }

    let reset = settings.client_options.iter().rev().find(|(key, _)| key == "auto.offset.reset").map_or("earliest", |(_, value)| value.as_str());
    let coordinator = Arc::new(Coordinator::new(source_topics(&settings, &topics), links, &epochs, &health, clock, reset, settings.drain_timeout));
    consumer.set_rebalancer(Arc::clone(&coordinator) as Arc<dyn Rebalancer>);
    coordinator.connect(consumer.handle(), &handles, queues);
    spawn(Assembly { settings, consumer, connector, joining, coordinator, health, desks, shards, clock })
}

/// What the memory limit came to, once.
fn tell(settings: &Settings, bounds: &Bounds) {
    let Some(share) = settings.memory_limit else { return };
    let options: Vec<_> = bounds.client_options.iter().map(|(option, value)| format!("{option}={value}")).collect();
    tracing::info!(
        pipeline = settings.name,
        bytes = share,
        queued_kbytes_per_partition = bounds.queued_kbytes,
        producer_kbytes_per_shard = bounds.buffering_kbytes,
        open_bytes_per_shard = bounds.open_bytes_max,
        executions_open_max = bounds.executions_open_max,
        in_flight_max = bounds.in_flight_max,
        window_records_max = bounds.window_records_max,
        lowered = options.join(" "),
        "memory is shared out"
    );
}

/// Asks for all topics with a client of its own, which joins no group, until brokers answer and know the topics, or the time for that is over. The pipeline's clients are configured by the answer.
fn find_topics(settings: &Settings) -> Result<Topics, Error> {
    let options: Vec<_> = settings.client_options.iter().filter(|(key, _)| !key.starts_with("group.")).cloned().collect();
    let probe = Consumer::new(&client::consumer_config(&options, 1_024)).map_err(Error::Client)?;
    let brokers = settings.client_options.iter().rev().find(|(key, _)| key == "bootstrap.servers" || key == "metadata.broker.list");
    let brokers = brokers.map_or_else(|| "no address".to_owned(), |(_, value)| value.clone());
    let (clock, timeout) = (Clock::start(), settings.startup_timeout);
    let (elapsed, grace) = (|| Duration::from_nanos(clock.now().monotonic_ns), TOPIC_GRACE.min(timeout));
    let mut missing_since = None;
    loop {
        let waited = elapsed();
        let found = ask(settings, &probe, &brokers, METADATA_TIMEOUT.min(timeout.saturating_sub(waited)).max(METADATA_TIMEOUT_MIN));
        if let Err(Error::TopicMissing { topic, role }) = &found {
            let now = elapsed();
            // From the first answer on, however long the broker took to give one.
            let missing = now.saturating_sub(*missing_since.get_or_insert(now));
            if missing >= grace {
                return found;
            }
            tracing::warn!(topic, role, "topic is not known to the broker yet");
            thread::park_timeout(ASK_AGAIN_AFTER.min(grace.saturating_sub(missing)));
            continue;
        }
        let Err(Error::Unreachable { source, .. }) = &found else { return found };
        // The client tells more than the call does, once it is asked.
        while probe.handle().poll(EVENTS_WAIT).is_some() {}
        let (code, detail) = probe.handle().context().last_error().unwrap_or_else(|| (ErrorCode::Unknown, source.to_string()));
        if code == ErrorCode::Authentication {
            return Err(Error::Refused { brokers, detail });
        }
        let waited = elapsed();
        if waited >= timeout {
            return found;
        }
        tracing::warn!(brokers, detail, waited_s = waited.as_secs(), startup_timeout_s = timeout.as_secs(), "no broker answers yet");
        thread::park_timeout(ASK_AGAIN_AFTER.min(timeout.saturating_sub(waited)));
    }
}

fn ask(settings: &Settings, probe: &Consumer, brokers: &str, wait: Duration) -> Result<Topics, Error> {
    let count = |topic: &str, role: &'static str| -> Result<i32, Error> {
        let found = client::partition_count(probe.handle(), topic, wait);
        let found = found.map_err(|source: KafkaError| Error::Unreachable { brokers: brokers.to_owned(), source })?;
        found.ok_or_else(|| Error::TopicMissing { topic: topic.to_owned(), role })
    };
    if let Some(Logging { destination: Destination::Topic(topic), .. }) = &settings.logging {
        count(topic, "log")?;
    }
    Ok(Topics {
        sources: settings.source_topics.iter().map(|topic| count(topic, "source")).collect::<Result<_, _>>()?,
        results: count(&settings.result_topic, "result")?,
        dead_letters: count(&settings.dead_letter_topic, "dead-letter")?,
    })
}

fn source_topics(settings: &Settings, topics: &Topics) -> Vec<SourceTopic> {
    let names = settings.source_topics.iter().zip(&topics.sources);
    names.map(|(name, partitions)| SourceTopic { name: Arc::from(name.as_str()), partitions: *partitions }).collect()
}

/// What a shard's transactions need; `None` in the other kind of delivery.
struct Transacting {
    /// Tells the shard's producer from all others.
    id: String,
    thread: String,
    alarm: Arc<Alarm>,
}

fn transactions(settings: &Settings, shard: u32, alarm: &Arc<Alarm>) -> Option<Transacting> {
    if !settings.is_transactional() {
        return None;
    }
    let option = |name: &str| settings.client_options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    // Keyed anew for each process and each value, by the operating system.
    let own = || format!("{:016x}", RandomState::new().build_hasher().finish());
    let member = option("group.instance.id").unwrap_or_else(own);
    Some(Transacting {
        id: format!("{}-{}-{member}-{shard}", option("group.id").unwrap_or_default(), settings.name),
        thread: format!("{}-commit-{shard}", settings.name),
        alarm: Arc::clone(alarm),
    })
}

fn sink(
    settings: &Settings,
    bounds: &Bounds,
    identity: &Identity,
    topics: &Topics,
    queue: &Arc<ShardQueue>,
    transacting: Option<Transacting>,
) -> Result<Sink, Error> {
    let buffering_kbytes = bounds.buffering_kbytes;
    let config = match &transacting {
        None => client::producer_config(&settings.client_options, buffering_kbytes),
        Some(Transacting { id, .. }) => client::transactional_producer_config(&settings.client_options, buffering_kbytes, id),
    };
    let mut producer = Producer::new(&config).map_err(Error::Client)?;
    producer.wake_on_reports(Arc::clone(queue));
    let topic_bytes = settings.source_topics.iter().map(String::len).max().unwrap_or(0);
    let is_transactional = transacting.is_some();
    let plain = || Lanes::new(BundleMax::of(&settings.client_options), ResultHeaders::bytes_max(settings.result_headers, identity, topic_bytes));
    let lanes = || if is_transactional { plain().in_transactions() } else { plain() };
    let results = sink::Destination::new(&producer, &settings.result_topic, topics.results, lanes).map_err(Error::Client)?;
    let dead_letters = sink::Destination::new(&producer, &settings.dead_letter_topic, topics.dead_letters, lanes).map_err(Error::Client)?;
    let cadence = Cadence {
        interval_ns: u64::try_from(settings.transaction_interval.as_nanos()).unwrap_or(u64::MAX),
        records_max: usize::try_from(settings.transaction_records_max).unwrap_or(usize::MAX),
        bytes_max: usize::try_from(buffering_kbytes.saturating_mul(1024)).unwrap_or(usize::MAX),
        life_ns: client::transaction_timeout_ms(&settings.client_options).saturating_mul(1_000_000),
    };
    let make = Box::new(move || Producer::new(&config));
    let transaction = transacting.map(|Transacting { thread, alarm, .. }| Transaction::start(thread, producer.transactions(), cadence, alarm, make));
    Ok(Sink::new(producer, results, dead_letters, transaction.transpose()?))
}

fn rules(settings: &Settings, bounds: &Bounds, identity: &Identity, partitions_max: u32) -> Rules {
    Rules {
        on_failure: settings.on_failure,
        on_null: settings.on_null,
        ordering: settings.ordering,
        deferred_records_max: settings.deferred_records_max,
        deferred_bytes_max: bounds.deferred_bytes_max,
        open_bytes_max: bounds.open_bytes_max,
        result_headers: settings.result_headers,
        executions_open_max: bounds.executions_open_max,
        partitions_max,
        window_records_max: bounds.window_records_max,
        batch_records_max: settings.batch_records_max,
        in_flight_max: bounds.in_flight_max,
        panics_per_minute_max: settings.panics_per_minute_max,
        topic_error_timeout: settings.result_topic_error_timeout,
        definition: Arc::from(identity.definition.as_str()),
        version: Arc::from(identity.version.as_str()),
        result_topic: Arc::from(settings.result_topic.as_str()),
        dead_letter_topic: Arc::from(settings.dead_letter_topic.as_str()),
        audit: settings.audit.clone(),
    }
}

/// What the threads are made of.
struct Assembly<P> {
    settings: Arc<Settings>,
    consumer: Consumer,
    connector: Connector,
    joining: Joining,
    coordinator: Arc<Coordinator>,
    health: Arc<Health>,
    desks: Vec<Arc<Desk>>,
    shards: Vec<(Parts<P>, Arc<Alarm>)>,
    clock: Clock,
}

fn spawn<P: Processor>(assembly: Assembly<P>) -> Result<Pipeline, Error> {
    let Assembly { settings, consumer, connector, joining, coordinator, health, desks, shards, clock } = assembly;
    let shutdown = Arc::new(AtomicBool::new(false));
    let lags = Arc::new(Mutex::new(Vec::new()));
    let (ended_in, ended) = bounded(1);
    let (lag_stop, lag_stopped) = bounded(1);
    let threads = spawn_shards(&settings, shards)?;
    let lag_thread = {
        let (coordinator, lags) = (Arc::clone(&coordinator), Arc::clone(&lags));
        let topics = settings.source_topics.clone();
        thread(format!("{}-lag", settings.name), move || lag::run(&topics, &coordinator, clock, &lags, &lag_stopped))?
    };
    let source = Source {
        consumer,
        connector,
        coordinator: Arc::clone(&coordinator),
        health: Arc::clone(&health),
        desks: desks.clone(),
        shards: threads,
        clock,
        settings: Arc::clone(&settings),
        shutdown: Arc::clone(&shutdown),
        joining,
        watch: Watch::new(settings.stuck_timeout),
        looked_ns: 0,
        looking_since_ns: 0,
        replacement: None,
        name_taken_ns: None,
        stale: StaleEpoch::default(),
        statistics: (0, 0),
        suspects: Vec::new(),
        replaced_ns: 0,
    };
    let stop = lag_stop.clone();
    thread(format!("{}-control", settings.name), move || {
        let outcome = source.run();
        drop(stop);
        ended_in.send(outcome).ok();
    })?;
    drop(lag_thread);
    Ok(Pipeline { coordinator, health, desks, lags, shutdown, ended, outcome: Mutex::new(None), event_log: None, _lag_stop: lag_stop })
}

fn spawn_shards<P: Processor>(settings: &Settings, shards: Vec<(Parts<P>, Arc<Alarm>)>) -> Result<Vec<JoinHandle<()>>, Error> {
    let cores = if settings.pin_threads { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    let mut threads = Vec::new();
    for (index, (parts, alarm)) in shards.into_iter().enumerate() {
        let core = if cores.is_empty() { None } else { Some(cores[index % cores.len()]) };
        let name = format!("{}-shard-{index}", settings.name);
        // A shard holds messages that belong to one thread, so it is put together on its own.
        threads.push(thread(name, move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            Shard::new(parts).run(&alarm);
        })?);
    }
    Ok(threads)
}

fn thread(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::spawn(name, body).map_err(|error| Error::Thread(error.to_string()))
}

/// A shard without a pipeline, for tests of its parts.
#[cfg(test)]
pub(super) fn lone_shard<P: Processor>(processor: P, health: &Arc<Health>) -> Shard<P> {
    let client_options = vec![("group.id".to_owned(), "lone".to_owned())];
    let settings = Settings { client_options, source_topics: vec!["in".to_owned()], shards: 1, ..Settings::default() };
    let (bounds, topics) = (Bounds::of(&settings, 1), Topics { sources: vec![1], results: 1, dead_letters: 1 });
    let identity = Identity { definition: "lone".to_owned(), version: "v1".to_owned() };
    let connector = Connector { settings: Arc::new(settings.clone()), queued_kbytes: bounds.queued_kbytes };
    let Intake { handles, queues, .. } = connector.connect(Joining::Classic).expect("a client");
    let alarm = Arc::new(Alarm::new(Arc::clone(&queues[0])));
    Shard::new(Parts {
        index: 0,
        processor,
        queue: Arc::clone(&queues[0]),
        sink: sink(&settings, &bounds, &identity, &topics, &queues[0], None).expect("a producer"),
        topics: handles,
        outside: shard::outside(Arc::new(crate::tasks::NoIntegrations), &alarm),
        commands: bounded(1).1,
        health: Arc::clone(health),
        desk: Arc::new(Desk::new(&Arc::new(AtomicU32::new(1)))),
        clock: Clock::start(),
        rules: rules(&settings, &bounds, &identity, 1),
    })
}
