//! Case `kafka-lag`: flags and verdict of [`crate::kafka::lag`].

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_ingest::config::parse_size;
use expressway_ingest::pipeline::{Delivery, Ordering, Profile};
use serde_json::json;

use super::kafka_heartbeat::{pair, profile};
use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::kafka::lag;
use crate::{kafka, probe};

/// Flags of `run kafka-lag`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// Records of the backlog
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Limit of the process's memory, for instance 256MiB; none when not given
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<u64>,
    /// What the clients are set for: throughput or latency
    #[arg(long, value_name = "NAME", default_value = "throughput", value_parser = profile)]
    profile: Profile,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Shards of the pipeline; one for each processor when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: Option<u32>,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
    /// Only fill this topic
    #[arg(long, hide = true)]
    fill: Option<String>,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "a size with a unit, for instance 256MiB".to_owned())
}

/// `run kafka-lag`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let asked = Flags::from_arg_matches(matches).map_err(usage)?;
    start_logging()?;
    if let Some(topic) = asked.fill {
        lag::fill(&asked.brokers, &topic, asked.partitions, asked.records)?;
        return Ok(Report { json: json!({"filled": topic}), text: topic, wrong: None });
    }
    let settings = kafka::Settings {
        brokers: asked.brokers,
        records: asked.records,
        partitions: asked.partitions,
        shards: asked.shards.unwrap_or_else(probe::processors),
        rounds: 0,
        profile: asked.profile,
        delivery: Delivery::AtLeastOnce,
        floor: kafka::Floor::Splice,
        ordering: Ordering::Key,
        broker_pid: asked.broker_pid,
        client_options: asked.client_option,
    };
    let json = lag::run(&settings, asked.memory_limit, progress)?;
    let wrong = lag::fault(&json).map(Error::Wrong);
    Ok(Report { text: lag::text(&json), json, wrong })
}
