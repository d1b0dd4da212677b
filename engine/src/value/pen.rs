//! Pieces of text → the end of a buffer.
//!
//! An output is mostly one run of the record's bytes with short pieces around it, so what counts is how a short piece gets into the buffer. [`append`] asks for the room of the whole output once, and its [`Pen`] then copies [`STRIDE`] bytes for each short piece, whatever its length: what is written too far is overwritten by the next piece. Where that would leave either side's memory, the piece is copied by its length.
#![expect(
    unsafe_code,
    reason = "short pieces are copied by two vectors, without a call and without asking the buffer for room: an output is made of a dozen of them"
)]

use std::marker::PhantomData;

/// Bytes that are copied for a short piece.
pub(super) const STRIDE: usize = 32;

/// Bytes that a buffer has room for beyond what it is asked for: those of a pair, a byte and two short pieces.
const SLACK: usize = 2 * STRIDE + 1;

/// A text that pieces are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    first: *const u8,
    /// Bytes behind each of which at least [`STRIDE`] more belong to the text's buffer; 0 when it is too small.
    safe: usize,
    _bytes: PhantomData<&'t [u8]>,
}

impl<'t> Text<'t> {
    /// The first `len` of these bytes; those behind them are padding.
    #[inline(always)]
    pub(super) fn padded(bytes: &'t [u8], len: usize) -> Self {
        Self { first: bytes.as_ptr(), safe: if len + STRIDE <= bytes.len() { len } else { 0 }, _bytes: PhantomData }
    }

    /// All bytes of a buffer, behind which it has spare room.
    #[inline(always)]
    pub(super) fn growing(bytes: &'t Vec<u8>) -> Self {
        Self { first: bytes.as_ptr(), safe: if bytes.len() + STRIDE <= bytes.capacity() { bytes.len() } else { 0 }, _bytes: PhantomData }
    }
}

/// Writes behind the end of a buffer, as far as there is room. It is two words and is handed on by value, so that it travels in registers.
#[derive(Debug)]
pub(super) struct Pen<'o> {
    at: *mut u8,
    /// The last place at which a whole pair fits; null once something did not fit.
    last: *mut u8,
    /// One buffer's room and no other's, so that what [`append`] gets back is the pen that it gave.
    _room: PhantomData<fn(&'o ()) -> &'o ()>,
}

/// Appends what `write` writes, if that is at most `room` bytes, or happens to fit; else false, and the buffer is as it was.
#[inline(always)]
pub(super) fn append(out: &mut Vec<u8>, room: usize, write: impl for<'o> FnOnce(Pen<'o>) -> Pen<'o>) -> bool {
    out.reserve(room.saturating_add(SLACK));
    let spare = out.spare_capacity_mut();
    // There are at least `SLACK` spare bytes, so this is their first byte or lies behind it.
    let room = spare.len() - SLACK;
    let at = spare.as_mut_ptr().cast::<u8>();
    // SAFETY: `room` is less than the length of the spare capacity.
    let last = unsafe { at.add(room) };
    let Pen { at, last, .. } = write(Pen { at, last, _room: PhantomData });
    if last.is_null() {
        return false;
    }
    // The pen starts at the end of the buffer and only goes forwards.
    let len = at.addr() - out.as_ptr().addr();
    // SAFETY: the pen is the one made above, as its lifetime says; it never goes beyond the capacity, and all bytes in front of it have been written.
    unsafe { out.set_len(len) };
    true
}

