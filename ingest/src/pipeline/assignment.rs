//! The group's decisions, carried to the shards and back.
//!
//! Every assignment of a partition has an **epoch** of its own; records, effects and delivery reports carry it, and whatever belongs to an older one never touches a window. On a shard a partition goes *consuming → draining → released*; here it is either in the table or not.
//!
//! **Assign** (called before the assignment is applied, for every assignment): find each partition's start position, forward its queue to its shard's queue, tell the shard, and wait for its answer. Forwarded later, records that were fetched in between would lie in the consumer's own queue and be committed past; forwarded only the first time, the partition would stand still without an error.
//!
//! **Start positions** are made explicit here: the committed offset, or what `auto.offset.reset` says. The shard's window starts there and the client fetches from there, so the two cannot disagree.
//!
//! **Revoke**: tell the shards, and wait until each partition has finished what it began and stored its mark, or until the deadline. Meanwhile the client waits inside its rebalance event, which is why the deadline lies below `max.poll.interval.ms`; heartbeats go on. The client commits the stored marks when it unassigns. **Lost** partitions belong to somebody else already and are dropped without storing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use expressway_engine::Program;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::intake::Intake;
use super::router::Router;
use super::shard::{Assigned, Command};
use super::shared::{Alarm, Health, lock};
use super::stuck::Sight;
use super::{Error, PartitionBooks};
use crate::clock::Clock;
use crate::kafka::client::{self, Context};
use crate::kafka::queue::{TopicHandle, TopicToken};
use crate::kafka::{BaseConsumer, ConsumerCalls as _, ConsumerHandle, Rebalancer, ShardQueue};
use crate::thread;

/// How long the start positions of an assignment may take to find out.
const START_POSITION_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two attempts at that, for some are refused at once.
const START_POSITION_PAUSE: Duration = Duration::from_millis(200);
/// One request for them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a shard may take to answer an assignment: a batch, or a panic's unwinding.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than the drain's deadline the answers are waited for.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// How far a partition is, for others to read.
#[derive(Debug)]
pub(super) struct Progress {
    mark: AtomicI64,
    next: AtomicI64,
    newest_ns: AtomicU64,
    end: AtomicI64,
    /// When the end was asked for, on the monotonic clock; 0 when it never was.
    asked_ns: AtomicU64,
    is_held: AtomicBool,
    books: Mutex<PartitionBooks>,
}

impl Progress {
    fn new(start: i64) -> Self {
        Self {
            mark: AtomicI64::new(start),
            next: AtomicI64::new(start),
            newest_ns: AtomicU64::new(0),
            end: AtomicI64::new(start),
            asked_ns: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            books: Mutex::default(),
        }
    }

    /// Called by the shard when its mark moves.
    pub(super) fn publish(&self, mark: i64, next: i64) {
        self.mark.store(mark, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
    }

    /// Called by the shard for each record: a plain store to a line that only it writes.
    pub(super) fn took(&self, since_ns: u64) {
        self.newest_ns.store(since_ns, Ordering::Relaxed);
    }

    /// Called by the shard once a turn, when the books have changed.
    pub(super) fn keep_books(&self, books: PartitionBooks) {
        *lock(&self.books) = books;
    }

    /// The books as of the shard's last turn.
    pub(super) fn books(&self) -> PartitionBooks {
        *lock(&self.books)
    }

    /// Called by the shard when it stops the reading of the partition, or lets it go on.
    pub(super) fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    /// Called with the end that a broker has named.
    pub(super) fn ends_at(&self, end: i64, now_ns: u64) {
        self.end.store(end, Ordering::Relaxed);
        self.asked_ns.store(now_ns.max(1), Ordering::Release);
    }

    /// The end that a broker has named last, and when it was asked for, on the monotonic clock.
    pub(super) fn end(&self) -> Option<(i64, u64)> {
        let asked_ns = self.asked_ns.load(Ordering::Acquire);
        (asked_ns > 0).then(|| (self.end.load(Ordering::Relaxed), asked_ns))
    }

    /// What tells whether the partition stands still.
    pub(super) fn sight(&self, key: (u32, i32), epoch: u32, found_none_ns: u64) -> Sight {
        Sight {
            key,
            epoch,
            read: self.books().read,
            next: self.next.load(Ordering::Relaxed),
            end: self.end(),
            found_none_ns,
            is_held: self.is_held.load(Ordering::Relaxed),
        }
    }

    /// The lowest unfinished offset.
    pub(super) fn mark(&self) -> i64 {
        self.mark.load(Ordering::Relaxed)
    }

    /// When the newest record taken was written, in nanoseconds since the Unix epoch; 0 when none was.
    pub(super) fn newest_ns(&self) -> u64 {
        self.newest_ns.load(Ordering::Relaxed)
    }
}

/// A source topic.
#[derive(Debug, Clone)]
pub(super) struct SourceTopic {
    pub(super) name: Arc<str>,
    pub(super) partitions: i32,
}

/// A shard, as the control thread sees it.
pub(super) struct ShardLink {
    pub(super) commands: Sender<Command>,
    pub(super) alarm: Arc<Alarm>,
    /// None while the client is replaced, and at the end.
    pub(super) queue: Option<Arc<ShardQueue>>,
}

/// An assigned partition, as the control thread sees it.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) topic: u32,
    pub(super) partition: i32,
    pub(super) epoch: u32,
    pub(super) shard: usize,
    pub(super) progress: Arc<Progress>,
}

