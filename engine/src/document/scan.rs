//! The validating scanner: one pass, no recursion, whole words where it pays.

use super::symbols::{hash, prefix};
use super::tape::{ESCAPED, KEY_ESCAPED};
use super::{DOCUMENT_DEPTH_MAX, Document, Fault, FaultKind, Kind, PADDING, Span, Static, Symbol, Symbols, Unescaped};

/// Members up to which an object's keys are checked as they come, by a bloom word and a walk over its siblings; larger objects are checked once at their end by sorting.
const INCREMENTAL_KEYS_MAX: u32 = 48;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A container whose end has not been seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    token: u32,
    whitespace_before: u32,
    /// One bit for each key hash seen.
    bloom: [u64; 2],
    members: u32,
    depth_below: u16,
    is_object: bool,
}

/// Whether any object of the text held a key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Unique,
    Duplicate,
}

/// The key in front of a value.
#[derive(Clone, Copy)]
struct Key {
    start: u32,
    len: u32,
    symbol: Symbol,
    flags: u32,
}

impl Key {
    const NONE: Self = Self { start: 0, len: 0, symbol: Symbol::NONE, flags: 0 };
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Marks, in each byte's high bit, what ends the fast run of a string: quote, backslash, control character or a byte above ASCII. Exact up to and including the lowest mark.
#[inline]
fn string_marks(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_quote = quote.wrapping_sub(ONES) & !quote;
    let zero_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_quote | zero_backslash | control | word) & HIGHS
}

#[inline]
fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

struct Scanner<'s> {
    bytes: &'s [u8],
    len: usize,
    symbols: &'s Symbols,
    spans: &'s mut Vec<Span>,
    statics: &'s mut Vec<Static>,
    stack: &'s mut Vec<Open>,
    seen: &'s mut Vec<(u32, u32)>,
    whitespace: u32,
    keys: Keys,
}

