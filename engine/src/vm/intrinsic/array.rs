//! ArrayContains, ArrayGetItem, ArrayLength, ArrayPartition, ArrayRange and ArrayUnique; Array itself is its arguments.

use std::hash::{DefaultHasher, Hasher};

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::distinct::Distinct;
use super::{Argument, Failure, because};
use crate::program::Program;
use crate::value::{Value, View};
use crate::vm::Slot;

/// Most items that ArrayRange makes.
const RANGE_ITEMS_MAX: u32 = 1_000;

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("an array within the payload limit has fewer elements than bytes")
}

impl Slot {
    /// `States.ArrayContains(array, value)`
    pub(super) fn array_contains(&mut self, program: &Program, array: Argument, wanted: Argument) -> Result<Value, Failure> {
        let array = self.array(array)?;
        let view = self.view(program);
        Ok(Value::boolean(view.elements(array).any(|element| view.equal(element, wanted.value))))
    }

    /// `States.ArrayGetItem(array, index)`, from 0.
    pub(super) fn array_get_item(&mut self, program: &Program, array: Argument, index: Argument) -> Result<Value, Failure> {
        let array = self.array(array)?;
        let at = self.integer(program, index)?;
        match usize::try_from(at).ok().and_then(|at| self.view(program).element(array, at)) {
            Some(element) => Ok(element),
            None => because(format_args!("The index {at} is out of the bounds of an array of {} elements", self.view(program).len(array))),
        }
    }

    /// `States.ArrayLength(array)`
    pub(super) fn array_length(&mut self, program: &Program, array: Argument) -> Result<Value, Failure> {
        let array = self.array(array)?;
        Ok(Value::integer(i64::from(narrow(self.view(program).len(array)))))
    }

    /// `States.ArrayPartition(array, size)`: the chunks are parts of one run of cells.
    pub(super) fn array_partition(&mut self, program: &Program, array: Argument, size: Argument) -> Result<Value, Failure> {
        let array = self.array(array)?;
        let size = self.integer(program, size)?;
        if size < 1 {
            return because(format_args!("The chunk size {size} is not positive"));
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let total = narrow(self.view(program).len(array));
        let elements = self.memory.reserve(total as usize)?;
        self.spread_into(program, array, elements, total);
        let chunks = total.div_ceil(size);
        let start = self.memory.reserve(chunks as usize)?;
        for chunk in 0..chunks {
            let first = chunk * size;
            let value = self.memory.finish_array(elements + first, size.min(total - first));
            self.memory.set(start + chunk, value);
        }
        Ok(self.memory.finish_array(start, chunks))
    }

    /// `States.ArrayRange(first, last, step)`, the last included where a step meets it.
    pub(super) fn array_range(&mut self, program: &Program, first: Argument, last: Argument, step: Argument) -> Result<Value, Failure> {
        let (first, last, step) = (self.integer(program, first)?, self.integer(program, last)?, self.integer(program, step)?);
        if step == 0 {
            return because(format_args!("The step is 0"));
        }
        let steps = (i128::from(last) - i128::from(first)) / i128::from(step);
        let is_ahead = if step > 0 { first <= last } else { first >= last };
        let count = if is_ahead { u32::try_from(steps + 1).unwrap_or(u32::MAX) } else { 0 };
        if count > RANGE_ITEMS_MAX {
            return because(format_args!("The range has more than {RANGE_ITEMS_MAX} items"));
        }
        let start = self.memory.reserve(count as usize)?;
        for index in 0..count {
            self.memory.set(start + index, Value::integer(first + i64::from(index) * step));
        }
        Ok(self.memory.finish_array(start, count))
    }

    /// `States.ArrayUnique(array)`: of equal elements the first stays.
    pub(super) fn array_unique(&mut self, program: &Program, array: Argument) -> Result<Value, Failure> {
        let array = self.array(array)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let kept = distinct(self.view(program), array, self.random, &scratch);
        let result = self.memory.array_of(&kept);
        drop(kept);
        scratch.reset();
        self.scratch = scratch;
        Ok(result?)
    }
}

fn distinct<'b>(view: View<'_>, array: Value, seed: u64, scratch: &'b Bump) -> BumpVec<'b, Value> {
    let count = view.len(array);
    let mut kept = BumpVec::with_capacity_in(count, scratch);
    let mut known = Distinct::new(count, scratch);
    for element in view.elements(array) {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        view.hash(element, seed, &mut hasher);
        if known.find_or_add(hasher.finish(), |number| view.equal(kept[number], element)).is_none() {
            kept.push(element);
        }
    }
    kept
}
