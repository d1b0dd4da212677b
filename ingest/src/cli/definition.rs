//! What the verbs on definitions share: the workflow type, and sorting out why a definition is refused.

use clap::ValueEnum;
use expressway_engine::hir::WorkflowType;

use crate::control::registry;
use crate::error::Error;
use crate::tasks::mock;

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

/// A definition that cannot be used is an input at fault; one that cannot be read is a fault of the surroundings.
pub(super) fn refused(error: &registry::Error) -> Error {
    let text = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if matches!(error, registry::Error::Read { .. }) { Error::Surroundings { what: text, source: None } } else { Error::Input(text) }
}

/// The same for a file of mocks.
pub(super) fn refused_mocks(error: &mock::Error) -> Error {
    if error.is_unreadable() { Error::Surroundings { what: error.to_string(), source: None } } else { Error::Input(error.to_string()) }
}
