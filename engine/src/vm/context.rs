//! The Context Object, made field by field when something asks for it (spec/asl.md 4).

use super::failure::Raised;
use super::select::walk;
use super::strand::NO_FRAME;
use super::{ExecutionName, Slot, Timestamp};
use crate::hir::WorkflowType;
use crate::limits::NAME_CHARS_MAX;
use crate::program::pool::{ContextField, Step};
use crate::program::{Program, StateType};
use crate::value::{Quota, Value, time, write_integer};

/// Members of an object of the Context Object at most.
const CONTEXT_MEMBERS_MAX: usize = 6;

/// FNV-1a, for names that must be cut and for the UUID of an execution's ARN.
fn fingerprint(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ seed, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether two texts are the same; those of 8 to 16 bytes, as names of topics are, without a call.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    if (8..=16).contains(&len) {
        return a[..8] == b[..8] && a[len - 8..] == b[len - 8..];
    }
    a == b
}

/// Characters of an offset at most.
const OFFSET_CHARACTERS_MAX: usize = 20;

/// Appends `topic-partition-offset`.
fn write_position(topic: &str, partition: i32, offset: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(topic.as_bytes());
    out.push(b'-');
    write_integer(i64::from(partition), out);
    out.push(b'-');
    write_integer(offset, out);
}

/// Appends an execution's name; without allocation unless it must be cut.
pub(super) fn write_name(text: &str, position: Option<(i32, i64)>, out: &mut Vec<u8>) {
    let start = out.len();
    let Some((partition, offset)) = position else { return out.extend_from_slice(text.as_bytes()) };
    let tail = start + text.len();
    write_position(text, partition, offset, out);
    if out.len() - start > NAME_CHARS_MAX {
        // A topic's name is ASCII by Kafka's rules; a cut one keeps its beginning and a hash of the whole.
        let tail = out.split_off(tail);
        let kept: String = text.chars().take(NAME_CHARS_MAX - tail.len() - 17).collect();
        out.truncate(start);
        out.extend_from_slice(format!("{kept}-{:016x}", fingerprint(text.as_bytes(), 0)).as_bytes());
        out.extend_from_slice(&tail);
    }
}

/// The UUID of an Express execution's ARN, derived from its name, so that a record that comes twice has the same one (RFC 9562 version 8).
fn uuid(name: &[u8]) -> [u8; 36] {
    let (high, low) = (fingerprint(name, 0), fingerprint(name, 0x9E37_79B9_7F4A_7C15));
    let high = high & !0xF000 | 0x8000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    super::intrinsic::uuid_text(bytes)
}

impl Slot {
    /// The value of a field, as strand `id` sees it; `None` when it does not have one.
    pub(super) fn context(&mut self, program: &Program, id: u32, field: ContextField) -> Result<Option<Value>, Raised> {
        self.context_value(program, id, field).map_err(|quota| self.raise_quota(quota))
    }

    fn context_value(&mut self, program: &Program, id: u32, field: ContextField) -> Result<Option<Value>, Quota> {
        use ContextField as F;
        let identity = &program.identity;
        let text = match field {
            F::ExecutionName => return self.name_value().map(Some),
            F::ExecutionInput => return Ok(Some(self.input)),
            F::MapItemIndex => return Ok(self.map_item(program, id).map(|(index, _)| Value::integer(i64::from(index)))),
            F::MapItemValue => return Ok(self.map_item(program, id).map(|(_, value)| value)),
            F::ExecutionRedriveCount => return Ok((program.workflow_type == WorkflowType::Standard).then(|| Value::integer(0))),
            F::StateRetryCount => {
                let strand = &self.strands[id as usize];
                let is_task = program.states[strand.state.0 as usize].kind == StateType::Task;
                return Ok(is_task.then(|| Value::integer(i64::from(strand.retry_count))));
            }
            F::Missing => return Ok(None),
            F::Whole | F::Execution | F::State | F::StateMachine | F::Map | F::MapItem => return self.context_object(program, id, field),
            F::ExecutionId => {
                let mut arn = std::mem::take(&mut self.name);
                arn.clear();
                self.write_arn(program, &mut arn);
                let value = self.memory.add_string(&arn);
                self.name = arn;
                return value.map(Some);
            }
            F::ExecutionStartTime => return self.time_value(self.started),
            F::StateEnteredTime => return self.time_value(self.strands[id as usize].entered_at),
            F::ExecutionRoleArn => &identity.role_arn,
            F::StateName => program.state_name(self.strands[id as usize].state),
            F::StateMachineId => &identity.state_machine_arn,
            F::StateMachineName => &identity.state_machine,
        };
        self.memory.add_string(text.as_bytes()).map(Some)
    }

