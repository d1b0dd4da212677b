//! Where the shard asks and tells the order of a partition: records that wait to begin, results that wait to be sent, and what is given back.
//!
//! Everything here is off the usual way: it is reached only while an execution of the partition is suspended or has yielded.

use std::collections::VecDeque;

use super::Shard;
use super::order::{Hold, Kept};
use super::partition::Partition;
use super::record::{Open, RecordId, Records};
use super::share::Shares;
use super::slots::SlotId;
use super::transact::emit;
use crate::clock::Now;
use crate::kafka::Headers;
use crate::pipeline::processor::Processor;
use crate::pipeline::sink::{Outgoing, To};

/// What a waiting record or result takes beside its bytes: its place in the tables, allocations, headers. Rounded up.
const WAITING_OVERHEAD_BYTES: usize = 512;

/// The partition of an open record, unless its assignment is over.
pub(super) fn partition_of<'p>(partitions: &'p mut [Option<Partition>], open: &Open) -> Option<&'p mut Partition> {
    partitions.get_mut(open.partition)?.as_mut().filter(|partition| partition.epoch == open.epoch)
}

impl<P: Processor> Shard<P> {
    /// Lets a record wait behind the others of its key.
    #[cold]
    pub(super) fn defer(&mut self, record: RecordId) {
        let open = self.records.find_mut(record).expect("the record was opened just now");
        open.source.copy_out();
        open.hold = Hold::Deferred;
        let partition = partition_of(&mut self.partitions, open).expect("the record's partition is in the table");
        let key = open.source.key().expect("only records with a key are deferred");
        let bytes = open.source.bytes() + WAITING_OVERHEAD_BYTES;
        partition.order.defer(key, record, bytes);
        self.records.weigh_waiting(record, bytes);
    }

    /// Whether a record that was taken may begin. Memory does not count: it has its own already, and others may wait for it.
    fn has_room_to_begin(&self) -> bool {
        self.sink.is_clear() && !self.health.is_stopping() && self.slots.room() > 0 && self.sink.in_flight() < self.in_flight_max
    }

    /// Begins records whose turn has come, as far as there is room.
    pub(super) fn begin_ready(&mut self, now: &Now) {
        for _ in 0..super::ADVANCES_MAX {
            if self.ready.is_empty() || !self.has_room_to_begin() {
                return;
            }
            let Some((record, place)) = self.ready.pop_front() else { return };
            self.slots.shares_mut().change(place, 1, 0);
            let Some(open) = self.records.find_mut(record) else { continue };
            open.hold = Hold::Open;
            self.begin(record, now);
        }
    }

    /// An execution suspends or yields: from now on others may have to wait for it.
    pub(super) fn suspended(&mut self, record: RecordId, slot: SlotId) {
        let Some(open) = self.records.find_mut(record) else { return };
        // It may live for minutes, and must not pin the client's buffers.
        open.source.copy_out();
        if open.hold == Hold::Free
            && let Some(partition) = partition_of(&mut self.partitions, open)
            && partition.order.suspend(open.source.key(), open.offset)
        {
            open.hold = Hold::Open;
        }
        let bytes = open.source.bytes() + self.processor.bytes(slot) + WAITING_OVERHEAD_BYTES;
        self.slots.wait(slot, open.partition);
        self.records.weigh_waiting(record, bytes);
    }

    /// Whether a partition may hold more of the slots and the memory that the shard has for what waits.
    pub(super) fn has_share(&self, place: usize) -> bool {
        self.slots.shares().has_room(place) && self.records.shares().has_room(place)
    }

    /// Whether a partition that was held for its share may go on.
    pub(super) fn has_ample_share(&self, place: usize) -> bool {
        self.slots.shares().has_ample_room(place) && self.records.shares().has_ample_room(place)
    }

