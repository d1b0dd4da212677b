//! Commits under the new group protocol, which the model's groups do not speak: nobody asks for one.

use rdkafka::error::KafkaResult;

use super::ConsumerHandle;

/// Never made.
pub(crate) enum Commits {}

impl Commits {
    pub(crate) fn new(_: &ConsumerHandle, _: u64) -> Self {
        unreachable!("groups are classic")
    }

    pub(crate) fn turn(&mut self, _: bool, _: u64) -> Option<KafkaResult<()>> {
        match *self {}
    }
}
