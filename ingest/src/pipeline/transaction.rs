//! Transactional delivery: results, dead letters and the new marks become visible together or not at all.
//!
//! A shard has one producer and one transaction at a time. Into it goes what has become of the records **below the mark**, which is here the lowest record whose outcome is not known; outcomes above it wait with their partition. So a transaction holds all that lies between the old marks and the new ones, and the new ones: a reader that reads committed results only sees each record's outcome once, whatever breaks.
//!
//! # The course of a transaction
//! *open* → records are produced as they come. At its time, or when it is large enough, it is *cut*: the marks are taken, and what comes later waits for the next one. → *closing*: what belongs to it is produced and acknowledged. → *ending*: a clerk, on a thread of its own, sends the marks and commits; executions go on meanwhile. → the next one is open.
//!
//! # When it cannot be committed
//! It is aborted, and **the same results go again** in the next one: what the broker takes is kept until the commit. Running the records again would be allowed as well, but would repeat their calls to the outside, and throw away what waits above the mark.
//!
//! A commit whose answer is lost is asked for again. Should the client give such a transaction up, the group's committed offsets say what became of it: marks and results are committed together.
//!
//! # Zombies
//! The fence is the membership in the consumer's group (KIP-447), sent along with the marks: the broker takes them only from a current member. It is read *before* the commands of a turn are obeyed. So if a partition had been taken from us by then, the command that says so is obeyed before the commit is ordered, and if it is taken later, the membership is too old for the broker. A new owner asks for *stable* offsets, so it waits for a transaction of ours that is on its way. Transactional ids need only be different, then: they carry the group, the pipeline, the shard and, where the member has no `group.instance.id`, a number of this process's own. With one, a process that comes back aborts at once what its predecessor left; without, the broker does, after `transaction.timeout.ms`.
//!
//! # A client that does not come back
//! librdkafka 2.12.1 does not look at the time-out of the call that sends the marks once it waits for a connection to the group's coordinator (its issues 5456 and 5511): with nothing to make that broker's state change, a producer made during an outage waits for ever, and its shard with it. So a clerk that is in one such call for longer than a transaction lives is given up, with its client, and a producer is made anew as after a fence. Should the call come back all the same, the clerk commits nothing any more; had it just done so, the new producer's `init_transactions` waits for that, and the committed offsets tell.
//!
//! # A producer that is fenced
//! A broker that has not heard of a transaction's end for `transaction.timeout.ms` aborts it and fences its producer; one that is made under the same transactional id fences it too. The client tells both by one error ([`speaks_of_age`] has the codes), so it is told by time: the broker aborts no transaction that is younger than that. When ours is as old as that, the producer is made anew under its id, which ends whatever it has left open, and the same results go again; where the commit had been asked for, the group's committed offsets say what became of it. When it is younger, somebody else has the id, and the pipeline ends, as it does when this happens more often than [`RENEWALS_MAX`] times a minute or the producer fails for another reason, whatever the age (it is not authorised, say): nothing of its transaction is visible, and whoever takes over begins at the committed marks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::Error;
use super::offsets::Mark;
use super::shared::Alarm;
use crate::kafka::transaction::{Failure, Kind};
use crate::kafka::{ConsumerCalls as _, ConsumerHandle, ErrorCode, Membership, Producer, Transactions};
use crate::thread;

/// One wait for an order, after which there is another one.
const ORDER_WAIT: Duration = Duration::from_secs(600);
/// One call that can go on where it was.
const CALL: Duration = Duration::from_secs(1);
/// One question for committed offsets.
const QUESTION: Duration = Duration::from_secs(5);
/// Between two questions: a coordinator that moves answers at once that it is none.
const QUESTION_PAUSE: Duration = Duration::from_secs(2);
/// Questions for the committed offsets of a transaction that the client gave up after its commit had been asked for: as long as the broker lets a transaction live, and longer.
const QUESTIONS_MAX: u32 = 12;
/// First pause after a transaction that was aborted.
const PAUSE_MIN_NS: u64 = 10_000_000;
/// Longest pause after transactions that were aborted one after the other.
const PAUSE_MAX_NS: u64 = 1_000_000_000;
/// A pause takes one part in so many of a transaction's life at most, so that the next one has begun by then.
const PAUSE_OF_LIFE: u64 = 4;
/// Between two looks for a membership while there is none.
const LOOK_NS: u64 = 10_000_000;

