//! Histories of what no single strand makes: failures beside running branches and iterations, retries, results that are refused.

use expressway_engine::hir::WorkflowType;
use expressway_engine::history::{BYTES_MAX, EVENTS_MAX, Encoder, Entry, Fact, Recorder};
use expressway_engine::{Budget, Effect, Effects, Reply, Silent, Slot, Step};

use crate::support::{START, program, start, typed_program};

/// How a task is answered in a test: the input decides.
fn answer(input: &[u8]) -> Option<Reply<'static>> {
    match input {
        b"\"fail\"" => Some(Reply::Failure { error: "Custom", cause: Some("asked for") }),
        b"\"late\"" => Some(Reply::TimedOut),
        b"\"silent\"" => None,
        _ => Some(Reply::Success(b"1")),
    }
}

/// The history of an execution, sleeps elapsing at once and in order where nothing else can go on.
fn history(definition: &str, input: &str) -> Vec<Entry> {
    let program = program(definition);
    let (mut slot, mut effects, mut recorder) = (Slot::new(0), Effects::default(), Recorder::default());
    slot.start(&program, input.as_bytes(), &start()).expect("valid");
    let mut now = START;
    let mut sleeps = Vec::new();
    for _ in 0..1_000 {
        match slot.run(&program, now, Budget::default(), &mut effects, &mut recorder) {
            Step::Suspended => {}
            Step::Yielded => continue,
            _ => return recorder.entries().to_vec(),
        }
        let mut answered = false;
        for effect in std::mem::take(&mut effects.list) {
            match effect {
                Effect::Sleep { id, until } => sleeps.push((until, id)),
                Effect::Cancel { id } => sleeps.retain(|(_, open)| *open != id),
                Effect::Call { id, input, .. } => {
                    if let Some(reply) = answer(&effects.bytes[input]) {
                        slot.resume(&program, id, reply);
                        answered = true;
                    }
                }
            }
        }
        if !answered {
            sleeps.sort_unstable();
            let (until, id) = sleeps.remove(0);
            now = until;
            slot.resume(&program, id, Reply::Elapsed);
        }
    }
    panic!("the execution does not end")
}

/// One line an event: id, previous, type, and the state where it has one.
fn lines(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| {
            let index = match entry.fact("index") {
                Some(Fact::Number(index)) => format!("[{index}]"),
                _ => String::new(),
            };
            format!("{} {} {} {}{index}", entry.id, entry.previous, entry.type_name, entry.state.as_deref().unwrap_or("-"))
        })
        .collect()
}

fn check(definition: &str, input: &str, expected: &[&str]) {
    assert_eq!(lines(&history(definition, input)), expected);
}

const FAILING_BRANCH: &str = r#"{"StartAt":"Both","States":{"Both":{"Type":"Parallel","Branches":[
  {"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"native:x","End":true}}},
  {"StartAt":"Sleep","States":{"Sleep":{"Type":"Wait","Seconds":9,"End":true}}}],
  "Catch":[{"ErrorEquals":["Custom"],"Next":"Caught"}],"End":true},"Caught":{"Type":"Succeed"}}}"#;

// spec/asl.md 6.6 and 13.
#[test]
fn a_failed_branch_aborts_what_its_siblings_are_in() {
    check(
        FAILING_BRANCH,
        "\"fail\"",
        &[
            "1 0 ExecutionStarted -",
            "2 0 ParallelStateEntered Both",
            "3 2 ParallelStateStarted Both",
            "4 3 TaskStateEntered Call",
            "5 4 TaskScheduled Call",
            "6 5 TaskStarted Call",
            "7 3 WaitStateEntered Sleep",
            "8 6 TaskFailed Call",
            "9 8 TaskStateAborted Call",
            "10 7 WaitStateAborted Sleep",
            "11 8 ParallelStateFailed Both",
            "12 11 ParallelStateExited Both",
            "13 12 SucceedStateEntered Caught",
            "14 13 SucceedStateExited Caught",
            "15 14 ExecutionSucceeded -",
        ],
    );
}

const FAILING_ITERATION: &str = r#"{"StartAt":"Each","States":{"Each":{"Type":"Map","MaxConcurrency":2,
  "ItemProcessor":{"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"native:x","End":true}}},
  "Retry":[{"ErrorEquals":["States.TaskFailed"],"MaxAttempts":1}],"End":true}}}"#;

