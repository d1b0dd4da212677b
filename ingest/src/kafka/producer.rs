//! The producer: records with headers in, delivery reports in batches out.
//!
//! A [`Bundle`] is one `rd_kafka_produce_batch` with a prepared topic handle and an explicit partition, which reads the clock, takes the topic's lock and finds the partition once. That call takes no headers, so they are put into each message by an `on_send` interceptor, which librdkafka runs on this thread after it has made the message and before it puts it into a queue. Its documentation asks interceptors to change nothing; in the source of 2.12.1 the headers are an ordinary field there that nothing has read yet, and a test sends a bundle through to see them arrive.
//!
//! Payload and key are copied by librdkafka; a delivery report gives them back, with the headers, so whoever must send a record again needs no copy of its own, and whoever sends the next record can use the header list again.

#![expect(unsafe_code, reason = "delivery reports in batches and prepared topic handles exist only in librdkafka's C interface")]

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaType;
use rdkafka_sys as sys;

use crate::clock::Clock;
use crate::thread;

use super::{Bundle, ErrorCode, Headers, Rejected, ShardQueue, Transactions, client, token};

/// Passes the client's log lines and errors on, and keeps what its interceptor needs.
pub(crate) struct ProducerContext {
    _attachments: Owner,
}

impl ClientContext for ProducerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }
}

pub(super) type SharedClient = Arc<Client<ProducerContext>>;

/// Header lists for the messages of the batch call that is running: each with the number of its record, in order.
#[derive(Default)]
struct Attachments {
    lists: Vec<(u64, *mut sys::rd_kafka_headers_t)>,
    next: usize,
}

/// Attachments that are shared by pointer. Belongs to the client's context, which the binding drops behind the native client, whoever holds that last: `rd_kafka_destroy` returns when the client's threads have ended and the interceptor is forgotten. The interceptor runs in no thread of the client anyway, but in calls of a [`Producer`], which holds the client.
struct Owner(NonNull<Attachments>);

// SAFETY: nobody looks into the attachments through this value; it only frees them, when no call can be running.
unsafe impl Send for Owner {}

// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Owner {
    fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::<Attachments>::default())))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: made from a box in `new`, and freed once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// An idempotent producer that belongs to one shard.
pub(crate) struct Producer {
    queue: NonNull<sys::rd_kafka_queue_t>,
    client: SharedClient,
    /// Shared with the interceptor, which runs inside calls of this value only. Freed with the client.
    attachments: NonNull<Attachments>,
    messages: Vec<sys::rd_kafka_message_t>,
    /// Woken when reports come; see [`Producer::wake_on_reports`].
    woken: Option<Arc<ShardQueue>>,
}

// SAFETY: the queue belongs to the client, both lock themselves; attachments and messages are used inside calls only, and the type is not shared between threads.
unsafe impl Send for Producer {}

/// Registers the interceptor at a client that is being made.
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _errstr: *mut std::ffi::c_char,
    _errstr_size: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the client is the one being made, and the opaque pointer is passed on as it came.
    unsafe { sys::rd_kafka_interceptor_add_on_send(rk, INTERCEPTOR.as_ptr(), Some(on_send), opaque) }
}

/// Puts the headers of the batch's next record into its message.
unsafe extern "C" fn on_send(_rk: *mut sys::rd_kafka_t, message: *mut sys::rd_kafka_message_t, opaque: *mut c_void) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the pointer given at registration, to a value that only the sending thread uses, inside the call that has led here.
    let attachments = unsafe { &mut *opaque.cast::<Attachments>() };
    // SAFETY: librdkafka gives a valid message.
    let number = unsafe { (*message)._private }.addr() as u64;
    // Records that the client refuses get no message, so their lists are passed over.
    while let Some((record, list)) = attachments.lists.get_mut(attachments.next) {
        attachments.next += 1;
        if *record == number {
            let list = std::mem::replace(list, ptr::null_mut());
            // SAFETY: the list is ours until here and the message's from here on; the message is in no queue yet.
            unsafe { sys::rd_kafka_message_set_headers(message, list) };
            break;
        }
    }
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

const INTERCEPTOR: &CStr = c"headers";

/// Between two questions about a topic, see [`Producer::connect`].
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// What the main queue holds.
const EVENTS: i32 = sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_STATS | sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;

