//! The JSON Schema of the configuration, for editors: made of what reading it asks for and of the comments in `default.yaml`, so that it cannot say anything else than they do.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fault::join;
use super::layers::{self, DEFAULT_YAML, Layers};
use super::section::{Section, Shape};
use super::sections::Config;
use super::tree::{Kind, Node};

/// A text that a placeholder fills in stands for any scalar.
const PLACEHOLDER: &str = "\\$\\{";

/// The schema, in JSON Schema's draft of 2020-12.
///
/// # Panics
/// Never: the defaults are compiled in, and a test merges them.
#[must_use]
pub fn schema() -> Value {
    let one_pipeline = Layers { file: Some(("schema", "pipelines: [{}]")), ..Layers::default() };
    let tree = layers::merged(&one_pipeline).expect("an empty pipeline is a fault of its values only");
    // The required keys of the pipeline are missing, which is not what is asked here.
    let (faults, read) = (RefCell::default(), RefCell::default());
    Config::read(&Section::root(&tree, &faults, &read));
    let missing: Vec<String> = faults.into_inner().into_iter().filter(|fault| fault.problem.starts_with("required")).map(|fault| fault.key).collect();
    let told = Told { shapes: read.into_inner(), comments: comments(), missing };
    let mut schema = told.object("", &tree);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Configuration of Expressway"));
    Value::Object(schema)
}

/// What is known of the keys, by their paths.
struct Told {
    shapes: BTreeMap<String, Shape>,
    comments: BTreeMap<String, String>,
    /// Keys without a default.
    missing: Vec<String>,
}

impl Told {
    fn object(&self, path: &str, node: &Node) -> Map<String, Value> {
        let Kind::Map(members) = &node.kind else { return Map::new() };
        let properties: Map<String, Value> = members.iter().map(|(key, node)| (key.clone(), self.value(&join(path, key), node))).collect();
        let required: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).filter(|key| self.missing.contains(&join(path, key))).collect();
        let mut schema = Map::new();
        // A section that is named and left empty changes nothing.
        schema.insert("type".to_owned(), json!(["object", "null"]));
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("additionalProperties".to_owned(), json!(false));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema
    }

    fn value(&self, path: &str, node: &Node) -> Value {
        let mut schema = match (&node.kind, self.shapes.get(path)) {
            (Kind::List(entries), Some(Shape::Section)) => {
                let entry = entries.first().map(|entry| self.object(&format!("{path}[0]"), entry)).unwrap_or_default();
                Map::from_iter([("type".to_owned(), json!("array")), ("items".to_owned(), Value::Object(entry))])
            }
            (_, None | Some(Shape::Section)) => self.object(path, node),
            (_, Some(shape)) => scalar(shape, node),
        };
        if let Some(comment) = self.comments.get(path) {
            schema.insert("description".to_owned(), json!(comment));
        }
        Value::Object(schema)
    }
}

