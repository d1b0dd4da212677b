//! What `tune` says: a table, the settings that did best, what they gain.

use std::fmt;

use serde_json::{Value, json};

use super::GAIN_MIN;
use super::trial::{IN_FLIGHT, Measured};
use crate::kafka::Profile;

/// One setting with what came of it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) profile: Profile,
    pub(super) options: Vec<(&'static str, &'static str)>,
    pub(super) measured: Measured,
}

/// All of a run.
pub(super) struct Report {
    pub(super) brokers: String,
    pub(super) records: u64,
    pub(super) partitions: u32,
    pub(super) shards: u32,
    /// The first are the defaults.
    pub(super) rows: Vec<Row>,
    /// The row that did best in the table.
    pub(super) best: usize,
    /// The defaults and the best row, measured once more beside one another; `None` when the defaults did best.
    pub(super) again: Option<(Measured, Measured)>,
}

impl Row {
    /// The row with the greatest throughput; the defaults unless another is clearly above them.
    pub(super) fn best(rows: &[Self]) -> usize {
        let Some(defaults) = rows.first() else { return 0 };
        let by_rate = |one: &(usize, &Self), other: &(usize, &Self)| one.1.measured.records_per_s.total_cmp(&other.1.measured.records_per_s);
        let best = rows.iter().enumerate().max_by(by_rate);
        best.filter(|(_, row)| row.measured.records_per_s > defaults.measured.records_per_s * GAIN_MIN).map_or(0, |(index, _)| index)
    }

    pub(super) fn rate_of_latency(&self) -> u64 {
        super::rate_of_latency(self.measured.records_per_s)
    }

    /// As a part of a configuration file.
    fn yaml(&self) -> String {
        let mut text = format!("kafka:\n  profile: {}\n", self.profile.name());
        let (own, client): (Vec<_>, Vec<_>) = self.options.iter().partition(|(name, _)| *name == IN_FLIGHT);
        if !client.is_empty() {
            text += "  client_options:\n";
        }
        for (name, value) in client {
            text += &format!("    {name}: {value}\n");
        }
        for (name, value) in own {
            text += &format!("# and in each entry of pipelines:\n#   {name}: {value}\n");
        }
        text
    }

    fn to_json(&self) -> Value {
        let Measured { records_per_s, cpu_us, latency } = self.measured;
        let options: serde_json::Map<_, _> = self.options.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "name": self.name,
            "profile": self.profile.name(),
            "options": options,
            "records_per_s": records_per_s.round(),
            "cpu_us_per_record": cpu_us.map(two_digits),
            "latency_ms": {"p50": two_digits(latency.p50), "p99": two_digits(latency.p99)},
        })
    }
}

