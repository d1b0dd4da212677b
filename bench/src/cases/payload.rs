//! Case `payload`: the canonical workflow over large and odd documents.
//!
//! A heartbeat with a further member that fills it up to the size asked for: long texts, numbers, deep nesting, or the readings of many heartbeats. The workflow reads the few members that it always reads; all the rest has to be validated and comes out as it came in.

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};
use serde_json::{Value, json};

use super::{Report, usage};
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::reference;
use crate::timing::{PASSES, Stage, Workload, time};
use crate::workflow::{HEARTBEAT, program};
use expressway_ingest::random::Random;

/// The largest: what AWS allows, less what the workflow adds.
pub const BYTES_MAX: u32 = 262_144 - 256;

/// The smallest: a heartbeat of the members that the workflow reads.
pub const BYTES_MIN: u32 = 160;

/// Bytes of all messages of a pass together.
const PASS_BYTES: u32 = 16 << 20;

/// Levels of the nested style.
const DEPTH: usize = 40;

/// A text of the style of long texts: some words, some escapes, some of it beyond ASCII.
const TEXT: &str = "The sensor at the north gate \"N-7\" reported 3 faults; temperature 41.5 °C, humidity 63 %.\nZustand geprüft, Gehäuse trocken, Batterie in Ordnung. No further action was taken. ";

/// What fills a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// Texts of some hundred bytes, with escapes and letters beyond ASCII.
    Strings,
    /// Numbers, whole and with decimals.
    Numbers,
    /// Objects and arrays in each other, forty levels deep.
    Nested,
    /// Objects like a heartbeat's.
    Heartbeat,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Strings, Self::Numbers, Self::Nested, Self::Heartbeat];

    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Strings => "strings",
            Self::Numbers => "numbers",
            Self::Nested => "nested",
            Self::Heartbeat => "heartbeat",
        }
    }

    fn element(self, random: &mut Random) -> Value {
        match self {
            Self::Strings => {
                let pieces = 1 + random.index(4);
                json!(TEXT.repeat(pieces))
            }
            Self::Numbers if random.below(3) == 0 => json!(random.below(1_000_000)),
            Self::Numbers => number(&format!("{}{}.{:03}", if random.below(2) == 0 { "-" } else { "" }, random.below(1_000), random.below(1_000))),
            Self::Nested => {
                let leaf = json!({"v": random.below(1_000)});
                (0..DEPTH).fold(leaf, |inner, level| if level % 3 == 0 { json!([inner]) } else { json!({"n": inner}) })
            }
            Self::Heartbeat => json!({
                "ts": format!("2026-11-20T12:{:02}:{:02}Z", random.below(60), random.below(60)), "battery": random.below(101),
                "site": {"id": format!("s-{}", random.below(64)), "zone": "b"}, "metrics": {"cpu": number(&format!("0.{:02}", random.below(100))), "temp": number("41.5")},
            }),
        }
    }
}

/// The number of that spelling.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Flags of `run payload` and `run reading`: the documents.
#[derive(Debug, Args)]
pub struct Flags {
    /// Bytes of each message; a message ends with the last whole element that fits
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(i64::from(BYTES_MIN)..=i64::from(BYTES_MAX)))]
    pub(super) bytes: u32,
    /// What fills the messages
    #[arg(long, value_enum, default_value_t = Style::Heartbeat)]
    pub(super) style: Style,
}

/// `run payload`.
pub(super) fn from_flags(matches: &ArgMatches, _: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let Flags { bytes, style } = Flags::from_arg_matches(matches).map_err(usage)?;
    run(style, bytes, PASS_BYTES, PASSES).map(Report::from)
}

/// Runs the case with so many bytes a pass.
///
/// # Errors
/// An output differs from what serde_json makes by hand, or the thread cannot be pinned.
pub fn run(style: Style, bytes: u32, pass_bytes: u32, passes: u32) -> Result<Outcome, Error> {
    let workload = workload(style, bytes, (pass_bytes / bytes).clamp(8, 20_000))?;
    let mean = workload.inputs[0].size() as f64 / workload.inputs[0].len() as f64;
    let timings = time(&[Stage::of(&workload)], passes)?;
    let outcome = Outcome::of("payload", vec![("style", style.name().into()), ("bytes", bytes.into())], &timings[0]);
    let per_byte = outcome.ns_per_execution / mean;
    let outcome = outcome.with("ns_per_byte", (per_byte, None), 3, format!("ns a byte, {:.2} GB/s", 1.0 / per_byte));
    Ok(outcome.with("input_bytes_mean", (mean, None), 0, "bytes a message in the mean"))
}

/// The canonical workflow over so many messages of that size.
pub(crate) fn workload(style: Style, bytes: u32, messages: u32) -> Result<Workload, Error> {
    let inputs = vec![inputs(style, bytes, messages)];
    Ok(Workload { program: program(HEARTBEAT, "heartbeat")?, inputs, expected: Box::new(reference::heartbeat) })
}

/// So many documents of that size.
pub(crate) fn inputs(style: Style, bytes: u32, count: u32) -> Messages {
    let mut random = Random::new(1);
    (0..count).map(|sequence| message(style, bytes as usize, sequence, &mut random)).collect()
}

/// One message: what the workflow reads first, then elements as long as they fit.
fn message(style: Style, bytes: usize, sequence: u32, random: &mut Random) -> String {
    let battery = random.below(101);
    let mut text = format!(
        r#"{{"deviceId":"dev-{:06}","type":"heartbeat","ts":"2026-11-20T12:00:00Z","battery":{battery},"seq":{sequence},"data":["#,
        sequence % 1_000_000
    );
    let mut before = "";
    loop {
        let element = style.element(random).to_string();
        if text.len() + before.len() + element.len() + 2 > bytes {
            break;
        }
        text.push_str(before);
        text.push_str(&element);
        before = ",";
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_nearly_the_size_asked_for_and_never_more() {
        for style in Style::ALL {
            for bytes in [BYTES_MIN, 1_024, 10_240, BYTES_MAX] {
                for message in inputs(style, bytes, 2).iter() {
                    assert!(message.len() <= bytes as usize && message.len() + 1_000 > bytes as usize, "{style:?} {bytes}: {}", message.len());
                    assert!(serde_json::from_slice::<Value>(message).is_ok());
                }
            }
        }
    }

    #[test]
    fn every_style_is_run_up_to_the_limit() {
        for style in Style::ALL {
            let json = run(style, BYTES_MAX, 1, 1).unwrap().to_json();
            assert_eq!((&json["style"], &json["executions"]), (&style.name().into(), &8.into()));
            assert!(json["ns_per_byte"].is_number());
        }
    }
}
