//! What ops refer to: paths, templates, tests and the particulars of each state type.

use super::function::Function;
use super::op::{ConstantId, IntrinsicId, NodeId, OpId, PathId};
use crate::document::{Kind, Span, Symbol};
use crate::hir::{Comparison, TypeTest};
use crate::value::time::Instant;
use crate::value::{Filling, Name, Value};
use crate::vm::ResourceId;

/// A compiled path.
#[derive(Debug, Clone)]
pub(crate) struct PathCode {
    /// What it starts from.
    pub(crate) root: PathRoot,
    /// The steps from there.
    pub(crate) steps: Box<[Step]>,
    /// The one member of the data that it names: the usual path.
    pub(crate) member: Option<Symbol>,
    /// Whether it follows names and indices of the data itself: nearly every path.
    pub(crate) plain: bool,
    /// Whether it is followed step by step: it names at most one value, and makes none.
    pub(crate) definite: bool,
    /// Whether its last step takes several members together into an object of their own.
    pub(crate) merges: Option<Merging>,
    /// As written, for error texts.
    pub(crate) text: Box<str>,
}

impl PathCode {
    /// The member that is the first step, if it is one.
    pub(crate) fn first(&self) -> Symbol {
        match self.steps.first() {
            Some(Step::Member(symbol)) => *symbol,
            _ => Symbol::NONE,
        }
    }

    /// Whether it is the execution's name, and nothing below it.
    pub(crate) fn is_name(&self) -> bool {
        self.root == PathRoot::Context(ContextField::ExecutionName) && self.steps.is_empty() && self.definite
    }
}

/// How a path ends that takes several members together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merging {
    /// One object.
    One,
    /// An array of such objects.
    Many,
}

/// What a path starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathRoot {
    /// `$`: the register that the op works on.
    Data,
    /// A field of the Context Object.
    Context(ContextField),
    /// A variable.
    Variable(VariableId),
    /// A variable that no state in sight assigns.
    Unassigned,
}

impl PathRoot {
    /// Whether the root's value is made in cells when it is asked for.
    pub(crate) fn takes_cells(self) -> bool {
        use ContextField as F;
        match self {
            Self::Data | Self::Variable(_) | Self::Unassigned => false,
            Self::Context(field) => matches!(field, F::Whole | F::Execution | F::State | F::StateMachine | F::Map | F::MapItem),
        }
    }
}

/// A variable as a state refers to it: so many scopes outwards, the number in that scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VariableId {
    pub(crate) scopes_out: u16,
    pub(crate) index: u32,
}

/// The fields of spec/asl.md 4 that a path may start with; made only when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContextField {
    /// `$$`
    Whole,
    Execution,
    ExecutionId,
    ExecutionInput,
    ExecutionName,
    ExecutionRoleArn,
    ExecutionStartTime,
    ExecutionRedriveCount,
    State,
    StateEnteredTime,
    StateName,
    StateRetryCount,
    StateMachine,
    StateMachineId,
    StateMachineName,
    Map,
    MapItem,
    MapItemIndex,
    MapItemValue,
    /// A field that the Context Object does not have.
    Missing,
}

/// One step of a compiled path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Member(Symbol),
    Index(i64),
    Wildcard,
    Descend,
    Slice { start: Option<i64>, end: Option<i64> },
    Indices(Box<[i64]>),
    Members(Box<[Symbol]>),
    Filter(Box<FilterCode>),
}

/// A compiled filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FilterCode {
    Or(Box<[FilterCode]>),
    And(Box<[FilterCode]>),
    Not(Box<FilterCode>),
    Exists(Box<[Step]>),
    Compare(FilterSide, crate::hir::FilterOperator, FilterSide),
}

/// One side of a comparison in a filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FilterSide {
    Item(Box<[Step]>),
    Constant(ConstantId),
}

/// A node of a payload template.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    Constant(ConstantId),
    /// Members `first..first + count` of the member pool; their keys, quotes, colons and commas and the braces take `frame` bytes.
    Object {
        first: u32,
        count: u32,
        frame: u32,
    },
    /// The same where no member's value takes cells when it is made, so that the pairs can be appended as they come.
    Record {
        first: u32,
        count: u32,
        frame: u32,
    },
    /// Nodes `first..first + count` of the node pool.
    Array {
        first: u32,
        count: u32,
    },
    /// A path; `field` indexes the texts.
    Path {
        path: PathId,
        field: u32,
    },
    /// A call of an intrinsic function; `field` indexes the texts.
    Intrinsic {
        call: IntrinsicId,
        field: u32,
    },
}

