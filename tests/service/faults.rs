//! Bad records, failing executions, brokers that go and come back.

use std::time::Duration;

use expressway_ingest::random::Random;
use harness::kafka::{self, Record};
use harness::service::{Service, results};

use crate::stage::{Cluster, SOON, Shared, Stage, ensure};

/// What is wrong with a record and the reason that its dead letter gives.
fn bad_records() -> Vec<(&'static str, &'static str, Option<Vec<u8>>)> {
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    let large = [b"{\"text\":\"".as_slice(), &vec![b'x'; 10 << 20], b"\"}"].concat();
    vec![
        ("malformed", "malformed_json", Some(b"{\"seq\":1,}".to_vec())),
        ("wrong UTF-8", "invalid_utf8", Some(b"{\"text\":\"\xC3\x28\"}".to_vec())),
        ("truncated", "malformed_json", Some(b"{\"seq\":1,\"type\":\"pla".to_vec())),
        ("10 MiB", "too_large", Some(large)),
        ("5,000 levels deep", "too_deep", Some(deep(5_000))),
        ("empty", "empty", Some(Vec::new())),
        ("null", "null_value", None),
    ]
}

pub(crate) fn bad_records_become_dead_letters(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "bad", 1)?;
    let mut feeder = stage.feeder()?;
    let bad = bad_records();
    for (_, _, value) in &bad {
        feeder.errand(Some(0), "plain", "")?;
        feeder.raw(Some(0), value.as_deref())?;
    }
    feeder.errand(Some(0), "plain", "")?;
    feeder.flush(SOON)?;
    let mut service = stage.service()?;
    // The stream goes on: every good record in between has its result.
    stage.wait_results(bad.len() + 1)?;
    let dead = stage.wait_dead_letters(bad.len())?;
    for (index, (what, reason, value)) in bad.iter().enumerate() {
        let position = format!("{}/0/{}", stage.source, 2 * index + 1);
        let letter =
            dead.iter().find(|letter| letter.header("expressway-source") == position).ok_or_else(|| format!("no dead letter for the record that is {what}"))?;
        check_letter(letter, what, reason, value.as_deref())?;
    }
    stage.wait_all_committed(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check()?;
    ensure((balance.results, balance.dead_letters, balance.duplicates) == (8, 7, 0), || format!("the books are {balance:?}"))?;
    service.stop(SOON)
}

fn check_letter(letter: &Record, what: &str, reason: &str, value: Option<&[u8]>) -> Result<(), String> {
    ensure(letter.value.as_deref() == value, || format!("{what}: the dead letter's value is not the record's"))?;
    ensure(letter.key.as_deref().is_some_and(|key| key.starts_with(b"device-")), || format!("{what}: the key is {:?}", letter.key))?;
    ensure(letter.header("expressway-reason") == reason, || format!("{what}: the reason is '{}', expected '{reason}'", letter.header("expressway-reason")))?;
    for header in ["expressway-definition", "expressway-version", "expressway-time"] {
        ensure(!letter.header(header).is_empty(), || format!("{what}: no header {header}"))?;
    }
    ensure(letter.header("expressway-detail").len() <= 1_024, || format!("{what}: the detail is longer than 1 KiB"))
}

pub(crate) fn failed_executions_go_where_they_are_told(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("failed", 1)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(0), "fail", "")?;
    feeder.raw(Some(0), None)?;
    feeder.errand(Some(0), "plain", "")?;
    feeder.flush(SOON)?;
    let config = stage.config("errands")?.with("pipelines/0/on_failure", "dead_letter").with("pipelines/0/on_null", "skip");
    let mut service = Service::start(&config, SOON)?;
    let dead = stage.wait_dead_letters(1)?;
    ensure(dead[0].header("expressway-source") == format!("{}/0/0", stage.source), || {
        format!("the dead letter is of {}", dead[0].header("expressway-source"))
    })?;
    ensure(dead[0].json()["type"] == "fail", || "the dead letter's value is not the record's".to_owned())?;
    stage.wait_results(1)?;
    // The null record is skipped: no outcome, and the group goes past it.
    stage.wait_all_committed(SOON)?;
    let balance = stage.balance(&feeder)?;
    ensure(balance.missing == [(0, 1)] && balance.wrong.is_empty(), || format!("the books are {balance:?}"))?;
    service.stop(SOON)
}

/// The topic takes a dozen results at a time, and the service sends thousands: what is refused is halved until it fits, and only the one that is too large by itself becomes a dead letter.
pub(crate) fn a_topic_with_a_small_limit_gets_small_batches(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "small", 2)?;
    kafka::alter_topic(&stage.bootstrap(), &results(&stage.source), &[("max.message.bytes", "2000")])?;
    let mut feeder = stage.feeder()?;
    // Noise, for what the producer compresses is what the limit is about.
    let mut random = Random::new(1);
    let mut noise = |bytes: u32| (0..bytes).map(|_| char::from(b'a' + u8::try_from(random.between(0, 26)).unwrap_or(0))).collect::<String>();
    for id in 0..20_000 {
        let bytes = if id == 7_777 { 4_000 } else { 100 };
        feeder.errand(None, "plain", &format!(",\"noise\":\"{}\"", noise(bytes)))?;
    }
    feeder.flush(SOON)?;
    let mut service = stage.service()?;
    stage.wait_all_committed(SOON)?;
    let again = service.metrics("expressway_produce_retries")?;
    ensure(again.values().sum::<f64>() > 1_000.0, || format!("hardly a batch was refused: {again:?}"))?;
    let balance = stage.balance(&feeder)?;
    balance.check_exact()?;
    let dead = stage.wait_dead_letters(1)?;
    ensure((balance.results, balance.dead_letters) == (19_999, 1), || format!("the books are {balance:?}"))?;
    ensure(dead[0].header("expressway-reason") == "result_too_large", || format!("the reason is {}", dead[0].header("expressway-reason")))?;
    service.stop(SOON)
}

pub(crate) fn a_mock_broker_going_down_and_up_loses_nothing(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("down", 2)?;
    let Cluster::Mock(mock) = &stage.cluster else { return Err("not a mock cluster".to_owned()) };
    let mut feeder = stage.feeder()?;
    let mut service = stage.service()?;
    feeder.stream(8_000, 2_000, |sent| match sent {
        2_000 => mock.set_up(false),
        5_000 => mock.set_up(true),
        _ => Ok(()),
    })?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check()?;
    ensure(service.ended().is_none(), || "the service ended with its broker".to_owned())?;
    service.stop(SOON)
}

pub(crate) fn a_real_broker_restart_loses_nothing(_: &Shared) -> Result<(), String> {
    let stage = Stage::own("restart", 4)?;
    let Cluster::Own(real) = &stage.cluster else { return Err("not a broker of our own".to_owned()) };
    let mut feeder = stage.feeder()?;
    let mut service = stage.service()?;
    feeder.stream(30_000, 5_000, |sent| match sent {
        10_000 => real.call("kill"),
        11_000 => real.call("start"),
        _ => Ok(()),
    })?;
    feeder.flush(Duration::from_secs(60))?;
    stage.wait_all_committed(Duration::from_secs(60))?;
    stage.balance(&feeder)?.check()?;
    ensure(service.ended().is_none(), || "the service ended with its broker".to_owned())?;
    service.stop(SOON)
}
