//! The Kafka client as the data plane needs it: native queues and batches behind safe types.
//!
//! - [`client`] makes configurations, holds the consumer's context and knows the two rebalance protocols.
//! - [`commit`] commits what is stored, where the client's own way would let a commit go back.
//! - [`native`] names the consumer of `rdkafka`.
//! - [`profile`] is what the clients are set for.
//! - [`protocol`] tells the two group protocols and their options apart.
//! - [`queue`] consumes in batches from a shard's own native queue.
//! - [`producer`] sends records with headers, a bundle in one call, and hands out delivery reports in batches.
//! - [`token`] gives clients what SASL's OAUTHBEARER lets in.
//! - [`transaction`] has the transactional calls of a producer, and what fences them; [`failure`] is why one of them failed.
//! - [`bundle`] is what goes out in one call.
//! - [`headers`] are those of one record.
//!
//! `queue`, `commit`, `producer`, `transaction`, `headers` and `token` are the only unsafe code of the service. What they rely on was read in librdkafka 2.12.1: a queue that partitions are forwarded to never holds a rebalance event; a message keeps its buffer until it is destroyed; a delivery report gives back payload, key and headers.

pub(crate) mod bundle;
pub(crate) mod client;
pub(crate) mod commit;
#[cfg(test)]
pub(crate) mod damage;
pub(crate) mod failure;
pub(crate) mod headers;
pub(crate) mod native;
pub(crate) mod producer;
pub(crate) mod profile;
pub(crate) mod protocol;
pub(crate) mod queue;
pub(crate) mod token;
pub(crate) mod transaction;

pub(crate) use bundle::{Bundle, Rejected};
pub(crate) use client::{Consumer, ConsumerHandle, Rebalancer};
pub(crate) use headers::Headers;
pub(crate) use native::{BaseConsumer, ConsumerCalls};
pub(crate) use producer::{Producer, Topic};
pub use profile::Profile;
pub use protocol::GroupProtocol;
pub(crate) use queue::{Batch, Message, ShardQueue};
pub(crate) use rdkafka::types::RDKafkaErrorCode as ErrorCode;
pub(crate) use transaction::{Membership, Transactions};
