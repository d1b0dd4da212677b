//! The model of the consumer inside one instance: its place in the group, its partitions, what it has fetched ahead.
//!
//! Partitions are counted through all source topics.
//!
//! It behaves as librdkafka 2.12 was read to behave: decisions of the group wait in the consumer's own queue until it is polled; a partition's records go where its queue was forwarded to, and to the consumer's own queue when it was not; a forward ends with the assignment and leaves a queue that nobody reads; pausing drops what was fetched ahead and outlives the assignment; what was fetched for an older version of a partition is dropped when it is taken out; stored offsets are committed now and then and when a partition is given back, unless it was lost.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use crate::broker::{Answer, Record};
use crate::plan::SOURCES;
use crate::world::{TaskId, World};

/// A client asks again for records after so long when there were none.
const FETCH_AGAIN_NS: u64 = 8_000_000;

/// One thing in a queue of fetched records.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) consumer: usize,
    pub(crate) partition: i32,
    version: u64,
    pub(crate) content: Result<Rc<Record>, ErrorCode>,
}

/// A native queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    is_yielded: bool,
    waiter: Option<TaskId>,
}

/// Where a partition's records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forward {
    /// To the consumer's own queue.
    Own,
    To(usize),
    /// It was forwarded once: to a queue that nobody reads.
    Nowhere,
}

/// A partition as the client knows it.
#[derive(Debug)]
struct Toppar {
    forward: Forward,
    is_assigned: bool,
    is_paused: bool,
    is_fetching: bool,
    /// The client is broken: it fetches nothing.
    is_stalled: bool,
    version: u64,
    fetch_from: i64,
    /// Behind what was handed out.
    taken_to: Option<i64>,
    ahead: usize,
    stored: Option<i64>,
    committed: Option<i64>,
}

/// What the consumer's own queue holds.
#[derive(Debug)]
pub(crate) enum Event {
    Rebalance {
        is_assign: bool,
        partitions: Vec<i32>,
    },
    Committed(KafkaResult<()>),
    Error(KafkaError),
    /// As JSON.
    Statistics(Vec<u8>),
    Stray(Item),
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) instance: usize,
    pub(crate) member: Option<u64>,
    /// Its name from a generation that it was not in: it asks to be in the next one under it, or leaves under it.
    former: Option<u64>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) is_lost: bool,
    pub(crate) is_closed: bool,
    /// Whether a partition of it was made to deliver nothing.
    pub(crate) was_stalled: bool,
    /// When the application took the last decision of the group up.
    pub(crate) decided_ns: u64,
    commit_interval_ns: u64,
    generation: i32,
    is_subscribed: bool,
    is_closing: bool,
    is_joining: bool,
    wants_join: bool,
    is_rebalancing: bool,
    is_unassigning: bool,
    unassign_commits: usize,
    then_assign: Option<Vec<i32>>,
    /// What the group has given it.
    owned: BTreeSet<i32>,
    toppars: Vec<Toppar>,
    waiter: Option<TaskId>,
    polled_ns: u64,
    heard_ns: u64,
    /// When the last request on the one connection arrives: they overtake each other never.
    arrives_ns: u64,
}

fn place(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions count from 0")
}

impl ConsumerState {
    /// The broker has taken the member up under this name.
    pub(crate) fn joins_as(&mut self, member: u64) {
        (self.member, self.former) = (Some(member), None);
    }
}

impl World {
    pub(crate) fn add_consumer(&mut self, commit_interval_ns: u64) -> usize {
        let toppar = || Toppar {
            forward: Forward::Own,
            is_assigned: false,
            is_paused: false,
            is_fetching: false,
            is_stalled: false,
            version: 0,
            fetch_from: 0,
            taken_to: None,
            ahead: 0,
            stored: None,
            committed: None,
        };
        let toppars = self.broker.logs.iter().map(|_| toppar()).collect();
        let instance = self.instance();
        self.consumers.push(ConsumerState {
            instance,
            member: None,
            former: None,
            events: VecDeque::new(),
            is_lost: false,
            is_closed: false,
            was_stalled: false,
            decided_ns: 0,
            commit_interval_ns,
            generation: -1,
            is_subscribed: false,
            is_closing: false,
            is_joining: false,
            wants_join: false,
            is_rebalancing: false,
            is_unassigning: false,
            unassign_commits: 0,
            then_assign: None,
            owned: BTreeSet::new(),
            toppars,
            waiter: None,
            polled_ns: self.now_ns,
            heard_ns: self.now_ns,
            arrives_ns: 0,
        });
        self.consumers.len() - 1
    }

