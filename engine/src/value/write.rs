//! Value → bytes. What has not changed leaves as it came in.
//!
//! An output is mostly one run of the record's bytes with a few short pieces between, so what counts is how a short piece gets into the buffer: [`put`] copies it with two overlapping words or vectors instead of a call of `memcpy`.
#![expect(unsafe_code, reason = "short pieces are copied into reserved room without a call: most of an output's pieces are keys and short values")]

use super::memory::Memory;
use super::{NO_TOKEN, Source, Tag, Value, View};
use crate::document::{Document, Token};

/// Longest piece that is copied without a call.
const SHORT_MAX: usize = 64;

impl View<'_> {
    /// Appends `value` to `out` as compact JSON.
    pub(crate) fn write(self, value: Value, out: &mut Vec<u8>) {
        out.reserve(value.size() as usize);
        self.put_value(value, out);
    }

    fn put_value(self, value: Value, out: &mut Vec<u8>) {
        match value.tag() {
            Tag::String | Tag::Number => put(out, self.text(value)),
            Tag::Null | Tag::Key | Tag::Moved => put(out, b"null"),
            Tag::False => put(out, b"false"),
            Tag::True => put(out, b"true"),
            Tag::Integer => write_integer(value.as_integer(), out),
            Tag::TokenArray | Tag::TokenObject => write_token(self.document(value.token_source()), Token(value.a()), out),
            Tag::Array => {
                let elements = &self.memory.cells[value.a() as usize..(value.a() + value.b()) as usize];
                let mut lead = b'[';
                for &element in elements {
                    out.push(lead);
                    lead = b',';
                    self.put_value(element, out);
                }
                put(out, if elements.is_empty() { b"[]" } else { b"]" });
            }
            Tag::Object => {
                let lead = self.put_pairs(value.a(), value.b(), b'{', out);
                put(out, if lead == b'{' { b"{}" } else { b"}" });
            }
            Tag::Overlay => self.put_overlay(value, out),
        }
    }

    /// Appends the pairs that replace nothing, the first behind `lead`, the others behind commas; returns what would come before a further one.
    #[inline]
    fn put_pairs(self, start: u32, count: u32, mut lead: u8, out: &mut Vec<u8>) -> u8 {
        let pairs = self.memory.cells[start as usize..(start + count * 2) as usize].as_chunks::<2>().0;
        for &[key, value] in pairs {
            if key.key_source() == Source::KEY && key.a() != NO_TOKEN {
                continue;
            }
            self.put_key(lead, key, out);
            lead = b',';
            match value.tag() {
                // The usual value, without a further call.
                Tag::String | Tag::Number => put(out, self.text(value)),
                _ => self.put_value(value, out),
            }
        }
        lead
    }

    /// Appends `lead` and a key with its colon.
    #[inline(always)]
    fn put_key(self, lead: u8, key: Value, out: &mut Vec<u8>) {
        if key.key_source() == Source::KEY {
            put_behind(out, lead, key.rendered(self.symbols));
        } else {
            self.put_foreign_key(lead, key, out);
        }
    }

    /// The same for a key of a document.
    #[inline(never)]
    fn put_foreign_key(self, lead: u8, key: Value, out: &mut Vec<u8>) {
        let all = if key.key_source() == Source::COMPUTED { self.memory.text.as_slice() } else { self.document(key.key_source()).text() };
        out.extend_from_slice(&[lead, b'"']);
        put(out, &all[key.a() as usize..(key.a() + key.b()) as usize]);
        put(out, b"\":");
    }

    fn put_overlay(self, overlay: Value, out: &mut Vec<u8>) {
        let base = self.memory.cell(overlay.a());
        let (start, count) = (overlay.a() + 1, overlay.b());
        if base.tag() == Tag::TokenObject && self.document(base.token_source()).is_compact() {
            self.splice(self.document(base.token_source()), Token(base.a()), start, count, out);
            return;
        }
        let mut lead = b'{';
        for member in self.members(overlay) {
            self.put_key(lead, member.key, out);
            lead = b',';
            self.put_value(member.value, out);
        }
        put(out, if lead == b'{' { b"{}" } else { b"}" });
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
            put(out, &raw[at..place]);
            self.put_value(value, out);
            at = place + document.raw(Token(token)).len();
            after = token + 1;
        }
        put(out, &raw[at..raw.len() - 1]);
        // What has been written ends with the brace that opens the object when the document's has no members.
        if raw.len() > 2 {
            self.put_pairs(start, count, b',', out);
        } else {
            out.pop();
            self.put_pairs(start, count, b'{', out);
        }
        out.push(b'}');
    }
}

/// The replacement with the lowest token from `after` on.
#[inline]
fn next_replacement(memory: &Memory, start: u32, count: u32, after: u32) -> Option<(u32, Value)> {
    let mut found: Option<(u32, Value)> = None;
    let pairs = memory.cells[start as usize..(start + count * 2) as usize].as_chunks::<2>().0;
    for &[key, value] in pairs {
        let token = key.a();
        if token != NO_TOKEN && token >= after && found.is_none_or(|(best, _)| token < best) {
            found = Some((token, value));
        }
    }
    found
}

