//! One run of `tune`: the service's own data path with one set of options, and without an engine.
//!
//! Partitions are assigned by hand, since a group would take seconds to form for every run. What is the same as in a shard: forwarded queues read in batches, one header a result, lanes with one bundle under way, delivery reports in batches, a bound on what is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::{self, Cluster};
use crate::clock::Clock;
use crate::devices::{Devices, Settings};
use crate::error::Error;
use crate::kafka::token::Unheard;
use crate::kafka::{Batch, Consumer, Headers, Producer, Profile, ShardQueue, Topic, client};
use crate::operations::cluster::QUEUE_KBYTES;
use crate::pipeline::lanes::{BundleMax, Lanes};
use crate::pipeline::{IN_FLIGHT_MAX, without_value};

/// Stands among the options for the service's own bound on results in flight.
pub(super) const IN_FLIGHT: &str = "in_flight_max";

/// Records of a batch, as in a shard.
const BATCH_RECORDS: usize = 1_024;
/// What the workflow of the benchmarks adds to a message.
const INSERT: [u8; 112] = [b'x'; 112];
/// Bytes of headers and framing of a result, about.
const RECORD_BYTES_EXTRA: usize = 128;
const WAIT: Duration = Duration::from_millis(1);
/// How long the last reports of a run are waited for.
const DRAIN: Duration = Duration::from_secs(5);
/// Between the first record of each partition and the load.
const AHEAD: Duration = Duration::from_millis(300);
/// The beginning of a run whose latencies are left out.
const WARM_UP_PART: u64 = 4;

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) records_per_s: f64,
    /// This process's processor time a record; `None` where it is unknown.
    pub(super) cpu_us: Option<f64>,
    pub(super) latency: Latency,
}

/// Latency in milliseconds, from the intended instant to the acknowledgement of the result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// One set of options.
pub(super) struct Trial<'c> {
    cluster: &'c Cluster,
    options: Vec<(String, String)>,
    in_flight_max: usize,
    shards: u32,
    clock: Clock,
}

/// What the threads of a run share.
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

/// A fixed rate: number `i` is due at `start + i / rate`, and is at partition `i` modulo their number.
#[derive(Debug, Clone, Copy)]
struct Load {
    rate: u64,
    start_ns: u64,
    first_counted: u64,
    partitions: u64,
}

impl Load {
    /// The first of each partition is due at once.
    fn due_ns(&self, index: u64) -> u64 {
        if index < self.partitions {
            return 0;
        }
        self.start_ns + u64::try_from(u128::from(index) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX)
    }

    fn index(&self, partition: i32, offset: u64) -> u64 {
        offset * self.partitions + u64::try_from(partition).unwrap_or(0)
    }
}

