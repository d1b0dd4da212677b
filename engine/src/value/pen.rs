//! Pieces of text → the end of a buffer.
//!
//! An output is mostly one run of the record's bytes with short pieces around it, so what counts is how a short piece gets into the buffer. A [`Pen`] asks for the room of the whole output once and then copies [`STRIDE`] bytes for each short piece, whatever its length: what is written too far is overwritten by the next piece. Where that would leave either side's memory, the piece is copied by its length.
#![expect(
    unsafe_code,
    reason = "short pieces are copied by two vectors, without a call and without asking the buffer for room: an output is made of a dozen of them"
)]

use std::marker::PhantomData;

/// Bytes that are copied for a short piece.
pub(super) const STRIDE: usize = 32;

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

/// Writes behind the end of a buffer, as far as there is room.
#[derive(Debug)]
pub(super) struct Pen<'o> {
    out: &'o mut Vec<u8>,
    at: *mut u8,
    /// The last place at which a whole stride fits.
    last: *mut u8,
    is_full: bool,
}

impl<'o> Pen<'o> {
    /// A pen with room for `room` bytes.
    #[inline]
    pub(super) fn new(out: &'o mut Vec<u8>, room: usize) -> Self {
        out.reserve(room.saturating_add(STRIDE));
        let spare = out.spare_capacity_mut();
        // There are at least `STRIDE` spare bytes, so this is their first byte or lies behind it.
        let room = spare.len() - STRIDE;
        let at = spare.as_mut_ptr().cast::<u8>();
        // SAFETY: `room` is less than the length of the spare capacity.
        let last = unsafe { at.add(room) };
        Self { out, at, last, is_full: false }
    }

    /// Bytes written so far.
    #[inline]
    fn written(&self) -> usize {
        // The pen starts at the end of the buffer and only goes forwards.
        self.at.addr() - self.out.as_ptr().addr() - self.out.len()
    }

    /// Bytes that still fit.
    #[inline]
    fn room(&self) -> usize {
        self.last.addr() + STRIDE - self.at.addr()
    }

    /// Makes what has been written part of the buffer; false, and nothing is, when it did not fit.
    #[inline]
    pub(super) fn finish(self) -> bool {
        if self.is_full {
            return false;
        }
        let len = self.out.len() + self.written();
        // SAFETY: `at` never goes beyond the capacity, and all bytes in front of it have been written.
        unsafe { self.out.set_len(len) };
        true
    }

    /// A piece of `len` bytes of `text`, from `start`; false, and nothing is written, when it is not short or lies too near to an end: then the caller gives its [`bytes`](Self::bytes).
    #[inline(always)]
    pub(super) fn piece(&mut self, text: &Text<'_>, start: usize, len: usize) -> bool {
        if len > STRIDE || start + len > text.safe || self.at > self.last {
            return false;
        }
        // SAFETY: the piece ends within `safe`, so it starts in the text.
        let from = unsafe { text.first.add(start) };
        // SAFETY: a stride from there belongs to the text's memory, as `safe` says; and a stride fits between `at` and the end of the buffer.
        unsafe { copy_stride(from, self.at) };
        // SAFETY: `len` is at most a stride.
        self.at = unsafe { self.at.add(len) };
        true
    }

    /// A byte and a piece behind it; false as for a piece.
    #[inline(always)]
    pub(super) fn piece_behind(&mut self, lead: u8, text: &Text<'_>, start: usize, len: usize) -> bool {
        if len > STRIDE || start + len > text.safe || self.at >= self.last {
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

    /// One byte.
    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) {
        if self.at > self.last {
            return self.bytes(&[byte]);
        }
        // SAFETY: a stride fits between `at` and the end of the buffer.
        unsafe { self.at.write(byte) };
        // SAFETY: as above.
        self.at = unsafe { self.at.add(1) };
    }

    /// Takes the byte written last back.
    #[inline]
    pub(super) fn back(&mut self) {
        if self.written() > 0 {
            // SAFETY: at least one byte has been written behind the start.
            self.at = unsafe { self.at.sub(1) };
        }
    }

    /// Any bytes.
    #[inline(never)]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.run(bytes);
    }

    /// The same where they are many.
    #[inline(always)]
    pub(super) fn run(&mut self, bytes: &[u8]) {
        if self.room() < bytes.len() {
            self.is_full = true;
            return;
        }
        // SAFETY: there is room for all bytes, and a buffer that is borrowed mutably overlaps no others.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len()) };
        // SAFETY: as above.
        self.at = unsafe { self.at.add(bytes.len()) };
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
        let mut short = 0;
        for len in 0..=80 {
            for start in [0, 1, 40, 70] {
                for text in [Text::padded(&bytes, 150), Text::padded(&bytes, 118), Text::padded(&bytes, 86), Text::growing(&bytes)] {
                    for room in [0, len, 2 * len + 1, 300] {
                        let mut out = b"in front".to_vec();
                        let mut pen = Pen::new(&mut out, room);
                        let piece = &bytes[start..start + len];
                        if pen.piece(&text, start, len) {
                            short += 1;
                        } else {
                            pen.bytes(piece);
                        }
                        if !pen.piece_behind(b'-', &text, start, len) {
                            pen.byte(b'-');
                            pen.bytes(piece);
                        }
                        let expected: &[&[u8]] = if pen.finish() { &[b"in front", piece, b"-", piece] } else { &[b"in front"] };
                        assert_eq!(out, expected.concat(), "{len} from {start}, room {room}");
                        assert!(expected.len() > 1 || room < 2 * len + 1, "there was room");
                    }
                }
            }
        }
        assert!(short > 500, "the fast way is taken: {short}");
    }

    #[test]
    fn what_does_not_fit_leaves_the_buffer_as_it_was() {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"kept");
        let mut pen = Pen::new(&mut out, 0);
        pen.bytes(&[b'x'; 4096]);
        pen.byte(b'y');
        assert!(!pen.finish());
        assert_eq!(out, b"kept");
    }

    #[test]
    fn piece_behind_the_end_of_its_text_is_refused() {
        let (bytes, mut out) = ([b'x'; 100], Vec::new());
        let mut pen = Pen::new(&mut out, 100);
        assert!(!pen.piece(&Text::padded(&bytes, 5), 3, 4));
        assert!(pen.piece(&Text::padded(&bytes, 5), 3, 2));
    }
}
