//! Errors of the running workflow: raised as values, matched by Retry and Catch, else failing the machine.

use std::fmt;

use super::dispatch::Progress;
use super::observe::{Decision, EventKind, Observer, Told};
use super::strand::{Life, NO_FRAME};
use super::{Effect, EffectId, Effects, Failure, Slot, Step};
use crate::document::DOCUMENT_DEPTH_MAX;
use crate::error;
use crate::limits::{CAUSE_CHARS_MAX, ERROR_CHARS_MAX, HISTORY_EVENTS_MAX};
use crate::program::op::{FailId, Op};
use crate::program::pool::FailSide;
use crate::program::{Program, StateType};
use crate::value::{Quota, Value};

/// An error has been raised; its name and cause are in the slot.
#[derive(Debug)]
pub(super) struct Raised;

/// The error being raised, or that ended the execution; the memory is reused.
#[derive(Debug, Default)]
pub(super) struct FailureText {
    error: String,
    cause: String,
    has_error: bool,
    has_cause: bool,
}

impl FailureText {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.has_error = false;
        self.has_cause = false;
    }

    pub(super) fn set(&mut self, error: &str, cause: Option<fmt::Arguments<'_>>) {
        self.clear();
        self.set_error(error);
        if let Some(cause) = cause {
            self.cause.clear();
            let written = fmt::Write::write_fmt(&mut self.cause, cause);
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
            cut(&mut self.cause, CAUSE_CHARS_MAX);
            self.has_cause = true;
        }
    }

    fn set_error(&mut self, error: &str) {
        self.error.clear();
        self.error.push_str(error);
        cut(&mut self.error, ERROR_CHARS_MAX);
        self.has_error = true;
    }

    fn set_cause(&mut self, cause: &str) {
        self.cause.clear();
        self.cause.push_str(cause);
        cut(&mut self.cause, CAUSE_CHARS_MAX);
        self.has_cause = true;
    }

    pub(super) fn get(&self) -> Failure<'_> {
        Failure { error: self.has_error.then_some(self.error.as_str()), cause: self.has_cause.then_some(self.cause.as_str()) }
    }
}

/// Cuts `text` to its first `limit` characters.
fn cut(text: &mut String, limit: usize) {
    // A character has at least a byte, so a short text need not be counted.
    if text.len() > limit
        && let Some((end, _)) = text.char_indices().nth(limit)
    {
        text.truncate(end);
    }
}

fn literal(side: Option<&FailSide>) -> Option<&str> {
    match side {
        Some(FailSide::Literal(text)) => Some(text),
        _ => None,
    }
}

/// Whether a name of an ErrorEquals list matches an error (spec/asl.md 8.1).
fn matches(name: &str, error: &str, owner: StateType) -> bool {
    match name {
        error::ALL => true,
        error::TASK_FAILED => error != error::TIMEOUT,
        error::TIMEOUT => error == error::TIMEOUT || error == error::HEARTBEAT_TIMEOUT,
        error::BRANCH_FAILED if owner == StateType::Parallel => true,
        _ => name == error,
    }
}

fn any_matches(names: &[Box<str>], error: &str, owner: StateType) -> bool {
    names.iter().any(|name| matches(name, error, owner))
}

/// The number of a retrier or catcher.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a state has fewer than 2^32 retriers and catchers")
}

impl Slot {
    /// Raises an error whose cause has AWS's standard prefix.
    #[cold]
    pub(super) fn raise(&mut self, program: &Program, id: u32, error: &str, text: fmt::Arguments<'_>) -> Raised {
        let strand = &self.strands[id as usize];
        let (name, event) = (program.state_name(strand.state), strand.entered_event);
        self.failure.set(error, Some(format_args!("An error occurred while executing the state '{name}' (entered at the event id #{event}). {text}")));
        Raised
    }

    /// Raises States.Runtime, which nothing catches.
    #[cold]
    pub(super) fn raise_runtime(&mut self, program: &Program, id: u32, text: fmt::Arguments<'_>) -> Raised {
        self.raise(program, id, error::RUNTIME, text)
    }

