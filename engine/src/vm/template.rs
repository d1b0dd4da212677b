//! Building payloads: the nodes of a template filled in from the data.

use super::Slot;
use super::failure::Raised;
use crate::program::Program;
use crate::program::op::{NodeId, PathId};
use crate::program::pool::{Node, Plan};
use crate::value::{Filling, Tag, Value};

impl Slot {
    /// Fills in a whole template over `cur`.
    #[inline(always)]
    pub(super) fn build_root(&mut self, program: &Program, id: u32, node: NodeId, cur: Value) -> Result<Value, Raised> {
        if let Some(Some(plan)) = program.pools.plans.get(node.index())
            && let Some(value) = self.build_planned(program, plan, cur)
        {
            return Ok(value);
        }
        self.build_whole(program, id, node, cur)
    }

    /// The same without a plan.
    #[inline(never)]
    fn build_whole(&mut self, program: &Program, id: u32, node: NodeId, cur: Value) -> Result<Value, Raised> {
        let value = match program.pools.nodes[node.index()] {
            // Without a further call.
            Node::Record { first, count, frame } => {
                self.build_record(program, id, &program.pools.members[first as usize..(first + count) as usize], frame, cur)?
            }
            node => self.build(program, id, node, cur)?,
        };
        self.within_limit(program, id, value)?;
        Ok(value)
    }

    /// The usual template; nothing when something is not found, when there is no room, or when it gets too large: then [`build`](Self::build), its slow twin, says what is wrong.
    #[inline(never)]
    fn build_planned(&mut self, program: &Program, plan: &Plan, cur: Value) -> Option<Value> {
        let start = self.memory.append(&plan.cells)?;
        let mut size = plan.size;
        if !plan.names.is_empty() {
            // One name, wherever it stands.
            let name = match self.name_quickly() {
                Some(name) => name,
                None => self.name_value().ok()?,
            };
            size += self.memory.set_all(start, &plan.names, name);
        }
        let Some(found) = self.memory.fill(start, &plan.paths, cur) else { return self.build_found(program, plan, (start, size), cur) };
        let value = plan.object.filled_in(start, size + found);
        if value.is_within(self.limits.payload_bytes_max) { Some(value) } else { None }
    }

    /// The same where not all paths lead to scalars of the record: what is left to do from a cell on, and the bytes so far.
    #[inline(never)]
    fn build_found(&mut self, program: &Program, plan: &Plan, (start, size): (u32, u64), cur: Value) -> Option<Value> {
        let (mut size, mut depth) = (size, plan.depth);
        for filling in &plan.paths {
            let value = self.find(program, filling, cur)?;
            depth = depth.max(value.depth());
            size += u64::from(value.size());
            self.memory.set(start + filling.cell, value);
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let value = Value::object(depth.saturating_add(1), start, plan.pairs, size);
        value.is_within(self.limits.payload_bytes_max).then_some(value)
    }

    /// What a path of a plan finds, wherever that lies.
    #[inline(never)]
    fn find(&mut self, program: &Program, filling: &Filling, cur: Value) -> Option<Value> {
        if let Some((_, span)) = self.memory.scalar_below(filling.path as usize, filling.first, cur) {
            return Some(Value::of_record(span));
        }
        let found = self.read_plain(program, PathId(filling.path), cur)?;
        if found.tag() == Tag::Overlay {
            self.memory.share();
        }
        Some(found)
    }

    /// Fills in a whole template over `cur`, for a caller that has limits of its own.
    pub(super) fn build_unbounded(&mut self, program: &Program, id: u32, node: NodeId, cur: Value) -> Result<Value, Raised> {
        self.build(program, id, program.pools.nodes[node.index()], cur)
    }

    /// Fills in one node. The recursion is as deep as the template, which is part of a document of bounded depth.
    fn build(&mut self, program: &Program, id: u32, node: Node, cur: Value) -> Result<Value, Raised> {
        match node {
            Node::Record { first, count, frame } => {
                self.build_record(program, id, &program.pools.members[first as usize..(first + count) as usize], frame, cur)
            }
            Node::Constant(constant) => Ok(program.constant(constant)),
            Node::Path { path, field } => self.take(program, id, path, program.text(field), cur),
            Node::Intrinsic { call, field } => self.call_function(program, id, call, program.text(field), cur),
            Node::Object { first, count, frame } => {
                let start = self.memory.reserve(count as usize * 2).map_err(|quota| self.raise_quota(quota))?;
                let members = &program.pools.members[first as usize..(first + count) as usize];
                let (mut size, mut depth) = (frame, 0);
                for (cell, &(key, member)) in (start..).step_by(2).zip(members) {
                    let value = self.build(program, id, member, cur)?;
                    size = size.saturating_add(value.size());
                    depth = depth.max(value.depth());
                    self.memory.set_pair(cell, key, value);
                }
                Ok(Value::object(depth.saturating_add(1), start, count, size))
            }
            Node::Array { first, count } => {
                let start = self.memory.reserve(count as usize).map_err(|quota| self.raise_quota(quota))?;
                for index in 0..count {
                    let value = self.build(program, id, program.pools.nodes[(first + index) as usize], cur)?;
                    self.memory.set(start + index, value);
                }
                Ok(self.memory.finish_array(start, count))
            }
        }
    }

    /// An object whose values take no cells while they are made, as verification has proved: its pairs are appended as they come.
    #[inline(never)]
    fn build_record(&mut self, program: &Program, id: u32, members: &[(Value, Node)], frame: u32, cur: Value) -> Result<Value, Raised> {
        self.memory.room_for(size_of::<[Value; 2]>() * members.len()).map_err(|quota| self.raise_quota(quota))?;
        let start = self.memory.cell_count();
        let (mut size, mut depth) = (frame, 0);
        for (pair, &(key, member)) in (0..).zip(members) {
            let value = match member {
                Node::Path { path, field } => self.take(program, id, path, program.text(field), cur)?,
                Node::Constant(constant) => program.constant(constant),
                Node::Intrinsic { call, field } => self.call_function(program, id, call, program.text(field), cur)?,
                Node::Object { .. } | Node::Record { .. } | Node::Array { .. } => unreachable!("verification proves that a record holds no containers"),
            };
            size = size.saturating_add(value.size());
            depth = depth.max(value.depth());
            let cell = self.memory.push_pair(key, value);
            debug_assert_eq!(cell, start + pair * 2, "verification proves that the values take no cells");
        }
        Ok(Value::object(depth.saturating_add(1), start, self.memory.cell_count().wrapping_sub(start) / 2, size))
    }

    /// `{}`
    pub(super) fn empty_object(&mut self, program: &Program) -> Result<Value, Raised> {
        let start = self.memory.reserve(0).map_err(|quota| self.raise_quota(quota))?;
        Ok(self.memory.finish_object(start, 0, &program.symbols))
    }

    /// A template's path that finds nothing (spec/asl.md 2.1: recorded as States.Runtime).
    #[cold]
    pub(super) fn raise_missing(&mut self, program: &Program, id: u32, path: &str, field: &str, input: Value) -> Raised {
        let mut shown = std::mem::take(&mut self.text);
        shown.clear();
        self.view(program).write(input, &mut shown);
        let text = String::from_utf8_lossy(&shown);
        let raised =
            self.raise_runtime(program, id, format_args!("The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{text}'"));
        drop(text);
        self.text = shown;
        raised
    }
}
