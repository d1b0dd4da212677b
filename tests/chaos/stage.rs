//! What a run plays on: brokers, a proxy before each, topics, the service's processes, a feeder, an auditor.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use harness::broker::{Broker, Real};
use harness::kafka;
use harness::proxy::Proxy;
use harness::service::{dead_letters, results};

use crate::auditor::Auditor;
use crate::books::Books;
use crate::feeder::{Feeder, Shared};
use crate::member::{Kind, Members};

/// The source topic.
pub(crate) const SOURCE: &str = "chaos";
/// The consumer group.
const GROUP: &str = "chaos-group";
/// Partitions of each topic: two for each of two shards in three processes would be twelve; six let a process have none to spare.
pub(crate) const PARTITIONS: i32 = 6;
/// The name under which the service's clients are known to quotas.
pub(crate) const CLIENT_ID: &str = "chaos-service";
/// A broker that is silent for three seconds is taken for dead by the controller, a member of a group (KIP-848) after six.
/// A transaction that is over its time is aborted a second later.
const SETTINGS: &str = "broker.session.timeout.ms=3000 auto.create.topics.enable=false \
    transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 \
    group.consumer.min.session.timeout.ms=3000 group.consumer.session.timeout.ms=6000";

/// Everything that runs.
pub(crate) struct Stage {
    // The order of these is the order in which they end.
    /// The service's processes.
    pub(crate) members: Members,
    /// What feeds the source topic.
    pub(crate) feeder: Feeder,
    /// What reads results and dead letters.
    pub(crate) auditor: Auditor,
    /// What is owed and paid.
    pub(crate) books: Shared,
    /// The proxy before each node; only the service passes through them.
    pub(crate) proxies: Vec<Proxy>,
    /// The brokers.
    pub(crate) cluster: Real,
    /// How many brokers.
    pub(crate) brokers: u16,
    /// Where logs are kept.
    pub(crate) folder: PathBuf,
}

impl Stage {
    /// Starts all but the service's processes.
    pub(crate) fn set(brokers: u16, kind: Kind, rate: u64, seed: u64, folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let cluster = Real::start_proxied(brokers, SETTINGS)?;
        let proxies: Vec<Proxy> = (1..=brokers).map(|node| Proxy::start(cluster.front(node), cluster.behind(node))).collect::<Result<_, _>>()?;
        let direct = cluster.bootstrap();
        for topic in [SOURCE.to_owned(), results(SOURCE), dead_letters(SOURCE)] {
            cluster.create_topic(&topic, PARTITIONS)?;
        }
        let books: Shared = Arc::new(Mutex::new(Books::new(SOURCE, usize::try_from(PARTITIONS).unwrap_or(0))?));
        let feeder = Feeder::start(&direct, SOURCE, PARTITIONS, rate, seed, &books)?;
        let auditor = Auditor::start(&direct, SOURCE, &results(SOURCE), &dead_letters(SOURCE), PARTITIONS, &books)?;
        let proxied = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect::<Vec<_>>().join(",");
        let members = Members::new(&proxied, SOURCE, GROUP, kind, folder);
        Ok(Self { members, feeder, auditor, books, proxies, cluster, brokers, folder: folder.to_owned() })
    }

    /// Where clients that are not under test connect.
    pub(crate) fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    /// The end of each partition of the results.
    pub(crate) fn result_ends(&self) -> Result<Vec<i64>, String> {
        kafka::ends(&self.bootstrap(), &results(SOURCE), PARTITIONS)
    }

    /// Whether the group has committed everything in the source topic.
    pub(crate) fn is_all_committed(&self) -> bool {
        let ends = kafka::ends(&self.bootstrap(), SOURCE, PARTITIONS);
        let committed = kafka::committed(&self.bootstrap(), GROUP, SOURCE, PARTITIONS);
        ends.ok().map(|ends| ends.into_iter().map(Some).collect::<Vec<_>>()) == committed.ok()
    }

    /// The last lines of every broker's log, and which of them are up.
    pub(crate) fn broker_lines(&self, count: usize) -> Vec<String> {
        // Its exit code says that one is down, which is told anyway.
        let status =
            self.cluster.command(&["status"]).output().map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
        let mut lines: Vec<String> = status.lines().map(|line| format!("kafka.sh status: {line}")).collect();
        for node in 1..=self.brokers {
            let log = std::fs::read_to_string(self.cluster.log(node)).unwrap_or_else(|error| error.to_string());
            let skipped = log.lines().count().saturating_sub(count);
            lines.extend(log.lines().skip(skipped).map(|line| format!("broker {node}: {line}")));
        }
        lines
    }

    /// Copies the brokers' logs beside the others, where they lie.
    pub(crate) fn keep_logs(&self) -> Result<(), String> {
        self.members.keep_logs()?;
        for node in 1..=self.brokers {
            let to = self.folder.join(format!("broker-{node}.log"));
            std::fs::copy(self.cluster.log(node), &to).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        Ok(())
    }
}
