//! What the group decides, as it reaches a shard, and how marks are settled.

use std::sync::Arc;

use crossbeam::channel::Sender;
use expressway_engine::Program;

use super::partition::{Assigned, Partition, Phase};
use super::record::RecordId;
use super::transact::Outcomes;
use super::{Error, Shard};
use crate::clock::Now;
use crate::kafka::queue::TopicHandle;
use crate::kafka::{Batch, ShardQueue};
use crate::pipeline::counters::Count;
use crate::pipeline::processor::Processor;
use crate::pipeline::sink::To;
use crate::thread;

/// Told when a command is done, and whether all of it was: a drain that ends at its deadline says `false`.
pub(crate) type Done = Sender<bool>;

/// A command to a shard. Each is answered, so that the control thread and the shard shake hands in both directions.
pub(crate) enum Command {
    /// The partition is this shard's from now on.
    Assign(Box<Assigned>, Done),
    /// The partition goes: finish what was begun until the deadline, store the mark, answer.
    Revoke {
        /// Index into the source topics.
        topic: u32,
        partition: i32,
        deadline_ns: u64,
        done: Done,
    },
    /// The partition belongs to somebody else already: drop it, store nothing, answer.
    Lose { topic: u32, partition: i32, done: Done },
    /// Executions that begin run this program from now on; open ones end under theirs. Answered with `false` when there have been too many versions.
    Replace { program: Arc<Program>, done: Done },
    /// No partition is left, and the client is replaced: records come from this queue from now on.
    Connect { queue: Arc<ShardQueue>, topics: Arc<[TopicHandle]>, done: Done },
    /// No partition is left: serve the reports that are under way until the deadline, and end.
    Stop { deadline_ns: u64 },
}

