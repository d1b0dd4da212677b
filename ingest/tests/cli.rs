//! The program as a user runs it: arguments in, standard streams and exit code out.

#![expect(clippy::disallowed_methods, reason = "virtual time must not take real time")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the program with `arguments`, `input` on standard input and no environment but `environment`.
fn run_with(arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_expressway"));
    command.args(arguments).current_dir(root()).env_clear().envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // The program may end without having read its input.
    drop(child.stdin.take().expect("piped").write_all(input.as_bytes()));
    child.wait_with_output().expect("ends")
}

fn run(arguments: &[&str], input: &str) -> Output {
    run_with(arguments, input, &[])
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// A file with `content` in a directory that lives as long as the value.
fn file(name: &str, content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("written");
    let path = path.to_string_lossy().into_owned();
    (folder, path)
}

const HEARTBEAT: &str = "configs/definitions/heartbeat.asl.json";

#[test]
fn exec_runs_one_execution_a_line() {
    let input = "{\"deviceId\":\"d\",\"type\":\"alert\",\"ts\":\"t\",\"battery\":19}\n\n{\"type\":\"x\"}\n";
    let output = run(&["exec", HEARTBEAT, "--input", "-", "--execution-name", "e"], input);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let lines = lines(&output);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["status"], "SUCCEEDED");
    assert_eq!(lines[0]["output"]["alarm"]["level"], "low");
    assert_eq!(lines[0]["output"]["meta"]["exec"], "e");
    assert_eq!(lines[1]["status"], "FAILED");
    assert_eq!(lines[1]["error"], "UnknownType");
    assert!(lines[1].get("output").is_none());
}

#[test]
fn exec_without_input_runs_once_on_an_empty_object() {
    let (_folder, path) = file("p.asl.yaml", "StartAt: P\nStates:\n  P: {Type: Pass, End: true}\n");
    let output = run(&["exec", &path], "ignored");
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "{\"status\":\"SUCCEEDED\",\"output\":{}}\n"));
    assert_eq!(stderr(&output), "note: standard input was not read, the input is {}; --input - reads it\n");
    assert_eq!(stderr(&run(&["exec", &path, "--input", "-"], "{}\n")), "");
}

#[test]
fn exec_goes_on_behind_invalid_lines_and_exits_with_1() {
    let output = run(&["exec", HEARTBEAT, "--input", "-"], "{\"type\":\n\"no object\"\n{\"type\":\"x\"}\n");
    let lines = lines(&output);
    assert_eq!(code(&output), 1);
    assert_eq!(lines[0]["status"], "INVALID_INPUT");
    assert!(lines[0]["cause"].as_str().is_some_and(|cause| cause.starts_with("line 1: ")), "{}", lines[0]);
    assert_eq!(lines[1]["status"], "FAILED");
    assert_eq!(lines[2]["error"], "UnknownType");
}

#[test]
fn exec_retries_and_catches_on_virtual_time() {
    let began = std::time::Instant::now();
    let input = "{\"deviceId\":\"d\",\"unreachable\":3}\n".to_owned() + &"{\"deviceId\":\"d\",\"unreachable\":4}\n".repeat(20);
    let lines = lines(&run(&["exec", "configs/definitions/registration.asl.json", "--input", "-"], &input));
    assert_eq!(lines[0]["output"], serde_json::json!({"deviceId": "d", "owner": "fleet-7", "registered": true}));
    assert_eq!(lines[1]["output"]["reason"], "RegistryUnreachable");
    assert!(began.elapsed() < std::time::Duration::from_secs(120), "the retries alone would take 7 s for each of the records");
}

#[test]
fn exec_answers_from_mocks_by_invocation() {
    let definition = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:000000000000:function:f",
        "Retry":[{"ErrorEquals":["Busy"],"MaxAttempts":1}],"Next":"U"},"U":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:000000000000:function:g","End":true}}}"#;
    let mocks = r#"{"StateMachines":{"m":{"TestCases":{"Happy":{"T":"R"},"Half":{"T":"R"}}}},
        "MockedResponses":{"R":{"0":{"Throw":{"Error":"Busy","Cause":"later"}},"1":{"Return":{"ok":true}}}}}"#;
    let (_a, definition) = file("m.asl.json", definition);
    let (_b, mocks) = file("mocks.json", mocks);
    let output = run(&["exec", &definition, "--mocks", &mocks, "--test-case", "Happy"], "");
    let lines = lines(&output);
    assert_eq!((code(&output), &lines[0]["status"]), (0, &Value::from("FAILED")), "state U is not mocked");
    assert!(lines[0]["cause"].as_str().is_some_and(|cause| cause.contains("state \"U\"") && cause.contains("native:echo")), "{}", lines[0]);
    let output = run(&["exec", &definition, "--mocks", &mocks, "--test-case", "Sad"], "");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("there are \"Happy\", \"Half\""), "{}", stderr(&output));
}

