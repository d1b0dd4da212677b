//! What operators' commands read beside records and offsets.

#[path = "../../../ingest/src/operations/header_list.rs"]
pub(crate) mod header_list;
#[path = "../../../ingest/src/operations/memory.rs"]
pub(crate) mod memory;
