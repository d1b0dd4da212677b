//! The service: all pipelines of a configuration, started and ended together.

use std::sync::Arc;
use std::time::Duration;

use super::deployed::Deployed;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Error;
use crate::metrics::exposition::{Sample, Snapshot};
use crate::pipeline::{self, Pipeline, Readiness, Settings};
use crate::tasks::builtin::Builtin;
use crate::telemetry::RateLimit;

/// All pipelines of a process.
pub struct Service {
    pipelines: Vec<Running>,
    /// Started with the service.
    clock: Clock,
    held: Option<Arc<RateLimit>>,
}

struct Running {
    name: String,
    source_topics: Vec<String>,
    deployed: Deployed,
    pipeline: Pipeline,
}

impl Service {
    /// Loads every definition, then starts every pipeline; nothing is started when a definition is refused.
    ///
    /// # Errors
    /// [`Error::Input`] for a definition that is refused, [`Error::Setting`] for one that is missing or calls what nothing answers for, [`Error::Surroundings`] when a broker does not answer or a topic is missing.
    pub fn start(config: &Config, held: Option<Arc<RateLimit>>) -> Result<Self, Error> {
        if config.pipelines.is_empty() {
            return Err(Error::Setting("\"pipelines\" is empty: there is nothing to run; see configs/local.yaml for an example".to_owned()));
        }
        let loaded: Vec<_> = config.pipelines.iter().map(|pipeline| Deployed::load(pipeline, config)).collect::<Result<_, _>>()?;
        let mut service = Self { pipelines: Vec::with_capacity(loaded.len()), clock: Clock::start(), held };
        for ((deployed, program), pipeline) in loaded.into_iter().zip(&config.pipelines) {
            let tasks = Builtin::start(deployed.mocks()).map_err(|error| Error::surroundings("the timer thread cannot be started", error))?;
            let running = Pipeline::start(settings(config, pipeline), Arc::new(program), Arc::new(tasks));
            let running = running.map_err(|error| operating(&pipeline.name, error))?;
            let (name, source_topics) = (pipeline.name.clone(), pipeline.source_topics.clone());
            service.pipelines.push(Running { name, source_topics, deployed, pipeline: running });
        }
        Ok(service)
    }

    /// Why the service does not take records now; empty when it does.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = |running: &Running| match running.pipeline.readiness() {
            Readiness::Ready => Vec::new(),
            Readiness::NotReady(reasons) => reasons.into_iter().map(|reason| format!("pipeline {}: {reason}", running.name)).collect(),
        };
        self.pipelines.iter().flat_map(reasons).collect()
    }

    /// Everything that is measured, now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let sample = |Running { name, source_topics, deployed, pipeline }: &Running| Sample {
            state_machine: name.clone(),
            source_topics: source_topics.clone(),
            counters: pipeline.counters(),
            latency: pipeline.latency(),
            lag: pipeline.lag(),
            books: pipeline.books(),
            is_ready: matches!(pipeline.readiness(), Readiness::Ready),
            definition: deployed.sample(),
        };
        Snapshot {
            pipelines: self.pipelines.iter().map(sample).collect(),
            uptime: self.uptime(),
            log_lines_held: self.held.as_ref().map_or(0, |limit| limit.held_total()),
        }
    }

    /// Reads the definitions again, all of them or those whose files have changed; says in the log and in the metrics what came of it.
    pub fn reload(&self, changed_only: bool) {
        for Running { deployed, pipeline, .. } in &self.pipelines {
            if !changed_only || deployed.has_changed() {
                deployed.reload(pipeline);
            }
        }
    }

    /// The error of a pipeline that ended itself.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.pipelines.iter().find_map(|running| running.pipeline.failed().map(|error| operating(&running.name, error)))
    }

    /// Begins the ordered end: no record is taken any more.
    pub fn request_shutdown(&self) {
        self.pipelines.iter().for_each(|running| running.pipeline.request_shutdown());
    }

    /// Waits for the end of every pipeline, until `timeout` is over.
    ///
    /// # Errors
    /// [`Error::Surroundings`] when one did not end cleanly; the others are waited for all the same.
    pub fn join(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = self.uptime() + timeout;
        let mut first = Ok(());
        for Running { name, pipeline, .. } in &self.pipelines {
            let ended = pipeline.join(deadline.saturating_sub(self.uptime()));
            if let (Err(error), Ok(())) = (ended, &first) {
                first = Err(operating(name, error));
            }
        }
        first
    }

    fn uptime(&self) -> Duration {
        Duration::from_nanos(self.clock.now().monotonic_ns)
    }
}

/// An error of a running or starting pipeline, sorted by who can mend it.
fn operating(pipeline: &str, error: pipeline::Error) -> Error {
    if error.is_configuration() {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        return Error::Setting(format!("pipeline {pipeline}: {error}{source}"));
    }
    // The source is chained by hand, for the error's own text comes first.
    Error::surroundings(format!("pipeline {pipeline}"), error)
}

