//! `expressway validate`: every finding in one or more definitions.

use std::path::{Path, PathBuf};

use clap::Args;
use expressway_engine::Deployment;
use expressway_engine::diagnostic::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::Format;
use super::definition::{Type, refused};
use super::output::{Output, tell};
use crate::control::registry::{self, Definition};
use crate::error::Error;
use crate::tasks::builtin::Builtin;

/// Flags of `validate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway validate configs/definitions/*.asl.json --format json\n\nA note on standard error names the resources that nothing answers for here but a mock: without mocks, run refuses such a definition. It is no finding, for on AWS they may well exist.\n\nExits with 1 when a definition is refused, with 3 when one cannot be read; the others are judged all the same."
)]
pub(super) struct Flags {
    /// Definitions, *.asl.json or *.asl.yaml
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Type whose rules apply
    #[arg(long = "type", env = "EXPRESSWAY_TYPE", value_name = "TYPE", value_enum, ignore_case = true, default_value = "EXPRESS")]
    workflow_type: Type,
    /// Form of the findings; json is one object a file and line
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let mut out = Output::new();
    let mut worst = Verdict::Valid;
    for file in &flags.files {
        worst = worst.max(judge(file, flags, &mut out)?);
    }
    out.flush()?;
    // All is said already.
    match worst {
        Verdict::Valid => Ok(()),
        Verdict::Refused => Err(Error::Input(String::new())),
        Verdict::Unreadable => Err(Error::Surroundings { what: String::new(), source: None }),
    }
}

/// What came of a file, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Valid,
    Refused,
    Unreadable,
}

/// Reports on one file.
fn judge(file: &Path, flags: &Flags, out: &mut Output) -> Result<Verdict, Error> {
    let definition = match Definition::read(file) {
        Ok(definition) => definition,
        Err(error) => {
            let problem = refused(&error).to_string();
            match flags.format {
                Format::Text => out.text(&format!("error: {problem}"))?,
                Format::Json => out.line(&json!({"file": file.to_string_lossy(), "result": "FAIL", "error": problem, "diagnostics": []}).to_string())?,
            }
            return Ok(if matches!(error, registry::Error::Read { .. }) { Verdict::Unreadable } else { Verdict::Refused });
        }
    };
    let deployment = Deployment::named(&definition.stem());
    let (is_valid, found) = match definition.compile(flags.workflow_type.into(), &deployment) {
        Ok(compiled) => {
            let unanswered = Builtin::unanswered(&compiled.program, None);
            if !unanswered.is_empty() {
                tell(&format!("note: {}: nothing answers here but a mock for {}: without mocks, run refuses it", file.display(), unanswered.join(", ")));
            }
            (true, compiled.warnings)
        }
        Err(registry::Error::Refused { diagnostics, .. }) => (false, diagnostics),
        Err(error) => return Err(refused(&error)),
    };
    match flags.format {
        Format::Text => {
            if !found.is_empty() {
                out.text(definition.render(&found).trim_end())?;
            }
            out.text(&summary(file, is_valid, &found))?;
        }
        Format::Json => {
            let diagnostics: Vec<Value> = found.iter().map(Diagnostic::to_json).collect();
            let result = if is_valid { "OK" } else { "FAIL" };
            out.line(&json!({"file": file.to_string_lossy(), "result": result, "diagnostics": diagnostics}).to_string())?;
        }
    }
    Ok(if is_valid { Verdict::Valid } else { Verdict::Refused })
}

fn summary(file: &Path, is_valid: bool, found: &[Diagnostic]) -> String {
    let of = |severity| found.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let verdict = if is_valid { "valid" } else { "refused" };
    format!("{}: {verdict}, {}, {}", file.display(), counted(of(Severity::Error), "error"), counted(of(Severity::Warning), "warning"))
}
