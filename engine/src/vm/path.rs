//! Paths read and written.

use std::fmt::Write as _;

use super::Slot;
use super::failure::Raised;
use super::select::{Selection, element_index, walk};
use crate::document::{ABSENT, Document, Kind, Token, UNKNOWN};
use crate::error;
use crate::limits::PATH_VISITS_MAX;
use crate::program::Program;
use crate::program::op::{MergeId, PathId};
use crate::program::pool::{ContextField, MergeCode, Merging, PathCode, PathRoot, Step};
use crate::value::{Name, Quota, Tag, Value};

/// Bytes of the match list that are kept from one path to the next.
const SCRATCH_KEPT_BYTES: usize = 64 << 10;

/// Paths of a program whose places are kept with each shape; those behind them are walked.
const PLACES_MAX: usize = 256;

/// Appends for each path of a program the token that it leads to in a document, if the document alone decides that.
#[cold]
pub(super) fn places(program: &Program, document: &Document, places: &mut Vec<u32>) {
    let place = |code: &PathCode| {
        if code.root != PathRoot::Data || !code.definite {
            return UNKNOWN;
        }
        code.steps.iter().try_fold(document.root(), |token, step| member_or_element(document, token, step)).map_or(ABSENT, |token| token.0)
    };
    places.extend(program.pools.paths.iter().take(PLACES_MAX).map(place));
}

fn member_or_element(document: &Document, token: Token, step: &Step) -> Option<Token> {
    match step {
        Step::Member(symbol) => document.member(token, *symbol),
        Step::Index(index) if document.kind(token) == Kind::Array => {
            let at = element_index(document.children(token).count(), *index)?;
            document.children(token).nth(at)
        }
        _ => None,
    }
}

