//! Times workloads pass by pass: pinned threads, one a core, which meet at a barrier before and after each pass.
//!
//! Every distinct message's output is compared with what the expectation makes of it by hand before anything is timed, which is the warm-up too. Several stages of one run take turns pass by pass, so that what disturbs the machine disturbs all of them; the best pass counts, as what disturbs a pass only ever makes it slower, and the others are given as its spread. Latencies of single executions come from a pass of their own, since reading the clock costs some 20 ns: they include one reading. On a machine that others use, too, the processor time of each pass tells how much of a slow one was theirs.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use expressway_engine::Program;
use serde_json::Value;

use crate::error::Error;
use crate::load::Latency;
use crate::messages::Messages;
use crate::spread::{Spread, per_second};
use crate::workflow::{Runner, TOPIC};
use crate::{alloc, probe};

/// Timed passes, unless a case has a reason of its own.
pub const PASSES: u32 = 41;

/// Multiplications that a pass of [`Load::Spin`] makes: about a twentieth of a second.
const SPINS: u64 = 30_000_000;

/// The output that an input of an execution with a name has to have, or why the input is broken.
pub type Expected = dyn Fn(&[u8], &str) -> Result<Vec<u8>, serde_json::Error> + Send + Sync;

/// A program, messages for each core, and what is to come of them.
pub struct Workload {
    /// What is executed.
    pub program: Program,
    /// The messages of each thread.
    pub inputs: Vec<Messages>,
    /// What every output is compared with.
    pub expected: Box<Expected>,
}

/// What a stage does.
pub enum Load<'w> {
    /// Every message once a pass.
    Workload(&'w Workload),
    /// A loop in registers: what the machine itself makes of so many cores.
    Spin,
}

/// One of the things that take turns.
pub struct Stage<'w> {
    /// What it does.
    pub load: Load<'w>,
    /// Threads that do it; the others wait meanwhile.
    pub cores: usize,
}

impl<'w> Stage<'w> {
    /// A workload on all the cores that it has messages for.
    #[must_use]
    pub fn of(workload: &'w Workload) -> Self {
        Self { load: Load::Workload(workload), cores: workload.inputs.len() }
    }
}

/// What was measured of a stage.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Threads.
    pub cores: usize,
    /// Executions of one thread in one pass.
    pub executions: u64,
    /// Time of each pass, from the first thread's start to the last one's end.
    pub times: Vec<Duration>,
    /// Processor time of each pass of each thread.
    pub cpu: Vec<Duration>,
    /// Heap allocations of all passes.
    pub allocations: u64,
    /// Single executions.
    pub latency: Latency,
}

impl Timing {
    /// Nanoseconds for one execution of one thread, pass by pass.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread::of(self.ns(&self.times))
    }

    /// As [`spread`](Self::spread), in processor time.
    #[must_use]
    pub fn cpu_spread(&self) -> Spread {
        Spread::of(self.ns(&self.cpu))
    }

    fn ns(&self, times: &[Duration]) -> impl Iterator<Item = f64> {
        times.iter().map(|time| 1e9 / per_second(self.executions, *time))
    }

    /// As [`less`](Self::less), in processor time.
    #[must_use]
    pub fn less_cpu(&self, without: &Self, units: f64) -> f64 {
        (self.cpu_spread().min - without.cpu_spread().min) / units
    }

    /// What each of `units` takes that an execution of `self` has and one of `without` has not: the difference of the best passes, and pass by pass its spread.
    #[must_use]
    pub fn less(&self, without: &Self, units: f64) -> (f64, Spread) {
        let best = (self.spread().min - without.spread().min) / units;
        (best, Spread::of(self.ns(&self.times).zip(without.ns(&without.times)).map(|(all, some)| (all - some) / units)))
    }
}

