//! The model of transactions: what a producer's client knows of its own, and what the coordinator keeps for each transactional id.
//!
//! It behaves as librdkafka 2.12 and the broker were read to behave. The coordinator counts epochs of an id: a newcomer of the same id, and a transaction that took too long, raise it, and whoever comes with an older one is fenced for good. A transaction begins at the broker with its first record or its offsets; its end is decided first and carried out later, and until then a next one has to wait, and so has whoever asks for offsets that must be stable. A client whose record was not taken, or whose offsets were refused, can only abort; before it does, what is under way comes to its end, and what was not sent is taken back.
//!
//! A call goes on in the background when its caller stops waiting, and an answer that is lost is asked for again.

use std::collections::BTreeMap;

use rdkafka::types::RDKafkaErrorCode as ErrorCode;

use crate::broker::Answer;
use crate::kafka::failure::{Failure, Kind};
use crate::producer::Sent;
use crate::world::{TaskId, World};

/// Between two looks at whether everything is reported.
const FLUSH_LOOK_NS: u64 = 1_000_000;

/// What the client may do with its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The id was not made known yet.
    Fresh,
    Ready,
    Open,
    /// It can only be aborted.
    Doomed,
    /// It is being committed or aborted.
    Ending,
    Useless,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Init,
    /// The id is made known anew, under the epoch that is known: the coordinator had forgotten it.
    Renew,
    Offsets {
        offsets: Vec<(i32, i64)>,
        member: u64,
        generation: i32,
    },
    Commit,
    Abort,
}

#[derive(Debug)]
struct Call {
    number: u64,
    request: Request,
    answer: Option<Result<(), Failure>>,
}

/// A producer's side.
#[derive(Debug)]
pub(crate) struct Client {
    /// The place of its id among the coordinator's.
    id: usize,
    epoch: u32,
    /// Of the open transaction; it tells the coordinator what belongs to which.
    number: u64,
    state: State,
    is_forgotten: bool,
    calls: u64,
    call: Option<Call>,
    waiter: Option<TaskId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// None is open: the last one, if there was one, ended so.
    Over {
        is_committed: bool,
    },
    Ongoing,
    /// Decided, and not everywhere known yet.
    Ending {
        is_commit: bool,
    },
}

/// What the coordinator keeps for an id.
#[derive(Debug)]
pub(crate) struct Transactional {
    name: String,
    epoch: u32,
    phase: Phase,
    /// The epoch and number of the last transaction that something of has come.
    last: (u32, u64),
    instance: usize,
    records: Vec<Sent>,
    offsets: BTreeMap<i32, i64>,
}

/// What the coordinator answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Fine,
    /// This is the epoch from now on.
    Known(u32),
    /// Once the last transaction is over.
    Later,
    Fenced,
    Refused(ErrorCode),
    /// It does not know the id any more.
    Forgotten,
}

/// What came of a request with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    Done,
    Later,
    Fenced,
}

fn failure(kind: Kind, code: ErrorCode) -> Failure {
    Failure { kind, code, text: format!("{code}, says the model") }
}

impl World {
    /// What a producer of a transactional id begins with.
    pub(crate) fn add_transactional(&mut self, name: &str) -> Client {
        let ids = &mut self.broker.transactional;
        let id = ids.iter().position(|id| id.name == name).unwrap_or_else(|| {
            ids.push(Transactional {
                name: name.to_owned(),
                epoch: 0,
                phase: Phase::Over { is_committed: false },
                last: (0, 0),
                instance: 0,
                records: Vec::new(),
                offsets: BTreeMap::new(),
            });
            ids.len() - 1
        });
        Client { id, epoch: 0, number: 0, state: State::Fresh, is_forgotten: false, calls: 0, call: None, waiter: None }
    }

    fn client(&mut self, producer: usize) -> &mut Client {
        self.producers[producer].transactional.as_mut().expect("only a transactional producer makes transactional calls")
    }

    /// Whether a producer may take records, and send those it has.
    pub(crate) fn may_produce(&self, producer: usize) -> bool {
        self.producers[producer].transactional.as_ref().is_none_or(|client| client.state == State::Open)
    }

