//! To be written.
pub mod cli;
pub mod config;
pub mod control;
pub mod devices;
pub mod error;
pub mod local;
pub mod tasks;
pub mod telemetry;
