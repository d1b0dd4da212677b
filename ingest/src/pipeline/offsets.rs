//! Per partition: a window over the open records, and the mark below which everything is finished.
//!
//! This is the place that carries the delivery guarantee. A record is *open* from the moment it is taken until its result or its dead letter is acknowledged by the broker. The **mark** is the lowest open record, or the last taken record plus one when none is open. Nothing above the mark is ever stored, so a record that cannot be finished holds the mark back and a later success cannot step over it.
//!
//! - The window starts at the assignment's start position, never at the first record seen: a window that began with what it happens to see could not know what it missed.
//! - Offsets go up. Gaps are normal (compaction, transaction markers) and count as finished, because nothing was ever taken there.
//! - One bit a record; bounded by the distance from the mark to the newest record.
//! - Pure: no Kafka types, no clock, no thread. An offset below the newest one is refused, and what to do about it is the caller's business.
//!
//! Kafka's clients disagree on whether an offset to store is the last one read or the next one to read. Only [`Mark`] knows.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;

const WORD_BITS: i64 = 64;

/// The lowest offset that is not finished: everything below it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(i64);

impl Mark {
    /// For APIs that store *the next offset to read*, as the group's committed offset is: `rd_kafka_offsets_store`, `rd_kafka_commit`.
    pub(crate) fn next_to_read(self) -> i64 {
        self.0
    }

    /// For APIs that store *the last offset read* and add the one themselves, as `rd_kafka_offset_store` does; `None` when nothing was read since offset 0.
    #[cfg(test)]
    pub(crate) fn last_read(self) -> Option<i64> {
        self.0.checked_sub(1).filter(|offset| *offset >= 0)
    }
}

/// What has been handed to the client to commit, for one position of one assignment: it never goes back.
///
/// A window's mark does not go back either, so this is a second lock on the same door: a commit below an earlier one would have everything between run again, and with it whatever another member has done there since. Only a client that has itself gone back, because the log was cut, begins anew.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stored(Option<Mark>);

impl Stored {
    /// The mark to hand over, `None` when it has been already.
    ///
    /// # Errors
    /// The mark lies below what has been handed over, which is given.
    pub(crate) fn next(self, mark: Mark) -> Result<Option<Mark>, Mark> {
        match self.0 {
            Some(stored) if mark < stored => Err(stored),
            Some(stored) if mark == stored => Ok(None),
            _ => Ok(Some(mark)),
        }
    }

    /// The client has taken it.
    pub(crate) fn set(&mut self, mark: Mark) {
        self.0 = Some(mark);
    }
}

/// Why a record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The window is full: the record lies too far above the lowest open one.
    Full,
    /// The record lies below one that was taken, or below the start: the position went back.
    Backwards,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the window of open records is full",
            Self::Backwards => "the offset lies below the position",
        })
    }
}

/// The open records of one partition during one assignment.
#[derive(Debug)]
pub(crate) struct Window {
    /// Bit `i % 64` of word `i / 64 - base` says that the record at offset `i` is open. The first word is never zero.
    words: VecDeque<u64>,
    base: i64,
    /// Last taken offset plus one; at first, the start position.
    next: i64,
    open: u64,
    records_max: i64,
}

impl Window {
    /// An empty window whose first record is the one at `start` or, after a gap, a later one.
    pub(crate) fn new(start: i64, records_max: u32) -> Self {
        Self { words: VecDeque::new(), base: 0, next: start, open: 0, records_max: i64::from(records_max.max(1)) }
    }

    /// Opens the record at `offset`.
    ///
    /// # Errors
    /// Nothing is changed when the window is full or the offset goes back.
    pub(crate) fn take(&mut self, offset: i64) -> Result<(), Refusal> {
        if offset < self.next {
            return Err(Refusal::Backwards);
        }
        let word = offset.div_euclid(WORD_BITS);
        if self.open == 0 {
            self.words.clear();
            self.base = word;
        } else if offset - self.mark().0 >= self.records_max {
            return Err(Refusal::Full);
        }
        let index = usize::try_from(word - self.base).expect("offsets go up, so the word is not below the base");
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        self.words[index] |= bit(offset);
        self.next = offset + 1;
        self.open += 1;
        Ok(())
    }

