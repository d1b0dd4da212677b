//! A program as text, for people and golden tests: one line an op, operands spelled out.

use std::fmt::Write as _;

use super::Program;
use super::op::{ConstantId, IntrinsicId, NodeId, Op, PathId};
use super::pool::{Check, ConcurrencyCode, FailSide, Node, SecondsCode, Side, WaitCode};

/// Prints `program`.
pub(super) fn print(program: &Program) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        let written = out.write_fmt(text);
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        out.push('\n');
    };
    line(format_args!("program {} version {} type {:?}", program.state_machine(), program.version(), program.workflow_type));
    line(format_args!("entry {}", program.entry.0));
    for (at, op) in program.ops.iter().enumerate() {
        if let Op::Enter { state } | Op::Pass { state, .. } = op {
            line(format_args!("{} {}:", program.states[state.0 as usize].kind.as_str(), program.state_name(*state)));
        }
        line(format_args!("{at:5}  {}", print_op(program, op)));
    }
    for state in &program.states {
        for retrier in &state.retriers {
            line(format_args!(
                "retry {} on {:?} after {} ms x {} at most {} times, delay at most {:?} ms, full jitter {}",
                state.name, retrier.errors, retrier.interval_ms, retrier.backoff_rate, retrier.attempts_max, retrier.delay_ms_max, retrier.full_jitter
            ));
        }
        for catcher in &state.catchers {
            line(format_args!("catch {} on {:?} -> {}", state.name, catcher.errors, catcher.entry.0));
        }
    }
    out
}

fn path(program: &Program, id: PathId) -> &str {
    &program.path(id).text
}

fn intrinsic(program: &Program, id: IntrinsicId) -> &str {
    &program.pools.intrinsics[id.index()].text
}

fn constant(program: &Program, id: ConstantId) -> String {
    String::from_utf8_lossy(program.constants.raw(program.constant_tokens[id.index()])).into_owned()
}

fn print_op(program: &Program, op: &Op) -> String {
    let pools = &program.pools;
    match *op {
        Op::Enter { state } => format!("enter {}", state.0),
        Op::Pass { state, next, count } => format!("pass {} ({count} on -> {})", state.0, next.0),
        Op::Input { path: id } => format!("input {}", path(program, id)),
        Op::Output { path: id } => format!("output {}", path(program, id)),
        Op::Empty => "empty".to_owned(),
        Op::Build { node } => format!("build {}", root(program, node)),
        Op::Constant { constant: id } => format!("constant {}", constant(program, id)),
        Op::Merge { target } => format!("merge {}", pools.merges[target.index()].text),
        Op::Discard => "discard".to_owned(),
        Op::Assign { assign } => format!("assign {}", root(program, pools.assigns[assign.index()].node)),
        Op::Commit { assign } => format!("commit {:?}", pools.assigns[assign.index()].targets),
        Op::Exit { next } => format!("exit -> {}", next.0),
        Op::Finish => "finish".to_owned(),
        Op::Test { test, then, otherwise } => {
            let test = &pools.tests[test.index()];
            format!("test {} {} -> {} else {}", path(program, test.path), check(program, &test.check), then.0, otherwise.0)
        }
        Op::Switch { switch, otherwise } => {
            let switch = &pools.switches[switch.index()];
            let cases: Vec<String> = switch.cases.iter().map(|(id, target)| format!("{} -> {}", constant(program, *id), target.0)).collect();
            format!("switch {} {} else {}", path(program, switch.path), cases.join(", "), otherwise.0)
        }
        Op::NoMatch => "no-match".to_owned(),
        Op::Wait { wait } => format!("wait {}", wait_text(program, &pools.waits[wait.index()])),
        Op::Call { call } => {
            let call = &pools.calls[call.index()];
            let seconds = |what: &str, seconds: Option<SecondsCode>| match seconds {
                None => String::new(),
                Some(SecondsCode::Literal(seconds)) => format!(" {what} {seconds} s"),
                Some(SecondsCode::Path(id)) => format!(" {what} {} s", path(program, id)),
            };
            let role = call.role_arn.map_or_else(String::new, |node| format!(" as {}", root(program, node)));
            let (timeout, heartbeat) = (seconds("timeout", call.timeout), seconds("heartbeat", call.heartbeat));
            format!("call {}{timeout}{heartbeat}{role}", program.resources[call.resource.0 as usize].arn)
        }
        Op::Fork { fork } => format!("fork {:?}", pools.forks[fork.index()].branches.iter().map(|branch| branch.0).collect::<Vec<_>>()),
        Op::Map { map } => {
            let map = &pools.maps[map.index()];
            let items = map.items.map_or("$", |id| path(program, id));
            let selector = map.selector.map_or_else(String::new, |node| format!(" select {}", root(program, node)));
            let limit = match map.concurrency {
                ConcurrencyCode::Literal(limit) => limit.to_string(),
                ConcurrencyCode::Path(id) => path(program, id).to_owned(),
            };
            format!("map {items}{selector} concurrency {limit} -> {}", map.start.0)
        }
        Op::Fail { fail } => {
            let fail = &pools.fails[fail.index()];
            let side = |side: &Option<FailSide>| match side {
                None => "-".to_owned(),
                Some(FailSide::Literal(text)) => format!("{text:?}"),
                Some(FailSide::Path(id)) => path(program, *id).to_owned(),
                Some(FailSide::Intrinsic(id)) => intrinsic(program, *id).to_owned(),
            };
            format!("fail {} {}", side(&fail.error), side(&fail.cause))
        }
    }
}

