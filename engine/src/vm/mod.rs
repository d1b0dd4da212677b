//! Stage 4: run.
//!
//! A [`Slot`] is the memory of one execution. [`Slot::start`] takes the input, [`Slot::run`] goes on until the end, an effect or the end of its budget, [`Slot::resume`] takes an answer. Nothing here reads a clock, draws a random number or waits: time and seed are passed in, and whatever must be awaited leaves as an [`Effect`].
//!
//! The folder: `dispatch` is the loop, one line an op; its siblings do the work and are named after the language's concepts; `strand` is the explicit stack.

mod choice;
mod context;
mod dispatch;
mod effect;
mod failure;
mod fork;
mod intrinsic;
mod observe;
mod path;
mod select;
mod strand;
mod task;
mod template;
mod variable;

use std::collections::VecDeque;

pub(crate) use intrinsic::pieces;

pub use effect::{Effect, EffectId, Effects, Reply, ResourceId, Resumed, Timestamp};
pub use observe::{Decision, Detail, Event, EventKind, Observer, Shown, Silent, Variables};

use crate::document::{Fault, Shapes};
use crate::error;
use crate::hir::WorkflowType;
use crate::limits::{Budget, HISTORY_EVENTS_MAX, Limits};
use crate::program::Program;
use crate::value::{Memory, Numbered, Quota, Value, View};
use failure::FailureText;
use observe::Told;
use strand::{Frame, Inbox, Life, NO_FRAME, Strand};

/// Computed bytes from which a slot compacts its memory at the next transition.
const COMPACT_FROM: usize = 256 << 10;

/// Who an execution is; everything that the Context Object needs and the program does not know.
#[derive(Debug, Clone, Copy)]
pub struct Start<'s> {
    /// Its name.
    pub name: ExecutionName<'s>,
    /// When it starts.
    pub now: Timestamp,
    /// Seed of everything random in it: jitter, `States.UUID`, `States.MathRandom`.
    pub seed: u64,
}

/// An execution's name, rendered only when something asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionName<'s> {
    /// Given as text, at most 80 characters.
    Text(&'s str),
    /// `topic-partition-offset`; a topic that makes it longer than 80 characters is cut and given a hash.
    Position {
        /// The source topic.
        topic: &'s str,
        /// The source partition.
        partition: i32,
        /// The source offset.
        offset: i64,
    },
}

/// How a run call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The execution succeeded: read [`Slot::write_output`].
    Succeeded,
    /// The execution failed: read [`Slot::failure`].
    Failed,
    /// The execution ran over its time: read [`Slot::failure`].
    TimedOut,
    /// Nothing can go on before one of the open effects is answered.
    Suspended,
    /// The budget is used up: call again when others have had their turn.
    Yielded,
}

/// Error and cause of an execution that failed or timed out; either may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'s> {
    /// The error name.
    pub error: Option<&'s str>,
    /// The cause.
    pub cause: Option<&'s str>,
}

/// The memory of one execution, reused from one to the next: documents, values, strands and frames.
#[derive(Debug)]
pub struct Slot {
    index: u32,
    generation: u32,
    limits: Limits,
    memory: Memory,
    strands: Vec<Strand>,
    strands_free: Vec<u32>,
    frames: Vec<Frame>,
    frames_free: Vec<u32>,
    /// Strands that can go on, in the order in which they will.
    queue: VecDeque<u32>,
    /// Whether the first strand has yet to run: then it alone can, without having been in the queue.
    is_fresh: bool,
    failure: FailureText,
    now: Timestamp,
    started: Timestamp,
    deadline: Timestamp,
    /// Whether the sleep until the deadline has been asked for.
    deadline_asked: bool,
    // What a beginning sets to nothing lies together, as far as it is of one width, and takes a store for two.
    events: u64,
    transitions: u64,
    /// Bytes of all variables.
    variable_bytes: u64,
    sequence: u32,
    /// A Map whose ItemSelector failed after its first iterations: the error is raised when its strand next runs.
    pending_failure: Option<u32>,
    random: u64,
    /// The name where something has asked for it.
    name: Vec<u8>,
    name_text: String,
    name_position: Option<(i32, i64)>,
    /// The names of a partition's records.
    numbered: Numbered,
    /// Whether such a name is never cut and needs no escapes.
    is_name_plain: bool,
    input: Value,
    output: Value,
    ended: Option<Step>,
    compact_at: usize,
    /// Computed bytes at which the loop has something to do: compact, or hand the thread back.
    stop_at: usize,
    /// The iteration whose ItemSelector is being filled in.
    selecting: Option<(u32, Value)>,
    /// The values of the Assign of the state that is being left, as an object; gone when it has been left.
    assigned: Option<Value>,
    /// Working memory of one op: match lists of indefinite paths.
    scratch: bumpalo::Bump,
    /// Working memory of one intrinsic function: the text that it reads or writes.
    text: Vec<u8>,
}

