//! Which source records a result topic answers, and how often.

/// Every source offset, with a mark once a result names it.
#[derive(Debug)]
pub(super) struct Ledger {
    topic: String,
    partitions: Vec<Vec<bool>>,
    distinct: u64,
    results: u64,
    bytes: u64,
    failed: u64,
    unknown: u64,
}

/// The sums of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    /// Source offsets without a result.
    pub(super) lost: u64,
    /// Results beyond the first of a source offset.
    pub(super) duplicates: u64,
    /// Results that name no record of the source.
    pub(super) unknown: u64,
    /// Results of executions that failed.
    pub(super) failed: u64,
    /// Results, all together.
    pub(super) results: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
}

impl Ledger {
    /// A ledger of `topic`, whose partitions hold offsets from 0 up to these ends.
    pub(super) fn new(topic: &str, ends: &[i64]) -> Self {
        let partitions = ends.iter().map(|end| vec![false; usize::try_from(*end).unwrap_or(0)]).collect();
        Self { topic: topic.to_owned(), partitions, distinct: 0, results: 0, bytes: 0, failed: 0, unknown: 0 }
    }

    /// Source offsets with a result.
    pub(super) fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Enters a result by its headers. Returns partition and offset of its record, when it is the first result of that.
    pub(super) fn enter(&mut self, source: &[u8], status: &[u8], bytes: usize) -> Option<(usize, usize)> {
        self.results += 1;
        self.bytes += bytes as u64;
        self.failed += u64::from(!matches!(status, b"" | b"SUCCEEDED"));
        let position = position(source, &self.topic);
        let Some(seen) = position.and_then(|(partition, offset)| self.partitions.get_mut(partition)?.get_mut(offset)) else {
            self.unknown += 1;
            return None;
        };
        let fresh = !std::mem::replace(seen, true);
        self.distinct += u64::from(fresh);
        position.filter(|_| fresh)
    }

    pub(super) fn balance(&self) -> Balance {
        let records: u64 = self.partitions.iter().map(|partition| partition.len() as u64).sum();
        Balance {
            lost: records - self.distinct,
            duplicates: self.results - self.unknown - self.distinct,
            unknown: self.unknown,
            failed: self.failed,
            results: self.results,
            bytes: self.bytes,
        }
    }
}

/// Partition and offset of `topic/partition/offset`.
fn position(source: &[u8], topic: &str) -> Option<(usize, usize)> {
    let rest = std::str::from_utf8(source).ok()?.strip_prefix(topic)?.strip_prefix('/')?;
    let (partition, offset) = rest.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_repeated_and_foreign_results_are_told_apart() {
        let mut ledger = Ledger::new("beats", &[2, 1]);
        for source in ["beats/0/1", "beats/0/1", "beats/1/0", "beats/1/7", "beats/9/0", "other/0/0", "", "beats/0/-1"] {
            ledger.enter(source.as_bytes(), if source.is_empty() { b"FAILED" } else { b"SUCCEEDED" }, 10);
        }
        let expected = Balance { lost: 1, duplicates: 1, unknown: 5, failed: 1, results: 8, bytes: 80 };
        assert_eq!(ledger.balance(), expected);
    }
}
