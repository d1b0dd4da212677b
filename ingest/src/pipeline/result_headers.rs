//! Header lists of results, used again from record to record.
//!
//! A header is two allocations in librdkafka, cold by the time its record is acknowledged, and bytes to copy, to compress and to check on both sides. So the usual result of a successful execution carries one, its source's position, from which the execution's name follows; a result of another status carries that too. All five are a choice ([`Detail::Full`]).
//!
//! The lists of acknowledged results come back, and one whose values are as long as the next record's is written over: neighbouring records differ in the digits of their offsets only.

use crate::kafka::Headers;

use super::settings::ResultHeaders as Detail;
use super::{Identity, header_name};

const STATUS: usize = 0;
const EXECUTION: usize = 1;
const VERSION: usize = 3;
const SOURCE: usize = 4;

/// Lengths that are kept at a time: two outcomes for each partition of a few, and one digit more now and then.
const SHAPES_MAX: usize = 16;
/// Lists that are kept of each, about 600 bytes a piece. More than a burst of reports brings back, so that a stream in full flow makes none.
const LISTS_MAX: usize = 8_192;

/// How many records ahead the list of one is fetched into the caches: enough for three lines of memory, one after the other where they come from another core, and few enough to be there still.
const PREFETCHED_AHEAD: usize = 5;

/// The lengths of a list's values: status, execution, source.
type Shape = [usize; 3];

struct Spare {
    shape: Shape,
    lists: Vec<Headers>,
}

/// The status that a result without that header has.
const USUAL_STATUS: &str = "SUCCEEDED";

/// Makes the headers of a shard's results.
pub(crate) struct ResultHeaders {
    detail: Detail,
    /// Lists of one header, the source, of acknowledged results.
    short: Vec<Headers>,
    definition: String,
    spares: Vec<Spare>,
    /// The spare whose place the next new shape takes when there are [`SHAPES_MAX`].
    oldest: usize,
}

impl ResultHeaders {
    /// For results of one definition.
    pub(crate) fn new(detail: Detail, definition: &str) -> Self {
        Self { detail, short: Vec::new(), definition: definition.to_owned(), spares: Vec::new(), oldest: 0 }
    }

    /// Bytes of a record's headers and framing in a request, at most. Counts what librdkafka reserves for numbers of variable length.
    pub(crate) fn bytes_max(detail: Detail, identity: &Identity, topic_bytes: usize) -> usize {
        // Of a usual result; another one has its status besides, some 40 bytes, for which the client may cut the request in two. Record framing at most 36 bytes, two lengths of 5 for each header, a name of 22 at most; a position has 32 bytes of digits and slashes beside the topic.
        let source = 32 + topic_bytes + 32;
        match detail {
            Detail::Source => 36 + source,
            Detail::Full => 36 + 2 * source + 4 * 32 + identity.definition.len() + identity.version.len(),
        }
    }

    /// Whether results carry their execution's name.
    pub(crate) fn has_execution(&self) -> bool {
        self.detail == Detail::Full
    }

    /// The headers of one result; `version` is that of the definition under which its execution began.
    pub(crate) fn make(&mut self, status: &str, execution: &[u8], version: &str, source: &[u8]) -> Headers {
        match self.detail {
            Detail::Full => self.make_full(status, execution, version, source),
            Detail::Source => self.make_short(status, source),
        }
    }

    fn make_short(&mut self, status: &str, source: &[u8]) -> Headers {
        let usual = status == USUAL_STATUS;
        if let Some(soon) = self.short.len().checked_sub(PREFETCHED_AHEAD + 1).and_then(|place| self.short.get(place)) {
            soon.prefetch();
        }
        // A list of another length is dropped: offsets have just gained a digit, or this is another partition.
        if usual
            && let Some(mut headers) = self.short.pop()
            && headers.overwrite(0, source)
        {
            return headers;
        }
        let mut headers = Headers::with_capacity(2);
        headers.add(header_name::SOURCE, source);
        if !usual {
            headers.add(header_name::STATUS, status.as_bytes());
        }
        headers
    }

    fn make_full(&mut self, status: &str, execution: &[u8], version: &str, source: &[u8]) -> Headers {
        let shape = [status.len(), execution.len(), source.len()];
        let spare = self.spares.iter_mut().find(|spare| spare.shape == shape).and_then(|spare| spare.lists.pop());
        if let Some(mut headers) = spare
            && headers.overwrite(STATUS, status.as_bytes())
            && headers.overwrite(EXECUTION, execution)
            && headers.overwrite(VERSION, version.as_bytes())
            && headers.overwrite(SOURCE, source)
        {
            return headers;
        }
        let mut headers = Headers::with_capacity(5);
        headers.add(header_name::STATUS, status.as_bytes());
        headers.add(header_name::EXECUTION, execution);
        headers.add(header_name::DEFINITION, self.definition.as_bytes());
        headers.add(header_name::VERSION, version.as_bytes());
        headers.add(header_name::SOURCE, source);
        headers
    }

