//! The tape against its oracles: simd-json for what is JSON, serde_json for what it means.

use expressway_engine::document::{Document, Kind, Symbols, Token, Unescaped};
use proptest::prelude::*;
use serde_json::Value;

/// The tape as a tree; numbers keep their text.
fn tree(document: &Document, token: Token) -> Value {
    let raw = || String::from_utf8(document.raw(token).to_vec()).expect("validated");
    match document.kind(token) {
        Kind::Null => Value::Null,
        Kind::True => Value::Bool(true),
        Kind::False => Value::Bool(false),
        Kind::Number => serde_json::from_str(&raw()).expect("a number that serde_json reads too"),
        Kind::String => Value::String(Unescaped::new(&document.raw(token)[1..document.raw(token).len() - 1]).to_string()),
        Kind::Array => document.children(token).map(|child| tree(document, child)).collect(),
        Kind::Object => document
            .children(token)
            .map(|child| (Unescaped::new(document.key(child)).to_string(), tree(document, child)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// Where the tape accepts what simd-json refuses, by decision: lone surrogate escapes, numbers beyond a double or 64 bits, and nesting beyond its depth.
fn is_lenient(text: &str) -> bool {
    text.contains("\\u") || text.contains("\\U") || text.bytes().filter(u8::is_ascii_digit).count() > 15 || text.contains(['e', 'E'])
}

fn agree(text: &[u8]) {
    let mut document = Document::new();
    let ours = document.fill(text, &Symbols::default());
    let oracle = simd_json::to_owned_value(&mut text.to_vec());
    match (&ours, &oracle) {
        (Ok(()), Ok(_)) => {
            let expected: Value = serde_json::from_slice(text).expect("what simd-json accepts serde_json accepts");
            assert_eq!(tree(&document, document.root()), expected, "{}", String::from_utf8_lossy(text));
            assert_eq!(document.compact_len(document.root()) as usize, compact(&document).len());
        }
        (Err(_), Err(_)) => {}
        _ => assert!(is_lenient(&String::from_utf8_lossy(text)), "tape {ours:?}, simd-json {:?}: {}", oracle.map(|_| ()), String::from_utf8_lossy(text)),
    }
}

/// The text without insignificant whitespace, by a naive filter.
fn compact(document: &Document) -> Vec<u8> {
    let (mut out, mut in_string, mut escaped) = (Vec::new(), false, false);
    for &byte in document.text() {
        if in_string || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            in_string = byte == b'"';
        }
    }
    out
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000_i32..1000, 1_u32..100).prop_map(|(whole, part)| serde_json::from_str(&format!("{whole}.{part}")).expect("a number")),
        "[a-z\"\\\\\n\té😀 ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec(("[a-dé\"]{0,10}", inner), 0..8).prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_mean_what_the_oracles_say(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("values print");
        agree(&text);
    }

    #[test]
    fn damaged_documents_are_judged_as_the_oracle_judges(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = serde_json::to_vec(&value).expect("values print");
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        agree(&text);
    }

    #[test]
    fn no_bytes_make_the_scanner_panic(text in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b','), Just(b':'), Just(b'u'), Just(b'0'), Just(b'-'), Just(b'.'), Just(b'e'), Just(b' '), any::<u8>()], 0..60)) {
        agree(&text);
    }
}

#[test]
fn many_keys_are_told_apart_and_repeated_ones_are_found() {
    for count in [10_usize, 48, 49, 500, 5000] {
        let members: Vec<String> = (0..count).map(|n| format!("\"key-{n}\":{n}")).collect();
        let mut document = Document::new();
        document.fill(format!("{{{}}}", members.join(",")).as_bytes(), &Symbols::default()).expect("valid");
        assert_eq!(document.children(document.root()).count(), count);
        document.fill(format!("{{{},\"key-3\":true}}", members.join(",")).as_bytes(), &Symbols::default()).expect("valid");
        assert_eq!(document.children(document.root()).count(), count);
        let third = document.member_named(document.root(), "key-3").expect("still there");
        assert_eq!(document.kind(third), Kind::True);
    }
}
