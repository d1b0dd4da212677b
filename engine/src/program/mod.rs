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

use crate::document::{Document, Symbols, Token};
use crate::hir::{Resource, StateId, WorkflowType};
use crate::limits::Limits;
use op::{Op, OpId};
use pool::{ArgumentCode, AssignCode, CallCode, FailCode, ForkCode, IntrinsicCode, MapCode, Node, PathCode, StateCode, Step, Switch, Test, WaitCode};

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
    /// Members of template objects: key symbol and value.
    pub(crate) members: Vec<(crate::document::Symbol, Node)>,
    pub(crate) intrinsics: Vec<IntrinsicCode>,
    pub(crate) arguments: Vec<ArgumentCode>,
    /// Field names of template paths and calls, quoted in error texts.
    pub(crate) texts: Vec<Box<str>>,
    pub(crate) merges: Vec<Box<[Step]>>,
    pub(crate) merge_texts: Vec<Box<str>>,
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

    #[inline]
    pub(crate) fn op(&self, at: OpId) -> Op {
        self.ops[at.index()]
    }

    /// Fills the tables of the string switches, once the constants are known.
    pub(crate) fn link_switches(&mut self) {
        for switch in &mut self.pools.switches {
            let size = (switch.cases.len() * 2).next_power_of_two();
            let mut table = vec![0_u32; size].into_boxed_slice();
            for (number, (constant, _)) in switch.cases.iter().enumerate() {
                let text = self.constants.raw(self.constant_tokens[constant.index()]);
                let mut slot = pool::switch_hash(text) & (size - 1);
                while table[slot] != 0 {
                    slot = (slot + 1) & (size - 1);
                }
                table[slot] = u32::try_from(number + 1).expect("a Choice has fewer than 2^32 rules");
            }
            switch.table = table;
        }
    }

    #[inline]
    pub(crate) fn path(&self, id: op::PathId) -> &PathCode {
        &self.pools.paths[id.index()]
    }
}
