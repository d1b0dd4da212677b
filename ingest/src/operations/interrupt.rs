//! The first SIGINT or SIGTERM lets a command end in order; a second one ends it as usual.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// Whether somebody asked for the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for signals on a thread of its own.
    pub(crate) fn listen() -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::surroundings("signals cannot be listened to", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let interrupt = Self::default();
        let asked = interrupt.clone();
        let listen = move || {
            runtime.block_on(async {
                let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
                let mut count = 0;
                while count < 2 {
                    tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
                    asked.0.store(true, Ordering::Relaxed);
                    count += 1;
                }
                // What is not committed comes back with the next command.
                std::process::exit(i32::from(crate::error::EXIT_SURROUNDINGS));
            });
        };
        thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
        Ok(interrupt)
    }

    /// Whether to end.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for the end, as a signal would.
    #[cfg(test)]
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
