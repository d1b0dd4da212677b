//! Machines and their states: entered, worked, retried, caught, left.

use serde_json::{Map, Value, json};

use super::data::Visit;
use super::world::{Failure, Run, World, side_by_side};
use super::{Answer, Call, ENTERED_MAX, OPEN, choice, scalar};

/// Most iterations of an inline Map at a time.
const CONCURRENCY_MAX: usize = 40;

/// What a sub-machine sees of the machine around it.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The variables.
    pub variables: Map<String, Value>,
    /// The innermost iteration: index and item.
    pub item: Option<(usize, Value)>,
}

/// What a state has done: its output, the variables it assigns, and where it leads.
struct Done {
    output: Value,
    assigned: Value,
    next: Option<String>,
}

/// Runs a machine or sub-machine from its first state to its last.
///
/// # Panics
/// The definition is not a valid one.
#[must_use]
pub fn run<'w>(world: &'w World<'w>, machine: Value, input: Value, scope: Scope) -> Run<'w, Value> {
    Box::pin(async move {
        let mut scope = scope;
        let mut data = input;
        let mut name = machine["StartAt"].as_str().expect("a machine starts somewhere").to_owned();
        loop {
            world.entered.borrow_mut().push(name.clone());
            let entered = world.entered.borrow().len();
            if entered > ENTERED_MAX {
                // It never ends: the execution's time-out decides.
                world.until(u64::MAX).await;
            }
            let state = machine["States"][&name].clone();
            let done = visit(world, &name, &state, data, &scope).await?;
            if let Value::Object(assigned) = done.assigned {
                scope.variables.extend(assigned);
            }
            match done.next {
                None => return Ok(done.output),
                Some(next) => (name, data) = (next, done.output),
            }
        }
    })
}

