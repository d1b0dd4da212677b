//! A run: rounds of faults under load, each closed by a reckoning.

use std::time::{Duration, Instant};

use harness::deadline;

use crate::auditor::Stopwatch;
use crate::fault::{self, Active, Domain, KINDS};
use crate::feeder::open;
use crate::member::{How, Kind, SESSION};
use crate::stage::Stage;
use crate::summary::Summary;
use expressway_ingest::random::Random;

/// How often faults and processes are looked after.
const TICK: Duration = Duration::from_millis(50);
/// How long a fault that is over or about to be may take to be so: a broker starts in some ten seconds when little else runs.
const HEAL_LIMIT: Duration = Duration::from_secs(150);
/// How long the source may take to acknowledge what was sent to it.
const FEED_LIMIT: Duration = Duration::from_secs(150);
/// How long nothing may be settled while something is owed.
const STANDSTILL_LIMIT: Duration = Duration::from_secs(120);
/// What duplicates are put down to when no fault has come before them in a round.
pub(crate) const UNEXPLAINED: &str = "nothing";
/// How long the processes may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Of so many kills of a process one is timed, with no other fault beside it: it waits until all is calm, and the next fault for its end.
const TIMED_EACH: u64 = 3;
/// For how long nothing may have been wrong before such a kill.
const CALM: Duration = Duration::from_secs(2);
/// How long such a kill waits for that; afterwards it comes all the same, and is not timed.
const CALM_LIMIT: Duration = Duration::from_secs(20);
/// How late a tick is that shows a machine on which nothing ran.
const LATE: Duration = Duration::from_millis(100);
/// Lines of each process that are shown when something is lost.
const LAST_LINES: usize = 20;

/// What is asked of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How long faults come.
    pub(crate) lasts: Duration,
    /// What everything is drawn from.
    pub(crate) seed: u64,
    /// Records a second, on average: as many may be on their way when all is calm.
    pub(crate) rate: u64,
    /// Time between the beginnings of two faults, on average.
    pub(crate) every: Duration,
    /// Faults in a round.
    pub(crate) faults: u32,
    /// Names of the kinds of faults to draw from; all when empty.
    pub(crate) only: Vec<String>,
    /// Whether what takes every leader of a partition away is left out.
    pub(crate) keeps_leaders: bool,
    /// What the processes have in common.
    pub(crate) how: Kind,
}

/// Where a run stands.
pub(crate) struct Run {
    stage: Stage,
    plan: Plan,
    random: Random,
    began: Instant,
    active: Vec<Active>,
    /// A kill that waits until all is calm.
    awaited: Option<Awaited>,
    kills: u64,
    /// How often members had been given up by the group when the latest fault began.
    losses: usize,
    faults: u64,
    /// Of these, the ones that may cost duplicates.
    disorderly: u64,
    rounds: u64,
}

