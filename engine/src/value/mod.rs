//! The JSON data model of a running execution.
//!
//! A [`Value`] is 16 bytes, `Copy`, and means something only together with the [`Memory`] of its slot and the constants of its program, which a [`View`] brings together. It refers to memory by offset, never by pointer, so a slot's memory can grow, move and be compacted. Every value knows its compact length in bytes and its depth from the moment it is made, so limits are checked without a walk.

mod equal;
mod memory;
pub(crate) mod number;
pub(crate) mod time;
mod view;
mod write;

pub(crate) use memory::{Memory, Quota};
pub(crate) use view::{Member, View};
pub(crate) use write::write_integer;

use crate::document::{Kind, Symbol};

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

/// What a value is and how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Null,
    False,
    True,
    /// A computed 64-bit integer in `a` (low half) and `b`.
    Integer,
    /// Number text of `b` bytes at `a` in `source`.
    Number,
    /// String text, quotes included, of `b` bytes at `a` in `source`.
    String,
    /// The array at token `a` of document `source`.
    TokenArray,
    /// The object at token `a` of document `source`.
    TokenObject,
    /// `b` cells from `a`.
    Array,
    /// `b` pairs of key and value cells from `a`.
    Object,
    /// A base object at cell `a`, then `b` pairs that replace or follow its members.
    Overlay,
    /// A key: see [`Value::key`].
    Key,
    /// Left behind by compaction in the old memory only: the contents now start at `a`.
    Moved,
}

/// The text holds escapes.
const ESCAPED: u8 = 1;

/// Token of a key that replaces no member of an overlay's base.
const NO_TOKEN: u32 = u32::MAX;

/// A JSON value, or a key, inside one slot.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Value {
    tag: Tag,
    flags: u8,
    /// The source of text and tokens; the depth of computed containers; the symbol of a key.
    low: u16,
    a: u32,
    b: u32,
    /// Compact length in bytes, saturating; of a key, its source in the low half.
    size: u32,
}

const _: () = assert!(size_of::<Value>() == 16);

impl Value {
    pub(crate) const NULL: Self = Self::simple(Tag::Null, 4);

    const fn simple(tag: Tag, size: u32) -> Self {
        Self { tag, flags: 0, low: 0, a: 0, b: 0, size }
    }

    pub(crate) const fn boolean(value: bool) -> Self {
        if value { Self::simple(Tag::True, 4) } else { Self::simple(Tag::False, 5) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the two halves of the integer are stored apart")]
    pub(crate) fn integer(value: i64) -> Self {
        let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1 + u32::from(value < 0);
        Self { tag: Tag::Integer, flags: 0, low: 0, a: value as u32, b: (value >> 32) as u32, size: digits }
    }

    #[expect(clippy::cast_possible_wrap, reason = "the high half carries the sign")]
    pub(crate) fn as_integer(self) -> i64 {
        i64::from(self.b as i32) << 32 | i64::from(self.a)
    }

    #[inline]
    pub(crate) fn number(source: Source, start: u32, len: u32) -> Self {
        Self { tag: Tag::Number, flags: 0, low: source.0, a: start, b: len, size: len }
    }

    /// A string whose text, quotes included, is `len` bytes at `start`.
    #[inline]
    pub(crate) fn string(source: Source, start: u32, len: u32, escaped: bool) -> Self {
        Self { tag: Tag::String, flags: u8::from(escaped), low: source.0, a: start, b: len, size: len }
    }

    #[inline]
    fn token(tag: Tag, source: Source, token: u32, size: u32) -> Self {
        Self { tag, flags: 0, low: source.0, a: token, b: 0, size }
    }

    /// A computed container of `len` elements or members, whose cells start at `start`.
    fn cells(tag: Tag, depth: u16, start: u32, len: u32, size: u32) -> Self {
        Self { tag, flags: 0, low: depth, a: start, b: len, size }
    }

    /// An object of `len` pairs from cell `start`, whose depth and compact length are known.
    #[inline]
    pub(crate) fn object(depth: u16, start: u32, len: u32, size: u32) -> Self {
        Self::cells(Tag::Object, depth, start, len, size)
    }

    /// A key with its text in `source`, without quotes; `symbol` is [`Symbol::NONE`] when the program does not name it.
    fn key(source: Source, start: u32, len: u32, symbol: Symbol, escaped: bool) -> Self {
        Self { tag: Tag::Key, flags: u8::from(escaped), low: symbol.0, a: start, b: len, size: u32::from(source.0) }
    }

    /// A key that the program names; in an overlay, `replaces` is the token of the base's member whose place it takes.
    #[inline]
    pub(crate) fn program_key(symbol: Symbol, replaces: Option<u32>) -> Self {
        Self { tag: Tag::Key, flags: 0, low: symbol.0, a: replaces.unwrap_or(NO_TOKEN), b: 0, size: u32::from(Source::KEY.0) }
    }

    #[inline]
    fn key_symbol(self) -> Symbol {
        Symbol(self.low)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a key's size field holds a 16-bit source")]
    fn key_source(self) -> Source {
        Source(self.size as u16)
    }

    #[inline]
    pub(crate) fn tag(self) -> Tag {
        self.tag
    }

    #[inline]
    fn source(self) -> Source {
        Source(self.low)
    }

    #[inline]
    fn is_escaped(self) -> bool {
        self.flags & ESCAPED != 0
    }

    /// Compact length in bytes, saturating.
    #[inline]
    pub(crate) fn size(self) -> u32 {
        self.size
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.tag {
            Tag::Null | Tag::Key | Tag::Moved => Kind::Null,
            Tag::False => Kind::False,
            Tag::True => Kind::True,
            Tag::Integer | Tag::Number => Kind::Number,
            Tag::String => Kind::String,
            Tag::TokenArray | Tag::Array => Kind::Array,
            Tag::TokenObject | Tag::Object | Tag::Overlay => Kind::Object,
        }
    }
}
