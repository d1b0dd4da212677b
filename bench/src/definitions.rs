//! Definitions made to measure: as many states, rules, branches or items as asked for.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a Pass state of a chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// No work on data.
    Pass,
    /// A constant Result into a ResultPath, replaced by each state.
    Constant,
    /// Parameters of two paths into a ResultPath, replaced by each state.
    Template,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Constant, Self::Template];

    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Constant => "constant",
            Self::Template => "template",
        }
    }

    fn fields(self) -> &'static str {
        match self {
            Self::Pass => r#""Type":"Pass""#,
            Self::Constant => r#""Type":"Pass","Result":{"level":"low"},"ResultPath":"$.x""#,
            Self::Template => r#""Type":"Pass","Parameters":{"id.$":"$.deviceId","at.$":"$.ts"},"ResultPath":"$.x""#,
        }
    }

    /// What a chain makes of a message, by hand.
    ///
    /// # Errors
    /// The message is no JSON.
    pub fn expected(self, message: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(message)?;
        match self {
            Self::Pass => {}
            Self::Constant => value["x"] = json!({"level": "low"}),
            Self::Template => value["x"] = json!({"id": value["deviceId"], "at": value["ts"]}),
        }
        serde_json::to_vec(&value)
    }
}

/// `count` Pass states, one after the other.
#[must_use]
pub fn chain(count: u32, work: Work) -> String {
    let count = count.max(1);
    let state = |index: u32| format!(r#""S{index}":{{{},{}}}"#, work.fields(), next(index + 1 < count, &format!("S{}", index + 1)));
    machine("S0", (0..count).map(state))
}

/// What a Choice state compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rules {
    /// StringEquals; one of the rules always matches.
    String,
    /// NumericLessThan with rising bounds; where none matches, Default does.
    Number,
}

impl Rules {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::String, Self::Number];

    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
        }
    }

    /// Ways that a state can go: its rules, and Default where a value can miss them all.
    #[must_use]
    pub fn ways(self, rules: u32) -> u32 {
        match self {
            Self::String => rules,
            Self::Number => rules + 1,
        }
    }

    /// A member's value that makes a state go a way.
    #[must_use]
    pub fn value(self, way: u32) -> Value {
        match self {
            Self::String => format!("kind-{way:02}").into(),
            Self::Number => (way * 10 + 3).into(),
        }
    }

    fn rule(self, member: u32, way: u32) -> String {
        match self {
            Self::String => format!(r#""Variable":"$.k{member}","StringEquals":"kind-{way:02}""#),
            Self::Number => format!(r#""Variable":"$.k{member}","NumericLessThan":{}"#, (way + 1) * 10),
        }
    }
}

/// Which ways messages take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Hit {
    /// Any, each as often: no processor can guess it.
    Random,
    /// The last one, always: what the tests themselves cost.
    Last,
}

impl Hit {
    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Last => "last",
        }
    }
}

/// What the states behind a Choice do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Nothing: for timing.
    Silent,
    /// They write down which way was taken: for checking.
    Written,
}

