//! Value → bytes. What has not changed leaves as it came in.
//!
//! An output is mostly one run of the record's bytes with a few short pieces behind it; a [`Pen`], handed from one to the next, copies them into room that was asked for once, since every value knows its length.
#![expect(unsafe_code, reason = "short pieces are copied into reserved room without a call: computed texts are made of them")]

use super::pen::{Pen, STRIDE, Text, append};
use super::{NO_TOKEN, Source, Tag, Value, View};
use crate::document::{Document, Token};

/// Longest piece that is copied without a call.
const SHORT_MAX: usize = 64;

impl View<'_> {
    /// Appends `value` to `out` as compact JSON.
    pub(crate) fn write(self, value: Value, out: &mut Vec<u8>) {
        if matches!(value.tag(), Tag::TokenArray | Tag::TokenObject) {
            // An output that is a part of a document, or all of it.
            return out.extend_from_slice(self.document(value.token_source()).raw(Token(value.a())));
        }
        // A value knows its length, so once is enough; were it wrong, the output would still be right.
        if !self.write_within(value, value.size() as usize, out) {
            self.write_again(value, out);
        }
    }

    /// Appends `value` if it takes at most `room` bytes, or happens to fit; else nothing.
    #[inline(always)]
    fn write_within(self, value: Value, room: usize, out: &mut Vec<u8>) -> bool {
        let writer = Writer::new(self);
        append(out, room, |pen| match value.tag() {
            Tag::Overlay => writer.put_overlay(pen, value),
            _ => writer.put_value(pen, value),
        })
    }

    #[cold]
    fn write_again(self, value: Value, out: &mut Vec<u8>) {
        let (writer, mut room) = (Writer::new(self), value.size() as usize);
        while !append(out, room, |pen| writer.put_value(pen, value)) {
            room = room * 2 + STRIDE;
        }
    }
}

#[inline]
fn text_of(document: &Document) -> Text<'_> {
    let (bytes, len) = document.padded();
    Text::padded(bytes, len)
}

/// Values on their way into a buffer: what they refer to.
struct Writer<'v> {
    view: View<'v>,
    /// The texts that most pieces are taken from.
    record: Text<'v>,
    keys: Text<'v>,
}

impl<'v> Writer<'v> {
    #[inline(always)]
    fn new(view: View<'v>) -> Self {
        let record = view.memory.documents.first().map_or_else(|| Text::padded(&[], 0), text_of);
        let (keys, keys_len) = view.symbols.padded();
        Self { view, record, keys: Text::padded(keys, keys_len) }
    }

