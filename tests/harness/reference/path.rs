//! Paths: parsed and followed (spec/asl.md 2.3).

use serde_json::Value;

use super::scalar;

/// One step of a path.
#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(i64),
    Names(Vec<String>),
    Indices(Vec<i64>),
    /// From and to. The library reads a third number and passes over it.
    Slice(Option<i64>, Option<i64>),
    Wildcard,
    Descend,
    Filter(Filter),
}

#[derive(Debug, Clone)]
enum Filter {
    Or(Box<Filter>, Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Exists(Vec<Step>),
    Compare(Side, String, Side),
}

#[derive(Debug, Clone)]
enum Side {
    Item(Vec<Step>),
    Literal(Value),
}

/// What a path starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// `$`
    Data,
    /// `$$`
    Context,
    /// `$name`
    Variable(String),
}

/// A path.
#[derive(Debug, Clone)]
pub struct Path {
    /// What it starts from.
    pub root: Root,
    steps: Vec<Step>,
}

/// What a path selects.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The value of a definite path, or the array of an indefinite one.
    Value(Value),
    /// Nothing; how Jayway says so.
    Nothing(String),
}

/// Reads a path that the front end has accepted.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn parse(text: &str) -> Path {
    let mut cursor = Cursor { characters: text.trim().chars().collect(), at: 0 };
    assert!(cursor.take('$'), "not a path: {text}");
    let root = if cursor.take('$') {
        Root::Context
    } else {
        let name = cursor.name(".[");
        if name.is_empty() { Root::Data } else { Root::Variable(name) }
    };
    let steps = cursor.steps(".[( ");
    assert!(cursor.at == cursor.characters.len(), "not a path: {text}");
    Path { root, steps }
}

impl Path {
    /// Whether it selects at most one value.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        is_definite(&self.steps)
    }

    /// What it selects from `root`.
    #[must_use]
    pub fn find(&self, root: &Value) -> Found {
        if !self.is_definite() {
            let mut found = Vec::new();
            collect(root, &self.steps, &mut found);
            return Found::Value(Value::Array(found));
        }
        let mut value = root;
        let mut place = "$".to_owned();
        for (number, step) in self.steps.iter().enumerate() {
            if let Step::Names(names) = step {
                return members(value, names).map_or_else(|| Found::Nothing(super::OPEN.to_owned()), Found::Value);
            }
            let next = match step {
                Step::Name(name) => {
                    place += &format!("['{name}']");
                    value.get(name.as_str())
                }
                Step::Index(index) => {
                    place += &format!("[{index}]");
                    at(value, *index)
                }
                _ => None,
            };
            match next {
                Some(next) => value = next,
                None if number + 1 == self.steps.len() => return Found::Nothing(format!("No results for path: {place}")),
                None => return Found::Nothing(format!("Missing property in path {place}")),
            }
        }
        Found::Value(value.clone())
    }

    /// `base` with `value` at the place of this Reference Path; `None` where `base` has no such place (spec/asl.md 2.1).
    #[must_use]
    pub fn put(&self, base: &Value, value: Value) -> Option<Value> {
        put(base, &self.steps, value)
    }
}

fn put(base: &Value, steps: &[Step], value: Value) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let mut base = base.clone();
    match (step, &mut base) {
        (Step::Name(name), Value::Object(members)) => {
            let inner = members.get(name).cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            members.insert(name.clone(), put(&inner, rest, value)?);
        }
        (Step::Index(index), Value::Array(elements)) => {
            let element = elements.get_mut(usize::try_from(*index).ok()?)?;
            *element = put(&element.clone(), rest, value)?;
        }
        _ => return None,
    }
    Some(base)
}

/// Several names at the end make one object, so they leave a path definite.
fn is_definite(steps: &[Step]) -> bool {
    let steps = if let Some((Step::Names(_), before)) = steps.split_last() { before } else { steps };
    steps.iter().all(|step| matches!(step, Step::Name(_) | Step::Index(_)))
}

