//! Sweeps: a case over the values of one of its parameters, as numbers and as a chart.
//!
//! A sweep runs the public functions of the cases, so a point of it is what the case reports. Those of Kafka need a broker; all others run in this process, the one over batch sizes on mock brokers, whose rate says nothing about a real broker's, only how it changes with the batch.

mod chart;

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

pub use chart::svg;

use crate::cases::{self, Report, heartbeat_shapes, payload, scale, transitions};
use crate::definitions::Work;
use crate::error::Error;
use crate::messages::Messages;
use crate::mock::Stand;
use crate::outcome::Outcome;
use crate::spread::{Spread, number, per_second};
use crate::timing::{Stage, Workload, time};
use crate::workflow::{HEARTBEAT, program};
use crate::{probe, reference};
use expressway_ingest::random::Random;

/// Passes of each point: fewer than of a case, since there are many points.
const PASSES: u32 = 15;

/// Records of a run on mock brokers.
const MOCK_RECORDS: u32 = 150_000;

/// Rounds over all batch sizes.
const MOCK_ROUNDS: usize = 3;

/// Flags of `sweep`.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Brokers for the sweeps that need some
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Records of each Kafka run
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub records: u64,
    /// Rounds of each Kafka run
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
}

type Run = fn(&Flags, &mut dyn FnMut(&str)) -> Result<Chart, Error>;

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// What it is called.
    pub name: &'static str,
    /// What it varies, in a line.
    pub summary: &'static str,
    /// Whether it needs `--brokers`.
    pub needs_brokers: bool,
    run: Run,
}

/// All sweeps.
pub const SWEEPS: &[Sweep] = &[
    Sweep { name: "transitions", summary: "transitions per execution: 1 to 1,000", needs_brokers: false, run: over_transitions },
    Sweep { name: "payload", summary: "bytes of a message: 256 B to 256 KB", needs_brokers: false, run: over_payload },
    Sweep { name: "shapes", summary: "shapes of messages: 1 to 1,000", needs_brokers: false, run: over_shapes },
    Sweep { name: "failing", summary: "share of records that fail or are broken: 0 to 50 %", needs_brokers: false, run: over_failing },
    Sweep { name: "batch", summary: "records of a shard's batch: 1 to 1,024, on mock brokers", needs_brokers: false, run: over_batch },
    Sweep { name: "cores", summary: "cores: 1 and 2", needs_brokers: false, run: over_cores },
    Sweep { name: "kafka-shards", summary: "shards of the pipeline: 1 and 2, Kafka to Kafka", needs_brokers: true, run: over_shards },
    Sweep { name: "kafka-partitions", summary: "partitions: 1 to 16, Kafka to Kafka", needs_brokers: true, run: over_partitions },
];

/// What a sweep has measured, with all that a chart says.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The sweep.
    pub name: &'static str,
    /// Above the chart.
    pub title: &'static str,
    /// What is varied, with its unit.
    pub x: &'static str,
    /// What is measured, with its unit.
    pub y: &'static str,
    /// The values that are tried.
    pub steps: Vec<String>,
    /// Lines.
    pub series: Vec<Series>,
}

/// A line of a chart: a point for each step.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// In the order of the steps.
    pub points: Vec<Point>,
}

/// A measurement with its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// What counts.
    pub y: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Point {
    /// The median of a spread.
    fn median(spread: Spread) -> Self {
        Self { y: spread.median, min: spread.min, max: spread.max }
    }

    /// Times of executions, the best pass first; up to the median one, since the worst tell of the machine.
    fn best(outcome: &Outcome, by: f64) -> Self {
        Self { y: outcome.spread.min / by, min: outcome.spread.min / by, max: outcome.spread.median / by }
    }
}

impl Sweep {
    /// Runs it.
    ///
    /// # Errors
    /// A case has no result, or brokers are missing.
    pub fn run(&self, flags: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
        (self.run)(flags, progress)
    }
}

