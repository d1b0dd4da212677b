//! Results and dead letters to Kafka, and what the broker says about them.
//!
//! Three classes of error, three treatments ([`classify`]):
//! - **It may pass** (queue full, time-out, broker down, unknown): the same record again, with back-off and without limit. While records wait for that the shard takes no new ones.
//! - **This record cannot be written** (too large, invalid): the caller makes a dead letter of it. A dead letter that cannot be written is kept and tried again for ever, for it has to hold the mark.
//! - **The topic cannot be written to** (gone, not ours) or the client is useless: the records are kept, the sink says since when, and the pipeline ends after a set time.
//!
//! The broker refuses a whole batch when one record makes it too large, so size counts against a record only when it went alone: see [`Lanes`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaResult;

use crate::clock::Clock;
use crate::kafka::{Bundle, ErrorCode, Headers, Producer, Rejected, ShardQueue, Topic};

use super::Error;
use super::lanes::{Fate, Lanes};
use super::result_headers::ResultHeaders;
use super::transaction::Transaction;

/// How long a start may take to get the client ready; afterwards the client has seen to it by itself.
const CONNECT_WAIT: Duration = Duration::from_millis(500);
/// First pause before a record is sent again.
const BACKOFF_MIN_NS: u64 = 50_000_000;
/// Longest pause before a record is sent again.
const BACKOFF_MAX_NS: u64 = 5_000_000_000;
/// Pause between attempts at a dead letter that the broker refuses.
const STUCK_PAUSE_NS: u64 = 30_000_000_000;
/// Refused dead letters kept at once. When so many are stuck, no further record is taken.
const STUCK_MAX: usize = 1_000;

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Results,
    DeadLetters,
}

/// What an error says about the record that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The same record may be taken later.
    MayPass,
    /// The record is too large.
    TooLarge,
    /// The record is refused for good.
    Invalid,
    /// The topic cannot be written to.
    Topic,
    /// The client is useless.
    Fatal,
}

/// The class of a produce error. What is not known may pass: to try again in vain is better than to give a record up.
pub(crate) fn classify(code: ErrorCode) -> Class {
    match code {
        ErrorCode::MessageSizeTooLarge | ErrorCode::InvalidMessageSize => Class::TooLarge,
        ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp => Class::Invalid,
        ErrorCode::UnknownTopic
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownPartition
        | ErrorCode::InvalidTopic
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Class::Topic,
        ErrorCode::Fatal | ErrorCode::Fenced | ErrorCode::ProducerFenced => Class::Fatal,
        _ => Class::MayPass,
    }
}

/// What becomes of a record that met an error; `None` for one that is refused for good.
fn fate(code: ErrorCode, not_before_ns: u64) -> Option<Fate> {
    match classify(code) {
        _ if matches!(code, ErrorCode::PurgeQueue | ErrorCode::PurgeInflight) => Some(Fate::Again),
        Class::Invalid => None,
        Class::TooLarge => Some(Fate::TooLarge),
        Class::MayPass | Class::Topic | Class::Fatal => Some(Fate::Later(not_before_ns)),
    }
}

/// A topic to write to.
pub(crate) struct Destination {
    name: String,
    topic: Topic,
    partitions: i32,
    lanes: Lanes,
    /// What comes after a transaction is cut, and is for the next one.
    later: Lanes,
}

impl Destination {
    pub(crate) fn new(producer: &Producer, topic: &str, partitions: i32, lanes: impl Fn() -> Lanes) -> KafkaResult<Self> {
        Ok(Self { name: topic.to_owned(), topic: producer.topic(topic)?, partitions, lanes: lanes(), later: lanes() })
    }
}

/// A record to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) to: To,
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers,
    /// Comes back with the delivery report.
    pub(crate) opaque: u64,
}

/// A dead letter that the broker refuses.
struct Stuck {
    partition: i32,
    /// The one record.
    bundle: Bundle,
    not_before_ns: u64,
}

