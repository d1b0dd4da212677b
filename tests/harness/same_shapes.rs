//! Reading by learned shapes against the full pass: the same verdict, the same tape, the same values at the end of every path.

use std::cell::RefCell;

use expressway_engine::document::{Counts, Document, Symbols, Token};
use expressway_engine::hir::{WorkflowType, lower};
use expressway_engine::{Budget, Deployment, Effects, ExecutionName, Program, Shapes, Silent, Slot, Start, Timestamp, compile};

/// Messages of one check.
const MESSAGES_MAX: usize = 64;

/// Paths that executions read, with what comes before the reading.
const PATHS: [&str; 9] = ["$", "$.a", "$.b.c", "$.a[0]", "$.a[-1].b", "$.a-key-that-is-longer-than-a-block-of-bytes", "$.type", "$.meta.b", "$[1]"];

/// Bytes that damage a message; the zero is also what stands behind every text.
const DAMAGE: [u8; 13] = [b'"', b'\\', b'0', b' ', b'}', b',', b'{', b'[', 0x00, 0x01, 0x80, 0xff, b'x'];

/// Checks the messages that stand between NUL bytes.
///
/// # Panics
/// When the two ways differ.
pub fn check(bytes: &[u8]) {
    thread_local! {
        /// Programs and memory outlive a check: what an earlier one has left in them must not matter.
        static PAIR: RefCell<Pair> = RefCell::new(Pair::new());
    }
    PAIR.with_borrow_mut(|pair| check_with(pair, bytes));
}

fn check_with(pair: &mut Pair, bytes: &[u8]) {
    let messages: Vec<&[u8]> = bytes.split(|&byte| byte == 0).take(MESSAGES_MAX).collect();
    pair.forget();
    for _ in 0..2 {
        messages.iter().for_each(|message| pair.check(message));
    }
    for message in messages {
        // Anew each time, because nothing is matched for a while where misses are many.
        pair.forget();
        pair.check(message);
        damaged(message).iter().for_each(|message| pair.check(message));
    }
}

/// Messages like one, but for a byte or two: cut, changed, a byte more or less.
#[must_use]
pub fn damaged(message: &[u8]) -> Vec<Vec<u8>> {
    let step = (message.len() / 16).max(1);
    let places = (0..message.len()).step_by(step);
    places
        .flat_map(|at| {
            let with = DAMAGE[(at / step + message.len()) % DAMAGE.len()];
            let (head, tail) = message.split_at(at);
            let changed = [head, &[with], &tail[1..]].concat();
            let longer = [head, &[with], tail].concat();
            let shorter = [head, &tail[1..]].concat();
            [head.to_vec(), changed, longer, shorter]
        })
        .collect()
}

/// The two ways of reading, with all that they remember.
#[derive(Debug)]
pub struct Pair {
    symbols: Symbols,
    shapes: Shapes,
    by_shape: Document,
    by_full_pass: Document,
    runs: Vec<Run>,
}

/// One program in two slots.
#[derive(Debug)]
struct Run {
    program: Program,
    shapes: Shapes,
    by_shape: Slot,
    by_full_pass: Slot,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// Nothing learned yet.
    ///
    /// # Panics
    /// Never: the names and definitions are good ones.
    #[must_use]
    pub fn new() -> Self {
        let mut symbols = Symbols::default();
        for name in ["a", "b", "type", "deviceId", "a-key-that-is-longer-than-a-block-of-bytes"] {
            symbols.intern(name).expect("there is room for a few names");
        }
        let runs = PATHS.iter().map(|path| Run::new(path)).collect();
        Self { symbols, shapes: Shapes::new(), by_shape: Document::new(), by_full_pass: Document::new(), runs }
    }

    /// Forgets all shapes.
    pub fn forget(&mut self) {
        self.shapes = Shapes::new();
        self.runs.iter_mut().for_each(|run| run.shapes = Shapes::new());
    }

    /// Reads a message both ways.
    ///
    /// # Panics
    /// When the two differ.
    pub fn check(&mut self, message: &[u8]) {
        let shown = String::from_utf8_lossy(message);
        let fault = self.by_full_pass.fill(message, &self.symbols);
        assert_eq!(self.by_shape.fill_with(message, &self.symbols, &mut self.shapes), fault, "{shown}");
        same(&self.by_shape, &self.by_full_pass, &shown);
        self.runs.iter_mut().for_each(|run| run.check(message, &shown));
    }

    /// What the shapes have counted since they were last forgotten.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shapes.counts()
    }
}

fn same(by_shape: &Document, by_full_pass: &Document, shown: &str) {
    assert_eq!(by_shape.token_count(), by_full_pass.token_count(), "{shown}");
    assert_eq!((by_shape.text(), by_shape.is_compact()), (by_full_pass.text(), by_full_pass.is_compact()), "{shown}");
    let tokens = u32::try_from(by_shape.token_count()).expect("a short message");
    for token in (0..tokens).map(Token) {
        let told = |document: &Document| {
            let value = (document.kind(token), document.start(token), document.raw(token).to_vec(), document.is_escaped(token));
            let key = (document.key_start(token), document.key(token).to_vec(), document.symbol(token), document.is_key_escaped(token));
            (value, key, document.next(token), document.compact_len(token), document.depth(token))
        };
        assert_eq!(told(by_shape), told(by_full_pass), "token {} of {shown}", token.0);
    }
}

impl Run {
    /// A program that reads a path from the input and again when a member has been laid over it.
    fn new(path: &str) -> Self {
        let path = if path.contains('-') && !path.contains("[-") { format!("$['{}']", path.trim_start_matches("$.")) } else { path.to_owned() };
        let definition = format!(
            r#"{{"StartAt":"A","States":{{
                "A":{{"Type":"Choice","Choices":[{{"Variable":"{path}","IsPresent":true,"Next":"B"}}],"Default":"C"}},
                "B":{{"Type":"Pass","Parameters":{{"b.$":"{path}"}},"ResultPath":"$.meta","Next":"D"}},
                "C":{{"Type":"Pass","Result":{{"b":1}},"ResultPath":"$.meta","Next":"D"}},
                "D":{{"Type":"Pass","Parameters":{{"found.$":"{path}","all.$":"$"}},"End":true}}}}}}"#
        );
        let lowered = lower(&definition, WorkflowType::Express).expect("the definition is valid");
        let program = compile(&lowered.machine, &Deployment::named("paths")).expect("the definition compiles");
        Self { program, shapes: Shapes::new(), by_shape: Slot::new(0), by_full_pass: Slot::new(0) }
    }

    fn check(&mut self, message: &[u8], shown: &str) {
        let now = Timestamp(1_795_176_000_000);
        let start = Start { name: ExecutionName::Text("one"), now, seed: 1 };
        let begun = self.by_full_pass.start(&self.program, message, &start);
        assert_eq!(self.by_shape.start_with(&self.program, message, &start, &mut self.shapes), begun, "{shown}");
        if begun.is_ok() {
            let run = |slot: &mut Slot| {
                let step = slot.run(&self.program, now, Budget::default(), &mut Effects::default(), &mut Silent);
                let mut output = Vec::new();
                let failure = slot.failure();
                let failure = (failure.error.map(str::to_owned), failure.cause.map(str::to_owned));
                if failure == (None, None) {
                    slot.write_output(&self.program, &mut output);
                }
                (step, String::from_utf8_lossy(&output).into_owned(), failure)
            };
            assert_eq!(run(&mut self.by_shape), run(&mut self.by_full_pass), "{shown}");
        }
    }
}
