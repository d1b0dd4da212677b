//! Sixteen bytes at a time: where a string or a number stops, and whether a text goes on with given bytes.
//!
//! [`Text`] is the only way in which scanners look at a document's bytes. Every load is checked against the end of the padding, so no scanner, however wrong, reads outside the buffer; what it costs is one compare that is never taken, for a whole [`Window`] where much is read at one place.
//!
//! Three forms of the same thing, [`Lanes`]: SSE2, which every x86-64 processor has, AVX2, which is asked for at run time and looks at 32 bytes at once, and plain bytes for all others. A test holds them together.
#![expect(unsafe_code, reason = "unaligned vector loads: a heartbeat read by its shape takes 1,100 instructions, with loops over bytes 1,900")]

use super::PADDING;

/// Bytes that one look takes in.
pub(super) const WIDTH: usize = 16;

/// Bytes of a [`Window`].
const WINDOW: usize = 64;

/// Bytes of a literal that is compared within a window, at most; behind it there is room for a value's quote and first bytes.
pub(super) const LITERAL: usize = 31;

/// [`WIDTH`] bytes.
pub(super) type Block = [u8; WIDTH];

/// The bytes of a literal that is compared within a window, then any.
pub(super) type Literal = [u8; 2 * WIDTH];

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

    /// Whether the given byte is marked; the number is below 32.
    #[inline]
    pub(super) fn has(self, byte: usize) -> bool {
        self.0 >> (byte & 31) & 1 != 0
    }

    /// All but the first mark.
    #[inline]
    pub(super) fn rest(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }

    /// Whether a byte before the given one is marked.
    #[inline]
    pub(super) fn any_before(self, byte: usize) -> bool {
        self.0 & ((1 << (byte & 31)) - 1) != 0
    }
}

/// What the bytes of a number are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberMarks {
    /// Bytes that are no digits.
    pub(super) others: Marks,
    pub(super) points: Marks,
    /// `e` and `E`.
    pub(super) exponents: Marks,
}

/// A document's text with its padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'t> {
    /// The text and [`PADDING`] zero bytes; two words, so that it is handed on in registers.
    bytes: &'t [u8],
}

impl<'t> Text<'t> {
    /// Reads `padded`, a text followed by [`PADDING`] zero bytes.
    ///
    /// # Panics
    /// There are fewer bytes than the padding has, or the first of them is not zero.
    #[inline]
    pub(super) fn new(padded: &'t [u8]) -> Self {
        let padding = padded.last_chunk::<PADDING>().expect("a document's text is padded");
        assert!(padding[0] == 0, "a zero stands behind the text");
        debug_assert_eq!(*padding, [0; PADDING], "the padding is zero");
        Self { bytes: padded }
    }

    /// Bytes of the text without its padding.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.bytes.len().wrapping_sub(PADDING)
    }

    #[inline]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.bytes[at]
    }

    #[inline]
    pub(super) fn slice(self, start: usize, end: usize) -> &'t [u8] {
        &self.bytes[start..end]
    }

    /// The bytes from `at` on, which is at most the end of the text: one check for all that is read there.
    #[inline]
    pub(super) fn window(self, at: usize) -> Window<'t> {
        assert!(at <= self.len(), "a scanner never looks from behind the text");
        // SAFETY: `at` is at most the length of the text, behind which new() has found PADDING bytes.
        let first = unsafe { self.bytes.as_ptr().add(at) };
        // SAFETY: the WINDOW bytes from there, as many as the padding has, are initialised and borrowed for as long as the result; bytes need no alignment.
        Window { bytes: unsafe { &*first.cast::<[u8; WINDOW]>() } }
    }

    /// The same for whoever knows that `at` is no further than the end of the text. Nothing but a zero stands there, so what a scanner has read byte for byte and found to be none lies in front of it.
    ///
    /// # Safety
    /// `at` is at most the length of the text.
    #[inline(always)]
    pub(super) unsafe fn window_within(self, at: usize) -> Window<'t> {
        debug_assert!(at <= self.len(), "a scanner never looks from behind the text");
        // SAFETY: as in window(), by what the caller promises.
        let first = unsafe { self.bytes.as_ptr().add(at) };
        // SAFETY: as in window().
        Window { bytes: unsafe { &*first.cast::<[u8; WINDOW]>() } }
    }

    /// The [`WIDTH`] bytes from `at`.
    #[inline]
    pub(super) fn block(self, at: usize) -> &'t Block {
        self.window(at).block(0)
    }

    /// Eight bytes from `at`, the first one lowest.
    #[inline]
    pub(super) fn word(self, at: usize) -> u64 {
        self.window(at).word(0)
    }
}