    fn is_gone(&self, consumer: usize) -> bool {
        self.instances[self.consumers[consumer].instance].is_dead
    }

    fn is_cut_off(&self, consumer: usize) -> bool {
        self.instances[self.consumers[consumer].instance].cut_off_until_ns > self.now_ns
    }

    /// Whoever polls any queue of a client shows that it lives.
    pub(crate) fn polled(&mut self, consumer: usize) {
        self.consumers[consumer].polled_ns = self.now_ns;
    }

    pub(crate) fn subscribe(&mut self, consumer: usize) {
        let state = &mut self.consumers[consumer];
        (state.is_subscribed, state.wants_join) = (true, true);
        let (instance, heartbeat_ns, commit_ns) = (state.instance, self.plan.heartbeat_ns, state.commit_interval_ns);
        self.advance(consumer);
        self.deliver(instance, heartbeat_ns, move |world| world.beat(consumer));
        self.deliver(instance, commit_ns, move |world| world.commit_now_and_then(consumer));
    }

    /// The next event of the consumer's own queue; the waiter is told when one comes.
    pub(crate) fn take_event(&mut self, consumer: usize, waiter: TaskId) -> Option<Event> {
        self.polled(consumer);
        let state = &mut self.consumers[consumer];
        state.waiter = Some(waiter);
        state.events.pop_front()
    }

    fn push_event(&mut self, consumer: usize, event: Event) {
        let state = &mut self.consumers[consumer];
        state.events.push_back(event);
        if let Some(waiter) = state.waiter {
            self.wake(waiter);
        }
    }

    /// What the client does next about its place in the group, once nothing holds it up.
    fn advance(&mut self, consumer: usize) {
        let is_eager = self.plan.is_eager;
        let state = &mut self.consumers[consumer];
        if state.is_rebalancing || state.is_unassigning || state.is_closed {
            return;
        }
        let mut held = state.owned.clone();
        held.extend(state.toppars.iter().zip(0..).filter(|(toppar, _)| toppar.is_assigned).map(|(_, number)| number));
        let is_member = state.member.is_some();
        if !held.is_empty() && (state.is_closing || !is_member || !state.is_subscribed || (is_eager && state.wants_join)) {
            if !is_member {
                state.is_lost = true;
            }
            return self.rebalance(consumer, false, held.into_iter().collect());
        }
        if state.is_closing {
            state.is_closed = true;
            if let Some(member) = state.member.take().or_else(|| state.former.take()) {
                let delay_ns = self.arrival_ns(consumer);
                self.after(delay_ns, move |world| world.broker_leave(member, "it said so"));
            }
            return;
        }
        if state.is_subscribed && state.wants_join && !state.is_joining {
            state.wants_join = false;
            state.is_joining = true;
            let (member, owned) = (state.member.or(state.former), state.owned.clone());
            self.send_join(consumer, member, owned);
        }
    }

    fn send_join(&mut self, consumer: usize, member: Option<u64>, owned: BTreeSet<i32>) {
        let delay_ns = self.arrival_ns(consumer);
        self.after(delay_ns, move |world| {
            if world.is_gone(consumer) || world.consumers[consumer].is_closed {
                return;
            }
            if world.is_cut_off(consumer) {
                return world.send_join(consumer, member, owned);
            }
            world.broker_join(consumer, member, owned);
        });
    }

    /// How long from now a request takes to the broker: not shorter than those before it.
    fn arrival_ns(&mut self, consumer: usize) -> u64 {
        let at_ns = self.now_ns + self.latency_ns();
        let state = &mut self.consumers[consumer];
        state.arrives_ns = at_ns.max(state.arrives_ns + 1);
        state.arrives_ns - self.now_ns
    }

