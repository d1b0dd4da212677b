//! The bounds of a definition, each with its reason.

/// Characters of a state name (spec/asl.md 1.1).
pub const STATE_NAME_CHARS_MAX: usize = 80;

/// Bytes of a definition's text (spec/asl.md 1.1).
pub const DEFINITION_BYTES_MAX: usize = 1_048_576;

/// Machines inside machines, the top level being the first. The JSON around one takes four levels of the thousand a document has; this bound keeps the recursion over machines well within a thread's stack.
pub const MACHINE_DEPTH_MAX: usize = 64;

/// Levels of `And`, `Or` and `Not` in one Choice rule; bounds the recursion over rules.
pub const RULE_DEPTH_MAX: usize = 64;

/// Levels of objects and arrays in a payload template with computed fields; literal values may go as deep as a document does.
pub const TEMPLATE_DEPTH_MAX: u16 = 128;

/// Steps of one path, and names or indices that go together in one; longer ones are mistakes.
pub const PATH_SEGMENTS_MAX: usize = 256;

/// Levels of parentheses, negations and filters in the conditions of one path.
pub const FILTER_DEPTH_MAX: usize = 32;

/// Conditions of one path; each is asked of every value that the path looks at.
pub const FILTER_CONDITIONS_MAX: usize = 256;

/// Levels of intrinsic calls in one field (spec/asl.md 9).
pub const INTRINSIC_DEPTH_MAX: usize = 10;

/// Characters of a variable's name (spec/asl.md 3).
pub const VARIABLE_NAME_CHARS_MAX: usize = 80;

/// Largest number of items of a Map, and of a batch of them (spec/asl.md 7.3).
pub const MAP_ITEMS_MAX: u32 = 100_000_000;

/// Largest batch of a distributed Map, in bytes (spec/asl.md 7.3).
pub const BATCH_BYTES_MAX: u32 = 262_144;

/// Largest number of seconds, attempts or the like in a definition (spec/asl.md 1.1, 5, 6.4, 8.2).
pub const COUNT_MAX: u32 = 99_999_999;

/// Largest `MaxDelaySeconds`: it is less than the 366 days of a leap year (spec/asl.md 8.2).
pub const RETRY_DELAY_SECONDS_MAX: u32 = 31_622_399;