    /// The text of most pieces with that source.
    #[inline(always)]
    fn text(&self, source: Source) -> Option<Text<'v>> {
        match source {
            Source::RECORD => Some(self.record),
            Source::COMPUTED => Some(Text::growing(&self.view.memory.text)),
            Source::CONSTANTS => Some(text_of(self.view.constants)),
            _ => None,
        }
    }

    fn put_value<'o>(&self, pen: Pen<'o>, value: Value) -> Pen<'o> {
        match value.tag() {
            Tag::String | Tag::Number => self.put_text(pen, value),
            Tag::Null | Tag::Key | Tag::Moved => pen.bytes(b"null"),
            Tag::False => pen.bytes(b"false"),
            Tag::True => pen.bytes(b"true"),
            Tag::Integer => pen.bytes(integer_text(value.as_integer(), &mut [0; 20])),
            Tag::TokenArray | Tag::TokenObject => put_token(pen, self.view.document(value.token_source()), Token(value.a())),
            Tag::Array => self.put_elements(pen, value),
            Tag::Object => self.put_object(pen, value),
            Tag::Overlay => self.put_inner_overlay(pen, value),
        }
    }

    #[inline(always)]
    fn put_text<'o>(&self, mut pen: Pen<'o>, value: Value) -> Pen<'o> {
        let is_put = self.text(value.source()).is_some_and(|text| pen.piece(&text, value.a() as usize, value.b() as usize));
        if is_put { pen } else { self.put_long(pen, value) }
    }

    /// Any text.
    #[inline(never)]
    fn put_long<'o>(&self, pen: Pen<'o>, value: Value) -> Pen<'o> {
        pen.bytes(self.view.text(value))
    }

    #[inline(never)]
    fn put_elements<'o>(&self, mut pen: Pen<'o>, array: Value) -> Pen<'o> {
        let elements = &self.view.memory.cells[array.a() as usize..(array.a() + array.b()) as usize];
        let mut lead = b'[';
        for &element in elements {
            pen = self.put_value(pen.byte(lead), element);
            lead = b',';
        }
        close(pen, lead, b'[', b']')
    }

    #[inline(always)]
    fn put_object<'o>(&self, pen: Pen<'o>, object: Value) -> Pen<'o> {
        let (pen, lead) = self.put_pairs::<false>(pen, self.view.memory.pairs(object.a(), object.b()), b'{');
        close(pen, lead, b'{', b'}')
    }

    /// Writes pairs, the first behind `lead`, the others behind commas; of an overlay those that replace nothing. Returns what would come before a further one.
    #[inline(always)]
    fn put_pairs<'o, const OVERLAY: bool>(&self, mut pen: Pen<'o>, pairs: &[[Value; 2]], mut lead: u8) -> (Pen<'o>, u8) {
        for pair in pairs {
            let [key, value] = *pair;
            if OVERLAY && key.a() != NO_TOKEN {
                continue;
            }
            if !(key.is_rendered() && self.put_short(&mut pen, lead, key, value)) {
                // The objects in an overlay are written without a further call.
                let is_object = OVERLAY && value.tag() == Tag::Object && key.is_rendered();
                let is_put = is_object && pen.piece_behind(lead, &self.keys, key.b() as usize, key.rendered_len() as usize);
                pen = if is_put { self.put_object(pen, value) } else { self.put_pair(pen, lead, pair) };
            }
            lead = b',';
        }
        (pen, lead)
    }

    /// The usual pair: a key that tells where it lies, and a short text behind it; false for any other, and nothing is written.
    #[inline(always)]
    fn put_short(&self, pen: &mut Pen<'_>, lead: u8, key: Value, value: Value) -> bool {
        if !matches!(value.tag(), Tag::String | Tag::Number) {
            return false;
        }
        let key = (&self.keys, key.b() as usize, key.rendered_len() as usize);
        self.text(value.source()).is_some_and(|text| pen.pair(lead, key, (&text, value.a() as usize, value.b() as usize)))
    }

    /// Any pair.
    #[inline(never)]
    fn put_pair<'o>(&self, mut pen: Pen<'o>, lead: u8, &[key, value]: &[Value; 2]) -> Pen<'o> {
        if !(key.is_rendered() && pen.piece_behind(lead, &self.keys, key.b() as usize, key.rendered_len() as usize)) {
            pen = self.put_key(pen, lead, key);
        }
        self.put_value(pen, value)
    }

    /// Any key, with its colon.
    #[inline(never)]
    fn put_key<'o>(&self, pen: Pen<'o>, lead: u8, key: Value) -> Pen<'o> {
        let pen = pen.byte(lead);
        if key.key_source() == Source::KEY {
            return pen.bytes(key.rendered(self.view.symbols));
        }
        pen.byte(b'"').bytes(self.view.key_text(key)).bytes(b"\":")
    }

    /// An overlay that is a part of the output.
    #[inline(never)]
    fn put_inner_overlay<'o>(&self, pen: Pen<'o>, overlay: Value) -> Pen<'o> {
        self.put_overlay(pen, overlay)
    }

    #[inline(always)]
    fn put_overlay<'o>(&self, mut pen: Pen<'o>, overlay: Value) -> Pen<'o> {
        let base = self.view.memory.cell(overlay.a());
        let pairs = self.view.memory.pairs(overlay.a() + 1, overlay.b());
        if base.tag() != Tag::TokenObject {
            return self.put_members(pen, overlay);
        }
        let document = self.view.document(base.token_source());
        let whole = document.span(Token(base.a()));
        let (mut at, end) = (whole.start, whole.end() - 1);
        if pairs.iter().any(|[key, _]| key.a() != NO_TOKEN) {
            (pen, at) = self.splice(pen, document, at, pairs);
        }
        // Of an object without members nothing is left but the brace that opens it.
        let (pen, lead) = if whole.len() > 2 { (pen.run(document.slice(at, end)), b',') } else { (pen, b'{') };
        let (pen, lead) = self.put_pairs::<true>(pen, pairs, lead);
        close(pen, lead, b'{', b'}')
    }

    /// Writes a compact object of a document from offset `at` to the end of the last replacement: runs of unchanged bytes are copied whole. Returns where the last run starts.
    #[inline(never)]
    fn splice<'o>(&self, mut pen: Pen<'o>, document: &Document, at: u32, pairs: &[[Value; 2]]) -> (Pen<'o>, u32) {
        let mut at = at;
        // Replacements are written in the order of their tokens; there are at most a few.
        let mut after = 0;
        while let Some((token, value)) = next_replacement(pairs, after) {
            let old = document.span(Token(token));
            pen = self.put_value(pen.bytes(document.slice(at, old.start)), value);
            at = old.end();
            after = token + 1;
        }
        (pen, at)
    }

    /// Writes an overlay over computed members.
    #[inline(never)]
    fn put_members<'o>(&self, mut pen: Pen<'o>, overlay: Value) -> Pen<'o> {
        let mut lead = b'{';
        for member in self.view.members(overlay) {
            pen = self.put_value(self.put_key(pen, lead, member.key), member.value);
            lead = b',';
        }
        close(pen, lead, b'{', b'}')
    }
}

