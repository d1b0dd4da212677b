//! Cases that are folders: a definition, messages, and what has to come of each. Adding one needs no code.
//!
//! Each folder of `bench/cases` is named after a case. One that a module of this crate runs, because it takes flags or needs a broker, shows there what is run: the definition at the flags' defaults, some messages, their outputs. Every other one is run from its folder: its messages in turns through the engine, as `heartbeat` does it, every output compared first. Calls of such a case return null.
//!
//! - `case.json`: `summary`, and `measures`, which says what each key of the result is; `definition`, a path from the folder, where it is not `definition.asl.json`; `messages`, how many a pass has.
//! - `messages.jsonl`: the inputs, one a line. `outputs.jsonl`: their outputs, line by line, `{execution}` for the execution's name; error and cause as an object where it fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::find;
use crate::error::Error;
use crate::messages::Messages;
use crate::outcome::Outcome;
use crate::timing::{PASSES, Stage, Workload, time};
use crate::workflow::program;

/// Where the folders are, from the root of the project.
pub const HOME: &str = "bench/cases";

/// Messages of a pass where `case.json` says nothing.
const MESSAGES: u32 = 20_000;

/// The most messages of a pass.
const MESSAGES_MAX: u32 = 1_000_000;

/// What stands for the execution's name in an output.
const EXECUTION: &str = "{execution}";

/// A case's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The case. Like the summary it is part of the command line, which lives as long as the process.
    pub name: &'static str,
    /// What it measures, in a line.
    pub summary: &'static str,
    /// What each key of its result is.
    pub measures: Map<String, Value>,
    path: PathBuf,
    definition: PathBuf,
    messages: u32,
}

/// The folders of `home`, by name; none where that is not there, for instance beside an installed program.
///
/// # Errors
/// A folder without a well-formed `case.json`.
pub fn all(home: &Path) -> Result<Vec<Folder>, Error> {
    let Ok(entries) = fs::read_dir(home) else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths.iter().map(|path| Folder::read(path)).collect()
}

impl Folder {
    fn read(path: &Path) -> Result<Self, Error> {
        let file = path.join("case.json");
        let wrong = |what: &str| Error::Wrong(format!("{}: {what}", file.display()));
        let about: Map<String, Value> = serde_json::from_str(&read(&file)?).map_err(|error| wrong(&error.to_string()))?;
        if let Some(key) = about.keys().find(|key| !["summary", "measures", "definition", "messages"].contains(&key.as_str())) {
            return Err(wrong(&format!("it has the key {key}; there are summary, measures, definition, messages")));
        }
        let text = |key: &str| about.get(key).and_then(Value::as_str);
        let count = about.get("messages").map_or(Some(MESSAGES), |count| u32::try_from(count.as_u64()?).ok());
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("its folder has no name"))?;
        Ok(Self {
            name: name.to_owned().leak(),
            summary: text("summary").ok_or_else(|| wrong("it has no summary"))?.to_owned().leak(),
            measures: about.get("measures").and_then(Value::as_object).cloned().ok_or_else(|| wrong("it does not say what it measures"))?,
            path: path.to_owned(),
            definition: path.join(text("definition").unwrap_or("definition.asl.json")),
            messages: count.filter(|count| (1..=MESSAGES_MAX).contains(count)).ok_or_else(|| wrong(&format!("messages are 1 to {MESSAGES_MAX}")))?,
        })
    }

    /// Whether it is run from its folder; a module runs the others.
    #[must_use]
    pub fn is_run(&self) -> bool {
        find(self.name).is_none()
    }

    /// Runs it.
    ///
    /// # Errors
    /// A file is missing, the definition is refused, an output is not the expected one, or the thread cannot be pinned.
    pub fn run(&self) -> Result<Outcome, Error> {
        self.run_passes(self.messages, PASSES)
    }

    fn run_passes(&self, messages: u32, passes: u32) -> Result<Outcome, Error> {
        let workload = self.workload(messages)?;
        let timings = time(&[Stage::of(&workload)], passes)?;
        Ok(Outcome::of(self.name, Vec::new(), &timings[0]))
    }

    /// Definition, so many messages, and what has to come of them.
    fn workload(&self, messages: u32) -> Result<Workload, Error> {
        let (inputs, outputs) = (read(&self.path.join("messages.jsonl"))?, read(&self.path.join("outputs.jsonl"))?);
        let (inputs, outputs): (Vec<&str>, Vec<&str>) = (inputs.lines().collect(), outputs.lines().collect());
        if inputs.is_empty() || inputs.len() != outputs.len() {
            return Err(Error::Wrong(format!("{}: {} messages and {} outputs", self.path.display(), inputs.len(), outputs.len())));
        }
        let all: Messages = inputs.iter().cycle().take(messages as usize).collect();
        let outputs: BTreeMap<Vec<u8>, String> = inputs.iter().zip(&outputs).map(|(input, output)| (input.as_bytes().to_vec(), (*output).to_owned())).collect();
        let expected = move |message: &[u8], execution: &str| {
            let output = outputs.get(message).map_or("", String::as_str);
            Ok(output.replace(EXECUTION, execution).into_bytes())
        };
        Ok(Workload { program: program(&read(&self.definition)?, self.name)?, inputs: vec![all], expected: Box::new(expected) })
    }
}

fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(|error| Error::surroundings(format!("reading {}", file.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{choice_rules, fork, heartbeat, transitions};
    use crate::definitions::{Hit, Rules, Trace, Work, chain, choices, parallel};
    use crate::error::Error;
    use crate::reference;
    use crate::timing::check;
    use crate::workflow::{ALERT, Runner};

    /// Messages that a folder shows.
    const SHOWN: u32 = 24;

    fn home() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
    }

    /// A case, its definition where a module makes it, and what is run.
    type Shown = (&'static str, Option<String>, Workload);

    /// Those of which a module makes the definition or the outputs: what the folder has to show.
    fn shown() -> Result<Vec<Shown>, Error> {
        let alert = Workload { program: program(ALERT, "alert")?, inputs: vec![Messages::alerts(SHOWN, 1)], expected: Box::new(reference::alert) };
        let choices = choices(8, 20, Rules::String, Trace::Silent);
        Ok(vec![
            ("alert", None, alert),
            ("choice-rules", Some(choices), choice_rules::workload(Rules::String, 20, 8, Hit::Random, SHOWN)?),
            ("heartbeat", None, heartbeat::workload(1, SHOWN)?),
            ("map20", None, fork::map_workload(20, SHOWN)?),
            ("parallel", Some(parallel(4)), fork::parallel_workload(4, SHOWN)?),
            ("transitions", Some(chain(100, Work::Pass)), transitions::workload(Work::Pass, 100, SHOWN)?),
        ])
    }

    /// The files as they have to be, by name. `UPDATE_GOLDEN=1` writes them: outputs by hand with serde_json, not by the engine.
    #[test]
    fn folders_show_what_their_modules_run() {
        for (name, definition, workload) in shown().unwrap() {
            let (mut messages, mut outputs) = (String::new(), String::new());
            for message in workload.inputs[0].iter() {
                let output = (workload.expected)(message, EXECUTION).unwrap();
                messages.push_str(&format!("{}\n", String::from_utf8_lossy(message)));
                outputs.push_str(&format!("{}\n", String::from_utf8_lossy(&output)));
            }
            let files = [("messages.jsonl", Some(messages)), ("outputs.jsonl", Some(outputs)), ("definition.asl.json", definition.map(|text| text + "\n"))];
            for (file, text) in files.into_iter().filter_map(|(file, text)| Some((home().join(name).join(file), text?))) {
                if std::env::var_os("UPDATE_GOLDEN").is_some() {
                    fs::write(&file, &text).unwrap();
                }
                assert!(read(&file).unwrap() == text, "{} is not what is run; UPDATE_GOLDEN=1 writes it", file.display());
            }
        }
    }

    #[test]
    fn what_every_folder_with_messages_shows_is_right() {
        let folders = all(&home()).unwrap();
        assert!(folders.iter().any(Folder::is_run) && folders.iter().any(|folder| !folder.is_run()));
        for folder in folders {
            assert!(!folder.measures.is_empty() && !folder.summary.ends_with('.'), "{}", folder.name);
            assert!(find(folder.name).is_none_or(|case| case.summary == folder.summary), "{} has two summaries", folder.name);
            if folder.is_run() || folder.path.join("messages.jsonl").exists() {
                let workload = folder.workload(2 * SHOWN).unwrap();
                check(&mut Runner::new(&workload.program), &workload.inputs[0], &*workload.expected).unwrap();
            }
        }
    }

    #[test]
    fn a_folder_without_a_module_is_run_and_has_the_shared_keys() {
        let folder = all(&home()).unwrap().into_iter().find(Folder::is_run).unwrap();
        let json = folder.run_passes(50, 2).unwrap().to_json();
        assert_eq!((&json["case"], &json["executions"]), (&folder.name.into(), &100.into()));
        assert!(crate::outcome::SHARED_KEYS.iter().all(|key| json.get(key).is_some()), "{json}");
    }

    #[test]
    fn wrong_outputs_and_wrong_keys_are_found() {
        let path = std::env::temp_dir().join(format!("expressway-bench-folder-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let write = |file: &str, text: &str| fs::write(path.join(file), text).unwrap();
        write("case.json", r#"{"summary": "trial", "measures": {}, "goal": 1}"#);
        assert!(Folder::read(&path).unwrap_err().to_string().contains("the key goal"));
        write("case.json", r#"{"summary": "trial", "measures": {}}"#);
        write("definition.asl.json", &chain(1, Work::Pass));
        write("messages.jsonl", "{\"a\":1}\n");
        write("outputs.jsonl", "{\"a\":2}\n");
        let folder = Folder::read(&path).unwrap();
        assert!(folder.run_passes(1, 1).unwrap_err().to_string().starts_with("the output is wrong"));
        write("outputs.jsonl", "");
        assert!(folder.run_passes(1, 1).unwrap_err().to_string().ends_with("1 messages and 0 outputs"));
        fs::remove_dir_all(&path).unwrap();
    }
}
