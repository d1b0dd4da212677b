//! Results and dead letters to Kafka, and what the broker says about them.
//!
//! Three classes of error, three treatments ([`classify`]):
//! - **It may pass** (queue full, time-out, broker down, unknown): the same record again, with back-off and without limit. While records wait here the shard takes no new ones.
//! - **This record cannot be written** (too large, invalid): the caller makes a dead letter of it. A dead letter that cannot be written is kept and tried again for ever, for it has to hold the mark.
//! - **The topic cannot be written to** (gone, not ours) or the client is useless: the records are kept, the sink says since when, and the pipeline ends after a set time.
//!
//! The broker refuses a whole batch when one record makes it too large, so a record refused for its size is first tried *alone*; only then does its size count against it.

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::error::KafkaResult;

use crate::kafka::{Bundle, ErrorCode, Headers, Producer, Rejected, Report, Topic};

use super::lanes::Lanes;
use super::result_headers::ResultHeaders;

/// First pause before a record is sent again.
const BACKOFF_MIN_NS: u64 = 50_000_000;
/// Longest pause before a record is sent again.
const BACKOFF_MAX_NS: u64 = 5_000_000_000;
/// Pause between attempts at a dead letter that the broker refuses.
const STUCK_PAUSE_NS: u64 = 30_000_000_000;
/// Refused dead letters kept at once. When so many are stuck, no further record is taken.
const STUCK_MAX: usize = 1_000;
/// Records sent again in one turn, so that a shard with many keeps answering.
const RESENT_MAX: usize = 1_024;

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

/// A topic to write to, with its number of partitions.
pub(crate) struct Destination {
    pub(crate) topic: Topic,
    pub(crate) partitions: i32,
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

/// A record that waits to be sent (again).
struct Pending {
    to: To,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
    opaque: u64,
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
    /// Results that were not sent yet.
    lanes: Lanes,
    /// To be sent again, in order.
    pending: VecDeque<Pending>,
    /// To be sent alone, one after the other.
    suspects: VecDeque<Pending>,
    /// The suspect that is under way.
    alone: Option<u64>,
    /// Dead letters that the broker refuses.
    stuck: VecDeque<Pending>,
    backoff_ns: u64,
    blocked: Option<Blocked>,
    fatal: Option<ErrorCode>,
    in_flight: usize,
    retries: u64,
}

/// A topic that cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) to: To,
    pub(crate) code: ErrorCode,
    pub(crate) since_ns: u64,
}

impl Sink {
    pub(crate) fn new(producer: Producer, result_topic: (&str, i32), dead_letter_topic: (&str, i32), lanes: Lanes) -> KafkaResult<Self> {
        let results = Destination { topic: producer.topic(result_topic.0)?, partitions: result_topic.1 };
        let dead_letters = Destination { topic: producer.topic(dead_letter_topic.0)?, partitions: dead_letter_topic.1 };
        Ok(Self {
            producer,
            results,
            dead_letters,
            lanes,
            pending: VecDeque::new(),
            suspects: VecDeque::new(),
            alone: None,
            stuck: VecDeque::new(),
            backoff_ns: BACKOFF_MIN_NS,
            blocked: None,
            fatal: None,
            in_flight: 0,
            retries: 0,
        })
    }

    fn destination(&self, to: To) -> &Destination {
        match to {
            To::Results => &self.results,
            To::DeadLetters => &self.dead_letters,
        }
    }

    /// How many partitions a destination has.
    pub(crate) fn partitions(&self, to: To) -> i32 {
        self.destination(to).partitions
    }

    /// Sends a record, or keeps it to be sent later. A result waits for [`Sink::dispatch`].
    ///
    /// # Errors
    /// The record itself is at fault: it was not kept.
    pub(crate) fn send(&mut self, record: Outgoing<'_>, now_ns: u64) -> Result<(), Refused> {
        if !self.pending.is_empty() || self.alone.is_some() {
            self.pending.push_back(Pending::new(record));
            return Ok(());
        }
        let Outgoing { to, partition, key, value, headers, opaque } = record;
        if to == To::Results {
            self.lanes.push(partition, key, value, headers, opaque);
            return Ok(());
        }
        match self.producer.send(&self.destination(to).topic, partition, key, value, headers, opaque) {
            Ok(()) => {
                self.in_flight += 1;
                Ok(())
            }
            Err((code, headers)) => self.keep(Pending::new(Outgoing { to, partition, key, value, headers, opaque }), code, now_ns),
        }
    }

