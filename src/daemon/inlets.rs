//! What comes from other replicas: a few frames of each at a turn, however much one of them sends.
//!
//! A replica that signs statements without end makes the others check signatures, some thousands a
//! second of them (§10). Neither the proposals of good replicas nor clients may wait behind that:
//! what one sends beyond its share waits at its own link, whose reader waits in turn.

use crate::transport::LinkEvent;
use crate::wire::Frame;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Events that wait at most for each link; beyond, its reader waits.
const WAITING: usize = 64;
/// Bytes of frames that are handed over at once, about.
const BYTES: usize = 1 << 20;

/// A part of what came over a link.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some frames, in their order.
    Frames(Vec<Frame>),
    /// The link is gone, for this reason; nothing follows.
    Closed(String),
}

/// The links to other replicas, each with what waits there.
#[derive(Debug)]
pub(super) struct Inlets<K> {
    inlets: Vec<Inlet<K>>,
    /// The one whose turn it is.
    next: usize,
    /// Frames of each in one turn of the loop.
    share: usize,
}

#[derive(Debug)]
struct Inlet<K> {
    key: K,
    events: mpsc::Receiver<(K, LinkEvent)>,
    /// Frames of an event that was taken.
    left: VecDeque<Frame>,
    /// Why it is gone, behind these.
    closed: Option<String>,
    /// How many frames it may still give in this turn.
    share: usize,
}

impl<K: Copy> Inlets<K> {
    /// None yet; each will give up to `share` frames a turn.
    pub(super) fn new(share: usize) -> Self {
        Self { inlets: Vec::new(), next: 0, share }
    }

    /// A new link: where its events go.
    pub(super) fn open(&mut self, key: K) -> mpsc::Sender<(K, LinkEvent)> {
        let (sender, events) = mpsc::channel(WAITING);
        let (left, share) = (VecDeque::new(), self.share);
        self.inlets.push(Inlet { key, events, left, closed: None, share });
        sender
    }

    /// Waits until one of them has something. May be dropped: nothing is lost by it.
    pub(super) async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for inlet in &mut self.inlets {
            if inlet.has_something() || inlet.poll(cx).is_ready() {
                any = Poll::Ready(());
            }
        }
        any
    }

    /// A turn begins: each may give its share again.
    pub(super) fn begin(&mut self) {
        self.inlets.iter_mut().for_each(|inlet| inlet.share = self.share);
    }

    /// The next piece, of one after the other; `None` if those that have something have given their
    /// share of this turn.
    pub(super) fn take(&mut self) -> Option<(K, Piece)> {
        for _ in 0..self.inlets.len() {
            let at = self.next % self.inlets.len();
            let inlet = &mut self.inlets[at];
            let Some(piece) = inlet.take() else {
                self.next = at + 1;
                continue;
            };
            let key = inlet.key;
            self.next = at + 1;
            if matches!(piece, Piece::Closed(_)) {
                self.inlets.remove(at);
                self.next = at;
            }
            return Some((key, piece));
        }
        None
    }
}

impl<K> Inlet<K> {
    fn has_something(&self) -> bool {
        !self.left.is_empty() || self.closed.is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.events.poll_recv(cx).map(|event| self.got(event.map(|(_, event)| event)))
    }

    fn got(&mut self, event: Option<LinkEvent>) {
        match event {
            Some(LinkEvent::Frames { frames, .. }) => self.left = frames.into(),
            Some(LinkEvent::Closed { reason, .. }) => self.closed = Some(reason),
            // Its reader has ended without a word.
            None => self.closed = Some("it is gone".to_owned()),
        }
    }

    fn take(&mut self) -> Option<Piece> {
        if self.share == 0 {
            return None;
        }
        if !self.has_something()
            && let Ok((_, event)) = self.events.try_recv()
        {
            self.got(Some(event));
        }
        if self.left.is_empty() {
            return self.closed.take().map(Piece::Closed);
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while frames.len() < self.share
            && bytes < BYTES
            && let Some(frame) = self.left.pop_front()
        {
            bytes += frame.body.len();
            frames.push(frame);
        }
        self.share -= frames.len();
        Some(Piece::Frames(frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{CloseCause, Lane};
    use crate::types::GroupId;
    use crate::wire::Kind;

    fn frame(body: usize) -> Frame {
        Frame { kind: Kind::Stalled, group: GroupId::MAIN, body: vec![0; body].into() }
    }

    fn frames(n: usize, body: usize) -> LinkEvent {
        LinkEvent::Frames { lane: Lane::Protocol, frames: vec![frame(body); n] }
    }

    fn closed() -> LinkEvent {
        LinkEvent::Closed { cause: CloseCause::Peer, reason: "bye".to_owned() }
    }

    /// Who gave how many frames in one turn.
    fn turn(inlets: &mut Inlets<u8>) -> Vec<(u8, usize)> {
        inlets.begin();
        let mut given = vec![(1, 0), (2, 0)];
        while let Some((key, Piece::Frames(frames))) = inlets.take() {
            given[usize::from(key) - 1].1 += frames.len();
        }
        given
    }

    #[tokio::test]
    async fn whoever_sends_without_end_gets_a_share_and_the_others_do_not_wait_for_it() {
        let mut inlets = Inlets::new(64);
        let (flood, good) = (inlets.open(1), inlets.open(2));
        for _ in 0..10 {
            flood.try_send((1, frames(1000, 100))).unwrap();
        }
        for round in 0..5 {
            good.try_send((2, frames(1 + round, 100))).unwrap();
            inlets.ready().await;
            assert_eq!(turn(&mut inlets), [(1, 64), (2, 1 + round)]);
        }
        let rest: usize = (0..200).map(|_| turn(&mut inlets)[0].1).sum();
        assert_eq!(rest, 10_000 - 5 * 64, "nothing is lost");
    }

    #[tokio::test]
    async fn large_frames_are_handed_over_one_after_the_other() {
        let mut inlets = Inlets::new(64);
        let link = inlets.open(1);
        link.try_send((1, frames(3, BYTES))).unwrap();
        inlets.begin();
        for _ in 0..3 {
            assert!(matches!(inlets.take(), Some((1, Piece::Frames(f))) if f.len() == 1));
        }
        assert!(inlets.take().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_link_comes_behind_its_frames_and_once() {
        let mut inlets = Inlets::new(2);
        let (one, two) = (inlets.open(1), inlets.open(2));
        one.try_send((1, frames(3, 1))).unwrap();
        one.try_send((1, closed())).unwrap();
        drop(two);
        inlets.ready().await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            inlets.begin();
            while let Some((key, piece)) = inlets.take() {
                seen.push(match piece {
                    Piece::Frames(frames) => format!("{key}: {}", frames.len()),
                    Piece::Closed(why) => format!("{key}: {why}"),
                });
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, ["1: 1", "1: 2", "1: bye", "2: it is gone"]);
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(1), inlets.ready());
        assert!(nothing.await.is_err(), "no link is left");
    }
}
