//! A snapshot of all pipelines in Prometheus' text format (OpenMetrics).

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::names::{self, Metric};
use crate::pipeline::{Counters, PartitionBooks, PartitionLag};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of the execution time, in seconds: 1–2.5–5 from a millisecond to AWS's five minutes.
const BUCKETS_S: [f64; 18] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0];

/// One pipeline at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Name of the pipeline and its state machine.
    pub state_machine: String,
    /// The topics it reads, by the numbers that the lag has.
    pub source_topics: Vec<String>,
    /// Its counts.
    pub counters: Counters,
    /// Its execution times in nanoseconds.
    pub latency: Histogram<u64>,
    /// Its lag.
    pub lag: Vec<PartitionLag>,
    /// The books of its partitions.
    pub books: Vec<PartitionBooks>,
    /// Whether it takes records.
    pub is_ready: bool,
    /// The definition under which its executions begin.
    pub definition: Definition,
}

/// The definition of a pipeline at one moment.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// Its version.
    pub version: String,
    /// How often another one has taken its place.
    pub replaced: u64,
    /// How often another one was refused.
    pub refused: u64,
}

/// The process at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its pipelines.
    pub pipelines: Vec<Sample>,
    /// Time since it started.
    pub uptime: Duration,
    /// Log lines held back so far.
    pub log_lines_held: u64,
}

/// The snapshot as text.
#[must_use]
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    // A String takes all text, so this cannot fail; what was written until then would be the answer.
    let written = text::encode(&mut out, &registry);
    debug_assert!(written.is_ok(), "a String takes all text");
    out
}

type Labels<'l> = [(&'l str, &'l str)];

/// Picks one number of the counters.
type Count = fn(&Counters) -> u64;

/// A topic with its lag in records and in seconds.
type TopicLag<'s> = (&'s str, u64, f64);

/// The metrics that are one number of the counters.
const COUNTED: [(&Metric, Count); 44] = [
    (&names::EXECUTIONS_STARTED, |counters| counters.executions_started),
    (&names::EXECUTIONS_SUCCEEDED, |counters| counters.executions_succeeded),
    (&names::EXECUTIONS_FAILED, |counters| counters.executions_failed),
    (&names::EXECUTIONS_TIMED_OUT, |counters| counters.executions_timed_out),
    (&names::EXECUTIONS_ABORTED, |counters| counters.executions_abandoned),
    (&names::EXECUTIONS_OPEN, |counters| counters.executions_open),
    (&names::RECORDS_READ, |counters| counters.records_read),
    (&names::RECORD_BYTES_READ, |counters| counters.bytes_read),
    (&names::RECORDS_ACKNOWLEDGED, |counters| counters.records_acknowledged),
    (&names::RECORDS_SKIPPED, |counters| counters.records_skipped),
    (&names::RECORDS_HANDED_OVER, |counters| counters.records_dropped),
    (&names::RECORDS_OPEN, |counters| counters.records_open),
    (&names::RECORDS_DEFERRED, |counters| counters.records_deferred),
    (&names::OPEN_RECORDS_SIZE, |counters| counters.open_bytes),
    (&names::WINDOW_DISTANCE, |counters| counters.mark_distance),
    (&names::TASK_CALLS, |counters| counters.task_calls),
    (&names::TASK_CALLS_OPEN, |counters| counters.task_calls_open),
    (&names::TASK_REPLIES_STALE, |counters| counters.stale_replies),
    (&names::TASK_REPLIES_OVERFLOWED, |counters| counters.overflowed_replies),
    (&names::TIMERS_OPEN, |counters| counters.timers_open),
    (&names::PANICS, |counters| counters.panics),
    (&names::SHAPE_HITS, |counters| counters.shape_hits),
    (&names::SHAPE_MISSES, |counters| counters.shape_misses),
    (&names::SHAPE_SKIPS, |counters| counters.shape_skips),
    (&names::SHAPES_LEARNED, |counters| counters.shapes_learned),
    (&names::SHAPES_EVICTED, |counters| counters.shapes_evicted),
    (&names::DEAD_LETTERS_STUCK, |counters| counters.dead_letters_stuck),
    (&names::PRODUCE_RETRIES, |counters| counters.produce_retries),
    (&names::TRANSACTIONS_COMMITTED, |counters| counters.transactions_committed),
    (&names::TRANSACTIONS_ABORTED, |counters| counters.transactions_aborted),
    (&names::DELIVERY_REPORTS_STALE, |counters| counters.stale_reports),
    (&names::REBALANCES, |counters| counters.rebalances),
    (&names::DRAINS_CUT_SHORT, |counters| counters.drains_cut_short),
    (&names::PAUSES, |counters| counters.pauses),
    (&names::PARTITIONS_PAUSED, |counters| counters.partitions_paused),
    (&names::REWINDS, |counters| counters.rewinds),
    (&names::SHARD_STALLS, |counters| counters.stalls),
    (&names::COMMIT_ERRORS, |counters| counters.commit_errors),
    (&names::CLIENT_REPLACEMENTS, |counters| counters.client_replacements),
    (&names::STORE_ERRORS, |counters| counters.store_errors),
    (&names::CLIENT_ERRORS, |counters| counters.client_errors),
    (&names::CONSUMER_PROBLEMS, |counters| counters.consumer_problems),
    (&names::LOG_EVENTS, |counters| counters.log_events),
    (&names::LOG_EVENTS_DROPPED, |counters| counters.log_events_dropped),
];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, count) in COUNTED {
            let mut family = describe(&mut encoder, metric)?;
            for sample in &self.pipelines {
                write(&mut family, metric, &[("state_machine", sample.state_machine.as_str())], count(&sample.counters))?;
            }
        }
        self.encode_books(&mut encoder)?;
        self.encode_times(&mut encoder)?;
        self.encode_dead_letters(&mut encoder)?;
        self.encode_definitions(&mut encoder)?;
        self.encode_lag(&mut encoder)?;
        self.encode_process(&mut encoder)
    }
}

