//! The heartbeat workflow written by hand with serde_json: what the engine's outputs are checked against, and how fast that way is.

use serde_json::{Map, Value, json};

/// Output of the heartbeat workflow for `input`, or error and cause as JSON where it fails.
///
/// # Errors
/// `input` is no JSON object.
pub fn heartbeat(input: &[u8], execution: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut message: Map<String, Value> = serde_json::from_slice(input)?;
    let known = message.get("type").is_some_and(|kind| kind == "heartbeat" || kind == "alert");
    if !known {
        return serde_json::to_vec(&json!({"Error": "UnknownType", "Cause": "The message is neither a heartbeat nor an alert."}));
    }
    let member = |name: &str| message.get(name).cloned().unwrap_or_default();
    let meta = json!({"deviceId": member("deviceId"), "at": member("ts"), "source": "iot", "exec": execution});
    let is_low = message.get("battery").and_then(Value::as_i64).is_some_and(|battery| battery < 20);
    message.insert("meta".to_owned(), meta);
    if is_low {
        message.insert("alarm".to_owned(), json!({"level": "low"}));
    }
    serde_json::to_vec(&message)
}

/// Output of the alert workflow for `input`, an alert with readings.
///
/// # Errors
/// `input` is no JSON object.
pub fn alert(input: &[u8], execution: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut message: Map<String, Value> = serde_json::from_slice(input)?;
    let member = |name: &str| message.get(name).cloned().unwrap_or_default();
    let summary = json!({"device": member("deviceId"), "at": member("ts"), "site": member("site")["id"], "execution": execution});
    let level = |reading: &Value| match reading["temp"].as_f64().unwrap_or(0.0) {
        temp if temp >= 80.0 => "critical",
        temp if temp >= 60.0 => "warning",
        _ => "normal",
    };
    let judged = |(index, reading): (usize, &Value)| json!({"index": index, "reading": reading, "device": member("deviceId"), "level": level(reading)});
    let readings: Vec<Value> = member("readings").as_array().map_or(&[][..], Vec::as_slice).iter().enumerate().map(judged).collect();
    message.insert("judgement".to_owned(), json!({"summary": summary, "readings": readings}));
    serde_json::to_vec(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(String::from_utf8(heartbeat(input.as_bytes(), "x-0-1").unwrap()).unwrap(), expected);
    }

    #[test]
    fn messages_are_enriched_and_low_batteries_marked() {
        let meta = r#""meta":{"deviceId":"d","at":"t","source":"iot","exec":"x-0-1"}"#;
        check(
            r#"{"deviceId":"d","type":"alert","ts":"t","battery":20,"cpu":0.40}"#,
            &format!(r#"{{"deviceId":"d","type":"alert","ts":"t","battery":20,"cpu":0.40,{meta}}}"#),
        );
        check(
            r#"{"deviceId":"d","type":"heartbeat","ts":"t","battery":19}"#,
            &format!(r#"{{"deviceId":"d","type":"heartbeat","ts":"t","battery":19,{meta},"alarm":{{"level":"low"}}}}"#),
        );
        check(r#"{"type":"probe"}"#, r#"{"Error":"UnknownType","Cause":"The message is neither a heartbeat nor an alert."}"#);
    }
}