    /// Hands over the results of every partition that has none under way. `refused` gets those that are at fault themselves.
    pub(crate) fn dispatch(&mut self, now_ns: u64, refused: &mut Vec<Refused>) {
        // What waits to be sent again comes first.
        while self.pending.is_empty() && self.alone.is_none() && self.fatal.is_none() {
            let Some((partition, mut bundle)) = self.lanes.next() else { return };
            self.send_bundle(partition, &mut bundle, now_ns, refused);
            self.lanes.give_back(bundle);
        }
    }

    fn send_bundle(&mut self, partition: i32, bundle: &mut Bundle, now_ns: u64, refused: &mut Vec<Refused>) {
        let mut back = Vec::new();
        let sent = self.producer.send_bundle(&self.results.topic, partition, bundle, |rejected| {
            let Rejected { key, value, headers, opaque, code } = rejected;
            back.push((Pending::new(Outgoing { to: To::Results, partition, key, value, headers, opaque }), code));
        });
        self.in_flight += sent;
        self.lanes.sent(partition, sent);
        for (record, code) in back {
            refused.extend(self.keep(record, code, now_ns).err());
        }
    }

    fn keep(&mut self, mut record: Pending, code: ErrorCode, now_ns: u64) -> Result<(), Refused> {
        match classify(code) {
            class @ (Class::TooLarge | Class::Invalid) => {
                let opaque = record.opaque;
                if record.to == To::Results {
                    return Err(Refused { opaque, code, class });
                }
                record.not_before_ns = now_ns + STUCK_PAUSE_NS;
                self.stuck.push_back(record);
                return Ok(());
            }
            Class::Topic => {
                self.blocked.get_or_insert(Blocked { to: record.to, code, since_ns: now_ns });
            }
            Class::Fatal => self.fatal = Some(code),
            Class::MayPass => {}
        }
        record.not_before_ns = now_ns + self.backoff_ns;
        self.pending.push_back(record);
        Ok(())
    }

    /// Sends again what is due.
    ///
    /// # Errors
    /// A record turned out to be at fault itself: it was not kept. The others stay, so call again.
    pub(crate) fn resend(&mut self, now_ns: u64) -> Result<(), Refused> {
        if self.alone.is_none() && self.in_flight() == 0 && self.pending.is_empty() {
            self.send_suspect(now_ns)?;
        }
        if self.alone.is_some() {
            return Ok(());
        }
        if self.stuck.front().is_some_and(|record| record.not_before_ns <= now_ns) {
            self.pending.extend(self.stuck.pop_front());
        }
        for _ in 0..RESENT_MAX {
            let Some(record) = self.pending.pop_front_if(|record| record.not_before_ns <= now_ns) else { break };
            if let Some((record, code)) = self.try_send(record) {
                let refused = self.keep_first(record, code, now_ns);
                self.backoff_ns = (self.backoff_ns * 2).min(BACKOFF_MAX_NS);
                return refused;
            }
        }
        Ok(())
    }

    /// A record that could not be sent again goes back to the front, so that the order stays.
    fn keep_first(&mut self, record: Pending, code: ErrorCode, now_ns: u64) -> Result<(), Refused> {
        let before = self.pending.len();
        self.keep(record, code, now_ns)?;
        if self.pending.len() > before {
            let record = self.pending.pop_back().expect("it was put there just now");
            self.pending.push_front(record);
        }
        Ok(())
    }

    fn send_suspect(&mut self, now_ns: u64) -> Result<(), Refused> {
        let Some(record) = self.suspects.pop_front() else { return Ok(()) };
        let opaque = record.opaque;
        match self.try_send(record) {
            None => {
                self.alone = Some(opaque);
                Ok(())
            }
            Some((record, code)) => self.keep(record, code, now_ns),
        }
    }

    fn try_send(&mut self, record: Pending) -> Option<(Pending, ErrorCode)> {
        self.retries += 1;
        let Pending { to, partition, key, value, headers, opaque, not_before_ns } = record;
        match self.producer.send(&self.destination(to).topic, partition, key.as_deref(), value.as_deref(), headers, opaque) {
            Ok(()) => {
                self.in_flight += 1;
                if to == To::Results {
                    self.lanes.sent(partition, 1);
                }
                None
            }
            Err((code, headers)) => Some((Pending { to, partition, key, value, headers, opaque, not_before_ns }, code)),
        }
    }

