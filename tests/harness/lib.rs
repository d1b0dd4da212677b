//! What the test binaries share.
//!
//! Two halves. [`corpus`] reads cases, runs them through the engine on virtual time and judges the outcome; it needs neither a broker nor a clock. [`broker`], [`mock`], [`service`] and [`ledger`] start what the service and chaos suites talk to, and prove afterwards that no record was lost. [`deadline`] bounds every wait, [`suite`] runs a list of named tests in one process.
//!
//! Whatever is started here ends with the process that started it, also when that is killed: see [`deadline::Leash`].

pub mod corpus;
pub mod deadline;
