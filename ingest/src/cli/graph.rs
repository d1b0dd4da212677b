//! `expressway graph`: a definition as a picture.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::definition::{Type, refused};
use super::output::Output;
use crate::authoring::graph::Graph;
use crate::control::registry::Definition;
use crate::error::Error;

/// Flags of `graph`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway graph configs/definitions/alert.asl.json --format svg > alert.svg\n\nmermaid goes into a Markdown page between ```mermaid and ```, dot to Graphviz, svg into any browser."
)]
pub(super) struct Flags {
    /// The definition, *.asl.json or *.asl.yaml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Language of the picture
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "mermaid")]
    format: Format,
    /// Type whose rules apply
    #[arg(long = "type", env = "EXPRESSWAY_TYPE", value_name = "TYPE", value_enum, ignore_case = true, default_value = "EXPRESS")]
    workflow_type: Type,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A flowchart for Markdown.
    Mermaid,
    /// A digraph for Graphviz.
    Dot,
    /// A picture.
    Svg,
}

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let definition = Definition::read(&flags.file).map_err(|error| refused(&error))?;
    // Drawing asks less than running: what cannot be compiled can still be drawn.
    let lowered = definition.lower(flags.workflow_type.into()).map_err(|error| refused(&error))?;
    let graph = Graph::of(&lowered.machine, &definition.stem());
    let text = match flags.format {
        Format::Mermaid => graph.mermaid(),
        Format::Dot => graph.dot(),
        Format::Svg => graph.svg(),
    };
    let mut out = Output::new();
    out.write(text.as_bytes())?;
    out.flush()
}
