//! Log lines for what a shard counts and has no line of its own for: one a shard and sentence in ten seconds at most, so that a flood of faulty records is told and not echoed.

use crate::clock::Now;
use crate::pipeline::Reason;
use crate::pipeline::counters::{Count, Tally};

/// Between two lines of one sentence.
const TELL_EVERY_NS: u64 = 10_000_000_000;

/// Counts that are told when they have grown.
pub(crate) const GROWN: [(Count, &str); 7] = [
    (Count::DeadLetters, "records became dead letters"),
    (Count::Abandoned, "executions were given up with their partitions"),
    (Count::StaleReplies, "answers of tasks came when nobody waited for them"),
    (Count::OverflowedReplies, "answers of tasks were dropped: calls were answered twice"),
    (Count::StaleReports, "delivery reports belonged to assignments that were over"),
    (Count::ProduceRetries, "results and dead letters are sent again"),
    (Count::Pauses, "partitions are paused: their windows are full, or too much of theirs waits"),
];

/// Levels that are told while they are not zero.
pub(crate) const RAISED: [(Count, &str); 1] =
    [(Count::DeadLettersStuck, "dead letters are refused by the broker; they are kept and hold their partitions' offsets")];

/// What a shard has told.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: [u64; GROWN.len()],
    /// By [`Reason::ALL`], how many dead letters were told.
    reasons: [u64; Reason::ALL.len()],
    /// When each sentence may be said again, those of [`RAISED`] behind those of [`GROWN`].
    next_ns: [u64; GROWN.len() + RAISED.len()],
}

impl Teller {
    /// Tells what has grown since it was last told, where that is long enough ago. Called once a turn.
    #[inline]
    pub(crate) fn look(&mut self, shard: u32, dead_letter_topic: &str, tally: &Tally, now: &Now) {
        let has_grown = GROWN.iter().zip(&self.told).any(|((count, _), told)| tally.get(*count) != *told);
        if has_grown || RAISED.iter().any(|(level, _)| tally.get(*level) != 0) {
            self.due(tally, now.monotonic_ns, |sentence, records, reasons| match reasons {
                None => tracing::warn!(shard, count = records, "{sentence}"),
                Some(reasons) => tracing::warn!(shard, count = records, reasons, topic = dead_letter_topic, "{sentence}"),
            });
        }
    }

    #[cold]
    fn due(&mut self, tally: &Tally, now_ns: u64, mut tell: impl FnMut(&'static str, u64, Option<&str>)) {
        for (place, (count, sentence)) in GROWN.iter().enumerate() {
            let found = tally.get(*count);
            if found != self.told[place] && now_ns >= self.next_ns[place] {
                let reasons = (*count == Count::DeadLetters).then(|| self.reasons_since(tally));
                tell(sentence, found - self.told[place], reasons.as_deref());
                self.told[place] = found;
                self.next_ns[place] = now_ns + TELL_EVERY_NS;
            }
        }
        for (place, (level, sentence)) in RAISED.iter().enumerate() {
            let (found, next_ns) = (tally.get(*level), &mut self.next_ns[GROWN.len() + place]);
            if found != 0 && now_ns >= *next_ns {
                tell(sentence, found, None);
                *next_ns = now_ns + TELL_EVERY_NS;
            }
        }
    }

    /// The reasons of the dead letters since they were last told, with how many there were of each.
    fn reasons_since(&mut self, tally: &Tally) -> String {
        let mut text = String::new();
        for ((reason, found), told) in Reason::ALL.iter().zip(tally.reasons()).zip(&mut self.reasons) {
            if found != told {
                let comma = if text.is_empty() { "" } else { ", " };
                text += &format!("{comma}{} {}", found - *told, reason.code());
                *told = *found;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_told_at_once_and_then_every_ten_seconds() {
        let (mut teller, mut tally) = (Teller::default(), Tally::new());
        let mut told = |tally: &Tally, now_ns: u64| {
            let mut lines = Vec::new();
            teller.due(tally, now_ns, |sentence, count, _| lines.push((sentence, count)));
            lines
        };
        assert_eq!(told(&tally, 1), []);
        tally.add(Count::StaleReplies, 3);
        let stale = GROWN.iter().find(|(count, _)| *count == Count::StaleReplies).expect("listed").1;
        assert_eq!(told(&tally, 2), [(stale, 3)]);
        assert_eq!(told(&tally, 3), []);
        tally.add(Count::StaleReplies, 2);
        assert_eq!(told(&tally, 4), []);
        tally.set(Count::DeadLettersStuck, 7);
        assert_eq!(told(&tally, TELL_EVERY_NS), [(RAISED[0].1, 7)]);
        assert_eq!(told(&tally, TELL_EVERY_NS + 2), [(stale, 2)]);
        assert_eq!(told(&tally, 2 * TELL_EVERY_NS), [(RAISED[0].1, 7)]);
    }

    #[test]
    fn dead_letters_are_told_with_their_reasons() {
        let (mut teller, mut tally) = (Teller::default(), Tally::new());
        let mut told = |tally: &Tally, now_ns: u64| {
            let mut lines = Vec::new();
            teller.due(tally, now_ns, |_, count, reasons| lines.push((count, reasons.map(str::to_owned))));
            lines
        };
        [Reason::Empty, Reason::NullValue, Reason::Empty].into_iter().for_each(|reason| tally.dead_letter(reason));
        assert_eq!(told(&tally, 1), [(3, Some("1 null_value, 2 empty".to_owned()))]);
        tally.dead_letter(Reason::Panic);
        assert_eq!(told(&tally, 1 + TELL_EVERY_NS), [(1, Some("1 panic".to_owned()))]);
    }
}
