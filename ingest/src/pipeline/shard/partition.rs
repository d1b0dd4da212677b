//! One assigned partition, as its shard sees it.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::channel::Sender;
use expressway_engine::limits::NAME_CHARS_MAX;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::order::{Limits, Order};
use crate::kafka::queue::TopicToken;
use crate::kafka::{ConsumerCalls as _, Message, ShardQueue};
use crate::pipeline::PartitionBooks;
use crate::pipeline::assignment::Progress;
use crate::pipeline::offsets::{Refusal, Stored, Window};
use crate::pipeline::settings::Ordering;

use super::transact::Outcomes;

/// Consuming → draining → released. Released partitions are no longer in the table.
pub(crate) enum Phase {
    /// Records are taken.
    Consuming,
    /// The partition was revoked: no record is taken any more, and what was begun is finished until the deadline.
    Draining {
        /// When the rest is given up, on the shard's monotonic clock.
        deadline_ns: u64,
        /// Told when the partition is released: whether everything was finished.
        done: Sender<bool>,
    },
}

/// An assigned partition.
pub(crate) struct Partition {
    /// Index into the source topics.
    pub(crate) topic: u32,
    pub(crate) token: TopicToken,
    pub(crate) name: Arc<str>,
    pub(crate) number: i32,
    /// Partitions of the source topic.
    pub(crate) count: i32,
    /// Tells this assignment's records, effects and reports from those of others.
    pub(crate) epoch: u32,
    pub(crate) phase: Phase,
    pub(crate) window: Window,
    /// In transactional delivery: what waits for the transaction.
    pub(crate) outcomes: Option<Outcomes>,
    /// Which records wait for which.
    pub(crate) order: Order,
    /// Records that are open and were not begun, nor will be: the partition was revoked while they waited.
    pub(crate) unbegun: u64,
    /// Records that came while the window was full, or while too many waited in order; in their own order.
    pub(crate) held: VecDeque<Message>,
    pub(crate) paused: bool,
    pub(crate) progress: Arc<Progress>,
    /// `topic-partition-`, to which the offset is added for an execution's name.
    pub(crate) execution_prefix: String,
    /// `topic/partition/`, to which the offset is added for a record's position.
    pub(crate) position_prefix: String,
    pub(crate) seed: u64,
    pub(crate) books: PartitionBooks,
    /// The books that others see.
    kept: PartitionBooks,
    list: TopicPartitionList,
    stored: Stored,
}

/// What an assignment says about a partition.
pub(crate) struct Assigned {
    pub(crate) topic: u32,
    pub(crate) token: TopicToken,
    pub(crate) name: Arc<str>,
    pub(crate) number: i32,
    pub(crate) count: i32,
    pub(crate) epoch: u32,
    pub(crate) start: i64,
    pub(crate) progress: Arc<Progress>,
}

