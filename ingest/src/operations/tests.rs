//! Commands against the client library's mock cluster: the real client, the real protocol, in one process.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use super::audit::{self, audit};
use super::bring_back::{Kind, Listener, Order, Summary, Verdict, bring_back};
use super::cluster::{Cluster, Range};
use super::header::{HeaderList, Position};
use super::interrupt::Interrupt;
use super::memory::Reasons;
use super::reader::{Turn, fetch, read};
use super::selection::{Offsets, Selection};
use crate::error::Error;
use crate::kafka::damage::{self, Damage};

const PATIENCE: Duration = Duration::from_secs(60);

/// A mock cluster with topics of two partitions.
struct Stage {
    cluster: Cluster,
    producer: BaseProducer,
    /// Last, so that it is dropped last: the clients talk to it until they are closed.
    _mock: MockCluster<'static, DefaultProducerContext>,
}

/// A record of a test: partition, key, value, headers.
type Sent<'s> = (i32, &'s str, Option<&'s str>, Vec<(&'s str, String)>);

/// A record read back: key, value, headers by name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    partition: i32,
    key: String,
    value: Option<String>,
    headers: BTreeMap<String, String>,
}

impl Stage {
    fn new(topics: &[&str]) -> Self {
        let mock = MockCluster::new(1).expect("a mock cluster");
        topics.iter().for_each(|topic| mock.create_topic(topic, 2, 1).expect("a topic"));
        let brokers = mock.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &brokers).set("linger.ms", "1").create().expect("a producer");
        // The mock answers a fetch that found nothing only when its wait is over.
        let options = [("fetch.wait.max.ms", "5"), ("linger.ms", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self { cluster: Cluster::new(&brokers, &options), producer, _mock: mock }
    }

    fn send(&self, topic: &str, records: &[Sent<'_>]) {
        for (partition, key, value, headers) in records {
            let empty = OwnedHeaders::new_with_capacity(headers.len());
            let headers = headers.iter().fold(empty, |list, (key, value)| list.insert(Header { key, value: Some(value) }));
            let mut record = BaseRecord::<str, str>::to(topic).key(*key).partition(*partition).headers(headers);
            record.payload = *value;
            self.producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        self.producer.flush(PATIENCE).expect("acknowledged");
    }

    /// Dead letters of `in/PARTITION/OFFSET` with these reasons.
    fn send_letters(&self, letters: &[(i32, i64, &str, u32)]) {
        for &(partition, offset, reason, replays) in letters {
            let source = format!("in/{partition}/{offset}");
            let mut headers = vec![("trace", format!("t{offset}"))];
            if replays > 0 {
                headers.extend([("expressway-replays", replays.to_string()), ("expressway-origin", "in/1/1000".to_owned())]);
            }
            headers.extend([("expressway-reason", reason.to_owned()), ("expressway-detail", "why".to_owned()), ("expressway-source", source)]);
            headers.extend([("expressway-definition", "m".to_owned()), ("expressway-version", "v".to_owned()), ("expressway-time", "now".to_owned())]);
            self.send("dead", &[(partition, "device", Some(&format!("value {offset}")), headers)]);
        }
    }

    fn all(&self, topic: &str) -> Vec<Got> {
        let consumer = self.cluster.consumer("tests").expect("a consumer");
        let ranges = self.cluster.whole(&consumer, topic).expect("bounds");
        let mut got = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let whole = read(&consumer, topic, &ranges, &mut |turn| {
            if let Turn::Record(message) = turn {
                let headers = HeaderList::read(message).expect("UTF-8");
                got.push(Got {
                    partition: message.partition(),
                    key: message.key().map(text).unwrap_or_default(),
                    value: message.payload().map(text),
                    headers: headers.iter().map(|(name, value)| (name.to_owned(), value.map(text).unwrap_or_default())).collect(),
                });
            }
            Ok(ControlFlow::Continue(()))
        });
        assert!(whole.expect("read"));
        got
    }

    fn order(&self, topic: &str, kind: Kind) -> Order {
        let consumer = self.cluster.consumer("tests").expect("a consumer");
        let ranges = self.cluster.whole(&consumer, topic).expect("bounds");
        let (topic, group) = (topic.to_owned(), "g".to_owned());
        Order { topic, ranges, kind, reasons: Reasons::ALL, replays_max: 3, group, again: false, dry_run: false, rate: None }
    }

    fn carry_out(&self, order: &Order) -> Summary {
        bring_back(&self.cluster, order, &Interrupt::default(), &mut Quiet).expect("done")
    }

    fn redrive(&self, change: impl FnOnce(&mut Order)) -> (u64, u64, u64, u64) {
        let mut order = self.order("dead", Kind::DeadLetters);
        change(&mut order);
        let total = self.carry_out(&order).total();
        (total.brought_back, total.before, total.parked, total.unasked)
    }
}

struct Quiet;

impl Listener for Quiet {
    fn progress(&mut self, _: &str) {}
    fn seen(&mut self, _: &BorrowedMessage<'_>, _: Verdict) {}
}

fn reasons(code: &str) -> Reasons {
    Reasons::of(&[code.to_owned()]).expect("known")
}

#[test]
fn a_letter_goes_back_to_where_it_came_from_as_it_was() {
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(1, 5, "panic", 0)]);
    stage.send("dead", &[(0, "k", Some("no letter"), vec![("trace", "x".to_owned())])]);
    let summary = stage.carry_out(&stage.order("dead", Kind::DeadLetters));
    assert_eq!((summary.total().brought_back, summary.foreign, summary.is_whole), (1, 1, true));
    let headers = [("trace", "t5"), ("expressway-replays", "1"), ("expressway-origin", "in/1/5")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(stage.all("in"), [Got { partition: 1, key: "device".to_owned(), value: Some("value 5".to_owned()), headers }]);
}

#[test]
fn what_was_brought_back_is_not_brought_back_again_unless_told_to() {
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(0, 1, "panic", 0), (1, 2, "panic", 0)]);
    assert_eq!(stage.redrive(|order| order.dry_run = true), (2, 0, 0, 0));
    assert_eq!(stage.all("in").len(), 0, "a dry run publishes nothing");
    assert_eq!(stage.redrive(|_| ()), (2, 0, 0, 0));
    assert_eq!(stage.redrive(|_| ()), (0, 2, 0, 0));
    stage.send_letters(&[(0, 3, "panic", 0)]);
    assert_eq!(stage.redrive(|_| ()), (1, 2, 0, 0));
    assert_eq!(stage.redrive(|order| order.group = "other".to_owned()), (3, 0, 0, 0), "another group remembers for itself");
    assert_eq!(stage.redrive(|order| order.again = true), (3, 0, 0, 0));
    assert_eq!(stage.all("in").len(), 9);
}

#[test]
fn a_filter_leaves_the_others_to_be_brought_back_later() {
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(0, 1, "panic", 0), (0, 2, "too_deep", 0), (0, 3, "panic", 0), (0, 4, "of_tomorrow", 0)]);
    assert_eq!(stage.redrive(|order| order.reasons = reasons("panic")), (2, 0, 0, 2));
    assert_eq!(stage.redrive(|order| order.ranges = vec![Range { partition: 0, from: 2, to: 4 }]), (1, 1, 0, 0));
    assert_eq!(stage.redrive(|_| ()), (1, 3, 0, 0));
    assert_eq!(stage.all("in").len(), 4);
}

