//! The literals of all shapes, by what comes before them.
//!
//! A run along them asks for no bound of the text, which a zero ends, nor of the tokens, which are asked for once.
#![expect(
    unsafe_code,
    reason = "32 bytes at once: a fifth fewer instructions to read a heartbeat; bounds asked for once: four instructions less for each leaf"
)]

#[cfg(target_arch = "x86_64")]
use super::super::lanes::Wide;
use super::super::lanes::is_wide;
use super::super::lanes::{Here, LITERAL, Lanes, Literal, Text, WIDTH, Window};
use super::super::symbols::{hash, prefix};
use super::super::tape::Span;
use super::super::{Kind, leaf};

/// No node.
const NONE: u32 = u32::MAX;

/// The node in front of all: what its children are compared with is the beginning of a text.
const ROOT: u32 = 0;

/// Token of a node behind which the text ends.
const END: u16 = u16::MAX;

/// Last byte of the head of a node whose literal goes on in its children: it is compared, and starts no leaf, so that a run always halts.
const NO_TEXT: u8 = 0xff;

/// Literals at one place, behind the first, that are compared one after the other; more of them are found by their hash.
const SIBLINGS_MAX: usize = 4;

/// Slots of the table of literals that are found by their hash. Every shape leaves the ones before it at one place only, so there are no more such literals than shapes.
const TABLE_BITS: u32 = 11;

/// A literal at its place, and the leaf behind it. A literal longer than [`LITERAL`] is a chain of nodes.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Node {
    /// The literal, which has no zero, then zeros.
    head: Literal,
    /// A bit for each byte of it; at the end of a text also one for the zero behind it, so no leaf is ever read there.
    mask: u32,
    /// The first literal that has been seen behind the leaf; at the end, the place of the shape.
    child: u32,
    /// The next literal that has been seen at this place.
    other: u32,
    /// The node in front.
    parent: u32,
    /// The next node in the slot of the table, for nodes that are in it.
    link: u32,
    /// Bytes of the literal.
    len: u16,
    /// The leaf behind it, or [`END`], also where there is none because the literal goes on.
    token: u16,
    /// Shapes that come this way.
    shapes: u16,
    /// Bytes of the shortest literal among the children, at most [`WIDTH`]: by so many they are told apart in the table.
    child_len: u8,
    /// Whether the children but the first are in the table.
    is_wide: bool,
    /// Whether the literal goes on in the children.
    goes_on: bool,
}

/// Where a run along the trie has halted: in front of the literal of a node, or, at [`AT_END`], behind all; then the node's number is that of the shape.
#[derive(Debug, Clone, Copy)]
struct Halt {
    at: u32,
    node: u32,
}

/// No place in a text: it has been read to its end.
const AT_END: u32 = u32::MAX;

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
    /// More than the number of any leaf.
    tokens: usize,
    /// Whether the processor has said that it is.
    is_wide: bool,
}

