//! Waits, back-offs and time-outs: a heap of due times.
//!
//! Entries are cancelled lazily: an answer in time leaves its time-out in the heap, and what comes due for an effect no longer open is dropped by the engine. So that a million quick calls with long time-outs do not fill the memory, entries of executions that are over are swept out whenever the heap has doubled; it therefore never holds more than twice what is alive, plus a small constant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use expressway_engine::{EffectId, Timestamp};

/// Below this many entries sweeping is not worth it.
const SWEEP_MIN: usize = 4_096;

/// What a timer does when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The sleep is over.
    Elapsed,
    /// The call has taken too long.
    TimedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Timestamp,
    order: u64,
    id: EffectId,
    timed_out: bool,
}

/// The timers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
    sweep_at: usize,
}

impl Timers {
    /// Sets a timer. Timers due at the same time go off in the order in which they were set.
    pub(crate) fn set(&mut self, at: Timestamp, id: EffectId, kind: Kind) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at, order: self.order, id, timed_out: kind == Kind::TimedOut }));
    }

    /// The next timer due by `now`.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(EffectId, Kind)> {
        if self.next()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.id, if entry.timed_out { Kind::TimedOut } else { Kind::Elapsed }))
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// How many are set.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops the timers of executions that are over, when that is worth it.
    pub(crate) fn sweep(&mut self, is_alive: impl Fn(EffectId) -> bool) {
        if self.heap.len() > self.sweep_at.max(SWEEP_MIN) {
            self.heap.retain(|Reverse(entry)| is_alive(entry.id));
            self.sweep_at = self.heap.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> EffectId {
        EffectId { slot, generation: 1, strand: 0, sequence: 0 }
    }

    #[test]
    fn timers_go_off_in_time_and_in_order() {
        let mut timers = Timers::default();
        timers.set(Timestamp(20), id(2), Kind::TimedOut);
        timers.set(Timestamp(10), id(9), Kind::Elapsed);
        timers.set(Timestamp(10), id(1), Kind::Elapsed);
        assert_eq!(timers.due(Timestamp(9)), None);
        assert_eq!(timers.next(), Some(Timestamp(10)));
        assert_eq!(timers.due(Timestamp(10)), Some((id(9), Kind::Elapsed)));
        assert_eq!(timers.due(Timestamp(10)), Some((id(1), Kind::Elapsed)));
        assert_eq!(timers.due(Timestamp(10)), None);
        assert_eq!(timers.due(Timestamp(99)), Some((id(2), Kind::TimedOut)));
    }

    #[test]
    fn dead_timers_do_not_pile_up() {
        let mut timers = Timers::default();
        for slot in 0..1_000_000 {
            timers.set(Timestamp(300_000), id(slot), Kind::TimedOut);
            timers.sweep(|id| id.slot % 1_000 == 0);
            assert!(timers.len() <= SWEEP_MIN + 2_001);
        }
        assert!(timers.len() >= 1_000);
    }
}
