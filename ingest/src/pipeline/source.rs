//! The control thread of a pipeline: polls the consumer, watches the shards, and walks the way out.
//!
//! The consumer's own queue carries rebalances, errors and answers to the client's own commits (those that are asked for here have a queue of their own, see `kafka::commit`), and never a record: a record there was fetched past the shards' queues, so the pipeline stops at once.
//!
//! **The client is replaced** in two cases: a partition stands still (see `stuck`), or the broker does not have the group protocol that was tried first. The old one is closed in order, with the shards running, as on the way out; then every shard is put to a queue of the new one between two batches, and the group is joined again. A second standstill before the first one's partitions have moved ends the pipeline.
//!
//! **The way out**, always in this order: stop intake → drain → flush → commit → leave → exit. Leaving is `close_queue()` and polling until `closed()` with the shards still running, because the last revocation is served inside those polls: it drains the partitions (which includes the delivery reports), stores their marks, and the client commits them as it unassigns (with transactions they are committed as the drain ends). Only then do the shards stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::assignment::{Coordinator, Placed};
use super::intake::{Connector, Intake};
use super::shard::Command;
use super::shared::{Desk, Health};
use super::stuck::{self, LOOK_LATE_NS, Sight, Standing, Statistics, Watch};
use super::{Error, Settings};
use crate::clock::Clock;
use crate::kafka::protocol::Joining;
use crate::kafka::{Consumer, ConsumerCalls as _, ErrorCode, Rebalancer};
use crate::thread::{self, JoinHandle};

/// One poll of the consumer's own queue.
const POLL: Duration = Duration::from_millis(20);
/// Between two looks at the shards.
const LOOK_EVERY_NS: u64 = 200_000_000;
/// What a pipeline that failed still gives its shards to store the marks of what was acknowledged.
const FAILURE_DRAIN: Duration = Duration::from_secs(2);
/// What is kept of the shutdown's time for leaving the group after the drain.
const LEAVE_RESERVE: Duration = Duration::from_secs(3);

/// How long a static member whose name the broker still keeps for its predecessor waits before it asks again.
const NAME_TAKEN_PAUSE_NS: u64 = 1_000_000_000;

/// How long commits may be refused one after the other for the member's epoch before that counts as an error: two heartbeats of the longest interval that a broker allows (`group.consumer.max.heartbeat.interval.ms`, 15 s), each of which brings the new epoch.
const STALE_EPOCH_LONG_NS: u64 = 30_000_000_000;

/// Commits that are refused for the member's epoch.
#[derive(Debug, Default)]
pub(super) struct StaleEpoch {
    /// Since when each one is.
    since_ns: Option<u64>,
}

impl StaleEpoch {
    /// Whether a commit with this answer, `None` when it was brought about, is left to the next one: it met a change of the group, and that has not gone on for long.
    fn passes_over(&mut self, code: Option<ErrorCode>, now_ns: u64) -> bool {
        if !matches!(code, Some(ErrorCode::StaleMemberEpoch | ErrorCode::AssignmentLost)) {
            self.since_ns = None;
            return false;
        }
        now_ns.saturating_sub(*self.since_ns.get_or_insert(now_ns)) < STALE_EPOCH_LONG_NS
    }
}

/// The control thread's belongings.
pub(super) struct Source {
    pub(super) consumer: Consumer,
    pub(super) connector: Connector,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) health: Arc<Health>,
    pub(super) desks: Vec<Arc<Desk>>,
    pub(super) shards: Vec<JoinHandle<()>>,
    pub(super) clock: Clock,
    pub(super) settings: Arc<Settings>,
    pub(super) shutdown: Arc<AtomicBool>,
    pub(super) joining: Joining,
    pub(super) watch: Watch,
    /// The last look, and the first one since looks come in time: they do not when the process stands still.
    pub(super) looked_ns: u64,
    pub(super) looking_since_ns: u64,
    /// When the client is to be replaced, and by one for which protocol.
    pub(super) replacement: Option<(u64, Joining)>,
    /// Since when the broker keeps our name for another.
    pub(super) name_taken_ns: Option<u64>,
    pub(super) stale: StaleEpoch,
    /// How often this client has told its statistics, and when it was seen to have last.
    pub(super) statistics: (u64, u64),
    /// Partitions for which the client was replaced, until they move.
    pub(super) suspects: Vec<stuck::Key>,
    /// When the client was replaced; later, when it was first given partitions.
    pub(super) replaced_ns: u64,
}

