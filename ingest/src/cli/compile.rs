//! `expressway compile`: what a definition becomes.

use std::path::PathBuf;

use clap::Args;
use expressway_engine::Deployment;
use expressway_engine::hir::WorkflowType;

use super::definition::{Type, refused};
use super::output::{Output, tell};
use crate::control::registry::Definition;
use crate::error::Error;

/// Flags of `compile`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  expressway compile configs/definitions/heartbeat.asl.json --listing")]
pub(super) struct Flags {
    /// The definition, *.asl.json or *.asl.yaml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the program as a listing instead of a summary
    #[arg(long, env = "EXPRESSWAY_LISTING")]
    listing: bool,
    /// Type whose rules apply
    #[arg(long = "type", env = "EXPRESSWAY_TYPE", value_name = "TYPE", value_enum, ignore_case = true, default_value = "EXPRESS")]
    workflow_type: Type,
}

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let definition = Definition::read(&flags.file).map_err(|error| refused(&error))?;
    let compiled = definition.compile(flags.workflow_type.into(), &Deployment::named(&definition.stem())).map_err(|error| refused(&error))?;
    if !compiled.warnings.is_empty() {
        tell(definition.render(&compiled.warnings).trim_end());
    }
    let program = &compiled.program;
    let mut out = Output::new();
    if flags.listing {
        out.write(program.listing().as_bytes())?;
    } else {
        let workflow_type = if program.workflow_type() == WorkflowType::Express { "EXPRESS" } else { "STANDARD" };
        out.line(&format!("{} version {}, {workflow_type}", program.state_machine(), program.version()))?;
        for resource in program.resources() {
            out.line(&format!("calls {}", resource.arn))?;
        }
    }
    out.flush()
}
