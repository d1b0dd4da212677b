//! Stage 2: ast → hir. Names resolved, defaults filled in, illegal forms gone.
//!
//! A [`StateMachine`] can only be made by [`lower`], so a value of it is the proof that a definition is valid; the compiler accepts nothing else. States of all nesting levels lie in one vector and refer to each other by [`StateId`].
//!
//! The enums that picture, coverage and test runner match whole ([`StateKind`], [`Transition`], [`Condition`], [`Operator`] and what these hold) are exhaustive on purpose: a new form must be drawn and counted, so it shall not compile before it is.

mod errors;
mod fields;
mod findings;
mod graph;
pub mod limits;
mod lower;
mod resource;
mod support;
mod variables;

use std::fmt;

pub use lower::{Lowered, lower};

/// Index into [`StateMachine::states`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u32);

/// The type a state machine is created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkflowType {
    /// At least once, five minutes, no job or callback integrations.
    #[default]
    Express,
    /// The rules of Standard workflows; run here only as far as the Express engine can.
    Standard,
}

/// A valid definition.
#[derive(Debug, Clone)]
pub struct StateMachine {
    // Visible in this crate only, so that nobody else can make one or change one.
    pub(crate) workflow_type: WorkflowType,
    pub(crate) comment: Option<String>,
    pub(crate) timeout_seconds: Option<u32>,
    pub(crate) root: SubMachine,
    pub(crate) states: Vec<State>,
}

impl StateMachine {
    /// The type whose rules were applied.
    #[must_use]
    pub fn workflow_type(&self) -> WorkflowType {
        self.workflow_type
    }

    /// The top-level `Comment`.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The machine's `TimeoutSeconds`.
    #[must_use]
    pub fn timeout_seconds(&self) -> Option<u32> {
        self.timeout_seconds
    }

    /// The top level.
    #[must_use]
    pub fn root(&self) -> &SubMachine {
        &self.root
    }

    /// Every state of every level; each belongs to exactly one [`SubMachine`].
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The variables that each state reads, by the state's name; states that read none are left out.
    #[must_use]
    pub fn variable_references(&self) -> std::collections::BTreeMap<&str, &[String]> {
        self.states.iter().filter(|state| !state.reads.is_empty()).map(|state| (state.name.as_str(), state.reads.as_slice())).collect()
    }
}

/// A `StartAt` with its `States`: the top level, a branch, or an item processor.
#[derive(Debug, Clone)]
pub struct SubMachine {
    /// The state that runs first.
    pub start: StateId,
    /// The states of this level, in the order of the text.
    pub states: Vec<StateId>,
    /// The variables that these states assign, in alphabetical order: the scope of this level.
    pub variables: Vec<String>,
    /// Whether it sees the variables of the levels around it; the top level and the children of a distributed Map do not.
    pub sees_outer: bool,
}

/// One state with what all types have in common.
#[derive(Debug, Clone)]
pub struct State {
    /// Its name, unique in the whole definition.
    pub name: String,
    /// Where it goes on; `None` for Choice, Succeed and Fail, which have no `Next` or `End`.
    pub transition: Option<Transition>,
    /// `InputPath`; the default is `$`.
    pub input_path: DataPath,
    /// `OutputPath`; the default is `$`.
    pub output_path: DataPath,
    /// `Parameters` of Task, Pass and Parallel. (A Map's `Parameters` is its [`Map::item_selector`].)
    pub parameters: Option<Template>,
    /// `ResultSelector`.
    pub result_selector: Option<Template>,
    /// `ResultPath`; the default is `$`, which replaces everything.
    pub result_path: ResultPath,
    /// `Assign`: of a Choice, for the way to its Default.
    pub assign: Option<Assign>,
    /// The variables that the state reads itself, in alphabetical order.
    pub reads: Vec<String>,
    /// `Retry`, in order.
    pub retriers: Vec<Retrier>,
    /// `Catch`, in order.
    pub catchers: Vec<Catcher>,
    /// What of the state this engine cannot run although the service can; an execution that enters it fails.
    pub not_run: Option<&'static str>,
    /// What is particular to the state's type.
    pub kind: StateKind,
}

