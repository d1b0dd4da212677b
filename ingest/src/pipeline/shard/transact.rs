//! What a shard does for transactional delivery; see [`transaction`](crate::pipeline::transaction).
//!
//! An outcome enters the transaction when every record of its partition below it has one too; until then it waits here, with its partition. A record stays open until the transaction with its outcome is committed, so windows, books and drains mean the same as in the other kind of delivery.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::partition::{Partition, Phase};
use super::record::RecordId;
use super::waiting::partition_of;
use super::{Class, Error, Shard};
use crate::clock::Now;
use crate::kafka::{Bundle, Membership};
use crate::pipeline::offsets::{Mark, Refusal, Window};
use crate::pipeline::processor::Processor;
use crate::pipeline::sink::{Outgoing, Sink, To};
use crate::pipeline::transaction::{Answer, Cut};

/// What has become of a record that lies above the mark.
enum Outcome {
    /// `beside` are the bytes of the record that it is the outcome of, which is kept as well.
    Produced {
        to: To,
        partition: i32,
        record: Bundle,
        beside: usize,
    },
    PassedOver {
        opaque: u64,
    },
}

/// The outcomes of a partition, in transactional delivery.
pub(crate) struct Outcomes {
    /// The records without an outcome.
    unknown: Window,
    /// Outcomes above the lowest of those.
    above: BTreeMap<i64, Outcome>,
    bytes: usize,
    /// Everything below is committed.
    committed: Mark,
}

impl Outcomes {
    pub(crate) fn new(start: i64, records_max: u32) -> Self {
        let unknown = Window::new(start, records_max);
        let committed = unknown.mark();
        Self { unknown, above: BTreeMap::new(), bytes: 0, committed }
    }

    /// A record is opened, which the partition's window has taken.
    pub(crate) fn take(&mut self, offset: i64) -> Result<(), Refusal> {
        self.unknown.take(offset)
    }

    /// Bytes that wait above the mark.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Outcomes that wait above the mark.
    pub(crate) fn withheld(&self) -> u64 {
        self.above.len() as u64
    }

    /// Records without an outcome.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.open()
    }

    /// Records an outcome, and passes on what is below the mark by now. A record whose outcome is below the mark already gets another one: the first was refused. Returns whether the outcome waits.
    fn end(&mut self, offset: i64, outcome: Outgoing<'_>, beside: usize, sink: &mut Sink) -> bool {
        let is_first = self.unknown.complete(offset);
        let waits = offset >= self.mark();
        if !waits {
            sink.send(outcome);
        } else {
            let Outgoing { to, partition, key, value, headers, opaque } = outcome;
            let mut record = Bundle::default();
            record.push(key, value, headers, opaque);
            self.wait(offset, Outcome::Produced { to, partition, record, beside });
        }
        if is_first {
            self.pass_on(sink);
        }
        waits
    }

    fn wait(&mut self, offset: i64, outcome: Outcome) {
        self.bytes += outcome.bytes();
        if let Some(old) = self.above.insert(offset, outcome) {
            self.bytes -= old.bytes();
        }
    }

    /// The record has no outcome to be produced.
    fn pass_over(&mut self, offset: i64, opaque: u64, sink: &mut Sink) {
        self.unknown.complete(offset);
        self.wait(offset, Outcome::PassedOver { opaque });
        self.pass_on(sink);
    }

    fn mark(&self) -> i64 {
        self.unknown.mark().next_to_read()
    }

    fn pass_on(&mut self, sink: &mut Sink) {
        let mark = self.mark();
        while let Some(first) = self.above.first_entry().filter(|first| *first.key() < mark) {
            let outcome = first.remove();
            self.bytes -= outcome.bytes();
            match outcome {
                Outcome::Produced { to, partition, mut record, .. } => {
                    record.drain(|key, value, headers, opaque| sink.send(Outgoing { to, partition, key, value, headers, opaque }));
                }
                Outcome::PassedOver { opaque } => {
                    if let Some(transaction) = sink.transaction() {
                        transaction.pass_over(opaque);
                    }
                }
            }
        }
    }

    /// The outcomes of some records below the mark are known no more, which are `lost`: the mark goes back below them, and `back` is what was passed on above it, with all that lies between. `taken` are the open records of the partition.
    fn reopen(&mut self, taken: &[i64], lost: &[i64], back: Vec<(i64, Outcome)>, records_max: u32, sink: &mut Sink) {
        let mark = self.mark();
        let known = |offset: i64| (offset < mark || self.above.contains_key(&offset)) && !lost.contains(&offset);
        let mut unknown = Window::new(taken.first().copied().unwrap_or(mark), records_max);
        for offset in taken {
            unknown.take(*offset).expect("the window that they are open in is as wide");
        }
        for offset in taken.iter().filter(|offset| known(**offset)) {
            unknown.complete(*offset);
        }
        self.unknown = unknown;
        back.into_iter().for_each(|(offset, outcome)| self.wait(offset, outcome));
        self.pass_on(sink);
    }

    /// The position goes back to `start`: outcomes from there on are given up, whose records are returned.
    pub(crate) fn rewind(&mut self, start: i64) -> Vec<u64> {
        self.unknown.rewind(start);
        self.committed = self.committed.min(self.unknown.mark());
        let gone = self.above.split_off(&start);
        self.bytes -= gone.values().map(Outcome::bytes).sum::<usize>();
        gone.values().flat_map(Outcome::opaques).collect()
    }

    /// The records that wait above the mark.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.above.values().flat_map(Outcome::opaques)
    }
}

