//! One timed run over the whole source topic: start a pipeline, or what stands in for one, wait until everything is committed, shut it down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use expressway_engine::Program;
use expressway_ingest::careless::Careless;
use expressway_ingest::pipeline::{self, Identity, Pipeline, Splice};
use expressway_ingest::tasks::NoIntegrations;

use super::cluster::Watcher;
use crate::clock::pause;
use crate::error::Error;
use crate::{alloc, probe};

/// How long a group may take to be formed.
pub(super) const ASSIGNED_WITHIN: Duration = Duration::from_secs(60);

/// How long one run may take.
const DONE_WITHIN: Duration = Duration::from_secs(1_800);

/// How long the way out may take.
pub(super) const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at the counters: 2 ‰ of a run of 3 million records, and no load.
const LOOK: Duration = Duration::from_millis(5);

/// Looks at the counters between two looks at the memory.
const LOOKS_PER_MEMORY: u32 = 20;

/// What the shards do with a record.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Run the workflow.
    Engine(Arc<Program>),
    /// Copy the input and splice in so many bytes.
    Floor(usize),
    /// Run the workflow without any guarantee.
    Careless(Arc<Program>),
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) elapsed: Duration,
    pub(super) client_cpu_s: f64,
    pub(super) broker_cpu_s: Option<f64>,
    pub(super) allocations: u64,
    pub(super) resident_bytes: u64,
}

/// Processor times and allocations at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    pub(super) client_s: f64,
    pub(super) broker_s: Option<f64>,
    pub(super) allocations: u64,
}

impl Costs {
    pub(super) fn now(broker: Option<u32>) -> Self {
        Self { client_s: probe::own_cpu_s(), broker_s: broker.and_then(probe::process_cpu_s), allocations: alloc::allocations() }
    }

    /// What came since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            client_s: self.client_s - before.client_s,
            broker_s: self.broker_s.zip(before.broker_s).map(|(after, before)| after - before),
            allocations: self.allocations - before.allocations,
        }
    }
}

/// Allocations by executions, if somebody counts them: those of this process, not what C libraries allocate.
pub(super) fn allocations_per_execution(allocations: u64, executions: u64) -> Option<f64> {
    (alloc::is_counting() && executions > 0).then(|| allocations as f64 / executions as f64)
}

/// Runs `work` over the `records` of the source topic, from the assignment, which is just before the first fetch, to the commit of the last record's offset.
pub(super) fn run(settings: pipeline::Settings, work: &Work, identity: &Identity, records: u64, watcher: &Watcher, broker: Option<u32>) -> Result<Run, Error> {
    let partitions = watcher.partitions();
    let pipeline = match work {
        Work::Careless(program) => return run_careless(settings, program, records, watcher, broker),
        Work::Engine(program) => Pipeline::start(settings, Arc::clone(program), Arc::new(NoIntegrations)),
        Work::Floor(insert_bytes) => Pipeline::start_with(settings, identity.clone(), Arc::new(NoIntegrations), |_| Splice::new(*insert_bytes)),
    };
    let pipeline = pipeline.map_err(|error| Error::surroundings("starting the pipeline", error))?;
    wait(&pipeline, "the assignment", ASSIGNED_WITHIN, Duration::from_millis(1), || Ok(pipeline.assigned().len() == partitions))?;
    let (start, before) = (Instant::now(), Costs::now(broker));
    let (mut looks, mut resident_bytes) = (0, 0);
    wait(&pipeline, "the last acknowledgement", DONE_WITHIN, LOOK, || {
        looks += 1;
        if looks % LOOKS_PER_MEMORY == 0 {
            resident_bytes = resident_bytes.max(probe::resident_bytes().unwrap_or(0));
        }
        Ok(pipeline.counters().records_acknowledged >= records)
    })?;
    wait(&pipeline, "the last commit", ENDED_WITHIN, LOOK, || Ok(watcher.committed()? >= records))?;
    let (elapsed, costs) = (start.elapsed(), Costs::now(broker).since(before));
    pipeline.request_shutdown();
    pipeline.join(ENDED_WITHIN).map_err(|error| Error::surroundings("ending the pipeline", error))?;
    Ok(Run { elapsed, client_cpu_s: costs.client_s, broker_cpu_s: costs.broker_s, allocations: costs.allocations, resident_bytes })
}

/// The same without guarantees: up to the last write and the last commit, whichever is later.
fn run_careless(settings: pipeline::Settings, program: &Arc<Program>, records: u64, watcher: &Watcher, broker: Option<u32>) -> Result<Run, Error> {
    let partitions = watcher.partitions();
    let count = u32::try_from(partitions).expect("the topic was made with so many");
    let careless = Careless::start(settings, program, count).map_err(|error| Error::surroundings("starting the run without guarantees", error))?;
    let until = |what: &str, within: Duration, interval: Duration, done: &mut dyn FnMut() -> Result<bool, Error>| {
        let failed = || careless.failed().map(|why| Error::surroundings("running without guarantees", why));
        wait_until(what, within, interval, done, &failed, &|| format!("{:?} processed and held", careless.processed()))
    };
    until("the assignment", ASSIGNED_WITHIN, Duration::from_millis(1), &mut || Ok(careless.assigned() == partitions))?;
    let (start, before) = (Instant::now(), Costs::now(broker));
    let (mut looks, mut resident_bytes) = (0, 0);
    until("the last write", DONE_WITHIN, LOOK, &mut || {
        looks += 1;
        if looks % LOOKS_PER_MEMORY == 0 {
            resident_bytes = resident_bytes.max(probe::resident_bytes().unwrap_or(0));
        }
        let (processed, held) = careless.processed();
        Ok(processed >= records && held == 0)
    })?;
    until("the last commit", ENDED_WITHIN, LOOK, &mut || Ok(watcher.committed()? >= records))?;
    let (elapsed, costs) = (start.elapsed(), Costs::now(broker).since(before));
    careless.end();
    Ok(Run { elapsed, client_cpu_s: costs.client_s, broker_cpu_s: costs.broker_s, allocations: costs.allocations, resident_bytes })
}

/// Waits until `done`, looking again after every `interval`.
pub(super) fn wait(pipeline: &Pipeline, what: &str, within: Duration, interval: Duration, mut done: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    let failed = || pipeline.failed().map(|error| Error::surroundings("running the pipeline", error));
    wait_until(what, within, interval, &mut done, &failed, &|| format!("counters: {:?}", pipeline.counters()))
}

fn wait_until(
    what: &str,
    within: Duration,
    interval: Duration,
    done: &mut dyn FnMut() -> Result<bool, Error>,
    failed: &dyn Fn() -> Option<Error>,
    state: &dyn Fn() -> String,
) -> Result<(), Error> {
    let end = Instant::now() + within;
    while !done()? {
        if let Some(error) = failed() {
            return Err(error);
        }
        if Instant::now() > end {
            return Err(Error::surroundings(format!("waiting for {what}"), format!("it does not come within {within:?}; {}", state())));
        }
        pause(interval);
    }
    Ok(())
}