/// `Next` or `End`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// `Next`
    Next(StateId),
    /// `End: true`
    End,
}

/// What is particular to each of the eight types.
#[derive(Debug, Clone)]
pub enum StateKind {
    /// `Pass`, with its literal `Result`.
    Pass {
        /// Literal output; wins over `Parameters`.
        result: Option<Literal>,
    },
    /// `Task`
    Task(Task),
    /// `Choice`
    Choice(Choice),
    /// `Wait`
    Wait(Wait),
    /// `Succeed`
    Succeed,
    /// `Fail`
    Fail(Fail),
    /// `Parallel`
    Parallel {
        /// Never empty.
        branches: Vec<SubMachine>,
    },
    /// `Map`, inline.
    Map(Map),
}

/// The particulars of a Task.
#[derive(Debug, Clone)]
pub struct Task {
    /// The `Resource` ARN.
    pub resource: Resource,
    /// `TimeoutSeconds` or `TimeoutSecondsPath`.
    pub timeout: Option<Seconds>,
    /// `HeartbeatSeconds` or `HeartbeatSecondsPath`: part of the history, and without effect for the resources that Express has.
    pub heartbeat: Option<Seconds>,
    /// `RoleArn` or `RoleArn.$` of `Credentials`: part of the history; calls are made as the service itself.
    pub role_arn: Option<Template>,
}

/// A Task's `Resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The text of the field.
    pub arn: String,
    /// Which family of history events and error texts it has.
    pub kind: ResourceKind,
}

/// The forms of spec/asl.md 5.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceKind {
    /// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`: events `LambdaFunction…`.
    Lambda,
    /// `arn:aws:states:::SERVICE:ACTION`, `aws-sdk:` included: events `Task…`.
    Service {
        /// For instance `lambda`, `dynamodb`, `aws-sdk:s3`.
        service: String,
        /// For instance `invoke`, without a `.sync` or `.waitForTaskToken` suffix.
        action: String,
    },
    /// `arn:aws:states:REGION:ACCOUNT:activity:NAME`; Standard only.
    Activity,
    /// Any other text: names a handler of our own, for instance `native:echo`; events `Task…`.
    Native,
}

/// A number of seconds, literal or read from the data.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Seconds {
    /// The literal field.
    Literal(u32),
    /// The `…Path` field.
    Path(Path),
}

/// The particulars of a Choice.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Never empty; tried in order.
    pub rules: Vec<ChoiceRule>,
    /// `Default`
    pub default: Option<StateId>,
}

/// A top-level rule.
#[derive(Debug, Clone)]
pub struct ChoiceRule {
    /// When it holds …
    pub condition: Condition,
    /// … these variables are assigned …
    pub assign: Option<Assign>,
    /// … and the execution goes here.
    pub next: StateId,
}

/// A rule without its `Next`.
#[derive(Debug, Clone)]
pub enum Condition {
    /// `And`, never empty.
    And(Vec<Condition>),
    /// `Or`, never empty.
    Or(Vec<Condition>),
    /// `Not`
    Not(Box<Condition>),
    /// `Variable` with its one operator.
    Test {
        /// `Variable`
        variable: Path,
        /// The operator with its operand.
        operator: Operator,
    },
}

/// The operators of spec/asl.md 6.2.
#[derive(Debug, Clone)]
pub enum Operator {
    /// `StringEquals`, `StringLessThan`, … and their `Path` forms.
    String(Comparison, Operand<String>),
    /// `NumericEquals`, … ; a literal keeps its text, which is a valid JSON number.
    Numeric(Comparison, Operand<String>),
    /// `TimestampEquals`, … ; a literal is an RFC 3339 instant.
    Timestamp(Comparison, Operand<String>),
    /// `BooleanEquals`
    Boolean(Operand<bool>),
    /// `StringMatches`, compiled: the pieces between unescaped `*`, so n stars give n + 1 pieces.
    StringMatches(Vec<String>),
    /// `IsNull`, `IsPresent`, … with the answer that is asked for.
    Is(TypeTest, bool),
}

