//! Equality and order of values, by the rules of the language.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hasher};

use super::{Member, Tag, Value, View};
use crate::document::{Kind, Unescaped};

/// Members up to which one is looked for by going through all.
const SCANNED_MEMBERS_MAX: usize = 32;

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
            Kind::Object => self.equal_objects(a, b),
        }
    }

    fn equal_objects(self, a: Value, b: Value) -> bool {
        let count = self.len(a);
        if count != self.len(b) {
            return false;
        }
        // Objects that were made alike have their members in one order: the next one is tried first.
        let mut following = self.members(b);
        let mut sorted: Vec<(u64, Member)> = Vec::new();
        self.members(a).all(|member| {
            let other = following.next().filter(|other| self.same_key(member, *other));
            let other = match other {
                None if count <= SCANNED_MEMBERS_MAX => self.members(b).find(|other| self.same_key(member, *other)),
                None => {
                    if sorted.is_empty() {
                        sorted = self.members(b).map(|other| (self.hash_key(other, 0), other)).collect();
                        sorted.sort_by_key(|(hash, _)| *hash);
                    }
                    let hash = self.hash_key(member, 0);
                    let first = sorted.partition_point(|(other, _)| *other < hash);
                    let alike = sorted[first..].iter().take_while(|(other, _)| *other == hash);
                    alike.map(|(_, other)| *other).find(|other| self.same_key(member, *other))
                }
                found => found,
            };
            other.is_some_and(|other| self.equal(member.value, other.value))
        })
    }

    /// Whether two members have the same name.
    pub(crate) fn same_key(self, a: Member, b: Member) -> bool {
        let ((a, a_escaped), (b, b_escaped)) = (self.key(a), self.key(b));
        if a_escaped || b_escaped { crate::document::keys_equal(a, b) } else { a == b }
    }

    /// Feeds a value to `hasher`, so that equal values hash alike. `seed` keeps the hashes of an object's members, which are added up, from being foreseen.
    pub(crate) fn hash(self, value: Value, seed: u64, hasher: &mut impl Hasher) {
        hasher.write_u8(value.kind() as u8);
        match value.kind() {
            Kind::Null | Kind::False | Kind::True => {}
            Kind::Number if value.tag() == Tag::Number => super::number::hash(self.text(value), hasher),
            Kind::Number => super::number::hash(super::write::integer_text(value.as_integer(), &mut [0; 20]), hasher),
            Kind::String => {
                let (inside, escaped) = self.string(value).unwrap_or_default();
                hash_text(inside, escaped, hasher);
            }
            Kind::Array => {
                self.elements(value).for_each(|element| self.hash(element, seed, hasher));
                hasher.write_u8(u8::MAX);
            }
            Kind::Object => {
                let sum = self.members(value).fold(0_u64, |sum, member| {
                    let mut inner = DefaultHasher::new();
                    inner.write_u64(self.hash_key(member, seed));
                    self.hash(member.value, seed, &mut inner);
                    sum.wrapping_add(inner.finish())
                });
                hasher.write_u64(sum);
            }
        }
    }

    /// The hash of a member's name.
    pub(crate) fn hash_key(self, member: Member, seed: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        let (name, escaped) = self.key(member);
        hash_text(name, escaped, &mut hasher);
        hasher.finish()
    }

    /// Compares two numbers by value; `None` when either is no number.
    #[inline]
    pub(crate) fn compare_numbers(self, a: Value, b: Value) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.small_integer(a), self.small_integer(b)) {
            return Some(a.cmp(&b));
        }
        let (mut left, mut right) = ([0; 20], [0; 20]);
        Some(super::number::compare(self.number_text(a, &mut left)?, self.number_text(b, &mut right)?))
    }

    /// The value of a computed number, or of one that is a plain integer of at most 18 digits.
    #[inline]
    pub(crate) fn small_integer(self, value: Value) -> Option<i64> {
        match value.tag() {
            Tag::Integer => Some(value.as_integer()),
            Tag::Number => super::number::small_integer(self.text(value)),
            _ => None,
        }
    }

    /// The text of a number; that of a computed one is made in `buffer`.
    #[inline]
    pub(crate) fn number_text<'t>(self, value: Value, buffer: &'t mut [u8; 20]) -> Option<&'t [u8]>
    where
        Self: 't,
    {
        match value.tag() {
            Tag::Number => Some(self.text(value)),
            Tag::Integer => Some(super::write::integer_text(value.as_integer(), buffer)),
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

fn hash_text(inside: &[u8], escaped: bool, hasher: &mut impl Hasher) {
    if escaped {
        let mut buffer = [0; 4];
        Unescaped::new(inside).for_each(|character| hasher.write(character.encode_utf8(&mut buffer).as_bytes()));
    } else {
        hasher.write(inside);
    }
    hasher.write_u8(u8::MAX);
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
