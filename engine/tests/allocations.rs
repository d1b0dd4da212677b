//! After warm-up an execution allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use expressway_engine::{Budget, Effect, EffectId, Effects, Program, Reply, Shapes, Silent, Slot, Step};

use crate::support::{START, program, start};

thread_local! {
    /// Allocations of this thread; the test harness runs others beside it.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "a global allocator that counts cannot be written without")]
// SAFETY: every call goes to the system allocator unchanged; counting touches only a thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`, and the block came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Answers a task from its input and the number of the attempt.
type Task = fn(&[u8], u32) -> Reply<'static>;

/// Runs an execution to its end; timers elapse at once.
fn execute(program: &Program, slot: &mut Slot, shapes: &mut Shapes, input: &str, task: Task, effects: &mut Effects, out: &mut Vec<u8>) {
    slot.start_with(program, input.as_bytes(), &start(), shapes).expect("a valid input");
    out.clear();
    let mut now = START;
    loop {
        match slot.run(program, now, Budget::default(), effects, &mut Silent) {
            Step::Succeeded => return slot.write_output(program, out),
            Step::Failed => return out.extend_from_slice(slot.failure().error.unwrap_or("no name").as_bytes()),
            Step::Suspended => {}
            step => panic!("{step:?}"),
        }
        for effect in &effects.list {
            match *effect {
                Effect::Call { id, attempt, ref input, .. } => {
                    slot.resume(program, id, task(&effects.bytes[input.clone()], attempt));
                }
                Effect::Sleep { id, until } if id.strand != EffectId::DEADLINE => {
                    now = now.max(until);
                    slot.resume(program, id, Reply::Elapsed);
                }
                Effect::Sleep { .. } | Effect::Cancel { .. } => {}
            }
        }
        effects.clear();
    }
}

/// Runs each input many times; none may allocate, and the last execution of the last one ends with `expected`.
#[track_caller]
fn check_with(definition: &str, inputs: &[&str], task: Task, expected: &str) {
    for shapes in [Shapes::off(), Shapes::new()] {
        check_shapes(shapes, definition, inputs, task, expected);
    }
}

#[track_caller]
fn check_shapes(mut shapes: Shapes, definition: &str, inputs: &[&str], task: Task, expected: &str) {
    let program = program(definition);
    let (mut slot, mut effects, mut out) = (Slot::new(0), Effects::default(), Vec::new());
    let mut pass = || inputs.iter().for_each(|input| execute(&program, &mut slot, &mut shapes, input, task, &mut effects, &mut out));
    pass();
    pass();
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..100 {
        pass();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "allocations in {} executions", 100 * inputs.len());
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

/// The same without tasks.
#[track_caller]
fn check(definition: &str, inputs: &[&str], expected: &str) {
    check_with(definition, inputs, |input, _| panic!("nothing is called: {}", input.escape_ascii()), expected);
}

#[test]
fn variables_allocate_nothing() {
    let definition = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Assign":{"n":0,"all.$":"$","o":{"b.$":"$.battery"}},"Next":"B"},
        "B":{"Type":"Pass","Assign":{"n.$":"States.MathAdd($n, $o.b)"},"ResultPath":null,"Next":"P"},
        "P":{"Type":"Parallel","Branches":[{"StartAt":"X","States":{"X":{"Type":"Pass","Assign":{"x.$":"$n"},"Next":"Y"},"Y":{"Type":"Pass","InputPath":"$x","End":true}}},
            {"StartAt":"Z","States":{"Z":{"Type":"Pass","InputPath":"$all.id","End":true}}}],"Next":"C"},
        "C":{"Type":"Choice","Choices":[{"Variable":"$n","NumericGreaterThan":50,"Assign":{"o":1},"Next":"D"}],"Default":"D"},
        "D":{"Type":"Pass","Parameters":{"n.$":"$n","o.$":"$o","all.$":"$all"},"End":true}}}"#;
    check(definition, &[r#"{"battery":7,"id":"a"}"#, r#"{"battery":70,"id":"b"}"#], r#"{"n":70,"o":1,"all":{"battery":70,"id":"b"}}"#);
}

#[test]
fn the_heartbeat_workflow_allocates_nothing() {
    let message = |kind: &str, battery: u32| {
        format!(
            r#"{{"deviceId":"dev-000123","type":"{kind}","ts":"2026-11-20T12:00:00Z","battery":{battery},"rssi":-71,"fw":"1.4.2","seq":123456,"site":{{"id":"s-17","zone":"b"}},"metrics":{{"cpu":0.31,"mem":0.62,"temp":41.5}}}}"#
        )
    };
    let inputs = [message("heartbeat", 57), message("alert", 7), message("unknown", 1)];
    check(include_str!("../../configs/definitions/heartbeat.asl.json"), &inputs.each_ref().map(String::as_str), "UnknownType");
}

#[test]
fn map_and_parallel_allocate_nothing() {
    check(
        r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","ResultPath":"$.out","End":true,"Branches":[
            {"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$.xs","MaxConcurrency":2,"ItemSelector":{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value"},
                "ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"End":true}}},
            {"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"all.$":"$.xs[*].a"},"End":true}}}]}}}"#,
        &[r#"{"xs":[{"a":1},{"a":2},{"b":3},{"a":4}]}"#],
        r#"{"xs":[{"a":1},{"a":2},{"b":3},{"a":4}],"out":[[{"i":0,"v":{"a":1}},{"i":1,"v":{"a":2}},{"i":2,"v":{"b":3}},{"i":3,"v":{"a":4}}],{"all":[1,2,4]}]}"#,
    );
}

#[test]
fn the_alert_workflow_allocates_nothing() {
    check(
        include_str!("../../configs/definitions/alert.asl.json"),
        &[r#"{"type":"alert","deviceId":"d-1","ts":"t","site":{"id":"s-1"},"readings":[{"temp":81.5},{"temp":60},{"temp":20}]}"#],
        concat!(
            r#"{"type":"alert","deviceId":"d-1","ts":"t","site":{"id":"s-1"},"readings":[{"temp":81.5},{"temp":60},{"temp":20}],"judgement":{"summary":{"device":"d-1","at":"t","site":"s-1","execution":"execution"},"#,
            r#""readings":[{"index":0,"reading":{"temp":81.5},"device":"d-1","level":"critical"},{"index":1,"reading":{"temp":60},"device":"d-1","level":"warning"},{"index":2,"reading":{"temp":20},"device":"d-1","level":"normal"}]}}"#
        ),
    );
}

#[test]
fn tasks_with_retry_and_catch_allocate_nothing() {
    let task: Task = |input, attempt| {
        if !input.starts_with(br#"{"times""#) {
            return Reply::Success(br#"{"certificate":"issued"}"#);
        }
        match attempt {
            // The first time-out is retried like an error of the task.
            0 => Reply::TimedOut,
            1 => Reply::Failure { error: "RegistryUnreachable", cause: Some("no answer") },
            _ if input.starts_with(br#"{"times":9"#) => Reply::Failure { error: "RegistryUnreachable", cause: None },
            _ => Reply::Success(br#"{"owner":"fleet-7"}"#),
        }
    };
    check_with(
        include_str!("../../configs/definitions/registration.asl.json"),
        &[r#"{"deviceId":"d-1","unreachable":2}"#, r#"{"deviceId":"d-2","unreachable":9}"#],
        task,
        r#"{"deviceId":"d-2","registered":false,"reason":"RegistryUnreachable"}"#,
    );
}

#[test]
fn transitions_and_choices_allocate_nothing() {
    let mut definition = String::from(r#"{"StartAt":"S0","States":{"#);
    for state in 0..20 {
        let (this, next) = (state * 4, state * 4 + 4);
        let [b, c, d] = [1, 2, 3].map(|offset| this + offset);
        definition += &format!(
            r#""S{this}":{{"Type":"Pass","Next":"S{b}"}},"S{b}":{{"Type":"Pass","Result":{{"n":{state}}},"ResultPath":"$.x","Next":"S{c}"}},
            "S{c}":{{"Type":"Pass","Parameters":{{"a.$":"$.id","b.$":"$.x.n"}},"ResultPath":"$.y{state}","Next":"S{d}"}},
            "S{d}":{{"Type":"Choice","Choices":[{{"Variable":"$.t","NumericGreaterThan":30,"Next":"S{next}"}}],"Default":"S{next}"}},"#
        );
    }
    let rules: Vec<String> = (0..20).map(|rule| format!(r#"{{"Variable":"$.id","StringEquals":"id-{rule}","Next":"E"}}"#)).collect();
    definition +=
        &format!(r#""S80":{{"Type":"Choice","Choices":[{}],"Default":"E"}},"E":{{"Type":"Pass","InputPath":"$.y19","End":true}}}}}}"#, rules.join(","));
    check(&definition, &[r#"{"id":"id-7","t":41.5}"#, r#"{"id":"other","t":7}"#], r#"{"a":"other","b":19}"#);
}

#[test]
fn a_map_with_functions_and_the_context_object_allocates_nothing() {
    check(
        r#"{"StartAt":"M","States":{
            "M":{"Type":"Map","ItemsPath":"$.items","ResultPath":"$.out","ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass",
                "Parameters":{"v.$":"States.MathAdd($.n, 1)","s.$":"States.Format('item-{} of {}', $.n, $$.State.Name)"},"End":true}}},"Next":"C"},
            "C":{"Type":"Pass","Parameters":{"out.$":"$.out[1]","id.$":"$$.Execution.Id","all.$":"$$.Execution","at.$":"$$.State.EnteredTime","machine.$":"$$.StateMachine"},"Next":"D"},
            "D":{"Type":"Pass","InputPath":"$.out","End":true}}}"#,
        &[r#"{"items":[{"n":1},{"n":22},{"n":333.5}]}"#],
        r#"{"v":23,"s":"item-22 of I"}"#,
    );
}

/// A message in one of many shapes, an order of members and a style of whitespace, with a value of its own.
fn shaped(shape: usize, value: usize) -> String {
    let names = ["deviceId", "type", "ts", "battery", "firmware-version-of-the-second-processor", "x", "site", "list"];
    let count = names.len();
    let members = (0..count).map(|at| {
        let name = names[(at * [1, 3, 5, 7][shape % 4] + shape / 4) % count];
        let value = match name {
            "type" => "\"heartbeat\"".to_owned(),
            "site" => format!("{{\"id\": {value},\"zone\":null}}"),
            "list" => format!("[{}]", vec!["7"; shape / 32 % 13].join(", ")),
            _ if at % 2 == 0 => value.to_string(),
            _ => format!("\"text {value}\""),
        };
        format!("\"{name}\"{}{value}", if shape.is_multiple_of(3) { ": " } else { ":" })
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(if shape.is_multiple_of(5) { ", " } else { "," }))
}

/// Messages in turns, as many shapes of them as are kept, or a stream that moves on: learning has its room, and gives what is evicted to what is learned.
#[test]
fn a_thousand_shapes_and_more_allocate_nothing() {
    let program = program(include_str!("../../configs/definitions/heartbeat.asl.json"));
    let messages: Vec<String> = (0..4_000).map(|shape| shaped(shape, shape * 7)).collect();
    for (count, step) in [(1_000, 0), (900, 50)] {
        let (mut shapes, mut slot, mut effects, mut out) = (Shapes::new(), Slot::new(0), Effects::default(), Vec::new());
        let mut pass = |shapes: &mut Shapes, number: usize| {
            for message in &messages[number * step..number * step + count] {
                execute(&program, &mut slot, shapes, message, |_, _| unreachable!("nothing is called"), &mut effects, &mut out);
            }
        };
        (0..30).for_each(|number| pass(&mut shapes, number));
        let (before, learned) = (ALLOCATIONS.with(Cell::get), shapes.counts().learned);
        (30..50).for_each(|number| pass(&mut shapes, number));
        let held = shapes.capacity_bytes();
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{count} shapes: {:?}, {held} bytes", shapes.counts());
        assert_eq!(shapes.counts().learned > learned, step > 0, "{:?}", shapes.counts());
        assert!(held < 3 << 20, "{held} bytes for {} shapes", shapes.len());
    }
}
