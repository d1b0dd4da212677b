//! Inputs, and what tasks answer.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::source::Source;
use crate::reference::{Answer, Call};

/// Nesting of made values.
const DEPTH_MAX: usize = 3;

/// Texts that mean something to some operator or function.
pub const TEXTS: [&str; 16] = [
    "",
    "a",
    "ab",
    "A b,c",
    "été ☂ 𝄞",
    "\"quoted\\ \n",
    "{\"k\":[1,2.50]}",
    "-0",
    "12",
    "{}",
    "2026-11-20T12:00:00Z",
    "2026-11-20T13:00:00.250+01:00",
    "2026-02-30T00:00:00Z",
    "2026-11-20 12:00:00Z",
    "YWI=",
    "a*b",
];

/// Numbers in several spellings, those that serde_json keeps.
pub const NUMBERS: [&str; 16] = ["0", "1", "2", "3", "-1", "1.0", "2.5", "-0.5", "0.1", "10", "1e+2", "3.50", "-2.5", "2147483647", "9007199254740993", "40"];

/// An object with members that the paths of the definitions know, mostly of the type that their name means.
pub fn input(source: &mut Source<'_>) -> Value {
    if source.chance(1) {
        return value(source, DEPTH_MAX);
    }
    let mut members = Map::new();
    for name in ["n", "s", "b", "l", "o", "t"] {
        if !source.chance(1) {
            members.insert(name.to_owned(), member(source, name));
        }
    }
    Value::Object(members)
}

fn member(source: &mut Source<'_>, name: &str) -> Value {
    match name {
        _ if source.chance(1) => value(source, 2),
        "n" => number(source),
        "s" => text(source),
        "b" => Value::Bool(source.chance(8)),
        "l" => (0..source.below(5)).map(|_| if source.chance(6) { value(source, 1) } else { item(source) }).collect(),
        "t" => json!(TEXTS[10 + source.below(2)]),
        _ => item(source),
    }
}

fn item(source: &mut Source<'_>) -> Value {
    json!({"n": number(source), "s": text(source), "b": source.chance(8)})
}

/// A number.
///
/// # Panics
/// Never: the numbers are JSON.
pub fn number(source: &mut Source<'_>) -> Value {
    serde_json::from_str(NUMBERS[source.below(NUMBERS.len())]).expect("the numbers are JSON")
}

/// A text.
pub fn text(source: &mut Source<'_>) -> Value {
    json!(TEXTS[source.below(TEXTS.len())])
}

/// Any value of at most `depth` levels.
pub fn value(source: &mut Source<'_>, depth: usize) -> Value {
    match source.below(if depth == 0 { 6 } else { 8 }) {
        0 | 1 => number(source),
        2 | 3 => text(source),
        4 => Value::Bool(source.chance(8)),
        5 => Value::Null,
        6 => (0..source.below(4)).map(|_| value(source, depth - 1)).collect(),
        _ => Value::Object((0..source.below(4)).map(|_| (source.pick(&["a", "n", "s", "x y", "l", "ü"]).to_owned(), value(source, depth - 1))).collect()),
    }
}

/// What a task answers: the same to the same call, whenever it comes.
#[must_use]
pub fn answer(seed: u64, call: &Call) -> Answer {
    let mut hasher = DefaultHasher::new();
    // Iterations differ by their number; anything else of the input may hold texts that are left open.
    (seed, &call.state, call.attempt, call.input["n"].as_number().map(ToString::to_string)).hash(&mut hasher);
    let bytes = hasher.finish().to_le_bytes();
    // No two answers of different tasks come at one instant, or hardly ever.
    let after_ms = 1 + hasher.finish() % 7_919;
    let mut source = Source::new(&bytes);
    match source.below(16) {
        0..=7 => Answer::Return(input(&mut source), after_ms),
        8 => Answer::Return(value(&mut source, 2), after_ms),
        9 if source.chance(4) => Answer::Silence,
        10 => Answer::Throw("E1".to_owned(), None, after_ms),
        11 => Answer::Throw("States.Permissions".to_owned(), Some("not \"allowed\"".to_owned()), after_ms),
        12 if source.chance(4) => Answer::Return(json!("x".repeat(262_143)), after_ms),
        _ => Answer::Throw("E2".to_owned(), Some("{\"why\": 2}".to_owned()), after_ms),
    }
}
