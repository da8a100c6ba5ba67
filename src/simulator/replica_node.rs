//! A replica, honest or not, as a node of the world: what the real driver does around it.

use super::note::{client_id, name_of};
use super::{Arrival, Effect, Node, NodeId, Note};
use crate::adversary::{Liar, Twins};
use crate::crypto::{Context, Keyring, PublicKey, Scheme};
use crate::replica::{Action, Actions, Event, Glance, Input, Lane, Replica, Status};
use crate::types::{ClientId, Instant, LinkId, Now, ReplicaId, RequestId, Role};
use crate::wire::{Frame, Hello, Kind, Message, Stamp};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The two kinds, behind one surface.
pub enum Inner<S: Scheme> {
    /// An honest one.
    Honest(Box<Replica<S>>),
    /// A liar.
    Lying(Box<Liar<S>>),
    /// Two with one key.
    Double(Box<Twins<S>>),
}

/// A replica and the links that its driver keeps for it.
pub struct ReplicaNode<S: Scheme> {
    inner: Inner<S>,
    context: Context,
    links: BTreeMap<LinkId, u32>,
    /// Clients that have another one's key.
    keys: BTreeMap<u32, u32>,
    /// The client who may command, and its key.
    operator: Option<(u32, PublicKey)>,
    /// Whether the checkers want to know what is sent and written.
    tells: bool,
}

impl<S: Scheme> ReplicaNode<S> {
    /// A replica of this cluster. `keys` names the clients that have another one's key.
    pub fn new(inner: Inner<S>, context: Context, keys: BTreeMap<u32, u32>) -> Self {
        let (links, operator) = (BTreeMap::new(), None);
        Self { inner, context, links, keys, operator, tells: false }
    }

    /// Lets it obey the client of this number, who has this key.
    pub fn obeying(mut self, operator: (u32, PublicKey)) -> Self {
        self.operator = Some(operator);
        self
    }

    /// Lets it tell the checkers what it sends on the protocol stream and what it writes.
    pub fn telling(mut self, tells: bool) -> Self {
        self.tells = tells;
        self
    }

    fn client(&self, number: u32) -> ClientId {
        client_id(self.keys.get(&number).copied().unwrap_or(number))
    }

    /// As [`Replica::status`].
    pub fn status(&self, now: Now) -> Status {
        match &self.inner {
            Inner::Honest(r) => r.status(now),
            Inner::Lying(l) => l.status(now),
            Inner::Double(d) => d.status(now),
        }
    }

    /// As [`Replica::glance`].
    pub fn glance(&self) -> Glance {
        match &self.inner {
            Inner::Honest(r) => r.glance(),
            Inner::Lying(l) => l.glance(),
            Inner::Double(d) => d.glance(),
        }
    }

    /// The keys that it knows.
    pub fn keyring(&self) -> &Keyring<S> {
        match &self.inner {
            Inner::Honest(r) => r.keyring(),
            Inner::Lying(l) => l.keyring(),
            Inner::Double(d) => d.keyring(),
        }
    }

    /// Which lie it tells and how often it has, if it is a liar.
    pub fn lies(&self) -> Option<(&'static str, u64)> {
        match &self.inner {
            Inner::Honest(_) | Inner::Double(_) => None,
            Inner::Lying(l) => Some((l.attack(), l.lies())),
        }
    }

    fn input(&mut self, now: Now, input: Input, out: &mut Vec<Effect<Note>>) {
        let mut actions = Actions::new();
        match &mut self.inner {
            Inner::Honest(r) => r.handle(now, input, &mut actions),
            Inner::Lying(l) => l.handle(now, input, &mut actions),
            Inner::Double(d) => d.handle(now, input, &mut actions),
        }
        for action in actions {
            self.act(action, out);
        }
    }

    fn act(&mut self, action: Action, out: &mut Vec<Effect<Note>>) {
        match action {
            Action::ToPeer { peer, lane, frame } => {
                if self.tells && lane == Lane::Protocol {
                    out.push(Effect::Note(Note::Sends(NodeId::Replica(peer), frame.clone())));
                }
                out.push(Effect::Send { to: NodeId::Replica(peer), lane, frame });
            }
            Action::ToClient { link, frame } => {
                // The link may be gone already.
                let Some(&client) = self.links.get(&link) else { return };
                out.extend(declined(&frame, self.client(client)).map(Effect::Note));
                let (to, lane) = (NodeId::Client(client), Lane::Protocol);
                out.push(Effect::Send { to, lane, frame });
            }
            Action::ClosePeer { peer, reason } => {
                close(NodeId::Replica(peer), reason.to_string(), out);
            }
            Action::CloseClient { link, reason } => {
                let Some(&client) = self.links.get(&link) else { return };
                close(NodeId::Client(client), reason.to_string(), out);
            }
            Action::Persist { sequence, records } => {
                if self.tells {
                    out.push(Effect::Note(Note::Persists(records.clone())));
                }
                out.push(Effect::Persist { sequence, records });
            }
            // How long a write takes is up to the world's dice, and so may be as long as that.
            Action::Append { sequence, entries, .. } => {
                out.push(Effect::Append { sequence, entries });
            }
            Action::Encode { number, work } => out.push(Effect::Encode { number, work }),
            Action::Save { sequence, first, head, state, .. } => {
                out.push(Effect::Save { sequence, first, head, state });
            }
            Action::StartAgain => out.push(Effect::StartAgain),
            Action::Evidence { name, bytes } => {
                out.push(Effect::Note(Note::Evidence { name, bytes }));
            }
            Action::MarkKnown => out.push(Effect::Note(Note::MarkedKnown)),
            // The world's links show no keys; what a halted one writes down is in its events.
            Action::Pin { .. } | Action::KeepHalted { .. } => {}
            Action::Event(Event::Step { trace, told }) => {
                out.push(Effect::Note(Note::Step(trace, told)));
            }
            Action::Event(event) => out.push(Effect::Note(Note::Event(event))),
        }
    }