fn two_digits(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Report {
    /// The row to recommend: the best of the table if it was better again beside the defaults.
    fn recommended(&self) -> usize {
        match self.again {
            Some((defaults, found)) if found.records_per_s > defaults.records_per_s * GAIN_MIN => self.best,
            _ => 0,
        }
    }

    /// What the recommended settings bring over the defaults, in parts of one.
    fn gain(&self) -> f64 {
        match self.again {
            Some((defaults, found)) if self.recommended() != 0 => found.records_per_s / defaults.records_per_s - 1.0,
            _ => 0.0,
        }
    }

    /// The row with the least median latency.
    fn quickest(&self) -> Option<&Row> {
        self.rows.iter().min_by(|one, other| one.measured.latency.p50.total_cmp(&other.measured.latency.p50))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "brokers": self.brokers,
            "records": self.records,
            "partitions": self.partitions,
            "shards": self.shards,
            "latency_rate": self.rows.first().map(Row::rate_of_latency),
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            "recommended": self.rows[self.recommended()].to_json(),
            "recommended_yaml": self.rows[self.recommended()].yaml(),
            "gain": two_digits(self.gain()),
            "quickest": self.quickest().map(Row::to_json),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rows.first().map_or(0, Row::rate_of_latency);
        writeln!(
            f,
            "{} heartbeats, {} partitions, {} threads; latency at {rate} records/s, to the acknowledged result",
            self.records, self.partitions, self.shards
        )?;
        writeln!(f, "{:<20} {:>11} {:>11} {:>8} {:>8}  options", "setting", "records/s", "cpu µs/rec", "p50 ms", "p99 ms")?;
        for row in &self.rows {
            let Measured { records_per_s, cpu_us, latency } = row.measured;
            let cpu = cpu_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.2}"));
            let options: Vec<_> = row.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(f, "{:<20} {records_per_s:>11.0} {cpu:>11} {:>8.2} {:>8.2}  {}", row.name, latency.p50, latency.p99, options.join(" "))?;
        }
        if let Some((defaults, found)) = self.again {
            writeln!(
                f,
                "\nonce more: {:.0} records/s with the defaults, {:.0} with {}",
                defaults.records_per_s, found.records_per_s, self.rows[self.best].name
            )?;
        }
        match self.recommended() {
            0 => writeln!(f, "\nrecommended: the defaults; nothing tried is clearly above them")?,
            index => writeln!(f, "\nrecommended: {}, {:.0} % more records a second than the defaults", self.rows[index].name, self.gain() * 100.0)?,
        }
        write!(f, "\n{}", self.rows[self.recommended()].yaml())?;
        if let Some(row) = self.quickest() {
            writeln!(
                f,
                "\nleast latency: {}, p50 {:.2} ms, p99 {:.2} ms (the defaults: {:.2} and {:.2})",
                row.name, row.measured.latency.p50, row.measured.latency.p99, self.rows[0].measured.latency.p50, self.rows[0].measured.latency.p99
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::Latency;
    use super::*;

    fn measured(records_per_s: f64, p50: f64) -> Measured {
        Measured { records_per_s, cpu_us: Some(1.234), latency: Latency { p50, p99: 10.0 } }
    }

    fn report(again: Option<(f64, f64)>) -> Report {
        let row = |name, options: &[(&'static str, &'static str)], rate, p50| Row {
            name,
            profile: Profile::Throughput,
            options: options.to_vec(),
            measured: measured(rate, p50),
        };
        let rows = vec![
            row("profile throughput", &[], 100_000.0, 4.0),
            row("slightly better", &[("linger.ms", "5")], 104_000.0, 6.0),
            row("more in flight", &[("linger.ms", "3"), (IN_FLIGHT, "40000")], 130_000.0, 3.0),
        ];
        let best = Row::best(&rows);
        let again = again.map(|(defaults, found)| (measured(defaults, 4.0), measured(found, 3.0)));
        Report { brokers: "b:1".to_owned(), records: 1_000, partitions: 4, shards: 2, rows, best, again }
    }

    #[test]
    fn what_did_best_twice_is_recommended_with_its_gain() {
        let report = report(Some((100_000.0, 120_000.0)));
        assert_eq!((report.best, report.recommended()), (2, 2));
        let json = report.to_json();
        assert_eq!((&json["gain"], &json["recommended"]["name"]), (&json!(0.2), &json!("more in flight")));
        let yaml = json["recommended_yaml"].as_str().unwrap();
        assert_eq!(yaml, "kafka:\n  profile: throughput\n  client_options:\n    linger.ms: 3\n# and in each entry of pipelines:\n#   in_flight_max: 40000\n");
        let file = crate::config::Layers { file: Some(("a.yaml", yaml)), ..crate::config::Layers::default() };
        assert!(crate::config::load(&file).is_ok(), "the snippet can be used as it is");
        assert!(report.to_string().contains("20 % more records"), "{report}");
    }

    #[test]
    fn what_was_not_better_again_is_not_recommended() {
        let report = report(Some((100_000.0, 101_000.0)));
        assert_eq!((report.best, report.recommended()), (2, 0));
        assert!(report.to_string().contains("recommended: the defaults"), "{report}");
        assert_eq!(report.to_json()["gain"], json!(0.0));
    }

    #[test]
    fn a_small_difference_is_none() {
        let mut report = report(None);
        report.rows.truncate(2);
        assert_eq!(Row::best(&report.rows), 0);
    }
}
