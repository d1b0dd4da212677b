//! Rule trees → compare-and-branch.

use super::emit::{Emitter, Label, next_id};
use crate::hir::{Choice, ChoiceRule, Comparison, Condition, Operand, Operator, Path, State};
use crate::program::op::{ConstantId, Op, OpId, SwitchId, TestId};
use crate::program::pool::{Check, Literal, Side, Switch, Test};
use crate::value::{number, time};

/// From so many StringEquals rules on one path a hash switch is cheaper than the tests (measured: about 25 ns against 5 ns a test).
const SWITCH_RULES_MIN: usize = 4;

impl Emitter<'_> {
    pub(super) fn choice(&mut self, choice: &Choice, state: &State) {
        let targets: Vec<Label> = choice.rules.iter().map(|_| self.label()).collect();
        let none = self.label();
        let mut at = 0;
        while at < choice.rules.len() {
            let run = switch_run(&choice.rules[at..]);
            let taken = if run >= SWITCH_RULES_MIN { run } else { 1 };
            let next = if at + taken == choice.rules.len() { none } else { self.label() };
            if taken > 1 {
                self.switch(&choice.rules[at..at + taken], &targets[at..at + taken], next);
            } else {
                self.condition(&choice.rules[at].condition, targets[at], next, state);
            }
            at += taken;
            if at < choice.rules.len() {
                self.bind(next);
            }
        }
        // One Exit a rule, in their order: observers count them to tell which rule held.
        for (rule, target) in choice.rules.iter().zip(targets) {
            self.bind(target);
            let assign = self.assign(rule.assign.as_ref());
            self.data_path(&state.output_path, false);
            self.commit(assign);
            self.emit(Op::Exit { next: Self::state_label(rule.next).target() });
        }
        self.bind(none);
        match choice.default {
            Some(default) => {
                let assign = self.assign(state.assign.as_ref());
                self.data_path(&state.output_path, false);
                self.commit(assign);
                self.emit(Op::Exit { next: Self::state_label(default).target() });
            }
            None => self.emit(Op::NoMatch),
        }
    }

    /// A run of StringEquals rules; the first of equal literals wins.
    fn switch(&mut self, rules: &[ChoiceRule], targets: &[Label], otherwise: Label) {
        let mut cases: Vec<(ConstantId, OpId)> = Vec::new();
        let mut on = None;
        for (rule, target) in rules.iter().zip(targets) {
            let Some((path, literal)) = string_equals(&rule.condition) else { continue };
            on = Some(self.path(path));
            let constant = self.string_constant(literal);
            if cases.iter().all(|(known, _)| *known != constant) {
                cases.push((constant, target.target()));
            }
        }
        let path = on.expect("a switch has rules");
        let switch = SwitchId(next_id(&self.pools.switches));
        let first = self.pools.paths[path.index()].first();
        self.pools.switches.push(Switch { path, first, cases: cases.into(), table: Box::default(), escaped: false });
        self.emit(Op::Switch { switch, otherwise: otherwise.target() });
    }

    /// Emits tests that end at `then` when the condition holds and at `otherwise` when not; the caller binds what follows.
    fn condition(&mut self, condition: &Condition, then: Label, otherwise: Label, state: &State) {
        match condition {
            Condition::Not(inner) => self.condition(inner, otherwise, then, state),
            Condition::And(conditions) => self.sequence(conditions, |next| (next, otherwise), then, otherwise, state),
            Condition::Or(conditions) => self.sequence(conditions, |next| (then, next), then, otherwise, state),
            Condition::Test { variable, operator } => {
                let path = self.path(variable);
                let Some(check) = self.check(operator) else {
                    return self.refuse("a timestamp of a Choice rule is not an RFC 3339 instant".to_owned(), state);
                };
                let test = TestId(next_id(&self.pools.tests));
                let first = self.pools.paths[path.index()].first();
                self.pools.tests.push(Test::new(path, first, check));
                self.emit(Op::Test { test, then: then.target(), otherwise: otherwise.target() });
            }
        }
    }

    /// The parts of And and Or: all but the last go on to the next part one way and leave the other way.
    fn sequence(&mut self, parts: &[Condition], ways: impl Fn(Label) -> (Label, Label), then: Label, otherwise: Label, state: &State) {
        let Some((last, front)) = parts.split_last() else { return };
        for part in front {
            let next = self.label();
            let (if_true, if_false) = ways(next);
            self.condition(part, if_true, if_false, state);
            self.bind(next);
        }
        self.condition(last, then, otherwise, state);
    }

    fn string_is(&mut self, text: &str) -> Check {
        let mut json = Vec::new();
        crate::document::quote_into(text, &mut json);
        Check::StringIs(self.string_constant(text), Literal::new(&json), json.contains(&b'\\'))
    }

    /// `None` for a timestamp that is none, which lowering has refused.
    fn check(&mut self, operator: &Operator) -> Option<Check> {
        Some(match operator {
            Operator::String(Comparison::Equals, Operand::Literal(text)) => self.string_is(text),
            Operator::String(comparison, Operand::Literal(text)) => Check::String(*comparison, Side::Constant(self.string_constant(text))),
            Operator::String(comparison, Operand::Path(path)) => Check::String(*comparison, Side::Path(self.path(path))),
            Operator::Numeric(comparison, Operand::Literal(text)) => match number::small_integer(text.as_bytes()) {
                Some(literal) => number_with(*comparison, literal),
                None => Check::Number(*comparison, Side::Constant(self.constant(text))),
            },
            Operator::Numeric(comparison, Operand::Path(path)) => Check::Number(*comparison, Side::Path(self.path(path))),
            Operator::Timestamp(comparison, Operand::Literal(text)) => Check::TimeWith(*comparison, time::parse(text)?),
            Operator::Timestamp(comparison, Operand::Path(path)) => Check::TimeAt(*comparison, self.path(path)),
            Operator::Boolean(Operand::Literal(value)) => Check::Boolean(Side::Constant(self.constant(if *value { "true" } else { "false" }))),
            Operator::Boolean(Operand::Path(path)) => Check::Boolean(Side::Path(self.path(path))),
            Operator::StringMatches(pieces) => Check::Matches(pieces.iter().map(|piece| piece.as_str().into()).collect()),
            Operator::Is(test, expected) => Check::Is(*test, *expected),
        })
    }
}

/// A comparison with an integer as a range. The literal has at most 18 digits, so nothing overflows.
fn number_with(comparison: Comparison, literal: i64) -> Check {
    let (first, last) = match comparison {
        Comparison::Equals => (literal, literal),
        Comparison::LessThan => (i64::MIN, literal - 1),
        Comparison::GreaterThan => (literal + 1, i64::MAX),
        Comparison::LessThanEquals => (i64::MIN, literal),
        Comparison::GreaterThanEquals => (literal, i64::MAX),
    };
    Check::NumberWith(comparison, literal, first, last)
}

fn string_equals(condition: &Condition) -> Option<(&Path, &str)> {
    match condition {
        Condition::Test { variable, operator: Operator::String(Comparison::Equals, Operand::Literal(text)) } => Some((variable, text)),
        _ => None,
    }
}

/// How many of the first rules are StringEquals on one path.
fn switch_run(rules: &[ChoiceRule]) -> usize {
    let Some((first, _)) = rules.first().and_then(|rule| string_equals(&rule.condition)) else { return 0 };
    rules.iter().take_while(|rule| string_equals(&rule.condition).is_some_and(|(path, _)| path == first)).count()
}
