//! Which parts of a definition the cases have reached.
//!
//! Counted are states (entered), transitions (`Next` and `End`, taken after a state's work), rules of Choice states with `Default` as one more, retriers (that retried) and catchers (that caught). A retrier with `MaxAttempts` 0 can never retry and is not counted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use expressway_engine::asl::{self, ast};
use expressway_engine::hir::{State, StateId, StateKind, StateMachine, Transition};

use super::trail::{Hits, StateHits};
use crate::control::registry::Definition;

/// What can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A state.
    State,
    /// Its `Next` or `End`.
    Transition,
    /// A rule of a Choice, or its `Default`.
    Rule,
    /// An entry of `Retry`.
    Retrier,
    /// An entry of `Catch`.
    Catcher,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::State, Self::Transition, Self::Rule, Self::Retrier, Self::Catcher];

    /// The word of reports, for many.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::State => "states",
            Self::Transition => "transitions",
            Self::Rule => "rules",
            Self::Retrier => "retriers",
            Self::Catcher => "catchers",
        }
    }
}

/// One thing to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// What it is.
    pub kind: Kind,
    /// The state it belongs to.
    pub state: String,
    /// What it is within the state, `rule 2 → Enrich`; empty for the state itself.
    pub what: String,
    /// Where it stands in the file, from 1.
    pub line: u32,
    /// How often it was reached.
    pub hits: u64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Reached.
    pub reached: usize,
    /// There.
    pub total: usize,
}

impl Share {
    /// In percent; everything, where there is nothing to reach.
    #[must_use]
    pub fn percent(self) -> f64 {
        let as_f64 = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
        if self.total == 0 { 100.0 } else { 100.0 * as_f64(self.reached) / as_f64(self.total) }
    }

    fn add(&mut self, is_reached: bool) {
        self.total += 1;
        self.reached += usize::from(is_reached);
    }
}

/// The coverage of one definition.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// The definition's file.
    pub file: PathBuf,
    /// Everything in it, in the order of its states.
    pub points: Vec<Point>,
}

impl Coverage {
    /// The coverage of a definition.
    #[must_use]
    pub fn of(definition: &Definition, machine: &StateMachine, hits: &Hits) -> Self {
        let (tree, _) = asl::parse(&definition.text);
        let lines = Lines::new(definition);
        let places = tree.as_ref().map(states_by_name).unwrap_or_default();
        let mut points = Vec::new();
        for (state, id) in machine.states().iter().zip(0..) {
            let hits = hits.of(StateId(id)).cloned().unwrap_or_default();
            add_points(&mut points, state, machine, &hits, places.get(state.name.as_str()).copied(), &lines);
        }
        Self { file: definition.path.clone(), points }
    }

    /// How much of one kind has been reached.
    #[must_use]
    pub fn share(&self, kind: Kind) -> Share {
        share(self.points.iter().filter(|point| point.kind == kind))
    }

    /// How much of all has been reached.
    #[must_use]
    pub fn total(&self) -> Share {
        share(self.points.iter())
    }

    /// What has not been reached.
    pub fn missed(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|point| point.hits == 0)
    }
}

/// How much of several definitions has been reached.
#[must_use]
pub fn total(coverages: &[Coverage]) -> Share {
    share(coverages.iter().flat_map(|coverage| &coverage.points))
}

fn share<'p>(points: impl Iterator<Item = &'p Point>) -> Share {
    let mut share = Share::default();
    points.for_each(|point| share.add(point.hits > 0));
    share
}

fn add_points(points: &mut Vec<Point>, state: &State, machine: &StateMachine, hits: &StateHits, place: Option<&ast::State>, lines: &Lines<'_>) {
    let name = |id: StateId| machine.states()[id.0 as usize].name.as_str();
    let own_line = lines.at(place.map(|place| place.name.place.offset), 1);
    let line = |offset: Option<usize>| lines.at(offset, own_line);
    let mut add = |kind, what: String, offset: Option<usize>, hits: u64| points.push(Point { kind, state: state.name.clone(), what, line: line(offset), hits });
    let key = |key: &str| place.and_then(|place| place.key(key)).map(|key| key.offset);
    let nth = |counts: &[u64], index: usize| counts.get(index).copied().unwrap_or(0);
    add(Kind::State, String::new(), place.map(|place| place.name.place.offset), hits.entered);
    match state.transition {
        Some(Transition::Next(next)) => add(Kind::Transition, format!("→ {}", name(next)), key("Next"), hits.goes_on),
        Some(Transition::End) => add(Kind::Transition, "→ end".to_owned(), key("End"), hits.goes_on),
        None => {}
    }
    if let StateKind::Choice(choice) = &state.kind {
        for (index, rule) in choice.rules.iter().enumerate() {
            let offset = place.and_then(|place| place.fields.choices.get(index)).map(|rule| rule.place.offset);
            add(Kind::Rule, format!("rule {} → {}", index + 1, name(rule.next)), offset, nth(&hits.chooses, index));
        }
        if let Some(default) = choice.default {
            add(Kind::Rule, format!("default → {}", name(default)), key("Default"), nth(&hits.chooses, choice.rules.len()));
        }
    }
    for (index, retrier) in state.retriers.iter().enumerate().filter(|(_, retrier)| retrier.max_attempts > 0) {
        let offset = place.and_then(|place| place.fields.retriers.get(index)?.error_equals.as_ref()).map(|errors| errors.place.offset);
        add(Kind::Retrier, format!("retrier {} of {}", index + 1, retrier.error_equals.join(", ")), offset, nth(&hits.retries, index));
    }
    for (index, catcher) in state.catchers.iter().enumerate() {
        let offset = place.and_then(|place| place.fields.catchers.get(index)).map(|catcher| catcher.place.offset);
        let what = format!("catcher {} of {} → {}", index + 1, catcher.error_equals.join(", "), name(catcher.next));
        add(Kind::Catcher, what, offset, nth(&hits.catches, index));
    }
}

