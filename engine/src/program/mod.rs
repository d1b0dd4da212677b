//! The artefact: flat ops and their pools, immutable and shared.
//!
//! Invariants, proved once by `verify` when a program is made, so that the loop may rely on them:
//! - every op, path, node, test and constant that is referred to exists;
//! - the last op of every way through a state is one that leaves it (Exit, Finish, Fail or NoMatch), so that the program counter never runs off the end;
//! - a template node refers only to nodes before it, and a call of an intrinsic function only to calls before it, so that building ends.

pub(crate) mod function;
mod listing;
pub(crate) mod op;
pub(crate) mod pool;
mod verify;

pub use pool::StateType;

use std::marker::PhantomData;

use crate::document::{Document, Symbols, Token};
use crate::hir::{Resource, StateId, WorkflowType};
use crate::limits::Limits;
use crate::value::{Filling, Value};
use op::{ConstantId, IntrinsicId, MergeId, Op, OpId, TestId};
use pool::{ArgumentCode, AssignCode, CallCode, FailCode, ForkCode, IntrinsicCode, MapCode, MergeCode, Node, PathCode, StateCode, Switch, Test, WaitCode};
use pool::{Literal, Plan, SwitchEntry};

/// A compiled definition: immutable, `Send + Sync`, shared in an `Arc`.
#[derive(Debug)]
pub struct Program {
    pub(crate) ops: Vec<Op>,
    pub(crate) entry: OpId,
    pub(crate) pools: Pools,
    pub(crate) states: Vec<StateCode>,
    pub(crate) resources: Vec<Resource>,
    /// One document whose root is the array of all constants.
    pub(crate) constants: Document,
    /// Where each constant starts in `constants`.
    pub(crate) constant_tokens: Vec<Token>,
    /// The same constants as values.
    pub(crate) constant_values: Vec<Value>,
    pub(crate) symbols: Symbols,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) workflow_type: WorkflowType,
    /// From start to TIMED_OUT, in milliseconds; `u64::MAX` for never.
    pub(crate) timeout_ms: u64,
}

/// The pools that ops refer to.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pub(crate) paths: Vec<PathCode>,
    pub(crate) nodes: Vec<Node>,
    /// For each node the plan of the template whose root it is, where it has one. Filled in when the constants are known.
    pub(crate) plans: Vec<Option<Plan>>,
    /// Members of template objects: the key as a cell, and the node of its value.
    pub(crate) members: Vec<(Value, Node)>,
    pub(crate) intrinsics: Vec<IntrinsicCode>,
    pub(crate) arguments: Vec<ArgumentCode>,
    /// Field names of template paths and calls, quoted in error texts.
    pub(crate) texts: Vec<Box<str>>,
    pub(crate) merges: Vec<MergeCode>,
    pub(crate) tests: Vec<Test>,
    pub(crate) switches: Vec<Switch>,
    pub(crate) assigns: Vec<AssignCode>,
    pub(crate) waits: Vec<WaitCode>,
    pub(crate) calls: Vec<CallCode>,
    pub(crate) forks: Vec<ForkCode>,
    pub(crate) maps: Vec<MapCode>,
    pub(crate) fails: Vec<FailCode>,
}

/// The parts of the Context Object that are the same for every execution.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) state_machine: String,
    pub(crate) state_machine_arn: String,
    /// Everything of an execution's ARN in front of its name.
    pub(crate) execution_arn_prefix: String,
    pub(crate) role_arn: String,
    pub(crate) version: String,
}

impl Pools {
    /// Whether making a node's value appends no cells to the slot's memory, whatever the data is.
    pub(crate) fn takes_no_cells(&self, node: &Node) -> bool {
        match *node {
            Node::Constant(_) => true,
            Node::Path { path, .. } => self.path_takes_no_cells(path),
            Node::Intrinsic { call, .. } => self.call_takes_no_cells(call),
            Node::Object { .. } | Node::Record { .. } | Node::Array { .. } => false,
        }
    }

    fn path_takes_no_cells(&self, path: op::PathId) -> bool {
        self.paths.get(path.index()).is_some_and(|code| code.definite && !code.root.takes_cells())
    }

    /// The recursion is as deep as lowering lets calls nest.
    fn call_takes_no_cells(&self, call: IntrinsicId) -> bool {
        let Some(code) = self.intrinsics.get(call.index()) else { return false };
        let arguments = self.arguments.get(code.first as usize..(code.first + code.count) as usize).unwrap_or_default();
        code.function.takes_no_cells(code.count)
            && arguments.iter().all(|argument| match *argument {
                ArgumentCode::Constant(_) => true,
                ArgumentCode::Path(path) => self.path_takes_no_cells(path),
                // Verification proves that calls nest in one direction only.
                ArgumentCode::Call(inner) => inner < call && self.call_takes_no_cells(inner),
            })
    }
}

