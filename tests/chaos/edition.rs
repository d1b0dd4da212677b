//! The editions of the definition that are swapped under load: each leaves its own mark in results, and each has its own version in headers.

use std::path::Path;

use expressway_engine::Deployment;
use expressway_engine::hir::WorkflowType;
use expressway_ingest::control::registry::Definition;

/// An edition of the definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition(&'static str);

/// All of them; a run begins with the first, which is the definition as it lies in the repository.
pub(crate) const EDITIONS: [Edition; 3] = [Edition(""), Edition("b"), Edition("c")];

/// A definition that every process refuses.
pub(crate) const INVALID: &str = r#"{"StartAt":"Gone","States":{"Here":{"Type":"Pass","Next":"Nowhere"}}}"#;

const ORIGINAL: &str = include_str!("../data/definitions/errands.asl.json");
const STAMP: &str = r#"{"execution.$": "$$.Execution.Name"}"#;

impl Edition {
    /// The definition's text.
    pub(crate) fn text(self) -> String {
        if self.0.is_empty() {
            ORIGINAL.to_owned()
        } else {
            ORIGINAL.replace(STAMP, &format!(r#"{{"execution.$": "$$.Execution.Name", "edition": "{}"}}"#, self.0))
        }
    }

    /// What a result of it has in its stamp behind the execution's name.
    pub(crate) fn mark(self) -> String {
        if self.0.is_empty() { String::new() } else { format!(r#","edition":"{}""#, self.0) }
    }

    /// Its version, as headers name it.
    pub(crate) fn version(self) -> Result<String, String> {
        let definition = Definition::json(Path::new("errands.asl.json"), self.text());
        let compiled = definition.compile(WorkflowType::Express, &Deployment::named("errands"));
        compiled.map(|compiled| compiled.program.version().to_owned()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_are_valid_and_told_apart_and_the_invalid_one_is_refused() {
        let versions: std::collections::BTreeSet<String> = EDITIONS.iter().map(|edition| edition.version().unwrap()).collect();
        assert_eq!(versions.len(), EDITIONS.len());
        let invalid = Definition::json(Path::new("errands.asl.json"), INVALID.to_owned());
        assert!(invalid.compile(WorkflowType::Express, &Deployment::named("errands")).is_err());
    }
}