#[test]
fn exec_prints_the_history_as_the_api_answers_it() {
    let (_folder, path) = file("p.asl.yaml", "StartAt: P\nStates:\n  P: {Type: Pass, Result: {a: 1}, End: true}\n");
    let output = run(&["exec", &path, "--history", "--input", "-"], "{}\n\"two\"\n{\n");
    let lines = lines(&output);
    assert_eq!((code(&output), lines.len()), (1, 3));
    let events = lines[1]["events"].as_array().expect("a list");
    let told: Vec<_> = events.iter().map(|event| (event["id"].as_u64(), event["previousEventId"].as_u64(), event["type"].as_str())).collect();
    assert_eq!(told[2..], [(Some(3), Some(2), Some("PassStateExited")), (Some(4), Some(3), Some("ExecutionSucceeded"))]);
    assert_eq!(events[0]["executionStartedEventDetails"]["input"], "\"two\"");
    assert_eq!(events[2]["stateExitedEventDetails"], serde_json::json!({"name": "P", "output": "{\"a\":1}", "outputDetails": {"truncated": false}}));
    assert_eq!(lines[2]["status"], "INVALID_INPUT");
}

#[test]
fn exec_traces_the_path_for_people() {
    let output = run(&["exec", "configs/definitions/registration.asl.json", "--input", "-", "--trace"], "{\"deviceId\":\"d\",\"unreachable\":1}\n");
    let trace = stderr(&output);
    assert_eq!(lines(&output)[0]["status"], "SUCCEEDED");
    assert!(trace.starts_with("exec-1: SUCCEEDED after 1020 ms\n  1. "), "{trace}");
    for part in ["(Task) at +0 ms, took 10", "       input   {\"deviceId\":\"d\"", "       call    ", "       error   RegistryUnreachable", "       output  {"]
    {
        assert!(trace.contains(part), "{part} is missing in\n{trace}");
    }
}

#[test]
fn exec_takes_its_flags_from_the_environment_too() {
    let (_folder, path) = file("c.asl.json", r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Parameters":{"id.$":"$$.Execution.Id"},"End":true}}}"#);
    let output = run_with(&["exec", &path], "", &[("EXPRESSWAY_REGION", "eu-west-1"), ("EXPRESSWAY_EXECUTION_NAME", "n"), ("EXPRESSWAY_TYPE", "STANDARD")]);
    assert_eq!(lines(&output)[0]["output"]["id"], "arn:aws:states:eu-west-1:000000000000:execution:c:n");
}

#[test]
fn validate_reports_every_finding_and_exits_with_1() {
    let (_folder, bad) = file(
        "bad.asl.json",
        "{\n  \"StartAt\": \"A\",\n  \"States\": {\n    \"A\": {\"Type\": \"Pass\", \"Next\": \"Nowhere\"},\n    \"B\": {\"Type\": \"Pas\", \"End\": true}\n  }\n}\n",
    );
    let output = run(&["validate", HEARTBEAT, &bad], "");
    assert_eq!(code(&output), 1);
    let text = stdout(&output);
    assert!(text.contains("heartbeat.asl.json: valid") && text.contains("bad.asl.json:4:") && text.contains("bad.asl.json: refused"), "{text}");
    let output = run(&["validate", HEARTBEAT, &bad, "--format", "json"], "");
    let lines = lines(&output);
    assert_eq!((&lines[0]["result"], &lines[1]["result"]), (&Value::from("OK"), &Value::from("FAIL")));
    assert!(lines[1]["diagnostics"].as_array().is_some_and(|found| found.len() >= 2), "{}", lines[1]);
}

#[test]
fn validate_reports_a_missing_file_among_others() {
    let output = run(&["validate", "nowhere.asl.json", HEARTBEAT], "");
    assert_eq!((code(&output), stderr(&output).as_str()), (3, ""));
    assert!(stdout(&output).starts_with("error: the definition nowhere.asl.json cannot be read: ") && stdout(&output).contains("heartbeat.asl.json: valid"));
}

#[test]
fn validate_notes_what_only_a_mock_answers() {
    let task = |resource: &str| format!(r#"{{"StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"{resource}","End":true}}}}}}"#);
    let (arn, note) =
        ("arn:aws:lambda:us-east-1:123456789012:function:f", "nothing answers here but a mock for arn:aws:lambda:us-east-1:123456789012:function:f");
    let (_folder, path) = file("t.asl.json", &task(arn));
    let output = run(&["validate", &path, "--format", "json"], "");
    assert!(code(&output) == 0 && stderr(&output).contains(note), "{}", stderr(&output));
    assert_eq!(lines(&output)[0]["diagnostics"], serde_json::json!([]));
    let (_folder, path) = file("t.asl.json", &task("native:echo"));
    assert_eq!(stderr(&run(&["validate", &path], "")), "");
}

#[test]
fn compile_prints_the_listing_on_standard_output() {
    let output = run(&["compile", HEARTBEAT, "--listing"], "");
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains("Choice ByType"), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

/// The text beside what the program prints; `UPDATE_GOLDEN=1` writes it anew.
fn golden(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, printed).expect("a writable folder");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), printed, "{name}: renew with UPDATE_GOLDEN=1 and look at the difference");
}

