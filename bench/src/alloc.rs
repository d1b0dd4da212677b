//! Counts heap allocations: mimalloc, as in the service, behind two counters.
//!
//! The counters are process-wide and relaxed. Code that allocates nothing never touches them, so counting costs nothing exactly where the count is zero. What C libraries allocate is not in them.

#![expect(unsafe_code, reason = "an allocator cannot be wrapped without implementing GlobalAlloc")]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use mimalloc::MiMalloc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Bytes taken less bytes given back. Wraps below zero for moments, when a thread gives back what another has not counted yet.
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

/// The allocator to install with `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

/// Allocations and reallocations of this process so far; always 0 unless [`Counting`] is installed.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes that this process has asked for and not given back; always 0 unless [`Counting`] is installed. What the allocator rounds up is not in it.
#[must_use]
pub fn live_bytes() -> u64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// Whether [`Counting`] is this process's allocator, so that a count of 0 means something.
#[must_use]
pub fn is_counting() -> bool {
    let before = allocations();
    drop(black_box(Box::new(0_u64)));
    allocations() > before
}

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LIVE_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn give_back(bytes: usize) {
    LIVE_BYTES.fetch_sub(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to mimalloc, which upholds the contract of `GlobalAlloc`; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about `layout` is mimalloc's own precondition.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: the caller got `pointer` from this allocator with this `layout`, so from mimalloc.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about `layout` is mimalloc's own precondition.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        give_back(layout.size());
        // SAFETY: the caller got `pointer` from this allocator with this `layout`, and promises a valid `size`.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}