    fn rebalance(&mut self, consumer: usize, is_assign: bool, partitions: Vec<i32>) {
        let what = if is_assign { "assign" } else { "revoke" };
        self.note(|| format!("consumer {consumer}: to {what} {partitions:?}"));
        self.consumers[consumer].is_rebalancing = true;
        self.push_event(consumer, Event::Rebalance { is_assign, partitions });
    }

    /// The broker does not know the member.
    pub(crate) fn consumer_is_unknown(&mut self, consumer: usize, member: Option<u64>) {
        self.lose_place(consumer, member, None);
    }

    /// The member has no place in the group any more; what it may still call itself.
    fn lose_place(&mut self, consumer: usize, member: Option<u64>, former: Option<u64>) {
        let state = &mut self.consumers[consumer];
        if self.instances[state.instance].is_dead || state.member.or(state.former) != member || state.is_closed {
            return;
        }
        (state.member, state.former, state.is_joining, state.wants_join) = (None, former, false, true);
        state.is_lost = !state.owned.is_empty() || state.toppars.iter().any(|toppar| toppar.is_assigned);
        self.note(|| format!("consumer {consumer}: no member any more"));
        self.advance(consumer);
    }

    pub(crate) fn consumer_must_join_again(&mut self, consumer: usize, member: u64) {
        let state = &mut self.consumers[consumer];
        if state.member == Some(member) {
            (state.is_joining, state.wants_join) = (false, true);
            self.advance(consumer);
        }
    }

    /// The group has given it a share.
    pub(crate) fn consumer_has_joined(&mut self, consumer: usize, member: u64, generation: i32, share: BTreeSet<i32>) {
        let is_eager = self.plan.is_eager;
        let now_ns = self.now_ns;
        let state = &mut self.consumers[consumer];
        if state.member != Some(member) || state.is_closed {
            return;
        }
        state.is_joining = false;
        (state.generation, state.heard_ns) = (generation, now_ns);
        if state.is_closing {
            return self.advance(consumer);
        }
        let added: Vec<i32> = share.difference(&state.owned).copied().collect();
        let removed: Vec<i32> = state.owned.difference(&share).copied().collect();
        state.owned = share;
        if is_eager || removed.is_empty() {
            self.rebalance(consumer, true, added);
        } else {
            state.then_assign = Some(added);
            self.rebalance(consumer, false, removed);
        }
    }

    /// The application has served a rebalance event.
    pub(crate) fn rebalance_served(&mut self, consumer: usize, is_assign: bool) {
        if self.is_gone(consumer) {
            return;
        }
        let state = &mut self.consumers[consumer];
        state.is_rebalancing = false;
        if is_assign {
            return self.advance(consumer);
        }
        state.is_unassigning = true;
        self.unassigned(consumer);
    }

    /// Goes on once the last commits of what was given back are answered.
    fn unassigned(&mut self, consumer: usize) {
        let is_eager = self.plan.is_eager;
        let state = &mut self.consumers[consumer];
        if !state.is_unassigning || state.unassign_commits > 0 {
            return;
        }
        state.is_unassigning = false;
        let was_lost = std::mem::take(&mut state.is_lost);
        state.wants_join = true;
        if was_lost || is_eager || state.is_closing {
            state.owned.clear();
            state.then_assign = None;
        }
        if let Some(added) = state.then_assign.take() {
            return self.rebalance(consumer, true, added);
        }
        self.advance(consumer);
    }

    /// Applies an assignment.
    pub(crate) fn assign(&mut self, consumer: usize, partitions: &[(i32, Option<i64>)]) {
        let instance = self.consumers[consumer].instance;
        for &(partition, start) in partitions {
            let number = place(partition);
            let otherwise = self.broker.committed[number].unwrap_or(self.broker.logs[number].start);
            let toppar = &mut self.consumers[consumer].toppars[number];
            (toppar.is_assigned, toppar.is_stalled, toppar.version) = (true, false, toppar.version + 1);
            (toppar.stored, toppar.committed, toppar.taken_to, toppar.ahead) = (None, None, None, 0);
            (toppar.fetch_from, toppar.is_fetching) = (start.unwrap_or(otherwise), false);
            self.ledger.gone_back[number].clear();
            self.ledger.assignments += 1;
            let assignment = self.ledger.assignments;
            self.ledger.assignment_of.insert((instance, partition), assignment);
            self.note(|| format!("consumer {consumer}: {partition} is assigned from {start:?}"));
            self.fetch(consumer, partition);
        }
    }

