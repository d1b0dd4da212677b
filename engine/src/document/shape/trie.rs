//! The literals of all shapes, by what comes before them.

use super::super::lanes::{Here, LITERAL, Lanes, Literal, Text, WIDTH, Window};
#[cfg(target_arch = "x86_64")]
use super::super::lanes::{Wide, is_wide};
use super::super::symbols::{hash, prefix};
use super::super::tape::Span;
use super::super::{Kind, leaf};

/// No node.
const NONE: u32 = u32::MAX;

/// The node in front of all: what its children are compared with is the beginning of a text.
const ROOT: u32 = 0;

/// Token of a node behind which the text ends.
const END: u16 = u16::MAX;

/// Bit of a node's length: the literal goes on in its children.
const GOES_ON: u16 = 1 << 15;

/// Literals at one place that are compared one after the other; more of them are found by their hash.
const SIBLINGS_MAX: usize = 4;

/// Slots of the table of literals that are found by their hash. Every shape leaves the ones before it at one place only, so there are no more such literals than shapes.
const TABLE_BITS: u32 = 11;

/// A literal at its place, and the leaf behind it. A literal longer than [`LITERAL`] is a chain of nodes.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Node {
    /// The literal, then zeros.
    head: Literal,
    /// A bit for each byte of it.
    mask: u32,
    /// The first literal that has been seen behind the leaf; at the end, the place of the shape.
    child: u32,
    /// The next literal that has been seen at this place.
    other: u32,
    /// The node in front.
    parent: u32,
    /// The next node in the slot of the table, for nodes that are in it.
    link: u32,
    /// Bytes of the literal, perhaps with [`GOES_ON`].
    len: u16,
    /// The leaf behind it, or [`END`].
    token: u16,
    /// Shapes that come this way.
    shapes: u16,
    /// Bytes of the shortest literal among the children, at most [`WIDTH`]: by so many they are told apart in the table.
    child_len: u8,
    /// Whether the children but the first are in the table.
    is_wide: bool,
}

// One line of the cache.
const _: () = assert!(size_of::<Node>() == 64);

/// See the module.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Nodes that are not in use, linked by `other`.
    free: u32,
    free_count: usize,
    /// First nodes of the slots; empty as long as nothing is in the table.
    table: Vec<u32>,
}

