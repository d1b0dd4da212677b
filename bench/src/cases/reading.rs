//! Case `reading`: the reader alone, beside simd-json on the same documents.
//!
//! The documents of the case `payload`, read by four readers in turns, pass by pass: ours by the full pass, ours as a shard uses it (learned shapes, and the start of an execution), simd-json's tape, and its borrowed value. All have their buffers from one document to the next, and all start from the bytes of a message, which simd-json needs a copy of, since it writes into its input; ours copies, too, and the copy is in both.
//!
//! They do not do the same: simd-json converts every number and takes the escapes out of every string. Ours converts nothing, because what an execution does not touch goes out as it came in, and finds the length of every value and the names that the program knows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::{ArgMatches, FromArgMatches as _};
use expressway_engine::document::{Document, Symbols};
use simd_json::{Buffers, INPUT_PADDING, Tape};

use super::payload::{self, Flags, Style};
use super::{Report, usage};
use crate::error::Error;
use crate::load::Latency;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::spread::Spread;
use crate::timing::{PASSES, Timing, pinned};
use crate::workflow::{HEARTBEAT, Runner, program};
use crate::{alloc, probe};

/// Bytes of all messages of a pass together: what lies in the caches of a shard's core would flatter whoever reads last.
const PASS_BYTES: u32 = 8 << 20;

/// Names of the heartbeat workflow, which the reader looks for.
const NAMES: [&str; 4] = ["deviceId", "type", "ts", "battery"];

/// `run reading`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { bytes, style } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(style, bytes, PASS_BYTES, PASSES).map(Report::from)
}

/// Reads one document; false where it refuses it.
type Reader<'r> = Box<dyn FnMut(&[u8]) -> bool + 'r>;

/// Runs the case with so many bytes a pass.
///
/// # Errors
/// A reader refuses a document, or the thread cannot be pinned.
pub fn run(style: Style, bytes: u32, pass_bytes: u32, passes: u32) -> Result<Outcome, Error> {
    let documents = payload::inputs(style, bytes, (pass_bytes / bytes).clamp(8, 20_000));
    let mean = documents.size() as f64 / documents.len() as f64;
    let timings = pinned(|| {
        let program = program(HEARTBEAT, "heartbeat")?;
        let mut runner = Runner::new(&program);
        let readers = vec![full_pass(), Box::new(|text: &[u8]| runner.start(text, 0).is_ok()), tape(), value()];
        turns(readers, &documents, passes)
    })?;
    let [ours, learned, tape, value] = &timings[..] else { return Err(Error::Wrong("there are four readers".to_owned())) };
    let each = |timing: &Timing| timing.spread().min / mean;
    let outcome = Outcome::of("reading", vec![("style", style.name().into()), ("bytes", bytes.into())], ours);
    let outcome = outcome
        .with("ns_per_byte", (each(ours), None), 3, format!("ns a byte by the full pass, {:.2} GB/s", 1.0 / each(ours)))
        .with("learned_ns_per_byte", (each(learned), None), 3, "ns a byte as a shard reads, with learned shapes, the start of an execution in it")
        .with("simd_json_tape_ns_per_byte", (each(tape), None), 3, "ns a byte of simd-json's tape")
        .with("simd_json_value_ns_per_byte", (each(value), None), 3, "ns a byte of simd-json's borrowed value")
        .with("times_simd_json_tape", times(tape, ours), 2, "times as fast as simd-json's tape is the full pass")
        .with("times_simd_json_value", times(value, ours), 2, "times as fast as simd-json's borrowed value is the full pass");
    Ok(outcome.with("input_bytes_mean", (mean, None), 0, "bytes a document in the mean"))
}

/// How many times as long `theirs` took as `ours`: of the best passes, with the spread of the turns.
fn times(theirs: &Timing, ours: &Timing) -> (f64, Option<Spread>) {
    let turns = theirs.times.iter().zip(&ours.times).map(|(theirs, ours)| theirs.as_secs_f64() / ours.as_secs_f64());
    (theirs.spread().min / ours.spread().min, Some(Spread::of(turns)))
}

/// Ours, every byte of every document.
fn full_pass() -> Reader<'static> {
    let (mut document, mut symbols) = (Document::new(), Symbols::default());
    for name in NAMES {
        symbols.intern(name);
    }
    Box::new(move |text| document.fill(text, &symbols).is_ok() && document.token_count() > 0)
}

fn tape() -> Reader<'static> {
    let (mut copy, mut buffers, mut spare) = (Vec::new(), Buffers::default(), Some(Tape(Vec::new())));
    Box::new(move |text| {
        copy.clear();
        copy.extend_from_slice(text);
        copy.resize(text.len() + INPUT_PADDING, 0);
        let mut tape = spare.take().map_or_else(Tape::null, Tape::reset);
        let is_read = simd_json::fill_tape_padded(&mut copy, text.len(), &mut buffers, &mut tape).is_ok();
        spare = Some(tape.reset());
        is_read
    })
}

fn value() -> Reader<'static> {
    let (mut copy, mut buffers) = (Vec::new(), Buffers::default());
    Box::new(move |text| {
        copy.clear();
        copy.extend_from_slice(text);
        simd_json::borrowed::to_value_with_buffers(&mut copy, &mut buffers).map(black_box).is_ok()
    })
}

/// All documents by every reader in turns, after one pass that warms up.
fn turns(mut readers: Vec<Reader<'_>>, documents: &Messages, passes: u32) -> Result<Vec<Timing>, Error> {
    let empty = || Timing { cores: 1, executions: documents.len() as u64, times: Vec::new(), cpu: Vec::new(), allocations: 0, latency: Latency::new() };
    let mut timings: Vec<Timing> = readers.iter().map(|_| empty()).collect();
    for pass in 0..=passes {
        for (reader, timing) in readers.iter_mut().zip(&mut timings) {
            let (allocations, cpu, start) = (alloc::allocations(), probe::thread_cpu(), Instant::now());
            let read = documents.iter().filter(|text| reader(black_box(text))).count();
            let (elapsed, cpu): (Duration, Duration) = (start.elapsed(), probe::thread_cpu().saturating_sub(cpu));
            let allocations = alloc::allocations() - allocations;
            if read < documents.len() {
                return Err(Error::Wrong(format!("{read} of {} documents were read", documents.len())));
            }
            if pass > 0 {
                timing.allocations += allocations;
                timing.times.push(elapsed);
                timing.cpu.push(cpu);
            }
        }
    }
    Ok(timings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_is_read_by_all_and_has_its_keys() {
        for style in Style::ALL {
            let json = run(style, 2_000, 1, 2).unwrap().to_json();
            assert_eq!((&json["case"], &json["style"], &json["executions"]), (&"reading".into(), &style.name().into(), &16.into()));
            for key in ["ns_per_byte", "learned_ns_per_byte", "simd_json_tape_ns_per_byte", "simd_json_value_ns_per_byte", "times_simd_json_tape"] {
                assert!(json[key].as_f64().is_some_and(|value| value > 0.0), "{key} of {json}");
            }
        }
    }

    #[test]
    fn every_reader_refuses_what_is_no_json() {
        for mut reader in [full_pass(), tape(), value()] {
            assert!(reader(br#"{"a":[1,2.5,"x"]}"#));
            assert!(!reader(br#"{"a":[1,2.5,"x"}"#) && !reader(b"{\"a\":\"\xff\"}"));
            assert!(reader(br#"{"a":1}"#), "a fault leaves nothing behind");
        }
    }
}
