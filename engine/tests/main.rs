//! The engine's integration tests, one module for each subject.

mod allocations;
mod bounds;
mod diagnostics;
mod documents;
mod hardening;
mod histories;
mod limits;
mod listings;
mod runs;
mod shortcuts;
mod support;
mod variables;
