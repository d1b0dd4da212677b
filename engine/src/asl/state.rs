//! States: each field of any type, by name.

use crate::diagnostic::{Code, nearest};
use crate::hir::limits::{COUNT_MAX, STATE_NAME_CHARS_MAX};
use crate::hir::{Concurrency, FailText, Seconds, Template};

use super::ast::{Fields, Key, Located, Place, QueryLanguage, State, StateType, SubMachine};
use super::parse::Level;
use super::reader::{Member, Node, Reader};

/// Characters of a Map's `Label`.
const LABEL_CHARS_MAX: usize = 40;

/// Characters that a label may not hold, besides blanks and control characters (spec/asl.md 1.4).
const LABEL_FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// Fields that in JSONata states hold a literal as elsewhere, or an expression (spec/asl.md 1.2).
const LITERAL_OR_EXPRESSION: [&str; 10] = [
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Seconds",
    "Timestamp",
    "Error",
    "Cause",
    "MaxConcurrency",
    "ToleratedFailureCount",
    "ToleratedFailurePercentage",
    "Label",
];

/// Fields that are read in JSONata states as in others.
const STRUCTURE: [&str; 13] =
    ["Comment", "Next", "End", "Resource", "Credentials", "Assign", "Retry", "Catch", "Choices", "Default", "Branches", "ItemProcessor", "Iterator"];

