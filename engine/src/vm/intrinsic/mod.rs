//! Intrinsic functions (spec/asl.md 9): arguments read, functions called, failures told.
//!
//! Arguments are values of the slot's memory, results are new ones; text goes through one buffer of the slot. In steady state only a failure allocates. Two things are fixed here for all functions: a number where an integer is asked for is rounded, halves going up, and arrays and objects are limited to the payload size.

mod array;
mod distinct;
mod encoding;
mod hash;
mod json;
mod math;
mod string;
mod uuid;

pub(crate) use string::pieces;
pub(super) use uuid::uuid_text;

use std::fmt;

use super::Slot;
use super::failure::Raised;
use crate::document::{Kind, Unescaped, unescape_into};
use crate::error;
use crate::program::Program;
use crate::program::function::Function;
use crate::program::op::IntrinsicId;
use crate::program::pool::{ArgumentCode, IntrinsicCode};
use crate::value::{Quota, Value, number};

/// Longest text that Base64Encode, Base64Decode and Hash take, in characters.
const TEXT_CHARACTERS_MAX: usize = 10_000;

/// Bytes of the text buffer that are kept from one call to the next.
const TEXT_KEPT_BYTES: usize = 64 << 10;

/// Why a function has no result.
#[derive(Debug)]
enum Failure {
    /// What is wrong with its arguments.
    Because(String),
    /// The slot is full.
    Full,
}

impl From<Quota> for Failure {
    fn from(_: Quota) -> Self {
        Self::Full
    }
}

#[cold]
fn because<T>(reason: fmt::Arguments<'_>) -> Result<T, Failure> {
    Err(Failure::Because(reason.to_string()))
}

/// A value with its place among the arguments, from 1.
#[derive(Debug, Clone, Copy)]
struct Argument {
    place: usize,
    value: Value,
}

impl Argument {
    #[cold]
    fn is_not<T>(self, wanted: &str) -> Result<T, Failure> {
        let found = match self.value.kind() {
            Kind::Null => "null",
            Kind::False | Kind::True => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        };
        because(format_args!("Argument {} must be {wanted}, but is {found}", self.place))
    }
}

/// The arguments of a function that takes at most three.
type Arguments = [Argument; Function::ARGUMENTS_MAX as usize];

impl Slot {
    /// The result of a call. The recursion is as deep as calls nest, which lowering bounds; `field` is named when a path among the arguments finds nothing.
    #[inline]
    pub(super) fn call_function(&mut self, program: &Program, id: u32, call: IntrinsicId, field: &str, cur: Value) -> Result<Value, Raised> {
        let code = program.intrinsic(call);
        match code.function {
            Function::Format => self.call_format(program, id, code, field, cur),
            Function::MathAdd => self.call_math_add(program, id, code, field, cur),
            _ => self.call_other(program, id, code, field, cur),
        }
    }

    #[inline(never)]
    fn call_other(&mut self, program: &Program, id: u32, code: &IntrinsicCode, field: &str, cur: Value) -> Result<Value, Raised> {
        let arguments = program.arguments(code);
        if code.function == Function::Array {
            let start = self.memory.reserve(arguments.len()).map_err(|quota| self.raise_quota(quota))?;
            self.arguments_into(program, id, arguments, start, field, cur)?;
            return Ok(self.memory.finish_array(start, code.count));
        }
        let mut values = [1, 2, 3].map(|place| Argument { place, value: Value::NULL });
        for (slot, &argument) in values.iter_mut().zip(arguments) {
            slot.value = self.argument(program, id, argument, field, cur)?;
        }
        let result = self.apply(program, code.function, values, arguments.len());
        result.map_err(|failure| self.raise_failure(program, id, code, failure))
    }

    #[cold]
    fn raise_failure(&mut self, program: &Program, id: u32, code: &IntrinsicCode, failure: Failure) -> Raised {
        match failure {
            Failure::Full => self.raise_quota(Quota),
            Failure::Because(reason) => {
                // The exact texts of the service are not recorded; the form is that of its other causes.
                let text = &code.text;
                self.raise(program, id, error::INTRINSIC_FAILURE, format_args!("The function '{text}' had the following error: {reason}"))
            }
        }
    }

    /// Writes the arguments to the cells from `start`.
    fn arguments_into(&mut self, program: &Program, id: u32, arguments: &[ArgumentCode], start: u32, field: &str, cur: Value) -> Result<(), Raised> {
        for (cell, &argument) in (start..).zip(arguments) {
            let value = self.argument(program, id, argument, field, cur)?;
            self.memory.set(cell, value);
        }
        Ok(())
    }

