//! Which records of a partition wait for which, during one assignment.
//!
//! Only an execution that suspends or yields can be overtaken; one that ends in the call that began it never is. So all this sleeps until an execution of the partition suspends, and a record costs a comparison as long as none has ([`Order::is_idle`]).
//!
//! - **By key**: a key whose execution is open has a queue of records that were taken and not begun. The end of the one execution begins the next: executions of a key never overlap, and their results and dead letters reach the producer in the order of their offsets. Other keys, and records without a key, overtake freely.
//! - **By partition**: executions overlap, and a result is kept back until everything below it has ended. A record that becomes a dead letter ends there and then, and keeps nobody back.
//! - **None**: nothing is ever recorded here.
//!
//! What waits is bounded in records and in bytes; at the bound ([`Order::is_full`]) the partition takes no further record. A key is known by its hash of 64 bits: should two keys ever share it, one of them waits needlessly, which is no error.
//!
//! Deliberately absent: time, Kafka, and anything that outlives the assignment.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

use super::record::RecordId;
use crate::kafka::Headers;
use crate::pipeline::settings::Ordering;

/// How an open record stands in its partition's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Hold {
    /// Nobody waits for it, and it waits for nobody.
    #[default]
    Free,
    /// Others may wait for it: its end has to be told.
    Open,
    /// It waits to be begun.
    Deferred,
}

/// How much may wait in one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// A result that waits for those below it.
pub(crate) struct Kept {
    pub(crate) record: RecordId,
    /// The partition that it goes to.
    pub(crate) partition: i32,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Headers,
    /// What it counts for, with its record's copy.
    pub(crate) bytes: usize,
}

/// A record in the order of offsets, from the lowest whose execution is open on.
struct Turn {
    offset: i64,
    state: State,
}

enum State {
    Running,
    Kept(Kept),
    /// It has ended without a result.
    Gone,
}

/// A record that waits, and what it counts for.
type Deferred = (RecordId, usize);

/// What waits in one partition.
pub(crate) struct Order {
    rule: Ordering,
    seed: u64,
    limits: Limits,
    /// Executions that others may have to wait for.
    open: usize,
    /// By key, where the rule says so: the records behind its open execution.
    keys: HashMap<u64, VecDeque<Deferred>, BuildHasherDefault<AsIs>>,
    /// In the order of offsets, where the rule says so. The first is running.
    turns: VecDeque<Turn>,
    waiting: usize,
    waiting_bytes: usize,
}

impl Order {
    pub(crate) fn new(rule: Ordering, seed: u64, limits: Limits) -> Self {
        Self { rule, seed, limits, open: 0, keys: HashMap::default(), turns: VecDeque::new(), waiting: 0, waiting_bytes: 0 }
    }

