//! Records brought back: read from one topic, published again into another, remembered.
//!
//! One order for every record: read → published → acknowledged → remembered. What a command remembers for a partition ends at its lowest record without an acknowledgement (the pipeline's own [`Window`]), so a command that is killed forgets at most what was acknowledged since its last commit, and the next one publishes that again; one that is interrupted, or ended by an error, forgets nothing. Only what stood in the topic when the command began is looked at, so that it never follows its own output.
//!
//! A record says itself how often it has been brought back, and the command passes over those that have been too often: the loop of a record that fails, is brought back and fails again ends there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::PROGRESS_EVERY_NS;
use super::cluster::{Cluster, Range};
use super::header::{HeaderList, Position, REASON, SOURCE};
use super::interrupt::Interrupt;
use super::memory::{Done, Memory, Reasons};
use super::reader::{Turn, read};
use crate::clock::Clock;
use crate::error::Error;
use crate::kafka::client::{self, Context};
use crate::kafka::token;
use crate::pipeline::offsets::Window;
use crate::pipeline::{Reason, without_value};

/// Distance between the lowest unacknowledged record of a partition and the newest.
const WINDOW_RECORDS_MAX: u32 = 100_000;

/// Between two commits.
const COMMIT_EVERY_NS: u64 = 1_000_000_000;

/// One wait for acknowledgements.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(20);

/// How long the last acknowledgements are waited for; librdkafka gives a record five minutes.
const FLUSH_WITHIN: Duration = Duration::from_secs(310);

/// What kind of records is brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Dead letters, to where they came from, as they were before.
    DeadLetters,
    /// Records, to their own topic and partition.
    Records,
    /// Records, to another topic, placed by their keys.
    RecordsTo(String),
}

/// What to bring back, and how.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The topic to read.
    pub(crate) topic: String,
    /// Its parts to look at.
    pub(crate) ranges: Vec<Range>,
    /// What its records are.
    pub(crate) kind: Kind,
    /// Which of the dead letters.
    pub(crate) reasons: Reasons,
    /// Records that have been brought back that often are passed over.
    pub(crate) replays_max: u32,
    /// The group under which is remembered what has been brought back.
    pub(crate) group: String,
    /// Also what has been brought back before.
    pub(crate) again: bool,
    /// Only count.
    pub(crate) dry_run: bool,
    /// Records a second, at most.
    pub(crate) rate: Option<u32>,
}

/// What became of the records looked at, for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Brought back, or in a dry run: would be.
    pub(crate) brought_back: u64,
    /// Brought back by an earlier command.
    pub(crate) before: u64,
    /// Passed over because they have been brought back too often.
    pub(crate) parked: u64,
    /// Of another reason than asked for.
    pub(crate) unasked: u64,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// By reason; records that are no dead letters have the empty one.
    pub(crate) reasons: BTreeMap<&'static str, Tally>,
    /// Records that are no dead letters where those were expected, or whose headers cannot be read.
    pub(crate) foreign: u64,
    /// Whether everything was looked at; `false` after an interruption.
    pub(crate) is_whole: bool,
}

impl Summary {
    /// All reasons together.
    pub(crate) fn total(&self) -> Tally {
        self.reasons.values().fold(Tally::default(), |sum, one| Tally {
            brought_back: sum.brought_back + one.brought_back,
            before: sum.before + one.before,
            parked: sum.parked + one.parked,
            unasked: sum.unasked + one.unasked,
        })
    }
}

/// The reason as the list has it; one that is not on it is `other`.
pub(crate) fn known_reason(code: &str) -> &'static str {
    Reason::ALL.into_iter().map(Reason::code).find(|known| *known == code).unwrap_or("other")
}