/// What came of a record that the broker did not take, for the caller to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) opaque: u64,
    pub(crate) code: ErrorCode,
    pub(crate) class: Class,
}

/// The writing end of a shard.
pub(crate) struct Sink {
    producer: Producer,
    results: Destination,
    dead_letters: Destination,
    stuck: VecDeque<Stuck>,
    backoff_ns: u64,
    /// The same for what the client has no room for; short again as soon as the broker has taken anything.
    room_backoff_ns: u64,
    blocked: Option<Blocked>,
    fatal: Option<ErrorCode>,
    in_flight: usize,
    /// In transactional delivery.
    transaction: Option<Transaction>,
}

/// A topic that cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) to: To,
    pub(crate) code: ErrorCode,
    pub(crate) since_ns: u64,
}

impl Sink {
    pub(crate) fn new(producer: Producer, results: Destination, dead_letters: Destination, transaction: Option<Transaction>) -> Self {
        let stuck = VecDeque::new();
        let (backoff_ns, room_backoff_ns) = (BACKOFF_MIN_NS, BACKOFF_MIN_NS);
        Self { producer, results, dead_letters, stuck, backoff_ns, room_backoff_ns, blocked: None, fatal: None, in_flight: 0, transaction }
    }

    fn destination(&mut self, to: To) -> &mut Destination {
        match to {
            To::Results => &mut self.results,
            To::DeadLetters => &mut self.dead_letters,
        }
    }

    fn lanes(&self) -> [&Lanes; 2] {
        [&self.results.lanes, &self.dead_letters.lanes]
    }

    /// Gets the client ready to send, before there is anything to send: else the first results of a start wait for up to half a second. A transaction does that as it begins.
    pub(crate) fn connect(&self, clock: &Clock) {
        if self.transaction.is_none() {
            self.producer.connect(&self.results.topic, clock, CONNECT_WAIT);
        }
    }

    /// Lets delivery reports end a wait for records of `queue`.
    pub(crate) fn wake_on_reports(&mut self, queue: &Arc<ShardQueue>) {
        self.producer.wake_on_reports(Arc::clone(queue));
    }

    /// Goes on with a new producer in place of one that is of no use any more, which has nothing in its hands.
    pub(crate) fn renew(&mut self, queue: &Arc<ShardQueue>) -> Result<(), Error> {
        let transaction = self.transaction.as_mut().expect("only a producer with transactions is made anew");
        let mut producer = transaction.make().map_err(Error::Client)?;
        for destination in [&mut self.results, &mut self.dead_letters] {
            destination.topic = producer.topic(&destination.name).map_err(Error::Client)?;
        }
        producer.wake_on_reports(Arc::clone(queue));
        let old = std::mem::replace(&mut self.producer, producer);
        (self.fatal, self.blocked) = (None, None);
        transaction.renew(self.producer.transactions(), old)
    }

    /// How many partitions a destination has.
    pub(crate) fn partitions(&self, to: To) -> i32 {
        match to {
            To::Results => self.results.partitions,
            To::DeadLetters => self.dead_letters.partitions,
        }
    }

    /// Takes a record; it goes with one of the next calls of [`Sink::dispatch`].
    pub(crate) fn send(&mut self, record: Outgoing<'_>) {
        let Outgoing { to, partition, key, value, headers, opaque } = record;
        let is_cut = self.transaction.as_ref().is_some_and(Transaction::is_cut);
        let destination = self.destination(to);
        let lanes = if is_cut { &mut destination.later } else { &mut destination.lanes };
        lanes.push(partition, key, value, headers, opaque);
    }

