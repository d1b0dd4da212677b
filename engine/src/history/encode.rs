//! One event as JSON, in AWS's two forms (spec/api.md 6).
//!
//! | | `GetExecutionHistory` | log record |
//! |---|---|---|
//! | names | `previousEventId` | `previous_event_id` |
//! | numbers | numbers | texts |
//! | details under | `stateEnteredEventDetails` and its like | `details` |
//! | time | `timestamp`, seconds with a fraction | `event_timestamp`, milliseconds |
//! | data | whole | up to [`LOG_DATA_BYTES_MAX`], or left out |

use crate::document::{quote_bytes_into, quote_into};
use crate::value::write_integer;
use crate::vm::{Detail, Event, Shown, Timestamp};

/// What a log record shows of one payload, in bytes of escaped text: 248 KiB (spec/api.md 6).
pub const LOG_DATA_BYTES_MAX: usize = 248 << 10;

/// What an encoder asks of an event: a live [`Event`], or an [`Entry`](super::Entry) that was kept.
pub trait Told {
    /// Counts from 1 within the execution.
    fn id(&self) -> u64;
    /// The event that led to this one; 0 for none.
    fn previous(&self) -> u64;
    /// When.
    fn at(&self) -> Timestamp;
    /// AWS's name of its type.
    fn type_name(&self) -> &'static str;
    /// Whether it has a details object.
    fn has_details(&self) -> bool;
    /// Calls `tell` with each member of the details.
    fn details(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>));
}

impl Told for Event<'_> {
    fn id(&self) -> u64 {
        self.id
    }

    fn previous(&self) -> u64 {
        self.previous
    }

    fn at(&self) -> Timestamp {
        self.at
    }

    fn type_name(&self) -> &'static str {
        Event::type_name(self)
    }

    fn has_details(&self) -> bool {
        Event::has_details(self)
    }

    fn details(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>)) {
        Event::details(self, tell);
    }
}

/// Writes events; holds the memory that this needs, so one is kept and used again.
#[derive(Debug, Default)]
pub struct Encoder {
    data: Vec<u8>,
}

/// How the members of details are written.
#[derive(Debug, Clone, Copy)]
struct Form {
    numbers_are_texts: bool,
    includes_data: bool,
    data_bytes_max: usize,
}

const API: Form = Form { numbers_are_texts: false, includes_data: true, data_bytes_max: usize::MAX };

impl Encoder {
    /// Appends an event as `GetExecutionHistory` lists it.
    pub fn api(&mut self, event: &impl Told, out: &mut Vec<u8>) {
        let ms = event.at().0;
        out.extend_from_slice(format!("{{\"timestamp\":{}.{:03},\"type\":\"{}\",\"id\":", ms / 1000, ms % 1000, event.type_name()).as_bytes());
        number(event.id(), false, out);
        out.extend_from_slice(b",\"previousEventId\":");
        number(event.previous(), false, out);
        if event.has_details() {
            out.extend_from_slice(b",\"");
            push_details_key(event.type_name(), out);
            out.extend_from_slice(b"\":");
            self.details(event, API, out);
        }
        out.push(b'}');
    }

    /// Appends an event as a log record shows it.
    pub fn log(&mut self, event: &impl Told, execution_arn: &str, include_execution_data: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        number(event.id(), true, out);
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(event.type_name().as_bytes());
        out.push(b'"');
        if event.has_details() {
            out.extend_from_slice(b",\"details\":");
            self.details(event, Form { numbers_are_texts: true, includes_data: include_execution_data, data_bytes_max: LOG_DATA_BYTES_MAX }, out);
        }
        out.extend_from_slice(b",\"previous_event_id\":");
        number(event.previous(), true, out);
        out.extend_from_slice(b",\"event_timestamp\":");
        number(event.at().0, true, out);
        out.extend_from_slice(b",\"execution_arn\":");
        quote_into(execution_arn, out);
        // Nothing here can be redriven.
        out.extend_from_slice(b",\"redrive_count\":\"0\"}");
    }

