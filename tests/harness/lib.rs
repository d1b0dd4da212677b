//! What the test binaries share.
//!
//! Three parts. [`corpus`] reads cases, runs them through the engine on virtual time and judges the outcome; it needs neither a broker nor a clock. [`mod@reference`] is a second interpreter, [`differential`] holds the engine against it by random definitions, [`same_shapes`] holds reading by learned shapes against the full pass, [`target`] is what the fuzzer drives. [`broker`], [`kafka`], [`service`] and [`ledger`] start what the service and chaos suites talk to, and prove afterwards that no record was lost; [`proxy`] is a network between them that misbehaves on demand. [`deadline`] bounds every wait, [`suite`] runs a list of named tests in one process.
//!
//! Whatever is started here ends with the process that started it, also when that is killed: see [`leash`].

pub mod broker;
pub mod corpus;
pub mod deadline;
pub mod differential;
pub mod kafka;
pub mod leash;
pub mod ledger;
pub mod proxy;
pub mod reference;
pub mod same_shapes;
pub mod service;
pub mod suite;
pub mod target;

use std::path::{Path, PathBuf};

/// The folder of the tests package, with `kafka.sh` and `data/`.
#[must_use]
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for what a test writes: below the one that `tests/run` removes at its end, or below the system's own.
#[must_use]
pub fn scratch() -> PathBuf {
    std::env::var_os("EXPRESSWAY_TEST_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}
