//! One type per construct of the States Language, each with its place in the text.
//!
//! Every field is optional here, because the tree of a definition with faults must be walkable too; which fields a state must and may have is checked when the tree is lowered. A field that was present but wrong is in [`State::keys`] and nowhere else.

use crate::hir::{Concurrency, Condition, DataPath, FailText, IntrinsicCall, Literal, Path, ResultPath, Seconds, Template};

/// Where a construct stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// JSON pointer in AWS's spelling: `/States/A/Branches[0]`; empty for the root.
    pub pointer: String,
    /// Byte offset in the text.
    pub offset: usize,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// `QueryLanguage`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QueryLanguage {
    /// Paths, payload templates, intrinsic functions.
    #[default]
    JsonPath,
    /// Expressions in `{% %}`.
    Jsonata,
}

impl QueryLanguage {
    /// The spelling in a definition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonPath => "JSONPath",
            Self::Jsonata => "JSONata",
        }
    }
}

/// A whole definition.
#[derive(Debug, Clone)]
pub struct StateMachine {
    /// `Comment`
    pub comment: Option<String>,
    /// `QueryLanguage`
    pub query_language: Option<Located<QueryLanguage>>,
    /// `TimeoutSeconds`
    pub timeout_seconds: Option<u32>,
    /// `StartAt` and `States`.
    pub body: SubMachine,
}

/// A `StartAt` with its `States`.
#[derive(Debug, Clone)]
pub struct SubMachine {
    /// The object that holds both.
    pub place: Place,
    /// Names of the fields that are present.
    pub keys: Vec<String>,
    /// `StartAt`
    pub start_at: Option<Located<String>>,
    /// `States`, in the order of the text; a repeated name is repeated here.
    pub states: Vec<State>,
    /// `ProcessorConfig`
    pub processor: Option<ProcessorConfig>,
}

impl SubMachine {
    /// Whether this is the processor of a Map in distributed mode.
    #[must_use]
    pub fn is_distributed(&self) -> bool {
        self.processor.as_ref().is_some_and(|processor| processor.distributed.is_some())
    }
}

/// `ProcessorConfig`
#[derive(Debug, Clone)]
pub struct ProcessorConfig {
    /// The object.
    pub place: Place,
    /// Where `Mode` says `DISTRIBUTED`, if it does.
    pub distributed: Option<Place>,
    /// Whether `ExecutionType` is there.
    pub has_execution_type: bool,
}

/// The eight types of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateType {
    /// `Task`
    Task,
    /// `Wait`
    Wait,
    /// `Pass`
    Pass,
    /// `Succeed`
    Succeed,
    /// `Fail`
    Fail,
    /// `Choice`
    Choice,
    /// `Parallel`
    Parallel,
    /// `Map`
    Map,
}

impl StateType {
    /// All of them, in the order of AWS's messages.
    pub const ALL: [Self; 8] = [Self::Task, Self::Wait, Self::Pass, Self::Succeed, Self::Fail, Self::Choice, Self::Parallel, Self::Map];

    /// The spelling in a definition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "Task",
            Self::Wait => "Wait",
            Self::Pass => "Pass",
            Self::Succeed => "Succeed",
            Self::Fail => "Fail",
            Self::Choice => "Choice",
            Self::Parallel => "Parallel",
            Self::Map => "Map",
        }
    }
}

/// The name of a present field with the place of its key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Byte offset of the key.
    pub offset: usize,
}

/// A state of any type.
#[derive(Debug, Clone)]
pub struct State {
    /// Its name, with the place of the key.
    pub name: Located<String>,
    /// Its object.
    pub place: Place,
    /// `Type`
    pub state_type: Option<StateType>,
    /// The state's own `QueryLanguage`.
    pub own_query_language: Option<Located<QueryLanguage>>,
    /// The language in effect.
    pub query_language: QueryLanguage,
    /// Every field that is present, understood or not.
    pub keys: Vec<Key>,
    /// Every place at which a variable is read, with its name.
    pub variables: Vec<Located<String>>,
    /// The fields that were understood.
    pub fields: Box<Fields>,
}

impl State {
    /// The key of this name, if the field is present.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The machines inside: branches, or the item processor.
    pub fn inner(&self) -> impl Iterator<Item = &SubMachine> {
        self.fields.branches.iter().flatten().chain(&self.fields.item_processor)
    }
}

