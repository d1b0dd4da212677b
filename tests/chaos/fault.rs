//! What can go wrong: each kind of fault, how it begins and how it heals.
//!
//! Faults of different domains overlap, faults of one do not: there is always a process, a majority of brokers and a network to come back to.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::broker;
use harness::kafka;
use harness::proxy::Mode;
use harness::service::results;

use crate::auditor::Stopwatch;
use crate::edition::EDITIONS;
use crate::feeder::open;
use crate::member::{How, NAMES, SESSION, Swapped};
use crate::stage::{CLIENT_ID, PARTITIONS, SOURCE, Stage};
use expressway_ingest::random::Random;

/// What a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Domain {
    /// The processes of the service.
    Service,
    /// The brokers.
    Broker,
    /// The network between them.
    Network,
    /// The result topic.
    Topic,
    /// The definition.
    Definition,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ServiceKill,
    ServicePause,
    ServiceJoin,
    ServiceLeave,
    ServiceRestart,
    LogDiskFull,
    BrokerKill,
    LeaderKill,
    BrokerPause,
    BrokerRestart,
    NetworkDelay,
    NetworkHold,
    NetworkCut,
    NetworkHalfClose,
    TopicTooSmall,
    TopicQuota,
    DefinitionSwap,
    DefinitionInvalid,
}

impl Kind {
    /// Whether it leaves partitions without any leader for a moment when there is one broker only. Kafka 4.3.1 takes such a partition for deleted and leaves out the markers that end its transactions (KAFKA-20734): readers of committed records then stand still for ever, or see what was aborted. No client can mend that, so transactions are not judged by it.
    pub(crate) fn takes_every_leader(self) -> bool {
        matches!(self, Self::BrokerKill | Self::LeaderKill | Self::BrokerRestart)
    }

    /// Whether the service is to bear it without doing anything twice.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::ServiceJoin | Self::ServiceLeave | Self::ServiceRestart | Self::LogDiskFull | Self::DefinitionSwap | Self::DefinitionInvalid)
    }
}

/// Every kind: its name, domain, and how often it comes.
pub(crate) const KINDS: [(Kind, &str, Domain, u64); 18] = [
    (Kind::ServiceKill, "service-kill", Domain::Service, 8),
    (Kind::ServicePause, "service-pause", Domain::Service, 4),
    (Kind::ServiceJoin, "service-join", Domain::Service, 3),
    (Kind::ServiceLeave, "service-leave", Domain::Service, 3),
    (Kind::ServiceRestart, "service-restart", Domain::Service, 2),
    (Kind::LogDiskFull, "log-disk-full", Domain::Service, 1),
    (Kind::BrokerKill, "broker-kill", Domain::Broker, 2),
    (Kind::LeaderKill, "leader-kill", Domain::Broker, 2),
    (Kind::BrokerPause, "broker-pause", Domain::Broker, 2),
    (Kind::BrokerRestart, "broker-restart", Domain::Broker, 1),
    (Kind::NetworkDelay, "network-delay", Domain::Network, 2),
    (Kind::NetworkHold, "network-hold", Domain::Network, 2),
    (Kind::NetworkCut, "network-cut", Domain::Network, 3),
    (Kind::NetworkHalfClose, "network-half-close", Domain::Network, 2),
    (Kind::TopicTooSmall, "topic-too-small", Domain::Topic, 1),
    (Kind::TopicQuota, "topic-quota", Domain::Topic, 1),
    (Kind::DefinitionSwap, "definition-swap", Domain::Definition, 3),
    (Kind::DefinitionInvalid, "definition-invalid", Domain::Definition, 1),
];

/// Work on a thread of its own, for what takes seconds.
type Job = JoinHandle<Result<(), String>>;

/// What ends a fault.
enum Cure {
    Nothing,
    Continue(usize),
    StartNode(u16),
    ContinueNode(u32),
    Through,
    /// Topic settings or a quota, taken back.
    LargeTopic,
    NoQuota,
    /// Every process says what became of its definition, and the valid one lies there again.
    Told(Vec<Swapped>),
}

