//! Threads that are not: each has a stack of its own, and exactly one of them runs at a time, until it pauses.
//!
//! The pipeline waits in the middle of its calls, inside the client's rebalance callback for one, so a step of it needs its stack kept. A hand-over between real threads costs microseconds and depends on the machine's mood; this one costs some hundred nanoseconds and always happens. A coroutine never leaves the thread that made it.

#![expect(unsafe_code, reason = "stacks are switched by the C library's contexts")]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

/// Enough for an execution of the engine and the formatting of a panic.
const STACK_BYTES: usize = 512 << 10;
/// Below each stack, so that an overflow stops the process instead of writing elsewhere.
const GUARD_BYTES: usize = 64 << 10;
/// Stacks kept for use again, by thread.
const SPARE_MAX: usize = 64;

thread_local! {
    static RUNNING: Cell<*mut Inner> = const { Cell::new(ptr::null_mut()) };
    static SPARE: RefCell<Vec<Stack>> = const { RefCell::new(Vec::new()) };
}

/// What a coroutine left behind: nothing, or what it panicked with.
pub(crate) type Ended = Result<(), Box<dyn Any + Send>>;

struct Stack(NonNull<u8>);

impl Stack {
    fn take() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(Self::map)
    }

    fn map() -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), GUARD_BYTES + STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "there is memory for a stack");
        // SAFETY: the first bytes of the mapping made just now, in whole pages.
        let guarded = unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) };
        assert!(guarded == 0, "the guard can be set");
        Self(NonNull::new(base.cast()).expect("a mapping lies somewhere"))
    }

    fn give_back(self) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(self);
            }
        });
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, nothing runs on it any more, and it is given up once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), GUARD_BYTES + STACK_BYTES) };
    }
}

struct Inner {
    own: libc::ucontext_t,
    resumer: libc::ucontext_t,
    body: Option<Box<dyn FnOnce()>>,
    ended: Option<Ended>,
}

/// A body that runs when it is resumed, until it pauses or ends.
pub(crate) struct Coroutine {
    inner: NonNull<Inner>,
    stack: Option<Stack>,
}

impl Coroutine {
    /// A coroutine that has not begun.
    pub(crate) fn new(body: impl FnOnce() + 'static) -> Self {
        // SAFETY: a context is plain data, for which zeroes are a value.
        let own: libc::ucontext_t = unsafe { std::mem::zeroed() };
        let resumer = own;
        let inner = NonNull::from(Box::leak(Box::new(Inner { own, resumer, body: Some(Box::new(body)), ended: None })));
        let stack = Stack::take();
        let own = &mut Self::inner(inner).own;
        // SAFETY: the context is valid memory and nobody else's.
        unsafe { libc::getcontext(own) };
        own.uc_stack.ss_sp = stack.0.as_ptr().wrapping_add(GUARD_BYTES).cast();
        own.uc_stack.ss_size = STACK_BYTES;
        own.uc_link = ptr::null_mut();
        let context: *mut libc::ucontext_t = own;
        // SAFETY: the context has a stack, and `entry` takes nothing and never returns.
        unsafe { libc::makecontext(context, entry, 0) };
        Self { inner, stack: Some(stack) }
    }

    fn inner<'i>(inner: NonNull<Inner>) -> &'i mut Inner {
        // SAFETY: made by `new`, freed by `drop`; used by one side at a time, as only one of them runs.
        unsafe { &mut *inner.as_ptr() }
    }

    /// Runs it until it pauses or ends. Once it has ended, says how.
    pub(crate) fn resume(&mut self) -> Option<Ended> {
        let outer = RUNNING.replace(self.inner.as_ptr());
        let inner = Self::inner(self.inner);
        let (resumer, own) = (&raw mut inner.resumer, &raw const inner.own);
        // SAFETY: both contexts are valid; the own one was made by `new` or saved by `pause`.
        unsafe { libc::swapcontext(resumer, own) };
        RUNNING.set(outer);
        let ended = Self::inner(self.inner).ended.take();
        if ended.is_some() {
            self.stack.take().into_iter().for_each(Stack::give_back);
        }
        ended
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        // A stack that still holds frames is not used again: what they own is leaked.
        drop(self.stack.take());
        // SAFETY: made by `new`, freed once; the coroutine does not run.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

/// Whether a coroutine runs on this thread.
pub(crate) fn is_inside() -> bool {
    !RUNNING.get().is_null()
}

/// Gives the thread back to whoever resumed the running coroutine, and returns when it is resumed again.
pub(crate) fn pause() {
    let running = NonNull::new(RUNNING.get()).expect("only a coroutine pauses");
    let inner = Coroutine::inner(running);
    let (own, resumer) = (&raw mut inner.own, &raw const inner.resumer);
    // SAFETY: both contexts are valid; the resumer's was saved when this coroutine was resumed.
    unsafe { libc::swapcontext(own, resumer) };
}

extern "C" fn entry() {
    {
        let running = NonNull::new(RUNNING.get()).expect("a coroutine is being resumed");
        let body = Coroutine::inner(running).body.take().expect("a coroutine begins once");
        let ended = catch_unwind(AssertUnwindSafe(body));
        Coroutine::inner(running).ended = Some(ended);
    }
    loop {
        pause();
    }
}
