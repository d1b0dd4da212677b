//! Stage 3: hir → program.
//!
//! States are emitted one by one into one vector of ops; control flow becomes jumps between labels, which are resolved when all code is there. A Choice becomes a run of tests, each with the op to go to when it holds and when it does not, so And, Or and Not cost nothing; a run of StringEquals on one path becomes a hash switch. Everything that ops refer to is interned in pools.

mod choice;
mod emit;
mod scope;
mod state;
mod template;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::document::Document;
use crate::hir::{StateMachine, WorkflowType};
use crate::limits::Limits;
use crate::program::{Identity, Program};
use crate::value::constant_value;
use emit::Emitter;

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

    fn identity(&self, machine: &StateMachine) -> Identity {
        let Self { region, account, state_machine, .. } = self;
        let execution = match machine.workflow_type {
            WorkflowType::Express => "express",
            WorkflowType::Standard => "execution",
        };
        Identity {
            state_machine: state_machine.clone(),
            state_machine_arn: format!("arn:aws:states:{region}:{account}:stateMachine:{state_machine}"),
            execution_arn_prefix: format!("arn:aws:states:{region}:{account}:{execution}:{state_machine}:"),
            role_arn: self.role_arn.clone(),
            version: format!("{:016x}", fingerprint(machine)),
        }
    }
}

/// FNV-1a over the definition's meaning: two texts that differ only in layout have one version.
fn fingerprint(machine: &StateMachine) -> u64 {
    let text = format!("{machine:?}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Something that the instruction set cannot hold, or that is not run yet.
fn refusal(message: String, state: Option<&str>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::NotSupportedHere,
        message,
        location: state.map(|name| format!("/States/{name}")),
        position: None,
        hint: None,
    }
}

/// Compiles a valid definition.
///
/// # Errors
/// Diagnostics for what the instruction set cannot hold (for instance more than 65,534 distinct names) or does not run yet.
pub fn compile(machine: &StateMachine, deployment: &Deployment) -> Result<Program, Vec<Diagnostic>> {
    let mut emitter = Emitter::new(machine);
    for index in 0..machine.states.len() {
        emitter.state(index);
    }
    let emitted = emitter.finish()?;
    let mut constants = Document::new();
    if let Err(fault) = constants.fill(emitted.constants.as_bytes(), &emitted.symbols) {
        return Err(vec![refusal(format!("the definition's literals cannot be held: {fault}"), None)]);
    }
    let mut program = Program {
        ops: emitted.ops,
        entry: emitted.entry,
        pools: emitted.pools,
        states: emitted.states,
        resources: emitted.resources,
        constant_values: constants.children(constants.root()).map(|token| constant_value(&constants, token)).collect(),
        constant_tokens: constants.children(constants.root()).collect(),
        constants,
        symbols: emitted.symbols,
        identity: deployment.identity(machine),
        limits: deployment.limits,
        workflow_type: machine.workflow_type,
        timeout_ms: timeout_ms(machine, deployment.limits),
    };
    program.verify().map_err(|broken| vec![refusal(format!("the compiler made a broken program: {broken}"), None)])?;
    program.link_switches();
    program.link_plans();
    Ok(program)
}

fn timeout_ms(machine: &StateMachine, limits: Limits) -> u64 {
    let own = machine.timeout_seconds.map_or(u64::MAX, |seconds| u64::from(seconds) * 1000);
    match machine.workflow_type {
        WorkflowType::Express => own.min(limits.execution_ms_max),
        WorkflowType::Standard => own,
    }
}
