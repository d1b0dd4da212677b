//! The loop: one `match`, one line an op where one line will do; the work is in the siblings.
#![expect(unsafe_code, reason = "from op to op it is a step of a pointer, without a check: each step says why there is an op")]

use super::choice::{self, Held};
use super::failure::Raised;
use super::observe::{Decision, EventKind, Observer, Told};
use super::strand::{Inbox, Life};
use super::{Effects, Slot, Step};
use crate::hir::StateId;
use crate::limits::Budget;
use crate::program::op::{Op, OpId};
use crate::program::{Cursor, Program, StateType};
use crate::value::Value;

/// What is left of a run call's budget; the computed bytes at which the loop stops are [`Slot::stop_at`].
pub(super) struct Fuel {
    /// Transitions that may still be made.
    transitions: u32,
    /// Computed bytes at which the call hands the thread back.
    bytes_until: usize,
}

impl Fuel {
    pub(super) fn new(budget: Budget, computed: usize) -> Self {
        Self { transitions: budget.transitions, bytes_until: computed + budget.bytes as usize }
    }

    /// Transitions made since the budget was `budget`.
    pub(super) fn used(&self, budget: Budget) -> u64 {
        u64::from(budget.transitions - self.transitions)
    }

    /// Takes back what has been spent and was not there. A call, because nothing less keeps the spending one instruction.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self, count: u32) {
        self.transitions = self.transitions.wrapping_add(count);
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
    /// Runs one strand, and others behind it, until one parks, yields or ends the execution.
    #[inline(always)]
    pub(super) fn advance<O: Observer>(&mut self, program: &Program, id: u32, fuel: &mut Fuel, effects: &mut Effects, observer: &mut O) -> Progress {
        let has_come = !matches!(self.strand(id).inbox, Inbox::Empty);
        if (has_come || self.pending_failure.is_some()) && !self.takes_delivery(program, id, observer) {
            return self.recover(program, id, effects, observer);
        }
        self.go_on(program, id, fuel, effects, observer)
    }

    /// Gives a strand what has come for it; false when that fails its state.
    fn takes_delivery<O: Observer>(&mut self, program: &Program, id: u32, observer: &mut O) -> bool {
        let inbox = std::mem::replace(&mut self.strands[id as usize].inbox, Inbox::Empty);
        let is_taken = self.deliver(program, id, inbox, observer).is_ok();
        if self.pending_failure == Some(id) {
            self.pending_failure = None;
            return false;
        }
        is_taken
    }

    /// The same for a strand for which nothing has come.
    #[inline]
    pub(super) fn go_on<O: Observer>(&mut self, program: &Program, id: u32, fuel: &mut Fuel, effects: &mut Effects, observer: &mut O) -> Progress {
        // The strand that the loop is at when it comes back: it goes on with others by itself.
        let mut at = id;
        match self.interpret(program, &mut at, fuel, effects, observer) {
            Ok(Progress::Yielded) => {
                self.queue.push_front(at);
                Progress::Yielded
            }
            Ok(progress) => progress,
            Err(Raised) => self.recover(program, at, effects, observer),
        }
    }

    fn save(&mut self, id: u32, pc: OpId, cur: Value) {
        let strand = &mut self.strands[id as usize];
        strand.pc = pc;
        strand.cur = cur;
    }

