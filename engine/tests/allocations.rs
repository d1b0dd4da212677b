//! After warm-up an execution allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use expressway_engine::{Budget, Effects, Program, Shapes, Silent, Slot, Step};

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

fn execute(program: &Program, slot: &mut Slot, shapes: &mut Shapes, input: &str, effects: &mut Effects, out: &mut Vec<u8>) {
    slot.start_with(program, input.as_bytes(), &start(), shapes).expect("a valid input");
    out.clear();
    match slot.run(program, START, Budget::default(), effects, &mut Silent) {
        Step::Succeeded => slot.write_output(program, out),
        Step::Failed => assert_eq!(slot.failure().error, Some("UnknownType")),
        step => panic!("{step:?}"),
    }
}

#[track_caller]
fn check(definition: &str, inputs: &[&str]) {
    for shapes in [Shapes::off(), Shapes::new()] {
        check_with(shapes, definition, inputs);
    }
}

fn check_with(mut shapes: Shapes, definition: &str, inputs: &[&str]) {
    let program = program(definition);
    let (mut slot, mut effects, mut out) = (Slot::new(0), Effects::default(), Vec::new());
    let mut pass = || inputs.iter().for_each(|input| execute(&program, &mut slot, &mut shapes, input, &mut effects, &mut out));
    pass();
    pass();
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..100 {
        pass();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "allocations in {} executions", 100 * inputs.len());
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
    check(definition, &[r#"{"battery":7,"id":"a"}"#, r#"{"battery":70,"id":"b"}"#]);
}

#[test]
fn the_heartbeat_workflow_allocates_nothing() {
    let message = |kind: &str, battery: u32| {
        format!(
            r#"{{"deviceId":"dev-000123","type":"{kind}","ts":"2026-11-20T12:00:00Z","battery":{battery},"rssi":-71,"fw":"1.4.2","seq":123456,"site":{{"id":"s-17","zone":"b"}},"metrics":{{"cpu":0.31,"mem":0.62,"temp":41.5}}}}"#
        )
    };
    let inputs = [message("heartbeat", 57), message("alert", 7), message("unknown", 1)];
    check(include_str!("../../configs/definitions/heartbeat.asl.json"), &inputs.each_ref().map(String::as_str));
}

#[test]
fn map_and_parallel_allocate_nothing() {
    check(
        r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","ResultPath":"$.out","End":true,"Branches":[
            {"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$.xs","MaxConcurrency":2,"ItemSelector":{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value"},
                "ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"End":true}}},
            {"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"all.$":"$.xs[*].a"},"End":true}}}]}}}"#,
        &[r#"{"xs":[{"a":1},{"a":2},{"b":3},{"a":4}]}"#],
    );
}
