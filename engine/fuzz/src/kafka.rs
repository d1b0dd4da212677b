//! The profiles, whose options the layers add.

#[path = "../../../ingest/src/kafka/profile.rs"]
mod profile;

pub use profile::Profile;
