//! Tests of the whole way from layers to values.

use std::collections::BTreeSet;

use super::*;
use tree::{Kind, Node};

const PIPELINE: &str = "
pipelines:
  - name: heartbeat
    definition: heartbeat.asl.json
    source_topics: [heartbeats]
    result_topic: results
    dead_letter_topic: dead-letters
";

fn from(file: &str) -> Result<Loaded, Error> {
    load(&Layers { file: Some(("dir/a.yaml", file)), ..Layers::default() })
}

fn refused(file: &str, parts: &[&str]) {
    let error = from(file).expect_err("must be refused").to_string();
    for part in parts {
        assert!(error.contains(part), "\"{part}\" is missing in: {error}");
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// All dotted paths of a tree; list entries count as `key[0]`.
fn paths(path: &str, node: &Node, out: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::Map(members) => {
            for (key, node) in members {
                let path = fault::join(path, key);
                out.insert(path.clone());
                paths(&path, node, out);
            }
        }
        Kind::List(items) => items.iter().enumerate().for_each(|(index, item)| paths(&format!("{path}[{index}]"), item, out)),
        _ => {}
    }
}

#[test]
fn defaults_alone_are_valid() {
    let loaded = load(&Layers::default()).expect("defaults");
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:9464");
    assert!(loaded.config.pipelines.is_empty());
}

#[test]
fn every_key_of_default_yaml_is_read_and_every_field_has_a_key() {
    let value = yaml::parse(DEFAULT_YAML).expect("YAML");
    let mut documented = BTreeSet::new();
    paths("", &Node::new(value, &Source::Default), &mut documented);
    let tree = merged(&Layers { file: Some(("a.yaml", PIPELINE)), ..Layers::default() }).expect("merged");
    let (faults, read) = (RefCell::new(Vec::new()), RefCell::default());
    Config::read(&Section::root(&tree, &faults, &read));
    let read: BTreeSet<String> = read.into_inner().into_keys().collect();
    assert_eq!(documented, read);
}

#[test]
fn every_key_of_default_yaml_has_a_comment_above_it() {
    let mut commented = false;
    for line in DEFAULT_YAML.lines() {
        let text = line.trim_start();
        if text.starts_with('#') {
            commented = text.len() > 10;
        } else if !text.is_empty() {
            assert!(commented, "no comment above: {line}");
            commented = false;
        } else {
            commented = false;
        }
    }
}

#[test]
fn files_of_the_repository_are_valid() {
    let environment = pairs(&[("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2"), ("KAFKA_USERNAME", "u"), ("KAFKA_PASSWORD", "p"), ("HOSTNAME", "h")]);
    for name in ["local", "production"] {
        let path = format!("{}/../configs/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let loaded = load_file(Some(Path::new(&path)), &environment, &[]).expect(name);
        for pipeline in &loaded.config.pipelines {
            assert!(pipeline.definition.exists(), "{}", pipeline.definition.display());
        }
    }
}

#[test]
fn unknown_key_is_refused_with_value_and_hint() {
    refused("kafka: {bootstrap_server: 'a:1'}", &["kafka.bootstrap_server", "a:1", "group_id", "did you mean \"bootstrap_servers\"?", "dir/a.yaml"]);
    refused("colour: red", &["\"colour\"", "red", "kafka, http, service"]);
    refused("pipelines: [{nam: x}]", &["pipelines[0].nam", "did you mean \"name\"?"]);
    refused("pipelines: [{mocks: {fil: x}}]", &["pipelines[0].mocks.fil", "did you mean \"file\"?"]);
}

#[test]
fn all_faults_are_reported_at_once() {
    let error = from("service: {shards: 1000, shutdown_timeout: 5, memory_limit: 1MiB}\nhttp: {listen: nowhere}\npipelines: [{name: 'a b'}]")
        .expect_err("must be refused");
    let Error::Faults(faults) = error else { panic!("faults") };
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    for key in [
        "service.shards",
        "service.shutdown_timeout",
        "service.memory_limit",
        "http.listen",
        "pipelines[0].name",
        "pipelines[0].definition",
        "pipelines[0].source_topics",
        "pipelines[0].result_topic",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
}

#[test]
fn wrong_values_say_what_is_allowed() {
    refused("service: {shards: many}", &["service.shards", "many", "a whole number from 0 to 256"]);
    refused("service: {shutdown_timeout: 5}", &["5 is not allowed", "a duration with a unit"]);
    refused("service: {memory_limit: 1MiB}", &["auto, off, or a size", "at least 64MiB"]);
    refused("log: {format: xml}", &["xml", "text or json"]);
    refused("kafka: {group_id: 12}", &["kafka.group_id", "put it in quotes"]);
    refused("kafka: {bootstrap_servers: localhost}", &["host:port"]);
    refused("kafka: 5", &["\"kafka\"", "5 is not allowed", "a mapping of keys"]);
    refused("pipelines: {name: a}", &["a list of pipelines"]);
    refused("identity: {account: '12'}", &["twelve digits"]);
}

#[test]
fn broken_yaml_is_one_error() {
    refused("kafka: [", &["dir/a.yaml", "not valid YAML"]);
    refused("- a\n- b", &["a mapping of sections"]);
}

#[test]
fn later_layers_win_and_show_tells_the_source() {
    let environment = pairs(&[("EXPRESSWAY_KAFKA_GROUP_ID", "from-env"), ("EXPRESSWAY_SERVICE_SHARDS", "3"), ("GROUP", "x")]);
    let flags = [("service.shards".to_owned(), "2".to_owned(), "--shards".to_owned())];
    let file = format!("kafka: {{group_id: from-file, bootstrap_servers: '${{GROUP}}:1'}}\n{PIPELINE}");
    let loaded = load(&Layers { file: Some(("dir/a.yaml", &file)), environment: &environment, flags: &flags, ..Layers::default() }).expect("valid");
    assert_eq!(loaded.config.kafka.group_id, "from-env");
    assert_eq!(loaded.config.kafka.bootstrap_servers, "x:1");
    assert_eq!(loaded.config.service.shards, 2);
    assert_eq!(loaded.config.pipelines[0].definition, Path::new("dir/heartbeat.asl.json"));
    let shown = loaded.show();
    for (line, source) in [
        ("group_id: from-env", "environment EXPRESSWAY_KAFKA_GROUP_ID"),
        ("shards: 2", "flag --shards"),
        ("bootstrap_servers: x:1", "file dir/a.yaml:1, placeholder filled in"),
        ("listen: 127.0.0.1:9464", "default"),
        ("- name: heartbeat", "file dir/a.yaml:4"),
        ("on_null: dead_letter", "default"),
    ] {
        assert!(shown.lines().any(|shown| shown.contains(line) && shown.ends_with(source)), "{line} of {source} is missing in:\n{shown}");
    }
}

#[test]
fn what_show_prints_is_valid_again_and_has_no_secrets() {
    let file = format!("kafka: {{client_options: {{sasl.password: hunter2, linger.ms: 5}}}}\n{PIPELINE}");
    let loaded = from(&file).expect("valid");
    let shown = loaded.show();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("linger.ms: 5"), "{shown}");
    let again = from(&shown).expect("valid again");
    assert_eq!(again.config.pipelines.len(), 1);
    assert_eq!(
        again.config.kafka.client_options,
        loaded
            .config
            .kafka
            .client_options
            .iter()
            .map(|(option, value)| (option.clone(), if option == "sasl.password" { "********".to_owned() } else { value.clone() }))
            .collect::<Vec<_>>()
    );
}

#[test]
fn client_options_add_up_over_layers() {
    let environment = pairs(&[("EXPRESSWAY_KAFKA_CLIENT_OPTIONS", "{session.timeout.ms: 7000, client.id: x}")]);
    let flags = [("kafka.client_options.client.id".to_owned(), "y".to_owned(), "--set".to_owned())];
    let file = Some(("a.yaml", "kafka: {client_options: {linger.ms: 1}}"));
    let loaded = load(&Layers { file, environment: &environment, flags: &flags, ..Layers::default() }).expect("valid");
    assert_eq!(loaded.config.kafka.client_options[..3], pairs(&[("linger.ms", "1"), ("session.timeout.ms", "7000"), ("client.id", "y")]));
}

#[test]
fn tls_and_sasl_become_options_of_the_client() {
    let options = |file: &str| from(file).expect("valid").config.kafka.client_options;
    let has = |options: &[(String, String)], option: &str, value: &str| options.contains(&(option.to_owned(), value.to_owned()));
    assert!(!options("{}").iter().any(|(option, _)| option == "security.protocol"), "the client's own default");
    let tls = options("kafka: {tls: {enabled: true, ca_file: ca.pem, crt_file: c.pem, key_file: c.key, key_pass: hunter2}}");
    for (option, value) in [
        ("security.protocol", "ssl"),
        ("ssl.ca.location", "dir/ca.pem"),
        ("ssl.certificate.location", "dir/c.pem"),
        ("ssl.key.location", "dir/c.key"),
        ("ssl.key.password", "hunter2"),
        ("ssl.endpoint.identification.algorithm", "https"),
    ] {
        assert!(has(&tls, option, value), "{option} in {tls:?}");
    }
    assert!(has(&options("kafka: {tls: {enabled: true, verify_hostname: false}}"), "ssl.endpoint.identification.algorithm", "none"));
    let sasl = "sasl: {mechanism: SCRAM-SHA-512, username: u, password: p}";
    let both = options(&format!("kafka: {{tls: {{enabled: true}}, {sasl}}}"));
    assert!(has(&both, "security.protocol", "sasl_ssl") && has(&both, "sasl.mechanism", "SCRAM-SHA-512") && has(&both, "sasl.password", "p"));
    assert!(has(&options(&format!("kafka: {{{sasl}}}")), "security.protocol", "sasl_plaintext"));
    assert!(has(&options("kafka: {client_options: {security.protocol: ssl}}"), "security.protocol", "ssl"), "the client's own names still do");
    let token = options("kafka: {sasl: {mechanism: OAUTHBEARER, token_file: t.jwt}}");
    assert!(has(&token, "security.protocol", "sasl_plaintext") && has(&token, "sasl.mechanism", "OAUTHBEARER"));
    assert!(has(&token, "sasl.oauthbearer.config", r#"{"token":null,"file":"dir/t.jwt","lifetime_ms":300000}"#), "{token:?}");
    let token = options("kafka: {sasl: {mechanism: OAUTHBEARER, token: hunter2, assumed_lifetime: 1h}}");
    assert!(has(&token, "sasl.oauthbearer.config", r#"{"token":"hunter2","file":null,"lifetime_ms":3600000}"#), "{token:?}");
}

#[test]
fn half_of_a_security_is_refused() {
    refused("kafka: {tls: {ca_file: ca.pem}}", &["kafka.tls.ca_file", "without enabled: true"]);
    refused("kafka: {tls: {enabled: true, crt_file: c.pem}}", &["kafka.tls.key_file", "required with crt_file"]);
    refused("kafka: {sasl: {mechanism: PLAIN, username: u}}", &["kafka.sasl.password", "required"]);
    refused("kafka: {sasl: {password: hunter2}}", &["kafka.sasl.password", "without a mechanism"]);
    refused("kafka: {sasl: {mechanism: GSSAPI, username: u, password: p}}", &["kafka.sasl.mechanism", "PLAIN or SCRAM-SHA-256"]);
    let sasl = |rest: &str, parts: &[&str]| refused(&format!("kafka: {{sasl: {{{rest}}}}}"), parts);
    sasl("mechanism: OAUTHBEARER", &["kafka.sasl.token_file", "required with OAUTHBEARER"]);
    sasl("mechanism: OAUTHBEARER, token: hunter2, token_file: t", &["kafka.sasl.token", "one of the two"]);
    sasl("mechanism: OAUTHBEARER, token: t, username: u", &["kafka.sasl.username", "no effect with OAUTHBEARER"]);
    sasl("mechanism: PLAIN, username: u, password: p, token_file: t", &["kafka.sasl.token_file", "no effect without the mechanism OAUTHBEARER"]);
    sasl("token_file: t", &["kafka.sasl.token_file", "without a mechanism"]);
    sasl("mechanism: OAUTHBEARER, token: t, assumed_lifetime: 4s", &["kafka.sasl.assumed_lifetime", "from 5s"]);
    refused(
        "kafka: {sasl: {mechanism: OAUTHBEARER, token: t}, client_options: {sasl.oauthbearer.config: x}}",
        &["client_options.sasl.oauthbearer.config", "set it there"],
    );
    refused("kafka: {tls: {enabled: true}, client_options: {security.protocol: ssl}}", &["kafka.client_options.security.protocol", "kafka.tls and kafka.sasl"]);
    let error = from("kafka: {sasl: {mechanism: NONE, username: u, password: hunter2}}").expect_err("refused").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn security_is_masked_and_can_come_from_the_environment() {
    let environment = pairs(&[("EXPRESSWAY_KAFKA_SASL_PASSWORD", "hunter2"), ("EXPRESSWAY_KAFKA_TLS_ENABLED", "true")]);
    let file = Some(("dir/a.yaml", "kafka: {sasl: {mechanism: PLAIN, username: u}}"));
    let loaded = load(&Layers { file, environment: &environment, ..Layers::default() }).expect("valid");
    assert!(loaded.config.kafka.client_options.contains(&("sasl.password".to_owned(), "hunter2".to_owned())));
    assert!(loaded.config.kafka.client_options.contains(&("security.protocol".to_owned(), "sasl_ssl".to_owned())));
    assert!(!loaded.show().contains("hunter2"), "{}", loaded.show());
    assert!(unknown_variables(&environment, &[]).is_empty());
}

#[test]
fn a_group_protocol_takes_only_its_own_options() {
    use crate::kafka::GroupProtocol;
    let protocol = |file: &str| from(file).expect("valid").config.kafka.group_protocol;
    assert_eq!(protocol("{}"), GroupProtocol::Classic);
    assert_eq!(protocol("kafka: {group_protocol: consumer, client_options: {group.remote.assignor: range}}"), GroupProtocol::Consumer);
    assert_eq!(protocol("kafka: {group_protocol: auto, client_options: {session.timeout.ms: 6000}}"), GroupProtocol::Auto);
    refused("kafka: {group_protocol: newest}", &["kafka.group_protocol", "classic or consumer or auto"]);
    let clash = "kafka: {group_protocol: consumer, client_options: {session.timeout.ms: 6000}}";
    refused(clash, &["kafka.client_options.session.timeout.ms", "group.consumer.session.timeout.ms counts"]);
    refused("kafka: {client_options: {group.remote.assignor: range}}", &["group.remote.assignor", "partition.assignment.strategy"]);
    refused("kafka: {group_instance_id: 'a b'}", &["kafka.group_instance_id", "letters, digits"]);
    refused("kafka: {client_options: {group.instance.id: a}}", &["set kafka.group_instance_id"]);
}

#[test]
fn a_profile_adds_options_below_those_that_are_set() {
    let options = |file: &str| from(file).expect("valid").config.kafka.client_options;
    assert_eq!(options("kafka: {profile: throughput}"), options("{}"));
    assert_ne!(options("kafka: {profile: latency}"), options("{}"));
    let loaded = from("kafka: {profile: latency, client_options: {compression.codec: zstd}}").expect("valid");
    assert!(!loaded.config.kafka.client_options.iter().any(|(option, _)| option == "compression.type"), "the same option under another name");
    let shown = loaded.show();
    assert!(shown.lines().any(|line| line.contains("linger.ms:") && line.ends_with("profile latency")), "{shown}");
    refused("kafka: {profile: fast}", &["kafka.profile", "throughput or latency"]);
}

#[test]
fn options_that_the_service_owns_are_refused() {
    for (option, _) in kafka::OWNED_OPTIONS {
        refused(&format!("kafka: {{client_options: {{{option}: x}}}}"), &[&format!("kafka.client_options.{option}"), "the service owns this option"]);
    }
}

#[test]
fn impossible_combinations_are_refused() {
    refused("service: {drain_timeout: 5m}", &["service.drain_timeout", "must end 5s before", "at most 295s"]);
    refused("service: {drain_timeout: 31s}\nkafka: {client_options: {max.poll.interval.ms: 35000}}", &["at most 30s"]);
    refused(&PIPELINE.replace("results", "heartbeats"), &["result_topic", "feed itself"]);
    refused(&PIPELINE.replace("dead-letters", "results"), &["must differ"]);
    refused(&PIPELINE.replace("[heartbeats]", "['a b']"), &["a b", "letters, digits"]);
    refused(&format!("{PIPELINE}    logging: {{level: ALL, destination: file}}"), &["logging.file", "required with destination: file"]);
    refused(&format!("{PIPELINE}    logging: {{level: ALL, destination: topic}}"), &["logging.topic", "required with destination: topic"]);
    refused(&format!("{PIPELINE}    logging: {{level: ALL, topic: t}}"), &["logging.topic", "only for destination: topic"]);
    refused(&format!("{PIPELINE}    logging: {{level: ALL, destination: topic, topic: heartbeats}}"), &["logging.topic", "feed itself"]);
    refused(&format!("{PIPELINE}    logging: {{level: DEBUG}}"), &["logging.level", "OFF or FATAL or ERROR or ALL"]);
    refused(&format!("{PIPELINE}    mocks: {{file: m.json}}"), &["mocks.test_case", "required with mocks.file"]);
    let twice = format!("{PIPELINE}{}", PIPELINE.replace("\npipelines:\n", ""));
    refused(&twice, &["already the name of pipelines[0]", "the same topic in the same group"]);
}

#[test]
fn undefined_placeholder_is_refused() {
    refused("kafka: {group_id: '${NOBODY}'}", &["kafka.group_id", "NOBODY is not set"]);
}

#[test]
fn unknown_flag_path_is_refused() {
    let flags = [("kafka.groupid".to_owned(), "x".to_owned(), "--set".to_owned())];
    let error = load(&Layers { flags: &flags, ..Layers::default() }).expect_err("refused").to_string();
    assert!(error.contains("flag --set") && error.contains("did you mean \"group_id\"?"), "{error}");
}

#[test]
fn variables_that_set_nothing_are_told() {
    let environment = pairs(&[("EXPRESSWAY_KAFKA_GROUP_ID", "x"), ("EXPRESSWAY_KAFKA_GROUPID", "x"), ("EXPRESSWAY_RATE", "1"), ("PATH", "")]);
    assert_eq!(unknown_variables(&environment, &["EXPRESSWAY_RATE"]), ["EXPRESSWAY_KAFKA_GROUPID"]);
}

#[test]
fn logging_is_off_unless_a_level_is_named() {
    let logging = |keys: &str| from(&format!("{PIPELINE}{keys}")).expect("valid").config.pipelines.remove(0).logging;
    assert_eq!(logging(""), None);
    assert_eq!(logging("    logging: {level: OFF, destination: file, file: x}"), None);
    let all = logging("    logging: {level: ERROR, include_execution_data: true, destination: file, file: log/x.jsonl}").expect("on");
    assert_eq!((all.level, all.include_execution_data), (expressway_engine::history::Level::Error, true));
    assert_eq!(all.destination, crate::pipeline::Destination::File("dir/log/x.jsonl".into()));
}

#[test]
fn faults_name_the_line() {
    refused("kafka:\n  group_id: a\nservice:\n  shards: 1000\n  colour: red\n", &["\"service.colour\" (file dir/a.yaml:5)"]);
    refused("kafka:\n  group_id: a\nservice:\n  shards: 1000\n", &["\"service.shards\" (file dir/a.yaml:4): 1000 is not allowed"]);
    refused("kafka: {}\npipelines:\n  - name: a b\n", &["\"pipelines[0].name\" (file dir/a.yaml:3)", "\"pipelines[0].definition\" (default)"]);
    refused("kafka:\n  client_options:\n    acks: 1\n", &["\"kafka.client_options.acks\" (file dir/a.yaml:3)"]);
}

#[test]
fn files_of_a_folder_are_laid_over_each_other_and_their_pipelines_add_up() {
    let second = PIPELINE.replace("heartbeat", "alert").replace("dead-letters", "alert-dead-letters");
    let folder = [("d/10.yaml", second), ("d/20.yaml", "kafka: {group_id: last}\npipelines: []\n".to_owned()), ("d/30.yaml", "pipelines:\n".to_owned())];
    let folder = folder.map(|(name, text)| (name.to_owned(), text));
    let file = format!("kafka: {{group_id: first}}\n{PIPELINE}");
    let config = load(&Layers { file: Some(("a.yaml", &file)), folder: &folder, ..Layers::default() }).expect("valid").config;
    assert_eq!(config.kafka.group_id, "last");
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| (pipeline.name.as_str(), pipeline.definition.to_str().expect("UTF-8"))).collect();
    assert_eq!(names, [("heartbeat", "heartbeat.asl.json"), ("alert", "d/alert.asl.json")]);
}

#[test]
fn files_on_disk_are_read_in_the_order_of_their_names_and_large_ones_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("b.yml", "kafka: {group_id: b}"), ("a.yaml", "kafka: {group_id: a}"), (".c.yaml", "kafka: {group_id: c}"), ("d.txt", "?")] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let files = Files { file: None, folder: Some(folder.path()) };
    assert_eq!(load_files(files, &[], &[]).expect("valid").config.kafka.group_id, "b");
    let limit = usize::try_from(FILE_BYTES_MAX).expect("small");
    let at = format!("kafka: {{group_id: at}}\n#{}", "x".repeat(limit - 23));
    assert_eq!(at.len(), limit);
    std::fs::write(folder.path().join("z.yaml"), &at).expect("written");
    assert_eq!(load_files(files, &[], &[]).expect("valid").config.kafka.group_id, "at");
    std::fs::write(folder.path().join("z.yaml"), at + "x").expect("written");
    let Err(Error::Read { source, .. }) = load_files(files, &[], &[]) else { panic!("too large") };
    assert!(source.to_string().contains("limit is 1048576"), "{source}");
}

#[test]
fn deep_nesting_and_references_without_end_are_refused() {
    let deep = format!("kafka: {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(from(&deep), Err(Error::Syntax { .. })));
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let reference = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{reference}]\n"));
    }
    assert!(matches!(from(&laughs), Err(Error::Syntax { .. })));
}

/// Every file holds the canary.
fn canary(_: &Path) -> Result<String, String> {
    Ok(CANARY.to_owned())
}

const CANARY: &str = "canary-5f2a";

#[test]
fn a_secret_is_in_the_options_and_nowhere_else() {
    let environment = pairs(&[("SECRET", CANARY)]);
    let secrets = [
        "sasl.password: canary-5f2a",
        "sasl.password: '${SECRET}'",
        "sasl.password: '${file:/run/secrets/kafka}'",
        "sasl.password_file: /run/secrets/kafka",
        "client.id: '${file:id}'",
        // Not known to be a secret by its name, but filled in.
        "sasl.wordpass: '${SECRET}'",
        "ssl.key.pem_file: key.pem",
    ];
    for secret in secrets {
        let file = format!("kafka:\n  client_options:\n    {secret}\n");
        let loaded = load(&Layers { file: Some(("a.yaml", &file)), environment: &environment, read: Some(canary), ..Layers::default() }).expect("valid");
        let option = secret.split(':').next().expect("a key").trim_end_matches("_file");
        assert!(loaded.config.kafka.client_options.contains(&(option.to_owned(), CANARY.to_owned())), "{secret}");
        let shown = loaded.show();
        assert!(!shown.contains(CANARY) && shown.contains(option), "{shown}");
        assert!(shown.contains("a.yaml:3"), "{shown}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let environment = pairs(&[("SECRET", CANARY), ("EXPRESSWAY_KAFKA_CLIENT_OPTIONS", CANARY)]);
    for file in [
        "kafka: {sasl.password: canary-5f2a}",
        "kafka: {sasl_pasword: canary-5f2a}",
        "kafka: {sasl: '${SECRET}'}",
        "kafka: {client_options: canary-5f2a}",
        "kafka: {client_options: {sasl.password: [canary-5f2a]}}",
        "kafka: {client_options: {acks: '${file:x}'}}",
        "service: {shards: '${file:x}'}",
        "service: {drain_timeout: '${file:x}', memory_limit: '${file:x}', pin_threads: '${file:x}'}",
        "pipelines: [{name: '${file:x} ', source_topics: {a: '${file:x} '}, result_topic: '${file:x} ', logging: '${file:x}'}]",
        "http: {listen: '${file:x}'}\nidentity: {account: '${file:x}'}\nlog: {level: '${file:x}=?', format: '${file:x}'}",
        "kafka: {bootstrap_servers: '${file:x}', profile: '${file:x}', client_options: {sasl.password_file: y, sasl.password: '${SECRET}'}}",
    ] {
        let error = load(&Layers { file: Some(("a.yaml", file)), environment: &environment, read: Some(canary), ..Layers::default() }).expect_err("refused");
        assert!(!error.to_string().contains(CANARY), "{file}: {error}");
        assert!(!format!("{error:?}").contains(CANARY), "{file}: {error:?}");
    }
}

#[test]
fn a_secret_file_that_cannot_be_read_is_a_fault_of_its_key() {
    refused("kafka: {client_options: {sasl.password_file: none}}", &["kafka.client_options.sasl.password_file", "dir/none", "not read here"]);
    refused("kafka: {client_options: {sasl.password: '${file:none}'}}", &["kafka.client_options.sasl.password", "dir/none"]);
    refused("kafka: {client_options: {sasl.password_file: [x]}}", &["takes the path of a file"]);
    let Err(error) =
        load_file(Some(Path::new("/dev/null")), &[], &[("kafka.client_options.sasl.password_file".to_owned(), "/no/such".to_owned(), "--set".to_owned())])
    else {
        panic!("refused")
    };
    assert!(error.to_string().contains("flag --set") && error.to_string().contains("/no/such"), "{error}");
}

/// A file in which one key, by its path, has a value.
fn with_value(path: &str, value: u64) -> String {
    match path.strip_prefix("pipelines[0].") {
        Some(key) => format!("{PIPELINE}    {key}: {value}\n"),
        None => path.rsplit('.').fold(value.to_string(), |inner, key| format!("{{{key}: {inner}}}")),
    }
}

#[test]
fn every_number_is_taken_at_its_bounds_and_refused_past_them() {
    fn bounds(path: &str, schema: &serde_json::Value, out: &mut Vec<(String, u64, u64)>) {
        if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            out.push((path.to_owned(), least, most));
        }
        schema["anyOf"].as_array().into_iter().flatten().for_each(|schema| bounds(path, schema, out));
        schema["properties"].as_object().into_iter().flatten().for_each(|(key, schema)| bounds(&fault::join(path, key), schema, out));
        if schema["items"].is_object() {
            bounds(&format!("{path}[0]"), &schema["items"], out);
        }
    }
    let mut found = Vec::new();
    bounds("", &schema(), &mut found);
    let keys: Vec<&str> = found.iter().map(|(path, ..)| path.as_str()).collect();
    for key in ["service.shards", "service.panics_per_minute_max", "pipelines[0].executions_open_max", "pipelines[0].window_records_max"] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
    for (path, least, most) in found {
        for value in [least, most] {
            let loaded = from(&with_value(&path, value));
            assert!(loaded.is_ok(), "{path}: {value}: {:?}", loaded.err());
        }
        refused(&with_value(&path, most + 1), &[&path, &format!("a whole number from {least} to {most}")]);
        if let Some(below) = least.checked_sub(1) {
            refused(&with_value(&path, below), &[&path, &format!("a whole number from {least} to {most}")]);
        }
    }
}

#[test]
fn durations_and_sizes_are_taken_at_their_bounds_and_refused_past_them() {
    for (key, at, past) in [
        ("service.drain_timeout", ["100ms", "295s"], ["99ms", "296s"]),
        ("service.shutdown_timeout", ["1s", "24h"], ["999ms", "86401s"]),
        ("service.result_topic_error_timeout", ["1s", "1d"], ["999ms", "86401s"]),
        ("service.memory_limit", ["64MiB", "1024GiB"], ["67108863B", "63MiB"]),
    ] {
        let set = |value: &str| {
            let flags = [(key.to_owned(), value.to_owned(), "--set".to_owned())];
            load(&Layers { flags: &flags, ..Layers::default() }).map(drop)
        };
        for value in at {
            assert!(set(value).is_ok(), "{key}: {value}: {:?}", set(value));
        }
        for value in past {
            let error = set(value).expect_err("refused").to_string();
            assert!(error.contains(key), "{key}: {value}: {error}");
        }
    }
}
