//! Choice rules: the 39 operators with `And`, `Or`, `Not` (spec/asl.md 6.2).

use crate::diagnostic::Code;
use crate::hir::limits::RULE_DEPTH_MAX;
use crate::hir::{Comparison, Condition, Operand, Operator, TypeTest};

use super::ast::{ChoiceRule, QueryLanguage};
use super::reader::{Member, Node, Reader};
use super::time::is_rfc3339;

/// The members of which a rule has exactly one, in the order of AWS's message.
const SELECTORS: [&str; 5] = ["And", "Or", "Not", "Variable", "Condition"];

/// An operator by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    String(Comparison),
    Numeric(Comparison),
    Timestamp(Comparison),
    Boolean,
    StringMatches,
    Is(TypeTest),
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("Equals", Comparison::Equals),
    ("LessThan", Comparison::LessThan),
    ("GreaterThan", Comparison::GreaterThan),
    ("LessThanEquals", Comparison::LessThanEquals),
    ("GreaterThanEquals", Comparison::GreaterThanEquals),
];

const TYPE_TESTS: [(&str, TypeTest); 6] = [
    ("IsNull", TypeTest::Null),
    ("IsPresent", TypeTest::Present),
    ("IsNumeric", TypeTest::Numeric),
    ("IsString", TypeTest::String),
    ("IsBoolean", TypeTest::Boolean),
    ("IsTimestamp", TypeTest::Timestamp),
];

