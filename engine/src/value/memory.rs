//! The memory of one slot: documents, cells, computed text; bounded, reused, compacted.

use super::pen::STRIDE;
use super::write::{DIGIT_PAIRS, put};
use super::{Member, NO_TOKEN, Source, Tag, Value, View};
use crate::document::{ABSENT, Document, Fault, Shapes, Span, Symbol, Symbols, Token, UNKNOWN};

/// The slot's memory limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota;

/// Documents whose buffers are kept from one execution to the next: the record's and those of the task replies of most workflows.
const DOCUMENTS_KEPT: usize = 16;

/// A cell of a template that takes what a path finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) cell: u32,
    /// The path's number.
    pub(crate) path: u32,
    /// The member that is the first step of the path, if it is one.
    pub(crate) first: Symbol,
}

/// Strings that differ in the integer behind a text which needs no escapes. The one made last is kept, so that the next ones up to a multiple of a hundred are its copies but for two digits.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// The text.
    pub(crate) front: Vec<u8>,
    /// The string made last with its quotes, padded.
    text: [u8; NUMBERED_KEPT],
    /// Its length; 0 when none is kept.
    len: usize,
    /// Its integer without the last two digits.
    hundred: i64,
}

/// Longest such string that is kept, in bytes.
const NUMBERED_KEPT: usize = 48;

/// From here on all integers of a hundred are of the same length, and have two digits to change.
const NUMBERED_FROM: i64 = 10;

impl Default for Numbered {
    fn default() -> Self {
        Self { front: Vec::new(), text: [0; NUMBERED_KEPT], len: 0, hundred: 0 }
    }
}

impl Numbered {
    /// Forgets the text, which is then empty.
    pub(crate) fn clear(&mut self) {
        self.front.clear();
        self.len = 0;
    }

    /// Keeps a string with its integer.
    fn keep(&mut self, text: &[u8], integer: i64) {
        self.len = 0;
        if integer >= NUMBERED_FROM && text.len() <= NUMBERED_KEPT {
            self.text[..text.len()].copy_from_slice(text);
            self.len = text.len();
            self.hundred = integer - integer % 100;
        }
    }
}

/// Everything that the values of one execution refer to.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(super) documents: Vec<Document>,
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
    pub(super) flat: Vec<Value>,
    /// Where the overlay lies that only the running strand's registers refer to: it may be changed where it is.
    pub(super) own: Option<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "cells and text are bounded by bytes_max, which new() keeps below 4 GiB")]