/// One visit of a state, with all its attempts.
async fn visit<'w>(world: &'w World<'w>, name: &str, state: &Value, raw: Value, scope: &Scope) -> Result<Done, Failure> {
    let kind = state["Type"].as_str().expect("a state has a type");
    let mut visit = Visit {
        world,
        state: name.to_owned(),
        entered_event: world.event_text(),
        entered_ms: world.now.get(),
        retry_count: (kind == "Task").then_some(0),
        item: scope.item.clone(),
        variables: scope.variables.clone(),
    };
    if matches!(kind, "Map" | "Parallel") {
        // Also where it fails before anything runs side by side: its own events are then not recorded anywhere.
        world.concurrent.set(true);
    }
    let retriers = list(&state["Retry"]);
    let mut used = vec![0_u64; retriers.len()];
    loop {
        let failure = match attempt(&visit, kind, state, &raw).await {
            Ok(done) => {
                world.event();
                return Ok(done);
            }
            Err(failure) => failure.within_limits(),
        };
        if failure.is_runtime() {
            return Err(failure);
        }
        // The first retrier that matches is the one used; exhausted, it hands over to the catchers.
        if let Some(index) = retriers.iter().position(|retrier| matches(retrier, &failure, kind))
            && used[index] < retriers[index]["MaxAttempts"].as_u64().unwrap_or(3)
        {
            world.until(world.now.get() + delay(&retriers[index], used[index])).await;
            used[index] += 1;
            visit.retry_count = visit.retry_count.map(|count| count + 1);
            continue;
        }
        let catchers = list(&state["Catch"]);
        let Some(catcher) = catchers.iter().find(|catcher| matches(catcher, &failure, kind)) else { return Err(failure) };
        let output = json!({"Error": failure.error.unwrap_or_default(), "Cause": failure.cause.unwrap_or_default()});
        let assigned = visit.assign(&catcher["Assign"], &output)?;
        let output = visit.result_path(catcher.get("ResultPath"), &raw, output)?;
        let output = visit.limit(output, name)?;
        world.event();
        return Ok(Done { output, assigned, next: catcher["Next"].as_str().map(str::to_owned) });
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Whether a retrier or catcher names the error (spec/asl.md 8.1).
fn matches(rule: &Value, failure: &Failure, kind: &str) -> bool {
    let error = failure.error.as_deref().unwrap_or_default();
    list(&rule["ErrorEquals"]).iter().any(|name| match name.as_str().unwrap_or_default() {
        "States.ALL" => true,
        "States.TaskFailed" => error != "States.Timeout",
        "States.Timeout" => matches!(error, "States.Timeout" | "States.HeartbeatTimeout"),
        "States.BranchFailed" if kind == "Parallel" => true,
        name => name == error,
    })
}

/// Milliseconds before the retry that follows `used` retries (spec/asl.md 8.2).
fn delay(retrier: &Value, used: u64) -> u64 {
    let mut seconds = retrier["IntervalSeconds"].as_f64().unwrap_or(1.0);
    for _ in 0..used {
        seconds *= retrier["BackoffRate"].as_f64().unwrap_or(2.0);
    }
    let seconds = seconds.min(retrier["MaxDelaySeconds"].as_f64().unwrap_or(f64::INFINITY));
    format!("{:.0}", (seconds * 1_000.0).floor()).parse().unwrap_or(u64::MAX / 2)
}

/// One attempt at a state's work, from its raw input to its output (spec/asl.md 2.1).
async fn attempt(visit: &Visit<'_>, kind: &str, state: &Value, raw: &Value) -> Result<Done, Failure> {
    let next = state["Next"].as_str().map(str::to_owned);
    if kind == "Fail" {
        return Err(fail(visit, state, raw)?);
    }
    let effective = visit.data_path(state.get("InputPath"), raw)?;
    let leave = |output: &Value, assigned: Value, next: Option<String>| -> Result<Done, Failure> {
        let output = visit.data_path(state.get("OutputPath"), output)?;
        Ok(Done { output: visit.limit(output, &visit.state)?, assigned, next })
    };
    let parameters = |data: &Value| match state.get("Parameters") {
        Some(template) => visit.template(template, data).and_then(|built| visit.limit(built, &visit.state)),
        None => Ok(data.clone()),
    };
    let result = match kind {
        "Succeed" => return leave(&effective, Value::Null, None),
        "Wait" => {
            wait(visit, state, &effective).await?;
            return leave(&effective, visit.assign(&state["Assign"], &effective)?, next);
        }
        "Choice" => {
            for rule in list(&state["Choices"]) {
                if choice::holds(visit, &rule, &effective)? {
                    let assigned = visit.assign(&rule["Assign"], &effective)?;
                    return leave(&effective, assigned, rule["Next"].as_str().map(str::to_owned));
                }
            }
            let Some(default) = state["Default"].as_str() else { return Err(visit.failure("States.NoChoiceMatched", OPEN)) };
            return leave(&effective, visit.assign(&state["Assign"], &effective)?, Some(default.to_owned()));
        }
        "Pass" => match state.get("Result") {
            Some(result) => result.clone(),
            None => parameters(&effective)?,
        },
        "Task" => task(visit, state, &effective, visit.limit(parameters(&effective)?, &visit.state)?).await?,
        "Parallel" => parallel(visit, state, visit.limit(parameters(&effective)?, &visit.state)?).await?,
        _ => map(visit, state, &effective).await?,
    };
    let selected = match state.get("ResultSelector") {
        Some(template) => visit.template(template, &result).and_then(|built| visit.limit(built, &visit.state))?,
        None => result.clone(),
    };
    // A Pass assigns from what ResultPath would place, the others from the raw result.
    let assigned = visit.assign(&state["Assign"], &result)?;
    leave(&visit.result_path(state.get("ResultPath"), raw, selected)?, assigned, next)
}

/// The error of a Fail state; an error of its own where a path selects nothing.
fn fail(visit: &Visit<'_>, state: &Value, raw: &Value) -> Result<Failure, Failure> {
    let text = |literal: &str, path: &str| -> Result<Option<String>, Failure> {
        if let Some(text) = state[literal].as_str() {
            return Ok(Some(text.to_owned()));
        }
        let Some(expression) = state[path].as_str() else { return Ok(None) };
        match visit.expression(path, expression, raw)? {
            Value::String(text) => Ok(Some(text)),
            _ => Err(visit.runtime(OPEN)),
        }
    };
    Ok(Failure { error: text("Error", "ErrorPath")?, cause: text("Cause", "CausePath")? })
}

/// Waits (spec/asl.md 6.4).
async fn wait(visit: &Visit<'_>, state: &Value, data: &Value) -> Result<(), Failure> {
    let now = visit.world.now.get();
    let until = if let Some(seconds) = state["Seconds"].as_u64() {
        now + seconds * 1_000
    } else if let Some(path) = state["SecondsPath"].as_str() {
        now + seconds(visit, path, data)? * 1_000
    } else {
        let found = match (state["Timestamp"].as_str(), state["TimestampPath"].as_str()) {
            (Some(literal), _) => scalar::instant(literal).ok_or_else(|| visit.runtime(OPEN))?,
            (None, path) => {
                let path = path.expect("a Wait has one of four fields");
                let value = visit.look(path, data).ok_or_else(|| visit.runtime(OPEN))?;
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let text =
                    format!("The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: {path} == {shown}");
                value.as_str().and_then(scalar::instant).ok_or_else(|| visit.runtime(&text))?
            }
        };
        let ms = i128::from(found.0) * 1_000 + i128::from(found.1.div_ceil(1_000_000));
        if ms - i128::from(now) > i128::from(i32::MAX) * 1_000 {
            return Err(visit.runtime("Wait state delay is too long."));
        }
        u64::try_from(ms).unwrap_or(0)
    };
    if until > now {
        visit.world.until(until).await;
    }
    Ok(())
}

/// What SecondsPath says.
fn seconds(visit: &Visit<'_>, path: &str, data: &Value) -> Result<u64, Failure> {
    let value = visit.look(path, data).ok_or_else(|| visit.runtime(&format!("The SecondsPath parameter does not reference an input value: {path}")))?;
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match scalar::integer(&value) {
        None => Err(visit.runtime(&format!("The SecondsPath parameter cannot be parsed as a long value: {path} == {shown}"))),
        Some(seconds) if seconds < 0 => Err(visit.runtime(&format!("The SecondsPath parameter references a negative value: {path} == {seconds}"))),
        Some(seconds) if seconds > i64::from(i32::MAX) => Err(visit.runtime("Wait state delay is too long.")),
        Some(seconds) => Ok(seconds.unsigned_abs()),
    }
}

/// A number of seconds of a Task, at least one, or what its path says.
fn task_seconds(visit: &Visit<'_>, state: &Value, field: &str, effective: &Value) -> Result<Option<u64>, Failure> {
    let Some(path) = state[format!("{field}Path")].as_str() else { return Ok(state[field].as_u64()) };
    let value = visit.data_path(Some(&json!(path)), effective)?;
    let seconds = scalar::integer(&value).and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| (1..=99_999_999).contains(seconds));
    seconds.map(Some).ok_or_else(|| visit.runtime(OPEN))
}

