//! Every bound of a definition that is a number, at it and past it; those of nesting are in `diagnostics`, those of executions in `limits`.

use expressway_engine::Step;
use expressway_engine::hir::{WorkflowType, limits, lower};
use expressway_engine::limits::{HISTORY_EVENTS_MAX, PATH_VISITS_MAX};
use expressway_engine::{Budget, Effect, Effects, Limits, Silent, Slot};

use crate::support::{START, program, run, run_with, start, typed_program};

/// The definition is accepted with `at` and refused with `past`, with `part` in a message or hint of the findings.
fn check(workflow_type: WorkflowType, definition: impl Fn(&str) -> String, at: &str, past: &str, part: &str) {
    let accepted = definition(at);
    if let Err(findings) = lower(&accepted, workflow_type) {
        panic!("{accepted:.300}: {findings:#?}");
    }
    let refused = definition(past);
    let findings = lower(&refused, workflow_type).err().unwrap_or_else(|| panic!("{refused:.300} is accepted"));
    let told: Vec<String> = findings.iter().map(|finding| format!("{finding:?}")).collect();
    assert!(told.iter().any(|told| told.contains(part)), "\"{part}\" is missing in {told:?}");
}

fn express(definition: impl Fn(&str) -> String, at: &str, past: &str, part: &str) {
    check(WorkflowType::Express, definition, at, past, part);
}

