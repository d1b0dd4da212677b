//! What has been brought back already, kept where the offsets of a group are kept.
//!
//! A group's committed offset alone could only say *everything up to here*. But an operator brings back what lies behind a time, of one reason, or what has not come back too often yet; the rest must stay to be brought back later, and nothing may come back twice because a command was interrupted or given again. So the text that Kafka keeps beside an offset says it exactly: a list of ranges, each with the reasons that were asked for and the bound on replays. Reading, that is a question of four comparisons; its length goes with the number of commands given, not with the number of records.
//!
//! Kafka forgets offsets of a group without members after `offsets.retention.minutes`, a week unless configured otherwise.

use std::fmt::Write as _;

use crate::pipeline::Reason;

/// Longest text beside an offset; the broker's own limit is 4,096 unless configured otherwise (`offset.metadata.max.bytes`).
const TEXT_BYTES_MAX: usize = 4_000;

/// Longest range in a text: two offsets, every reason, a bound.
const RANGE_BYTES_MAX: usize = 240;

/// Ranges that are read; more cannot come from a text of that length.
const RANGES_MAX: usize = TEXT_BYTES_MAX / 6;

/// A set of reasons; records that are no dead letters have none, and belong to every set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reasons(u32);

/// The bit of a reason that is not on the list: a dead letter of another version of this program.
const OTHER: u32 = 1 << 31;

impl Reasons {
    /// All there are, and any that may come.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// The ones with these codes.
    ///
    /// # Errors
    /// Names the code that is none.
    pub(crate) fn of(codes: &[String]) -> Result<Self, String> {
        if codes.is_empty() {
            return Ok(Self::ALL);
        }
        codes.iter().try_fold(Self(0), |set, code| match bit(code) {
            OTHER => Err(format!("there is no reason \"{code}\"; the reasons are {}", Reason::ALL.map(Reason::code).join(", "))),
            bit => Ok(Self(set.0 | bit)),
        })
    }

    /// Whether the reason with this code is in the set.
    pub(crate) fn has(self, code: &str) -> bool {
        self.0 & bit(code) != 0
    }

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn write(self, out: &mut String) {
        if self == Self::ALL {
            return out.push('*');
        }
        let codes: Vec<&str> = Reason::ALL.into_iter().map(Reason::code).filter(|code| self.has(code)).collect();
        out.push_str(&codes.join("+"));
    }

    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::ALL);
        }
        text.split('+').try_fold(Self(0), |set, code| Some(bit(code)).filter(|bit| *bit != OTHER).map(|bit| Self(set.0 | bit)))
    }
}

fn bit(code: &str) -> u32 {
    Reason::ALL.into_iter().position(|reason| reason.code() == code).map_or(OTHER, |index| 1 << index)
}

/// What one command has brought back of one partition: every record of these offsets and reasons that had been replayed less often than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reasons: Reasons,
    pub(crate) replays_below: u32,
}

impl Done {
    fn contains(&self, other: &Self) -> bool {
        self.from <= other.from && self.to >= other.to && self.reasons.contains(other.reasons) && self.replays_below >= other.replays_below
    }

    /// Whether both together are one range.
    fn joins(&self, other: &Self) -> bool {
        self.reasons == other.reasons && self.replays_below == other.replays_below && self.from <= other.to && other.from <= self.to
    }
}

/// Everything that was brought back of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory(Vec<Done>);

impl Memory {
    /// Whether a record has been brought back.
    pub(crate) fn has(&self, offset: i64, reason: &str, replays: u32) -> bool {
        self.0.iter().any(|done| (done.from..done.to).contains(&offset) && done.replays_below > replays && done.reasons.has(reason))
    }

    /// Notes what has been brought back.
    pub(crate) fn add(&mut self, mut done: Done) {
        if done.from >= done.to || self.0.iter().any(|known| known.contains(&done)) {
            return;
        }
        while let Some(index) = self.0.iter().position(|known| done.contains(known) || done.joins(known)) {
            let known = self.0.swap_remove(index);
            (done.from, done.to) = (done.from.min(known.from), done.to.max(known.to));
        }
        self.0.push(done);
        self.0.sort_unstable_by_key(|done| (done.from, done.to));
    }

    /// Whether there is room for another range, whatever it is.
    pub(crate) fn has_room(&self) -> bool {
        self.text().is_some_and(|text| text.len() + RANGE_BYTES_MAX <= TEXT_BYTES_MAX)
    }

