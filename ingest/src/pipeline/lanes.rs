//! Results on their way to the producer, partition by partition.
//!
//! An idempotent producer of librdkafka has one request a partition under way, and its thread polls without pause while records wait behind it for longer than the linger time. So records wait *here*: a lane hands its bundle over when nothing of its partition is under way. What gathers meanwhile is the next bundle, so a busy broker gets large ones and an idle one gets each record at once, without a time to set.

use std::collections::VecDeque;

use crate::kafka::{Bundle, Headers};

/// Records in one bundle, which is what librdkafka puts into one request (`batch.num.messages`): more would wait inside the client.
const BUNDLE_RECORDS_MAX: usize = 10_000;
/// Bundles kept for use again.
const SPARE_MAX: usize = 8;
/// Buffer of a bundle that is kept for use again. One that a large record made larger is given back.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// The lane of one partition.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Bundle>,
    /// Records of the partition that the client has and has not reported.
    under_way: usize,
}

/// The lanes of a topic.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    spare: Vec<Bundle>,
    bundle_bytes_max: usize,
    record_bytes_extra: usize,
    waiting: usize,
}

impl Lanes {
    /// Lanes whose bundles have at most so many bytes, unless a single record has more. Each record counts with its key, its value and `record_bytes_extra` for headers and framing.
    pub(crate) fn new(bundle_bytes_max: usize, record_bytes_extra: usize) -> Self {
        Self { lanes: Vec::new(), spare: Vec::new(), bundle_bytes_max, record_bytes_extra, waiting: 0 }
    }

    /// Records that wait, over all partitions.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn lane(&mut self, partition: i32) -> &mut Lane {
        let index = usize::try_from(partition).expect("a result's partition was chosen among those there are");
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, Lane::default);
        }
        &mut self.lanes[index]
    }

    /// Puts a record behind those of its partition.
    pub(crate) fn push(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64) {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let (bytes_max, extra) = (self.bundle_bytes_max, self.record_bytes_extra);
        self.waiting += 1;
        let waiting = &mut self.lane(partition).waiting;
        let has_room = |bundle: &&mut Bundle| bundle.len() < BUNDLE_RECORDS_MAX && bundle.bytes() + bytes + (bundle.len() + 1) * extra <= bytes_max;
        if let Some(last) = waiting.back_mut().filter(has_room) {
            return last.push(key, value, headers, opaque);
        }
        let mut bundle = self.spare.pop().unwrap_or_default();
        bundle.push(key, value, headers, opaque);
        self.lane(partition).waiting.push_back(bundle);
    }

    /// A partition with a bundle that may go, and the bundle.
    pub(crate) fn next(&mut self) -> Option<(i32, Bundle)> {
        if self.waiting == 0 {
            return None;
        }
        let index = self.lanes.iter().position(|lane| lane.under_way == 0 && !lane.waiting.is_empty())?;
        let bundle = self.lanes[index].waiting.pop_front().expect("the lane was seen to have one");
        self.waiting -= bundle.len();
        Some((i32::try_from(index).expect("lanes are numbered by partitions"), bundle))
    }

    /// So many records of a partition went to the client.
    pub(crate) fn sent(&mut self, partition: i32, records: usize) {
        self.lane(partition).under_way += records;
    }

    /// The client has reported a record of a partition.
    pub(crate) fn reported(&mut self, partition: i32) {
        let lane = usize::try_from(partition).ok().and_then(|index| self.lanes.get_mut(index));
        debug_assert!(lane.as_ref().is_some_and(|lane| lane.under_way > 0), "each record is reported once, with the partition it was sent to");
        let Some(lane) = lane else { return };
        lane.under_way = lane.under_way.saturating_sub(1);
    }

    /// Takes an emptied bundle back.
    pub(crate) fn give_back(&mut self, bundle: Bundle) {
        debug_assert!(bundle.is_empty(), "only an emptied bundle is used again");
        if self.spare.len() < SPARE_MAX && bundle.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(bundle);
        }
    }

    /// Takes out what `is_stale`, and tells the records' numbers.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool, gone: &mut Vec<u64>) {
        let before = gone.len();
        for lane in &mut self.lanes {
            lane.waiting.iter_mut().for_each(|bundle| bundle.forget(&is_stale, gone));
            lane.waiting.retain(|bundle| !bundle.is_empty());
        }
        self.waiting -= gone.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut lanes = Lanes::new(1_000, 0);
        lanes.push(1, None, Some(b"a"), headers(), 10);
        lanes.push(1, None, Some(b"b"), headers(), 11);
        let (partition, bundle) = lanes.next().unwrap();
        assert_eq!((partition, opaques(bundle)), (1, vec![10, 11]));
        lanes.sent(1, 2);
        lanes.push(1, None, Some(b"c"), headers(), 12);
        lanes.push(0, None, Some(b"d"), headers(), 13);
        assert_eq!(lanes.next().map(|(partition, bundle)| (partition, opaques(bundle))), Some((0, vec![13])));
        lanes.reported(1);
        assert!(lanes.next().is_none(), "one of the two is still under way");
        lanes.reported(1);
        assert_eq!(lanes.next().map(|(partition, bundle)| (partition, opaques(bundle))), Some((1, vec![12])));
        assert_eq!(lanes.waiting(), 0);
    }

    #[test]
    fn a_bundle_is_full_at_its_bounds_and_not_before() {
        let mut lanes = Lanes::new(16, 3);
        for opaque in 0..3 {
            lanes.push(0, Some(b"12"), Some(b"345"), headers(), opaque);
        }
        lanes.push(0, None, Some(b"longer than a bundle"), headers(), 3);
        let sizes: Vec<_> = std::iter::from_fn(|| lanes.next()).map(|(_, bundle)| opaques(bundle)).collect();
        assert_eq!(sizes, [vec![0, 1], vec![2], vec![3]]);
        let mut lanes = Lanes::new(1 << 20, 1);
        for opaque in 0..=BUNDLE_RECORDS_MAX as u64 {
            lanes.push(0, None, None, headers(), opaque);
        }
        assert_eq!(std::iter::from_fn(|| lanes.next()).map(|(_, bundle)| bundle.len()).collect::<Vec<_>>(), [BUNDLE_RECORDS_MAX, 1]);
    }

    #[test]
    fn what_is_forgotten_waits_no_more() {
        let mut lanes = Lanes::new(1_000, 0);
        (0..10).for_each(|opaque| lanes.push(i32::try_from(opaque % 2).unwrap(), None, Some(b"x"), headers(), opaque));
        let mut gone = Vec::new();
        lanes.forget(|opaque| opaque % 2 == 0, &mut gone);
        assert_eq!((gone, lanes.waiting()), (vec![0, 2, 4, 6, 8], 5));
        assert_eq!(lanes.next().map(|(partition, bundle)| (partition, opaques(bundle))), Some((1, vec![1, 3, 5, 7, 9])));
        assert!(lanes.next().is_none());
    }
}
