//! Threads and waits under the names of the service's: each thread is a coroutine, each wait gives the turn back to the scheduler.

use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError};

use crate::world::{self, TaskId, with};

/// A waiter at a channel looks again after at most so long: the sender's side does not tell.
const LOOK_AGAIN_NS: u64 = 400_000;

/// A thread, for waking it.
#[derive(Debug, Clone)]
pub(crate) struct Thread(TaskId);

impl Thread {
    pub(crate) fn unpark(&self) {
        with(|world| world.unpark(self.0));
    }
}

/// A thread that can be waited for.
#[derive(Debug)]
pub(crate) struct JoinHandle<T> {
    task: TaskId,
    _of: std::marker::PhantomData<T>,
}

impl JoinHandle<()> {
    pub(crate) fn is_finished(&self) -> bool {
        with(|world| world.is_done(self.task))
    }

    pub(crate) fn join(self) -> std::thread::Result<()> {
        world::wait(Duration::from_secs(3_600), |world, _| world.is_done(self.task).then_some(()));
        if with(|world| world.has_panicked(self.task)) { Err(Box::new("panicked")) } else { Ok(()) }
    }
}

impl<T> Drop for JoinHandle<T> {
    /// Nothing ends with its handle.
    fn drop(&mut self) {}
}

pub(crate) fn current() -> Thread {
    Thread(with(|world| world.current.expect("a thread runs")))
}

pub(crate) fn park_timeout(wait: Duration) {
    world::wait(wait, |world, task| world.take_token(task).then_some(()));
}

pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let task = with(|world| world.spawn(name, body));
    Ok(JoinHandle { task, _of: std::marker::PhantomData })
}

pub(crate) fn receive<T>(from: &Receiver<T>, wait: Duration) -> Result<T, RecvTimeoutError> {
    let received = world::wait_looking(wait, LOOK_AGAIN_NS, |_, _| match from.try_recv() {
        Ok(what) => Some(Ok(what)),
        Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
        Err(TryRecvError::Empty) => None,
    });
    received.unwrap_or(Err(RecvTimeoutError::Timeout))
}

pub(crate) fn send<T>(to: &Sender<T>, what: T, wait: Duration) -> Result<(), SendTimeoutError<T>> {
    let mut what = Some(what);
    let sent = world::wait_looking(wait, LOOK_AGAIN_NS, |_, _| match to.try_send(what.take()?) {
        Ok(()) => Some(Ok(())),
        Err(TrySendError::Disconnected(back)) => Some(Err(SendTimeoutError::Disconnected(back))),
        Err(TrySendError::Full(back)) => {
            what = Some(back);
            None
        }
    });
    sent.unwrap_or_else(|| Err(SendTimeoutError::Timeout(what.take().expect("what was not sent is still here"))))
}
