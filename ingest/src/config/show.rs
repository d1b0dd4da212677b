//! `config show`: the merged configuration as YAML, each value with its source behind it, secrets masked.

use super::fault::join;
use super::tree::{Kind, MASK, Node, Source, is_secret};

/// Column at which the sources begin, where the values leave room.
const SOURCE_COLUMN: usize = 56;

/// The tree as YAML with comments.
pub(crate) fn render(tree: &Node) -> String {
    let mut out = String::new();
    if let Kind::Map(sections) = &tree.kind {
        for (key, section) in sections {
            member("", "", key, section, &mut out);
        }
    }
    out
}

fn member(indent: &str, path: &str, key: &str, node: &Node, out: &mut String) {
    let path = join(path, key);
    match &node.kind {
        Kind::Map(members) if !members.is_empty() => {
            out.push_str(&format!("{indent}{key}:\n"));
            for (name, node) in members {
                member(&format!("{indent}  "), &path, name, node, out);
            }
        }
        Kind::List(items) if items.iter().any(|item| matches!(item.kind, Kind::Map(_))) => {
            out.push_str(&format!("{indent}{key}:\n"));
            items.iter().for_each(|item| entry(indent, &path, item, out));
        }
        _ => {
            // An option of the client that a placeholder has filled in may be a secret under whatever name.
            let is_filled_option = path.starts_with("kafka.client_options.") && matches!(node.source, Source::Filled(_));
            let is_hidden = node.kind != Kind::Null && (is_secret(key) || is_filled_option);
            let value = if is_hidden { MASK.to_owned() } else { node.inline() };
            let line = format!("{indent}{key}: {value}");
            out.push_str(&format!("{line:<SOURCE_COLUMN$}  # {}\n", node.source));
        }
    }
}

/// One mapping in a list: its first member stands behind the hyphen.
fn entry(indent: &str, path: &str, node: &Node, out: &mut String) {
    let Kind::Map(members) = &node.kind else { return };
    let mut lines = String::new();
    for (name, node) in members {
        member(&format!("{indent}    "), path, name, node, &mut lines);
    }
    out.push_str(&lines.replacen(&format!("{indent}    "), &format!("{indent}  - "), 1));
}