impl Trie {
    /// Nodes at most.
    pub(super) const NODES_MAX: usize = 20 << 10;

    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, free_count: 0, table: Vec::new(), tokens: 0, is_wide: is_wide() }
    }

    /// One that never uses the wide lanes, as on a processor that has none.
    #[cfg(test)]
    pub(super) fn narrow(self) -> Self {
        Self { is_wide: false, ..self }
    }

    /// Whether the processor has what [`Wide`] asks for.
    #[inline]
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Reads a text along the literals, writes down the spans of its leaves, and returns the place of the shape that it has.
    #[inline(always)]
    pub(super) fn follow<L: Lanes>(&self, text: Text<'_>, spans: &mut [Span]) -> Option<u32> {
        let halt = self.run_along::<L>(text, Halt { at: 0, node: self.nodes.first()?.child }, spans);
        match halt.shape() {
            Some(shape) => Some(shape),
            None => self.follow_on(text, halt, spans),
        }
    }

    /// The same from where a run has halted.
    #[inline(never)]
    fn follow_on(&self, text: Text<'_>, halted: Halt, spans: &mut [Span]) -> Option<u32> {
        let (mut halt, mut has_halted) = (halted, true);
        loop {
            halt = self.run(text, halt, has_halted, spans);
            if let Some(shape) = halt.shape() {
                return Some(shape);
            }
            halt = self.step_over(text, halt, spans)?;
            has_halted = false;
        }
    }

    #[inline]
    fn run(&self, text: Text<'_>, from: Halt, has_halted: bool, spans: &mut [Span]) -> Halt {
        #[cfg(target_arch = "x86_64")]
        if self.is_wide {
            // SAFETY: the processor has been asked.
            return unsafe { self.run_wide(text, from, has_halted, spans) };
        }
        self.run_with::<Here>(text, from, has_halted, spans)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn run_wide(&self, text: Text<'_>, from: Halt, has_halted: bool, spans: &mut [Span]) -> Halt {
        self.run_with::<Wide>(text, from, has_halted, spans)
    }

    /// Reads as far as every literal is known at its place and lies in one node, and every leaf is a plain one; from where a run along the first literals has halted, or from another place.
    #[inline(always)]
    fn run_with<L: Lanes>(&self, text: Text<'_>, from: Halt, has_halted: bool, spans: &mut [Span]) -> Halt {
        let (mut halt, mut has_halted) = (from, has_halted);
        loop {
            if !has_halted {
                halt = self.run_along::<L>(text, halt, spans);
                if halt.shape().is_some() {
                    return halt;
                }
            }
            let Some(node) = self.other::<L>(text, halt) else { return halt };
            halt.node = node;
            has_halted = false;
        }
    }

    /// The same as far as every literal is the one that is known first at its place. It calls nothing, so all that it needs stays in registers.
    #[inline(always)]
    fn run_along<L: Lanes>(&self, text: Text<'_>, from: Halt, spans: &mut [Span]) -> Halt {
        assert!(self.tokens <= spans.len(), "there is room for the tokens of every shape");
        let Some(mut node) = self.nodes.get(from.node as usize) else { return from };
        let mut at = from.at as usize;
        let mut before = text.window(at);
        while L::begins_with(before, &node.head, node.mask) {
            let start = at + usize::from(node.len);
            // SAFETY: the bytes from `at`, which lies within the text, up to here are those of a literal, of which none is zero, so that all of them are text.
            let window = unsafe { text.window_within(start) };
            let byte = window.byte(0);
            let (packed, len) = if byte == b'"' {
                let len = L::string_ends(window).first();
                // Where nothing is marked this is the byte behind all that were looked at, and those are nothing but text.
                if window.byte_behind(1 + len) != b'"' {
                    break;
                }
                (Span::packed(len + 2, Kind::String), len + 2)
            } else if let Some(len) = leaf::quick_number::<L>(window, byte) {
                (Span::packed(len, Kind::Number), len)
            } else {
                if node.token == END && start == text.len() {
                    return Halt { at: AT_END, node: node.child };
                }
                break;
            };
            // SAFETY: a leaf has been read, so this is a node with one: behind a literal that goes on stands NO_TEXT and behind the last one a zero, with which none begins. insert() has counted its token, and the first line has compared their count.
            let span = unsafe { spans.get_unchecked_mut(usize::from(node.token)) };
            *span = Span::of(start, packed);
            at = start + len;
            debug_assert!((node.child as usize) < self.nodes.len(), "something is behind every leaf");
            // SAFETY: insert() puts a node behind every one with a leaf, remove() takes away both or none, and nodes are never taken out of the arena.
            node = unsafe { self.nodes.get_unchecked(node.child as usize) };
            // SAFETY: the leaf is a run of quotes, unmarked bytes, digits, signs and points, of which none is zero.
            before = unsafe { text.window_within(at) };
        }
        Halt::new(at, self.place_of(node))
    }

    /// The number of a node, which is one of these: a run keeps nothing but where it lies.
    #[inline(always)]
    fn place_of(&self, node: &Node) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "there are at most NODES_MAX nodes")]
        {
            ((std::ptr::from_ref(node).addr() - self.nodes.as_ptr().addr()) / size_of::<Node>()) as u32
        }
    }

    /// The node with whose literal the text goes on instead of that of the first one at its place; nothing when there is none, or one must be looked at that goes on, or what does not fit is a leaf.
    #[inline(always)]
    fn other<L: Lanes>(&self, text: Text<'_>, halt: Halt) -> Option<u32> {
        let window = text.window(halt.at as usize);
        let first = self.nodes.get(halt.node as usize)?;
        let parent = self.nodes.get(first.parent as usize)?;
        if L::begins_with(window, &first.head, first.mask) {
            return None;
        }
        let (mut last, mut next) = (first, first.other);
        if parent.is_wide {
            next = *self.table.get(slot(first.parent, parent.child_len, window.first_block()))?;
        }
        while !last.goes_on {
            let node = self.nodes.get(next as usize)?;
            if node.parent == first.parent {
                if L::begins_with(window, &node.head, node.mask) {
                    return Some(next);
                }
                last = node;
            }
            next = if parent.is_wide { node.link } else { node.other };
        }
        None
    }

    /// Goes on where a run has halted: reads a leaf that is not so plain, or finds the literal that fits instead.
    fn step_over(&self, text: Text<'_>, halt: Halt, spans: &mut [Span]) -> Option<Halt> {
        let at = halt.at as usize;
        let node = self.nodes.get(halt.node as usize)?;
        let window = text.window(at);
        if leaf::goes_on(window.byte(0))
            && let Some(end) = self.read_on(text, halt, spans)
        {
            return Some(Halt::new(end, halt.node));
        }
        if node.fits(window) {
            let start = at + usize::from(node.len);
            if node.goes_on {
                return Some(Halt::new(start, node.child));
            }
            if node.token != END
                && let Some((span, end)) = any_leaf(text, start)
            {
                *spans.get_mut(usize::from(node.token))? = span;
                return Some(Halt::new(end, node.child));
            }
            // The literal goes on in the text where here it ends.
        }
        let parent = &self.nodes[node.parent as usize];
        let mut next = match parent.child {
            first if parent.is_wide && first == halt.node => self.table[slot(node.parent, parent.child_len, window.block(0))],
            _ if parent.is_wide => node.link,
            _ => node.other,
        };
        loop {
            let found = self.nodes.get(next as usize)?;
            if found.parent == node.parent && found.fits(window) {
                return Some(Halt::new(at, next));
            }
            next = if parent.is_wide { found.link } else { found.other };
        }
    }

    /// Reads the number again that may go on where a run has halted, and returns where it ends, if that is further.
    fn read_on(&self, text: Text<'_>, halt: Halt, spans: &mut [Span]) -> Option<usize> {
        let leaf = self.nodes[self.nodes[halt.node as usize].parent as usize].token;
        let before = spans.get_mut(usize::from(leaf)).filter(|_| leaf != END)?;
        let (span, end) = any_leaf(text, before.start as usize).filter(|&(_, end)| end > halt.at as usize)?;
        *before = span;
        Some(end)
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
            super::push_within(&mut self.nodes, Node::new(b"", false, END, NONE), Self::NODES_MAX);
        }
        let mut last = ROOT;
        for (literal, token) in literals {
            let mut rest = literal;
            while let Some((piece, more)) = rest.split_at_checked(LITERAL).filter(|(_, more)| !more.is_empty()) {
                last = self.step(last, piece, true, END);
                rest = more;
            }
            last = self.step(last, rest, false, token.unwrap_or(END));
            self.tokens = self.tokens.max(token.map_or(0, |token| usize::from(token) + 1));
        }
        assert_eq!(self.nodes[last as usize].token, END, "a run relies on it: behind every leaf is a node, and a shape's number behind none");
        self.nodes[last as usize].child = shape;
        last
    }

    /// The node of a literal behind `parent`, a new one if there was none; one more shape comes this way.
    fn step(&mut self, parent: u32, literal: &[u8], goes_on: bool, token: u16) -> u32 {
        let mut next = self.nodes[parent as usize].child;
        while let Some(node) = self.nodes.get(next as usize) {
            if (node.literal(), node.goes_on, node.token) == (literal, goes_on, token) {
                break;
            }
            next = node.other;
        }
        if next == NONE {
            next = self.add(parent, Node::new(literal, goes_on, token, parent));
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
            super::push_within(&mut self.nodes, node, Self::NODES_MAX);
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
        let len = u8::try_from(self.nodes[child as usize].literal().len().min(WIDTH)).expect("WIDTH is a small number");
        let Node { child_len, is_wide, child: first, .. } = self.nodes[parent as usize];
        if first == child {
            // Nothing else is there, so nothing is in the table.
            self.nodes[parent as usize].child_len = len;
            return;
        }
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

impl Halt {
    #[inline]
    fn new(at: usize, node: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "documents are at most 2^24 - 1 bytes long")]
        Self { at: at as u32, node }
    }

    /// The place of the shape whose end has been reached.
    #[inline]
    fn shape(self) -> Option<u32> {
        (self.at == AT_END).then_some(self.node)
    }
}

