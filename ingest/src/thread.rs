//! The one place where a pipeline makes threads and lets them wait.
//!
//! Beside [`crate::clock`] and [`crate::kafka`] this is all that a pipeline knows of the world: whoever puts other modules under these three names runs the same pipeline in a world of its own, as the simulation does (`tests/simulation`). So nothing in `pipeline` parks, spawns, or waits at a channel but through here; what never waits (`try_recv`, `try_send`) needs no detour.

use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};

pub(crate) use std::thread::{JoinHandle, Thread, current, park_timeout};

/// Starts a thread of that name.
///
/// # Errors
/// The operating system has none to give.
pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body)
}

/// Waits for the next thing from a channel.
///
/// # Errors
/// Nothing came in time, or nothing can come any more.
pub(crate) fn receive<T>(from: &Receiver<T>, wait: Duration) -> Result<T, RecvTimeoutError> {
    from.recv_timeout(wait)
}

/// Waits for room in a channel.
///
/// # Errors
/// There was none in time, or nobody reads any more; what was to be sent comes back.
pub(crate) fn send<T>(to: &Sender<T>, what: T, wait: Duration) -> Result<(), SendTimeoutError<T>> {
    to.send_timeout(what, wait)
}
