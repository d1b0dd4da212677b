//! `expressway config`: the configuration as it would be used, and the schema of its files.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Output;
use super::{Environment, LogFlags};
use crate::cgroup;
use crate::config::{self, display_size};
use crate::control::service;
use crate::error::Error;
use crate::pipeline::memory::Bounds;

/// Flags of `config`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  expressway config show --config configs/local.yaml", arg_required_else_help = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the merged configuration with the source of each value, secrets masked
    #[command(after_help = "Example:\n  EXPRESSWAY_SERVICE_SHARDS=2 expressway config show --config configs/local.yaml --set kafka.group_id=fleet")]
    Show(ConfigFlags),
    /// Print the JSON Schema of configuration files, for editors
    #[command(
        after_help = "Example:\n  expressway config schema > expressway.schema.json\n\nA file that begins with \"# yaml-language-server: $schema=expressway.schema.json\" is then completed and checked while it is written."
    )]
    Schema,
}

/// The flags that make a configuration, of `run` and `config show` alike.
#[derive(Debug, Args)]
pub(super) struct ConfigFlags {
    /// The configuration file; only what differs from the defaults
    #[arg(long, env = "EXPRESSWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder whose *.yaml and *.yml are laid over the configuration file in the order of their names; their pipelines add up
    #[arg(long, env = "EXPRESSWAY_CONFIG_DIR", value_name = "FOLDER")]
    config_dir: Option<PathBuf>,
    /// Brokers to start from, kafka.bootstrap_servers [env: EXPRESSWAY_KAFKA_BOOTSTRAP_SERVERS=]
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap_servers: Option<String>,
    /// Consumer group, kafka.group_id [env: EXPRESSWAY_KAFKA_GROUP_ID=]
    #[arg(long, value_name = "ID")]
    group_id: Option<String>,
    /// Shards of each pipeline, service.shards [env: EXPRESSWAY_SERVICE_SHARDS=]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Address of metrics and health, http.listen [env: EXPRESSWAY_HTTP_LISTEN=]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Any key of the configuration, repeatable; each key also has its variable, such as EXPRESSWAY_SERVICE_MEMORY_LIMIT
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// Reads and merges all layers.
    pub(super) fn load(&self, log: &LogFlags, environment: &Environment) -> Result<config::Loaded, Error> {
        let mut flags = log.layer();
        let shards = self.shards.map(|shards| shards.to_string());
        for (key, value, flag) in [
            ("kafka.bootstrap_servers", &self.bootstrap_servers, "--bootstrap-servers"),
            ("kafka.group_id", &self.group_id, "--group-id"),
            ("service.shards", &shards, "--shards"),
            ("http.listen", &self.listen, "--listen"),
        ] {
            flags.extend(value.as_ref().map(|value| (key.to_owned(), value.clone(), flag.to_owned())));
        }
        flags.extend(self.set.iter().map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned())));
        let files = config::Files { file: self.config.as_deref(), folder: self.config_dir.as_deref() };
        let mut loaded = config::load_files(files, environment, &flags)?;
        let memory_limit = &mut loaded.config.service.memory_limit;
        *memory_limit = memory_limit.within(cgroup::memory_limit());
        Ok(loaded)
    }
}

pub(super) fn run(flags: &Flags, log: &LogFlags, environment: &Environment) -> Result<(), Error> {
    let text = match &flags.verb {
        Verb::Show(flags) => {
            let loaded = flags.load(log, environment)?;
            loaded.show() + &derived(&loaded.config)
        }
        Verb::Schema => format!("{:#}\n", config::schema()),
    };
    let mut out = Output::new();
    out.write(text.as_bytes())?;
    out.flush()
}

/// What the memory limit comes to, as comments behind the YAML. How much each partition gets is known once the broker has told how many there are; `run` logs it.
fn derived(config: &config::Config) -> String {
    let limit = config.service.memory_limit;
    let Some(bytes) = limit.bytes() else {
        return "\n# service.memory_limit: none, so each bound is as it is set\n".to_owned();
    };
    let origin =
        if let config::MemoryLimit::Group(group) = limit { format!(", four fifths of the control group's {}", display_size(group)) } else { String::new() };
    let mut text = format!("\n# service.memory_limit is {}{origin}; with one partition each, pipelines get\n", display_size(bytes));
    for pipeline in &config.pipelines {
        let bounds = Bounds::of(&service::settings(config, pipeline), 1);
        text += &format!(
            "#   {}: queue {}KiB; in each shard: producer {}KiB, open records {}KiB, executions_open_max {}, in_flight_max {}; window_records_max {}\n",
            pipeline.name,
            bounds.queued_kbytes,
            bounds.buffering_kbytes,
            bounds.open_bytes_max / 1_024,
            bounds.executions_open_max,
            bounds.in_flight_max,
            bounds.window_records_max
        );
    }
    text
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, for instance kafka.group_id=fleet")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
