//! THE instruction table: each op, its operands, and what it does, in one line each.
//!
//! The machine has two value registers: `raw`, the input of the state being run, and `cur`, the value being worked on. An op is 16 bytes; everything larger lies in the program's pools.

use crate::hir::StateId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) u32);

        impl $name {
            #[inline]
            pub(crate) fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// Index of an op.
    OpId
    /// Index of a path in the pool.
    PathId
    /// Index of a template node in the pool.
    NodeId
    /// Index of a result path in the pool.
    MergeId
    /// Index of a Choice test in the pool.
    TestId
    /// Index of a string switch in the pool.
    SwitchId
    /// Index of a Wait's particulars in the pool.
    WaitId
    /// Index of a Task's particulars in the pool.
    CallId
    /// Index of a Parallel's particulars in the pool.
    ForkId
    /// Index of a Map's particulars in the pool.
    MapId
    /// Index of a Fail's particulars in the pool.
    FailId
    /// Index of an Assign in the pool.
    AssignId
    /// Index of a call of an intrinsic function in the pool.
    IntrinsicId
    /// Token of a constant in the program's constant document.
    ConstantId
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Enters a state: counts the transition, `raw` = `cur`.
    Enter { state: StateId },
    /// The Enter of a Pass that only goes on, like the next ones: in one step, `count` transitions on, the execution is at `next`. As a plain Enter it is followed by its Exit.
    Pass { state: StateId, next: OpId, count: u32 },
    /// InputPath: `cur` = path over `cur`.
    Input { path: PathId },
    /// OutputPath: `cur` = path over `cur`.
    Output { path: PathId },
    /// InputPath or OutputPath `null`: `cur` = `{}`.
    Empty,
    /// Parameters or ResultSelector: `cur` = the template filled in from `cur`.
    Build { node: NodeId },
    /// Result: `cur` = a constant.
    Constant { constant: ConstantId },
    /// ResultPath: `cur` = `raw` with `cur` at the target.
    Merge { target: MergeId },
    /// ResultPath `null`: `cur` = `raw`.
    Discard,
    /// Assign: the values of its variables, filled in from `cur`, are kept until the state is left.
    Assign { assign: AssignId },
    /// Assign: the variables take the values, if `cur` may leave the state.
    Commit { assign: AssignId },
    /// Leaves the state and goes on at `next`.
    Exit { next: OpId },
    /// Leaves the state and ends its sub-machine with `cur`.
    Finish,
    /// One test of a Choice over `cur`: a branch.
    Test { test: TestId, then: OpId, otherwise: OpId },
    /// A run of StringEquals on one path as a hash switch over `cur`.
    Switch { switch: SwitchId, otherwise: OpId },
    /// A Choice without a match and without Default: raises States.NoChoiceMatched.
    NoMatch,
    /// Wait: suspends until its time.
    Wait { wait: WaitId },
    /// Task: calls its resource with `cur`; resumed with `cur` = the result.
    Call { call: CallId },
    /// Parallel: starts a strand for each branch on `cur`; resumed with `cur` = the array of their outputs.
    Fork { fork: ForkId },
    /// Map: starts a strand for each item of `cur`; resumed with `cur` = the array of their outputs.
    Map { map: MapId },
    /// Fail: fails its sub-machine.
    Fail { fail: FailId },
}

impl Op {
    /// Whether the op behind it is the next one, rather than one that it names or none.
    pub(crate) fn goes_on(&self) -> bool {
        !matches!(self, Self::Exit { .. } | Self::Finish | Self::Test { .. } | Self::Switch { .. } | Self::NoMatch | Self::Fail { .. })
    }
}

const _: () = assert!(size_of::<Op>() == 16);
