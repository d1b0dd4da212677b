//! The world of one seed: its time, its threads, what is under way, and everything that the pipelines under test hold a number of.
//!
//! Exactly one thing happens at a time: a thread goes on until its next wait, or an event of the network comes due. Which one is drawn from the seed, so one seed is one run. Time stands still while something can be done and moves by what a step costs; when nothing can, it jumps to the next deadline.
//!
//! A world belongs to one real thread and is reached through [`with`]. Nobody holds it while a coroutine runs.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::resume_unwind;
use std::time::Duration;

use expressway_ingest::random::Random;

use crate::broker::Broker;
use crate::consumer::{ConsumerState, Queue};
use crate::coroutine::{self, Coroutine};
use crate::ledger::Ledger;
use crate::plan::{Fault, Plan};
use crate::producer::ProducerState;

/// Waits that somebody whose instance has been killed is allowed to begin before the simulation gives up: whoever catches the end and goes on would never stop.
const DEAD_WAITS_MAX: u32 = 1_000;

/// Between two looks whether the calm has thawed an instance.
const THAW_LOOK_NS: u64 = 1_000_000;

/// Longest time between two looks.
const LOOK_AGAIN_NS_MAX: u64 = 50_000_000;

pub(crate) type TaskId = usize;

/// What unwinds the threads of a killed instance.
struct Killed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Ready,
    Waiting {
        until_ns: u64,
    },
    /// Hears nobody.
    Stalled {
        until_ns: u64,
    },
    Running,
    Done {
        panicked: bool,
    },
}

/// A thread of an instance.
pub(crate) struct Task {
    instance: usize,
    name: String,
    activity: Activity,
    token: bool,
    dead_waits: u32,
    coroutine: Option<Coroutine>,
}

/// One process of the service.
pub(crate) struct Instance {
    /// Its memory is gone.
    pub(crate) is_dead: bool,
    /// It stands still until then.
    pub(crate) frozen_until_ns: u64,
    /// It reaches no broker until then.
    pub(crate) cut_off_until_ns: u64,
    /// What its time of day is off by.
    pub(crate) wall_offset_ns: i64,
    /// What a step costs at most.
    pub(crate) step_ns_max: u64,
}

enum Act {
    Inner(Box<dyn FnOnce(&mut World)>),
    /// Runs without the world in hand, for what calls into a pipeline.
    Outer(Box<dyn FnOnce()>),
}

struct Event {
    at_ns: u64,
    order: u64,
    act: Act,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

/// Something that is done to instances from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Start,
    Fault(Fault),
    Calm,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now_ns: u64,
    pub(crate) steps: u64,
    pub(crate) plan: Plan,
    pub(crate) broker: Broker,
    pub(crate) ledger: Ledger,
    pub(crate) instances: Vec<Instance>,
    pub(crate) consumers: Vec<ConsumerState>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) producers: Vec<ProducerState>,
    pub(crate) current: Option<TaskId>,
    /// Faults are over: everything heals and stays so.
    pub(crate) is_calm: bool,
    pub(crate) violation: Option<String>,
    /// What the supervisor shall do next.
    pub(crate) orders: Vec<Order>,
    /// For whoever sets the world up outside of any thread.
    outside_instance: usize,
    tasks: Vec<Task>,
    live: Vec<TaskId>,
    events: BinaryHeap<Event>,
    order: u64,
    /// How many of the last steps are remembered.
    notes_max: usize,
    notes: VecDeque<String>,
    /// A sum over all steps, by which two runs of a seed are compared.
    pub(crate) fingerprint: u64,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Takes the world in hand.
pub(crate) fn with<R>(act: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| act(world.as_mut().expect("a world was made")))
}

/// Makes a world, or clears the last one away.
pub(crate) fn set(world: Option<World>) -> Option<World> {
    WORLD.with_borrow_mut(|place| std::mem::replace(place, world))
}

/// Waits until `ready` has an answer, at most `wait`. Outside of any thread nobody waits.
pub(crate) fn wait<R>(wait: Duration, ready: impl FnMut(&mut World, TaskId) -> Option<R>) -> Option<R> {
    wait_looking(wait, u64::MAX, ready)
}

