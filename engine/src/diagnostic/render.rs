//! A finding as text for people: the source line with a caret, like a compiler's.

use std::fmt::Write as _;

use super::{Diagnostic, Severity};

/// Characters of a source line that are shown; the rest of a long line is left out around the caret.
const LINE_SHOWN_MAX: usize = 160;

/// Prints a finding in `text`, which came from `file_name`: what, where, the source line with a caret below it, and the hint.
///
/// ```text
/// error[MISSING_TRANSITION_TARGET]: Missing 'Next' target: Pack
///  --> order.asl.json:7:15 at /States/Check/Next
///   |
/// 7 |       "Next": "Pack"
///   |               ^
///   = hint: did you mean "Pick"?
/// ```
#[must_use]
pub fn render(text: &str, file_name: &str, diagnostic: &Diagnostic) -> String {
    let word = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = format!("{word}[{}]: {}\n", diagnostic.code, diagnostic.message);
    let at = diagnostic.location.as_deref().filter(|location| location.starts_with('/')).map(|location| format!(" at {location}")).unwrap_or_default();
    let Some(position) = diagnostic.position else {
        write(&mut out, format_args!(" --> {file_name}{at}\n"));
        hint(&mut out, " ", diagnostic);
        return out;
    };
    let number = position.line.to_string();
    let margin = " ".repeat(number.len() + 1);
    write(&mut out, format_args!("{}--> {file_name}:{}:{}{at}\n", " ".repeat(number.len()), position.line, position.column));
    let line = text.lines().nth(position.line as usize - 1).unwrap_or_default();
    let (shown, caret) = window(line, position.column as usize - 1);
    write(&mut out, format_args!("{margin}|\n{number} | {shown}\n{margin}| {}^\n", " ".repeat(caret)));
    hint(&mut out, &margin, diagnostic);
    out
}

/// The part of `line` around column `at` that is shown, with the caret's column in it; tabs become blanks so that the caret stays below its character.
fn window(line: &str, at: usize) -> (String, usize) {
    let skipped = at.saturating_sub(LINE_SHOWN_MAX / 2);
    let shown: String = line.chars().map(|character| if character.is_control() { ' ' } else { character }).skip(skipped).take(LINE_SHOWN_MAX).collect();
    (shown.trim_end().to_owned(), at - skipped)
}

fn hint(out: &mut String, margin: &str, diagnostic: &Diagnostic) {
    if let Some(text) = &diagnostic.hint {
        write(out, format_args!("{margin}= hint: {text}\n"));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}
