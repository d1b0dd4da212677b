//! The artefact: see the crate's docs. (Being written.)
