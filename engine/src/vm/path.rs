//! Paths read and written.

use std::fmt::Write as _;

use bumpalo::collections::Vec as BumpVec;

use super::Slot;
use super::failure::Raised;
use crate::document::{Kind, Symbol};
use crate::error;
use crate::hir::FilterOperator;
use crate::program::Program;
use crate::program::op::{MergeId, PathId};
use crate::program::pool::{FilterCode, FilterSide, PathRoot, Step};
use crate::value::{Quota, Value, View};

impl Slot {
    /// What a path selects from `base`: a definite path its value or nothing, an indefinite one the array of its matches.
    #[inline]
    pub(super) fn read(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Option<Value>, Raised> {
        let code = program.path(path);
        if code.root == PathRoot::Data && code.definite {
            return Ok(walk(self.view(program), base, &code.steps).ok());
        }
        self.read_slow(program, id, path, base)
    }

    fn read_slow(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Option<Value>, Raised> {
        let code = program.path(path);
        let root = match code.root {
            PathRoot::Data => Some(base),
            PathRoot::Context(field) => self.context(program, id, field)?,
            PathRoot::Variable(variable) => self.variable(id, variable),
            PathRoot::Unassigned => None,
        };
        let Some(root) = root else { return Ok(None) };
        if code.definite {
            return Ok(walk(self.view(program), root, &code.steps).ok());
        }
        self.select(program, root, &code.steps).map(Some).map_err(|quota| self.raise_quota(quota))
    }

    /// The array of an indefinite path's matches.
    fn select(&mut self, program: &Program, root: Value, steps: &[Step]) -> Result<Value, Quota> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut found = BumpVec::new_in(&scratch);
        collect(self.view(program), root, steps, &mut found);
        let start = self.memory.reserve(found.len())?;
        let mut cell = start;
        for value in &found {
            self.memory.set(cell, *value);
            cell += 1;
        }
        let array = self.memory.finish_array(start, cell - start);
        drop(found);
        scratch.reset();
        self.scratch = scratch;
        Ok(array)
    }

    /// InputPath, OutputPath, ItemsPath and the like: nothing found is an error with Jayway's text (spec/asl.md 2.1).
    pub(super) fn data_path(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Value, Raised> {
        if let Some(value) = self.read(program, id, path, base)? {
            return Ok(value);
        }
        let code = program.path(path);
        let missing = match code.root {
            PathRoot::Data => walk(self.view(program), base, &code.steps).err().unwrap_or(0),
            PathRoot::Context(_) | PathRoot::Variable(_) | PathRoot::Unassigned => code.steps.len().saturating_sub(1),
        };
        let mut place = String::from("$");
        for step in code.steps.iter().take(missing + 1) {
            let written = match step {
                Step::Member(symbol) => write!(place, "['{}']", program.symbols.name(*symbol)),
                Step::Index(index) => write!(place, "[{index}]"),
                _ => Ok(()),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        let (text, reason) = (&code.text, if missing + 1 >= code.steps.len() { "No results for path:" } else { "Missing property in path" });
        Err(self.raise_runtime(program, id, format_args!("Invalid path '{text}' : {reason} {place}")))
    }

    /// ResultPath: the state's raw input with `value` at the target.
    pub(super) fn merge(&mut self, program: &Program, id: u32, target: MergeId, value: Value) -> Result<Value, Raised> {
        let raw = self.strands[id as usize].raw;
        let steps = &program.pools.merges[target.index()];
        if let ([Step::Member(symbol)], Kind::Object) = (&**steps, raw.kind()) {
            return self.memory.with_member(raw, *symbol, value, &program.constants, &program.symbols).map_err(|quota| self.raise_quota(quota));
        }
        match self.placed(program, raw, steps, value) {
            Ok(Some(merged)) => Ok(merged),
            Ok(None) => {
                let mut shown = Vec::new();
                self.view(program).write(raw, &mut shown);
                let shown = String::from_utf8_lossy(&shown).into_owned();
                let text = &program.pools.merge_texts[target.index()];
                Err(self.raise(program, id, error::RESULT_PATH_MATCH_FAILURE, format_args!("Unable to apply ReferencePath {text} to input {shown}")))
            }
            Err(quota) => Err(self.raise_quota(quota)),
        }
    }

    /// `base` with `value` at the end of `steps`; `None` where `base` has no place for it. The recursion is as deep as the path.
    fn placed(&mut self, program: &Program, base: Value, steps: &[Step], value: Value) -> Result<Option<Value>, Quota> {
        let Some((step, rest)) = steps.split_first() else { return Ok(Some(value)) };
        match (step, base.kind()) {
            (Step::Member(symbol), Kind::Object) => {
                let inner = match self.view(program).member(base, *symbol) {
                    Some(member) => self.placed(program, member, rest, value)?,
                    None => self.nested(program, rest, value)?,
                };
                let Some(inner) = inner else { return Ok(None) };
                self.memory.with_member(base, *symbol, inner, &program.constants, &program.symbols).map(Some)
            }
            (Step::Index(index), Kind::Array) => {
                let Some(at) = element_index(self.view(program).len(base), *index) else { return Ok(None) };
                let Some(element) = self.view(program).element(base, at) else { return Ok(None) };
                let Some(inner) = self.placed(program, element, rest, value)? else { return Ok(None) };
                self.memory.with_element(base, at, inner, &program.constants, &program.symbols).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Objects for the missing steps of a result path; an index cannot be made up.
    fn nested(&mut self, program: &Program, steps: &[Step], value: Value) -> Result<Option<Value>, Quota> {
        let mut inner = value;
        for step in steps.iter().rev() {
            let Step::Member(symbol) = step else { return Ok(None) };
            let start = self.memory.reserve(2)?;
            self.memory.set(start, Value::program_key(*symbol, None));
            self.memory.set(start + 1, inner);
            inner = self.memory.finish_object(start, 1, &program.symbols);
        }
        Ok(Some(inner))
    }
}

/// The place of index `index`, from the end when negative, in an array of `len`.
fn element_index(len: usize, index: i64) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if index < 0 { len + index } else { index };
    if (0..len).contains(&at) { usize::try_from(at).ok() } else { None }
}

/// Follows a definite path; the error is the number of the step that found nothing.
#[inline]
fn walk(view: View<'_>, base: Value, steps: &[Step]) -> Result<Value, usize> {
    let mut value = base;
    for (number, step) in steps.iter().enumerate() {
        let found = match step {
            Step::Member(symbol) => view.member(value, *symbol),
            Step::Index(index) => at_index(view, value, *index),
            _ => None,
        };
        value = found.ok_or(number)?;
    }
    Ok(value)
}

fn at_index(view: View<'_>, value: Value, index: i64) -> Option<Value> {
    if value.kind() != Kind::Array {
        return None;
    }
    if index < 0 {
        return element_index(view.len(value), index).and_then(|at| view.element(value, at));
    }
    view.element(value, usize::try_from(index).ok()?)
}

/// Adds what `steps` select from `value` to `found`. The recursion is as deep as the path and the data are, both bounded.
fn collect(view: View<'_>, value: Value, steps: &[Step], found: &mut BumpVec<'_, Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match step {
        Step::Member(symbol) => view.member(value, *symbol).into_iter().for_each(|next| collect(view, next, rest, found)),
        Step::Index(index) => at_index(view, value, *index).into_iter().for_each(|next| collect(view, next, rest, found)),
        Step::Wildcard => children(view, value, |child| collect(view, child, rest, found)),
        Step::Descend => {
            collect(view, value, rest, found);
            children(view, value, |child| collect(view, child, steps, found));
        }
        Step::Indices(indices) => {
            for index in indices {
                at_index(view, value, *index).into_iter().for_each(|next| collect(view, next, rest, found));
            }
        }
        Step::Members(symbols) => members(view, value, symbols, |next| collect(view, next, rest, found)),
        Step::Slice { start, end, step } => slice(view, value, (*start, *end, *step), |next| collect(view, next, rest, found)),
        Step::Filter(filter) => match value.kind() {
            Kind::Array => view.elements(value).filter(|item| accepts(view, *item, filter)).for_each(|item| collect(view, item, rest, found)),
            // Jayway applies a filter on an object to the object itself.
            Kind::Object if accepts(view, value, filter) => collect(view, value, rest, found),
            _ => {}
        },
    }
}

fn children(view: View<'_>, value: Value, mut visit: impl FnMut(Value)) {
    match value.kind() {
        Kind::Array => view.elements(value).for_each(visit),
        Kind::Object => view.members(value).for_each(|member| visit(member.value)),
        _ => {}
    }
}

fn members(view: View<'_>, value: Value, symbols: &[Symbol], mut visit: impl FnMut(Value)) {
    for symbol in symbols {
        if let Some(member) = view.member(value, *symbol) {
            visit(member);
        }
    }
}

/// Python's slice rules with a positive step, as Jayway has them.
fn slice(view: View<'_>, value: Value, (start, end, step): (Option<i64>, Option<i64>, i64), mut visit: impl FnMut(Value)) {
    if value.kind() != Kind::Array || step < 1 {
        return;
    }
    let len = i64::try_from(view.len(value)).unwrap_or(i64::MAX);
    let bound = |index: i64| if index < 0 { (len + index).max(0) } else { index.min(len) };
    let (from, to) = (start.map_or(0, bound), end.map_or(len, bound));
    for (at, element) in (0_i64..).zip(view.elements(value)) {
        if at >= from && at < to && (at - from) % step == 0 {
            visit(element);
        }
    }
}

fn accepts(view: View<'_>, item: Value, filter: &FilterCode) -> bool {
    match filter {
        FilterCode::Or(parts) => parts.iter().any(|part| accepts(view, item, part)),
        FilterCode::And(parts) => parts.iter().all(|part| accepts(view, item, part)),
        FilterCode::Not(inner) => !accepts(view, item, inner),
        FilterCode::Exists(steps) => walk(view, item, steps).is_ok(),
        FilterCode::Compare(left, operator, right) => {
            let side = |side: &FilterSide| match side {
                FilterSide::Item(steps) => walk(view, item, steps).ok(),
                FilterSide::Constant(constant) => view.constant_number(constant.index()),
            };
            compare(view, side(left), *operator, side(right))
        }
    }
}

fn compare(view: View<'_>, left: Option<Value>, operator: FilterOperator, right: Option<Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        // What is missing equals only what is missing.
        return match operator {
            FilterOperator::Equal => left.is_none() && right.is_none(),
            FilterOperator::NotEqual => left.is_some() != right.is_some(),
            _ => false,
        };
    };
    let order = view.compare_numbers(left, right).or_else(|| view.compare_strings(left, right));
    match operator {
        FilterOperator::Equal => view.equal(left, right),
        FilterOperator::NotEqual => !view.equal(left, right),
        FilterOperator::Less => order.is_some_and(|order| order.is_lt()),
        FilterOperator::LessEqual => order.is_some_and(|order| order.is_le()),
        FilterOperator::Greater => order.is_some_and(|order| order.is_gt()),
        FilterOperator::GreaterEqual => order.is_some_and(|order| order.is_ge()),
    }
}
