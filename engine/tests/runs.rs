//! Behaviour that wants more than one input and one output: replies that come late, retries in time, concurrency, identity.

use expressway_engine::hir::{StateId, WorkflowType, lower};
use expressway_engine::{
    Budget, Decision, Deployment, Effect, EffectId, Effects, Event, EventKind, ExecutionName, Observer, Reply, Resumed, Silent, Slot, Start, Step, Timestamp,
    compile,
};

use crate::support::{START, output, program, run, run_with, start};

const TASK: &str = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","TimeoutSeconds":5,"Catch":[{"ErrorEquals":["States.Timeout"],"Next":"C"}],"End":true},"C":{"Type":"Pass","End":true}}}"#;

fn only_call(effects: &Effects) -> (EffectId, Option<Timestamp>) {
    match effects.list.first() {
        Some(Effect::Call { id, timeout_at, .. }) => (*id, *timeout_at),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_after_its_time_out_or_for_a_reused_slot_is_stale() {
    let program = program(TASK);
    let (mut slot, mut effects) = (Slot::new(3), Effects::default());
    slot.start(&program, b"{}", &start()).expect("valid");
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut Silent), Step::Suspended);
    let (call, timeout_at) = only_call(&effects);
    assert_eq!((call.slot, timeout_at), (3, Some(START.plus_ms(5000))));
    assert_eq!(slot.resume(&program, call, Reply::TimedOut), Resumed::Accepted);
    assert_eq!(slot.resume(&program, call, Reply::Success(b"1")), Resumed::Stale);
    assert_eq!(slot.run(&program, START.plus_ms(5000), Budget::default(), &mut effects, &mut Silent), Step::Succeeded);
    let mut out = Vec::new();
    slot.write_output(&program, &mut out);
    assert_eq!(out, br#"{"Error":"States.Timeout","Cause":""}"#);
    assert_eq!(slot.resume(&program, call, Reply::Success(b"1")), Resumed::Stale);
    slot.start(&program, b"{}", &start()).expect("valid");
    effects.clear();
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut Silent), Step::Suspended);
    assert_eq!(slot.resume(&program, call, Reply::Success(b"1")), Resumed::Stale, "the old execution's reply must not reach the new one");
    let (call, _) = only_call(&effects);
    assert_eq!(slot.resume(&program, call, Reply::Success(b"[1]")), Resumed::Accepted);
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut Silent), Step::Succeeded);
}

