//! `${VAR}`, `${VAR:default}` and `${file:PATH}` inside the texts of the configuration file.
//!
//! They are filled in after the YAML was parsed, so a value can never change the shape of the file; `$${` stands for a literal `${`. What comes out of a file is a secret, whatever its key, and never shown.

use std::borrow::Cow;
use std::path::Path;

use super::fault::{Fault, join};
use super::tree::{Kind, Node, Source};

/// Largest file that stands for a value. A private key has some 3 KiB, a chain of certificates a few times that.
pub(crate) const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What placeholders are filled in from.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'o> {
    /// The environment as it was when the process started.
    pub(crate) environment: &'o [(String, String)],
    /// Reads a file that stands for a value.
    pub(crate) read: ReadFile,
}

/// Reads a file that stands for a value; the error is a sentence.
pub type ReadFile = fn(&Path) -> Result<String, String>;

/// Reads a secret from disk: a text in UTF-8, the line feed at its end left out.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let cannot = |problem: String| format!("the file {} {problem}", path.display());
    let unreadable = |error: std::io::Error| cannot(format!("cannot be read: {error}"));
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(cannot("is no regular file".to_owned()));
    }
    if found.len() > SECRET_BYTES_MAX {
        return Err(cannot(format!("has {} bytes, limit is {SECRET_BYTES_MAX}", found.len())));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(unreadable)?).map_err(|_| cannot("is not UTF-8".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err(cannot("is empty".to_owned())) } else { Ok(text.to_owned()) }
}

/// Fills in every placeholder below `node`; a faulty one is reported and left as it stands.
pub(crate) fn fill(path: &str, node: &mut Node, outside: Outside<'_>, faults: &mut Vec<Fault>) {
    match &mut node.kind {
        Kind::Text(text) if text.contains("${") => match filled(text, &node.source, outside) {
            Ok((value, is_secret)) => {
                *text = value;
                if let Source::File(place) = &node.source {
                    node.source = if is_secret { Source::Secret(place.clone()) } else { Source::Filled(place.clone()) };
                }
            }
            Err(problem) => faults.push(Fault::new(path, &node.source, problem)),
        },
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(&format!("{path}[{index}]"), item, outside, faults);
            }
        }
        Kind::Map(members) => {
            for (key, member) in members {
                fill(&join(path, key), member, outside, faults);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
    }
}

/// The text with its placeholders filled in, and whether a file has had a part in it.
fn filled(text: &str, source: &Source, outside: Outside<'_>) -> Result<(String, bool), String> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut is_secret) = (text, false);
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
        let value = match inside.strip_prefix("file:") {
            Some(path) => Cow::Owned((outside.read)(&source.resolve(path))?),
            None => Cow::Borrowed(value_of(inside, outside.environment)?),
        };
        is_secret |= inside.starts_with("file:");
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok((out, is_secret))
}

fn value_of<'v>(inside: &'v str, environment: &'v [(String, String)]) -> Result<&'v str, String> {
    let (name, default) = inside.split_once(':').map_or((inside, None), |(name, default)| (name, Some(default)));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("\"${{{inside}}}\" is not a placeholder: a name has letters, digits and underscores"));
    }
    let value = environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.as_str());
    value.or(default).ok_or_else(|| format!("the environment variable {name} is not set; set it, or give a default with \"${{{name}:default}}\""))
}

#[cfg(test)]
mod tests {
    use super::super::tree::Place;
    use super::*;

    #[test]
    fn a_secret_is_a_small_text_file_without_its_last_line_feed() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            read_secret(&path)
        };
        assert_eq!(read(b"hunter2\n").as_deref(), Ok("hunter2"));
        assert_eq!(read(b"a\nb\r\n").as_deref(), Ok("a\nb"));
        assert_eq!(read(b" x\n\n").as_deref(), Ok(" x\n"));
        let limit = usize::try_from(SECRET_BYTES_MAX).expect("small");
        assert_eq!(read(&vec![b'x'; limit]).map(|text| text.len()), Ok(limit));
        for (bytes, part) in [(&vec![b'x'; limit + 1][..], "limit is 65536"), (b"\n", "is empty"), (b"\xff", "not UTF-8")] {
            let problem = read(bytes).expect_err("refused");
            assert!(problem.contains(part) && problem.contains("secret"), "{problem}");
        }
        assert!(read_secret(folder.path()).expect_err("refused").contains("no regular file"));
        assert!(read_secret(&folder.path().join("none")).expect_err("refused").contains("cannot be read"));
    }

    /// Files hold their own path.
    fn own_path(path: &Path) -> Result<String, String> {
        if path.ends_with("none") { Err("none".to_owned()) } else { Ok(path.display().to_string()) }
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let environment = [("USER_NAME".to_owned(), "ada".to_owned()), ("EMPTY".to_owned(), String::new())];
        let outside = Outside { environment: &environment, read: own_path };
        match (filled(text, &Source::File(Place::file("dir/a.yaml")), outside), expected) {
            (Ok((found, is_secret)), Ok(expected)) => {
                assert_eq!(found, expected);
                assert_eq!(is_secret, text.contains("{file:") && !text.starts_with("$$"), "{text}");
            }
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
        check("${file:/run/secrets/it}", Ok("/run/secrets/it"));
        check("<${file:it}>", Ok("<dir/it>"));
        check("${file:none}", Err("none"));
        check("$${file:it}", Ok("${file:it}"));
    }

    #[test]
    fn faults_name_the_key() {
        let mut node = Node::new(serde_json::json!({"kafka": {"hosts": ["${NOBODY}"]}}), &Source::File(Place::file("a.yaml")));
        let mut faults = Vec::new();
        fill("", &mut node, Outside { environment: &[], read: own_path }, &mut faults);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].key, "kafka.hosts[0]");
    }
}
