//! The artefact: flat ops and their pools, immutable and shared. (Signatures fixed, bodies being written.)

use crate::hir::{Resource, StateId, WorkflowType};

/// A compiled definition: immutable, `Send + Sync`, shared in an `Arc`.
#[derive(Debug)]
pub struct Program {}

impl Program {
    /// The resources that Task states call; [`ResourceId`](crate::vm::ResourceId) indexes this.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        unimplemented!()
    }

    /// The name of a state.
    #[must_use]
    pub fn state_name(&self, state: StateId) -> &str {
        let _ = state;
        unimplemented!()
    }

    /// The name of the state machine.
    #[must_use]
    pub fn state_machine(&self) -> &str {
        unimplemented!()
    }

    /// The type whose rules the program follows.
    #[must_use]
    pub fn workflow_type(&self) -> WorkflowType {
        unimplemented!()
    }

    /// A short hash of the definition (16 hexadecimal digits), which names its version in headers.
    #[must_use]
    pub fn version(&self) -> &str {
        unimplemented!()
    }

    /// The program in a form for people: golden tests, `compile --listing`.
    #[must_use]
    pub fn listing(&self) -> String {
        unimplemented!()
    }
}
