//! What can be wrong before any call.

use super::LinkReport;
use crate::transport::TransportError;
use crate::types::{Digest, ReplicaId};
use crate::wire::{DecodeError, PROTOCOL_VERSION};
use std::path::PathBuf;

/// Why a client could not be made, or is not ready.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket, the key or the settings.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system has no random numbers to give.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Fewer links than a majority are up. What is wrong with each stands in it.
    #[error("{}", not_ready(*needed, links))]
    NotReady {
        /// Links needed.
        needed: usize,
        /// All links, in the roster's order.
        links: Vec<LinkReport>,
        /// Whether so many links have an error that waiting does not mend that a majority cannot
        /// come about.
        hopeless: bool,
    },
    /// The cluster has several chains, and nothing says which keys commands of its service touch.
    #[error(
        "the cluster has several chains, and which one a command of the service `{0}` is for is \
         not known; set ClientOptions::touches to what Service::touches says"
    )]
    NoTouches(String),
    /// The state file cannot be used.
    #[error("the state file {}: {why}", path.display())]
    State {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

fn not_ready(needed: usize, links: &[LinkReport]) -> String {
    let up = links.iter().filter(|l| l.up).count();
    let mut text = format!("links to {up} of {} replicas, {needed} are needed", links.len());
    for link in links {
        text.push_str(&format!("\n  {link}"));
    }
    text
}

/// Why a replica's hello does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The first frame is no hello of this version's layout.
    #[error("its first message is no hello of protocol version {PROTOCOL_VERSION}: {0}")]
    NoHello(DecodeError),
    /// Another version.
    #[error(
        "it speaks protocol version {0}, this client version {PROTOCOL_VERSION}: use the same \
         release everywhere"
    )]
    Version(u16),
    /// Another cluster.
    #[error(
        "it belongs to cluster {theirs}, this cluster file describes {ours}: use the file that \
         the replicas were started with"
    )]
    Cluster {
        /// The replica's.
        theirs: Digest,
        /// Ours.
        ours: Digest,
    },
    /// Another place in the roster.
    #[error("it says that it is {theirs}, this cluster file calls its key {ours}")]
    Replica {
        /// What it says.
        theirs: ReplicaId,
        /// What the file says.
        ours: ReplicaId,
    },
}
