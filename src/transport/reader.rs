//! A link: receiving.

use super::error::{Talk, printable};
use super::link::Shared;
use super::{Lane, LinkError, LinkEvent};
use crate::wire::{DecodeError, Frame, FrameDecoder, Kind};
use bytes::Bytes;
use quinn::{ReadError, RecvStream};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Chunks taken from a stream in one go; each is what one packet held of it.
const CHUNKS: usize = 32;

/// A side that ends its streams says why when it closes the connection, soon after.
const LINGER: Duration = Duration::from_secs(2);

/// One lane's stream and what was read of it.
pub(super) struct Inbox {
    lane: Lane,
    stream: RecvStream,
    decoder: FrameDecoder,
    // Frames that arrived together with the first one.
    ready: Vec<Frame>,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other side ended the stream in good order.
    Finished,
    /// What it sent is no sequence of frames.
    Garbage(Lane, DecodeError),
    /// The connection broke, or the other side gave up the stream.
    Broken(ReadError),
}

impl Ended {
    /// As the error of a link that is not up yet.
    pub fn error(self, talk: &Talk) -> LinkError {
        match self {
            Ended::Broken(ReadError::ConnectionLost(error)) => talk.error(error),
            other => talk.broken(other),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Finished => f.write_str("it ended a stream"),
            Ended::Garbage(lane, error) => write!(f, "{lane} stream: {error}"),
            Ended::Broken(error) => f.write_str(&printable(error.to_string().as_bytes())),
        }
    }
}

impl Inbox {
    pub fn new(lane: Lane, stream: RecvStream) -> Self {
        Self { lane, stream, decoder: FrameDecoder::default(), ready: Vec::new() }
    }

    /// The first frame.
    pub async fn first(&mut self) -> Result<Frame, Ended> {
        while self.ready.is_empty() {
            self.ready = self.read().await?;
        }
        Ok(self.ready.remove(0))
    }

    // Waits for bytes and cuts all that are there into frames; perhaps none is whole yet.
    async fn read(&mut self) -> Result<Vec<Frame>, Ended> {
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let read = self.stream.read_chunks(&mut chunks).await.map_err(Ended::Broken)?;
        let read = read.ok_or(Ended::Finished)?;
        let mut frames = Vec::new();
        for chunk in chunks.into_iter().take(read) {
            self.decoder.push(chunk);
            let garbage = |error| Ended::Garbage(self.lane, error);
            while let Some(frame) = self.decoder.next_frame().map_err(garbage)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    async fn hand_up<K: Clone>(
        mut self,
        shared: &Shared,
        events: &mpsc::Sender<(K, LinkEvent)>,
        key: &K,
    ) {
        let lane = self.lane;
        let mut frames = std::mem::take(&mut self.ready);
        loop {
            if frames.iter().any(|frame| frame.kind == Kind::Open) {
                return shared.fault(&format!("{lane} stream: an Open frame out of place"));
            }
            if !frames.is_empty() {
                let event = (key.clone(), LinkEvent::Frames { lane, frames });
                if events.send(event).await.is_err() {
                    return shared.fault("nobody takes its frames any more");
                }
            }
            frames = match self.read().await {
                Ok(frames) => frames,
                Err(ended @ Ended::Garbage(..)) => return shared.fault(&ended.to_string()),
                Err(Ended::Broken(ReadError::ConnectionLost(_))) => return,
                Err(ended) => {
                    let _ = timeout(LINGER, shared.connection.closed()).await;
                    return shared.fault(&ended.to_string());
                }
            };
        }
    }
}

/// The lanes of a link.
pub(super) struct Inboxes {
    protocol: Option<Inbox>,
    bulk: Option<Inbox>,
}

impl Inboxes {
    /// From the streams in the order of the lanes.
    pub fn new(inboxes: Vec<Inbox>) -> Self {
        let mut inboxes = inboxes.into_iter();
        Self { protocol: inboxes.next(), bulk: inboxes.next() }
    }

    /// One of them.
    pub fn of(&mut self, lane: Lane) -> Option<&mut Inbox> {
        match lane {
            Lane::Protocol => self.protocol.as_mut(),
            Lane::Bulk => self.bulk.as_mut(),
        }
    }

    /// Hands up everything until the connection is gone, and then that it is gone.
    pub async fn run<K>(self, shared: Arc<Shared>, events: mpsc::Sender<(K, LinkEvent)>, key: K)
    where
        K: Clone + Send + Sync + 'static,
    {
        let lane = async |inbox: Option<Inbox>| {
            if let Some(inbox) = inbox {
                inbox.hand_up(&shared, &events, &key).await;
            }
        };
        tokio::join!(lane(self.protocol), lane(self.bulk));
        let (cause, reason) = shared.closed_by(shared.connection.closed().await);
        let _ = events.send((key, LinkEvent::Closed { cause, reason })).await;
    }
}
