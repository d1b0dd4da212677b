//! Who takes part, and how each is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::outcome::{OURS, Outcome};
use super::{engine, kafka};
use crate::error::Error;
use crate::workflow::HEARTBEAT;

/// What `--only` takes. Ours always takes part.
pub const NAMES: [&str; 9] = [OURS, "rust-service", "jackson", "flink", "kafka-streams", "vrl", "aws-local-stepfunctions", "moto", "ministack"];

/// What is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that `install.sh` fills.
    pub folder: PathBuf,
    /// Names of those to run; all when empty.
    pub only: Vec<String>,
    /// Whether engines are compared.
    pub with_engine: bool,
    /// Addresses of brokers; without them there is no comparison from Kafka to Kafka.
    pub brokers: Option<String>,
    /// Rounds of each comparison.
    pub rounds: u32,
    /// For how long a peer times its passes in one round, in seconds.
    pub measure_s: u32,
    /// Records of the source topic.
    pub records: u64,
    /// Of these, how many a peer has for getting warm.
    pub warm_records: u64,
    /// Partitions of source and result topics.
    pub partitions: u32,
    /// Consumers or shards of everyone on Kafka, instead of each one's own number.
    pub workers: Option<u32>,
    /// The broker's process, if its processor time is to be known.
    pub broker_pid: Option<u32>,
}

/// What a peer runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runtime {
    /// This very build.
    Ours,
    /// A program of Cargo's.
    Rust(&'static str),
    /// Module and class.
    Java(&'static str, &'static str),
    /// The one script of Node.
    Node,
    /// A server in Python, by its name.
    Python(&'static str),
}

/// One comparison's peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) runtime: Runtime,
    /// Engine only: distinct messages. A slow peer gets fewer, or one pass would take minutes.
    pub(super) messages: u32,
    /// Engine only: how long it gets warm, in seconds.
    pub(super) warm_s: f64,
    /// Engine only: whether all its threads share one core. Servers are left both, for the client is not theirs.
    pub(super) is_pinned: bool,
    /// Kafka to Kafka: consumers with a producer each, or shards.
    pub(super) workers: u32,
}

/// Messages of a peer that runs a hundred thousand a second or more.
pub(super) const MESSAGES: u32 = 100_000;

const fn in_process(name: &'static str, what: &'static str, runtime: Runtime, warm_s: f64) -> Peer {
    Peer { name, what, runtime, messages: MESSAGES, warm_s, is_pinned: true, workers: 0 }
}

const fn on_kafka(name: &'static str, what: &'static str, runtime: Runtime, workers: u32) -> Peer {
    Peer { name, what, runtime, messages: 0, warm_s: 0.0, is_pinned: false, workers }
}

/// Engine against engine.
pub(super) const ENGINE: [Peer; 9] = [
    in_process(OURS, "the case heartbeat", Runtime::Ours, 0.0),
    in_process("rust-service", "the job by hand, serde_json values", Runtime::Rust("peer-rust-service"), 0.5),
    in_process("jackson", "the job by hand, Jackson's tree", Runtime::Java("common", "peers.PlainJackson"), 4.0),
    in_process("flink", "MiniCluster, chained source, map and sink, Jackson's tree", Runtime::Java("flink", "peers.Flink"), 4.0),
    in_process("kafka-streams", "TopologyTestDriver, one processor, Jackson's tree", Runtime::Java("kafka-streams", "peers.Streams"), 4.0),
    in_process("vrl", "Vector Remap Language in process", Runtime::Rust("peer-vrl"), 0.5),
    Peer { messages: 10_000, ..in_process("aws-local-stepfunctions", "States Language in Node, in process", Runtime::Node, 3.0) },
    Peer { messages: 100, is_pinned: false, ..in_process("moto", "States Language over HTTP, start and describe", Runtime::Python("moto"), 0.0) },
    Peer { messages: 1_000, is_pinned: false, ..in_process("ministack", "States Language over HTTP, synchronous Express", Runtime::Python("ministack"), 0.0) },
];

