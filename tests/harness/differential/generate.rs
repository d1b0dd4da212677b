//! Definitions: valid ones of bounded size, whose states lead forward only, so that every execution ends.

use serde_json::{Map, Value, json};

use super::data;
use super::source::Source;

/// States of the whole definition.
const STATES_MAX: usize = 24;
/// Levels of Parallel and Map.
const DEPTH_MAX: usize = 3;
/// Levels of templates and conditions.
const NESTING_MAX: usize = 3;

/// Paths to one value; the last ones find nothing, or nothing everywhere.
const DEFINITE: [&str; 20] = [
    "$",
    "$.n",
    "$.s",
    "$.l",
    "$.o",
    "$.b",
    "$.t",
    "$.o.n",
    "$.o['s']",
    "$$.Execution.Input",
    "$$.State.Name",
    "$$.Execution.StartTime",
    "$$.State.EnteredTime",
    "$$.StateMachine.Id",
    "$.l[0]",
    "$.l[-1]",
    "$.l[0].n",
    "$$.Map.Item.Index",
    "$$.Map.Item.Value",
    "$.r",
];

/// Paths to a list of values.
const INDEFINITE: [&str; 18] = [
    "$.l[*]",
    "$.l[*].n",
    "$..n",
    "$.*",
    "$.l[0:2]",
    "$.l[-2:]",
    "$.l[1,0]",
    "$.l[?(@.n > 1)].s",
    "$.l[?(@.n <= 2.5 && @.s != 'a')]",
    "$.l[?(@.b == true || !(@.n))]",
    "$.l[?(@.s == 'ab')].n",
    "$.gone[*].n",
    "$..o.s",
    "$.l[0:3:2]",
    "$['n','s']",
    "$.l[*]['s','n']",
    "$..[?(@.n == '1')]",
    "$.l[?(@.s == 12)].n",
];

/// Makes a definition.
pub fn definition(source: &mut Source<'_>) -> Value {
    let mut maker = Maker { source, made: 0, variables: Vec::new() };
    let mut machine = maker.machine(0);
    if maker.source.chance(1) {
        machine["TimeoutSeconds"] = json!(1 + maker.source.below(60));
    }
    machine
}

struct Maker<'s, 'b> {
    source: &'s mut Source<'b>,
    made: usize,
    /// The variables that every state from here on sees, those of outer machines first.
    variables: Vec<String>,
}

impl Maker<'_, '_> {
    fn machine(&mut self, depth: usize) -> Value {
        let room = STATES_MAX.saturating_sub(self.made).max(1);
        let count = (1 + self.source.below(5)).min(room);
        let names: Vec<String> = (0..count).map(|index| format!("S{}", self.made + index)).collect();
        self.made += count;
        let outer = self.variables.len();
        let mut states = Map::new();
        for (index, name) in names.iter().enumerate() {
            let mut state = self.state(&names[index + 1..], depth);
            self.assign(&mut state, index == 0, outer);
            states.insert(name.clone(), state);
        }
        self.variables.truncate(outer);
        json!({"StartAt": names[0], "States": states})
    }

    /// A state that leads to one of `later`, or ends its machine when there is none.
    fn state(&mut self, later: &[String], depth: usize) -> Value {
        let deep = depth < DEPTH_MAX && self.made < STATES_MAX;
        let kind = match self.source.below(16) {
            0..=3 => "Pass",
            4 | 5 => "Task",
            6 => "Wait",
            7..=10 if !later.is_empty() => "Choice",
            11 if later.is_empty() => "Fail",
            12 if later.is_empty() => "Succeed",
            13 | 14 if deep => "Map",
            15 if deep => "Parallel",
            _ => "Pass",
        };
        let mut state = json!({"Type": kind});
        match kind {
            "Pass" => self.pass(&mut state),
            "Task" => self.task(&mut state),
            "Wait" => self.wait(&mut state),
            "Choice" => self.choice(&mut state, later),
            "Fail" => self.fail(&mut state),
            "Map" => self.map(&mut state, depth),
            "Parallel" => {
                let branches: Vec<Value> = (0..1 + self.source.below(3)).map(|_| self.machine(depth + 1)).collect();
                state["Branches"] = json!(branches);
            }
            _ => {}
        }
        if matches!(kind, "Task" | "Map" | "Parallel") {
            self.work(&mut state, kind, later);
        }
        if kind != "Fail" {
            self.flow(&mut state, kind);
        }
        if !matches!(kind, "Fail" | "Succeed" | "Choice") {
            self.lead(&mut state, later);
        }
        state
    }

