//! Case `kafka-heartbeat`: from Kafka to Kafka, beside the floor of the same loop.
//!
//! A source topic is filled once. Then rounds: the pipeline runs over the whole topic, and so does the floor, which is the very same loop with the same calls, settings, headers, acknowledgements and marks, where the interpreter is replaced by a copy of the input with constant bytes spliced in, so that outputs have the workflow's mean size. What the engine costs beside everything else is the distance between the two. Who goes first alternates, since brokers get warmer. With `--floor careless` the other run is the same workflow without any guarantee instead, so that the distance is what the guarantee costs. Each run has a consumer group and a result topic of its own.
//!
//! Measured: from the assignment, just before the first fetch, to the commit of the last record's offset, as the broker tells it; processor time of this process and, if its id is given, of the broker; the greatest resident memory. Not measured: latency (an open loop at a fixed rate has to be), the forming of the group, the way out, the reading back. Offsets are committed every 100 ms instead of every second, or a tenth of the time would be waiting for the last commit.
//!
//! [`drain`] is one such run without a floor, for the cases that measure something else and tell what their profile makes of a backlog, too.
//!
//! Afterwards every result topic is read to its end, and each source offset has to be named by a result: of the workflow, exactly; of the floor, too.

pub(crate) mod cluster;
pub mod lag;
pub mod latency;
mod ledger;
pub mod offer;
pub mod overload;
mod round;
pub mod sigterm;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use expressway_engine::Program;
use expressway_ingest::pipeline::{self, Delivery, Identity, Ordering, Profile};
use serde_json::{Value, json};

use self::cluster::{Cluster, Filled};
use self::ledger::{Balance, Ledger};
use self::round::{Run, Work};
use crate::error::Error;
use crate::outcome::Shared;
use crate::spread::{Spread, number, per_second};
use crate::workflow::{HEARTBEAT, program};

/// How often the client commits what is stored.
const COMMIT_INTERVAL_MS: &str = "100";

/// What the pipeline is run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// The same loop without the engine.
    Splice,
    /// The same workflow without any guarantee: [`expressway_ingest::careless`].
    Careless,
}

impl Floor {
    /// The floor of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Splice, Self::Careless].into_iter().find(|floor| floor.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Splice => "splice",
            Self::Careless => "careless",
        }
    }
}

/// What is run, and against what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of brokers.
    pub brokers: String,
    /// Records of the source topic.
    pub records: u64,
    /// Partitions of source and results.
    pub partitions: u32,
    /// The pipeline's shards.
    pub shards: u32,
    /// Rounds of pipeline and floor.
    pub rounds: u32,
    /// What the clients are set for.
    pub profile: Profile,
    /// How the pipeline delivers; the floor of spliced inputs delivers at least once in any case.
    pub delivery: Delivery,
    /// What it is run against.
    pub floor: Floor,
    /// Whose executions wait for whom in the pipeline; the floor keeps the order of keys in any case.
    pub ordering: Ordering,
    /// The broker's process, if its processor time is to be known.
    pub broker_pid: Option<u32>,
    /// Further options of the Kafka client, under librdkafka's names.
    pub client_options: Vec<(String, String)>,
}

/// A run with what its results say.
#[derive(Debug, Clone, Copy)]
struct Judged {
    run: Run,
    balance: Balance,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    settings: Settings,
    source_bytes: u64,
    insert_bytes: usize,
    /// Pipeline and floor, round by round.
    rounds: Vec<(Judged, Judged)>,
}

/// Runs the case, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a pipeline that stops.
pub fn run(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
    if settings.records == 0 || settings.partitions == 0 || settings.rounds == 0 || settings.shards == 0 {
        return Err(Error::Usage("records, partitions, shards and rounds have to be 1 or more".to_owned()));
    }
    let mut bench = Bench::connect(settings)?;
    let outcome = bench.run(progress);
    let deleted = bench.clear();
    let outcome = outcome?;
    deleted.map(|()| outcome)
}

/// What one run over a backlog came to.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Executions a second, from the first fetch to the commit of the last offset.
    pub executions_per_s: f64,
    /// Source offsets that no result names.
    pub lost: u64,
}

/// Runs the pipeline once over a backlog of `settings.records`, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a pipeline that stops.
pub fn drain(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Result<Drained, Error> {
    let mut bench = Bench::connect(settings)?;
    let judged = bench.prepare(progress).and_then(|ready| bench.judge(&Work::Engine(ready.program), &ready.identity, 1, &ready.filled, progress));
    let deleted = bench.clear();
    let Judged { run, balance } = judged?;
    deleted.map(|()| Drained { executions_per_s: per_second(settings.records, run.elapsed), lost: balance.lost })
}

/// What a run needs beside a topic for its results.
struct Ready {
    program: Arc<Program>,
    identity: Identity,
    filled: Filled,
}

struct Bench<'s> {
    settings: &'s Settings,
    cluster: Cluster,
    source: String,
    /// What has been made and has to be deleted.
    topics: Vec<String>,
}

