//! `expressway exec`: executions of a definition on this thread, one per line of input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use expressway_engine::diagnostic::{Diagnostic, Severity};
use expressway_engine::hir::StateId;
use expressway_engine::history::{Encoder, Recorder};
use expressway_engine::program::StateType;
use expressway_engine::{Deployment, ExecutionName, Limits, Program, Silent, Slot, Start, Timestamp};
use serde_json::{Value, json};

use super::definition::{Type, refused, refused_mocks};
use super::output::{Output, tell};
use super::trace;
use crate::clock::Clock;
use crate::control::name;
use crate::control::registry::Definition;
use crate::error::Error;
use crate::local::{self, Ended, Executor, Pace, Status, TaskCall, TaskReply};
use crate::tasks::mock::{MockFile, TestCase};
use crate::tasks::native;

/// Flags of `exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo '{\"deviceId\":\"dev-1\",\"type\":\"heartbeat\",\"ts\":\"2026-11-20T12:00:00Z\",\"battery\":7}' | expressway exec configs/definitions/heartbeat.asl.json --input -\n\nEach line of input is the JSON input of one execution; each line of output is a JSON object with status and output, or error and cause. A line that cannot be an input has the status INVALID_INPUT, and the exit code is 1 in the end. Waits and retries take no real time unless --real-time is given.\n\nWith --history each line of output is the execution's history instead, as AWS's GetExecutionHistory answers it:\n  expressway exec configs/definitions/heartbeat.asl.json --history | jq -r '.events[] | \"\\(.id) \\(.type)\"'\n\nOf a history of more than 100,000 events or 64 MiB (an endless loop of an Express execution) the first ones and the end are kept, and the member eventsOmitted counts the others. A Standard execution ends with its event 25,000, as on AWS.\n\nWith --trace the path is told on standard error, for people:\n  exec-1: SUCCEEDED after 0 ms\n    1. Greet (Pass) at +0 ms, took 0 ms\n         input   {}\n         output  {\"hello\":\"world\"}"
)]
pub(super) struct Flags {
    /// The definition, *.asl.json or *.asl.yaml
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Inputs, one JSON text a line; - for standard input; one execution on {} when absent, and standard input is not read
    #[arg(long, env = "EXPRESSWAY_INPUT", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Mocked task results in the format of Step Functions Local, under the name of the state machine
    #[arg(long, env = "EXPRESSWAY_MOCKS", value_name = "FILE", requires = "test_case")]
    mocks: Option<PathBuf>,
    /// Test case in the mock file; MACHINE#CASE for that of another machine
    #[arg(long, env = "EXPRESSWAY_TEST_CASE", value_name = "NAME", requires = "mocks")]
    test_case: Option<String>,
    /// Type whose rules apply
    #[arg(long = "type", env = "EXPRESSWAY_TYPE", value_name = "TYPE", value_enum, ignore_case = true, default_value = "EXPRESS")]
    workflow_type: Type,
    /// AWS region in ARNs
    #[arg(long, env = "EXPRESSWAY_REGION", value_name = "REGION", default_value = "us-east-1", value_parser = region)]
    region: String,
    /// AWS account in ARNs
    #[arg(long, env = "EXPRESSWAY_ACCOUNT", value_name = "DIGITS", default_value = "000000000000", value_parser = account)]
    account: String,
    /// Name of the state machine; the file's name up to its first dot when absent
    #[arg(long, env = "EXPRESSWAY_STATE_MACHINE", value_name = "NAME", value_parser = name::parse)]
    state_machine: Option<String>,
    /// Name of every execution; exec-1, exec-2, … by line when absent
    #[arg(long, env = "EXPRESSWAY_EXECUTION_NAME", value_name = "NAME", value_parser = name::parse)]
    execution_name: Option<String>,
    /// RoleArn in the Context Object; made from account and state machine when absent
    #[arg(long, env = "EXPRESSWAY_ROLE_ARN", value_name = "ARN")]
    role_arn: Option<String>,
    /// Seed of what is random: jitter, States.UUID, States.MathRandom; from the clock when absent
    #[arg(long, env = "EXPRESSWAY_SEED", value_name = "N")]
    seed: Option<u64>,
    /// Print the history of each execution in place of its result
    #[arg(long, env = "EXPRESSWAY_HISTORY")]
    history: bool,
    /// Tell on standard error which way each execution took
    #[arg(long, env = "EXPRESSWAY_TRACE")]
    trace: bool,
    /// Let waits, retries and delays take their time
    #[arg(long, env = "EXPRESSWAY_REAL_TIME")]
    real_time: bool,
}