    /// Closes the record at `offset`; `false` when it was not open.
    pub(crate) fn complete(&mut self, offset: i64) -> bool {
        let Ok(index) = usize::try_from(offset.div_euclid(WORD_BITS) - self.base) else { return false };
        let Some(word) = self.words.get_mut(index) else { return false };
        if *word & bit(offset) == 0 {
            return false;
        }
        *word &= !bit(offset);
        self.open -= 1;
        while self.words.front() == Some(&0) {
            self.words.pop_front();
            self.base += 1;
        }
        true
    }

    /// The position goes back to `offset`: what is open from there on is given up, and what is open below stays open. Returns how many were given up.
    pub(crate) fn rewind(&mut self, offset: i64) -> u64 {
        let before = self.open;
        let first = offset.div_euclid(WORD_BITS);
        for (word, number) in self.words.iter_mut().zip(self.base..) {
            let kept = match number.cmp(&first) {
                Ordering::Less => u64::MAX,
                Ordering::Equal => bit(offset) - 1,
                Ordering::Greater => 0,
            };
            self.open -= u64::from((*word & !kept).count_ones());
            *word &= kept;
        }
        while self.words.pop_back_if(|word| *word == 0).is_some() {}
        self.next = self.next.min(offset);
        before - self.open
    }

    /// The lowest open record, or the last taken one plus one.
    pub(crate) fn mark(&self) -> Mark {
        match self.words.front() {
            Some(word) => Mark(self.base * WORD_BITS + i64::from(word.trailing_zeros())),
            None => Mark(self.next),
        }
    }

    /// The offset from which the next record is expected.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// How many records are open.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// Distance from the mark to the newest record: what would run again after a crash, at most.
    pub(crate) fn span(&self) -> u64 {
        u64::try_from(self.next - self.mark().0).unwrap_or(0)
    }

    /// Whether at most half of the window is in use, so that a paused partition may go on.
    pub(crate) fn is_half_free(&self) -> bool {
        self.open == 0 || (self.next - self.mark().0) * 2 <= self.records_max
    }
}

