//! Every metric: name, unit, labels and help, each listed exactly once. Execution metrics carry AWS's names in snake case.

use prometheus_client::metrics::MetricType;

/// The base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The word that is appended to the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// A metric as it is described to whoever scrapes it.
#[derive(Debug)]
pub struct Metric {
    /// The name without unit and `_total`, which are appended by the exposition.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The base unit, where it has one.
    pub unit: Option<Unit>,
    /// The labels, all of few values.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

const PER_MACHINE: &[&str] = &["state_machine"];
const PER_TOPIC: &[&str] = &["state_machine", "topic"];
const PER_PARTITION: &[&str] = &["state_machine", "topic", "partition"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Counter, unit: None, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Gauge, unit: None, labels, help }
}

const fn with_unit(metric: Metric, unit: Unit) -> Metric {
    Metric { name: metric.name, kind: metric.kind, unit: Some(unit), labels: metric.labels, help: metric.help }
}

/// Executions begun.
pub static EXECUTIONS_STARTED: Metric = counter("expressway_executions_started", PER_MACHINE, "Executions begun");
/// Executions that succeeded.
pub static EXECUTIONS_SUCCEEDED: Metric = counter("expressway_executions_succeeded", PER_MACHINE, "Executions that succeeded");
/// Executions that failed.
pub static EXECUTIONS_FAILED: Metric = counter("expressway_executions_failed", PER_MACHINE, "Executions that failed");
/// Executions that timed out.
pub static EXECUTIONS_TIMED_OUT: Metric = counter("expressway_executions_timed_out", PER_MACHINE, "Executions that ran over their time");
/// Executions given up.
pub static EXECUTIONS_ABORTED: Metric = counter(
    "expressway_executions_aborted",
    PER_MACHINE,
    "Executions given up uncommitted because their partition went to another member; they run again there",
);
/// From the record to its acknowledged result.
pub static EXECUTION_TIME: Metric = Metric {
    name: "expressway_execution_time",
    kind: MetricType::Histogram,
    unit: Some(Unit::Seconds),
    labels: PER_MACHINE,
    help: "Time from the record's own timestamp to the acknowledgement of its result or dead letter",
};
/// Executions in flight.
pub static EXECUTIONS_OPEN: Metric = gauge("expressway_executions_open", PER_MACHINE, "Executions in flight");
/// Records read.
pub static RECORDS_READ: Metric = counter("expressway_records_read", PER_MACHINE, "Records taken up");
/// Their bytes.
pub static RECORD_BYTES_READ: Metric = with_unit(counter("expressway_record_read", PER_MACHINE, "Bytes of the values of the records taken up"), Unit::Bytes);
/// Records acknowledged.
pub static RECORDS_ACKNOWLEDGED: Metric =
    counter("expressway_records_acknowledged", PER_MACHINE, "Records whose result or dead letter the broker acknowledged");
/// Records skipped.
pub static RECORDS_SKIPPED: Metric = counter("expressway_records_skipped", PER_MACHINE, "Records without a value that were passed over");
/// Records dropped in a hand-over.
pub static RECORDS_HANDED_OVER: Metric =
    counter("expressway_records_handed_over", PER_MACHINE, "Records that came for a partition no longer owned and were left to its next owner");
