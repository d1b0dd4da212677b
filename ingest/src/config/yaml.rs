//! YAML 1.2 into JSON values, members in their order: `yes`, `on` and their like are texts, only `true` and `false` are truth values.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads one YAML document; the error is a sentence with line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    parse_as(text)
}

/// Reads one YAML document as some type; the error is a sentence with line and column.
pub(crate) fn parse_as<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_and_false_are_truth_values() {
        assert_eq!(parse("[yes, on, N, true, 'false', 12, ~]").map(|value| value.to_string()), Ok(r#"["yes","on","N",true,"false",12,null]"#.to_owned()));
    }

    #[test]
    fn errors_have_a_place() {
        let problem = parse("a: 1\nb: [").expect_err("broken");
        assert!(problem.contains("line 2") && !problem.contains('\n'), "{problem}");
    }
}