/// Kafka to Kafka.
pub(super) const KAFKA: [Peer; 4] = [
    on_kafka(OURS, "the service", Runtime::Ours, 2),
    on_kafka("rust-service", "a day's Rust: tokio, rdkafka, serde_json values", Runtime::Rust("peer-rust-service"), 1),
    on_kafka("flink", "MiniCluster, connector for Kafka, Jackson's tree", Runtime::Java("flink", "peers.Flink"), 2),
    on_kafka("kafka-streams", "Kafka Streams, one processor, Jackson's tree", Runtime::Java("kafka-streams", "peers.Streams"), 2),
];

/// Where things lie.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    installed: PathBuf,
    /// Messages, outputs and what peers print.
    pub(super) scratch: PathBuf,
    /// The definition, for those that read it.
    pub(super) definition: PathBuf,
}

impl Folders {
    fn make(settings: &Settings) -> Result<Self, Error> {
        let make = || -> std::io::Result<Self> {
            let scratch = settings.folder.join("run");
            fs::create_dir_all(&scratch)?;
            let scratch = scratch.canonicalize()?;
            let definition = scratch.join("heartbeat.asl.json");
            fs::write(&definition, HEARTBEAT)?;
            Ok(Self { installed: settings.folder.canonicalize()?, scratch, definition })
        };
        make().map_err(|error| Error::surroundings(format!("making {}", settings.folder.display()), error))
    }
}

