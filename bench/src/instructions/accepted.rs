//! The file of accepted counts, and how found ones compare with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Counts, Found};
use crate::error::Error;
use crate::spread::number;

/// How much more than accepted is too much, and how much less is worth a tighter file: 2 %.
const TOLERANCE: f64 = 0.02;

/// Below this difference nothing is said: counts are means, and a part of few instructions moves by one.
const SLACK: f64 = 1.0;

/// Accepted counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Accepted {
    /// What the processor could do when they were counted.
    features: String,
    counts: BTreeMap<String, Counts>,
}

/// How found counts compare with accepted ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// What fails: too many instructions, and cases that only one side knows.
    pub worse: Vec<String>,
    /// What may be accepted.
    pub better: Vec<String>,
    /// Why counts cannot be compared at all.
    pub incomparable: Option<String>,
}

impl Accepted {
    /// Reads the file; one that is not there accepts nothing.
    ///
    /// # Errors
    /// The file is not one of accepted counts.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let no_counts = |detail: String| Error::Wrong(format!("{} has no accepted counts: {detail}", file.display()));
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::surroundings(format!("reading {}", file.display()), error)),
        };
        let json: Value = serde_json::from_str(&text).map_err(|error| no_counts(error.to_string()))?;
        let cases = json["instructions"].as_object().ok_or_else(|| no_counts("there is no object \"instructions\"".to_owned()))?;
        let read = |(name, counts): (&String, &Value)| {
            let part = |part: &str| counts[part].as_f64().ok_or_else(|| no_counts(format!("{name} has no number \"{part}\"")));
            Ok((name.clone(), Counts { parse: part("parse")?, run: part("run")?, write: part("write")? }))
        };
        let counts = cases.iter().map(read).collect::<Result<_, Error>>()?;
        Ok(Self { features: json["features"].as_str().unwrap_or_default().to_owned(), counts })
    }

    /// Accepts what was found.
    #[must_use]
    pub fn of(found: &[Found]) -> Self {
        let features = found.first().map_or_else(String::new, |found| found.features.clone());
        Self { features, counts: found.iter().map(|found| (found.name.to_owned(), found.counts)).collect() }
    }

    /// Writes the file, one case a line, so that a difference is read at a glance.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// Never: a String takes all text.
    pub fn write(&self, file: &Path) -> Result<(), Error> {
        let mut text = format!(
            "{{\n  \"what\": \"instructions of an execution under callgrind, release profile\",\n  \"features\": {},\n  \"instructions\": {{",
            json!(self.features)
        );
        for (index, (name, counts)) in self.counts.iter().enumerate() {
            let parts: Map<String, Value> = counts.parts().into_iter().map(|(part, count)| (part.to_owned(), number(count, 1))).collect();
            write!(text, "{}\n    {}: {}", if index == 0 { "" } else { "," }, json!(name), Value::Object(parts)).expect("a String takes all text");
        }
        text.push_str("\n  }\n}\n");
        fs::write(file, text).map_err(|error| Error::surroundings(format!("writing {}", file.display()), error))
    }

    /// Compares.
    #[must_use]
    pub fn judge(&self, found: &[Found]) -> Findings {
        let mut findings = Findings::default();
        if let Some(found) = found.iter().find(|found| !self.features.is_empty() && found.features != self.features) {
            findings.incomparable = Some(format!("counts were accepted on a processor with \"{}\", this one has \"{}\"", self.features, found.features));
            return findings;
        }
        for found in found {
            match self.counts.get(found.name) {
                None => findings.worse.push(format!("{} has no accepted counts", found.name)),
                Some(accepted) => findings.compare(found, accepted),
            }
        }
        let gone = self.counts.keys().filter(|name| !found.iter().any(|found| found.name == name.as_str()));
        findings.worse.extend(gone.map(|name| format!("{name} has accepted counts and is not counted")));
        findings
    }

    /// A case's counts beside the accepted ones, for people.
    ///
    /// # Panics
    /// Never: a String takes all text.
    #[must_use]
    pub fn table(&self, found: &Found) -> String {
        let mut text = format!("{:<22}", found.name);
        let accepted = self.counts.get(found.name);
        let all = [("all", found.counts.total(), accepted.map(Counts::total))];
        let before = |name: &str| accepted.and_then(|accepted| accepted.parts().into_iter().find(|(part, _)| *part == name)).map(|(_, count)| count);
        for (part, count, before) in found.counts.parts().into_iter().map(|(part, count)| (part, count, before(part))).chain(all) {
            let change = before.filter(|before| *before > 0.0).map_or_else(String::new, |before| format!(" ({:+.1} %)", (count / before - 1.0) * 100.0));
            write!(text, " {part} {count:>9.1}{change:<11}").expect("a String takes all text");
        }
        text.trim_end().to_owned()
    }
}