impl Producer {
    /// A producer with success reports on.
    pub(crate) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let native = config.create_native_config()?;
        // SAFETY: the configuration is valid and not yet given to a client.
        unsafe { sys::rd_kafka_conf_set_events(native.ptr(), EVENTS) };
        // The client may outlive this value through its topics and its transactions.
        let owner = Owner::new();
        let attachments = owner.0;
        // SAFETY: as above; name and callback live for ever, and the opaque pointer for as long as the client.
        let code = unsafe { sys::rd_kafka_conf_interceptor_add_on_new(native.ptr(), INTERCEPTOR.as_ptr(), Some(on_new), attachments.as_ptr().cast()) };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::Global(code.into()));
        }
        let client = Arc::new(Client::new(config, native, RDKafkaType::RD_KAFKA_PRODUCER, ProducerContext { _attachments: owner })?);
        token::give(&client, config);
        // SAFETY: the client is alive; the handle is given up in `drop`, before it.
        let queue = unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) };
        Ok(Self { queue: NonNull::new(queue).expect("a client has a main queue"), client, attachments, messages: Vec::new(), woken: None })
    }

    /// Lets reports end a wait for records of `queue`, and of no other any more, so that whoever serves both needs no short waits.
    pub(crate) fn wake_on_reports(&mut self, queue: Arc<ShardQueue>) {
        let target = queue.as_ptr().cast::<c_void>();
        // The queue is kept for as long as it may be woken: `drop` ends that first, and the one before is kept until it is replaced.
        let before = self.woken.replace(queue);
        // SAFETY: both queues are valid, and the callback may be called from any thread.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), Some(on_report), target) };
        drop(before);
    }

    /// A handle of `topic` to send to.
    pub(crate) fn topic(&self, topic: &str) -> KafkaResult<Topic> {
        let name = CString::new(topic)?;
        // SAFETY: client and name are valid; a null configuration means the defaults.
        let raw = unsafe { sys::rd_kafka_topic_new(self.client.native_ptr(), name.as_ptr(), ptr::null_mut()) };
        let raw = NonNull::new(raw).ok_or_else(|| KafkaError::Global(ErrorCode::InvalidTopic))?;
        Ok(Topic { raw, _client: Arc::clone(&self.client) })
    }

    /// Has the client ask for the id under which an idempotent producer sends, instead of with the first records. librdkafka 2.12.1 does so when a broker answers a question about topics, and else every half second; the broker behind the first address is asked first, whom it lets go for the node that it turns out to be, so it is asked until a node answers. Waits for `wait` at most; nothing depends on what came of it.
    pub(crate) fn connect(&self, topic: &Topic, clock: &Clock, wait: Duration) {
        let begun_ns = clock.now().monotonic_ns;
        while let Some(left) = wait.checked_sub(Duration::from_nanos(clock.now().monotonic_ns - begun_ns)) {
            if self.has_node_answered(topic, left) {
                return;
            }
            thread::park_timeout(ASK_AGAIN_AFTER.min(left));
        }
    }

    /// Asks whatever broker is connected about `topic`; whether it was a node of the cluster and not just an address.
    fn has_node_answered(&self, topic: &Topic, wait: Duration) -> bool {
        let (mut found, wait_ms) = (ptr::null(), i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: client and topic are valid, and so is the place for the answer.
        let code = unsafe { sys::rd_kafka_metadata(self.client.native_ptr(), 0, topic.raw.as_ptr(), &raw mut found, wait_ms) };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || found.is_null() {
            return false;
        }
        // SAFETY: without an error there is an answer, which is ours.
        let node = unsafe { (*found).orig_broker_id };
        // SAFETY: given up once.
        unsafe { sys::rd_kafka_metadata_destroy(found) };
        node >= 0
    }

    /// Puts all records of a bundle into the producer's queue, in order, and empties it. Payloads and keys are copied. Returns how many the client has taken, for each of which a [`Report`] will come; the others are told.
    pub(crate) fn send_bundle(&mut self, topic: &Topic, partition: i32, bundle: &mut Bundle, mut rejected: impl FnMut(Rejected<'_>)) -> usize {
        let count = bundle.len();
        self.messages.clear();
        self.messages.extend(bundle.parts().map(|(key, value, opaque)| blank(key, value, opaque)));
        let lists =
            (0..count).map(|index| (self.messages[index]._private.addr() as u64, bundle.take_headers(index).map_or(ptr::null_mut(), Headers::into_raw)));
        // SAFETY: no call of the client is running, so nobody else looks at the attachments.
        let attachments = unsafe { self.attachments.as_mut() };
        attachments.next = 0;
        attachments.lists.clear();
        attachments.lists.extend(lists);
        let (messages, size) = (self.messages.as_mut_ptr(), i32::try_from(count).expect("a bundle's size is bounded"));
        // SAFETY: topic and messages are valid, and their payloads and keys live in the bundle; they are copied because of `RD_KAFKA_MSG_F_COPY`. The interceptor uses the attachments through the pointer of its own, and the reference above is not used meanwhile.
        unsafe { sys::rd_kafka_produce_batch(topic.raw.as_ptr(), partition, sys::RD_KAFKA_MSG_F_COPY, messages, size) };
        // SAFETY: the call is over.
        let attachments = unsafe { self.attachments.as_mut() };
        let mut taken = 0;
        for (index, (_, list)) in attachments.lists.drain(..).enumerate() {
            match NonNull::new(list) {
                None => taken += 1,
                Some(list) => bundle.return_headers(index, Headers::from_raw(list)),
            }
        }
        let messages = &self.messages;
        if taken < count {
            let mut codes = messages.iter().map(|message| message.err).filter(|code| *code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
            bundle.drain(|key, value, headers, opaque| {
                let code = codes.next().map_or(ErrorCode::Fail, ErrorCode::from);
                rejected(Rejected { key, value, headers, opaque, code });
            });
        }
        bundle.clear();
        taken
    }

    /// Serves what the broker answered, waiting up to `wait` for the first answer, and returns the number of reports. Also passes on the client's log lines.
    pub(crate) fn reports(&self, wait: Duration, mut each: impl FnMut(Report<'_>)) -> usize {
        let mut count = 0;
        let mut wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        loop {
            // SAFETY: the queue is valid until `drop`.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms) };
            let Some(event) = NonNull::new(event) else { return count };
            let event = Event(event);
            if event.kind() == sys::RD_KAFKA_EVENT_DR {
                count += event.each_report(&mut each);
            } else if event.kind() == sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH {
                token::renew(&self.client, &event.config());
            } else {
                event.log();
            }
            wait_ms = 0;
        }
    }

    /// Waits until every record was reported or `wait` is over, with the linger time cut short. Reports still have to be served.
    pub(crate) fn flush_linger(&self, wait: Duration) {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is valid. With delivery reports as events the call serves none itself.
        unsafe { sys::rd_kafka_flush(self.client.native_ptr(), wait_ms) };
    }

    /// Records that were given to the client and neither written nor reported.
    pub(crate) fn unwritten(&self) -> usize {
        // SAFETY: the client is valid.
        let count = unsafe { sys::rd_kafka_outq_len(self.client.native_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The producer's transactional calls.
    pub(crate) fn transactions(&self) -> Transactions {
        Transactions::new(Arc::clone(&self.client))
    }

    /// The error that made the client useless, if there is one.
    pub(crate) fn fatal_error(&self) -> Option<(ErrorCode, String)> {
        self.client.fatal_error()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: the queue is valid. The call takes the queue's lock, under which the callback runs, so afterwards it is not running and never will.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut()) };
        // SAFETY: the handle came from `rd_kafka_queue_get_main` and is given up once, before the client.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Reports have come into an empty queue: wakes the shard's other queue, on a thread of the client.
unsafe extern "C" fn on_report(_rk: *mut sys::rd_kafka_t, target: *mut c_void) {
    // SAFETY: the queue given to `wake_on_reports`, which is kept until the callback is taken back.
    unsafe { sys::rd_kafka_queue_yield(target.cast()) };
}

/// A message for the batch call.
fn blank(key: Option<&[u8]>, value: Option<&[u8]>, opaque: u64) -> sys::rd_kafka_message_t {
    let part = |bytes: Option<&[u8]>| bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()));
    let ((key, key_len), (payload, len)) = (part(key), part(value));
    sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: ptr::without_provenance_mut(usize::try_from(opaque).expect("this code is built for 64-bit machines")),
    }
}

/// A topic to send to.
pub(crate) struct Topic {
    raw: NonNull<sys::rd_kafka_topic_t>,
    _client: SharedClient,
}

// SAFETY: the topic is reference-counted under librdkafka's own lock.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, given up once, before the client.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) };
    }
}

/// What became of one record.
pub(crate) struct Report<'e> {
    message: NonNull<sys::rd_kafka_message_t>,
    _event: PhantomData<&'e Event>,
}

impl Report<'_> {
    fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the report's record is valid while the event is.
        unsafe { self.message.as_ref() }
    }

    /// What the record was given to the client with.
    pub(crate) fn opaque(&self) -> u64 {
        self.message()._private.addr() as u64
    }

    /// Why the record was not written; `None` when it was acknowledged.
    pub(crate) fn error(&self) -> Option<ErrorCode> {
        let code = self.message().err;
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    /// Whether it was sent to `topic`.
    pub(crate) fn is_of(&self, topic: &Topic) -> bool {
        ptr::eq(self.message().rkt, topic.raw.as_ptr())
    }

    /// The partition it was sent to.
    pub(crate) fn partition(&self) -> i32 {
        self.message().partition
    }

    /// The record's key.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the report's record is valid while the event is.
        unsafe { bytes(self.message().key, self.message().key_len) }
    }

    /// The record's value.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the report's record is valid while the event is.
        unsafe { bytes(self.message().payload, self.message().len) }
    }

    /// Takes the record's headers out of it.
    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        // SAFETY: the record is valid, and the only one who will look at it again is the one who destroys it.
        unsafe { Headers::detach(self.message) }
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

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn kind(&self) -> i32 {
        // SAFETY: the event is valid until `drop`.
        unsafe { sys::rd_kafka_event_type(self.0.as_ptr()) }
    }

    /// The configuration that a request for a token comes with.
    fn config(&self) -> String {
        // SAFETY: the event is valid.
        let config = unsafe { sys::rd_kafka_event_config_string(self.0.as_ptr()) };
        // SAFETY: a C string that lives as long as the client, or null.
        unsafe { text_of(config) }.into_owned()
    }

    fn each_report(&self, each: &mut impl FnMut(Report<'_>)) -> usize {
        const CHUNK: usize = 256;
        let mut messages: [*const sys::rd_kafka_message_t; CHUNK] = [ptr::null(); CHUNK];
        let mut count = 0;
        loop {
            // SAFETY: the event is valid and the buffer has room for `CHUNK` pointers.
            let got = unsafe { sys::rd_kafka_event_message_array(self.0.as_ptr(), messages.as_mut_ptr(), CHUNK) };
            if got == 0 {
                return count;
            }
            for message in &messages[..got] {
                let message = NonNull::new(message.cast_mut()).expect("librdkafka fills as many pointers as it says");
                each(Report { message, _event: PhantomData });
            }
            count += got;
        }
    }

    fn log(&self) {
        if self.kind() == sys::RD_KAFKA_EVENT_LOG {
            let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the event is a log event and the three places are valid.
            let code = unsafe { sys::rd_kafka_event_log(self.0.as_ptr(), &raw mut facility, &raw mut text, &raw mut level) };
            if code == 0 {
                // SAFETY: a C string that lives as long as the event, or null.
                let facility = unsafe { text_of(facility) };
                // SAFETY: likewise.
                let text = unsafe { text_of(text) };
                client::log(client::log_level(level), facility.trim(), text.trim());
            }
        } else if self.kind() == sys::RD_KAFKA_EVENT_ERROR {
            // SAFETY: the event is valid.
            let code = unsafe { sys::rd_kafka_event_error(self.0.as_ptr()) };
            // SAFETY: the event is valid.
            let reason = unsafe { sys::rd_kafka_event_error_string(self.0.as_ptr()) };
            // SAFETY: a C string that lives as long as the event, or null.
            client::log_error(&KafkaError::Global(code.into()), &unsafe { text_of(reason) });
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `text` is null or a C string that lives for `'a`.
unsafe fn text_of<'a>(text: *const std::ffi::c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return std::borrow::Cow::Borrowed("");
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_freed_with_the_client_whoever_holds_it_last() {
        let mut producer = Producer::new(&client::producer_config(&[], 1_000)).unwrap();
        // Their owner belongs to it.
        let context = Arc::downgrade(producer.client.context());
        let (topic, transactions) = (producer.topic("results").unwrap(), producer.transactions());
        let mut bundle = Bundle::default();
        bundle.push(None, Some(b"{}"), Headers::with_capacity(1), 7);
        assert_eq!(producer.send_bundle(&topic, 0, &mut bundle, |_| {}), 1);
        drop(producer);
        assert!(context.strong_count() > 0, "the topic and the transactions hold the client");
        drop(topic);
        assert!(context.strong_count() > 0, "the transactions hold the client");
        drop(transactions);
        assert!(context.strong_count() == 0, "nobody holds the client");
    }
}