#[test]
fn a_failed_branch_cancels_the_open_effects_of_its_siblings() {
    let program = program(
        r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
            {"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":100,"End":true}}},
            {"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","End":true}}},
            {"StartAt":"F","States":{"F":{"Type":"Fail","Error":"Boom","Cause":"why"}}}]}}}"#,
    );
    let (mut slot, mut effects) = (Slot::new(0), Effects::default());
    slot.start(&program, b"{}", &start()).expect("valid");
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut Silent), Step::Failed);
    assert_eq!((slot.failure().error, slot.failure().cause), (Some("Boom"), Some("why")));
    let asked: Vec<EffectId> = effects
        .list
        .iter()
        .filter_map(|effect| match effect {
            Effect::Sleep { id, .. } | Effect::Call { id, .. } => Some(*id),
            Effect::Cancel { .. } => None,
        })
        .collect();
    let cancelled: Vec<EffectId> = effects
        .list
        .iter()
        .filter_map(|effect| match effect {
            Effect::Cancel { id } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!((asked.len(), &asked), (2, &cancelled));
    assert!(asked.iter().all(|id| slot.resume(&program, *id, Reply::Elapsed) == Resumed::Stale));
}

#[test]
fn retries_wait_as_the_specification_computes() {
    let definition = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x",
        "Retry":[{"ErrorEquals":["A","B"],"MaxAttempts":2,"IntervalSeconds":1},{"ErrorEquals":["C"],"IntervalSeconds":5}],
        "Catch":[{"ErrorEquals":["States.ALL"],"Next":"C"}],"End":true},"C":{"Type":"Pass","End":true}}}"#;
    let mut errors = ["A", "B", "C", "B"].into_iter();
    let ended = run_with(&program(definition), &mut Slot::new(0), "{}", |_| Err(errors.next().expect("four calls").to_owned()));
    assert_eq!((ended.output.as_str(), ended.ms), (r#"{"Error":"B","Cause":"cause"}"#, 8000));
    assert!(errors.next().is_none());
}

#[test]
fn delays_grow_to_their_bound_and_full_jitter_stays_below_them() {
    let definition = |more: &str| {
        format!(
            r#"{{"StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"native:x","Retry":[{{"ErrorEquals":["States.ALL"],"MaxAttempts":5,"IntervalSeconds":2,"BackoffRate":3{more}}}],"End":true}}}}}}"#
        )
    };
    let ms = |more: &str| run_with(&program(&definition(more)), &mut Slot::new(0), "{}", |_| Err("A".to_owned())).ms;
    assert_eq!(ms(r#","MaxDelaySeconds":10"#), 2000 + 6000 + 10_000 * 3);
    let jittered = ms(r#","MaxDelaySeconds":10,"JitterStrategy":"FULL""#);
    assert!(jittered > 0 && jittered < 38_000, "{jittered}");
    assert_eq!(jittered, ms(r#","MaxDelaySeconds":10,"JitterStrategy":"FULL""#), "one seed replays one run");
}

#[test]
fn map_keeps_at_most_its_concurrency_in_flight_and_its_order() {
    let program = program(
        r#"{"StartAt":"M","States":{"M":{"Type":"Map","MaxConcurrency":3,"ItemProcessor":{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","End":true}}},"End":true}}}"#,
    );
    let (mut slot, mut effects) = (Slot::new(0), Effects::default());
    slot.start(&program, b"[0,1,2,3,4,5,6]", &start()).expect("valid");
    let mut open: Vec<(EffectId, Vec<u8>)> = Vec::new();
    let mut most = 0;
    loop {
        match slot.run(&program, START, Budget::default(), &mut effects, &mut Silent) {
            Step::Suspended => {
                for effect in &effects.list {
                    if let Effect::Call { id, input, .. } = effect {
                        open.push((*id, effects.bytes[input.clone()].to_vec()));
                    }
                }
                effects.clear();
                most = most.max(open.len());
                // The youngest is answered first.
                let (id, input) = open.pop().expect("something is open while the execution is suspended");
                let reply = [b"[", input.as_slice(), b"]"].concat();
                assert_eq!(slot.resume(&program, id, Reply::Success(&reply)), Resumed::Accepted);
            }
            step => {
                assert_eq!(step, Step::Succeeded);
                break;
            }
        }
    }
    let mut out = Vec::new();
    slot.write_output(&program, &mut out);
    assert_eq!((most, String::from_utf8(out).expect("UTF-8").as_str()), (3, "[[0],[1],[2],[3],[4],[5],[6]]"));
}

#[test]
fn an_item_selector_that_fails_late_fails_the_map_once() {
    let ended = run(
        r#"{"StartAt":"M","States":{"M":{"Type":"Map","MaxConcurrency":1,"ItemSelector":{"v.$":"$$.Map.Item.Value.a"},
            "ItemProcessor":{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}},"End":true}}}"#,
        r#"[{"a":1},{"b":2},{"a":3}]"#,
    );
    assert_eq!((ended.step, ended.error.as_deref()), (Step::Failed, Some("States.Runtime")));
    assert!(ended.cause.unwrap_or_default().contains("'$$.Map.Item.Value.a' specified for the field 'v.$'"));
}

#[test]
fn untouched_bytes_leave_as_they_came() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Result":{"n":1.50},"ResultPath":"$.b","End":true}}}"#;
    assert_eq!(
        output(definition, r#"{"a":1.10e2,"s":"\u00e9\/","b":0,"big":123456789012345678901234567890}"#),
        r#"{"a":1.10e2,"s":"\u00e9\/","b":{"n":1.50},"big":123456789012345678901234567890}"#
    );
    assert_eq!(output(definition, "{ \"z\" : [ 1 , 2 ] }"), r#"{"z":[1,2],"b":{"n":1.50}}"#);
    assert_eq!(output(definition, "{}"), r#"{"b":{"n":1.50}}"#);
}

#[test]
fn many_results_into_one_object_keep_places_and_values() {
    let mut states = String::new();
    for n in 0..60 {
        states += &format!(r#""S{n}":{{"Type":"Pass","Result":{n},"ResultPath":"$.k{}","Next":"S{}"}},"#, n % 40, n + 1);
    }
    let definition = format!(r#"{{"StartAt":"S0","States":{{{states}"S60":{{"Type":"Pass","End":true}}}}}}"#);
    let members: Vec<String> = (0..40).map(|k| format!(r#""k{k}":{}"#, if k < 20 { k + 40 } else { k })).collect();
    assert_eq!(output(&definition, r#"{"k5":"x","first":true}"#), {
        let mut expected = vec![members[5].clone(), "\"first\":true".to_owned()];
        expected.extend(members.iter().enumerate().filter(|(k, _)| *k != 5).map(|(_, text)| text.clone()));
        format!("{{{}}}", expected.join(","))
    });
}

#[test]
fn a_machine_time_out_ends_a_wait() {
    let ended = run(r#"{"TimeoutSeconds":7,"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"End":true}}}"#, "{}");
    assert_eq!((ended.step, ended.ms, ended.error.as_deref()), (Step::TimedOut, 7000, Some("States.Timeout")));
    let ended = run(r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":301,"End":true}}}"#, "{}");
    assert_eq!((ended.step, ended.ms), (Step::TimedOut, 300_000));
}

#[test]
fn a_standard_execution_has_no_cap_of_five_minutes_and_its_own_arn() {
    let definition = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":86400,"Next":"A"},"A":{"Type":"Pass","Parameters":{"id.$":"$$.Execution.Id","n.$":"$$.Execution.RedriveCount"},"End":true}}}"#;
    let lowered = lower(definition, WorkflowType::Standard).expect("valid");
    let program = compile(&lowered.machine, &Deployment::named("m")).expect("compiles");
    let ended = run_with(&program, &mut Slot::new(0), "{}", |_| unreachable!("there is no task"));
    assert_eq!(ended.output, r#"{"id":"arn:aws:states:us-east-1:000000000000:execution:m:execution","n":0}"#);
    assert_eq!(ended.ms, 86_400_000);
}

#[test]
fn a_computed_integer_is_compared_by_its_value() {
    let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"n.$":"States.MathAdd($.n, 1)"},"Next":"B"},
        "B":{"Type":"Choice","Choices":[{"Variable":"$.n","NumericLessThan":3,"Next":"Less"},{"Variable":"$.n","NumericEquals":3.0,"Next":"Same"}],"Default":"More"},
        "Less":{"Type":"Pass","Result":"less","End":true},"Same":{"Type":"Pass","Result":"same","End":true},"More":{"Type":"Pass","Result":"more","End":true}}}"#;
    for (n, expected) in [(1, "less"), (2, "same"), (3, "more")] {
        assert_eq!(output(definition, &format!(r#"{{"n":{n}}}"#)), format!("\"{expected}\""));
    }
}

#[test]
fn positions_name_executions() {
    let program =
        program(r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"n.$":"$$.Execution.Name","t.$":"$$.Execution.StartTime"},"End":true}}}"#);
    let mut slot = Slot::new(0);
    let start = Start { name: ExecutionName::Position { topic: "heartbeats", partition: 3, offset: 42 }, now: START, seed: 0 };
    slot.start(&program, b"{}", &start).expect("valid");
    assert_eq!(slot.run(&program, START, Budget::default(), &mut Effects::default(), &mut Silent), Step::Succeeded);
    let (mut out, mut name) = (Vec::new(), Vec::new());
    slot.write_output(&program, &mut out);
    slot.write_name(&mut name);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), r#"{"n":"heartbeats-3-42","t":"2023-11-14T22:13:20.000Z"}"#);
    assert_eq!(name, b"heartbeats-3-42");
}

#[derive(Default)]
struct Ids(Vec<(u64, u64, EventKind)>);

impl Observer for Ids {
    const LISTENS: bool = true;

    fn event(&mut self, event: &Event<'_>) {
        self.0.push((event.id, event.previous, event.kind));
    }
}

#[test]
fn events_are_numbered_as_the_service_numbers_them() {
    let program = program(r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"native:x","Next":"S"},"S":{"Type":"Succeed"}}}"#);
    let (mut slot, mut effects, mut ids) = (Slot::new(0), Effects::default(), Ids::default());
    slot.start(&program, b"{}", &start()).expect("valid");
    slot.run(&program, START, Budget::default(), &mut effects, &mut ids);
    let (call, _) = only_call(&effects);
    slot.resume(&program, call, Reply::Success(b"{}"));
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut ids), Step::Succeeded);
    let numbers: Vec<(u64, u64)> = ids.0.iter().map(|(id, previous, _)| (*id, *previous)).collect();
    // Started and the first StateEntered have no predecessor; then each event follows the one before.
    assert_eq!(numbers, [(1, 0), (2, 0), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (8, 7), (9, 8)]);
    assert_eq!(ids.0.last().map(|event| event.2), Some(EventKind::ExecutionSucceeded));
}

#[derive(Default)]
struct Decisions(Vec<(u32, Decision)>);

impl Observer for Decisions {
    const LISTENS: bool = true;

    fn event(&mut self, _: &Event<'_>) {}

    fn decision(&mut self, state: StateId, decision: Decision) {
        self.0.push((state.0, decision));
    }
}

#[test]
fn observers_hear_which_rule_of_a_choice_held_a_hash_switch_included() {
    let rule = |text: &str| format!(r#"{{"Variable":"$.t","StringEquals":"{text}","Assign":{{"v":1}},"Next":"S"}}"#);
    // Four texts make a hash switch; a rule of another kind stands before and behind it, and a text stands twice.
    let rules: Vec<_> = ["a", "b", "c", "b", "d"].iter().map(|text| rule(text)).collect();
    let text = format!(
        r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","OutputPath":"$.t","Default":"S","Choices":[
            {{"Or":[{{"Variable":"$.n","NumericEquals":1}},{{"Variable":"$.n","NumericEquals":2}}],"Next":"S"}},{},{{"Variable":"$.t","StringMatches":"e*","Next":"S"}}]}},"S":{{"Type":"Succeed"}}}}}}"#,
        rules.join(",")
    );
    let program = program(&text);
    for (input, rule) in [
        (r#"{"n":2,"t":"a"}"#, 0),
        (r#"{"n":0,"t":"a"}"#, 1),
        (r#"{"n":0,"t":"b"}"#, 2),
        (r#"{"n":0,"t":"d"}"#, 5),
        (r#"{"n":0,"t":"ef"}"#, 6),
        (r#"{"n":0,"t":"f"}"#, 7),
    ] {
        let (mut slot, mut decisions) = (Slot::new(0), Decisions::default());
        slot.start(&program, input.as_bytes(), &start()).expect("valid");
        assert_eq!(slot.run(&program, START, Budget::default(), &mut Effects::default(), &mut decisions), Step::Succeeded);
        assert_eq!(decisions.0, [(0, Decision::Chooses(rule)), (1, Decision::GoesOn)], "{input}");
    }
}

#[test]
fn observers_hear_which_retrier_retried_and_which_catcher_caught() {
    let text = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","Retry":[{"ErrorEquals":["A"]},{"ErrorEquals":["E"],"MaxAttempts":1}],
        "Catch":[{"ErrorEquals":["A"],"Next":"K"},{"ErrorEquals":["E"],"Next":"K"}],"End":true,"Branches":[{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E"}}}]},
        "K":{"Type":"Pass","End":true}}}"#;
    let program = program(text);
    let (mut slot, mut effects, mut decisions) = (Slot::new(0), Effects::default(), Decisions::default());
    slot.start(&program, b"{}", &start()).expect("valid");
    assert_eq!(slot.run(&program, START, Budget::default(), &mut effects, &mut decisions), Step::Suspended);
    // The other sleep is that of the execution's deadline.
    let sleeps = effects.list.iter().filter_map(|effect| match effect {
        Effect::Sleep { id, until } => Some((*until, *id)),
        _ => None,
    });
    let (until, id) = sleeps.min().expect("the retry waits");
    slot.resume(&program, id, Reply::Elapsed);
    assert_eq!(slot.run(&program, until, Budget::default(), &mut effects, &mut decisions), Step::Succeeded);
    let by_state: Vec<_> = decisions.0.iter().map(|(_, decision)| *decision).collect();
    assert_eq!(by_state, [Decision::Retries(1), Decision::Catches(1), Decision::GoesOn], "a caught state does not go on by Next or End");
}

#[test]
fn a_definition_that_lowers_compiles_and_verifies() {
    for text in [
        include_str!("../../configs/definitions/heartbeat.asl.json"),
        include_str!("../../configs/definitions/alert.asl.json"),
        include_str!("../../configs/definitions/registration.asl.json"),
    ] {
        assert!(program(text).op_count() > 10);
    }
}
