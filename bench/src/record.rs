//! Recorded results: a file of JSON lines, one result a line with the facts it is quoted with, and the comparison of two files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::error::Error;
use crate::probe;

/// Members of a result that tell cases apart: what was asked for; the rest is measured.
const IDENTITY: [&str; 24] = [
    "case",
    "of",
    "sweep",
    "peer",
    "kind",
    "states",
    "rules",
    "hit",
    "style",
    "bytes",
    "shapes",
    "items",
    "branches",
    "suspended",
    "rate",
    "profile",
    "cores",
    "records",
    "partitions",
    "shards",
    "delivery",
    "ordering",
    "floor",
    "memory_limit_mb",
];

/// What is asked for unless something else is said: not part of a name, so that results match those of before there was a choice.
const USUAL: [(&str, &str); 3] = [("delivery", "at_least_once"), ("ordering", "key"), ("floor", "splice")];

/// Measured members that are compared, and whether more is better.
const MEASURES: [(&str, bool); 49] = [
    ("executions_per_s", true),
    ("backlog_executions_per_s", true),
    ("throughput_per_s/share", true),
    ("floor_records_per_s", true),
    ("share_of_floor", true),
    ("factor", true),
    ("machine_factor", true),
    ("ns_per_execution", false),
    ("ns_per_transition", false),
    ("cpu_ns_per_transition", false),
    ("ns_per_choice", false),
    ("cpu_ns_per_choice", false),
    ("ns_per_test", false),
    ("ns_per_item", false),
    ("ns_per_branch", false),
    ("ns_per_byte", false),
    ("learned_ns_per_byte", false),
    ("simd_json_tape_ns_per_byte", false),
    ("simd_json_value_ns_per_byte", false),
    ("times_simd_json_tape", true),
    ("times_simd_json_value", true),
    ("latency_ns/p50", false),
    ("latency_ns/p99", false),
    ("latency_ns_p999", false),
    ("latency_ms/p50", false),
    ("latency_ms/p99", false),
    ("latency_ms/p999", false),
    ("allocations_per_execution", false),
    ("instructions/parse", false),
    ("instructions/run", false),
    ("instructions/write", false),
    ("instructions/all", false),
    ("bytes_per_suspended_execution", false),
    ("bytes_per_idle_slot", false),
    ("service_bytes_per_suspended_execution", false),
    ("service_rss_bytes_per_suspended_execution", false),
    ("bytes_per_shard", false),
    ("rss_bytes_per_shard", false),
    ("client_cpu_s", false),
    ("client_cpu_us_per_record", false),
    ("broker_cpu_s", false),
    ("rss_mb", false),
    ("rss_mb_over_time/minute", false),
    ("rss_mb_over_time/ten_minutes", false),
    ("rss_mb_over_time/end", false),
    ("rss_mb_over_time/growth", false),
    ("drained_in_s", false),
    ("lost", false),
    ("duplicates", false),
];

/// Adds a result and its facts to `file`.
///
/// # Errors
/// The file cannot be written.
pub fn append(file: &Path, result: &Value) -> Result<(), Error> {
    let mut line = result.clone();
    line["facts"] = probe::facts();
    let write = || -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        writeln!(OpenOptions::new().create(true).append(true).open(file)?, "{line}")
    };
    write().map_err(|error| Error::surroundings(format!("recording in {}", file.display()), error))
}

/// The results of a recorded file.
///
/// # Errors
/// The file cannot be read, or has a line that is no result.
pub fn read(file: &Path) -> Result<Vec<Value>, Error> {
    let text = fs::read_to_string(file).map_err(|error| Error::surroundings(format!("reading {}", file.display()), error))?;
    let no_result = |line: usize| Error::Wrong(format!("{} line {line} is no result", file.display()));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| serde_json::from_str::<Value>(line).ok().filter(|value| value["case"].is_string()).ok_or_else(|| no_result(index + 1))).collect()
}

/// Every measure that both have, case by case: before, after, their ratio, and whether the spreads overlap where both have some; if they do, the change may be none. Of several results of one case, the last counts.
///
/// # Panics
/// Never: a String takes all text.
#[must_use]
pub fn compare(before: &[Value], after: &[Value]) -> String {
    let (before, after) = (by_case(before), by_case(after));
    let mut text = String::new();
    for (case, after) in &after {
        let Some(before) = before.get(case) else { continue };
        writeln!(text, "{case}").expect("a String takes all text");
        for (measure, more_is_better) in MEASURES {
            let value = |result: &Value| result.pointer(&format!("/{measure}")).and_then(Value::as_f64);
            let (Some(old), Some(new)) = (value(before), value(after)) else { continue };
            let overlap = overlap(&before["spread"][measure], &after["spread"][measure]).unwrap_or_default();
            writeln!(text, "  {measure:<41} {old:>14} → {new:>14}  {}{overlap}", change(old, new, more_is_better)).expect("a String takes all text");
        }
    }
    if text.is_empty() { "no case is in both files\n".to_owned() } else { text }
}

