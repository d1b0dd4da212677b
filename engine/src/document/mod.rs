//! Message bytes → validated token tape.
//!
//! A [`Document`] owns a padded copy of one JSON text and a tape of its values. One pass validates everything (RFC 8259 grammar, UTF-8, depth, size) and records where each value and key lies; nothing is converted, so number spelling, string escapes and key order survive untouched. Insignificant whitespace is taken out before (`document::compact`), so a value is written by copying its bytes. Every JSON text that enters an execution comes through here: records, task replies, mock replies, literals of the definition.
//!
//! Promises of a filled document:
//! - token 0 is the root; the children of a container follow it directly, each one's [`next`](Document::next) being its following sibling;
//! - keys that the program names carry its symbol, so a path step compares integers;
//! - no object holds the same key twice (a text that did is rewritten first: last value, first position);
//! - the text is compact, and length and depth of every value are known without a walk.
//!
//! Absent on purpose: no tree, no number conversion, no clock, no allocation once the buffers are warm.

mod compact;
mod dedupe;
mod fault;
mod lanes;
mod leaf;
mod members;
mod scan;
mod shape;
mod symbols;
mod tape;
mod text;

pub use fault::{Fault, FaultKind};
pub use shape::{Counts, SHAPES_MAX, Shapes};
pub use symbols::{Symbol, Symbols};
pub use tape::{Children, Kind, Token};
pub use text::{Unescaped, unescape_into};

pub(crate) use shape::{ABSENT, UNKNOWN};
pub(crate) use tape::{ESCAPED as SPAN_ESCAPED, Span, Static};
pub(crate) use text::{keys_equal, quote_bytes_into, quote_into};

/// Largest text a document takes, in bytes: lengths on the tape have 24 bits.
pub const DOCUMENT_BYTES_MAX: usize = (1 << 24) - 1;

/// Deepest nesting of arrays and objects a document takes; Jackson, which the AWS service uses, has the same default.
pub const DOCUMENT_DEPTH_MAX: u16 = 1000;

/// Readable bytes behind the text, so that scanners may load whole words.
pub(crate) const PADDING: usize = 64;

/// One JSON text with its tape; buffers are reused from one [`fill`](Document::fill) to the next.
#[derive(Debug, Default, Clone)]
pub struct Document {
    /// The text, followed by [`PADDING`] zero bytes, then anything: as long as it ever had to be.
    bytes: Vec<u8>,
    /// Length of the text without the padding.
    len: usize,
    tape: tape::Tape,
    stack: Vec<scan::Open>,
    /// As long as `bytes` once there was insignificant whitespace: then the text as it came in.
    spare: Vec<u8>,
    /// Insignificant whitespace in the whole text, in bytes. Only [`fill_keeping_duplicates`](Self::fill_keeping_duplicates) leaves any.
    whitespace: u32,
    /// Number of the shape whose static half the tape holds, also when it is not in use; 0 for none.
    shape: u64,
    /// What the program's paths lead to, by that shape.
    places: Vec<u32>,
    /// Scratch of the duplicate check of large objects: (hash, token).
    seen: Vec<(u64, u32)>,
}

impl Document {
    /// An empty document, holding no text and no tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies `text` in, validates it and builds the tape; `symbols` names the keys that get an integer.
    ///
    /// # Errors
    /// A [`Fault`] with the byte offset of the first offence. The document is then empty.
    pub fn fill(&mut self, text: &[u8], symbols: &Symbols) -> Result<(), Fault> {
        self.copy(text)?;
        self.fill_by_scan(text, symbols)
    }

    /// The full pass and what may follow it, over the bytes taken over from `text`.
    #[inline(never)]
    fn fill_by_scan(&mut self, text: &[u8], symbols: &Symbols) -> Result<(), Fault> {
        let findings = self.scan_copy(text, symbols)?;
        self.deduplicate(findings, symbols)
    }

