//! Why a transactional call did not do what it is for.
//!
//! A file of its own, so that the simulation's model of the calls answers in the same words.

use super::ErrorCode;

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same call again.
    Again,
    /// The transaction has to be aborted.
    Abort,
    /// The producer is of no use any more.
    Fatal,
}

/// Why a call did not do what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}
