//! Tokens, spans, key symbols and the sibling walk.

use super::{Document, Symbol};

/// Index of a value on its document's tape; 0 is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// `null`
    Null = 0,
    /// `false`
    False = 1,
    /// `true`
    True = 2,
    /// A number, as text.
    Number = 3,
    /// A string, quotes included in its span.
    String = 4,
    /// An array.
    Array = 5,
    /// An object.
    Object = 6,
}

impl Kind {
    /// The kind with that number, as spans and values hold it.
    #[inline]
    pub(crate) fn numbered(number: u64) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::False,
            2 => Self::True,
            3 => Self::Number,
            4 => Self::String,
            5 => Self::Array,
            _ => Self::Object,
        }
    }
}

/// The dynamic half of a token: where the value lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Byte offset of the first byte (a string's opening quote).
    pub(crate) start: u32,
    /// Length in bytes (24 bits), then kind and flags.
    pub(crate) packed: u32,
}

/// The string holds at least one backslash.
pub(crate) const ESCAPED: u32 = 0x10;
/// The key before the value holds at least one backslash.
pub(crate) const KEY_ESCAPED: u32 = 0x20;

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, len: usize, kind: Kind, flags: u32) -> Self {
        Self::of(start, Self::packed(len, kind) | flags)
    }

    /// The span of what starts at `start`, with the rest of it at hand.
    #[inline]
    pub(super) fn of(start: usize, packed: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        Self { start: start as u32, packed }
    }

    /// Length and kind.
    #[inline]
    pub(crate) fn packed(len: usize, kind: Kind) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        {
            (len as u32) << 8 | kind as u32
        }
    }

    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.packed >> 8
    }

    /// Offset of the byte behind it.
    #[inline]
    pub(crate) fn end(self) -> u32 {
        self.start + self.len()
    }

    /// Whether neither the value nor its key holds escapes.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.packed & (ESCAPED | KEY_ESCAPED) == 0
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::numbered(u64::from(self.packed & 0xf))
    }
}

/// The static half of a token: the same for every message of one shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Static {
    /// How many bytes in front of the value its key starts, behind the quote; 0 when there is no key.
    pub(crate) key_back: u32,
    pub(crate) key_len: u32,
    /// Token index of the next sibling, or of what follows the parent.
    pub(crate) next: u32,
    pub(crate) symbol: Symbol,
    /// Levels of containers from here down; 0 for a scalar.
    pub(crate) depth: u16,
}

/// Both halves of all tokens. The vectors are as long as they ever had to be, and only the first `count` elements mean something: writing a token is then a store, without asking for room first.
#[derive(Debug, Default, Clone)]
pub(super) struct Tape {
    spans: Vec<Span>,
    statics: Vec<Static>,
    count: u32,
}

impl Tape {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Gives memory beyond `bytes` back, as far as it is not in use.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let keep = (bytes / (size_of::<Span>() + size_of::<Static>())).max(self.count as usize);
        if self.spans.len() > keep {
            self.spans.truncate(keep);
            self.spans.shrink_to_fit();
            self.statics.truncate(keep);
            self.statics.shrink_to_fit();
        }
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.statics.capacity() * size_of::<Static>()
    }

    #[inline(always)]
    pub(super) fn push(&mut self, span: Span, fixed: Static) {
        let at = self.count as usize;
        if at >= self.spans.len() || at >= self.statics.len() {
            self.grow();
        }
        self.spans[at] = span;
        self.statics[at] = fixed;
        self.count += 1;
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.count as usize * 2).max(32);
        self.spans.resize(len, Span::default());
        self.statics.resize(len, Static::default());
    }

    /// Writes what is known of a container at its end only: it ends at byte `end`, and behind the last token.
    #[inline]
    pub(super) fn close(&mut self, token: u32, end: usize, depth: u16) {
        let span = &mut self.spans[token as usize];
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        {
            span.packed |= (end as u32 - span.start) << 8;
        }
        let fixed = &mut self.statics[token as usize];
        fixed.next = self.count;
        fixed.depth = depth;
    }

    /// All spans, of at least `count` tokens. What is written there counts once [`set_count`](Self::set_count) says so.
    #[inline(always)]
    pub(super) fn room_for_spans(&mut self, count: usize) -> &mut [Span] {
        if self.spans.len() < count {
            self.spans.resize(count, Span::default());
            self.statics.resize(count, Static::default());
        }
        &mut self.spans
    }

    #[inline]
    pub(super) fn set_count(&mut self, count: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a tape has fewer tokens than its text has bytes")]
        {
            self.count = count as u32;
        }
    }

    /// Room for tokens, both halves, and how many of them are in use.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut [Span], &mut [Static], &mut u32) {
        (&mut self.spans, &mut self.statics, &mut self.count)
    }

    /// Sets the static half of tokens from `at` on, for which there is room.
    #[inline]
    pub(super) fn set_statics<const N: usize>(&mut self, at: usize, statics: &[Static; N]) {
        self.statics[at..at + N].copy_from_slice(statics);
    }

    #[inline]
    pub(super) fn span(&self, token: u32) -> Span {
        self.spans[token as usize]
    }

    #[inline]
    pub(super) fn fixed(&self, token: u32) -> &Static {
        &self.statics[token as usize]
    }
}