    /// Hands over the records of every partition that has none under way. `refused` gets results that are at fault themselves.
    pub(crate) fn dispatch(&mut self, now_ns: u64, refused: &mut Vec<Refused>) {
        while self.transaction.is_none()
            && let Some((partition, bundle)) = self.due_letter(now_ns)
        {
            self.dead_letters.lanes.push_bundle(partition, bundle);
        }
        for to in [To::Results, To::DeadLetters] {
            while self.fatal.is_none() && self.transaction.as_ref().is_none_or(Transaction::may_produce) {
                let Some((partition, mut bundle)) = self.destination(to).lanes.next(now_ns) else { break };
                self.send_bundle(to, partition, &mut bundle, now_ns, refused);
                self.destination(to).lanes.give_back(bundle);
            }
        }
        self.single_out(now_ns, refused);
    }

    fn send_bundle(&mut self, to: To, partition: i32, bundle: &mut Bundle, now_ns: u64, refused: &mut Vec<Refused>) {
        let (not_before_ns, room_not_before_ns) = (now_ns + self.backoff_ns, now_ns + self.room_backoff_ns);
        let (producer, destination) = match to {
            To::Results => (&mut self.producer, &mut self.results),
            To::DeadLetters => (&mut self.producer, &mut self.dead_letters),
        };
        let (lanes, mut invalid, mut met, mut is_spoilt) = (&mut destination.lanes, Vec::new(), None, false);
        let sent = producer.send_bundle(&destination.topic, partition, bundle, |rejected| {
            let Rejected { key, value, headers, opaque, code } = rejected;
            met = Some(code);
            // What the client has no room for goes a little later in the same transaction: the next one would be as large.
            is_spoilt |= code != ErrorCode::QueueFull;
            match fate(code, if code == ErrorCode::QueueFull { room_not_before_ns } else { not_before_ns }) {
                None => invalid.push((lone(key, value, headers, opaque), code)),
                Some(fate) => lanes.rejected(partition, key, value, headers, opaque, fate),
            }
        });
        self.in_flight += sent;
        self.destination(to).lanes.sent(partition, sent);
        if let Some(code) = met {
            self.note(to, code, now_ns);
            self.back_off(code);
            if is_spoilt {
                self.doom(|| format!("the client does not take a record of it: {code}"));
            }
        }
        for (record, code) in invalid {
            self.refuse(to, partition, record, code, now_ns, refused);
        }
    }

    /// A dead letter that the broker has refused and that may be tried again.
    pub(crate) fn due_letter(&mut self, now_ns: u64) -> Option<(i32, Bundle)> {
        self.stuck.pop_front_if(|stuck| stuck.not_before_ns <= now_ns).map(|stuck| (stuck.partition, stuck.bundle))
    }

    /// The records whose dead letters the broker has refused.
    pub(crate) fn stuck_records(&self) -> impl Iterator<Item = u64> {
        self.stuck.iter().flat_map(|stuck| stuck.bundle.opaques())
    }

    /// Takes back what waits to be sent and `is_its`: destination, partition, and the record in a bundle of its own.
    pub(crate) fn take_back(&mut self, is_its: impl Fn(u64) -> bool) -> Vec<(To, i32, Bundle)> {
        let mut taken = Vec::new();
        for (to, destination) in [(To::Results, &mut self.results), (To::DeadLetters, &mut self.dead_letters)] {
            destination.lanes.take_back(&is_its, |partition, record| taken.push((to, partition, record)));
        }
        taken
    }

    /// What an error says beyond its record.
    fn note(&mut self, to: To, code: ErrorCode, now_ns: u64) {
        match classify(code) {
            Class::Topic => {
                self.blocked.get_or_insert(Blocked { to, code, since_ns: now_ns });
            }
            Class::Fatal => self.fatal = Some(code),
            Class::MayPass | Class::TooLarge | Class::Invalid => {}
        }
    }

    fn back_off(&mut self, code: ErrorCode) {
        let pause_ns = if code == ErrorCode::QueueFull { &mut self.room_backoff_ns } else { &mut self.backoff_ns };
        if !matches!(fate(code, 0), Some(Fate::Again | Fate::TooLarge)) {
            *pause_ns = (*pause_ns * 2).min(BACKOFF_MAX_NS);
        }
    }

