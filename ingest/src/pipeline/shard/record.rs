//! The open records of a shard: from the moment they are taken until the broker has acknowledged what became of them.
//!
//! An open record keeps its source, because a dead letter needs key, value and headers as they came, and may become necessary as late as the delivery report. While the result is under way the consumed message itself is kept, which costs nothing. An execution that suspends or yields may live for minutes, and a kept message would pin the whole fetch response it lies in, so its source is copied out.

use super::order::Hold;
use super::share::Shares;
use super::version::VersionId;
use crate::kafka::{Headers, Message};
use crate::pipeline::Class;
use crate::pipeline::memory::OPEN_RECORD_BYTES;
use crate::pipeline::sink::To;

/// Names an open record. The generation makes a late report for a reused place find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordId {
    place: u32,
    generation: u32,
}

impl RecordId {
    /// As the number that travels through the producer.
    pub(crate) fn to_opaque(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    /// From the number that came back.
    pub(crate) fn from_opaque(opaque: u64) -> Self {
        let place = u32::try_from(opaque & u64::from(u32::MAX)).expect("masked to 32 bits");
        let generation = u32::try_from(opaque >> 32).expect("shifted to 32 bits");
        Self { place, generation }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(place: u32) -> Self {
        Self { place, generation: 0 }
    }

    fn index(self) -> usize {
        usize::try_from(self.place).expect("a place fits into memory")
    }
}

/// What came from Kafka.
pub(crate) enum Source {
    /// The consumed message.
    Held(Message),
    /// A copy, for executions that may live long.
    Copied(Box<Copied>),
}

/// A copy of a consumed message.
pub(crate) struct Copied {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Option<Headers>,
}

impl Source {
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Held(message) => message.key(),
            Self::Copied(copied) => copied.key.as_deref(),
        }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Held(message) => message.value(),
            Self::Copied(copied) => copied.value.as_deref(),
        }
    }

    /// Takes the headers; only a dead letter wants them, and only once.
    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        match self {
            Self::Held(message) => message.take_headers(),
            Self::Copied(copied) => copied.headers.take(),
        }
    }

    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }

    /// Lets the message go, keeping a copy.
    pub(crate) fn copy_out(&mut self) {
        if let Self::Held(message) = self {
            let headers = message.take_headers();
            *self = Self::Copied(Box::new(Copied { key: message.key().map(<[u8]>::to_vec), value: message.value().map(<[u8]>::to_vec), headers }));
        }
    }
}

/// An open record.
pub(crate) struct Open {
    /// Its partition's place in the shard's table.
    pub(crate) partition: usize,
    /// The assignment during which it was taken.
    pub(crate) epoch: u32,
    pub(crate) offset: i64,
    /// When it was written to Kafka, or taken where that is unknown: nanoseconds since the Unix epoch.
    pub(crate) since_ns: u64,
    pub(crate) class: Class,
    pub(crate) to: To,
    /// The definition's version under which its execution began.
    pub(crate) version: VersionId,
    pub(crate) hold: Hold,
    /// Whether it waits, for a task, a timer or its turn, and its memory counts for its partition.
    pub(crate) waits: bool,
    /// Memory that it takes; see [`Records::weigh`].
    pub(crate) bytes: u32,
    pub(crate) source: Source,
}

/// All open records of a shard. Places are reused last in, first out.
pub(crate) struct Records {
    places: Vec<Option<Open>>,
    /// By place. Apart from the places, which are large and cold when their turn comes: a place is taken without waiting for memory.
    generations: Vec<u32>,
    free: Vec<u32>,
    bytes: u64,
    shares: Shares,
}

impl Records {
    /// Of partitions that share so many bytes for what waits; there can be that many of them.
    pub(crate) fn new(bytes_max: u64, partitions_max: u32) -> Self {
        Self { places: Vec::new(), generations: Vec::new(), free: Vec::new(), bytes: 0, shares: Shares::new(bytes_max, partitions_max) }
    }

    /// What the partitions of the shard hold, of memory for what waits.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The shard has `partitions` now, in `places` places.
    pub(crate) fn share_out(&mut self, places: usize, partitions: usize) {
        self.shares.share_out(places, partitions);
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Memory of all that are open.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.open() as u64 * OPEN_RECORD_BYTES
    }

    /// Sets what an open record takes beside its place: its source, its result.
    pub(crate) fn weigh(&mut self, id: RecordId, bytes: usize) {
        self.set_weight(id, bytes, false);
    }

    /// Sets what an open record takes while it waits: its source, its execution, a result that is kept.
    pub(crate) fn weigh_waiting(&mut self, id: RecordId, bytes: usize) {
        self.set_weight(id, bytes, true);
    }

