//! Records on their way to the producer, partition by partition.
//!
//! An idempotent producer of librdkafka has one request a partition under way, and its thread polls without pause while records wait behind it for longer than the linger time. So records wait *here*: a lane hands its bundle over when nothing of its partition is under way. What gathers meanwhile is the next bundle, so a busy broker gets large ones and an idle one gets each record at once, without a time to set.
//!
//! **What comes back** goes to the front of its lane once the rest of its bundle is reported, in the order in which it came, so nothing of a partition overtakes it.
//!
//! **In a transaction** what the broker has taken is kept until the transaction is committed; when it is aborted, that goes again too, in the order of its offsets. There a refusal costs the whole transaction, so the limit falls faster, and grows with commits only: one that grew within a transaction would have the next attempt refused at the same place.
//!
//! **A bundle that is refused for its size** is refused whole, be it for a single record. It is halved: a lane's bundles get a limit in bytes, half of what was refused, until a record is refused that went alone, which is then singled out. Bundles that are accepted double the limit again, some at a time, until it is gone; the more often that was in vain, the more of them. So a record that is too large among n others is found with some 2 log n requests, and a topic with a small limit is served in bundles near that limit.

use std::collections::VecDeque;

use crate::kafka::{Bundle, Headers, client};

/// Largest bundle, before compression, unless `batch.size` says otherwise.
const BUNDLE_BYTES: u64 = 1_000_000;
/// Records in one bundle, unless `batch.num.messages` says otherwise: librdkafka's default.
const BUNDLE_RECORDS: u64 = 10_000;
/// Bundles kept for use again.
const SPARE_MAX: usize = 8;
/// Buffer of a bundle that is kept for use again. One that a large record made larger is given back.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Bundles accepted under a limit before it is doubled, at first. Twice as many each time that a doubled one was too much.
const PATIENCE_MIN: u32 = 8;
/// The most of them: where the limit is the topic's own, one bundle in some thousand is refused.
const PATIENCE_MAX: u32 = 1_024;

/// Part of a refused bundle's bytes that the next ones may have.
const PART: usize = 2;
/// The same in a transaction.
const PART_IN_TRANSACTION: usize = 8;

/// Why a record comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may be taken later, and not before this time.
    Later(u64),
    /// It was taken back on our own behalf.
    Again,
    /// It was in a bundle that was refused for its size.
    TooLarge,
}

/// How large bundles may be: what librdkafka puts into one request, for more would wait inside the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BundleMax {
    /// Before compression.
    pub(crate) bytes: usize,
    /// A bundle of so many records goes at once, a smaller one at the end of the linger time.
    pub(crate) records: usize,
}

impl BundleMax {
    /// As the client's options have it.
    pub(crate) fn of(options: &[(String, String)]) -> Self {
        let number = |option, default| usize::try_from(client::number_option(options, option, default)).unwrap_or(usize::MAX);
        let bytes = number("batch.size", BUNDLE_BYTES).min(number("message.max.bytes", client::MESSAGE_BYTES_MAX));
        Self { bytes, records: number("batch.num.messages", BUNDLE_RECORDS).max(1) }
    }
}

/// How large a lane's bundles may be, as far as the broker's answers tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Limit {
    /// None while no bundle was refused.
    bytes: Option<usize>,
    accepted: u32,
    /// How many bundles are to be accepted before the limit is doubled; 0 before anything was refused.
    patience: u32,
    /// Bytes of the bundle that was refused last.
    refused: usize,
    /// Whether the limit was doubled since.
    has_grown: bool,
}

impl Limit {
    fn refused(&mut self, bytes: usize, part: usize) {
        let patience = if self.has_grown { self.patience * 2 } else { self.patience };
        *self = Self { bytes: Some(bytes / part), accepted: 0, patience: patience.clamp(PATIENCE_MIN, PATIENCE_MAX), refused: bytes, has_grown: false };
    }

