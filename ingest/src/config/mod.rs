//! The configuration: one documented struct per section, read from layers that are merged in a fixed order.
//!
//! Defaults (`configs/default.yaml`, compiled in) → file → environment (`EXPRESSWAY_…`) → flags. The layers are merged as trees whose values remember their source ([`Source`]); only then are the typed structs made, all problems at once. The defaults are also the list of what is allowed: a key that is not in `default.yaml` is refused with the nearest one that is.
//!
//! Nothing here opens a socket or a definition: whether a broker answers or a file compiles is for those who use the values.

mod fault;
mod kafka;
mod layers;
pub(crate) mod placeholder;
mod schema;
mod section;
mod sections;
mod show;
mod tree;
mod unit;
pub(crate) mod yaml;

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

pub use fault::{Error, Fault};
pub use kafka::Kafka;
pub use layers::{DEFAULT_YAML, Layers};
pub use placeholder::ReadFile;
pub use schema::schema;
pub use sections::{Config, Engine, Http, Identity, Log, LogFormat, MemoryLimit, Mocks, Pipeline, Service};
pub use tree::{Place, Source};
pub(crate) use unit::{display_duration, display_size};
pub use unit::{parse_duration, parse_size};

pub(crate) use layers::merged;
pub(crate) use show::render;

use section::Section;

/// A configuration together with where its values come from.
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    tree: tree::Node,
}

impl fmt::Debug for Loaded {
    /// As [`Loaded::show`], for secrets are not to be printed by mistake either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Loaded {
    /// The merged configuration as YAML, the source of each value in a comment behind it, secrets masked.
    #[must_use]
    pub fn show(&self) -> String {
        render(&self.tree)
    }
}

/// Merges and checks.
///
/// # Errors
/// [`Error`], with all faults that were found, when a layer is not YAML, a placeholder cannot be filled in, or a key or value is refused.
pub fn load(layers: &Layers<'_>) -> Result<Loaded, Error> {
    let tree = merged(layers)?;
    let faults = RefCell::new(Vec::new());
    let read = RefCell::default();
    let config = Config::read(&Section::root(&tree, &faults, &read));
    let faults = faults.into_inner();
    if faults.is_empty() { Ok(Loaded { config, tree }) } else { Err(Error::Faults(faults)) }
}

/// Largest configuration file. A pipeline takes a few hundred bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most files of a folder.
const FOLDER_FILES_MAX: usize = 1_000;

/// Where a configuration lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'f> {
    /// A file.
    pub file: Option<&'f Path>,
    /// A folder whose `*.yaml` and `*.yml`, in the order of their names, are laid over the file and over each other.
    pub folder: Option<&'f Path>,
}

/// Like [`load`], with the files read from disk, and those that they name in place of values.
///
/// # Errors
/// As [`load`], and when a file cannot be read or is too large.
pub fn load_files(files: Files<'_>, environment: &[(String, String)], flags: &[(String, String, String)]) -> Result<Loaded, Error> {
    let file = files.file.map(read).transpose()?;
    let folder = files.folder.map_or_else(|| Ok(Vec::new()), read_folder)?;
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    load(&Layers { file, folder: &folder, read: Some(placeholder::read_secret), environment, flags })
}

/// Like [`load_files`], for a file alone.
///
/// # Errors
/// As [`load_files`].
pub fn load_file(file: Option<&Path>, environment: &[(String, String)], flags: &[(String, String, String)]) -> Result<Loaded, Error> {
    load_files(Files { file, folder: None }, environment, flags)
}

fn read(path: &Path) -> Result<(String, String), Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let bytes_found = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes_found > FILE_BYTES_MAX {
        let problem = format!("it has {bytes_found} bytes, limit is {FILE_BYTES_MAX}");
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, problem)));
    }
    Ok((path.to_string_lossy().into_owned(), std::fs::read_to_string(path).map_err(unreadable)?))
}

fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // An editor's and Kubernetes' own files begin with a dot.
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    if paths.len() > FOLDER_FILES_MAX {
        return Err(unreadable(std::io::Error::other(format!("it has {} files, limit is {FOLDER_FILES_MAX}", paths.len()))));
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
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
