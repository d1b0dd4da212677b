//! A secret of the configuration, put wherever a secret or a mistake with one can be: it reaches the client, and nothing that the program says or serves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

const CANARY: &str = "canary-5f2a";

/// Runs the program in `folder`, with the canary in the environment.
fn expressway(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_expressway"));
    command.args(arguments).current_dir(folder.path()).env_clear().env("SECRET", CANARY).stdin(Stdio::null());
    command.output().expect("ends")
}

/// A folder with a definition, a file that holds the canary, and a configuration with `kafka`.
fn folder(kafka: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("secret", &format!("{CANARY}\n"));
    write("pass.asl.json", r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#);
    write(
        "config.yaml",
        &format!(
            "kafka: {kafka}\nhttp: {{listen: '127.0.0.1:0'}}\nlog: {{level: trace}}\nservice: {{shards: 1}}\npipelines:\n  - {{name: p, definition: pass.asl.json, source_topics: [in], result_topic: out, dead_letter_topic: dead}}\n"
        ),
    );
    folder
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn no_verb_repeats_a_secret() {
    let cases = [
        ("{client_options: {sasl.password: canary-5f2a}}", 0),
        ("{client_options: {sasl.password: '${SECRET}'}}", 0),
        ("{client_options: {sasl.password: '${file:secret}'}}", 0),
        ("{client_options: {sasl.password_file: secret}}", 0),
        ("{client_options: {ssl.key.pem_file: secret}}", 0),
        ("{sasl.password: canary-5f2a}", 78),
        ("{sasl: '${SECRET}'}", 78),
        ("{client_options: '${SECRET}'}", 78),
        ("{client_options: {acks: '${file:secret}'}}", 78),
        ("{client_options: {sasl.password_file: secret, sasl.password: canary-5f2a}}", 78),
    ];
    for (kafka, code) in cases {
        let folder = folder(kafka);
        let output = expressway(&folder, &["config", "show", "--config", "config.yaml"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{kafka}: {said}");
        assert!(!said.contains(CANARY), "{kafka}: {said}");
    }
}

#[test]
fn a_client_that_refuses_an_option_does_not_have_its_value_repeated() {
    // The client knows none of these, or not with this value; no broker is asked for that.
    for option in ["sasl.wordpass: '${SECRET}'", "security.protocol: '${file:secret}'", "sasl.wordpass_file: secret"] {
        let folder = folder(&format!("{{bootstrap_servers: '127.0.0.1:1', client_options: {{{option}}}}}"));
        for verb in [&["run"][..], &["dlq", "list", "dead"], &["audit", "in"], &["replay", "in", "--offset", "0..1", "--partition", "0"], &["trace", "in:0:0"]]
        {
            let arguments: Vec<&str> = verb.iter().copied().chain(["--config", "config.yaml", "--log-level", "trace"]).collect();
            let output = expressway(&folder, &arguments);
            let said = said(&output);
            assert_ne!(output.status.code(), Some(0), "{verb:?}: {said}");
            assert!(!said.contains(CANARY), "{verb:?} {option}: {said}");
            assert!(said.contains(option.split(':').next().expect("a key").trim_end_matches("_file")), "{verb:?}: the option is named: {said}");
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("received");
    answer
}

#[test]
fn a_running_service_says_and_serves_no_secret() {
    let cluster: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).expect("a mock cluster");
    for topic in ["in", "out", "dead"] {
        cluster.create_topic(topic, 1, 1).expect("a topic");
    }
    let brokers = cluster.bootstrap_servers();
    // All that the client can tell of itself, at the level that lets all of it through.
    let options = "{debug: all, sasl.username: u, sasl.password_file: secret, ssl.key.password: '${SECRET}'}";
    let folder = folder(&format!("{{bootstrap_servers: '{brokers}', group_id: g, client_options: {options}}}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_expressway"));
    command.args(["run", "--config", "config.yaml"]).current_dir(folder.path()).env_clear().env("SECRET", CANARY);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let errors = BufReader::new(child.stderr.take().expect("piped"));
    // Read all along: a service whose log nobody takes would wait for the reader.
    let (lines, seen) = mpsc::sync_channel(1_000_000);
    let reader = std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| lines.send(line).expect("the test lives")));
    let (mut said, mut address) = (String::new(), String::new());
    loop {
        let line = seen.recv().unwrap_or_else(|_| panic!("it ended: {said}"));
        if let Some((_, rest)) = line.split_once("health and metrics are served address=") {
            rest.trim().clone_into(&mut address);
        }
        let is_ready = line == "ready";
        said.push_str(&line);
        said.push('\n');
        if is_ready {
            break;
        }
    }
    for path in ["/ping", "/livez", "/ready", "/readyz", "/healthz", "/metrics", "/version", "/config", "/debug", "/"] {
        let answer = get(&address, path);
        assert!(!answer.contains(CANARY), "{path}: {answer}");
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill is there").success());
    said.extend(seen.iter().flat_map(|line| [line, "\n".to_owned()]));
    reader.join().expect("the reader ends with the service");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(said.contains("sasl.password"), "the client tells its options: {said:.2000}");
    assert!(!said.contains(CANARY) && !String::from_utf8_lossy(&output.stdout).contains(CANARY));
}