impl Outcome {
    /// The record that it is the outcome of.
    fn opaques(&self) -> impl Iterator<Item = u64> {
        let (record, passed_over) = match self {
            Self::Produced { record, .. } => (Some(record), None),
            Self::PassedOver { opaque } => (None, Some(*opaque)),
        };
        record.into_iter().flat_map(Bundle::opaques).chain(passed_over)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Produced { record, beside, .. } => record.bytes() + beside,
            Self::PassedOver { .. } => 0,
        }
    }
}

/// Passes the outcome of a record of `beside` bytes on: to the producer, or to where it waits for those below it, which is what it returns.
pub(super) fn emit(partition: &mut Partition, offset: i64, outcome: Outgoing<'_>, beside: usize, sink: &mut Sink) -> bool {
    match &mut partition.outcomes {
        None => {
            sink.send(outcome);
            false
        }
        Some(outcomes) => outcomes.end(offset, outcome, beside, sink),
    }
}

impl<P: Processor> Shard<P> {
    /// The membership to commit with, if there is one; `None` when none is wanted. Has to be read before the turn's commands are obeyed.
    pub(super) fn membership(&self, now: &Now) -> Option<Option<Membership>> {
        self.sink.wants_membership(now.monotonic_ns).then(|| Membership::of(self.queue.consumer()))
    }

    /// A null value that is passed over.
    pub(super) fn pass_over(&mut self, record: RecordId, now: &Now) {
        let Some(open) = self.records.find_mut(record) else { return };
        open.class = Class::Skipped;
        let (place, offset) = (open.partition, open.offset);
        match self.partitions[place].as_mut().and_then(|partition| partition.outcomes.as_mut()) {
            None => self.close(record, now),
            Some(outcomes) => outcomes.pass_over(offset, record.to_opaque(), &mut self.sink),
        }
    }

    /// Brings the transaction on.
    pub(super) fn transact(&mut self, membership: Option<Option<Membership>>, now: &Now) {
        let (is_idle, is_quiet) = (self.sink.is_idle(), self.sink.is_quiet());
        let Some(transaction) = self.sink.transaction() else { return };
        // Reports that are still to come belong to the transaction that is ending.
        let answer = if is_idle { transaction.answer(now.monotonic_ns) } else { None };
        match answer {
            None => {}
            Some(Answer::Ready) => tracing::debug!(shard = self.index, "first transaction is open"),
            Some(Answer::Committed) => self.committed(now),
            Some(Answer::Aborted(reason)) => {
                tracing::warn!(shard = self.index, reason, "transaction was aborted; its results go again");
                self.aborted();
            }
            Some(Answer::Broken(reason, _)) => {
                tracing::warn!(shard = self.index, reason, "transaction has outlived its time; its producer is made anew");
                if let Err(error) = self.sink.renew(&self.queue) {
                    self.health.fail(error);
                }
                return;
            }
            Some(Answer::Failed(detail)) => return self.health.fail(Error::Fatal { client: "transactional producer", detail }),
        }
        self.try_letters_again(now);
        let hurry = self.health.is_stopping() || self.partitions.iter().flatten().any(is_waiting_for_a_commit);
        let (records, bytes) = self.sink.holding();
        let Some(transaction) = self.sink.transaction() else { return };
        if transaction.is_doomed() {
            return transaction.abort();
        }
        if let Some(membership) = membership
            && transaction.wants_membership(is_quiet, now.monotonic_ns)
        {
            transaction.commit(membership, Arc::clone(self.queue.consumer()), now.monotonic_ns);
        }
        let has_content = records > 0 || transaction.passes_over();
        transaction.note(has_content, now.monotonic_ns);
        if transaction.is_due(records, bytes, hurry, now.monotonic_ns) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let mut offsets = TopicPartitionList::new();
        let mut cuts = Vec::new();
        for (place, partition) in self.partitions.iter().enumerate() {
            let Some((partition, outcomes)) = partition.as_ref().and_then(|partition| Some((partition, partition.outcomes.as_ref()?))) else { continue };
            let mark = outcomes.unknown.mark();
            if mark > outcomes.committed {
                let added = offsets.add_partition_offset(&partition.name, partition.number, Offset::Offset(mark.next_to_read()));
                debug_assert!(added.is_ok(), "a mark is an offset");
                cuts.push(Cut { place, epoch: partition.epoch, mark });
            }
        }
        if let Some(transaction) = self.sink.transaction() {
            transaction.cut(cuts, offsets);
        }
    }

