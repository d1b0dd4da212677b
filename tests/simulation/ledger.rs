//! What must hold at every step: who is owed what, and what has come of it.
//!
//! A record is *finished* when the broker has its result or its dead letter, or when it has no value and such records are passed over. Nothing may be stored or committed past a record that is not finished. Within one assignment, what was promised an order (of a key, of a partition; results of executions that never wait in any case) appears in it, errors of the producer or not, with the two exceptions that the README names: what the client gave up while a later request of the same bundle was written, and the dead letter of a result that the broker refused.
//!
//! With transactions the ledger reads committed records only, and is stricter: the outcomes in a transaction are those of the records between the old committed offsets and its new ones, each once; no record has a second one, ever; and results of a partition appear in the order of their offsets, whatever broke.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::pipeline::{OnNull, Ordering};

use crate::broker::{Entry, Record};
use crate::plan::Plan;
use crate::producer::{Sent, Target};
use crate::workflow::{self, Kind};
use crate::world::World;

/// What has happened so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) assignments: u64,
    /// By instance and partition: the assignment that is in force.
    pub(crate) assignment_of: HashMap<(usize, i32), u64>,
    /// By partition: where its position went back to in the assignment that is in force, oldest first; the committed offset may follow once to each.
    pub(crate) gone_back: Vec<Vec<i64>>,
    /// By partition: its position went back at some time.
    went_back: Vec<bool>,
    /// By partition and offset: how often a record was taken again because its position went back, and may have one more outcome.
    taken_again: HashMap<(usize, i64), u32>,
    /// By partition: everything before this place in the log is finished.
    finished_to: Vec<usize>,
    /// By partition: how far that was when it was looked at, and since when.
    moved: Vec<(usize, u64)>,
    /// By assignment and source partition, topic and partition that it appears in, and order it belongs to: the last offset that appeared for the first time.
    last: HashMap<(u64, i32, Target, i32, Vec<u8>), i64>,
    seen: BTreeSet<(u64, i32, i64)>,
    /// Assignment and partition of records that were given up while later ones of their bundle were written.
    pub(crate) disordered: BTreeSet<(u64, i32)>,
    /// Instance, partition and offset of results that were refused for themselves.
    pub(crate) late: BTreeSet<(usize, i32, i64)>,
    /// With transactions, by source partition and the partition of results that they appear in: the last offset.
    committed_to: HashMap<(i32, i32), i64>,
    pub(crate) transactions: u64,
    /// Clients that were replaced.
    pub(crate) replacements: u64,
    pub(crate) written: u64,
    pub(crate) duplicates: u64,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan) -> Self {
        let partitions = plan.starts.len();
        Self {
            assignments: 0,
            assignment_of: HashMap::new(),
            gone_back: vec![Vec::new(); partitions],
            went_back: vec![false; partitions],
            taken_again: HashMap::new(),
            finished_to: vec![0; partitions],
            moved: vec![(0, 0); partitions],
            last: HashMap::new(),
            seen: BTreeSet::new(),
            disordered: BTreeSet::new(),
            late: BTreeSet::new(),
            committed_to: HashMap::new(),
            transactions: 0,
            replacements: 0,
            written: 0,
            duplicates: 0,
        }
    }

    /// Records up to which everything is finished, all partitions together.
    pub(crate) fn finished(&self) -> usize {
        self.finished_to.iter().sum()
    }

    /// The position of a partition goes back from `taken_to` to `to`.
    pub(crate) fn goes_back(&mut self, place: usize, to: i64, taken_to: i64) {
        self.gone_back[place].push(to);
        self.went_back[place] = true;
        for offset in to..taken_to {
            *self.taken_again.entry((place, offset)).or_default() += 1;
        }
    }

    /// Whether a record may have one more outcome, which is used up by that.
    fn may_come_again(&mut self, place: usize, offset: i64) -> bool {
        self.taken_again.get_mut(&(place, offset)).is_some_and(|times| times.checked_sub(1).map(|left| *times = left).is_some())
    }

    fn check_order(&mut self, instance: usize, sent: &Sent, (partition, offset): (i32, i64), order: Vec<u8>) -> Result<(), String> {
        let is_late = sent.target == Target::DeadLetters && self.late.contains(&(instance, partition, offset));
        if !self.seen.insert((sent.assignment, partition, offset)) || is_late || self.disordered.contains(&(sent.assignment, partition)) {
            return Ok(());
        }
        let last = self.last.insert((sent.assignment, partition, sent.target, sent.partition, order), offset);
        match last.filter(|last| *last > offset) {
            Some(last) => Err(format!("the result of {partition}/{offset} appears after that of {partition}/{last}, of the same assignment")),
            None => Ok(()),
        }
    }
}

