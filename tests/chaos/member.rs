//! The service's processes: three places, each with a process or without, each with its own end in view.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::service::{Config, Service};
use serde_json::json;

use crate::edition::{EDITIONS, Edition, INVALID};
use crate::stage::CLIENT_ID;

/// Names of the places.
pub(crate) const NAMES: [&str; 3] = ["A", "B", "C"];
/// How long a member that is silent belongs to the group, under either protocol.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
/// How long the group may take after that.
const AFTER_SESSION: Duration = Duration::from_secs(2);
/// How often members hear of the broker under the new protocol, as `kafka.sh` has it.
const BROKERS_HEARTBEAT: Duration = Duration::from_millis(500);
/// How long a process that ended by itself stays away.
const RESPAWN_AFTER: Duration = Duration::from_secs(1);
/// How long after a trouble a producer may learn that it is fenced: a transaction's time, twice.
const FATE: Duration = Duration::from_secs(30);
/// Size at which the disk of a process started with [`How::FullDisk`] is full, in blocks of 512 bytes.
const FULL_DISK_BLOCKS: u32 = 256;
/// The exit code of a service that refuses its configuration: it will do so again.
const BAD_CONFIGURATION: i32 = 78;
/// Lines of an unexpected end that are shown.
const LAST_LINES: usize = 3;

/// How a process is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As any other.
    Plain,
    /// With a log of all its executions' events, on a disk that is full after the first of them.
    FullDisk,
}

/// How the group shares out its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// The classic protocol, step by step.
    CooperativeSticky,
    /// The classic protocol, everything revoked at each change.
    Range,
    /// The broker assigns (KIP-848).
    Consumer,
}

/// What all processes have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// How the group shares out its partitions.
    pub(crate) protocol: Protocol,
    /// Whether results and offsets go in transactions.
    pub(crate) is_transactional: bool,
}

impl Kind {
    /// How long it may take from the kill of a process until all its partitions have new results.
    pub(crate) fn kill_bound(self) -> Duration {
        let heartbeat = if self.protocol == Protocol::Consumer { BROKERS_HEARTBEAT } else { Duration::ZERO };
        SESSION + AFTER_SESSION + heartbeat
    }
}

/// What a process is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Run,
    /// It was told to end in order; afterwards its place is empty, or another one comes.
    Leave(Option<How>),
}

/// How the processes ended, other than by a fault of ours.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Ended by themselves.
    pub(crate) by_itself: u64,
    /// Told to end, and ended with another code than 0.
    pub(crate) unclean: u64,
    /// Told to end, and ended with 0.
    pub(crate) clean: u64,
    /// Of the first two, those that no fault explains.
    pub(crate) unexplained: u64,
}

/// A process in its place.
#[derive(Debug)]
struct Member {
    service: Service,
    intent: Intent,
    is_paused: bool,
    was_paused: bool,
    /// When it was told to end.
    told: Option<Instant>,
    /// The number of the process among all: a place may have another one by the time that something is looked for.
    number: u64,
}

/// A place for a process.
#[derive(Debug, Default)]
struct Place {
    member: Option<Member>,
    respawn: Option<(Instant, How)>,
}

