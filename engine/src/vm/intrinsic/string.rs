//! Format and StringSplit.

use super::{Argument, Failure, because};
use crate::document::Kind;
use crate::program::Program;
use crate::program::function::Function;
use crate::program::pool::IntrinsicCode;
use crate::value::{Value, View};
use crate::vm::Slot;
use crate::vm::failure::Raised;

/// A template's text ends inside an escape, or has another number of placeholders than arguments.
#[derive(Debug, PartialEq, Eq)]
enum Malformed {
    Placeholders,
    OpenEscape,
}

impl Slot {
    /// `States.Format(template, values…)`: where the template is a literal and the values are scalars, the pieces of the one and the texts of the others are joined in place.
    #[inline(never)]
    pub(super) fn call_format(&mut self, program: &Program, id: u32, code: &IntrinsicCode, field: &str, cur: Value) -> Result<Value, Raised> {
        let arguments = program.arguments(code);
        let mut values = [Value::NULL; Function::FORMAT_ARGUMENTS_MAX as usize];
        let Some(values) = values.get_mut(..arguments.len()) else {
            let start = self.memory.reserve(arguments.len()).map_err(|quota| self.raise_quota(quota))?;
            self.arguments_into(program, id, arguments, start, field, cur)?;
            let text = self.format(program, code.count, |view, at| view.memory_cell(start + at));
            return text.map_err(|failure| self.raise_failure(program, id, code, failure));
        };
        let (mut bytes, mut are_scalars) = (0_usize, true);
        for (value, &argument) in values.iter_mut().zip(arguments) {
            *value = self.argument(program, id, argument, field, cur)?;
            bytes = bytes.saturating_add(value.size() as usize);
            are_scalars &= value.kind() < Kind::Array;
        }
        if let (Some(format), [_, values @ ..]) = (&code.format, &*values)
            && are_scalars
            && self.memory.room_for(bytes).is_ok()
        {
            return Ok(self.memory.add_joined(&format.pieces, values, format.escaped, &program.constants));
        }
        let text = self.format(program, code.count, |_, at| values[at as usize]);
        text.map_err(|failure| self.raise_failure(program, id, code, failure))
    }