    /// Whether nobody has to wait for anybody.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Whether no further record may be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting >= self.limits.records_max || self.waiting_bytes >= self.limits.bytes_max
    }

    /// Whether at most half of what may wait does.
    pub(crate) fn is_half_free(&self) -> bool {
        self.waiting * 2 <= self.limits.records_max && self.waiting_bytes * 2 <= self.limits.bytes_max
    }

    /// Records that wait: to be begun, or for their result to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a record of that key has to wait.
    pub(crate) fn defers(&self, key: Option<&[u8]>) -> bool {
        self.rule == Ordering::Key && key.is_some_and(|key| self.keys.contains_key(&self.hash(key)))
    }

    /// Puts a record behind the others of its key.
    pub(crate) fn defer(&mut self, key: &[u8], record: RecordId, bytes: usize) {
        let hash = self.hash(key);
        self.keys.entry(hash).or_default().push_back((record, bytes));
        self.waiting += 1;
        self.waiting_bytes += bytes;
    }

    /// An execution suspends or yields for the first time. Says whether its end has to be told.
    pub(crate) fn suspend(&mut self, key: Option<&[u8]>, offset: i64) -> bool {
        match (self.rule, key) {
            (Ordering::Key, Some(key)) => {
                let queue = self.keys.insert(self.hash(key), VecDeque::new());
                debug_assert!(queue.is_none(), "a record whose key is open is deferred");
            }
            (Ordering::Partition, _) => {
                debug_assert!(self.turns.back().is_none_or(|turn| turn.offset < offset), "records begin in the order of their offsets");
                self.turns.push_back(Turn { offset, state: State::Running });
            }
            (Ordering::None, _) | (Ordering::Key, None) => return false,
        }
        self.open += 1;
        true
    }

    /// An execution ended that others may wait for. By key, the next of them, which may begin now and whose end has to be told in turn; by partition, what is kept may go on ([`next_kept`](Order::next_kept)).
    pub(crate) fn end(&mut self, key: Option<&[u8]>, offset: i64) -> Option<RecordId> {
        match self.rule {
            Ordering::Key => return self.next_of_key(key?),
            Ordering::Partition => {
                let turn = self.turn(offset)?;
                if matches!(turn.state, State::Running) {
                    turn.state = State::Gone;
                    self.open -= 1;
                }
            }
            Ordering::None => {}
        }
        None
    }

    fn next_of_key(&mut self, key: &[u8]) -> Option<RecordId> {
        let hash = self.hash(key);
        let next = self.keys.get_mut(&hash)?.pop_front();
        let Some((record, bytes)) = next else {
            self.keys.remove(&hash);
            self.open -= 1;
            return None;
        };
        self.waiting -= 1;
        self.waiting_bytes -= bytes;
        Some(record)
    }

    /// Whether results wait for those below them now.
    pub(crate) fn keeps_results(&self) -> bool {
        self.rule == Ordering::Partition && self.open > 0
    }

    /// Keeps a result until its turn.
    pub(crate) fn keep(&mut self, offset: i64, kept: Kept) {
        self.waiting += 1;
        self.waiting_bytes += kept.bytes;
        match self.turn(offset) {
            Some(turn) => {
                turn.state = State::Kept(kept);
                self.open -= 1;
            }
            None => self.turns.push_back(Turn { offset, state: State::Kept(kept) }),
        }
    }

    /// The next result whose turn has come.
    pub(crate) fn next_kept(&mut self) -> Option<Kept> {
        while let Some(turn) = self.turns.pop_front_if(|turn| !matches!(turn.state, State::Running)) {
            if let State::Kept(kept) = turn.state {
                self.waiting -= 1;
                self.waiting_bytes -= kept.bytes;
                return Some(kept);
            }
        }
        None
    }

    /// Forgets everything, and tells which records were not begun or had their result kept.
    pub(crate) fn clear(&mut self) -> Vec<RecordId> {
        let deferred = self.clear_deferred();
        let kept = self.turns.drain(..).filter_map(|turn| if let State::Kept(kept) = turn.state { Some(kept.record) } else { None });
        let gone = deferred.into_iter().chain(kept).collect();
        self.keys.clear();
        (self.open, self.waiting, self.waiting_bytes) = (0, 0, 0);
        gone
    }

    /// Forgets what stands at `from` or above, and tells which records were not begun or had their result kept. `keys` are those of which something stands below: they stay open.
    pub(crate) fn cut(&mut self, from: i64, offset_of: impl Fn(RecordId) -> Option<i64>, keys: &[Vec<u8>]) -> Vec<RecordId> {
        let mut gone: Vec<Deferred> = Vec::new();
        let open_below: Vec<u64> = keys.iter().map(|key| self.hash(key)).collect();
        let before = self.keys.len();
        self.keys.retain(|hash, queue| {
            queue.retain(|deferred| {
                let stays = offset_of(deferred.0).is_some_and(|offset| offset < from);
                if !stays {
                    gone.push(*deferred);
                }
                stays
            });
            open_below.contains(hash)
        });
        self.open -= before - self.keys.len();
        while let Some(turn) = self.turns.pop_back_if(|turn| turn.offset >= from) {
            match turn.state {
                State::Running => self.open -= 1,
                State::Kept(kept) => gone.push((kept.record, kept.bytes)),
                State::Gone => {}
            }
        }
        self.waiting -= gone.len();
        self.waiting_bytes -= gone.iter().map(|(_, bytes)| bytes).sum::<usize>();
        gone.into_iter().map(|(record, _)| record).collect()
    }

    /// Forgets the records that were not begun, and tells which.
    pub(crate) fn clear_deferred(&mut self) -> Vec<RecordId> {
        let mut gone: Vec<Deferred> = self.keys.values_mut().flat_map(|queue| queue.drain(..)).collect();
        self.waiting -= gone.len();
        self.waiting_bytes -= gone.iter().map(|(_, bytes)| bytes).sum::<usize>();
        gone.drain(..).map(|(record, _)| record).collect()
    }

    fn turn(&mut self, offset: i64) -> Option<&mut Turn> {
        let place = self.turns.binary_search_by_key(&offset, |turn| turn.offset).ok()?;
        self.turns.get_mut(place)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        hasher.finish()
    }
}

