//! The program `expressway`: allocator, arguments, environment, exit code, and nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Variables that are not Unicode can be neither keys nor placeholders of ours.
    let environment: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    ExitCode::from(expressway_ingest::cli::run(std::env::args_os(), &environment))
}
