//! Typed reading of one section of the merged tree. Every problem is collected, none ends the reading: the caller drops the values when there are faults.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Fault, join};
use super::tree::{Kind, Node, is_secret};
use super::unit::{display_duration, display_size, parse_duration, parse_size};

/// A cursor on one mapping of the tree.
pub(crate) struct Section<'t> {
    path: String,
    node: &'t Node,
    faults: &'t RefCell<Vec<Fault>>,
    read: &'t RefCell<BTreeMap<String, Shape>>,
}

/// What a key takes, as the editor's schema tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A mapping, or a list of them, or a key of which nothing is known yet.
    Section,
    /// A text in words of ours.
    Text { allowed: String },
    /// A whole number.
    Count { least: String, most: String },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(Vec<String>),
    /// A list of texts.
    Texts,
    /// A map with free keys.
    Table,
}

impl<'t> Section<'t> {
    /// The whole tree. `read` hears of every key that is asked for, so that a test can compare them with `default.yaml`.
    pub(crate) fn root(node: &'t Node, faults: &'t RefCell<Vec<Fault>>, read: &'t RefCell<BTreeMap<String, Shape>>) -> Self {
        Self { path: String::new(), node, faults, read }
    }

    /// The section below `key`.
    pub(crate) fn section(&self, key: &str) -> Self {
        Self { path: join(&self.path, key), node: self.find(key), faults: self.faults, read: self.read }
    }

    /// The sections in the list below `key`.
    pub(crate) fn sections(&self, key: &str) -> Vec<Self> {
        let Kind::List(items) = &self.find(key).kind else { return Vec::new() };
        let at = |(index, node): (usize, &'t Node)| Self { path: format!("{}[{index}]", join(&self.path, key)), node, faults: self.faults, read: self.read };
        items.iter().enumerate().map(at).collect()
    }

    /// A text that must be there.
    pub(crate) fn text(&self, key: &str) -> String {
        self.optional_text(key).unwrap_or_else(|| {
            if self.find(key).kind == Kind::Null {
                self.fault(key, "required, but not set");
            }
            String::new()
        })
    }

    /// A text, or `None` where it is null.
    pub(crate) fn optional_text(&self, key: &str) -> Option<String> {
        self.note(key, Shape::Text { allowed: String::new() });
        match &self.find(key).kind {
            Kind::Null => None,
            Kind::Text(text) if text.trim().is_empty() => {
                self.fault(key, "an empty text is not allowed");
                None
            }
            Kind::Text(text) => Some(text.clone()),
            Kind::Number(_) | Kind::Bool(_) => self.refuse(key, "a text; put it in quotes"),
            Kind::List(_) | Kind::Map(_) => self.refuse(key, "a text"),
        }
    }

    /// A path that must be there, resolved against the file that names it.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.resolve(key, &self.text(key))
    }

    /// A path, or `None` where it is null.
    pub(crate) fn optional_path(&self, key: &str) -> Option<PathBuf> {
        self.optional_text(key).map(|text| self.resolve(key, &text))
    }