pub(super) fn narrow(length: usize) -> u32 {
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

    /// Whether a reset has more to do than to forget.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.documents.len() > DOCUMENTS_KEPT || self.spare_cells.capacity() > 0
    }

    /// Forgets everything, keeping all memory.
    #[inline]
    pub(crate) fn rewind(&mut self) {
        self.cells.clear();
        self.text.clear();
        self.own = None;
        self.documents_used = 0;
        self.documents_free.clear();
        self.document_bytes = 0;
    }

    /// Forgets everything; memory above `keep_bytes` is given back.
    #[inline(never)]
    pub(crate) fn reset(&mut self, keep_bytes: usize) {
        self.rewind();
        if self.documents.len() > DOCUMENTS_KEPT {
            self.documents.truncate(DOCUMENTS_KEPT);
        }
        if self.cells.capacity() * size_of::<Value>() > keep_bytes || !self.spare_cells.is_empty() || self.spare_cells.capacity() > 0 {
            self.shrink(keep_bytes);
        }
        if keep_bytes < usize::MAX {
            self.documents.iter_mut().for_each(|document| document.shrink(keep_bytes));
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

    /// The same for the record, which is the first document, by a learned shape where one fits. `resolve` appends the tokens that the program's paths lead to.
    #[inline(always)]
    pub(crate) fn add_record(
        &mut self,
        text: &[u8],
        symbols: &Symbols,
        shapes: &mut Shapes,
        resolve: impl FnOnce(&Document, &mut Vec<u32>),
    ) -> Result<Result<Value, Fault>, Quota> {
        debug_assert!(self.documents_used == 0 && self.computed_bytes() == 0, "nothing comes before the record");
        if text.len() * 8 > self.bytes_max {
            return Err(Quota);
        }
        self.documents_used = 1;
        if self.documents.is_empty() {
            self.documents.push(Document::new());
        }
        let document = &mut self.documents[0];
        if let Err(fault) = document.fill_by_shape(text, symbols, shapes, resolve) {
            self.documents_free.push(Source::RECORD.0);
            return Ok(Err(fault));
        }
        self.document_bytes = document.bytes_held();
        Ok(Ok(super::view::token_value(document, Source::RECORD, document.root())))
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
        self.document_bytes += document.bytes_held();
        Ok(Ok(super::view::token_value(document, Source::document(index), document.root())))
    }

    /// Where the scalar lies in the record, and the record, that path number `path` leads to from the record, or from an object with other members over it: nearly every read. `first` is the member that the path begins with. `None` says nothing.
    #[inline(always)]
    pub(crate) fn scalar_below(&self, path: usize, first: Symbol, base: Value) -> Option<(&Document, Span)> {
        if !self.shows_record(base, |member| first == member || first == Symbol::NONE) {
            return None;
        }
        let record = self.documents.first()?;
        Some((record, record.scalar_of(path)?))
    }

    /// Whether a value is the record, or an object over it none of whose own members `hides` what is looked for.
    #[inline(always)]
    fn shows_record(&self, value: Value, hides: impl Fn(Symbol) -> bool) -> bool {
        if value.is_record() {
            return true;
        }
        if value.tag() != Tag::Overlay {
            return false;
        }
        let (start, end) = (value.a() as usize, value.a() as usize + value.b() as usize * 2);
        let Some((under, pairs)) = self.cells.get(start..=end).and_then(<[Value]>::split_first) else { return false };
        under.is_record() && !pairs.as_chunks::<2>().0.iter().any(|[key, _]| hides(key.key_symbol()))
    }

    /// Fills in cells from `start` with the scalars of the record that all the paths lead to from `base`: the usual template. Returns their bytes; `None` says nothing.
    #[inline(always)]
    pub(crate) fn fill(&mut self, start: u32, fillings: &[Filling], base: Value) -> Option<u64> {
        if fillings.is_empty() {
            return Some(0);
        }
        let hides = |member| fillings.iter().any(|filling| filling.first == member || filling.first == Symbol::NONE);
        if !self.shows_record(base, hides) {
            return None;
        }
        let record = self.documents.first()?;
        let cells = self.cells.get_mut(start as usize..)?;
        let mut size = 0;
        for filling in fillings {
            let span = record.scalar_of(filling.path as usize)?;
            *cells.get_mut(filling.cell as usize)? = Value::of_record(span);
            size += u64::from(span.len());
        }
        Some(size)
    }

    /// Sets cells from `start` to one value; returns its bytes in all of them.
    #[inline(always)]
    pub(crate) fn set_all(&mut self, start: u32, cells: &[u32], value: Value) -> u64 {
        for cell in cells {
            self.set(start + cell, value);
        }
        u64::from(value.size()) * cells.len() as u64
    }

    /// What path number `path` leads to from `base`, when that is the record and the record's shape tells; a definite path may lead nowhere.
    #[inline]
    pub(crate) fn placed(&self, path: usize, base: Value) -> Option<Option<Value>> {
        if !base.is_record() {
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
        if base.tag() != Tag::Overlay {
            return None;
        }
        let pairs = &self.cells[base.a() as usize + 1..(base.a() + 1 + base.b() * 2) as usize];
        if pairs.chunks_exact(2).any(|pair| pair[0].key_symbol() == first) {
            return None;
        }
        self.placed(path, self.cells[base.a() as usize])
    }

    /// A string with these characters; `text` is UTF-8 without quotes or escapes.
    pub(crate) fn add_string(&mut self, text: &[u8]) -> Result<Value, Quota> {
        self.room_for(text.len() + 2)?;
        let start = self.text.len();
        crate::document::quote_bytes_into(text, &mut self.text);
        let len = self.text.len() - start;
        Ok(Value::string(Source::COMPUTED, narrow(start), narrow(len), len != text.len() + 2))
    }

    /// The string of these pieces, the insides of JSON strings, with the texts of `values` between them, strings bare. The caller has asked for the room, and containers are not among the values.
    pub(crate) fn add_joined(&mut self, pieces: &[Box<[u8]>], values: &[Value], escaped: bool, constants: &Document) -> Value {
        let start = self.text.len();
        let mut escaped = escaped;
        self.text.push(b'"');
        for (at, piece) in pieces.iter().enumerate() {
            put(&mut self.text, piece);
            let Some(&value) = values.get(at) else { break };
            match value.tag() {
                Tag::String | Tag::Number => {
                    let quote = u32::from(value.tag() == Tag::String);
                    let (from, to) = ((value.a() + quote) as usize, (value.a() + value.b() - quote) as usize);
                    escaped |= value.is_escaped();
                    match self.documents.get(value.source().index()) {
                        Some(document) => put(&mut self.text, &document.text()[from..to]),
                        None if value.source() == Source::COMPUTED => self.text.extend_from_within(from..to),
                        None => put(&mut self.text, &constants.text()[from..to]),
                    }
                }
                Tag::Integer => super::write::write_integer(value.as_integer(), &mut self.text),
                Tag::True => put(&mut self.text, b"true"),
                Tag::False => put(&mut self.text, b"false"),
                _ => put(&mut self.text, b"null"),
            }
        }
        self.text.push(b'"');
        Value::string(Source::COMPUTED, narrow(start), narrow(self.text.len() - start), escaped)
    }

    /// The string with an integer behind the text, where it is the one kept but for two digits and there is room that was used before; nothing else is made here.
    #[inline(always)]
    pub(crate) fn add_numbered(&mut self, numbered: &Numbered, integer: i64) -> Option<Value> {
        let behind = usize::try_from(integer.wrapping_sub(numbered.hundred).cast_unsigned()).ok()?;
        let pair = DIGIT_PAIRS.get(behind)?;
        let (start, len) = (self.text.len(), numbered.len);
        if len == 0 || integer < NUMBERED_FROM || self.text.capacity() - start < NUMBERED_KEPT || self.room_for(len).is_err() {
            return None;
        }
        // All that is kept is copied, since so many bytes take no call; what is too much is taken back.
        put(&mut self.text, &numbered.text);
        self.text[start + len - 3..start + len - 1].copy_from_slice(pair);
        self.text.truncate(start + len);
        Some(Value::string(Source::COMPUTED, narrow(start), narrow(len), false))
    }

    /// The same by its digits: the slow twin.
    #[inline(never)]
    pub(crate) fn add_number(&mut self, numbered: &mut Numbered, integer: i64) -> Result<Value, Quota> {
        let mut digits = [0; 20];
        let digits = super::write::integer_text(integer, &mut digits);
        let len = numbered.front.len() + digits.len() + 2;
        self.room_for(len)?;
        let start = self.text.len();
        // So that there is room for the next one to be copied, and for all of them to be written by strides.
        self.text.reserve(len.max(NUMBERED_KEPT) + STRIDE);
        self.text.push(b'"');
        self.text.extend_from_slice(&numbered.front);
        self.text.extend_from_slice(digits);
        self.text.push(b'"');
        numbered.keep(&self.text[start..], integer);
        Ok(Value::string(Source::COMPUTED, narrow(start), narrow(len), false))
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

    /// Appends cells; returns the index of the first, if there is room.
    #[inline]
    pub(crate) fn append(&mut self, cells: &[Value]) -> Option<u32> {
        self.room_for(size_of_val(cells)).ok()?;
        let start = self.cells.len();
        self.cells.extend_from_slice(cells);
        Some(narrow(start))
    }

    /// Appends a pair of key and value cells; returns the index of the first. The caller has asked for the room.
    #[inline]
    pub(crate) fn push_pair(&mut self, key: Value, value: Value) -> u32 {
        let start = self.cells.len();
        self.cells.extend_from_slice(&[key, value]);
        narrow(start)
    }

    /// How many cells are in use.
    #[inline]
    pub(crate) fn cell_count(&self) -> u32 {
        narrow(self.cells.len())
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

    /// `count` pairs of key and value from cell `start`.
    #[inline]
    pub(super) fn pairs(&self, start: u32, count: u32) -> &[[Value; 2]] {
        self.cells[start as usize..start as usize + count as usize * 2].as_chunks::<2>().0
    }

    /// Element `index` of an array of cells.
    #[inline]
    pub(crate) fn cell_of(&self, array: Value, index: u32) -> Value {
        debug_assert!(array.tag() == Tag::Array && index < array.b(), "only the elements of an array of cells lie in cells");
        self.cell(array.a() + index)
    }

    /// The value of pair `pair` of an object of cells.
    #[inline]
    pub(crate) fn pair_value(&self, object: Value, pair: u32) -> Value {
        debug_assert_eq!(object.tag(), Tag::Object, "only an object of cells has pairs");
        self.cell(object.a() + pair * 2 + 1)
    }

    /// The array over `count` cells from `start`, which are filled in by now.
    pub(crate) fn finish_array(&self, start: u32, count: u32) -> Value {
        let (mut size, mut depth) = (2 + count.saturating_sub(1), 0);
        for cell in start..start + count {
            let value = self.cell(cell);
            size = size.saturating_add(value.size());
            depth = depth.max(value.depth());
        }
        Value::cells(Tag::Array, depth.saturating_add(1), start, count, size)
    }

    /// Writes the elements of a document's array to the cells from `start`.
    pub(crate) fn spread_tokens(&mut self, array: Value, start: u32, constants: &Document) {
        let source = array.token_source();
        let document = if source == Source::CONSTANTS { constants } else { &self.documents[source.index()] };
        for (cell, token) in (start as usize..).zip(document.children(Token(array.a()))) {
            self.cells[cell] = super::view::token_value(document, source, token);
        }
    }

    /// Fills in one element of an array of cells that is not finished.
    #[inline]
    pub(crate) fn set_element(&mut self, array: Value, index: u32, value: Value) {
        self.cells[(array.a() + index) as usize] = value;
    }

    /// Finishes an array of cells that was filled in element by element.
    pub(crate) fn finish_elements(&self, array: Value, count: u32) -> Value {
        self.finish_array(array.a(), count)
    }

    /// The object over `count` pairs from `start`, which are filled in by now.
    pub(crate) fn finish_object(&self, start: u32, count: u32, symbols: &Symbols) -> Value {
        let (mut size, mut depth) = (2 + count.saturating_sub(1), 0);
        for pair in 0..count {
            let (key, value) = (self.cell(start + pair * 2), self.cell(start + pair * 2 + 1));
            size = size.saturating_add(key_size(key, symbols)).saturating_add(value.size());
            depth = depth.max(value.depth());
        }
        Value::cells(Tag::Object, depth.saturating_add(1), start, count, size)
    }

    /// The object over these members, which may belong to other objects.
    pub(crate) fn object_of(&mut self, members: &[Member], symbols: &Symbols) -> Result<Value, Quota> {
        let start = self.reserve(members.len() * 2)?;
        for (pair, member) in (start..).step_by(2).zip(members) {
            let mut key = member.key;
            if key.key_source() == Source::KEY {
                key = key.with_a(NO_TOKEN);
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
        if array.tag() == Tag::TokenArray {
            self.spread_tokens(array, start, constants);
        } else {
            self.cells.copy_within(array.a() as usize..array.a() as usize + count, start as usize);
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
        self.own = None;
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
                self.document_bytes += self.documents[index].bytes_held();
            } else {
                self.documents[index].clear();
                self.documents_free.push(Source::document(index).0);
            }
        }
        old_cells.clear();
        self.spare_cells = old_cells;
        self.spare_text = old_text;
    }

    fn moved(&mut self, value: Value, old: &mut [Value], old_text: &[u8]) -> Value {
        let source = match value.tag() {
            Tag::Key => value.key_source(),
            Tag::TokenArray | Tag::TokenObject => value.token_source(),
            Tag::String | Tag::Number => value.source(),
            _ => Source::COMPUTED,
        };
        match value.tag() {
            Tag::Array | Tag::Object | Tag::Overlay => {
                let count = match value.tag() {
                    Tag::Array => value.b(),
                    Tag::Object => value.b() * 2,
                    _ => value.b() * 2 + 1,
                } as usize;
                if count == 0 {
                    return value.with_a(0);
                }
                let from = value.a() as usize;
                if old[from].tag() == Tag::Moved {
                    return value.with_a(old[from].a());
                }
                let moved = value.with_a(narrow(self.cells.len()));
                self.cells.extend_from_slice(&old[from..from + count]);
                old[from] = Value::new(Tag::Moved, 0, 0, moved.a(), 0, 0);
                return moved;
            }
            Tag::String | Tag::Number | Tag::Key if source == Source::COMPUTED => {
                // Text is small beside the cells that refer to it; a text that is shared is copied once for each.
                let (start, end) = (value.a() as usize, (value.a() + value.b()) as usize);
                let moved = value.with_a(narrow(self.text.len()));
                self.text.extend_from_slice(&old_text[start..end]);
                return moved;
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
    if key.key_source() == Source::KEY { symbols.rendered_len(key.key_symbol()) } else { key.b() + 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The string by its copy where that is known, else by its digits.
    fn numbered_string(memory: &mut Memory, numbered: &mut Numbered, integer: i64) -> Result<Value, Quota> {
        memory.add_numbered(numbered, integer).map_or_else(|| memory.add_number(numbered, integer), Ok)
    }

    #[test]
    fn numbered_strings_are_as_their_digits_say() {
        for front in [&b"topic-0-"[..], b"", b"a topic whose name is long beside what is kept-0-"] {
            let (mut memory, mut numbered) = (Memory::new(1 << 20), Numbered::default());
            numbered.front.extend_from_slice(front);
            let starts = [-1_000, -101, 0, 90, 995, 99_990, 123_456_789_012_345, i64::MAX - 250];
            for integer in starts.into_iter().flat_map(|start| (start..start + 250).chain([start + 100, start])) {
                let value = numbered_string(&mut memory, &mut numbered, integer).expect("there is room");
                let text = &memory.text[value.a() as usize..(value.a() + value.b()) as usize];
                assert_eq!(String::from_utf8_lossy(text), format!("\"{}{integer}\"", String::from_utf8_lossy(front)));
                assert_eq!(memory.text.len(), (value.a() + value.b()) as usize, "nothing is left behind it");
            }
            numbered.clear();
            let value = numbered_string(&mut memory, &mut numbered, 100).expect("there is room");
            assert_eq!(&memory.text[value.a() as usize..], b"\"100\"");
        }
    }

    #[test]
    fn numbered_strings_ask_for_room() {
        let (mut memory, mut numbered) = (Memory::new(12), Numbered::default());
        assert!(numbered_string(&mut memory, &mut numbered, 12_345).is_ok());
        assert_eq!(numbered_string(&mut memory, &mut numbered, 12_346).map(|_| ()), Err(Quota));
    }
}
