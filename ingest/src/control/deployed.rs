//! The definition of a pipeline: read when the service starts, and read again while it runs.
//!
//! A definition that is read again and is valid takes the place of the one before for executions that begin; open ones end under theirs. One that is refused changes nothing: its findings are logged and counted, and the one before goes on. Everything else of the configuration, mock files included, is read once.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use expressway_engine::hir::WorkflowType;
use expressway_engine::{Deployment, Limits, Program};

use super::registry::{self, Definition};
use crate::config::{self, Config};
use crate::error::Error;
use crate::metrics::exposition;
use crate::pipeline::Pipeline;
use crate::tasks::builtin::Builtin;
use crate::tasks::mock::{MockFile, TestCase};
use crate::tasks::native;

/// By what a changed file is known.
type Stamp = Option<(SystemTime, u64)>;

/// A definition that runs, and how it is read again.
#[derive(Debug)]
pub(super) struct Deployed {
    pipeline: String,
    path: PathBuf,
    deployment: Deployment,
    mocks: Option<TestCase>,
    /// The version under which executions begin, and the file when it was last read.
    current: Mutex<(String, Stamp)>,
    replaced: AtomicU64,
    refused: AtomicU64,
}

impl Deployed {
    /// Reads the definition of `pipeline` and what answers for its tasks.
    ///
    /// # Errors
    /// [`Error::Input`] for a definition that is refused, [`Error::Setting`] for one that is missing or calls what nothing answers for, and for a mock file that is refused.
    pub(super) fn load(pipeline: &config::Pipeline, config: &Config) -> Result<(Self, Program), Error> {
        let deployment = Deployment {
            region: config.identity.region.clone(),
            account: config.identity.account.clone(),
            role_arn: format!("arn:aws:iam::{}:role/{}", config.identity.account, pipeline.name),
            state_machine: pipeline.name.clone(),
            limits: Limits::default(),
        };
        let mocks = pipeline.mocks.as_ref().map(mocked).transpose()?;
        let deployed = Self {
            pipeline: pipeline.name.clone(),
            path: pipeline.definition.clone(),
            deployment,
            mocks,
            current: Mutex::default(),
            replaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let stamp = stamp(&deployed.path);
        let program = deployed.compile()?;
        *deployed.current.lock().unwrap_or_else(PoisonError::into_inner) = (program.version().to_owned(), stamp);
        Ok((deployed, program))
    }

    /// What answers for tasks beside native handlers.
    pub(super) fn mocks(&self) -> Option<TestCase> {
        self.mocks.clone()
    }

    /// As metrics tell it.
    pub(super) fn sample(&self) -> exposition::Definition {
        let version = self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        exposition::Definition { version, replaced: self.replaced.load(Ordering::Relaxed), refused: self.refused.load(Ordering::Relaxed) }
    }

    /// Whether the file is another one than when it was last read, by its time and size.
    pub(super) fn has_changed(&self) -> bool {
        let seen = self.current.lock().unwrap_or_else(PoisonError::into_inner).1;
        // While a file is being replaced there may be none.
        stamp(&self.path).is_some_and(|now| Some(now) != seen)
    }

    /// Reads the definition again and lets `running` go on with it.
    pub(super) fn reload(&self, running: &Pipeline) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.1 = stamp(&self.path);
        let program = match self.compile() {
            Ok(program) => Arc::new(program),
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::error!(pipeline = self.pipeline, version = current.0, error = error.sentence(), "the definition is refused, the one before goes on");
                return;
            }
        };
        if program.version() == current.0 {
            tracing::info!(pipeline = self.pipeline, version = current.0, "the definition is the same");
        } else if running.replace(&program) {
            let before = std::mem::replace(&mut current.0, program.version().to_owned());
            self.replaced.fetch_add(1, Ordering::Relaxed);
            tracing::info!(pipeline = self.pipeline, version = current.0, before, "the definition is replaced");
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(pipeline = self.pipeline, version = current.0, "not every shard took the definition: it is ending, or has run too many versions");
        }
    }

    fn compile(&self) -> Result<Program, Error> {
        let refused = |error: &registry::Error| refused(&self.pipeline, error);
        let definition = Definition::read(&self.path).map_err(|error| refused(&error))?;
        let compiled = definition.compile(WorkflowType::Express, &self.deployment).map_err(|error| refused(&error))?;
        for warning in &compiled.warnings {
            tracing::warn!(pipeline = self.pipeline, definition = %self.path.display(), %warning, "the definition has a finding");
        }
        let unanswered = Builtin::unanswered(&compiled.program, self.mocks.as_ref());
        if unanswered.is_empty() {
            return Ok(compiled.program);
        }
        let known = native::NAMES.join(", ");
        Err(Error::Setting(format!("pipeline {}: nothing answers for {}; there are {known}, and mocks", self.pipeline, unanswered.join(", "))))
    }
}

fn stamp(path: &Path) -> Stamp {
    let of = |file: Metadata| Some((file.modified().ok()?, file.len()));
    std::fs::metadata(path).ok().and_then(of)
}

fn mocked(mocks: &config::Mocks) -> Result<TestCase, Error> {
    let refuse = |error: crate::tasks::mock::Error| Error::Setting(error.to_string());
    MockFile::read(&mocks.file).map_err(refuse)?.test_case(&mocks.state_machine, &mocks.test_case).map_err(refuse)
}

/// A definition that is not there is a mistake in the configuration; one that is refused is an input at fault.
fn refused(pipeline: &str, error: &registry::Error) -> Error {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let text = format!("pipeline {pipeline}: {error}{source}");
    if matches!(error, registry::Error::Read { .. }) { Error::Setting(text) } else { Error::Input(text) }
}