impl Trie {
    /// Nodes at most.
    pub(super) const NODES_MAX: usize = 20 << 10;

    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, free_count: 0, table: Vec::new() }
    }

    /// Reads a text along the literals, writes down the spans of its leaves, and returns the place of the shape that it has.
    #[inline]
    pub(super) fn follow(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        #[cfg(target_arch = "x86_64")]
        if is_wide() {
            #[expect(unsafe_code, reason = "32 bytes at once: a heartbeat read by its shape takes a fifth fewer instructions than with SSE2")]
            // SAFETY: the processor has been asked.
            return unsafe { self.follow_wide(text, spans) };
        }
        self.follow_here(text, spans)
    }

    #[inline(never)]
    fn follow_here(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        self.follow_with::<Here>(text, spans)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn follow_wide(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        self.follow_with::<Wide>(text, spans)
    }

    #[inline(always)]
    fn follow_with<L: Lanes>(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        let (mut at, mut next) = (0, self.nodes.first()?.child);
        loop {
            let node = self.nodes.get(next as usize)?;
            let window = text.window(at);
            if L::begins_with(window, &node.head, node.mask) {
                let len = usize::from(node.len);
                if len > LITERAL {
                    (at, next) = (at + (len & LITERAL), node.child);
                    continue;
                }
                let start = at + len;
                if let Some((packed, end)) = leaf_behind::<L>(text, window, start, len, node.token) {
                    // Behind the literal of an end there is no leaf to be written down.
                    *spans.get_mut(usize::from(node.token))? = Span::of(start, packed);
                    (at, next) = (end, node.child);
                    continue;
                }
                if node.token == END && start == text.len() {
                    return Some(node.child);
                }
                // The literal goes on in the text where here it ends.
            }
            next = self.turn(text, at, next);
        }
    }

    /// The next node to be tried at the place of a node that does not fit.
    #[inline(never)]
    fn turn(&self, text: Text<'_>, at: usize, from: u32) -> u32 {
        let node = &self.nodes[from as usize];
        let parent = &self.nodes[node.parent as usize];
        if !parent.is_wide {
            return node.other;
        }
        let window = text.window(at);
        let mut next = if parent.child == from { self.table[slot(node.parent, parent.child_len, window.block(0))] } else { node.link };
        while let Some(found) = self.nodes.get(next as usize) {
            if found.parent == node.parent && Here::begins_with(window, &found.head, found.mask) {
                break;
            }
            next = found.link;
        }
        next
    }

    /// Whether there is room for a shape of so many nodes.
    pub(super) fn has_room(&self, nodes: usize) -> bool {
        nodes + usize::from(self.nodes.is_empty()) <= self.free_count + Self::NODES_MAX - self.nodes.len()
    }

    /// How many nodes a literal takes.
    pub(super) fn nodes_of(len: usize) -> usize {
        len.div_ceil(LITERAL).max(1)
    }

    /// Adds a shape for which there is room: its literals, each with the leaf behind it, and the one at the end, which has none. Returns its last node.
    pub(super) fn insert<'l>(&mut self, literals: impl Iterator<Item = (&'l [u8], Option<u16>)>, shape: u32) -> u32 {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(b"", 0, END, NONE));
        }
        let mut last = ROOT;
        for (literal, token) in literals {
            let mut rest = literal;
            while let Some((piece, more)) = rest.split_at_checked(LITERAL).filter(|(_, more)| !more.is_empty()) {
                last = self.step(last, piece, GOES_ON, END);
                rest = more;
            }
            last = self.step(last, rest, 0, token.unwrap_or(END));
        }
        self.nodes[last as usize].child = shape;
        last
    }

    /// The node of a literal behind `parent`, a new one if there was none; one more shape comes this way.
    fn step(&mut self, parent: u32, literal: &[u8], flag: u16, token: u16) -> u32 {
        let len = u16::try_from(literal.len()).expect("a node has at most LITERAL bytes") | flag;
        let mut next = self.nodes[parent as usize].child;
        while let Some(node) = self.nodes.get(next as usize) {
            if (node.len, node.token) == (len, token) && node.head.starts_with(literal) {
                break;
            }
            next = node.other;
        }
        if next == NONE {
            next = self.add(parent, Node::new(literal, len, token, parent));
        }
        self.nodes[next as usize].shapes += 1;
        next
    }

    /// A new node behind the others at its place: what is frequent tends to be learned first.
    fn add(&mut self, parent: u32, node: Node) -> u32 {
        let place = if let Some(free) = self.nodes.get_mut(self.free as usize) {
            self.free_count -= 1;
            let place = std::mem::replace(&mut self.free, free.other);
            self.nodes[place as usize] = node;
            place
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("NODES_MAX is a 32-bit number")
        };
        let (mut last, mut siblings) = (self.nodes[parent as usize].child, 0);
        if last == NONE {
            self.nodes[parent as usize].child = place;
        } else {
            while self.nodes[last as usize].other != NONE {
                last = self.nodes[last as usize].other;
                siblings += 1;
            }
            self.nodes[last as usize].other = place;
        }
        self.note_child(parent, place, siblings);
        place
    }

    /// Keeps the table up to a new child, which is not the first where there are siblings of it.
    fn note_child(&mut self, parent: u32, child: u32, siblings: usize) {
        let len = u8::try_from(self.nodes[child as usize].literal_len().min(WIDTH)).expect("WIDTH is a small number");
        let Node { child_len, is_wide, child: first, .. } = self.nodes[parent as usize];
        if is_wide && len >= child_len {
            self.link(child);
            return;
        }
        if is_wide {
            self.each_but_first(first, child, Self::unlink);
        }
        self.nodes[parent as usize].child_len = len.min(child_len);
        if is_wide || siblings >= SIBLINGS_MAX {
            self.nodes[parent as usize].is_wide = true;
            self.each_but_first(first, NONE, Self::link);
        }
    }

    /// Calls for each sibling behind `first`, up to `end`.
    fn each_but_first(&mut self, first: u32, end: u32, call: fn(&mut Self, u32)) {
        let mut next = self.nodes[first as usize].other;
        while next != end {
            call(self, next);
            next = self.nodes[next as usize].other;
        }
    }

    fn slot_of(&self, node: u32) -> usize {
        let node = &self.nodes[node as usize];
        let (block, _) = node.head.split_first_chunk().expect("a head is two blocks");
        slot(node.parent, self.nodes[node.parent as usize].child_len, block)
    }

    /// Puts a node into the table.
    fn link(&mut self, node: u32) {
        if self.table.is_empty() {
            self.table.resize(1 << TABLE_BITS, NONE);
        }
        let slot = self.slot_of(node);
        self.nodes[node as usize].link = std::mem::replace(&mut self.table[slot], node);
    }

    /// Takes a node out of the table.
    fn unlink(&mut self, node: u32) {
        let slot = self.slot_of(node);
        let after = self.nodes[node as usize].link;
        let mut before = self.table[slot];
        if before == node {
            self.table[slot] = after;
            return;
        }
        while self.nodes[before as usize].link != node {
            before = self.nodes[before as usize].link;
        }
        self.nodes[before as usize].link = after;
    }

    /// Takes out the shape that ends at this node.
    pub(super) fn remove(&mut self, end: u32) {
        let mut node = end;
        while node != ROOT {
            let parent = self.nodes[node as usize].parent;
            self.nodes[node as usize].shapes -= 1;
            if self.nodes[node as usize].shapes == 0 {
                self.give_up(parent, node);
            }
            node = parent;
        }
    }

    /// Takes a node that has no children out of the list that it is in.
    fn give_up(&mut self, parent: u32, node: u32) {
        let Node { child: first, is_wide, .. } = self.nodes[parent as usize];
        let after = self.nodes[node as usize].other;
        if first == node {
            if is_wide && after != NONE {
                self.unlink(after);
            }
            self.nodes[parent as usize].child = after;
        } else {
            if is_wide {
                self.unlink(node);
            }
            let mut before = first;
            while self.nodes[before as usize].other != node {
                before = self.nodes[before as usize].other;
            }
            self.nodes[before as usize].other = after;
        }
        self.nodes[node as usize].other = self.free;
        self.free = node;
        self.free_count += 1;
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.table.capacity() * size_of::<u32>()
    }
}

