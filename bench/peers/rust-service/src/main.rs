//! A plain Rust service, as a peer: `engine` runs its job alone, `kafka` the service.

mod job;
mod service;

use measure::{Failure, engine, flag, locked};

const LOCK: &str = include_str!("../Cargo.lock");

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("engine") => engine(&format!("serde_json {}", locked(LOCK, "serde_json")), |message, number, output| {
            Ok(job::heartbeat(message, format!("heartbeats-0-{number}"), output)?)
        }),
        Some("kafka") => {
            println!(r#"{{"version":"rdkafka {}, serde_json {}"}}"#, locked(LOCK, "rdkafka"), locked(LOCK, "serde_json"));
            service::run(flag("workers").map_or(Ok(1), |workers| workers.parse())?)
        }
        _ => Err("engine or kafka?".into()),
    }
}
