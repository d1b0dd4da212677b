//! Case `kafka-latency`: how long a result takes at a fixed offered rate, and how much memory the pipeline has meanwhile.
//!
//! The pipeline runs in this process, so that its memory and processor time are its own; the load is made and read by a second process ([`offer`](super::offer)), since a sender or reader that is in the way of what it measures would be measured too. Both share the processors with the broker all the same.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use expressway_ingest::pipeline::Pipeline;
use expressway_ingest::tasks::NoIntegrations;
use serde_json::{Value, json};

use super::offer::Offer;
use super::{Bench, COMMIT_INTERVAL_MS, Drained, Settings, round};
use crate::clock::pause;
use crate::error::Error;
use crate::outcome::Shared;
use crate::probe;
use crate::spread::{Spread, number};
use crate::workflow::{HEARTBEAT, program};

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);
/// After the load's own time, for its preparations and its last results.
const GRACE: Duration = Duration::from_secs(90);

/// What is offered, and how.
#[derive(Debug, Clone)]
pub struct Load {
    /// Records a second.
    pub rate: u64,
    /// For how long.
    pub seconds: u32,
    /// Where the whole distribution is written to.
    pub histogram: Option<String>,
}

impl Load {
    /// The beginning that is left out of the latencies: the fifth part, at most five seconds.
    #[must_use]
    pub fn warm_up_s(&self) -> u32 {
        (self.seconds / 5).min(5)
    }
}

/// Resident memory of the pipeline's process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    start: u64,
    minute: Option<u64>,
    ten_minutes: Option<u64>,
    end: u64,
    max: u64,
    /// The greatest once the beginning is over.
    warm_max: u64,
}

impl Memory {
    /// Takes note of so many bytes at `elapsed` since the load was started.
    fn enter(&mut self, bytes: u64, elapsed: Duration, load: &Load) {
        self.max = self.max.max(bytes);
        if elapsed >= Duration::from_secs(load.warm_up_s().into()) {
            self.warm_max = self.warm_max.max(bytes);
        }
        if elapsed < Duration::from_secs(load.seconds.into()) {
            self.end = bytes;
            for (minutes, at) in [(1, &mut self.minute), (10, &mut self.ten_minutes)] {
                if elapsed >= Duration::from_mins(minutes) {
                    at.get_or_insert(bytes);
                }
            }
        }
    }

    fn to_json(self) -> Value {
        let mb = |bytes: u64| number(bytes as f64 / 1e6, 1);
        json!({"start": mb(self.start), "minute": self.minute.map(mb), "ten_minutes": self.ten_minutes.map(mb), "end": mb(self.end), "max": mb(self.max)})
    }
}

/// Runs the case, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a pipeline that stops, a load that could not be written.
pub fn run(settings: &Settings, load: &Load, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    if load.rate == 0 || load.seconds == 0 || settings.partitions == 0 || settings.shards == 0 {
        return Err(Error::Usage("rate, duration, partitions and shards have to be 1 or more".to_owned()));
    }
    let mut bench = Bench::connect(settings)?;
    let outcome = measure(&mut bench, settings, load, progress);
    let deleted = bench.clear();
    let outcome = outcome?;
    deleted.map(|()| outcome)
}

fn measure(bench: &mut Bench<'_>, settings: &Settings, load: &Load, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    let (source, results) = (bench.source.clone(), format!("{}-latency", bench.source));
    bench.create(&source, settings.partitions)?;
    bench.create(&format!("{source}-dead-letters"), 1)?;
    bench.create(&results, settings.partitions)?;
    let program = Arc::new(program(HEARTBEAT, "heartbeat")?);
    let pipeline = Pipeline::start(bench.pipeline_settings("latency", &results, &results), program, Arc::new(NoIntegrations));
    let pipeline = pipeline.map_err(|error| Error::surroundings("starting the pipeline", error))?;
    let partitions = usize::try_from(settings.partitions).expect("a number of partitions fits");
    round::wait(&pipeline, "the assignment", round::ASSIGNED_WITHIN, Duration::from_millis(1), || Ok(pipeline.assigned().len() == partitions))?;
    progress(&format!("offering {} records/s for {} s", load.rate, load.seconds));
    let offer = offer(settings, &source, &results, load);
    let before = round::Costs::now(settings.broker_pid);
    let (said, memory) = watch(spawn(&offer, load)?, &pipeline, load)?;
    let costs = round::Costs::now(settings.broker_pid).since(before);
    pipeline.request_shutdown();
    pipeline.join(round::ENDED_WITHIN).map_err(|error| Error::surroundings("ending the pipeline", error))?;
    Ok(to_json(settings, load, &said, memory, costs))
}

/// What the second process is told.
pub(super) fn offer(settings: &Settings, source: &str, results: &str, load: &Load) -> Offer {
    Offer {
        brokers: settings.brokers.clone(),
        source: source.to_owned(),
        results: results.to_owned(),
        partitions: settings.partitions,
        rate: load.rate,
        seconds: load.seconds,
        warm_up_s: load.warm_up_s(),
    }
}

