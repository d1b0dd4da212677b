//! Learning, its bounds, and when it stops.

use super::super::{Document, Symbols, Token};
use super::*;

/// A message of shape `shape` with a value.
fn message(shape: u64, value: u64) -> String {
    format!(r#"{{"first":{value},"key-{shape}":"text {value}","last":[{value},{{"x":null}}]}}"#)
}

struct Reader {
    symbols: Symbols,
    shapes: Shapes,
    document: Document,
}

impl Reader {
    fn new() -> Self {
        Self { symbols: Symbols::default(), shapes: Shapes::new(), document: Document::new() }
    }

    fn read(&mut self, text: &str) {
        self.document.fill_with(text.as_bytes(), &self.symbols, &mut self.shapes).expect(text);
    }

    /// Reads messages whose shapes are drawn from so many.
    fn read_mixed(&mut self, shapes: u64, count: u64) -> Counts {
        let before = self.shapes.counts();
        for value in 0..count {
            // A full period of draws, whatever the number of shapes.
            let shape = value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            self.read(&message(shape % shapes, value));
        }
        let after = self.shapes.counts();
        Counts {
            hits: after.hits - before.hits,
            misses: after.misses - before.misses,
            skipped: after.skipped - before.skipped,
            learned: after.learned - before.learned,
            evicted: after.evicted - before.evicted,
        }
    }
}

#[test]
fn a_message_is_read_by_the_shape_of_the_first_of_its_kind() {
    let mut reader = Reader::new();
    for shapes in [1, 4, 8, 300] {
        reader.shapes = Shapes::new();
        let counts = reader.read_mixed(shapes, 1_000);
        assert_eq!(counts, Counts { hits: 1_000 - shapes, misses: shapes, learned: shapes, ..Counts::default() });
    }
    reader.read(&message(3, 77));
    assert_eq!(reader.document.raw(Token(2)), b"\"text 77\"");
    assert_eq!(reader.document.key(Token(2)), b"key-3");
    assert_eq!(reader.document.raw(Token(0)), reader.document.text());
}

#[test]
fn what_is_too_large_or_has_odd_keys_is_not_learned() {
    let mut reader = Reader::new();
    let many = format!("[{}0]", "0,".repeat(TOKENS_MAX - 1));
    let long = format!(r#"{{"{}":0}}"#, "k".repeat(LITERAL_BYTES_MAX));
    for text in [many.as_str(), &long, r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#] {
        reader.read(text);
        reader.read(text);
    }
    assert_eq!(reader.shapes.counts(), Counts { misses: 8, ..Counts::default() });
    let many = format!("[{}0]", "0,".repeat(TOKENS_MAX - 2));
    let long = format!(r#"{{"{}":0}}"#, "k".repeat(LITERAL_BYTES_MAX - 5));
    for text in [&many, &long] {
        reader.read(text);
        reader.read(text);
    }
    assert_eq!(reader.shapes.counts(), Counts { hits: 2, misses: 10, learned: 2, ..Counts::default() });
}

#[test]
fn matching_stops_where_it_is_not_worth_it_and_comes_back() {
    let mut reader = Reader::new();
    let counts = reader.read_mixed(50_000, 100_000);
    assert!(counts.skipped > 90_000, "{counts:?}");
    assert!(reader.shapes.len() <= SHAPES_MAX);
    // The longest pause so far, and some messages to learn from.
    let counts = reader.read_mixed(4, 200_000);
    assert!(counts.hits > 50_000, "{counts:?}");
}

#[test]
fn shapes_that_are_used_stay_and_others_go() {
    let mut reader = Reader::new();
    for round in 0..40_000_u64 {
        // One message in four is the only one of its shape.
        let shape = if round % 4 == 0 { 1_000_000 + round } else { round % 8 };
        reader.read(&message(shape, round));
    }
    let counts = reader.shapes.counts();
    assert!(counts.hits > 29_900 && counts.evicted > 0 && counts.learned < 2_000, "{counts:?}");
    assert_eq!(reader.shapes.len(), SHAPES_MAX);
}

#[test]
fn other_names_and_other_programs_begin_anew() {
    let mut reader = Reader::new();
    reader.read(&message(1, 1));
    let last = reader.symbols.intern("last").expect("room for a name");
    reader.read(&message(1, 2));
    assert_eq!(reader.shapes.counts().hits, 0);
    reader.read(&message(1, 3));
    assert_eq!(reader.shapes.counts().hits, 1);
    assert_eq!(reader.document.member(Token(0), last), Some(Token(3)));
}

#[test]
fn a_document_outlives_the_shape_that_it_was_read_by() {
    let mut reader = Reader::new();
    reader.read(&message(1, 1));
    reader.read(&message(1, 2));
    let (kept, symbols) = (reader.document.clone(), Symbols::default());
    reader.shapes = Shapes::new();
    reader.read_mixed(100, 10_000);
    let mut expected = Document::new();
    expected.fill(message(1, 2).as_bytes(), &symbols).expect("valid");
    for token in (0..6).map(Token) {
        assert_eq!((kept.raw(token), kept.key(token), kept.next(token)), (expected.raw(token), expected.key(token), expected.next(token)));
    }
}

#[test]
fn one_document_takes_the_shapes_of_several_owners_in_turn() {
    let (mut one, mut other) = (Reader::new(), Reader::new());
    for round in 0..20 {
        for (reader, shape) in [(&mut one, 1), (&mut other, 2)] {
            let text = message(shape, round);
            one_document_read(&mut reader.shapes, &reader.symbols, &text, &mut reader.document);
        }
        std::mem::swap(&mut one.document, &mut other.document);
    }
    assert_eq!((one.shapes.counts().hits, other.shapes.counts().hits), (19, 19));
}

fn one_document_read(shapes: &mut Shapes, symbols: &Symbols, text: &str, document: &mut Document) {
    document.fill_with(text.as_bytes(), symbols, shapes).expect(text);
    let mut expected = Document::new();
    expected.fill(text.as_bytes(), symbols).expect(text);
    assert_eq!(document.token_count(), expected.token_count());
    for token in (0..6).map(Token) {
        assert_eq!((document.key(token), document.raw(token)), (expected.key(token), expected.raw(token)));
    }
}

#[test]
fn shapes_that_are_off_learn_nothing() {
    let mut reader = Reader { shapes: Shapes::off(), ..Reader::new() };
    let counts = reader.read_mixed(2, 10);
    assert_eq!(counts, Counts { skipped: 10, ..Counts::default() });
    assert!(reader.shapes.is_empty());
}
