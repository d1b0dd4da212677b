//! Variables (spec/asl.md 3): where they are assigned and read, scopes, the moment of effect, limits, findings.

use expressway_engine::diagnostic::{Code, Severity};
use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{Limits, Slot, Step};

use crate::support::{output, program, program_with, run, run_with};

/// A machine of these states that begins with `A`.
fn machine(states: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{{states}}}}}"#)
}

/// Texts of the errors in a definition.
fn errors(definition: &str) -> Vec<String> {
    match lower(definition, WorkflowType::Express) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.iter().filter(|finding| finding.severity == Severity::Error).map(ToString::to_string).collect(),
    }
}

/// Messages of the warnings about variables.
fn remarks(definition: &str) -> Vec<String> {
    let lowered = lower(definition, WorkflowType::Express).unwrap_or_else(|findings| panic!("{findings:#?}"));
    lowered.warnings.into_iter().filter(|finding| finding.code == Code::VariableMayBeMissing).map(|finding| finding.message).collect()
}

#[test]
fn a_variable_is_read_wherever_a_path_may_stand() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"o":{"n":3,"t":"x"},"list.$":"$.l","zero":0,"at":"2020-01-01T00:00:00Z"},"Next":"B"},
        "B":{"Type":"Pass","InputPath":"$o.n","ResultPath":"$.b","Next":"C"},
        "C":{"Type":"Pass","Parameters":{"n.$":"$o.n","sum.$":"States.MathAdd($o.n, $list[1])","all.$":"$list[*]"},"ResultPath":"$.c","Next":"D"},
        "D":{"Type":"Choice","Choices":[{"Variable":"$o.t","StringEqualsPath":"$.t","Next":"E"}],"Default":"Z"},
        "E":{"Type":"Wait","SecondsPath":"$zero","Next":"F"},
        "F":{"Type":"Wait","TimestampPath":"$at","Next":"G"},
        "G":{"Type":"Map","ItemsPath":"$list","ItemSelector":{"v.$":"$$.Map.Item.Value","t.$":"$o.t"},"ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","OutputPath":"$o","End":true}}},"ResultPath":"$.g","Next":"H"},
        "H":{"Type":"Task","Resource":"native:x","TimeoutSecondsPath":"$o.n","Parameters":{"p.$":"$o.t"},"ResultSelector":{"r.$":"$.p","z.$":"$zero"},"ResultPath":"$.h","OutputPath":"$","End":true},
        "Z":{"Type":"Fail"}"#,
    );
    assert_eq!(
        output(&definition, r#"{"l":[1,2],"t":"x"}"#),
        r#"{"l":[1,2],"t":"x","b":3,"c":{"n":3,"sum":5,"all":[1,2]},"g":[{"n":3,"t":"x"},{"n":3,"t":"x"}],"h":{"r":"x","z":0}}"#
    );
    let fails = machine(
        r#""A":{"Type":"Pass","Assign":{"e":"Boom","c":"why"},"Next":"B"},"B":{"Type":"Fail","ErrorPath":"$e","CausePath":"States.Format('{}!', $c)"}"#,
    );
    let ended = run(&fails, "{}");
    assert_eq!((ended.error.as_deref(), ended.cause.as_deref()), (Some("Boom"), Some("why!")));
}