/// Who hears of the work.
pub(crate) trait Listener {
    /// How far the command is, now and then.
    fn progress(&mut self, text: &str);
    /// A record that was looked at, and what becomes of it.
    fn seen(&mut self, message: &BorrowedMessage<'_>, verdict: Verdict);
}

/// Carries out `order`.
///
/// # Errors
/// When the cluster cannot be read or written, or somebody else changes what is remembered meanwhile. What was acknowledged until then is remembered.
pub(crate) fn bring_back(cluster: &Cluster, order: &Order, interrupt: &Interrupt, listener: &mut dyn Listener) -> Result<Summary, Error> {
    let consumer = cluster.consumer(&order.group)?;
    let mut work = Work::begin(cluster, order, &consumer, interrupt)?;
    let outcome = read(&consumer, &order.topic, &order.ranges, &mut |turn| work.turn(turn, listener));
    let ended = work.end();
    work.summary.is_whole = outcome? && !interrupt.is_asked();
    ended.map(|()| work.summary)
}

/// A partition that is read.
struct Lane {
    range: Range,
    /// Where the next record is expected.
    next: i64,
    window: Window,
    memory: Memory,
    /// What is kept beside the group's offset now.
    text: String,
    /// Up to where that says it.
    remembered: i64,
}

impl Lane {
    /// Below this, everything has been looked at, and acknowledged where it was published.
    fn mark(&self) -> i64 {
        if self.window.open() == 0 { self.next } else { self.window.mark().next_to_read() }
    }
}

/// What is to become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is brought back.
    BringBack,
    /// It was, by an earlier command.
    Before,
    /// It has been brought back too often.
    Parked,
    /// Its reason was not asked for.
    Unasked,
}

/// A record that was looked at.
struct Judged {
    verdict: Verdict,
    reason: &'static str,
    /// Where it belongs.
    from: Position,
    /// The headers to publish it with.
    headers: HeaderList,
}

/// A command at work.
struct Work<'w> {
    order: &'w Order,
    cluster: &'w Cluster,
    consumer: &'w BaseConsumer<Context>,
    interrupt: &'w Interrupt,
    producer: Option<BaseProducer<Acknowledgements>>,
    lanes: BTreeMap<i32, Lane>,
    summary: Summary,
    clock: Clock,
    committed_ns: u64,
    told_ns: u64,
    sent: u64,
}

impl<'w> Work<'w> {
    fn begin(cluster: &'w Cluster, order: &'w Order, consumer: &'w BaseConsumer<Context>, interrupt: &'w Interrupt) -> Result<Self, Error> {
        let partitions: Vec<i32> = order.ranges.iter().map(|range| range.partition).collect();
        let committed = cluster.committed(consumer, &order.topic, &partitions)?;
        let mut lanes = BTreeMap::new();
        for (range, committed) in order.ranges.iter().zip(committed) {
            let memory = Memory::parse(&committed.metadata).ok_or_else(|| {
                Error::Input(format!(
                    "the group {} is not one of this command's: what it keeps for {}/{} is not ours; give another --group",
                    order.group, order.topic, range.partition
                ))
            })?;
            if !memory.has_room() {
                let advice = "bring back everything without --since, --offset and --reason once, which makes one range of them, or give another --group";
                return Err(Error::Input(format!("what the group {} remembers of {}/{} is full; {advice}", order.group, order.topic, range.partition)));
            }
            let window = Window::new(range.from, WINDOW_RECORDS_MAX);
            lanes.insert(range.partition, Lane { range: *range, next: range.from, window, memory, text: committed.metadata, remembered: range.from });
        }
        let producer = if order.dry_run {
            None
        } else {
            let mut config = cluster.producer_config();
            // Where the client places records by their keys, it is to do so as Kafka's own clients do.
            config.set("partitioner", "murmur2_random");
            let producer: Result<BaseProducer<_>, _> = config.create_with_context(Acknowledgements::default());
            let producer = producer.map_err(|error| Error::surroundings("the Kafka client cannot be made", without_value(error)))?;
            token::give(producer.client(), &config);
            Some(producer)
        };
        let clock = Clock::start();
        Ok(Self { order, cluster, consumer, interrupt, producer, lanes, summary: Summary::default(), clock, committed_ns: 0, told_ns: 0, sent: 0 })
    }