/// A place among a program's ops, at one that it has: from one to the next it is a step of a pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'p> {
    op: *const Op,
    ops: PhantomData<&'p [Op]>,
}

#[expect(unsafe_code, reason = "from op to op it is a step of a pointer: verify() has proved that there is one")]
impl<'p> Cursor<'p> {
    /// The op there.
    #[inline(always)]
    pub(crate) fn op(self) -> &'p Op {
        // SAFETY: a cursor is made by `Program::cursor` or `behind` alone, whose callers promise that an op is there; and the program is borrowed.
        unsafe { &*self.op }
    }

    /// The place behind it, for ops that do not lead elsewhere.
    ///
    /// # Safety
    /// The op there [goes on](Op::goes_on).
    #[inline(always)]
    pub(crate) unsafe fn behind(self) -> Self {
        debug_assert!(self.op().goes_on(), "only an op that goes on has one behind it");
        // SAFETY: the op goes on, as the caller promises, and `verify` has proved that no such op is the last one.
        Self { op: unsafe { self.op.add(1) }, ..self }
    }
}

impl Program {
    /// The resources that Task states call; [`ResourceId`](crate::vm::ResourceId) indexes this.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The name of a state; empty for a number that the program does not have.
    #[must_use]
    pub fn state_name(&self, state: StateId) -> &str {
        self.states.get(state.0 as usize).map_or("", |code| &code.name)
    }

    /// The type of a state.
    #[must_use]
    pub fn state_type(&self, state: StateId) -> Option<StateType> {
        self.states.get(state.0 as usize).map(|code| code.kind)
    }

    /// What a Task state calls; `None` for any other state.
    pub(crate) fn resource_of(&self, state: StateId) -> Option<&Resource> {
        let code = self.states.get(state.0 as usize).filter(|code| code.kind == StateType::Task)?;
        let call = self.ops[code.entry.index()..].iter().find_map(|op| if let Op::Call { call } = op { Some(*call) } else { None })?;
        self.resources.get(self.pools.calls[call.index()].resource.0 as usize)
    }

    /// The region in the ARNs.
    pub(crate) fn region(&self) -> &str {
        self.identity.state_machine_arn.split(':').nth(3).unwrap_or_default()
    }

    /// The name of the state machine.
    #[must_use]
    pub fn state_machine(&self) -> &str {
        &self.identity.state_machine
    }

    /// The type whose rules the program follows.
    #[must_use]
    pub fn workflow_type(&self) -> WorkflowType {
        self.workflow_type
    }

    /// A short hash of the definition (16 hexadecimal digits), which names its version in headers.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.identity.version
    }

    /// Number of ops.
    #[must_use]
    pub fn op_count(&self) -> usize {
        self.ops.len()
    }

    /// The program in a form for people: golden tests, `compile --listing`.
    #[must_use]
    pub fn listing(&self) -> String {
        listing::print(self)
    }

    /// How many Exits lie between two ops. A Choice has one for each rule in the order of the rules, then one for Default.
    pub(crate) fn exits_before(&self, from: OpId, to: OpId) -> u32 {
        let exits = self.ops[from.index()..to.index()].iter().filter(|op| matches!(op, Op::Exit { .. })).count();
        u32::try_from(exits).expect("a program has fewer than 2^32 ops")
    }
}

#[expect(unsafe_code, reason = "ops and what they refer to are fetched without a check: verify() has made it once for all")]
impl Program {
    #[inline]
    pub(crate) fn op(&self, at: OpId) -> Op {
        debug_assert!(at.index() < self.ops.len(), "verify() proves every target");
        // SAFETY: `verify` has proved that every op that leads on leads to an op, that every entry is one, and that no way runs off the end.
        unsafe { *self.ops.get_unchecked(at.index()) }
    }