/// Some bytes of a text and what follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'t> {
    bytes: &'t [u8; WINDOW],
}

impl<'t> Window<'t> {
    /// The byte at `at`, which is at most [`LITERAL`].
    #[inline]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.bytes[at & LITERAL]
    }

    /// The byte behind a look from the front, or any other in the window.
    #[inline(always)]
    pub(super) fn byte_behind(self, at: usize) -> u8 {
        self.bytes[at]
    }

    /// Eight bytes from `at`, which is at most [`LITERAL`], the first one lowest.
    #[inline]
    pub(super) fn word(self, at: usize) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.block(at);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The first bytes, as many as a literal has at most.
    #[inline(always)]
    fn literal(self) -> &'t Literal {
        self.bytes.first_chunk().expect("a window is longer than a literal")
    }

    /// [`WIDTH`] bytes from `at`, which is at most [`LITERAL`].
    #[inline]
    pub(super) fn block(self, at: usize) -> &'t Block {
        let start = at & LITERAL;
        self.bytes[start..start + WIDTH].first_chunk().expect("WIDTH bytes are a block")
    }

    /// The first block.
    #[inline(always)]
    pub(super) fn first_block(self) -> &'t Block {
        self.bytes.first_chunk().expect("a window is longer than a block")
    }

    /// Two blocks from behind the first byte.
    #[inline(always)]
    fn blocks_behind(self) -> &'t Literal {
        self.bytes[1..].first_chunk().expect("a window is longer than two blocks and a byte")
    }
}

/// The looks at a leaf and the literal in front of it, by what the processor can do.
pub(super) trait Lanes {
    /// Whether the window begins with the bytes of `literal` that have a bit in `mask`.
    fn begins_with(window: Window<'_>, literal: &Literal, mask: u32) -> bool;

    /// Marks, in the two blocks behind the first byte, what ends the fast run of a string: quote, backslash, control character or a byte above ASCII. Nothing is marked behind a block that has a mark.
    fn string_ends(window: Window<'_>) -> Marks;

    /// Marks the bytes of a block that are no digits, and the two behind it.
    fn number_ends(block: &Block) -> Marks;
}

/// Marks what ends the fast run of a string: quote, backslash, control character or a byte above ASCII. And the quotes alone.
#[inline]
pub(super) fn string_marks(block: &Block) -> (Marks, Marks) {
    lanes::string_marks(block)
}

/// Marks what stops a string, quote, backslash or control character, and bytes above ASCII.
#[inline]
pub(super) fn string_stops(block: &Block) -> (Marks, Marks) {
    lanes::string_stops(block)
}

#[inline]
pub(super) fn number_marks(block: &Block) -> NumberMarks {
    lanes::number_marks(block)
}

#[cfg(not(target_arch = "x86_64"))]
use plain as lanes;
#[cfg(target_arch = "x86_64")]
use sse2 as lanes;

pub(super) use lanes::Here;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{Wide, is_wide};

/// Whether there is anything wider than [`Here`].
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_wide() -> bool {
    false
}

/// What processors with AVX2 do. Its functions become part of a caller that is compiled for such a processor, which is what makes them fast.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_xor_si256,
    };

    use super::{Block, Here, Lanes, Literal, Marks, Window};

    /// AVX2 and the bit counts that come with it.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Wide;

    /// Whether the processor has all that [`Wide`] asks for.
    #[inline(always)]
    pub(in super::super) fn is_wide() -> bool {
        std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi1") && std::is_x86_feature_detected!("bmi2")
    }

    impl Lanes for Wide {
        #[inline(always)]
        fn begins_with(window: Window<'_>, literal: &Literal, mask: u32) -> bool {
            // SAFETY: whoever uses these lanes has asked is_wide(): see Document::fit and Trie::run.
            unsafe { !equal(window.literal(), literal) & mask == 0 }
        }

        #[inline(always)]
        fn string_ends(window: Window<'_>) -> Marks {
            // SAFETY: as above.
            Marks(unsafe { string_lanes(window.blocks_behind()) })
        }

        #[inline(always)]
        fn number_ends(block: &Block) -> Marks {
            Here::number_ends(block)
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &Literal) -> __m256i {
        // SAFETY: the reference is to 32 initialised bytes, and the load asks for no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal(a: &Literal, b: &Literal) -> u32 {
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(load(a), load(b))).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn are(bytes: __m256i, byte: u8) -> __m256i {
        _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn string_lanes(bytes: &Literal) -> u32 {
        let bytes = load(bytes);
        // As signed numbers, bytes above ASCII are below zero, and with its second bit turned the quote lies next to the control characters, which stay among themselves: one comparison finds them all.
        let odd = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), _mm256_xor_si256(bytes, _mm256_set1_epi8(2)));
        _mm256_movemask_epi8(_mm256_or_si256(odd, are(bytes, b'\\'))).cast_unsigned()
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_xor_si128,
    };

