//! The configuration: one documented struct per section, read from layers that are merged in a fixed order.
//!
//! Defaults (`configs/default.yaml`, compiled in) → file → environment (`EXPRESSWAY_…`) → flags. The layers are merged as trees whose values remember their source ([`Source`]); only then are the typed structs made, all problems at once. The defaults are also the list of what is allowed: a key that is not in `default.yaml` is refused with the nearest one that is.
//!
//! Nothing here opens a socket or a definition: whether a broker answers or a file compiles is for those who use the values.

mod fault;
mod layers;
mod placeholder;
mod section;
mod sections;
mod show;
mod tree;
mod unit;
pub(crate) mod yaml;

use std::cell::RefCell;
use std::path::Path;

pub use fault::{Error, Fault};
pub use layers::{DEFAULT_YAML, Layers};
pub use sections::{Config, Engine, Http, Identity, Kafka, Log, LogFormat, Mocks, OnFailure, OnNull, Pipeline, Service};
pub use tree::Source;
pub use unit::{parse_duration, parse_size};

use section::Section;

/// A configuration together with where its values come from.
#[derive(Debug)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    tree: tree::Node,
}

impl Loaded {
    /// The merged configuration as YAML, the source of each value in a comment behind it, secrets masked.
    #[must_use]
    pub fn show(&self) -> String {
        show::render(&self.tree)
    }
}

/// Merges and checks.
///
/// # Errors
/// [`Error`], with all faults that were found, when a layer is not YAML, a placeholder cannot be filled in, or a key or value is refused.
pub fn load(layers: &Layers<'_>) -> Result<Loaded, Error> {
    let tree = layers::merged(layers)?;
    let faults = RefCell::new(Vec::new());
    let read = RefCell::new(Vec::new());
    let config = Config::read(&Section::root(&tree, &faults, &read));
    let faults = faults.into_inner();
    if faults.is_empty() { Ok(Loaded { config, tree }) } else { Err(Error::Faults(faults)) }
}

/// Like [`load`], with the file read from disk.
///
/// # Errors
/// As [`load`], and when the file cannot be read.
pub fn load_file(file: Option<&Path>, environment: &[(String, String)], flags: &[(String, String, String)]) -> Result<Loaded, Error> {
    let Some(path) = file else { return load(&Layers { file: None, environment, flags }) };
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    load(&Layers { file: Some((&path.to_string_lossy(), &text)), environment, flags })
}

/// Variables that begin like ours and set nothing, for a warning: they are not refused, because Kubernetes sets `EXPRESSWAY_PORT` and its like for a service of that name.
#[must_use]
pub fn unknown_variables<'e>(environment: &'e [(String, String)], flags: &[&str]) -> Vec<&'e str> {
    let (tree, _) = layers::defaults();
    let known = layers::variables(&tree);
    let is_known = |name: &str| known.iter().any(|(_, variable)| variable == name) || flags.contains(&name);
    environment.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("EXPRESSWAY_") && !is_known(name)).collect()
}

#[cfg(test)]
mod tests;
