//! The consumer of `rdkafka`, by the names under which the service uses it.
//!
//! Nothing else in the service names these types, so that the simulation can put a model of the client in their place.

pub(crate) use rdkafka::consumer::{BaseConsumer, Consumer as ConsumerCalls, ConsumerContext, RebalanceProtocol};
