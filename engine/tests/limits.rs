//! Every bound of the engine, at it and past it; and that nothing runs for ever.

use expressway_engine::document::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, FaultKind};
use expressway_engine::limits::{CAUSE_CHARS_MAX, ERROR_CHARS_MAX};
use expressway_engine::{Limits, Slot, Step};

use crate::support::{program, program_with, run, run_with, start};

const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;

fn string_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn a_payload_of_262_144_bytes_is_the_largest() {
    let program = program(PASS);
    let mut slot = Slot::new(0);
    assert!(slot.start(&program, string_of(262_144).as_bytes(), &start()).is_ok());
    let fault = slot.start(&program, string_of(262_145).as_bytes(), &start()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge(262_144));
    assert_eq!(fault.to_string(), "text is larger than 262144 bytes");
    let spaced = format!("[{}1]", " ".repeat(300_000));
    assert!(slot.start(&program, spaced.as_bytes(), &start()).is_ok(), "insignificant whitespace does not count");
}

#[test]
fn an_input_that_is_too_large_is_told_the_bound_that_it_is_over() {
    let mut slot = Slot::new(0);
    let refused = |limits: Limits, bytes: usize, slot: &mut Slot| slot.start(&program_with(PASS, limits), string_of(bytes).as_bytes(), &start());
    let wide = Limits { payload_bytes_max: 1_000_000, ..Limits::default() };
    assert!(refused(wide, 1_000_000, &mut slot).is_ok());
    assert_eq!(refused(wide, 1_000_001, &mut slot).unwrap_err().to_string(), "text is larger than 1000000 bytes");
    let boundless = Limits { payload_bytes_max: u32::MAX, slot_bytes_max: 1 << 30, ..Limits::default() };
    let document = DOCUMENT_BYTES_MAX;
    assert!(refused(boundless, document, &mut slot).is_ok());
    assert_eq!(refused(boundless, document + 1, &mut slot).unwrap_err().to_string(), format!("text is larger than {document} bytes"));
}

#[test]
fn an_error_has_256_characters_and_a_cause_32_768() {
    let definition = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","ErrorPath":"$.e","CausePath":"$.c"}}}"#;
    let lengths = |error: usize, cause: usize| {
        // Characters of three bytes, so that bytes and characters cannot be mixed up.
        let ended = run(definition, &format!("{{\"e\":\"{}\",\"c\":\"{}\"}}", "€".repeat(error), "€".repeat(cause)));
        (ended.error.unwrap_or_default().chars().count(), ended.cause.unwrap_or_default().chars().count())
    };
    assert_eq!((ERROR_CHARS_MAX, CAUSE_CHARS_MAX), (256, 32_768));
    assert_eq!(lengths(ERROR_CHARS_MAX, CAUSE_CHARS_MAX), (ERROR_CHARS_MAX, CAUSE_CHARS_MAX));
    assert_eq!(lengths(ERROR_CHARS_MAX + 1, CAUSE_CHARS_MAX + 1), (ERROR_CHARS_MAX, CAUSE_CHARS_MAX));
    assert_eq!(lengths(0, 1), (0, 1));
}

#[test]
fn causes_that_quote_the_input_are_cut_and_so_are_those_of_tasks() {
    let missing = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"x.$":"$.gone"},"End":true}}}"#;
    assert_eq!(run(missing, &string_of(100_000)).cause.map(|cause| cause.chars().count()), Some(CAUSE_CHARS_MAX));
    let task = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","Catch":[{"ErrorEquals":["States.ALL"],"Next":"C"}],"End":true},
        "C":{"Type":"Pass","OutputPath":"$.Error","End":true}}}"#;
    let ended = run_with(&program(task), &mut Slot::new(0), "{}", |_| Err("e".repeat(ERROR_CHARS_MAX + 1)));
    assert_eq!(ended.output, format!("\"{}\"", "e".repeat(ERROR_CHARS_MAX)));
}

#[test]
fn a_state_output_over_the_limit_fails_with_data_limit_exceeded() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"a.$":"$","b":"yy"},"End":true}}}"#;
    // {"a":…,"b":"yy"} adds 16 bytes minus the one counted twice.
    assert_eq!(run(definition, &string_of(262_144 - 15)).step, Step::Succeeded);
    let ended = run(definition, &string_of(262_144 - 14));
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"));
    assert_eq!(ended.cause.as_deref(), Some("The state/task 'A' returned a result with a size exceeding the maximum number of bytes service limit."));
}

#[test]
fn a_task_result_over_the_limit_is_caught_by_states_all() {
    let definition = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":"$.e","Next":"C"}],"End":true},"C":{"Type":"Pass","OutputPath":"$.e.Error","End":true}}}"#;
    let ended = run_with(&program(definition), &mut Slot::new(0), "{}", |_| Ok(string_of(262_145)));
    assert_eq!(ended.output, "\"States.DataLimitExceeded\"");
    assert_eq!(run_with(&program(definition), &mut Slot::new(0), "{}", |_| Ok(string_of(262_144))).step, Step::Succeeded);
}

