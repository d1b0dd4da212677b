//! LCOV's tracefile: states as functions, transitions, rules, retriers and catchers as branches, and the lines on which all of these stand.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::coverage::{Coverage, Kind};
use super::super::suite::Report;

pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    for coverage in &report.coverages {
        record(coverage, &mut out);
    }
    out
}

fn record(coverage: &Coverage, out: &mut String) {
    line(out, &format!("TN:\nSF:{}", coverage.file.display()));
    let states = || coverage.points.iter().filter(|point| point.kind == Kind::State);
    // A line break would end the record's line, and LCOV has no escapes.
    let name = |state: &str| state.replace(['\n', '\r'], " ");
    for state in states() {
        line(out, &format!("FN:{},{}", state.line, name(&state.state)));
    }
    for state in states() {
        line(out, &format!("FNDA:{},{}", state.hits, name(&state.state)));
    }
    line(out, &format!("FNF:{}\nFNH:{}", states().count(), states().filter(|state| state.hits > 0).count()));
    let mut lines: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut branches, mut taken, mut block) = (0, 0, 0);
    let mut number_in_block = 0;
    for point in &coverage.points {
        let hits = lines.entry(point.line).or_default();
        *hits = (*hits).max(point.hits);
        if point.kind == Kind::State {
            // The branches of a state are one block.
            block += usize::from(branches > 0);
            number_in_block = 0;
            continue;
        }
        line(out, &format!("BRDA:{},{block},{number_in_block},{}", point.line, point.hits));
        number_in_block += 1;
        branches += 1;
        taken += usize::from(point.hits > 0);
    }
    line(out, &format!("BRF:{branches}\nBRH:{taken}"));
    for (number, hits) in &lines {
        line(out, &format!("DA:{number},{hits}"));
    }
    line(out, &format!("LF:{}\nLH:{}\nend_of_record", lines.len(), lines.values().filter(|hits| **hits > 0).count()));
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}
