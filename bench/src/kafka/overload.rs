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
use crate::probe;
use crate::spread::number;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    acknowledged: u64,
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
    let begin = Instant::now();
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
            readings.push(Reading { acknowledged: pipeline.counters().records_acknowledged, resident_bytes: probe::resident_bytes().unwrap_or(0), is_offered });
            if is_offered {
                lag_at_end = pipeline.lag().iter().map(|lag| lag.records).sum();
                offered_until = Some(begin.elapsed());
            }
        }
        pause(LOOK);
    }
    let elapsed = begin.elapsed();
    let said = latency::said(child)?;
    end(&pipeline)?;
    let drained_in = elapsed.saturating_sub(offered_until.unwrap_or_default());
    Ok(to_json(bench.settings, overload, capacity, &readings, &said, lag_at_end, drained_in))
}

/// Acknowledgements a second, each the mean of a few readings; the first are left out, for nothing was offered yet.
fn rates(readings: &[Reading]) -> Vec<f64> {
    let offered: Vec<u64> =
        readings.iter().filter(|reading| reading.is_offered && reading.acknowledged > 0).map(|reading| reading.acknowledged).skip(1).collect();
    offered.windows(MEAN_OF + 1).map(|window| (window[MEAN_OF] - window[0]) as f64 / (READING.as_secs_f64() * MEAN_OF as f64)).collect()
}

/// Greatest resident memory of the offered time's second and last third, in bytes.
fn memory(readings: &[Reading]) -> (u64, u64) {
    let offered: Vec<u64> = readings.iter().filter(|reading| reading.is_offered).map(|reading| reading.resident_bytes).collect();
    let third = offered.len() / 3;
    let greatest = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    (greatest(&offered[third..2 * third]), greatest(&offered[2 * third..]))
}

fn to_json(settings: &Settings, overload: Overload, capacity: u64, readings: &[Reading], said: &Value, lag: u64, drained_in: Duration) -> Value {
    let rates = rates(readings);
    let peak = rates.iter().copied().fold(0.0, f64::max);
    let least = rates.iter().copied().fold(peak, f64::min);
    let (earlier, later) = memory(readings);
    let most = readings.iter().map(|reading| reading.resident_bytes).max().unwrap_or(0);
    let mb = |bytes: u64| number(bytes as f64 / 1e6, 1);
    json!({
        "case": "overload",
        "capacity_per_s": capacity,
        "offered_per_s": capacity * overload.times,
        "duration_s": overload.seconds,
        "states": overload.states,
        "partitions": settings.partitions,
        "shards": settings.shards,
        "records": said["records"],
        "throughput_per_s": {"peak": number(peak, 0), "least": number(least, 0), "share": number(least / peak.max(1.0), 3)},
        "rss_mb": {"second_third": mb(earlier), "last_third": mb(later), "max": mb(most), "growth": number(later as f64 / earlier.max(1) as f64, 3)},
        "lag_at_end": lag,
        "drained_in_s": number(drained_in.as_secs_f64(), 1),
        "lost": said["lost"],
        "duplicates": said["duplicates"],
        "unknown": said["unknown"],
    })
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    let (throughput, memory) = (&json["throughput_per_s"], &json["rss_mb"]);
    format!(
        "overload: {} records/s offered for {} s to a capacity of {}, {} states, {} shard(s)\n\
        {:>12} executions/s at the peak, at least {} ({} of it)\n\
        {:>12} MB resident in the second third, {} in the last\n\
        {:>12} records behind at the end, drained in {} s\n\
        {:>12} lost, {} duplicates",
        json["offered_per_s"],
        json["duration_s"],
        json["capacity_per_s"],
        json["states"],
        json["shards"],
        throughput["peak"],
        throughput["least"],
        throughput["share"],
        memory["second_third"],
        memory["last_third"],
        json["lag_at_end"],
        json["drained_in_s"],
        json["lost"],
        json["duplicates"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(second: u64, rate: u64, mb: u64) -> Reading {
        Reading { acknowledged: second * rate, resident_bytes: mb << 20, is_offered: second < 20 }
    }

    #[test]
    fn only_the_offered_time_counts_without_its_beginning() {
        let readings: Vec<_> = (0..30).map(|second| reading(second, 100, second)).collect();
        let rates = rates(&readings);
        assert!(rates.len() > 10 && rates.iter().all(|rate| (*rate - 100.0).abs() < 1e-9), "{rates:?}");
        assert_eq!(memory(&readings), (11 << 20, 19 << 20));
        assert_eq!(memory(&[]), (0, 0));
    }
}
