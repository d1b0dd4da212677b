//! The group's protocols on a real broker: members join, leave, are killed and come back, under each of them.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::kafka::{self, Reader};
use harness::service::{Config, Service};
use harness::{deadline, service};
use serde_json::json;

use crate::stage::{CommitWatch, LARGE_RECORDS, SOON, Shared, Stage, ensure};

/// Two shards with four partitions each way, so that a shard can lose one partition and keep another.
const PARTITIONS: i32 = 4;

/// Session of a member that is to be missed soon. The broker's own for the new protocol is 10 s, see `kafka.sh`.
const SHORT_SESSION: &str = "6000";

/// How a group shares out its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Classic(&'static str),
    Consumer,
    /// The same as classic, with results and offsets in transactions.
    Transactional(&'static str),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Classic(strategy) => strategy,
            Self::Consumer => "consumer",
            Self::Transactional(_) => "transactional",
        }
    }

    fn config(self, stage: &Stage) -> Result<Config, String> {
        let config = stage.config("errands")?;
        Ok(match self {
            Self::Classic(strategy) => config.with("kafka/client_options/partition.assignment.strategy", strategy),
            Self::Transactional(strategy) => {
                Self::Classic(strategy).config(stage)?.with("pipelines/0/delivery", "transactional").with("pipelines/0/transaction_interval", "500ms")
            }
            Self::Consumer => config.with("kafka/group_protocol", "consumer").with("kafka/client_options", json!({"auto.commit.interval.ms": "200"})),
        })
    }
}

/// A works alone; B joins, C joins, B leaves, C leaves, B joins again: every partition is assigned, revoked and assigned again at least once.
fn come_and_go(shared: &Shared, way: Way) -> Result<(), String> {
    let stage = Stage::real(shared, way.name(), PARTITIONS)?;
    let mut feeder = stage.feeder()?;
    let watch = CommitWatch::start(&stage)?;
    let mut first = Service::start(&way.config(&stage)?, SOON)?;
    let (mut second, mut third): (Option<Service>, Option<Service>) = (None, None);
    feeder.stream(48_000, 4_000, |sent| {
        match sent {
            6_000 | 36_000 => second = Some(Service::spawn(&way.config(&stage)?)?),
            12_000 => third = Some(Service::spawn(&way.config(&stage)?)?),
            20_000 => second.take().map_or(Ok(()), |mut second| leave(&mut second))?,
            28_000 => third.take().map_or(Ok(()), |mut third| leave(&mut third))?,
            _ => {}
        }
        Ok(())
    })?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    let rebalances = first.metrics("expressway_rebalances")?.values().sum::<f64>();
    first.stop(SOON)?;
    second.take().map_or(Ok(()), |mut second| second.stop(SOON))?;
    watch.end()?;
    stage.balance(&feeder)?.check_exact().map_err(|twice| format!("{twice}\n{}", first.stderr().join("\n")))?;
    ensure(rebalances >= 3.0, || format!("the first member counted {rebalances} rebalances:\n{}", first.stderr().join("\n")))
}

/// Leaves in order, having been a member for certain.
fn leave(service: &mut Service) -> Result<(), String> {
    service.wait_ready(SOON)?;
    service.stop(SOON)
}

/// Each coming and going falls into an open transaction, which is committed before the partition is released.
pub(crate) fn members_commit_their_transactions_before_they_hand_over(shared: &Shared) -> Result<(), String> {
    come_and_go(shared, Way::Transactional("cooperative-sticky"))?;
    come_and_go(shared, Way::Transactional("range"))
}

pub(crate) fn range_members_come_and_go(shared: &Shared) -> Result<(), String> {
    come_and_go(shared, Way::Classic("range"))
}

pub(crate) fn round_robin_members_come_and_go(shared: &Shared) -> Result<(), String> {
    come_and_go(shared, Way::Classic("roundrobin"))
}

pub(crate) fn cooperative_members_come_and_go(shared: &Shared) -> Result<(), String> {
    come_and_go(shared, Way::Classic("cooperative-sticky"))
}

pub(crate) fn members_of_the_new_protocol_come_and_go(shared: &Shared) -> Result<(), String> {
    come_and_go(shared, Way::Consumer)
}

