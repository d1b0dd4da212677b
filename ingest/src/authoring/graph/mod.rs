//! A definition as a picture: states, transitions with their conditions, branches and item processors as boxes inside boxes.
//!
//! [`Graph::of`] takes the nested levels of a valid definition apart; [`Graph::mermaid`], [`Graph::dot`] and [`Graph::svg`] write them. A transition never leaves its level, so each level is a graph of its own, and a Parallel or Map is one node of the level around it. The three writers know nothing of the language; what a label says is decided here.

mod dot;
mod label;
mod layout;
mod mermaid;
mod svg;

pub(super) use svg::escape;

use expressway_engine::hir::{Choice, Map, State, StateId, StateKind, StateMachine, SubMachine, Transition};
use expressway_engine::program::StateType;

/// A definition, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Graph {
    title: String,
    root: Level,
}

/// The states of one `StartAt` with its `States`, and the ways between them.
#[derive(Debug, Clone)]
struct Level {
    /// `Branch 1`, `each item`; empty at the top.
    label: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// One thing to draw.
#[derive(Debug, Clone)]
struct Node {
    /// Unique in the graph, letters and digits only.
    id: String,
    label: String,
    kind: NodeKind,
    /// What is drawn inside: the branches of a Parallel, the processor of a Map.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    Start,
    End,
    State(StateType),
}

/// A way from one node of a level to another, both by number.
#[derive(Debug, Clone)]
struct Edge {
    from: usize,
    to: usize,
    label: String,
    kind: EdgeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EdgeKind {
    /// StartAt, Next, End, and what a Choice decides.
    Plain,
    /// A catcher.
    Catch,
}

impl Graph {
    /// The graph of a definition; `title` is its name.
    #[must_use]
    pub fn of(machine: &StateMachine, title: &str) -> Self {
        Self { title: title.to_owned(), root: Builder { machine, levels: 0 }.level(machine.root(), String::new()) }
    }

    /// A Mermaid flowchart, as Markdown renderers draw it.
    #[must_use]
    pub fn mermaid(&self) -> String {
        mermaid::print(self)
    }

    /// A digraph for Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        dot::print(self)
    }

    /// A picture of its own, which needs no other program.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::print(self)
    }
}

struct Builder<'m> {
    machine: &'m StateMachine,
    /// Levels made, which number the start and end nodes.
    levels: usize,
}

impl Builder<'_> {
    fn state(&self, id: StateId) -> &State {
        &self.machine.states()[id.0 as usize]
    }

    /// Recursion is bounded by the nesting that lowering allows.
    fn level(&mut self, level: &SubMachine, label: String) -> Level {
        let number = self.levels;
        self.levels += 1;
        let terminal = |prefix: &str, kind| Node { id: format!("{prefix}{number}"), label: String::new(), kind, levels: Vec::new() };
        let mut made = Level { label, nodes: vec![terminal("start", NodeKind::Start)], edges: Vec::new() };
        for &id in &level.states {
            let node = self.node(id);
            made.nodes.push(node);
        }
        // Nodes stand in the order of the states, behind the start.
        let place = |id: StateId| level.states.iter().position(|&other| other == id).map_or(0, |index| index + 1);
        let end = made.nodes.len();
        made.edges.push(Edge { from: 0, to: place(level.start), label: String::new(), kind: EdgeKind::Plain });
        for (index, &id) in level.states.iter().enumerate() {
            let ways = ways(self.state(id), self.machine);
            made.edges.extend(ways.into_iter().map(|way| Edge { from: index + 1, to: way.to.map_or(end, place), label: way.label, kind: way.kind }));
        }
        if made.edges.iter().any(|edge| edge.to == end) {
            made.nodes.push(terminal("stop", NodeKind::End));
        }
        made
    }

    fn node(&mut self, id: StateId) -> Node {
        let machine = self.machine;
        let state = &machine.states()[id.0 as usize];
        let levels = match &state.kind {
            StateKind::Parallel { branches } => (1..).zip(branches).map(|(number, branch)| self.level(branch, format!("branch {number}"))).collect(),
            StateKind::Map(Map { processor, .. }) => vec![self.level(processor, "each item".to_owned())],
            _ => Vec::new(),
        };
        Node { id: format!("s{}", id.0), label: state.name.clone(), kind: NodeKind::State(state_type(&state.kind)), levels }
    }
}

