//! The validating scanner: one pass over the whole text, no recursion.
//!
//! What it keeps in hand is the container it is in; the ones around it wait on a stack. Values are read by [`leaf`], bytes are looked at through [`Text`].

use super::lanes::{Text, is_wide};
use super::symbols::{hash, prefix};
use super::tape::{KEY_ESCAPED, Tape};
use super::{DOCUMENT_DEPTH_MAX, Document, Fault, FaultKind, Kind, PADDING, Span, Static, Symbol, Symbols, Unescaped, leaf, members};

/// Members up to which an object's keys are checked as they come, by a bloom word and a walk over its siblings; larger objects are checked once at their end by sorting.
const INCREMENTAL_KEYS_MAX: u32 = 48;

/// A container whose end has not been seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Open {
    token: u32,
    /// One bit for each key hash seen.
    bloom: u64,
    members: u32,
    depth_below: u16,
    is_object: bool,
}

/// What a whole text turned out to be, its values aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Findings {
    /// Whether any object holds a key twice.
    pub(super) repeats_key: bool,
    /// Whether any key holds escapes.
    pub(super) escapes_key: bool,
}

/// The key in front of a value.
#[derive(Clone, Copy)]
struct Key {
    /// Where it starts, behind its quote; 0 when there is none.
    start: usize,
    len: usize,
    symbol: Symbol,
    flags: u32,
}

impl Key {
    const NONE: Self = Self { start: 0, len: 0, symbol: Symbol::NONE, flags: 0 };
}

#[inline]
fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long, and a tape has fewer tokens than its text has bytes")]
#[inline]
fn narrow(length: usize) -> u32 {
    length as u32
}

struct Scanner<'s> {
    text: Text<'s>,
    symbols: &'s Symbols,
    tape: &'s mut Tape,
    stack: &'s mut Vec<Open>,
    seen: &'s mut Vec<(u64, u32)>,
    /// Whether the text may have insignificant whitespace: else the scan ends where there is some.
    is_lenient: bool,
    is_wide: bool,
    whitespace: u32,
    findings: Findings,
}

