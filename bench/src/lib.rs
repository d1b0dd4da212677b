//! The benchmark harness of Expressway: what is measured, how, and what is not.
//!
//! In go simulated devices' messages ([`messages`], [`expressway_ingest::devices`]) and the canonical workflow ([`workflow`]); out comes one result a case, with its spread and the facts it is quoted with ([`record`], [`probe`]).
//!
//! - [`cases`]: what can be run, one module a case; [`timing`] runs those that stay in this process, without Kafka and without hand-over between threads.
//! - [`load`]: load at a fixed rate and latencies from the intended instant, for whoever measures latency.
//! - [`kafka`]: from Kafka to Kafka on a real broker, beside the floor of the same loop. Throughput, not latency.
//! - [`peers`]: what a user would pick instead, on the same job in the same run.
//! - [`sweep`]: a case over the values of a parameter, with a chart; [`instructions`]: the regression gate.
//! - `benches/` (criterion): the stages one by one, for finding out where a change went.
//!
//! A case checks before it times: a wrong output or a lost record is an error, not a footnote. Debug builds are refused. Nothing here is tuned that the service does not do: the engine is called as a shard calls it.
//!
//! ```
//! use expressway_bench::messages::Messages;
//! use expressway_bench::workflow::{HEARTBEAT, Runner, program};
//!
//! let program = program(HEARTBEAT, "heartbeat")?;
//! let mut runner = Runner::new(&program);
//! for message in Messages::generate(3, 1).iter() {
//!     println!("{}", String::from_utf8_lossy(runner.execute(message, 0)));
//! }
//! # Ok::<(), expressway_bench::error::Error>(())
//! ```

#![expect(clippy::disallowed_methods, reason = "who measures reads clocks")]

pub mod alloc;
pub mod cases;
mod clock;
pub mod definitions;
pub mod error;
pub mod instructions;
pub mod kafka;
pub mod load;
pub mod messages;
mod mock;
pub mod outcome;
pub mod peers;
pub mod probe;
pub mod record;
pub mod reference;
pub mod shapes;
pub mod spread;
pub mod sweep;
pub mod timing;
pub mod workflow;

pub use cases::{CASES, heartbeat};