impl Slot {
    /// What a path selects from `base`: a definite path its value or nothing, an indefinite one the array of its matches.
    #[inline]
    pub(super) fn read(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Option<Value>, Raised> {
        let code = program.path(path);
        if code.plain {
            return Ok(self.read_plain(program, path, base));
        }
        self.read_slow(program, id, path, base)
    }

    /// What a definite path on the data selects: nearly every read, which makes nothing and raises nothing.
    #[inline]
    pub(super) fn read_plain(&self, program: &Program, path: PathId, base: Value) -> Option<Value> {
        if let Some(found) = self.memory.placed(path.index(), base) {
            return found;
        }
        let code = program.path(path);
        match code.member {
            Some(symbol) => match self.memory.placed_below(path.index(), base, symbol) {
                Some(found) => found,
                None => self.memory.member(&program.constants, base, symbol),
            },
            None => self.walk_plain(program, path, base),
        }
    }

    #[inline(never)]
    fn walk_plain(&self, program: &Program, path: PathId, base: Value) -> Option<Value> {
        let code = program.path(path);
        if let Some(Step::Member(first)) = code.steps.first()
            && let Some(found) = self.memory.placed_below(path.index(), base, *first)
        {
            return found;
        }
        walk(self.view(program), base, &code.steps).ok()
    }

    /// What a path selects for a template, an argument or a variable, which will refer to it; `field` is where the path stands, for the error when it finds nothing.
    #[inline]
    pub(super) fn take(&mut self, program: &Program, id: u32, path: PathId, field: &str, base: Value) -> Result<Value, Raised> {
        let code = program.path(path);
        if code.plain
            && let Some(value) = self.read_plain(program, path, base)
        {
            if value.tag() == Tag::Overlay {
                self.memory.share();
            }
            return Ok(value);
        }
        self.take_slow(program, id, path, field, base)
    }

    #[inline(never)]
    fn take_slow(&mut self, program: &Program, id: u32, path: PathId, field: &str, base: Value) -> Result<Value, Raised> {
        if let PathCode { root: PathRoot::Context(ContextField::ExecutionName), steps, .. } = program.path(path)
            && steps.is_empty()
        {
            // What most templates ask the Context Object for.
            return self.name_value().map_err(|quota| self.raise_quota(quota));
        }
        match self.read_slow(program, id, path, base)? {
            Some(value) => Ok(value),
            None => Err(self.raise_missing(program, id, &program.path(path).text, field, base)),
        }
    }

    /// Paths that are not followed on the data: below the Context Object or a variable, or to any number of values.
    fn read_slow(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Option<Value>, Raised> {
        let code = program.path(path);
        // A variable, an item of a Map or what an indefinite path finds may hold what a register holds.
        self.memory.share();
        let root = match code.root {
            PathRoot::Data => Some(base),
            // A missing field has no value and no children, so an indefinite path below it finds nothing, as everywhere.
            PathRoot::Context(field) => self.context(program, id, field)?.or_else(|| (!code.definite && code.merges.is_none()).then_some(Value::NULL)),
            PathRoot::Variable(variable) => self.variable(id, variable),
            PathRoot::Unassigned => None,
        };
        let Some(root) = root else { return Ok(None) };
        if code.definite {
            return Ok(walk(self.view(program), root, &code.steps).ok());
        }
        if code.merges == Some(Merging::One) {
            return self.merged_members(program, root, &code.steps).map_err(|quota| self.raise_quota(quota));
        }
        self.select(program, id, root, path).map(Some)
    }

    /// The array of an indefinite path's matches.
    fn select(&mut self, program: &Program, id: u32, root: Value, path: PathId) -> Result<Value, Raised> {
        let code = program.path(path);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut selection = Selection::new(self.view(program), &program.constant_tokens, &scratch);
        selection.collect(root, &code.steps);
        let (found, is_exhausted) = selection.finish();
        let array = if is_exhausted { Ok(None) } else { self.array_of_found(program, &found, code).map(Some) };
        drop(found);
        scratch.reset();
        if scratch.allocated_bytes() <= SCRATCH_KEPT_BYTES {
            self.scratch = scratch;
        }
        match array {
            Ok(Some(array)) => Ok(array),
            Ok(None) => {
                let text = format_args!("The path '{}' looks at more than {PATH_VISITS_MAX} values.", code.text);
                Err(self.raise(program, id, error::DATA_LIMIT_EXCEEDED, text))
            }
            Err(quota) => Err(self.raise_quota(quota)),
        }
    }

    fn array_of_found(&mut self, program: &Program, found: &[Value], code: &PathCode) -> Result<Value, Quota> {
        let start = self.memory.reserve(found.len())?;
        let mut cell = start;
        for &value in found {
            let value = match (code.merges, code.steps.split_last()) {
                (Some(_), Some((last, _))) => self.merged_members(program, value, std::slice::from_ref(last))?.unwrap_or(Value::NULL),
                _ => value,
            };
            self.memory.set(cell, value);
            cell += 1;
        }
        Ok(self.memory.finish_array(start, cell - start))
    }

    /// The object of the members that the last step names, as far as they are there; nothing where there is no object.
    fn merged_members(&mut self, program: &Program, root: Value, steps: &[Step]) -> Result<Option<Value>, Quota> {
        let Some((Step::Members(symbols), path)) = steps.split_last() else { return Ok(None) };
        let view = self.view(program);
        let Some(base) = walk(view, root, path).ok().filter(|base| base.kind() == Kind::Object) else { return Ok(None) };
        let start = self.memory.reserve(symbols.len() * 2)?;
        let mut count = 0;
        for (at, &symbol) in symbols.iter().enumerate() {
            let Some(member) = self.view(program).member(base, symbol).filter(|_| !symbols[..at].contains(&symbol)) else { continue };
            self.memory.set_pair(start + count * 2, Value::program_key(symbol, None), member);
            count += 1;
        }
        Ok(Some(self.memory.finish_object(start, count, &program.symbols)))
    }

    /// InputPath, OutputPath, ItemsPath and the like: nothing found is an error with Jayway's text (spec/asl.md 2.1).
    pub(super) fn data_path(&mut self, program: &Program, id: u32, path: PathId, base: Value) -> Result<Value, Raised> {
        if let Some(value) = self.read(program, id, path, base)? {
            return Ok(value);
        }
        let code = program.path(path);
        let last = code.steps.len().saturating_sub(1);
        let lost = |root: Option<Value>| root.map_or(last, |root| walk(self.view(program), root, &code.steps).err().unwrap_or(0));
        let (names, missing) = match code.root {
            PathRoot::Data => (&[][..], lost(Some(base))),
            PathRoot::Variable(variable) => (&[][..], lost(self.variable(id, variable))),
            PathRoot::Unassigned => (&[][..], last),
            PathRoot::Context(field) => self.missing_in_context(program, id, field, &code.steps)?,
        };
        let mut place = String::from("$");
        for name in names.iter().take(missing + 1) {
            let written = write!(place, "['{name}']");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        for step in code.steps.iter().take((missing + 1).saturating_sub(names.len())) {
            let written = match step {
                Step::Member(symbol) => write!(place, "['{}']", program.symbols.name(*symbol)),
                Step::Index(index) => write!(place, "[{index}]"),
                _ => Ok(()),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        let (text, reason) = (&code.text, if missing + 1 >= names.len() + code.steps.len() { "No results for path:" } else { "Missing property in path" });
        Err(self.raise_runtime(program, id, format_args!("Invalid path '{text}' : {reason} {place}")))
    }

    /// ResultPath: the state's raw input with `value` at the target.
    #[inline]
    pub(super) fn merge(&mut self, program: &Program, id: u32, target: MergeId, value: Value) -> Result<Value, Raised> {
        let raw = self.strand(id).raw;
        let code = program.merge(target);
        if let Some(name) = &code.member
            && let Some(merged) = self.memory.change_quickly(raw, name, value, code.is_last_use)
        {
            return Ok(merged);
        }
        self.merge_otherwise(program, id, code, value)
    }

    /// Any other change.
    #[inline(never)]
    fn merge_otherwise(&mut self, program: &Program, id: u32, code: &MergeCode, value: Value) -> Result<Value, Raised> {
        let raw = self.strand(id).raw;
        if let (Some(name), Kind::Object) = (&code.member, raw.kind()) {
            let merged = if code.is_last_use {
                self.memory.set_member(raw, name, value, &program.constants, &program.symbols)
            } else {
                self.memory.with_member(raw, name, value, &program.constants, &program.symbols)
            };
            return merged.map_err(|quota| self.raise_quota(quota));
        }
        self.merge_deep(program, id, code, value)
    }

    /// Any other place, or an input that has none.
    #[inline(never)]
    fn merge_deep(&mut self, program: &Program, id: u32, code: &MergeCode, value: Value) -> Result<Value, Raised> {
        let raw = self.strands[id as usize].raw;
        match self.placed(program, raw, &code.steps, value) {
            Ok(Some(merged)) => Ok(merged),
            Ok(None) => {
                let mut shown = Vec::new();
                self.view(program).write(raw, &mut shown);
                let shown = String::from_utf8_lossy(&shown).into_owned();
                let text = &code.text;
                Err(self.raise(program, id, error::RESULT_PATH_MATCH_FAILURE, format_args!("Unable to apply ReferencePath {text} to input {shown}")))
            }
            Err(quota) => Err(self.raise_quota(quota)),
        }
    }

    /// `base` with `value` at the end of `steps`; `None` where `base` has no place for it. The recursion is as deep as the path.
    fn placed(&mut self, program: &Program, base: Value, steps: &[Step], value: Value) -> Result<Option<Value>, Quota> {
        let Some((step, rest)) = steps.split_first() else { return Ok(Some(value)) };
        match (step, base.kind()) {
            (Step::Member(symbol), Kind::Object) => {
                let inner = match self.view(program).member(base, *symbol) {
                    Some(member) => self.placed(program, member, rest, value)?,
                    None => self.nested(program, rest, value)?,
                };
                let Some(inner) = inner else { return Ok(None) };
                let name = Name::new(*symbol, &program.symbols);
                self.memory.with_member(base, &name, inner, &program.constants, &program.symbols).map(Some)
            }
            (Step::Index(index), Kind::Array) => {
                let Some(at) = element_index(self.view(program).len(base), *index) else { return Ok(None) };
                let Some(element) = self.view(program).element(base, at) else { return Ok(None) };
                let Some(inner) = self.placed(program, element, rest, value)? else { return Ok(None) };
                self.memory.with_element(base, at, inner, &program.constants, &program.symbols).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Objects for the missing steps of a result path; an index cannot be made up.
    fn nested(&mut self, program: &Program, steps: &[Step], value: Value) -> Result<Option<Value>, Quota> {
        let mut inner = value;
        for step in steps.iter().rev() {
            let Step::Member(symbol) = step else { return Ok(None) };
            let start = self.memory.reserve(2)?;
            self.memory.set(start, Value::program_key(*symbol, None));
            self.memory.set(start + 1, inner);
            inner = self.memory.finish_object(start, 1, &program.symbols);
        }
        Ok(Some(inner))
    }
}
