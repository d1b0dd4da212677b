//! What is wrong with a text that is not JSON, in the words of the parser AWS uses (Jackson), and where.

use crate::diagnostic::{Code, Diagnostic, Lines, Severity};
use crate::document::{Fault, FaultKind};

/// Characters of the text that are quoted in a location.
const SOURCE_SHOWN_MAX: usize = 500;

const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";

/// What the grammar asks for at the place of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    FieldName,
    Colon,
    CommaInObject,
    CommaInArray,
    End,
}

/// The finding for a fault of the document scanner.
pub(super) fn diagnose(text: &str, fault: Fault) -> Diagnostic {
    let at = usize::try_from(fault.offset).unwrap_or(usize::MAX).min(text.len());
    let lines = Lines::new(text.as_bytes());
    let position = lines.position(at);
    if fault.kind == FaultKind::Empty {
        return finding(Code::SchemaValidationFailed, "Definition must be a valid JSON object".to_owned());
    }
    let message = message(text, fault.kind, at);
    let shown: String = text.chars().take(SOURCE_SHOWN_MAX).collect();
    let hidden = text.chars().count() - shown.chars().count();
    let cut = if hidden > 0 { format!("[truncated {hidden} chars]") } else { String::new() };
    let location = format!("[Source: (String)\"{shown}\"{cut}; line: {}, column: {}]", position.line, position.column);
    Diagnostic { location: Some(location), position: Some(position), ..finding(Code::InvalidJsonDescription, message) }
}

fn finding(code: Code, message: String) -> Diagnostic {
    Diagnostic { severity: Severity::Error, code, message, location: None, position: None, hint: None }
}

fn message(text: &str, kind: FaultKind, at: usize) -> String {
    let found = text.get(at..).and_then(|rest| rest.chars().next());
    match kind {
        FaultKind::Truncated => truncated(text, at),
        FaultKind::BadEscape => match text.get(at..).and_then(|rest| rest.trim_start_matches('\\').chars().next()) {
            Some(escaped) => format!("Unrecognized character escape {}", quote(escaped)),
            None => "Unexpected end-of-input in character escape sequence".to_owned(),
        },
        FaultKind::ControlCharacter => {
            let code = found.map_or(0, u32::from);
            format!("Illegal unquoted character ((CTRL-CHAR, code {code})): has to be escaped using backslash to be included in string value")
        }
        FaultKind::BadNumber => bad_number(text, at),
        FaultKind::TooDeep => format!("Document nesting depth exceeds the maximum allowed ({})", crate::document::DOCUMENT_DEPTH_MAX),
        FaultKind::TooLarge(bound) => format!("text is larger than {bound} bytes"),
        _ => match found {
            Some(character) => unexpected(text, at, character),
            None => truncated(text, at),
        },
    }
}

fn quote(character: char) -> String {
    format!("'{character}' (code {})", u32::from(character))
}

fn unexpected(text: &str, at: usize, character: char) -> String {
    let word: String = text.get(at..).unwrap_or_default().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    let expected = scan(text, at).0;
    if expected == Expected::Value && !word.is_empty() {
        return format!("Unrecognized token '{word}': was expecting {VALUES}");
    }
    let what = match expected {
        Expected::Value | Expected::End => "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        Expected::FieldName => "was expecting double-quote to start field name",
        Expected::Colon => "was expecting a colon to separate field name and value",
        Expected::CommaInObject => "was expecting comma to separate Object entries",
        Expected::CommaInArray => "was expecting comma to separate Array entries",
    };
    format!("Unexpected character ({}): {what}", quote(character))
}

fn truncated(text: &str, at: usize) -> String {
    let (expected, open, in_string) = scan(text, at);
    if in_string {
        let place = if expected == Expected::FieldName { "in field name" } else { "was expecting closing quote for a string value" };
        return if expected == Expected::FieldName { format!("Unexpected end-of-input {place}") } else { format!("Unexpected end-of-input: {place}") };
    }
    match open.last() {
        Some(&(start, bracket)) => {
            let kind = if bracket == b'{' { "Object" } else { "Array" };
            let position = Lines::new(text.as_bytes()).position(start);
            format!("Unexpected end-of-input: expected close marker for {kind} (start marker at line: {}, column: {})", position.line, position.column)
        }
        None => "Unexpected end-of-input".to_owned(),
    }
}

