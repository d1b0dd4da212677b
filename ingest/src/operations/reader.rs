//! Reads parts of a topic, from a first offset to a last one, and knows when it has seen them whole.
//!
//! A part is whole when a record at or behind its end has come, or the client has said that the partition ends: offsets without a record (compaction, transaction markers) delay neither, and a log that has become shorter than the range is an error. Nothing is kept, so a range may be as long as it likes; the client's own queue is bounded. A broker that gives nothing for [`SILENCE_MAX`] ends the reading with the place where it stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::cluster::{ANSWER_WITHIN, Cluster, Range};
use super::header::{HeaderList, Position};
use super::selection::{Offsets, Selection};
use crate::error::Error;
use crate::kafka::client::{self, Context};

/// One wait for a record; after it, whoever reads gets a turn.
const TURN: Duration = Duration::from_millis(50);

/// How long the broker may give nothing while a range is not read to its end.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What reading comes upon.
pub(crate) enum Turn<'m> {
    /// A record of a range.
    Record(&'m BorrowedMessage<'m>),
    /// A partition's range has been read to its end.
    Ended(i32),
    /// Nothing for a moment.
    Idle,
}

/// Reads `ranges` of `topic`, the partitions side by side, each in order, until all are read or `take` breaks off. Returns whether all were read.
///
/// # Errors
/// When the topic cannot be read, or the broker falls silent; and those of `take`.
pub(crate) fn read(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    ranges: &[Range],
    take: &mut dyn FnMut(Turn<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<bool, Error> {
    let mut open: BTreeMap<i32, Open> = BTreeMap::new();
    for range in ranges {
        if range.from < range.to {
            open.insert(range.partition, Open { next: range.from, to: range.to });
        } else if take(Turn::Ended(range.partition))?.is_break() {
            return Ok(false);
        }
    }
    if open.is_empty() {
        return Ok(true);
    }
    let list = assign(consumer, topic, &open)?;
    let read = drain(consumer, topic, &mut open, take);
    // A pause outlives its assignment: the partition would stand still when it is read again.
    let freed = consumer.resume(&list).and_then(|()| consumer.unassign()).map_err(|error| unreadable(topic, error));
    read.and_then(|whole| freed.map(|()| whole))
}

/// One record, kept.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: HeaderList,
    /// Milliseconds since the Unix epoch, when the record has a time.
    pub(crate) time_ms: Option<i64>,
}

/// Fetches the record at `position`.
///
/// # Errors
/// When there is none, and why.
pub(crate) fn fetch(cluster: &Cluster, consumer: &BaseConsumer<Context>, position: &Position) -> Result<Fetched, Error> {
    let offsets = Offsets { from: Some(position.offset), to: Some(position.offset.saturating_add(1)) };
    let selection = Selection { partition: Some(position.partition), offsets: Some(offsets), since_ms: None };
    let ranges = selection.resolve(cluster, consumer, &position.topic).map_err(|error| match error {
        Error::Usage(why) => Error::Input(format!("there is no record {position}: {why}")),
        error => error,
    })?;
    let mut found = None;
    read(consumer, &position.topic, &ranges, &mut |turn| {
        if let Turn::Record(message) = turn {
            let headers = HeaderList::read(message).unwrap_or_default();
            let (key, value) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
            found = Some(Fetched { key, value, headers, time_ms: message.timestamp().to_millis() });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    found.ok_or_else(|| Error::Input(format!("there is no record at {position}: it was removed by compaction, or the offset is a transaction's marker")))
}

/// What is left of a range.
struct Open {
    next: i64,
    to: i64,
}

fn assign(consumer: &BaseConsumer<Context>, topic: &str, open: &BTreeMap<i32, Open>) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::with_capacity(open.len());
    for (&partition, range) in open {
        list.add_partition_offset(topic, partition, Offset::Offset(range.next)).map_err(|error| unreadable(topic, error))?;
    }
    consumer.assign(&list).map_err(|error| unreadable(topic, error))?;
    Ok(list)
}

fn drain(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    open: &mut BTreeMap<i32, Open>,
    take: &mut dyn FnMut(Turn<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<bool, Error> {
    let mut silence = Duration::ZERO;
    while !open.is_empty() {
        let ended = match consumer.poll(TURN) {
            Some(Ok(message)) => {
                silence = Duration::ZERO;
                let Some(range) = open.get_mut(&message.partition()) else { continue };
                range.next = range.next.max(message.offset() + 1);
                if message.offset() < range.to && take(Turn::Record(&message))?.is_break() {
                    return Ok(false);
                }
                (range.next >= range.to).then(|| message.partition())
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                silence = Duration::ZERO;
                if let Some(range) = open.get(&partition) {
                    reaches(consumer, topic, partition, range)?;
                }
                Some(partition)
            }
            quiet => {
                passing(topic, quiet.map(|found| found.map(drop)))?;
                silence += TURN;
                if silence > SILENCE_MAX {
                    return Err(silent(topic, open));
                }
                if take(Turn::Idle)?.is_break() {
                    return Ok(false);
                }
                None
            }
        };
        if let Some(partition) = ended.filter(|partition| open.remove(partition).is_some()) {
            stop(consumer, topic, partition)?;
            if take(Turn::Ended(partition))?.is_break() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The client stands at the end of a partition; the rest of the range must be offsets without a record.
fn reaches(consumer: &BaseConsumer<Context>, topic: &str, partition: i32, range: &Open) -> Result<(), Error> {
    let (_, high) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN).map_err(|error| unreadable(topic, error))?;
    let cut = || format!("the log of {topic}/{partition} was cut while it was read: it ends at {high}, and ended at {} before", range.to);
    if high >= range.to { Ok(()) } else { Err(Error::Surroundings { what: cut(), source: None }) }
}

/// Fetches no more of a partition that has been read.
fn stop(consumer: &BaseConsumer<Context>, topic: &str, partition: i32) -> Result<(), Error> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    consumer.pause(&list).map_err(|error| unreadable(topic, error))
}

/// Most errors pass, as the client tries again by itself; those that do not are told at once.
fn passing(topic: &str, found: Option<KafkaResult<()>>) -> Result<(), Error> {
    let Some(Err(error)) = found else { return Ok(()) };
    let lasting = [
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::UnknownTopic,
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::Authentication,
        RDKafkaErrorCode::Fatal,
    ];
    if error.rdkafka_error_code().is_some_and(|code| lasting.contains(&code) || client::is_unreadable(code)) { Err(unreadable(topic, error)) } else { Ok(()) }
}

fn unreadable(topic: &str, error: KafkaError) -> Error {
    Error::surroundings(format!("the topic {topic} cannot be read"), error)
}

fn silent(topic: &str, open: &BTreeMap<i32, Open>) -> Error {
    let places: Vec<String> = open.iter().map(|(partition, range)| format!("{topic}/{partition}/{} (of {})", range.next, range.to)).collect();
    Error::Surroundings { what: format!("the broker gave nothing for {} s; reading stands at {}", SILENCE_MAX.as_secs(), places.join(", ")), source: None }
}
