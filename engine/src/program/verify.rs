//! Proves, once after compile, the invariants that the loop relies on.

use super::function::Function;
use super::op::{IntrinsicId, Op, OpId, PathId};
use super::pool::{ArgumentCode, CallCode, Check, ConcurrencyCode, FailSide, FilterCode, FilterSide, InputCode, Node, SecondsCode, Side, Step, WaitCode};
use super::{Pools, Program};

impl Program {
    /// Checks every reference; the text says what is broken.
    pub(crate) fn verify(&self) -> Result<(), String> {
        if self.constant_values.len() != self.constant_tokens.len() {
            return Err("there are not as many constant values as constants".to_owned());
        }
        if self.ops.is_empty() || self.entry.index() >= self.ops.len() {
            return Err("there is no code to enter".to_owned());
        }
        for (at, op) in self.ops.iter().enumerate() {
            self.op_refers(op).map_err(|what| format!("op {at} refers to a missing {what}"))?;
            if op.goes_on() && at + 1 >= self.ops.len() {
                return Err(format!("op {at} runs off the end"));
            }
        }
        self.pool_refers()?;
        for state in &self.states {
            if !matches!(self.ops.get(state.entry.index()), Some(Op::Enter { .. } | Op::Pass { .. })) {
                return Err(format!("state '{}' is not entered by an Enter", state.name));
            }
            for catcher in &state.catchers {
                self.has_op(catcher.entry).ok_or_else(|| format!("a catcher of '{}' leads nowhere", state.name))?;
            }
        }
        Ok(())
    }

    fn has_op(&self, op: OpId) -> Option<()> {
        (op.index() < self.ops.len()).then_some(())
    }

    fn has_path(&self, path: PathId) -> Option<()> {
        (path.index() < self.pools.paths.len()).then_some(())
    }

