//! The temporary topics of `tune`: made, filled, deleted.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::devices::{Devices, Settings};
use crate::error::Error;
use crate::kafka::token::Unheard;
use crate::kafka::{Profile, client, token};
use crate::operations::cluster::QUEUE_KBYTES;
use crate::pipeline::without_value;

/// How long a question to the broker may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Records that are written at most: enough for a run of some seconds, and no burden to a broker.
const FILL_RECORDS_MAX: u64 = 5_000_000;
/// Records between two looks at the clock.
const FILL_STEP: u64 = 500;
const DEVICES: u32 = 10_000;

/// A cluster with the topics of one run of `tune`.
pub(super) struct Cluster {
    options: Vec<(String, String)>,
    partitions: u32,
    admin: AdminClient<DefaultClientContext>,
    /// What the admin client was made with.
    config: ClientConfig,
    runtime: Runtime,
    source: String,
    steady: String,
    results: String,
}

impl Cluster {
    /// Connects and makes the topics.
    pub(super) fn connect(options: Vec<(String, String)>, partitions: u32) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| Error::surroundings("a runtime cannot be started", error))?;
        let mut config = ClientConfig::new();
        for (name, value) in options.iter().filter(|(name, _)| client::is_common(name)) {
            config.set(name, value);
        }
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(|error| Error::surroundings("the client cannot be made", without_value(error)))?;
        token::give(admin.inner(), &config);
        admin.inner().fetch_metadata(None, ANSWER_WITHIN).map_err(|error| Error::surroundings("no broker answers", error))?;
        let id = Clock::start().now().wall_ns / 1_000_000;
        let name = |part: &str| format!("expressway-tune-{id:x}-{part}");
        let cluster = Self { options, partitions, admin, config, runtime, source: name("source"), steady: name("steady"), results: name("results") };
        if let Err(error) = cluster.create() {
            // Some may have been made before the refusal.
            cluster.clear().ok();
            return Err(error);
        }
        Ok(cluster)
    }

    fn create(&self) -> Result<(), Error> {
        let count = i32::try_from(self.partitions).expect("bounded by the flag");
        let names = self.names();
        let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, count, TopicReplication::Fixed(-1))).collect();
        let answer = self.runtime.block_on(self.admin.create_topics(&topics, &admin_options()));
        for outcome in answer.map_err(|error| Error::surroundings("topics cannot be made", error))? {
            outcome.map_err(|(topic, code)| refused(&topic, code))?;
        }
        self.await_leaders()
    }

    fn await_leaders(&self) -> Result<(), Error> {
        let (clock, wanted) = (Clock::start(), usize::try_from(self.partitions).expect("bounded by the flag"));
        for name in self.names() {
            loop {
                let metadata = self.admin.inner().fetch_metadata(Some(name), ANSWER_WITHIN);
                let metadata = metadata.map_err(|error| Error::surroundings("no broker answers", error))?;
                let led = metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|partition| partition.leader() >= 0).count();
                if led == wanted {
                    break;
                }
                if u128::from(clock.now().monotonic_ns) > ANSWER_WITHIN.as_nanos() {
                    return Err(Error::Surroundings { what: format!("topic {name} has no leader for each partition"), source: None });
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Deletes the topics.
    pub(super) fn clear(&self) -> Result<(), Error> {
        // Nobody polls an admin client for its requests of a fresh token, and the first one may have expired during the run.
        token::give(self.admin.inner(), &self.config);
        let answer = self.runtime.block_on(self.admin.delete_topics(&self.names(), &admin_options()));
        let unknown = |code: RDKafkaErrorCode| matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic);
        for outcome in answer.map_err(|error| Error::surroundings("topics cannot be deleted", error))? {
            match outcome {
                Err((topic, code)) if !unknown(code) => {
                    return Err(Error::surroundings(format!("the temporary topic {topic} cannot be deleted"), KafkaError::AdminOp(code)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn names(&self) -> [&str; 3] {
        [&self.source, &self.steady, &self.results]
    }

    /// Options of all clients.
    pub(super) fn options(&self) -> &[(String, String)] {
        &self.options
    }

    pub(super) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The topic that is filled beforehand.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The topic that is written while it is read.
    pub(super) fn steady(&self) -> &str {
        &self.steady
    }

    pub(super) fn results(&self) -> &str {
        &self.results
    }

    /// A producer of load, which keeps no order by idempotence and so never waits for an answer.
    pub(super) fn sender(&self) -> Result<ThreadedProducer<Unheard>, Error> {
        let mut options = Profile::Throughput.options_below(self.options.iter().map(|(name, _)| name.as_str()));
        options.extend(self.options.iter().cloned());
        let mut config = client::producer_config(&options, QUEUE_KBYTES);
        config.set("enable.idempotence", "false").set("acks", "1").set("message.send.max.retries", "0");
        let sender: ThreadedProducer<Unheard> =
            config.create_with_context(Unheard).map_err(|error| Error::surroundings("the client cannot be made", without_value(error)))?;
        token::give(sender.client(), &config);
        Ok(sender)
    }

    /// Writes heartbeats for so long, and returns how many.
    pub(super) fn fill(&self, time: Duration, clock: Clock) -> Result<u64, Error> {
        let sender = self.sender()?;
        let mut devices = Devices::new(Settings { devices: DEVICES, broken_per_10000: 0, seed: 1 });
        let end_ns = clock.now().monotonic_ns + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut sent = 0;
        while sent < FILL_RECORDS_MAX && clock.now().monotonic_ns < end_ns {
            for _ in 0..FILL_STEP {
                send(&sender, &self.source, sent, self.partitions, &mut devices)?;
                sent += 1;
            }
        }
        sender.flush(ANSWER_WITHIN).map_err(|error| Error::surroundings("the broker does not take the records in time", error))?;
        Ok(sent)
    }
}

/// Sends heartbeat number `index`, waiting while the client's queue is full.
pub(super) fn send(sender: &ThreadedProducer<Unheard>, topic: &str, index: u64, partitions: u32, devices: &mut Devices) -> Result<(), Error> {
    let record = devices.next_record();
    let partition = i32::try_from(index % u64::from(partitions)).expect("a partition's number fits");
    let mut next = BaseRecord::to(topic).partition(partition).key(record.key).payload(record.value.unwrap_or_default());
    loop {
        match sender.send(next) {
            Ok(()) => return Ok(()),
            Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                next = back;
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(Error::surroundings("records cannot be sent", error)),
        }
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN))
}

/// Why a topic was not made, and what to do.
fn refused(topic: &str, code: RDKafkaErrorCode) -> Error {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, PolicyViolation, TopicAuthorizationFailed};
    let what = match code {
        TopicAuthorizationFailed | ClusterAuthorizationFailed => {
            format!(
                "tune has no right to make its temporary topic {topic}; it needs CREATE, DELETE, READ and WRITE on topics whose names begin with expressway-tune-"
            )
        }
        PolicyViolation => format!("a policy of the cluster forbids the temporary topic {topic}"),
        _ => format!("the temporary topic {topic} cannot be made"),
    };
    Error::surroundings(what, KafkaError::AdminOp(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_told_with_what_is_needed() {
        let error = refused("expressway-tune-1-source", RDKafkaErrorCode::TopicAuthorizationFailed);
        assert!(error.sentence().contains("CREATE, DELETE, READ and WRITE"), "{}", error.sentence());
        assert_eq!(error.exit_code(), crate::error::EXIT_SURROUNDINGS);
    }
}
