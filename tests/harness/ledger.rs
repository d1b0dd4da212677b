//! The books: every record that a broker acknowledged is owed an outcome.
//!
//! A [`Feeder`] issues an id per record and notes, from the delivery reports alone, where each came to lie. [`Ledger::balance`] holds that against what result and dead-letter topics have: nothing owed may be missing, nothing unknown may be there, payloads must be the right ones; duplicates are counted.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::kafka::{Record, producer_config};
use crate::service::Service;

/// Where a record lies in the source topic.
pub type Position = (i32, i64);

/// What is owed.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Id of each acknowledged record, by position.
    owed: BTreeMap<Position, u64>,
    refused: u64,
}

/// The result of a reckoning.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Records acknowledged by the source topic.
    pub owed: usize,
    /// Distinct ones with a result.
    pub results: usize,
    /// Distinct ones with a dead letter.
    pub dead_letters: usize,
    /// Outcomes beyond the first of their record.
    pub duplicates: usize,
    /// Their positions.
    pub repeated: BTreeSet<Position>,
    /// Positions without an outcome.
    pub missing: Vec<Position>,
    /// Outcomes that no record is owed, or whose payload is another record's.
    pub wrong: Vec<String>,
}

impl Balance {
    /// Checks that the books balance.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn check(&self) -> Result<(), String> {
        if !self.missing.is_empty() {
            let first: Vec<_> = self.missing.iter().take(5).collect();
            return Err(format!("{} of {} records have no outcome, among them {first:?}", self.missing.len(), self.owed));
        }
        match self.wrong.first() {
            Some(first) => Err(format!("{} outcomes are wrong, the first: {first}", self.wrong.len())),
            None => Ok(()),
        }
    }

    /// Checks that the books balance and that no record was done twice.
    ///
    /// # Errors
    /// Says what is missing or wrong, or which stretches of which partitions were repeated.
    pub fn check_exact(&self) -> Result<(), String> {
        self.check()?;
        let mut stretches: Vec<(i32, i64, i64)> = Vec::new();
        for &(partition, offset) in &self.repeated {
            match stretches.last_mut() {
                Some((same, _, last)) if *same == partition && *last + 1 == offset => *last = offset,
                _ => stretches.push((partition, offset, offset)),
            }
        }
        if stretches.is_empty() { Ok(()) } else { Err(format!("{} records were done twice, as (partition, first, last): {stretches:?}", self.duplicates)) }
    }
}

impl Ledger {
    /// How many records are owed an outcome.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// How many records the broker did not take.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The position of each id.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<u64, Position> {
        self.owed.iter().map(|(position, id)| (*id, *position)).collect()
    }

    /// Holds what is owed against what came out of the source topic `source`.
    #[must_use]
    pub fn balance(&self, source: &str, results: &[Record], dead_letters: &[Record]) -> Balance {
        let mut balance = Balance { owed: self.owed.len(), ..Balance::default() };
        let mut settled = BTreeSet::new();
        for (record, is_result) in results.iter().map(|record| (record, true)).chain(dead_letters.iter().map(|record| (record, false))) {
            match self.check_outcome(source, record, is_result) {
                Err(problem) => balance.wrong.push(problem),
                Ok(position) if !settled.insert(position) => {
                    balance.duplicates += 1;
                    balance.repeated.insert(position);
                }
                Ok(_) if is_result => balance.results += 1,
                Ok(_) => balance.dead_letters += 1,
            }
        }
        balance.missing = self.owed.keys().filter(|position| !settled.contains(*position)).copied().collect();
        balance
    }

    fn check_outcome(&self, source: &str, record: &Record, is_result: bool) -> Result<Position, String> {
        let header = record.header("expressway-source");
        let position = parse_source(source, &header).ok_or_else(|| format!("a record from '{header}', which is not of {source}"))?;
        let id = self.owed.get(&position).ok_or_else(|| format!("a record from {header}, which was never acknowledged"))?;
        let name = format!("{source}-{}-{}", position.0, position.1);
        let execution = record.header("expressway-execution");
        if is_result && !execution.is_empty() && execution != name {
            return Err(format!("the execution of {header} is called '{execution}', expected '{name}'"));
        }
        // Failures have an error instead of an output; their record is told by the position alone.
        let output = record.json();
        let succeeded = matches!(record.header("expressway-status").as_str(), "" | "SUCCEEDED");
        if is_result && succeeded && output["seq"].as_u64() != Some(*id) {
            return Err(format!("the result of {header} is {output}, expected that of seq {id}"));
        }
        Ok(position)
    }
}

fn parse_source(source: &str, header: &str) -> Option<Position> {
    let (partition, offset) = header.strip_prefix(source)?.strip_prefix('/')?.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// Books delivery reports.
#[derive(Debug, Clone, Default)]
struct Bookkeeper {
    ledger: Arc<Mutex<Ledger>>,
}

impl ClientContext for Bookkeeper {}

impl ProducerContext for Bookkeeper {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, report: &DeliveryResult<'_>, id: Box<u64>) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        match report {
            Ok(message) => {
                ledger.owed.insert((message.partition(), message.offset()), *id);
            }
            Err(_) => ledger.refused += 1,
        }
    }
}

