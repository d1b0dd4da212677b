//! Task integrations.
pub mod mock;
pub mod native;
