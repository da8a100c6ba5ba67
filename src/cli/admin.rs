//! Asking a replica's admin address.

use crate::replica::Status;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const LIMIT: usize = 1 << 20;

/// The condition of the replica whose admin address this is.
///
/// # Errors
/// What is wrong, in a sentence.
pub(super) async fn status(address: SocketAddr) -> Result<Status, String> {
    let answer = tokio::time::timeout(PATIENCE, get(address, "/status"));
    let body = answer.await.map_err(|_| format!("{address} does not answer"))??;
    serde_json::from_slice(&body).map_err(|e| format!("{address} answers no status: {e}"))
}

async fn get(address: SocketAddr, path: &str) -> Result<Bytes, String> {
    let failed = |e: String| format!("{address}: {e}");
    let stream = TcpStream::connect(address).await.map_err(|e| failed(e.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(e.to_string()))?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .expect("the request is well formed");
    let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
    let code = response.status();
    let body = Limited::new(response.into_body(), LIMIT).collect().await;
    driver.abort();
    if code != StatusCode::OK {
        return Err(failed(format!("answers {code}")));
    }
    Ok(body.map_err(|e| failed(e.to_string()))?.to_bytes())
}
