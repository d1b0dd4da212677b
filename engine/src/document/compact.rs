//! Insignificant whitespace taken out of a text, before its values are looked at.
//!
//! Whoever writes a document out wants it compact, so a text with whitespace is made compact once, and everything behind (the scanner's fast loop, splices, sizes) knows compact texts only. Where whitespace stands is told by bits, one for each byte, 64 at a time; strings are the bytes between quotes that no backslash escapes.
//!
//! This is no judge: what is left may be no JSON, and the scanner finds out. The one thing that it could not find out any more is a gap inside a scalar (`1 2`), which is therefore refused here.

/// Bytes of one step.
const STEP: usize = 64;

const _: () = assert!(super::PADDING >= STEP);

/// Writes the first `len` bytes of `source`, a text with its padding, without whitespace to `target`, which is as long as `source`; returns how many there are, or nothing when a scalar would be closed up.
pub(super) fn compact(source: &[u8], len: usize, target: &mut [u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if wide::is_there() {
        #[expect(
            unsafe_code,
            reason = "two instructions take the bytes out of a word: a text with whitespace is made compact in a third of the time that a loop over its bytes takes"
        )]
        // SAFETY: the processor has been asked.
        return unsafe { wide::compact(source, len, target) };
    }
    plain(source, len, target)
}