fn account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit());
    if is_account { Ok(text.to_owned()) } else { Err("an account is 12 digits".to_owned()) }
}

fn region(text: &str) -> Result<String, String> {
    let is_region = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_region { Ok(text.to_owned()) } else { Err("a region is letters, digits and hyphens, such as eu-west-1".to_owned()) }
}

pub(super) fn run(flags: &Flags) -> Result<(), Error> {
    let definition = Definition::read(&flags.file).map_err(|error| refused(&error))?;
    let deployment = flags.deployment(&definition);
    let compiled = definition.compile(flags.workflow_type.into(), &deployment).map_err(|error| refused(&error))?;
    let warnings: Vec<Diagnostic> = compiled.warnings.into_iter().filter(|found| found.severity == Severity::Warning).collect();
    if !warnings.is_empty() {
        tell(definition.render(&warnings).trim_end());
    }
    let mocks = flags.mocks(&deployment.state_machine, &compiled.program)?;
    let mut session = Session {
        program: compiled.program,
        executor: Executor::new(Slot::new(0), if flags.real_time { Pace::Real } else { Pace::Virtual }),
        mocks,
        execution_name: flags.execution_name.clone(),
        seed: flags.seed.unwrap_or_else(|| now().0),
        history: flags.history,
        trace: flags.trace,
        recorder: Recorder::default(),
    };
    let mut out = Output::new();
    let all_run = match flags.input.as_deref() {
        None => {
            if is_stdin_given() {
                tell("note: standard input was not read, the input is {}; --input - reads it");
            }
            session.execute(1, b"{}", &mut out)?
        }
        Some(path) => session.execute_lines(path, &mut out)?,
    };
    out.flush()?;
    if all_run { Ok(()) } else { Err(Error::Input("at least one line was not run, see its status INVALID_INPUT".to_owned())) }
}

/// Whether somebody may have meant standard input to be read: it is a pipe, or a file that is not empty.
fn is_stdin_given() -> bool {
    let file = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|found| found.file_type().is_fifo() || (found.is_file() && found.len() > 0))
}

impl Flags {
    fn deployment(&self, definition: &Definition) -> Deployment {
        let state_machine = self.state_machine.clone().unwrap_or_else(|| definition.stem());
        let role_arn = self.role_arn.clone().unwrap_or_else(|| format!("arn:aws:iam::{}:role/{state_machine}", self.account));
        Deployment { region: self.region.clone(), account: self.account.clone(), state_machine, role_arn, limits: Limits::default() }
    }

    fn mocks(&self, state_machine: &str, program: &Program) -> Result<Option<TestCase>, Error> {
        let (Some(path), Some(name)) = (&self.mocks, &self.test_case) else { return Ok(None) };
        let file = MockFile::read(path).map_err(|error| refused_mocks(&error))?;
        let case = file.test_case(state_machine, name).map_err(|error| refused_mocks(&error))?;
        let states = (0..).map(StateId).map_while(|id| Some((program.state_type(id)?, program.state_name(id))));
        let tasks: Vec<&str> = states.filter(|(kind, _)| *kind == StateType::Task).map(|(_, state)| state).collect();
        case.check_states(&tasks).map_err(|problem| Error::Input(format!("the mock file {} does not fit: {problem}", path.display())))?;
        Ok(Some(case))
    }
}

/// What stays the same from line to line.
struct Session {
    program: Program,
    executor: Executor,
    mocks: Option<TestCase>,
    execution_name: Option<String>,
    seed: u64,
    history: bool,
    trace: bool,
    recorder: Recorder,
}

