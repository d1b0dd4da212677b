//! A definition in YAML as the JSON text that the engine reads, with a mark for each key and value: where it stands in the YAML.
//!
//! The engine counts places in the JSON text. Every finding of it begins at a key or at a value, so the nearest mark before it says where that is in the author's file.

use expressway_engine::diagnostic::{Diagnostic, Position};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use crate::config::yaml::{self, Tree};

/// YAML and the JSON that it became.
#[derive(Debug)]
pub struct Marked {
    /// The YAML text.
    pub source: String,
    /// By offset in the JSON text, in ascending order.
    marks: Vec<(usize, Position)>,
}

impl Marked {
    /// Turns YAML into JSON text, one member a line, members in their order.
    ///
    /// # Errors
    /// A sentence with line and column, when it is not YAML or has no JSON form.
    pub fn read(source: String) -> Result<(String, Self), String> {
        let tree: Spanned<Tree> = yaml::parse_as(&source).map_err(|problem| format!("it is not valid YAML: {problem}"))?;
        let mut writer = Writer { json: String::new(), marks: Vec::new() };
        writer.value(&tree, 0);
        Ok((writer.json, Self { source, marks: writer.marks }))
    }

    /// Where the JSON's byte `offset` comes from.
    #[must_use]
    pub fn position(&self, offset: usize) -> Option<Position> {
        let behind = self.marks.partition_point(|(at, _)| *at <= offset);
        behind.checked_sub(1).map(|index| self.marks[index].1)
    }

    /// Puts the position of findings from the JSON into the YAML.
    pub fn place(&self, findings: &mut [Diagnostic]) {
        for finding in findings {
            finding.position = finding.position.and_then(|position| self.position(position.offset as usize));
        }
    }
}

/// Writes a tree as serde_json's pretty form, with marks.
struct Writer {
    json: String,
    marks: Vec<(usize, Position)>,
}

impl Writer {
    /// The recursion is bounded by the depth that the YAML parser allows.
    fn value(&mut self, tree: &Spanned<Tree>, depth: usize) {
        self.mark(tree.referenced);
        match &tree.value {
            Tree::Scalar(value) => self.json.push_str(&value.to_string()),
            Tree::List(list) if list.is_empty() => self.json.push_str("[]"),
            Tree::Object(members) if members.is_empty() => self.json.push_str("{}"),
            Tree::List(list) => {
                for (index, element) in list.iter().enumerate() {
                    self.begin_line(if index == 0 { "[" } else { "," }, depth + 1);
                    self.value(element, depth + 1);
                }
                self.begin_line("", depth);
                self.json.push(']');
            }
            Tree::Object(members) => {
                for (index, (key, value)) in members.iter().enumerate() {
                    self.begin_line(if index == 0 { "{" } else { "," }, depth + 1);
                    self.mark(key.referenced);
                    self.json.push_str(&Value::from(key.value.as_str()).to_string());
                    self.json.push_str(": ");
                    self.value(value, depth + 1);
                }
                self.begin_line("", depth);
                self.json.push('}');
            }
        }
    }

    fn begin_line(&mut self, before: &str, depth: usize) {
        self.json.push_str(before);
        self.json.push('\n');
        self.json.push_str(&"  ".repeat(depth));
    }

    /// What begins here comes from `location`; a place that is not known leaves it to the mark before.
    fn mark(&mut self, location: Location) {
        let Some(offset) = location.span().byte_offset().filter(|_| location.line() > 0) else { return };
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.marks.push((self.json.len(), Position { line: narrow(location.line()), column: narrow(location.column()), offset: narrow(offset) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# é first\nStartAt: B\nStates:\n  B:\n    Type: Pass\n    Result: {z: 1, \"a b\": [yes, 1.5, null, 'x']}\n    End: true\n";

    #[test]
    fn the_json_is_what_it_was_without_marks() {
        let scalars = "[0x10, 1e3, 1.10, -0, 123456789012345678901234567890, 18446744073709551615, true, no, ~, '', \"\\u00e9\", 2026-01-01, .5]";
        for text in [YAML, "{}", "[]", "a: []\nb: {}\nc:\n- [1]\n- x: 2\n", "a: &x {k: 1}\nb: *x\n", "a: |\n  two\n  lines\n", scalars] {
            let (json, _) = Marked::read(text.to_owned()).expect("YAML");
            let expected = serde_json::to_string_pretty(&yaml::parse(text).expect("YAML")).expect("JSON");
            assert_eq!(json, expected, "{text}");
        }
    }

    #[test]
    fn keys_and_values_have_the_places_of_the_yaml() {
        let (json, marked) = Marked::read(YAML.to_owned()).expect("YAML");
        for (part, line, column) in
            [("\"StartAt\"", 2, 1), ("\"B\",", 2, 10), ("\"Result\"", 6, 5), ("\"a b\"", 6, 20), ("1.5", 6, 33), ("\"End\"", 7, 5), ("true", 7, 10)]
        {
            let offset = json.find(part).expect("there");
            let position = marked.position(offset).expect("known");
            assert_eq!((position.line, position.column), (line, column), "{part}");
            let there = YAML.get(position.offset as usize..).expect("on a character");
            assert!(there.starts_with(part.trim_matches(['"', ','])) || there.starts_with(part), "{part}: {there}");
        }
    }

    #[test]
    fn broken_yaml_has_a_place_too() {
        let problem = Marked::read("a: 1\nb: [".to_owned()).expect_err("broken");
        assert!(problem.contains("line 2") && !problem.contains('\n'), "{problem}");
        assert!(Marked::read("a: 1\na: 2\n".to_owned()).is_err());
    }
}
