//! Case `overload`: three times as many records are offered as the pipeline can run, for a while; then it drains.
//!
//! The workflow is a chain of Pass states with a template each, long enough that the shards are what is short and not the broker. First the capacity: a backlog of records is drained and the middle of it timed. Then the same second process as in `kafka-latency` offers that many times over in an open loop, while records acknowledged and resident memory are read once a second. What is asked for: throughput stays near its peak, memory does not grow, the lag does, and everything ends with a result once the load is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use expressway_ingest::pipeline::Pipeline;
use expressway_ingest::tasks::NoIntegrations;
use serde_json::{Value, json};

use super::latency::{self, Load};
use super::{Bench, Settings, round};
use crate::clock::pause;
use crate::definitions::{Work, chain};
use crate::error::Error;
use crate::outcome::Shared;
use crate::probe;
use crate::spread::{Spread, number};
use crate::workflow::program;

/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(50);
/// One reading of throughput and memory.
const READING: Duration = Duration::from_secs(1);
/// Readings that make one figure of throughput: single ones differ by where a bundle's acknowledgement falls.
const MEAN_OF: usize = 5;
/// How long the capacity is measured.
const CAPACITY: Duration = Duration::from_secs(3);

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub struct Overload {
    /// Times the capacity.
    pub times: u64,
    /// For how long.
    pub seconds: u32,
    /// Pass states of the workflow.
    pub states: u32,
}

/// One second of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    at_s: f64,
    acknowledged: u64,
    /// Processor time of this process so far.
    cpu_s: f64,
    resident_bytes: u64,
    is_offered: bool,
}

/// Runs the case, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a pipeline that stops.
pub fn run(settings: &Settings, overload: Overload, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    let capacity = {
        let mut bench = Bench::connect(settings)?;
        let measured = capacity(&mut bench, overload);
        bench.clear()?;
        measured?
    };
    progress(&format!("capacity {capacity} records/s; {} are offered for {} s", capacity * overload.times, overload.seconds));
    let mut bench = Bench::connect(settings)?;
    let outcome = measure(&mut bench, overload, capacity);
    let deleted = bench.clear();
    let outcome = outcome?;
    deleted.map(|()| outcome)
}

fn start(bench: &mut Bench<'_>, overload: Overload, name: &str) -> Result<(Pipeline, String), Error> {
    let (source, results) = (bench.source.clone(), format!("{}-{name}", bench.source));
    bench.create(&source, bench.settings.partitions)?;
    bench.create(&format!("{source}-dead-letters"), 1)?;
    bench.create(&results, bench.settings.partitions)?;
    let program = Arc::new(program(&chain(overload.states, Work::Template), "chain")?);
    let pipeline = Pipeline::start(bench.pipeline_settings(name, &results, &results), program, Arc::new(NoIntegrations));
    let pipeline = pipeline.map_err(|error| Error::surroundings("starting the pipeline", error))?;
    let partitions = usize::try_from(bench.settings.partitions).expect("a number of partitions fits");
    round::wait(&pipeline, "the assignment", round::ASSIGNED_WITHIN, Duration::from_millis(1), || Ok(pipeline.assigned().len() == partitions))?;
    Ok((pipeline, results))
}

/// Records a second, with more of them there than can be run.
fn capacity(bench: &mut Bench<'_>, overload: Overload) -> Result<u64, Error> {
    let (pipeline, _) = start(bench, overload, "capacity")?;
    bench.cluster.fill(&bench.source, bench.settings.partitions, bench.settings.records)?;
    let (begin, before) = (Instant::now(), pipeline.counters().records_acknowledged);
    let all = bench.settings.records;
    round::wait(&pipeline, "the capacity", round::ENDED_WITHIN, LOOK, || Ok(begin.elapsed() >= CAPACITY || pipeline.counters().records_acknowledged >= all))?;
    let (elapsed, done) = (begin.elapsed(), pipeline.counters().records_acknowledged);
    end(&pipeline)?;
    if done >= all {
        return Err(Error::Wrong(format!("all of {all} records were done in {elapsed:?}: too few, or too short a chain, to tell a capacity")));
    }
    let per_second = u128::from(done - before) * 1_000_000_000 / elapsed.as_nanos().max(1);
    Ok(u64::try_from(per_second).expect("a count of records a second fits"))
}

