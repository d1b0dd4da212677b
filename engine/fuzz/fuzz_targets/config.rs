//! Drives `untrusted::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::untrusted::config(bytes));