/// The members of these names that `value` has, in the order of the names.
fn members(value: &Value, names: &[String]) -> Option<Value> {
    let members = value.as_object()?;
    Some(Value::Object(names.iter().filter_map(|name| Some((name.clone(), members.get(name)?.clone()))).collect()))
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let elements = value.as_array()?;
    let index = if index < 0 { index + i64::try_from(elements.len()).ok()? } else { index };
    elements.get(usize::try_from(index).ok()?)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

fn collect(value: &Value, steps: &[Step], found: &mut Vec<Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value.clone());
        return;
    };
    if let (Step::Names(names), []) = (step, rest) {
        found.extend(members(value, names));
        return;
    }
    let chosen: Vec<&Value> = match step {
        Step::Name(name) => value.get(name.as_str()).into_iter().collect(),
        Step::Index(index) => at(value, *index).into_iter().collect(),
        Step::Names(names) => names.iter().filter_map(|name| value.get(name.as_str())).collect(),
        Step::Indices(indices) => indices.iter().filter_map(|&index| at(value, index)).collect(),
        Step::Slice(from, to) => slice(value, *from, *to),
        Step::Wildcard => children(value),
        Step::Descend => {
            match rest.split_first() {
                // Behind a recursion a filter asks each object itself, and no array for its elements.
                Some((Step::Filter(filter), behind)) => {
                    if value.is_object() && accepts(filter, value) {
                        collect(value, behind, found);
                    }
                }
                _ => collect(value, rest, found),
            }
            children(value).into_iter().for_each(|child| collect(child, steps, found));
            return;
        }
        Step::Filter(filter) => match value {
            Value::Array(elements) => elements.iter().filter(|item| accepts(filter, item)).collect(),
            // Jayway asks an object itself.
            Value::Object(_) if accepts(filter, value) => vec![value],
            _ => Vec::new(),
        },
    };
    chosen.into_iter().for_each(|next| collect(next, rest, found));
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>) -> Vec<&Value> {
    let Some(elements) = value.as_array() else { return Vec::new() };
    let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let bound = |index: i64| if index < 0 { (index + length).max(0) } else { index.min(length) };
    let (from, to) = (from.map_or(0, bound), to.map_or(length, bound));
    (from..to).filter_map(|index| at(value, index)).collect()
}

fn accepts(filter: &Filter, item: &Value) -> bool {
    let follow = |steps: &[Step]| match (Path { root: Root::Data, steps: steps.to_vec() }).find(item) {
        Found::Value(value) => Some(value),
        Found::Nothing(_) => None,
    };
    match filter {
        Filter::Or(a, b) => accepts(a, item) || accepts(b, item),
        Filter::And(a, b) => accepts(a, item) && accepts(b, item),
        Filter::Not(inner) => !accepts(inner, item),
        Filter::Exists(steps) => follow(steps).is_some(),
        Filter::Compare(a, operator, b) => {
            let side = |side: &Side| match side {
                Side::Item(steps) => follow(steps),
                Side::Literal(value) => Some(value.clone()),
            };
            compare(side(a), operator, side(b))
        }
    }
}

fn compare(a: Option<Value>, operator: &str, b: Option<Value>) -> bool {
    let equal = match (&a, &b) {
        // The library asks the left side: a number reads the text, a text prints the number.
        (Some(Value::Number(number)), Some(Value::String(text))) => {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
            let read = if is_number { text.parse::<f64>().ok() } else { None };
            read.is_some_and(|read| number.as_f64().is_some_and(|number| number.partial_cmp(&read).is_some_and(std::cmp::Ordering::is_eq)))
        }
        (Some(Value::String(text)), Some(Value::Number(number))) => number.to_string().to_uppercase() == *text,
        (Some(a), Some(b)) => scalar::equal(a, b),
        // What is missing equals nothing, not even what is missing too.
        _ => false,
    };
    let order = match (&a, &b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => scalar::compare_numbers(a, b),
        (Some(Value::String(a)), Some(Value::String(b))) => Some(a.encode_utf16().cmp(b.encode_utf16())),
        _ => None,
    };
    match operator {
        "==" => equal,
        "!=" => !equal,
        "<" => order.is_some_and(|order| order.is_lt()),
        "<=" => order.is_some_and(|order| order.is_le()),
        ">" => order.is_some_and(|order| order.is_gt()),
        _ => order.is_some_and(|order| order.is_ge()),
    }
}

/// The characters of a path that have not been read.
struct Cursor {
    characters: Vec<char>,
    at: usize,
}

impl Cursor {
    fn peek(&self) -> char {
        self.characters.get(self.at).copied().unwrap_or('\0')
    }

    fn take(&mut self, wanted: char) -> bool {
        let taken = self.peek() == wanted;
        self.at += usize::from(taken);
        taken
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let taken = self.characters.get(self.at..).is_some_and(|rest| rest.iter().copied().take(wanted.chars().count()).eq(wanted.chars()));
        self.at += if taken { wanted.chars().count() } else { 0 };
        taken
    }

    fn blanks(&mut self) {
        while self.peek().is_whitespace() {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: char) {
        self.blanks();
        assert!(self.take(wanted), "expected {wanted}, found {:?}", self.peek());
        self.blanks();
    }

    fn name(&mut self, stops: &str) -> String {
        let mut name = String::new();
        while self.at < self.characters.len() && !stops.contains(self.peek()) {
            name.push(self.peek());
            self.at += 1;
        }
        name
    }

    fn steps(&mut self, stops: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            if self.take_word("..") {
                steps.push(Step::Descend);
            } else if !self.take('.') && self.peek() != '[' {
                return steps;
            }
            steps.push(match self.peek() {
                '[' => self.bracket(),
                '*' => {
                    self.at += 1;
                    Step::Wildcard
                }
                _ => Step::Name(self.name(stops)),
            });
        }
    }