/// A prefix of spellings, and what an operator with it is.
type Family = (&'static str, fn(Comparison) -> Name);

const FAMILIES: [Family; 3] = [("String", Name::String), ("Numeric", Name::Numeric), ("Timestamp", Name::Timestamp)];

/// The operator of this spelling, and whether its operand is a path.
fn named(spelling: &str) -> Option<(Name, bool)> {
    if spelling == "StringMatches" {
        return Some((Name::StringMatches, false));
    }
    if let Some(&(_, test)) = TYPE_TESTS.iter().find(|(known, _)| *known == spelling) {
        return Some((Name::Is(test), false));
    }
    let (stem, is_path) = spelling.strip_suffix("Path").map_or((spelling, false), |stem| (stem, true));
    if stem == "BooleanEquals" {
        return Some((Name::Boolean, is_path));
    }
    FAMILIES.iter().find_map(|(family, name)| {
        let suffix = stem.strip_prefix(family)?;
        let &(_, comparison) = COMPARISONS.iter().find(|(known, _)| *known == suffix)?;
        Some((name(comparison), is_path))
    })
}

/// The spellings of all operators, for messages.
fn spellings() -> Vec<String> {
    let comparing = FAMILIES.iter().flat_map(|(family, _)| COMPARISONS.iter().map(move |(suffix, _)| format!("{family}{suffix}")));
    let with_path = comparing.chain(["BooleanEquals".to_owned()]).flat_map(|spelling| [format!("{spelling}Path"), spelling].into_iter().rev());
    let without_path = ["StringMatches"].into_iter().chain(TYPE_TESTS.iter().map(|&(spelling, _)| spelling)).map(str::to_owned);
    with_path.chain(without_path).collect()
}

impl Reader<'_> {
    /// The rules of a Choice.
    pub(super) fn choices(&mut self, node: &Node, language: QueryLanguage) -> Vec<ChoiceRule> {
        self.some_elements(node).iter().map(|element| self.top_rule(element, language)).collect()
    }

    fn top_rule(&mut self, node: &Node, language: QueryLanguage) -> ChoiceRule {
        let mut rule = ChoiceRule { place: node.place.clone(), condition: None, next: None, assign: None };
        let mut members = self.members(node);
        let has_next = members.iter().any(|member| member.name == "Next");
        members.retain(|member| match member.name.as_str() {
            "Next" => {
                rule.next = self.located_string(&member.node);
                false
            }
            "Assign" => {
                rule.assign = self.assign(&member.node, language);
                false
            }
            "Output" if language == QueryLanguage::Jsonata => false,
            _ => true,
        });
        if !has_next && self.is_object(node) {
            self.schema(&node.place, "These fields are required: [Next]");
        }
        match language {
            QueryLanguage::JsonPath => rule.condition = self.condition(node, &members, 0),
            QueryLanguage::Jsonata => self.jsonata_rule(node, &members),
        }
        rule
    }

    fn jsonata_rule(&mut self, node: &Node, members: &[Member]) {
        let mut wanted = self.is_object(node);
        for member in members {
            match member.name.as_str() {
                "Condition" => wanted = false,
                "Comment" => self.comment(&member.node),
                name if SELECTORS.contains(&name) || named(name).is_some() => {
                    self.schema(
                        &node.place,
                        format!("The QueryLanguage is set to 'JSONata', but field '{name}' is only supported for the 'JSONPath' QueryLanguage"),
                    );
                }
                _ => self.unsupported(&node.place, member, &["Condition", "Next", "Assign", "Output", "Comment"]),
            }
        }
        if wanted {
            self.schema(&node.place, "These fields are required: [Condition]");
        }
    }

    fn nested_rule(&mut self, node: &Node, depth: usize) -> Option<Condition> {
        if depth > RULE_DEPTH_MAX {
            self.error(Code::TooDeeplyNested, &node.place, format!("Choice rules nest at most {RULE_DEPTH_MAX} deep"));
            return None;
        }
        let members = self.members(node);
        self.condition(node, &members, depth)
    }

    /// A rule without its `Next`; at most [`RULE_DEPTH_MAX`] levels deep.
    fn condition(&mut self, node: &Node, members: &[Member], depth: usize) -> Option<Condition> {
        let (mut tests, mut unknown) = (Vec::new(), Vec::new());
        for member in members {
            match named(&member.name) {
                Some((name, is_path)) => tests.push((name, is_path, member)),
                None if member.name == "Comment" => self.comment(&member.node),
                None if SELECTORS.contains(&member.name.as_str()) => {}
                None => unknown.push(member),
            }
        }
        if !unknown.is_empty() {
            let operators = spellings();
            let outer: &[&str] = if depth == 0 { &["Next", "Assign"] } else { &[] };
            let allowed: Vec<&str> =
                ["Variable", "And", "Or", "Not", "Comment"].iter().chain(outer).copied().chain(operators.iter().map(String::as_str)).collect();
            unknown.iter().for_each(|member| self.unsupported(&node.place, member, &allowed));
        }
        let selectors: Vec<&Member> = members.iter().filter(|member| SELECTORS.contains(&member.name.as_str())).collect();
        let [selector] = selectors[..] else {
            if !members.is_empty() || self.is_object(node) {
                self.schema(&node.place, format!("The object must have only one of the following fields, [{}]", SELECTORS.join(", ")));
            }
            return None;
        };
        if selector.name != "Variable" {
            for (_, _, member) in &tests {
                self.unsupported(&node.place, member, &[&selector.name, "Comment"]);
            }
        }
        match selector.name.as_str() {
            "And" => self.nested_rules(&selector.node, depth).map(Condition::And),
            "Or" => self.nested_rules(&selector.node, depth).map(Condition::Or),
            "Not" => self.nested_rule(&selector.node, depth + 1).map(|rule| Condition::Not(Box::new(rule))),
            "Variable" => self.test(node, &selector.node, &tests, !unknown.is_empty()),
            _ => {
                self.wrong_language(&node.place, "Condition", QueryLanguage::JsonPath);
                None
            }
        }
    }

    fn nested_rules(&mut self, node: &Node, depth: usize) -> Option<Vec<Condition>> {
        let rules: Vec<_> = self.some_elements(node).iter().map(|element| self.nested_rule(element, depth + 1)).collect();
        rules.into_iter().collect()
    }

    /// `Variable` with its operator; a misspelt one has had its finding.
    fn test(&mut self, node: &Node, variable: &Node, tests: &[(Name, bool, &Member)], has_unknown: bool) -> Option<Condition> {
        let variable = self.choice_path(variable);
        let operators: Vec<_> = tests.iter().map(|&(name, is_path, member)| self.operator(name, is_path, &member.node)).collect();
        match tests {
            [_] => Some(Condition::Test { variable: variable?, operator: operators.into_iter().next()?? }),
            [] if has_unknown => None,
            [] => {
                self.schema(&node.place, format!("This object should have only one of the following fields: [{}]", spellings().join(", ")));
                None
            }
            _ => {
                let found: Vec<&str> = tests.iter().map(|(_, _, member)| member.name.as_str()).collect();
                self.schema(&node.place, format!("There should only be one of the following fields: [{}]", found.join(", ")));
                None
            }
        }
    }

    fn operator(&mut self, name: Name, is_path: bool, node: &Node) -> Option<Operator> {
        if is_path {
            let path = self.choice_path(node)?;
            return Some(match name {
                Name::String(comparison) => Operator::String(comparison, Operand::Path(path)),
                Name::Numeric(comparison) => Operator::Numeric(comparison, Operand::Path(path)),
                Name::Timestamp(comparison) => Operator::Timestamp(comparison, Operand::Path(path)),
                Name::Boolean => Operator::Boolean(Operand::Path(path)),
                Name::StringMatches | Name::Is(_) => return None,
            });
        }
        Some(match name {
            Name::String(comparison) => Operator::String(comparison, Operand::Literal(self.string(node)?)),
            Name::Numeric(comparison) => Operator::Numeric(comparison, Operand::Literal(self.number(node)?)),
            Name::Timestamp(comparison) => Operator::Timestamp(comparison, Operand::Literal(self.timestamp(node)?)),
            Name::Boolean => Operator::Boolean(Operand::Literal(self.boolean(node)?)),
            Name::StringMatches => Operator::StringMatches(self.pattern(node)?),
            Name::Is(test) => Operator::Is(test, self.boolean(node)?),
        })
    }

    /// A timestamp in a Choice or a Wait.
    pub(super) fn timestamp(&mut self, node: &Node) -> Option<String> {
        let text = self.string(node)?;
        if is_rfc3339(&text) {
            return Some(text);
        }
        self.schema(&node.place, "String does not match RFC3339 timestamp").hint =
            Some("write it like 2030-01-31T12:00:00Z: an upper-case T, and Z or an offset such as +01:00".to_owned());
        None
    }

    fn pattern(&mut self, node: &Node) -> Option<Vec<String>> {
        let text = self.string(node)?;
        match pieces(&text) {
            Ok(pieces) => Some(pieces),
            Err(escape) => {
                self.schema(&node.place, format!("Invalid escape sequence '{escape}' in the pattern")).hint =
                    Some("only '\\*' and '\\\\' are escapes".to_owned());
                None
            }
        }
    }
}