fn wait_text(program: &Program, wait: &WaitCode) -> String {
    match wait {
        WaitCode::Seconds(seconds) => format!("{seconds} s"),
        WaitCode::SecondsPath(id) => format!("{} s", path(program, *id)),
        WaitCode::Timestamp(instant) => format!("until {}.{:09}", instant.seconds, instant.nanos),
        WaitCode::TimestampPath(id) => format!("until {}", path(program, *id)),
    }
}

fn check(program: &Program, check: &Check) -> String {
    let side = |side: &Side| match *side {
        Side::Constant(id) => constant(program, id),
        Side::Path(id) => path(program, id).to_owned(),
    };
    match check {
        Check::StringIs(id, ..) => format!("string-is {}", constant(program, *id)),
        Check::NumberWith(comparison, literal, ..) => format!("number {comparison:?} {literal}"),
        Check::String(comparison, operand) => format!("string {comparison:?} {}", side(operand)),
        Check::Number(comparison, operand) => format!("number {comparison:?} {}", side(operand)),
        Check::Boolean(operand) => format!("boolean {}", side(operand)),
        Check::TimeWith(comparison, instant) => format!("time {comparison:?} {}.{:09}", instant.seconds, instant.nanos),
        Check::TimeAt(comparison, id) => format!("time {comparison:?} {}", path(program, *id)),
        Check::Matches(pieces) => format!("matches {pieces:?}"),
        Check::Is(test, expected) => format!("is {test:?} {expected}"),
    }
}

fn root(program: &Program, id: NodeId) -> String {
    node(program, &program.pools.nodes[id.index()])
}

fn node(program: &Program, what: &Node) -> String {
    match *what {
        Node::Constant(id) => constant(program, id),
        Node::Path { path: id, .. } => path(program, id).to_owned(),
        Node::Intrinsic { call, .. } => intrinsic(program, call).to_owned(),
        Node::Array { first, count } => {
            let nodes = &program.pools.nodes[first as usize..(first + count) as usize];
            format!("[{}]", nodes.iter().map(|inner| node(program, inner)).collect::<Vec<_>>().join(", "))
        }
        Node::Object { first, count, .. } | Node::Record { first, count, .. } => {
            let members = &program.pools.members[first as usize..(first + count) as usize];
            let members: Vec<String> =
                members.iter().map(|(key, inner)| format!("{}: {}", program.symbols.name(key.key_symbol()), node(program, inner))).collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}