impl<'s> Bench<'s> {
    fn connect(settings: &'s Settings) -> Result<Self, Error> {
        let cluster = Cluster::connect(&settings.brokers)?;
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Ok(Self { settings, cluster, source: format!("bench-{millis:x}"), topics: Vec::new() })
    }

    /// Deletes what was made.
    fn clear(&self) -> Result<(), Error> {
        self.cluster.delete(&self.topics)
    }

    /// Compiles the workflow and fills the source topic.
    fn prepare(&mut self, progress: &mut dyn FnMut(&str)) -> Result<Ready, Error> {
        let Settings { records, partitions, .. } = *self.settings;
        let program = Arc::new(program(HEARTBEAT, "heartbeat")?);
        let identity = Identity { definition: program.state_machine().to_owned(), version: program.version().to_owned() };
        let (source, dead_letters) = (self.source.clone(), format!("{}-dead-letters", self.source));
        self.create(&source, partitions)?;
        self.create(&dead_letters, 1)?;
        let filled = self.cluster.fill(&source, partitions, records)?;
        progress(&format!("{records} records, {} bytes, in {source}", filled.bytes));
        Ok(Ready { program, identity, filled })
    }

    fn run(&mut self, progress: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
        let Settings { records, rounds, .. } = *self.settings;
        let Ready { program, identity, filled } = self.prepare(progress)?;
        let engine = Work::Engine(Arc::clone(&program));
        let floor = self.settings.floor;
        let floor_of = |bytes: usize| match floor {
            Floor::Splice => Work::Floor(bytes),
            Floor::Careless => Work::Careless(Arc::clone(&program)),
        };
        let (mut insert_bytes, mut judged) = (None, Vec::new());
        for round in 1..=rounds {
            // The first round tells how large outputs are, so the floor has to come second there.
            let (pipeline, floor) = match insert_bytes {
                Some(bytes) if round % 2 == 0 => {
                    let floor = self.judge(&floor_of(bytes), &identity, round, &filled, progress)?;
                    (self.judge(&engine, &identity, round, &filled, progress)?, floor)
                }
                known => {
                    let pipeline = self.judge(&engine, &identity, round, &filled, progress)?;
                    let bytes = known.unwrap_or_else(|| insert(&pipeline.balance, &filled, records));
                    insert_bytes = Some(bytes);
                    (pipeline, self.judge(&floor_of(bytes), &identity, round, &filled, progress)?)
                }
            };
            judged.push((pipeline, floor));
        }
        Ok(Outcome { settings: self.settings.clone(), source_bytes: filled.bytes, insert_bytes: insert_bytes.unwrap_or(0), rounds: judged })
    }

    fn create(&mut self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.cluster.create(topic, partitions)?;
        self.topics.push(topic.to_owned());
        Ok(())
    }

    /// One run with a group and a result topic of its own, and what its results say.
    fn judge(&mut self, work: &Work, identity: &Identity, round: u32, filled: &Filled, progress: &mut dyn FnMut(&str)) -> Result<Judged, Error> {
        let name = match work {
            Work::Engine(_) => format!("pipeline-{round}"),
            Work::Floor(_) | Work::Careless(_) => format!("floor-{round}"),
        };
        let (results, group) = (format!("{}-{name}", self.source), format!("{}-{name}", self.source));
        self.create(&results, self.settings.partitions)?;
        let watcher = self.cluster.watcher(&group, &self.source, self.settings.partitions)?;
        let mut settings = self.pipeline_settings(&name, &group, &results);
        if matches!(work, Work::Engine(_)) {
            settings.delivery = self.settings.delivery;
            settings.ordering = self.settings.ordering;
        }
        let run = round::run(settings, work, identity, self.settings.records, &watcher, self.settings.broker_pid)?;
        drop(watcher);
        let mut ledger = Ledger::new(&self.source, &filled.ends);
        self.cluster.read_back(&results, self.settings.partitions, &mut ledger)?;
        let balance = ledger.balance();
        progress(&format!("{name}: {:.0} records/s, {} lost, {} duplicates", per_second(self.settings.records, run.elapsed), balance.lost, balance.duplicates));
        Ok(Judged { run, balance })
    }