struct Table {
    placed: HashMap<(u32, i32), Placed>,
    router: Router,
    links: Vec<ShardLink>,
    /// Of the client's topics, in their order.
    tokens: Vec<TopicToken>,
    consumer: Option<ConsumerHandle>,
}

/// Where to start without a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    Earliest,
    Latest,
    Refuse,
}

/// Carries the group's decisions to the shards.
pub(super) struct Coordinator {
    topics: Vec<SourceTopic>,
    table: Mutex<Table>,
    epochs: Arc<AtomicU32>,
    health: Arc<Health>,
    clock: Clock,
    reset: Reset,
    drain_timeout: Duration,
    /// When the shutdown's drain ends, on the pipeline's monotonic clock; 0 while there is none.
    shutdown_at_ns: AtomicU64,
    pub(super) rebalances: AtomicU64,
    pub(super) drains_cut_short: AtomicU64,
    pub(super) commit_errors: AtomicU64,
    pub(super) consumer_problems: AtomicU64,
    pub(super) client_replacements: AtomicU64,
}

impl Coordinator {
    pub(super) fn new(
        topics: Vec<SourceTopic>,
        links: Vec<ShardLink>,
        epochs: &Arc<AtomicU32>,
        health: &Arc<Health>,
        clock: Clock,
        reset: &str,
        drain_timeout: Duration,
    ) -> Self {
        let shards = u32::try_from(links.len()).expect("a shard count is 32 bits wide");
        let reset = match reset {
            "latest" | "largest" | "end" => Reset::Latest,
            "error" => Reset::Refuse,
            _ => Reset::Earliest,
        };
        Self {
            topics,
            table: Mutex::new(Table { placed: HashMap::new(), router: Router::new(shards), links, tokens: Vec::new(), consumer: None }),
            epochs: Arc::clone(epochs),
            health: Arc::clone(health),
            clock,
            reset,
            drain_timeout,
            shutdown_at_ns: AtomicU64::new(0),
            rebalances: AtomicU64::new(0),
            drains_cut_short: AtomicU64::new(0),
            commit_errors: AtomicU64::new(0),
            consumer_problems: AtomicU64::new(0),
            client_replacements: AtomicU64::new(0),
        }
    }

    /// Puts every shard to the queues of a new client, between two batches; `false` when one does not answer. No partition is assigned then.
    pub(super) fn move_shards(&self, intake: &Intake) -> bool {
        let table = lock(&self.table);
        let (done, answers) = bounded(table.links.len().max(1));
        let mut asked = 0;
        for (index, (link, queue)) in table.links.iter().zip(&intake.queues).enumerate() {
            let command = Command::Connect { queue: Arc::clone(queue), topics: Arc::clone(&intake.handles), done: done.clone() };
            asked += self.tell(index, link, command);
        }
        drop(table);
        asked == intake.queues.len() && self.await_answers(&answers, asked, ANSWER_TIMEOUT) == asked
    }

    /// From now on partitions come from this client.
    pub(super) fn connect(&self, consumer: &ConsumerHandle, handles: &[TopicHandle], queues: Vec<Arc<ShardQueue>>) {
        let mut table = lock(&self.table);
        table.placed.clear();
        self.health.set_assigned(0);
        table.router = Router::new(u32::try_from(queues.len()).expect("a shard count is 32 bits wide"));
        table.tokens = handles.iter().map(TopicHandle::token).collect();
        table.consumer = Some(Arc::clone(consumer));
        for (link, queue) in table.links.iter_mut().zip(queues) {
            link.alarm.set_queue(Some(Arc::clone(&queue)));
            link.queue = Some(queue);
        }
    }

