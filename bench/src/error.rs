//! Why a benchmark has no result.

use std::fmt;

/// Why a benchmark has no result. Each kind has its exit code.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The build or the command line is not one to measure with.
    Usage(String),
    /// What was measured is wrong: an output differs, a record is lost.
    Wrong(String),
    /// The surroundings failed.
    Surroundings {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failure of the surroundings while `doing` something.
    pub fn surroundings(doing: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Surroundings { doing: doing.into(), source: source.into() }
    }

    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 1,
            Self::Usage(_) => 2,
            Self::Surroundings { .. } => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Wrong(text) => f.write_str(text),
            Self::Surroundings { doing, source } => write!(f, "{doing} failed: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) | Self::Wrong(_) => None,
            Self::Surroundings { source, .. } => source.source(),
        }
    }
}
