//! Stage 1: text → ast. Knows the grammar of the States Language, nothing of running.
//!
//! [`parse`] reads a definition and reports everything that can be said of a field by looking at it alone: JSON syntax, types, ranges, unknown members, the syntax of paths, templates and intrinsic calls. It never stops at the first finding; a field that is wrong is reported and left out of the tree. What takes two fields or two states to judge is for the next stage.
//!
//! Paths, templates and calls are parsed right into the types of [`hir`](crate::hir), which are final: nothing about them is left to resolve. Recursion is bounded by the limits in [`limits`](crate::hir::limits).

pub mod ast;

mod choice;
mod distributed;
mod filter;
mod intrinsic;
mod jackson;
mod parse;
mod path;
mod reader;
mod retry;
mod state;
mod template;
mod time;
mod variable;

pub use parse::parse;