    #[inline]
    fn argument(&mut self, program: &Program, id: u32, argument: ArgumentCode, field: &str, cur: Value) -> Result<Value, Raised> {
        match argument {
            ArgumentCode::Constant(constant) => Ok(program.constant(constant)),
            ArgumentCode::Call(inner) => self.call_function(program, id, inner, field, cur),
            ArgumentCode::Path(path) => self.take(program, id, path, field, cur),
        }
    }

    fn apply(&mut self, program: &Program, function: Function, [a, b, c]: Arguments, count: usize) -> Result<Value, Failure> {
        match function {
            Function::ArrayContains => self.array_contains(program, a, b),
            Function::ArrayGetItem => self.array_get_item(program, a, b),
            Function::ArrayLength => self.array_length(program, a),
            Function::ArrayPartition => self.array_partition(program, a, b),
            Function::ArrayRange => self.array_range(program, a, b, c),
            Function::ArrayUnique => self.array_unique(program, a),
            Function::Base64Decode => self.base64_decode(program, a),
            Function::Base64Encode => self.base64_encode(program, a),
            Function::Hash => self.hash(program, a, b),
            Function::JsonMerge => self.json_merge(program, a, b, c),
            Function::JsonToString => self.json_to_string(program, a.value),
            Function::MathRandom => self.math_random(program, a, b, (count > 2).then_some(c)),
            Function::StringSplit => self.string_split(program, a, b),
            Function::StringToJson => self.string_to_json(program, a),
            Function::Uuid => self.uuid(),
            Function::Array | Function::Format | Function::MathAdd => unreachable!("these are called in ways of their own"),
        }
    }

    /// Lends the text buffer, emptied, to `work`.
    fn with_text<T>(&mut self, work: impl FnOnce(&mut Self, &mut Vec<u8>) -> T) -> T {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let result = work(self, &mut text);
        text.shrink_to(TEXT_KEPT_BYTES);
        self.text = text;
        result
    }

    /// An argument that must be an array within the payload limit.
    fn array(&self, argument: Argument) -> Result<Value, Failure> {
        match argument.value.kind() {
            Kind::Array => self.within_payload(argument),
            _ => argument.is_not("an array"),
        }
    }

    /// An argument that must be an object within the payload limit.
    fn object(&self, argument: Argument) -> Result<Value, Failure> {
        match argument.value.kind() {
            Kind::Object => self.within_payload(argument),
            _ => argument.is_not("an object"),
        }
    }

    fn within_payload(&self, argument: Argument) -> Result<Value, Failure> {
        let limit = self.limits.payload_bytes_max;
        if argument.value.size() > limit {
            return because(format_args!("Argument {} has more than {limit} bytes", argument.place));
        }
        Ok(argument.value)
    }

    /// An argument that must be a number, rounded.
    fn integer(&self, program: &Program, argument: Argument) -> Result<i64, Failure> {
        if argument.value.kind() != Kind::Number {
            return argument.is_not("a number");
        }
        if let Some(value) = self.view(program).small_integer(argument.value) {
            return Ok(value);
        }
        let mut digits = [0; 20];
        match self.view(program).number_text(argument.value, &mut digits).and_then(number::round) {
            Some(value) => Ok(value),
            None => because(format_args!("Argument {} is out of range", argument.place)),
        }
    }

    /// The same, in the range of 32 bits.
    fn small_integer(&self, program: &Program, argument: Argument) -> Result<i32, Failure> {
        match i32::try_from(self.integer(program, argument)?) {
            Ok(value) => Ok(value),
            Err(_) => because(format_args!("Argument {} is out of the range of 32-bit integers", argument.place)),
        }
    }

    /// Appends the characters of an argument that must be a string to `text`.
    fn string_into(&self, program: &Program, argument: Argument, text: &mut Vec<u8>) -> Result<(), Failure> {
        match self.view(program).string(argument.value) {
            Some((inside, false)) => text.extend_from_slice(inside),
            Some((inside, true)) => unescape_into(inside, text),
            None => return argument.is_not("a string"),
        }
        Ok(())
    }

    /// The same for a string of at most [`TEXT_CHARACTERS_MAX`] characters.
    fn short_string_into(&self, program: &Program, argument: Argument, text: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some((inside, _)) = self.view(program).string(argument.value)
            && inside.len() > TEXT_CHARACTERS_MAX
            && Unescaped::new(inside).nth(TEXT_CHARACTERS_MAX).is_some()
        {
            return because(format_args!("Argument {} has more than {TEXT_CHARACTERS_MAX} characters", argument.place));
        }
        self.string_into(program, argument, text)
    }
}
