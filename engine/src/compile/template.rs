//! Templates and paths → pool entries.

use super::emit::{Emitter, next_id};
use crate::hir::{Argument, Filter, FilterOperand, IntrinsicCall, Path, Root, Segment, Template};
use crate::program::function::Function;
use crate::program::op::{IntrinsicId, MergeId, NodeId, Op, PathId};
use crate::program::pool::{ArgumentCode, ContextField, FilterCode, FilterSide, FormatCode, IntrinsicCode, MergeCode, Merging, Node, PathCode, PathRoot, Step};

/// Names of the Context Object, interned when a path takes a part of it as a whole.
const CONTEXT_NAMES: [&str; 19] = [
    "Execution",
    "Id",
    "Input",
    "Name",
    "RoleArn",
    "StartTime",
    "RedriveCount",
    "State",
    "EnteredTime",
    "RetryCount",
    "StateMachine",
    "Map",
    "Item",
    "Index",
    "Value",
    "Task",
    "Token",
    "Error",
    "Cause",
];

impl Emitter<'_> {
    /// Emits the building of a template.
    pub(super) fn build(&mut self, template: &Template) {
        if let Template::Literal(literal) = template {
            let constant = self.constant(&literal.0);
            return self.emit(Op::Constant { constant });
        }
        let node = self.template(template);
        self.emit(Op::Build { node });
    }

    /// The number of a template's root node.
    pub(super) fn template(&mut self, template: &Template) -> NodeId {
        let node = self.node(template);
        let id = NodeId(next_id(&self.pools.nodes));
        self.pools.nodes.push(node);
        id
    }

    pub(super) fn node(&mut self, template: &Template) -> Node {
        match template {
            Template::Literal(literal) => Node::Constant(self.constant(&literal.0)),
            Template::Path { path, field } => {
                let path = self.path(path);
                let text = next_id(&self.pools.texts);
                self.pools.texts.push(field.as_str().into());
                Node::Path { path, field: text }
            }
            Template::Intrinsic { call, field } => {
                let call = self.intrinsic(call);
                let text = next_id(&self.pools.texts);
                self.pools.texts.push(field.as_str().into());
                Node::Intrinsic { call, field: text }
            }
            Template::Array(elements) => {
                let nodes: Vec<Node> = elements.iter().map(|element| self.node(element)).collect();
                let first = next_id(&self.pools.nodes);
                self.pools.nodes.extend_from_slice(&nodes);
                Node::Array { first, count: next_id(&nodes) }
            }
            Template::Object(members) => self.object(members),
        }
    }

    /// The node of an object with these members.
    pub(super) fn object(&mut self, members: &[(String, Template)]) -> Node {
        let mut nodes = Vec::with_capacity(members.len());
        let mut keys = 0;
        for (key, member) in members {
            let symbol = self.symbol(key);
            keys += self.rendered_len(symbol);
            nodes.push((self.key(symbol), self.node(member)));
        }
        let first = next_id(&self.pools.members);
        self.pools.members.extend_from_slice(&nodes);
        let count = next_id(&nodes);
        let frame = 2 + count.saturating_sub(1) + keys;
        if nodes.iter().all(|(_, node)| self.pools.takes_no_cells(node)) { Node::Record { first, count, frame } } else { Node::Object { first, count, frame } }
    }

    /// The number of a call; its nested calls come first. The recursion is as deep as lowering lets calls nest.
    pub(super) fn intrinsic(&mut self, call: &IntrinsicCall) -> IntrinsicId {
        let arguments: Vec<ArgumentCode> = call
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Literal(literal) => ArgumentCode::Constant(self.constant(&literal.0)),
                Argument::Path(path) => ArgumentCode::Path(self.path(path)),
                Argument::Call(inner) => ArgumentCode::Call(self.intrinsic(inner)),
            })
            .collect();
        let first = next_id(&self.pools.arguments);
        self.pools.arguments.extend_from_slice(&arguments);
        let function = Function::named(&call.name).expect("lowering refuses names that are not among the 18");
        let id = IntrinsicId(next_id(&self.pools.intrinsics));
        let format = if function == Function::Format { format(&call.arguments) } else { None };
        self.pools.intrinsics.push(IntrinsicCode { function, first, count: next_id(&arguments), format, text: call.text.as_str().into() });
        id
    }

    /// The number of a path; equal texts share one.
    pub(super) fn path(&mut self, path: &Path) -> PathId {
        let text = match path.root {
            Root::Variable(_) => format!("{} {}", self.scope, path.text),
            _ => path.text.clone(),
        };
        if let Some(&known) = self.path_ids.get(&text) {
            return known;
        }
        let (root, root_steps) = match &path.root {
            Root::Context => context_field(&path.segments),
            Root::Variable(name) => (self.scopes.find(self.scope, name).map_or(PathRoot::Unassigned, PathRoot::Variable), 0),
            Root::Data => (PathRoot::Data, 0),
        };
        if matches!(root, PathRoot::Context(_)) {
            for name in CONTEXT_NAMES {
                self.symbol(name);
            }
        }
        let steps = self.steps(&path.segments[usize::from(root_steps)..]);
        let id = PathId(next_id(&self.pools.paths));
        let merges = path.ends_in_names().then_some(if path.is_definite() { Merging::One } else { Merging::Many });
        let definite = path.is_definite() && merges.is_none();
        let member = match *steps {
            [Step::Member(symbol)] if root == PathRoot::Data => Some(symbol),
            _ => None,
        };
        self.pools.paths.push(PathCode { root, steps, member, plain: definite && root == PathRoot::Data, definite, merges, text: path.text.as_str().into() });
        self.path_ids.insert(text, id);
        id
    }

    /// The number of a result path; `is_last_use` when nothing asks for the state's input behind it.
    pub(super) fn merge(&mut self, path: &Path, is_last_use: bool) -> MergeId {
        let id = MergeId(next_id(&self.pools.merges));
        let steps = self.steps(&path.segments);
        // The record's learned shape knows the place of a path, so a result path is one, too.
        let member = if let [Step::Member(symbol)] = *steps { self.name(symbol) } else { None };
        let member = member.map(|name| name.of_path(self.path(path).index()));
        self.pools.merges.push(MergeCode { steps, member, is_last_use, text: path.text.as_str().into() });
        id
    }

    fn steps(&mut self, segments: &[Segment]) -> Box<[Step]> {
        segments
            .iter()
            .map(|segment| match segment {
                Segment::Name(name) => Step::Member(self.symbol(name)),
                Segment::Index(index) => Step::Index(*index),
                Segment::Wildcard => Step::Wildcard,
                Segment::Descend => Step::Descend,
                Segment::Slice { start, end } => Step::Slice { start: *start, end: *end },
                Segment::Indices(indices) => Step::Indices(indices.as_slice().into()),
                Segment::Names(names) => Step::Members(names.iter().map(|name| self.symbol(name)).collect()),
                Segment::Filter(filter) => Step::Filter(Box::new(self.filter(filter))),
            })
            .collect()
    }

    fn filter(&mut self, filter: &Filter) -> FilterCode {
        match filter {
            Filter::Or(parts) => FilterCode::Or(parts.iter().map(|part| self.filter(part)).collect()),
            Filter::And(parts) => FilterCode::And(parts.iter().map(|part| self.filter(part)).collect()),
            Filter::Not(inner) => FilterCode::Not(Box::new(self.filter(inner))),
            Filter::Exists(segments) => FilterCode::Exists(self.steps(segments)),
            Filter::Compare(left, operator, right) => FilterCode::Compare(self.filter_side(left), *operator, self.filter_side(right)),
        }
    }

    fn filter_side(&mut self, operand: &FilterOperand) -> FilterSide {
        match operand {
            FilterOperand::Item(segments) => FilterSide::Item(self.steps(segments)),
            FilterOperand::Literal(literal) => FilterSide::Constant(self.constant(&literal.0)),
        }
    }
}

