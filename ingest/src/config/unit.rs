//! Durations and sizes as people write them: `250ms`, `5s`, `64MiB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: [(&str, u64); 7] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1)];

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(expressway_ingest::config::parse_duration("5s"), Some(Duration::from_secs(5)));
/// assert_eq!(expressway_ingest::config::parse_duration("5"), None);
/// ```
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    with_unit(text, &DURATIONS).map(Duration::from_millis)
}

/// Reads a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`.
///
/// ```
/// assert_eq!(expressway_ingest::config::parse_size("64MiB"), Some(64 << 20));
/// ```
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    with_unit(text, &SIZES)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A duration in the largest unit that divides it.
pub(crate) fn display_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = DURATIONS.iter().rev().find(|(_, factor)| ms != 0 && ms.is_multiple_of(*factor)).unwrap_or(&DURATIONS[0]);
    format!("{}{unit}", ms / factor)
}

/// A size in the largest binary unit that divides it.
pub(crate) fn display_size(bytes: u64) -> String {
    let unit = SIZES[..3].iter().rev().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_known_unit() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2 m"), Some(Duration::from_mins(2)));
        for bad in ["", "5", "s", "-5s", "1.5s", "5 sec", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(parse_size("512KiB"), Some(512 << 10));
        assert_eq!(parse_size("1GB"), Some(1_000_000_000));
        assert_eq!(parse_size("7B"), Some(7));
        for bad in ["64", "64mib", "64Mi", "MiB", "17179869184GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn display_picks_the_largest_unit_that_divides() {
        assert_eq!(display_duration(Duration::from_secs(90)), "90s");
        assert_eq!(display_duration(Duration::from_hours(2)), "2h");
        assert_eq!(display_duration(Duration::ZERO), "0ms");
        assert_eq!(display_size(64 << 20), "64MiB");
        assert_eq!(display_size(1_000), "1000B");
    }
}