impl<P: Processor> Shard<P> {
    /// Applies the group's commands; `false` means the end.
    pub(super) fn obey(&mut self, now: &Now) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Assign(assigned, done) => {
                    self.assign(*assigned, now);
                    // Whoever gave the command may have stopped waiting; then nobody needs the answer.
                    done.try_send(true).ok();
                }
                Command::Revoke { topic, partition, deadline_ns, done } => match self.find(topic, partition) {
                    Some(place) => {
                        let partition = self.partition(place);
                        partition.held.clear();
                        partition.phase = Phase::Draining { deadline_ns, done };
                        self.give_back_deferred(place);
                        self.marks_dirty = true;
                    }
                    None => {
                        done.try_send(true).ok();
                    }
                },
                Command::Lose { topic, partition, done } => {
                    if let Some(place) = self.find(topic, partition) {
                        self.release(place, now);
                    }
                    done.try_send(true).ok();
                }
                Command::Replace { program, done } => {
                    let is_done = self.replace(&program);
                    done.try_send(is_done).ok();
                }
                Command::Connect { queue, topics, done } => {
                    self.connect(queue, topics, now);
                    done.try_send(true).ok();
                }
                Command::Stop { deadline_ns } => {
                    self.finish_reports(deadline_ns);
                    return false;
                }
            }
        }
        true
    }

    fn replace(&mut self, program: &Arc<Program>) -> bool {
        if !self.versions.add(program.version()) {
            return false;
        }
        let open: Vec<_> = self.slots.lent().map(|(slot, _)| slot).collect();
        self.processor.replace(program, &open);
        true
    }

    /// Leaves one client's queue for another's. What is open from before has been given back already; its reports find nothing.
    fn connect(&mut self, queue: Arc<ShardQueue>, topics: Arc<[TopicHandle]>, now: &Now) {
        for place in 0..self.partitions.len() {
            self.release(place, now);
        }
        self.batch = Batch::new(&queue, usize::try_from(self.rules.batch_records_max).expect("a batch fits into memory"));
        self.sink.wake_on_reports(&queue);
        self.queue = queue;
        self.topics = topics;
    }

    fn find(&self, topic: u32, number: i32) -> Option<usize> {
        self.partitions.iter().position(|place| place.as_ref().is_some_and(|partition| partition.topic == topic && partition.number == number))
    }

    fn assign(&mut self, assigned: Assigned, now: &Now) {
        if let Some(place) = self.find(assigned.topic, assigned.number) {
            self.release(place, now);
        }
        let is_transactional = self.sink.transaction().is_some();
        let partition = Partition::new(assigned, self.rules.window_records_max, self.rules.ordering, self.rules.waiting(), is_transactional);
        partition.publish();
        match self.partitions.iter().position(Option::is_none) {
            Some(place) => self.partitions[place] = Some(partition),
            None => self.partitions.push(Some(partition)),
        }
        self.share_out();
        debug_assert!(!self.topics.is_empty(), "tokens are valid while the topics' handles are held");
    }

    /// Takes a partition out of the table. What is open of it is given back uncommitted: executions end, answers and reports to come find nothing.
    fn release(&mut self, place: usize, now: &Now) {
        let Some(mut partition) = self.partitions[place].take() else { return };
        // The client keeps a pause beyond the assignment: the partition would stand still when it came back, even after it was lost.
        if partition.paused
            && let Err(error) = partition.resume(&self.queue)
        {
            tracing::warn!(partition = partition.describe(), error, "partition could not be resumed");
            self.tally.add(Count::ClientErrors, 1);
        }
        self.forget_waiting(place, &mut partition);
        let (records, epoch) = (&self.records, partition.epoch);
        let is_its = |record: RecordId| records.find(record).is_some_and(|open| open.partition == place && open.epoch == epoch);
        let executing: Vec<_> = self.slots.lent().filter(|(_, record)| is_its(*record)).collect();
        let waiting = self.sink.forget(|opaque| is_its(RecordId::from_opaque(opaque)));
        for (slot, record) in executing {
            self.processor.abandon(slot);
            self.slots.release(slot);
            self.records.remove(record);
            self.tally.add(Count::Abandoned, 1);
        }
        for opaque in waiting {
            self.records.remove(RecordId::from_opaque(opaque));
        }
        // What is not committed of it must not be, for it runs again elsewhere.
        if partition.window.open() > 0 {
            self.sink.doom(|| "a partition was given back before all of it was committed".to_owned());
        }
        for opaque in partition.outcomes.iter().flat_map(Outcomes::waiting) {
            self.records.remove(RecordId::from_opaque(opaque));
        }
        self.share_out();
        tracing::debug!(shard = self.index, partition = partition.describe(), open = partition.window.open(), at_ms = now.timestamp.0, "partition released");
    }

    /// Stores marks, releases what has drained, lets paused partitions go on.
    pub(super) fn settle(&mut self, now: &Now) {
        self.watch_topics(now);
        if self.marks_dirty {
            self.marks_dirty = false;
            self.store_marks();
        }
        let withheld_max = self.withheld_max;
        for place in 0..self.partitions.len() {
            let has_ample_share = self.has_ample_share(place);
            let Some(partition) = self.partitions[place].as_mut() else { continue };
            match &partition.phase {
                Phase::Draining { deadline_ns, done } => {
                    let finished = partition.is_finished();
                    if finished || *deadline_ns <= now.monotonic_ns {
                        let (done, finished) = (done.clone(), finished && partition.unbegun == 0);
                        self.release(place, now);
                        done.try_send(finished).ok();
                    }
                }
                Phase::Consuming if !partition.paused || !partition.held.is_empty() => {}
                Phase::Consuming if has_ample_share && partition.is_half_free() && !partition.withholds(withheld_max / 2) => {
                    if let Err(error) = partition.resume(&self.queue) {
                        tracing::warn!(partition = partition.describe(), error, "partition could not be resumed");
                        self.tally.add(Count::ClientErrors, 1);
                    }
                }
                Phase::Consuming => {}
            }
        }
    }

    /// What each partition may hold of what waits; of the memory for what is not committed, half is for what waits above a mark.
    fn share_out(&mut self) {
        let partitions = self.partitions.iter().flatten().count().max(1);
        self.slots.shares_mut().share_out(self.partitions.len(), partitions);
        self.records.share_out(self.partitions.len(), partitions);
        self.withheld_max = self.sink.transaction().map_or(usize::MAX, |transaction| transaction.bytes_max() / 2 / partitions);
    }

    fn store_marks(&mut self) {
        for partition in self.partitions.iter_mut().flatten() {
            partition.publish();
            if partition.outcomes.is_some() {
                continue;
            }
            if let Some(error) = partition.store_mark(&self.queue) {
                self.tally.add(Count::StoreErrors, 1);
                tracing::warn!(partition = partition.describe(), error, "mark could not be stored");
            }
        }
    }

    /// A topic that cannot be written to stops the shard at once and, when it stays so, the pipeline.
    fn watch_topics(&mut self, now: &Now) {
        // With transactions whoever ends the transaction says so.
        if self.sink.transaction().is_none()
            && let Some(detail) = self.sink.fatal()
        {
            return self.health.fail(Error::Fatal { client: "producer", detail });
        }
        let Some(blocked) = self.sink.blocked() else {
            if std::mem::take(&mut self.topic_error_logged) {
                self.health.unblock(self.index);
                tracing::info!(shard = self.index, "topic takes records again");
            }
            return;
        };
        let topic = match blocked.to {
            To::Results => &self.rules.result_topic,
            To::DeadLetters => &self.rules.dead_letter_topic,
        };
        if !std::mem::replace(&mut self.topic_error_logged, true) {
            self.health.block(self.index, format!("records cannot be written to topic {topic}: {}", blocked.code));
            tracing::error!(shard = self.index, topic = &**topic, error = %blocked.code, "topic does not take records");
        }
        if u128::from(now.monotonic_ns.saturating_sub(blocked.since_ns)) > self.rules.topic_error_timeout.as_nanos() {
            self.health.fail(Error::TopicRefused { topic: topic.to_string(), code: blocked.code });
        }
    }

    /// The end: what is under way in the producer is given its time, so that dropping it throws nothing away that was sent.
    fn finish_reports(&mut self, deadline_ns: u64) {
        self.end_transaction();
        loop {
            let now = self.clock.now();
            self.transact(None, &now);
            let is_over = self.sink.in_flight() == 0 && !self.sink.transaction().is_some_and(|transaction| transaction.is_ending());
            if is_over || now.monotonic_ns >= deadline_ns {
                return;
            }
            if self.sink.in_flight() == 0 {
                // Only the clerk's answer is wanted, and it rings.
                self.sink.idle();
                thread::park_timeout(super::WAIT_BUSY);
                continue;
            }
            self.dispatch(&now);
            self.sink.flush(super::WAIT_BUSY);
            self.reports(super::WAIT_BUSY);
        }
    }
}