/// How much longer than a transaction lives a call may take that ends with it.
const HANG_MARGIN_NS: u64 = 1_000_000_000;

/// How often in a minute a producer is made anew: an outage takes one, and two processes that share an id would go on for ever.
pub(crate) const RENEWALS_MAX: usize = 6;
pub(crate) const MINUTE_NS: u64 = 60_000_000_000;

/// Makes a shard's producer anew.
pub(crate) type Make = Box<dyn Fn() -> KafkaResult<Producer> + Send>;

/// What a transaction would have committed, and whom to ask whether it did.
type Doubt = (TopicPartitionList, ConsumerHandle);

/// The mark of one partition, for a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The partition's place in its shard's table, and its assignment.
    pub(crate) place: usize,
    pub(crate) epoch: u32,
    pub(crate) mark: Mark,
}

/// What the clerk is told.
enum Order {
    /// The consumer is that of the membership, for a question afterwards.
    Commit(TopicPartitionList, Membership, ConsumerHandle),
    /// For this reason.
    Abort(String),
}

/// What the clerk says.
pub(crate) enum Answer {
    /// The first transaction is open.
    Ready,
    /// It is committed, and the next one is open.
    Committed,
    /// It is aborted for this reason, and the next one is open.
    Aborted(String),
    /// The producer is of no use any more, for this reason; a new one may go on. What became of the transaction may have to be asked for then.
    Broken(String, Option<Doubt>),
    /// The producer is of no use any more.
    Failed(String),
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The producer makes itself known.
    Starting,
    Open,
    /// The marks are taken; what comes now is for the next one.
    Closing,
    /// The clerk commits or aborts it.
    Ending,
    /// A new producer makes itself known, and finds out what became of the transaction.
    Renewing,
    /// The producer is of no use any more.
    Failed,
}

/// What a clerk and its shard see of each other beside orders and answers.
#[derive(Debug, Default)]
struct Sight {
    /// Nobody waits for the clerk any more.
    is_gone: AtomicBool,
    /// Calls that send marks, begun and ended: odd while the clerk is in one.
    steps: AtomicU32,
}

impl Sight {
    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Makes a call that may not come back.
    fn watch<T>(&self, call: impl FnOnce() -> T) -> T {
        self.steps.fetch_add(1, Ordering::AcqRel);
        let result = call();
        self.steps.fetch_add(1, Ordering::AcqRel);
        result
    }
}

/// Since when the shard has seen the clerk in the same call.
#[derive(Debug, Default)]
struct Hang(Option<(u32, u64)>);

impl Hang {
    /// Whether the clerk, so many steps on, has been in one call for longer than `limit_ns`.
    fn is_hanging(&mut self, steps: u32, limit_ns: u64, now_ns: u64) -> bool {
        let Some((_, since_ns)) = self.0.filter(|(seen, _)| *seen == steps) else {
            self.0 = (steps % 2 == 1).then_some((steps, now_ns));
            return false;
        };
        now_ns.saturating_sub(since_ns) > limit_ns
    }
}

/// When a transaction is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cadence {
    pub(crate) interval_ns: u64,
    pub(crate) records_max: usize,
    /// Bytes that one shard may hold, of results that are not committed.
    pub(crate) bytes_max: usize,
    /// How long the broker lets a transaction live.
    pub(crate) life_ns: u64,
}

/// When producers were made anew, within the last minute.
#[derive(Default)]
struct Renewals(VecDeque<u64>);

impl Renewals {
    /// Whether a producer that is fenced may be made anew, which is noted. The broker may know of its transaction since `begun_ns`, and lets it live for `life_ns`.
    fn take(&mut self, begun_ns: Option<u64>, life_ns: u64, now_ns: u64) -> bool {
        // The first records reach the broker a little before they are noted, and clocks differ.
        let may_be_timed_out = begun_ns.is_some_and(|begun_ns| now_ns.saturating_sub(begun_ns) >= life_ns - life_ns / 10);
        self.0.retain(|at_ns| at_ns + MINUTE_NS > now_ns);
        if !may_be_timed_out || self.0.len() >= RENEWALS_MAX {
            return false;
        }
        self.0.push_back(now_ns);
        true
    }
}