    fn op_refers(&self, op: &Op) -> Result<(), &'static str> {
        let Pools { nodes, assigns, merges, tests, switches, waits, calls, forks, maps, fails, .. } = &self.pools;
        let within = |index: usize, len: usize, what| if index < len { Ok(()) } else { Err(what) };
        match *op {
            Op::Enter { state } => within(state.0 as usize, self.states.len(), "state"),
            Op::Pass { state, next, .. } => {
                self.has_op(next).ok_or("op")?;
                within(state.0 as usize, self.states.len(), "state")
            }
            Op::Input { path } | Op::Output { path } => self.has_path(path).ok_or("path"),
            Op::Build { node } => within(node.index(), nodes.len(), "template"),
            Op::Constant { constant } => within(constant.index(), self.constant_tokens.len(), "constant"),
            Op::Merge { target } => within(target.index(), merges.len(), "result path"),
            Op::Assign { assign } | Op::Commit { assign } => within(assign.index(), assigns.len(), "assignment"),
            Op::Exit { next } => self.has_op(next).ok_or("op"),
            Op::Test { test, then, otherwise } => {
                self.has_op(then).and_then(|()| self.has_op(otherwise)).ok_or("op")?;
                within(test.index(), tests.len(), "test")
            }
            Op::Switch { switch, otherwise } => {
                self.has_op(otherwise).ok_or("op")?;
                within(switch.index(), switches.len(), "switch")
            }
            Op::Wait { wait } => within(wait.index(), waits.len(), "wait"),
            Op::Call { call } => within(call.index(), calls.len(), "call"),
            Op::Fork { fork } => within(fork.index(), forks.len(), "fork"),
            Op::Map { map } => within(map.index(), maps.len(), "map"),
            Op::Fail { fail } => within(fail.index(), fails.len(), "fail"),
            Op::Empty | Op::Discard | Op::Finish | Op::NoMatch => Ok(()),
        }
    }

    fn pool_refers(&self) -> Result<(), String> {
        let pools = &self.pools;
        for at in 0..pools.intrinsics.len() {
            self.call_refers(at).ok_or_else(|| format!("intrinsic call {at} is broken"))?;
        }
        for (at, assign) in pools.assigns.iter().enumerate() {
            match pools.nodes.get(assign.node.index()) {
                Some(Node::Object { count, .. } | Node::Record { count, .. }) if *count as usize == assign.targets.len() => {}
                _ => return Err(format!("assignment {at} is broken")),
            }
        }
        for side in pools.fails.iter().flat_map(|fail| [&fail.error, &fail.cause]).flatten() {
            self.fail_refers(side).ok_or("an ErrorPath or CausePath is broken")?;
        }
        for (at, node) in pools.nodes.iter().enumerate() {
            self.node_refers(node, at).ok_or_else(|| format!("template node {at} is broken"))?;
        }
        for (at, (_, node)) in pools.members.iter().enumerate() {
            self.member_refers(node, at).ok_or_else(|| format!("template member {at} is broken"))?;
        }
        for (at, test) in pools.tests.iter().enumerate() {
            self.has_path(test.path).and_then(|()| self.check_refers(&test.check)).ok_or_else(|| format!("test {at} is broken"))?;
        }
        for (at, call) in pools.calls.iter().enumerate() {
            self.task_refers(call).ok_or_else(|| format!("call {at} is broken"))?;
        }
        let steps = pools.paths.iter().flat_map(|path| path.steps.iter()).chain(pools.merges.iter().flat_map(|merge| merge.steps.iter()));
        for step in steps {
            self.step_refers(step).ok_or("a path's filter is broken")?;
        }
        self.particulars_refer().ok_or("the particulars of a state are broken")?;
        let targets = pools.forks.iter().flat_map(|fork| fork.branches.iter()).chain(pools.maps.iter().map(|map| &map.start));
        for &target in targets.chain(pools.switches.iter().flat_map(|switch| switch.cases.iter().map(|(_, target)| target))) {
            self.has_op(target).ok_or("a branch leads nowhere")?;
        }
        Ok(())
    }

    /// What a Task refers to.
    fn task_refers(&self, call: &CallCode) -> Option<()> {
        self.resources.get(call.resource.0 as usize)?;
        for seconds in [call.timeout, call.heartbeat] {
            if let Some(SecondsCode::Path(path)) = seconds {
                self.has_path(path)?;
            }
        }
        if let InputCode::Path(path) = call.input {
            self.has_path(path)?;
        }
        call.role_arn.is_none_or(|node| node.index() < self.pools.nodes.len()).then_some(())
    }

    /// An array's nodes stand before it.
    fn node_refers(&self, node: &Node, at: usize) -> Option<()> {
        match *node {
            Node::Array { first, count } => (first as usize + count as usize <= at).then_some(()),
            _ => self.leaf_refers(node, self.pools.members.len()),
        }
    }

    /// A member's object stands before it.
    fn member_refers(&self, node: &Node, at: usize) -> Option<()> {
        match *node {
            Node::Array { first, count } => (first as usize + count as usize <= self.pools.nodes.len()).then_some(()),
            _ => self.leaf_refers(node, at),
        }
    }

    fn leaf_refers(&self, node: &Node, members: usize) -> Option<()> {
        match *node {
            Node::Constant(constant) => (constant.index() < self.constant_tokens.len()).then_some(()),
            Node::Object { first, count, .. } => (first as usize + count as usize <= members).then_some(()),
            Node::Record { first, count, .. } => {
                let record = self.pools.members[..members].get(first as usize..first as usize + count as usize)?;
                record.iter().all(|(_, member)| self.pools.takes_no_cells(member)).then_some(())
            }
            Node::Path { path, field } => self.has_path(path).filter(|()| (field as usize) < self.pools.texts.len()),
            Node::Intrinsic { call, field } => self.has_call(call).filter(|()| (field as usize) < self.pools.texts.len()),
            Node::Array { .. } => None,
        }
    }

    fn has_call(&self, call: IntrinsicId) -> Option<()> {
        (call.index() < self.pools.intrinsics.len()).then_some(())
    }

    /// A nested call stands before the one it is an argument of.
    fn call_refers(&self, at: usize) -> Option<()> {
        let call = &self.pools.intrinsics[at];
        let arguments = self.pools.arguments.get(call.first as usize..call.first as usize + call.count as usize)?;
        let fits = match call.function {
            Function::MathAdd => call.count == 2,
            function => function.is_variadic() || call.count <= Function::ARGUMENTS_MAX,
        };
        if !fits {
            return None;
        }
        arguments.iter().try_for_each(|argument| match *argument {
            ArgumentCode::Constant(constant) => (constant.index() < self.constant_tokens.len()).then_some(()),
            ArgumentCode::Path(path) => self.has_path(path),
            ArgumentCode::Call(inner) => (inner.index() < at).then_some(()),
        })
    }

    /// The paths and templates of Choice, Wait and Map.
    fn particulars_refer(&self) -> Option<()> {
        let pools = &self.pools;
        let waits = pools.waits.iter().filter_map(|wait| match *wait {
            WaitCode::SecondsPath(path) | WaitCode::TimestampPath(path) => Some(path),
            WaitCode::Seconds(_) | WaitCode::Timestamp(_) => None,
        });
        let maps = pools.maps.iter().flat_map(|map| {
            let concurrency = if let ConcurrencyCode::Path(path) = map.concurrency { Some(path) } else { None };
            [map.items, concurrency].into_iter().flatten()
        });
        let mut paths = pools.switches.iter().map(|switch| switch.path).chain(waits).chain(maps);
        paths.try_for_each(|path| self.has_path(path))?;
        let constants = pools.switches.iter().flat_map(|switch| switch.cases.iter());
        constants.map(|(constant, _)| constant).all(|constant| constant.index() < self.constant_tokens.len()).then_some(())?;
        pools.maps.iter().filter_map(|map| map.selector).all(|selector| selector.index() < pools.nodes.len()).then_some(())
    }

    fn fail_refers(&self, side: &FailSide) -> Option<()> {
        match *side {
            FailSide::Literal(_) => Some(()),
            FailSide::Path(path) => self.has_path(path),
            FailSide::Intrinsic(call) => self.has_call(call),
        }
    }

    fn check_refers(&self, check: &Check) -> Option<()> {
        let side = |side: &Side| match *side {
            Side::Constant(constant) => (constant.index() < self.constant_tokens.len()).then_some(()),
            Side::Path(path) => self.has_path(path),
        };
        match check {
            Check::StringIs(constant, ..) => side(&Side::Constant(*constant)),
            Check::String(_, operand) | Check::Number(_, operand) | Check::Boolean(operand) => side(operand),
            Check::TimeAt(_, path) => self.has_path(*path),
            Check::NumberWith(..) | Check::TimeWith(..) | Check::Matches(_) | Check::Is(..) => Some(()),
        }
    }

    fn step_refers(&self, step: &Step) -> Option<()> {
        match step {
            Step::Filter(filter) => self.filter_refers(filter),
            _ => Some(()),
        }
    }

    fn filter_refers(&self, filter: &FilterCode) -> Option<()> {
        let side = |side: &FilterSide| match side {
            FilterSide::Constant(constant) => (constant.index() < self.constant_tokens.len()).then_some(()),
            FilterSide::Item(steps) => steps.iter().try_for_each(|step| self.step_refers(step)),
        };
        match filter {
            FilterCode::Or(parts) | FilterCode::And(parts) => parts.iter().try_for_each(|part| self.filter_refers(part)),
            FilterCode::Not(inner) => self.filter_refers(inner),
            FilterCode::Exists(steps) => steps.iter().try_for_each(|step| self.step_refers(step)),
            FilterCode::Compare(left, _, right) => side(left).and_then(|()| side(right)),
        }
    }
}
