//! The control plane: definitions, the life of the pipelines, HTTP. Never on a record's way.

mod deployed;
pub mod http;
pub mod marked;
pub mod name;
pub mod registry;
pub mod service;
