//! One seed from its beginning to its end: instances come, fail and go, faults end, and everything owed must come in.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use expressway_engine::Program;
use expressway_ingest::random::Random;

use crate::broker::{Entry, Record};
use crate::pipeline::{Delivery, Error, Identity, Pipeline, Settings};
use crate::plan::{DEAD_LETTERS, Fault, Plan, RESULTS, STALL_S, STALLS_MAX};
use crate::workflow::{self, Kind, Moody, Outside};
use crate::world::{self, Order, Step, World, with};

const MS: u64 = 1_000_000;
/// Once faults have ended, what is owed must come in, and never with a longer pause: a stuck dead letter pauses for 30 s, and a round of the group waits for whoever is gone.
const PROGRESS_NS: u64 = 90_000 * MS;
/// In one of so many seeds a partition stalls: these last long.
const STALLS_ONCE_IN: u64 = 48;
/// In one of so many seeds somebody is cut off for longer than a transaction lives, if there are any.
const OUTLIVED_ONCE_IN: u64 = 8;
/// Beside one that stalls, a partition may stand still for that long: for a dead letter that is stuck, and a round of the group.
const STARVED_NS: u64 = 50_000 * MS;
/// What leaving takes beyond the deadline of a shutdown.
const LEAVE_NS: u64 = 8_000 * MS;
/// More than the longest seed takes.
const STEPS_MAX: u64 = 5_000_000;
/// Between two looks at the instances.
const LOOK_EVERY: u64 = 16;

thread_local! {
    /// By instance.
    static PIPELINES: RefCell<Vec<Option<Pipeline>>> = const { RefCell::new(Vec::new()) };
}

/// What a seed came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) steps: u64,
    pub(crate) written: u64,
    pub(crate) duplicates: u64,
    pub(crate) transactions: u64,
    pub(crate) replacements: u64,
    pub(crate) instances: usize,
    pub(crate) fingerprint: u64,
    pub(crate) virtual_ns: u64,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, program: &Arc<Program>, notes_max: usize) -> Outcome {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
    let mut plan = Plan::draw(&mut random);
    // Drawn apart, so that the other seeds mean what they meant before.
    if Random::new(seed ^ 0x57a11).below(STALLS_ONCE_IN) == 0 {
        plan.stall();
    }
    let mut apart = Random::new(seed ^ 0x0117_11fe);
    if apart.below(OUTLIVED_ONCE_IN) == 0 {
        plan.outlive(&mut apart);
    }
    let program = if plan.stalls { workflow::stalling_program() } else { Arc::clone(program) };
    let faults = plan.faults.clone();
    drop(world::set(Some(World::new(seed, plan, random, notes_max))));
    PIPELINES.set(Vec::new());
    with(|world| {
        let plan = format!("{:?}", world.plan);
        world.note(|| plan);
    });
    let mut run = Run { program, alive: Vec::new(), names: Vec::new(), in_order: Vec::new(), is_leaving: false };
    run.prepare(&faults);
    run.go_on();
    run.clear_away()
}

struct Run {
    program: Arc<Program>,
    alive: Vec<usize>,
    /// By instance: the number of its name.
    names: Vec<usize>,
    /// Instances that ended as they should.
    in_order: Vec<usize>,
    is_leaving: bool,
}

impl Run {
    fn prepare(&mut self, faults: &[(u64, Fault)]) {
        with(|world| {
            feed(world);
            for &(at_ns, fault) in faults {
                world.after(at_ns, move |world| world.orders.push(Order::Fault(fault)));
            }
            world.after(world.plan.calm_at_ns, |world| world.orders.push(Order::Calm));
            for _ in 0..world.plan.instances {
                let delay_ns = world.random.below(50 * MS);
                world.after(delay_ns, |world| world.orders.push(Order::Start));
            }
        });
    }

