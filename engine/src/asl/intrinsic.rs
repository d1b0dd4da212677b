//! Calls of intrinsic functions: syntax, names, number of arguments, nesting (spec/asl.md 9). Running them is not this stage's concern.

use crate::hir::limits::INTRINSIC_DEPTH_MAX;
use crate::hir::{Argument, IntrinsicCall, Literal, Root};

use super::filter::is_number;
use super::path::{self, text_literal};

/// The functions with their least and greatest number of arguments.
const FUNCTIONS: [(&str, usize, usize); 18] = [
    ("Array", 0, usize::MAX),
    ("ArrayContains", 2, 2),
    ("ArrayGetItem", 2, 2),
    ("ArrayLength", 1, 1),
    ("ArrayPartition", 2, 2),
    ("ArrayRange", 3, 3),
    ("ArrayUnique", 1, 1),
    ("Base64Decode", 1, 1),
    ("Base64Encode", 1, 1),
    ("Format", 1, usize::MAX),
    ("Hash", 2, 2),
    ("JsonMerge", 3, 3),
    ("JsonToString", 1, 1),
    ("MathAdd", 2, 2),
    ("MathRandom", 2, 3),
    ("StringSplit", 2, 2),
    ("StringToJson", 1, 1),
    ("UUID", 0, 0),
];

/// The functions whose result is a string or may be one, which alone may stand in `ErrorPath` and `CausePath` (spec/asl.md 6.5).
pub(super) const TEXT_FUNCTIONS: [&str; 7] = ["Format", "JsonToString", "ArrayGetItem", "Base64Encode", "Base64Decode", "Hash", "UUID"];

/// A parsed call with what the caller must know about it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) call: IntrinsicCall,
    /// The variables that its arguments read.
    pub(super) variables: Vec<String>,
}

/// Whether `text` means to be a call, rightly or wrongly written.
pub(super) fn looks_like_call(text: &str) -> bool {
    text.starts_with("States.")
}

/// Reads a call; the error is the reason why it is none.
pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut cursor = Cursor { text, at: 0, variables: Vec::new() };
    let call = cursor.call(1)?;
    cursor.skip_blanks();
    if cursor.at < text.len() {
        return Err(format!("unexpected text behind the call: '{}'", cursor.rest()));
    }
    Ok(Parsed { call, variables: cursor.variables })
}

#[derive(Debug)]
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    variables: Vec<String>,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, prefix: &str) -> bool {
        let taken = self.rest().starts_with(prefix);
        if taken {
            self.at += prefix.len();
        }
        taken
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|character| !holds(character)).unwrap_or(rest.len());
        self.at += length;
        rest.split_at(length).0
    }

    fn call(&mut self, depth: usize) -> Result<IntrinsicCall, String> {
        if depth > INTRINSIC_DEPTH_MAX {
            return Err(format!("calls nest at most {INTRINSIC_DEPTH_MAX} deep"));
        }
        let start = self.at;
        if !self.take("States.") {
            return Err("a call starts with 'States.'".to_owned());
        }
        let name = self.take_while(|character| character.is_ascii_alphanumeric());
        let Some(&(_, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            return Err(format!("'States.{name}' is not an intrinsic function"));
        };
        if !self.take("(") {
            return Err(format!("expected '(' behind 'States.{name}'"));
        }
        let arguments = self.arguments(name, depth)?;
        if !(least..=most).contains(&arguments.len()) {
            return Err(format!("States.{name} takes {}, found {}", count(least, most), arguments.len()));
        }
        if name.starts_with("Math")
            && let Some(Argument::Literal(Literal(other))) =
                arguments.iter().find(|argument| matches!(argument, Argument::Literal(Literal(text)) if !is_number(text)))
        {
            return Err(format!("States.{name} takes numbers, paths and calls, found {other}"));
        }
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        Ok(IntrinsicCall { name: name.to_owned(), arguments, text })
    }

    fn arguments(&mut self, function: &str, depth: usize) -> Result<Vec<Argument>, String> {
        let mut arguments = Vec::new();
        self.skip_blanks();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            self.skip_blanks();
            let is_template = function == "Format" && arguments.is_empty();
            arguments.push(self.argument(is_template, depth)?);
            self.skip_blanks();
            if self.take(")") {
                return Ok(arguments);
            }
            if !self.take(",") {
                return Err(match self.peek() {
                    Some(found) => format!("expected ',' or ')', found '{found}'"),
                    None => "the call is not closed with ')'".to_owned(),
                });
            }
        }
    }

    fn argument(&mut self, is_template: bool, depth: usize) -> Result<Argument, String> {
        match self.peek() {
            Some('\'') => Ok(Argument::Literal(text_literal(&self.string(is_template)?))),
            Some('$') => self.path(),
            Some('S') => Ok(Argument::Call(self.call(depth + 1)?)),
            _ => {
                let word = self.take_while(|character| !character.is_whitespace() && !matches!(character, ',' | ')' | '('));
                if matches!(word, "true" | "false" | "null") || is_number(word) {
                    Ok(Argument::Literal(Literal(word.to_owned())))
                } else {
                    Err(format!("'{word}' is not an argument: expected a text in single quotes, a number, true, false, null, a path or a call"))
                }
            }
        }
    }

    /// A text in single quotes. The template of `Format` keeps `\{`, `\}` and `\\`, because only running it can tell a brace from a placeholder.
    fn string(&mut self, is_template: bool) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\'' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('{' | '}' | '\\'))) => {
                        if is_template {
                            text.push('\\');
                        }
                        text.push(escaped);
                    }
                    Some((_, '\'')) => text.push('\''),
                    Some((_, other)) => return Err(format!("'\\{other}' is not an escape: only \\' \\{{ \\}} and \\\\ are")),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err("a text is not closed with a single quote".to_owned())
    }

    fn path(&mut self) -> Result<Argument, String> {
        let text = self.rest();
        let length = path_length(text);
        let parsed = path::parse(text.split_at(length).0.trim_end())?;
        self.at += length;
        if let Root::Variable(name) = &parsed.path.root {
            self.variables.push(name.clone());
        }
        Ok(Argument::Path(parsed.path))
    }
}

