//! Bounded waiting.
