//! `expressway tune`: which settings of the Kafka clients suit a broker.
//!
//! Temporary topics are made, filled with simulated heartbeats and deleted again. For each of a few settings the data path of the service, without an engine, runs over them twice: as fast as it can, for throughput and processor time, and at a rate well below that, for latency. What comes out best is measured again beside the defaults, since one run says little.

mod cluster;
mod report;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::{Output, tell};
use super::{Environment, Format, LogFlags};
use crate::clock::Clock;
use crate::config;
use crate::control::service::processors;
use crate::error::Error;
use crate::kafka::Profile;
use cluster::Cluster;
use report::{Report, Row};
use trial::{Measured, Trial};

/// Part of the time that is spent on filling the topic, and on each of the two last runs.
const FILL_PART: u32 = 8;
/// Part of a setting's time that goes to its latency.
const LATENCY_PART: u32 = 3;
/// The latency is measured at this part of the throughput of the defaults.
const RATE_PART: u64 = 10;
/// Bounds of that rate, in records a second.
const RATE: std::ops::RangeInclusive<u64> = 100..=20_000;
/// A setting is better only by more than runs of one setting differ.
const GAIN_MIN: f64 = 1.05;

/// Flags of `tune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway tune --brokers localhost:9092 --duration 30s\n\nMakes topics whose names begin with expressway-tune-, and deletes them at the end; needs the right to create and delete topics. With --config, brokers and client options such as security.protocol come from that file. Ends with the settings that did best as a snippet for the configuration file, and what they gain over the defaults. Measure while the broker has its usual load, and more than once.\n\nExit codes: 0 done, 3 no broker answers or a topic cannot be made."
)]
pub(super) struct Flags {
    /// Brokers to start from, kafka.bootstrap_servers [env: EXPRESSWAY_KAFKA_BOOTSTRAP_SERVERS=]
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// A configuration file, for its section kafka
    #[arg(long, env = "EXPRESSWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to measure, about
    #[arg(long, env = "EXPRESSWAY_TUNE_DURATION", value_name = "TIME", default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// Partitions of the temporary topics
    #[arg(long, env = "EXPRESSWAY_TUNE_PARTITIONS", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    partitions: u32,
    /// Threads that consume and produce; 0 means one for each processor
    #[arg(long, env = "EXPRESSWAY_TUNE_SHARDS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    shards: u32,
    /// Form of the result
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = config::parse_duration(text).ok_or("a duration with a unit, for instance 30s")?;
    if (Duration::from_secs(5)..=Duration::from_hours(1)).contains(&found) { Ok(found) } else { Err("5s to 1h".to_owned()) }
}

/// A name, a profile, and options above it.
type Setting = (&'static str, Profile, &'static [(&'static str, &'static str)]);

/// What is tried; the first are the defaults.
const SETTINGS: [Setting; 10] = [
    ("profile throughput", Profile::Throughput, &[]),
    ("profile latency", Profile::Latency, &[]),
    ("longer linger", Profile::Throughput, &[("linger.ms", "5")]),
    ("long linger", Profile::Throughput, &[("linger.ms", "20")]),
    ("smaller batches", Profile::Throughput, &[("batch.size", "262144")]),
    ("no compression", Profile::Throughput, &[("compression.type", "none")]),
    ("snappy", Profile::Throughput, &[("compression.type", "snappy")]),
    ("small fetches", Profile::Throughput, &[("fetch.min.bytes", "1"), ("fetch.wait.max.ms", "20")]),
    ("more kept ahead", Profile::Throughput, &[("queued.min.messages", "100000")]),
    ("more in flight", Profile::Throughput, &[(trial::IN_FLIGHT, "40000")]),
];

