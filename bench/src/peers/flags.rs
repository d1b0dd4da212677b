//! The command line of `expressway-bench peers`.

use std::path::PathBuf;

use clap::Args;

use super::roster::Settings;

/// What `expressway-bench peers` is given.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Install them first (bench/peers/install.sh)
    #[arg(long)]
    pub install: bool,
    /// Only these beside ours, by name
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave the comparison from Kafka to Kafka out
    #[arg(long)]
    pub engine_only: bool,
    /// Leave the comparison of engines out
    #[arg(long, conflicts_with = "engine_only")]
    pub kafka_only: bool,
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…", required_unless_present = "engine_only")]
    pub brokers: Option<String>,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Rounds in which all take turns
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
    /// Seconds for which each times its passes in a round, engine only
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub seconds: u32,
    /// Records of the source topic
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub records: u64,
    /// Of these, records for getting warm
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub warm_records: u64,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub partitions: u32,
    /// Consumers, or shards, of everyone on Kafka, instead of as many as were found best for each
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Where bench/peers/install.sh has put the peers
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    pub folder: PathBuf,
    /// Also add the result, with machine, commit and command, to this file of JSON lines
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

impl From<Flags> for Settings {
    fn from(flags: Flags) -> Self {
        Self {
            folder: flags.folder,
            only: flags.only,
            with_engine: !flags.kafka_only,
            brokers: flags.brokers.filter(|_| !flags.engine_only),
            rounds: flags.rounds,
            measure_s: flags.seconds,
            records: flags.records,
            warm_records: flags.warm_records,
            partitions: flags.partitions,
            workers: flags.workers,
            broker_pid: flags.broker_pid,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn parse(line: &str) -> Result<Settings, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.flags.into())
    }

    #[test]
    fn names_are_a_list_and_brokers_are_needed_for_kafka() {
        let settings = parse("peers --only vrl,flink --brokers b:1 --rounds 5").unwrap();
        assert_eq!((settings.only, settings.rounds), (vec!["vrl".to_owned(), "flink".to_owned()], 5));
        assert!(settings.with_engine && settings.brokers.as_deref() == Some("b:1"));
        assert!(parse("peers").is_err());
        assert!(parse("peers --engine-only --kafka-only --brokers b:1").is_err());
    }

    #[test]
    fn one_comparison_can_be_left_out() {
        let engine = parse("peers --engine-only --brokers b:1").unwrap();
        assert!(engine.with_engine && engine.brokers.is_none());
        assert!(!parse("peers --kafka-only --brokers b:1").unwrap().with_engine);
    }
}
