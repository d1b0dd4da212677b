//! What the operators' verbs share: how to reach the cluster, which topics a configuration names, which part of a topic is meant.

use std::path::PathBuf;

use clap::Args;
use expressway_engine::Timestamp;

use super::Environment;
use super::output::tell;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Error;
use crate::operations::bring_back::{Listener, Verdict};
use crate::operations::cluster::Cluster;
use crate::operations::selection::{self, Offsets};

/// The key of the service's group, which names the groups of commands too.
const GROUP_KEY: &str = "kafka.group_id";

/// The same in the environment.
const GROUP_VARIABLE: &str = "EXPRESSWAY_KAFKA_GROUP_ID";

/// How to reach the cluster.
#[derive(Debug, Args)]
pub(super) struct ConnectionFlags {
    /// The configuration file of the service: brokers, client options, pipelines with their topics
    #[arg(long, env = "EXPRESSWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder whose *.yaml and *.yml are laid over the configuration file in the order of their names
    #[arg(long, env = "EXPRESSWAY_CONFIG_DIR", value_name = "FOLDER")]
    config_dir: Option<PathBuf>,
    /// Brokers to start from, kafka.bootstrap_servers [env: EXPRESSWAY_KAFKA_BOOTSTRAP_SERVERS=]
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Any key of the configuration, repeatable, for instance kafka.client_options={security.protocol: SSL}
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::config::key_and_value)]
    set: Vec<(String, String)>,
}

impl ConnectionFlags {
    /// The configuration, and the cluster it names.
    pub(super) fn open(&self, environment: &Environment) -> Result<(Config, Cluster), Error> {
        let mut flags: Vec<_> = self.brokers.iter().map(|brokers| ("kafka.bootstrap_servers".to_owned(), brokers.clone(), "--brokers".to_owned())).collect();
        flags.extend(self.set.iter().map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned())));
        let config = config::load_files(config::Files { file: self.config.as_deref(), folder: self.config_dir.as_deref() }, environment, &flags)?.config;
        let cluster = Cluster::new(&config.kafka.bootstrap_servers, &config.kafka.client_options);
        Ok((config, cluster))
    }

    /// The group under which a command remembers what it has brought back, told on standard error: `given`, else the service's own with `suffix` behind it.
    pub(super) fn memory_group(&self, environment: &Environment, config: &Config, given: Option<&str>, suffix: &str) -> String {
        let group = given.map_or_else(|| format!("{}{suffix}", config.kafka.group_id), str::to_owned);
        tell(&format!("note: what is brought back is remembered in the group {group}"));
        if given.is_none() && !self.names_service(environment) {
            tell(
                "warning: where the service has another kafka.group_id, what was brought back for it is remembered elsewhere; give --config, or --set kafka.group_id=…",
            );
        }
        group
    }

    /// Whether `kafka.group_id` is not merely the default.
    fn names_service(&self, environment: &Environment) -> bool {
        self.config.is_some()
            || self.config_dir.is_some()
            || self.set.iter().any(|(key, _)| key == "kafka" || key == GROUP_KEY)
            || environment.iter().any(|(name, _)| name == GROUP_VARIABLE)
    }
}

/// The pipeline that reads `topic`, by its name where several do; `None` when the configuration has none.
pub(super) fn pipeline_of<'c>(config: &'c Config, topic: &str, name: Option<&str>) -> Result<Option<&'c config::Pipeline>, Error> {
    let readers: Vec<_> = config.pipelines.iter().filter(|pipeline| pipeline.source_topics.iter().any(|source| source == topic)).collect();
    match (name, readers.as_slice()) {
        (Some(name), readers) => {
            let found = readers.iter().find(|pipeline| pipeline.name == name);
            found.map(|pipeline| Some(*pipeline)).ok_or_else(|| Error::Usage(format!("no pipeline {name} of the configuration reads {topic}")))
        }
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|pipeline| pipeline.name.as_str()).collect();
            Err(Error::Usage(format!("the pipelines {} read {topic}; say which with --pipeline", names.join(" and "))))
        }
    }
}

/// The parser of `--since`.
pub(super) fn since(text: &str) -> Result<i64, String> {
    selection::time(text, now())
}

/// The parser of `--offset`.
pub(super) fn offsets(text: &str) -> Result<Offsets, String> {
    selection::offsets(text)
}

/// The time of day.
pub(super) fn now() -> Timestamp {
    Clock::start().now().timestamp
}

/// The end of a command that somebody broke off.
pub(super) fn interrupted() -> Error {
    Error::Surroundings { what: "interrupted; the same command goes on from there".to_owned(), source: None }
}

/// Passes progress on to standard error, and looks at no record.
pub(super) struct Progress;

impl Listener for Progress {
    fn progress(&mut self, text: &str) {
        tell(text);
    }

    fn seen(&mut self, _: &rdkafka::message::BorrowedMessage<'_>, _: Verdict) {}
}

/// Rows under a heading, each column as wide as its widest cell; the first is text, the others numbers.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([heading[column].chars().count()]).max().unwrap_or(0);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from(" ");
        for (column, cell) in cells.enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            text += &if column == 0 { format!(" {cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut heading.iter().copied());
    rows.iter().for_each(|row| out += &line(&mut row.iter().map(String::as_str)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_a_file_a_key_or_a_variable() {
        let nothing = || ConnectionFlags { config: None, config_dir: None, brokers: Some("a:1".to_owned()), set: Vec::new() };
        let set = |key: &str| ConnectionFlags { set: vec![(key.to_owned(), "x".to_owned())], ..nothing() };
        let variable = |name: &str| [(name.to_owned(), "x".to_owned())];
        assert!(!nothing().names_service(&variable("EXPRESSWAY_KAFKA_BOOTSTRAP_SERVERS")) && !set("kafka.profile").names_service(&[]));
        assert!(set("kafka.group_id").names_service(&[]) && nothing().names_service(&variable("EXPRESSWAY_KAFKA_GROUP_ID")));
        assert!(ConnectionFlags { config: Some("a.yaml".into()), ..nothing() }.names_service(&[]));
    }

    #[test]
    fn numbers_stand_under_their_headings() {
        let rows = [vec!["panic".to_owned(), "7".to_owned()], vec!["malformed_json".to_owned(), "1234567".to_owned()]];
        assert_eq!(table(&["reason", "count"], &rows), "  reason            count\n  panic                 7\n  malformed_json  1234567\n");
    }
}
