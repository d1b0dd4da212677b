//! Case `kafka-lag`: a backlog is drained within a limit of memory.
//!
//! The topic is filled by a second process, so that this one has never held more than the pipeline needs. Resident memory is looked at every 20 ms from before the start until the last acknowledgement: what counts is the greatest figure, librdkafka, code and stacks in it. Then the result topic is read back.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use expressway_ingest::pipeline::{Pipeline, memory};
use expressway_ingest::tasks::NoIntegrations;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::ledger::{Balance, Ledger};
use super::{Bench, Settings, round};
use crate::error::Error;
use crate::outcome::Shared;
use crate::probe;
use crate::spread::{Spread, number, per_second};
use crate::workflow::{HEARTBEAT, program};

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(20);
/// How long the backlog may take.
const DRAINED_WITHIN: Duration = Duration::from_mins(60);

/// Fills a topic that is there: the part of the second process.
///
/// # Errors
/// No broker in reach, or records that it does not take.
pub fn fill(brokers: &str, topic: &str, partitions: u32, records: u64) -> Result<(), Error> {
    Cluster::connect(brokers)?.fill(topic, partitions, records).map(drop)
}

/// Runs the case, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a pipeline that stops.
pub fn run(settings: &Settings, memory_limit: Option<u64>, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    let mut bench = Bench::connect(settings)?;
    let outcome = measure(&mut bench, memory_limit, progress);
    let deleted = bench.clear();
    let outcome = outcome?;
    deleted.map(|()| outcome)
}

fn measure(bench: &mut Bench<'_>, memory_limit: Option<u64>, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    let Settings { records, partitions, .. } = *bench.settings;
    let (source, results) = (bench.source.clone(), format!("{}-lag", bench.source));
    bench.create(&source, partitions)?;
    bench.create(&format!("{source}-dead-letters"), 1)?;
    bench.create(&results, partitions)?;
    fill_elsewhere(&bench.settings.brokers, &source, partitions, records)?;
    progress(&format!("{records} records in {source}"));
    let program = Arc::new(program(HEARTBEAT, "heartbeat")?);
    let start_bytes = probe::resident_bytes().unwrap_or(0);
    let mut pipeline_settings = bench.pipeline_settings("lag", &results, &results);
    pipeline_settings.memory_limit = memory_limit.map(|limit| memory::pipeline_share(limit, 1));
    let pipeline = Pipeline::start(pipeline_settings, program, Arc::new(NoIntegrations));
    let pipeline = pipeline.map_err(|error| Error::surroundings("starting the pipeline", error))?;
    let assigned = usize::try_from(partitions).expect("a number of partitions fits");
    round::wait(&pipeline, "the assignment", round::ASSIGNED_WITHIN, Duration::from_millis(1), || Ok(pipeline.assigned().len() == assigned))?;
    let (start, before) = (Instant::now(), round::Costs::now(bench.settings.broker_pid));
    let (mut most_bytes, mut open_bytes) = (start_bytes, 0);
    round::wait(&pipeline, "the last acknowledgement", DRAINED_WITHIN, LOOK, || {
        let counters = pipeline.counters();
        most_bytes = most_bytes.max(probe::resident_bytes().unwrap_or(0));
        open_bytes = open_bytes.max(counters.open_bytes);
        Ok(counters.records_acknowledged >= records)
    })?;
    let (elapsed, costs, end_bytes) = (start.elapsed(), round::Costs::now(bench.settings.broker_pid).since(before), probe::resident_bytes().unwrap_or(0));
    pipeline.request_shutdown();
    let report = pipeline.join(round::ENDED_WITHIN).map_err(|error| Error::surroundings("ending the pipeline", error))?;
    let mut ledger = Ledger::new(&source, &bench.cluster.ends(&source, partitions)?);
    bench.cluster.read_back(&results, partitions, &mut ledger)?;
    let balance = ledger.balance();
    let memory = Memory { limit: memory_limit, start: start_bytes, max: most_bytes, end: end_bytes, open: open_bytes };
    Ok(to_json(bench.settings, memory, elapsed, costs, report.counters.pauses, balance))
}

/// Resident memory of this process and what the pipeline counts as open, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    limit: Option<u64>,
    start: u64,
    max: u64,
    end: u64,
    open: u64,
}

