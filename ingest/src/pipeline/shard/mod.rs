//! One pinned thread: batches in, outcomes out.
//!
//! A turn of the loop, always in this order:
//! 1. with transactions, the membership in the group where a commit waits for one; then commands of the group (**only here**: after one batch is wholly processed and before the next is consumed, so that a batch of an old assignment is never booked to a new one);
//! 2. delivery reports, which close records;
//! 3. answers of tasks, timers, one go for each execution that yielded, and records whose turn has come in the order of their key;
//! 4. calls out, records to be sent, the transaction's next step;
//! 5. marks to the client, drains that are done, partitions that may go on;
//! 6. the next batch, or a wait that anything of the above ends.
//!
//! A turn reads the clock once or twice and publishes its counts once. A record costs no lock of ours, no clock reading, no log line, and, unless it suspends or fails, no heap allocation of ours.
//!
//! A panic inside a record's execution unwinds to the turn, which dead-letters that record, throws the slot away and goes on with the next record of the same batch.

mod command;
mod effects;
mod order;
mod outcome;
mod partition;
mod record;
mod share;
mod slots;
mod teller;
mod timers;
mod transact;
mod version;
mod waiting;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::Receiver;
use expressway_engine::{EffectId, Effects, ExecutionName, Reply, Resumed, Start};

use self::effects::Outside;
use self::order::{Hold, Limits};
use self::partition::Partition;
use self::record::{Open, RecordId, Records, Source};
use self::slots::{SlotId, Slots};
use self::teller::Teller;
use self::timers::{Kind, Timers};
use self::version::Versions;
use super::counters::{Count, Tally};
use super::doing::Part;
use super::memory::OPEN_RECORD_BYTES;
use super::offsets::Refusal;
use super::processor::Processor;
use super::result_headers::ResultHeaders;
use super::settings::{OnFailure, OnNull, Ordering as RecordOrdering, ResultHeaders as Detail};
use super::shared::{Alarm, Desk, Health};
use super::sink::{Refused, Sink, To};
use super::transaction::MINUTE_NS;
use super::{Acknowledged, Class, Error, Reason};
use crate::clock::{Clock, Now};
use crate::kafka::queue::TopicHandle;
use crate::kafka::{Batch, ErrorCode, Message, ShardQueue, client};
use crate::tasks::Reply as TaskReply;
use crate::thread;

use self::effects::CALLS_OPEN_MAX;
pub(super) use command::Command;
pub(crate) use outcome::write_failure;
pub(super) use partition::Assigned;
pub(crate) use partition::seed_of;

/// Wait for a record while reports are outstanding.
const WAIT_BUSY: Duration = Duration::from_millis(1);
/// Wait for a record while nothing is.
const WAIT_IDLE: Duration = Duration::from_millis(20);
/// Answers, timers and yielded executions served in one turn.
const ADVANCES_MAX: usize = 1_024;

/// What a shard is made of.
pub(super) struct Parts<P> {
    pub(super) index: u32,
    pub(super) processor: P,
    pub(super) queue: Arc<ShardQueue>,
    pub(super) sink: Sink,
    pub(super) topics: Arc<[TopicHandle]>,
    pub(super) outside: Outside,
    pub(super) commands: Receiver<Command>,
    pub(super) health: Arc<Health>,
    pub(super) desk: Arc<Desk>,
    pub(super) clock: Clock,
    pub(super) rules: Rules,
}

/// The settings that a shard follows.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) on_failure: OnFailure,
    pub(super) on_null: OnNull,
    pub(super) ordering: RecordOrdering,
    pub(super) deferred_records_max: u32,
    pub(super) deferred_bytes_max: u64,
    pub(super) open_bytes_max: u64,
    pub(super) result_headers: Detail,
    pub(super) executions_open_max: u32,
    /// Partitions that a shard can have at once.
    pub(super) partitions_max: u32,
    pub(super) window_records_max: u32,
    pub(super) batch_records_max: u32,
    pub(super) in_flight_max: u32,
    pub(super) panics_per_minute_max: u32,
    pub(super) topic_error_timeout: Duration,
    pub(super) definition: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) result_topic: Arc<str>,
    pub(super) dead_letter_topic: Arc<str>,
    pub(super) audit: Option<crossbeam::channel::Sender<Vec<Acknowledged>>>,
}

