//! What the steps of a path select, by the rules of the Java library behind the service, its peculiarities included (spec/asl.md 2.3).

use std::borrow::Cow;
use std::cmp::Ordering;

use bumpalo::collections::Vec as BumpVec;

use crate::document::{Kind, Symbol, Token, Unescaped};
use crate::hir::FilterOperator;
use crate::limits::PATH_VISITS_MAX;
use crate::program::pool::{FilterCode, FilterSide, Step};
use crate::value::{Value, View, number};

/// What conditions are read against.
#[derive(Debug, Clone, Copy)]
struct Ground<'v> {
    view: View<'v>,
    constants: &'v [Token],
}

/// The values that a path has selected so far.
pub(super) struct Selection<'v, 'b> {
    ground: Ground<'v>,
    found: BumpVec<'b, Value>,
    /// Values that may still be looked at: `$..*..*..*` selects more than any memory holds.
    visits: u32,
}

impl<'v, 'b> Selection<'v, 'b> {
    pub(super) fn new(view: View<'v>, constants: &'v [Token], scratch: &'b bumpalo::Bump) -> Self {
        Self { ground: Ground { view, constants }, found: BumpVec::new_in(scratch), visits: PATH_VISITS_MAX }
    }

    /// What was found, and whether the path was given up.
    pub(super) fn finish(self) -> (BumpVec<'b, Value>, bool) {
        let is_exhausted = self.is_exhausted();
        (self.found, is_exhausted)
    }

    fn is_exhausted(&self) -> bool {
        self.visits == 0
    }

    /// Adds what `steps` select from `value`. The recursion is as deep as the path and the data are, both bounded.
    pub(super) fn collect(&mut self, value: Value, steps: &[Step]) {
        self.visits = self.visits.saturating_sub(1);
        if self.is_exhausted() {
            return;
        }
        let ground = self.ground;
        let view = ground.view;
        let Some((step, rest)) = steps.split_first() else { return self.found.push(value) };
        match step {
            Step::Member(symbol) => view.member(value, *symbol).into_iter().for_each(|next| self.collect(next, rest)),
            Step::Index(index) => at_index(view, value, *index).into_iter().for_each(|next| self.collect(next, rest)),
            Step::Wildcard => children(view, value, |child| self.collect(child, rest)),
            Step::Descend => self.scan(value, rest),
            Step::Indices(indices) => {
                for index in indices {
                    at_index(view, value, *index).into_iter().for_each(|next| self.collect(next, rest));
                }
            }
            // At the end of a path the members go into one object, which the caller makes of what is found here.
            Step::Members(_) if rest.is_empty() => {
                if value.kind() == Kind::Object {
                    self.found.push(value);
                }
            }
            Step::Members(symbols) => symbols.iter().filter_map(|symbol| view.member(value, *symbol)).for_each(|next| self.collect(next, rest)),
            Step::Slice { start, end } => slice(view, value, *start, *end, |next| self.collect(next, rest)),
            Step::Filter(filter) => match value.kind() {
                Kind::Array => view.elements(value).for_each(|item| {
                    self.visits = self.visits.saturating_sub(1);
                    if !self.is_exhausted() && accepts(ground, item, filter) {
                        self.collect(item, rest);
                    }
                }),
                Kind::Object if accepts(ground, value, filter) => self.collect(value, rest),
                _ => {}
            },
        }
    }

    /// `..`: the value and all that is below it, where the next step fits.
    fn scan(&mut self, value: Value, steps: &[Step]) {
        self.visits = self.visits.saturating_sub(1);
        if self.is_exhausted() {
            return;
        }
        let Some((step, rest)) = steps.split_first() else { return };
        let view = self.ground.view;
        let fits = fits(self.ground, value, step, rest.is_empty());
        match value.kind() {
            // The library applies what follows the step to every element, whatever the step says.
            Kind::Array if fits && !rest.is_empty() => view.elements(value).for_each(|element| self.collect(element, rest)),
            Kind::Array | Kind::Object if fits => self.collect(value, steps),
            _ => {}
        }
        children(view, value, |child| self.scan(child, steps));
    }
}

/// Whether a value is one to which the step behind `..` applies.
fn fits(ground: Ground<'_>, value: Value, step: &Step, is_last: bool) -> bool {
    let view = ground.view;
    let is_object = value.kind() == Kind::Object;
    match step {
        Step::Member(symbol) => is_object && view.member(value, *symbol).is_some(),
        Step::Members(symbols) => is_object && (!is_last || symbols.iter().all(|symbol| view.member(value, *symbol).is_some())),
        Step::Index(_) | Step::Indices(_) | Step::Slice { .. } => value.kind() == Kind::Array,
        Step::Wildcard => true,
        Step::Filter(filter) => accepts(ground, value, filter),
        Step::Descend => false,
    }
}

