//! From Kafka to Kafka: a topic is filled once, then every peer takes its turns over all of it, each with a group and a result topic of its own.
//!
//! A peer is started and stopped, and says nothing but its version. Its rate is read off the end offsets of its result topic, from when it has answered the records for getting warm to when it has answered all, so that starting up and compiling at run time are not counted. The questions, twenty a second, cost the broker the same with every peer.
//!
//! The results of a peer's first round are read back in full: every record has to be named by a result's `meta.exec` or have failed, one in [`CHECKED`] is compared with the same job done by hand, and all failures are. In later rounds the results are counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::message::Message as _;

use super::child::Child;
use super::equal;
use super::outcome::{Row, Sample};
use super::roster::{Folders, Peer, Runtime, Settings};
use crate::clock::pause;
use crate::error::Error;
use crate::kafka::cluster::{Cluster, devices, partition_of};
use crate::{probe, reference};

/// One record in so many has its result compared member by member.
const CHECKED: u64 = 64;

/// Between two looks at the result topic.
const LOOK: Duration = Duration::from_millis(50);

/// How long a result may be waited for; a group has to be formed before the first.
const RESULT_WITHIN: Duration = Duration::from_secs(60);

/// What precedes the name of an execution in an output, whoever writes it.
const NAMED: [&[u8]; 2] = [b"\"exec\":\"", b"\"exec\": \""];

struct Bench<'s> {
    settings: &'s Settings,
    brokers: &'s str,
    folders: &'s Folders,
    cluster: Cluster,
    source: String,
    checked: BTreeMap<(i32, i64), Vec<u8>>,
}

