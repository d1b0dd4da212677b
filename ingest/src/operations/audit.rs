//! The books of a range: every record of the source topic against the results and dead letters that name it.
//!
//! Read in this order, so that a service at work does not disturb it: first the range of the source topic, then results and dead letters up to where they end after that. Two bits are kept for each offset of the range, *a record is there* and *its end is there*, and one more where it had no value; so the memory goes with the range and not with the topics that are read.
//!
//! Offsets without a record are no debt: a compacted topic has gaps, and a transaction ends with a marker that takes an offset. A record without an end is *missing* where the group has committed past it, and *unfinished* where it has not: then it is under way, or still to be read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rdkafka::message::{BorrowedMessage, Message as _};
use serde_json::{Value, json};

use super::PROGRESS_EVERY_NS;
use super::cluster::{Cluster, Range};
use super::header::{DEFINITION, HeaderList, SOURCE, STATUS};
use super::interrupt::Interrupt;
use super::reader::{Turn, read};
use crate::clock::Clock;
use crate::error::Error;

/// Offsets of all ranges of one audit: at two to three bits each, 384 MiB.
pub(crate) const OFFSETS_MAX: u64 = 1 << 30;

/// What is audited.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The source topic.
    pub(crate) topic: String,
    /// Its parts.
    pub(crate) ranges: Vec<Range>,
    /// For each part, up to where the service has committed; `None` when no group is known, and then everything without an end counts as missing.
    pub(crate) committed: Option<Vec<i64>>,
    /// Topic of results.
    pub(crate) results: String,
    /// Topic of dead letters.
    pub(crate) dead_letters: String,
    /// Offsets of the topic behind what is committed that are no part of `ranges`, and the first of them: they are not judged.
    pub(crate) behind: Option<Behind>,
    /// Name of the definition; results and dead letters that name another one are none of this audit.
    pub(crate) definition: Option<String>,
    /// Results and dead letters are read from this time on, in milliseconds since the Unix epoch.
    pub(crate) since_ms: Option<i64>,
    /// Whether the service passes over records without a value.
    pub(crate) skips_null: bool,
    /// How many missing records and how many duplicates are named.
    pub(crate) named_max: usize,
}

/// What lies behind the committed offsets and is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// How many offsets, of all partitions together.
    pub(crate) offsets: u64,
    /// The lowest of them.
    pub(crate) from: i64,
}

impl Behind {
    /// What `ranges`, cut at what is committed, leave out of a topic whose partitions reached to `ends`.
    pub(crate) fn of(ranges: &[Range], ends: &[i64]) -> Option<Self> {
        let left = || ranges.iter().zip(ends).filter(|(range, end)| range.to < **end);
        let offsets = left().map(|(range, end)| u64::try_from(end - range.to).unwrap_or(0)).sum();
        left().map(|(range, _)| range.to).min().map(|from| Self { offsets, from })
    }
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
    TimedOut,
    DeadLettered,
}

/// The books of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Records in the range.
    pub(crate) records: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) dead_lettered: u64,
    /// Records without a value, which the service passes over.
    pub(crate) skipped: u64,
    /// Records without an end that are not committed.
    pub(crate) unfinished: u64,
    /// Records without an end, although they are committed.
    pub(crate) missing: u64,
    /// Offsets without a record.
    pub(crate) gaps: u64,
    /// Ends beyond the first of a record.
    pub(crate) duplicates: u64,
    /// Ends of records that are no longer in the source topic.
    pub(crate) ends_of_gaps: u64,
}

impl Account {
    fn add(&mut self, other: &Self) {
        for (sum, one) in [
            (&mut self.records, other.records),
            (&mut self.succeeded, other.succeeded),
            (&mut self.failed, other.failed),
            (&mut self.timed_out, other.timed_out),
            (&mut self.dead_lettered, other.dead_lettered),
            (&mut self.skipped, other.skipped),
            (&mut self.unfinished, other.unfinished),
            (&mut self.missing, other.missing),
            (&mut self.gaps, other.gaps),
            (&mut self.duplicates, other.duplicates),
            (&mut self.ends_of_gaps, other.ends_of_gaps),
        ] {
            *sum += one;
        }
    }

    fn json(&self) -> Value {
        json!({
            "records": self.records, "succeeded": self.succeeded, "failed": self.failed, "timed_out": self.timed_out, "dead_lettered": self.dead_lettered,
            "skipped": self.skipped, "unfinished": self.unfinished, "missing": self.missing, "duplicates": self.duplicates, "gaps": self.gaps,
            "ends_of_gaps": self.ends_of_gaps,
        })
    }
}