#[test]
fn a_failed_iteration_aborts_the_others_and_the_map_starts_again() {
    let expected = [
        "1 0 ExecutionStarted -",
        "2 0 MapStateEntered Each",
        "3 2 MapStateStarted Each",
        "4 3 MapIterationStarted Each[0]",
        "5 3 MapIterationStarted Each[1]",
        "6 4 TaskStateEntered Call",
        "7 6 TaskScheduled Call",
        "8 7 TaskStarted Call",
        "9 5 TaskStateEntered Call",
        "10 9 TaskScheduled Call",
        "11 10 TaskStarted Call",
        "12 11 TaskFailed Call",
        "13 12 MapIterationFailed Each[1]",
        "14 8 TaskStateAborted Call",
        "15 8 MapIterationAborted Each[0]",
        // The retry.
        "16 12 MapStateStarted Each",
        "17 16 MapIterationStarted Each[0]",
    ];
    let entries = history(FAILING_ITERATION, r#"["silent","fail"]"#);
    assert_eq!(lines(&entries)[..17], expected);
    let ending: Vec<String> = lines(&entries).split_off(entries.len() - 2);
    assert_eq!(ending, ["29 25 MapStateFailed Each", "30 29 ExecutionFailed -"]);
}

#[test]
fn states_runtime_ends_the_execution_where_it_stands() {
    let text = r#"{"StartAt":"Both","States":{"Both":{"Type":"Parallel","End":true,"Branches":[
        {"StartAt":"Bad","States":{"Bad":{"Type":"Pass","InputPath":"$.missing","End":true}}},
        {"StartAt":"Good","States":{"Good":{"Type":"Pass","End":true}}}]}}}"#;
    check(
        text,
        "{}",
        &["1 0 ExecutionStarted -", "2 0 ParallelStateEntered Both", "3 2 ParallelStateStarted Both", "4 3 PassStateEntered Bad", "5 4 ExecutionFailed -"],
    );
}

#[test]
fn an_empty_map_succeeds_at_once() {
    let text = r#"{"StartAt":"Each","States":{"Each":{"Type":"Map","ItemProcessor":{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}},"End":true}}}"#;
    let entries = history(text, "[]");
    assert_eq!(lines(&entries)[2..5], ["3 2 MapStateStarted Each", "4 3 MapStateSucceeded Each", "5 3 MapStateExited Each"]);
    assert_eq!(entries[2].fact("length"), Some(&Fact::Number(0)));
}

#[test]
fn a_task_that_runs_over_its_time_says_so_with_its_bound() {
    let text = r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"arn:aws:states:::sqs:sendMessage","TimeoutSeconds":7,"End":true}}}"#;
    let entries = history(text, "\"late\"");
    assert_eq!(lines(&entries)[2..], ["3 2 TaskScheduled T", "4 3 TaskStarted T", "5 4 TaskTimedOut T", "6 5 ExecutionFailed -"]);
    let scheduled = &entries[2];
    assert_eq!(scheduled.fact("timeoutInSeconds"), Some(&Fact::Number(7)));
    assert_eq!(scheduled.fact("resource"), Some(&Fact::Text("sendMessage".into())));
    assert_eq!(scheduled.fact("resourceType"), Some(&Fact::Text("sqs".into())));
    assert_eq!(scheduled.fact("region"), Some(&Fact::Text("us-east-1".into())));
    assert_eq!(scheduled.fact("parameters"), Some(&Fact::Data("\"late\"".into())));
    assert_eq!(entries[4].fact("error"), Some(&Fact::Text("States.Timeout".into())));
    assert_eq!(entries[4].fact("cause"), None);
}

