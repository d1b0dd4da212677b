//! `expressway dlq`: dead letters seen, and brought back.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use expressway_engine::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use serde_json::{Map, Value, json};

use super::connection::{ConnectionFlags, Progress, now, offsets, since, table};
use super::output::{Output, tell};
use super::{Environment, Format};
use crate::config::Config;
use crate::error::Error;
use crate::operations::bring_back::{Kind, Listener, Order, Summary, Verdict, bring_back};
use crate::operations::cluster::Cluster;
use crate::operations::header::{DEFINITION, DETAIL, HeaderList, Position, REASON, SOURCE, TIME, VERSION};
use crate::operations::interrupt::Interrupt;
use crate::operations::memory::Reasons;
use crate::operations::reader::{Fetched, fetch};
use crate::operations::selection::{Offsets, Selection, ago};
use crate::pipeline::dead_letter::time_text;

/// Flags of `dlq`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  expressway dlq list --config service.yaml\n  expressway dlq show heartbeats-dead-letters:0:41 --config service.yaml\n  expressway dlq redrive --config service.yaml --since 2h --reason execution_failed --dry-run",
    arg_required_else_help = true
)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Count dead letters by reason and show the newest
    #[command(
        after_help = "Example:\n  expressway dlq list --config service.yaml --since 1d --reason malformed_json\n\nWithout TOPIC, the dead-letter topics of every pipeline of the configuration. The state of a letter: open, redriven (brought back by \"dlq redrive\"), or parked (brought back --max-replays times and failed each time)."
    )]
    List(List),
    /// Show one dead letter whole: reason, origin, headers, key and value
    #[command(after_help = "Example:\n  expressway dlq show heartbeats-dead-letters:0:41 --brokers localhost:9092")]
    Show(Show),
    /// Publish dead letters again, as they were, to the topic and partition they came from
    #[command(
        after_help = "Examples:\n  expressway dlq redrive --config service.yaml --reason execution_failed --since 2h --dry-run\n  expressway dlq redrive heartbeats-dead-letters --brokers localhost:9092 --rate 5000\n\nA letter goes back with the headers it had, and expressway-replays and expressway-origin; one that has been brought back --max-replays times is parked: it stays where it is. Letters are remembered once the broker has acknowledged them, beside the offsets of the group --group, which is told on standard error, so a command that was interrupted goes on where it stopped, and one that is given twice brings nothing back twice; after kill -9, the letters of the last second may come twice. Without --config, --group and --set kafka.group_id=… the group is expressway-redrive, whatever group_id the service has: what was brought back with its --config is not known there, and comes again. Kafka forgets what a group remembers a week after its last commit (offsets.retention.minutes): give --since then.\n\nExit codes: 0 done, 3 the broker failed or the command was interrupted."
    )]
    Redrive(Redrive),
}

/// Which dead letters.
#[derive(Debug, Args)]
struct Which {
    /// Dead-letter topic; those of the configuration when absent
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
    /// Only letters written since: 2026-11-21T10:00:00Z, or how long ago, such as 2h
    #[arg(long, env = "EXPRESSWAY_SINCE", value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Only letters of this reason, repeatable
    #[arg(long, env = "EXPRESSWAY_REASON", value_name = "REASON")]
    reason: Vec<String>,
    /// Only letters of this partition
    #[arg(long, env = "EXPRESSWAY_PARTITION", value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only letters at these offsets; the second is the one behind the last
    #[arg(long, env = "EXPRESSWAY_OFFSET", value_name = "FROM..TO", value_parser = offsets, conflicts_with = "since")]
    offset: Option<Offsets>,
    /// Letters that have been brought back that often are parked
    #[arg(long, env = "EXPRESSWAY_MAX_REPLAYS", value_name = "N", default_value_t = 3)]
    max_replays: u32,
    /// Group under which is remembered what has been brought back; kafka.group_id with -redrive behind it when absent
    #[arg(long, env = "EXPRESSWAY_GROUP", value_name = "ID")]
    group: Option<String>,
    /// Form of the output
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: ConnectionFlags,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// How many of the newest letters are shown
    #[arg(long, env = "EXPRESSWAY_LIMIT", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
}

