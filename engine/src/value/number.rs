//! The number rules, in one place: numbers compare exactly, as decimals, never through a double where that would lie.

use std::cmp::Ordering;
use std::hash::Hasher;

/// A JSON number taken apart without loss: `digits × 10^exponent`, digits without leading or trailing zeros.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'t> {
    negative: bool,
    /// The digits before and behind the point; together they form the coefficient.
    whole: &'t [u8],
    fraction: &'t [u8],
    /// Power of ten of the first digit that is not zero.
    magnitude: i64,
}

impl<'t> Decimal<'t> {
    /// Takes a valid JSON number apart.
    fn parse(text: &'t [u8]) -> Self {
        let negative = text.first() == Some(&b'-');
        let text = &text[usize::from(negative)..];
        let (mantissa, exponent) = match text.iter().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let whole = strip_leading(whole);
        let length = |slice: &[u8]| i64::try_from(slice.len()).unwrap_or(i64::MAX);
        let (whole, fraction, magnitude) = if whole.is_empty() {
            let stripped = strip_leading(fraction);
            (whole, stripped, exponent.saturating_sub(length(fraction) - length(stripped)))
        } else {
            (whole, fraction, exponent.saturating_add(length(whole)))
        };
        Self { negative, whole, fraction, magnitude }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 't {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn is_zero(&self) -> bool {
        self.digits().all(|digit| digit == b'0')
    }
}

fn strip_leading(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

/// An exponent, saturating far beyond any digit count.
fn parse_exponent(text: &[u8]) -> i64 {
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let value = digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))).min(1 << 40);
    if negative { -value } else { value }
}

/// A plain integer of at most 18 digits, which is nearly every number of nearly every message.
#[inline]
pub(crate) fn small_integer(text: &[u8]) -> Option<i64> {
    let (&first, rest) = text.split_first()?;
    if first != b'-' {
        return digits(first, rest);
    }
    let (&first, rest) = rest.split_first()?;
    digits(first, rest).map(|value| -value)
}

/// The value of an integer of `len` characters at the beginning of `text`, if it has at most seven digits; all are read at once.
#[inline(always)]
pub(crate) fn short_integer(text: &[u8; 8], len: u32) -> Option<i64> {
    if len == 0 || len > 7 {
        return None;
    }
    let word = u64::from_le_bytes(*text);
    let is_negative = word & 0xff == u64::from(b'-');
    let (word, len) = if is_negative { (word >> 8, len - 1) } else { (word, len) };
    if len == 0 {
        return None;
    }
    // The last digit comes to the top byte; what is behind the number leaves the word, and zeros come in at its other end.
    let digits = (word ^ 0x3030_3030_3030_3030) << (64 - 8 * len);
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    let value = fours.wrapping_mul(10_000 << 32 | 1) >> 32;
    let value = i64::try_from(value).ok()?;
    Some(if is_negative { -value } else { value })
}

/// The digits of an integer of `len` characters at the beginning of `text`, one a byte, the last one in the lowest: such words compare as the integers do. `None` for a sign, a fraction, an exponent, and more than eight digits.
#[inline(always)]
pub(crate) fn short_digits(text: &[u8; 8], len: u32) -> Option<u64> {
    if len.wrapping_sub(1) > 7 {
        return None;
    }
    // What is behind the number leaves the word.
    let digits = (u64::from_be_bytes(*text) ^ 0x3030_3030_3030_3030) >> (64 - 8 * len);
    ((digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 == 0).then_some(digits)
}

/// The value of at most 18 digits.
#[inline]
fn digits(first: u8, rest: &[u8]) -> Option<i64> {
    let mut value = u64::from(first.wrapping_sub(b'0'));
    if value > 9 || rest.len() > 17 {
        return None;
    }
    for &byte in rest {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value * 10 + digit;
    }
    i64::try_from(value).ok()
}

/// Compares two valid JSON numbers by value.
#[inline]
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match (small_integer(a), small_integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => compare_slow(a, b),
    }
}

fn compare_slow(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (Decimal::parse(a), Decimal::parse(b));
    match (a.is_zero(), b.is_zero()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return if b.negative { Ordering::Greater } else { Ordering::Less },
        (false, true) => return if a.negative { Ordering::Less } else { Ordering::Greater },
        (false, false) => {}
    }
    if a.negative != b.negative {
        return if a.negative { Ordering::Less } else { Ordering::Greater };
    }
    let size = a.magnitude.cmp(&b.magnitude).then_with(|| compare_digits(&a, &b));
    if a.negative { size.reverse() } else { size }
}