impl Snapshot {
    fn encode_books(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        for sample in &self.pipelines {
            for books in &sample.books {
                let topic = usize::try_from(books.topic).ok().and_then(|topic| sample.source_topics.get(topic));
                rows.push((sample.state_machine.as_str(), topic.map_or("", String::as_str), books.partition.to_string(), books));
            }
        }
        for (metric, count) in
            [(&names::PARTITION_RECORDS_READ, (|books| books.read) as fn(&PartitionBooks) -> u64), (&names::PARTITION_RECORDS_OPEN, |books| books.open)]
        {
            let mut family = describe(encoder, metric)?;
            for (machine, topic, partition, books) in &rows {
                write(&mut family, metric, &[("state_machine", machine), ("topic", topic), ("partition", partition)], count(books))?;
            }
        }
        let mut family = describe(encoder, &names::PARTITION_RECORDS_ENDED)?;
        for (machine, topic, partition, books) in &rows {
            for (end, count) in [
                ("succeeded", books.succeeded),
                ("failed", books.failed),
                ("dead_lettered", books.dead_lettered),
                ("skipped", books.skipped),
                ("given_up", books.given_up),
            ] {
                let labels: &Labels<'_> = &[("state_machine", machine), ("topic", topic), ("partition", partition), ("end", end)];
                write(&mut family, &names::PARTITION_RECORDS_ENDED, labels, count)?;
            }
        }
        Ok(())
    }