    /// Takes partitions out of the assignment, and commits what was stored for them.
    pub(crate) fn unassign(&mut self, consumer: usize, partitions: Option<Vec<i32>>) {
        let state = &mut self.consumers[consumer];
        let (mut offsets, is_lost) = (Vec::new(), state.is_lost);
        let mut given_back = Vec::new();
        let numbers = partitions.unwrap_or_else(|| (0..).take(state.toppars.len()).collect());
        for partition in numbers {
            let toppar = &mut state.toppars[place(partition)];
            if !toppar.is_assigned {
                continue;
            }
            (toppar.is_assigned, toppar.version) = (false, toppar.version + 1);
            given_back.push(partition);
            if let Some(stored) = toppar.stored.take().filter(|stored| Some(*stored) != toppar.committed) {
                offsets.push((partition, stored));
            }
            if matches!(toppar.forward, Forward::To(_)) {
                toppar.forward = Forward::Nowhere;
            }
        }
        self.note(|| format!("consumer {consumer}: unassigned, stored {offsets:?}, lost {is_lost}"));
        if !is_lost {
            given_back.into_iter().for_each(|partition| self.check_drained(consumer, partition));
        }
        if !offsets.is_empty() && !is_lost {
            self.consumers[consumer].unassign_commits += 1;
            self.send_commit(consumer, offsets, true);
        }
    }

    /// A partition is given back before its time is over only with everything reported.
    fn check_drained(&mut self, consumer: usize, partition: i32) {
        let state = &self.consumers[consumer];
        let (instance, took_ns) = (state.instance, self.now_ns - state.decided_ns);
        let assignment = self.ledger.assignment_of.get(&(instance, partition)).copied().unwrap_or(0);
        let its = self.producers.iter().filter(|producer| producer.instance == instance && producer.fatal.is_none());
        let open: usize = its.filter_map(|producer| producer.open_of.get(&(assignment, partition))).sum();
        // A pipeline that stops itself has two and a half seconds.
        let time_ns = u64::try_from(self.plan.drain.min(self.plan.shutdown / 2).as_nanos()).unwrap_or(u64::MAX).min(2_000_000_000);
        if open > 0 && took_ns < time_ns * 9 / 10 {
            self.violate(|| format!("partition {partition} was given back after {took_ns} ns of {time_ns}, with {open} results under way"));
        }
    }

    pub(crate) fn forward(&mut self, consumer: usize, partition: i32, queue: usize) -> bool {
        let Some(toppar) = usize::try_from(partition).ok().and_then(|number| self.consumers[consumer].toppars.get_mut(number)) else { return false };
        toppar.forward = Forward::To(queue);
        true
    }

    pub(crate) fn unsubscribe(&mut self, consumer: usize) {
        self.consumers[consumer].is_subscribed = false;
        self.advance(consumer);
    }

    pub(crate) fn close(&mut self, consumer: usize) {
        self.note(|| format!("consumer {consumer}: closes"));
        self.consumers[consumer].is_closing = true;
        self.advance(consumer);
    }

    pub(crate) fn store(&mut self, consumer: usize, partition: i32, offset: i64) -> KafkaResult<()> {
        self.note(|| format!("consumer {consumer}: stores {offset} of {partition}"));
        self.check_mark(partition, offset, "stored");
        if self.plan.is_transactional {
            self.violate(|| format!("offset {offset} of partition {partition} is stored, though transactions commit"));
        }
        let toppar = &mut self.consumers[consumer].toppars[place(partition)];
        if !toppar.is_assigned {
            return Err(KafkaError::StoreOffset(ErrorCode::State));
        }
        toppar.stored = Some(offset);
        Ok(())
    }

