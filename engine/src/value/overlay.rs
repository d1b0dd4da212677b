//! Objects with a member set: what ResultPath makes.
//!
//! Nothing is copied but the spine: an overlay is a base and the members that replace or follow its own. A member that replaces one of the base remembers its place (token or pair number), so output keeps its order. An overlay that only the running strand's registers refer to is changed where it lies, so a loop that sets the same member again and again leaves nothing behind.

use super::memory::{Memory, Quota, narrow};
use super::{NO_TOKEN, Source, Tag, Value, View};
use crate::document::{ABSENT, Document, Symbol, Symbols, Token, UNKNOWN};

/// Values whose room is kept from one flattening to the next.
const FLAT_KEPT: usize = 1024;

/// Pairs an overlay may hold before it is turned into an object of its own.
const OVERLAY_PAIRS_MAX: u32 = 16;

/// A member's name: its key, and the bytes that the key takes with quotes and colon.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    key: Value,
    bytes: u32,
    /// The number of the path to this member of the record, where a learned shape may tell its place.
    path: usize,
}

impl Name {
    /// The name of a symbol.
    pub(crate) fn new(symbol: Symbol, symbols: &Symbols) -> Self {
        Self { key: Value::rendered_key(symbol, symbols), bytes: symbols.rendered_len(symbol), path: usize::MAX }
    }

    /// The same name as path number `path` says it.
    pub(crate) fn of_path(self, path: usize) -> Self {
        Self { path, ..self }
    }

    #[inline]
    fn symbol(&self) -> Symbol {
        self.key.key_symbol()
    }

    /// Its key in the place of a base's member, or behind all.
    #[inline]
    fn key_at(&self, place: Option<(u32, Value)>) -> Value {
        place.map_or(self.key, |(place, _)| self.key.with_a(place))
    }
}

impl Memory {
    /// Says that the overlay which a strand works on may from now on be known elsewhere, so that it must not be changed where it is.
    #[inline]
    pub(crate) fn share(&mut self) {
        self.own = None;
    }

    /// As [`set_member`](Self::set_member), or [`with_member`](Self::with_member), for the two usual changes: of the record, where its shape tells the place, and of a member set before, where it lies. Nothing is allocated; `None` says nothing, not even that there is no room.
    #[inline(never)]
    pub(crate) fn change_quickly(&mut self, object: Value, name: &Name, value: Value, is_last_use: bool) -> Option<Value> {
        if value.tag() == Tag::Overlay {
            return None;
        }
        if !object.is_record() {
            return if is_last_use { self.change_own(object, name, value) } else { None };
        }
        let record = self.documents.first()?;
        let (key, size) = match record.place_of(name.path) {
            ABSENT => (name.key, size_with(object, name, None, value)),
            place => (name.key.with_a(place), object.size().saturating_sub(record.compact_len_at(place)?).saturating_add(value.size())),
        };
        let cells = [object, key, value];
        if self.cells.capacity() - self.cells.len() < cells.len() || self.room_for(size_of_val(&cells)).is_err() {
            return None;
        }
        let start = narrow(self.cells.len());
        self.cells.extend_from_slice(&cells);
        if is_last_use {
            self.own = Some(start);
        }
        Some(Value::cells(Tag::Overlay, object.low().max(value.depth().saturating_add(1)), start, 1, size))
    }

    /// Changes a member of an overlay that only the running strand's registers refer to, where it lies.
    #[inline(always)]
    fn change_own(&mut self, object: Value, name: &Name, value: Value) -> Option<Value> {
        if object.tag() != Tag::Overlay || self.own != Some(object.a()) {
            return None;
        }
        let (first, count) = (object.a() as usize + 1, object.b() as usize * 2);
        let pairs = self.cells[first..first + count].as_chunks_mut::<2>().0;
        let Some([_, old]) = pairs.iter_mut().find(|[key, _]| key.key_symbol() == name.symbol()) else { return self.grow_own(object, name, value) };
        let size = object.size().saturating_sub(old.size()).saturating_add(value.size());
        *old = value;
        Some(object.resized(size, value.depth().saturating_add(1)))
    }

    /// Adds a member that the record does not have to such an overlay over it, where that lies at the end and has room.
    #[inline(never)]
    fn grow_own(&mut self, object: Value, name: &Name, value: Value) -> Option<Value> {
        let (first, count) = (object.a() as usize + 1, object.b() as usize * 2);
        let pair = [name.key, value];
        let is_new = self.cell(object.a()).is_record() && self.documents.first()?.place_of(name.path) == ABSENT;
        let has_room = self.cells.len() == first + count && self.cells.capacity() - self.cells.len() >= pair.len() && object.b() < OVERLAY_PAIRS_MAX;
        if !is_new || !has_room || self.room_for(size_of_val(&pair)).is_err() {
            return None;
        }
        self.cells.extend_from_slice(&pair);
        let depth = object.depth().max(value.depth().saturating_add(1));
        Some(Value::cells(Tag::Overlay, depth, object.a(), object.b() + 1, size_with(object, name, None, value)))
    }

    /// As [`with_member`](Self::with_member) for an object that is dead afterwards.
    ///
    /// That nothing but the caller refers to the overlay made last is a promise kept by whoever stores or hands on a whole register: templates, arguments, forks and joins call [`share`](Self::share).
    #[inline]
    pub(crate) fn set_member(&mut self, object: Value, name: &Name, value: Value, constants: &Document, symbols: &Symbols) -> Result<Value, Quota> {
        if value.tag() != Tag::Overlay
            && let Some(changed) = self.change_own(object, name, value)
        {
            return Ok(changed);
        }
        let changed = self.with_member(object, name, value, constants, symbols)?;
        self.own = (changed.tag() == Tag::Overlay).then_some(changed.a());
        Ok(changed)
    }

