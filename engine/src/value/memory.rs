//! The memory of one slot: documents, cells, computed text; bounded, reused, compacted.

use super::{Member, NO_TOKEN, Source, Tag, Value, View};
use crate::document::{ABSENT, Document, Fault, Shapes, Symbol, Symbols, Token, UNKNOWN};

/// The slot's memory limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota;

/// Values whose room is kept from one flattening to the next.
const FLAT_KEPT: usize = 1024;

/// Pairs an overlay may hold before it is turned into an object of its own.
const OVERLAY_PAIRS_MAX: u32 = 16;

/// Everything that the values of one execution refer to.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    documents: Vec<Document>,
    /// How many of `documents` are in use; the rest are kept for reuse.
    documents_used: usize,
    /// Numbers of documents below `documents_used` that compaction found dead.
    documents_free: Vec<u16>,
    pub(super) cells: Vec<Value>,
    pub(super) text: Vec<u8>,
    /// Bytes held by documents in use.
    document_bytes: usize,
    bytes_max: usize,
    /// The other half of a compaction.
    spare_cells: Vec<Value>,
    spare_text: Vec<u8>,
    reached: Vec<bool>,
    /// Members of an overlay on their way to an object of their own.
    flat: Vec<Value>,
}

#[expect(clippy::cast_possible_truncation, reason = "cells and text are bounded by bytes_max, which new() keeps below 4 GiB")]
fn narrow(length: usize) -> u32 {
    length as u32
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.min(1 << 31), ..Self::default() }
    }

    /// Sets the limit on bytes in use.
    #[inline]
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(1 << 31);
    }

    /// Forgets everything; memory above `keep_bytes` is given back.
    #[inline]
    pub(crate) fn reset(&mut self, keep_bytes: usize) {
        self.cells.clear();
        self.text.clear();
        self.documents_used = 0;
        self.documents_free.clear();
        self.document_bytes = 0;
        if self.documents.len() > 4 {
            self.documents.truncate(4);
        }
        if self.cells.capacity() * size_of::<Value>() > keep_bytes || !self.spare_cells.is_empty() || self.spare_cells.capacity() > 0 {
            self.shrink(keep_bytes);
        }
        if let Some(first) = self.documents.first_mut() {
            first.shrink(keep_bytes);
        }
    }

    #[cold]
    fn shrink(&mut self, keep_bytes: usize) {
        self.cells.shrink_to(keep_bytes / size_of::<Value>());
        self.text.shrink_to(keep_bytes);
        self.spare_cells = Vec::new();
        self.spare_text = Vec::new();
        for document in &mut self.documents {
            document.shrink(keep_bytes);
        }
    }

    /// Bytes of heap memory held.
    pub(crate) fn capacity_bytes(&self) -> usize {
        (self.cells.capacity() + self.spare_cells.capacity() + self.flat.capacity()) * size_of::<Value>()
            + self.text.capacity()
            + self.spare_text.capacity()
            + self.documents.iter().map(Document::capacity_bytes).sum::<usize>()
    }

    /// Bytes in use by computed values, the measure for compaction and for the run budget.
    #[inline]
    pub(crate) fn computed_bytes(&self) -> usize {
        self.cells.len() * size_of::<Value>() + self.text.len()
    }

    #[inline]
    pub(crate) fn room_for(&self, bytes: usize) -> Result<(), Quota> {
        if self.computed_bytes() + self.document_bytes + bytes > self.bytes_max { Err(Quota) } else { Ok(()) }
    }

    /// Tokenises `text` as a further document; returns its root value.
    ///
    /// # Errors
    /// `Ok(Err(fault))` when the text is no JSON; `Err(Quota)` when there is no room for it.
    pub(crate) fn add_document(&mut self, text: &[u8], symbols: &Symbols) -> Result<Result<Value, Fault>, Quota> {
        self.add(text, |document| document.fill(text, symbols))
    }

    /// The same for the record, by a learned shape where one fits. `resolve` tells the tokens that the program's paths lead to.
    pub(crate) fn add_record(
        &mut self,
        text: &[u8],
        symbols: &Symbols,
        shapes: &mut Shapes,
        resolve: impl FnOnce(&Document) -> Box<[u32]>,
    ) -> Result<Result<Value, Fault>, Quota> {
        self.add(text, |document| document.fill_by_shape(text, symbols, shapes, resolve))
    }

    #[inline]
    fn add(&mut self, text: &[u8], fill: impl FnOnce(&mut Document) -> Result<(), Fault>) -> Result<Result<Value, Fault>, Quota> {
        self.room_for(text.len() * 8)?;
        let index = match self.documents_free.pop() {
            Some(free) => usize::from(free),
            None if self.documents_used >= Source::DOCUMENTS_MAX => return Err(Quota),
            None => {
                self.documents_used += 1;
                self.documents_used - 1
            }
        };
        if index == self.documents.len() {
            self.documents.push(Document::new());
        }
        let document = &mut self.documents[index];
        if let Err(fault) = fill(document) {
            self.documents_free.push(Source::document(index).0);
            return Ok(Err(fault));
        }
        self.document_bytes += document.text().len() + document.token_count() * 28;
        Ok(Ok(super::view::token_value(document, Source::document(index), document.root())))
    }

    /// What path number `path` leads to from `base`, when that is the record and the record's shape tells; a definite path may lead nowhere.
    #[inline]
    pub(crate) fn placed(&self, path: usize, base: Value) -> Option<Option<Value>> {
        let is_root = matches!(base.tag, Tag::TokenObject | Tag::TokenArray) && base.source() == Source::RECORD && base.a == 0;
        if !is_root {
            return None;
        }
        let record = self.documents.first()?;
        match record.place_of(path) {
            UNKNOWN => None,
            ABSENT => Some(None),
            place => Some(Some(super::view::token_value(record, Source::RECORD, Token(place)))),
        }
    }

    /// The same from an object with members over it, for a path that begins with the member `first`.
    #[inline]
    pub(crate) fn placed_below(&self, path: usize, base: Value, first: Symbol) -> Option<Option<Value>> {
        if base.tag != Tag::Overlay {
            return None;
        }
        let pairs = &self.cells[base.a as usize + 1..(base.a + 1 + base.b * 2) as usize];
        if pairs.chunks_exact(2).any(|pair| pair[0].key_symbol() == first) {
            return None;
        }
        self.placed(path, self.cells[base.a as usize])
    }

    #[inline]
    pub(super) fn document(&self, source: Source) -> &Document {
        &self.documents[source.index()]
    }

    /// A string with these characters; `text` is UTF-8 without quotes or escapes.
    pub(crate) fn add_string(&mut self, text: &[u8]) -> Result<Value, Quota> {
        self.room_for(text.len() + 2)?;
        let start = self.text.len();
        crate::document::quote_bytes_into(text, &mut self.text);
        let len = self.text.len() - start;
        Ok(Value::string(Source::COMPUTED, narrow(start), narrow(len), len != text.len() + 2))
    }

    /// A string whose inside is given as JSON, escapes and all.
    pub(crate) fn add_quoted(&mut self, inside: &[u8], escaped: bool) -> Result<Value, Quota> {
        self.room_for(inside.len() + 2)?;
        let start = self.text.len();
        self.text.push(b'"');
        self.text.extend_from_slice(inside);
        self.text.push(b'"');
        Ok(Value::string(Source::COMPUTED, narrow(start), narrow(inside.len() + 2), escaped))
    }

    /// Room for `count` cells, all null; returns the index of the first.
    #[inline]
    pub(crate) fn reserve(&mut self, count: usize) -> Result<u32, Quota> {
        self.room_for(count * size_of::<Value>())?;
        let start = self.cells.len();
        self.cells.resize(start + count, Value::NULL);
        Ok(narrow(start))
    }

    #[inline]
    pub(crate) fn set(&mut self, cell: u32, value: Value) {
        self.cells[cell as usize] = value;
    }

    /// Sets a key cell and the value cell behind it.
    #[inline]
    pub(crate) fn set_pair(&mut self, cell: u32, key: Value, value: Value) {
        if let Some([first, second]) = self.cells.get_mut(cell as usize..).and_then(<[Value]>::first_chunk_mut::<2>) {
            *first = key;
            *second = value;
        }
    }

    #[inline]
    pub(crate) fn cell(&self, cell: u32) -> Value {
        self.cells[cell as usize]
    }

    /// The value of pair `pair` of an object of cells.
    #[inline]
    pub(crate) fn pair_value(&self, object: Value, pair: u32) -> Value {
        debug_assert_eq!(object.tag, Tag::Object, "only an object of cells has pairs");
        self.cell(object.a + pair * 2 + 1)
    }

    /// Levels of containers from `value` down; 0 for a scalar.
    #[inline]
    pub(crate) fn depth(value: Value) -> u16 {
        match value.tag {
            #[expect(clippy::cast_possible_truncation, reason = "a document is at most DOCUMENT_DEPTH_MAX deep")]
            Tag::TokenArray | Tag::TokenObject => value.b as u16,
            Tag::Array | Tag::Object | Tag::Overlay => value.low,
            _ => 0,
        }
    }

    /// The array over `count` cells from `start`, which are filled in by now.
    pub(crate) fn finish_array(&self, start: u32, count: u32) -> Value {
        let (mut size, mut depth) = (2 + count.saturating_sub(1), 0);
        for cell in start..start + count {
            let value = self.cell(cell);
            size = size.saturating_add(value.size);
            depth = depth.max(Self::depth(value));
        }
        Value::cells(Tag::Array, depth.saturating_add(1), start, count, size)
    }

    /// Writes the elements of a document's array to the cells from `start`.
    pub(crate) fn spread_tokens(&mut self, array: Value, start: u32, constants: &Document) {
        let source = array.source();
        let document = if source == Source::CONSTANTS { constants } else { &self.documents[source.index()] };
        for (cell, token) in (start as usize..).zip(document.children(Token(array.a))) {
            self.cells[cell] = super::view::token_value(document, source, token);
        }
    }

    /// Fills in one element of an array of cells that is not finished.
    #[inline]
    pub(crate) fn set_element(&mut self, array: Value, index: u32, value: Value) {
        self.cells[(array.a + index) as usize] = value;
    }

    /// Finishes an array of cells that was filled in element by element.
    pub(crate) fn finish_elements(&self, array: Value, count: u32) -> Value {
        self.finish_array(array.a, count)
    }

    /// The object over `count` pairs from `start`, which are filled in by now.
    pub(crate) fn finish_object(&self, start: u32, count: u32, symbols: &Symbols) -> Value {
        let (mut size, mut depth) = (2 + count.saturating_sub(1), 0);
        for pair in 0..count {
            let (key, value) = (self.cell(start + pair * 2), self.cell(start + pair * 2 + 1));
            size = size.saturating_add(key_size(key, symbols)).saturating_add(value.size);
            depth = depth.max(Self::depth(value));
        }
        Value::cells(Tag::Object, depth.saturating_add(1), start, count, size)
    }

    /// `object` with the member named by `symbol` set to `value`: in the place of an old member of that name, else at the end. The spine is copied, nothing else.
    pub(crate) fn with_member(&mut self, object: Value, symbol: Symbol, value: Value, constants: &Document, symbols: &Symbols) -> Result<Value, Quota> {
        let depth = Self::depth(object).max(Self::depth(value).saturating_add(1));
        let grown = |old: Option<Value>, members: bool| {
            let base = object.size;
            match old {
                Some(old) => base.saturating_sub(old.size).saturating_add(value.size),
                None => base.saturating_add(key_size(Value::program_key(symbol, None), symbols)).saturating_add(value.size).saturating_add(u32::from(members)),
            }
        };
        match object.tag {
            Tag::TokenObject => {
                let document = if object.source() == Source::CONSTANTS { constants } else { self.document(object.source()) };
                let token = Token(object.a);
                let old = document.member(token, symbol);
                let size = grown(old.map(|old| super::view::token_value(document, object.source(), old)), object.size > 2);
                let key = Value::program_key(symbol, old.map(|old| old.0));
                self.overlay(object, key, value, depth, size)
            }
            Tag::Object if object.b > OVERLAY_PAIRS_MAX => {
                let place = (0..object.b).find(|pair| self.cell(object.a + pair * 2).key_symbol() == symbol);
                let size = grown(place.map(|pair| self.cell(object.a + pair * 2 + 1)), object.b > 0);
                self.overlay(object, Value::program_key(symbol, place), value, depth, size)
            }
            Tag::Overlay if object.b >= OVERLAY_PAIRS_MAX => {
                let flat = self.flatten(object, constants, symbols)?;
                self.with_member(flat, symbol, value, constants, symbols)
            }
            Tag::Object | Tag::Overlay => {
                let head = u32::from(object.tag == Tag::Overlay);
                let pairs = object.a + head;
                let place = (0..object.b).find(|pair| self.cell(pairs + pair * 2).key_symbol() == symbol);
                if place.is_none() && head == 1 {
                    let base = self.cell(object.a);
                    let replaced = self.place_in_base(base, symbol, constants);
                    let old = replaced.map(|(_, old)| old);
                    let size = grown(old, object.size > 2);
                    let start = self.copy_pairs(object.a, 1 + object.b * 2, 2)?;
                    self.set(start + 1 + object.b * 2, Value::program_key(symbol, replaced.map(|(place, _)| place)));
                    self.set(start + 2 + object.b * 2, value);
                    return Ok(Value::cells(Tag::Overlay, depth, start, object.b + 1, size));
                }
                let size = grown(place.map(|pair| self.cell(pairs + pair * 2 + 1)), object.b > 0);
                let added = u32::from(place.is_none());
                let start = self.copy_pairs(object.a, head + object.b * 2, added * 2)?;
                let pair = start + head + place.unwrap_or(object.b) * 2;
                if place.is_none() {
                    self.set(pair, Value::program_key(symbol, None));
                }
                self.set(pair + 1, value);
                Ok(Value::cells(object.tag, depth, start, object.b + added, size))
            }
            _ => unreachable!("with_member() is called on objects only"),
        }
    }

    /// The place (token or pair number) and value that `symbol` has in an overlay's base.
    fn place_in_base(&self, base: Value, symbol: Symbol, constants: &Document) -> Option<(u32, Value)> {
        if base.tag == Tag::Object {
            let pair = (0..base.b).find(|pair| self.cell(base.a + pair * 2).key_symbol() == symbol)?;
            return Some((pair, self.cell(base.a + pair * 2 + 1)));
        }
        let document = if base.source() == Source::CONSTANTS { constants } else { self.document(base.source()) };
        let token = document.member(Token(base.a), symbol)?;
        Some((token.0, super::view::token_value(document, base.source(), token)))
    }

    fn overlay(&mut self, base: Value, key: Value, value: Value, depth: u16, size: u32) -> Result<Value, Quota> {
        let start = self.reserve(3)?;
        self.set(start, base);
        self.set(start + 1, key);
        self.set(start + 2, value);
        Ok(Value::cells(Tag::Overlay, depth, start, 1, size))
    }

    /// Copies `count` cells from `from` to the end, with room for `extra` more.
    fn copy_pairs(&mut self, from: u32, count: u32, extra: u32) -> Result<u32, Quota> {
        self.room_for((count + extra) as usize * size_of::<Value>())?;
        let start = self.cells.len();
        self.cells.extend_from_within(from as usize..(from + count) as usize);
        self.cells.resize(start + (count + extra) as usize, Value::NULL);
        Ok(narrow(start))
    }

    /// An overlay as an object of its own.
    fn flatten(&mut self, overlay: Value, constants: &Document, symbols: &Symbols) -> Result<Value, Quota> {
        // The view borrows the cells that are to be written, so the members wait elsewhere.
        let mut flat = std::mem::take(&mut self.flat);
        flat.clear();
        for member in View::new(self, constants, symbols).members(overlay) {
            let mut key = member.key;
            if key.key_source() == Source::KEY {
                key.a = NO_TOKEN;
            }
            flat.extend([key, member.value]);
        }
        let written = self.room_for(size_of_val(flat.as_slice())).map(|()| {
            let start = narrow(self.cells.len());
            self.cells.extend_from_slice(&flat);
            Value::cells(Tag::Object, overlay.low, start, narrow(flat.len() / 2), overlay.size)
        });
        flat.shrink_to(FLAT_KEPT);
        self.flat = flat;
        written
    }

    /// The object over these members, which may belong to other objects.
    pub(crate) fn object_of(&mut self, members: &[Member], symbols: &Symbols) -> Result<Value, Quota> {
        let start = self.reserve(members.len() * 2)?;
        for (pair, member) in (start..).step_by(2).zip(members) {
            let mut key = member.key;
            if key.key_source() == Source::KEY {
                key.a = NO_TOKEN;
            }
            self.set_pair(pair, key, member.value);
        }
        Ok(self.finish_object(start, narrow(members.len()), symbols))
    }

    /// The array of these values.
    pub(crate) fn array_of(&mut self, values: &[Value]) -> Result<Value, Quota> {
        self.room_for(size_of_val(values))?;
        let start = self.cells.len();
        self.cells.extend_from_slice(values);
        Ok(self.finish_array(narrow(start), narrow(values.len())))
    }

    /// `array` with element `index` replaced; the spine is copied.
    pub(crate) fn with_element(&mut self, array: Value, index: usize, value: Value, constants: &Document, symbols: &Symbols) -> Result<Value, Quota> {
        let count = View::new(self, constants, symbols).len(array);
        let start = self.reserve(count)?;
        if array.tag == Tag::TokenArray {
            self.spread_tokens(array, start, constants);
        } else {
            self.cells.copy_within(array.a as usize..array.a as usize + count, start as usize);
        }
        self.set(start + narrow(index), value);
        Ok(self.finish_array(start, narrow(count)))
    }

    /// Moves what `roots` reach to fresh memory and drops the rest; documents that nothing refers to are free for reuse.
    ///
    /// Copying in the manner of Cheney: shared values stay shared, because the first cell of what has moved says where to.
    pub(crate) fn compact<'r>(&mut self, roots: impl Iterator<Item = &'r mut Value>) {
        let mut old_cells = std::mem::replace(&mut self.cells, std::mem::take(&mut self.spare_cells));
        let old_text = std::mem::replace(&mut self.text, std::mem::take(&mut self.spare_text));
        self.cells.clear();
        self.text.clear();
        self.reached.clear();
        self.reached.resize(self.documents_used, false);
        // Document 0 is the record: Execution.Input can always be asked for.
        if let Some(first) = self.reached.first_mut() {
            *first = true;
        }
        for root in roots {
            *root = self.moved(*root, &mut old_cells, &old_text);
        }
        let mut scan = 0;
        while scan < self.cells.len() {
            let value = self.cells[scan];
            self.cells[scan] = self.moved(value, &mut old_cells, &old_text);
            scan += 1;
        }
        self.document_bytes = 0;
        self.documents_free.clear();
        for index in 0..self.documents_used {
            if self.reached[index] {
                self.document_bytes += self.documents[index].text().len() + self.documents[index].token_count() * 28;
            } else {
                self.documents[index].clear();
                self.documents_free.push(Source::document(index).0);
            }
        }
        old_cells.clear();
        self.spare_cells = old_cells;
        self.spare_text = old_text;
    }

    fn moved(&mut self, mut value: Value, old: &mut [Value], old_text: &[u8]) -> Value {
        let source = if value.tag == Tag::Key { value.key_source() } else { value.source() };
        match value.tag {
            Tag::Array | Tag::Object | Tag::Overlay => {
                let count = match value.tag {
                    Tag::Array => value.b,
                    Tag::Object => value.b * 2,
                    _ => value.b * 2 + 1,
                } as usize;
                if count == 0 {
                    value.a = 0;
                    return value;
                }
                let from = value.a as usize;
                if old[from].tag == Tag::Moved {
                    value.a = old[from].a;
                } else {
                    value.a = narrow(self.cells.len());
                    self.cells.extend_from_slice(&old[from..from + count]);
                    old[from] = Value { tag: Tag::Moved, a: value.a, ..Value::NULL };
                }
            }
            Tag::String | Tag::Number | Tag::Key if source == Source::COMPUTED => {
                // Text is small beside the cells that refer to it; a text that is shared is copied once for each.
                let (start, end) = (value.a as usize, (value.a + value.b) as usize);
                value.a = narrow(self.text.len());
                self.text.extend_from_slice(&old_text[start..end]);
            }
            Tag::String | Tag::Number | Tag::Key | Tag::TokenArray | Tag::TokenObject if source.index() < self.reached.len() => {
                self.reached[source.index()] = true;
            }
            _ => {}
        }
        value
    }
}

/// Compact length of a key with its quotes and colon.
#[inline]
pub(super) fn key_size(key: Value, symbols: &Symbols) -> u32 {
    if key.key_source() == Source::KEY { symbols.rendered_len(key.key_symbol()) } else { key.b + 3 }
}
