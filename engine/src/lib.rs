//! Compiles Amazon States Language definitions to a flat program and runs executions of it, without any I/O.
//!
//! # The two ways
//!
//! A **definition** goes its way once, when it is deployed: [`asl`] reads the text into an ast with locations, [`hir::lower`] resolves names, fills in defaults and collects every finding, [`compile`](compile()) lowers states to jumps in a flat [`Program`], which is verified and can be printed as a listing. A value of each stage is the proof that the stage before has checked it.
//!
//! A **record** goes its way millions of times: [`document`] validates its bytes in one pass and leaves a tape over them, [`Slot::run`](vm::Slot::run) works on values that point into the tape, and the output is spliced from the bytes that came in and the few that changed.
//!
//! # What it never does
//!
//! No I/O, clock, thread, random source or log call: [`Slot::run`](vm::Slot::run) returns its [`Effect`]s when it needs the outside, and goes on when [`Slot::resume`](vm::Slot::resume) brings the answer. Time and the random seed are passed in, so one seed replays one run. After warm-up an execution without tasks allocates nothing. No input makes it panic, loop for ever or recurse past its bounds, which are all in [`limits`].
//!
//! # Example
//!
//! ```
//! use expressway_engine::hir::{WorkflowType, lower};
//! use expressway_engine::{Budget, Deployment, Effects, ExecutionName, Silent, Slot, Start, Step, Timestamp, compile};
//!
//! let definition = r#"{
//!   "StartAt": "Greet",
//!   "States": { "Greet": { "Type": "Pass", "Parameters": { "hello.$": "$.name" }, "ResultPath": "$.greeting", "End": true } }
//! }"#;
//! let lowered = lower(definition, WorkflowType::Express).expect("the definition is valid");
//! let program = compile(&lowered.machine, &Deployment::named("greeter")).expect("it compiles");
//!
//! let mut slot = Slot::new(0);
//! let now = Timestamp(1_700_000_000_000);
//! slot.start(&program, br#"{"name":"world"}"#, &Start { name: ExecutionName::Text("first"), now, seed: 1 })?;
//! assert_eq!(slot.run(&program, now, Budget::default(), &mut Effects::default(), &mut Silent), Step::Succeeded);
//!
//! let mut output = Vec::new();
//! slot.write_output(&program, &mut output);
//! assert_eq!(output, br#"{"name":"world","greeting":{"hello":"world"}}"#);
//! # Ok::<(), expressway_engine::document::Fault>(())
//! ```

// In the order in which a definition meets them, then what both ways share.
pub mod asl;
pub mod compile;
pub mod hir;
pub mod program;
pub mod vm;

pub mod diagnostic;
pub mod document;
pub mod error;
pub mod history;
pub mod limits;
mod value;

pub use compile::{Deployment, compile};
pub use document::Shapes;
pub use limits::{Budget, Limits};
pub use program::Program;
pub use vm::{
    Decision, Detail, Effect, EffectId, Effects, Event, EventKind, ExecutionName, Failure, Observer, Reply, ResourceId, Resumed, Shown, Silent, Slot, Start,
    Step, Timestamp, Variables,
};