/// The end of a container: what would come before a further element tells whether there was one.
#[inline(always)]
fn close(pen: Pen<'_>, lead: u8, open: u8, close: u8) -> Pen<'_> {
    let pen = if lead == open { pen.byte(open) } else { pen };
    pen.byte(close)
}

/// A value of a document, which has no insignificant whitespace: as it lies.
#[inline(never)]
fn put_token<'o>(mut pen: Pen<'o>, document: &Document, token: Token) -> Pen<'o> {
    let span = document.span(token);
    let is_put = pen.piece(&text_of(document), span.start as usize, span.len() as usize);
    if is_put { pen } else { pen.bytes(document.slice(span.start, span.end())) }
}

/// The replacement with the lowest token from `after` on.
#[inline]
fn next_replacement(pairs: &[[Value; 2]], after: u32) -> Option<(u32, Value)> {
    let mut found: Option<(u32, Value)> = None;
    for &[key, value] in pairs {
        let token = key.a();
        if token != NO_TOKEN && token >= after && found.is_none_or(|(best, _)| token < best) {
            found = Some((token, value));
        }
    }
    found
}

/// Appends bytes, as `extend_from_slice` does.
#[inline(always)]
pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT_MAX || out.capacity() - out.len() < bytes.len() {
        return put_long(out, bytes);
    }
    let len = out.len();
    let to = out.spare_capacity_mut().as_mut_ptr().cast();
    // SAFETY: the spare capacity has room for `bytes.len()` bytes, as just checked, and a vector that is borrowed mutably overlaps no other bytes.
    unsafe { copy_short(bytes, to) };
    // SAFETY: the capacity has been checked, and `copy_short` has written all bytes up to the new length.
    unsafe { out.set_len(len + bytes.len()) };
}

/// A long piece, or one for which the buffer must grow.
#[cold]
#[inline(never)]
fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Copies at most [`SHORT_MAX`] bytes: by size class, the first and the last part of it, which overlap.
///
/// # Safety
/// `to` is valid for writes of `bytes.len()` bytes and does not overlap `bytes`.
#[inline(always)]
unsafe fn copy_short(bytes: &[u8], to: *mut u8) {
    let (from, len) = (bytes.as_ptr(), bytes.len());
    debug_assert!(len <= SHORT_MAX, "longer pieces are copied by a call");
    if len >= 16 {
        if len > 32 {
            // SAFETY: the first and the last 32 bytes lie within `len`, up to which both sides are valid.
            return unsafe { copy_ends::<32>(from, to, len) };
        }
        // SAFETY: the first and the last 16 bytes lie within `len`.
        unsafe { copy_ends::<16>(from, to, len) };
    } else if len >= 8 {
        // SAFETY: the first and the last 8 bytes lie within `len`.
        unsafe { copy_ends::<8>(from, to, len) };
    } else if len >= 4 {
        // SAFETY: the first and the last 4 bytes lie within `len`.
        unsafe { copy_ends::<4>(from, to, len) };
    } else if len >= 2 {
        // SAFETY: the first and the last 2 bytes lie within `len`.
        unsafe { copy_ends::<2>(from, to, len) };
    } else if let Some(&byte) = bytes.first() {
        // SAFETY: there is one byte.
        unsafe { to.write(byte) };
    }
}

/// Copies the first and the last `N` of `len` bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `len` bytes, which is at least `N`; they do not overlap.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "both loads come before both stores")]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: both parts lie within `len`, as the caller promises, and arrays of bytes have no alignment.
    unsafe {
        let (first, last) = (from.cast::<[u8; N]>().read(), from.add(len - N).cast::<[u8; N]>().read());
        to.cast::<[u8; N]>().write(first);
        to.add(len - N).cast::<[u8; N]>().write(last);
    }
}

/// Appends an integer in decimal.
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    put(out, integer_text(value, &mut [0; 20]));
}

/// The numbers of two digits.
pub(super) const DIGIT_PAIRS: &[[u8; 2]; 100] = {
    let (pairs, _) = b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
        5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"
        .as_chunks::<2>();
    match pairs.first_chunk() {
        Some(pairs) => pairs,
        None => unreachable!(),
    }
};