/// Which order a result or dead letter belongs to, if it was promised one: its key's, its partition's, or that of the executions that never wait.
fn order_of(record: &Record, target: Target, ordering: Ordering) -> Option<Vec<u8>> {
    let is_plain = record.kind == Kind::Plain && target == Target::Results;
    match (ordering, &record.key) {
        (Ordering::Key, Some(key)) => Some([b"key ", key.as_slice()].concat()),
        (Ordering::None | Ordering::Key, _) => is_plain.then(Vec::new),
        (Ordering::Partition, _) => (target == Target::Results).then(Vec::new),
    }
}

fn is_finished(entry: &Entry, on_null: OnNull) -> bool {
    entry.results + entry.dead_letters > 0 || (entry.record.value.is_none() && on_null == OnNull::Skip)
}

impl World {
    /// The first record of a partition that is not finished.
    fn first_open(&mut self, partition: usize) -> Option<i64> {
        let (entries, on_null) = (&self.broker.logs[partition].entries, self.plan.on_null);
        let to = &mut self.ledger.finished_to[partition];
        while entries.get(*to).is_some_and(|entry| is_finished(entry, on_null)) {
            *to += 1;
        }
        entries.get(*to).map(|entry| entry.record.offset)
    }

    /// Nothing below a mark is unfinished.
    pub(crate) fn check_mark(&mut self, partition: i32, mark: i64, what: &str) {
        let place = usize::try_from(partition).expect("partitions count from 0");
        if let Some(open) = self.first_open(place).filter(|open| *open < mark) {
            self.violate(|| format!("offset {mark} of partition {partition} is {what}, but record {open} is not finished"));
        }
        if mark > self.broker.logs[place].end {
            self.violate(|| format!("offset {mark} of partition {partition} is {what}, which lies beyond the end of its log"));
        }
    }

    /// A partition whose own executions do not stall, and that has stood still for so long with something to do.
    pub(crate) fn starved(&mut self, longest_ns: u64) -> Option<usize> {
        let now_ns = self.now_ns;
        let ledger = &mut self.ledger;
        let looked_at = ledger.moved.iter_mut().zip(&ledger.finished_to).zip(&self.broker.logs).enumerate().skip(1);
        let mut starved = None;
        for (place, ((moved, finished_to), log)) in looked_at {
            let is_done = *finished_to == log.entries.len();
            if is_done || moved.1 == 0 || moved.0 != *finished_to {
                *moved = (*finished_to, now_ns);
            } else if now_ns > moved.1 + longest_ns {
                starved = Some(place);
            }
        }
        starved
    }

    /// What is still owed: partitions whose records are not all finished and committed. At the end `is_over`, and a position that went back may have taken the commit with it, and what runs again was cut short by the shutdown.
    pub(crate) fn owed(&mut self, is_over: bool) -> Vec<String> {
        let mut owed = Vec::new();
        for place in 0..self.broker.logs.len() {
            let open = self.first_open(place);
            let last = self.broker.logs[place].entries.last().map(|entry| entry.record.offset);
            let committed = self.broker.committed[place];
            if let Some(open) = open {
                owed.push(format!("record {place}/{open} is not finished"));
            } else if let Some(last) = last.filter(|last| committed.is_none_or(|committed| committed <= *last))
                && !(is_over && self.ledger.went_back[place])
            {
                owed.push(format!("partition {place} is committed to {committed:?} only, its last record is {last}"));
            }
        }
        owed
    }

    /// The broker has taken a record.
    pub(crate) fn written(&mut self, instance: usize, sent: &Sent) {
        let Some((partition, offset)) = sent.source(&self.plan) else {
            return self.violate(|| format!("a record without a source was written: {:?}", sent.headers));
        };
        self.note(|| format!("broker: {:?} of {partition}/{offset} is written to {}", sent.target, sent.partition));
        let Ok(place) = usize::try_from(partition) else { return };
        let Some(position) = self.broker.logs.get(place).and_then(|log| log.position(offset)) else {
            return self.violate(|| format!("{:?} of {partition}/{offset}, which was never there", sent.target));
        };
        self.ledger.written += 1;
        let entry = &mut self.broker.logs[place].entries[position];
        let is_again = entry.results + entry.dead_letters > 0;
        self.ledger.duplicates += u64::from(is_again);
        match sent.target {
            Target::Results => entry.results += 1,
            Target::DeadLetters => entry.dead_letters += 1,
        }
        let record = std::rc::Rc::clone(&entry.record);
        if is_again && self.plan.is_transactional && !self.ledger.may_come_again(place, offset) {
            self.violate(|| format!("{partition}/{offset} has a second outcome that is committed"));
        }
        if let Err(wrong) = workflow::check(&record, sent, &self.plan) {
            self.violate(|| format!("{:?} of {partition}/{offset}: {wrong}", sent.target));
        }
        if let Some(order) = order_of(&record, sent.target, self.plan.ordering)
            && !self.plan.is_transactional
            && !self.instances[instance].is_dead
            && let Err(wrong) = self.ledger.check_order(instance, sent, (partition, offset), order)
        {
            self.violate(|| wrong);
        }
    }

