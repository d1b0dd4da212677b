//! Why a pipeline cannot start or had to stop.

use std::fmt;

use rdkafka::error::KafkaError;

use crate::kafka::ErrorCode;

/// An operating error of a pipeline.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// A setting, or a combination of settings, that cannot work.
    Setting {
        /// The setting's name.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// A client option that would take away the delivery guarantee.
    ClientOption {
        /// The option's name.
        key: String,
        /// What was found.
        found: String,
        /// The only value allowed.
        allowed: &'static str,
    },
    /// The client refused its configuration.
    Client(KafkaError),
    /// No broker answered at start-up.
    Unreachable {
        /// The addresses that were tried.
        brokers: String,
        /// What the client says.
        source: KafkaError,
    },
    /// The brokers do not let us in.
    Refused {
        /// The addresses that were tried.
        brokers: String,
        /// What the client says.
        detail: String,
    },
    /// A partition had records to read and delivered none, and a new client did not help.
    Stuck {
        /// The partitions.
        partitions: String,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A topic does not exist.
    TopicMissing {
        /// Its name.
        topic: String,
        /// What it is for.
        role: &'static str,
    },
    /// Records cannot be written to a topic: it is gone, or not ours to write to.
    TopicRefused {
        /// Its name.
        topic: String,
        /// What the broker says.
        code: ErrorCode,
    },
    /// A client met an error it cannot recover from.
    Fatal {
        /// Which client.
        client: &'static str,
        /// What it says.
        detail: String,
    },
    /// The consumer's own queue held a record: it was fetched past the shards' queues, so offsets can no longer be trusted.
    StrayRecord {
        /// Its topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
    },
    /// The position at which a partition's assignment starts could not be found out.
    StartPosition {
        /// The partitions.
        partitions: String,
        /// What the client says.
        source: KafkaError,
    },
    /// The group's decision could not be carried out.
    Rebalance(KafkaError),
    /// The engine panicked more often than is tolerated.
    Panics {
        /// Panics within the last minute.
        count: u32,
        /// The last one's text.
        last: String,
    },
    /// A shard ended or does not answer.
    Shard {
        /// Its number.
        shard: u32,
        /// What it did.
        detail: String,
    },
    /// The shutdown did not end in time.
    ShutdownTimeout,
    /// The destination of the log of executions cannot be opened.
    Log {
        /// Which one.
        destination: String,
        /// Why.
        detail: String,
    },
    /// A thread could not be made.
    Thread(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { key, found, allowed } => write!(f, "{key} is {found}, allowed is {allowed}"),
            Self::ClientOption { key, found, allowed } => write!(f, "client option {key} is {found}, allowed is only {allowed}"),
            Self::Client(source) => write!(f, "the Kafka client refused its configuration: {}", without_value(source.clone())),
            Self::Unreachable { brokers, .. } => write!(f, "no broker answered at {brokers}"),
            Self::Refused { brokers, detail } => write!(f, "the brokers at {brokers} do not let us in: {detail}"),
            Self::Stuck { partitions, seconds } => {
                write!(f, "{partitions} delivered no record for {seconds} s although there are some, and a new client did not help")
            }
            Self::TopicMissing { topic, role } => write!(f, "{role} topic {topic} does not exist, and Expressway creates none"),
            Self::TopicRefused { topic, code } => write!(f, "records cannot be written to topic {topic}: {code}"),
            Self::Fatal { client, detail } => write!(f, "the {client} met a fatal error: {detail}"),
            Self::StrayRecord { topic, partition, offset } => write!(f, "record {topic}/{partition}/{offset} did not reach its shard's queue"),
            Self::StartPosition { partitions, .. } => write!(f, "the start position of {partitions} could not be found out"),
            Self::Rebalance(_) => write!(f, "a rebalance could not be carried out"),
            Self::Panics { count, last } => write!(f, "{count} panics within a minute, the last: {last}"),
            Self::Shard { shard, detail } => write!(f, "shard {shard} {detail}"),
            Self::ShutdownTimeout => write!(f, "the shutdown did not end in time"),
            Self::Log { destination, detail } => write!(f, "the log of executions cannot be opened at {destination}: {detail}"),
            Self::Thread(detail) => write!(f, "a thread could not be started: {detail}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rebalance(source) | Self::Unreachable { source, .. } | Self::StartPosition { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// An error of making a client without the value of the option that was refused: it may be a secret, under a name that is misspelled.
pub(crate) fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(code, problem, option, value) => {
            // The client repeats the value in its own words.
            let problem = if value.is_empty() { problem } else { problem.replace(&value, "…") };
            KafkaError::ClientConfig(code, problem, option, "(the value is not shown)".to_owned())
        }
        error => error,
    }
}

impl Error {
    /// Whether the settings are at fault, rather than the surroundings.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Setting { .. } | Self::ClientOption { .. } | Self::Client(_) | Self::Log { .. })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    #[test]
    fn an_option_that_is_refused_is_named_without_its_value() {
        for (option, value) in [("sasl.pasword", "canary-5f2a"), ("security.protocol", "canary-5f2a"), ("linger.ms", "canary-5f2a")] {
            let made = ClientConfig::new().set_log_level(RDKafkaLogLevel::Emerg).set(option, value).create::<BaseConsumer>();
            let Err(error) = made else { panic!("{option} is refused") };
            assert!(error.to_string().contains(value), "the client repeats it: {error}");
            let shown = Error::Client(error).to_string();
            assert!(!shown.contains(value) && shown.contains(option), "{shown}");
        }
    }
}
