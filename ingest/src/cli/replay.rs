//! `expressway replay`: records of a source topic, run again.
//!
//! They are published again, so that the service that reads the topic runs them like any other record, under its guarantees, limits and metrics, and while it goes on with what arrives; a group's committed offset is never turned back for it, which would need the service stopped. To run records under another definition, give `--to` a topic that a pipeline with that definition reads; `trace` runs a single one without any service.

use clap::Args;
use serde_json::json;

use super::connection::{ConnectionFlags, Progress, interrupted, offsets, since};
use super::output::Output;
use super::{Environment, Format};
use crate::error::Error;
use crate::operations::bring_back::{Kind, Order, bring_back};
use crate::operations::interrupt::Interrupt;
use crate::operations::memory::Reasons;
use crate::operations::selection::{Offsets, Selection};

/// Flags of `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  expressway replay heartbeats --config service.yaml --since 2026-11-21T10:00:00Z --dry-run\n  expressway replay heartbeats --config service.yaml --partition 0 --offset 1200..1300\n  expressway replay heartbeats --config service.yaml --since 1d --to heartbeats-trial --rate 5000\n\nThe records are published once more, to the partition they stand in, with the headers expressway-replays and expressway-origin: new records with new offsets, which the running service executes like any other. Only what stood in the topic when the command began is replayed, and no record that is itself a replay (more than one with --max-replays). With --to they go to another topic, placed by their keys, where a pipeline with another definition can run them.\n\nWhat has been replayed is remembered beside the offsets of the group --group, which is told on standard error: a command that was interrupted goes on where it stopped, and one that is given twice replays nothing twice, unless --again is given. After kill -9, the records of the last second may come twice. Without --config, --group and --set kafka.group_id=… the group is expressway-replay, whatever group_id the service has: what was replayed with its --config is not known there, and comes again. Kafka forgets what a group remembers a week after its last commit (offsets.retention.minutes).\n\nExit codes: 0 done, 3 the broker failed or the command was interrupted."
)]
pub(super) struct Flags {
    /// The topic to read
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Only records of this partition
    #[arg(long, env = "EXPRESSWAY_PARTITION", value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Records at these offsets; the second is the one behind the last. This or --since is needed
    #[arg(long, env = "EXPRESSWAY_OFFSET", value_name = "FROM..TO", value_parser = offsets, conflicts_with = "since")]
    offset: Option<Offsets>,
    /// Records written since: 2026-11-21T10:00:00Z, or how long ago, such as 2h
    #[arg(long, env = "EXPRESSWAY_SINCE", value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    /// Publish to this topic in place of the one they stand in
    #[arg(long, env = "EXPRESSWAY_TO", value_name = "TOPIC")]
    to: Option<String>,
    /// Records that have been brought back that often are passed over
    #[arg(long, env = "EXPRESSWAY_MAX_REPLAYS", value_name = "N", default_value_t = 1)]
    max_replays: u32,
    /// Also what has been replayed before
    #[arg(long, env = "EXPRESSWAY_AGAIN")]
    again: bool,
    /// Only count what would be replayed
    #[arg(long, env = "EXPRESSWAY_DRY_RUN")]
    dry_run: bool,
    /// Records a second, at most
    #[arg(long, env = "EXPRESSWAY_RATE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Group under which is remembered what has been replayed; kafka.group_id with -replay behind it, and the topic of --to, when absent
    #[arg(long, env = "EXPRESSWAY_GROUP", value_name = "ID")]
    group: Option<String>,
    /// Form of the output
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: ConnectionFlags,
}

pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<(), Error> {
    if flags.offset.is_none() && flags.since.is_none() {
        return Err(Error::Usage("give --offset or --since: a whole topic is replayed by --offset 0..".to_owned()));
    }
    let (config, cluster) = flags.connection.open(environment)?;
    let interrupt = Interrupt::listen()?;
    let to = flags.to.as_ref().map(|to| format!("-{to}")).unwrap_or_default();
    let group = flags.connection.memory_group(environment, &config, flags.group.as_deref(), &format!("-replay{to}"));
    let consumer = cluster.consumer(&group)?;
    if let Some(to) = &flags.to {
        cluster.partitions(&consumer, to)?;
    }
    let selection = Selection { partition: flags.partition, offsets: flags.offset, since_ms: flags.since };
    let order = Order {
        ranges: selection.resolve(&cluster, &consumer, &flags.topic)?,
        topic: flags.topic.clone(),
        kind: flags.to.clone().filter(|to| *to != flags.topic).map_or(Kind::Records, Kind::RecordsTo),
        reasons: Reasons::ALL,
        replays_max: flags.max_replays,
        group,
        again: flags.again,
        dry_run: flags.dry_run,
        rate: flags.rate,
    };
    drop(consumer);
    let summary = bring_back(&cluster, &order, &interrupt, &mut Progress)?;
    let total = summary.total();
    let mut out = Output::new();
    match flags.format {
        Format::Text => {
            let done = if order.dry_run { "would be replayed" } else { "replayed" };
            let foreign = if summary.foreign > 0 { format!(", {} with unreadable headers", summary.foreign) } else { String::new() };
            out.line(&format!(
                "{}: {} {done}, {} replayed before, {} passed over as replays themselves{foreign}",
                order.topic, total.brought_back, total.before, total.parked
            ))?;
        }
        Format::Json => {
            let counts = json!({"topic": order.topic, "dry_run": order.dry_run, "complete": summary.is_whole, "replayed": total.brought_back, "before": total.before, "replays_themselves": total.parked, "foreign": summary.foreign});
            out.line(&counts.to_string())?;
        }
    }
    out.flush()?;
    if summary.is_whole { Ok(()) } else { Err(interrupted()) }
}
