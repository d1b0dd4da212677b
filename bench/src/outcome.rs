//! What a case has measured: the keys that all results share ([`Shared`]), and those of the case. [`Outcome`] is that of a case that runs in this process; one that runs on brokers has figures of its own and the same shared keys.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::alloc;
use crate::spread::{Spread, number};
use crate::timing::Timing;

/// The keys that every result has, in this order, after `case` and what was asked for; the keys of the case stand before the last one.
pub const SHARED_KEYS: [&str; 7] = ["cores", "executions", "executions_per_s", "ns_per_execution", "latency_ns", "allocations_per_execution", "spread"];

/// What every result says, whatever was run; `None` where it would mean nothing, or where nobody looked.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    /// Pinned threads.
    pub cores: Option<usize>,
    /// Executions that were measured.
    pub executions: u64,
    /// Executions a second.
    pub executions_per_s: f64,
    /// Time for an execution.
    pub ns_per_execution: f64,
    /// Middle latency of a single execution, and the one that one in a hundred exceeds.
    pub latency_ns: Option<(u64, u64)>,
    /// Heap allocations of an execution.
    pub allocations_per_execution: Option<f64>,
}

impl Shared {
    /// The result's object: the case, what it was asked for, the shared keys, its own, the spread. The three others have to be objects.
    #[must_use]
    pub fn to_result(&self, case: &str, parameters: &Value, own: &Value, spread: Value) -> Value {
        // Zero is a count, everything else a mean.
        let allocations = self.allocations_per_execution.map(|mean| number(mean, if mean == 0.0 { 0 } else { 6 }));
        let shared = json!({
            "cores": self.cores,
            "executions": self.executions,
            "executions_per_s": number(self.executions_per_s, 0),
            "ns_per_execution": number(self.ns_per_execution, 1),
            "latency_ns": self.latency_ns.map(|(p50, p99)| json!({"p50": p50, "p99": p99})),
            "allocations_per_execution": allocations,
        });
        let mut json = Map::new();
        json.insert("case".to_owned(), case.into());
        for part in [parameters, &shared, own] {
            json.extend(part.as_object().cloned().unwrap_or_default());
        }
        json.insert("spread".to_owned(), spread);
        Value::Object(json)
    }
}

/// What was measured in this process.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case.
    pub case: &'static str,
    /// What it was asked for; together with the case it tells results apart.
    pub parameters: Vec<(&'static str, Value)>,
    /// Pinned threads.
    pub cores: usize,
    /// Executions of all timed passes.
    pub executions: u64,
    /// Executions a second of all threads together, in the best pass.
    pub executions_per_s: f64,
    /// Time of one thread for one execution, in the best pass.
    pub ns_per_execution: f64,
    /// Middle latency of a single execution; 0 where single ones are not timed.
    pub p50_ns: u64,
    /// Latency that one execution in a hundred exceeds.
    pub p99_ns: u64,
    /// Heap allocations of an execution, over all timed passes; `None` when nobody counts.
    pub allocations_per_execution: Option<f64>,
    /// Time for one execution, pass by pass.
    pub spread: Spread,
    /// Processor time for one execution, pass by pass and thread by thread: what is left when others take the core away.
    pub cpu_spread: Spread,
    /// Timed passes.
    pub passes: u32,
    /// Keys of the case.
    pub figures: Vec<Figure>,
}

/// A number that only one case has.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// Decimals that mean something.
    pub decimals: usize,
    /// How far its measurements lie apart.
    pub spread: Option<Spread>,
    /// What it is, for people.
    pub meaning: String,
}