/// The second process: this program again, with the part that sends and reads.
pub(super) fn spawn(offer: &Offer, load: &Load) -> Result<Child, Error> {
    let program = std::env::current_exe().map_err(|error| Error::surroundings("finding this program", error))?;
    let mut command = Command::new(program);
    command.args(["--format", "json", "run", "kafka-latency", "--brokers", &offer.brokers, "--source", &offer.source, "--results", &offer.results]);
    let numbers = [("--partitions", u64::from(offer.partitions)), ("--rate", offer.rate), ("--duration", u64::from(offer.seconds))];
    for (flag, value) in numbers {
        command.arg(flag).arg(value.to_string());
    }
    if let Some(file) = &load.histogram {
        command.args(["--histogram", file]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| Error::surroundings("starting the load", error))
}

/// Waits for the load's end, looking at the memory meanwhile.
fn watch(mut child: Child, pipeline: &Pipeline, load: &Load) -> Result<(Value, Memory), Error> {
    let started = Instant::now();
    let end = started + Duration::from_secs(u64::from(load.seconds)) + GRACE;
    let mut memory = Memory { start: probe::resident_bytes().unwrap_or(0), ..Memory::default() };
    loop {
        let ended = child.try_wait().map_err(|error| Error::surroundings("waiting for the load", error))?;
        let failure = pipeline.failed();
        if failure.is_some() || (ended.is_none() && Instant::now() > end) {
            child.kill().ok();
            let why = failure.map_or_else(|| "the load does not end".to_owned(), |error| error.to_string());
            return Err(Error::surroundings("running the load", why));
        }
        memory.enter(probe::resident_bytes().unwrap_or(0), started.elapsed(), load);
        if ended.is_some() {
            break;
        }
        pause(LOOK);
    }
    Ok((said(child)?, memory))
}

/// What the second process says at its end.
pub(super) fn said(child: Child) -> Result<Value, Error> {
    let output = child.wait_with_output().map_err(|error| Error::surroundings("reading what the load says", error))?;
    if !output.status.success() {
        return Err(Error::surroundings("running the load", format!("it ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Error::surroundings("reading what the load says", error))
}

fn to_json(settings: &Settings, load: &Load, said: &Value, memory: Memory, costs: round::Costs) -> Value {
    let results = said["results"].as_u64().unwrap_or(0);
    let each = results.max(1) as f64;
    let (rate, cpu_ns) = (results as f64 / said["elapsed_s"].as_f64().unwrap_or(f64::INFINITY), Spread::of([costs.client_s * 1e9 / each]));
    let latency = &said["latency_ms"];
    // Whole nanoseconds: the three digits behind the point of a millisecond are microseconds.
    let ns = |quantile: &str| latency[quantile].as_f64().map(|ms| Duration::from_secs_f64(ms / 1e3).as_nanos()).and_then(|ns| u64::try_from(ns).ok());
    let shared = Shared {
        cores: None,
        executions: results,
        executions_per_s: rate,
        ns_per_execution: cpu_ns.median,
        latency_ns: ns("p50").zip(ns("p99")),
        allocations_per_execution: round::allocations_per_execution(costs.allocations, results),
    };
    let asked = json!({
        "rate": load.rate, "duration_s": load.seconds, "warm_up_s": load.warm_up_s(),
        "profile": settings.profile.name(), "partitions": settings.partitions, "shards": settings.shards, "records": said["records"],
    });
    let own = json!({
        "latency_ms": latency,
        "sender_late_ms": said["sender_late_ms"],
        "rss_mb": number(memory.warm_max as f64 / 1e6, 1),
        "rss_mb_over_time": memory.to_json(),
        "client_cpu_s": number(costs.client_s, 2),
        "client_cpu_us_per_record": number(cpu_ns.median / 1e3, 3),
        "broker_cpu_s": costs.broker_s.map(|seconds| number(seconds, 2)),
        "commit_interval_ms": COMMIT_INTERVAL_MS,
        "lost": said["lost"],
        "duplicates": said["duplicates"],
        "unknown": said["unknown"],
        "failed": said["failed"],
    });
    let spread = json!({
        "passes": 1, "ns_per_execution": cpu_ns.to_json(1), "cpu_ns_per_execution": cpu_ns.to_json(1),
        "executions_per_s": Spread::of([rate]).to_json(0),
    });
    shared.to_result("kafka-latency", &asked, &own, spread)
}

/// Adds the other figure of the profile: what it makes of a backlog.
pub fn add_backlog(json: &mut Value, records: u64, drained: Drained) {
    json["backlog_records"] = records.into();
    json["backlog_executions_per_s"] = number(drained.executions_per_s, 0);
    json["lost"] = (lost(json).saturating_add(drained.lost)).into();
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    let (latency, late, memory) = (&json["latency_ms"], &json["sender_late_ms"], &json["rss_mb_over_time"]);
    // A load that ended before has nothing to tell of them.
    let times = [("after a minute", &memory["minute"]), ("after ten", &memory["ten_minutes"])].into_iter().filter(|(_, mb)| !mb.is_null());
    let measured: String = times.map(|(time, mb)| format!(", {time} {mb}")).collect();
    let mut text = format!(
        "kafka-latency: {} records/s offered for {} s, profile {}, {} partitions, {} shard(s)\n\
        {:>12} executions/s\n\
        {:>12} ms from the intended instant to the reader, median; p99 {}, p99.9 {}, greatest {}\n\
        {:>12} ms that the sender was late itself, p99 (part of the above)\n\
        {:>12} MB resident at most after the beginning; at the start {}{}, at the end {}\n\
        {:>12} µs of the pipeline's processor time a record\n\
        {:>12} lost, {} duplicates",
        json["rate"],
        json["duration_s"],
        json["profile"].as_str().unwrap_or_default(),
        json["partitions"],
        json["shards"],
        json["executions_per_s"].to_string(),
        latency["p50"].to_string(),
        latency["p99"],
        latency["p999"],
        latency["max"],
        late["p99"].to_string(),
        json["rss_mb"].to_string(),
        memory["start"],
        measured,
        memory["end"],
        json["client_cpu_us_per_record"].to_string(),
        json["lost"].to_string(),
        json["duplicates"],
    );
    if !json["backlog_records"].is_null() {
        let (rate, records) = (json["backlog_executions_per_s"].to_string(), &json["backlog_records"]);
        text.push_str(&format!("\n{rate:>12} executions/s of the same profile over a backlog of {records} records"));
    }
    text
}

/// Source records without a result.
#[must_use]
pub fn lost(json: &Value) -> u64 {
    json["lost"].as_u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use expressway_ingest::pipeline::Profile;

    use super::super::tests::settings;
    use super::*;
    use crate::outcome::SHARED_KEYS;

    #[test]
    fn a_beginning_is_left_out_but_never_everything() {
        let load = |seconds| Load { rate: 1, seconds, histogram: None };
        assert_eq!([1, 5, 10, 25, 600].map(|seconds| load(seconds).warm_up_s()), [0, 1, 2, 5, 5]);
    }

    #[test]
    fn memory_is_told_at_its_times_and_in_one_number_after_the_beginning() {
        let load = Load { rate: 1, seconds: 610, histogram: None };
        let mut memory = Memory::default();
        for (second, mb) in [(1, 90), (30, 40), (61, 50), (62, 51), (601, 60), (605, 61), (620, 62)] {
            memory.enter(mb * 1_000_000, Duration::from_secs(second), &load);
        }
        let mb = |bytes: f64| number(bytes, 1);
        let expected = json!({"start": mb(0.0), "minute": mb(50.0), "ten_minutes": mb(60.0), "end": mb(61.0), "max": mb(90.0)});
        assert_eq!((memory.to_json(), memory.warm_max), (expected, 62_000_000));
    }

    #[test]
    fn a_result_has_the_shared_keys_and_memory_is_a_number() {
        let settings = Settings { profile: Profile::Latency, shards: 2, ..settings() };
        let load = Load { rate: 1_000, seconds: 10, histogram: None };
        let said =
            json!({"records": 10_000, "results": 10_000, "elapsed_s": 10.0, "latency_ms": {"p50": 4.25, "p99": 10.5, "p999": 20.0, "max": 30.0}, "lost": 0});
        let costs = round::Costs { client_s: 0.015, broker_s: None, allocations: 0 };
        let mut json = to_json(&settings, &load, &said, Memory { warm_max: 73_400_000, ..Memory::default() }, costs);
        assert!(SHARED_KEYS.iter().all(|key| json.get(key).is_some()), "{json}");
        assert_eq!((&json["executions_per_s"], &json["ns_per_execution"], &json["rss_mb"]), (&json!(1_000), &number(1_500.0, 1), &number(73.4, 1)));
        assert_eq!(json["latency_ns"], json!({"p50": 4_250_000, "p99": 10_500_000}));
        assert!(text(&json).contains("at the start 0.0, at the end 0.0\n"), "{}", text(&json));
        add_backlog(&mut json, 7, Drained { executions_per_s: 9.0, lost: 2 });
        assert_eq!((lost(&json), &json["backlog_executions_per_s"]), (2, &json!(9)));
        assert!(text(&json).ends_with("9 executions/s of the same profile over a backlog of 7 records"), "{}", text(&json));
    }

    #[test]
    fn a_load_that_says_nothing_of_losses_has_lost() {
        assert_eq!((lost(&json!({"lost": 0})), lost(&json!({}))), (0, u64::MAX));
    }
}
