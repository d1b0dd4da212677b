//! The thread that reads everything that comes out, books it, and times how long nothing new came after a kill.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::kafka;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::books::{Booked, End, Outcome};
use crate::feeder::{Shared, open};

/// How long a look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(50);
/// Silence, while something is owed, after which the auditor does not trust its own client.
const SILENCE: Duration = Duration::from_secs(20);

/// Times one kill, with nothing else wrong beside it.
#[derive(Debug, Clone)]
pub(crate) struct Stopwatch {
    /// When the process was killed.
    since: Instant,
    /// The end of each partition of the results after that.
    ends: Vec<i64>,
    /// When each partition had a new result, of a record that had none.
    seen: Vec<Option<Duration>>,
    /// Whether something else went wrong before every partition had one.
    is_disturbed: bool,
    /// For how long this very program did not come to run meanwhile, when it should have.
    stalled: Duration,
    /// Whether its end was told.
    is_told: bool,
}

/// What a watch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It runs, or says nothing about the kill.
    None,
    /// The machine or its brokers stood still meanwhile, so the time is not the service's.
    Stalled,
    /// Every partition had a new result, or had none for so long.
    Took(Duration),
}

/// A watch that runs for so long is at its end.
pub(crate) const WATCH_LIMIT: Duration = Duration::from_secs(20);
/// How long this program may be kept from running while a kill is timed.
const STALL_MAX: Duration = Duration::from_millis(500);

impl Stopwatch {
    /// A watch on a process killed at `since`; what lies before `ends` is older.
    pub(crate) fn new(since: Instant, ends: Vec<i64>) -> Self {
        Self { since, seen: vec![None; ends.len()], ends, is_disturbed: false, stalled: Duration::ZERO, is_told: false }
    }

    fn look(&mut self, partition: i32, offset: i64) {
        let Ok(index) = usize::try_from(partition) else { return };
        if let (Some(end), Some(seen)) = (self.ends.get(index), self.seen.get_mut(index))
            && offset >= *end
        {
            seen.get_or_insert(self.since.elapsed());
        }
    }

    /// Whether it has not come to its end.
    pub(crate) fn runs(&self) -> bool {
        !self.is_disturbed && self.every().is_none() && self.since.elapsed() < WATCH_LIMIT
    }

    /// Something else goes wrong from here on.
    pub(crate) fn disturb(&mut self) {
        self.is_disturbed |= self.runs();
    }

    /// This program was kept from running for so long.
    pub(crate) fn stall(&mut self, late: Duration) {
        if self.runs() {
            self.stalled += late;
        }
    }

    /// What it came to.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.is_disturbed || self.runs() {
            Verdict::None
        } else if self.stalled > STALL_MAX {
            Verdict::Stalled
        } else {
            Verdict::Took(self.every().unwrap_or(WATCH_LIMIT))
        }
    }

    /// What it came to, once: after how many milliseconds each partition had a new result.
    pub(crate) fn tell(&mut self) -> Option<String> {
        if self.runs() || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let after: Vec<_> = self.seen.iter().map(|seen| seen.map_or_else(|| "none".to_owned(), |seen| seen.as_millis().to_string())).collect();
        let beside = if self.is_disturbed { ", with other faults beside it".to_owned() } else { format!(", {} ms stalled", self.stalled.as_millis()) };
        Some(format!("new results after the kill, by partition: {} ms{beside}", after.join(", ")))
    }

    /// How long it was until every partition had a new result; `None` while one has none.
    fn every(&self) -> Option<Duration> {
        self.seen.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

#[derive(Debug, Default)]
struct Orders {
    ended: AtomicBool,
    watches: Mutex<Vec<Stopwatch>>,
}

/// An auditor at work.
pub(crate) struct Auditor {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Auditor {
    /// Reads `results` and `dead_letters`, which are of `source`, from their beginning.
    pub(crate) fn start(bootstrap: &str, source: &str, results: &str, dead_letters: &str, partitions: i32, books: &Shared) -> Result<Self, String> {
        let mut config = kafka::config(bootstrap);
        config.set("group.id", "auditor").set("enable.auto.commit", "false").set("reconnect.backoff.max.ms", "1000").set("queued.min.messages", "10000");
        // What a transaction has not committed is no outcome.
        config.set("isolation.level", "read_committed");
        let from =
            [results, dead_letters].into_iter().flat_map(|topic| (0..partitions).map(move |partition| ((topic.to_owned(), partition), Offset::Beginning)));
        let mut reader = Reader { config, from: from.collect() };
        let mut consumer = reader.consumer()?;
        let orders = Arc::new(Orders::default());
        let (own, source, results, books) = (Arc::clone(&orders), source.to_owned(), results.to_owned(), Arc::clone(books));
        let thread = std::thread::spawn(move || audit(&mut reader, &mut consumer, &source, &results, &books, &own));
        Ok(Self { orders, thread: Some(thread) })
    }

    /// The watches that run, and those that are done.
    pub(crate) fn watches(&self) -> MutexGuard<'_, Vec<Stopwatch>> {
        self.orders.watches()
    }

    /// Whether the thread has given up.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the thread.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.orders.ended.store(true, Ordering::SeqCst);
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(|_| "the auditor panicked".to_owned())?)
    }
}

