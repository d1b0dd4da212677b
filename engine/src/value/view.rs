//! Reading values: the slot's memory and the program's constants brought together.

use super::memory::Memory;
use super::{Source, Tag, Value};
use crate::document::{Document, Kind, Symbol, Symbols, Token};

/// What is needed to make sense of a [`Value`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'v> {
    pub(super) memory: &'v Memory,
    pub(super) constants: &'v Document,
    pub(super) symbols: &'v Symbols,
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(super) key: Value,
    pub(crate) value: Value,
}

/// The value of one of a program's constants; a number that is spelled as an integer is written is one, so that nothing reads its text again.
pub(crate) fn constant_value(constants: &Document, token: Token) -> Value {
    let value = token_value(constants, Source::CONSTANTS, token);
    if value.tag() == Tag::Number
        && let Some(integer) = super::number::small_integer(constants.raw(token))
        && super::write::integer_text(integer, &mut [0; 20]) == constants.raw(token)
    {
        return Value::integer(integer);
    }
    value
}

/// The value of a token.
#[inline(always)]
pub(super) fn token_value(document: &Document, source: Source, token: Token) -> Value {
    let span = document.span(token);
    if span.kind() >= Kind::Array { container_value(document, source, token, span.kind()) } else { Value::scalar(source, span) }
}

#[inline]
fn container_value(document: &Document, source: Source, token: Token, kind: Kind) -> Value {
    let tag = if kind == Kind::Array { Tag::TokenArray } else { Tag::TokenObject };
    Value::token(tag, source, token.0, document.depth(token), document.compact_len(token))
}

impl Memory {
    /// The member of an object with the name of `symbol`, as [`View::member`] finds it, for reads of one step: small enough to be called rather than copied.
    #[inline(never)]
    pub(crate) fn member(&self, constants: &Document, object: Value, symbol: Symbol) -> Option<Value> {
        let mut object = object;
        if object.tag() == Tag::Overlay {
            let first = object.a() as usize + 1;
            if let Some(found) = find(&self.cells[first..first + object.b() as usize * 2], symbol) {
                return Some(found);
            }
            object = self.cells[object.a() as usize];
        }
        match object.tag() {
            Tag::TokenObject => {
                let source = object.token_source();
                let document = self.documents.get(source.index()).unwrap_or(constants);
                document.member(Token(object.a()), symbol).map(|token| token_value(document, source, token))
            }
            Tag::Object => find(&self.cells[object.a() as usize..][..object.b() as usize * 2], symbol),
            _ => None,
        }
    }
}

/// The value behind the key with this symbol, among pairs.
#[inline]
fn find(pairs: &[Value], symbol: Symbol) -> Option<Value> {
    pairs.as_chunks::<2>().0.iter().find(|[key, _]| key.key_symbol() == symbol).map(|[_, value]| *value)
}

impl<'v> View<'v> {
    #[inline]
    pub(crate) fn new(memory: &'v Memory, constants: &'v Document, symbols: &'v Symbols) -> Self {
        Self { memory, constants, symbols }
    }

    /// The program's constant at `token`.
    #[inline]
    pub(crate) fn constant(self, token: Token) -> Value {
        token_value(self.constants, Source::CONSTANTS, token)
    }