impl Rules {
    /// How much may wait in a partition.
    fn waiting(&self) -> Limits {
        let bounded = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
        Limits { records_max: bounded(self.deferred_records_max.into()), bytes_max: bounded(self.deferred_bytes_max) }
    }
}

/// Makes the part of a shard that speaks with the integrations.
pub(super) fn outside(integrations: Arc<dyn crate::tasks::Integrations>, alarm: &Arc<Alarm>) -> Outside {
    let (replies, inbox) = crate::tasks::inbox(CALLS_OPEN_MAX, std::task::Waker::from(Arc::clone(alarm)));
    Outside::new(integrations, replies, inbox)
}

/// A shard, owned by its thread.
pub(super) struct Shard<P> {
    index: u32,
    processor: P,
    batch: Batch,
    queue: Arc<ShardQueue>,
    sink: Sink,
    topics: Arc<[TopicHandle]>,
    outside: Outside,
    commands: Receiver<Command>,
    health: Arc<Health>,
    desk: Arc<Desk>,
    clock: Clock,
    rules: Rules,
    partitions: Vec<Option<Partition>>,
    last_partition: usize,
    records: Records,
    slots: Slots,
    /// By slot: the generation of its execution, as far as effects have told.
    generations: Vec<u32>,
    timers: Timers,
    /// Deferred records whose turn has come, in order, with their partition's place.
    ready: VecDeque<(RecordId, usize)>,
    /// The record, and the slot if it has one, whose execution is on the processor now.
    running: Option<(RecordId, Option<SlotId>)>,
    effects: Effects,
    output: Vec<u8>,
    text: Vec<u8>,
    versions: Versions,
    result_headers: ResultHeaders,
    tally: Tally,
    teller: Teller,
    acknowledged: Vec<u64>,
    refused: Vec<Refused>,
    audit: Vec<Acknowledged>,
    latency: hdrhistogram::Histogram<u64>,
    panics: VecDeque<u64>,
    marks_dirty: bool,
    topic_error_logged: bool,
    in_flight_max: usize,
    /// When it last looked for records, with room for them, and found none.
    found_none_ns: u64,
    /// Bytes of a value in the last batch, in the mean.
    mean_bytes: u64,
    /// Bytes of outcomes that a partition may withhold until those below them are there.
    withheld_max: usize,
}

impl<P: Processor> Shard<P> {
    pub(super) fn new(parts: Parts<P>) -> Self {
        let Parts { index, processor, queue, sink, topics, outside, commands, health, desk, clock, rules } = parts;
        let result_headers = ResultHeaders::new(rules.result_headers, &rules.definition);
        let batch_records_max = usize::try_from(rules.batch_records_max).expect("a batch fits into memory");
        Self {
            index,
            processor,
            batch: Batch::new(&queue, batch_records_max),
            queue,
            sink,
            topics,
            outside,
            commands,
            health,
            clock,
            partitions: Vec::new(),
            last_partition: 0,
            records: Records::new(rules.open_bytes_max, rules.partitions_max),
            slots: Slots::new(rules.executions_open_max, rules.partitions_max),
            generations: Vec::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            running: None,
            effects: Effects::default(),
            output: Vec::new(),
            text: Vec::new(),
            versions: Versions::new(&rules.version),
            result_headers,
            tally: Tally::new(),
            teller: Teller::default(),
            acknowledged: Vec::new(),
            refused: Vec::new(),
            audit: Vec::new(),
            latency: super::shared::new_histogram(),
            panics: VecDeque::new(),
            marks_dirty: false,
            topic_error_logged: false,
            in_flight_max: usize::try_from(rules.in_flight_max).expect("what is in flight fits into memory"),
            found_none_ns: 0,
            mean_bytes: 0,
            withheld_max: usize::MAX,
            desk,
            rules,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, alarm: &Alarm) {
        self.sink.connect(&self.clock);
        alarm.set_thread();
        while self.turn() {}
        let now = self.clock.now();
        self.publish(&now);
    }

    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let membership = self.membership(&now);
        self.desk.doing.begin(Part::Commands);
        if !self.obey(&now) {
            return false;
        }
        self.desk.doing.begin(Part::Reports);
        self.reports(Duration::ZERO);
        self.desk.doing.begin(Part::Running);
        self.guarded(&now, Self::advance);
        self.desk.doing.begin(Part::Settling);
        self.call_out(&now);
        self.transact(membership, &now);
        self.settle(&now);
        self.publish(&now);
        self.desk.doing.begin(Part::Waiting);
        self.take(&now);
        true
    }