#[test]
fn a_letter_that_failed_too_often_is_parked_until_more_is_allowed() {
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(0, 1, "panic", 2), (0, 2, "panic", 3)]);
    assert_eq!(stage.redrive(|_| ()), (1, 0, 1, 0));
    assert_eq!(stage.redrive(|order| order.replays_max = 4), (1, 1, 0, 0));
    let last = stage.all("in").pop().expect("two records");
    assert_eq!((last.headers["expressway-replays"].as_str(), last.headers["expressway-origin"].as_str()), ("4", "in/1/1000"));
}

#[test]
fn an_interrupted_command_goes_on_where_it_stopped() {
    /// Asks for the end after a number of records.
    struct Impatient<'i>(u64, &'i Interrupt);
    impl Listener for Impatient<'_> {
        fn progress(&mut self, _: &str) {}
        fn seen(&mut self, _: &BorrowedMessage<'_>, verdict: Verdict) {
            if verdict == Verdict::BringBack {
                self.0 -= 1;
            }
            if self.0 == 0 {
                self.1.ask();
            }
        }
    }
    let stage = Stage::new(&["in", "dead"]);
    let letters: Vec<_> = (0..40).map(|offset| (i32::from(offset % 3 == 0), offset, "panic", 0)).collect();
    stage.send_letters(&letters);
    let mut rounds = 0;
    loop {
        let interrupt = Interrupt::default();
        let order = stage.order("dead", Kind::DeadLetters);
        let summary = bring_back(&stage.cluster, &order, &interrupt, &mut Impatient(7, &interrupt)).expect("done");
        rounds += 1;
        if summary.is_whole {
            break;
        }
        assert_eq!(summary.total().brought_back, 7);
    }
    assert_eq!(rounds, 6);
    let mut values: Vec<_> = stage.all("in").into_iter().filter_map(|got| got.value).collect();
    values.sort_by_key(|value| value.len());
    values.dedup();
    assert_eq!((values.len(), stage.all("in").len()), (40, 40), "each exactly once");
}

