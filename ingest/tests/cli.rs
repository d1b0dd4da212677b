//! The program as a user runs it: arguments in, standard streams and exit code out.

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
    let input = "{\"deviceId\":\"d\",\"unreachable\":3}\n{\"deviceId\":\"d\",\"unreachable\":4}\n";
    let lines = lines(&run(&["exec", "configs/definitions/registration.asl.json", "--input", "-"], input));
    assert_eq!(lines[0]["output"], serde_json::json!({"deviceId": "d", "owner": "fleet-7", "registered": true}));
    assert_eq!(lines[1]["output"]["reason"], "RegistryUnreachable");
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "the retries alone would take 14 s");
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
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("nowhere.asl.json cannot be read") && stdout(&output).contains("heartbeat.asl.json: valid"));
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
        stdout(&output).contains("  FAILED  two\n          status\n            expected  SUCCEEDED\n            found     FAILED\n"),
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
    let expected = "- name: \"turned away\"\n  input: {\"n\":3}\n  expect:\n    status: FAILED\n    error: \"E\"\n    took_ms: 0\n    path: [\"C\",\"F\"]\n";
    assert_eq!(stdout(&output), expected);
    assert_eq!(std::fs::read_to_string(folder.path().join("m.test.yaml")).expect("there"), expected);
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
    assert!(stderr(&output).contains("case \"one\"") && stderr(&output).contains("did you mean \"output\"?"), "{}", stderr(&output));
    assert_eq!(code(&run(&["test", "nowhere.test.yaml"], "")), 1);
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
