//! The real pipeline on librdkafka's mock brokers, in this process: for what a broker does not matter, its memory and the size of its batches.
//!
//! A mock partition keeps 100,000 records or 5 MiB and then silently drops the oldest, so a topic is filled with less than that and every result is counted by its acknowledgement instead of being read back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use expressway_engine::Program;
use expressway_ingest::pipeline::{self, Counters, Pipeline};
use expressway_ingest::tasks::NoIntegrations;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::clock::pause;
use crate::error::Error;
use crate::messages::Messages;

/// Partitions of the source and result topics.
const PARTITIONS: i32 = 16;

/// Source records of one partition: at 200 bytes each, well below what a mock partition keeps.
const RECORDS_PER_PARTITION_MAX: usize = 20_000;

/// How long anything may take: a group to form, all records to be worked on, the way out.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(1);

const SOURCE: &str = "source";
const RESULTS: &str = "results";
const DEAD_LETTERS: &str = "dead-letters";

/// Most records that a stand's source takes.
pub(crate) const RECORDS_MAX: usize = RECORDS_PER_PARTITION_MAX * PARTITIONS as usize;

/// Mock brokers with their topics.
pub(crate) struct Stand {
    cluster: MockCluster<'static, DefaultProducerContext>,
    records: usize,
}

fn failed(doing: &'static str) -> impl FnOnce(KafkaError) -> Error {
    move |error| Error::surroundings(doing, error)
}

impl Stand {
    /// Brokers whose source topic holds `messages`.
    pub(crate) fn filled_with(messages: &Messages) -> Result<Self, Error> {
        if messages.len() > RECORDS_MAX {
            return Err(Error::Usage(format!("{} records are asked for, the mock brokers keep {RECORDS_MAX}", messages.len())));
        }
        let cluster = MockCluster::new(1).map_err(failed("starting mock brokers"))?;
        for (topic, partitions) in [(SOURCE, PARTITIONS), (RESULTS, PARTITIONS), (DEAD_LETTERS, 1)] {
            cluster.create_topic(topic, partitions, 1).map_err(failed("making a topic"))?;
        }
        let stand = Self { cluster, records: messages.len() };
        stand.fill(messages)?;
        Ok(stand)
    }

    fn fill(&self, messages: &Messages) -> Result<(), Error> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers()).set("linger.ms", "5").set("compression.type", "lz4");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().map_err(failed("connecting to mock brokers"))?;
        for (message, partition) in messages.iter().zip((0..PARTITIONS).cycle()) {
            let mut next = BaseRecord::<(), [u8]>::to(SOURCE).partition(partition).payload(message);
            while let Err((error, back)) = producer.send(next) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed("filling a topic")(error));
                }
                next = back;
                pause(LOOK);
            }
        }
        producer.flush(PATIENCE).map_err(failed("filling a topic"))
    }

    /// Settings of a pipeline of that name, which is its group too.
    pub(crate) fn settings(&self, name: &str, shards: u32) -> pipeline::Settings {
        let options = [
            ("bootstrap.servers", self.cluster.bootstrap_servers()),
            ("group.id", name.to_owned()),
            // The mock answers a fetch that found nothing only when its wait is over, whatever has come in since.
            ("fetch.wait.max.ms", "5".to_owned()),
        ];
        pipeline::Settings {
            name: name.to_owned(),
            client_options: options.into_iter().map(|(option, value)| (option.to_owned(), value)).collect(),
            source_topics: vec![SOURCE.to_owned()],
            result_topic: RESULTS.to_owned(),
            dead_letter_topic: DEAD_LETTERS.to_owned(),
            shards,
            // Executions that wait are given up at the end.
            drain_timeout: Duration::from_millis(200),
            shutdown_timeout: Duration::from_secs(5),
            ..pipeline::Settings::default()
        }
    }

    /// Starts a pipeline and waits until all partitions are its own.
    pub(crate) fn start(&self, settings: pipeline::Settings, program: &Arc<Program>) -> Result<Running, Error> {
        let pipeline = Pipeline::start(settings, Arc::clone(program), Arc::new(NoIntegrations));
        let running = Running { pipeline: pipeline.map_err(|error| Error::surroundings("starting the pipeline", error))? };
        running.wait("the assignment", |pipeline| i32::try_from(pipeline.assigned().len()) == Ok(PARTITIONS))?;
        Ok(running)
    }

    /// Runs over the whole source once, from the assignment to the last acknowledgement.
    pub(crate) fn time(&self, settings: pipeline::Settings, program: &Arc<Program>) -> Result<Duration, Error> {
        let running = self.start(settings, program)?;
        let start = Instant::now();
        let records = self.records as u64;
        running.wait("the last acknowledgement", |pipeline| pipeline.counters().records_acknowledged >= records)?;
        let elapsed = start.elapsed();
        running.end()?;
        Ok(elapsed)
    }
}

/// A pipeline at work.
pub(crate) struct Running {
    pipeline: Pipeline,
}

impl Running {
    /// Waits until `done`.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut(&Pipeline) -> bool) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        while !done(&self.pipeline) {
            if let Some(error) = self.pipeline.failed() {
                return Err(Error::surroundings("running the pipeline", error));
            }
            if Instant::now() > end {
                return Err(Error::surroundings(format!("waiting for {what}"), format!("it does not come; counters: {:?}", self.pipeline.counters())));
            }
            pause(LOOK);
        }
        Ok(())
    }

    /// What it has counted.
    pub(crate) fn counters(&self) -> Counters {
        self.pipeline.counters()
    }

    /// Ends it, whatever is still open.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.pipeline.request_shutdown();
        self.pipeline.join(PATIENCE).map(drop).map_err(|error| Error::surroundings("ending the pipeline", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::{HEARTBEAT, program};

    #[test]
    fn a_pipeline_runs_over_the_whole_source() {
        let stand = Stand::filled_with(&Messages::generate(1_000, 1)).unwrap();
        let program = Arc::new(program(HEARTBEAT, "heartbeat").unwrap());
        assert!(stand.time(stand.settings("one", 1), &program).unwrap() > Duration::ZERO);
    }

    #[test]
    fn more_than_the_brokers_keep_is_refused() {
        let messages: Messages = std::iter::repeat_n("{}", RECORDS_MAX + 1).collect();
        assert_eq!(Stand::filled_with(&messages).err().unwrap().exit_code(), 2);
    }
}