    /// Lets things happen until everything is settled or something is wrong.
    fn go_on(&mut self) {
        let mut calm_ns = None;
        let mut finished = 0;
        let mut leave_until_ns = u64::MAX;
        // What stalls ends when its time is over, one execution after the other where they share a slot, and again where a position went back.
        let stalls_ns = u64::from(STALLS_MAX) * STALL_S * 1_000 * MS;
        let progress_ns = PROGRESS_NS + if with(|world| world.plan.stalls) { stalls_ns } else { 0 };
        for step in 1..=STEPS_MAX {
            let happened = world::step();
            let is_still = happened == Step::None;
            if let Step::Thread(instance) = happened {
                check_bounds(instance);
            }
            if is_still {
                self.look();
            }
            if is_still && self.is_leaving && self.alive.is_empty() {
                return self.judge_the_end();
            }
            if is_still && with(|world| !world.has_events()) {
                return with(|world| world.violate(|| "nothing is left that could happen".to_owned()));
            }
            for order in with(|world| std::mem::take(&mut world.orders)) {
                if self.obey(order) {
                    calm_ns = Some(with(|world| world.now_ns));
                }
            }
            if step % LOOK_EVERY == 0 {
                self.look();
                let now_ns = with(|world| world.now_ns);
                if with(|world| world.violation.is_some()) {
                    return;
                }
                if self.is_leaving && (self.alive.is_empty() || now_ns > leave_until_ns) {
                    return self.judge_the_end();
                }
                let Some(quiet_ns) = calm_ns.as_mut().filter(|_| !self.is_leaving) else { continue };
                if with(|world| world.broker.written() < world.plan.records) {
                    continue;
                }
                let owed = with(|world| world.owed(false));
                if owed.is_empty() {
                    leave_until_ns = self.leave();
                    continue;
                }
                if with(|world| world.plan.stalls)
                    && let Some(place) = with(|world| world.starved(STARVED_NS))
                {
                    return with(|world| world.violate(|| format!("partition {place} stands still beside one that stalls: {}", owed.join("; "))));
                }
                let now_finished = with(|world| world.ledger.finished());
                if now_finished > finished {
                    (finished, *quiet_ns) = (now_finished, now_ns);
                } else if now_ns > *quiet_ns + progress_ns {
                    return with(|world| world.violate(|| format!("no progress: {}", owed.join("; "))));
                }
            }
        }
        with(|world| world.violate(|| "it does not end".to_owned()));
    }

    /// Starts an instance under the first name that is free.
    fn start(&mut self) {
        let name = (0..).find(|name| !self.alive.iter().any(|alive| self.names[*alive] == *name));
        self.start_as(name.expect("there are more names than instances"));
    }

    fn start_as(&mut self, name: usize) {
        let instance = with(World::add_instance);
        self.alive.push(instance);
        self.names.push(name);
        PIPELINES.with_borrow_mut(|pipelines| pipelines.resize_with(instance + 1, || None));
        let program = Arc::clone(&self.program);
        let settings = with(|world| settings(&world.plan, name));
        let identity = Identity { definition: "simulated".to_owned(), version: "1".to_owned() };
        let main = move || {
            let started = Pipeline::start_with(settings, identity, Arc::new(Outside::new(instance)), |_| Moody::new(&program));
            match started {
                Ok(pipeline) => PIPELINES.with_borrow_mut(|pipelines| pipelines[instance] = Some(pipeline)),
                Err(error) => with(|world| world.note(|| format!("instance {instance} cannot start: {error}"))),
            }
        };
        with(|world| world.spawn("main".to_owned(), main));
    }