/// The same for an answer that does not announce itself: looks again every so often, less and less.
pub(crate) fn wait_looking<R>(wait: Duration, look_again_ns: u64, mut ready: impl FnMut(&mut World, TaskId) -> Option<R>) -> Option<R> {
    let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    if !coroutine::is_inside() {
        return with(|world| ready(world, usize::MAX));
    }
    let task = with(|world| world.current.expect("a thread runs"));
    let until_ns = with(|world| world.now_ns.saturating_add(wait_ns));
    loop {
        if let Some(answer) = with(|world| ready(world, task)) {
            return Some(answer);
        }
        if with(|world| world.now_ns >= until_ns) {
            return None;
        }
        with(|world| {
            let waited_ns = world.now_ns.saturating_sub(until_ns.saturating_sub(wait_ns));
            let look_ns =
                if look_again_ns == u64::MAX { u64::MAX } else { world.now_ns + 1 + world.random.below(look_again_ns.max(waited_ns.min(LOOK_AGAIN_NS_MAX))) };
            world.tasks[task].activity = Activity::Waiting { until_ns: until_ns.min(look_ns) };
        });
        pause(task);
    }
}

/// Lets others go first, maybe.
pub(crate) fn preempt() {
    if !coroutine::is_inside() || !with(|world| world.random.below(4) == 0) {
        return;
    }
    let task = with(|world| {
        let task = world.current.expect("a thread runs");
        // Now and then the operating system has something better to do for a while.
        let stall_ns = if world.fault(300) { world.random.between(1_000_000, 60_000_000) } else { 0 };
        world.tasks[task].activity = if stall_ns == 0 { Activity::Ready } else { Activity::Stalled { until_ns: world.now_ns + stall_ns } };
        task
    });
    pause(task);
}