#[test]
fn graph_draws_every_example_in_every_language() {
    for name in ["heartbeat", "registration", "alert"] {
        for (format, ending) in [("mermaid", "mmd"), ("dot", "dot"), ("svg", "svg")] {
            let output = run(&["graph", &format!("configs/definitions/{name}.asl.json"), "--format", format], "");
            assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
            golden(&format!("graph/{name}.{ending}"), &stdout(&output));
        }
    }
}

#[test]
fn graph_is_well_formed_whatever_the_names_are() {
    let name = r#"a \"<b>&\" ]]> \u0001 é"#;
    let text = format!(
        r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Choice","Choices":[{{"Variable":"$.a","StringEquals":"<&\"'-->","Next":"S"}}],"Default":"{name}"}},
            "S":{{"Type":"Succeed"}}}}}}"#
    );
    let (_folder, path) = file("g.asl.json", &text);
    let output = run(&["graph", &path, "--format", "svg"], "");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    well_formed(&stdout(&output));
}

/// Checks what makes XML well formed, as far as the writer can get it wrong: tags nest, and no bare `<`, `&` or control character stands in a text.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    for (index, part) in xml.split('<').enumerate() {
        let Some((tag, text)) = part.split_once('>') else {
            assert!(index == 0 && part.is_empty(), "a text before the root, or a bare <: {part}");
            continue;
        };
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "closed in the wrong order"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().expect("a name")),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for reference in tag.split('&').skip(1).chain(text.split('&').skip(1)) {
            let (name, _) = reference.split_once(';').expect("a reference ends");
            assert!(["amp", "lt", "gt", "quot"].contains(&name), "{name}");
        }
        assert!(!part.chars().any(|letter| letter < ' ' && letter != '\n'), "{part:?}");
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn graph_of_a_refused_definition_says_why_and_exits_with_1() {
    let (_folder, bad) = file("bad.asl.json", r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"Nowhere"}}}"#);
    let output = run(&["graph", &bad], "");
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).contains("MISSING_TRANSITION_TARGET"), "{}", stderr(&output));
}

#[test]
fn explain_prints_one_text_or_lists_all_codes() {
    let output = run(&["explain", "choice-without-default"], "");
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).starts_with("CHOICE_WITHOUT_DEFAULT\n\nIf no rule"), "{}", stdout(&output));
    let output = run(&["explain"], "");
    assert_eq!((code(&output), stdout(&output).lines().count()), (0, expressway_engine::diagnostic::Code::ALL.len()));
    let output = run(&["explain", "NO_DOLAR"], "");
    assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
    assert!(stderr(&output).contains("nearest are NO_DOLLAR"), "{}", stderr(&output));
}

#[test]
fn examples_are_reached_everywhere_by_their_cases() {
    let output = run(&["test", "configs/definitions", "--fail-under", "100"], "");
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).ends_with("0 failed; coverage 100 %\n"), "{}", stdout(&output));
}

#[test]
fn language_cases_hold_on_the_command_line_too() {
    let output = run(&["test", "tests/data/cases", "--format", "json"], "");
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((code(&output), &report["failed"]), (0, &Value::from(0)), "{}", stdout(&run(&["test", "tests/data/cases"], "")));
    assert!(report["passed"].as_u64().is_some_and(|passed| passed >= 400), "{}", report["passed"]);
}

