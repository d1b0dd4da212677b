//! Case `kafka-sigterm`: the service as a process, ended by SIGTERM in the middle of a load and started again, several times.
//!
//! The load is that of `kafka-latency`, in a process of its own. What is asked for: each time the service ends with code 0 within its deadline, and when the load is over, every record has exactly one result. The last stop comes when nothing is left to do.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::latency::{self, Load};
use super::ledger::{Balance, Ledger};
use super::{Bench, Settings};
use crate::clock::pause;
use crate::error::Error;
use crate::outcome::Shared;
use crate::spread::number;
use crate::workflow::HEARTBEAT;

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(2);
/// How long a start may take: a group whose last member has left in order has no session to wait for.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// From the load's end to that of its process.
const LOAD_GRACE: Duration = Duration::from_secs(90);
/// Beyond its deadline, until a service that does not end is killed.
const KILL_AFTER: Duration = Duration::from_secs(15);

/// What is done to the service.
#[derive(Debug, Clone)]
pub struct Stops {
    /// How often it is ended in mid-stream.
    pub count: u32,
    /// Its `service.shutdown_timeout`, in seconds.
    pub deadline_s: u32,
    /// The binary.
    pub service: PathBuf,
}

/// One end of the service.
#[derive(Debug, Clone, Copy)]
struct Stop {
    took: Duration,
    code: Option<i32>,
}

/// What a run came to.
struct Outcome {
    stops: Vec<Stop>,
    said: Value,
    balance: Balance,
}

/// Runs the case, and deletes its topics.
///
/// # Errors
/// No broker in reach, a topic that cannot be made, a service that does not start or end, a load that could not be written.
pub fn run(settings: &Settings, load: &Load, stops: &Stops, progress: &mut dyn FnMut(&str)) -> Result<Value, Error> {
    let mut bench = Bench::connect(settings)?;
    let folder = std::env::temp_dir().join(format!("expressway-{}", bench.source));
    let outcome = measure(&mut bench, settings, load, stops, &folder, progress);
    // What is left of a folder for throw-away files is no reason to lose a result.
    drop(fs::remove_dir_all(&folder));
    let deleted = bench.clear();
    let outcome = outcome?;
    deleted.map(|()| to_json(settings, load, stops, &outcome))
}