/// A kind of fault, as the table has it.
type Drawn = (fault::Kind, &'static str, Domain);

/// A fault that waits until all is calm.
struct Awaited {
    drawn: Drawn,
    calm_since: Option<Instant>,
    until: Instant,
}

/// What a reckoning found.
type Reckoning = Result<(), String>;

impl Run {
    /// A run on a stage that is set.
    pub(crate) fn new(stage: Stage, plan: Plan) -> Self {
        let random = Random::new(plan.seed);
        Self { stage, plan, random, began: Instant::now(), active: Vec::new(), awaited: None, kills: 0, losses: 0, faults: 0, disorderly: 0, rounds: 0 }
    }

    /// Plays the rounds. The summary is made in any case.
    pub(crate) fn play(&mut self) -> (Summary, Reckoning) {
        let played = self.rounds();
        let kept = if played.is_err() { self.show_failure() } else { Ok(()) };
        let summary = Summary::of(&self.stage, &self.plan, (self.faults, self.disorderly), self.rounds, self.began.elapsed());
        (summary, played.and(kept))
    }

    fn rounds(&mut self) -> Reckoning {
        for index in [0, 1] {
            self.stage.members.spawn(index, How::Plain)?;
        }
        self.stage.feeder.feed();
        while open(&self.stage.books).settled == 0 {
            self.tick()?;
            if self.began.elapsed() > HEAL_LIMIT {
                return Err(format!("nothing came out within {HEAL_LIMIT:?}"));
            }
        }
        self.began = Instant::now();
        self.tell("the first records have come through; faults begin");
        while self.began.elapsed() < self.plan.lasts {
            self.rounds += 1;
            self.round()?;
        }
        deadline::until("every record committed", HEAL_LIMIT, || self.stage.is_all_committed().then_some(()))?;
        self.stage.members.stop(STOP_LIMIT)?;
        self.stage.feeder.end()?;
        self.stage.auditor.end()
    }

    fn round(&mut self) -> Reckoning {
        open(&self.stage.books).fault = UNEXPLAINED;
        self.stage.feeder.feed();
        let mut next = Instant::now() + self.pause();
        let mut left = self.plan.faults;
        while left > 0 && self.began.elapsed() < self.plan.lasts {
            self.tick()?;
            let begun = if let Some(awaited) = self.awaited.take() {
                self.begin_when_calm(awaited)?
            } else if Instant::now() >= next && !self.is_timing() {
                next = Instant::now() + self.pause();
                self.draw()?
            } else {
                false
            };
            left -= u32::from(begun);
        }
        self.awaited = None;
        self.settle()?;
        self.reckon()
    }

    /// Time until the next fault: between half and one and a half times the average.
    fn pause(&mut self) -> Duration {
        let average = u64::try_from(self.plan.every.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random.between(average / 2, average + average / 2))
    }

    /// Whether a kill is timed that has not come to its end.
    fn is_timing(&self) -> bool {
        self.stage.auditor.watches().last().is_some_and(Stopwatch::runs)
    }

    /// Begins a fault once nothing has been wrong for a while, or it has waited for that in vain; whether it has begun.
    fn begin_when_calm(&mut self, mut awaited: Awaited) -> Result<bool, String> {
        // Brokers that have just been started, or a backlog, would be timed with the kill.
        let is_up_to_date = {
            let books = open(&self.stage.books);
            books.owed - books.settled <= self.plan.rate
        };
        let is_calm = self.active.is_empty() && is_up_to_date && self.stage.members.are_settled() && self.stage.members.are_ready();
        let since = awaited.calm_since.filter(|_| is_calm).or_else(|| is_calm.then(Instant::now));
        let is_calm = since.is_some_and(|since| since.elapsed() >= CALM);
        if is_calm || Instant::now() >= awaited.until {
            return self.begin_fault(awaited.drawn, is_calm);
        }
        awaited.calm_since = since;
        self.awaited = Some(awaited);
        Ok(false)
    }

    fn tick(&mut self) -> Result<(), String> {
        let began = Instant::now();
        std::thread::park_timeout(TICK);
        if let Some(late) = began.elapsed().checked_sub(TICK).filter(|late| *late >= LATE) {
            self.stage.auditor.watches().iter_mut().for_each(|watch| watch.stall(late));
        }
        // A second member whose heartbeats come to nothing for a session is the machine's doing, or the brokers'.
        if self.is_timing() && self.stage.members.losses() > self.losses {
            self.stage.auditor.watches().iter_mut().for_each(|watch| watch.stall(SESSION));
        }
        for told in self.stage.members.tend()? {
            self.stage.auditor.watches().iter_mut().for_each(Stopwatch::disturb);
            self.tell(&told);
        }
        let timed: Vec<String> = self.stage.auditor.watches().iter_mut().filter_map(Stopwatch::tell).collect();
        timed.iter().for_each(|told| self.tell(told));
        let mut active = std::mem::take(&mut self.active);
        let mut alive = Vec::with_capacity(active.len());
        for mut fault in active.drain(..) {
            let is_over = fault.step(&mut self.stage)?;
            if let Some(problem) = fault.failed.take() {
                self.tell(&format!("a fault did not come about: {problem}"));
            }
            if !is_over {
                alive.push(fault);
            }
        }
        if alive.iter().any(|fault| matches!(fault.domain, Domain::Broker | Domain::Network | Domain::Topic)) {
            self.stage.members.troubled = Some(Instant::now());
        }
        self.active = alive;
        if self.stage.auditor.has_ended() { self.stage.auditor.end().and_then(|()| Err("the auditor has ended".to_owned())) } else { Ok(()) }
    }

    /// Draws a fault of a domain in which nothing is wrong, and begins it, unless it has to wait; whether it has begun.
    fn draw(&mut self) -> Result<bool, String> {
        let wanted = |kind: fault::Kind, name: &str| {
            let is_asked_for = self.plan.only.is_empty() || self.plan.only.iter().any(|only| only == name);
            is_asked_for && !(self.plan.keeps_leaders && kind.takes_every_leader())
        };
        let is_free = |domain: Domain| !self.active.iter().any(|active| active.domain == domain);
        let free = KINDS.iter().filter(|(kind, name, domain, _)| wanted(*kind, name) && is_free(*domain));
        let weighted: Vec<_> = free.flat_map(|kind| std::iter::repeat_n(*kind, usize::try_from(kind.3).unwrap_or(1))).collect();
        let Some((kind, name, domain, _)) = self.random.pick(&weighted) else { return Ok(false) };
        if kind == fault::Kind::ServiceKill {
            self.kills += 1;
            // A run of kills alone is there for their times.
            let timed_each = if self.plan.only == [name] { 1 } else { TIMED_EACH };
            if self.kills % timed_each == 1 % timed_each {
                self.awaited = Some(Awaited { drawn: (kind, name, domain), calm_since: None, until: Instant::now() + CALM_LIMIT });
                return Ok(false);
            }
        }
        self.begin_fault((kind, name, domain), false)
    }

    fn begin_fault(&mut self, (kind, name, domain): Drawn, is_calm: bool) -> Result<bool, String> {
        // A watch says nothing about a kill when something else goes wrong before it is done.
        self.stage.auditor.watches().iter_mut().for_each(Stopwatch::disturb);
        // What is done in order explains no duplicate; the fault before it may.
        let before = open(&self.stage.books).fault;
        if !kind.is_orderly() {
            open(&self.stage.books).fault = name;
        }
        let Some((told, fault)) = fault::begin(&mut self.stage, kind, domain, is_calm, &mut self.random)? else {
            open(&self.stage.books).fault = before;
            return Ok(false);
        };
        self.losses = self.stage.members.losses();
        self.active.push(fault);
        self.faults += 1;
        self.disorderly += u64::from(!kind.is_orderly());
        let before: u64 = open(&self.stage.books).duplicates.values().sum();
        self.tell(&format!("fault {}, {name}: {told}; {before} duplicates before it", self.faults));
        Ok(true)
    }

    /// Lets everything heal, stops feeding, and waits until all that is owed is settled.
    fn settle(&mut self) -> Reckoning {
        let end = Instant::now() + HEAL_LIMIT;
        while !self.active.is_empty() || !self.stage.members.are_settled() {
            self.active.iter_mut().for_each(Active::hurry);
            self.tick()?;
            if Instant::now() > end {
                return Err(format!("{} faults did not heal within {HEAL_LIMIT:?}", self.active.len()));
            }
        }
        if self.stage.members.running().is_empty() {
            self.stage.members.spawn(0, How::Plain)?;
        }
        // One that fell down by itself is started again, so that the service is judged and not its brokers.
        if self.stage.cluster.call("status").is_err() {
            self.stage.broker_lines(LAST_LINES).iter().for_each(|line| crate::tell(line));
            self.tell("a broker is down by itself, and is started");
            self.stage.cluster.call("start")?;
        }
        self.stage.feeder.settle(FEED_LIMIT)?;
        let (mut settled, mut moved) = (0, Instant::now());
        loop {
            self.tick()?;
            let now = {
                let mut books = open(&self.stage.books);
                books.rebook();
                if books.settled == books.owed {
                    return Ok(());
                }
                books.settled
            };
            if now != settled {
                (settled, moved) = (now, Instant::now());
            } else if moved.elapsed() > STANDSTILL_LIMIT {
                return Err(format!("nothing was settled for {STANDSTILL_LIMIT:?}"));
            }
        }
    }

    /// Nothing missing, nothing unknown, nothing wrong; and fresh records go through on every partition.
    fn reckon(&mut self) -> Reckoning {
        let began = Instant::now();
        let sent = self.stage.feeder.sent();
        self.stage.feeder.feed();
        // A tenth of a second's worth at the least goes to every partition.
        deadline::until("fresh records sent", FEED_LIMIT, || (self.stage.feeder.sent() > sent + 100).then_some(()))?;
        self.settle()?;
        let mut books = open(&self.stage.books);
        books.close_round();
        let duplicates: u64 = books.duplicates.values().sum();
        let line = format!(
            "round {} is settled: {} records, {} results, {} dead letters, {duplicates} duplicates; fresh ones took {} ms",
            self.rounds,
            books.settled,
            books.results,
            books.dead_letters,
            began.elapsed().as_millis()
        );
        let (unknown, wrong) = (books.unknown.count, books.wrong.count);
        drop(books);
        self.tell(&line);
        if unknown + wrong == 0 { Ok(()) } else { Err(format!("{unknown} outcomes are of no record, {wrong} are wrong")) }
    }

    fn tell(&self, text: &str) {
        crate::tell(&format!("[{:7.1} s] {text}", self.began.elapsed().as_secs_f32()));
    }

    /// Keeps all logs of a run that is over.
    pub(crate) fn keep_logs(&self) -> Result<(), String> {
        self.stage.keep_logs()
    }

    /// Says which records, and what the processes said last; keeps all logs.
    fn show_failure(&self) -> Result<(), String> {
        let mut books = open(&self.stage.books);
        books.rebook();
        let missing = books.missing();
        let found = [("missing", &missing), ("unknown", &books.unknown.shown), ("wrong", &books.wrong.shown)];
        for (what, texts) in found {
            texts.iter().for_each(|text| crate::tell(&format!("{what}: {text}")));
        }
        drop(books);
        let lines = [self.stage.members.last_lines(LAST_LINES), self.stage.broker_lines(LAST_LINES)].concat();
        lines.iter().for_each(|line| crate::tell(line));
        self.stage.keep_logs()
    }
}
