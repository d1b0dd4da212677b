//! String contents: unescaping, comparing and quoting without allocation.

use std::fmt;

/// The characters of a JSON string's inside, escapes resolved one by one.
///
/// A lone surrogate escape (`\ud800`) yields U+FFFD: such strings pass through untouched as raw text, and only where characters are needed must something stand for the half pair.
#[derive(Debug, Clone)]
pub struct Unescaped<'t> {
    rest: &'t [u8],
}

impl<'t> Unescaped<'t> {
    /// Reads `inside`, the validated bytes between a string's quotes.
    #[must_use]
    pub fn new(inside: &'t [u8]) -> Self {
        Self { rest: inside }
    }

    /// Whether the characters are exactly those of `text`.
    #[must_use]
    pub fn eq_str(self, text: &str) -> bool {
        self.eq(text.chars())
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.rest.get(at..at + 4)?;
        let text = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(text, 16).ok()
    }

    fn unicode(&mut self) -> char {
        let high = self.hex(2).unwrap_or(0xFFFD);
        if (0xD800..0xDC00).contains(&high)
            && self.rest.get(6..8) == Some(b"\\u")
            && let Some(low) = self.hex(8).filter(|low| (0xDC00..0xE000).contains(low))
        {
            self.rest = &self.rest[12..];
            return char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        self.rest = self.rest.get(6..).unwrap_or_default();
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = *self.rest.first()?;
        if first == b'\\' {
            let simple = match self.rest.get(1)? {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => return Some(self.unicode()),
                &other => char::from(other),
            };
            self.rest = &self.rest[2..];
            return Some(simple);
        }
        let width = match first {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let (head, tail) = self.rest.split_at_checked(width)?;
        self.rest = tail;
        Some(std::str::from_utf8(head).ok().and_then(|text| text.chars().next()).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl fmt::Display for Unescaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().try_for_each(|character| fmt::Write::write_char(f, character))
    }
}

/// Appends the unescaped inside of a string to `out` as UTF-8.
pub fn unescape_into(inside: &[u8], out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for character in Unescaped::new(inside) {
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    }
}

/// Whether two keys, either of which may hold escapes, name the same member.
pub(crate) fn keys_equal(a: &[u8], b: &[u8]) -> bool {
    a == b || Unescaped::new(a).eq(Unescaped::new(b))
}

/// Appends `text` as a JSON string with quotes, escaping only what RFC 8259 §7 demands.
pub(crate) fn quote_into(text: &str, out: &mut Vec<u8>) {
    quote_bytes_into(text.as_bytes(), out);
}

/// The same for bytes that are known to be UTF-8.
pub(crate) fn quote_bytes_into(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    // Without early exit, so that the compiler makes it a vector loop.
    let special = text.iter().fold(false, |special, &byte| special | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if !special {
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xc => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve_and_lone_surrogates_become_replacement_characters() {
        let text = |inside: &str| Unescaped::new(inside.as_bytes()).to_string();
        assert_eq!(text(r#"a\n\"\\\/\u00e9é\ud83d\ude00"#), "a\n\"\\/éé😀");
        assert_eq!(text(r"\ud800x\udc00"), "\u{fffd}x\u{fffd}");
        assert_eq!(text(r"\ud800\ud83d\ude00"), "\u{fffd}😀");
        assert!(keys_equal(b"\\u0061b", b"ab"));
    }

    #[test]
    fn quoting_escapes_what_json_demands() {
        let mut out = Vec::new();
        quote_into("a\"\\\u{1}é\n", &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\u0001é\\n\"".as_bytes());
    }
}
