//! The admin address: `/status` (JSON), `/health`, `/metrics` over HTTP.

use super::node::Request;
use crate::metrics;
use crate::replica::{Standing, Status};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Connections served at once; further ones wait.
const CONNECTIONS: usize = 32;
/// How long a connection may take to send a request.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, requests: mpsc::Sender<Request>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, perhaps: others may be free in a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, requests.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Whoever asked has gone away; nobody is left to be told.
            let _ = tokio::time::timeout(2 * PATIENCE, connection).await;
            drop(place);
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    requests: mpsc::Sender<Request>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n"));
    }
    let path = request.uri().path();
    if !["/status", "/health", "/metrics"].contains(&path) {
        return Ok(text(StatusCode::NOT_FOUND, "there are /status, /health and /metrics\n"));
    }
    let Some(status) = ask(&requests).await else {
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "the replica's loop does not answer\n"));
    };
    Ok(match path {
        "/status" => {
            let body = serde_json::to_string_pretty(&status).expect("a status is plain data");
            with_type(StatusCode::OK, "application/json", body)
        }
        "/metrics" => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            with_type(StatusCode::OK, kind, metrics::render(&status))
        }
        _ => health(&status),
    })
}

/// Healthy is who takes part and does not wait for others.
fn health(status: &Status) -> Response<Full<Bytes>> {
    let unhealthy = StatusCode::SERVICE_UNAVAILABLE;
    if let Some(why) = status.chain.as_ref().and_then(|chain| chain.halted.as_ref()) {
        return text(unhealthy, &format!("its part in the chain has halted: {why}\n"));
    }
    match (status.standing, &status.waiting) {
        (Standing::Member | Standing::Host, None) => text(StatusCode::OK, "ok\n"),
        (Standing::Member | Standing::Host, Some(w)) => {
            text(unhealthy, &format!("waiting for replicas {:?} in round {}\n", w.missing, w.round))
        }
        (Standing::Changing, _) => text(unhealthy, "the group changes its members\n"),
        (Standing::Joining, _) => text(unhealthy, "out, and joins again\n"),
        (Standing::Follower, _) => text(unhealthy, "out, and only follows\n"),
        (Standing::Restarted, _) => text(unhealthy, "restarted without its state\n"),
        (Standing::Quarantined, _) => {
            text(unhealthy, "its results were not those of t + 1 others; it fetches their state\n")
        }
        (Standing::Halted, _) => {
            let why = status.halted.as_deref().unwrap_or_default();
            text(unhealthy, &format!("halted: {why}\n"))
        }
    }
}

async fn ask(requests: &mpsc::Sender<Request>) -> Option<Status> {
    let (answer, status) = oneshot::channel();
    requests.send(Request::Status(answer)).await.ok()?;
    tokio::time::timeout(PATIENCE, status).await.ok()?.ok()
}

fn text(code: StatusCode, body: &str) -> Response<Full<Bytes>> {
    with_type(code, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
