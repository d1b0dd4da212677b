//! What every test of the service sets up: a cluster with three topics, a feeder, a running service.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::broker::{Broker, Mock, Real};
use harness::deadline;
use harness::kafka::{self, Reader, Record};
use harness::ledger::{Balance, Feeder};
use harness::service::{Config, Service, dead_letters, results};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long anything that should be quick may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What the tests share: one real broker, started when the first test asks for it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    real: Mutex<Option<String>>,
    keeper: Mutex<Option<Real>>,
}

impl Shared {
    /// The address of the real broker.
    pub(crate) fn real(&self) -> Result<String, String> {
        let mut address = self.real.lock().unwrap_or_else(PoisonError::into_inner);
        if address.is_none() {
            let broker = Real::start(1, LARGE_RECORDS)?;
            *address = Some(broker.bootstrap());
            *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(broker);
        }
        address.clone().ok_or_else(|| "no broker".to_owned())
    }
}

/// Settings of a broker that takes records of 10 MiB, makes no topic by itself, and aborts transactions soon after their time.
pub(crate) const LARGE_RECORDS: &str = "message.max.bytes=16777216 replica.fetch.max.bytes=16777216 auto.create.topics.enable=false \
    transaction.abort.timed.out.transaction.cleanup.interval.ms=500";

/// A cluster, or the address of one that somebody else keeps.
#[derive(Debug)]
pub(crate) enum Cluster {
    Mock(Mock),
    Shared(String),
    Own(Real),
}

/// One test's corner of a cluster.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) partitions: i32,
}

/// Numbers the stages, so that no two tests share a topic or a group.
static STAGES: AtomicU32 = AtomicU32::new(0);

impl Stage {
    /// Three topics on a mock cluster of this test's own.
    pub(crate) fn mock(name: &str, partitions: i32) -> Result<Self, String> {
        Self::set(Cluster::Mock(Mock::start()?), name, partitions)
    }

    /// Three topics on the real broker.
    pub(crate) fn real(shared: &Shared, name: &str, partitions: i32) -> Result<Self, String> {
        Self::set(Cluster::Shared(shared.real()?), name, partitions)
    }

    /// Three topics on a real broker of this test's own.
    pub(crate) fn own(name: &str, partitions: i32) -> Result<Self, String> {
        Self::own_with(name, partitions, LARGE_RECORDS)
    }

    /// The same with settings of the broker.
    pub(crate) fn own_with(name: &str, partitions: i32, settings: &str) -> Result<Self, String> {
        Self::of(Cluster::Own(Real::start(1, settings)?), name, partitions)
    }

    /// Three topics on a cluster.
    pub(crate) fn of(cluster: Cluster, name: &str, partitions: i32) -> Result<Self, String> {
        Self::set(cluster, name, partitions)
    }

