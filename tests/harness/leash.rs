//! Ends what a test has started when the test's process ends, in whatever way.
//!
//! A leash is a shell in a process group of its own that waits on a pipe from us. Our end closes when this process is gone, killed or not; the shell then runs its command.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Runs a shell command once this value is dropped or its process is gone, unless [`Leash::release`] was called.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Leash {
    /// `command` is shell text with `arguments` as `$1`, `$2`, …
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn tie(command: &str, arguments: &[&str]) -> Result<Self, String> {
        let script = format!("read -r word && [ \"$word\" = released ] && exit 0; {command}");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &script, "leash"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start a shell: {error}"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Gives up the leash: its command will not run.
    pub fn release(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A shell that is gone already has nothing left to run.
            let _gone = pipe.write_all(b"released\n");
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The command is bounded by itself; its result concerns nobody any more.
        let _status = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_runs_unless_the_leash_was_released() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        drop(Leash::tie("echo ran > \"$1\"", &[&file("dropped")]).unwrap());
        Leash::tie("echo ran > \"$1\"", &[&file("released")]).unwrap().release();
        assert!(std::path::Path::new(&file("dropped")).exists());
        assert!(!std::path::Path::new(&file("released")).exists());
    }
}
