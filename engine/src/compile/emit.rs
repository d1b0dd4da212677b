//! The op encoder: labels, back-patching, pool interning.

use std::collections::HashMap;

use super::refusal;
use super::scope::Scopes;
use crate::diagnostic::Diagnostic;
use crate::document::{Symbol, Symbols};
use crate::hir::{Resource, State, StateId, StateMachine};
use crate::program::Pools;
use crate::program::op::{ConstantId, Op, OpId, PathId};
use crate::program::pool::StateCode;
use crate::value::{Name, Value};
use crate::vm::ResourceId;

/// A place in the code that may not be known yet. While code is emitted, the [`OpId`]s inside ops hold labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(u32);

impl Label {
    pub(super) fn target(self) -> OpId {
        OpId(self.0)
    }
}

/// The code and pools of a program in the making.
pub(super) struct Emitter<'m> {
    pub(super) machine: &'m StateMachine,
    pub(super) ops: Vec<Op>,
    pub(super) pools: Pools,
    pub(super) states: Vec<StateCode>,
    resources: Vec<Resource>,
    /// By ARN, which says the rest.
    resource_ids: HashMap<String, ResourceId>,
    symbols: Symbols,
    /// Where each label is; label n below the number of states is the entry of state n.
    labels: Vec<Option<OpId>>,
    constants: String,
    constant_ids: HashMap<String, ConstantId>,
    /// By text; those of variables by scope and text.
    pub(super) path_ids: HashMap<String, PathId>,
    pub(super) scopes: Scopes,
    /// The scope of the state that is being emitted.
    pub(super) scope: usize,
    diagnostics: Vec<Diagnostic>,
}

/// What the emitter hands to the compiler.
pub(super) struct Emitted {
    pub(super) ops: Vec<Op>,
    pub(super) entry: OpId,
    pub(super) pools: Pools,
    pub(super) states: Vec<StateCode>,
    pub(super) resources: Vec<Resource>,
    pub(super) symbols: Symbols,
    pub(super) constants: String,
}

/// Transitions that one [`Op::Pass`] stands for at most; this also ends the search in a loop of such states.
const PASSES_MAX: u32 = 1024;

/// Makes a [`Op::Pass`] of each Enter that only an Exit follows, and looks ahead how far such states lead.
fn fuse_passes(ops: &mut [Op]) {
    let targets: Vec<Option<(StateId, OpId)>> = (0..ops.len())
        .map(|at| match ops.get(at..at + 2) {
            Some(&[Op::Enter { state }, Op::Exit { next }]) => Some((state, next)),
            _ => None,
        })
        .collect();
    for (op, target) in ops.iter_mut().zip(&targets) {
        let Some((state, mut next)) = *target else { continue };
        let mut count = 1;
        while let Some((_, following)) = targets[next.index()]
            && count < PASSES_MAX
        {
            next = following;
            count += 1;
        }
        *op = Op::Pass { state, next, count };
    }
}

/// A pool's length as the next entry's number.
pub(super) fn next_id<T>(pool: &[T]) -> u32 {
    u32::try_from(pool.len()).expect("a definition of at most 1 MiB cannot fill a pool of 2^32 entries")
}

impl<'m> Emitter<'m> {
    pub(super) fn new(machine: &'m StateMachine) -> Self {
        Self {
            machine,
            ops: Vec::new(),
            pools: Pools::default(),
            states: Vec::new(),
            resources: Vec::new(),
            resource_ids: HashMap::new(),
            symbols: Symbols::default(),
            labels: vec![None; machine.states.len()],
            constants: String::from("["),
            constant_ids: HashMap::new(),
            path_ids: HashMap::new(),
            scopes: Scopes::new(machine),
            scope: 0,
            diagnostics: Vec::new(),
        }
    }

    /// The label of a state's entry.
    pub(super) fn state_label(state: StateId) -> Label {
        Label(state.0)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(next_id(&self.labels) - 1)
    }

    /// Says that `label` is here.
    pub(super) fn bind(&mut self, label: Label) {
        let here = OpId(next_id(&self.ops));
        self.labels[label.0 as usize] = Some(here);
    }

