//! YAML 1.2 into JSON values, members in their order: `yes`, `on` and their like are texts, only `true` and `false` are truth values.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

/// Reads one YAML document; the error is a sentence with line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    parse_as(text)
}

/// Reads one YAML document as some type; the error is a sentence with line and column.
pub(crate) fn parse_as<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// A value of YAML, every part of it with its place.
#[derive(Debug)]
pub(crate) enum Tree {
    Scalar(Value),
    List(Vec<Spanned<Tree>>),
    Object(Vec<(Spanned<String>, Spanned<Tree>)>),
}

struct TreeVisitor;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Tree, E> {
        Number::from_i128(value).map(|number| Tree::Scalar(number.into())).ok_or_else(|| E::custom("the number is too large"))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Tree, E> {
        Number::from_u128(value).map(|number| Tree::Scalar(number.into())).ok_or_else(|| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        // Infinities and their like have no JSON form; null is what serde_json makes of them.
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object: Vec<(Spanned<String>, Spanned<Tree>)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(member) = members.next_entry::<Spanned<String>, Spanned<Tree>>()? {
            if !names.insert(member.0.value.clone()) {
                return Err(A::Error::custom(format!("the key \"{}\" stands twice", member.0.value)));
            }
            object.push(member);
        }
        Ok(Tree::Object(object))
    }
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
