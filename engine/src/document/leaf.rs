//! Strings, numbers and words: where a scalar value ends, and whether it is one.
//!
//! The full pass and the learned shapes read every value with these functions, so no value is validated less in one than in the other.

use super::lanes::{Text, WIDTH};
use super::tape::ESCAPED;
use super::{Fault, FaultKind, Kind, Span};

/// Reads the string whose quote is at `at`.
#[inline(always)]
pub(super) fn string(text: Text<'_>, at: usize, flags: u32) -> Result<(Span, usize), Fault> {
    let (end, escaped) = string_end(text, at + 1)?;
    Ok((string_span(at, end, escaped, flags), end + 1))
}

/// The span of a string from its opening quote to its closing one.
#[inline(always)]
pub(super) fn string_span(at: usize, end: usize, escaped: bool, flags: u32) -> Span {
    Span::new(at, end + 1 - at, Kind::String, flags | if escaped { ESCAPED } else { 0 })
}

/// Scans a string's inside from behind its quote; returns the offset of the closing quote and whether it holds escapes.
#[inline(always)]
pub(super) fn string_end(text: Text<'_>, start: usize) -> Result<(usize, bool), Fault> {
    let mut at = start;
    loop {
        let marks = text.string_marks(at);
        if marks.any() {
            at += marks.first();
            if text.byte(at) == b'"' {
                return Ok((at, false));
            }
            return string_end_slow(text, start, at);
        }
        at += WIDTH;
    }
}

/// The rest of a string with escapes, or bytes above ASCII, or a fault.
#[inline(never)]
fn string_end_slow(text: Text<'_>, start: usize, mut at: usize) -> Result<(usize, bool), Fault> {
    let (mut escaped, mut ascii) = (false, true);
    loop {
        let (stops, high) = text.string_stops(at);
        if !stops.any() {
            ascii &= !high.any();
            at += WIDTH;
            continue;
        }
        let ahead = stops.first();
        ascii &= !high.any_before(ahead);
        at += ahead;
        match text.byte(at) {
            b'"' => break,
            b'\\' => {
                escaped = true;
                at = escape(text, at)?;
            }
            _ if at >= text.len() => return Err(Fault::new(FaultKind::Truncated, text.len())),
            _ => return Err(Fault::new(FaultKind::ControlCharacter, at)),
        }
    }
    if !ascii && let Err(error) = std::str::from_utf8(text.slice(start, at)) {
        return Err(Fault::new(FaultKind::NotUtf8, start + error.valid_up_to()));
    }
    Ok((at, escaped))
}

fn escape(text: Text<'_>, at: usize) -> Result<usize, Fault> {
    match text.byte(at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' => {
            if text.slice(at + 2, at + 6).iter().all(u8::is_ascii_hexdigit) {
                Ok(at + 6)
            } else if at + 6 > text.len() {
                Err(Fault::new(FaultKind::Truncated, text.len()))
            } else {
                Err(Fault::new(FaultKind::BadEscape, at))
            }
        }
        _ if at + 1 >= text.len() => Err(Fault::new(FaultKind::Truncated, text.len())),
        _ => Err(Fault::new(FaultKind::BadEscape, at)),
    }
}

/// Reads the number at `at`, by the grammar of RFC 8259 §6.
#[inline(always)]
pub(super) fn number(text: Text<'_>, at: usize, flags: u32) -> Result<(Span, usize), Fault> {
    let end = number_end(text, at)?;
    Ok((Span::new(at, end - at, Kind::Number, flags), end))
}

#[inline(always)]
fn number_end(text: Text<'_>, start: usize) -> Result<usize, Fault> {
    let whole = start + usize::from(text.byte(start) == b'-');
    let mut at = text.digits_end(whole);
    if at == whole || text.byte(whole) == b'0' && at > whole + 1 {
        return Err(bad_number(text, start, at));
    }
    if text.byte(at) == b'.' {
        let fraction = at + 1;
        at = text.digits_end(fraction);
        if at == fraction {
            return Err(bad_number(text, start, at));
        }
    }
    if text.byte(at) | 0x20 == b'e' {
        let exponent = at + 1 + usize::from(matches!(text.byte(at + 1), b'+' | b'-'));
        at = text.digits_end(exponent);
        if at == exponent {
            return Err(bad_number(text, start, at));
        }
    }
    Ok(at)
}

#[cold]
fn bad_number(text: Text<'_>, start: usize, at: usize) -> Fault {
    if at >= text.len() { Fault::new(FaultKind::Truncated, text.len()) } else { Fault::new(FaultKind::BadNumber, start) }
}

/// Reads `true`, `false` or `null` at `at`; anything else is unexpected.
#[inline]
pub(super) fn word(text: Text<'_>, at: usize, flags: u32) -> Result<(Span, usize), Fault> {
    let word = text.word(at);
    let (expected, kind): (&[u8], Kind) = match word.to_le_bytes() {
        [b't', b'r', b'u', b'e', ..] => return Ok((Span::new(at, 4, Kind::True, flags), at + 4)),
        [b'n', b'u', b'l', b'l', ..] => return Ok((Span::new(at, 4, Kind::Null, flags), at + 4)),
        [b't', ..] => (b"true", Kind::True),
        [b'n', ..] => (b"null", Kind::Null),
        [b'f', ..] => (b"false", Kind::False),
        _ => return Err(unexpected(text, at)),
    };
    for (index, &expected) in expected.iter().enumerate() {
        if text.byte(at + index) != expected {
            return Err(unexpected(text, at + index));
        }
    }
    Ok((Span::new(at, expected.len(), kind, flags), at + expected.len()))
}

/// The fault of a byte that must not stand at `at`, or of a text that ends there.
#[cold]
pub(super) fn unexpected(text: Text<'_>, at: usize) -> Fault {
    if at >= text.len() { Fault::new(FaultKind::Truncated, text.len()) } else { Fault::new(FaultKind::Unexpected(text.byte(at)), at) }
}
