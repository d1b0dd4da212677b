//! Runs of plain members, `"key":value,` without whitespace, escapes or surprises: the fast twin of the scanner's own loop.
//!
//! Most members of most messages are like that: a key of a few bytes and a scalar behind it. A loop that knows nothing else keeps all it needs in registers. It takes a member only when every byte of it is as expected, and leaves everything else, faults and repeated keys included, to the scanner.

use super::lanes::{Text, Window, string_marks};
use super::symbols::{hash, prefix};
use super::tape::Tape;
use super::{Kind, Span, Static, Symbols, leaf};

/// Bytes of a key that is read here: it and its quote lie within one look, and it is found by its first and last word.
const KEY_MAX: usize = 15;

/// How far a run of plain members went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// In front of the next member, or behind the value of the last.
    pub(super) at: usize,
    pub(super) is_behind_value: bool,
    /// Members taken.
    pub(super) members: u32,
    /// The bloom word of the object's keys.
    pub(super) bloom: u64,
}

/// Reads members from `at`, in front of one, whose object has a bloom word from the members before.
#[inline(never)]
pub(super) fn run(text: Text<'_>, symbols: &Symbols, tape: &mut Tape, at: usize, bloom: u64) -> Run {
    let mut run = Run { at, is_behind_value: false, members: 0, bloom };
    while let Some((member, span, end)) = member(text, run.at) {
        let len = member.len as usize;
        let hashed = hash(member.first, member.last, len);
        let bit = 1 << (hashed >> 58);
        if run.bloom & bit != 0 {
            // Perhaps a repeated key.
            break;
        }
        run.bloom |= bit;
        run.members += 1;
        let symbol = if len <= 8 {
            symbols.probe_short(member.first, hashed, len)
        } else {
            symbols.probe(member.first, member.last, hashed, text.slice(run.at + 1, run.at + 1 + len))
        };
        let next = tape.count() + 1;
        tape.push(span, Static { key_back: member.len + 2, key_len: member.len, next, symbol, depth: 0 });
        let behind = text.window(end);
        if behind.byte(0) != b',' || behind.byte(1) != b'"' {
            return Run { at: end, is_behind_value: true, ..run };
        }
        run.at = end + 1;
    }
    run
}

/// A key by its ends, as [`Symbols`] know them.
#[derive(Debug, Clone, Copy)]
struct Key {
    first: u64,
    last: u64,
    len: u32,
}

/// The member at `at`, its value's span, and where that ends.
#[inline(always)]
fn member(text: Text<'_>, at: usize) -> Option<(Key, Span, usize)> {
    if at + 1 > text.len() {
        return None;
    }
    let window = text.window(at);
    let (marks, quotes) = string_marks(window.block(1));
    let len = marks.first();
    if len > KEY_MAX || !quotes.has(len) || window.byte(0) != b'"' || window.byte(len + 2) != b':' {
        return None;
    }
    let first = prefix(window.word(1), len);
    let last = if len <= 8 { 0 } else { window.word(len - 7) };
    let (span, end) = value(text, window, at, len + 3)?;
    #[expect(clippy::cast_possible_truncation, reason = "a key is no longer than KEY_MAX here")]
    Some((Key { first, last, len: len as u32 }, span, end))
}

/// The scalar that starts `ahead` bytes behind `at`, where the window begins.
#[inline(always)]
fn value(text: Text<'_>, window: Window<'_>, at: usize, ahead: usize) -> Option<(Span, usize)> {
    let start = at + ahead;
    let byte = window.byte(ahead);
    if byte == b'"' {
        leaf::string(text, start, window.block_behind(ahead), 0).ok()
    } else if byte.is_ascii_digit() || byte == b'-' {
        let len = leaf::short_number_len(window.block(ahead))?;
        Some((Span::new(start, len, Kind::Number, 0), start + len))
    } else {
        None
    }
}
