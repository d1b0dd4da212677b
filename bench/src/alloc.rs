//! Counts heap allocations: mimalloc, as in the service, behind a counter.
//!
//! The counter is process-wide and relaxed. Code that allocates nothing never touches it, so counting costs nothing exactly where the count is zero.

#![expect(unsafe_code, reason = "an allocator cannot be wrapped without implementing GlobalAlloc")]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use mimalloc::MiMalloc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The allocator to install with `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

/// Allocations and reallocations of this process so far; always 0 unless [`Counting`] is installed.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Whether [`Counting`] is this process's allocator, so that a count of 0 means something.
#[must_use]
pub fn is_counting() -> bool {
    let before = allocations();
    drop(black_box(Box::new(0_u64)));
    allocations() > before
}

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to mimalloc, which upholds the contract of `GlobalAlloc`; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is mimalloc's own precondition.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller got `pointer` from this allocator with this `layout`, so from mimalloc.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is mimalloc's own precondition.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller got `pointer` from this allocator with this `layout`, and promises a valid `size`.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}