/// How the usual template is filled in without a look at its nodes: an object of constants, of paths on the data, and of the execution's name.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its keys and values, with null in the places of those that are to be found.
    pub(crate) cells: Box<[Value]>,
    pub(crate) paths: Box<[Filling]>,
    /// The cells that take the execution's name.
    pub(crate) names: Box<[u32]>,
    /// Bytes of all but what is to be found.
    pub(crate) size: u64,
    /// Levels of the constants.
    pub(crate) depth: u16,
    /// Members.
    pub(crate) pairs: u32,
    /// The object where only scalars are to be found, but for where it lies and its bytes.
    pub(crate) object: Value,
}

/// A call of an intrinsic function.
#[derive(Debug, Clone)]
pub(crate) struct IntrinsicCode {
    pub(crate) function: Function,
    /// Arguments `first..first + count` of the argument pool.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The template of a Format, if it is a literal that fits the arguments.
    pub(crate) format: Option<FormatCode>,
    /// As written, for error texts.
    pub(crate) text: Box<str>,
}

/// A template of `States.Format`, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct FormatCode {
    /// The texts before, between and behind the placeholders, as the insides of JSON strings.
    pub(crate) pieces: Box<[Box<[u8]>]>,
    /// Whether the template holds escapes.
    pub(crate) escaped: bool,
}

/// An argument of such a call; a nested call stands before the one it is an argument of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ArgumentCode {
    Constant(ConstantId),
    Path(PathId),
    Call(IntrinsicId),
}

/// A result path.
#[derive(Debug, Clone)]
pub(crate) struct MergeCode {
    pub(crate) steps: Box<[Step]>,
    /// The member, where the path is just one: the usual case.
    pub(crate) member: Option<Name>,
    /// Whether the state's input is dead behind it, because neither a retrier nor a catcher can ask for it again.
    pub(crate) is_last_use: bool,
    /// As written, for error texts.
    pub(crate) text: Box<str>,
}

/// A Choice test.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// `Variable`
    pub(crate) path: PathId,
    /// The member that is the first step of the path, if it is one.
    pub(crate) first: Symbol,
    pub(crate) quick: QuickCheck,
    pub(crate) check: Check,
}

impl Test {
    pub(crate) fn new(path: PathId, first: Symbol, check: Check) -> Self {
        let quick = match &check {
            Check::NumberWith(_, _, first, last) => QuickCheck::of_range(*first, *last),
            Check::StringIs(_, literal, false) => QuickCheck::of_literal(*literal),
            _ => QuickCheck::None,
        };
        Self { path, first, quick, check }
    }
}

/// The two most frequent checks, made ready for the text of a scalar of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuickCheck {
    /// Another one.
    None,
    /// Integers of up to eight digits, as [`short_digits`](crate::value::number::short_digits) reads them, from `least` to `least + width`.
    Digits { least: u64, width: u64 },
    /// A string without escapes: length and kind of its span, and its first 16 bytes with what is to be seen of them.
    Text { packed: u32, words: [u64; 2], masks: [u64; 2] },
}

impl QuickCheck {
    fn of_range(first: i64, last: i64) -> Self {
        let least = u64::try_from(first).unwrap_or(0);
        match u64::try_from(last) {
            Ok(last) if least <= last && least <= DIGITS_MAX => {
                let least = one_a_byte(least);
                Self::Digits { least, width: one_a_byte(last.min(DIGITS_MAX)) - least }
            }
            // Nothing is between these: no digits are that many.
            _ => Self::Digits { least: u64::MAX, width: 0 },
        }
    }

    fn of_literal(literal: Literal) -> Self {
        let Some(text) = literal.text() else { return Self::None };
        let mask = u128::MAX >> (128 - 8 * literal.len);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
        let halves = |word: u128| [word as u64, (word >> 64) as u64];
        Self::Text { packed: Span::packed(literal.len as usize, Kind::String), words: halves(text), masks: halves(mask) }
    }
}

/// The greatest integer of eight digits.
const DIGITS_MAX: u64 = 99_999_999;

/// Decimal digits, one a byte, the last one in the lowest.
fn one_a_byte(value: u64) -> u64 {
    let (mut rest, mut digits) = (value, 0);
    for at in 0..8 {
        digits |= (rest % 10) << (8 * at);
        rest /= 10;
    }
    digits
}

/// What a test asks of its variable.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// `StringEquals` with a literal, the most frequent test of all, and whether that holds escapes.
    StringIs(ConstantId, Literal, bool),
    /// A numeric comparison with a literal that fits 18 digits: an integer passes when it is between the last two, both included.
    NumberWith(Comparison, i64, i64, i64),
    String(Comparison, Side),
    Number(Comparison, Side),
    Boolean(Side),
    /// A literal instant is read at compile time.
    TimeWith(Comparison, Instant),
    TimeAt(Comparison, PathId),
    Matches(Box<[Box<str>]>),
    Is(TypeTest, bool),
}