    #[inline(never)]
    fn interpret<O: Observer>(
        &mut self,
        program: &Program,
        at: &mut u32,
        fuel: &mut Fuel,
        effects: &mut Effects,
        observer: &mut O,
    ) -> Result<Progress, Raised> {
        let mut id = *at;
        let strand = self.strand(id);
        // SAFETY: a strand begins at the program's entry or where a fork or a map leads, and is put at a place() of the program, behind a state's Enter or at a catcher's entry, which `verify` has all proved to be ops. Whoever runs a slot does so with the program that it was started with.
        let (mut pc, mut cur) = (unsafe { program.cursor(strand.pc) }, strand.cur);
        let mut held = Held::NOTHING;
        loop {
            // What a state begins with, most often reached from the Exit of the one before, takes no turn through the table of ops.
            if let Op::Pass { next, count, .. } = *pc.op()
                && !O::LISTENS
                && self.is_passable(cur)
                && self.spend(fuel, count)
            {
                // Nobody hears of the states on the way, and the value that would be checked at their ends is checked here.
                self.events += 2 * u64::from(count);
                // SAFETY: `verify` has proved that a Pass leads to an op.
                pc = unsafe { program.cursor(next) };
            }
            if let Op::Enter { state } | Op::Pass { state, .. } = *pc.op() {
                match self.enter(program, id, pc, state, cur, fuel, observer) {
                    Some(value) => cur = value,
                    None => return Ok(Progress::Yielded),
                }
                // SAFETY: an Enter goes on, and so does a Pass.
                pc = unsafe { pc.behind() };
            }
            match *pc.op() {
                // Behind a state's beginning there is none; if there were, the next turn would see it.
                Op::Enter { .. } | Op::Pass { .. } => {}
                Op::Test { test, then, otherwise } => {
                    // Branches, not a select: the next op's address must not wait for the data.
                    match choice::quickly(&self.memory, program.test(test), cur) {
                        // SAFETY: `verify` has proved that a Test leads to ops, whatever it finds.
                        (true, true) => pc = self.left(program, id, unsafe { program.cursor(then) }, cur, observer)?,
                        // SAFETY: as for `then`.
                        (true, false) => pc = self.left(program, id, unsafe { program.cursor(otherwise) }, cur, observer)?,
                        (false, _) => {
                            let target = if self.holds(program, id, test, cur, &mut held)? { then } else { otherwise };
                            // SAFETY: it is one of the two.
                            pc = self.left(program, id, unsafe { program.cursor(target) }, cur, observer)?;
                        }
                    }
                }
                Op::Switch { switch, otherwise } => {
                    let target = self.switch(program, id, switch, cur)?.unwrap_or(otherwise);
                    // SAFETY: `verify` has proved that every case of a Switch leads to an op, and so does what is left.
                    pc = self.left(program, id, unsafe { program.cursor(target) }, cur, observer)?;
                }
                Op::Exit { .. } => pc = self.left(program, id, pc, cur, observer)?,
                Op::Finish => {
                    self.leave(program, id, pc, cur, observer)?;
                    if self.strand(id).frame == super::NO_FRAME {
                        return Ok(self.end(program, id, cur, observer));
                    }
                    self.join(program, id, cur, observer);
                    let Some(next) = self.next_strand() else { return Ok(Progress::Parked) };
                    id = next;
                    *at = id;
                    let strand = self.strand(id);
                    // SAFETY: as for the strand that the loop began with.
                    (pc, cur) = (unsafe { program.cursor(strand.pc) }, strand.cur);
                }
                // SAFETY: a Constant goes on.
                Op::Constant { constant } => (pc, cur) = self.made(program, id, unsafe { pc.behind() }, program.constant(constant), observer)?,
                Op::Build { node } => {
                    let value = self.build_root(program, id, node, cur)?;
                    // SAFETY: a Build goes on.
                    (pc, cur) = self.made(program, id, unsafe { pc.behind() }, value, observer)?;
                }
                Op::Merge { .. } => (pc, cur) = self.made(program, id, pc, cur, observer)?,
                op => match self.work(program, id, op, cur, effects, observer)? {
                    // SAFETY: all ops that are left go on but Fail and NoMatch, and from these work() comes back with an error alone, past which `?` does not get. In debug builds behind() looks.
                    Some(value) => (pc, cur) = (unsafe { pc.behind() }, value),
                    None => {
                        // SAFETY: as for an op with a value.
                        self.strand_mut(id).pc = program.place(unsafe { pc.behind() });
                        return Ok(Progress::Parked);
                    }
                },
            }
        }
    }

