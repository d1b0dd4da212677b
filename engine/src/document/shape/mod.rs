//! Learned message shapes: what repeats from message to message is compared, not parsed.
//!
//! The messages of one kind of device differ in their values and in nothing else. Cut the scalar values out of such a message, and what is left, the *literals* between them, is the same text in all of them: `{"deviceId":`, `,"type":`, `,"battery":` and so on, keys, brackets and whitespace included. A shape is that sequence of literals, learned from a message that went through the full pass, together with the static half of its tape.
//!
//! The next message is read by turns: compare a literal, scan a value, compare the next literal. What comes out is exactly what the full pass would have made:
//! - a literal equals bytes that the full pass has validated, at the same place of the grammar, since every value in front of it was read as one whole scalar;
//! - values are validated by the same functions as in the full pass ([`leaf`](super::leaf)): UTF-8, escapes, control characters, the grammar of numbers. A value may change its kind from message to message (a number, then `null`), but not between scalar and container;
//! - where the containers start and end follows from the values around them ([`Container`]);
//! - keys are in the literals, so they are as unique as those of the message that was learned from.
//!
//! Anything that does not fit, a fault included, is a *miss*: the text goes through the full pass, which alone decides what it is. So shapes can only ever save time.
//!
//! Many shapes share their beginnings. They lie in a trie ([`Trie`]): at each place the literals that have been seen there, of which at most one fits, because a literal ends where a scalar starts. A few are compared one after the other, many are found by their hash.
//!
//! Whitespace is part of the literals, so a style of writing is a shape. What has whitespace is made compact as the full pass does it, but without looking for it: its literals are known in both forms ([`Piece`]).
//!
//! **Bounds.** At most [`SHAPES_MAX`] shapes of at most [`TOKENS_MAX`] tokens and [`LITERAL_BYTES_MAX`] bytes of literals each, and all together no more memory than [`BYTES_MAX`]: nodes of the trie and lists lie in arenas that grow to a bound, and what one shape gives up the next one takes, so that learning allocates nothing once as much has been in use as ever is. Learning is paid from a credit: enough for all shapes at first, then growing by little in each window of [`WINDOW`] messages, by more where what was learned is used, but never by so much that a full set pays for its own turnover. A full set gives up only shapes that had no message for [`IDLE`] windows. Where less than one message in [`WORTH`] hits, matching stops and is tried again after [`PAUSE_MIN`] messages, each time that it fails after twice as many.
//!
//! A document copies the static half of the tape when its shape changes, and keeps it while the same shape comes again. So nothing refers to a shape, and a suspended execution does not notice when the shape it was read with is evicted.

mod blocks;
mod learn;
#[cfg(test)]
mod tests;
mod trie;

pub(super) use learn::number;

#[cfg(target_arch = "x86_64")]
use super::lanes::Wide;
use super::lanes::{Here, Lanes, Text};
use super::tape::{Span, Static};
use super::{Document, Fault, Kind, PADDING, Symbols};
use blocks::{Blocks, List};
use trie::Trie;

/// Shapes that are kept.
pub const SHAPES_MAX: usize = 1024;

/// Tokens of a message that is learned from.
const TOKENS_MAX: usize = 512;

/// Bytes of the literals of one shape.
const LITERAL_BYTES_MAX: usize = 8 << 10;

/// Blocks of eight tokens, of four containers and of eight pieces that all shapes together have.
const STATICS_MAX: u16 = 5 << 10;
const CONTAINERS_MAX: u16 = 2 << 10;
const PIECES_MAX: u16 = 3 << 10;

/// Memory that the shapes of one thread and program take at most, the places of the program's paths aside: 20,480 nodes and the lists. A thousand shapes of heartbeats take three quarters of it.
const BYTES_MAX: usize = Trie::NODES_MAX * 64
    + STATICS_MAX as usize * size_of::<[Static; 8]>()
    + CONTAINERS_MAX as usize * size_of::<[Container; 4]>()
    + PIECES_MAX as usize * size_of::<[Piece; 8]>()
    + SHAPES_MAX * size_of::<Shape>();

