//! Runs a list of named tests in one process, a few at a time.
//!
//! Tests share nothing but the machine: each has topics, groups, ports and folders of its own. A test is a function that fails by returning what is wrong; a panic is a failure too.

#![expect(clippy::disallowed_methods, reason = "a test's duration is told")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One test: its name and what it does with what all tests of the suite share.
pub type Test<S> = (&'static str, fn(&S) -> Result<(), String>);

/// Names every test once, without repeating the function's name.
#[macro_export]
macro_rules! tests {
    ($($module:ident :: $name:ident),+ $(,)?) => { &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+] };
}

/// How a suite went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name and time of each test that passed.
    pub passed: Vec<(&'static str, Duration)>,
    /// Name and reason of each that failed.
    pub failed: Vec<(&'static str, String)>,
}

/// Runs the tests whose names contain one of `filters` (all without filters), at most `jobs` at a time; `tell` hears of each as it ends.
pub fn run<S: Sync>(tests: &[Test<S>], filters: &[String], jobs: usize, shared: &S, tell: &(dyn Fn(&str) + Sync)) -> Report {
    let wanted: Vec<_> = tests.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))).collect();
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((name, test)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| test(shared))).unwrap_or_else(|_| Err("panicked".to_owned()));
                    let took = start.elapsed();
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(()) => {
                            tell(&format!("ok      {name} ({:.1} s)", took.as_secs_f32()));
                            report.passed.push((name, took));
                        }
                        Err(reason) => {
                            tell(&format!("FAILED  {name} ({:.1} s)\n        {reason}", took.as_secs_f32()));
                            report.failed.push((name, reason));
                        }
                    }
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}
