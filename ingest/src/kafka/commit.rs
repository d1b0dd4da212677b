//! Commits of stored marks under the new group protocol, one at a time.
//!
//! The client's own timer is not used there (librdkafka 2.12.1): a commit that the broker refuses because the member has a newer epoch by then is sent again as it was, under the new epoch, also when a later one has been taken meanwhile; the committed offset went back, which was seen on a broker that stood still at times. A commit that is asked for by the application is not sent again for that, so here the next one carries what that one did not bring about, and it is not asked for before the last one is answered, whatever the client does to bring that one through.
//!
//! When partitions are given back the client commits by itself, the last time for them, and the group waits for that.

#![expect(unsafe_code, reason = "answers to commits on a queue of one's own exist only in librdkafka's C interface")]

use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka_sys as sys;

use super::ConsumerHandle;
use super::native::ConsumerCalls as _;

/// When a commit is asked for.
#[derive(Debug)]
struct Pace {
    interval_ns: u64,
    due_ns: u64,
    is_asked: bool,
}

impl Pace {
    fn new(interval_ms: u64) -> Self {
        Self { interval_ns: interval_ms.saturating_mul(1_000_000), due_ns: 0, is_asked: false }
    }

    /// Whether one is to be asked for now, which counts as asked.
    fn ask(&mut self, now_ns: u64) -> bool {
        if self.is_asked || now_ns < self.due_ns {
            return false;
        }
        (self.is_asked, self.due_ns) = (true, now_ns.saturating_add(self.interval_ns));
        true
    }
}

/// Asks for commits of what a consumer has stored.
pub(crate) struct Commits {
    answers: NonNull<sys::rd_kafka_queue_t>,
    consumer: ConsumerHandle,
    pace: Pace,
}

// SAFETY: librdkafka's queues lock themselves.
unsafe impl Send for Commits {}

impl Commits {
    /// Commits of `consumer`, so far apart.
    pub(super) fn new(consumer: &ConsumerHandle, interval_ms: u64) -> Self {
        // SAFETY: the client pointer is valid while `consumer` lives.
        let answers = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let answers = NonNull::new(answers).expect("rd_kafka_queue_new allocates and cannot fail");
        Self { answers, consumer: Arc::clone(consumer), pace: Pace::new(interval_ms) }
    }

    /// Takes the answer to the last commit, if it has come, and asks for the next one when there are partitions, its time has come and there is an answer. Never waits. Without partitions there is nothing to commit, and the client takes the end of a commit for a step of its joining, with a heartbeat beside the others.
    pub(super) fn turn(&mut self, has_partitions: bool, now_ns: u64) -> Option<KafkaResult<()>> {
        let answer = self.answer();
        if answer.is_some() {
            self.pace.is_asked = false;
        }
        if has_partitions && self.pace.ask(now_ns) {
            // SAFETY: client and queue are valid; no list means what is stored of the assignment, and no callback an event.
            let code = unsafe { sys::rd_kafka_commit_queue(self.consumer.client().native_ptr(), ptr::null(), self.answers.as_ptr(), None, ptr::null_mut()) };
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                self.pace.is_asked = false;
                return answer.filter(Result::is_err).or(Some(Err(KafkaError::ConsumerCommit(code.into()))));
            }
        }
        answer
    }

    fn answer(&self) -> Option<KafkaResult<()>> {
        // SAFETY: the queue is valid until drop.
        let event = NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.answers.as_ptr(), 0) })?;
        // SAFETY: the event is valid until it is destroyed below.
        let code = unsafe { sys::rd_kafka_event_error(event.as_ptr()) };
        // SAFETY: ours, and given up once.
        unsafe { sys::rd_kafka_event_destroy(event.as_ptr()) };
        let is_done = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        Some(if is_done { Ok(()) } else { Err(KafkaError::ConsumerCommit(code.into())) })
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once, while the consumer is still alive. An answer that is on its way keeps the queue until it is there.
        unsafe { sys::rd_kafka_queue_destroy(self.answers.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_commit_is_asked_for_at_a_time_and_none_too_early() {
        let mut pace = Pace::new(1);
        assert!(pace.ask(5));
        assert!(!pace.ask(5_000_000), "the first is not answered");
        pace.is_asked = false;
        assert!(!pace.ask(1_000_004), "its time has not come");
        assert!(pace.ask(1_000_005));
    }
}