    /// `Execution.Name`
    #[inline(never)]
    pub(super) fn name_value(&mut self) -> Result<Value, Quota> {
        if let Some(name) = self.name_quickly() {
            return Ok(name);
        }
        if let (Some((_, offset)), true) = (self.name_position, self.is_name_plain) {
            return self.memory.add_number(&mut self.numbered, offset);
        }
        self.name.clear();
        write_name(&self.name_text, self.name_position, &mut self.name);
        self.memory.add_string(&self.name)
    }

    /// The same where only the offset's last digits are new since the record before.
    #[inline(always)]
    pub(super) fn name_quickly(&mut self) -> Option<Value> {
        let (_, offset) = self.name_position.filter(|_| self.is_name_plain)?;
        self.memory.add_numbered(&self.numbered, offset)
    }

    fn time_value(&mut self, at: Timestamp) -> Result<Option<Value>, Quota> {
        self.name.clear();
        time::write_iso(at.0, &mut self.name);
        self.memory.add_string(&self.name).map(Some)
    }

    /// Takes the name of an execution that starts.
    #[inline(always)]
    pub(super) fn set_name(&mut self, name: ExecutionName<'_>) {
        let (text, position) = match name {
            ExecutionName::Text(text) => (text, None),
            ExecutionName::Position { topic, partition, offset } => (topic, Some((partition, offset))),
        };
        let partition = |position: Option<(i32, i64)>| position.map(|(partition, _)| partition);
        if !is_same(self.name_text.as_bytes(), text.as_bytes()) || partition(self.name_position) != partition(position) {
            self.set_name_front(text, partition(position));
        }
        self.name_position = position;
    }

    /// Keeps what is the same in the names of a partition's records.
    #[inline(never)]
    fn set_name_front(&mut self, text: &str, partition: Option<i32>) {
        self.name_text.clear();
        self.name_text.push_str(text);
        self.numbered.clear();
        let front = &mut self.numbered.front;
        front.extend_from_slice(text.as_bytes());
        front.push(b'-');
        write_integer(i64::from(partition.unwrap_or(0)), front);
        front.push(b'-');
        let needs_no_escapes = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        self.is_name_plain = needs_no_escapes && self.numbered.front.len() + OFFSET_CHARACTERS_MAX <= NAME_CHARS_MAX;
    }

    pub(super) fn execution_arn(&self, program: &Program) -> String {
        let mut arn = Vec::new();
        self.write_arn(program, &mut arn);
        String::from_utf8_lossy(&arn).into_owned()
    }

    fn write_arn(&self, program: &Program, out: &mut Vec<u8>) {
        out.extend_from_slice(program.identity.execution_arn_prefix.as_bytes());
        let name = out.len();
        write_name(&self.name_text, self.name_position, out);
        if program.workflow_type == WorkflowType::Express {
            let uuid = uuid(&out[name..]);
            out.push(b':');
            out.extend_from_slice(&uuid);
        }
    }

    /// An object of the fields that have a value.
    fn context_object(&mut self, program: &Program, id: u32, field: ContextField) -> Result<Option<Value>, Quota> {
        use ContextField as F;
        let members: &[(&str, F)] = match field {
            F::Whole => &[("Execution", F::Execution), ("StateMachine", F::StateMachine), ("State", F::State), ("Map", F::Map)],
            F::Execution if program.workflow_type == WorkflowType::Standard => &[
                ("Id", F::ExecutionId),
                ("Input", F::ExecutionInput),
                ("StartTime", F::ExecutionStartTime),
                ("Name", F::ExecutionName),
                ("RoleArn", F::ExecutionRoleArn),
                ("RedriveCount", F::ExecutionRedriveCount),
            ],
            F::Execution => &[
                ("Id", F::ExecutionId),
                ("Input", F::ExecutionInput),
                ("Name", F::ExecutionName),
                ("RoleArn", F::ExecutionRoleArn),
                ("StartTime", F::ExecutionStartTime),
            ],
            F::State => &[("Name", F::StateName), ("EnteredTime", F::StateEnteredTime), ("RetryCount", F::StateRetryCount)],
            F::StateMachine => &[("Id", F::StateMachineId), ("Name", F::StateMachineName)],
            F::Map => &[("Item", F::MapItem)],
            F::MapItem => &[("Index", F::MapItemIndex), ("Value", F::MapItemValue)],
            _ => &[],
        };
        if matches!(field, F::Map | F::MapItem) && self.map_item(program, id).is_none() {
            return Ok(None);
        }
        let mut values = [None; CONTEXT_MEMBERS_MAX];
        for (value, &(_, member)) in values.iter_mut().zip(members) {
            *value = self.context_value(program, id, member)?;
        }
        self.memory.room_for(size_of::<[Value; 2]>() * members.len())?;
        let (start, mut count) = (self.memory.cell_count(), 0);
        for (value, (name, _)) in values.iter().zip(members) {
            let Some(value) = *value else { continue };
            self.memory.push_pair(Value::program_key(program.symbols.lookup(name.as_bytes()), None), value);
            count += 1;
        }
        Ok(Some(self.memory.finish_object(start, count, &program.symbols)))
    }