    /// Runs a part of the turn that runs executions. A part keeps its place in the shard, so after a panic it goes on behind the record that panicked.
    fn guarded(&mut self, now: &Now, part: fn(&mut Self, &Now)) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| part(self, now))) {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned());
            if !self.panicked(now, text) {
                return;
            }
        }
    }

    /// Whether the part may go on: not when it is not known what the panic met.
    #[cold]
    fn panicked(&mut self, now: &Now, text: String) -> bool {
        self.tally.add(Count::Panics, 1);
        self.effects.clear();
        let Some((record, slot)) = self.running.take() else {
            self.health.fail(Error::Shard { shard: self.index, detail: format!("panicked outside any execution: {text}") });
            return false;
        };
        if let Some(slot) = slot {
            self.processor.discard(slot);
            self.slots.retire(slot);
        }
        tracing::error!(shard = self.index, panic = text, "execution panicked");
        self.dead_letter(record, Reason::Panic, &text, now);
        self.panics.push_back(now.monotonic_ns);
        while self.panics.front().is_some_and(|at| at + MINUTE_NS < now.monotonic_ns) {
            self.panics.pop_front();
        }
        let count = u32::try_from(self.panics.len()).unwrap_or(u32::MAX);
        if count > self.rules.panics_per_minute_max {
            self.health.fail(Error::Panics { count, last: text });
        }
        true
    }

    /// Answers, timers, and executions that yielded.
    fn advance(&mut self, now: &Now) {
        for _ in 0..ADVANCES_MAX {
            let Some(TaskReply { id, result }) = self.outside.reply() else { break };
            match &result {
                Ok(output) => self.resume(id, Reply::Success(output), now),
                Err(failure) => self.resume(id, Reply::Failure { error: &failure.error, cause: failure.cause.as_deref() }, now),
            }
        }
        for _ in 0..ADVANCES_MAX {
            match self.timers.due(now.timestamp) {
                Some((id, Kind::Elapsed)) => self.resume(id, Reply::Elapsed, now),
                Some((id, Kind::TimedOut)) => self.resume(id, Reply::TimedOut, now),
                None => break,
            }
        }
        for _ in 0..self.slots.yielded().min(ADVANCES_MAX) {
            let Some(slot) = self.slots.next_yielded() else { break };
            self.proceed(slot, now);
        }
        self.begin_ready(now);
    }

    fn resume(&mut self, id: EffectId, reply: Reply<'_>, now: &Now) {
        let Some(record) = self.slots.record(id.slot) else { return self.tally.add(Count::StaleReplies, 1) };
        self.running = Some((record, Some(id.slot)));
        match self.processor.resume(id, reply) {
            // An execution that yielded goes on when its turn comes.
            Resumed::Accepted if self.slots.is_yielded(id.slot) => {}
            Resumed::Accepted => self.proceed(id.slot, now),
            Resumed::Stale if matches!(reply, Reply::Success(_) | Reply::Failure { .. }) => self.tally.add(Count::StaleReplies, 1),
            Resumed::Stale => {}
        }
        self.running = None;
    }

    fn proceed(&mut self, slot: SlotId, now: &Now) {
        let Some(record) = self.slots.record(slot) else { return };
        self.running = Some((record, Some(slot)));
        if let Some(open) = self.records.find(record)
            && let Some(partition) = &self.partitions[open.partition]
        {
            self.desk.doing.run(partition.topic, partition.number, open.offset);
        }
        self.output.clear();
        let step = self.processor.proceed(slot, now.timestamp, &mut self.effects, &mut self.output);
        self.conclude(record, slot, step, now);
        self.running = None;
    }

    /// How many records may be taken now.
    fn room(&self) -> usize {
        if !self.sink.is_clear() || self.health.is_stopping() || self.sink.is_full() {
            return 0;
        }
        self.slots.room().min(self.in_flight_max.saturating_sub(self.sink.in_flight())).min(self.room_in_memory())
    }

    /// How many records of the size of the last ones fit beside those that are open: each counts three times, as it came, as its result and as the client's copy of that.
    fn room_in_memory(&self) -> usize {
        let room = self.rules.open_bytes_max.saturating_sub(self.records.bytes());
        // One at least, while there is any room: the next one need not be like the last.
        usize::try_from(room / (OPEN_RECORD_BYTES + 3 * self.mean_bytes)).unwrap_or(usize::MAX).max(usize::from(room > 0))
    }

    /// Takes and processes the next batch, or waits for something to do.
    fn take(&mut self, now: &Now) {
        if self.room() == 0 {
            return self.wait_without_taking(now);
        }
        self.guarded(now, Self::take_held);
        let size = self.room();
        if size == 0 {
            return;
        }
        let mut count = self.batch.fill(size, Duration::ZERO);
        if count == 0 {
            self.found_none_ns = now.monotonic_ns;
        }
        if count == 0 && !self.has_work() {
            let wait = self.wait(now);
            if self.outside.prepare_sleep() {
                count = self.batch.fill(1, wait);
            }
        }
        if count > 0 {
            let now = self.clock.now();
            self.tally.add(Count::RecordsRead, count as u64);
            let before = self.tally.get(Count::BytesRead);
            self.desk.doing.begin(Part::Running);
            self.guarded(&now, Self::process);
            self.desk.doing.begin(Part::Settling);
            self.mean_bytes = (self.tally.get(Count::BytesRead) - before) / count as u64;
            self.dispatch(&now);
        }
    }

    fn wait_without_taking(&mut self, now: &Now) {
        if self.slots.has_yielded() || !self.commands.is_empty() {
            return;
        }
        let wait = self.wait(now);
        if self.sink.in_flight() > 0 {
            self.reports(wait);
        } else if self.outside.prepare_sleep() {
            thread::park_timeout(wait);
        }
    }

    /// Whether something is to be done without waiting for anything.
    fn has_work(&self) -> bool {
        self.slots.has_yielded() || !self.ready.is_empty() || !self.commands.is_empty()
    }

    fn wait(&self, now: &Now) -> Duration {
        if self.sink.wants_membership(now.monotonic_ns) {
            return Duration::ZERO;
        }
        let longest = if self.sink.in_flight() > 0 { WAIT_BUSY } else { WAIT_IDLE };
        self.timers.next().map_or(longest, |at| longest.min(Duration::from_millis(at.0.saturating_sub(now.timestamp.0))))
    }

    fn process(&mut self, now: &Now) {
        while let Some(message) = self.batch.next() {
            if let Some(code) = message.error() {
                self.client_error(code, &message);
                continue;
            }
            match self.find_partition(&message) {
                Some(place) => self.take_record(place, message, now),
                None => self.tally.add(Count::RecordsDropped, 1),
            }
        }
    }

    fn find_partition(&mut self, message: &Message) -> Option<usize> {
        let (token, number) = (message.topic(), message.partition());
        let is_it = |partition: &Option<Partition>| partition.as_ref().is_some_and(|partition| partition.number == number && partition.token == token);
        if self.partitions.get(self.last_partition).is_some_and(is_it) {
            return Some(self.last_partition);
        }
        let place = self.partitions.iter().position(is_it)?;
        self.last_partition = place;
        Some(place)
    }

    fn partition(&mut self, place: usize) -> &mut Partition {
        self.partitions[place].as_mut().expect("an open record's partition is in the table")
    }

    fn take_record(&mut self, place: usize, message: Message, now: &Now) {
        let offset = message.offset();
        let withheld_max = self.withheld_max;
        // Nothing is shared out while nothing waits.
        let has_share = self.slots.open() == 0 || self.has_share(place);
        let partition = self.partition(place);
        if !partition.is_consuming() {
            return self.tally.add(Count::RecordsDropped, 1);
        }
        if !partition.held.is_empty() {
            return partition.held.push_back(message);
        }
        if !has_share || partition.is_held_by_order() || partition.withholds(withheld_max) {
            return self.hold(place, message);
        }
        let mut taken = partition.take(offset);
        if taken == Err(Refusal::Backwards) {
            self.rewind(place, offset);
            taken = self.partition(place).take(offset);
        }
        match taken {
            Ok(()) => self.admit(place, message, now),
            Err(Refusal::Full | Refusal::Backwards) => self.hold(place, message),
        }
    }

    /// The window is full, too many records wait in order, or the partition holds all of its share, though the shard could go on: the partition is paused, and what came already is kept.
    #[cold]
    fn hold(&mut self, place: usize, message: Message) {
        let queue = Arc::clone(&self.queue);
        let partition = self.partition(place);
        partition.held.push_back(message);
        if partition.paused {
            return;
        }
        if let Err(error) = partition.pause(&queue) {
            tracing::warn!(partition = partition.describe(), error, "partition could not be paused");
            self.tally.add(Count::ClientErrors, 1);
        }
        self.tally.add(Count::Pauses, 1);
    }

    /// The log was cut below our position and the client went back. From there on everything comes again, so what is open of it is given up and stays behind in the old epoch, where it cannot move the mark. What is open below comes from nowhere else: it goes on under the new epoch and holds the mark as before.
    #[cold]
    fn rewind(&mut self, place: usize, offset: i64) {
        let to = self.desk.next_epoch();
        self.forget_above(place, offset);
        let partition = self.partition(place);
        tracing::warn!(partition = partition.describe(), offset, "position went back");
        let from = partition.epoch;
        let gone = partition.go_back(offset, to);
        self.records.renew(place, from, offset, to);
        let records = &self.records;
        let is_left = |opaque| records.find(RecordId::from_opaque(opaque)).is_some_and(|open| (open.partition, open.epoch) == (place, from));
        // Results that wait to be sent come again too; sent now, they would appear out of order, be it under the next owner.
        for opaque in self.sink.forget(is_left).into_iter().chain(gone) {
            self.records.remove(RecordId::from_opaque(opaque));
        }
        self.sink.doom(|| "the position of a partition went back".to_owned());
        self.tally.add(Count::Rewinds, 1);
    }

    /// Takes the records that came while their partition was held.
    fn take_held(&mut self, now: &Now) {
        let withheld_max = self.withheld_max;
        for place in 0..self.partitions.len() {
            loop {
                if self.room() == 0 {
                    return;
                }
                let (has_share, has_ample_share) = (self.has_share(place), self.has_ample_share(place));
                let Some(partition) = self.partitions[place].as_mut() else { break };
                let may_take = partition.is_consuming() && has_share && !partition.is_held_by_order() && !partition.withholds(withheld_max);
                let may_go_on = may_take && (!partition.paused || has_ample_share && partition.is_half_free() && !partition.withholds(withheld_max / 2));
                let Some(offset) = partition.held.front().filter(|_| may_go_on).map(Message::offset) else { break };
                match partition.take(offset) {
                    Ok(()) => {
                        let message = partition.held.pop_front().expect("the front was looked at just now");
                        self.admit(place, message, now);
                    }
                    Err(Refusal::Full) => break,
                    Err(Refusal::Backwards) => self.rewind(place, offset),
                }
            }
        }
    }

    /// Opens a record that its partition's window has taken, and begins it unless it has to wait for another one of its key.
    fn admit(&mut self, place: usize, message: Message, now: &Now) {
        let partition = self.partitions[place].as_mut().expect("the record's partition is in the table");
        partition.books.read += 1;
        let offset = message.offset();
        let since_ns = message.timestamp_ms().map_or(now.wall_ns, |ms| ms.saturating_mul(1_000_000));
        partition.progress.took(since_ns);
        let is_deferred = !partition.order.is_idle() && partition.order.defers(message.key());
        let (epoch, version, source) = (partition.epoch, self.versions.current(), Source::Held(message));
        let (class, to, hold, waits) = (Class::Succeeded, To::Results, Hold::Free, false);
        let record = self.records.insert(Open { partition: place, epoch, offset, since_ns, class, to, version, hold, waits, bytes: 0, source });
        if is_deferred {
            return self.defer(record);
        }
        self.begin(record, now);
    }

    #[inline(always)]
    fn begin(&mut self, record: RecordId, now: &Now) {
        self.running = Some((record, None));
        let version = self.versions.current();
        let open = self.records.find_mut(record).expect("a record that begins is open");
        // A record that waited begins under the definition of now.
        open.version = version;
        let open = &*open;
        let (partition, offset) = (self.partitions[open.partition].as_ref().expect("an open record's partition is in the table"), open.offset);
        let Some(value) = open.source.value() else { return self.null_value(record, now) };
        let slot = self.slots.acquire(record);
        self.desk.doing.run(partition.topic, partition.number, offset);
        self.running = Some((record, Some(slot)));
        self.tally.add(Count::BytesRead, value.len() as u64);
        self.output.clear();
        let name = ExecutionName::Position { topic: &partition.name, partition: partition.number, offset };
        let start = Start { name, now: now.timestamp, seed: partition.seed(offset) };
        match self.processor.begin(slot, value, &start, &mut self.effects, &mut self.output) {
            Ok(step) => {
                self.tally.add(Count::ExecutionsStarted, 1);
                self.conclude(record, slot, step, now);
            }
            Err(fault) => {
                self.slots.release(slot);
                self.dead_letter(record, Reason::of(fault), &fault.to_string(), now);
            }
        }
        self.running = None;
    }

    fn null_value(&mut self, record: RecordId, now: &Now) {
        self.running = None;
        match self.rules.on_null {
            OnNull::DeadLetter => self.dead_letter(record, Reason::NullValue, "the record has no value", now),
            OnNull::Skip => {
                self.tally.add(Count::Skipped, 1);
                if let Some(open) = self.records.find_mut(record)
                    && std::mem::take(&mut open.hold) == Hold::Open
                {
                    self.pass_on(record);
                }
                self.pass_over(record, now);
            }
        }
    }

    #[cold]
    fn client_error(&mut self, code: ErrorCode, message: &Message) {
        self.tally.add(Count::ClientErrors, 1);
        if client::is_unreadable(code) {
            return self.unreadable(code, message);
        }
        if code == ErrorCode::AutoOffsetReset {
            let detail = format!("no offset to start {}/{} from", message.topic_name(), message.partition());
            return self.health.fail(Error::Fatal { client: "consumer", detail });
        }
        tracing::warn!(shard = self.index, topic = message.topic_name(), partition = message.partition(), error = %code, "client reports an error in place of a record");
    }

    /// The client passes over a batch that it cannot read (`check.crcs`, a format that it does not know) and goes on behind it, or stays before it for ever (one that cannot be unpacked). A place that stays open where the next record was expected keeps the mark there, whatever of the records behind it has come already; what the batch says of its own offset may be damaged too.
    fn unreadable(&mut self, code: ErrorCode, message: &Message) {
        if let Some(place) = self.find_partition(message) {
            let partition = self.partition(place);
            partition.books.read += u64::from(partition.take(partition.window.next()).is_ok());
        }
        let (topic, partition, offset) = (message.topic_name(), message.partition(), message.offset());
        let detail = format!("a batch of {topic}/{partition} at offset {offset} cannot be read: {code}");
        self.health.fail(Error::Fatal { client: "consumer", detail });
    }

    /// Hands waiting calls and records out.
    fn call_out(&mut self, now: &Now) {
        let (slots, generations) = (&self.slots, &self.generations);
        let is_alive = |id: EffectId| is_alive(slots, generations, id);
        self.outside.submit(&self.desk.doing, is_alive);
        self.timers.sweep(is_alive);
        self.dispatch(now);
    }

    fn publish(&mut self, now: &Now) {
        self.partitions.iter_mut().flatten().for_each(Partition::keep_books);
        self.processor.end_turn();
        self.tally.add(Count::Turns, 1);
        self.tally.set(Count::ExecutionsOpen, self.slots.open() as u64);
        self.tally.set(Count::RecordsOpen, self.records.open() as u64);
        self.tally.set(Count::OpenBytes, self.records.bytes());
        self.tally.set(Count::CallsOpen, self.outside.open() as u64);
        self.tally.set(Count::Calls, self.outside.started());
        self.tally.set(Count::OverflowedReplies, self.outside.overflowed());
        self.tally.set(Count::ProduceRetries, self.sink.retries());
        if let Some((committed, aborted)) = self.sink.transaction().map(|transaction| transaction.counts()) {
            self.tally.set(Count::TransactionsCommitted, committed);
            self.tally.set(Count::TransactionsAborted, aborted);
        }
        self.tally.set(Count::DeadLettersStuck, self.sink.stuck() as u64);
        self.tally.set(Count::TimersOpen, self.timers.len() as u64);
        let assigned = self.partitions.iter().flatten();
        let shapes = self.processor.shape_counts();
        for (count, level) in [
            (Count::ShapeHits, shapes.hits),
            (Count::ShapeMisses, shapes.misses),
            (Count::ShapeSkips, shapes.skipped),
            (Count::ShapesLearned, shapes.learned),
            (Count::ShapesEvicted, shapes.evicted),
        ] {
            self.tally.set(count, level);
        }
        self.tally.set(Count::PartitionsPaused, assigned.clone().filter(|partition| partition.paused).count() as u64);
        self.tally.set(Count::RecordsDeferred, (self.ready.len() + assigned.clone().map(|partition| partition.order.waiting()).sum::<usize>()) as u64);
        self.tally.set(Count::MarkDistance, assigned.map(|partition| partition.window.span()).sum());
        self.teller.look(self.index, &self.rules.dead_letter_topic, &self.tally, now);
        self.desk.board.publish(&self.tally);
        self.desk.found_none_at.store(self.found_none_ns, Ordering::Relaxed);
        self.desk.beat.store(now.monotonic_ns, Ordering::Relaxed);
        self.desk.hand_over(&self.latency);
    }
}