/// How far a path among arguments goes: up to a comma or parenthesis that is in no bracket and no quotes.
fn path_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) => quote = (character != open).then_some(open),
            (None, '\'' | '"') if depth > 0 => quote = Some(character),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') if depth > 0 => depth -= 1,
            (None, ',' | ')') if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn count(least: usize, most: usize) -> String {
    match (least, most) {
        (1, 1) => "1 argument".to_owned(),
        (least, usize::MAX) => format!("at least {least} arguments"),
        (least, most) if least == most => format!("{least} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(text: &str) -> IntrinsicCall {
        parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}")).call
    }

    #[test]
    fn arguments_of_every_kind_parse() {
        let parsed = call("States.Array('a, b)', -1.5e3, true, null, $.x['y,z)'], $$.State.Name, States.UUID( ))");
        assert_eq!(parsed.arguments.len(), 7);
        assert!(matches!(&parsed.arguments[0], Argument::Literal(Literal(text)) if text == "\"a, b)\""));
        assert!(matches!(&parsed.arguments[4], Argument::Path(path) if path.text == "$.x['y,z)']"));
        assert!(matches!(&parsed.arguments[6], Argument::Call(inner) if inner.text == "States.UUID( )"));
        call("States.ArrayLength($.a[?(@.b == 'x,)' && @.c < 2)])");
        assert_eq!(parse("States.MathAdd($n.x, States.ArrayLength($m))").expect("a call").variables, ["n", "m"]);
    }

    #[test]
    fn escapes_resolve_but_for_the_template_of_format() {
        let literal = |call: &IntrinsicCall| match &call.arguments[0] {
            Argument::Literal(Literal(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(literal(&call(r"States.StringToJson('\'\{\}\\')")), r#""'{}\\""#);
        assert_eq!(literal(&call(r"States.Format('\'\{{}\}\\', 1)")), r#""'\\{{}\\}\\\\""#);
        assert_eq!(literal(&call("States.StringToJson('a\nb')")), r#""a\nb""#);
    }

    #[test]
    fn what_is_refused_says_why() {
        let reason = |text: &str| parse(text).expect_err(text);
        assert!(reason("States.Nope()").contains("not an intrinsic function"));
        assert!(reason("States.MathAdd(1)").contains("takes 2 arguments, found 1"));
        assert!(reason("States.UUID(1)").contains("takes 0 arguments"));
        assert!(reason("States.MathAdd(1, '-1')").contains("takes numbers"));
        assert!(reason("States.MathRandom(null, 2)").contains("takes numbers"));
        assert!(reason(r#"States.StringToJson('\"')"#).contains("not an escape"));
        assert!(reason("States.Array('a' 'b')").contains("expected ','"));
        for broken in [
            "States.Array",
            "States.Array(",
            "States.Array(1",
            "States.Array(1,)",
            "States.Array('a)",
            "States.Array(a)",
            "States.Array(1) x",
            " States.Array()",
            "States.Array(\"a\")",
        ] {
            reason(broken);
        }
    }

    #[test]
    fn calls_nest_ten_deep_and_no_deeper() {
        let nested = |depth: usize| format!("{}1{}", "States.Array(".repeat(depth), ")".repeat(depth));
        call(&nested(INTRINSIC_DEPTH_MAX));
        assert!(parse(&nested(INTRINSIC_DEPTH_MAX + 1)).expect_err("too deep").contains("nest"));
        assert!(parse(&nested(5000)).is_err());
    }
}