#[test]
fn two_commands_at_once_are_told_apart() {
    /// Brings everything back itself, in the midst of another command.
    struct Rival<'s>(&'s Stage, bool);
    impl Listener for Rival<'_> {
        fn progress(&mut self, _: &str) {}
        fn seen(&mut self, _: &BorrowedMessage<'_>, _: Verdict) {
            if !std::mem::replace(&mut self.1, true) {
                self.0.redrive(|_| ());
            }
        }
    }
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(0, 1, "panic", 0), (0, 2, "panic", 0)]);
    let order = stage.order("dead", Kind::DeadLetters);
    let outcome = bring_back(&stage.cluster, &order, &Interrupt::default(), &mut Rival(&stage, false));
    let text = outcome.expect_err("the second commit must not cover the first").sentence();
    assert!(text.contains("another command brings back records of dead"), "{text}");
}

#[test]
fn a_record_that_the_broker_refuses_ends_the_command_and_is_not_remembered() {
    let stage = Stage::new(&["in", "dead"]);
    stage.send_letters(&[(0, 1, "panic", 0)]);
    // To a partition that its topic does not have.
    let headers = vec![("expressway-reason", "panic".to_owned()), ("expressway-source", "in/9/2".to_owned())];
    stage.send("dead", &[(0, "k", Some("v"), headers)]);
    let order = stage.order("dead", Kind::DeadLetters);
    let text = bring_back(&stage.cluster, &order, &Interrupt::default(), &mut Quiet).expect_err("there is no partition 9").sentence();
    assert!(text.contains("--partition and --offset"), "{text}");
    assert_eq!(stage.redrive(|order| (order.dry_run, order.ranges) = (true, vec![Range { partition: 0, from: 0, to: 2 }])), (1, 1, 0, 0));
}

#[test]
fn replays_never_follow_themselves() {
    let stage = Stage::new(&["in", "trial"]);
    stage.send("in", &[(0, "a", Some("1"), vec![]), (1, "b", None, vec![("trace", "x".to_owned())])]);
    let replay = |kind: Kind| {
        let order = Order { replays_max: 1, group: format!("{kind:?}"), ..stage.order("in", kind) };
        let total = stage.carry_out(&order).total();
        (total.brought_back, total.before, total.parked)
    };
    assert_eq!(replay(Kind::Records), (2, 0, 0));
    assert_eq!(replay(Kind::Records), (0, 2, 2));
    assert_eq!(replay(Kind::RecordsTo("trial".to_owned())), (2, 0, 2));
    let (copies, trial) = (stage.all("in"), stage.all("trial"));
    let null = copies.iter().filter(|got| got.key == "b").collect::<Vec<_>>();
    assert_eq!((null.len(), null[1].partition, &null[1].value, null[1].headers["expressway-origin"].as_str()), (2, 1, &None, "in/1/0"));
    assert_eq!((copies.len(), trial.len()), (4, 2));
}

#[test]
fn a_range_is_read_to_its_end_and_no_further() {
    let stage = Stage::new(&["in"]);
    let records: Vec<Sent<'_>> = (0..20).map(|_| (0, "k", Some("v"), vec![])).collect();
    stage.send("in", &records);
    let consumer = stage.cluster.consumer("tests").expect("a consumer");
    let mut seen = Vec::new();
    let ranges = [Range { partition: 0, from: 5, to: 9 }, Range { partition: 1, from: 0, to: 0 }];
    let mut take = |turn: Turn<'_>| {
        if let Turn::Record(message) = turn {
            seen.push((message.partition(), message.offset()));
        }
        Ok(ControlFlow::Continue(()))
    };
    assert!(read(&consumer, "in", &ranges, &mut take).expect("read"));
    assert!(read(&consumer, "in", &[Range { partition: 0, from: 18, to: 20 }], &mut take).expect("the same partition once more"));
    let cut = read(&consumer, "in", &[Range { partition: 0, from: 20, to: 25 }], &mut take).expect_err("there is no offset 24").sentence();
    assert!(cut.contains("it ends at 20, and ended at 25 before"), "{cut}");
    assert_eq!(seen, [(0, 5), (0, 6), (0, 7), (0, 8), (0, 18), (0, 19)]);
}

/// Nobody would ever bring its letters back: the range would be remembered as whole.
#[test]
fn a_batch_that_cannot_be_read_ends_the_command_and_is_not_remembered() {
    let stage = Stage::new(&["in", "dead"]);
    damage::append(&stage.cluster.brokers, "dead", 0, 0, 2, (Damage::Format, 2));
    stage.send("dead", &[(0, "k", Some("v"), vec![("expressway-reason", "panic".to_owned()), ("expressway-source", "in/0/1".to_owned())])]);
    for _ in 0..2 {
        let order = stage.order("dead", Kind::DeadLetters);
        let outcome = bring_back(&stage.cluster, &order, &Interrupt::default(), &mut Quiet);
        let text = outcome.expect_err("a letter may have been in it").sentence();
        assert!(text.starts_with("the topic dead cannot be read: ") && text.contains("NotImplemented"), "{text}");
    }
}

