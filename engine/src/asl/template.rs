//! Payload templates (`.$` fields) and the fields that hold one path (spec/asl.md 2.1).

use std::collections::HashSet;

use crate::diagnostic::Code;
use crate::document::Kind;
use crate::hir::limits::TEMPLATE_DEPTH_MAX;
use crate::hir::{DataPath, FailText, Path, ResultPath, Root, Template};

use super::ast::{Expression, Located, Place};
use super::reader::{Node, Reader};
use super::{intrinsic, path};

impl Reader<'_> {
    /// A whole payload template. It is an object as a rule, but the service takes any value.
    pub(super) fn template(&mut self, node: &Node) -> Option<Template> {
        self.remark_missing_dollars(node);
        self.bounded_template(node)
    }

    /// A payload template, unless it nests too deeply.
    pub(super) fn bounded_template(&mut self, node: &Node) -> Option<Template> {
        if self.depth(node) > TEMPLATE_DEPTH_MAX && self.has_computed_field(node) {
            self.error(Code::TooDeeplyNested, &node.place, format!("A payload template with computed fields nests at most {TEMPLATE_DEPTH_MAX} deep"));
            return None;
        }
        self.template_value(node)
    }

    /// A value inside a template; at most [`TEMPLATE_DEPTH_MAX`] levels lie below it.
    fn template_value(&mut self, node: &Node) -> Option<Template> {
        if !self.has_computed_field(node) {
            return Some(Template::Literal(self.literal(node)));
        }
        if self.kind(node) == Kind::Array {
            let elements: Vec<_> = self.children(node).iter().map(|element| self.template_value(element)).collect();
            return elements.into_iter().collect::<Option<_>>().map(Template::Array);
        }
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        let mut whole = true;
        for member in self.members(node) {
            let (name, value) = match member.name.strip_suffix(".$") {
                Some(stem) => (stem.to_owned(), self.computed(&member.name, &member.node, &node.place)),
                None => (member.name.clone(), self.template_value(&member.node)),
            };
            if !names.insert(name.clone()) {
                let place = Place { pointer: node.place.pointer.clone(), offset: member.key_offset };
                self.schema(&place, format!("The field '{name}' is there twice: as '{name}' and as '{name}.$'"));
            }
            match value {
                Some(value) => fields.push((name, value)),
                None => whole = false,
            }
        }
        whole.then_some(Template::Object(fields))
    }

    /// The value of a field whose name ends in `.$`.
    pub(super) fn computed(&mut self, field: &str, node: &Node, parent: &Place) -> Option<Template> {
        let expression = match self.text_of(node) {
            Some(text) => self.expression(&text, &node.place),
            None => Err("the value must be a string".to_owned()),
        };
        match expression {
            Ok(Expression::Path(path)) => Some(Template::Path { path, field: field.to_owned() }),
            Ok(Expression::Call(call)) => Some(Template::Intrinsic { call, field: field.to_owned() }),
            Err(reason) => {
                let place = Place { pointer: parent.pointer.clone(), offset: node.place.offset };
                self.schema(&place, format!("The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call")).hint =
                    Some(reason);
                None
            }
        }
    }

    /// A path or a call; the error is the reason why it is neither.
    fn expression(&mut self, text: &str, place: &Place) -> Result<Expression, String> {
        if intrinsic::looks_like_call(text) {
            let parsed = intrinsic::parse(text)?;
            self.variables.extend(parsed.variables.into_iter().map(|value| Located { value, place: place.clone() }));
            return Ok(Expression::Call(parsed.call));
        }
        self.path_text(text, place).map(Expression::Path)
    }

    fn path_text(&mut self, text: &str, place: &Place) -> Result<Path, String> {
        let parsed = path::parse(text)?;
        if let Some(word) = parsed.unquoted {
            self.warning(Code::UnquotedFilterText, place, format!("The filter compares with the word {word}, which is read as the text '{word}'"));
        }
        if let Root::Variable(name) = &parsed.path.root {
            self.variables.push(Located { value: name.clone(), place: place.clone() });
        }
        Ok(parsed.path)
    }

    /// Warns of literal values that look computed.
    pub(super) fn remark_missing_dollars(&mut self, node: &Node) {
        for (key, offset) in self.literal_paths(node) {
            let place = Place { pointer: node.place.pointer.clone(), offset };
            self.warning(Code::NoDollar, &place, format!("The value of the field '{key}' looks like a path or an intrinsic call, but is taken literally"))
                .hint = Some(format!("write '{key}.$' to have it computed"));
        }
    }

    /// `InputPath` and `OutputPath`.
    pub(super) fn data_path(&mut self, node: &Node) -> Option<DataPath> {
        if self.is_null(node) {
            return Some(DataPath::Null);
        }
        let text = self.string(node)?;
        match self.path_text(&text, &node.place) {
            Ok(path) => Some(DataPath::Path(path)),
            Err(reason) => {
                self.schema(&node.place, "Value must be a valid JSONPath.").hint = Some(reason);
                None
            }
        }
    }

    /// `ResultPath`, which reaches only into the data.
    pub(super) fn result_path(&mut self, node: &Node) -> Option<ResultPath> {
        if self.is_null(node) {
            return Some(ResultPath::Discard);
        }
        let before = self.variables.len();
        let path = self.reference_path(node)?;
        if path.root == Root::Data {
            return Some(ResultPath::Path(path));
        }
        self.variables.truncate(before);
        self.schema(&node.place, "Value is not a Reference Path: a ResultPath starts with '$.'").hint =
            Some("results go into the state's input; neither the Context Object nor a variable can take one".to_owned());
        None
    }

    /// A path that names at most one value.
    pub(super) fn reference_path(&mut self, node: &Node) -> Option<Path> {
        let path = self.choice_path(node)?;
        match path::not_a_reference(&path) {
            None => Some(path),
            Some(reason) => {
                self.schema(&node.place, format!("Value is not a Reference Path: {reason}"));
                None
            }
        }
    }

    /// `Variable` and the operands of a Choice: any path (spec/asl.md 2.3).
    pub(super) fn choice_path(&mut self, node: &Node) -> Option<Path> {
        let text = self.string(node)?;
        match self.path_text(&text, &node.place) {
            Ok(path) => Some(path),
            Err(reason) => {
                let reason = if text.starts_with('$') { reason } else { "Reference path didn't start with '$'".to_owned() };
                self.schema(&node.place, format!("Value is not a Reference Path: {reason}"));
                None
            }
        }
    }

    /// `ErrorPath` and `CausePath`: a Reference Path, or a call of a function that gives a text.
    pub(super) fn fail_path(&mut self, node: &Node) -> Option<FailText> {
        let text = self.string(node)?;
        if !intrinsic::looks_like_call(&text) {
            return self.reference_path(node).map(FailText::Path);
        }
        let reason = match self.expression(&text, &node.place) {
            Ok(Expression::Call(call)) if intrinsic::TEXT_FUNCTIONS.contains(&call.name.as_str()) => return Some(FailText::Intrinsic(call)),
            Ok(_) => format!("only these functions are allowed here: States.{}", intrinsic::TEXT_FUNCTIONS.join(", States.")),
            Err(reason) => reason,
        };
        self.schema(&node.place, "Value must be a valid JSONPath or a valid intrinsic function call").hint = Some(reason);
        None
    }
}

/// Whether a literal text looks as if it should be computed.
pub(super) fn looks_computed(text: &str) -> bool {
    text.starts_with("$.") || text.starts_with("$[") || text.starts_with("$$.") || (intrinsic::looks_like_call(text) && text.contains('('))
}
