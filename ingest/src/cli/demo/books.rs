//! The books of a run: every acknowledged input against every acknowledged outcome, by source position.
//!
//! Fed by delivery reports alone: those of the generator say what there is to account for, those of the pipeline what became of it. The first acknowledgement of a position counts, each further one is a duplicate.

use hdrhistogram::Histogram;

use crate::pipeline::{Acknowledged, Class, new_histogram};

/// What has been acknowledged so far.
#[derive(Debug)]
pub(super) struct Books {
    partitions: Vec<Positions>,
    pub(super) totals: Totals,
    latency: Histogram<u64>,
}

/// Distinct positions by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) dead_lettered: u64,
    /// Acknowledgements beyond the first of a position.
    pub(super) duplicates: u64,
}

impl Totals {
    /// Positions that are accounted for.
    pub(super) fn settled(&self) -> u64 {
        self.succeeded + self.failed + self.dead_lettered
    }
}

/// Which offsets of a partition have been seen: one bit each.
#[derive(Debug, Default)]
struct Positions {
    bits: Vec<u64>,
}

impl Positions {
    /// Marks an offset; whether it is the first time.
    fn mark(&mut self, offset: usize) -> bool {
        let (word, bit) = (offset / 64, 1_u64 << (offset % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }
}

impl Books {
    pub(super) fn new(partitions: usize) -> Self {
        Self { partitions: (0..partitions).map(|_| Positions::default()).collect(), totals: Totals::default(), latency: new_histogram() }
    }

    /// Books one batch.
    pub(super) fn enter(&mut self, batch: &[Acknowledged]) {
        for entry in batch {
            let position = usize::try_from(entry.partition).ok().zip(usize::try_from(entry.offset).ok());
            let Some((partition, offset)) = position.filter(|(partition, _)| *partition < self.partitions.len()) else { continue };
            if !self.partitions[partition].mark(offset) {
                self.totals.duplicates += 1;
                continue;
            }
            match entry.class {
                Class::Succeeded => self.totals.succeeded += 1,
                Class::Failed => self.totals.failed += 1,
                Class::DeadLettered => self.totals.dead_lettered += 1,
                // Null values are dead letters in the demo; one that was skipped would show up as lost.
                Class::Skipped => {}
            }
            self.latency.saturating_record(entry.latency_ns);
        }
    }

    /// A percentile of the latency, in milliseconds.
    pub(super) fn latency_ms(&self, percentile: f64) -> f64 {
        milliseconds(self.latency.value_at_percentile(percentile))
    }

    pub(super) fn latency_max_ms(&self) -> f64 {
        milliseconds(self.latency.max())
    }
}

/// Nanoseconds as milliseconds with three decimals.
fn milliseconds(ns: u64) -> f64 {
    (std::time::Duration::from_nanos(ns).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: i32, offset: i64, class: Class) -> Acknowledged {
        Acknowledged { topic: 0, partition, offset, class, latency_ns: 2_000_000 }
    }

    #[test]
    fn each_position_counts_once() {
        let mut books = Books::new(2);
        books.enter(&[entry(0, 0, Class::Succeeded), entry(1, 0, Class::Failed), entry(0, 200, Class::DeadLettered)]);
        books.enter(&[entry(0, 0, Class::Failed), entry(0, 1, Class::Succeeded)]);
        assert_eq!(books.totals, Totals { succeeded: 2, failed: 1, dead_lettered: 1, duplicates: 1 });
        assert_eq!(books.totals.settled(), 4);
        assert!((books.latency_ms(50.0) - 2.0).abs() < 0.01);
    }

    #[test]
    fn positions_out_of_the_run_are_not_booked() {
        let mut books = Books::new(1);
        books.enter(&[entry(1, 0, Class::Succeeded), entry(-1, 0, Class::Succeeded), entry(0, -1, Class::Succeeded), entry(0, 0, Class::Skipped)]);
        assert_eq!(books.totals, Totals::default());
    }
}
