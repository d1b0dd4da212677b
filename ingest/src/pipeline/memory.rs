//! What one memory limit comes to: the bounds of everything in a pipeline that grows with the load.
//!
//! A part of the limit is left to the process itself. The rest is shared evenly by the pipelines, and inside each of them by four kinds of memory: what the client has fetched ahead (per partition, for it counts that way once queues are split), what is open in the shards (records taken, executions that wait, results under way), what the producers hold, and the windows. A fifth is for what allocators waste. A bound that is set is never raised here, only lowered.
//!
//! Bytes on the wire are not bytes of memory: a record of 200 bytes takes the client about 1.5 KiB. The factors are below, each with its reason. Pure: who asks for the control group's limit is `cgroup`.

use super::Settings;
use crate::kafka::client;

/// What is left to the process: code, threads, the client's own tables, HTTP, the allocator's reserve.
const PROCESS_BYTES: u64 = 48 << 20;
/// Memory of a small record fetched ahead: its bytes, librdkafka's operation and message, the allocator's rounding.
const FETCHED_RECORD_BYTES: u64 = 1_536;
/// Memory of an execution that waits, at the least: its slot, which stays for the next one, and its place in the tables.
const EXECUTION_BYTES: u64 = 8 << 10;
/// Memory of a record under way beside its bytes: the client's message and operation on either side, headers, its places in the tables.
pub(super) const OPEN_RECORD_BYTES: u64 = 2_048;
/// librdkafka's own default for the queue of a partition; more was never of use.
const QUEUED_KBYTES_MAX: u64 = 65_536;
/// Less starves a shard: it is a few fetches of small records.
const QUEUED_KBYTES_MIN: u64 = 512;
/// Fewer fetched ahead would not fill a batch.
const QUEUED_RECORDS_MIN: u64 = 1_000;
/// librdkafka's defaults: records ahead in each partition, and bytes of a fetch in one partition and in all.
const QUEUED_RECORDS: u64 = 100_000;
const FETCH_PARTITION_BYTES: u64 = 1 << 20;
const FETCH_BYTES: u64 = 50 << 20;
/// Less makes a request of every few records.
const FETCH_PARTITION_BYTES_MIN: u64 = 16 << 10;
/// What a byte of a fetch becomes: a fetch of small compressed records takes thirty times its size, and there is a margin.
const FETCH_EXPANSION: u64 = 32;
/// A producer's buffer: never less than the largest dead letter with its headers, which could not be sent at all otherwise.
pub(super) const BUFFERING_KBYTES_MIN: u64 = 32_768;
/// The producers' buffers of a pipeline without a limit.
const BUFFERING_KBYTES: u64 = 262_144;
/// Smallest window that is derived; one bit a record.
const WINDOW_RECORDS_MIN: u64 = 65_536;

/// What the pipelines of a process share of its limit, each of them.
#[must_use]
pub fn pipeline_share(limit: u64, pipelines: u64) -> u64 {
    (limit - PROCESS_BYTES.min(limit / 4)) / pipelines.max(1)
}

/// The bounds of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// `queued.max.messages.kbytes`: bytes fetched ahead in each partition.
    pub queued_kbytes: u64,
    /// Options of the client that are lowered, under librdkafka's names.
    pub client_options: Vec<(&'static str, u64)>,
    /// `queue.buffering.max.kbytes` of each shard's producer.
    pub buffering_kbytes: u64,
    /// Memory of all open records in each shard. At this bound it takes no further one.
    pub open_bytes_max: u64,
    /// Memory of the records that wait in the order of one partition.
    pub deferred_bytes_max: u64,
    /// Executions open in each shard.
    pub executions_open_max: u32,
    /// Results under way in each shard.
    pub in_flight_max: u32,
    /// Width of a partition's window.
    pub window_records_max: u32,
}

impl Bounds {
    /// The bounds of a pipeline with that many source partitions.
    #[must_use]
    pub fn of(settings: &Settings, partitions: u64) -> Self {
        let (partitions, shards) = (partitions.max(1), u64::from(settings.shards.max(1)));
        let Some(share) = settings.memory_limit else { return Self::unlimited(settings, shards) };
        let (queues, open, windows) = (share / 4 / partitions, share * 35 / 100 / shards, share / 20 / partitions);
        Self {
            // Half, for what is fetched stays whole until its last record is done with.
            queued_kbytes: (queues / 2 / 1_024).clamp(QUEUED_KBYTES_MIN, QUEUED_KBYTES_MAX),
            client_options: lowered(&settings.client_options, queues, partitions),
            buffering_kbytes: (share * 15 / 100 / 1_024 / shards).max(BUFFERING_KBYTES_MIN),
            open_bytes_max: open,
            deferred_bytes_max: open / 2,
            executions_open_max: settings.executions_open_max.min(number(open / EXECUTION_BYTES)),
            in_flight_max: settings.in_flight_max.min(number(open / 2 / OPEN_RECORD_BYTES)),
            window_records_max: settings.window_records_max.min(number((windows * 8).max(WINDOW_RECORDS_MIN))),
        }
    }

    fn unlimited(settings: &Settings, shards: u64) -> Self {
        Self {
            queued_kbytes: QUEUED_KBYTES_MAX,
            client_options: Vec::new(),
            buffering_kbytes: (BUFFERING_KBYTES / shards).max(BUFFERING_KBYTES_MIN),
            open_bytes_max: u64::MAX,
            deferred_bytes_max: u64::MAX,
            executions_open_max: settings.executions_open_max,
            in_flight_max: settings.in_flight_max,
            window_records_max: settings.window_records_max,
        }
    }
}

