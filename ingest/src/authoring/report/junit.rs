//! JUnit's XML, in the form that CI systems agree on: one suite a file, one element a case.

use std::fmt::Write;

use super::super::graph::escape;
use super::super::suite::{FileReport, Report};
use super::difference_lines;

pub(super) fn print(report: &Report) -> String {
    let (passed, all) = report.counts();
    // A file that could not be run counts as one test with an error.
    let errors = report.files_at_fault();
    let elapsed_ns: u64 = report.files.iter().map(elapsed_ns).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    line(
        &mut out,
        &format!(
            "<testsuites name=\"expressway test\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" time=\"{}\">",
            all + errors,
            all - passed,
            seconds(elapsed_ns)
        ),
    );
    for file in &report.files {
        suite(file, &mut out);
    }
    line(&mut out, "</testsuites>");
    out
}

fn suite(file: &FileReport, out: &mut String) {
    let failures = file.cases.iter().filter(|case| !case.verdict.has_passed()).count();
    let name = file.path.to_string_lossy();
    let class = name.rsplit_once(".test.").map_or(&*name, |(class, _)| class);
    let errors = usize::from(file.problem.is_some());
    let (all, time) = (file.cases.len() + errors, seconds(elapsed_ns(file)));
    line(out, &format!("  <testsuite name=\"{}\" tests=\"{all}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{time}\">", escape(&name)));
    if let Some(problem) = &file.problem {
        line(out, &format!("    <testcase classname=\"{}\" name=\"the file can be run\" time=\"0.000\">", escape(class)));
        line(out, &format!("      <error message=\"{}\"/>", escape(problem)));
        line(out, "    </testcase>");
    }
    for case in &file.cases {
        let head = format!("    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"", escape(class), escape(&case.name), seconds(case.elapsed_ns));
        if case.verdict.has_passed() {
            line(out, &format!("{head}/>"));
            continue;
        }
        let places: Vec<_> = case.verdict.differences.iter().map(|difference| difference.place.as_str()).collect();
        let text: String = case.verdict.differences.iter().map(|difference| difference_lines(difference, "")).collect();
        let text: Vec<_> = text.lines().map(escape).collect();
        line(out, &format!("{head}>"));
        line(out, &format!("      <failure message=\"{}\">{}</failure>", escape(&format!("different: {}", places.join(", "))), text.join("\n")));
        line(out, "    </testcase>");
    }
    line(out, "  </testsuite>");
}

fn elapsed_ns(file: &FileReport) -> u64 {
    file.cases.iter().map(|case| case.elapsed_ns).sum()
}

/// Seconds with milliseconds, as JUnit has it.
fn seconds(ns: u64) -> String {
    let ms = ns / 1_000_000;
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}
