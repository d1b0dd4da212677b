//! Case `choice-rules`: what a Choice state costs, everything around it subtracted.
//!
//! Several Choice states in turn, each with rules on a member of its own, and each way leading over a Pass state of its own. The values are random, so that no processor can guess the way: a wrong guess costs it some 15 to 20 cycles, which are in the figure. `--hit last` always takes the last way, for what the tests themselves cost. Subtracted is the same chain of Pass states without a Choice, run in turns pass by pass. That each value takes its own way is checked with a twin of the definition that writes the ways down.

use clap::{ArgMatches, Args, FromArgMatches as _};
use serde_json::{Map, Value};

use super::{Report, usage};
use crate::definitions::{Hit, Rules, Trace, choices, straight};
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::timing::{PASSES, Stage, Workload, check, time};
use crate::workflow::{Runner, program};
use expressway_ingest::random::Random;

/// Messages of a pass.
const MESSAGES: u32 = 20_000;

/// Flags of `run choice-rules`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Rules of each Choice state
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=90))]
    rules: u32,
    /// What the rules compare
    #[arg(long, value_enum, default_value_t = Rules::String)]
    kind: Rules,
    /// Choice states in turn
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    states: u32,
    /// Which ways the messages take
    #[arg(long, value_enum, default_value_t = Hit::Random)]
    hit: Hit,
}

/// `run choice-rules`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { rules, kind, states, hit } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(kind, rules, states, hit, MESSAGES, PASSES).map(Report::from)
}

/// Runs the case.
///
/// # Errors
/// A way is wrong, an output differs from its input, or the thread cannot be pinned.
pub fn run(kind: Rules, rules: u32, states: u32, hit: Hit, messages: u32, passes: u32) -> Result<Outcome, Error> {
    let chosen = workload(kind, rules, states, hit, messages)?;
    let without = Workload { program: program(&straight(states), "straight")?, inputs: chosen.inputs.clone(), expected: Box::new(as_it_came) };
    let timings = time(&[Stage::of(&chosen), Stage::of(&without)], passes)?;
    let (choice, spread) = timings[0].less(&timings[1], f64::from(states));
    let parameters = vec![("kind", kind.name().into()), ("rules", rules.into()), ("hit", hit.name().into()), ("states", states.into())];
    let outcome = Outcome::of("choice-rules", parameters, &timings[0]);
    let outcome = outcome.with("ns_per_choice", (choice, Some(spread)), 2, "ns a Choice state, the states around it subtracted");
    let cpu = timings[0].less_cpu(&timings[1], f64::from(states));
    let outcome = outcome.with("cpu_ns_per_choice", (cpu, None), 2, "ns of processor time a Choice state");
    Ok(match kind {
        Rules::String => outcome,
        Rules::Number => {
            outcome.with("ns_per_test", (choice / tests_mean(rules, hit), None), 2, "ns a numeric test, in the mean over the tests that a way needs")
        }
    })
}

/// Numeric tests of a state in the mean: the way of rule `i` needs `i + 1`, Default needs all.
fn tests_mean(rules: u32, hit: Hit) -> f64 {
    if hit == Hit::Last {
        return f64::from(rules);
    }
    let all = f64::from(rules) * f64::from(rules + 1) / 2.0 + f64::from(rules);
    all / f64::from(rules + 1)
}

/// Choice states over messages, checked for their ways.
pub(crate) fn workload(kind: Rules, rules: u32, states: u32, hit: Hit, messages: u32) -> Result<Workload, Error> {
    let inputs = inputs(kind, rules, states, hit, messages);
    let twin = program(&choices(states, rules, kind, Trace::Written), "written")?;
    let ways = kind.ways(rules);
    check(&mut Runner::new(&twin), &inputs, &move |message: &[u8], _: &str| written(kind, ways, states, message))?;
    Ok(Workload { program: program(&choices(states, rules, kind, Trace::Silent), "choices")?, inputs: vec![inputs], expected: Box::new(as_it_came) })
}

fn as_it_came(message: &[u8], _: &str) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice::<Value>(message).map(|_| message.to_vec())
}

fn inputs(kind: Rules, rules: u32, states: u32, hit: Hit, count: u32) -> Messages {
    let mut random = Random::new(1);
    let ways = kind.ways(rules);
    let mut way = || match hit {
        Hit::Random => u32::try_from(random.below(u64::from(ways))).unwrap_or(0),
        Hit::Last => ways - 1,
    };
    let mut member = |state: u32| (format!("k{state}"), kind.value(way()));
    (0..count).map(|_| Value::Object((0..states).map(&mut member).collect()).to_string()).collect()
}

/// What the twin makes of a message, by hand.
fn written(kind: Rules, ways: u32, states: u32, message: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut message: Map<String, Value> = serde_json::from_slice(message)?;
    for state in 0..states {
        let way = (0..ways).find(|way| message.get(&format!("k{state}")) == Some(&kind.value(*way)));
        message.insert(format!("way{state}"), way.into());
    }
    serde_json::to_vec(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_run_and_have_their_keys() {
        let json = run(Rules::String, 20, 2, Hit::Random, 500, 2).unwrap().to_json();
        assert!(json["ns_per_choice"].is_number() && json["ns_per_test"].is_null(), "{json}");
        let json = run(Rules::Number, 1, 2, Hit::Last, 500, 2).unwrap().to_json();
        assert!(json["ns_per_choice"].is_number() && json["ns_per_test"].is_number(), "{json}");
    }

    #[test]
    fn one_numeric_rule_is_one_test() {
        assert!((tests_mean(1, Hit::Random) - 1.0).abs() < 1e-9);
        assert!((tests_mean(2, Hit::Random) - 5.0 / 3.0).abs() < 1e-9, "1, 2 and 2 tests");
    }
}
