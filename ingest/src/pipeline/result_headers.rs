//! Header lists of results, used again from record to record.
//!
//! A list with five headers is seven allocations in librdkafka, which took a third of a shard's processor time when every record had a new one. Those of acknowledged results come back, and one whose values are as long as the next record's is written over: neighbouring records differ in the digits of their offsets only.

use crate::kafka::Headers;

const STATUS: usize = 0;
const EXECUTION: usize = 1;
const SOURCE: usize = 4;

/// Lengths that are kept at a time: two outcomes for each partition of a few, and one digit more now and then.
const SHAPES_MAX: usize = 16;
/// Lists that are kept of each, about 600 bytes a piece. More than a burst of reports brings back, so that a stream in full flow makes none.
const LISTS_MAX: usize = 8_192;

/// The lengths of a list's values: status, execution, source.
type Shape = [usize; 3];

struct Spare {
    shape: Shape,
    lists: Vec<Headers>,
}

/// Makes the headers of a shard's results.
pub(crate) struct ResultHeaders {
    definition: String,
    version: String,
    spares: Vec<Spare>,
    /// The spare whose place the next new shape takes when there are [`SHAPES_MAX`].
    oldest: usize,
}

impl ResultHeaders {
    /// For results of one version of one definition.
    pub(crate) fn new(definition: &str, version: &str) -> Self {
        Self { definition: definition.to_owned(), version: version.to_owned(), spares: Vec::new(), oldest: 0 }
    }

    /// The headers of one result.
    pub(crate) fn make(&mut self, status: &str, execution: &[u8], source: &[u8]) -> Headers {
        let shape = [status.len(), execution.len(), source.len()];
        let spare = self.spares.iter_mut().find(|spare| spare.shape == shape).and_then(|spare| spare.lists.pop());
        if let Some(mut headers) = spare
            && headers.overwrite(STATUS, status.as_bytes())
            && headers.overwrite(EXECUTION, execution)
            && headers.overwrite(SOURCE, source)
        {
            return headers;
        }
        let mut headers = Headers::with_capacity(5);
        headers.add("expressway-status", status.as_bytes());
        headers.add("expressway-execution", execution);
        headers.add("expressway-definition", self.definition.as_bytes());
        headers.add("expressway-version", self.version.as_bytes());
        headers.add("expressway-source", source);
        headers
    }

    /// Takes back a list that [`ResultHeaders::make`] has made.
    pub(crate) fn give_back(&mut self, headers: Headers) {
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
        let mut pool = ResultHeaders::new("heartbeat", "1a2b");
        let first = pool.make("SUCCEEDED", b"in-0-41", b"in/0/41");
        assert_eq!(texts(&first), ["SUCCEEDED", "in-0-41", "heartbeat", "1a2b", "in/0/41"]);
        pool.give_back(first);
        let second = pool.make("TIMED_OUT", b"in-0-42", b"in/0/42");
        assert_eq!(kept(&pool), 0, "the list was used again");
        assert_eq!(texts(&second), ["TIMED_OUT", "in-0-42", "heartbeat", "1a2b", "in/0/42"]);
    }

    #[test]
    fn a_list_of_other_lengths_is_left_alone() {
        let mut pool = ResultHeaders::new("heartbeat", "1a2b");
        let first = pool.make("SUCCEEDED", b"in-0-99", b"in/0/99");
        pool.give_back(first);
        for (status, execution, source) in [("SUCCEEDED", "in-0-100", "in/0/100"), ("FAILED", "in-0-99", "in/0/99")] {
            let other = pool.make(status, execution.as_bytes(), source.as_bytes());
            assert_eq!(texts(&other), [status, execution, "heartbeat", "1a2b", source]);
            assert_eq!(kept(&pool), 1);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = ResultHeaders::new("heartbeat", "1a2b");
        for digits in 0..3 * SHAPES_MAX {
            let list = pool.make("SUCCEEDED", &vec![b'1'; digits], b"in/0/1");
            pool.give_back(list);
        }
        assert_eq!((pool.spares.len(), kept(&pool)), (SHAPES_MAX, SHAPES_MAX));
        let lists: Vec<Headers> = (0..LISTS_MAX + 10).map(|_| pool.make("FAILED", b"in-0-1", b"in/0/1")).collect();
        lists.into_iter().for_each(|list| pool.give_back(list));
        assert_eq!(kept(&pool), SHAPES_MAX - 1 + LISTS_MAX);
    }
}
