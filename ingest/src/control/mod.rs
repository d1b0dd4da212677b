//! The control plane: never on a record's way.

pub mod registry;
