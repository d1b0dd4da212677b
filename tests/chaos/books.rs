//! The books of a long run: five bytes a record, whatever happens.
//!
//! A record that the source topic acknowledged is owed an outcome, kept by its position. Outcomes may be read before the acknowledgement is booked; they wait. Once nothing is under way, an outcome that still waits has no record: it is unknown, unless its record was sent and never acknowledged, which a broker that dies may well have kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::edition::{EDITIONS, Edition};
use crate::record;
use crate::run::UNEXPLAINED;

/// Where a record lies in the source topic: partition and offset.
pub(crate) type Position = (usize, usize);

/// Stands for an offset that nobody has acknowledged.
const NOBODY: u32 = u32::MAX;
/// Texts and positions that are kept of each kind of finding; all are counted.
const SHOWN_MAX: usize = 20;

/// What came out for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of which record, by the outcome's own header.
    pub(crate) position: Position,
    /// Its key.
    pub(crate) key: Vec<u8>,
    /// Its value.
    pub(crate) value: Vec<u8>,
    /// The definition's version under which it ran, where its headers say so.
    pub(crate) version: Option<String>,
    /// How it ended.
    pub(crate) end: End,
}

/// A result or a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// A result with its status, and the name of its execution.
    Result(String, String),
    /// A dead letter with its reason.
    DeadLetter(String),
}

/// What an outcome was to the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Booked {
    /// The first of its record.
    First,
    /// Another one of its record.
    Repeated,
    /// Of a record that is not acknowledged yet.
    Waits,
}

/// A partition's records.
#[derive(Debug, Default)]
struct Partition {
    /// The id at each offset.
    ids: Vec<u32>,
    /// One bit for each offset: whether it has an outcome.
    settled: Vec<u64>,
    /// Offsets that there were when the last round was closed.
    closed: usize,
}

impl Partition {
    fn id(&self, offset: usize) -> Option<u32> {
        self.ids.get(offset).copied().filter(|&id| id != NOBODY)
    }

    fn is_settled(&self, offset: usize) -> bool {
        self.settled.get(offset / 64).is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    fn settle(&mut self, offset: usize) {
        if self.settled.len() <= offset / 64 {
            self.settled.resize(offset / 64 + 1, 0);
        }
        self.settled[offset / 64] |= 1 << (offset % 64);
    }
}

/// Findings of one kind: the first few, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The first ones.
    pub(crate) shown: Vec<String>,
    /// All of them.
    pub(crate) count: u64,
}

impl Findings {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(text());
        }
    }
}

/// All that is owed and all that was paid.
#[derive(Debug, Default)]
pub(crate) struct Books {
    topic: String,
    /// The versions of the definition's editions.
    versions: Vec<(String, Edition)>,
    partitions: Vec<Partition>,
    waiting: Vec<Outcome>,
    refused: BTreeSet<u32>,
    /// Whether the result topic was ever made to refuse records for their size.
    pub(crate) topic_was_full: bool,
    /// The fault that began last in this round; duplicates are put down to it.
    pub(crate) fault: &'static str,
    /// The same of the round before: what it made run twice may end the second time after the round is closed.
    fault_before: &'static str,
    /// Records acknowledged by the source topic.
    pub(crate) owed: u64,
    /// Of these, with an outcome.
    pub(crate) settled: u64,
    /// First outcomes that are results.
    pub(crate) results: u64,
    /// First outcomes that are dead letters.
    pub(crate) dead_letters: u64,
    /// Of these, the ones whose result was too large for a result topic made small.
    pub(crate) too_large: u64,
    /// Outcomes beyond the first, by the fault before them in the round.
    pub(crate) duplicates: BTreeMap<&'static str, u64>,
    /// Outcomes of records that were sent and never acknowledged.
    pub(crate) unacknowledged: u64,
    /// Outcomes of no record.
    pub(crate) unknown: Findings,
    /// Outcomes whose payload is not their record's.
    pub(crate) wrong: Findings,
}

impl Books {
    /// Books of a source topic.
    pub(crate) fn new(topic: &str, partitions: usize) -> Result<Self, String> {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        let versions = EDITIONS.into_iter().map(|edition| Ok((edition.version()?, edition))).collect::<Result<_, String>>()?;
        Ok(Self { topic: topic.to_owned(), versions, partitions, fault: "none", fault_before: "none", ..Self::default() })
    }

    /// The source topic took a record.
    pub(crate) fn acknowledged(&mut self, (partition, offset): Position, id: u32) {
        let ids = &mut self.partitions[partition].ids;
        if ids.len() <= offset {
            ids.resize(offset + 1, NOBODY);
        }
        ids[offset] = id;
        self.owed += 1;
    }

