//! Messages in memory: one buffer, read in order, as records lie in a fetched batch.

use expressway_ingest::devices::{Devices, Settings};
use serde_json::{Value, json};

use expressway_ingest::random::Random;

/// Messages, as many as a pass runs over.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// `count` messages, the same ones for the same seed. Every device sends one, and each is numbered, so no two are alike.
    #[must_use]
    pub fn generate(count: u32, seed: u64) -> Self {
        Self::generate_broken(count, seed, 0)
    }

    /// As [`generate`](Self::generate), with so many of 10,000 broken in one of the ways in which senders break them; a record without a value is an empty one here.
    #[must_use]
    pub fn generate_broken(count: u32, seed: u64, broken_per_10000: u32) -> Self {
        let mut devices = Devices::new(Settings { devices: count, broken_per_10000, seed });
        let mut messages = Self::default();
        for _ in 0..count {
            messages.push(devices.next_record().value.unwrap_or_default());
        }
        messages
    }

    /// `count` alerts with readings, the same ones for the same seed.
    #[must_use]
    pub fn alerts(count: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut alert = |number: u32| {
            let readings: Vec<Value> = (0..6).map(|_| json!({"temp": 20 + random.below(80), "at": format!("12:{:02}", random.below(60))})).collect();
            json!({
                "deviceId": format!("dev-{number:06}"), "type": "alert", "ts": "2026-11-20T12:00:00Z", "battery": random.below(101),
                "site": {"id": format!("s-{}", random.below(64)), "zone": "b"}, "readings": readings,
            })
            .to_string()
        };
        (0..count).map(&mut alert).collect()
    }

    /// Adds one at the end.
    pub fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
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

impl<M: AsRef<[u8]>> FromIterator<M> for Messages {
    fn from_iter<I: IntoIterator<Item = M>>(messages: I) -> Self {
        let mut collected = Self::default();
        messages.into_iter().for_each(|message| collected.push(message.as_ref()));
        collected
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