    /// Whether what a producer holds may still be sent.
    pub(crate) fn may_transmit(&self, producer: usize) -> bool {
        self.producers[producer].transactional.as_ref().is_none_or(|client| {
            let is_committing = client.call.as_ref().is_some_and(|call| call.request == Request::Commit);
            client.state == State::Open || client.state == State::Ending && is_committing
        })
    }

    /// A record of the open transaction was not taken.
    pub(crate) fn doom(&mut self, producer: usize) {
        if let Some(client) = &mut self.producers[producer].transactional
            && matches!(client.state, State::Open | State::Ending)
        {
            client.state = State::Doomed;
        }
    }

    /// Opens a transaction, without asking anybody.
    pub(crate) fn begin_transaction(&mut self, producer: usize) -> Result<(), Failure> {
        let fatal = self.producers[producer].fatal;
        let client = self.client(producer);
        match client.state {
            State::Ready => {
                (client.state, client.number) = (State::Open, client.number + 1);
                Ok(())
            }
            State::Useless => Err(failure(Kind::Fatal, fatal.unwrap_or(ErrorCode::Fenced))),
            _ => Err(failure(Kind::Fatal, ErrorCode::State)),
        }
    }

    /// Begins a call, or goes on with the one that its caller had stopped waiting for.
    pub(crate) fn begin_call(&mut self, producer: usize, request: Request) {
        let fatal = self.producers[producer].fatal;
        let client = self.client(producer);
        let request = if client.is_forgotten && request == Request::Abort { Request::Renew } else { request };
        if client.call.as_ref().is_some_and(|call| std::mem::discriminant(&call.request) == std::mem::discriminant(&request)) {
            return;
        }
        client.calls += 1;
        let number = client.calls;
        let refused = match (&request, client.state) {
            (_, State::Useless) => Some(failure(Kind::Fatal, fatal.unwrap_or(ErrorCode::Fenced))),
            (Request::Init, State::Fresh) | (Request::Offsets { .. } | Request::Commit, State::Open) => None,
            (Request::Abort | Request::Renew, State::Open | State::Doomed) => None,
            (Request::Offsets { .. } | Request::Commit, State::Doomed) => Some(failure(Kind::Abort, ErrorCode::State)),
            _ => Some(failure(Kind::Fatal, ErrorCode::State)),
        };
        let is_end = matches!(request, Request::Commit | Request::Abort | Request::Renew);
        if refused.is_none() && is_end {
            client.state = State::Ending;
        }
        let is_refused = refused.is_some();
        client.call = Some(Call { number, request: request.clone(), answer: refused.map(Err) });
        self.note(|| format!("producer {producer}: {request:?}"));
        if is_refused {
            return;
        }
        if matches!(request, Request::Abort | Request::Renew) {
            self.purge(producer);
        }
        self.flush_then_ask(producer, number);
    }

    /// The answer to the call that was begun, once it is there.
    pub(crate) fn take_answer(&mut self, producer: usize, waiter: TaskId) -> Option<Result<(), Failure>> {
        let client = self.client(producer);
        client.waiter = Some(waiter);
        let answer = client.call.as_mut()?.answer.take()?;
        client.call = None;
        Some(answer)
    }

    /// The end of a transaction waits until the application has heard of all its records.
    fn flush_then_ask(&mut self, producer: usize, number: u64) {
        let state = &self.producers[producer];
        let call = state.transactional.as_ref().and_then(|client| client.call.as_ref()).filter(|call| call.number == number);
        let Some(request) = call.map(|call| call.request.clone()) else { return };
        let is_end = matches!(request, Request::Commit | Request::Abort | Request::Renew);
        if is_end && state.open > 0 {
            let instance = state.instance;
            return self.deliver(instance, FLUSH_LOOK_NS, move |world| world.flush_then_ask(producer, number));
        }
        // A record that was not taken while the commit waited for it.
        if request == Request::Commit && self.client(producer).state == State::Doomed {
            return self.answered(producer, number, Reply::Refused(ErrorCode::State));
        }
        self.ask(producer, number, request);
    }