impl Document {
    /// Validates the text and fills the tape. Unless it is lenient, a text with insignificant whitespace is refused with any fault, and [`whitespace`](Self::whitespace) tells.
    pub(super) fn scan(&mut self, symbols: &Symbols, is_lenient: bool) -> Result<Findings, Fault> {
        let mut scanner = Scanner {
            text: Text::new(&self.bytes[..self.len + PADDING]),
            symbols,
            tape: &mut self.tape,
            stack: &mut self.stack,
            seen: &mut self.seen,
            is_lenient,
            is_wide: is_wide(),
            whitespace: 0,
            findings: Findings { repeats_key: false, escapes_key: false },
        };
        let scanned = scanner.document();
        let (whitespace, findings) = (scanner.whitespace, scanner.findings);
        self.whitespace = whitespace;
        scanned?;
        if is_lenient || whitespace == 0 { Ok(findings) } else { Err(Fault::new(FaultKind::Truncated, self.len)) }
    }
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        let text = self.text;
        let at = self.skip_whitespace(0);
        if at >= text.len() {
            return Err(Fault::new(FaultKind::Empty, at));
        }
        let end = match text.byte(at) {
            byte @ (b'{' | b'[') => self.container(at, byte)?,
            byte => {
                let (span, end) = self.leaf(at, byte, 0)?;
                self.push(span, Key::NONE);
                end
            }
        };
        let end = self.skip_whitespace(end);
        if end == text.len() { Ok(()) } else { Err(Fault::new(FaultKind::Trailing, end)) }
    }

    /// Scans the container whose bracket is at `at`; returns the offset behind it.
    fn container(&mut self, mut at: usize, mut byte: u8) -> Result<usize, Fault> {
        let text = self.text;
        let (mut inner, mut key) = (Open::default(), Key::NONE);
        loop {
            // In front of a value, whose first byte is at hand.
            if byte == b'{' || byte == b'[' {
                inner = self.open(at, byte == b'{', key, inner)?;
                at = self.skip_whitespace(at + 1);
                byte = text.byte(at);
                if byte != if inner.is_object { b'}' } else { b']' } {
                    let is_behind_value = inner.is_object && self.plain_members(&mut at, &mut inner);
                    byte = text.byte(at);
                    if !is_behind_value {
                        (at, byte, key) = self.element(at, byte, &mut inner)?;
                        continue;
                    }
                }
            } else {
                let (span, end) = self.leaf(at, byte, key.flags)?;
                self.push(span, key);
                at = end;
                byte = text.byte(at);
            }
            // Behind a value, or in front of the end of an empty container.
            loop {
                if byte == b',' {
                    at = self.skip_whitespace(at + 1);
                    let is_behind_value = inner.is_object && self.plain_members(&mut at, &mut inner);
                    byte = text.byte(at);
                    if is_behind_value {
                        continue;
                    }
                    (at, byte, key) = self.element(at, byte, &mut inner)?;
                    break;
                }
                if byte == if inner.is_object { b'}' } else { b']' } {
                    inner = self.close(at, inner);
                    at += 1;
                    if self.stack.is_empty() {
                        return Ok(at);
                    }
                } else if byte <= b' ' && is_whitespace(byte) {
                    at = self.skip_run(at);
                } else {
                    return Err(leaf::unexpected(text, at));
                }
                byte = text.byte(at);
            }
        }
    }

    /// Reads as many members as are plain; whether `at` is then behind the value of one.
    #[inline]
    fn plain_members(&mut self, at: &mut usize, object: &mut Open) -> bool {
        let run = members::run(self.text, self.symbols, self.tape, *at, object.bloom, self.is_wide);
        object.bloom = run.bloom;
        object.members += run.members;
        *at = run.at;
        run.is_behind_value
    }

    #[inline(always)]
    fn leaf(&self, at: usize, byte: u8, flags: u32) -> Result<(Span, usize), Fault> {
        let text = self.text;
        if byte == b'"' {
            leaf::string(text, at, text.block(at + 1), flags)
        } else if byte.is_ascii_digit() || byte == b'-' {
            leaf::number(text, at, text.block(at), flags)
        } else {
            leaf::word(text, at, flags)
        }
    }

    /// In front of an element or member: reads the member's key; returns where the value is, and its first byte.
    #[inline(always)]
    fn element(&mut self, at: usize, byte: u8, inner: &mut Open) -> Result<(usize, u8, Key), Fault> {
        if inner.is_object { self.key(at, byte, inner) } else { Ok((at, byte, Key::NONE)) }
    }

    #[inline(always)]
    fn skip_whitespace(&mut self, at: usize) -> usize {
        if self.text.byte(at) > b' ' { at } else { self.skip_run(at) }
    }

    #[inline(never)]
    fn skip_run(&mut self, at: usize) -> usize {
        let mut end = at;
        while is_whitespace(self.text.byte(end)) {
            end += 1;
        }
        self.whitespace += narrow(end - at);
        // Behind the text nothing is as expected, so the scan ends soon.
        if self.is_lenient || end == at { end } else { self.text.len() }
    }

    #[inline(always)]
    fn push(&mut self, span: Span, key: Key) {
        let next = self.tape.count() + 1;
        let key_back = if key.start == 0 { 0 } else { span.start - narrow(key.start) };
        self.tape.push(span, Static { key_back, key_len: narrow(key.len), next, symbol: key.symbol, depth: 0 });
    }

    /// Opens a container at `at`; the one that it is in goes to the stack.
    #[inline]
    fn open(&mut self, at: usize, is_object: bool, key: Key, outer: Open) -> Result<Open, Fault> {
        if self.stack.len() >= usize::from(DOCUMENT_DEPTH_MAX) {
            return Err(Fault::new(FaultKind::TooDeep, at));
        }
        let token = self.tape.count();
        self.push(Span::new(at, 0, if is_object { Kind::Object } else { Kind::Array }, key.flags), key);
        self.stack.push(outer);
        Ok(Open { token, is_object, ..Open::default() })
    }

    /// Closes the innermost container at its closing bracket; returns the one around it.
    #[inline(always)]
    fn close(&mut self, at: usize, inner: Open) -> Open {
        let depth = inner.depth_below + 1;
        self.tape.close(inner.token, at + 1, depth);
        if inner.members > INCREMENTAL_KEYS_MAX && self.large_object_repeats(inner.token, self.tape.count()) {
            self.findings.repeats_key = true;
        }
        let mut outer = self.stack.pop().expect("close() is called only while a container is open");
        outer.depth_below = outer.depth_below.max(depth);
        outer
    }

    /// Scans a key and its colon; returns the offset of the value and its first byte.
    #[inline(always)]
    fn key(&mut self, at: usize, byte: u8, object: &mut Open) -> Result<(usize, u8, Key), Fault> {
        let text = self.text;
        if byte != b'"' {
            return Err(leaf::unexpected(text, at));
        }
        let start = at + 1;
        let (end, escaped) = leaf::string_end(text, start, text.block(start))?;
        let len = end - start;
        let mut key = Key { start, len, symbol: Symbol::NONE, flags: 0 };
        if escaped {
            self.escaped_key(object, &mut key);
        } else {
            let first = text.word(start);
            let hashed;
            (key.symbol, hashed) = if len <= 8 { self.short_key(first, len) } else { self.long_key(first, start, end) };
            self.note_key(object, key, hashed);
        }
        // Nearly always the colon follows at once, and the value too.
        let [_, colon, value, ..] = text.word(end).to_le_bytes();
        if colon == b':' && value > b' ' {
            return Ok((end + 2, value, key));
        }
        let (at, byte) = self.colon(end + 1)?;
        Ok((at, byte, key))
    }

    /// Where the value behind a key is that ends in front of `at`, and its first byte.
    #[inline(never)]
    fn colon(&mut self, at: usize) -> Result<(usize, u8), Fault> {
        let at = self.skip_whitespace(at);
        if self.text.byte(at) != b':' {
            return Err(leaf::unexpected(self.text, at));
        }
        let at = self.skip_whitespace(at + 1);
        Ok((at, self.text.byte(at)))
    }

    #[inline(always)]
    fn short_key(&self, first: u64, len: usize) -> (Symbol, u64) {
        let first = prefix(first, len);
        let hashed = hash(first, 0, len);
        (self.symbols.probe_short(first, hashed, len), hashed)
    }

    #[inline(never)]
    fn long_key(&self, first: u64, start: usize, end: usize) -> (Symbol, u64) {
        let last = self.text.word(end - 8);
        let hashed = hash(first, last, end - start);
        (self.symbols.probe(first, last, hashed, self.text.slice(start, end)), hashed)
    }

    /// A key with escapes is looked up, and compared with its siblings, by the name that it stands for.
    #[cold]
    fn escaped_key(&mut self, object: &mut Open, key: &mut Key) {
        let name = Unescaped::new(self.text.slice(key.start, key.start + key.len)).to_string();
        key.symbol = self.symbols.lookup(name.as_bytes());
        key.flags = KEY_ESCAPED;
        self.findings.escapes_key = true;
        self.note_key(object, *key, super::symbols::hash_of(name.as_bytes()));
    }

    /// Checks a key against its elder siblings.
    #[inline(always)]
    fn note_key(&mut self, object: &mut Open, key: Key, hashed: u64) {
        object.members += 1;
        let bit = 1 << (hashed >> 58);
        let seen = object.bloom & bit != 0;
        object.bloom |= bit;
        if seen {
            self.compare_with_siblings(object.token, object.members, key);
        }
    }

    #[inline(never)]
    fn compare_with_siblings(&mut self, object: u32, members: u32, key: Key) {
        if members <= INCREMENTAL_KEYS_MAX && self.sibling_has(object, key) {
            self.findings.repeats_key = true;
        }
    }

    fn sibling_has(&self, object: u32, key: Key) -> bool {
        let name = self.text.slice(key.start, key.start + key.len);
        let (mut at, end) = (object + 1, self.tape.count());
        while at < end {
            let (span, fixed) = (self.tape.span(at), self.tape.fixed(at));
            let flags = (span.packed | key.flags) & KEY_ESCAPED;
            if flags != 0 || fixed.key_len as usize == name.len() {
                let other = self.name(span, fixed);
                if other == name || flags != 0 && super::keys_equal(other, name) {
                    return true;
                }
            }
            at = fixed.next;
        }
        false
    }

    fn name(&self, span: Span, fixed: &Static) -> &[u8] {
        let start = (span.start - fixed.key_back) as usize;
        self.text.slice(start, start + fixed.key_len as usize)
    }

    /// Duplicate check of an object with many members, when it is complete: sort by hash and name, compare neighbours.
    #[cold]
    fn large_object_repeats(&mut self, object: u32, end: u32) -> bool {
        let mut seen = std::mem::take(self.seen);
        seen.clear();
        let mut at = object + 1;
        while at < end {
            let (span, fixed) = (self.tape.span(at), self.tape.fixed(at));
            let key = self.name(span, fixed);
            let hashed = if span.packed & KEY_ESCAPED != 0 { long_hash(Unescaped::new(key).to_string().as_bytes()) } else { long_hash(key) };
            seen.push((hashed, at));
            at = fixed.next;
        }
        // Whoever makes keys of one hash gains nothing but a sort by their names.
        let name = |token: u32| Unescaped::new(self.name(self.tape.span(token), self.tape.fixed(token)));
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
        let repeats = seen.windows(2).any(|pair| pair[0].0 == pair[1].0 && name(pair[0].1).eq(name(pair[1].1)));
        *self.seen = seen;
        repeats
    }
}