    /// The same for any template and any values: the slow twin.
    #[inline(never)]
    fn format(&mut self, program: &Program, count: u32, argument: impl Fn(View<'_>, u32) -> Value) -> Result<Value, Failure> {
        let template = argument(self.view(program), 0);
        let bytes = (0..count).fold(0_usize, |bytes, at| bytes.saturating_add(argument(self.view(program), at).size() as usize));
        self.memory.room_for(bytes)?;
        self.with_text(|slot, out| {
            let view = slot.view(program);
            let Some((inside, escaped)) = view.string(template) else {
                return Argument { place: 1, value: template }.is_not("a string");
            };
            let mut has_escapes = escaped;
            let mut next = 1;
            let filled = fill(inside, out, |out| {
                let at = next;
                next += 1;
                (at < count).then(|| write_plain(view, argument(view, at), out, &mut has_escapes))
            });
            match filled {
                Ok(()) if next == count => Ok(slot.memory.add_quoted(out, has_escapes)?),
                Err(Malformed::OpenEscape) => because(format_args!("The template has an open escape '\\'")),
                _ => because(format_args!("The template has another number of placeholders {{}} than there are arguments for them: {}", count - 1)),
            }
        })
    }

    /// `States.StringSplit(text, delimiters)`: each character of the second argument separates; empty parts are dropped.
    pub(super) fn string_split(&mut self, program: &Program, text: Argument, delimiters: Argument) -> Result<Value, Failure> {
        self.with_text(|slot, buffer| {
            slot.string_into(program, text, buffer)?;
            let length = buffer.len();
            slot.string_into(program, delimiters, buffer)?;
            let (text, delimiters) = buffer.split_at(length);
            let utf8 = |bytes| std::str::from_utf8(bytes).expect("documents are UTF-8, and so are their strings");
            let (text, delimiters) = (utf8(text), utf8(delimiters));
            let parts = || text.split(|character| delimiters.contains(character)).filter(|part| !part.is_empty());
            let start = slot.memory.reserve(parts().count())?;
            let mut cell = start;
            for part in parts() {
                let value = slot.memory.add_string(part.as_bytes())?;
                slot.memory.set(cell, value);
                cell += 1;
            }
            Ok(slot.memory.finish_array(start, cell - start))
        })
    }
}

/// The texts between the placeholders of a template, the inside of a JSON string; `None` where it is malformed.
pub(crate) fn pieces(template: &[u8]) -> Option<Box<[Box<[u8]>]>> {
    let (mut pieces, mut last) = (Vec::new(), Vec::new());
    let filled = fill(template, &mut last, |piece| {
        pieces.push(std::mem::take(piece).into_boxed_slice());
        Some(())
    });
    pieces.push(last.into_boxed_slice());
    filled.is_ok().then(|| pieces.into())
}

/// Writes a template, the inside of a JSON string, with each `{}` replaced by what `argument` writes, again the inside of a JSON string; `\{`, `\}` and `\\`, whose backslashes are themselves escaped, lose their escape.
fn fill(template: &[u8], out: &mut Vec<u8>, mut argument: impl FnMut(&mut Vec<u8>) -> Option<()>) -> Result<(), Malformed> {
    let mut rest = template;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'{' | b'\\')).unwrap_or(rest.len());
        let (before, special) = rest.split_at(plain);
        out.extend_from_slice(before);
        let taken = match special {
            [] => return Ok(()),
            [b'{', b'}', ..] => {
                argument(out).ok_or(Malformed::Placeholders)?;
                2
            }
            [b'\\', b'\\', brace @ (b'{' | b'}'), ..] => {
                out.push(*brace);
                3
            }
            [b'\\', b'\\', b'\\', b'\\', ..] => {
                out.extend_from_slice(b"\\\\");
                4
            }
            [b'\\', b'\\', ..] => return Err(Malformed::OpenEscape),
            // An escape of JSON, or a brace that opens no placeholder.
            [b'\\', other, ..] => {
                out.extend_from_slice(&[b'\\', *other]);
                2
            }
            [other, ..] => {
                out.push(*other);
                1
            }
        };
        rest = special.split_at(taken).1;
    }
}

/// Writes a value as Format shows it, as the inside of a JSON string: strings bare, containers as Java prints its maps and lists.
fn write_plain(view: View<'_>, value: Value, out: &mut Vec<u8>, has_escapes: &mut bool) {
    match value.kind() {
        Kind::String => {
            if let Some((inside, escaped)) = view.string(value) {
                *has_escapes |= escaped;
                out.extend_from_slice(inside);
            }
        }
        Kind::Array => {
            out.push(b'[');
            for (index, element) in view.elements(value).enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                write_plain(view, element, out, has_escapes);
            }
            out.push(b']');
        }
        Kind::Object => {
            out.push(b'{');
            for (index, member) in view.members(value).enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                let (name, escaped) = view.key(member);
                *has_escapes |= escaped;
                out.extend_from_slice(name);
                out.push(b'=');
                write_plain(view, member.value, out, has_escapes);
            }
            out.push(b'}');
        }
        Kind::Null | Kind::False | Kind::True | Kind::Number => view.write(value, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, arguments: &[&str]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        let mut rest = arguments.iter();
        fill(template.as_bytes(), &mut out, |out| {
            out.extend_from_slice(rest.next()?.as_bytes());
            Some(())
        })?;
        Ok(String::from_utf8(out).expect("templates are UTF-8"))
    }

    #[test]
    fn placeholders_are_filled_in_order_and_escapes_resolved() {
        assert_eq!(filled("a {} b {}é", &["1", "2"]).as_deref(), Ok("a 1 b 2é"));
        assert_eq!(filled(r"\\{{}\\} \\\\ \n {x} {", &["1"]).as_deref(), Ok(r"{1} \\ \n {x} {"));
        assert_eq!(filled("", &[]).as_deref(), Ok(""));
        assert_eq!(filled("{}{}", &["1"]), Err(Malformed::Placeholders));
        assert_eq!(filled(r"a\\b", &[]), Err(Malformed::OpenEscape));
        assert_eq!(filled(r"a\\", &[]), Err(Malformed::OpenEscape));
    }
}
