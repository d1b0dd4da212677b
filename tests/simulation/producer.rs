//! The model of a producer inside one instance: lanes that keep their order, requests that meet every fate, reports.
//!
//! It is idempotent as librdkafka's is: a partition's requests go one after the other, and what it sends again by itself appears once. What it gives up, and reports as timed out, may have been written all the same. What it gave up and was not written loses its place only to later requests of the same bundle. In a transaction what is written appears when that is committed; see `transaction`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use crate::kafka::Headers;
use crate::plan::{Plan, REQUEST_RECORDS_MAX};
use crate::transaction::{Appended, Client};
use crate::world::{TaskId, World};

/// The result topic takes no larger record; the dead-letter topic takes all.
pub(crate) const RESULT_BYTES_MAX: usize = 2_000;

/// A topic that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Results,
    DeadLetters,
}

/// A record in the producer's hands.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) target: Target,
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    pub(crate) opaque: u64,
    /// Which assignment of its source's partition it was sent in.
    pub(crate) assignment: u64,
}

impl Sent {
    fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }

    /// Partition and offset of its source.
    pub(crate) fn source(&self, plan: &Plan) -> Option<(i32, i64)> {
        let (_, text) = self.headers.list.iter().rev().find(|(name, _)| name == "expressway-source")?;
        let mut parts = std::str::from_utf8(text).ok()?.rsplitn(3, '/');
        let (offset, number, topic) = (parts.next()?, parts.next()?, parts.next()?);
        Some((plan.place(topic, number.parse().ok()?)?, offset.parse().ok()?))
    }
}

type LaneKey = (Target, i32);

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Sent>,
    is_busy: bool,
    /// Records of the bundle that is under way which the application has not heard of.
    unreported: usize,
    /// Assignment and partition of those among them that were given up.
    given_up: BTreeSet<(u64, i32)>,
}

/// A producer.
#[derive(Debug)]
pub(crate) struct ProducerState {
    pub(crate) instance: usize,
    pub(crate) wakes: Option<usize>,
    pub(crate) fatal: Option<ErrorCode>,
    /// What it knows of its transactions, if it makes any.
    pub(crate) transactional: Option<Client>,
    /// Taken and not yet reported to the application.
    pub(crate) open: usize,
    /// The same by assignment and partition of the source.
    pub(crate) open_of: BTreeMap<(u64, i32), usize>,
    lanes: BTreeMap<LaneKey, Lane>,
    reports: VecDeque<(Sent, Option<ErrorCode>)>,
    waiter: Option<TaskId>,
}

impl World {
    pub(crate) fn add_producer(&mut self, transactional_id: Option<&str>) -> usize {
        let instance = self.instance();
        let transactional = transactional_id.map(|id| self.add_transactional(id));
        self.producers.push(ProducerState {
            instance,
            wakes: None,
            fatal: None,
            transactional,
            open: 0,
            open_of: BTreeMap::new(),
            lanes: BTreeMap::new(),
            reports: VecDeque::new(),
            waiter: None,
        });
        self.producers.len() - 1
    }

    pub(crate) fn drop_producer(&mut self, producer: usize) {
        self.producers[producer].lanes.values_mut().for_each(|lane| lane.waiting.clear());
    }

    /// Takes a record, unless there is no room.
    pub(crate) fn produce(&mut self, producer: usize, mut sent: Sent) -> Result<(), (ErrorCode, Sent)> {
        let is_full = self.producers[producer].open >= self.plan.producer_records_max || self.fault(400);
        let state = &mut self.producers[producer];
        let instance = state.instance;
        if let Some(code) = state.fatal {
            return Err((code, sent));
        }
        if !self.may_produce(producer) {
            return Err((ErrorCode::State, sent));
        }
        if is_full {
            return Err((ErrorCode::QueueFull, sent));
        }
        let source = sent.source(&self.plan);
        sent.assignment = source.and_then(|(partition, _)| self.ledger.assignment_of.get(&(instance, partition)).copied()).unwrap_or(0);
        let key = (sent.target, sent.partition);
        let state = &mut self.producers[producer];
        state.open += 1;
        if let Some((partition, _)) = source {
            *state.open_of.entry((sent.assignment, partition)).or_default() += 1;
        }
        let lane = state.lanes.entry(key).or_default();
        if lane.unreported == 0 {
            lane.given_up.clear();
        }
        lane.unreported += 1;
        lane.waiting.push_back(sent);
        if !std::mem::replace(&mut lane.is_busy, true) {
            let linger_ns = self.random.below(self.plan.linger_ns_max);
            self.deliver(instance, linger_ns, move |world| world.transmit(producer, key));
        }
        Ok(())
    }