    /// The execution of a record that others may wait for has ended, and what came of it is on its way.
    #[cold]
    pub(super) fn pass_on(&mut self, record: RecordId) {
        let Some(open) = self.records.find(record) else { return };
        let Some(partition) = partition_of(&mut self.partitions, open) else { return };
        let next = partition.order.end(open.source.key(), open.offset);
        let place = open.partition;
        if let Some(next) = next {
            // The slot of the one that ended is promised to it, so that it needs no share of its own.
            self.slots.shares_mut().change(place, 0, 1);
            self.ready.push_back((next, place));
        }
        self.send_kept(place);
    }

    /// Keeps `self.output` as a record's result until those below it have ended.
    #[cold]
    pub(super) fn keep_result(&mut self, record: RecordId, partition: i32, headers: Headers) {
        let open = self.records.find_mut(record).expect("a running execution's record is open");
        open.source.copy_out();
        let bytes = open.source.bytes() + self.output.len() + WAITING_OVERHEAD_BYTES;
        let (place, offset) = (open.partition, open.offset);
        let kept = Kept { record, partition, value: self.output.clone(), headers, bytes };
        self.partition(place).order.keep(offset, kept);
        self.records.weigh_waiting(record, bytes);
        self.send_kept(place);
    }

    fn send_kept(&mut self, place: usize) {
        while let Some(kept) = self.partition(place).order.next_kept() {
            let Kept { record, partition: to, value, headers, .. } = kept;
            let Some(open) = self.records.find(record) else { continue };
            let partition = self.partitions[place].as_mut().expect("the partition was looked into just now");
            let outgoing = Outgoing { to: To::Results, partition: to, key: open.source.key(), value: Some(&value), headers, opaque: record.to_opaque() };
            emit(partition, open.offset, outgoing, open.source.bytes(), &mut self.sink);
        }
    }

    /// The partition was revoked: what waits to begin never will. It stays open in the window, so the mark stays below it and its next owner runs it.
    pub(super) fn give_back_deferred(&mut self, place: usize) {
        let partition = self.partitions[place].as_mut().expect("the caller has found it in the table");
        let mut gone = partition.order.clear_deferred();
        let epoch = partition.epoch;
        take_ready(&mut self.ready, &self.records, self.slots.shares_mut(), (place, epoch), &mut gone);
        partition.unbegun += gone.len() as u64;
        self.remove_records(&gone);
    }

    /// The partition's assignment is over: whatever waits is forgotten.
    pub(super) fn forget_waiting(&mut self, place: usize, partition: &mut Partition) {
        let mut gone = partition.order.clear();
        take_ready(&mut self.ready, &self.records, self.slots.shares_mut(), (place, partition.epoch), &mut gone);
        self.remove_records(&gone);
    }

    /// The position of a partition goes back: what waits from there on is forgotten, for it comes again.
    #[cold]
    pub(super) fn forget_above(&mut self, place: usize, from: i64) {
        let partition = self.partitions[place].as_mut().expect("the caller has found it in the table");
        let (records, epoch) = (&self.records, partition.epoch);
        let offset_of = |record| records.find(record).filter(|open| (open.partition, open.epoch) == (place, epoch)).map(|open| open.offset);
        let mut gone = partition.order.cut(from, offset_of, &records.held_keys(place, epoch, from));
        let shares = self.slots.shares_mut();
        self.ready.retain(|(record, _)| {
            let comes_again = offset_of(*record).is_some_and(|offset| offset >= from);
            if comes_again {
                shares.change(place, 1, 0);
                gone.push(*record);
            }
            !comes_again
        });
        self.remove_records(&gone);
    }

    fn remove_records(&mut self, gone: &[RecordId]) {
        for record in gone {
            self.records.remove(*record);
        }
    }
}

/// Takes the records of one assignment out of those whose turn has come.
fn take_ready(ready: &mut VecDeque<(RecordId, usize)>, records: &Records, shares: &mut Shares, (place, epoch): (usize, u32), gone: &mut Vec<RecordId>) {
    ready.retain(|(record, _)| {
        let is_its = records.find(*record).is_some_and(|open| open.partition == place && open.epoch == epoch);
        if is_its {
            shares.change(place, 1, 0);
            gone.push(*record);
        }
        !is_its
    });
}