impl Node {
    fn new(literal: &[u8], len: u16, token: u16, parent: u32) -> Self {
        let mut head = [0; 2 * WIDTH];
        head[..literal.len()].copy_from_slice(literal);
        let mask = (1 << literal.len()) - 1;
        let child_len = u8::try_from(WIDTH).expect("WIDTH is a small number");
        Self { head, mask, child: NONE, other: NONE, parent, link: NONE, len, token, shapes: 0, child_len, is_wide: false }
    }

    fn literal_len(&self) -> usize {
        usize::from(self.len & !GOES_ON)
    }
}

/// Where in the table the children of a node are that begin with the first `len` bytes of a block.
#[inline]
fn slot(parent: u32, len: u8, block: &[u8; WIDTH]) -> usize {
    let (words, _) = block.as_chunks::<8>();
    let len = usize::from(len);
    let (first, second) = (prefix(u64::from_le_bytes(words[0]), len), prefix(u64::from_le_bytes(words[1]), len.saturating_sub(8)));
    (hash(first ^ u64::from(parent).rotate_left(32), second, 0) >> (64 - TABLE_BITS)) as usize
}

/// The leaf at `start`, `ahead` bytes into the window: its packed span and where it ends; nothing where there is no leaf, as behind the text.
#[inline(always)]
fn leaf_behind<L: Lanes>(text: Text<'_>, window: Window<'_>, start: usize, ahead: usize, token: u16) -> Option<(u32, usize)> {
    let byte = window.far_byte(ahead);
    if byte == b'"' {
        let ends = L::string_ends(window, ahead);
        let len = ends.first();
        if ends.any() && window.far_byte(ahead + 1 + len) == b'"' {
            return Some((Span::packed(len + 2, Kind::String), start + len + 2));
        }
    } else if let Some(len) = leaf::quick_number::<L>(window, ahead, byte) {
        return Some((Span::packed(len, Kind::Number), start + len));
    } else if token == END {
        return None;
    }
    other_leaf(text, start)
}

/// A leaf that is not so plain.
#[inline(never)]
fn other_leaf(text: Text<'_>, start: usize) -> Option<(u32, usize)> {
    let byte = text.byte(start);
    let (span, end) = if byte == b'"' {
        leaf::string(text, start, text.block(start + 1), 0).ok()?
    } else if byte.is_ascii_digit() || byte == b'-' {
        leaf::number(text, start, text.block(start), 0).ok()?
    } else {
        leaf::word(text, start, 0).ok()?
    };
    Some((span.packed, end))
}
