//! To be written.

pub mod diagnostic;
pub mod document;
pub mod hir;