    /// The source topic did not say that it took a record.
    pub(crate) fn refused(&mut self, id: u32) {
        self.refused.insert(id);
    }

    /// How many records the source topic never acknowledged.
    pub(crate) fn refused_count(&self) -> usize {
        self.refused.len()
    }

    /// Books what came out.
    pub(crate) fn outcome(&mut self, outcome: Outcome) -> Booked {
        let (partition, offset) = outcome.position;
        let Some(id) = self.partitions.get(partition).and_then(|partition| partition.id(offset)) else {
            self.waiting.push(outcome);
            return Booked::Waits;
        };
        self.check(id, &outcome);
        let place = &mut self.partitions[partition];
        if place.is_settled(offset) {
            let fault = if offset < place.closed && self.fault == UNEXPLAINED { self.fault_before } else { self.fault };
            *self.duplicates.entry(fault).or_default() += 1;
            return Booked::Repeated;
        }
        place.settle(offset);
        self.settled += 1;
        match &outcome.end {
            End::Result(..) => self.results += 1,
            End::DeadLetter(reason) => {
                self.dead_letters += 1;
                self.too_large += u64::from(reason == "result_too_large");
            }
        }
        Booked::First
    }

    /// Books the outcomes that came before their record's acknowledgement, where that has come by now.
    pub(crate) fn rebook(&mut self) {
        for outcome in std::mem::take(&mut self.waiting) {
            self.outcome(outcome);
        }
    }

    /// When nothing is owed any more: what still waits is of no acknowledged record.
    pub(crate) fn close_round(&mut self) {
        self.rebook();
        self.fault_before = self.fault;
        self.partitions.iter_mut().for_each(|place| place.closed = place.ids.len());
        for outcome in std::mem::take(&mut self.waiting) {
            let of_refused = self.refused.iter().any(|&id| self.problem(id, &outcome).is_none());
            if of_refused {
                self.unacknowledged += 1;
            } else {
                self.unknown.add(|| format!("{:?} with {}", outcome.position, String::from_utf8_lossy(&outcome.value)));
            }
        }
    }

    /// An outcome that does not even say of which record it is.
    pub(crate) fn nameless(&mut self, what: &str) {
        self.unknown.add(|| what.to_owned());
    }

    /// The first records without an outcome.
    pub(crate) fn missing(&self) -> Vec<String> {
        let all = self.partitions.iter().enumerate().flat_map(|(partition, place)| {
            let open = (0..place.ids.len()).filter(|&offset| !place.is_settled(offset));
            open.filter_map(move |offset| Some(format!("seq {} at {partition}/{offset}", place.id(offset)?)))
        });
        all.take(SHOWN_MAX).collect()
    }

    fn check(&mut self, id: u32, outcome: &Outcome) {
        if let Some(problem) = self.problem(id, outcome) {
            self.wrong.add(|| format!("seq {id} at {:?}: {problem}", outcome.position));
        }
    }

    /// What is wrong with an outcome of the record `id`.
    fn problem(&self, id: u32, outcome: &Outcome) -> Option<String> {
        let (partition, offset) = outcome.position;
        let name = format!("{}-{partition}-{offset}", self.topic);
        let found = String::from_utf8_lossy(&outcome.value);
        if outcome.key != record::key(id).as_bytes() {
            return Some(format!("the key is {}", String::from_utf8_lossy(&outcome.key)));
        }
        // An outcome that names its version is that edition's; another one may be any edition's.
        let mut editions =
            self.versions.iter().filter(|(version, _)| outcome.version.as_ref().is_none_or(|named| named == version)).map(|(_, edition)| *edition);
        let Some(first) = editions.next() else { return Some(format!("the version is {:?}", outcome.version)) };
        match &outcome.end {
            End::Result(_, execution) if *execution != name => Some(format!("the execution is called {execution}")),
            End::Result(status, _) => {
                let is_wanted = |edition| record::result(id, &name, edition).is_some_and(|(wanted, value)| wanted == status && same(&value, &outcome.value));
                let fits = is_wanted(first) || editions.any(is_wanted);
                (!fits).then(|| format!("the result is {status} {found} under {:?}, expected {:?}", outcome.version, record::result(id, &name, first)))
            }
            End::DeadLetter(reason) if !record::may_be_dead(id, reason, self.topic_was_full) => Some(format!("a dead letter for {reason}: {found}")),
            End::DeadLetter(_) if record::value(id).as_bytes() != outcome.value => Some(format!("the dead letter is {found}")),
            End::DeadLetter(_) => None,
        }
    }
}

