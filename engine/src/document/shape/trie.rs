//! The literals of all shapes, by what comes before them.

use super::super::lanes::{LITERAL, Text, WIDTH};
use super::super::leaf;
use super::super::tape::Span;

/// No node.
const NONE: u32 = u32::MAX;

/// Token of a node behind which the text ends.
const END: u32 = u32::MAX;

/// A literal at its place, and the leaf behind it.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The first bytes of the literal, then zeros.
    head: [u8; 2 * WIDTH],
    /// A bit for each byte of it that is compared there.
    mask: u32,
    /// Bytes of the literal.
    len: u32,
    /// The leaf behind it, or [`END`].
    token: u32,
    /// The next literal that has been seen at this place.
    other: u32,
    /// The first literal that has been seen behind the leaf; at the end, the number of the shape.
    child: u32,
    /// Where the rest of a literal longer than [`LITERAL`] is.
    rest: u32,
    /// Shapes that come this way.
    shapes: u32,
    _line: u32,
}

// One line of the cache.
const _: () = assert!(size_of::<Node>() == 64);

/// See the module.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Nodes that are not in use, linked by `other`.
    free: u32,
    root: u32,
    /// The literals beyond their heads, each with its length for the node that owns it.
    rests: Vec<Box<[u8]>>,
    rests_free: Vec<u32>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NONE, root: NONE, rests: Vec::new(), rests_free: Vec::new() }
    }
}

impl Trie {
    /// Reads a text along the literals, writes down the spans of its leaves, and returns the number of the shape that it has.
    #[inline(never)]
    pub(super) fn follow(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        let (mut at, mut next) = (0, self.root);
        loop {
            let node = self.nodes.get(next as usize)?;
            next = node.other;
            let window = text.window(at);
            if !window.begins_with(&node.head, node.mask) {
                continue;
            }
            let start = at + node.len as usize;
            let (byte, here, behind) = if node.len as usize <= LITERAL {
                let len = node.len as usize;
                (window.byte(len), window.block(len), window.block_behind(len))
            } else if self.rest_fits(text, at, node) {
                (text.byte(start), text.block(start), text.window(start).block_behind(0))
            } else {
                continue;
            };
            let (span, end) = if byte == b'"' {
                leaf::string(text, start, behind, 0).ok()?
            } else if byte.is_ascii_digit() || byte == b'-' {
                leaf::number(text, start, here, 0).ok()?
            } else if byte.is_ascii_lowercase() {
                leaf::word(text, start, 0).ok()?
            } else if node.token == END && start == text.len() {
                return Some(node.child);
            } else {
                // The literal goes on in the text where here it ends.
                continue;
            };
            // Behind the literal of an end there is no leaf to be written down.
            *spans.get_mut(node.token as usize)? = span;
            (at, next) = (end, node.child);
        }
    }

    #[inline(never)]
    fn rest_fits(&self, text: Text<'_>, at: usize, node: &Node) -> bool {
        let (start, end) = (at + LITERAL, at + node.len as usize);
        end <= text.len() && text.slice(start, end) == &*self.rests[node.rest as usize]
    }

