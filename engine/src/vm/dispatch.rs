//! The loop: one `match`, one line an op where one line will do; the work is in the siblings.

use super::failure::Raised;
use super::observe::{Decision, EventKind, Observer, Told};
use super::strand::{Inbox, Life};
use super::{Effects, Slot, Step};
use crate::limits::Budget;
use crate::program::op::{Op, OpId};
use crate::program::{Program, StateType};
use crate::value::Value;

/// What is left of a run call's budget.
pub(super) struct Fuel {
    transitions: u32,
    /// Computed bytes at which the call hands the thread back.
    bytes_until: usize,
}

impl Fuel {
    pub(super) fn new(budget: Budget, computed: usize) -> Self {
        Self { transitions: budget.transitions, bytes_until: computed + budget.bytes as usize }
    }

    /// Keeps back all transitions but one; how many those are.
    pub(super) fn keep_back(&mut self) -> u32 {
        let kept = self.transitions.saturating_sub(1);
        self.transitions -= kept;
        kept
    }

    /// Gives out one transition of those kept back; false when there is none, or when it was not transitions that ran out.
    pub(super) fn refill(&mut self, kept: &mut u32) -> bool {
        if self.transitions > 0 || *kept == 0 {
            return false;
        }
        *kept -= 1;
        self.transitions = 1;
        true
    }

    /// Takes one transition; false when there is none left.
    #[inline]
    fn take(&mut self, computed: usize) -> bool {
        if self.transitions == 0 || computed > self.bytes_until {
            return false;
        }
        self.transitions -= 1;
        true
    }
}

/// How far a strand came.
pub(super) enum Progress {
    /// It waits, joins or has ended; others go on.
    Parked,
    /// The budget is used up.
    Yielded,
    /// The execution is over.
    Ended(Step),
}

impl Slot {
    /// Runs one strand until it parks, yields or ends the execution.
    pub(super) fn advance<O: Observer>(&mut self, program: &Program, id: u32, fuel: &mut Fuel, effects: &mut Effects, observer: &mut O) -> Progress {
        let delivered = match std::mem::replace(&mut self.strands[id as usize].inbox, Inbox::Empty) {
            Inbox::Empty => Ok(()),
            inbox => self.deliver(program, id, inbox, observer),
        };
        if self.pending_failure.take_if(|owner| *owner == id).is_some() {
            return self.recover(program, id, effects, observer);
        }
        let progress = delivered.and_then(|()| self.interpret(program, id, fuel, effects, observer));
        match progress {
            Ok(progress) => progress,
            Err(Raised) => self.recover(program, id, effects, observer),
        }
    }

    fn save(&mut self, id: u32, pc: OpId, cur: Value) {
        let strand = &mut self.strands[id as usize];
        strand.pc = pc;
        strand.cur = cur;
    }

    fn interpret<O: Observer>(&mut self, program: &Program, id: u32, fuel: &mut Fuel, effects: &mut Effects, observer: &mut O) -> Result<Progress, Raised> {
        let strand = &self.strands[id as usize];
        let (mut pc, mut cur) = (strand.pc, strand.cur);
        loop {
            let following = OpId(pc.0 + 1);
            match program.op(pc) {
                Op::Enter { state } => {
                    let computed = self.memory.computed_bytes();
                    if !fuel.take(computed) || computed > self.compact_at {
                        self.save(id, pc, cur);
                        if computed <= self.compact_at {
                            return Ok(Progress::Yielded);
                        }
                        self.compact();
                        *fuel = Fuel { transitions: fuel.transitions, bytes_until: fuel.bytes_until.saturating_sub(computed) + self.memory.computed_bytes() };
                        cur = self.strands[id as usize].cur;
                    }
                    self.transitions += 1;
                    self.strands[id as usize].enter(state, cur, self.now);
                    let kind = if O::LISTENS { program.states[state.0 as usize].kind } else { StateType::Pass };
                    self.event(program, observer, id, EventKind::StateEntered(kind), Told::Value(cur));
                    self.strands[id as usize].entered_event = self.events;
                    pc = following;
                }
                Op::Test { test, then, otherwise } => {
                    // A branch, not a select: the next op's address must not wait for the data.
                    if self.holds(program, id, test, cur)? {
                        pc = then;
                    } else {
                        pc = otherwise;
                    }
                }
                Op::Switch { switch, otherwise } => pc = self.switch(program, id, switch, cur)?.unwrap_or(otherwise),
                Op::Exit { next } => {
                    self.within_limit(program, id, cur)?;
                    self.tell_way_on(program, id, pc, observer);
                    self.exited(program, id, cur, observer);
                    pc = next;
                }
                Op::Finish => {
                    self.within_limit(program, id, cur)?;
                    self.tell_way_on(program, id, pc, observer);
                    self.exited(program, id, cur, observer);
                    return Ok(self.end(program, id, cur, observer));
                }
                op => {
                    let next = self.work(program, id, op, cur, effects, observer)?;
                    pc = following;
                    match next {
                        Some(value) => cur = value,
                        None => {
                            self.strands[id as usize].pc = following;
                            return Ok(Progress::Parked);
                        }
                    }
                }
            }
        }
    }

