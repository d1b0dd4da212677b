//! What comes out for what goes in, and how far the group's offsets stand.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::service::Service;
use harness::{deadline, kafka};
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::stage::{SOON, Shared, Stage, ensure};

pub(crate) fn results_carry_key_output_and_headers(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("carry", 2)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(1), "plain", ",\"extra\":[1.50,\"ü\"]")?;
    feeder.errand(Some(1), "fail", "")?;
    feeder.flush(SOON)?;
    let mut service = Service::start(&stage.config("errands")?.with("pipelines/0/result_headers", "full"), SOON)?;
    let results = stage.wait_results(2)?;
    let succeeded = results.iter().find(|record| record.header("expressway-status") == "SUCCEEDED").ok_or("no result with status SUCCEEDED")?;
    let failed = results.iter().find(|record| record.header("expressway-status") == "FAILED").ok_or("no result with status FAILED")?;
    ensure(succeeded.key.as_deref() == Some(b"device-0000"), || format!("the key is {:?}", succeeded.key))?;
    let output = succeeded.json();
    let name = format!("{}-1-0", stage.source);
    let expected = serde_json::json!({"seq": 0, "type": "plain", "extra": [1.5, "ü"], "stamp": {"execution": name}});
    ensure(output["stamp"] == expected["stamp"] && output["seq"] == 0 && output["extra"][1] == "ü", || format!("the output is {output}"))?;
    ensure(failed.json() == serde_json::json!({"Error": "Errand.Refused", "Cause": "no such errand"}), || format!("the failure is {}", failed.json()))?;
    for (header, value) in [("expressway-execution", name.as_str()), ("expressway-definition", "errands")] {
        ensure(succeeded.header(header) == value, || format!("{header} is '{}', expected '{value}'", succeeded.header(header)))?;
    }
    let version = succeeded.header("expressway-version");
    ensure(version.len() == 16 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), || format!("expressway-version is '{version}'"))?;
    stage.wait_all_committed(SOON)?;
    stage.balance(&feeder)?.check()?;
    service.stop(SOON)
}

pub(crate) fn the_committed_offset_is_the_next_unfinished_record(_: &Shared) -> Result<(), String> {
    stands_at_the_next_unfinished_record(&Stage::mock("mark", 1)?)
}

pub(crate) fn a_real_broker_keeps_the_offset_of_the_next_unfinished_record(shared: &Shared) -> Result<(), String> {
    stands_at_the_next_unfinished_record(&Stage::real(shared, "real-mark", 1)?)
}

fn stands_at_the_next_unfinished_record(stage: &Stage) -> Result<(), String> {
    let mut feeder = stage.feeder()?;
    for id in 0..100 {
        if id == 40 {
            feeder.errand(Some(0), "wait", ",\"seconds\":20")?
        } else {
            feeder.errand(Some(0), "plain", "")?
        };
    }
    feeder.flush(SOON)?;
    let mut service = stage.service()?;
    // All but the waiting one are done: the group stands at it, not behind it.
    stage.wait_results(99)?;
    deadline::until("offset 40 committed", SOON, || stage.committed().ok().filter(|committed| committed[0] == 40))?;
    let overrun = deadline::never(Duration::from_secs(1), || stage.committed().ok().filter(|committed| committed[0] != 40 && committed[0] != 100));
    overrun.map_err(|committed| format!("the group stands at {committed:?} while record 40 waits"))?;
    stage.wait_results(100)?;
    stage.wait_all_committed(SOON)?;
    stage.balance(&feeder)?.check_exact()?;
    service.stop(SOON)
}

pub(crate) fn a_long_wait_does_not_stop_its_partition(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("long", 1)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(0), "wait", ",\"seconds\":299")?;
    feeder.flush(SOON)?;
    let service = stage.service()?;
    // The one in front waits for five minutes; thousands behind it are done meanwhile, but for five of its own device, one in a thousand.
    feeder.stream(5_000, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    stage.wait_results(4_995)?;
    ensure(stage.committed()?[0] == 0, || format!("the group stands at {:?}, although record 0 waits", stage.committed()))?;
    let open = service.metrics("expressway_")?;
    ensure(!open.is_empty(), || "no metrics".to_owned())
}

pub(crate) fn an_endless_choice_loop_times_out_alone(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("loop", 1)?;
    let mut feeder = stage.feeder()?;
    // One shard, so that the loop and the others share a thread for certain.
    let mut service = Service::start(&stage.config("hurried")?.with("service/shards", 1), SOON)?;
    feeder.errand(Some(0), "loop", "")?;
    feeder.flush(SOON)?;
    feeder.stream(200, 200, |_| Ok(()))?;
    feeder.flush(SOON)?;
    // That the others do not wait for it is seen where a loop lasts longer than any machine stands still: `others_go_on_beside_an_endless_loop`.
    let results = stage.wait_results(201)?;
    let looped = results.iter().find(|record| record.header("expressway-status") == "TIMED_OUT").ok_or("no result with status TIMED_OUT")?;
    ensure(looped.json()["Error"] == "States.Timeout", || format!("the time-out is {}", looped.json()))?;
    stage.wait_all_committed(SOON)?;
    stage.balance(&feeder)?.check()?;
    service.stop(SOON)
}