    /// Does what was ordered; `true` when it is the calm.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Start if self.is_leaving => {}
            Order::Start => self.start(),
            Order::Fault(fault) => self.break_something(fault),
            Order::Calm => {
                with(calm);
                return true;
            }
        }
        false
    }

    fn break_something(&mut self, fault: Fault) {
        with(|world| world.note(|| format!("fault: {fault:?}")));
        let victim = with(|world| world.random.pick(&self.alive));
        let Some(victim) = victim else { return };
        match fault {
            Fault::Crash { restart_ns } => {
                self.end(victim);
                with(|world| world.after(restart_ns, |world| world.orders.push(Order::Start)));
            }
            // The one that starts afterwards is ordered when this one has ended.
            Fault::Shutdown { .. } => drop(shut_down(victim)),
            Fault::Join if self.alive.len() < with(|world| world.plan.instances_max) => self.start(),
            Fault::Double if self.alive.len() < with(|world| world.plan.instances_max) => self.start_as(self.names[victim]),
            Fault::Join | Fault::Double => {}
            other => with(|world| world_fault(world, victim, other)),
        }
    }

    /// Looks after instances that have ended.
    fn look(&mut self) {
        for instance in self.alive.clone() {
            if with(|world| world.has_ended(instance)) {
                self.ended(instance);
            }
        }
    }

    fn ended(&mut self, instance: usize) {
        let outcome = PIPELINES.with_borrow(|pipelines| pipelines[instance].as_ref().map(|pipeline| pipeline.join(Duration::ZERO)));
        with(|world| world.note(|| format!("instance {instance} has ended: {:?}", outcome.as_ref().map(|outcome| outcome.as_ref().err()))));
        match &outcome {
            Some(Err(error @ (Error::StrayRecord { .. } | Error::Shard { .. } | Error::Rebalance(_)))) => {
                with(|world| world.violate(|| format!("instance {instance} stopped: {error}")));
            }
            // A client that was made anew and that nothing has befallen delivers.
            Some(Err(error @ Error::Stuck { .. })) => with(|world| {
                if !world.consumers.iter().rfind(|consumer| consumer.instance == instance).is_some_and(|consumer| consumer.was_stalled) {
                    world.violate(|| format!("instance {instance} stopped: {error}"));
                }
            }),
            // The refusal began before the calm, and nothing was written since that would have ended it.
            Some(Err(Error::TopicRefused { .. } | Error::Fatal { .. })) => {}
            Some(Ok(_)) => self.in_order.push(instance),
            Some(Err(error)) if self.is_leaving => with(|world| world.violate(|| format!("instance {instance} does not end in order: {error}"))),
            _ => {}
        }
        self.end(instance);
        if !self.is_leaving {
            with(|world| {
                let delay_ns = world.random.below(400 * MS);
                world.after(delay_ns, |world| world.orders.push(Order::Start));
            });
        }
    }

    /// The end of a process, with everything in it.
    fn end(&mut self, instance: usize) {
        self.alive.retain(|alive| *alive != instance);
        world::kill(instance);
        let pipeline = PIPELINES.with_borrow_mut(|pipelines| pipelines[instance].take());
        let replacements = pipeline.as_ref().map_or(0, |pipeline| pipeline.counters().client_replacements);
        with(|world| world.ledger.replacements += replacements);
        drop(pipeline);
    }

    /// Everything has come in: all instances shut down. Returns when they must have ended.
    fn leave(&mut self) -> u64 {
        self.is_leaving = true;
        with(|world| world.note(|| "everything has come in".to_owned()));
        for instance in self.alive.clone() {
            if !shut_down(instance) {
                // It has not started yet.
                self.end(instance);
            }
        }
        with(|world| world.now_ns + u64::try_from(world.plan.shutdown.as_nanos()).unwrap_or(u64::MAX) + LEAVE_NS)
    }

    fn judge_the_end(&mut self) {
        let alive = self.alive.clone();
        with(|world| {
            if !alive.is_empty() {
                world.violate(|| format!("instances {alive:?} do not end"));
            }
            let owed = world.owed(true);
            if !owed.is_empty() {
                world.violate(|| format!("owed at the end: {}", owed.join("; ")));
            }
        });
        // What was said last arrives.
        let until_ns = with(|world| world.now_ns + 150 * MS);
        while with(|world| world.now_ns < until_ns && world.has_events()) {
            world::step();
        }
        with(|world| {
            let members = world.broker.members_of(|consumer| self.in_order.contains(&world.consumers[consumer].instance));
            if let Some(member) = members {
                world.violate(|| format!("member {member} ended in order and has not left its group"));
            }
        });
    }

    fn clear_away(mut self) -> Outcome {
        for instance in self.alive.clone() {
            self.end(instance);
        }
        let mut world = world::set(None).expect("it was made by `run`");
        let outcome = Outcome {
            violation: world.violation.take(),
            notes: world.take_notes(),
            steps: world.steps,
            written: world.ledger.written,
            duplicates: world.ledger.duplicates,
            transactions: world.ledger.transactions,
            replacements: world.ledger.replacements,
            instances: world.instances.len(),
            fingerprint: world.fingerprint,
            virtual_ns: world.now_ns,
        };
        drop(world);
        outcome
    }
}

