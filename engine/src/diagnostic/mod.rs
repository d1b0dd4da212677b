//! Findings in a definition: coded, located, collected all at once.
//!
//! A finding is data: severity, a stable [`Code`], a message, and where it is twice over, as AWS says it (a JSON pointer such as `/States/A/Type`) and as an editor needs it (line and column). Where AWS has a code or a wording for a finding, that is used. [`render`] prints one for people, [`Diagnostic::to_json`] for programs. Nothing here decides what a finding is; that is for the stages.

mod codes;
mod nearest;
mod render;

use std::fmt;

use serde_json::{Map, Value};

use crate::asl::ast::Place;

pub use codes::Code;
pub(crate) use nearest::instead;
pub use nearest::{distance, nearest};
pub use render::{Renderer, render, visible};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition is accepted.
    Warning,
}

impl Severity {
    /// The word the AWS API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
        }
    }
}

/// A place in the text of a definition, as editors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset, from 0.
    pub offset: u32,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the definition.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// What was found and what is allowed.
    pub message: String,
    /// Where, in AWS's spelling: a JSON pointer with array indices in brackets, or the JSON parser's text for broken JSON.
    pub location: Option<String>,
    /// Where in the text.
    pub position: Option<Position>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// The finding as an object with the members `severity`, `code`, `message` and, where known, `location`, `line`, `column`, `hint`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("severity".into(), self.severity.as_str().into());
        members.insert("code".into(), self.code.as_str().into());
        members.insert("message".into(), self.message.as_str().into());
        if let Some(location) = &self.location {
            members.insert("location".into(), location.as_str().into());
        }
        if let Some(position) = self.position {
            members.insert("line".into(), position.line.into());
            members.insert("column".into(), position.column.into());
        }
        if let Some(hint) = &self.hint {
            members.insert("hint".into(), hint.as_str().into());
        }
        Value::Object(members)
    }
}

/// `CODE: message at location`, the form in which AWS quotes a finding in an `InvalidDefinition` error.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        match &self.location {
            Some(location) => write!(f, " at {location}"),
            None => Ok(()),
        }
    }
}

/// Bytes between two counts of characters; a definition on one line may have thousands of findings.
const BLOCK_BYTES: usize = 1024;

/// Where the lines of a text begin and how many characters lie before each block, to turn byte offsets into positions.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t [u8],
    starts: Vec<usize>,
    blocks: Vec<usize>,
}

/// Characters in UTF-8 text: bytes that continue one are not characters of their own.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t [u8]) -> Self {
        let behind_breaks = text.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(behind_breaks).collect();
        let behind_blocks = text.chunks(BLOCK_BYTES).scan(0, |count, block| {
            *count += characters(block);
            Some(*count)
        });
        Self { text, starts, blocks: std::iter::once(0).chain(behind_blocks).collect() }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / BLOCK_BYTES;
        self.blocks.get(block).copied().unwrap_or(0) + characters(self.text.get(block * BLOCK_BYTES..offset).unwrap_or_default())
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        let column = self.characters_before(offset) - self.characters_before(start) + 1;
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position { line: narrow(line), column: narrow(column), offset: narrow(offset) }
    }

    /// A finding at a place of the text; the root's pointer is `/`.
    pub(crate) fn finding(&self, severity: Severity, code: Code, place: &Place, message: String) -> Diagnostic {
        let location = if place.pointer.is_empty() { "/".to_owned() } else { place.pointer.clone() };
        Diagnostic { severity, code, message, location: Some(location), position: Some(self.position(place.offset)), hint: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let lines = Lines::new("é\n{ü}".as_bytes());
        assert_eq!(lines.position(0), Position { line: 1, column: 1, offset: 0 });
        assert_eq!(lines.position(2), Position { line: 1, column: 2, offset: 2 });
        assert_eq!(lines.position(6), Position { line: 2, column: 3, offset: 6 });
        assert_eq!(lines.position(99).offset, 7);
    }

    #[test]
    fn columns_count_across_blocks() {
        let text = format!("{}\n{}x", "é".repeat(700), "ü".repeat(3 * BLOCK_BYTES));
        let position = Lines::new(text.as_bytes()).position(text.len() - 1);
        assert_eq!((position.line, position.column), (2, 3 * 1024 + 1));
    }
}