    fn details(&mut self, event: &impl Told, form: Form, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut comma = false;
        event.details(&mut |name, detail| {
            if matches!(detail, Detail::Data(_) | Detail::Variables(_)) && !form.includes_data {
                return;
            }
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            key(name, out);
            self.member(name, detail, form, out);
        });
        out.push(b'}');
    }

    fn member(&mut self, name: &str, detail: Detail<'_>, form: Form, out: &mut Vec<u8>) {
        let truncated = match detail {
            Detail::Text(text) => return quote_into(text, out),
            Detail::Number(value) => return number(value, form.numbers_are_texts, out),
            Detail::Member(name, text) => {
                out.push(b'{');
                key(name, out);
                quote_into(text, out);
                return out.push(b'}');
            }
            Detail::Data(data) => {
                let mut room = form.data_bytes_max;
                self.data(data, &mut room, out)
            }
            Detail::Variables(variables) => {
                // One bound for all of them together, since they are shown as one payload.
                let mut room = form.data_bytes_max;
                let mut truncated = false;
                out.push(b'{');
                let mut comma = false;
                variables.each(&mut |variable, data| {
                    if std::mem::replace(&mut comma, true) {
                        out.push(b',');
                    }
                    key(variable, out);
                    truncated |= self.data(data, &mut room, out);
                });
                out.push(b'}');
                truncated
            }
        };
        // The request of a task has no such companion.
        if name != "parameters" {
            out.extend_from_slice(format!(",\"{name}Details\":{{\"truncated\":{truncated}}}").as_bytes());
        }
    }

    /// Appends data as a text that holds JSON, cut where it fills its room; whether it was.
    fn data(&mut self, data: Shown<'_>, room: &mut usize, out: &mut Vec<u8>) -> bool {
        self.data.clear();
        data.write(&mut self.data);
        let start = out.len() + 1;
        quote_bytes_into(&self.data, out);
        let escaped = out.len() - start - 1;
        if escaped <= *room {
            *room -= escaped;
            return false;
        }
        let cut = boundary(&out[start..], *room);
        out.truncate(start + cut);
        out.push(b'"');
        *room = 0;
        true
    }
}

/// The last place at or before `limit` that splits neither a character nor an escape of an escaped text.
fn boundary(escaped: &[u8], limit: usize) -> usize {
    let mut at = 0;
    while at < limit {
        let next = at
            + match escaped[at] {
                b'\\' if escaped.get(at + 1) == Some(&b'u') => 6,
                b'\\' => 2,
                first => first.leading_ones().max(1) as usize,
            };
        if next > limit {
            break;
        }
        at = next;
    }
    at
}

fn key(name: &str, out: &mut Vec<u8>) {
    quote_into(name, out);
    out.push(b':');
}

