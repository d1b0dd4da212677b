//! Definitions: read from a file, lowered, compiled.
//!
//! A definition in YAML is turned into JSON text first, members in their order, so that the engine has one input and one way to report a place; the places of its findings are then put back into the YAML.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expressway_engine::diagnostic::{Diagnostic, Renderer, Severity};
use expressway_engine::hir::{self, WorkflowType};
use expressway_engine::limits::NAME_CHARS_MAX;
use expressway_engine::{Deployment, Program};

use super::marked::Marked;

/// Largest definition file that is read: twice AWS's limit of 1 MiB, which the engine checks itself and reports better.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Findings that are shown as text; a person reads no more of them.
const SHOWN_MAX: usize = 100;

/// The text of a definition, as JSON.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Where it comes from; for messages.
    pub path: PathBuf,
    /// JSON text.
    pub text: String,
    /// What the file holds, where that is YAML.
    yaml: Option<Arc<Marked>>,
}

/// A definition that compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What runs.
    pub program: Program,
    /// Findings that do not refuse it.
    pub warnings: Vec<Diagnostic>,
    /// By state, the variables that it reads; as AWS's `DescribeStateMachine` tells.
    pub variable_references: BTreeMap<String, Vec<String>>,
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
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let not_utf8 = |_| Error::Form { path: path.to_owned(), problem: "it is not UTF-8".to_owned() };
        let text = String::from_utf8(bytes).map_err(not_utf8)?;
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if !is_yaml {
            return Ok(Self::json(path, text));
        }
        let (text, marked) = Marked::read(text).map_err(|problem| Error::Form { path: path.to_owned(), problem })?;
        Ok(Self { yaml: Some(Arc::new(marked)), ..Self::json(path, text) })
    }

    /// A definition whose JSON text is at hand; `path` is for messages.
    #[must_use]
    pub fn json(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text, yaml: None }
    }

    /// What the file holds: the JSON text, or the YAML that it comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        self.yaml.as_ref().map_or(&self.text, |marked| &marked.source)
    }

    /// The line of the file that the JSON's byte `offset` comes from, where the file is YAML.
    #[must_use]
    pub fn yaml_line(&self, offset: usize) -> Option<u32> {
        self.yaml.as_ref()?.position(offset).map(|position| position.line)
    }

    /// Findings of the JSON text with their places in the file.
    #[must_use]
    pub fn placed(&self, mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        if let Some(marked) = &self.yaml {
            marked.place(&mut findings);
        }
        findings
    }

    /// The name that a state machine gets from its file: all before the first dot, shortened to what AWS allows.
    #[must_use]
    pub fn stem(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let letters = name.split('.').next().unwrap_or_default().chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter));
        let stem: String = letters.take(NAME_CHARS_MAX).collect();
        if stem.is_empty() { "definition".to_owned() } else { stem }
    }

    /// Lowers and compiles.
    ///
    /// # Errors
    /// [`Error::Refused`] with every diagnostic.
    pub fn compile(&self, workflow_type: WorkflowType, deployment: &Deployment) -> Result<Compiled, Error> {
        let lowered = self.lower(workflow_type)?;
        let variable_references = lowered.machine.variable_references().into_iter().map(|(state, variables)| (state.to_owned(), variables.to_vec())).collect();
        match expressway_engine::compile(&lowered.machine, deployment) {
            Ok(program) => Ok(Compiled { program, warnings: lowered.warnings, variable_references }),
            Err(found) => {
                let diagnostics = lowered.warnings.into_iter().chain(self.placed(found)).collect();
                Err(Error::Refused { definition: self.clone(), diagnostics })
            }
        }
    }

    /// Lowers without compiling; the places of all findings are those of the file.
    ///
    /// # Errors
    /// [`Error::Refused`] with every diagnostic.
    pub fn lower(&self, workflow_type: WorkflowType) -> Result<hir::Lowered, Error> {
        match hir::lower(&self.text, workflow_type) {
            Ok(mut lowered) => {
                lowered.warnings = self.placed(lowered.warnings);
                Ok(lowered)
            }
            Err(found) => Err(Error::Refused { definition: self.clone(), diagnostics: self.placed(found) }),
        }
    }

    /// Diagnostics for people: what, where, the line, the hint. Of very many the first are shown, errors before warnings, and the rest is counted.
    #[must_use]
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let name = self.path.to_string_lossy();
        let renderer = Renderer::new(self.source(), &name);
        let of = |severity| diagnostics.iter().filter(move |found| found.severity == severity);
        let (shown, left): (Vec<&Diagnostic>, usize) = match diagnostics.len().checked_sub(SHOWN_MAX) {
            None | Some(0) => (diagnostics.iter().collect(), 0),
            Some(left) => (of(Severity::Error).chain(of(Severity::Warning)).take(SHOWN_MAX).collect(), left),
        };
        let mut text = shown.iter().map(|found| renderer.render(found)).collect::<Vec<_>>().join("\n");
        if left > 0 {
            text.push_str(&format!("\nand {left} more; expressway validate --format json shows all\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_findings_are_counted_and_errors_come_first() {
        let unreachable: String = (0..10_000).map(|n| format!(r#""S{n}":{{"Type":"Pass","End":true}},"#)).collect();
        let text = format!(r#"{{"StartAt":"A","States":{{{unreachable}"A":{{"Type":"Pass","Next":"Gone"}}}}}}"#);
        let definition = Definition::json(Path::new("many.asl.json"), text);
        let Err(Error::Refused { diagnostics, .. }) = definition.lower(WorkflowType::Express) else { panic!("a target is missing") };
        assert_eq!(diagnostics.len(), 10_001);
        let rendered = definition.render(&diagnostics);
        assert!(rendered.starts_with("error[MISSING_TRANSITION_TARGET]: Missing 'Next' target: Gone\n"), "{rendered:.300}");
        assert!(rendered.ends_with("\nand 9901 more; expressway validate --format json shows all\n"));
        assert_eq!(rendered.matches("warning[").count(), 99);
        assert!(rendered.len() < 100 * 600, "{} bytes", rendered.len());
    }

    #[test]
    fn stem_is_a_name_that_aws_allows() {
        let stem = |path: &str| Definition::json(Path::new(path), String::new()).stem();
        assert_eq!(stem("a/heart beat.asl.json"), "heartbeat");
        assert_eq!(stem("é.json"), "definition");
    }
}