    fn client_frames(
        &mut self,
        now: Now,
        link: LinkId,
        frames: Vec<Frame>,
        out: &mut Vec<Effect<Note>>,
    ) {
        let Some(&client) = self.links.get(&link) else { return };
        for frame in &frames {
            if let Some((digest, _)) = name_of(frame, &self.context, &self.client(client)) {
                out.push(Effect::Note(Note::Received(digest)));
            }
        }
        self.input(now, Input::ClientFrames { link, frames }, out);
    }

    fn fits(&self, hello: &Hello) -> bool {
        let own = self.hello_of();
        (hello.version, hello.cluster, &hello.fields) == (own.version, own.cluster, &own.fields)
    }

    fn hello_of(&self) -> Hello {
        match &self.inner {
            Inner::Honest(r) => r.hello(),
            Inner::Lying(l) => l.hello(),
            Inner::Double(d) => d.hello(),
        }
    }
}

impl<S: Scheme> Node for ReplicaNode<S> {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match arrival {
            Arrival::Up { peer: NodeId::Replica(peer), hello: Some(hello), .. } => {
                assert!(self.fits(&hello), "replicas of one world have one configuration");
                self.input(now, Input::PeerUp { peer, hello }, out);
            }
            Arrival::Up { peer: NodeId::Client(n), connection, .. } => {
                let link = LinkId(connection);
                let (client, role) = match self.operator.filter(|(number, _)| *number == n) {
                    Some((_, key)) => (ClientId(key.0), Role::Admin),
                    None => (self.client(n), Role::Write),
                };
                self.links.insert(link, n);
                self.input(now, Input::ClientUp { link, client, role }, out);
            }
            // The other side stopped in the same instant.
            Arrival::Up { .. } => {}
            Arrival::Down { peer: NodeId::Replica(peer), .. } => {
                self.input(now, Input::PeerDown { peer }, out);
            }
            Arrival::Down { peer: NodeId::Client(_), connection } => {
                let link = LinkId(connection);
                self.links.remove(&link);
                self.input(now, Input::ClientDown { link }, out);
            }
            Arrival::Frames { peer: NodeId::Replica(peer), frames, stamp, .. } => {
                for frame in frames {
                    self.input(now, Input::PeerFrame { peer, frame }, out);
                }
                // What liars measure is of no interest.
                if let Some(stamp) = stamp.filter(|_| matches!(self.inner, Inner::Honest(_))) {
                    let bytes = stamp.to_frame(self.context.group);
                    let frame = Frame::parse(bytes.into()).expect("a stamp is a frame");
                    self.input(now, Input::PeerFrame { peer, frame }, out);
                }
            }
            Arrival::Frames { peer: NodeId::Client(_), connection, frames, .. } => {
                self.client_frames(now, LinkId(connection), frames, out);
            }
            Arrival::Synced { sequence } => self.input(now, Input::Synced { sequence }, out),
            Arrival::Encoded { number, made } => {
                self.input(now, Input::Encoded { number, made }, out);
            }
            Arrival::Tick => self.input(now, Input::Tick, out),
            Arrival::Drained => self.input(now, Input::Drained, out),
        }
    }

    fn stamp(&mut self, to: ReplicaId, now: Instant) -> Option<Stamp> {
        match &mut self.inner {
            Inner::Honest(r) => Some(r.stamp(to, now)),
            Inner::Lying(_) | Inner::Double(_) => None,
        }
    }

    fn away(&mut self, now: Now, since: Instant, out: &mut Vec<Effect<Note>>) {
        if matches!(self.inner, Inner::Honest(_)) {
            let late = now.monotonic.since(since);
            self.input(now, Input::Away { since, late }, out);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match &self.inner {
            Inner::Honest(r) => r.next_wake(),
            Inner::Lying(l) => l.next_wake(),
            Inner::Double(d) => d.next_wake(),
        }
    }

    fn hello(&self) -> Option<Hello> {
        Some(self.hello_of())
    }
}

fn close(peer: NodeId, why: String, out: &mut Vec<Effect<Note>>) {
    out.push(Effect::Note(Note::Closed(peer, why.clone())));
    out.push(Effect::Close { peer, why });
}

fn declined(frame: &Bytes, client: ClientId) -> Option<Note> {
    let frame = Frame::parse(frame.clone()).ok().filter(|f| f.kind == Kind::Note)?;
    let note = crate::wire::Note::from_body(&frame.body).ok()?;
    let (session, number) = (note.session, note.number);
    Some(Note::Declined(RequestId { client, session, number }))
}
