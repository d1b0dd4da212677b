//! The targets and the reference interpreter of the tests' harness, without the harness's own dependencies: a fuzzer needs no Kafka client.

#[path = "../../../tests/harness/differential/mod.rs"]
pub mod differential;
#[path = "../../../tests/harness/reference/mod.rs"]
pub mod reference;
#[path = "../../../tests/harness/same_shapes.rs"]
pub mod same_shapes;
#[path = "../../../tests/harness/target.rs"]
pub mod target;
