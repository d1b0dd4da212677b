//! What the verbs on definitions share: the workflow type, and sorting out why a definition is refused.

use clap::ValueEnum;
use expressway_engine::hir::WorkflowType;

use crate::control::registry;
use crate::error::Error;

/// `--type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Type {
    /// At least once, five minutes, no job or callback integrations.
    #[value(name = "EXPRESS")]
    Express,
    /// The rules of Standard workflows, as far as they can run here.
    #[value(name = "STANDARD")]
    Standard,
}

impl From<Type> for WorkflowType {
    fn from(workflow_type: Type) -> Self {
        match workflow_type {
            Type::Express => Self::Express,
            Type::Standard => Self::Standard,
        }
    }
}

/// A definition that cannot be used is an input at fault.
pub(super) fn refused(error: &registry::Error) -> Error {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    Error::Input(text)
}
