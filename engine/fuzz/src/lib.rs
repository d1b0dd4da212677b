//! The targets and the reference interpreter of the tests' harness, and the parts of the service that read what others wrote: each from where it lies, without the dependencies of the rest. A fuzzer needs no Kafka client.
#![expect(dead_code, reason = "of the service's modules, only what the targets reach is used here")]

#[path = "../../../ingest/src/clock.rs"]
mod clock;
mod config;
#[path = "../../../tests/harness/differential/mod.rs"]
pub mod differential;
mod kafka;
#[path = "../../../ingest/src/local.rs"]
mod local;
mod operations;
mod pipeline;
#[path = "../../../tests/harness/reference/mod.rs"]
pub mod reference;
#[path = "../../../tests/harness/same_shapes.rs"]
pub mod same_shapes;
#[path = "../../../tests/harness/target.rs"]
pub mod target;
mod tasks;
#[path = "../../../ingest/src/untrusted.rs"]
pub mod untrusted;