    /// As [`fill`](Self::fill), but whitespace and repeated keys stay where they are, so that offsets belong to `text`. For definitions, whose findings have a place; nothing that runs may be built on it.
    pub(crate) fn fill_keeping_duplicates(&mut self, text: &[u8], symbols: &Symbols) -> Result<(), Fault> {
        self.clear();
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(Fault::too_large(DOCUMENT_BYTES_MAX));
        }
        self.scan_whole(text, symbols)
    }

    /// Takes over the bytes of a text with padding behind them; whitespace at its end is left behind. What the tape says is older.
    #[inline(always)]
    fn copy(&mut self, text: &[u8]) -> Result<(), Fault> {
        if text.len() > DOCUMENT_BYTES_MAX {
            self.clear();
            return Err(Fault::too_large(DOCUMENT_BYTES_MAX));
        }
        let is_trimmed = text.last().is_some_and(|&byte| byte > b' ');
        self.take_over(if is_trimmed { text } else { trimmed(text) });
        Ok(())
    }

    #[inline]
    fn take_over(&mut self, text: &[u8]) {
        let len = text.len();
        if self.bytes.len() < len + PADDING {
            return self.take_over_more(text);
        }
        let (bytes, padding) = self.bytes[..len + PADDING].split_at_mut(len);
        bytes.copy_from_slice(text);
        padding.fill(0);
        self.len = len;
    }

    /// The same where there is no room yet.
    #[cold]
    #[inline(never)]
    fn take_over_more(&mut self, text: &[u8]) {
        self.bytes.resize((text.len() + PADDING).next_power_of_two(), 0);
        self.take_over(text);
    }

    /// The full pass over the bytes taken over from `text`.
    fn scan_copy(&mut self, text: &[u8], symbols: &Symbols) -> Result<scan::Findings, Fault> {
        self.forget_tape();
        self.shape = 0;
        self.places.clear();
        match self.scan(symbols, false) {
            Ok(findings) => Ok(findings),
            Err(_) => self.scan_again(text, symbols),
        }
    }

    /// The same for a text that is either not compact or no JSON.
    #[inline(never)]
    fn scan_again(&mut self, text: &[u8], symbols: &Symbols) -> Result<scan::Findings, Fault> {
        if self.whitespace > 0 && self.make_compact() {
            self.forget_tape();
            if let Ok(findings) = self.scan(symbols, false) {
                return Ok(findings);
            }
        }
        // What is wrong is told by the text as it came in.
        let scanned = self.scan_whole(text, symbols);
        self.clear();
        Err(scanned.expect_err("whitespace decides about nothing but a gap inside a scalar, which is a fault"))
    }

    /// Scans a text as it is, from the beginning.
    fn scan_whole(&mut self, text: &[u8], symbols: &Symbols) -> Result<(), Fault> {
        self.forget_tape();
        self.take_over(text);
        self.shape = 0;
        self.places.clear();
        self.scan(symbols, true).map(|_| ()).inspect_err(|_| self.clear())
    }

    /// Takes the whitespace out of the text; false when that would close up a scalar.
    fn make_compact(&mut self) -> bool {
        self.make_spare();
        let Some(len) = compact::compact(&self.bytes, self.len, &mut self.spare) else { return false };
        self.swap_spare(len);
        true
    }

    /// Makes the second buffer as long as the first.
    #[inline]
    fn make_spare(&mut self) {
        if self.spare.len() < self.bytes.len() {
            self.spare.resize(self.bytes.len(), 0);
        }
    }

    /// The first `len` bytes of the second buffer become the text, and the text lies there.
    #[inline]
    fn swap_spare(&mut self, len: usize) {
        std::mem::swap(&mut self.bytes, &mut self.spare);
        self.bytes[len..len + PADDING].fill(0);
        self.len = len;
    }

    /// Writes the text anew when an object holds a key twice.
    #[inline]
    fn deduplicate(&mut self, findings: scan::Findings, symbols: &Symbols) -> Result<(), Fault> {
        if findings.repeats_key {
            let rewritten = dedupe::rewrite(self);
            return self.fill(&rewritten, symbols);
        }
        Ok(())
    }

    /// Forgets text and tape, keeping the buffers.
    pub fn clear(&mut self) {
        self.len = 0;
        self.forget_tape();
    }

    fn forget_tape(&mut self) {
        self.tape.clear();
        self.stack.clear();
        self.whitespace = 0;
    }

    /// Gives memory beyond `bytes` back, so that one large record does not stay large for ever.
    pub fn shrink(&mut self, bytes: usize) {
        if self.bytes.capacity().max(self.spare.capacity()) > bytes {
            self.bytes.truncate(bytes.max(self.len + PADDING));
            self.bytes.shrink_to_fit();
            self.spare = Vec::new();
            self.tape.shrink(bytes);
            self.shape = 0;
            self.places.clear();
            self.seen = Vec::new();
        }
    }

    /// Bytes of memory held by the buffers.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.spare.capacity() + self.tape.capacity_bytes() + self.places.capacity() * size_of::<u32>()
    }

    /// The text as it came in, without insignificant whitespace and repeated keys.
    #[must_use]
    #[inline]
    pub fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Bytes of the text and of its tape.
    #[inline]
    pub(crate) fn bytes_held(&self) -> usize {
        self.len + self.token_count() * (size_of::<Span>() + size_of::<Static>())
    }

    /// The bytes of the text from offset `start` to `end`.
    #[inline]
    pub(crate) fn slice(&self, start: u32, end: u32) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// The text with readable bytes behind it, and its length.
    #[inline]
    pub(crate) fn padded(&self) -> (&[u8], usize) {
        (&self.bytes, self.len)
    }

    /// True while nothing has been filled in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tape.count() == 0
    }

    /// Whether the text has no insignificant whitespace at all, so that any value can leave as it lies.
    #[must_use]
    #[inline]
    pub fn is_compact(&self) -> bool {
        self.whitespace == 0
    }
}

/// A text without the whitespace at its end. Out of the way of those that have none: a heartbeat that ends with a newline takes 22 instructions more, of 2,440.
#[cold]
#[inline(never)]
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\n' | b'\r' | b'\t'] = text {
        text = rest;
    }
    text
}