    /// A bundle of so many bytes was accepted; no bundle is larger than `bytes_max` without a limit.
    fn accepted(&mut self, bytes: usize, bytes_max: usize) {
        if self.patience == 0 {
            return;
        }
        if bytes >= self.refused {
            // What was too large once is not any more, so growing is worth the while.
            self.patience = PATIENCE_MIN;
        }
        self.accepted += 1;
        if self.accepted < self.patience {
            return;
        }
        match self.bytes {
            Some(limit) => {
                self.bytes = Some(limit.max(1).saturating_mul(2)).filter(|limit| *limit < bytes_max);
                (self.accepted, self.has_grown) = (0, true);
            }
            // As many again without a limit: growing was not in vain.
            None => *self = Self::default(),
        }
    }
}

/// The lane of one partition.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Bundle>,
    /// Records of the partition that the client has and has not reported.
    under_way: usize,
    /// The bundle that they belong to: records and bytes.
    last: (usize, usize),
    /// Records of it that the client has reported and that are to go again.
    back: Bundle,
    /// Records of it that the client did not take, which come behind those.
    rejected: Bundle,
    is_too_large: bool,
    limit: Limit,
    /// The largest bundle that the broker has taken into the open transaction, in bytes.
    largest: usize,
    not_before_ns: u64,
    /// Records that the broker has taken into a transaction which is not committed.
    kept: Bundle,
}

/// The lanes of a topic.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    spare: Vec<Bundle>,
    /// Records that were refused alone, with their partition.
    singled_out: Vec<(i32, Bundle)>,
    max: BundleMax,
    record_bytes_extra: usize,
    waiting: usize,
    /// Lanes whose records have come back and were not yet taken since.
    held_back: usize,
    resent: u64,
    is_transactional: bool,
}

impl Lanes {
    /// Lanes whose bundles are at most that large, unless a single record has more bytes. Each record counts with its key, its value and `record_bytes_extra` for headers and framing.
    pub(crate) fn new(max: BundleMax, record_bytes_extra: usize) -> Self {
        Self {
            lanes: Vec::new(),
            spare: Vec::new(),
            singled_out: Vec::new(),
            max,
            record_bytes_extra,
            waiting: 0,
            held_back: 0,
            resent: 0,
            is_transactional: false,
        }
    }

    /// The same for records that go in transactions.
    pub(crate) fn in_transactions(self) -> Self {
        Self { is_transactional: true, ..self }
    }

