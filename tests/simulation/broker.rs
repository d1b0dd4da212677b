//! The model of the brokers: logs with gaps, and one consumer group with generations.
//!
//! What is modelled is what the guarantee leans on: a commit counts only from a member of the present generation; a member that does not answer is thrown out; with the eager protocol everybody gives everything back before anything is given out, with the cooperative one a partition reaches its new owner only after the old one has joined without it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::plan::Plan;
use crate::transaction::Transactional;
use crate::workflow::Kind;
use crate::world::World;

/// How long the coordinator waits for more members before it ends a round.
const ROUND_DELAY_NS: u64 = 10_000_000;

/// A record of the source topic.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) timestamp_ms: Option<u64>,
    pub(crate) kind: Kind,
}

/// A record with what has come of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Rc<Record>,
    pub(crate) results: u32,
    pub(crate) dead_letters: u32,
}

/// One partition of the source topic.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// The first offset that is kept.
    pub(crate) start: i64,
    /// The next offset to be written.
    pub(crate) end: i64,
    /// No leader until then.
    pub(crate) down_until_ns: u64,
}

impl Log {
    pub(crate) fn position(&self, offset: i64) -> Option<usize> {
        self.entries.binary_search_by_key(&offset, |entry| entry.record.offset).ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Stable,
    /// Waiting for everybody to join.
    Preparing,
    /// Everybody has joined and hears what is whose.
    Completing,
}

#[derive(Debug)]
struct Member {
    consumer: usize,
    deadline_ns: u64,
    has_joined: bool,
    owned: BTreeSet<i32>,
}

/// What the coordinator answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Fine,
    Rebalancing,
    IllegalGeneration,
    UnknownMember,
}

/// The brokers.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) logs: Vec<Log>,
    /// By partition.
    pub(crate) committed: Vec<Option<i64>>,
    /// The result topic refuses this pipeline until then.
    pub(crate) refusing_until_ns: u64,
    /// By partition of the topics that are written to: no leader until then.
    pub(crate) targets_down_until_ns: BTreeMap<i32, u64>,
    /// Transactional ids, in the order in which they came.
    pub(crate) transactional: Vec<Transactional>,
    members: BTreeMap<u64, Member>,
    last_member: u64,
    generation: i32,
    round: Round,
    rounds: u64,
}

impl Broker {
    pub(crate) fn new(plan: &Plan) -> Self {
        let log = |start: &i64| Log { start: *start, end: *start, ..Log::default() };
        Self {
            logs: plan.starts.iter().map(log).collect(),
            committed: plan.committed.clone(),
            refusing_until_ns: 0,
            targets_down_until_ns: BTreeMap::new(),
            transactional: Vec::new(),
            members: BTreeMap::new(),
            last_member: 0,
            generation: 0,
            round: Round::Stable,
            rounds: 0,
        }
    }

    /// Records written to the source topic so far.
    pub(crate) fn written(&self) -> u64 {
        self.logs.iter().map(|log| log.entries.len() as u64).sum()
    }

    /// A member whose consumer is one of those.
    pub(crate) fn members_of(&self, is_it: impl Fn(usize) -> bool) -> Option<u64> {
        self.members.iter().find(|(_, member)| is_it(member.consumer)).map(|(id, _)| *id)
    }

    pub(crate) fn check(&self, member: Option<u64>, generation: i32) -> Answer {
        match member.and_then(|member| self.members.get(&member)) {
            None => Answer::UnknownMember,
            Some(_) if generation != self.generation => Answer::IllegalGeneration,
            Some(_) if self.round == Round::Completing => Answer::Rebalancing,
            Some(_) => Answer::Fine,
        }
    }
}

impl World {
    /// A member asks to be in the next generation, with what it has.
    pub(crate) fn broker_join(&mut self, consumer: usize, member: Option<u64>, owned: BTreeSet<i32>) {
        if member.is_some_and(|member| !self.broker.members.contains_key(&member)) {
            return self.consumer_is_unknown(consumer, member);
        }
        let fresh = self.broker.last_member + 1;
        let id = member.unwrap_or(fresh);
        self.broker.last_member = self.broker.last_member.max(id);
        self.consumers[consumer].joins_as(id);
        self.note(|| format!("broker: member {id} of consumer {consumer} joins with {owned:?}"));
        if self.broker.round != Round::Preparing {
            self.prepare_round();
        }
        let deadline_ns = u64::MAX;
        self.broker.members.insert(id, Member { consumer, deadline_ns, has_joined: true, owned });
    }

    /// A member goes.
    pub(crate) fn broker_leave(&mut self, member: u64, why: &str) {
        if let Some(gone) = self.broker.members.remove(&member) {
            self.note(|| format!("broker: member {member} leaves: {why}"));
            if gone.deadline_ns == u64::MAX {
                // It waits for an answer to its wish to join.
                let (instance, delay_ns) = (self.consumers[gone.consumer].instance, self.latency_ns());
                self.deliver(instance, delay_ns, move |world| world.consumer_is_unknown(gone.consumer, Some(member)));
            }
            if self.broker.round != Round::Preparing {
                self.prepare_round();
            }
        }
    }

