//! What an operator sees: metrics, health, and one clear sentence with the right exit code when something is wrong.

use std::time::Duration;

use harness::broker::{Broker, Mock};
use harness::deadline;
use harness::service::{Config, Service, free_port};

use crate::stage::{SOON, Shared, Stage, ensure};

pub(crate) fn metrics_count_what_was_done(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("metrics", 2)?;
    let mut feeder = stage.feeder()?;
    for _ in 0..50 {
        feeder.errand(None, "plain", "")?;
    }
    for _ in 0..5 {
        feeder.errand(None, "fail", "")?;
    }
    feeder.raw(None, Some(b"not json"))?;
    feeder.flush(SOON)?;
    let mut service = stage.service()?;
    stage.wait_all_committed(SOON)?;
    let counts = |name: &str, value: f64| {
        let name = format!("expressway_{name}_total");
        deadline::until(&format!("{name} = {value}"), SOON, || {
            service.metrics(&name).ok().filter(|samples| samples.get(&name).is_some_and(|&sample| (sample - value).abs() < 0.5)).map(|_| ())
        })
        .map_err(|late| format!("{late}: {:?}", service.metrics("expressway_")))
    };
    counts("executions_started", 55.0)?;
    counts("executions_succeeded", 50.0)?;
    counts("executions_failed", 5.0)?;
    counts("dead_letters", 1.0)?;
    let (status, body) = service.get("/metrics")?;
    ensure(status == 200 && body.contains("# HELP expressway_") && body.contains("# TYPE expressway_"), || "no help texts in /metrics".to_owned())?;
    ensure(body.contains("lag"), || "no lag in /metrics".to_owned())?;
    service.stop(SOON)
}

pub(crate) fn health_follows_the_assignment(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("health", 1)?;
    let mut service = Service::spawn(&stage.config("errands")?)?;
    // From the moment its HTTP answers: alive at once, ready only with partitions.
    deadline::until("/ping", SOON, || service.get("/ping").ok().filter(|(status, _)| *status == 200))?;
    let mut seen_unready = false;
    deadline::until("/ready = 200", SOON, || match service.get("/ready") {
        Ok((200, _)) => Some(()),
        Ok((503, reasons)) => {
            seen_unready |= !reasons.trim().is_empty();
            None
        }
        _ => None,
    })?;
    ensure(seen_unready, || "/ready was never 503 with reasons before the assignment".to_owned())?;
    service.wait_ready(SOON)?;
    let (status, version) = service.get("/version")?;
    ensure(status == 200 && version.contains(env!("CARGO_PKG_VERSION")), || format!("/version says {status}: {version}"))?;
    ensure(service.get("/nothing-here")?.0 == 404, || "an unknown path is not 404".to_owned())?;
    service.stop(SOON)
}

/// The service must end by itself with `code`, say one sentence that has all `words`, and no backtrace.
fn ends_with(config: &Config, code: i32, words: &[&str]) -> Result<(), String> {
    let mut service = Service::spawn(config)?;
    let ended = service.wait(Duration::from_secs(60))?;
    let said = service.stderr().join("\n");
    ensure(ended == Some(code), || format!("exit code {ended:?}, expected {code}; it wrote: {said}"))?;
    let sentence = said.lines().find(|line| words.iter().all(|word| line.contains(word)));
    ensure(sentence.is_some(), || format!("no line with all of {words:?} in: {said}"))?;
    ensure(!said.contains("panicked") && !said.contains("stack backtrace"), || format!("a panic: {said}"))
}

pub(crate) fn an_unknown_key_is_refused(_: &Shared) -> Result<(), String> {
    let config = Config::new("127.0.0.1:1", "t", "g", "errands")?.with("service/shard_count", 7);
    ends_with(&config, 78, &["service.shard_count", "7", "shards"])
}

pub(crate) fn an_unreachable_broker_is_told(_: &Shared) -> Result<(), String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    ends_with(&Config::new(&address, "t", "g", "errands")?.with("service/startup_timeout", "1s"), 3, &[&address])
}

pub(crate) fn a_missing_result_topic_is_told(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "missing", 1)?;
    let config = stage.config("errands")?.with("pipelines/0/result_topic", "no-such-topic");
    ends_with(&config, 3, &["no-such-topic"])
}

pub(crate) fn a_broken_definition_is_refused(_: &Shared) -> Result<(), String> {
    let mock = Mock::start()?;
    let file = harness::package().join("data/definitions/broken.asl.json");
    let config = Config::new(&mock.bootstrap(), "t", "g", "errands")?.with("pipelines/0/definition", file.to_string_lossy().as_ref());
    ends_with(&config, 1, &["SCHEMA_VALIDATION_FAILED"])
}
