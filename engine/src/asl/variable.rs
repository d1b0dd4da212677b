//! `Assign` and the names of variables (spec/asl.md 3).

use std::collections::HashSet;

use crate::hir::limits::VARIABLE_NAME_CHARS_MAX;

use super::ast::{Assign, Located, Place, QueryLanguage};
use super::reader::{Node, Reader};

/// The name that expressions already have.
const RESERVED: &str = "states";

/// Why `name` cannot be a variable's; `None` if it can.
pub(super) fn not_a_name(name: &str) -> Option<String> {
    let mut characters = name.chars();
    match characters.next() {
        None => return Some("a variable's name is not empty".to_owned()),
        Some(first) if !unicode_ident::is_xid_start(first) => return Some(format!("a variable's name begins with a letter, found '{first}'")),
        Some(_) => {}
    }
    if let Some(other) = characters.find(|&character| !unicode_ident::is_xid_continue(character)) {
        return Some(format!("a variable's name holds letters, digits and '_' only, found '{other}'"));
    }
    let length = name.chars().count();
    if length > VARIABLE_NAME_CHARS_MAX {
        return Some(format!("a variable's name has at most {VARIABLE_NAME_CHARS_MAX} characters, found {length}"));
    }
    None
}

impl Reader<'_> {
    /// `Assign`, wherever it stands. In a JSONata state only the names are read.
    pub(super) fn assign(&mut self, node: &Node, language: QueryLanguage) -> Option<Assign> {
        if language == QueryLanguage::JsonPath {
            self.remark_missing_dollars(node);
        }
        let mut assign = Assign { place: node.place.clone(), variables: Vec::new() };
        let mut seen = HashSet::new();
        for member in self.members(node) {
            let place = Place { pointer: node.place.pointer.clone(), offset: member.key_offset };
            let (name, value) = match (language, member.name.strip_suffix(".$")) {
                (QueryLanguage::JsonPath, Some(stem)) => (stem.to_owned(), self.computed(&member.name, &member.node, &node.place)),
                (QueryLanguage::JsonPath, None) => (member.name.clone(), self.bounded_template(&member.node)),
                (QueryLanguage::Jsonata, _) => (member.name.clone(), None),
            };
            if name == RESERVED {
                self.schema(&place, format!("The variable name '{RESERVED}' is reserved"));
            } else if let Some(reason) = not_a_name(&name) {
                self.schema(&place, format!("The variable name '{name}' is not valid")).hint = Some(reason);
            }
            if !seen.insert(name.clone()) {
                self.schema(&place, format!("The field '{name}' is there twice: as '{name}' and as '{name}.$'"));
            }
            assign.variables.push((Located { value: name, place }, value));
        }
        self.is_object(node).then_some(assign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_of_at_most_eighty_characters() {
        for name in ["x", "été", "a_1", "नमस्ते", &"x".repeat(VARIABLE_NAME_CHARS_MAX)] {
            assert_eq!(not_a_name(name), None, "{name}");
        }
        for name in ["", "1a", "_a", "a-b", "a.b", "a[0]", "a b", "$a", &"x".repeat(VARIABLE_NAME_CHARS_MAX + 1)] {
            assert!(not_a_name(name).is_some(), "{name}");
        }
    }
}