    #[inline]
    fn set_weight(&mut self, id: RecordId, bytes: usize, waits: bool) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.is_current(id)
            && let Some(open) = &mut self.places[id.index()]
        {
            self.bytes = self.bytes + u64::from(bytes) - u64::from(open.bytes);
            if open.waits || waits {
                let weight = |waits: bool, bytes: u32| if waits { u64::from(bytes) + OPEN_RECORD_BYTES } else { 0 };
                self.shares.change(open.partition, weight(open.waits, open.bytes), weight(waits, bytes));
                open.waits = waits;
            }
            open.bytes = bytes;
        }
    }

    pub(crate) fn insert(&mut self, record: Open) -> RecordId {
        let Some(place) = self.free.pop() else {
            let place = u32::try_from(self.places.len()).expect("open records are bounded");
            self.places.push(Some(record));
            self.generations.push(0);
            return RecordId { place, generation: 0 };
        };
        let index = usize::try_from(place).expect("a place fits into memory");
        self.places[index] = Some(record);
        RecordId { place, generation: self.generations[index] }
    }

    fn is_current(&self, id: RecordId) -> bool {
        self.generations.get(id.index()) == Some(&id.generation)
    }

    pub(crate) fn find(&self, id: RecordId) -> Option<&Open> {
        if self.is_current(id) { self.places[id.index()].as_ref() } else { None }
    }

    pub(crate) fn find_mut(&mut self, id: RecordId) -> Option<&mut Open> {
        if self.is_current(id) { self.places[id.index()].as_mut() } else { None }
    }

    /// The keys of a partition's records below an offset that others wait for, or that wait.
    pub(crate) fn held_keys(&self, partition: usize, epoch: u32, below: i64) -> Vec<Vec<u8>> {
        let is_held = |open: &&Open| (open.partition, open.epoch) == (partition, epoch) && open.offset < below && open.hold != Hold::Free;
        self.places.iter().flatten().filter(is_held).filter_map(|open| open.source.key()).map(<[u8]>::to_vec).collect()
    }

    /// The open records of a partition, in the order of their offsets.
    pub(crate) fn of_partition(&self, partition: usize, epoch: u32) -> Vec<(i64, RecordId)> {
        let used = self.places.iter().zip(&self.generations).zip(0..).filter_map(|((open, generation), place)| {
            let open = open.as_ref().filter(|open| (open.partition, open.epoch) == (partition, epoch))?;
            Some((open.offset, RecordId { place, generation: *generation }))
        });
        let mut records: Vec<_> = used.collect();
        records.sort_unstable_by_key(|(offset, _)| *offset);
        records
    }

    /// Gives the records of a partition below an offset another epoch.
    pub(crate) fn renew(&mut self, partition: usize, from: u32, below: i64, to: u32) {
        for open in self.places.iter_mut().flatten() {
            if (open.partition, open.epoch) == (partition, from) && open.offset < below {
                open.epoch = to;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: RecordId) -> Option<Open> {
        if self.find(id)?.waits {
            self.weigh(id, 0);
        }
        let open = self.places[id.index()].take()?;
        self.generations[id.index()] = id.generation.wrapping_add(1);
        self.free.push(id.place);
        self.bytes -= u64::from(open.bytes);
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::version::Versions;
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_the_producer() {
        let id = RecordId { place: 0xdead_beef, generation: 0xffff_fffe };
        assert_eq!(RecordId::from_opaque(id.to_opaque()), id);
    }

    fn open(offset: i64) -> Open {
        let source = Source::Copied(Box::new(Copied { key: None, value: None, headers: None }));
        let version = Versions::new(&Arc::from("v1")).current();
        Open {
            partition: 0,
            epoch: 1,
            offset,
            since_ns: 0,
            class: Class::Succeeded,
            to: To::Results,
            version,
            hold: Hold::Free,
            waits: false,
            bytes: 0,
            source,
        }
    }

    #[test]
    fn what_is_open_is_weighed_until_it_is_closed() {
        let mut records = Records::new(u64::MAX, 1);
        let (first, second) = (records.insert(open(1)), records.insert(open(2)));
        records.weigh(first, 500);
        records.weigh(second, 70);
        records.weigh(first, 300);
        assert_eq!(records.bytes(), 370 + 2 * OPEN_RECORD_BYTES);
        records.remove(first);
        records.weigh(first, 9_000);
        assert_eq!(records.bytes(), 70 + OPEN_RECORD_BYTES);
        records.remove(second);
        assert_eq!(records.bytes(), 0);
    }

    #[test]
    fn what_waits_counts_for_its_partition() {
        let mut records = Records::new(100_000, 2);
        records.share_out(1, 1);
        let (first, second) = (records.insert(open(1)), records.insert(open(2)));
        records.weigh_waiting(first, 500);
        records.weigh_waiting(first, 900);
        records.weigh(second, 70);
        assert_eq!(records.shares().held(0), 900 + OPEN_RECORD_BYTES);
        records.weigh(first, 40);
        assert_eq!(records.shares().held(0), 0, "its execution has ended");
        records.weigh_waiting(second, 10);
        records.remove(second);
        assert_eq!((records.shares().held(0), records.bytes()), (0, 40 + OPEN_RECORD_BYTES));
    }

    #[test]
    fn a_late_report_finds_nothing_in_a_reused_place() {
        let mut records = Records::new(u64::MAX, 1);
        let first = records.insert(open(1));
        assert_eq!(records.remove(first).map(|open| open.offset), Some(1));
        let second = records.insert(open(2));
        assert!(records.find(first).is_none());
        assert!(records.remove(first).is_none());
        assert_eq!(records.find(second).map(|open| open.offset), Some(2));
        assert_eq!(records.open(), 1);
    }
}