impl<'c> Trial<'c> {
    pub(super) fn new(cluster: &'c Cluster, profile: Profile, set: &[(&str, &str)], shards: u32, clock: Clock) -> Self {
        let in_flight_max = set.iter().find(|(name, _)| *name == IN_FLIGHT).and_then(|(_, value)| value.parse().ok());
        let mut options = cluster.options().to_vec();
        options.extend(set.iter().filter(|(name, _)| *name != IN_FLIGHT).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let below = profile.options_below(options.iter().map(|(name, _)| name.as_str()));
        options.extend(below);
        // The group is never joined; the client wants a name.
        options.push(("group.id".to_owned(), "expressway-tune".to_owned()));
        let in_flight_max = in_flight_max.unwrap_or_else(|| usize::try_from(IN_FLIGHT_MAX).expect("fits"));
        Self { cluster, options, in_flight_max, shards: shards.min(cluster.partitions()), clock }
    }

    /// Runs over the filled topic as fast as it goes, for `time` or until its end.
    pub(super) fn saturate(&self, time: Duration) -> Result<Measured, Error> {
        let records = self.records()?;
        let setup = Setup::new(self, self.cluster.source(), &vec![0; self.partitions()])?;
        let shared = Shared { stop: AtomicBool::new(false), acknowledged: AtomicU64::new(0), failed: AtomicU64::new(0) };
        let measured = std::thread::scope(|scope| {
            let threads: Vec<_> = setup.shards.into_iter().map(|shard| scope.spawn(|| shard.run(self, &shared, None))).collect();
            let has_failed = || shared.failed.load(Ordering::Relaxed) > 0;
            // Connecting is no part of the throughput.
            let first = self.await_acknowledged(&shared, 1, DRAIN);
            let (start, cpu) = (self.clock.now().monotonic_ns, process_cpu_ns());
            let mut done = first;
            while done < records && !has_failed() && self.clock.now().monotonic_ns < start + nanoseconds(time) {
                std::thread::park_timeout(WAIT);
                done = shared.acknowledged.load(Ordering::Relaxed);
            }
            let (end, spent) = (self.clock.now().monotonic_ns, process_cpu_ns().zip(cpu).map(|(after, before)| after - before));
            shared.stop.store(true, Ordering::Relaxed);
            threads.into_iter().for_each(|thread| drop(thread.join()));
            measured(done - first, end - start, spent)
        });
        check(&shared)?;
        Ok(measured)
    }

    /// Offers records at `rate` for `time`, and says how long results took.
    pub(super) fn offer(&self, rate: u64, time: Duration) -> Result<Latency, Error> {
        let ends = self.ends(self.cluster.steady())?;
        let setup = Setup::new(self, self.cluster.steady(), &ends)?;
        let sender = self.cluster.sender()?;
        let count = (u128::from(rate) * time.as_nanos() / 1_000_000_000).max(1);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let shared = Shared { stop: AtomicBool::new(false), acknowledged: AtomicU64::new(0), failed: AtomicU64::new(0) };
        let start_ns = self.clock.now().monotonic_ns + nanoseconds(AHEAD);
        let load = Load { rate, start_ns, first_counted: count / WARM_UP_PART, partitions: u64::from(self.cluster.partitions()) };
        let histogram = std::thread::scope(|scope| {
            let threads: Vec<_> = setup.shards.into_iter().map(|shard| scope.spawn(|| shard.run(self, &shared, Some(load)))).collect();
            let sent = self.send(&sender, load, count);
            if sent.is_ok() {
                self.await_acknowledged(&shared, count, DRAIN);
            }
            shared.stop.store(true, Ordering::Relaxed);
            let mut sum = histogram();
            for thread in threads {
                if let Ok(one) = thread.join() {
                    sum.add(one).expect("all have the same bounds");
                }
            }
            sent.map(|()| sum)
        })?;
        check(&shared)?;
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Ok(Latency { p50: ms(0.5), p99: ms(0.99) })
    }

    /// Waits until so many results are acknowledged, at most for `within`, and returns how many are.
    fn await_acknowledged(&self, shared: &Shared, count: u64, within: Duration) -> u64 {
        let end = self.clock.now().monotonic_ns + nanoseconds(within);
        loop {
            let done = shared.acknowledged.load(Ordering::Relaxed);
            if done >= count || shared.failed.load(Ordering::Relaxed) > 0 || self.clock.now().monotonic_ns >= end {
                return done;
            }
            std::thread::park_timeout(WAIT);
        }
    }

    /// The first record of each partition goes ahead of the load, which connects everybody.
    fn send(&self, sender: &rdkafka::producer::ThreadedProducer<Unheard>, load: Load, count: u64) -> Result<(), Error> {
        let mut devices = Devices::new(Settings { devices: 10_000, broken_per_10000: 0, seed: 2 });
        for index in 0..count {
            if index == load.partitions {
                sender.flush(DRAIN).map_err(broken)?;
            }
            while self.clock.now().monotonic_ns < load.due_ns(index) {
                std::thread::park_timeout(Duration::from_micros(300));
            }
            cluster::send(sender, self.cluster.steady(), index, self.cluster.partitions(), &mut devices)?;
        }
        Ok(())
    }

    fn partitions(&self) -> usize {
        usize::try_from(self.cluster.partitions()).expect("bounded by the flag")
    }

    fn records(&self) -> Result<u64, Error> {
        Ok(self.ends(self.cluster.source())?.iter().sum())
    }

    /// End offsets, which are counts: the topics are ours and begin at 0.
    fn ends(&self, topic: &str) -> Result<Vec<u64>, Error> {
        let consumer = Consumer::new(&client::consumer_config(&self.options, QUEUE_KBYTES)).map_err(broken)?;
        let numbers = 0..i32::try_from(self.cluster.partitions()).expect("bounded by the flag");
        let ends = numbers.map(|number| consumer.handle().fetch_watermarks(topic, number, DRAIN).map(|(_, end)| u64::try_from(end).unwrap_or(0)));
        ends.collect::<Result<_, _>>().map_err(broken)
    }
}

fn broken(error: rdkafka::error::KafkaError) -> Error {
    Error::surroundings("the broker does not do what is asked", without_value(error))
}

fn check(shared: &Shared) -> Result<(), Error> {
    match shared.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        count => Err(Error::Surroundings { what: format!("the broker has refused {count} results"), source: None }),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn measured(records: u64, elapsed_ns: u64, cpu_ns: Option<u64>) -> Measured {
    let count = records.max(1) as f64;
    Measured {
        records_per_s: records as f64 * 1e9 / elapsed_ns.max(1) as f64,
        cpu_us: cpu_ns.map(|spent| spent as f64 / 1e3 / count),
        latency: Latency::default(),
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).expect("the bounds are in order")
}

/// Processor time of all threads of this process.
fn process_cpu_ns() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // State is field 3 of proc(5), utime and stime are 14 and 15, in hundredths of a second.
    let mut times = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut time = || times.next()?.parse::<u64>().ok();
    Some((time()? + time()?) * 10_000_000)
}

/// The clients of a run. The consumer is dropped last, after everything that reads from it.
struct Setup {
    shards: Vec<Shard>,
    _consumer: Consumer,
}

struct Shard {
    queue: Arc<ShardQueue>,
    producer: Producer,
    topic: Topic,
}

impl Setup {
    fn new(trial: &Trial<'_>, source: &str, starts: &[u64]) -> Result<Self, Error> {
        let consumer = Consumer::new(&client::consumer_config(&trial.options, QUEUE_KBYTES)).map_err(broken)?;
        let producers = client::producer_config(&trial.options, QUEUE_KBYTES);
        let mut shards = Vec::new();
        for _ in 0..trial.shards {
            let queue = Arc::new(ShardQueue::new(consumer.handle()));
            let mut producer = Producer::new(&producers).map_err(broken)?;
            producer.wake_on_reports(Arc::clone(&queue));
            let topic = producer.topic(trial.cluster.results()).map_err(broken)?;
            shards.push(Shard { queue, producer, topic });
        }
        let mut list = TopicPartitionList::new();
        for (number, start) in (0_i32..).zip(starts) {
            let place = usize::try_from(number).expect("not negative") % shards.len();
            shards[place].queue.forward(consumer.handle(), source, number);
            list.add_partition_offset(source, number, Offset::Offset(i64::try_from(*start).unwrap_or(0))).map_err(broken)?;
        }
        consumer.handle().assign(&list).map_err(broken)?;
        Ok(Self { shards, _consumer: consumer })
    }
}

impl Shard {
    /// Consumes and produces until told to stop, and returns the latencies.
    fn run(mut self, trial: &Trial<'_>, shared: &Shared, load: Option<Load>) -> Histogram<u64> {
        let mut batch = Batch::new(&self.queue, BATCH_RECORDS);
        let (mut lanes, mut histogram, mut value) = (Lanes::new(BundleMax::of(&trial.options), RECORD_BYTES_EXTRA), histogram(), Vec::new());
        let (mut in_flight, mut base) = (0, vec![None; trial.partitions()]);
        while !shared.stop.load(Ordering::Relaxed) {
            let room = trial.in_flight_max.saturating_sub(in_flight + lanes.waiting());
            if room > 0 && batch.fill(room, Duration::ZERO) == 0 {
                batch.fill(1, WAIT);
            }
            while let Some(message) = batch.next() {
                let (partition, offset) = (message.partition(), u64::try_from(message.offset()).unwrap_or(0));
                if message.error().is_some() {
                    continue;
                }
                let place = usize::try_from(partition).expect("not negative");
                let first = *base[place].get_or_insert(offset);
                let index = load.map_or(0, |load| load.index(partition, offset - first));
                value.clear();
                value.extend_from_slice(message.value().unwrap_or_default());
                value.extend_from_slice(&INSERT);
                let mut headers = Headers::with_capacity(1);
                headers.add("expressway-source", format!("{}/{partition}/{offset}", trial.cluster.source()).as_bytes());
                lanes.push(partition, message.key(), Some(&value), headers, index);
            }
            while let Some((partition, mut bundle)) = lanes.next(0) {
                let sent = self.producer.send_bundle(&self.topic, partition, &mut bundle, |_| {
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                });
                in_flight += sent;
                lanes.sent(partition, sent);
                lanes.give_back(bundle);
            }
            let wait = if room == 0 { WAIT } else { Duration::ZERO };
            in_flight -= self.serve(trial, shared, load, wait, &mut lanes, &mut histogram);
        }
        histogram
    }