#[derive(Debug, Args)]
struct Show {
    /// The dead letter's own place
    #[arg(value_name = "TOPIC:PARTITION:OFFSET")]
    position: Position,
    /// Form of the output
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: ConnectionFlags,
}

#[derive(Debug, Args)]
struct Redrive {
    #[command(flatten)]
    which: Which,
    /// Only count what would be brought back
    #[arg(long, env = "EXPRESSWAY_DRY_RUN")]
    dry_run: bool,
    /// Also letters that have been brought back before
    #[arg(long, env = "EXPRESSWAY_AGAIN")]
    again: bool,
    /// Records a second, at most
    #[arg(long, env = "EXPRESSWAY_RATE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<(), Error> {
    match &flags.verb {
        Verb::List(flags) => list(flags, environment),
        Verb::Show(flags) => show(flags, environment),
        Verb::Redrive(flags) => redrive(flags, environment),
    }
}

impl Which {
    /// The dead-letter topics that are meant.
    fn topics(&self, config: &Config) -> Result<Vec<String>, Error> {
        if let Some(topic) = &self.topic {
            return Ok(vec![topic.clone()]);
        }
        let mut topics: Vec<String> = config.pipelines.iter().map(|pipeline| pipeline.dead_letter_topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() { Err(Error::Usage("name a dead-letter topic, or a configuration with pipelines (--config)".to_owned())) } else { Ok(topics) }
    }

    fn memory_group(&self, environment: &Environment, config: &Config) -> String {
        self.connection.memory_group(environment, config, self.group.as_deref(), "-redrive")
    }

    fn order(&self, group: String, cluster: &Cluster, topic: String) -> Result<Order, Error> {
        let selection = Selection { partition: self.partition, offsets: self.offset, since_ms: self.since };
        let ranges = selection.resolve(cluster, &cluster.consumer(&group)?, &topic)?;
        let reasons = Reasons::of(&self.reason).map_err(Error::Usage)?;
        Ok(Order { topic, ranges, kind: Kind::DeadLetters, reasons, replays_max: self.max_replays, group, again: false, dry_run: true, rate: None })
    }
}

fn redrive(flags: &Redrive, environment: &Environment) -> Result<(), Error> {
    let (config, cluster) = flags.which.connection.open(environment)?;
    let interrupt = Interrupt::listen()?;
    let mut out = Output::new();
    let mut interrupted = false;
    let topics = flags.which.topics(&config)?;
    let group = flags.which.memory_group(environment, &config);
    for topic in topics {
        let order = Order { again: flags.again, dry_run: flags.dry_run, rate: flags.rate, ..flags.which.order(group.clone(), &cluster, topic)? };
        let summary = bring_back(&cluster, &order, &interrupt, &mut Progress)?;
        match flags.which.format {
            Format::Text => out.write(told(&order, &summary).as_bytes())?,
            Format::Json => out.line(&summary_json(&order, &summary).to_string())?,
        }
        interrupted |= !summary.is_whole;
        if interrupted {
            break;
        }
    }
    out.flush()?;
    if interrupted { Err(super::connection::interrupted()) } else { Ok(()) }
}

/// The outcome for people: a sentence, and a histogram of the reasons.
fn told(order: &Order, summary: &Summary) -> String {
    let total = summary.total();
    let done = if order.dry_run { "would be redriven" } else { "redriven" };
    let mut text = format!("{}: {} {done}, {} redriven before, {} parked", order.topic, total.brought_back, total.before, total.parked);
    if total.unasked > 0 {
        text += &format!(", {} of other reasons", total.unasked);
    }
    if summary.foreign > 0 {
        text += &format!(", {} that are no dead letters", summary.foreign);
    }
    text.push('\n');
    let row = |(reason, tally): (&&str, &crate::operations::bring_back::Tally)| {
        std::iter::once((*reason).to_owned()).chain([tally.brought_back, tally.before, tally.parked].map(|count| count.to_string())).collect()
    };
    let rows: Vec<Vec<String>> = summary.reasons.iter().filter(|(_, tally)| tally.brought_back + tally.before + tally.parked > 0).map(row).collect();
    if rows.is_empty() { text } else { text + &table(&["reason", done, "before", "parked"], &rows) }
}

fn summary_json(order: &Order, summary: &Summary) -> Value {
    let counts = |tally: &crate::operations::bring_back::Tally| json!({"redriven": tally.brought_back, "before": tally.before, "parked": tally.parked, "other_reason": tally.unasked});
    let reasons: Map<String, Value> = summary.reasons.iter().map(|(reason, tally)| ((*reason).to_owned(), counts(tally))).collect();
    json!({"topic": order.topic, "dry_run": order.dry_run, "complete": summary.is_whole, "total": counts(&summary.total()), "reasons": reasons, "foreign": summary.foreign})
}

/// Keeps the newest letters.
struct Newest {
    limit: usize,
    letters: BTreeMap<(i64, i32, i64), Value>,
}

impl Listener for Newest {
    fn progress(&mut self, text: &str) {
        tell(text);
    }