/// Times `stages` in turns.
///
/// # Errors
/// An output differs from what is expected, or threads cannot be pinned.
///
/// # Panics
/// A measuring thread panics.
pub fn time(stages: &[Stage<'_>], passes: u32) -> Result<Vec<Timing>, Error> {
    let cores = stages.iter().map(|stage| stage.cores).max().unwrap_or(0);
    let places = places(cores)?;
    let barrier = &Barrier::new(cores + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = places.iter().enumerate().map(|(core, &place)| scope.spawn(move || on_core(core, place, stages, passes, barrier))).collect();
        let allocations = count_allocations(stages, passes, barrier);
        let measured: Result<Vec<_>, Error> = threads.into_iter().map(|thread| thread.join().expect("a measuring thread does not panic")).collect();
        let measured = measured?;
        let by_stage = stages.iter().zip(allocations).enumerate();
        Ok(by_stage.map(|(index, (stage, allocations))| together(stage, allocations, measured.iter().map(|stages| &stages[index]))).collect())
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

/// Refuses more cores than there are, before anything is made for them.
///
/// # Errors
/// So many are not there.
pub fn require_cores(cores: usize) -> Result<(), Error> {
    places(cores).map(drop)
}

/// Runs `work` on a thread of its own, pinned to the core that a measurement on one core uses. Not on the caller's: whoever is pinned has one core to offer to what comes next.
///
/// # Errors
/// The system refuses, or `work` fails.
///
/// # Panics
/// `work` panics.
pub fn pinned<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let place = places(1)?[0];
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| pin_to(place).and_then(|()| work()));
        thread.join().expect("a measuring thread does not panic")
    })
}

fn pin_to(place: CoreId) -> Result<(), Error> {
    if core_affinity::set_for_current(place) {
        Ok(())
    } else {
        Err(Error::surroundings(format!("pinning a thread to core {}", place.id), "the system refused"))
    }
}

/// What one thread measured of one stage. It reads the clock itself: whoever waits for it may be kept off the processor.
struct Measured {
    /// Start and end of each pass.
    times: Vec<(Instant, Instant)>,
    /// Processor time of each pass.
    cpu: Vec<Duration>,
    /// Single executions.
    latency: Latency,
}

/// A stage's part on one thread.
enum Part<'w> {
    Runs(Box<Runner<'w>>, &'w Messages, &'w Expected),
    Spins,
    Waits,
}

impl<'w> Part<'w> {
    fn of(stage: &Stage<'w>, core: usize) -> Self {
        match stage.load {
            _ if core >= stage.cores => Self::Waits,
            Load::Spin => Self::Spins,
            Load::Workload(workload) => Self::Runs(Box::new(Runner::new(&workload.program)), &workload.inputs[core], &*workload.expected),
        }
    }

    /// Checks every message, which warms up.
    fn check(&mut self) -> Result<(), Error> {
        let Self::Runs(runner, messages, expected) = self else { return Ok(()) };
        check(runner, messages, *expected)
    }

    fn pass(&mut self) {
        match self {
            Self::Runs(runner, messages, _) => pass(runner, messages),
            Self::Spins => spin(),
            Self::Waits => {}
        }
    }

    fn latency(&mut self) -> Latency {
        let mut latency = Latency::new();
        let Self::Runs(runner, messages, _) = self else { return latency };
        for (offset, message) in (0_i64..).zip(messages.iter()) {
            let start = Instant::now();
            black_box(runner.offer(message, offset).is_ok());
            latency.record(start, Instant::now());
        }
        latency
    }
}

