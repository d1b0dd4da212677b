//! Compares JSON values as the corpus wants it: members unordered, elements ordered, numbers by value, placeholders standing for any one text.

use std::collections::BTreeMap;

use expressway_ingest::authoring::difference::same_number;
use serde_json::Value;

/// Which text each numbered placeholder of the expectation stands for; one binding serves a whole case.
#[derive(Debug, Default, Clone)]
pub struct Bindings {
    by_placeholder: BTreeMap<String, String>,
}

/// The placeholders that stand for a text of which only the form is known.
const UUID: &str = "<uuid:";
const INPUT: &str = "<json-input:";

impl Bindings {
    /// Whether `actual` is what `expected` describes.
    ///
    /// # Errors
    /// Says where and how they differ.
    pub fn compare(&mut self, expected: &Value, actual: &Value) -> Result<(), String> {
        self.at("$", expected, actual)
    }

    fn at(&mut self, place: &str, expected: &Value, actual: &Value) -> Result<(), String> {
        match (expected, actual) {
            (Value::Object(want), Value::Object(have)) => {
                if let Some(key) = want.keys().find(|&key| !have.contains_key(key)) {
                    return Err(format!("{place} lacks the member '{key}'"));
                }
                if let Some(key) = have.keys().find(|&key| !want.contains_key(key)) {
                    return Err(format!("{place} has a member '{key}' too many"));
                }
                want.iter().try_for_each(|(key, value)| self.at(&format!("{place}.{key}"), value, &have[key]))
            }
            (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
                want.iter().zip(have).enumerate().try_for_each(|(index, (value, other))| self.at(&format!("{place}[{index}]"), value, other))
            }
            (Value::Array(want), Value::Array(have)) => Err(format!("{place} has {} elements, expected {}", have.len(), want.len())),
            (Value::String(want), Value::String(have)) if self.matches(want, have) => Ok(()),
            (Value::Number(want), Value::Number(have)) if same_number(want, have) => Ok(()),
            _ if expected == actual => Ok(()),
            _ => Err(format!("{place} is {}, expected {}", shorten(actual), shorten(expected))),
        }
    }

    /// Whether `have` is the text `want`, in which each numbered placeholder stands for one text of its form, the same everywhere.
    pub fn matches(&mut self, want: &str, have: &str) -> bool {
        if want == have {
            return true;
        }
        let Some(at) = [UUID, INPUT].iter().filter_map(|placeholder| want.find(placeholder)).min() else { return false };
        let (before, rest) = want.split_at(at);
        let Some(end) = rest.find('>') else { return false };
        let (placeholder, after) = rest.split_at(end + 1);
        let Some(candidate) = have.strip_prefix(before) else { return false };
        let length = if placeholder.starts_with(UUID) { uuid_length(candidate) } else { json_length(candidate) };
        let Some((bound, remainder)) = length.and_then(|length| candidate.split_at_checked(length)) else { return false };
        let known = self.by_placeholder.entry(placeholder.to_owned()).or_insert_with(|| bound.to_owned());
        known == bound && self.matches(after, remainder)
    }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 400 { text } else { text.chars().take(400).chain("…".chars()).collect() }
}

/// The length of a UUID at the start of `text`.
fn uuid_length(text: &str) -> Option<usize> {
    let form = |(index, byte): (usize, &u8)| if [8, 13, 18, 23].contains(&index) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.as_bytes().get(..36).filter(|bytes| bytes.iter().enumerate().all(form)).map(<[u8]>::len)
}

/// The length of a JSON object at the start of `text`.
fn json_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next()? {
        Ok(Value::Object(_)) => Some(values.byte_offset()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(expected: &Value, actual: &Value) -> bool {
        Bindings::default().compare(expected, actual).is_ok()
    }

    #[test]
    fn members_are_unordered_elements_ordered_and_numbers_by_value() {
        assert!(same(&json!({"a": 1, "b": [1, 2.0]}), &json!({"b": [1.0, 2], "a": 1})));
        assert!(!same(&json!([1, 2]), &json!([2, 1])));
        assert!(!same(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64)));
    }

    #[test]
    fn anything_missing_or_too_much_is_a_difference() {
        assert!(!same(&json!({"a": 1}), &json!({})));
        assert!(!same(&json!({}), &json!({"a": null})));
        assert!(!same(&json!([1]), &json!([1, 2])));
        assert!(!same(&json!(null), &json!(false)));
        assert!(!same(&json!("1"), &json!(1)));
    }

    #[test]
    fn a_placeholder_stands_for_one_text_only() {
        let (one, two) = ("0a0a0a0a-0000-4000-8000-000000000001", "0a0a0a0a-0000-4000-8000-000000000002");
        assert!(same(&json!(["<uuid:1>", "<uuid:1>", "<uuid:2>"]), &json!([one, one, two])));
        assert!(!same(&json!(["<uuid:1>", "<uuid:1>"]), &json!([one, two])));
        assert!(!same(&json!("<uuid:1>"), &json!("no uuid")));
        assert!(same(&json!("input '<json-input:1>'"), &json!("input '{\"a\": {}}'")));
        assert!(!same(&json!("input '<json-input:1>'"), &json!("input 'text'")));
    }
}
