//! For programs: everything in one object.

use serde_json::{Map, Value, json};

use super::super::coverage::{self, Coverage, Kind, Share};
use super::super::suite::Report;

pub(super) fn print(report: &Report) -> String {
    let (passed, all) = report.counts();
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            let cases: Vec<Value> = file
                .cases
                .iter()
                .map(|case| {
                    let differences: Vec<Value> = case
                        .verdict
                        .differences
                        .iter()
                        .map(|difference| json!({"place": difference.place, "expected": difference.expected, "found": difference.found}))
                        .collect();
                    json!({"name": case.name, "passed": differences.is_empty(), "took_ms": case.verdict.took_ms, "elapsed_ns": case.elapsed_ns, "differences": differences})
                })
                .collect();
            json!({"file": file.path.to_string_lossy(), "error": file.problem, "cases": cases})
        })
        .collect();
    let total = coverage::total(&report.coverages);
    let coverages: Vec<Value> = report.coverages.iter().map(one).collect();
    let coverage = json!({"percent": total.percent(), "reached": total.reached, "total": total.total, "files": coverages});
    json!({"passed": passed, "failed": all - passed, "errors": report.files_at_fault(), "files": files, "coverage": coverage}).to_string() + "\n"
}

fn one(coverage: &Coverage) -> Value {
    let share = |share: Share| json!({"reached": share.reached, "total": share.total});
    let mut members = Map::new();
    members.insert("file".to_owned(), coverage.file.to_string_lossy().into());
    members.insert("percent".to_owned(), coverage.total().percent().into());
    for kind in Kind::ALL {
        members.insert(kind.plural().to_owned(), share(coverage.share(kind)));
    }
    let points: Vec<Value> = coverage
        .points
        .iter()
        .map(|point| json!({"kind": point.kind.plural(), "state": point.state, "what": point.what, "line": point.line, "hits": point.hits}))
        .collect();
    members.insert("points".to_owned(), points.into());
    Value::Object(members)
}
