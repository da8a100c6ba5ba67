//! One attempt to get a link.

use super::Misfit;
use crate::config::{Cluster, ReplicaEntry};
use crate::transport::{Endpoint, Lane, Link, LinkClass, LinkError, resolve};
use crate::types::{Digest, GroupId};
use crate::wire::{DecodeError, Frame, Greeting, Hello, Kind, Message as _, PROTOCOL_VERSION};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Whom to dial, and what to find there.
pub(crate) struct Target {
    pub cluster: Digest,
    pub replica: ReplicaEntry,
}

/// Why there is no link.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For people.
    pub text: String,
    /// Whether waiting does not mend it.
    pub hopeless: bool,
}

/// Finds the host, shakes hands, judges the hello and sends the greeting.
pub(crate) async fn dial(
    endpoint: &Arc<Endpoint>,
    target: &Arc<Target>,
) -> Result<(Link, Hello), Failure> {
    let address = &target.replica.address;
    let found = resolve(address).await.map_err(|e| Failure {
        text: format!("cannot find the address {address}: {e}"),
        hopeless: false,
    })?;
    if let [only] = found[..] {
        return dial_address(endpoint, target, only).await;
    }
    // A host may have addresses at which nobody listens, mostly of the other family.
    let mut attempts = JoinSet::new();
    for address in found {
        let (endpoint, target) = (endpoint.clone(), target.clone());
        attempts.spawn(async move { dial_address(&endpoint, &target, address).await });
    }
    let mut failed = Failure { text: String::new(), hopeless: false };
    while let Some(Ok(attempt)) = attempts.join_next().await {
        match attempt {
            Ok(link) => return Ok(link),
            Err(failure) => {
                let separator = if failed.text.is_empty() { "" } else { "; " };
                failed.text = format!("{}{separator}{}", failed.text, failure.text);
                failed.hopeless |= failure.hopeless;
            }
        }
    }
    Err(failed)
}

/// Where a client's socket listens so that it can dial all replicas of a cluster.
pub fn any_address(cluster: &Cluster) -> SocketAddr {
    let ip_of = |r: &ReplicaEntry| r.address.parse::<SocketAddr>().ok();
    let only_v4 = cluster.replicas.iter().all(|r| ip_of(r).is_some_and(|a| a.is_ipv4()));
    let listens = |a: SocketAddr| std::net::UdpSocket::bind(a).is_ok();
    let (v4, v6) = ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into());
    // A socket of version 6 reaches both families, where there is one.
    if only_v4 || !listens(v6) { v4 } else { v6 }
}

async fn dial_address(
    endpoint: &Endpoint,
    target: &Target,
    address: SocketAddr,
) -> Result<(Link, Hello), Failure> {
    let key = &target.replica.public_key;
    let no_link =
        |error: LinkError| Failure { text: error.to_string(), hopeless: hopeless(&error) };
    let dialled = endpoint.dial(address, key, LinkClass::Client).await.map_err(no_link)?;
    let (link, first) = dialled.wait().await.map_err(no_link)?;
    match judge(target, &first) {
        Ok(hello) => {
            let greeting = Greeting { version: PROTOCOL_VERSION, cluster: target.cluster };
            link.send(Lane::Protocol, &greeting.to_frame(GroupId::MAIN));
            link.flush();
            Ok((link, hello))
        }
        Err(misfit) => {
            link.close(&misfit.to_string());
            Err(Failure { text: format!("{address}: {misfit}"), hopeless: true })
        }
    }
}

/// Whether a replica's first frame is a hello that fits.
fn judge(target: &Target, frame: &Frame) -> Result<Hello, Misfit> {
    if frame.kind != Kind::Hello {
        return Err(Misfit::NoHello(DecodeError { what: "another kind of frame", at: 4 }));
    }
    let hello = Hello::from_body(&frame.body).map_err(Misfit::NoHello)?;
    let (theirs, ours) = (hello.replica, target.replica.id);
    match () {
        () if hello.version != PROTOCOL_VERSION => Err(Misfit::Version(hello.version)),
        () if hello.cluster != target.cluster => {
            Err(Misfit::Cluster { theirs: hello.cluster, ours: target.cluster })
        }
        () if theirs != ours => Err(Misfit::Replica { theirs, ours }),
        () => Ok(hello),
    }
}

/// Whether somebody must change something before it gets better.
fn hopeless(error: &LinkError) -> bool {
    match error {
        LinkError::WrongKey { .. }
        | LinkError::NotAdmitted { .. }
        | LinkError::OtherProtocol { .. }
        | LinkError::Protocol { .. } => true,
        LinkError::NoAnswer { .. }
        | LinkError::Busy { .. }
        | LinkError::Handshake { .. }
        | LinkError::Closed { .. }
        | LinkError::Lost { .. }
        | LinkError::CannotDial { .. } => false,
    }
}