fn end(pipeline: &Pipeline) -> Result<(), Error> {
    pipeline.request_shutdown();
    pipeline.join(round::ENDED_WITHIN).map(drop).map_err(|error| Error::surroundings("ending the pipeline", error))
}

fn measure(bench: &mut Bench<'_>, overload: Overload, capacity: u64) -> Result<Value, Error> {
    let (pipeline, results) = start(bench, overload, "overload")?;
    let load = Load { rate: (capacity * overload.times).max(1), seconds: overload.seconds, histogram: None };
    let mut child = latency::spawn(&latency::offer(bench.settings, &bench.source, &results, &load), &load)?;
    let (begin, before) = (Instant::now(), round::Costs::now(bench.settings.broker_pid));
    let drained_within = Duration::from_secs(u64::from(overload.seconds) * (overload.times + 2) * 2) + round::ENDED_WITHIN;
    let (mut readings, mut next) = (Vec::new(), begin + READING);
    let (mut lag_at_end, mut offered_until) = (0, None);
    while child.try_wait().map_err(|error| Error::surroundings("waiting for the load", error))?.is_none() {
        if pipeline.failed().is_some() || begin.elapsed() > drained_within {
            child.kill().ok();
            let why = pipeline.failed().map_or_else(|| "it does not drain".to_owned(), |error| error.to_string());
            return Err(Error::surroundings("running the load", why));
        }
        if Instant::now() >= next {
            next += READING;
            // The child needs a moment before it sends and offers for just so long; the last record's lag shows when it is over.
            let is_offered = begin.elapsed() < Duration::from_secs(u64::from(overload.seconds));
            readings.push(Reading {
                at_s: begin.elapsed().as_secs_f64(),
                acknowledged: pipeline.counters().records_acknowledged,
                cpu_s: probe::own_cpu_s(),
                resident_bytes: probe::resident_bytes().unwrap_or(0),
                is_offered,
            });
            if is_offered {
                lag_at_end = pipeline.lag().iter().map(|lag| lag.records).sum();
                offered_until = Some(begin.elapsed());
            }
        }
        pause(LOOK);
    }
    let (elapsed, costs) = (begin.elapsed(), round::Costs::now(bench.settings.broker_pid).since(before));
    let said = latency::said(child)?;
    end(&pipeline)?;
    let drained_in = elapsed.saturating_sub(offered_until.unwrap_or_default());
    let seen = Seen { capacity, readings, costs, lag_at_end, drained_in };
    Ok(to_json(bench.settings, overload, &seen, &said))
}

/// Throughput of a few readings together.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    per_s: f64,
    /// When it began, in seconds of the run.
    at_s: f64,
    /// Whether the machine was slow or busy with something else: the processor time that an execution took, or that was to be had.
    cpu_ns_per_execution: f64,
}

/// Acknowledgements a second, each the mean of a few readings; the first are left out, for nothing was offered yet.
fn rates(readings: &[Reading]) -> Vec<Rate> {
    let offered: Vec<Reading> = readings.iter().filter(|reading| reading.is_offered && reading.acknowledged > 0).skip(1).copied().collect();
    let windows = offered.windows(MEAN_OF + 1);
    windows
        .map(|window| {
            let (first, last) = (window[0], window[MEAN_OF]);
            let (done, cpu_s) = ((last.acknowledged - first.acknowledged) as f64, last.cpu_s - first.cpu_s);
            Rate { per_s: done / (last.at_s - first.at_s), at_s: first.at_s, cpu_ns_per_execution: if done > 0.0 { cpu_s * 1e9 / done } else { 0.0 } }
        })
        .collect()
}

