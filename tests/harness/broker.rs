//! Brokers: a real one through `kafka.sh`, or librdkafka's mock cluster in this process.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::kafka;
use crate::leash::Leash;

/// A cluster that tests talk to.
pub trait Broker {
    /// `host:port`, for clients.
    fn bootstrap(&self) -> String;

    /// Makes a topic, ready for use.
    ///
    /// # Errors
    /// When the cluster refuses.
    fn create_topic(&self, name: &str, partitions: i32) -> Result<(), String>;
}

/// The distance between a broker's port and its controller's, as in `kafka.sh`.
const CONTROLLER_ABOVE: u16 = 500;

/// The same for the listener behind a proxy.
const BEHIND_ABOVE: u16 = 200;

/// The same for the proxy's own port.
const FRONT_ABOVE: u16 = 300;

/// The same for the listeners by TLS, by SASL over TLS and by SASL alone, as in `kafka.sh`.
const SECURED_ABOVE: [u16; 3] = [600, 610, 620];

/// A way into a secured cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// TLS, and a certificate of the client's.
    Tls,
    /// A name and a password over TLS.
    SaslTls,
    /// A name and a password in the open.
    Sasl,
}

/// A real cluster, wiped when dropped.
#[derive(Debug)]
pub struct Real {
    folder: PathBuf,
    port: u16,
    brokers: u16,
    settings: String,
    option: Option<&'static str>,
    leash: Option<Leash>,
    _claim: File,
}

impl Real {
    /// Starts a cluster of 1 or 3 brokers with further server properties, `key=value key=value`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(brokers: u16, settings: &str) -> Result<Self, String> {
        Self::launch(brokers, settings, None)
    }

    /// The same with a second listener a node, which tells clients to come through a proxy: see [`Self::behind`] and [`Self::front`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_proxied(brokers: u16, settings: &str) -> Result<Self, String> {
        Self::launch(brokers, settings, Some("--proxied"))
    }

    /// The same with listeners by TLS and SASL: see [`Self::door`] and [`Self::key`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_secured(brokers: u16, settings: &str) -> Result<Self, String> {
        Self::launch(brokers, settings, Some("--secured"))
    }

    fn launch(brokers: u16, settings: &str, option: Option<&'static str>) -> Result<Self, String> {
        let (port, claim) = claim_ports(brokers)?;
        let folder = crate::scratch().join(format!("kafka-{port}"));
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        fs::write(folder.join("port"), port.to_string()).map_err(|error| error.to_string())?;
        let mut cluster = Self { folder, port, brokers, settings: settings.to_owned(), option, leash: None, _claim: claim };
        let [dir, port, brokers] = cluster.address();
        cluster.leash = Some(Leash::tie("\"$1\" --dir \"$2\" --port \"$3\" --brokers \"$4\" wipe", &[&script(), &dir, &port, &brokers])?);
        cluster.call("start")?;
        Ok(cluster)
    }

    fn address(&self) -> [String; 3] {
        [self.folder.to_string_lossy().into_owned(), self.port.to_string(), self.brokers.to_string()]
    }

    /// Runs a command of `kafka.sh` on all nodes: `start`, `stop`, `kill`, `restart`.
    ///
    /// # Errors
    /// With what the script says.
    pub fn call(&self, command: &str) -> Result<(), String> {
        run(self.command(&[command]))
    }

    /// A command of `kafka.sh` on this cluster, to be run by [`run`] on whatever thread.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let [dir, port, brokers] = self.address();
        let mut command = Command::new(script());
        command.args(["--dir", &dir, "--port", &port, "--brokers", &brokers]).args(self.option).args(arguments);
        command.env("KAFKA_SETTINGS", &self.settings).env("KAFKA_HEAP", "384m");
        command
    }

    /// The process of a node (1, 2, …), when it was started.
    #[must_use]
    pub fn pid(&self, node: u16) -> Option<u32> {
        fs::read_to_string(self.folder.join(node.to_string()).join("pid")).ok()?.trim().parse().ok()
    }

    /// The log file of a node.
    #[must_use]
    pub fn log(&self, node: u16) -> PathBuf {
        self.folder.join(node.to_string()).join("server.log")
    }

    /// The port on which a proxied node listens behind its proxy.
    #[must_use]
    pub fn behind(&self, node: u16) -> u16 {
        self.port + BEHIND_ABOVE + node - 1
    }

    /// The port on which a proxied node's clients expect the proxy.
    #[must_use]
    pub fn front(&self, node: u16) -> u16 {
        self.port + FRONT_ABOVE + node - 1
    }

    /// The port of one of the doors of a secured cluster's first node, which is known as `localhost`.
    #[must_use]
    pub fn door(&self, door: Door) -> u16 {
        self.port
            + match door {
                Door::Tls => SECURED_ABOVE[0],
                Door::SaslTls => SECURED_ABOVE[1],
                Door::Sasl => SECURED_ABOVE[2],
            }
    }

    /// A file of a secured cluster's throw-away authority: `ca.pem`, `client.pem`, `client.key`.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join("tls").join(name)
    }

    /// Makes a topic with settings of its own.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<(), String> {
        kafka::create_topic(&self.bootstrap(), name, partitions, settings)
    }
}

