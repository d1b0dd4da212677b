//! Messages in shapes: a seed fixes keys, nesting and whitespace, the values are drawn anew each time.

use expressway_ingest::random::Random;

/// Whitespace behind colons and commas, and inside brackets.
const STYLES: [(&str, &str, &str); 5] = [("", "", ""), ("", "", ""), (" ", " ", ""), (" ", "\n  ", "\r\n\t"), ("", " ", " ")];

const KEYS: [&str; 14] =
    ["a", "b", "c", "type", "deviceId", "eight-by", "nine-byte", "sixteen-byte-key", "a-key-that-is-longer-than-a-block-of-bytes", "ü", "", "d", "e", "f"];

const TEXTS: [&str; 12] = [
    "",
    "x",
    "heartbeat",
    "2026-11-20T12:00:00Z",
    "fifteen bytes 15",
    "sixteen bytes 016",
    "a text that goes on for more than thirty-two bytes",
    "é",
    "Grüße aus Köln, mit vielen Zeichen über ASCII: 日本語",
    r#"a \"quoted\" text"#,
    r"\u00e9\ud83d\ude00\ud800",
    r"C:\\",
];

const NUMBERS: [&str; 13] =
    ["0", "-0", "7", "-71", "0.31", "41.5", "-12.75", "123456789", "123456789012345", "1234567890123456789012", "1e999", "-0.5E-7", "3.14159265358979"];

/// A message of a shape.
pub(crate) fn message(shape: u64, values: &mut Random) -> Vec<u8> {
    let mut shape = Random::new(shape.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let style = shape.one_of(&STYLES);
    let mut out = String::new();
    if shape.draw().is_multiple_of(20) {
        leaf(values, &mut out);
    } else {
        container(&mut shape, values, style, 0, &mut out);
    }
    out.into_bytes()
}

fn container(shape: &mut Random, values: &mut Random, style: (&str, &str, &str), depth: u32, out: &mut String) {
    let is_object = depth == 0 || shape.draw().is_multiple_of(2);
    let (space, behind_comma, inside) = style;
    out.push_str(if is_object { "{" } else { "[" });
    out.push_str(inside);
    // Keys are left out of the list one by one, or, seldom, may come twice.
    let (mut keys, repeats) = (KEYS.to_vec(), shape.draw().is_multiple_of(40));
    for member in 0..shape.draw() % 8 {
        if member > 0 {
            out.push(',');
            out.push_str(behind_comma);
        }
        if is_object {
            let key = shape.pick(&keys).expect("there are 14 keys, and at most 7 are taken");
            if !repeats {
                keys.retain(|other| *other != key);
            }
            let key = if key == "a" && shape.draw().is_multiple_of(40) { r"\u0061" } else { key };
            out.push_str(&format!("\"{key}\":{space}"));
        }
        if depth < 4 && shape.draw().is_multiple_of(4) {
            container(shape, values, style, depth + 1, out);
        } else {
            leaf(values, out);
        }
    }
    out.push_str(inside);
    out.push_str(if is_object { "}" } else { "]" });
}

fn leaf(values: &mut Random, out: &mut String) {
    match values.draw() % 10 {
        0 => out.push_str("true"),
        1 => out.push_str("false"),
        2 => out.push_str("null"),
        3..6 => out.push_str(values.one_of(&NUMBERS)),
        _ => out.push_str(&format!("\"{}\"", values.one_of(&TEXTS))),
    }
}