    /// The same as a place to go on from.
    ///
    /// # Safety
    /// `at` is the number of an op of this program: its entry, what one of its ops or states leads to, or what [`place`](Self::place) has told of a cursor of its own.
    #[inline(always)]
    pub(crate) unsafe fn cursor(&self, at: OpId) -> Cursor<'_> {
        debug_assert!(at.index() < self.ops.len(), "verify() proves every target");
        // SAFETY: there is such an op, as the caller promises.
        let op = unsafe { self.ops.as_ptr().add(at.index()) };
        Cursor { op, ops: PhantomData }
    }

    /// The number of the op at a cursor.
    #[inline(always)]
    pub(crate) fn place(&self, cursor: Cursor<'_>) -> OpId {
        let bytes = cursor.op.addr() - self.ops.as_ptr().addr();
        OpId(u32::try_from(bytes / size_of::<Op>()).expect("a program has fewer than 2^32 ops"))
    }

    /// A constant as a value.
    #[inline]
    pub(crate) fn constant(&self, id: ConstantId) -> Value {
        debug_assert!(id.index() < self.constant_values.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every constant that is referred to exists.
        unsafe { *self.constant_values.get_unchecked(id.index()) }
    }

    /// The JSON text of a constant string.
    pub(crate) fn constant_text(&self, id: ConstantId) -> &[u8] {
        self.constants.raw(self.constant_tokens[id.index()])
    }

    #[inline]
    pub(crate) fn intrinsic(&self, id: IntrinsicId) -> &IntrinsicCode {
        debug_assert!(id.index() < self.pools.intrinsics.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every call that is referred to exists.
        unsafe { self.pools.intrinsics.get_unchecked(id.index()) }
    }

    /// The arguments of a call.
    #[inline]
    pub(crate) fn arguments(&self, code: &IntrinsicCode) -> &[ArgumentCode] {
        &self.pools.arguments[code.first as usize..(code.first + code.count) as usize]
    }

    /// The name of a template's field, for error texts.
    #[inline]
    pub(crate) fn text(&self, field: u32) -> &str {
        debug_assert!((field as usize) < self.pools.texts.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every field that a node refers to exists.
        unsafe { self.pools.texts.get_unchecked(field as usize) }
    }

    #[inline]
    pub(crate) fn test(&self, id: TestId) -> &Test {
        debug_assert!(id.index() < self.pools.tests.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every test that is referred to exists.
        unsafe { self.pools.tests.get_unchecked(id.index()) }
    }

    #[inline]
    pub(crate) fn merge(&self, id: MergeId) -> &MergeCode {
        debug_assert!(id.index() < self.pools.merges.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every result path that is referred to exists.
        unsafe { self.pools.merges.get_unchecked(id.index()) }
    }

    #[inline]
    pub(crate) fn path(&self, id: op::PathId) -> &PathCode {
        debug_assert!(id.index() < self.pools.paths.len(), "verify() proves every reference");
        // SAFETY: `verify` has proved that every path that is referred to exists.
        unsafe { self.pools.paths.get_unchecked(id.index()) }
    }
}

impl Program {
    /// Fills the tables of the string switches, once the constants are known.
    pub(crate) fn link_switches(&mut self) {
        for switch in &mut self.pools.switches {
            let size = (switch.cases.len() * 4).next_power_of_two();
            let mut table = vec![SwitchEntry::default(); size].into_boxed_slice();
            for &(constant, target) in &switch.cases {
                let text = self.constants.raw(self.constant_tokens[constant.index()]);
                let literal = Literal::new(text);
                let mut slot = literal.hash() & (size - 1);
                while table[slot].literal.len != 0 {
                    slot = (slot + 1) & (size - 1);
                }
                switch.escaped |= text.contains(&b'\\');
                table[slot] = SwitchEntry { literal, constant, target };
            }
            switch.table = table;
        }
    }

    /// Makes the plans of the templates, once the constants are known.
    pub(crate) fn link_plans(&mut self) {
        self.pools.plans = self.pools.nodes.iter().map(|node| self.plan(node)).collect();
    }

    fn plan(&self, node: &Node) -> Option<Plan> {
        let Node::Record { first, count, frame } = *node else { return None };
        let members = &self.pools.members[first as usize..(first + count) as usize];
        let (mut cells, mut paths, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let (mut size, mut depth) = (u64::from(frame), 0);
        for (cell, &(key, member)) in (1..).step_by(2).zip(members) {
            let mut value = Value::NULL;
            match member {
                Node::Constant(constant) => {
                    value = self.constant(constant);
                    size += u64::from(value.size());
                    depth = depth.max(value.depth());
                }
                Node::Path { path, .. } if self.path(path).plain => paths.push(Filling { cell, path: path.0, first: self.path(path).first() }),
                Node::Path { path, .. } if self.path(path).is_name() => names.push(cell),
                _ => return None,
            }
            cells.extend([key, value]);
        }
        let object = Value::object(depth.saturating_add(1), 0, count, 0);
        Some(Plan { cells: cells.into(), paths: paths.into(), names: names.into(), size, depth, pairs: count, object })
    }
}
