//! Findings in a definition: coded, located, collected all at once. (Being written.)

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition is accepted.
    Warning,
}

/// One finding. (Fields are being written: severity, code, message, location, position, hint.)
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What was found, what was allowed.
    pub message: String,
}
