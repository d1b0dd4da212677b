//! The benchmark harness of Expressway: what is measured, how, and what is not.
//!
//! In go simulated devices' messages ([`messages`], [`expressway_ingest::devices`]) and the canonical workflow ([`workflow`]); out comes one result a case, with its spread and the facts it is quoted with ([`record`], [`probe`]).
//!
//! - [`heartbeat`]: the engine alone, messages in memory. No Kafka, no hand-over between threads.
//! - [`kafka`]: from Kafka to Kafka on a real broker, beside the floor of the same loop. Throughput, not latency.
//! - [`peers`]: what a user would pick instead, on the same job in the same run.
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

pub mod alloc;
mod clock;
pub mod error;
pub mod heartbeat;
pub mod kafka;
pub mod messages;
pub mod peers;
pub mod probe;
pub mod record;
pub mod reference;
pub mod spread;
pub mod workflow;

/// The cases that `run` takes, each with what it measures.
pub const CASES: [(&str, &str); 2] = [
    ("heartbeat", "the engine alone: messages in memory, pinned threads, allocations counted"),
    ("kafka-heartbeat", "from Kafka to Kafka on a real broker, beside the floor: the same loop without the engine"),
];
