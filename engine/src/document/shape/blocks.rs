//! Lists in blocks, within a bound: what one list gives back another takes, and nothing is allocated once as much has been in use as ever is.

/// No block.
const NONE: u16 = u16::MAX;

/// Values in blocks of `N`, at most so many.
#[derive(Debug)]
pub(super) struct Blocks<T, const N: usize> {
    values: Vec<[T; N]>,
    /// For each block the next one of its list, or of those that are free.
    next: Vec<u16>,
    free: u16,
    free_count: usize,
    blocks_max: usize,
}

/// A list: its first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List(u16);

impl List {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == NONE
    }
}

impl<T: Copy + Default, const N: usize> Blocks<T, N> {
    /// No lists yet, and at most so many blocks.
    pub(super) fn new(blocks_max: u16) -> Self {
        Self { values: Vec::new(), next: Vec::new(), free: NONE, free_count: 0, blocks_max: usize::from(blocks_max.min(NONE - 1)) }
    }

    /// Whether there is room for a list of `count` values.
    pub(super) fn has_room(&self, count: usize) -> bool {
        count.div_ceil(N) <= self.free_count + self.blocks_max - self.values.len()
    }

    /// Keeps a list for which there is room.
    pub(super) fn keep(&mut self, values: impl Iterator<Item = T>) -> List {
        let (mut first, mut last, mut filled) = (NONE, NONE, N);
        for value in values {
            if filled == N {
                let block = self.take();
                match self.next.get_mut(usize::from(last)) {
                    Some(next) => *next = block,
                    None => first = block,
                }
                (last, filled) = (block, 0);
            }
            self.values[usize::from(last)][filled] = value;
            filled += 1;
        }
        List(first)
    }

    /// A block that belongs to no list, and to the end of one from now on.
    fn take(&mut self) -> u16 {
        if let Some(next) = self.next.get_mut(usize::from(self.free)) {
            self.free_count -= 1;
            let block = std::mem::replace(&mut self.free, *next);
            *next = NONE;
            self.values[usize::from(block)] = [T::default(); N];
            return block;
        }
        assert!(self.values.len() < self.blocks_max, "has_room() is asked before a list is kept");
        super::push_within(&mut self.values, [T::default(); N], self.blocks_max);
        super::push_within(&mut self.next, NONE, self.blocks_max);
        u16::try_from(self.values.len() - 1).expect("blocks_max is a 16-bit number")
    }

    /// Gives the blocks of a list back.
    pub(super) fn give_back(&mut self, list: List) {
        let mut block = list.0;
        while let Some(next) = self.next.get_mut(usize::from(block)) {
            let after = std::mem::replace(next, self.free);
            self.free = block;
            self.free_count += 1;
            block = after;
        }
    }

    /// The first block of a list; nothing when the list is empty.
    #[inline]
    pub(super) fn first(&self, list: List) -> Option<&[T; N]> {
        self.values.get(usize::from(list.0))
    }

    /// The blocks of a list; behind its last value the last one is filled up with default ones.
    #[inline]
    pub(super) fn of(&self, list: List) -> impl Iterator<Item = &[T; N]> {
        let mut block = list.0;
        std::iter::from_fn(move || {
            let values = self.values.get(usize::from(block))?;
            block = self.next[usize::from(block)];
            Some(values)
        })
    }

    /// Bytes of heap memory held.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.values.capacity() * size_of::<[T; N]>() + self.next.capacity() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(blocks: &Blocks<u8, 4>, list: List) -> Vec<u8> {
        blocks.of(list).flatten().copied().collect()
    }

    #[test]
    fn blocks_are_used_again_within_their_bound() {
        let mut blocks = Blocks::<u8, 4>::new(4);
        let long = blocks.keep(1..=9);
        let empty = blocks.keep(std::iter::empty());
        assert!(empty.is_empty() && values(&blocks, empty).is_empty());
        assert_eq!(values(&blocks, long), [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0]);
        assert!(blocks.has_room(4) && !blocks.has_room(5));
        let short = blocks.keep(21..=21);
        assert!(!blocks.has_room(1));
        blocks.give_back(long);
        let held = blocks.capacity_bytes();
        for _ in 0..10 {
            assert!(blocks.has_room(12) && !blocks.has_room(13));
            let list = blocks.keep(31..=40);
            assert_eq!(values(&blocks, list), [31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 0, 0]);
            assert_eq!(values(&blocks, short), [21, 0, 0, 0]);
            blocks.give_back(list);
        }
        assert_eq!(blocks.capacity_bytes(), held);
    }

    #[test]
    #[should_panic(expected = "has_room() is asked")]
    fn no_list_is_kept_beyond_the_bound() {
        Blocks::<u8, 4>::new(2).keep(0..9);
    }
}
