//! What operators do with topics, beside the running service: look at dead letters, bring records back, prove that every record has its end.
//!
//! Nothing here joins the service's consumer group, and nothing needs it to stand still: a command reads a bounded part of a topic ([`reader`]) with a client of its own, and knows a record's way by the headers that the pipeline writes ([`header`]). What changes anything is [`bring_back`], which publishes and then remembers ([`memory`]); [`audit`] only counts.

pub(crate) mod audit;
pub(crate) mod bring_back;
pub(crate) mod cluster;
pub(crate) mod header;
pub(crate) mod header_list;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod reader;
pub(crate) mod selection;

#[cfg(test)]
mod tests;

/// Between two words on how far a command is.
const PROGRESS_EVERY_NS: u64 = 2_000_000_000;
