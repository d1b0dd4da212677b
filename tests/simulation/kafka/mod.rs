//! The client under the names of the service's `kafka`: its own `client` and `bundle`, over models of what reaches librdkafka.

include!(concat!(env!("OUT_DIR"), "/client.rs"));
pub(crate) mod commit;
pub(crate) mod headers;
pub(crate) mod native;
pub(crate) mod producer;
pub(crate) mod queue;
pub(crate) mod token;
pub(crate) mod transaction;

pub(crate) use bundle::{Bundle, Rejected};
pub(crate) use client::{Consumer, ConsumerHandle, Rebalancer};
#[expect(unreachable_pub, reason = "the pipeline passes it on under this visibility")]
pub use expressway_ingest::pipeline::Profile;
pub(crate) use headers::Headers;
pub(crate) use native::{BaseConsumer, ConsumerCalls};
pub(crate) use producer::{Producer, Topic};
#[expect(unreachable_pub, reason = "the pipeline passes it on under this visibility")]
pub use protocol::GroupProtocol;
pub(crate) use queue::{Batch, Message, ShardQueue};
pub(crate) use rdkafka::types::RDKafkaErrorCode as ErrorCode;
pub(crate) use transaction::{Membership, Transactions};