#[test]
fn a_template_that_doubles_its_input_ends_in_bounded_time() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"a.$":"$","b.$":"$"},"Next":"A"},"Z":{"Type":"Succeed"}}}"#;
    assert_eq!(run(definition, "{}").error.as_deref(), Some("States.DataLimitExceeded"));
}

#[test]
fn a_result_nested_too_deep_fails_and_does_not_overflow_the_stack() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"a.$":"$"},"Next":"A"},"Z":{"Type":"Succeed"}}}"#;
    let ended = run(definition, "1");
    assert_eq!(ended.error.as_deref(), Some("States.Runtime"), "{ended:?}");
    assert!(ended.cause.unwrap_or_default().contains(&DOCUMENT_DEPTH_MAX.to_string()));
}

#[test]
fn a_choice_loop_without_a_wait_ends_timed_out_and_yields_on_the_way() {
    let definition =
        r#"{"StartAt":"A","States":{"A":{"Type":"Choice","Choices":[{"Variable":"$.x","IsPresent":true,"Next":"A"}],"Default":"B"},"B":{"Type":"Succeed"}}}"#;
    let ended = run(definition, r#"{"x":1}"#);
    assert_eq!((ended.step, ended.error.as_deref(), ended.cause), (Step::TimedOut, Some("States.Timeout"), None));
    assert_eq!(ended.ms, 300_000);
    assert_eq!(ended.yields, 3000);
}

#[test]
fn a_loop_that_writes_results_compacts_its_memory() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"n.$":"$.last","keep.$":"$.text"},"ResultPath":"$.last.inner","Next":"B"},
        "B":{"Type":"Pass","Parameters":{"text.$":"$.text","last":{"v":1},"copy.$":"$.last.inner.keep"},"Next":"A"},"Z":{"Type":"Succeed"}}}"#;
    let limits = Limits { slot_bytes_max: 2 << 20, ..Limits::default() };
    let program = program_with(definition, limits);
    let mut slot = Slot::new(0);
    let input = format!(r#"{{"text":"{}","last":{{}}}}"#, "é\\n".repeat(100));
    let ended = run_with(&program, &mut slot, &input, |_| unreachable!("there is no task"));
    assert_eq!(ended.step, Step::TimedOut, "{ended:?}");
    assert!(slot.transitions() > 1_000_000, "{}", slot.transitions());
    assert!(slot.capacity_bytes() < 4 << 20, "{}", slot.capacity_bytes());
}

#[test]
fn a_slot_that_is_full_fails_its_execution() {
    let definition = r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemProcessor":{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}},"End":true}}}"#;
    let limits = Limits { slot_bytes_max: 64 << 10, ..Limits::default() };
    let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert_eq!(run_with(&program_with(definition, limits), &mut Slot::new(0), &items(500), |_| unreachable!()).step, Step::Succeeded);
    let ended = run_with(&program_with(definition, limits), &mut Slot::new(0), &items(2000), |_| unreachable!());
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{ended:?}");
}

#[test]
fn a_map_over_100_000_items_ends_and_yields() {
    let definition = r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemProcessor":{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}},"End":true}}}"#;
    let input = format!("[{}]", vec!["1"; 100_000].join(","));
    let ended = run(definition, &input);
    assert_eq!(ended.step, Step::Succeeded, "{:?}", ended.cause);
    assert!(ended.output == input && ended.yields >= 9, "{}", ended.yields);
}

#[test]
fn frames_open_at_once_are_bounded() {
    let nest = |levels: usize| {
        let mut inner = r#"{"StartAt":"S","States":{"S":{"Type":"Pass","End":true}}}"#.to_owned();
        for level in 0..levels {
            inner = format!(r#"{{"StartAt":"P{level}","States":{{"P{level}":{{"Type":"Parallel","Branches":[{inner}],"End":true}}}}}}"#);
        }
        inner
    };
    assert_eq!(run(&nest(40), "1").output, format!("{}1{}", "[".repeat(40), "]".repeat(40)));
    let limits = Limits { frames_max: 10, ..Limits::default() };
    assert_eq!(run_with(&program_with(&nest(10), limits), &mut Slot::new(0), "1", |_| unreachable!()).step, Step::Succeeded);
    assert_eq!(run_with(&program_with(&nest(11), limits), &mut Slot::new(0), "1", |_| unreachable!()).step, Step::Failed);
}

#[test]
fn strands_alive_at_once_are_bounded() {
    let branches: Vec<String> = (0..5).map(|index| format!(r#"{{"StartAt":"S{index}","States":{{"S{index}":{{"Type":"Pass","End":true}}}}}}"#)).collect();
    let definition = format!(r#"{{"StartAt":"P","States":{{"P":{{"Type":"Parallel","Branches":[{}],"End":true}}}}}}"#, branches.join(","));
    let limits = |strands_max| Limits { strands_max, ..Limits::default() };
    assert_eq!(run_with(&program_with(&definition, limits(6)), &mut Slot::new(0), "1", |_| unreachable!()).step, Step::Succeeded);
    assert_eq!(run_with(&program_with(&definition, limits(5)), &mut Slot::new(0), "1", |_| unreachable!()).step, Step::Failed);
}
