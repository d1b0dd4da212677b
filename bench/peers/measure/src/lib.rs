//! What the peers in Rust share, so that all of them are driven alike: messages in memory, one pass whose outputs are written down to be checked, passes to get warm, timed passes, one line of JSON.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

/// What can go wrong in a benchmark: it ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The value of the flag `--name`.
pub fn flag(name: &str) -> Result<String, Failure> {
    let mut arguments = std::env::args().skip_while(|argument| argument.strip_prefix("--") != Some(name));
    arguments.nth(1).ok_or_else(|| format!("--{name} is missing").into())
}

/// Runs `job` over the messages as the flags say, and prints the result. The job gets a message and its number, and leaves its output in the buffer.
pub fn engine(version: &str, mut job: impl FnMut(&[u8], usize, &mut Vec<u8>) -> Result<(), Failure>) -> Result<(), Failure> {
    let text = fs::read(flag("messages")?)?;
    let count: usize = flag("count")?.parse()?;
    let (warm, measured) = (seconds("warm-s")?, seconds("measure-s")?);
    let messages: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(count).collect();
    let mut output = Vec::new();

    let mut file = BufWriter::new(File::create(flag("outputs")?)?);
    for (number, message) in messages.iter().enumerate() {
        output.clear();
        job(message, number, &mut output)?;
        output.push(b'\n');
        file.write_all(&output)?;
    }
    file.flush()?;

    let mut pass = || -> Result<Duration, Failure> {
        let start = Instant::now();
        for (number, message) in messages.iter().enumerate() {
            output.clear();
            job(message, number, &mut output)?;
            black_box(&output);
        }
        Ok(start.elapsed())
    };
    let mut passes_until = |end: Duration| -> Result<Vec<f64>, Failure> {
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < end || times.is_empty() {
            times.push(pass()?.as_secs_f64());
        }
        Ok(times)
    };
    passes_until(warm)?;
    let before = cpu_s();
    let times = passes_until(measured)?;
    let cpu_s = cpu_s() - before;
    println!(r#"{{"version":"{version}","executions_per_pass":{},"pass_s":{times:?},"cpu_s":{cpu_s:?}}}"#, messages.len());
    Ok(())
}

fn seconds(name: &str) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(flag(name)?.parse()?)?)
}

/// The version of a package in the text of a lock file.
pub fn locked(lock: &str, package: &str) -> String {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.map_or_else(|| "?".to_owned(), |version| version.trim_matches('"').to_owned())
}

/// Processor time of this process so far, user and system together.
fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for writing a `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
