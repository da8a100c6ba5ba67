//! From a finished handshake to a link: who opens the streams and who speaks first.

use super::error::{Talk, clip, code};
use super::{Lane, Link, LinkClass, LinkError, Settings};
use crate::crypto::PublicKey;
use crate::wire::{Frame, Kind, OPEN_FRAME};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;

/// What lies below a stream of higher priority.
const BULK_PRIORITY: i32 = -1;

/// A connection whose handshake is done.
pub(super) struct Handshaken {
    pub connection: Connection,
    pub peer: PublicKey,
    pub class: LinkClass,
    pub settings: Arc<Settings>,
    pub shutdown: watch::Receiver<Option<String>>,
}

/// A peer that dialled us and is admitted. Dropping it closes the connection.
pub struct Accepted(pub(super) Handshaken);

impl Accepted {
    /// Its key.
    pub fn peer(&self) -> PublicKey {
        self.0.peer
    }

    /// The class of link that it asked for and is admitted to.
    pub fn class(&self) -> LinkClass {
        self.0.class
    }

    /// Where it is.
    pub fn remote(&self) -> SocketAddr {
        self.0.connection.remote_address()
    }

    /// Opens the streams and sends `hello`, a whole frame, as the first on the protocol stream.
    /// The dialler's first frame comes by [`Link::first`].
    ///
    /// # Errors
    /// If the connection breaks, or the other side does not permit the streams in time.
    pub async fn open(self, hello: &[u8]) -> Result<Link, LinkError> {
        let talk = self.0.talk();
        let opening = self.0.open_streams();
        let streams = match timeout(talk.patience, opening).await {
            Err(_) => return Err(self.0.give_up(talk.no_answer())),
            Ok(Err(error)) => return Err(talk.error(error)),
            Ok(Ok(streams)) => streams,
        };
        let class = self.0.class;
        let link = Link::new(self.0, streams);
        link.send(Lane::Protocol, hello);
        if class.streams() > 1 {
            link.send(Lane::Bulk, &OPEN_FRAME);
        }
        link.flush();
        Ok(link)
    }

    /// Turns the peer away and says why, in at most [`super::MAX_REASON`] bytes.
    pub fn refuse(self, reason: &str) {
        self.0.connection.close(code::CLOSED, clip(reason).as_bytes());
    }
}

/// A connection that we dialled; the peer has the right key. Dropping it closes the connection.
pub struct Dialled(pub(super) Handshaken);

impl Dialled {
    /// Waits for the streams and the peer's first frame, its hello, not judged yet: only then the
    /// link is up. The caller's own hello is the first frame it sends.
    ///
    /// # Errors
    /// [`LinkError`]: this is also where a peer that does not admit our key is noticed.
    pub async fn wait(self) -> Result<(Link, Frame), LinkError> {
        let talk = self.0.talk();
        let accepting = self.0.accept_streams();
        let streams = match timeout(talk.patience, accepting).await {
            Err(_) => return Err(self.0.give_up(talk.no_answer())),
            Ok(Err(error)) => return Err(talk.error(error)),
            Ok(Ok(streams)) => streams,
        };
        let class = self.0.class;
        let mut link = Link::new(self.0, streams);
        let hello = link.first().await?;
        if class.streams() > 1 {
            let open = link.first_of(Lane::Bulk).await?;
            if open.kind != Kind::Open {
                let error = talk.broken("its bulk stream does not begin with an Open frame");
                link.fault(&error.to_string());
                return Err(error);
            }
        }
        Ok((link, hello))
    }
}

impl Handshaken {
    /// For errors on this connection.
    pub fn talk(&self) -> Talk {
        let peer = self.connection.remote_address();
        Talk { peer, class: self.class, patience: self.settings.handshake_timeout }
    }

    async fn open_streams(&self) -> Result<Vec<(SendStream, RecvStream)>, ConnectionError> {
        let mut streams = Vec::new();
        for number in 0..self.class.streams() {
            let (send, receive) = self.connection.open_bi().await?;
            if number > 0 {
                send.set_priority(BULK_PRIORITY).map_err(|_| ConnectionError::LocallyClosed)?;
            }
            streams.push((send, receive));
        }
        Ok(streams)
    }

    async fn accept_streams(&self) -> Result<Vec<(SendStream, RecvStream)>, ConnectionError> {
        let mut streams = Vec::new();
        for number in 0..self.class.streams() {
            // They come in the order in which they were opened, whichever packet came first.
            let (send, receive) = self.connection.accept_bi().await?;
            if number > 0 {
                send.set_priority(BULK_PRIORITY).map_err(|_| ConnectionError::LocallyClosed)?;
            }
            streams.push((send, receive));
        }
        Ok(streams)
    }

    fn give_up(&self, error: LinkError) -> LinkError {
        self.connection.close(code::FAULT, b"took too long to open the link");
        error
    }
}