    fn set(cluster: Cluster, name: &str, partitions: i32) -> Result<Self, String> {
        let source = format!("{name}-{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let stage = Self { cluster, group: format!("{source}-group"), source, partitions };
        for topic in [stage.source.clone(), results(&stage.source), dead_letters(&stage.source)] {
            stage.create_topic(&topic)?;
        }
        Ok(stage)
    }

    fn create_topic(&self, topic: &str) -> Result<(), String> {
        match &self.cluster {
            Cluster::Mock(mock) => mock.create_topic(topic, self.partitions),
            Cluster::Shared(bootstrap) => kafka::create_topic(bootstrap, topic, self.partitions, &[]),
            Cluster::Own(real) => real.create_topic(topic, self.partitions),
        }
    }

    /// Where clients connect.
    pub(crate) fn bootstrap(&self) -> String {
        match &self.cluster {
            Cluster::Mock(mock) => mock.bootstrap(),
            Cluster::Shared(bootstrap) => bootstrap.clone(),
            Cluster::Own(real) => real.bootstrap(),
        }
    }

    /// The configuration of a service on this stage.
    pub(crate) fn config(&self, definition: &str) -> Result<Config, String> {
        let config = Config::new(&self.bootstrap(), &self.source, &self.group, definition)?;
        // The mock cluster lets a group that has lost its last member wait for almost a session, even when that member left in order.
        Ok(if matches!(self.cluster, Cluster::Mock(_)) { config.with("kafka/client_options/session.timeout.ms", "6000") } else { config })
    }

    /// A service with the errands, ready.
    pub(crate) fn service(&self) -> Result<Service, String> {
        Service::start(&self.config("errands")?, SOON)
    }

    /// A feeder of the source topic.
    pub(crate) fn feeder(&self) -> Result<Feeder, String> {
        Feeder::new(&self.bootstrap(), &self.source)
    }

    /// A reader of the results.
    pub(crate) fn results(&self) -> Result<Reader, String> {
        Reader::open(&self.bootstrap(), &results(&self.source), self.partitions)
    }

    /// A reader of the dead letters.
    pub(crate) fn dead_letters(&self) -> Result<Reader, String> {
        Reader::open(&self.bootstrap(), &dead_letters(&self.source), self.partitions)
    }

    /// Waits until there are `count` results.
    pub(crate) fn wait_results(&self, count: usize) -> Result<Vec<Record>, String> {
        let mut reader = self.results()?;
        Ok(reader.read_until(&format!("{count} results"), SOON, |records| records.len() >= count)?.to_vec())
    }

    /// Waits until there are `count` dead letters.
    pub(crate) fn wait_dead_letters(&self, count: usize) -> Result<Vec<Record>, String> {
        let mut reader = self.dead_letters()?;
        Ok(reader.read_until(&format!("{count} dead letters"), SOON, |records| records.len() >= count)?.to_vec())
    }

    /// What the group has committed, 0 where nothing.
    pub(crate) fn committed(&self) -> Result<Vec<i64>, String> {
        let offsets = kafka::committed(&self.bootstrap(), &self.group, &self.source, self.partitions)?;
        Ok(offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect())
    }

    /// Waits until everything in the source topic is committed.
    pub(crate) fn wait_all_committed(&self, limit: Duration) -> Result<(), String> {
        let ends = kafka::ends(&self.bootstrap(), &self.source, self.partitions)?;
        let committed = deadline::until("every record committed", limit, || self.committed().ok().filter(|committed| *committed == ends));
        committed.map(|_| ()).map_err(|late| format!("{late}: committed {:?} of {ends:?}", self.committed()))
    }

    /// Reads all outcomes and holds them against what the feeder is owed.
    pub(crate) fn balance(&self, feeder: &Feeder) -> Result<Balance, String> {
        let bootstrap = self.bootstrap();
        let (mut good, mut bad) = (self.results()?, self.dead_letters()?);
        let good = good.read_to_end(&bootstrap, &results(&self.source), self.partitions, SOON)?;
        let bad = bad.read_to_end(&bootstrap, &dead_letters(&self.source), self.partitions, SOON)?;
        Ok(feeder.ledger().balance(&self.source, good, bad))
    }
}

/// Looks at what a group has committed for as long as it lives: no offset may go back.
pub(crate) struct CommitWatch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl CommitWatch {
    /// Begins to look.
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let ended = Arc::new(AtomicBool::new(false));
        let (until, source, partitions) = (Arc::clone(&ended), stage.source.clone(), stage.partitions);
        let consumer: BaseConsumer = kafka::config(&stage.bootstrap()).set("group.id", &stage.group).create().map_err(|error| error.to_string())?;
        let thread = std::thread::spawn(move || {
            let mut highest = BTreeMap::new();
            while !until.load(Ordering::SeqCst) {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_range(&source, 0, partitions - 1);
                // While the group moves to another coordinator there may be no answer.
                let Ok(answer) = consumer.committed_offsets(asked, SOON) else { continue };
                for element in answer.elements() {
                    let Offset::Offset(offset) = element.offset() else { continue };
                    let before = highest.insert(element.partition(), offset).unwrap_or(0);
                    ensure(before <= offset, || format!("the committed offset of partition {} went back from {before} to {offset}", element.partition()))?;
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Ok(())
        });
        Ok(Self { ended, thread })
    }

    /// What was seen.
    pub(crate) fn end(self) -> Result<(), String> {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| "the watch of commits panicked".to_owned())?
    }
}

/// Turns a condition into a result with a text.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
