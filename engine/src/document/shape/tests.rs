//! Learning, its bounds, and when it stops.

use super::super::lanes::LITERAL;
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

    /// From here on nothing is read with wide lanes. Comes behind the last new name, or all would begin anew.
    fn narrow(mut self) -> Self {
        self.shapes.adopt(&self.symbols);
        self.shapes.trie = Trie::new().narrow();
        self
    }

    fn read(&mut self, text: &str) {
        self.document.fill_with(text.as_bytes(), &self.symbols, &mut self.shapes).expect(text);
    }

    /// Reads a text by shapes and by the full pass, which must come to the same.
    fn read_both_ways(&mut self, text: &[u8]) -> Result<(), Fault> {
        let mut expected = Document::new();
        let outcome = expected.fill(text, &self.symbols);
        let shown = String::from_utf8_lossy(text);
        assert_eq!(self.document.fill_with(text, &self.symbols, &mut self.shapes), outcome, "{shown:?}");
        if outcome.is_ok() {
            assert_eq!((self.document.text(), self.document.token_count()), (expected.text(), expected.token_count()), "{shown:?}");
            for token in (0..expected.tape.count()).map(Token) {
                let told = |document: &Document| (document.span(token), *document.fixed(token));
                assert_eq!(told(&self.document), told(&expected), "token {} of {shown:?}", token.0);
            }
        }
        outcome
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
fn shapes_anew_know_nothing_and_keep_what_was_counted() {
    let mut reader = Reader::new();
    let first = reader.read_mixed(4, 100);
    let before = reader.shapes.counts();
    reader.shapes = reader.shapes.anew();
    assert_eq!(reader.shapes.counts(), before);
    assert_eq!(reader.read_mixed(4, 100), first);
    reader.shapes = Shapes::off().anew();
    reader.read(&message(3, 77));
    reader.read(&message(3, 77));
    assert_eq!(reader.shapes.counts().learned, 0, "off stays off");
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
fn a_set_that_is_too_small_is_kept_as_it_is() {
    let (mut reader, mut draw) = (Reader::new(), 1_u64);
    for value in 0..60_000 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        reader.read(&message((draw >> 33) % 1_500, value));
    }
    let counts = reader.shapes.counts();
    assert!(counts.hits > 38_000 && counts.learned < 2_000 && counts.skipped == 0, "{counts:?}");
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

/// A message of shape `shape`: an order of keys of which many begin alike, some longer than a node, in a style of whitespace.
fn tangled(shape: u64, value: u64) -> String {
    let mut state = shape.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let (open, colon, comma) = [("", ":", ","), ("", ": ", ", "), ("\n  ", ": ", ",\n  ")][usize::try_from(random(3)).expect("small")];
    let mut text = format!("{{{open}");
    for member in 0..1 + random(9) {
        if member > 0 {
            text += comma;
        }
        let key = ["a", "ab", "abcdefgh", "abcdefghi", "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz"]
            [usize::try_from(random(5)).expect("small")];
        text += &format!("\"{key}{member}\"{colon}");
        match random(5) {
            0 => text += &format!("[{value}{comma}{{}}{comma}[]{comma}\"{value}\"]"),
            1 => text += &format!("{{\"x\"{colon}-{value}.5e1{comma}\"y\"{colon}null}}"),
            2 => text += &format!("\"a text that is longer than two blocks, with \\\" and \u{e9} {value}\""),
            3 => text += &value.to_string(),
            _ => text += &format!("\"{value}\""),
        }
    }
    text + open + "}"
}

/// Many shapes at every place, evicted and learned again, in memory for fewer of them: what is read by shapes is what the full pass reads.
#[test]
fn a_crowded_trie_reads_as_the_full_pass_does() {
    read_crowded(reader_with_a_name());
}

#[test]
fn a_crowded_trie_with_narrow_lanes_reads_as_the_full_pass_does() {
    let reader = read_crowded(reader_with_a_name().narrow());
    assert!(!reader.shapes.trie.is_wide());
}

fn reader_with_a_name() -> Reader {
    let mut reader = Reader::new();
    reader.symbols.intern("ab1").expect("room for a name");
    reader
}

fn read_crowded(mut reader: Reader) -> Reader {
    let mut draw = 1_u64;
    for round in 0..25_000_u64 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The shapes in use move on.
        let shape = round / 40 + (draw >> 33) % 900;
        let text = tangled(shape, draw >> 40);
        reader.read_both_ways(text.as_bytes()).expect(&text);
    }
    let counts = reader.shapes.counts();
    assert!(counts.hits > 5_000 && counts.evicted > 20, "{counts:?}");
    assert!(reader.shapes.capacity_bytes() < BYTES_MAX + (64 << 10), "{}", reader.shapes.capacity_bytes());
    reader
}

/// A message with leaves of all kinds whose literals have `len` bytes, and the one at the end `end`, all but the last of them whitespace.
fn with_literals(len: usize, end: usize) -> String {
    let key = "k".repeat(len - r#","0":"#.len());
    format!(r#"{{"0{key}":17,"1{key}":"text","2{key}":null,"3{key}":-1.5{}}}"#, " ".repeat(end - 1))
}

/// No literal and no leaf has a zero, which is why a run along them stays within the text; and none has 0xff, which is why it halts where a literal goes on. So neither is ever taken for what was learned, wherever it stands, nor is a leaf taken for one where none was.
#[test]
fn a_zero_no_text_and_a_leaf_are_seen_at_every_place() {
    let literals = [LITERAL, LITERAL + 1, 2 * LITERAL, 2 * LITERAL + 1];
    for (len, end) in literals.into_iter().flat_map(|len| [1, LITERAL, LITERAL + 1].map(|end| (len, end))) {
        for mut reader in [Reader::new(), Reader::new().narrow()] {
            let text = with_literals(len, end).into_bytes();
            reader.read_both_ways(&text).expect("a good message");
            for (at, byte) in (0..=text.len()).flat_map(|at| [0x00, 0xff, b'1', b'"'].map(|byte| (at, byte))) {
                for damaged in damaged_at(&text, at, byte) {
                    let outcome = reader.read_both_ways(&damaged);
                    assert!(outcome.is_err() || byte.is_ascii_graphic(), "{:?}", String::from_utf8_lossy(&damaged));
                    // What was learned is still there, and one hit for each miss keeps it in use.
                    let hits = reader.shapes.counts().hits;
                    reader.read_both_ways(&text).expect("a good message");
                    assert_eq!(reader.shapes.counts().hits, hits + 1, "literals of {len} bytes, {end} at the end");
                }
            }
        }
    }
}

/// The text with a byte more in front of one, and with the byte in place of that one.
fn damaged_at(text: &[u8], at: usize, byte: u8) -> [Vec<u8>; 2] {
    let (head, tail) = text.split_at(at);
    [[head, &[byte], tail].concat(), [head, &[byte], tail.get(1..).unwrap_or_default()].concat()]
}

#[test]
fn shapes_that_are_off_learn_nothing() {
    let mut reader = Reader { shapes: Shapes::off(), ..Reader::new() };
    let counts = reader.read_mixed(2, 10);
    assert_eq!(counts, Counts { skipped: 10, ..Counts::default() });
    assert!(reader.shapes.is_empty());
}