/// A way out of a state; `to` is `None` for the end of its level.
struct Way {
    to: Option<StateId>,
    label: String,
    kind: EdgeKind,
}

/// Appends a line of a text form.
fn line(out: &mut String, indent: &str, text: &str) {
    out.push_str(indent);
    out.push_str(text);
    out.push('\n');
}

fn ways(state: &State, machine: &StateMachine) -> Vec<Way> {
    let plain = |to, label| Way { to, label, kind: EdgeKind::Plain };
    let mut ways = Vec::new();
    match (&state.kind, state.transition) {
        (StateKind::Choice(Choice { rules, default }), _) => {
            ways.extend(rules.iter().map(|rule| plain(Some(rule.next), label::condition(&rule.condition))));
            ways.extend(default.map(|default| plain(Some(default), "default".to_owned())));
        }
        (StateKind::Succeed, _) | (_, Some(Transition::End)) => ways.push(plain(None, String::new())),
        (_, Some(Transition::Next(next))) => ways.push(plain(Some(next), String::new())),
        (_, None) => {}
    }
    debug_assert!(ways.iter().all(|way| way.to.is_none_or(|to| (to.0 as usize) < machine.states().len())), "lowering resolves every name");
    ways.extend(state.catchers.iter().map(|catcher| Way { to: Some(catcher.next), label: label::errors(&catcher.error_equals), kind: EdgeKind::Catch }));
    ways
}

fn state_type(kind: &StateKind) -> StateType {
    match kind {
        StateKind::Pass { .. } => StateType::Pass,
        StateKind::Task(_) => StateType::Task,
        StateKind::Choice(_) => StateType::Choice,
        StateKind::Wait(_) => StateType::Wait,
        StateKind::Succeed => StateType::Succeed,
        StateKind::Fail(_) => StateType::Fail,
        StateKind::Parallel { .. } => StateType::Parallel,
        StateKind::Map(_) => StateType::Map,
    }
}

#[cfg(test)]
mod tests {
    use expressway_engine::hir::{WorkflowType, lower};

    use super::*;

    fn graph(text: &str) -> Graph {
        Graph::of(&lower(text, WorkflowType::Express).expect("valid").machine, "m")
    }

    #[test]
    fn fail_leads_nowhere_and_succeed_to_the_end() {
        let graph = graph(
            r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.a","IsNull":true,"Next":"S"}],"Default":"F"},
                "S":{"Type":"Succeed"},"F":{"Type":"Fail"}}}"#,
        );
        let ways: Vec<_> = graph.root.edges.iter().map(|edge| (edge.from, edge.to, edge.label.as_str())).collect();
        assert_eq!(ways, [(0, 1, ""), (1, 2, "$.a is null"), (1, 3, "default"), (2, 4, "")]);
    }

    #[test]
    fn a_level_without_an_end_has_no_end_node() {
        let graph = graph(r#"{"StartAt":"F","States":{"F":{"Type":"Fail"}}}"#);
        assert!(graph.root.nodes.iter().all(|node| node.kind != NodeKind::End));
    }

    #[test]
    fn branches_and_processors_are_inside_their_state() {
        let graph = graph(
            r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","Catch":[{"ErrorEquals":["A","B"],"Next":"K"}],"End":true,"Branches":[
                {"StartAt":"M","States":{"M":{"Type":"Map","ItemProcessor":{"StartAt":"X","States":{"X":{"Type":"Pass","End":true}}},"End":true}}},
                {"StartAt":"Y","States":{"Y":{"Type":"Pass","End":true}}}]},"K":{"Type":"Pass","End":true}}}"#,
        );
        let parallel = &graph.root.nodes[1];
        assert_eq!(parallel.levels.iter().map(|level| level.label.as_str()).collect::<Vec<_>>(), ["branch 1", "branch 2"]);
        assert_eq!(parallel.levels[0].nodes[1].levels[0].nodes[1].label, "X");
        let caught = graph.root.edges.iter().find(|edge| edge.kind == EdgeKind::Catch).expect("a catcher");
        assert_eq!(caught.label, "catch A, B");
    }
}