    /// Raises the error of a slot that is full.
    #[cold]
    pub(super) fn raise_quota(&mut self, _: Quota) -> Raised {
        let limit = self.limits.slot_bytes_max;
        self.failure.set(error::DATA_LIMIT_EXCEEDED, Some(format_args!("The execution needs more than its memory limit of {limit} bytes.")));
        Raised
    }

    /// Checks a value against the payload and nesting limits.
    #[inline]
    pub(super) fn within_limit(&mut self, program: &Program, id: u32, value: Value) -> Result<(), Raised> {
        if value.is_within(self.limits.payload_bytes_max) { Ok(()) } else { Err(self.raise_limit(program, id, value, None)) }
    }

    #[cold]
    pub(super) fn raise_limit(&mut self, program: &Program, id: u32, value: Value, name: Option<&str>) -> Raised {
        if value.size() <= self.limits.payload_bytes_max {
            return self.raise_runtime(program, id, format_args!("The result is nested deeper than {DOCUMENT_DEPTH_MAX} levels."));
        }
        let name = name.unwrap_or_else(|| program.state_name(self.strands[id as usize].state));
        self.failure.set(
            error::DATA_LIMIT_EXCEEDED,
            Some(format_args!("The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service limit.")),
        );
        Raised
    }

    /// A Choice without a match and without Default.
    #[cold]
    pub(super) fn no_match(&mut self, program: &Program, id: u32) -> Raised {
        self.raise(program, id, error::NO_CHOICE_MATCHED, format_args!("Failed to transition out of the state. The state does not point to a next state."))
    }

    /// A Fail state.
    pub(super) fn fail(&mut self, program: &Program, id: u32, fail: FailId, cur: Value) -> Raised {
        let code = &program.pools.fails[fail.index()];
        let (mut error, mut cause) = (None, None);
        for (side, text, field) in [(&code.error, &mut error, "ErrorPath"), (&code.cause, &mut cause, "CausePath")] {
            let Some(side) = side else { continue };
            match self.fail_text(program, id, side, cur, field) {
                Ok(found) => *text = found,
                Err(raised) => return raised,
            }
        }
        self.failure.clear();
        if let Some(text) = literal(code.error.as_ref()).or(error.as_deref()) {
            self.failure.set_error(text);
        }
        if let Some(text) = literal(code.cause.as_ref()).or(cause.as_deref()) {
            self.failure.set_cause(text);
        }
        Raised
    }

    /// The string that ErrorPath or CausePath refers to or computes; `None` for a literal.
    fn fail_text(&mut self, program: &Program, id: u32, side: &FailSide, cur: Value, field: &str) -> Result<Option<String>, Raised> {
        let (value, text) = match *side {
            FailSide::Literal(_) => return Ok(None),
            FailSide::Intrinsic(call) => (self.call_function(program, id, call, field, cur)?, &program.pools.intrinsics[call.index()].text),
            FailSide::Path(path) => {
                let text = &program.path(path).text;
                match self.read(program, id, path, cur)? {
                    Some(value) => (value, text),
                    None => return Err(self.raise_missing(program, id, text, field, cur)),
                }
            }
        };
        match self.view(program).string(value) {
            Some((inside, _)) => Ok(Some(crate::document::Unescaped::new(inside).to_string())),
            None => Err(self.raise_runtime(program, id, format_args!("The {field} field refers to a value that is not a string: {text}"))),
        }
    }

    /// Fails an execution whose history has room for its end only.
    #[cold]
    pub(super) fn fail_history<O: Observer>(&mut self, program: &Program, id: u32, effects: &mut Effects, observer: &mut O) -> Progress {
        self.failure.set(error::RUNTIME, Some(format_args!("The execution reached the maximum number of history events ({HISTORY_EVENTS_MAX}).")));
        self.recover(program, id, effects, observer)
    }