    /// Takes back a list that [`ResultHeaders::make`] has made for an execution that succeeded.
    pub(crate) fn give_back(&mut self, headers: Headers) {
        match self.detail {
            Detail::Full => self.give_back_full(headers),
            Detail::Source if self.short.len() < LISTS_MAX => self.short.push(headers),
            Detail::Source => {}
        }
    }

    fn give_back_full(&mut self, headers: Headers) {
        let length = |index| headers.value(index).map(<[u8]>::len);
        let (Some(status), Some(execution), Some(source)) = (length(STATUS), length(EXECUTION), length(SOURCE)) else { return };
        let shape = [status, execution, source];
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.shape == shape) {
            if spare.lists.len() < LISTS_MAX {
                spare.lists.push(headers);
            }
        } else if self.spares.len() < SHAPES_MAX {
            self.spares.push(Spare { shape, lists: vec![headers] });
        } else {
            self.spares[self.oldest] = Spare { shape, lists: vec![headers] };
            self.oldest = (self.oldest + 1) % SHAPES_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(headers: &Headers) -> Vec<String> {
        (0..).map_while(|index| headers.value(index)).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn kept(pool: &ResultHeaders) -> usize {
        pool.spares.iter().map(|spare| spare.lists.len()).sum()
    }

    #[test]
    fn a_list_that_came_back_says_nothing_of_its_last_record() {
        let mut pool = ResultHeaders::new(Detail::Full, "heartbeat");
        let first = pool.make("SUCCEEDED", b"in-0-41", "1a2b", b"in/0/41");
        assert_eq!(texts(&first), ["SUCCEEDED", "in-0-41", "heartbeat", "1a2b", "in/0/41"]);
        pool.give_back(first);
        let second = pool.make("TIMED_OUT", b"in-0-42", "3c4d", b"in/0/42");
        assert_eq!(kept(&pool), 0, "the list was used again");
        assert_eq!(texts(&second), ["TIMED_OUT", "in-0-42", "heartbeat", "3c4d", "in/0/42"]);
    }

    #[test]
    fn a_list_of_other_lengths_is_left_alone() {
        let mut pool = ResultHeaders::new(Detail::Full, "heartbeat");
        let first = pool.make("SUCCEEDED", b"in-0-99", "1a2b", b"in/0/99");
        pool.give_back(first);
        for (status, execution, source) in [("SUCCEEDED", "in-0-100", "in/0/100"), ("FAILED", "in-0-99", "in/0/99")] {
            let other = pool.make(status, execution.as_bytes(), "1a2b", source.as_bytes());
            assert_eq!(texts(&other), [status, execution, "heartbeat", "1a2b", source]);
            assert_eq!(kept(&pool), 1);
        }
    }

    #[test]
    fn a_short_list_names_the_source_and_an_unusual_status() {
        let mut pool = ResultHeaders::new(Detail::Source, "heartbeat");
        let first = pool.make("SUCCEEDED", b"", "1a2b", b"in/0/9");
        assert_eq!(texts(&first), ["in/0/9"]);
        pool.give_back(first);
        let failed = pool.make("TIMED_OUT", b"", "1a2b", b"in/0/9");
        assert_eq!(texts(&failed), ["in/0/9", "TIMED_OUT"]);
        let longer = pool.make("SUCCEEDED", b"", "1a2b", b"in/0/10");
        assert_eq!((texts(&longer), pool.short.len()), (vec!["in/0/10".to_owned()], 0));
        pool.give_back(longer);
        assert_eq!(texts(&pool.make("SUCCEEDED", b"", "1a2b", b"in/0/11")), ["in/0/11"]);
        (0..LISTS_MAX + 10).map(|_| pool.make("SUCCEEDED", b"", "1a2b", b"in/0/1")).collect::<Vec<_>>().into_iter().for_each(|list| pool.give_back(list));
        assert_eq!(pool.short.len(), LISTS_MAX);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = ResultHeaders::new(Detail::Full, "heartbeat");
        for digits in 0..3 * SHAPES_MAX {
            let list = pool.make("SUCCEEDED", &vec![b'1'; digits], "1a2b", b"in/0/1");
            pool.give_back(list);
        }
        assert_eq!((pool.spares.len(), kept(&pool)), (SHAPES_MAX, SHAPES_MAX));
        let lists: Vec<Headers> = (0..LISTS_MAX + 10).map(|_| pool.make("FAILED", b"in-0-1", "1a2b", b"in/0/1")).collect();
        lists.into_iter().for_each(|list| pool.give_back(list));
        assert_eq!(kept(&pool), SHAPES_MAX - 1 + LISTS_MAX);
    }
}
