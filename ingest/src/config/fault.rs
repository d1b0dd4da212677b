//! What can be wrong with a configuration, in sentences.

use std::fmt;
use std::path::PathBuf;

use expressway_engine::diagnostic::nearest;

use super::tree::{Node, Source, is_secret};

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The dotted path of the key.
    pub key: String,
    /// Where the offending value comes from.
    pub source: Source,
    /// What was found and what is allowed.
    pub problem: String,
}

impl Fault {
    pub(crate) fn new(key: &str, source: &Source, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), source: source.clone(), problem: problem.into() }
    }

    /// `key` is none of `allowed`.
    pub(crate) fn unknown(section: &str, key: &str, node: &Node, allowed: &[&str]) -> Self {
        let hint = nearest(key, allowed).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        // What a placeholder has filled in may be a secret whose key is misspelled.
        let is_hidden = is_secret(key) || matches!(node.source, Source::Filled(_) | Source::Secret(_));
        let value = if is_hidden { "hidden".to_owned() } else { node.inline() };
        let problem = format!("unknown key (value {value}), allowed here: {}{hint}", allowed.join(", "));
        Self::new(&join(section, key), &node.source, problem)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({}): {}", self.key, self.source, self.problem)
    }
}

/// Why there is no configuration. Every variant ends the process with exit code 78.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A text is not YAML, or not a mapping.
    Syntax {
        /// Where it comes from.
        source: Source,
        /// What was found.
        message: String,
    },
    /// Keys or values are refused; never empty.
    Faults(Vec<Fault>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "the configuration file {} cannot be read", path.display()),
            Self::Syntax { source, message } => write!(f, "the configuration ({source}) is not valid YAML: {message}"),
            Self::Faults(faults) => {
                let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Syntax { .. } | Self::Faults(_) => None,
        }
    }
}

/// `section.key`, or the key alone at the top.
pub(crate) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_names_key_value_and_what_is_allowed() {
        let node = Node::text("localhost:9092", Source::File(super::super::tree::Place::file("a.yaml")));
        let fault = Fault::unknown("kafka", "bootstrap_server", &node, &["bootstrap_servers", "group_id"]);
        assert_eq!(
            fault.to_string(),
            "\"kafka.bootstrap_server\" (file a.yaml): unknown key (value localhost:9092), allowed here: bootstrap_servers, group_id; did you mean \"bootstrap_servers\"?"
        );
    }

    #[test]
    fn unknown_secret_is_not_repeated() {
        let place = super::super::tree::Place::file("a.yaml");
        for (key, source) in [("token", Source::Default), ("sasl", Source::Filled(place.clone())), ("sasl", Source::Secret(place))] {
            let fault = Fault::unknown("", key, &Node::text("hunter2", source), &["kafka"]);
            assert!(!fault.to_string().contains("hunter2"), "{fault}");
        }
    }
}
