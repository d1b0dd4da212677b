//! The conditions of `[?(…)]`, read as the Java library behind the service reads them.
//!
//! A path inside a condition runs to the next blank, comparison sign or closing parenthesis, so `&&` and `||` need a blank in front when a path stands there; without it they are part of a name, as on the service. That is followed, because a definition must not mean one thing there and another here.

use crate::hir::limits::{FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX};
use crate::hir::{Filter, FilterOperand, FilterOperator, Literal};

use super::path::{Cursor, text_literal};

/// The word operators of the Java library behind AWS's paths; AWS does not support them.
const WORD_OPERATORS: [&str; 12] = ["in", "nin", "subsetof", "anyof", "noneof", "size", "empty", "contains", "all", "type", "matches", "not"];

/// Words that must be in lower case.
const LITERALS: [&str; 3] = ["true", "false", "null"];

impl Cursor<'_> {
    /// What stands between `?` and `]`: a condition in parentheses.
    pub(super) fn filter(&mut self) -> Result<Filter, String> {
        self.expect("(")?;
        let length = matching(self.rest(), '(', ')').ok_or_else(|| format!("a parenthesis is not closed {}", self.here()))?;
        let mut inside = Cursor::new(self.take_bytes(length));
        inside.depth = self.depth;
        self.take(")");
        inside.conditions = self.conditions;
        let filter = inside.any()?;
        self.conditions = inside.conditions;
        inside.skip_blanks();
        if !inside.is_at_end() {
            return Err(format!("expected the end of the condition {}", inside.here()));
        }
        self.unquoted = self.unquoted.take().or(inside.unquoted);
        Ok(filter)
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.all()?];
        while self.take_operator("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Filter::Or(parts) })
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.one()?];
        while self.take_operator("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Filter::And(parts) })
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        self.skip_blanks();
        self.take(operator)
    }

    /// One condition. Parentheses, negations and filters inside filters count as levels, so the recursion is bounded.
    fn one(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(format!("conditions nest at most {FILTER_DEPTH_MAX} deep"));
        }
        self.skip_blanks();
        let filter = if self.take("!") {
            self.skip_blanks();
            match self.peek() {
                // In front of a path `!` asks that it does not exist; it says nothing of a comparison.
                Some('@' | '$') => match self.comparison()? {
                    exists @ Filter::Exists(_) => Filter::Not(Box::new(exists)),
                    comparison => comparison,
                },
                _ => Filter::Not(Box::new(self.one()?)),
            }
        } else if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        self.conditions += 1;
        if self.conditions > FILTER_CONDITIONS_MAX {
            return Err(format!("a path has at most {FILTER_CONDITIONS_MAX} conditions"));
        }
        let left = self.operand()?;
        self.skip_blanks();
        let sign = self.take_until(|character| !is_sign(character));
        let operator = match sign {
            "==" => FilterOperator::Equal,
            "!=" => FilterOperator::NotEqual,
            "<=" => FilterOperator::LessEqual,
            ">=" => FilterOperator::GreaterEqual,
            "<" => FilterOperator::Less,
            ">" => FilterOperator::Greater,
            "" => return self.existence(left),
            "=~" => return Err("regular expressions ('=~') are not supported in filters".to_owned()),
            other => return Err(format!("'{other}' is not an operator: == != < <= > >= are")),
        };
        Ok(Filter::Compare(left, operator, self.operand()?))
    }

    /// An operand without an operator behind it.
    fn existence(&mut self, operand: FilterOperand) -> Result<Filter, String> {
        if self.peek().is_some_and(char::is_alphabetic) {
            let word = self.take_until(|character| !character.is_alphanumeric()).to_lowercase();
            let kind = if WORD_OPERATORS.contains(&word.as_str()) { "the word operator" } else { "the operator" };
            return Err(format!("{kind} '{word}' is not supported in filters"));
        }
        match operand {
            FilterOperand::Item(segments) => Ok(Filter::Exists(segments)),
            FilterOperand::Literal(_) => Err(format!("expected a comparison {}", self.here())),
        }
    }

    fn operand(&mut self) -> Result<FilterOperand, String> {
        self.skip_blanks();
        match self.peek() {
            Some('@') => self.item(),
            Some('$') => Err("cross-references ('$' inside a filter) are not supported".to_owned()),
            Some('\'' | '"') => Ok(FilterOperand::Literal(text_literal(&self.quoted()?))),
            Some('/') => Err("regular expressions are not supported in filters".to_owned()),
            Some('[' | '{') => Err("lists and objects are not supported in filters".to_owned()),
            _ => self.word(),
        }
    }

    /// A path that begins with `@`.
    fn item(&mut self) -> Result<FilterOperand, String> {
        let mut length = 1;
        loop {
            let rest = self.rest().get(length..).unwrap_or_default();
            match rest.chars().next() {
                Some('[') => {
                    let inside = rest.get(1..).and_then(|rest| matching(rest, '[', ']'));
                    length += inside.ok_or_else(|| format!("a bracket is not closed before '{rest}'"))? + 2;
                }
                Some('(') => return Err("functions are not supported in paths".to_owned()),
                Some(character) if character != ' ' && character != ')' && !is_sign(character) => length += character.len_utf8(),
                _ => break,
            }
        }
        let mut path = Cursor::new(self.take_bytes(length).get(1..).unwrap_or_default());
        (path.depth, path.conditions) = (self.depth, self.conditions);
        let segments = path.segments()?;
        self.conditions = path.conditions;
        self.unquoted = self.unquoted.take().or(path.unquoted);
        Ok(FilterOperand::Item(segments))
    }

    fn word(&mut self) -> Result<FilterOperand, String> {
        let word = self.take_until(|character| character == ' ' || is_sign(character) || matches!(character, '&' | '|' | ')' | '(' | ',' | ']' | '['));
        if word.is_empty() {
            return Err(format!("expected '@', a text, a number, true, false or null {}", self.here()));
        }
        if LITERALS.contains(&word) {
            return Ok(FilterOperand::Literal(Literal(word.to_owned())));
        }
        if let Some(number) = number_literal(word) {
            return Ok(FilterOperand::Literal(number));
        }
        if LITERALS.iter().any(|literal| word.eq_ignore_ascii_case(literal)) {
            return Err(format!("'{word}' is written in lower case"));
        }
        if !word.starts_with(char::is_alphabetic) {
            return Err(format!("'{word}' is neither a number nor a quoted text"));
        }
        // The library refuses a bare word, but definitions that have one are in use.
        self.unquoted = Some(word.to_owned());
        Ok(FilterOperand::Literal(text_literal(word)))
    }
}

