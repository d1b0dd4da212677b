//! The names of the headers that results, dead letters and records brought back carry: the one place for who writes them and who reads them.

/// Position of the record that a result or dead letter stands for: `topic/partition/offset`.
pub(crate) const SOURCE: &str = "expressway-source";
/// How the execution ended; a result without it succeeded.
pub(crate) const STATUS: &str = "expressway-status";
/// The execution's name.
pub(crate) const EXECUTION: &str = "expressway-execution";
/// Name of the definition.
pub(crate) const DEFINITION: &str = "expressway-definition";
/// Version of the definition.
pub(crate) const VERSION: &str = "expressway-version";
/// Why a record is a dead letter.
pub(crate) const REASON: &str = "expressway-reason";
/// The reason in words.
pub(crate) const DETAIL: &str = "expressway-detail";
/// When a record became a dead letter.
pub(crate) const TIME: &str = "expressway-time";
/// How often a record has been brought back, by `dlq redrive` or `replay`.
pub(crate) const REPLAYS: &str = "expressway-replays";
/// Where a record that was brought back stood first: `topic/partition/offset`.
pub(crate) const ORIGIN: &str = "expressway-origin";