    fn encode_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &names::EXECUTION_TIME)?;
        for sample in &self.pipelines {
            let times = &sample.latency;
            let labels: &Labels<'_> = &[("state_machine", sample.state_machine.as_str())];
            family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(sum_s(times), times.len(), &buckets(times), None)?;
        }
        Ok(())
    }

    fn encode_dead_letters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &names::DEAD_LETTERS)?;
        for sample in &self.pipelines {
            for (reason, count) in &sample.counters.dead_letters {
                write(&mut family, &names::DEAD_LETTERS, &[("state_machine", sample.state_machine.as_str()), ("reason", reason.code())], *count)?;
            }
        }
        Ok(())
    }

    fn encode_definitions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &names::DEFINITION)?;
        for Sample { state_machine, definition, .. } in &self.pipelines {
            write(&mut family, &names::DEFINITION, &[("state_machine", state_machine), ("version", &definition.version)], 1)?;
        }
        for (metric, count) in [
            (&names::DEFINITIONS_REPLACED, (|definition| definition.replaced) as fn(&Definition) -> u64),
            (&names::DEFINITIONS_REFUSED, |definition| definition.refused),
        ] {
            let mut family = describe(encoder, metric)?;
            for sample in &self.pipelines {
                write(&mut family, metric, &[("state_machine", &sample.state_machine)], count(&sample.definition))?;
            }
        }
        Ok(())
    }

    fn encode_lag(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let topics: Vec<(&str, Vec<TopicLag<'_>>)> = self.pipelines.iter().map(|sample| (sample.state_machine.as_str(), by_topic(sample))).collect();
        let mut family = describe(encoder, &names::LAG_RECORDS)?;
        for (machine, topics) in &topics {
            for (topic, records, _) in topics {
                write(&mut family, &names::LAG_RECORDS, &[("state_machine", machine), ("topic", topic)], *records)?;
            }
        }
        let mut family = describe(encoder, &names::LAG_SECONDS)?;
        for (machine, topics) in &topics {
            for (topic, _, seconds) in topics {
                write_float(&mut family, &[("state_machine", machine), ("topic", topic)], *seconds)?;
            }
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = describe(encoder, &names::READY)?;
        for sample in &self.pipelines {
            write(&mut family, &names::READY, &[("state_machine", sample.state_machine.as_str())], u64::from(sample.is_ready))?;
        }
        write(&mut describe(encoder, &names::LOG_LINES_HELD)?, &names::LOG_LINES_HELD, &[], self.log_lines_held)?;
        write_float(&mut describe(encoder, &names::UPTIME)?, &[], self.uptime.as_secs_f64())?;
        write(&mut describe(encoder, &names::BUILD)?, &names::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1)
    }
}

fn describe<'e>(encoder: &'e mut DescriptorEncoder<'_>, metric: &'e Metric) -> Result<MetricEncoder<'e>, fmt::Error> {
    static SECONDS: Unit = Unit::Seconds;
    static BYTES: Unit = Unit::Bytes;
    let unit = metric.unit.map(|unit| match unit {
        names::Unit::Seconds => &SECONDS,
        names::Unit::Bytes => &BYTES,
    });
    encoder.encode_descriptor(metric.name, metric.help, unit, metric.kind)
}

fn write(family: &mut MetricEncoder<'_>, metric: &Metric, labels: &Labels<'_>, value: u64) -> fmt::Result {
    labelled(family, labels, |encoder| {
        if matches!(metric.kind, MetricType::Counter) {
            encoder.encode_counter::<[(&str, &str); 0], u64, u64>(&value, None)
        } else {
            encoder.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
        }
    })
}

fn write_float(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: f64) -> fmt::Result {
    labelled(family, labels, |encoder| encoder.encode_gauge(&value))
}

/// A metric without labels is no family: it would be written with empty braces.
fn labelled(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
    if labels.is_empty() { write(family) } else { write(&mut family.encode_family(&labels)?) }
}

/// Records of all partitions of a topic, and the greatest age among them.
fn by_topic(sample: &Sample) -> Vec<TopicLag<'_>> {
    let of = |(number, topic)| {
        let partitions = || sample.lag.iter().filter(move |lag| usize::try_from(lag.topic) == Ok(number));
        let (records, seconds) = (partitions().map(|lag| lag.records).sum(), partitions().map(|lag| lag.seconds).fold(0.0, f64::max));
        (topic, records, seconds)
    };
    sample.source_topics.iter().map(String::as_str).enumerate().map(of).collect()
}

/// Counts per bucket, not yet accumulated, the last one without bound.
fn buckets(times: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut counts = [0_u64; BUCKETS_S.len() + 1];
    for value in times.iter_recorded() {
        let seconds = Duration::from_nanos(value.value_iterated_to()).as_secs_f64();
        counts[BUCKETS_S.partition_point(|bound| *bound < seconds)] += value.count_since_last_iteration();
    }
    BUCKETS_S.into_iter().chain([f64::INFINITY]).zip(counts).collect()
}

