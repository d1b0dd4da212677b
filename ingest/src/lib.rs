//! To be written.
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod devices;
pub mod error;
pub mod kafka;
pub mod local;
pub mod pipeline;
pub mod tasks;
pub mod telemetry;
