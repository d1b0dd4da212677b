//! Names of state machines and executions (spec/asl.md 1.4).

use expressway_engine::limits::NAME_CHARS_MAX;

/// Characters that no name has, apart from white space and controls.
const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// Whether AWS takes this as the name of a state machine or an execution.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    let is_allowed = |letter: char| {
        !letter.is_whitespace() && !letter.is_control() && !FORBIDDEN.contains(letter) && !matches!(letter, '\u{fffe}' | '\u{ffff}' | '\u{10ffff}')
    };
    (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(is_allowed)
}

/// A name that AWS takes.
///
/// # Errors
/// AWS's text.
pub fn parse(name: &str) -> Result<String, String> {
    if is_valid(name) { Ok(name.to_owned()) } else { Err(format!("Invalid Name: '{name}'")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_aws_takes() {
        let longest = "é".repeat(80);
        for name in ["a", "a-b_c.d", "(x)!+=@'", "état", &longest] {
            assert_eq!(parse(name).as_deref(), Ok(name));
        }
        let too_long = "a".repeat(81);
        for name in ["", "a b", "a\u{a0}b", "a\nb", "a\u{7f}", "a\u{9f}", "a\u{fffe}", "a\u{10ffff}", &too_long] {
            assert_eq!(parse(name), Err(format!("Invalid Name: '{name}'")), "{name:?}");
        }
        for letter in FORBIDDEN.chars() {
            assert!(!is_valid(&format!("a{letter}")), "{letter}");
        }
    }
}