/// The right-hand side of a test.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Constant(ConstantId),
    Path(PathId),
}

/// StringEquals rules on one path: the first rule with the variable's text wins.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    pub(crate) path: PathId,
    /// The member that is the first step of the path, if it is one.
    pub(crate) first: Symbol,
    /// The literals, all different, with the ops they lead to.
    pub(crate) cases: Box<[(ConstantId, OpId)]>,
    /// Open-addressed, by hash of the raw text with its quotes; a power of two large, at most a quarter full. Filled in when the constants are known.
    pub(crate) table: Box<[SwitchEntry]>,
    /// Whether a literal holds escapes, so that strings that look different can be equal.
    pub(crate) escaped: bool,
}

/// An Assign: the template of an object with a member for each variable, and the variables' numbers in the state's scope.
#[derive(Debug, Clone)]
pub(crate) struct AssignCode {
    pub(crate) node: NodeId,
    pub(crate) targets: Box<[u32]>,
}

/// The time a Wait waits for.
#[derive(Debug, Clone)]
pub(crate) enum WaitCode {
    Seconds(u32),
    SecondsPath(PathId),
    Timestamp(Instant),
    TimestampPath(PathId),
}

/// A Task.
#[derive(Debug, Clone)]
pub(crate) struct CallCode {
    pub(crate) resource: ResourceId,
    pub(crate) timeout: Option<SecondsCode>,
    pub(crate) heartbeat: Option<SecondsCode>,
    /// The role of `Credentials`.
    pub(crate) role_arn: Option<NodeId>,
    /// What the paths of these read: the state's InputPath once more, because `cur` is what Parameters made by then.
    pub(crate) input: InputCode,
    /// The name that a result over the limit is reported under.
    pub(crate) result_name: Box<str>,
}

/// How a state's effective input is found in its raw one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InputCode {
    /// It is the raw one.
    Whole,
    /// By InputPath.
    Path(PathId),
    /// InputPath is null.
    Empty,
}

/// A number of seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SecondsCode {
    Literal(u32),
    Path(PathId),
}

/// A Parallel: where each branch starts.
#[derive(Debug, Clone)]
pub(crate) struct ForkCode {
    pub(crate) branches: Box<[OpId]>,
}

/// A Map.
#[derive(Debug, Clone)]
pub(crate) struct MapCode {
    pub(crate) start: OpId,
    pub(crate) items: Option<PathId>,
    pub(crate) selector: Option<NodeId>,
    pub(crate) concurrency: ConcurrencyCode,
}

/// MaxConcurrency.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConcurrencyCode {
    Literal(u32),
    Path(PathId),
}

/// A Fail.
#[derive(Debug, Clone)]
pub(crate) struct FailCode {
    pub(crate) error: Option<FailSide>,
    pub(crate) cause: Option<FailSide>,
}

/// `Error`/`Cause` or their paths.
#[derive(Debug, Clone)]
pub(crate) enum FailSide {
    Literal(Box<str>),
    Path(PathId),
    Intrinsic(IntrinsicId),
}

/// What is known of each state while it runs.
#[derive(Debug, Clone)]
pub(crate) struct StateCode {
    pub(crate) name: Box<str>,
    pub(crate) kind: StateType,
    /// Where its code starts, with its Enter.
    pub(crate) entry: OpId,
    pub(crate) retriers: Box<[RetryCode]>,
    pub(crate) catchers: Box<[CatchCode]>,
}

/// The eight types, as history events name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateType {
    /// `Pass`
    Pass,
    /// `Task`
    Task,
    /// `Choice`
    Choice,
    /// `Wait`
    Wait,
    /// `Succeed`
    Succeed,
    /// `Fail`
    Fail,
    /// `Parallel`
    Parallel,
    /// `Map`
    Map,
}

impl StateType {
    /// The spelling of the `Type` field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Task => "Task",
            Self::Choice => "Choice",
            Self::Wait => "Wait",
            Self::Succeed => "Succeed",
            Self::Fail => "Fail",
            Self::Parallel => "Parallel",
            Self::Map => "Map",
        }
    }
}

/// A retrier.
#[derive(Debug, Clone)]
pub(crate) struct RetryCode {
    pub(crate) errors: Box<[Box<str>]>,
    pub(crate) interval_ms: u64,
    pub(crate) attempts_max: u32,
    pub(crate) backoff_rate: f64,
    pub(crate) delay_ms_max: Option<u64>,
    pub(crate) full_jitter: bool,
}

