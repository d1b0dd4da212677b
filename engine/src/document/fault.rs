//! Why a text is not a document, and where.

use std::fmt;

/// The kind of offence; [`FaultKind::code`] is what dead letters carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// No JSON value at all: the text is empty or only whitespace.
    Empty,
    /// The text ends inside a value.
    Truncated,
    /// A byte that the grammar does not allow here.
    Unexpected(u8),
    /// An escape sequence the grammar does not know.
    BadEscape,
    /// A control character inside a string, which must be escaped.
    ControlCharacter,
    /// A number that breaks RFC 8259 §6, such as `01` or `1.`.
    BadNumber,
    /// Bytes inside a string that are not UTF-8.
    NotUtf8,
    /// Something follows the value.
    Trailing,
    /// More nested arrays and objects than [`DOCUMENT_DEPTH_MAX`](super::DOCUMENT_DEPTH_MAX).
    TooDeep,
    /// More bytes than this bound: [`DOCUMENT_BYTES_MAX`](super::DOCUMENT_BYTES_MAX), or the payload limit of an execution's input.
    TooLarge(u32),
}

impl FaultKind {
    /// The stable code of this kind, in snake case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Truncated | Self::Unexpected(_) | Self::BadEscape | Self::ControlCharacter | Self::BadNumber | Self::Trailing => "malformed_json",
            Self::NotUtf8 => "invalid_utf8",
            Self::TooDeep => "too_deep",
            Self::TooLarge(_) => "too_large",
        }
    }
}

/// An offence with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Byte offset into the text, from 0.
    pub offset: u32,
}

impl Fault {
    /// A fault of `kind` at byte `offset`.
    #[must_use]
    pub fn new(kind: FaultKind, offset: usize) -> Self {
        Self { kind, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }

    /// The fault of a text that has more bytes than `bound`.
    #[must_use]
    pub fn too_large(bound: usize) -> Self {
        Self::new(FaultKind::TooLarge(u32::try_from(bound).unwrap_or(u32::MAX)), 0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match self.kind {
            FaultKind::Empty => write!(f, "no JSON value: the text is empty"),
            FaultKind::Truncated => write!(f, "the text ends inside a value at byte {at}"),
            FaultKind::Unexpected(byte) if byte.is_ascii_graphic() => write!(f, "unexpected character '{}' at byte {at}", char::from(byte)),
            FaultKind::Unexpected(byte) => write!(f, "unexpected byte 0x{byte:02x} at byte {at}"),
            FaultKind::BadEscape => write!(f, "unknown escape sequence in a string at byte {at}"),
            FaultKind::ControlCharacter => write!(f, "unescaped control character in a string at byte {at}"),
            FaultKind::BadNumber => write!(f, "malformed number at byte {at}"),
            FaultKind::NotUtf8 => write!(f, "string is not valid UTF-8 at byte {at}"),
            FaultKind::Trailing => write!(f, "text goes on after the JSON value at byte {at}"),
            FaultKind::TooDeep => write!(f, "nested deeper than {} levels at byte {at}", super::DOCUMENT_DEPTH_MAX),
            FaultKind::TooLarge(bound) => write!(f, "text is larger than {bound} bytes"),
        }
    }
}

impl std::error::Error for Fault {}