fn pause(task: TaskId) {
    if std::thread::panicking() {
        // Whoever unwinds goes on to its end.
        return;
    }
    coroutine::pause();
    let is_dead = with(|world| {
        let task = &mut world.tasks[task];
        let is_dead = world.instances[task.instance].is_dead;
        task.dead_waits += u32::from(is_dead);
        assert!(task.dead_waits < DEAD_WAITS_MAX, "{} does not end though its instance was killed", task.name);
        is_dead
    });
    if is_dead {
        resume_unwind(Box::new(Killed));
    }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan, random: Random, notes_max: usize) -> Self {
        let (broker, ledger) = (Broker::new(&plan), Ledger::new(&plan));
        Self {
            random,
            now_ns: 0,
            steps: 0,
            plan,
            broker,
            ledger,
            instances: Vec::new(),
            consumers: Vec::new(),
            queues: Vec::new(),
            producers: Vec::new(),
            current: None,
            is_calm: false,
            violation: None,
            orders: Vec::new(),
            outside_instance: 0,
            tasks: Vec::new(),
            live: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
            notes_max,
            notes: VecDeque::new(),
            fingerprint: seed,
        }
    }

    /// The instance on whose behalf something happens.
    pub(crate) fn instance(&self) -> usize {
        self.current.map_or(self.outside_instance, |task| self.tasks[task].instance)
    }

    pub(crate) fn add_instance(&mut self) -> usize {
        let step_ns_max = [5_000, 20_000, 200_000][self.random.index(3)];
        self.instances.push(Instance { is_dead: false, frozen_until_ns: 0, cut_off_until_ns: 0, wall_offset_ns: 0, step_ns_max });
        self.outside_instance = self.instances.len() - 1;
        self.outside_instance
    }

    /// Remembers a step, for whoever reads of a failing seed.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.notes_max > 0 {
            if self.notes.len() == self.notes_max {
                self.notes.pop_front();
            }
            self.notes.push_back(format!("{:>12.6} s  {}", Duration::from_nanos(self.now_ns).as_secs_f64(), text()));
        }
    }

    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        self.notes.drain(..).collect()
    }

    /// Something that must never be is so. The first counts.
    pub(crate) fn violate(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let what = what();
            self.note(|| format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// Does something later.
    pub(crate) fn after(&mut self, delay_ns: u64, act: impl FnOnce(&mut Self) + 'static) {
        self.push(delay_ns, Act::Inner(Box::new(act)));
    }

    /// Does something later, without the world in hand.
    pub(crate) fn after_outside(&mut self, delay_ns: u64, act: impl FnOnce() + 'static) {
        self.push(delay_ns, Act::Outer(Box::new(act)));
    }

    fn push(&mut self, delay_ns: u64, act: Act) {
        self.order += 1;
        self.events.push(Event { at_ns: self.now_ns + delay_ns, order: self.order, act });
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Does something in an instance later: never when it is dead by then, and not while it stands still.
    pub(crate) fn deliver(&mut self, instance: usize, delay_ns: u64, act: impl FnOnce(&mut Self) + 'static) {
        self.after(delay_ns, move |world| {
            let state = &world.instances[instance];
            if state.is_dead {
                return;
            }
            if state.frozen_until_ns > world.now_ns {
                // The calm thaws whoever stands still, so nothing waits for longer than that.
                let until_ns = state.frozen_until_ns.min(world.plan.calm_at_ns.max(world.now_ns + THAW_LOOK_NS));
                let delay_ns = until_ns - world.now_ns + 1;
                return world.deliver(instance, delay_ns, act);
            }
            act(world);
        });
    }

    /// What a message takes from here to there.
    pub(crate) fn latency_ns(&mut self) -> u64 {
        match self.random.below(20) {
            0 => self.random.between(5_000_000, 60_000_000),
            1..=4 => self.random.between(1_000_000, 10_000_000),
            _ => self.random.between(100_000, 2_000_000),
        }
    }

    /// Draws: true once in `times`, and never once faults are over.
    pub(crate) fn fault(&mut self, times: u64) -> bool {
        !self.is_calm && times != 0 && self.random.below(times) == 0
    }

    pub(crate) fn spawn(&mut self, name: String, body: impl FnOnce() + 'static) -> TaskId {
        let instance = self.instance();
        let id = self.tasks.len();
        let name = format!("{instance}:{name}");
        self.note(|| format!("{name} begins"));
        self.tasks.push(Task { instance, name, activity: Activity::Ready, token: false, dead_waits: 0, coroutine: Some(Coroutine::new(body)) });
        self.live.push(id);
        id
    }

    /// Whether all threads of an instance have ended, but those that nobody waits for: the one that asks for lags, and those that end transactions.
    pub(crate) fn has_ended(&self, instance: usize) -> bool {
        let is_its = |task: &Task| task.instance == instance && !task.name.ends_with("-lag") && !task.name.contains("-commit-");
        !self.live.iter().any(|task| is_its(&self.tasks[*task]))
    }

    pub(crate) fn is_done(&self, task: TaskId) -> bool {
        matches!(self.tasks[task].activity, Activity::Done { .. })
    }

    pub(crate) fn has_panicked(&self, task: TaskId) -> bool {
        self.tasks[task].activity == Activity::Done { panicked: true }
    }

    pub(crate) fn unpark(&mut self, task: TaskId) {
        self.tasks[task].token = true;
        self.wake(task);
    }

    pub(crate) fn take_token(&mut self, task: TaskId) -> bool {
        std::mem::take(&mut self.tasks[task].token)
    }

    /// Lets a waiting thread look again.
    pub(crate) fn wake(&mut self, task: TaskId) {
        if let Some(task) = self.tasks.get_mut(task)
            && matches!(task.activity, Activity::Waiting { .. })
        {
            task.activity = Activity::Ready;
        }
    }

    fn can_run(&self, task: TaskId) -> bool {
        let task = &self.tasks[task];
        task.activity == Activity::Ready && self.instances[task.instance].frozen_until_ns <= self.now_ns
    }

    /// When a thread goes on by itself.
    fn due_ns(&self, task: TaskId) -> Option<u64> {
        let task = &self.tasks[task];
        let frozen_ns = self.instances[task.instance].frozen_until_ns;
        match task.activity {
            Activity::Ready => Some(frozen_ns),
            Activity::Waiting { until_ns } | Activity::Stalled { until_ns } => Some(until_ns.max(frozen_ns)),
            Activity::Running | Activity::Done { .. } => None,
        }
    }

    /// What happens next: a thread goes on, or an event comes due.
    fn next(&mut self) -> Option<Next> {
        for index in 0..self.live.len() {
            let task = self.live[index];
            if matches!(self.tasks[task].activity, Activity::Waiting { until_ns } | Activity::Stalled { until_ns } if until_ns <= self.now_ns) {
                self.tasks[task].activity = Activity::Ready;
            }
        }
        loop {
            let ready = self.live.iter().filter(|task| self.can_run(**task)).count();
            let event_ns = self.events.peek().map(|event| event.at_ns);
            let is_due = event_ns.is_some_and(|at_ns| at_ns <= self.now_ns);
            if is_due && (ready == 0 || self.random.below(2) == 0) {
                return self.events.pop().map(|event| Next::Event(event.act));
            }
            if ready > 0 {
                let choice = self.random.index(ready);
                return self.live.iter().copied().filter(|task| self.can_run(*task)).nth(choice).map(Next::Task);
            }
            let task_ns = self.live.iter().filter_map(|task| self.due_ns(*task)).min();
            let next_ns = [event_ns, task_ns].into_iter().flatten().min()?;
            self.now_ns = self.now_ns.max(next_ns);
            for index in 0..self.live.len() {
                let task = self.live[index];
                if matches!(self.tasks[task].activity, Activity::Waiting { until_ns } | Activity::Stalled { until_ns } if until_ns <= self.now_ns) {
                    self.tasks[task].activity = Activity::Ready;
                }
            }
        }
    }

    fn begin(&mut self, task: TaskId) -> Coroutine {
        let instance = self.tasks[task].instance;
        let cost_ns = 1_000 + self.random.below(self.instances[instance].step_ns_max);
        self.now_ns += cost_ns;
        self.fingerprint = (self.fingerprint ^ self.now_ns ^ (task as u64) << 48).wrapping_mul(0x0100_0000_01b3);
        self.current = Some(task);
        self.tasks[task].activity = Activity::Running;
        self.tasks[task].coroutine.take().expect("a thread that can run is not running")
    }

    fn end(&mut self, task: TaskId, coroutine: Coroutine, ended: Option<coroutine::Ended>) {
        self.current = None;
        let Some(ended) = ended else {
            self.tasks[task].coroutine = Some(coroutine);
            return;
        };
        let name = self.tasks[task].name.clone();
        let panic = ended.err().filter(|payload| !payload.is::<Killed>());
        self.tasks[task].activity = Activity::Done { panicked: panic.is_some() };
        self.live.retain(|live| *live != task);
        self.note(|| format!("{name} ends"));
        if let Some(payload) = panic {
            let text = payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.violate(|| format!("thread {name} panicked: {}", text.unwrap_or_default()));
        }
    }
}

enum Next {
    Task(TaskId),
    Event(Act),
}

/// What a step was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is left that could happen.
    None,
    Event,
    /// A thread of this instance went on to its next wait.
    Thread(usize),
}

/// Lets one thing happen.
pub(crate) fn step() -> Step {
    let next = with(|world| {
        world.steps += 1;
        world.next()
    });
    match next {
        None => return Step::None,
        Some(Next::Event(Act::Inner(act))) => with(act),
        Some(Next::Event(Act::Outer(act))) => act(),
        Some(Next::Task(task)) => {
            run(task);
            return Step::Thread(with(|world| world.tasks[task].instance));
        }
    }
    Step::Event
}

fn run(task: TaskId) {
    let mut coroutine = with(|world| world.begin(task));
    let ended = coroutine.resume();
    with(|world| world.end(task, coroutine, ended));
}

/// Ends an instance as kill -9 does: its threads go nowhere from where they are, and what they held is freed without a word to anybody.
pub(crate) fn kill(instance: usize) {
    let tasks: Vec<TaskId> = with(|world| {
        world.instances[instance].is_dead = true;
        world.note(|| format!("instance {instance} is killed"));
        world.live.iter().copied().filter(|task| world.tasks[*task].instance == instance).collect()
    });
    for task in tasks {
        while with(|world| !world.is_done(task)) {
            // One that has not begun would begin now: it is dropped instead.
            run(task);
        }
    }
}
