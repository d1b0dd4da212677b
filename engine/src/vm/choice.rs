//! The comparison operators of Choice (spec/asl.md 6.2). A type mismatch is false, never an error.

use std::cmp::Ordering;

use super::Slot;
use super::failure::Raised;
use crate::document::{Kind, Span, Unescaped};
use crate::hir::{Comparison, TypeTest};
use crate::program::Program;
use crate::program::op::{ConstantId, OpId, PathId, SwitchId, TestId};
use crate::program::pool::{Check, Literal, QuickCheck, Side, Switch, Test};
use crate::value::time::{self, Instant};
use crate::value::{Memory, Value, View, number};

#[inline]
fn satisfies(comparison: Comparison, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return false };
    match comparison {
        Comparison::Equals => order == Ordering::Equal,
        Comparison::LessThan => order == Ordering::Less,
        Comparison::GreaterThan => order == Ordering::Greater,
        Comparison::LessThanEquals => order != Ordering::Greater,
        Comparison::GreaterThanEquals => order != Ordering::Less,
    }
}

/// The value that a Choice's last test read slowly: the tests of a Choice stand one behind the other, and most ask for the same path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    path: PathId,
    value: Option<Value>,
    /// The number of events at that time: between the tests of a Choice there is none.
    events: u64,
}

impl Held {
    /// Nothing yet: nobody counts that far.
    pub(super) const NOTHING: Self = Self { path: PathId(0), value: None, events: u64::MAX };
}

/// What [`quickly`] says where it says nothing.
const UNKNOWN: (bool, bool) = (false, false);

/// Whether it is known, and then whether a test holds of `cur`, for the two most frequent tests of a scalar of the record that its shape tells the place of; else the slow twin [`Slot::holds`] is to be asked. Two truths, because an option of one would be made and taken apart again.
#[inline(always)]
pub(super) fn quickly(memory: &Memory, test: &Test, cur: Value) -> (bool, bool) {
    let Some((document, span)) = memory.scalar_below(test.path.index(), test.first, cur) else { return UNKNOWN };
    let (bytes, _) = document.padded();
    let start = span.start as usize;
    match test.quick {
        QuickCheck::Digits { least, width } => {
            if span.kind() != Kind::Number {
                return (true, false);
            }
            let Some(text) = bytes.get(start..start + 8).and_then(<[u8]>::first_chunk) else { return UNKNOWN };
            match number::short_digits(text, span.len()) {
                Some(found) => (true, found.wrapping_sub(least) <= width),
                None => signed(bytes, span, &test.check).map_or(UNKNOWN, |holds| (true, holds)),
            }
        }
        QuickCheck::Text { packed, words, masks } => {
            if span.packed != packed {
                return (span.is_plain(), false);
            }
            let Some(text) = bytes.get(start..start + 16).and_then(<[u8]>::first_chunk::<16>) else { return UNKNOWN };
            let (first, second) = text.split_at(8);
            let unlike = |bytes: &[u8], at: usize| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes) ^ words[at]) & masks[at];
            (true, unlike(first, 0) | unlike(second, 1) == 0)
        }
        QuickCheck::None => UNKNOWN,
    }
}

/// The same for an integer with a sign.
#[inline(never)]
fn signed(bytes: &[u8], span: Span, check: &Check) -> Option<bool> {
    let Check::NumberWith(_, _, first, last) = check else { return None };
    let found = number::short_integer(bytes.get(span.start as usize..)?.first_chunk()?, span.len())?;
    Some(*first <= found && found <= *last)
}