#[test]
fn what_is_not_there_is_told() {
    let stage = Stage::new(&["in"]);
    stage.send("in", &[(0, "k", Some("v"), vec![])]);
    let consumer = stage.cluster.consumer("tests").expect("a consumer");
    let told = |position: &str| {
        let position: Position = position.parse().expect("a position");
        fetch(&stage.cluster, &consumer, &position).map(|found| found.value).map_err(|error| error.sentence())
    };
    assert_eq!(told("in:0:0"), Ok(Some(b"v".to_vec())));
    for (position, part) in
        [("nothing:0:0", "there is no topic nothing"), ("in:7:0", "there is no partition 7 in in, which has 2"), ("in:0:1", "in/0 ends at 1")]
    {
        let text = told(position).expect_err(position);
        assert!(text.contains(part), "{text}");
    }
    let all = Selection { offsets: Some(Offsets { from: Some(0), to: Some(1_000) }), ..Selection::default() };
    let ranges = all.resolve(&stage.cluster, &consumer, "in").expect("cut to what is there");
    assert_eq!(ranges, [Range { partition: 0, from: 0, to: 1 }, Range { partition: 1, from: 0, to: 0 }]);
}

#[test]
fn an_audit_finds_what_is_missing_what_is_twice_and_what_is_unknown() {
    let stage = Stage::new(&["in", "out", "dead"]);
    let records: Vec<Sent<'_>> = (0..10).map(|index| (index % 2, "k", Some("v"), vec![])).collect();
    stage.send("in", &records);
    let source = |partition: i32, offset: i64| ("expressway-source", format!("in/{partition}/{offset}"));
    let end = |partition: i32, offset: i64| (partition, "k", Some("v"), vec![source(partition, offset)]);
    let with =
        |partition: i32, offset: i64, name: &'static str, value: &str| (partition, "k", Some("v"), vec![source(partition, offset), (name, value.to_owned())]);
    let ends: Vec<_> = (0..5).map(|offset| end(0, offset)).collect();
    stage.send("out", &ends);
    stage.send(
        "out",
        &[with(1, 0, "expressway-status", "FAILED"), with(1, 1, "expressway-status", "TIMED_OUT"), end(1, 1), with(1, 4, "expressway-definition", "another")],
    );
    stage.send("dead", &[with(1, 2, "expressway-reason", "panic"), (0, "k", None, vec![])]);
    let order = |committed: i64| audit::Order {
        topic: "in".to_owned(),
        ranges: vec![Range { partition: 0, from: 0, to: 5 }, Range { partition: 1, from: 0, to: 5 }],
        committed: Some(vec![5, committed]),
        results: "out".to_owned(),
        dead_letters: "dead".to_owned(),
        behind: None,
        definition: Some("m".to_owned()),
        since_ms: None,
        skips_null: false,
        named_max: 10,
    };
    let books = |committed: i64| audit(&stage.cluster, &order(committed), &Interrupt::default(), &mut |_| ()).expect("audited");
    let report = books(4);
    let total = report.total();
    assert_eq!((total.records, total.succeeded, total.failed, total.timed_out, total.dead_lettered), (10, 5, 1, 1, 1));
    assert_eq!((total.missing, total.unfinished, total.duplicates, report.foreign, report.unknown), (1, 1, 1, 2, 0));
    assert_eq!((report.missing.as_slice(), report.duplicates.as_slice()), (&[(1, 3)][..], &[(1, 1, 2)][..]));
    assert!(!report.is_balanced() && !report.ends_are_cut);
    // The missing ones come, and one that cannot be.
    stage.send("out", &[end(1, 3), end(1, 4)]);
    assert!(books(5).is_balanced());
    stage.send("dead", &[with(1, 77, "expressway-reason", "panic")]);
    let report = books(5);
    assert_eq!((report.unknown, report.is_balanced()), (1, false));
    assert_eq!(report.json("in")["partitions"][1]["dead_lettered"], 1);
}

#[test]
fn an_audit_that_is_broken_off_proves_nothing() {
    let stage = Stage::new(&["in", "out", "dead"]);
    stage.send("in", &[(0, "k", Some("v"), vec![])]);
    let (topic, results, dead_letters) = ("in".to_owned(), "out".to_owned(), "dead".to_owned());
    let ranges = vec![Range { partition: 0, from: 0, to: 1 }];
    let order =
        audit::Order { topic, ranges, committed: None, results, dead_letters, behind: None, definition: None, since_ms: None, skips_null: false, named_max: 1 };
    let interrupt = Interrupt::default();
    interrupt.ask();
    assert!(matches!(audit(&stage.cluster, &order, &interrupt, &mut |_| ()), Err(Error::Surroundings { .. })));
}