impl Broker for Real {
    fn bootstrap(&self) -> String {
        (0..self.brokers).map(|node| format!("127.0.0.1:{}", self.port + node)).collect::<Vec<_>>().join(",")
    }

    fn create_topic(&self, name: &str, partitions: i32) -> Result<(), String> {
        self.create_topic_with(name, partitions, &[])
    }
}

/// Runs a command to its end.
///
/// # Errors
/// With what it wrote to stderr, when it failed.
pub fn run(mut command: Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn script() -> String {
    crate::package().join("kafka.sh").to_string_lossy().into_owned()
}

/// A port whose neighbours at all the distances above are free, and the claim on it: a file that is locked as long as the cluster lives. Without it the ports of a broker that is down for a while look free to other programs that start clusters.
fn claim_ports(brokers: u16) -> Result<(u16, File), String> {
    /// Clusters of three brokers in a thousand ports without touching each other.
    const SLOTS: [u16; 3] = [0, 3, 6];
    let folder = std::env::temp_dir().join("expressway-ports");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Below the range from which the system hands out ports to clients, so that none of those takes a place in between.
    for port in (20_000..32_000).step_by(1_000).flat_map(|thousand| SLOTS.map(|slot| thousand + slot)) {
        let path = folder.join(port.to_string());
        let claim = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let above = [0, BEHIND_ABOVE, FRONT_ABOVE, CONTROLLER_ABOVE].into_iter().chain(SECURED_ABOVE);
        if claim.try_lock().is_ok() && above.flat_map(|above| (0..brokers).map(move |node| port + above + node)).all(is_free) {
            return Ok((port, claim));
        }
    }
    Err(format!("no free ports for a cluster: all are claimed in {} or taken", folder.display()))
}

/// The mock cluster: no admin API, no log on disk, groups and offsets as in a real one. It keeps about 5 MiB of a partition.
pub struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mock").field("bootstrap", &self.bootstrap()).finish()
    }
}

impl Mock {
    /// A cluster of one broker, number 1.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn start() -> Result<Self, String> {
        Ok(Self { cluster: MockCluster::new(1).map_err(|error| error.to_string())? })
    }

    /// Cuts the broker's connections and refuses new ones, or lets clients in again.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn set_up(&self, up: bool) -> Result<(), String> {
        let done = if up { self.cluster.broker_up(1) } else { self.cluster.broker_down(1) };
        done.map_err(|error| error.to_string())
    }
}

impl Broker for Mock {
    fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn create_topic(&self, name: &str, partitions: i32) -> Result<(), String> {
        self.cluster.create_topic(name, partitions, 1).map_err(|error| error.to_string())
    }
}