/// The outcome of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The books by partition.
    pub(crate) accounts: Vec<Account>,
    /// The first records that are missing, by partition and offset.
    pub(crate) missing: Vec<(i32, i64)>,
    /// The first records with more than one end, and how many each has.
    pub(crate) duplicates: Vec<(i32, i64, u64)>,
    /// Results and dead letters of another definition, or without a position.
    pub(crate) foreign: u64,
    /// Ends that name an offset that the source topic has not reached.
    pub(crate) unknown: u64,
    /// Whether results or dead letters may have been deleted, by retention or compaction, or were left out on purpose: what is missing may have been among them. A transaction's markers look the same.
    pub(crate) ends_are_cut: bool,
    /// Whether the source topic is compacted, where it has gaps and the broker says so: its gaps are records that have been removed.
    pub(crate) is_compacted: Option<bool>,
    /// Offsets behind the committed ones that were not judged.
    pub(crate) behind: Option<Behind>,
}

impl Report {
    /// The books of all partitions together.
    pub(crate) fn total(&self) -> Account {
        self.accounts.iter().fold(Account::default(), |mut sum, account| {
            sum.add(account);
            sum
        })
    }

    /// Whether every record has its end, and no end is made up.
    pub(crate) fn is_balanced(&self) -> bool {
        let total = self.total();
        total.missing == 0 && total.unfinished == 0 && self.unknown == 0
    }

    /// The report for programs.
    pub(crate) fn json(&self, topic: &str) -> Value {
        let partition = |account: &Account| {
            let mut object = json!({"partition": account.partition, "from": account.from, "to": account.to});
            if let (Value::Object(object), Value::Object(counts)) = (&mut object, account.json()) {
                object.extend(counts);
            }
            object
        };
        json!({
            "topic": topic,
            "balanced": self.is_balanced(),
            "total": self.total().json(),
            "partitions": self.accounts.iter().map(partition).collect::<Vec<_>>(),
            "missing": self.missing.iter().map(|(partition, offset)| format!("{topic}/{partition}/{offset}")).collect::<Vec<_>>(),
            "duplicates": self.duplicates.iter().map(|(partition, offset, ends)| json!({"source": format!("{topic}/{partition}/{offset}"), "ends": ends})).collect::<Vec<_>>(),
            "foreign": self.foreign,
            "unknown": self.unknown,
            "ends_are_cut": self.ends_are_cut,
            "compacted": self.is_compacted,
            "not_judged": self.behind.map_or(0, |behind| behind.offsets),
        })
    }
}

