//! Which part of a topic a command is about: partitions, offsets, a time.

use std::time::Duration;

use expressway_engine::Timestamp;
use rdkafka::consumer::BaseConsumer;

use super::cluster::{Cluster, Range};
use crate::config;
use crate::error::Error;
use crate::kafka::client::Context;

/// `A..B`: from the first offset to the one before the second; either may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
}

/// What a command was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// One partition, or all.
    pub(crate) partition: Option<i32>,
    /// Offsets, the same in every partition.
    pub(crate) offsets: Option<Offsets>,
    /// Milliseconds since the Unix epoch.
    pub(crate) since_ms: Option<i64>,
}

impl Selection {
    /// The ranges that this means on a topic as it is now.
    ///
    /// One partition's offsets must be there. Those of all partitions are cut to what each of them holds, for no two end at the same offset.
    ///
    /// # Errors
    /// When topic or partition is not there, the offsets lie outside of the log, or the cluster does not answer.
    pub(crate) fn resolve(&self, cluster: &Cluster, consumer: &BaseConsumer<Context>, topic: &str) -> Result<Vec<Range>, Error> {
        let count = cluster.partitions(consumer, topic)?;
        let partitions: Vec<i32> = match self.partition {
            Some(partition) if partition >= count => {
                return Err(Error::Usage(format!("there is no partition {partition} in {topic}, which has {count}")));
            }
            Some(partition) => vec![partition],
            None => (0..count).collect(),
        };
        let mut ranges = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (low, high) = cluster.bounds(consumer, topic, partition)?;
            let whole = Range { partition, from: low, to: high };
            ranges.push(self.offsets.map_or(Ok(whole), |offsets| offsets.within(topic, whole, self.partition.is_some()))?);
        }
        if let Some(since_ms) = self.since_ms {
            let starts = cluster.since(consumer, topic, &ranges, since_ms)?;
            ranges.iter_mut().zip(starts).for_each(|(range, start)| range.from = start);
        }
        Ok(ranges)
    }
}

impl Offsets {
    fn within(self, topic: &str, log: Range, strict: bool) -> Result<Range, Error> {
        let Range { partition, from: low, to: high } = log;
        let (from, to) = (self.from.unwrap_or(low), self.to.unwrap_or(high));
        if strict && low == high && (to > high || from > high) {
            return Err(Error::Usage(format!("{topic}/{partition} is empty (it ends at {high})")));
        }
        if strict && (to > high || from > high) {
            let beyond = if to > high { to } else { from };
            return Err(Error::Usage(format!("the offsets reach to {beyond}, but {topic}/{partition} ends at {high}")));
        }
        if strict && from < low {
            return Err(Error::Usage(format!("the offsets begin at {from}, but {topic}/{partition} begins at {low}: what was before is deleted")));
        }
        let from = from.clamp(low, high);
        Ok(Range { partition, from, to: to.clamp(from, high) })
    }
}

/// Reads `A..B`, `A..` or `..B`.
///
/// # Errors
/// A sentence about what is allowed.
pub(crate) fn offsets(text: &str) -> Result<Offsets, String> {
    let rule = "write it as FROM..TO, where TO is the offset behind the last one, for instance 0..1000";
    let (from, to) = text.split_once("..").ok_or(rule)?;
    let number = |text: &str| if text.is_empty() { Ok(None) } else { text.parse::<i64>().ok().filter(|offset| *offset >= 0).map(Some).ok_or(rule) };
    let (from, to) = (number(from)?, number(to)?);
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(format!("{from}..{to} ends before it begins"));
    }
    Ok(Offsets { from, to })
}

/// Reads a time, as milliseconds since the Unix epoch: RFC 3339 in UTC, or how long ago, such as `90m`.
///
/// # Errors
/// A sentence about what is allowed.
pub(crate) fn time(text: &str, now: Timestamp) -> Result<i64, String> {
    if let Some(ago) = config::parse_duration(text) {
        let ms = now.0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
        return i64::try_from(ms).map_err(|_| "the clock is wrong".to_owned());
    }
    instant(text).ok_or_else(|| format!("\"{text}\" is no time: write it as 2026-11-21T10:00:00Z, or as how long ago, for instance 15m, 2h or 1d"))
}