pub(super) fn run(settings: &Settings, brokers: &str, folders: &Folders, peers: &[Peer], progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Error> {
    let cluster = Cluster::connect(brokers)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let source = format!("peers-{seconds:x}");
    let dead_letters = format!("{source}-dead-letters");
    cluster.create(&source, settings.partitions)?;
    cluster.create(&dead_letters, 1)?;
    cluster.fill(&source, settings.partitions, settings.records)?;
    progress(&format!("{} records in {source}", settings.records));
    let checked = checked(settings.records, settings.partitions);
    let bench = Bench { settings, brokers, folders, cluster, source, checked };
    let rows = bench.rounds(peers, progress);
    bench.cluster.delete(&[bench.source.clone(), dead_letters])?;
    Ok(rows)
}

/// The source's messages whose results are compared, by partition and offset.
fn checked(records: u64, partitions: u32) -> BTreeMap<(i32, i64), Vec<u8>> {
    let (mut devices, mut ends, mut checked) = (devices(), BTreeMap::new(), BTreeMap::new());
    for number in 0..records {
        let record = devices.next_record();
        let partition = partition_of(record.device, partitions);
        let end: &mut i64 = ends.entry(partition).or_default();
        if number.is_multiple_of(CHECKED) {
            checked.insert((partition, *end), record.value.unwrap_or_default().to_vec());
        }
        *end += 1;
    }
    checked
}

impl Bench<'_> {
    fn rounds(&self, peers: &[Peer], progress: &mut dyn FnMut(&str)) -> Vec<Row> {
        let mut rows: Vec<Row> = peers.iter().map(|peer| Row::new(peer.name, peer.what)).collect();
        for round in 1..=self.settings.rounds {
            let mut order: Vec<usize> = (0..peers.len()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for place in order {
                let (peer, row) = (&peers[place], &mut rows[place]);
                let sample = self.turn(peer, round, row);
                progress(&match &sample {
                    Ok(sample) => format!("round {round}, {}: {:.0} records/s", peer.name, sample.per_s),
                    Err(reason) => format!("round {round}, {}: not run: {reason}", peer.name),
                });
                row.enter(sample);
            }
        }
        rows
    }

    /// One peer's turn in one round; its result topic is deleted again.
    fn turn(&self, peer: &Peer, round: u32, row: &mut Row) -> Result<Sample, String> {
        let results = format!("{}-{}-{round}", self.source, peer.name);
        let command = self.command(peer, &results)?;
        self.cluster.create(&results, self.settings.partitions).map_err(|error| error.to_string())?;
        let outcome = self.measure(peer, command, &results, row).and_then(|sample| {
            if round == 1 {
                self.read_back(&results)?
            } else {
                self.count(&results)?
            }
            Ok(sample)
        });
        // Kafka Streams keeps a folder, though it has nothing to keep.
        drop(fs::remove_dir_all(self.scratch(&results)));
        let deleted = self.cluster.delete(&[results]).map_err(|error| error.to_string());
        outcome.and_then(|sample| deleted.map(|()| sample))
    }

    fn command(&self, peer: &Peer, results: &str) -> Result<Command, String> {
        let mut command = peer.command(self.folders, "kafka")?;
        let workers = self.settings.workers.unwrap_or(peer.workers).to_string();
        if peer.runtime == Runtime::Ours {
            let config = self.folders.scratch.join("expressway.yaml");
            fs::write(&config, include_str!("../../peers/expressway.yaml")).map_err(|error| format!("its configuration cannot be written: {error}"))?;
            command.arg("run").arg("--config").arg(config);
            command.env("PEERS_BROKERS", self.brokers).env("PEERS_SOURCE", &self.source).env("PEERS_RESULTS", results);
            command.env("PEERS_GROUP", results).env("PEERS_WORKERS", workers);
        } else {
            command.args(["--brokers", self.brokers, "--source", &self.source, "--results", results, "--group", results, "--workers", &workers]);
            command.arg("--scratch").arg(self.scratch(results));
        }
        Ok(command)
    }

    fn scratch(&self, results: &str) -> PathBuf {
        self.folders.scratch.join(results)
    }

    fn measure(&self, peer: &Peer, command: Command, results: &str, row: &mut Row) -> Result<Sample, String> {
        let mut child = Child::start(command, &self.folders.scratch, &format!("{}-kafka", peer.name))?;
        let warm = self.wait(&mut child, results, self.settings.warm_records)?;
        let done = self.wait(&mut child, results, self.settings.records)?;
        row.version = match peer.runtime {
            Runtime::Ours => Some(env!("CARGO_PKG_VERSION").to_owned()),
            _ => child.said().and_then(|said| said["version"].as_str().map(str::to_owned)),
        };
        child.end();
        sample(&warm, &done, child.peak_mb()).ok_or_else(|| "all records were answered at one look; take more".to_owned())
    }

    /// Waits until the result topic holds so many.
    fn wait(&self, child: &mut Child, results: &str, records: u64) -> Result<Moment, String> {
        let (mut last, mut since, mut trouble) = (0, Instant::now(), String::new());
        loop {
            match self.look(child, results) {
                Ok(moment) if moment.results >= records => return Ok(moment),
                Ok(moment) if moment.results > last => (last, since) = (moment.results, moment.at),
                Ok(_) => {}
                // A broker under load may not lead its partitions for a moment.
                Err(error) => trouble = format!(" ({error})"),
            }
            if let Some(status) = child.ended() {
                return Err(child.last_words(status));
            }
            if since.elapsed() > RESULT_WITHIN {
                return Err(format!("{last} of {records} results, and no more within {} s{trouble}", RESULT_WITHIN.as_secs()));
            }
            pause(LOOK);
        }
    }

    fn look(&self, child: &Child, results: &str) -> Result<Moment, String> {
        let count = self.results(results)?;
        let broker_cpu_s = self.settings.broker_pid.and_then(probe::process_cpu_s);
        Ok(Moment { at: Instant::now(), results: count, cpu_s: child.cpu_s(), broker_cpu_s })
    }

    fn results(&self, results: &str) -> Result<u64, String> {
        let ends = self.cluster.ends(results, self.settings.partitions).map_err(|error| error.to_string())?;
        Ok(ends.iter().filter_map(|end| u64::try_from(*end).ok()).sum())
    }

    fn count(&self, results: &str) -> Result<(), String> {
        let (count, records) = (self.results(results)?, self.settings.records);
        if count == records { Ok(()) } else { Err(format!("{count} results of {records} records")) }
    }

    fn read_back(&self, results: &str) -> Result<(), String> {
        let mut books = Books::new(&self.source, self.settings.partitions, &self.checked);
        let read = self.cluster.read(results, self.settings.partitions, |message| books.enter(message.payload().unwrap_or_default()));
        read.map_err(|error| error.to_string())?;
        books.balance(self.settings.records)
    }
}

/// How far a peer has got, and what it has cost so far.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    results: u64,
    cpu_s: Option<f64>,
    broker_cpu_s: Option<f64>,
}

/// What lies between two moments.
fn sample(warm: &Moment, done: &Moment, rss_mb: f64) -> Option<Sample> {
    let (results, elapsed) = (done.results.checked_sub(warm.results).filter(|results| *results > 0)?, done.at - warm.at);
    let each = |before: Option<f64>, after: Option<f64>| Some((after? - before?) * 1e6 / results as f64);
    Some(Sample {
        per_s: results as f64 / elapsed.as_secs_f64(),
        cpu_us: each(warm.cpu_s, done.cpu_s),
        broker_cpu_us: each(warm.broker_cpu_s, done.broker_cpu_s),
        rss_mb,
    })
}

/// Which records the results name, and whether what was compared was right.
struct Books<'c> {
    source: &'c str,
    checked: &'c BTreeMap<(i32, i64), Vec<u8>>,
    seen: Vec<Vec<bool>>,
    named: u64,
    failed: u64,
    compared: u64,
    wrong: Option<String>,
}

impl<'c> Books<'c> {
    fn new(source: &'c str, partitions: u32, checked: &'c BTreeMap<(i32, i64), Vec<u8>>) -> Self {
        Self { source, checked, seen: (0..partitions).map(|_| Vec::new()).collect(), named: 0, failed: 0, compared: 0, wrong: None }
    }

    fn enter(&mut self, output: &[u8]) {
        let entered = match place(output, self.source) {
            Some(place) => self.enter_success(output, place),
            None => self.enter_failure(output),
        };
        if let Err(reason) = entered {
            self.wrong.get_or_insert(reason);
        }
    }

