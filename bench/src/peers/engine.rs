//! Engine against engine: every peer gets the same messages in a file, writes the outputs of its first pass down, gets warm, and times passes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use core_affinity::CoreId;
use serde_json::Value;

use super::child::Child;
use super::equal;
use super::outcome::{Row, Sample};
use super::roster::{Folders, MESSAGES, Peer, Runtime, Settings};
use crate::error::Error;
use crate::messages::Messages;
use crate::reference;
use crate::workflow::TOPIC;

/// How long a peer may take for one round beyond what it is told to.
const ROUND_WITHIN: Duration = Duration::from_secs(120);

/// The messages of the case `heartbeat`, as a file of lines.
fn write_messages(file: &Path) -> Result<Messages, Error> {
    let messages = Messages::generate(MESSAGES, 1);
    let mut text = Vec::with_capacity(messages.size() + messages.len());
    for message in messages.iter() {
        text.extend_from_slice(message);
        text.push(b'\n');
    }
    fs::write(file, text).map_err(|error| Error::surroundings(format!("writing {}", file.display()), error))?;
    Ok(messages)
}

pub(super) fn run(settings: &Settings, folders: &Folders, peers: &[Peer], progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Error> {
    let file = folders.scratch.join("messages.jsonl");
    let messages = write_messages(&file)?;
    let mut rows: Vec<Row> = peers.iter().map(|peer| Row::new(peer.name, peer.what)).collect();
    for round in 1..=settings.rounds {
        let mut order: Vec<usize> = (0..peers.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for place in order {
            let (peer, row) = (&peers[place], &mut rows[place]);
            let sample = turn(settings, folders, peer, &messages, row);
            progress(&match &sample {
                Ok(sample) => format!("round {round}, {}: {:.0} executions/s", peer.name, sample.per_s),
                Err(reason) => format!("round {round}, {}: not run: {reason}", peer.name),
            });
            row.enter(sample);
        }
    }
    Ok(rows)
}

/// One peer's turn in one round.
fn turn(settings: &Settings, folders: &Folders, peer: &Peer, messages: &Messages, row: &mut Row) -> Result<Sample, String> {
    let mut command = peer.command(folders, "engine")?;
    let outputs = folders.scratch.join(format!("{}.outputs", peer.name));
    if peer.runtime != Runtime::Ours {
        command.arg("--messages").arg(folders.scratch.join("messages.jsonl")).arg("--outputs").arg(&outputs);
        command.args(["--count", &peer.messages.to_string(), "--warm-s", &peer.warm_s.to_string(), "--measure-s", &settings.measure_s.to_string()]);
    }
    let mut child = start(peer, command, &folders.scratch)?;
    let result = child.result(ROUND_WITHIN + Duration::from_secs(settings.measure_s.into()))?;
    if peer.runtime == Runtime::Ours {
        // That case compares every output itself before it times anything.
        row.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        return our_sample(&result, child.peak_mb()).ok_or_else(|| format!("not a result: {result}"));
    }
    row.version = result["version"].as_str().map(str::to_owned);
    let text = fs::read(&outputs).map_err(|error| format!("its outputs cannot be read: {error}"))?;
    check(&text, messages, peer.messages)?;
    sample(&result, child.peak_mb()).ok_or_else(|| format!("not a result: {result}"))
}

/// A process inherits the core of the thread that starts it, and all its threads do.
fn start(peer: &Peer, command: Command, scratch: &Path) -> Result<Child, String> {
    let name = format!("{}-engine", peer.name);
    if !peer.is_pinned {
        return Child::start(command, scratch, &name);
    }
    let last: CoreId = core_affinity::get_core_ids().and_then(|cores| cores.last().copied()).ok_or("no core to pin it to")?;
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            if core_affinity::set_for_current(last) { Child::start(command, scratch, &name) } else { Err("it cannot be pinned to one core".to_owned()) }
        });
        pinned.join().unwrap_or_else(|_| Err("it cannot be started".to_owned()))
    })
}

