//! The transactional calls, over the model.

use std::time::Duration;

use rdkafka::topic_partition_list::TopicPartitionList;

use super::native::numbers;
use super::{ConsumerHandle, ErrorCode};
use crate::transaction::Request;
use crate::world::{self, with};

pub(crate) use super::failure::{Failure, Kind};

/// How often a call that sends marks hangs.
const HANGS_ONCE_IN: u64 = 500;

/// The transactional calls of one producer.
#[derive(Clone)]
pub(crate) struct Transactions {
    producer: usize,
}

impl Transactions {
    pub(crate) fn new(producer: usize) -> Self {
        Self { producer }
    }

    fn call(&self, request: Request, wait: Duration) -> Result<(), Failure> {
        with(|world| world.begin_call(self.producer, request));
        self.answer(wait)
    }

    fn answer(&self, wait: Duration) -> Result<(), Failure> {
        let answer = world::wait(wait, |world, task| world.take_answer(self.producer, task));
        answer.unwrap_or_else(|| Err(Failure { kind: Kind::Again, code: ErrorCode::OperationTimedOut, text: "no answer yet".to_owned() }))
    }

    pub(crate) fn init(&self, wait: Duration) -> Result<(), Failure> {
        self.call(Request::Init, wait)
    }

    pub(crate) fn begin(&self) -> Result<(), Failure> {
        with(|world| world.begin_transaction(self.producer))
    }

    /// Waits for as long as a transaction may live.
    pub(crate) fn send_offsets(&self, offsets: &TopicPartitionList, membership: &Membership) -> Result<(), Failure> {
        let life = Duration::from_millis(with(|world| world.plan.transaction_timeout_ms));
        let offsets = numbers(offsets).into_iter().map(|(partition, offset)| (partition, offset.expect("a mark is an offset"))).collect();
        with(|world| world.begin_call(self.producer, Request::Offsets { offsets, member: membership.member, generation: membership.generation }));
        // The client does not look at its time-out while it waits for a connection to the group's coordinator (librdkafka's issue 5456).
        if with(|world| world.fault(HANGS_ONCE_IN)) {
            let hangs_ns = with(|world| world.random.between(1_000_000_000, 3_600_000_000_000));
            world::wait(Duration::from_nanos(hangs_ns), |_, _| None::<()>);
        }
        self.answer(life)
    }

    pub(crate) fn commit(&self, wait: Duration) -> Result<(), Failure> {
        self.call(Request::Commit, wait)
    }

    pub(crate) fn abort(&self, wait: Duration) -> Result<(), Failure> {
        self.call(Request::Abort, wait)
    }

    /// What is on its way to the brokers comes back by itself.
    pub(crate) fn purge(&self) {
        with(|world| world.purge(self.producer));
    }
}

/// A member's generation of its group.
pub(crate) struct Membership {
    member: u64,
    generation: i32,
}

impl Membership {
    pub(crate) fn of(consumer: &ConsumerHandle) -> Option<Self> {
        let (member, generation) = with(|world| world.membership(consumer.id()));
        member.filter(|_| generation >= 0).map(|member| Self { member, generation })
    }
}