const _: () = assert!(BYTES_MAX < 3 << 20 && CREDIT_MAX as usize == SHAPES_MAX);

/// Messages after which is judged whether shapes are worth it.
const WINDOW: u32 = 256;

/// One hit in so many messages pays for the misses: a hit saves some ten times what a miss costs.
const WORTH: u32 = 8;

/// Messages that go past without being matched when shapes were not worth it, at first and at most.
const PAUSE_MIN: u32 = 4 << 10;
const PAUSE_MAX: u32 = 256 << 10;

/// Shapes that may be learned at once: at first and when all goes well, and after a pause.
const CREDIT_MAX: u32 = 1024;
const CREDIT_RETRY: u32 = CREDIT_MAX / 2;

/// Hits after which a shape was worth learning.
const USES_FRUITFUL: u8 = 2;

/// Windows without a hit after which a shape may go: so many that a set which is a third too small for the traffic is kept as it is, since to learn one shape takes as long as to read ten messages.
const IDLE: u16 = 32;

/// What a path of the program leads to in every message of a shape, in place of a token.
pub(crate) const ABSENT: u32 = u32::MAX;
/// The path must be walked.
pub(crate) const UNKNOWN: u32 = u32::MAX - 1;

/// What has been counted since the shapes were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages read by a shape.
    pub hits: u64,
    /// Messages that fitted none.
    pub misses: u64,
    /// Messages that were not compared, because shapes had not been worth it.
    pub skipped: u64,
    /// Shapes learned.
    pub learned: u64,
    /// Shapes given up for others.
    pub evicted: u64,
}

/// The shapes that one thread has learned for one program. Used with the documents of another, it forgets them and begins anew.
#[derive(Debug)]
pub struct Shapes {
    is_off: bool,
    /// The names by which all this was learned.
    symbols: u64,
    /// The same while messages are matched, else 0, which stands for no names.
    matched: u64,
    trie: Trie,
    shapes: Vec<Shape>,
    statics: Blocks<Static, 8>,
    containers: Blocks<Container, 4>,
    pieces: Blocks<Piece, 8>,
    /// For each path of the program, shape by shape, the token that it leads to, [`ABSENT`] or [`UNKNOWN`].
    places: Vec<u32>,
    /// Paths of the program, as far as they are in `places`.
    paths: usize,
    /// Room for the tokens of the largest shape so far.
    tokens: usize,
    /// The shape that is looked at next when one has to go.
    hand: usize,
    /// Scratch of learning: leaves, and where their literals start and end.
    leaves: Vec<learn::Leaf>,
    counts: Counts,
    policy: Policy,
}

/// One shape.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Unlike that of any other shape of the process; 0 marks a place that is free.
    number: u64,
    /// Its last node.
    end: u32,
    /// The static half of the tape, and how many tokens it has.
    statics: List,
    tokens: u16,
    /// The containers but the root.
    containers: List,
    container_count: u16,
    /// Kind of the root where it is a container, else 0.
    root: u8,
    /// What a text with whitespace is made compact of; empty for a text that is compact.
    pieces: List,
    /// Hits, as far as they are counted.
    uses: u8,
    /// The window of the last hit.
    seen: u16,
}

/// Where a container lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Container {
    token: u16,
    kind: u16,
    start: Edge,
    end: Edge,
}

/// A place in a literal: so many bytes in front of the leaf behind it, or of the end of the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Edge {
    /// The leaf, or the number of tokens.
    before: u16,
    bytes: u16,
}

/// Bytes of a compact text: those of a literal, and then those of a leaf. What a literal has more than fits goes before in pieces without a leaf.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    /// The literal's bytes, then, in the last three, how many there are and one more than the leaf, 0 where there is none: so all is copied at once.
    bytes: [u8; 32],
}

impl Piece {
    const LITERAL: usize = 29;