/// Compares the first pass's outputs, a line each, with the same job done by hand.
fn check(outputs: &[u8], messages: &Messages, count: u32) -> Result<(), String> {
    let mut lines = outputs.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (number, message) in (0..count).zip(messages.iter()) {
        let line = lines.next().ok_or_else(|| format!("{number} outputs instead of {count}"))?;
        let expected = reference::heartbeat(message, &format!("{TOPIC}-0-{number}")).map_err(|error| error.to_string())?;
        equal::check(line, &expected)?;
    }
    if lines.next().is_some() { Err(format!("more outputs than {count}")) } else { Ok(()) }
}

/// What a peer's line of JSON says: the best pass, and the processor time of all.
fn sample(result: &Value, peak_mb: f64) -> Option<Sample> {
    let executions = result["executions_per_pass"].as_f64()?;
    let passes: Vec<f64> = result["pass_s"].as_array()?.iter().filter_map(Value::as_f64).collect();
    let best = passes.iter().copied().fold(f64::INFINITY, f64::min);
    let cpu_us = result["cpu_s"].as_f64().map(|seconds| seconds * 1e6 / (executions * passes.len() as f64));
    let rss_mb = result["rss_kb"].as_f64().map_or(peak_mb, |kb| kb * 1024.0 / 1e6);
    (executions > 0.0 && best.is_finite() && best > 0.0).then(|| Sample { per_s: executions / best, cpu_us, broker_cpu_us: None, rss_mb })
}

/// What the case `heartbeat` says of the same.
fn our_sample(result: &Value, rss_mb: f64) -> Option<Sample> {
    let ns = result["ns_per_execution"].as_f64().filter(|ns| *ns > 0.0)?;
    let cpu_us = result["spread"]["cpu_ns_per_execution"]["median"].as_f64().map(|ns| ns / 1e3);
    Some(Sample { per_s: 1e9 / ns, cpu_us, broker_cpu_us: None, rss_mb })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn best_pass_counts_and_processor_time_is_the_mean() {
        let result = json!({"version": "1", "executions_per_pass": 1000, "pass_s": [0.5, 0.25, 1.25], "cpu_s": 3.0});
        let expected = Sample { per_s: 4_000.0, cpu_us: Some(1_000.0), broker_cpu_us: None, rss_mb: 12.0 };
        assert_eq!(sample(&result, 12.0), Some(expected));
        let server = json!({"executions_per_pass": 10, "pass_s": [1], "rss_kb": 1000});
        assert_eq!(sample(&server, 12.0), Some(Sample { per_s: 10.0, cpu_us: None, broker_cpu_us: None, rss_mb: 1.024 }));
    }

    #[test]
    fn lines_that_are_no_result_are_refused() {
        for result in [json!({}), json!({"executions_per_pass": 10, "pass_s": []}), json!({"executions_per_pass": 0, "pass_s": [1.0]}), json!({"version": "1"})]
        {
            assert_eq!(sample(&result, 0.0), None, "{result}");
        }
        assert_eq!(our_sample(&json!({"ns_per_execution": 0}), 0.0), None);
    }

    #[test]
    fn result_of_the_case_heartbeat_is_understood() {
        let result = json!({"case": "heartbeat", "ns_per_execution": 250.0, "spread": {"cpu_ns_per_execution": {"median": 260.0}}});
        assert_eq!(our_sample(&result, 9.0), Some(Sample { per_s: 4e6, cpu_us: Some(0.26), broker_cpu_us: None, rss_mb: 9.0 }));
    }

    #[test]
    fn outputs_are_compared_one_by_one() {
        let messages = Messages::generate(3, 1);
        let mut text = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            text.extend(reference::heartbeat(message, &format!("{TOPIC}-0-{number}")).unwrap());
            text.push(b'\n');
        }
        assert_eq!(check(&text, &messages, 3), Ok(()));
        assert_eq!(check(&text, &messages, 2), Err("more outputs than 2".to_owned()));
        let all = text.len();
        let first_two = text.split_inclusive(|byte| *byte == b'\n').take(2).map(<[u8]>::len).sum::<usize>();
        assert_eq!(check(&text[..first_two], &messages, 3), Err("2 outputs instead of 3".to_owned()));
        text[all - 3] ^= 1;
        assert!(check(&text, &messages, 3).unwrap_err().starts_with("wrong output"));
    }
}