impl Slot {
    /// Whether a test holds of `cur`, for any test of any value; `held` is what the Choice has read before.
    #[inline(never)]
    pub(super) fn holds(&mut self, program: &Program, id: u32, test: TestId, cur: Value, held: &mut Held) -> Result<bool, Raised> {
        let test = program.test(test);
        if held.path != test.path || held.events != self.events {
            *held = Held { path: test.path, value: self.read(program, id, test.path, cur)?, events: self.events };
        }
        match (&test.check, held.value) {
            (Check::NumberWith(comparison, literal, first, last), Some(value)) => match self.view(program).small_integer(value) {
                Some(found) => Ok((*first..=*last).contains(&found)),
                None => Ok(satisfies(*comparison, self.view(program).compare_numbers(value, Value::integer(*literal)))),
            },
            (Check::StringIs(constant, literal, escaped), Some(value)) => Ok(self.is_text(program, value, *constant, *literal, *escaped)),
            (check, Some(value)) => self.holds_otherwise(program, id, check, value, cur),
            (Check::Is(TypeTest::Present, expected), None) => Ok(!expected),
            (_, None) => Err(self.raise_invalid_choice(program, id, test.path)),
        }
    }

    /// Whether a value is the string of a constant.
    #[inline]
    fn is_text(&self, program: &Program, value: Value, constant: ConstantId, literal: Literal, escaped: bool) -> bool {
        let view = self.view(program);
        let text = view.text(value);
        if text.len() == literal.len as usize && value.kind() == Kind::String && Literal::new(text) == literal {
            return literal.len <= Literal::WHOLE_MAX || text == program.constant_text(constant);
        }
        (value.is_escaped() || escaped) && same_text(view, value, program.constant_text(constant))
    }

    /// Tests that are not among the two most frequent ones.
    #[inline(never)]
    fn holds_otherwise(&mut self, program: &Program, id: u32, check: &Check, value: Value, cur: Value) -> Result<bool, Raised> {
        let view = self.view(program);
        match check {
            Check::Is(asked, expected) => Ok(is(*asked, value, view) == *expected),
            Check::Matches(pieces) => Ok(view.string(value).is_some_and(|(inside, _)| glob(pieces, &Unescaped::new(inside).to_string()))),
            Check::TimeWith(comparison, literal) => Ok(satisfies(*comparison, instant(view, value).map(|found| found.cmp(literal)))),
            check => self.holds_with_side(program, id, check, value, cur),
        }
    }

    /// Tests whose other side may be a path too.
    fn holds_with_side(&mut self, program: &Program, id: u32, check: &Check, value: Value, cur: Value) -> Result<bool, Raised> {
        let side = match check {
            Check::String(_, side) | Check::Number(_, side) | Check::Boolean(side) => *side,
            Check::TimeAt(_, path) => Side::Path(*path),
            _ => return Ok(false),
        };
        let other = match side {
            Side::Constant(constant) => program.constant(constant),
            Side::Path(path) => match self.read(program, id, path, cur)? {
                Some(other) => other,
                None => return Err(self.raise_invalid_choice(program, id, path)),
            },
        };
        let view = self.view(program);
        Ok(match check {
            Check::String(comparison, _) => satisfies(*comparison, view.compare_strings(value, other)),
            Check::Number(comparison, _) => satisfies(*comparison, view.compare_numbers(value, other)),
            Check::Boolean(_) => matches!(value.kind(), Kind::True | Kind::False) && value.kind() == other.kind(),
            Check::TimeAt(comparison, _) => satisfies(*comparison, instant(view, value).zip(instant(view, other)).map(|(a, b)| a.cmp(&b))),
            _ => false,
        })
    }

    /// Where a string switch leads, if anywhere.
    #[inline]
    pub(super) fn switch(&mut self, program: &Program, id: u32, switch: SwitchId, cur: Value) -> Result<Option<OpId>, Raised> {
        let switch = &program.pools.switches[switch.index()];
        if let Some((document, span)) = self.memory.scalar_below(switch.path.index(), switch.first, cur)
            && span.is_plain()
            && !switch.escaped
            && let Some(text) = document.padded().0.get(span.start as usize..span.end() as usize)
        {
            return Ok(if span.kind() == Kind::String { case_of(program, switch, text) } else { None });
        }
        self.switch_otherwise(program, id, switch, cur)
    }

