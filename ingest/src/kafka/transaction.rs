//! The transactions of a producer, and what fences them.
//!
//! The calls block until the broker has answered or the time is over, so they belong on a thread of their own; delivery reports have to be served by another one meanwhile, for commit and abort wait until every record is reported. `init`, `commit` and `abort` go on where they were when they are called again after [`Kind::Again`].
//!
//! [`Membership`] is what the consumer's group knows this process by at one moment. The broker takes a transaction's offsets only while it is current.

#![expect(unsafe_code, reason = "a producer whose reports come as events has transactions in librdkafka's C interface only")]

use std::ffi::CStr;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;

use super::producer::SharedClient;
use super::{ConsumerCalls as _, ConsumerHandle};

pub(crate) use super::failure::{Failure, Kind};

/// The transactional calls of one producer.
#[derive(Clone)]
pub(crate) struct Transactions {
    client: SharedClient,
}

impl Transactions {
    pub(super) fn new(client: SharedClient) -> Self {
        Self { client }
    }

    /// Makes this the only producer of its transactional id: an older one is fenced, and what it left open is aborted. The first call, once.
    pub(crate) fn init(&self, wait: Duration) -> Result<(), Failure> {
        // SAFETY: the client is valid.
        self.judge(unsafe { sys::rd_kafka_init_transactions(self.client.native_ptr(), millis(wait)) })
    }

    /// Opens a transaction. Asks no broker.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        // SAFETY: the client is valid.
        self.judge(unsafe { sys::rd_kafka_begin_transaction(self.client.native_ptr()) })
    }

    /// Makes offsets part of the open transaction, waiting for the broker for as long as a transaction may live.
    pub(crate) fn send_offsets(&self, offsets: &TopicPartitionList, membership: &Membership) -> Result<(), Failure> {
        const FOR_A_TRANSACTIONS_LIFE: i32 = -1;
        // SAFETY: client, list and membership are valid for the call, which copies what it keeps.
        self.judge(unsafe {
            sys::rd_kafka_send_offsets_to_transaction(self.client.native_ptr(), offsets.ptr(), membership.raw.as_ptr(), FOR_A_TRANSACTIONS_LIFE)
        })
    }

    /// Commits the open transaction.
    pub(crate) fn commit(&self, wait: Duration) -> Result<(), Failure> {
        // SAFETY: the client is valid.
        self.judge(unsafe { sys::rd_kafka_commit_transaction(self.client.native_ptr(), millis(wait)) })
    }

    /// Aborts the open transaction. Records that were not sent yet are reported as purged.
    pub(crate) fn abort(&self, wait: Duration) -> Result<(), Failure> {
        // SAFETY: the client is valid.
        self.judge(unsafe { sys::rd_kafka_abort_transaction(self.client.native_ptr(), millis(wait)) })
    }

    /// Has everything reported that the producer has not, so that nothing is in its hands any more.
    pub(crate) fn purge(&self) {
        let what = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is valid. The only error is a wrong argument.
        unsafe { sys::rd_kafka_purge(self.client.native_ptr(), what) };
    }

    #[expect(clippy::unused_self, reason = "an error object lives no longer than its client")]
    fn judge(&self, error: *mut sys::rd_kafka_error_t) -> Result<(), Failure> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the error object is valid, here and in the calls below.
        let is_fatal = unsafe { sys::rd_kafka_error_is_fatal(error) } != 0;
        // SAFETY: as above.
        let is_abort = unsafe { sys::rd_kafka_error_txn_requires_abort(error) } != 0;
        // SAFETY: as above.
        let is_again = unsafe { sys::rd_kafka_error_is_retriable(error) } != 0;
        // SAFETY: as above.
        let code = unsafe { sys::rd_kafka_error_code(error) };
        // SAFETY: as above.
        let text = unsafe { sys::rd_kafka_error_string(error) };
        // SAFETY: a C string that lives as long as the object.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: the error object is ours, and given up once.
        unsafe { sys::rd_kafka_error_destroy(error) };
        let kind = match (is_fatal, is_abort, is_again) {
            (false, true, _) => Kind::Abort,
            (false, false, true) => Kind::Again,
            // An error of none of the three kinds is a call that was not due: the producer is in a state that we do not know.
            _ => Kind::Fatal,
        };
        Err(Failure { kind, code: code.into(), text })
    }
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

/// A member's generation of its group.
pub(crate) struct Membership {
    raw: NonNull<sys::rd_kafka_consumer_group_metadata_t>,
}

// SAFETY: a value of plain strings and numbers that nobody changes.
unsafe impl Send for Membership {}

impl Membership {
    /// What the consumer is to its group now; `None` when it is no member, for then the broker would take offsets without looking.
    pub(crate) fn of(consumer: &ConsumerHandle) -> Option<Self> {
        // SAFETY: the client is valid.
        let raw = unsafe { sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        let membership = Self { raw: NonNull::new(raw)? };
        // SAFETY: the value is valid until dropped.
        let generation = unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(raw) };
        // SAFETY: as above.
        let member = unsafe { sys::rd_kafka_consumer_group_metadata_member_id(raw) };
        // SAFETY: a C string that lives as long as the value.
        let is_named = unsafe { !CStr::from_ptr(member).is_empty() };
        (generation >= 0 && is_named).then_some(membership)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: ours, and given up once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.raw.as_ptr()) };
    }
}