impl Slot {
    /// An idle slot; `index` comes back in [`EffectId::slot`]. The bounds of an execution are those of its program.
    #[must_use]
    pub fn new(index: u32) -> Self {
        let limits = Limits::default();
        Self {
            index,
            generation: 0,
            limits,
            memory: Memory::new(limits.slot_bytes_max),
            strands: vec![Strand::new()],
            strands_free: Vec::new(),
            frames: Vec::new(),
            frames_free: Vec::new(),
            queue: VecDeque::new(),
            is_fresh: false,
            failure: FailureText::default(),
            now: Timestamp(0),
            started: Timestamp(0),
            deadline: Timestamp(0),
            deadline_asked: false,
            events: 0,
            sequence: 0,
            random: 0,
            name: Vec::new(),
            name_text: String::new(),
            name_position: None,
            numbered: Numbered::default(),
            is_name_plain: false,
            input: Value::NULL,
            output: Value::NULL,
            ended: None,
            compact_at: COMPACT_FROM,
            stop_at: 0,
            selecting: None,
            pending_failure: None,
            assigned: None,
            variable_bytes: 0,
            scratch: bumpalo::Bump::new(),
            text: Vec::new(),
            transitions: 0,
        }
    }

    /// Begins an execution of `program` on `input`, a JSON text. Whatever the slot did before is forgotten, and replies to it become stale.
    ///
    /// # Errors
    /// A [`Fault`] when `input` is not a JSON document, or one over the payload limit ([`FaultKind::TooLarge`](crate::document::FaultKind::TooLarge)). The slot is then idle.
    pub fn start(&mut self, program: &Program, input: &[u8], start: &Start<'_>) -> Result<(), Fault> {
        self.clear_for(program);
        let read = self.memory.add_document(input, &program.symbols);
        self.begin(program, read, start)
    }