fn measure(
    bench: &mut Bench<'_>,
    settings: &Settings,
    load: &Load,
    stops: &Stops,
    folder: &std::path::Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, Error> {
    let (source, results) = (bench.source.clone(), format!("{}-sigterm", bench.source));
    bench.create(&source, settings.partitions)?;
    bench.create(&format!("{source}-dead-letters"), 1)?;
    bench.create(&results, settings.partitions)?;
    let place = Place::new(folder, settings, stops, &source, &results)?;
    let mut service = Service::start(&place)?;
    service.wait_ready(&place)?;
    progress(&format!("offering {} records/s for {} s", load.rate, load.seconds));
    let mut offering = latency::spawn(&latency::offer(settings, &source, &results, load), load)?;
    let (began, mut ended) = (Instant::now(), Vec::new());
    for number in 1..=stops.count {
        // At equal distances within the load, and none at its end.
        let at = Duration::from_secs(u64::from(load.seconds)) * number / (stops.count + 1);
        while began.elapsed() < at {
            pause(LOOK);
        }
        let stop = service.stop(stops)?;
        progress(&format!("stop {number}: {} ms, code {:?}", stop.took.as_millis(), stop.code));
        ended.push(stop);
        service = Service::start(&place)?;
        service.wait_ready(&place)?;
    }
    let until = Instant::now() + Duration::from_secs(u64::from(load.seconds)) + LOAD_GRACE;
    while offering.try_wait().map_err(|error| Error::surroundings("waiting for the load", error))?.is_none() {
        if Instant::now() > until {
            drop(offering.kill());
            return Err(Error::surroundings("running the load", "it does not end"));
        }
        pause(LOOK);
    }
    let said = latency::said(offering)?;
    ended.push(service.stop(stops)?);
    // The reader of the load goes no further than the first result of the last record.
    let mut ledger = Ledger::new(&source, &bench.cluster.ends(&source, settings.partitions)?);
    bench.cluster.read_back(&results, settings.partitions, &mut ledger)?;
    Ok(Outcome { stops: ended, said, balance: ledger.balance() })
}

/// Where the service finds its files.
struct Place {
    folder: PathBuf,
    service: PathBuf,
}

impl Place {
    fn new(folder: &std::path::Path, settings: &Settings, stops: &Stops, source: &str, results: &str) -> Result<Self, Error> {
        let options = settings.client_options.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        let config = json!({
            "kafka": {
                "bootstrap_servers": settings.brokers,
                "group_id": results,
                "profile": settings.profile.name(),
                "client_options": options.collect::<serde_json::Map<_, _>>(),
            },
            "http": {"listen": "127.0.0.1:0"},
            "service": {"shards": settings.shards, "shutdown_timeout": format!("{}s", stops.deadline_s)},
            "pipelines": [{
                "name": "heartbeat",
                "definition": folder.join("heartbeat.asl.json"),
                "source_topics": [source],
                "result_topic": results,
                "dead_letter_topic": format!("{source}-dead-letters"),
                "delivery": settings.delivery.name(),
            }],
        });
        let write = |name: &str, text: &str| fs::write(folder.join(name), text);
        // A configuration in JSON is one in YAML.
        let written = fs::create_dir_all(folder).and_then(|()| write("heartbeat.asl.json", HEARTBEAT)).and_then(|()| write("config.yaml", &config.to_string()));
        written.map_err(|error| Error::surroundings(format!("writing into {}", folder.display()), error))?;
        Ok(Self { folder: folder.to_owned(), service: stops.service.clone() })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("service.log")
    }
}

/// The service at work; killed when dropped.
struct Service {
    process: Child,
}

impl Service {
    fn start(place: &Place) -> Result<Self, Error> {
        let log = File::create(place.log()).map_err(|error| Error::surroundings("keeping the service's log", error))?;
        let mut command = Command::new(&place.service);
        command.arg("run").arg("--config").arg(place.folder.join("config.yaml"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = process.map_err(|error| Error::surroundings(format!("starting {}", place.service.display()), error))?;
        Ok(Self { process })
    }

    /// Waits until it says that it is ready.
    fn wait_ready(&mut self, place: &Place) -> Result<(), Error> {
        let end = Instant::now() + READY_WITHIN;
        loop {
            let said = fs::read_to_string(place.log()).unwrap_or_default();
            if said.lines().any(|line| line.trim() == "ready") {
                return Ok(());
            }
            let has_ended = self.process.try_wait().map_err(|error| Error::surroundings("waiting for the service", error))?.is_some();
            if has_ended || Instant::now() > end {
                let last = said.lines().last().unwrap_or_default();
                return Err(Error::surroundings("starting the service", format!("it is not ready; it said last: {last}")));
            }
            pause(LOOK);
        }
    }

    /// Ends it in order, and says how long that took.
    fn stop(&mut self, stops: &Stops) -> Result<Stop, Error> {
        let began = Instant::now();
        let pid = self.process.id().to_string();
        let told = Command::new("/bin/kill").args(["-TERM", &pid]).status();
        told.map_err(|error| Error::surroundings("ending the service", error))?;
        let end = began + Duration::from_secs(u64::from(stops.deadline_s)) + KILL_AFTER;
        loop {
            if let Some(status) = self.process.try_wait().map_err(|error| Error::surroundings("ending the service", error))? {
                return Ok(Stop { took: began.elapsed(), code: status.code() });
            }
            if Instant::now() > end {
                return Err(Error::surroundings("ending the service", "it does not end"));
            }
            pause(LOOK);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has gone already is no trouble.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn to_json(settings: &Settings, load: &Load, stops: &Stops, outcome: &Outcome) -> Value {
    let Outcome { stops: ended, said, balance } = outcome;
    let ms = |took: Duration| number(took.as_secs_f64() * 1e3, 0);
    let rate = balance.results as f64 / said["elapsed_s"].as_f64().unwrap_or(f64::INFINITY);
    let shared = Shared {
        cores: None,
        executions: balance.results,
        executions_per_s: rate,
        ns_per_execution: 1e9 / rate,
        latency_ns: None,
        allocations_per_execution: None,
    };
    let asked = json!({
        "rate": load.rate, "duration_s": load.seconds, "stops": stops.count, "deadline_ms": stops.deadline_s * 1_000,
        "profile": settings.profile.name(), "delivery": settings.delivery.name(), "partitions": settings.partitions, "shards": settings.shards,
        "records": said["records"],
    });
    let own = json!({
        "exit_ms": ended.iter().map(|stop| ms(stop.took)).collect::<Vec<_>>(),
        "exit_ms_max": ended.iter().map(|stop| stop.took).max().map(ms),
        "exit_codes": ended.iter().map(|stop| stop.code).collect::<Vec<_>>(),
        "sender_late_ms": said["sender_late_ms"],
        "lost": balance.lost,
        "duplicates": balance.duplicates,
        "unknown": balance.unknown,
    });
    shared.to_result("kafka-sigterm", &asked, &own, json!({}))
}

/// What makes a result a failure.
#[must_use]
pub fn wrong(json: &Value) -> Option<String> {
    if ["lost", "duplicates", "unknown"].iter().any(|key| json[*key] != 0) {
        return Some(format!("{} records have no result, {} more than one, {} results have no record", json["lost"], json["duplicates"], json["unknown"]));
    }
    let is_late = json["exit_ms_max"].as_f64() > json["deadline_ms"].as_f64();
    let is_clean = json["exit_codes"].as_array().is_some_and(|codes| codes.iter().all(|code| *code == 0));
    (is_late || !is_clean).then(|| format!("the service ended with {} after {} ms", json["exit_codes"], json["exit_ms"]))
}

/// The result for people.
#[must_use]
pub fn text(json: &Value) -> String {
    format!(
        "kafka-sigterm: {} records/s offered for {} s, {} shard(s)\n\
        {:>12} ms from SIGTERM to the end at most ({}), {} allowed\n\
        {:>12} lost, {} duplicates of {} records",
        json["rate"],
        json["duration_s"],
        json["shards"],
        json["exit_ms_max"],
        json["exit_ms"],
        json["deadline_ms"],
        json["lost"],
        json["duplicates"],
        json["records"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_late_or_unclean_is_wrong() {
        let good = json!({"lost": 0, "duplicates": 0, "unknown": 0, "exit_ms_max": 900, "deadline_ms": 10_000, "exit_codes": [0, 0], "exit_ms": [900, 40]});
        assert_eq!(wrong(&good), None);
        for (key, value) in [("lost", json!(1)), ("duplicates", json!(1)), ("unknown", json!(1)), ("exit_ms_max", json!(10_001)), ("exit_codes", json!([0, 3]))]
        {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(wrong(&bad).is_some(), "{key}");
        }
        assert!(wrong(&json!({})).is_some());
    }
}