fn scalar(shape: &Shape, node: &Node) -> Map<String, Value> {
    let or_placeholder = |schema: Value| json!({"anyOf": [schema, {"type": "string", "pattern": PLACEHOLDER}]});
    let number = |text: &str| text.parse::<u64>().map_or(Value::Null, Value::from);
    let schema = match shape {
        Shape::Section => json!({}),
        Shape::Text { allowed } if allowed.is_empty() => json!({"type": ["string", "null"]}),
        Shape::Text { allowed } => json!({"type": ["string", "null"], "$comment": allowed}),
        Shape::Count { least, most } => or_placeholder(json!({"type": "integer", "minimum": number(least), "maximum": number(most)})),
        Shape::Flag => or_placeholder(json!({"type": "boolean"})),
        Shape::Word(words) => or_placeholder(json!({"enum": words})),
        Shape::Texts => json!({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
        Shape::Table => json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
    };
    let Value::Object(mut schema) = schema else { return Map::new() };
    match &node.kind {
        Kind::Bool(value) => drop(schema.insert("default".to_owned(), json!(value))),
        Kind::Number(text) => drop(schema.insert("default".to_owned(), number(text))),
        Kind::Text(text) => drop(schema.insert("default".to_owned(), json!(text))),
        Kind::Null | Kind::List(_) | Kind::Map(_) => {}
    }
    schema
}

/// The comment above each key of `default.yaml`; entries of lists count as `key[0]`.
fn comments() -> BTreeMap<String, String> {
    let mut comments = BTreeMap::new();
    let (mut comment, mut open): (Vec<&str>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    for line in DEFAULT_YAML.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let is_entry = text.starts_with("- ");
        let text = text.trim_start_matches("- ");
        if let Some((key, _)) = text.split_once(':').filter(|_| !text.is_empty()) {
            let indent = line.len() - text.len();
            open.retain(|(other, _)| *other < indent);
            let parent = open.last().map_or("", |(_, path)| path.as_str());
            // All keys of the one template pipeline belong to the list's first entry.
            let parent = if is_entry || parent == "pipelines" { format!("{parent}[0]") } else { parent.to_owned() };
            let path = join(&parent, key);
            comments.insert(path.clone(), comment.join(" "));
            open.push((indent, path));
        }
        comment.clear();
    }
    comments
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    /// The part of JSON Schema that the schema uses.
    fn fits(schema: &Value, value: &Value) -> bool {
        let is_of = |name: &str| match value {
            Value::Null => name == "null",
            Value::Bool(_) => name == "boolean",
            Value::Number(number) => name == "number" || name == "integer" && number.is_u64(),
            Value::String(_) => name == "string",
            Value::Array(_) => name == "array",
            Value::Object(_) => name == "object",
        };
        let mut rules = schema.as_object().expect("an object").iter();
        rules.all(|(rule, wanted)| match rule.as_str() {
            "type" => wanted.as_str().map_or_else(|| wanted.as_array().expect("names").iter().any(|name| is_of(name.as_str().expect("a name"))), is_of),
            "enum" => wanted.as_array().expect("words").contains(value),
            "anyOf" => wanted.as_array().expect("schemas").iter().any(|schema| fits(schema, value)),
            "minimum" => value.as_u64() >= wanted.as_u64(),
            "maximum" => value.as_u64() <= wanted.as_u64(),
            "pattern" => value.as_str().is_some_and(|text| text.contains("${")),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(wanted, item))),
            "required" => {
                value.as_object().is_none_or(|members| wanted.as_array().expect("keys").iter().all(|key| members.contains_key(key.as_str().expect("a key"))))
            }
            "properties" => true,
            "additionalProperties" => value.as_object().is_none_or(|members| {
                members.iter().all(|(key, value)| match schema["properties"].get(key) {
                    Some(schema) => fits(schema, value),
                    None => wanted.is_object() && fits(wanted, value),
                })
            }),
            "$schema" | "$comment" | "title" | "description" | "default" => true,
            rule => panic!("{rule} is not looked at"),
        })
    }

    fn check(text: &str, expected: bool) {
        let value = yaml::parse(text).expect("YAML");
        assert_eq!(fits(&schema(), &value), expected, "{text}");
    }

    #[test]
    fn files_of_the_repository_fit() {
        for name in ["local", "production"] {
            let path = format!("{}/../configs/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            check(&std::fs::read_to_string(path).expect(name), true);
        }
    }

    #[test]
    fn what_is_refused_does_not_fit() {
        let pipeline = "{name: a, definition: b, source_topics: [c], result_topic: d, dead_letter_topic: e";
        check(&format!("pipelines: [{pipeline}}}]"), true);
        check(&format!("pipelines: [{pipeline}, on_null: skip, mocks: {{file: x}}}}]"), true);
        check(&format!("pipelines: [{pipeline}, on_null: forget}}]"), false);
        check(&format!("pipelines: [{pipeline}, colour: red}}]"), false);
        check("pipelines: [{name: a}]", false);
        check("kafka: {client_options: {linger.ms: 5, anything: x}}", true);
        check("kafka: {client_options: {linger.ms: [5]}}", false);
        check("service: {shards: 256, pin_threads: true}", true);
        check("service: {shards: '${SHARDS}', pin_threads: '${PIN:false}'}", true);
        check("service: {shards: 257}", false);
        check("service: {pin_threads: 1}", false);
        check("colour: red", false);
        check("service:", true);
    }

    #[test]
    fn every_key_is_described() {
        fn described(path: &str, schema: &Value) {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                let path = join(path, key);
                assert!(schema["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
                described(&path, schema);
                described(&path, &schema["items"]);
            }
        }
        let schema = schema();
        described("", &schema);
        assert_eq!(
            schema["properties"]["pipelines"]["items"]["properties"]["mocks"]["properties"]["file"]["description"],
            "The mock file; null (not set) means no mocks."
        );
        assert_eq!(schema["properties"]["service"]["properties"]["shards"]["default"], 0);
    }
}