/// A shard's transaction.
pub(crate) struct Transaction {
    orders: Sender<Order>,
    answers: Receiver<Answer>,
    sight: Arc<Sight>,
    hang: Hang,
    /// What the clerk is about to commit, should it have to be given up.
    pending: Option<Doubt>,
    phase: Phase,
    cadence: Cadence,
    name: String,
    alarm: Arc<Alarm>,
    make: Make,
    renewals: Renewals,
    /// Why the last one was of no use any more.
    broken: Option<(String, Option<Doubt>)>,
    /// Since when there is something to commit.
    since_ns: Option<u64>,
    /// Since when the broker may know of this transaction, which it does also when all that it held was forgotten with its partitions.
    begun_ns: Option<u64>,
    /// Why it can only be aborted.
    doom: Option<String>,
    cuts: Vec<Cut>,
    offsets: TopicPartitionList,
    /// Records below the mark that have no outcome to be produced.
    passed_over: Vec<u64>,
    passed_over_later: Vec<u64>,
    not_before_ns: u64,
    pause_ns: u64,
    look_at_ns: u64,
    committed: u64,
    aborted: u64,
}

impl Transaction {
    /// Starts the clerk of a shard. `alarm` is rung for each of its answers.
    pub(super) fn start(name: String, transactions: Transactions, cadence: Cadence, alarm: Arc<Alarm>, make: Make) -> Result<Self, Error> {
        let sight = Arc::new(Sight::default());
        let (orders, answers) = spawn(&name, transactions, None, &alarm, &sight)?;
        Ok(Self {
            orders,
            answers,
            sight,
            hang: Hang::default(),
            pending: None,
            phase: Phase::Starting,
            cadence,
            name,
            alarm,
            make,
            renewals: Renewals::default(),
            broken: None,
            since_ns: None,
            begun_ns: None,
            doom: None,
            cuts: Vec::new(),
            offsets: TopicPartitionList::new(),
            passed_over: Vec::new(),
            passed_over_later: Vec::new(),
            not_before_ns: 0,
            pause_ns: PAUSE_MIN_NS,
            look_at_ns: 0,
            committed: 0,
            aborted: 0,
        })
    }

    /// A producer in place of one that is broken.
    pub(crate) fn make(&self) -> KafkaResult<Producer> {
        (self.make)()
    }

    /// Goes on with the transactions of a new producer. The old one is ended, and its transaction's end found out, by the clerk.
    pub(crate) fn renew(&mut self, transactions: Transactions, old: Producer) -> Result<(), Error> {
        let (text, doubt) = self.broken.take().unwrap_or_default();
        let before = Before { text, doubt, producer: old };
        (self.sight, self.hang) = (Arc::default(), Hang::default());
        (self.orders, self.answers) = spawn(&self.name, transactions, Some(before), &self.alarm, &self.sight)?;
        self.phase = Phase::Renewing;
        Ok(())
    }