impl Orders {
    fn watches(&self) -> MutexGuard<'_, Vec<Stopwatch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the auditor reads on, whatever becomes of its client.
struct Reader {
    config: ClientConfig,
    from: BTreeMap<(String, i32), Offset>,
}

impl Reader {
    fn consumer(&self) -> Result<BaseConsumer, String> {
        let consumer: BaseConsumer = self.config.create().map_err(|error| error.to_string())?;
        let mut from = TopicPartitionList::new();
        for ((topic, partition), offset) in &self.from {
            from.add_partition_offset(topic, *partition, *offset).map_err(|error| error.to_string())?;
        }
        consumer.assign(&from).map_err(|error| error.to_string())?;
        Ok(consumer)
    }

    fn has_read(&mut self, message: &BorrowedMessage<'_>) {
        if let Some(from) = self.from.get_mut(&(message.topic().to_owned(), message.partition())) {
            *from = Offset::Offset(message.offset() + 1);
        }
    }
}

fn audit(reader: &mut Reader, consumer: &mut BaseConsumer, source: &str, results: &str, books: &Shared, orders: &Orders) -> Result<(), String> {
    let mut heard = Instant::now();
    while !orders.ended.load(Ordering::SeqCst) {
        match consumer.poll(LOOK) {
            None => {
                let is_owed = {
                    let mut books = open(books);
                    books.rebook();
                    books.owed > books.settled
                };
                // After an outage the client was seen to fetch nothing more although there was something: a fault of the auditor's, not of what it judges.
                if is_owed && heard.elapsed() >= SILENCE {
                    eprintln!("the auditor has read nothing for {} s, its client is made anew", SILENCE.as_secs());
                    *consumer = reader.consumer()?;
                    heard = Instant::now();
                }
            }
            Some(Ok(message)) => {
                heard = Instant::now();
                let is_result = message.topic() == results;
                let booked = book(&message, source, is_result, books);
                if booked == Some(Booked::First) && is_result {
                    orders.watches().iter_mut().for_each(|watch| watch.look(message.partition(), message.offset()));
                }
                reader.has_read(&message);
            }
            // Brokers come and go; the limit of a round ends what does not come back.
            Some(Err(KafkaError::MessageConsumption(_))) => {}
            Some(Err(error)) => return Err(format!("the results cannot be read: {error}")),
        }
    }
    Ok(())
}

fn book(message: &BorrowedMessage<'_>, source: &str, is_result: bool, books: &Shared) -> Option<Booked> {
    let position = header(message, "expressway-source").and_then(|header| position(&header, source));
    let Some(position) = position else {
        open(books).nameless(&format!("{}/{}/{} names no record of {source}", message.topic(), message.partition(), message.offset()));
        return None;
    };
    let text = |name: &str, absent: &str| header(message, name).unwrap_or_else(|| absent.to_owned());
    let end = if is_result {
        // With few headers the status of what succeeded goes without saying, and the name follows from the position.
        End::Result(text("expressway-status", "SUCCEEDED"), text("expressway-execution", &format!("{source}-{}-{}", position.0, position.1)))
    } else {
        End::DeadLetter(text("expressway-reason", ""))
    };
    let version = header(message, "expressway-version");
    let bytes = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
    Some(open(books).outcome(Outcome { position, key: bytes(message.key()), value: bytes(message.payload()), version, end }))
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

fn position(header: &str, source: &str) -> Option<(usize, usize)> {
    let (partition, offset) = header.strip_prefix(source)?.strip_prefix('/')?.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_stops_when_every_partition_has_something_new() {
        let mut watch = Stopwatch::new(Instant::now(), vec![10, 20]);
        watch.look(0, 9);
        watch.look(1, 20);
        assert!(watch.runs() && watch.tell().is_none());
        watch.look(0, 10);
        assert!(!watch.runs() && matches!(watch.verdict(), Verdict::Took(_)) && watch.tell().is_some() && watch.tell().is_none());
        watch.disturb();
        assert!(matches!(watch.verdict(), Verdict::Took(_)), "what comes afterwards does not matter");
    }

    #[test]
    fn a_watch_says_nothing_when_something_else_goes_wrong_or_the_machine_stands_still() {
        let watch = || Stopwatch::new(Instant::now(), vec![0]);
        let mut disturbed = watch();
        disturbed.disturb();
        assert!(!disturbed.runs() && disturbed.verdict() == Verdict::None);
        let mut stalled = watch();
        stalled.stall(STALL_MAX * 2);
        stalled.look(0, 0);
        assert_eq!(stalled.verdict(), Verdict::Stalled);
        let endless = Stopwatch { since: Instant::now().checked_sub(WATCH_LIMIT).unwrap(), ..watch() };
        assert_eq!(endless.verdict(), Verdict::Took(WATCH_LIMIT));
    }

    #[test]
    fn a_position_is_read_from_its_header() {
        assert_eq!(position("chaos/3/17", "chaos"), Some((3, 17)));
        assert_eq!((position("other/3/17", "chaos"), position("chaos/3", "chaos"), position("chaos/3/-1", "chaos")), (None, None, None));
    }
}