/// One thread: check and warm up, then every pass between two meetings at the barrier. An error is kept to the end, so that nobody waits in vain.
fn on_core(core: usize, place: CoreId, stages: &[Stage<'_>], passes: u32, barrier: &Barrier) -> Result<Vec<Measured>, Error> {
    let pinned = pin_to(place);
    let mut parts: Vec<Part<'_>> = stages.iter().map(|stage| Part::of(stage, core)).collect();
    let checked = parts.iter_mut().try_for_each(|part| {
        let checked = part.check();
        part.pass();
        checked
    });
    let capacity = usize::try_from(passes).expect("a number of passes fits");
    let empty = || Measured { times: Vec::with_capacity(capacity), cpu: Vec::with_capacity(capacity), latency: Latency::new() };
    let mut measured: Vec<Measured> = parts.iter().map(|_| empty()).collect();
    barrier.wait();
    for _ in 0..passes {
        for (part, measured) in parts.iter_mut().zip(&mut measured) {
            barrier.wait();
            if !matches!(part, Part::Waits) {
                let (before, start) = (probe::thread_cpu(), Instant::now());
                part.pass();
                let end = Instant::now();
                measured.cpu.push(probe::thread_cpu().saturating_sub(before));
                measured.times.push((start, end));
            }
            barrier.wait();
        }
    }
    // Whoever counts allocations has read the count.
    barrier.wait();
    pinned?;
    checked?;
    for (part, measured) in parts.iter_mut().zip(&mut measured) {
        measured.latency = part.latency();
    }
    Ok(measured)
}

/// Every message once, compared with what is expected of it: the same bytes, or the same JSON where the expectation spells a number or a string differently.
///
/// # Errors
/// The first output that is wrong, with its message.
pub fn check(runner: &mut Runner<'_>, messages: &Messages, expected: &Expected) -> Result<(), Error> {
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        let expected = expected(message, &format!("{TOPIC}-0-{offset}")).map_err(|error| error.to_string());
        let output = runner.offer(message, offset).map_err(|fault| fault.to_string());
        let is_right = match (&output, &expected) {
            (Ok(output), Ok(expected)) => output == expected || is_same_json(output, expected),
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !is_right {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (message, output, expected) =
                (text(message), output.map_or_else(|fault| fault, text), expected.map_or_else(|fault| fault, |bytes| text(&bytes)));
            return Err(Error::Wrong(format!("the output is wrong\n  message:  {message}\n  output:   {output}\n  expected: {expected}")));
        }
    }
    Ok(())
}

fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    read(one).is_some_and(|one| read(other).is_some_and(|other| one == other))
}

fn pass(runner: &mut Runner<'_>, messages: &Messages) {
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        black_box(runner.offer(message, offset).is_ok());
    }
}

