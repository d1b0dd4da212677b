//! JSON text → ast, every finding kept.

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::document::{Document, Kind, Symbols};
use crate::hir::limits::{COUNT_MAX, DEFINITION_BYTES_MAX, MACHINE_DEPTH_MAX};

use super::ast::{ProcessorConfig, QueryLanguage, StateMachine, SubMachine};
use super::jackson;
use super::reader::{Node, Reader};

/// What states take from the levels around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// The machine's language: a state's own does not pass on to the states inside it (spec/asl.md 1.2).
    pub(super) language: QueryLanguage,
    /// Machines around this one.
    pub(super) depth: usize,
}

/// Reads a definition. The tree is missing when the text is not a JSON object; then there is at least one error.
#[must_use]
pub fn parse(text: &str) -> (Option<StateMachine>, Vec<Diagnostic>) {
    if text.len() > DEFINITION_BYTES_MAX {
        let message = format!("Definition has {} bytes, limit is {DEFINITION_BYTES_MAX}", text.len());
        return (None, vec![without_place(message)]);
    }
    let mut document = Document::new();
    if let Err(fault) = document.fill_keeping_duplicates(text.as_bytes(), &Symbols::default()) {
        return (None, vec![jackson::diagnose(text, fault)]);
    }
    if document.kind(document.root()) != Kind::Object {
        return (None, vec![without_place("Definition must be a valid JSON object".to_owned())]);
    }
    let mut reader = Reader::new(&document);
    let machine = reader.machine();
    (Some(machine), reader.diagnostics)
}

fn without_place(message: String) -> Diagnostic {
    Diagnostic { severity: Severity::Error, code: Code::SchemaValidationFailed, message, location: None, position: None, hint: None }
}

impl Reader<'_> {
    fn machine(&mut self) -> StateMachine {
        let root = self.root();
        let mut machine = StateMachine { comment: None, query_language: None, timeout_seconds: None, body: empty(&root) };
        let mut states = None;
        for member in self.members(&root) {
            let node = &member.node;
            match member.name.as_str() {
                "Comment" => machine.comment = self.string(node),
                "Version" => {
                    self.word(node, &["1.0"]);
                }
                "TimeoutSeconds" => machine.timeout_seconds = self.integer(node, 1, COUNT_MAX),
                "QueryLanguage" => machine.query_language = self.query_language(node),
                "StartAt" => machine.body.start_at = self.located_string(node),
                "States" => states = Some(member.node.clone()),
                _ => self.unsupported(&root.place, &member, &["Comment", "Version", "TimeoutSeconds", "QueryLanguage", "StartAt", "States"]),
            }
            machine.body.keys.push(member.name);
        }
        let language = machine.query_language.as_ref().map_or_else(QueryLanguage::default, |language| language.value);
        self.states(states, Level { language, depth: 1 }, &mut machine.body);
        machine
    }

    /// An element of `Branches`.
    pub(super) fn branch(&mut self, node: &Node, level: Level) -> Option<SubMachine> {
        self.sub_machine(node, level, false)
    }

    /// `ItemProcessor` or `Iterator`.
    pub(super) fn processor(&mut self, node: &Node, level: Level) -> Option<SubMachine> {
        self.sub_machine(node, level, true)
    }

    /// A machine inside a state; the recursion is bounded by [`MACHINE_DEPTH_MAX`].
    fn sub_machine(&mut self, node: &Node, level: Level, is_processor: bool) -> Option<SubMachine> {
        if level.depth >= MACHINE_DEPTH_MAX {
            self.error(Code::TooDeeplyNested, &node.place, format!("Machines nest at most {MACHINE_DEPTH_MAX} deep"));
            return None;
        }
        let mut body = empty(node);
        let mut states = None;
        for member in self.members(node) {
            match member.name.as_str() {
                "Comment" => self.comment(&member.node),
                "StartAt" => body.start_at = self.located_string(&member.node),
                "States" => states = Some(member.node.clone()),
                "ProcessorConfig" if is_processor => body.processor = self.processor_config(&member.node),
                _ => {
                    let allowed: &[&str] = if is_processor { &["Comment", "StartAt", "States", "ProcessorConfig"] } else { &["Comment", "StartAt", "States"] };
                    self.unsupported(&node.place, &member, allowed);
                }
            }
            body.keys.push(member.name);
        }
        if !self.is_object(node) {
            return None;
        }
        self.states(states, Level { depth: level.depth + 1, ..level }, &mut body);
        Some(body)
    }

    /// The required pair of fields, and the states.
    fn states(&mut self, states: Option<Node>, level: Level, body: &mut SubMachine) {
        let missing: Vec<&str> = ["States", "StartAt"].into_iter().filter(|field| !body.keys.iter().any(|key| key == field)).collect();
        if !missing.is_empty() {
            self.schema(&body.place, format!("These fields are required: [{}]", missing.join(", ")));
        }
        let Some(node) = states else { return };
        let members = self.all_members(&node);
        if members.is_empty() && self.is_object(&node) {
            self.schema(&node.place, "Value cannot be empty");
        }
        body.states = members.iter().map(|member| self.state(member, level)).collect();
    }

    fn processor_config(&mut self, node: &Node) -> Option<ProcessorConfig> {
        let mut config = ProcessorConfig { place: node.place.clone(), distributed: None, has_execution_type: false };
        for member in self.members(node) {
            match member.name.as_str() {
                "Mode" => {
                    let mode = self.word(&member.node, &["INLINE", "DISTRIBUTED"]);
                    config.distributed = (mode == Some(1)).then(|| member.node.place.clone());
                }
                "ExecutionType" => {
                    config.has_execution_type = true;
                    self.word(&member.node, &["STANDARD", "EXPRESS"]);
                }
                _ => self.unsupported(&node.place, &member, &["Mode", "ExecutionType"]),
            }
        }
        self.is_object(node).then_some(config)
    }

    pub(super) fn is_object(&self, node: &Node) -> bool {
        self.kind(node) == Kind::Object
    }
}

fn empty(node: &Node) -> SubMachine {
    SubMachine { place: node.place.clone(), keys: Vec::new(), start_at: None, states: Vec::new(), processor: None }
}