    /// Whether records may be produced.
    pub(crate) fn may_produce(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing) && self.doom.is_none()
    }

    /// Whether what comes now is for the next transaction.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ending | Phase::Renewing)
    }

    /// Bytes that may be held.
    pub(crate) fn bytes_max(&self) -> usize {
        self.cadence.bytes_max
    }

    /// A record below the mark needs no outcome; it is told with the others when its mark is committed.
    pub(crate) fn pass_over(&mut self, opaque: u64) {
        if self.is_cut() { self.passed_over_later.push(opaque) } else { self.passed_over.push(opaque) }
    }

    /// Takes back the records that `is_its` among those that need no outcome.
    pub(crate) fn take_back(&mut self, is_its: impl Fn(u64) -> bool) -> Vec<u64> {
        self.passed_over.extract_if(.., |opaque| is_its(*opaque)).collect()
    }

    /// Whether a record may still be added to it.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open && self.doom.is_none()
    }

    /// Whether records wait that need no outcome.
    pub(crate) fn passes_over(&self) -> bool {
        !self.passed_over.is_empty()
    }

    /// Forgets what is stale among the records without an outcome.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool, gone: &mut Vec<u64>) {
        for list in [&mut self.passed_over, &mut self.passed_over_later] {
            gone.extend(list.iter().copied().filter(|opaque| is_stale(*opaque)));
            list.retain(|opaque| !is_stale(*opaque));
        }
    }

    /// It can only be aborted. One that is ending is in the clerk's hands, and the broker's.
    pub(crate) fn doom(&mut self, reason: impl FnOnce() -> String) {
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            self.doom.get_or_insert_with(reason);
        }
    }

    /// Whether it has to be aborted now.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// Notes whether there is something to commit.
    pub(crate) fn note(&mut self, has_content: bool, now_ns: u64) {
        if has_content {
            self.since_ns.get_or_insert(now_ns);
            self.begun_ns.get_or_insert(now_ns);
        } else {
            self.since_ns = None;
        }
    }

    /// Whether it is to be cut, holding so many records and bytes. In a `hurry` it is as soon as there is something in it.
    pub(crate) fn is_due(&self, records: usize, bytes: usize, hurry: bool, now_ns: u64) -> bool {
        let Some(since_ns) = self.since_ns.filter(|_| self.phase == Phase::Open && self.doom.is_none()) else { return false };
        let is_old = now_ns.saturating_sub(since_ns) >= self.cadence.interval_ns;
        let is_large = records >= self.cadence.records_max || bytes >= self.cadence.bytes_max / 2;
        (is_old || is_large || hurry) && self.not_before_ns <= now_ns
    }

    /// Takes the marks.
    pub(crate) fn cut(&mut self, cuts: Vec<Cut>, offsets: TopicPartitionList) {
        debug_assert_eq!(self.phase, Phase::Open, "an open transaction is cut once");
        (self.cuts, self.offsets, self.phase) = (cuts, offsets, Phase::Closing);
    }

    /// Whether a membership is wanted, to commit with: all that belongs to the transaction is acknowledged.
    pub(crate) fn wants_membership(&self, is_quiet: bool, now_ns: u64) -> bool {
        self.phase == Phase::Closing && self.doom.is_none() && is_quiet && self.look_at_ns <= now_ns
    }

    /// Has the clerk commit; without a membership it is looked for again a little later.
    pub(crate) fn commit(&mut self, membership: Option<Membership>, consumer: ConsumerHandle, now_ns: u64) {
        let Some(membership) = membership else {
            self.look_at_ns = now_ns + LOOK_NS;
            return;
        };
        let offsets = std::mem::take(&mut self.offsets);
        self.pending = Some((offsets.clone(), Arc::clone(&consumer)));
        self.order(Order::Commit(offsets, membership, consumer));
    }

    /// Has the clerk abort.
    pub(crate) fn abort(&mut self) {
        let reason = self.doom.take().unwrap_or_default();
        self.order(Order::Abort(reason));
    }

    fn order(&mut self, order: Order) {
        // A clerk that is gone is noticed by who looks for its answer; one that has not taken its last order would have two.
        let is_full = matches!(self.orders.try_send(order), Err(TrySendError::Full(_)));
        self.phase = if is_full { Phase::Failed } else { Phase::Ending };
    }

    /// Whether the clerk has something to say, or will have.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Renewing)
    }

    /// What the clerk says, once. The transaction that it is about is over then.
    pub(crate) fn answer(&mut self, now_ns: u64) -> Option<Answer> {
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Disconnected) if self.is_ending() || self.phase == Phase::Starting => Answer::Failed("its clerk is gone".to_owned()),
            Err(_) => self.give_up(now_ns)?,
        };
        let is_renewed = self.phase == Phase::Renewing;
        (self.since_ns, self.pending) = (None, None);
        let answer = match (answer, self.begun_ns.take()) {
            (Answer::Broken(text, doubt), begun_ns) if self.renewals.take(begun_ns, self.cadence.life_ns, now_ns) => {
                self.broken = Some((text.clone(), doubt));
                Answer::Broken(text, None)
            }
            (Answer::Broken(text, _), _) => Answer::Failed(text),
            (answer, _) => answer,
        };
        self.doom = None;
        self.phase = Phase::Open;
        match &answer {
            Answer::Ready => {}
            Answer::Committed => {
                self.committed += 1;
                self.pause_ns = PAUSE_MIN_NS;
            }
            Answer::Aborted(_) => {
                self.aborted += u64::from(!is_renewed);
                self.not_before_ns = now_ns + self.pause_ns;
                self.pause_ns = longer_pause(self.pause_ns, self.cadence.life_ns);
                self.cuts.clear();
                self.passed_over.append(&mut self.passed_over_later);
            }
            Answer::Broken(..) => {
                // Told now, and not again with what the new producer finds.
                self.aborted += 1;
                self.phase = Phase::Failed;
            }
            Answer::Failed(_) => self.phase = Phase::Failed,
        }
        Some(answer)
    }

    /// What is to be said for a clerk that hangs.
    fn give_up(&mut self, now_ns: u64) -> Option<Answer> {
        if self.phase != Phase::Ending {
            return None;
        }
        let limit_ns = self.cadence.life_ns + HANG_MARGIN_NS;
        if !self.hang.is_hanging(self.sight.steps.load(Ordering::Acquire), limit_ns, now_ns) {
            return None;
        }
        self.sight.is_gone.store(true, Ordering::Release);
        let text = "the client does not come back from sending the marks, for longer than a transaction lives".to_owned();
        Some(Answer::Broken(text, self.pending.take()))
    }

    /// After a commit: the marks, and the records that needed no outcome.
    pub(crate) fn take_committed(&mut self) -> (Vec<Cut>, Vec<u64>) {
        let later = std::mem::take(&mut self.passed_over_later);
        (std::mem::take(&mut self.cuts), std::mem::replace(&mut self.passed_over, later))
    }

    /// Transactions committed and aborted so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.committed, self.aborted)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.sight.is_gone.store(true, Ordering::Release);
    }
}

