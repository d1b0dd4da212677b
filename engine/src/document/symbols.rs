//! The names a program mentions, as small integers.

/// The integer of a name; [`Symbol::NONE`] for every name that the program never mentions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Symbol(pub u16);

impl Symbol {
    /// A name outside the program's table.
    pub const NONE: Self = Self(0);
}

/// Table from names to symbols: built while a definition compiles, read while documents are scanned.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// Changes with every name: what was learned with one table is told from what belongs to another.
    number: u64,
    /// Names in the order of their symbols, which start at 1.
    names: Vec<Box<str>>,
    /// Each name as a JSON string with quotes and a colon behind it, one after the other, then [`PADDING`](super::PADDING) zero bytes.
    quoted: Vec<u8>,
    /// Where each one ends in `quoted`.
    quoted_ends: Vec<u32>,
    /// Open-addressed, a power of two large and at most a quarter full; empty when there are no names.
    table: Vec<Entry>,
    /// 64 less the number of bits that the table's size takes.
    shift: u32,
}

/// A name in the table: what a probe compares lies in one place.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The first eight bytes, zero-padded.
    prefix: u64,
    /// The last eight bytes of a longer name: with the first ones all of it, up to sixteen.
    suffix: u64,
    len: u32,
    /// 0 marks a free entry.
    symbol: u16,
}

/// The first `len` bytes of a word, at most eight; zeros in the place of the rest.
#[inline]
pub(crate) fn prefix(word: u64, len: usize) -> u64 {
    word & MASKS[len.min(8)]
}

/// The bits of so many first bytes of a word.
const MASKS: [u64; 9] = [0, 0xff, 0xffff, 0xff_ffff, 0xffff_ffff, 0xff_ffff_ffff, 0xffff_ffff_ffff, 0xff_ffff_ffff_ffff, u64::MAX];

/// First and last eight bytes of a name as little-endian words: of a name of eight bytes or less, itself, zero-padded, and 0.
fn ends(name: &[u8]) -> (u64, u64) {
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) if name.len() > 8 => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (name.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0),
    }
}