/// FNV-1a over words of eight bytes; only the duplicate check of large objects uses it.
fn long_hash(key: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(29);
    let (words, rest) = key.as_chunks::<8>();
    let state = words.iter().fold(key.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
    mix(state, rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
}

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
    fn whitespace_is_taken_out_and_depth_is_known_for_each_container() {
        let mut document = Document::new();
        let text = b" { \"a\" : [ 1 , [ ] ] } \n";
        document.fill(text, &Symbols::default()).expect("valid");
        assert_eq!(document.text(), br#"{"a":[1,[]]}"#);
        assert_eq!((document.compact_len(Token(0)), document.compact_len(Token(1))), (12, 6));
        assert_eq!((document.depth(Token(0)), document.depth(Token(1)), document.depth(Token(2))), (3, 2, 0));
        document.fill_keeping_duplicates(text, &Symbols::default()).expect("valid");
        assert_eq!((document.text(), document.start(Token(1)), document.is_compact()), (&text[..], 9, false));
    }

    #[test]
    fn a_fault_is_told_by_the_text_as_it_came_in() {
        for (text, kind, offset) in [
            ("  ", FaultKind::Empty, 2),
            ("{ \"a\" : 1 2 }", FaultKind::Unexpected(b'2'), 10),
            ("{ \"a\" : x }", FaultKind::Unexpected(b'x'), 8),
            ("[1, \"a\n\"]", FaultKind::ControlCharacter, 6),
            ("[1,\"a \n", FaultKind::ControlCharacter, 6),
            ("[1,  \n", FaultKind::Truncated, 6),
            ("1 x", FaultKind::Trailing, 2),
            ("1\0", FaultKind::Trailing, 1),
            ("1\x0c\n", FaultKind::Trailing, 1),
        ] {
            let mut document = Document::new();
            assert_eq!(document.fill(text.as_bytes(), &Symbols::default()), Err(Fault::new(kind, offset)), "{text:?}");
            assert_eq!(document.token_count(), 0);
        }
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