fn states_by_name(tree: &ast::StateMachine) -> BTreeMap<&str, &ast::State> {
    let mut found = BTreeMap::new();
    let mut open = vec![&tree.body];
    while let Some(level) = open.pop() {
        for state in &level.states {
            found.insert(state.name.value.as_str(), state);
            open.extend(state.inner());
        }
    }
    found
}

/// Finds lines of the file.
struct Lines<'d> {
    definition: &'d Definition,
    /// Where the lines of the JSON text begin.
    starts: Vec<usize>,
}

impl<'d> Lines<'d> {
    fn new(definition: &'d Definition) -> Self {
        Self { definition, starts: std::iter::once(0).chain(definition.text.match_indices('\n').map(|(at, _)| at + 1)).collect() }
    }

    /// The line of the JSON's byte `offset`, in the file; `otherwise` where there is none.
    fn at(&self, offset: Option<usize>, otherwise: u32) -> u32 {
        let Some(offset) = offset else { return otherwise };
        let in_json = || u32::try_from(self.starts.partition_point(|&start| start <= offset)).unwrap_or(u32::MAX);
        self.definition.yaml_line(offset).unwrap_or_else(in_json)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expressway_engine::hir::WorkflowType;

    use super::super::case;
    use super::super::runner::{Machine, judge};
    use super::*;

    const TEXT: &str = r#"{
  "StartAt": "C",
  "States": {
    "C": {
      "Type": "Choice",
      "Choices": [
        {"Variable": "$.n", "NumericEquals": 1, "Next": "T"},
        {"Variable": "$.n", "NumericEquals": 2, "Next": "T"}
      ],
      "Default": "F"
    },
    "T": {
      "Type": "Task", "Resource": "native:x",
      "Retry": [{"ErrorEquals": ["A"], "MaxAttempts": 0}, {"ErrorEquals": ["B"]}, {"ErrorEquals": ["C"]}],
      "Catch": [
        {"ErrorEquals": ["A"], "Next": "S"},
        {"ErrorEquals": ["States.ALL"], "Next": "S"}
      ],
      "Next": "S"
    },
    "S": {"Type": "Succeed"},
    "F": {"Type": "Fail"}
  }
}"#;

    fn covered(cases: &str) -> Coverage {
        let machine = Machine::compile(TEXT, WorkflowType::Express, "m").expect("valid");
        let mut hits = Hits::default();
        let compiled = Ok(Machine::compile(TEXT, WorkflowType::Express, "m").expect("valid"));
        for case in case::parse(cases).expect("cases") {
            hits.add(&judge(&case, &compiled, None).trail.hits);
        }
        Coverage::of(&Definition::json(Path::new("m.asl.json"), TEXT.to_owned()), &machine.hir, &hits)
    }

    fn missed(cases: &str) -> Vec<(u32, String)> {
        covered(cases).missed().map(|point| (point.line, format!("{} {}", point.state, point.what))).collect()
    }

    #[test]
    fn nothing_is_reached_without_cases() {
        let coverage = covered("[]");
        assert_eq!(coverage.total(), Share { reached: 0, total: 4 + 1 + 3 + 2 + 2 });
        assert_eq!(Kind::ALL.map(|kind| coverage.share(kind).total), [4, 1, 3, 2, 2]);
    }

    #[test]
    fn two_rules_to_one_state_are_told_apart_and_so_are_catchers() {
        let cases = r"
- {name: a, input: {n: 2}, mocks: {sfn_local: {T: {'0': {Throw: {Error: C}}, '1': {Throw: {Error: A}}}}}, expect: {status: SUCCEEDED}}
- {name: b, input: {n: 3}, expect: {status: FAILED}}
";
        let expected = [(7, "C rule 1 → T"), (19, "T → S"), (14, "T retrier 2 of B"), (17, "T catcher 2 of States.ALL → S")];
        assert_eq!(missed(cases), expected.map(|(line, what)| (line, what.to_owned())));
    }

    #[test]
    fn a_full_suite_misses_nothing() {
        let cases = r"
- {name: a, input: {n: 1}, mocks: {sfn_local: {T: {'0': {Throw: {Error: B}}, '1': {Throw: {Error: C}}, '2': {Return: 1}}}}, expect: {status: SUCCEEDED}}
- {name: b, input: {n: 2}, mocks: {sfn_local: {T: {'0': {Throw: {Error: A}}}}}, expect: {status: SUCCEEDED}}
- {name: c, input: {n: 2}, mocks: {sfn_local: {T: {'0': {Throw: {Error: D}}}}}, expect: {status: SUCCEEDED}}
- {name: d, input: {n: 3}, expect: {status: FAILED}}
";
        assert_eq!(missed(cases), []);
        assert!((covered(cases).total().percent() - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn lines_of_yaml_are_those_of_its_keys() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("m.asl.yaml");
        std::fs::write(&path, "# Next: A\nStartAt: A\nStates:\n  A:\n    Type: Pass\n    Next: B\n  \"B\": {Type: Pass, End: true}\n").expect("written");
        let definition = Definition::read(&path).expect("YAML");
        let machine = Machine::compile(&definition.text, WorkflowType::Express, "m").expect("valid");
        let coverage = Coverage::of(&definition, &machine.hir, &Hits::default());
        let lines: Vec<_> = coverage.points.iter().map(|point| (point.kind, point.line)).collect();
        assert_eq!(lines, [(Kind::State, 4), (Kind::Transition, 6), (Kind::State, 7), (Kind::Transition, 7)]);
    }
}
