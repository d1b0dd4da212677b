//! Intrinsic functions (spec/asl.md 9): a call read and evaluated in one walk over its text.

use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::data::Visit;
use super::world::Failure;
use super::{OPEN, scalar};

/// Longest text of Base64Encode and Base64Decode, in characters.
const TEXT_CHARACTERS_MAX: usize = 10_000;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a call has no result.
enum Stop {
    /// The function refuses its arguments.
    Refused,
    /// An argument's path selects nothing, or the function is none of ours.
    Failed(Failure),
}

/// The value of the call `text`, which stands in `field`.
///
/// # Errors
/// States.IntrinsicFailure, or States.Runtime for a path that selects nothing.
pub fn evaluate(visit: &Visit<'_>, field: &str, text: &str, data: &Value) -> Result<Value, Failure> {
    let mut call = Call { visit, field, data, characters: text.chars().collect(), at: 0 };
    call.call().map_err(|stop| match stop {
        Stop::Refused => visit.failure("States.IntrinsicFailure", OPEN),
        Stop::Failed(failure) => failure,
    })
}

struct Call<'c, 'w> {
    visit: &'c Visit<'w>,
    field: &'c str,
    data: &'c Value,
    characters: Vec<char>,
    at: usize,
}

impl Call<'_, '_> {
    fn peek(&self) -> char {
        self.characters.get(self.at).copied().unwrap_or('\0')
    }

    fn blanks(&mut self) {
        while self.peek().is_whitespace() {
            self.at += 1;
        }
    }

    fn until(&mut self, stops: &str) -> String {
        let start = self.at;
        while self.at < self.characters.len() && !stops.contains(self.peek()) {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect()
    }

    fn call(&mut self) -> Result<Value, Stop> {
        let name = self.until("(");
        self.at += 1;
        let mut arguments = Vec::new();
        let mut template = String::new();
        self.blanks();
        while self.peek() != ')' {
            if self.peek() == '\'' {
                let (raw, plain) = self.text();
                if arguments.is_empty() {
                    template = raw;
                }
                arguments.push(Value::String(plain));
            } else {
                let argument = self.argument()?;
                if let (true, Some(text)) = (arguments.is_empty(), argument.as_str()) {
                    text.clone_into(&mut template);
                }
                arguments.push(argument);
            }
            self.blanks();
            if self.peek() == ',' {
                self.at += 1;
                self.blanks();
            }
        }
        self.at += 1;
        let name = name.strip_prefix("States.").expect("a call starts with States.");
        if name == "Format" {
            if !arguments[0].is_string() {
                return Err(Stop::Refused);
            }
            return format(&template, &arguments[1..]).map(Value::String).ok_or(Stop::Refused);
        }
        // Nobody can say what these give.
        if matches!(name, "UUID" | "MathRandom") {
            return Err(Stop::Failed(self.visit.world.unsupported(name)));
        }
        apply(name, &arguments).ok_or(Stop::Refused)
    }

    /// A text in single quotes, with its escapes and without.
    fn text(&mut self) -> (String, String) {
        let (mut raw, mut plain) = (String::new(), String::new());
        self.at += 1;
        while self.peek() != '\'' {
            if self.peek() == '\\' {
                self.at += 1;
                if self.peek() != '\'' {
                    raw.push('\\');
                }
            }
            raw.push(self.peek());
            plain.push(self.peek());
            self.at += 1;
        }
        self.at += 1;
        (raw, plain)
    }

    fn argument(&mut self) -> Result<Value, Stop> {
        match self.peek() {
            'S' => self.call(),
            '$' => {
                let text = self.path();
                let found = self.visit.look(&text, self.data);
                found.ok_or_else(|| Stop::Failed(self.visit.missing(self.field, &text, self.data)))
            }
            _ => {
                let word = self.until(",) ");
                Ok(serde_json::from_str(&word).expect("a literal of JSON"))
            }
        }
    }

    /// A path goes up to a comma or parenthesis outside of its brackets.
    fn path(&mut self) -> String {
        let start = self.at;
        let mut open = 0;
        let mut quote = None;
        while self.at < self.characters.len() {
            match (quote, self.peek()) {
                (Some(mark), found) if mark == found => quote = None,
                (Some(_), '\\') => self.at += 1,
                (Some(_), _) => {}
                (None, mark @ ('\'' | '"')) => quote = Some(mark),
                (None, '[' | '(') => open += 1,
                (None, ']' | ')') if open > 0 => open -= 1,
                (None, ',' | ')') if open == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect::<String>().trim_end().to_owned()
    }
}

/// Fills a template's `{}` in; its braces and backslashes may be escaped.
fn format(template: &str, arguments: &[Value]) -> Option<String> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut characters = template.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|next| matches!(next, '{' | '}' | '\\'))?),
            '{' if characters.peek() == Some(&'}') => {
                characters.next();
                text += &plain(arguments.next()?);
            }
            other => text.push(other),
        }
    }
    arguments.next().is_none().then_some(text)
}

