//! Case `heartbeat`: the engine alone, messages in memory.
//!
//! Measured: an execution from the bytes of its message to the bytes of its output, start, run and write, in one slot, on a pinned thread. Not measured: Kafka, threads handing over, anything cold. Each core has a thread, a slot and messages of its own. After every distinct message has been checked once against [`mod@reference`], which is the warm-up too, passes over all messages are timed; the best one counts, as what disturbs a pass only ever makes it slower, and the others are given as its spread. Latencies of single executions come from a pass of their own, since reading the clock costs some 20 ns: they include one reading. On a machine that others use, too, the processor time of each pass tells how much of a slow one was theirs.

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use expressway_engine::Program;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::error::Error;
use crate::messages::Messages;
use crate::spread::{Spread, number, per_second};
use crate::workflow::{HEARTBEAT, Runner, TOPIC, program};
use crate::{alloc, probe, reference};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Pinned threads.
    pub cores: usize,
    /// Distinct messages of each thread.
    pub messages: u32,
    /// Timed passes.
    pub passes: u32,
}

impl Default for Settings {
    /// A pass takes about a twentieth of a second: long beside a thread's wake-up, short beside the changes of a shared machine.
    fn default() -> Self {
        Self { cores: 1, messages: 100_000, passes: 41 }
    }
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Pinned threads.
    pub cores: usize,
    /// Executions of all timed passes.
    pub executions: u64,
    /// Executions a second of all threads together, in the best pass.
    pub executions_per_s: f64,
    /// Time of one thread for one execution, in the best pass.
    pub ns_per_execution: f64,
    /// Middle latency of a single execution.
    pub p50_ns: u64,
    /// Latency that one execution in a hundred exceeds.
    pub p99_ns: u64,
    /// Heap allocations of an execution, over all timed passes; `None` when nobody counts.
    pub allocations_per_execution: Option<f64>,
    /// Time for one execution, pass by pass.
    pub spread: Spread,
    /// Processor time for one execution, pass by pass and thread by thread: what is left when others take the core away.
    pub cpu_spread: Spread,
    /// Timed passes.
    pub passes: u32,
}

impl Outcome {
    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Zero is a count, everything else a mean.
        let allocations = self.allocations_per_execution.map(|mean| number(mean, if mean == 0.0 { 0 } else { 6 }));
        json!({
            "case": "heartbeat",
            "cores": self.cores,
            "executions": self.executions,
            "executions_per_s": number(self.executions_per_s, 0),
            "ns_per_execution": number(self.ns_per_execution, 1),
            "latency_ns": {"p50": self.p50_ns, "p99": self.p99_ns},
            "allocations_per_execution": allocations,
            "spread": {"passes": self.passes, "ns_per_execution": self.spread.to_json(1), "cpu_ns_per_execution": self.cpu_spread.to_json(1)},
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "heartbeat: engine only, messages in memory, {} pinned core(s)", self.cores)?;
        writeln!(
            f,
            "  {:>12.0} executions/s, {:.1} ns each (best of {} passes, {} executions)",
            self.executions_per_s, self.ns_per_execution, self.passes, self.executions
        )?;
        writeln!(f, "  {:>12.1} ns median pass, {:.1} ns worst", self.spread.median, self.spread.max)?;
        writeln!(f, "  {:>12.1} ns of processor time in the median pass, {:.1} in the best", self.cpu_spread.median, self.cpu_spread.min)?;
        writeln!(f, "  {:>12} ns p50 of single executions, {} ns p99 (one clock reading included)", self.p50_ns, self.p99_ns)?;
        match self.allocations_per_execution {
            Some(mean) => writeln!(f, "  {mean:>12} allocations an execution"),
            None => writeln!(f, "  {:>12} allocations: not counted", "-"),
        }
    }
}

/// Runs the case.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or threads cannot be pinned.
///
/// # Panics
/// A measuring thread panics.
pub fn run(settings: &Settings) -> Result<Outcome, Error> {
    let places = places(settings.cores)?;
    let program = program(HEARTBEAT, "heartbeat")?;
    let seeds = 1_u64..;
    let messages: Vec<Messages> = seeds.take(settings.cores).map(|seed| Messages::generate(settings.messages, seed)).collect();
    let (program, barrier) = (&program, &Barrier::new(settings.cores + 1));
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            places.iter().zip(&messages).map(|(&place, messages)| scope.spawn(move || on_core(place, program, messages, settings, barrier))).collect();
        let (times, allocations) = time_passes(settings, barrier);
        let (mut latency, mut cpu) = (new_histogram(), Vec::new());
        for thread in threads {
            let measured = thread.join().expect("a measuring thread does not panic")?;
            latency.add(measured.latency).expect("all histograms have the same bounds");
            cpu.extend(measured.cpu);
        }
        Ok(outcome(settings, &times, &cpu, allocations, &latency))
    })
}

/// The cores to pin to. The last ones first: interrupts tend to be served by the first.
fn places(cores: usize) -> Result<Vec<CoreId>, Error> {
    let mut places = core_affinity::get_core_ids().unwrap_or_default();
    if cores == 0 || places.len() < cores {
        return Err(Error::Usage(format!("{cores} cores are asked for, this machine offers 1 to {}", places.len())));
    }
    places.reverse();
    places.truncate(cores);
    Ok(places)
}

