//! Drives `target::document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::target::document(bytes));