    /// Assign: a first state that cannot fail to assign makes a variable, later ones may change those of their own machine.
    fn assign(&mut self, state: &mut Value, is_first: bool, outer: usize) {
        let kind = state["Type"].as_str().unwrap_or_default().to_owned();
        // Which of the two fails first is open: both read the raw result.
        if state.get("ResultSelector").is_some() {
            return;
        }
        let name = if is_first && kind == "Pass" && self.source.chance(5) {
            let name = format!("v{}", self.made);
            self.variables.push(name.clone());
            name
        } else if !is_first && self.variables.len() > outer && !matches!(kind.as_str(), "Fail" | "Succeed") && self.source.chance(5) {
            self.variables[outer].clone()
        } else {
            return;
        };
        state["Assign"] = match self.source.below(4) {
            0 => json!({name: data::value(self.source, 1)}),
            1 => json!({format!("{name}.$"): self.call(1)}),
            2 => json!({name: {"n.$": "$", "s": "text"}}),
            _ => json!({format!("{name}.$"): "$"}),
        };
    }

    fn lead(&mut self, state: &mut Value, later: &[String]) {
        match later.first() {
            None => state["End"] = json!(true),
            Some(_) if self.source.chance(1) => state["End"] = json!(true),
            Some(first) => state["Next"] = json!(if self.source.chance(2) { self.one_of(later) } else { first }),
        }
    }

