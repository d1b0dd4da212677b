//! The operators' commands beside a running service, on a real broker: dead letters brought back, records run again, one traced, and books that balance.

use std::fs;
use std::time::Duration;

use harness::kafka;
use harness::service::{dead_letters, results, run};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{SOON, Shared, Stage, ensure};

/// Longer than any command here takes on a busy machine.
const COMMAND: Duration = Duration::from_secs(60);

/// Gives commands with the configuration of a stage's service.
struct Operator {
    file: String,
    _folder: TempDir,
}

impl Operator {
    fn new(config: &harness::service::Config) -> Result<Self, String> {
        let folder = TempDir::new_in(harness::scratch()).map_err(|error| error.to_string())?;
        let path = folder.path().join("service.yaml");
        fs::write(&path, config.body.to_string()).map_err(|error| error.to_string())?;
        Ok(Self { file: path.to_string_lossy().into_owned(), _folder: folder })
    }

    /// Runs a command that must end with `code`; its JSON.
    fn json(&self, arguments: &[&str], code: i32) -> Result<Value, String> {
        let arguments = [arguments, &["--format", "json", "--config", &self.file]].concat();
        let (found, stdout, stderr) = run(&arguments, COMMAND)?;
        ensure(found == Some(code), || format!("{arguments:?} ended with {found:?}, expected {code}: {stderr}{stdout}"))?;
        serde_json::from_str(&stdout).map_err(|error| format!("{arguments:?} wrote {stdout}: {error}"))
    }

    /// Brings dead letters back; how many went, had gone before, are parked, are of other reasons.
    fn redrive(&self, more: &[&str]) -> Result<[u64; 4], String> {
        let summary = self.json(&[&["dlq", "redrive"], more].concat(), 0)?;
        Ok(["redriven", "before", "parked", "other_reason"].map(|name| summary["total"][name].as_u64().unwrap_or(u64::MAX)))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    ensure(found == expected, || format!("{what}: {found:?}, expected {expected:?}"))
}

pub(crate) fn dead_letters_come_back_until_they_are_parked(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "redrive", 2)?;
    let mut feeder = stage.feeder()?;
    let config = stage.config("errands")?.with("pipelines/0/on_failure", "dead_letter");
    let operator = Operator::new(&config)?;
    for index in 0..40 {
        let _ = if index % 4 == 0 { feeder.errand(Some(index % 2), "fail", "")? } else { feeder.errand(Some(index % 2), "plain", "")? };
    }
    feeder.raw(Some(1), Some(b"{\"seq\":"))?;
    feeder.raw(Some(1), None)?;
    feeder.flush(SOON)?;
    let mut service = harness::service::Service::start(&config, SOON)?;
    stage.wait_dead_letters(12)?;
    stage.wait_all_committed(SOON)?;
    let list = operator.json(&["dlq", "list", "--limit", "3"], 0)?;
    same("open letters", list["total"]["open"].as_u64(), Some(12))?;
    same("letters shown", list["letters"].as_array().map(Vec::len), Some(3))?;
    same("a dry run", operator.redrive(&["--dry-run"])?, [12, 0, 0, 0])?;
    // One reason first; the others are left for later.
    same("one reason", operator.redrive(&["--reason", "execution_failed", "--max-replays", "2"])?, [10, 0, 0, 2])?;
    stage.wait_dead_letters(22)?;
    same("the rest, and those that failed again", operator.redrive(&["--max-replays", "2"])?, [12, 10, 0, 0])?;
    stage.wait_dead_letters(34)?;
    // Ten have failed three times, two have failed twice.
    same("the second round of the rest", operator.redrive(&["--max-replays", "2"])?, [2, 22, 10, 0])?;
    let letters = stage.wait_dead_letters(36)?;
    same("all are parked", operator.redrive(&["--max-replays", "2"])?, [0, 24, 12, 0])?;
    same("nothing is as old as that", operator.redrive(&["--since", "0s"])?, [0, 0, 0, 0])?;
    stage.wait_all_committed(SOON)?;
    let parked = letters.iter().filter(|letter| letter.header("expressway-replays") == "2");
    let mut origins: Vec<String> = parked.map(|letter| letter.header("expressway-origin")).collect();
    origins.sort_unstable();
    origins.dedup();
    same("parked letters of distinct records", origins.len(), 12)?;
    let books = operator.json(&["audit", &stage.source], 0)?;
    same("records", books["total"]["records"].as_u64(), Some(42 + 24))?;
    same("dead-lettered", books["total"]["dead_lettered"].as_u64(), Some(36))?;
    service.stop(SOON)
}

