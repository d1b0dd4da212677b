//! What is sent, and what must come of it: all of it a function of the record's id.

use crate::edition::Edition;

/// What kind of record an id has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Runs to its end at once.
    Plain,
    /// Waits for a second, and so holds its partition's mark.
    Wait,
    /// Fails by its definition.
    Fail,
    /// Is no JSON.
    Poison,
}

/// How many ids in a row are with or without waits: a mark that is always held back would make every crash repeat a second's work.
const STRETCH: u32 = 1 << 15;

/// The kind of an id: every tenth record is poison.
pub(crate) fn kind(id: u32) -> Kind {
    match id % 500 {
        tenth if tenth % 10 == 3 => Kind::Poison,
        17 | 267 => Kind::Fail,
        101 if (id / STRETCH) % 4 == 1 => Kind::Wait,
        _ => Kind::Plain,
    }
}

/// A record's key.
pub(crate) fn key(id: u32) -> String {
    format!("device-{:05}", id % 10_000)
}

/// A record's value.
pub(crate) fn value(id: u32) -> String {
    match kind(id) {
        Kind::Plain => format!("{{\"seq\":{id},\"type\":\"plain\"}}"),
        Kind::Wait => format!("{{\"seq\":{id},\"type\":\"wait\",\"seconds\":1}}"),
        Kind::Fail => format!("{{\"seq\":{id},\"type\":\"fail\"}}"),
        Kind::Poison => format!("{{\"seq\":{id},\"type\":\"pla"),
    }
}

/// The status and the value of the result of a record, run under `execution` by the definition's `edition`; `None` when it cannot have one.
pub(crate) fn result(id: u32, execution: &str, edition: Edition) -> Option<(&'static str, String)> {
    let stamp = || format!("\"stamp\":{{\"execution\":\"{execution}\"{}}}", edition.mark());
    match kind(id) {
        Kind::Plain => Some(("SUCCEEDED", format!("{{\"seq\":{id},\"type\":\"plain\",{}}}", stamp()))),
        Kind::Wait => Some(("SUCCEEDED", format!("{{\"seq\":{id},\"type\":\"wait\",\"seconds\":1,{}}}", stamp()))),
        Kind::Fail => Some(("FAILED", "{\"Error\":\"Errand.Refused\",\"Cause\":\"no such errand\"}".to_owned())),
        Kind::Poison => None,
    }
}

/// Whether a record may end as a dead letter for `reason`; its value is then the record's own.
pub(crate) fn may_be_dead(id: u32, reason: &str, topic_was_full: bool) -> bool {
    match kind(id) {
        Kind::Poison => reason == "malformed_json",
        Kind::Plain | Kind::Wait | Kind::Fail => topic_was_full && reason == "result_too_large",
    }
}

#[cfg(test)]
mod tests {
    use harness::reference::{self, Setup};

    use super::*;
    use crate::edition::EDITIONS;

    fn by_reference(id: u32, execution: &str, edition: Edition) -> (&'static str, serde_json::Value) {
        let setup = Setup {
            definition: serde_json::from_str(&edition.text()).unwrap(),
            input: serde_json::from_str(&value(id)).unwrap(),
            express: true,
            start_ms: 1_700_000_000_000,
            name: execution.to_owned(),
            machine: "errands".to_owned(),
            account: "000000000000".to_owned(),
            role_arn: String::new(),
        };
        let ended = reference::run(&setup, &mut |call| Err(format!("there is no task, but {call:?}"))).unwrap();
        let output = ended.output.unwrap_or_else(|| serde_json::json!({"Error": ended.error, "Cause": ended.cause}));
        (ended.status, output)
    }

    #[test]
    fn results_are_what_the_reference_interpreter_makes() {
        let first = |wanted: Kind| (0..).find(|&id| kind(id) == wanted).unwrap();
        for id in [first(Kind::Plain), first(Kind::Fail), first(Kind::Wait), 123_456, 4_000_000_001] {
            for edition in EDITIONS {
                let (status, text) = result(id, "chaos-3-77", edition).unwrap();
                assert_eq!((status, serde_json::from_str(&text).unwrap()), by_reference(id, "chaos-3-77", edition), "{id}");
            }
        }
    }

    #[test]
    fn every_tenth_record_is_poison_and_no_json() {
        let poison: Vec<u32> = (0..1_000).filter(|&id| kind(id) == Kind::Poison).collect();
        assert_eq!(poison.len(), 100);
        assert!(poison.iter().all(|&id| serde_json::from_str::<serde_json::Value>(&value(id)).is_err() && result(id, "", EDITIONS[0]).is_none()));
        assert!(may_be_dead(3, "malformed_json", false) && !may_be_dead(4, "malformed_json", true));
        assert!(may_be_dead(4, "result_too_large", true) && !may_be_dead(4, "result_too_large", false));
    }
}