    /// Lets Retry, then Catch, then the enclosing state have the error; at the top it fails the execution.
    pub(super) fn recover<O: Observer>(&mut self, program: &Program, id: u32, effects: &mut Effects, observer: &mut O) -> Progress {
        let mut id = id;
        self.assigned = None;
        let is_runtime = self.failure.get().error == Some(error::RUNTIME);
        if let Life::Joining(frame) = self.strands[id as usize].life
            && !is_runtime
        {
            // The state itself failed while it was starting branches or iterations: those are given up first.
            self.kill_frame(program, frame, id, effects, observer);
        }
        loop {
            let catchable = self.strands[id as usize].catches == 0 && !is_runtime;
            if catchable && self.retry(program, id, effects, observer) {
                return Progress::Parked;
            }
            let kind = program.states[self.strands[id as usize].state.0 as usize].kind;
            if catchable && matches!(kind, StateType::Parallel | StateType::Map) {
                self.event(program, observer, id, EventKind::BranchesFailed, Told::Nothing);
            }
            self.strands[id as usize].life = Life::Ready;
            if catchable && self.catch(program, id, kind, observer) {
                self.queue.push_back(id);
                return Progress::Parked;
            }
            let frame = self.strands[id as usize].frame;
            if frame == NO_FRAME || is_runtime {
                // States.Runtime ends the execution where it stands, without a word of the states around it.
                self.cancel_all(effects);
                self.event(program, observer, id, EventKind::ExecutionFailed, Told::Nothing);
                return Progress::Ended(Step::Failed);
            }
            let owner = self.frames[frame as usize].owner;
            if self.frames[frame as usize].map.is_some() {
                self.event(program, observer, id, EventKind::IterationFailed, Told::Nothing);
            } else if kind == StateType::Task {
                // The failed Task of a branch is closed like those of its siblings, by being aborted; that of an iteration is closed with it.
                self.event(program, observer, id, EventKind::StateAborted(kind), Told::Nothing);
            }
            if O::LISTENS {
                self.strands[owner as usize].last_event = self.strands[id as usize].last_event;
            }
            self.kill_frame(program, frame, id, effects, observer);
            id = owner;
        }
    }

    /// Schedules a retry, if a retrier matches and has attempts left.
    fn retry<O: Observer>(&mut self, program: &Program, id: u32, effects: &mut Effects, observer: &mut O) -> bool {
        let code = &program.states[self.strands[id as usize].state.0 as usize];
        let error = self.failure.get().error.unwrap_or("");
        let Some(index) = code.retriers.iter().position(|retrier| any_matches(&retrier.errors, error, code.kind)) else { return false };
        let retrier = &code.retriers[index];
        let strand = &mut self.strands[id as usize];
        if strand.retry_count == 0 {
            strand.retries.clear();
        }
        strand.retries.resize(code.retriers.len(), 0);
        let done = strand.retries[index];
        if done >= retrier.attempts_max {
            return false;
        }
        strand.retries[index] += 1;
        strand.retry_count += 1;
        strand.cur = strand.raw;
        strand.pc = crate::program::op::OpId(code.entry.0 + 1);
        if O::LISTENS {
            observer.decision(strand.state, Decision::Retries(number(index)));
        }
        let delay = self.delay(retrier, done);
        self.sleep(id, self.now.plus_ms(delay), effects);
        true
    }

