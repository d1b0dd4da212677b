//! Outputs compared as JSON: members in any order, numbers by their value.

use serde_json::Value;

/// Whether both are the same JSON. Writers may spell a number as they like: 0.40 is 0.4.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64().is_some_and(|value| other.as_f64() == Some(value)),
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

/// Compares an output with what is expected; the text says what is wrong.
///
/// # Errors
/// They differ, or one is no JSON.
pub(super) fn check(output: &[u8], expected: &[u8]) -> Result<(), String> {
    let wrong = || format!("wrong output {}, expected {}", String::from_utf8_lossy(output), String::from_utf8_lossy(expected));
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).map_err(|_| wrong());
    if same(&read(output)?, &read(expected)?) { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(one: &str, other: &str) -> bool {
        check(one.as_bytes(), other.as_bytes()).is_ok()
    }

    #[test]
    fn order_of_members_and_spelling_of_numbers_do_not_matter() {
        assert!(is_same(r#"{"a":0.40,"b":[1,{"c":null}]}"#, r#"{"b":[1.0,{"c":null}],"a":0.4}"#));
        assert!(is_same("1e2", "100"));
    }

    #[test]
    fn anything_else_does() {
        for (one, other) in
            [(r#"{"a":1}"#, r#"{"a":1,"b":1}"#), (r#"{"a":1}"#, r#"{"b":1}"#), ("[1,2]", "[2,1]"), ("0.4", "0.41"), ("1", "\"1\""), ("[1]", "[1,1]")]
        {
            assert!(!is_same(one, other) && !is_same(other, one), "{one} {other}");
        }
        assert_eq!(check(b"oops", b"{}").unwrap_err(), "wrong output oops, expected {}");
    }
}