/// A folder with a definition and its test file.
fn workflow(cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let definition = r#"{
  "StartAt": "C",
  "States": {
    "C": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "W"}], "Default": "F"},
    "W": {"Type": "Wait", "Seconds": 200, "Next": "T"},
    "T": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true},
    "F": {"Type": "Fail", "Error": "E"}
  }
}
"#;
    std::fs::write(folder.path().join("m.asl.json"), definition).expect("written");
    std::fs::write(folder.path().join("m.test.yaml"), cases).expect("written");
    folder
}

const GOOD: &str = "- {name: one, input: {n: 1}, mocks: {sfn_local: {T: {'0': {Return: 7}}}}, expect: {output: 7, took_ms: 200000, path: [C, W, T]}}\n";

#[test]
fn the_test_command_runs_cases_on_virtual_time_and_reports_what_they_missed() {
    let folder = workflow(GOOD);
    let began = std::time::Instant::now();
    for path in [folder.path().to_path_buf(), folder.path().join("m.asl.json"), folder.path().join("m.test.yaml")] {
        let output = run(&["test", &path.to_string_lossy()], "");
        assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("  ok      one\n") && text.contains("1 case: 1 passed, 0 failed; coverage 75 %"), "{text}");
        assert!(text.contains("not reached  line 7  F: the state") && text.contains("not reached  line 4  C: default → F"), "{text}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "each waits 200 s");
}

#[test]
fn the_test_command_tells_what_differs_and_exits_with_1() {
    let folder = workflow(&format!("{GOOD}- {{name: two, input: {{n: 2}}, expect: {{output: 7}}}}\n"));
    let output = run(&["test", &folder.path().to_string_lossy()], "");
    assert_eq!((code(&output), stderr(&output).as_str()), (1, ""));
    assert!(
        stdout(&output).contains("  FAILED  two\n          status\n            expected  SUCCEEDED\n            found     FAILED, error \"E\"\n"),
        "{}",
        stdout(&output)
    );
    let output = run(&["test", &folder.path().to_string_lossy(), "--only", "one"], "");
    assert_eq!(code(&output), 0, "the other case is left out");
}

#[test]
fn the_test_command_writes_reports_for_machines() {
    let folder = workflow(GOOD);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let reports = ["junit", "lcov", "json"].map(|form| format!("{form}={}", path(form)));
    let output = run(&["test", &path("m.test.yaml"), "--report", &reports[0], "--report", &reports[1], "--report", &reports[2], "--format", "json"], "");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("written");
    well_formed(read("junit").strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration"));
    assert!(read("lcov").contains("FNDA:1,W\n") && read("lcov").contains("DA:7,0\n"), "{}", read("lcov"));
    assert_eq!(serde_json::from_str::<Value>(&read("json")).expect("JSON")["coverage"]["total"], 8);
    assert_eq!(lines(&output)[0]["passed"], 1);
}

#[test]
fn the_test_command_fails_when_too_little_is_reached() {
    let folder = workflow(GOOD);
    let path = folder.path().to_string_lossy().into_owned();
    assert_eq!(code(&run(&["test", &path, "--fail-under", "75"], "")), 0);
    let output = run(&["test", &path, "--fail-under", "75.1"], "");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("the coverage is 75 %, less than the 75.1 % asked for"), "{}", stderr(&output));
}

#[test]
fn the_test_command_takes_mocks_in_the_format_of_step_functions_local() {
    let folder = workflow("- {name: one, input: {n: 1}, mocks: {test_case: Happy}, expect: {output: 8}}\n");
    let mocks = folder.path().join("mocks.json").to_string_lossy().into_owned();
    std::fs::write(&mocks, r#"{"StateMachines":{"m":{"TestCases":{"Happy":{"T":"R"}}}},"MockedResponses":{"R":{"0":{"Return":8}}}}"#).expect("written");
    let path = folder.path().to_string_lossy().into_owned();
    assert_eq!(code(&run(&["test", &path, "--mocks", &mocks], "")), 0);
    assert_eq!(code(&run_with(&["test", &path], "", &[("SFN_MOCK_CONFIG", &mocks)])), 0);
    let output = run(&["test", &path], "");
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("SFN_MOCK_CONFIG"), "{}", stdout(&output));
}

#[test]
fn the_test_command_records_an_execution_as_a_case() {
    let folder = workflow("");
    let path = folder.path().join("m.asl.json").to_string_lossy().into_owned();
    let output = run(&["test", &path, "--record", "turned away", "--input", "{\"n\": 3}"], "");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let expected = "- name: \"turned away\"\n  input: {\"n\":3}\n  expect:\n    status: FAILED\n    error: \"E\"\n    cause: null\n    took_ms: 0\n    path: [\"C\",\"F\"]\n";
    assert_eq!(stdout(&output), expected);
    assert_eq!(std::fs::read_to_string(folder.path().join("m.test.yaml")).expect("there"), expected);
    assert!(stderr(&output).starts_with("the case is written to ") && stderr(&output).ends_with("m.test.yaml\n"), "{}", stderr(&output));
    assert_eq!(code(&run(&["test", &path], "")), 0);
    assert_eq!(code(&run(&["test", &path, "--record", "turned away"], "")), 1, "the name is taken");
}

#[test]
fn the_test_command_tells_wrong_usage_from_files_at_fault() {
    let folder = workflow(GOOD);
    let path = folder.path().to_string_lossy().into_owned();
    for arguments in
        [&["test"][..], &["test", &path, "--only", "none of them"], &["test", &path, "--fail-under", "much"], &["test", &path, "--report", "xml=a"]]
    {
        assert_eq!(code(&run(arguments, "")), 2, "{arguments:?}");
    }
    let broken = workflow("- {name: one, expect: {ouput: 1}}\n");
    let output = run(&["test", &broken.path().to_string_lossy()], "");
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("case \"one\"") && stdout(&output).contains("did you mean \"output\"?"), "{}", stdout(&output));
    let output = run(&["test", "nowhere.test.yaml"], "");
    assert!(code(&output) == 3 && stderr(&output).starts_with("error: nowhere.test.yaml cannot be read: "), "{}", stderr(&output));
}

