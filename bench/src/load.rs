//! Open loop: load at a fixed rate, whatever becomes of it, and latencies from the instant at which each piece was meant to be sent.
//!
//! A closed loop that sends the next piece when the last one is done slows down with what it measures, and leaves out of its latencies just what would have waited (coordinated omission). Here a [`Schedule`] says when number `i` is due, an [`OpenLoop`] or a loop of the caller's own sends what is due, late if it must, and [`Latency`] counts from [`Schedule::intended`].
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use expressway_bench::load::{Latency, Schedule};
//!
//! let start = Instant::now();
//! let schedule = Schedule::new(1_000, start);
//! assert_eq!(schedule.due(start + Duration::from_millis(2)), 3);
//! let mut latency = Latency::new();
//! latency.record(schedule.intended(2), start + Duration::from_millis(5));
//! assert_eq!(latency.quantile_ns(0.5) / 10_000, 300);
//! ```

use std::fmt::Write as _;
use std::hint::spin_loop;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::error::Error;
use crate::spread::number;

/// Longest latency that is told apart from longer ones: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Steps of a written distribution in which the distance to 100 % halves; five is the usual number.
const TICKS_PER_HALF: u32 = 5;

/// When each of a sequence of sends is due: number `i` at `start + i / rate`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    rate: u64,
    start: Instant,
}

impl Schedule {
    /// `rate` sends a second, the first one at `start`. A rate of 0 is taken as 1.
    #[must_use]
    pub fn new(rate: u64, start: Instant) -> Self {
        Self { rate: rate.max(1), start }
    }

    /// How many sends are due by `now`, counted from the start: what has been sent already is the caller's to subtract.
    #[must_use]
    pub fn due(&self, now: Instant) -> u64 {
        let Some(since) = now.checked_duration_since(self.start) else { return 0 };
        let passed = since.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// When send number `index`, from 0, was meant to happen.
    ///
    /// # Panics
    /// Never: a part of a second has few nanoseconds.
    #[must_use]
    pub fn intended(&self, index: u64) -> Instant {
        let (seconds, rest) = (index / self.rate, index % self.rate);
        // Rounded up, so that a send is due at the instant that it was meant for.
        let nanoseconds = (u128::from(rest) * 1_000_000_000).div_ceil(u128::from(self.rate));
        self.start + Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanoseconds).expect("a part of a second has fewer than 2^64 ns"))
    }
}

/// Sends what a schedule says, on the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct OpenLoop {
    /// When what is due.
    pub schedule: Schedule,
    /// How many sends there are in all.
    pub count: u64,
}

impl OpenLoop {
    /// Calls `work` with the number of each send, never before it is due, and records when it came back. Returns how long it was busy: between two sends the thread spins, since a sleep would wake up late by more than what is measured.
    pub fn drive(&self, latency: &mut Latency, mut work: impl FnMut(u64)) -> Duration {
        let (mut sent, mut busy) = (0, Duration::ZERO);
        while sent < self.count {
            let now = Instant::now();
            let due = self.schedule.due(now).min(self.count);
            if due == sent {
                spin_loop();
                continue;
            }
            let mut done = now;
            while sent < due {
                work(sent);
                done = Instant::now();
                latency.record(self.schedule.intended(sent), done);
                sent += 1;
            }
            busy += done - now;
        }
        busy
    }
}

