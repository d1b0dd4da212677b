//! Variables: read through the scopes, assigned when a state is left (spec/asl.md 3).
//!
//! A strand holds the variables of its own scope. The strands around it wait while it runs, so what it reads of theirs does not change, and a branch costs nothing before it assigns.

use super::Slot;
use super::failure::Raised;
use super::strand::NO_FRAME;
use crate::document::DOCUMENT_DEPTH_MAX;
use crate::error;
use crate::limits::{ASSIGN_BYTES_MAX, VARIABLES_BYTES_MAX};
use crate::program::Program;
use crate::program::op::{AssignId, Op};
use crate::program::pool::VariableId;
use crate::value::Value;

impl Slot {
    /// The value of a variable, if it has one.
    pub(super) fn variable(&self, id: u32, variable: VariableId) -> Option<Value> {
        let mut strand = &self.strands[id as usize];
        for _ in 0..variable.scopes_out {
            if strand.frame == NO_FRAME {
                return None;
            }
            strand = &self.strands[self.frames[strand.frame as usize].owner as usize];
        }
        strand.variables.get(variable.index as usize).copied().flatten()
    }

    /// The ops of Assign, out of the loop's way: most programs have none.
    #[inline(never)]
    pub(super) fn assignment(&mut self, program: &Program, id: u32, op: Op, cur: Value) -> Result<Option<Value>, Raised> {
        match op {
            Op::Assign { assign } => self.assign(program, id, assign, cur)?,
            Op::Commit { assign } => self.commit(program, id, assign, cur)?,
            _ => {}
        }
        Ok(Some(cur))
    }

    /// Computes the values of an Assign over `cur`, all from the variables as they are.
    fn assign(&mut self, program: &Program, id: u32, assign: AssignId, cur: Value) -> Result<(), Raised> {
        let code = &program.pools.assigns[assign.index()];
        let object = self.build_unbounded(program, id, code.node, cur)?;
        if object.depth() > DOCUMENT_DEPTH_MAX {
            return Err(self.raise_runtime(program, id, format_args!("A variable is nested deeper than {DOCUMENT_DEPTH_MAX} levels.")));
        }
        let bytes = (0..).take(code.targets.len()).fold(0, |sum: u32, pair| sum.saturating_add(self.memory.pair_value(object, pair).size()));
        if bytes > ASSIGN_BYTES_MAX {
            let text = format_args!("The variables that the state assigns have {bytes} bytes, the limit is {ASSIGN_BYTES_MAX}.");
            return Err(self.raise(program, id, error::DATA_LIMIT_EXCEEDED, text));
        }
        self.assigned = Some(object);
        Ok(())
    }

    /// Gives the variables their values, now that the state is being left with `cur`.
    fn commit(&mut self, program: &Program, id: u32, assign: AssignId, cur: Value) -> Result<(), Raised> {
        self.within_limit(program, id, cur)?;
        let Some(object) = self.assigned else { return Ok(()) };
        let targets = &program.pools.assigns[assign.index()].targets;
        let variables = &self.strands[id as usize].variables;
        let mut bytes = self.variable_bytes;
        for (pair, &target) in (0..).zip(targets) {
            let old = variables.get(target as usize).copied().flatten();
            bytes = bytes + u64::from(self.memory.pair_value(object, pair).size()) - old.map_or(0, |old| u64::from(old.size()));
        }
        if bytes > VARIABLES_BYTES_MAX {
            let text = format_args!("The variables of the execution have {bytes} bytes, the limit is {VARIABLES_BYTES_MAX}.");
            return Err(self.raise(program, id, error::DATA_LIMIT_EXCEEDED, text));
        }
        self.variable_bytes = bytes;
        let variables = &mut self.strands[id as usize].variables;
        for (pair, &target) in (0..).zip(targets) {
            let target = target as usize;
            if variables.len() <= target {
                variables.resize(target + 1, None);
            }
            variables[target] = Some(self.memory.pair_value(object, pair));
        }
        Ok(())
    }

    /// Forgets the variables of a strand that has ended.
    #[inline]
    pub(super) fn release_variables(&mut self, id: u32) {
        let variables = &mut self.strands[id as usize].variables;
        let bytes: u64 = variables.iter().flatten().map(|value| u64::from(value.size())).sum();
        variables.clear();
        self.variable_bytes -= bytes;
    }
}