    /// A record that is at fault itself: a result is given up to the caller, a dead letter is kept.
    fn refuse(&mut self, to: To, partition: i32, mut record: Bundle, code: ErrorCode, now_ns: u64, refused: &mut Vec<Refused>) {
        match to {
            To::Results => record.drain(|_, _, _, opaque| refused.push(Refused { opaque, code, class: classify(code) })),
            To::DeadLetters => self.stuck.push_back(Stuck { partition, bundle: record, not_before_ns: now_ns + STUCK_PAUSE_NS }),
        }
    }

    /// Acts on the records that were refused for their size when they went alone.
    fn single_out(&mut self, now_ns: u64, refused: &mut Vec<Refused>) {
        for to in [To::Results, To::DeadLetters] {
            while let Some((partition, record)) = self.destination(to).lanes.singled_out() {
                self.refuse(to, partition, record, ErrorCode::MessageSizeTooLarge, now_ns, refused);
            }
        }
    }

    /// Serves delivery reports, waiting up to `wait` for the first: `acknowledged` gets what the broker has taken, and what nobody waits for any more; `refused` what it never will. The rest is kept to be sent again.
    pub(crate) fn reports(
        &mut self,
        wait: Duration,
        now_ns: u64,
        acknowledged: &mut Vec<u64>,
        refused: &mut Vec<Refused>,
        spent: &mut ResultHeaders,
        find: impl Fn(u64) -> Option<super::Class>,
    ) {
        let (not_before_ns, is_transactional) = (now_ns + self.backoff_ns, self.transaction.is_some());
        let (mut taken, mut spoilt, mut invalid, mut met) = (false, None, Vec::new(), Vec::new());
        let (results, dead_letters) = (&mut self.results, &mut self.dead_letters);
        let served = self.producer.reports(wait, |mut report| {
            let (opaque, partition) = (report.opaque(), report.partition());
            let (to, lanes) = if report.is_of(&results.topic) { (To::Results, &mut results.lanes) } else { (To::DeadLetters, &mut dead_letters.lanes) };
            let class = find(opaque);
            let error = report.error();
            taken |= error.is_none();
            // Whoever the record belonged to: the client can only abort now, and sends nothing more before it does.
            spoilt = spoilt.or(error);
            if is_transactional && error.is_none() && class.is_some() {
                let headers = report.take_headers().unwrap_or_else(|| Headers::with_capacity(0));
                return lanes.keep(partition, report.key(), report.value(), headers, opaque);
            }
            let Some(code) = error.filter(|_| class.is_some()) else {
                acknowledged.push(opaque);
                lanes.reported(partition);
                if to == To::Results && class == Some(super::Class::Succeeded) {
                    report.take_headers().into_iter().for_each(|headers| spent.give_back(headers));
                }
                return;
            };
            let headers = report.take_headers().unwrap_or_else(|| Headers::with_capacity(0));
            let (key, value) = (report.key(), report.value());
            match fate(code, not_before_ns) {
                None => {
                    invalid.push((to, partition, lone(key, value, headers, opaque), code));
                    lanes.reported(partition);
                }
                Some(fate) => lanes.came_back(partition, key, value, headers, opaque, fate),
            }
            if !met.contains(&(to, code)) {
                met.push((to, code));
            }
        });
        self.in_flight = self.in_flight.saturating_sub(served);
        if taken {
            self.room_backoff_ns = BACKOFF_MIN_NS;
        }
        // What a transaction has taken counts when it is committed.
        if taken && !is_transactional {
            self.backoff_ns = BACKOFF_MIN_NS;
            self.blocked = None;
        }
        for (to, code) in met {
            self.note(to, code, now_ns);
            self.back_off(code);
        }
        if let Some(code) = spoilt {
            self.doom(|| format!("the broker does not take a record of it: {code}"));
        }
        for (to, partition, record, code) in invalid {
            self.refuse(to, partition, record, code, now_ns, refused);
        }
        self.single_out(now_ns, refused);
    }