    /// Sends the next request of a lane, if there is one.
    fn transmit(&mut self, producer: usize, key: LaneKey) {
        let count_max = self.plan.request_records_max;
        let count = if count_max == REQUEST_RECORDS_MAX { count_max } else { 1 + self.random.index(count_max) };
        let delay_ns = self.latency_ns();
        let may_transmit = self.may_transmit(producer);
        let lane = self.producers[producer].lanes.get_mut(&key).expect("a lane stays");
        if !may_transmit {
            // It waits until it is taken back.
            lane.is_busy = false;
            return;
        }
        let count = count.min(lane.waiting.len());
        let request: Vec<Sent> = lane.waiting.drain(..count).collect();
        lane.is_busy = !request.is_empty();
        if lane.is_busy {
            let since_ns = self.now_ns;
            self.after(delay_ns, move |world| world.arrive(producer, key, request, since_ns));
        }
    }

    fn arrive(&mut self, producer: usize, key: LaneKey, request: Vec<Sent>, since_ns: u64) {
        let instance = self.producers[producer].instance;
        if self.instances[instance].is_dead {
            // What a dead process had sent may still arrive.
            let is_too_large = key.0 == Target::Results && request.iter().any(|sent| sent.bytes() > RESULT_BYTES_MAX);
            if self.random.below(2) == 0 && !is_too_large {
                self.write(producer, key, &request);
            }
            return;
        }
        if let Some(code) = self.producers[producer].fatal {
            return self.answer(producer, key, request, Some(code));
        }
        let is_refusing = key.0 == Target::Results && self.broker.refusing_until_ns > self.now_ns;
        let is_down = self.instances[instance].cut_off_until_ns > self.now_ns
            || self.broker.targets_down_until_ns.get(&key.1).is_some_and(|until_ns| *until_ns > self.now_ns);
        if is_down {
            if self.now_ns - since_ns > self.plan.message_timeout_ns {
                return self.answer(producer, key, request, Some(ErrorCode::MessageTimedOut));
            }
            let delay_ns = self.random.between(20_000_000, 100_000_000);
            return self.after(delay_ns, move |world| world.arrive(producer, key, request, since_ns));
        }
        if is_refusing {
            return self.answer(producer, key, request, Some(ErrorCode::TopicAuthorizationFailed));
        }
        if key.0 == Target::Results && request.iter().any(|sent| sent.bytes() > RESULT_BYTES_MAX) {
            return self.answer(producer, key, request, Some(ErrorCode::MessageSizeTooLarge));
        }
        self.meet_a_fate(producer, key, request);
    }

    fn meet_a_fate(&mut self, producer: usize, key: LaneKey, request: Vec<Sent>) {
        let instance = self.producers[producer].instance;
        if self.fault(90) {
            let code = [ErrorCode::NotEnoughReplicas, ErrorCode::RequestTimedOut, ErrorCode::MessageTimedOut][self.random.index(3)];
            return self.answer(producer, key, request, Some(code));
        }
        if self.fault(90) {
            // Written, and reported as timed out: nobody can know.
            self.write(producer, key, &request);
            return self.answer(producer, key, request, Some(ErrorCode::MessageTimedOut));
        }
        if self.fault(2_000) {
            return self.answer(producer, key, request, Some(ErrorCode::InvalidRecord));
        }
        if self.plan.has_fatal_producers && self.fault(300) {
            self.note(|| format!("producer {producer}: fatal error"));
            self.useless(producer, ErrorCode::Fatal);
            return self.answer(producer, key, request, Some(ErrorCode::Fatal));
        }
        match self.write(producer, key, &request) {
            Appended::Done => {}
            Appended::Later => {
                let (since_ns, delay_ns) = (self.now_ns, self.random.between(10_000_000, 100_000_000));
                return self.after(delay_ns, move |world| world.arrive(producer, key, request, since_ns));
            }
            Appended::Fenced => {
                self.note(|| format!("producer {producer}: fenced"));
                self.useless(producer, ErrorCode::Fenced);
                return self.answer(producer, key, request, Some(ErrorCode::InvalidProducerEpoch));
            }
        }
        if self.fault(60) {
            // The answer was lost; the client sends it again, and the broker knows it.
            let delay_ns = self.random.between(50_000_000, 500_000_000);
            return self.deliver(instance, delay_ns, move |world| world.answer(producer, key, request, None));
        }
        self.answer(producer, key, request, None);
    }