/// A literal template of a Format, taken apart; one that does not fit its arguments is left to fail when it runs.
fn format(arguments: &[Argument]) -> Option<FormatCode> {
    let (Argument::Literal(literal), values) = arguments.split_first()? else { return None };
    let inside = literal.0.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let pieces = crate::vm::pieces(inside)?;
    (pieces.len() == values.len() + 1).then(|| FormatCode { pieces, escaped: inside.contains(&b'\\') })
}

/// The context field that a path below `$$` starts with, and how many of its segments that takes.
fn context_field(segments: &[Segment]) -> (PathRoot, u8) {
    let name = |at: usize| match segments.get(at) {
        Some(Segment::Name(name)) => Some(name.as_str()),
        _ => None,
    };
    let (field, steps) = match (name(0), name(1), name(2)) {
        (Some("Execution"), Some("Id"), _) => (ContextField::ExecutionId, 2),
        (Some("Execution"), Some("Input"), _) => (ContextField::ExecutionInput, 2),
        (Some("Execution"), Some("Name"), _) => (ContextField::ExecutionName, 2),
        (Some("Execution"), Some("RoleArn"), _) => (ContextField::ExecutionRoleArn, 2),
        (Some("Execution"), Some("StartTime"), _) => (ContextField::ExecutionStartTime, 2),
        (Some("Execution"), Some("RedriveCount"), _) => (ContextField::ExecutionRedriveCount, 2),
        (Some("Execution"), ..) => (ContextField::Execution, 1),
        (Some("State"), Some("EnteredTime"), _) => (ContextField::StateEnteredTime, 2),
        (Some("State"), Some("Name"), _) => (ContextField::StateName, 2),
        (Some("State"), Some("RetryCount"), _) => (ContextField::StateRetryCount, 2),
        (Some("State"), ..) => (ContextField::State, 1),
        (Some("StateMachine"), Some("Id"), _) => (ContextField::StateMachineId, 2),
        (Some("StateMachine"), Some("Name"), _) => (ContextField::StateMachineName, 2),
        (Some("StateMachine"), ..) => (ContextField::StateMachine, 1),
        (Some("Map"), Some("Item"), Some("Index")) => (ContextField::MapItemIndex, 3),
        (Some("Map"), Some("Item"), Some("Value")) => (ContextField::MapItemValue, 3),
        (Some("Map"), Some("Item"), _) => (ContextField::MapItem, 2),
        (Some("Map"), ..) => (ContextField::Map, 1),
        (Some(_), ..) => (ContextField::Missing, 0),
        (None, ..) => (ContextField::Whole, 0),
    };
    (PathRoot::Context(field), steps)
}
