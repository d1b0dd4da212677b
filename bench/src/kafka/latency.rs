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
use super::{Bench, COMMIT_INTERVAL_MS, Settings, round};
use crate::clock::pause;
use crate::error::Error;
use crate::probe;
use crate::spread::number;
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
    end: u64,
    max: u64,
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
    let after = round::Costs::now(settings.broker_pid);
    pipeline.request_shutdown();
    pipeline.join(round::ENDED_WITHIN).map_err(|error| Error::surroundings("ending the pipeline", error))?;
    Ok(to_json(settings, load, &said, memory, &before, &after))
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
        let bytes = probe::resident_bytes().unwrap_or(0);
        memory.max = memory.max.max(bytes);
        if started.elapsed() < Duration::from_secs(u64::from(load.seconds)) {
            memory.end = bytes;
            if started.elapsed() >= Duration::from_mins(1) {
                memory.minute.get_or_insert(bytes);
            }
        }
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

fn to_json(settings: &Settings, load: &Load, said: &Value, memory: Memory, before: &round::Costs, after: &round::Costs) -> Value {
    let mb = |bytes: u64| number(bytes as f64 / 1e6, 1);
    let results = said["results"].as_f64().unwrap_or(0.0);
    let client_cpu_s = after.client_s - before.client_s;
    let broker_cpu_s = after.broker_s.zip(before.broker_s).map(|(after, before)| number(after - before, 2));
    json!({
        "case": "kafka-latency",
        "rate": load.rate,
        "duration_s": load.seconds,
        "warm_up_s": load.warm_up_s(),
        "profile": settings.profile.name(),
        "partitions": settings.partitions,
        "shards": settings.shards,
        "records": said["records"],
        "executions_per_s": number(results / said["elapsed_s"].as_f64().unwrap_or(f64::INFINITY), 0),
        "latency_ms": said["latency_ms"],
        "sender_late_ms": said["sender_late_ms"],
        "rss_mb": {"start": mb(memory.start), "minute": memory.minute.map(mb), "end": mb(memory.end), "max": mb(memory.max)},
        "client_cpu_s": number(client_cpu_s, 2),
        "client_cpu_us_per_record": number(client_cpu_s * 1e6 / results.max(1.0), 3),
        "broker_cpu_s": broker_cpu_s,
        "commit_interval_ms": COMMIT_INTERVAL_MS,
        "lost": said["lost"],
        "duplicates": said["duplicates"],
        "unknown": said["unknown"],
        "failed": said["failed"],
    })
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    let (latency, late, memory) = (&json["latency_ms"], &json["sender_late_ms"], &json["rss_mb"]);
    format!(
        "kafka-latency: {} records/s offered for {} s, profile {}, {} partitions, {} shard(s)\n\
        {:>12} executions/s\n\
        {:>12} ms from the intended instant to the reader, median; p99 {}, p99.9 {}, greatest {}\n\
        {:>12} ms that the sender was late itself, p99 (part of the above)\n\
        {:>12} MB resident at the start; after a minute {}, at the end {}, greatest {}\n\
        {:>12} µs of the pipeline's processor time a record\n\
        {:>12} lost, {} duplicates",
        json["rate"],
        json["duration_s"],
        json["profile"].as_str().unwrap_or_default(),
        json["partitions"],
        json["shards"],
        json["executions_per_s"],
        latency["p50"],
        latency["p99"],
        latency["p999"],
        latency["max"],
        late["p99"],
        memory["start"],
        memory["minute"],
        memory["end"],
        memory["max"],
        json["client_cpu_us_per_record"],
        json["lost"],
        json["duplicates"],
    )
}

/// Source records without a result.
#[must_use]
pub fn lost(json: &Value) -> u64 {
    json["lost"].as_u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_left_out_but_never_everything() {
        let load = |seconds| Load { rate: 1, seconds, histogram: None };
        assert_eq!([1, 5, 10, 25, 600].map(|seconds| load(seconds).warm_up_s()), [0, 1, 2, 5, 5]);
    }

    #[test]
    fn a_load_that_says_nothing_of_losses_has_lost() {
        assert_eq!((lost(&json!({"lost": 0})), lost(&json!({}))), (0, u64::MAX));
    }
}