/// Follows a definite path; the error is the number of the step that found nothing.
#[inline]
pub(super) fn walk(view: View<'_>, base: Value, steps: &[Step]) -> Result<Value, usize> {
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

/// The place of index `index`, from the end when negative, in an array of `len`.
pub(super) fn element_index(len: usize, index: i64) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if index < 0 { len + index } else { index };
    if (0..len).contains(&at) { usize::try_from(at).ok() } else { None }
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

fn children(view: View<'_>, value: Value, mut visit: impl FnMut(Value)) {
    match value.kind() {
        Kind::Array => view.elements(value).for_each(visit),
        Kind::Object => view.members(value).for_each(|member| visit(member.value)),
        _ => {}
    }
}

/// Slices as the library has them: a start below zero counts from the end where there is no end, and element by element where there is one, so `[-1:1]` gives the last element and the first.
fn slice(view: View<'_>, value: Value, start: Option<i64>, end: Option<i64>, mut visit: impl FnMut(Value)) {
    if value.kind() != Kind::Array {
        return;
    }
    let len = i64::try_from(view.len(value)).unwrap_or(i64::MAX);
    let range = match (start, end) {
        (Some(start), None) => (if start < 0 { len + start } else { start }).max(0)..len,
        (None, Some(end)) => 0..(if end < 0 { len + end } else { end }).min(len),
        (Some(start), Some(end)) => start..end.min(len),
        (None, None) => 0..len,
    };
    let from_end = len + range.start.max(-len)..len + range.end.min(0);
    for range in [from_end, range.start.max(0)..range.end] {
        let (skipped, taken) = (usize::try_from(range.start).unwrap_or(0), usize::try_from(range.end - range.start).unwrap_or(0));
        view.elements(value).skip(skipped).take(taken).for_each(&mut visit);
    }
}

fn accepts(ground: Ground<'_>, item: Value, filter: &FilterCode) -> bool {
    let view = ground.view;
    match filter {
        FilterCode::Or(parts) => parts.iter().any(|part| accepts(ground, item, part)),
        FilterCode::And(parts) => parts.iter().all(|part| accepts(ground, item, part)),
        FilterCode::Not(inner) => !accepts(ground, item, inner),
        FilterCode::Exists(steps) => exists(view, item, steps),
        FilterCode::Compare(left, operator, right) => {
            let side = |side: &FilterSide| match side {
                // What an indefinite path gives is a list, which equals no single value, like what is missing.
                FilterSide::Item(steps) => walk(view, item, steps).ok(),
                FilterSide::Constant(constant) => ground.constants.get(constant.index()).map(|&token| view.constant(token)),
            };
            compare(view, side(left), *operator, side(right))
        }
    }
}

/// Whether a path leads anywhere: from its first step that may select several values on, it always does.
fn exists(view: View<'_>, item: Value, steps: &[Step]) -> bool {
    let definite = steps.iter().take_while(|step| matches!(step, Step::Member(_) | Step::Index(_))).count();
    let (path, rest) = steps.split_at(definite);
    let Ok(value) = walk(view, item, path) else { return false };
    match rest.first() {
        None | Some(Step::Wildcard | Step::Descend | Step::Member(_) | Step::Index(_)) => true,
        Some(Step::Indices(_) | Step::Slice { .. }) => value.kind() == Kind::Array,
        Some(Step::Filter(_)) => matches!(value.kind(), Kind::Array | Kind::Object),
        Some(Step::Members(symbols)) => has_all(view, value, symbols, rest.len() == 1),
    }
}

fn has_all(view: View<'_>, value: Value, symbols: &[Symbol], is_last: bool) -> bool {
    value.kind() == Kind::Object && (!is_last || symbols.iter().all(|symbol| view.member(value, *symbol).is_some()))
}

fn compare(view: View<'_>, left: Option<Value>, operator: FilterOperator, right: Option<Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return operator == FilterOperator::NotEqual };
    let order = || view.compare_numbers(left, right).or_else(|| view.compare_strings(left, right));
    match operator {
        FilterOperator::Equal => equals(view, left, right),
        FilterOperator::NotEqual => !equals(view, left, right),
        FilterOperator::Less => order().is_some_and(Ordering::is_lt),
        FilterOperator::LessEqual => order().is_some_and(Ordering::is_le),
        FilterOperator::Greater => order().is_some_and(Ordering::is_gt),
        FilterOperator::GreaterEqual => order().is_some_and(Ordering::is_ge),
    }
}

/// A number equals a text that reads as it, and a text equals a number that is printed as it.
fn equals(view: View<'_>, left: Value, right: Value) -> bool {
    let text = |value: Value| view.string(value).map(|(inside, _)| Unescaped::new(inside).to_string());
    match (left.kind(), right.kind()) {
        (Kind::Number, Kind::String) => text(right).is_some_and(|text| {
            let mut buffer = [0; 20];
            let number = view.number_text(left, &mut buffer);
            number::of_java(&text).zip(number).is_some_and(|(read, number)| number::compare(read.as_bytes(), number) == Ordering::Equal)
        }),
        (Kind::String, Kind::Number) => text(left).is_some_and(|text| {
            let mut buffer = [0; 20];
            let number = view.number_text(right, &mut buffer).map(String::from_utf8_lossy).unwrap_or(Cow::Borrowed(""));
            number::to_java(&number) == text
        }),
        _ => view.equal(left, right),
    }
}
