//! The configuration as a tree of values that remember where they come from: what the layers are merged in, before any typed struct is made.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::Spanned;

use super::yaml::{self, Tree};

/// Where a value of the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The defaults compiled into the binary.
    Default,
    /// The options of `kafka.profile`.
    Profile(&'static str),
    /// The configuration file.
    File(Place),
    /// The configuration file, with a `${VAR}` filled in.
    Filled(Place),
    /// A file that the configuration names in place of a value: a secret, never shown.
    Secret(Place),
    /// An environment variable.
    Environment(Arc<str>),
    /// A flag of the command line.
    Flag(Arc<str>),
}

impl Source {
    /// A path, against the folder of the file that names it.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match self {
            Self::File(place) | Self::Filled(place) | Self::Secret(place) => {
                Path::new(&*place.file).parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
            }
            Self::Default | Self::Profile(_) | Self::Environment(_) | Self::Flag(_) => PathBuf::from(path),
        }
    }
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1; 0 where it is not known.
    pub line: u32,
}

impl Place {
    /// A file, no line of it.
    #[must_use]
    pub fn file(name: &str) -> Self {
        Self { file: name.into(), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line == 0 { Ok(()) } else { write!(f, ":{}", self.line) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File(place) => write!(f, "file {place}"),
            Self::Filled(place) => write!(f, "file {place}, placeholder filled in"),
            Self::Secret(place) => write!(f, "file {place}, secret read from a file"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value with its source. Containers carry the source of the layer that wrote them last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) source: Source,
}

/// A value; numbers keep their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A tree in which every node has the same source.
    pub(crate) fn new(value: Value, source: &Source) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(value),
            Value::Number(number) => Kind::Number(number.to_string()),
            Value::String(text) => Kind::Text(text),
            Value::Array(items) => Kind::List(items.into_iter().map(|item| Self::new(item, source)).collect()),
            Value::Object(members) => Kind::Map(members.into_iter().map(|(key, value)| (key, Self::new(value, source))).collect()),
        };
        Self { kind, source: source.clone() }
    }

    /// A tree in which every node has its own line of `file`.
    pub(crate) fn placed(tree: Spanned<Tree>, file: &Arc<str>) -> Self {
        let line = u32::try_from(tree.referenced.line()).unwrap_or(0);
        let source = Source::File(Place { file: Arc::clone(file), line });
        let kind = match tree.value {
            Tree::Scalar(value) => return Self::new(value, &source),
            Tree::List(items) => Kind::List(items.into_iter().map(|item| Self::placed(item, file)).collect()),
            Tree::Object(members) => Kind::Map(members.into_iter().map(|(key, value)| (key.value, Self::placed(value, file))).collect()),
        };
        Self { kind, source }
    }

    pub(crate) fn text(text: &str, source: Source) -> Self {
        Self { kind: Kind::Text(text.to_owned()), source }
    }

    pub(crate) fn member(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(members) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(crate) fn member_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.kind {
            Kind::Map(members) => members.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The value in one line, for messages and for `config show`: YAML that is JSON where a plain scalar would not do. Secrets are masked, as far as the value and the keys below it tell that they are.
    pub(crate) fn inline(&self) -> String {
        match &self.kind {
            _ if matches!(self.source, Source::Secret(_)) => MASK.to_owned(),
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(text) => text.clone(),
            Kind::Text(text) if is_plain(text) => text.clone(),
            Kind::Text(text) => Value::String(text.clone()).to_string(),
            Kind::List(items) => format!("[{}]", items.iter().map(Self::inline).collect::<Vec<_>>().join(", ")),
            Kind::Map(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, node)| format!("{key}: {}", if is_secret(key) { MASK.to_owned() } else { node.inline() })).collect();
                format!("{{{}}}", members.join(", "))
            }
        }
    }
}

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "\"********\"";

/// Parts of a key that tell a secret, misspelled ones among them.
const SECRET_PARTS: [&str; 9] = ["pass", "pasw", "pwd", "secret", "token", "credential", "private", "oauthbearer.config", "jaas"];

/// Words of a key that tell a secret.
const SECRET_WORDS: [&str; 4] = ["key", "keys", "pem", "pw"];

/// Whether the value under this key must not be shown.
pub(crate) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // `kafka.sasl.token_file` is a path, which an operator wants to see.
    key != "token_file" && (SECRET_PARTS.iter().any(|part| key.contains(part)) || key.split(['.', '_', '-']).any(|word| SECRET_WORDS.contains(&word)))
}

/// Whether YAML reads the bare text back as the same string.
fn is_plain(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte));
    letters && !text.starts_with(['-', ':']) && !text.ends_with(':') && yaml::parse(text).is_ok_and(|value| value == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_the_words_of_their_key() {
        for key in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "oauth_token",
            "client-secret",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.pasword",
            "PASSWD",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["group_id", "monkey", "sasl.username", "keyed", "token_file"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn inline_quotes_what_yaml_would_read_otherwise() {
        let inline = |text: &str| Node::text(text, Source::Default).inline();
        assert_eq!(inline("localhost:9092"), "localhost:9092");
        assert_eq!(inline("000000000000"), "\"000000000000\"");
        assert_eq!(inline("true"), "\"true\"");
        assert_eq!(inline(""), "\"\"");
        assert_eq!(inline("a: b"), "\"a: b\"");
    }

    #[test]
    fn inline_masks_secrets_inside_a_map() {
        let node = Node::new(serde_json::json!({"sasl.password": "hunter2", "linger.ms": 5}), &Source::Default);
        assert_eq!(node.inline(), format!("{{sasl.password: {MASK}, linger.ms: 5}}"));
    }
}