    fn enter_success(&mut self, output: &[u8], (partition, offset): (i32, i64)) -> Result<(), String> {
        let unknown = || format!("a result names {partition}/{offset}, which is no record");
        let (row, column) = (usize::try_from(partition).map_err(|_| unknown())?, usize::try_from(offset).map_err(|_| unknown())?);
        let seen = self.seen.get_mut(row).ok_or_else(unknown)?;
        if seen.len() <= column {
            seen.resize(column + 1, false);
        }
        self.named += u64::from(!std::mem::replace(&mut seen[column], true));
        let Some(message) = self.checked.get(&(partition, offset)) else { return Ok(()) };
        self.compared += 1;
        let expected = reference::heartbeat(message, &format!("{}-{partition}-{offset}", self.source)).map_err(|error| error.to_string())?;
        equal::check(output, &expected)
    }

    fn enter_failure(&mut self, output: &[u8]) -> Result<(), String> {
        self.failed += 1;
        let expected = reference::heartbeat(b"{}", "").map_err(|error| error.to_string())?;
        equal::check(output, &expected)
    }

    fn balance(self, records: u64) -> Result<(), String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let answered = self.named + self.failed;
        if answered != records {
            return Err(format!("{answered} of {records} records are answered"));
        }
        if self.compared == 0 { Err("no result could be compared".to_owned()) } else { Ok(()) }
    }
}

/// Partition and offset of the record that an output names as its execution.
fn place(output: &[u8], source: &str) -> Option<(i32, i64)> {
    let rest = NAMED.iter().find_map(|named| {
        let at = output.windows(named.len()).rposition(|window| window == *named)?;
        output.get(at + named.len()..)
    })?;
    let name = rest.split(|byte| *byte == b'"').next()?;
    let (partition, offset) = std::str::from_utf8(name).ok()?.strip_prefix(source)?.strip_prefix('-')?.split_once('-')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: u64 = 640;

    fn outputs(checked: &BTreeMap<(i32, i64), Vec<u8>>) -> Vec<Vec<u8>> {
        checked.iter().map(|((partition, offset), message)| reference::heartbeat(message, &format!("beats-{partition}-{offset}")).unwrap()).collect()
    }

    fn books(outputs: &[Vec<u8>], checked: &BTreeMap<(i32, i64), Vec<u8>>, records: u64) -> Result<(), String> {
        let mut books = Books::new("beats", 4, checked);
        outputs.iter().for_each(|output| books.enter(output));
        books.balance(records)
    }

    #[test]
    fn records_are_checked_where_they_lie() {
        let checked = checked(RECORDS, 4);
        assert_eq!(checked.len() as u64, RECORDS / CHECKED);
        assert!(checked.keys().all(|(partition, offset)| (0..4).contains(partition) && (0..160).contains(offset)));
        assert_eq!(books(&outputs(&checked), &checked, RECORDS / CHECKED), Ok(()));
    }

    #[test]
    fn missing_repeated_and_wrong_results_are_found() {
        let checked = checked(RECORDS, 4);
        let (right, count) = (outputs(&checked), RECORDS / CHECKED);
        assert_eq!(books(&right[1..], &checked, count), Err(format!("{} of {count} records are answered", count - 1)));
        let repeated: Vec<Vec<u8>> = right.iter().skip(1).chain(right.last()).cloned().collect();
        assert_eq!(books(&repeated, &checked, count), Err(format!("{} of {count} records are answered", count - 1)));
        let wrong: Vec<Vec<u8>> = right.iter().map(|output| String::from_utf8_lossy(output).replace("iot", "tio").into_bytes()).collect();
        assert!(books(&wrong, &checked, count).unwrap_err().starts_with("wrong output"));
        assert!(books(&[b"{}".to_vec()], &checked, 1).unwrap_err().starts_with("wrong output"));
    }

    #[test]
    fn place_is_found_however_it_is_spaced() {
        assert_eq!(place(br#"{"meta":{"exec":"a-b-3-17","x":1}}"#, "a-b"), Some((3, 17)));
        assert_eq!(place(br#"{"meta": {"exec": "a-b-3-17"}}"#, "a-b"), Some((3, 17)));
        for output in [&br#"{"exec":"other-3-17"}"#[..], br#"{"exec":"a-b-3"}"#, br#"{"Error":"UnknownType"}"#, b""] {
            assert_eq!(place(output, "a-b"), None);
        }
    }

    #[test]
    fn rate_is_what_lies_between_two_looks() {
        let start = Instant::now();
        let warm = Moment { at: start, results: 1_000, cpu_s: Some(1.0), broker_cpu_s: None };
        let done = Moment { at: start + Duration::from_secs(2), results: 5_000, cpu_s: Some(1.5), broker_cpu_s: Some(9.0) };
        assert_eq!(sample(&warm, &done, 7.0), Some(Sample { per_s: 2_000.0, cpu_us: Some(125.0), broker_cpu_us: None, rss_mb: 7.0 }));
        assert_eq!(sample(&done, &done, 7.0), None);
    }
}
