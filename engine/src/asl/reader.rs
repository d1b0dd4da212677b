//! The definition's document with the findings so far: typed reading of values, each misfit reported where it stands.

use crate::diagnostic::{Code, Diagnostic, Lines, Severity, instead, nearest};
use crate::document::{Document, Kind, Token, Unescaped};
use crate::hir::Literal;

use super::ast::{Located, Place};
use super::filter::is_number;
use super::template::looks_computed;

/// Characters of a value that a hint repeats.
const EXCERPT_CHARS_MAX: usize = 60;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) token: Token,
    pub(super) place: Place,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Byte offset of the key.
    pub(super) key_offset: usize,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) struct Reader<'d> {
    document: &'d Document,
    lines: Lines<'d>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The variables that the present state reads, with the places.
    pub(super) variables: Vec<Located<String>>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self { document, lines: Lines::new(document.text()), diagnostics: Vec::new(), variables: Vec::new() }
    }

    pub(super) fn root(&self) -> Node {
        let token = self.document.root();
        Node { token, place: Place { pointer: String::new(), offset: self.document.start(token) } }
    }

    pub(super) fn kind(&self, node: &Node) -> Kind {
        self.document.kind(node.token)
    }

    pub(super) fn depth(&self, node: &Node) -> u16 {
        self.document.depth(node.token)
    }

    // Findings.

    fn report(&mut self, severity: Severity, code: Code, place: &Place, message: String) -> &mut Diagnostic {
        self.diagnostics.push(self.lines.finding(severity, code, place, message));
        self.diagnostics.last_mut().expect("a finding was pushed just now")
    }

    pub(super) fn error(&mut self, code: Code, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.report(Severity::Error, code, place, message.into())
    }

    /// An error of AWS's most general code.
    pub(super) fn schema(&mut self, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.error(Code::SchemaValidationFailed, place, message)
    }

    pub(super) fn warning(&mut self, code: Code, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.report(Severity::Warning, code, place, message.into())
    }

    /// A member that its object may not have; those that it may have are `allowed`.
    pub(super) fn unsupported(&mut self, parent: &Place, member: &Member, allowed: &[&str]) {
        let place = Place { pointer: parent.pointer.clone(), offset: member.key_offset };
        self.schema(&place, format!("Field '{}' is not supported", member.name)).hint = Some(instead(&member.name, allowed, "fields here"));
    }

    /// A value of another type than `wanted`.
    fn unexpected(&mut self, node: &Node, wanted: &str) {
        self.schema(&node.place, format!("Expected value of type {wanted}")).hint = Some(self.found(node));
    }

    /// A hint at what a value is.
    pub(super) fn found(&self, node: &Node) -> String {
        match self.kind(node) {
            Kind::Object => "found an object".to_owned(),
            Kind::Array => "found an array".to_owned(),
            Kind::String => format!("found the string {}", self.excerpt(node)),
            _ => format!("found {}", self.excerpt(node)),
        }
    }

    /// The text of a scalar as it stands in the definition, shortened.
    fn excerpt(&self, node: &Node) -> String {
        let text = String::from_utf8_lossy(self.document.raw(node.token));
        let shown: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
        if shown.len() < text.len() { format!("{shown}…") } else { shown }
    }

    // Structure.

    /// Members with repeated names as they stand; none, and a finding, if the value is no object.
    pub(super) fn all_members(&mut self, node: &Node) -> Vec<Member> {
        if self.kind(node) != Kind::Object {
            self.unexpected(node, "Object");
            return Vec::new();
        }
        let document = self.document;
        let members = document.children(node.token).map(|token| {
            let name = Unescaped::new(document.key(token)).to_string();
            let place = Place { pointer: format!("{}/{name}", node.place.pointer), offset: document.start(token) };
            Member { name, key_offset: document.key_start(token).saturating_sub(1), node: Node { token, place } }
        });
        members.collect()
    }

    /// Members with distinct names: the last value in the first position, each repetition reported.
    pub(super) fn members(&mut self, node: &Node) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for member in self.all_members(node) {
            match seen.get(&member.name) {
                Some(&index) => {
                    let place = Place { pointer: node.place.pointer.clone(), offset: member.key_offset };
                    self.warning(Code::DuplicateField, &place, format!("Field '{}' stands twice, the last one counts", member.name));
                    let slot: &mut Member = &mut members[index];
                    slot.node = member.node;
                }
                None => {
                    seen.insert(member.name.clone(), members.len());
                    members.push(member);
                }
            }
        }
        members
    }

    /// Elements of an array; none, and a finding, if the value is no array.
    pub(super) fn elements(&mut self, node: &Node) -> Vec<Node> {
        if self.kind(node) != Kind::Array {
            self.unexpected(node, "Array");
            return Vec::new();
        }
        self.children(node)
    }

    /// Values directly inside an array.
    pub(super) fn children(&self, node: &Node) -> Vec<Node> {
        let place = |index: usize, token: Token| Place { pointer: format!("{}[{index}]", node.place.pointer), offset: self.document.start(token) };
        self.document.children(node.token).enumerate().map(|(index, token)| Node { token, place: place(index, token) }).collect()
    }

    /// Elements of an array that may not be empty.
    pub(super) fn some_elements(&mut self, node: &Node) -> Vec<Node> {
        let elements = self.elements(node);
        if elements.is_empty() && self.kind(node) == Kind::Array {
            self.schema(&node.place, "Value cannot be empty");
        }
        elements
    }

    // Scalars.

    pub(super) fn is_null(&self, node: &Node) -> bool {
        self.kind(node) == Kind::Null
    }

    /// The text of a string without a finding if it is none.
    pub(super) fn text_of(&self, node: &Node) -> Option<String> {
        let raw = self.document.raw(node.token);
        (self.kind(node) == Kind::String).then(|| Unescaped::new(raw.get(1..raw.len() - 1).unwrap_or_default()).to_string())
    }

    pub(super) fn string(&mut self, node: &Node) -> Option<String> {
        let text = self.text_of(node);
        if text.is_none() {
            self.unexpected(node, "String");
        }
        text
    }

    /// A `Comment`, wherever it stands: a string that nobody reads.
    pub(super) fn comment(&mut self, node: &Node) {
        self.string(node);
    }

    pub(super) fn located_string(&mut self, node: &Node) -> Option<Located<String>> {
        self.string(node).map(|value| Located { value, place: node.place.clone() })
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match self.kind(node) {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => {
                self.unexpected(node, "Boolean");
                None
            }
        }
    }

    /// The text of a number.
    pub(super) fn number(&mut self, node: &Node) -> Option<String> {
        if self.kind(node) == Kind::Number {
            let text = String::from_utf8_lossy(self.document.raw(node.token)).into_owned();
            debug_assert!(is_number(&text), "the scanner let {text} through");
            return Some(text);
        }
        self.unexpected(node, "Number");
        None
    }

    /// A whole number within bounds; fractions and exponents are refused whatever their value (spec/asl.md 1.4).
    pub(super) fn integer(&mut self, node: &Node, least: u32, most: u32) -> Option<u32> {
        let text = if self.kind(node) == Kind::Number { String::from_utf8_lossy(self.document.raw(node.token)).into_owned() } else { String::new() };
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.unexpected(node, "Integer");
            return None;
        }
        // Numbers too long for 128 bits are out of any bounds, on the side of their sign.
        let value = text.parse::<i128>().unwrap_or_else(|_| if text.starts_with('-') { i128::MIN } else { i128::MAX });
        if value < i128::from(least) {
            self.schema(&node.place, format!("Minimum value is {least}")).hint = Some(self.found(node));
        } else if value > i128::from(most) {
            self.schema(&node.place, format!("Maximum value is {most}")).hint = Some(self.found(node));
        }
        u32::try_from(value).ok().filter(|value| (least..=most).contains(value))
    }

    /// One of a few words.
    pub(super) fn word(&mut self, node: &Node, words: &[&str]) -> Option<usize> {
        let text = self.string(node)?;
        let index = words.iter().position(|word| *word == text);
        if index.is_none() {
            let hint = nearest(&text, words).map(|near| format!("did you mean '{near}'?"));
            self.schema(&node.place, format!("Value should be one of the following: [{}]", words.join(", "))).hint = hint;
        }
        index
    }

    /// The value as compact text in the spelling of the definition.
    pub(super) fn literal(&self, node: &Node) -> Literal {
        let raw = self.document.raw(node.token);
        if self.document.is_compact() {
            return Literal(String::from_utf8_lossy(raw).into_owned());
        }
        let mut compact = Vec::with_capacity(raw.len());
        let (mut in_string, mut escaped) = (false, false);
        for &byte in raw {
            if in_string {
                (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            } else if byte.is_ascii_whitespace() {
                continue;
            } else {
                in_string = byte == b'"';
            }
            compact.push(byte);
        }
        Literal(String::from_utf8_lossy(&compact).into_owned())
    }

    /// Members below `node` whose values look computed but whose names do not end in `.$`, with the values' offsets.
    pub(super) fn literal_paths(&self, node: &Node) -> Vec<(String, usize)> {
        let tokens = (node.token.0 + 1..self.document.next(node.token).0).map(Token);
        let strings = tokens.filter(|&token| self.document.kind(token) == Kind::String && matches!(self.document.raw(token), [_, b'$' | b'S', ..]));
        strings
            .filter_map(|token| {
                let key = Unescaped::new(self.document.key(token)).to_string();
                let raw = self.document.raw(token);
                let text = Unescaped::new(raw.get(1..raw.len() - 1).unwrap_or_default()).to_string();
                (!key.is_empty() && !key.ends_with(".$") && looks_computed(&text)).then(|| (key, self.document.start(token)))
            })
            .collect()
    }

    /// Whether a key below `node` ends in `.$`: the tokens inside a value lie behind it without a gap.
    pub(super) fn has_computed_field(&self, node: &Node) -> bool {
        (node.token.0 + 1..self.document.next(node.token).0).any(|index| {
            let token = Token(index);
            let key = self.document.key(token);
            if self.document.is_key_escaped(token) { Unescaped::new(key).to_string().ends_with(".$") } else { key.ends_with(b".$") }
        })
    }
}
