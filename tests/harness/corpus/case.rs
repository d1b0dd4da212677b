//! Loads cases: the shared corpus (JSON Lines) and the project's own (YAML), in one form.

use std::fs;
use std::path::{Path, PathBuf};

use expressway_ingest::authoring;
use expressway_ingest::authoring::case::{Expectation, Words};
use serde_json::Value;

/// One case of a corpus.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique in its corpus.
    pub id: String,
    /// The file it comes from: `choice` for `asl/choice.jsonl`, `own/parallel` for a file of ours, the path without its ending otherwise.
    pub group: String,
    /// Everything the file says about it.
    pub body: Value,
    /// Whether this is one of the project's own, which are literal: nothing in them is normalised.
    pub own: bool,
}

/// Why cases cannot be loaded.
#[derive(Debug)]
pub enum Error {
    /// A file or folder cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// A file does not hold cases.
    Malformed(PathBuf, String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Malformed(path, what) => write!(f, "{}: {what}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

/// The folders of a corpus that hold cases, in the order of the report.
const FOLDERS: [&str; 6] = ["asl", "asl-other", "lint", "real", "jsonpath", "jsonata"];

/// Loads every `*.jsonl` of a corpus in the shared format: `asl/` and whichever of its sister folders are there, or a bare folder of such files.
///
/// # Errors
/// When a file cannot be read or a line is not a case.
pub fn load_corpus(root: &Path) -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for folder in FOLDERS {
        for file in files(&root.join(folder), ".jsonl")? {
            load_lines(&file, folder, &mut cases)?;
        }
    }
    for file in files(root, ".jsonl")? {
        load_lines(&file, "asl", &mut cases)?;
    }
    for file in files(root, ".test.yaml")? {
        load_own_file(&file, &mut cases)?;
    }
    Ok(cases)
}

/// Loads every `*.test.yaml` of a folder.
///
/// # Errors
/// When a file cannot be read or an entry is not a case.
pub fn load_own(folder: &Path) -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for file in files(folder, ".test.yaml")? {
        load_own_file(&file, &mut cases)?;
    }
    Ok(cases)
}

fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|error| Error::Unreadable(folder.to_owned(), error))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Unreadable(path.to_owned(), error))
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn load_lines(path: &Path, folder: &str, cases: &mut Vec<Case>) -> Result<(), Error> {
    let group = if folder == "asl" { stem(path) } else { format!("{folder}/{}", stem(path)) };
    for (index, line) in read(path)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // Some files hold texts that no JSON parser of ours accepts (lone surrogates): the case stands, its body does not.
        let body: Value = match serde_json::from_str(line) {
            Ok(body) => body,
            Err(_) if folder == "jsonata" => Value::Null,
            Err(error) => return Err(Error::Malformed(path.to_owned(), format!("line {}: {error}", index + 1))),
        };
        let id = body.get("id").and_then(Value::as_str).map_or_else(|| format!("{group}#{}", index + 1), str::to_owned);
        cases.push(Case { id, group: group.clone(), body, own: false });
    }
    Ok(())
}

fn load_own_file(path: &Path, cases: &mut Vec<Case>) -> Result<(), Error> {
    let group = format!("own/{}", stem(path));
    let malformed = |what: String| Error::Malformed(path.to_owned(), what);
    let text = read(path)?;
    // The product's own reader decides what a case is; the bodies serve other runners.
    let parsed = authoring::case::parse(&text).map_err(malformed)?;
    let entries = authoring::case::entries(&text).map_err(malformed)?;
    for (body, parsed) in entries.into_iter().zip(parsed) {
        let name = parsed.name;
        for (field, is_there) in [("clause", parsed.clause.is_some()), ("definition", parsed.definition.is_some())] {
            if !is_there {
                return Err(malformed(format!("case '{name}' has no {field}")));
            }
        }
        if let Expectation::End(end) = &parsed.expect
            && end.status != "SUCCEEDED"
        {
            let is_open = body["expect"]["cause_unpinned"] == true;
            if end.error == Words::Open || (end.cause == Words::Open && !is_open) {
                return Err(malformed(format!("case '{name}' must say error and cause: null where there is none, cause_unpinned where it may be any")));
            }
        }
        cases.push(Case { id: format!("{group}/{name}"), group: group.clone(), body, own: true });
    }
    Ok(())
}

impl Case {
    /// A member of the case; `null` when absent.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        self.body.get(name).unwrap_or(&Value::Null)
    }

    /// A member of the case that is text; empty when absent.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_default()
    }

    /// The state machine's name in an own case: as for `expressway test`, that of the file.
    #[must_use]
    pub fn state_machine(&self) -> &str {
        self.group.rsplit('/').next().unwrap_or_default()
    }

    /// The definition as text: as it stands, or printed from JSON in the order of the file. `None` when the case has none.
    #[must_use]
    pub fn definition(&self) -> Option<String> {
        let holder = if self.body.get("request").is_some() { self.field("request") } else { &self.body };
        if let Some(text) = holder.get("definition_text").and_then(Value::as_str) {
            return Some(text.to_owned());
        }
        match holder.get("definition")? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            // Upstream's name for the ARN of an activity that the test had made.
            value => {
                Some(value.to_string().replace("\"Resource\":\"activity_arn\"", "\"Resource\":\"arn:aws:states:us-east-1:111111111111:activity:activity_arn\""))
            }
        }
    }

    /// Whether the definition has a JSONata part.
    #[must_use]
    pub fn uses_jsonata(&self) -> bool {
        self.definition().is_some_and(|text| {
            // Spelled with or without a blank behind the colon; the word alone may stand in a comment.
            text.split("\"QueryLanguage\"").skip(1).any(|rest| rest.trim_start().trim_start_matches(':').trim_start().starts_with("\"JSONata\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cases_leave_no_error_and_no_cause_open_by_mistake() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("m.test.yaml");
        let load = |expect: &str| {
            let text = format!("- {{name: c, clause: '1', definition: {{}}, expect: {expect}}}\n");
            fs::write(&path, text).expect("written");
            load_own_file(&path, &mut Vec::new()).is_ok()
        };
        for open in ["{status: FAILED}", "{error: E}", "{cause: C}", "{status: TIMED_OUT, cause: null}", "{status: FAILED, cause_unpinned: true}"] {
            assert!(!load(open), "{open}");
        }
        for said in ["{output: 1}", "{error: E, cause: null}", "{error: null, cause: C}", "{error: E, cause_unpinned: true}", "{refused: [X at /]}"] {
            assert!(load(said), "{said}");
        }
    }
}