    fn one_of<'l>(&mut self, names: &'l [String]) -> &'l str {
        &names[self.source.below(names.len())]
    }

    /// InputPath, OutputPath and ResultPath.
    fn flow(&mut self, state: &mut Value, kind: &str) {
        // What reads a number of the state's own input reads it from the raw one; the two are not told apart here.
        let reads_raw = state.get("TimeoutSecondsPath").or_else(|| state.get("MaxConcurrencyPath")).is_some();
        if self.source.chance(2) && !reads_raw {
            state["InputPath"] = self.data_path();
        }
        if self.source.chance(1) {
            state["OutputPath"] = self.data_path();
        }
        if matches!(kind, "Pass" | "Task" | "Map" | "Parallel") && self.source.chance(11) {
            state["ResultPath"] = match self.source.below(10) {
                0..=3 => json!("$.r"),
                4 => json!("$.o.r"),
                5 => json!("$.x.y.z"),
                6 => json!("$.l[0]"),
                7 => json!("$.n"),
                8 => json!("$['x y'].r"),
                _ => Value::Null,
            };
        }
    }

    fn data_path(&mut self) -> Value {
        match self.source.below(12) {
            0 => Value::Null,
            1 => json!(INDEFINITE[self.source.below(INDEFINITE.len())]),
            2 => json!("$.gone.deep"),
            _ => json!(self.path()),
        }
    }

    fn path(&mut self) -> String {
        if !self.variables.is_empty() && self.source.chance(3) {
            let name = &self.variables[self.source.below(self.variables.len())];
            return format!("${name}{}", self.source.pick(&["", "", ".n"]));
        }
        // The first paths are the ones that most often find something.
        let bound = if self.source.chance(3) { DEFINITE.len() } else { 11 };
        DEFINITE[self.source.below(bound)].to_owned()
    }

    fn pass(&mut self, state: &mut Value) {
        match self.source.below(4) {
            0 => state["Result"] = data::input(self.source),
            1 | 2 => state["Parameters"] = self.template(NESTING_MAX),
            _ => {}
        }
    }

    fn template(&mut self, depth: usize) -> Value {
        let mut members = Map::new();
        for name in ["n", "s", "l", "p", "q"].iter().take(1 + self.source.below(5)) {
            let text = match self.source.below(6) {
                0 => json!(self.path()),
                1 => json!(INDEFINITE[self.source.below(INDEFINITE.len())]),
                2 | 3 => json!(self.call_for(name)),
                4 if depth > 0 => {
                    members.insert((*name).to_owned(), if self.source.chance(8) { self.template(depth - 1) } else { json!([self.template(depth - 1), "$.n"]) });
                    continue;
                }
                _ => {
                    members.insert((*name).to_owned(), data::value(self.source, 1));
                    continue;
                }
            };
            members.insert(format!("{name}.$"), text);
        }
        Value::Object(members)
    }

    /// A call whose result is mostly of the type that the member's name means.
    fn call_for(&mut self, name: &str) -> String {
        if self.source.chance(5) {
            return self.call(0);
        }
        let functions: &[usize] = match name {
            "n" => &[4, 8, 8],
            "s" => &[0, 10, 13],
            "l" => &[1, 5, 6, 7, 9],
            _ => &[11, 12, 3],
        };
        let function = self.source.pick(functions);
        self.call_of(function, 0)
    }

    /// A call of an intrinsic function.
    fn call(&mut self, depth: usize) -> String {
        let function = self.source.below(14);
        self.call_of(function, depth)
    }

    fn call_of(&mut self, function: usize, depth: usize) -> String {
        let (name, kinds) = match function {
            0 => ("Format", "fav"),
            1 => ("Array", "vvv"),
            2 => ("ArrayContains", "lv"),
            3 => ("ArrayGetItem", "ln"),
            4 => ("ArrayLength", "l"),
            5 => ("ArrayPartition", "ln"),
            6 => ("ArrayRange", "iin"),
            7 => ("ArrayUnique", "l"),
            8 => ("MathAdd", "mm"),
            9 => ("StringSplit", "ss"),
            10 => ("JsonToString", "v"),
            11 => ("StringToJson", "s"),
            12 => ("JsonMerge", "oo-"),
            _ => (self.source.pick(&["Base64Encode", "Base64Decode"]), "s"),
        };
        let arguments: Vec<String> = kinds.chars().map(|kind| self.argument(kind, depth)).collect();
        format!("States.{name}({})", arguments.join(", "))
    }

    fn argument(&mut self, kind: char, depth: usize) -> String {
        // Now and then an argument of another kind than asked for, except where a literal of that kind is refused.
        let kind = match kind {
            'm' => 'n',
            'f' | '-' => kind,
            _ if self.source.chance(1) => 'v',
            _ => kind,
        };
        if depth < 3 && self.source.chance(3) && !matches!(kind, 'f' | '-') {
            return self.call(depth + 1);
        }
        let literal = |source: &mut Source<'_>| match source.below(3) {
            0 => data::NUMBERS[source.below(data::NUMBERS.len())].to_owned(),
            1 => source.pick(&["true", "false", "null"]).to_owned(),
            _ => quoted(data::TEXTS[source.below(data::TEXTS.len())]),
        };
        match kind {
            'f' => self.source.pick(&["'{} and {}'", "'{}{}'", "'\\{{}\\} {}'", "'{} {'", "'{} it\\'s {}'"]).to_owned(),
            '-' => "false".to_owned(),
            's' => {
                if self.source.chance(8) {
                    "$.s".to_owned()
                } else {
                    quoted(data::TEXTS[self.source.below(data::TEXTS.len())])
                }
            }
            'n' => {
                if self.source.chance(6) {
                    "$.n".to_owned()
                } else {
                    data::NUMBERS[self.source.below(data::NUMBERS.len())].to_owned()
                }
            }
            'i' => self.source.below(9).to_string(),
            'l' => (self.source.pick(&["$.l", "$.l[*].n", "$..n"])).to_owned(),
            'o' => self.source.pick(&["$.o", "$", "$$.Execution.Input"]).to_owned(),
            _ => {
                if self.source.chance(8) {
                    self.path()
                } else {
                    literal(self.source)
                }
            }
        }
    }

    fn task(&mut self, state: &mut Value) {
        state["Resource"] = json!("arn:aws:lambda:us-east-1:000000000000:function:work");
        if self.source.chance(5) {
            state["TimeoutSeconds"] = json!(1 + self.source.below(8));
        } else if self.source.chance(1) {
            state["TimeoutSecondsPath"] = json!("$.n");
        }
    }

    /// Parameters, ResultSelector, Retry and Catch.
    fn work(&mut self, state: &mut Value, kind: &str, later: &[String]) {
        if kind != "Map" && self.source.chance(5) {
            state["Parameters"] = self.template(1);
        }
        if self.source.chance(3) {
            let selector = match kind {
                "Task" => self.template(1),
                _ => json!({"first.$": "$[0]", "all.$": "$", "count.$": "States.ArrayLength($)"}),
            };
            state["ResultSelector"] = selector;
        }
        let retriers: Vec<Value> = (0..self.source.below(3)).map(|_| self.retrier(kind)).collect();
        if !retriers.is_empty() {
            state["Retry"] = json!(retriers);
        }
        if !later.is_empty() && self.source.chance(9) {
            let mut catchers: Vec<Value> = (0..self.source.below(2)).map(|_| self.catcher(kind, later)).collect();
            catchers.push(json!({"ErrorEquals": ["States.ALL"], "ResultPath": "$.r", "Next": self.one_of(later)}));
            state["Catch"] = json!(catchers);
        }
    }

    fn errors(&mut self, kind: &str) -> Value {
        let names: &[&str] = match kind {
            "Task" => &["E1", "E2", "States.TaskFailed", "States.Timeout", "States.Permissions", "States.DataLimitExceeded", "States.IntrinsicFailure"],
            "Parallel" => &["E1", "E2", "States.BranchFailed", "F", "States.NoChoiceMatched", "States.Runtime"],
            _ => &["E1", "E2", "F", "States.NoChoiceMatched", "States.ResultPathMatchFailure", "States.Timeout"],
        };
        json!((0..1 + self.source.below(2)).map(|_| self.source.pick(names)).collect::<Vec<_>>())
    }

    fn retrier(&mut self, kind: &str) -> Value {
        let mut retrier = json!({"ErrorEquals": self.errors(kind), "IntervalSeconds": 1 + self.source.below(3), "MaxAttempts": self.source.below(4)});
        if self.source.chance(8) {
            retrier["BackoffRate"] = serde_json::from_str(self.source.pick(&["1.0", "1.5", "3", "2.25"])).expect("the rates are JSON");
        }
        if self.source.chance(4) {
            retrier["MaxDelaySeconds"] = json!(4 + self.source.below(4));
        }
        retrier
    }

    fn catcher(&mut self, kind: &str, later: &[String]) -> Value {
        let mut catcher = json!({"ErrorEquals": self.errors(kind), "Next": self.one_of(later)});
        match self.source.below(5) {
            0 => catcher["ResultPath"] = Value::Null,
            1 => catcher["ResultPath"] = json!("$.r.e"),
            2 => catcher["ResultPath"] = json!("$.n.e"),
            _ => {}
        }
        catcher
    }

    fn map(&mut self, state: &mut Value, depth: usize) {
        state["ItemProcessor"] = self.machine(depth + 1);
        if !self.source.chance(1) {
            state["ItemsPath"] = json!(self.source.pick(&["$.l", "$.l", "$.l", "$.r", "$$.Execution.Input.l"]));
        }
        if self.source.chance(8) {
            state["ItemSelector"] = json!({"n.$": "$$.Map.Item.Index", "s.$": "$.s", "o.$": "$$.Map.Item.Value", "l.$": "$.l", "r": self.template(0)});
        }
        match self.source.below(5) {
            0 | 1 => state["MaxConcurrency"] = json!(self.source.below(4)),
            2 if self.source.chance(4) => state["MaxConcurrencyPath"] = json!("$.n"),
            _ => {}
        }
    }

    fn wait(&mut self, state: &mut Value) {
        match self.source.below(8) {
            0..=2 => state["Seconds"] = json!(self.source.below(20)),
            3 => state["SecondsPath"] = json!("$.n"),
            4 => state["SecondsPath"] = json!(self.path()),
            5 => state["Timestamp"] = json!(self.source.pick(&["2026-11-20T12:00:07Z", "2026-11-20T13:00:00.5+01:00", "2001-01-01T00:00:00Z"])),
            6 => state["TimestampPath"] = json!("$.t"),
            // A path that finds nothing has no recorded text here.
            _ => state["TimestampPath"] = json!("$.s"),
        }
    }

    fn fail(&mut self, state: &mut Value) {
        match self.source.below(4) {
            0 => state["Error"] = json!("F"),
            1 => state["ErrorPath"] = json!("$.s"),
            2 => state["ErrorPath"] = json!("States.Format('{}-{}', $.s, $.n)"),
            _ => {}
        }
        match self.source.below(4) {
            0 => state["Cause"] = json!("because"),
            1 => state["CausePath"] = json!(self.path()),
            2 => state["CausePath"] = json!("States.JsonToString($)"),
            _ => {}
        }
    }

    fn choice(&mut self, state: &mut Value, later: &[String]) {
        let mut rules = Vec::new();
        for _ in 0..1 + self.source.below(4) {
            let mut rule = self.rule(NESTING_MAX);
            rule["Next"] = json!(self.one_of(later));
            rules.push(rule);
        }
        state["Choices"] = json!(rules);
        if !self.source.chance(3) {
            state["Default"] = json!(self.one_of(later));
        }
    }

    fn rule(&mut self, depth: usize) -> Value {
        match self.source.below(if depth == 0 { 1 } else { 6 }) {
            1 => json!({"Not": self.rule(depth - 1)}),
            2 => json!({"And": [self.rule(depth - 1), self.rule(depth - 1)]}),
            3 => json!({"Or": [self.rule(depth - 1), self.rule(depth - 1)]}),
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Value {
        let relation = self.source.pick(&["Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals"]);
        let by_path = self.source.chance(5);
        let (own, family, operand) = match self.source.below(8) {
            0 | 6 | 7 => ("$.n", format!("Numeric{relation}"), data::number(self.source)),
            1 => ("$.s", format!("String{relation}"), data::text(self.source)),
            2 => ("$.b", "BooleanEquals".to_owned(), Value::Bool(self.source.chance(8))),
            3 => ("$.t", format!("Timestamp{relation}"), json!(data::TEXTS[10 + self.source.below(2)])),
            4 => {
                let pattern = self.source.pick(&["*", "a*", "*b*", "A b,?", "a\\*b", "*\u{2602}*", ""]);
                return json!({"Variable": "$.s", "StringMatches": pattern});
            }
            _ => {
                let asked = self.source.pick(&["IsNull", "IsPresent", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"]);
                let variable = if asked == "IsPresent" && self.source.chance(8) { "$.gone".to_owned() } else { self.path() };
                return json!({"Variable": variable, asked: self.source.chance(8)});
            }
        };
        let variable = if self.source.chance(3) { self.path() } else { own.to_owned() };
        if by_path { json!({"Variable": variable, format!("{family}Path"): self.path()}) } else { json!({"Variable": variable, family: operand}) }
    }
}

/// A text as an argument of a call.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('{', "\\{").replace('}', "\\}"))
}
