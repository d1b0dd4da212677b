//! The slow path of texts in which an object holds a key twice: written anew with the last value in the first position.

use std::collections::HashMap;

use super::{Document, Kind, Token, Unescaped};

/// The text of `document` without repeated keys and without insignificant whitespace.
pub(super) fn rewrite(document: &Document) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.text().len());
    // Depth is at most DOCUMENT_DEPTH_MAX, so the recursion is bounded.
    write(document, document.root(), &mut out);
    out
}

fn write(document: &Document, token: Token, out: &mut Vec<u8>) {
    match document.kind(token) {
        Kind::Array => {
            out.push(b'[');
            for (index, child) in document.children(token).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(document, child, out);
            }
            out.push(b']');
        }
        Kind::Object => {
            let mut last: HashMap<String, Token> = HashMap::new();
            for child in document.children(token) {
                last.insert(Unescaped::new(document.key(child)).to_string(), child);
            }
            out.push(b'{');
            let mut first = true;
            for child in document.children(token) {
                // Each name is written where it first stands, with its last value.
                let Some(value) = last.remove(&Unescaped::new(document.key(child)).to_string()) else { continue };
                if !first {
                    out.push(b',');
                }
                first = false;
                out.push(b'"');
                out.extend_from_slice(document.key(child));
                out.extend_from_slice(b"\":");
                write(document, value, out);
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(document.raw(token)),
    }
}
