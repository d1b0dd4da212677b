//! Case `kafka-heartbeat`: flags and verdict of [`crate::kafka`].

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::{kafka, probe};

/// Flags of `run kafka-heartbeat`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// Records of the source topic
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    records: u64,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4)]
    partitions: u32,
    /// Shards of the pipeline; one for each processor when not given
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Rounds of pipeline and floor
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no =")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `run kafka-heartbeat`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let asked = Flags::from_arg_matches(matches).map_err(usage)?;
    start_logging()?;
    let settings = kafka::Settings {
        brokers: asked.brokers,
        records: asked.records,
        partitions: asked.partitions,
        shards: asked.shards.unwrap_or_else(probe::processors),
        rounds: asked.rounds,
        broker_pid: asked.broker_pid,
        client_options: asked.client_option,
    };
    let outcome = kafka::run(&settings, progress)?;
    let wrong = (outcome.lost() > 0).then(|| Error::Wrong(format!("{} records have no result", outcome.lost())));
    Ok(Report { json: outcome.to_json(), text: outcome.to_string(), wrong })
}