/// The five comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `…Equals`
    Equals,
    /// `…LessThan`
    LessThan,
    /// `…GreaterThan`
    GreaterThan,
    /// `…LessThanEquals`
    LessThanEquals,
    /// `…GreaterThanEquals`
    GreaterThanEquals,
}

/// The right-hand side of an operator.
#[derive(Debug, Clone)]
pub enum Operand<T> {
    /// The literal form.
    Literal(T),
    /// The `…Path` form.
    Path(Path),
}

/// The six `Is…` operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeTest {
    /// `IsNull`
    Null,
    /// `IsPresent`
    Present,
    /// `IsNumeric`
    Numeric,
    /// `IsString`
    String,
    /// `IsBoolean`
    Boolean,
    /// `IsTimestamp`
    Timestamp,
}

/// The particulars of a Wait: exactly one of its four fields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Wait {
    /// `Seconds`
    Seconds(u32),
    /// `SecondsPath`
    SecondsPath(Path),
    /// `Timestamp`, RFC 3339.
    Timestamp(String),
    /// `TimestampPath`
    TimestampPath(Path),
}

/// The particulars of a Fail.
#[derive(Debug, Clone, Default)]
pub struct Fail {
    /// `Error` or `ErrorPath`
    pub error: Option<FailText>,
    /// `Cause` or `CausePath`
    pub cause: Option<FailText>,
}

/// `Error`/`Cause` as text, as a path, or as an intrinsic call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FailText {
    /// The literal field.
    Literal(String),
    /// The `…Path` field with a path.
    Path(Path),
    /// The `…Path` field with an intrinsic call.
    Intrinsic(IntrinsicCall),
}

/// The particulars of an inline Map.
#[derive(Debug, Clone)]
pub struct Map {
    /// `ItemProcessor` (or `Iterator`).
    pub processor: SubMachine,
    /// `ItemsPath`; the default is `$`.
    pub items_path: Path,
    /// `ItemSelector` (or `Parameters`).
    pub item_selector: Option<Template>,
    /// `MaxConcurrency` or `MaxConcurrencyPath`; literal 0, the default, is no limit.
    pub max_concurrency: Concurrency,
}

/// `MaxConcurrency` or its path.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Concurrency {
    /// The literal field.
    Literal(u32),
    /// `MaxConcurrencyPath`
    Path(Path),
}

/// One entry of `Retry`, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrier {
    /// Never empty.
    pub error_equals: Vec<String>,
    /// Default 1.
    pub interval_seconds: u32,
    /// Default 3; 0 never retries.
    pub max_attempts: u32,
    /// Default 2.0, at least 1.0.
    pub backoff_rate: f64,
    /// Upper bound of one delay.
    pub max_delay_seconds: Option<u32>,
    /// `JitterStrategy: FULL`
    pub full_jitter: bool,
}

/// One entry of `Catch`.
#[derive(Debug, Clone)]
pub struct Catcher {
    /// Never empty.
    pub error_equals: Vec<String>,
    /// Where the Error Output goes in the raw input.
    pub result_path: ResultPath,
    /// `Assign`, over the Error Output.
    pub assign: Option<Assign>,
    /// The state that handles the error.
    pub next: StateId,
}

/// `Assign`: variables, each with the template of its value, in the order of the text.
#[derive(Debug, Clone)]
pub struct Assign(pub Vec<(String, Template)>);

/// `InputPath` or `OutputPath`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DataPath {
    /// A path; `$` when the field is absent.
    Path(Path),
    /// `null`: the value becomes `{}`.
    Null,
}

/// `ResultPath`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ResultPath {
    /// A reference path below `$`; no segments means replace everything.
    Path(Path),
    /// `null`: the result is dropped.
    Discard,
}