/// What is said of the throughput: its greatest and least means, and how many of them lie below nine tenths of the greatest.
fn throughput(rates: &[Rate]) -> Value {
    let by_rate = |a: &&Rate, b: &&Rate| a.per_s.total_cmp(&b.per_s);
    let (Some(peak), Some(least)) = (rates.iter().max_by(by_rate), rates.iter().min_by(by_rate)) else {
        return json!({
            "peak": number(0.0, 0), "least": number(0.0, 0), "share": number(0.0, 3), "peak_at_s": null, "least_at_s": null,
            "peak_cpu_ns_per_execution": null, "least_cpu_ns_per_execution": null, "means": 0, "means_below_nine_tenths": null,
        });
    };
    let below = rates.iter().filter(|rate| rate.per_s < 0.9 * peak.per_s).count();
    json!({
        "peak": number(peak.per_s, 0), "least": number(least.per_s, 0), "share": number(least.per_s / peak.per_s.max(1.0), 3),
        "peak_at_s": number(peak.at_s, 0), "least_at_s": number(least.at_s, 0),
        "peak_cpu_ns_per_execution": number(peak.cpu_ns_per_execution, 0), "least_cpu_ns_per_execution": number(least.cpu_ns_per_execution, 0),
        "means": rates.len(), "means_below_nine_tenths": below,
    })
}

/// Greatest resident memory of the offered time's second and last third, in bytes.
fn memory(readings: &[Reading]) -> (u64, u64) {
    let offered: Vec<u64> = readings.iter().filter(|reading| reading.is_offered).map(|reading| reading.resident_bytes).collect();
    let third = offered.len() / 3;
    let greatest = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    (greatest(&offered[third..2 * third]), greatest(&offered[2 * third..]))
}

/// What this process saw of a run.
struct Seen {
    capacity: u64,
    readings: Vec<Reading>,
    costs: round::Costs,
    lag_at_end: u64,
    drained_in: Duration,
}