/// The texts between the stars of a pattern; the error is an escape that does not exist.
fn pieces(pattern: &str) -> Result<Vec<String>, String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => pieces.push(std::mem::take(&mut piece)),
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => piece.push(escaped),
                Some(other) => return Err(format!("\\{other}")),
                None => return Err("\\".to_owned()),
            },
            other => piece.push(other),
        }
    }
    pieces.push(piece);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_nine_operators() {
        let mut found: Vec<String> = spellings();
        assert!(found.iter().all(|spelling| named(spelling).is_some()));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 39);
        assert_eq!(named("TimestampGreaterThanEqualsPath"), Some((Name::Timestamp(Comparison::GreaterThanEquals), true)));
        assert!(["StringMatchesPath", "IsNullPath", "String", "StringEqual", "BooleanLessThan", "Path"].iter().all(|spelling| named(spelling).is_none()));
    }

    #[test]
    fn patterns_split_at_unescaped_stars() {
        assert_eq!(pieces("log-*.txt"), Ok(vec!["log-".to_owned(), ".txt".to_owned()]));
        assert_eq!(pieces(r"a\*b\\*"), Ok(vec![r"a*b\".to_owned(), String::new()]));
        assert_eq!(pieces("**"), Ok(vec![String::new(); 3]));
        assert_eq!(pieces("x"), Ok(vec!["x".to_owned()]));
        assert_eq!(pieces(r"a\?"), Err(r"\?".to_owned()));
        assert_eq!(pieces("a\\"), Err("\\".to_owned()));
    }
}