    /// Passes on what the client has to say while nothing is under way.
    pub(crate) fn idle(&self) {
        self.producer.reports(Duration::ZERO, |_| {});
    }

    /// Forgets waiting records that `is_stale`: their partition belongs to somebody else now.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut gone = Vec::new();
        self.results.lanes.forget(&is_stale, &mut gone);
        self.dead_letters.lanes.forget(&is_stale, &mut gone);
        self.results.later.forget(&is_stale, &mut gone);
        self.dead_letters.later.forget(&is_stale, &mut gone);
        self.stuck.iter_mut().for_each(|stuck| stuck.bundle.forget(&is_stale, &mut gone));
        self.stuck.retain(|stuck| !stuck.bundle.is_empty());
        if let Some(transaction) = &mut self.transaction {
            transaction.forget(&is_stale, &mut gone);
        }
        gone
    }

    /// Whether new records may be taken.
    pub(crate) fn is_clear(&self) -> bool {
        self.fatal.is_none() && self.stuck.len() < STUCK_MAX && !self.lanes().into_iter().any(Lanes::is_held_back)
    }

    /// Records that wait to be handed over, or whose report has not been served.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight + self.lanes().into_iter().chain([&self.results.later, &self.dead_letters.later]).map(Lanes::waiting).sum::<usize>()
    }

    /// The transaction, in transactional delivery.
    pub(crate) fn transaction(&mut self) -> Option<&mut Transaction> {
        self.transaction.as_mut()
    }

    /// Whether everything of the open transaction is acknowledged.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.lanes().into_iter().all(|lanes| lanes.waiting() == 0)
    }

    /// Whether nothing is in the client's hands.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Records and bytes that are not committed.
    pub(crate) fn holding(&self) -> (usize, usize) {
        let all = self.lanes().into_iter().chain([&self.results.later, &self.dead_letters.later]).map(Lanes::holding);
        all.fold((self.in_flight(), 0), |(records, bytes), (more_records, more_bytes)| (records + more_records, bytes + more_bytes))
    }

    /// Whether a membership is wanted to commit with.
    pub(crate) fn wants_membership(&self, now_ns: u64) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.wants_membership(self.is_quiet(), now_ns))
    }

    /// Whether all the memory is taken that there is for what is not committed.
    pub(crate) fn is_full(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| self.holding().1 >= transaction.bytes_max())
    }

    /// The open transaction can only be aborted.
    pub(crate) fn doom(&mut self, reason: impl FnOnce() -> String) {
        if let Some(transaction) = &mut self.transaction {
            transaction.doom(reason);
        }
    }

    /// The transaction is committed: tells its records, and goes on with the next one.
    pub(crate) fn committed(&mut self, closed: &mut Vec<u64>, spent: &mut ResultHeaders, find: impl Fn(u64) -> Option<super::Class>) {
        (self.backoff_ns, self.blocked) = (BACKOFF_MIN_NS, None);
        self.results.lanes.committed(|opaque, headers| {
            closed.push(opaque);
            if find(opaque) == Some(super::Class::Succeeded) {
                spent.give_back(headers);
            }
        });
        self.dead_letters.lanes.committed(|opaque, _| closed.push(opaque));
        self.go_on();
    }

    /// The transaction is aborted: what was in it goes again, in the order of `place`. Returns what has none any more.
    pub(crate) fn aborted<K: Ord>(&mut self, place: impl Fn(u64) -> Option<K>) -> Vec<u64> {
        let mut gone = Vec::new();
        self.results.lanes.aborted(&place, &mut gone);
        self.dead_letters.lanes.aborted(&place, &mut gone);
        self.go_on();
        gone
    }

    fn go_on(&mut self) {
        for destination in [&mut self.results, &mut self.dead_letters] {
            destination.lanes.append(&mut destination.later);
        }
    }

    /// The topic that cannot be written to, if there is one.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        self.blocked
    }

    /// The error that made the client useless, if there is one.
    pub(crate) fn fatal(&self) -> Option<String> {
        let code = self.fatal?;
        Some(self.producer.fatal_error().map_or_else(|| code.to_string(), |(code, reason)| format!("{code}: {reason}")))
    }

    /// Dead letters that the broker refuses.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Records that came back so far, to be sent again.
    pub(crate) fn retries(&self) -> u64 {
        self.lanes().into_iter().map(Lanes::resent).sum()
    }

    /// Waits up to `wait` for what is under way, with the linger time cut short. The reports still have to be served.
    pub(crate) fn flush(&self, wait: Duration) {
        self.producer.flush_linger(wait);
    }
}