fn bit(offset: i64) -> u64 {
    1 << offset.rem_euclid(WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_committed_never_goes_back() {
        let mut stored = Stored::default();
        assert_eq!(stored.next(Mark(0)), Ok(Some(Mark(0))));
        stored.set(Mark(7));
        assert_eq!(stored.next(Mark(7)), Ok(None));
        assert_eq!(stored.next(Mark(6)), Err(Mark(7)));
        assert_eq!(stored.next(Mark(8)), Ok(Some(Mark(8))), "and goes on from there");
    }

    #[test]
    fn mark_of_an_empty_window_is_its_start() {
        let window = Window::new(1_000, 10);
        assert_eq!(window.mark(), Mark(1_000));
        assert_eq!(window.mark().next_to_read(), 1_000);
        assert_eq!(window.mark().last_read(), Some(999));
        assert_eq!(Window::new(0, 10).mark().last_read(), None);
    }

    #[test]
    fn a_failed_record_holds_the_mark_and_later_ones_cannot_step_over_it() {
        let mut window = Window::new(0, 1_000);
        for offset in 0..200 {
            window.take(offset).unwrap();
        }
        for offset in (0..200).filter(|offset| *offset != 70) {
            assert!(window.complete(offset));
        }
        assert_eq!(window.mark(), Mark(70));
        assert_eq!(window.open(), 1);
        assert!(window.complete(70));
        assert_eq!(window.mark(), Mark(200));
    }

    #[test]
    fn gaps_upward_count_as_finished() {
        let mut window = Window::new(5, 1_000);
        window.take(9).unwrap();
        assert_eq!(window.mark(), Mark(9), "nothing can come between the start and the first record any more");
        window.take(300).unwrap();
        window.complete(9);
        assert_eq!(window.mark(), Mark(300));
    }

    #[test]
    fn offsets_that_go_back_are_refused() {
        let mut window = Window::new(100, 1_000);
        assert_eq!(window.take(99), Err(Refusal::Backwards));
        window.take(100).unwrap();
        assert_eq!(window.take(100), Err(Refusal::Backwards));
    }

    #[test]
    fn the_window_is_full_at_its_bound_and_not_before() {
        let mut window = Window::new(0, 100);
        for offset in 0..100 {
            window.take(offset).unwrap();
        }
        assert_eq!(window.take(100), Err(Refusal::Full));
        assert!(!window.is_half_free());
        for offset in 0..50 {
            window.complete(offset);
        }
        assert!(window.is_half_free());
        assert!(window.take(100).is_ok());
    }

    #[test]
    fn what_is_open_below_a_rewind_still_holds_the_mark() {
        let mut window = Window::new(0, 1_000);
        for offset in 0..200 {
            window.take(offset).unwrap();
        }
        for offset in (0..200).filter(|offset| *offset != 70) {
            window.complete(offset);
        }
        window.take(200).unwrap();
        assert_eq!(window.rewind(130), 1, "the record at 200 is given up");
        assert_eq!((window.mark(), window.next(), window.open()), (Mark(70), 130, 1));
        window.take(130).unwrap();
        assert!(window.complete(70));
        assert_eq!(window.mark(), Mark(130));
        assert_eq!(window.rewind(50), 1);
        assert_eq!((window.mark(), window.span()), (Mark(50), 0), "nothing open is left, so the mark goes back");
    }

    #[test]
    fn a_record_is_completed_once() {
        let mut window = Window::new(0, 100);
        window.take(3).unwrap();
        assert!(window.complete(3));
        assert!(!window.complete(3));
        assert!(!window.complete(2));
        assert!(!window.complete(4_000));
    }

    /// The obviously right version: a set of open offsets.
    struct Model {
        open: BTreeSet<i64>,
        next: i64,
        records_max: i64,
    }

    impl Model {
        fn mark(&self) -> i64 {
            self.open.first().copied().unwrap_or(self.next)
        }

        fn take(&mut self, offset: i64) -> Result<(), Refusal> {
            if offset < self.next {
                return Err(Refusal::Backwards);
            }
            if !self.open.is_empty() && offset - self.mark() >= self.records_max {
                return Err(Refusal::Full);
            }
            self.open.insert(offset);
            self.next = offset + 1;
            Ok(())
        }
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Take { gap: i64 },
        Complete { pick: usize },
        CompleteLowest,
        CompleteUnknown { offset: i64 },
        Rewind { by: i64 },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            6 => prop_oneof![8 => Just(0_i64), 2 => 0..200_i64, 1 => -5..0_i64].prop_map(|gap| Deed::Take { gap }),
            4 => any::<usize>().prop_map(|pick| Deed::Complete { pick }),
            2 => Just(Deed::CompleteLowest),
            1 => (-10..5_000_i64).prop_map(|offset| Deed::CompleteUnknown { offset }),
            1 => (1..400_i64).prop_map(|by| Deed::Rewind { by }),
        ]
    }

    proptest! {
        #[test]
        fn offsets_never_run_ahead(start in 0..1_000_i64, records_max in 1..300_u32, deeds in prop::collection::vec(deed(), 1..400)) {
            let mut window = Window::new(start, records_max);
            let mut model = Model { open: BTreeSet::new(), next: start, records_max: i64::from(records_max) };
            for deed in deeds {
                let mut before = window.mark();
                match deed {
                    Deed::Take { gap } => {
                        let offset = model.next + gap;
                        prop_assert_eq!(window.take(offset), model.take(offset));
                    }
                    Deed::Complete { pick } if !model.open.is_empty() => {
                        let offset = *model.open.iter().nth(pick % model.open.len()).unwrap();
                        model.open.remove(&offset);
                        prop_assert!(window.complete(offset));
                    }
                    Deed::CompleteLowest if !model.open.is_empty() => {
                        let offset = model.open.pop_first().unwrap();
                        prop_assert!(window.complete(offset));
                    }
                    Deed::CompleteUnknown { offset } => prop_assert_eq!(window.complete(offset), model.open.remove(&offset)),
                    Deed::Rewind { by } => {
                        let to = model.next - by;
                        let given_up = model.open.split_off(&to);
                        model.next = to;
                        prop_assert_eq!(window.rewind(to), given_up.len() as u64);
                        before = before.min(Mark(to));
                    }
                    Deed::Complete { .. } | Deed::CompleteLowest => {}
                }
                prop_assert_eq!(window.mark().next_to_read(), model.mark());
                prop_assert_eq!(window.open(), model.open.len() as u64);
                prop_assert_eq!(window.next(), model.next);
                prop_assert!(window.mark() >= before, "the mark goes back only with the position");
                prop_assert!(model.open.iter().all(|open| *open >= window.mark().next_to_read()), "nothing open lies below the mark");
                prop_assert!(window.words.len() as i64 <= i64::from(records_max) / 64 + 2, "memory is bounded by the window");
            }
        }
    }
}
