//! Native queues: one per shard, to which its partitions are forwarded, read in batches.
//!
//! What the safe types promise:
//! - A [`Message`] keeps the consumer alive (through an `Rc`, so it stays on its thread) and destroys itself once.
//! - A [`ShardQueue`] is destroyed before its consumer, because it holds an `Arc` of it. The consumer's context reaches shard queues in turn; [`Consumer`](super::Consumer) breaks that circle when it is dropped.
//! - Only a shard's own queue is ever read in batches. On the consumer's own queue a batch call would answer a rebalance by dropping the assignment.

#![expect(unsafe_code, reason = "batches from native queues exist only in librdkafka's C interface; measured 1.2 times the per-message calls")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

use super::Headers;
use super::client::Context;
use super::native::{BaseConsumer, ConsumerCalls as _};
use super::{ConsumerHandle, ErrorCode};

/// A native queue that the partitions of one shard are forwarded to.
pub(crate) struct ShardQueue {
    raw: NonNull<sys::rd_kafka_queue_t>,
    consumer: ConsumerHandle,
}

// SAFETY: librdkafka's queues lock themselves; every function called here may be called from any thread.
unsafe impl Send for ShardQueue {}
// SAFETY: as above.
unsafe impl Sync for ShardQueue {}

impl ShardQueue {
    /// A new, empty queue of `consumer`.
    pub(crate) fn new(consumer: &ConsumerHandle) -> Self {
        // SAFETY: the client pointer is valid while `consumer` lives.
        let raw = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { raw: NonNull::new(raw).expect("rd_kafka_queue_new allocates and cannot fail"), consumer: Arc::clone(consumer) }
    }

    /// Sends everything that is fetched for a partition to this queue, from now on and until the partition is unassigned. Must be done **before** the assignment is applied, at **every** assignment. Returns whether the client knows the partition.
    pub(crate) fn forward(&self, base: &BaseConsumer<Context>, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: client and topic name are valid for the call.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(base.client().native_ptr(), topic.as_ptr(), partition) };
        if queue.is_null() {
            return false;
        }
        // SAFETY: both queues are valid; librdkafka keeps its own reference to the target.
        unsafe { sys::rd_kafka_queue_forward(queue, self.raw.as_ptr()) };
        // SAFETY: the handle came from `rd_kafka_queue_get_partition` and is given up here once; the forward stays.
        unsafe { sys::rd_kafka_queue_destroy(queue) };
        true
    }

    /// What a forward that comes too late amounts to: the partition's records reach the consumer's own queue.
    #[cfg(test)]
    pub(crate) fn forward_past(&self, topic: &str, partition: i32) {
        // SAFETY: the client is valid while `consumer` lives.
        let own = unsafe { sys::rd_kafka_queue_get_consumer(self.consumer.client().native_ptr()) };
        let past = Self { raw: NonNull::new(own).expect("a consumer has a queue"), consumer: Arc::clone(&self.consumer) };
        assert!(past.forward(&self.consumer, topic, partition));
    }

    /// How much waits in it: records, and errors in their place.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the queue is valid until drop.
        unsafe { sys::rd_kafka_queue_length(self.raw.as_ptr()) }
    }

    /// Ends a wait inside [`Batch::fill`], or the next one.
    pub(crate) fn wake_consumer(&self) {
        // SAFETY: the queue is valid until drop.
        unsafe { sys::rd_kafka_queue_yield(self.raw.as_ptr()) };
    }

    /// For a producer that wakes it.
    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw.as_ptr()
    }

    /// The consumer whose queue this is.
    pub(crate) fn consumer(&self) -> &ConsumerHandle {
        &self.consumer
    }
}

impl Drop for ShardQueue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once, while the consumer is still alive.
        unsafe { sys::rd_kafka_queue_destroy(self.raw.as_ptr()) };
    }
}

/// A batch of messages that were consumed and not yet looked at.
pub(crate) struct Batch {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    filled: usize,
    next: usize,
    queue: Rc<KeptAlive>,
}

/// Keeps the queue alive for every message that came out of it. The messages of a shard never leave its thread, so they share one hold on the queue and count with plain additions.
struct KeptAlive(Arc<ShardQueue>);

impl Batch {
    /// A batch of at most `records_max` messages from `queue`.
    pub(crate) fn new(queue: &Arc<ShardQueue>, records_max: usize) -> Self {
        Self { messages: vec![ptr::null_mut(); records_max.max(1)], filled: 0, next: 0, queue: Rc::new(KeptAlive(Arc::clone(queue))) }
    }

