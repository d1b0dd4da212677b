//! The passing of time.

use std::time::Duration;

/// Waits for `time` on a timer.
pub(crate) fn pause(time: Duration) {
    // A channel that only ever delivers the passing of time.
    let passed = crossbeam::channel::after(time).recv();
    debug_assert!(passed.is_ok(), "the channel of a timer delivers once");
}
