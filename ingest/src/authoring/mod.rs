//! What a workflow's author works with, apart from running it: a picture of a definition.
//!
//! Nothing here is on the way of a record.

pub mod graph;
