//! What a seed draws before it begins: the surroundings, the settings, the records and the faults.

use std::time::Duration;

use crate::pipeline::{OnFailure, OnNull, Ordering, ResultHeaders};
use expressway_ingest::random::Random;

/// The source topics; some seeds have one, some have both.
pub(crate) const SOURCES: [&str; 2] = ["in", "more"];
pub(crate) const RESULTS: &str = "out";
pub(crate) const DEAD_LETTERS: &str = "dead";

const MS: u64 = 1_000_000;
/// More than a bundle has.
pub(crate) const REQUEST_RECORDS_MAX: usize = 10_000;
/// Records that stall, where some do: one more than there are slots, which are as many as partitions at the most.
pub(crate) const STALLS_MAX: u32 = 5;
/// How long an execution lasts at most where some stall; longer than a partition may stand still.
pub(crate) const STALL_S: u64 = 60;
/// Faults have ended by then.
const CALM_AT_NS: u64 = 4_000 * MS;
/// With no faults there is nothing to wait for.
const CALM_WITHOUT_FAULTS_NS: u64 = 600 * MS;
/// Faults begin before that.
const FAULTS_UNTIL_MS: u64 = 3_000;
/// How much longer than a drain the application may leave the client unpolled; the service asks for five seconds.
const POLL_MARGIN_NS: u64 = 5_500 * MS;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9; another instance starts after a while.
    Crash { restart_ns: u64 },
    /// SIGTERM; another instance starts after a while.
    Shutdown { restart_ns: u64 },
    /// One more instance.
    Join,
    /// SIGSTOP and SIGCONT.
    Freeze { ns: u64 },
    /// No broker in reach.
    CutOff { ns: u64 },
    /// A source partition has no leader.
    SourceDown { partition: u64, ns: u64 },
    /// A partition of the topics that are written to has no leader.
    TargetDown { partition: u64, ns: u64 },
    /// The result topic is not ours to write to.
    Refuse { ns: u64 },
    /// The time of day jumps.
    ClockJump { ns: i64 },
    /// The log was cut and written anew: a position goes back.
    GoBack { partition: u64, by: i64 },
    /// The coordinator loses sight of a member.
    Expel,
    /// The client stops delivering a partition: it fetches nothing any more, or its queue has lost its reader.
    Stall { partition: u64, is_deaf: bool },
    /// One more instance, under the name of one that lives.
    Double,
}

