//! Records that cannot be run: why, and what is written about it.
//!
//! A dead letter is its record, key, value and headers unchanged, with headers added that say why it is here, where it came from and which definition refused it. The reasons are one closed list, because people build alerts and replays on them.

use expressway_engine::Timestamp;
use expressway_engine::document::{Fault, FaultKind};

/// Longest `expressway-detail`, in bytes: enough for a sentence and a position, and no payload.
pub(crate) const DETAIL_BYTES_MAX: usize = 1024;

/// Why a record became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The record has no value.
    NullValue,
    /// The value is empty or only whitespace.
    Empty,
    /// The value is not JSON.
    MalformedJson,
    /// A string of the value is not UTF-8.
    InvalidUtf8,
    /// The value nests too deeply.
    TooDeep,
    /// The value is larger than an execution's input may be.
    TooLarge,
    /// The execution failed or timed out, and the pipeline is set to send such records here.
    ExecutionFailed,
    /// The engine panicked on it.
    Panic,
    /// The broker does not take a result as large as this record's.
    ResultTooLarge,
    /// The broker refused this record's result as invalid.
    ResultRejected,
}

impl Reason {
    /// Every reason, in the order in which counters list them.
    pub const ALL: [Self; 10] = [
        Self::NullValue,
        Self::Empty,
        Self::MalformedJson,
        Self::InvalidUtf8,
        Self::TooDeep,
        Self::TooLarge,
        Self::ExecutionFailed,
        Self::Panic,
        Self::ResultTooLarge,
        Self::ResultRejected,
    ];

    /// The stable code in the header `expressway-reason`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NullValue => "null_value",
            Self::Empty => FaultKind::Empty.code(),
            Self::MalformedJson => FaultKind::Truncated.code(),
            Self::InvalidUtf8 => FaultKind::NotUtf8.code(),
            Self::TooDeep => FaultKind::TooDeep.code(),
            Self::TooLarge => FaultKind::TooLarge(0).code(),
            Self::ExecutionFailed => "execution_failed",
            Self::Panic => "panic",
            Self::ResultTooLarge => "result_too_large",
            Self::ResultRejected => "result_rejected",
        }
    }

    /// The reason that stands for a fault of the input.
    pub(crate) fn of(fault: Fault) -> Self {
        let code = fault.kind.code();
        Self::ALL.into_iter().find(|reason| reason.code() == code).unwrap_or(Self::MalformedJson)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// `text` cut to what the detail header may hold, at a character boundary.
pub(crate) fn detail(text: &str) -> &str {
    let end = text.floor_char_boundary(DETAIL_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

/// A point in time as RFC 3339 with milliseconds, in UTC.
pub(crate) fn time_text(at: Timestamp) -> String {
    let (days, ms) = (at.0 / 86_400_000, at.0 % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar (eras of 400 years, years that begin in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reasons_are_distinct_and_indexed_in_order() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }

    #[test]
    fn every_fault_has_its_reason() {
        assert_eq!(Reason::of(Fault::new(FaultKind::Trailing, 3)), Reason::MalformedJson);
        assert_eq!(Reason::of(Fault::new(FaultKind::TooDeep, 3)), Reason::TooDeep);
        assert_eq!(Reason::of(Fault::new(FaultKind::Empty, 0)), Reason::Empty);
    }

    #[test]
    fn details_are_cut_at_a_character() {
        let text = "é".repeat(1_000);
        assert_eq!(detail(&text).len(), DETAIL_BYTES_MAX);
        assert_eq!(detail(&format!("x{text}")).len(), DETAIL_BYTES_MAX - 1);
        assert_eq!(detail("short"), "short");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time_text(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time_text(Timestamp(1_795_176_000_123)), "2026-11-20T12:00:00.123Z");
        assert_eq!(time_text(Timestamp(1_709_164_799_000)), "2024-02-28T23:59:59.000Z");
        assert_eq!(time_text(Timestamp(1_709_251_199_999)), "2024-02-29T23:59:59.999Z");
    }
}
