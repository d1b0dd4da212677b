//! The model of a producer inside one instance: lanes that keep their order, requests that meet every fate, reports.
//!
//! It is idempotent as librdkafka's is: a partition's requests go one after the other, and what it sends again by itself appears once. What it gives up, and reports as timed out, may have been written all the same.

use std::collections::{BTreeMap, VecDeque};

use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use crate::kafka::Headers;
use crate::plan::REQUEST_RECORDS_MAX;
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
    pub(crate) fn source(&self) -> Option<(i32, i64)> {
        let (_, text) = self.headers.list.iter().rev().find(|(name, _)| name == "expressway-source")?;
        let mut parts = std::str::from_utf8(text).ok()?.rsplit('/');
        let (offset, partition) = (parts.next()?, parts.next()?);
        Some((partition.parse().ok()?, offset.parse().ok()?))
    }
}

type LaneKey = (Target, i32);

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Sent>,
    is_busy: bool,
}

/// A producer.
#[derive(Debug)]
pub(crate) struct ProducerState {
    pub(crate) instance: usize,
    pub(crate) wakes: Option<usize>,
    pub(crate) fatal: Option<ErrorCode>,
    /// Taken and not yet reported to the application.
    pub(crate) open: usize,
    /// The same by assignment and partition of the source.
    pub(crate) open_of: BTreeMap<(u64, i32), usize>,
    lanes: BTreeMap<LaneKey, Lane>,
    reports: VecDeque<(Sent, Option<ErrorCode>)>,
    waiter: Option<TaskId>,
}

impl World {
    pub(crate) fn add_producer(&mut self) -> usize {
        let instance = self.instance();
        self.producers.push(ProducerState {
            instance,
            wakes: None,
            fatal: None,
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
        if is_full {
            self.ledger.disorder(instance, std::slice::from_ref(&sent));
            return Err((ErrorCode::QueueFull, sent));
        }
        let source = sent.source();
        sent.assignment = source.and_then(|(partition, _)| self.ledger.assignment_of.get(&(instance, partition)).copied()).unwrap_or(0);
        let key = (sent.target, sent.partition);
        let state = &mut self.producers[producer];
        state.open += 1;
        if let Some((partition, _)) = source {
            *state.open_of.entry((sent.assignment, partition)).or_default() += 1;
        }
        let lane = state.lanes.entry(key).or_default();
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
        let lane = self.producers[producer].lanes.get_mut(&key).expect("a lane stays");
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
                self.write(instance, &request);
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
            self.write(instance, &request);
            return self.answer(producer, key, request, Some(ErrorCode::MessageTimedOut));
        }
        if self.fault(2_000) {
            return self.answer(producer, key, request, Some(ErrorCode::InvalidRecord));
        }
        if self.plan.has_fatal_producers && self.fault(300) {
            self.note(|| format!("producer {producer}: fatal error"));
            self.producers[producer].fatal = Some(ErrorCode::Fatal);
            return self.answer(producer, key, request, Some(ErrorCode::Fatal));
        }
        self.write(instance, &request);
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
            self.ledger.disorder(instance, &request);
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
            if let Some(open) = sent.source().and_then(|(partition, _)| state.open_of.get_mut(&(sent.assignment, partition))) {
                *open -= 1;
            }
        }
        Some(state.reports.drain(..).collect())
    }

    pub(crate) fn is_flushed(&mut self, producer: usize, waiter: TaskId) -> bool {
        let state = &mut self.producers[producer];
        state.waiter = Some(waiter);
        state.open == state.reports.len()
    }

    fn write(&mut self, instance: usize, request: &[Sent]) {
        for sent in request {
            self.written(instance, sent);
        }
    }
}