    /// Milliseconds before retry number `done` + 1 of a retrier (spec/asl.md 8.2).
    fn delay(&mut self, retrier: &crate::program::pool::RetryCode, done: u32) -> u64 {
        let growth = retrier.backoff_rate.powi(i32::try_from(done).unwrap_or(i32::MAX));
        #[expect(clippy::cast_precision_loss, reason = "intervals are far below 2^53 ms")]
        let mut delay = retrier.interval_ms as f64 * growth;
        if let Some(bound) = retrier.delay_ms_max {
            #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53 ms")]
            let bound = bound as f64;
            delay = delay.min(bound);
        }
        if retrier.full_jitter {
            #[expect(clippy::cast_precision_loss, reason = "53 random bits make a fraction")]
            let fraction = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
            delay *= fraction;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates, and delays are not negative")]
        {
            delay as u64
        }
    }

    /// Hands the error to the first catcher that matches.
    fn catch<O: Observer>(&mut self, program: &Program, id: u32, kind: StateType, observer: &mut O) -> bool {
        let code = &program.states[self.strands[id as usize].state.0 as usize];
        let error = self.failure.get().error.unwrap_or("");
        let found = code.catchers.iter().enumerate().find(|(_, catcher)| any_matches(&catcher.errors, error, kind));
        let Some((index, catcher)) = found else { return false };
        let Ok(output) = self.error_output(program) else { return false };
        let strand = &mut self.strands[id as usize];
        strand.cur = output;
        strand.pc = catcher.entry;
        strand.catches = 1;
        if O::LISTENS {
            observer.decision(strand.state, Decision::Catches(number(index)));
        }
        true
    }

    /// `{"Error": …, "Cause": …}`; a missing cause is empty here (spec/asl.md 8.3).
    fn error_output(&mut self, program: &Program) -> Result<Value, Quota> {
        let failure = self.failure.get();
        let error = self.memory.add_string(failure.error.unwrap_or("").as_bytes())?;
        let cause = self.memory.add_string(failure.cause.unwrap_or("").as_bytes())?;
        let start = self.memory.reserve(4)?;
        for (pair, (name, value)) in (0..).zip([("Error", error), ("Cause", cause)]) {
            self.memory.set(start + pair * 2, Value::program_key(program.symbols.lookup(name.as_bytes()), None));
            self.memory.set(start + pair * 2 + 1, value);
        }
        Ok(self.memory.finish_object(start, 2, &program.symbols))
    }

    /// Ends all strands of a frame, and of the frames inside it; `failed` is the one that has failed by itself.
    pub(super) fn kill_frame<O: Observer>(&mut self, program: &Program, frame: u32, failed: u32, effects: &mut Effects, observer: &mut O) {
        for id in 0..u32::try_from(self.strands.len()).expect("strands_max is a 32-bit number") {
            let strand = &self.strands[id as usize];
            if strand.frame == frame && strand.life != Life::Free {
                self.kill_strand(program, id, id == failed, effects, observer);
            }
        }
        self.release_frame(frame);
        let strands = &self.strands;
        self.queue.retain(|&queued| strands[queued as usize].life == Life::Ready);
    }

    fn kill_strand<O: Observer>(&mut self, program: &Program, id: u32, has_failed: bool, effects: &mut Effects, observer: &mut O) {
        let strand = &mut self.strands[id as usize];
        let life = std::mem::replace(&mut strand.life, Life::Free);
        match life {
            Life::Waiting(sequence) => {
                effects.list.push(Effect::Cancel { id: EffectId { slot: self.index, generation: self.generation, strand: id, sequence } })
            }
            Life::Joining(inner) => self.kill_frame(program, inner, id, effects, observer),
            Life::Ready | Life::Free => {}
        }
        if !has_failed {
            self.abort(program, id, observer);
        }
        self.release_variables(id);
        self.strands_free.push(id);
    }

    /// Records that a strand was ended from outside: its state, if it is in one that lasts, and its iteration.
    fn abort<O: Observer>(&mut self, program: &Program, id: u32, observer: &mut O) {
        let strand = &self.strands[id as usize];
        let kind = program.states[strand.state.0 as usize].kind;
        let is_between_states = matches!(program.op(strand.pc), Op::Enter { .. } | Op::Pass { .. });
        let is_iteration = self.frames[strand.frame as usize].map.is_some();
        if !is_between_states && matches!(kind, StateType::Task | StateType::Wait | StateType::Parallel | StateType::Map) {
            self.event(program, observer, id, EventKind::StateAborted(kind), Told::Nothing);
        }
        if is_iteration {
            self.event(program, observer, id, EventKind::IterationAborted, Told::Nothing);
        }
    }

    /// Gives up everything that is open.
    pub(super) fn cancel_all(&mut self, effects: &mut Effects) {
        for (id, strand) in (0..).zip(&mut self.strands) {
            if let Life::Waiting(sequence) = strand.life {
                effects.list.push(Effect::Cancel { id: EffectId { slot: self.index, generation: self.generation, strand: id, sequence } });
            }
            strand.life = Life::Free;
        }
        self.queue.clear();
    }
}
