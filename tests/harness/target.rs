//! What the fuzzer drives: each target takes any bytes and panics on a finding. The same functions replay seeds and former findings in an ordinary test.

use expressway_engine::document::{Document, FaultKind, Kind, Symbols, Token, Unescaped};
use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{Deployment, compile};
use serde_json::Value;

use crate::{differential, same_shapes};

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] = [("definition", definition), ("document", document), ("shapes", shapes), ("differential", differential)];

/// Nesting that serde_json bears.
const ORACLE_DEPTH_MAX: usize = 127;

/// With `arbitrary_precision`, an object with this key alone is a number to serde_json, and refused when its value is none: the oracle has nothing to say about such a text.
const ORACLE_NUMBER_KEY: &str = "$serde_json::private::Number";

/// Any text as a definition: it is refused with findings that can be told, or it compiles, verifies and prints.
///
/// # Panics
/// When the front end does.
pub fn definition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for workflow_type in [WorkflowType::Express, WorkflowType::Standard] {
        let findings = match lower(text, workflow_type) {
            Ok(lowered) => {
                if let Ok(program) = compile(&lowered.machine, &Deployment::named("machine")) {
                    assert!(!program.listing().is_empty(), "a program has a listing");
                }
                lowered.warnings
            }
            Err(findings) => {
                assert!(!findings.is_empty(), "a refusal has a reason");
                findings
            }
        };
        for finding in findings {
            assert!(!finding.to_string().is_empty(), "a finding has a text");
        }
    }
}

/// Any bytes as a document: a JSON text with the value that serde_json sees, or none for both.
///
/// # Panics
/// When the two disagree.
pub fn document(bytes: &[u8]) {
    let mut document = Document::new();
    let ours = document.fill(bytes, &Symbols::default());
    // Backslashes of a JSON text lie in its strings alone, so the whole of it is unescaped at once.
    if ours.is_ok() && Unescaped::new(bytes).to_string().contains(ORACLE_NUMBER_KEY) {
        return;
    }
    let shown = || String::from_utf8_lossy(bytes);
    match (&ours, serde_json::from_slice::<Value>(bytes)) {
        (Ok(()), Ok(expected)) => assert_eq!(tree(&document, document.root()), expected, "{}", shown()),
        (Err(_), Err(_)) => {}
        // Half a surrogate pair is a text to the service and to us, and none to serde_json, which nests less deep too.
        (Ok(()), Err(error)) => assert!(has_surrogate(bytes) || depth(bytes) > ORACLE_DEPTH_MAX, "only serde_json refuses ({error}): {}", shown()),
        (Err(fault), Ok(_)) => assert!(matches!(fault.kind, FaultKind::TooDeep | FaultKind::TooLarge(_)), "only we refuse ({fault}): {}", shown()),
    }
}

/// Any bytes as messages with a NUL between each two: read by learned shapes, the messages and damaged ones like them are what the full pass makes of them.
///
/// # Panics
/// When the two disagree.
pub fn shapes(bytes: &[u8]) {
    same_shapes::check(bytes);
}

/// Any bytes as a definition, an input and answers of tasks: the engine does what the reference does.
///
/// # Panics
/// When the two disagree.
pub fn differential(bytes: &[u8]) {
    if let Err(difference) = differential::check(bytes) {
        panic!("{difference}");
    }
}

fn has_surrogate(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| matches!(four, [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']))
}

fn depth(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count()
}

/// A document as serde_json would hold it.
fn tree(document: &Document, token: Token) -> Value {
    let raw = document.raw(token);
    match document.kind(token) {
        Kind::Null => Value::Null,
        Kind::True => Value::Bool(true),
        Kind::False => Value::Bool(false),
        Kind::Number => serde_json::from_slice(raw).expect("a number is one for serde_json too"),
        Kind::String => Value::String(Unescaped::new(&raw[1..raw.len() - 1]).to_string()),
        Kind::Array => document.children(token).map(|child| tree(document, child)).collect(),
        Kind::Object => {
            let members = document.children(token).map(|child| (Unescaped::new(document.key(child)).to_string(), tree(document, child)));
            Value::Object(members.collect())
        }
    }
}