    /// Serves delivery reports, waiting up to `wait` for the first: `acknowledged` gets what the broker has taken, `refused` what it never will. The rest is kept to be sent again.
    pub(crate) fn reports(
        &mut self,
        wait: Duration,
        now_ns: u64,
        acknowledged: &mut Vec<u64>,
        refused: &mut Vec<Refused>,
        spent: &mut ResultHeaders,
        find: impl Fn(u64) -> Option<(To, super::Class)>,
    ) {
        let before = acknowledged.len();
        let mut again: Vec<(Pending, ErrorCode)> = Vec::new();
        let (lanes, results) = (&mut self.lanes, &self.results.topic);
        let served = self.producer.reports(wait, |mut report| {
            let opaque = report.opaque();
            if report.is_of(results) {
                lanes.reported(report.partition());
            }
            match report.error() {
                None => {
                    acknowledged.push(opaque);
                    if find(opaque) == Some((To::Results, super::Class::Succeeded)) {
                        report.take_headers().into_iter().for_each(|headers| spent.give_back(headers));
                    }
                }
                Some(code) => again.push((Pending::of(report, find(opaque).map_or(To::Results, |(to, _)| to)), code)),
            }
        });
        self.in_flight = self.in_flight.saturating_sub(served);
        if acknowledged.len() > before {
            self.backoff_ns = BACKOFF_MIN_NS;
            self.blocked = None;
            if let Some(alone) = self.alone
                && acknowledged[before..].contains(&alone)
            {
                self.alone = None;
            }
        }
        let failed = !again.is_empty();
        for (record, code) in again {
            refused.extend(self.refuse(record, code, now_ns));
        }
        if failed {
            self.backoff_ns = (self.backoff_ns * 2).min(BACKOFF_MAX_NS);
        }
    }

    fn refuse(&mut self, record: Pending, code: ErrorCode, now_ns: u64) -> Option<Refused> {
        let was_alone = self.alone == Some(record.opaque);
        if was_alone {
            self.alone = None;
        }
        if classify(code) == Class::TooLarge && !was_alone {
            self.suspects.push_back(record);
            return None;
        }
        self.keep(record, code, now_ns).err()
    }

    /// Passes on what the client has to say while nothing is under way.
    pub(crate) fn idle(&self) {
        self.producer.reports(Duration::ZERO, |_| {});
    }

    /// Forgets waiting records that `is_stale`: their partition belongs to somebody else now.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut gone = Vec::new();
        self.lanes.forget(&is_stale, &mut gone);
        for queue in [&mut self.pending, &mut self.suspects, &mut self.stuck] {
            queue.retain(|record| {
                let stale = is_stale(record.opaque);
                if stale {
                    gone.push(record.opaque);
                }
                !stale
            });
        }
        gone
    }

    /// Whether new records may be taken.
    pub(crate) fn is_clear(&self) -> bool {
        self.pending.is_empty() && self.suspects.is_empty() && self.alone.is_none() && self.stuck.len() < STUCK_MAX && self.fatal.is_none()
    }

    /// Records that wait to be handed over, or whose report has not been served.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight + self.lanes.waiting()
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

    /// Records sent again so far.
    pub(crate) fn retries(&self) -> u64 {
        self.retries
    }

    /// Waits up to `wait` for what is under way, with the linger time cut short. The reports still have to be served.
    pub(crate) fn flush(&self, wait: Duration) {
        self.producer.flush_linger(wait);
    }
}

impl Pending {
    fn new(record: Outgoing<'_>) -> Self {
        let Outgoing { to, partition, key, value, headers, opaque } = record;
        Self { to, partition, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), headers, opaque, not_before_ns: 0 }
    }

    fn of(mut report: Report<'_>, to: To) -> Self {
        let headers = report.take_headers().unwrap_or_else(|| Headers::with_capacity(0));
        let (key, value) = (report.key(), report.value());
        Self::new(Outgoing { to, partition: report.partition(), key, value, headers, opaque: report.opaque() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_errors_may_pass() {
        assert_eq!(classify(ErrorCode::QueueFull), Class::MayPass);
        assert_eq!(classify(ErrorCode::MessageTimedOut), Class::MayPass);
        assert_eq!(classify(ErrorCode::NotEnoughReplicas), Class::MayPass);
        assert_eq!(classify(ErrorCode::Unknown), Class::MayPass);
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