/// Two members, one killed in mid-stream: its session runs out, the other takes over, and nothing is lost.
fn killed(shared: &Shared, way: Way) -> Result<(), String> {
    let stage = Stage::real(shared, &format!("kill-{}", way.name()), PARTITIONS)?;
    let mut feeder = stage.feeder()?;
    let watch = CommitWatch::start(&stage)?;
    let config = || -> Result<Config, String> {
        let config = way.config(&stage)?;
        Ok(if way == Way::Consumer { config } else { config.with("kafka/client_options/session.timeout.ms", SHORT_SESSION) })
    };
    let mut first = Service::start(&config()?, SOON)?;
    let mut second = Service::start(&config()?, SOON)?;
    // Open on both members when one is killed, three seconds and some commits later: whoever commits past them loses them.
    for partition in 0..PARTITIONS {
        feeder.errand(Some(partition), "wait", ",\"seconds\":8")?;
    }
    feeder.stream(24_000, 3_000, |sent| if sent == 9_000 { second.signal("KILL") } else { Ok(()) })?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    second.wait(SOON)?;
    first.stop(SOON)?;
    watch.end()?;
    stage.balance(&feeder)?.check()
}

pub(crate) fn a_killed_range_member_loses_nothing(shared: &Shared) -> Result<(), String> {
    killed(shared, Way::Classic("range"))
}

pub(crate) fn a_killed_cooperative_member_loses_nothing(shared: &Shared) -> Result<(), String> {
    killed(shared, Way::Classic("cooperative-sticky"))
}

pub(crate) fn a_killed_member_of_the_new_protocol_loses_nothing(shared: &Shared) -> Result<(), String> {
    killed(shared, Way::Consumer)
}