/// An integer in decimal, in the last bytes of `digits`.
#[inline]
pub(crate) fn integer_text(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        let pair = DIGIT_PAIRS[(rest % 100) as usize];
        rest /= 100;
        at -= 2;
        digits[at] = pair[0];
        digits[at + 1] = pair[1];
    }
    // A pair whose first digit is 0 has only been written when there are digits before it.
    if rest > 0 || value == 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Kind, Symbols};
    use crate::value::{Memory, Name, Numbered};

    /// The slow twin: value by value, as the iterators give them.
    fn write_slowly(view: View<'_>, value: Value, out: &mut Vec<u8>) {
        match value.kind() {
            Kind::Array => {
                out.push(b'[');
                for (at, element) in view.elements(value).enumerate() {
                    out.extend((at > 0).then_some(b','));
                    write_slowly(view, element, out);
                }
                out.push(b']');
            }
            Kind::Object => {
                out.push(b'{');
                for (at, member) in view.members(value).enumerate() {
                    out.extend((at > 0).then_some(b','));
                    let (name, _) = view.key(member);
                    out.extend([b"\"", name, b"\":"].concat());
                    write_slowly(view, member.value, out);
                }
                out.push(b'}');
            }
            Kind::Null => out.extend(b"null"),
            Kind::False => out.extend(b"false"),
            Kind::True => out.extend(b"true"),
            _ if value.tag() == Tag::Integer => out.extend(value.as_integer().to_string().bytes()),
            _ => out.extend(view.text(value)),
        }
    }

    /// Objects of documents, members set in them and in what comes out, written into every room.
    #[test]
    fn whatever_is_written_is_what_the_slow_twin_writes() {
        let long = "x".repeat(70);
        let mut symbols = Symbols::default();
        let names: Vec<_> = ["a", "site", "new", &long, "é\n"].map(|name| symbols.intern(name).expect("there is room")).into();
        let mut constants = Document::new();
        constants.fill(br#"["constant", 1.50, {"k": [ ]}, ""]"#, &symbols).expect("it is JSON");
        let texts = [
            "{}".to_owned(),
            "{ }".to_owned(),
            r#"{"a":1,"site":{"id":"s-1","zone":"a"},"b":[true,false,null]}"#.to_owned(),
            "{ \"a\" : 1 ,\n\"site\": { \"id\":\"s \\\" 1\" , \"deep\": [ [ ] , { } , [1, 2 ] ] }, \"b\":\"  kept  \"\t}".to_owned(),
            format!(r#"{{"{long}":"{long}{long}","a":"{long}", "site":["{long}"]}}"#),
        ];
        for text in &texts {
            let mut memory = Memory::new(1 << 20);
            let record = memory.add_document(text.as_bytes(), &symbols).expect("there is room").expect("it is JSON");
            let reply = memory.add_document(br#"{"from": "a reply"}"#, &symbols).expect("there is room").expect("it is JSON");
            let view = View::new(&memory, &constants, &symbols);
            let mut values: Vec<Value> = constants.children(Token(0)).map(|token| view.constant(token)).collect();
            values.extend([record, reply, Value::integer(-70), Value::boolean(true), Value::NULL]);
            let mut numbered = Numbered::default();
            numbered.front.extend_from_slice(b"front-");
            values.push(memory.add_number(&mut numbered, 12).expect("there is room"));
            values.push(memory.add_string(long.as_bytes()).expect("there is room"));
            for round in 0..40 {
                let (object, name, value) = (values[values.len() - 1 - round % 3], names[round % names.len()], values[round * 7 % values.len()]);
                let object = if object.kind() == Kind::Object { object } else { record };
                let name = Name::new(name, &symbols);
                values.push(memory.with_member(object, &name, value, &constants, &symbols).expect("there is room"));
                values.push(memory.array_of(&values[values.len() - 2..]).expect("there is room"));
            }
            let view = View::new(&memory, &constants, &symbols);
            for &value in values.iter().filter(|value| value.size() < 4_000) {
                let (mut expected, mut out) = (Vec::new(), Vec::new());
                write_slowly(view, value, &mut expected);
                view.write(value, &mut out);
                assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
                assert_eq!(value.size() as usize, expected.len(), "{}", String::from_utf8_lossy(&expected));
                for room in [0, expected.len() / 2, expected.len() - 1, expected.len()] {
                    let mut out = b"in front".to_vec();
                    if view.write_within(value, room, &mut out) {
                        assert_eq!(String::from_utf8_lossy(&out[8..]), String::from_utf8_lossy(&expected));
                    } else {
                        assert!(room < expected.len() && out == b"in front");
                    }
                }
            }
        }
    }

    #[test]
    fn integers_are_written_as_the_standard_library_does() {
        let powers = (0..19).map(|power| 10_i64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1, power * 5, -power, 1 - power]);
        for value in near.chain([i64::MIN, i64::MAX, 0, -1]) {
            let mut out = b"in front".to_vec();
            write_integer(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("in front{value}"));
        }
    }

    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let source: Vec<u8> = (0..200).collect();
        for len in 0..source.len() {
            for room in [0, len, 200] {
                let mut out = Vec::with_capacity(room);
                put(&mut out, &source[..len]);
                put(&mut out, &source[..len]);
                assert_eq!(out, [&source[..len], &source[..len]].concat(), "{len}");
            }
        }
    }
}