    /// A whole number within `range`.
    pub(crate) fn count<T: Copy + Default + PartialOrd + Display + TryFrom<u64>>(&self, key: &str, range: RangeInclusive<T>) -> T {
        self.note(key, Shape::Count { least: range.start().to_string(), most: range.end().to_string() });
        let parsed = match &self.find(key).kind {
            Kind::Number(text) => text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok()),
            _ => None,
        };
        let found = parsed.filter(|number| range.contains(number));
        found.or_else(|| self.refuse(key, format!("a whole number from {} to {}", range.start(), range.end()))).unwrap_or_default()
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.note(key, Shape::Flag);
        match &self.find(key).kind {
            Kind::Bool(value) => *value,
            _ => self.refuse(key, "true or false").unwrap_or_default(),
        }
    }

    /// A duration within `range`.
    pub(crate) fn duration(&self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let parsed = self.scalar(key).and_then(parse_duration).filter(|duration| range.contains(duration));
        let allowed = || format!("a duration with a unit (ms, s, m, h, d) from {} to {}", display_duration(*range.start()), display_duration(*range.end()));
        self.note(key, Shape::Text { allowed: allowed() });
        parsed.or_else(|| self.refuse(key, allowed())).unwrap_or_default()
    }

    /// A size of at least `minimum` bytes, or one of the words of `table`.
    pub(crate) fn size_or_word<T: Copy>(&self, key: &str, minimum: u64, table: &[(&str, T)], size: impl FnOnce(u64) -> T) -> T {
        if let Some((_, word)) = self.scalar(key).and_then(|text| table.iter().find(|(word, _)| *word == text)) {
            return *word;
        }
        let parsed = self.scalar(key).and_then(parse_size).filter(|bytes| *bytes >= minimum);
        let words = || table.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let allowed = || format!("{}, or a size with a unit (B, KiB, MiB, GiB, KB, MB, GB) of at least {}", words(), display_size(minimum));
        self.note(key, Shape::Text { allowed: allowed() });
        parsed.or_else(|| self.refuse(key, allowed())).map_or(table[0].1, size)
    }

    /// One of the words of `table`.
    pub(crate) fn word<T: Copy>(&self, key: &str, table: &[(&str, T)]) -> T {
        let found = self.scalar(key).and_then(|text| table.iter().find(|(word, _)| *word == text));
        self.note(key, Shape::Word(table.iter().map(|(word, _)| (*word).to_owned()).collect()));
        let words = || table.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
        found.or_else(|| self.refuse(key, words())).unwrap_or(&table[0]).1
    }

    /// What `parse` makes of the text.
    pub(crate) fn parsed<T>(&self, key: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key);
        self.note(key, Shape::Text { allowed: allowed.to_owned() });
        if text.is_empty() {
            return None;
        }
        parse(&text).or_else(|| self.refuse(key, allowed))
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.note(key, Shape::Texts);
        let texts = match &self.find(key).kind {
            Kind::List(items) => items.iter().map(|item| if let Kind::Text(text) = &item.kind { Some(text.clone()) } else { None }).collect(),
            Kind::Text(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            _ => None,
        };
        texts.or_else(|| self.refuse(key, "a list of texts")).unwrap_or_default()
    }

    /// A map with free keys and scalar values.
    pub(crate) fn table(&self, key: &str) -> Vec<(String, String)> {
        self.note(key, Shape::Table);
        let Kind::Map(members) = &self.find(key).kind else { return self.refuse(key, "a map").unwrap_or_default() };
        let mut table = Vec::with_capacity(members.len());
        for (name, node) in members {
            match &node.kind {
                Kind::Text(text) | Kind::Number(text) => table.push((name.clone(), text.clone())),
                Kind::Bool(value) => table.push((name.clone(), value.to_string())),
                Kind::Null | Kind::List(_) | Kind::Map(_) => {
                    let path = join(&join(&self.path, key), name);
                    self.push(Fault::new(&path, &node.source, "takes a text, a number, true or false"));
                }
            }
        }
        table
    }

    /// Reports a problem with the value of `key`.
    pub(crate) fn fault(&self, key: &str, problem: impl Into<String>) {
        self.push(Fault::new(&join(&self.path, key), &self.find(key).source, problem));
    }

    /// Reports a problem with one member of the map below `key`.
    pub(crate) fn fault_in(&self, key: &str, member: &str, problem: impl Into<String>) {
        let node = self.find(key);
        let source = node.member(member).map_or(&node.source, |member| &member.source);
        self.push(Fault::new(&join(&join(&self.path, key), member), source, problem));
    }

    fn refuse<T>(&self, key: &str, allowed: impl Display) -> Option<T> {
        let node = self.find(key);
        let value = if is_secret(key) { "the hidden value".to_owned() } else { node.inline() };
        self.fault(key, format!("{value} is not allowed; it takes {allowed}"));
        None
    }

    fn scalar(&self, key: &str) -> Option<&'t str> {
        match &self.find(key).kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            _ => None,
        }
    }

    fn resolve(&self, key: &str, text: &str) -> PathBuf {
        self.find(key).source.resolve(text)
    }

    fn push(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// Notes what the key takes.
    fn note(&self, key: &str, shape: Shape) {
        self.read.borrow_mut().insert(join(&self.path, key), shape);
    }

    fn find(&self, key: &str) -> &'t Node {
        self.read.borrow_mut().entry(join(&self.path, key)).or_insert(Shape::Section);
        self.node.member(key).expect("every key that is read stands in default.yaml, which a test checks")
    }
}
