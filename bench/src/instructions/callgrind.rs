//! This program under callgrind: one process a case, one dump a phase.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::phases::Case;
use super::{Counts, Found};
use crate::error::Error;

/// The function at whose entry callgrind writes a dump. Its mangled name has both parts, in any mangling.
const END_OF_PHASE: &str = "--dump-before=*phases*end_of_counted_phase*";

/// Dumps of a case: for each depth what came before, one pass, two passes.
const DUMPS: usize = 9;

/// Variables that valgrind itself may need, beside the search path of its libraries.
const VARIABLES: [&str; 2] = ["VALGRIND_LIB", "LD_LIBRARY_PATH"];

/// Where valgrind is.
pub(super) struct Valgrind {
    program: PathBuf,
}

impl Valgrind {
    pub(super) fn find() -> Result<Self, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("valgrind")).find(|program| program.is_file());
        let program = found.ok_or_else(|| Error::surroundings("looking for valgrind", "it is not in PATH (Debian package: valgrind)"))?;
        Ok(Self { program })
    }

    /// Counts the instructions of a case.
    pub(super) fn count(&self, case: &'static Case, dumps: Option<&Path>) -> Result<Found, Error> {
        let doing = || format!("counting the instructions of {}", case.name);
        let failed = |error: std::io::Error| Error::surroundings(doing(), error);
        let scratch = std::env::temp_dir().join(format!("expressway-instructions-{}-{}", std::process::id(), case.name));
        fs::create_dir_all(&scratch).map_err(failed)?;
        let output = self.run(case, &scratch).map_err(failed)?;
        if !output.status.success() {
            return Err(Error::surroundings(doing(), format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))));
        }
        let read = |part: usize| fs::read_to_string(scratch.join(format!("dump.{part}"))).map_err(failed);
        let sums: Vec<u64> = (1..=DUMPS)
            .map(|part| total(&read(part)?).ok_or_else(|| Error::surroundings(doing(), format!("dump {part} has no total"))))
            .collect::<Result<_, Error>>()?;
        if let Some(folder) = dumps {
            // All three parts, one pass: what callgrind_annotate is for.
            fs::create_dir_all(folder).and_then(|()| fs::copy(scratch.join("dump.8"), folder.join(case.name))).map_err(failed)?;
        }
        fs::remove_dir_all(&scratch).map_err(failed)?;
        let told: Value = serde_json::from_slice(&output.stdout).map_err(|error| Error::surroundings(doing(), error))?;
        let executions = told["executions"].as_u64().filter(|count| *count > 0).ok_or_else(|| Error::surroundings(doing(), "nothing was executed"))?;
        // Of every three dumps the first is what came before.
        let passes = [(sums[1], sums[2]), (sums[4], sums[5]), (sums[7], sums[8])];
        let features = told["features"].as_str().unwrap_or_default().to_owned();
        Ok(Found { name: case.name, executions, counts: Counts::from_passes(passes, executions), features })
    }

    /// Without environment, in a folder of its own: both lie on the stack, and would move it.
    fn run(&self, case: &Case, scratch: &Path) -> std::io::Result<Output> {
        let mut out = OsString::from("--callgrind-out-file=");
        out.push(scratch.join("dump"));
        let mut command = Command::new(&self.program);
        command.args(["--tool=callgrind", "--quiet", END_OF_PHASE, "--dump-line=no"]).arg(out);
        command.arg(std::env::current_exe()?).args(["instructions", "--phases", case.name]).current_dir(scratch).env_clear();
        command.envs(VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.output()
    }
}

/// The total of a dump.
fn total(dump: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:"))?.trim().parse().ok();
    dump.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_its_total() {
        assert_eq!(total("version: 1\ndesc: Trigger: x\nevents: Ir\nsummary: 14012\n\nfn=(1)\n0 7\ntotals: 14012\n"), Some(14_012));
        assert_eq!(total("version: 1\nevents: Ir\n\nfn=(1)\n0 7\ntotals: 7\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }
}
