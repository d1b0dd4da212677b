//! Transactional delivery on a real broker: a reader of committed records sees each result once, whatever breaks. That there was something to hide is told by a reader of everything.

use std::time::Duration;

use harness::deadline;
use harness::kafka::{self, Reader};
use harness::service::{Config, Service, dead_letters, results};
use rdkafka::producer::{BaseProducer, Producer};

use crate::rebalance;
use crate::stage::{SOON, Shared, Stage, ensure};

/// Longer than [`SOON`], for what waits for sessions and transactions to be over.
const LATER: Duration = Duration::from_secs(60);

/// Transactions that last for `interval`, so that whatever happens falls into one. The broker gives one up after a minute: a machine that stands still for longer than the session is not to end one that is not meant to.
fn config(stage: &Stage, interval: &str) -> Result<Config, String> {
    let config = rebalance::config(stage, "cooperative-sticky")?.with("pipelines/0/delivery", "transactional");
    let config = config.with("kafka/client_options/transaction.timeout.ms", "60000");
    Ok(config.with("pipelines/0/transaction_interval", interval).with("kafka/client_options/session.timeout.ms", "3000"))
}

/// Everything in the result topic, aborted or not.
fn written(stage: &Stage) -> Result<usize, String> {
    let mut all = Reader::open_uncommitted(&stage.bootstrap(), &results(&stage.source), stage.partitions)?;
    Ok(all.read_to_end(&stage.bootstrap(), &results(&stage.source), stage.partitions, SOON)?.len())
}

pub(crate) fn a_kill_in_the_middle_of_a_transaction_shows_nothing_twice(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "killed", 2)?;
    let config = || -> Result<Config, String> { Ok(config(&stage, "1s")?.with("kafka/client_options/transaction.timeout.ms", "4000")) };
    let mut feeder = stage.feeder()?;
    let mut service = Service::start(&config()?, SOON)?;
    feeder.stream(24_000, 3_000, |sent| {
        // Half a second into a transaction, which begins with a record and lasts for one.
        if sent == 7_500 || sent == 16_500 {
            service.signal("KILL")?;
            service.wait(SOON)?;
            service = Service::spawn(&config()?)?;
        }
        Ok(())
    })?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(LATER)?;
    service.stop(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check_exact()?;
    let written = written(&stage)?;
    ensure(written > balance.results, || {
        format!("{written} results were written, and all of them are committed: no transaction was open when the service was killed")
    })
}

/// Stopped in the middle of a transaction for longer than its session, a member wakes up and goes on with it. Its partition is another's by then, and the broker lets its transactions live for a minute: only the group can refuse it.
pub(crate) fn a_zombie_is_refused_its_transaction(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "zombie", 2)?;
    let config = || -> Result<Config, String> { config(&stage, "1s") };
    let mut feeder = stage.feeder()?;
    let mut first = Service::start(&config()?, SOON)?;
    let mut second = Service::start(&config()?, SOON)?;
    // Each has its partition by then, and is half a second into a transaction, or at the end of one.
    feeder.stream_past_pause(30_000, 2_000, &mut first, 8_000..22_000)?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(LATER)?;
    let aborted = first.metrics("expressway_transactions_aborted")?;
    for service in [&mut first, &mut second] {
        service.stop(SOON)?;
    }
    let balance = stage.balance(&feeder)?;
    balance.check_exact().map_err(|twice| format!("{twice}\n{}", first.stderr().join("\n")))?;
    ensure(aborted.values().sum::<f64>() >= 1.0, || format!("the zombie's transaction was not aborted: {aborted:?}\n{}", first.stderr().join("\n")))?;
    let written = written(&stage)?;
    ensure(written > balance.results, || "the zombie had nothing in its transaction".to_owned())
}