    pub(super) fn emit(&mut self, op: Op) {
        self.ops.push(op);
    }

    pub(super) fn refuse(&mut self, message: String, state: &State) {
        self.diagnostics.push(refusal(message, Some(&state.name)));
    }

    /// The symbol of a name.
    pub(super) fn symbol(&mut self, name: &str) -> Symbol {
        self.symbols.intern(name).unwrap_or_else(|| {
            if self.diagnostics.last().is_none_or(|last| !last.message.contains("distinct names")) {
                self.diagnostics.push(refusal(format!("the definition has more than {} distinct names", Symbols::COUNT_MAX), None));
            }
            Symbol::NONE
        })
    }

    /// A symbol as the name of a member that is set; a refused definition's has none.
    pub(super) fn name(&self, symbol: Symbol) -> Option<Name> {
        (symbol != Symbol::NONE).then(|| Name::new(symbol, &self.symbols))
    }

    /// A symbol as a member's key; a refused definition's has none.
    pub(super) fn key(&self, symbol: Symbol) -> Value {
        if symbol == Symbol::NONE { Value::program_key(symbol, None) } else { Value::rendered_key(symbol, &self.symbols) }
    }

    /// Bytes that a name takes as a member's key, with quotes and colon.
    pub(super) fn rendered_len(&self, symbol: Symbol) -> u32 {
        if symbol == Symbol::NONE { 0 } else { self.symbols.rendered_len(symbol) }
    }

    /// The number of a constant, given as compact JSON text.
    pub(super) fn constant(&mut self, json: &str) -> ConstantId {
        if let Some(&known) = self.constant_ids.get(json) {
            return known;
        }
        if !self.constant_ids.is_empty() {
            self.constants.push(',');
        }
        self.constants.push_str(json);
        let id = ConstantId(u32::try_from(self.constant_ids.len()).expect("a definition of at most 1 MiB has fewer constants"));
        self.constant_ids.insert(json.to_owned(), id);
        id
    }

    /// The number of a constant string.
    pub(super) fn string_constant(&mut self, text: &str) -> ConstantId {
        let mut json = Vec::new();
        crate::document::quote_into(text, &mut json);
        let json = String::from_utf8(json).expect("quoting a str gives UTF-8");
        self.constant(&json)
    }

    pub(super) fn resource(&mut self, resource: &Resource) -> ResourceId {
        if let Some(&known) = self.resource_ids.get(&resource.arn) {
            return known;
        }
        let id = ResourceId(next_id(&self.resources));
        self.resources.push(resource.clone());
        self.resource_ids.insert(resource.arn.clone(), id);
        id
    }

    /// Resolves the labels.
    pub(super) fn finish(mut self) -> Result<Emitted, Vec<Diagnostic>> {
        if !self.diagnostics.is_empty() {
            return Err(self.diagnostics);
        }
        let labels = std::mem::take(&mut self.labels);
        let place = |target: &mut OpId| *target = labels[target.index()].expect("every label is bound by the emitter that made it");
        for op in &mut self.ops {
            match op {
                Op::Exit { next } => place(next),
                Op::Test { then, otherwise, .. } => {
                    place(then);
                    place(otherwise);
                }
                Op::Switch { otherwise, .. } => place(otherwise),
                _ => {}
            }
        }
        for switch in &mut self.pools.switches {
            switch.cases.iter_mut().for_each(|(_, target)| place(target));
        }
        for fork in &mut self.pools.forks {
            fork.branches.iter_mut().for_each(place);
        }
        for map in &mut self.pools.maps {
            place(&mut map.start);
        }
        for state in &mut self.states {
            place(&mut state.entry);
            state.catchers.iter_mut().for_each(|catcher| place(&mut catcher.entry));
        }
        fuse_passes(&mut self.ops);
        self.constants.push(']');
        let mut entry = Self::state_label(self.machine.root.start).target();
        place(&mut entry);
        Ok(Emitted {
            ops: self.ops,
            entry,
            pools: self.pools,
            states: self.states,
            resources: self.resources,
            symbols: self.symbols,
            constants: self.constants,
        })
    }
}
