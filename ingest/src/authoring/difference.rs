//! What a case expects against what was found, place by place.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// One place at which expectation and finding differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `status`, `output.a[2]`, `path`, …
    pub place: String,
    /// What should be there; `None` for nothing.
    pub expected: Option<String>,
    /// What is there; `None` for nothing.
    pub found: Option<String>,
}

/// Differences of one value that are told; the rest is counted in one more.
const TOLD_MAX: usize = 20;

/// Longest value shown, in characters.
const SHOWN_MAX: usize = 400;

impl Difference {
    /// A difference between two texts.
    #[must_use]
    pub fn new(place: &str, expected: Option<&str>, found: Option<&str>) -> Self {
        Self { place: place.to_owned(), expected: expected.map(str::to_owned), found: found.map(str::to_owned) }
    }
}

/// Where two JSON values differ: members unordered, elements ordered, numbers by value. With `may_have_more`, `found` may have members that `expected` has not.
#[must_use]
pub fn between(place: &str, expected: &Value, found: &Value, may_have_more: bool) -> Vec<Difference> {
    let mut comparison = Comparison { may_have_more, told: Vec::new(), untold: 0 };
    comparison.at(place, Some(expected), Some(found));
    if comparison.untold > 0 {
        comparison.told.push(Difference::new(place, None, Some(&format!("{} further differences", comparison.untold))));
    }
    comparison.told
}

struct Comparison {
    may_have_more: bool,
    told: Vec<Difference>,
    untold: usize,
}

impl Comparison {
    /// Recursion is bounded by the depth that the two parsers allow.
    fn at(&mut self, place: &str, expected: Option<&Value>, found: Option<&Value>) {
        match (expected, found) {
            (Some(Value::Object(wanted)), Some(Value::Object(there))) => {
                for (key, value) in wanted {
                    self.at(&member(place, key), Some(value), there.get(key));
                }
                let may_have_more = self.may_have_more;
                for (key, value) in there.iter().filter(|(key, _)| !may_have_more && !wanted.contains_key(*key)) {
                    self.at(&member(place, key), None, Some(value));
                }
            }
            (Some(Value::Array(wanted)), Some(Value::Array(there))) => {
                for index in 0..wanted.len().max(there.len()) {
                    self.at(&format!("{place}[{index}]"), wanted.get(index), there.get(index));
                }
            }
            (Some(Value::Number(wanted)), Some(Value::Number(there))) if same_number(wanted, there) => {}
            (Some(wanted), Some(there)) if wanted == there => {}
            _ if self.told.len() >= TOLD_MAX => self.untold += 1,
            _ => self.told.push(Difference { place: place.to_owned(), expected: expected.map(shown), found: found.map(shown) }),
        }
    }
}

fn member(place: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    if is_plain { format!("{place}.{key}") } else { format!("{place}[{}]", Value::from(key)) }
}

/// A value as a report shows it.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX { text } else { text.chars().take(SHOWN_MAX).chain("…".chars()).collect() }
}

/// Whether two spellings are the same number: `1`, `1.0` and `1e0` are. Whole numbers compare exactly, the others as doubles.
#[must_use]
pub fn same_number(one: &Number, other: &Number) -> bool {
    let (one, other) = (one.to_string(), other.to_string());
    if one == other {
        return true;
    }
    match (one.parse::<i128>(), other.parse::<i128>()) {
        (Ok(one), Ok(other)) => one == other,
        // YAML and JSON spell fractions and exponents in many ways; a double tells them apart well enough.
        _ => matches!((one.parse::<f64>(), other.parse::<f64>()), (Ok(one), Ok(other)) if one.partial_cmp(&other) == Some(Ordering::Equal)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(expected: &Value, found: &Value, may_have_more: bool) -> Vec<String> {
        between("output", expected, found, may_have_more).into_iter().map(|difference| difference.place).collect()
    }

    #[test]
    fn members_are_unordered_elements_ordered_and_numbers_by_value() {
        assert!(places(&json!({"a": 1, "b": [1, 2.0]}), &json!({"b": [1.0, 2], "a": 1}), false).is_empty());
        assert_eq!(places(&json!([1, 2]), &json!([2, 1]), false), ["output[0]", "output[1]"]);
        assert_eq!(places(&json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64), false), ["output"]);
        assert_eq!(places(&json!(1), &json!("1"), false), ["output"]);
        assert_eq!(places(&json!(null), &json!(false), false), ["output"]);
    }

    #[test]
    fn all_that_is_missing_or_too_much_is_told_by_its_place() {
        let (expected, found) = (json!({"a": {"b c": 1}, "gone": 2, "l": [1]}), json!({"a": {"b c": 3}, "l": [1, 2], "new": null}));
        assert_eq!(places(&expected, &found, false), ["output.a[\"b c\"]", "output.gone", "output.l[1]", "output.new"]);
        assert_eq!(places(&expected, &found, true), ["output.a[\"b c\"]", "output.gone", "output.l[1]"]);
        let told = between("output", &expected, &found, false);
        assert_eq!(told[1], Difference::new("output.gone", Some("2"), None));
        assert_eq!(told[3], Difference::new("output.new", None, Some("null")));
    }

    #[test]
    fn many_differences_are_counted() {
        let (expected, found) = (json!(vec![0; 100]), json!(vec![1; 100]));
        let told = between("output", &expected, &found, false);
        assert_eq!((told.len(), told[TOLD_MAX].found.as_deref()), (TOLD_MAX + 1, Some("80 further differences")));
    }
}