    fn committed(&mut self, now: &Now) {
        let Some(transaction) = self.sink.transaction() else { return };
        let (cuts, mut closed) = transaction.take_committed();
        for Cut { place, epoch, mark } in cuts {
            let partition = self.partitions[place].as_mut().filter(|partition| partition.epoch == epoch);
            if let Some(outcomes) = partition.and_then(|partition| partition.outcomes.as_mut()) {
                outcomes.committed = mark;
            }
        }
        let records = &self.records;
        self.sink.committed(&mut closed, &mut self.result_headers, |opaque| records.find(RecordId::from_opaque(opaque)).map(|open| open.class));
        for opaque in closed {
            self.close(RecordId::from_opaque(opaque), now);
        }
        self.send_audit();
    }

    #[cold]
    fn aborted(&mut self) {
        let (records, partitions) = (&self.records, &self.partitions);
        let gone = self.sink.aborted(|opaque| {
            let open = records.find(RecordId::from_opaque(opaque))?;
            let is_live = partitions[open.partition].as_ref().is_some_and(|partition| partition.epoch == open.epoch);
            is_live.then_some((open.partition, open.offset))
        });
        for opaque in gone {
            self.records.remove(RecordId::from_opaque(opaque));
        }
        let stuck = self.sink.stuck_records().filter_map(|opaque| self.records.find(RecordId::from_opaque(opaque)));
        let stuck: Vec<_> = stuck.map(|open| (open.partition, open.epoch, open.offset)).collect();
        for place in 0..self.partitions.len() {
            let Some(partition) = &self.partitions[place] else { continue };
            let lost: Vec<_> = stuck.iter().filter(|(of, epoch, _)| (*of, *epoch) == (place, partition.epoch)).map(|(_, _, offset)| *offset).collect();
            if !lost.is_empty() {
                self.withhold(place, &lost);
            }
        }
    }

    /// Dead letters that the broker refuses hold the mark of their partition, and nothing else: what lies above them waits with it.
    #[cold]
    fn withhold(&mut self, place: usize, lost: &[i64]) {
        let Some(partition) = self.partitions[place].as_mut() else { return };
        let Some(outcomes) = partition.outcomes.as_mut() else { return };
        let of_partition = self.records.of_partition(place, partition.epoch);
        let its: HashSet<u64> = of_partition.iter().map(|(_, record)| record.to_opaque()).collect();
        let mut back = Vec::new();
        let sent = self.sink.take_back(|opaque| its.contains(&opaque));
        for (to, to_partition, record) in sent {
            let Some(open) = record.opaques().next().and_then(|opaque| self.records.find_mut(RecordId::from_opaque(opaque))) else { continue };
            open.source.copy_out();
            let beside = open.source.bytes();
            back.push((open.offset, Outcome::Produced { to, partition: to_partition, record, beside }));
        }
        let passed_over = self.sink.transaction().map(|transaction| transaction.take_back(|opaque| its.contains(&opaque)));
        for opaque in passed_over.into_iter().flatten() {
            let offset = self.records.find(RecordId::from_opaque(opaque)).map(|open| open.offset);
            back.extend(offset.map(|offset| (offset, Outcome::PassedOver { opaque })));
        }
        let taken: Vec<_> = of_partition.into_iter().map(|(offset, _)| offset).collect();
        outcomes.reopen(&taken, lost, back, self.rules.window_records_max, &mut self.sink);
    }

    /// Tries dead letters again that the broker has refused. Each attempt in vain costs the shard a transaction.
    fn try_letters_again(&mut self, now: &Now) {
        while self.sink.transaction().is_some_and(|transaction| transaction.is_open())
            && let Some((to, record)) = self.sink.due_letter(now.monotonic_ns)
        {
            let Some(open) = record.opaques().next().and_then(|opaque| self.records.find(RecordId::from_opaque(opaque))) else { continue };
            let Some(outcomes) = partition_of(&mut self.partitions, open).and_then(|partition| partition.outcomes.as_mut()) else { continue };
            outcomes.wait(open.offset, Outcome::Produced { to: To::DeadLetters, partition: to, record, beside: 0 });
            outcomes.unknown.complete(open.offset);
            outcomes.pass_on(&mut self.sink);
        }
    }

    /// The end: a transaction that is open is aborted, so that nobody has to wait for the broker to do it.
    pub(super) fn end_transaction(&mut self) {
        if self.sink.holding().0 == 0 {
            return;
        }
        self.sink.doom(|| "the shard ends".to_owned());
        if let Some(transaction) = self.sink.transaction()
            && transaction.is_doomed()
        {
            transaction.abort();
        }
    }
}

/// Whether a partition that is given up has ended all that it began, and only a commit is wanted.
fn is_waiting_for_a_commit(partition: &Partition) -> bool {
    let Some(outcomes) = partition.outcomes.as_ref().filter(|_| matches!(partition.phase, Phase::Draining { .. })) else { return false };
    outcomes.unknown() == partition.unbegun && !partition.is_finished()
}
