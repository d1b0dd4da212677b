//! The names that dead letters carry.

#[path = "../../../ingest/src/pipeline/dead_letter.rs"]
mod dead_letter;
#[path = "../../../ingest/src/pipeline/header_name.rs"]
pub(crate) mod header_name;

pub use dead_letter::Reason;
