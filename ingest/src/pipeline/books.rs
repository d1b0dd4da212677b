//! The books of one assigned partition: what was read, what has become of it, what is open.
//!
//! Three counts that nobody derives from each other: a record is counted when it is begun, when it is closed (by how it ended), and the open ones are those that the window holds. So `read = succeeded + failed + dead_lettered + skipped + given_up + open` is a statement about the pipeline, true at every turn's end; a record that were forgotten, or closed twice, would break it. They begin with the assignment.

use super::Class;

/// The books of one partition since it was assigned, as of its shard's last turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionBooks {
    /// Index into the source topics.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
    /// Records begun.
    pub read: u64,
    /// Executions that succeeded, their result acknowledged.
    pub succeeded: u64,
    /// Executions that failed or timed out, their result acknowledged.
    pub failed: u64,
    /// Records whose dead letter is acknowledged.
    pub dead_lettered: u64,
    /// Null values passed over.
    pub skipped: u64,
    /// Records that were open when the position went back, which run again.
    pub given_up: u64,
    /// Records open now.
    pub open: u64,
}

impl PartitionBooks {
    /// Whether everything that was read is accounted for.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.read == self.succeeded + self.failed + self.dead_lettered + self.skipped + self.given_up + self.open
    }

    /// Enters the end of a record.
    pub(super) fn close(&mut self, class: Class) {
        *match class {
            Class::Succeeded => &mut self.succeeded,
            Class::Failed => &mut self.failed,
            Class::DeadLettered => &mut self.dead_lettered,
            Class::Skipped => &mut self.skipped,
        } += 1;
    }
}
