//! The hook on everything that makes a history event; compiled away where nobody listens.

use super::Timestamp;

/// Hears of every history event of an execution.
pub trait Observer {
    /// Whether events are wanted at all; with `false` none is made.
    const LISTENS: bool;

    /// One event: ids count from 1 within the execution. (Details are being written.)
    fn event(&mut self, id: u64, previous: u64, at: Timestamp, kind: &'static str);
}

/// Hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    const LISTENS: bool = false;

    fn event(&mut self, _: u64, _: u64, _: Timestamp, _: &'static str) {}
}