    /// The queue of a shard, for tests that misuse it, or look into it.
    #[cfg(test)]
    pub(super) fn queue(&self, shard: usize) -> Arc<ShardQueue> {
        lock(&self.table).links[shard].queue.clone().expect("a client")
    }

    /// Puts every partition where there is no shard, so that the control thread panics at its next look.
    #[cfg(test)]
    pub(super) fn misplace(&self) {
        lock(&self.table).placed.values_mut().for_each(|placed| placed.shard = usize::MAX);
    }

    /// The client, for questions; `None` while it is replaced, and at the end.
    pub(super) fn consumer(&self) -> Option<ConsumerHandle> {
        lock(&self.table).consumer.clone()
    }

    /// From now on drains end at that time, whatever the drain timeout says.
    pub(super) fn shut_down_at(&self, at_ns: u64) {
        self.shutdown_at_ns.store(at_ns.max(1), Ordering::Release);
    }

    /// The partitions assigned now, in order.
    pub(super) fn placed(&self) -> Vec<Placed> {
        let mut placed: Vec<_> = lock(&self.table).placed.values().cloned().collect();
        placed.sort_by_key(|placed| (placed.topic, placed.partition));
        placed
    }

    /// Gives a command to every shard.
    pub(super) fn command_all(&self, command: impl Fn() -> Command) {
        for link in &lock(&self.table).links {
            // A shard that is gone needs no command.
            thread::send(&link.commands, command(), ANSWER_TIMEOUT).ok();
            link.alarm.ring();
        }
    }

    /// Gives every shard another program; whether all of them have it now.
    pub(super) fn replace(&self, program: &Arc<Program>) -> bool {
        let table = lock(&self.table);
        let shards = table.links.len();
        let (done, answers) = bounded(shards.max(1));
        // A shard that is gone is no fault of the program's: the pipeline is ending, and whoever looks after it knows.
        let sent = |link: &&ShardLink| link.commands.try_send(Command::Replace { program: Arc::clone(program), done: done.clone() }).is_ok();
        let asked = table.links.iter().filter(sent).inspect(|link| link.alarm.ring()).count();
        drop(table);
        asked == shards && shards > 0 && self.await_answers(&answers, asked, ANSWER_TIMEOUT) == shards
    }

    /// Wakes every shard.
    pub(super) fn ring_all(&self) {
        for link in &lock(&self.table).links {
            link.alarm.ring();
        }
    }

    fn topic(&self, name: &str) -> Option<(u32, &SourceTopic)> {
        self.topics.iter().zip(0..).find(|(topic, _)| &*topic.name == name).map(|(topic, index)| (index, topic))
    }

    /// Puts the start position of every partition into the list.
    fn start_positions(&self, consumer: &BaseConsumer<Context>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let until = self.clock.now().monotonic_ns.saturating_add(u64::try_from(START_POSITION_TIMEOUT.as_nanos()).unwrap_or(u64::MAX));
        loop {
            let error = match self.try_start_positions(consumer, partitions) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if is_final(&error) || self.clock.now().monotonic_ns >= until || self.health.is_stopping() {
                return Err(error);
            }
            tracing::warn!(%error, "start positions are not known yet");
            thread::park_timeout(START_POSITION_PAUSE);
        }
    }