    fn ask(&mut self, producer: usize, number: u64, request: Request) {
        let delay_ns = self.latency_ns();
        self.after(delay_ns, move |world| world.reach_coordinator(producer, number, request));
    }

    fn reach_coordinator(&mut self, producer: usize, number: u64, request: Request) {
        let instance = self.producers[producer].instance;
        let is_dead = self.instances[instance].is_dead;
        // What a dead process had sent may still arrive.
        if is_dead && self.random.below(2) == 0 {
            return;
        }
        if !is_dead && self.instances[instance].cut_off_until_ns > self.now_ns {
            let delay_ns = self.random.between(20_000_000, 100_000_000);
            return self.after(delay_ns, move |world| world.reach_coordinator(producer, number, request));
        }
        let reply = self.coordinate(producer, &request);
        self.note(|| format!("coordinator: {request:?} of producer {producer}: {reply:?}"));
        if is_dead {
            return;
        }
        if reply == Reply::Later || self.fault(30) {
            // The answer was lost.
            let longest_ns = if reply == Reply::Later { 50_000_000 } else { 500_000_000 };
            let delay_ns = self.random.between(10_000_000, longest_ns);
            return self.deliver(instance, delay_ns, move |world| world.ask(producer, number, request));
        }
        let delay_ns = self.latency_ns();
        self.deliver(instance, delay_ns, move |world| world.answered(producer, number, reply));
    }

    fn coordinate(&mut self, producer: usize, request: &Request) -> Reply {
        let client = self.client(producer);
        let (id, epoch, number) = (client.id, client.epoch, client.number);
        let (known, phase, last) = (self.broker.transactional[id].epoch, self.broker.transactional[id].phase, self.broker.transactional[id].last);
        if epoch != known && *request != Request::Init {
            return Reply::Fenced;
        }
        match (request, phase) {
            (Request::Init | Request::Renew, Phase::Ongoing) => {
                // What the one before has left open. A newcomer fences it at once, and itself only when it is known.
                self.broker.transactional[id].epoch += u32::from(*request == Request::Init);
                self.decide(id, false);
                Reply::Later
            }
            (Request::Init | Request::Renew, Phase::Over { .. }) => {
                self.broker.transactional[id].epoch += 1;
                Reply::Known(known + 1)
            }
            (Request::Offsets { offsets, member, generation }, Phase::Over { .. } | Phase::Ongoing) => {
                match self.broker.check(Some(*member), *generation) {
                    Answer::Fine => {}
                    Answer::Rebalancing => return Reply::Refused(ErrorCode::RebalanceInProgress),
                    Answer::IllegalGeneration => return Reply::Refused(ErrorCode::IllegalGeneration),
                    Answer::UnknownMember => return Reply::Refused(ErrorCode::UnknownMemberId),
                }
                self.register(producer);
                self.broker.transactional[id].offsets.extend(offsets.iter().copied());
                Reply::Fine
            }
            (Request::Commit, Phase::Ongoing) if self.fault(80) => {
                if self.random.below(2) == 0 {
                    self.decide(id, true);
                }
                Reply::Forgotten
            }
            (Request::Commit | Request::Abort, Phase::Ongoing) => {
                self.decide(id, *request == Request::Commit);
                Reply::Fine
            }
            (Request::Commit | Request::Abort, Phase::Over { is_committed }) if last == (epoch, number) && is_committed != (*request == Request::Commit) => {
                Reply::Fenced
            }
            // Said again, or nothing of it has ever come.
            (Request::Commit | Request::Abort, Phase::Over { .. }) => Reply::Fine,
            (_, Phase::Ending { .. }) => Reply::Later,
        }
    }