impl Source {
    /// Subscribes and runs until the shutdown is asked for or the pipeline fails.
    pub(super) fn run(mut self) -> Result<(), Error> {
        self.subscribe();
        while !self.shutdown.load(Ordering::Acquire) && self.health.failure().is_none() {
            self.poll();
            let now_ns = self.clock.now().monotonic_ns;
            self.commit(now_ns);
            if let Some((_, joining)) = self.replacement.take_if(|(at_ns, _)| *at_ns <= now_ns)
                && let Err(error) = self.replace(joining)
            {
                self.health.fail(error);
            }
            if now_ns.saturating_sub(self.looked_ns) >= LOOK_EVERY_NS || self.looked_ns == 0 {
                self.look(now_ns);
            }
        }
        let left = self.leave();
        self.health.failure().map_or(left, Err)
    }

    fn subscribe(&self) {
        let topics: Vec<&str> = self.settings.source_topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.handle().subscribe(&topics) {
            self.health.fail(Error::Client(error));
        }
    }

    fn poll(&mut self) {
        if let Some(error) = self.serve() {
            match error {
                KafkaError::MessageConsumptionFatal(code) => self.fatal(code),
                error => self.consumer_error(&error),
            }
        }
    }

    /// Commits what is stored, where the client does not. A commit that met a change of the group is left to the next one, unless that goes on for long.
    fn commit(&mut self, now_ns: u64) {
        let Some(answer) = self.consumer.commit_stored(self.health.has_partitions(), now_ns) else { return };
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        if self.stale.passes_over(code, now_ns) {
            tracing::debug!(error = ?code, "commit is left to the next one");
            return;
        }
        self.coordinator.committed(&answer);
    }

    /// One poll of the consumer: rebalances and answers to commits are served inside; an error comes back.
    fn serve(&self) -> Option<KafkaError> {
        match self.consumer.handle().poll(POLL)? {
            Ok(stray) => {
                self.health.fail(Error::StrayRecord { topic: stray.topic().to_owned(), partition: stray.partition(), offset: stray.offset() });
                None
            }
            Err(error) => Some(error),
        }
    }

    /// The client is of no use any more. What a new one could mend is given one; the rest ends the pipeline.
    fn fatal(&mut self, code: ErrorCode) {
        let (code, detail) = self.consumer.fatal_error().unwrap_or_else(|| (code, code.to_string()));
        let now_ns = self.clock.now().monotonic_ns;
        if let Some(joining) = self.settings.group_protocol.after(self.joining, code) {
            tracing::info!(tried = self.joining.name(), instead = joining.name(), "the broker does not have the group protocol");
            self.replacement = Some((now_ns, joining));
            return;
        }
        // Under the new protocol the newcomer has to wait until the session of the one before, who was killed, is over.
        let taken_ns = *self.name_taken_ns.get_or_insert(now_ns);
        if code == ErrorCode::UnreleasedInstanceId && u128::from(now_ns.saturating_sub(taken_ns)) < self.settings.startup_timeout.as_nanos() {
            tracing::warn!(detail, "the static member's name is still taken, trying again");
            self.replacement = Some((now_ns.saturating_add(NAME_TAKEN_PAUSE_NS), self.joining));
            return;
        }
        self.health.fail(Error::Fatal { client: "consumer", detail });
    }

