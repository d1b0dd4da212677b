//! Scopes of variables (spec/asl.md 3): each level of states is one; inner levels read the outer ones' variables and may not assign them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::asl::ast::{Assign, Located, State, StateType, SubMachine};
use crate::diagnostic::Code;

use super::findings::Findings;

/// States times variables up to which it is found out on which ways a variable has no value.
const WAYS_MAX: usize = 4_000_000;

/// The variables that the states of this level assign, in alphabetical order.
pub(super) fn assigned(body: &SubMachine) -> BTreeSet<&str> {
    body.states.iter().flat_map(assigns).flat_map(|assign| &assign.variables).map(|(name, _)| name.value.as_str()).collect()
}

/// The names of what a state reads, each once, in alphabetical order.
pub(super) fn read(variables: &[Located<String>]) -> Vec<String> {
    let names: BTreeSet<&String> = variables.iter().map(|variable| &variable.value).collect();
    names.into_iter().cloned().collect()
}

/// Every `Assign` of a state.
fn assigns(state: &State) -> impl Iterator<Item = &Assign> {
    let fields = &state.fields;
    let rules = fields.choices.iter().filter_map(|rule| rule.assign.as_ref());
    let catchers = fields.catchers.iter().filter_map(|catcher| catcher.assign.as_ref());
    fields.assign.iter().chain(rules).chain(catchers)
}

/// Reports names that an inner level shares with an outer one, and variables that are read where they may have no value.
pub(super) fn check(body: &SubMachine, findings: &mut Findings<'_>) {
    check_level(body, &HashSet::new(), findings);
}

/// `outer` holds the names of all levels around this one that it sees.
fn check_level(body: &SubMachine, outer: &HashSet<&str>, findings: &mut Findings<'_>) {
    for (name, _) in body.states.iter().flat_map(assigns).flat_map(|assign| &assign.variables) {
        if outer.contains(name.value.as_str()) {
            let message = format!("The variable '{}' is assigned in an outer scope and cannot be assigned in an inner one", name.value);
            findings.schema(&name.place, message).hint =
                Some("give it another name here, and return its value in the output of the branch or iteration".to_owned());
        }
    }
    let own = assigned(body);
    check_ways(body, &own, outer, findings);
    let inners: Vec<&SubMachine> = body.states.iter().flat_map(State::inner).collect();
    if inners.is_empty() {
        return;
    }
    let mut visible = outer.clone();
    visible.extend(&own);
    for inner in inners {
        let seen = if inner.is_distributed() { &HashSet::new() } else { &visible };
        check_level(inner, seen, findings);
    }
}

/// Warns once a variable of reads that can happen before any assignment. Variables of outer levels are judged there: an inner level counts as a read by its state.
fn check_ways(body: &SubMachine, own: &BTreeSet<&str>, outer: &HashSet<&str>, findings: &mut Findings<'_>) {
    let mut readers: BTreeMap<&str, Vec<Read<'_>>> = BTreeMap::new();
    for (state, read_by) in body.states.iter().enumerate() {
        visit_reads(read_by, true, &mut |read, here| readers.entry(&read.value).or_default().push(Read { state, here, read }));
    }
    let follows_ways = readers.len().saturating_mul(body.states.len()) <= WAYS_MAX;
    let graph = follows_ways.then(|| Graph::new(body));
    let mut missing: Vec<(&Located<String>, bool)> = Vec::new();
    for (name, reads) in &readers {
        if !own.contains(name) {
            let unseen = reads.iter().find(|read| read.here && !outer.contains(name));
            missing.extend(unseen.map(|read| (read.read, false)));
        } else if let Some(reached) = graph.as_ref().map(|graph| graph.reached_without(name)) {
            missing.extend(reads.iter().find(|read| reached[read.state]).map(|read| (read.read, true)));
        }
    }
    missing.sort_by_key(|(read, _)| read.place.offset);
    for (read, is_assigned) in missing {
        let name = &read.value;
        let message = if is_assigned {
            format!("The variable '{name}' may be read before it is assigned")
        } else {
            format!("The variable '{name}' is read, but no state assigns it where it can be seen here")
        };
        findings.warning(Code::VariableMayBeMissing, &read.place, message);
    }
}

/// A read of a variable by a state of a level, or by one inside it.
struct Read<'a> {
    /// The state of the level.
    state: usize,
    /// Whether the state itself reads.
    here: bool,
    read: &'a Located<String>,
}

/// Every read of a state and of the states inside it that see its variables. The depth is bounded by the parser.
fn visit_reads<'a>(state: &'a State, here: bool, visit: &mut impl FnMut(&'a Located<String>, bool)) {
    state.variables.iter().for_each(|read| visit(read, here));
    for inner in state.inner().filter(|inner| !inner.is_distributed()) {
        for state in &inner.states {
            visit_reads(state, false, visit);
        }
    }
}

/// The ways between the states of one level, each with what is assigned on it.
struct Graph<'a> {
    start: Option<usize>,
    edges: Vec<Vec<(usize, Option<&'a Assign>)>>,
}

impl<'a> Graph<'a> {
    fn new(body: &'a SubMachine) -> Self {
        let index: HashMap<&str, usize> = body.states.iter().enumerate().map(|(index, state)| (state.name.value.as_str(), index)).collect();
        let find = |target: &Option<Located<String>>| target.as_ref().and_then(|target| index.get(target.value.as_str()).copied());
        let edges = body.states.iter().map(|state| {
            let fields = &state.fields;
            let is_choice = state.state_type == Some(StateType::Choice);
            let rules = fields.choices.iter().map(|rule| (find(&rule.next), rule.assign.as_ref()));
            let catchers = fields.catchers.iter().map(|catcher| (find(&catcher.next), catcher.assign.as_ref()));
            let onward = if is_choice { find(&fields.default) } else { find(&fields.next) };
            let all = rules.chain(catchers).chain([(onward, fields.assign.as_ref())]);
            all.filter_map(|(target, assign)| Some((target?, assign))).collect()
        });
        Self { start: find(&body.start_at), edges: edges.collect() }
    }

    /// For each state, whether it can be entered without `name` having been assigned.
    fn reached_without(&self, name: &str) -> Vec<bool> {
        let mut reached = vec![false; self.edges.len()];
        let mut open: Vec<usize> = self.start.into_iter().collect();
        while let Some(state) = open.pop() {
            if std::mem::replace(&mut reached[state], true) {
                continue;
            }
            let assigns = |assign: &Assign| assign.variables.iter().any(|(assigned, _)| assigned.value == name);
            open.extend(self.edges[state].iter().filter(|(_, assign)| !assign.is_some_and(assigns)).map(|(target, _)| *target));
        }
        reached
    }
}