    use super::{Block, Lanes, Literal, Marks, NumberMarks, WIDTH, Window};

    /// What every processor of the architecture has.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Here;

    impl Lanes for Here {
        #[inline(always)]
        fn begins_with(window: Window<'_>, literal: &Literal, mask: u32) -> bool {
            let ([low, high], _) = literal.as_chunks::<WIDTH>() else { return false };
            let low_mask = mask & 0xffff;
            if !equal(window.block(0), low) & low_mask != 0 {
                return false;
            }
            mask == low_mask || !equal(window.block(WIDTH), high) & mask >> WIDTH == 0
        }

        #[inline(always)]
        fn string_ends(window: Window<'_>) -> Marks {
            let ([first, second], _) = window.blocks_behind().as_chunks::<WIDTH>() else { return Marks(0) };
            // SAFETY: SSE2 is part of the architecture that this module is compiled for.
            let ends = unsafe { end_lanes(load(first)) };
            // SAFETY: as above.
            if ends != 0 { Marks(ends) } else { Marks(unsafe { end_lanes(load(second)) } << WIDTH) }
        }

        #[inline(always)]
        fn number_ends(block: &Block) -> Marks {
            // SAFETY: SSE2 is part of the architecture that this module is compiled for.
            Marks(unsafe { other_lanes(load(block)) } | 3 << WIDTH)
        }
    }

    #[inline]
    pub(super) fn string_marks(block: &Block) -> (Marks, Marks) {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { string_lanes(load(block)) }
    }

    #[inline]
    pub(super) fn string_stops(block: &Block) -> (Marks, Marks) {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { stop_lanes(load(block)) }
    }

    #[inline]
    pub(super) fn number_marks(block: &Block) -> NumberMarks {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { number_lanes(load(block)) }
    }

    #[inline]
    fn equal(a: &Block, b: &Block) -> u32 {
        // SAFETY: SSE2 is part of the architecture that this module is compiled for.
        unsafe { equal_lanes(load(a), load(b)) }
    }