/// What one thread measured itself.
struct Measured {
    /// Processor time of each pass.
    cpu: Vec<Duration>,
    /// Single executions.
    latency: Histogram<u64>,
}

/// One thread: check and warm up, then every pass between two meetings at the barrier. An error is kept to the end, so that nobody waits in vain.
fn on_core(place: CoreId, program: &Program, messages: &Messages, settings: &Settings, barrier: &Barrier) -> Result<Measured, Error> {
    let pinned = core_affinity::set_for_current(place);
    let mut runner = Runner::new(program);
    let checked = check(&mut runner, messages);
    pass(&mut runner, messages);
    let mut cpu = Vec::with_capacity(usize::try_from(settings.passes).expect("a number of passes fits"));
    barrier.wait();
    for _ in 0..settings.passes {
        barrier.wait();
        let before = probe::thread_cpu();
        pass(&mut runner, messages);
        cpu.push(probe::thread_cpu().saturating_sub(before));
        barrier.wait();
    }
    // Whoever counts allocations has read the count.
    barrier.wait();
    if !pinned {
        return Err(Error::surroundings(format!("pinning a thread to core {}", place.id), "the system refused"));
    }
    checked?;
    Ok(Measured { cpu, latency: latencies(&mut runner, messages) })
}

/// Every distinct message once, compared with the same job done by hand.
fn check(runner: &mut Runner<'_>, messages: &Messages) -> Result<(), Error> {
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        let expected =
            reference::heartbeat(message, &format!("{TOPIC}-0-{offset}")).map_err(|error| Error::surroundings("reading a generated message", error))?;
        let output = runner.execute(message, offset);
        if output != expected {
            let [message, output, expected] = [message, output, &expected].map(String::from_utf8_lossy);
            return Err(Error::Wrong(format!("the output is wrong\n  message:  {message}\n  output:   {output}\n  expected: {expected}")));
        }
    }
    Ok(())
}

fn pass(runner: &mut Runner<'_>, messages: &Messages) {
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        black_box(runner.execute(message, offset));
    }
}

/// Time of each pass, and the allocations of all. Nothing else happens in the process meanwhile.
fn time_passes(settings: &Settings, barrier: &Barrier) -> (Vec<Duration>, u64) {
    let mut times = Vec::with_capacity(usize::try_from(settings.passes).expect("a number of passes fits"));
    let mut allocations = 0;
    // All are warm; from here on the threads only wait and run passes.
    barrier.wait();
    for _ in 0..settings.passes {
        // Counted from before the start signal, so that an allocation right after it is not missed; waiting allocates nothing.
        let before = alloc::allocations();
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        times.push(start.elapsed());
        allocations += alloc::allocations() - before;
    }
    barrier.wait();
    (times, allocations)
}

fn latencies(runner: &mut Runner<'_>, messages: &Messages) -> Histogram<u64> {
    let mut latency = new_histogram();
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        let start = Instant::now();
        black_box(runner.execute(message, offset));
        latency.saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    latency
}

/// From a nanosecond to a second, three digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("the bounds are in order and three digits are allowed")
}

fn outcome(settings: &Settings, times: &[Duration], cpu: &[Duration], allocations: u64, latency: &Histogram<u64>) -> Outcome {
    let per_thread = u64::from(settings.messages);
    let executions = per_thread * settings.cores as u64 * times.len() as u64;
    let ns = |times: &[Duration]| Spread::of(times.iter().map(|time| 1e9 / per_second(per_thread, *time)));
    let (spread, cpu_spread) = (ns(times), ns(cpu));
    Outcome {
        cores: settings.cores,
        executions,
        executions_per_s: 1e9 / spread.min * settings.cores as f64,
        ns_per_execution: spread.min,
        p50_ns: latency.value_at_quantile(0.5),
        p99_ns: latency.value_at_quantile(0.99),
        allocations_per_execution: alloc::is_counting().then(|| allocations as f64 / executions as f64),
        spread,
        cpu_spread,
        passes: settings.passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Settings = Settings { cores: 1, messages: 4_000, passes: 3 };

    #[test]
    fn outcome_has_the_keys_that_are_promised() {
        let json = run(&SMALL).unwrap().to_json();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["case", "cores", "executions", "executions_per_s", "ns_per_execution", "latency_ns", "allocations_per_execution", "spread"]);
        assert_eq!(json["executions"], 12_000);
        assert_eq!(json["allocations_per_execution"], Value::Null, "nobody counts in a test");
    }

    #[test]
    fn wrong_output_is_found() {
        let program = program(&HEARTBEAT.replace("\"iot\"", "\"tio\""), "heartbeat").unwrap();
        let error = check(&mut Runner::new(&program), &Messages::generate(10, 1)).unwrap_err();
        assert!(error.to_string().contains("\"source\":\"tio\"") && error.exit_code() == 1, "{error}");
    }

    #[test]
    fn more_cores_than_there_are_is_wrong_usage() {
        assert_eq!(run(&Settings { cores: 100_000, ..SMALL }).unwrap_err().exit_code(), 2);
    }
}
