//! Findings as text for people: the source line with a caret, like a compiler's.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Diagnostic, Position, Severity};

/// Characters of a source line that are shown; the rest of a long line is left out around the caret.
const LINE_SHOWN_MAX: usize = 160;

/// Prints findings in one text, whose lines it has found once.
///
/// ```text
/// error[MISSING_TRANSITION_TARGET]: Missing 'Next' target: Pack
///  --> order.asl.json:7:15 at /States/Check/Next
///   |
/// 7 |       "Next": "Pack"
///   |               ^
///   = hint: did you mean "Pick"?
/// ```
#[derive(Debug)]
pub struct Renderer<'t> {
    text: &'t str,
    file_name: &'t str,
    /// Where lines begin.
    starts: Vec<usize>,
}

/// Prints one finding in `text`, which came from `file_name`; for several there is the [`Renderer`].
#[must_use]
pub fn render(text: &str, file_name: &str, diagnostic: &Diagnostic) -> String {
    Renderer::new(text, file_name).render(diagnostic)
}

impl<'t> Renderer<'t> {
    /// For findings in `text`, which came from `file_name`.
    #[must_use]
    pub fn new(text: &'t str, file_name: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, file_name, starts }
    }

    /// Prints a finding: what, where, the source line with a caret below it, and the hint.
    #[must_use]
    pub fn render(&self, diagnostic: &Diagnostic) -> String {
        let word = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!("{word}[{}]: {}\n", diagnostic.code, visible(&diagnostic.message));
        let pointer = diagnostic.location.as_deref().filter(|location| location.starts_with('/'));
        let at = pointer.map(|pointer| format!(" at {}", visible(pointer))).unwrap_or_default();
        let file_name = visible(self.file_name);
        let Some(position) = diagnostic.position else {
            write(&mut out, format_args!(" --> {file_name}{at}\n"));
            hint(&mut out, " ", diagnostic);
            return out;
        };
        let number = position.line.to_string();
        let margin = " ".repeat(number.len() + 1);
        write(&mut out, format_args!("{}--> {file_name}:{}:{}{at}\n", " ".repeat(number.len()), position.line, position.column));
        let (shown, caret) = self.window(position);
        write(&mut out, format_args!("{margin}|\n{number} | {shown}\n{margin}| {}^\n", " ".repeat(caret)));
        hint(&mut out, &margin, diagnostic);
        out
    }

    /// The part of a position's line that is shown around it, with the caret's column in it; control characters become blanks so that the caret stays below its character. It costs no more on a line of a megabyte.
    fn window(&self, position: Position) -> (String, usize) {
        let line_start = self.starts.get(position.line.saturating_sub(1) as usize).copied().unwrap_or(self.text.len());
        let line_end = self.starts.get(position.line as usize).map_or(self.text.len(), |next| next - 1);
        let at = (position.offset as usize).clamp(line_start, line_end);
        let before = self.text.get(line_start..at).unwrap_or_default();
        let start = before.char_indices().rev().take(LINE_SHOWN_MAX / 2).last().map_or(at, |(index, _)| line_start + index);
        let caret = self.text.get(start..at).map_or(0, |before| before.chars().count());
        let shown: String = self.text.get(start..line_end).unwrap_or_default().chars().take(LINE_SHOWN_MAX).map(blank).collect();
        (shown.trim_end().to_owned(), caret)
    }
}

/// A character as a source line shows it.
fn blank(character: char) -> char {
    if is_hidden(character) { ' ' } else { character }
}

/// Whether a terminal would act on a character in place of showing it: controls, and the marks that turn the direction of writing.
fn is_hidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text on one line of a terminal: what a terminal would act on is shown as `\u{1b}`, a line break as `\n`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => out.extend(character.escape_default()),
            hidden if is_hidden(hidden) => out.extend(hidden.escape_unicode()),
            shown => out.push(shown),
        }
    }
    Cow::Owned(out)
}

fn hint(out: &mut String, margin: &str, diagnostic: &Diagnostic) {
    if let Some(text) = &diagnostic.hint {
        write(out, format_args!("{margin}= hint: {}\n", visible(text)));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::{Code, Lines};
    use super::*;

    fn finding(text: &str, offset: usize, message: &str) -> Diagnostic {
        let position = Some(Lines::new(text.as_bytes()).position(offset));
        Diagnostic {
            severity: Severity::Error,
            code: Code::SchemaValidationFailed,
            message: message.to_owned(),
            location: Some("/a".to_owned()),
            position,
            hint: None,
        }
    }

    fn caret(text: &str, offset: usize) -> (String, usize) {
        let rendered = render(text, "f", &finding(text, offset, "m"));
        let lines: Vec<&str> = rendered.lines().collect();
        let bar = lines[2].len();
        (lines[3].chars().skip(bar + 1).collect(), lines[4].chars().count() - bar - 2)
    }

    #[test]
    fn a_caret_stands_below_its_character() {
        assert_eq!(caret("é\n\t{ü}x\nz", 7), (" {ü}x".to_owned(), 3));
        assert_eq!(caret("a", 1), ("a".to_owned(), 1), "at the end of the text");
        assert_eq!(caret("a\n\nb", 2), (String::new(), 0), "on an empty line");
        assert_eq!(caret("a\r\nb", 1), ("a".to_owned(), 1));
        let long = format!("{}!{}", "é".repeat(500), "ü".repeat(500));
        assert_eq!(caret(&long, 1_000), (format!("{}!{}", "é".repeat(80), "ü".repeat(79)), 80));
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        let evil = "\u{1b}[2J\u{9b}31m\u{202e}\nnext\u{7f}";
        assert_eq!(visible(evil), "\\u{1b}[2J\\u{9b}31m\\u{202e}\\nnext\\u{7f}");
        let rendered = render(evil, evil, &Diagnostic { hint: Some(evil.to_owned()), ..finding(evil, 0, evil) });
        assert!(!rendered.contains(|letter: char| is_hidden(letter) && letter != '\n'), "{rendered:?}");
        assert_eq!(rendered.lines().count(), 6);
        assert!(matches!(visible("plain é 漢"), Cow::Borrowed(_)));
    }
}