    #[inline]
    fn load(block: &Block) -> __m128i {
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
    fn are(block: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(block, _mm_set1_epi8(byte.cast_signed()))
    }

    /// Bytes that are at most `byte`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn are_at_most(block: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(byte.cast_signed())), block)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn stops(block: __m128i) -> __m128i {
        _mm_or_si128(_mm_or_si128(are(block, b'"'), are(block, b'\\')), are_at_most(block, 0x1f))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn string_lanes(block: __m128i) -> (Marks, Marks) {
        (marks(_mm_or_si128(stops(block), block)), marks(are(block, b'"')))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn stop_lanes(block: __m128i) -> (Marks, Marks) {
        (marks(stops(block)), marks(block))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn number_lanes(block: __m128i) -> NumberMarks {
        let exponents = are(_mm_or_si128(block, _mm_set1_epi8(0x20)), b'e');
        NumberMarks { others: Marks(other_lanes(block)), points: marks(are(block, b'.')), exponents: marks(exponents) }
    }

    /// Bytes that are no digits.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn other_lanes(block: __m128i) -> u32 {
        // As signed numbers, the digits are now the ten least ones.
        let shifted = _mm_add_epi8(block, _mm_set1_epi8((0x80 - b'0').cast_signed()));
        marks(_mm_cmpgt_epi8(shifted, _mm_set1_epi8(i8::MIN + 9))).0
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn end_lanes(block: __m128i) -> u32 {
        // As for 32 bytes.
        let odd = _mm_cmplt_epi8(_mm_xor_si128(block, _mm_set1_epi8(2)), _mm_set1_epi8(0x21));
        marks(_mm_or_si128(odd, are(block, b'\\'))).0
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn equal_lanes(a: __m128i, b: __m128i) -> u32 {
        marks(_mm_cmpeq_epi8(a, b)).0
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::{Block, Lanes, Literal, Marks, NumberMarks, Window};

    /// What any processor can do.
    #[derive(Debug, Clone, Copy)]
    pub(in super::super) struct Here;

    impl Lanes for Here {
        #[inline]
        fn begins_with(window: Window<'_>, literal: &Literal, mask: u32) -> bool {
            let pairs = window.literal().iter().zip(literal).enumerate();
            pairs.fold(0, |marks, (at, (a, b))| marks | u32::from(a != b) << at) & mask == 0
        }

        #[inline]
        fn string_ends(window: Window<'_>) -> Marks {
            let ends = |block: &Block| marks(block, |byte| stops(byte) || byte >= 0x80).0;
            let (blocks, _) = window.blocks_behind().as_chunks();
            Marks(if ends(&blocks[0]) != 0 { ends(&blocks[0]) } else { ends(&blocks[1]) << super::WIDTH })
        }

        #[inline]
        fn number_ends(block: &Block) -> Marks {
            Marks(marks(block, |byte| !byte.is_ascii_digit()).0 | 3 << super::WIDTH)
        }
    }

    /// A bit for each byte of which `holds` is true. (Compilers make vector code of this where they can.)
    #[inline]
    fn marks(block: &Block, holds: impl Fn(u8) -> bool) -> Marks {
        Marks(block.iter().enumerate().fold(0, |marks, (at, &byte)| marks | u32::from(holds(byte)) << at))
    }

    fn stops(byte: u8) -> bool {
        byte == b'"' || byte == b'\\' || byte < 0x20
    }

    pub(super) fn string_marks(block: &Block) -> (Marks, Marks) {
        (marks(block, |byte| stops(byte) || byte >= 0x80), marks(block, |byte| byte == b'"'))
    }

    pub(super) fn string_stops(block: &Block) -> (Marks, Marks) {
        (marks(block, stops), marks(block, |byte| byte >= 0x80))
    }

    pub(super) fn number_marks(block: &Block) -> NumberMarks {
        NumberMarks {
            others: marks(block, |byte| !byte.is_ascii_digit()),
            points: marks(block, |byte| byte == b'.'),
            exponents: marks(block, |byte| byte | 0x20 == b'e'),
        }
    }
}

// A window from the end of the text is all padding; the longest over-read besides is that of the four digits of a unicode escape.
const _: () = assert!(PADDING >= WINDOW);
const _: () = assert!(LITERAL + 1 + WIDTH <= WINDOW && 2 * WIDTH + 1 < WINDOW);

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
                let mut block = *b"abcdefgh0123.e7E";
                block[at] = byte;
                block[WIDTH - 1 - at / 2] = byte.wrapping_mul(7);
                assert_eq!(lanes::string_marks(&block), plain::string_marks(&block), "{block:?}");
                assert_eq!(lanes::string_stops(&block), plain::string_stops(&block), "{block:?}");
                assert_eq!(lanes::number_marks(&block), plain::number_marks(&block), "{block:?}");
            }
        }
    }

    /// What lanes say of a window, by all that the scanners ask.
    fn told<L: Lanes>(window: Window<'_>, literal: &Literal, mask: u32, at: usize) -> (bool, usize, Marks) {
        (L::begins_with(window, literal, mask), L::string_ends(window).first(), L::number_ends(window.block(at)))
    }

    fn check(window: Window<'_>, literal: &Literal, mask: u32, at: usize) -> bool {
        let expected = told::<plain::Here>(window, literal, mask, at);
        assert_eq!(told::<Here>(window, literal, mask, at), expected, "{window:?} {literal:?} {mask:x} {at}");
        #[cfg(target_arch = "x86_64")]
        if is_wide() {
            assert_eq!(told::<Wide>(window, literal, mask, at), expected, "{window:?} {literal:?} {mask:x} {at}");
        }
        expected.0
    }

    #[test]
    fn a_window_begins_with_the_bytes_that_the_mask_asks_for() {
        let text = padded(b"abcdefghijklmnopqrstuvwxyz0123456789");
        let window = Text::new(&text).window(0);
        for len in 0..=LITERAL {
            let mut literal = [0; 2 * WIDTH];
            literal[..len].copy_from_slice(&text[..len]);
            let mask = (1 << len) - 1;
            assert!(check(window, &literal, mask, len), "{len} bytes");
            for at in 0..len {
                let mut other = literal;
                other[at] ^= 1;
                assert!(!check(window, &other, mask, at), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn all_lanes_find_the_ends_of_strings_and_numbers() {
        for byte in 0..=255_u8 {
            for at in 0..WINDOW {
                let mut text = padded(b"0123456789abcdef0123456789ABCDEFghijklmnopqrstuvwxyz0123456789xx");
                text[at] = byte;
                for from in [0, 1, 15, 16, LITERAL] {
                    check(Text::new(&text).window(0), &[0; 2 * WIDTH], 0, from);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "never looks from behind")]
    fn no_window_begins_behind_the_text() {
        let text = padded(b"abc");
        Text::new(&text).word(4);
    }
}