    /// Goes on with a value, most often into the input by a ResultPath and out of the state.
    #[inline(always)]
    fn made<'p, O: Observer>(&mut self, program: &'p Program, id: u32, pc: Cursor<'p>, value: Value, observer: &mut O) -> Result<(Cursor<'p>, Value), Raised> {
        let Op::Merge { target } = *pc.op() else { return Ok((pc, value)) };
        let merged = self.merge(program, id, target, value)?;
        // SAFETY: a Merge goes on.
        let pc = self.left(program, id, unsafe { pc.behind() }, merged, observer)?;
        Ok((pc, merged))
    }

    /// Enters a state; `None` when the thread is to be handed back first, else the value, which may have moved.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "these are the loop's registers")]
    fn enter<O: Observer>(
        &mut self,
        program: &Program,
        id: u32,
        pc: Cursor<'_>,
        state: StateId,
        cur: Value,
        fuel: &mut Fuel,
        observer: &mut O,
    ) -> Option<Value> {
        let mut cur = cur;
        if !self.spend(fuel, 1) {
            cur = self.refuel(id, program.place(pc), cur, fuel)?;
        }
        let (now, event) = (self.now, self.events + 1);
        self.strand_mut(id).enter(state, cur, now, event);
        let kind = if O::LISTENS { program.states[state.0 as usize].kind } else { StateType::Pass };
        self.event(program, observer, id, EventKind::StateEntered(kind), Told::Value(cur));
        Some(cur)
    }

    /// Where to go on from `pc`: behind the Exit there, if it is one, which is carried out on the way.
    #[inline]
    fn left<'p, O: Observer>(&mut self, program: &'p Program, id: u32, pc: Cursor<'p>, cur: Value, observer: &mut O) -> Result<Cursor<'p>, Raised> {
        let Op::Exit { next } = *pc.op() else { return Ok(pc) };
        self.leave(program, id, pc, cur, observer)?;
        // SAFETY: `verify` has proved that an Exit leads to an op.
        Ok(unsafe { program.cursor(next) })
    }

    /// Leaves the strand's state with `cur`.
    #[inline]
    fn leave<O: Observer>(&mut self, program: &Program, id: u32, pc: Cursor<'_>, cur: Value, observer: &mut O) -> Result<(), Raised> {
        self.within_limit(program, id, cur)?;
        self.tell_way_on(program, id, pc, observer);
        self.exited(program, id, cur, observer);
        Ok(())
    }

    /// Whether a value may leave a state.
    #[inline]
    fn is_passable(&self, value: Value) -> bool {
        value.is_within(self.limits.payload_bytes_max)
    }

    /// Spends `count` transitions at once, if nothing stands in the way of any of them.
    #[inline]
    fn spend(&self, fuel: &mut Fuel, count: u32) -> bool {
        if self.memory.computed_bytes() > self.stop_at {
            return false;
        }
        // One instruction and a branch; what was too much is given back.
        let (left, is_short) = fuel.transitions.overflowing_sub(count);
        fuel.transitions = left;
        if is_short {
            fuel.give_back(count);
        }
        !is_short
    }

    /// From here on the loop stops where the budget of bytes ends or the memory is to be compacted, whatever is nearer.
    #[inline]
    pub(super) fn set_stop(&mut self, fuel: &Fuel) {
        self.stop_at = fuel.bytes_until.min(self.compact_at);
    }

    /// A transition in front of which the fuel or the room for values has run out: `None` when the thread is to be handed back, else the value, which may have moved.
    #[cold]
    #[inline(never)]
    fn refuel(&mut self, id: u32, pc: OpId, cur: Value, fuel: &mut Fuel) -> Option<Value> {
        self.save(id, pc, cur);
        let computed = self.memory.computed_bytes();
        if computed <= self.compact_at {
            return None;
        }
        if fuel.transitions > 0 && computed <= fuel.bytes_until {
            fuel.transitions -= 1;
        } else {
            // The transition behind a compaction is made in any case, or a small budget would compact for ever.
            self.transitions += 1;
        }
        self.compact();
        let left = self.memory.computed_bytes();
        fuel.bytes_until = fuel.bytes_until.saturating_sub(computed) + left;
        self.set_stop(fuel);
        Some(self.strands[id as usize].cur)
    }

    /// The less frequent ops that make a value, or that suspend (`None`): both only where the op goes on.
    #[inline(never)]
    fn work<O: Observer>(&mut self, program: &Program, id: u32, op: Op, cur: Value, effects: &mut Effects, observer: &mut O) -> Result<Option<Value>, Raised> {
        match op {
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
            Op::Enter { .. } | Op::Pass { .. } | Op::Test { .. } | Op::Switch { .. } | Op::Exit { .. } | Op::Finish => {
                unreachable!("the loop handles control flow itself")
            }
            Op::Constant { .. } | Op::Merge { .. } | Op::Build { .. } => unreachable!("the loop makes the usual values itself"),
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
    fn tell_way_on<O: Observer>(&self, program: &Program, id: u32, pc: Cursor<'_>, observer: &mut O) {
        if !O::LISTENS || self.strands[id as usize].catches > 0 {
            return;
        }
        let state = self.strands[id as usize].state;
        let code = &program.states[state.0 as usize];
        let decision = if code.kind == StateType::Choice { Decision::Chooses(program.exits_before(code.entry, program.place(pc))) } else { Decision::GoesOn };
        observer.decision(state, decision);
    }

    /// Ends the execution with the output of its first strand.
    #[inline]
    fn end<O: Observer>(&mut self, program: &Program, id: u32, output: Value, observer: &mut O) -> Progress {
        self.output = output;
        self.event(program, observer, id, EventKind::ExecutionSucceeded, Told::Value(output));
        self.strand_mut(id).life = Life::Free;
        Progress::Ended(Step::Succeeded)
    }

    /// The strand that runs next, if nothing has come for it but its turn.
    #[inline]
    fn next_strand(&mut self) -> Option<u32> {
        let next = *self.queue.front()?;
        if self.pending_failure.is_some() || !matches!(self.strand(next).inbox, Inbox::Empty) {
            return None;
        }
        self.queue.pop_front()
    }
}