fn number(value: u64, as_text: bool, out: &mut Vec<u8>) {
    let quote: &[u8] = if as_text { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    write_integer(i64::try_from(value).unwrap_or(i64::MAX), out);
    out.extend_from_slice(quote);
}

/// The name of the details member: one for entering all types of state and one for leaving them, else the type's own.
fn push_details_key(type_name: &str, out: &mut Vec<u8>) {
    let stem = ["StateEntered", "StateExited"].into_iter().find(|stem| type_name.ends_with(stem)).unwrap_or(type_name);
    let (first, rest) = stem.split_at(1);
    out.extend_from_slice(first.to_ascii_lowercase().as_bytes());
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(b"EventDetails");
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Fact};
    use super::*;

    fn entry(type_name: &'static str, details: Option<Vec<(&'static str, Fact)>>) -> Entry {
        Entry { id: 4, previous: 3, at: Timestamp(1_732_179_600_123), type_name, state: None, details }
    }

    fn api(entry: &Entry) -> String {
        let mut out = Vec::new();
        Encoder::default().api(entry, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn log(entry: &Entry, include_execution_data: bool) -> String {
        let mut out = Vec::new();
        Encoder::default().log(entry, "arn:x", include_execution_data, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn data(json: &str) -> Fact {
        Fact::Data(json.into())
    }

    #[test]
    fn both_forms_are_as_the_service_writes_them() {
        let succeeded = entry("ExecutionSucceeded", Some(vec![("output", data(r#"{"a":"b"}"#))]));
        assert_eq!(
            api(&succeeded),
            r#"{"timestamp":1732179600.123,"type":"ExecutionSucceeded","id":4,"previousEventId":3,"executionSucceededEventDetails":{"output":"{\"a\":\"b\"}","outputDetails":{"truncated":false}}}"#
        );
        assert_eq!(
            log(&succeeded, true),
            r#"{"id":"4","type":"ExecutionSucceeded","details":{"output":"{\"a\":\"b\"}","outputDetails":{"truncated":false}},"previous_event_id":"3","event_timestamp":"1732179600123","execution_arn":"arn:x","redrive_count":"0"}"#
        );
    }

    #[test]
    fn states_share_the_name_of_their_details_and_some_types_have_none() {
        let entered = entry("MapStateEntered", Some(vec![("name", Fact::Text("M".into()))]));
        assert!(api(&entered).ends_with(r#","stateEnteredEventDetails":{"name":"M"}}"#));
        let started = entry("MapIterationStarted", Some(vec![("index", Fact::Number(7))]));
        assert!(api(&started).ends_with(r#","mapIterationStartedEventDetails":{"index":7}}"#));
        assert!(log(&started, true).contains(r#""details":{"index":"7"},"#));
        assert!(api(&entry("MapStateSucceeded", None)).ends_with(r#""previousEventId":3}"#));
        assert!(!log(&entry("MapStateSucceeded", None), true).contains("details"));
    }

    #[test]
    fn data_can_be_left_out_and_error_and_cause_stay() {
        let details = vec![("cause", Fact::Text("c".into())), ("input", data("1")), ("parameters", data("2")), ("assignedVariables", variables())];
        assert!(log(&entry("TaskFailed", Some(details)), false).contains(r#""details":{"cause":"c"},"#));
    }

    fn variables() -> Fact {
        Fact::Variables(vec![("x".into(), "42".into()), ("y".into(), "\"é\"".into())])
    }

    #[test]
    fn variables_are_texts_by_name_and_parameters_have_no_companion() {
        let exited = entry("PassStateExited", Some(vec![("assignedVariables", variables()), ("parameters", data("2"))]));
        assert!(
            log(&exited, true)
                .contains(r#""details":{"assignedVariables":{"x":"42","y":"\"é\""},"assignedVariablesDetails":{"truncated":false},"parameters":"2"},"#)
        );
    }

    #[test]
    fn data_is_cut_at_its_limit_and_never_inside_a_character() {
        let fits = format!("\"{}\"", "a".repeat(LOG_DATA_BYTES_MAX - 4));
        assert!(log(&entry("ExecutionSucceeded", Some(vec![("output", data(&fits))])), true).contains(r#""truncated":false"#));
        for odd in ["a", "é", "\\n", "\\u001f", "😀"] {
            let text = format!("\"{}\"", odd.repeat(LOG_DATA_BYTES_MAX));
            let line = log(&entry("ExecutionSucceeded", Some(vec![("output", data(&text))])), true);
            assert!(line.contains(r#""outputDetails":{"truncated":true}"#), "{odd}");
            let parsed: serde_json::Value = serde_json::from_str(&line).expect("the record is JSON");
            let shown = parsed["details"]["output"].as_str().expect("a text");
            assert!(text.starts_with(shown), "{odd}");
            let escaped = serde_json::to_string(shown).expect("texts are JSON").len() - 2;
            assert!((LOG_DATA_BYTES_MAX - 8..=LOG_DATA_BYTES_MAX).contains(&escaped), "{odd}: {escaped}");
        }
    }
}
