//! Heartbeats in many shapes: what a stream looks like when device models, firmware versions and libraries differ.
//!
//! A shape is an order of members, some left out, some added, and a style of whitespace. The members that the workflow reads are always there. The first shape is the canonical one; the others follow from their number, so the same shapes come on every machine.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::messages::Messages;
use expressway_ingest::random::Random;

/// Members without which the workflow would fail.
const NEEDED: [&str; 4] = ["deviceId", "type", "ts", "battery"];

/// Members that some shapes have in addition.
const FURTHER: [(&str, &str); 8] = [
    ("model", r#""sensor-2""#),
    ("region", r#""eu-central-1""#),
    ("uptime", "86400"),
    ("signal", r#"{"snr":7.25,"band":20}"#),
    ("tags", r#"["outdoor","battery"]"#),
    ("charging", "false"),
    ("error", "null"),
    ("gps", r#"{"lat":48.13,"lon":11.57,"fix":true}"#),
];

/// Where whitespace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Style {
    /// Nowhere.
    Compact,
    /// After each colon and comma, as Python writes.
    Spaced,
    /// A line a member, indented by two.
    Indented,
    /// A line break at the end only, as line-based senders write.
    Line,
}

const STYLES: [Style; 4] = [Style::Compact, Style::Spaced, Style::Indented, Style::Line];

/// How one kind of sender writes its messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    /// All members in their order, by name.
    members: Vec<String>,
    style: Style,
}

/// `count` heartbeats, each in one of `shapes` shapes at random; the same ones for the same seed.
///
/// # Panics
/// Never: the generator writes JSON objects.
#[must_use]
pub fn generate(count: u32, seed: u64, shapes: u32) -> Messages {
    let canonical = Messages::generate(count, seed);
    let read = |message: &[u8]| -> Map<String, Value> { serde_json::from_slice(message).expect("the generator writes JSON objects") };
    let Some(example) = canonical.iter().next().map(read) else { return canonical };
    let shapes = all(&example, shapes);
    let mut random = Random::new(seed ^ 0x5EED);
    canonical.iter().map(|message| write(&read(message), &shapes[random.index(shapes.len())])).collect()
}

/// So many different shapes, the canonical one first.
fn all(example: &Map<String, Value>, count: u32) -> Vec<Shape> {
    let canonical = Shape { members: example.keys().cloned().collect(), style: Style::Compact };
    let mut seen = BTreeSet::from([canonical.clone()]);
    let mut shapes = vec![canonical];
    let mut random = Random::new(0xD1CE);
    while shapes.len() < count.max(1) as usize {
        let mut members: Vec<String> = example.keys().filter(|name| NEEDED.contains(&name.as_str()) || random.below(4) > 0).cloned().collect();
        members.extend(FURTHER.iter().filter(|_| random.below(4) == 0).map(|(name, _)| (*name).to_owned()));
        // Half of the senders keep the usual order.
        if random.below(2) == 0 {
            random.shuffle(&mut members);
        }
        let shape = Shape { members, style: STYLES[random.index(STYLES.len())] };
        if seen.insert(shape.clone()) {
            shapes.push(shape);
        }
    }
    shapes
}

fn write(message: &Map<String, Value>, shape: &Shape) -> Vec<u8> {
    let value = |name: &str| -> Value {
        let further = || FURTHER.iter().find(|(further, _)| *further == name).and_then(|(_, text)| serde_json::from_str(text).ok());
        message.get(name).cloned().or_else(further).unwrap_or_default()
    };
    let object: Map<String, Value> = shape.members.iter().map(|name| (name.clone(), value(name))).collect();
    let mut text = String::new();
    put(&Value::Object(object), shape.style, 1, &mut text);
    if shape.style == Style::Line {
        text.push('\n');
    }
    text.into_bytes()
}

fn put(value: &Value, style: Style, depth: usize, out: &mut String) {
    let (open, close, members): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(members) => ('{', '}', members.iter().map(|(name, value)| (Some(name), value)).collect()),
        Value::Array(elements) => ('[', ']', elements.iter().map(|element| (None, element)).collect()),
        leaf => return out.push_str(&leaf.to_string()),
    };
    out.push(open);
    for (index, (name, member)) in members.iter().enumerate() {
        if index > 0 {
            out.push_str(if style == Style::Spaced { ", " } else { "," });
        }
        line(style, depth, out);
        if let Some(name) = name {
            out.push_str(&Value::from(name.as_str()).to_string());
            out.push_str(if matches!(style, Style::Spaced | Style::Indented) { ": " } else { ":" });
        }
        put(member, style, depth + 1, out);
    }
    line(style, depth - 1, out);
    out.push(close);
}

fn line(style: Style, depth: usize, out: &mut String) {
    if style == Style::Indented {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shape_is_the_canonical_one() {
        let (one, canonical) = (generate(200, 3, 1), Messages::generate(200, 3));
        assert!(one.iter().eq(canonical.iter()));
    }

    #[test]
    fn shapes_are_as_many_as_asked_for_and_all_differ() {
        let example: Map<String, Value> = serde_json::from_slice(Messages::generate(1, 1).iter().next().unwrap()).unwrap();
        for count in [1, 4, 8, 1_000] {
            let shapes: BTreeSet<_> = all(&example, count).into_iter().collect();
            assert_eq!(shapes.len(), count as usize);
            assert!(shapes.iter().all(|shape| NEEDED.iter().all(|needed| shape.members.iter().any(|name| name == needed))));
        }
        assert!(all(&example, 8).starts_with(&all(&example, 4)), "more shapes are further ones");
    }

    #[test]
    fn every_style_says_the_same() {
        let message: Map<String, Value> = serde_json::from_slice(Messages::generate(1, 1).iter().next().unwrap()).unwrap();
        let text = |style| String::from_utf8(write(&message, &Shape { members: message.keys().cloned().collect(), style })).unwrap();
        for style in STYLES {
            assert_eq!(serde_json::from_str::<Map<String, Value>>(&text(style)).unwrap(), message, "{style:?}");
        }
        assert_eq!(text(Style::Line), format!("{}\n", text(Style::Compact)));
        assert!(text(Style::Spaced).starts_with(r#"{"deviceId": ""#) && text(Style::Indented).starts_with("{\n  \"deviceId\": \""));
    }
}