    fn try_start_positions(&self, consumer: &BaseConsumer<Context>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let committed = consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT)?;
        for element in committed.elements() {
            element.error()?;
            let start = match element.offset() {
                Offset::Offset(offset) => offset,
                _ => match self.reset {
                    Reset::Earliest => consumer.fetch_watermarks(element.topic(), element.partition(), REQUEST_TIMEOUT)?.0,
                    Reset::Latest => consumer.fetch_watermarks(element.topic(), element.partition(), REQUEST_TIMEOUT)?.1,
                    Reset::Refuse => return Err(KafkaError::OffsetFetch(crate::kafka::ErrorCode::NoOffset)),
                },
            };
            partitions.set_partition_offset(element.topic(), element.partition(), Offset::Offset(start))?;
        }
        Ok(())
    }

    fn place(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
        let (done, answers) = bounded(partitions.count().max(1));
        let mut asked = 0;
        let mut table = lock(&self.table);
        let Table { placed, router, links, tokens, .. } = &mut *table;
        for element in partitions.elements() {
            let (Some((index, topic)), Offset::Offset(start)) = (self.topic(element.topic()), element.offset()) else { continue };
            let token = tokens[usize::try_from(index).expect("a topic's number fits into memory")];
            let number = element.partition();
            let shard = router.place();
            let link = &links[shard];
            if !link.queue.as_ref().is_some_and(|queue| queue.forward(consumer, &topic.name, number)) {
                self.health.fail(Error::Fatal { client: "consumer", detail: format!("{}/{number} cannot be forwarded", topic.name) });
            }
            let progress = Arc::new(Progress::new(start));
            let epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
            let assigned =
                Assigned { topic: index, token, name: Arc::clone(&topic.name), number, count: topic.partitions, epoch, start, progress: Arc::clone(&progress) };
            if let Some(old) = placed.insert((index, number), Placed { topic: index, partition: number, epoch, shard, progress }) {
                router.release(old.shard);
            }
            // Before the shard takes its first record.
            self.health.set_assigned(placed.len());
            asked += self.tell(shard, link, Command::Assign(Box::new(assigned), done.clone()));
        }
        drop(table);
        drop(done);
        let mut placed = self.await_answers(&answers, asked, ANSWER_TIMEOUT);
        if placed < asked {
            // Once more: the process as a whole may have stood still.
            placed += self.await_answers(&answers, asked - placed, ANSWER_TIMEOUT);
        }
        // A shard that has not obeyed may stand between its commands and its next batch: it would drop the first records of the partition, and begin its window behind them.
        if placed < asked {
            self.health.fail(Error::Shard { shard: 0, detail: "or another one does not take its new partitions".to_owned() });
        }
    }

    fn tell(&self, shard: usize, link: &ShardLink, command: Command) -> usize {
        let sent = thread::send(&link.commands, command, ANSWER_TIMEOUT).is_ok();
        link.alarm.ring();
        if !sent {
            self.health.fail(Error::Shard { shard: u32::try_from(shard).unwrap_or(u32::MAX), detail: "takes no commands".to_owned() });
        }
        usize::from(sent)
    }

    /// Waits for that many answers; how many said that everything was finished.
    fn await_answers(&self, answers: &Receiver<bool>, asked: usize, wait: Duration) -> usize {
        let until = self.clock.now().monotonic_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let mut finished = 0;
        for _ in 0..asked {
            let left = until.saturating_sub(self.clock.now().monotonic_ns);
            match thread::receive(answers, Duration::from_nanos(left)) {
                Ok(answer) => finished += usize::from(answer),
                Err(_) => {
                    tracing::error!(asked, finished, "a shard does not answer the group's decision");
                    break;
                }
            }
        }
        finished
    }

    /// How long a drain may take now.
    fn drain_time(&self) -> Duration {
        let shutdown_at_ns = self.shutdown_at_ns.load(Ordering::Acquire);
        if shutdown_at_ns == 0 {
            return self.drain_timeout;
        }
        Duration::from_nanos(shutdown_at_ns.saturating_sub(self.clock.now().monotonic_ns)).min(self.drain_timeout)
    }

    fn displace(&self, partitions: &TopicPartitionList, lost: bool) {
        let (done, answers) = bounded(partitions.count().max(1));
        let drain_time = self.drain_time();
        let deadline_ns = self.clock.now().monotonic_ns.saturating_add(u64::try_from(drain_time.as_nanos()).unwrap_or(u64::MAX));
        let mut asked = 0;
        let mut table = lock(&self.table);
        for element in partitions.elements() {
            let Some((topic, _)) = self.topic(element.topic()) else { continue };
            let partition = element.partition();
            let Some(placed) = table.placed.remove(&(topic, partition)) else { continue };
            self.health.set_assigned(table.placed.len());
            table.router.release(placed.shard);
            let done = done.clone();
            let command = if lost { Command::Lose { topic, partition, done } } else { Command::Revoke { topic, partition, deadline_ns, done } };
            asked += self.tell(placed.shard, &table.links[placed.shard], command);
        }
        drop(table);
        drop(done);
        let finished = self.await_answers(&answers, asked, drain_time + DRAIN_GRACE);
        if finished < asked {
            self.drains_cut_short.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(partitions = asked, finished, "partitions were given back before everything was finished");
        }
    }
}

