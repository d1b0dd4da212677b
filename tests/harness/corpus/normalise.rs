//! Takes out of an outcome what no two runs share, by the corpus's own rules: instants, times, request ids, generated names.
//!
//! The rules run over what the engine gave and over the expectation alike, so that a rule cannot change only one side. Numbered placeholders (UUIDs, quoted inputs) are not replaced here but matched by [`compare`](super::compare). Rules of a case that are regular expressions over account numbers and table names are left out: what they replace is already a placeholder in the case's own input and answers.

use serde_json::Value;

use super::case::Case;

/// The names of the corpus, which stand in its expectations.
const EXPRESS_RUN: &str = "SyncExecArn_Part2_0idx";

/// The same outcome with everything accidental replaced by its placeholder.
#[must_use]
pub fn output(case: &Case, value: &Value) -> Value {
    let mut value = raw(value);
    apply_rules(case, &["events..executionSucceededEventDetails.output", "executionSucceededEventDetails.output", "output", "cause"], &mut value);
    walk(case, None, &mut value);
    value
}

/// The same for an event of a history, in the form of the corpus.
#[must_use]
pub fn event(case: &Case, event: &Value) -> Value {
    let mut event = event.clone();
    let type_name = event["type"].as_str().unwrap_or_default().to_owned();
    let details = format!("{}EventDetails", stem(&type_name));
    for (name, member) in event["details"].as_object_mut().into_iter().flatten() {
        *member = raw(member);
        apply_rules(case, &[&format!("events..{details}.{name}"), &format!("{details}.{name}"), name], member);
    }
    if event["details"].is_null() {
        event.as_object_mut().map(|event| event.remove("details"));
    }
    walk(case, None, &mut event);
    event
}

/// The details of all states entered, and of all states left, have one name.
fn stem(type_name: &str) -> String {
    let stem = ["StateEntered", "StateExited"].into_iter().find(|stem| type_name.ends_with(stem)).unwrap_or(type_name);
    stem.chars().take(1).flat_map(char::to_lowercase).chain(stem.chars().skip(1)).collect()
}

/// Text that was no JSON stands in a member of its own.
fn raw(value: &Value) -> Value {
    value.get("$raw").unwrap_or(value).clone()
}

fn apply_rules(case: &Case, prefixes: &[&str], value: &mut Value) {
    for rule in case.field("normalise").as_array().into_iter().flatten() {
        if let (Some(path), Some(replacement)) = (rule["jsonpath"].as_str(), rule["replacement"].as_str()) {
            let counted = rule["reference"].as_bool() == Some(true);
            apply_path(path, prefixes, &if counted { format!("<{replacement}:1>") } else { replacement.to_owned() }, counted, value);
        }
    }
}

/// The same for an error's cause.
#[must_use]
pub fn cause(case: &Case, cause: &str) -> String {
    text(case, cause)
}

fn walk(case: &Case, key: Option<&str>, value: &mut Value) {
    match value {
        Value::Object(members) => {
            if lacks_redrive_count(case) && members.contains_key("RoleArn") && members.contains_key("StartTime") {
                members.remove("RedriveCount");
            }
            members.iter_mut().for_each(|(key, member)| walk(case, Some(key), member));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| walk(case, key, element)),
        Value::String(string) => {
            *string = text(case, string);
            if key.is_some_and(is_time_key) && string != "date" && !string.starts_with('<') {
                "timestamp".clone_into(string);
            }
            if let Some(name) = key.and_then(transport_name) {
                name.clone_into(string);
            }
        }
        Value::Number(_) if key.is_some_and(is_time_key) => *value = "timestamp".into(),
        _ => {}
    }
}

/// The Context Object of Standard executions has a redrive count since 2024 (spec/asl.md 4); older recordings know none. Dates are `dd-mm-yyyy, …`.
fn lacks_redrive_count(case: &Case) -> bool {
    case.text("recorded").get(6..10).and_then(|year| year.parse::<u32>().ok()).is_some_and(|year| year < 2024)
}

fn is_time_key(key: &str) -> bool {
    key.to_ascii_lowercase().contains("timestamp") || key == "creationTime" || key == "ingestionTime"
}

/// The members of an SDK's answer that are their own placeholder.
fn transport_name(key: &str) -> Option<&'static str> {
    ["X-Amzn-Trace-Id", "x-amzn-RequestId", "x-amz-crc32"].into_iter().find(|&name| name == key)
}

fn text(case: &Case, text: &str) -> String {
    let mut text = replace_instants(text);
    text = replace_express_run(&text);
    for rule in case.field("normalise").as_array().into_iter().flatten() {
        if let (Some(pattern), Some(replacement)) = (rule["regex"].as_str(), rule["replacement"].as_str())
            && pattern.contains("requestId")
        {
            text = replace_request_id(&text, &replacement.replace('\\', ""));
        }
    }
    text
}

/// Every RFC 3339 instant with a zone becomes `date`; what only looks like one (month 13, no zone) stays.
fn replace_instants(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = instant_length(rest.as_bytes()) {
            out.push_str("date");
            rest = rest.split_at(length).1;
        } else {
            out.push(first);
            rest = rest.split_at(first.len_utf8()).1;
        }
    }
    out
}

