//! The places of live executions: a bounded pool, handed out last in, first out, so that a finished execution leaves its hot slot to the next record.

use std::collections::VecDeque;

use super::record::RecordId;
use super::share::Shares;

/// The number of a slot, as the engine knows it.
pub(crate) type SlotId = u32;

/// Which record's execution a slot holds.
#[derive(Debug)]
pub(crate) struct Slots {
    idle: Vec<SlotId>,
    /// By slot number; `None` for idle and retired slots.
    records: Vec<Option<RecordId>>,
    /// By slot number: whether it waits in `yielded`.
    is_yielded: Vec<bool>,
    yielded: VecDeque<SlotId>,
    /// By slot number: the place of the partition that it counts for, while its execution waits.
    counts_for: Vec<Option<usize>>,
    shares: Shares,
    open: usize,
    open_max: usize,
}

impl Slots {
    /// A pool that lends at most `open_max` slots at a time, to as many partitions as the shard can ever have.
    pub(crate) fn new(open_max: u32, partitions_max: u32) -> Self {
        Self {
            idle: Vec::new(),
            records: Vec::new(),
            is_yielded: Vec::new(),
            yielded: VecDeque::new(),
            counts_for: Vec::new(),
            shares: Shares::new(u64::from(open_max), partitions_max),
            open: 0,
            open_max: usize::try_from(open_max).expect("a slot count fits into memory"),
        }
    }

    /// How many slots can still be lent.
    pub(crate) fn room(&self) -> usize {
        self.open_max - self.open
    }

    /// How many are lent.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Lends a slot to a record.
    pub(crate) fn acquire(&mut self, record: RecordId) -> SlotId {
        assert!(self.open < self.open_max, "a batch is never larger than the room for it");
        self.open += 1;
        let slot = self.idle.pop().unwrap_or_else(|| {
            self.records.push(None);
            self.is_yielded.push(false);
            self.counts_for.push(None);
            u32::try_from(self.records.len() - 1).expect("slots are bounded by executions_open_max and retired ones")
        });
        self.records[place(slot)] = Some(record);
        slot
    }

    /// Takes a slot back.
    pub(crate) fn release(&mut self, slot: SlotId) {
        self.forget_yielded(slot);
        self.give_share_back(slot);
        if self.records[place(slot)].take().is_some() {
            self.open -= 1;
            self.idle.push(slot);
        }
    }

    /// Takes a slot out for good: after a panic nobody knows what it holds. Its number is not used again, so answers to it find nothing.
    pub(crate) fn retire(&mut self, slot: SlotId) {
        self.forget_yielded(slot);
        self.give_share_back(slot);
        if self.records[place(slot)].take().is_some() {
            self.open -= 1;
        }
    }

    /// What the partitions of the shard hold, of slots.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The same, to change it: a record that may begin has a slot promised.
    pub(crate) fn shares_mut(&mut self) -> &mut Shares {
        &mut self.shares
    }

    /// The execution in a slot waits: from now on it counts for its partition.
    pub(crate) fn wait(&mut self, slot: SlotId, partition: usize) {
        if self.counts_for[place(slot)].replace(partition).is_none() {
            self.shares.change(partition, 0, 1);
        }
    }

    fn give_share_back(&mut self, slot: SlotId) {
        if let Some(partition) = self.counts_for[place(slot)].take() {
            self.shares.change(partition, 1, 0);
        }
    }

    /// The record whose execution is in a slot.
    pub(crate) fn record(&self, slot: SlotId) -> Option<RecordId> {
        self.records.get(place(slot)).copied().flatten()
    }

    /// Puts a slot at the end of those that go on without an answer.
    pub(crate) fn push_yielded(&mut self, slot: SlotId) {
        if !std::mem::replace(&mut self.is_yielded[place(slot)], true) {
            self.yielded.push_back(slot);
        }
    }

    /// The next slot that goes on without an answer.
    pub(crate) fn next_yielded(&mut self) -> Option<SlotId> {
        let slot = self.yielded.pop_front()?;
        self.is_yielded[place(slot)] = false;
        Some(slot)
    }

    /// How many slots go on without an answer.
    pub(crate) fn yielded(&self) -> usize {
        self.yielded.len()
    }

    pub(crate) fn has_yielded(&self) -> bool {
        !self.yielded.is_empty()
    }

    pub(crate) fn is_yielded(&self, slot: SlotId) -> bool {
        self.is_yielded[place(slot)]
    }

    fn forget_yielded(&mut self, slot: SlotId) {
        if std::mem::take(&mut self.is_yielded[place(slot)]) {
            self.yielded.retain(|yielded| *yielded != slot);
        }
    }

    /// The lent slots with their records.
    pub(crate) fn lent(&self) -> impl Iterator<Item = (SlotId, RecordId)> {
        self.records.iter().zip(0..).filter_map(|(record, slot)| record.map(|record| (slot, record)))
    }
}

fn place(slot: SlotId) -> usize {
    usize::try_from(slot).expect("a slot number fits into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_that_was_used_last_is_used_next() {
        let mut slots = Slots::new(3, 1);
        let record = RecordId::for_tests(0);
        let (first, second) = (slots.acquire(record), slots.acquire(record));
        slots.release(second);
        slots.release(first);
        assert_eq!(slots.acquire(record), first);
        assert_eq!(slots.acquire(record), second);
        assert_eq!(slots.room(), 1);
    }

    #[test]
    fn yielded_slots_go_on_in_turn_and_only_once() {
        let mut slots = Slots::new(3, 1);
        let record = RecordId::for_tests(0);
        let (first, second) = (slots.acquire(record), slots.acquire(record));
        slots.push_yielded(first);
        slots.push_yielded(second);
        slots.push_yielded(first);
        assert_eq!(slots.yielded(), 2);
        slots.release(second);
        assert_eq!((slots.next_yielded(), slots.next_yielded()), (Some(first), None));
    }

    #[test]
    fn a_retired_slot_never_comes_back_but_leaves_its_room() {
        let mut slots = Slots::new(1, 1);
        let record = RecordId::for_tests(0);
        let broken = slots.acquire(record);
        slots.retire(broken);
        assert_eq!(slots.room(), 1);
        assert_ne!(slots.acquire(record), broken);
        assert_eq!(slots.record(broken), None);
    }

    #[test]
    fn a_slot_counts_for_its_partition_from_the_first_wait_to_the_end() {
        let mut slots = Slots::new(3, 2);
        slots.shares_mut().share_out(2, 2);
        let record = RecordId::for_tests(0);
        let (first, second) = (slots.acquire(record), slots.acquire(record));
        slots.wait(first, 1);
        slots.wait(first, 1);
        slots.wait(second, 1);
        assert_eq!((slots.shares().held(0), slots.shares().held(1)), (0, 2));
        slots.release(first);
        slots.retire(second);
        assert_eq!(slots.shares().held(1), 0);
        let third = slots.acquire(record);
        slots.release(third);
        assert_eq!(slots.shares().held(1), 0);
    }
}
