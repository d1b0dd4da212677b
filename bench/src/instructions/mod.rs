//! The regression gate: instructions instead of nanoseconds, so that it judges the same on a busy machine and on an idle one.
//!
//! Each canonical case runs in a process of its own under `valgrind --tool=callgrind` (`callgrind.rs`): for its first part, its first two and all three (read, run, write), one pass over its messages and then two. The second less the first is a pass, from which start-up, checking and warming up have cancelled out; a part is what it adds to those before it. Counts are compared with the accepted ones of a file ([`accepted`]), which changes only by a commit that says why.
//!
//! The counts do not depend on the machine: valgrind shows every program the same processor of a given level, whose features are told with the counts; the order of all allocations is fixed, and nothing that is counted hashes with a random seed. They do depend on the build: the gate is for the release profile, which has no link-time optimisation and is built sooner; whoever measures time uses the bench profile, and sees fewer instructions.

pub mod accepted;
mod callgrind;
mod phases;

use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

pub use phases::{CASES, child};

use crate::cases::Report;
use crate::error::Error;
use crate::probe;
use crate::spread::number;

/// Instructions of an execution in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Starting: the input is read.
    pub parse: f64,
    /// From the start to the end.
    pub run: f64,
    /// The output.
    pub write: f64,
}

impl Counts {
    /// Names and values, in order.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, f64); 3] {
        [("parse", self.parse), ("run", self.run), ("write", self.write)]
    }

    /// All parts together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.parse + self.run + self.write
    }

    /// From what one pass and two passes take of the first part, of the first two, and of all three.
    fn from_passes(passes: [(u64, u64); 3], executions: u64) -> Self {
        let [parse, run, write] = passes.map(|(one, two)| (two as f64 - one as f64) / executions as f64);
        Self { parse, run: run - parse, write: write - run }
    }
}

/// What a case needed.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The case.
    pub name: &'static str,
    /// Executions of a pass.
    pub executions: u64,
    /// Its instructions.
    pub counts: Counts,
    /// What the processor that valgrind shows can do, as far as code asks for it.
    pub features: String,
}

impl Found {
    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut parts: serde_json::Map<String, Value> = self.counts.parts().into_iter().map(|(part, count)| (part.to_owned(), number(count, 1))).collect();
        parts.insert("all".to_owned(), number(self.counts.total(), 1));
        json!({"case": "instructions", "of": self.name, "executions": self.executions, "instructions": parts, "features": self.features})
    }
}

/// Counts the instructions of all cases, as many at a time as there are processors. Profiles are left in `dumps`, if given.
///
/// # Errors
/// There is no valgrind, or a case does not run.
///
/// # Panics
/// Never: no thread panics while it holds the list.
pub fn count(dumps: Option<&Path>) -> Result<Vec<Found>, Error> {
    let valgrind = callgrind::Valgrind::find()?;
    let waiting = Mutex::new(CASES.iter().rev().collect::<Vec<_>>());
    let found = std::thread::scope(|scope| {
        let worker = || {
            let cases = std::iter::from_fn(|| waiting.lock().expect("nobody panics with the list").pop());
            cases.map(|case| valgrind.count(case, dumps)).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = (0..probe::processors()).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().expect("counting does not panic")).collect::<Result<Vec<_>, _>>()
    })?;
    let mut found: Vec<Found> = found.into_iter().flatten().collect();
    found.sort_by_key(|found| CASES.iter().position(|case| case.name == found.name));
    Ok(found)
}

/// How the comparison ended.
#[must_use]
pub fn verdict(found: &[Found], accepted: &accepted::Accepted) -> Report {
    let findings = accepted.judge(found);
    let features = found.first().map_or("", |found| found.features.as_str());
    Report { json: findings.to_json(), text: format!("processor features: {features}\n{}", findings.text()), wrong: findings.wrong() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_it_adds_and_what_is_constant_cancels_out() {
        // 1,000 at the start of everything; 10, 30 and 35 an execution of 100.
        let passes = [10, 30, 35].map(|each| (1_000 + each * 100, 1_000 + each * 200));
        assert_eq!(Counts::from_passes(passes, 100), Counts { parse: 10.0, run: 20.0, write: 5.0 });
        assert!((Counts::from_passes(passes, 100).total() - 35.0).abs() < 1e-9);
    }
}