impl Pen<'_> {
    /// A piece of `len` bytes of `text`, from `start`; false, and nothing is written, when it is not short or lies too near to an end: then the caller gives its [`bytes`](Self::bytes).
    #[inline(always)]
    pub(super) fn piece(&mut self, text: &Text<'_>, start: usize, len: usize) -> bool {
        if len > STRIDE || start + len > text.safe || self.at > self.last {
            return false;
        }
        // SAFETY: the piece ends within `safe`, so it starts in the text.
        let from = unsafe { text.first.add(start) };
        // SAFETY: a stride from there belongs to the text's memory, as `safe` says; and more than a stride fits between `at` and the end of the buffer.
        unsafe { copy_stride(from, self.at) };
        // SAFETY: `len` is at most a stride.
        self.at = unsafe { self.at.add(len) };
        true
    }

    /// A byte and a piece behind it; false as for a piece.
    #[inline(always)]
    pub(super) fn piece_behind(&mut self, lead: u8, text: &Text<'_>, start: usize, len: usize) -> bool {
        if len > STRIDE || start + len > text.safe || self.at > self.last {
            return false;
        }
        // SAFETY: more than a stride fits between `at` and the end of the buffer.
        unsafe { self.at.write(lead) };
        // SAFETY: as above.
        let behind = unsafe { self.at.add(1) };
        // SAFETY: as for `piece`.
        let from = unsafe { text.first.add(start) };
        // SAFETY: as for `piece`, and a byte more fits into the buffer.
        unsafe { copy_stride(from, behind) };
        // SAFETY: `len` is at most a stride.
        self.at = unsafe { behind.add(len) };
        true
    }

    /// A byte and two pieces behind it, each a text, a start and a length; false as for a piece.
    #[inline(always)]
    pub(super) fn pair(&mut self, lead: u8, (key, key_start, key_len): (&Text<'_>, usize, usize), (text, start, len): (&Text<'_>, usize, usize)) -> bool {
        // One comparison for both.
        if key_len | len >= STRIDE || key_start + key_len > key.safe || start + len > text.safe || self.at > self.last {
            return false;
        }
        // SAFETY: a byte and two strides fit between `at` and the end of the buffer.
        unsafe { self.at.write(lead) };
        // SAFETY: as above.
        let behind = unsafe { self.at.add(1) };
        // SAFETY: as for `piece`.
        let from = unsafe { key.first.add(key_start) };
        // SAFETY: as for `piece`, with the room as above.
        unsafe { copy_stride(from, behind) };
        // SAFETY: `key_len` is less than a stride.
        let behind = unsafe { behind.add(key_len) };
        // SAFETY: as for `piece`.
        let from = unsafe { text.first.add(start) };
        // SAFETY: as above: what has been written is less than a byte and a stride, and here is the second one.
        unsafe { copy_stride(from, behind) };
        // SAFETY: `len` is less than a stride.
        self.at = unsafe { behind.add(len) };
        true
    }

    /// One byte.
    #[inline(always)]
    pub(super) fn byte(self, byte: u8) -> Self {
        if self.at > self.last {
            return self.bytes(&[byte]);
        }
        // SAFETY: more than a byte fits between `at` and the end of the buffer.
        unsafe { self.at.write(byte) };
        // SAFETY: as above.
        Self { at: unsafe { self.at.add(1) }, ..self }
    }

    /// Any bytes.
    #[inline(never)]
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.run(bytes)
    }

    /// The same where they are many.
    #[inline(always)]
    pub(super) fn run(self, bytes: &[u8]) -> Self {
        // The pen is at most `SLACK` bytes behind `last`.
        if self.last.is_null() || self.last.addr() + SLACK - self.at.addr() < bytes.len() {
            return Self { last: std::ptr::null_mut(), ..self };
        }
        // SAFETY: there is room for all bytes, and a buffer that is borrowed mutably overlaps no others.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len()) };
        // SAFETY: as above.
        Self { at: unsafe { self.at.add(bytes.len()) }, ..self }
    }
}

/// Copies [`STRIDE`] bytes, of which the last ones may never have been written.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of as many bytes, and they do not overlap.
#[inline(always)]
unsafe fn copy_stride(from: *const u8, to: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { std::ptr::copy_nonoverlapping(from, to, STRIDE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of every length, from every kind of text, into buffers that have room for them, just so, or not.
    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let bytes: Vec<u8> = (0..150).collect();
        let (mut short, mut pairs) = (0, 0);
        for len in 0..=80 {
            for start in [0, 1, 40, 70] {
                for text in [Text::padded(&bytes, 150), Text::padded(&bytes, 118), Text::padded(&bytes, 86), Text::growing(&bytes)] {
                    for room in [0, len, 2 * len + 1, 4 * len + 2, 400] {
                        let mut out = b"in front".to_vec();
                        let piece = &bytes[start..start + len];
                        let is_written = append(&mut out, room, |mut pen| {
                            if pen.piece(&text, start, len) {
                                short += 1;
                            } else {
                                pen = pen.bytes(piece);
                            }
                            if !pen.piece_behind(b'-', &text, start, len) {
                                pen = pen.byte(b'-').bytes(piece);
                            }
                            if pen.pair(b'+', (&text, start, len), (&text, start, len / 2)) {
                                pairs += 1;
                                pen
                            } else {
                                pen.byte(b'+').bytes(piece).bytes(&piece[..len / 2])
                            }
                        });
                        let expected: &[&[u8]] = if is_written { &[b"in front", piece, b"-", piece, b"+", piece, &piece[..len / 2]] } else { &[b"in front"] };
                        assert_eq!(out, expected.concat(), "{len} from {start}, room {room}");
                        assert!(expected.len() > 1 || room < 4 * len + 2, "there was room");
                    }
                }
            }
        }
        assert!(short > 500 && pairs > 500, "the fast way is taken: {short}, {pairs}");
    }

    #[test]
    fn what_does_not_fit_leaves_the_buffer_as_it_was() {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"kept");
        assert!(!append(&mut out, 0, |pen| pen.bytes(&[b'x'; 4096]).byte(b'y').bytes(b"z")));
        assert_eq!(out, b"kept");
    }

    #[test]
    fn piece_behind_the_end_of_its_text_is_refused() {
        let (bytes, mut out) = ([b'x'; 100], Vec::new());
        assert!(append(&mut out, 100, |mut pen| {
            assert!(!pen.piece(&Text::padded(&bytes, 5), 3, 4));
            assert!(pen.piece(&Text::padded(&bytes, 5), 3, 2));
            pen
        }));
        assert_eq!(out, b"xx");
    }
}
