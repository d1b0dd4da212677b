//! Mock files.

#[path = "../../../ingest/src/tasks/mock.rs"]
pub(crate) mod mock;
