//! The job by hand, on serde_json's values.

use serde_json::{Map, Value, json};

/// Writes the job's output for `message` behind what `output` holds. `execution` is the name of this run.
pub fn heartbeat(message: &[u8], execution: String, output: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut message: Map<String, Value> = serde_json::from_slice(message)?;
    if !message.get("type").is_some_and(|kind| kind == "heartbeat" || kind == "alert") {
        let failure = json!({"Error": "UnknownType", "Cause": "The message is neither a heartbeat nor an alert."});
        return serde_json::to_writer(output, &failure);
    }
    let member = |name: &str| message.get(name).cloned().unwrap_or_default();
    let meta = json!({"deviceId": member("deviceId"), "at": member("ts"), "source": "iot", "exec": execution});
    let is_low = message.get("battery").and_then(Value::as_f64).is_some_and(|battery| battery < 20.0);
    message.insert("meta".to_owned(), meta);
    if is_low {
        message.insert("alarm".to_owned(), json!({"level": "low"}));
    }
    serde_json::to_writer(output, &message)
}