/// For longer than a transaction may live the service and its broker hear nothing of each other, and the broker fences the producers. The service makes them anew and goes on; that somebody else had their names is ruled out by the age of their transactions.
pub(crate) fn a_transaction_that_outlives_its_time_goes_again(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "outlived", 2)?;
    // The group keeps its member: only the transactions' time is over.
    let config = config(&stage, "900ms")?.with("kafka/client_options/transaction.timeout.ms", "3000");
    let mut service = Service::start(&config.with("kafka/client_options/session.timeout.ms", "45000"), SOON)?;
    let mut feeder = stage.feeder()?;
    // Now and then it stands still just between two transactions.
    let is_made_anew = |service: &Service| service.stderr().iter().any(|line| line.contains("its producer is made anew"));
    for _ in 0..5 {
        feeder.stream_past_pause(30_000, 2_000, &mut service, 8_000..22_000)?;
        feeder.flush(SOON)?;
        stage.wait_all_committed(LATER).map_err(|late| format!("{late}\n{}", service.stderr().join("\n")))?;
        if is_made_anew(&service) {
            break;
        }
    }
    service.stop(SOON)?;
    let told = service.stderr().join("\n");
    let balance = stage.balance(&feeder)?;
    balance.check_exact().map_err(|twice| format!("{twice}\n{told}"))?;
    ensure(is_made_anew(&service), || format!("no transaction has outlived its time:\n{told}"))?;
    let written = written(&stage)?;
    ensure(written > balance.results, || "nothing was in the transaction that was aborted".to_owned())
}

/// Each refusal aborts a transaction; what else was in it goes again.
pub(crate) fn what_is_refused_in_a_transaction_is_dead_lettered_in_another(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "oversize", 2)?;
    kafka::alter_topic(&stage.bootstrap(), &results(&stage.source), &[("max.message.bytes", "20000")])?;
    let mut feeder = stage.feeder()?;
    let mut random = expressway_ingest::random::Random::new(2);
    let noise: String = (0..30_000).map(|_| char::from(b'a' + u8::try_from(random.between(0, 26)).unwrap_or(0))).collect();
    for id in 0..2_000 {
        let more = if id == 700 || id == 1_300 { format!(",\"noise\":\"{noise}\"") } else { String::new() };
        feeder.errand(None, if id % 7 == 3 { "fail" } else { "plain" }, &more)?;
        if id % 100 == 50 {
            feeder.raw(None, Some(b"{"))?;
        }
    }
    feeder.flush(SOON)?;
    let mut service = Service::start(&config(&stage, "50ms")?, SOON)?;
    stage.wait_all_committed(LATER).map_err(|late| format!("{late}\n{}", service.stderr().join("\n")))?;
    let aborted = service.metrics("expressway_transactions_aborted")?;
    service.stop(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check_exact()?;
    ensure(balance.dead_letters == 22, || format!("the books are {balance:?}"))?;
    let mut letters = Reader::open(&stage.bootstrap(), &dead_letters(&stage.source), stage.partitions)?;
    let letters = letters.read_to_end(&stage.bootstrap(), &dead_letters(&stage.source), stage.partitions, SOON)?;
    let large = letters.iter().filter(|letter| letter.header("expressway-reason") == "result_too_large").count();
    ensure(large == 2, || format!("{large} dead letters are of results that were too large"))?;
    ensure(aborted.values().sum::<f64>() >= 2.0, || format!("hardly a transaction was aborted: {aborted:?}"))
}

