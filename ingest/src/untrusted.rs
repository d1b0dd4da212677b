//! What the fuzzer drives of the service: each target takes any bytes and panics on a finding. The fuzz crate compiles this file beside the modules that it names, without the Kafka client; here the same functions replay seeds, former findings and damaged seeds in an ordinary test.

use std::path::Path;

use crate::config::{Layers, merged, render};
use crate::operations::header_list::{HeaderList, Position};
use crate::operations::memory::{Done, Memory, Reasons};
use crate::pipeline::header_name::{ORIGIN, SOURCE};
use crate::tasks::mock::MockFile;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 3] = [("config", config), ("mocks", mocks), ("letter", letter)];

/// What every file holds that a configuration names in place of a value.
const CANARY: &str = "canary-5f2a";

/// Test cases of a mock file that are tried.
const CASES_MAX: usize = 20;

fn canary(_: &Path) -> Result<String, String> {
    Ok(CANARY.to_owned())
}

/// Any text as a configuration file, and as a variable that lays a map over one: it is refused with faults that can be told, or shown; a secret from a file is in neither.
///
/// # Panics
/// When merging does, or tells the secret.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = [pair("VARIABLE", "value"), pair("EXPRESSWAY_KAFKA_CLIENT_OPTIONS", text.lines().next().unwrap_or_default())];
    let folder = [pair("folder/b.yaml", text)];
    for (file, folder) in [(Some(("a.yaml", text)), &[][..]), (None, &folder[..]), (Some(("a.yaml", text)), &folder[..])] {
        let layers = Layers { file, folder, environment: &environment, read: Some(canary), ..Layers::default() };
        let told = match merged(&layers) {
            Ok(tree) => render(&tree),
            Err(error) => error.to_string(),
        };
        assert!(!told.is_empty(), "what is merged or refused is told");
        assert!(!told.contains(CANARY) || text.contains(CANARY), "a secret is told: {told}");
    }
}

/// Any bytes as a mock file: it is refused with a sentence, or its cases answer.
///
/// # Panics
/// When reading or answering does.
pub fn mocks(bytes: &[u8]) {
    let file = match MockFile::parse(Path::new("mocks.json"), bytes.to_vec()) {
        Ok(file) => file,
        Err(error) => return assert!(!error.to_string().is_empty(), "a refusal has a reason"),
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let machines = value["StateMachines"].as_object().into_iter().flatten();
    let cases = machines.flat_map(|(machine, value)| value["TestCases"].as_object().into_iter().flatten().map(move |(case, states)| (machine, case, states)));
    for (machine, case, states) in cases.take(CASES_MAX) {
        match file.test_case(machine, case) {
            Ok(found) => {
                let names: Vec<&str> = states.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                for name in &names {
                    assert!(
                        !found.has_state(name) || [0, 1, u32::MAX].iter().all(|invocation| found.reply(name, *invocation).is_some()),
                        "a mocked state answers"
                    );
                }
                let _refused = found.check_states(names.get(1..).unwrap_or_default());
            }
            Err(error) => assert!(!error.to_string().is_empty(), "a refusal has a reason"),
        }
    }
}

/// Any bytes as what stands beside a record or an offset: header names and values, positions, and what has been brought back.
///
/// # Panics
/// When reading does, or when what was written is not what is read.
pub fn letter(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let text = parts.next().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    remember(&text);
    let mut pairs = Vec::new();
    while let Some(name) = parts.next() {
        pairs.push((String::from_utf8_lossy(&name).into_owned(), parts.next()));
    }
    let mut headers: HeaderList = pairs.into_iter().collect();
    let from = headers.position(SOURCE).unwrap_or_else(|| Position { topic: text.clone(), partition: 0, offset: 0 });
    let (replays, before) = (headers.replays(), headers.iter().count());
    headers.strip_dead_letter();
    assert!(headers.iter().count() + 6 >= before, "six headers at most are ours");
    let kept = headers.replays();
    headers.mark_replayed(&from);
    assert_eq!(headers.replays(), kept.saturating_add(1), "each time is counted");
    assert!(kept == replays && headers.text(ORIGIN).is_some(), "the count and the first place are no part of a dead letter");
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position), "a position is read as it is written");
    }
}

fn remember(text: &str) {
    let Some(mut memory) = Memory::parse(text) else { return };
    let written = memory.text().expect("what was read is not longer when it is written");
    assert_eq!(Memory::parse(&written).as_ref(), Some(&memory), "a memory is read as it is written");
    memory.add(Done { from: 7, to: i64::MAX, reasons: Reasons::ALL, replays_below: u32::MAX });
    assert!(memory.has(7, "panic", 0) && memory.has(i64::MAX - 1, "a reason to come", u32::MAX - 1), "what was added is found");
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::random::Random;

    /// Seeds and former findings of a target.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = [root.join("engine/fuzz/seeds").join(target), root.join("tests/data/regressions").join(target)];
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        files.map(|file| std::fs::read(file.expect("an entry").path()).expect("readable")).collect()
    }

    fn check(name: &str, target: fn(&[u8]), bytes: &[u8]) {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        assert!(catch_unwind(|| target(bytes)).is_ok(), "{name}: {shown}");
        // The whole way of a configuration, its typed reading included.
        if name == "config"
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            let loaded = catch_unwind(|| crate::config::load(&Layers { file: Some(("a.yaml", text)), read: Some(canary), ..Layers::default() }));
            let told = loaded.unwrap_or_else(|_| panic!("{name}: {shown}")).map_or_else(|error| error.to_string(), |loaded| format!("{loaded:?}"));
            assert!(!told.contains(CANARY) || text.contains(CANARY), "{told}");
        }
    }

    /// A seed with some of its bytes changed, taken out, doubled, or brought in from another.
    fn damaged(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut bytes = random.pick(&(0..seeds.len()).collect::<Vec<_>>()).map(|index| seeds[index].clone()).unwrap_or_default();
        for _ in 0..random.between(1, 6) {
            let end = bytes.len() as u64;
            let at = usize::try_from(random.between(0, end + 1)).expect("an index");
            let length = usize::try_from(random.between(0, 24)).expect("small").min(bytes.len() - at);
            match random.between(0, 5) {
                0 => drop(bytes.splice(at..at + length, [])),
                1 => drop(bytes.splice(at..at, bytes[at..at + length].to_vec())),
                2 => bytes.insert(at, random.pick(b"\0\xff{}[]:,-#&*!|>'\"%@` \n$0/x").expect("some")),
                3 => drop(bytes.splice(
                    at..at,
                    random.pick(&["${file:x}", "${VARIABLE}", "${", "}", "9999999999999999999999", "null", "[[[[", "- ", "1-2"]).expect("some").bytes(),
                )),
                _ => {
                    let other = random.pick(&(0..seeds.len()).collect::<Vec<_>>()).map(|index| seeds[index].clone()).unwrap_or_default();
                    let from = usize::try_from(random.between(0, other.len() as u64 + 1)).expect("an index");
                    drop(bytes.splice(at..at, other[from..other.len().min(from + 40)].to_vec()));
                }
            }
        }
        bytes
    }

    #[test]
    fn seeds_findings_and_damaged_seeds_are_borne() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(seeds.len() >= 3, "{name} has seeds");
            seeds.iter().for_each(|bytes| check(name, target, bytes));
            let mut random = Random::new(20_261_121);
            for _ in 0..2_000 {
                check(name, target, &damaged(&seeds, &mut random));
            }
        }
    }
}
