//! Facts of the machine, the build and the moment: what a number has to be quoted with, and what makes it worthless.
//!
//! Everything comes from `/proc`; on other systems the facts are missing and the costs are unknown.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::pause;
use crate::error::Error;

/// How long other processes are watched before a run.
const WATCH: Duration = Duration::from_millis(300);

/// Part of one core that others may use before it is worth a warning.
const BUSY: f64 = 0.05;

/// Runnable processes a core, averaged over a minute, before it is worth a warning.
const LOAD: f64 = 0.5;

/// Processors that this process may run on.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(u32::MAX))
}

/// Refuses builds whose numbers mean nothing.
///
/// # Errors
/// This is a debug build.
pub fn require_optimised() -> Result<(), Error> {
    if cfg!(debug_assertions) {
        return Err(Error::Usage("this is a debug build, whose numbers mean nothing: use cargo run --profile bench -p expressway-bench -- …".to_owned()));
    }
    Ok(())
}

/// What a recorded number is quoted with. No host name: the kind of machine matters, not which one.
#[must_use]
pub fn facts() -> Value {
    json!({
        "commit": commit(),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        "toolchain": option_env!("RUSTUP_TOOLCHAIN"),
        "version": env!("CARGO_PKG_VERSION"),
        "processor": field("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "system": fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|release| format!("Linux {}", release.trim())),
        "load_average": load_average(),
    })
}

/// The commit of the working directory's tree, marked where files differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"])?.lines().next().is_some();
    Some(if is_changed { format!("{head}, with changes") } else { head })
}

pub(crate) fn field(file: &str, name: &str) -> Option<String> {
    field_of(&fs::read_to_string(file).ok()?, name)
}

/// The first `name: value` of a text out of `/proc`.
fn field_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// What disturbs a measurement now, one sentence each. Takes a third of a second. Processes in `expected` may be busy.
#[must_use]
pub fn noise(expected: &[u32]) -> Vec<String> {
    let mut found = Vec::new();
    let cores = f64::from(processors());
    if let Some(load) = load_average().filter(|load| *load > LOAD * cores) {
        found.push(format!("the load average is {load}, with {cores} cores"));
    }
    let before = processes();
    pause(WATCH);
    for (pid, (name, ticks)) in processes() {
        let used = before.get(&pid).map_or(0, |(_, before)| ticks.saturating_sub(*before));
        let share = seconds(used) / WATCH.as_secs_f64();
        if share > BUSY && pid != std::process::id() && !expected.contains(&pid) {
            found.push(format!("process {pid} ({name}) uses {share:.2} of a core"));
        }
    }
    found
}

/// Name and processor time of every process.
fn processes() -> BTreeMap<u32, (String, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, name_and_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// Name, and user and system time together, of a line of `/proc/PID/stat`. The name stands in brackets and may hold anything, brackets too.
fn name_and_ticks(stat: &str) -> Option<(String, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    // State is field 3 of proc(5), utime and stime are 14 and 15.
    let mut times = after.split(' ').skip(11);
    let mut time = || times.next()?.parse::<u64>().ok();
    Some((name.to_owned(), time()? + time()?))
}

/// `/proc` counts processor time in hundredths of a second on every machine that Linux offers user space for (`USER_HZ`).
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

/// Processor time of another process so far, user and system together, in seconds; `None` when it is gone.
#[must_use]
pub fn process_cpu_s(pid: u32) -> Option<f64> {
    name_and_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|(_, ticks)| seconds(ticks))
}

/// Processor time of this process so far, user and system together, in seconds.
#[must_use]
pub fn own_cpu_s() -> f64 {
    let usage = usage();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[expect(unsafe_code, reason = "getrusage is finer than the hundredths of a second in /proc, and exists only in C")]
fn usage() -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for writing a `rusage`.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    debug_assert_eq!(answer, 0, "getrusage of the own process cannot fail");
    // SAFETY: all zeroes is a valid `rusage`, and the call has at most filled it.
    unsafe { usage.assume_init() }
}

/// Processor time of the calling thread so far.
#[must_use]
#[expect(unsafe_code, reason = "the clock of a thread's processor time exists only in C")]
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for writing a `timespec`.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    debug_assert_eq!(answer, 0, "the clock of the own thread can always be read");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of this process that is resident now, in bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = field("/proc/self/status", "VmRSS")?;
    Some(text.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(name_and_ticks(stat), Some(("a) b (c".to_owned(), 300)));
        assert_eq!(name_and_ticks("17 (a"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(field_of("model\t: 2\nmodel name\t: A B\nmodel name\t: C\n", "model name").as_deref(), Some("A B"));
        assert_eq!(field_of("model\t: 2\n", "name"), None);
    }

    #[test]
    fn own_costs_are_known_and_grow() {
        let before = own_cpu_s();
        let mut sum = 0_u64;
        while own_cpu_s() <= before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(process_cpu_s(std::process::id()).is_some());
        assert_eq!(process_cpu_s(u32::MAX), None);
    }

    #[test]
    fn debug_builds_are_refused() {
        assert_eq!(require_optimised().is_err(), cfg!(debug_assertions));
    }
}
