//! What can end a run of the program, and the exit code that tells it apart.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::config;

/// Everything went as asked.
pub const EXIT_DONE: u8 = 0;
/// The input is at fault: a definition, a message, a check that failed.
pub const EXIT_INPUT: u8 = 1;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 2;
/// The surroundings failed: the broker, the network, the disk.
pub const EXIT_SURROUNDINGS: u8 = 3;
/// The configuration is refused.
pub const EXIT_CONFIG: u8 = 78;

/// An operating error, sorted by who can mend it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is refused: exit code 78.
    Config(config::Error),
    /// Something that the configuration names is not there or does not fit: exit code 78.
    Setting(String),
    /// The input is at fault: exit code 1. Everything about it is said already where this is empty.
    Input(String),
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The surroundings failed: exit code 3.
    Surroundings {
        /// What could not be done.
        what: String,
        /// Why.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The reader of standard output went away, which is no error: exit code 0.
    ClosedPipe,
}

impl Error {
    /// The surroundings failed for a reason that is told by `source`.
    pub fn surroundings(what: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Surroundings { what: what.into(), source: Some(source.into()) }
    }

    /// Writing to standard output failed.
    #[must_use]
    pub fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe { Self::ClosedPipe } else { Self::surroundings("standard output cannot be written", source) }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Setting(_) => EXIT_CONFIG,
            Self::Input(_) => EXIT_INPUT,
            Self::Usage(_) => EXIT_USAGE,
            Self::Surroundings { .. } => EXIT_SURROUNDINGS,
            Self::ClosedPipe => EXIT_DONE,
        }
    }

    /// The error with its sources, separated by colons, each said once; empty when there is nothing to say.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let told = error.to_string();
            // The Kafka client's errors end with the text of their source.
            if !text.ends_with(&told) {
                text = format!("{text}: {told}");
            }
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Setting(text) | Self::Input(text) | Self::Usage(text) => f.write_str(text),
            Self::Surroundings { what, .. } => f.write_str(what),
            Self::ClosedPipe => f.write_str("the reader of standard output went away"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Surroundings { source: Some(source), .. } => Some(&**source),
            _ => None,
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    use super::*;

    #[test]
    fn sentence_chains_the_sources() {
        let error = Error::surroundings("the broker a:1 does not answer", io::Error::other("timed out"));
        assert_eq!(error.sentence(), "the broker a:1 does not answer: timed out");
        assert_eq!(error.exit_code(), EXIT_SURROUNDINGS);
    }

    #[test]
    fn sentence_says_a_source_once() {
        let error = Error::surroundings("no broker answered at a:1", KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure));
        assert_eq!(error.sentence().matches("BrokerTransportFailure").count(), 1, "{}", error.sentence());
    }

    #[test]
    fn closed_pipe_is_no_error() {
        assert_eq!(Error::output(io::ErrorKind::BrokenPipe.into()).exit_code(), EXIT_DONE);
        assert_eq!(Error::output(io::ErrorKind::StorageFull.into()).exit_code(), EXIT_SURROUNDINGS);
    }
}
