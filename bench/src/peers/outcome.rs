//! Rows, ratios and the table.

use std::fmt;

use serde_json::{Value, json};

use crate::error::Error;
use crate::spread::{Spread, number};

/// The name of our own rows.
pub(super) const OURS: &str = "expressway";

/// What one round says of a peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Executions a second.
    pub per_s: f64,
    /// Processor time of its process for one execution, in microseconds.
    pub cpu_us: Option<f64>,
    /// The same of the broker, where there is one.
    pub broker_cpu_us: Option<f64>,
    /// The most memory of its process that was resident at a time, in MB.
    pub rss_mb: f64,
}

/// A peer in one of the two comparisons.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, as in `--only`.
    pub name: &'static str,
    /// What it is in this comparison.
    pub what: &'static str,
    /// Its version, as it says itself.
    pub version: Option<String>,
    /// Round by round; `None` where it has no result.
    pub samples: Vec<Option<Sample>>,
    /// Why it has no result, or not in every round.
    pub not_run: Option<String>,
}

/// Everything that was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rounds of each comparison.
    pub rounds: u32,
    /// Records of the source topic.
    pub records: u64,
    /// Engine against engine.
    pub engine: Vec<Row>,
    /// Kafka to Kafka.
    pub kafka: Vec<Row>,
}

impl Row {
    /// A row without a result yet.
    pub(super) fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, version: None, samples: Vec::new(), not_run: None }
    }

    /// Takes the result of a round.
    pub(super) fn enter(&mut self, sample: Result<Sample, String>) {
        match sample {
            Ok(sample) => self.samples.push(Some(sample)),
            Err(reason) => {
                self.samples.push(None);
                self.not_run = Some(reason);
            }
        }
    }

    fn spread(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let measured: Vec<f64> = self.samples.iter().flatten().filter_map(of).collect();
        (!measured.is_empty()).then(|| Spread::of(measured))
    }

    /// How many times as fast as this one `ours` is, round by round.
    fn ours_is(&self, ours: &Self) -> Option<Spread> {
        let both = ours.samples.iter().zip(&self.samples).filter_map(|(ours, it)| Some(ours.as_ref()?.per_s / it.as_ref()?.per_s));
        let ratios: Vec<f64> = both.collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }

    fn to_json(&self, ours: Option<&Self>) -> Value {
        let median = |of: fn(&Sample) -> Option<f64>, decimals| self.spread(of).map(|spread| number(spread.median, decimals));
        let rates = self.spread(|sample| Some(sample.per_s));
        json!({
            "peer": self.name,
            "what": self.what,
            "version": self.version,
            "executions_per_s": rates.map(|rates| number(rates.median, 0)),
            "spread": rates.map(|rates| rates.to_json(0)),
            "cpu_us_per_execution": median(|sample| sample.cpu_us, 3),
            "broker_cpu_us_per_execution": median(|sample| sample.broker_cpu_us, 3),
            "rss_mb": self.spread(|sample| Some(sample.rss_mb)).map(|spread| number(spread.max, 0)),
            "ours_is": ours.and_then(|ours| self.ours_is(ours)).map(|ratio| ratio.to_json(2)),
            "not_run": self.not_run,
        })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, ours: Option<&Self>) -> fmt::Result {
        write!(f, "  {:<24}", self.name)?;
        let cell = |value: Option<f64>, decimals: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"));
        if let Some(rates) = self.spread(|sample| Some(sample.per_s)) {
            let spread = format!("({:.0} to {:.0})", rates.min, rates.max);
            let cpu = cell(self.spread(|sample| sample.cpu_us).map(|spread| spread.median), 2);
            let broker = cell(self.spread(|sample| sample.broker_cpu_us).map(|spread| spread.median), 2);
            let rss = cell(self.spread(|sample| Some(sample.rss_mb)).map(|spread| spread.max), 0);
            let ratio = ours.and_then(|ours| self.ours_is(ours));
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{} × ({} to {})", times(ratio.median), times(ratio.min), times(ratio.max)));
            let version = self.version.as_deref().unwrap_or("-");
            write!(f, "{:>11.0} {spread:<22}{cpu:>9} {broker:>7} {rss:>6}  {ratio:<26} {version}: {}", rates.median, self.what)?;
        }
        match &self.not_run {
            None => writeln!(f),
            Some(reason) if self.samples.iter().all(Option::is_none) => writeln!(f, "not run: {reason}"),
            Some(reason) => {
                writeln!(f, "\n  {:<24}not in every round: {reason}", "")
            }
        }
    }
}

