//! Findings in definitions: golden files, limits, and that no input panics.
//!
//! Each `golden/diagnostics/TYPE/NAME.asl.json` has its rendered findings beside it in `NAME.txt`; `UPDATE_GOLDEN=1` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use expressway_engine::diagnostic::{Code, Diagnostic, Severity, render};
use expressway_engine::hir::{Argument, StateKind, StateMachine, Template, WorkflowType, limits, lower};
use proptest::prelude::*;

fn lower_all(text: &str, workflow_type: WorkflowType) -> (Option<StateMachine>, Vec<Diagnostic>) {
    match lower(text, workflow_type) {
        Ok(lowered) => (Some(lowered.machine), lowered.warnings),
        Err(findings) => (None, findings),
    }
}

fn definitions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.to_string_lossy().ends_with(".asl.json")).collect();
    files.sort();
    files
}

#[test]
fn golden_definitions_give_golden_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics");
    let mut seen = BTreeSet::new();
    let mut differing = Vec::new();
    for (folder, workflow_type) in [("express", WorkflowType::Express), ("standard", WorkflowType::Standard)] {
        for path in definitions(&root.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let (machine, findings) = lower_all(&text, workflow_type);
            seen.extend(findings.iter().map(|finding| finding.code));
            let verdict = if machine.is_some() { "accepted\n" } else { "refused\n" };
            let rendered: Vec<String> = findings.iter().map(|finding| render(&text, &file, finding)).collect();
            let actual = format!("{verdict}\n{}", rendered.join("\n"));
            let golden = path.with_file_name(file.replace(".asl.json", ".txt"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&golden, &actual).unwrap();
            } else if fs::read_to_string(&golden).unwrap_or_default() != actual {
                differing.push(format!("{}:\n{actual}", golden.display()));
            }
        }
    }
    assert!(differing.is_empty(), "findings differ; renew with UPDATE_GOLDEN=1 and read the difference\n{}", differing.join("\n"));
    let unseen: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no golden definition shows {unseen:?}");
}

#[test]
fn ten_faults_give_ten_located_errors() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics/express/ten-faults.asl.json")).unwrap();
    let findings = lower(&text, WorkflowType::Express).unwrap_err();
    let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 10, "{errors:#?}");
    assert!(errors.iter().all(|finding| finding.location.is_some() && finding.position.is_some()));
    let positions: BTreeSet<_> = errors.iter().map(|finding| finding.position).collect();
    assert_eq!(positions.len(), 10, "each has a place of its own");
}

#[test]
fn findings_have_a_form_for_programs() {
    let finding = lower("{\n}", WorkflowType::Express).unwrap_err().swap_remove(0);
    let expected = serde_json::json!({
        "severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": "These fields are required: [States, StartAt]", "location": "/", "line": 1, "column": 1
    });
    assert_eq!(finding.to_json(), expected);
}

/// A definition with `depth` machines inside each other, the top level being the first.
fn nested_machines(depth: usize) -> String {
    let mut text = format!(r#"{{"StartAt":"s{depth}","States":{{"s{depth}":{{"Type":"Pass","End":true}}}}}}"#);
    for level in (1..depth).rev() {
        let inner = if level % 2 == 0 { format!(r#""Type":"Map","ItemProcessor":{text}"#) } else { format!(r#""Type":"Parallel","Branches":[{text}]"#) };
        text = format!(r#"{{"StartAt":"s{level}","States":{{"s{level}":{{{inner},"End":true}}}}}}"#);
    }
    text
}

#[test]
fn machines_nest_up_to_the_limit_and_no_deeper() {
    let (machine, findings) = lower_all(&nested_machines(limits::MACHINE_DEPTH_MAX), WorkflowType::Express);
    assert_eq!(machine.expect("the limit is allowed").states().len(), limits::MACHINE_DEPTH_MAX, "{findings:?}");
    for depth in [limits::MACHINE_DEPTH_MAX + 1, 200] {
        let findings = lower(&nested_machines(depth), WorkflowType::Express).unwrap_err();
        assert!(findings.iter().any(|finding| finding.code == Code::TooDeeplyNested), "{findings:?}");
    }
}

fn choice_with(rule: &str) -> String {
    format!(r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{rule}],"Default":"D"}},"D":{{"Type":"Succeed"}}}}}}"#)
}

