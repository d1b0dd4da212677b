//! `expressway run`: the service, from configuration to ordered end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::config::ConfigFlags;
use super::output::tell;
use super::{Environment, LogFlags};
use crate::config::{Config, unknown_variables};
use crate::control::http::{self, Health};
use crate::control::service::Service;
use crate::error::Error;
use crate::metrics::exposition::Snapshot;
use crate::telemetry;

/// How often readiness and failures are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often lines that were held back are told.
const HELD_EVERY: Duration = Duration::from_secs(10);

/// How often the files of definitions are looked at, where that is asked for.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What a shutdown may take beyond `service.shutdown_timeout`, for threads to end and clients to close.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  expressway run --config configs/local.yaml\n\nPrints the line \"ready\" on standard error, and /ready turns 200, once partitions are assigned. SIGTERM and SIGINT end it in order: no further records, open executions finished, results acknowledged, offsets committed. A second signal ends it at once; what was not committed runs again. SIGHUP reads the definitions again: valid ones are run by executions that begin from then on, refused ones change nothing.\n\nExit codes: 0 ended in order, 1 a definition is refused, 3 no broker answers or a topic is missing, 78 bad configuration (a definition that is not there included)."
)]
pub(super) struct Flags {
    #[command(flatten)]
    config: ConfigFlags,
}

pub(super) fn run(flags: &Flags, log: &LogFlags, environment: &Environment) -> Result<(), Error> {
    let loaded = flags.config.load(log, environment)?;
    let config = loaded.config;
    let limit = telemetry::start(&config.log.level, config.log.format)?;
    for variable in unknown_variables(environment, &["EXPRESSWAY_CONFIG", "EXPRESSWAY_CONFIG_DIR"]) {
        tracing::warn!(variable, "the environment variable sets nothing");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build();
    let runtime = runtime.map_err(|error| Error::surroundings("the control threads cannot be started", error))?;
    let outcome = runtime.block_on(live(config, limit));
    // A start that was given up may still wait for a broker; the process need not.
    runtime.shutdown_background();
    outcome
}

/// The service as HTTP sees it: absent while it starts.
#[derive(Default)]
struct Stage {
    service: RwLock<Option<Arc<Service>>>,
    is_ending: AtomicBool,
}

impl Stage {
    fn service(&self) -> Option<Arc<Service>> {
        self.service.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, service: Arc<Service>) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }
}

impl Health for Stage {
    fn reasons(&self) -> Vec<String> {
        if self.is_ending.load(Ordering::Relaxed) {
            return vec!["shutting down".to_owned()];
        }
        self.service().map_or_else(|| vec!["starting".to_owned()], |service| service.reasons())
    }

    fn snapshot(&self) -> Snapshot {
        self.service().map_or_else(|| Snapshot { pipelines: Vec::new(), uptime: Duration::ZERO, log_lines_held: 0 }, |service| service.snapshot())
    }
}

/// Start, life and end.
async fn live(config: Config, limit: Arc<telemetry::RateLimit>) -> Result<(), Error> {
    let (mut signals, hangup) = (Signals::new()?, listen(SignalKind::hangup())?);
    let listener = http::bind(config.http.listen).await?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "health and metrics are served");
    }
    let stage = Arc::new(Stage::default());
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, Arc::clone(&stage) as Arc<dyn Health>, async move { drop(ended.await) }));
    let (shutdown_timeout, watch_definitions) = (config.service.shutdown_timeout, config.service.watch_definitions);
    let held = Arc::clone(&limit);
    let starting = tokio::task::spawn_blocking(move || Service::start(&config, Some(held)));
    // Starting asks the broker, which may take its time; a signal ends that too.
    let service = tokio::select! {
        started = starting => Arc::new(started.map_err(|error| Error::surroundings("the start broke off", error))??),
        () = signals.next() => return Ok(()),
    };
    stage.set(Arc::clone(&service));
    let reloader = tokio::spawn(reload(Arc::clone(&service), hangup, watch_definitions));
    let outcome = watch(&service, &limit, &mut signals).await;
    reloader.abort();
    stage.is_ending.store(true, Ordering::Relaxed);
    tracing::info!("shutting down");
    service.request_shutdown();
    let joined = tokio::select! {
        joined = join(service, shutdown_timeout + SHUTDOWN_MARGIN) => joined,
        () = signals.next() => Err(Error::Surroundings { what: "a second signal ended the shutdown; what was not committed runs again".to_owned(), source: None }),
    };
    drop(end);
    server.abort();
    outcome.and(joined)
}

/// Until a signal asks for the end, or a pipeline ends itself.
async fn watch(service: &Service, limit: &telemetry::RateLimit, signals: &mut Signals) -> Result<(), Error> {
    let mut tick = tokio::time::interval(TICK);
    let mut report = tokio::time::interval(HELD_EVERY);
    let (mut announced, mut told) = (false, 0);
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            _ = report.tick() => {
                let held = limit.held_total();
                if held > told {
                    tracing::warn!(lines = held - told, "repeated log lines were held back");
                    told = held;
                }
            }
            _ = tick.tick() => {
                if let Some(error) = service.failure() {
                    return Err(error);
                }
                if !announced && service.reasons().is_empty() {
                    tell("ready");
                    announced = true;
                }
            }
        }
    }
}

/// Reads the definitions again whenever SIGHUP asks for it, and, where that is wanted, when their files change.
async fn reload(service: Arc<Service>, mut hangup: Signal, watch_definitions: bool) {
    let mut look = tokio::time::interval(WATCH_EVERY);
    loop {
        let changed_only = tokio::select! {
            _ = hangup.recv() => false,
            _ = look.tick(), if watch_definitions => true,
        };
        let service = Arc::clone(&service);
        if let Err(error) = tokio::task::spawn_blocking(move || service.reload(changed_only)).await {
            tracing::error!(%error, "the definitions could not be read again");
        }
    }
}

/// Waits for the pipelines on a thread of its own; health and metrics go on meanwhile.
async fn join(service: Arc<Service>, timeout: Duration) -> Result<(), Error> {
    let joined = tokio::task::spawn_blocking(move || service.join(timeout));
    joined.await.map_err(|error| Error::surroundings("the shutdown broke off", error))?
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| Error::surroundings("signals cannot be listened to", error))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