/// The details of the event that schedules the Task of a definition of one, as a history shows them.
fn scheduled(task: &str, input: &str) -> serde_json::Value {
    let entries = history(&format!(r#"{{"StartAt":"T","States":{{"T":{{"Type":"Task",{task},"End":true}}}}}}"#), input);
    let mut text = Vec::new();
    Encoder::default().api(&entries[2], &mut text);
    let event: serde_json::Value = serde_json::from_slice(&text).expect("a history is JSON");
    event.get("taskScheduledEventDetails").or_else(|| event.get("lambdaFunctionScheduledEventDetails")).cloned().expect("a scheduled task has details")
}

#[test]
fn a_scheduled_task_tells_its_heartbeat_and_its_role() {
    let literal = r#""Resource":"arn:aws:states:::sqs:sendMessage","HeartbeatSeconds":5,"TimeoutSeconds":7,"Credentials":{"RoleArn":"r"}"#;
    let expected = serde_json::json!({
        "heartbeatInSeconds": 5, "parameters": "{}", "region": "us-east-1", "resource": "sendMessage", "resourceType": "sqs",
        "taskCredentials": {"roleArn": "r"}, "timeoutInSeconds": 7,
    });
    assert_eq!(scheduled(literal, "{}"), expected);
    let paths = r#""Resource":"arn:aws:states:::sqs:sendMessage","InputPath":"$.in","Parameters":{},
        "HeartbeatSecondsPath":"$.h","TimeoutSecondsPath":"$.t","Credentials":{"RoleArn.$":"States.Format('{}', $.r)"}"#;
    assert_eq!(scheduled(paths, r#"{"in":{"h":5,"t":7,"r":"r"}}"#), expected);
}

#[test]
fn a_function_called_directly_has_a_role_and_no_heartbeat() {
    let arn = "arn:aws:lambda:us-east-1:111111111111:function:f";
    let task = format!(r#""Resource":"{arn}","HeartbeatSeconds":5,"Credentials":{{"RoleArn":"a \"r\""}}"#);
    assert_eq!(
        scheduled(&task, "{}"),
        serde_json::json!({"input": "{}", "inputDetails": {"truncated": false}, "resource": arn, "taskCredentials": {"roleArn": "a \"r\""}})
    );
}

#[test]
fn a_machine_that_runs_over_its_time_ends_with_an_event_from_outside() {
    let text = r#"{"StartAt":"W","TimeoutSeconds":5,"States":{"W":{"Type":"Wait","Seconds":9,"End":true}}}"#;
    check(text, "{}", &["1 0 ExecutionStarted -", "2 0 WaitStateEntered W", "3 0 ExecutionTimedOut -"]);
}

#[test]
fn a_listener_changes_no_id_that_a_cause_quotes() {
    let text = r#"{"StartAt":"Both","States":{"Both":{"Type":"Parallel","Branches":[
        {"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"native:x","End":true}}},
        {"StartAt":"Sleep","States":{"Sleep":{"Type":"Wait","Seconds":9,"End":true}}}],
        "Catch":[{"ErrorEquals":["Custom"],"Next":"Bad"}],"End":true},"Bad":{"Type":"Pass","InputPath":"$.missing","End":true}}}"#;
    let entries = history(text, "\"fail\"");
    let silent = crate::support::run_with(&program(text), &mut Slot::new(0), "\"fail\"", |_| Err("Custom".to_owned()));
    let cause = silent.cause.expect("it fails");
    assert!(cause.contains("(entered at the event id #13)"), "{cause}");
    assert_eq!(entries.last().and_then(|entry| entry.fact("cause")), Some(&Fact::Text(cause.into())));
}

/// Goes round for ever, without a Wait.
const LOOP: &str =
    r#"{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.go","BooleanEquals":true,"Next":"C"}],"Default":"E"},"E":{"Type":"Succeed"}}}"#;

/// Runs `definition` until it ends or has used up `budgets` budgets.
fn recorded(definition: &str, workflow_type: WorkflowType, input: &str, budgets: u32) -> (Step, Slot, Recorder) {
    let program = typed_program(definition, workflow_type);
    let (mut slot, mut effects, mut recorder) = (Slot::new(0), Effects::default(), Recorder::default());
    slot.start(&program, input.as_bytes(), &start()).expect("valid");
    let mut step = Step::Yielded;
    for _ in 0..budgets {
        if step == Step::Yielded {
            step = slot.run(&program, START, Budget::default(), &mut effects, &mut recorder);
        }
    }
    (step, slot, recorder)
}

#[test]
fn the_event_number_25000_of_a_standard_execution_is_its_end() {
    let (step, slot, recorder) = recorded(LOOP, WorkflowType::Standard, "{\"go\":true}", 10);
    assert_eq!(step, Step::Failed);
    let cause = "The execution reached the maximum number of history events (25000).";
    assert_eq!((slot.failure().error, slot.failure().cause), (Some("States.Runtime"), Some(cause)));
    let [.., before, end] = recorder.entries() else { panic!("there are events") };
    assert_eq!((before.id, before.type_name), (24_999, "ChoiceStateExited"));
    assert_eq!((end.id, end.previous, end.type_name), (25_000, 24_999, "ExecutionFailed"));
}

#[test]
fn nothing_catches_the_end_of_the_history_and_express_has_none() {
    let inside = format!(
        r#"{{"StartAt":"P","States":{{"P":{{"Type":"Parallel","Branches":[{LOOP}],"Retry":[{{"ErrorEquals":["States.ALL"]}}],"Catch":[{{"ErrorEquals":["States.ALL"],"Next":"S"}}],"Next":"S"}},"S":{{"Type":"Succeed"}}}}}}"#
    );
    let (step, slot, _) = recorded(&inside, WorkflowType::Standard, "{\"go\":true}", 10);
    assert_eq!((step, slot.failure().error), (Step::Failed, Some("States.Runtime")));
    let (step, slot, _) = recorded(LOOP, WorkflowType::Express, "{\"go\":true}", 4);
    assert_eq!((step, slot.transitions()), (Step::Yielded, 40_000));
}

#[test]
fn a_standard_execution_may_end_well_with_its_last_event() {
    // Started, then two events a Pass and two for the Succeed; the end is the next.
    let chain = |passes: usize| {
        let states: Vec<String> = (0..passes)
            .map(|n| format!(r#""P{n}":{{"Type":"Pass","Next":"{}"}}"#, if n + 1 == passes { "S".to_owned() } else { format!("P{}", n + 1) }))
            .collect();
        format!(r#"{{"StartAt":"P0","States":{{{},"S":{{"Type":"Succeed"}}}}}}"#, states.join(","))
    };
    let (step, _, recorder) = recorded(&chain(12_498), WorkflowType::Standard, "{}", 4);
    assert_eq!((step, recorder.entries().len()), (Step::Succeeded, 25_000));
    let (step, _, recorder) = recorded(&chain(12_499), WorkflowType::Standard, "{}", 4);
    assert_eq!((step, recorder.entries().len()), (Step::Failed, 25_000));
}

#[test]
fn a_budget_of_a_standard_execution_is_as_large_as_any() {
    let program = typed_program(LOOP, WorkflowType::Standard);
    let (mut slot, mut effects) = (Slot::new(0), Effects::default());
    slot.start(&program, b"{\"go\":true}", &start()).expect("valid");
    let budget = Budget { transitions: 100, bytes: 1 << 20 };
    for run in 1..=3 {
        assert_eq!(slot.run(&program, START, budget, &mut effects, &mut Silent), Step::Yielded);
        assert_eq!(slot.transitions(), run * 100);
    }
}

#[test]
fn a_recorder_is_bounded_in_events_and_in_bytes_and_keeps_the_end() {
    let (_, _, recorder) = recorded(LOOP, WorkflowType::Express, "{\"go\":true}", 10);
    assert_eq!((recorder.entries().len(), recorder.omitted()), (EVENTS_MAX, 200_001 - 100_000));
    let large = format!("{{\"go\":true,\"text\":\"{}\"}}", "x".repeat(250_000));
    let (_, _, mut recorder) = recorded(LOOP, WorkflowType::Express, &large, 1);
    let kept: usize = recorder.entries().iter().flat_map(|entry| entry.details.iter().flatten()).map(|(_, fact)| format!("{fact:?}").len()).sum();
    assert!((BYTES_MAX / 2..BYTES_MAX * 2).contains(&kept) && recorder.omitted() > 10_000, "{kept} bytes, {} omitted", recorder.omitted());
    recorder.clear();
    assert_eq!((recorder.entries().len(), recorder.omitted()), (0, 0));

    let program = typed_program(LOOP, WorkflowType::Express);
    let (mut slot, mut effects, mut recorder) = (Slot::new(0), Effects::default(), Recorder::default());
    slot.start(&program, b"{\"go\":true}", &start()).expect("valid");
    for _ in 0..6 {
        slot.run(&program, START, Budget::default(), &mut effects, &mut recorder);
    }
    assert_eq!(slot.run(&program, START.plus_ms(300_000), Budget::default(), &mut effects, &mut recorder), Step::TimedOut);
    let end = recorder.entries().last().expect("an end");
    assert_eq!((end.id, end.type_name), (120_002, "ExecutionTimedOut"));
}
