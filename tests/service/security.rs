//! TLS and SASL against a real broker with a throw-away authority; secrets that must not show.

#![expect(clippy::disallowed_methods, reason = "a wait for other processes is bounded in real time")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::broker::{Door, Real};
use harness::service::{self, Config, Service};
use serde_json::{Value, json};

use crate::stage::{Cluster, LARGE_RECORDS, SOON, Shared, Stage, ensure};

/// The password of the broker's user and that of the client's key: see `kafka.sh`.
const SECRETS: [&str; 2] = ["tester-secret", "key-secret"];

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn config(stage: &Stage, address: &str, tls: &Value, sasl: &Value) -> Result<Config, String> {
    let config = stage.config("errands")?.with("kafka/bootstrap_servers", address).with("service/startup_timeout", "5s");
    Ok(config.with("kafka/tls", tls.clone()).with("kafka/sasl", sasl.clone()))
}

/// Records go through, exactly once, and no secret shows anywhere.
fn works(stage: &Stage, config: &Config) -> Result<(), String> {
    let mut feeder = stage.feeder()?;
    feeder.stream(200, 5_000, |_| Ok(()))?;
    feeder.flush(SOON)?;
    let mut service = Service::start(config, SOON)?;
    stage.wait_all_committed(SOON)?;
    let (_, metrics) = service.get("/metrics")?;
    let (_, ready) = service.get("/ready")?;
    service.stop(SOON)?;
    hides(&[&service.stderr().join("\n"), &metrics, &ready])
}

fn hides(texts: &[&str]) -> Result<(), String> {
    let shown = texts.iter().find(|text| SECRETS.iter().any(|secret| text.contains(secret)));
    shown.map_or(Ok(()), |text| Err(format!("a secret shows in: {text}")))
}

/// The service must end with `code` and a line that has all `words`, and show no secret.
fn ends(config: &Config, code: i32, words: &[&str]) -> Result<(), String> {
    let mut service = Service::spawn(config)?;
    let ended = service.wait(Duration::from_secs(60))?;
    let said = service.stderr().join("\n");
    ensure(ended == Some(code) && words.iter().all(|word| said.contains(word)), || format!("exit code {ended:?}, expected {code} and {words:?}: {said}"))?;
    hides(&[&said])
}

