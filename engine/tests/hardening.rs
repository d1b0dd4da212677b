//! No input makes the engine panic, loop for ever, recurse past its bounds or take memory without bound. What was quadratic once is here with a size at which it would not end.

use std::time::{Duration, Instant};

use expressway_engine::hir::{WorkflowType, limits, lower};
use expressway_engine::{Slot, Step};

use crate::support::{output, program, run, run_with};

/// Far above what a debug build on a busy machine takes, far below what a quadratic step would.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "what must not hang is bounded in real time")]
fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    result
}

fn single(state: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{{{state},"End":true}}}}}}"#)
}

/// `count` states in a row, `fields(n)` being what is particular to state n.
fn chain(count: usize, fields: impl Fn(usize) -> String) -> String {
    let state = |n: usize| {
        let onward = if n + 1 == count { r#""End":true"#.to_owned() } else { format!(r#""Next":"S{}""#, n + 1) };
        format!(r#""S{n}":{{{},{onward}}}"#, fields(n))
    };
    let states: Vec<String> = (0..count).map(state).collect();
    format!(r#"{{"StartAt":"S0","States":{{{}}}}}"#, states.join(","))
}

#[test]
fn a_definition_of_a_mebibyte_with_ten_thousand_states_compiles_and_runs() {
    let definition = chain(10_000, |n| format!(r#""Type":"Pass","Parameters":{{"n.$":"$.n","k":{n}}},"Comment":"{}""#, "x".repeat(14)));
    assert!((900_000..=limits::DEFINITION_BYTES_MAX).contains(&definition.len()), "{}", definition.len());
    let ended = in_time(|| run(&definition, r#"{"n":1}"#));
    assert_eq!(ended.output, r#"{"n":1,"k":9999}"#);
}

#[test]
fn ten_thousand_tasks_of_as_many_resources_and_variables_compile() {
    let definition = chain(9_000, |n| format!(r#""Type":"Task","Resource":"native:handler-{n}","Assign":{{"v{n}.$":"$v{}"}}"#, (n + 1) % 9_000));
    let lowered = in_time(|| lower(&definition, WorkflowType::Express)).expect("valid");
    assert_eq!(lowered.machine.states().len(), 9_000);
    in_time(|| program(&definition));
}

#[test]
fn ten_thousand_rules_compile_and_the_last_one_is_found() {
    let rules: Vec<String> = (0..10_000).map(|n| format!(r#"{{"Variable":"$.k","StringEquals":"v{n}","Next":"Z"}}"#)).collect();
    let definition = format!(r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{}]}},"Z":{{"Type":"Succeed"}}}}}}"#, rules.join(","));
    assert_eq!(in_time(|| run(&definition, r#"{"k":"v9999"}"#)).step, Step::Succeeded);
    assert_eq!(in_time(|| run(&definition, r#"{"k":"v"}"#)).error.as_deref(), Some("States.NoChoiceMatched"));
}

#[test]
fn states_with_long_names_at_the_deepest_level_take_bounded_memory() {
    let name = |n: usize| format!("{n:x>80}");
    let deepest: Vec<String> = (0..5_000).map(|n| format!(r#""{}":{{"Type":"Succeed"}}"#, name(n))).collect();
    let mut text = format!(r#"{{"StartAt":"{}","States":{{{}}}}}"#, name(0), deepest.join(","));
    for level in 1..limits::MACHINE_DEPTH_MAX {
        let name = name(10_000 + level);
        text = format!(r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Parallel","Branches":[{text}],"End":true}}}}}}"#);
    }
    assert!(text.len() < limits::DEFINITION_BYTES_MAX);
    assert!(in_time(|| lower(&text, WorkflowType::Express)).is_ok());
}

#[test]
fn a_map_over_100_000_items_inside_a_failing_map_ends() {
    let definition = r#"{"StartAt":"M","States":{"M":{"Type":"Map","MaxConcurrency":1,"ItemsPath":"$.l","ItemSelector":{"i.$":"$$.Map.Item.Index"},"ItemProcessor":{"StartAt":"C","States":{
        "C":{"Type":"Choice","Choices":[{"Variable":"$.i","NumericEquals":99999,"Next":"F"}],"Default":"P"},"P":{"Type":"Pass","End":true},"F":{"Type":"Fail","Error":"Last"}}},
        "Catch":[{"ErrorEquals":["Last"],"Next":"Z"}],"End":true},"Z":{"Type":"Succeed"}}}"#;
    let input = format!(r#"{{"l":[{}]}}"#, vec!["1"; 100_000].join(","));
    let ended = in_time(|| run(definition, &input));
    assert_eq!(ended.output, r#"{"Error":"Last","Cause":""}"#, "{:?}", ended.cause);
}

#[test]
fn forty_levels_of_parallel_fail_from_the_deepest() {
    let mut inner = r#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"Deep"}}}"#.to_owned();
    for level in 0..40 {
        let idle = format!(r#"{{"StartAt":"W{level}","States":{{"W{level}":{{"Type":"Wait","Seconds":9,"End":true}}}}}}"#);
        inner = format!(r#"{{"StartAt":"P{level}","States":{{"P{level}":{{"Type":"Parallel","Branches":[{idle},{inner}],"End":true}}}}}}"#);
    }
    let ended = in_time(|| run(&inner, "1"));
    assert_eq!((ended.step, ended.error.as_deref(), ended.ms), (Step::Failed, Some("Deep"), 0));
}

#[test]
fn calls_nest_ten_deep_and_the_eleventh_is_refused() {
    let nested = |depth: usize| single(&format!(r#""Type":"Pass","Parameters":{{"v.$":"{}$.a{}"}}"#, "States.Array(".repeat(depth), ")".repeat(depth)));
    assert_eq!(output(&nested(10), r#"{"a":1}"#), format!(r#"{{"v":{}1{}}}"#, "[".repeat(10), "]".repeat(10)));
    for depth in [11, 5_000] {
        assert!(lower(&nested(depth), WorkflowType::Express).is_err(), "{depth}");
    }
}

#[test]
fn a_template_that_doubles_its_input_forty_times_ends_at_the_limit() {
    let definition = chain(40, |_| r#""Type":"Pass","Parameters":{"a.$":"$","b.$":"$"}"#.to_owned());
    assert_eq!(in_time(|| run(&definition, r#"{"x":1}"#)).error.as_deref(), Some("States.DataLimitExceeded"));
    // All in one template, by calls: each level has the one below twice.
    let calls = (0..9).fold("$.s".to_owned(), |inner, _| format!("States.Format('{{}}{{}}', {inner}, {inner})"));
    let definition = single(&format!(r#""Type":"Pass","Parameters":{{"v.$":"{calls}"}}"#));
    let ended = in_time(|| run(&definition, &format!(r#"{{"s":"{}"}}"#, "x".repeat(200_000))));
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{:?}", ended.cause);
}

#[test]
fn a_pattern_of_ten_thousand_stars_is_linear() {
    let choice = |pattern: &str| {
        format!(
            r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{{"Variable":"$","StringMatches":"{pattern}","Next":"Y"}}],"Default":"N"}},"Y":{{"Type":"Pass","Result":1,"End":true}},"N":{{"Type":"Pass","Result":0,"End":true}}}}}}"#
        )
    };
    let text = format!("\"{}\"", "a".repeat(250_000));
    for (pattern, expected) in [
        ("*".repeat(10_000), "1"),
        ("a*".repeat(10_000), "1"),
        ("a*".repeat(10_000) + "b", "0"),
        ("*a".repeat(10_000) + "b*", "0"),
        ("*ab".repeat(10_000), "0"),
    ] {
        assert_eq!(in_time(|| run(&choice(&pattern), &text)).output, expected, "{expected} {}", pattern.len());
    }
}

#[test]
fn paths_that_look_at_everything_again_and_again_are_given_up() {
    let deep = format!("{}1{}", "[".repeat(900), "]".repeat(900));
    for path in ["$..*..*..*..*..*..*", "$..*..[0]..*..[0]", "$..[?(@[0])]..[?(@[0])]..[?(@[0])]"] {
        let definition = single(&format!(r#""Type":"Pass","Parameters":{{"n.$":"States.ArrayLength({path})"}}"#));
        let ended = in_time(|| run(&definition, &deep));
        assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{path} {:?}", ended.output);
    }
    let wide = format!("[{}]", vec!["1"; 100_000].join(","));
    for (path, count) in [("$[-100000:99999]", 199_999), ("$[-1,-1,-1]", 3), ("$..*", 100_000), ("$[?(@ == 1 && @ == 1)]", 100_000)] {
        let definition = single(&format!(r#""Type":"Pass","Parameters":{{"n.$":"States.ArrayLength({path})"}}"#));
        let ended = in_time(|| run(&definition, &wide));
        assert!(ended.output == format!(r#"{{"n":{count}}}"#) || ended.error.as_deref() == Some("States.IntrinsicFailure"), "{path} {ended:?}");
    }
}

#[test]
fn wide_objects_are_compared_and_changed_in_linear_time() {
    let member = |n: usize| format!(r#""m{n}":{n}"#);
    let (forth, back): (Vec<String>, Vec<String>) = ((0..9_000).map(member).collect(), (0..9_000).rev().map(member).collect());
    let contains = single(r#""Type":"Pass","Parameters":{"r.$":"States.ArrayContains($.l, $.o)"}"#);
    let input = format!(r#"{{"l":[{{{}}}],"o":{{{}}}}}"#, forth.join(","), back.join(","));
    assert_eq!(in_time(|| output(&contains, &input)), r#"{"r":true}"#);

    let changes = chain(100, |n| format!(r#""Type":"Pass","Result":{n},"ResultPath":"$.new{n}""#));
    let ended = in_time(|| run(&changes, &format!("{{{}}}", forth.join(","))));
    assert!(ended.output.ends_with(r#""new98":98,"new99":99}"#), "{:?}", ended.error);

    let changes = chain(20, |n| format!(r#""Type":"Pass","Result":{n},"ResultPath":"$[{n}]""#));
    let ended = in_time(|| run(&changes, &format!("[{}]", vec!["1"; 100_000].join(","))));
    assert!(ended.output.starts_with("[0,1,2,3"), "{:?}", ended.error);
}

#[test]
fn documents_of_five_thousand_levels_are_refused() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let program = program(&single(r#""Type":"Pass""#));
    assert!(Slot::new(0).start(&program, deep.as_bytes(), &crate::support::start()).is_err());
    assert!(lower(&single(&format!(r#""Type":"Pass","Result":{deep}"#)), WorkflowType::Express).is_err());
    let task = crate::support::program(&single(r#""Type":"Task","Resource":"native:x""#));
    assert_eq!(run_with(&task, &mut Slot::new(0), "{}", |_| Ok(deep.clone())).step, Step::Failed);
}
