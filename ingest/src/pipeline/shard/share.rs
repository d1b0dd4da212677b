//! How much of a shard's slots and memory each of its partitions may hold with what waits.
//!
//! An execution that ends in the call that began it holds nothing. One that suspends keeps its slot and its memory until its task answers, so a partition whose tasks stall would fill the shard, and every other partition would stand still beside it. So a part of what there is belongs to each partition alone, and the rest to whoever comes first. Beyond both, that partition alone is held.
//!
//! Two parts are dealt out, an eighth of all each:
//! - the *floor*, by the number of partitions that the shard can ever have. It never changes, so it is there at once for a partition that comes while the others stall;
//! - the *fair share*, by the number of partitions that it has now. A change of the assignment takes effect as executions end.
//!
//! So a partition whose shard has no other holds all, and one among several three quarters and more. A share is one slot at least, as long as there are as many slots as partitions; with fewer there is nothing to deal out, and whoever comes first has them.
//!
//! What is counted is told by the shard when an execution suspends and when what waited ends; a record that does neither costs nothing here.

/// The part that is dealt out by the partitions that the shard can ever have, and the same again by those that it has.
const DEALT: u64 = 8;

/// A number that belongs to each partition, and what is left in common.
#[derive(Debug, Default, Clone, Copy)]
struct Tier {
    /// What a partition may hold whatever the others do.
    own: u64,
    /// What may be held beyond that, by all of them together.
    common_max: u64,
    /// What is.
    common: u64,
}

impl Tier {
    fn over(&self, held: u64) -> u64 {
        held.saturating_sub(self.own)
    }

    fn has_room(&self, held: u64, common_max: u64) -> bool {
        held < self.own || self.common < common_max
    }
}

/// What the partitions of a shard hold of one thing, by their places in its table.
#[derive(Debug)]
pub(crate) struct Shares {
    max: u64,
    floor: Tier,
    fair: Tier,
    held: Vec<u64>,
}

impl Shares {
    /// Shares of `max`, for as many partitions as the shard can ever have.
    pub(crate) fn new(max: u64, partitions_max: u32) -> Self {
        let partitions = u64::from(partitions_max).max(1);
        let own = if max < partitions { 0 } else { (max / DEALT / partitions).max(1) };
        let floor = Tier { own, common_max: max - own * partitions, common: 0 };
        let mut shares = Self { max, floor, fair: floor, held: Vec::new() };
        shares.share_out(0, 1);
        shares
    }

    /// The shard has `partitions` now, in `places` places.
    pub(crate) fn share_out(&mut self, places: usize, partitions: usize) {
        if self.held.len() < places {
            self.held.resize(places, 0);
        }
        let partitions = u64::try_from(partitions).unwrap_or(u64::MAX).max(1);
        // Never below the floor; a topic that has grown has more partitions than the shard was to have.
        let own = self.floor.own + self.max / DEALT / partitions;
        self.fair = Tier { own, common_max: self.max.saturating_sub(own.saturating_mul(partitions)), common: 0 };
        self.fair.common = self.held.iter().map(|held| self.fair.over(*held)).sum();
    }

    /// Whether the partition in that place may hold more.
    pub(crate) fn has_room(&self, place: usize) -> bool {
        let held = self.held[place];
        self.floor.has_room(held, self.floor.common_max) && self.fair.has_room(held, self.fair.common_max)
    }

    /// Whether a partition that was held may go on: not with the first place that comes free, for each pause throws away what the client has fetched ahead.
    pub(crate) fn has_ample_room(&self, place: usize) -> bool {
        let held = self.held[place];
        // Of what is its own, half; of what is common, a quarter.
        let is_ample = |tier: &Tier| held <= tier.own / 2 && held < tier.own || tier.common < tier.common_max - tier.common_max / 4;
        is_ample(&self.floor) && is_ample(&self.fair)
    }