/// A process that was given another definition.
#[derive(Debug)]
pub(crate) struct Swapped {
    index: usize,
    number: u64,
    /// What it says of it, one way or the other.
    awaited: [&'static str; 2],
    /// How often it has said so before.
    told: usize,
}

/// Lines of a process that hold one of two texts.
fn count(service: &Service, parts: [&str; 2]) -> usize {
    service.stderr().iter().filter(|line| parts.iter().any(|part| line.contains(part))).count()
}

/// All places.
#[derive(Debug)]
pub(crate) struct Members {
    bootstrap: String,
    source: String,
    group: String,
    folder: PathBuf,
    kind: Kind,
    places: [Place; 3],
    spawned: u64,
    edition: Edition,
    /// When brokers, network or topics were in trouble last.
    pub(crate) troubled: Option<Instant>,
    /// How they ended.
    pub(crate) ends: Ends,
}

impl Members {
    /// Empty places; logs go into `folder`.
    pub(crate) fn new(bootstrap: &str, source: &str, group: &str, kind: Kind, folder: &Path) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            source: source.to_owned(),
            group: group.to_owned(),
            folder: folder.to_owned(),
            kind,
            places: Default::default(),
            spawned: 0,
            edition: EDITIONS[0],
            troubled: None,
            ends: Ends::default(),
        }
    }

    fn config(&self, index: usize, how: How) -> Result<Config, String> {
        let common = json!({"client.id": CLIENT_ID, "auto.commit.interval.ms": "200", "reconnect.backoff.max.ms": "1000"});
        let mut config = Config::new(&self.bootstrap, &self.source, &self.group, "errands")?.with("kafka/client_options", common);
        // Under the new protocol the broker says how long a session is, and clients refuse to be told so by us. How often a member tells that it lives is the service's default.
        let own: &[(&str, &str)] = match self.kind.protocol {
            Protocol::Consumer => &[],
            Protocol::CooperativeSticky => &[("session.timeout.ms", "6000")],
            Protocol::Range => &[("session.timeout.ms", "6000"), ("partition.assignment.strategy", "range")],
        };
        for (key, value) in own {
            config = config.with(&format!("kafka/client_options/{key}"), *value);
        }
        config = config.with("pipelines/0/definition", self.definition(index).display().to_string());
        if self.kind.protocol == Protocol::Consumer {
            config = config.with("kafka/group_protocol", "consumer");
        }
        if self.kind.is_transactional {
            // Processes that are stopped and brokers that are away come back before a transaction's time is over and after it.
            config = config.with("pipelines/0/delivery", "transactional").with("kafka/client_options/transaction.timeout.ms", "5000");
        }
        // One place writes all headers, the others the few that are the default.
        if index == 0 {
            config = config.with("pipelines/0/result_headers", "full");
        }
        if how == How::Plain {
            return Ok(config);
        }
        let file = self.folder.join(format!("events-{}.log", NAMES[index]));
        // What an earlier one has written would leave no room even for the first event.
        let _none = fs::remove_file(&file);
        Ok(config.with("pipelines/0/logging", json!({"level": "ALL", "include_execution_data": true, "destination": "file", "file": file})))
    }

    /// The definition of a place's process.
    fn definition(&self, index: usize) -> PathBuf {
        self.folder.join(format!("errands-{}.asl.json", NAMES[index]))
    }

    /// Writes a definition as a deployment does: whole, or not at all.
    fn define(&self, index: usize, text: &str) -> Result<(), String> {
        let path = self.definition(index);
        let fresh = path.with_extension("fresh");
        let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Gives every process at work another edition of its definition, or one that is to be refused; which processes, and what they are to say of it.
    pub(crate) fn swap(&mut self, to: Option<Edition>) -> Result<Vec<Swapped>, String> {
        self.edition = to.unwrap_or(self.edition);
        let text = to.map_or_else(|| INVALID.to_owned(), Edition::text);
        let mut swapped = Vec::new();
        for index in self.running() {
            self.define(index, &text)?;
            let member = self.member(index)?;
            if member.service.ended().is_none() {
                let awaited = if to.is_some() {
                    ["the definition is replaced", "the definition is the same"]
                } else {
                    ["the definition is refused", "the definition is refused"]
                };
                let told = count(&member.service, awaited);
                member.service.signal("HUP")?;
                swapped.push(Swapped { index, number: member.number, awaited, told });
            }
        }
        Ok(swapped)
    }

    /// Puts the edition that is valid back, so that processes to come can start.
    pub(crate) fn mend(&self) -> Result<(), String> {
        (0..NAMES.len()).try_for_each(|index| self.define(index, &self.edition.text()))
    }

    /// Whether a process has said what became of its definition, or is not the one any more that was asked, or stands still.
    pub(crate) fn has_told(&self, swapped: &Swapped) -> bool {
        let asked = self.places[swapped.index].member.as_ref().filter(|member| member.number == swapped.number);
        asked.is_none_or(|member| member.is_paused || member.intent != Intent::Run || count(&member.service, swapped.awaited) > swapped.told)
    }

    /// Starts a process in an empty place.
    pub(crate) fn spawn(&mut self, index: usize, how: How) -> Result<(), String> {
        self.define(index, &self.edition.text())?;
        self.spawned += 1;
        let number = self.spawned;
        let config = self.config(index, how)?;
        let service = if how == How::Plain { Service::spawn(&config)? } else { Service::spawn_on_a_full_disk(&config, FULL_DISK_BLOCKS)? };
        self.places[index] =
            Place { member: Some(Member { service, intent: Intent::Run, is_paused: false, was_paused: false, told: None, number }), respawn: None };
        Ok(())
    }

    /// Starts a process in a place after a while.
    pub(crate) fn spawn_at(&mut self, index: usize, at: Instant) {
        self.places[index].respawn = Some((at, How::Plain));
    }

    /// The places whose process is at work.
    pub(crate) fn running(&self) -> Vec<usize> {
        let runs = |place: &Place| place.member.as_ref().is_some_and(|member| member.intent == Intent::Run && !member.is_paused);
        (0..NAMES.len()).filter(|&index| runs(&self.places[index])).collect()
    }

    /// The places without a process, now and soon.
    pub(crate) fn empty(&self) -> Vec<usize> {
        (0..NAMES.len()).filter(|&index| self.places[index].member.is_none() && self.places[index].respawn.is_none()).collect()
    }

    fn member(&mut self, index: usize) -> Result<&mut Member, String> {
        self.places[index].member.as_mut().ok_or_else(|| format!("there is no process {}", NAMES[index]))
    }

    /// Ends a process without warning.
    pub(crate) fn kill(&mut self, index: usize) -> Result<(), String> {
        let Some(mut member) = self.places[index].member.take() else { return Ok(()) };
        if member.service.ended().is_none() {
            member.service.signal("KILL")?;
            member.service.wait(Duration::from_secs(30))?;
        }
        self.keep_log(index, &member.service, "killed by a fault")
    }

    /// Stops a process in its tracks, or lets it go on.
    pub(crate) fn pause(&mut self, index: usize, pause: bool) -> Result<(), String> {
        let member = self.member(index)?;
        if member.service.ended().is_none() {
            member.service.signal(if pause { "STOP" } else { "CONT" })?;
        }
        member.is_paused = pause;
        member.was_paused |= pause;
        Ok(())
    }

    /// Tells a process to end in order; `then` one that takes its place.
    pub(crate) fn leave(&mut self, index: usize, then: Option<How>) -> Result<(), String> {
        let member = self.member(index)?;
        member.intent = Intent::Leave(then);
        member.told = Some(Instant::now());
        if member.service.ended().is_none() { member.service.signal("TERM") } else { Ok(()) }
    }

    /// How often the living processes have said that the group had given them up.
    pub(crate) fn losses(&self) -> usize {
        let members = self.places.iter().filter_map(|place| place.member.as_ref());
        members.map(|member| count(&member.service, ["lost=true", "lost=true"])).sum()
    }

    /// Whether every process at work says that it is ready: it has partitions, and no rebalance is on its way there.
    pub(crate) fn are_ready(&self) -> bool {
        let members = self.places.iter().filter_map(|place| place.member.as_ref());
        members.into_iter().all(|member| member.service.get("/ready").is_ok_and(|(status, _)| status == 200))
    }

    /// Whether every process that was told to end has, and every one that was to come is there.
    pub(crate) fn are_settled(&self) -> bool {
        self.places.iter().all(|place| place.respawn.is_none() && place.member.as_ref().is_none_or(|member| member.intent == Intent::Run && !member.is_paused))
    }

    /// Looks after all places; says what happened by itself.
    pub(crate) fn tend(&mut self) -> Result<Vec<String>, String> {
        let mut told = Vec::new();
        for index in 0..NAMES.len() {
            if let Some((at, how)) = self.places[index].respawn
                && Instant::now() >= at
            {
                self.spawn(index, how)?;
            }
            if self.places[index].member.as_mut().is_some_and(|member| member.service.ended().is_some()) {
                told.extend(self.bury(index)?);
            }
        }
        Ok(told)
    }

    /// A process has ended without a kill of ours.
    fn bury(&mut self, index: usize) -> Result<Option<String>, String> {
        let Some(mut member) = self.places[index].member.take() else { return Ok(None) };
        let code = member.service.wait(Duration::from_secs(10))?;
        let shown = code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
        self.keep_log(index, &member.service, &format!("ended with {shown}"))?;
        let mut text = format!("service {} ended with {shown}", NAMES[index]);
        let lines = member.service.stderr();
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            write!(text, "\n            {line}").map_err(|error| error.to_string())?;
        }
        if code == Some(BAD_CONFIGURATION) {
            return Err(text);
        }
        let next = match (member.intent, code) {
            (Intent::Run, _) => Some((Instant::now() + RESPAWN_AFTER, How::Plain)),
            (Intent::Leave(then), _) => then.map(|how| (Instant::now(), how)),
        };
        self.places[index].respawn = next;
        let is_clean = matches!((member.intent, code), (Intent::Leave(_), Some(0)));
        self.ends.unexplained += u64::from(!is_clean && !self.is_explained(&member));
        let told = match (member.intent, code) {
            (Intent::Leave(_), Some(0)) => {
                self.ends.clean += 1;
                None
            }
            (Intent::Leave(_), _) => {
                self.ends.unclean += 1;
                Some(text + "\n            although it was told to end in order")
            }
            (Intent::Run, _) => {
                self.ends.by_itself += 1;
                Some(text + "\n            by itself")
            }
        };
        Ok(told)
    }

    /// Whether a process may have ended otherwise than it was told: a shutdown takes its deadline while brokers are out of reach, and a producer whose transaction others had to end is fenced.
    fn is_explained(&self, member: &Member) -> bool {
        let since = member.told.or_else(|| Instant::now().checked_sub(FATE));
        let is_troubled = self.troubled.zip(since).is_some_and(|(last, since)| last >= since);
        let is_fenced = self.kind.is_transactional && (is_troubled || member.was_paused);
        if member.told.is_some() { is_troubled || is_fenced } else { is_fenced }
    }

    /// Adds what a process wrote to its place's log.
    fn keep_log(&self, index: usize, service: &Service, end: &str) -> Result<(), String> {
        let path = self.folder.join(format!("service-{}.log", NAMES[index]));
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = service.stderr().join("\n");
        writeln!(file, "{text}\n=== process {} {end}\n", service.pid()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Adds what the living processes wrote to their logs.
    pub(crate) fn keep_logs(&self) -> Result<(), String> {
        let living = self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.member.as_ref()?)));
        living.into_iter().try_for_each(|(index, member)| self.keep_log(index, &member.service, "runs"))
    }

    /// The last lines of every living process.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let living = self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.member.as_ref()?)));
        living
            .flat_map(|(index, member)| {
                let lines = member.service.stderr();
                let skipped = lines.len().saturating_sub(count);
                lines.into_iter().skip(skipped).map(move |line| format!("{}: {line}", NAMES[index]))
            })
            .collect()
    }

    /// Ends all processes in order.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<(), String> {
        for index in 0..NAMES.len() {
            let Some(mut member) = self.places[index].member.take() else { continue };
            let stopped = member.service.stop(limit);
            self.keep_log(index, &member.service, "was stopped at the end")?;
            stopped?;
        }
        Ok(())
    }
}
