//! What stands beside a transition: a condition in few words, the errors of a catcher.

use expressway_engine::hir::{Comparison, Condition, Operand, Operator, TypeTest};

/// Longest label, in characters: what still fits between two states.
const LABEL_CHARACTERS_MAX: usize = 64;

/// A condition, shortened where it is long.
pub(super) fn condition(condition: &Condition) -> String {
    shorten(&full(condition, false))
}

/// The errors that a catcher takes.
pub(super) fn errors(names: &[String]) -> String {
    shorten(&format!("catch {}", names.join(", ")))
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= LABEL_CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(LABEL_CHARACTERS_MAX - 1).chain("…".chars()).collect()
}

/// Rules nest only so deep as lowering allows, which bounds the recursion.
fn full(condition: &Condition, inside: bool) -> String {
    let joined = |parts: &[Condition], word: &str| {
        let parts: Vec<_> = parts.iter().map(|part| full(part, true)).collect();
        let text = parts.join(word);
        if inside && parts.len() > 1 { format!("({text})") } else { text }
    };
    match condition {
        Condition::And(parts) => joined(parts, " and "),
        Condition::Or(parts) => joined(parts, " or "),
        Condition::Not(part) => format!("not ({})", full(part, false)),
        Condition::Test { variable, operator } => format!("{variable} {}", operation(operator)),
    }
}

fn operation(operator: &Operator) -> String {
    let quoted = |operand: &Operand<String>| match operand {
        Operand::Literal(text) => format!("\"{text}\""),
        Operand::Path(path) => path.to_string(),
    };
    let bare = |operand: &Operand<String>| match operand {
        Operand::Literal(text) => text.clone(),
        Operand::Path(path) => path.to_string(),
    };
    match operator {
        Operator::String(comparison, operand) => format!("{} {}", sign(*comparison), quoted(operand)),
        Operator::Numeric(comparison, operand) | Operator::Timestamp(comparison, operand) => format!("{} {}", sign(*comparison), bare(operand)),
        Operator::Boolean(Operand::Literal(value)) => format!("= {value}"),
        Operator::Boolean(Operand::Path(path)) => format!("= {path}"),
        Operator::StringMatches(pieces) => format!("matches \"{}\"", pieces.join("*")),
        Operator::Is(test, true) => format!("is {}", word(*test)),
        Operator::Is(test, false) => format!("is not {}", word(*test)),
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equals => "=",
        Comparison::LessThan => "<",
        Comparison::GreaterThan => ">",
        Comparison::LessThanEquals => "<=",
        Comparison::GreaterThanEquals => ">=",
    }
}

fn word(test: TypeTest) -> &'static str {
    match test {
        TypeTest::Null => "null",
        TypeTest::Present => "present",
        TypeTest::Numeric => "a number",
        TypeTest::String => "a string",
        TypeTest::Boolean => "a boolean",
        TypeTest::Timestamp => "a timestamp",
    }
}

#[cfg(test)]
mod tests {
    use expressway_engine::hir::{StateKind, WorkflowType, lower};

    use super::*;

    fn label(rule: &str) -> String {
        let text =
            format!(r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{{{rule},"Next":"S"}}],"Default":"S"}},"S":{{"Type":"Succeed"}}}}}}"#);
        let machine = lower(&text, WorkflowType::Express).expect("valid").machine;
        let found = machine.states().iter().find_map(|state| match &state.kind {
            StateKind::Choice(choice) => Some(condition(&choice.rules[0].condition)),
            _ => None,
        });
        found.expect("a Choice")
    }

    #[test]
    fn conditions_read_like_sentences() {
        assert_eq!(label(r#""Variable":"$.a","StringEquals":"x""#), r#"$.a = "x""#);
        assert_eq!(label(r#""Variable":"$.a","NumericLessThanEqualsPath":"$.b""#), "$.a <= $.b");
        assert_eq!(label(r#""Variable":"$.a","TimestampGreaterThan":"2026-01-01T00:00:00Z""#), "$.a > 2026-01-01T00:00:00Z");
        assert_eq!(label(r#""Variable":"$.a","BooleanEquals":true"#), "$.a = true");
        assert_eq!(label(r#""Variable":"$.a","StringMatches":"a*b""#), r#"$.a matches "a*b""#);
        assert_eq!(label(r#""Variable":"$.a","IsPresent":false"#), "$.a is not present");
    }

    #[test]
    fn parts_are_in_brackets_only_where_they_must_be() {
        let (a, b) = (r#"{"Variable":"$.a","IsNull":true}"#, r#"{"Variable":"$.b","IsNull":true}"#);
        assert_eq!(label(&format!(r#""Or":[{a},{{"And":[{a},{b}]}}]"#)), "$.a is null or ($.a is null and $.b is null)");
        assert_eq!(label(&format!(r#""Not":{{"Or":[{a},{b}]}}"#)), "not ($.a is null or $.b is null)");
    }

    #[test]
    fn what_is_long_is_cut() {
        let text = label(&format!(r#""Variable":"$.a","StringEquals":"{}""#, "é".repeat(200)));
        assert_eq!((text.chars().count(), text.ends_with('…')), (LABEL_CHARACTERS_MAX, true));
    }
}
