//! What a user would pick instead, on the same job, in the same run: `expressway-bench peers`.
//!
//! The peers are programs of their own under `bench/peers`, installed by its `install.sh` from the registries; none is linked into anything here. In go the messages of [`crate::messages`] and the topic that `kafka-heartbeat` fills; out comes one row a peer.
//!
//! - `roster`: who takes part, and how each is started.
//! - `engine`: engine against engine, messages in memory. Each peer times its own passes, pinned to one core unless it is a server.
//! - `kafka`: from Kafka to Kafka. A peer is only started and stopped; the rate is what the broker has of its results, processor time and memory are what the system says of its process. Ours is the `expressway` binary, measured the same way.
//! - `child`: a peer's process. `equal`: outputs compared as JSON. `outcome`: rows, ratios, the table.
//!
//! Peers and ours take turns, round by round, in an order that turns round. Outputs are compared with [`mod@crate::reference`] before a rate counts: all of them engine only, some of each run on Kafka. A peer that is not installed, fails or answers wrongly is a row with the reason; it never disappears.

mod child;
mod engine;
mod equal;
mod flags;
mod kafka;
mod outcome;
mod roster;

pub use self::flags::Flags;
pub use self::outcome::{Outcome, Row, Sample};
pub use self::roster::{NAMES, Settings, install, run};
