//! Paths and reference paths: AWS's dialect of JSONPath (spec/asl.md 2.3), read as the Java library behind the service reads it.
//!
//! Accepted: `$`, `$$` or `$name`, then `.name`, `['name']`, `[n]`, and, where not a Reference Path is asked for, wildcards, `..`, slices, unions and filters. Unquoted names run to the next `.`, `[` or blank, so hyphens, letters of any script, tabs and `${…}` are part of them; between tokens only blanks may stand, and only inside brackets. Refused with a reason: functions, scripts, regular expressions, word operators, cross-references.

use crate::document::quote_into;
use crate::hir::limits::PATH_SEGMENTS_MAX;
use crate::hir::{Literal, Path, Root, Segment};

/// A parsed path with what should be said about it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) path: Path,
    /// A word that a filter compares with and that is not in quotes.
    pub(super) unquoted: Option<String>,
}

/// Reads a path; the error is the reason why it is none.
pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut cursor = Cursor::new(text.trim_end_matches(' '));
    let root = cursor.root()?;
    let segments = cursor.segments()?;
    let path = Path { root, segments, text: text.to_owned() };
    Ok(Parsed { path, unquoted: cursor.unquoted })
}

/// Why `path` is not a Reference Path; `None` if it is one.
pub(super) fn not_a_reference(path: &Path) -> Option<&'static str> {
    path.segments.iter().find_map(|segment| match segment {
        Segment::Name(_) | Segment::Index(_) => None,
        Segment::Wildcard => Some("'*' may select several values"),
        Segment::Descend => Some("'..' may select several values"),
        Segment::Slice { .. } => Some("a slice may select several values"),
        Segment::Indices(_) | Segment::Names(_) => Some("',' may select several values"),
        Segment::Filter(_) => Some("a filter may select several values"),
    })
}

/// The characters of a path or filter that have not been read.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    rest: &'t str,
    /// Levels of conditions that are open.
    pub(super) depth: usize,
    /// Conditions read so far.
    pub(super) conditions: usize,
    pub(super) unquoted: Option<String>,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text, depth: 0, conditions: 0, unquoted: None }
    }

    pub(super) fn rest(&self) -> &'t str {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Only blanks: other white space is part of names.
    pub(super) fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    pub(super) fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), String> {
        self.skip_blanks();
        if self.take(token) { Ok(()) } else { Err(format!("expected '{token}' {}", self.here())) }
    }

    /// The characters up to the first that `stops`.
    pub(super) fn take_until(&mut self, stops: impl Fn(char) -> bool) -> &'t str {
        let length = self.rest.find(stops).unwrap_or(self.rest.len());
        self.take_bytes(length)
    }

    /// The next `length` bytes, which end at a character's end.
    pub(super) fn take_bytes(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// The place reached, for reasons.
    pub(super) fn here(&self) -> String {
        if self.rest.is_empty() { "at the end".to_owned() } else { format!("before '{}'", self.rest.chars().take(20).collect::<String>()) }
    }

    fn root(&mut self) -> Result<Root, String> {
        let starts = [("$$", Root::Context), ("$", Root::Data)];
        let Some((_, root)) = starts.into_iter().find(|(start, _)| self.take(start)) else { return Err("a path starts with '$'".to_owned()) };
        let name = self.take_until(|character| matches!(character, '.' | '['));
        match (root, name) {
            (root, "") => Ok(root),
            (Root::Data, name) => match super::variable::not_a_name(name) {
                None => Ok(Root::Variable(name.to_owned())),
                Some(reason) => Err(format!("expected '.', '[' or the name of a variable behind '$', found '{name}': {reason}")),
            },
            (_, name) => Err(format!("expected '.' or '[' behind '$$', found '{name}'")),
        }
    }

    /// All that follows a root.
    pub(super) fn segments(&mut self) -> Result<Vec<Segment>, String> {
        let mut segments = Vec::new();
        while !self.is_at_end() {
            if self.take("..") {
                segments.push(Segment::Descend);
                segments.push(self.step()?);
            } else if self.take(".") {
                segments.push(self.step()?);
            } else if self.peek() == Some('[') {
                segments.push(self.bracket()?);
            } else {
                return Err(format!("expected '.' or '[' {}", self.here()));
            }
            if segments.len() > PATH_SEGMENTS_MAX {
                return Err(format!("a path has at most {PATH_SEGMENTS_MAX} steps"));
            }
        }
        Ok(segments)
    }

    /// What follows a dot.
    fn step(&mut self) -> Result<Segment, String> {
        if self.peek() == Some('[') {
            return self.bracket();
        }
        if self.take("*") {
            return Ok(Segment::Wildcard);
        }
        let name = self.take_until(|character| matches!(character, '.' | '[' | '(' | ' '));
        match self.peek() {
            Some('(') => Err(format!("functions such as '{name}()' are not supported in paths")),
            _ if name.is_empty() => Err(format!("expected a name, '*' or '[' {}", self.here())),
            Some(' ') => Err(format!("a name with blanks must be quoted: ['{name}…']")),
            _ => Ok(Segment::Name(name.to_owned())),
        }
    }

    fn bracket(&mut self) -> Result<Segment, String> {
        self.expect("[")?;
        self.skip_blanks();
        match self.peek() {
            Some('*') => {
                self.take("*");
                self.expect("]")?;
                Ok(Segment::Wildcard)
            }
            Some('?') => {
                self.take("?");
                let filter = self.filter()?;
                self.expect("]")?;
                Ok(Segment::Filter(filter))
            }
            Some('\'' | '"') => self.names(),
            Some('-' | ':' | '0'..='9') => self.numbers(),
            Some('(') => Err("script expressions '[(…)]' are not supported".to_owned()),
            _ => Err(format!("expected a quoted name, an index, '*' or '?(' {}", self.here())),
        }
    }

    /// Names in quotes of one kind. Behind a comma anything but a comma or bracket is passed over, as the library does.
    fn names(&mut self) -> Result<Segment, String> {
        let quote = self.peek().unwrap_or('\'');
        let mut names = vec![self.quoted()?];
        loop {
            self.skip_blanks();
            if names.len() > PATH_SEGMENTS_MAX {
                return Err(format!("at most {PATH_SEGMENTS_MAX} names go together"));
            }
            if self.take("]") {
                return Ok(if names.len() == 1 { Segment::Name(names.swap_remove(0)) } else { Segment::Names(names) });
            }
            self.expect(",")?;
            self.take_until(|character| character == quote || matches!(character, ',' | ']'));
            names.push(self.quoted()?);
        }
    }

    /// An index, several, or a slice.
    fn numbers(&mut self) -> Result<Segment, String> {
        let Some((text, _)) = self.rest.split_once(']') else { return Err(format!("expected ']' {}", self.here())) };
        self.take_bytes(text.len() + 1);
        let text = text.trim_end_matches(' ');
        if text.contains(':') {
            return slice(text);
        }
        let indices: Vec<i64> = text.split(',').map(|index| integer(index.trim_matches(' '))).collect::<Result<_, _>>()?;
        if indices.len() > PATH_SEGMENTS_MAX {
            return Err(format!("at most {PATH_SEGMENTS_MAX} indices go together"));
        }
        Ok(if let [index] = indices[..] { Segment::Index(index) } else { Segment::Indices(indices) })
    }

    /// A name or text in single or double quotes, escapes resolved.
    pub(super) fn quoted(&mut self) -> Result<String, String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else { return Err(format!("expected a quoted name {}", self.here())) };
        let mut escaped = false;
        let closing = self.rest.char_indices().skip(1).find(|&(_, character)| {
            let closes = character == quote && !escaped;
            escaped = character == '\\' && !escaped;
            closes
        });
        let Some((at, _)) = closing else { return Err(format!("a quote is not closed {}", self.here())) };
        let text = self.take_bytes(at + quote.len_utf8());
        unescape(text.get(1..at).unwrap_or_default())
    }
}