/// Asks an instance to shut down, if it has started.
fn shut_down(instance: usize) -> bool {
    PIPELINES.with_borrow(|pipelines| pipelines[instance].as_ref().inspect(|pipeline| pipeline.request_shutdown()).is_some())
}

fn check_bounds(instance: usize) {
    PIPELINES.with_borrow(|pipelines| {
        let Some(pipeline) = pipelines[instance].as_ref() else { return };
        let counters = pipeline.counters();
        let unbalanced = pipeline.books().into_iter().find(|books| !books.is_balanced());
        with(|world| {
            let plan = &world.plan;
            let (shards, partitions) = (u64::from(plan.shards), plan.starts.len() as u64);
            let window = u64::from(plan.window_records_max) * partitions;
            // Executions that end after they waited come on top of what is taken, and so do results that waited for those below them.
            let kept_max = u64::from(plan.deferred_records_max) * partitions;
            // A transaction that was aborted goes again as a whole, and what waited above a mark comes at once.
            let kept_max = if plan.is_transactional { kept_max + plan.records } else { kept_max };
            let in_flight_max = u64::from(plan.in_flight_max + plan.executions_open_max + plan.batch_records_max) + kept_max;
            let in_flight_max = usize::try_from(in_flight_max).unwrap_or(usize::MAX);
            let executions = u64::from(plan.executions_open_max) * shards;
            let fullest = world.producers.iter().filter(|producer| producer.instance == instance).map(|producer| producer.open).max();
            if counters.executions_open > executions {
                world.violate(|| format!("{} executions are open, the limit is {executions}", counters.executions_open));
            }
            if counters.mark_distance > window {
                world.violate(|| format!("the windows span {} records, the limit is {window}", counters.mark_distance));
            }
            if fullest.is_some_and(|fullest| fullest > in_flight_max) {
                world.violate(|| format!("{fullest:?} records are in flight, the limit is {in_flight_max}"));
            }
            if let Some(books) = unbalanced {
                world.violate(|| format!("the books do not balance: {books:?}"));
            }
        });
    });
}

fn settings(plan: &Plan, name: usize) -> Settings {
    let option = |key: &str, value: String| (key.to_owned(), value);
    Settings {
        name: "simulated".to_owned(),
        client_options: [
            option("bootstrap.servers", "model".to_owned()),
            option("group.id", "group".to_owned()),
            option("auto.commit.interval.ms", plan.commit_interval_ms.to_string()),
            option("max.poll.interval.ms", (plan.poll_interval_ns() / MS).to_string()),
            option("partition.assignment.strategy", if plan.is_eager { "range" } else { "cooperative-sticky" }.to_owned()),
            option("transaction.timeout.ms", plan.transaction_timeout_ms.to_string()),
        ]
        .into_iter()
        .chain(plan.has_names.then(|| option("group.instance.id", format!("member-{name}"))))
        .collect(),
        source_topics: plan.topics().iter().map(|topic| (*topic).to_owned()).collect(),
        delivery: if plan.is_transactional { Delivery::Transactional } else { Delivery::AtLeastOnce },
        transaction_interval: plan.transaction_interval,
        transaction_records_max: plan.transaction_records_max,
        stuck_timeout: plan.stuck_timeout,
        result_topic: RESULTS.to_owned(),
        dead_letter_topic: DEAD_LETTERS.to_owned(),
        shards: plan.shards,
        ordering: plan.ordering,
        deferred_records_max: plan.deferred_records_max,
        on_failure: plan.on_failure,
        on_null: plan.on_null,
        result_headers: plan.result_headers,
        executions_open_max: plan.executions_open_max,
        window_records_max: plan.window_records_max,
        batch_records_max: plan.batch_records_max,
        in_flight_max: plan.in_flight_max,
        drain_timeout: plan.drain,
        shutdown_timeout: plan.shutdown,
        result_topic_error_timeout: plan.topic_error_timeout,
        panics_per_minute_max: 1_000,
        pin_threads: false,
        ..Settings::default()
    }
}