/// Appends a value of a document without insignificant whitespace.
pub(crate) fn write_token(document: &Document, token: Token, out: &mut Vec<u8>) {
    let raw = document.raw(token);
    if document.compact_len(token) as usize == raw.len() {
        put(out, raw);
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

/// Appends a byte and bytes.
#[inline(always)]
fn put_behind(out: &mut Vec<u8>, lead: u8, bytes: &[u8]) {
    if bytes.len() > SHORT_MAX || out.capacity() - out.len() <= bytes.len() {
        return put_long(out, Some(lead), bytes);
    }
    let len = out.len();
    let to = out.spare_capacity_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: the spare capacity has room for one byte and `bytes.len()` more, as just checked.
    unsafe { to.write(lead) };
    // SAFETY: as above, `to` is followed by at least `bytes.len()` bytes of spare capacity.
    let behind = unsafe { to.add(1) };
    // SAFETY: the same room, and a vector that is borrowed mutably overlaps no other bytes.
    unsafe { copy_short(bytes, behind) };
    // SAFETY: the capacity has been checked, and all bytes up to the new length have been written.
    unsafe { out.set_len(len + 1 + bytes.len()) };
}

/// Appends bytes, as `extend_from_slice` does.
#[inline(always)]
pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT_MAX || out.capacity() - out.len() < bytes.len() {
        return put_long(out, None, bytes);
    }
    let len = out.len();
    let to = out.spare_capacity_mut().as_mut_ptr().cast();
    // SAFETY: the spare capacity has room for `bytes.len()` bytes, as just checked, and a vector that is borrowed mutably overlaps no other bytes.
    unsafe { copy_short(bytes, to) };
    // SAFETY: the capacity has been checked, and `copy_short` has written all bytes up to the new length.
    unsafe { out.set_len(len + bytes.len()) };
}

/// A long piece, or one for which the buffer must grow.
#[cold]
#[inline(never)]
fn put_long(out: &mut Vec<u8>, lead: Option<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 1);
    out.extend(lead);
    out.extend_from_slice(bytes);
}

/// Copies at most [`SHORT_MAX`] bytes: by size class, the first and the last part of it, which overlap.
///
/// # Safety
/// `to` is valid for writes of `bytes.len()` bytes and does not overlap `bytes`.
#[inline(always)]
unsafe fn copy_short(bytes: &[u8], to: *mut u8) {
    let (from, len) = (bytes.as_ptr(), bytes.len());
    debug_assert!(len <= SHORT_MAX, "longer pieces are copied by a call");
    if len >= 16 {
        if len > 32 {
            // SAFETY: the first and the last 32 bytes lie within `len`, up to which both sides are valid.
            return unsafe { copy_ends::<32>(from, to, len) };
        }
        // SAFETY: the first and the last 16 bytes lie within `len`.
        unsafe { copy_ends::<16>(from, to, len) };
    } else if len >= 8 {
        // SAFETY: the first and the last 8 bytes lie within `len`.
        unsafe { copy_ends::<8>(from, to, len) };
    } else if len >= 4 {
        // SAFETY: the first and the last 4 bytes lie within `len`.
        unsafe { copy_ends::<4>(from, to, len) };
    } else if len >= 2 {
        // SAFETY: the first and the last 2 bytes lie within `len`.
        unsafe { copy_ends::<2>(from, to, len) };
    } else if let Some(&byte) = bytes.first() {
        // SAFETY: there is one byte.
        unsafe { to.write(byte) };
    }
}

/// Copies the first and the last `N` of `len` bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` bytes, which is at least `N`; they do not overlap.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "both loads come before both stores")]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: both parts lie within `len`, as the caller promises, and arrays of bytes have no alignment.
    unsafe {
        let (first, last) = (from.cast::<[u8; N]>().read(), from.add(len - N).cast::<[u8; N]>().read());
        to.cast::<[u8; N]>().write(first);
        to.add(len - N).cast::<[u8; N]>().write(last);
    }
}

/// Appends an integer in decimal.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    put(out, integer_text(value, &mut [0; 20]));
}

/// An integer in decimal, in the last bytes of `digits`.
#[inline]
pub(crate) fn integer_text(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        digits[at] = PAIRS[pair];
        digits[at + 1] = PAIRS[pair + 1];
    }
    // A pair whose first digit is 0 has only been written when there are digits before it.
    if rest > 0 || value == 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_the_standard_library_does() {
        let powers = (0..19).map(|power| 10_i64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power * 5, -power, 1 - power]);
        for value in near.chain([i64::MIN, i64::MAX, 0, -1]) {
            let mut out = b"in front".to_vec();
            write_integer(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("in front{value}"));
        }
    }

    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let source: Vec<u8> = (0..200).collect();
        for len in 0..source.len() {
            for room in [0, len, 200] {
                let mut out = Vec::with_capacity(room);
                put(&mut out, &source[..len]);
                put(&mut out, &source[..len]);
                assert_eq!(out, [&source[..len], &source[..len]].concat(), "{len}");
            }
        }
    }
}
