//! The rules of a Choice (spec/asl.md 6.2).

use std::cmp::Ordering;

use serde_json::Value;

use super::data::Visit;
use super::scalar;
use super::world::Failure;

/// Whether a rule holds of `data`.
///
/// # Errors
/// When a variable is missing.
pub fn holds(visit: &Visit<'_>, rule: &Value, data: &Value) -> Result<bool, Failure> {
    if let Some(rules) = rule["And"].as_array() {
        for rule in rules {
            if !holds(visit, rule, data)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Some(rules) = rule["Or"].as_array() {
        for rule in rules {
            if holds(visit, rule, data)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if let Some(rule) = rule.get("Not") {
        return Ok(!holds(visit, rule, data)?);
    }
    compare(visit, rule, data)
}

fn compare(visit: &Visit<'_>, rule: &Value, data: &Value) -> Result<bool, Failure> {
    let others = ["Variable", "Next", "Comment", "Assign"];
    let (operator, operand) = rule.as_object().into_iter().flatten().find(|(name, _)| !others.contains(&name.as_str())).expect("a rule has an operator");
    let variable = rule["Variable"].as_str().expect("a rule has a variable");
    let Some(value) = visit.look(variable, data) else {
        if operator == "IsPresent" {
            return Ok(*operand == Value::Bool(false));
        }
        return Err(invalid(visit, variable));
    };
    if let Some(asked) = operator.strip_prefix("Is") {
        let is = match asked {
            "Present" => true,
            "Null" => value.is_null(),
            "Numeric" => value.is_number(),
            "String" => value.is_string(),
            "Boolean" => value.is_boolean(),
            _ => value.as_str().and_then(scalar::instant).is_some(),
        };
        return Ok(Value::Bool(is) == *operand);
    }
    let (operator, other) = match operator.strip_suffix("Path") {
        Some(operator) => {
            let path = operand.as_str().expect("the operand is a path");
            (operator, visit.look(path, data).ok_or_else(|| invalid(visit, path))?)
        }
        None => (operator.as_str(), operand.clone()),
    };
    Ok(test(operator, &value, &other))
}

fn invalid(visit: &Visit<'_>, path: &str) -> Failure {
    visit.runtime(&format!("Invalid path '{path}': The choice state's condition path references an invalid value."))
}

/// A type mismatch is false.
fn test(operator: &str, value: &Value, other: &Value) -> bool {
    if operator == "StringMatches" {
        return matches!((value, other), (Value::String(text), Value::String(pattern)) if glob(&pieces(pattern), &text.chars().collect::<Vec<_>>()));
    }
    let (order, relation) = if let Some(relation) = operator.strip_prefix("String") {
        let order = value.as_str().zip(other.as_str()).map(|(a, b)| a.encode_utf16().cmp(b.encode_utf16()));
        (order, relation)
    } else if let Some(relation) = operator.strip_prefix("Numeric") {
        (value.as_number().zip(other.as_number()).and_then(|(a, b)| scalar::compare_numbers(a, b)), relation)
    } else if let Some(relation) = operator.strip_prefix("Timestamp") {
        let instant = |value: &Value| value.as_str().and_then(scalar::instant);
        (instant(value).zip(instant(other)).map(|(a, b)| a.cmp(&b)), relation)
    } else {
        let order = value.as_bool().zip(other.as_bool()).filter(|(a, b)| a == b).map(|_| Ordering::Equal);
        (order, "Equals")
    };
    let Some(order) = order else { return false };
    match relation {
        "Equals" => order.is_eq(),
        "LessThan" => order.is_lt(),
        "GreaterThan" => order.is_gt(),
        "LessThanEquals" => order.is_le(),
        _ => order.is_ge(),
    }
}

/// A pattern's characters; `None` is a star.
fn pieces(pattern: &str) -> Vec<Option<char>> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '*' => None,
            '\\' => characters.next(),
            other => Some(other),
        });
    }
    pieces
}

fn glob(pattern: &[Option<char>], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((None, rest)) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        Some((Some(wanted), rest)) => text.split_first().is_some_and(|(found, text)| found == wanted && glob(rest, text)),
    }
}
