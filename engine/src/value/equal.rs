//! Equality and order of values, by the rules of the language.

use std::cmp::Ordering;

use super::{Tag, Value, View};
use crate::document::{Kind, Unescaped};

impl View<'_> {
    /// Whether two values are equal: numbers by value, strings by their characters, objects without regard to order.
    pub(crate) fn equal(self, a: Value, b: Value) -> bool {
        if a.kind() != b.kind() {
            return false;
        }
        match a.kind() {
            Kind::Null | Kind::False | Kind::True => true,
            Kind::Number => self.compare_numbers(a, b) == Some(Ordering::Equal),
            Kind::String => self.compare_strings(a, b) == Some(Ordering::Equal),
            Kind::Array => self.len(a) == self.len(b) && self.elements(a).zip(self.elements(b)).all(|(a, b)| self.equal(a, b)),
            Kind::Object => {
                self.len(a) == self.len(b)
                    && self.members(a).all(|member| {
                        let (name, escaped) = self.key(member);
                        self.members(b).any(|other| {
                            let (other_name, other_escaped) = self.key(other);
                            let same = if escaped || other_escaped { crate::document::keys_equal(name, other_name) } else { name == other_name };
                            same && self.equal(member.value, other.value)
                        })
                    })
            }
        }
    }

    /// Compares two numbers by value; `None` when either is no number.
    #[inline]
    pub(crate) fn compare_numbers(self, a: Value, b: Value) -> Option<Ordering> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        Some(super::number::compare(self.number_text(a, &mut left)?, self.number_text(b, &mut right)?))
    }

    /// The text of a number.
    #[inline]
    pub(crate) fn number_text<'t>(self, value: Value, buffer: &'t mut Vec<u8>) -> Option<&'t [u8]>
    where
        Self: 't,
    {
        match value.tag {
            Tag::Number => Some(self.text(value)),
            Tag::Integer => {
                super::write::write_integer(value.as_integer(), buffer);
                Some(buffer)
            }
            _ => None,
        }
    }

    /// Compares two strings by UTF-16 code unit, as Java's `compareTo` does (spec/asl.md 6.2); `None` when either is no string.
    #[inline]
    pub(crate) fn compare_strings(self, a: Value, b: Value) -> Option<Ordering> {
        let (a, a_escaped) = self.string(a)?;
        let (b, b_escaped) = self.string(b)?;
        Some(compare_text(a, a_escaped, b, b_escaped))
    }
}

/// Compares the insides of two strings by UTF-16 code unit.
#[inline]
pub(crate) fn compare_text(a: &[u8], a_escaped: bool, b: &[u8], b_escaped: bool) -> Ordering {
    if !a_escaped && !b_escaped {
        // Bytes order like code units except where a surrogate pair meets U+E000..U+FFFF.
        let order = a.cmp(b);
        if order == Ordering::Equal || a.is_ascii() && b.is_ascii() {
            return order;
        }
    }
    let units = |text| {
        Unescaped::new(text).flat_map(|character| {
            let mut buffer = [0; 2];
            let units = character.encode_utf16(&mut buffer);
            let pair = [units.first().copied(), units.get(1).copied()];
            pair.into_iter().flatten()
        })
    };
    units(a).cmp(units(b))
}
