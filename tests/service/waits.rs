//! A long wait beside a fast stream: what it holds up, and what it costs after a crash.

use std::time::Duration;

use harness::deadline;
use harness::service::Service;

use crate::stage::{SOON, Shared, Stage, ensure};

/// Names the seconds of the wait and the records a second beside it, for a longer run than the usual one: `EXPRESSWAY_LONG_WAIT="300 10000"`.
const LONGER: &str = "EXPRESSWAY_LONG_WAIT";
/// Records of the wait's own device among so many: the feeder has that many devices.
const DEVICES: u64 = 1_000;

/// How long one record waits, how many come beside it in each second, and for how many seconds.
#[derive(Debug, Clone, Copy)]
struct Load {
    wait_s: u64,
    rate: u64,
    stream_s: u64,
}

impl Load {
    fn asked() -> Result<Self, String> {
        let Ok(text) = std::env::var(LONGER) else { return Ok(Self { wait_s: 25, rate: 2_000, stream_s: 5 }) };
        let wrong = || format!("{LONGER} is \"{text}\", expected seconds and records a second, for instance \"300 10000\"");
        let (wait_s, rate) = text.split_once(' ').ok_or_else(wrong)?;
        let (wait_s, rate) = (wait_s.parse().map_err(|_| wrong())?, rate.trim().parse().map_err(|_| wrong())?);
        // What is left of the wait is for looking at it.
        Ok(Self { wait_s, rate, stream_s: wait_s * 9 / 10 })
    }
}

/// The sum of a metric over its labels.
fn metric(service: &Service, name: &str) -> Result<u64, String> {
    let value = service.metrics(name)?.get(name).copied().ok_or_else(|| format!("no metric {name}"))?;
    format!("{value:.0}").parse().map_err(|error| format!("{name} is {value}: {error}"))
}

pub(crate) fn a_long_wait_beside_a_fast_stream_costs_what_the_window_says(shared: &Shared) -> Result<(), String> {
    let load = Load::asked()?;
    let stage = Stage::real(shared, "beside", 1)?;
    let config = stage.config("errands")?.with("kafka/client_options/session.timeout.ms", "6000").with("service/shutdown_timeout", "60s");
    let mut service = Service::start(&config, SOON)?;
    let mut feeder = stage.feeder()?;
    feeder.errand(Some(0), "wait", &format!(",\"seconds\":{}", load.wait_s))?;
    feeder.flush(SOON)?;
    let records = load.rate * load.stream_s;
    feeder.stream(records, load.rate, |sent| {
        // Once a second: nothing is paused, and no more than a second's worth is behind.
        if sent > 0 && sent % load.rate == 0 {
            let (paused, read) = (metric(&service, "expressway_pauses_total")?, metric(&service, "expressway_records_read_total")?);
            ensure(paused == 0, || format!("{paused} pauses after {sent} records"))?;
            ensure(read + 5 * load.rate >= sent, || format!("{read} of {sent} records were read"))?;
        }
        Ok(())
    })?;
    feeder.flush(SOON)?;
    // Those of the device that waits stand behind it; all others are done.
    let behind = records / DEVICES;
    let done = deadline::until("the stream's results", SOON, || {
        metric(&service, "expressway_records_acknowledged_total").ok().filter(|done| *done == records - behind)
    });
    done.map_err(|late| format!("{late}: {:?} of {}", metric(&service, "expressway_records_acknowledged_total"), records - behind))?;
    ensure(metric(&service, "expressway_records_deferred")? == behind, || {
        format!("{:?} are deferred, not {behind}", metric(&service, "expressway_records_deferred"))
    })?;
    ensure(stage.committed()?[0] == 0, || format!("the group stands at {:?}, although record 0 waits", stage.committed()))?;
    let would_run_again = metric(&service, "expressway_window_distance_records")?;
    service.signal("KILL")?;
    service.wait(SOON)?;
    // The predecessor's session has to be over first.
    let mut service = Service::start(&config, SOON)?;
    let patience = SOON + Duration::from_secs(load.wait_s);
    stage.wait_all_committed(patience)?;
    let ran_again = metric(&service, "expressway_executions_started_total")?;
    ensure(ran_again == would_run_again, || format!("{ran_again} records ran again, the window said {would_run_again}"))?;
    service.stop(SOON)?;
    let balance = stage.balance(&feeder)?;
    balance.check()?;
    let repeated = records - behind;
    ensure(balance.duplicates as u64 == repeated, || format!("{} results came twice, expected {repeated}", balance.duplicates))
}