/// A fault on its way.
pub(crate) struct Active {
    /// What it concerns.
    pub(crate) domain: Domain,
    heals_at: Instant,
    cure: Option<Cure>,
    job: Option<Job>,
    /// Why the fault did not come about; what was done of it is healed all the same.
    pub(crate) failed: Option<String>,
}

impl Active {
    /// Goes on with a fault; true when it is over.
    pub(crate) fn step(&mut self, stage: &mut Stage) -> Result<bool, String> {
        if let Some(job) = self.job.take_if(|job| job.is_finished()) {
            let done = job.join().map_err(|_| "a fault's work panicked".to_owned())?;
            match done {
                // Brokers that other faults have taken away may keep one from beginning; that it heals is needed.
                Err(problem) if self.cure.is_some() => self.failed = Some(problem),
                done => done?,
            }
        }
        let is_awaited = matches!(&self.cure, Some(Cure::Told(swapped)) if !swapped.iter().all(|swapped| stage.members.has_told(swapped)));
        if self.job.is_none()
            && !is_awaited
            && Instant::now() >= self.heals_at
            && let Some(cure) = self.cure.take()
        {
            self.job = heal(stage, cure)?;
        }
        Ok(self.cure.is_none() && self.job.is_none())
    }

    /// Lets the fault heal as soon as it can.
    pub(crate) fn hurry(&mut self) {
        self.heals_at = self.heals_at.min(Instant::now());
    }
}

/// Begins a fault of some kind: what it did, and what is to come. `None` when it cannot be now. A kill of a process with all else `is_calm` is timed.
pub(crate) fn begin(stage: &mut Stage, kind: Kind, domain: Domain, is_calm: bool, random: &mut Random) -> Result<Option<(String, Active)>, String> {
    let begun = match domain {
        Domain::Service => of_service(stage, kind, is_calm, random)?,
        Domain::Broker => of_broker(stage, kind, random)?,
        Domain::Network => Some(of_network(stage, kind, random)),
        Domain::Topic => Some(of_topic(stage, kind, random)),
        Domain::Definition => of_definition(stage, kind, random)?,
    };
    Ok(begun.map(|Begun { told, lasts, cure, job }| (told, Active { domain, heals_at: Instant::now() + lasts, cure: Some(cure), job, failed: None })))
}

struct Begun {
    told: String,
    lasts: Duration,
    cure: Cure,
    job: Option<Job>,
}

impl Begun {
    fn new(told: String, lasts: Duration, cure: Cure) -> Self {
        Self { told, lasts, cure, job: None }
    }
}

fn millis(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.between(from, to))
}

fn of_service(stage: &mut Stage, kind: Kind, is_calm: bool, random: &mut Random) -> Result<Option<Begun>, String> {
    let running = stage.members.running();
    let lasts = millis(random, 500, 3_000);
    if kind == Kind::ServiceJoin {
        let Some(index) = random.pick(&stage.members.empty()) else { return Ok(None) };
        stage.members.spawn(index, How::Plain)?;
        return Ok(Some(Begun::new(format!("{} joins", NAMES[index]), lasts, Cure::Nothing)));
    }
    let Some(index) = random.pick(&running) else { return Ok(None) };
    let name = NAMES[index];
    Ok(Some(match kind {
        Kind::ServicePause => {
            let lasts = millis(random, 7_000, 9_000);
            stage.members.pause(index, true)?;
            Begun::new(format!("{name} stands still for {} ms", lasts.as_millis()), lasts, Cure::Continue(index))
        }
        Kind::ServiceLeave if running.len() < 2 => return Ok(None),
        Kind::ServiceLeave => {
            stage.members.leave(index, None)?;
            Begun::new(format!("{name} leaves in order"), lasts, Cure::Nothing)
        }
        Kind::ServiceRestart => {
            stage.members.leave(index, Some(How::Plain))?;
            Begun::new(format!("{name} is restarted in order"), lasts, Cure::Nothing)
        }
        Kind::LogDiskFull => {
            stage.members.leave(index, Some(How::FullDisk))?;
            Begun::new(format!("{name} is restarted with a log of events on a full disk"), lasts, Cure::Nothing)
        }
        _ => {
            // One that comes back begins the rebalance while the dead one's session still runs; without it the others have to find out.
            let stays_away = random.between(0, 2) == 0 && is_calm && running.len() > 1;
            let lasts = if stays_away { SESSION * 2 } else { lasts };
            let since = Instant::now();
            stage.members.kill(index)?;
            if is_calm && let Ok(ends) = stage.result_ends() {
                stage.auditor.watches().push(Stopwatch::new(since, ends));
            }
            stage.members.spawn_at(index, since + lasts);
            Begun::new(format!("{name} is killed for {} ms", lasts.as_millis()), lasts, Cure::Nothing)
        }
    }))
}