/// Compares coefficients whose first digits weigh the same; the shorter one goes on with zeros.
fn compare_digits(a: &Decimal<'_>, b: &Decimal<'_>) -> Ordering {
    let (mut left, mut right) = (a.digits(), b.digits());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (x, y) => match x.unwrap_or(b'0').cmp(&y.unwrap_or(b'0')) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

/// The value as an integer when it is one without a fraction: `3`, `3.0` and `30e-1` are, `3.5` is not.
pub(crate) fn to_integer(text: &[u8]) -> Option<i64> {
    if let Some(value) = small_integer(text) {
        return Some(value);
    }
    let decimal = Decimal::parse(text);
    if decimal.is_zero() {
        return Some(0);
    }
    if !(0..=19).contains(&decimal.magnitude) {
        return None;
    }
    let mut value = 0_i128;
    for (index, digit) in decimal.digits().enumerate() {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        if index < decimal.magnitude {
            value = value * 10 + i128::from(digit - b'0');
        } else if digit != b'0' {
            return None;
        }
    }
    let written = i64::try_from(decimal.whole.len() + decimal.fraction.len()).unwrap_or(i64::MAX);
    for _ in written..decimal.magnitude {
        value *= 10;
    }
    i64::try_from(if decimal.negative { -value } else { value }).ok()
}

/// The nearest integer, halves going up towards +∞ (spec/asl.md 9): 1.5 → 2, -1.5 → -1; `None` when it has more than 64 bits.
pub(crate) fn round(text: &[u8]) -> Option<i64> {
    if let Some(value) = small_integer(text) {
        return Some(value);
    }
    let decimal = Decimal::parse(text);
    if decimal.is_zero() || decimal.magnitude < 0 {
        return Some(0);
    }
    if decimal.magnitude > 19 {
        return None;
    }
    let (mut value, mut half, mut beyond_half) = (0_i128, false, false);
    let mut place = 0;
    for digit in decimal.digits() {
        match (i64::cmp(&place, &decimal.magnitude), digit) {
            (Ordering::Less, _) => value = value * 10 + i128::from(digit - b'0'),
            (Ordering::Equal, b'5'..) => {
                half = true;
                beyond_half = digit > b'5';
            }
            (_, b'0') => {}
            (Ordering::Equal, _) => break,
            (Ordering::Greater, _) => {
                beyond_half |= half;
                break;
            }
        }
        place += 1;
    }
    for _ in place..decimal.magnitude {
        value *= 10;
    }
    let up = if decimal.negative { beyond_half } else { half };
    value += i128::from(up);
    i64::try_from(if decimal.negative { -value } else { value }).ok()
}

/// A text as a number in the spelling of JSON, if Java's decimals read it as one: leading zeros, bare points and a plus sign are fine.
pub(crate) fn of_java(text: &str) -> Option<String> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, "0"), |(mantissa, exponent)| (mantissa, exponent));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let is_number = digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0 && digits(exponent_digits) && !exponent_digits.is_empty();
    let sign = if text.starts_with('-') { "-" } else { "" };
    is_number.then(|| format!("{sign}0{whole}.{fraction}0e{exponent}"))
}