/// The pipeline's settings out of the configuration's sections.
pub(crate) fn settings(config: &Config, pipeline: &config::Pipeline) -> Settings {
    let instance = config.kafka.group_instance_id.as_ref().map(|id| ("group.instance.id", format!("{id}.{}", pipeline.name)));
    let own = [("bootstrap.servers", config.kafka.bootstrap_servers.clone()), ("group.id", pipeline.group_id.clone())];
    let own = own.into_iter().chain(instance).map(|(option, value)| (option.to_owned(), value));
    let pipelines = u64::try_from(config.pipelines.len().max(1)).unwrap_or(u64::MAX);
    Settings {
        name: pipeline.name.clone(),
        client_options: own.chain(config.kafka.client_options.iter().cloned()).collect(),
        source_topics: pipeline.source_topics.clone(),
        result_topic: pipeline.result_topic.clone(),
        dead_letter_topic: pipeline.dead_letter_topic.clone(),
        shards: match config.service.shards {
            0 => processors(),
            shards => shards,
        },
        on_failure: pipeline.on_failure,
        on_null: pipeline.on_null,
        ordering: pipeline.ordering,
        deferred_records_max: pipeline.deferred_records_max,
        delivery: pipeline.delivery,
        transaction_interval: pipeline.transaction_interval,
        transaction_records_max: pipeline.transaction_records_max,
        result_headers: pipeline.result_headers,
        profile: config.kafka.profile,
        logging: pipeline.logging.clone(),
        executions_open_max: pipeline.executions_open_max,
        window_records_max: pipeline.window_records_max,
        batch_records_max: pipeline.batch_records_max,
        in_flight_max: pipeline.in_flight_max,
        group_protocol: config.kafka.group_protocol,
        startup_timeout: config.service.startup_timeout,
        stuck_timeout: config.service.stuck_timeout,
        drain_timeout: config.service.drain_timeout,
        shutdown_timeout: config.service.shutdown_timeout,
        result_topic_error_timeout: config.service.result_topic_error_timeout,
        memory_limit: config.service.memory_limit.bytes().map(|limit| pipeline::memory::pipeline_share(limit, pipelines)),
        pin_threads: config.service.pin_threads,
        learned_shapes: config.engine.learned_shapes,
        panics_per_minute_max: config.service.panics_per_minute_max,
        ..Settings::default()
    }
}

/// Processors that this process may use.
pub(crate) fn processors() -> u32 {
    std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::config::Layers;
    use crate::error::{EXIT_CONFIG, EXIT_SURROUNDINGS};

    /// Every setting that a pipeline has a default for, by its name.
    fn defaults(settings: Settings) -> Vec<(&'static str, String)> {
        // What is new among the settings does not compile until it is here.
        let Settings {
            name: _,
            client_options: _,
            source_topics: _,
            result_topic: _,
            dead_letter_topic: _,
            shards: _,
            audit: _,
            on_failure,
            on_null,
            ordering,
            deferred_records_max,
            result_headers,
            delivery,
            transaction_interval,
            transaction_records_max,
            profile,
            logging,
            executions_open_max,
            window_records_max,
            batch_records_max,
            in_flight_max,
            group_protocol,
            startup_timeout,
            stuck_timeout,
            drain_timeout,
            shutdown_timeout,
            result_topic_error_timeout,
            panics_per_minute_max,
            memory_limit,
            pin_threads,
            learned_shapes,
        } = settings;
        let values: Vec<(&str, &dyn Debug)> = vec![
            ("on_failure", &on_failure),
            ("on_null", &on_null),
            ("ordering", &ordering),
            ("deferred_records_max", &deferred_records_max),
            ("result_headers", &result_headers),
            ("delivery", &delivery),
            ("transaction_interval", &transaction_interval),
            ("transaction_records_max", &transaction_records_max),
            ("profile", &profile),
            ("logging", &logging),
            ("executions_open_max", &executions_open_max),
            ("window_records_max", &window_records_max),
            ("batch_records_max", &batch_records_max),
            ("in_flight_max", &in_flight_max),
            ("group_protocol", &group_protocol),
            ("startup_timeout", &startup_timeout),
            ("stuck_timeout", &stuck_timeout),
            ("drain_timeout", &drain_timeout),
            ("shutdown_timeout", &shutdown_timeout),
            ("result_topic_error_timeout", &result_topic_error_timeout),
            ("panics_per_minute_max", &panics_per_minute_max),
            ("memory_limit", &memory_limit),
            ("pin_threads", &pin_threads),
            ("learned_shapes", &learned_shapes),
        ];
        values.into_iter().map(|(name, value)| (name, format!("{value:?}"))).collect()
    }

    #[test]
    fn a_pipeline_that_sets_nothing_has_the_default_settings() {
        let pipeline = "pipelines: [{name: p, definition: p.asl.json, source_topics: [in], result_topic: out, dead_letter_topic: dead}]";
        let config = config::load(&Layers { file: Some(("a.yaml", pipeline)), ..Layers::default() }).expect("valid").config;
        let settings = settings(&config, &config.pipelines[0]);
        assert_eq!(settings.shards, processors());
        assert_eq!(defaults(settings), defaults(Settings::default()));
    }

    #[test]
    fn panics_end_the_process_as_failed_surroundings_do_and_settings_as_a_bad_configuration() {
        let panics = operating("heartbeat", pipeline::Error::Panics { count: 11, last: "index out of bounds".to_owned() });
        assert_eq!(
            (panics.exit_code(), panics.sentence().as_str()),
            (EXIT_SURROUNDINGS, "pipeline heartbeat: 11 panics within a minute, the last: index out of bounds")
        );
        let shard = operating("heartbeat", pipeline::Error::Shard { shard: 1, detail: "panicked".to_owned() });
        let control = operating("heartbeat", pipeline::Error::Fatal { client: "consumer", detail: "its control thread panicked".to_owned() });
        assert_eq!([shard.exit_code(), control.exit_code()], [EXIT_SURROUNDINGS; 2]);
        let setting = operating("heartbeat", pipeline::Error::Setting { key: "shards", found: "0".to_owned(), allowed: "1 or more".to_owned() });
        assert_eq!(setting.exit_code(), EXIT_CONFIG);
    }
}