    #[inline]
    pub(super) fn document(self, source: Source) -> &'v Document {
        // No document of the slot has the number that stands for the constants.
        self.memory.documents.get(source.index()).unwrap_or(self.constants)
    }

    /// Bytes from `start` in `source`.
    #[inline]
    fn bytes(self, source: Source, start: u32, len: u32) -> &'v [u8] {
        let all = match self.memory.documents.get(source.index()) {
            Some(document) => document.text(),
            None if source == Source::COMPUTED => self.memory.text.as_slice(),
            None => self.constants.text(),
        };
        &all[start as usize..(start + len) as usize]
    }

    /// A cell of the slot's memory.
    pub(crate) fn memory_cell(self, cell: u32) -> Value {
        self.memory.cell(cell)
    }

    /// The text of a string or number as it lies, a string's with its quotes; empty for any other value.
    #[inline]
    pub(crate) fn text(self, value: Value) -> &'v [u8] {
        match value.tag() {
            Tag::String | Tag::Number => self.bytes(value.source(), value.a(), value.b()),
            _ => &[],
        }
    }

    /// The text of a key that is not one of the program's, without quotes, as it lies.
    pub(super) fn key_text(self, key: Value) -> &'v [u8] {
        self.bytes(key.key_source(), key.a(), key.b())
    }

    /// The inside of a string as it lies, and whether it holds escapes; `None` for any other value.
    #[inline]
    pub(crate) fn string(self, value: Value) -> Option<(&'v [u8], bool)> {
        if value.tag() != Tag::String {
            return None;
        }
        Some((self.bytes(value.source(), value.a() + 1, value.b() - 2), value.is_escaped()))
    }

    /// The name of a member, without quotes, as it lies, and whether it holds escapes.
    pub(crate) fn key(self, member: Member) -> (&'v [u8], bool) {
        let key = member.key;
        if key.key_source() == Source::KEY {
            let quoted = self.symbols.quoted(key.key_symbol());
            return (&quoted[1..quoted.len() - 1], self.symbols.is_escaped(key.key_symbol()));
        }
        (self.key_text(key), key.is_escaped())
    }

    /// The member of an object with the name of `symbol`.
    #[inline]
    pub(crate) fn member(self, object: Value, symbol: Symbol) -> Option<Value> {
        let mut object = object;
        if object.tag() == Tag::Overlay {
            if let Some(found) = self.pair(object.a() + 1, object.b(), symbol) {
                return Some(found);
            }
            // The base of an overlay is no overlay.
            object = self.memory.cell(object.a());
        }
        match object.tag() {
            Tag::TokenObject => {
                let document = self.document(object.token_source());
                document.member(Token(object.a()), symbol).map(|token| token_value(document, object.token_source(), token))
            }
            Tag::Object => self.pair(object.a(), object.b(), symbol),
            _ => None,
        }
    }

    #[inline]
    fn pair(self, start: u32, count: u32, symbol: Symbol) -> Option<Value> {
        find(&self.memory.cells[start as usize..(start + count * 2) as usize], symbol)
    }

    /// Number of elements or members; 0 for a scalar.
    pub(crate) fn len(self, value: Value) -> usize {
        match value.tag() {
            Tag::TokenArray | Tag::TokenObject => self.document(value.token_source()).children(Token(value.a())).count(),
            Tag::Array | Tag::Object => value.b() as usize,
            Tag::Overlay => self.members(value).count(),
            _ => 0,
        }
    }

    /// Element `index` of an array.
    pub(crate) fn element(self, array: Value, index: usize) -> Option<Value> {
        match array.tag() {
            Tag::TokenArray => {
                let document = self.document(array.token_source());
                document.children(Token(array.a())).nth(index).map(|token| token_value(document, array.token_source(), token))
            }
            Tag::Array if index < array.b() as usize => Some(self.memory.cells[array.a() as usize + index]),
            _ => None,
        }
    }

    /// The elements of an array, in order; none for any other value.
    pub(crate) fn elements(self, array: Value) -> Elements<'v> {
        match array.tag() {
            Tag::TokenArray => {
                let document = self.document(array.token_source());
                Elements { view: self, state: ElementState::Tokens(array.token_source(), document.children(Token(array.a()))) }
            }
            Tag::Array => Elements { view: self, state: ElementState::Cells(array.a(), array.a() + array.b()) },
            _ => Elements { view: self, state: ElementState::Cells(0, 0) },
        }
    }

    /// The members of an object, in order; none for any other value.
    pub(crate) fn members(self, object: Value) -> Members<'v> {
        let (base, pairs, overlay) = match object.tag() {
            Tag::Overlay => (self.memory.cell(object.a()), (object.a() + 1, object.b()), true),
            Tag::TokenObject | Tag::Object => (object, (0, 0), false),
            _ => (Value::NULL, (0, 0), false),
        };
        let state = match base.tag() {
            Tag::TokenObject => BaseState::Tokens(base.token_source(), self.document(base.token_source()).children(Token(base.a()))),
            Tag::Object => BaseState::Pairs(0, base.a(), base.b()),
            _ => BaseState::Done,
        };
        Members { view: self, state, pairs, next_pair: 0, overlay }
    }
}

/// Iterator over the elements of an array.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'v> {
    view: View<'v>,
    state: ElementState<'v>,
}

#[derive(Debug, Clone)]
enum ElementState<'v> {
    Tokens(Source, crate::document::Children<'v>),
    Cells(u32, u32),
}

impl Iterator for Elements<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        match &mut self.state {
            ElementState::Tokens(source, children) => {
                let token = children.next()?;
                Some(token_value(self.view.document(*source), *source, token))
            }
            ElementState::Cells(at, end) => {
                if at >= end {
                    return None;
                }
                *at += 1;
                Some(self.view.memory.cell(*at - 1))
            }
        }
    }
}

/// Iterator over the members of an object; an overlay's replacements come in the places of what they replace.
#[derive(Debug, Clone)]
pub(crate) struct Members<'v> {
    view: View<'v>,
    state: BaseState<'v>,
    /// First cell and number of an overlay's pairs.
    pairs: (u32, u32),
    next_pair: u32,
    overlay: bool,
}

#[derive(Debug, Clone)]
enum BaseState<'v> {
    Tokens(Source, crate::document::Children<'v>),
    Pairs(u32, u32, u32),
    Done,
}

impl Members<'_> {
    /// The overlay's value for the base's member at `place` (token or pair number).
    fn replacement(&self, place: u32) -> Option<Value> {
        let (start, count) = self.pairs;
        (0..count).find(|pair| self.view.memory.cell(start + pair * 2).a() == place).map(|pair| self.view.memory.cell(start + pair * 2 + 1))
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let (member, place) = match &mut self.state {
            BaseState::Tokens(source, children) => match children.next() {
                Some(token) => {
                    let document = self.view.document(*source);
                    let fixed = document.fixed(token);
                    let key = Value::key(*source, document.span(token).start - fixed.key_back, fixed.key_len, fixed.symbol, document.is_key_escaped(token));
                    (Member { key, value: token_value(document, *source, token) }, token.0)
                }
                None => {
                    self.state = BaseState::Done;
                    return self.next();
                }
            },
            BaseState::Pairs(at, start, count) => {
                if *at >= *count {
                    self.state = BaseState::Done;
                    return self.next();
                }
                let pair = *start + *at * 2;
                *at += 1;
                (Member { key: self.view.memory.cell(pair), value: self.view.memory.cell(pair + 1) }, *at - 1)
            }
            BaseState::Done => {
                let (start, count) = self.pairs;
                while self.next_pair < count {
                    let pair = start + self.next_pair * 2;
                    self.next_pair += 1;
                    let key = self.view.memory.cell(pair);
                    if key.a() == super::NO_TOKEN {
                        return Some(Member { key, value: self.view.memory.cell(pair + 1) });
                    }
                }
                return None;
            }
        };
        if self.overlay
            && let Some(value) = self.replacement(place)
        {
            return Some(Member { value, ..member });
        }
        Some(member)
    }
}
