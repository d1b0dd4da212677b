//! Messages in memory: one buffer, read in order, as records lie in a fetched batch.

use expressway_ingest::devices::{Devices, Settings};

/// Distinct messages of simulated devices.
#[derive(Debug, Clone)]
pub struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// `count` messages, the same ones for the same seed. Every device sends one, and each is numbered, so no two are alike.
    ///
    /// # Panics
    /// Never: no record is broken, so each has a value.
    #[must_use]
    pub fn generate(count: u32, seed: u64) -> Self {
        let mut devices = Devices::new(Settings { devices: count, broken_per_10000: 0, seed });
        let mut messages = Self { bytes: Vec::new(), ends: Vec::new() };
        for _ in 0..count {
            let value = devices.next_record().value.expect("no record is broken, so each has a value");
            messages.bytes.extend_from_slice(value);
            messages.ends.push(messages.bytes.len());
        }
        messages
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let message = &self.bytes[start..end];
            start = end;
            message
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_distinct_and_the_same_for_the_same_seed() {
        let (one, other, different) = (Messages::generate(500, 1), Messages::generate(500, 1), Messages::generate(500, 2));
        let distinct: std::collections::BTreeSet<_> = one.iter().collect();
        assert_eq!((one.len(), distinct.len()), (500, 500));
        assert!(one.iter().eq(other.iter()));
        assert!(!one.iter().eq(different.iter()));
    }
}
