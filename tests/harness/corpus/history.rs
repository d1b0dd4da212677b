//! Histories in the form of the corpus, `[{id, prev, type, details}]`, and how they are compared.

use expressway_engine::history::{Entry, Fact};
use serde_json::{Map, Value, json};

use super::case::Case;
use super::compare::Bindings;
use super::normalise;

/// Whether a history is the recorded one.
///
/// # Errors
/// Says where and how they differ.
pub fn compare(case: &Case, entries: &[Entry]) -> Result<(), String> {
    let recorded: Vec<Value> = case.field("history").as_array().into_iter().flatten().map(|event| normalise::event(case, event)).collect();
    let mut actual: Vec<Value> = entries.iter().map(|entry| normalise::event(case, &event(entry))).collect();
    let mut bindings = Bindings::default();
    let mut at = 0;
    while at < recorded.len() {
        let sorted = recorded[at..].iter().take_while(|event| event["id"] == 0).count();
        if sorted == 0 {
            let Some(event) = actual.get(at) else { return Err(format!("the history ends before {}", name(&recorded[at]))) };
            same(&mut bindings, &recorded[at], event)?;
            at += 1;
        } else {
            unsort(&recorded, &mut actual, at, sorted, &mut bindings)?;
            at += sorted;
        }
    }
    match actual.get(recorded.len()) {
        Some(extra) => Err(format!("the history goes on with {}", name(extra))),
        None => Ok(()),
    }
}

/// An event as the corpus writes it: data parsed, its `…Details` left out.
fn event(entry: &Entry) -> Value {
    let mut event = json!({"id": entry.id, "prev": entry.previous, "type": entry.type_name});
    if let Some(details) = &entry.details {
        event["details"] = details.iter().map(|(name, fact)| ((*name).to_owned(), member(fact))).collect::<Map<_, _>>().into();
    }
    event
}

fn member(fact: &Fact) -> Value {
    match fact {
        Fact::Text(text) => Value::from(&**text),
        Fact::Number(number) => Value::from(*number),
        Fact::Data(json) => parse(json),
        Fact::Member(name, text) => json!({*name: &**text}),
        Fact::Variables(variables) => variables.iter().map(|(name, json)| (name.to_string(), parse(json))).collect::<Map<_, _>>().into(),
    }
}

/// What no parser of the harness takes stays text, which equals nothing that was recorded.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::from(json))
}

fn name(event: &Value) -> String {
    format!("{} {}", event["id"], event["type"].as_str().unwrap_or_default())
}

fn same(bindings: &mut Bindings, recorded: &Value, event: &Value) -> Result<(), String> {
    let mut event = event.clone();
    // A cause that was JSON text stands parsed under a name of its own.
    if recorded["details"].get("cause_json").is_some()
        && let Some(details) = event["details"].as_object_mut()
        && let Some(Value::String(cause)) = details.remove("cause")
    {
        details.insert("cause_json".to_owned(), parse(&cause));
    }
    bindings.compare(recorded, &event).map_err(|difference| format!("event {}: {difference}", name(recorded)))
}

/// The recorders of the corpus sorted the events inside a Parallel, took their ids away, and lost the event that closes it. Finds for each of the `count` events recorded from `at` on its like, and leaves `actual` as long as the recording.
fn unsort(recorded: &[Value], actual: &mut Vec<Value>, at: usize, count: usize, bindings: &mut Bindings) -> Result<(), String> {
    let is_closing = |event: &Value| matches!(event["type"].as_str(), Some("ParallelStateSucceeded" | "ParallelStateFailed"));
    let next = recorded.get(at + count).and_then(|event| event["id"].as_u64());
    let first = actual.get(at).and_then(|event| event["id"].as_u64());
    if let (Some(next), Some(first)) = (next, first)
        && usize::try_from(next - first).is_ok_and(|length| length == count + 1)
        && let Some(closing) = actual.iter().take(at + count + 1).rposition(is_closing).filter(|&closing| closing >= at)
    {
        actual.remove(closing);
    }
    let inside = actual.get_mut(at..at + count).ok_or("the history ends inside a Parallel")?;
    for event in inside.iter_mut() {
        event["id"] = 0.into();
        event["prev"] = 0.into();
    }
    for (place, expected) in recorded[at..at + count].iter().enumerate() {
        let mut difference = format!("event {} is missing", name(expected));
        let like = (place..count).find(|&candidate| {
            let mut attempt = bindings.clone();
            match same(&mut attempt, expected, &inside[candidate]) {
                Ok(()) => {
                    *bindings = attempt;
                    true
                }
                Err(found) => {
                    if expected["type"] == inside[candidate]["type"] {
                        difference = found;
                    }
                    false
                }
            }
        });
        inside.swap(place, like.ok_or(difference)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expressway_engine::Timestamp;

    use super::*;

    fn entry(id: u64, previous: u64, type_name: &'static str, details: Vec<(&'static str, Fact)>) -> Entry {
        Entry { id, previous, at: Timestamp(0), type_name, state: None, details: Some(details) }
    }

    fn case(history: Value) -> Case {
        Case { id: "c".to_owned(), group: "g".to_owned(), body: json!({ "history": history }), own: false }
    }

    #[test]
    fn every_member_counts() {
        let recorded = case(json!([{"id": 1, "prev": 0, "type": "T", "details": {"input": {"a": 1}, "name": "S"}}]));
        let (input, state) = (("input", Fact::Data("{\"a\":1.0}".into())), ("name", Fact::Text("S".into())));
        assert_eq!(compare(&recorded, &[entry(1, 0, "T", vec![input.clone(), state.clone()])]), Ok(()));
        assert!(compare(&recorded, &[entry(1, 0, "T", vec![input.clone()])]).is_err());
        assert!(compare(&recorded, &[entry(1, 1, "T", vec![input.clone(), state.clone()])]).is_err());
        assert!(compare(&recorded, &[]).is_err());
        let twice = [entry(1, 0, "T", vec![input.clone(), state.clone()]), entry(2, 1, "T", vec![input, state])];
        assert!(compare(&recorded, &twice).is_err());
    }

    #[test]
    fn sorted_events_of_a_parallel_are_found_in_any_order() {
        let recorded = case(json!([
            {"id": 1, "prev": 0, "type": "ParallelStateStarted", "details": {}},
            {"id": 0, "prev": 0, "type": "A", "details": {}},
            {"id": 0, "prev": 0, "type": "B", "details": {}},
            {"id": 5, "prev": 3, "type": "ParallelStateExited", "details": {}},
        ]));
        let history = |second: &'static str, third: &'static str| {
            [
                entry(1, 0, "ParallelStateStarted", vec![]),
                entry(2, 1, second, vec![]),
                entry(3, 1, third, vec![]),
                entry(4, 3, "ParallelStateSucceeded", vec![]),
                entry(5, 3, "ParallelStateExited", vec![]),
            ]
        };
        assert_eq!(compare(&recorded, &history("B", "A")), Ok(()));
        assert!(compare(&recorded, &history("A", "A")).is_err());
    }

    #[test]
    fn a_cause_that_was_json_is_compared_as_json() {
        let recorded = case(json!([{"id": 1, "prev": 0, "type": "T", "details": {"cause_json": {"a": 1}}}]));
        assert_eq!(compare(&recorded, &[entry(1, 0, "T", vec![("cause", Fact::Text("{\"a\": 1}".into()))])]), Ok(()));
        assert!(compare(&recorded, &[entry(1, 0, "T", vec![("cause", Fact::Text("text".into()))])]).is_err());
    }
}