/// A valid JSON number as Java's decimals print it: plainly, or with an exponent where the number is very small or its spelling has a positive one.
pub(crate) fn to_java(text: &str) -> String {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(parse_exponent(exponent.as_bytes()));
    let coefficient = format!("{whole}{fraction}");
    let digits = match coefficient.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let sign = if digits == "0" { "" } else { sign };
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let adjusted = count - 1 - scale;
    if scale < 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let plus = if adjusted > 0 { "+" } else { "" };
        return format!("{sign}{first}{point}{rest}E{plus}{adjusted}");
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Feeds a number to `hasher`, so that equal numbers hash alike in any spelling.
pub(crate) fn hash(text: &[u8], hasher: &mut impl Hasher) {
    let decimal = Decimal::parse(text);
    if decimal.is_zero() {
        return hasher.write_u8(b'0');
    }
    hasher.write_u8(u8::from(decimal.negative));
    hasher.write_i64(decimal.magnitude);
    let mut zeros = 0_u32;
    for digit in decimal.digits() {
        if digit == b'0' {
            zeros += 1;
            continue;
        }
        (0..std::mem::take(&mut zeros)).for_each(|_| hasher.write_u8(b'0'));
        hasher.write_u8(digit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_exact_value() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(compare(b.as_bytes(), a.as_bytes()), expected.reverse(), "{b} {a}");
        };
        check("0", "-0.0", Ordering::Equal);
        check("1", "1.0", Ordering::Equal);
        check("1e2", "100", Ordering::Equal);
        check("0.001", "1e-3", Ordering::Equal);
        check("9007199254740993", "9007199254740992", Ordering::Greater);
        check("9007199254740993.0", "9007199254740992.9", Ordering::Greater);
        check("-1.5", "-1.49", Ordering::Less);
        check("1e999", "1e998", Ordering::Greater);
        check("-1e999", "0", Ordering::Less);
        check("12345678901234567890123", "12345678901234567890124", Ordering::Less);
        check("0.1", "0.10000000000000000001", Ordering::Less);
        check("5", "-7", Ordering::Greater);
    }

    #[test]
    fn numbers_are_read_and_printed_as_java_does() {
        for (text, printed) in [
            ("1", "1"),
            ("1.10", "1.10"),
            ("1e0", "1"),
            ("1e2", "1E+2"),
            ("12e3", "1.2E+4"),
            ("1e-2", "0.01"),
            ("-0", "0"),
            ("0.0", "0.0"),
            ("1e-7", "1E-7"),
            ("-1.5", "-1.5"),
        ] {
            assert_eq!(to_java(text), printed, "{text}");
        }
        for text in ["1", "01", "1.", ".5", "+3", "-2e+3", "1E5"] {
            assert!(of_java(text).is_some(), "{text}");
        }
        for text in ["", "-", ".", "e", "1e", "0x1", " 1", "1f"] {
            assert!(of_java(text).is_none(), "{text}");
        }
    }

    #[test]
    fn short_integers_are_those_of_the_slow_twin() {
        let characters = b"-0159.e,\xff";
        let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..4 {
            texts = texts.iter().flat_map(|text| characters.iter().map(move |&next| [&text[..], &[next]].concat())).collect();
        }
        texts.extend([0, 7, 42, 999, 1_000, 65_535, 999_999, 9_876_543, -1, -999_999, -1_234_567, 12_345_678].map(|value: i64| value.to_string().into_bytes()));
        let mut found = 0;
        for text in texts {
            for (len, behind) in (0..=text.len()).flat_map(|len| [(len, b'0'), (len, b','), (len, 0)]) {
                let mut padded = [behind; 8];
                let Some(front) = padded.get_mut(..len) else { continue };
                front.copy_from_slice(&text[..len]);
                let value = short_integer(&padded, u32::try_from(len).expect("a short text"));
                assert!(value.is_none() || value == small_integer(&text[..len]), "{}", text.escape_ascii());
                assert_eq!(value.is_some(), len < 8 && small_integer(&text[..len]).is_some(), "{}", text[..len].escape_ascii());
                found += u32::from(value.is_some());
            }
        }
        assert!(found > 1_000, "the fast way is taken: {found}");
    }

    #[test]
    fn halves_are_rounded_up() {
        for (text, expected) in [
            ("7", Some(7)),
            ("1.49", Some(1)),
            ("1.5", Some(2)),
            ("1.51", Some(2)),
            ("2.5", Some(3)),
            ("-1.49", Some(-1)),
            ("-1.5", Some(-1)),
            ("-1.51", Some(-2)),
            ("-2.5", Some(-2)),
            ("-1.500000000000000000001", Some(-2)),
            ("0.5", Some(1)),
            ("-0.5", Some(0)),
            ("0.49999999999999999999", Some(0)),
            ("0.05", Some(0)),
            ("5e-1", Some(1)),
            ("1.25e1", Some(13)),
            ("3e2", Some(300)),
            ("0.0", Some(0)),
            ("9.99", Some(10)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775807.5", None),
            ("1e30", None),
        ] {
            assert_eq!(round(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn equal_numbers_hash_alike() {
        let hash_of = |text: &str| {
            let mut hasher = std::hash::DefaultHasher::new();
            hash(text.as_bytes(), &mut hasher);
            hasher.finish()
        };
        for (a, b) in [("1", "1.0"), ("1e2", "100"), ("0", "-0.0"), ("0.001", "1e-3"), ("1050", "1.05e3")] {
            assert_eq!(hash_of(a), hash_of(b), "{a} {b}");
        }
        for (a, b) in [("1", "-1"), ("1", "10"), ("101", "11"), ("0", "1")] {
            assert_ne!(hash_of(a), hash_of(b), "{a} {b}");
        }
    }

    #[test]
    fn whole_numbers_are_recognised_in_any_spelling() {
        for (text, expected) in
            [("3", Some(3)), ("3.0", Some(3)), ("30e-1", Some(3)), ("3e2", Some(300)), ("-0.0", Some(0)), ("3.5", None), ("1e30", None), ("-12", Some(-12))]
        {
            assert_eq!(to_integer(text.as_bytes()), expected, "{text}");
        }
    }
}