#[test]
fn choice_rules_nest_up_to_the_limit_and_no_deeper() {
    let nested = |depth: usize| {
        let open = r#"{"Not":"#.repeat(depth - 1);
        let close = "}".repeat(depth - 1);
        choice_with(&format!(r#"{{"Next":"D","Not":{open}{{"Variable":"$.x","IsNull":true}}{close}}}"#))
    };
    let (machine, findings) = lower_all(&nested(limits::RULE_DEPTH_MAX), WorkflowType::Express);
    assert!(machine.is_some(), "{findings:?}");
    let findings = lower(&nested(limits::RULE_DEPTH_MAX + 1), WorkflowType::Express).unwrap_err();
    assert!(findings.iter().any(|finding| finding.code == Code::TooDeeplyNested), "{findings:?}");
}

fn pass_with(fields: &str) -> String {
    format!(r#"{{"StartAt":"P","States":{{"P":{{"Type":"Pass",{fields},"End":true}}}}}}"#)
}

#[test]
fn templates_nest_up_to_the_limit_literals_beyond_it() {
    let nested = |depth: usize, key: &str| pass_with(&format!(r#""Parameters":{}{{"{key}":"$.x"}}{}"#, r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1)));
    let limit = usize::from(limits::TEMPLATE_DEPTH_MAX);
    let (machine, findings) = lower_all(&nested(limit, "x.$"), WorkflowType::Express);
    assert!(machine.is_some(), "{findings:?}");
    let findings = lower(&nested(limit + 1, "x.$"), WorkflowType::Express).unwrap_err();
    assert!(findings.iter().any(|finding| finding.code == Code::TooDeeplyNested), "{findings:?}");
    assert!(lower(&nested(900, "x"), WorkflowType::Express).is_ok());
}

#[test]
fn state_names_have_one_to_eighty_characters() {
    let named = |name: &str| format!(r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Succeed"}}}}}}"#);
    assert!(lower(&named(&"é".repeat(limits::STATE_NAME_CHARS_MAX)), WorkflowType::Express).is_ok());
    for name in [String::new(), "é".repeat(limits::STATE_NAME_CHARS_MAX + 1)] {
        let findings = lower(&named(&name), WorkflowType::Express).unwrap_err();
        assert!(findings.iter().any(|finding| finding.code == Code::InvalidStateName), "{findings:?}");
    }
}

#[test]
fn definitions_have_at_most_a_mebibyte() {
    let padded = |length: usize| {
        let text = pass_with(r#""Comment":"x""#);
        let padding = " ".repeat(length - text.len());
        text + &padding
    };
    assert!(lower(&padded(limits::DEFINITION_BYTES_MAX), WorkflowType::Express).is_ok());
    assert!(lower(&padded(limits::DEFINITION_BYTES_MAX + 1), WorkflowType::Express).is_err());
}

#[test]
fn literals_keep_their_spelling_without_insignificant_blanks() {
    let (machine, _) = lower_all(&pass_with("\"Result\": { \"a\" : [ 1.10, 1e3, -0 ],\n\t\"b c\": \"\\u00e9 \\\" x\" }"), WorkflowType::Express);
    let machine = machine.expect("valid");
    let StateKind::Pass { result: Some(literal) } = &machine.states()[0].kind else { panic!("not a Pass with a Result") };
    assert_eq!(literal.0, r#"{"a":[1.10,1e3,-0],"b c":"\u00e9 \" x"}"#);
}

#[test]
fn templates_lose_the_suffix_and_keep_the_order() {
    let (machine, _) =
        lower_all(&pass_with(r#""Parameters":{"z":1,"y.$":"$.a['b']","x":[{"w.$":"States.UUID()"},"$.lit"],"v":{"u":2}}"#), WorkflowType::Express);
    let machine = machine.expect("valid");
    let Some(Template::Object(fields)) = &machine.states()[0].parameters else { panic!("not computed") };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "y", "x", "v"]);
    assert!(matches!(&fields[1].1, Template::Path { path, field } if path.text == "$.a['b']" && field == "y.$"));
    let Template::Array(elements) = &fields[2].1 else { panic!("not an array") };
    assert!(matches!(&elements[0], Template::Object(inner) if matches!(&inner[0].1, Template::Intrinsic { call, .. } if call.name == "UUID")));
    assert!(matches!(&elements[1], Template::Literal(literal) if literal.0 == r#""$.lit""#));
}

#[test]
fn calls_are_parsed_with_their_arguments() {
    let (machine, _) = lower_all(&pass_with(r#""Parameters":{"x.$":"States.Format('{}-{}', $.a, States.MathAdd(1, $.b))"}"#), WorkflowType::Express);
    let machine = machine.expect("valid");
    let Some(Template::Object(fields)) = &machine.states()[0].parameters else { panic!("not computed") };
    let Template::Intrinsic { call, .. } = &fields[0].1 else { panic!("not a call") };
    assert!(matches!(&call.arguments[..], [Argument::Literal(_), Argument::Path(_), Argument::Call(inner)] if inner.arguments.len() == 2));
}

#[test]
fn states_of_all_levels_lie_in_one_vector_and_refer_to_each_other() {
    let text = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Iterator":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"Parameters":{"a":1},"Next":"S"},"S":{"Type":"Succeed"}}}"#;
    let (machine, _) = lower_all(text, WorkflowType::Express);
    let machine = machine.expect("valid");
    let name = |id: expressway_engine::hir::StateId| machine.states()[id.0 as usize].name.as_str();
    assert_eq!(machine.root().states.iter().map(|&id| name(id)).collect::<Vec<_>>(), ["M", "S"]);
    let StateKind::Map(map) = &machine.states()[machine.root().start.0 as usize].kind else { panic!("not a Map") };
    assert_eq!(name(map.processor.start), "I");
    assert!(map.item_selector.is_some() && machine.states()[machine.root().start.0 as usize].parameters.is_none());
}

const SAMPLE: &str = include_str!("golden/diagnostics/express/every-state.asl.json");

proptest! {
    #[test]
    fn no_damaged_definition_panics(at in 0..SAMPLE.len(), with in "\\PC{0,3}|[\\[\\]{}\",:$.@?()*'\\\\0-9]{0,3}", cut in 0_usize..12) {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(bytes.len()), with.bytes());
        let text = String::from_utf8_lossy(&bytes);
        for workflow_type in [WorkflowType::Express, WorkflowType::Standard] {
            if let Err(findings) = lower(&text, workflow_type) {
                prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
                for finding in &findings {
                    prop_assert!(!render(&text, "damaged.asl.json", finding).is_empty());
                }
            }
        }
    }

    #[test]
    fn no_path_or_call_panics(text in "\\$?[\\$.\\[\\]a-c'\"@?()*,:=<>!&|0-9 \\\\é-]{0,24}|States\\.[A-Z][a-zA-Z]{0,6}\\([\\$.'a-c0-9,() {}\\\\]{0,20}\\)?") {
        let quoted = serde_json::to_string(&text).unwrap();
        let definition = pass_with(&format!(r#""InputPath":{quoted},"Parameters":{{"x.$":{quoted}}},"ResultPath":{quoted}"#));
        if let Err(findings) = lower(&definition, WorkflowType::Express) {
            prop_assert!(!findings.is_empty());
        }
    }
}