    /// The client recovers from these by itself: brokers down, coordinator moved, and the like. A topic that is not ours to read is not one of them.
    fn consumer_error(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(code @ (ErrorCode::TopicAuthorizationFailed | ErrorCode::GroupAuthorizationFailed)) => {
                self.health.fail(Error::Fatal { client: "consumer", detail: code.to_string() });
            }
            _ => {
                self.coordinator.consumer_problems.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "consumer reports a problem");
            }
        }
    }

    /// When the client told the statistics that are the last ones now.
    fn statistics_told_ns(&mut self, now_ns: u64) -> u64 {
        let told = self.consumer.handle().context().statistics_told();
        if told != self.statistics.0 {
            self.statistics = (told, now_ns);
        }
        self.statistics.1
    }

    /// Looks after the shards and the partitions, and says whether the pipeline is ready.
    fn look(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.looked_ns) > LOOK_LATE_NS {
            self.looking_since_ns = now_ns;
        }
        self.looked_ns = now_ns;
        let looking_ns = now_ns.saturating_sub(self.looking_since_ns);
        let mut reasons = Vec::new();
        let placed = self.coordinator.placed();
        if !placed.is_empty() {
            self.name_taken_ns = None;
        }
        for (index, (desk, thread)) in self.desks.iter().zip(&self.shards).enumerate() {
            let shard = u32::try_from(index).unwrap_or(u32::MAX);
            let still_ns = now_ns.saturating_sub(desk.beat.load(Ordering::Relaxed));
            if thread.is_finished() {
                self.health.fail(Error::Shard { shard, detail: "ended".to_owned() });
            } else {
                reasons.extend(desk.doing.watch(shard, still_ns, looking_ns, &self.settings.source_topics));
            }
        }
        reasons.extend(self.look_for_standing(now_ns, &placed));
        // Ready again only when what stood still has moved.
        reasons.extend((!self.suspects.is_empty()).then(|| format!("the Kafka client was made anew, {} partitions have not moved yet", self.suspects.len())));
        self.health.set_reasons(reasons);
    }

    /// Partitions that stand still, as reasons; the client is replaced for the first, and the pipeline ends with the second.
    fn look_for_standing(&mut self, now_ns: u64, placed: &[Placed]) -> Vec<String> {
        let found_none = |shard: usize| self.desks[shard].found_none_at.load(Ordering::Relaxed);
        let sights: Vec<_> =
            placed.iter().map(|placed| placed.progress.sight((placed.topic, placed.partition), placed.epoch, found_none(placed.shard))).collect();
        self.acquit(now_ns, &sights);
        let told_ns = self.statistics_told_ns(now_ns);
        let standing = self.watch.look(now_ns, &sights);
        if standing.is_empty() || self.replacement.is_some() {
            return Vec::new();
        }
        let statistics = Statistics::parse(&self.consumer.handle().context().statistics());
        let name = |key: &stuck::Key| self.settings.source_topics[usize::try_from(key.0).expect("a topic's number fits into memory")].as_str();
        let is_stuck =
            |standing: &&Standing| self.watch.may_speak(told_ns, standing) && !statistics.has_read_past(name(&standing.key), standing.key.1, standing.next);
        let stuck: Vec<_> = standing.iter().filter(is_stuck).collect();
        let mut reasons = Vec::new();
        for Standing { key, next, end, seconds, .. } in &stuck {
            let (topic, partition) = (name(key), key.1);
            let client = statistics.describe(topic, partition);
            tracing::error!(topic, partition, next, end, seconds, client, "partition has records to read and delivers none");
            reasons.push(format!("{topic}/{partition} has delivered no record for {seconds} s, although there are some"));
        }
        let Some(first) = stuck.first() else { return reasons };
        if self.suspects.is_empty() {
            self.suspects = stuck.iter().map(|standing| standing.key).collect();
            self.replacement = Some((now_ns, self.joining));
            tracing::warn!(partitions = stuck.len(), "the Kafka client is made anew");
        } else {
            let partitions: Vec<_> = stuck.iter().map(|standing| format!("{}/{}", name(&standing.key), standing.key.1)).collect();
            self.health.fail(Error::Stuck { partitions: partitions.join(", "), seconds: first.seconds });
        }
        reasons
    }

    /// Forgets the partitions that have moved, are at their end, or are somebody else's by now: the group has had the time to say whose.
    fn acquit(&mut self, now_ns: u64, sights: &[Sight]) {
        if sights.is_empty() {
            // The group has not decided yet.
            self.replaced_ns = now_ns;
        }
        let is_over = u128::from(now_ns.saturating_sub(self.replaced_ns)) > self.settings.stuck_timeout.as_nanos();
        self.suspects.retain(|key| match sights.iter().find(|sight| sight.key == *key) {
            Some(sight) => sight.read == 0 && sight.end.is_none_or(|(end, _)| end > sight.next),
            None => !is_over,
        });
    }

    /// Closes the client in order and makes a new one, with the shards running.
    fn replace(&mut self, joining: Joining) -> Result<(), Error> {
        self.coordinator.client_replacements.fetch_add(1, Ordering::Relaxed);
        self.health.set_reasons(vec!["the Kafka client is made anew".to_owned()]);
        let time = self.settings.drain_timeout + LEAVE_RESERVE;
        let until_ns = self.clock.now().monotonic_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if !self.close(until_ns) {
            return Err(Error::Fatal { client: "consumer", detail: "it could not be closed to be made anew".to_owned() });
        }
        let intake = self.connector.connect(joining)?;
        if !self.coordinator.move_shards(&intake) {
            return Err(Error::Shard { shard: 0, detail: "or another one does not take the new client".to_owned() });
        }
        let Intake { consumer, handles, queues } = intake;
        consumer.set_rebalancer(Arc::clone(&self.coordinator) as Arc<dyn Rebalancer>);
        // The old one lets go of the queues as it goes, so it goes first.
        drop(std::mem::replace(&mut self.consumer, consumer));
        self.coordinator.connect(self.consumer.handle(), &handles, queues);
        self.joining = joining;
        self.replaced_ns = self.clock.now().monotonic_ns;
        self.statistics = (0, 0);
        self.stale = StaleEpoch::default();
        self.watch.forget();
        self.subscribe();
        tracing::info!(protocol = joining.name(), "the Kafka client was made anew");
        Ok(())
    }

    /// Leaves the group, draining what is assigned; whether that came to its end in time.
    fn close(&self, until_ns: u64) -> bool {
        if self.consumer.fatal_error().is_some() {
            return self.close_fatal(until_ns);
        }
        if let Err(error) = self.consumer.handle().close_queue() {
            tracing::warn!(%error, "consumer could not be closed in order");
        }
        while !self.consumer.handle().closed() && self.clock.now().monotonic_ns < until_ns {
            if let Some(error) = self.serve() {
                tracing::debug!(%error, "consumer reports a problem while it closes");
            }
        }
        self.consumer.handle().closed()
    }

    /// A client that is of no use any more refuses to be closed. It has given up what was assigned, which is served here.
    fn close_fatal(&self, until_ns: u64) -> bool {
        while !self.coordinator.placed().is_empty() && self.clock.now().monotonic_ns < until_ns {
            self.serve();
        }
        self.coordinator.placed().is_empty()
    }

    fn leave(&mut self) -> Result<(), Error> {
        self.health.stop_intake();
        self.health.set_reasons(vec!["shutting down".to_owned()]);
        let failed = self.health.failure().is_some();
        let time = if failed { FAILURE_DRAIN + LEAVE_RESERVE } else { self.settings.shutdown_timeout };
        let end_ns = self.clock.now().monotonic_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let drain_end_ns = end_ns.saturating_sub(u64::try_from(LEAVE_RESERVE.min(time / 2).as_nanos()).unwrap_or(0));
        self.coordinator.shut_down_at(drain_end_ns);
        self.coordinator.ring_all();
        let closed = self.close(end_ns);
        self.coordinator.command_all(|| Command::Stop { deadline_ns: end_ns });
        let stopped = self.join_shards(end_ns);
        if closed && stopped {
            return Ok(());
        }
        tracing::error!(closed, stopped, "shutdown did not end in time");
        Err(Error::ShutdownTimeout)
    }

    fn join_shards(&mut self, end_ns: u64) -> bool {
        // A grace beyond the deadline, for the last turn.
        let grace_ns = u64::try_from(LEAVE_RESERVE.as_nanos()).unwrap_or(u64::MAX);
        while self.shards.iter().any(|thread| !thread.is_finished()) {
            if self.clock.now().monotonic_ns > end_ns.saturating_add(grace_ns) {
                return false;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        // A thread that panicked has said so already.
        self.shards.drain(..).all(|thread| thread.join().is_ok())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.fail(Error::Fatal { client: "consumer", detail: "its control thread panicked".to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_meets_a_change_of_the_group_is_left_to_the_next_one_but_not_for_ever() {
        const STALE: Option<ErrorCode> = Some(ErrorCode::StaleMemberEpoch);
        let mut stale = StaleEpoch::default();
        assert!(!stale.passes_over(None, 0));
        assert!(!stale.passes_over(Some(ErrorCode::NotCoordinator), 0), "another error is told at once");
        assert!(stale.passes_over(STALE, 5));
        assert!(stale.passes_over(Some(ErrorCode::AssignmentLost), 4 + STALE_EPOCH_LONG_NS));
        assert!(!stale.passes_over(STALE, 5 + STALE_EPOCH_LONG_NS));
        assert!(!stale.passes_over(None, 6 + STALE_EPOCH_LONG_NS));
        assert!(stale.passes_over(STALE, 7 + STALE_EPOCH_LONG_NS), "one that was brought about begins anew");
    }
}
