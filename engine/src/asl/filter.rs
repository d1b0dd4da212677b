//! The conditions of `[?(…)]`.

use crate::hir::limits::FILTER_DEPTH_MAX;
use crate::hir::{Filter, FilterOperand, FilterOperator, Literal};

use super::path::{Context, Cursor, text_literal};

/// The word operators of the Java library behind AWS's paths; AWS does not support them.
const WORD_OPERATORS: [&str; 12] = ["in", "nin", "subsetof", "anyof", "noneof", "size", "empty", "contains", "all", "type", "matches", "not"];

const OPERATORS: [(&str, FilterOperator); 6] = [
    ("==", FilterOperator::Equal),
    ("!=", FilterOperator::NotEqual),
    ("<=", FilterOperator::LessEqual),
    (">=", FilterOperator::GreaterEqual),
    ("<", FilterOperator::Less),
    (">", FilterOperator::Greater),
];

impl Cursor<'_> {
    /// What stands between `?` and `]`: a condition in parentheses.
    pub(super) fn filter(&mut self) -> Result<Filter, String> {
        self.expect("(")?;
        let filter = self.any()?;
        self.skip_blanks();
        self.expect(")")?;
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
            Filter::Not(Box::new(self.one()?))
        } else if self.take("(") {
            let inner = self.any()?;
            self.skip_blanks();
            self.expect(")")?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        self.skip_blanks();
        if self.take("=~") {
            return Err("regular expressions ('=~') are not supported in filters".to_owned());
        }
        let Some(&(_, operator)) = OPERATORS.iter().find(|(spelling, _)| self.take(spelling)) else { return self.existence(left) };
        self.skip_blanks();
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
        match self.peek() {
            Some('@') => {
                self.take("@");
                Ok(FilterOperand::Item(self.segments(Context::Filter)?))
            }
            Some('$') => Err("cross-references ('$' inside a filter) are not supported".to_owned()),
            Some('\'' | '"') => Ok(FilterOperand::Literal(text_literal(&self.quoted()?))),
            Some('/') => Err("regular expressions are not supported in filters".to_owned()),
            Some('[' | '{') => Err("lists and objects are not supported in filters".to_owned()),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<FilterOperand, String> {
        let word =
            self.take_until(|character| character.is_whitespace() || matches!(character, '=' | '!' | '<' | '>' | '&' | '|' | ')' | '(' | ',' | ']' | '['));
        if word.is_empty() {
            return Err(format!("expected '@', a text, a number, true, false or null {}", self.here()));
        }
        if matches!(word, "true" | "false" | "null") || is_number(word) {
            return Ok(FilterOperand::Literal(Literal(word.to_owned())));
        }
        if !word.starts_with(char::is_alphabetic) {
            return Err(format!("'{word}' is neither a number nor a quoted text"));
        }
        self.unquoted = Some(word.to_owned());
        Ok(FilterOperand::Literal(text_literal(word)))
    }
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