impl Peer {
    /// The command line up to the mode, or what is missing.
    ///
    /// # Errors
    /// It is not installed; the text says what is missing.
    pub(super) fn command(&self, folders: &Folders, mode: &str) -> Result<Command, String> {
        let there = |path: PathBuf| if path.exists() { Ok(path) } else { Err(missing(&path, &folders.installed)) };
        match self.runtime {
            Runtime::Ours => ours(mode),
            Runtime::Rust(name) => {
                let mut command = Command::new(there(folders.installed.join("cargo/release").join(name))?);
                command.arg(mode);
                Ok(command)
            }
            Runtime::Java(module, class) => {
                let classes = there(folders.installed.join("java").join(module).join("classes").join(class.replace('.', "/")).with_extension("class"))?;
                let mut command = Command::new("java");
                // One core tells the JVM to collect serially; with more, the parallel collector has the highest throughput.
                command.args(["-Xms1g", "-Xmx1g", if mode == "engine" { "-XX:+UseSerialGC" } else { "-XX:+UseParallelGC" }]);
                // Flink's serializers look into the platform's classes.
                command.args(["--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED"]);
                command.args(["-XX:+EnableDynamicAgentLoading", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
                let folder = classes.ancestors().nth(3).unwrap_or(&classes);
                command.arg(format!("{0}/classes:{0}/lib/*", folder.display())).arg(class).arg(mode);
                Ok(command)
            }
            Runtime::Node => {
                there(folders.installed.join("node/node_modules/aws-local-stepfunctions"))?;
                let mut command = Command::new("node");
                command.arg(there(folders.installed.join("node/engine.mjs"))?).arg("--definition").arg(&folders.definition);
                Ok(command)
            }
            Runtime::Python(name) => {
                let mut command = Command::new(there(folders.installed.join("venv/bin/python"))?);
                command.arg(there(folders.installed.join("venv/server.py"))?).arg(name).arg("--definition").arg(&folders.definition);
                Ok(command)
            }
        }
    }
}

fn missing(path: &Path, installed: &Path) -> String {
    let path = path.strip_prefix(installed).unwrap_or(path);
    format!("{} is not installed; bench/peers/install.sh does it", path.display())
}

/// This very program, or the service beside it.
fn ours(mode: &str) -> Result<Command, String> {
    let bench = std::env::current_exe().map_err(|error| format!("this program's own file is unknown: {error}"))?;
    if mode == "engine" {
        let mut command = Command::new(bench);
        command.args(["--format", "json", "run", "heartbeat"]);
        return Ok(command);
    }
    let service = bench.with_file_name("expressway");
    if !service.exists() {
        return Err("there is no expressway beside this program; build it: cargo build --profile bench -p expressway-ingest".to_owned());
    }
    Ok(Command::new(service))
}

/// Runs `bench/peers/install.sh`, which prints what it does.
///
/// # Errors
/// It is not there, or something could not be installed.
pub fn install() -> Result<(), Error> {
    let script = "bench/peers/install.sh";
    let status = Command::new(script).status().map_err(|error| Error::surroundings(format!("starting {script}"), error))?;
    if status.success() { Ok(()) } else { Err(Error::surroundings(script, status.to_string())) }
}

/// Runs both comparisons.
///
/// # Errors
/// A name that nobody has, nothing to measure, no broker in reach, no place to write.
pub fn run(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
    if let Some(unknown) = settings.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(Error::Usage(format!("there is no peer {unknown}; there are {}", NAMES.join(", "))));
    }
    if settings.rounds == 0 || settings.measure_s == 0 || settings.partitions == 0 || settings.warm_records >= settings.records {
        return Err(Error::Usage("rounds, seconds and partitions have to be 1 or more, and more records than those for getting warm".to_owned()));
    }
    let folders = Folders::make(settings)?;
    let asked = |peers: &[Peer]| -> Vec<Peer> {
        let is_asked = |peer: &Peer| settings.only.is_empty() || peer.name == OURS || settings.only.iter().any(|name| name == peer.name);
        peers.iter().copied().filter(is_asked).collect()
    };
    let engine = if settings.with_engine { engine::run(settings, &folders, &asked(&ENGINE), progress)? } else { Vec::new() };
    let kafka = match &settings.brokers {
        Some(brokers) => kafka::run(settings, brokers, &folders, &asked(&KAFKA), progress)?,
        None => Vec::new(),
    };
    Ok(Outcome { rounds: settings.rounds, records: settings.records, engine, kafka })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let folder = folder.to_owned();
        Settings {
            folder,
            only: Vec::new(),
            with_engine: true,
            brokers: None,
            rounds: 1,
            measure_s: 1,
            records: 2,
            warm_records: 1,
            partitions: 1,
            workers: None,
            broker_pid: None,
        }
    }

    #[test]
    fn every_peer_can_be_asked_for_by_name() {
        assert!(ENGINE.iter().chain(&KAFKA).all(|peer| NAMES.contains(&peer.name)));
        assert!(NAMES.iter().all(|name| ENGINE.iter().any(|peer| peer.name == *name)));
    }

    #[test]
    fn peers_that_are_not_installed_are_named_with_the_way_to_get_them() {
        let folder = std::env::temp_dir().join(format!("expressway-bench-roster-{}", std::process::id()));
        let folders = Folders::make(&settings(&folder)).unwrap();
        for peer in ENGINE.iter().filter(|peer| peer.runtime != Runtime::Ours) {
            let reason = peer.command(&folders, "engine").unwrap_err();
            assert!(reason.ends_with("is not installed; bench/peers/install.sh does it"), "{}: {reason}", peer.name);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn unknown_names_and_empty_runs_are_wrong_usage() {
        let nowhere = settings(Path::new("/no/such/folder"));
        let code = |settings: &Settings| run(settings, &mut |_| {}).unwrap_err().exit_code();
        assert_eq!(code(&Settings { only: vec!["benthos".to_owned()], ..nowhere.clone() }), 2);
        assert_eq!(code(&Settings { warm_records: 2, ..nowhere.clone() }), 2);
        assert_eq!(code(&Settings { rounds: 0, ..nowhere }), 2);
    }
}
