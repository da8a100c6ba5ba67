//! A link: sending and closing.

use super::connected::Handshaken;
use super::error::{Talk, clip, code, printable};
use super::reader::{Inbox, Inboxes};
use super::{Lane, LinkClass, LinkError};
use crate::crypto::PublicKey;
use crate::wire::Frame;
use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt, WriteError};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes of the reason in a closing frame at most; longer ones are cut.
pub const MAX_REASON: usize = 200;

/// An outbox of fewer bytes keeps its buffer.
const KEPT: usize = 64 * 1024;

/// What a link reports.
#[derive(Debug)]
pub enum LinkEvent {
    /// All frames that had arrived on a lane, in order; never empty. Their bodies are slices of
    /// received datagrams, so a small body may hold on to 64 KiB: copy what is kept for long.
    Frames {
        /// Where they came from.
        lane: Lane,
        /// The frames.
        frames: Vec<Frame>,
    },
    /// The link is gone; the last event, exactly once.
    Closed {
        /// Whose doing it was.
        cause: CloseCause,
        /// What the one that closed it said, printable.
        reason: String,
    },
}

/// Who ended a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// This side, also for a fault of the other side.
    Here,
    /// The other side closed it.
    Peer,
    /// Nobody: the connection timed out, or the peer restarted and does not know it any more.
    Lost,
}

/// A link that is up. Dropping it closes it, as [`Link::close`] does.
pub struct Link {
    shared: Arc<Shared>,
    inboxes: Option<Inboxes>,
}

impl Link {
    // Spawns the writers, and what ends them.
    pub(super) fn new(from: Handshaken, streams: Vec<(SendStream, RecvStream)>) -> Self {
        let shared = Arc::new(Shared::new(&from));
        let mut writers = JoinSet::new();
        let mut inboxes = Vec::new();
        for (lane, (send, receive)) in [Lane::Protocol, Lane::Bulk].into_iter().zip(streams) {
            writers.spawn(write(shared.clone(), lane, send));
            inboxes.push(Inbox::new(lane, receive));
        }
        let grace = from.settings.close_grace;
        tokio::spawn(supervise(shared.clone(), writers, grace, from.shutdown));
        Self { shared, inboxes: Some(Inboxes::new(inboxes)) }
    }

    /// The other side's key.
    pub fn peer(&self) -> PublicKey {
        self.shared.peer
    }

    /// What the link is for.
    pub fn class(&self) -> LinkClass {
        self.shared.talk.class
    }

    /// Where the other side is.
    pub fn remote(&self) -> SocketAddr {
        self.shared.talk.peer
    }

    /// The transport's own estimate of the round trip time.
    pub fn rtt(&self) -> Duration {
        self.shared.connection.rtt()
    }

    /// Bytes sent here and not taken over by the connection yet.
    pub fn queued(&self) -> usize {
        self.shared.outboxes.iter().map(|o| o.queued.load(Ordering::Relaxed)).sum()
    }

    /// Waits for the first frame on the protocol lane; before [`Link::start`].
    ///
    /// # Errors
    /// If it does not come in time or is no frame; the link is closed then.
    pub async fn first(&mut self) -> Result<Frame, LinkError> {
        self.first_of(Lane::Protocol).await
    }

    /// Begins to hand up what arrives, each event with `key` beside it. One task; where the
    /// channel is full it waits, and through flow control so does the other side of this link.
    /// If the channel's receiver is gone, the link is closed. Later calls do nothing.
    pub fn start<K>(&mut self, events: mpsc::Sender<(K, LinkEvent)>, key: K)
    where
        K: Clone + Send + Sync + 'static,
    {
        if let Some(inboxes) = self.inboxes.take() {
            tokio::spawn(inboxes.run(self.shared.clone(), events, key));
        }
    }

