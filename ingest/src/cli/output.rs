//! Writing to the two standard streams without ever panicking on a closed one.

use std::io::{self, Write};

use expressway_engine::diagnostic::visible;

use crate::error::Error;

/// Standard output; a reader that went away ends the program quietly.
pub(super) struct Output {
    out: io::BufWriter<io::StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { out: io::BufWriter::new(io::stdout().lock()) }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::output)
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), Error> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// A text for people, of several lines: nothing in it acts on a terminal.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Error> {
        text.lines().try_for_each(|line| self.line(&visible(line)))
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(Error::output)
    }
}

/// A text on standard error, by which nothing in it acts on a terminal. Where even that is closed there is nobody left to tell.
pub(super) fn tell(text: &str) {
    let lines: Vec<_> = text.lines().map(visible).collect();
    drop(writeln!(io::stderr().lock(), "{}", lines.join("\n")));
}