/// A literal JSON value, as compact text in the spelling of the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal(pub String);

/// A payload template: a JSON value in which fields named `x.$` are computed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Template {
    /// No computed field anywhere inside.
    Literal(Literal),
    /// An object with at least one computed field somewhere inside; keys are unescaped, without their `.$`.
    Object(Vec<(String, Template)>),
    /// An array with at least one computed field somewhere inside.
    Array(Vec<Template>),
    /// The value of a field `x.$` that is a path.
    Path {
        /// What is read.
        path: Path,
        /// The field's name with its `.$`, quoted in error texts.
        field: String,
    },
    /// The value of a field `x.$` that is an intrinsic call.
    Intrinsic {
        /// What is called.
        call: IntrinsicCall,
        /// The field's name with its `.$`, quoted in error texts.
        field: String,
    },
}

/// A call of an intrinsic function, arguments parsed.
#[derive(Debug, Clone)]
pub struct IntrinsicCall {
    /// The name without `States.`, for instance `Format`; checked to be one of the 18.
    pub name: String,
    /// The arguments in order.
    pub arguments: Vec<Argument>,
    /// The text of the whole call.
    pub text: String,
}

/// An argument of an intrinsic call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Argument {
    /// A string, number, boolean or null, as compact JSON. Escapes of a string are resolved, except that the first argument of `Format` keeps `\{`, `\}` and `\\`, which tell its braces from its placeholders.
    Literal(Literal),
    /// A path into the data, the Context Object or a variable.
    Path(Path),
    /// A nested call.
    Call(IntrinsicCall),
}

/// What a path starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// `$`
    Data,
    /// `$$`
    Context,
    /// `$name`
    Variable(String),
}

/// A JSONPath of AWS's dialect, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// What it starts from.
    pub root: Root,
    /// The steps; none for a bare `$`.
    pub segments: Vec<Segment>,
    /// The text as written, quoted in error texts.
    pub text: String,
}

impl Path {
    /// The path `$`.
    #[must_use]
    pub fn identity() -> Self {
        Self { root: Root::Data, segments: Vec::new(), text: "$".to_owned() }
    }

    /// Whether this is the path `$`.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.root == Root::Data && self.segments.is_empty()
    }

    /// Whether the path names at most one value: only names and single indices, and perhaps several names at the end.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        let up_to_end = if self.ends_in_names() { self.segments.len() - 1 } else { self.segments.len() };
        self.segments.iter().take(up_to_end).all(|segment| matches!(segment, Segment::Name(_) | Segment::Index(_)))
    }

    /// Whether the path ends in several names, which make an object of these members.
    #[must_use]
    pub fn ends_in_names(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Names(_)))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Segment {
    /// `.name` or `['name']`
    Name(String),
    /// `[n]`, negative from the end.
    Index(i64),
    /// `.*` or `[*]`
    Wildcard,
    /// `..` in front of the next step: the value and all its descendants.
    Descend,
    /// `[a:b]`; the service passes over a step behind it. A negative start counts from the end for each element, so `[-1:1]` are the last one and the first.
    Slice {
        /// First index.
        start: Option<i64>,
        /// Index behind the last.
        end: Option<i64>,
    },
    /// `[a,b,…]`
    Indices(Vec<i64>),
    /// `['a','b',…]`; at the end of a path it makes an object of these members.
    Names(Vec<String>),
    /// `[?(…)]`
    Filter(Filter),
}

/// The condition of `[?(…)]`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// `||`
    Or(Vec<Filter>),
    /// `&&`
    And(Vec<Filter>),
    /// `!`
    Not(Box<Filter>),
    /// `@.path` alone: it exists.
    Exists(Vec<Segment>),
    /// A comparison.
    Compare(FilterOperand, FilterOperator, FilterOperand),
}

/// One side of a comparison in a filter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FilterOperand {
    /// `@` with its steps.
    Item(Vec<Segment>),
    /// A literal, as compact JSON.
    Literal(Literal),
}

/// The comparisons of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterOperator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}
