//! From a document that went through the full pass to its shape, and which shape goes when there is no room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Document, Kind, Token};
use super::trie::Trie;
use super::{Container, Edge, IDLE, LITERAL_BYTES_MAX, Piece, SHAPES_MAX, Shape, Shapes, TOKENS_MAX};

/// Shapes that are given up for one, at most, and shapes that are looked at to find one of no use.
const GIVEN_UP_MAX: usize = 4;
const LOOKED_AT_MAX: usize = 32;

/// Numbers given to shapes and tables of names, so that each can be told from all others in the process. Two threads never get the same one; nothing else depends on their order.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A number that nothing else has.
pub(in super::super) fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A leaf of the document that is learned from, or its end: the literal in front of it, in the text as it came in and in the compact one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    /// `None` behind the last leaf.
    token: Option<u16>,
    raw: (u32, u32),
    compact: (u32, u32),
}

impl Leaf {
    fn literal<'t>(&self, raw: &'t [u8]) -> &'t [u8] {
        &raw[self.raw.0 as usize..self.raw.1 as usize]
    }

    fn compact_literal<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.compact.0 as usize..self.compact.1 as usize]
    }
}

impl Shapes {
    /// Learns the shape of a document, whose text came in as `raw`, if it is small enough and there is room or something of no use.
    #[cold]
    pub(super) fn learn(&mut self, document: &Document, raw: &[u8], resolve: impl FnOnce(&Document, &mut Vec<u32>)) {
        let tokens = document.token_count();
        if tokens > TOKENS_MAX {
            return;
        }
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.clear();
        cut(document, raw, &mut leaves);
        let literal_bytes: u32 = leaves.iter().map(|leaf| leaf.raw.1 - leaf.raw.0).sum();
        if literal_bytes as usize <= LITERAL_BYTES_MAX {
            self.policy.credit -= 1;
            self.learn_cut(document, raw, &leaves, resolve);
        }
        self.leaves = leaves;
    }

    fn learn_cut(&mut self, document: &Document, raw: &[u8], leaves: &[Leaf], resolve: impl FnOnce(&Document, &mut Vec<u32>)) {
        let is_compact = raw.len() == document.text().len();
        let text = document.text();
        let nodes = leaves.iter().map(|leaf| Trie::nodes_of(leaf.literal(raw).len())).sum();
        let tokens = document.token_count();
        let root = document.kind(document.root());
        let is_leaf = !matches!(root, Kind::Array | Kind::Object);
        // One of the leaves is the end, and the root is not in the list.
        let containers = tokens + usize::from(is_leaf) - leaves.len();
        let piece_count = if is_compact { 0 } else { pieces(leaves, text).count() };
        let has_room = |shapes: &Self| {
            let lists = shapes.statics.has_room(tokens) && shapes.containers.has_room(containers) && shapes.pieces.has_room(piece_count);
            lists && shapes.trie.has_room(nodes)
        };
        let Some(place) = self.make_room(has_room) else { return };
        let number_of = |count: usize| u16::try_from(count).expect("TOKENS_MAX is a small number");
        let shape = Shape {
            number: number(),
            end: self.trie.insert(leaves.iter().map(|leaf| (leaf.literal(raw), leaf.token)), u32::try_from(place).expect("SHAPES_MAX is a small number")),
            statics: self.statics.keep(all_tokens(document).map(|token| *document.fixed(token))),
            tokens: number_of(tokens),
            containers: self.containers.keep(inner_containers(document)),
            container_count: number_of(containers),
            root: if is_leaf { 0 } else { root as u8 },
            pieces: self.pieces.keep(pieces(leaves, text).take(piece_count)),
            uses: 0,
            seen: self.policy.window,
        };
        self.keep_places(place, document, resolve);
        // One more for the end of the text.
        self.tokens = self.tokens.max((tokens + 1).next_multiple_of(8));
        self.counts.learned += 1;
        self.policy.learned += 1;
        match self.shapes.get_mut(place) {
            Some(free) => *free = shape,
            None => super::push_within(&mut self.shapes, shape, SHAPES_MAX),
        }
    }

    /// Keeps what the program's paths lead to in the shape at `place`.
    fn keep_places(&mut self, place: usize, document: &Document, resolve: impl FnOnce(&Document, &mut Vec<u32>)) {
        let behind = self.places.len();
        resolve(document, &mut self.places);
        self.paths = self.places.len() - behind;
        if place < self.shapes.len() {
            self.places.copy_within(behind.., place * self.paths);
            self.places.truncate(behind);
        }
    }

