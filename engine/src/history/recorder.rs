//! A listener that keeps every event of an execution.

use super::encode::Told;
use crate::vm::{Detail, Event, EventKind, Observer, Shown, Timestamp, Variables};

/// One event, complete and on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 within the execution.
    pub id: u64,
    /// The event that led to this one; 0 for none.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// AWS's name of its type, for instance `LambdaFunctionScheduled`.
    pub type_name: &'static str,
    /// The state that it is about.
    pub state: Option<Box<str>>,
    /// The members of its details by name; `None` where AWS gives the type no details at all.
    pub details: Option<Vec<(&'static str, Fact)>>,
}

/// One member of an entry's details. Exhaustive on purpose: whoever compares histories must know every form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(u64),
    /// Data of the execution, a JSON text.
    Data(Box<str>),
    /// Variables with their data, JSON texts.
    Variables(Vec<(Box<str>, Box<str>)>),
    /// An object with one member, a text.
    Member(&'static str, Box<str>),
}

impl Fact {
    fn of(detail: &Detail<'_>) -> Self {
        let text = |data: &Shown<'_>| {
            let mut out = Vec::new();
            data.write(&mut out);
            String::from_utf8(out).expect("documents are validated to be UTF-8").into_boxed_str()
        };
        match detail {
            Detail::Text(text) => Self::Text((*text).into()),
            Detail::Number(number) => Self::Number(*number),
            Detail::Data(data) => Self::Data(text(data)),
            Detail::Member(name, text) => Self::Member(name, (*text).into()),
            Detail::Variables(variables) => {
                let mut pairs = Vec::new();
                variables.each(&mut |name, data| pairs.push((name.into(), text(&data))));
                Self::Variables(pairs)
            }
        }
    }
}

impl Entry {
    fn of(event: &Event<'_>) -> Self {
        let details = event.has_details().then(|| {
            let mut details = Vec::new();
            event.details(&mut |name, detail| details.push((name, Fact::of(&detail))));
            details
        });
        Self { id: event.id, previous: event.previous, at: event.at, type_name: event.type_name(), state: event.state_name().map(Into::into), details }
    }

    /// What it holds on the heap, about.
    fn bytes(&self) -> usize {
        let text = |fact: &Fact| match fact {
            Fact::Text(text) | Fact::Data(text) => text.len(),
            Fact::Variables(pairs) => pairs.iter().map(|(name, json)| name.len() + json.len()).sum(),
            // The others are small.
            _ => 0,
        };
        self.details.iter().flatten().map(|(_, fact)| text(fact)).sum()
    }

    /// The member of the details with this name.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.details.as_ref()?.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
    }
}

impl Told for Entry {
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
        self.type_name
    }

    fn has_details(&self) -> bool {
        self.details.is_some()
    }

    fn details(&self, tell: &mut dyn FnMut(&'static str, Detail<'_>)) {
        for (name, fact) in self.details.iter().flatten() {
            match fact {
                Fact::Text(text) => tell(name, Detail::Text(text)),
                Fact::Number(number) => tell(name, Detail::Number(*number)),
                Fact::Data(json) => tell(name, Detail::Data(Shown::of_text(json))),
                Fact::Member(member, text) => tell(name, Detail::Member(member, text)),
                Fact::Variables(pairs) => tell(name, Detail::Variables(Variables::of_texts(pairs))),
            }
        }
    }
}

/// Events that a recorder keeps: four times what a Standard execution can have. An endless loop of an Express execution makes tens of millions.
pub const EVENTS_MAX: usize = 100_000;

/// Bytes of details that a recorder keeps, as they count towards its memory.
pub const BYTES_MAX: usize = 64 << 20;

/// Keeps the events of one execution; made anew or [cleared](Recorder::clear) for the next. Its memory is bounded: behind [`EVENTS_MAX`] events or [`BYTES_MAX`] of data, events are only counted, all but the one that ends the execution. The execution itself goes on.
#[derive(Debug, Default, Clone)]
pub struct Recorder {
    entries: Vec<Entry>,
    bytes: usize,
    is_full: bool,
    omitted: u64,
}

impl Recorder {
    /// What has been recorded, in order; where events are [omitted](Recorder::omitted), only the end comes behind the gap.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many events were counted, but not kept.
    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Forgets everything, and gives back the memory of a long history.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Observer for Recorder {
    const LISTENS: bool = true;

    fn event(&mut self, event: &Event<'_>) {
        let is_end = matches!(event.kind, EventKind::ExecutionSucceeded | EventKind::ExecutionFailed | EventKind::ExecutionTimedOut);
        if self.is_full && !is_end {
            self.omitted += 1;
            return;
        }
        let entry = Entry::of(event);
        self.bytes += entry.bytes();
        self.entries.push(entry);
        self.is_full = self.entries.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX;
    }
}