fn to_json(settings: &Settings, memory: Memory, elapsed: Duration, costs: round::Costs, pauses: u64, balance: Balance) -> Value {
    let records = settings.records;
    let mb = |bytes: u64| number(bytes as f64 / 1e6, 1);
    let one = |seconds: f64| Spread::of([seconds * 1e9 / records as f64]);
    let (rate, ns, cpu_ns) = (per_second(records, elapsed), one(elapsed.as_secs_f64()), one(costs.client_s));
    let shared = Shared {
        cores: None,
        executions: records,
        executions_per_s: rate,
        ns_per_execution: ns.median,
        latency_ns: None,
        allocations_per_execution: round::allocations_per_execution(costs.allocations, records),
    };
    let (profile, limit) = (settings.profile.name(), memory.limit.map(mb));
    let asked = json!({"records": records, "partitions": settings.partitions, "shards": settings.shards, "profile": profile, "memory_limit_mb": limit});
    let own = json!({
        "rss_mb": mb(memory.max),
        "rss_mb_over_time": {"start": mb(memory.start), "max": mb(memory.max), "end": mb(memory.end)},
        "open_mb_max": mb(memory.open),
        "held": memory.limit.is_none_or(|limit| memory.max <= limit),
        "client_cpu_us_per_record": number(cpu_ns.median / 1e3, 3),
        "pauses": pauses,
        "lost": balance.lost,
        "duplicates": balance.duplicates,
        "unknown": balance.unknown,
    });
    let spread = json!({
        "passes": 1, "ns_per_execution": ns.to_json(1), "cpu_ns_per_execution": cpu_ns.to_json(1), "executions_per_s": Spread::of([rate]).to_json(0),
    });
    shared.to_result("kafka-lag", &asked, &own, spread)
}

/// The second process: this program again, with the part that fills.
fn fill_elsewhere(brokers: &str, topic: &str, partitions: u32, records: u64) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(|error| Error::surroundings("finding this program", error))?;
    let (partitions, records) = (partitions.to_string(), records.to_string());
    let mut command = Command::new(program);
    command.args(["--format", "json", "run", "kafka-lag", "--brokers", brokers, "--fill", topic, "--partitions", &partitions, "--records", &records]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(|error| Error::surroundings("starting the filler", error))?;
    if ended.success() { Ok(()) } else { Err(Error::surroundings("filling the topic", format!("it ended with {ended}"))) }
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    let memory = &json["rss_mb_over_time"];
    let limit = json["memory_limit_mb"].as_f64().map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit} MB"));
    format!(
        "kafka-lag: {} records, profile {}, {} partitions, {} shard(s), {limit}\n\
        {:>12} executions/s\n\
        {:>12} MB resident at most ({}); at the start {}, at the end {}; counted as open at most {}\n\
        {:>12} µs of the pipeline's processor time a record\n\
        {:>12} lost, {} duplicates",
        json["records"],
        json["profile"].as_str().unwrap_or_default(),
        json["partitions"],
        json["shards"],
        json["executions_per_s"].to_string(),
        memory["max"].to_string(),
        if json["held"] == true { "held" } else { "NOT HELD" },
        memory["start"],
        memory["end"],
        json["open_mb_max"],
        json["client_cpu_us_per_record"].to_string(),
        json["lost"].to_string(),
        json["duplicates"],
    )
}

/// Why the run is worth nothing, if so.
#[must_use]
pub fn fault(json: &Value) -> Option<String> {
    match (json["lost"].as_u64(), json["held"].as_bool()) {
        (Some(0), Some(true)) => None,
        (Some(0), _) => Some(format!("{} MB were resident", json["rss_mb"])),
        (lost, _) => Some(format!("{} records have no result", lost.unwrap_or(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::outcome::SHARED_KEYS;

    #[test]
    fn a_result_has_the_shared_keys_and_memory_is_a_number() {
        let settings = settings();
        let memory = Memory { limit: Some(100_000_000), start: 10_000_000, max: 90_000_000, end: 80_000_000, open: 0 };
        let costs = round::Costs { client_s: 0.001, broker_s: None, allocations: 0 };
        let balance = Balance { lost: 0, duplicates: 0, unknown: 0, failed: 0, results: 1_000, bytes: 0 };
        let json = to_json(&settings, memory, Duration::from_millis(2), costs, 3, balance);
        assert!(SHARED_KEYS.iter().all(|key| json.get(key).is_some()), "{json}");
        assert_eq!((&json["rss_mb"], &json["ns_per_execution"], &json["held"]), (&number(90.0, 1), &number(2_000.0, 1), &json!(true)));
        assert_eq!(fault(&json), None);
    }

    #[test]
    fn a_run_that_says_nothing_of_losses_or_memory_is_worth_nothing() {
        assert_eq!(fault(&json!({"lost": 0, "held": true})), None);
        assert_eq!(fault(&json!({"lost": 0, "held": false, "rss_mb": 7})), Some("7 MB were resident".to_owned()));
        assert!(fault(&json!({"held": true})).is_some() && fault(&json!({"lost": 0})).is_some());
    }
}