/// Calls a task once.
async fn task(visit: &Visit<'_>, state: &Value, effective: &Value, input: Value) -> Result<Value, Failure> {
    let world = visit.world;
    let timeout = task_seconds(visit, state, "TimeoutSeconds", effective)?;
    // A heartbeat and a role must be there, and do nothing.
    task_seconds(visit, state, "HeartbeatSeconds", effective)?;
    if !state["Credentials"].is_null() && !visit.template(&state["Credentials"], effective)?["RoleArn"].is_string() {
        return Err(visit.runtime(OPEN));
    }
    let timeout_ms = timeout.map(|seconds| seconds * 1_000);
    // Scheduled and started.
    world.event();
    world.event();
    let resource = state["Resource"].as_str().unwrap_or_default().to_owned();
    let answer = world.ask(&Call { state: visit.state.clone(), resource, input, attempt: visit.retry_count.unwrap_or(0) });
    let in_time = |after: u64| timeout_ms.is_none_or(|timeout| after <= timeout);
    let begun = world.now.get();
    let ended = match answer {
        Answer::Return(result, after) if in_time(after) => {
            world.until(begun + after).await;
            visit.limit(result, OPEN)
        }
        Answer::Throw(error, cause, after) if in_time(after) => {
            world.until(begun + after).await;
            Err(Failure { error: Some(error), cause })
        }
        _ => {
            world.until(timeout_ms.map_or(u64::MAX, |timeout| begun + timeout)).await;
            Err(Failure { error: Some("States.Timeout".to_owned()), cause: None })
        }
    };
    // Succeeded, failed or timed out.
    world.event();
    ended
}

/// Runs the branches of a Parallel on one input (spec/asl.md 6.6).
async fn parallel(visit: &Visit<'_>, state: &Value, input: Value) -> Result<Value, Failure> {
    let branches = list(&state["Branches"]);
    let scope = Scope { variables: visit.variables.clone(), item: visit.item.clone() };
    let world = visit.world;
    let start = |index: usize| Ok(run(world, branches[index].clone(), input.clone(), scope.clone()));
    side_by_side(world, branches.len(), branches.len(), start).await.map(Value::Array)
}

/// Runs the iterations of an inline Map (spec/asl.md 7.2).
async fn map(visit: &Visit<'_>, state: &Value, effective: &Value) -> Result<Value, Failure> {
    let path = state["ItemsPath"].as_str().unwrap_or("$");
    let items = visit.data_path(Some(&json!(path)), effective)?;
    let Value::Array(items) = items else { return Err(visit.runtime(&format!("Reference path \"{path}\" must point to array."))) };
    let limit = match (state["MaxConcurrency"].as_u64(), state["MaxConcurrencyPath"].as_str()) {
        (Some(limit), _) => limit,
        (None, None) => 0,
        (None, Some(path)) => {
            let value = visit.data_path(Some(&json!(path)), effective)?;
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let text = format!("The MaxConcurrencyPath field refers to value \"{shown}\" which is not a valid integer: {path}");
            // Recorded for the like fields of a distributed Map: a text that holds an integer will do.
            let integer = value.as_str().map_or_else(|| scalar::integer(&value), |text| text.parse().ok());
            u64::try_from(integer.ok_or_else(|| visit.runtime(&text))?).map_err(|_| visit.runtime(OPEN))?
        }
    };
    let limit = usize::try_from(limit).ok().filter(|limit| (1..CONCURRENCY_MAX).contains(limit)).unwrap_or(CONCURRENCY_MAX);
    let processor = state.get("ItemProcessor").unwrap_or_else(|| &state["Iterator"]);
    let selector = state.get("ItemSelector").or_else(|| state.get("Parameters"));
    let start = |index: usize| {
        let item = Some((index, items[index].clone()));
        let input = match selector {
            None => items[index].clone(),
            Some(template) => {
                let inside = Visit {
                    item: item.clone(),
                    state: visit.state.clone(),
                    entered_event: visit.entered_event.clone(),
                    variables: visit.variables.clone(),
                    ..*visit
                };
                inside.template(template, effective).and_then(|built| inside.limit(built, &inside.state))?
            }
        };
        Ok(run(visit.world, processor.clone(), input, Scope { variables: visit.variables.clone(), item }))
    };
    side_by_side(visit.world, items.len(), limit, start).await.map(Value::Array)
}