/// One record for itself.
fn lone(key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64) -> Bundle {
    let mut bundle = Bundle::default();
    bundle.push(key, value, headers, opaque);
    bundle
}

#[cfg(test)]
mod tests {
    use super::super::lanes::BundleMax;
    use super::*;
    use crate::pipeline::tests::{Cluster, DEAD, RESULTS};

    #[test]
    fn unknown_errors_may_pass() {
        assert_eq!(classify(ErrorCode::QueueFull), Class::MayPass);
        assert_eq!(classify(ErrorCode::MessageTimedOut), Class::MayPass);
        assert_eq!(classify(ErrorCode::NotEnoughReplicas), Class::MayPass);
        assert_eq!(classify(ErrorCode::Unknown), Class::MayPass);
    }

    #[test]
    fn a_full_queue_has_a_pause_of_its_own_which_ends_when_the_broker_takes_anything() {
        let cluster = Cluster::new();
        let options = [("bootstrap.servers", cluster.brokers()), ("queue.buffering.max.messages", "1"), ("linger.ms", "0")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let producer = Producer::new(&crate::kafka::client::producer_config(&options, 1_000)).unwrap();
        let to = |topic| Destination::new(&producer, topic, 1, || Lanes::new(BundleMax::of(&[]), 0)).unwrap();
        let (results, dead_letters) = (to(RESULTS), to(DEAD));
        let mut sink = Sink::new(producer, results, dead_letters, None);
        for opaque in [7, 8] {
            sink.send(Outgoing { to: To::Results, partition: 0, key: None, value: Some(b"{}"), headers: Headers::with_capacity(0), opaque });
        }
        sink.dispatch(0, &mut Vec::new());
        assert_eq!((sink.backoff_ns, sink.room_backoff_ns), (BACKOFF_MIN_NS, 2 * BACKOFF_MIN_NS));
        sink.back_off(ErrorCode::NotEnoughReplicas);
        assert_eq!((sink.backoff_ns, sink.room_backoff_ns), (2 * BACKOFF_MIN_NS, 2 * BACKOFF_MIN_NS));
        let (mut acknowledged, mut spent) = (Vec::new(), ResultHeaders::new(crate::pipeline::ResultHeaders::Source, "d"));
        while acknowledged.is_empty() {
            sink.reports(Duration::from_millis(100), 0, &mut acknowledged, &mut Vec::new(), &mut spent, |_| Some(crate::pipeline::Class::Succeeded));
        }
        assert_eq!((acknowledged, sink.room_backoff_ns), (vec![7], BACKOFF_MIN_NS));
    }

    #[test]
    fn records_and_topics_are_told_apart() {
        assert_eq!(classify(ErrorCode::MessageSizeTooLarge), Class::TooLarge);
        assert_eq!(classify(ErrorCode::InvalidRecord), Class::Invalid);
        assert_eq!(classify(ErrorCode::TopicAuthorizationFailed), Class::Topic);
        assert_eq!(classify(ErrorCode::UnknownTopic), Class::Topic);
        assert_eq!(classify(ErrorCode::Fatal), Class::Fatal);
    }
}
