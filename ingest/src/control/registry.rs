//! Definitions: read from a file, lowered, compiled.
//!
//! A definition in YAML is turned into JSON text first, members in their order, so that the engine has one input and one way to report a place.

use std::fmt;
use std::path::{Path, PathBuf};

use expressway_engine::diagnostic::{self, Diagnostic};
use expressway_engine::hir::{self, WorkflowType};
use expressway_engine::{Deployment, Program};

/// Largest definition file that is read: twice AWS's limit of 1 MiB, which the engine checks itself and reports better.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// The text of a definition, as JSON.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Where it comes from; for messages.
    pub path: PathBuf,
    /// JSON text.
    pub text: String,
}

/// A definition that compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What runs.
    pub program: Program,
    /// Findings that do not refuse it.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no program.
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
    /// The file is not what its name says.
    Form {
        /// Which file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The definition is refused; at least one diagnostic is an error.
    Refused {
        /// The definition.
        definition: Definition,
        /// All that was found.
        diagnostics: Vec<Diagnostic>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "the definition {} cannot be read", path.display()),
            Self::Form { path, problem } => write!(f, "the definition {} is refused: {problem}", path.display()),
            Self::Refused { definition, diagnostics } => {
                writeln!(f, "the definition {} is refused", definition.path.display())?;
                f.write_str(definition.render(diagnostics).trim_end())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Form { .. } | Self::Refused { .. } => None,
        }
    }
}

impl Definition {
    /// Reads `*.asl.json`, `*.asl.yaml` or, by the same rule, any other file: YAML by its ending, JSON otherwise.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Form`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Read { path: path.to_owned(), source };
        let bytes_found = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes_found > FILE_BYTES_MAX {
            return Err(Error::Form { path: path.to_owned(), problem: format!("it has {bytes_found} bytes, limit is {FILE_BYTES_MAX}") });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let text = if is_yaml { json_of(&text).map_err(|problem| Error::Form { path: path.to_owned(), problem })? } else { text };
        Ok(Self { path: path.to_owned(), text })
    }

    /// The name that a state machine gets from its file: all before the first dot, shortened to what AWS allows.
    #[must_use]
    pub fn stem(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem: String =
            name.split('.').next().unwrap_or_default().chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter)).take(80).collect();
        if stem.is_empty() { "definition".to_owned() } else { stem }
    }

    /// Lowers and compiles.
    ///
    /// # Errors
    /// [`Error::Refused`] with every diagnostic.
    pub fn compile(&self, workflow_type: WorkflowType, deployment: &Deployment) -> Result<Compiled, Error> {
        let refuse = |diagnostics| Error::Refused { definition: self.clone(), diagnostics };
        let lowered = hir::lower(&self.text, workflow_type).map_err(refuse)?;
        match expressway_engine::compile(&lowered.machine, deployment) {
            Ok(program) => Ok(Compiled { program, warnings: lowered.warnings }),
            Err(found) => Err(refuse(lowered.warnings.into_iter().chain(found).collect())),
        }
    }

    /// Diagnostics for people: what, where, the line, the hint.
    #[must_use]
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let name = self.path.to_string_lossy();
        let rendered: Vec<_> = diagnostics.iter().map(|found| diagnostic::render(&self.text, &name, found)).collect();
        rendered.join("\n")
    }
}

/// YAML as JSON text, one member a line, so that a diagnostic has a line to show.
fn json_of(yaml: &str) -> Result<String, String> {
    let value = crate::config::yaml::parse(yaml).map_err(|problem| format!("it is not valid YAML: {problem}"))?;
    serde_json::to_string_pretty(&value).map_err(|error| format!("it has no JSON form: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_becomes_json_in_the_same_order() {
        let json = json_of("StartAt: B\nStates:\n  B: {Type: Pass, Result: {z: 1, a: [yes, 1.5, null, 'x']}, End: true}\n").expect("YAML");
        let compact: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(compact.to_string(), r#"{"StartAt":"B","States":{"B":{"Type":"Pass","Result":{"z":1,"a":["yes",1.5,null,"x"]},"End":true}}}"#);
    }

    #[test]
    fn stem_is_a_name_that_aws_allows() {
        let stem = |path: &str| Definition { path: path.into(), text: String::new() }.stem();
        assert_eq!(stem("a/heart beat.asl.json"), "heartbeat");
        assert_eq!(stem("é.json"), "definition");
    }
}