/// Takes a number that is a hash already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { records_max: 4, bytes_max: 100 };

    fn id(place: u32) -> RecordId {
        RecordId::for_tests(place)
    }

    fn kept(place: u32) -> Kept {
        Kept { record: id(place), partition: 0, value: Vec::new(), headers: Headers::with_capacity(0), bytes: 10 }
    }

    fn order(rule: Ordering) -> Order {
        Order::new(rule, 7, LIMITS)
    }

    #[test]
    fn records_of_an_open_key_wait_and_others_do_not() {
        let mut order = order(Ordering::Key);
        assert!(!order.defers(Some(b"a")) && order.is_idle());
        assert!(order.suspend(Some(b"a"), 0));
        assert!(order.defers(Some(b"a")) && !order.defers(Some(b"b")) && !order.defers(Some(b"")) && !order.defers(None));
        order.defer(b"a", id(1), 10);
        order.defer(b"a", id(2), 10);
        assert_eq!(order.end(Some(b"a"), 0), Some(id(1)));
        assert!(order.defers(Some(b"a")), "the next one of the key is open now");
        assert_eq!(order.end(Some(b"a"), 1), Some(id(2)));
        assert_eq!(order.end(Some(b"a"), 2), None);
        assert!(order.is_idle() && !order.defers(Some(b"a")) && order.waiting() == 0);
    }

    #[test]
    fn what_stands_below_a_cut_goes_on_and_the_rest_is_forgotten() {
        let offset_of = |record: RecordId| (0..20).find(|offset| id(u32::try_from(*offset).unwrap()) == record);
        let mut by_key = order(Ordering::Key);
        by_key.suspend(Some(b"a"), 1);
        by_key.suspend(Some(b"b"), 8);
        [(b"a", 2), (b"a", 9), (b"b", 10)].into_iter().for_each(|(key, place)| by_key.defer(key, id(place), 10));
        let mut gone = by_key.cut(5, offset_of, &[b"a".to_vec()]);
        gone.sort_by_key(|record| offset_of(*record));
        assert_eq!((gone, by_key.waiting()), (vec![id(9), id(10)], 1));
        assert!(by_key.defers(Some(b"a")) && !by_key.defers(Some(b"b")));
        assert_eq!((by_key.end(Some(b"a"), 1), by_key.end(Some(b"a"), 2)), (Some(id(2)), None));
        assert!(by_key.is_idle());

        let mut by_partition = order(Ordering::Partition);
        by_partition.suspend(None, 3);
        by_partition.keep(4, kept(4));
        by_partition.suspend(None, 6);
        by_partition.keep(7, kept(7));
        assert_eq!(by_partition.cut(5, offset_of, &[]), [id(7)]);
        assert!(by_partition.next_kept().is_none(), "the one at 3 runs");
        by_partition.end(None, 3);
        assert_eq!(by_partition.next_kept().map(|kept| kept.record), Some(id(4)));
        assert!(by_partition.is_idle() && by_partition.waiting() == 0);
    }

    #[test]
    fn a_record_without_a_key_waits_for_nobody_and_nobody_for_it() {
        let mut order = order(Ordering::Key);
        assert!(!order.suspend(None, 0));
        assert!(order.is_idle());
        assert!(order.suspend(Some(b""), 1), "an empty key is a key");
    }

    #[test]
    fn what_waits_is_bounded_in_records_and_in_bytes() {
        let mut order = order(Ordering::Key);
        order.suspend(Some(b"a"), 0);
        (1..4).for_each(|place| order.defer(b"a", id(place), 1));
        assert!(!order.is_full() && !order.is_half_free());
        order.defer(b"a", id(4), 1);
        assert!(order.is_full());
        order.clear_deferred();
        assert!(order.is_half_free() && !order.is_idle(), "the open execution stays");
        order.defer(b"a", id(5), 99);
        assert!(!order.is_full());
        order.defer(b"a", id(6), 1);
        assert!(order.is_full());
        assert_eq!(order.clear(), [id(5), id(6)]);
        assert!(order.is_idle() && order.is_half_free());
    }

    #[test]
    fn results_wait_for_those_below_them_and_for_no_others() {
        let mut order = order(Ordering::Partition);
        assert!(!order.keeps_results());
        assert!(order.suspend(Some(b"a"), 3) && order.suspend(None, 5));
        order.keep(7, kept(7));
        order.keep(5, kept(5));
        assert!(order.next_kept().is_none() && order.keeps_results());
        order.keep(3, kept(3));
        let sent: Vec<_> = std::iter::from_fn(|| order.next_kept()).map(|kept| kept.record).collect();
        assert_eq!(sent, [id(3), id(5), id(7)]);
        assert!(order.is_idle() && order.waiting() == 0);
    }

    #[test]
    fn an_end_without_a_result_keeps_nobody_back() {
        let mut order = order(Ordering::Partition);
        order.suspend(None, 1);
        order.suspend(None, 2);
        order.keep(4, kept(4));
        assert_eq!(order.end(None, 1), None);
        assert!(order.next_kept().is_none(), "2 is still running");
        order.end(None, 2);
        assert_eq!(order.next_kept().map(|kept| kept.record), Some(id(4)));
        assert!(order.is_idle());
    }

    #[test]
    fn nothing_is_recorded_without_a_rule() {
        let mut order = order(Ordering::None);
        assert!(!order.suspend(Some(b"a"), 0));
        assert!(order.is_idle() && !order.defers(Some(b"a")) && !order.keeps_results());
    }

    /// What happens in a partition: a record comes, or one of the open executions ends.
    #[derive(Debug, Clone)]
    enum Deed {
        Take { key: Option<u8>, suspends: bool },
        End { pick: usize, dead: bool },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            (prop::option::weighted(0.9, 0..4_u8), any::<bool>()).prop_map(|(key, suspends)| Deed::Take { key, suspends }),
            (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, dead)| Deed::End { pick, dead }),
        ]
    }

    /// A shard reduced to what concerns order: the number of a record is its offset and its place.
    struct World {
        order: Order,
        keys: Vec<Option<u8>>,
        /// By record: whether it suspends.
        suspends: Vec<bool>,
        open: Vec<u32>,
        begun: Vec<u32>,
        /// Ended, with a result or without.
        sent: Vec<u32>,
    }

    impl World {
        fn key(&self, record: u32) -> Option<[u8; 1]> {
            self.keys[record as usize].map(|key| [key])
        }

        fn take(&mut self, key: Option<u8>, suspends: bool) {
            let record = u32::try_from(self.keys.len()).unwrap();
            self.keys.push(key);
            self.suspends.push(suspends);
            let key = self.key(record);
            if !self.order.is_idle() && self.order.defers(key.as_ref().map(<[u8; 1]>::as_slice)) {
                return self.order.defer(&key.unwrap(), id(record), 1);
            }
            self.begin(record, false);
        }

        fn begin(&mut self, record: u32, is_told: bool) {
            self.begun.push(record);
            let key = self.key(record);
            if !self.suspends[record as usize] {
                return self.end(record, is_told, false);
            }
            let is_told = is_told || self.order.suspend(key.as_ref().map(<[u8; 1]>::as_slice), i64::from(record));
            assert!(is_told || self.order.rule == Ordering::None || key.is_none());
            self.open.push(record);
        }

        fn end(&mut self, record: u32, is_told: bool, dead: bool) {
            let key = self.key(record);
            if self.order.keeps_results() && !dead {
                self.order.keep(i64::from(record), kept(record));
            } else {
                self.sent.push(record);
                if is_told && let Some(next) = self.order.end(key.as_ref().map(<[u8; 1]>::as_slice), i64::from(record)) {
                    let next = u32::try_from(next.to_opaque()).unwrap();
                    self.begin(next, true);
                }
            }
            while let Some(kept) = self.order.next_kept() {
                self.sent.push(u32::try_from(kept.record.to_opaque()).unwrap());
            }
        }

        fn deed(&mut self, deed: &Deed) {
            match *deed {
                Deed::Take { key, suspends } => self.take(key, suspends),
                Deed::End { .. } if self.open.is_empty() => {}
                Deed::End { pick, dead } => {
                    let record = self.open.swap_remove(pick % self.open.len());
                    let is_told = match self.order.rule {
                        Ordering::Key => self.keys[record as usize].is_some(),
                        Ordering::Partition => true,
                        Ordering::None => false,
                    };
                    self.end(record, is_told, dead);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_rule_keeps_its_promise(rule in 0..3_usize, deeds in prop::collection::vec(deed(), 1..200)) {
            let rule = [Ordering::None, Ordering::Key, Ordering::Partition][rule];
            let mut world = World { order: order(rule), keys: Vec::new(), suspends: Vec::new(), open: Vec::new(), begun: Vec::new(), sent: Vec::new() };
            let mut dead = false;
            for deed in &deeds {
                dead |= matches!(deed, Deed::End { dead: true, .. });
                world.deed(deed);
                if rule == Ordering::Key {
                    let open: Vec<_> = world.open.iter().filter_map(|record| world.keys[*record as usize]).collect();
                    let distinct: std::collections::BTreeSet<_> = open.iter().collect();
                    prop_assert_eq!(open.len(), distinct.len(), "executions of a key overlap");
                }
            }
            while !world.open.is_empty() {
                world.deed(&Deed::End { pick: 0, dead: false });
            }
            prop_assert!(world.order.is_idle() && world.order.waiting() == 0 && world.order.waiting_bytes == 0);
            prop_assert!(world.order.keys.is_empty() && world.order.turns.is_empty());
            let mut all = world.sent.clone();
            all.sort_unstable();
            prop_assert_eq!(all.len(), world.keys.len(), "each ends once");
            prop_assert!(all.iter().zip(0..).all(|(record, index)| *record == index));
            if rule == Ordering::Partition && !dead {
                prop_assert!(world.sent.is_sorted(), "{:?}", world.sent);
            }
            if rule == Ordering::Key {
                for key in 0..4 {
                    let of_key = |records: &[u32]| records.iter().filter(|record| world.keys[**record as usize] == Some(key)).copied().collect::<Vec<_>>();
                    prop_assert!(of_key(&world.begun).is_sorted() && of_key(&world.sent).is_sorted());
                }
            }
        }
    }
}