/// The slow twin: byte by byte. What is no JSON it leaves as the other one does, so that the two can be held against each other.
fn plain(source: &[u8], len: usize, target: &mut [u8]) -> Option<usize> {
    let (mut end, mut in_string, mut escaped) = (0, false, false);
    // Whether the last byte that was kept belongs to a number or word, or to nothing, and whether whitespace has been seen since.
    let (mut scalar, mut gap) = (false, false);
    for &byte in &source[..len] {
        let is_quote = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        if !in_string && matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            gap = true;
            continue;
        }
        let is_scalar = !in_string && !is_quote && !matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | 0x0c | 0x1a);
        if gap && scalar && is_scalar {
            return None;
        }
        in_string ^= is_quote;
        (scalar, gap) = (is_scalar, false);
        target[end] = byte;
        end += 1;
    }
    Some(end)
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and the instructions of BMI2")]
mod wide {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi8, _mm256_shuffle_epi8,
        _pdep_u64, _pext_u64,
    };

    use super::STEP;

    /// Whether the processor has all that is needed here.
    pub(super) fn is_there() -> bool {
        use std::is_x86_feature_detected as has;
        has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt")
    }

    /// A bit for each byte of a step.
    #[derive(Clone, Copy)]
    struct Bits {
        quotes: u64,
        backslashes: u64,
        whitespace: u64,
        /// `,:{}[]`, and some control characters.
        marks: u64,
    }

    /// What a step has to know of those before it.
    #[derive(Default)]
    struct Carry {
        /// All ones within a string.
        in_string: u64,
        /// 1 when the next byte is escaped.
        escaped: u64,
        /// 1 when the last byte belongs to a scalar.
        scalar: u64,
        /// 1 when the last byte belongs to whitespace behind a scalar.
        gap: u64,
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    pub(super) fn compact(source: &[u8], len: usize, target: &mut [u8]) -> Option<usize> {
        let (mut carry, mut end) = (Carry::default(), 0);
        for at in (0..len).step_by(STEP) {
            let step: &[u8; STEP] = source[at..at + STEP].first_chunk()?;
            let valid = if len - at < STEP { (1 << (len - at)) - 1 } else { u64::MAX };
            let keep = carry.kept(bits(step), valid)?;
            if keep == u64::MAX {
                target[end..end + STEP].copy_from_slice(step);
                end += STEP;
                continue;
            }
            for (word, at) in step.as_chunks::<8>().0.iter().zip((0..STEP).step_by(8)) {
                let keep = keep >> at & 0xff;
                // Each bit becomes a byte of ones.
                let bytes = _pdep_u64(keep, 0x0101_0101_0101_0101) * 0xff;
                target[end..end + 8].copy_from_slice(&_pext_u64(u64::from_le_bytes(*word), bytes).to_le_bytes());
                end += keep.count_ones() as usize;
            }
        }
        Some(end)
    }

    impl Carry {
        /// The bytes of a step that stay.
        #[inline]
        #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
        fn kept(&mut self, bits: Bits, valid: u64) -> Option<u64> {
            let quotes = bits.quotes & !self.escaped_bytes(bits.backslashes);
            // From each opening quote to the byte in front of the closing one.
            let mut strings = quotes;
            for shift in [1, 2, 4, 8, 16, 32] {
                strings ^= strings << shift;
            }
            strings ^= self.in_string;
            self.in_string = if strings >> 63 == 1 { u64::MAX } else { 0 };
            let gaps = bits.whitespace & !strings;
            let scalars = !(bits.whitespace | bits.marks | quotes | strings) & valid;
            let gaps_behind_scalars = gaps & (scalars << 1 | self.scalar);
            self.scalar = scalars >> 63;
            // The addition carries from the first byte of each such gap to the byte behind its last.
            let (sum, is_over) = gaps.overflowing_add(gaps_behind_scalars);
            let (sum, is_over_too) = sum.overflowing_add(self.gap);
            self.gap = u64::from(is_over || is_over_too);
            (sum & !gaps & scalars == 0).then_some(!gaps & valid)
        }

        /// Bytes behind backslashes that are not escaped themselves.
        #[inline]
        fn escaped_bytes(&mut self, backslashes: u64) -> u64 {
            let mut escaped = self.escaped;
            let mut left = backslashes & !escaped;
            self.escaped = 0;
            while left != 0 {
                let at = left.trailing_zeros();
                if at == 63 {
                    self.escaped = 1;
                    break;
                }
                escaped |= 2 << at;
                left &= !(3 << at);
            }
            escaped
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bits(step: &[u8; STEP]) -> Bits {
        let (halves, _) = step.as_chunks::<32>();
        let (low, high) = (half(&halves[0]), half(&halves[1]));
        let both = |at: usize| u64::from(low[at]) | u64::from(high[at]) << 32;
        Bits { quotes: both(0), backslashes: both(1), whitespace: both(2), marks: both(3) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn half(bytes: &[u8; 32]) -> [u32; 4] {
        // SAFETY: the reference is to 32 initialised bytes, and the load asks for no alignment.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        // A byte is in a set when the table has it at the place of its low four bits.
        let spaces = table([b' ', 0, 0, 0, 0, 0, 0, 0, 0, b'\t', b'\n', 0, 0, b'\r', 0, 0]);
        let marks = table([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b':', b'{', b',', b'}', 0, 0]);
        // `[` and `]` differ from `{` and `}` in one bit. A zero is in no set: the first place of one table has a space, of the other no zero is asked.
        let folded = _mm256_or_si256(bytes, all(0x20));
        [
            ones(_mm256_cmpeq_epi8(bytes, all(b'"'))),
            ones(_mm256_cmpeq_epi8(bytes, all(b'\\'))),
            ones(_mm256_cmpeq_epi8(bytes, _mm256_shuffle_epi8(spaces, bytes))),
            ones(_mm256_cmpeq_epi8(folded, _mm256_shuffle_epi8(marks, folded))),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn ones(bytes: __m256i) -> u32 {
        _mm256_movemask_epi8(bytes).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn all(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn table(bytes: [u8; 16]) -> __m256i {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes.map(u8::cast_signed);
        _mm256_setr_epi8(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PADDING;
    use super::*;

    fn check(text: &[u8]) -> Option<Vec<u8>> {
        let source = [text, &[0; PADDING]].concat();
        let [told, slow] = [compact, plain].map(|way| {
            let mut target = vec![0xee; source.len()];
            way(&source, text.len(), &mut target).map(|end| target[..end].to_vec())
        });
        assert_eq!(told, slow, "{:?}", String::from_utf8_lossy(text));
        told
    }

    #[test]
    fn whitespace_goes_and_strings_stay() {
        for (text, expected) in [
            (r#" { "a b" : [ 1 , "c \" d" , true ] } "#, r#"{"a b":[1,"c \" d",true]}"#),
            ("\"a\\\\\" ,\t\r\n1", "\"a\\\\\",1"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("", ""),
            ("  ", ""),
            ("1 ,\n2", "1,2"),
            ("\"a\" \"b\"", "\"a\"\"b\""),
        ] {
            assert_eq!(check(text.as_bytes()).as_deref(), Some(expected.as_bytes()), "{text:?}");
        }
        for text in ["1 2", "[1,tr\nue]", "- 1", "1. 5", "{\"a\":1 \u{e9}}", "1 \0"] {
            assert_eq!(check(text.as_bytes()), None, "{text:?}");
        }
    }

    /// Texts of all that matters, long enough for several steps, with every byte at the edges of steps.
    #[test]
    fn both_ways_do_the_same() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let bytes = b"\" \\,1 \n\t:{}[]ae\r\x00\x80\x0c\x1a";
        let mut kept = 0;
        for round in 0..40_000 {
            let (len, kinds) = (random(200), if round % 2 == 0 { 5 } else { bytes.len() as u64 });
            let text: Vec<u8> = (0..len).map(|_| bytes[usize::try_from(random(kinds)).expect("small")]).collect();
            kept += usize::from(check(&text).is_some());
        }
        for at in [0, 1, 31, 32, 62, 63, 64, 65, 127, 128] {
            for byte in 0..=255_u8 {
                let mut text = b"[1 , \"a\\\" b\" ]".repeat(12);
                text[at] = byte;
                kept += usize::from(check(&text).is_some());
            }
        }
        assert!(kept > 10_000, "{kept}");
    }
}
