//! The canonical cases stage by stage: read a message, run an execution, write its output. A slower number names the folder of the engine to look into.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use expressway_bench::instructions::CASES;
use expressway_bench::messages::Messages;
use expressway_bench::reference;

/// Messages of the hand-written job.
const MESSAGES: u32 = 2_000;

/// The first part of each case.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for case in CASES {
        let workload = case.workload().expect("the definition is valid");
        let mut runner = case.runner(&workload);
        group.throughput(Throughput::Elements(workload.inputs[0].len() as u64));
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| workload.inputs[0].iter().for_each(|message| runner.start(black_box(message), 1).expect("messages are JSON")));
        });
    }
    group.finish();
}

/// All parts of each case.
fn execute(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execute");
    for case in CASES {
        let workload = case.workload().expect("the definition is valid");
        let mut runner = case.runner(&workload);
        group.throughput(Throughput::Elements(workload.inputs[0].len() as u64));
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                for message in workload.inputs[0].iter() {
                    black_box(runner.execute(black_box(message), 1));
                }
            });
        });
    }
    let messages = Messages::generate(MESSAGES, 1);
    group.throughput(Throughput::Elements(u64::from(MESSAGES)));
    group.bench_function("heartbeat_by_hand_with_serde_json", |bencher| {
        bencher.iter(|| {
            for message in messages.iter() {
                black_box(reference::heartbeat(black_box(message), "heartbeats-0-1").expect("messages are JSON"));
            }
        });
    });
    group.finish();
}

/// The last part of each case, of its first message.
fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    for case in CASES {
        let workload = case.workload().expect("the definition is valid");
        let mut runner = case.runner(&workload);
        runner.execute(workload.inputs[0].iter().next().expect("there is a message"), 1);
        group.bench_function(case.name, |bencher| bencher.iter(|| black_box(runner.write().len())));
    }
    group.finish();
}

criterion_group!(stages, parse, execute, write);
criterion_main!(stages);
