//! Virtual time: futures that are polled in order, and a clock that jumps to the next instant at which one of them can go on.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::{Answer, Call, OPEN, Setup, Tasks, Unfit};

/// An error of the running workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub error: Option<String>,
    /// Its cause.
    pub cause: Option<String>,
}

impl Failure {
    /// An error with a name and a cause.
    #[must_use]
    pub fn new(error: &str, cause: impl Into<String>) -> Self {
        Self { error: Some(error.to_owned()), cause: Some(cause.into()) }
    }

    /// The error as it is handed on: at most 256 characters of name and 32,768 of cause (spec/asl.md 11).
    #[must_use]
    pub fn within_limits(self) -> Self {
        let first = |text: Option<String>, limit: usize| text.map(|text| text.chars().take(limit).collect());
        Self { error: first(self.error, 256), cause: first(self.cause, 32_768) }
    }

    /// Whether nothing may catch it (spec/asl.md 8.1).
    #[must_use]
    pub fn is_runtime(&self) -> bool {
        self.error.as_deref() == Some("States.Runtime")
    }
}

/// A part of the execution that runs on virtual time.
pub type Run<'w, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + 'w>>;

/// What all parts of one execution share.
pub struct World<'t> {
    /// The execution.
    pub setup: Setup,
    /// The instant.
    pub now: Cell<u64>,
    /// When parts that wait can go on; made anew by each poll.
    pub timers: RefCell<Vec<u64>>,
    /// Events so far.
    pub events: Cell<u64>,
    /// Whether branches have run side by side, whose events come in no fixed order.
    pub concurrent: Cell<bool>,
    /// The states entered.
    pub entered: RefCell<Vec<String>>,
    /// Whether two branches failed at one instant.
    pub tied: Cell<bool>,
    /// Whether a branch failed beside others.
    pub aborted: Cell<bool>,
    /// Why the execution cannot be judged.
    pub unfit: RefCell<Option<Unfit>>,
    /// The player of the tasks.
    pub tasks: RefCell<&'t mut Tasks<'t>>,
}

impl World<'_> {
    /// Counts an event and gives its id.
    pub fn event(&self) -> u64 {
        self.events.set(self.events.get() + 1);
        self.events.get()
    }

    /// Counts an event and gives its id as causes quote it.
    pub fn event_text(&self) -> String {
        let id = self.event();
        if self.concurrent.get() { OPEN.to_owned() } else { id.to_string() }
    }

    /// Asks the player of the tasks.
    pub fn ask(&self, call: &Call) -> Answer {
        let answer = (self.tasks.borrow_mut())(call);
        answer.unwrap_or_else(|reason| {
            self.unfit.borrow_mut().get_or_insert(Unfit::Refused(reason));
            Answer::Silence
        })
    }

    /// Notes that the definition uses what there is not here.
    pub fn unsupported(&self, what: &str) -> Failure {
        self.unfit.borrow_mut().get_or_insert_with(|| Unfit::Unsupported(what.to_owned()));
        Failure { error: None, cause: None }
    }

    /// Waits until `at`, at least for one turn.
    pub fn until(&self, at: u64) -> Until<'_> {
        Until { now: &self.now, timers: &self.timers, at, polled: false }
    }

    /// Polls `whole` until it is done or the `deadline` has come; `None` is the deadline.
    pub fn drive(&self, mut whole: Run<'_, Value>, deadline: u64) -> Option<Result<Value, Failure>> {
        loop {
            self.timers.borrow_mut().clear();
            if let Poll::Ready(ended) = whole.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(ended);
            }
            let next = self.timers.borrow().iter().copied().min().unwrap_or(u64::MAX).min(deadline);
            if next == u64::MAX || self.unfit.borrow().is_some() {
                self.unfit.borrow_mut().get_or_insert(Unfit::Refused("nothing can happen any more".to_owned()));
                return None;
            }
            self.now.set(next);
            if next >= deadline {
                return None;
            }
        }
    }
}

/// See [`World::until`].
pub struct Until<'w> {
    now: &'w Cell<u64>,
    timers: &'w RefCell<Vec<u64>>,
    at: u64,
    polled: bool,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.polled && self.now.get() >= self.at {
            return Poll::Ready(());
        }
        self.polled = true;
        self.timers.borrow_mut().push(self.at.max(self.now.get()));
        Poll::Pending
    }
}

/// Runs parts side by side, at most `limit` of them at a time, begun in order; `start` makes one. The first failure is the failure of all.
///
/// # Errors
/// The first failure.
pub async fn side_by_side<'w>(
    world: &'w World<'_>,
    total: usize,
    limit: usize,
    mut start: impl FnMut(usize) -> Result<Run<'w, Value>, Failure>,
) -> Result<Vec<Value>, Failure> {
    let mut results = vec![Value::Null; total];
    let mut next = limit.min(total);
    let mut running = (0..next).map(|index| Ok((index, start(index)?))).collect::<Result<Vec<_>, Failure>>()?;
    std::future::poll_fn(move |context| {
        let mut failed: Option<Failure> = None;
        let mut place = 0;
        while place < running.len() {
            let (index, run) = &mut running[place];
            match run.as_mut().poll(context) {
                Poll::Pending => place += 1,
                Poll::Ready(Ok(result)) => {
                    results[*index] = result;
                    drop(running.remove(place));
                    if next < total && failed.is_none() {
                        match start(next) {
                            Ok(run) => running.push((next, run)),
                            Err(failure) => failed = Some(failure),
                        }
                        next += 1;
                    }
                }
                Poll::Ready(Err(failure)) => {
                    world.tied.set(world.tied.get() || failed.as_ref().is_some_and(|first| *first != failure));
                    failed.get_or_insert(failure);
                    drop(running.remove(place));
                }
            }
        }
        match failed.take() {
            Some(failure) => {
                world.aborted.set(true);
                Poll::Ready(Err(failure))
            }
            None if running.is_empty() => Poll::Ready(Ok(std::mem::take(&mut results))),
            None => Poll::Pending,
        }
    })
    .await
}
