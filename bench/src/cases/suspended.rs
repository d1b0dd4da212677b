//! Case `suspended`: what an execution that waits costs in memory, and an idle slot, and a shard.
//!
//! A shard's own bytes come first: the difference between pipelines of ten shards and of two, by eight, with nothing to do; resident memory has librdkafka's part and the thread's stack in it, and is rounded up to pages. Then the engine alone, as a shard uses it: so many executions of the canonical workflow with a Wait in it are begun, each in its slot; then all are resumed and end. Bytes are what the heap was asked for. Then the same in the service, on mock brokers: one shard takes so many records, all wait at once; that has the slot, the copy of the record, its place in the window and its timer in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Args, FromArgMatches as _};
use expressway_engine::{Effect, EffectId, Effects, ExecutionName, Program, Reply, Resumed, Start, Step, Timestamp};
use expressway_ingest::pipeline::{Engine, Processor};

use super::{Report, usage};
use crate::definitions::waiting_heartbeat;
use crate::error::Error;
use crate::load::Latency;
use crate::messages::Messages;
use crate::mock::{Running, Stand};
use crate::outcome::Outcome;
use crate::timing::{Timing, pinned};
use crate::workflow::{NOW, TOPIC, program};
use crate::{alloc, probe, reference};

/// How long the executions wait: longer than the case takes, shorter than an Express execution may live.
const WAIT_S: u32 = 240;

/// Rounds after the one that makes the slots.
const ROUNDS: u32 = 5;

/// Shards of the larger pipeline, less the one of the smaller.
const FURTHER_SHARDS: u32 = 8;

/// Flags of `run suspended`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Executions that wait at once
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=320_000))]
    executions: u32,
    /// Leave the service out: the engine alone
    #[arg(long)]
    engine_only: bool,
}

/// `run suspended`.
pub(super) fn from_flags(matches: &ArgMatches, progress: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { executions, engine_only } = Flags::from_arg_matches(matches).map_err(usage)?;
    if engine_only {
        return Ok(run(executions)?.into());
    }
    let program = Arc::new(program(&waiting_heartbeat(WAIT_S), "waiting")?);
    // Before there is anything that the allocator might give back to the system meanwhile: that would count as if shards had taken it.
    let shard = shard_bytes(&program)?;
    let outcome = run(executions)?;
    progress(&format!("{executions} executions in the service, on mock brokers"));
    Ok(add_service(outcome, shard, &service(&program, executions)?, executions).into())
}

/// Runs the engine's part.
///
/// # Errors
/// An execution does not wait, or its output is wrong.
pub fn run(executions: u32) -> Result<Outcome, Error> {
    pinned(|| measure(executions))
}

fn measure(executions: u32) -> Result<Outcome, Error> {
    let program = Arc::new(program(&waiting_heartbeat(WAIT_S), "waiting")?);
    let messages = Messages::generate(executions, 1);
    let mut shard = Shard::new(&program, &messages);
    let before = alloc::live_bytes();
    shard.suspend_all()?;
    let suspended = alloc::live_bytes();
    shard.resume_all(Check::Outputs)?;
    let idle = alloc::live_bytes();
    let mut timing = Timing { cores: 1, executions: u64::from(executions), times: Vec::new(), cpu: Vec::new(), allocations: 0, latency: Latency::new() };
    for _ in 0..ROUNDS {
        let (start, cpu, allocations) = (Instant::now(), probe::thread_cpu(), alloc::allocations());
        shard.suspend_all()?;
        shard.resume_all(Check::Nothing)?;
        timing.allocations += alloc::allocations() - allocations;
        timing.times.push(start.elapsed());
        timing.cpu.push(probe::thread_cpu().saturating_sub(cpu));
    }
    let each = |after: u64, before: u64| (after.saturating_sub(before) as f64 / f64::from(executions), None);
    let outcome = Outcome::of("suspended", vec![("suspended", executions.into())], &timing);
    Ok(outcome.with("bytes_per_suspended_execution", each(suspended, before), 0, "bytes of heap an execution that waits, in the engine").with(
        "bytes_per_idle_slot",
        each(idle, before),
        0,
        "bytes of heap an idle slot that has run an execution",
    ))
}

/// Whether outputs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Outputs,
    Nothing,
}

/// The engine as a shard has it, with a slot for each message.
struct Shard<'m> {
    engine: Engine,
    messages: Vec<&'m [u8]>,
    /// What each execution waits for.
    waits: Vec<EffectId>,
    effects: Effects,
    output: Vec<u8>,
}

impl<'m> Shard<'m> {
    fn new(program: &Arc<Program>, messages: &'m Messages) -> Self {
        let messages: Vec<&[u8]> = messages.iter().collect();
        Self { engine: Engine::new(program), waits: Vec::with_capacity(messages.len()), messages, effects: Effects::default(), output: Vec::new() }
    }