impl Outcome {
    /// The outcome of a timing, without keys of its own.
    #[must_use]
    pub fn of(case: &'static str, parameters: Vec<(&'static str, Value)>, timing: &Timing) -> Self {
        let passes = u32::try_from(timing.times.len()).unwrap_or(u32::MAX);
        let executions = timing.executions * timing.cores as u64 * u64::from(passes);
        let spread = timing.spread();
        Self {
            case,
            parameters,
            cores: timing.cores,
            executions,
            executions_per_s: 1e9 / spread.min * timing.cores as f64,
            ns_per_execution: spread.min,
            p50_ns: timing.latency.quantile_ns(0.5),
            p99_ns: timing.latency.quantile_ns(0.99),
            allocations_per_execution: alloc::is_counting().then(|| timing.allocations as f64 / executions as f64),
            spread,
            cpu_spread: timing.cpu_spread(),
            passes,
            figures: Vec::new(),
        }
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: &'static str, (value, spread): (f64, Option<Spread>), decimals: usize, meaning: impl Into<String>) -> Self {
        self.figures.push(Figure { key, value, decimals, spread, meaning: meaning.into() });
        self
    }

    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let shared = Shared {
            cores: Some(self.cores),
            executions: self.executions,
            executions_per_s: self.executions_per_s,
            ns_per_execution: self.ns_per_execution,
            latency_ns: (self.p50_ns > 0).then_some((self.p50_ns, self.p99_ns)),
            allocations_per_execution: self.allocations_per_execution,
        };
        let parameters = self.parameters.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let own = self.figures.iter().map(|figure| (figure.key.to_owned(), number(figure.value, figure.decimals))).collect();
        let mut spread = json!({"passes": self.passes, "ns_per_execution": self.spread.to_json(1), "cpu_ns_per_execution": self.cpu_spread.to_json(1)});
        for figure in &self.figures {
            if let Some(of) = figure.spread {
                spread[figure.key] = of.to_json(figure.decimals);
            }
        }
        shared.to_result(self.case, &Value::Object(parameters), &Value::Object(own), spread)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.case)?;
        for (key, value) in &self.parameters {
            write!(f, " {key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))?;
        }
        writeln!(f, ": engine only, messages in memory, {} pinned core(s)", self.cores)?;
        for figure in &self.figures {
            let (value, decimals) = (figure.value, figure.decimals);
            write!(f, "  {value:>12.decimals$} {}", figure.meaning)?;
            match figure.spread {
                Some(spread) => writeln!(f, " ({:.decimals$} median pass, {:.decimals$} to {:.decimals$})", spread.median, spread.min, spread.max)?,
                None => writeln!(f)?,
            }
        }
        writeln!(
            f,
            "  {:>12.0} executions/s, {:.1} ns each (best of {} passes, {} executions)",
            self.executions_per_s, self.ns_per_execution, self.passes, self.executions
        )?;
        writeln!(f, "  {:>12.1} ns median pass, {:.1} ns worst", self.spread.median, self.spread.max)?;
        writeln!(f, "  {:>12.1} ns of processor time in the median pass, {:.1} in the best", self.cpu_spread.median, self.cpu_spread.min)?;
        if self.p50_ns > 0 {
            writeln!(f, "  {:>12} ns p50 of single executions, {} ns p99 (one clock reading included)", self.p50_ns, self.p99_ns)?;
        }
        match self.allocations_per_execution {
            Some(mean) => writeln!(f, "  {mean:>12} allocations an execution"),
            None => writeln!(f, "  {:>12} allocations: not counted", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Latency;

    fn timing() -> Timing {
        let times = vec![Duration::from_micros(3), Duration::from_micros(2)];
        Timing { cores: 2, executions: 10, cpu: times.clone(), times, allocations: 0, latency: Latency::new() }
    }

    #[test]
    fn shared_keys_come_first_and_keep_their_order() {
        let outcome = Outcome::of("transitions", vec![("kind", "pass".into())], &timing());
        let json = outcome.with("ns_per_transition", (1.234, Some(Spread::of([1.0, 2.0]))), 2, "ns a transition").to_json();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["case", "kind", "cores", "executions", "executions_per_s", "ns_per_execution", "latency_ns", "allocations_per_execution"];
        assert_eq!(keys[..8], expected);
        assert_eq!(keys[8..], ["ns_per_transition", "spread"]);
        assert_eq!((&keys[2..8], keys[9]), (&SHARED_KEYS[..6], SHARED_KEYS[6]));
        assert_eq!((&json["executions"], &json["executions_per_s"], &json["ns_per_execution"]), (&json!(40), &json!(10_000_000), &number(200.0, 1)));
        assert_eq!(json["ns_per_transition"].to_string(), "1.23");
        assert_eq!(json["spread"]["ns_per_transition"]["max"].to_string(), "2.00");
    }
}
