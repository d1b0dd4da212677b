//! What the fast ways of the loop must not change: each case says what a way that copies and counts one by one gives.

use expressway_engine::{Budget, Effects, ExecutionName, Program, Shapes, Silent, Slot, Start, Step};

use crate::support::{START, output, program, start};

#[test]
fn an_object_that_is_kept_elsewhere_is_not_changed_when_a_result_path_sets_its_members() {
    let pass = |body: &str, next: &str| format!(r#"{{"Type":"Pass",{body},{next}}}"#);
    let set = |value: u32, next: &str| pass(&format!(r#""Result":{value},"ResultPath":"$.x""#), next);
    // In a template, in an argument, in a variable, and in itself.
    let keepers = [
        (r#""Parameters":{"kept.$":"$"},"ResultPath":"$.y""#, r#"{"a":0,"x":2,"y":{"kept":{"a":0,"x":1}}}"#),
        (r#""Parameters":{"kept.$":"States.Array($, 7)"},"ResultPath":"$.y""#, r#"{"a":0,"x":2,"y":{"kept":[{"a":0,"x":1},7]}}"#),
        (r#""ResultPath":"$.y""#, r#"{"a":0,"x":2,"y":{"a":0,"x":1}}"#),
        (r#""InputPath":"$","ResultPath":"$.x""#, r#"{"a":0,"x":2}"#),
    ];
    for (keeper, expected) in keepers {
        let states = [set(1, r#""Next":"K""#), pass(keeper, r#""Next":"C""#), set(2, r#""End":true"#)];
        let definition = format!(r#"{{"StartAt":"A","States":{{"A":{},"K":{},"C":{}}}}}"#, states[0], states[1], states[2]);
        assert_eq!(output(&definition, r#"{"a":0}"#), expected, "{keeper}");
    }
    let variable = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Result":1,"ResultPath":"$.x","Next":"K"},
        "K":{"Type":"Pass","Assign":{"kept.$":"$"},"Next":"B"},
        "B":{"Type":"Pass","Result":2,"ResultPath":"$.x","Next":"C"},
        "C":{"Type":"Pass","Parameters":{"kept.$":"$kept","now.$":"$"},"End":true}}}"#;
    assert_eq!(output(variable, "{}"), r#"{"kept":{"x":1},"now":{"x":2}}"#);
}

#[test]
fn branches_and_iterations_do_not_change_each_others_input() {
    let branch = |value: u32| {
        format!(
            r#"{{"StartAt":"B{value}","States":{{"B{value}":{{"Type":"Pass","Result":{value},"ResultPath":"$.x","Next":"C{value}"}},
            "C{value}":{{"Type":"Pass","Result":{value}0,"ResultPath":"$.x","End":true}}}}}}"#
        )
    };
    let definition = format!(
        r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Result":0,"ResultPath":"$.x","Next":"P"}},
        "P":{{"Type":"Parallel","Branches":[{},{}],"ResultPath":"$.p","Next":"M"}},
        "M":{{"Type":"Map","ItemsPath":"$.p","ResultPath":"$.m","ItemProcessor":{{"StartAt":"I","States":{{"I":{{"Type":"Pass","Result":5,"ResultPath":"$.x","End":true}}}}}},"End":true}}}}}}"#,
        branch(1),
        branch(2)
    );
    assert_eq!(output(&definition, "{}"), r#"{"x":0,"p":[{"x":10},{"x":20}],"m":[{"x":5},{"x":5}]}"#);
}

#[test]
fn a_caught_error_finds_the_input_as_it_was() {
    let definition = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Result":1,"ResultPath":"$.x","Next":"T"},
        "T":{"Type":"Parallel","Branches":[{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E"}}}],"ResultPath":"$.x",
            "Catch":[{"ErrorEquals":["E"],"ResultPath":"$.caught","Next":"C"}],"Next":"C"},
        "C":{"Type":"Pass","End":true}}}"#;
    assert_eq!(output(definition, "{}"), r#"{"x":1,"caught":{"Error":"E","Cause":""}}"#);
}

#[test]
fn a_loop_over_one_result_path_leaves_nothing_behind() {
    let definition = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Result":0,"ResultPath":"$.n","Next":"B"},
        "B":{"Type":"Pass","Result":1,"ResultPath":"$.n","Next":"C"},
        "C":{"Type":"Choice","Choices":[{"Variable":"$.n","NumericEquals":0,"Next":"D"}],"Default":"B"},
        "D":{"Type":"Succeed"}}}"#;
    let (program, mut slot) = (program(definition), Slot::new(0));
    slot.start(&program, b"{}", &start()).expect("a valid input");
    let mut run = |transitions| {
        let step = slot.run(&program, START, Budget { transitions, bytes: 1 << 20 }, &mut Effects::default(), &mut Silent);
        assert_eq!(step, Step::Yielded);
        slot.capacity_bytes()
    };
    assert_eq!(run(1_000), run(200_000));
}

#[test]
fn passes_taken_together_are_counted_one_by_one() {
    let chain = |count: u32| {
        let states: Vec<String> = (0..count).map(|state| format!(r#""S{state}":{{"Type":"Pass","Next":"S{}"}}"#, state + 1)).collect();
        format!(r#"{{"StartAt":"S0","States":{{{},"S{count}":{{"Type":"Pass","End":true}}}}}}"#, states.join(","))
    };
    // More states than one op takes together.
    let (program, mut slot) = (program(&chain(3_000)), Slot::new(0));
    for budget in [1, 7, 1_024, 2_999, 3_001] {
        slot.start(&program, b"1", &start()).expect("a valid input");
        let mut yields = 0;
        while slot.run(&program, START, Budget { transitions: budget, bytes: 1 << 20 }, &mut Effects::default(), &mut Silent) == Step::Yielded {
            yields += 1;
            assert_eq!(slot.transitions(), u64::from(yields * budget), "every call spends its whole budget");
        }
        assert_eq!(slot.transitions(), 3_001);
        assert_eq!(yields, 3_000 / budget);
    }
}

#[test]
fn a_cause_names_the_event_whether_passes_are_taken_together_or_not() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"C"},
        "C":{"Type":"Pass","InputPath":"$.missing","End":true}}}"#;
    let ended = crate::support::run(definition, "{}");
    let cause = ended.cause.expect("States.Runtime has a cause");
    // ExecutionStarted, then two events for each of the two states in front.
    assert!(cause.starts_with("An error occurred while executing the state 'C' (entered at the event id #6)."), "{cause}");
}

#[test]
fn numbers_strings_and_literals_of_any_length_are_told_apart() {
    for (literal, value, expected) in [
        ("", "", true),
        ("a", "b", false),
        ("12345678", "12345678", true),
        ("12345678901234", "12345678901234", true),
        ("123456789012345", "12345678x012345", false),
        ("1234567890123456789", "12345678x0123456789", false),
        ("1234567890123456789", "1234567890123456789", true),
        ("é\\u0061", "\\u00e9a", true),
    ] {
        let definition = format!(
            r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{{"Variable":"$.v","StringEquals":"{literal}","Next":"Y"}}],"Default":"N"}},
            "Y":{{"Type":"Pass","Result":true,"End":true}},"N":{{"Type":"Pass","Result":false,"End":true}}}}}}"#
        );
        assert_eq!(output(&definition, &format!(r#"{{"v":"{value}"}}"#)), expected.to_string(), "{literal} {value}");
    }
    for (operator, number, expected) in [
        ("NumericLessThan", "19.99", true),
        ("NumericLessThan", "20", false),
        ("NumericLessThanEquals", "2e1", true),
        ("NumericGreaterThan", "20.0000000000000000000001", true),
        ("NumericGreaterThanEquals", "-20", false),
        ("NumericEquals", "20.0", true),
        ("NumericEquals", "\"20\"", false),
        ("NumericGreaterThan", "12345678901234567890", true),
        ("NumericLessThan", "-12345678901234567890", true),
    ] {
        let definition = format!(
            r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{{"Variable":"$.v","{operator}":20,"Next":"Y"}}],"Default":"N"}},
            "Y":{{"Type":"Pass","Result":true,"End":true}},"N":{{"Type":"Pass","Result":false,"End":true}}}}}}"#
        );
        assert_eq!(output(&definition, &format!(r#"{{"v":{number}}}"#)), expected.to_string(), "{operator} {number}");
    }
}

/// Values of every kind, near the literals that they are compared with.
const VALUES: &str = r#"0 1 7 19 20 21 -1 -2 -0 20.0 2e1 99999998 99999999 100000000 123456789012 12345678901234567890 null true [20] {}
    "" "a" "b" "\u0061" "ab" "abcde" "abcdef" "abcdeg" "abcdefghijklmn" "abcdefghijklmm" "abcdefghijklmno" "abcdefghijklmnx" "é" "20""#;

/// Two Choices with the same rules, one on the record and one on what lies over it, a result path on each way, and a template between them.
fn two_choices(rules: &str) -> String {
    let later = rules.replace(r#""Next":"Y""#, r#""Next":"E""#);
    format!(
        r#"{{"StartAt":"A","States":{{"A":{{"Type":"Choice","Choices":[{rules}],"Default":"N"}},
        "N":{{"Type":"Pass","Result":[0],"ResultPath":"$.x","Next":"T"}},"Y":{{"Type":"Pass","Result":1,"ResultPath":"$.v","Next":"T"}},
        "T":{{"Type":"Pass","Parameters":{{"v.$":"$.v","i.$":"$.o.i","k":1,"e.$":"$$.Execution.Name"}},"ResultPath":"$.made","Next":"B"}},
        "B":{{"Type":"Choice","Choices":[{later}],"Default":"Z"}},"E":{{"Type":"Succeed"}},"Z":{{"Type":"Pass","Result":2,"ResultPath":"$.z","End":true}}}}}}"#
    )
}

