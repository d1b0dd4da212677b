//! The merging of a configuration's layers; the typed sections, which name the pipeline's types, stay out.

#[path = "../../../ingest/src/config/fault.rs"]
mod fault;
#[path = "../../../ingest/src/config/layers.rs"]
mod layers;
#[path = "../../../ingest/src/config/placeholder.rs"]
mod placeholder;
#[path = "../../../ingest/src/config/show.rs"]
mod show;
#[path = "../../../ingest/src/config/tree.rs"]
mod tree;
#[path = "../../../ingest/src/config/yaml.rs"]
pub(crate) mod yaml;

pub use layers::Layers;
pub(crate) use {layers::merged, show::render};
