//! Graphviz: a digraph with clusters.
//!
//! A cluster cannot be the end of an edge, so a compound state is a node of its own at the top of its cluster, with dotted lines to what starts inside.

use expressway_engine::program::StateType;

use super::{EdgeKind, Graph, Level, Node, NodeKind, line};

pub(super) fn print(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&graph.title));
    out.push_str("  graph [fontname=\"sans-serif\", compound=true, labeljust=l];\n");
    out.push_str("  node [fontname=\"sans-serif\", shape=box, style=rounded];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    level(&graph.root, 1, &mut out);
    out.push_str("}\n");
    out
}

fn level(level: &Level, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    for node in &level.nodes {
        if node.levels.is_empty() {
            line(out, &indent, &shape(node));
            continue;
        }
        line(out, &indent, &format!("subgraph cluster_{} {{", node.id));
        line(out, &indent, "  style=rounded;");
        line(out, &indent, &format!("  {}", shape(node)));
        for (index, inner) in node.levels.iter().enumerate() {
            line(out, &indent, &format!("  subgraph cluster_{}b{index} {{", node.id));
            line(out, &indent, &format!("    label={}; style=dashed;", quoted(&inner.label)));
            self::level(inner, depth + 2, out);
            line(out, &indent, "  }");
            let start = inner.nodes.first().map_or("", |start| &start.id);
            line(out, &indent, &format!("  {} -> {start} [style=dotted, arrowhead=none];", node.id));
        }
        line(out, &indent, "}");
    }
    for edge in &level.edges {
        edge_line(level, edge, &indent, out);
    }
}

fn edge_line(level: &Level, edge: &super::Edge, indent: &str, out: &mut String) {
    let (from, to) = (&level.nodes[edge.from], &level.nodes[edge.to]);
    let mut attributes = Vec::new();
    if !edge.label.is_empty() {
        attributes.push(format!("label={}", quoted(&edge.label)));
    }
    if edge.kind == EdgeKind::Catch {
        attributes.push("style=dashed".to_owned());
    }
    if !from.levels.is_empty() {
        attributes.push(format!("ltail=cluster_{}", from.id));
    }
    if !to.levels.is_empty() {
        attributes.push(format!("lhead=cluster_{}", to.id));
    }
    let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
    line(out, indent, &format!("{} -> {}{attributes};", from.id, to.id));
}

fn shape(node: &Node) -> String {
    let id = &node.id;
    match node.kind {
        NodeKind::Start => format!("{id} [label=\"\", shape=circle, style=filled, fillcolor=black, width=0.15];"),
        NodeKind::End => format!("{id} [label=\"\", shape=doublecircle, style=filled, fillcolor=black, width=0.1];"),
        NodeKind::State(StateType::Choice) => format!("{id} [label={}, shape=diamond, style=solid];", quoted(&node.label)),
        NodeKind::State(StateType::Pass) => format!("{id} [label={}];", quoted(&node.label)),
        NodeKind::State(kind) => format!("{id} [label={}];", quoted(&format!("{}\n{}", node.label, kind.as_str()))),
    }
}

/// A quoted id of the DOT language.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', " ");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(quoted("a \"b\" \\c\nd"), r#""a \"b\" \\c\nd""#);
    }
}