/// A token that nobody has signed, good from now on for so long.
fn token(lives: Duration) -> (String, SystemTime) {
    let base = |text: &str| {
        let mut coded = vec![0; text.len() * 2];
        let count = URL_SAFE_NO_PAD.encode_slice(text, &mut coded).expect("a third more is enough");
        String::from_utf8_lossy(&coded[..count]).into_owned()
    };
    let now = SystemTime::now();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let claims = json!({"sub": "tester", "iat": seconds(now), "exp": seconds(now + lives)});
    (format!("{}.{}.", base(r#"{"alg":"none"}"#), base(&claims.to_string())), now + lives)
}

/// A service outlives its token, as long as a fresh one lies in the file before the old one expires.
fn renews_its_token(stage: &Stage, address: &str) -> Result<(), String> {
    let folder = tempfile::TempDir::new_in(harness::scratch()).map_err(|error| error.to_string())?;
    let file = folder.path().join("token");
    let write = |text: &str| std::fs::write(&file, text).map_err(|error| error.to_string());
    let by_file = |file: &Path| config(stage, address, &json!({}), &json!({"mechanism": "OAUTHBEARER", "token_file": text(file)}));
    // The client reads the file again after four fifths of a token's life, and a service that takes longer than `SOON` to start fails in any case: so the fresh one is there by then.
    let (old, expires) = token(SOON * 3 / 2);
    write(&old)?;
    let config = by_file(&file)?;
    let mut service = Service::start(&config, SOON)?;
    let (fresh, _) = token(Duration::from_hours(1));
    write(&fresh)?;
    // The broker cuts connections whose token has expired, so these records go through by the fresh one.
    let mut feeder = stage.feeder()?;
    while SystemTime::now() < expires + Duration::from_secs(2) {
        feeder.stream(100, 200, |_| Ok(()))?;
    }
    feeder.flush(SOON)?;
    stage.wait_all_committed(SOON)?;
    let (_, metrics) = service.get("/metrics")?;
    service.stop(SOON)?;
    let said = service.stderr().join("\n");
    let shown = [&said, &metrics].iter().any(|text| text.contains(&old) || text.contains(&fresh));
    ensure(!shown, || "a token shows".to_owned())?;

    write(&token(Duration::from_secs(1)).0.replace('.', "!"))?;
    ends(&config, 3, &["do not let us in"])?;
    ends(&by_file(&folder.path().join("none"))?, 3, &["do not let us in", "no token", "cannot be read"])?;
    let list = folder.path().join("token.yaml");
    write(&fresh)?;
    std::fs::write(&list, config.body.to_string()).map_err(|error| error.to_string())?;
    let (code, _, stderr) = service::run(&["dlq", "list", "--config", &text(&list)], SOON)?;
    ensure(code == Some(0), || format!("dlq list ended with {code:?}: {stderr}"))
}

/// The password of the client's key, wrong: the client refuses its configuration.
fn wrong_key(tls: &Value) -> Value {
    let mut wrong = tls.clone();
    wrong["key_pass"] = json!("wrong");
    wrong
}

pub(crate) fn tls_and_sasl_let_the_right_ones_in(_: &Shared) -> Result<(), String> {
    let real = Real::start_secured(1, LARGE_RECORDS)?;
    let ca = json!({"enabled": true, "ca_file": text(&real.key("ca.pem"))});
    let mut client = ca.clone();
    for (key, file) in [("crt_file", "client.pem"), ("key_file", "client.key")] {
        client[key] = json!(text(&real.key(file)));
    }
    client["key_pass"] = json!("key-secret");
    let at = |host: &str, door: Door| format!("{host}:{}", real.door(door));
    let (tls, sasl_tls, open, by_number) =
        (at("localhost", Door::Tls), at("localhost", Door::SaslTls), at("localhost", Door::Sasl), at("127.0.0.1", Door::Tls));
    let user = |mechanism: &str, password: &str| json!({"mechanism": mechanism, "username": "tester", "password": password});
    let none = json!({});
    let stage = Stage::of(Cluster::Own(real), "secured", 2)?;

    works(&stage, &config(&stage, &tls, &client, &none)?)?;
    works(&stage, &config(&stage, &sasl_tls, &ca, &user("PLAIN", "tester-secret"))?)?;
    works(&stage, &config(&stage, &sasl_tls, &ca, &user("SCRAM-SHA-512", "tester-secret"))?)?;
    works(&stage, &config(&stage, &open, &none, &user("SCRAM-SHA-256", "tester-secret"))?)?;
    // The certificate names localhost alone.
    let mut careless = client.clone();
    careless["verify_hostname"] = json!(false);
    works(&stage, &config(&stage, &by_number, &careless, &none)?)?;

    renews_its_token(&stage, &open)?;
    ends(&config(&stage, &by_number, &client, &none)?, 3, &["certificate verify failed"])?;
    ends(&config(&stage, &tls, &json!({"enabled": true}), &none)?, 3, &["certificate verify failed"])?;
    ends(&config(&stage, &tls, &wrong_key(&client), &none)?, 78, &["refused its configuration"])?;
    ends(&config(&stage, &open, &none, &user("SCRAM-SHA-256", "wrong"))?, 3, &["do not let us in"])?;
    ends(&config(&stage, &sasl_tls, &ca, &user("PLAIN", "wrong"))?, 3, &["do not let us in"])?;
    shows_no_secret(&config(&stage, &sasl_tls, &client, &user("PLAIN", "tester-secret"))?)
}

/// Operators' commands take the same configuration, and none of them shows a secret.
fn shows_no_secret(config: &Config) -> Result<(), String> {
    let folder = tempfile::TempDir::new_in(harness::scratch()).map_err(|error| error.to_string())?;
    let file = folder.path().join("secured.yaml");
    std::fs::write(&file, config.body.to_string()).map_err(|error| error.to_string())?;
    let file = text(&file);
    for (arguments, word) in [(&["config", "show", "--config", &file][..], "mechanism"), (&["dlq", "list", "--config", &file], "")] {
        let (code, stdout, stderr) = service::run(arguments, SOON)?;
        ensure(code == Some(0) && stdout.contains(word), || format!("{arguments:?} ended with {code:?}: {stdout}{stderr}"))?;
        hides(&[&stdout, &stderr])?;
    }
    Ok(())
}
