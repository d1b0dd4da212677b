//! The engine is the reference interpreter, only faster: random definitions and inputs on both.
//!
//! `PROPTEST_CASES` sets how many trials are made, `PROPTEST_RNG_SEED` replays a run. A finding prints its bytes after shrinking; kept as a file in `data/regressions/differential`, it is replayed by every run from then on, as are the findings of the fuzzer in the folders beside it and its seeds.

mod messages;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;

use expressway_ingest::random::Random;
use harness::differential::{Agreed, check};
use harness::same_shapes::{Pair, damaged};
use harness::target::TARGETS;
use messages::message;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// Trials of one run, unless the environment says otherwise.
const TRIALS: u32 = 8_000;
/// Longest bytes of a trial.
const BYTES_MAX: usize = 700;

/// The environment's number, or another.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_engine_does_what_the_reference_does() {
    let seed = number("PROPTEST_RNG_SEED", 20_261_121);
    let cases = u32::try_from(number("PROPTEST_CASES", u64::from(TRIALS))).expect("a 32-bit count");
    let config = Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), max_shrink_iters: 4_000, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcomes: RefCell<BTreeMap<String, u32>> = RefCell::default();
    let shrinking = Cell::new(false);
    let result = runner.run(&proptest::collection::vec(proptest::num::u8::ANY, 0..BYTES_MAX), |bytes| {
        let agreed = check(&bytes).map_err(|difference| {
            shrinking.set(true);
            TestCaseError::fail(difference)
        })?;
        if !shrinking.get() {
            *outcomes.borrow_mut().entry(format!("{agreed:?}")).or_default() += 1;
        }
        Ok(())
    });
    if let Err(finding) = result {
        panic!("seed {seed}: {finding}");
    }
    // The trials must be worth making: each outcome is met, and few are given up as ties.
    let outcomes = outcomes.into_inner();
    let count = |agreed: Agreed| outcomes.get(&format!("{agreed:?}")).copied().unwrap_or(0);
    for status in ["SUCCEEDED", "FAILED", "TIMED_OUT"] {
        assert!(count(Agreed::On(status)) >= cases / 1_000, "seed {seed}: too few trials end {status}: {outcomes:?}");
    }
    assert!(count(Agreed::Tied) <= cases / 10, "seed {seed}: too many ties: {outcomes:?}");
}

#[test]
fn learned_shapes_change_nothing_but_the_way() {
    let seed = number("PROPTEST_RNG_SEED", 20_261_121);
    for (shapes, hits_min) in [(1, 900), (4, 900), (8, 800), (64, 500), (1_000, 0)] {
        let mut random = Random::new(seed ^ shapes);
        let mut pair = Pair::new();
        for _ in 0..1_200 {
            let shape = random.below(shapes) + seed.rotate_left(20);
            pair.check(&message(shape, &mut random));
        }
        let counts = pair.counts();
        assert!(counts.hits >= hits_min, "seed {seed}, {shapes} shapes: {counts:?}");
        for shape in 0..shapes.min(20) {
            pair.forget();
            let text = message(shape + seed.rotate_left(20), &mut random);
            pair.check(&text);
            damaged(&text).iter().for_each(|text| pair.check(text));
        }
    }
}

#[test]
fn seeds_and_former_findings_stay_settled() {
    for (name, target) in TARGETS {
        let folders = [harness::package().join("data/regressions").join(name), harness::package().join("../engine/fuzz/seeds").join(name)];
        let mut replayed = 0;
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten() {
            let path = entry.expect("the folder can be read").path();
            let bytes = fs::read(&path).expect("a seed can be read");
            if catch_unwind(|| target(&bytes)).is_err() {
                panic!("target {name}: {}", path.display());
            }
            replayed += 1;
        }
        assert!(replayed > 0, "target {name} has no seeds");
    }
}
