//! Value → bytes. What has not changed leaves as it came in.

use super::memory::Memory;
use super::{NO_TOKEN, Source, Tag, Value, View};
use crate::document::{Document, Token};

impl View<'_> {
    /// Appends `value` to `out` as compact JSON.
    pub(crate) fn write(self, value: Value, out: &mut Vec<u8>) {
        match value.tag() {
            Tag::Null | Tag::Key | Tag::Moved => out.extend_from_slice(b"null"),
            Tag::False => out.extend_from_slice(b"false"),
            Tag::True => out.extend_from_slice(b"true"),
            Tag::Integer => write_integer(value.as_integer(), out),
            Tag::Number | Tag::String => out.extend_from_slice(self.text(value)),
            Tag::TokenArray | Tag::TokenObject => write_token(self.document(value.source()), Token(value.a()), out),
            Tag::Array => {
                out.push(b'[');
                for index in 0..value.b() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.write(self.memory.cell(value.a() + index), out);
                }
                out.push(b']');
            }
            Tag::Object => {
                out.push(b'{');
                self.write_pairs(value.a(), value.b(), false, out);
                out.push(b'}');
            }
            Tag::Overlay => self.write_overlay(value, out),
        }
    }

    /// Appends the pairs that replace nothing, with commas between them, and one in front when `comma`.
    #[inline]
    fn write_pairs(self, start: u32, count: u32, mut comma: bool, out: &mut Vec<u8>) {
        for pair in 0..count {
            let key = self.memory.cell(start + pair * 2);
            if key.key_source() == Source::KEY && key.a() != NO_TOKEN {
                continue;
            }
            if comma {
                out.push(b',');
            }
            comma = true;
            self.write_key(key, out);
            self.write(self.memory.cell(start + pair * 2 + 1), out);
        }
    }

    #[inline]
    fn write_key(self, key: Value, out: &mut Vec<u8>) {
        if key.key_source() == Source::KEY {
            out.extend_from_slice(self.symbols.rendered(key.key_symbol()));
        } else {
            out.push(b'"');
            let all = if key.key_source() == Source::COMPUTED { self.memory.text.as_slice() } else { self.document(key.key_source()).text() };
            out.extend_from_slice(&all[key.a() as usize..(key.a() + key.b()) as usize]);
            out.extend_from_slice(b"\":");
        }
    }

    fn write_overlay(self, overlay: Value, out: &mut Vec<u8>) {
        let base = self.memory.cell(overlay.a());
        let (start, count) = (overlay.a() + 1, overlay.b());
        if base.tag() == Tag::TokenObject && self.document(base.source()).is_compact() {
            self.splice(self.document(base.source()), Token(base.a()), start, count, out);
            return;
        }
        out.push(b'{');
        for (index, member) in self.members(overlay).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_key(member.key, out);
            self.write(member.value, out);
        }
        out.push(b'}');
    }

    /// Writes a compact object of a document, changed: runs of unchanged bytes are copied whole.
    fn splice(self, document: &Document, object: Token, start: u32, count: u32, out: &mut Vec<u8>) {
        let raw = document.raw(object);
        let offset = document.start(object);
        let mut at = 0;
        // Replacements are written in the order of their tokens; there are at most a few.
        let mut after = 0;
        while let Some((token, value)) = next_replacement(self.memory, start, count, after) {
            let place = document.start(Token(token)) - offset;
            out.extend_from_slice(&raw[at..place]);
            self.write(value, out);
            at = place + document.raw(Token(token)).len();
            after = token + 1;
        }
        out.extend_from_slice(&raw[at..raw.len() - 1]);
        self.write_pairs(start, count, raw.len() > 2, out);
        out.push(b'}');
    }
}

/// The replacement with the lowest token from `after` on.
#[inline]
fn next_replacement(memory: &Memory, start: u32, count: u32, after: u32) -> Option<(u32, Value)> {
    let mut found: Option<(u32, Value)> = None;
    for pair in 0..count {
        let token = memory.cell(start + pair * 2).a();
        if token != NO_TOKEN && token >= after && found.is_none_or(|(best, _)| token < best) {
            found = Some((token, memory.cell(start + pair * 2 + 1)));
        }
    }
    found
}

/// Appends a value of a document without insignificant whitespace.
pub(crate) fn write_token(document: &Document, token: Token, out: &mut Vec<u8>) {
    let raw = document.raw(token);
    if document.compact_len(token) as usize == raw.len() {
        out.extend_from_slice(raw);
        return;
    }
    let mut in_string = false;
    let mut escaped = false;
    for &byte in raw {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

/// Appends an integer in decimal.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(integer_text(value, &mut [0; 20]));
}

/// An integer in decimal, in the last bytes of `digits`.
pub(crate) fn integer_text(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}