    /// Records that wait, over all partitions.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether records of some partition have come back and were not taken since.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back > 0
    }

    /// Records that came back so far, to go again.
    pub(crate) fn resent(&self) -> u64 {
        self.resent
    }

    fn lane(&mut self, partition: i32) -> &mut Lane {
        let index = usize::try_from(partition).expect("a record's partition was chosen among those there are");
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, Lane::default);
        }
        &mut self.lanes[index]
    }

    /// Puts a record behind those of its partition.
    pub(crate) fn push(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64) {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let (max, extra) = (self.max, self.record_bytes_extra);
        self.waiting += 1;
        let waiting = &mut self.lane(partition).waiting;
        let has_room = |bundle: &&mut Bundle| bundle.len() < max.records && bundle.bytes() + bytes + (bundle.len() + 1) * extra <= max.bytes;
        if let Some(last) = waiting.back_mut().filter(has_room) {
            return last.push(key, value, headers, opaque);
        }
        let mut bundle = self.spare.pop().unwrap_or_default();
        bundle.push(key, value, headers, opaque);
        self.lane(partition).waiting.push_back(bundle);
    }

    /// Puts records behind those of their partition, in a bundle of their own.
    pub(crate) fn push_bundle(&mut self, partition: i32, bundle: Bundle) {
        self.waiting += bundle.len();
        self.lane(partition).waiting.push_back(bundle);
    }

    /// A partition with a bundle that may go, and the bundle. Afterwards [`Lanes::sent`] says how many of its records went.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<(i32, Bundle)> {
        if self.waiting == 0 {
            return None;
        }
        let may_go = |lane: &Lane| lane.under_way == 0 && !lane.waiting.is_empty() && lane.not_before_ns <= now_ns;
        let index = self.lanes.iter().position(may_go)?;
        let (lane, extra) = (&mut self.lanes[index], self.record_bytes_extra);
        let mut bundle = lane.waiting.pop_front().expect("the lane was seen to have one");
        let size = |bundle: &Bundle| bundle.bytes() + bundle.len() * extra;
        while bundle.len() > 1 && lane.limit.bytes.is_some_and(|bytes| size(&bundle) > bytes) {
            let rest = bundle.split_off(bundle.len() / 2);
            lane.waiting.push_front(rest);
        }
        lane.last = (bundle.len(), size(&bundle));
        self.waiting -= bundle.len();
        Some((i32::try_from(index).expect("lanes are numbered by partitions"), bundle))
    }

    /// A record of the bundle that [`Lanes::next`] gave was not taken by the client.
    pub(crate) fn rejected(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64, fate: Fate) {
        let lane = self.meet(partition, fate);
        lane.rejected.push(key, value, headers, opaque);
    }

    /// So many records of a partition went to the client.
    pub(crate) fn sent(&mut self, partition: i32, records: usize) {
        let lane = self.lane(partition);
        lane.under_way += records;
        if lane.under_way == 0 {
            self.conclude(partition);
        }
    }

    /// The client has reported a record of a partition, with which all is well or which nobody wants back.
    pub(crate) fn reported(&mut self, partition: i32) {
        let lane = usize::try_from(partition).ok().and_then(|index| self.lanes.get_mut(index));
        debug_assert!(lane.as_ref().is_some_and(|lane| lane.under_way > 0), "each record is reported once, with the partition it was sent to");
        let Some(lane) = lane else { return };
        lane.under_way = lane.under_way.saturating_sub(1);
        if lane.under_way == 0 {
            self.conclude(partition);
        }
    }

    /// The client has reported a record that is to go again.
    pub(crate) fn came_back(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64, fate: Fate) {
        let lane = self.meet(partition, fate);
        lane.back.push(key, value, headers, opaque);
        self.reported(partition);
    }

    fn meet(&mut self, partition: i32, fate: Fate) -> &mut Lane {
        let lane = self.lane(partition);
        match fate {
            Fate::Again => {}
            Fate::TooLarge => lane.is_too_large = true,
            Fate::Later(not_before_ns) => {
                let is_new = lane.not_before_ns == 0;
                lane.not_before_ns = not_before_ns.max(1);
                self.held_back += usize::from(is_new);
            }
        }
        self.lane(partition)
    }

    /// The client has reported a record that the broker has taken into the open transaction.
    pub(crate) fn keep(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64) {
        self.lane(partition).kept.push(key, value, headers, opaque);
        self.reported(partition);
    }

    /// Records kept for a transaction, and bytes of all that is here.
    pub(crate) fn holding(&self) -> (usize, usize) {
        let of_lane = |lane: &Lane| lane.waiting.iter().chain([&lane.kept]).map(Bundle::bytes).sum::<usize>();
        (self.lanes.iter().map(|lane| lane.kept.len()).sum(), self.lanes.iter().map(of_lane).sum())
    }

    /// The transaction is committed: gives the records that were kept for it.
    pub(crate) fn committed(&mut self, mut each: impl FnMut(u64, Headers)) {
        let bytes_max = self.max.bytes;
        for lane in &mut self.lanes {
            let largest = std::mem::take(&mut lane.largest);
            if !lane.kept.is_empty() {
                lane.limit.accepted(largest, bytes_max);
            }
            lane.kept.drain(|_, _, headers, opaque| each(opaque, headers));
            if lane.kept.capacity() > SPARE_BYTES_MAX {
                lane.kept = Bundle::default();
            }
        }
    }

    /// The transaction is aborted: what was kept for it goes again, each lane in the order of `place`; what has none any more is `gone`. Nothing is under way.
    pub(crate) fn aborted<K: Ord>(&mut self, place: impl Fn(u64) -> Option<K>, gone: &mut Vec<u64>) {
        for partition in (0..).take(self.lanes.len()) {
            let lane = self.lane(partition);
            lane.largest = 0;
            let mut bundles = std::mem::take(&mut lane.waiting);
            bundles.push_front(std::mem::take(&mut lane.kept));
            let mut records = Vec::new();
            for bundle in &mut bundles {
                bundle.drain(|key, value, headers, opaque| match place(opaque) {
                    Some(place) => records.push((place, key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers, opaque)),
                    None => gone.push(opaque),
                });
            }
            records.sort_by(|(one, ..), (other, ..)| one.cmp(other));
            for (_, key, value, headers, opaque) in records {
                self.push(partition, key.as_deref(), value.as_deref(), headers, opaque);
            }
        }
        self.settle();
        self.resent += self.waiting as u64;
    }

    /// Takes over what waits in `later`, behind what waits here.
    pub(crate) fn append(&mut self, later: &mut Self) {
        self.waiting += std::mem::take(&mut later.waiting);
        for partition in (0..).take(later.lanes.len()) {
            let behind = std::mem::take(&mut later.lane(partition).waiting);
            self.lane(partition).waiting.extend(behind);
        }
    }

    /// Nothing of a lane is under way any more: what has come back goes to its front.
    fn conclude(&mut self, partition: i32) {
        let (bytes_max, is_transactional) = (self.max.bytes, self.is_transactional);
        let lane = self.lane(partition);
        let was_held_back = lane.not_before_ns > 0;
        let (back, rejected) = (std::mem::take(&mut lane.back), std::mem::take(&mut lane.rejected));
        let is_too_large = std::mem::take(&mut lane.is_too_large);
        let returned = back.len() + rejected.len();
        if returned == 0 {
            (lane.back, lane.rejected) = (back, rejected);
            if is_transactional {
                lane.largest = lane.largest.max(lane.last.1);
            } else {
                lane.limit.accepted(lane.last.1, bytes_max);
            }
            lane.not_before_ns = 0;
            self.held_back -= usize::from(was_held_back);
            return;
        }
        if is_too_large && lane.last.0 == 1 {
            // Nothing of it goes again, so nothing holds the shard up.
            lane.not_before_ns = 0;
            self.held_back -= usize::from(was_held_back);
            self.singled_out.extend([back, rejected].into_iter().filter(|bundle| !bundle.is_empty()).map(|bundle| (partition, bundle)));
            return;
        }
        if is_too_large {
            lane.limit.refused(lane.last.1, if is_transactional { PART_IN_TRANSACTION } else { PART });
        }
        for bundle in [rejected, back] {
            if !bundle.is_empty() {
                lane.waiting.push_front(bundle);
            }
        }
        self.waiting += returned;
        self.resent += returned as u64;
    }

    /// The records that were refused for their size when they went alone.
    pub(crate) fn singled_out(&mut self) -> Option<(i32, Bundle)> {
        self.singled_out.pop()
    }

    /// Takes an emptied bundle back.
    pub(crate) fn give_back(&mut self, bundle: Bundle) {
        debug_assert!(bundle.is_empty(), "only an emptied bundle is used again");
        if self.spare.len() < SPARE_MAX && bundle.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(bundle);
        }
    }

    /// Takes out what `is_its`, record by record. Nothing is under way.
    pub(crate) fn take_back(&mut self, is_its: impl Fn(u64) -> bool, mut each: impl FnMut(i32, Bundle)) {
        for (lane, partition) in self.lanes.iter_mut().zip(0..) {
            for bundle in &mut lane.waiting {
                if !bundle.opaques().any(&is_its) {
                    continue;
                }
                let mut stays = Bundle::default();
                bundle.drain(|key, value, headers, opaque| {
                    if !is_its(opaque) {
                        return stays.push(key, value, headers, opaque);
                    }
                    let mut record = Bundle::default();
                    record.push(key, value, headers, opaque);
                    each(partition, record);
                });
                *bundle = stays;
            }
        }
        self.settle();
    }

    /// Takes out what `is_stale`, and tells the records' numbers.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool, gone: &mut Vec<u64>) {
        for lane in &mut self.lanes {
            let bundles = lane.waiting.iter_mut().chain([&mut lane.back, &mut lane.rejected, &mut lane.kept]);
            bundles.for_each(|bundle| bundle.forget(&is_stale, gone));
        }
        self.settle();
    }

    /// Counts again after records were taken out of lanes. A lane with nothing left holds nobody back: with something under way its report ends the wait, with nothing at all nobody would.
    fn settle(&mut self) {
        for lane in &mut self.lanes {
            lane.waiting.retain(|bundle| !bundle.is_empty());
            if lane.not_before_ns > 0 && lane.under_way == 0 && lane.waiting.is_empty() {
                lane.not_before_ns = 0;
                self.held_back -= 1;
            }
        }
        self.waiting = self.lanes.iter().flat_map(|lane| &lane.waiting).map(Bundle::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`serve_each`]; returns the sizes alone.
    fn serve(lanes: &mut Lanes, bytes_max: usize, accepted: &mut Vec<u64>) -> Vec<usize> {
        serve_each(lanes, bytes_max, accepted).into_iter().map(|(records, _)| records).collect()
    }

    /// Sends all that waits, as a broker does that accepts bundles of at most `bytes_max`; returns the sizes of all bundles that were tried, and whether they were accepted.
    fn serve_each(lanes: &mut Lanes, bytes_max: usize, accepted: &mut Vec<u64>) -> Vec<(usize, bool)> {
        let mut tried = Vec::new();
        while let Some((partition, mut bundle)) = lanes.next(0) {
            let fits = bundle.bytes() <= bytes_max;
            tried.push((bundle.len(), fits));
            lanes.sent(partition, bundle.len());
            bundle.drain(|key, value, headers, opaque| {
                if fits {
                    accepted.push(opaque);
                    lanes.reported(partition);
                } else {
                    lanes.came_back(partition, key, value, headers, opaque, Fate::TooLarge);
                }
            });
        }
        tried
    }

    fn alone(lanes: &mut Lanes) -> Vec<u64> {
        let mut alone: Vec<u64> = std::iter::from_fn(|| lanes.singled_out()).flat_map(|(_, bundle)| opaques(bundle)).collect();
        alone.sort_unstable();
        alone
    }

    fn lanes_of(bytes: usize, extra: usize) -> Lanes {
        Lanes::new(BundleMax { bytes, records: 10_000 }, extra)
    }

    fn headers() -> Headers {
        Headers::with_capacity(0)
    }

    fn opaques(mut bundle: Bundle) -> Vec<u64> {
        let mut opaques = Vec::new();
        bundle.drain(|_, _, _, opaque| opaques.push(opaque));
        opaques
    }

    #[test]
    fn a_partition_has_one_bundle_under_way() {
        let mut lanes = lanes_of(1_000, 0);
        lanes.push(1, None, Some(b"a"), headers(), 10);
        lanes.push(1, None, Some(b"b"), headers(), 11);
        let (partition, bundle) = lanes.next(0).unwrap();
        assert_eq!((partition, opaques(bundle)), (1, vec![10, 11]));
        lanes.sent(1, 2);
        lanes.push(1, None, Some(b"c"), headers(), 12);
        lanes.push(0, None, Some(b"d"), headers(), 13);
        assert_eq!(lanes.next(0).map(|(partition, bundle)| (partition, opaques(bundle))), Some((0, vec![13])));
        lanes.reported(1);
        assert!(lanes.next(0).is_none(), "one of the two is still under way");
        lanes.reported(1);
        assert_eq!(lanes.next(0).map(|(partition, bundle)| (partition, opaques(bundle))), Some((1, vec![12])));
        assert_eq!(lanes.waiting(), 0);
    }

    #[test]
    fn a_lane_whose_records_are_gone_holds_nobody_up() {
        let mut lanes = lanes_of(1_000, 0);
        let meet = |lanes: &mut Lanes, opaque: u64, fate: Fate| {
            lanes.push(0, None, Some(b"a"), headers(), opaque);
            let (partition, bundle) = lanes.next(u64::MAX).unwrap();
            drop(bundle);
            lanes.sent(partition, 1);
            lanes.came_back(partition, None, Some(b"a"), headers(), opaque, fate);
        };
        meet(&mut lanes, 1, Fate::Later(5));
        assert!(lanes.is_held_back());
        lanes.forget(|_| true, &mut Vec::new());
        assert!(!lanes.is_held_back(), "its partition was given back");
        meet(&mut lanes, 2, Fate::Later(5));
        let (partition, _) = lanes.next(5).unwrap();
        lanes.sent(partition, 1);
        lanes.came_back(partition, None, Some(b"a"), headers(), 2, Fate::TooLarge);
        assert!(!lanes.is_held_back(), "it was singled out");
        assert_eq!(alone(&mut lanes), [2]);
    }

    #[test]
    fn a_bundle_is_full_at_its_bounds_and_not_before() {
        let mut lanes = lanes_of(16, 3);
        for opaque in 0..3 {
            lanes.push(0, Some(b"12"), Some(b"345"), headers(), opaque);
        }
        lanes.push(0, None, Some(b"longer than a bundle"), headers(), 3);
        let sizes: Vec<_> = std::iter::from_fn(|| lanes.next(0)).map(|(_, bundle)| opaques(bundle)).collect();
        assert_eq!(sizes, [vec![0, 1], vec![2], vec![3]]);
        let mut lanes = lanes_of(1 << 20, 1);
        for opaque in 0..=10_000 {
            lanes.push(0, None, None, headers(), opaque);
        }
        assert_eq!(std::iter::from_fn(|| lanes.next(0)).map(|(_, bundle)| bundle.len()).collect::<Vec<_>>(), [10_000, 1]);
    }

    #[test]
    fn client_options_bound_bundles() {
        let options = [("batch.size", "900"), ("batch.num.messages", "2"), ("batch.size", "800")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(BundleMax::of(&options), BundleMax { bytes: 800, records: 2 });
        assert_eq!(BundleMax::of(&[("message.max.bytes".to_owned(), "500000".to_owned())]).bytes, 500_000);
        let mut lanes = Lanes::new(BundleMax::of(&options), 0);
        (0..5).for_each(|opaque| lanes.push(0, None, Some(b"x"), headers(), opaque));
        assert_eq!(std::iter::from_fn(|| lanes.next(0)).map(|(_, bundle)| bundle.len()).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn what_is_forgotten_waits_no_more() {
        let mut lanes = lanes_of(1_000, 0);
        (0..10).for_each(|opaque| lanes.push(i32::try_from(opaque % 2).unwrap(), None, Some(b"x"), headers(), opaque));
        let mut gone = Vec::new();
        lanes.forget(|opaque| opaque % 2 == 0, &mut gone);
        assert_eq!((gone, lanes.waiting()), (vec![0, 2, 4, 6, 8], 5));
        assert_eq!(lanes.next(0).map(|(partition, bundle)| (partition, opaques(bundle))), Some((1, vec![1, 3, 5, 7, 9])));
        assert!(lanes.next(0).is_none());
    }

    #[test]
    fn a_record_that_is_too_large_is_found_by_halving() {
        let mut lanes = lanes_of(1 << 20, 0);
        for opaque in 0..8_192_u64 {
            let size = if opaque == 5_000 { 10_000 } else { 100 };
            lanes.push(0, None, Some(&vec![b'x'; size]), headers(), opaque);
        }
        let mut accepted = Vec::new();
        let tried = serve(&mut lanes, 9_999, &mut accepted);
        assert_eq!(alone(&mut lanes), [5_000]);
        assert_eq!(accepted, (0..8_192).filter(|opaque| *opaque != 5_000).collect::<Vec<_>>(), "nothing is lost, twice or overtaken");
        // A broker that takes 10 kB at a time needs 82 requests at the least.
        assert!(tried.len() < 200, "{} requests", tried.len());
    }

    #[test]
    fn one_among_many_costs_logarithmically_many_requests() {
        let mut lanes = lanes_of(1 << 20, 0);
        for opaque in 0..4_096_u64 {
            let size = if opaque == 1_234 { 900_000 } else { 10 };
            lanes.push(0, None, Some(&vec![b'x'; size]), headers(), opaque);
        }
        let mut accepted = Vec::new();
        let tried = serve(&mut lanes, 800_000, &mut accepted);
        assert_eq!((alone(&mut lanes), accepted.len()), (vec![1_234], 4_095));
        assert!(tried.len() <= 26, "{} requests", tried.len());
    }

    #[test]
    fn a_topic_that_takes_nothing_gets_every_record_alone_once() {
        let mut lanes = lanes_of(1 << 20, 0);
        (0..1_000).for_each(|opaque| lanes.push(0, None, Some(&[b'x'; 100]), headers(), opaque));
        let mut accepted = Vec::new();
        let tried = serve(&mut lanes, 99, &mut accepted);
        assert_eq!((alone(&mut lanes), accepted.len()), ((0..1_000).collect(), 0));
        assert!(tried.len() <= 1_010, "{} requests", tried.len());
    }

    #[test]
    fn a_topic_with_a_small_limit_refuses_ever_less_often() {
        let mut lanes = lanes_of(20_000, 0);
        for opaque in 0..400_000_u64 {
            let size = 90 + usize::try_from(opaque * 7 % 21).unwrap();
            lanes.push(0, None, Some(&[b'x'; 110][..size]), headers(), opaque);
        }
        let mut accepted = Vec::new();
        let refused = serve_each(&mut lanes, 10_000, &mut accepted).iter().filter(|(_, fits)| !fits).count();
        assert_eq!(accepted, (0..400_000).collect::<Vec<_>>());
        // Of some 5,000 bundles. Larger ones are tried after 8, 16, 32… and in the end after 1,024; such a trial may be refused twice.
        assert!(refused <= 30, "{refused} refused");
        assert_eq!(lanes.lanes[0].limit.patience, PATIENCE_MAX);
    }

    #[test]
    fn a_limit_that_did_not_come_back_costs_no_patience() {
        let mut limit = Limit::default();
        for _ in 0..12 {
            limit.refused(1_000, PART);
            (0..100).for_each(|_| limit.accepted(10, 1_000));
            assert_eq!(limit, Limit::default(), "forgotten, though nothing so large has come again");
        }
    }

    #[test]
    fn a_limit_that_is_gone_is_forgotten() {
        let mut lanes = lanes_of(10_000, 0);
        let mut accepted = Vec::new();
        (0..1_000).for_each(|opaque| lanes.push(0, None, Some(&[b'x'; 100]), headers(), opaque));
        serve(&mut lanes, 200, &mut accepted);
        (1_000..8_000).for_each(|opaque| lanes.push(0, None, Some(&[b'x'; 100]), headers(), opaque));
        let tried = serve(&mut lanes, usize::MAX, &mut accepted);
        assert_eq!((tried.last(), accepted), (Some(&100), (0..8_000).collect()));
    }

    #[test]
    fn what_comes_back_goes_again_first_in_its_order_and_not_before_its_time() {
        let mut lanes = lanes_of(1_000, 0);
        (0..4).for_each(|opaque| lanes.push(0, None, Some(b"x"), headers(), opaque));
        let (partition, bundle) = lanes.next(0).unwrap();
        assert_eq!(opaques(bundle), [0, 1, 2, 3]);
        // The client's queue is full behind the second record; the first comes back, the second is accepted.
        (2..4).for_each(|opaque| lanes.rejected(partition, None, Some(b"x"), headers(), opaque, Fate::Later(50)));
        lanes.sent(partition, 2);
        lanes.push(0, None, Some(b"x"), headers(), 4);
        lanes.came_back(partition, None, Some(b"x"), headers(), 0, Fate::Later(70));
        assert!(lanes.next(100).is_none() && lanes.is_held_back());
        lanes.reported(partition);
        assert!(lanes.next(69).is_none());
        assert_eq!((lanes.waiting(), lanes.resent()), (4, 3));
        let mut order = Vec::new();
        while let Some((partition, bundle)) = lanes.next(70) {
            lanes.sent(partition, bundle.len());
            for opaque in opaques(bundle) {
                order.push(opaque);
                lanes.reported(partition);
            }
        }
        assert_eq!((order, lanes.is_held_back()), (vec![0, 2, 3, 4], false));
    }

    #[test]
    fn what_came_back_is_forgotten_too() {
        let mut lanes = lanes_of(1_000, 0);
        (0..4).for_each(|opaque| lanes.push(0, None, Some(b"x"), headers(), opaque));
        let (partition, bundle) = lanes.next(0).unwrap();
        lanes.sent(partition, bundle.len());
        (0..3).for_each(|opaque| lanes.came_back(partition, None, Some(b"x"), headers(), opaque, Fate::Later(1)));
        let mut gone = Vec::new();
        lanes.forget(|opaque| opaque < 2, &mut gone);
        lanes.reported(partition);
        assert_eq!((gone, lanes.waiting()), (vec![0, 1], 1));
        assert_eq!(lanes.next(1).map(|(_, bundle)| opaques(bundle)), Some(vec![2]));
    }

    #[test]
    fn what_a_transaction_has_taken_goes_again_when_it_is_aborted() {
        let mut lanes = lanes_of(1_000, 0);
        (0..6).for_each(|opaque| lanes.push(0, None, Some(b"x"), headers(), opaque));
        let (partition, bundle) = lanes.next(0).unwrap();
        lanes.sent(partition, bundle.len());
        // Taken out of order, and one of them purged.
        [1, 0, 3, 4, 5].into_iter().for_each(|opaque| lanes.keep(partition, None, Some(b"x"), headers(), opaque));
        assert_eq!((lanes.holding(), lanes.waiting()), ((5, 5), 0));
        lanes.came_back(partition, None, Some(b"x"), headers(), 2, Fate::Again);
        let mut later = lanes_of(1_000, 0);
        later.push(0, None, Some(b"x"), headers(), 6);
        let mut gone = Vec::new();
        lanes.aborted(|opaque| (opaque != 3).then_some(opaque), &mut gone);
        lanes.append(&mut later);
        assert_eq!((gone, lanes.waiting(), later.waiting(), lanes.holding()), (vec![3], 6, 0, (0, 6)));
        let mut order = Vec::new();
        while let Some((partition, bundle)) = lanes.next(0) {
            lanes.sent(partition, bundle.len());
            opaques(bundle).into_iter().for_each(|opaque| {
                order.push(opaque);
                lanes.keep(partition, None, Some(b"x"), headers(), opaque);
            });
        }
        assert_eq!(order, [0, 1, 2, 4, 5, 6]);
        let mut committed = Vec::new();
        lanes.committed(|opaque, _| committed.push(opaque));
        assert_eq!((committed, lanes.holding()), (order, (0, 0)));
    }

    #[test]
    fn an_abort_that_leaves_nothing_to_send_holds_nobody_back() {
        let mut lanes = lanes_of(1_000, 0).in_transactions();
        (0..4).for_each(|opaque| lanes.push(i32::try_from(opaque % 2).unwrap(), None, Some(b"x"), headers(), opaque));
        while let Some((partition, bundle)) = lanes.next(0) {
            lanes.sent(partition, bundle.len());
            opaques(bundle).into_iter().for_each(|opaque| lanes.came_back(partition, None, Some(b"x"), headers(), opaque, Fate::Later(50)));
        }
        // The partition of the first lane's records was given away meanwhile.
        let mut gone = Vec::new();
        lanes.aborted(|opaque| (opaque % 2 == 1).then_some(opaque), &mut gone);
        assert_eq!((gone, lanes.waiting(), lanes.is_held_back()), (vec![0, 2], 2, true), "the other lane's still wait for their time");
        lanes.aborted(|_| None::<u64>, &mut Vec::new());
        assert_eq!((lanes.waiting(), lanes.is_held_back()), (0, false));
    }

    #[test]
    fn attempts_at_a_transaction_come_to_an_end() {
        let mut lanes = lanes_of(1 << 20, 0).in_transactions();
        for opaque in 0..1_000_u64 {
            let size = if opaque == 700 || opaque == 900 { 30_000 } else { 100 };
            lanes.push(0, None, Some(&vec![b'x'; size]), headers(), opaque);
        }
        let (mut attempts, mut alone) = (0, Vec::new());
        loop {
            attempts += 1;
            let mut is_doomed = false;
            while !is_doomed && let Some((partition, mut bundle)) = lanes.next(0) {
                is_doomed = bundle.bytes() > 20_000;
                lanes.sent(partition, bundle.len());
                bundle.drain(|key, value, headers, opaque| {
                    if is_doomed {
                        lanes.came_back(partition, key, value, headers, opaque, Fate::TooLarge);
                    } else {
                        lanes.keep(partition, key, value, headers, opaque);
                    }
                });
            }
            while let Some((_, bundle)) = lanes.singled_out() {
                alone.extend(opaques(bundle));
            }
            if !is_doomed {
                break;
            }
            lanes.aborted(Some, &mut Vec::new());
        }
        let mut committed = Vec::new();
        lanes.committed(|opaque, _| committed.push(opaque));
        assert_eq!((alone, committed), (vec![700, 900], (0..1_000).filter(|opaque| ![700, 900].contains(opaque)).collect()));
        assert!(attempts <= 6, "{attempts} attempts");
    }
}