/// Writes the records of the source topic, some before anybody reads, some later.
fn feed(world: &mut World) {
    let count = world.plan.records;
    for n in 0..count {
        if world.plan.records_at_once {
            append(world, n);
        } else {
            let delay_ns = world.random.below(2_500 * MS);
            world.after(delay_ns, move |world| append(world, n));
        }
    }
}

fn append(world: &mut World, n: u64) {
    let mut kind = Kind::draw(&mut world.random, world.plan.unusual_percent);
    let mut place = world.random.index(world.broker.logs.len());
    if world.plan.stalls && n < u64::from(STALLS_MAX) {
        (kind, place) = (Kind::Hung, 0);
    } else if world.plan.stalls {
        (kind, place) = (if kind == Kind::Hung { Kind::Plain } else { kind }, place.max(1));
    }
    let gap = if world.random.below(100) < world.plan.gap_percent { world.random.between(1, 4) } else { 0 };
    let key = match world.random.below(8) {
        0 => None,
        key => Some(format!("device-{key}").into_bytes()),
    };
    let headers = if world.random.below(3) == 0 { vec![("trace".to_owned(), n.to_string().into_bytes())] } else { Vec::new() };
    let timestamp_ms = (world.random.below(4) > 0).then_some(1_795_219_200_000);
    let log = &mut world.broker.logs[place];
    let offset = log.end + i64::try_from(gap).expect("gaps are small");
    log.end = offset + 1;
    let partition = i32::try_from(place).expect("few partitions");
    let record = Record { partition, offset, key, value: kind.value(n), headers, timestamp_ms, kind };
    log.entries.push(Entry { record: Rc::new(record), results: 0, dead_letters: 0 });
}

/// Everything heals and stays so.
fn calm(world: &mut World) {
    world.note(|| "calm".to_owned());
    world.is_calm = true;
    world.broker.refusing_until_ns = 0;
    world.broker.targets_down_until_ns.clear();
    world.broker.logs.iter_mut().for_each(|log| log.down_until_ns = 0);
    for instance in &mut world.instances {
        (instance.frozen_until_ns, instance.cut_off_until_ns) = (0, 0);
    }
}

fn world_fault(world: &mut World, victim: usize, fault: Fault) {
    let (now_ns, partitions) = (world.now_ns, world.broker.logs.len());
    let number = |partition: u64| usize::try_from(partition).unwrap_or(0) % partitions;
    match fault {
        Fault::Freeze { ns } => world.instances[victim].frozen_until_ns = now_ns + ns,
        Fault::CutOff { ns } => world.instances[victim].cut_off_until_ns = now_ns + ns,
        Fault::SourceDown { partition, ns } => world.broker.logs[number(partition)].down_until_ns = now_ns + ns,
        Fault::TargetDown { partition, ns } => {
            let partition = i32::try_from(partition).unwrap_or(0);
            world.broker.targets_down_until_ns.insert(partition, now_ns + ns);
        }
        Fault::Refuse { ns } => world.broker.refusing_until_ns = now_ns + ns,
        Fault::ClockJump { ns } => world.instances[victim].wall_offset_ns += ns,
        Fault::GoBack { partition, by } => {
            let place = number(partition);
            let to = (world.broker.logs[place].end - by).max(world.broker.logs[place].start);
            let partition = i32::try_from(place).expect("few partitions");
            let its = (0..world.consumers.len()).filter(|consumer| world.consumers[*consumer].instance == victim);
            its.collect::<Vec<_>>().into_iter().for_each(|consumer| world.go_back(consumer, partition, to));
        }
        Fault::Expel => {
            let members: Vec<u64> = world.consumers.iter().filter(|consumer| consumer.instance == victim).filter_map(|consumer| consumer.member).collect();
            members.into_iter().for_each(|member| world.broker_leave(member, "the coordinator has lost sight of it"));
        }
        Fault::Stall { partition, is_deaf } => {
            let partition = i32::try_from(number(partition)).expect("few partitions");
            let its = (0..world.consumers.len()).filter(|consumer| world.consumers[*consumer].instance == victim);
            its.collect::<Vec<_>>().into_iter().for_each(|consumer| world.stall(consumer, partition, is_deaf));
        }
        Fault::Crash { .. } | Fault::Shutdown { .. } | Fault::Join | Fault::Double => {}
    }
}