/// A dead letter that its topic does not take holds the offset of its partition, whose other outcomes wait behind it, and nothing else; when the topic takes it, all come out once, in order.
pub(crate) fn a_refused_dead_letter_holds_its_partition_alone(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "letters", 2)?;
    kafka::alter_topic(&stage.bootstrap(), &dead_letters(&stage.source), &[("max.message.bytes", "20000")])?;
    let mut feeder = stage.feeder()?;
    let mut random = expressway_ingest::random::Random::new(3);
    let noise: Vec<u8> = (0..30_000).map(|_| b'a' + u8::try_from(random.between(0, 26)).unwrap_or(0)).collect();
    for id in 0..1_000 {
        feeder.errand(Some(id % 2), "plain", "")?;
        // Small ones are taken, in the same transactions.
        if id % 200 == 100 {
            feeder.raw(Some(id / 200 % 2), Some(b"{"))?;
        }
        if id == 500 || id == 600 {
            feeder.raw(Some(0), Some(&noise))?;
        }
    }
    feeder.flush(SOON)?;
    let mut service = Service::start(&config(&stage, "200ms")?.with("service/shards", 1), SOON)?;
    // All of one partition, and what lies below the letter of the other.
    deadline::until("what the letter does not hold", LATER, || (stage.committed().ok()? == [253, 502]).then_some(()))
        .map_err(|late| format!("{late}: committed {:?}\n{}", stage.committed(), service.stderr().join("\n")))?;
    let stuck = service.metrics("expressway_dead_letters_stuck")?;
    ensure(stuck.values().sum::<f64>() >= 1.0, || format!("no letter is stuck: {stuck:?}"))?;
    ensure(service.get("/ready")?.0 == 200, || "one dead letter makes the service unready".to_owned())?;
    kafka::alter_topic(&stage.bootstrap(), &dead_letters(&stage.source), &[("max.message.bytes", "1000000")])?;
    stage.wait_all_committed(LATER).map_err(|late| format!("{late}\n{}", service.stderr().join("\n")))?;
    service.stop(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check_exact().map_err(|twice| format!("{twice}\n{}", service.stderr().join("\n")))?;
    ensure(balance.dead_letters == 7, || format!("the books are {balance:?}"))
}

/// Results above a record that waits are not produced; those of the other partition are. All of them come out once, in order.
pub(crate) fn a_long_wait_withholds_its_partition_alone(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "withheld", 2)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(0), "wait", ",\"seconds\":6")?;
    for id in 0..2_000 {
        feeder.errand(Some(id % 2), "plain", "")?;
    }
    feeder.flush(SOON)?;
    let mut service = Service::start(&config(&stage, "50ms")?, SOON)?;
    stage.wait_results(1_000)?;
    let committed = stage.committed()?;
    ensure(committed[0] == 0, || format!("the group stands at {committed:?} while record 0 waits"))?;
    stage.wait_all_committed(SOON)?;
    let outcomes = stage.wait_results(2_001)?;
    let of_first: Vec<_> = outcomes.iter().filter(|record| record.partition == 0).map(|record| record.header("expressway-source")).collect();
    let expected: Vec<_> = (0..1_001).map(|offset| format!("{}/0/{offset}", stage.source)).collect();
    ensure(of_first == expected, || "the results of partition 0 are not in order".to_owned())?;
    stage.balance(&feeder)?.check_exact()?;
    service.stop(SOON)
}

/// Two processes that were given one `group_instance_id` share their transactional ids too: the later one fences the earlier one, which ends and says why.
pub(crate) fn a_second_producer_of_the_same_name_ends_the_first(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "twin", 1)?;
    let mut feeder = stage.feeder()?;
    let config = config(&stage, "100ms")?.with("kafka/group_instance_id", "twin").with("service/shards", 1);
    let mut service = Service::start(&config, SOON)?;
    // Ready is whoever has partitions; that its producer is known to the broker, a first transaction shows.
    feeder.errand(Some(0), "plain", "")?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    let twin: BaseProducer = kafka::producer_config(&stage.bootstrap())
        .set("transactional.id", format!("{}-errands-twin.errands-0", stage.group))
        .create()
        .map_err(|error| error.to_string())?;
    twin.init_transactions(SOON).map_err(|error| error.to_string())?;
    feeder.errand(Some(0), "plain", "")?;
    feeder.flush(SOON)?;
    let code = service.wait(LATER).map_err(|late| {
        format!("{late} counters {:?}", service.metrics("expressway_").map(|all| all.into_iter().filter(|(_, value)| *value > 0.0).collect::<Vec<_>>()))
    })?;
    let told = service.stderr().join("\n");
    ensure(code == Some(3), || format!("the service ended with {code:?}:\n{told}"))?;
    ensure(told.contains("the transactional producer met a fatal error"), || format!("it did not say why:\n{told}"))?;
    // Nothing of what came then is visible; another one starts where it stood.
    ensure(stage.results()?.read(Duration::from_secs(1))?.len() == 1, || "a fenced producer's result is visible".to_owned())?;
    let mut next = Service::start(&config, SOON)?;
    stage.wait_all_committed(SOON)?;
    next.stop(SOON)?;
    stage.balance(&feeder)?.check_exact()
}