    pub(crate) fn set_paused(&mut self, consumer: usize, partition: i32, is_paused: bool) {
        self.note(|| format!("consumer {consumer}: {partition} paused: {is_paused}"));
        let toppar = &mut self.consumers[consumer].toppars[place(partition)];
        (toppar.is_paused, toppar.version, toppar.is_fetching) = (is_paused, toppar.version + 1, false);
        if is_paused {
            toppar.ahead = 0;
            toppar.fetch_from = toppar.taken_to.unwrap_or(toppar.fetch_from);
        }
        self.fetch(consumer, partition);
    }

    /// The position of a partition goes back, as after its log was cut and written anew.
    pub(crate) fn go_back(&mut self, consumer: usize, partition: i32, to: i64) {
        let instance = self.consumers[consumer].instance;
        let toppar = &mut self.consumers[consumer].toppars[place(partition)];
        let Some(taken_to) = toppar.taken_to.filter(|taken| toppar.is_assigned && *taken > to) else { return };
        (toppar.version, toppar.ahead, toppar.is_fetching, toppar.fetch_from) = (toppar.version + 1, 0, false, to);
        toppar.taken_to = Some(to);
        self.ledger.goes_back(place(partition), to, taken_to);
        self.ledger.assignments += 1;
        let assignment = self.ledger.assignments;
        self.ledger.disordered.insert((assignment, partition));
        self.ledger.assignment_of.insert((instance, partition), assignment);
        self.note(|| format!("consumer {consumer}: the position of {partition} goes back to {to}"));
        self.fetch(consumer, partition);
    }

    /// What a member is to its group now.
    pub(crate) fn membership(&self, consumer: usize) -> (Option<u64>, i32) {
        let state = &self.consumers[consumer];
        (state.member, state.generation)
    }

    /// The client breaks: from now on a partition delivers nothing, until it is assigned anew.
    pub(crate) fn stall(&mut self, consumer: usize, partition: i32, is_deaf: bool) {
        let toppar = &mut self.consumers[consumer].toppars[place(partition)];
        if !toppar.is_assigned {
            return;
        }
        if is_deaf {
            toppar.forward = Forward::Nowhere;
        } else {
            toppar.is_stalled = true;
        }
        self.consumers[consumer].was_stalled = true;
        self.note(|| format!("consumer {consumer}: {partition} delivers nothing any more"));
    }

    /// Tells statistics now and then.
    pub(crate) fn tell_statistics(&mut self, consumer: usize, interval_ns: u64) {
        let instance = self.consumers[consumer].instance;
        self.deliver(instance, interval_ns, move |world| {
            if world.consumers[consumer].is_closed {
                return;
            }
            let json = world.statistics(consumer);
            world.push_event(consumer, Event::Statistics(json));
            world.tell_statistics(consumer, interval_ns);
        });
    }

    fn statistics(&self, consumer: usize) -> Vec<u8> {
        let mut topics = serde_json::Map::new();
        for (toppar, partition) in self.consumers[consumer].toppars.iter().zip(0..) {
            let (topic, number) = self.plan.position(partition);
            let end = self.broker.logs[place(partition)].end;
            let own = serde_json::json!({"next_offset": toppar.fetch_from, "fetchq_cnt": toppar.ahead, "ls_offset": end, "fetch_state": "active", "leader": 1});
            let topic = topics.entry(SOURCES[topic]).or_insert_with(|| serde_json::json!({"partitions": {}}));
            topic["partitions"][number.to_string()] = own;
        }
        serde_json::json!({"topics": topics}).to_string().into_bytes()
    }

    fn fetch(&mut self, consumer: usize, partition: i32) {
        let (ahead_max, delay_ns) = (self.plan.ahead_max, self.latency_ns());
        let state = &mut self.consumers[consumer];
        let (instance, toppar) = (state.instance, &mut state.toppars[place(partition)]);
        if !toppar.is_assigned || toppar.is_paused || toppar.is_stalled || toppar.is_fetching || toppar.ahead >= ahead_max {
            return;
        }
        toppar.is_fetching = true;
        let version = toppar.version;
        self.deliver(instance, delay_ns, move |world| world.fetched(consumer, partition, version));
    }