/// The characters of comparison signs, as the library takes them: all that stand together.
fn is_sign(character: char) -> bool {
    matches!(character, '<' | '>' | '=' | '~' | '!')
}

/// How far the inside of a bracket goes whose opening sign has been read; quoted texts are passed over.
fn matching(text: &str, open: char, close: char) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(opened) => quote = (character != opened).then_some(opened),
            None if character == '\'' || character == '"' => quote = Some(character),
            None if character == open => depth += 1,
            None if character == close && depth == 0 => return Some(at),
            None if character == close => depth -= 1,
            None => {}
        }
    }
    None
}

/// A number as Java reads it, in the spelling of JSON: leading zeros and bare points are fine, a plus sign is not.
fn number_literal(word: &str) -> Option<Literal> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (sign, unsigned) = word.strip_prefix('-').map_or(("", word), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_digits = exponent.map(|exponent| exponent.strip_prefix('-').unwrap_or(exponent));
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) || exponent_digits.is_some_and(|text| text.is_empty() || !digits(text))
    {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut number = format!("{sign}{}", if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        number += &format!(".{fraction}");
    }
    if let Some(exponent) = exponent {
        number += &format!("e{exponent}");
    }
    is_number(&number).then_some(Literal(number))
}

/// Whether `text` is a number as JSON writes it (RFC 8259 §6).
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}