    /// A place for a new shape: one that is free, one more, or that of a shape of no use lately.
    fn make_room(&mut self, has_room: impl Fn(&Self) -> bool) -> Option<usize> {
        if self.shapes.len() < SHAPES_MAX && has_room(self) {
            return Some(self.shapes.len());
        }
        self.policy.is_crowded = true;
        let mut freed = self.shapes.iter().position(|shape| shape.number == 0);
        for _ in 0..GIVEN_UP_MAX {
            if let Some(place) = freed.filter(|_| has_room(self)) {
                return Some(place);
            }
            let place = self.useless()?;
            self.give_up(place);
            freed = Some(place);
        }
        freed.filter(|_| has_room(self))
    }

    /// A shape that has had no hit for long.
    fn useless(&mut self) -> Option<usize> {
        for _ in 0..LOOKED_AT_MAX.min(self.shapes.len()) {
            self.hand = (self.hand + 1) % self.shapes.len();
            let shape = &self.shapes[self.hand];
            if shape.number != 0 && self.policy.window.wrapping_sub(shape.seen) >= IDLE {
                return Some(self.hand);
            }
        }
        None
    }

    fn give_up(&mut self, place: usize) {
        let shape = &mut self.shapes[place];
        shape.number = 0;
        self.trie.remove(shape.end);
        self.statics.give_back(shape.statics);
        self.containers.give_back(shape.containers);
        self.pieces.give_back(shape.pieces);
        self.counts.evicted += 1;
    }
}

fn all_tokens(document: &Document) -> impl Iterator<Item = Token> {
    (0..document.tape.count()).map(Token)
}

fn is_leaf(document: &Document, token: Token) -> bool {
    !matches!(document.kind(token), Kind::Array | Kind::Object)
}

/// A token's number in the lists.
fn short(token: Token) -> u16 {
    u16::try_from(token.0).expect("TOKENS_MAX is a small number")
}

/// The leaves of a document with the literals in front of them, and the literal at the end.
fn cut(document: &Document, raw: &[u8], leaves: &mut Vec<Leaf>) {
    let text = document.text();
    let narrow = |at: usize| u32::try_from(at).expect("documents are at most 2^24 - 1 bytes long");
    let (mut compact_at, mut raw_at) = (0, 0);
    let found = all_tokens(document).filter(|&token| is_leaf(document, token));
    let ends = found.map(|token| (Some(short(token)), document.start(token), document.raw(token).len()));
    for (token, start, len) in ends.chain([(None, text.len(), 0)]) {
        let raw_start = if token.is_some() { behind_literal(raw, raw_at, &text[compact_at..start]) } else { raw.len() };
        leaves.push(Leaf { token, raw: (narrow(raw_at), narrow(raw_start)), compact: (narrow(compact_at), narrow(start)) });
        (compact_at, raw_at) = (start + len, raw_start + len);
    }
}

/// Where in `raw`, which has a literal and whitespace from `at` on, the value behind it starts.
fn behind_literal(raw: &[u8], mut at: usize, literal: &[u8]) -> usize {
    let whitespace = |at: usize| raw[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    for &byte in literal {
        // Within a key both texts are the same.
        if raw[at] != byte {
            at += whitespace(at);
        }
        at += 1;
    }
    at + whitespace(at)
}

/// What a compact text consists of.
fn pieces<'l>(leaves: &'l [Leaf], text: &'l [u8]) -> impl Iterator<Item = Piece> + 'l {
    leaves.iter().flat_map(move |leaf| {
        let literal = leaf.compact_literal(text);
        let count = literal.len().div_ceil(Piece::LITERAL).max(1);
        (0..count).map(move |number| {
            let start = number * Piece::LITERAL;
            let part = &literal[start..literal.len().min(start + Piece::LITERAL)];
            Piece::new(part, leaf.token.filter(|_| number + 1 == count))
        })
    })
}

/// Where the containers of a document lie but the root, seen from its leaves.
fn inner_containers(document: &Document) -> impl Iterator<Item = Container> {
    let count = document.tape.count();
    let edge = move |behind: u32, at: u32| {
        let leaf = (behind..count).map(Token).find(|&token| is_leaf(document, token));
        let place = leaf.map_or_else(|| document.text().len(), |leaf| document.start(leaf));
        let bytes = u16::try_from(place - at as usize).expect("LITERAL_BYTES_MAX is a small number");
        Edge { before: short(leaf.unwrap_or(Token(count))), bytes }
    };
    all_tokens(document).skip(1).filter(|&token| !is_leaf(document, token)).map(move |token| {
        let span = document.span(token);
        let end = edge(document.next(token).0, span.end());
        Container { token: short(token), kind: span.kind() as u16, start: edge(token.0, span.start), end }
    })
}
