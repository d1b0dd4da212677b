//! Paths and reference paths: AWS's dialect of JSONPath (spec/asl.md 2.3).
//!
//! Accepted: `$`, `$$` or `$name`, then `.name`, `['name']`, `[n]`, and, where not a Reference Path is asked for, wildcards, `..`, slices, unions and filters. Unquoted names run to the next `.`, `[` or blank, so hyphens, letters of any script and `${…}` are part of them. Refused with a reason: functions, regular expressions, word operators, cross-references.

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
    let mut cursor = Cursor::new(text.trim());
    let root = cursor.root()?;
    let segments = cursor.segments(Context::Path)?;
    cursor.end()?;
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

/// Where segments stand: what ends an unquoted name differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Path,
    Filter,
}

/// The characters of a path or filter that have not been read.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    rest: &'t str,
    /// Levels of conditions that are open.
    pub(super) depth: usize,
    pub(super) unquoted: Option<String>,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text, depth: 0, unquoted: None }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
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
        if self.take(token) { Ok(()) } else { Err(format!("expected '{token}' {}", self.here())) }
    }

    /// The characters up to the first that `stops`.
    pub(super) fn take_until(&mut self, stops: impl Fn(char) -> bool) -> &'t str {
        let length = self.rest.find(stops).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// The place reached, for reasons.
    pub(super) fn here(&self) -> String {
        if self.rest.is_empty() { "at the end".to_owned() } else { format!("before '{}'", self.rest.chars().take(20).collect::<String>()) }
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("expected '.' or '[' {}", self.here())) }
    }

    fn root(&mut self) -> Result<Root, String> {
        if self.take("$$") {
            return Ok(Root::Context);
        }
        if !self.take("$") {
            return Err("a path starts with '$'".to_owned());
        }
        let name = self.take_until(|character| matches!(character, '.' | '[') || character.is_whitespace());
        if name.is_empty() {
            return Ok(Root::Data);
        }
        match super::variable::not_a_name(name) {
            None => Ok(Root::Variable(name.to_owned())),
            Some(reason) => Err(format!("expected '.', '[' or the name of a variable behind '$', found '{name}': {reason}")),
        }
    }

    pub(super) fn segments(&mut self, context: Context) -> Result<Vec<Segment>, String> {
        let mut segments = Vec::new();
        loop {
            if segments.len() > PATH_SEGMENTS_MAX {
                return Err(format!("a path has at most {PATH_SEGMENTS_MAX} steps"));
            }
            if self.take("..") {
                segments.push(Segment::Descend);
                self.step(context, &mut segments)?;
            } else if self.take(".") {
                self.step(context, &mut segments)?;
            } else if self.peek() == Some('[') {
                segments.push(self.bracket()?);
            } else {
                return Ok(segments);
            }
        }
    }

    /// What follows a dot.
    fn step(&mut self, context: Context, segments: &mut Vec<Segment>) -> Result<(), String> {
        if self.peek() == Some('[') {
            segments.push(self.bracket()?);
            return Ok(());
        }
        if self.take("*") {
            segments.push(Segment::Wildcard);
            return Ok(());
        }
        let name = self.take_until(|character| {
            let ends_filter = context == Context::Filter && matches!(character, '=' | '!' | '<' | '>' | '&' | '|' | ')' | ',');
            matches!(character, '.' | '[' | '(') || character.is_whitespace() || ends_filter
        });
        if self.peek() == Some('(') {
            return Err(format!("functions such as '{name}()' are not supported in paths"));
        }
        if name.is_empty() {
            return Err(format!("expected a name, '*' or '[' {}", self.here()));
        }
        if context == Context::Path && self.peek().is_some_and(char::is_whitespace) {
            return Err(format!("a name with blanks must be quoted: ['{name}…']"));
        }
        segments.push(Segment::Name(name.to_owned()));
        Ok(())
    }

    fn bracket(&mut self) -> Result<Segment, String> {
        self.expect("[")?;
        self.skip_blanks();
        let segment = match self.peek() {
            Some('*') => {
                self.take("*");
                Segment::Wildcard
            }
            Some('?') => {
                self.take("?");
                self.skip_blanks();
                Segment::Filter(self.filter()?)
            }
            Some('\'' | '"') => self.names()?,
            Some('-' | ':' | '0'..='9') => self.indices()?,
            Some('(') => return Err("script expressions '[(…)]' are not supported".to_owned()),
            _ => return Err(format!("expected a quoted name, an index, '*' or '?(' {}", self.here())),
        };
        self.skip_blanks();
        self.expect("]")?;
        Ok(segment)
    }

    fn names(&mut self) -> Result<Segment, String> {
        let mut names = vec![self.quoted()?];
        self.skip_blanks();
        while self.take(",") {
            self.skip_blanks();
            names.push(self.quoted()?);
            self.skip_blanks();
        }
        Ok(if names.len() == 1 { Segment::Name(names.swap_remove(0)) } else { Segment::Names(names) })
    }

    fn indices(&mut self) -> Result<Segment, String> {
        let first = self.integer()?;
        self.skip_blanks();
        if self.peek() == Some(':') {
            return self.slice(first);
        }
        let Some(first) = first else { return Err(format!("expected an index {}", self.here())) };
        let mut indices = vec![first];
        while self.take(",") {
            self.skip_blanks();
            indices.push(self.integer()?.ok_or_else(|| format!("expected an index {}", self.here()))?);
            self.skip_blanks();
        }
        Ok(if indices.len() == 1 { Segment::Index(first) } else { Segment::Indices(indices) })
    }

    fn slice(&mut self, start: Option<i64>) -> Result<Segment, String> {
        self.expect(":")?;
        self.skip_blanks();
        let end = self.integer()?;
        self.skip_blanks();
        let step = if self.take(":") {
            self.skip_blanks();
            self.integer()?.unwrap_or(1)
        } else {
            1
        };
        if step < 1 {
            return Err("the step of a slice must be positive".to_owned());
        }
        Ok(Segment::Slice { start, end, step })
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        let minus = if self.take("-") { "-" } else { "" };
        let digits = self.take_until(|character| !character.is_ascii_digit());
        if digits.is_empty() && minus.is_empty() {
            return Ok(None);
        }
        format!("{minus}{digits}").parse().map(Some).map_err(|_| format!("'{minus}{digits}' is not an index"))
    }

    /// A name or text in single or double quotes, escapes resolved.
    pub(super) fn quoted(&mut self) -> Result<String, String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else { return Err(format!("expected a quoted name {}", self.here())) };
        let mut characters = self.rest.char_indices().skip(1);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = self.rest.split_at(at + quote.len_utf8()).1;
                return Ok(text);
            }
            text.push(if character == '\\' { unescape(&mut characters)? } else { character });
        }
        Err(format!("a quote is not closed {}", self.here()))
    }
}

/// The character an escape stands for, the backslash being read.
fn unescape(characters: &mut impl Iterator<Item = (usize, char)>) -> Result<char, String> {
    let Some((_, escaped)) = characters.next() else { return Err("the path ends inside an escape".to_owned()) };
    Ok(match escaped {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let code: String = characters.take(4).map(|(_, digit)| digit).collect();
            u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).ok_or_else(|| format!("'\\u{code}' is not a character"))?
        }
        other => other,
    })
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
        assert_eq!(segments("$[1:]"), [Segment::Slice { start: Some(1), end: None, step: 1 }]);
        assert_eq!(segments("$[:-2]"), [Segment::Slice { start: None, end: Some(-2), step: 1 }]);
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
        for broken in
            ["$.", "$..", "$.a.", "$[", "$[]", "$['a", "$['a'", "$[a]", "$[1", "$[1,]", "$[--1]", "$[?(@.a]", "$[?()]", "$.a[?(@.b==)]", "", "$-x", "$[1:2:0]"]
        {
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
