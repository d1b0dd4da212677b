//! Case `heartbeat-rate`: latency of the engine alone at an offered rate, open loop.
//!
//! One pinned thread is offered executions of the canonical workflow at a fixed rate, whatever becomes of them; latency counts from the instant at which each was due. What an interruption of the machine holds up counts in full. Not measured: Kafka; the thread spins between two executions, so a wake-up is not in it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, usage};
use crate::cases::heartbeat;
use crate::error::Error;
use crate::load::{Latency, OpenLoop, Schedule};
use crate::outcome::Outcome;
use crate::spread::number;
use crate::timing::{Timing, check, pinned};
use crate::workflow::Runner;
use crate::{alloc, probe};

/// Distinct messages.
const MESSAGES: u32 = 50_000;

/// From the end of the preparations to the first execution.
const AHEAD: Duration = Duration::from_millis(2);

/// Flags of `run heartbeat-rate`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Executions offered a second
    #[arg(long, value_name = "R", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    rate: u64,
    /// How long
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Also write the whole distribution to this file, in HdrHistogram's text form
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
}

/// `run heartbeat-rate`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { rate, seconds, histogram } = Flags::from_arg_matches(matches).map_err(usage)?;
    let (outcome, latency) = run(rate, rate, seconds)?;
    histogram.map_or(Ok(()), |file| latency.write_hgrm(&file))?;
    let mut report = Report::from(outcome);
    report.json["latency_ms"] = latency.to_json_ms();
    report.json["seconds"] = number(f64::from(seconds), 0);
    Ok(report)
}

/// Runs `slices` of `count` executions each, at `rate` a second.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or the thread cannot be pinned.
///
/// # Panics
/// Never: there are messages, and they repeat.
pub fn run(rate: u64, count: u64, slices: u32) -> Result<(Outcome, Latency), Error> {
    pinned(|| measure(rate, count, slices))
}

fn measure(rate: u64, count: u64, slices: u32) -> Result<(Outcome, Latency), Error> {
    let workload = heartbeat::workload(1, MESSAGES.min(u32::try_from(count).unwrap_or(u32::MAX)))?;
    let mut runner = Runner::new(&workload.program);
    check(&mut runner, &workload.inputs[0], &*workload.expected)?;
    let messages: Vec<&[u8]> = workload.inputs[0].iter().collect();
    let mut timing = Timing { cores: 1, executions: count, times: Vec::new(), cpu: Vec::new(), allocations: 0, latency: Latency::new() };
    let mut elapsed = Duration::ZERO;
    for _ in 0..slices {
        let mut slice = Latency::new();
        let (cpu, allocations) = (probe::thread_cpu(), alloc::allocations());
        let start = Instant::now() + AHEAD;
        let open_loop = OpenLoop { schedule: Schedule::new(rate, start), count };
        let mut next = messages.iter().cycle();
        let busy = open_loop.drive(&mut slice, |index| {
            let message = next.next().expect("there is a message, and they repeat");
            runner.execute(message, i64::try_from(index).unwrap_or(i64::MAX));
        });
        timing.allocations += alloc::allocations() - allocations;
        elapsed += start.elapsed();
        timing.times.push(busy);
        timing.cpu.push(probe::thread_cpu().saturating_sub(cpu));
        timing.latency.add(&slice);
    }
    let latency = timing.latency.clone();
    let mut outcome = Outcome::of("heartbeat-rate", vec![("rate", rate.into())], &timing);
    outcome.executions_per_s = outcome.executions as f64 / elapsed.as_secs_f64();
    let p999 = latency.quantile_ns(0.999) as f64;
    Ok((outcome.with("latency_ns_p999", (p999, None), 0, format!("ns that one in a thousand exceeds, offered {rate}/s, from the intended instant")), latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_executed_and_counted() {
        let (outcome, latency) = run(100_000, 500, 2).unwrap();
        assert_eq!((outcome.executions, latency.count(), outcome.passes), (1_000, 1_000, 2));
        assert_eq!(outcome.to_json()["rate"], 100_000);
    }
}
