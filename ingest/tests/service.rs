//! `expressway run` as an operator meets it, against the mock cluster of the Kafka client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Offset, TopicPartitionList};

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster with these topics, of two partitions each.
fn cluster(topics: &[&str]) -> Cluster {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for topic in topics {
        cluster.create_topic(topic, 2, 1).expect("a topic");
    }
    cluster
}

/// A running service with its configuration; killed when dropped.
struct Service {
    child: Child,
    errors: BufReader<ChildStderr>,
    seen: String,
    folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Service {
    fn start(brokers: &str, definition: &str) -> Self {
        Self::start_with(brokers, definition, "")
    }

    /// With further keys of the section `service`.
    fn start_with(brokers: &str, definition: &str, keys: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(folder.path().join("heartbeat.asl.json"), definition).expect("written");
        let config = format!(
            "kafka: {{bootstrap_servers: '{brokers}', group_id: g, client_options: {{fetch.wait.max.ms: 5}}}}\nhttp: {{listen: '127.0.0.1:0'}}\nservice: {{shards: 1, shutdown_timeout: 10s, startup_timeout: 10s{keys}}}\npipelines:\n  - {{name: heartbeat, definition: heartbeat.asl.json, source_topics: [in], result_topic: out, dead_letter_topic: dead}}\n"
        );
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_expressway"));
        let mut child = command
            .args(["run", "--config"])
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, errors, seen: String::new(), folder }
    }

    /// Reads standard error up to a line that contains `part`.
    fn wait_for(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.errors.read_line(&mut line).expect("UTF-8") > 0, "\"{part}\" is missing in:\n{}", self.seen);
            self.seen.push_str(&line);
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits for the end; exit code and all of standard error.
    fn end(mut self) -> (Option<i32>, String) {
        self.errors.read_to_string(&mut self.seen).expect("UTF-8");
        let code = self.child.wait().expect("ends").code();
        (code, std::mem::take(&mut self.seen))
    }

    fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill is there").success());
    }

    /// Writes another definition in place of the one before, as a deployment does.
    fn redefine(&self, definition: &str) {
        let path = self.folder.path().join("heartbeat.asl.json");
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, definition).expect("written");
        std::fs::rename(fresh, path).expect("renamed");
    }

    /// The address at which health and metrics are served.
    fn address(&mut self) -> String {
        let line = self.wait_for("health and metrics are served");
        line.split("address=").nth(1).expect("the address is told").split_whitespace().next().expect("an address").to_owned()
    }

    /// The metrics, once they have a line.
    fn metrics_with(&mut self, address: &str, line: &str) -> String {
        loop {
            let metrics = get(address, "/metrics");
            if metrics.lines().any(|found| found == line) {
                return metrics;
            }
            assert!(self.child.try_wait().expect("known").is_none(), "the service ended");
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

const HEARTBEAT: &str = include_str!("../../configs/definitions/heartbeat.asl.json");

#[test]
fn run_becomes_ready_works_and_ends_in_order() {
    let cluster = cluster(&["in", "out", "dead"]);
    let mut service = Service::start(&cluster.bootstrap_servers(), HEARTBEAT);
    let address = service.address();
    assert!(get(&address, "/ping").starts_with("HTTP/1.1 200"));
    assert_eq!(service.wait_for("ready"), "ready\n");
    assert!(get(&address, "/ready").contains(r#"{"ready":true,"reasons":[]}"#));

    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    for value in ["{\"type\":\"heartbeat\",\"deviceId\":\"d\",\"ts\":\"t\",\"battery\":7}", "{\"type\":\"?\"}", "{"] {
        producer.send(BaseRecord::<str, str>::to("in").key("d").payload(value)).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(Duration::from_secs(10)).expect("acknowledged");
    let metrics = service.metrics_with(&address, "expressway_records_acknowledged_total{state_machine=\"heartbeat\"} 3");
    for line in [
        "expressway_executions_succeeded_total{state_machine=\"heartbeat\"} 1",
        "expressway_executions_failed_total{state_machine=\"heartbeat\"} 1",
        "expressway_dead_letters_total{state_machine=\"heartbeat\",reason=\"malformed_json\"} 1",
        "expressway_execution_time_seconds_count{state_machine=\"heartbeat\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    service.terminate();
    let (code, errors) = service.end();
    assert_eq!(code, Some(0), "{errors}");
}

fn passes(result: u32) -> String {
    format!(r#"{{"StartAt":"P","States":{{"P":{{"Type":"Pass","Result":{result},"End":true}}}}}}"#)
}

fn send(cluster: &Cluster, value: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().expect("a producer");
    producer.send(BaseRecord::<str, str>::to("in").key("d").payload(value)).map_err(|(error, _)| error).expect("queued");
    producer.flush(Duration::from_secs(30)).expect("acknowledged");
}

/// The values of the first `count` results, in no order.
fn results(cluster: &Cluster, count: usize) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader").set("auto.offset.reset", "earliest");
    let reader: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset("out", partition, Offset::Beginning).expect("a partition");
    }
    reader.assign(&list).expect("assigned");
    let mut values = Vec::new();
    while values.len() < count {
        let message = reader.poll(Duration::from_secs(60)).expect("in time").expect("a record");
        values.push(String::from_utf8(message.payload().expect("a value").to_vec()).expect("UTF-8"));
    }
    values.sort();
    values
}

#[test]
fn a_definition_is_replaced_by_sighup_and_a_refused_one_changes_nothing() {
    let cluster = cluster(&["in", "out", "dead"]);
    let mut service = Service::start(&cluster.bootstrap_servers(), &passes(1));
    let address = service.address();
    service.wait_for("ready");
    send(&cluster, "{}");
    let acknowledged = |count: u32| format!("expressway_records_acknowledged_total{{state_machine=\"heartbeat\"}} {count}");
    service.metrics_with(&address, &acknowledged(1));

    service.redefine(&passes(2));
    service.signal("-HUP");
    let line = service.wait_for("the definition is replaced");
    let version = |name: &str| line.split(&format!("{name}=\"")).nth(1).expect("told").split('"').next().expect("a version").to_owned();
    assert_ne!(version("version"), version("before"));
    send(&cluster, "{}");
    service.metrics_with(&address, &acknowledged(2));

    service.redefine(r#"{"StartAt":"Gone","States":{"P":{"Type":"Pass","End":true}}}"#);
    service.signal("-HUP");
    service.wait_for("the definition is refused, the one before goes on");
    assert!(get(&address, "/ready").starts_with("HTTP/1.1 200"));
    send(&cluster, "{}");
    let metrics = service.metrics_with(&address, &acknowledged(3));
    let definition = format!("expressway_definition{{state_machine=\"heartbeat\",version=\"{}\"}} 1", version("version"));
    for line in [
        definition.as_str(),
        "expressway_definitions_replaced_total{state_machine=\"heartbeat\"} 1",
        "expressway_definitions_refused_total{state_machine=\"heartbeat\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
    assert_eq!(results(&cluster, 3), ["1", "2", "2"]);
    service.terminate();
    let (code, errors) = service.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("Gone"), "the findings are told: {errors}");
}

#[test]
fn a_definition_whose_file_changes_is_replaced_where_that_is_wanted() {
    let cluster = cluster(&["in", "out", "dead"]);
    let mut service = Service::start_with(&cluster.bootstrap_servers(), &passes(1), ", watch_definitions: true");
    let address = service.address();
    service.wait_for("ready");
    // Another size, for the file's time alone may be too coarse.
    service.redefine(&passes(1_000));
    service.wait_for("the definition is replaced");
    service.metrics_with(&address, "expressway_definitions_replaced_total{state_machine=\"heartbeat\"} 1");
    service.terminate();
    let (code, errors) = service.end();
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn readiness_turns_false_while_a_long_execution_is_waited_for() {
    let cluster = cluster(&["in", "out", "dead"]);
    let waits = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":200,"End":true}}}"#;
    let mut service = Service::start_with(&cluster.bootstrap_servers(), waits, ", drain_timeout: 4s");
    let address = service.address();
    service.wait_for("ready");
    send(&cluster, "{}");
    service.metrics_with(&address, "expressway_executions_open{state_machine=\"heartbeat\"} 1");
    service.terminate();
    service.wait_for("shutting down");
    // It drains for four seconds, and says so from the first moment on.
    let answer = get(&address, "/ready");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("shutting down"), "{answer}");
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    let (code, errors) = service.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("partitions were given back before everything was finished"), "{errors}");
}

#[test]
fn unreachable_broker_is_one_sentence_and_exit_code_3() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let (code, errors) = Service::start(&address.to_string(), HEARTBEAT).end();
    assert_eq!(code, Some(3), "{errors}");
    let sentence = errors.lines().last().expect("a line");
    assert!(sentence.starts_with("error: pipeline heartbeat: ") && sentence.contains(&address.to_string()), "{errors}");
}

#[test]
fn missing_result_topic_is_one_sentence_and_exit_code_3() {
    let cluster = cluster(&["in", "dead"]);
    let (code, errors) = Service::start(&cluster.bootstrap_servers(), HEARTBEAT).end();
    assert_eq!(code, Some(3), "{errors}");
    assert!(
        errors.lines().last().is_some_and(|line| line == "error: pipeline heartbeat: result topic out does not exist, and Expressway creates none"),
        "{errors}"
    );
}

#[test]
fn refused_definition_exits_with_1_and_a_missing_one_with_78() {
    let cluster = cluster(&["in", "out", "dead"]);
    let (code, errors) = Service::start(&cluster.bootstrap_servers(), r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"}}}"#).end();
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("heartbeat.asl.json") && errors.contains("/States/A"), "{errors}");
    let (code, errors) =
        Service::start(&cluster.bootstrap_servers(), r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"native:nothing","End":true}}}"#).end();
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains("nothing answers for native:nothing"), "{errors}");
}
