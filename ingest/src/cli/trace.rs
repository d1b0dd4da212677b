//! The path of an execution for people: each state with its input, output, time and error, in the order in which they were entered; what runs inside a Parallel or Map stands below it.
//!
//! Made from the history alone: an event says which event led to it, so its chain leads to the visit of the state that it belongs to, also where branches ran interleaved.

use std::fmt::Write as _;

use expressway_engine::Timestamp;
use expressway_engine::history::{Entry, Fact};

/// Characters of a value or cause that are shown; `--history` shows all of it.
const TEXT_CHARACTERS_MAX: usize = 500;

/// Indentation of one level.
const LEVEL: usize = 4;

/// One stay in a state.
struct Visit<'h> {
    state: &'h str,
    type_name: &'h str,
    /// The Parallel or Map around it.
    parent: Option<usize>,
    /// Which iteration of the Map around it.
    iteration: Option<u64>,
    entered: Timestamp,
    left: Option<Timestamp>,
    /// What happened, a label and a text each.
    notes: Vec<(&'static str, String)>,
}

/// The path that `entries` tell of, under `title`.
pub(super) fn render(title: &str, entries: &[Entry]) -> String {
    let began = entries.first().map_or(Timestamp(0), |entry| entry.at);
    let (visits, end) = visits(entries);
    let mut out = format!("{title}: {end}\n");
    for (index, visit) in visits.iter().enumerate() {
        let mut depth = 1;
        let mut around = visit.parent;
        while let Some(parent) = around {
            depth += 1;
            around = visits[parent].parent;
        }
        let indent = " ".repeat(depth * LEVEL - 2);
        let iteration = visit.iteration.map_or_else(String::new, |iteration| format!(" [{iteration}]"));
        let took = visit.left.map_or_else(|| "not left".to_owned(), |left| format!("took {} ms", left.0 - visit.entered.0));
        let at = visit.entered.0 - began.0;
        line(&mut out, format_args!("{indent}{}. {}{iteration} ({}) at +{at} ms, {took}", index + 1, visit.state, visit.type_name));
        for (label, text) in &visit.notes {
            line(&mut out, format_args!("{indent}     {label:<8}{}", shorten(text)));
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{}", text.to_string().trim_end()).expect("writing to a String cannot fail");
}

/// All visits in order, and how the execution ended.
fn visits(entries: &[Entry]) -> (Vec<Visit<'_>>, String) {
    let mut visits: Vec<Visit<'_>> = Vec::new();
    // By event id: the visit that it belongs to.
    let mut visit_of: Vec<Option<usize>> = vec![None; entries.len() + 1];
    let mut end = "has not ended".to_owned();
    for entry in entries {
        let previous = usize::try_from(entry.previous).ok().filter(|&id| id > 0).and_then(|id| Some((entries.get(id - 1)?, (*visit_of.get(id)?)?)));
        let visit = match entry.state.as_deref() {
            None => {
                if let Some(text) = ending(entry) {
                    let took = entry.at.0 - entries[0].at.0;
                    end = format!("{text} after {took} ms");
                    if let (Some((_, visit)), Some(error)) = (previous, error(entry)) {
                        note_once(&mut visits[visit], "error", error);
                    }
                }
                None
            }
            Some(state) if entry.type_name.ends_with("StateEntered") => {
                visits.push(entered(entry, state, previous, &visits));
                Some(visits.len() - 1)
            }
            Some(state) => {
                let visit = previous.and_then(|(_, visit)| around(&visits, visit, state));
                if let Some(visit) = visit {
                    note(&mut visits[visit], entry);
                }
                visit
            }
        };
        if let Some(place) = usize::try_from(entry.id).ok().and_then(|id| visit_of.get_mut(id)) {
            *place = visit;
        }
    }
    (visits, end)
}

/// The visit of `state` that is `visit` or lies around it.
fn around(visits: &[Visit<'_>], visit: usize, state: &str) -> Option<usize> {
    let mut at = Some(visit);
    while let Some(index) = at.filter(|&index| visits[index].state != state) {
        at = visits[index].parent;
    }
    at
}

fn entered<'h>(entry: &'h Entry, state: &'h str, previous: Option<(&Entry, usize)>, visits: &[Visit<'_>]) -> Visit<'h> {
    let (parent, iteration) = match previous {
        None => (None, None),
        Some((before, visit)) if before.type_name == "ParallelStateStarted" => (Some(visit), None),
        Some((before, visit)) if before.type_name == "MapIterationStarted" => (Some(visit), number(before, "index")),
        Some((_, visit)) => (visits[visit].parent, visits[visit].iteration),
    };
    let notes = text(entry, "input").map(|input| ("input", input)).into_iter().collect();
    let type_name = entry.type_name.trim_end_matches("StateEntered");
    Visit { state, type_name, parent, iteration, entered: entry.at, left: None, notes }
}