pub(super) fn run(flags: &Flags, log: &LogFlags, environment: &Environment) -> Result<(), Error> {
    let mut layer: Vec<_> = log.start(environment).map(|()| Vec::new())?;
    layer.extend(flags.brokers.iter().map(|brokers| ("kafka.bootstrap_servers".to_owned(), brokers.clone(), "--brokers".to_owned())));
    let kafka = config::load_file(flags.config.as_deref(), environment, &layer)?.config.kafka;
    let mut options = vec![("bootstrap.servers".to_owned(), kafka.bootstrap_servers.clone())];
    // The profile's own options would hide the ones that are tried.
    let profile = kafka.profile.options_below(std::iter::empty());
    options.extend(kafka.client_options.iter().filter(|option| !profile.contains(option)).cloned());
    let shards = if flags.shards == 0 { processors() } else { flags.shards };
    let cluster = Cluster::connect(options, flags.partitions)?;
    let report = measure(&cluster, flags, shards);
    let cleared = cluster.clear();
    let mut report = report?;
    cleared?;
    report.brokers = kafka.bootstrap_servers;
    let mut out = Output::new();
    match flags.format {
        Format::Text => out.write(report.to_string().as_bytes())?,
        Format::Json => out.line(&report.to_json().to_string())?,
    }
    out.flush()
}

fn measure(cluster: &Cluster, flags: &Flags, shards: u32) -> Result<Report, Error> {
    let clock = Clock::start();
    let fill = flags.duration / FILL_PART;
    tell(&format!("making topics and filling {} for {:.1} s", cluster.source(), fill.as_secs_f64()));
    let records = cluster.fill(fill, clock)?;
    // A first run that warms the broker, and two last ones, each as long as one of the table.
    let slots = u32::try_from(SETTINGS.len()).expect("few settings are tried") + 3;
    let slot = (flags.duration - fill) / slots;
    let runs = Runs { cluster, shards, clock, saturated: slot - slot / LATENCY_PART, steady: slot / LATENCY_PART };
    let first = runs.both(SETTINGS[0].1, SETTINGS[0].2, None)?;
    tell(&format!("first run, not counted: {:.0} records/s", first.records_per_s));
    let mut rows: Vec<Row> = Vec::new();
    for (name, profile, options) in SETTINGS {
        let rate = rows.first().map(|row| row.rate_of_latency());
        let measured = runs.both(profile, options, rate)?;
        tell(&format!("{name}: {:.0} records/s", measured.records_per_s));
        rows.push(Row { name, profile, options: options.to_vec(), measured });
    }
    let best = Row::best(&rows);
    let again = if best == 0 { None } else { Some(again(&runs, &rows, best)?) };
    Ok(Report { brokers: String::new(), records, partitions: flags.partitions, shards, rows, best, again })
}

/// The defaults and the best row once more, beside one another.
fn again(runs: &Runs<'_>, rows: &[Row], best: usize) -> Result<(Measured, Measured), Error> {
    let rate = Some(rows[0].rate_of_latency());
    let defaults = runs.both(rows[0].profile, &rows[0].options, rate)?;
    let found = runs.both(rows[best].profile, &rows[best].options, rate)?;
    Ok((defaults, found))
}

/// How long to run, and where.
struct Runs<'c> {
    cluster: &'c Cluster,
    shards: u32,
    clock: Clock,
    saturated: Duration,
    steady: Duration,
}

impl Runs<'_> {
    /// Throughput, then latency at `rate`; the first run chooses that rate.
    fn both(&self, profile: Profile, options: &[(&str, &str)], rate: Option<u64>) -> Result<Measured, Error> {
        let trial = Trial::new(self.cluster, profile, options, self.shards, self.clock);
        let mut measured = trial.saturate(self.saturated)?;
        let rate = rate.unwrap_or_else(|| rate_of_latency(measured.records_per_s));
        measured.latency = trial.offer(rate, self.steady)?;
        Ok(measured)
    }
}

/// The rate at which latency is measured beside such a throughput.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and far below 2^63")]
fn rate_of_latency(records_per_s: f64) -> u64 {
    (records_per_s as u64 / RATE_PART).clamp(*RATE.start(), *RATE.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert!(duration("4s").is_err() && duration("2h").is_err() && duration("30").is_err());
    }

    #[test]
    fn the_first_setting_is_the_default_one() {
        assert_eq!((SETTINGS[0].1, SETTINGS[0].2), (Profile::default(), &[][..]));
    }

    #[test]
    fn latency_is_measured_well_below_the_throughput() {
        assert_eq!([500.0, 50_000.0, 5e6].map(rate_of_latency), [100, 5_000, 20_000]);
    }
}