    fn bracket(&mut self) -> Step {
        self.expect('[');
        let step = match self.peek() {
            '*' => {
                self.at += 1;
                Step::Wildcard
            }
            '?' => {
                self.at += 1;
                self.expect('(');
                let filter = self.either();
                self.expect(')');
                Step::Filter(filter)
            }
            '\'' | '"' => {
                let mut names = vec![self.quoted()];
                self.blanks();
                while self.take(',') {
                    self.blanks();
                    names.push(self.quoted());
                    self.blanks();
                }
                if names.len() == 1 { Step::Name(names.remove(0)) } else { Step::Names(names) }
            }
            _ => self.numbers(),
        };
        self.blanks();
        assert!(self.take(']'), "expected ], found {:?}", self.peek());
        step
    }

    fn numbers(&mut self) -> Step {
        let text = self.name("]");
        let number = |text: &str| text.trim().parse::<i64>().ok();
        let parts: Vec<Option<i64>> = text.split(':').map(number).collect();
        match parts[..] {
            [from, to] | [from, to, _] => Step::Slice(from, to),
            _ => {
                let indices: Vec<i64> = text.split(',').filter_map(number).collect();
                if indices.len() == 1 { Step::Index(indices[0]) } else { Step::Indices(indices) }
            }
        }
    }

    fn quoted(&mut self) -> String {
        let quote = self.peek();
        self.at += 1;
        let mut text = String::new();
        while !self.take(quote) {
            assert!(self.at < self.characters.len(), "an open quote");
            self.at += usize::from(self.peek() == '\\');
            text.push(self.peek());
            self.at += 1;
        }
        text
    }

    fn either(&mut self) -> Filter {
        let mut filter = self.both();
        self.blanks();
        while self.take_word("||") {
            filter = Filter::Or(Box::new(filter), Box::new(self.both()));
            self.blanks();
        }
        filter
    }

    fn both(&mut self) -> Filter {
        let mut filter = self.condition();
        self.blanks();
        while self.take_word("&&") {
            filter = Filter::And(Box::new(filter), Box::new(self.condition()));
            self.blanks();
        }
        filter
    }

    fn condition(&mut self) -> Filter {
        self.blanks();
        if self.take('!') {
            return Filter::Not(Box::new(self.condition()));
        }
        if self.take('(') {
            let filter = self.either();
            self.expect(')');
            return filter;
        }
        let left = self.side();
        self.blanks();
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.take_word(operator) {
                self.blanks();
                let right = self.side();
                return Filter::Compare(left, operator.to_owned(), right);
            }
        }
        match left {
            Side::Item(steps) => Filter::Exists(steps),
            Side::Literal(_) => panic!("a literal is no condition"),
        }
    }

    fn side(&mut self) -> Side {
        if self.take('@') {
            return Side::Item(self.steps(".[( =!<>&|),"));
        }
        if matches!(self.peek(), '\'' | '"') {
            return Side::Literal(Value::String(self.quoted()));
        }
        let word = self.name(" )=!<>&|");
        Side::Literal(serde_json::from_str(&word).unwrap_or(Value::String(word)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str, data: &Value) -> Found {
        parse(path).find(data)
    }

    #[test]
    fn definite_paths_give_the_value_or_say_what_is_missing() {
        let data = json!({"a": {"b c": [1, 2]}});
        assert_eq!(find("$.a['b c'][-1]", &data), Found::Value(json!(2)));
        assert_eq!(find("$.x", &data), Found::Nothing("No results for path: $['x']".to_owned()));
        assert_eq!(find("$.x.y.z", &data), Found::Nothing("Missing property in path $['x']".to_owned()));
    }

    #[test]
    fn indefinite_paths_give_arrays() {
        let data = json!({"l": [{"n": 1, "s": "a"}, {"n": 2}, {"m": {"n": 3}}]});
        assert_eq!(find("$.l[*].n", &data), Found::Value(json!([1, 2])));
        assert_eq!(find("$..n", &data), Found::Value(json!([1, 2, 3])));
        assert_eq!(find("$.l[1:].n", &data), Found::Value(json!([2])));
        assert_eq!(find("$.l[0,1].n", &data), Found::Value(json!([1, 2])));
        assert_eq!(find("$.l[?(@.n > 1 || @.s == 'a')].n", &data), Found::Value(json!([1, 2])));
        assert_eq!(find("$.l[?(!(@.n))]", &data), Found::Value(json!([{"m": {"n": 3}}])));
        assert_eq!(find("$.gone[*]", &data), Found::Value(json!([])));
    }
}