/// Records open.
pub static RECORDS_OPEN: Metric = gauge("expressway_records_open", PER_MACHINE, "Records executing or waiting for their acknowledgement");
/// Records that wait in order.
pub static RECORDS_DEFERRED: Metric = gauge(
    "expressway_records_deferred",
    PER_MACHINE,
    "Records taken up that wait for others of their key or partition: not begun yet, or with a result that is kept back",
);
/// Memory of open records.
pub static OPEN_RECORDS_SIZE: Metric = with_unit(
    gauge(
        "expressway_open_records",
        PER_MACHINE,
        "Memory of open records, their results and the executions that wait, as counted against service.memory_limit",
    ),
    Unit::Bytes,
);
/// Records read of a partition.
pub static PARTITION_RECORDS_READ: Metric = counter(
    "expressway_partition_records_read",
    PER_PARTITION,
    "Records begun since the partition was assigned: those that ended and those that are open, at any time",
);
/// Records ended of a partition.
pub static PARTITION_RECORDS_ENDED: Metric = counter(
    "expressway_partition_records_ended",
    &["state_machine", "topic", "partition", "end"],
    "Records that ended since the partition was assigned: succeeded, failed, dead_lettered, skipped, or given_up because the position went back",
);
/// Records open of a partition.
pub static PARTITION_RECORDS_OPEN: Metric = gauge("expressway_partition_records_open", PER_PARTITION, "Records executing or waiting for their acknowledgement");
/// Dead letters.
pub static DEAD_LETTERS: Metric = counter("expressway_dead_letters", &["state_machine", "reason"], "Records written to the dead-letter topic");
/// Window distance.
pub static WINDOW_DISTANCE: Metric = gauge(
    "expressway_window_distance_records",
    PER_MACHINE,
    "Records between the committed position and the newest one taken up: what would run again after a crash, at most",
);
/// Lag in records.
pub static LAG_RECORDS: Metric = gauge("expressway_lag_records", PER_TOPIC, "Records between the committed position and the end of the assigned partitions");
/// Lag in seconds.
pub static LAG_SECONDS: Metric = with_unit(
    gauge("expressway_lag", PER_TOPIC, "Age of the newest record taken up while any is unfinished, of the partition that is furthest behind"),
    Unit::Seconds,
);
/// Task calls.
pub static TASK_CALLS: Metric = counter("expressway_task_calls", PER_MACHINE, "Task calls begun");
/// Task calls open.
pub static TASK_CALLS_OPEN: Metric = gauge("expressway_task_calls_open", PER_MACHINE, "Task calls without an answer yet");
/// Late answers.
pub static TASK_REPLIES_STALE: Metric = counter("expressway_task_replies_stale", PER_MACHINE, "Task answers that came when nobody waited for them any more");
/// Answers too many.
pub static TASK_REPLIES_OVERFLOWED: Metric =
    counter("expressway_task_replies_overflowed", PER_MACHINE, "Task answers dropped because the call had been answered before");
/// Timers.
pub static TIMERS_OPEN: Metric = gauge("expressway_timers_open", PER_MACHINE, "Waits, retries and time-outs that are set");
/// Engine panics.
pub static PANICS: Metric = counter("expressway_panics", PER_MACHINE, "Panics of the engine, each of which made one dead letter");
/// Definition.
pub static DEFINITION: Metric =
    gauge("expressway_definition", &["state_machine", "version"], "Always 1; the version under which executions begin is in the label");
/// Definitions replaced.
pub static DEFINITIONS_REPLACED: Metric =
    counter("expressway_definitions_replaced", PER_MACHINE, "Definitions that were read again and took the place of the one before");
/// Definitions refused.
pub static DEFINITIONS_REFUSED: Metric =
    counter("expressway_definitions_refused", PER_MACHINE, "Definitions that were read again and refused; the one before goes on");
/// Shape hits.
pub static SHAPE_HITS: Metric = counter("expressway_shape_hits", PER_MACHINE, "Messages read by a learned shape");
/// Shape misses.
pub static SHAPE_MISSES: Metric = counter("expressway_shape_misses", PER_MACHINE, "Messages that fitted no learned shape and took the full pass");
/// Shape skips.
pub static SHAPE_SKIPS: Metric =
    counter("expressway_shape_skips", PER_MACHINE, "Messages that took the full pass without a comparison, because shapes had not been worth it");
/// Shapes learned.
pub static SHAPES_LEARNED: Metric = counter("expressway_shapes_learned", PER_MACHINE, "Shapes of messages learned");
/// Shapes evicted.
pub static SHAPES_EVICTED: Metric = counter("expressway_shapes_evicted", PER_MACHINE, "Shapes of messages given up for others");
/// Dead letters stuck.
pub static DEAD_LETTERS_STUCK: Metric = gauge(
    "expressway_dead_letters_stuck",
    PER_MACHINE,
    "Dead letters that the broker refuses; they are kept, hold their partition's offset, and are tried again",
);
/// Produce retries.
pub static PRODUCE_RETRIES: Metric =
    counter("expressway_produce_retries", PER_MACHINE, "Results and dead letters that came back from the client and were sent again");