impl Document {
    /// Validates `bytes[..len]` and fills the tape.
    pub(super) fn scan(&mut self, symbols: &Symbols) -> Result<Keys, Fault> {
        let mut scanner = Scanner {
            bytes: &self.bytes,
            len: self.len,
            symbols,
            spans: &mut self.spans,
            statics: &mut self.statics,
            stack: &mut self.stack,
            seen: &mut self.seen,
            whitespace: 0,
            keys: Keys::Unique,
        };
        scanner.document()?;
        let (whitespace, keys) = (scanner.whitespace, scanner.keys);
        self.whitespace = whitespace;
        Ok(keys)
    }
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        let mut at = self.skip_whitespace(0);
        if at >= self.len {
            return Err(Fault::new(FaultKind::Empty, at));
        }
        let mut in_object = false;
        loop {
            // In front of a value, or of a key and its value.
            let mut key = Key::NONE;
            if in_object {
                at = self.key(at, &mut key)?;
            }
            let byte = self.bytes[at];
            at = match byte {
                b'"' => self.string(at, key)?,
                b'{' | b'[' => {
                    let is_object = byte == b'{';
                    let inside = self.open(at, is_object, key)?;
                    in_object = is_object;
                    if self.bytes[inside] != if is_object { b'}' } else { b']' } {
                        at = inside;
                        continue;
                    }
                    inside
                }
                b'-' | b'0'..=b'9' => self.number(at, key)?,
                b't' => self.literal(at, b"true", Kind::True, key)?,
                b'f' => self.literal(at, b"false", Kind::False, key)?,
                b'n' => self.literal(at, b"null", Kind::Null, key)?,
                _ => return Err(self.unexpected(at)),
            };
            // Behind a value, or in front of the end of an empty container.
            loop {
                at = self.skip_whitespace(at);
                if self.stack.is_empty() {
                    return if at == self.len { Ok(()) } else { Err(Fault::new(FaultKind::Trailing, at)) };
                }
                match self.bytes[at] {
                    b',' => {
                        at = self.skip_whitespace(at + 1);
                        break;
                    }
                    b'}' if in_object => at = self.close(at),
                    b']' if !in_object => at = self.close(at),
                    _ => return Err(self.unexpected(at)),
                }
                in_object = self.stack.last().is_some_and(|top| top.is_object);
            }
        }
    }

    #[cold]
    fn unexpected(&self, at: usize) -> Fault {
        if at >= self.len { Fault::new(FaultKind::Truncated, self.len) } else { Fault::new(FaultKind::Unexpected(self.bytes[at]), at) }
    }

    #[inline(always)]
    fn skip_whitespace(&mut self, at: usize) -> usize {
        if self.bytes[at] > b' ' { at } else { self.skip_run(at) }
    }

    #[inline(never)]
    fn skip_run(&mut self, at: usize) -> usize {
        if !is_whitespace(self.bytes[at]) {
            return at;
        }
        let mut end = at + 1;
        while is_whitespace(self.bytes[end]) {
            end += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        {
            self.whitespace += (end - at) as u32;
        }
        end
    }

    #[inline]
    fn push(&mut self, span: Span, key: Key) {
        #[expect(clippy::cast_possible_truncation, reason = "a tape has fewer tokens than the text has bytes")]
        let next = self.spans.len() as u32 + 1;
        self.spans.push(span);
        self.statics.push(Static { key_start: key.start, key_len: key.len, next, whitespace: 0, symbol: key.symbol, depth: 0 });
    }

    /// Opens a container at `at`; returns the offset of what follows its bracket.
    fn open(&mut self, at: usize, is_object: bool, key: Key) -> Result<usize, Fault> {
        if self.stack.len() >= usize::from(DOCUMENT_DEPTH_MAX) {
            return Err(Fault::new(FaultKind::TooDeep, at));
        }
        #[expect(clippy::cast_possible_truncation, reason = "a tape has fewer tokens than the text has bytes")]
        let token = self.spans.len() as u32;
        self.push(Span::new(at, 0, if is_object { Kind::Object } else { Kind::Array }, key.flags), key);
        self.stack.push(Open { token, whitespace_before: self.whitespace, bloom: [0; 2], members: 0, depth_below: 0, is_object });
        Ok(self.skip_whitespace(at + 1))
    }

    /// Closes the innermost container at its closing bracket; returns the offset behind it.
    fn close(&mut self, at: usize) -> usize {
        let open = self.stack.pop().expect("close() is called only while a container is open");
        let index = open.token as usize;
        let span = self.spans[index];
        let flags = span.packed & KEY_ESCAPED;
        self.spans[index] = Span::new(span.start as usize, at + 1 - span.start as usize, span.kind(), flags);
        #[expect(clippy::cast_possible_truncation, reason = "a tape has fewer tokens than the text has bytes")]
        let next = self.spans.len() as u32;
        let depth = open.depth_below + 1;
        let fixed = &mut self.statics[index];
        fixed.next = next;
        fixed.depth = depth;
        fixed.whitespace = self.whitespace - open.whitespace_before;
        if let Some(parent) = self.stack.last_mut() {
            parent.depth_below = parent.depth_below.max(depth);
        }
        if open.members > INCREMENTAL_KEYS_MAX && self.large_object_repeats(open.token, next) {
            self.keys = Keys::Duplicate;
        }
        at + 1
    }

    /// Scans a string's inside from behind its quote; returns the offset of the closing quote and whether it holds escapes.
    #[inline]
    fn string_end(&self, start: usize) -> Result<(usize, bool), Fault> {
        let mut at = start;
        loop {
            let marks = string_marks(word(self.bytes, at));
            if marks != 0 {
                at += (marks.trailing_zeros() >> 3) as usize;
                if self.bytes[at] == b'"' {
                    return Ok((at, false));
                }
                return self.string_end_slow(start, at);
            }
            at += 8;
        }
    }

    /// The rest of a string with escapes, or bytes above ASCII, or a fault.
    #[cold]
    fn string_end_slow(&self, start: usize, mut at: usize) -> Result<(usize, bool), Fault> {
        let (mut escaped, mut ascii) = (false, true);
        loop {
            match self.bytes[at] {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                0..=0x1f if at >= self.len => return Err(Fault::new(FaultKind::Truncated, self.len)),
                0..=0x1f => return Err(Fault::new(FaultKind::ControlCharacter, at)),
                byte => {
                    ascii &= byte < 0x80;
                    at += 1;
                }
            }
        }
        if !ascii && let Err(error) = std::str::from_utf8(&self.bytes[start..at]) {
            return Err(Fault::new(FaultKind::NotUtf8, start + error.valid_up_to()));
        }
        Ok((at, escaped))
    }

    fn escape(&self, at: usize) -> Result<usize, Fault> {
        match self.bytes[at + 1] {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => {
                let digits = &self.bytes[at + 2..at + 6];
                if digits.iter().all(u8::is_ascii_hexdigit) {
                    Ok(at + 6)
                } else if at + 6 > self.len {
                    Err(Fault::new(FaultKind::Truncated, self.len))
                } else {
                    Err(Fault::new(FaultKind::BadEscape, at))
                }
            }
            _ if at + 1 >= self.len => Err(Fault::new(FaultKind::Truncated, self.len)),
            _ => Err(Fault::new(FaultKind::BadEscape, at)),
        }
    }

    #[inline]
    fn string(&mut self, at: usize, key: Key) -> Result<usize, Fault> {
        let (end, escaped) = self.string_end(at + 1)?;
        self.push(Span::new(at, end + 1 - at, Kind::String, key.flags | if escaped { ESCAPED } else { 0 }), key);
        Ok(end + 1)
    }

    /// Scans a key and its colon; returns the offset of the value.
    #[inline(always)]
    fn key(&mut self, at: usize, key: &mut Key) -> Result<usize, Fault> {
        if self.bytes[at] != b'"' {
            return Err(self.unexpected(at));
        }
        let start = at + 1;
        let first = word(self.bytes, start);
        let marks = string_marks(first);
        let short = (marks.trailing_zeros() >> 3) as usize;
        let (end, hashed);
        if marks != 0 && self.bytes[start + short] == b'"' {
            // At most seven bytes: the first word is the whole key.
            end = start + short;
            let first = first & ((1 << (short * 8)) - 1);
            hashed = hash(first, short);
            key.symbol = self.symbols.probe_short(first, hashed, short);
        } else {
            let (found, escaped) = self.string_end(start)?;
            end = found;
            (key.symbol, hashed) = if escaped { self.escaped_key(start, end) } else { self.long_key(first, start, end - start) };
            key.flags = if escaped { KEY_ESCAPED } else { 0 };
        }
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        {
            key.start = start as u32;
            key.len = (end - start) as u32;
        }
        self.note_key(*key, hashed);
        let mut at = end + 1;
        if self.bytes[at] != b':' {
            at = self.skip_whitespace(at);
            if self.bytes[at] != b':' {
                return Err(self.unexpected(at));
            }
        }
        Ok(self.skip_whitespace(at + 1))
    }

    /// Symbol and hash of a key without escapes that is longer than seven bytes, or empty of a mark in its first word.
    fn long_key(&self, first: u64, start: usize, len: usize) -> (Symbol, u64) {
        let first = if len < 8 { first & ((1 << (len * 8)) - 1) } else { first };
        let hashed = hash(first, len);
        (self.symbols.probe(first, hashed, &self.bytes[start..start + len]), hashed)
    }

    #[cold]
    fn escaped_key(&self, start: usize, end: usize) -> (Symbol, u64) {
        let name = Unescaped::new(&self.bytes[start..end]).to_string();
        (self.symbols.lookup(name.as_bytes()), hash(prefix(name.as_bytes()), name.len()))
    }

    /// Checks a key against its elder siblings.
    #[inline]
    fn note_key(&mut self, key: Key, hashed: u64) {
        let top = self.stack.last_mut().expect("a key stands inside an object");
        top.members += 1;
        let bit = 1 << (hashed >> 48 & 63);
        let bloom = &mut top.bloom[(hashed >> 54 & 1) as usize];
        let seen = *bloom & bit != 0;
        *bloom |= bit;
        if seen && top.members <= INCREMENTAL_KEYS_MAX {
            let first = top.token + 1;
            if self.sibling_has(first, key) {
                self.keys = Keys::Duplicate;
            }
        }
    }

    fn sibling_has(&self, first: u32, key: Key) -> bool {
        let name = &self.bytes[key.start as usize..(key.start + key.len) as usize];
        let mut at = first as usize;
        while at < self.spans.len() {
            let fixed = self.statics[at];
            let flags = (self.spans[at].packed | key.flags) & KEY_ESCAPED;
            if flags != 0 || fixed.key_len == key.len {
                let other = &self.bytes[fixed.key_start as usize..(fixed.key_start + fixed.key_len) as usize];
                if other == name || flags != 0 && super::keys_equal(other, name) {
                    return true;
                }
            }
            at = fixed.next as usize;
        }
        false
    }

    /// Duplicate check of an object with many members, when it is complete: sort by hash, compare equals.
    #[cold]
    fn large_object_repeats(&mut self, object: u32, end: u32) -> bool {
        self.seen.clear();
        let mut at = object + 1;
        while at < end {
            let fixed = self.statics[at as usize];
            let key = &self.bytes[fixed.key_start as usize..(fixed.key_start + fixed.key_len) as usize];
            let hashed = if self.spans[at as usize].packed & KEY_ESCAPED != 0 { long_hash(Unescaped::new(key).to_string().as_bytes()) } else { long_hash(key) };
            self.seen.push((hashed, at));
            at = fixed.next;
        }
        self.seen.sort_unstable();
        // Keys with one hash are compared pairwise; a run of true duplicates ends at its first pair, and a run of mere collisions is short.
        for (index, &(hashed, token)) in self.seen.iter().enumerate() {
            let rest = self.seen[index + 1..].iter().take_while(|other| other.0 == hashed);
            for &(_, other) in rest.take(64) {
                let (a, b) = (self.statics[token as usize], self.statics[other as usize]);
                let a = &self.bytes[a.key_start as usize..(a.key_start + a.key_len) as usize];
                let b = &self.bytes[b.key_start as usize..(b.key_start + b.key_len) as usize];
                if super::keys_equal(a, b) {
                    return true;
                }
            }
        }
        false
    }

    #[inline]
    fn number(&mut self, at: usize, key: Key) -> Result<usize, Fault> {
        let end = self.number_end(at)?;
        self.push(Span::new(at, end - at, Kind::Number, key.flags), key);
        Ok(end)
    }

    /// The grammar of RFC 8259 §6.
    #[inline]
    fn number_end(&self, start: usize) -> Result<usize, Fault> {
        let bytes = self.bytes;
        let digits = |mut at: usize| {
            while bytes[at].is_ascii_digit() {
                at += 1;
            }
            at
        };
        let whole = start + usize::from(bytes[start] == b'-');
        let mut at = digits(whole);
        if at == whole || bytes[whole] == b'0' && at > whole + 1 {
            return Err(self.bad_number(start, at));
        }
        if bytes[at] == b'.' {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return Err(self.bad_number(start, at));
            }
        }
        if bytes[at] | 0x20 == b'e' {
            let exponent = at + 1 + usize::from(matches!(bytes[at + 1], b'+' | b'-'));
            at = digits(exponent);
            if at == exponent {
                return Err(self.bad_number(start, at));
            }
        }
        Ok(at)
    }

    #[cold]
    fn bad_number(&self, start: usize, at: usize) -> Fault {
        if at >= self.len { Fault::new(FaultKind::Truncated, self.len) } else { Fault::new(FaultKind::BadNumber, start) }
    }

    fn literal(&mut self, at: usize, text: &[u8], kind: Kind, key: Key) -> Result<usize, Fault> {
        for (index, &expected) in text.iter().enumerate() {
            if self.bytes[at + index] != expected {
                return Err(self.unexpected(at + index));
            }
        }
        self.push(Span::new(at, text.len(), kind, key.flags), key);
        Ok(at + text.len())
    }
}