/// A catcher: its code merges the Error Output and leaves the state.
#[derive(Debug, Clone)]
pub(crate) struct CatchCode {
    pub(crate) errors: Box<[Box<str>]>,
    pub(crate) entry: OpId,
}

/// A string literal as it is compared with: quotes included, its first and last bytes as words, so that most comparisons touch no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Literal {
    first: u64,
    last: u64,
    /// Bytes of the text; 0 marks a free entry of a switch.
    pub(crate) len: u32,
}

impl Literal {
    /// Texts up to this length are equal when their literals are.
    pub(crate) const WHOLE_MAX: u32 = 16;

    /// Takes a string's text, quotes included, so at least two bytes.
    #[inline]
    pub(crate) fn new(text: &[u8]) -> Self {
        let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(first), Some(last), ..) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            (.., Some(first), Some(last)) => (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last))),
            // The quotes are known: what is left is at most the one byte between them.
            _ => (text.get(1).map_or(0, |&byte| u64::from(byte)), 0),
        };
        #[expect(clippy::cast_possible_truncation, reason = "texts are at most 2^24 bytes long")]
        let len = text.len() as u32;
        Self { first, last, len }
    }

    /// The text in the lowest bytes of a word, where the literal tells all of it.
    fn text(self) -> Option<u128> {
        let (first, last) = (u128::from(self.first), u128::from(self.last));
        match self.len {
            2..4 => Some(u128::from(b'"') | first << 8 | u128::from(b'"') << (8 * (self.len - 1))),
            4..8 => Some(first | last << (8 * (self.len - 4))),
            8..=Self::WHOLE_MAX => Some(first | last << (8 * (self.len - 8))),
            _ => None,
        }
    }

    /// For a switch's table.
    #[inline]
    pub(crate) fn hash(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ u64::from(self.len)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (mixed >> 32) as usize
    }
}

/// A place in a switch's table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwitchEntry {
    pub(crate) literal: Literal,
    pub(crate) constant: ConstantId,
    pub(crate) target: OpId,
}

impl Default for SwitchEntry {
    fn default() -> Self {
        Self { literal: Literal::default(), constant: ConstantId(0), target: OpId(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Literal, QuickCheck};
    use crate::value::number::short_digits;

    #[test]
    fn words_of_literals_are_their_texts() {
        for text in [&b"\"\""[..], b"\"a\"", b"\"ab\"", b"\"abcde\"", b"\"abcdef\"", b"\"abcdefg\"", b"\"abcdefghijklmn\""] {
            let bytes = Literal::new(text).text().unwrap().to_le_bytes();
            assert_eq!((&bytes[..text.len()], bytes[text.len()..].iter().any(|byte| *byte > 0)), (text, false));
        }
        assert_eq!(Literal::new(b"\"abcdefghijklmno\"").text(), None);
    }

    #[test]
    fn ranges_of_digits_hold_what_ranges_of_integers_hold() {
        let bounds = [i64::MIN, -20, -1, 0, 1, 9, 10, 19, 20, 21, 99, 100, 12_345_678, 99_999_998, 99_999_999, 100_000_000, i64::MAX];
        let values = [0, 1, 8, 9, 10, 11, 18, 19, 20, 21, 22, 98, 99, 100, 101, 1_000, 12_345_677, 12_345_678, 12_345_679, 99_999_998, 99_999_999];
        for first in bounds {
            for last in bounds {
                let QuickCheck::Digits { least, width } = QuickCheck::of_range(first, last) else { panic!("ranges are told by digits") };
                for value in values {
                    let text = format!("{value:<8}");
                    let digits = short_digits(text.as_bytes().first_chunk().unwrap(), value.to_string().len().try_into().unwrap()).unwrap();
                    assert_eq!(digits.wrapping_sub(least) <= width, (first..=last).contains(&value), "{value} in {first}..={last}");
                }
            }
        }
    }

    #[test]
    fn short_texts_are_equal_when_their_literals_are() {
        let texts: Vec<Vec<u8>> = (2..=20)
            .flat_map(|len: usize| (1..len - 1).map(move |changed| (len, Some(changed))).chain([(len, None)]))
            .map(|(len, changed)| {
                (0..len)
                    .map(|at| {
                        if at == 0 || at == len - 1 {
                            b'"'
                        } else if Some(at) == changed {
                            b'x'
                        } else {
                            b'a'
                        }
                    })
                    .collect()
            })
            .collect();
        for a in &texts {
            for b in texts.iter().filter(|b| b.len() <= Literal::WHOLE_MAX as usize) {
                assert_eq!(Literal::new(a) == Literal::new(b), a == b, "{} {}", a.escape_ascii(), b.escape_ascii());
            }
        }
    }
}
