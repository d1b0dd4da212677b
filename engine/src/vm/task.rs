//! Task and Wait: what suspends a strand, and what comes back.

use super::failure::Raised;
use super::observe::{Called, EventKind, Observer, Told};
use super::strand::{Inbox, Life};
use super::{Effect, EffectId, Effects, Slot, Timestamp};
use crate::error;
use crate::hir::limits::COUNT_MAX;
use crate::program::Program;
use crate::program::op::{CallId, NodeId, Op, PathId, WaitId};
use crate::program::pool::{CallCode, InputCode, SecondsCode, WaitCode};
use crate::value::time::{self, Instant};
use crate::value::{Value, number};

/// Longest Wait, in seconds: 2^31 - 1 (spec/asl.md 6.4).
const WAIT_SECONDS_MAX: i64 = i32::MAX as i64;

impl Slot {
    fn next_effect(&mut self, id: u32) -> EffectId {
        self.sequence = self.sequence.wrapping_add(1);
        self.strands[id as usize].life = Life::Waiting(self.sequence);
        EffectId { slot: self.index, generation: self.generation, strand: id, sequence: self.sequence }
    }

    /// Parks a strand until `until`.
    pub(super) fn sleep(&mut self, id: u32, until: Timestamp, effects: &mut Effects) {
        let id = self.next_effect(id);
        effects.list.push(Effect::Sleep { id, until });
    }

    /// A Task: its input is `cur`.
    pub(super) fn call<O: Observer>(
        &mut self,
        program: &Program,
        id: u32,
        call: CallId,
        cur: Value,
        effects: &mut Effects,
        observer: &mut O,
    ) -> Result<(), Raised> {
        let code = &program.pools.calls[call.index()];
        self.within_limit(program, id, cur)?;
        let base = self.effective_input(program, id, code)?;
        let timeout_s = self.seconds(program, id, code.timeout, "TimeoutSecondsPath", base)?;
        let heartbeat_s = self.seconds(program, id, code.heartbeat, "HeartbeatSecondsPath", base)?;
        let role_arn = self.role_arn(program, id, code.role_arn, base)?;
        let timeout_at = timeout_s.map(|seconds| self.now.plus_ms(u64::from(seconds) * 1000));
        self.event(program, observer, id, EventKind::TaskScheduled, Told::Call(Called { input: cur, timeout_s, heartbeat_s, role_arn }));
        self.event(program, observer, id, EventKind::TaskStarted, Told::Nothing);
        let start = effects.bytes.len();
        self.view(program).write(cur, &mut effects.bytes);
        let strand = &self.strands[id as usize];
        let (state, attempt) = (strand.state, strand.retry_count);
        let effect = self.next_effect(id);
        effects.list.push(Effect::Call { id: effect, resource: code.resource, state, attempt, input: start..effects.bytes.len(), timeout_at });
        Ok(())
    }

    /// What the paths of a Task read: its effective input, as Parameters does (spec/asl.md 2.1); found again only where there is one.
    fn effective_input(&mut self, program: &Program, id: u32, code: &CallCode) -> Result<Value, Raised> {
        let raw = self.strands[id as usize].raw;
        let is_read = [code.timeout, code.heartbeat].iter().any(|seconds| matches!(seconds, Some(SecondsCode::Path(_)))) || code.role_arn.is_some();
        match code.input {
            InputCode::Path(path) if is_read => self.data_path(program, id, path, raw),
            InputCode::Empty if is_read => self.empty_object(program),
            _ => Ok(raw),
        }
    }

    /// `TimeoutSeconds`, `HeartbeatSeconds` or their paths; `field` is the path's name.
    fn seconds(&mut self, program: &Program, id: u32, code: Option<SecondsCode>, field: &str, base: Value) -> Result<Option<u32>, Raised> {
        let path = match code {
            None => return Ok(None),
            Some(SecondsCode::Literal(seconds)) => return Ok(Some(seconds)),
            Some(SecondsCode::Path(path)) => path,
        };
        let value = self.data_path(program, id, path, base)?;
        let mut buffer = [0; 20];
        let seconds = self.view(program).number_text(value, &mut buffer).and_then(number::to_integer).and_then(|seconds| u32::try_from(seconds).ok());
        match seconds {
            Some(seconds) if (1..=COUNT_MAX).contains(&seconds) => Ok(Some(seconds)),
            _ => {
                let shown = self.plain(program, value);
                let text = &program.path(path).text;
                Err(self.raise_runtime(program, id, format_args!("The {field} parameter does not reference a positive integer: {text} == {shown}")))
            }
        }
    }

    /// The role of `Credentials`: a text, told in the history.
    fn role_arn(&mut self, program: &Program, id: u32, code: Option<NodeId>, base: Value) -> Result<Option<Value>, Raised> {
        let Some(node) = code else { return Ok(None) };
        let role = self.build_root(program, id, node, base)?;
        if self.view(program).string(role).is_some() {
            return Ok(Some(role));
        }
        let shown = self.plain(program, role);
        Err(self.raise_runtime(program, id, format_args!("The field 'RoleArn' of Credentials must be a string, but was: {shown}")))
    }

