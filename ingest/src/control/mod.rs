//! The control plane: definitions, the life of the pipelines, HTTP. Never on a record's way.

pub mod http;
pub mod marked;
pub mod name;
pub mod registry;
pub mod service;
