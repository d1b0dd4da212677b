//! Virtual time, under the names of the service's clock.

use expressway_engine::Timestamp;

use crate::world::with;

/// 2026-11-21 00:00 UTC, when every simulation begins.
const EPOCH_NS: u64 = 1_795_219_200_000_000_000;
/// What a reading costs, so that time passes even for somebody who only looks at it.
const READING_NS: u64 = 50;

/// The clock of one instance of the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instance: usize,
    origin_ns: u64,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) timestamp: Timestamp,
    pub(crate) wall_ns: u64,
    pub(crate) monotonic_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        with(|world| Self { instance: world.instance(), origin_ns: world.now_ns })
    }

    pub(crate) fn now(&self) -> Now {
        with(|world| {
            world.now_ns += READING_NS;
            let monotonic_ns = world.now_ns - self.origin_ns;
            let wall_ns = (EPOCH_NS + world.now_ns).saturating_add_signed(world.instances[self.instance].wall_offset_ns);
            Now { timestamp: Timestamp((EPOCH_NS + self.origin_ns) / 1_000_000 + monotonic_ns / 1_000_000), wall_ns, monotonic_ns }
        })
    }
}