    fn turn(&mut self, turn: Turn<'_>, listener: &mut dyn Listener) -> Result<ControlFlow<()>, Error> {
        match turn {
            Turn::Record(message) => self.record(message, listener)?,
            Turn::Ended(partition) => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.next = lane.next.max(lane.range.to);
                }
            }
            Turn::Idle => {}
        }
        self.settle(Duration::ZERO)?;
        self.pace()?;
        let now_ns = self.clock.now().monotonic_ns;
        if now_ns - self.committed_ns >= COMMIT_EVERY_NS {
            self.committed_ns = now_ns;
            self.remember()?;
        }
        if now_ns - self.told_ns >= PROGRESS_EVERY_NS {
            self.told_ns = now_ns;
            listener.progress(&self.progress());
        }
        Ok(if self.interrupt.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Looks at one record, and publishes it where it is asked for.
    fn record(&mut self, message: &BorrowedMessage<'_>, listener: &mut dyn Listener) -> Result<(), Error> {
        match self.judge(message) {
            None => self.summary.foreign += 1,
            Some(Judged { verdict, reason, from, headers }) => {
                if verdict == Verdict::BringBack && self.producer.is_some() {
                    self.publish(message, &from, &headers)?;
                }
                listener.seen(message, verdict);
                let tally = self.summary.reasons.entry(reason).or_default();
                *match verdict {
                    Verdict::BringBack => &mut tally.brought_back,
                    Verdict::Before => &mut tally.before,
                    Verdict::Parked => &mut tally.parked,
                    Verdict::Unasked => &mut tally.unasked,
                } += 1;
            }
        }
        if let Some(lane) = self.lanes.get_mut(&message.partition()) {
            lane.next = message.offset() + 1;
        }
        Ok(())
    }

    /// What is to become of a record; `None` when it is not of the kind that is brought back.
    fn judge(&self, message: &BorrowedMessage<'_>) -> Option<Judged> {
        let mut headers = HeaderList::read(message)?;
        let (from, code) = if self.order.kind == Kind::DeadLetters {
            let found = (headers.position(SOURCE)?, headers.text(REASON)?);
            headers.strip_dead_letter();
            found
        } else {
            (Position::of(message), String::new())
        };
        let replays = headers.replays();
        let is_known = |lane: &Lane| lane.memory.has(message.offset(), &code, replays);
        let verdict = if !self.order.reasons.has(&code) {
            Verdict::Unasked
        } else if !self.order.again && self.lanes.get(&message.partition()).is_some_and(is_known) {
            Verdict::Before
        } else if replays >= self.order.replays_max {
            Verdict::Parked
        } else {
            headers.mark_replayed(&from);
            Verdict::BringBack
        };
        let reason = if self.order.kind == Kind::DeadLetters { known_reason(&code) } else { "" };
        Some(Judged { verdict, reason, from, headers })
    }

    fn publish(&mut self, message: &BorrowedMessage<'_>, from: &Position, headers: &HeaderList) -> Result<(), Error> {
        self.open(message)?;
        let (topic, partition) = match &self.order.kind {
            Kind::RecordsTo(topic) => (topic.as_str(), None),
            Kind::DeadLetters | Kind::Records => (from.topic.as_str(), Some(from.partition)),
        };
        let mut record: BaseRecord<'_, [u8], [u8], Box<Place>> = BaseRecord::with_opaque_to(topic, Box::new((message.partition(), message.offset())));
        (record.partition, record.key, record.payload) = (partition, message.key(), message.payload());
        record.headers = Some(headers.to_owned_headers());
        loop {
            let producer = self.producer.as_ref().expect("only a command with a producer publishes");
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.settle(ACKNOWLEDGED_WITHIN)?;
                }
                Err((error, _)) => return Err(refused(&Position::of(message), error)),
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// Opens the record in its partition's window, when that has room.
    fn open(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Error> {
        loop {
            let lane = self.lanes.get_mut(&message.partition()).expect("records come from partitions that are read");
            // Only a full window refuses: within a partition, offsets go up.
            if lane.window.take(message.offset()).is_ok() {
                return Ok(());
            }
            self.settle(ACKNOWLEDGED_WITHIN)?;
        }
    }

    /// Takes up what has been acknowledged.
    fn settle(&mut self, wait: Duration) -> Result<(), Error> {
        let Some(producer) = &self.producer else { return Ok(()) };
        producer.poll(wait);
        let mut first = Ok(());
        for ((partition, offset), outcome) in producer.context().take() {
            match outcome {
                Ok(()) => {
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.window.complete(offset);
                    }
                }
                Err(error) if first.is_ok() => first = Err(refused(&Position { topic: self.order.topic.clone(), partition, offset }, error)),
                Err(_) => {}
            }
        }
        first
    }

    /// Waits until no more has been sent than the rate allows.
    fn pace(&mut self) -> Result<(), Error> {
        let Some(rate) = self.order.rate else { return Ok(()) };
        let due_ns = self.sent.saturating_mul(1_000_000_000) / u64::from(rate.max(1));
        while self.clock.now().monotonic_ns < due_ns && !self.interrupt.is_asked() && self.producer.is_some() {
            self.settle(ACKNOWLEDGED_WITHIN)?;
        }
        Ok(())
    }

    /// Commits how far the command is, when it is any further.
    fn remember(&mut self) -> Result<(), Error> {
        let moved: Vec<i32> = self.lanes.iter().filter(|(_, lane)| lane.mark() > lane.remembered).map(|(partition, _)| *partition).collect();
        if self.producer.is_none() || moved.is_empty() {
            return Ok(());
        }
        let topic = &self.order.topic;
        let found = self.cluster.committed(self.consumer, topic, &moved)?;
        if moved.iter().zip(&found).any(|(partition, found)| self.lanes[partition].text != found.metadata) {
            let what = format!("another command brings back records of {topic} under the group {}; one of them has to wait", self.order.group);
            return Err(Error::Surroundings { what, source: None });
        }
        let failed = |error| Error::surroundings(format!("what was brought back of {topic} cannot be remembered"), error);
        let mut list = TopicPartitionList::with_capacity(moved.len());
        let mut texts = Vec::with_capacity(moved.len());
        for partition in moved {
            let lane = &self.lanes[&partition];
            let mark = lane.mark();
            let mut memory = lane.memory.clone();
            memory.add(Done { from: lane.range.from, to: mark, reasons: self.order.reasons, replays_below: self.order.replays_max });
            let text = memory.text().expect("room for one more range was made sure of");
            let mut element = list.add_partition(topic, partition);
            element.set_offset(Offset::Offset(mark)).map_err(failed)?;
            element.set_metadata(&text);
            texts.push((partition, mark, text));
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(failed)?;
        for (partition, mark, text) in texts {
            let lane = self.lanes.get_mut(&partition).expect("the partition is read");
            (lane.remembered, lane.text) = (mark, text);
        }
        Ok(())
    }

    /// Waits for what is under way, and remembers it.
    fn end(&mut self) -> Result<(), Error> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let flushed = producer.flush(FLUSH_WITHIN);
        let settled = self.settle(Duration::ZERO);
        self.remember()?;
        settled.and_then(|()| flushed.map_err(|error| Error::surroundings("the broker has not acknowledged everything", error)))
    }

    fn progress(&self) -> String {
        let (done, all) = self.lanes.values().fold((0, 0), |(done, all), lane| (done + (lane.next - lane.range.from), all + (lane.range.to - lane.range.from)));
        let total = self.summary.total();
        format!("{}: {done} of {all} offsets read, {} brought back, {} before, {} parked", self.order.topic, total.brought_back, total.before, total.parked)
    }
}

fn refused(place: &Position, error: KafkaError) -> Error {
    let way = "the records before it are remembered; to go around it, begin behind it with --partition and --offset";
    Error::surroundings(format!("the record {place} cannot be published ({way})"), error)
}

/// Partition and offset of a record that was read.
type Place = (i32, i64);

/// Collects what the broker says of published records, on the thread that polls.
#[derive(Default)]
struct Acknowledgements {
    list: Mutex<Vec<(Place, Result<(), KafkaError>)>>,
}

impl Acknowledgements {
    fn take(&self) -> Vec<(Place, Result<(), KafkaError>)> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Acknowledgements {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }

    fn generate_oauth_token(&self, option: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::oauth_token(option)
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Place>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push((*place, outcome));
    }
}
