//! Conformance: cases in, verdicts out.
//!
//! In the order of a case's way: [`case`] loads it, [`answer`] plays the tasks that its recording names, [`run`] drives the engine on virtual time, [`normalise`] takes out what no two runs share, [`compare`] compares, [`judge`] decides, [`by_reference`] puts the project's own cases to a second interpreter, [`floor`] holds the line. No clock, no network, no threads.

pub mod answer;
pub mod by_reference;
pub mod case;
pub mod compare;
pub mod floor;
pub mod history;
pub mod judge;
pub mod normalise;
mod paths;
pub mod run;
