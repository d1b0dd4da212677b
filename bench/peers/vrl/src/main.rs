//! Vector Remap Language, in process: the program is compiled once, a message is read into VRL's own value with serde_json, the program runs on it, the value is written with serde_json. That is faster than `parse_json!` and `encode_json` inside the program.

use std::collections::BTreeMap;

use measure::{Failure, engine, locked};
use vrl::compiler::runtime::Runtime;
use vrl::compiler::{TargetValueRef, TimeZone, compile};
use vrl::value::{Secrets, Value};

fn main() -> Result<(), Failure> {
    let compiled = compile(include_str!("heartbeat.vrl"), &vrl::stdlib::all()).map_err(|found| format!("{found:?}"))?;
    let (program, timezone) = (compiled.program, TimeZone::default());
    let mut runtime = Runtime::default();
    let mut secrets = Secrets::default();
    engine(&locked(include_str!("../Cargo.lock"), "vrl"), |message, number, output| {
        let mut value: Value = serde_json::from_slice(message)?;
        let mut metadata = Value::Object(BTreeMap::from([("exec".into(), format!("heartbeats-0-{number}").into())]));
        let mut target = TargetValueRef { value: &mut value, metadata: &mut metadata, secrets: &mut secrets };
        runtime.resolve(&mut target, &program, &timezone)?;
        runtime.clear();
        serde_json::to_writer(output, &value)?;
        Ok(())
    })
}
