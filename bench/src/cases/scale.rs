//! Case `scale`: two cores against one.
//!
//! The canonical workflow on one pinned thread and on two, and a loop in registers on one and on two, all in turns pass by pass. The loop shares nothing with anybody: its factor is what the machine itself makes of a second core (hyper-threads, clock rates, neighbours), and the engine's factor is to be read beside it.

use clap::{ArgMatches, Args, FromArgMatches as _};

use super::{Report, heartbeat, usage};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::spread::Spread;
use crate::timing::{Load, PASSES, Stage, Timing, time};

/// Messages of each thread: what both together need fits into the caches that one of them has.
const MESSAGES: u32 = 50_000;

/// Flags of `run scale`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Cores to compare with one
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=1_024))]
    cores: u32,
}

/// `run scale`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { cores } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(cores as usize, MESSAGES, PASSES).map(Report::from)
}

/// Runs the case.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or threads cannot be pinned.
pub fn run(cores: usize, messages: u32, passes: u32) -> Result<Outcome, Error> {
    let workload = heartbeat::workload(cores, messages)?;
    let engine = |cores: usize| Stage { load: Load::Workload(&workload), cores };
    let spin = |cores: usize| Stage { load: Load::Spin, cores };
    let timings = time(&[engine(1), engine(cores), spin(1), spin(cores)], passes)?;
    let [one, many, one_spins, many_spin] = &timings[..] else { unreachable!("there is a timing for each of the four stages") };
    let (factor, machine) = (factor(one, many), factor(one_spins, many_spin));
    Ok(Outcome::of("scale", Vec::new(), many)
        .with("factor", factor, 3, format!("times the executions of one core, on {cores}"))
        .with("machine_factor", machine, 3, format!("times the loops of one core, on {cores}: the machine's own factor"))
        .with("share_of_machine", (factor.0 / machine.0, None), 3, "of the machine's own factor"))
}

/// How many times as much many do as one, in the best passes of both, and pass by pass.
fn factor(one: &Timing, many: &Timing) -> (f64, Option<Spread>) {
    let cores = many.cores as f64;
    let by_pass = one.times.iter().zip(&many.times).map(|(one, many)| cores * one.as_secs_f64() / many.as_secs_f64());
    (cores * one.spread().min / many.spread().min, Some(Spread::of(by_pass)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Latency;

    #[test]
    fn factor_counts_what_all_cores_do_in_the_time_of_one() {
        let timing = |cores, ms: &[u64]| {
            let times: Vec<_> = ms.iter().map(|&ms| Duration::from_millis(ms)).collect();
            Timing { cores, executions: 10, cpu: times.clone(), times, allocations: 0, latency: Latency::new() }
        };
        let (best, spread) = factor(&timing(1, &[10, 12]), &timing(2, &[12, 12]));
        assert!((best - 2.0 * 10.0 / 12.0).abs() < 1e-9);
        let spread = spread.unwrap();
        assert!((spread.min - 20.0 / 12.0).abs() < 1e-9 && (spread.max - 2.0).abs() < 1e-9);
    }
}
