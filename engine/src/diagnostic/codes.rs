//! Every code, its spelling and its help text.

use std::fmt;

/// The kind of a finding; stable, never reused. The first group is AWS's own list, the second is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The text is not JSON.
    InvalidJsonDescription,
    /// A field is missing, unknown, of the wrong type, out of range or in conflict with another.
    SchemaValidationFailed,
    /// A transition leads nowhere, or nothing leads to a state.
    MissingTransitionTarget,
    /// Two states have the same name.
    DuplicateStateName,
    /// A state name is empty or too long.
    InvalidStateName,
    /// A Map's `Label` is empty, too long, or holds a forbidden character.
    InvalidLabelName,
    /// No state ends the workflow.
    MissingEndState,
    /// States, rules or templates nest too deeply.
    TooDeeplyNested,
    /// A field's value looks like a path, but its name does not end in `.$`.
    NoDollar,
    /// A `Result` holds what looks like a path, but is taken literally.
    PassResultIsStatic,

    /// The definition is valid for AWS, but this engine cannot run it.
    NotSupportedHere,
    /// A field is allowed, but does nothing.
    FieldWithoutEffect,
    /// A Choice has no `Default`.
    ChoiceWithoutDefault,
    /// An object names a field twice; the last one counts.
    DuplicateField,
    /// An error name begins with `States.` but is none of the predefined ones.
    UnknownErrorName,
    /// A filter compares with a word that is not in quotes.
    UnquotedFilterText,
    /// A variable is read where it need not have a value.
    VariableMayBeMissing,
}

impl Code {
    /// Every code, in the order of the list above.
    pub const ALL: [Self; 17] = [
        Self::InvalidJsonDescription,
        Self::SchemaValidationFailed,
        Self::MissingTransitionTarget,
        Self::DuplicateStateName,
        Self::InvalidStateName,
        Self::InvalidLabelName,
        Self::MissingEndState,
        Self::TooDeeplyNested,
        Self::NoDollar,
        Self::PassResultIsStatic,
        Self::NotSupportedHere,
        Self::FieldWithoutEffect,
        Self::ChoiceWithoutDefault,
        Self::DuplicateField,
        Self::UnknownErrorName,
        Self::UnquotedFilterText,
        Self::VariableMayBeMissing,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJsonDescription => "INVALID_JSON_DESCRIPTION",
            Self::SchemaValidationFailed => "SCHEMA_VALIDATION_FAILED",
            Self::MissingTransitionTarget => "MISSING_TRANSITION_TARGET",
            Self::DuplicateStateName => "DUPLICATE_STATE_NAME",
            Self::InvalidStateName => "INVALID_STATE_NAME",
            Self::InvalidLabelName => "INVALID_LABEL_NAME",
            Self::MissingEndState => "MISSING_END_STATE",
            Self::TooDeeplyNested => "TOO_DEEPLY_NESTED",
            Self::NoDollar => "NO_DOLLAR",
            Self::PassResultIsStatic => "PASS_RESULT_IS_STATIC",
            Self::NotSupportedHere => "NOT_SUPPORTED_HERE",
            Self::FieldWithoutEffect => "FIELD_WITHOUT_EFFECT",
            Self::ChoiceWithoutDefault => "CHOICE_WITHOUT_DEFAULT",
            Self::DuplicateField => "DUPLICATE_FIELD",
            Self::UnknownErrorName => "UNKNOWN_ERROR_NAME",
            Self::UnquotedFilterText => "UNQUOTED_FILTER_TEXT",
            Self::VariableMayBeMissing => "VARIABLE_MAY_BE_MISSING",
        }
    }

    /// What the code means and what to do, in a few sentences.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::InvalidJsonDescription => {
                "The definition is not valid JSON, so nothing else could be checked. The location is the line and column at which reading stopped; the fault is there or just before it, often a missing comma, quote or bracket."
            }
            Self::SchemaValidationFailed => {
                "A field breaks the rules of the Amazon States Language: it is missing, not allowed on this type of state, of the wrong JSON type, out of range, or excluded by another field. The location names the object or field."
            }
            Self::MissingTransitionTarget => {
                "A StartAt, Next, Default or Catch names a state that does not exist among the States of the same level, or nothing leads to a state. Next never crosses the border of a Branch or ItemProcessor."
            }
            Self::DuplicateStateName => {
                "State names must be unique in the whole definition, the states inside Branches and ItemProcessors included. Rename one of them."
            }
            Self::InvalidStateName => "A state name has 1 to 80 characters.",
            Self::InvalidLabelName => {
                "The Label of a Map has 1 to 40 characters, and no blanks, brackets, wildcards or other characters that have a meaning in an ARN."
            }
            Self::MissingEndState => {
                "No state of a level ends it: none is a Succeed or a Fail and none says \"End\": true. The workflow would run until its time is up. On the top level that refuses the definition, in a branch or an iteration it is a warning."
            }
            Self::TooDeeplyNested => "Parallel and Map states, Choice rules and payload templates may nest only so far. Flatten the definition.",
            Self::NoDollar => {
                "The value looks like a path or an intrinsic call, but is taken literally, because the field's name does not end in \".$\". Add the suffix if the value should be computed."
            }
            Self::PassResultIsStatic => "The Result of a Pass state is literal: fields that end in \".$\" are not computed there. Use Parameters for that.",
            Self::NotSupportedHere => {
                "AWS Step Functions accepts this, but this engine cannot run it, or not yet. The message names the feature. Everything else in the definition was checked all the same."
            }
            Self::FieldWithoutEffect => {
                "The field is accepted, as on AWS, but changes nothing: an inline Map tolerates no failure and has no Map Run to label."
            }
            Self::ChoiceWithoutDefault => {
                "If no rule of the Choice matches, the execution fails with States.NoChoiceMatched. Add a Default to say what should happen instead."
            }
            Self::DuplicateField => "The same field stands twice in one object. JSON leaves open which one counts; here, as on AWS, it is the last.",
            Self::UnknownErrorName => {
                "Names that begin with \"States.\" are reserved for the errors that the service defines, and this is none of them. It is often a misspelt one. A name of your own works as any other does, in a Fail state as in ErrorEquals, but give it another beginning, so that it is not taken for an error of the service."
            }
            Self::VariableMayBeMissing => {
                "The variable is read in a state that can be reached on a way on which no state has assigned it. Reading a variable that has no value fails the execution with States.Runtime; only IsPresent in a Choice may ask for it. Assign it on every way, for instance in the first state."
            }
            Self::UnquotedFilterText => "A filter compares with a bare word. It is read as a string; put it in quotes to make that plain.",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_explained() {
        let mut spellings: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        spellings.sort_unstable();
        spellings.dedup();
        assert_eq!(spellings.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.explain().ends_with('.')));
    }
}
