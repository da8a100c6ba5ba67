//! The load on etcd: `Put` over gRPC, or `Txn` of several puts.
//!
//! The messages are those of etcd's `rpc.proto`, with the fields that are used here.

use crate::keys::Load;
use crate::{LoadArgs, READY};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Which nodes the connections go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// All to the leader: nothing is forwarded.
    Leader,
    /// To all nodes in turn, as a client does that is given all addresses.
    All,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    // One of several in etcd's file; a put has this number.
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// Runs the load against the nodes.
///
/// # Errors
/// If there is no leader in time, or a connection cannot be made.
pub async fn run(args: &LoadArgs, spread: Spread) -> Result<Value> {
    let leader = ready(&args.address).await?;
    let nodes = match spread {
        Spread::Leader => vec![leader],
        Spread::All => args.address.clone(),
    };
    let mut connections = Vec::new();
    for node in nodes.iter().cycle().take(args.clients as usize) {
        connections.push(connect(*node).await?);
    }
    let load = Rc::new(RefCell::new(Load::new(args.keys, args.size, args.seed)));
    let shared = args.window();
    let mut workers = JoinSet::new();
    for connection in (0..args.outstanding).flat_map(|_| &connections) {
        let mut grpc = Grpc::new(connection.clone());
        let (load, shared, commands) = (load.clone(), shared.clone(), args.commands_per_request);
        workers.spawn_local(async move {
            while !shared.tally().stopped() {
                let begun = Instant::now();
                let answer = match commands {
                    1 => put(&mut grpc, &load).await,
                    _ => txn(&mut grpc, &load, commands).await,
                };
                match answer {
                    Ok(()) => shared.tally().good(begun, Instant::now()),
                    Err(why) => shared.tally().failed(|| why.to_string()),
                }
            }
        });
    }
    let report = shared.watch(&args.pid, args.commands_per_request).await?;
    while let Some(done) = workers.join_next().await {
        done?;
    }
    Ok(report.to_json(&shared))
}

async fn put(grpc: &mut Grpc<Channel>, load: &RefCell<Load>) -> Result<(), Status> {
    let request = next_put(&mut load.borrow_mut());
    let answer: PutResponse = call(grpc, PUT, request).await?;
    match answer.header {
        Some(header) if header.revision > 0 => Ok(()),
        _ => Err(Status::internal("a put without a revision")),
    }
}

async fn txn(grpc: &mut Grpc<Channel>, load: &RefCell<Load>, n: u32) -> Result<(), Status> {
    let request = next_txn(&mut load.borrow_mut(), n as usize);
    let answer: TxnResponse = call(grpc, TXN, request).await?;
    match answer.succeeded {
        true => Ok(()),
        false => Err(Status::internal("a transaction without a condition that did not succeed")),
    }
}

fn next_put(load: &mut Load) -> PutRequest {
    let (key, value) = load.next_put();
    PutRequest { key: key.to_vec(), value: value.to_vec() }
}

/// etcd refuses a key that a transaction puts twice: another one is drawn instead.
fn next_txn(load: &mut Load, commands: usize) -> TxnRequest {
    let mut keys = BTreeSet::new();
    let mut success = Vec::with_capacity(commands);
    while success.len() < commands {
        let put = next_put(load);
        if keys.insert(put.key.clone()) {
            success.push(RequestOp { put: Some(put) });
        }
    }
    TxnRequest { success }
}

async fn call<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, ask: Q) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = PathAndQuery::from_static(path);
    let codec = ProstCodec::<Q, A>::default();
    Ok(grpc.unary(Request::new(ask), path, codec).await?.into_inner())
}

async fn connect(node: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{node}"))?;
    endpoint.connect().await.with_context(|| format!("cannot reach etcd at {node}"))
}

/// Waits until all nodes name the same leader, and gives its address.
async fn ready(nodes: &[SocketAddr]) -> Result<SocketAddr> {
    let deadline = Instant::now() + READY;
    loop {
        match leader(nodes).await {
            Ok(leader) => return Ok(leader),
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.context(format!("etcd is not ready after {READY:?}"))),
        }
    }
}

async fn leader(nodes: &[SocketAddr]) -> Result<SocketAddr> {
    let mut found = Vec::new();
    for node in nodes {
        let mut grpc = Grpc::new(connect(*node).await?);
        let status: StatusResponse = call(&mut grpc, STATUS, ()).await?;
        let member = status.header.context("a status without a header")?.member_id;
        found.push((*node, member, status.leader));
    }
    let of = |(_, member, leader): &&(SocketAddr, u64, u64)| member == leader;
    let Some((address, member, _)) = found.iter().find(of) else { bail!("there is no leader") };
    match found.iter().all(|(_, _, leader)| leader == member) {
        true => Ok(*address),
        false => bail!("not all nodes know the leader yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn messages_have_the_bytes_of_etcds_protocol() {
        let put = PutRequest { key: b"k".to_vec(), value: b"vw".to_vec() };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x02vw");
        // success is field 2 of TxnRequest, request_put field 2 of RequestOp.
        let txn = TxnRequest { success: vec![RequestOp { put: Some(put) }] };
        assert_eq!(txn.encode_to_vec(), b"\x12\x09\x12\x07\x0a\x01k\x12\x02vw");
        // Other fields are passed over: cluster_id, raft_term, version and dbSize.
        let status = b"\x0a\x08\x08\x07\x10\x05\x18\x09\x20\x02\x12\x013\x18\x64\x20\x05";
        let status = StatusResponse::decode(&status[..]).unwrap();
        assert_eq!(status.header, Some(Header { member_id: 5, revision: 9 }));
        assert_eq!(status.leader, 5);
    }

    #[test]
    fn a_transaction_has_no_key_twice() {
        let txn = next_txn(&mut Load::new(16, 8, 1), 16);
        let keys: BTreeSet<_> = txn.success.iter().map(|op| op.put.clone().unwrap().key).collect();
        assert_eq!((txn.success.len(), keys.len()), (16, 16));
    }
}