/// The length of an instant at the start of `text`: `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`.
fn instant_length(text: &[u8]) -> Option<usize> {
    let pattern = b"0000-00-00T00:00:00";
    let head = text.get(..pattern.len())?;
    if !head.iter().zip(pattern).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form }) {
        return None;
    }
    let two = |at: usize| (head[at] - b'0') * 10 + head[at + 1] - b'0';
    if !(1..=12).contains(&two(5)) || !(1..=31).contains(&two(8)) || two(11) > 23 || two(14) > 59 || two(17) > 60 {
        return None;
    }
    let mut at = pattern.len();
    if text.get(at) == Some(&b'.') {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at += if digits == 0 { return None } else { 1 + digits };
    }
    match text.get(at)? {
        b'Z' => Some(at + 1),
        b'+' | b'-' => {
            let zone = text.get(at + 1..at + 6)?;
            let fits = zone.iter().zip(b"00:00").all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form });
            fits.then_some(at + 6)
        }
        _ => None,
    }
}

/// The run part of an Express execution's ARN is a UUID; the corpus gives it a name.
fn replace_express_run(text: &str) -> String {
    let Some(at) = text.find(":express:") else { return text.to_owned() };
    match text.rfind(':') {
        Some(last) if last > at + ":express:".len() && text.len() - last == 37 => format!("{}:{EXPRESS_RUN}", text.split_at(last).0),
        _ => text.to_owned(),
    }
}

fn replace_request_id(text: &str, replacement: &str) -> String {
    let Some((before, rest)) = text.split_once("\"requestId\":") else { return text.to_owned() };
    let Some(after) = rest.trim_start().strip_prefix('"') else { return text.to_owned() };
    let id = after.bytes().take_while(|byte| byte.is_ascii_hexdigit() || *byte == b'-').count();
    match after.split_at(id).1.strip_prefix('"') {
        Some(after) if id > 0 => format!("{before}{replacement}{after}"),
        _ => text.to_owned(),
    }
}

/// Applies a rule of the forms that occur: `$..name`, `$..a.b`, and the same below what is being normalised, which rules know under `prefixes`.
fn apply_path(path: &str, prefixes: &[&str], replacement: &str, counted: bool, value: &mut Value) {
    let Some(path) = path.strip_prefix("$..") else { return };
    for &prefix in prefixes {
        if path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')) {
            let below: Vec<&str> = path.split_at(prefix.len()).1.split('.').filter(|step| !step.is_empty()).collect();
            replace_at(&below, replacement, counted, value);
        }
    }
    if !path.contains("..") {
        replace_anywhere(&path.split('.').collect::<Vec<_>>(), replacement, counted, value);
    }
}

fn replace_at(steps: &[&str], replacement: &str, counted: bool, value: &mut Value) {
    match steps.split_first() {
        // What an answer of the recording brought along is a placeholder already.
        None if counted && value.as_str().is_some_and(|text| text.starts_with('<')) => {}
        None => *value = replacement.into(),
        Some((first, rest)) => {
            if let Some(member) = value.get_mut(*first) {
                replace_at(rest, replacement, counted, member);
            }
        }
    }
}

fn replace_anywhere(steps: &[&str], replacement: &str, counted: bool, value: &mut Value) {
    replace_at(steps, replacement, counted, value);
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| replace_anywhere(steps, replacement, counted, member)),
        Value::Array(elements) => elements.iter_mut().for_each(|element| replace_anywhere(steps, replacement, counted, element)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(body: Value) -> Case {
        Case { id: "c".to_owned(), group: "g".to_owned(), body, own: false }
    }

    #[test]
    fn only_real_instants_become_dates() {
        assert_eq!(replace_instants("at 2016-12-05T21:29:29.123456Z!"), "at date!");
        assert_eq!(replace_instants("2016-12-05T21:29:29+01:00"), "date");
        for odd in ["2016-13-05T21:29:29Z", "2016-12-05T25:29:29Z", "2016-12-05 21:29:29Z", "2016-12-05T21:29:29", "é2016"] {
            assert_eq!(replace_instants(odd), odd);
        }
    }

    #[test]
    fn path_rules_reach_any_depth_and_the_output_itself() {
        let any = case(json!({"normalise": [{"jsonpath": "$..StartTime", "replacement": "start-time", "reference": false}]}));
        assert_eq!(output(&any, &json!({"a": [{"StartTime": "2016-12-05T21:29:29Z"}]})), json!({"a": [{"StartTime": "start-time"}]}));
        let below = case(json!({"normalise": [{"jsonpath": "$..output.F", "replacement": "f", "reference": false}]}));
        assert_eq!(output(&below, &json!({"F": 1, "G": {"F": 1}})), json!({"F": "f", "G": {"F": 1}}));
    }

    #[test]
    fn request_ids_take_the_spelling_of_the_rule() {
        let rule = case(json!({"normalise": [{"regex": "\\\\\"requestId\\\\\": x", "replacement": "\\\"requestId\\\": \\\"<request-id>\\\""}]}));
        assert_eq!(cause(&rule, "{\"requestId\": \"00-ab\", \"x\"}"), "{\"requestId\": \"<request-id>\", \"x\"}");
    }
}
