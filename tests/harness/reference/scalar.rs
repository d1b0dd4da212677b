//! Numbers and instants.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Compares two numbers by value.
#[must_use]
pub fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let (a, b) = (a.to_string(), b.to_string());
    if a == b {
        return Some(Ordering::Equal);
    }
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => Some(a.cmp(&b)),
        _ => a.parse::<f64>().ok()?.partial_cmp(&b.parse::<f64>().ok()?),
    }
}

/// Deep equality, numbers by value.
#[must_use]
pub fn equal(a: &Value, b: &Value) -> bool {
    super::same_value(a, b)
}

/// The integer that a number is, if it is one: `3` and `3.0` are.
#[must_use]
pub fn integer(value: &Value) -> Option<i64> {
    let text = value.as_number()?.to_string();
    if let Ok(integer) = text.parse() {
        return Some(integer);
    }
    let float: f64 = text.parse().ok()?;
    (float.fract() == 0.0).then(|| narrow(float)).flatten()
}

/// The integer nearest to a number, halves going up (spec/asl.md 9).
#[must_use]
pub fn rounded(value: &Value) -> Option<i64> {
    let text = value.as_number()?.to_string();
    if let Ok(integer) = text.parse() {
        return Some(integer);
    }
    let float: f64 = text.parse().ok()?;
    let floor = float.floor();
    narrow(if float - floor >= 0.5 { floor + 1.0 } else { floor })
}

fn narrow(float: f64) -> Option<i64> {
    format!("{float:.0}").parse().ok()
}

/// An instant: seconds since the epoch and nanoseconds.
pub type Instant = (i64, u32);

/// Reads an RFC 3339 instant with upper-case `T`, whose offset is mandatory (spec/asl.md 1.4).
#[must_use]
pub fn instant(text: &str) -> Option<Instant> {
    if !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok();
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks.iter().any(|&(at, mark)| text.get(at..=at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(behind) = rest.strip_prefix('.') {
        let length = behind.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, tail) = behind.split_at(length);
        if digits.is_empty() {
            return None;
        }
        nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?;
        rest = tail;
    }
    let offset = match rest.as_bytes() {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), digits @ ..] if digits.len() == 5 && digits[2] == b':' => {
            let number = |range: std::ops::Range<usize>| rest.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok();
            let seconds = number(1..3)? * 3_600 + number(4..6)? * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let years: i64 = (0..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    // 719,528 days lie between the years 0 and 1970.
    let days = years + months + day - 1 - 719_528;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset, nanos))
}

/// Milliseconds since the epoch as `2026-11-20T12:00:00.000Z`.
#[must_use]
pub fn iso(ms: u64) -> String {
    let (mut days, rest) = (i64::try_from(ms / 86_400_000).unwrap_or(0), ms % 86_400_000);
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let day = days + 1;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        assert_eq!(instant("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(instant("2026-11-20T14:00:00.25+02:00"), Some((1_795_176_000, 250_000_000)));
        assert_eq!(iso(1_795_176_000_000), "2026-11-20T12:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        for broken in ["2026-11-20T12:00:00", "2026-11-20 12:00:00Z", "2026-02-29T00:00:00Z", "2026-11-20T12:00:00.Z", "x"] {
            assert_eq!(instant(broken), None, "{broken}");
        }
    }
}