    fn serve(&self, trial: &Trial<'_>, shared: &Shared, load: Option<Load>, wait: Duration, lanes: &mut Lanes, latencies: &mut Histogram<u64>) -> usize {
        let mut now = None;
        let served = self.producer.reports(wait, |report| {
            lanes.reported(report.partition());
            if report.error().is_some() {
                shared.failed.fetch_add(1, Ordering::Relaxed);
            }
            let index = report.opaque();
            if let Some(load) = load.filter(|load| index >= load.first_counted) {
                let now = *now.get_or_insert_with(|| trial.clock.now().monotonic_ns);
                latencies.saturating_record(now.saturating_sub(load.due_ns(index)));
            }
        });
        shared.acknowledged.fetch_add(served as u64, Ordering::Relaxed);
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_when_its_record_was_due() {
        let load = Load { rate: 1_000, start_ns: 5, first_counted: 0, partitions: 4 };
        assert_eq!((load.index(3, 0), load.index(0, 1), load.index(2, 10)), (3, 4, 42));
        assert_eq!((load.due_ns(3), load.due_ns(2_500)), (0, 2_500_000_005));
    }

    #[test]
    fn a_run_is_told_by_the_record() {
        let found = measured(2_000, 1_000_000_000, Some(4_000_000));
        assert!((found.records_per_s - 2_000.0).abs() < 1e-9 && found.cpu_us.is_some_and(|us| (us - 2.0).abs() < 1e-9));
        assert!(measured(0, 0, None).records_per_s.abs() < 1e-9);
    }
}