    fn suspend_all(&mut self) -> Result<(), Error> {
        self.waits.clear();
        for ((slot, offset), message) in (0_u32..).zip(0_i64..).zip(&self.messages) {
            let start = Start { name: ExecutionName::Position { topic: TOPIC, partition: 0, offset }, now: NOW, seed: 1 };
            let step = self.engine.begin(slot, message, &start, &mut self.effects, &mut self.output);
            let step = step.map_err(|fault| Error::Wrong(format!("a generated message is refused: {fault}")))?;
            let id = self.effects.list.iter().find_map(|effect| match effect {
                Effect::Sleep { id, .. } if id.strand != EffectId::DEADLINE => Some(*id),
                _ => None,
            });
            // Messages of an unknown type fail before they come to the Wait.
            match (step, id) {
                (Step::Suspended, Some(id)) => self.waits.push(id),
                (Step::Failed, None) => self.waits.push(EffectId { slot, generation: 0, strand: EffectId::DEADLINE, sequence: 0 }),
                _ => return Err(Error::Wrong(format!("an execution does not wait, it is {step:?}"))),
            }
            self.effects.clear();
        }
        Ok(())
    }

    fn resume_all(&mut self, check: Check) -> Result<(), Error> {
        let now = Timestamp(NOW.0).plus_ms(u64::from(WAIT_S) * 1_000);
        for (((slot, offset), message), &id) in (0_u32..).zip(0_i64..).zip(&self.messages).zip(&self.waits) {
            if id.strand != EffectId::DEADLINE {
                self.output.clear();
                let step = match self.engine.resume(id, Reply::Elapsed) {
                    Resumed::Accepted => self.engine.proceed(slot, now, &mut self.effects, &mut self.output),
                    Resumed::Stale => Step::Suspended,
                };
                let is_right = step == Step::Succeeded && (check == Check::Nothing || self.is_right(message, offset));
                if !is_right {
                    return Err(Error::Wrong(format!("an execution that waited is {step:?} with {}", String::from_utf8_lossy(&self.output))));
                }
            }
            self.effects.clear();
            self.engine.finish(slot);
        }
        Ok(())
    }

    fn is_right(&self, message: &[u8], offset: i64) -> bool {
        reference::heartbeat(message, &format!("{TOPIC}-0-{offset}")).is_ok_and(|expected| expected == self.output)
    }
}

/// Executions that wait in the service.
#[derive(Debug, Clone, Copy)]
struct Service {
    /// Bytes of heap and of resident memory of one of them.
    execution: (f64, f64),
    /// Executions that waited at once.
    waiting: u64,
}

/// Heap and resident memory now.
fn memory() -> (f64, f64) {
    (alloc::live_bytes() as f64, probe::resident_bytes().unwrap_or(0) as f64)
}

fn less(after: (f64, f64), before: (f64, f64), by: f64) -> (f64, f64) {
    ((after.0 - before.0) / by, (after.1 - before.1) / by)
}

fn service(program: &Arc<Program>, executions: u32) -> Result<Service, Error> {
    let stand = Stand::filled_with(&Messages::generate(executions, 1))?;
    let settings = expressway_ingest::pipeline::Settings { executions_open_max: executions, ..stand.settings("waiting", 1) };
    let before = memory();
    let running = stand.start(settings, program)?;
    // Those that fail are acknowledged, all others are open.
    running.wait("all executions to wait", |pipeline| {
        let counters = pipeline.counters();
        counters.records_acknowledged + counters.executions_open >= u64::from(executions)
    })?;
    crate::clock::pause(Duration::from_millis(500));
    let (after, waiting) = (memory(), running.counters().executions_open);
    running.end()?;
    Ok(Service { execution: less(after, before, waiting.max(1) as f64), waiting })
}

/// Bytes of a further shard with nothing to do. A first pipeline takes what only the first one takes; none ends before all are measured, since what it gave back would be used again.
fn shard_bytes(program: &Arc<Program>) -> Result<(f64, f64), Error> {
    let stand = Stand::filled_with(&Messages::default())?;
    let mut running = Vec::new();
    let mut start = |name: &str, shards: u32| -> Result<(f64, f64), Error> {
        running.push(stand.start(stand.settings(name, shards), program)?);
        Ok(memory())
    };
    let first = start("first", 1)?;
    let few = start("few", 2)?;
    let many = start("many", 2 + FURTHER_SHARDS)?;
    running.into_iter().try_for_each(Running::end)?;
    Ok(less(less(many, few, 1.0), less(few, first, 1.0), f64::from(FURTHER_SHARDS)))
}

fn add_service(outcome: Outcome, shard: (f64, f64), service: &Service, executions: u32) -> Outcome {
    let of = |value: f64| (value, None);
    let waiting = format!("executions of {executions} waited at once in one shard of the service");
    outcome
        .with("service_waiting", of(service.waiting as f64), 0, waiting)
        .with("service_bytes_per_suspended_execution", of(service.execution.0), 0, "bytes of heap an execution that waits, in the service")
        .with("service_rss_bytes_per_suspended_execution", of(service.execution.1), 0, "bytes of resident memory an execution that waits, in the service")
        .with("bytes_per_shard", of(shard.0), 0, "bytes of heap a shard with nothing to do")
        .with("rss_bytes_per_shard", of(shard.1), 0, "bytes of resident memory a shard with nothing to do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_wait_and_end_in_the_engine() {
        let json = run(500).unwrap().to_json();
        assert_eq!((&json["suspended"], &json["executions"]), (&500.into(), &2_500.into()));
        assert!(json["bytes_per_idle_slot"].is_number());
    }

    #[test]
    fn executions_wait_in_the_service() {
        let program = Arc::new(program(&waiting_heartbeat(WAIT_S), "waiting").unwrap());
        let service = service(&program, 300).unwrap();
        assert!(service.waiting > 250 && service.waiting <= 300, "one in a hundred fails before it waits: {service:?}");
    }
}