    /// `object` with the member `name` set to `value`: in the place of an old member of that name, else at the end. The spine is copied, nothing else.
    #[inline(never)]
    pub(crate) fn with_member(&mut self, object: Value, name: &Name, value: Value, constants: &Document, symbols: &Symbols) -> Result<Value, Quota> {
        if value.tag() == Tag::Overlay {
            // It may be the very object that is changed, which then is known from inside itself.
            self.share();
        }
        let depth = object.depth().max(value.depth().saturating_add(1));
        match object.tag() {
            Tag::TokenObject => {
                let place = self.place_in_base(object, name, constants);
                self.overlay(object, name, place, value, depth)
            }
            Tag::Object if object.b() > OVERLAY_PAIRS_MAX => {
                let place = self.place_in_base(object, name, constants);
                self.overlay(object, name, place, value, depth)
            }
            Tag::Overlay if object.b() >= OVERLAY_PAIRS_MAX => {
                let flat = self.flatten(object, constants, symbols)?;
                self.with_member(flat, name, value, constants, symbols)
            }
            Tag::Object | Tag::Overlay => self.with_pair(object, name, value, depth, constants),
            _ => unreachable!("with_member() is called on objects only"),
        }
    }

    /// An overlay, or an object with few members, with a pair replaced or added.
    fn with_pair(&mut self, object: Value, name: &Name, value: Value, depth: u16, constants: &Document) -> Result<Value, Quota> {
        let head = u32::from(object.tag() == Tag::Overlay);
        let (first, count) = ((object.a() + head) as usize, object.b() as usize * 2);
        let pairs = self.cells[first..first + count].as_chunks::<2>().0;
        if let Some(place) = pairs.iter().position(|[key, _]| key.key_symbol() == name.symbol()) {
            let size = size_with(object, name, Some(pairs[place][1]), value);
            let start = self.copy_cells(object.a(), head + object.b() * 2, 0)?;
            self.set(start + head + narrow(place) * 2 + 1, value);
            return Ok(Value::cells(object.tag(), depth, start, object.b(), size));
        }
        let place = if head == 1 { self.place_in_base(self.cell(object.a()), name, constants) } else { None };
        let size = size_with(object, name, place.map(|(_, old)| old), value);
        let key = name.key_at(place);
        // What nothing else refers to grows where it is, if it lies at the end.
        let start = if self.own == Some(object.a()) && head == 1 && self.cells.len() == first + count {
            self.room_for(size_of::<[Value; 2]>())?;
            object.a()
        } else {
            self.copy_cells(object.a(), head + object.b() * 2, 2)?
        };
        self.push_pair(key, value);
        Ok(Value::cells(object.tag(), depth, start, object.b() + 1, size))
    }

    /// The place (token or pair number) and value that `symbol` has in an overlay's base.
    fn place_in_base(&self, base: Value, name: &Name, constants: &Document) -> Option<(u32, Value)> {
        let symbol = name.symbol();
        if base.tag() == Tag::Object {
            let pair = (0..base.b()).find(|pair| self.cell(base.a() + pair * 2).key_symbol() == symbol)?;
            return Some((pair, self.cell(base.a() + pair * 2 + 1)));
        }
        let source = base.token_source();
        let document = self.documents.get(source.index()).unwrap_or(constants);
        let token = match if base.is_record() { document.place_of(name.path) } else { UNKNOWN } {
            UNKNOWN => document.member(Token(base.a()), symbol)?,
            ABSENT => return None,
            place => Token(place),
        };
        Some((token.0, super::view::token_value(document, source, token)))
    }

    fn overlay(&mut self, base: Value, name: &Name, place: Option<(u32, Value)>, value: Value, depth: u16) -> Result<Value, Quota> {
        self.room_for(size_of::<[Value; 3]>())?;
        let size = size_with(base, name, place.map(|(_, old)| old), value);
        let start = narrow(self.cells.len());
        self.cells.extend_from_slice(&[base, name.key_at(place), value]);
        Ok(Value::cells(Tag::Overlay, depth, start, 1, size))
    }

    /// Copies `count` cells from `from` to the end, where the room is enough for `extra` more.
    fn copy_cells(&mut self, from: u32, count: u32, extra: u32) -> Result<u32, Quota> {
        let (from, count, extra) = (from as usize, count as usize, extra as usize);
        self.room_for((count + extra) * size_of::<Value>())?;
        let start = self.cells.len();
        self.cells.reserve(count + extra);
        self.cells.extend_from_within(from..from + count);
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
                key = key.with_a(NO_TOKEN);
            }
            flat.extend([key, member.value]);
        }
        let written = self.room_for(size_of_val(flat.as_slice())).map(|()| {
            let start = narrow(self.cells.len());
            self.cells.extend_from_slice(&flat);
            Value::cells(Tag::Object, overlay.low(), start, narrow(flat.len() / 2), overlay.size())
        });
        flat.shrink_to(FLAT_KEPT);
        self.flat = flat;
        written
    }
}

/// Compact length of an object when a member takes the place of `old`, or follows as a further one.
#[inline]
fn size_with(object: Value, name: &Name, old: Option<Value>, value: Value) -> u32 {
    match old {
        Some(old) => object.size().saturating_sub(old.size()).saturating_add(value.size()),
        // Two bytes are the braces of an object without members, so no comma is needed.
        None => object.size().saturating_add(name.bytes).saturating_add(value.size()).saturating_add(u32::from(object.size() > 2)),
    }
}