/// What has to be lower than it is set, or than librdkafka's default, for the queue of a partition to fit into `queue` bytes.
fn lowered(options: &[(String, String)], queue: u64, partitions: u64) -> Vec<(&'static str, u64)> {
    let is_set_to = |names: &[&str], default: u64| names.iter().map(|name| client::number_option(options, name, default)).min().unwrap_or(default);
    let bounds = [
        ("queued.min.messages", is_set_to(&["queued.min.messages"], QUEUED_RECORDS), (queue / FETCHED_RECORD_BYTES).max(QUEUED_RECORDS_MIN)),
        // A fetch comes on top of what is queued.
        (
            "fetch.message.max.bytes",
            is_set_to(&["fetch.message.max.bytes", "max.partition.fetch.bytes"], FETCH_PARTITION_BYTES),
            (queue / FETCH_EXPANSION).max(FETCH_PARTITION_BYTES_MIN),
        ),
        ("fetch.max.bytes", is_set_to(&["fetch.max.bytes"], FETCH_BYTES), (queue * partitions / FETCH_EXPANSION).max(FETCH_PARTITION_BYTES)),
    ];
    bounds.into_iter().filter(|(_, found, bound)| found > bound).map(|(name, _, bound)| (name, bound)).collect()
}

/// A bound as the number it becomes: at least one, so that something can move.
fn number(bound: u64) -> u32 {
    u32::try_from(bound).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn settings(memory_limit: Option<u64>, shards: u32) -> Settings {
        Settings { memory_limit, shards, client_options: vec![("queued.min.messages".to_owned(), "20000".to_owned())], ..Settings::default() }
    }

    /// The most memory that the bounds allow for, as the factors count it.
    fn allowed(bounds: &Bounds, partitions: u64, shards: u64) -> u64 {
        let queued = 2 * bounds.queued_kbytes * 1_024 * partitions;
        queued + bounds.open_bytes_max * shards + bounds.buffering_kbytes * 1_024 * shards + u64::from(bounds.window_records_max) / 8 * partitions
    }

    #[test]
    fn without_a_limit_nothing_is_lowered() {
        let bounds = Bounds::of(&settings(None, 2), 16);
        assert_eq!((bounds.queued_kbytes, bounds.buffering_kbytes, bounds.open_bytes_max), (65_536, 131_072, u64::MAX));
        assert_eq!((bounds.executions_open_max, bounds.in_flight_max, bounds.window_records_max), (10_000, 10_000, 4_194_304));
        assert!(bounds.client_options.is_empty());
    }

    #[test]
    fn a_large_limit_lowers_nothing_that_is_set() {
        let bounds = Bounds::of(&settings(Some(pipeline_share(8 << 30, 1)), 2), 4);
        assert_eq!((bounds.executions_open_max, bounds.in_flight_max, bounds.window_records_max), (10_000, 10_000, 4_194_304));
        assert!(bounds.client_options.is_empty(), "{bounds:?}");
    }

    #[test]
    fn a_small_limit_is_shared_out() {
        let share = pipeline_share(128 * MIB, 1);
        assert_eq!(share, 96 * MIB);
        let bounds = Bounds::of(&settings(Some(share), 2), 8);
        assert_eq!(bounds.queued_kbytes, 96 * 1_024 / 4 / 8 / 2);
        assert_eq!(bounds.open_bytes_max, 96 * MIB * 35 / 100 / 2);
        assert_eq!((bounds.executions_open_max, bounds.in_flight_max), (2_150, 4_300));
        let lowered: Vec<_> = bounds.client_options.iter().map(|(name, _)| *name).collect();
        assert_eq!(lowered, ["queued.min.messages", "fetch.message.max.bytes", "fetch.max.bytes"]);
        assert_eq!(bounds.client_options[0].1, 2_048);
    }

    #[test]
    fn an_option_that_is_set_lower_stays() {
        let mut settings = settings(Some(96 * MIB), 2);
        settings.client_options = vec![("queued.min.messages".to_owned(), "1500".to_owned()), ("max.partition.fetch.bytes".to_owned(), "65536".to_owned())];
        let lowered: Vec<_> = Bounds::of(&settings, 8).client_options.iter().map(|(name, _)| *name).collect();
        assert_eq!(lowered, ["fetch.max.bytes"]);
    }

    proptest! {
        #[test]
        fn what_is_derived_fits_into_the_share(mib in 64..8_192_u64, partitions in 1..200_u64, shards in 1..17_u32, pipelines in 1..5_u64) {
            let share = pipeline_share(mib * MIB, pipelines);
            prop_assert!(share * pipelines < mib * MIB);
            let bounds = Bounds::of(&settings(Some(share), shards), partitions);
            // The floors, below which nothing could move, are what a limit too small for its partitions and shards is exceeded by.
            let floors = partitions * (2 * QUEUED_KBYTES_MIN * 1_024 + WINDOW_RECORDS_MIN / 8) + u64::from(shards) * BUFFERING_KBYTES_MIN * 1_024;
            prop_assert!(allowed(&bounds, partitions, u64::from(shards)) <= share + floors);
            prop_assert!(bounds.executions_open_max >= 1 && bounds.in_flight_max >= 1 && bounds.window_records_max >= 1_024);
            let larger = Bounds::of(&settings(Some(share * 2), shards), partitions);
            prop_assert!(larger.queued_kbytes >= bounds.queued_kbytes && larger.open_bytes_max >= bounds.open_bytes_max);
            prop_assert!(larger.executions_open_max >= bounds.executions_open_max);
        }
    }
}
