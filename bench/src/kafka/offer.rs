//! The load of `kafka-latency`, in a process of its own: an open loop that writes records at a fixed rate, and a reader of the results.
//!
//! Record `i` is meant to be sent at `start + i / rate` and goes to partition `i` modulo their number, so its position tells `i`: a result names the position of its record, and its latency counts from the intended instant to the moment at which the reader has it. What the sender is late counts in full. The producer of the load keeps no order by idempotence, which would make it wait for each answer; it sends once and never again, so a record that it could not write makes the run worthless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use expressway_ingest::devices::{Devices, Settings as DeviceSettings};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::cluster::{DEVICES, config, failed};
use super::ledger::Ledger;
use crate::clock::pause;
use crate::error::Error;
use crate::load::{Latency, Schedule};

/// Between two looks at what is due: the least that keeps the sender from taking a processor for itself.
const NAP: Duration = Duration::from_micros(300);
/// From the end of the preparations to the first record.
const AHEAD: Duration = Duration::from_millis(500);
/// How long the reader waits for a further result once everything was sent.
const RESULT_WITHIN: Duration = Duration::from_secs(20);
/// How long the last records may take to be acknowledged.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// What is offered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Addresses of brokers.
    pub brokers: String,
    /// Topic to write to.
    pub source: String,
    /// Topic to read from.
    pub results: String,
    /// Partitions of both.
    pub partitions: u32,
    /// Records a second.
    pub rate: u64,
    /// For how long.
    pub seconds: u32,
    /// How much of the beginning is left out of the latencies.
    pub warm_up_s: u32,
}

impl Offer {
    fn count(&self) -> u64 {
        self.rate * u64::from(self.seconds)
    }
}

/// Counts the records that could not be written.
#[derive(Default, Clone)]
struct Unwritten(Arc<AtomicU64>);

impl ClientContext for Unwritten {}

impl ProducerContext for Unwritten {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends and reads everything, and says how long the results took.
///
/// # Errors
/// No broker in reach, or a record of the load could not be written.
pub fn run(offer: &Offer) -> Result<(Value, Latency), Error> {
    let reader = reader(offer)?;
    let unwritten = Unwritten::default();
    let producer = producer(offer, unwritten.clone())?;
    let schedule = Schedule::new(offer.rate, Instant::now() + AHEAD);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(offer, schedule, &producer));
        let read = read(offer, schedule, &reader);
        let sent = sender.join().map_err(|_| Error::surroundings("sending", "the sender panicked"))??;
        match unwritten.0.load(Ordering::Relaxed) {
            0 => {}
            count => return Err(Error::surroundings("sending", format!("{count} records of the load could not be written"))),
        }
        let Read { latency, ledger, elapsed } = read?;
        let balance = ledger.balance();
        let json = json!({
            "records": offer.count(),
            "results": balance.results,
            "elapsed_s": elapsed.as_secs_f64(),
            "latency_ms": latency.to_json_ms(),
            "sender_late_ms": sent.to_json_ms(),
            "lost": balance.lost,
            "duplicates": balance.duplicates,
            "unknown": balance.unknown,
            "failed": balance.failed,
        });
        Ok((json, latency))
    })
}

fn producer(offer: &Offer, context: Unwritten) -> Result<ThreadedProducer<Unwritten>, Error> {
    let mut config = config(&offer.brokers);
    config.set("acks", "1").set("message.send.max.retries", "0").set("linger.ms", "1").set("compression.type", "lz4").set("batch.size", "1000000");
    let producer: ThreadedProducer<Unwritten> = config.create_with_context(context).map_err(failed("connecting to", &offer.brokers))?;
    // The first question for the topic is not part of the load.
    producer.client().fetch_metadata(Some(&offer.source), FLUSH_WITHIN).map_err(failed("looking for", &offer.source))?;
    Ok(producer)
}

/// Writes what is due until all is sent. Returns how late the sender was itself.
fn send(offer: &Offer, schedule: Schedule, producer: &ThreadedProducer<Unwritten>) -> Result<Latency, Error> {
    let mut devices = Devices::new(DeviceSettings { devices: DEVICES, broken_per_10000: 0, seed: 1 });
    let (mut sent, mut late) = (0, Latency::new());
    while sent < offer.count() {
        let now = Instant::now();
        let due = schedule.due(now).min(offer.count());
        for index in sent..due {
            late.record(schedule.intended(index), now);
            let record = devices.next_record();
            let value = record.value.expect("no record is broken, so each has a value");
            let partition = i32::try_from(index % u64::from(offer.partitions)).expect("a partition's number fits");
            let mut next = BaseRecord::to(&offer.source).partition(partition).key(record.key).payload(value);
            while let Err((error, back)) = producer.send(next) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed("sending to", &offer.source)(error));
                }
                next = back;
                pause(NAP);
            }
        }
        sent = due;
        pause(NAP);
    }
    producer.flush(FLUSH_WITHIN).map_err(failed("sending to", &offer.source))?;
    Ok(late)
}

fn reader(offer: &Offer) -> Result<BaseConsumer, Error> {
    let mut config = config(&offer.brokers);
    config.set("group.id", "expressway-bench-reader").set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "1");
    let consumer: BaseConsumer = config.create().map_err(failed("reading", &offer.results))?;
    let mut from = TopicPartitionList::new();
    for number in 0..i32::try_from(offer.partitions).expect("the topic was made with so many") {
        from.add_partition_offset(&offer.results, number, Offset::Beginning).map_err(failed("reading", &offer.results))?;
    }
    consumer.assign(&from).map_err(failed("reading", &offer.results))?;
    Ok(consumer)
}

struct Read {
    latency: Latency,
    ledger: Ledger,
    elapsed: Duration,
}

fn read(offer: &Offer, schedule: Schedule, reader: &BaseConsumer) -> Result<Read, Error> {
    let partitions = u64::from(offer.partitions);
    let ends: Vec<i64> = (0..partitions).map(|number| (offer.count() + partitions - 1 - number) / partitions).map(u64::cast_signed).collect();
    let mut ledger = Ledger::new(&offer.source, &ends);
    let mut latency = Latency::new();
    let counted_from = offer.rate * u64::from(offer.warm_up_s);
    let (start, mut last) = (schedule.intended(0), Instant::now());
    while ledger.distinct() < offer.count() {
        let Some(message) = reader.poll(Duration::from_millis(100)) else {
            let patience = schedule.intended(offer.count()) + RESULT_WITHIN;
            if Instant::now() > patience.max(last + RESULT_WITHIN) {
                break;
            }
            continue;
        };
        let message = message.map_err(failed("reading", &offer.results))?;
        last = Instant::now();
        let fresh = enter(&message, &mut ledger);
        if let Some((partition, offset)) = fresh {
            let index = offset as u64 * partitions + partition as u64;
            if index >= counted_from {
                latency.record(schedule.intended(index), last);
            }
        }
    }
    Ok(Read { latency, ledger, elapsed: last.saturating_duration_since(start) })
}

/// Enters a result, and returns its record's partition and offset when it is the first one of that record.
pub(super) fn enter(message: &BorrowedMessage<'_>, ledger: &mut Ledger) -> Option<(usize, usize)> {
    let (mut source, mut status): (&[u8], &[u8]) = (b"", b"");
    for header in message.headers().into_iter().flat_map(rdkafka::message::Headers::iter) {
        match header.key {
            "expressway-source" => source = header.value.unwrap_or_default(),
            "expressway-status" => status = header.value.unwrap_or_default(),
            _ => {}
        }
    }
    ledger.enter(source, status, message.payload_len())
}