/// Transactions committed.
pub static TRANSACTIONS_COMMITTED: Metric = counter("expressway_transactions_committed", PER_MACHINE, "Transactions committed, with delivery transactional");
/// Transactions aborted.
pub static TRANSACTIONS_ABORTED: Metric = counter("expressway_transactions_aborted", PER_MACHINE, "Transactions aborted, whose results went again");
/// Stale delivery reports.
pub static DELIVERY_REPORTS_STALE: Metric =
    counter("expressway_delivery_reports_stale", PER_MACHINE, "Delivery reports that belonged to an assignment that was over");
/// Rebalances.
pub static REBALANCES: Metric = counter("expressway_rebalances", PER_MACHINE, "Assignments and revocations served");
/// Drains cut short.
pub static DRAINS_CUT_SHORT: Metric = counter("expressway_drains_cut_short", PER_MACHINE, "Revocations that ended before everything was finished");
/// Pauses.
pub static PAUSES: Metric = counter(
    "expressway_pauses",
    PER_MACHINE,
    "Partitions paused: their window was full, too many of their records or outcomes waited, or they held all of their share",
);
/// Paused partitions.
pub static PARTITIONS_PAUSED: Metric = gauge("expressway_partitions_paused", PER_MACHINE, "Partitions paused now");
/// Rewinds.
pub static REWINDS: Metric = counter("expressway_rewinds", PER_MACHINE, "Partitions whose position went back after their log was cut");
/// Stalled shards.
pub static SHARD_STALLS: Metric = counter("expressway_shard_stalls", PER_MACHINE, "How often a shard had not moved for five seconds");
/// Commit errors.
pub static COMMIT_ERRORS: Metric = counter("expressway_commit_errors", PER_MACHINE, "Commits that the broker refused");
/// Clients made anew.
pub static CLIENT_REPLACEMENTS: Metric = counter(
    "expressway_client_replacements",
    PER_MACHINE,
    "Kafka clients made anew: a partition stood still, or the group protocol or a static name was not to be had",
);
/// Store errors.
pub static STORE_ERRORS: Metric = counter("expressway_store_errors", PER_MACHINE, "Positions that could not be handed to the client for commit");
/// Client errors.
pub static CLIENT_ERRORS: Metric =
    counter("expressway_client_errors", PER_MACHINE, "Errors that the client gave in place of records, and calls that it refused");
/// Consumer problems.
pub static CONSUMER_PROBLEMS: Metric =
    counter("expressway_consumer_problems", PER_MACHINE, "Problems that the consumer reported and goes on after, such as a broker out of reach");
/// Log records.
pub static LOG_EVENTS: Metric = counter("expressway_log_events", PER_MACHINE, "Log records of executions written");
/// Log records dropped.
pub static LOG_EVENTS_DROPPED: Metric =
    counter("expressway_log_events_dropped", PER_MACHINE, "Log records of executions dropped because their destination did not take them");
/// Readiness.
pub static READY: Metric = gauge("expressway_ready", PER_MACHINE, "1 when the pipeline takes records, 0 while it is unassigned, draining or stalled");
/// Log lines held back.
pub static LOG_LINES_HELD: Metric = counter("expressway_log_lines_held", &[], "Repeated log lines that were held back");
/// Uptime.
pub static UPTIME: Metric = with_unit(gauge("expressway_uptime", &[], "Time since the process started"), Unit::Seconds);
/// Build.
pub static BUILD: Metric = gauge("expressway_build", &["version"], "Always 1; the version is in the label");

