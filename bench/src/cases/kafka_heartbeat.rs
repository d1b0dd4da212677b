//! Case `kafka-heartbeat`: flags and verdict of [`crate::kafka`].

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_ingest::pipeline::{Delivery, Ordering, Profile};
use serde_json::Value;

use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::kafka::Floor;
use crate::kafka::latency::{self, Load};
use crate::{kafka, probe};

/// How long the load of `--rate` lasts: the other figure of the profile.
const LATENCY_SECONDS: u32 = 20;

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
    /// What the clients are set for: throughput or latency
    #[arg(long, value_name = "NAME", default_value = "throughput", value_parser = profile)]
    profile: Profile,
    /// How the pipeline delivers: at_least_once or transactional. The floor delivers at least once in any case, or not even that
    #[arg(long, value_name = "NAME", default_value = "at_least_once", value_parser = delivery)]
    delivery: Delivery,
    /// What it is run against: splice, the same loop without the engine, or careless, the same workflow without any guarantee
    #[arg(long, value_name = "NAME", default_value = "splice", value_parser = floor)]
    floor: Floor,
    /// Whose executions wait for whom in the pipeline: none, key or partition. The floor keeps the order of keys in any case
    #[arg(long, value_name = "NAME", default_value = "key", value_parser = ordering)]
    ordering: Ordering,
    /// Afterwards offer so many records a second, open loop, and tell the latency of this profile; 0 for none
    #[arg(long, value_name = "R", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    rate: u64,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
}

/// A profile by its name.
pub(super) fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| "there are throughput and latency".to_owned())
}

/// A kind of delivery by its name.
pub(super) fn delivery(name: &str) -> Result<Delivery, String> {
    Delivery::named(name).ok_or_else(|| "there are at_least_once and transactional".to_owned())
}

/// A floor by its name.
fn floor(name: &str) -> Result<Floor, String> {
    Floor::named(name).ok_or_else(|| "there are splice and careless".to_owned())
}

/// An order by its name.
fn ordering(name: &str) -> Result<Ordering, String> {
    Ordering::named(name).ok_or_else(|| "there are none, key and partition".to_owned())
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
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
        profile: asked.profile,
        delivery: asked.delivery,
        floor: asked.floor,
        ordering: asked.ordering,
        broker_pid: asked.broker_pid,
        client_options: asked.client_option,
    };
    let outcome = kafka::run(&settings, progress)?;
    let (mut json, mut text, mut lost) = (outcome.to_json(), outcome.to_string(), outcome.lost());
    let mut missed = None;
    if asked.rate > 0 {
        // What was measured so far stays, whatever becomes of the other figure.
        match latency::run(&settings, &Load { rate: asked.rate, seconds: LATENCY_SECONDS, histogram: None }, progress) {
            Ok(latency) => {
                text = format!("{text}\n{}", latency::text(&latency));
                lost = lost.saturating_add(latency::lost(&latency));
                for key in ["latency_ns", "latency_ms", "sender_late_ms"] {
                    json[key] = latency[key].clone();
                }
            }
            Err(error) => {
                text = format!("{text}\n           - latency at {} records/s: not measured: {error}", asked.rate);
                json["latency_ms"] = Value::Null;
                json["latency_not_measured"] = error.to_string().into();
                missed = Some(error);
            }
        }
        json["offered_per_s"] = asked.rate.into();
    }
    let wrong = (lost > 0).then(|| Error::Wrong(format!("{lost} records have no result"))).or(missed);
    Ok(Report { json, text, wrong })
}
