//! The comparison operators of Choice (spec/asl.md 6.2). A type mismatch is false, never an error.

use std::cmp::Ordering;

use super::Slot;
use super::failure::Raised;
use crate::document::{Kind, Unescaped};
use crate::hir::{Comparison, TypeTest};
use crate::program::Program;
use crate::program::op::{OpId, PathId, SwitchId, TestId};
use crate::program::pool::{Check, Side, switch_hash};
use crate::value::Value;
use crate::value::time::{self, Instant};

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

impl Slot {
    /// Whether a test holds of `cur`.
    #[inline]
    pub(super) fn holds(&mut self, program: &Program, id: u32, test: TestId, cur: Value) -> Result<bool, Raised> {
        let test = &program.pools.tests[test.index()];
        let Some(value) = self.read(program, id, test.path, cur)? else {
            return match test.check {
                Check::Is(TypeTest::Present, expected) => Ok(!expected),
                _ => Err(self.raise_invalid_choice(program, id, test.path)),
            };
        };
        let view = self.view(program);
        match &test.check {
            Check::StringIs(literal) => {
                let expected = program.constants.raw(program.constant_tokens[literal.index()]);
                let text = view.text(value);
                if text == expected {
                    return Ok(true);
                }
                // Equal strings can differ in their escapes only when one of them has some.
                let Some((inside, escaped)) = view.string(value) else { return Ok(false) };
                Ok((escaped || expected.contains(&b'\\')) && Unescaped::new(inside).eq(Unescaped::new(&expected[1..expected.len() - 1])))
            }
            Check::NumberWith(comparison, literal) => {
                let order = match view.small_integer(value) {
                    Some(found) => Some(found.cmp(literal)),
                    None => view.compare_numbers(value, Value::integer(*literal)),
                };
                Ok(satisfies(*comparison, order))
            }
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
            Side::Constant(constant) => self.view(program).constant(program.constant_tokens[constant.index()]),
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
    pub(super) fn switch(&mut self, program: &Program, id: u32, switch: SwitchId, cur: Value) -> Result<Option<OpId>, Raised> {
        let switch = &program.pools.switches[switch.index()];
        let Some(value) = self.read(program, id, switch.path, cur)? else {
            return Err(self.raise_invalid_choice(program, id, switch.path));
        };
        let view = self.view(program);
        let literal = |number: u32| program.constants.raw(program.constant_tokens[switch.cases[number as usize - 1].0.index()]);
        let text = view.text(value);
        let Some((inside, escaped)) = view.string(value) else { return Ok(None) };
        let mask = switch.table.len() - 1;
        let mut slot = switch_hash(text) & mask;
        loop {
            match switch.table[slot] {
                0 => break,
                case if literal(case) == text => return Ok(Some(switch.cases[case as usize - 1].1)),
                _ => slot = (slot + 1) & mask,
            }
        }
        // Equal strings can differ in their escapes only when one of them has some: the slow twin.
        let found = switch.cases.iter().find(|(constant, _)| {
            let literal = program.constants.raw(program.constant_tokens[constant.index()]);
            (escaped || literal.contains(&b'\\')) && Unescaped::new(inside).eq(Unescaped::new(&literal[1..literal.len() - 1]))
        });
        Ok(found.map(|(_, target)| *target))
    }

    #[cold]
    fn raise_invalid_choice(&mut self, program: &Program, id: u32, path: PathId) -> Raised {
        let text = &program.path(path).text;
        self.raise_runtime(program, id, format_args!("Invalid path '{text}': The choice state's condition path references an invalid value."))
    }
}

fn instant(view: crate::value::View<'_>, value: Value) -> Option<Instant> {
    let (inside, escaped) = view.string(value)?;
    if escaped {
        return time::parse(&Unescaped::new(inside).to_string());
    }
    time::parse(std::str::from_utf8(inside).ok()?)
}

fn is(test: TypeTest, value: Value, view: crate::value::View<'_>) -> bool {
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
