//! The Expressway service: Kafka records in, one execution of a workflow each, results and dead letters back to Kafka.
//!
//! # The data's way
//! A record comes from a source topic into the queue of the shard that owns its partition, becomes one execution of the pipeline's [`Program`](expressway_engine::Program), and leaves as a result or a dead letter; when the broker has acknowledged that, the record is closed in its partition's window, and the offset below which everything is closed is committed. [`pipeline`] is that way, its modules in the order in which a record meets them; `kafka` is the client underneath; [`tasks`] is where Task states leave and come back.
//!
//! # Around it
//! [`config`] merges the layers into checked values, [`control`] loads definitions, starts and ends pipelines and answers over HTTP, [`metrics`] names and writes what the shards count, [`telemetry`] writes log lines, [`cli`] is the command line; `operations` is what its verbs for operators do with topics, beside the running service. [`local`] runs single executions on virtual time, without Kafka; [`authoring`] is what a workflow's author works with; [`devices`] simulates who sends.
//!
//! # Threads
//! Each pipeline has one control thread, which serves rebalances and returns no records, and a fixed number of shards: plain threads that own whole partitions, take records in batches and share nothing with each other but counters. HTTP and signals live on a small async runtime. The two worlds meet in bounded queues only.
//!
//! # The guarantee
//! At least once: a record ends as an acknowledged result, as an acknowledged dead letter, or it is not committed and runs again. There is no fourth outcome. After a crash, everything from the committed offset on runs again, so a result may come twice, under the same execution name.
//!
//! # Never here
//! No workflow semantics: whatever an execution does is the engine's. No state that outlives a process, but for the offsets in Kafka.
//!
//! # Example
//! One execution, on virtual time:
//! ```
//! use expressway_engine::hir::{WorkflowType, lower};
//! use expressway_engine::{Deployment, ExecutionName, Silent, Slot, Start, Timestamp, compile};
//! use expressway_ingest::local::{Executor, Pace, TaskReply};
//!
//! let text = r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 200, "End": true}}}"#;
//! let machine = lower(text, WorkflowType::Express).expect("a valid definition").machine;
//! let program = compile(&machine, &Deployment::named("wait")).expect("it fits");
//! let mut executor = Executor::new(Slot::new(0), Pace::Virtual);
//! let start = Start { name: ExecutionName::Text("one"), now: Timestamp(0), seed: 1 };
//! let ended = executor.run(&program, b"{\"a\": 1}", &start, &mut |_| TaskReply::success("null"), &mut Silent).expect("it ends");
//! assert_eq!((ended.output.as_slice(), ended.at), (&b"{\"a\":1}"[..], Timestamp(200_000)));
//! ```

pub mod authoring;
#[doc(hidden)]
pub mod careless;
pub mod cgroup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod devices;
pub mod error;
mod kafka;
pub mod local;
pub mod metrics;
mod operations;
pub mod pipeline;
pub mod random;
pub mod tasks;
pub mod telemetry;
mod thread;
#[cfg(test)]
#[expect(unreachable_pub, reason = "the fuzz crate, which compiles the same file, calls its functions from its targets")]
mod untrusted;
