//! Which parts of a definition the cases have reached.
//!
//! Counted are states (entered), transitions (`Next` and `End`, taken after a state's work), rules of Choice states with `Default` as one more, retriers (that retried) and catchers (that caught). A retrier with `MaxAttempts` 0 can never retry and is not counted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use expressway_engine::asl::{self, ast};
use expressway_engine::hir::{State, StateId, StateKind, StateMachine, Transition};

use super::trail::{Hits, StateHits};

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
    /// The coverage of a definition: `text` is its JSON, `source` what lies in `file`, which may be YAML.
    #[must_use]
    pub fn of(file: PathBuf, text: &str, source: &str, machine: &StateMachine, hits: &Hits) -> Self {
        let (tree, _) = asl::parse(text);
        let lines = Lines::new(text, source);
        let places = tree.as_ref().map(states_by_name).unwrap_or_default();
        let mut points = Vec::new();
        for (state, id) in machine.states().iter().zip(0..) {
            let hits = hits.of(StateId(id)).cloned().unwrap_or_default();
            add_points(&mut points, state, machine, &hits, places.get(state.name.as_str()).copied(), &lines);
        }
        Self { file, points }
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

fn add_points(points: &mut Vec<Point>, state: &State, machine: &StateMachine, hits: &StateHits, place: Option<&ast::State>, lines: &Lines) {
    let name = |id: StateId| machine.states()[id.0 as usize].name.as_str();
    let own_line = lines.of_state(&state.name, place.map(|place| place.name.place.offset));
    let line = |offset: Option<usize>| lines.of_part(own_line, offset);
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
enum Lines {
    /// The file is the JSON text: where its lines begin.
    Json(Vec<usize>),
    /// The file is YAML, of whose places nothing is known: the line of the first key of each name.
    Yaml(BTreeMap<String, u32>),
}

impl Lines {
    fn new(text: &str, source: &str) -> Self {
        if text == source {
            return Self::Json(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect());
        }
        let mut found = BTreeMap::new();
        for (line, number) in source.lines().zip(1..) {
            let Some((key, _)) = line.trim_start().split_once(':') else { continue };
            let key = key.trim_matches(['"', '\'', ' ']);
            found.entry(key.to_owned()).or_insert(number);
        }
        Self::Yaml(found)
    }

    fn of_state(&self, name: &str, offset: Option<usize>) -> u32 {
        match self {
            Self::Json(_) => self.of_part(1, offset),
            Self::Yaml(lines) => lines.get(name).copied().unwrap_or(1),
        }
    }

    /// The line of a part of a state that begins at `state_line`.
    fn of_part(&self, state_line: u32, offset: Option<usize>) -> u32 {
        match (self, offset) {
            (Self::Json(starts), Some(offset)) => u32::try_from(starts.partition_point(|&start| start <= offset)).unwrap_or(u32::MAX),
            _ => state_line,
        }
    }
}

#[cfg(test)]
mod tests {
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
        Coverage::of("m.asl.json".into(), TEXT, TEXT, &machine.hir, &hits)
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
        let lines = Lines::new("{}", "StartAt: A\nStates:\n  A:\n    Type: Pass\n  \"B\": {}\n");
        assert_eq!([lines.of_state("A", None), lines.of_state("B", None), lines.of_state("Z", None)], [3, 5, 1]);
    }
}
