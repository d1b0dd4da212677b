//! The service as a process: the `expressway` binary with a configuration, its output, its HTTP, its end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deadline;
use crate::leash::Leash;

/// What a service is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file, JSON being YAML.
    pub body: Value,
    /// Where its HTTP listens.
    pub port: u16,
}

impl Config {
    /// One pipeline `errands` from `source` to `source-results` and `source-dead-letters`, group `group`, with a definition of the tests.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(bootstrap: &str, source: &str, group: &str, definition: &str) -> Result<Self, String> {
        let port = free_port()?;
        let file = crate::package().join("data/definitions").join(format!("{definition}.asl.json"));
        // Rebalances are noticed within half a second; a session outlives the stalls of a busy machine, for a member that is only slow must not be taken for a dead one.
        let client_options = json!({"session.timeout.ms": "20000", "heartbeat.interval.ms": "500", "auto.commit.interval.ms": "200"});
        let body = json!({
            "kafka": {"bootstrap_servers": bootstrap, "group_id": group, "client_options": client_options},
            "http": {"listen": format!("127.0.0.1:{port}")},
            "service": {"shards": 2, "shutdown_timeout": "20s", "memory_limit": "256MiB"},
            "pipelines": [{
                "name": "errands",
                "definition": file,
                "source_topics": [source],
                "result_topic": results(source),
                "dead_letter_topic": dead_letters(source),
            }],
        });
        Ok(Self { body, port })
    }

    /// The same with one key, by its path (`pipelines/0/on_null`), set to `value`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.body;
        for step in key.split('/') {
            place = match step.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[step],
            };
        }
        *place = value.into();
        self
    }
}

/// The result topic of a source topic of the tests.
#[must_use]
pub fn results(source: &str) -> String {
    format!("{source}-results")
}

/// The dead-letter topic of a source topic of the tests.
#[must_use]
pub fn dead_letters(source: &str) -> String {
    format!("{source}-dead-letters")
}

/// A port that is free just now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// The product's binary, beside this test's.
fn binary() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join("expressway")).find(|path| path.is_file());
    found.ok_or_else(|| "no binary `expressway` beside the test: build the workspace first".to_owned())
}

/// Runs the binary to its end with some arguments: exit code, stdout, stderr.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub fn run(arguments: &[&str], limit: Duration) -> Result<(Option<i32>, String, String), String> {
    let mut child = Command::new(binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start expressway: {error}"))?;
    let ended = deadline::until("the end of expressway", limit, || child.try_wait().ok().flatten());
    if ended.is_err() {
        child.kill().map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    ended.map(|status| (status.code(), text(output.stdout), text(output.stderr)))
}

/// A service that runs; killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    leash: Option<Leash>,
    status: Option<ExitStatus>,
    _folder: TempDir,
}

impl Service {
    /// Starts `expressway run` without waiting for anything.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn spawn(config: &Config) -> Result<Self, String> {
        Self::spawn_by(config, |file| {
            let mut command = Command::new(binary()?);
            command.arg("run").arg("--config").arg(file);
            Ok(command)
        })
    }

    /// The same with a bound on the size of every file that the service writes, in blocks of 512 bytes: to it, the disk is full there.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn spawn_on_a_full_disk(config: &Config, blocks: u32) -> Result<Self, String> {
        Self::spawn_by(config, |file| {
            let mut command = Command::new("/bin/sh");
            // Without the trap the signal that comes with the error would end the process before it sees the error.
            command.args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; exec \"$2\" run --config \"$3\"", "service"]);
            command.arg(blocks.to_string()).arg(binary()?).arg(file);
            Ok(command)
        })
    }

    fn spawn_by(config: &Config, command: impl FnOnce(&Path) -> Result<Command, String>) -> Result<Self, String> {
        let folder = TempDir::new_in(crate::scratch()).map_err(|error| error.to_string())?;
        let file = folder.path().join("expressway.yaml");
        fs::write(&file, config.body.to_string()).map_err(|error| error.to_string())?;
        let mut child = command(&file)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start expressway: {error}"))?;
        let kill = "[ \"$(cat \"/proc/$1/comm\")\" = expressway ] && kill -9 \"$1\"";
        let leash = Leash::tie(kill, &[&child.id().to_string()])?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stderr.take().map(|stderr| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        });
        Ok(Self { child, port: config.port, lines, reader, leash: Some(leash), status: None, _folder: folder })
    }

    /// Starts the service and waits for its line `ready`.
    ///
    /// # Errors
    /// When it ends, or is not ready, within `limit`.
    pub fn start(config: &Config, limit: Duration) -> Result<Self, String> {
        let mut service = Self::spawn(config)?;
        service.wait_ready(limit)?;
        Ok(service)
    }

    /// Waits for the line `ready`.
    ///
    /// # Errors
    /// When it ends, or is not ready, within `limit`.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<(), String> {
        let ready = deadline::until("the line 'ready'", limit, || {
            if self.stderr().iter().any(|line| line.trim() == "ready") {
                return Some(true);
            }
            self.ended().map(|_| false)
        });
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("the service ended before it was ready: {}", self.stderr().join(" | "))),
            Err(late) => Err(format!("{late}; it wrote: {}", self.stderr().join(" | "))),
        }
    }

    /// Its lines on stderr so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                // Its number may be given to another process from here on.
                self.leash.take().into_iter().for_each(Leash::release);
            }
        }
        self.status
    }

    /// Sends a signal by its name, such as `TERM` or `KILL`.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, name: &str) -> Result<(), String> {
        if self.ended().is_some() {
            return Err(format!("the service has ended: {}", self.stderr().join(" | ")));
        }
        let status = Command::new("/bin/kill").args([&format!("-{name}"), &self.pid().to_string()]).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("cannot send {name}")) }
    }

    /// Waits for its end: the exit code, or `None` when a signal ended it.
    ///
    /// # Errors
    /// When it goes on for longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<i32>, String> {
        let ended = deadline::until("the end of the service", limit, || self.ended());
        let status = ended.map_err(|late| format!("{late}; it wrote: {}", self.stderr().join(" | ")))?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| "the reader of stderr panicked".to_owned())?;
        }
        Ok(status.code().or_else(|| status.signal().map(|_| -1)).filter(|&code| code >= 0))
    }

    /// Ends it by SIGTERM and checks that it went in order.
    ///
    /// # Errors
    /// When it does not end within `limit` or with another code than 0.
    pub fn stop(&mut self, limit: Duration) -> Result<(), String> {
        self.signal("TERM")?;
        match self.wait(limit)? {
            Some(0) => Ok(()),
            other => Err(format!("the service ended with {other:?} after SIGTERM: {}", self.stderr().join(" | "))),
        }
    }

    /// `GET path`: status and body.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        get(self.port, path).map_err(|error| format!("GET {path}: {error}"))
    }

    /// The metrics whose names begin with `prefix`, summed over their labels.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn metrics(&self, prefix: &str) -> Result<BTreeMap<String, f64>, String> {
        let (_, body) = self.get("/metrics")?;
        let mut sums = BTreeMap::new();
        for line in body.lines().filter(|line| line.starts_with(prefix)) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).ok_or_else(|| format!("no sample: {line}"))?;
            *sums.entry(name.to_owned()).or_insert(0.0) += value;
        }
        Ok(sums)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Either may fail only because the process is gone, which is what is wanted.
            let _killed = self.child.kill();
            let _reaped = self.child.wait();
            self.leash.take().into_iter().for_each(Leash::release);
        }
    }
}

/// HTTP/1.1 by hand: one request, one answer, connection closed.
fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
