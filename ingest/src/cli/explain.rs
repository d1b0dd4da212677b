//! `expressway explain`: what a diagnostic code means.

use clap::Args;
use expressway_engine::diagnostic::{Code, distance};

use super::output::Output;
use crate::error::Error;

/// Flags of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  expressway explain MISSING_TRANSITION_TARGET\n\nWithout a code it lists them all.")]
pub(super) struct Flags {
    /// The code, as `expressway validate` prints it
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Codes that an unknown one is compared with in the message about it.
const NEAREST: usize = 3;

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let mut out = Output::new();
    match &flags.code {
        Some(code) => {
            let code = find(code)?;
            out.line(&format!("{code}\n\n{}", code.explain()))?;
        }
        None => {
            let width = Code::ALL.iter().map(|code| code.as_str().len()).max().unwrap_or(0);
            for code in Code::ALL {
                out.line(&format!("{:width$}  {}", code.as_str(), first_sentence(code.explain())))?;
            }
        }
    }
    out.flush()
}

/// The code of this spelling; case, and blanks or hyphens for underscores, do not matter.
fn find(spelling: &str) -> Result<Code, Error> {
    let wanted = spelling.trim().to_ascii_uppercase().replace(['-', ' '], "_");
    if let Some(code) = Code::ALL.into_iter().find(|code| code.as_str() == wanted) {
        return Ok(code);
    }
    let mut by_distance: Vec<_> = Code::ALL.iter().map(|code| (apart(&wanted, code.as_str()), code.as_str())).collect();
    by_distance.sort_unstable();
    let nearest: Vec<_> = by_distance.into_iter().take(NEAREST).map(|(_, code)| code).collect();
    Err(Error::Usage(format!("there is no diagnostic code \"{spelling}\"; the nearest are {}; expressway explain lists all of them", nearest.join(", "))))
}

/// Up to the first full stop that ends a sentence.
fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// Edits between the two; a part of a code is next to it.
fn apart(wanted: &str, code: &str) -> usize {
    if !wanted.is_empty() && code.contains(wanted) { 0 } else { distance(wanted, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_they_are_written() {
        assert_eq!(find("no_dollar").expect("found"), Code::NoDollar);
        assert_eq!(find("Missing-End State").expect("found"), Code::MissingEndState);
    }

    #[test]
    fn an_unknown_code_names_the_nearest() {
        let problem = find("NO_DOLAR").expect_err("unknown").to_string();
        assert!(problem.contains("nearest are NO_DOLLAR"), "{problem}");
        let problem = find("transition").expect_err("unknown").to_string();
        assert!(problem.contains("nearest are MISSING_TRANSITION_TARGET"), "{problem}");
    }

    #[test]
    fn a_list_has_one_line_a_code() {
        assert!(Code::ALL.iter().all(|code| !first_sentence(code.explain()).contains('\n')));
        assert_eq!(first_sentence("One. Two."), "One");
    }
}