pub(crate) fn replayed_records_run_again_and_can_be_traced(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "replay", 2)?;
    let mut feeder = stage.feeder()?;
    let config = stage.config("errands")?;
    let operator = Operator::new(&config)?;
    for index in 0..20 {
        feeder.errand(Some(index % 2), if index == 3 { "fail" } else { "plain" }, "")?;
    }
    feeder.flush(SOON)?;
    let mut service = stage.service()?;
    stage.wait_results(20)?;
    let replay = |more: &[&str]| {
        let summary = operator.json(&[&["replay", &stage.source], more].concat(), 0)?;
        Ok::<_, String>(["replayed", "before", "replays_themselves"].map(|name| summary[name].as_u64().unwrap_or(u64::MAX)))
    };
    same("part of a partition", replay(&["--partition", "1", "--offset", "0..4"])?, [4, 0, 0])?;
    stage.wait_results(24)?;
    same("what is left since then", replay(&["--since", "1d"])?, [16, 4, 4])?;
    let records = stage.wait_results(40)?;
    stage.wait_all_committed(SOON)?;
    let ids = records.iter().filter_map(|record| record.json()["seq"].as_u64()).collect::<Vec<_>>();
    same("every record has run twice, the failed one has no id", (ids.len(), ids.iter().filter(|id| **id == 7).count()), (38, 2))?;
    let (_, _, told) = run(&["replay", &stage.source, "--partition", "1", "--offset", "0..999", "--config", &operator.file], COMMAND)?;
    ensure(told.contains("ends at 20"), || told.clone())?;
    // Offset 1 of partition 1 is the fourth record.
    for (position, status) in [("1:0", "SUCCEEDED"), ("1:1", "FAILED")] {
        let trace = operator.json(&["trace", &format!("{}:{position}", stage.source)], 0)?;
        same("the status of a trace", trace["status"].as_str(), Some(status))?;
        same("the trace and the result of the service", trace["recorded"]["same"].as_bool(), Some(true))?;
        ensure(trace["events"].as_array().is_some_and(|events| events.len() > 3), || trace.to_string())?;
    }
    service.stop(SOON)
}

pub(crate) fn an_audit_owes_nothing_for_gaps_and_finds_what_is_missing(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "audit", 1)?;
    let config = stage.config("errands")?;
    let operator = Operator::new(&config)?;
    let mut settings = kafka::producer_config(&stage.bootstrap());
    let producer: BaseProducer = settings.set("transactional.id", &stage.source).create().map_err(|error| error.to_string())?;
    let done = |result: Result<(), rdkafka::error::KafkaError>| result.map_err(|error| error.to_string());
    done(producer.init_transactions(SOON))?;
    for transaction in 0..6 {
        done(producer.begin_transaction())?;
        for record in 0..10 {
            let value = format!("{{\"seq\":{},\"type\":\"plain\"}}", transaction * 10 + record);
            producer.send(BaseRecord::<str, str>::to(&stage.source).payload(&value)).map_err(|(error, _)| error.to_string())?;
        }
        // Every third is given up: its records and both kinds of markers take offsets.
        done(if transaction % 3 == 2 { producer.flush(SOON).and_then(|()| producer.abort_transaction(SOON)) } else { producer.commit_transaction(SOON) })?;
    }
    let unfinished = operator.json(&["audit", &stage.source, "--offset", "0..66"], 1)?;
    same("not one has been read", unfinished["total"]["unfinished"].as_u64(), Some(40))?;
    let mut service = stage.service()?;
    stage.wait_results(40)?;
    let books = |more: &[&str], code: i32| {
        let report = operator.json(&[&["audit", &stage.source], more].concat(), code)?;
        Ok::<_, String>(["records", "succeeded", "gaps", "missing"].map(|name| report["total"][name].as_u64().unwrap_or(u64::MAX)))
    };
    let gaps = operator.json(&["audit", &stage.source, "--offset", "0..66"], 0)?;
    same("whether the topic is compacted", gaps["compacted"].as_bool(), Some(false))?;
    same("the books of all offsets", books(&["--offset", "0..66"], 0)?, [40, 40, 26, 0])?;
    service.stop(SOON)?;
    let (dead, good) = (dead_letters(&stage.source), results(&stage.source));
    same(
        "results looked for in the wrong place",
        books(&["--offset", "5..20", "--partition", "0", "--results", &dead, "--dead-letters", &dead], 1)?,
        [14, 0, 1, 14],
    )?;
    same(
        "the same offsets with their results",
        books(&["--offset", "5..20", "--partition", "0", "--results", &good, "--dead-letters", &dead], 0)?,
        [14, 14, 1, 0],
    )
}

pub(crate) fn commands_say_what_is_wrong(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("usage", 2)?;
    let (brokers, source) = (stage.bootstrap(), stage.source.as_str());
    let nothing = format!("{source}:0:5");
    for (arguments, code, part) in [
        (vec!["dlq", "list"], 2, "name a dead-letter topic"),
        (vec!["dlq", "redrive", source, "--reason", "panik"], 2, "there is no reason \"panik\""),
        (vec!["dlq", "show", &nothing], 1, "is empty (it ends at 0)"),
        (vec!["replay", source], 2, "give --offset or --since"),
        (vec!["replay", source, "--since", "yesterday"], 2, "is no time"),
        (vec!["replay", source, "--since", "1h", "--to", "nowhere"], 3, "there is no topic nowhere"),
        (vec!["audit", source], 2, "give --config, or --results and --dead-letters"),
        (vec!["audit", "nowhere", "--results", source, "--dead-letters", source], 3, "there is no topic nowhere"),
        (vec!["trace", "nowhere"], 2, "TOPIC:PARTITION:OFFSET"),
    ] {
        let (found, _, stderr) = run(&[arguments.as_slice(), &["--brokers", &brokers]].concat(), COMMAND)?;
        ensure(found == Some(code) && stderr.contains(part), || format!("{arguments:?} ended with {found:?}, expected {code} and \"{part}\": {stderr}"))?;
    }
    let (found, _, stderr) = run(&["dlq", "list", source, "--brokers", "127.0.0.1:1"], COMMAND)?;
    ensure(found == Some(3) && stderr.contains("do not answer"), || format!("an unreachable broker: {found:?}, {stderr}"))
}