/// Produces records and keeps the ledger of them.
pub struct Feeder {
    producer: ThreadedProducer<Bookkeeper>,
    ledger: Arc<Mutex<Ledger>>,
    topic: String,
    next_id: u64,
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeder").field("topic", &self.topic).field("next_id", &self.next_id).finish_non_exhaustive()
    }
}

impl Feeder {
    /// A feeder of `topic`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(bootstrap: &str, topic: &str) -> Result<Self, String> {
        let books = Bookkeeper::default();
        let ledger = Arc::clone(&books.ledger);
        let producer = producer_config(bootstrap).create_with_context(books).map_err(|error| error.to_string())?;
        Ok(Self { producer, ledger, topic: topic.to_owned(), next_id: 0 })
    }

    /// Sends one record whose value is an errand: `{"seq": id, "type": kind, …more}`. The id is returned.
    ///
    /// # Errors
    /// When the client refuses it.
    pub fn errand(&mut self, partition: Option<i32>, kind: &str, more: &str) -> Result<u64, String> {
        let value = format!("{{\"seq\":{},\"type\":\"{kind}\"{more}}}", self.next_id);
        self.raw(partition, Some(value.as_bytes()))
    }

    /// Sends one record with any value, or none.
    ///
    /// # Errors
    /// When the client refuses it.
    pub fn raw(&mut self, partition: Option<i32>, value: Option<&[u8]>) -> Result<u64, String> {
        let id = self.next_id;
        let key = format!("device-{:04}", id % 1_000);
        let mut record = BaseRecord::<'_, str, [u8], Box<u64>>::with_opaque_to(&self.topic, Box::new(id)).key(&key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        let end = Instant::now() + Duration::from_secs(30);
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) || Instant::now() > end {
                return Err(error.to_string());
            }
            record = back;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.next_id += 1;
        Ok(id)
    }

    /// Sends `count` plain errands at `per_second`, calling `between` after each tenth of a second's worth.
    ///
    /// # Errors
    /// When a record is refused or `between` fails.
    pub fn stream(&mut self, count: u64, per_second: u64, mut between: impl FnMut(u64) -> Result<(), String>) -> Result<(), String> {
        let start = Instant::now();
        let slice = (per_second / 10).max(1);
        for sent in 0..count {
            if sent % slice == 0 {
                between(sent)?;
                let due = start + Duration::from_millis(sent * 1_000 / per_second.max(1));
                while let Some(early) = due.checked_duration_since(Instant::now()).filter(|early| !early.is_zero()) {
                    std::thread::park_timeout(early);
                }
            }
            self.errand(None, "plain", "")?;
        }
        Ok(())
    }

    /// As [`Feeder::stream`], while the service stands still from one of the records to another.
    ///
    /// # Errors
    /// When a record is refused or the service has ended.
    pub fn stream_past_pause(&mut self, count: u64, per_second: u64, service: &mut Service, pause: Range<u64>) -> Result<(), String> {
        self.stream(count, per_second, |sent| match sent {
            _ if sent == pause.start => service.signal("STOP"),
            _ if sent == pause.end => service.signal("CONT"),
            _ => Ok(()),
        })
    }

    /// Waits until every record is acknowledged or refused.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> Result<(), String> {
        self.producer.flush(limit).map_err(|error| error.to_string())
    }

    /// The books as they stand.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(source: &str, seq: u64) -> Record {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers =
            [header("expressway-source", source), header("expressway-execution", &source.replace('/', "-")), header("expressway-status", "SUCCEEDED")];
        Record { partition: 0, offset: 0, key: None, value: Some(format!("{{\"seq\":{seq}}}").into_bytes()), headers: headers.into() }
    }

    fn ledger() -> Ledger {
        Ledger { owed: BTreeMap::from([((0, 5), 1), ((1, 7), 2)]), refused: 0 }
    }

    #[test]
    fn balanced_books_count_duplicates() {
        let balance = ledger().balance("t", &[outcome("t/0/5", 1), outcome("t/1/7", 2), outcome("t/1/7", 2)], &[]);
        assert_eq!((balance.results, balance.duplicates, balance.check()), (2, 1, Ok(())));
    }

    #[test]
    fn missing_unknown_and_mixed_up_outcomes_are_found() {
        assert_eq!(ledger().balance("t", &[outcome("t/0/5", 1)], &[]).missing, [(1, 7)]);
        assert_eq!(ledger().balance("t", &[outcome("t/0/6", 1)], &[]).wrong.len(), 1);
        assert_eq!(ledger().balance("t", &[outcome("t/0/5", 2)], &[]).wrong.len(), 1);
        assert_eq!(ledger().balance("t", &[outcome("u/0/5", 1)], &[]).wrong.len(), 1);
    }
}
