//! What the demo shows: a live line each second on standard error, and the summary in the end.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::books::{Books, Totals};
use super::price::{Prices, Usage};

/// The live view. On a terminal one line is redrawn, elsewhere each second has its own.
pub(super) struct Live {
    is_terminal: bool,
    settled_before: u64,
}

/// What the live line shows beside the books.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) seconds: f64,
    /// Since the last line.
    pub(super) interval_s: f64,
    pub(super) open: u64,
    pub(super) lag: u64,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), settled_before: 0 }
    }

    pub(super) fn show(&mut self, moment: Moment, books: &Books) {
        let Totals { failed, dead_lettered, .. } = books.totals;
        let settled = books.totals.settled();
        let rate = float(settled - self.settled_before) / moment.interval_s.max(1e-3);
        self.settled_before = settled;
        let (p50, p99) = (books.latency_ms(50.0), books.latency_ms(99.0));
        let Moment { seconds, open, lag, .. } = moment;
        let line = format!(
            "{seconds:>4.0} s  {rate:>8.0}/s  p50 {p50:>7.1} ms  p99 {p99:>7.1} ms  in flight {open:>6}  failed {failed:>7}  dead letters {dead_lettered:>6}  lag {lag:>7}"
        );
        let mut err = io::stderr().lock();
        // A closed standard error has no reader who would miss the line.
        drop(if self.is_terminal { write!(err, "\r\x1b[K{line}").and_then(|()| err.flush()) } else { writeln!(err, "{line}") });
    }

    /// Leaves the redrawn line.
    pub(super) fn end(&self) {
        if self.is_terminal {
            drop(writeln!(io::stderr().lock()));
        }
    }
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) rate: u64,
    pub(super) seconds: f64,
    pub(super) devices: u32,
    pub(super) produced: u64,
    pub(super) totals: Totals,
    pub(super) executions_per_s: f64,
    pub(super) latency_ms: [f64; 4],
    /// Bytes of the definition and of one message, for the bill.
    pub(super) bytes: f64,
}

/// Share of the offered rate from which it counts as held.
const HELD_SHARE: f64 = 0.95;

impl Summary {
    pub(super) fn lost(&self) -> u64 {
        self.produced.saturating_sub(self.totals.settled())
    }

    fn is_held(&self) -> bool {
        self.executions_per_s >= HELD_SHARE * float(self.rate)
    }

    /// One JSON object with the keys that scripts rely on.
    pub(super) fn json(&self) -> Value {
        let [p50, p99, p999, max] = self.latency_ms;
        json!({
            "produced": self.produced,
            "succeeded": self.totals.succeeded,
            "failed": self.totals.failed,
            "dead_lettered": self.totals.dead_lettered,
            "duplicates": self.totals.duplicates,
            "lost": self.lost(),
            "executions_per_s": self.executions_per_s.round(),
            "held": self.is_held(),
            "latency_ms": {"p50": p50, "p99": p99, "p999": p999, "max": max},
        })
    }

    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let Totals { succeeded, failed, dead_lettered, duplicates } = self.totals;
        let [p50, p99, p999, max] = self.latency_ms;
        let held = if self.is_held() { "held" } else { "NOT held" };
        let balance = if self.lost() == 0 { "the books balance" } else { "RECORDS ARE MISSING" };
        format!(
            "\n{:.0} s at {} records a second from {} devices\n\n  acknowledged inputs  {:>10}\n  = succeeded          {succeeded:>10}\n  + failed             {failed:>10}   of a type the workflow does not know\n  + dead letters       {dead_lettered:>10}   broken records, kept with reason and position\n  + lost               {:>10}   {balance}\n\n  duplicates           {duplicates:>10}\n  executions a second  {:>10.0}   {held}\n  latency, ms          p50 {p50:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}\n\n{}",
            self.seconds,
            self.rate,
            self.devices,
            self.produced,
            self.lost(),
            self.executions_per_s,
            self.bill_text(),
        )
    }

    /// The same run on AWS. Dead letters would not have been started there.
    fn bill_text(&self) -> String {
        let prices = Prices::builtin();
        let usage = Usage { executions: float(self.totals.succeeded + self.totals.failed), duration_ms: 1.0, bytes: self.bytes };
        let bill = prices.bill(&usage);
        let day = prices.bill(&Usage { executions: self.executions_per_s * 86_400.0, ..usage });
        format!(
            "The same run on AWS Express Workflows: {:.2} $ ({:.2} $ for requests, {:.2} $ for {:.0} ms at {:.0} MB each).\nA day at this rate: {:.0} $. List prices of {}, {}; what calls the workflow is not counted.\n",
            bill.total(),
            bill.requests,
            bill.duration,
            bill.billed_ms,
            bill.billed_mb,
            day.total(),
            prices.region,
            prices.as_of,
        )
    }
}

pub(super) fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with fewer digits than a float has")]
    let float = count as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let totals = Totals { succeeded: 90, failed: 5, dead_lettered: 3, duplicates: 1 };
        Summary { rate: 10, seconds: 10.0, devices: 7, produced: 100, totals, executions_per_s: 9.6, latency_ms: [1.0, 2.0, 3.0, 4.5], bytes: 2_000.0 }
    }

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let json = summary().json();
        let keys: Vec<_> = json.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["produced", "succeeded", "failed", "dead_lettered", "duplicates", "lost", "executions_per_s", "held", "latency_ms"]);
        assert_eq!(json["latency_ms"], json!({"p50": 1.0, "p99": 2.0, "p999": 3.0, "max": 4.5}));
        assert_eq!((&json["lost"], &json["held"]), (&json!(2), &json!(true)));
    }

    #[test]
    fn rate_below_95_percent_is_not_held() {
        let slow = Summary { executions_per_s: 9.4, ..summary() };
        assert_eq!(slow.json()["held"], false);
        assert!(slow.text().contains("NOT held"));
    }

    #[test]
    fn text_balances_the_books_and_prices_the_run() {
        let text = summary().text();
        assert!(text.contains("RECORDS ARE MISSING") && text.contains("2026-11") && text.contains("100 ms at 64 MB"), "{text}");
    }
}
