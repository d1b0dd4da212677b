//! Section `kafka`: brokers, group, security, and the client's own options.
//!
//! What has a key here is refused among `client_options`, so that each setting has one place. Security becomes options of the client, so whoever has `client_options` reaches the cluster.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use expressway_engine::limits::NAME_CHARS_MAX;

use super::section::Section;
use crate::kafka::Profile;
use crate::kafka::protocol::{CLASSIC_ONLY, CONSUMER_ONLY, GroupProtocol};
use crate::kafka::token::{self, TokenSource};

/// Section `kafka`.
#[derive(Clone)]
pub struct Kafka {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group_id: String,
    /// How the group shares out its partitions.
    pub group_protocol: GroupProtocol,
    /// The beginning of the static members' names; `None` for dynamic members.
    pub group_instance_id: Option<String>,
    /// The profile, whose options are among `client_options`.
    pub profile: Profile,
    /// Options of librdkafka, none of which the service owns, those of `tls` and `sasl` included.
    pub client_options: Vec<(String, String)>,
}

impl fmt::Debug for Kafka {
    /// Without the values of options, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<&str> = self.client_options.iter().map(|(option, _)| option.as_str()).collect();
        f.debug_struct("Kafka")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("options", &options)
            .finish_non_exhaustive()
    }
}

/// Options that the service sets itself, with the reason that is given when they are refused.
pub(super) const OWNED_OPTIONS: [(&str, &str); 26] = [
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("group.id", "set kafka.group_id"),
    ("group.protocol", "set kafka.group_protocol"),
    ("group.instance.id", "set kafka.group_instance_id"),
    ("enable.auto.commit", "offsets are committed only behind acknowledged results"),
    ("enable.auto.offset.store", "offsets are stored only behind acknowledged results"),
    ("auto.commit.enable", "offsets are committed only behind acknowledged results"),
    ("offset.store.method", "offsets are stored in the broker"),
    ("enable.idempotence", "results are always produced idempotently"),
    ("acks", "results are always acknowledged by all replicas in sync"),
    ("request.required.acks", "results are always acknowledged by all replicas in sync"),
    ("delivery.report.only.error", "every delivery report is needed to commit"),
    ("produce.offset.report", "every delivery report is needed to commit"),
    ("message.timeout.ms", "results are retried until the broker takes them"),
    ("delivery.timeout.ms", "results are retried until the broker takes them"),
    ("message.send.max.retries", "results are retried until the broker takes them"),
    ("retries", "results are retried until the broker takes them"),
    ("transactional.id", "set pipelines[].delivery, from which it follows"),
    ("statistics.interval.ms", "the service reads the client's statistics to tell a partition that stands still"),
    ("enabled_events", "delivery reports are read as events"),
    ("enable.partition.eof", "end of a partition is not an error here"),
    ("fetch.queue.backoff.ms", "the service keeps it low, since the default stalls a full queue for a second"),
    ("queued.max.messages.kbytes", "set service.memory_limit, from which it is derived"),
    ("queue.buffering.max.kbytes", "set service.memory_limit, from which it is derived"),
    ("queue.buffering.max.messages", "set service.memory_limit, from which it is derived"),
];

/// Options that `kafka.tls` and `kafka.sasl` stand for, once one of them is used.
const SECURITY_OPTIONS: [&str; 11] = [
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.oauthbearer.config",
];

impl Kafka {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let mut client_options = section.table("client_options");
        for (option, _) in &client_options {
            if let Some((_, reason)) = OWNED_OPTIONS.iter().find(|(owned, _)| owned == option) {
                section.fault_in("client_options", option, format!("the service owns this option: {reason}"));
            }
        }
        let words = [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer), ("auto", GroupProtocol::Auto)];
        let group_protocol = section.word("group_protocol", &words);
        check_protocol(section, group_protocol, &client_options);
        let security = security(section);
        for option in client_options.iter().map(|(option, _)| option).filter(|option| !security.is_empty() && SECURITY_OPTIONS.contains(&option.as_str())) {
            section.fault_in("client_options", option, "kafka.tls and kafka.sasl stand for this option; set it there");
        }
        client_options.extend(security);
        let allowed = "brokers as host:port, separated by commas";
        let bootstrap_servers = section.parsed("bootstrap_servers", allowed, |text| text.split(',').all(is_broker).then(|| text.to_owned()));
        Self {
            bootstrap_servers: bootstrap_servers.unwrap_or_default(),
            group_id: section.text("group_id"),
            group_protocol,
            group_instance_id: instance_id(section),
            profile: section.word("profile", &[("throughput", Profile::Throughput), ("latency", Profile::Latency)]),
            client_options,
        }
    }
}

/// Refuses options that the protocol does not know. With `auto` they are dropped where they do not fit, which the log says.
fn check_protocol(section: &Section<'_>, protocol: GroupProtocol, options: &[(String, String)]) {
    let (unknown, name): (&[(&str, &str)], _) = match protocol {
        GroupProtocol::Consumer => (&CLASSIC_ONLY, "consumer"),
        GroupProtocol::Classic => (&CONSUMER_ONLY, "classic"),
        GroupProtocol::Auto => return,
    };
    for (option, _) in options {
        if let Some((_, instead)) = unknown.iter().find(|(known, _)| known == option) {
            section.fault_in("client_options", option, format!("the group protocol \"{name}\" does not know this option; {instead}"));
        }
    }
}