    fn new(literal: &[u8], leaf: Option<u16>) -> Self {
        let mut bytes = [0; 32];
        bytes[..literal.len()].copy_from_slice(literal);
        bytes[29] = u8::try_from(literal.len()).expect("a piece has at most LITERAL bytes");
        bytes[30..].copy_from_slice(&leaf.map_or(0, |leaf| leaf + 1).to_le_bytes());
        Self { bytes }
    }

    #[inline]
    fn literal_len(&self) -> usize {
        usize::from(self.bytes[29])
    }

    #[inline]
    fn leaf(&self) -> Option<u32> {
        u32::from(u16::from_le_bytes([self.bytes[30], self.bytes[31]])).checked_sub(1)
    }
}

/// When to match and when to learn.
#[derive(Debug)]
struct Policy {
    /// Messages until the window ends.
    left: u32,
    hits: u32,
    /// Shapes learned in this window, and shapes that have turned out to be worth it.
    learned: u32,
    fruitful: u32,
    /// Whether there was no room for one.
    is_crowded: bool,
    /// Number of the window; those of a pause count too.
    window: u16,
    credit: u32,
    /// Messages to let pass.
    paused: u32,
    pause: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { left: WINDOW, hits: 0, learned: 0, fruitful: 0, is_crowded: false, window: 0, credit: CREDIT_MAX, paused: 0, pause: PAUSE_MIN }
    }
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            is_off: false,
            symbols: 0,
            matched: 0,
            trie: Trie::new(),
            shapes: Vec::new(),
            statics: Blocks::new(STATICS_MAX),
            containers: Blocks::new(CONTAINERS_MAX),
            pieces: Blocks::new(PIECES_MAX),
            places: Vec::new(),
            paths: 0,
            tokens: 0,
            hand: 0,
            leaves: Vec::new(),
            counts: Counts::default(),
            policy: Policy::default(),
        }
    }
}

/// Appends to a list that grows to `count_max` and not beyond, its memory included.
fn push_within<T>(list: &mut Vec<T>, value: T, count_max: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(16).min(count_max - list.len()));
    }
    list.push(value);
}

impl Shapes {
    /// No shapes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shapes that are never learned: every message takes the full pass.
    #[must_use]
    pub fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// Shapes that have learned nothing yet, as these were; what was counted stays. For whoever has caught a panic that may have met them in the middle of a change.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { is_off: self.is_off, counts: self.counts(), ..Self::default() }
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        // What the window has seen so far is counted at its end.
        let Policy { left, hits, .. } = self.policy;
        let misses = WINDOW - left - hits;
        Counts { hits: self.counts.hits + u64::from(hits), misses: self.counts.misses + u64::from(misses), ..self.counts }
    }

    /// Shapes known at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shapes.iter().filter(|shape| shape.number != 0).count()
    }

    /// Whether no shape is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap memory held.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let lists = self.statics.capacity_bytes() + self.containers.capacity_bytes() + self.pieces.capacity_bytes();
        let places = self.places.capacity() * size_of::<u32>() + self.leaves.capacity() * size_of::<learn::Leaf>();
        self.trie.capacity_bytes() + self.shapes.capacity() * size_of::<Shape>() + lists + places
    }

    /// Forgets everything that was learned with other names.
    #[cold]
    fn adopt(&mut self, symbols: &Symbols) {
        *self = Self { is_off: self.is_off, symbols: symbols.number(), counts: self.counts(), ..Self::default() };
    }

    /// Whether the next message is to be matched.
    #[inline]
    fn is_due(&mut self, symbols: &Symbols) -> bool {
        self.matched == symbols.number() || self.is_due_again(symbols)
    }

    #[inline(never)]
    fn is_due_again(&mut self, symbols: &Symbols) -> bool {
        if self.symbols != symbols.number() {
            self.adopt(symbols);
        }
        if self.policy.paused > 0 || self.is_off {
            self.policy.paused = self.policy.paused.saturating_sub(1);
            self.counts.skipped += 1;
            return false;
        }
        self.matched = self.symbols;
        true
    }

    #[inline]
    fn count(&mut self, is_hit: bool) {
        self.policy.hits += u32::from(is_hit);
        self.policy.left -= 1;
        if self.policy.left == 0 {
            self.end_window();
        }
    }

    #[cold]
    fn end_window(&mut self) {
        self.counts = self.counts();
        let policy = &mut self.policy;
        let is_learning = policy.credit > 0 && policy.learned * 2 > WINDOW - policy.hits;
        // Where each shape takes the place of another, what is learned must not pay for as much again.
        let reward = if policy.is_crowded { policy.fruitful / 2 } else { policy.fruitful * 2 };
        policy.credit = (policy.credit + 1 + reward).min(CREDIT_MAX);
        policy.window = policy.window.wrapping_add(1);
        if policy.hits >= WINDOW / WORTH {
            policy.pause = PAUSE_MIN;
        } else if !is_learning {
            self.matched = 0;
            policy.paused = policy.pause;
            policy.window = policy.window.wrapping_add(u16::try_from(policy.pause / WINDOW).expect("PAUSE_MAX is a thousand windows"));
            policy.pause = (policy.pause * 2).min(PAUSE_MAX);
            policy.credit = CREDIT_RETRY;
        }
        (policy.left, policy.hits, policy.learned, policy.fruitful, policy.is_crowded) = (WINDOW, 0, 0, 0, false);
    }
}

