//! Stage 3: hir → program. (Signatures fixed, bodies being written.)

use crate::diagnostic::Diagnostic;
use crate::hir::StateMachine;
use crate::limits::Limits;
use crate::program::Program;

/// Where and as what a definition runs: the parts of the Context Object that are the same for all its executions, and its limits.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// AWS region in ARNs, default `us-east-1`.
    pub region: String,
    /// AWS account in ARNs, default `000000000000`.
    pub account: String,
    /// The state machine's name.
    pub state_machine: String,
    /// `Execution.RoleArn` of the Context Object.
    pub role_arn: String,
    /// Bounds of each execution.
    pub limits: Limits,
}

impl Deployment {
    /// The defaults under the name `state_machine`.
    #[must_use]
    pub fn named(state_machine: &str) -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            state_machine: state_machine.to_owned(),
            role_arn: format!("arn:aws:iam::000000000000:role/{state_machine}"),
            limits: Limits::default(),
        }
    }
}

/// Compiles a valid definition.
///
/// # Errors
/// Diagnostics for what the instruction set cannot hold (for instance more than 65,534 distinct names) or does not run yet.
pub fn compile(machine: &StateMachine, deployment: &Deployment) -> Result<Program, Vec<Diagnostic>> {
    let _ = (machine, deployment);
    unimplemented!()
}
