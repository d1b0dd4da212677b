//! Case `kafka-latency`: flags and verdict of [`crate::kafka::latency`].

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_ingest::pipeline::{Delivery, Ordering, Profile};

use super::kafka_heartbeat::{pair, profile};
use super::{Report, start_logging, usage};
use crate::error::Error;
use crate::kafka::latency::{self, Load};
use crate::kafka::offer::{self, Offer};
use crate::{kafka, probe};

/// Flags of `run kafka-latency`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Addresses of brokers; topics are made there, and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: String,
    /// Records offered a second
    #[arg(long, value_name = "R", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// How long, in seconds; memory after a minute needs more than 60, after ten more than 600
    #[arg(long, value_name = "S", default_value_t = 75, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// Afterwards drain a backlog of so many records and tell the throughput of this profile; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    backlog: u64,
    /// What the clients are set for: throughput or latency
    #[arg(long, value_name = "NAME", default_value = "latency", value_parser = profile)]
    profile: Profile,
    /// Partitions of source and result topics
    #[arg(long, value_name = "N", default_value_t = 4)]
    partitions: u32,
    /// Shards of the pipeline; one for each processor when not given
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Process of the broker, when its processor time is to be known
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// A further option of the Kafka client, under librdkafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    client_option: Vec<(String, String)>,
    /// Also write the whole distribution to this file, in HdrHistogram's text form
    #[arg(long, value_name = "FILE")]
    histogram: Option<String>,
    /// Only make and read the load: write to this topic
    #[arg(long, hide = true, requires = "results")]
    source: Option<String>,
    /// Only make and read the load: read this topic
    #[arg(long, hide = true)]
    results: Option<String>,
}

/// `run kafka-latency`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let asked = Flags::from_arg_matches(matches).map_err(usage)?;
    start_logging()?;
    let load = Load { rate: asked.rate, seconds: asked.duration, histogram: asked.histogram };
    if let (Some(source), Some(results)) = (asked.source, asked.results) {
        let Load { rate, seconds, .. } = load;
        let warm_up_s = load.warm_up_s();
        let offer = Offer { brokers: asked.brokers, source, results, partitions: asked.partitions, rate, seconds, warm_up_s };
        let (json, latency) = offer::run(&offer)?;
        load.histogram.map_or(Ok(()), |file| latency.write_hgrm(file.as_ref()))?;
        return Ok(Report { text: json.to_string(), json, wrong: None });
    }
    let settings = kafka::Settings {
        brokers: asked.brokers,
        records: asked.backlog,
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
    let mut json = latency::run(&settings, &load, progress)?;
    let mut missed = None;
    if settings.records > 0 {
        // What was measured so far stays, whatever becomes of the other figure.
        match kafka::drain(&settings, progress) {
            Ok(drained) => latency::add_backlog(&mut json, settings.records, drained),
            Err(error) => {
                json["backlog_not_measured"] = error.to_string().into();
                missed = Some(error);
            }
        }
    }
    let lost = latency::lost(&json);
    let wrong = (lost > 0).then(|| Error::Wrong(format!("{lost} records have no result"))).or(missed);
    Ok(Report { text: latency::text(&json), json, wrong })
}