/// Hash of a name from its ends and length. The high bits are the mixed ones.
#[inline]
pub(crate) fn hash(prefix: u64, suffix: u64, len: usize) -> u64 {
    // The rotation keeps names apart whose ends are the same.
    (prefix ^ suffix.rotate_left(23) ^ (len as u64) << 56).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The same of a whole name.
pub(crate) fn hash_of(name: &[u8]) -> u64 {
    let (prefix, suffix) = ends(name);
    hash(prefix, suffix, name.len())
}

impl Default for Symbols {
    fn default() -> Self {
        Self { number: super::shape::number(), names: Vec::new(), quoted: Vec::new(), quoted_ends: Vec::new(), table: Vec::new(), shift: 0 }
    }
}

impl Symbols {
    /// Largest number of names; the compiler reports a definition that has more.
    pub const COUNT_MAX: usize = u16::MAX as usize - 1;

    /// The symbol of `name`, given now if it had none; `None` when the table is full.
    pub fn intern(&mut self, name: &str) -> Option<Symbol> {
        let found = self.lookup(name.as_bytes());
        if found != Symbol::NONE {
            return Some(found);
        }
        if self.names.len() >= Self::COUNT_MAX {
            return None;
        }
        self.number = super::shape::number();
        self.names.push(name.into());
        self.quoted.truncate(self.quoted_len());
        super::quote_into(name, &mut self.quoted);
        self.quoted.push(b':');
        self.quoted_ends.push(u32::try_from(self.quoted.len()).unwrap_or(u32::MAX));
        self.quoted.resize(self.quoted.len() + super::PADDING, 0);
        if self.names.len() * 4 > self.table.len() {
            self.grow();
        } else {
            self.insert(self.names.len() - 1);
        }
        Some(Self::symbol(self.names.len() - 1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "intern() bounds the number of names to 16 bits")]
    fn symbol(index: usize) -> Symbol {
        Symbol(index as u16 + 1)
    }

    fn grow(&mut self) {
        let size = (self.names.len() * 8).next_power_of_two().max(16);
        self.table.clear();
        self.table.resize(size, Entry::default());
        self.shift = 64 - size.trailing_zeros();
        for index in 0..self.names.len() {
            self.insert(index);
        }
    }

    fn insert(&mut self, index: usize) {
        let name = self.names[index].as_bytes();
        let (prefix, suffix) = ends(name);
        let mut slot = self.slot(hash(prefix, suffix, name.len()));
        while self.table[slot].symbol != 0 {
            slot = (slot + 1) & (self.table.len() - 1);
        }
        let len = u32::try_from(name.len()).expect("a definition is at most 1 MiB long");
        self.table[slot] = Entry { prefix, suffix, len, symbol: Self::symbol(index).0 };
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves fewer bits than the table's size has")]
    fn slot(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// The symbol of an unescaped key.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Symbol {
        let (prefix, suffix) = ends(key);
        self.probe(prefix, suffix, hash(prefix, suffix, key.len()), key)
    }

    /// The same for a key of at most eight bytes, which its first word holds.
    #[inline]
    pub(crate) fn probe_short(&self, prefix: u64, hash: u64, len: usize) -> Symbol {
        let Some(mut entry) = self.table.get(self.slot(hash)) else { return Symbol::NONE };
        let mut slot = self.slot(hash);
        loop {
            if entry.prefix == prefix && entry.len as usize == len || entry.symbol == 0 {
                return Symbol(entry.symbol);
            }
            slot = (slot + 1) & (self.table.len() - 1);
            entry = &self.table[slot];
        }
    }

    /// The same for a key of at most sixteen bytes, which its ends hold.
    #[inline(always)]
    pub(crate) fn probe_ends(&self, prefix: u64, suffix: u64, hash: u64, len: u32) -> Symbol {
        let mut slot = self.slot(hash);
        while let Some(entry) = self.table.get(slot) {
            if entry.prefix == prefix && entry.suffix == suffix && entry.len == len || entry.symbol == 0 {
                return Symbol(entry.symbol);
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
        Symbol::NONE
    }

    /// The same for any key, with its ends and hash already at hand.
    #[inline]
    pub(crate) fn probe(&self, prefix: u64, suffix: u64, hash: u64, key: &[u8]) -> Symbol {
        if self.table.is_empty() {
            return Symbol::NONE;
        }
        let mut slot = self.slot(hash);
        loop {
            let entry = &self.table[slot];
            if entry.symbol == 0 {
                return Symbol::NONE;
            }
            let is_same = entry.prefix == prefix && entry.suffix == suffix && entry.len as usize == key.len();
            if is_same && (key.len() <= 16 || self.names[entry.symbol as usize - 1].as_bytes() == key) {
                return Symbol(entry.symbol);
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
    }

    /// Bytes of all names as they stand in front of values.
    #[inline]
    fn quoted_len(&self) -> usize {
        self.quoted.len().saturating_sub(super::PADDING)
    }

    /// The text that [`rendered_place`](Self::rendered_place) refers to with readable bytes behind it, and its length.
    #[inline]
    pub(crate) fn padded(&self) -> (&[u8], usize) {
        (&self.quoted, self.quoted_len())
    }

    /// The name of a symbol; empty for [`Symbol::NONE`].
    #[must_use]
    pub fn name(&self, symbol: Symbol) -> &str {
        (symbol.0 as usize).checked_sub(1).and_then(|index| self.names.get(index)).map_or("", AsRef::as_ref)
    }

    /// The name of a symbol as a JSON string with its quotes.
    pub(crate) fn quoted(&self, symbol: Symbol) -> &[u8] {
        let key = self.rendered(symbol);
        &key[..key.len() - 1]
    }

    /// The name of a symbol as it stands in front of a member's value: quotes and colon included.
    #[inline]
    pub(crate) fn rendered(&self, symbol: Symbol) -> &[u8] {
        let index = symbol.0 as usize;
        let start = if index >= 2 { self.quoted_ends[index - 2] } else { 0 };
        &self.quoted[start as usize..self.quoted_ends[index - 1] as usize]
    }

    /// Where the name of a symbol lies as it stands in front of a member's value, and its length; for [`rendered_at`](Self::rendered_at).
    pub(crate) fn rendered_place(&self, symbol: Symbol) -> (u32, u32) {
        let len = self.rendered_len(symbol);
        (self.quoted_ends[symbol.0 as usize - 1] - len, len)
    }

    /// The same text as [`rendered`](Self::rendered) gives, by its place.
    #[inline]
    pub(crate) fn rendered_at(&self, start: u32, len: u32) -> &[u8] {
        &self.quoted[start as usize..(start + len) as usize]
    }

    /// Bytes of a member's key with quotes and colon.
    #[inline]
    pub(crate) fn rendered_len(&self, symbol: Symbol) -> u32 {
        u32::try_from(self.rendered(symbol).len()).unwrap_or(u32::MAX)
    }

    /// Whether the name needs escapes when it is written.
    pub(crate) fn is_escaped(&self, symbol: Symbol) -> bool {
        self.quoted(symbol).len() != self.name(symbol).len() + 2
    }

    /// A number that no other table has.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
