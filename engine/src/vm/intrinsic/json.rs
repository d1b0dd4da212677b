//! JsonMerge, JsonToString and StringToJson.

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::distinct::Distinct;
use super::{Argument, Failure, because};
use crate::document::Kind;
use crate::program::Program;
use crate::value::{Member, Value, View};
use crate::vm::Slot;

impl Slot {
    /// `States.JsonMerge(a, b, false)`: shallow; a member of `b` takes the place of the one of `a` with its name.
    pub(super) fn json_merge(&mut self, program: &Program, a: Argument, b: Argument, deep: Argument) -> Result<Value, Failure> {
        let (a, b) = (self.object(a)?, self.object(b)?);
        match deep.value.kind() {
            Kind::False => {}
            Kind::True => return because(format_args!("Only shallow merging is supported: argument 3 must be false")),
            _ => return deep.is_not("false"),
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let members = merged(self.view(program), a, b, self.random, &scratch);
        let result = self.memory.object_of(&members, &program.symbols);
        drop(members);
        scratch.reset();
        self.scratch = scratch;
        Ok(result?)
    }

    /// `States.JsonToString(value)`: compact, in the order and spelling of the value.
    pub(super) fn json_to_string(&mut self, program: &Program, value: Value) -> Result<Value, Failure> {
        // A text doubles at most when it is quoted.
        self.memory.room_for(value.size() as usize * 2)?;
        self.with_text(|slot, buffer| {
            slot.view(program).write(value, buffer);
            Ok(slot.memory.add_string(buffer)?)
        })
    }

    /// `States.StringToJson(text)`: the value that the text spells; none at all is null (recorded).
    pub(super) fn string_to_json(&mut self, program: &Program, text: Argument) -> Result<Value, Failure> {
        self.with_text(|slot, buffer| {
            slot.string_into(program, text, buffer)?;
            match buffer.trim_ascii() {
                b"" => return Ok(Value::NULL),
                // Java's integers have no negative zero.
                b"-0" => return Ok(Value::integer(0)),
                _ => {}
            }
            match slot.memory.add_document(buffer, &program.symbols)? {
                Ok(value) => {
                    // Documents are only let go of by compaction, so what this one holds brings the next one nearer.
                    slot.compact_at = slot.compact_at.saturating_sub(buffer.len());
                    slot.stop_at = slot.stop_at.min(slot.compact_at);
                    Ok(value)
                }
                Err(fault) => because(format_args!("Argument 1 is not a JSON text: {fault}")),
            }
        })
    }
}

fn merged<'b>(view: View<'_>, a: Value, b: Value, seed: u64, scratch: &'b Bump) -> BumpVec<'b, Member> {
    let count = view.len(a) + view.len(b);
    let mut members: BumpVec<'b, Member> = BumpVec::with_capacity_in(count, scratch);
    let mut names = Distinct::new(count, scratch);
    for member in view.members(a).chain(view.members(b)) {
        match names.find_or_add(view.hash_key(member, seed), |number| view.same_key(members[number], member)) {
            Some(number) => members[number].value = member.value,
            None => members.push(member),
        }
    }
    members
}
