//! The thread that takes log records to their destination.
//!
//! It ends when the last shard has, after everything that was handed over.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{Chunk, Destination, Fates, Log, Logging};
use crate::kafka::{Profile, client, token};
use crate::pipeline::memory::BUFFERING_KBYTES_MIN;
use crate::pipeline::{Error, Settings};
use crate::thread;

/// Chunks that wait for the writer, all shards together: with [`CHUNK_BYTES_MAX`](super::CHUNK_BYTES_MAX) some 64 MiB.
const CHUNKS_MAX: usize = 64;
/// How long the writer waits for a chunk before it looks after the producer.
const IDLE: Duration = Duration::from_millis(100);
/// How long a record waits for room in the producer's queue before it is dropped.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// How long the producer's last records may take.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// Makes the shards' ends of a log.
pub(in crate::pipeline) struct Logs {
    logging: Logging,
    out: Sender<Chunk>,
    fates: Arc<Fates>,
}

impl Logs {
    /// One more end.
    pub(in crate::pipeline) fn log(&self) -> Log {
        Log::new(&self.logging, self.out.clone(), Arc::clone(&self.fates))
    }
}

/// A running writer.
pub(in crate::pipeline) struct Writer {
    fates: Arc<Fates>,
    /// Closed when the writer has ended.
    ended: Receiver<()>,
}

impl Writer {
    /// Opens the destination and starts the thread.
    ///
    /// # Errors
    /// The destination cannot be opened, or there is no thread to be had.
    pub(in crate::pipeline) fn start(settings: &Settings, logging: &Logging) -> Result<(Logs, Self), Error> {
        let fates = Arc::new(Fates::default());
        let mut target = Target::open(settings, &logging.destination, &fates)?;
        let (out, chunks) = bounded(CHUNKS_MAX);
        let (end, ended) = bounded::<()>(0);
        let thread_fates = Arc::clone(&fates);
        let body = move || {
            run(&chunks, &mut target, &thread_fates);
            drop(end);
        };
        let thread = thread::spawn(format!("{}-log", settings.name), body);
        thread.map_err(|error| Error::Thread(error.to_string()))?;
        Ok((Logs { logging: logging.clone(), out, fates: Arc::clone(&fates) }, Self { fates, ended }))
    }

    /// Log records written, and log records dropped.
    pub(in crate::pipeline) fn counts(&self) -> (u64, u64) {
        (self.fates.written.load(Ordering::Relaxed), self.fates.dropped.load(Ordering::Relaxed))
    }

    /// Waits until everything that was handed over is written, at most `wait`.
    pub(in crate::pipeline) fn join(&self, wait: Duration) {
        if thread::receive(&self.ended, wait) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the log of executions was not written to its end in time");
        }
    }
}

fn run(chunks: &Receiver<Chunk>, target: &mut Target, fates: &Fates) {
    loop {
        match thread::receive(chunks, IDLE) {
            Ok(chunk) => target.write(&chunk, fates),
            Err(RecvTimeoutError::Timeout) => target.idle(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    target.finish();
}

/// An open destination.
enum Target {
    Stdout,
    File(File),
    Topic { producer: BaseProducer<Context>, topic: String },
}

impl Target {
    fn open(settings: &Settings, destination: &Destination, fates: &Arc<Fates>) -> Result<Self, Error> {
        match destination {
            Destination::Stdout => Ok(Self::Stdout),
            Destination::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.map(Self::File).map_err(|error| Error::Log { destination: path.display().to_string(), detail: error.to_string() })
            }
            Destination::Topic(topic) => {
                let mut options = Profile::Throughput.options_below(settings.client_options.iter().map(|(option, _)| option.as_str()));
                options.extend(settings.client_options.iter().cloned());
                let config = client::producer_config(&options, BUFFERING_KBYTES_MIN);
                let producer: BaseProducer<_> = config.create_with_context(Context { fates: Arc::clone(fates) }).map_err(Error::Client)?;
                token::give(producer.client(), &config);
                Ok(Self::Topic { producer, topic: topic.clone() })
            }
        }
    }

    fn write(&mut self, chunk: &Chunk, fates: &Fates) {
        let written = match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&chunk.lines).and_then(|()| out.flush())
            }
            Self::File(file) => file.write_all(&chunk.lines),
            // Counted by the broker's answers.
            Self::Topic { producer, topic } => return produce(producer, topic, chunk, fates),
        };
        match written {
            Ok(()) => count(&fates.written, chunk.records()),
            Err(error) => {
                tracing::warn!(%error, records = chunk.records(), "log records of executions cannot be written");
                count(&fates.dropped, chunk.records());
            }
        }
    }

    fn idle(&self) {
        if let Self::Topic { producer, .. } = self {
            producer.poll(Duration::ZERO);
        }
    }

    fn finish(&self) {
        if let Self::Topic { producer, topic } = self
            && let Err(error) = producer.flush(FLUSH_WAIT)
        {
            tracing::warn!(topic, %error, "log records of executions were not acknowledged in time");
        }
    }
}

fn count(counter: &AtomicU64, records: u64) {
    counter.fetch_add(records, Ordering::Relaxed);
}

fn produce(producer: &BaseProducer<Context>, topic: &str, chunk: &Chunk, fates: &Fates) {
    for (line, arn) in chunk.each() {
        let mut sent = producer.send(BaseRecord::to(topic).payload(line).key(arn));
        if let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) = sent {
            // Answers make room; one wait is enough to learn whether there are any.
            producer.poll(ROOM_WAIT);
            sent = producer.send(record);
        }
        if let Err((error, _)) = sent {
            tracing::warn!(topic, %error, "a log record of an execution cannot be sent");
            count(&fates.dropped, 1);
        }
    }
    producer.poll(Duration::ZERO);
}

/// Counts what the broker answers.
struct Context {
    fates: Arc<Fates>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::log_error(&error, reason);
    }

    fn generate_oauth_token(&self, option: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::oauth_token(option)
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => count(&self.fates.written, 1),
            Err((error, _)) => {
                tracing::warn!(%error, "a log record of an execution was not acknowledged");
                count(&self.fates.dropped, 1);
            }
        }
    }
}
