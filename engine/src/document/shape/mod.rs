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
//! Many shapes share their beginnings. They lie in a trie ([`Trie`]): at each place a list of the literals that have been seen there, of which at most one fits, because a literal ends where a scalar starts.
//!
//! **Bounds.** At most [`SHAPES_MAX`] shapes of at most [`TOKENS_MAX`] tokens and [`LITERAL_BYTES_MAX`] bytes of literals each. Learning is paid from a credit that grows by little in each window of [`WINDOW`] messages, by more where what was learned is used; a full set gives up the shape that was of least use lately, if it was of no use. Where less than one message in [`WORTH`] hits, matching stops and is tried again after [`PAUSE_MIN`] messages, each time that it fails after twice as many.
//!
//! A document copies the static half of the tape when its shape changes, and keeps it while the same shape comes again. So nothing refers to a shape, and a suspended execution does not notice when the shape it was read with is evicted.

mod learn;
mod trie;

pub(super) use learn::number;

use super::lanes::Text;
use super::tape::{Span, Static};
use super::{Document, Fault, PADDING, Symbols};
use trie::Trie;

/// Shapes that are kept. More of them find each other's beginnings in longer lists, and hold memory for each shard.
pub const SHAPES_MAX: usize = 64;

/// Tokens of a message that is learned from.
const TOKENS_MAX: usize = 512;

/// Bytes of the literals of one shape.
const LITERAL_BYTES_MAX: usize = 8 << 10;

/// Messages after which is judged whether shapes are worth it.
const WINDOW: u32 = 256;

/// One hit in so many messages pays for the misses: a hit saves some ten times what a miss costs.
const WORTH: u32 = 8;

/// Messages that go past without being matched when shapes were not worth it, at first and at most.
const PAUSE_MIN: u32 = 4 << 10;
const PAUSE_MAX: u32 = 256 << 10;

/// Shapes that may be learned at once: at first, after a pause, and when all goes well.
const CREDIT_FIRST: u32 = 64;
const CREDIT_RETRY: u32 = 16;
const CREDIT_MAX: u32 = 64;

/// Uses that a new shape is taken to have had.
const USES_AT_BIRTH: u32 = 4;

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
#[derive(Debug, Default)]
pub struct Shapes {
    is_off: bool,
    /// The names by which all this was learned.
    symbols: u64,
    trie: Trie,
    shapes: Vec<Shape>,
    /// Tokens of the largest shape so far.
    tokens: usize,
    counts: Counts,
    policy: Policy,
}

/// One shape.
#[derive(Debug)]
struct Shape {
    /// Unlike that of any other shape of the process; 0 marks a place that is free.
    number: u64,
    /// The static half of the tape.
    statics: Box<[Static]>,
    containers: Box<[Container]>,
    /// For each path of the program the token that it leads to, [`ABSENT`] or [`UNKNOWN`].
    places: Box<[u32]>,
    /// Insignificant whitespace of the whole text.
    whitespace: u32,
    /// Hits, halved at the end of each window.
    uses: u32,
    /// Learned in this window.
    is_new: bool,
}

/// Where a container lies: so many bytes behind the ends of certain leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Container {
    token: u32,
    start: Edge,
    end: Edge,
    /// The span of a container of no bytes: kind and flags.
    span: Span,
}

/// A place in a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    /// The leaf in front of the literal; [`ABSENT`] for the first literal.
    leaf: u32,
    offset: u32,
}

