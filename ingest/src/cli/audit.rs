//! `expressway audit`: proof that every record of a range has its end.

use clap::Args;

use super::connection::{ConnectionFlags, offsets, pipeline_of, since, table};
use super::output::{Output, tell};
use super::{Environment, Format};
use crate::config::{self, Config};
use crate::error::Error;
use crate::operations::audit::{Account, Behind, OFFSETS_MAX, Order, Report, audit};
use crate::operations::cluster::{Cluster, Range};
use crate::operations::interrupt::Interrupt;
use crate::operations::selection::{Offsets, Selection};
use crate::pipeline::{OnNull, ResultHeaders};

/// Flags of `audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  expressway audit heartbeats --config service.yaml\n  expressway audit heartbeats --config service.yaml --partition 0 --offset 0..100000 --format json\n  expressway audit heartbeats --brokers localhost:9092 --results heartbeats-results --dead-letters heartbeats-dead-letters\n\nReads the range, then all results and dead letters, and matches them by the header expressway-source. Without --offset the range goes up to what the pipeline's group has committed, and there every record must have its end; how many offsets lie behind it is told (not_judged in JSON), and --offset judges them too. A record without one is missing where the group has committed past it, and unfinished where it has not; the topics are named by the configuration's pipeline or by --results and --dead-letters. Offsets without a record (removed by compaction, transaction markers, aborted transactions) are counted as gaps and owe nothing. Duplicates are counted and named; they are no fault.\n\nExit codes: 0 every record has its end, 1 one is missing or unfinished, 3 a topic cannot be read."
)]
pub(super) struct Flags {
    /// The source topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Offsets to audit, the second is the one behind the last; up to what is committed when absent
    #[arg(long, env = "EXPRESSWAY_OFFSET", value_name = "FROM..TO", value_parser = offsets)]
    offset: Option<Offsets>,
    /// Only this partition; all when absent, and --offset is cut to what each of them holds
    #[arg(long, env = "EXPRESSWAY_PARTITION", value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The pipeline whose books are audited, where several read the topic
    #[arg(long, env = "EXPRESSWAY_PIPELINE", value_name = "NAME")]
    pipeline: Option<String>,
    /// Topic of results, where the configuration does not say
    #[arg(long, env = "EXPRESSWAY_RESULTS", value_name = "TOPIC", requires = "dead_letters")]
    results: Option<String>,
    /// Topic of dead letters, where the configuration does not say
    #[arg(long, env = "EXPRESSWAY_DEAD_LETTERS", value_name = "TOPIC", requires = "results")]
    dead_letters: Option<String>,
    /// Read results and dead letters only from this time on, which is faster: before the range was begun, or ends are missed
    #[arg(long, env = "EXPRESSWAY_ENDS_SINCE", value_name = "TIME", value_parser = since)]
    ends_since: Option<i64>,
    /// How many missing records and how many duplicates are named
    #[arg(long, env = "EXPRESSWAY_LIMIT", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: u32,
    /// Form of the output
    #[arg(long, env = "EXPRESSWAY_FORMAT", value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    connection: ConnectionFlags,
}

pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<(), Error> {
    let (config, cluster) = flags.connection.open(environment)?;
    let interrupt = Interrupt::listen()?;
    let pipeline = pipeline_of(&config, &flags.topic, flags.pipeline.as_deref())?;
    if let Some(pipeline) = pipeline {
        is_told_apart(&config, pipeline, &flags.topic)?;
    }
    let order = flags.order(&cluster, pipeline)?;
    let offsets: u64 = order.ranges.iter().map(|range| u64::try_from(range.to - range.from).unwrap_or(0)).sum();
    if offsets > OFFSETS_MAX {
        return Err(Error::Usage(format!("the range has {offsets} offsets, limit is {OFFSETS_MAX}; audit it in parts with --partition and --offset")));
    }
    let report = audit(&cluster, &order, &interrupt, &mut tell)?;
    let mut out = Output::new();
    match flags.format {
        Format::Text => out.write(told(&order, &report).as_bytes())?,
        Format::Json => out.line(&report.json(&order.topic).to_string())?,
    }
    out.flush()?;
    if report.is_balanced() {
        return Ok(());
    }
    let total = report.total();
    Err(Error::Input(format!(
        "the books do not balance: {} records are missing, {} unfinished, {} ends are of unknown records",
        total.missing, total.unfinished, report.unknown
    )))
}

/// Results of two pipelines that run the same records must say whose they are, or one's would stand for the other's.
fn is_told_apart(config: &Config, pipeline: &config::Pipeline, topic: &str) -> Result<(), Error> {
    let is_other = |other: &&config::Pipeline| other.name != pipeline.name && other.result_topic == pipeline.result_topic;
    let reads = |other: &&config::Pipeline| other.source_topics.iter().any(|source| source == topic);
    match config.pipelines.iter().filter(is_other).find(reads) {
        Some(other) if [pipeline, other].iter().any(|one| one.result_headers == ResultHeaders::Source) => Err(Error::Usage(format!(
            "the pipelines {} and {} read {topic} and write to {} without naming themselves; set result_headers: full for both, or give each a result topic of its own",
            pipeline.name, other.name, pipeline.result_topic
        ))),
        _ => Ok(()),
    }
}

