//! For people: every case in a line, what differs below it, what was not reached at the end.

use std::fmt::Write;

use super::super::coverage::{self, Coverage, Kind};
use super::super::suite::Report;
use super::{difference_lines, percent};

pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    for file in report.files.iter().filter(|file| !file.cases.is_empty() || file.problem.is_some()) {
        line(&mut out, &file.path.display().to_string());
        for (index, text) in file.problem.iter().flat_map(|problem| problem.lines()).enumerate() {
            line(&mut out, &format!("  {}  {text}", if index == 0 { "ERROR " } else { "      " }));
        }
        for case in &file.cases {
            line(&mut out, &format!("  {}  {}", if case.verdict.has_passed() { "ok    " } else { "FAILED" }, case.name));
            for difference in &case.verdict.differences {
                out.push_str(&difference_lines(difference, "          "));
            }
        }
        line(&mut out, "");
    }
    for coverage in &report.coverages {
        print_coverage(coverage, &mut out);
    }
    let (passed, all) = report.counts();
    let total = if report.coverages.is_empty() { String::new() } else { format!("; coverage {}", percent(coverage::total(&report.coverages).percent())) };
    let at_fault = match report.files_at_fault() {
        0 => String::new(),
        1 => ", 1 file at fault".to_owned(),
        count => format!(", {count} files at fault"),
    };
    line(&mut out, &format!("{all} case{}: {passed} passed, {} failed{at_fault}{total}", if all == 1 { "" } else { "s" }, all - passed));
    out
}

fn print_coverage(coverage: &Coverage, out: &mut String) {
    let kinds = Kind::ALL.map(|kind| (kind, coverage.share(kind)));
    let shares: Vec<_> =
        kinds.iter().filter(|(_, share)| share.total > 0).map(|(kind, share)| format!("{} {}/{}", kind.plural(), share.reached, share.total)).collect();
    line(out, &format!("coverage of {}: {} ({})", coverage.file.display(), percent(coverage.total().percent()), shares.join(", ")));
    for point in coverage.missed() {
        let what = if point.what.is_empty() { "the state".to_owned() } else { point.what.clone() };
        line(out, &format!("  not reached  line {}  {}: {what}", point.line, point.state));
    }
    line(out, "");
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}
