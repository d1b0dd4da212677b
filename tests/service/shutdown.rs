//! The ordered end: stop intake, drain, flush, commit, leave, exit.

use std::time::Duration;

use harness::deadline;
use harness::service::Service;

use crate::stage::{SOON, Shared, Stage, ensure};

/// Ends the service by a signal in mid-stream, three times, and lets it go on.
fn end_in_mid_stream(name: &str, signal: &str) -> Result<(), String> {
    let stage = Stage::mock(name, 2)?;
    let mut feeder = stage.feeder()?;
    let mut service = stage.service()?;
    feeder.stream(12_000, 3_000, |sent| {
        if [3_000, 6_000, 9_000].contains(&sent) {
            service.signal(signal)?;
            let code = service.wait(SOON)?;
            ensure(code == Some(0), || format!("the service ended with {code:?} after SIG{signal}: {}", service.stderr().join(" | ")))?;
            service = stage.service()?;
        }
        Ok(())
    })?;
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    service.stop(SOON)?;
    stage.balance(&feeder)?.check_exact()
}

pub(crate) fn sigterm_loses_and_repeats_nothing(_: &Shared) -> Result<(), String> {
    end_in_mid_stream("term", "TERM")
}

pub(crate) fn sigint_loses_and_repeats_nothing(_: &Shared) -> Result<(), String> {
    end_in_mid_stream("int", "INT")
}

pub(crate) fn an_unfinished_execution_runs_again_after_the_deadline(_: &Shared) -> Result<(), String> {
    let stage = Stage::mock("again", 1)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(0), "plain", "")?;
    let waiting = feeder.errand(Some(0), "wait", ",\"seconds\":8")?;
    feeder.errand(Some(0), "plain", "")?;
    feeder.flush(SOON)?;
    let mut service = Service::start(&stage.config("errands")?.with("service/shutdown_timeout", "2s"), SOON)?;
    stage.wait_results(2)?;
    service.signal("TERM")?;
    service.wait(Duration::from_secs(7))?;
    // What waited was given back: the group stands at it, and the next service runs it from the start.
    let stood = deadline::until("offset 1 committed", Duration::from_secs(2), || stage.committed().ok().filter(|committed| committed[0] == 1));
    stood.map_err(|late| format!("{late}: the group stands at {:?}", stage.committed()))?;
    let mut service = stage.service()?;
    stage.wait_all_committed(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check()?;
    ensure(balance.duplicates <= 1, || format!("{} duplicates, expected at most the record behind the one that waited", balance.duplicates))?;
    ensure(feeder.ledger().positions()[&waiting] == (0, 1), || "the wait is not record 1".to_owned())?;
    service.stop(SOON)
}
