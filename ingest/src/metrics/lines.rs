//! Which log line tells of which metric: whoever sees the one finds the other. Tests hold the table, the metrics and the lines in the source together, in both directions.

use super::names::{self, Metric};

/// Each line at `warn` and `error` with the metric that shows the same, and metrics without a line of their own with the line that explains them.
pub const LINES: &[(&str, &Metric)] = &[
    ("records became dead letters", &names::DEAD_LETTERS),
    ("dead letters are refused by the broker; they are kept and hold their partitions' offsets", &names::DEAD_LETTERS_STUCK),
    ("executions were given up with their partitions", &names::EXECUTIONS_ABORTED),
    ("answers of tasks came when nobody waited for them", &names::TASK_REPLIES_STALE),
    ("answers of tasks were dropped: calls were answered twice", &names::TASK_REPLIES_OVERFLOWED),
    ("delivery reports belonged to assignments that were over", &names::DELIVERY_REPORTS_STALE),
    ("results and dead letters are sent again", &names::PRODUCE_RETRIES),
    ("transaction was aborted; its results go again", &names::TRANSACTIONS_ABORTED),
    ("transaction has outlived its time; its producer is made anew", &names::TRANSACTIONS_ABORTED),
    ("partitions are paused: their windows are full, or too much of theirs waits", &names::PAUSES),
    ("execution panicked", &names::PANICS),
    ("position went back", &names::REWINDS),
    ("shard does not move", &names::SHARD_STALLS),
    ("commit failed", &names::COMMIT_ERRORS),
    ("mark could not be stored", &names::STORE_ERRORS),
    ("client reports an error in place of a record", &names::CLIENT_ERRORS),
    ("partition could not be paused", &names::CLIENT_ERRORS),
    ("partition could not be resumed", &names::CLIENT_ERRORS),
    ("consumer reports a problem", &names::CONSUMER_PROBLEMS),
    ("partitions were given back before everything was finished", &names::DRAINS_CUT_SHORT),
    ("a shard does not answer the group's decision", &names::DRAINS_CUT_SHORT),
    ("log records of executions are dropped: their destination is too slow", &names::LOG_EVENTS_DROPPED),
    ("log records of executions cannot be written", &names::LOG_EVENTS_DROPPED),
    ("log records of executions were not acknowledged in time", &names::LOG_EVENTS_DROPPED),
    ("a log record of an execution cannot be sent", &names::LOG_EVENTS_DROPPED),
    ("a log record of an execution was not acknowledged", &names::LOG_EVENTS_DROPPED),
    ("the log of executions was not written to its end in time", &names::LOG_EVENTS_DROPPED),
    ("the definition is refused, the one before goes on", &names::DEFINITIONS_REFUSED),
    ("not every shard took the definition: it is ending, or has run too many versions", &names::DEFINITIONS_REFUSED),
    ("the definitions could not be read again", &names::DEFINITIONS_REFUSED),
    ("repeated log lines were held back", &names::LOG_LINES_HELD),
    ("partition has records to read and delivers none", &names::CLIENT_REPLACEMENTS),
    ("the Kafka client is made anew", &names::CLIENT_REPLACEMENTS),
    ("the static member's name is still taken, trying again", &names::CLIENT_REPLACEMENTS),
    ("no broker answers yet", &names::READY),
    ("topic is not known to the broker yet", &names::READY),
    ("topic does not take records", &names::READY),
    ("start positions are not known yet", &names::READY),
    ("pipeline stops", &names::READY),
    ("consumer could not be closed in order", &names::READY),
    ("shutdown did not end in time", &names::READY),
    // Not at warn: the two lines of what goes its usual way and is counted all the same.
    ("partitions assigned", &names::REBALANCES),
    ("partitions revoked", &names::REBALANCES),
    ("the definition is replaced", &names::DEFINITIONS_REPLACED),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use prometheus_client::metrics::MetricType;

    use super::*;

    /// Counters of what is no error, and told by no line.
    const QUIET: &[&Metric] = &[
        &names::EXECUTIONS_STARTED,
        &names::EXECUTIONS_SUCCEEDED,
        // How an execution ends is its definition's business; the result says it.
        &names::EXECUTIONS_FAILED,
        &names::EXECUTIONS_TIMED_OUT,
        &names::RECORDS_READ,
        &names::RECORD_BYTES_READ,
        &names::RECORDS_ACKNOWLEDGED,
        &names::RECORDS_SKIPPED,
        &names::TRANSACTIONS_COMMITTED,
        &names::RECORDS_HANDED_OVER,
        &names::PARTITION_RECORDS_READ,
        &names::PARTITION_RECORDS_ENDED,
        &names::TASK_CALLS,
        &names::LOG_EVENTS,
        &names::SHAPE_HITS,
        &names::SHAPE_MISSES,
        &names::SHAPE_SKIPS,
        &names::SHAPES_LEARNED,
        &names::SHAPES_EVICTED,
    ];

    /// Lines that no metric tells, each for its reason.
    const UNCOUNTED: [&str; 9] = [
        // The client's own words; what follows from them is counted as retries, commit errors, problems of the consumer.
        "client error",
        "client warning",
        "client reports a problem",
        // Said once, when the service starts.
        "the definition has a finding",
        "the environment variable sets nothing",
        "client option is dropped, for the group protocol does not know it",
        // Whoever reads the metrics sees that they cannot be read.
        "the HTTP server ended",
        "the metrics could not be rendered",
        // Sentences of the shard's teller, whose table is looked at by itself.
        "{sentence}",
    ];

    /// The sentences of the log lines in a text, those of a level.
    fn sentences(text: &str, level: &str) -> Vec<String> {
        let begin = format!("tracing::{level}!(");
        // The sentence is the last literal of the call; none of ours has a quotation mark inside.
        text.split(&begin).skip(1).map(|rest| arguments(rest).rsplit('"').nth(1).unwrap_or_default().to_owned()).collect()
    }

    /// What stands before the parenthesis that closes.
    fn arguments(rest: &str) -> &str {
        let (mut open, mut is_text) = (1, false);
        for (at, letter) in rest.char_indices() {
            match letter {
                '"' => is_text = !is_text,
                '(' if !is_text => open += 1,
                ')' if !is_text => open -= 1,
                _ => {}
            }
            if open == 0 {
                return rest.split_at(at).0;
            }
        }
        rest
    }

    fn sources(folder: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                sources(&entry, out);
            } else if entry.extension().is_some_and(|extension| extension == "rs") && !entry.ends_with("metrics/lines.rs") {
                let text = std::fs::read_to_string(&entry).expect("UTF-8");
                // Tests log nothing, and may quote lines.
                out.push(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned());
            }
        }
    }

    #[test]
    fn every_line_has_its_metric_and_every_metric_its_line() {
        let mut texts = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
        let of = |level: &str| texts.iter().flat_map(|text| sentences(text, level)).collect::<BTreeSet<String>>();
        let mut told: BTreeSet<String> = of("warn").into_iter().chain(of("error")).collect();
        for sentence in UNCOUNTED {
            assert!(told.remove(sentence), "no line says \"{sentence}\"");
        }
        // The teller's sentences stand in a table beside it.
        let teller = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/shard/teller.rs")).expect("UTF-8");
        let table = teller.split("/// What a shard has told.").next().expect("the tables come first");
        told.extend(table.split("(Count::").skip(1).filter_map(|row| row.split('"').nth(1)).map(str::to_owned));
        let listed: BTreeSet<String> = LINES.iter().map(|(sentence, _)| (*sentence).to_owned()).collect();
        assert_eq!(listed.len(), LINES.len(), "each line once");
        let missing: Vec<_> = told.difference(&listed).collect();
        assert!(missing.is_empty(), "lines without a metric: {missing:?}");
        told.extend(of("info"));
        let gone: Vec<_> = listed.difference(&told).collect();
        assert!(gone.is_empty(), "lines that nobody says: {gone:?}");
    }

    #[test]
    fn every_counter_is_told_or_quiet() {
        for metric in names::ALL.iter().filter(|metric| matches!(metric.kind, MetricType::Counter)) {
            let is_told = LINES.iter().any(|(_, told)| std::ptr::eq(*told, *metric));
            let is_quiet = QUIET.iter().any(|quiet| std::ptr::eq(*quiet, *metric));
            assert!(is_told != is_quiet, "{} is {}", metric.name, if is_told { "told and called quiet" } else { "neither told nor called quiet" });
        }
    }
}
