//! What runs under valgrind: the canonical cases, phase by phase.

use std::hint::black_box;

use serde_json::json;

use crate::cases::{choice_rules, fork, heartbeat, heartbeat_shapes, payload, transitions};
use crate::definitions::{Hit, Rules, Work};
use crate::error::Error;
use crate::messages::Messages;
use crate::reference;
use crate::timing::{Workload, check};
use crate::workflow::{ALERT, REGISTRATION, Runner, program};

/// What all tasks of the registration return.
const REGISTRATION_REPLY: &[u8] = br#"{"model":"sensor-2","owner":"fleet-7"}"#;

/// Passes before anything is counted: so many that what is learned of messages is learned.
const WARM_UP: u32 = 4;

/// Parts of an execution, each with those before it.
const DEPTHS: usize = 3;

/// A case whose instructions are counted.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name in the file of accepted counts.
    pub name: &'static str,
    /// What all calls of its executions return.
    reply: &'static [u8],
    /// Whether shapes of messages are learned.
    learns: bool,
    workload: fn() -> Result<Workload, Error>,
}

const fn case(name: &'static str, workload: fn() -> Result<Workload, Error>) -> Case {
    Case { name, reply: b"null", learns: true, workload }
}

impl Case {
    /// Its program, messages and what is expected of them.
    ///
    /// # Errors
    /// Its definition is refused, which does not happen to a definition of this project.
    pub fn workload(&self) -> Result<Workload, Error> {
        (self.workload)()
    }

    /// A runner that answers its executions.
    #[must_use]
    pub fn runner<'w>(&self, workload: &'w Workload) -> Runner<'w> {
        let runner = Runner::answering(&workload.program, self.reply);
        if self.learns { runner } else { runner.without_learning() }
    }
}

/// The canonical cases.
pub const CASES: &[Case] = &[
    case("heartbeat", || heartbeat::workload(1, 1_000)),
    Case { learns: false, ..case("heartbeat-full-pass", || heartbeat::workload(1, 1_000)) },
    case("heartbeat-1000-shapes", || heartbeat_shapes::workload(1_000, 1, 2_000)),
    case("alert", alert),
    Case { reply: REGISTRATION_REPLY, ..case("registration", registration) },
    case("payload-10k", || payload::workload(payload::Style::Heartbeat, 10_000, 40)),
    case("transitions-pass", || transitions::workload(Work::Pass, 100, 100)),
    case("transitions-constant", || transitions::workload(Work::Constant, 100, 100)),
    case("transitions-template", || transitions::workload(Work::Template, 100, 100)),
    case("choice-strings", || choice_rules::workload(Rules::String, 20, 8, Hit::Random, 400)),
    case("choice-numbers", || choice_rules::workload(Rules::Number, 1, 8, Hit::Random, 400)),
    case("map20", || fork::map_workload(20, 100)),
    case("parallel", || fork::parallel_workload(4, 200)),
];

fn alert() -> Result<Workload, Error> {
    let inputs = vec![Messages::alerts(200, 1)];
    Ok(Workload { program: program(ALERT, "alert")?, inputs, expected: Box::new(reference::alert) })
}

fn registration() -> Result<Workload, Error> {
    let inputs = (0..200).map(|number| format!(r#"{{"deviceId":"dev-{number:06}","model":"sensor-2","unreachable":0}}"#)).collect();
    let expected = |_: &[u8], _: &str| Ok(REGISTRATION_REPLY.to_vec());
    Ok(Workload { program: program(REGISTRATION, "registration")?, inputs: vec![inputs], expected: Box::new(expected) })
}

/// Runs a case, each phase ended by a call of `end_of_counted_phase`, where callgrind writes down what it has counted and begins anew. Prints what the parent has to know as one JSON object.
///
/// # Errors
/// There is no such case, or an output is wrong.
pub fn child(name: &str) -> Result<String, Error> {
    let Some(case) = CASES.iter().find(|case| case.name == name) else { return Err(Error::Usage(format!("no instructions of {name} are counted"))) };
    let workload = case.workload()?;
    let messages = &workload.inputs[0];
    check(&mut case.runner(&workload), messages, &*workload.expected)?;
    for depth in 1..=DEPTHS {
        // A runner of its own for each depth: what a runner learns of its messages, and when, depends on how many it has seen, and has to be the same at each.
        let mut runner = case.runner(&workload);
        for passes in [WARM_UP, 1, 2] {
            for _ in 0..passes {
                pass(&mut runner, messages, depth);
            }
            end_of_counted_phase(depth);
        }
    }
    Ok(json!({"executions": messages.len(), "features": features()}).to_string())
}

fn pass(runner: &mut Runner<'_>, messages: &Messages, depth: usize) {
    for (offset, message) in (0_i64..).zip(messages.iter()) {
        black_box(runner.start(message, offset).is_ok());
        if depth >= 2 {
            runner.proceed();
        }
        if depth >= 3 {
            black_box(runner.write());
        }
    }
}

/// Named to callgrind, so it has to stay a function of its own.
#[inline(never)]
fn end_of_counted_phase(depth: usize) {
    black_box(depth);
}

#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let found: Vec<&str> = [
        ("sse3", std::is_x86_feature_detected!("sse3")),
        ("ssse3", std::is_x86_feature_detected!("ssse3")),
        ("sse4.1", std::is_x86_feature_detected!("sse4.1")),
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("popcnt", std::is_x86_feature_detected!("popcnt")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("bmi1", std::is_x86_feature_detected!("bmi1")),
        ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    format!("x86_64: {}", found.join(" "))
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    std::env::consts::ARCH.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_runs_through_its_phases() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            let told: serde_json::Value = serde_json::from_str(&child(case.name).unwrap()).unwrap();
            assert!(told["executions"].as_u64() > Some(0) && told["features"].is_string(), "{}", case.name);
        }
        assert_eq!(child("nothing").unwrap_err().exit_code(), 2);
    }
}