/// A value as Java prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// A function that sees its arguments only; `None` where it refuses them.
fn apply(name: &str, arguments: &[Value]) -> Option<Value> {
    let array = |at: usize| arguments[at].as_array();
    let text = |at: usize| arguments[at].as_str();
    let number = |at: usize| scalar::rounded(&arguments[at]);
    match name {
        "Array" => Some(Value::Array(arguments.to_vec())),
        "ArrayContains" => Some(json!(array(0)?.iter().any(|element| scalar::equal(element, &arguments[1])))),
        "ArrayGetItem" => array(0)?.get(usize::try_from(number(1)?).ok()?).cloned(),
        "ArrayLength" => Some(json!(array(0)?.len())),
        "ArrayPartition" => {
            let size = usize::try_from(number(1)?).ok().filter(|&size| size > 0)?;
            Some(array(0)?.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect())
        }
        "ArrayRange" => range(number(0)?, number(1)?, number(2)?),
        "ArrayUnique" => {
            let mut unique: Vec<Value> = Vec::new();
            for element in array(0)? {
                if !unique.iter().any(|known| scalar::equal(known, element)) {
                    unique.push(element.clone());
                }
            }
            Some(Value::Array(unique))
        }
        "Base64Encode" => text(0).filter(|text| text.chars().count() <= TEXT_CHARACTERS_MAX).map(|text| json!(encode(text.as_bytes()))),
        "Base64Decode" => {
            let bytes = text(0).filter(|text| text.chars().count() <= TEXT_CHARACTERS_MAX).and_then(decode)?;
            Some(json!(String::from_utf8_lossy(&bytes)))
        }
        "Hash" => hash(text(0)?, text(1)?).map(Value::String),
        "JsonMerge" => {
            let (mut merged, added) = (arguments[0].as_object()?.clone(), arguments[1].as_object()?);
            if arguments[2] != Value::Bool(false) {
                return None;
            }
            merged.extend(added.clone());
            Some(Value::Object(merged))
        }
        "JsonToString" => Some(json!(arguments[0].to_string())),
        "MathAdd" => {
            let (a, b) = (i32::try_from(number(0)?).ok()?, i32::try_from(number(1)?).ok()?);
            a.checked_add(b).map(|sum| json!(sum))
        }
        "StringSplit" => {
            let delimiters = text(1)?;
            Some(text(0)?.split(|character| delimiters.contains(character)).filter(|part| !part.is_empty()).map(|part| json!(part)).collect())
        }
        "StringToJson" => match text(0)?.trim() {
            "" => Some(Value::Null),
            "-0" => Some(json!(0)),
            text => serde_json::from_str(text).ok(),
        },
        other => panic!("there is no function {other}"),
    }
}

fn range(first: i64, last: i64, step: i64) -> Option<Value> {
    if step == 0 {
        return None;
    }
    let mut items = Vec::new();
    let mut item = first;
    while if step > 0 { item <= last } else { item >= last } {
        items.push(json!(item));
        if items.len() > 1_000 {
            return None;
        }
        item = item.checked_add(step)?;
    }
    Some(Value::Array(items))
}

/// The lower-case hexadecimal digest of a text.
fn hash(text: &str, algorithm: &str) -> Option<String> {
    if text.chars().count() > TEXT_CHARACTERS_MAX {
        return None;
    }
    let bytes = text.as_bytes();
    let digest = match algorithm {
        "MD5" => Md5::digest(bytes).to_vec(),
        "SHA-1" => Sha1::digest(bytes).to_vec(),
        "SHA-256" => Sha256::digest(bytes).to_vec(),
        "SHA-384" => Sha384::digest(bytes).to_vec(),
        "SHA-512" => Sha512::digest(bytes).to_vec(),
        _ => return None,
    };
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[bits >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// As Java's decoder does: padding may be left off, and must be right where it is there.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if digits.len() % 4 == 1 || padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::new();
    for chunk in digits.as_bytes().chunks(4) {
        let mut bits = 0_usize;
        for place in 0..4 {
            let digit = chunk.get(place).map_or(Some(0), |byte| ALPHABET.iter().position(|known| known == byte))?;
            bits = bits << 6 | digit;
        }
        let all = [bits >> 16, bits >> 8, bits].map(|byte| byte.to_le_bytes()[0]);
        bytes.extend_from_slice(&all[..chunk.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        for (text, coded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("é+/", "w6krLw==")] {
            assert_eq!(encode(text.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(decode("YQ"), Some(b"a".to_vec()));
        assert_eq!(decode("YQ="), None);
        assert_eq!(decode("%%%%"), None);
    }

    #[test]
    fn numbers_are_rounded_before_they_are_added() {
        for (a, b, sum) in [(1.5, 1.51, 4), (-1.5, -1.51, -3), (0.5, 0.0, 1), (-0.5, 0.0, 0), (-2.5, 0.0, -2)] {
            assert_eq!(apply("MathAdd", &[json!(a), json!(b)]), Some(json!(sum)));
        }
    }
}
