//! The headers by which a record's way can be followed, as the client reads and writes them.
//!
//! A result names the position of its source, and its status unless that is the usual one; a dead letter carries the headers of its record as they came and, behind them, its own. So where a name occurs twice the last one counts: a source record may itself be a result of another pipeline.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

pub(crate) use super::header_list::{HeaderList, Position};
pub(crate) use crate::pipeline::header_name::{DEFINITION, DETAIL, ORIGIN, REASON, SOURCE, STATUS, TIME, VERSION};

impl Position {
    /// The place of a record that was read.
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        Self { topic: message.topic().to_owned(), partition: message.partition(), offset: message.offset() }
    }
}

impl HeaderList {
    /// The headers of a record; `None` when a name is not UTF-8, which the client library answers with a panic.
    pub(crate) fn read(message: &BorrowedMessage<'_>) -> Option<Self> {
        let Some(headers) = message.headers() else { return Some(Self::default()) };
        let copied = || headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
        catch_unwind(AssertUnwindSafe(copied)).ok()
    }

    /// The list as a producer takes it.
    pub(crate) fn to_owned_headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.iter().count());
        self.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value }))
    }
}