/// Adds what an event tells to its visit.
fn note(visit: &mut Visit<'_>, entry: &Entry) {
    let type_name = entry.type_name;
    if type_name.ends_with("StateExited") {
        visit.left = Some(entry.at);
        visit.notes.extend(text(entry, "output").map(|output| ("output", output)));
        if let Some(Fact::Variables(variables)) = entry.fact("assignedVariables") {
            let assigned: Vec<String> = variables.iter().map(|(name, json)| format!("${name} = {json}")).collect();
            visit.notes.push(("assigns", assigned.join(", ")));
        }
    } else if type_name.starts_with("MapIteration") {
        // Told by the states inside; a failed or aborted one is worth a line.
        if type_name.ends_with("Failed") || type_name.ends_with("Aborted") {
            let index = number(entry, "index").unwrap_or_default();
            visit.notes.push(("item", format!("[{index}] {}", if type_name.ends_with("Failed") { "failed" } else { "aborted" })));
        }
    } else if type_name.ends_with("Scheduled") {
        let (service, name) = (text(entry, "resourceType"), text(entry, "resource").unwrap_or_default());
        let resource = service.map_or_else(|| name.clone(), |service| format!("{service}:{name}"));
        let input = text(entry, "parameters").or_else(|| text(entry, "input")).unwrap_or_default();
        visit.notes.push(("call", format!("{resource} with {input}")));
    } else if type_name.ends_with("StateStarted") {
        let length = number(entry, "length");
        visit.notes.push(("starts", length.map_or_else(|| "its branches".to_owned(), |length| format!("{length} items"))));
    } else if type_name.ends_with("StateAborted") {
        visit.notes.push(("aborted", String::new()));
    } else if type_name.ends_with("Failed") || type_name.ends_with("TimedOut") {
        visit.notes.extend(error(entry).map(|error| ("error", error)));
    } else if type_name.ends_with("Succeeded") {
        visit.notes.extend(text(entry, "output").map(|output| ("result", output)));
    }
}

/// An error that fails the execution is told where it arose, unless that has been said.
fn note_once(visit: &mut Visit<'_>, label: &'static str, text: String) {
    if visit.notes.last().is_none_or(|last| last.1 != text) {
        visit.notes.push((label, text));
    }
}

fn ending(entry: &Entry) -> Option<String> {
    let word = match entry.type_name {
        "ExecutionSucceeded" => "SUCCEEDED",
        "ExecutionFailed" => "FAILED",
        "ExecutionTimedOut" => "TIMED_OUT",
        _ => return None,
    };
    Some(error(entry).map_or_else(|| word.to_owned(), |error| format!("{word} with {}", shorten(&error))))
}

/// Error and cause of an event that has one of them.
fn error(entry: &Entry) -> Option<String> {
    match (text(entry, "error"), text(entry, "cause")) {
        (Some(error), Some(cause)) => Some(format!("{error}: {cause}")),
        (Some(text), None) | (None, Some(text)) => Some(text),
        (None, None) => None,
    }
}

fn text(entry: &Entry, name: &str) -> Option<String> {
    match entry.fact(name)? {
        Fact::Text(text) | Fact::Data(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(entry: &Entry, name: &str) -> Option<u64> {
    match entry.fact(name)? {
        Fact::Number(number) => Some(*number),
        _ => None,
    }
}

/// On one line, and no longer than a person reads.
fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_CHARACTERS_MAX).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().nth(TEXT_CHARACTERS_MAX).is_some() {
        write!(shown, "… ({} bytes)", text.len()).expect("writing to a String cannot fail");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, previous: u64, type_name: &'static str, state: Option<&str>, details: Vec<(&'static str, Fact)>) -> Entry {
        Entry { id, previous, at: Timestamp(1_000 + id * 10), type_name, state: state.map(Into::into), details: Some(details) }
    }

    fn data(name: &'static str, json: &str) -> (&'static str, Fact) {
        (name, Fact::Data(json.into()))
    }

    #[test]
    fn interleaved_iterations_stand_below_their_map() {
        let index = |index| ("index", Fact::Number(index));
        let entries = [
            entry(1, 0, "ExecutionStarted", None, vec![]),
            entry(2, 0, "MapStateEntered", Some("Each"), vec![data("input", "[1,2]")]),
            entry(3, 2, "MapStateStarted", Some("Each"), vec![("length", Fact::Number(2))]),
            entry(4, 3, "MapIterationStarted", Some("Each"), vec![index(0)]),
            entry(5, 3, "MapIterationStarted", Some("Each"), vec![index(1)]),
            entry(6, 4, "PassStateEntered", Some("P"), vec![data("input", "1")]),
            entry(7, 5, "PassStateEntered", Some("P"), vec![data("input", "2")]),
            entry(8, 6, "PassStateExited", Some("P"), vec![data("output", "1")]),
            entry(9, 7, "ExecutionFailed", None, vec![("error", Fact::Text("E".into())), ("cause", Fact::Text("why\nso".into()))]),
        ];
        let expected = "one: FAILED with E: why so after 80 ms\n  1. Each (Map) at +10 ms, not left\n       input   [1,2]\n       starts  2 items\n      2. P [0] (Pass) at +50 ms, took 20 ms\n           input   1\n           output  1\n      3. P [1] (Pass) at +60 ms, not left\n           input   2\n           error   E: why so\n";
        assert_eq!(render("one", &entries), expected);
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        assert_eq!(shorten("short"), "short");
        assert!(shorten(&"é".repeat(501)).ends_with("é… (1002 bytes)"));
    }
}
