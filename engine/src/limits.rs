//! Every bound of the engine, with its reason.

/// Bounds of one execution. The defaults are AWS's where AWS has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest input, task result, state output and execution output, in bytes of compact UTF-8 JSON (AWS: 262,144).
    pub payload_bytes_max: u32,
    /// Longest life of an Express execution, in milliseconds (AWS: 300,000).
    pub execution_ms_max: u64,
    /// Memory of one slot: values, computed text and documents. A payload fits many times over; a runaway loop ends here.
    pub slot_bytes_max: usize,
    /// Parallel and Map states open at once in one execution, which also bounds nesting.
    pub frames_max: u32,
    /// Branches and iterations alive at once in one execution.
    pub strands_max: u32,
    /// Iterations of one inline Map in flight together (AWS: 40).
    pub map_concurrency_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 262_144,
            execution_ms_max: 300_000,
            slot_bytes_max: 64 << 20,
            frames_max: 1_000,
            strands_max: 10_000,
            map_concurrency_max: 40,
        }
    }
}

/// Bytes of the values that one `Assign` may give its variables (AWS: 262,144); a variable alone can have no more either.
pub const ASSIGN_BYTES_MAX: u32 = 262_144;

/// Bytes of the values of all variables of an execution (AWS: 10 MiB).
pub const VARIABLES_BYTES_MAX: u64 = 10 << 20;

/// Characters of an error name, as the service's API defines it (AWS: 256); a longer one is cut.
pub const ERROR_CHARS_MAX: usize = 256;

/// Characters of a cause, as the service's API defines it (AWS: 32,768); a longer one is cut.
pub const CAUSE_CHARS_MAX: usize = 32_768;

/// Characters of the name of a state machine or an execution (spec/asl.md 1.4).
pub const NAME_CHARS_MAX: usize = 80;

/// Events in the history of a Standard execution; the last one is its end, so one that has not ended with it fails there (spec/asl.md 11). Express has no such bound.
pub const HISTORY_EVENTS_MAX: u64 = 25_000;

/// Values that one path may look at. An input of the largest size has some 131,000 values; paths with several `..` look at each many times.
pub const PATH_VISITS_MAX: u32 = 1 << 21;

/// How much one run call may do before it hands the thread back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Transitions, iterations and branches started.
    pub transitions: u32,
    /// Bytes of value built.
    pub bytes: u32,
}

impl Default for Budget {
    fn default() -> Self {
        // About a tenth of a millisecond of plain transitions, or of copying.
        Self { transitions: 10_000, bytes: 1 << 20 }
    }
}
