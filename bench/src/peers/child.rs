//! A peer's process: its output kept in files, its costs read from `/proc`, ended in order. It stays in this process's group, so that whatever interrupts the bench from outside ends the peer too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::pause;
use crate::probe;

/// How long a process may take to end in order before it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks at a process that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// How much of a process's last words is quoted.
const QUOTE_CHARS_MAX: usize = 200;

/// A running peer. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    out: PathBuf,
    err: PathBuf,
    peak_kb: u64,
}

impl Child {
    /// Starts `command`; what it prints goes to `NAME.out` and `NAME.err` in `scratch`.
    ///
    /// # Errors
    /// It cannot be started; the text says why.
    pub(super) fn start(mut command: Command, scratch: &Path, name: &str) -> Result<Self, String> {
        let file = |end: &str| {
            let path = scratch.join(format!("{name}.{end}"));
            File::create(&path).map(|file| (path, file)).map_err(|error| format!("its output cannot be kept: {error}"))
        };
        let ((out, stdout), (err, stderr)) = (file("out")?, file("err")?);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let process = command.spawn().map_err(|error| format!("{} cannot be started: {error}", command.get_program().to_string_lossy()))?;
        Ok(Self { process, out, err, peak_kb: 0 })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status once it has ended. Also takes note of its memory, so it has to be called now and then.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.peak_kb = self.peak_kb.max(peak_kb(self.pid()).unwrap_or(0));
        self.process.try_wait().ok().flatten()
    }

    /// Waits until it has ended well, and returns the last line of JSON that it printed.
    ///
    /// # Errors
    /// It fails, says nothing, or takes too long; the text has its last words.
    pub(super) fn result(&mut self, within: Duration) -> Result<Value, String> {
        let end = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            if Instant::now() > end {
                return Err(format!("it takes longer than {} s", within.as_secs()));
            }
            pause(LOOK);
        };
        if !status.success() {
            return Err(self.last_words(status));
        }
        self.said().ok_or_else(|| "it printed no result".to_owned())
    }

    /// The last line of JSON that it has printed so far.
    pub(super) fn said(&self) -> Option<Value> {
        last_object(&fs::read_to_string(&self.out).ok()?)
    }

    /// How it ended, with the last line of what it complained about.
    pub(super) fn last_words(&self, status: ExitStatus) -> String {
        let text = fs::read(&self.err).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("it ended with {status}: {}", line.trim().chars().take(QUOTE_CHARS_MAX).collect::<String>())
    }

    /// The most memory that was resident at a time, in MB.
    pub(super) fn peak_mb(&self) -> f64 {
        self.peak_kb as f64 * 1024.0 / 1e6
    }

    /// Processor time so far, in seconds.
    pub(super) fn cpu_s(&self) -> Option<f64> {
        probe::process_cpu_s(self.pid())
    }

    /// Ends it in order, with all that it has started itself, or after a while anyhow.
    pub(super) fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // One that has gone meanwhile is no trouble.
        drop(Command::new("kill").args(["-TERM", "--", &self.pid().to_string()]).stderr(Stdio::null()).status());
        let end = Instant::now() + END_WITHIN;
        while self.ended().is_none() {
            if Instant::now() > end {
                drop(self.process.kill());
                drop(self.process.wait());
                return;
            }
            pause(LOOK);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// The last line of `text` that is a JSON object.
fn last_object(text: &str) -> Option<Value> {
    text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object))
}

/// The most memory of a process that was resident at a time, in KiB.
fn peak_kb(pid: u32) -> Option<u64> {
    probe::field(&format!("/proc/{pid}/status"), "VmHWM")?.strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str) -> Child {
        let scratch = std::env::temp_dir().join(format!("expressway-bench-child-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::start(command, &scratch, name).unwrap()
    }

    #[test]
    fn last_line_of_json_is_the_result() {
        let text = "warming up\n{\"version\":\"1\"}\n{\"version\":\"2\"}\n7\nbye";
        assert_eq!(last_object(text).unwrap()["version"], "2");
        assert_eq!(last_object("7\n[]\n"), None);
        let mut child = shell("result", "echo '{\"cpu_s\":1.5}'");
        assert_eq!(child.result(Duration::from_secs(60)).unwrap()["cpu_s"].as_f64(), Some(1.5));
    }

    #[test]
    fn failure_is_told_with_the_last_words() {
        let mut child = shell("failure", "echo one >&2; echo 'no such jar' >&2; exit 4");
        let words = child.result(Duration::from_secs(60)).unwrap_err();
        assert!(words.contains("status: 4") && words.ends_with("no such jar"), "{words}");
        let mut silent = shell("silent", "true");
        assert_eq!(silent.result(Duration::from_secs(60)).unwrap_err(), "it printed no result");
    }

    #[test]
    fn end_lets_a_process_end_in_order() {
        let mut child = shell("end", "trap 'echo \"{\\\"trapped\\\":true}\"; exit 0' TERM; echo '{}'; while :; do sleep 0.01; done");
        let end = Instant::now() + Duration::from_secs(60);
        while child.said().is_none() {
            assert!(Instant::now() < end, "it says nothing");
            pause(LOOK);
        }
        child.end();
        assert_eq!(child.said().unwrap()["trapped"], true);
        assert!(child.cpu_s().is_none());
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        let reason = Child::start(Command::new("/no/such/program"), &std::env::temp_dir(), "none").unwrap_err();
        assert!(reason.starts_with("/no/such/program cannot be started"), "{reason}");
    }
}
