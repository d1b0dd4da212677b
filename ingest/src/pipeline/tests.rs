//! Pipelines against the mock cluster.