/// Two static members; one is restarted in order, within its session: the other must not hear of it.
fn restarted(shared: &Shared, way: Way) -> Result<(), String> {
    let stage = Stage::real(shared, &format!("static-{}", way.name()), PARTITIONS)?;
    let member = |name: &str| -> Result<Config, String> { Ok(way.config(&stage)?.with("kafka/group_instance_id", name)) };
    let mut feeder = stage.feeder()?;
    let mut first = Service::start(&member("a")?, SOON)?;
    let mut second = Service::start(&member("b")?, SOON)?;
    feeder.stream(500, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    let rebalances = |service: &Service| service.metrics("expressway_rebalances").map(|found| found.values().sum::<f64>());
    let before = rebalances(&first)?;
    second.stop(SOON)?;
    feeder.stream(500, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    let mut second = Service::start(&member("b")?, SOON)?;
    stage.wait_all_committed(SOON)?;
    let after = rebalances(&first)?;
    first.stop(SOON)?;
    second.stop(SOON)?;
    stage.balance(&feeder)?.check_exact()?;
    ensure((before - after).abs() < 0.5, || format!("the member that stayed went through {} rebalances:\n{}", after - before, first.stderr().join("\n")))
}

pub(crate) fn a_static_member_restarts_without_a_rebalance(shared: &Shared) -> Result<(), String> {
    restarted(shared, Way::Classic("cooperative-sticky"))
}

pub(crate) fn a_static_eager_member_restarts_without_a_rebalance(shared: &Shared) -> Result<(), String> {
    restarted(shared, Way::Classic("range"))
}

pub(crate) fn a_static_member_of_the_new_protocol_restarts_without_a_rebalance(shared: &Shared) -> Result<(), String> {
    restarted(shared, Way::Consumer)
}

/// Killed, a static member comes back under its name: at once by the classic protocol; by the new one only after its session, for the broker keeps the name until then.
fn killed_and_back(shared: &Shared, way: Way) -> Result<Duration, String> {
    let stage = Stage::real(shared, &format!("back-{}", way.name()), 2)?;
    let config = || -> Result<Config, String> { Ok(way.config(&stage)?.with("kafka/group_instance_id", "only")) };
    let mut feeder = stage.feeder()?;
    let mut service = Service::start(&config()?, SOON)?;
    feeder.stream(500, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    service.signal("KILL")?;
    service.wait(SOON)?;
    let back = Instant::now();
    let mut service = Service::start(&config()?, SOON)?;
    let took = back.elapsed();
    feeder.stream(500, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    service.stop(SOON)?;
    stage.balance(&feeder)?.check()?;
    Ok(took)
}

pub(crate) fn a_killed_static_member_comes_back_at_once(shared: &Shared) -> Result<(), String> {
    killed_and_back(shared, Way::Classic("cooperative-sticky")).map(|_| ())
}

pub(crate) fn a_killed_static_member_of_the_new_protocol_waits_for_its_name(shared: &Shared) -> Result<(), String> {
    killed_and_back(shared, Way::Consumer).map(|_| ())
}

/// What the service says about a protocol, while it does its work.
fn automatic(stage: &Stage, said: &[&str], unsaid: &str) -> Result<(), String> {
    let mut feeder = stage.feeder()?;
    // session.timeout.ms and heartbeat.interval.ms are among the options of the tests.
    let mut service = Service::start(&stage.config("errands")?.with("kafka/group_protocol", "auto"), SOON)?;
    feeder.stream(500, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    service.stop(SOON)?;
    stage.balance(&feeder)?.check_exact()?;
    let lines = service.stderr().join("\n");
    ensure(said.iter().all(|part| lines.contains(part)) && !lines.contains(unsaid), || format!("not all of {said:?}, or {unsaid}: {lines}"))
}

pub(crate) fn auto_takes_the_new_protocol_and_names_what_it_drops(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "auto", 2)?;
    automatic(&stage, &["session.timeout.ms", "heartbeat.interval.ms", "is dropped"], "does not have the group protocol")
}

pub(crate) fn auto_falls_back_where_the_broker_has_only_the_classic_one(_: &Shared) -> Result<(), String> {
    let stage = Stage::own_with("old", 2, "group.coordinator.rebalance.protocols=classic")?;
    automatic(&stage, &["does not have the group protocol", "made anew"], "panicked")?;
    // Asked for by name, it is not replaced.
    let mut service = Service::spawn(&Way::Consumer.config(&stage)?)?;
    let code = service.wait(SOON)?;
    ensure(code == Some(3), || format!("exit code {code:?}: {}", service.stderr().join(" | ")))
}

/// Of a compacted topic some offsets are no more: what is left gets its result, and the group reaches the end.
pub(crate) fn compacted_input_is_read_to_its_end(_: &Shared) -> Result<(), String> {
    let stage = Stage::own_with("compacted", 1, "log.cleaner.backoff.ms=100")?;
    let source = format!("{}-compact", stage.source);
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "50"), ("min.cleanable.dirty.ratio", "0.01"), ("min.compaction.lag.ms", "0")];
    for (topic, settings) in [(source.clone(), &settings[..]), (service::results(&source), &[]), (service::dead_letters(&source), &[])] {
        kafka::create_topic(&stage.bootstrap(), &topic, 1, settings)?;
    }
    let mut feeder = harness::ledger::Feeder::new(&stage.bootstrap(), &source)?;
    // Keys repeat every thousand records. Each round closes the segment before, which may be compacted then.
    let read = || -> Result<Vec<i64>, String> {
        let mut reader = Reader::open(&stage.bootstrap(), &source, 1)?;
        Ok(reader.read_to_end(&stage.bootstrap(), &source, 1, SOON)?.iter().map(|record| record.offset).collect())
    };
    deadline::until("gaps in the topic", Duration::from_secs(60), || {
        feeder.stream(1_500, 10_000, |_| Ok(())).ok()?;
        feeder.flush(SOON).ok()?;
        let offsets = read().ok()?;
        (i64::try_from(offsets.len()).ok()? < offsets.last()? + 1).then_some(())
    })?;
    let left: BTreeSet<i64> = read()?.into_iter().collect();
    let config = Config::new(&stage.bootstrap(), &source, &stage.group, "errands")?.with("service/stuck_timeout", "1s");
    let mut service = Service::start(&config, SOON)?;
    let end = kafka::ends(&stage.bootstrap(), &source, 1)?;
    let committed = || kafka::committed(&stage.bootstrap(), &stage.group, &source, 1).ok();
    deadline::until("the end committed", SOON, || committed().filter(|committed| committed[0] == Some(end[0])))?;
    stayed(&service)?;
    service.stop(SOON)?;
    let mut results = Reader::open(&stage.bootstrap(), &service::results(&source), 1)?;
    let results = results.read_to_end(&stage.bootstrap(), &service::results(&source), 1, SOON)?;
    let done: Vec<i64> = results.iter().filter_map(|result| result.header("expressway-source").rsplit('/').next()?.parse().ok()).collect();
    let distinct: BTreeSet<i64> = done.iter().copied().collect();
    ensure(done.len() == distinct.len(), || format!("{} results for {} records", done.len(), distinct.len()))?;
    // More may have been compacted away since, so what was there before must be there, or gone.
    let owed: BTreeSet<i64> = read()?.into_iter().collect();
    ensure(owed.is_subset(&distinct) && distinct.is_subset(&left), || format!("{} of {} records have a result", distinct.len(), owed.len()))
}

/// A gap is no position that went back.
pub(crate) fn stayed(service: &Service) -> Result<(), String> {
    let rewinds = service.metrics("expressway_rewinds")?.values().sum::<f64>();
    ensure(rewinds < 0.5, || format!("{rewinds} positions went back:\n{}", service.stderr().join("\n")))
}

/// A tail of a topic in which nothing will ever come, for it was given up with its transaction, is no standstill.
pub(crate) fn a_tail_without_records_is_no_standstill(shared: &Shared) -> Result<(), String> {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let stage = Stage::real(shared, "tail", 1)?;
    let mut config = kafka::producer_config(&stage.bootstrap());
    let producer: BaseProducer = config.set("transactional.id", &stage.source).create().map_err(|error| error.to_string())?;
    let done = |result: rdkafka::error::KafkaResult<()>| result.map_err(|error| error.to_string());
    done(producer.init_transactions(SOON))?;
    let mut service = Service::start(&stage.config("errands")?.with("service/stuck_timeout", "2s"), SOON)?;
    for is_kept in [true, false] {
        done(producer.begin_transaction())?;
        for seq in 0..10 {
            let value = format!("{{\"seq\":{seq},\"type\":\"plain\"}}");
            producer.send(BaseRecord::<str, str>::to(&stage.source).payload(&value)).map_err(|(error, _)| error.to_string())?;
        }
        done(if is_kept { producer.commit_transaction(SOON) } else { producer.flush(SOON).and_then(|()| producer.abort_transaction(SOON)) })?;
    }
    stage.wait_results(10)?;
    let replaced = |service: &Service| service.metrics("expressway_client_replacements").ok().map(|found| found.values().sum::<f64>());
    let seen = deadline::never(Duration::from_secs(12), || replaced(&service).filter(|count| *count > 0.0));
    seen.map_err(|count| format!("the client was made anew {count} times:\n{}", service.stderr().join("\n")))?;
    let (status, reasons) = service.get("/ready")?;
    ensure(status == 200, || format!("/ready says {status}: {reasons}"))?;
    service.stop(SOON)
}

/// Brokers that come up after the service: it waits for them, alive and not ready.
pub(crate) fn a_start_waits_for_its_brokers(_: &Shared) -> Result<(), String> {
    let stage = Stage::own_with("late", 1, LARGE_RECORDS)?;
    let crate::stage::Cluster::Own(real) = &stage.cluster else { return Err("not a broker of our own".to_owned()) };
    let mut feeder = stage.feeder()?;
    feeder.stream(100, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    real.call("stop")?;
    let mut service = Service::spawn(&stage.config("errands")?)?;
    deadline::until("/ping", SOON, || service.get("/ping").ok().filter(|(status, _)| *status == 200))?;
    deadline::until("the line about it", SOON, || service.stderr().iter().any(|line| line.contains("no broker answers yet")).then_some(()))?;
    let (status, _) = service.get("/ready")?;
    ensure(status == 503, || format!("/ready says {status} without a broker"))?;
    real.call("start")?;
    service.wait_ready(SOON)?;
    stage.wait_all_committed(SOON)?;
    service.stop(SOON)?;
    stage.balance(&feeder)?.check_exact()
}