/// What the fields of a state say, whatever its type.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// `Next`
    pub next: Option<Located<String>>,
    /// `End`
    pub end: Option<bool>,
    /// `InputPath`
    pub input_path: Option<DataPath>,
    /// `OutputPath`
    pub output_path: Option<DataPath>,
    /// `Parameters`
    pub parameters: Option<Template>,
    /// `ResultSelector`
    pub result_selector: Option<Template>,
    /// `ResultPath`
    pub result_path: Option<ResultPath>,
    /// `Assign`
    pub assign: Option<Assign>,
    /// `Retry`
    pub retriers: Vec<Retrier>,
    /// `Catch`
    pub catchers: Vec<Catcher>,
    /// `Result`
    pub result: Option<Literal>,
    /// `Resource`
    pub resource: Option<Located<String>>,
    /// `TimeoutSeconds` or `TimeoutSecondsPath`
    pub timeout: Option<Seconds>,
    /// `HeartbeatSeconds` or `HeartbeatSecondsPath`
    pub heartbeat: Option<Located<Seconds>>,
    /// `RoleArn` of `Credentials`
    pub role_arn: Option<Template>,
    /// `Choices`
    pub choices: Vec<ChoiceRule>,
    /// `Default`
    pub default: Option<Located<String>>,
    /// `Seconds`
    pub seconds: Option<u32>,
    /// `SecondsPath`
    pub seconds_path: Option<Path>,
    /// `Timestamp`
    pub timestamp: Option<String>,
    /// `TimestampPath`
    pub timestamp_path: Option<Path>,
    /// `Error` or `ErrorPath`
    pub error: Option<FailText>,
    /// `Cause` or `CausePath`
    pub cause: Option<FailText>,
    /// `Branches`
    pub branches: Option<Vec<SubMachine>>,
    /// `ItemProcessor` or `Iterator`
    pub item_processor: Option<SubMachine>,
    /// `ItemsPath`
    pub items_path: Option<Path>,
    /// `ItemSelector`
    pub item_selector: Option<Template>,
    /// `MaxConcurrency` or `MaxConcurrencyPath`
    pub max_concurrency: Option<Concurrency>,
}

/// `Assign`: what it puts into which variables.
#[derive(Debug, Clone)]
pub struct Assign {
    /// The object.
    pub place: Place,
    /// Names, with the places of their keys, and values; the value is missing where it was not understood, and in a JSONata state.
    pub variables: Vec<(Located<String>, Option<Template>)>,
}

/// A top-level rule of a Choice.
#[derive(Debug, Clone)]
pub struct ChoiceRule {
    /// Its object.
    pub place: Place,
    /// Everything but `Next` and `Assign`.
    pub condition: Option<Condition>,
    /// `Next`
    pub next: Option<Located<String>>,
    /// `Assign`
    pub assign: Option<Assign>,
}

/// `ErrorEquals`: names, each with its place, and the place of the list.
pub type ErrorEquals = Located<Vec<Located<String>>>;

/// An entry of `Retry`.
#[derive(Debug, Clone)]
pub struct Retrier {
    /// `ErrorEquals`
    pub error_equals: Option<ErrorEquals>,
    /// `IntervalSeconds`
    pub interval_seconds: Option<u32>,
    /// `MaxAttempts`
    pub max_attempts: Option<u32>,
    /// `BackoffRate`
    pub backoff_rate: Option<f64>,
    /// `MaxDelaySeconds`
    pub max_delay_seconds: Option<Located<u32>>,
    /// `JitterStrategy` is `FULL`.
    pub full_jitter: bool,
}

/// An entry of `Catch`.
#[derive(Debug, Clone)]
pub struct Catcher {
    /// Its object.
    pub place: Place,
    /// `ErrorEquals`
    pub error_equals: Option<ErrorEquals>,
    /// `Next`
    pub next: Option<Located<String>>,
    /// `ResultPath`
    pub result_path: Option<ResultPath>,
    /// `Assign`
    pub assign: Option<Assign>,
}

/// What stands where a path or a call is allowed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Expression {
    /// `$…`
    Path(Path),
    /// `States.…(…)`
    Call(IntrinsicCall),
}