fn of_broker(stage: &Stage, kind: Kind, random: &mut Random) -> Result<Option<Begun>, String> {
    let mut node = u16::try_from(random.between(1, u64::from(stage.brokers) + 1)).unwrap_or(1);
    let lasts = millis(random, 200, 5_000);
    if kind == Kind::LeaderKill {
        let partition = i32::try_from(random.between(0, u64::from(PARTITIONS.unsigned_abs()))).unwrap_or(0);
        let leader = kafka::leader(&stage.bootstrap(), SOURCE, partition).ok().flatten();
        let Some(leader) = leader.and_then(|leader| u16::try_from(leader).ok()) else { return Ok(None) };
        node = leader;
    }
    let node_name = node.to_string();
    if kind == Kind::BrokerRestart {
        let command = stage.cluster.command(&["restart", &node_name]);
        let job = std::thread::spawn(move || broker::run(command));
        return Ok(Some(Begun { job: Some(job), ..Begun::new(format!("broker {node} is restarted in order"), lasts, Cure::Nothing) }));
    }
    let Some(pid) = stage.cluster.pid(node) else { return Ok(None) };
    if kind == Kind::BrokerPause {
        let lasts = millis(random, 4_000, 7_000);
        signal(pid, "STOP")?;
        return Ok(Some(Begun::new(format!("broker {node} stands still for {} ms", lasts.as_millis()), lasts, Cure::ContinueNode(pid))));
    }
    signal(pid, "KILL")?;
    let role = if kind == Kind::LeaderKill { "a leader, " } else { "" };
    Ok(Some(Begun::new(format!("{role}broker {node} is killed for {} ms", lasts.as_millis()), lasts, Cure::StartNode(node))))
}

fn signal(pid: u32, name: &str) -> Result<(), String> {
    let mut command = std::process::Command::new("/bin/kill");
    command.args([&format!("-{name}"), &pid.to_string()]);
    broker::run(command)
}

fn of_network(stage: &Stage, kind: Kind, random: &mut Random) -> Begun {
    let lasts = millis(random, 1_000, 9_000);
    let all: Vec<usize> = (0..stage.proxies.len()).collect();
    // One way in two to all brokers, otherwise to one.
    let hit = if random.between(0, 2) == 0 { all.clone() } else { random.pick(&all).into_iter().collect() };
    let proxies = || hit.iter().map(|&index| &stage.proxies[index]);
    let delay = millis(random, 20, 300);
    let what = match kind {
        Kind::NetworkDelay => {
            proxies().for_each(|proxy| proxy.set(Mode::Delay(delay)));
            format!("is slower by {} ms a chunk", delay.as_millis())
        }
        Kind::NetworkHold => {
            proxies().for_each(|proxy| proxy.set(Mode::Hold));
            "lets nothing pass".to_owned()
        }
        Kind::NetworkHalfClose => format!("half-closes {} connections and goes on", proxies().map(|proxy| proxy.half_close()).sum::<usize>()),
        _ => {
            proxies().for_each(|proxy| proxy.set(Mode::Refuse));
            format!("cuts {} connections and refuses new ones", proxies().map(|proxy| proxy.cut()).sum::<usize>())
        }
    };
    let told = format!("the network to {} of {} brokers {what} for {} ms", hit.len(), all.len(), lasts.as_millis());
    Begun::new(told, lasts, Cure::Through)
}

