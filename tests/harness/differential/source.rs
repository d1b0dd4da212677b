//! Bytes as choices.

/// Choices drawn from bytes. When they are used up every choice is the first one, so whatever is made from them ends.
#[derive(Debug)]
pub struct Source<'b> {
    bytes: &'b [u8],
}

impl<'b> Source<'b> {
    /// The choices that `bytes` make.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((&first, rest)) => {
                self.bytes = rest;
                first
            }
            None => 0,
        }
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// True in `parts` of 16 cases; never when the bytes are used up.
    pub fn chance(&mut self, parts: u8) -> bool {
        16 - self.byte() % 16 <= parts
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
