//! SVG 1.1: one self-contained picture, levels inside their states, readable on light and dark ground.

use std::fmt::Write;

use expressway_engine::program::StateType;

use super::layout::{self, Link, Point, Route, Size};
use super::{Edge, EdgeKind, Graph, Level, Node, NodeKind};

/// Around the picture, and inside of boxes that hold others.
const PADDING: f64 = 14.0;
/// Room for the title of a box that holds others.
const TITLE: f64 = 26.0;
/// Height of a state.
const STATE: f64 = 40.0;
/// Height of a label.
const LABEL: f64 = 14.0;
/// Width of a letter, about, at the size of names and at the size of labels.
const LETTER: f64 = 7.6;
const SMALL_LETTER: f64 = 6.2;

const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:13px;text-anchor:middle;fill:#1b2733}\
.small{font-size:11px;fill:#4a5a68}.box{fill:#fff;stroke:#3f5468;stroke-width:1.2}.choice{fill:#fff8e6;stroke:#a87400}.fail{fill:#fdecec;stroke:#b3261e}\
.succeed{fill:#e9f6ec;stroke:#1e7d34}.group{fill:#f4f7fa}.level{fill:#fff;stroke:#9fb0bf;stroke-dasharray:4 3}.way{fill:none;stroke:#3f5468;stroke-width:1.2}\
.catch{stroke:#b3261e;stroke-dasharray:5 3}.label{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}.dot{fill:#1b2733}.ring{fill:none;stroke:#1b2733;stroke-width:1.5}.ground{fill:#fff}";

pub(super) fn print(graph: &Graph) -> String {
    let picture = level(&graph.root);
    let (width, height) = (picture.size.width + 2.0 * PADDING, picture.size.height + 2.0 * PADDING);
    let title = escape(&graph.title);
    let (width, height) = (number(width), number(height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n"
    );
    line(&mut out, &format!("<title>{title}</title>"));
    line(&mut out, &format!("<style>{STYLE}</style>"));
    line(
        &mut out,
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" class=\"dot\"/></marker></defs>",
    );
    line(&mut out, &format!("<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>"));
    line(&mut out, &format!("<g transform=\"translate({PADDING} {PADDING})\">"));
    out.push_str(&picture.body);
    out.push_str("</g>\n</svg>\n");
    out
}

/// Drawn, with its top left at the origin.
struct Picture {
    size: Size,
    body: String,
}

/// Recursion is bounded by the nesting that lowering allows.
fn level(level: &Level) -> Picture {
    let inner: Vec<Vec<Picture>> = level.nodes.iter().map(|node| node.levels.iter().map(self::level).collect()).collect();
    let sizes: Vec<Size> = level.nodes.iter().zip(&inner).map(|(node, pictures)| size(node, pictures)).collect();
    let room = |edge: &Edge| (!edge.label.is_empty()).then(|| Size { width: letters(&edge.label) * SMALL_LETTER, height: LABEL });
    let links: Vec<Link> = level.edges.iter().map(|edge| Link { from: edge.from, to: edge.to, label: room(edge) }).collect();
    let layout = layout::place(&sizes, &links);
    let mut body = String::new();
    for (edge, route) in level.edges.iter().zip(&layout.routes) {
        way(edge, route, &mut body);
    }
    for (index, node) in level.nodes.iter().enumerate() {
        draw(node, &inner[index], layout.middles[index], sizes[index], &mut body);
    }
    // Labels come last: they lie above the ways.
    for (edge, route) in level.edges.iter().zip(&layout.routes).filter(|(edge, _)| !edge.label.is_empty()) {
        line(&mut body, &text(&edge.label, route.label, "small label"));
    }
    Picture { size: layout.size, body }
}

fn size(node: &Node, inner: &[Picture]) -> Size {
    let name = letters(&node.label) * LETTER + 2.0 * PADDING;
    match node.kind {
        NodeKind::Start | NodeKind::End => Size { width: 16.0, height: 16.0 },
        NodeKind::State(kind) if inner.is_empty() => {
            let width = name.max(letters(kind.as_str()) * SMALL_LETTER + 2.0 * PADDING);
            Size { width: if kind == StateType::Choice { width + STATE } else { width }, height: STATE }
        }
        NodeKind::State(kind) => {
            let inside: f64 = inner.iter().map(|picture| picture.size.width + 2.0 * PADDING).sum::<f64>() + PADDING * gaps(inner.len());
            let title = name + letters(kind.as_str()) * SMALL_LETTER + PADDING;
            let height = inner.iter().map(|picture| picture.size.height).fold(0.0, f64::max);
            Size { width: inside.max(title) + 2.0 * PADDING, height: height + 2.0 * TITLE + 2.0 * PADDING }
        }
    }
}

/// Between so many levels side by side.
fn gaps(count: usize) -> f64 {
    u32::try_from(count.saturating_sub(1)).map_or(0.0, f64::from)
}

fn draw(node: &Node, inner: &[Picture], middle: Point, size: Size, out: &mut String) {
    let (left, top) = (middle.x - size.width / 2.0, middle.y - size.height / 2.0);
    let rect = |class: &str| {
        format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
            number(left),
            number(top),
            number(size.width),
            number(size.height)
        )
    };
    let circle =
        |class: &str, radius: f64| format!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", number(middle.x), number(middle.y), number(radius));
    match node.kind {
        NodeKind::Start => line(out, &circle("dot", 8.0)),
        NodeKind::End => {
            line(out, &circle("ring", 7.5));
            line(out, &circle("dot", 4.0));
        }
        NodeKind::State(kind) if inner.is_empty() => {
            line(out, &if kind == StateType::Choice { hexagon(left, top, size) } else { rect(class(kind)) });
            line(out, &text(&node.label, Point { x: middle.x, y: middle.y - 6.0 }, ""));
            line(out, &text(kind.as_str(), Point { x: middle.x, y: middle.y + 10.0 }, "small"));
        }
        NodeKind::State(kind) => {
            line(out, &rect("box group"));
            line(out, &text(&format!("{} ({})", node.label, kind.as_str()), Point { x: middle.x, y: top + TITLE / 2.0 }, ""));
            draw_levels(node, inner, Point { x: left, y: top + TITLE }, size, out);
        }
    }
}

/// The levels of a state side by side, in the middle of its box.
fn draw_levels(node: &Node, inner: &[Picture], at: Point, size: Size, out: &mut String) {
    let inside: f64 = inner.iter().map(|picture| picture.size.width + 2.0 * PADDING).sum::<f64>() + PADDING * gaps(inner.len());
    let mut x = at.x + (size.width - inside) / 2.0;
    let height = size.height - TITLE - PADDING;
    for (level, picture) in node.levels.iter().zip(inner) {
        let width = picture.size.width + 2.0 * PADDING;
        line(
            out,
            &format!("<rect class=\"level\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>", number(x), number(at.y), number(width), number(height)),
        );
        line(out, &text(&level.label, Point { x: x + width / 2.0, y: at.y + LABEL / 2.0 + 3.0 }, "small"));
        line(out, &format!("<g transform=\"translate({} {})\">", number(x + PADDING), number(at.y + TITLE)));
        out.push_str(&picture.body);
        line(out, "</g>");
        x += width + PADDING;
    }
}

fn class(kind: StateType) -> &'static str {
    match kind {
        StateType::Fail => "box fail",
        StateType::Succeed => "box succeed",
        _ => "box",
    }
}

fn hexagon(left: f64, top: f64, size: Size) -> String {
    let (right, bottom, tip) = (left + size.width, top + size.height, size.height / 2.0);
    let corners = [(left, top + tip), (left + tip, top), (right - tip, top), (right, top + tip), (right - tip, bottom), (left + tip, bottom)];
    let corners: Vec<_> = corners.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
    format!("<polygon class=\"box choice\" points=\"{}\"/>", corners.join(" "))
}

/// A way as a curve that leaves and enters each of its points vertically; one along the side has corners.
fn way(edge: &Edge, route: &Route, out: &mut String) {
    let class = if edge.kind == EdgeKind::Catch { "way catch" } else { "way" };
    let Some((first, rest)) = route.points.split_first() else { return };
    let mut path = format!("M{} {}", number(first.x), number(first.y));
    let mut before = *first;
    let has_corners =
        matches!(route.points.as_slice(), [_, second, third, _] if (second.x - third.x).abs() < f64::EPSILON && (second.y - first.y).abs() < f64::EPSILON);
    for &point in rest {
        let middle = number(f64::midpoint(before.y, point.y));
        let (x, y) = (number(point.x), number(point.y));
        if has_corners || (before.x - point.x).abs() < 0.05 {
            write!(path, "L{x} {y}").expect("writing to a string cannot fail");
        } else {
            write!(path, "C{} {middle} {x} {middle} {x} {y}", number(before.x)).expect("writing to a string cannot fail");
        }
        before = point;
    }
    line(out, &format!("<path class=\"{class}\" d=\"{path}\" marker-end=\"url(#arrow)\"/>"));
}

fn text(content: &str, middle: Point, class: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{}\" y=\"{}\">{}</text>", number(middle.x), number(middle.y + 4.0), escape(content))
}

/// Widths of letters: those of East Asian scripts are twice as wide.
fn letters(text: &str) -> f64 {
    text.chars().map(|letter| if u32::from(letter) >= 0x1100 { 2.0 } else { 1.0 }).sum()
}

/// One decimal at most: enough for the eye, and the same on every machine.
fn number(value: f64) -> String {
    let rounded = format!("{value:.1}");
    let short = rounded.strip_suffix(".0").unwrap_or(&rounded);
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Text as XML 1.0 has it; the characters that XML forbids become the replacement character.
pub(in crate::authoring) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            letter if letter < ' ' || matches!(letter, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.0, 1.25, -0.01, 100.06].map(number), ["1", "1.2", "0", "100.1"]);
    }

    #[test]
    fn what_xml_forbids_is_replaced() {
        assert_eq!(escape("<a b=\"c\"> & \u{1}\n"), "&lt;a b=&quot;c&quot;&gt; &amp; \u{FFFD} ");
    }
}