fn of_definition(stage: &mut Stage, kind: Kind, random: &mut Random) -> Result<Option<Begun>, String> {
    let lasts = millis(random, 200, 2_000);
    let edition = if kind == Kind::DefinitionSwap { random.pick(&EDITIONS) } else { None };
    let swapped = stage.members.swap(edition)?;
    if swapped.is_empty() {
        stage.members.mend()?;
        return Ok(None);
    }
    let what = edition.map_or_else(|| "one that is to be refused".to_owned(), |edition| format!("{edition:?}"));
    Ok(Some(Begun::new(format!("{} processes are given another definition, {what}", swapped.len()), lasts, Cure::Told(swapped))))
}

fn of_topic(stage: &Stage, kind: Kind, random: &mut Random) -> Begun {
    let lasts = millis(random, 1_000, 4_000);
    if kind == Kind::TopicQuota {
        let rate = random.between(20_000, 200_000);
        let command = quota(stage, &["--add-config", &format!("producer_byte_rate={rate}")]);
        let job = std::thread::spawn(move || broker::run(command));
        let told = format!("a quota of {rate} bytes/s holds the service's producers for {} ms", lasts.as_millis());
        return Begun { job: Some(job), ..Begun::new(told, lasts, Cure::NoQuota) };
    }
    // Either a batch of several results is too large, or every single one is.
    let limit = if random.between(0, 3) == 0 { "100" } else { "2000" };
    open(&stage.books).topic_was_full = true;
    let told = format!("the result topic takes no batch of more than {limit} bytes for {} ms", lasts.as_millis());
    Begun { job: Some(resize(stage, Some(limit))), ..Begun::new(told, lasts, Cure::LargeTopic) }
}

/// Sets or takes back the size of a batch that the result topic accepts.
fn resize(stage: &Stage, limit: Option<&'static str>) -> Job {
    let bootstrap = stage.bootstrap();
    std::thread::spawn(move || {
        let settings: Vec<(&str, &str)> = limit.map(|limit| ("max.message.bytes", limit)).into_iter().collect();
        insist(|| kafka::alter_topic(&bootstrap, &results(SOURCE), &settings))
    })
}

/// Repeats what fails while brokers are away; the last failure counts.
fn insist(mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    const ATTEMPTS: u32 = 10;
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        last = attempt();
        if last.is_ok() {
            break;
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
    last
}

fn quota(stage: &Stage, change: &[&str]) -> std::process::Command {
    let mut command = stage.cluster.command(&["configs", "--alter", "--entity-type", "clients", "--entity-name", CLIENT_ID]);
    command.args(change);
    command
}

fn heal(stage: &mut Stage, cure: Cure) -> Result<Option<Job>, String> {
    Ok(match cure {
        Cure::Nothing => None,
        Cure::Continue(index) => {
            stage.members.pause(index, false)?;
            None
        }
        Cure::ContinueNode(pid) => {
            signal(pid, "CONT")?;
            None
        }
        Cure::StartNode(node) => {
            let command = stage.cluster.command(&["start", &node.to_string()]);
            Some(std::thread::spawn(move || broker::run(command)))
        }
        Cure::Through => {
            stage.proxies.iter().for_each(|proxy| proxy.set(Mode::Through));
            None
        }
        Cure::Told(_) => {
            stage.members.mend()?;
            None
        }
        Cure::LargeTopic => Some(resize(stage, None)),
        Cure::NoQuota => {
            let commands: Vec<_> = (0..3).map(|_| quota(stage, &["--delete-config", "producer_byte_rate"])).collect();
            let mut commands = commands.into_iter();
            Some(std::thread::spawn(move || insist(|| commands.next().map_or_else(|| Err("the quota cannot be taken back".to_owned()), broker::run))))
        }
    })
}