/// A step of a slice is read and passed over, as the library does.
fn slice(text: &str) -> Result<Segment, String> {
    if let Some(other) = text.chars().find(|character| !matches!(character, '0'..='9' | '-' | ':')) {
        return Err(format!("a slice holds numbers and ':' only, found '{other}'"));
    }
    let bound = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(integer).transpose();
    let mut bounds = text.split(':');
    let (start, end) = (bound(bounds.next())?, bound(bounds.next())?);
    if start.is_none() && end.is_none() {
        return Err("a slice needs a start or an end".to_owned());
    }
    Ok(Segment::Slice { start, end })
}

/// An index has 32 bits, as in Java.
fn integer(text: &str) -> Result<i64, String> {
    text.parse::<i32>().ok().filter(|_| !text.starts_with('+')).map(i64::from).ok_or_else(|| format!("'{text}' is not an index"))
}

/// Escapes resolved: those of JSON, and any other character for itself.
fn unescape(text: &str) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    let push = |units: &mut Vec<u16>, character: char| units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
    while let Some(character) = characters.next() {
        if character != '\\' {
            push(&mut units, character);
            continue;
        }
        match characters.next() {
            Some('b') => push(&mut units, '\u{8}'),
            Some('f') => push(&mut units, '\u{c}'),
            Some('n') => push(&mut units, '\n'),
            Some('r') => push(&mut units, '\r'),
            Some('t') => push(&mut units, '\t'),
            Some('u') => {
                let code: String = characters.by_ref().take(4).collect();
                let unit = (code.len() == 4).then(|| u16::from_str_radix(&code, 16).ok()).flatten();
                units.push(unit.ok_or_else(|| format!("'\\u{code}' is not a character"))?);
            }
            Some(other) => push(&mut units, other),
            None => return Err("the path ends inside an escape".to_owned()),
        }
    }
    String::from_utf16(&units).map_err(|_| format!("'{text}' holds half a surrogate pair"))
}