    fn seen(&mut self, message: &BorrowedMessage<'_>, verdict: Verdict) {
        let place = (message.timestamp().to_millis().unwrap_or(-1), message.partition(), message.offset());
        let is_older = self.letters.len() >= self.limit && self.letters.first_key_value().is_none_or(|(oldest, _)| place < *oldest);
        if verdict == Verdict::Unasked || is_older {
            return;
        }
        let headers = HeaderList::read(message).unwrap_or_default();
        let state = match verdict {
            Verdict::Before => "redriven",
            Verdict::Parked => "parked",
            Verdict::BringBack | Verdict::Unasked => "open",
        };
        let mut letter = letter_json(&Position::of(message), &headers, Some(place.0));
        letter.insert("state".to_owned(), state.into());
        self.letters.insert(place, Value::Object(letter));
        if self.letters.len() > self.limit {
            self.letters.pop_first();
        }
    }
}

fn list(flags: &List, environment: &Environment) -> Result<(), Error> {
    let (config, cluster) = flags.which.connection.open(environment)?;
    let interrupt = Interrupt::listen()?;
    let mut out = Output::new();
    let topics = flags.which.topics(&config)?;
    let group = flags.which.memory_group(environment, &config);
    for topic in topics {
        let order = flags.which.order(group.clone(), &cluster, topic)?;
        let mut newest = Newest { limit: usize::try_from(flags.limit).expect("at most 10,000"), letters: BTreeMap::new() };
        let summary = bring_back(&cluster, &order, &interrupt, &mut newest)?;
        let letters: Vec<Value> = newest.letters.into_values().collect();
        match flags.which.format {
            Format::Text => out.write(listed(&order, &summary, &letters, now()).as_bytes())?,
            Format::Json => {
                let counts =
                    |tally: &crate::operations::bring_back::Tally| json!({"open": tally.brought_back, "redriven": tally.before, "parked": tally.parked});
                let reasons: Map<String, Value> = summary.reasons.iter().map(|(reason, tally)| ((*reason).to_owned(), counts(tally))).collect();
                out.line(
                    &json!({"topic": order.topic, "total": counts(&summary.total()), "reasons": reasons, "foreign": summary.foreign, "letters": letters})
                        .to_string(),
                )?;
            }
        }
        if !summary.is_whole {
            out.flush()?;
            return Err(super::connection::interrupted());
        }
    }
    out.flush()
}

fn listed(order: &Order, summary: &Summary, letters: &[Value], now: Timestamp) -> String {
    let total = summary.total();
    let mut text = format!("{}: {} open, {} redriven, {} parked\n", order.topic, total.brought_back, total.before, total.parked);
    let row = |(reason, tally): (&&str, &crate::operations::bring_back::Tally)| {
        std::iter::once((*reason).to_owned()).chain([tally.brought_back, tally.before, tally.parked].map(|count| count.to_string())).collect()
    };
    let rows: Vec<Vec<String>> = summary.reasons.iter().filter(|(_, tally)| tally.brought_back + tally.before + tally.parked > 0).map(row).collect();
    if !rows.is_empty() {
        text += &table(&["reason", "open", "redriven", "parked"], &rows);
    }
    for letter in letters {
        let field = |name: &str| letter[name].as_str().unwrap_or_default();
        let time = letter["written_ms"].as_i64().map_or_else(String::new, |ms| ago(ms, now));
        text += &format!("{}  {time}  {}  {}  from {}  {}\n", field("position"), field("state"), field("reason"), field("source"), field("detail"));
    }
    text
}

/// What the headers of a dead letter say.
fn letter_json(position: &Position, headers: &HeaderList, written_ms: Option<i64>) -> Map<String, Value> {
    let mut letter = Map::new();
    letter.insert("position".to_owned(), position.to_string().into());
    letter.extend(written_ms.filter(|ms| *ms >= 0).map(|ms| ("written_ms".to_owned(), ms.into())));
    for (name, header) in [("reason", REASON), ("detail", DETAIL), ("source", SOURCE), ("definition", DEFINITION), ("version", VERSION), ("time", TIME)] {
        letter.extend(headers.text(header).map(|text| (name.to_owned(), text.into())));
    }
    letter.insert("replays".to_owned(), headers.replays().into());
    letter
}

fn show(flags: &Show, environment: &Environment) -> Result<(), Error> {
    let (_, cluster) = flags.connection.open(environment)?;
    let found = fetch(&cluster, &cluster.consumer("expressway-dlq")?, &flags.position)?;
    if found.headers.last(REASON).is_none() {
        return Err(Error::Input(format!("the record {} is no dead letter: it has no header {REASON}", flags.position)));
    }
    let mut out = Output::new();
    match flags.format {
        Format::Text => out.write(shown(&flags.position, &found).as_bytes())?,
        Format::Json => {
            let mut letter = letter_json(&flags.position, &found.headers, found.time_ms);
            let mut own = found.headers.clone();
            own.strip_dead_letter();
            let headers: Vec<Value> = own.iter().map(|(name, value)| json!([name, value.map(text_or_hex)])).collect();
            letter.insert("headers".to_owned(), headers.into());
            letter.insert("key".to_owned(), found.key.as_deref().map(text_or_hex).into());
            letter.insert("value".to_owned(), found.value.as_deref().map(text_or_hex).into());
            out.line(&Value::Object(letter).to_string())?;
        }
    }
    out.flush()
}

fn shown(position: &Position, found: &Fetched) -> String {
    let header = |name: &str| found.headers.text(name).unwrap_or_default();
    let time = found.time_ms.and_then(|ms| u64::try_from(ms).ok()).map(|ms| time_text(Timestamp(ms))).unwrap_or_default();
    let mut text = format!("{position}, written {time}\n");
    for (label, value) in [
        ("reason", format!("{}: {}", header(REASON), header(DETAIL))),
        ("source", header(SOURCE)),
        ("ran", format!("{}, version {}", header(DEFINITION), header(VERSION))),
        ("replays", found.headers.replays().to_string()),
        ("key", found.key.as_deref().map_or_else(|| "none".to_owned(), lossy)),
    ] {
        text += &format!("  {label:<9}{value}\n");
    }
    let mut own = found.headers.clone();
    own.strip_dead_letter();
    for (name, value) in own.iter() {
        text += &format!("  header   {name}: {}\n", value.map_or_else(|| "null".to_owned(), lossy));
    }
    match &found.value {
        None => text + "  value    none\n",
        Some(value) => text + &format!("  value    {} bytes\n{}\n", value.len(), lossy(value)),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text, or an object with the bytes in hexadecimal where they are none.
fn text_or_hex(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({"hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}), |text| text.into())
}
