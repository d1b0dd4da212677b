//! The headers of one record.

#![expect(unsafe_code, reason = "header lists are librdkafka's own, and rdkafka's type cannot be given to its native calls")]

use std::ptr::{self, NonNull};

use rdkafka_sys as sys;

/// A cache line.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;
/// Lines that a list with one header of usual length takes.
#[cfg(target_arch = "x86_64")]
const PREFETCHED_LINES: usize = 3;

/// The headers of one record, in order.
pub(crate) struct Headers {
    raw: NonNull<sys::rd_kafka_headers_t>,
}

// SAFETY: the list belongs to this value alone.
unsafe impl Send for Headers {}

impl Headers {
    /// An empty list with room for `count` headers.
    pub(crate) fn with_capacity(count: usize) -> Self {
        // SAFETY: no precondition.
        let raw = unsafe { sys::rd_kafka_headers_new(count) };
        Self { raw: NonNull::new(raw).expect("rd_kafka_headers_new allocates and cannot fail") }
    }

    /// Takes the headers out of a record, if it has any.
    ///
    /// # Safety
    /// `message` is valid, and nobody holds a reference to it.
    pub(super) unsafe fn detach(message: NonNull<sys::rd_kafka_message_t>) -> Option<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: promised by the caller; the list passes to us when the call succeeds.
        let code = unsafe { sys::rd_kafka_message_detach_headers(message.as_ptr(), &raw mut raw) };
        let found = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        NonNull::new(raw).filter(|_| found).map(|raw| Self { raw })
    }

    /// Gives the list to librdkafka.
    pub(super) fn into_raw(self) -> *mut sys::rd_kafka_headers_t {
        let raw = self.raw.as_ptr();
        std::mem::forget(self);
        raw
    }

    /// Takes back a list that [`Headers::into_raw`] gave away and nobody has taken.
    pub(super) fn from_raw(raw: NonNull<sys::rd_kafka_headers_t>) -> Self {
        Self { raw }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rd_kafka_headers_t {
        self.raw.as_ptr()
    }

    /// Adds a header; both parts are copied.
    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        let (name_len, value_len) = (isize::try_from(name.len()), isize::try_from(value.len()));
        let (Ok(name_len), Ok(value_len)) = (name_len, value_len) else { unreachable!("no slice is longer than isize::MAX") };
        // SAFETY: the list is valid, and both parts are given with their lengths.
        let code = unsafe { sys::rd_kafka_header_add(self.raw.as_ptr(), name.as_ptr().cast(), name_len, value.as_ptr().cast(), value_len) };
        debug_assert_eq!(code, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "a writable list takes every header");
    }
}

impl Headers {
    /// The value of the header at `index`, in the order in which they were added.
    pub(crate) fn value(&self, index: usize) -> Option<&[u8]> {
        let (data, len) = self.place(index)?;
        // SAFETY: the value is `len` bytes, and unchanged while the list is borrowed.
        Some(unsafe { std::slice::from_raw_parts(data.as_ptr(), len) })
    }

    /// Writes `value` over the value of the header at `index`, which must be as long: how the list of one record becomes that of the next without an allocation for each header. Returns whether it was done.
    pub(crate) fn overwrite(&mut self, index: usize, value: &[u8]) -> bool {
        let Some((data, _)) = self.place(index).filter(|&(_, len)| len == value.len()) else { return false };
        // SAFETY: the value is a copy in memory that the list allocated and owns, and the list is ours alone; it is exactly as long, and no part of the list depends on the bytes.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), data.as_ptr(), value.len()) };
        true
    }

    /// Has the processor fetch the list into its caches, for whoever will overwrite a value soon. A list of an acknowledged record was last touched by other threads, and the way to its value leads through three allocations: waiting for them took 15 % of a shard's samples in a profile of `kafka-heartbeat`.
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..PREFETCHED_LINES {
            // SAFETY: a hint that reads nothing and may be given for any address. (That the allocations lie side by side, as those of a list made in one go do, is needed for its effect only.)
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(self.raw.as_ptr().cast::<i8>().wrapping_add(line * LINE_BYTES)) };
        }
    }

    /// Where a value lies, and its length.
    fn place(&self, index: usize) -> Option<(NonNull<u8>, usize)> {
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list and the three places are valid; an index past the end is answered with an error.
        let code = unsafe { sys::rd_kafka_header_get_all(self.as_ptr(), index, &raw mut name, &raw mut value, &raw mut len) };
        let found = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        NonNull::new(value.cast_mut().cast::<u8>()).filter(|_| found).map(|value| (value, len))
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: the list is valid and given up once.
        unsafe { sys::rd_kafka_headers_destroy(self.raw.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_overwritten_by_one_as_long() {
        let mut headers = Headers::with_capacity(2);
        headers.add("status", b"SUCCEEDED");
        headers.add("source", b"in/0/41");
        assert!(headers.overwrite(1, b"in/0/42"));
        assert!(!headers.overwrite(1, b"in/0/100"));
        assert!(!headers.overwrite(2, b"in/0/43"));
        assert_eq!([headers.value(0), headers.value(1), headers.value(2)], [Some(&b"SUCCEEDED"[..]), Some(&b"in/0/42"[..]), None]);
    }

    #[test]
    fn an_empty_value_is_there() {
        let mut headers = Headers::with_capacity(1);
        headers.add("empty", b"");
        assert_eq!(headers.value(0), Some(&b""[..]));
        assert!(headers.overwrite(0, b""));
    }
}