    fn answered(&mut self, producer: usize, number: u64, reply: Reply) {
        let fatal = self.producers[producer].fatal;
        let client = self.client(producer);
        let Some(call) = client.call.as_mut().filter(|call| call.number == number) else { return };
        let is_end = matches!(call.request, Request::Commit | Request::Abort | Request::Renew);
        let answer = match reply {
            Reply::Fine | Reply::Known(_) => Ok(()),
            Reply::Fenced => Err(failure(Kind::Fatal, ErrorCode::Fenced)),
            Reply::Refused(code) => Err(failure(Kind::Abort, code)),
            Reply::Forgotten => Err(failure(Kind::Abort, ErrorCode::InvalidProducerIdMapping)),
            Reply::Later => return,
        };
        // What became useless meanwhile stays so, whatever the coordinator says: the client tells it by this call.
        let is_useless = client.state == State::Useless && reply != Reply::Fenced;
        call.answer = Some(if is_useless { Err(failure(Kind::Fatal, fatal.unwrap_or(ErrorCode::Fenced))) } else { answer });
        match reply {
            _ if is_useless => {}
            Reply::Known(epoch) => (client.epoch, client.state, client.is_forgotten) = (epoch, State::Ready, false),
            Reply::Fine if is_end => client.state = State::Ready,
            Reply::Refused(_) => client.state = State::Doomed,
            Reply::Forgotten => (client.state, client.is_forgotten) = (State::Doomed, true),
            Reply::Fine | Reply::Fenced | Reply::Later => {}
        }
        let waiter = client.waiter;
        if reply == Reply::Fenced {
            self.useless(producer, ErrorCode::Fenced);
        }
        waiter.into_iter().for_each(|waiter| self.wake(waiter));
    }

    /// The transaction is known to the coordinator from now on.
    fn register(&mut self, producer: usize) {
        let (instance, timeout_ns) = (self.producers[producer].instance, self.plan.transaction_timeout_ms * 1_000_000);
        let client = self.client(producer);
        let (id, last) = (client.id, (client.epoch, client.number));
        let state = &mut self.broker.transactional[id];
        if state.phase == Phase::Ongoing {
            return;
        }
        (state.phase, state.last, state.instance) = (Phase::Ongoing, last, instance);
        self.after(timeout_ns, move |world| {
            let state = &mut world.broker.transactional[id];
            if (state.phase, state.last) == (Phase::Ongoing, last) {
                state.epoch += 1;
                world.note(|| format!("coordinator: transaction {last:?} of id {id} took too long"));
                world.decide(id, false);
            }
        });
    }

    /// A request with records of the open transaction has arrived.
    pub(crate) fn append(&mut self, producer: usize, request: &[Sent]) -> Appended {
        let client = self.client(producer);
        let (id, epoch) = (client.id, client.epoch);
        let state = &self.broker.transactional[id];
        if state.epoch != epoch {
            return Appended::Fenced;
        }
        if matches!(state.phase, Phase::Ending { .. }) {
            return Appended::Later;
        }
        self.register(producer);
        self.broker.transactional[id].records.extend_from_slice(request);
        Appended::Done
    }

    /// A producer has met an error that it cannot recover from.
    pub(crate) fn useless(&mut self, producer: usize, code: ErrorCode) {
        let state = &mut self.producers[producer];
        state.fatal = Some(code);
        if let Some(client) = &mut state.transactional {
            client.state = State::Useless;
        }
    }

    fn decide(&mut self, id: usize, is_commit: bool) {
        self.note(|| format!("coordinator: the transaction of id {id} ends, as committed: {is_commit}"));
        self.broker.transactional[id].phase = Phase::Ending { is_commit };
        let delay_ns = self.latency_ns();
        self.after(delay_ns, move |world| world.carry_out(id, is_commit));
    }

    /// Now everybody knows: readers of committed records see what was committed, and the group its offsets.
    fn carry_out(&mut self, id: usize, is_commit: bool) {
        let state = &mut self.broker.transactional[id];
        state.phase = Phase::Over { is_committed: is_commit };
        let (instance, records, offsets) = (state.instance, std::mem::take(&mut state.records), std::mem::take(&mut state.offsets));
        if is_commit {
            self.transaction_is_committed(instance, &records, &offsets);
        }
    }

    /// Whether offsets of one of these partitions wait for the end of a transaction.
    pub(crate) fn has_unstable_offsets(&self, partitions: &[i32]) -> bool {
        self.broker.transactional.iter().any(|id| partitions.iter().any(|partition| id.offsets.contains_key(partition)))
    }
}