/// Carries out `order`. `tell` hears now and then how far it is.
///
/// # Errors
/// When a topic cannot be read, or the audit was interrupted.
pub(crate) fn audit(cluster: &Cluster, order: &Order, interrupt: &Interrupt, tell: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let consumer = cluster.consumer("expressway-audit")?;
    let mut books = Books::open(order);
    let clock = Clock::start();
    let (mut told_ns, mut count) = (0, 0_u64);
    let mut pass = |topic: &str, ranges: &[Range], enter: &mut dyn FnMut(&BorrowedMessage<'_>)| {
        let whole = read(&consumer, topic, ranges, &mut |turn| {
            if let Turn::Record(message) = turn {
                enter(message);
                count += 1;
            }
            let now_ns = clock.now().monotonic_ns;
            if now_ns - told_ns >= PROGRESS_EVERY_NS {
                told_ns = now_ns;
                tell(&format!("{topic}: {count} records read"));
            }
            Ok(if interrupt.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if whole { Ok(()) } else { Err(Error::Surroundings { what: "interrupted; nothing is proven".to_owned(), source: None }) }
    };
    pass(&order.topic, &order.ranges, &mut |message| books.take(message.partition(), message.offset(), message.payload().is_none()))?;
    let ends: BTreeMap<i32, i64> = cluster.whole(&consumer, &order.topic)?.into_iter().map(|range| (range.partition, range.to)).collect();
    for topic in [&order.results, &order.dead_letters] {
        let mut ranges = cluster.whole(&consumer, topic)?;
        books.report.ends_are_cut |= ranges.iter().any(|range| range.from > 0) || order.since_ms.is_some();
        if let Some(since_ms) = order.since_ms {
            let starts = cluster.since(&consumer, topic, &ranges, since_ms)?;
            ranges.iter_mut().zip(starts).for_each(|(range, start)| range.from = start);
        }
        let is_dead_letter = *topic == order.dead_letters;
        let mut left = ranges.iter().map(|range| range.to - range.from).sum::<i64>();
        pass(topic, &ranges, &mut |message| {
            left -= 1;
            books.end(message, is_dead_letter, &ends);
        })?;
        books.report.ends_are_cut |= left > 0;
    }
    let mut report = books.close();
    if report.total().gaps > 0 {
        report.is_compacted = cluster.is_compacted(&order.topic);
    }
    Ok(report)
}

/// One bit for each offset, as far as any is set.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit; whether it was set before.
    fn set(&mut self, index: u64) -> bool {
        let (word, bit) = (usize::try_from(index / 64).expect("ranges are bounded"), 1 << (index % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word] & bit != 0;
        self.0[word] |= bit;
        was
    }

    fn has(&self, index: u64) -> bool {
        usize::try_from(index / 64).ok().and_then(|word| self.0.get(word)).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

/// The open books of one partition.
#[derive(Debug, Default)]
struct Page {
    account: Account,
    committed: Option<i64>,
    present: Bits,
    ended: Bits,
    null: Bits,
}

impl Page {
    /// The place of an offset in the range, when it lies there.
    fn index(&self, offset: i64) -> Option<u64> {
        (offset < self.account.to).then(|| u64::try_from(offset - self.account.from).ok()).flatten()
    }
}

/// The open books.
struct Books<'o> {
    order: &'o Order,
    pages: BTreeMap<i32, Page>,
    /// Ends of records that have more than one, up to a number that a person reads.
    repeated: BTreeMap<(i32, i64), u64>,
    report: Report,
}

impl<'o> Books<'o> {
    fn open(order: &'o Order) -> Self {
        let page = |(index, range): (usize, &Range)| {
            let account = Account { partition: range.partition, from: range.from, to: range.to, ..Account::default() };
            let committed = order.committed.as_ref().and_then(|committed| committed.get(index).copied());
            (range.partition, Page { account, committed, ..Page::default() })
        };
        Self {
            order,
            pages: order.ranges.iter().enumerate().map(page).collect(),
            repeated: BTreeMap::new(),
            report: Report { behind: order.behind, ..Report::default() },
        }
    }

    /// Enters a record of the source topic.
    fn take(&mut self, partition: i32, offset: i64, is_null: bool) {
        let Some(page) = self.pages.get_mut(&partition) else { return };
        let Some(index) = page.index(offset) else { return };
        if !page.present.set(index) {
            page.account.records += 1;
        }
        if is_null {
            page.null.set(index);
        }
    }

    /// Enters a result or a dead letter; `log_ends` says up to where the source topic goes.
    fn end(&mut self, message: &BorrowedMessage<'_>, is_dead_letter: bool, log_ends: &BTreeMap<i32, i64>) {
        let headers = HeaderList::read(message).unwrap_or_default();
        let is_ours = || match (&self.order.definition, headers.last(DEFINITION)) {
            (Some(definition), Some(found)) => definition.as_bytes() == found,
            _ => true,
        };
        let Some(source) = headers.position(SOURCE).filter(|source| source.topic != self.order.topic || is_ours()) else {
            self.report.foreign += 1;
            return;
        };
        if source.topic != self.order.topic {
            // Of another source topic of the same pipeline.
            return;
        }
        let end = match headers.last(STATUS) {
            _ if is_dead_letter => End::DeadLettered,
            None | Some(b"SUCCEEDED") => End::Succeeded,
            Some(b"TIMED_OUT") => End::TimedOut,
            Some(_) => End::Failed,
        };
        if log_ends.get(&source.partition).is_none_or(|&log_end| source.offset >= log_end) {
            self.report.unknown += 1;
            return;
        }
        self.enter(source.partition, source.offset, end);
    }

    fn enter(&mut self, partition: i32, offset: i64, end: End) {
        let Some(page) = self.pages.get_mut(&partition) else { return };
        let Some(index) = page.index(offset) else { return };
        let account = &mut page.account;
        if page.ended.set(index) {
            account.duplicates += 1;
            let is_named = self.repeated.len() < self.order.named_max || self.repeated.contains_key(&(partition, offset));
            if is_named {
                *self.repeated.entry((partition, offset)).or_insert(1) += 1;
            }
        } else if page.present.has(index) {
            *match end {
                End::Succeeded => &mut account.succeeded,
                End::Failed => &mut account.failed,
                End::TimedOut => &mut account.timed_out,
                End::DeadLettered => &mut account.dead_lettered,
            } += 1;
        } else {
            account.ends_of_gaps += 1;
        }
    }

    /// Strikes the balance.
    fn close(mut self) -> Report {
        for (partition, mut page) in std::mem::take(&mut self.pages) {
            let length = u64::try_from(page.account.to - page.account.from).unwrap_or(0);
            page.account.gaps = length - page.account.records;
            for index in (0..length).filter(|&index| page.present.has(index) && !page.ended.has(index)) {
                let offset = page.account.from + i64::try_from(index).expect("ranges are bounded");
                if self.order.skips_null && page.null.has(index) {
                    page.account.skipped += 1;
                } else if page.committed.is_some_and(|committed| offset >= committed) {
                    page.account.unfinished += 1;
                } else {
                    page.account.missing += 1;
                    if self.report.missing.len() < self.order.named_max {
                        self.report.missing.push((partition, offset));
                    }
                }
            }
            self.report.accounts.push(page.account);
        }
        self.report.duplicates = self.repeated.into_iter().map(|((partition, offset), ends)| (partition, offset, ends)).collect();
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(from: i64, to: i64, committed: Option<i64>) -> Order {
        Order {
            topic: "in".to_owned(),
            ranges: vec![Range { partition: 3, from, to }],
            committed: committed.map(|offset| vec![offset]),
            results: "out".to_owned(),
            dead_letters: "dead".to_owned(),
            behind: None,
            definition: None,
            since_ms: None,
            skips_null: false,
            named_max: 2,
        }
    }

    fn balance(order: &Order, records: &[(i64, bool)], ends: &[(i64, End)]) -> Report {
        let mut books = Books::open(order);
        records.iter().for_each(|&(offset, is_null)| books.take(3, offset, is_null));
        ends.iter().for_each(|&(offset, end)| books.enter(3, offset, end));
        books.close()
    }

    #[test]
    fn every_kind_of_end_is_counted_and_the_books_balance() {
        let records: Vec<_> = (100..104).map(|offset| (offset, false)).collect();
        let ends = [(100, End::Succeeded), (101, End::Failed), (102, End::TimedOut), (103, End::DeadLettered), (99, End::Failed), (104, End::Failed)];
        let report = balance(&order(100, 104, Some(104)), &records, &ends);
        let expected = Account { partition: 3, from: 100, to: 104, records: 4, succeeded: 1, failed: 1, timed_out: 1, dead_lettered: 1, ..Account::default() };
        assert_eq!(report.accounts, [expected]);
        assert!(report.is_balanced());
    }

    #[test]
    fn a_record_without_an_end_is_missing_when_committed_and_unfinished_when_not() {
        let records: Vec<_> = (0..10).map(|offset| (offset, false)).collect();
        let report = balance(&order(0, 10, Some(8)), &records, &[(0, End::Succeeded), (9, End::Succeeded)]);
        let total = report.total();
        assert_eq!((total.missing, total.unfinished, report.missing.as_slice()), (7, 1, &[(3, 1), (3, 2)][..]));
        assert!(!report.is_balanced());
        let without_group = balance(&order(0, 10, None), &records, &[]);
        assert_eq!((without_group.total().missing, without_group.total().unfinished), (10, 0));
    }

    #[test]
    fn duplicates_are_named_with_their_ends_up_to_a_bound() {
        let records: Vec<_> = (0..3).map(|offset| (offset, false)).collect();
        let ends = [0, 1, 2, 0, 0, 1, 2].map(|offset| (offset, End::Succeeded));
        let report = balance(&order(0, 3, Some(3)), &records, &ends);
        assert_eq!((report.total().duplicates, report.duplicates.as_slice()), (4, &[(3, 0, 3), (3, 1, 2)][..]));
        assert!(report.is_balanced(), "a duplicate is no loss");
    }

    #[test]
    fn gaps_are_no_debt() {
        let report = balance(&order(0, 100, Some(100)), &[(7, false)], &[(7, End::Succeeded), (8, End::Succeeded)]);
        let total = report.total();
        assert_eq!((total.records, total.gaps, total.ends_of_gaps, report.is_balanced()), (1, 99, 1, true));
    }

    #[test]
    fn what_lies_behind_the_committed_offsets_is_counted() {
        let range = |partition, from, to| Range { partition, from, to };
        let ranges = [range(0, 0, 10), range(1, 5, 5), range(2, 0, 7)];
        assert_eq!(Behind::of(&ranges, &[10, 9, 10]), Some(Behind { offsets: 7, from: 5 }));
        assert_eq!(Behind::of(&ranges, &[10, 5, 7]), None);
        let cut = Order { behind: Behind::of(&ranges, &[10, 9, 10]), ..order(0, 0, Some(0)) };
        assert_eq!(
            (balance(&cut, &[], &[]).json("in")["not_judged"].as_u64(), balance(&order(0, 0, None), &[], &[]).json("in")["not_judged"].as_u64()),
            (Some(7), Some(0))
        );
    }

    #[test]
    fn records_without_a_value_are_skipped_where_the_service_skips_them() {
        let mut skipping = order(0, 2, Some(2));
        assert_eq!(balance(&skipping, &[(0, true), (1, false)], &[(1, End::Succeeded)]).total().missing, 1);
        skipping.skips_null = true;
        let total = balance(&skipping, &[(0, true), (1, false)], &[(1, End::Succeeded)]).total();
        assert_eq!((total.missing, total.skipped), (0, 1));
    }
}
