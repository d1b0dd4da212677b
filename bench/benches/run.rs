//! The stages one by one: tokenise a document, run a program, write an output. A slower number names the folder of the engine to look into.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use expressway_bench::messages::Messages;
use expressway_bench::reference;
use expressway_bench::workflow::{HEARTBEAT, Runner, program};
use expressway_engine::document::{Document, Symbols};

/// Enough to keep branch predictors from learning them by heart, few enough for the second-level cache.
const MESSAGES: u32 = 2_000;

/// Members that the heartbeat workflow names.
const NAMES: [&str; 5] = ["type", "deviceId", "ts", "battery", "meta"];

fn document(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    let messages = Messages::generate(MESSAGES, 1);
    let mut symbols = Symbols::default();
    for name in NAMES {
        symbols.intern(name).expect("five names fit");
    }
    let mut filled = Document::new();
    group.throughput(Throughput::Elements(u64::from(MESSAGES)));
    group.bench_function("tokenise", |bencher| {
        bencher.iter(|| {
            for message in messages.iter() {
                filled.fill(black_box(message), &symbols).expect("messages are JSON");
                black_box(filled.token_count());
            }
        });
    });
    group.finish();
}

fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    let messages: Vec<Vec<u8>> = Messages::generate(MESSAGES, 1).iter().map(<[u8]>::to_vec).collect();
    bench(&mut group, "heartbeat", HEARTBEAT, &messages);
    bench(&mut group, "pass_chain_100", &pass_chain(100), &messages[..1]);
    bench(&mut group, "pass_result_path_100", &result_path_chain(100), &messages[..1]);
    let kinds: Vec<Vec<u8>> = (0..20).map(|kind| format!(r#"{{"kind":"kind-{kind:02}"}}"#).into_bytes()).collect();
    bench(&mut group, "choice_20_texts", &choice_of_texts(20), &kinds);
    let levels: Vec<Vec<u8>> = (0..20).map(|level| format!(r#"{{"level":{level}}}"#).into_bytes()).collect();
    bench(&mut group, "choice_20_numbers", &choice_of_numbers(20), &levels);
    bench(&mut group, "parallel_4", &parallel(4), &messages[..1]);
    let items: Vec<String> = (0..20).map(|item| format!(r#"{{"n":{item},"unit":"C"}}"#)).collect();
    bench(&mut group, "map_20", MAP, &[format!(r#"{{"site":"s-17","items":[{}]}}"#, items.join(",")).into_bytes()]);
    group.bench_function("heartbeat_by_hand_with_serde_json", |bencher| {
        bencher.iter(|| {
            for message in &messages {
                black_box(reference::heartbeat(black_box(message), "heartbeats-0-1").expect("messages are JSON"));
            }
        });
    });
    group.finish();
}

/// Executions from input to output.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, definition: &str, inputs: &[Vec<u8>]) {
    let program = program(definition, name).expect("the definition is valid");
    let mut runner = Runner::new(&program);
    group.throughput(Throughput::Elements(inputs.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for input in inputs {
                runner.execute(black_box(input), 1);
            }
        });
    });
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    let program = program(HEARTBEAT, "heartbeat").expect("the definition is valid");
    let messages = Messages::generate(1, 1);
    let mut runner = Runner::new(&program);
    runner.execute(messages.iter().next().expect("there is one"), 1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("heartbeat", |bencher| bencher.iter(|| black_box(runner.write().len())));
    group.finish();
}

fn chain(length: usize, state: &str) -> String {
    let states: Vec<String> = (0..length).map(|index| format!(r#""S{index}":{{{state},"Next":"S{}"}}"#, index + 1)).collect();
    format!(r#"{{"StartAt":"S0","States":{{{},"S{length}":{{"Type":"Succeed"}}}}}}"#, states.join(","))
}

fn pass_chain(length: usize) -> String {
    chain(length, r#""Type":"Pass""#)
}

fn result_path_chain(length: usize) -> String {
    chain(length, r#""Type":"Pass","Result":{"a":1},"ResultPath":"$.x""#)
}

fn choice(rules: impl Iterator<Item = String>) -> String {
    let rules: Vec<String> = rules.map(|rule| format!(r#"{{{rule},"Next":"Found"}}"#)).collect();
    format!(
        r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","Choices":[{}],"Default":"Missed"}},"Found":{{"Type":"Succeed"}},"Missed":{{"Type":"Succeed"}}}}}}"#,
        rules.join(",")
    )
}

fn choice_of_texts(count: usize) -> String {
    choice((0..count).map(|index| format!(r#""Variable":"$.kind","StringEquals":"kind-{index:02}""#)))
}

fn choice_of_numbers(count: usize) -> String {
    choice((0..count).map(|index| format!(r#""Variable":"$.level","NumericEquals":{index}"#)))
}

fn parallel(count: usize) -> String {
    let branches: Vec<String> =
        (0..count).map(|index| format!(r#"{{"StartAt":"P","States":{{"P":{{"Type":"Pass","Result":{index},"End":true}}}}}}"#)).collect();
    // State names are unique in the whole definition.
    let branches: Vec<String> = branches.iter().enumerate().map(|(index, branch)| branch.replace("\"P\"", &format!("\"P{index}\""))).collect();
    format!(r#"{{"StartAt":"All","States":{{"All":{{"Type":"Parallel","Branches":[{}],"End":true}}}}}}"#, branches.join(","))
}

const MAP: &str = r#"{"StartAt":"Each","States":{"Each":{"Type":"Map","ItemsPath":"$.items",
  "ItemSelector":{"site.$":"$.site","item.$":"$$.Map.Item.Value","index.$":"$$.Map.Item.Index"},
  "ItemProcessor":{"StartAt":"Warm","States":{"Warm":{"Type":"Pass","Result":true,"ResultPath":"$.seen","End":true}}},"End":true}}}"#;

criterion_group!(stages, document, run, write);
criterion_main!(stages);