/// All of them, in the order of the exposition.
pub static ALL: [&Metric; 58] = [
    &EXECUTIONS_STARTED,
    &EXECUTIONS_SUCCEEDED,
    &EXECUTIONS_FAILED,
    &EXECUTIONS_TIMED_OUT,
    &EXECUTIONS_ABORTED,
    &EXECUTION_TIME,
    &EXECUTIONS_OPEN,
    &RECORDS_READ,
    &RECORD_BYTES_READ,
    &RECORDS_ACKNOWLEDGED,
    &RECORDS_SKIPPED,
    &RECORDS_HANDED_OVER,
    &RECORDS_OPEN,
    &RECORDS_DEFERRED,
    &OPEN_RECORDS_SIZE,
    &PARTITION_RECORDS_READ,
    &PARTITION_RECORDS_ENDED,
    &PARTITION_RECORDS_OPEN,
    &DEAD_LETTERS,
    &WINDOW_DISTANCE,
    &LAG_RECORDS,
    &LAG_SECONDS,
    &TASK_CALLS,
    &TASK_CALLS_OPEN,
    &TASK_REPLIES_STALE,
    &TASK_REPLIES_OVERFLOWED,
    &TIMERS_OPEN,
    &PANICS,
    &DEFINITION,
    &DEFINITIONS_REPLACED,
    &DEFINITIONS_REFUSED,
    &SHAPE_HITS,
    &SHAPE_MISSES,
    &SHAPE_SKIPS,
    &SHAPES_LEARNED,
    &SHAPES_EVICTED,
    &DEAD_LETTERS_STUCK,
    &PRODUCE_RETRIES,
    &TRANSACTIONS_COMMITTED,
    &TRANSACTIONS_ABORTED,
    &DELIVERY_REPORTS_STALE,
    &REBALANCES,
    &DRAINS_CUT_SHORT,
    &PAUSES,
    &PARTITIONS_PAUSED,
    &REWINDS,
    &SHARD_STALLS,
    &COMMIT_ERRORS,
    &CLIENT_REPLACEMENTS,
    &STORE_ERRORS,
    &CLIENT_ERRORS,
    &CONSUMER_PROBLEMS,
    &LOG_EVENTS,
    &LOG_EVENTS_DROPPED,
    &READY,
    &LOG_LINES_HELD,
    &UPTIME,
    &BUILD,
];

impl Metric {
    /// The name as it is scraped.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let total = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::error::{EXIT_CONFIG, EXIT_DONE, EXIT_INPUT, EXIT_SURROUNDINGS, EXIT_USAGE};

    /// Words of a text that begin like a metric.
    fn mentioned(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        words.filter(|word| word.starts_with("expressway_"))
    }

    #[test]
    fn dashboard_alerts_and_runbook_use_only_metrics_that_exist() {
        let known: Vec<String> = ALL.iter().map(|metric| metric.full_name()).collect();
        for name in ["configs/monitoring/dashboard.json", "configs/monitoring/alerts.yaml", "docs/runbook.md"] {
            let text = std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).expect(name);
            let mut count = 0;
            for word in mentioned(&text) {
                let word = word.strip_suffix("_bucket").unwrap_or(word);
                assert!(known.iter().any(|full_name| full_name == word), "{name} uses {word}");
                count += 1;
            }
            assert!(count > 4, "{name}");
        }
    }

    #[test]
    fn the_runbook_explains_every_alert_and_no_other() {
        let read = |name: &str| std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).expect("there");
        let (alerts, runbook) = (read("configs/monitoring/alerts.yaml"), read("docs/runbook.md"));
        let shipped: BTreeSet<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        let explained: BTreeSet<&str> =
            runbook.lines().filter_map(|line| line.strip_prefix("| Expressway")).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(shipped.iter().map(|name| name.trim_start_matches("Expressway")).collect::<BTreeSet<_>>(), explained);
        for code in [EXIT_DONE, EXIT_INPUT, EXIT_USAGE, EXIT_SURROUNDINGS, EXIT_CONFIG] {
            assert!(runbook.contains(&format!("| {code} | ")), "exit code {code}");
        }
    }
}
