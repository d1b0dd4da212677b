//! What a shard is doing, told in a few plain stores, and the watchdog that asks for it when the shard does not move.
//!
//! A shard says which part of its turn it is in, and for each execution that it runs the position of its record; a call that it hands to an integration is named with its state. Nobody reads that while the shard moves. A shard that has not finished a turn for [`STALL_AFTER_NS`] is stalled: one log line when it stops, one when it moves again, a reason in readiness all the while, and a counter.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::shared::lock;

/// A shard that has not turned for so long is stalled: a turn is a batch, far below a second.
pub(super) const STALL_AFTER_NS: u64 = 5_000_000_000;

/// A part of a shard's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    /// Waiting for records or for something to do.
    Waiting,
    /// Serving the group's commands.
    Commands,
    /// Serving delivery reports.
    Reports,
    /// Running the execution of the record that is named.
    Running,
    /// Handing calls to the integrations.
    Calling,
    /// Handing results to the producer, storing marks.
    Settling,
}

impl Part {
    const ALL: [Self; 6] = [Self::Waiting, Self::Commands, Self::Reports, Self::Running, Self::Calling, Self::Settling];
}

/// A call that is about to be handed over: resource and state.
type CallName = (Arc<str>, Arc<str>);

/// What a shard is doing. Only the shard writes.
#[derive(Debug)]
pub(super) struct Doing {
    part: AtomicU8,
    /// Index of the topic in the upper half, partition in the lower.
    partition: AtomicU64,
    offset: AtomicI64,
    call: Mutex<Option<CallName>>,
    is_stalled: AtomicBool,
    stalls: AtomicU64,
}

impl Doing {
    pub(super) fn new() -> Self {
        Self {
            part: AtomicU8::new(Part::Waiting as u8),
            partition: AtomicU64::new(0),
            offset: AtomicI64::new(0),
            call: Mutex::default(),
            is_stalled: AtomicBool::new(false),
            stalls: AtomicU64::new(0),
        }
    }

    /// Once for each part of a turn.
    pub(super) fn begin(&self, part: Part) {
        self.part.store(part as u8, Ordering::Relaxed);
    }

    /// Once for each time that an execution is run: two stores to a line that only this shard writes.
    #[inline]
    pub(super) fn run(&self, topic: u32, partition: i32, offset: i64) {
        self.partition.store(u64::from(topic) << 32 | u64::from(partition.cast_unsigned()), Ordering::Relaxed);
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// Before calls are handed over: the first of them.
    pub(super) fn call(&self, resource: &Arc<str>, state: &Arc<str>) {
        *lock(&self.call) = Some((Arc::clone(resource), Arc::clone(state)));
        self.begin(Part::Calling);
    }

    /// For people.
    pub(super) fn describe(&self, topics: &[String]) -> String {
        let part = Part::ALL.into_iter().find(|part| *part as u8 == self.part.load(Ordering::Relaxed)).unwrap_or(Part::Waiting);
        match part {
            Part::Waiting => "waiting for records".to_owned(),
            Part::Commands => "serving a decision of the group".to_owned(),
            Part::Reports => "serving delivery reports".to_owned(),
            Part::Running => {
                let partition = self.partition.load(Ordering::Relaxed);
                let (topic, number) = (usize::try_from(partition >> 32).ok().and_then(|index| topics.get(index)), partition & u64::from(u32::MAX));
                format!("running the execution of {}/{number}/{}", topic.map_or("?", String::as_str), self.offset.load(Ordering::Relaxed))
            }
            Part::Calling => match &*lock(&self.call) {
                Some((resource, state)) => format!("handing calls over, the first to {resource} from state {state}"),
                None => "handing calls over".to_owned(),
            },
            Part::Settling => "handing results over and storing marks".to_owned(),
        }
    }

    /// The watchdog's look at a shard whose last turn ended `still_ns` ago: the reason why it is not ready, if it is not. When the watchdog itself has looked for less than a stall takes, for the process stood still, it does not know whose time that was.
    pub(super) fn watch(&self, shard: u32, still_ns: u64, looking_ns: u64, topics: &[String]) -> Option<String> {
        if still_ns <= STALL_AFTER_NS {
            if self.is_stalled.swap(false, Ordering::Relaxed) {
                tracing::info!(shard, "shard moves again");
            }
            return None;
        }
        if looking_ns <= STALL_AFTER_NS && !self.is_stalled.load(Ordering::Relaxed) {
            return None;
        }
        let (seconds, doing) = (still_ns / 1_000_000_000, self.describe(topics));
        if !self.is_stalled.swap(true, Ordering::Relaxed) {
            self.stalls.fetch_add(1, Ordering::Relaxed);
            tracing::error!(shard, seconds, doing, "shard does not move");
        }
        Some(format!("shard {shard} has not moved for {seconds} s: {doing}"))
    }

    /// How often the shard has stalled.
    pub(super) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_once_and_counted_and_over_when_the_shard_moves() {
        let (doing, topics) = (Doing::new(), ["a".to_owned(), "beats".to_owned()]);
        doing.begin(Part::Running);
        doing.run(1, 3, 42);
        let late = STALL_AFTER_NS + 1;
        assert_eq!(doing.watch(0, STALL_AFTER_NS, late, &topics), None);
        assert_eq!(doing.watch(0, late, STALL_AFTER_NS, &topics), None, "the watchdog stood still too");
        let reason = doing.watch(0, late, late, &topics);
        assert_eq!(reason.as_deref(), Some("shard 0 has not moved for 5 s: running the execution of beats/3/42"));
        assert!(doing.watch(0, 2 * late, 0, &topics).is_some(), "it has not moved since");
        assert_eq!(doing.stalls(), 1);
        assert_eq!(doing.watch(0, 0, late, &topics), None);
        assert!(doing.watch(0, 2 * late, late, &topics).is_some());
        assert_eq!(doing.stalls(), 2);
    }

    #[test]
    fn every_part_of_a_turn_has_its_words() {
        let doing = Doing::new();
        let texts: std::collections::BTreeSet<_> = Part::ALL
            .map(|part| {
                doing.begin(part);
                doing.describe(&[])
            })
            .into();
        assert_eq!(texts.len(), Part::ALL.len());
        doing.call(&Arc::from("native:x"), &Arc::from("Ask"));
        assert_eq!(doing.describe(&[]), "handing calls over, the first to native:x from state Ask");
    }
}
