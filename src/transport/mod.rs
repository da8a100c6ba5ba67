//! Links: mutually authenticated QUIC between processes that know each other's keys.
//!
//! - TLS 1.3 with raw public keys (RFC 7250): a process is its ed25519 key. The dialler pins the
//!   one key that it expects, the acceptor asks a callback ([`Admit`]). There are no names,
//!   certificates, dates, tickets, resumption or early data, so a key that leaves the roster is
//!   out at its next handshake.
//! - The protocol name (ALPN) decides the class of a link before the key is judged, so that a
//!   client's key never gets a link of the replica class and the other way round.
//! - A link is one long-lived stream of frames ([`Lane::Protocol`]), between replicas also a
//!   second one of lower priority ([`Lane::Bulk`]). The acceptor opens them and speaks first:
//!   what a dialler's handshake reports says nothing about whether the acceptor admitted it, the
//!   acceptor's first frame does. The dialler may open no stream at all.
//! - Nothing here is per message: [`Link::send`] appends to a buffer, [`Link::flush`] wakes a
//!   writer that hands the whole buffer to the connection, a reader hands up all frames that had
//!   arrived as one [`LinkEvent::Frames`].
//! - Everything that a peer can make this side hold is bounded: flow control windows, queued
//!   bytes, one incomplete frame per lane, pending handshakes (B28, B29).
//!
//! The first frames are handed up unread: judging a hello is the caller's business.
//!
//! ```no_run
//! # use quorate::crypto::{PublicKey, SecretKey};
//! # use quorate::transport::{Admit, Endpoint, Lane, LinkClass, LinkEvent, Settings};
//! # use std::sync::Arc;
//! # async fn example(
//! #     secret: SecretKey, roster: Vec<PublicKey>, hello: Vec<u8>, ping: Vec<u8>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let peers = roster.clone();
//! let admit: Admit =
//!     Arc::new(move |key, class| class == LinkClass::Replica && peers.contains(key));
//! let listen = "0.0.0.0:7000".parse()?;
//! let endpoint = Endpoint::bind(listen, &secret, Some(admit), Settings::default())?;
//! let (sender, mut events) = tokio::sync::mpsc::channel(256);
//!
//! // Dialling: the peer's hello comes first, ours is the first frame on the protocol lane.
//! let dialled = endpoint.dial("10.0.0.1:7000".parse()?, &roster[0], LinkClass::Replica).await?;
//! let (mut link, theirs) = dialled.wait().await?;
//! println!("{:?} says {theirs:?}", link.peer());
//! link.send(Lane::Protocol, &hello);
//! link.flush();
//! link.start(sender.clone(), 1);
//!
//! // Accepting: ours first, then theirs. A task for each, since a peer may take its time.
//! while let Some(accepted) = endpoint.accept().await {
//!     let mut link = accepted.open(&hello).await?;
//!     let theirs = link.first().await?;
//!     println!("{:?} says {theirs:?}", link.peer());
//!     link.start(sender.clone(), 2);
//!     link.close("only an example");
//! }
//!
//! while let Some((from, event)) = events.recv().await {
//!     match event {
//!         LinkEvent::Frames { lane, frames } => println!("{from}: {} on {lane}", frames.len()),
//!         LinkEvent::Closed { cause, reason } => println!("{from}: {cause:?}, {reason}"),
//!     }
//!     link.send(Lane::Protocol, &ping);
//!     link.flush();
//! }
//! endpoint.close("shutting down").await;
//! # Ok(())
//! # }
//! ```
//!
//! | file | what lives there |
//! | --- | --- |
//! | `settings.rs` | timeouts, windows and limits, checked |
//! | `tls.rs` | identities, the two verifiers |
//! | `endpoint.rs` | dialling, accepting, closing |
//! | `socket.rs` | the UDP socket: how much goes into one call |
//! | `gate.rs`, `seldom.rs` | handshakes under way, bounded, and what of them is logged |
//! | `resolve.rs` | from a host name to addresses |
//! | `connected.rs` | from a finished handshake to a link: streams and first frames |
//! | `link.rs` | sending, closing |
//! | `reader.rs` | receiving |
//! | `error.rs` | what went wrong, whose fault it is and what to do |

mod connected;
mod endpoint;
mod error;
mod gate;
mod link;
mod reader;
mod resolve;
mod seldom;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use crate::crypto::PublicKey;
use crate::wire;
use std::fmt;
use std::sync::Arc;

pub use connected::{Accepted, Dialled};
pub use endpoint::{Endpoint, SocketBuffers};
pub use error::{LinkError, TransportError};
pub use gate::Handshakes;
pub use link::{CloseCause, Link, LinkEvent, MAX_REASON};
pub use resolve::{MAX_ADDRESSES, resolve};
pub use settings::Settings;

/// Decides whether a key may have a link of a class. It is asked in every handshake, twice, on
/// the endpoint's runtime: it should only look into a table.
pub type Admit = Arc<dyn Fn(&PublicKey, LinkClass) -> bool + Send + Sync>;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkClass {
    /// Between two replicas.
    Replica,
    /// From a client to a replica.
    Client,
}

impl LinkClass {
    /// The protocol name under which such a link is made.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            LinkClass::Replica => wire::ALPN_REPLICA,
            LinkClass::Client => wire::ALPN_CLIENT,
        }
    }

    /// How many streams it has: the protocol stream, and between replicas the bulk stream.
    pub fn streams(self) -> u8 {
        match self {
            LinkClass::Replica => 2,
            LinkClass::Client => 1,
        }
    }

    fn of_alpn(alpn: &[u8]) -> Option<Self> {
        [LinkClass::Replica, LinkClass::Client].into_iter().find(|class| class.alpn() == alpn)
    }
}

impl fmt::Display for LinkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkClass::Replica => "replica",
            LinkClass::Client => "client",
        })
    }
}

/// One of the two streams of a link. A client's link has one stream only: both lanes are it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// What the protocol waits for.
    Protocol,
    /// Bodies and state transfer; goes out when the protocol stream has nothing to send.
    Bulk,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Protocol => "protocol",
            Lane::Bulk => "bulk",
        })
    }
}