/// `YYYY-MM-DD`, with `THH:MM:SS[.fraction]` and `Z` behind it or midnight meant.
fn instant(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time.strip_suffix(['Z', 'z'])?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = *days_of_month.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if year < 1970 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let before: i64 = days_of_month.iter().take(usize::try_from(month - 1).ok()?).sum();
    let years = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let since_epoch = (year - 1970) * 365 + leaps(years) - leaps(1969) + before + day - 1;
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    Some(((since_epoch * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + ms)
}

/// Three numbers of fixed width between separators.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (place, width) in found.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// How long a time in milliseconds lies back, for people.
pub(crate) fn ago(ms: i64, now: Timestamp) -> String {
    let Ok(then) = u64::try_from(ms) else { return "at an unknown time".to_owned() };
    let seconds = now.0.saturating_sub(then) / 1_000;
    let duration = Duration::from_secs(match seconds {
        0..120 => seconds,
        120..7_200 => seconds / 60 * 60,
        7_200..172_800 => seconds / 3_600 * 3_600,
        _ => seconds / 86_400 * 86_400,
    });
    if duration.is_zero() { "just now".to_owned() } else { format!("{} ago", config::display_duration(duration)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_176_000_123);

    #[test]
    fn times_are_instants_or_how_long_ago() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2026-11-20T12:00:00.123Z", 1_795_176_000_123),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000),
            ("2000-02-29 00:00:00.5Z", 951_782_400_500),
            ("2h", 1_795_176_000_123 - 7_200_000),
            ("0s", 1_795_176_000_123),
        ] {
            assert_eq!(time(text, NOW), Ok(expected), "{text}");
        }
        for wrong in ["", "yesterday", "2026-11-20T12:00:00", "2026-02-29", "2026-13-01", "2026-11-20T24:00:00Z", "20-11-2026", "2026-11-20T12:00:00.xZ"] {
            assert!(time(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_a_range_with_open_ends() {
        assert_eq!(offsets("3..9"), Ok(Offsets { from: Some(3), to: Some(9) }));
        assert_eq!(offsets("3.."), Ok(Offsets { from: Some(3), to: None }));
        assert_eq!(offsets("..9"), Ok(Offsets { from: None, to: Some(9) }));
        for wrong in ["", "3", "9..3", "-1..2", "a..b"] {
            assert!(offsets(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_partitions_offsets_must_be_there_and_those_of_all_are_cut() {
        let log = Range { partition: 1, from: 100, to: 200 };
        let range = |from, to, strict| Offsets { from, to }.within("t", log, strict);
        assert_eq!(range(Some(120), Some(200), true).unwrap(), Range { partition: 1, from: 120, to: 200 });
        assert!(range(Some(120), Some(201), true).unwrap_err().to_string().contains("t/1 ends at 200"));
        assert!(range(Some(99), None, true).unwrap_err().to_string().contains("t/1 begins at 100"));
        let empty = Offsets { from: Some(3), to: Some(4) }.within("t", Range { partition: 0, from: 0, to: 0 }, true);
        assert_eq!(empty.unwrap_err().to_string(), "t/0 is empty (it ends at 0)");
        assert_eq!(range(Some(0), Some(1_000), false).unwrap(), log);
        assert_eq!(range(Some(300), Some(400), false).unwrap(), Range { partition: 1, from: 200, to: 200 });
        assert_eq!(range(Some(0), Some(50), false).unwrap(), Range { partition: 1, from: 100, to: 100 });
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        assert_eq!(ago(1_795_176_000_000, NOW), "just now");
        assert_eq!(ago(1_795_176_000_123 - 5_400_000, NOW), "90m ago");
        assert_eq!(ago(1_795_176_000_123 - 3 * 86_400_000, NOW), "3d ago");
    }
}
