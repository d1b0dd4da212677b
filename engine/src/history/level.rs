//! Which events a log takes (spec/api.md 6).

/// The four levels of AWS's logging configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Level {
    /// Nothing.
    #[default]
    Off,
    /// Executions that failed, timed out or were aborted.
    Fatal,
    /// In addition whatever failed, timed out or was aborted inside them.
    Error,
    /// Everything.
    All,
}

/// The types that FATAL logs.
const FATAL: [&str; 3] = ["ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"];

impl Level {
    /// Whether events of the type with this name are logged.
    #[must_use]
    pub fn includes(self, type_name: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Fatal => FATAL.contains(&type_name),
            // `ScheduleFailed` and its like end as `Failed` does.
            Self::Error => type_name == "FailStateEntered" || ["Failed", "TimedOut", "Aborted"].iter().any(|ending| type_name.ends_with(ending)),
            Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_takes_what_the_one_below_takes() {
        let takes = |type_name| [Level::Off, Level::Fatal, Level::Error, Level::All].map(|level| level.includes(type_name));
        assert_eq!(takes("ExecutionFailed"), [false, true, true, true]);
        assert_eq!(takes("ExecutionTimedOut"), [false, true, true, true]);
        assert_eq!(takes("ExecutionAborted"), [false, true, true, true]);
        for error in ["FailStateEntered", "TaskFailed", "LambdaFunctionTimedOut", "MapIterationAborted", "LambdaFunctionScheduleFailed", "TaskSubmitFailed"] {
            assert_eq!(takes(error), [false, false, true, true], "{error}");
        }
        for quiet in ["ExecutionStarted", "ExecutionSucceeded", "PassStateEntered", "TaskScheduled"] {
            assert_eq!(takes(quiet), [false, false, false, true], "{quiet}");
        }
    }
}
