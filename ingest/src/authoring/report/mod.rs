//! A finished run in the forms that people and programs read.

mod json;
mod junit;
mod lcov;
mod text;

use super::suite::Report;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit's XML: the cases, for CI systems.
    Junit,
    /// LCOV's tracefile: the coverage, for editors and coverage services.
    Lcov,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Junit, Self::Lcov];

    /// The word of the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Lcov => "lcov",
        }
    }
}

/// Writes a report.
#[must_use]
pub fn print(report: &Report, form: Form) -> String {
    match form {
        Form::Text => text::print(report),
        Form::Json => json::print(report),
        Form::Junit => junit::print(report),
        Form::Lcov => lcov::print(report),
    }
}

/// A difference in three lines.
fn difference_lines(difference: &super::difference::Difference, indent: &str) -> String {
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "(nothing)".to_owned());
    let (expected, found) = (side(&difference.expected), side(&difference.found));
    format!("{indent}{}\n{indent}  expected  {expected}\n{indent}  found     {found}\n", difference.place)
}

/// A percentage for people, one decimal where it has one.
#[must_use]
pub fn percent(value: f64) -> String {
    // Rounded down: 99.96 % is not everything.
    let tenths = (value * 10.0).floor() / 10.0;
    if tenths.fract() == 0.0 { format!("{tenths:.0} %") } else { format!("{tenths:.1} %") }
}

#[cfg(test)]
mod tests {
    use super::super::coverage::{Coverage, Kind, Point};
    use super::super::difference::Difference;
    use super::super::runner::Verdict;
    use super::super::suite::{CaseReport, FileReport};
    use super::super::trail::Trail;
    use super::*;

    fn sample() -> Report {
        let case = |name: &str, differences| CaseReport {
            name: name.to_owned(),
            verdict: Verdict { differences, trail: Trail::default(), took_ms: 1_500 },
            elapsed_ns: 2_000_000,
        };
        let point = |kind, what: &str, line, hits| Point { kind, state: "A<".to_owned(), what: what.to_owned(), line, hits };
        let differences = vec![Difference::new("output.a", Some("1 & 2"), Some("\"]]>\u{1}\"")), Difference::new("output.b", None, Some("3"))];
        Report {
            files: vec![FileReport { path: "d/m.test.yaml".into(), cases: vec![case("good", Vec::new()), case("bad", differences)], problem: None }],
            coverages: vec![Coverage {
                file: "d/m.asl.json".into(),
                points: vec![point(Kind::State, "", 4, 2), point(Kind::Transition, "→ end", 5, 2), point(Kind::Catcher, "catcher 1 of E → K", 5, 0)],
            }],
        }
    }

    #[test]
    fn text_tells_what_differs_and_what_is_missed() {
        let expected = "\
d/m.test.yaml
  ok      good
  FAILED  bad
          output.a
            expected  1 & 2
            found     \"]]>\u{1}\"
          output.b
            expected  (nothing)
            found     3

coverage of d/m.asl.json: 66.6 % (states 1/1, transitions 1/1, catchers 0/1)
  not reached  line 5  A<: catcher 1 of E → K

2 cases: 1 passed, 1 failed; coverage 66.6 %
";
        assert_eq!(print(&sample(), Form::Text), expected);
    }

    #[test]
    fn a_file_at_fault_is_an_error_beside_the_others() {
        let mut report = sample();
        report.files.push(FileReport { path: "d/n.test.yaml".into(), cases: Vec::new(), problem: Some("the <test> file is refused".to_owned()) });
        let text = print(&report, Form::Text);
        assert!(
            text.contains("d/n.test.yaml\n  ERROR   the <test> file is refused\n\n") && text.contains("2 cases: 1 passed, 1 failed, 1 file at fault; "),
            "{text}"
        );
        let text = print(&report, Form::Junit);
        assert!(text.contains("<testsuites name=\"expressway test\" tests=\"3\" failures=\"1\" errors=\"1\""), "{text}");
        assert!(text.contains("<testsuite name=\"d/n.test.yaml\" tests=\"1\" failures=\"0\" errors=\"1\""), "{text}");
        assert!(text.contains("      <error message=\"the &lt;test&gt; file is refused\"/>"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&print(&report, Form::Json)).expect("JSON");
        assert_eq!((&value["errors"], value["files"][1]["error"].as_str()), (&1.into(), Some("the <test> file is refused")));
        assert!(value["files"][0]["error"].is_null());
    }

    #[test]
    fn json_is_one_object() {
        let value: serde_json::Value = serde_json::from_str(&print(&sample(), Form::Json)).expect("JSON");
        assert_eq!((&value["passed"], &value["failed"]), (&1.into(), &1.into()));
        assert_eq!(value["files"][0]["cases"][1]["differences"][1], serde_json::json!({"place": "output.b", "expected": null, "found": "3"}));
        assert_eq!(value["coverage"]["files"][0]["points"][2]["hits"], 0);
        assert_eq!(value["coverage"]["files"][0]["catchers"], serde_json::json!({"reached": 0, "total": 1}));
    }

    #[test]
    fn junit_counts_and_escapes() {
        let text = print(&sample(), Form::Junit);
        assert!(text.contains("<testsuite name=\"d/m.test.yaml\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"0.004\">"), "{text}");
        assert!(text.contains("<testcase classname=\"d/m\" name=\"good\" time=\"0.002\"/>"), "{text}");
        assert!(text.contains("expected  1 &amp; 2") && text.contains("]]&gt;\u{FFFD}"), "{text}");
    }

    #[test]
    fn lcov_has_lines_functions_and_branches() {
        let expected = "\
TN:
SF:d/m.asl.json
FN:4,A<
FNDA:2,A<
FNF:1
FNH:1
BRDA:5,0,0,2
BRDA:5,0,1,0
BRF:2
BRH:1
DA:4,2
DA:5,2
LF:2
LH:2
end_of_record
";
        assert_eq!(print(&sample(), Form::Lcov), expected);
    }
}