impl Document {
    /// The root value.
    #[must_use]
    #[inline]
    pub fn root(&self) -> Token {
        Token(0)
    }

    /// Number of values on the tape.
    #[must_use]
    #[inline]
    pub fn token_count(&self) -> usize {
        self.tape.count as usize
    }

    #[inline]
    pub(crate) fn span(&self, token: Token) -> Span {
        self.tape.span(token.0)
    }

    #[inline]
    pub(crate) fn fixed(&self, token: Token) -> &Static {
        self.tape.fixed(token.0)
    }

    /// Where the scalar lies that path number `path` leads to from the root, if the shape tells and there is one.
    #[inline(always)]
    pub(crate) fn scalar_of(&self, path: usize) -> Option<Span> {
        // What stands for no place is larger than any tape.
        let span = *self.tape.spans.get(*self.places.get(path)? as usize)?;
        (span.kind() < Kind::Array).then_some(span)
    }

    /// The kind of a value.
    #[must_use]
    #[inline]
    pub fn kind(&self, token: Token) -> Kind {
        self.span(token).kind()
    }

    /// The bytes of a value as they came in; a string's include its quotes.
    #[must_use]
    #[inline]
    pub fn raw(&self, token: Token) -> &[u8] {
        let span = self.span(token);
        let start = span.start as usize;
        &self.bytes[start..start + span.len() as usize]
    }

    /// Byte offset of a value in the text.
    #[must_use]
    pub fn start(&self, token: Token) -> usize {
        self.span(token).start as usize
    }

    /// Byte offset of a member's key in the text, behind the opening quote.
    #[must_use]
    pub fn key_start(&self, token: Token) -> usize {
        (self.span(token).start - self.fixed(token).key_back) as usize
    }

    /// Whether a string holds escapes.
    #[must_use]
    #[inline]
    pub fn is_escaped(&self, token: Token) -> bool {
        self.span(token).packed & ESCAPED != 0
    }

    /// Whether a member's key holds escapes.
    #[must_use]
    #[inline]
    pub fn is_key_escaped(&self, token: Token) -> bool {
        self.span(token).packed & KEY_ESCAPED != 0
    }

    /// The key of an object's member as it came in, without quotes; empty for array elements and the root.
    #[must_use]
    #[inline]
    pub fn key(&self, token: Token) -> &[u8] {
        let fixed = self.fixed(token);
        let start = (self.span(token).start - fixed.key_back) as usize;
        &self.bytes[start..start + fixed.key_len as usize]
    }

    /// The symbol of a member's key; [`Symbol::NONE`] for a key that the program never names.
    #[must_use]
    #[inline]
    pub fn symbol(&self, token: Token) -> Symbol {
        self.fixed(token).symbol
    }

    /// The token behind this value and all it contains.
    #[must_use]
    #[inline]
    pub fn next(&self, token: Token) -> Token {
        Token(self.fixed(token).next)
    }

    /// Length of a value in bytes as it is written.
    #[must_use]
    #[inline]
    pub fn compact_len(&self, token: Token) -> u32 {
        self.span(token).len()
    }

    /// The same of the token with this number, if there is one.
    #[inline]
    pub(crate) fn compact_len_at(&self, token: u32) -> Option<u32> {
        (token < self.tape.count).then(|| self.compact_len(Token(token)))
    }

    /// Levels of containers from this value down; 0 for a scalar.
    #[must_use]
    #[inline]
    pub fn depth(&self, token: Token) -> u16 {
        self.fixed(token).depth
    }

    /// The values directly inside a container, in order; none for a scalar.
    #[must_use]
    #[inline]
    pub fn children(&self, token: Token) -> Children<'_> {
        Children { document: self, at: token.0 + 1, end: self.fixed(token).next }
    }

    /// The member of an object whose key has `symbol`.
    #[must_use]
    #[inline]
    pub fn member(&self, object: Token, symbol: Symbol) -> Option<Token> {
        if self.kind(object) != Kind::Object {
            return None;
        }
        let end = self.fixed(object).next;
        let mut at = object.0 + 1;
        while at < end {
            let fixed = self.tape.fixed(at);
            if fixed.symbol == symbol {
                return Some(Token(at));
            }
            at = fixed.next;
        }
        None
    }

    /// The member of an object with this name, compared without escapes: the slow twin of [`member`](Self::member).
    #[must_use]
    pub fn member_named(&self, object: Token, name: &str) -> Option<Token> {
        if self.kind(object) != Kind::Object {
            return None;
        }
        self.children(object)
            .find(|&child| if self.is_key_escaped(child) { super::Unescaped::new(self.key(child)).eq_str(name) } else { self.key(child) == name.as_bytes() })
    }
}

/// Iterator over the values directly inside a container.
#[derive(Debug, Clone)]
pub struct Children<'d> {
    document: &'d Document,
    at: u32,
    end: u32,
}

impl Iterator for Children<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        if self.at >= self.end {
            return None;
        }
        let token = Token(self.at);
        self.at = self.document.tape.fixed(self.at).next;
        Some(token)
    }
}
