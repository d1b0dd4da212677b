//! From a document that went through the full pass to its shape, and which shape goes when there is no room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::tape::Span;
use super::super::{Document, Kind, Token};
use super::{ABSENT, Container, Edge, LITERAL_BYTES_MAX, SHAPES_MAX, Shape, Shapes, TOKENS_MAX, USES_AT_BIRTH};

/// Numbers given to shapes and tables of names, so that each can be told from all others in the process. Two threads never get the same one; nothing else depends on their order.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A number that nothing else has.
pub(in super::super) fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl Shapes {
    /// Learns the shape of a document, if it is small enough and there is room or something of no use.
    #[cold]
    pub(super) fn learn(&mut self, document: &Document, resolve: impl FnOnce(&Document) -> Box<[u32]>) {
        let leaves: Vec<Token> = tokens(document).filter(|&token| is_leaf(document, token)).collect();
        let leaf_bytes: usize = leaves.iter().map(|&leaf| document.raw(leaf).len()).sum();
        if document.token_count() > TOKENS_MAX || document.text().len() - leaf_bytes > LITERAL_BYTES_MAX {
            return;
        }
        let Some(place) = self.place() else { return };
        self.policy.credit -= 1;
        let shape = Shape {
            number: number(),
            statics: tokens(document).map(|token| *document.fixed(token)).collect(),
            containers: containers(document),
            places: resolve(document),
            whitespace: document.whitespace,
            uses: USES_AT_BIRTH,
            is_new: true,
        };
        self.trie.insert(literals(document, &leaves), u32::try_from(place).expect("SHAPES_MAX is a small number"));
        self.tokens = self.tokens.max(document.token_count());
        self.counts.learned += 1;
        match self.shapes.get_mut(place) {
            Some(free) => *free = shape,
            None => self.shapes.push(shape),
        }
    }

    /// A place for a new shape: one more, or that of the shape of least use, if it was of none since its last windows.
    fn place(&mut self) -> Option<usize> {
        if self.shapes.len() < SHAPES_MAX {
            return Some(self.shapes.len());
        }
        let (place, shape) = self.shapes.iter_mut().enumerate().min_by_key(|(_, shape)| shape.uses)?;
        if shape.uses >= USES_AT_BIRTH / 2 {
            return None;
        }
        shape.number = 0;
        self.trie.remove(u32::try_from(place).expect("SHAPES_MAX is a small number"));
        self.counts.evicted += 1;
        Some(place)
    }
}

fn tokens(document: &Document) -> impl Iterator<Item = Token> {
    (0..document.tape.count()).map(Token)
}

fn is_leaf(document: &Document, token: Token) -> bool {
    !matches!(document.kind(token), Kind::Array | Kind::Object)
}

/// The bytes in front of each leaf, and those behind the last.
fn literals<'d>(document: &'d Document, leaves: &'d [Token]) -> impl Iterator<Item = (&'d [u8], Option<u32>)> {
    let text = document.text();
    let mut before = 0;
    let ends = leaves.iter().map(|leaf| (document.span(*leaf), Some(leaf.0)));
    ends.chain([(Span::new(text.len(), 0, Kind::Null, 0), None)]).map(move |(span, token)| {
        let literal = &text[before..span.start as usize];
        before = span.end() as usize;
        (literal, token)
    })
}

fn containers(document: &Document) -> Box<[Container]> {
    // For each token the last leaf up to it.
    let mut last = ABSENT;
    let leaves: Vec<u32> = tokens(document)
        .map(|token| {
            if is_leaf(document, token) {
                last = token.0;
            }
            last
        })
        .collect();
    let edge = |leaf: u32, at: u32| Edge { leaf, offset: if leaf == ABSENT { at } else { at - document.span(Token(leaf)).end() } };
    tokens(document)
        .filter(|&token| !is_leaf(document, token))
        .map(|token| {
            let span = document.span(token);
            let last = document.next(token).0 - 1;
            Container {
                token: token.0,
                start: edge(leaves[token.0 as usize], span.start),
                end: edge(leaves[last as usize], span.end()),
                span: Span::new(0, 0, span.kind(), 0),
            }
        })
        .collect()
}
