//! The JSON data model of a running execution.
//!
//! A [`Value`] is 16 bytes, `Copy`, and means something only together with the [`Memory`] of its slot and the constants of its program, which a [`View`] brings together. It refers to memory by offset, never by pointer, so a slot's memory can grow, move and be compacted. Every value knows its compact length in bytes and its depth from the moment it is made, so limits are checked without a walk.

mod equal;
mod memory;
pub(crate) mod number;
mod overlay;
mod pen;
pub(crate) mod time;
mod view;
mod write;

use std::fmt;
use std::num::NonZeroU64;

pub(crate) use memory::{Filling, Memory, Numbered, Quota};
pub(crate) use overlay::Name;
pub(crate) use view::{Member, View, constant_value};
pub(crate) use write::write_integer;

use crate::document::{DOCUMENT_DEPTH_MAX, Kind, SPAN_ESCAPED, Span, Symbol, Symbols};

/// Where the text of a value or key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Source(u16);

impl Source {
    /// The constants of the program.
    pub(crate) const CONSTANTS: Self = Self(u16::MAX);
    /// Text computed in this execution, in [`Memory`].
    pub(crate) const COMPUTED: Self = Self(u16::MAX - 1);
    /// A key that the program names: its text is pre-rendered in the program.
    pub(crate) const KEY: Self = Self(u16::MAX - 2);
    /// The record: the first document of every slot.
    pub(crate) const RECORD: Self = Self(0);
    /// Largest number of documents in one slot.
    pub(crate) const DOCUMENTS_MAX: usize = u16::MAX as usize - 2;

    #[inline]
    pub(crate) fn document(index: usize) -> Self {
        debug_assert!(index < Self::DOCUMENTS_MAX, "Memory bounds its documents");
        #[expect(clippy::cast_possible_truncation, reason = "Memory bounds its documents below DOCUMENTS_MAX")]
        Self(index as u16)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a value is and how it is stored. The three lowest bits are its [`Kind`], so that of a token's value is known without a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Null = 0x80,
    False = 0x81,
    True = 0x82,
    /// Number text of `b` bytes at `a` in `source`.
    Number = 0x83,
    /// String text, quotes included, of `b` bytes at `a` in `source`.
    String = 0x84,
    /// The array at token `a` of document `source`.
    TokenArray = 0x85,
    /// The object at token `a` of document `source`.
    TokenObject = 0x86,
    /// A computed 64-bit integer in `a` (low half) and `b`.
    Integer = 0x8b,
    /// `b` cells from `a`.
    Array = 0x8d,
    /// `b` pairs of key and value cells from `a`.
    Object = 0x8e,
    /// A base object at cell `a`, then `b` pairs that replace or follow its members.
    Overlay = 0x96,
    /// A key: see [`Value::key`].
    Key = 0xa0,
    /// Left behind by compaction in the old memory only: the contents now start at `a`.
    Moved = 0xc0,
}

/// The text holds escapes.
const ESCAPED: u64 = 1 << 8;

/// A key whose text in the program's table it tells.
const RENDERED: u64 = 1 << 10;

/// A container of more than [`DOCUMENT_DEPTH_MAX`] levels.
const DEEP: u64 = 1 << 9;

/// Token of a key that replaces no member of an overlay's base.
const NO_TOKEN: u32 = u32::MAX;

/// A JSON value, or a key, inside one slot: two words, which travel in registers.
///
/// | word | bits | field |
/// |---|---|---|
/// | `head` | 0–7 | the [`Tag`], never 0, so that `Option<Value>` takes no more room than a value |
/// | | 8–15 | flags |
/// | | 16–31 | `low`: the source of text; the depth of containers; the symbol of a key |
/// | | 32–63 | `a` |
/// | `tail` | 0–31 | `b`; of a token, its source |
/// | | 32–63 | compact length in bytes, saturating; of a key, its source in the low half, of a program's key the length of its text in the high half |
#[derive(Clone, Copy)]
pub(crate) struct Value {
    head: NonZeroU64,
    tail: u64,
}

const _: () = assert!(size_of::<Value>() == 16 && size_of::<Option<Value>>() == 16);

/// A key that is looked up when it is written.
#[inline(never)]
fn rendered_long(symbols: &Symbols, symbol: Symbol) -> &[u8] {
    symbols.rendered(symbol)
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, low, a, b, size) = (self.tag(), self.low(), self.a(), self.b(), self.size());
        f.debug_struct("Value").field("tag", &tag).field("low", &low).field("a", &a).field("b", &b).field("size", &size).finish()
    }
}

impl Value {
    pub(crate) const NULL: Self = Self::new(Tag::Null, 0, 0, 0, 0, 4);

