//! The check of timestamps: RFC 3339 with an upper-case `T` and a mandatory offset.

/// Whether `text` is a timestamp that a definition may hold: `T` and `Z` in upper case, an offset, a calendar day that exists, a fraction of any length (spec/asl.md 1.4).
pub(super) fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, tail)) = bytes.split_at_checked(19) else { return false };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, separator)| head[at] != separator) {
        return false;
    }
    let number = |from: usize, to: usize| digits(&head[from..to]);
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else { return false };
    let (Some(hour), Some(minute), Some(second)) = (number(11, 13), number(14, 16), number(17, 19)) else { return false };
    (1..=12).contains(&month) && (1..=days(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60 && is_offset(skip_fraction(tail))
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// What follows the fraction; a point without digits is left standing, so that it is no offset.
fn skip_fraction(tail: &[u8]) -> &[u8] {
    let Some(fraction) = tail.strip_prefix(b".") else { return tail };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 { tail } else { &fraction[length..] }
}

fn is_offset(tail: &[u8]) -> bool {
    match tail {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => digits(&[*h1, *h2]).is_some_and(|hours| hours < 24) && digits(&[*m1, *m2]).is_some_and(|minutes| minutes < 60),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_rfc3339;

    #[test]
    fn timestamps_need_a_calendar_day_and_an_offset() {
        for valid in ["2016-03-14T01:59:00Z", "2024-02-29T00:00:00.000000000001+14:00", "2016-03-14T01:59:00.5-00:30"] {
            assert!(is_rfc3339(valid), "{valid}");
        }
        let invalid = ["", "2016-03-14", "2016-03-14T01:59:00", "2016-03-14t01:59:00Z", "2016-03-14T01:59:00z", "2016-03-14 01:59:00Z", "2023-02-29T00:00:00Z"];
        for text in invalid.into_iter().chain([
            "2016-13-01T00:00:00Z",
            "2016-01-01T24:00:00Z",
            "2016-01-01T00:00:00.Z",
            "2016-01-01T00:00:00+1:00",
            "٢016-01-01T00:00:00Z",
        ]) {
            assert!(!is_rfc3339(text), "{text}");
        }
    }
}
