//! Mermaid: a flowchart from top to bottom, compound states as subgraphs.

use std::fmt::Write;

use expressway_engine::program::StateType;

use super::{EdgeKind, Graph, Level, Node, NodeKind, line};

pub(super) fn print(graph: &Graph) -> String {
    let mut out = format!("---\ntitle: {}\n---\nflowchart TD\n", serde_json::Value::from(graph.title.as_str()));
    level(&graph.root, 1, &mut out);
    out
}

fn level(level: &Level, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    for node in &level.nodes {
        if node.levels.is_empty() {
            line(out, &indent, &shape(node));
            continue;
        }
        line(out, &indent, &format!("subgraph {}[\"{}\"]", node.id, text(&title(node))));
        for (index, inner) in node.levels.iter().enumerate() {
            line(out, &indent, &format!("  subgraph {}b{index}[\"{}\"]", node.id, text(&inner.label)));
            self::level(inner, depth + 2, out);
            line(out, &indent, "  end");
        }
        line(out, &indent, "end");
    }
    for edge in &level.edges {
        let (from, to) = (&level.nodes[edge.from].id, &level.nodes[edge.to].id);
        let arrow = if edge.kind == EdgeKind::Catch { "-.->" } else { "-->" };
        let label = if edge.label.is_empty() { String::new() } else { format!("|\"{}\"|", text(&edge.label)) };
        line(out, &indent, &format!("{from} {arrow}{label} {to}"));
    }
}

fn title(node: &Node) -> String {
    match node.kind {
        NodeKind::State(kind) => format!("{} ({})", node.label, kind.as_str()),
        NodeKind::Start | NodeKind::End => node.label.clone(),
    }
}

/// A node that holds nothing: rounded for what starts and ends, a rhombus for a Choice.
fn shape(node: &Node) -> String {
    let (id, label) = (&node.id, text(&node.label));
    match node.kind {
        NodeKind::Start => format!("{id}([\"start\"])"),
        NodeKind::End => format!("{id}([\"end\"])"),
        NodeKind::State(StateType::Choice) => format!("{id}{{\"{label}\"}}"),
        NodeKind::State(StateType::Succeed | StateType::Fail) => format!("{id}([\"{}\"])", text(&title(node))),
        NodeKind::State(StateType::Pass) => format!("{id}[\"{label}\"]"),
        NodeKind::State(_) => format!("{id}[\"{}\"]", text(&title(node))),
    }
}

/// A text between quotes: what means something to Mermaid or to the HTML behind it becomes an entity.
fn text(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '$' | '.' | ',' | '-' | '_' | '(' | ')' | '=' | '\'' | '/' | ':' | '+' | '!' | '@' | '…' => {
                out.push(letter)
            }
            letter if letter.is_alphanumeric() => out.push(letter),
            letter if letter.is_control() => out.push(' '),
            letter => write!(out, "#{};", u32::from(letter)).expect("writing to a string cannot fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_mermaid_is_an_entity() {
        assert_eq!(text("a \"b\" <c>; #1 [*]\n`é`"), "a #34;b#34; #60;c#62;#59; #35;1 #91;#42;#93; #96;é#96;");
    }
}