    /// The same for any value: the slow twin.
    #[inline(never)]
    fn switch_otherwise(&mut self, program: &Program, id: u32, switch: &Switch, cur: Value) -> Result<Option<OpId>, Raised> {
        let Some(value) = self.read(program, id, switch.path, cur)? else {
            return Err(self.raise_invalid_choice(program, id, switch.path));
        };
        if value.kind() != Kind::String {
            return Ok(None);
        }
        let found = case_of(program, switch, self.view(program).text(value));
        Ok(if found.is_none() && (switch.escaped || value.is_escaped()) { self.switch_slow(program, switch, value) } else { found })
    }

    /// Equal strings can differ in their escapes only when one of them has some: the slow twin.
    #[inline(never)]
    fn switch_slow(&self, program: &Program, switch: &Switch, value: Value) -> Option<OpId> {
        let found = switch.cases.iter().find(|(constant, _)| same_text(self.view(program), value, program.constant_text(*constant)));
        found.map(|(_, target)| *target)
    }

    #[cold]
    fn raise_invalid_choice(&mut self, program: &Program, id: u32, path: PathId) -> Raised {
        let text = &program.path(path).text;
        self.raise_runtime(program, id, format_args!("Invalid path '{text}': The choice state's condition path references an invalid value."))
    }
}

/// Where the case of a switch leads that is spelled like a string, quotes included.
#[inline]
fn case_of(program: &Program, switch: &Switch, text: &[u8]) -> Option<OpId> {
    let literal = Literal::new(text);
    let mask = switch.table.len() - 1;
    let mut slot = literal.hash() & mask;
    loop {
        let entry = &switch.table[slot & mask];
        if entry.literal == literal && (literal.len <= Literal::WHOLE_MAX || text == program.constant_text(entry.constant)) {
            return Some(entry.target);
        }
        if entry.literal.len == 0 {
            return None;
        }
        slot += 1;
    }
}

/// Whether a string has the characters of a literal, either of which may hold escapes.
fn same_text(view: View<'_>, value: Value, literal: &[u8]) -> bool {
    let Some((inside, escaped)) = view.string(value) else { return false };
    (escaped || literal.contains(&b'\\')) && Unescaped::new(inside).eq(Unescaped::new(&literal[1..literal.len() - 1]))
}

fn instant(view: View<'_>, value: Value) -> Option<Instant> {
    let (inside, escaped) = view.string(value)?;
    if escaped {
        return time::parse(&Unescaped::new(inside).to_string());
    }
    time::parse(std::str::from_utf8(inside).ok()?)
}

fn is(test: TypeTest, value: Value, view: View<'_>) -> bool {
    match test {
        TypeTest::Present => true,
        TypeTest::Null => value.kind() == Kind::Null,
        TypeTest::Numeric => value.kind() == Kind::Number,
        TypeTest::String => value.kind() == Kind::String,
        TypeTest::Boolean => matches!(value.kind(), Kind::True | Kind::False),
        TypeTest::Timestamp => instant(view, value).is_some(),
    }
}

/// Whether `text` is the pieces with anything between them. Each piece is taken where it first fits, so the time is linear in the text for each piece and no choice is ever taken back.
fn glob(pieces: &[Box<str>], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return pieces.first().is_some_and(|only| **only == *text);
    };
    let Some(mut rest) = text.strip_prefix(&**first) else { return false };
    for piece in middle {
        match rest.find(&**piece).and_then(|at| rest.get(at + piece.len()..)) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(&**last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let check = |pieces: &[&str], text| glob(&pieces.iter().map(|piece| Box::from(*piece)).collect::<Vec<_>>(), text);
        assert!(check(&["abc"], "abc") && !check(&["abc"], "abcd"));
        assert!(check(&["", ""], "") && check(&["", ""], "anything"));
        assert!(check(&["log-", ".txt"], "log-1.txt") && check(&["log-", ".txt"], "log-.txt"));
        assert!(!check(&["ab", "ba"], "aba"));
        assert!(check(&["a", "b", "c"], "a1b2b3c") && !check(&["a", "b", "c"], "a1c"));
        assert!(check(&["", "é", ""], "xéy"));
    }
}