/// Rules of one test each, and the strings among them as rules of one Choice.
fn rules_of_literals() -> Vec<String> {
    let rule = |member: &str, check: &str| format!(r#"{{"Variable":"$.{member}",{check},"Next":"Y"}}"#);
    let numbers = ["-1", "0", "20", "99999999", "100000000", "123456789012"];
    let operators = ["Equals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"];
    let numeric = operators.into_iter().flat_map(|operator| numbers.map(|number| format!(r#""Numeric{operator}":{number}"#)));
    let strings = ["", "a", "ab", "abcde", "abcdef", "abcdefghijklmn", "abcdefghijklmno", "\\u00e9", "20"].map(|text| format!(r#""StringEquals":"{text}""#));
    let switch = |strings: &[String]| strings.iter().map(|check| rule("v", check)).collect::<Vec<_>>().join(",");
    let plain: Vec<String> = strings.iter().filter(|check| !check.contains('\\')).cloned().collect();
    let switches = [switch(&strings), switch(&plain)];
    let single = numeric.chain(strings).map(|check| format!("{},{}", rule("v", &check), rule("w", r#""IsPresent":true"#)));
    single.chain(switches).collect()
}

/// Everything to be seen of an execution's end.
fn ended(slot: &mut Slot, program: &Program) -> (Step, String, Option<String>, Option<String>, u64) {
    let step = slot.run(program, START, Budget::default(), &mut Effects::default(), &mut Silent);
    let mut output = Vec::new();
    if step == Step::Succeeded {
        slot.write_output(program, &mut output);
    }
    let failure = slot.failure();
    let [error, cause] = [failure.error, failure.cause].map(|text| text.map(str::to_owned));
    (step, String::from_utf8(output).expect("outputs are UTF-8"), error, cause, slot.transitions())
}

#[test]
fn what_a_shape_tells_of_a_record_changes_no_choice_and_no_template() {
    let values: Vec<&str> = VALUES.split_whitespace().collect();
    for rules in rules_of_literals() {
        let program = program(&two_choices(&rules));
        let (mut shapes, mut slot, mut twin) = (Shapes::new(), Slot::new(0), Slot::new(1));
        for (offset, value) in (95..).zip(values.iter().cycle().take(values.len() * 12)) {
            let input = format!(r#"{{"a":[1],"v":{value},"o":{{"i":{offset}}}}}"#);
            let start = Start { name: ExecutionName::Position { topic: "topic", partition: 3, offset }, ..start() };
            slot.start_with(&program, input.as_bytes(), &start, &mut shapes).expect("a valid input");
            twin.start(&program, input.as_bytes(), &start).expect("a valid input");
            let (quick, slow) = (ended(&mut slot, &program), ended(&mut twin, &program));
            assert_eq!(quick, slow, "{rules} {input}");
            assert_eq!((slow.0, slow.1.contains(&format!(r#""e":"topic-3-{offset}""#))), (Step::Succeeded, true), "{rules} {input}");
        }
        assert!(shapes.counts().hits > 0, "shapes are learned");
    }
}

#[test]
fn format_joins_values_of_every_kind() {
    let call = |template: &str, values: &str| {
        output(
            &format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Parameters":{{"s.$":"States.Format('{template}'{values})"}},"End":true}}}}}}"#),
            r#"{"i":-70,"d":1.50,"s":"a\"é","t":true,"n":null,"l":[1,{"k":"v"}]}"#,
        )
    };
    assert_eq!(call("none", ""), r#"{"s":"none"}"#);
    assert_eq!(call("{}{} {}", ", $.i, $.d, $.s"), r#"{"s":"-701.50 a\"é"}"#);
    assert_eq!(call("{},{}", ", $.t, $.n"), r#"{"s":"true,null"}"#);
    assert_eq!(call("<{}>", ", $.l"), r#"{"s":"<[1, {k=v}]>"}"#);
    assert_eq!(call("{}", ", States.MathAdd($.i, 1)"), r#"{"s":"-69"}"#);
    assert_eq!(call("{}{}{}{}{}{}{}{}{}", ", 1, 2, 3, 4, 5, 6, 7, 8, $.t"), r#"{"s":"12345678true"}"#);
}
