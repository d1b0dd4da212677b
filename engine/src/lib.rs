//! Compiles Amazon States Language definitions to a flat program and runs executions of it, without any I/O.
//!
//! (The crate's page is being written; the names below are fixed.)

pub mod asl;
pub mod compile;
pub mod diagnostic;
pub mod document;
pub mod error;
pub mod hir;
pub mod limits;
pub mod program;
mod value;
pub mod vm;

pub use compile::{Deployment, compile};
pub use limits::{Budget, Limits};
pub use program::Program;
pub use vm::{Effect, EffectId, Effects, Event, EventKind, ExecutionName, Failure, Observer, Reply, ResourceId, Resumed, Silent, Slot, Start, Step, Timestamp};