    /// Queues a whole frame; it leaves at the next [`Link::flush`] at the latest. False if the
    /// link is closed, or if more than [`super::Settings::outbox_bytes`] wait on the lane: then
    /// the other side does not read, or not fast enough. On the protocol lane that closes the
    /// link; on a bulk lane of its own only this frame is lost.
    pub fn send(&self, lane: Lane, frame: &[u8]) -> bool {
        self.shared.send(lane, frame)
    }

    /// Lets the writers have all that is queued: call it once after a batch of sends.
    pub fn flush(&self) {
        for outbox in &self.shared.outboxes {
            if !outbox.lock().is_empty() {
                outbox.wake.notify_one();
            }
        }
    }

    /// Closes the link after delivering what was sent, for which it takes
    /// [`super::Settings::close_grace`] at most. The other side reads the first [`MAX_REASON`]
    /// bytes of the reason.
    pub fn close(&self, reason: &str) {
        self.shared.close(reason);
    }

    /// Closes the link at once for a fault of the other side, dropping what is queued.
    pub fn fault(&self, reason: &str) {
        self.shared.fault(reason);
    }

    #[cfg(test)]
    pub(super) fn shared_for_tests(&self) -> &Shared {
        &self.shared
    }

    pub(super) async fn first_of(&mut self, lane: Lane) -> Result<Frame, LinkError> {
        let talk = self.shared.talk;
        let Some(inbox) = self.inboxes.as_mut().and_then(|inboxes| inboxes.of(lane)) else {
            return Err(talk.broken("the link is read by its task already"));
        };
        let error = match timeout(talk.patience, inbox.first()).await {
            Ok(Ok(frame)) => return Ok(frame),
            Ok(Err(ended)) => ended.error(&talk),
            Err(_) => talk.no_answer(),
        };
        self.shared.fault(&error.to_string());
        Err(error)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.close("no longer wanted");
    }
}

/// What the link's owner and its tasks share.
pub(super) struct Shared {
    pub connection: Connection,
    pub talk: Talk,
    peer: PublicKey,
    outboxes: [Outbox; 2],
    // Of each lane.
    limit: usize,
    // Why this side closes or has closed it; set once. Nothing is sent any more then.
    reason: OnceLock<String>,
    closing: Notify,
}

#[derive(Default)]
struct Outbox {
    bytes: Mutex<BytesMut>,
    // With what the writer holds and the connection has not taken.
    queued: AtomicUsize,
    wake: Notify,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What is left of a small buffer serves the next batch; a large one would be held by it.
    fn take(&self) -> Bytes {
        let mut bytes = self.lock();
        match bytes.len() {
            0..KEPT => bytes.split().freeze(),
            _ => std::mem::take(&mut *bytes).freeze(),
        }
    }
}

impl Shared {
    fn new(from: &Handshaken) -> Self {
        Self {
            connection: from.connection.clone(),
            talk: from.talk(),
            peer: from.peer,
            outboxes: Default::default(),
            limit: from.settings.outbox_bytes,
            reason: OnceLock::new(),
            closing: Notify::new(),
        }
    }

    fn send(&self, lane: Lane, frame: &[u8]) -> bool {
        if self.reason.get().is_some() {
            return false;
        }
        let outbox = self.outbox(lane);
        let queued = outbox.queued.fetch_add(frame.len(), Ordering::Relaxed);
        if queued.saturating_add(frame.len()) > self.limit {
            outbox.queued.fetch_sub(frame.len(), Ordering::Relaxed);
            // Who wants bodies faster than it reads them asks again; the protocol goes on.
            if !std::ptr::eq(outbox, self.bulk()) {
                self.fault(&format!("does not read: more than {} bytes wait for it", self.limit));
            }
            return false;
        }
        outbox.lock().extend_from_slice(frame);
        true
    }

    fn close(&self, reason: &str) {
        if self.reason.set(clip(reason).to_owned()).is_ok() {
            self.closing.notify_one();
        }
    }