/// The sweep of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Sweep> {
    SWEEPS.iter().find(|sweep| sweep.name == name)
}

impl Chart {
    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let point =
            |(step, point): (&String, &Point)| json!({"at": step, "value": number(point.y, 3), "min": number(point.min, 3), "max": number(point.max, 3)});
        let series = |series: &Series| json!({"name": series.name, "points": self.steps.iter().zip(&series.points).map(point).collect::<Vec<_>>()});
        json!({"case": "sweep", "sweep": self.name, "over": self.x, "measured": self.y, "series": self.series.iter().map(series).collect::<Vec<_>>()})
    }

    /// As a table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("{}: {} over {}", self.name, self.y, self.x)];
        let cells =
            |first: &str, cells: &mut dyn Iterator<Item = String>| format!("  {first:<22}{}", cells.map(|cell| format!("{cell:>14}")).collect::<String>());
        lines.push(cells("", &mut self.steps.iter().cloned()));
        for series in &self.series {
            lines.push(cells(&series.name, &mut series.points.iter().map(|point| number(point.y, if point.y < 100.0 { 2 } else { 0 }).to_string())));
        }
        lines.join("\n")
    }
}

impl From<&Chart> for Report {
    fn from(chart: &Chart) -> Self {
        Self { json: chart.to_json(), text: chart.to_text(), wrong: None }
    }
}

fn names<T: ToString>(steps: &[T]) -> Vec<String> {
    steps.iter().map(T::to_string).collect()
}

fn over_transitions(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [1_u32, 10, 100, 1_000];
    let mut series = Vec::new();
    for kind in Work::ALL {
        let mut points = Vec::new();
        for states in steps {
            let workload = transitions::workload(kind, states, (2_000_000 / states).clamp(500, 20_000))?;
            let timings = time(&[Stage::of(&workload)], PASSES)?;
            points.push(Point::best(&Outcome::of("transitions", Vec::new(), &timings[0]), f64::from(states)));
        }
        progress(&format!("transitions, {}: done", kind.name()));
        series.push(Series { name: kind.name().to_owned(), points });
    }
    let title = "Long executions: time a transition, reading and writing included";
    Ok(Chart { name: "transitions", title, x: "transitions per execution", y: "time of the execution by its transitions (ns)", steps: names(&steps), series })
}

fn over_payload(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [256, 1_024, 10_240, 102_400, payload::BYTES_MAX];
    let mut series = Vec::new();
    for style in payload::Style::ALL {
        let points: Result<Vec<_>, Error> = steps
            .iter()
            .map(|&bytes| {
                let outcome = payload::run(style, bytes, 4 << 20, PASSES)?;
                let mean = outcome.figures.iter().find(|figure| figure.key == "input_bytes_mean").map_or_else(|| f64::from(bytes), |figure| figure.value);
                Ok(Point::best(&outcome, mean))
            })
            .collect();
        progress(&format!("payload, {}: done", style.name()));
        series.push(Series { name: style.name().to_owned(), points: points? });
    }
    let steps = ["256 B", "1 KiB", "10 KiB", "100 KiB", "256 KiB"];
    Ok(Chart { name: "payload", title: "Large documents: time a byte of a message", x: "message", y: "time a byte (ns)", steps: names(&steps), series })
}

fn over_shapes(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [1_u32, 4, 8, 64, 1_000];
    let points: Result<Vec<_>, Error> = steps
        .iter()
        .map(|&shapes| {
            let outcome = heartbeat_shapes::run(shapes, 1, 50_000, PASSES)?;
            progress(&format!("shapes, {shapes}: done"));
            Ok(Point::best(&outcome, 1.0))
        })
        .collect();
    let series = vec![Series { name: "heartbeat".to_owned(), points: points? }];
    Ok(Chart { name: "shapes", title: "Message shapes mixed at random", x: "shapes", y: "time an execution (ns)", steps: names(&steps), series })
}

/// Messages of which so many in a hundred fail.
type Inputs = fn(u32) -> Messages;

