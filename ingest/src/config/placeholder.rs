//! `${VAR}` and `${VAR:default}` inside the texts of the configuration file.
//!
//! They are filled in after the YAML was parsed, so a value can never change the shape of the file; `$${` stands for a literal `${`.

use super::fault::{Fault, join};
use super::tree::{Kind, Node, Source};

/// The environment as it was when the process started.
pub(crate) type Environment<'e> = [(String, String)];

/// Fills in every placeholder below `node`; a faulty one is reported and left as it stands.
pub(crate) fn fill(path: &str, node: &mut Node, environment: &Environment<'_>, faults: &mut Vec<Fault>) {
    match &mut node.kind {
        Kind::Text(text) if text.contains("${") => match filled(text, environment) {
            Ok(value) => {
                *text = value;
                if let Source::File(file) = &node.source {
                    node.source = Source::Filled(file.clone());
                }
            }
            Err(problem) => faults.push(Fault::new(path, &node.source, problem)),
        },
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(&format!("{path}[{index}]"), item, environment, faults);
            }
        }
        Kind::Map(members) => {
            for (key, member) in members {
                fill(&join(path, key), member, environment, faults);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
    }
}

fn filled(text: &str, environment: &Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, behind) =
            after.split_once('}').ok_or("a placeholder that begins with \"${\" is not closed by \"}\"; write \"$${\" for a literal \"${\"")?;
        out.push_str(value_of(inside, environment)?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of<'v>(inside: &'v str, environment: &'v Environment<'_>) -> Result<&'v str, String> {
    let (name, default) = inside.split_once(':').map_or((inside, None), |(name, default)| (name, Some(default)));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("\"${{{inside}}}\" is not a placeholder: a name has letters, digits and underscores"));
    }
    let value = environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.as_str());
    value.or(default).ok_or_else(|| format!("the environment variable {name} is not set; set it, or give a default with \"${{{name}:default}}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let environment = [("USER_NAME".to_owned(), "ada".to_owned()), ("EMPTY".to_owned(), String::new())];
        match (filled(text, &environment), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn placeholders_are_filled_in_or_refused() {
        check("${USER_NAME}", Ok("ada"));
        check("<${USER_NAME}-${NOBODY:x}>", Ok("<ada-x>"));
        check("${NOBODY:}", Ok(""));
        check("${EMPTY:default}", Ok(""));
        check("${NOBODY:a:b}", Ok("a:b"));
        check("pa$$word$", Ok("pa$$word$"));
        check("$${USER_NAME}", Ok("${USER_NAME}"));
        check("${NOBODY}", Err("NOBODY is not set"));
        check("${USER_NAME", Err("not closed"));
        check("${}", Err("not a placeholder"));
        check("${a b}", Err("not a placeholder"));
    }

    #[test]
    fn faults_name_the_key() {
        let mut node = Node::new(serde_json::json!({"kafka": {"hosts": ["${NOBODY}"]}}), &Source::File("a.yaml".into()));
        let mut faults = Vec::new();
        fill("", &mut node, &[], &mut faults);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].key, "kafka.hosts[0]");
    }
}