    fn answer(&mut self, producer: usize, key: LaneKey, request: Vec<Sent>, error: Option<ErrorCode>) {
        let (instance, delay_ns) = (self.producers[producer].instance, self.latency_ns());
        if let Some(error) = error {
            self.give_up(producer, key, &request, error);
            self.note(|| format!("producer {producer}: {} records to {key:?}: {error:?}", request.len()));
        }
        self.deliver(instance, delay_ns, move |world| {
            let state = &mut world.producers[producer];
            state.reports.extend(request.into_iter().map(|sent| (sent, error)));
            let (wakes, waiter) = (state.wakes, state.waiter);
            wakes.into_iter().for_each(|queue| world.yield_queue(queue));
            waiter.into_iter().for_each(|waiter| world.wake(waiter));
            world.transmit(producer, key);
        });
    }

    pub(crate) fn take_reports(&mut self, producer: usize, waiter: TaskId) -> Option<Vec<(Sent, Option<ErrorCode>)>> {
        let state = &mut self.producers[producer];
        state.waiter = Some(waiter);
        if state.reports.is_empty() {
            return None;
        }
        state.open -= state.reports.len();
        for (sent, _) in &state.reports {
            if let Some(open) = sent.source(&self.plan).and_then(|(partition, _)| state.open_of.get_mut(&(sent.assignment, partition))) {
                *open -= 1;
            }
            if let Some(lane) = state.lanes.get_mut(&(sent.target, sent.partition)) {
                lane.unreported -= 1;
            }
        }
        Some(state.reports.drain(..).collect())
    }

    pub(crate) fn is_flushed(&mut self, producer: usize, waiter: TaskId) -> bool {
        let state = &mut self.producers[producer];
        state.waiter = Some(waiter);
        state.open == state.reports.len()
    }

    /// The client has given records up.
    fn give_up(&mut self, producer: usize, key: LaneKey, request: &[Sent], error: ErrorCode) {
        self.doom(producer);
        let instance = self.producers[producer].instance;
        let sources: Vec<_> = request.iter().filter_map(|sent| Some((sent.assignment, sent.source(&self.plan)?))).collect();
        // What is refused for itself becomes a dead letter, behind those that went before.
        let is_refused = |sent: &Sent| error == ErrorCode::InvalidRecord || error == ErrorCode::MessageSizeTooLarge && sent.bytes() > RESULT_BYTES_MAX;
        let refused = request.iter().filter(|sent| is_refused(sent)).filter_map(|sent| sent.source(&self.plan));
        self.ledger.late.extend(refused.map(|(partition, offset)| (instance, partition, offset)));
        if let Some(lane) = self.producers[producer].lanes.get_mut(&key) {
            lane.given_up.extend(sources.into_iter().map(|(assignment, (partition, _))| (assignment, partition)));
        }
    }

    /// Takes back what was not sent yet.
    pub(crate) fn purge(&mut self, producer: usize) {
        let state = &mut self.producers[producer];
        for lane in state.lanes.values_mut() {
            state.reports.extend(lane.waiting.drain(..).map(|sent| (sent, Some(ErrorCode::PurgeQueue))));
        }
        let (wakes, waiter) = (state.wakes, state.waiter);
        wakes.into_iter().for_each(|queue| self.yield_queue(queue));
        waiter.into_iter().for_each(|waiter| self.wake(waiter));
    }

    fn write(&mut self, producer: usize, key: LaneKey, request: &[Sent]) -> Appended {
        let state = &self.producers[producer];
        let instance = state.instance;
        if state.transactional.is_some() {
            return self.append(producer, request);
        }
        // Those that were given up come behind these.
        let given_up = state.lanes.get(&key).map(|lane| lane.given_up.clone()).unwrap_or_default();
        self.ledger.disordered.extend(given_up);
        for sent in request {
            self.written(instance, sent);
        }
        Appended::Done
    }
}