fn over_failing(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [0_u32, 1, 10, 50];
    let kinds: [(&str, Inputs); 2] = [("execution fails", failing), ("record is broken", |percent| Messages::generate_broken(50_000, 1, percent * 100))];
    let mut series = Vec::new();
    for (name, inputs) in kinds {
        let mut points = Vec::new();
        for percent in steps {
            let workload = Workload { program: program(HEARTBEAT, "heartbeat")?, inputs: vec![inputs(percent)], expected: Box::new(reference::heartbeat) };
            points.push(Point::best(&Outcome::of("failing", Vec::new(), &time(&[Stage::of(&workload)], PASSES)?[0]), 1.0));
        }
        progress(&format!("failing, {name}: done"));
        series.push(Series { name: name.to_owned(), points });
    }
    let title = "Records that fail: time a record, good and bad ones together";
    Ok(Chart { name: "failing", title, x: "share of failing records (%)", y: "time a record (ns)", steps: names(&steps), series })
}

/// Heartbeats of which so many in a hundred are of a type that the workflow fails for, and no others.
fn failing(percent: u32) -> Messages {
    let mut random = Random::new(9);
    let retyped = |message: &[u8]| {
        let text = String::from_utf8_lossy(message).replacen(r#""type":"probe""#, r#""type":"heartbeat""#, 1);
        let text = text.replacen(r#""type":"alert""#, r#""type":"heartbeat""#, 1);
        if random.below(100) < u64::from(percent) { text.replacen(r#""type":"heartbeat""#, r#""type":"unknown""#, 1) } else { text }
    };
    Messages::generate(50_000, 1).iter().map(retyped).collect()
}

fn over_batch(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [1_u32, 16, 64, 256, 1_024];
    let stand = Stand::filled_with(&Messages::generate(MOCK_RECORDS, 1))?;
    let program = Arc::new(program(HEARTBEAT, "heartbeat")?);
    let mut rates = vec![Vec::new(); steps.len()];
    for round in 0..MOCK_ROUNDS {
        for (batch_records_max, rates) in steps.into_iter().zip(&mut rates) {
            let settings = stand.settings(&format!("batch-{batch_records_max}-{round}"), 1);
            let elapsed = stand.time(expressway_ingest::pipeline::Settings { batch_records_max, ..settings }, &program)?;
            rates.push(per_second(u64::from(MOCK_RECORDS), elapsed));
        }
        progress(&format!("batch, round {}: done", round + 1));
    }
    let points = rates.into_iter().map(|rates| Point::median(Spread::of(rates))).collect();
    let series = vec![Series { name: "one shard, mock brokers in the process".to_owned(), points }];
    Ok(Chart { name: "batch", title: "Records of a shard's batch", x: "records a batch, at most", y: "executions a second", steps: names(&steps), series })
}

fn over_cores(_: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let last = probe::processors().max(1);
    let (mut engine, mut machine) = (vec![Point { y: 1.0, min: 1.0, max: 1.0 }], vec![Point { y: 1.0, min: 1.0, max: 1.0 }]);
    for cores in 2..=last {
        let outcome = scale::run(cores as usize, 50_000, PASSES)?;
        let point = |key: &str| {
            let figure = outcome.figures.iter().find(|figure| figure.key == key);
            let spread = figure.and_then(|figure| figure.spread);
            figure.zip(spread).map(|(figure, spread)| Point { y: figure.value, min: spread.min.min(figure.value), max: spread.max.max(figure.value) })
        };
        engine.extend(point("factor"));
        machine.extend(point("machine_factor"));
        progress(&format!("cores, {cores}: done"));
    }
    let series = vec![Series { name: "heartbeat".to_owned(), points: engine }, Series { name: "a loop in registers".to_owned(), points: machine }];
    let steps: Vec<u32> = (1..=last).collect();
    Ok(Chart { name: "cores", title: "More cores", x: "cores", y: "times the executions of one core", steps: names(&steps), series })
}

fn over_shards(flags: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [1_u32, 2];
    let series = kafka(flags, &steps.map(|shards| ["--shards".to_owned(), shards.to_string()]), progress)?;
    Ok(Chart { name: "kafka-shards", title: "Shards, Kafka to Kafka", x: "shards", y: "records a second", steps: names(&steps), series })
}

fn over_partitions(flags: &Flags, progress: &mut dyn FnMut(&str)) -> Result<Chart, Error> {
    let steps = [1_u32, 2, 4, 8, 16];
    let series = kafka(flags, &steps.map(|partitions| ["--partitions".to_owned(), partitions.to_string()]), progress)?;
    Ok(Chart { name: "kafka-partitions", title: "Partitions, Kafka to Kafka", x: "partitions", y: "records a second", steps: names(&steps), series })
}

/// `kafka-heartbeat` with further flags for each point: the workflow and its floor.
fn kafka(flags: &Flags, points: &[[String; 2]], progress: &mut dyn FnMut(&str)) -> Result<Vec<Series>, Error> {
    let Some(brokers) = &flags.brokers else { return Err(Error::Usage("this sweep needs --brokers".to_owned())) };
    let case = cases::find("kafka-heartbeat").ok_or_else(|| Error::Usage("there is no case kafka-heartbeat".to_owned()))?;
    let (records, rounds) = (flags.records.to_string(), flags.rounds.to_string());
    let (mut workflow, mut floor) = (Vec::new(), Vec::new());
    for further in points {
        let asked = ["--brokers", brokers, "--records", &records, "--rounds", &rounds, "--rate", "0", &further[0], &further[1]];
        let report = case.run_with(&asked, progress)?;
        report.wrong.map_or(Ok(()), Err)?;
        for (points, key) in [(&mut workflow, "executions_per_s"), (&mut floor, "floor_records_per_s")] {
            let at = |name: &str| report.json["spread"][key][name].as_f64().unwrap_or(0.0);
            points.push(Point { y: at("median"), min: at("min"), max: at("max") });
        }
    }
    Ok(vec![Series { name: "workflow".to_owned(), points: workflow }, Series { name: "floor: the same loop without it".to_owned(), points: floor }])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sweep_has_a_name_of_its_own() {
        let names: BTreeSet<_> = SWEEPS.iter().map(|sweep| sweep.name).collect();
        assert_eq!(names.len(), SWEEPS.len());
        assert!(find("payload").is_some() && find("nothing").is_none());
    }

    #[test]
    fn sweeps_that_need_brokers_say_so() {
        let flags = Flags { brokers: None, records: 1, rounds: 1 };
        for sweep in SWEEPS.iter().filter(|sweep| sweep.needs_brokers) {
            assert_eq!(sweep.run(&flags, &mut |_| {}).unwrap_err().exit_code(), 2, "{}", sweep.name);
        }
    }

    #[test]
    fn failing_messages_come_in_their_share() {
        let share = |percent: u32| {
            let messages = failing(percent);
            messages.iter().filter(|message| message.windows(16).any(|bytes| bytes == br#""type":"unknown""#)).count() * 100 / messages.len()
        };
        assert_eq!(share(0), 0);
        assert!((48..=52).contains(&share(50)), "{}", share(50));
    }

    #[test]
    fn a_chart_is_a_table_and_an_object() {
        let point = Point { y: 12.5, min: 12.0, max: 13.0 };
        let series = vec![Series { name: "one".to_owned(), points: vec![point, Point { y: 1_000.4, ..point }] }];
        let chart = Chart { name: "trial", title: "Trial", x: "size (B)", y: "time (ns)", steps: names(&[1, 2]), series };
        assert_eq!(chart.to_json()["series"][0]["points"][0], json!({"at": "1", "value": number(12.5, 3), "min": number(12.0, 3), "max": number(13.0, 3)}));
        let table: Vec<Vec<String>> = chart.to_text().lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        assert_eq!(table, [vec!["1", "2"], vec!["one", "12.50", "1000"]]);
    }
}
