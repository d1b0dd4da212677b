//! Telling things apart in linear time, whatever the data: an open-addressed table of hashes in scratch memory.

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

/// Numbers of distinct things, found by hash.
#[derive(Debug)]
pub(super) struct Distinct<'b> {
    /// Hash and number plus one; 0 is an empty place. A power of two large, at most half full.
    places: BumpVec<'b, (u64, u32)>,
    len: u32,
}

impl<'b> Distinct<'b> {
    /// Room for `count` things.
    pub(super) fn new(count: usize, scratch: &'b Bump) -> Self {
        let size = (count.max(1) * 2).next_power_of_two();
        Self { places: bumpalo::vec![in scratch; (0, 0); size], len: 0 }
    }

    /// The number of the thing with this hash that is the `same`; if there is none, a new one has the next number, from 0.
    pub(super) fn find_or_add(&mut self, hash: u64, mut same: impl FnMut(usize) -> bool) -> Option<usize> {
        let mask = self.places.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of the hash are what is wanted")]
        let mut at = hash as usize & mask;
        loop {
            let (known, number) = self.places[at];
            if number == 0 {
                break;
            }
            let number = number as usize - 1;
            if known == hash && same(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
        self.len += 1;
        self.places[at] = (hash, self.len);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_of_different_things_are_told_apart() {
        let scratch = Bump::new();
        let things = ["a", "b", "a", "c", "b", "c", "c"];
        let mut known = Distinct::new(things.len(), &scratch);
        let mut kept: Vec<&str> = Vec::new();
        for thing in things {
            if known.find_or_add(7, |number| kept[number] == thing).is_none() {
                kept.push(thing);
            }
        }
        assert_eq!(kept, ["a", "b", "c"]);
    }
}