    /// What the partition in that place holds changes.
    pub(crate) fn change(&mut self, place: usize, less: u64, more: u64) {
        let before = self.held[place];
        debug_assert!(before >= less, "what is given back was held");
        let after = before.saturating_sub(less) + more;
        for tier in [&mut self.floor, &mut self.fair] {
            tier.common = tier.common - tier.over(before) + tier.over(after);
        }
        self.held[place] = after;
    }

    /// What the partition in that place holds.
    #[cfg(test)]
    pub(crate) fn held(&self, place: usize) -> u64 {
        self.held.get(place).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(shares: &mut Shares, place: usize) -> u64 {
        while shares.has_room(place) {
            shares.change(place, 0, 1);
        }
        shares.held(place)
    }

    #[test]
    fn one_partition_may_hold_nearly_everything_and_leaves_the_others_theirs() {
        let mut shares = Shares::new(10_000, 4);
        shares.share_out(4, 4);
        assert_eq!(fill(&mut shares, 0), 8_128, "all but the floors and the fair shares of three others");
        assert_eq!([1, 2, 3].map(|place| fill(&mut shares, place)), [624; 3]);
        assert_eq!((0..4).map(|place| shares.held(place)).sum::<u64>(), 10_000);
        let mut alone = Shares::new(10_000, 1);
        alone.share_out(1, 1);
        assert_eq!(fill(&mut alone, 0), 10_000);
    }

    #[test]
    fn a_partition_that_comes_has_its_floor_at_once_and_its_share_as_others_end() {
        let mut shares = Shares::new(800, 4);
        shares.share_out(1, 1);
        assert_eq!(fill(&mut shares, 0), 725);
        shares.share_out(2, 2);
        assert_eq!(fill(&mut shares, 1), 25);
        shares.change(0, 100, 0);
        assert_eq!(fill(&mut shares, 1), 125);
        shares.change(0, 625, 0);
        assert_eq!(fill(&mut shares, 1), 725, "what is common is free again");
    }

    #[test]
    fn it_goes_on_when_there_is_more_than_one_place() {
        let mut shares = Shares::new(800, 2);
        shares.share_out(2, 2);
        let most = fill(&mut shares, 0);
        shares.change(0, 1, 0);
        assert!(shares.has_room(0) && !shares.has_ample_room(0));
        shares.change(0, most / 4, 0);
        assert!(shares.has_ample_room(0));
        let mut few = Shares::new(4, 4);
        few.share_out(4, 4);
        assert_eq!(fill(&mut few, 3), 1);
        assert!(!few.has_ample_room(3));
        few.change(3, 1, 0);
        assert!(few.has_ample_room(3));
    }

    #[test]
    fn fewer_slots_than_partitions_are_for_whoever_comes_first() {
        let mut shares = Shares::new(2, 4);
        shares.share_out(4, 4);
        assert_eq!((fill(&mut shares, 1), shares.has_room(0)), (2, false));
        shares.change(1, 1, 0);
        assert!(shares.has_room(0));
    }

    proptest! {
        #[test]
        fn a_partition_below_its_floor_has_room_and_all_of_them_fit(
            max in 1..400_u64,
            partitions_max in 1..9_u32,
            steps in proptest::collection::vec((0..8_usize, 0..4_u8, 1..9_usize), 1..600),
        ) {
            let mut shares = Shares::new(max, partitions_max);
            let count = usize::try_from(partitions_max).unwrap();
            shares.share_out(count, 1);
            for (place, act, partitions) in steps {
                let place = place % count;
                match act {
                    0 if shares.held(place) > 0 => shares.change(place, 1, 0),
                    1 => shares.share_out(count, partitions.min(count)),
                    _ if shares.has_room(place) => shares.change(place, 0, 1),
                    _ => {}
                }
                let held: Vec<_> = (0..count).map(|place| shares.held(place)).collect();
                prop_assert!(held.iter().sum::<u64>() <= max);
                for (place, held) in held.iter().enumerate() {
                    prop_assert!(*held > 0 || max < u64::from(partitions_max) || shares.has_room(place), "{shares:?}");
                    prop_assert!(shares.has_room(place) || !shares.has_ample_room(place));
                }
            }
        }
    }
}