#[test]
fn every_expression_of_a_state_sees_the_values_at_entry() {
    let swap = machine(
        r#""A":{"Type":"Pass","Assign":{"x":3,"y":6},"Next":"B"},
        "B":{"Type":"Pass","Assign":{"x.$":"$y","y.$":"$x"},"Parameters":{"x.$":"$x"},"ResultPath":"$.during","OutputPath":"$","Next":"C"},
        "C":{"Type":"Pass","Parameters":{"x.$":"$x","y.$":"$y","during.$":"$.during.x"},"End":true}"#,
    );
    assert_eq!(output(&swap, "{}"), r#"{"x":6,"y":3,"during":3}"#);
    let order = machine(
        r#""A":{"Type":"Pass","Assign":{"answer":42},"Next":"B"},
        "B":{"Type":"Pass","InputPath":"$answer","ResultPath":"$.theAnswer","OutputPath":"$answer","Assign":{"answer":"new","seen.$":"$"},"Next":"C"},
        "C":{"Type":"Pass","Parameters":{"in.$":"$","answer.$":"$answer","seen.$":"$seen"},"End":true}"#,
    );
    assert_eq!(output(&order, "{}"), r#"{"in":42,"answer":"new","seen":42}"#);
}

#[test]
fn the_dollar_of_an_assign_is_the_result_of_its_state() {
    let definition = machine(
        r#""A":{"Type":"Pass","Result":{"r":1},"ResultPath":"$.x","Assign":{"pass.$":"$"},"Next":"B"},
        "B":{"Type":"Task","Resource":"native:x","Parameters":{"t":2},"ResultSelector":{"selected":true},"ResultPath":null,"Assign":{"task.$":"$"},"Next":"C"},
        "C":{"Type":"Parallel","Branches":[{"StartAt":"P","States":{"P":{"Type":"Pass","Result":3,"End":true}}}],"ResultPath":null,"Assign":{"parallel.$":"$"},"Next":"D"},
        "D":{"Type":"Map","ItemsPath":"$.l","ItemProcessor":{"StartAt":"M","States":{"M":{"Type":"Pass","Result":4,"End":true}}},"ResultPath":null,"Assign":{"map.$":"$"},"Next":"E"},
        "E":{"Type":"Wait","Seconds":0,"InputPath":"$.l","Assign":{"wait.$":"$"},"Next":"F"},
        "F":{"Type":"Choice","InputPath":"$[0]","Choices":[{"Variable":"$","NumericEquals":9,"Assign":{"choice.$":"$"},"Next":"Z"}]},
        "Z":{"Type":"Pass","Parameters":{"pass.$":"$pass","task.$":"$task","parallel.$":"$parallel","map.$":"$map","wait.$":"$wait","choice.$":"$choice"},"End":true}"#,
    );
    assert_eq!(output(&definition, r#"{"l":[9]}"#), r#"{"pass":{"r":1},"task":{"t":2},"parallel":[3],"map":[4],"wait":[9],"choice":9}"#);
}

#[test]
fn a_matched_rule_assigns_instead_of_the_choice() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"state":"none","rule":"none"},"Next":"B"},
        "B":{"Type":"Choice","Choices":[{"Variable":"$.n","NumericEquals":1,"Assign":{"rule":1},"Next":"Z"},{"Variable":"$.n","NumericEquals":2,"Next":"Z"}],"Assign":{"state.$":"$.n"},"Default":"Z"},
        "Z":{"Type":"Pass","Parameters":{"state.$":"$state","rule.$":"$rule"},"End":true}"#,
    );
    assert_eq!(output(&definition, r#"{"n":1}"#), r#"{"state":"none","rule":1}"#);
    assert_eq!(output(&definition, r#"{"n":2}"#), r#"{"state":"none","rule":"none"}"#);
    assert_eq!(output(&definition, r#"{"n":3}"#), r#"{"state":3,"rule":"none"}"#);
}

#[test]
fn a_catcher_assigns_from_the_error_and_the_state_does_not() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"state":"before","error":"before"},"Next":"T"},
        "T":{"Type":"Task","Resource":"native:x","Assign":{"state":"after"},"Catch":[{"ErrorEquals":["E"],"Assign":{"error.$":"$.Error","old.$":"$state"},"ResultPath":null,"Next":"Z"}],"Next":"Y"},
        "Y":{"Type":"Pass","Parameters":{"state.$":"$state","error.$":"$error"},"End":true},
        "Z":{"Type":"Pass","Parameters":{"state.$":"$state","error.$":"$error","old.$":"$old","in.$":"$.in"},"End":true}"#,
    );
    let program = program(&definition);
    let failed = run_with(&program, &mut Slot::new(0), r#"{"in":1}"#, |_| Err("E".to_owned()));
    assert_eq!(failed.output, r#"{"state":"before","error":"E","old":"before","in":1}"#);
    let done = run_with(&program, &mut Slot::new(0), r#"{"in":1}"#, |_| Ok("1".to_owned()));
    assert_eq!(done.output, r#"{"state":"after","error":"before"}"#);
}

#[test]
fn a_catcher_of_a_parallel_writes_the_scope_of_the_parallel() {
    let definition = machine(
        r#""A":{"Type":"Parallel","Branches":[{"StartAt":"F","States":{"F":{"Type":"Pass","Assign":{"inner":1},"Next":"G"},"G":{"Type":"Fail","Error":"E","Cause":"c"}}}],
            "Catch":[{"ErrorEquals":["E"],"Assign":{"caught.$":"$.Cause"},"Next":"B"}],"Next":"B"},
        "B":{"Type":"Pass","InputPath":"$caught","End":true}"#,
    );
    assert_eq!(output(&definition, "{}"), r#""c""#);
}

#[test]
fn branches_read_outer_variables_and_keep_their_own_to_themselves() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"outer":7},"Next":"B"},
        "B":{"Type":"Map","MaxConcurrency":2,"ItemProcessor":{"StartAt":"M","States":{
            "M":{"Type":"Pass","Assign":{"mine.$":"States.MathAdd($, $outer)"},"Next":"W"},
            "W":{"Type":"Wait","Seconds":1,"Next":"P"},
            "P":{"Type":"Parallel","Branches":[
                {"StartAt":"Q","States":{"Q":{"Type":"Pass","Assign":{"own.$":"$mine"},"Next":"R"},"R":{"Type":"Pass","Parameters":{"a.$":"$own","b.$":"$outer"},"End":true}}},
                {"StartAt":"S","States":{"S":{"Type":"Choice","Choices":[{"Variable":"$own","IsPresent":true,"Next":"T"}],"Default":"U"},"T":{"Type":"Fail"},"U":{"Type":"Pass","Assign":{"own":0},"Parameters":{"c.$":"$mine"},"End":true}}}
            ],"End":true}}},"Next":"C"},
        "C":{"Type":"Choice","Choices":[{"Variable":"$outer","NumericEquals":7,"Next":"D"}]},
        "D":{"Type":"Pass","End":true}"#,
    );
    assert_eq!(output(&definition, "[1,2,3]"), r#"[[{"a":8,"b":7},{"c":8}],[{"a":9,"b":7},{"c":9}],[{"a":10,"b":7},{"c":10}]]"#);
}

#[test]
fn a_retried_parallel_begins_without_the_variables_of_the_last_attempt() {
    let definition = machine(
        r#""A":{"Type":"Parallel","Retry":[{"ErrorEquals":["States.ALL"],"IntervalSeconds":1}],"Branches":[{"StartAt":"C","States":{
            "C":{"Type":"Choice","Choices":[{"Variable":"$v","IsPresent":true,"Next":"Bad"}],"Default":"S"},
            "S":{"Type":"Pass","Assign":{"v":1},"Next":"T"},"T":{"Type":"Task","Resource":"native:x","End":true},"Bad":{"Type":"Fail","Error":"Stale"}}}],"End":true}"#,
    );
    let mut attempts = 0;
    let ended = run_with(&program(&definition), &mut Slot::new(0), "{}", |_| {
        attempts += 1;
        if attempts < 3 { Err("E".to_owned()) } else { Ok("\"done\"".to_owned()) }
    });
    assert_eq!((ended.output.as_str(), ended.ms), (r#"["done"]"#, 3000), "{ended:?}");
}

#[test]
fn a_state_that_fails_assigns_nothing() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"v":"old"},"Next":"P"},
        "P":{"Type":"Parallel","Branches":[{"StartAt":"B","States":{"B":{"Type":"Pass","End":true}}}],"Assign":{"v":"new"},"ResultPath":"$.x[3]","Catch":[{"ErrorEquals":["States.ResultPathMatchFailure"],"Next":"Z"}],"Next":"Z"},
        "Z":{"Type":"Pass","InputPath":"$v","End":true}"#,
    );
    assert_eq!(output(&definition, r#"{"x":[]}"#), r#""old""#);
}

#[test]
fn a_variable_without_a_value_fails_the_state_and_is_not_present() {
    let states = r#""B":{"Type":"Pass","Parameters":{"v.$":"$v"},"End":true},"Z":{"Type":"Pass","Assign":{"v":1},"End":true}"#;
    let choice = machine(&format!(r#""A":{{"Type":"Choice","Choices":[{{"Variable":"$v","IsPresent":false,"Next":"B"}}],"Default":"Z"}},{states}"#));
    let ended = run(&choice, "{}");
    assert_eq!(ended.error.as_deref(), Some("States.Runtime"));
    assert_eq!(
        ended.cause.as_deref(),
        Some(
            "An error occurred while executing the state 'B' (entered at the event id #4). The JSONPath '$v' specified for the field 'v.$' could not be found in the input '{}'"
        )
    );
    let path = machine(r#""A":{"Type":"Pass","InputPath":"$v.x","End":true}"#);
    assert_eq!(run(&path, "{}").error.as_deref(), Some("States.Runtime"));
}

#[test]
fn an_inner_scope_may_not_assign_the_name_of_an_outer_one() {
    let inner = |name: &str| format!(r#"{{"StartAt":"I","States":{{"I":{{"Type":"Pass","Assign":{{"{name}":1}},"End":true}}}}}}"#);
    for around in [format!(r#""Type":"Map","ItemProcessor":{}"#, inner("v.$")), format!(r#""Type":"Parallel","Branches":[{}]"#, inner("v"))] {
        let definition =
            machine(&format!(r#""A":{{{around},"Next":"B"}},"B":{{"Type":"Pass","Assign":{{"v":0}},"End":true}}"#).replace(r#""v.$":1"#, r#""v.$":"$""#));
        let found = errors(&definition);
        assert!(matches!(&found[..], [only] if only.contains("The variable 'v' is assigned in an outer scope")), "{found:?}");
    }
    let siblings = machine(&format!(r#""A":{{"Type":"Parallel","Branches":[{},{}],"End":true}}"#, inner("v"), inner("v").replace("\"I\"", "\"J\"")));
    assert!(errors(&siblings).is_empty(), "siblings may share a name");
}

#[test]
fn names_are_checked_when_the_definition_is() {
    let assigning = |name: &str| machine(&format!(r#""A":{{"Type":"Pass","Assign":{{"{name}":1}},"End":true}}"#));
    for name in ["x", "été", &"n".repeat(80)] {
        assert!(errors(&assigning(name)).is_empty(), "{name}");
    }
    for name in ["states", "1x", "a.b", "a[2]", "a-b", "", "$x", &"n".repeat(81)] {
        let found = errors(&assigning(name));
        assert!(matches!(&found[..], [only] if only.ends_with("at /States/A/Assign")), "{name}: {found:?}");
    }
    assert_eq!(errors(&machine(r#""A":{"Type":"Pass","Assign":[],"End":true}"#)).len(), 1);
    assert_eq!(errors(&machine(r#""A":{"Type":"Pass","Assign":{"x":1,"x.$":"$"},"End":true}"#)).len(), 1);
    assert_eq!(errors(&machine(r#""A":{"Type":"Pass","Assign":{"x.$":"y"},"End":true}"#)).len(), 1);
    assert_eq!(errors(&machine(r#""A":{"Type":"Succeed","Assign":{"x":1}}"#)).len(), 1);
    assert_eq!(errors(&machine(r#""A":{"Type":"Fail","Assign":{"x":1}}"#)).len(), 1);
    assert_eq!(errors(&machine(r#""A":{"Type":"Pass","ResultPath":"$x.y","End":true}"#)).len(), 1);
}

#[test]
fn a_variable_that_may_be_missing_is_remarked() {
    let read = r#""Z":{"Type":"Pass","InputPath":"$v","End":true}"#;
    let sure = machine(&format!(r#""A":{{"Type":"Pass","Assign":{{"v":1}},"Next":"Z"}},{read}"#));
    assert!(remarks(&sure).is_empty());
    let unsure =
        machine(&format!(r#""A":{{"Type":"Choice","Choices":[{{"Variable":"$.x","IsNull":true,"Assign":{{"v":1}},"Next":"Z"}}],"Default":"Z"}},{read}"#));
    assert_eq!(remarks(&unsure), ["The variable 'v' may be read before it is assigned"]);
    assert_eq!(remarks(&machine(r#""A":{"Type":"Pass","InputPath":"$v","End":true}"#)).len(), 1);
    let inner = machine(
        r#""A":{"Type":"Pass","Assign":{"v":1},"Next":"M"},"M":{"Type":"Map","ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","InputPath":"$v","End":true}}},"End":true}"#,
    );
    assert!(remarks(&inner).is_empty());
}

#[test]
fn references_are_listed_by_state() {
    let definition = machine(
        r#""A":{"Type":"Map","ItemsPath":"$l","MaxConcurrencyPath":"$n","ItemSelector":{"x.$":"States.Format('{}{}', $a.b, $l[0])"},"ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","Parameters":{"p":"$literal","q.$":"$q"},"End":true}}},"Next":"B"},
        "B":{"Type":"Choice","Choices":[{"Variable":"$c","StringEqualsPath":"$d","Assign":{"e.$":"$f"},"Next":"C"}],"Default":"C"},"C":{"Type":"Pass","End":true}"#,
    );
    let lowered = lower(&definition, WorkflowType::Express).expect("valid");
    let references: Vec<String> = lowered.machine.variable_references().into_iter().map(|(state, names)| format!("{state} {}", names.join(","))).collect();
    assert_eq!(references, ["A a,l,n", "B c,d,f", "I q"]);
}

#[test]
fn an_assign_has_at_most_256_kib_and_an_execution_10_mib() {
    let text = |bytes: usize| format!(r#"{{"t":"{}"}}"#, "x".repeat(bytes - 2));
    let definition = machine(r#""A":{"Type":"Pass","Assign":{"a.$":"$.t","b.$":"$.t"},"OutputPath":"$.n","End":true}"#);
    let with_n = |bytes: usize| text(bytes).replacen('{', r#"{"n":1,"#, 1);
    assert_eq!(output(&definition, &with_n(131_072)), "1");
    let ended = run(&definition, &with_n(131_073));
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{ended:?}");

    // Forty-one states of 256 KiB each: the last one is over.
    let states: Vec<String> = (0..41)
        .map(|n| {
            let onward = if n == 40 { r#""End":true"#.to_owned() } else { format!(r#""Next":"S{}""#, n + 1) };
            format!(r#""S{n}":{{"Type":"Pass","Assign":{{"v{n}.$":"$.t"}},{onward}}}"#)
        })
        .collect();
    let definition = format!(r#"{{"StartAt":"S0","States":{{{}}}}}"#, states.join(","));
    assert_eq!(run(&definition, &text(262_144 - 10)).error.as_deref(), Some("States.DataLimitExceeded"));
    assert_eq!(run(&definition, &text(250_000)).step, Step::Succeeded);
}

#[test]
fn values_survive_compaction_and_old_ones_are_given_back() {
    let definition = machine(
        r#""A":{"Type":"Pass","Assign":{"n":0,"keep.$":"$.text","doc.$":"$"},"Next":"B"},
        "B":{"Type":"Pass","Parameters":{"big.$":"States.Format('{}{}', $keep, $n)"},"Assign":{"n.$":"States.MathAdd($n, 1)","last.$":"$.big"},"Next":"C"},
        "C":{"Type":"Choice","Choices":[{"Variable":"$n","NumericLessThan":3000,"Next":"B"}],"Default":"D"},
        "D":{"Type":"Pass","Parameters":{"n.$":"$n","keep.$":"$keep","last.$":"$last","doc.$":"$doc.k"},"End":true}"#,
    );
    let limits = Limits { slot_bytes_max: 2 << 20, ..Limits::default() };
    let text = "ab\\n".repeat(200);
    let mut slot = Slot::new(0);
    let ended = run_with(&program_with(&definition, limits), &mut slot, &format!(r#"{{"text":"{text}","k":[1,{{"x":2}}]}}"#), |_| unreachable!("no task"));
    assert_eq!(ended.output, format!(r#"{{"n":3000,"keep":"{text}","last":"{text}2999","doc":[1,{{"x":2}}]}}"#), "{:?}", ended.error);
    assert!(slot.capacity_bytes() < 4 << 20, "{}", slot.capacity_bytes());
}

#[test]
fn a_variable_that_grows_deeper_each_time_ends_at_the_nesting_limit() {
    let definition =
        machine(r#""A":{"Type":"Pass","Assign":{"v":1},"Next":"B"},"B":{"Type":"Pass","Assign":{"v.$":"States.Array($v)"},"Next":"B"},"Z":{"Type":"Succeed"}"#);
    assert_eq!(run(&definition, "{}").error.as_deref(), Some("States.Runtime"));
}