    /// Ops that make a value, or that suspend (`None`).
    #[inline]
    fn work<O: Observer>(&mut self, program: &Program, id: u32, op: Op, cur: Value, effects: &mut Effects, observer: &mut O) -> Result<Option<Value>, Raised> {
        match op {
            Op::Constant { constant } => Ok(Some(self.view(program).constant(program.constant_tokens[constant.index()]))),
            Op::Merge { target } => self.merge(program, id, target, cur).map(Some),
            Op::Build { node } => self.build_root(program, id, node, cur).map(Some),
            Op::Assign { .. } | Op::Commit { .. } => self.assignment(program, id, op, cur),
            Op::Discard => Ok(Some(self.strands[id as usize].raw)),
            Op::Input { path } | Op::Output { path } => self.data_path(program, id, path, cur).map(Some),
            Op::Empty => self.empty_object(program).map(Some),
            Op::Wait { wait } => self.wait(program, id, wait, cur, effects),
            Op::Call { call } => self.call(program, id, call, cur, effects, observer).map(|()| None),
            Op::Fork { fork } => self.fork(program, id, fork, cur, observer).map(|()| None),
            Op::Map { map } => self.map(program, id, map, cur, observer),
            Op::Fail { fail } => Err(self.fail(program, id, fail, cur)),
            Op::NoMatch => Err(self.no_match(program, id)),
            Op::Enter { .. } | Op::Test { .. } | Op::Switch { .. } | Op::Exit { .. } | Op::Finish => unreachable!("the loop handles control flow itself"),
        }
    }

    /// Tells that the strand's state is left, and which variables it has assigned.
    #[inline]
    fn exited<O: Observer>(&mut self, program: &Program, id: u32, output: Value, observer: &mut O) {
        self.event(program, observer, id, EventKind::StateExited(self.kind_for::<O>(program, id)), Told::Exited(output, self.assigned));
        if O::LISTENS {
            self.assigned = None;
        }
    }

    /// The type of the strand's state, looked up only when somebody listens.
    #[inline]
    pub(super) fn kind_for<O: Observer>(&self, program: &Program, id: u32) -> StateType {
        if O::LISTENS { program.states[self.strands[id as usize].state.0 as usize].kind } else { StateType::Pass }
    }

    /// Tells who listens how a state is left; a catcher has been told when it took over.
    #[inline]
    fn tell_way_on<O: Observer>(&self, program: &Program, id: u32, pc: OpId, observer: &mut O) {
        if !O::LISTENS || self.strands[id as usize].catching {
            return;
        }
        let state = self.strands[id as usize].state;
        let code = &program.states[state.0 as usize];
        let decision = if code.kind == StateType::Choice { Decision::Chooses(program.exits_before(code.entry, pc)) } else { Decision::GoesOn };
        observer.decision(state, decision);
    }

    /// Ends a strand with its output.
    fn end<O: Observer>(&mut self, program: &Program, id: u32, output: Value, observer: &mut O) -> Progress {
        if self.strands[id as usize].frame == super::NO_FRAME {
            self.output = output;
            self.event(program, observer, id, EventKind::ExecutionSucceeded, Told::Value(output));
            self.strands[id as usize].life = Life::Free;
            return Progress::Ended(Step::Succeeded);
        }
        self.join(program, id, output, observer);
        Progress::Parked
    }
}
