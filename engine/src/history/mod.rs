//! Histories: the events of an execution, kept and written as AWS writes them.
//!
//! The vm tells an [`Observer`](crate::vm::Observer) of each [`Event`](crate::Event); what becomes of it is decided here. A [`Recorder`] keeps whole executions, up to a bound, for `exec --history`, `exec --trace` and the judge. An [`Encoder`] writes one event at a time, in either of AWS's two forms: that of `GetExecutionHistory` and that of a log record. A [`Level`] says which events a log takes.
//!
//! ```
//! use expressway_engine::hir::{WorkflowType, lower};
//! use expressway_engine::history::Recorder;
//! use expressway_engine::{Budget, Deployment, Effects, ExecutionName, Slot, Start, Timestamp, compile};
//!
//! let lowered = lower(r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#, WorkflowType::Express).expect("the definition is valid");
//! let program = compile(&lowered.machine, &Deployment::named("example")).expect("it compiles");
//! let (mut slot, mut recorder) = (Slot::new(0), Recorder::default());
//! let now = Timestamp(1_700_000_000_000);
//! slot.start(&program, b"{}", &Start { name: ExecutionName::Text("one"), now, seed: 1 })?;
//! slot.run(&program, now, Budget::default(), &mut Effects::default(), &mut recorder);
//!
//! let types: Vec<&str> = recorder.entries().iter().map(|entry| entry.type_name).collect();
//! assert_eq!(types, ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]);
//! # Ok::<(), expressway_engine::document::Fault>(())
//! ```

mod encode;
mod level;
mod recorder;

pub use encode::{Encoder, LOG_DATA_BYTES_MAX, Told};
pub use level::Level;
pub use recorder::{BYTES_MAX, EVENTS_MAX, Entry, Fact, Recorder};