    /// Adds a shape: its literals, each with the leaf behind it, and the one at the end.
    pub(super) fn insert<'l>(&mut self, literals: impl Iterator<Item = (&'l [u8], Option<u32>)>, shape: u32) {
        let mut parent = NONE;
        for (literal, token) in literals {
            let token = token.unwrap_or(END);
            let first = self.first(parent);
            let node = match self.find(first, literal, token) {
                Some(found) => found,
                None => self.add(parent, literal, token),
            };
            self.nodes[node as usize].shapes += 1;
            if token == END {
                self.nodes[node as usize].child = shape;
            }
            parent = node;
        }
    }

    /// Takes out a shape that was inserted with these literals.
    pub(super) fn remove(&mut self, shape: u32) {
        let mut path = Vec::new();
        if !self.path_to(self.root, shape, &mut path) {
            return;
        }
        let mut parent = NONE;
        for node in path {
            self.nodes[node as usize].shapes -= 1;
            if self.nodes[node as usize].shapes == 0 {
                self.unlink(parent, node);
            }
            parent = node;
        }
    }

    /// The nodes that lead to a shape. The recursion is as deep as a shape has leaves, which is bounded.
    fn path_to(&self, first: u32, shape: u32, path: &mut Vec<u32>) -> bool {
        let mut next = first;
        while let Some(node) = self.nodes.get(next as usize) {
            path.push(next);
            if node.token == END && node.child == shape || node.token != END && self.path_to(node.child, shape, path) {
                return true;
            }
            path.pop();
            next = node.other;
        }
        false
    }

    fn first(&self, parent: u32) -> u32 {
        self.nodes.get(parent as usize).map_or(self.root, |parent| parent.child)
    }

    fn find(&self, first: u32, literal: &[u8], token: u32) -> Option<u32> {
        let mut next = first;
        while let Some(node) = self.nodes.get(next as usize) {
            if node.token == token && self.is_literal(node, literal) {
                return Some(next);
            }
            next = node.other;
        }
        None
    }

    fn is_literal(&self, node: &Node, literal: &[u8]) -> bool {
        let (head, rest) = literal.split_at(literal.len().min(LITERAL));
        node.len as usize == literal.len() && node.head.starts_with(head) && (rest.is_empty() || *self.rests[node.rest as usize] == *rest)
    }

    /// A new node behind the others at its place: what is frequent tends to be learned first.
    fn add(&mut self, parent: u32, literal: &[u8], token: u32) -> u32 {
        let (bytes, rest) = literal.split_at(literal.len().min(LITERAL));
        let mut head = [0; 2 * WIDTH];
        head[..bytes.len()].copy_from_slice(bytes);
        let rest = if rest.is_empty() { NONE } else { self.add_rest(rest) };
        let len = u32::try_from(literal.len()).expect("literals are bounded");
        let node = Node { head, mask: (1 << bytes.len()) - 1, len, token, other: NONE, child: NONE, rest, shapes: 0, _line: 0 };
        let place = if let Some(free) = self.nodes.get_mut(self.free as usize) {
            let place = std::mem::replace(&mut self.free, free.other);
            self.nodes[place as usize] = node;
            place
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("shapes and their leaves are bounded")
        };
        let mut last = self.first(parent);
        if last == NONE {
            self.set_first(parent, place);
        } else {
            while self.nodes[last as usize].other != NONE {
                last = self.nodes[last as usize].other;
            }
            self.nodes[last as usize].other = place;
        }
        place
    }

    fn add_rest(&mut self, rest: &[u8]) -> u32 {
        if let Some(free) = self.rests_free.pop() {
            self.rests[free as usize] = rest.into();
            return free;
        }
        self.rests.push(rest.into());
        u32::try_from(self.rests.len() - 1).expect("shapes and their leaves are bounded")
    }

    fn set_first(&mut self, parent: u32, node: u32) {
        match self.nodes.get_mut(parent as usize) {
            Some(parent) => parent.child = node,
            None => self.root = node,
        }
    }

    /// Takes a node out of the list that it is in; what hangs on it is taken out next, from a parent that is free by then.
    fn unlink(&mut self, parent: u32, node: u32) {
        let after = self.nodes[node as usize].other;
        let mut before = self.first(parent);
        if before == node {
            self.set_first(parent, after);
        } else {
            while before != NONE && self.nodes[before as usize].other != node {
                before = self.nodes[before as usize].other;
            }
            if before != NONE {
                self.nodes[before as usize].other = after;
            }
        }
        let rest = self.nodes[node as usize].rest;
        if rest != NONE {
            self.rests[rest as usize] = Box::default();
            self.rests_free.push(rest);
        }
        self.nodes[node as usize].other = self.free;
        self.free = node;
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.rests.iter().map(|rest| rest.len() + size_of::<Box<[u8]>>()).sum::<usize>()
    }
}