impl Reader<'_> {
    /// One member of `States`.
    pub(super) fn state(&mut self, member: &Member, level: Level) -> State {
        let node = &member.node;
        let name = Located { value: member.name.clone(), place: Place { pointer: node.place.pointer.clone(), offset: member.key_offset } };
        self.check_state_name(&name);
        let members = self.members(node);
        let find = |field: &str| members.iter().find(|member| member.name == field).map(|member| member.node.clone());
        let own_query_language = find("QueryLanguage").and_then(|node| self.query_language(&node));
        self.check_language(own_query_language.as_ref(), level, &node.place);
        let query_language = own_query_language.as_ref().map_or(level.language, |own| own.value);
        let state_type = match find("Type") {
            Some(node) => self.state_type(&node),
            None => {
                if self.is_object(node) {
                    self.schema(&node.place, "These fields are required: [Type]");
                }
                None
            }
        };
        // States inside this one are read in between.
        let around = std::mem::take(&mut self.variables);
        let mut fields = Box::<Fields>::default();
        for member in &members {
            let name = member.name.as_str();
            let is_literal = || LITERAL_OR_EXPRESSION.contains(&name) && !self.is_expression(&member.node);
            if query_language == QueryLanguage::JsonPath || STRUCTURE.contains(&name) || is_literal() {
                self.field(member, query_language, level, &mut fields);
            }
        }
        let variables = std::mem::replace(&mut self.variables, around);
        let keys = members.into_iter().map(|member| Key { name: member.name, offset: member.key_offset }).collect();
        State { name, place: node.place.clone(), state_type, own_query_language, query_language, keys, variables, fields }
    }

    /// Whether a value of a JSONata state is computed; blanks outside of the braces make it a literal (spec/asl.md 2.2).
    fn is_expression(&self, node: &Node) -> bool {
        self.text_of(node).is_some_and(|text| text.len() >= 4 && text.starts_with("{%") && text.ends_with("%}"))
    }

    fn check_state_name(&mut self, name: &Located<String>) {
        let length = name.value.chars().count();
        if length == 0 {
            self.error(Code::InvalidStateName, &name.place, "State name is empty");
        } else if length > STATE_NAME_CHARS_MAX {
            self.error(Code::InvalidStateName, &name.place, format!("State name has {length} characters, limit is {STATE_NAME_CHARS_MAX}"));
        }
    }

    pub(super) fn query_language(&mut self, node: &Node) -> Option<Located<QueryLanguage>> {
        let languages = [QueryLanguage::JsonPath, QueryLanguage::Jsonata];
        let index = self.word(node, &languages.map(QueryLanguage::as_str))?;
        Some(Located { value: languages[index], place: node.place.clone() })
    }

    fn check_language(&mut self, own: Option<&Located<QueryLanguage>>, level: Level, place: &Place) {
        if level.language == QueryLanguage::Jsonata && own.is_some_and(|own| own.value == QueryLanguage::JsonPath) {
            self.schema(place, "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine");
        }
    }

    fn state_type(&mut self, node: &Node) -> Option<StateType> {
        let text = self.text_of(node);
        let found = StateType::ALL.into_iter().find(|state_type| Some(state_type.as_str()) == text.as_deref());
        if found.is_none() {
            let all = StateType::ALL.map(StateType::as_str).join(", ");
            let hint = match text.as_deref().map(|text| nearest(text, &StateType::ALL.map(StateType::as_str))) {
                Some(Some(near)) => Some(format!("did you mean '{near}'?")),
                Some(None) => None,
                None => Some(self.found(node)),
            };
            self.schema(&node.place, format!("The field 'Type' should have one of these values: [{all}]")).hint = hint;
        }
        found
    }

    /// Reads one field into its place; names that no state has are judged when the tree is lowered.
    fn field(&mut self, member: &Member, language: QueryLanguage, level: Level, fields: &mut Fields) {
        let node = &member.node;
        match member.name.as_str() {
            "Comment" => self.comment(node),
            "Next" => fields.next = self.located_string(node),
            "End" => fields.end = self.boolean(node),
            "InputPath" => fields.input_path = self.data_path(node),
            "OutputPath" => fields.output_path = self.data_path(node),
            "Parameters" => fields.parameters = self.template(node),
            "ResultSelector" => fields.result_selector = self.template(node),
            "ResultPath" => fields.result_path = self.result_path(node),
            "Assign" => fields.assign = self.assign(node, language),
            "Retry" => fields.retriers = self.retriers(node),
            "Catch" => fields.catchers = self.catchers(node, language),
            "Result" => {
                if self.has_computed_field(node) {
                    self.warning(Code::PassResultIsStatic, &node.place, "A Result is literal: its fields that end in '.$' are not computed").hint =
                        Some("use Parameters to compute the output".to_owned());
                }
                fields.result = Some(self.literal(node));
            }
            "Choices" => fields.choices = self.choices(node, language),
            "Default" => fields.default = self.located_string(node),
            "Branches" => fields.branches = Some(self.branches(node, level)),
            "ItemProcessor" | "Iterator" => fields.item_processor = self.processor(node, level),
            "Error" => fields.error = self.string(node).map(FailText::Literal),
            "ErrorPath" => fields.error = self.fail_path(node),
            "Cause" => fields.cause = self.string(node).map(FailText::Literal),
            "CausePath" => fields.cause = self.fail_path(node),
            _ => self.particular_field(member, language, fields),
        }
    }

    fn particular_field(&mut self, member: &Member, language: QueryLanguage, fields: &mut Fields) {
        let node = &member.node;
        match member.name.as_str() {
            "Resource" => fields.resource = self.located_string(node),
            "Credentials" => fields.role_arn = self.credentials(node, language),
            "TimeoutSeconds" => fields.timeout = self.integer(node, 1, COUNT_MAX).map(Seconds::Literal),
            "TimeoutSecondsPath" => fields.timeout = self.reference_path(node).map(Seconds::Path),
            "HeartbeatSeconds" => {
                fields.heartbeat = self.integer(node, 1, COUNT_MAX).map(|seconds| Located { value: Seconds::Literal(seconds), place: node.place.clone() })
            }
            "HeartbeatSecondsPath" => {
                fields.heartbeat = self.reference_path(node).map(|path| Located { value: Seconds::Path(path), place: node.place.clone() })
            }
            "Seconds" => fields.seconds = self.integer(node, 0, COUNT_MAX),
            "SecondsPath" => fields.seconds_path = self.reference_path(node),
            "Timestamp" => fields.timestamp = self.timestamp(node),
            "TimestampPath" => fields.timestamp_path = self.reference_path(node),
            "ItemsPath" => fields.items_path = self.reference_path(node),
            "ItemSelector" => fields.item_selector = self.template(node),
            "MaxConcurrency" => fields.max_concurrency = self.integer(node, 0, u32::MAX).map(Concurrency::Literal),
            "MaxConcurrencyPath" => fields.max_concurrency = self.reference_path(node).map(Concurrency::Path),
            "ToleratedFailureCount" => {
                self.integer(node, 0, u32::MAX);
            }
            "ToleratedFailurePercentage" => self.percentage(node),
            "ToleratedFailureCountPath" | "ToleratedFailurePercentagePath" => {
                self.reference_path(node);
            }
            "ItemReader" => self.item_reader(node),
            "ItemBatcher" => self.item_batcher(node),
            "ResultWriter" => self.result_writer(node),
            "Label" => self.label(node),
            _ => {}
        }
    }

    fn percentage(&mut self, node: &Node) {
        let Some(value) = self.number(node).and_then(|text| text.parse::<f64>().ok()) else { return };
        if !(0.0..=100.0).contains(&value) {
            self.schema(&node.place, if value < 0.0 { "Minimum value is 0" } else { "Maximum value is 100" });
        }
    }

    fn label(&mut self, node: &Node) {
        let Some(label) = self.string(node) else { return };
        let forbidden = |character: char| {
            character.is_whitespace()
                || character.is_control()
                || LABEL_FORBIDDEN.contains(character)
                || matches!(character, '\u{fffe}' | '\u{ffff}' | '\u{10ffff}')
        };
        if !(1..=LABEL_CHARS_MAX).contains(&label.chars().count()) {
            self.error(Code::InvalidLabelName, &node.place, format!("A Label has 1 to {LABEL_CHARS_MAX} characters, found {}", label.chars().count()));
        } else if let Some(found) = label.chars().find(|&character| forbidden(character)) {
            self.error(Code::InvalidLabelName, &node.place, format!("A Label may not hold {found:?}"));
        }
    }

    /// `Credentials`: an object that holds a role and nothing else.
    fn credentials(&mut self, node: &Node, language: QueryLanguage) -> Option<Template> {
        let members = self.members(node);
        if !self.is_object(node) {
            return None;
        }
        let is_role = |name: &str| name == "RoleArn" || (language == QueryLanguage::JsonPath && name == "RoleArn.$");
        if !members.iter().any(|member| is_role(&member.name)) {
            // The service says no word of other fields then.
            self.schema(&node.place, "The field 'RoleArn' is required but was missing");
            return None;
        }
        let mut literal = None;
        for member in &members {
            match member.name.as_str() {
                "RoleArn" => literal = self.string(&member.node).map(|_| self.literal(&member.node)),
                name if is_role(name) => {}
                _ => self.unsupported(&node.place, member, &["RoleArn", "RoleArn.$"]),
            }
        }
        if language == QueryLanguage::Jsonata {
            return None;
        }
        match self.template(node)? {
            Template::Object(fields) => fields.into_iter().find(|(name, _)| name == "RoleArn").map(|(_, role)| role),
            _ => literal.map(Template::Literal),
        }
    }

    fn branches(&mut self, node: &Node, level: Level) -> Vec<SubMachine> {
        let branches: Vec<_> = self.some_elements(node).iter().map(|element| self.branch(element, level)).collect();
        branches.into_iter().flatten().collect()
    }
}
