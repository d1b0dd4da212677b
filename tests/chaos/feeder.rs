//! The thread that feeds the source topic, in bursts, and books what was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use harness::deadline;
use harness::kafka::producer_config;

use crate::books::Books;
use expressway_ingest::random::Random;

/// The books, shared by those who fill them.
pub(crate) type Shared = Arc<Mutex<Books>>;

/// The books, for one look.
pub(crate) fn open(books: &Shared) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often records are sent.
const SLICE: Duration = Duration::from_millis(50);
/// How long a record waits for others. An idempotent client has one request a partition under way, and its thread polls without pause once a record behind that has waited for so long: with three replicas on a busy machine, a second processor that the service does not have.
const LINGER_MS: &str = "200";
/// Slices of one strength.
const BURST_SLICES: u64 = 40;
/// How strong bursts are, in percent of the rate; on average 100.
const STRENGTHS: [u64; 6] = [10, 50, 80, 100, 130, 230];

/// Books delivery reports.
#[derive(Debug, Clone)]
struct Bookkeeper {
    books: Shared,
}

impl ClientContext for Bookkeeper {
    fn error(&self, _: KafkaError, _: &str) {
        // Brokers die here all the time; the client goes on by itself.
    }
}

impl ProducerContext for Bookkeeper {
    type DeliveryOpaque = Box<u32>;

    fn delivery(&self, report: &DeliveryResult<'_>, id: Box<u32>) {
        let mut books = open(&self.books);
        let position =
            |message: &rdkafka::message::BorrowedMessage<'_>| Some((usize::try_from(message.partition()).ok()?, usize::try_from(message.offset()).ok()?));
        match report.as_ref().ok().and_then(position) {
            Some(position) => books.acknowledged(position, *id),
            None => books.refused(*id),
        }
    }
}

/// What the feeding thread is told.
#[derive(Debug, Default)]
struct Orders {
    feeding: AtomicBool,
    ended: AtomicBool,
    sent: AtomicU64,
}

/// A feeder at work; it pauses until told to feed.
pub(crate) struct Feeder {
    orders: Arc<Orders>,
    books: Shared,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Feeder {
    /// A feeder of `topic`, records going round its partitions, `rate` a second on average.
    pub(crate) fn start(bootstrap: &str, topic: &str, partitions: i32, rate: u64, seed: u64, books: &Shared) -> Result<Self, String> {
        let orders = Arc::new(Orders::default());
        let mut source = Source { bootstrap: bootstrap.to_owned(), topic: topic.to_owned(), partitions, books: Arc::clone(books), producer: None, next: 0 };
        source.connect()?;
        let own = Arc::clone(&orders);
        let thread = std::thread::spawn(move || feed(&mut source, &own, rate, seed));
        Ok(Self { orders, books: Arc::clone(books), thread: Some(thread) })
    }

    /// Goes on.
    pub(crate) fn feed(&self) {
        self.orders.feeding.store(true, Ordering::SeqCst);
        self.thread.iter().for_each(|thread| thread.thread().unpark());
    }

    /// Records sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.orders.sent.load(Ordering::SeqCst)
    }

    /// Pauses and waits until every record is acknowledged or given up.
    pub(crate) fn settle(&mut self, limit: Duration) -> Result<(), String> {
        self.orders.feeding.store(false, Ordering::SeqCst);
        let done = deadline::until("every record acknowledged", limit, || {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Some(());
            }
            let books = open(&self.books);
            let known = books.owed + u64::try_from(books.refused_count()).unwrap_or(u64::MAX);
            (known >= self.sent()).then_some(())
        });
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return self.end().and_then(|()| Err("the feeder has ended".to_owned()));
        }
        done
    }

    /// Ends the thread.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.orders.ended.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.thread().unpark();
        thread.join().map_err(|_| "the feeder panicked".to_owned())?
    }
}

fn feed(source: &mut Source, orders: &Orders, rate: u64, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0xfeed);
    let slices = u64::try_from(Duration::from_secs(1).as_millis() / SLICE.as_millis()).unwrap_or(1);
    let (mut strength, mut slice) = (100, 0_u64);
    while !orders.ended.load(Ordering::SeqCst) {
        let begin = Instant::now();
        if orders.feeding.load(Ordering::SeqCst) {
            if slice % BURST_SLICES == 0 {
                strength = random.pick(&STRENGTHS).unwrap_or(100);
            }
            slice += 1;
            for _ in 0..(rate * strength / 100 / slices).max(1) {
                // Counted first, so that nobody takes a record for settled that is about to be sent.
                orders.sent.fetch_add(1, Ordering::SeqCst);
                source.send()?;
            }
        }
        while let Some(early) = (begin + SLICE).checked_duration_since(Instant::now()).filter(|early| !early.is_zero()) {
            std::thread::park_timeout(early);
        }
    }
    Ok(())
}

/// The producer and what it sends next.
struct Source {
    bootstrap: String,
    topic: String,
    partitions: i32,
    books: Shared,
    producer: Option<ThreadedProducer<Bookkeeper>>,
    next: u32,
}

impl Source {
    fn connect(&mut self) -> Result<(), String> {
        let mut config = producer_config(&self.bootstrap);
        config.set("compression.type", "lz4").set("reconnect.backoff.max.ms", "1000").set("linger.ms", LINGER_MS);
        let keeper = Bookkeeper { books: Arc::clone(&self.books) };
        self.producer = Some(config.create_with_context(keeper).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Sends the next record, waiting for room in the client's queue.
    fn send(&mut self) -> Result<(), String> {
        let id = self.next;
        self.next += 1;
        let (key, value) = (crate::record::key(id), crate::record::value(id));
        let partition = i32::try_from(id % self.partitions.unsigned_abs()).unwrap_or(0);
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(id)).key(&key).payload(&value).partition(partition);
        loop {
            let Some(producer) = &self.producer else { return Err("the feeder has no producer".to_owned()) };
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err((error, _)) => {
                    // An idempotent producer may meet its end when a broker loses its state; the next one is a fresh one.
                    open(&self.books).refused(id);
                    let fatal = producer.client().fatal_error().is_some();
                    return if fatal { self.connect() } else { Err(format!("record {id} cannot be sent: {error}")) };
                }
            }
        }
    }
}
