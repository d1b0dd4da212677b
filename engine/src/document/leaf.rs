//! Strings, numbers and words: where a scalar value ends, and whether it is one.
//!
//! The full pass and the learned shapes read every value with these functions, so no value is validated less in one than in the other.

use super::lanes::{Block, Lanes, NumberMarks, Text, WIDTH, Window, number_marks, string_marks, string_stops};
use super::tape::ESCAPED;
use super::{Fault, FaultKind, Kind, Span};

/// Reads the string whose quote is at `at`; `first` are the bytes behind the quote.
#[inline(always)]
pub(super) fn string(text: Text<'_>, at: usize, first: &Block, flags: u32) -> Result<(Span, usize), Fault> {
    let (end, escaped) = string_end(text, at + 1, first)?;
    Ok((Span::new(at, end + 1 - at, Kind::String, flags | if escaped { ESCAPED } else { 0 }), end + 1))
}

/// Scans a string's inside from behind its quote, where the bytes `first` are; returns the offset of the closing quote and whether it holds escapes.
#[inline(always)]
pub(super) fn string_end(text: Text<'_>, start: usize, first: &Block) -> Result<(usize, bool), Fault> {
    let (mut at, mut block) = (start, first);
    loop {
        let (marks, quotes) = string_marks(block);
        if marks.any() {
            let ahead = marks.first();
            at += ahead;
            return if quotes.has(ahead) { Ok((at, false)) } else { string_end_slow(text, start, at) };
        }
        // All bytes were text, so there is more of it or its end.
        at += WIDTH;
        block = text.block(at);
    }
}

/// The rest of a string with escapes, or bytes above ASCII, or a fault.
#[inline(never)]
fn string_end_slow(text: Text<'_>, start: usize, mut at: usize) -> Result<(usize, bool), Fault> {
    let (mut escaped, mut ascii) = (false, true);
    loop {
        let (stops, high) = string_stops(text.block(at));
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

/// Reads the number at `at`, where the bytes `first` are, by the grammar of RFC 8259 §6.
#[inline(always)]
pub(super) fn number(text: Text<'_>, at: usize, first: &Block, flags: u32) -> Result<(Span, usize), Fault> {
    let end = match short_number_len(first) {
        Some(len) => at + len,
        None => number_end(text, at)?,
    };
    Ok((Span::new(at, end - at, Kind::Number, flags), end))
}

/// Length of a number without exponent that ends within the block. What is not so plain, and what is wrong, is left to the slow twin.
#[inline(always)]
pub(super) fn short_number_len(block: &Block) -> Option<usize> {
    let NumberMarks { others, points, exponents } = number_marks(block);
    let sign = usize::from(block[0] == b'-');
    // The sign is no digit, and so the first mark, if it is there.
    let mut others = if sign == 1 { others.rest() } else { others };
    let mut end = others.first();
    let digits = end - sign;
    if digits == 0 || digits > 1 && block[sign] == b'0' {
        return None;
    }
    if points.has(end) {
        others = others.rest();
        let point = end;
        end = others.first();
        if end == point + 1 {
            return None;
        }
    }
    (end < WIDTH && !exponents.has(end)).then_some(end)
}

/// The same for the number that a window begins with, as far as it is looked at: with an exponent, or more digits than a look takes in, it [goes on](goes_on) behind that, which the caller has to see.
#[inline(always)]
pub(super) fn quick_number<L: Lanes>(window: Window<'_>, byte: u8) -> Option<usize> {
    let ends = || L::number_ends(window.first_block());
    // A sign is no digit, and so the first mark; what follows is one. A number that begins with a zero has no further digit there.
    let ends = match (byte, window.byte(1)) {
        (b'1'..=b'9', _) | (b'0', b'\0'..=b'/' | b':'..) => ends(),
        (b'-', b'1'..=b'9') => ends().rest(),
        (b'-', b'0') if ends().rest().first() == 2 => ends().rest(),
        _ => return None,
    };
    let end = ends.first();
    if window.byte_behind(end) != b'.' {
        return Some(end);
    }
    let behind = ends.rest().first();
    (behind != end + 1).then_some(behind)
}

/// Whether a number goes on with this byte: with a digit, where it is longer than a look, or an exponent. No literal behind a value begins with either.
#[inline]
pub(super) fn goes_on(byte: u8) -> bool {
    GOES_ON[usize::from(byte)]
}

/// The answers.
const GOES_ON: [bool; 256] = {
    let mut bytes = [false; 256];
    let digits = b"0123456789eE";
    let mut at = 0;
    while at < digits.len() {
        bytes[digits[at] as usize] = true;
        at += 1;
    }
    bytes
};

#[inline(never)]
fn number_end(text: Text<'_>, start: usize) -> Result<usize, Fault> {
    let digits = |mut at: usize| {
        while text.byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(text.byte(start) == b'-');
    let mut at = digits(whole);
    if at == whole || text.byte(whole) == b'0' && at > whole + 1 {
        return Err(bad_number(text, start, at));
    }
    if text.byte(at) == b'.' {
        let fraction = at + 1;
        at = digits(fraction);
        if at == fraction {
            return Err(bad_number(text, start, at));
        }
    }
    if text.byte(at) | 0x20 == b'e' {
        let exponent = at + 1 + usize::from(matches!(text.byte(at + 1), b'+' | b'-'));
        at = digits(exponent);
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

#[cfg(test)]
mod tests {
    use super::super::PADDING;
    use super::super::lanes::Here;
    use super::*;

    /// All texts of up to five characters that numbers are made of, and some longer ones, by both ways of reading a number.
    #[test]
    fn short_numbers_are_those_of_the_slow_twin() {
        let characters = b"-+0159.eE, x";
        let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| characters.iter().map(move |&next| [&text[..], &[next]].concat())).collect();
        }
        texts.extend(
            [
                &b"123456789012345"[..],
                b"1234567890123456",
                b"12345678901234567890",
                b"-1234567.12345678",
                b"0.1234567890123456",
                b"1234567890123456.5",
                b"123456789012345.5",
                b"1234567890.123456",
            ]
            .map(<[u8]>::to_vec),
        );
        let mut short = 0;
        for text in texts {
            for len in 0..=text.len() {
                let padded = [&text[..len], &[0; PADDING]].concat();
                let text = Text::new(&padded);
                let found = short_number_len(text.block(0));
                let quick = quick_number::<Here>(text.window(0), text.byte(0)).filter(|&end| !goes_on(text.byte(end)));
                // A number that fills a block is known by what follows it.
                assert!(quick == found || quick == Some(WIDTH), "{quick:?} {found:?} {:?}", String::from_utf8_lossy(&padded));
                let found = found.or(quick);
                if let Some(found) = found {
                    assert_eq!(number_end(text, 0), Ok(found), "{:?}", String::from_utf8_lossy(&padded));
                    short += 1;
                }
            }
        }
        assert!(short > 10_000, "the fast way is taken: {short}");
    }
}