/// Latencies, from a nanosecond to an hour, three digits.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Nothing recorded yet.
    ///
    /// # Panics
    /// Never: the bounds are in order.
    #[must_use]
    pub fn new() -> Self {
        Self { histogram: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order and three digits are allowed") }
    }

    /// Something that was meant to be sent at `intended` was done at `done`.
    #[inline]
    pub fn record(&mut self, intended: Instant, done: Instant) {
        self.record_ns(u64::try_from(done.saturating_duration_since(intended).as_nanos()).unwrap_or(u64::MAX));
    }

    /// As [`record`](Self::record), for a latency taken elsewhere.
    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// Adds what another has recorded.
    ///
    /// # Panics
    /// Never: all have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all latencies have the same bounds");
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency, in nanoseconds, that `quantile` (0 to 1) of all do not exceed; 0 when nothing was recorded.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// The greatest latency, in nanoseconds.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    /// Quantiles in nanoseconds, as a result's `latency_ns`.
    #[must_use]
    pub fn to_json_ns(&self) -> Value {
        json!({"p50": self.quantile_ns(0.5), "p99": self.quantile_ns(0.99)})
    }

    /// Quantiles in milliseconds, as a result's `latency_ms`.
    #[must_use]
    pub fn to_json_ms(&self) -> Value {
        let ms = |quantile: f64| number(self.quantile_ns(quantile) as f64 / 1e6, 3);
        json!({"p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999), "max": number(self.max_ns() as f64 / 1e6, 3)})
    }

    /// The whole distribution in the text form that the usual plotters of HdrHistogram read (`.hgrm`), values in milliseconds.
    ///
    /// # Panics
    /// Never: a String takes all text.
    #[must_use]
    pub fn to_hgrm(&self) -> String {
        let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF) {
            let (ms, quantile) = (step.value_iterated_to() as f64 / 1e6, step.quantile_iterated_to());
            let total = self.histogram.count_between(0, step.value_iterated_to());
            write!(text, "{ms:12.6} {quantile:2.12} {total:10}").expect("a String takes all text");
            if quantile < 1.0 {
                write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect("a String takes all text");
            }
            text.push('\n');
        }
        let ms = |ns: f64| ns / 1e6;
        let (mean, deviation, max) = (ms(self.histogram.mean()), ms(self.histogram.stdev()), ms(self.max_ns() as f64));
        writeln!(text, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]").expect("a String takes all text");
        writeln!(text, "#[Max     = {max:12.6}, Total count    = {:12}]", self.count()).expect("a String takes all text");
        writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", self.histogram.buckets(), 2_048).expect("a String takes all text");
        text
    }

    /// Writes [`to_hgrm`](Self::to_hgrm) to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_hgrm(&self, file: &Path) -> Result<(), Error> {
        std::fs::write(file, self.to_hgrm()).map_err(|error| Error::surroundings(format!("writing {}", file.display()), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_is_due_at_the_instant_it_is_meant_for_and_not_before() {
        let start = Instant::now();
        for rate in [1, 3, 7_919, 100_000, 3_000_000] {
            let schedule = Schedule::new(rate, start);
            for index in [0, 1, 2, 99, rate - 1, rate, 10 * rate + 1, 1_000_000 * rate + 5] {
                let intended = schedule.intended(index);
                assert!(schedule.due(intended) > index, "rate {rate}, index {index}");
                if index > 0 && rate < 1_000_000 {
                    assert_eq!(schedule.due(intended - Duration::from_nanos(1)), index, "rate {rate}, index {index}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        let start = Instant::now() + Duration::from_secs(5);
        assert_eq!(Schedule::new(1_000, start).due(start - Duration::from_secs(1)), 0);
        assert_eq!(Schedule::new(0, start).due(start + Duration::from_secs(2)), 3);
    }

    #[test]
    fn what_waits_behind_a_slow_one_counts_its_wait() {
        // All are due at once, each takes a while: the last one has waited for all before it.
        let start = Instant::now() - Duration::from_millis(10);
        let mut latency = Latency::new();
        OpenLoop { schedule: Schedule::new(1_000_000, start), count: 100 }.drive(&mut latency, |_| ());
        assert_eq!(latency.count(), 100);
        assert!(latency.quantile_ns(0.01) >= 9_800_000, "{}", latency.quantile_ns(0.01));
    }

    #[test]
    fn distribution_is_written_in_the_usual_form() {
        let mut latency = Latency::new();
        for ms in 1..=100 {
            latency.record_ns(ms * 1_000_000);
        }
        let text = latency.to_hgrm();
        let rows: Vec<Vec<f64>> =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().filter_map(|field| field.parse().ok()).collect()).collect();
        let rows: Vec<_> = rows.into_iter().filter(|row| !row.is_empty()).collect();
        assert!(rows.is_sorted_by(|one, next| one[0] <= next[0] && one[2] <= next[2]), "{text}");
        let last = rows.last().unwrap();
        assert!((last[0] - 100.0).abs() < 0.1 && last[1] == 1.0 && last[2] == 100.0, "{text}");
        assert!(text.contains("#[Max     = ") && text.contains("Total count    =          100]"), "{text}");
        assert_eq!(latency.to_json_ms()["p50"].as_f64().map(f64::round), Some(50.0));
    }
}