/// Multiplications that wait for each other: no memory, no branches that could be guessed wrong.
fn spin() {
    let mut mixed = 1_u64;
    for _ in 0..SPINS {
        mixed = black_box(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

/// Allocations of all passes of each stage. Nothing else happens in the process meanwhile.
fn count_allocations(stages: &[Stage<'_>], passes: u32, barrier: &Barrier) -> Vec<u64> {
    let mut counts = vec![0; stages.len()];
    // All are warm; from here on the threads only wait and run passes.
    barrier.wait();
    for _ in 0..passes {
        for count in &mut counts {
            // Counted from before the start signal, so that an allocation right after it is not missed; waiting allocates nothing.
            let before = alloc::allocations();
            barrier.wait();
            barrier.wait();
            *count += alloc::allocations() - before;
        }
    }
    barrier.wait();
    counts
}

/// A stage's timing from what its threads measured: a pass lasts from the first one's start to the last one's end.
fn together<'m>(stage: &Stage<'_>, allocations: u64, threads: impl Iterator<Item = &'m Measured>) -> Timing {
    let executions = match stage.load {
        Load::Workload(workload) => workload.inputs.first().map_or(0, Messages::len) as u64,
        Load::Spin => 1,
    };
    let threads: Vec<_> = threads.take(stage.cores).collect();
    let passes = threads.iter().map(|thread| thread.times.len()).min().unwrap_or(0);
    let length = |pass: usize| {
        let starts = threads.iter().map(|thread| thread.times[pass].0).min();
        let ends = threads.iter().map(|thread| thread.times[pass].1).max();
        starts.zip(ends).map_or(Duration::ZERO, |(start, end)| end - start)
    };
    let mut latency = Latency::new();
    threads.iter().for_each(|thread| latency.add(&thread.latency));
    let cpu = threads.iter().flat_map(|thread| thread.cpu.iter().copied()).collect();
    Timing { cores: stage.cores, executions, times: (0..passes).map(length).collect(), cpu, allocations, latency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::workflow::{HEARTBEAT, program};

    fn timing(times: &[u64]) -> Timing {
        let times = times.iter().map(|&ns| Duration::from_nanos(ns)).collect();
        Timing { cores: 1, executions: 10, times, cpu: Vec::new(), allocations: 0, latency: Latency::new() }
    }

    #[test]
    fn a_difference_is_taken_of_the_best_and_its_spread_pass_by_pass() {
        let (all, some) = (timing(&[1_200, 1_400, 1_300]), timing(&[200, 300, 100]));
        let (best, spread) = all.less(&some, 10.0);
        assert!((best - 11.0).abs() < 1e-9, "120 less 10, by ten: {best}");
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(near(spread.min, 10.0) && near(spread.median, 11.0) && near(spread.max, 12.0), "{spread:?}");
    }

    #[test]
    fn a_pass_lasts_from_the_first_start_to_the_last_end() {
        let (zero, ms) = (Instant::now(), Duration::from_millis(1));
        let thread =
            |start: u32, end: u32| Measured { times: vec![(zero + start * ms, zero + end * ms)], cpu: vec![(end - start) * ms], latency: Latency::new() };
        let timing = together(&Stage { load: Load::Spin, cores: 2 }, 7, [thread(0, 10), thread(3, 12), thread(50, 99)].iter());
        assert_eq!((timing.times, timing.cpu, timing.allocations), (vec![12 * ms], vec![10 * ms, 9 * ms], 7));
    }

    #[test]
    fn wrong_output_is_found() {
        let program = program(&HEARTBEAT.replace("\"iot\"", "\"tio\""), "heartbeat").unwrap();
        let error = check(&mut Runner::new(&program), &Messages::generate(10, 1), &reference::heartbeat).unwrap_err();
        assert!(error.to_string().contains("\"source\":\"tio\"") && error.exit_code() == 1, "{error}");
    }

    #[test]
    fn broken_messages_have_to_be_found_broken() {
        let program = program(HEARTBEAT, "heartbeat").unwrap();
        let messages = Messages::generate_broken(400, 1, 5_000);
        assert!(check(&mut Runner::new(&program), &messages, &reference::heartbeat).is_ok());
        let lenient = |_: &[u8], _: &str| Ok(b"{}".to_vec());
        assert!(check(&mut Runner::new(&program), &[b"{"].into_iter().collect(), &lenient).is_err());
    }

    #[test]
    fn stages_take_turns_on_as_many_threads_as_they_want() {
        let workload =
            Workload { program: program(HEARTBEAT, "heartbeat").unwrap(), inputs: vec![Messages::generate(100, 1)], expected: Box::new(reference::heartbeat) };
        let timings = time(&[Stage::of(&workload), Stage::of(&workload)], 3).unwrap();
        let counts: Vec<_> = timings.iter().map(|timing| (timing.executions, timing.times.len(), timing.cpu.len(), timing.latency.count())).collect();
        assert_eq!(counts, [(100, 3, 3, 100), (100, 3, 3, 100)]);
    }

    #[test]
    fn who_lets_a_thread_be_pinned_keeps_its_own_cores() {
        let before = core_affinity::get_core_ids();
        assert_eq!(pinned(|| Ok(core_affinity::get_core_ids().map(|cores| cores.len()))).unwrap(), Some(1));
        assert_eq!(core_affinity::get_core_ids(), before);
    }

    #[test]
    fn more_cores_than_there_are_is_wrong_usage() {
        assert_eq!(time(&[Stage { load: Load::Spin, cores: 100_000 }], 1).unwrap_err().exit_code(), 2);
    }
}
