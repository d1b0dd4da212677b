//! Sixteen bytes at a time: where a string stops, and whether a text goes on with given bytes.
//!
//! [`Text`] is the only way in which scanners look at a document's bytes. Every load is checked against the end of the padding, so no scanner, however wrong, reads outside the buffer; what it costs is one compare that is never taken.
//!
//! Two forms of the same thing: SSE2, which every x86-64 processor has, and words of eight bytes for all others. A test holds them together.
#![expect(unsafe_code, reason = "unaligned vector loads: 2,000 of a heartbeat's 3,700 instructions went into byte loops and slice checks")]

use super::PADDING;

/// Bytes that one look takes in.
pub(super) const WIDTH: usize = 16;

/// A bit for each of [`WIDTH`] bytes, the lowest for the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u32);

impl Marks {
    #[inline]
    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    /// Number of the first marked byte; 32 when there is none.
    #[inline]
    pub(super) fn first(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    /// Whether a byte before the given one is marked.
    #[inline]
    pub(super) fn any_before(self, byte: usize) -> bool {
        self.0 & ((1 << byte) - 1) != 0
    }
}

/// A document's text with its padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    /// The text and [`PADDING`] zero bytes.
    bytes: &'t [u8],
    /// Last offset from which [`WIDTH`] bytes can be loaded.
    last: usize,
}

impl<'t> Text<'t> {
    /// Reads `padded`, a text followed by [`PADDING`] zero bytes.
    ///
    /// # Panics
    /// There are fewer bytes than the padding has.
    #[inline]
    pub(super) fn new(padded: &'t [u8]) -> Self {
        let (_, padding) = padded.split_last_chunk::<PADDING>().expect("a document's text is padded");
        debug_assert_eq!(*padding, [0; PADDING], "the padding is zero");
        Self { bytes: padded, last: padded.len() - WIDTH }
    }

    /// Bytes of the text without its padding.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.bytes.len() - PADDING
    }

    #[inline]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.bytes[at]
    }

    #[inline]
    pub(super) fn slice(self, start: usize, end: usize) -> &'t [u8] {
        &self.bytes[start..end]
    }

    /// [`WIDTH`] bytes from `at`.
    #[inline]
    fn block(self, at: usize) -> &'t [u8; WIDTH] {
        assert!(at <= self.last, "a scanner never goes further than one look into the padding");
        // SAFETY: `last` is WIDTH below the length of `bytes`, which new() made sure is no less.
        let first = unsafe { self.bytes.as_ptr().add(at) };
        // SAFETY: the WIDTH bytes from there are initialised, borrowed for as long as the result, and an array of bytes needs no alignment.
        unsafe { &*first.cast::<[u8; WIDTH]>() }
    }

    /// Eight bytes from `at`, the first one lowest.
    #[inline]
    pub(super) fn word(self, at: usize) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.block(at);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Marks what ends the fast run of a string among the bytes from `at`: quote, backslash, control character or a byte above ASCII.
    #[inline]
    pub(super) fn string_marks(self, at: usize) -> Marks {
        lanes::string_marks(self.block(at))
    }

    /// The same in two: what stops a string (quote, backslash, control character), and bytes above ASCII.
    #[inline]
    pub(super) fn string_stops(self, at: usize) -> (Marks, Marks) {
        lanes::string_stops(self.block(at))
    }

    /// Whether the bytes from `at` that `mask` asks for, a bit each, are those of `expected`.
    #[inline]
    pub(super) fn has(self, at: usize, expected: &[u8; WIDTH], mask: u32) -> bool {
        lanes::equal(self.block(at), expected) & mask == mask
    }

    /// The offset of the first byte from `at` on that is no digit.
    #[inline]
    pub(super) fn digits_end(self, mut at: usize) -> usize {
        const ZEROS: u64 = 0x3030_3030_3030_3030;
        const ABOVE_NINE: u64 = 0x7676_7676_7676_7676;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        loop {
            // A digit becomes 0 to 9. Only a byte that is marked itself can carry into the next, so the lowest mark is exact.
            let offsets = self.word(at) ^ ZEROS;
            let marks = (offsets.wrapping_add(ABOVE_NINE) | offsets) & HIGHS;
            if marks != 0 {
                return at + (marks.trailing_zeros() >> 3) as usize;
            }
            at += 8;
        }
    }
}