    /// The text that is kept, as long as it fits.
    pub(crate) fn text(&self) -> Option<String> {
        let mut out = String::from("1");
        for done in &self.0 {
            write!(out, ";{}-{},", done.from, done.to).expect("writing to a String cannot fail");
            done.reasons.write(&mut out);
            write!(out, ",{}", done.replays_below).expect("writing to a String cannot fail");
        }
        (out.len() <= TEXT_BYTES_MAX).then_some(out)
    }

    /// Reads a text; an empty one is an empty memory, one that is not ours is `None`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let mut parts = text.split(';');
        if parts.next() != Some("1") || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let ranges: Vec<Done> = parts.map(range).collect::<Option<_>>()?;
        (ranges.len() <= RANGES_MAX).then_some(Self(ranges))
    }
}

fn range(text: &str) -> Option<Done> {
    let mut fields = text.splitn(3, ',');
    let (from, to) = fields.next()?.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    let (reasons, replays_below) = (Reasons::read(fields.next()?)?, fields.next()?.parse().ok()?);
    (0 <= from && from < to).then_some(Done { from, to, reasons, replays_below })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reasons(codes: &[&str]) -> Reasons {
        Reasons::of(&codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>()).expect("known")
    }

    fn done(from: i64, to: i64, codes: &[&str], replays_below: u32) -> Done {
        Done { from, to, reasons: reasons(codes), replays_below }
    }

    #[test]
    fn commands_that_follow_each_other_are_one_range() {
        let mut memory = Memory::default();
        for step in 0..1_000 {
            memory.add(done(step * 10, step * 10 + 10, &[], 3));
        }
        assert_eq!(memory.text().as_deref(), Some("1;0-10000,*,3"));
        assert!(memory.has(9_999, "panic", 2) && memory.has(0, "a_reason_of_tomorrow", 0));
        assert!(!memory.has(10_000, "panic", 0) && !memory.has(5, "panic", 3));
    }

    #[test]
    fn a_filtered_command_leaves_the_rest_to_be_brought_back() {
        let mut memory = Memory::default();
        memory.add(done(100, 200, &["panic", "malformed_json"], 3));
        assert!(memory.has(150, "panic", 0) && !memory.has(150, "too_deep", 0) && !memory.has(99, "panic", 0));
        memory.add(done(0, 300, &[], 3));
        assert_eq!(memory.text().as_deref(), Some("1;0-300,*,3"), "what a wider one contains is dropped");
    }

    #[test]
    fn foreign_and_broken_texts_are_refused() {
        for text in ["x", "2;0-1,*,1", "1;0-1,*", "1;1-1,*,1", "1;-5-1,*,1", "1;0-1,nonsense,1", "1;0-1,*,-1"] {
            assert_eq!(Memory::parse(text), None, "{text}");
        }
        assert_eq!(Memory::parse(""), Some(Memory::default()));
        assert!(Reasons::of(&["panik".to_owned()]).unwrap_err().contains("panic"));
    }

    #[test]
    fn a_memory_that_does_not_fit_says_so() {
        let mut memory = Memory::default();
        for step in 0..400 {
            memory.add(done(step * 1_000_000, step * 1_000_000 + 10, &[], 3));
        }
        assert_eq!(memory.text(), None);
        assert!(!memory.has_room() && Memory::default().has_room());
    }

    #[test]
    fn the_longest_range_is_as_long_as_is_reckoned_with() {
        let codes: Vec<&str> = Reason::ALL.into_iter().map(Reason::code).collect();
        let mut memory = Memory::default();
        memory.add(done(i64::MAX - 1, i64::MAX, &codes, u32::MAX));
        assert!(memory.text().expect("short").len() <= RANGE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn memory_is_the_sum_of_what_was_added(
            added in prop::collection::vec((0..60_i64, 1..20_i64, 0..4_usize, 1..4_u32), 0..12),
        ) {
            let sets: [&[&str]; 4] = [&[], &["panic"], &["too_deep", "panic"], &["empty"]];
            let mut memory = Memory::default();
            for &(from, length, set, below) in &added {
                memory.add(done(from, from + length, sets[set], below));
            }
            let read = Memory::parse(&memory.text().expect("short")).expect("ours");
            for offset in 0..90 {
                for reason in ["panic", "too_deep", "empty", "null_value"] {
                    for replays in 0..4 {
                        let expected = added.iter().any(|&(from, length, set, below)| {
                            (from..from + length).contains(&offset) && replays < below && reasons(sets[set]).has(reason)
                        });
                        prop_assert_eq!(memory.has(offset, reason, replays), expected);
                        prop_assert_eq!(read.has(offset, reason, replays), expected);
                    }
                }
            }
        }
    }
}