impl Flags {
    fn order(&self, cluster: &Cluster, pipeline: Option<&config::Pipeline>) -> Result<Order, Error> {
        let (results, dead_letters) = match (&self.results, &self.dead_letters, pipeline) {
            (Some(results), Some(dead_letters), _) => (results.clone(), dead_letters.clone()),
            (_, _, Some(pipeline)) => (pipeline.result_topic.clone(), pipeline.dead_letter_topic.clone()),
            (_, _, None) => {
                return Err(Error::Usage(format!("no pipeline of the configuration reads {}; give --config, or --results and --dead-letters", self.topic)));
            }
        };
        let consumer = cluster.consumer(pipeline.map_or("expressway-audit", |pipeline| pipeline.group_id.as_str()))?;
        let selection = Selection { partition: self.partition, offsets: self.offset, since_ms: None };
        let mut ranges = selection.resolve(cluster, &consumer, &self.topic)?;
        let committed = pipeline.map(|_| committed(cluster, &consumer, &self.topic, &ranges)).transpose()?;
        let ends: Vec<i64> = ranges.iter().map(|range| range.to).collect();
        if let (None, Some(committed)) = (self.offset, &committed) {
            ranges.iter_mut().zip(committed).for_each(|(range, committed)| range.to = range.to.min(*committed).max(range.from));
        }
        let behind = Behind::of(&ranges, &ends);
        Ok(Order {
            topic: self.topic.clone(),
            ranges,
            committed,
            results,
            dead_letters,
            behind,
            definition: pipeline.map(|pipeline| pipeline.name.clone()),
            since_ms: self.ends_since,
            skips_null: pipeline.is_some_and(|pipeline| pipeline.on_null == OnNull::Skip),
            named_max: usize::try_from(self.limit).expect("at most 100,000"),
        })
    }
}

/// Up to where the group has committed each range's partition.
fn committed(
    cluster: &Cluster,
    consumer: &rdkafka::consumer::BaseConsumer<crate::kafka::client::Context>,
    topic: &str,
    ranges: &[Range],
) -> Result<Vec<i64>, Error> {
    let partitions: Vec<i32> = ranges.iter().map(|range| range.partition).collect();
    let found = cluster.committed(consumer, topic, &partitions)?;
    Ok(found.into_iter().map(|committed| committed.offset.unwrap_or(0)).collect())
}

/// The report for people.
fn told(order: &Order, report: &Report) -> String {
    let total = report.total();
    let row = |name: String, account: &Account| {
        let counts = [
            account.records,
            account.succeeded,
            account.failed + account.timed_out,
            account.dead_lettered,
            account.skipped,
            account.unfinished,
            account.missing,
            account.duplicates,
            account.gaps,
        ];
        std::iter::once(name).chain(counts.map(|count| count.to_string())).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> =
        report.accounts.iter().map(|account| row(format!("{}/{} {}..{}", order.topic, account.partition, account.from, account.to), account)).collect();
    rows.push(row("all".to_owned(), &total));
    let mut text = table(&["range", "records", "succeeded", "failed", "dead letters", "skipped", "unfinished", "missing", "duplicates", "gaps"], &rows);
    for (partition, offset) in &report.missing {
        text += &format!("missing    {}/{partition}/{offset}\n", order.topic);
    }
    for (partition, offset, ends) in &report.duplicates {
        text += &format!("duplicate  {}/{partition}/{offset} has {ends} ends\n", order.topic);
    }
    if total.gaps > 0 {
        let why = match report.is_compacted {
            Some(true) => "the topic is compacted, which has removed them; transaction markers and aborted records look the same",
            Some(false) => "transaction markers and aborted records, for the topic is not compacted",
            None => "removed by compaction, or transaction markers and aborted records; the broker does not say whether the topic is compacted",
        };
        text += &format!("gaps       {} offsets hold no record: {why}\n", total.gaps);
    }
    if report.unknown > 0 {
        text += &format!("unknown    {} results or dead letters name offsets that {} has never reached\n", report.unknown, order.topic);
    }
    if report.foreign > 0 {
        text +=
            &format!("note       {} records of {} and {} belong to another definition or name no source\n", report.foreign, order.results, order.dead_letters);
    }
    if report.ends_are_cut && total.missing > 0 {
        text += &format!(
            "note       {} or {} has offsets without a record (deleted, compacted, left out by --ends-since, or transaction markers); what is missing may have stood there\n",
            order.results, order.dead_letters
        );
    }
    if let Some(Behind { offsets, from }) = report.behind {
        text += &format!("note       offsets behind the committed ones that were not judged: {offsets}; --offset {from}.. judges them\n");
    }
    let sum = total.succeeded + total.failed + total.timed_out + total.dead_lettered + total.skipped;
    text += &format!(
        "{} records = {sum} ended + {} unfinished + {} missing; {}\n",
        total.records,
        total.unfinished,
        total.missing,
        if report.is_balanced() { "the books balance" } else { "the books do not balance" }
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, load};

    fn check(headers: [&str; 2]) -> Result<(), String> {
        let pipeline = |name: &str, headers: &str| {
            format!(
                "{{name: {name}, group_id: {name}, definition: d, source_topics: [in], result_topic: out, dead_letter_topic: dead, result_headers: {headers}}}"
            )
        };
        let text = format!("pipelines: [{}, {}]", pipeline("a", headers[0]), pipeline("b", headers[1]));
        let config = load(&Layers { file: Some(("test.yaml", &text)), ..Layers::default() }).expect("valid").config;
        is_told_apart(&config, &config.pipelines[0], "in").map_err(|error| error.to_string())
    }

    #[test]
    fn results_of_two_pipelines_must_name_their_own() {
        assert_eq!(check(["full", "full"]), Ok(()));
        for headers in [["source", "full"], ["full", "source"], ["source", "source"]] {
            assert!(check(headers).expect_err("ambiguous").contains("the pipelines a and b read in"), "{headers:?}");
        }
    }
}
