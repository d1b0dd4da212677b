//! A state's data: paths read, templates filled in, the Context Object made (spec/asl.md 2.1 and 4).

use serde_json::{Map, Value, json};

use super::path::{self, Found, Root};
use super::world::{Failure, World};
use super::{OPEN, intrinsic, scalar};

/// Largest payload, in bytes of compact JSON.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// Largest size of all variables.
const VARIABLES_BYTES_MAX: usize = 10 << 20;

/// One visit of a state.
pub struct Visit<'w> {
    /// The execution.
    pub world: &'w World<'w>,
    /// The state's name.
    pub state: String,
    /// The id of its StateEntered event, as causes quote it.
    pub entered_event: String,
    /// When it was entered.
    pub entered_ms: u64,
    /// Retries so far, of a Task.
    pub retry_count: Option<u64>,
    /// The innermost iteration around it: index and item.
    pub item: Option<(usize, Value)>,
    /// The variables as they were at its entry.
    pub variables: Map<String, Value>,
}

impl Visit<'_> {
    /// An error of this state whose cause has the standard prefix.
    #[must_use]
    pub fn failure(&self, error: &str, text: &str) -> Failure {
        let (state, event) = (&self.state, &self.entered_event);
        Failure::new(error, format!("An error occurred while executing the state '{state}' (entered at the event id #{event}). {text}"))
    }

    /// States.Runtime.
    #[must_use]
    pub fn runtime(&self, text: &str) -> Failure {
        self.failure("States.Runtime", text)
    }

    /// What a path selects.
    #[must_use]
    pub fn find(&self, text: &str, data: &Value) -> Found {
        let path = path::parse(text);
        match &path.root {
            Root::Data => path.find(data),
            Root::Context => path.find(&self.context()),
            // How the service says that a variable lacks something is not recorded.
            Root::Variable(name) => match self.variables.get(name) {
                Some(value) => match path.find(value) {
                    Found::Nothing(_) => Found::Nothing(OPEN.to_owned()),
                    found => found,
                },
                None => Found::Nothing(OPEN.to_owned()),
            },
        }
    }

    /// What a path selects, if anything.
    #[must_use]
    pub fn look(&self, text: &str, data: &Value) -> Option<Value> {
        match self.find(text, data) {
            Found::Value(value) => Some(value),
            Found::Nothing(_) => None,
        }
    }

    /// `InputPath`, `OutputPath` and the like: null is an empty object, nothing found is an error.
    ///
    /// # Errors
    /// States.Runtime when the path selects nothing.
    ///
    /// # Panics
    /// The definition is not a valid one.
    pub fn data_path(&self, path: Option<&Value>, data: &Value) -> Result<Value, Failure> {
        match path {
            None => Ok(data.clone()),
            Some(Value::Null) => Ok(json!({})),
            Some(path) => {
                let path = path.as_str().expect("a path is a text");
                match self.find(path, data) {
                    Found::Value(value) => Ok(value),
                    Found::Nothing(how) => Err(self.runtime(&format!("Invalid path '{path}' : {how}"))),
                }
            }
        }
    }

    /// A payload template filled in over `data`.
    ///
    /// # Errors
    /// When a path selects nothing or a function fails.
    ///
    /// # Panics
    /// The definition is not a valid one.
    pub fn template(&self, template: &Value, data: &Value) -> Result<Value, Failure> {
        match template {
            Value::Object(members) => {
                let mut built = Map::new();
                for (name, value) in members {
                    match name.strip_suffix(".$") {
                        Some(bare) => built.insert(bare.to_owned(), self.expression(name, value.as_str().expect("a '.$' value is a text"), data)?),
                        None => built.insert(name.clone(), self.template(value, data)?),
                    };
                }
                Ok(Value::Object(built))
            }
            Value::Array(elements) => elements.iter().map(|element| self.template(element, data)).collect(),
            literal => Ok(literal.clone()),
        }
    }

    /// The values of an `Assign` over `data`; null where there is none (spec/asl.md 3).
    ///
    /// # Errors
    /// As for any template, and States.DataLimitExceeded.
    pub fn assign(&self, template: &Value, data: &Value) -> Result<Value, Failure> {
        let built = self.template(template, data)?;
        let Value::Object(assigned) = &built else { return Ok(built) };
        let bytes = |variables: &Map<String, Value>| variables.values().map(|value| value.to_string().len()).sum::<usize>();
        let mut all = self.variables.clone();
        all.extend(assigned.clone());
        if bytes(assigned) > PAYLOAD_BYTES_MAX || bytes(&all) > VARIABLES_BYTES_MAX {
            return Err(self.failure("States.DataLimitExceeded", OPEN));
        }
        Ok(built)
    }

    /// A path or a call that stands in `field`.
    ///
    /// # Errors
    /// When a path selects nothing or a function fails.
    pub fn expression(&self, field: &str, text: &str, data: &Value) -> Result<Value, Failure> {
        if text.starts_with("States.") {
            return intrinsic::evaluate(self, field, text, data);
        }
        self.look(text.trim(), data).ok_or_else(|| self.missing(field, text, data))
    }

    /// A path of a template that selects nothing.
    #[must_use]
    pub fn missing(&self, field: &str, text: &str, data: &Value) -> Failure {
        if matches!(path::parse(text).root, Root::Variable(_)) {
            return self.runtime(OPEN);
        }
        self.runtime(&format!("The JSONPath '{text}' specified for the field '{field}' could not be found in the input '{data}'"))
    }

    /// `result` placed into the raw input by a ResultPath.
    ///
    /// # Errors
    /// States.ResultPathMatchFailure when the input has no such place.
    ///
    /// # Panics
    /// The definition is not a valid one.
    pub fn result_path(&self, path: Option<&Value>, raw: &Value, result: Value) -> Result<Value, Failure> {
        match path {
            None => Ok(result),
            Some(Value::Null) => Ok(raw.clone()),
            Some(path) => {
                let path = path.as_str().expect("a path is a text");
                path::parse(path).put(raw, result).ok_or_else(|| self.failure("States.ResultPathMatchFailure", OPEN))
            }
        }
    }

    /// Checks a payload; `who` is named in the cause.
    ///
    /// # Errors
    /// States.DataLimitExceeded.
    pub fn limit(&self, value: Value, who: &str) -> Result<Value, Failure> {
        if value.to_string().len() <= PAYLOAD_BYTES_MAX {
            return Ok(value);
        }
        let cause = format!("The state/task '{who}' returned a result with a size exceeding the maximum number of bytes service limit.");
        Err(Failure::new("States.DataLimitExceeded", cause))
    }

    fn context(&self) -> Value {
        let setup = &self.world.setup;
        let (account, machine, name) = (&setup.account, &setup.machine, &setup.name);
        let arn = |kind: &str| format!("arn:aws:states:us-east-1:{account}:{kind}:{machine}");
        let id = if setup.express { format!("{}:{name}:{OPEN}", arn("express")) } else { format!("{}:{name}", arn("execution")) };
        let mut context = json!({
            "Execution": {"Id": id, "Input": setup.input, "Name": name, "RoleArn": setup.role_arn, "StartTime": scalar::iso(setup.start_ms)},
            "StateMachine": {"Id": arn("stateMachine"), "Name": machine},
            "State": {"Name": self.state, "EnteredTime": scalar::iso(self.entered_ms)},
        });
        if !setup.express {
            context["Execution"]["RedriveCount"] = json!(0);
        }
        if let Some(count) = self.retry_count {
            context["State"]["RetryCount"] = json!(count);
        }
        if let Some((index, value)) = &self.item {
            context["Map"] = json!({"Item": {"Index": index, "Value": value}});
        }
        context
    }
}
