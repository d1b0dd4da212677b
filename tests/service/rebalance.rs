//! Partitions that come and go, on a real broker under load: nothing is lost, and an orderly hand-over repeats nothing.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::time::{Duration, Instant};

use harness::deadline;
use harness::service::{Config, Service};

use crate::stage::{CommitWatch, SOON, Shared, Stage, ensure};

pub(crate) fn config(stage: &Stage, strategy: &str) -> Result<Config, String> {
    Ok(stage.config("errands")?.with("kafka/client_options/partition.assignment.strategy", strategy))
}

/// A queue that is forwarded at the first assignment only stands still at the second, without an error.
pub(crate) fn a_partition_that_comes_back_goes_on(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "back", 2)?;
    let mut feeder = stage.feeder()?;
    let mut first = Service::start(&config(&stage, "range")?, SOON)?;
    for _ in 0..3 {
        let mut second = Service::start(&config(&stage, "range")?, SOON)?;
        feeder.stream(200, 20_000, |_| Ok(()))?;
        feeder.flush(SOON)?;
        stage.wait_all_committed(SOON)?;
        second.stop(SOON)?;
        // Both partitions are the first one's again, and move.
        feeder.stream(200, 20_000, |_| Ok(()))?;
        feeder.flush(SOON)?;
        stage.wait_all_committed(SOON)?;
    }
    stage.balance(&feeder)?.check_exact()?;
    first.stop(SOON)
}

/// Leaving must not wait for the session time-out, which is 45 s here.
pub(crate) fn a_member_that_leaves_hands_over_at_once(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "leave", 2)?;
    let config = || -> Result<Config, String> { Ok(config(&stage, "cooperative-sticky")?.with("kafka/client_options/session.timeout.ms", "45000")) };
    let mut feeder = stage.feeder()?;
    let mut first = Service::start(&config()?, SOON)?;
    let mut second = Service::start(&config()?, SOON)?;
    for _ in 0..3 {
        second.stop(SOON)?;
        let left = Instant::now();
        feeder.errand(Some(0), "plain", "")?;
        feeder.errand(Some(1), "plain", "")?;
        feeder.flush(SOON)?;
        stage.wait_all_committed(SOON)?;
        ensure(left.elapsed() < Duration::from_secs(35), || format!("the partition of the one that left stood still for {:?}", left.elapsed()))?;
        second = Service::start(&config()?, SOON)?;
    }
    second.stop(SOON)?;
    deadline::until("the first one is ready", SOON, || first.get("/ready").ok().filter(|(status, _)| *status == 200))?;
    first.stop(SOON)
}

/// Stopped for longer than its session, a member is expelled; awake again it must not commit over what is another's by then.
pub(crate) fn a_member_that_was_away_too_long_loses_nothing(shared: &Shared) -> Result<(), String> {
    let stage = Stage::real(shared, "away", 2)?;
    let config = || -> Result<Config, String> { Ok(config(&stage, "cooperative-sticky")?.with("kafka/client_options/session.timeout.ms", "3000")) };
    let mut feeder = stage.feeder()?;
    let watch = CommitWatch::start(&stage)?;
    let mut first = Service::start(&config()?, SOON)?;
    let mut second = Service::start(&config()?, SOON)?;
    feeder.stream_past_pause(24_000, 2_000, &mut first, 4_000..16_000)?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    for service in [&mut first, &mut second] {
        service.stop(SOON)?;
    }
    watch.end()?;
    // It heard that its partitions are another's, not that it should hand them over.
    let heard = first.stderr().iter().any(|line| line.contains("partitions revoked") && line.contains("lost=true"));
    ensure(heard, || format!("no assignment was lost:\n{}", first.stderr().join("\n")))?;
    // What the stopped one had not committed was done again by the other.
    stage.balance(&feeder)?.check()
}
