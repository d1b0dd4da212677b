//! Bounded waiting: every poll loop of the tests is one of these.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::time::{Duration, Instant};

/// How often a condition is looked at; the only pause in the tests.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` gives something.
///
/// # Errors
/// When it has not after `limit`; the text says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(format!("{what}: not within {limit:?}"));
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Checks that `look` stays empty for as long as `span`.
///
/// # Errors
/// With what it gave.
pub fn never<T>(span: Duration, mut look: impl FnMut() -> Option<T>) -> Result<(), T> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Some(found) = look() {
            return Err(found);
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(())
}