fn bad_number(text: &str, at: usize) -> String {
    // The fault may point at the number's first digit or behind its last; the number is what surrounds it.
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let bytes = text.as_bytes();
    let start = bytes.get(..at).unwrap_or_default().iter().rposition(|&byte| !is_part(byte)).map_or(0, |before| before + 1);
    let number = bytes.get(start..).unwrap_or_default().iter().take_while(|&&byte| is_part(byte)).map(|&byte| char::from(byte)).collect::<String>();
    let digits = number.trim_start_matches('-');
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
        return "Invalid numeric value: Leading zeroes not allowed".to_owned();
    }
    format!("Invalid numeric value: '{number}'")
}

/// Reads the valid text in front of `at`: what the grammar asks for there, the containers that are open, and whether a string is.
fn scan(text: &str, at: usize) -> (Expected, Vec<(usize, u8)>, bool) {
    let bytes = text.as_bytes();
    let mut open: Vec<(usize, u8)> = Vec::new();
    let mut expected = Expected::Value;
    let mut index = 0;
    while index < at.min(bytes.len()) {
        let in_object = open.last().is_some_and(|&(_, bracket)| bracket == b'{');
        let behind_value = match open.last() {
            None => Expected::End,
            Some(&(_, b'{')) => Expected::CommaInObject,
            Some(_) => Expected::CommaInArray,
        };
        match bytes[index] {
            b'"' => {
                let Some(end) = closing_quote(bytes, index + 1).filter(|&end| end < at) else { return (expected, open, true) };
                index = end;
                expected = if expected == Expected::FieldName { Expected::Colon } else { behind_value };
            }
            bracket @ (b'{' | b'[') => {
                open.push((index, bracket));
                expected = if bracket == b'{' { Expected::FieldName } else { Expected::Value };
            }
            b'}' | b']' => {
                open.pop();
                expected = match open.last() {
                    None => Expected::End,
                    Some(&(_, b'{')) => Expected::CommaInObject,
                    Some(_) => Expected::CommaInArray,
                };
            }
            b':' => expected = Expected::Value,
            b',' => expected = if in_object { Expected::FieldName } else { Expected::Value },
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => expected = behind_value,
        }
        index += 1;
    }
    (expected, open, false)
}

fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut index = from;
    loop {
        match bytes.get(index)? {
            b'"' => return Some(index),
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Symbols};

    fn finding_for(text: &str) -> Diagnostic {
        let fault = Document::new().fill(text.as_bytes(), &Symbols::default()).expect_err(text);
        diagnose(text, fault)
    }

    #[test]
    fn faults_are_named_as_the_service_names_them() {
        let cases = [
            ("{\"a\" 1}", "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value"),
            ("{\"a\":1 \"b\"}", "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries"),
            ("{\"a\":1,}", "Unexpected character ('}' (code 125)): was expecting double-quote to start field name"),
            ("[1 2]", "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries"),
            ("{\"a\":yes}", "Unrecognized token 'yes': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"),
            (
                "{\"a\":}",
                "Unexpected character ('}' (code 125)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            ),
            ("{\"a\":{\"b\":1}", "Unexpected end-of-input: expected close marker for Object (start marker at line: 1, column: 1)"),
            ("{\"a\":\"b", "Unexpected end-of-input: was expecting closing quote for a string value"),
            ("{\"a\":01}", "Invalid numeric value: Leading zeroes not allowed"),
            ("{\"a\":\"\\x\"}", "Unrecognized character escape 'x' (code 120)"),
        ];
        for (text, message) in cases {
            let finding = finding_for(text);
            assert_eq!((finding.code, finding.message.as_str()), (Code::InvalidJsonDescription, message), "{text}");
        }
    }

    #[test]
    fn the_location_is_the_parsers_text_and_the_position_is_exact() {
        let finding = finding_for("{\n  \"a\" 1}");
        assert_eq!(finding.location.as_deref(), Some("[Source: (String)\"{\n  \"a\" 1}\"; line: 2, column: 7]"));
        assert_eq!(finding.position.map(|position| (position.line, position.column)), Some((2, 7)));
    }

    #[test]
    fn an_empty_text_has_no_place() {
        let finding = finding_for(" \n");
        assert_eq!((finding.code, finding.location, finding.position), (Code::SchemaValidationFailed, None, None));
    }
}
