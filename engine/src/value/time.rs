//! Timestamps: RFC 3339 as the service reads it, and ISO 8601 with milliseconds as the Context Object writes it.

/// An instant: seconds since the Unix epoch, then nanoseconds. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// Days from 1970-01-01 to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads `width` digits.
fn digits(text: &mut &[u8], width: usize) -> Option<i64> {
    let (head, tail) = text.split_at_checked(width)?;
    *text = tail;
    head.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn literal(text: &mut &[u8], expected: u8) -> Option<()> {
    let (&first, tail) = text.split_first()?;
    *text = tail;
    (first == expected).then_some(())
}

/// Reads an RFC 3339 instant: upper-case `T`, seconds, a fraction of any length, and `Z` or an offset, which is mandatory; impossible dates are refused (spec/asl.md 1.4).
pub(crate) fn parse(text: &str) -> Option<Instant> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    literal(&mut rest, b'-')?;
    let month = digits(&mut rest, 2)?;
    literal(&mut rest, b'-')?;
    let day = digits(&mut rest, 2)?;
    literal(&mut rest, b'T')?;
    let hour = digits(&mut rest, 2)?;
    literal(&mut rest, b':')?;
    let minute = digits(&mut rest, 2)?;
    literal(&mut rest, b':')?;
    let second = digits(&mut rest, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = if rest.first() == Some(&b'.') { fraction(&mut rest)? } else { 0 };
    let offset = offset(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Instant { seconds, nanos })
}

fn fraction(rest: &mut &[u8]) -> Option<u32> {
    *rest = &rest[1..];
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let nanos = (0..9).fold(0, |value, at| value * 10 + if at < count { u32::from(rest[at] - b'0') } else { 0 });
    *rest = &rest[count..];
    Some(nanos)
}

/// Seconds east of UTC.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let (&sign, tail) = rest.split_first()?;
    *rest = tail;
    let direction = match sign {
        b'Z' => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(rest, 2)?;
    literal(rest, b':')?;
    let minutes = digits(rest, 2)?;
    (hours <= 18 && minutes <= 59).then_some(direction * (hours * 3600 + minutes * 60))
}

/// Appends `ms` since the epoch as `2026-11-20T12:00:00.000Z`.
pub(crate) fn write_iso(ms: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    let written = write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", of_day / 3600, of_day / 60 % 60, of_day % 60, ms % 1000);
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_the_service_reads_them() {
        let at = |text| parse(text).map(|instant| (instant.seconds, instant.nanos));
        assert_eq!(at("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(at("2016-03-14T01:59:00Z"), Some((1_457_920_740, 0)));
        assert_eq!(at("2016-03-14T01:59:00.000000Z"), at("2016-03-14T02:59:00+01:00"));
        assert_eq!(at("2024-02-29T00:00:00.5-02:00"), Some((1_709_172_000, 500_000_000)));
        for bad in [
            "2016-03-14 01:59:00Z",
            "2016-03-14T01:59:00",
            "2016-13-14T01:59:00Z",
            "2023-02-29T00:00:00Z",
            "2016-03-14T25:59:00Z",
            "2016-03-14T01:59:00.Z",
            "05-12-2016T21:29:29Z",
            "2016-03-14t01:59:00Z",
            "2016-03-14T01:59:00Zx",
            "",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn written_instants_read_back() {
        for ms in [0, 951_782_400_123, 1_700_000_000_999, 4_102_444_799_000] {
            let mut text = Vec::new();
            write_iso(ms, &mut text);
            let text = String::from_utf8(text).expect("instants are ASCII");
            let read = parse(&text).expect("our own form is valid");
            assert_eq!(u64::try_from(read.seconds).expect("after 1970") * 1000 + u64::from(read.nanos) / 1_000_000, ms, "{text}");
        }
    }
}