/// `states` Choice states in turn, each with rules on a member of its own (`k0`, `k1`, …), each way leading over a Pass state of its own to the next.
#[must_use]
pub fn choices(states: u32, rules: u32, kind: Rules, trace: Trace) -> String {
    let mut all = Vec::new();
    for state in 0..states {
        let list: Vec<String> = (0..rules).map(|way| format!(r#"{{{},"Next":"P{state}-{way}"}}"#, kind.rule(state, way))).collect();
        all.push(format!(r#""C{state}":{{"Type":"Choice","Choices":[{}],"Default":"P{state}-{rules}"}}"#, list.join(",")));
        all.extend((0..=rules).map(|way| pass(&format!("P{state}-{way}"), state + 1 < states, &format!("C{}", state + 1), trace, state, way)));
    }
    machine("C0", all.into_iter())
}

/// The Pass states of [`choices`] without the Choice states.
#[must_use]
pub fn straight(states: u32) -> String {
    machine("P0", (0..states).map(|state| pass(&format!("P{state}"), state + 1 < states, &format!("P{}", state + 1), Trace::Silent, state, 0)))
}

fn pass(name: &str, goes_on: bool, to: &str, trace: Trace, state: u32, way: u32) -> String {
    let written = match trace {
        Trace::Silent => String::new(),
        Trace::Written => format!(r#""Result":{way},"ResultPath":"$.way{state}","#),
    };
    format!(r#""{name}":{{"Type":"Pass",{written}{}}}"#, next(goes_on, to))
}

/// A Map over `$.items` that adds and formats in each iteration.
pub const MAP: &str = include_str!("../cases/map20/definition.asl.json");

/// What [`MAP`] makes of a message, by hand.
///
/// # Errors
/// The message is no JSON.
pub fn map_expected(message: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let message: Value = serde_json::from_slice(message)?;
    let items = message["items"].as_array().map_or(&[][..], Vec::as_slice);
    let made = items.iter().map(|item| json!({"v": item["n"].as_i64().unwrap_or(0) + 1, "s": format!("item-{}", item["n"])}));
    serde_json::to_vec(&made.collect::<Vec<_>>())
}

/// A Parallel state of `branches` branches, each a template, with their results into `$.all`.
#[must_use]
pub fn parallel(branches: u32) -> String {
    let branch = |index: u32| {
        let fields = format!(r#""Type":"Pass","Parameters":{{"branch":{index},"id.$":"$.deviceId","at.$":"$.ts"}},"End":true"#);
        machine(&format!("B{index}"), std::iter::once(format!(r#""B{index}":{{{fields}}}"#)))
    };
    let branches: Vec<String> = (0..branches).map(branch).collect();
    machine("All", std::iter::once(format!(r#""All":{{"Type":"Parallel","Branches":[{}],"ResultPath":"$.all","End":true}}"#, branches.join(","))))
}

/// What [`parallel`] makes of a message, by hand.
///
/// # Errors
/// The message is no JSON.
pub fn parallel_expected(branches: u32, message: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut message: Value = serde_json::from_slice(message)?;
    let made: Vec<Value> = (0..branches).map(|index| json!({"branch": index, "id": message["deviceId"], "at": message["ts"]})).collect();
    message["all"] = made.into();
    serde_json::to_vec(&message)
}

/// The canonical workflow with a Wait of `seconds` before its second Choice.
///
/// # Panics
/// Never: the canonical workflow is JSON.
#[must_use]
pub fn waiting_heartbeat(seconds: u32) -> String {
    let mut definition: Value = serde_json::from_str(crate::workflow::HEARTBEAT).expect("the canonical workflow is JSON");
    definition["States"]["Enrich"]["Next"] = "Hold".into();
    definition["States"]["Hold"] = json!({"Type": "Wait", "Seconds": seconds, "Next": "Battery"});
    definition.to_string()
}

fn next(goes_on: bool, to: &str) -> String {
    if goes_on { format!(r#""Next":"{to}""#) } else { r#""End":true"#.to_owned() }
}

fn machine(start: &str, states: impl Iterator<Item = String>) -> String {
    let mut text = format!(r#"{{"StartAt":"{start}","States":{{"#);
    for (index, state) in states.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{state}").expect("a String takes all text");
    }
    text.push_str("}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::{Runner, program};

    fn run(definition: &str, input: &str) -> String {
        let program = program(definition, "made").unwrap();
        String::from_utf8(Runner::new(&program).execute(input.as_bytes(), 1).to_vec()).unwrap()
    }

    #[test]
    fn chains_of_every_length_do_what_is_expected_of_them() {
        let message = r#"{"deviceId":"d","ts":"t","battery":1}"#;
        for work in Work::ALL {
            for count in [0, 1, 2, 1_000] {
                assert_eq!(run(&chain(count, work), message).as_bytes(), work.expected(message.as_bytes()).unwrap(), "{count} {work:?}");
            }
        }
    }

    #[test]
    fn every_way_of_a_choice_is_reached_by_its_value() {
        for (kind, rules) in [(Rules::String, 1), (Rules::String, 20), (Rules::Number, 1), (Rules::Number, 20)] {
            let definition = choices(2, rules, kind, Trace::Written);
            for way in 0..kind.ways(rules) {
                let other = kind.ways(rules) - 1 - way;
                let output: Value = serde_json::from_str(&run(&definition, &json!({"k0": kind.value(way), "k1": kind.value(other)}).to_string())).unwrap();
                assert_eq!((&output["way0"], &output["way1"]), (&json!(way), &json!(other)), "{kind:?} {rules}");
            }
        }
        assert_eq!(run(&straight(8), "{}"), "{}");
    }

    #[test]
    fn waiting_workflow_ends_like_the_canonical_one() {
        let message = br#"{"deviceId":"d","type":"alert","ts":"t","battery":9}"#;
        let output = run(&waiting_heartbeat(60), &String::from_utf8_lossy(message));
        assert_eq!(output.as_bytes(), crate::reference::heartbeat(message, "heartbeats-0-1").unwrap());
    }

    #[test]
    fn forks_do_what_is_expected_of_them() {
        let message = r#"{"deviceId":"d","ts":"t","items":[{"n":4},{"n":-1}]}"#;
        assert_eq!(run(MAP, message).as_bytes(), map_expected(message.as_bytes()).unwrap());
        assert_eq!(run(MAP, message), r#"[{"v":5,"s":"item-4"},{"v":0,"s":"item--1"}]"#);
        assert_eq!(run(&parallel(3), message).as_bytes(), parallel_expected(3, message.as_bytes()).unwrap());
    }
}
