//! The load: simulated devices, open loop at a fixed rate, each record dated with the instant at which it was meant to be sent.
//!
//! The mock broker keeps at most 5 MiB or 100,000 records a partition and evicts the oldest silently. The generator therefore stays within [`WINDOW_BYTES`] and [`WINDOW_RECORDS`] of the committed offset of each partition; a record that would step over waits, and the time it waits is in its latency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::clock::Clock;
use crate::devices::{self, Devices};
use crate::error::Error;

/// Bytes a partition may hold behind its committed offset; the broker evicts at 5 MiB.
const WINDOW_BYTES: u64 = 4 << 20;

/// Records a partition may hold behind its committed offset; the broker evicts at 100,000.
const WINDOW_RECORDS: u64 = 80_000;

/// What a record costs beyond key and value: lengths, timestamp, its share of the batch header, generously.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// How long the generator waits when it is ahead of its schedule or up to a window.
const PAUSE: Duration = Duration::from_millis(1);

/// How long records may take to be acknowledged when they are waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// One partition as the generator and those who watch it see it.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Records handed to the client.
    sent: AtomicU64,
    /// Their bytes.
    bytes: AtomicU64,
    /// Records that the broker acknowledged.
    produced: AtomicU64,
    /// The group's committed offset.
    pub(super) committed: AtomicU64,
}

/// What the generator shares with those who watch it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) partitions: Vec<Partition>,
    pub(super) is_ended: AtomicBool,
    /// Records that the broker refused.
    pub(super) refused: AtomicU64,
    /// Asks the generator to end early.
    pub(super) stop: AtomicBool,
}

/// What is sent, and how fast.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) rate: u64,
    pub(super) duration: Duration,
    pub(super) devices: devices::Settings,
}

/// How the sending went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// From the first record to the end of the schedule, or to the last record where that came later.
    pub(super) took: Duration,
}

impl Shared {
    pub(super) fn new(partitions: u32) -> Self {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { partitions, is_ended: AtomicBool::new(false), refused: AtomicU64::new(0), stop: AtomicBool::new(false) }
    }

    /// Records that the broker acknowledged.
    pub(super) fn produced(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.produced.load(Ordering::Relaxed)).sum()
    }
}

impl Partition {
    /// Whether one more record of `bytes` stays within the window.
    fn has_room(&self, bytes: u64) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        let behind = sent.saturating_sub(self.committed.load(Ordering::Relaxed));
        // Records are alike, so the mean so far stands for those in the window.
        let mean = self.bytes.load(Ordering::Relaxed).checked_div(sent).unwrap_or(0);
        behind < WINDOW_RECORDS && behind * mean + bytes <= WINDOW_BYTES
    }
}

/// Counts delivery reports.
struct Reports(Arc<Shared>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        use rdkafka::Message as _;
        let partition = report.as_ref().ok().and_then(|record| self.0.partitions.get(usize::try_from(record.partition()).ok()?));
        match partition {
            Some(partition) => partition.produced.fetch_add(1, Ordering::Relaxed),
            None => self.0.refused.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// Sends the whole load; ends when the time is over or `shared.stop` is set, with every record acknowledged or refused.
pub(super) fn run(load: &Load, shared: &Arc<Shared>, clock: Clock) -> Result<Sent, Error> {
    let sent = send(load, shared, clock);
    shared.is_ended.store(true, Ordering::Release);
    sent
}

fn send(load: &Load, shared: &Arc<Shared>, clock: Clock) -> Result<Sent, Error> {
    let failed = |error: KafkaError| Error::surroundings("the generator cannot produce", error);
    let producer: BaseProducer<Reports> = ClientConfig::new()
        .set("bootstrap.servers", &load.brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "1000000")
        .create_with_context(Reports(Arc::clone(shared)))
        .map_err(failed)?;
    let mut devices = Devices::new(load.devices);
    let flush = |error| Error::surroundings("records of the generator were not acknowledged", error);
    // The first record opens connections and gets the producer its id; only then the schedule begins.
    hand_over(&producer, &load.topic, &devices.next_record(), clock.now().timestamp.0, shared).map_err(failed)?;
    producer.flush(FLUSH_TIMEOUT).map_err(flush)?;
    let began = clock.now();
    let total = u64::try_from(u128::from(load.rate) * load.duration.as_millis() / 1000).unwrap_or(u64::MAX);
    let mut sent = 1;
    while sent < total && !shared.stop.load(Ordering::Relaxed) {
        let elapsed_ns = clock.now().monotonic_ns - began.monotonic_ns;
        let due = u64::try_from(u128::from(elapsed_ns) * u128::from(load.rate) / 1_000_000_000).unwrap_or(u64::MAX).saturating_add(1).min(total);
        while sent < due {
            let record = devices.next_record();
            let at_ms = began.timestamp.0 + sent.saturating_mul(1000) / load.rate.max(1);
            hand_over(&producer, &load.topic, &record, at_ms, shared).map_err(failed)?;
            sent += 1;
            if sent.is_multiple_of(256) {
                producer.poll(Duration::ZERO);
            }
        }
        producer.poll(PAUSE);
    }
    producer.flush(FLUSH_TIMEOUT).map_err(flush)?;
    let took = Duration::from_nanos(clock.now().monotonic_ns - began.monotonic_ns);
    Ok(Sent { took })
}

/// Hands one record to the client, as soon as its partition's window and the client's queue have room.
fn hand_over(producer: &BaseProducer<Reports>, topic: &str, record: &devices::Record<'_>, at_ms: u64, shared: &Shared) -> Result<(), KafkaError> {
    let number = record.device as usize % shared.partitions.len();
    let partition = &shared.partitions[number];
    let bytes = (record.key.len() + record.value.map_or(0, <[u8]>::len)) as u64 + RECORD_OVERHEAD_BYTES;
    while !partition.has_room(bytes) {
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        producer.poll(PAUSE);
    }
    let mut next =
        BaseRecord::to(topic).partition(i32::try_from(number).unwrap_or(i32::MAX)).key(record.key).timestamp(i64::try_from(at_ms).unwrap_or(i64::MAX));
    next.payload = record.value;
    loop {
        match producer.send(next) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(PAUSE);
                next = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
    partition.sent.fetch_add(1, Ordering::Relaxed);
    partition.bytes.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_closes_at_its_bytes_and_its_records() {
        let partition = Partition::default();
        assert!(partition.has_room(WINDOW_BYTES) && !partition.has_room(WINDOW_BYTES + 1));
        partition.sent.store(WINDOW_RECORDS, Ordering::Relaxed);
        assert!(!partition.has_room(1));
        partition.committed.store(1, Ordering::Relaxed);
        assert!(partition.has_room(1));
        partition.bytes.store(WINDOW_RECORDS * 1000, Ordering::Relaxed);
        assert!(!partition.has_room(1));
        partition.committed.store(WINDOW_RECORDS - 4_000, Ordering::Relaxed);
        assert!(partition.has_room(1_000));
    }
}