fn change(old: f64, new: f64, more_is_better: bool) -> String {
    if old == new {
        return "same".to_owned();
    }
    let verdict = if (new > old) == more_is_better { "better" } else { "worse" };
    if old == 0.0 { verdict.to_owned() } else { format!("× {:.3} {verdict}", new / old) }
}

/// Whether two spreads have a value in common, in words.
fn overlap(one: &Value, other: &Value) -> Option<&'static str> {
    let bounds = |spread: &Value| Some((spread["min"].as_f64()?, spread["max"].as_f64()?));
    let ((low, high), (other_low, other_high)) = (bounds(one)?, bounds(other)?);
    Some(if low <= other_high && other_low <= high { ", spreads overlap" } else { ", spreads apart" })
}

fn by_case(results: &[Value]) -> BTreeMap<String, &Value> {
    let name = |result: &Value| -> String {
        let parts = IDENTITY.iter().filter(|key| !result[**key].is_null() && !USUAL.iter().any(|(usual, value)| usual == *key && result[**key] == *value));
        parts.map(|key| format!("{key}={}", result[*key].as_str().map_or_else(|| result[*key].to_string(), str::to_owned))).collect::<Vec<_>>().join(" ")
    };
    results.iter().map(|result| (name(result), result)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_compared_case_by_case() {
        let result = |cores: u32, rate: u32, ns: u32| json!({"case": "heartbeat", "cores": cores, "executions_per_s": rate, "ns_per_execution": ns, "allocations_per_execution": 0});
        let text = compare(&[result(1, 100, 10), result(2, 1, 1)], &[result(1, 50, 5), result(1, 110, 9)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["case=heartbeat", "cores=1"]);
        assert_eq!(lines[1], ["executions_per_s", "100", "→", "110", "×", "1.100", "better"]);
        assert_eq!(lines[2], ["ns_per_execution", "10", "→", "9", "×", "0.900", "better"]);
        assert_eq!(lines[3], ["allocations_per_execution", "0", "→", "0", "same"]);
        assert_eq!(lines.len(), 4);
        assert_eq!(compare(&[result(1, 1, 1)], &[result(2, 1, 1)]), "no case is in both files\n");
    }

    #[test]
    fn cases_match_by_what_was_asked_for_and_spreads_are_weighed() {
        let result = |kind: &str, ns: f64, max: f64| {
            json!({"case": "transitions", "kind": kind, "states": 100, "cores": 1, "ns_per_transition": ns, "latency_ns": {"p50": 3},
                "spread": {"ns_per_transition": {"min": ns, "median": ns, "max": max}}})
        };
        let text = compare(&[result("pass", 2.0, 3.0), result("constant", 9.0, 9.5)], &[result("constant", 9.2, 9.9), result("pass", 4.0, 5.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("kind=constant") && lines[1].ends_with("× 1.022 worse, spreads overlap") && lines[2].ends_with("same"), "{text}");
        assert!(lines[3].contains("kind=pass") && lines[4].ends_with("× 2.000 worse, spreads apart"), "{text}");
    }

    #[test]
    fn what_is_usual_is_no_part_of_a_name() {
        let result = |delivery: &str| json!({"case": "kafka-heartbeat", "delivery": delivery, "cores": null, "executions_per_s": 7});
        let before = json!({"case": "kafka-heartbeat", "executions_per_s": 7});
        assert!(compare(std::slice::from_ref(&before), &[result("at_least_once")]).contains("same"));
        assert_eq!(compare(&[before], &[result("transactional")]), "no case is in both files\n");
    }

    #[test]
    fn allocations_that_appear_are_worse() {
        assert_eq!(change(0.0, 0.5, false), "worse");
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let folder = std::env::temp_dir().join(format!("expressway-bench-record-{}", std::process::id()));
        let file = folder.join("heartbeat.jsonl");
        append(&file, &json!({"case": "heartbeat", "cores": 1})).unwrap();
        append(&file, &json!({"case": "heartbeat", "cores": 2})).unwrap();
        let results = read(&file).unwrap();
        assert_eq!((results.len(), &results[1]["cores"]), (2, &json!(2)));
        assert!(results[0]["facts"]["cores"].as_u64() > Some(0));
        fs::write(&file, "{\"case\":\"a\"}\n7\n").unwrap();
        assert_eq!(read(&file).unwrap_err().exit_code(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