#[test]
fn config_show_merges_all_layers() {
    let environment = [("EXPRESSWAY_SERVICE_SHARDS", "3"), ("KAFKA_BOOTSTRAP_SERVERS", "b:1")];
    let output = run_with(&["config", "show", "--config", "configs/local.yaml", "--set", "kafka.group_id=fleet", "--listen", "127.0.0.1:1"], "", &environment);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "shards: 3",
        "environment EXPRESSWAY_SERVICE_SHARDS",
        "group_id: fleet",
        "flag --set",
        "listen: 127.0.0.1:1",
        "flag --listen",
        "bootstrap_servers: b:1",
        "- name: heartbeat",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn bad_configuration_is_one_clear_sentence_and_exit_code_78() {
    let (_folder, path) = file("a.yaml", "kafka:\n  bootstrap_server: a:1\n");
    let output = run(&["config", "show", "--config", &path], "");
    assert_eq!((code(&output), stdout(&output).as_str()), (78, ""));
    let text = stderr(&output);
    assert!(
        text.contains("kafka.bootstrap_server") && text.contains("a:1") && text.contains("did you mean \"bootstrap_servers\"?") && text.lines().count() == 1,
        "{text}"
    );
    let output = run(&["config", "show", "--config", "nowhere.yaml"], "");
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("nowhere.yaml cannot be read"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    for arguments in
        [&["exec"][..], &["fly"], &["exec", HEARTBEAT, "--colour"], &["exec", HEARTBEAT, "--type", "FAST"], &["exec", HEARTBEAT, "--mocks", "m.json"], &[]]
    {
        assert_eq!(code(&run(arguments, "")), 2, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["exec", "--help"], &["--version"]] {
        let output = run(arguments, "");
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn replay_says_that_it_needs_offsets_or_a_time() {
    let output = run(&["replay", "in", "--brokers", "127.0.0.1:1"], "");
    assert!(code(&output) == 2 && stderr(&output).starts_with("error: give --offset or --since"), "{}", stderr(&output));
}

#[test]
fn closed_pipe_is_no_error() {
    let many = "{\"type\":\"x\"}\n".repeat(20_000);
    let (_folder, input) = file("in.jsonl", &many);
    let mut child = Command::new(env!("CARGO_BIN_EXE_expressway"))
        .args(["exec", HEARTBEAT, "--input", &input])
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // The reader goes away before anything is read.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn demo_balances_its_books() {
    let output = run(&["demo", "--rate", "400", "--duration", "2", "--devices", "7", "--format", "json"], "");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let summary: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let number = |key: &str| summary[key].as_u64().expect("a number");
    assert_eq!(number("produced"), 800);
    assert_eq!((number("lost"), number("duplicates")), (0, 0));
    assert_eq!(number("succeeded") + number("failed") + number("dead_lettered"), 800);
    assert!(number("failed") > 0 && number("dead_lettered") > 0, "{summary}");
    let keys: Vec<_> = summary.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["produced", "succeeded", "failed", "dead_lettered", "duplicates", "lost", "executions_per_s", "held", "latency_ms"]);
    assert!(stderr(&output).contains("the books balance"), "{}", stderr(&output));
}

/// Goes round for ever, without a Wait.
const ENDLESS: &str =
    r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.go","BooleanEquals":true,"Next":"C"}],"Default":"E"},"E":{"Type":"Succeed"}}}"#;

#[test]
fn exec_bounds_the_history_of_an_endless_loop() {
    let (_folder, path) = file("loop.asl.json", &ENDLESS.replace("{\"StartAt\"", "{\"TimeoutSeconds\":5,\"StartAt\""));
    let (_input, input) = file("in.jsonl", "{\"go\":true}\n");
    let output = run(&["exec", &path, "--input", &input, "--history", "--trace"], "");
    assert_eq!(code(&output), 0, "{:.1000}", stderr(&output));
    let line = &lines(&output)[0];
    let events = line["events"].as_array().expect("a list");
    assert_eq!(events.len(), 100_001);
    assert_eq!((&events[0]["id"], &events[100_000]["type"]), (&Value::from(1), &Value::from("ExecutionTimedOut")));
    let (omitted, last) = (line["eventsOmitted"].as_u64().expect("a count"), events[100_000]["id"].as_u64().expect("an id"));
    assert_eq!(omitted + 100_001, last);
    let told = stderr(&output);
    assert!(told.starts_with("exec-1: TIMED_OUT") && told.contains("note: exec-1 has ") && told.contains(" of them are left out"), "{told:.1000}");
}

#[test]
fn a_standard_execution_ends_with_its_event_25000_here_as_on_aws() {
    let (folder, path) = file("loop.asl.json", ENDLESS);
    let (_input, input) = file("in.jsonl", "{\"go\":true}\n");
    let cause = "The execution reached the maximum number of history events (25000).";
    let output = run(&["exec", &path, "--type", "STANDARD", "--input", &input], "");
    assert_eq!(lines(&output)[0], serde_json::json!({"status": "FAILED", "error": "States.Runtime", "cause": cause}));
    let case = format!("- {{name: loop, type: STANDARD, input: {{go: true}}, expect: {{error: States.Runtime, cause: '{cause}', took_ms: 250}}}}\n");
    std::fs::write(folder.path().join("loop.test.yaml"), case).expect("written");
    let output = run(&["test", &path], "");
    assert_eq!(code(&output), 0, "{}", stdout(&output));
}

#[test]
fn findings_of_yaml_point_into_the_yaml() {
    let yaml = "# A comment\nStartAt: A\nStates:\n  A:\n    Type: Pass\n    Next: Nowhere\n  Broken: {Type: Pas, End: true}\n";
    let (_folder, path) = file("m.asl.yaml", yaml);
    let output = run(&["validate", &path], "");
    let text = stdout(&output);
    assert!(text.contains("m.asl.yaml:6:11 at /States/A/Next\n  |\n6 |     Next: Nowhere\n  |           ^\n"), "{text}");
    assert!(
        text.contains(
            "m.asl.yaml:7:18 at /States/Broken/Type\n  |\n7 |   Broken: {Type: Pas, End: true}\n  |                  ^\n  = hint: did you mean 'Pass'?\n"
        ),
        "{text}"
    );
    let found = &lines(&run(&["validate", &path, "--format", "json"], ""))[0]["diagnostics"];
    assert!(found.as_array().is_some_and(|found| found.iter().any(|found| found["line"] == 6 && found["column"] == 11)), "{found}");
    for verb in ["exec", "compile", "graph"] {
        assert!(stderr(&run(&[verb, &path], "")).contains("m.asl.yaml:6:11"), "{verb}");
    }
}

#[test]
fn thousands_of_findings_are_shown_in_part_and_quickly() {
    let began = std::time::Instant::now();
    let states: String = (0..10_000).map(|n| format!("\"S{n}\":{{\"Type\":\"Pass\",\"Next\":\"Gone{n}\"}},\n")).collect();
    let (_folder, path) = file("many.asl.json", &format!("{{\"StartAt\":\"S0\",\"States\":{{{states}\"E\":{{\"Type\":\"Succeed\"}}}}}}"));
    let output = run(&["validate", &path], "");
    let text = stdout(&output);
    assert_eq!((code(&output), text.matches("error[").count()), (1, 100));
    assert!(text.contains(" more; expressway validate --format json shows all\n"), "{:.500}", text);
    let all = &lines(&run(&["validate", &path, "--format", "json"], ""))[0]["diagnostics"];
    assert!(all.as_array().is_some_and(|all| all.len() >= 10_000));
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "it took two minutes when every finding looked for its line");
}

#[test]
fn what_cannot_be_read_ends_with_3_and_what_is_wrong_with_1() {
    let (_a, good) = file("p.asl.json", r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#);
    for arguments in [
        &["exec", "nowhere.asl.json"][..],
        &["compile", "nowhere.asl.json"],
        &["graph", "nowhere.asl.json"],
        &["exec", &good, "--input", "nowhere.jsonl"],
        &["exec", &good, "--mocks", "nowhere.json", "--test-case", "c"],
        &["test", &good, "--record", "n", "--history", "nowhere.json"],
    ] {
        let output = run(arguments, "");
        assert!(code(&output) == 3 && stderr(&output).starts_with("error: "), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("cannot be read: No such file"), "{arguments:?}: {}", stderr(&output));
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let latin = folder.path().join("l.asl.json");
    std::fs::write(&latin, b"{\"StartAt\":\"\xe9\"}").expect("written");
    let output = run(&["validate", &latin.to_string_lossy()], "");
    assert!(code(&output) == 1 && stdout(&output).contains("is refused: it is not UTF-8"), "{}", stdout(&output));
}

#[test]
fn identities_are_checked() {
    let (_folder, path) = file("p.asl.json", r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#);
    for (flag, value, part) in [
        ("--execution-name", "a b", "Invalid Name: 'a b'"),
        ("--state-machine", "a/b", "Invalid Name: 'a/b'"),
        ("--account", "123", "12 digits"),
        ("--account", "12345678901x", "12 digits"),
        ("--region", "", "a region is letters"),
    ] {
        let output = run(&["exec", &path, flag, value], "");
        assert!(code(&output) == 2 && stderr(&output).contains(part), "{flag}: {}", stderr(&output));
    }
    let output = run(&["exec", &path, "--execution-name", "a-1_b.c", "--account", "123456789012", "--region", "eu-west-1"], "");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn mocks_must_fit_the_machine() {
    let (_a, definition) = file("m.asl.json", r#"{"StartAt":"Task","States":{"Task":{"Type":"Task","Resource":"native:x","End":true}}}"#);
    let mocks = |machine: &str, state: &str| {
        format!(r#"{{"StateMachines":{{"{machine}":{{"TestCases":{{"c":{{"{state}":"R"}}}}}}}},"MockedResponses":{{"R":{{"0":{{"Return":1}}}}}}}}"#)
    };
    let exec = |mocks: &str, case: &str| {
        let (_b, mocks) = file("mocks.json", mocks);
        let output = run(&["exec", &definition, "--mocks", &mocks, "--test-case", case], "");
        (code(&output), format!("{}{}", stdout(&output), stderr(&output)))
    };
    assert_eq!(exec(&mocks("m", "Task"), "c").0, 0);
    assert_eq!(exec(&mocks("Other", "Task"), "Other#c").0, 0);
    let (code, text) = exec(&mocks("Other", "Task"), "c");
    assert!(code == 1 && text.contains("state machine \"m\" is not in it; there are \"Other\""), "{text}");
    let (code, text) = exec(&mocks("m", "Tasks"), "c");
    assert!(code == 1 && text.contains("mocks \"Tasks\", which is no Task state of the definition; did you mean \"Task\"?"), "{text}");
}

#[test]
fn nothing_that_is_shown_acts_on_a_terminal() {
    let evil = "\\u001b[31m\\u009b2J";
    let text = format!(r#"{{"StartAt":"{evil}","States":{{"{evil}":{{"Type":"Fail","Error":"{evil}","Cause":"{evil}","{evil}":1}}}}}}"#);
    let (_a, refused) = file("r.asl.json", &text);
    let (folder, path) = file("m.asl.json", &text.replace(&format!(",\"{evil}\":1"), ""));
    let cases = format!("- {{name: \"{evil}\", expect: {{error: \"no {evil}\"}}}}\n");
    std::fs::write(folder.path().join("m.test.yaml"), cases).expect("written");
    for arguments in [&["validate", &refused][..], &["exec", &refused], &["exec", &path, "--trace"], &["test", &path], &["compile", &path, "--listing"]] {
        let output = run(arguments, "");
        // What exec writes to standard output is JSON for programs.
        let shown = if arguments[0] == "exec" { stderr(&output) } else { format!("{}{}", stdout(&output), stderr(&output)) };
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{arguments:?}: {shown:?}");
    }
    assert!(stdout(&run(&["test", &path], "")).contains("FAILED  \\u{1b}[31m\\u{9b}2J\n"));
}

#[test]
fn compile_tells_variable_references_as_aws_does() {
    let text = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Assign":{"x":1,"y":2},"Next":"B"},
        "B":{"Type":"Pass","Parameters":{"b.$":"$y","a.$":"$x"},"End":true}}}"#;
    let (_folder, path) = file("v.asl.json", text);
    let summary = &lines(&run(&["compile", &path, "--format", "json"], ""))[0];
    assert_eq!(summary["variableReferences"], serde_json::json!({"B": ["x", "y"]}));
    assert_eq!((&summary["name"], &summary["type"]), (&Value::from("v"), &Value::from("EXPRESS")));
    assert!(stdout(&run(&["compile", &path], "")).ends_with("\nB reads $x, $y\n"));
}

#[test]
fn the_test_command_does_not_pass_on_nothing() {
    for cases in ["", "[]\n", "# none yet\n"] {
        let folder = workflow(cases);
        let path = folder.path().to_string_lossy().into_owned();
        for arguments in [&["test", &path][..], &["test", &path, "--fail-under", "0"], &["test", &path, "--format", "junit"]] {
            let output = run(arguments, "");
            assert_eq!(code(&output), 1, "{cases:?} {arguments:?}");
            assert!(stderr(&output).contains("no case was run") && stderr(&output).contains("m.test.yaml has no cases"), "{}", stderr(&output));
        }
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let inline = "- {name: a, definition: {StartAt: P, States: {P: {Type: Pass, End: true}}}, expect: {output: {}}}\n";
    std::fs::write(folder.path().join("alone.test.yaml"), inline).expect("written");
    let path = folder.path().to_string_lossy().into_owned();
    assert_eq!(code(&run(&["test", &path], "")), 0);
    let output = run(&["test", &path, "--fail-under", "50"], "");
    assert!(code(&output) == 1 && stderr(&output).contains("no coverage was measured"), "{}", stderr(&output));
}

#[test]
fn a_malformed_test_file_does_not_keep_the_others_from_running() {
    let folder = workflow(GOOD);
    std::fs::write(folder.path().join("a.test.yaml"), "- {name: one, expect: {ouput: 1}}\n").expect("written");
    std::fs::write(folder.path().join("b.test.yaml"), "- [").expect("written");
    let path = folder.path().to_string_lossy().into_owned();
    let output = run(&["test", &path], "");
    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("  ok      one\n") && stdout(&output).contains("1 case: 1 passed, 0 failed, 2 files at fault; coverage 75 %"),
        "{}",
        stdout(&output)
    );
    let output = run(&["test", &path, "--format", "junit"], "");
    assert!(code(&output) == 1 && stdout(&output).contains("tests=\"3\" failures=\"0\" errors=\"2\""), "{}", stdout(&output));
    assert_eq!(code(&run(&["test", &path, "--only", "one"], "")), 1, "a file at fault may hold the case that was asked for");
}

#[test]
fn a_recording_keeps_its_type_and_says_when_it_does_not_come_out() {
    let folder = workflow("");
    let path = folder.path().join("m.asl.json").to_string_lossy().into_owned();
    let output = run(&["test", &path, "--record", "standard", "--type", "STANDARD", "--input", "{\"n\": 3}"], "");
    assert!(code(&output) == 0 && stdout(&output).starts_with("- name: \"standard\"\n  type: STANDARD\n"), "{}", stdout(&output));
    assert_eq!(code(&run(&["test", &path], "")), 0, "the case says its type itself");
    // On AWS the task was called, but this definition does not come by it.
    let events = r#"{"events":[
        {"id":1,"previousEventId":0,"type":"ExecutionStarted","executionStartedEventDetails":{"input":"{\"n\":3}"}},
        {"id":2,"previousEventId":0,"type":"TaskStateEntered","stateEnteredEventDetails":{"name":"T","input":"{}"}},
        {"id":3,"previousEventId":2,"type":"TaskScheduled","taskScheduledEventDetails":{"parameters":"{}"}},
        {"id":4,"previousEventId":3,"type":"TaskSucceeded","taskSucceededEventDetails":{"output":"1"}},
        {"id":5,"previousEventId":4,"type":"ExecutionSucceeded","executionSucceededEventDetails":{"output":"1"}}]}"#;
    let (_history, history) = file("history.json", events);
    let output = run(&["test", &path, "--record", "aws", "--history", &history], "");
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).starts_with("- name: \"aws\"\n  type: STANDARD\n"), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("call of state \"T\" that is not made") && stderr(&output).contains("error: the case is written to"),
        "{}",
        stderr(&output)
    );
    assert_eq!(code(&run(&["test", &path], "")), 1, "and it fails as it stands");
}
