//! What must hold at every step: who is owed what, and what has come of it.
//!
//! A record is *finished* when the broker has its result or its dead letter, or when it has no value and such records are passed over. Nothing may be stored or committed past a record that is not finished. Within one assignment, what was promised an order (of a key, of a partition; results of executions that never wait in any case) appears in it, as long as the producer meets no error.

use std::collections::{BTreeSet, HashMap};

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
    /// By partition: its log was cut, so commits may go back.
    pub(crate) may_go_back: Vec<bool>,
    /// By partition: everything before this place in the log is finished.
    finished_to: Vec<usize>,
    /// By partition: how far that was when it was looked at, and since when.
    moved: Vec<(usize, u64)>,
    /// By assignment and source partition, topic and partition that it appears in, and order it belongs to: the last offset that appeared for the first time.
    last: HashMap<(u64, i32, Target, i32, Vec<u8>), i64>,
    seen: BTreeSet<(u64, i32, i64)>,
    /// Instance and partition of records that met an error, went back, or were refused for themselves: those go another way than their neighbours.
    pub(crate) disordered: BTreeSet<(usize, i32)>,
    pub(crate) written: u64,
    pub(crate) duplicates: u64,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan) -> Self {
        let partitions = plan.starts.len();
        Self {
            assignments: 0,
            assignment_of: HashMap::new(),
            may_go_back: vec![false; partitions],
            finished_to: vec![0; partitions],
            moved: vec![(0, 0); partitions],
            last: HashMap::new(),
            seen: BTreeSet::new(),
            disordered: BTreeSet::new(),
            written: 0,
            duplicates: 0,
        }
    }

    /// Records up to which everything is finished, all partitions together.
    pub(crate) fn finished(&self) -> usize {
        self.finished_to.iter().sum()
    }

    pub(crate) fn disorder(&mut self, instance: usize, request: &[Sent]) {
        self.disordered.extend(request.iter().filter_map(|sent| Some((instance, sent.source()?.0))));
    }

    fn check_order(&mut self, instance: usize, sent: &Sent, (partition, offset): (i32, i64), order: Vec<u8>) -> Result<(), String> {
        if !self.seen.insert((sent.assignment, partition, offset)) || self.disordered.contains(&(instance, partition)) {
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

    /// What is still owed: partitions whose records are not all finished and committed.
    pub(crate) fn owed(&mut self) -> Vec<String> {
        let mut owed = Vec::new();
        for place in 0..self.broker.logs.len() {
            let open = self.first_open(place);
            let last = self.broker.logs[place].entries.last().map(|entry| entry.record.offset);
            let committed = self.broker.committed[place];
            if let Some(open) = open {
                owed.push(format!("record {place}/{open} is not finished"));
            } else if let Some(last) = last.filter(|last| committed.is_none_or(|committed| committed <= *last)) {
                owed.push(format!("partition {place} is committed to {committed:?} only, its last record is {last}"));
            }
        }
        owed
    }

    /// The broker has taken a record.
    pub(crate) fn written(&mut self, instance: usize, sent: &Sent) {
        let Some((partition, offset)) = sent.source() else {
            return self.violate(|| format!("a record without a source was written: {:?}", sent.headers));
        };
        self.note(|| format!("broker: {:?} of {partition}/{offset} is written to {}", sent.target, sent.partition));
        let Ok(place) = usize::try_from(partition) else { return };
        let Some(position) = self.broker.logs.get(place).and_then(|log| log.position(offset)) else {
            return self.violate(|| format!("{:?} of {partition}/{offset}, which was never there", sent.target));
        };
        self.ledger.written += 1;
        let entry = &mut self.broker.logs[place].entries[position];
        self.ledger.duplicates += u64::from(entry.results + entry.dead_letters > 0);
        match sent.target {
            Target::Results => entry.results += 1,
            Target::DeadLetters => entry.dead_letters += 1,
        }
        let record = std::rc::Rc::clone(&entry.record);
        if let Err(wrong) = workflow::check(&record, sent, &self.plan) {
            self.violate(|| format!("{:?} of {partition}/{offset}: {wrong}", sent.target));
        }
        if let Some(order) = order_of(&record, sent.target, self.plan.ordering)
            && !self.instances[instance].is_dead
            && let Err(wrong) = self.ledger.check_order(instance, sent, (partition, offset), order)
        {
            self.violate(|| wrong);
        }
    }
}