/// When to match and when to learn.
#[derive(Debug)]
struct Policy {
    /// Messages until the window ends.
    left: u32,
    hits: u32,
    credit: u32,
    /// Messages to let pass.
    paused: u32,
    pause: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { left: WINDOW, hits: 0, credit: CREDIT_FIRST, paused: 0, pause: PAUSE_MIN }
    }
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

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
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
        let shapes: usize = self.shapes.iter().map(Shape::capacity_bytes).sum();
        shapes + self.shapes.capacity() * size_of::<Shape>() + self.trie.capacity_bytes()
    }

    /// Forgets everything that was learned with other names.
    #[cold]
    fn adopt(&mut self, symbols: &Symbols) {
        *self = Self { is_off: self.is_off, symbols: symbols.number(), counts: self.counts, ..Self::default() };
    }

    /// Whether the next message is to be matched.
    #[inline]
    fn is_due(&mut self, symbols: &Symbols) -> bool {
        if self.symbols != symbols.number() {
            self.adopt(symbols);
        }
        if self.policy.paused > 0 || self.is_off {
            self.policy.paused = self.policy.paused.saturating_sub(1);
            self.counts.skipped += 1;
            return false;
        }
        true
    }

    #[inline]
    fn count(&mut self, is_hit: bool) {
        self.counts.hits += u64::from(is_hit);
        self.counts.misses += u64::from(!is_hit);
        self.policy.hits += u32::from(is_hit);
        self.policy.left -= 1;
        if self.policy.left == 0 {
            self.end_window();
        }
    }

    #[cold]
    fn end_window(&mut self) {
        let mut fruitful = 0;
        for shape in &mut self.shapes {
            fruitful += u32::from(shape.is_new && shape.uses > USES_AT_BIRTH + 1);
            shape.is_new = false;
            shape.uses /= 2;
        }
        let policy = &mut self.policy;
        policy.credit = (policy.credit + 1 + fruitful * 2).min(CREDIT_MAX);
        if policy.hits < WINDOW / WORTH {
            policy.paused = policy.pause;
            policy.pause = (policy.pause * 2).min(PAUSE_MAX);
            policy.credit = CREDIT_RETRY;
        } else {
            policy.pause = PAUSE_MIN;
        }
        (policy.left, policy.hits) = (WINDOW, 0);
    }
}

impl Document {
    /// As [`fill_with`](Self::fill_with). Where no shape fits, a new one may be learned; then `resolve` tells the token that each of the program's paths leads to.
    pub(crate) fn fill_by_shape(
        &mut self,
        text: &[u8],
        symbols: &Symbols,
        shapes: &mut Shapes,
        resolve: impl FnOnce(&Self) -> Box<[u32]>,
    ) -> Result<(), Fault> {
        self.copy(text)?;
        if shapes.is_due(symbols) {
            let is_hit = self.fit(shapes);
            shapes.count(is_hit);
            if is_hit {
                return Ok(());
            }
            let findings = self.scan_copy(symbols)?;
            if !findings.repeats_key && !findings.escapes_key && shapes.policy.credit > 0 {
                shapes.learn(self, resolve);
            }
            return self.deduplicate(findings, symbols);
        }
        let findings = self.scan_copy(symbols)?;
        self.deduplicate(findings, symbols)
    }

    /// As [`fill`](Self::fill), by a shape of `shapes` where one fits, which is faster and gives the same document.
    ///
    /// # Errors
    /// The same [`Fault`] as [`fill`](Self::fill).
    pub fn fill_with(&mut self, text: &[u8], symbols: &Symbols, shapes: &mut Shapes) -> Result<(), Fault> {
        self.fill_by_shape(text, symbols, shapes, |_| Box::default())
    }

    /// Fills the tape by the shape that fits the text; false when there is none.
    #[inline]
    fn fit(&mut self, shapes: &mut Shapes) -> bool {
        let text = Text::new(&self.bytes[..self.len + PADDING]);
        let Some(found) = shapes.trie.follow(text, self.tape.room_for_spans(shapes.tokens)) else { return false };
        let shape = &mut shapes.shapes[found as usize];
        shape.uses = shape.uses.saturating_add(1);
        for container in &shape.containers {
            let (start, end) = (self.tape.place(container.start), self.tape.place(container.end));
            self.tape.set_span(container.token, container.span.between(start, end));
        }
        self.tape.set_count(shape.statics.len());
        self.whitespace = shape.whitespace;
        if self.shape != shape.number {
            self.shape = shape.number;
            self.tape.set_statics(&shape.statics);
            self.places.clear();
            self.places.extend_from_slice(&shape.places);
        }
        true
    }

    /// What the path of that number leads to from the root: a token, [`ABSENT`], or [`UNKNOWN`] when nobody knows.
    #[inline]
    pub(crate) fn place_of(&self, path: usize) -> u32 {
        self.places.get(path).copied().unwrap_or(UNKNOWN)
    }
}

impl super::tape::Tape {
    #[inline]
    fn place(&self, edge: Edge) -> u32 {
        if edge.leaf == ABSENT { edge.offset } else { self.span(edge.leaf).end() + edge.offset }
    }
}

impl Shape {
    fn capacity_bytes(&self) -> usize {
        size_of_val::<[_]>(&self.statics) + size_of_val::<[_]>(&self.containers) + size_of_val::<[_]>(&self.places)
    }
}