    /// The names that lead to a field, and where on the way from there along `steps` nothing is found, counted from the first name.
    pub(super) fn missing_in_context(
        &mut self,
        program: &Program,
        id: u32,
        field: ContextField,
        steps: &[Step],
    ) -> Result<(&'static [&'static str], usize), Raised> {
        let names = names(field);
        let at = match self.context(program, id, field)? {
            Some(root) => names.len() + walk(self.view(program), root, steps).err().unwrap_or(0),
            // Outside of an iteration the whole of it is missing.
            None if names.first() == Some(&"Map") => 0,
            None => names.len().saturating_sub(1),
        };
        Ok((names, at))
    }

    /// Index and value of the innermost Map iteration around a strand.
    fn map_item(&self, program: &Program, id: u32) -> Option<(u32, Value)> {
        if self.selecting.is_some() {
            return self.selecting;
        }
        let mut strand = &self.strands[id as usize];
        while strand.frame != NO_FRAME {
            let frame = &self.frames[strand.frame as usize];
            if frame.map.is_some() {
                return self.view(program).element(frame.items, strand.index as usize).map(|item| (strand.index, item));
            }
            strand = &self.strands[frame.owner as usize];
        }
        None
    }
}

/// The names that lead to a field.
fn names(field: ContextField) -> &'static [&'static str] {
    use ContextField as F;
    match field {
        F::Whole | F::Missing => &[],
        F::Execution => &["Execution"],
        F::ExecutionId => &["Execution", "Id"],
        F::ExecutionInput => &["Execution", "Input"],
        F::ExecutionName => &["Execution", "Name"],
        F::ExecutionRoleArn => &["Execution", "RoleArn"],
        F::ExecutionStartTime => &["Execution", "StartTime"],
        F::ExecutionRedriveCount => &["Execution", "RedriveCount"],
        F::State => &["State"],
        F::StateEnteredTime => &["State", "EnteredTime"],
        F::StateName => &["State", "Name"],
        F::StateRetryCount => &["State", "RetryCount"],
        F::StateMachine => &["StateMachine"],
        F::StateMachineId => &["StateMachine", "Id"],
        F::StateMachineName => &["StateMachine", "Name"],
        F::Map => &["Map"],
        F::MapItem => &["Map", "Item"],
        F::MapItemIndex => &["Map", "Item", "Index"],
        F::MapItemValue => &["Map", "Item", "Value"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_positions_of_at_most_80_characters() {
        let name = |text: &str, position| {
            let mut out = b"in front ".to_vec();
            write_name(text, position, &mut out);
            String::from_utf8(out.split_off(9)).expect("names are UTF-8")
        };
        assert_eq!(name("heartbeats", Some((3, 42))), "heartbeats-3-42");
        assert_eq!(name("given", None), "given");
        let long = name(&"t".repeat(200), Some((12, 123_456_789_012)));
        assert_eq!(long.len(), 80);
        assert!(long.ends_with("-12-123456789012"));
        assert_ne!(long, name(&"t".repeat(201), Some((12, 123_456_789_012))));
    }

    #[test]
    fn an_execution_has_one_uuid_for_ever() {
        assert_eq!(uuid(b"heartbeats-3-42"), uuid(b"heartbeats-3-42"));
        assert_ne!(uuid(b"heartbeats-3-42"), uuid(b"heartbeats-3-43"));
        assert_eq!(uuid(b"x")[14], b'8');
    }
}
