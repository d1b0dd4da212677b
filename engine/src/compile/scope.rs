//! Scopes of variables, numbered: where a state's variables are.

use std::collections::HashMap;

use super::emit::{Emitter, next_id};
use crate::hir::{Assign, StateKind, StateMachine, SubMachine};
use crate::program::op::{AssignId, NodeId, Op};
use crate::program::pool::{AssignCode, VariableId};

/// A level of states with its variables.
#[derive(Debug)]
struct Scope {
    /// The level around it, if its variables are seen.
    outer: Option<usize>,
    variables: HashMap<String, u32>,
}

/// All levels of a machine.
#[derive(Debug)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    /// The scope of each state.
    of_states: Vec<usize>,
}

impl Scopes {
    pub(super) fn new(machine: &StateMachine) -> Self {
        let mut scopes = Self { scopes: Vec::new(), of_states: vec![0; machine.states.len()] };
        scopes.add(machine, &machine.root, None);
        scopes
    }

    /// The recursion is as deep as lowering lets machines nest.
    fn add(&mut self, machine: &StateMachine, level: &SubMachine, outer: Option<usize>) {
        let scope = self.scopes.len();
        let variables = (0..).zip(&level.variables).map(|(index, name)| (name.clone(), index)).collect();
        self.scopes.push(Scope { outer: outer.filter(|_| level.sees_outer), variables });
        for state in &level.states {
            self.of_states[state.0 as usize] = scope;
            match &machine.states[state.0 as usize].kind {
                StateKind::Parallel { branches } => branches.iter().for_each(|branch| self.add(machine, branch, Some(scope))),
                StateKind::Map(map) => self.add(machine, &map.processor, Some(scope)),
                _ => {}
            }
        }
    }

    /// The scope of the state with this index.
    pub(super) fn of_state(&self, index: usize) -> usize {
        self.of_states[index]
    }

    /// The variable that `name` means in `scope`.
    pub(super) fn find(&self, scope: usize, name: &str) -> Option<VariableId> {
        let mut at = Some(scope);
        for scopes_out in 0.. {
            let scope = &self.scopes[at?];
            if let Some(&index) = scope.variables.get(name) {
                return Some(VariableId { scopes_out, index });
            }
            at = scope.outer;
        }
        None
    }
}

impl Emitter<'_> {
    /// Emits the evaluation of an Assign; [`commit`](Self::commit) takes what this returns.
    pub(super) fn assign(&mut self, assign: Option<&Assign>) -> Option<AssignId> {
        // An empty Assign does nothing, and the history does not know it either.
        let Assign(variables) = assign.filter(|assign| !assign.0.is_empty())?;
        let node = self.object(variables);
        let id = NodeId(next_id(&self.pools.nodes));
        self.pools.nodes.push(node);
        let own = |name: &str| self.scopes.find(self.scope, name).filter(|found| found.scopes_out == 0);
        let targets = variables.iter().map(|(name, _)| own(name).expect("a state's scope holds what the state assigns").index).collect();
        let assign = AssignId(next_id(&self.pools.assigns));
        self.pools.assigns.push(AssignCode { node: id, targets });
        self.emit(Op::Assign { assign });
        Some(assign)
    }

    /// Emits the moment from which the variables have their new values.
    pub(super) fn commit(&mut self, assign: Option<AssignId>) {
        if let Some(assign) = assign {
            self.emit(Op::Commit { assign });
        }
    }
}