impl Partition {
    pub(crate) fn new(assigned: Assigned, window_records_max: u32, ordering: Ordering, waiting: Limits, is_transactional: bool) -> Self {
        let Assigned { topic, token, name, number, count, epoch, start, progress } = assigned;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&name, number);
        let (execution_prefix, position_prefix) = (format!("{name}-{number}-"), format!("{name}/{number}/"));
        let seed = partition_seed(&position_prefix);
        let window = Window::new(start, window_records_max);
        Self {
            topic,
            token,
            name,
            number,
            count,
            epoch,
            phase: Phase::Consuming,
            window,
            outcomes: is_transactional.then(|| Outcomes::new(start, window_records_max)),
            order: Order::new(ordering, seed, waiting),
            unbegun: 0,
            held: VecDeque::new(),
            paused: false,
            progress,
            execution_prefix,
            position_prefix,
            seed,
            books: PartitionBooks::default(),
            kept: PartitionBooks::default(),
            list,
            stored: Stored::default(),
        }
    }

    pub(crate) fn is_consuming(&self) -> bool {
        matches!(self.phase, Phase::Consuming)
    }

    /// Whether a further record may be taken, as far as records that wait in order are concerned.
    pub(crate) fn is_held_by_order(&self) -> bool {
        !self.order.is_idle() && self.order.is_full()
    }

    /// Whether a partition that was held may go on.
    pub(crate) fn is_half_free(&self) -> bool {
        self.window.is_half_free() && self.order.is_half_free()
    }

    /// Whether everything has ended that can: outcomes above a record that was not begun cannot be committed, and go back with it.
    pub(crate) fn is_finished(&self) -> bool {
        self.window.open() == self.unbegun + self.outcomes.as_ref().map_or(0, Outcomes::withheld)
    }

    /// Opens the record at `offset`.
    ///
    /// # Errors
    /// Nothing is changed when the window is full or the offset goes back.
    pub(crate) fn take(&mut self, offset: i64) -> Result<(), Refusal> {
        self.window.take(offset)?;
        if let Some(outcomes) = &mut self.outcomes {
            let taken = outcomes.take(offset);
            debug_assert!(taken.is_ok(), "records are closed after they have an outcome, so this window is never the fuller one");
        }
        Ok(())
    }

    /// Whether the outcomes that wait above the mark take more than `bytes_max`.
    pub(crate) fn withholds(&self, bytes_max: usize) -> bool {
        self.outcomes.as_ref().is_some_and(|outcomes| outcomes.bytes() > bytes_max)
    }

    /// The name of the execution of the record at `offset`, where it fits; the engine cuts longer ones.
    pub(crate) fn write_execution(&self, offset: i64, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.execution_prefix.as_bytes());
        write_offset(offset, out);
        out.len() <= NAME_CHARS_MAX
    }

    /// The position of the record at `offset`.
    pub(crate) fn write_position(&self, offset: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.position_prefix.as_bytes());
        write_offset(offset, out);
    }

    /// The seed of everything random in the execution of the record at `offset`: the same for every run of it.
    pub(crate) fn seed(&self, offset: i64) -> u64 {
        record_seed(self.seed, offset)
    }

    /// Hands the mark to the client, which commits it with its next commit. Returns an error's text.
    pub(crate) fn store_mark(&mut self, queue: &ShardQueue) -> Option<String> {
        let mark = match self.stored.next(self.window.mark()) {
            Ok(mark) => mark?,
            Err(stored) => return Some(format!("{} lies below {}, which was stored before", self.window.mark().next_to_read(), stored.next_to_read())),
        };
        let set = self.list.set_partition_offset(&self.name, self.number, Offset::Offset(mark.next_to_read()));
        let stored = set.and_then(|()| queue.consumer().store_offsets(&self.list));
        // An error of one partition stands in the list, and only sometimes in the call's own answer.
        let element = self.list.elements().into_iter().find_map(|element| element.error().err());
        if let Some(error) = stored.err().or(element) {
            return Some(error.to_string());
        }
        self.stored.set(mark);
        None
    }

    /// The client's position has gone back to `start`: what is open from there on is given up, a new epoch begins, and the marks may go back. Returns the records whose outcomes waited and are given up.
    pub(crate) fn go_back(&mut self, start: i64, epoch: u32) -> Vec<u64> {
        self.epoch = epoch;
        self.books.given_up += self.window.rewind(start);
        let gone = self.outcomes.as_mut().map(|outcomes| outcomes.rewind(start)).unwrap_or_default();
        self.stored = Stored::default();
        gone
    }

    /// Stops fetching, dropping what the client has fetched ahead; it is fetched again after [`resume`](Partition::resume).
    pub(crate) fn pause(&mut self, queue: &ShardQueue) -> Result<(), String> {
        queue.consumer().pause(&self.list).map_err(|error| error.to_string())?;
        self.paused = true;
        self.progress.hold(true);
        Ok(())
    }

    /// Fetches again.
    pub(crate) fn resume(&mut self, queue: &ShardQueue) -> Result<(), String> {
        queue.consumer().resume(&self.list).map_err(|error| error.to_string())?;
        self.paused = false;
        self.progress.hold(false);
        Ok(())
    }

    /// Publishes how far the partition is.
    pub(crate) fn publish(&self) {
        self.progress.publish(self.window.mark().next_to_read(), self.window.next());
    }

    /// Publishes the books, when they have changed.
    pub(crate) fn keep_books(&mut self) {
        self.books.open = self.window.open();
        if self.books != self.kept {
            self.publish();
            self.progress.keep_books(self.books);
            self.kept = self.books;
        }
    }

    /// For log lines.
    pub(crate) fn describe(&self) -> String {
        format!("{}{}", self.position_prefix, self.window.next())
    }
}

/// The seed of the execution of one record, for whoever runs it outside of a pipeline.
pub(crate) fn seed_of(topic: &str, partition: i32, offset: i64) -> u64 {
    record_seed(partition_seed(&format!("{topic}/{partition}/")), offset)
}

fn partition_seed(position_prefix: &str) -> u64 {
    position_prefix.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn record_seed(partition: u64, offset: i64) -> u64 {
    let mut mixed = partition ^ offset.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// Appends a number in decimal: the formatting machinery would cost more than the digits.
pub(crate) fn write_offset(offset: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = offset.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if offset < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_written_in_decimal() {
        for offset in [0, 7, 10, 1_234_567_890, i64::MAX, -1, i64::MIN] {
            let mut out = Vec::new();
            write_offset(offset, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), offset.to_string());
        }
    }
}
