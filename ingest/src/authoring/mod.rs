//! What a workflow's author works with, apart from running it: a picture of a definition, and tests of it.
//!
//! [`graph`] draws. [`case`](mod@case) reads a test file; [`runner`] plays one case on virtual time and compares, [`trail`] hears what its execution does, and [`coverage`] adds up over all cases which states, transitions, rules, retriers and catchers they have reached; [`report`] writes it all down. [`record`] makes a case of an execution. The conformance judge runs the project's own cases through the same runner. Nothing here is on the way of a record.

pub mod case;
pub mod coverage;
pub mod difference;
pub mod graph;
mod player;
pub mod record;
pub mod report;
pub mod runner;
pub mod suite;
pub mod trail;
