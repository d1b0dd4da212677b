//! `Retry` and `Catch` (spec/asl.md 8.2, 8.3).

use crate::hir::limits::{COUNT_MAX, RETRY_DELAY_SECONDS_MAX};

use super::ast::{Catcher, ErrorEquals, Located, Place, QueryLanguage, Retrier};
use super::reader::{Node, Reader};

const RETRIER_FIELDS: [&str; 7] = ["ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment"];

fn catcher_fields(language: QueryLanguage) -> &'static [&'static str] {
    match language {
        QueryLanguage::JsonPath => &["ErrorEquals", "Next", "ResultPath", "Assign", "Comment"],
        QueryLanguage::Jsonata => &["ErrorEquals", "Next", "Output", "Assign", "Comment"],
    }
}

impl Reader<'_> {
    /// `Retry`
    pub(super) fn retriers(&mut self, node: &Node) -> Vec<Retrier> {
        let retriers: Vec<Retrier> = self.elements(node).iter().map(|element| self.retrier(element)).collect();
        self.check_all_stands_last(retriers.iter().map(|retrier| retrier.error_equals.as_ref()).collect());
        retriers
    }

    fn retrier(&mut self, node: &Node) -> Retrier {
        let mut retrier =
            Retrier { error_equals: None, interval_seconds: None, max_attempts: None, backoff_rate: None, max_delay_seconds: None, full_jitter: false };
        let members = self.members(node);
        for member in &members {
            let value = &member.node;
            match member.name.as_str() {
                "ErrorEquals" => retrier.error_equals = self.error_equals(value),
                "IntervalSeconds" => retrier.interval_seconds = self.integer(value, 1, COUNT_MAX),
                "MaxAttempts" => retrier.max_attempts = self.integer(value, 0, COUNT_MAX),
                "BackoffRate" => retrier.backoff_rate = self.backoff_rate(value),
                "MaxDelaySeconds" => {
                    let seconds = self.integer(value, 1, RETRY_DELAY_SECONDS_MAX);
                    retrier.max_delay_seconds = seconds.map(|value| Located { value, place: member.node.place.clone() });
                }
                "JitterStrategy" => retrier.full_jitter = self.word(value, &["NONE", "FULL"]) == Some(1),
                "Comment" => self.comment(value),
                _ => self.unsupported(&node.place, member, &RETRIER_FIELDS),
            }
        }
        if self.is_object(node) && !members.iter().any(|member| member.name == "ErrorEquals") {
            self.schema(&node.place, "These fields are required: [ErrorEquals]");
        }
        if let Some(delay) = retrier.max_delay_seconds.as_ref().filter(|delay| delay.value <= retrier.interval_seconds.unwrap_or(1)) {
            self.schema(&delay.place.clone(), "MaxDelaySeconds must be greater than IntervalSeconds");
        }
        retrier
    }

    fn backoff_rate(&mut self, node: &Node) -> Option<f64> {
        let rate = self.number(node)?.parse::<f64>().ok()?;
        if rate >= 1.0 && rate.is_finite() {
            return Some(rate);
        }
        let bound = if rate < 1.0 { "Minimum value is 1.0" } else { "Value is too large" };
        self.schema(&node.place, bound);
        None
    }

    /// `Catch`
    pub(super) fn catchers(&mut self, node: &Node, language: QueryLanguage) -> Vec<Catcher> {
        let catchers: Vec<Catcher> = self.elements(node).iter().map(|element| self.catcher(element, language)).collect();
        self.check_all_stands_last(catchers.iter().map(|catcher| catcher.error_equals.as_ref()).collect());
        catchers
    }

    fn catcher(&mut self, node: &Node, language: QueryLanguage) -> Catcher {
        let mut catcher = Catcher { place: node.place.clone(), error_equals: None, next: None, result_path: None, assign: None };
        let members = self.members(node);
        for member in &members {
            let value = &member.node;
            match (member.name.as_str(), language) {
                ("ErrorEquals", _) => catcher.error_equals = self.error_equals(value),
                ("Next", _) => catcher.next = self.located_string(value),
                ("Assign", _) => catcher.assign = self.assign(value, language),
                ("ResultPath", QueryLanguage::JsonPath) => catcher.result_path = self.result_path(value),
                ("Comment", _) => self.comment(value),
                ("Output", QueryLanguage::Jsonata) => {}
                (name @ ("ResultPath" | "Output"), _) => self.wrong_language(&node.place, name, language),
                _ => self.unsupported(&node.place, member, catcher_fields(language)),
            }
        }
        let missing: Vec<&str> = ["ErrorEquals", "Next"].into_iter().filter(|field| !members.iter().any(|member| member.name == *field)).collect();
        if self.is_object(node) && !missing.is_empty() {
            self.schema(&node.place, format!("These fields are required: [{}]", missing.join(", ")));
        }
        catcher
    }

    fn error_equals(&mut self, node: &Node) -> Option<ErrorEquals> {
        let elements = self.some_elements(node);
        let names: Vec<Located<String>> = elements.iter().filter_map(|element| self.located_string(element)).collect();
        // What is wrong with an element has been said; the others are looked at all the same.
        (!names.is_empty()).then(|| Located { value: names, place: node.place.clone() })
    }

    /// `States.ALL` stands alone in its list, and its entry is the last.
    fn check_all_stands_last(&mut self, entries: Vec<Option<&ErrorEquals>>) {
        let last = entries.len().saturating_sub(1);
        for (index, entry) in entries.into_iter().enumerate() {
            let Some(names) = entry else { continue };
            if names.value.iter().any(|name| name.value == "States.ALL") && (names.value.len() > 1 || index < last) {
                self.schema(&names.place, "States.ALL must appear alone and at end of list");
            }
        }
    }

    /// A field of the other query language.
    pub(super) fn wrong_language(&mut self, place: &Place, field: &str, language: QueryLanguage) {
        let other = if language == QueryLanguage::JsonPath { QueryLanguage::Jsonata } else { QueryLanguage::JsonPath };
        let (language, other) = (language.as_str(), other.as_str());
        self.schema(place, format!("The QueryLanguage is set to '{language}', but field '{field}' is only supported for the '{other}' QueryLanguage"));
    }
}