impl Node {
    fn new(literal: &[u8], goes_on: bool, token: u16, parent: u32) -> Self {
        assert!(literal.len() <= LITERAL && !literal.contains(&0), "a literal has been validated, and cut into pieces");
        let mut head = [0; 2 * WIDTH];
        head[..literal.len()].copy_from_slice(literal);
        let mut mask = (1 << literal.len()) - 1;
        if goes_on {
            head[LITERAL] = NO_TEXT;
            mask |= 1 << LITERAL;
        } else if token == END {
            mask |= 1 << literal.len();
        }
        let len = u16::try_from(literal.len()).expect("LITERAL is a small number");
        let child_len = u8::try_from(WIDTH).expect("WIDTH is a small number");
        Self { head, mask, child: NONE, other: NONE, parent, link: NONE, len, token, shapes: 0, child_len, is_wide: false, goes_on }
    }

    fn literal(&self) -> &[u8] {
        &self.head[..usize::from(self.len)]
    }

    /// Whether the window begins with the literal, as far as it lies here.
    #[inline]
    fn fits(&self, window: Window<'_>) -> bool {
        Here::begins_with(window, &self.head, self.mask & !(1 << LITERAL))
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

/// The leaf at `start`, of any kind, and where it ends; nothing where there is none.
fn any_leaf(text: Text<'_>, start: usize) -> Option<(Span, usize)> {
    match text.byte(start) {
        b'"' => leaf::string(text, start, text.block(start + 1), 0).ok(),
        b'-' | b'0'..=b'9' => leaf::number(text, start, text.block(start), 0).ok(),
        b'a'..=b'z' => leaf::word(text, start, 0).ok(),
        _ => None,
    }
}