/// A text as a literal of the definition.
pub(super) fn text_literal(text: &str) -> Literal {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quote_into(text, &mut quoted);
    Literal(String::from_utf8(quoted).expect("quoting a string yields UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hir::{Filter, FilterOperand, FilterOperator};

    fn segments(text: &str) -> Vec<Segment> {
        parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}")).path.segments
    }

    fn name(text: &str) -> Segment {
        Segment::Name(text.to_owned())
    }

    #[test]
    fn roots_are_data_context_and_variables() {
        assert_eq!(parse("$").expect("a path").path.root, Root::Data);
        assert_eq!(parse("$$.Map.Item.Index").expect("a path").path.root, Root::Context);
        assert_eq!(parse("$count[0]").expect("a path").path.root, Root::Variable("count".to_owned()));
    }

    #[test]
    fn names_may_hold_hyphens_other_scripts_and_escapes() {
        assert_eq!(segments("$.x-y.été.${Name}"), [name("x-y"), name("été"), name("${Name}")]);
        assert_eq!(segments(r"$['a\'b'][ 'c\\d' ]['e.f']"), [name("a'b"), name("c\\d"), name("e.f")]);
        assert_eq!(segments("$.a.[0]['x']"), [name("a"), Segment::Index(0), name("x")]);
    }

    #[test]
    fn indefinite_steps_parse() {
        assert_eq!(segments("$..age"), [Segment::Descend, name("age")]);
        assert_eq!(segments("$.a[*].*"), [name("a"), Segment::Wildcard, Segment::Wildcard]);
        assert_eq!(segments("$[1:]"), [Segment::Slice { start: Some(1), end: None }]);
        assert_eq!(segments("$[:-2]"), [Segment::Slice { start: None, end: Some(-2) }]);
        assert_eq!(segments("$[0, 2]"), [Segment::Indices(vec![0, 2])]);
        assert_eq!(segments("$['a','b']"), [Segment::Names(vec!["a".to_owned(), "b".to_owned()])]);
    }

    #[test]
    fn filters_bind_and_before_or() {
        let exists = |text: &str| Filter::Exists(vec![name(text)]);
        let parsed = segments("$.[?(@.a || @.b && !@.c)]");
        assert_eq!(parsed, [Segment::Filter(Filter::Or(vec![exists("a"), Filter::And(vec![exists("b"), Filter::Not(Box::new(exists("c")))])]))]);
    }

    #[test]
    fn filters_compare_items_with_literals() {
        let parsed = segments("$.books[?(@.year < 1999)].name");
        let filter = Filter::Compare(FilterOperand::Item(vec![name("year")]), FilterOperator::Less, FilterOperand::Literal(Literal("1999".to_owned())));
        assert_eq!(parsed, [name("books"), Segment::Filter(filter), name("name")]);
        for text in [
            "$[?(@.kind == 'cat' && @.age<5)]",
            "$[?(@ == null)]",
            "$[?('a' != @['b'])]",
            "$[?(@.t == \"x\\\"y\")]",
            "$[?(@[0].a >= -1.5e3)]",
            "$[?(@.a == true)]",
        ] {
            segments(text);
        }
    }

    #[test]
    fn a_bare_word_in_a_filter_is_a_text_with_a_remark() {
        let parsed = parse("$[?(@.lang==es)].text").expect("a path");
        assert_eq!(parsed.unquoted.as_deref(), Some("es"));
    }

    #[test]
    fn what_is_refused_says_why() {
        let reason = |text: &str| parse(text).expect_err(text);
        assert!(reason("$.a.length()").contains("functions"));
        assert!(reason("$.a[?(@.b =~ /x/i)]").contains("regular expressions"));
        assert!(reason("$.a[?(@.b in [1,2])]").contains("word operator 'in'"));
        assert!(reason("$.a[?(@.b == $.c)]").contains("cross-references"));
        assert!(reason("a.b").contains("starts with '$'"));
        assert!(reason("$.a b").contains("quoted"));
        for broken in [
            "$.",
            "$..",
            "$.a.",
            "$[",
            "$[]",
            "$['a",
            "$['a'",
            "$[a]",
            "$[1",
            "$[1,]",
            "$[--1]",
            "$[?(@.a]",
            "$[?()]",
            "$.a[?(@.b==)]",
            "",
            "$-x",
            "$[:]",
            "$[1:2 ]:",
            "$[1 :2]",
            "$[4294967296]",
            " $",
            "$ .a",
        ] {
            reason(broken);
        }
    }

    #[test]
    fn deep_filters_are_refused_rather_than_recursed_into() {
        let text = format!("$[?({}@.a{})]", "(".repeat(500), ")".repeat(500));
        assert!(parse(&text).expect_err("too deep").contains("nest"));
        let text = format!("$[?({}@.a{})]", "@[?(".repeat(500), ")]".repeat(500));
        assert!(parse(&text).expect_err("too deep").contains("nest"));
        let text = format!("$[?({}@.a)]", "!".repeat(500));
        assert!(parse(&text).expect_err("too deep").contains("nest"));
    }

    #[test]
    fn reference_paths_select_one_value() {
        let why = |text: &str| not_a_reference(&parse(text).expect("a path").path);
        assert_eq!(why("$.a['b'][0]"), None);
        assert!(why("$.a[*]").is_some() && why("$..a").is_some() && why("$[0:1]").is_some() && why("$[?(@.a)]").is_some());
    }
}