/// FNV-1a with a final mix; only the duplicate check of large objects uses it.
fn long_hash(key: &[u8]) -> u32 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in key {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the fold keeps both halves")]
    {
        (state ^ state >> 32) as u32
    }
}

// The longest over-read is a word behind the last byte, or the four digits of a unicode escape.
const _: () = assert!(PADDING >= 16);

#[cfg(test)]
mod tests {
    use super::super::Token;
    use super::*;

    fn check(text: &str, expected: Result<usize, FaultKind>) {
        let mut document = Document::new();
        let got = document.fill(text.as_bytes(), &Symbols::default()).map(|()| document.token_count()).map_err(|fault| fault.kind);
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn grammar_of_rfc_8259_is_enforced() {
        for (text, tokens) in [("{}", 1), ("[]", 1), (" [1, 2 ,{\"a\" : null}] ", 5), ("-0.5e+10", 1), ("\"\\ud800\"", 1), ("1e999", 1), ("[[],{}]", 3)] {
            check(text, Ok(tokens));
        }
        for text in [
            "01",
            "1.",
            "-",
            "1e",
            "[1,]",
            "{\"a\":1,}",
            "[,1]",
            "{,}",
            "{\"a\" 1}",
            "tru",
            "nul",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[1 2]",
            "{1:2}",
            "}",
            "]",
            "[}",
            "{]",
            "1 2",
            "{\"a\":}",
            "[\"a\":1]",
        ] {
            let mut document = Document::new();
            assert!(document.fill(text.as_bytes(), &Symbols::default()).is_err(), "{text} was accepted");
        }
        check("", Err(FaultKind::Empty));
        check("  \n", Err(FaultKind::Empty));
        check("\"abc", Err(FaultKind::Truncated));
        check("\"a\nb\"", Err(FaultKind::ControlCharacter));
        check("1 x", Err(FaultKind::Trailing));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        check(&deep(1000), Ok(1000));
        check(&deep(1001), Err(FaultKind::TooDeep));
        check(&deep(5000), Err(FaultKind::TooDeep));
    }

    #[test]
    fn broken_utf8_is_refused_with_its_offset() {
        let mut document = Document::new();
        assert_eq!(document.fill(b"{\"a\":\"x\xff\"}", &Symbols::default()), Err(Fault::new(FaultKind::NotUtf8, 7)));
        assert_eq!(document.fill("{\"ü\":\"ö\"}".as_bytes(), &Symbols::default()), Ok(()));
    }

    #[test]
    fn last_value_of_a_repeated_key_wins_in_the_first_position() {
        let mut document = Document::new();
        document.fill(br#"{"a":1,"b":2,"\u0061":3,"c":{"x":1,"x":2}}"#, &Symbols::default()).expect("valid");
        assert_eq!(document.text(), br#"{"a":3,"b":2,"c":{"x":2}}"#);
        let large: Vec<String> = (0..200).map(|n| format!("\"k{}\":{n}", n % 150)).collect();
        document.fill(format!("{{{}}}", large.join(",")).as_bytes(), &Symbols::default()).expect("valid");
        assert_eq!(document.token_count(), 151);
    }

    #[test]
    fn whitespace_and_depth_are_known_for_each_container() {
        let mut document = Document::new();
        document.fill(b"{ \"a\" : [ 1 , [ ] ] }", &Symbols::default()).expect("valid");
        assert_eq!(document.compact_len(Token(0)), 12);
        assert_eq!(document.compact_len(Token(1)), 6);
        assert_eq!((document.depth(Token(0)), document.depth(Token(1)), document.depth(Token(2))), (3, 2, 0));
        assert!(!document.is_compact());
    }

    #[test]
    fn symbols_mark_the_keys_a_program_names() {
        let mut symbols = Symbols::default();
        let device = symbols.intern("deviceId-with-a-long-name").expect("room");
        let a = symbols.intern("a").expect("room");
        let mut document = Document::new();
        document.fill(br#"{"\u0061":1,"deviceId-with-a-long-name":2,"deviceId-with-a-long-nam":3}"#, &symbols).expect("valid");
        assert_eq!(document.member(Token(0), a), Some(Token(1)));
        assert_eq!(document.member(Token(0), device), Some(Token(2)));
        assert_eq!(document.token_count(), 4);
    }
}
