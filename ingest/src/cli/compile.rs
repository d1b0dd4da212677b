//! `expressway compile`: what a definition becomes.

use std::path::PathBuf;

use clap::Args;
use expressway_engine::hir::WorkflowType;
use expressway_engine::{Deployment, Program};
use serde_json::{Value, json};

use super::Format;
use super::definition::{Type, refused};
use super::output::{Output, tell};
use crate::control::registry::{Compiled, Definition};
use crate::error::Error;

/// Flags of `compile`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway compile configs/definitions/heartbeat.asl.json --listing\n\nThe summary tells what it calls and, by state, which variables it reads, as AWS's DescribeStateMachine does (variableReferences)."
)]
pub(super) struct Flags {
    /// The definition, *.asl.json or *.asl.yaml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the program as a listing instead of a summary
    #[arg(long, env = "EXPRESSWAY_LISTING", conflicts_with = "format")]
    listing: bool,
    /// Form of the summary
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
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
    let mut out = Output::new();
    if flags.listing {
        out.text(&compiled.program.listing())?;
    } else if flags.format == Format::Json {
        out.line(&summary(&compiled).to_string())?;
    } else {
        out.text(&lines(&compiled))?;
    }
    out.flush()
}

fn type_name(program: &Program) -> &'static str {
    if program.workflow_type() == WorkflowType::Express { "EXPRESS" } else { "STANDARD" }
}

/// For programs, in AWS's words where it has them.
fn summary(compiled: &Compiled) -> Value {
    let program = &compiled.program;
    let resources: Vec<&str> = program.resources().iter().map(|resource| resource.arn.as_str()).collect();
    json!({
        "name": program.state_machine(),
        "version": program.version(),
        "type": type_name(program),
        "resources": resources,
        "variableReferences": compiled.variable_references,
    })
}

/// For people.
fn lines(compiled: &Compiled) -> String {
    let program = &compiled.program;
    let mut lines = vec![format!("{} version {}, {}", program.state_machine(), program.version(), type_name(program))];
    lines.extend(program.resources().iter().map(|resource| format!("calls {}", resource.arn)));
    lines.extend(
        compiled
            .variable_references
            .iter()
            .map(|(state, variables)| format!("{state} reads {}", variables.iter().map(|name| format!("${name}")).collect::<Vec<_>>().join(", "))),
    );
    lines.join("\n")
}
