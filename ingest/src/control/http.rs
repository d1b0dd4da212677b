//! Health, metrics and version over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/ping`, `/livez` | 200 as long as the process runs |
//! | `/ready`, `/readyz`, `/healthz` | 200 when every pipeline takes records, 503 otherwise; JSON with the reasons |
//! | `/metrics` | Prometheus text |
//! | `/version` | JSON |

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use crate::error::Error;
use crate::metrics::exposition;

/// What is asked over HTTP; the service, or nothing while it starts.
pub trait Health: Send + Sync + 'static {
    /// Why the service does not take records now; empty when it does.
    fn reasons(&self) -> Vec<String>;

    /// Everything that is measured, now.
    fn snapshot(&self) -> exposition::Snapshot;
}

/// Binds the address.
///
/// # Errors
/// [`Error::Surroundings`] when it is taken or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::surroundings(format!("http.listen {address} cannot be bound"), error))
}

/// Serves until `end` is over.
pub async fn serve(listener: TcpListener, health: Arc<dyn Health>, end: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = axum::serve(listener, router(health)).with_graceful_shutdown(end).await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

fn router(health: Arc<dyn Health>) -> Router {
    Router::new()
        .route("/ping", get(ping))
        .route("/livez", get(ping))
        .route("/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(health)
}

async fn ping() -> &'static str {
    "pong\n"
}

async fn ready(State(health): State<Arc<dyn Health>>) -> Response {
    let reasons = health.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &json!({"ready": reasons.is_empty(), "reasons": reasons}))
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> Response {
    // Merging histograms takes a moment, and readings of the lag may wait for a lock: not on the thread that answers /ping.
    let rendered = tokio::task::spawn_blocking(move || exposition::render(health.snapshot())).await;
    match rendered {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn version() -> Response {
    json_response(StatusCode::OK, &json!({"name": "expressway", "version": env!("CARGO_PKG_VERSION")}))
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    struct Fixed(Vec<String>);

    impl Health for Fixed {
        fn reasons(&self) -> Vec<String> {
            self.0.clone()
        }

        fn snapshot(&self) -> exposition::Snapshot {
            exposition::Snapshot { pipelines: Vec::new(), uptime: Duration::from_secs(1), log_lines_held: 0 }
        }
    }

    /// Asks a server with these reasons for `paths`; whole answers as text.
    fn ask(reasons: &[&str], paths: &[&str]) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(bind(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("bound");
        let address = listener.local_addr().expect("bound");
        let health = Arc::new(Fixed(reasons.iter().map(|reason| (*reason).to_owned()).collect()));
        runtime.spawn(serve(listener, health, std::future::pending()));
        let answer = |path: &&str| {
            let mut stream = TcpStream::connect(address).expect("connected");
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("received");
            answer
        };
        paths.iter().map(answer).collect()
    }

    #[test]
    fn ready_is_200_without_reasons_and_503_with_them() {
        for answer in ask(&[], &["/ready", "/readyz", "/healthz"]) {
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#"{"ready":true,"reasons":[]}"#), "{answer}");
        }
        for answer in ask(&["pipeline a: no partition"], &["/ready", "/readyz", "/healthz"]) {
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(r#"{"ready":false,"reasons":["pipeline a: no partition"]}"#), "{answer}");
        }
    }

    #[test]
    fn liveness_metrics_and_version_answer_in_any_case() {
        let answers = ask(&["not ready"], &["/ping", "/livez", "/metrics", "/version", "/nothing"]);
        let parts = ["pong", "pong", "expressway_uptime_seconds 1.0", r#""name":"expressway""#, "404"];
        for ((answer, part), status) in answers.iter().zip(parts).zip(["200", "200", "200", "200", "404"]) {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(part), "{answer}");
        }
    }
}
