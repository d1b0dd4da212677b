//! The one place of the service that reads a clock.
//!
//! Everything else is given a [`Now`]: the engine, the timers, the latency figures. A shard reads once a batch, so the price of a reading (some 50 ns) never lands on a record.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use expressway_engine::Timestamp;

const NS_PER_MS: u64 = 1_000_000;

/// 2026-11-20T12:00:00Z, the instant of the canonical example: where no clock is read, time begins here.
pub const EXAMPLE: Timestamp = Timestamp(1_795_176_000_000);

/// A clock with an origin. Copies of one clock agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_ms: u64,
}

/// One reading of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The time of day at the clock's start plus the time run since: never steps back, so deadlines can be kept in it.
    pub timestamp: Timestamp,
    /// The time of day by the operating system, in nanoseconds since the Unix epoch: comparable with other machines' timestamps, and may step.
    pub wall_ns: u64,
    /// Nanoseconds since the clock's start.
    pub monotonic_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "here the clock is read")]
    pub fn start() -> Self {
        Self { origin: Instant::now(), origin_ms: wall_ns() / NS_PER_MS }
    }

    /// Reads the clock.
    #[must_use]
    pub fn now(&self) -> Now {
        let monotonic_ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { timestamp: Timestamp(self.origin_ms.saturating_add(monotonic_ns / NS_PER_MS)), wall_ns: wall_ns(), monotonic_ns }
    }
}

#[expect(clippy::disallowed_methods, reason = "here the clock is read")]
fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_never_step_back() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.timestamp >= first.timestamp);
        assert!(second.monotonic_ns >= first.monotonic_ns);
        assert!(first.wall_ns / NS_PER_MS >= clock.origin_ms.saturating_sub(1_000));
    }
}
