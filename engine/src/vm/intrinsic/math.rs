//! MathAdd and MathRandom.

use super::{Argument, Failure, because};
use crate::program::Program;
use crate::program::pool::IntrinsicCode;
use crate::value::Value;
use crate::vm::failure::Raised;
use crate::vm::{Slot, mix};

impl Slot {
    /// `States.MathAdd(a, b)`: each argument is rounded, then they are added; all three stay within 32 bits.
    #[inline(never)]
    pub(super) fn call_math_add(&mut self, program: &Program, id: u32, code: &IntrinsicCode, field: &str, cur: Value) -> Result<Value, Raised> {
        let &[a, b] = program.arguments(code) else { unreachable!("verification proves the number of arguments") };
        let (a, b) = (self.argument(program, id, a, field, cur)?, self.argument(program, id, b, field, cur)?);
        let view = self.view(program);
        if let (Some(a), Some(b)) = (view.small_integer(a), view.small_integer(b))
            && let (Ok(a), Ok(b)) = (i32::try_from(a), i32::try_from(b))
            && let Some(sum) = a.checked_add(b)
        {
            return Ok(Value::integer(i64::from(sum)));
        }
        let sum = self.math_add(program, Argument { place: 1, value: a }, Argument { place: 2, value: b });
        sum.map_err(|failure| self.raise_failure(program, id, code, failure))
    }

    /// The same for numbers that are to be rounded, and for what cannot be added.
    fn math_add(&mut self, program: &Program, a: Argument, b: Argument) -> Result<Value, Failure> {
        let (a, b) = (self.small_integer(program, a)?, self.small_integer(program, b)?);
        match a.checked_add(b) {
            Some(sum) => Ok(Value::integer(i64::from(sum))),
            None => because(format_args!("The sum of {a} and {b} is out of the range of 32-bit integers")),
        }
    }

    /// `States.MathRandom(start, end[, seed])`: from `start` up to, not including, `end`; with a seed always the same number.
    pub(super) fn math_random(&mut self, program: &Program, start: Argument, end: Argument, seed: Option<Argument>) -> Result<Value, Failure> {
        let (from, to) = (self.small_integer(program, start)?, self.small_integer(program, end)?);
        let span = i64::from(to) - i64::from(from);
        if span <= 0 {
            return because(format_args!("The start {from} is not less than the end {to}"));
        }
        let random = match seed {
            Some(seed) => mix(self.integer(program, seed)?.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            None => self.random(),
        };
        // The high half of the product is spread evenly over the span, to within 2^-32.
        let offset = (u128::from(random) * u128::from(span.unsigned_abs())) >> 64;
        let offset = i64::try_from(offset).expect("the offset is below the span, which has 32 bits");
        Ok(Value::integer(i64::from(from) + offset))
    }
}