/// Whether it is vain to ask again for start positions.
fn is_final(error: &KafkaError) -> bool {
    use crate::kafka::ErrorCode::{GroupAuthorizationFailed, NoOffset, TopicAuthorizationFailed};
    matches!(error.rdkafka_error_code(), Some(NoOffset | TopicAuthorizationFailed | GroupAuthorizationFailed))
}

impl Rebalancer for Coordinator {
    fn assign(&self, consumer: &BaseConsumer<Context>, partitions: &mut TopicPartitionList) {
        // Cooperative protocols announce empty changes too.
        if partitions.count() == 0 {
            return;
        }
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        if let Err(source) = self.start_positions(consumer, partitions) {
            return self.health.fail(Error::StartPosition { partitions: client::describe(partitions), source });
        }
        self.place(consumer, partitions);
        tracing::info!(partitions = client::describe(partitions), "partitions assigned");
    }

    fn revoke(&self, _: &BaseConsumer<Context>, partitions: &TopicPartitionList, lost: bool) {
        if partitions.count() == 0 {
            return;
        }
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        let draining = self.health.drain();
        self.displace(partitions, lost);
        drop(draining);
        tracing::info!(partitions = client::describe(partitions), lost, "partitions revoked");
    }

    fn failed(&self, error: KafkaError) {
        self.health.fail(Error::Rebalance(error));
    }

    fn committed(&self, result: &KafkaResult<()>) {
        if let Err(error) = result {
            // Nothing to commit is no error of anybody's.
            if error.rdkafka_error_code() != Some(crate::kafka::ErrorCode::NoOffset) {
                self.commit_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "commit failed");
            }
        }
    }

    fn release(&self) {
        let mut table = lock(&self.table);
        table.consumer = None;
        for link in &mut table.links {
            link.queue = None;
            link.alarm.set_queue(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::CommitMode;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::super::guard_tests::{note_requests, requests};
    use super::super::tests::{Cluster, SOURCE, await_that};
    use super::*;
    use crate::kafka::Consumer;

    fn positions(of: &[(&str, i32, Offset)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        of.iter().for_each(|(topic, partition, offset)| list.add_partition_offset(topic, *partition, *offset).unwrap());
        list
    }

    /// An error in the place of one partition's offset is no offset that nobody has committed: the partition would begin where `auto.offset.reset` says.
    #[test]
    fn start_positions_that_are_not_told_are_asked_for_again_with_a_pause() {
        const NEW: &str = "new";
        let cluster = Cluster::new();
        let options = cluster.settings("not-told").0.client_options;
        let consumer = Consumer::new(&client::consumer_config(&options, 1_024)).unwrap();
        let handle = Arc::clone(consumer.handle());
        // The broker does not know one of the topics yet.
        let clock = Clock::start();
        let coordinator = Coordinator::new(Vec::new(), Vec::new(), &Arc::default(), &Arc::default(), clock, "error", Duration::ZERO);
        handle.commit(&positions(&[(SOURCE, 0, Offset::Offset(7))]), CommitMode::Sync).unwrap();
        note_requests(&cluster);
        let (begun_ns, asking) = (clock.now().monotonic_ns, Arc::clone(&handle));
        let asked = std::thread::spawn(move || {
            let mut list = positions(&[(SOURCE, 0, Offset::Invalid), (NEW, 0, Offset::Invalid)]);
            coordinator.start_positions(&asking, &mut list).map(|()| list)
        });
        let questions = || requests(&cluster, RDKafkaApiKey::OffsetFetch);
        await_that("it is asked again", || questions() >= 3 || asked.is_finished());
        // No answer at all while the topic is there and its offset is not.
        cluster.mock().request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 10_000]);
        cluster.mock().create_topic(NEW, 1, 1).unwrap();
        await_that("the new one takes a commit", || handle.commit(&positions(&[(NEW, 0, Offset::Offset(9))]), CommitMode::Sync).is_ok());
        cluster.mock().clear_request_errors(RDKafkaApiKey::OffsetFetch);
        let list = asked.join().unwrap().unwrap();
        assert_eq!(list, positions(&[(SOURCE, 0, Offset::Offset(7)), (NEW, 0, Offset::Offset(9))]));
        let pauses = u32::try_from(questions() - 1).unwrap();
        let took = Duration::from_nanos(clock.now().monotonic_ns - begun_ns);
        assert!(took >= START_POSITION_PAUSE * pauses, "{pauses} pauses within {took:?}");
    }
}
