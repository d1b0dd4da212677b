//! Log lines on standard error: set-up, and the limit on lines that repeat.
//!
//! A fault that comes with every record would write as many lines as there are records. Each place in the code may therefore write a few lines a second at `warn` and `error`; what is held back is counted, and [`RateLimit::held_total`] lets the service say how many.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::clock::Clock;
use crate::config::LogFormat;
use crate::error::Error;

/// Lines that one place in the code may write in one [`WINDOW_NS`].
const LINES_MAX: u32 = 10;

/// The window over which lines are counted.
const WINDOW_NS: u64 = 1_000_000_000;

/// Sends log lines of `level` and above to standard error.
///
/// # Errors
/// When the level is not one, or another subscriber is in place.
pub fn start(level: &str, format: LogFormat) -> Result<Arc<RateLimit>, Error> {
    let filter = EnvFilter::try_new(level)
        .map_err(|_| Error::Usage(format!("log level \"{level}\" is not allowed; it takes error, warn, info, debug, trace, or a list of target=level")))?;
    let limit = Arc::new(RateLimit::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(lines.with_filter(Limited(Arc::clone(&limit), Clock::start())));
    registry.try_init().map_err(|error| Error::surroundings("logging cannot be set up", error))?;
    Ok(limit)
}

/// Counts lines per place in the code.
#[derive(Debug, Default)]
pub struct RateLimit {
    places: Mutex<BTreeMap<usize, Window>>,
    held: AtomicU64,
}

#[derive(Debug)]
struct Window {
    began_ns: u64,
    lines: u32,
}

impl RateLimit {
    /// How many lines were held back so far.
    #[must_use]
    pub fn held_total(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether the place may write a line now.
    fn admit(&self, place: usize, now_ns: u64) -> bool {
        let mut places = self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let window = places.entry(place).or_insert(Window { began_ns: now_ns, lines: 0 });
        if now_ns.saturating_sub(window.began_ns) >= WINDOW_NS {
            *window = Window { began_ns: now_ns, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        let admitted = window.lines <= LINES_MAX;
        if !admitted {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

/// The limit as a filter of one layer.
struct Limited(Arc<RateLimit>, Clock);

impl<S: Subscriber> Filter<S> for Limited {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // A place in the code is known by the address of its description, which is static.
        *metadata.level() > Level::WARN || self.0.admit(std::ptr::from_ref(metadata).addr(), self.1.now().monotonic_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_writes_a_few_lines_a_second_and_others_are_not_touched() {
        let limit = RateLimit::default();
        let admitted = (0..100).filter(|_| limit.admit(1, 5)).count();
        assert_eq!(admitted, LINES_MAX as usize);
        assert!(limit.admit(2, 5));
        assert!(limit.admit(1, 5 + WINDOW_NS));
        assert_eq!(limit.held_total(), 90);
    }
}