    /// A transaction is committed: its records appear, and its offsets.
    pub(crate) fn transaction_is_committed(&mut self, instance: usize, records: &[Sent], offsets: &BTreeMap<i32, i64>) {
        self.note(|| format!("broker: {} records and {offsets:?} are committed", records.len()));
        self.ledger.transactions += 1;
        let mut outcomes: BTreeMap<(i32, i64), u32> = BTreeMap::new();
        for position in records.iter().filter_map(|sent| sent.source(&self.plan)) {
            *outcomes.entry(position).or_default() += 1;
        }
        let wrong: Vec<_> = offsets.iter().filter_map(|(&partition, &mark)| self.check_outcomes(partition, mark, &mut outcomes).err()).collect();
        for sent in records {
            self.written(instance, sent);
            if let Some((partition, offset)) = sent.source(&self.plan) {
                self.check_committed_order(sent, partition, offset);
            }
        }
        wrong.into_iter().for_each(|wrong| self.violate(|| wrong));
        for (&partition, &mark) in offsets {
            self.check_mark(partition, mark, "committed");
        }
        if let Some((partition, offset)) = outcomes.into_keys().next() {
            self.violate(|| format!("a transaction has the outcome of {partition}/{offset}, which lies outside of its offsets {offsets:?}"));
        }
    }

    /// Takes the outcomes of a partition out of those of a transaction that commits it to `mark`: those from its committed offset on, or from where its position went back to.
    fn check_outcomes(&mut self, partition: i32, mark: i64, outcomes: &mut BTreeMap<(i32, i64), u32>) -> Result<(), String> {
        let place = usize::try_from(partition).expect("partitions count from 0");
        let log = &self.broker.logs[place];
        let committed = self.broker.committed[place].unwrap_or(log.start);
        let passes_over = self.plan.on_null == OnNull::Skip;
        let check = |from: i64| {
            if mark < from {
                return Err(format!("the committed offset of partition {partition} goes back from {from} to {mark}"));
            }
            for entry in log.entries.iter().filter(|entry| (from..mark).contains(&entry.record.offset)) {
                let offset = entry.record.offset;
                let found = outcomes.get(&(partition, offset)).copied().unwrap_or(0);
                if found != u32::from(!(passes_over && entry.record.value.is_none())) {
                    return Err(format!("a transaction from {from} to {mark} of partition {partition} has {found} outcomes of record {offset}"));
                }
            }
            let below = outcomes.range((partition, i64::MIN)..(partition, from)).next();
            below.map_or(Ok(()), |((_, offset), _)| Err(format!("a transaction from {from} on of partition {partition} has the outcome of {offset}")))
        };
        self.broker.committed[place] = Some(mark);
        let gone_back = &mut self.ledger.gone_back[place];
        let from = match check(committed) {
            Ok(()) => committed,
            Err(wrong) => {
                let back = gone_back.iter().position(|to| *to < committed && check(*to).is_ok()).ok_or(wrong)?;
                let to = gone_back.drain(..=back).next_back().expect("it was found there");
                self.ledger.committed_to.retain(|(its, _), last| *its != partition || *last < to);
                to
            }
        };
        outcomes.retain(|(its, offset), _| *its != partition || !(from..mark).contains(offset));
        Ok(())
    }

    fn check_committed_order(&mut self, sent: &Sent, partition: i32, offset: i64) {
        if sent.target != Target::Results {
            return;
        }
        let last = self.ledger.committed_to.insert((partition, sent.partition), offset);
        if let Some(last) = last.filter(|last| *last >= offset) {
            self.violate(|| format!("the committed result of {partition}/{offset} comes after that of {partition}/{last}"));
        }
    }
}