/// A ratio with no more digits than mean something.
fn times(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

fn ours(rows: &[Row]) -> Option<&Row> {
    rows.iter().find(|row| row.name == OURS)
}

impl Outcome {
    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows = |rows: &[Row]| rows.iter().map(|row| row.to_json(ours(rows))).collect::<Vec<_>>();
        json!({"case": "peers", "records": self.records, "rounds": self.rounds, "engine": rows(&self.engine), "kafka": rows(&self.kafka)})
    }

    /// An error if our own rows lack a result: then there is nothing to compare with.
    #[must_use]
    pub fn wrong(&self) -> Option<Error> {
        let reason = [&self.engine, &self.kafka].into_iter().filter_map(|rows| ours(rows)?.not_run.as_deref()).next()?;
        Some(Error::Wrong(format!("there is nothing to compare with: {reason}")))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = |f: &mut fmt::Formatter<'_>, title: &str| {
            writeln!(f, "{title}")?;
            writeln!(f, "  {:<24}{:>11} {:<22}{:>9} {:>7} {:>6}  {:<26} version: what", "peer", "a second", "(rounds)", "CPU µs", "broker", "MB", "ours is")
        };
        if !self.engine.is_empty() {
            head(f, &format!("peers, engine only: messages in memory, the best pass of each of {} rounds, medians of rounds", self.rounds))?;
            self.engine.iter().try_for_each(|row| row.write(f, ours(&self.engine)))?;
        }
        if !self.kafka.is_empty() {
            head(f, &format!("peers, Kafka to Kafka: {} records, the same broker and topic, {} rounds, medians of rounds", self.records, self.rounds))?;
            self.kafka.iter().try_for_each(|row| row.write(f, ours(&self.kafka)))?;
        }
        write!(
            f,
            "  CPU µs and broker: processor time an execution; MB: most memory resident; ours is: executions a second of ours by the peer's, round by round"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, rates: &[f64]) -> Row {
        let mut row = Row::new(name, "");
        for &per_s in rates {
            let sample = Sample { per_s, cpu_us: Some(1e6 / per_s), broker_cpu_us: None, rss_mb: per_s / 10.0 };
            row.enter(if per_s > 0.0 { Ok(sample) } else { Err("the jar is missing".to_owned()) });
        }
        row
    }

    fn outcome() -> Outcome {
        let engine = vec![row("fast", &[4_000.0, 4_000.0]), row(OURS, &[2_000.0, 1_000.0]), row("slow", &[0.0, 100.0]), row("absent", &[0.0, 0.0])];
        Outcome { rounds: 2, records: 0, engine, kafka: Vec::new() }
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_losses_stay() {
        let json = outcome().to_json();
        let rows = json["engine"].as_array().unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0]["ours_is"], json!({"min": number(0.25, 2), "median": number(0.375, 2), "max": number(0.5, 2)}));
        assert_eq!((&rows[0]["executions_per_s"], &rows[0]["rss_mb"], &rows[0]["not_run"]), (&json!(4_000), &json!(400), &Value::Null));
        assert_eq!(rows[1]["ours_is"]["median"], number(1.0, 2));
        assert_eq!((&rows[2]["ours_is"]["median"], &rows[2]["not_run"]), (&number(10.0, 2), &json!("the jar is missing")));
        assert_eq!((&rows[3]["executions_per_s"], &rows[3]["not_run"]), (&Value::Null, &json!("the jar is missing")));
    }

    #[test]
    fn peers_without_result_are_lines_with_the_reason() {
        let text = outcome().to_string();
        let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line("absent"), "absent not run: the jar is missing");
        assert!(line("fast").contains("0.38 × (0.25 to 0.50)"), "{text}");
        assert_eq!((times(1.234), times(1_234.5)), ("1.23".to_owned(), "1234".to_owned()));
        assert!(text.contains("not in every round: the jar is missing"), "{text}");
        assert!(outcome().wrong().is_none());
    }

    #[test]
    fn run_without_ours_is_a_failure() {
        let outcome = Outcome { engine: vec![row(OURS, &[1.0, 0.0])], ..outcome() };
        assert!(outcome.wrong().is_some_and(|error| error.to_string().ends_with("the jar is missing") && error.exit_code() == 1));
    }
}