    fn prepare_round(&mut self) {
        self.broker.round = Round::Preparing;
        self.broker.rounds += 1;
        let round = self.broker.rounds;
        self.broker.members.values_mut().for_each(|member| member.has_joined = false);
        let timeout_ns = self.plan.poll_interval_ns();
        self.after(ROUND_DELAY_NS, move |world| world.look_after_round(round));
        self.after(timeout_ns, move |world| {
            if world.broker.rounds == round && world.broker.round == Round::Preparing {
                let gone: Vec<u64> = world.broker.members.iter().filter(|(_, member)| !member.has_joined).map(|(id, _)| *id).collect();
                for id in gone {
                    world.broker_leave(id, "it has not joined in time");
                }
            }
        });
    }

    fn look_after_round(&mut self, round: u64) {
        if self.broker.rounds != round || self.broker.round != Round::Preparing {
            return;
        }
        if self.broker.members.values().all(|member| member.has_joined) {
            return self.complete_round();
        }
        self.after(ROUND_DELAY_NS, move |world| world.look_after_round(round));
    }

    fn complete_round(&mut self) {
        self.broker.generation += 1;
        self.broker.round = Round::Completing;
        let (generation, session_ns, now_ns) = (self.broker.generation, self.plan.session_ns, self.now_ns);
        let shares = self.shares();
        self.note(|| format!("broker: generation {generation}: {shares:?}"));
        let ids: Vec<u64> = self.broker.members.keys().copied().collect();
        for (id, share) in ids.into_iter().zip(shares) {
            let member = self.broker.members.get_mut(&id).expect("the members were listed just now");
            member.deadline_ns = now_ns + session_ns;
            let (consumer, instance) = (member.consumer, self.consumers[member.consumer].instance);
            let delay_ns = self.latency_ns();
            self.watch_session(id, session_ns);
            self.deliver(instance, delay_ns, move |world| {
                if world.broker.generation == generation && world.broker.round != Round::Preparing {
                    world.consumer_has_joined(consumer, id, generation, share);
                } else {
                    world.consumer_must_join_again(consumer, id);
                }
            });
        }
        let (delay_ns, rounds) = (self.latency_ns(), self.broker.rounds);
        self.after(delay_ns, move |world| {
            if world.broker.rounds == rounds && world.broker.round == Round::Completing {
                world.broker.round = Round::Stable;
            }
        });
    }

    /// What each member gets: everybody keeps what fits its share, and the cooperative protocol gives nothing out that somebody else still has.
    fn shares(&mut self) -> Vec<BTreeSet<i32>> {
        let members: Vec<&Member> = self.broker.members.values().collect();
        let partitions = self.broker.logs.len();
        if members.is_empty() {
            return Vec::new();
        }
        let quota = |index: usize| partitions / members.len() + usize::from(index < partitions % members.len());
        let mut shares: Vec<BTreeSet<i32>> = members
            .iter()
            .enumerate()
            .map(|(index, member)| if self.plan.is_eager { BTreeSet::new() } else { member.owned.iter().copied().take(quota(index)).collect() })
            .collect();
        let numbers = (0..partitions).map(|partition| i32::try_from(partition).expect("few partitions"));
        for partition in numbers {
            if shares.iter().any(|share| share.contains(&partition)) {
                continue;
            }
            let taker = (0..members.len()).find(|index| shares[*index].len() < quota(*index));
            let Some(taker) = taker else { continue };
            let is_held = !self.plan.is_eager && members.iter().enumerate().any(|(index, member)| index != taker && member.owned.contains(&partition));
            if !is_held {
                shares[taker].insert(partition);
            }
        }
        shares
    }

    fn watch_session(&mut self, id: u64, delay_ns: u64) {
        self.after(delay_ns, move |world| {
            let now_ns = world.now_ns;
            let Some(member) = world.broker.members.get(&id) else { return };
            // Whoever waits for a round to end is not asked for heartbeats.
            if member.deadline_ns == u64::MAX {
                return;
            }
            if member.deadline_ns <= now_ns {
                return world.broker_leave(id, "its session has timed out");
            }
            let left_ns = member.deadline_ns - now_ns;
            world.watch_session(id, left_ns);
        });
    }

    pub(crate) fn broker_heartbeat(&mut self, member: u64, generation: i32) -> Answer {
        let (now_ns, session_ns) = (self.now_ns, self.plan.session_ns);
        let answer = self.broker.check(Some(member), generation);
        if let Some(member) = self.broker.members.get_mut(&member)
            && member.deadline_ns != u64::MAX
        {
            member.deadline_ns = now_ns + session_ns;
        }
        if answer == Answer::Fine && self.broker.round == Round::Preparing { Answer::Rebalancing } else { answer }
    }

    pub(crate) fn broker_commit(&mut self, member: Option<u64>, generation: i32, offsets: &[(i32, i64)]) -> Answer {
        let answer = self.broker.check(member, generation);
        self.note(|| format!("broker: commit of {offsets:?} by member {member:?} of generation {generation}: {answer:?}"));
        if answer == Answer::Fine {
            for &(partition, offset) in offsets {
                let place = usize::try_from(partition).expect("partitions count from 0");
                let before = self.broker.committed[place];
                self.broker.committed[place] = Some(offset);
                self.check_mark(partition, offset, "committed");
                if before.is_some_and(|before| offset < before) && !self.ledger.gone_back[place].iter().any(|to| *to <= offset) {
                    self.violate(|| format!("the committed offset of partition {partition} goes back from {before:?} to {offset}"));
                }
            }
        }
        answer
    }
}
