//! The error names that the engine itself raises (spec/asl.md 8.1).

/// Processing is impossible: bad paths, a Choice on a missing variable. Never caught.
pub const RUNTIME: &str = "States.Runtime";
/// A payload is over the limit.
pub const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
/// A task or the execution ran over its time.
pub const TIMEOUT: &str = "States.Timeout";
/// A missed heartbeat; also matched by `States.Timeout`.
pub const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
/// A task failed; as a matcher, every error of a task but a time-out.
pub const TASK_FAILED: &str = "States.TaskFailed";
/// Matches every error that can be caught.
pub const ALL: &str = "States.ALL";
/// A ResultPath that the input has no place for.
pub const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";
/// As a matcher, a branch of a Parallel failed.
pub const BRANCH_FAILED: &str = "States.BranchFailed";
/// An intrinsic function that cannot do what it is asked.
pub const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
/// A Choice without a match and without Default.
pub const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