fn to_json(settings: &Settings, overload: Overload, seen: &Seen, said: &Value) -> Value {
    let Seen { capacity, readings, costs, lag_at_end, drained_in } = seen;
    let rates = rates(readings);
    let throughput = throughput(&rates);
    let rates = if rates.is_empty() { Spread::of([0.0]) } else { Spread::of(rates.iter().map(|rate| rate.per_s)) };
    let (earlier, later) = memory(readings);
    let most = readings.iter().map(|reading| reading.resident_bytes).max().unwrap_or(0);
    let mb = |bytes: u64| number(bytes as f64 / 1e6, 1);
    let results = said["results"].as_u64().unwrap_or(0);
    let ns = |per_s: f64| if per_s > 0.0 { 1e9 / per_s } else { 0.0 };
    let cpu_ns = Spread::of([costs.client_s * 1e9 / results.max(1) as f64]);
    let shared = Shared {
        cores: None,
        executions: results,
        executions_per_s: rates.median,
        ns_per_execution: ns(rates.median),
        latency_ns: None,
        allocations_per_execution: round::allocations_per_execution(costs.allocations, results),
    };
    let asked = json!({
        "capacity_per_s": capacity, "offered_per_s": capacity * overload.times, "duration_s": overload.seconds, "states": overload.states,
        "profile": settings.profile.name(), "partitions": settings.partitions, "shards": settings.shards, "records": said["records"],
    });
    let own = json!({
        "throughput_per_s": throughput,
        "rss_mb": mb(most),
        "rss_mb_over_time": {"second_third": mb(earlier), "last_third": mb(later), "max": mb(most), "growth": number(later as f64 / earlier.max(1) as f64, 3)},
        "lag_at_end": lag_at_end,
        "drained_in_s": number(drained_in.as_secs_f64(), 1),
        "lost": said["lost"],
        "duplicates": said["duplicates"],
        "unknown": said["unknown"],
    });
    let spread = json!({
        "passes": 1, "executions_per_s": rates.to_json(0), "cpu_ns_per_execution": cpu_ns.to_json(1),
        "ns_per_execution": Spread { min: ns(rates.max), median: ns(rates.median), max: ns(rates.min) }.to_json(1),
    });
    shared.to_result("overload", &asked, &own, spread)
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    let (throughput, memory) = (&json["throughput_per_s"], &json["rss_mb_over_time"]);
    format!(
        "overload: {} records/s offered for {} s to a capacity of {}, {} states, profile {}, {} shard(s)\n\
        {:>12} executions/s at the peak, at least {} ({} of it, {} s after the beginning; {} of {} means below nine tenths)\n\
        {:>12} MB resident in the second third, {} in the last\n\
        {:>12} records behind at the end, drained in {} s\n\
        {:>12} lost, {} duplicates",
        json["offered_per_s"],
        json["duration_s"],
        json["capacity_per_s"],
        json["states"],
        json["profile"].as_str().unwrap_or_default(),
        json["shards"],
        throughput["peak"].to_string(),
        throughput["least"],
        throughput["share"],
        throughput["least_at_s"],
        throughput["means_below_nine_tenths"],
        throughput["means"],
        memory["second_third"].to_string(),
        memory["last_third"],
        json["lag_at_end"].to_string(),
        json["drained_in_s"],
        json["lost"].to_string(),
        json["duplicates"],
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::outcome::SHARED_KEYS;

    fn reading(second: u64, rate: u64, mb: u64) -> Reading {
        Reading { at_s: second as f64, acknowledged: second * rate, cpu_s: second as f64 * 0.5, resident_bytes: mb << 20, is_offered: second < 20 }
    }

    #[test]
    fn only_the_offered_time_counts_without_its_beginning() {
        let readings: Vec<_> = (0..30).map(|second| reading(second, 100, second)).collect();
        let rates = rates(&readings);
        assert!(rates.len() > 10 && rates.iter().all(|rate| (rate.per_s - 100.0).abs() < 1e-9), "{rates:?}");
        assert!(rates.iter().all(|rate| (rate.cpu_ns_per_execution - 5e6).abs() < 1e-3), "{rates:?}");
        // Two seconds without anything: of the means of five seconds that see them the least has lost two fifths.
        let worked = |second: u64| if second > 10 { second - second.min(12) + 10 } else { second };
        let stalled: Vec<_> = (0..20).map(|second| Reading { at_s: second as f64, ..reading(worked(second), 100, 1) }).collect();
        let seen = throughput(&super::rates(&stalled));
        assert_eq!((&seen["peak"], &seen["least"], &seen["least_at_s"]), (&number(100.0, 0), &number(60.0, 0), &number(7.0, 0)), "{seen}");
        assert_eq!((&seen["means_below_nine_tenths"], &seen["least_cpu_ns_per_execution"]), (&json!(6), &number(5e6, 0)), "{seen}");
        assert_eq!(memory(&readings), (11 << 20, 19 << 20));
        assert_eq!(memory(&[]), (0, 0));
    }

    #[test]
    fn a_result_has_the_shared_keys_and_memory_is_a_number() {
        let settings = settings();
        let readings = (0..30).map(|second| reading(second, 100, second)).collect();
        let costs = round::Costs { client_s: 1.0, broker_s: None, allocations: 0 };
        let seen = Seen { capacity: 100, readings, costs, lag_at_end: 7, drained_in: Duration::from_secs(9) };
        let overload = Overload { times: 3, seconds: 20, states: 100 };
        let json = to_json(&settings, overload, &seen, &json!({"records": 6_000, "results": 6_000, "lost": 0}));
        assert!(SHARED_KEYS.iter().all(|key| json.get(key).is_some()), "{json}");
        assert_eq!((&json["executions_per_s"], &json["ns_per_execution"]), (&json!(100), &number(1e7, 1)));
        assert_eq!((&json["rss_mb"], &json["throughput_per_s"]["share"]), (&number(f64::from(29 << 20) / 1e6, 1), &number(1.0, 3)));
        let nothing = to_json(&settings, overload, &Seen { readings: Vec::new(), ..seen }, &json!({}));
        assert_eq!(nothing["executions_per_s"], json!(0), "a run without a reading has no rate");
    }
}
