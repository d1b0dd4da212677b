//! The engine's integration tests, one module for each subject.

mod allocations;
mod diagnostics;
mod documents;
mod hardening;
mod limits;
mod listings;
mod runs;
mod support;
mod variables;