/// Whether an effect belongs to an execution that is still in its slot.
fn is_alive(slots: &Slots, generations: &[u32], id: EffectId) -> bool {
    let place = usize::try_from(id.slot).expect("a slot number fits into memory");
    slots.record(id.slot).is_some() && generations.get(place) == Some(&id.generation)
}

impl<P> Drop for Shard<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.fail(Error::Shard { shard: self.index, detail: "panicked".to_owned() });
        }
    }
}

/// Whether failed executions become dead letters.
fn failures_are_dead(rules: &Rules) -> bool {
    rules.on_failure == OnFailure::DeadLetter
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::super::Splice;
    use super::super::start::lone_shard;
    use super::*;

    /// Nobody knows how far it came: called again, it might go on behind a record that it has not opened, or panic for ever.
    #[test]
    fn a_part_that_panics_outside_any_execution_is_not_called_again() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let health = Arc::new(Health::default());
        let mut shard = lone_shard(Splice::new(1), &health);
        let now = shard.clock.now();
        shard.guarded(&now, |_, _| assert!(CALLS.fetch_add(1, Ordering::Relaxed) > 2, "so it is"));
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
        let error = health.failure().expect("it ends the pipeline").to_string();
        assert!(health.is_stopping() && error.ends_with("panicked outside any execution: so it is"), "{error}");
    }
}
