//! A record's headers as a list, and the positions that they name: what is made of bytes that anybody may have written. Nothing here knows the Kafka client.

use std::fmt;
use std::str::FromStr;

use crate::pipeline::header_name::{DEFINITION, DETAIL, ORIGIN, REASON, REPLAYS, SOURCE, TIME, VERSION};

/// What the service adds to a record that becomes a dead letter.
const OF_DEAD_LETTERS: [&str; 6] = [REASON, DETAIL, SOURCE, DEFINITION, VERSION, TIME];

/// The place of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = String;

    /// Reads `topic:partition:offset`, or the same with slashes, as headers have it.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = place(text, '/').or_else(|| place(text, ':'));
        let (topic, partition, offset) = parsed.ok_or("write it as TOPIC:PARTITION:OFFSET, for instance heartbeats:0:41")?;
        Ok(Self { topic: topic.to_owned(), partition, offset })
    }
}

/// Topic, partition and offset out of a text that has `separator` between them.
fn place(text: &str, separator: char) -> Option<(&str, i32, i64)> {
    let mut parts = text.rsplitn(3, separator);
    let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
    let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
    let topic = parts.next().filter(|topic| !topic.is_empty())?;
    Some((topic, partition, offset))
}

/// The headers of one record, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeaderList(Vec<(String, Option<Vec<u8>>)>);

impl FromIterator<(String, Option<Vec<u8>>)> for HeaderList {
    fn from_iter<I: IntoIterator<Item = (String, Option<Vec<u8>>)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl HeaderList {
    /// The last header of that name.
    pub(crate) fn last(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(found, _)| found == name).and_then(|(_, value)| value.as_deref())
    }

    /// The same as text; what is not UTF-8 is replaced.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.last(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The position that a header names.
    pub(crate) fn position(&self, name: &str) -> Option<Position> {
        let (topic, partition, offset) = place(std::str::from_utf8(self.last(name)?).ok()?, '/')?;
        Some(Position { topic: topic.to_owned(), partition, offset })
    }

    /// How often the record has been brought back.
    pub(crate) fn replays(&self) -> u32 {
        self.last(REPLAYS).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Takes off what the service has added to a dead letter, so that the record's own headers remain.
    pub(crate) fn strip_dead_letter(&mut self) {
        for name in OF_DEAD_LETTERS {
            if let Some(index) = self.0.iter().rposition(|(found, _)| found == name) {
                self.0.remove(index);
            }
        }
    }

    /// Says that the record is brought back once more, and where it stood first.
    pub(crate) fn mark_replayed(&mut self, from: &Position) {
        let replays = self.replays().saturating_add(1);
        let origin = self.text(ORIGIN).unwrap_or_else(|| from.to_string());
        self.0.retain(|(name, _)| name != REPLAYS && name != ORIGIN);
        self.0.push((REPLAYS.to_owned(), Some(replays.to_string().into_bytes())));
        self.0.push((ORIGIN.to_owned(), Some(origin.into_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> HeaderList {
        HeaderList(pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect())
    }

    #[test]
    fn positions_are_read_in_both_spellings() {
        let expected = Position { topic: "in.a-b".to_owned(), partition: 3, offset: 41 };
        assert_eq!("in.a-b:3:41".parse(), Ok(expected.clone()));
        assert_eq!("in.a-b/3/41".parse(), Ok(expected.clone()));
        assert_eq!(expected.to_string(), "in.a-b/3/41");
        for wrong in ["", "in", "in:1", ":1:2", "in:-1:2", "in:1:-2", "in:1:x"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dead_letter_becomes_its_record_again() {
        // The record was itself the result of another pipeline, and so has headers of ours that are its own.
        let mut letter = list(&[
            ("trace", "x"),
            (SOURCE, "first/0/1"),
            (SOURCE, "in/2/5"),
            (REASON, "panic"),
            (DETAIL, "d"),
            (DEFINITION, "m"),
            (VERSION, "v"),
            (TIME, "t"),
        ]);
        assert_eq!(letter.position(SOURCE).map(|position| position.to_string()).as_deref(), Some("in/2/5"));
        let from = letter.position(SOURCE).unwrap();
        letter.strip_dead_letter();
        assert_eq!(letter, list(&[("trace", "x"), (SOURCE, "first/0/1")]));
        letter.mark_replayed(&from);
        assert_eq!(letter, list(&[("trace", "x"), (SOURCE, "first/0/1"), (REPLAYS, "1"), (ORIGIN, "in/2/5")]));
    }

    #[test]
    fn replays_are_counted_and_the_first_place_is_kept() {
        let mut headers = list(&[(REPLAYS, "2"), (ORIGIN, "in/0/1"), ("a", "b")]);
        headers.mark_replayed(&"in/0/99".parse().unwrap());
        assert_eq!(headers, list(&[("a", "b"), (REPLAYS, "3"), (ORIGIN, "in/0/1")]));
        assert_eq!((headers.replays(), list(&[(REPLAYS, "many")]).replays()), (3, 0));
    }
}