    fn pipeline_settings(&self, name: &str, group: &str, results: &str) -> pipeline::Settings {
        let own = [("bootstrap.servers", self.settings.brokers.as_str()), ("group.id", group), ("auto.commit.interval.ms", COMMIT_INTERVAL_MS)];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        pipeline::Settings {
            name: name.to_owned(),
            client_options: own.into_iter().chain(self.settings.client_options.iter().cloned()).collect(),
            source_topics: vec![self.source.clone()],
            result_topic: results.to_owned(),
            dead_letter_topic: format!("{}-dead-letters", self.source),
            shards: self.settings.shards,
            profile: self.settings.profile,
            ..pipeline::Settings::default()
        }
    }
}

/// How many bytes the floor has to splice in, so that its outputs are as long as the workflow's in the mean.
fn insert(balance: &Balance, filled: &Filled, records: u64) -> usize {
    let (output, input) = (balance.bytes / balance.results.max(1), filled.bytes / records);
    usize::try_from(output.saturating_sub(input)).expect("the size of an output fits")
}

impl Outcome {
    fn rate(&self, run: &Run) -> f64 {
        per_second(self.settings.records, run.elapsed)
    }

    fn rates(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(pipeline, _)| self.rate(&pipeline.run)))
    }

    fn floors(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(_, floor)| self.rate(&floor.run)))
    }

    fn shares(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(pipeline, floor)| self.rate(&pipeline.run) / self.rate(&floor.run)))
    }

    fn sum(&self, each: impl Fn(&Balance) -> u64) -> u64 {
        self.rounds.iter().map(|(pipeline, floor)| each(&pipeline.balance) + each(&floor.balance)).sum()
    }

    /// Source offsets that no result names, over all runs.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sum(|balance| balance.lost)
    }

    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Settings { records, partitions, shards, profile, delivery, floor, ordering, .. } = self.settings;
        let pipelines = || self.rounds.iter().map(|(pipeline, _)| &pipeline.run);
        let broker_cpu_s: Vec<f64> = pipelines().filter_map(|run| run.broker_cpu_s).collect();
        let resident = pipelines().map(|run| run.resident_bytes).max().unwrap_or(0);
        let each_ns = |time: fn(&Run) -> f64| Spread::of(pipelines().map(|run| time(run) * 1e9 / records as f64));
        let (ns, cpu_ns) = (each_ns(|run| run.elapsed.as_secs_f64()), each_ns(|run| run.client_cpu_s));
        let executions = records * self.rounds.len() as u64;
        let shared = Shared {
            cores: None,
            executions,
            executions_per_s: self.rates().median,
            ns_per_execution: ns.median,
            latency_ns: None,
            allocations_per_execution: round::allocations_per_execution(pipelines().map(|run| run.allocations).sum(), executions),
        };
        let asked = json!({"records": records, "partitions": partitions, "shards": shards, "profile": profile.name(), "delivery": delivery.name(), "floor": floor.name(), "ordering": ordering.name()});
        let own = json!({
            "floor_records_per_s": number(self.floors().median, 0),
            "share_of_floor": number(self.shares().median, 3),
            "rounds": self.rounds.iter().map(|(pipeline, floor)| self.round_json(pipeline, floor)).collect::<Vec<_>>(),
            "client_cpu_s": number(Spread::of(pipelines().map(|run| run.client_cpu_s)).median, 2),
            "broker_cpu_s": (!broker_cpu_s.is_empty()).then(|| number(Spread::of(broker_cpu_s).median, 2)),
            "rss_mb": number(resident as f64 / 1e6, 0),
            "lost": self.lost(),
            "duplicates": self.sum(|balance| balance.duplicates),
            "unknown": self.sum(|balance| balance.unknown),
            "input_bytes_mean": number(self.source_bytes as f64 / records as f64, 1),
            "insert_bytes": self.insert_bytes,
        });
        let spread = json!({
            "passes": self.rounds.len(), "ns_per_execution": ns.to_json(1), "cpu_ns_per_execution": cpu_ns.to_json(1),
            "executions_per_s": self.rates().to_json(0), "floor_records_per_s": self.floors().to_json(0), "share_of_floor": self.shares().to_json(3),
        });
        shared.to_result("kafka-heartbeat", &asked, &own, spread)
    }

    fn round_json(&self, pipeline: &Judged, floor: &Judged) -> Value {
        let cpu = |seconds: Option<f64>| seconds.map(|seconds| number(seconds, 2));
        json!({
            "executions_per_s": number(self.rate(&pipeline.run), 0),
            "floor_records_per_s": number(self.rate(&floor.run), 0),
            "share_of_floor": number(self.rate(&pipeline.run) / self.rate(&floor.run), 3),
            "client_cpu_s": number(pipeline.run.client_cpu_s, 2),
            "broker_cpu_s": cpu(pipeline.run.broker_cpu_s),
            "floor_client_cpu_s": number(floor.run.client_cpu_s, 2),
            "floor_broker_cpu_s": cpu(floor.run.broker_cpu_s),
            "rss_mb": number(pipeline.run.resident_bytes as f64 / 1e6, 0),
            "failed": pipeline.balance.failed,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { records, partitions, shards, profile, .. } = self.settings;
        let (rates, floors, shares) = (self.rates(), self.floors(), self.shares());
        let (profile, rounds) = (profile.name(), self.rounds.len());
        writeln!(f, "kafka-heartbeat: {records} records, profile {profile}, {partitions} partitions, {shards} shard(s), {rounds} rounds")?;
        writeln!(f, "  {:>12.0} executions/s, median ({:.0} to {:.0})", rates.median, rates.min, rates.max)?;
        writeln!(f, "  {:>12.0} records/s of the floor, median ({:.0} to {:.0})", floors.median, floors.min, floors.max)?;
        writeln!(f, "  {:>11.1} % of the floor, median of the rounds ({:.1} to {:.1})", shares.median * 100.0, shares.min * 100.0, shares.max * 100.0)?;
        for (pipeline, floor) in &self.rounds {
            let broker = pipeline.run.broker_cpu_s.map_or_else(String::new, |seconds| format!(", broker {seconds:.2} s"));
            let (rate, floor) = (self.rate(&pipeline.run), self.rate(&floor.run));
            writeln!(f, "  {rate:>12.0} against {floor:.0}; client {:.2} s{broker} of processor time", pipeline.run.client_cpu_s)?;
        }
        write!(f, "  {:>12} lost, {} duplicates, results of all runs read back", self.lost(), self.sum(|balance| balance.duplicates))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::SHARED_KEYS;

    fn judged(seconds: f64, bytes: u64) -> Judged {
        let run = Run { elapsed: Duration::from_secs_f64(seconds), client_cpu_s: 1.5, broker_cpu_s: None, allocations: 0, resident_bytes: 100_000_000 };
        Judged { run, balance: Balance { lost: 0, duplicates: 1, unknown: 0, failed: 10, results: 1_000, bytes } }
    }

    /// Settings of the tests of all these cases.
    pub(super) fn settings() -> Settings {
        Settings {
            brokers: String::new(),
            records: 1_000,
            partitions: 4,
            shards: 1,
            rounds: 3,
            profile: Profile::Throughput,
            delivery: Delivery::AtLeastOnce,
            floor: Floor::Splice,
            ordering: Ordering::Key,
            broker_pid: None,
            client_options: Vec::new(),
        }
    }

    #[test]
    fn outcome_has_medians_and_the_share_of_each_round() {
        let rounds = vec![(judged(2.0, 0), judged(1.0, 0)), (judged(4.0, 0), judged(1.0, 0)), (judged(1.0, 0), judged(0.8, 0))];
        let json = Outcome { settings: settings(), source_bytes: 200_000, insert_bytes: 90, rounds }.to_json();
        assert_eq!((&json["executions_per_s"], &json["floor_records_per_s"], &json["share_of_floor"]), (&json!(500), &json!(1000), &number(0.5, 3)));
        let shares: Vec<f64> = json["rounds"].as_array().unwrap().iter().map(|round| round["share_of_floor"].as_f64().unwrap()).collect();
        assert_eq!(shares, [0.5, 0.25, 0.8]);
        assert_eq!((&json["lost"], &json["duplicates"], &json["broker_cpu_s"], &json["rss_mb"]), (&json!(0), &json!(6), &Value::Null, &json!(100)));
        assert!(SHARED_KEYS.iter().all(|key| json.get(key).is_some()), "{json}");
        assert_eq!((&json["executions"], &json["ns_per_execution"]), (&json!(3_000), &number(2e6, 1)), "the median round took 2 s for 1,000");
    }

    #[test]
    fn floor_makes_outputs_of_the_mean_size() {
        let filled = Filled { ends: vec![1_000], bytes: 200_000 };
        assert_eq!(insert(&judged(1.0, 294_000).balance, &filled, 1_000), 94);
        assert_eq!(insert(&judged(1.0, 100).balance, &filled, 1_000), 0);
    }

    #[test]
    fn nothing_to_measure_is_wrong_usage() {
        let error = run(&Settings { rounds: 0, ..settings() }, &mut |_| {}).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
