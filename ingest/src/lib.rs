//! To be written.
pub mod config;
pub mod error;
pub mod local;
pub mod tasks;