/// Starts a clerk.
fn spawn(
    name: &str,
    transactions: Transactions,
    before: Option<Before>,
    alarm: &Arc<Alarm>,
    sight: &Arc<Sight>,
) -> Result<(Sender<Order>, Receiver<Answer>), Error> {
    let (orders, orders_in) = bounded(1);
    let (answers_out, answers) = bounded(2);
    let clerk = Clerk { transactions, orders: orders_in, answers: answers_out, alarm: Arc::clone(alarm), sight: Arc::clone(sight) };
    let body = move || clerk.run(before);
    thread::spawn(name.to_owned(), body).map_err(|error| Error::Thread(error.to_string()))?;
    Ok((orders, answers))
}

/// What a new producer comes after.
struct Before {
    /// Why the old one is of no use any more.
    text: String,
    doubt: Option<Doubt>,
    producer: Producer,
}

/// The thread that makes the calls that block.
struct Clerk {
    transactions: Transactions,
    orders: Receiver<Order>,
    answers: Sender<Answer>,
    alarm: Arc<Alarm>,
    sight: Arc<Sight>,
}

/// How an order ended, when not as wished.
enum End {
    Aborted(String),
    /// The producer is of no use any more, maybe for the age of its transaction.
    Broken(String),
    /// The same, after the commit had been asked for.
    BrokenInDoubt(String),
    Failed(String),
}

impl Clerk {
    fn run(self, before: Option<Before>) {
        let begun = self.start(before).and_then(|answer| self.begin(answer));
        if !self.say(begun.unwrap_or_else(|end| Answer::Failed(end.into_text()))) {
            return;
        }
        while let Some(order) = self.next_order() {
            let answer = match order {
                Order::Commit(offsets, membership, consumer) => match self.commit(&offsets, &membership, &consumer) {
                    Ok(()) => Answer::Committed,
                    Err(End::BrokenInDoubt(text)) => Answer::Broken(text, Some((offsets, consumer))),
                    Err(end) => end.into_answer(),
                },
                Order::Abort(reason) => self.abort().map_or_else(End::into_answer, |()| Answer::Aborted(reason)),
            };
            let answer = match answer {
                Answer::Broken(..) | Answer::Failed(_) => answer,
                // Whether it was committed must not be forgotten, so a failure here is the end.
                answer => self.begin(answer).unwrap_or_else(|end| Answer::Failed(end.into_text())),
            };
            if !self.say(answer) {
                return;
            }
        }
    }