    /// Takes up to `records_max` messages, and returns how many came. With a `wait` other than zero the call lasts until **all** of `records_max` are there or the time is over: so take what is there with no wait, and wait for a single one.
    pub(crate) fn fill(&mut self, records_max: usize, wait: Duration) -> usize {
        debug_assert_eq!(self.next, self.filled, "the last batch was wholly processed");
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let size = records_max.min(self.messages.len());
        // SAFETY: the queue lives in `self`, and the buffer has room for `size` pointers.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.queue.0.raw.as_ptr(), wait_ms, self.messages.as_mut_ptr(), size) };
        self.next = 0;
        // A negative count stands for an error of the call, which never fills the buffer.
        self.filled = usize::try_from(count).unwrap_or(0);
        self.filled
    }

    /// The next message, in the order of its partition.
    pub(crate) fn next(&mut self) -> Option<Message> {
        if self.next == self.filled {
            return None;
        }
        let raw = NonNull::new(self.messages[self.next]).expect("librdkafka fills as many pointers as it says");
        self.next += 1;
        Some(Message { raw, _queue: Rc::clone(&self.queue) })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// A consumed record, or an error that came in its place.
pub(crate) struct Message {
    raw: NonNull<sys::rd_kafka_message_t>,
    _queue: Rc<KeptAlive>,
}

/// Tells topics apart without reading their names. Meaningful while the topic's handle is held; see [`TopicHandle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicToken(usize);

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message is valid until `drop`, and nothing else changes it.
        unsafe { self.raw.as_ref() }
    }

    /// The error that came instead of a record.
    pub(crate) fn error(&self) -> Option<ErrorCode> {
        let code = self.raw().err;
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    /// The topic, as a token.
    pub(crate) fn topic(&self) -> TopicToken {
        TopicToken(self.raw().rkt.addr())
    }

    /// The topic's name.
    pub(crate) fn topic_name(&self) -> &str {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the topic is valid while the message is.
        let name = unsafe { sys::rd_kafka_topic_name(topic) };
        // SAFETY: a topic's name is a C string that lives as long as the topic.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("")
    }

    /// The partition.
    pub(crate) fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// The offset.
    pub(crate) fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// The key; `None` for a null key.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka gives a pointer to `key_len` bytes, or null; they live as long as the message.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// The value; `None` for a null value.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka gives a pointer to `len` bytes, or null; they live as long as the message.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// The record's timestamp in milliseconds since the epoch, if it has one.
    pub(crate) fn timestamp_ms(&self) -> Option<u64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` outlives the call.
        let timestamp = unsafe { sys::rd_kafka_message_timestamp(self.raw.as_ptr(), &raw mut kind) };
        u64::try_from(timestamp).ok().filter(|_| kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
    }

    /// Takes the record's headers out of it, if it has any.
    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        // SAFETY: the message is valid and ours.
        unsafe { Headers::detach(self.raw) }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message came from a consume call and is destroyed once; its consumer is still alive.
        unsafe { sys::rd_kafka_message_destroy(self.raw.as_ptr()) };
    }
}

/// # Safety
/// `data` is null or points to `len` bytes that live and stay unchanged for `'a`.
unsafe fn bytes<'a>(data: *mut c_void, len: usize) -> Option<&'a [u8]> {
    if data.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    Some(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// Keeps a source topic's native object alive, so that its [`TopicToken`] names no other topic.
pub(crate) struct TopicHandle {
    raw: NonNull<sys::rd_kafka_topic_t>,
    _consumer: ConsumerHandle,
}

// SAFETY: a topic handle is reference-counted under librdkafka's own lock; here it is only kept and released.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl TopicHandle {
    /// A handle of `topic`; `None` when the client refuses the name.
    pub(crate) fn new(consumer: &ConsumerHandle, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: client and name are valid; a null configuration means the defaults.
        let raw = unsafe { sys::rd_kafka_topic_new(consumer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        Some(Self { raw: NonNull::new(raw)?, _consumer: Arc::clone(consumer) })
    }

    /// The token that messages of this topic carry.
    pub(crate) fn token(&self) -> TopicToken {
        TopicToken(self.raw.as_ptr().addr())
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, given up once, before the client.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) };
    }
}