/// Whether a value is the expected one, byte by byte or at least as JSON.
fn same(expected: &str, found: &[u8]) -> bool {
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    expected.as_bytes() == found || json(found).is_some_and(|found| Some(found) == json(expected.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: u32, offset: usize) -> Outcome {
        let name = format!("t-0-{offset}");
        let (status, value) = record::result(id, &name, EDITIONS[0]).unwrap();
        Outcome {
            position: (0, offset),
            key: record::key(id).into_bytes(),
            value: value.into_bytes(),
            version: None,
            end: End::Result(status.to_owned(), name),
        }
    }

    fn dead_letter(id: u32, offset: usize, reason: &str) -> Outcome {
        let value = record::value(id).into_bytes();
        Outcome { position: (0, offset), key: record::key(id).into_bytes(), value, version: None, end: End::DeadLetter(reason.to_owned()) }
    }

    fn books() -> Books {
        let mut books = Books::new("t", 1).unwrap();
        for (offset, id) in [(70, 1), (71, 2), (72, 3)] {
            books.acknowledged((0, offset), id);
        }
        books
    }

    #[test]
    fn first_repeated_and_missing_outcomes_are_told_apart() {
        let mut books = books();
        assert_eq!(books.outcome(result(1, 70)), Booked::First);
        books.fault = "kill";
        assert_eq!(books.outcome(result(1, 70)), Booked::Repeated);
        assert_eq!(books.outcome(dead_letter(3, 72, "malformed_json")), Booked::First);
        assert_eq!((books.owed, books.settled, books.results, books.dead_letters, books.duplicates["kill"]), (3, 2, 1, 1, 1));
        assert_eq!(books.missing(), ["seq 2 at 0/71"]);
        assert_eq!((books.wrong.count, books.unknown.count), (0, 0));
    }

    #[test]
    fn what_a_round_made_run_twice_may_end_after_it() {
        let mut books = books();
        books.fault = "kill";
        assert_eq!((books.outcome(result(1, 70)), books.outcome(result(2, 71))), (Booked::First, Booked::First));
        books.close_round();
        books.fault = UNEXPLAINED;
        books.acknowledged((0, 80), 4);
        assert_eq!(
            (books.outcome(result(1, 70)), books.outcome(result(4, 80)), books.outcome(result(4, 80))),
            (Booked::Repeated, Booked::First, Booked::Repeated)
        );
        assert_eq!((books.duplicates["kill"], books.duplicates[UNEXPLAINED]), (1, 1), "a record of the new round has no such excuse");
    }

    #[test]
    fn an_outcome_before_its_acknowledgement_waits_and_one_without_is_unknown() {
        let mut books = books();
        assert_eq!((books.outcome(result(4, 73)), books.outcome(result(5, 74)), books.outcome(result(6, 75))), (Booked::Waits, Booked::Waits, Booked::Waits));
        books.acknowledged((0, 73), 4);
        books.refused(5);
        books.close_round();
        assert_eq!((books.settled, books.unacknowledged, books.unknown.count), (1, 1, 1));
    }

    #[test]
    fn wrong_payloads_keys_names_and_reasons_are_found() {
        let spoil = |spoil: &dyn Fn(&mut Outcome)| {
            let mut outcome = result(1, 70);
            spoil(&mut outcome);
            let mut books = books();
            books.outcome(outcome);
            books.wrong.count
        };
        assert_eq!(spoil(&|_| {}), 0);
        assert_eq!(spoil(&|outcome| outcome.value = result(2, 70).value), 1);
        assert_eq!(spoil(&|outcome| outcome.key = record::key(2).into_bytes()), 1);
        assert_eq!(spoil(&|outcome| outcome.end = End::Result("SUCCEEDED".to_owned(), "t-0-71".to_owned())), 1);
        assert_eq!(spoil(&|outcome| outcome.end = End::DeadLetter("panic".to_owned())), 1);
        let other = EDITIONS[1];
        let of_other = |outcome: &mut Outcome| outcome.value = record::result(1, "t-0-70", other).unwrap().1.into_bytes();
        assert_eq!(spoil(&of_other), 0, "without a version it may be any edition's");
        assert_eq!(spoil(&|outcome| outcome.version = Some(other.version().unwrap())), 1);
        assert_eq!(spoil(&|outcome| outcome.version = Some("unknown".to_owned())), 1);
        assert_eq!(spoil(&|outcome| (of_other(outcome), outcome.version = Some(other.version().unwrap())).1), 0);
        let mut full = books();
        full.topic_was_full = true;
        full.outcome(dead_letter(1, 70, "result_too_large"));
        assert_eq!((full.wrong.count, full.too_large), (0, 1));
        let mut full = books();
        full.outcome(dead_letter(1, 70, "result_too_large"));
        assert_eq!(full.wrong.count, 1);
    }
}