    /// Closes at once, dropping what is queued.
    pub fn fault(&self, reason: &str) {
        self.reason.get_or_init(|| clip(reason).to_owned());
        self.hang_up(code::FAULT);
    }

    // Closing a connection that is gone already would overwrite what is known of its end.
    fn hang_up(&self, code: VarInt) {
        if self.connection.close_reason().is_none() {
            let reason = self.reason.get().map_or("", String::as_str);
            self.connection.close(code, reason.as_bytes());
        }
        self.forget_queued();
    }

    /// Who closed the connection and why.
    pub fn closed_by(&self, error: ConnectionError) -> (CloseCause, String) {
        match error {
            ConnectionError::LocallyClosed => {
                let reason = self.reason.get().map_or("the endpoint was closed", String::as_str);
                (CloseCause::Here, reason.to_owned())
            }
            ConnectionError::ApplicationClosed(close) => {
                (CloseCause::Peer, printable(&close.reason))
            }
            ConnectionError::ConnectionClosed(close) => {
                (CloseCause::Peer, printable(close.to_string().as_bytes()))
            }
            ConnectionError::TransportError(e) => {
                (CloseCause::Here, printable(e.to_string().as_bytes()))
            }
            ConnectionError::Reset => {
                (CloseCause::Lost, "the other side does not know this link: it restarted".into())
            }
            ConnectionError::TimedOut => {
                (CloseCause::Lost, "nothing was heard for the idle timeout".into())
            }
            other => (CloseCause::Lost, other.to_string()),
        }
    }

    fn outbox(&self, lane: Lane) -> &Outbox {
        match (lane, self.talk.class) {
            (Lane::Bulk, LinkClass::Replica) => self.bulk(),
            _ => &self.outboxes[0],
        }
    }

    fn bulk(&self) -> &Outbox {
        &self.outboxes[1]
    }

    fn forget_queued(&self) {
        for outbox in &self.outboxes {
            *outbox.lock() = BytesMut::new();
        }
    }
}

// Writes what is queued, all at once, whenever it is woken. After the link is told to close it
// delivers the rest and ends.
async fn write(shared: Arc<Shared>, lane: Lane, mut stream: SendStream) {
    let outbox = shared.outbox(lane);
    loop {
        let queued = outbox.take();
        if queued.is_empty() {
            if shared.reason.get().is_some() {
                break;
            }
            outbox.wake.notified().await;
            continue;
        }
        match write_all(outbox, &mut stream, queued).await {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => {
                return shared.fault("the other side stopped reading a stream");
            }
            Err(_) => return,
        }
    }
    // Resolves when the other side has acknowledged every byte.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

async fn write_all(
    outbox: &Outbox,
    stream: &mut SendStream,
    mut queued: Bytes,
) -> Result<(), WriteError> {
    while !queued.is_empty() {
        let written = stream.write_chunks(std::slice::from_mut(&mut queued)).await?;
        outbox.queued.fetch_sub(written.bytes, Ordering::Relaxed);
    }
    Ok(())
}

// Lives as long as the connection; ends it in good order when it is told to.
async fn supervise(
    shared: Arc<Shared>,
    mut writers: JoinSet<()>,
    grace: Duration,
    mut shutdown: watch::Receiver<Option<String>>,
) {
    tokio::select! {
        error = shared.connection.closed() => {
            let (_, reason) = shared.closed_by(error);
            shared.reason.get_or_init(|| reason);
            return shared.forget_queued();
        }
        () = shared.closing.notified() => {}
        reason = told_to_stop(&mut shutdown) => shared.close(&reason),
    }
    shared.outboxes.iter().for_each(|outbox| outbox.wake.notify_one());
    let delivered = async { while writers.join_next().await.is_some() {} };
    let _ = timeout(grace, delivered).await;
    shared.hang_up(code::CLOSED);
}

async fn told_to_stop(shutdown: &mut watch::Receiver<Option<String>>) -> String {
    match shutdown.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the endpoint was dropped".to_owned(),
    }
}
