//! The findings of this stage, with the text they point into.

use crate::asl::ast::Place;
use crate::diagnostic::{Code, Diagnostic, Lines, Severity};

#[derive(Debug)]
pub(super) struct Findings<'t> {
    lines: Lines<'t>,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str, diagnostics: Vec<Diagnostic>) -> Self {
        Self { lines: Lines::new(text.as_bytes()), diagnostics }
    }

    pub(super) fn report(&mut self, severity: Severity, code: Code, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.push(self.lines.finding(severity, code, place, message.into()));
        self.diagnostics.last_mut().expect("a finding was pushed just now")
    }

    pub(super) fn error(&mut self, code: Code, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.report(Severity::Error, code, place, message)
    }

    /// An error of AWS's most general code.
    pub(super) fn schema(&mut self, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.error(Code::SchemaValidationFailed, place, message)
    }

    pub(super) fn warning(&mut self, code: Code, place: &Place, message: impl Into<String>) -> &mut Diagnostic {
        self.report(Severity::Warning, code, place, message)
    }

    /// What AWS runs and this engine cannot.
    pub(super) fn not_supported_here(&mut self, place: &Place, what: &str) {
        self.error(Code::NotSupportedHere, place, format!("{what} cannot be run by this engine"));
    }

    /// What AWS runs and this engine can check, but not run: the execution fails where it meets it.
    pub(super) fn fails_here(&mut self, place: &Place, what: &str) {
        self.warning(Code::NotSupportedHere, place, format!("{what} cannot be run by this engine: an execution that gets here fails"));
    }

    /// A finding about the whole definition.
    pub(super) fn without_place(&mut self, severity: Severity, code: Code, message: &str) {
        self.diagnostics.push(Diagnostic { severity, code, message: message.to_owned(), location: None, position: None, hint: None });
    }

    /// All findings in the order of the text, those without a place last.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|finding| finding.position.map_or(u32::MAX, |position| position.offset));
        self.diagnostics
    }
}
