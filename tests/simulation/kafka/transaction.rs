//! Transactional delivery is not modelled: no run asks for it, and a call would end the run.

use std::time::Duration;

use rdkafka::topic_partition_list::TopicPartitionList;

use super::ConsumerHandle;
pub(crate) use super::failure::{Failure, Kind};

/// The transactional calls of one producer.
#[derive(Clone)]
pub(crate) struct Transactions;

impl Transactions {
    #[expect(clippy::unused_self, reason = "as in the calls that it stands for")]
    fn none<T>(&self) -> T {
        unreachable!("the simulation delivers at least once")
    }

    pub(crate) fn init(&self, _: Duration) -> Result<(), Failure> {
        self.none()
    }

    pub(crate) fn begin(&self) -> Result<(), Failure> {
        self.none()
    }

    pub(crate) fn send_offsets(&self, _: &TopicPartitionList, _: &Membership) -> Result<(), Failure> {
        self.none()
    }

    pub(crate) fn commit(&self, _: Duration) -> Result<(), Failure> {
        self.none()
    }

    pub(crate) fn abort(&self, _: Duration) -> Result<(), Failure> {
        self.none()
    }

    pub(crate) fn purge(&self) {
        self.none()
    }
}

/// A member's generation of its group: never wanted.
pub(crate) enum Membership {}

impl Membership {
    pub(crate) fn of(_: &ConsumerHandle) -> Option<Self> {
        None
    }
}
