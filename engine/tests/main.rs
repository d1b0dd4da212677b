//! The engine's integration tests, one module for each subject.

mod diagnostics;