impl Document {
    /// As [`fill_with`](Self::fill_with). Where no shape fits, a new one may be learned; then `resolve` appends the token that each of the program's paths leads to.
    #[inline(always)]
    pub(crate) fn fill_by_shape(
        &mut self,
        text: &[u8],
        symbols: &Symbols,
        shapes: &mut Shapes,
        resolve: impl FnOnce(&Self, &mut Vec<u32>),
    ) -> Result<(), Fault> {
        self.copy(text)?;
        if !shapes.is_due(symbols) {
            return self.fill_by_scan(text, symbols);
        }
        let is_hit = self.fit(shapes);
        shapes.count(is_hit);
        if is_hit { Ok(()) } else { self.scan_and_learn(text, symbols, shapes, resolve) }
    }

    #[inline(never)]
    fn scan_and_learn(&mut self, text: &[u8], symbols: &Symbols, shapes: &mut Shapes, resolve: impl FnOnce(&Self, &mut Vec<u32>)) -> Result<(), Fault> {
        let raw_len = self.len;
        let findings = self.scan_copy(text, symbols)?;
        if !findings.repeats_key && !findings.escapes_key && shapes.policy.credit > 0 {
            // What had whitespace lies in the second buffer as it came in.
            let raw = if self.len == raw_len { &self.bytes } else { &self.spare };
            shapes.learn(self, &raw[..raw_len], resolve);
        }
        self.deduplicate(findings, symbols)
    }

    /// As [`fill`](Self::fill), by a shape of `shapes` where one fits, which is faster and gives the same document.
    ///
    /// # Errors
    /// The same [`Fault`] as [`fill`](Self::fill).
    pub fn fill_with(&mut self, text: &[u8], symbols: &Symbols, shapes: &mut Shapes) -> Result<(), Fault> {
        self.fill_by_shape(text, symbols, shapes, |_, _| {})
    }

    /// Fills the tape by the shape that fits the text; false when there is none.
    #[inline(always)]
    fn fit(&mut self, shapes: &mut Shapes) -> bool {
        #[cfg(target_arch = "x86_64")]
        if shapes.trie.is_wide() {
            #[expect(unsafe_code, reason = "32 bytes at once: a heartbeat read by its shape takes a fifth fewer instructions than with SSE2")]
            // SAFETY: the processor has been asked.
            return unsafe { self.fit_wide(shapes) };
        }
        self.fit_here(shapes)
    }

