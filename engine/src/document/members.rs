//! Runs of plain members, `"key":value,` without whitespace, escapes or surprises: the fast twin of the scanner's own loop.
//!
//! Most members of most messages are like that: a key of a few bytes and a scalar behind it. A loop that knows nothing else keeps all it needs in registers. It takes a member only when every byte of it is as expected, and leaves everything else, faults and repeated keys included, to the scanner.

#[cfg(target_arch = "x86_64")]
use super::lanes::Wide;
use super::lanes::{Here, Lanes, Text, WIDTH, Window};
use super::symbols::{hash, prefix};
use super::tape::Tape;
use super::{Kind, Span, Static, Symbols, leaf};

/// Bytes of a key that is read here: by its first and last word it is known whole.
const KEY_MAX: usize = 16;

/// How far a run of plain members went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// In front of the next member, or behind the value of the last.
    pub(super) at: usize,
    pub(super) is_behind_value: bool,
    /// Members taken.
    pub(super) members: u32,
    /// The bloom word of the object's keys.
    pub(super) bloom: u64,
}

/// Reads members from `at`, in front of one, whose object has a bloom word from the members before; `is_wide` is what [`is_wide`](super::lanes::is_wide) says.
#[inline]
pub(super) fn run(text: Text<'_>, symbols: &Symbols, tape: &mut Tape, at: usize, bloom: u64, is_wide: bool) -> Run {
    #[cfg(target_arch = "x86_64")]
    if is_wide {
        #[expect(unsafe_code, reason = "32 bytes at once: most strings are looked at once, and there are counts of bits")]
        // SAFETY: the processor has been asked.
        return unsafe { run_wide(text, symbols, tape, at, bloom) };
    }
    let _ = is_wide;
    run_here(text, symbols, tape, at, bloom)
}

#[inline(never)]
fn run_here(text: Text<'_>, symbols: &Symbols, tape: &mut Tape, at: usize, bloom: u64) -> Run {
    run_with::<Here>(text, symbols, tape, at, bloom)
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn run_wide(text: Text<'_>, symbols: &Symbols, tape: &mut Tape, at: usize, bloom: u64) -> Run {
    run_with::<Wide>(text, symbols, tape, at, bloom)
}

#[inline(always)]
fn run_with<L: Lanes>(text: Text<'_>, symbols: &Symbols, tape: &mut Tape, at: usize, bloom: u64) -> Run {
    let mut run = Run { at, is_behind_value: false, members: 0, bloom };
    let (spans, statics, count) = tape.parts();
    let statics = &mut statics[..spans.len()];
    let mut token = *count;
    // The room for tokens grows elsewhere.
    while (token as usize) < spans.len() && run.at < text.len() {
        let window = text.window(run.at);
        let Some(key) = Key::read::<L>(window) else { break };
        let hashed = hash(key.first, key.last, key.len as usize);
        let bit = 1 << (hashed >> 58);
        if run.bloom & bit != 0 {
            // Perhaps a repeated key.
            break;
        }
        let start = run.at + key.len as usize + 3;
        if start > text.len() {
            break;
        }
        let Some((packed, end)) = value::<L>(text, start) else { break };
        run.bloom |= bit;
        run.members += 1;
        let symbol = symbols.probe_ends(key.first, key.last, hashed, key.len);
        spans[token as usize] = Span::of(start, packed);
        statics[token as usize] = Static { key_back: key.len + 2, key_len: key.len, next: token + 1, symbol, depth: 0 };
        token += 1;
        let behind = text.window(end);
        if behind.byte(0) != b',' || behind.byte(1) != b'"' {
            (run.at, run.is_behind_value) = (end, true);
            break;
        }
        run.at = end + 1;
    }
    *count = token;
    run
}

/// A key by its ends, as [`Symbols`] know them.
#[derive(Debug, Clone, Copy)]
struct Key {
    first: u64,
    last: u64,
    len: u32,
}

impl Key {
    /// The key that a window begins with, a colon behind it.
    #[inline(always)]
    fn read<L: Lanes>(window: Window<'_>) -> Option<Self> {
        let len = L::string_ends(window).first();
        if len > KEY_MAX || window.byte(0) != b'"' || window.byte_behind(len + 1) != b'"' || window.byte_behind(len + 2) != b':' {
            return None;
        }
        let last = if len <= 8 { 0 } else { window.word(len - 7) };
        #[expect(clippy::cast_possible_truncation, reason = "a key is no longer than KEY_MAX here")]
        Some(Self { first: prefix(window.word(1), len), last, len: len as u32 })
    }
}

/// The scalar that starts at `start`: its length and kind, and where it ends.
#[inline(always)]
fn value<L: Lanes>(text: Text<'_>, start: usize) -> Option<(u32, usize)> {
    let mut window = text.window(start);
    let byte = window.byte(0);
    if byte != b'"' {
        let len = leaf::quick_number::<L>(window, byte).filter(|&len| !leaf::goes_on(window.byte_behind(len)))?;
        return Some((Span::packed(len, Kind::Number), start + len));
    }
    let mut at = start;
    loop {
        let len = L::string_ends(window).first();
        if window.byte_behind(1 + len) == b'"' {
            let end = at + len + 2;
            return Some((Span::packed(end - start, Kind::String), end));
        }
        at += len;
        if len < 2 * WIDTH || at > text.len() {
            // An escape, a character above ASCII, or a fault.
            return None;
        }
        window = text.window(at);
    }
}
