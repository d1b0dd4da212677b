//! The checked-in floors: how many cases of each group passed when they were last raised.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::by_reference::SUFFIX;
use super::judge::Tally;

/// The floor of one group.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Cases of the group in the corpus the floor was set with; with another number it is another corpus, and the floor does not apply.
    pub cases: usize,
    /// At least so many pass.
    pub passed: usize,
}

/// The floors by group.
pub type Floors = BTreeMap<String, Floor>;

/// The prefix of the project's own groups, which have no floor: all of their cases pass.
const OWN: &str = "own/";

/// The floors as they stand now, in the form of the checked-in file: every group with a passing case, the project's own aside.
#[must_use]
pub fn print(groups: &BTreeMap<String, Tally>) -> String {
    let held = groups.iter().filter(|(name, tally)| tally.passed > 0 && !name.starts_with(OWN));
    let lines: Vec<_> = held.map(|(name, tally)| format!("  \"{name}\": {{\"cases\": {}, \"passed\": {}}}", tally.cases, tally.passed)).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// One sentence for every group that is below its floor.
#[must_use]
pub fn breaches(floors: &Floors, groups: &BTreeMap<String, Tally>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, tally) in groups {
        if name.starts_with(OWN) {
            // The reference may pass over a case, and says why; the engine may not.
            let judged = if name.ends_with(SUFFIX) { tally.cases - tally.not_applicable } else { tally.cases };
            if tally.passed != judged {
                found.push(format!("{name}: {} of {} own cases passed, all must", tally.passed, tally.cases));
            }
        } else if let Some(floor) = floors.get(name).filter(|floor| floor.cases == tally.cases && tally.passed < floor.passed) {
            found.push(format!("{name}: {} cases passed, the floor is {}", tally.passed, floor.passed));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(name: &str, cases: usize, passed: usize) -> BTreeMap<String, Tally> {
        BTreeMap::from([(name.to_owned(), Tally { cases, passed, failed: cases - passed, not_applicable: 0 })])
    }

    #[test]
    fn a_floor_holds_for_its_own_corpus_only() {
        let floors = Floors::from([("choice".to_owned(), Floor { cases: 10, passed: 9 })]);
        assert!(breaches(&floors, &groups("choice", 10, 9)).is_empty());
        assert_eq!(breaches(&floors, &groups("choice", 10, 8)).len(), 1);
        assert!(breaches(&floors, &groups("choice", 5, 1)).is_empty());
    }

    #[test]
    fn own_cases_must_all_pass() {
        assert_eq!(breaches(&Floors::new(), &groups("own/map", 10, 9)).len(), 1);
        assert!(breaches(&Floors::new(), &groups("own/map", 10, 10)).is_empty());
        let passed_over = |name: &str| BTreeMap::from([(name.to_owned(), Tally { cases: 10, passed: 9, failed: 0, not_applicable: 1 })]);
        assert!(breaches(&Floors::new(), &passed_over("own/map@reference")).is_empty());
        assert_eq!(breaches(&Floors::new(), &passed_over("own/map")).len(), 1);
    }
}
