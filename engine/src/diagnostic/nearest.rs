//! What a misspelt word may have been meant to be.

/// Candidates up to which a word is compared with all of them.
const CANDIDATES_MAX: usize = 1_000;

/// Bytes up to which a word is compared; nobody mistypes a longer one.
const WORD_BYTES_MAX: usize = 100;

/// Bytes that a word must have to be told from another by its spelling.
const WORD_BYTES_MIN: usize = 3;

/// The candidate that differs in case only, else the one with the smallest edit distance, if it is small enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if candidates.len() > CANDIDATES_MAX || !(WORD_BYTES_MIN..=WORD_BYTES_MAX).contains(&word.len()) {
        return None;
    }
    let bound = (word.len() / 3).clamp(1, 4);
    let close = |candidate: &&'c str| candidate.len() <= WORD_BYTES_MAX && candidate.len().abs_diff(word.len()) <= bound;
    let by_distance = || candidates.iter().copied().filter(close).map(|candidate| (distance(word, candidate), candidate));
    let same = candidates.iter().copied().find(|candidate| candidate.eq_ignore_ascii_case(word));
    same.or_else(|| by_distance().filter(|(distance, _)| *distance <= bound).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate))
}

/// Bytes up to which the words are listed where none is near: the fields of any state and of a Choice rule find room.
const LISTED_BYTES_MAX: usize = 1_000;

/// A hint at what may stand in the place of `word`: the nearest of `allowed`, else what there is, called `what`.
pub(crate) fn instead(word: &str, allowed: &[&str], what: &str) -> String {
    if let Some(near) = nearest(word, allowed) {
        return format!("did you mean '{near}'?");
    }
    let mut listed = String::new();
    for (index, word) in allowed.iter().enumerate() {
        if index > 0 && listed.len() + word.len() > LISTED_BYTES_MAX {
            return format!("{what}: {listed} and {} more", allowed.len() - index);
        }
        let separator = if index > 0 { ", " } else { "" };
        listed.push_str(separator);
        listed.push_str(word);
    }
    if allowed.is_empty() { format!("there are no {what}") } else { format!("{what}: {listed}") }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other, on bytes.
#[must_use]
pub fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, b) in right.iter().enumerate() {
            let mut least = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_else() {
        let keys = ["bootstrap_servers", "group_id", "client_options"];
        assert_eq!(nearest("bootstrap_server", &keys), Some("bootstrap_servers"));
        assert_eq!(nearest("groupid", &keys), Some("group_id"));
        assert_eq!(nearest("color", &keys), None);
        assert_eq!(nearest("group_id", &vec!["group_id"; CANDIDATES_MAX + 1]), None, "so many are not compared");
    }

    #[test]
    fn case_swaps_and_single_letters_are_slips() {
        let known = ["ResultPath", "Next"];
        assert_eq!(nearest("resultpath", &known), Some("ResultPath"));
        assert_eq!(nearest("Nxet", &known), Some("Next"));
        assert_eq!(nearest("Nex", &known), Some("Next"));
        assert_eq!(nearest("ResultPaths", &known), Some("ResultPath"));
        assert_eq!(nearest("Output", &known), None);
        assert_eq!(nearest("A", &["B"]), None, "too short to be misspelt");
    }

    #[test]
    fn what_may_stand_instead_is_the_nearest_or_a_list() {
        assert_eq!(instead("Nxet", &["Next", "End"], "fields here"), "did you mean 'Next'?");
        assert_eq!(instead("Color", &["Next", "End"], "fields here"), "fields here: Next, End");
        assert_eq!(instead("Color", &[], "states"), "there are no states");
        let names: Vec<String> = (0..2_000).map(|number| format!("State{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = instead("Color", &names, "states");
        assert!(hint.len() < 1_100 && hint.starts_with("states: State0, State1, ") && hint.ends_with(" more"), "{hint}");
    }

    #[test]
    fn distances_are_counted_in_edits() {
        for (left, right, expected) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)] {
            assert_eq!((distance(left, right), distance(right, left)), (expected, expected), "{left} {right}");
        }
    }
}