    fn fetched(&mut self, consumer: usize, partition: i32, version: u64) {
        let count = 1 + self.random.index(self.plan.fetch_max);
        let toppar = &self.consumers[consumer].toppars[place(partition)];
        if toppar.version != version {
            return;
        }
        let (from, forward) = (toppar.fetch_from, toppar.forward);
        let log = &self.broker.logs[place(partition)];
        let is_out_of_reach = log.down_until_ns > self.now_ns || self.is_cut_off(consumer);
        let first = log.entries.partition_point(|entry| entry.record.offset < from);
        let mut contents: Vec<_> = log.entries[first..].iter().take(count).map(|entry| Ok(Rc::clone(&entry.record))).collect();
        if is_out_of_reach {
            contents.clear();
        }
        if self.fault(60) {
            let code = [ErrorCode::LeaderNotAvailable, ErrorCode::UnknownTopicOrPartition, ErrorCode::BrokerTransportFailure][self.random.index(3)];
            contents.push(Err(code));
        }
        let records = contents.iter().filter_map(|content| content.as_ref().ok()).count();
        let toppar = &mut self.consumers[consumer].toppars[place(partition)];
        if let Some(Ok(last)) = contents.iter().rev().find(|content| content.is_ok()) {
            toppar.fetch_from = last.offset + 1;
        }
        toppar.is_fetching = false;
        toppar.ahead += records;
        for content in contents {
            let item = Item { consumer, partition, version, content };
            match forward {
                Forward::To(queue) => self.push_item(queue, item),
                Forward::Own => self.push_event(consumer, Event::Stray(item)),
                Forward::Nowhere => {}
            }
        }
        if records > 0 {
            return self.fetch(consumer, partition);
        }
        let instance = self.consumers[consumer].instance;
        self.deliver(instance, FETCH_AGAIN_NS, move |world| {
            if world.consumers[consumer].toppars[place(partition)].version == version {
                world.fetch(consumer, partition);
            }
        });
    }

    pub(crate) fn add_queue(&mut self) -> usize {
        self.queues.push(Queue::default());
        self.queues.len() - 1
    }

    fn push_item(&mut self, queue: usize, item: Item) {
        let queue = &mut self.queues[queue];
        queue.items.push_back(item);
        if let Some(waiter) = queue.waiter {
            self.wake(waiter);
        }
    }

    /// Ends a wait at a queue, or the next one.
    pub(crate) fn yield_queue(&mut self, queue: usize) {
        let queue = &mut self.queues[queue];
        queue.is_yielded = true;
        if let Some(waiter) = queue.waiter {
            self.wake(waiter);
        }
    }

    /// Takes out what is there, up to `count` in all; `true` when the wait is over. What was fetched for another version of its partition is dropped.
    pub(crate) fn take_items(&mut self, queue: usize, consumer: usize, waiter: TaskId, count: usize, into: &mut VecDeque<Item>) -> bool {
        self.polled(consumer);
        while into.len() < count
            && let Some(item) = self.queues[queue].items.pop_front()
        {
            let toppar = &mut self.consumers[item.consumer].toppars[place(item.partition)];
            if toppar.version != item.version {
                continue;
            }
            if let Ok(record) = &item.content {
                toppar.taken_to = Some(record.offset + 1);
                toppar.ahead = toppar.ahead.saturating_sub(1);
            }
            self.fetch(item.consumer, item.partition);
            into.push_back(item);
        }
        let queue = &mut self.queues[queue];
        queue.waiter = Some(waiter);
        into.len() == count || std::mem::take(&mut queue.is_yielded)
    }

    fn commit_now_and_then(&mut self, consumer: usize) {
        let state = &mut self.consumers[consumer];
        if state.is_closed {
            return;
        }
        let (instance, interval_ns) = (state.instance, state.commit_interval_ns);
        let stored = state.toppars.iter().zip(0..).filter(|(toppar, _)| toppar.is_assigned && toppar.stored != toppar.committed);
        let offsets: Vec<_> = stored.filter_map(|(toppar, partition)| Some((partition, toppar.stored?))).collect();
        if !offsets.is_empty() && !state.is_lost {
            self.send_commit(consumer, offsets, false);
        }
        self.deliver(instance, interval_ns, move |world| world.commit_now_and_then(consumer));
    }

