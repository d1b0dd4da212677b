//! The producer, over the model.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use super::{Bundle, Headers, Rejected, ShardQueue, Transactions};
use crate::clock::Clock;
use crate::plan::{DEAD_LETTERS, RESULTS};
use crate::producer::{Sent, Target};
use crate::world::{self, with};

/// A shard's producer.
pub(crate) struct Producer {
    id: usize,
}

impl Producer {
    pub(crate) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        assert_eq!((config.get("acks"), config.get("enable.idempotence")), (Some("all"), Some("true")), "the guarantee rests on it");
        let id = config.get("transactional.id");
        Ok(Self { id: with(|world| world.add_producer(id)) })
    }

    pub(crate) fn wake_on_reports(&mut self, queue: Arc<ShardQueue>) {
        with(|world| world.producers[self.id].wakes = Some(queue.id()));
    }

    pub(crate) fn connect(&self, _: &Topic, _: &Clock, _: Duration) {}

    pub(crate) fn transactions(&self) -> Transactions {
        Transactions::new(self.id)
    }

    pub(crate) fn topic(&self, topic: &str) -> KafkaResult<Topic> {
        assert!([RESULTS, DEAD_LETTERS].contains(&topic), "there is no topic {topic}");
        Ok(Topic { target: if topic == RESULTS { Target::Results } else { Target::DeadLetters } })
    }

    pub(crate) fn send(
        &self,
        topic: &Topic,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers,
        opaque: u64,
    ) -> Result<(), (ErrorCode, Headers)> {
        let sent = Sent { target: topic.target, partition, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), headers, opaque, assignment: 0 };
        with(|world| world.produce(self.id, sent)).map_err(|(code, sent)| (code, sent.headers))
    }

    pub(crate) fn send_bundle(&mut self, topic: &Topic, partition: i32, bundle: &mut Bundle, mut rejected: impl FnMut(Rejected<'_>)) -> usize {
        let (mut taken, mut full) = (0, None);
        bundle.drain(|key, value, headers, opaque| {
            // Room that appears in the middle of a call is left out of the model.
            let sent = match full {
                Some(code) => Err((code, headers)),
                None => self.send(topic, partition, key, value, headers, opaque),
            };
            match sent {
                Ok(()) => taken += 1,
                Err((code, headers)) => {
                    full = Some(code);
                    rejected(Rejected { key, value, headers, opaque, code });
                }
            }
        });
        taken
    }

    pub(crate) fn reports(&self, wait: Duration, mut each: impl FnMut(Report<'_>)) -> usize {
        let some = world::wait(wait, |world, task| world.take_reports(self.id, task));
        let reports = some.unwrap_or_default();
        let count = reports.len();
        for (sent, error) in reports {
            each(Report { headers: Some(sent.headers.clone()), sent, error, _event: PhantomData });
        }
        count
    }

    pub(crate) fn flush_linger(&self, wait: Duration) {
        world::wait(wait, |world, task| world.is_flushed(self.id, task).then_some(()));
    }

    pub(crate) fn fatal_error(&self) -> Option<(ErrorCode, String)> {
        with(|world| world.producers[self.id].fatal.map(|code| (code, "as the plan has it".to_owned())))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // A drop purges the queue: what was not sent never is.
        with(|world| world.drop_producer(self.id));
    }
}

/// A topic to send to.
pub(crate) struct Topic {
    target: Target,
}

/// What became of one record.
pub(crate) struct Report<'e> {
    sent: Sent,
    headers: Option<Headers>,
    error: Option<ErrorCode>,
    _event: PhantomData<&'e ()>,
}

impl Report<'_> {
    pub(crate) fn opaque(&self) -> u64 {
        self.sent.opaque
    }

    pub(crate) fn error(&self) -> Option<ErrorCode> {
        self.error
    }

    pub(crate) fn is_of(&self, topic: &Topic) -> bool {
        self.sent.target == topic.target
    }

    pub(crate) fn partition(&self) -> i32 {
        self.sent.partition
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.sent.key.as_deref()
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.sent.value.as_deref()
    }

    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        self.headers.take()
    }
}
