//! Case `overload`: flags and verdict of [`crate::kafka::overload`].

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_ingest::pipeline::{Delivery, Ordering, Profile};

use super::kafka_heartbeat::{pair, profile};
use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::kafka;
use crate::kafka::latency;
use crate::kafka::overload::{self, Overload};

/// Flags of `run overload`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// How long more is offered than can be run, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(15..=86_400))]
    duration: u32,
    /// How many times the capacity is offered
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=10))]
    times: u64,
    /// Pass states of the workflow, which make an execution cost what the broker does not notice
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    states: u32,
    /// Records that the capacity is measured with
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    records: u64,
    /// What the clients are set for: throughput or latency
    #[arg(long, value_name = "NAME", default_value = "throughput", value_parser = profile)]
    profile: Profile,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Shards of the pipeline: one, unless there are processors for load, broker and shards
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    shards: u32,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
}

/// `run overload`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let asked = Flags::from_arg_matches(matches).map_err(usage)?;
    start_logging()?;
    let settings = kafka::Settings {
        brokers: asked.brokers,
        records: asked.records,
        partitions: asked.partitions,
        shards: asked.shards,
        rounds: 0,
        profile: asked.profile,
        delivery: Delivery::AtLeastOnce,
        floor: kafka::Floor::Splice,
        ordering: Ordering::Key,
        broker_pid: None,
        client_options: asked.client_option,
    };
    let json = overload::run(&settings, Overload { times: asked.times, seconds: asked.duration, states: asked.states }, progress)?;
    let lost = latency::lost(&json);
    let wrong = (lost > 0).then(|| Error::Wrong(format!("{lost} records have no result")));
    Ok(Report { text: overload::text(&json), json, wrong })
}