impl Session {
    /// Runs every line that is not blank; whether all could be run.
    fn execute_lines(&mut self, path: &Path, out: &mut Output) -> Result<bool, Error> {
        let unreadable = |error: io::Error| Error::surroundings(format!("the input {} cannot be read", path.display()), error);
        let is_stdin = path == Path::new("-");
        let mut lines: Box<dyn BufRead> =
            if is_stdin { Box::new(BufReader::new(io::stdin().lock())) } else { Box::new(BufReader::new(File::open(path).map_err(unreadable)?)) };
        let mut all_run = true;
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            let input = line.trim_ascii();
            if !input.is_empty() {
                all_run &= self.execute(number, input, out)?;
                if is_stdin {
                    // Whoever writes line by line wants to read line by line.
                    out.flush()?;
                }
            }
        }
        Ok(all_run)
    }

    /// Runs one execution and writes its line; whether it could be run.
    fn execute(&mut self, line: u64, input: &[u8], out: &mut Output) -> Result<bool, Error> {
        let name = self.execution_name.clone().unwrap_or_else(|| format!("exec-{line}"));
        let start = Start { name: ExecutionName::Text(&name), now: now(), seed: self.seed.wrapping_add(line) };
        let mocks = self.mocks.as_ref();
        let mut invocations = BTreeMap::new();
        let mut tasks = |call: &TaskCall<'_>| answer(call, mocks, &mut invocations);
        let ended = if self.history || self.trace {
            self.recorder.clear();
            self.executor.run(&self.program, input, &start, &mut tasks, &mut self.recorder)
        } else {
            self.executor.run(&self.program, input, &start, &mut tasks, &mut Silent)
        };
        match ended {
            Ok(ended) => {
                if self.trace {
                    tell(trace::render(&name, self.recorder.entries()).trim_end());
                }
                let omitted = self.recorder.omitted();
                if omitted > 0 {
                    let kept = self.recorder.entries().len();
                    tell(&format!(
                        "note: {name} has {} events; {omitted} of them are left out, all between the first {} and the end",
                        omitted + kept as u64,
                        kept - 1
                    ));
                }
                if self.history { write_history(&self.recorder, out) } else { write_ended(&ended, out) }.map(|()| true)
            }
            Err(local::Error::Input(fault)) => {
                let line = json!({"status": "INVALID_INPUT", "error": fault.kind.code(), "cause": format!("line {line}: {fault}")});
                out.line(&line.to_string()).map(|()| false)
            }
            Err(error) => Err(Error::Input(format!("line {line}: {error}"))),
        }
    }
}

/// Answers a call from the mocks, else from the native handlers.
pub(super) fn answer(call: &TaskCall<'_>, mocks: Option<&TestCase>, invocations: &mut BTreeMap<String, u32>) -> TaskReply {
    if let Some(mocks) = mocks
        && mocks.has_state(call.state)
    {
        let count = invocations.entry(call.state.to_owned()).or_default();
        let reply = mocks.reply(call.state, *count);
        *count += 1;
        if let Some(reply) = reply {
            return reply;
        }
    }
    native::call(&call.resource.arn, call.input, call.attempt).unwrap_or_else(|| {
        let cause = format!(
            "nothing answers for resource {} of state \"{}\": it is neither mocked (--mocks, --test-case) nor one of {}",
            call.resource.arn,
            call.state,
            native::NAMES.join(", ")
        );
        TaskReply::failure("States.Runtime", cause)
    })
}

fn write_ended(ended: &Ended, out: &mut Output) -> Result<(), Error> {
    if ended.status == Status::Succeeded {
        out.write(b"{\"status\":\"SUCCEEDED\",\"output\":")?;
        out.write(&ended.output)?;
        return out.line("}");
    }
    let mut line = serde_json::Map::new();
    line.insert("status".to_owned(), ended.status.as_str().into());
    line.extend(ended.error.as_ref().map(|error| ("error".to_owned(), error.as_str().into())));
    line.extend(ended.cause.as_ref().map(|cause| ("cause".to_owned(), cause.as_str().into())));
    out.line(&Value::Object(line).to_string())
}

/// One line: the history as `GetExecutionHistory` answers it; the count of events that are left out is a member that AWS has not.
fn write_history(recorder: &Recorder, out: &mut Output) -> Result<(), Error> {
    let mut encoder = Encoder::default();
    let mut event = Vec::new();
    out.write(b"{\"events\":[")?;
    for (index, entry) in recorder.entries().iter().enumerate() {
        event.clear();
        if index > 0 {
            event.push(b',');
        }
        encoder.api(entry, &mut event);
        out.write(&event)?;
    }
    let omitted = recorder.omitted();
    if omitted > 0 { out.line(&format!("],\"eventsOmitted\":{omitted}}}")) } else { out.line("]}") }
}

/// The instant at which an execution starts; from there on the clock is virtual or counted.
fn now() -> Timestamp {
    Clock::start().now().timestamp
}
