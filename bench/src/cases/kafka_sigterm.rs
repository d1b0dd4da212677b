//! Case `kafka-sigterm`: flags and verdict of [`crate::kafka::sigterm`].

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_ingest::pipeline::{Delivery, Ordering, Profile};

use super::kafka_heartbeat::{delivery, pair, profile};
use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::kafka::latency::Load;
use crate::kafka::sigterm::{self, Stops};
use crate::{kafka, probe};

/// Flags of `run kafka-sigterm`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// Records offered a second
    #[arg(long, value_name = "R", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// How long, in seconds
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    duration: u32,
    /// How often the service is ended in mid-stream and started again
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    stops: u32,
    /// How long an end may take, in seconds: service.shutdown_timeout
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    deadline: u32,
    /// What the clients are set for: throughput or latency
    #[arg(long, value_name = "NAME", default_value = "throughput", value_parser = profile)]
    profile: Profile,
    /// How the service delivers: at_least_once or transactional
    #[arg(long, value_name = "NAME", default_value = "at_least_once", value_parser = delivery)]
    delivery: Delivery,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Shards of the service; one for each processor when not given
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// The service; expressway beside this program when not given
    #[arg(long, value_name = "FILE")]
    service: Option<PathBuf>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
}

/// `run kafka-sigterm`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let asked = Flags::from_arg_matches(matches).map_err(usage)?;
    start_logging()?;
    let service = match asked.service {
        Some(service) => service,
        None => std::env::current_exe().map_err(|error| Error::surroundings("finding this program", error))?.with_file_name("expressway"),
    };
    if !service.is_file() {
        return Err(Error::Usage(format!("there is no {}: build expressway-ingest with the same profile, or give --service", service.display())));
    }
    let settings = kafka::Settings {
        brokers: asked.brokers,
        records: 0,
        partitions: asked.partitions,
        shards: asked.shards.unwrap_or_else(probe::processors),
        rounds: 0,
        profile: asked.profile,
        delivery: asked.delivery,
        floor: kafka::Floor::Splice,
        ordering: Ordering::Key,
        broker_pid: None,
        client_options: asked.client_option,
    };
    let load = Load { rate: asked.rate, seconds: asked.duration, histogram: None };
    let stops = Stops { count: asked.stops, deadline_s: asked.deadline, service };
    let json = sigterm::run(&settings, &load, &stops, progress)?;
    let wrong = sigterm::wrong(&json).map(Error::Wrong);
    Ok(Report { text: sigterm::text(&json), json, wrong })
}