    fn send_commit(&mut self, consumer: usize, offsets: Vec<(i32, i64)>, is_last: bool) {
        let state = &self.consumers[consumer];
        let (member, generation, instance) = (state.member, state.generation, state.instance);
        let delay_ns = self.arrival_ns(consumer);
        self.after(delay_ns, move |world| {
            // What a dead process had sent may still arrive.
            if world.is_gone(consumer) && world.random.below(2) == 0 {
                return;
            }
            let result = if world.is_cut_off(consumer) {
                Err(KafkaError::ConsumerCommit(ErrorCode::RequestTimedOut))
            } else {
                let answer = world.broker_commit(member, generation, &offsets);
                match answer {
                    // The answer gets lost.
                    Answer::Fine if world.fault(40) => Err(KafkaError::ConsumerCommit(ErrorCode::BrokerTransportFailure)),
                    Answer::Fine => Ok(()),
                    Answer::Rebalancing => Err(KafkaError::ConsumerCommit(ErrorCode::RebalanceInProgress)),
                    Answer::IllegalGeneration => Err(KafkaError::ConsumerCommit(ErrorCode::IllegalGeneration)),
                    Answer::UnknownMember => Err(KafkaError::ConsumerCommit(ErrorCode::UnknownMemberId)),
                }
            };
            let delay_ns = world.latency_ns();
            world.deliver(instance, delay_ns, move |world| world.committed(consumer, &offsets, result, is_last));
        });
    }

    fn committed(&mut self, consumer: usize, offsets: &[(i32, i64)], result: KafkaResult<()>, is_last: bool) {
        let state = &mut self.consumers[consumer];
        for &(partition, offset) in offsets {
            let toppar = &mut state.toppars[place(partition)];
            if toppar.is_assigned && !is_last {
                // Whether a commit without an answer counts is not known, so the next one says it again.
                toppar.committed = result.is_ok().then_some(offset);
            }
        }
        if is_last {
            state.unassign_commits -= 1;
        }
        self.push_event(consumer, Event::Committed(result));
        if is_last {
            self.unassigned(consumer);
        }
    }

    /// A heartbeat, and a look at whether the application polls and the broker answers.
    fn beat(&mut self, consumer: usize) {
        let (now_ns, session_ns, poll_ns, beat_ns) = (self.now_ns, self.plan.session_ns, self.plan.poll_interval_ns(), self.plan.heartbeat_ns);
        let state = &mut self.consumers[consumer];
        if state.is_closed {
            return;
        }
        let (instance, generation) = (state.instance, state.generation);
        self.deliver(instance, beat_ns, move |world| world.beat(consumer));
        let state = &mut self.consumers[consumer];
        let Some(member) = state.member.filter(|_| !state.is_joining) else { return };
        if now_ns - state.polled_ns > poll_ns {
            self.broker_leave(member, "its application does not poll");
            return self.consumer_is_unknown(consumer, Some(member));
        }
        if now_ns - state.heard_ns > session_ns {
            return self.consumer_is_unknown(consumer, Some(member));
        }
        if self.is_cut_off(consumer) {
            self.push_event(consumer, Event::Error(KafkaError::MessageConsumption(ErrorCode::AllBrokersDown)));
        }
        let delay_ns = self.latency_ns();
        self.after(delay_ns, move |world| {
            if world.is_gone(consumer) || world.is_cut_off(consumer) {
                return;
            }
            let answer = world.broker_heartbeat(member, generation);
            let delay_ns = world.latency_ns();
            world.deliver(instance, delay_ns, move |world| world.heard(consumer, member, generation, answer));
        });
    }

    fn heard(&mut self, consumer: usize, member: u64, generation: i32, answer: Answer) {
        let now_ns = self.now_ns;
        let state = &mut self.consumers[consumer];
        if state.member != Some(member) || state.is_joining || state.generation != generation {
            return;
        }
        match answer {
            Answer::Fine => state.heard_ns = now_ns,
            Answer::Rebalancing => {
                (state.heard_ns, state.wants_join) = (now_ns, true);
                self.advance(consumer);
            }
            // The client keeps its name.
            Answer::IllegalGeneration => self.lose_place(consumer, Some(member), Some(member)),
            Answer::UnknownMember => self.consumer_is_unknown(consumer, Some(member)),
        }
    }
}