pub(crate) fn a_lone_record_is_answered_at_once(_: &Shared) -> Result<(), String> {
    // A batch that waited for more, or to be full, would wait for ever: nothing comes before it is answered. How soon it is, `kafka-latency` of the bench measures.
    let stage = Stage::mock("lone", 1)?;
    let mut feeder = stage.feeder()?;
    let mut service = stage.service()?;
    let mut results = stage.results()?;
    for count in 1..=10 {
        feeder.errand(Some(0), "plain", "")?;
        results.read_until("the result of a lone record", SOON, |records| records.len() >= count)?;
    }
    service.stop(SOON)
}

pub(crate) fn records_from_before_the_start_are_taken_from_the_committed_offset(_: &Shared) -> Result<(), String> {
    // The window begins at the assignment's start, not at the first record seen: what lies between must never be committed over.
    let stage = Stage::mock("start", 2)?;
    let mut feeder = stage.feeder()?;
    for round in 1..=3_usize {
        feeder.stream(500, 50_000, |_| Ok(()))?;
        feeder.flush(SOON)?;
        let mut service = stage.service()?;
        stage.wait_results(round * 500)?;
        stage.wait_all_committed(SOON)?;
        service.stop(SOON)?;
    }
    stage.balance(&feeder)?.check_exact()
}

pub(crate) fn a_full_window_pauses_and_goes_on(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("window", 1)?;
    let mut feeder = stage.feeder()?;
    let mut service = Service::start(&stage.config("errands")?.with("pipelines/0/window_records_max", 1_024), SOON)?;
    feeder.errand(Some(0), "wait", ",\"seconds\":20")?;
    feeder.stream(4_000, 50_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    let mut reader = stage.results()?;
    reader.read_until("a window's worth of results", SOON, |records| records.len() >= 1_000)?;
    // While the first record waits, no more than the window may be done beyond it.
    reader.read(Duration::from_millis(500))?;
    let done = reader.records().len();
    ensure(done <= 1_024 || stage.committed()?[0] > 0, || format!("{done} records were done beyond a window of 1,024"))?;
    let pauses = service.metrics("expressway_pauses_total")?.values().sum::<f64>();
    ensure((1.0..=8.0).contains(&pauses), || format!("{pauses} pauses for one full window"))?;
    reader.read_until("all results after the wait", SOON, |records| records.len() > 4_000)?;
    stage.wait_all_committed(SOON)?;
    stage.balance(&feeder)?.check()?;
    service.stop(SOON)
}

pub(crate) fn gaps_between_offsets_do_no_harm(shared: &Shared) -> Result<(), String> {
    // Each transaction ends with a marker that takes an offset and is no record.
    let stage = Stage::real(shared, "gaps", 1)?;
    let mut config = kafka::producer_config(&stage.bootstrap());
    let producer: BaseProducer = config.set("transactional.id", &stage.source).create().map_err(|error| error.to_string())?;
    let done = |result: KafkaResult<()>| result.map_err(|error| error.to_string());
    done(producer.init_transactions(SOON))?;
    let mut service = stage.service()?;
    for transaction in 0..20 {
        done(producer.begin_transaction())?;
        for record in 0..10 {
            let value = format!("{{\"seq\":{},\"type\":\"plain\"}}", transaction * 10 + record);
            producer.send(BaseRecord::<str, str>::to(&stage.source).payload(&value)).map_err(|(error, _)| error.to_string())?;
        }
        // Every fourth is given up: its records are there, and must not be seen.
        done(if transaction % 4 == 3 { producer.flush(SOON).and_then(|()| producer.abort_transaction(SOON)) } else { producer.commit_transaction(SOON) })?;
    }
    let results = stage.wait_results(150)?;
    let seen: BTreeSet<u64> = results.iter().filter_map(|record| record.json()["seq"].as_u64()).collect();
    let expected: BTreeSet<u64> = (0..200).filter(|seq| seq / 10 % 4 != 3).collect();
    ensure(seen == expected && results.len() == 150, || format!("{} results, of {} records", results.len(), seen.len()))?;
    // The last committed record lies before the marker of its transaction and a whole one that was given up.
    let last = results.iter().filter_map(|record| record.header("expressway-source").rsplit('/').next()?.parse::<i64>().ok()).max().unwrap_or(-1);
    deadline::until("the last record committed", SOON, || stage.committed().ok().filter(|committed| committed[0] > last))?;
    crate::group::stayed(&service)?;
    service.stop(SOON)
}