#[cfg(target_arch = "x86_64")]
use sse2 as lanes;
#[cfg(not(target_arch = "x86_64"))]
use words as lanes;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};

    use super::{Marks, WIDTH};

    #[inline]
    pub(super) fn string_marks(block: &[u8; WIDTH]) -> Marks {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { marks_and_high(load(block)) }
    }

    #[inline]
    pub(super) fn string_stops(block: &[u8; WIDTH]) -> (Marks, Marks) {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { marks_apart(load(block)) }
    }

    #[inline]
    pub(super) fn equal(a: &[u8; WIDTH], b: &[u8; WIDTH]) -> u32 {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { equal_lanes(load(a), load(b)) }
    }

    #[inline]
    fn load(block: &[u8; WIDTH]) -> __m128i {
        // SAFETY: the reference is to 16 initialised bytes, and the load asks for no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn marks(lanes: __m128i) -> Marks {
        Marks(_mm_movemask_epi8(lanes).cast_unsigned())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn stops(block: __m128i) -> __m128i {
        let quote = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"'.cast_signed()));
        let backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\'.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        _mm_or_si128(_mm_or_si128(quote, backslash), control)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn marks_and_high(block: __m128i) -> Marks {
        marks(_mm_or_si128(stops(block), block))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn marks_apart(block: __m128i) -> (Marks, Marks) {
        (marks(stops(block)), marks(block))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn equal_lanes(a: __m128i, b: __m128i) -> u32 {
        marks(_mm_cmpeq_epi8(a, b)).0
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{Marks, WIDTH};

    /// A bit for each byte of which `holds` is true. (Compilers make vector code of this where they can.)
    fn marks(block: &[u8; WIDTH], holds: impl Fn(u8) -> bool) -> Marks {
        Marks(block.iter().enumerate().fold(0, |marks, (at, &byte)| marks | u32::from(holds(byte)) << at))
    }

    fn stops(byte: u8) -> bool {
        byte == b'"' || byte == b'\\' || byte < 0x20
    }

    pub(super) fn string_marks(block: &[u8; WIDTH]) -> Marks {
        marks(block, |byte| stops(byte) || byte >= 0x80)
    }

    pub(super) fn string_stops(block: &[u8; WIDTH]) -> (Marks, Marks) {
        (marks(block, stops), marks(block, |byte| byte >= 0x80))
    }

    pub(super) fn equal(a: &[u8; WIDTH], b: &[u8; WIDTH]) -> u32 {
        a.iter().zip(b).enumerate().fold(0, |marks, (at, (a, b))| marks | u32::from(a == b) << at)
    }
}

// The longest over-read is one look behind the last byte, or the four digits of a unicode escape.
const _: () = assert!(PADDING >= 2 * WIDTH);

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(text: &[u8]) -> Vec<u8> {
        [text, &[0; PADDING]].concat()
    }

    #[test]
    fn vectors_and_plain_bytes_mark_the_same() {
        for byte in 0..=255_u8 {
            for at in 0..WIDTH {
                let mut block = *b"abcdefghijklmnop";
                block[at] = byte;
                block[WIDTH - 1 - at / 2] = byte.wrapping_mul(7);
                assert_eq!(lanes::string_marks(&block), words::string_marks(&block), "{block:?}");
                assert_eq!(lanes::string_stops(&block), words::string_stops(&block), "{block:?}");
                assert_eq!(lanes::equal(&block, b"abcdefghijklmnop"), words::equal(&block, b"abcdefghijklmnop"), "{block:?}");
            }
        }
    }

    #[test]
    fn digits_end_at_the_first_other_byte() {
        for run in 0..40 {
            for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_digit()) {
                let text = padded(&[&b"0123456789".repeat(4)[..run], &[byte], b"55"].concat());
                assert_eq!(Text::new(&text).digits_end(0), run, "behind {run} digits comes {byte}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "never goes further")]
    fn no_load_leaves_the_padding() {
        let text = padded(b"abc");
        Text::new(&text).word(3 + PADDING - WIDTH + 1);
    }
}