    /// As [`start`](Self::start), with the shapes that the thread has learned for the program: messages like those that came before are read faster, and nothing else is different.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(&mut self, program: &Program, input: &[u8], start: &Start<'_>, shapes: &mut Shapes) -> Result<(), Fault> {
        self.clear_for(program);
        let read = self.memory.add_record(input, &program.symbols, shapes, |document, places| path::places(program, document, places));
        self.begin(program, read, start)
    }

    #[inline(always)]
    fn clear_for(&mut self, program: &Program) {
        if self.strands.len() > 1 || !self.queue.is_empty() || self.memory.is_large() {
            self.forget(usize::MAX);
        } else {
            self.memory.rewind();
            self.forget_turn();
        }
        self.limits = program.limits;
        self.memory.set_bytes_max(program.limits.slot_bytes_max);
    }

    #[inline(always)]
    fn begin(&mut self, program: &Program, read: Result<Result<Value, Fault>, Quota>, start: &Start<'_>) -> Result<(), Fault> {
        self.input = match read {
            Ok(Ok(input)) if input.size() <= self.limits.payload_bytes_max => input,
            Ok(Ok(_)) => return Err(self.refuse(Fault::too_large(self.limits.payload_bytes_max as usize))),
            Ok(Err(fault)) => return Err(self.refuse(fault)),
            Err(Quota) => return Err(self.refuse(Fault::too_large(self.limits.slot_bytes_max))),
        };
        self.started = start.now;
        self.now = start.now;
        self.deadline = start.now.plus_ms(program.timeout_ms);
        self.random = start.seed;
        self.set_name(start.name);
        let input = self.input;
        self.strand_mut(0).begin(program.entry, input, NO_FRAME, 0, 0);
        self.is_fresh = true;
        self.ended = None;
        Ok(())
    }

    /// Stays idle because of an input that is none.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, fault: Fault) -> Fault {
        self.strands[0].life = Life::Free;
        fault
    }

    /// Goes on until the end, the next effect or the end of the budget, with the `program` that it was started with and no other. Effects are appended to `effects`.
    #[inline]
    pub fn run<O: Observer>(&mut self, program: &Program, now: Timestamp, budget: Budget, effects: &mut Effects, observer: &mut O) -> Step {
        if self.is_fresh && program.workflow_type == WorkflowType::Express {
            self.run_first(program, now, budget, effects, observer)
        } else {
            self.run_again(program, now, budget, effects, observer)
        }
    }

    /// The first run of an Express execution.
    #[inline(never)]
    fn run_first<O: Observer>(&mut self, program: &Program, now: Timestamp, budget: Budget, effects: &mut Effects, observer: &mut O) -> Step {
        // What has yet to run has not ended, has computed nothing, and nothing has come for it.
        debug_assert!(self.ended.is_none() && self.memory.computed_bytes() == 0, "start() leaves nothing behind");
        self.is_fresh = false;
        self.now = now;
        self.event(program, observer, 0, EventKind::ExecutionStarted, Told::Value(self.input));
        if now >= self.deadline {
            return self.time_out(program, effects, observer);
        }
        let mut fuel = dispatch::Fuel::new(budget, 0);
        self.set_stop(&fuel);
        let step = match self.go_on(program, 0, &mut fuel, effects, observer) {
            dispatch::Progress::Ended(step) if !self.deadline_asked => {
                self.ended = Some(step);
                step
            }
            progress => self.run_rest(program, progress, &mut fuel, effects, observer),
        };
        self.transitions += fuel.used(budget);
        step
    }

    /// What is left of a first run whose first strand has not ended the execution.
    #[inline(never)]
    fn run_rest<O: Observer>(
        &mut self,
        program: &Program,
        progress: dispatch::Progress,
        fuel: &mut dispatch::Fuel,
        effects: &mut Effects,
        observer: &mut O,
    ) -> Step {
        self.run_queue(program, progress, fuel, &mut 0, effects, observer)
    }

    /// Any other run.
    #[inline(never)]
    fn run_again<O: Observer>(&mut self, program: &Program, now: Timestamp, budget: Budget, effects: &mut Effects, observer: &mut O) -> Step {
        if let Some(ended) = self.ended {
            return ended;
        }
        self.now = now;
        if self.events == 0 {
            self.event(program, observer, 0, EventKind::ExecutionStarted, Told::Value(self.input));
        }
        if now >= self.deadline {
            return self.time_out(program, effects, observer);
        }
        let mut fuel = dispatch::Fuel::new(budget, self.memory.computed_bytes());
        // The history of a Standard execution has a bound: its transitions are given out one by one, each after a look at the count.
        let mut kept = if program.workflow_type == WorkflowType::Standard { fuel.keep_back() } else { 0 };
        self.set_stop(&fuel);
        // Nothing has come for a strand that has yet to run.
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let progress = if is_fresh { self.go_on(program, 0, &mut fuel, effects, observer) } else { dispatch::Progress::Parked };
        let step = self.run_queue(program, progress, &mut fuel, &mut kept, effects, observer);
        self.transitions += fuel.used(budget) - u64::from(kept);
        step
    }

    /// Goes on with what can, after what its last strand came to.
    #[inline(always)]
    fn run_queue<O: Observer>(
        &mut self,
        program: &Program,
        mut progress: dispatch::Progress,
        fuel: &mut dispatch::Fuel,
        kept: &mut u32,
        effects: &mut Effects,
        observer: &mut O,
    ) -> Step {
        let is_bounded = program.workflow_type == WorkflowType::Standard;
        loop {
            match progress {
                dispatch::Progress::Parked => {}
                // It has put its strand back.
                dispatch::Progress::Yielded if fuel.refill(kept) => {}
                dispatch::Progress::Yielded => return Step::Yielded,
                dispatch::Progress::Ended(step) => {
                    if self.deadline_asked {
                        effects.list.push(Effect::Cancel { id: self.deadline_id() });
                    }
                    self.ended = Some(step);
                    return step;
                }
            }
            let Some(strand) = self.queue.pop_front() else { break };
            let is_full = is_bounded && self.events + 1 >= HISTORY_EVENTS_MAX;
            progress = if is_full { self.fail_history(program, strand, effects, observer) } else { self.advance(program, strand, fuel, effects, observer) };
        }
        if !self.deadline_asked && self.deadline.0 != u64::MAX {
            self.deadline_asked = true;
            effects.list.push(Effect::Sleep { id: self.deadline_id(), until: self.deadline });
        }
        Step::Suspended
    }

    fn deadline_id(&self) -> EffectId {
        EffectId { slot: self.index, generation: self.generation, strand: EffectId::DEADLINE, sequence: 0 }
    }

    /// Ends the execution as TIMED_OUT. The error is not catchable (spec/asl.md 8.1); recordings of Standard executions carry none.
    fn time_out<O: Observer>(&mut self, program: &Program, effects: &mut Effects, observer: &mut O) -> Step {
        self.cancel_all(effects);
        self.failure.clear();
        if program.workflow_type == WorkflowType::Express {
            self.failure.set(error::TIMEOUT, None);
        }
        self.event(program, observer, 0, EventKind::ExecutionTimedOut, Told::Nothing);
        self.ended = Some(Step::TimedOut);
        Step::TimedOut
    }

    /// Takes the answer to an effect; the execution goes on at the next [`run`](Slot::run).
    pub fn resume(&mut self, program: &Program, id: EffectId, reply: Reply<'_>) -> Resumed {
        if id.slot != self.index || id.generation != self.generation || self.ended.is_some() {
            return Resumed::Stale;
        }
        if id.strand == EffectId::DEADLINE {
            return Resumed::Accepted;
        }
        match self.strands.get(id.strand as usize) {
            Some(strand) if strand.life == Life::Waiting(id.sequence) => {}
            _ => return Resumed::Stale,
        }
        let inbox = match reply {
            Reply::Success(text) => match self.memory.add_document(text, &program.symbols) {
                Ok(Ok(value)) => Inbox::Result(value),
                Ok(Err(fault)) => {
                    self.strands[id.strand as usize].set_reply_cause(Some(format_args!("The task's result is not a JSON text: {fault}")));
                    Inbox::Unusable
                }
                Err(_) => {
                    self.strands[id.strand as usize].set_reply_cause(None);
                    Inbox::Unusable
                }
            },
            Reply::Failure { error, cause } => {
                let strand = &mut self.strands[id.strand as usize];
                strand.reply_error.clear();
                strand.reply_error.push_str(error);
                match cause {
                    Some(cause) => strand.set_reply_cause(Some(format_args!("{cause}"))),
                    None => strand.set_reply_cause(None),
                }
                Inbox::Failed
            }
            Reply::TimedOut => Inbox::TimedOut,
            Reply::Elapsed => Inbox::Empty,
        };
        let strand = &mut self.strands[id.strand as usize];
        strand.inbox = inbox;
        strand.life = Life::Ready;
        self.queue.push_back(id.strand);
        Resumed::Accepted
    }

    /// Appends the output of an execution that succeeded to `out`, as compact JSON.
    #[inline]
    pub fn write_output(&self, program: &Program, out: &mut Vec<u8>) {
        self.view(program).write(self.output, out);
    }

    /// Error and cause of an execution that failed or timed out.
    #[must_use]
    pub fn failure(&self) -> Failure<'_> {
        self.failure.get()
    }

    /// Appends the execution's name to `out`.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        context::write_name(&self.name_text, self.name_position, out);
    }

    /// When the execution ends as TIMED_OUT.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// States entered by the present execution.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Bytes of heap memory that the slot holds.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.memory.capacity_bytes()
            + self.strands.capacity() * size_of::<Strand>()
            + self.frames.capacity() * size_of::<Frame>()
            + self.scratch.allocated_bytes()
            + self.text.capacity()
    }

    /// Ends whatever runs here; replies to it become stale. Memory above `keep_bytes` is given back.
    pub fn reset(&mut self, keep_bytes: usize) {
        self.forget(keep_bytes);
        self.ended = Some(Step::Failed);
    }

    fn forget(&mut self, keep_bytes: usize) {
        self.memory.reset(keep_bytes);
        self.queue.clear();
        self.forget_turn();
        if self.strands.len() > 1 {
            self.strands.truncate(64);
            self.strands_free.clear();
            for (index, strand) in self.strands.iter_mut().enumerate().skip(1).rev() {
                strand.life = Life::Free;
                self.strands_free.push(u32::try_from(index).expect("strands_max is a 32-bit number"));
            }
            self.frames.clear();
            self.frames_free.clear();
        }
        self.strands[0].life = Life::Free;
    }

    /// Forgets what is not in memory, strands or queue.
    #[inline(always)]
    fn forget_turn(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.failure.clear();
        self.is_fresh = false;
        self.deadline_asked = false;
        self.events = 0;
        self.sequence = 0;
        self.transitions = 0;
        self.selecting = None;
        self.pending_failure = None;
        self.variable_bytes = 0;
        self.compact_at = COMPACT_FROM;
    }

    #[inline]
    fn view<'v>(&'v self, program: &'v Program) -> View<'v> {
        View::new(&self.memory, &program.constants, &program.symbols)
    }

    /// A further random number (splitmix64 from the execution's seed).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.random)
    }

    /// Moves all live values to fresh memory.
    #[cold]
    fn compact(&mut self) {
        self.assigned = None;
        let strands = self.strands.iter_mut().filter(|strand| strand.life != Life::Free).flat_map(|strand| {
            let result = match &mut strand.inbox {
                Inbox::Result(value) => Some(value),
                _ => None,
            };
            [Some(&mut strand.cur), Some(&mut strand.raw), result].into_iter().flatten().chain(strand.variables.iter_mut().flatten())
        });
        let frames = self.frames.iter_mut().filter(|frame| frame.owner != NO_FRAME).flat_map(|frame| [&mut frame.items, &mut frame.input, &mut frame.results]);
        self.memory.compact(strands.chain(frames));
        self.compact_at = (self.memory.computed_bytes() * 2).max(COMPACT_FROM);
    }
}

/// The output function of splitmix64.
fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