fn sum_s(times: &Histogram<u64>) -> f64 {
    times.iter_recorded().map(|value| Duration::from_nanos(value.value_iterated_to()).as_secs_f64() * count_f64(value.count_since_last_iteration())).sum()
}

fn count_f64(count: u64) -> f64 {
    // Exact up to 2^53 executions of one duration.
    #[expect(clippy::cast_precision_loss, reason = "a sum of durations may be off by one in 2^53")]
    let count = count as f64;
    count
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn snapshot() -> Snapshot {
        let mut latency = Histogram::new(3).expect("three digits are allowed");
        latency.record(900_000).expect("in range");
        latency.record(40_000_000).expect("in range");
        let lag = |partition, records, seconds| PartitionLag { topic: 0, partition, records, seconds };
        let dead_letters = crate::pipeline::Reason::ALL.into_iter().map(|reason| (reason, 2)).collect();
        let counters = Counters { executions_started: 7, dead_letters, ..Counters::default() };
        let sample = Sample {
            state_machine: "heartbeat".to_owned(),
            source_topics: vec!["heartbeats".to_owned()],
            counters,
            latency,
            lag: vec![lag(0, 3, 1.5), lag(1, 4, 0.5)],
            books: vec![PartitionBooks { partition: 3, read: 9, succeeded: 6, dead_lettered: 1, open: 2, ..PartitionBooks::default() }],
            is_ready: true,
            definition: Definition { version: "1a2b".to_owned(), replaced: 2, refused: 1 },
        };
        Snapshot { pipelines: vec![sample], uptime: Duration::from_secs(5), log_lines_held: 9 }
    }

    #[test]
    fn every_metric_is_exposed_under_its_name_and_no_other() {
        let text = render(snapshot());
        let described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let expected: BTreeSet<String> = names::ALL.iter().map(|metric| metric.full_name().trim_end_matches("_total").to_owned()).collect();
        assert_eq!(described.len(), expected.len(), "each exactly once");
        assert_eq!(described.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn values_have_their_labels_and_suffixes() {
        let text = render(snapshot());
        for line in [
            "expressway_executions_started_total{state_machine=\"heartbeat\"} 7",
            "expressway_dead_letters_total{state_machine=\"heartbeat\",reason=\"malformed_json\"} 2",
            "expressway_lag_records{state_machine=\"heartbeat\",topic=\"heartbeats\"} 7",
            "expressway_lag_seconds{state_machine=\"heartbeat\",topic=\"heartbeats\"} 1.5",
            "expressway_execution_time_seconds_count{state_machine=\"heartbeat\"} 2",
            "expressway_execution_time_seconds_bucket{le=\"0.001\",state_machine=\"heartbeat\"} 1",
            "expressway_execution_time_seconds_bucket{le=\"0.05\",state_machine=\"heartbeat\"} 2",
            "expressway_execution_time_seconds_bucket{le=\"+Inf\",state_machine=\"heartbeat\"} 2",
            "expressway_partition_records_read_total{state_machine=\"heartbeat\",topic=\"heartbeats\",partition=\"3\"} 9",
            "expressway_partition_records_ended_total{state_machine=\"heartbeat\",topic=\"heartbeats\",partition=\"3\",end=\"succeeded\"} 6",
            "expressway_partition_records_open{state_machine=\"heartbeat\",topic=\"heartbeats\",partition=\"3\"} 2",
            "expressway_definition{state_machine=\"heartbeat\",version=\"1a2b\"} 1",
            "expressway_definitions_replaced_total{state_machine=\"heartbeat\"} 2",
            "expressway_definitions_refused_total{state_machine=\"heartbeat\"} 1",
            "expressway_ready{state_machine=\"heartbeat\"} 1",
            "expressway_log_lines_held_total 9",
            "expressway_uptime_seconds 5.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn names_are_unique_and_labels_are_few() {
        let unique: BTreeSet<String> = names::ALL.iter().map(|metric| metric.full_name()).collect();
        assert_eq!(unique.len(), names::ALL.len());
        assert!(names::ALL.iter().all(|metric| metric.labels.len() <= 4 && metric.name.starts_with("expressway_") && !metric.help.ends_with('.')));
    }
}