    #[inline]
    const fn new(tag: Tag, flags: u64, low: u16, a: u32, b: u32, size: u32) -> Self {
        let head = tag as u64 | flags | (low as u64) << 16 | (a as u64) << 32;
        match NonZeroU64::new(head) {
            Some(head) => Self { head, tail: b as u64 | (size as u64) << 32 },
            None => unreachable!(),
        }
    }

    #[inline]
    pub(crate) const fn boolean(value: bool) -> Self {
        if value { Self::new(Tag::True, 0, 0, 0, 0, 4) } else { Self::new(Tag::False, 0, 0, 0, 0, 5) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the two halves of the integer are stored apart")]
    pub(crate) fn integer(value: i64) -> Self {
        let absolute = value.unsigned_abs();
        let digits = match absolute {
            0..10 => 1,
            10..100 => 2,
            100..1000 => 3,
            _ => absolute.ilog10() + 1,
        };
        let digits = digits + u32::from(value < 0);
        Self::new(Tag::Integer, 0, 0, value as u32, (value >> 32) as u32, digits)
    }

    #[inline]
    #[expect(clippy::cast_possible_wrap, reason = "the high half carries the sign")]
    pub(crate) fn as_integer(self) -> i64 {
        i64::from(self.b() as i32) << 32 | i64::from(self.a())
    }

    /// A string whose text, quotes included, is `len` bytes at `start`.
    #[inline]
    pub(crate) fn string(source: Source, start: u32, len: u32, escaped: bool) -> Self {
        Self::new(Tag::String, if escaped { ESCAPED } else { 0 }, source.0, start, len, len)
    }

    /// The scalar of a span, whatever its kind: where its text lies, even where the tag says it all.
    #[inline]
    fn scalar(source: Source, span: Span) -> Self {
        debug_assert!(span.kind() < Kind::Array, "containers are values of their own");
        let head = Tag::Null as u64 | u64::from(span.packed & 0x7) | u64::from(span.packed & SPAN_ESCAPED) << 4;
        let head = head | u64::from(source.0) << 16 | u64::from(span.start) << 32;
        match NonZeroU64::new(head) {
            Some(head) => Self { head, tail: u64::from(span.len()) << 32 | u64::from(span.len()) },
            None => unreachable!("the tag is never 0"),
        }
    }

    /// The scalar of a span of the record.
    #[inline]
    pub(crate) fn of_record(span: Span) -> Self {
        Self::scalar(Source::RECORD, span)
    }

    /// The container at a token, `depth` levels deep.
    #[inline]
    fn token(tag: Tag, source: Source, token: u32, depth: u16, size: u32) -> Self {
        Self::new(tag, 0, depth, token, u32::from(source.0), size)
    }

    /// A computed container of `len` elements or members, whose cells start at `start`.
    #[inline]
    fn cells(tag: Tag, depth: u16, start: u32, len: u32, size: u32) -> Self {
        Self::new(tag, if depth > DOCUMENT_DEPTH_MAX { DEEP } else { 0 }, depth, start, len, size)
    }

    /// An object of `len` pairs from cell `start`, whose depth and compact length are known.
    #[inline]
    pub(crate) fn object(depth: u16, start: u32, len: u32, size: u32) -> Self {
        Self::cells(Tag::Object, depth, start, len, size)
    }

    /// An object that has had neither place nor length, with its cells from `start` and `size` bytes, or as many as can be told.
    #[inline]
    pub(crate) fn filled_in(self, start: u32, size: u64) -> Self {
        debug_assert!(self.tag() == Tag::Object && self.a() == 0 && self.size() == 0, "both are added to what is 0");
        Self { head: self.head | u64::from(start) << 32, tail: self.tail | size.min(u64::from(u32::MAX)) << 32 }
    }

    /// A key with its text in `source`, without quotes; `symbol` is [`Symbol::NONE`] when the program does not name it.
    #[inline]
    fn key(source: Source, start: u32, len: u32, symbol: Symbol, escaped: bool) -> Self {
        Self::new(Tag::Key, if escaped { ESCAPED } else { 0 }, symbol.0, start, len, u32::from(source.0))
    }

    /// A key that the program names; in an overlay, `replaces` is the token of the base's member whose place it takes.
    #[inline]
    pub(crate) fn program_key(symbol: Symbol, replaces: Option<u32>) -> Self {
        Self::new(Tag::Key, 0, symbol.0, replaces.unwrap_or(NO_TOKEN), 0, u32::from(Source::KEY.0))
    }

    /// A key that the program names, and where its text lies: what templates and result paths write. Keys too long for the field are looked up when they are written.
    pub(crate) fn rendered_key(symbol: Symbol, symbols: &Symbols) -> Self {
        let (start, len) = symbols.rendered_place(symbol);
        match u16::try_from(len) {
            Ok(len) => Self::new(Tag::Key, RENDERED, symbol.0, NO_TOKEN, start, u32::from(Source::KEY.0) | u32::from(len) << 16),
            Err(_) => Self::program_key(symbol, None),
        }
    }

    /// Whether a key tells where its text lies in the program's table.
    #[inline]
    fn is_rendered(self) -> bool {
        self.head.get() & RENDERED != 0
    }

    /// Length of such a key with quotes and colon.
    #[inline]
    fn rendered_len(self) -> u32 {
        self.size() >> 16
    }

    /// The text of a program's key with quotes and colon.
    #[inline]
    fn rendered(self, symbols: &Symbols) -> &[u8] {
        match self.size() >> 16 {
            0 => rendered_long(symbols, self.key_symbol()),
            len => symbols.rendered_at(self.b(), len),
        }
    }

    /// The symbol of a key.
    #[inline]
    pub(crate) fn key_symbol(self) -> Symbol {
        Symbol(self.low())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a key's size field holds a 16-bit source")]
    fn key_source(self) -> Source {
        Source(self.size() as u16)
    }

    #[inline]
    #[expect(unsafe_code, reason = "tags are read from the word that holds them without a table: every op reads some")]
    pub(crate) fn tag(self) -> Tag {
        let byte = self.head.get().to_le_bytes()[0];
        debug_assert!(matches!(byte, 0x80..=0x86 | 0x8b | 0x8d | 0x8e | 0x96 | 0xa0 | 0xc0), "{byte:#x} is no Tag");
        // SAFETY: `head` is made by `new`, whose lowest byte is a `Tag`, and by `scalar`, whose lowest byte is that of the scalar `Tag` of the span's kind; nothing else of either reaches that byte, and `with_a` leaves it alone.
        unsafe { std::mem::transmute::<u8, Tag>(byte) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "16 bits of the word are this field")]
    fn low(self) -> u16 {
        (self.head.get() >> 16) as u16
    }

    #[inline]
    fn a(self) -> u32 {
        (self.head.get() >> 32) as u32
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of the word is this field")]
    fn b(self) -> u32 {
        self.tail as u32
    }

    /// The same value with its contents at `a`.
    #[inline]
    fn with_a(self, a: u32) -> Self {
        let rest = self.head.get() & u64::from(u32::MAX);
        match NonZeroU64::new(rest | u64::from(a) << 32) {
            Some(head) => Self { head, ..self },
            None => unreachable!("the tag is never 0"),
        }
    }

    /// The source of a string's or number's text.
    #[inline]
    fn source(self) -> Source {
        debug_assert!(self.kind() < Kind::Array, "containers have their source elsewhere");
        Source(self.low())
    }

    /// The document of a token.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a token's field `b` holds a 16-bit source")]
    fn token_source(self) -> Source {
        debug_assert!(matches!(self.tag(), Tag::TokenArray | Tag::TokenObject), "other values have their source elsewhere");
        Source(self.b() as u16)
    }

    /// Whether it is the record itself, an object.
    #[inline(always)]
    fn is_record(self) -> bool {
        // Tag and token in one word, the source in the other.
        self.head.get() & (u64::from(u32::MAX) << 32 | 0xff) == Tag::TokenObject as u64 && self.b() == u32::from(Source::RECORD.0)
    }

    /// Levels of containers from this value down; 0 for a scalar.
    #[inline]
    pub(crate) fn depth(self) -> u16 {
        if self.kind() >= Kind::Array { self.low() } else { 0 }
    }

    /// A computed container with another length, and at least `depth` levels deep.
    #[inline]
    fn resized(self, size: u32, depth: u16) -> Self {
        if depth <= self.low() {
            return Self { tail: u64::from(self.b()) | u64::from(size) << 32, ..self };
        }
        Self::cells(self.tag(), depth, self.a(), self.b(), size)
    }

    /// Whether a string's text, or a key, holds escapes.
    #[inline]
    pub(crate) fn is_escaped(self) -> bool {
        self.head.get() & ESCAPED != 0
    }

    /// Compact length in bytes, saturating.
    #[inline]
    pub(crate) fn size(self) -> u32 {
        (self.tail >> 32) as u32
    }

    /// Whether it has at most `bytes_max` bytes and is no deeper than a document may be: two tests of what was fixed when it was made.
    #[inline]
    pub(crate) fn is_within(self, bytes_max: u32) -> bool {
        self.size() <= bytes_max && self.head.get() & DEEP == 0
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::numbered(self.head.get() & 0x7)
    }
}