fn instance_id(section: &Section<'_>) -> Option<String> {
    const BYTES_MAX: usize = 160;
    // The name of a pipeline and a dot are added; the broker allows 249 in all.
    const { assert!(BYTES_MAX + 1 + NAME_CHARS_MAX <= 249) };
    let id = section.optional_text("group_instance_id")?;
    let is_fine = id.len() <= BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_fine {
        section.fault("group_instance_id", format!("\"{id}\" is not allowed; it takes letters, digits, dots, hyphens and underscores, at most {BYTES_MAX}"));
    }
    Some(id)
}

/// `kafka.tls` and `kafka.sasl` as options of the client; none when neither is used.
fn security(section: &Section<'_>) -> Vec<(String, String)> {
    let (is_encrypted, tls) = tls(&section.section("tls"));
    let sasl = sasl(&section.section("sasl"));
    let protocol = match (is_encrypted, sasl.is_empty()) {
        (false, true) => return Vec::new(),
        (true, true) => "ssl",
        (false, false) => "sasl_plaintext",
        (true, false) => "sasl_ssl",
    };
    std::iter::once(("security.protocol".to_owned(), protocol.to_owned())).chain(tls).chain(sasl).collect()
}

fn tls(section: &Section<'_>) -> (bool, Vec<(String, String)>) {
    let is_enabled = section.flag("enabled");
    let verify_hostname = section.flag("verify_hostname");
    let file = |key| section.optional_path(key).map(|path| path.to_string_lossy().into_owned());
    let given = [
        ("ca_file", "ssl.ca.location", file("ca_file")),
        ("crt_file", "ssl.certificate.location", file("crt_file")),
        ("key_file", "ssl.key.location", file("key_file")),
        ("key_pass", "ssl.key.password", section.optional_text("key_pass")),
    ];
    let has = |wanted: &str| given.iter().any(|(key, _, value)| *key == wanted && value.is_some());
    for (key, needs) in [("crt_file", "key_file"), ("key_file", "crt_file"), ("key_pass", "key_file")] {
        if has(key) && !has(needs) {
            section.fault(needs, format!("required with {key}, but not set"));
        }
    }
    if !is_enabled {
        given.iter().filter(|(_, _, value)| value.is_some()).for_each(|(key, ..)| section.fault(key, "has no effect without enabled: true"));
        return (false, Vec::new());
    }
    let mut options: Vec<_> = given.into_iter().filter_map(|(_, option, value)| Some((option.to_owned(), value?))).collect();
    options.push(("ssl.endpoint.identification.algorithm".to_owned(), if verify_hostname { "https" } else { "none" }.to_owned()));
    (true, options)
}

/// How a mechanism is told who we are.
const BY_PASSWORD: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

fn sasl(section: &Section<'_>) -> Vec<(String, String)> {
    let mechanism = section.optional_text("mechanism");
    let password = [("username", section.optional_text("username")), ("password", section.optional_text("password"))];
    let source = token_source(section);
    let tokens = [("token", source.token.is_some()), ("token_file", source.file.is_some())];
    let is_set = password.iter().map(|(key, value)| (*key, value.is_some()));
    let unused =
        |keys: &mut dyn Iterator<Item = (&str, bool)>, problem: &str| keys.filter(|(_, is_set)| *is_set).for_each(|(key, _)| section.fault(key, problem));
    let Some(mechanism) = mechanism else {
        unused(&mut is_set.chain(tokens), "has no effect without a mechanism");
        return Vec::new();
    };
    let mut options = vec![("sasl.mechanism".to_owned(), mechanism.clone())];
    if mechanism == token::MECHANISM {
        unused(&mut is_set.clone(), "has no effect with OAUTHBEARER, which takes token or token_file");
        match tokens.map(|(_, is_set)| is_set) {
            [true, true] => section.fault("token", "is set beside token_file; one of the two is allowed"),
            [false, false] => section.fault("token_file", "required with OAUTHBEARER unless there is a token, but not set"),
            _ => options.push((token::SOURCE_OPTION.to_owned(), source.option())),
        }
        return options;
    }
    if !BY_PASSWORD.contains(&mechanism.as_str()) {
        section.fault("mechanism", format!("\"{mechanism}\" is not allowed; it takes {} or {}", BY_PASSWORD.join(" or "), token::MECHANISM));
    }
    unused(&mut tokens.into_iter(), "has no effect without the mechanism OAUTHBEARER");
    is_set.filter(|(_, is_set)| !is_set).for_each(|(key, _)| section.fault(key, "required with a mechanism, but not set"));
    options.extend(password.into_iter().filter_map(|(key, value)| Some((format!("sasl.{key}"), value?))));
    options
}

fn token_source(section: &Section<'_>) -> TokenSource {
    // The client asks for the next token after four fifths of this, and looks once a second.
    const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(24 * 365);
    let lifetime = section.duration("assumed_lifetime", LIFETIME);
    TokenSource {
        token: section.optional_text("token"),
        file: section.optional_path("token_file"),
        lifetime_ms: u64::try_from(lifetime.as_millis()).expect("the range ends far below"),
    }
}

/// `host:port`, where the host may be an IPv6 address in brackets and a protocol may stand in front.
fn is_broker(text: &str) -> bool {
    let address = text.trim().rsplit("://").next().unwrap_or_default();
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}