impl Findings {
    fn compare(&mut self, found: &Found, accepted: &Counts) {
        for ((part, count), (_, before)) in found.counts.parts().into_iter().zip(accepted.parts()) {
            let line = || format!("{} {part}: {count:.1} instructions, accepted are {before:.1} ({:+.1} %)", found.name, (count / before - 1.0) * 100.0);
            if count > before * (1.0 + TOLERANCE) && count > before + SLACK {
                self.worse.push(line());
            } else if count < before * (1.0 - TOLERANCE) && count < before - SLACK {
                self.better.push(line());
            }
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.worse.iter().map(|line| format!("WORSE   {line}")).collect();
        lines.extend(self.better.iter().map(|line| format!("better  {line}")));
        if !self.better.is_empty() && self.worse.is_empty() {
            lines.push("the file of accepted counts may be tightened: expressway-bench instructions --accept".to_owned());
        }
        lines.extend(self.incomparable.clone());
        if lines.is_empty() { "all within 2 % of what is accepted".to_owned() } else { lines.join("\n") }
    }

    /// The result's object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"case": "instructions", "worse": self.worse, "better": self.better, "incomparable": self.incomparable})
    }

    /// The error of a gate that does not open.
    #[must_use]
    pub fn wrong(&self) -> Option<Error> {
        if let Some(why) = &self.incomparable {
            return Some(Error::surroundings("comparing counts of instructions", why.clone()));
        }
        (!self.worse.is_empty()).then(|| Error::Wrong(format!("more instructions than accepted: {}", self.worse.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &'static str, parse: f64, run: f64, write: f64) -> Found {
        Found { name, executions: 10, counts: Counts { parse, run, write }, features: "x86_64: avx2".to_owned() }
    }

    #[test]
    fn more_than_two_percent_fails_with_the_name_and_less_is_told() {
        let accepted = Accepted::of(&[found("heartbeat", 1_000.0, 2_000.0, 500.0)]);
        let findings = accepted.judge(&[found("heartbeat", 1_020.0, 2_041.0, 489.0)]);
        assert_eq!(findings.worse, ["heartbeat run: 2041.0 instructions, accepted are 2000.0 (+2.0 %)"]);
        assert_eq!(findings.better, ["heartbeat write: 489.0 instructions, accepted are 500.0 (-2.2 %)"]);
        assert_eq!(findings.wrong().map(|error| error.exit_code()), Some(1));
        assert!(accepted.judge(&[found("heartbeat", 1_000.0, 1_900.0, 500.0)]).wrong().is_none());
    }

    #[test]
    fn one_instruction_of_few_is_no_finding() {
        let accepted = Accepted::of(&[found("pass", 10.0, 10.0, 10.0)]);
        assert_eq!(accepted.judge(&[found("pass", 11.0, 9.0, 10.5)]), Findings::default());
        assert_eq!(accepted.judge(&[found("pass", 11.1, 10.0, 10.0)]).worse.len(), 1);
    }

    #[test]
    fn cases_that_only_one_side_knows_fail() {
        let accepted = Accepted::of(&[found("old", 1.0, 1.0, 1.0)]);
        let findings = accepted.judge(&[found("new", 1.0, 1.0, 1.0)]);
        assert_eq!(findings.worse, ["new has no accepted counts", "old has accepted counts and is not counted"]);
    }

    #[test]
    fn another_processor_is_no_regression() {
        let accepted = Accepted { features: "x86_64: sse3".to_owned(), ..Accepted::of(&[found("heartbeat", 1.0, 1.0, 1.0)]) };
        let findings = accepted.judge(&[found("heartbeat", 9.0, 9.0, 9.0)]);
        assert_eq!((findings.worse.len(), findings.wrong().map(|error| error.exit_code())), (0, Some(3)));
    }

    #[test]
    fn what_is_accepted_is_read_again() {
        let file = std::env::temp_dir().join(format!("expressway-accepted-{}.json", std::process::id()));
        assert_eq!(Accepted::read(&file).unwrap(), Accepted::default());
        let accepted = Accepted::of(&[found("heartbeat", 1_000.5, 2_000.0, 500.0), found("map20", 1.0, 2.0, 3.0)]);
        accepted.write(&file).unwrap();
        assert_eq!(Accepted::read(&file).unwrap(), accepted);
        fs::write(&file, r#"{"instructions":{"heartbeat":{"parse":1}}}"#).unwrap();
        let error = Accepted::read(&file).unwrap_err();
        assert!(error.to_string().contains("heartbeat has no number \"run\"") && error.exit_code() == 1, "{error}");
        fs::remove_file(&file).unwrap();
    }
}