    /// Takes what has come for a strand: `cur` becomes a task's result, or its error is raised.
    pub(super) fn deliver<O: Observer>(&mut self, program: &Program, id: u32, inbox: Inbox, observer: &mut O) -> Result<(), Raised> {
        match inbox {
            Inbox::Empty => Ok(()),
            Inbox::Result(value) => {
                if value.size() > self.limits.payload_bytes_max {
                    let name = match program.op(crate::program::op::OpId(self.strands[id as usize].pc.0 - 1)) {
                        Op::Call { call } => Some(&*program.pools.calls[call.index()].result_name),
                        _ => None,
                    };
                    let raised = self.raise_limit(program, id, value, name);
                    self.event(program, observer, id, EventKind::TaskFailed, Told::Nothing);
                    return Err(raised);
                }
                self.event(program, observer, id, EventKind::TaskSucceeded, Told::Value(value));
                self.strands[id as usize].cur = value;
                Ok(())
            }
            Inbox::Unusable => {
                let strand = &self.strands[id as usize];
                let raised = if strand.has_reply_cause {
                    self.failure.set(error::TASK_FAILED, Some(format_args!("{}", strand.reply_cause)));
                    Raised
                } else {
                    self.raise_quota(crate::value::Quota)
                };
                self.event(program, observer, id, EventKind::TaskFailed, Told::Nothing);
                Err(raised)
            }
            Inbox::Failed => {
                let strand = &self.strands[id as usize];
                if strand.has_reply_cause {
                    self.failure.set(&strand.reply_error, Some(format_args!("{}", strand.reply_cause)));
                } else {
                    self.failure.set(&strand.reply_error, None);
                }
                self.event(program, observer, id, EventKind::TaskFailed, Told::Nothing);
                Err(Raised)
            }
            Inbox::TimedOut => {
                self.failure.set(error::TIMEOUT, None);
                self.event(program, observer, id, EventKind::TaskTimedOut, Told::Nothing);
                Err(Raised)
            }
        }
    }

    /// A Wait: parks the strand, or goes on with `cur` when the time has passed already.
    pub(super) fn wait(&mut self, program: &Program, id: u32, wait: WaitId, cur: Value, effects: &mut Effects) -> Result<Option<Value>, Raised> {
        let until = match program.pools.waits[wait.index()] {
            WaitCode::Seconds(seconds) => self.now.plus_ms(u64::from(seconds) * 1000),
            WaitCode::SecondsPath(path) => self.seconds_path(program, id, path, cur)?,
            WaitCode::Timestamp(instant) => self.until(program, id, instant)?,
            WaitCode::TimestampPath(path) => {
                let instant = self.timestamp_path(program, id, path, cur)?;
                self.until(program, id, instant)?
            }
        };
        if until <= self.now {
            return Ok(Some(cur));
        }
        self.strands[id as usize].cur = cur;
        self.sleep(id, until, effects);
        Ok(None)
    }

    fn until(&mut self, program: &Program, id: u32, instant: Instant) -> Result<Timestamp, Raised> {
        let ms = i128::from(instant.seconds) * 1000 + i128::from(instant.nanos.div_ceil(1_000_000));
        if ms - i128::from(self.now.0) > i128::from(WAIT_SECONDS_MAX) * 1000 {
            return Err(self.raise_runtime(program, id, format_args!("Wait state delay is too long.")));
        }
        Ok(Timestamp(u64::try_from(ms).unwrap_or(0)))
    }

    fn seconds_path(&mut self, program: &Program, id: u32, path: PathId, cur: Value) -> Result<Timestamp, Raised> {
        let text = &program.path(path).text;
        let Some(value) = self.read(program, id, path, cur)? else {
            return Err(self.raise_runtime(program, id, format_args!("The SecondsPath parameter does not reference an input value: {text}")));
        };
        let mut buffer = [0; 20];
        match self.view(program).number_text(value, &mut buffer).and_then(number::to_integer) {
            Some(seconds) if seconds < 0 => {
                Err(self.raise_runtime(program, id, format_args!("The SecondsPath parameter references a negative value: {text} == {seconds}")))
            }
            Some(seconds) if seconds > WAIT_SECONDS_MAX => Err(self.raise_runtime(program, id, format_args!("Wait state delay is too long."))),
            Some(seconds) => Ok(self.now.plus_ms(seconds.unsigned_abs() * 1000)),
            None => {
                let shown = self.plain(program, value);
                Err(self.raise_runtime(program, id, format_args!("The SecondsPath parameter cannot be parsed as a long value: {text} == {shown}")))
            }
        }
    }

    fn timestamp_path(&mut self, program: &Program, id: u32, path: PathId, cur: Value) -> Result<Instant, Raised> {
        let text = &program.path(path).text;
        let Some(value) = self.read(program, id, path, cur)? else {
            return Err(self.raise_runtime(program, id, format_args!("The TimestampPath parameter does not reference an input value: {text}")));
        };
        let shown = self.plain(program, value);
        let is_string = self.view(program).string(value).is_some();
        time::parse(&shown).filter(|_| is_string).ok_or_else(|| {
            self.raise_runtime(
                program,
                id,
                format_args!("The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: {text} == {shown}"),
            )
        })
    }

    /// A value as error texts show it: a string without quotes, anything else as JSON.
    pub(super) fn plain(&self, program: &Program, value: Value) -> String {
        let view = self.view(program);
        if let Some((inside, _)) = view.string(value) {
            return crate::document::Unescaped::new(inside).to_string();
        }
        let mut out = Vec::new();
        view.write(value, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}