/// Everything that a seed decides beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) is_eager: bool,
    pub(crate) instances: usize,
    pub(crate) instances_max: usize,
    pub(crate) starts: Vec<i64>,
    /// Partitions that belong to the first topic.
    pub(crate) split: usize,
    pub(crate) committed: Vec<Option<i64>>,
    pub(crate) result_partitions: usize,
    pub(crate) dead_letter_partitions: usize,
    pub(crate) records: u64,
    pub(crate) records_at_once: bool,
    pub(crate) unusual_percent: u64,
    pub(crate) gap_percent: u64,
    pub(crate) session_ns: u64,
    pub(crate) heartbeat_ns: u64,
    pub(crate) commit_interval_ms: u64,
    pub(crate) drain: Duration,
    pub(crate) shutdown: Duration,
    pub(crate) ahead_max: usize,
    pub(crate) fetch_max: usize,
    pub(crate) producer_records_max: usize,
    pub(crate) request_records_max: usize,
    pub(crate) linger_ns_max: u64,
    pub(crate) message_timeout_ns: u64,
    pub(crate) has_fatal_producers: bool,
    pub(crate) shards: u32,
    pub(crate) executions_open_max: u32,
    pub(crate) window_records_max: u32,
    pub(crate) batch_records_max: u32,
    pub(crate) in_flight_max: u32,
    pub(crate) topic_error_timeout: Duration,
    pub(crate) ordering: Ordering,
    pub(crate) deferred_records_max: u32,
    pub(crate) on_failure: OnFailure,
    pub(crate) on_null: OnNull,
    pub(crate) result_headers: ResultHeaders,
    /// The first partition's records stall, more of them than a shard has slots.
    pub(crate) stalls: bool,
    /// Faults have ended by then.
    pub(crate) calm_at_ns: u64,
    pub(crate) is_transactional: bool,
    pub(crate) transaction_interval: Duration,
    pub(crate) transaction_records_max: u32,
    pub(crate) transaction_timeout_ms: u64,
    /// Whether instances have names that those after them take over.
    pub(crate) has_names: bool,
    pub(crate) stuck_timeout: Duration,
    pub(crate) faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let partitions = 1 + random.index(4);
        let split = if partitions > 1 && random.below(3) == 0 { 1 + random.index(partitions - 1) } else { partitions };
        let starts: Vec<i64> = (0..partitions).map(|_| random.one_of(&[0, 0, 9, 1_000])).collect();
        let committed = starts.iter().map(|start| if random.below(3) == 0 { Some(*start) } else { None }).collect();
        let result_partitions = if random.below(3) == 0 { 1 + random.index(4) } else { partitions };
        let instances = random.one_of(&[1, 1, 2, 2, 3]);
        let drain_ms = random.one_of(&[20, 100, 500, 2_000, 6_000]);
        let faults = random.one_of(&[0, 1, 2, 3, 5, 8]);
        let mut plan = Self {
            is_eager: random.below(2) == 0,
            instances,
            instances_max: instances + random.index(3),
            starts,
            split,
            committed,
            result_partitions,
            dead_letter_partitions: 1 + random.index(2),
            records: random.one_of(&[20, 40, 80, 160]),
            records_at_once: random.below(3) == 0,
            unusual_percent: random.one_of(&[0, 0, 5, 20, 60]),
            gap_percent: random.one_of(&[0, 5, 40]),
            session_ns: random.one_of(&[300, 600, 1_000]) * MS,
            heartbeat_ns: random.one_of(&[20, 60, 100]) * MS,
            commit_interval_ms: random.one_of(&[20, 100, 500]),
            drain: Duration::from_millis(drain_ms),
            shutdown: Duration::from_millis(random.one_of(&[200, 2_000, 8_000])),
            ahead_max: random.one_of(&[2, 10, 100]),
            fetch_max: random.one_of(&[1, 5, 40]),
            producer_records_max: random.one_of(&[5, 40, 1_000]),
            request_records_max: random.one_of(&[1, 5, REQUEST_RECORDS_MAX]),
            linger_ns_max: random.one_of(&[1, 2, 10]) * MS,
            message_timeout_ns: random.one_of(&[100, 1_000, 10_000]) * MS,
            has_fatal_producers: random.below(8) == 0,
            shards: random.one_of(&[1, 1, 2, 3]),
            executions_open_max: random.one_of(&[1, 4, 50, 1_000]),
            window_records_max: random.one_of(&[1, 6, 40, 100_000]),
            batch_records_max: random.one_of(&[1, 4, 64]),
            in_flight_max: random.one_of(&[1, 8, 1_000]),
            topic_error_timeout: Duration::from_millis(random.one_of(&[300, 5_000])),
            ordering: random.one_of(&[Ordering::None, Ordering::Key, Ordering::Key, Ordering::Partition]),
            deferred_records_max: random.one_of(&[1, 5, 1_000]),
            on_failure: random.one_of(&[OnFailure::Result, OnFailure::DeadLetter]),
            on_null: random.one_of(&[OnNull::DeadLetter, OnNull::Skip]),
            result_headers: random.one_of(&[ResultHeaders::Source, ResultHeaders::Full]),
            stalls: false,
            calm_at_ns: if faults == 0 { CALM_WITHOUT_FAULTS_NS } else { CALM_AT_NS },
            is_transactional: random.below(3) == 0,
            transaction_interval: Duration::from_millis(random.one_of(&[2, 20, 200])),
            transaction_records_max: random.one_of(&[1, 10, 50_000]),
            transaction_timeout_ms: random.one_of(&[3_000, 6_000, 15_000]),
            has_names: random.below(2) == 0,
            stuck_timeout: Duration::from_secs(random.one_of(&[3, 10])),
            faults: Vec::new(),
        };
        if plan.request_records_max == 1 || plan.producer_records_max == 5 {
            // A request for each record takes its time, and so does a queue of a few.
            plan.transaction_timeout_ms += 5_000;
        }
        plan.faults = (0..faults).map(|_| (random.below(FAULTS_UNTIL_MS * MS), plan.fault(random))).collect();
        plan.faults.sort_by_key(|(at_ns, _)| *at_ns);
        plan
    }

    /// Lets the first partition stall, where there are others.
    pub(crate) fn stall(&mut self) {
        self.stalls = self.starts.len() > 1;
        if self.stalls {
            self.executions_open_max = STALLS_MAX - 1;
        }
    }

    /// Cuts somebody off for longer than a transaction lives, where there are any.
    pub(crate) fn outlive(&mut self, random: &mut Random) {
        if self.is_transactional {
            let (at_ns, ns) = (random.between(50, 1_500) * MS, (self.transaction_timeout_ms + random.between(100, 1_500)) * MS);
            self.faults.push((at_ns, Fault::CutOff { ns }));
            self.faults.sort_by_key(|(at_ns, _)| *at_ns);
            self.calm_at_ns = CALM_AT_NS.max(at_ns + ns);
        }
    }

    fn fault(&self, random: &mut Random) -> Fault {
        let restart_ns = random.one_of(&[0, 50, 400, 1_500]) * MS;
        let ns = random.one_of(&[30, 200, 800, 2_000]) * MS;
        let partition = random.below(4);
        match random.below(17) {
            0..=2 => Fault::Crash { restart_ns },
            3 | 4 => Fault::Shutdown { restart_ns },
            5 => Fault::Join,
            6 => Fault::Freeze { ns },
            7 => Fault::CutOff { ns },
            8 => Fault::SourceDown { partition, ns },
            9 => Fault::TargetDown { partition, ns },
            10 => Fault::Refuse { ns },
            11 => Fault::ClockJump { ns: random.one_of(&[-3_600_000_000_000, 3_600_000_000_000]) },
            12 => Fault::GoBack { partition, by: random.one_of(&[1, 5, 50]) },
            13 => Fault::Stall { partition, is_deaf: random.below(2) == 0 },
            14 => Fault::Double,
            _ => Fault::Expel,
        }
    }

    /// The source topics.
    pub(crate) fn topics(&self) -> &'static [&'static str] {
        if self.split < self.starts.len() { &SOURCES } else { &SOURCES[..1] }
    }

    /// How many partitions a source topic has.
    pub(crate) fn partitions_of(&self, topic: usize) -> usize {
        if topic == 0 { self.split } else { self.starts.len() - self.split }
    }

    /// The partitions of all topics are counted through. Topic and number of one.
    pub(crate) fn position(&self, partition: i32) -> (usize, i32) {
        let split = i32::try_from(self.split).expect("few partitions");
        if partition < split { (0, partition) } else { (1, partition - split) }
    }

    /// The count of a topic's partition.
    pub(crate) fn place(&self, topic: &str, number: i32) -> Option<i32> {
        let before = if topic == SOURCES[0] { 0 } else { self.split };
        self.topics().contains(&topic).then_some(number + i32::try_from(before).ok()?)
    }

    /// How long the application may leave the client unpolled, which is how long a round of the group lasts at most.
    pub(crate) fn poll_interval_ns(&self) -> u64 {
        u64::try_from(self.drain.as_nanos()).expect("drains are short") + POLL_MARGIN_NS
    }
}
