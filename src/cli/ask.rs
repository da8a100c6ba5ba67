//! Asking the replicas' admin addresses, and what to believe of the answers.

use crate::config::Cluster;
use crate::replica::{Place, Status};
use crate::types::ReplicaId;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a replica may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const LIMIT: usize = 1 << 20;

/// What one replica's admin address said, or why there is no answer.
pub(super) type Answer = Result<Status, String>;

/// The condition of each replica of the roster, all asked at once.
pub(super) async fn all(cluster: &Cluster, patience: Duration) -> Vec<Answer> {
    let mut asked = Vec::new();
    for replica in &cluster.replicas {
        let (admin, id) = (replica.admin, cluster.id().to_hex());
        asked.push(tokio::spawn(async move {
            let answer = tokio::time::timeout(patience, status(admin)).await;
            let status = answer.map_err(|_| format!("{admin} does not answer"))??;
            if status.cluster != id {
                return Err(format!("{admin} serves another cluster, {:.16}", status.cluster));
            }
            Ok(status)
        }));
    }
    let mut answers = Vec::new();
    for task in asked {
        answers.push(task.await.unwrap_or_else(|e| Err(e.to_string())));
    }
    answers
}

/// What most say of one replica.
pub(super) struct Said<'a> {
    pub(super) place: &'a Place,
    /// Who says so, each with its agreed time. Fewer than `t + 1` may all be liars.
    pub(super) by: Vec<(u8, u64)>,
}

/// What most say of a replica; among equals what the lowest number says. None if nobody answers.
pub(super) fn most_say(answers: &[Answer], replica: ReplicaId) -> Option<Said<'_>> {
    let told = answers.iter().zip(1u8..).filter_map(|(answer, number)| {
        let condition = answer.as_ref().ok()?;
        let place = condition.standings.get(replica.index())?;
        Some((place, number, condition.agreed_time))
    });
    let mut views: Vec<Said<'_>> = Vec::new();
    for (place, number, agreed) in told {
        match views.iter_mut().find(|said| said.place == place) {
            Some(said) => said.by.push((number, agreed)),
            None => views.push(Said { place, by: vec![(number, agreed)] }),
        }
    }
    let most = views.iter().map(|said| said.by.len()).max()?;
    views.into_iter().find(|said| said.by.len() == most)
}

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