    #[inline(never)]
    fn fit_here(&mut self, shapes: &mut Shapes) -> bool {
        self.fit_with::<Here>(shapes)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn fit_wide(&mut self, shapes: &mut Shapes) -> bool {
        self.fit_with::<Wide>(shapes)
    }

    #[inline(always)]
    fn fit_with<L: Lanes>(&mut self, shapes: &mut Shapes) -> bool {
        let text = Text::new(&self.bytes[..self.len + PADDING]);
        let room = self.tape.room_for_spans(shapes.tokens);
        let Some(found) = shapes.trie.follow::<L>(text, room) else { return false };
        let shape = &mut shapes.shapes[found as usize];
        shape.seen = shapes.policy.window;
        if shape.uses < USES_FRUITFUL {
            shape.uses += 1;
            shapes.policy.fruitful += u32::from(shape.uses == USES_FRUITFUL);
        }
        if !shape.pieces.is_empty() {
            self.join(shapes.pieces.of(shape.pieces), shapes.tokens);
        }
        let count = usize::from(shape.tokens);
        let spans = &mut self.tape.room_for_spans(0)[..=count];
        // A leaf of no bytes stands for the end of the text.
        spans[count] = Span::of(self.len, 0);
        if shape.root != 0 {
            spans[0] = Span::of(0, Span::packed(self.len, Kind::Null) | u32::from(shape.root));
        }
        let containers = usize::from(shape.container_count);
        if let Some(block) = shapes.containers.first(shape.containers) {
            block[..containers.min(block.len())].iter().for_each(|container| container.place(spans));
            if containers > block.len() {
                let others = shapes.containers.of(shape.containers).flatten();
                others.take(containers).skip(block.len()).for_each(|container| container.place(spans));
            }
        }
        self.tape.set_count(count);
        self.whitespace = 0;
        if self.shape != shape.number {
            self.shape = shape.number;
            for (at, statics) in (0..).step_by(8).zip(shapes.statics.of(shape.statics)) {
                self.tape.set_statics(at, statics);
            }
            let places = found as usize * shapes.paths;
            self.places.clear();
            self.places.extend_from_slice(&shapes.places[places..places + shapes.paths]);
        }
        true
    }

    /// Makes a text compact whose leaves are known.
    #[inline(never)]
    fn join<'p>(&mut self, pieces: impl Iterator<Item = &'p [Piece; 8]>, spans_max: usize) {
        self.make_spare();
        let spans = &mut self.tape.room_for_spans(spans_max)[..spans_max];
        let (from, to) = (self.bytes.as_slice(), self.spare.as_mut_slice());
        let mut end = 0;
        for piece in pieces.flatten() {
            to[end..end + 32].copy_from_slice(&piece.bytes);
            end += piece.literal_len();
            let Some(leaf) = piece.leaf() else { continue };
            let span = &mut spans[leaf as usize];
            let (start, len) = (span.start as usize, span.len() as usize);
            *span = Span::of(end, span.packed);
            // Both buffers go on behind the text.
            if len <= 32 {
                to[end..end + 32].copy_from_slice(&from[start..start + 32]);
            } else {
                to[end..end + len].copy_from_slice(&from[start..start + len]);
            }
            end += len;
        }
        self.swap_spare(end);
    }

    /// What the path of that number leads to from the root: a token, [`ABSENT`], or [`UNKNOWN`] when nobody knows.
    #[inline]
    pub(crate) fn place_of(&self, path: usize) -> u32 {
        self.places.get(path).copied().unwrap_or(UNKNOWN)
    }
}

impl Container {
    /// Writes its span down, where those of all leaves are.
    #[inline(always)]
    fn place(&self, spans: &mut [Span]) {
        let at = |edge: Edge| spans[usize::from(edge.before)].start as usize - usize::from(edge.bytes);
        let (start, end) = (at(self.start), at(self.end));
        spans[usize::from(self.token)] = Span::of(start, Span::packed(end - start, Kind::Null) | u32::from(self.kind));
    }
}