    /// Makes the producer known, and finds out what became of the last one's transaction, which has come to an end by then.
    fn start(&self, before: Option<Before>) -> Result<Answer, End> {
        let before = before.map(|Before { text, doubt, producer }| {
            drop(producer);
            (text, doubt)
        });
        self.insist(|| self.transactions.init(CALL))?;
        match before {
            None => Ok(Answer::Ready),
            Some((text, None)) => Ok(Answer::Aborted(text)),
            Some((text, Some((offsets, consumer)))) => match self.ask(&consumer, &offsets, text) {
                Ok(()) => Ok(Answer::Committed),
                Err(End::Aborted(text)) => Ok(Answer::Aborted(text)),
                Err(end) => Err(end),
            },
        }
    }

    /// The next order; `None` when nobody gives any more.
    fn next_order(&self) -> Option<Order> {
        loop {
            match thread::receive(&self.orders, ORDER_WAIT) {
                Ok(order) => return Some(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Returns whether there will be more to say. What a producer that is of no use has left comes back as reports.
    fn say(&self, answer: Answer) -> bool {
        let is_last = matches!(answer, Answer::Broken(..) | Answer::Failed(_));
        if is_last {
            self.transactions.purge();
        }
        self.answers.send(answer).ok();
        self.alarm.ring();
        !is_last
    }

    /// Calls until there is an answer, or nobody waits for it any more.
    fn insist(&self, call: impl Fn() -> Result<(), Failure>) -> Result<(), End> {
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(failure) if failure.kind == Kind::Again && !self.sight.is_gone() => {
                    tracing::info!(detail = failure.text, "transaction waits for its broker");
                }
                Err(failure) => return Err(End::of(failure)),
            }
        }
    }

    fn begin(&self, answer: Answer) -> Result<Answer, End> {
        self.insist(|| self.transactions.begin()).map(|()| answer)
    }

    fn abort(&self) -> Result<(), End> {
        self.insist(|| self.transactions.abort(CALL)).map_err(|end| match end {
            End::Aborted(text) => End::Failed(text),
            other => other,
        })
    }

    fn commit(&self, offsets: &TopicPartitionList, membership: &Membership, consumer: &ConsumerHandle) -> Result<(), End> {
        if let Err(end) = self.insist(|| self.sight.watch(|| self.transactions.send_offsets(offsets, membership))) {
            return self.give_up(end);
        }
        if self.sight.is_gone() {
            return Err(End::Failed("the marks came too late".to_owned()));
        }
        match self.insist(|| self.transactions.commit(CALL)) {
            Ok(()) => Ok(()),
            Err(end) => match self.give_up(end) {
                Err(End::Aborted(text)) => self.ask(consumer, offsets, text),
                Err(End::Broken(text)) => Err(End::BrokenInDoubt(text)),
                other => other,
            },
        }
    }

    fn give_up(&self, end: End) -> Result<(), End> {
        match end {
            End::Aborted(text) => self.abort().and(Err(End::Aborted(text))),
            other => Err(other),
        }
    }

    /// Whether a transaction that was given up after its commit had been asked for is committed all the same.
    fn ask(&self, consumer: &ConsumerHandle, offsets: &TopicPartitionList, text: String) -> Result<(), End> {
        for _ in 0..QUESTIONS_MAX {
            if self.sight.is_gone() {
                break;
            }
            let answer = consumer.committed_offsets(offsets.clone(), QUESTION).ok();
            // An error in the place of an offset says nothing about it.
            let Some(found) = answer.filter(|found| found.elements().iter().all(|element| element.error().is_ok())) else {
                thread::park_timeout(QUESTION_PAUSE);
                continue;
            };
            let is_there = |topic: &str, partition, offset| found.find_partition(topic, partition).is_some_and(|found| found.offset() == offset);
            let elements = offsets.elements();
            let there = elements.iter().filter(|element| is_there(element.topic(), element.partition(), element.offset())).count();
            // They are committed together. Where some stand there and others do not, another member has committed beyond: whether from our marks or from those before cannot be told.
            match there {
                0 => return Err(End::Aborted(text)),
                there if there == elements.len() => return Ok(()),
                _ => break,
            }
        }
        Err(End::Failed(format!("it is not known what became of a transaction: {text}")))
    }
}

/// The pause after one of `pause_ns`.
fn longer_pause(pause_ns: u64, life_ns: u64) -> u64 {
    (pause_ns * 2).min(PAUSE_MAX_NS).min(life_ns / PAUSE_OF_LIFE)
}

/// Whether a broker says this of a producer whose transaction it has ended for its age, and may have forgotten since.
fn speaks_of_age(code: ErrorCode) -> bool {
    use ErrorCode::{Fenced, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTransactionalState, ProducerFenced};
    matches!(code, Fenced | ProducerFenced | InvalidProducerEpoch | InvalidTransactionalState | InvalidProducerIdMapping)
}

impl End {
    /// By a call that is not made again.
    fn of(Failure { kind, code, text }: Failure) -> Self {
        if kind == Kind::Abort {
            return Self::Aborted(text);
        }
        let text = format!("{code}: {text}");
        if kind == Kind::Fatal && speaks_of_age(code) { Self::Broken(text) } else { Self::Failed(text) }
    }

    fn into_answer(self) -> Answer {
        match self {
            Self::Aborted(text) => Answer::Aborted(text),
            Self::Broken(text) => Answer::Broken(text, None),
            end @ (Self::BrokenInDoubt(_) | Self::Failed(_)) => Answer::Failed(end.into_text()),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Aborted(text) | Self::Broken(text) | Self::BrokenInDoubt(text) | Self::Failed(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::CommitMode;
    use rdkafka::topic_partition_list::Offset;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::super::guard_tests::{note_requests, requests};
    use super::super::tests::{Cluster, await_that};
    use super::*;
    use crate::kafka::{Consumer, ShardQueue, client};

    /// A consumer, an alarm for its shard, and a producer of transactions that is not known to its broker yet.
    fn clients(cluster: &Cluster) -> (Consumer, Arc<Alarm>, Producer) {
        let options = cluster.settings("clerk").0.client_options;
        let consumer = Consumer::new(&client::transactional_consumer_config(&options, 1_024)).unwrap();
        let alarm = Arc::new(Alarm::new(Arc::new(ShardQueue::new(consumer.handle()))));
        (consumer, alarm, Producer::new(&client::transactional_producer_config(&options, 1_024, "clerk")).unwrap())
    }

    #[test]
    fn a_clerk_that_is_gone_is_noticed_whatever_it_was_to_do() {
        let cluster = Cluster::new();
        let (_consumer, alarm, producer) = clients(&cluster);
        let cadence = Cadence { interval_ns: 1, records_max: 1, bytes_max: 1, life_ns: LIFE_NS };
        for phase in [Phase::Starting, Phase::Open, Phase::Closing, Phase::Ending, Phase::Renewing] {
            let make = Box::new(|| unreachable!("nothing is made anew"));
            let mut transaction = Transaction::start("clerk".to_owned(), producer.transactions(), cadence, Arc::clone(&alarm), make).unwrap();
            // Its ends of the channels go with it.
            (transaction.orders, transaction.answers, transaction.phase) = (bounded(1).0, bounded(1).1, phase);
            if matches!(phase, Phase::Open | Phase::Closing) {
                assert!(transaction.answer(0).is_none(), "nothing is asked of it");
                transaction.doom(|| "so it is".to_owned());
                transaction.abort();
            }
            assert!(matches!(transaction.answer(0), Some(Answer::Failed(text)) if text == "its clerk is gone"), "{phase:?}");
            assert!(transaction.answer(0).is_none(), "and told once");
        }
    }

    /// Taken for no offset, it would have results go again that are committed.
    #[test]
    fn an_error_in_place_of_a_committed_offset_is_no_abort() {
        const NEW: &str = "new";
        let cluster = Cluster::new();
        let (consumer, alarm, producer) = clients(&cluster);
        let (handle, mut offsets) = (Arc::clone(consumer.handle()), TopicPartitionList::new());
        offsets.add_partition_offset(NEW, 0, Offset::Offset(7)).unwrap();
        let clerk = Clerk { transactions: producer.transactions(), orders: bounded(1).1, answers: bounded(1).0, alarm, sight: Arc::default() };
        note_requests(&cluster);
        let (of, asked) = (offsets.clone(), Arc::clone(&handle));
        // The broker does not know the topic yet.
        let asking = std::thread::spawn(move || clerk.ask(&asked, &of, "so it is".to_owned()).is_ok());
        await_that("it has asked", || requests(&cluster, RDKafkaApiKey::OffsetFetch) > 0);
        // No answer at all while the topic is there and its offset is not.
        cluster.mock().request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 100]);
        cluster.mock().create_topic(NEW, 1, 1).unwrap();
        await_that("it takes a commit", || handle.commit(&offsets, CommitMode::Sync).is_ok());
        cluster.mock().clear_request_errors(RDKafkaApiKey::OffsetFetch);
        asking.thread().unpark();
        assert!(asking.join().unwrap(), "it is committed");
    }

    fn ends_as(kind: Kind, code: ErrorCode) -> Answer {
        End::of(Failure { kind, code, text: "so it is".to_owned() }).into_answer()
    }

    #[test]
    fn only_a_fence_is_taken_for_the_age_of_a_transaction() {
        use ErrorCode::{ClusterAuthorizationFailed, Fenced, InvalidProducerEpoch, MessageTimedOut, ProducerFenced, State};
        for code in [Fenced, ProducerFenced, InvalidProducerEpoch] {
            assert!(matches!(ends_as(Kind::Fatal, code), Answer::Broken(..)), "{code}");
        }
        for code in [ClusterAuthorizationFailed, ErrorCode::TransactionalIdAuthorizationFailed, ErrorCode::UnsupportedForMessageFormat, State] {
            assert!(matches!(ends_as(Kind::Fatal, code), Answer::Failed(_)), "{code}");
        }
        assert!(matches!(ends_as(Kind::Abort, MessageTimedOut), Answer::Aborted(_)));
        assert!(matches!(ends_as(Kind::Again, Fenced), Answer::Failed(_)), "nobody waits for it any more");
    }

    #[test]
    fn a_clerk_hangs_that_is_in_one_call_for_too_long() {
        let sight = Sight::default();
        let mut hang = Hang::default();
        let mut looks = |steps: &AtomicU32, now_ns| hang.is_hanging(steps.load(Ordering::Acquire), 100, now_ns);
        assert!(!looks(&sight.steps, 0) && !looks(&sight.steps, 1_000), "it is in no call");
        sight.watch(|| assert!(!looks(&sight.steps, 1_000) && !looks(&sight.steps, 1_100)));
        sight.watch(|| assert!(!looks(&sight.steps, 1_101), "that is another call"));
        sight.watch(|| assert!(!looks(&sight.steps, 2_000) && looks(&sight.steps, 2_101)));
        assert!(!looks(&sight.steps, 9_000));
    }

    const LIFE_NS: u64 = 15_000_000_000;

    #[test]
    fn a_fence_is_taken_for_the_age_of_a_transaction_as_old_as_that() {
        let may_renew = |begun_ns, now_ns| Renewals::default().take(begun_ns, LIFE_NS, now_ns);
        let (begun_ns, old_ns) = (7, LIFE_NS / 10 * 9);
        assert!(may_renew(Some(begun_ns), begun_ns + old_ns));
        assert!(!may_renew(Some(begun_ns), begun_ns + old_ns - 1));
        assert!(!may_renew(Some(begun_ns), 0), "a clock that goes back makes nothing old");
        assert!(!may_renew(None, u64::MAX / 2), "the broker knows of no transaction");
    }

    #[test]
    fn a_pause_leaves_most_of_the_next_transactions_life() {
        let longest = |life_ns| (0..64).fold(PAUSE_MIN_NS, |pause_ns, _| longer_pause(pause_ns, life_ns));
        assert_eq!((longest(LIFE_NS), longest(4_000_000_000), longest(3_000_000_000)), (1_000_000_000, 1_000_000_000, 750_000_000));
    }

    #[test]
    fn producers_are_made_anew_so_often_in_a_minute_and_no_more() {
        let mut renewals = Renewals::default();
        let mut take = |now_ns| renewals.take(Some(0), LIFE_NS, now_ns);
        for later_ns in 0..RENEWALS_MAX as u64 {
            assert!(take(LIFE_NS + later_ns));
        }
        assert!(!take(LIFE_NS + RENEWALS_MAX as u64), "one too many");
        assert!(!take(LIFE_NS + MINUTE_NS - 1), "the first one still counts");
        assert!(take(LIFE_NS + MINUTE_NS), "what was refused does not count");
        assert!(!take(LIFE_NS + MINUTE_NS), "the second one still counts");
    }
}
