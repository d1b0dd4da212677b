//! What a run would have cost on AWS Express Workflows, by the dated price list in `configs/prices.yaml`.

use serde::Deserialize;

use crate::config::yaml;

const PRICES_YAML: &str = include_str!("../../../../configs/prices.yaml");

/// The price list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prices {
    pub(super) as_of: String,
    pub(super) region: String,
    requests_per_million: f64,
    memory_step_mb: f64,
    duration_step_ms: f64,
    memory_base_mb: f64,
    tiers: Vec<Tier>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    gb_hours: Option<f64>,
    per_gb_hour: f64,
}

/// The executions that are billed, all alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) executions: f64,
    pub(super) duration_ms: f64,
    /// Definition and payload together.
    pub(super) bytes: f64,
}

/// A bill in dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bill {
    pub(super) requests: f64,
    pub(super) duration: f64,
    pub(super) billed_mb: f64,
    pub(super) billed_ms: f64,
}

impl Bill {
    pub(super) fn total(&self) -> f64 {
        self.requests + self.duration
    }
}

impl Prices {
    /// The list compiled into the program.
    pub(super) fn builtin() -> Self {
        let value = yaml::parse(PRICES_YAML).expect("prices.yaml is compiled in, and a test parses it");
        serde_json::from_value(value).expect("prices.yaml has exactly these keys, which a test checks")
    }

    /// The bill of `usage` in a month that begins with it, by spec/api.md 8.
    pub(super) fn bill(&self, usage: &Usage) -> Bill {
        let billed_ms = (usage.duration_ms / self.duration_step_ms).ceil().max(1.0) * self.duration_step_ms;
        let used_mb = self.memory_base_mb + usage.bytes / f64::from(1 << 20);
        let billed_mb = (used_mb / self.memory_step_mb).ceil() * self.memory_step_mb;
        let mut gb_hours = usage.executions * (billed_ms / 1000.0) * (billed_mb / 1024.0) / 3600.0;
        let mut duration = 0.0;
        for tier in &self.tiers {
            let within = tier.gb_hours.map_or(gb_hours, |size| gb_hours.min(size));
            duration += within * tier.per_gb_hour;
            gb_hours -= within;
        }
        Bill { requests: usage.executions / 1e6 * self.requests_per_million, duration, billed_mb, billed_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bill_matches_the_worked_example_of_the_pricing_page() {
        let bill = Prices::builtin().bill(&Usage { executions: 100e6, duration_ms: 10_000.0, bytes: 1e6 });
        assert!((bill.duration - 382.97).abs() < 0.01, "{bill:?}");
        assert!((bill.requests - 100.0).abs() < 1e-9);
        assert!((bill.billed_mb - 64.0).abs() < 1e-9);
    }

    #[test]
    fn time_and_memory_are_rounded_up() {
        let bill = Prices::builtin().bill(&Usage { executions: 1.0, duration_ms: 100.5, bytes: f64::from(14 << 20) + 1.0 });
        assert_eq!((bill.billed_ms, bill.billed_mb), (200.0, 128.0));
        let bill = Prices::builtin().bill(&Usage { executions: 1.0, duration_ms: 0.0, bytes: 0.0 });
        assert_eq!((bill.billed_ms, bill.billed_mb), (100.0, 64.0));
    }
}