/// A state with fields, and a Succeed `Z` behind it.
fn state(fields: &str) -> String {
    format!(r#"{{"StartAt":"S","States":{{"S":{{{fields},"Next":"Z"}},"Z":{{"Type":"Succeed"}}}}}}"#)
}

fn task(fields: &str) -> String {
    state(&format!(r#""Type":"Task","Resource":"native:x",{fields}"#))
}

#[test]
fn seconds_and_attempts_have_eight_digits() {
    assert_eq!(limits::COUNT_MAX, 99_999_999);
    let (at, past) = ("99999999", "100000000");
    express(|value| task(&format!(r#""TimeoutSeconds":{value}"#)), at, past, "Maximum value is 99999999");
    express(|value| state(&format!(r#""Type":"Wait","Seconds":{value}"#)), at, past, "Maximum value is 99999999");
    express(|value| task(&format!(r#""Retry":[{{"ErrorEquals":["E"],"IntervalSeconds":{value}}}]"#)), at, past, "Maximum value is 99999999");
    express(|value| task(&format!(r#""Retry":[{{"ErrorEquals":["E"],"MaxAttempts":{value}}}]"#)), at, past, "Maximum value is 99999999");
    express(|value| format!(r#"{{"TimeoutSeconds":{value},"StartAt":"Z","States":{{"Z":{{"Type":"Succeed"}}}}}}"#), at, past, "Maximum value is 99999999");
    for fields in [r#""TimeoutSeconds":0"#, r#""HeartbeatSeconds":0"#, r#""Retry":[{"ErrorEquals":["E"],"IntervalSeconds":0}]"#] {
        assert!(lower(&task(fields), WorkflowType::Express).is_err(), "{fields}");
    }
}

#[test]
fn the_longest_delay_of_a_retry_is_less_than_a_leap_year() {
    let delay = |value: &str| task(&format!(r#""Retry":[{{"ErrorEquals":["E"],"MaxDelaySeconds":{value}}}]"#));
    assert_eq!(limits::RETRY_DELAY_SECONDS_MAX, 366 * 24 * 60 * 60 - 1);
    express(delay, "31622399", "31622400", "Maximum value is 31622399");
}

#[test]
fn items_and_batches_of_a_distributed_map_are_bounded() {
    let map = |fields: String| {
        let processor =
            r#""ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
        state(&format!(r#""Type":"Map",{processor},{fields}"#))
    };
    let standard = |definition: &dyn Fn(&str) -> String, at: &str, past: &str| check(WorkflowType::Standard, definition, at, past, "Maximum value is");
    assert_eq!((limits::MAP_ITEMS_MAX, limits::BATCH_BYTES_MAX), (100_000_000, 262_144));
    standard(&|value| map(format!(r#""ItemBatcher":{{"MaxItemsPerBatch":{value}}}"#)), "100000000", "100000001");
    standard(&|value| map(format!(r#""ItemBatcher":{{"MaxInputBytesPerBatch":{value}}}"#)), "262144", "262145");
}

#[test]
fn names_of_variables_have_eighty_characters() {
    let assign = |name: &str| state(&format!(r#""Type":"Pass","Assign":{{"{name}":1}}"#));
    assert!(lower(&assign(&"n".repeat(limits::VARIABLE_NAME_CHARS_MAX)), WorkflowType::Express).is_ok());
    assert!(lower(&assign(&"n".repeat(limits::VARIABLE_NAME_CHARS_MAX + 1)), WorkflowType::Express).is_err());
}

#[test]
fn paths_have_256_steps_names_indices_and_conditions() {
    let pass = |path: &str| state(&format!(r#""Type":"Pass","Parameters":{{"x.$":"{path}"}}"#));
    let limit = limits::PATH_SEGMENTS_MAX;
    let steps = |count: usize| format!("${}", ".a".repeat(count));
    express(pass, &steps(limit), &steps(limit + 1), "at most 256 steps");
    let descents = |count: usize| format!("${}", "..a".repeat(count));
    express(pass, &descents(limit / 2), &descents(limit / 2 + 1), "at most 256 steps");
    let names = |count: usize| format!("$[{}]", vec!["'a'"; count].join(","));
    express(pass, &names(limit), &names(limit + 1), "at most 256 names");
    let indices = |count: usize| format!("$[{}]", vec!["0"; count].join(","));
    express(pass, &indices(limit), &indices(limit + 1), "at most 256 indices");
    let conditions = |count: usize| format!("$[?({})]", vec!["@.a == 1"; count].join(" && "));
    express(pass, &conditions(limits::FILTER_CONDITIONS_MAX), &conditions(limits::FILTER_CONDITIONS_MAX + 1), "at most 256 conditions");
}

#[test]
fn conditions_of_a_path_nest_32_deep() {
    let pass = |path: &str| state(&format!(r#""Type":"Pass","Parameters":{{"x.$":"{path}"}}"#));
    // The condition itself is a level too.
    let nested = |levels: usize| format!("$[?({}@.a == 1{})]", "(".repeat(levels - 1), ")".repeat(levels - 1));
    express(pass, &nested(limits::FILTER_DEPTH_MAX), &nested(limits::FILTER_DEPTH_MAX + 1), "at most 32 deep");
}

#[test]
fn one_path_looks_at_two_million_values() {
    let definition = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Parameters":{"x.$":"$..a..a"},"ResultPath":null,"End":true}}}"#;
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(run(definition, &nested(20)).step, Step::Succeeded);
    // Each of many values is looked at once for each of those around it.
    let wide = format!(r#"[{}]"#, vec![nested(60); 600].join(","));
    let deeper = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","Parameters":{"x.$":"$..a..a..a"},"ResultPath":null,"End":true}}}"#;
    let ended = run(deeper, &wide);
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{ended:?}");
    assert!(ended.cause.unwrap_or_default().contains(&PATH_VISITS_MAX.to_string()));
}

#[test]
fn a_standard_execution_has_25_000_events() {
    let definition =
        r#"{"StartAt":"A","States":{"A":{"Type":"Choice","Choices":[{"Variable":"$","IsPresent":true,"Next":"A"}],"Default":"Z"},"Z":{"Type":"Succeed"}}}"#;
    let ended = run_with(&typed_program(definition, WorkflowType::Standard), &mut Slot::new(0), "{}", |_| unreachable!("there is no task"));
    assert_eq!(ended.error.as_deref(), Some("States.Runtime"), "{ended:?}");
    assert!(ended.cause.unwrap_or_default().contains(&HISTORY_EVENTS_MAX.to_string()));
}

#[test]
fn an_execution_lives_for_five_minutes() {
    let waits = |seconds: u64| format!(r#"{{"StartAt":"W","States":{{"W":{{"Type":"Wait","Seconds":{seconds},"End":true}}}}}}"#);
    assert_eq!(Limits::default().execution_ms_max, 300_000);
    assert_eq!(run(&waits(299), "{}").step, Step::Succeeded);
    let ended = run(&waits(301), "{}");
    assert_eq!((ended.step, ended.ms), (Step::TimedOut, 300_000));
}

#[test]
fn a_map_without_a_bound_of_its_own_has_40_iterations_in_flight() {
    let in_flight = |concurrency: &str, items: usize| {
        let definition = format!(
            r#"{{"StartAt":"M","States":{{"M":{{"Type":"Map"{concurrency},"ItemProcessor":{{"StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"native:x","End":true}}}}}},"End":true}}}}}}"#
        );
        let (program, mut slot, mut effects) = (program(&definition), Slot::new(0), Effects::default());
        slot.start(&program, format!("[{}]", vec!["1"; items].join(",")).as_bytes(), &start()).expect("valid");
        assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut Silent), Step::Suspended);
        effects.list.iter().filter(|effect| matches!(effect, Effect::Call { .. })).count()
    };
    assert_eq!((in_flight("", 39), in_flight("", 40), in_flight("", 41)), (39, 40, 40));
    assert_eq!((in_flight(r#","MaxConcurrency":0"#, 100), in_flight(r#","MaxConcurrency":1000"#, 100)), (40, 40));
}
