//! A replica that lies: an honest one whose ears and mouth belong to an attack.

use crate::crypto::{Keyring, Scheme, Signable, Unverified, Verified};
use crate::replica::{Action, Actions, Glance, Input, Lane, Replica, Setup, Status};
use crate::service::Service;
use crate::types::{ClockKind, GroupId, Instant, LinkId, Now, ReplicaId, Timing};
use crate::wire::{Digests, Frame, Hello, Kind, Message, Proposal, Replies, Stamp};
use bytes::Bytes;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes out as it was.
    Keep,
    /// It goes out as it was changed; a proposal is signed again.
    Changed,
    /// It does not go out.
    Drop,
}

/// A way to lie. Every hook has a default that is honest.
pub trait Attack<S: Scheme>: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The clock that candidate ids are taken from, if it must be another than configured.
    fn clock(&self) -> Option<ClockKind> {
        None
    }

    /// The clocks that the honest replica is shown.
    fn now(&mut self, now: Now) -> Now {
        now
    }

    /// What the honest replica hears in place of `input`.
    fn hear(&mut self, now: Now, input: Input, heard: &mut Vec<Input>) {
        let _ = now;
        heard.push(input);
    }

    /// What becomes of an own proposal on its way to one replica.
    fn proposal(&mut self, now: Now, to: ReplicaId, proposal: &mut Proposal) -> Fate {
        let _ = (now, to, proposal);
        Fate::Keep
    }

    /// What becomes of replies on their way to one client.
    fn replies(&mut self, now: Now, to: LinkId, replies: &mut Replies) -> Fate {
        let _ = (now, to, replies);
        Fate::Keep
    }

    /// What becomes of replies that are told by their digests (C3).
    fn digests(&mut self, now: Now, to: LinkId, digests: &mut Digests) -> Fate {
        let _ = (now, to, digests);
        Fate::Keep
    }

    /// What becomes of anything else: everything that goes out is shown here last.
    fn act(&mut self, now: Now, action: Action, out: &mut Actions) {
        let _ = now;
        out.push(action);
    }

    /// What it adds of its own, after what the honest replica did at an event.
    fn add(&mut self, now: Now, pen: &Pen<'_, S>, out: &mut Actions) {
        let _ = (now, pen, out);
    }

    /// When it wants to add something at the latest.
    fn wake(&self) -> Option<Instant> {
        None
    }
}

/// The liar's own hand: what it signs with, and whom it can write to.
pub struct Pen<'a, S: Scheme> {
    /// Who it is.
    pub id: ReplicaId,
    /// Its group.
    pub group: GroupId,
    /// The timers of the group.
    pub timing: Timing,
    keyring: &'a Keyring<S>,
    signer: &'a S::Signer,
}

impl<'a, S: Scheme> Pen<'a, S> {
    /// That of a replica with these keys.
    pub fn new(
        id: ReplicaId,
        timing: Timing,
        keyring: &'a Keyring<S>,
        signer: &'a S::Signer,
    ) -> Self {
        Self { id, group: keyring.context().group, timing, keyring, signer }
    }

    /// Signs whatever it likes, with its own key: in another's name that is a forgery.
    pub fn sign<T: Signable>(&self, message: T) -> Verified<T> {
        Verified::sign::<S>(message, self.keyring, self.signer)
    }

    /// Sends a frame to all other replicas.
    pub fn tell_all(&self, frame: &[u8], out: &mut Actions) {
        let others = self.keyring.ensemble().replicas().filter(|r| *r != self.id);
        let frame = Bytes::copy_from_slice(frame);
        out.extend(others.map(|peer| {
            let (lane, frame) = (Lane::Protocol, frame.clone());
            Action::ToPeer { peer, lane, frame }
        }));
    }
}

/// Links from this number on are a liar's own inventions; drivers count theirs from 0.
pub(super) const INVENTED: u64 = 1 << 63;

/// A lying replica; its surface is that of [`Replica`].
pub struct Liar<S: Scheme> {
    id: ReplicaId,
    group: GroupId,
    keyring: Keyring<S>,
    signer: S::Signer,
    honest: Replica<S>,
    attack: Box<dyn Attack<S>>,
    timing: Timing,
    lies: u64,
}

impl<S: Scheme> Liar<S> {
    /// A replica that tells lies. `signer` is the own signing key once more.
    pub fn new(
        mut setup: Setup<S>,
        signer: S::Signer,
        service: Box<dyn Service>,
        attack: Box<dyn Attack<S>>,
        now: Now,
    ) -> Self {
        setup.clock = attack.clock().unwrap_or(setup.clock);
        let (id, keyring) = (setup.id, setup.keyring.clone());
        let (group, timing) = (keyring.context().group, setup.timing);
        let honest = Replica::new(setup, service, now);
        Self { id, group, keyring, signer, honest, attack, timing, lies: 0 }
    }

    /// Which lie it tells.
    pub fn attack(&self) -> &'static str {
        self.attack.name()
    }

    /// How often it has lied so far: messages changed, held back or made up, inputs that the
    /// honest replica was not shown as they were, and false clocks.
    pub fn lies(&self) -> u64 {
        self.lies
    }

    /// As [`Replica::handle`].
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Actions) {
        let (mut heard, mut actions) = (Vec::new(), Actions::new());
        self.attack.hear(now, input, &mut heard);
        self.lies += u64::from(heard.len() != 1);
        for input in heard {
            let shown = self.attack.now(now);
            self.lies += u64::from(shown != now);
            self.honest.handle(shown, input, &mut actions);
        }
        for action in actions {
            if let Some(action) = self.twist(now, action) {
                let (before, honest) = (out.len(), action.clone());
                self.attack.act(now, action, out);
                self.lies += u64::from(out[before..] != [honest]);
            }
        }
        let pen = Pen::new(self.id, self.timing, &self.keyring, &self.signer);
        let before = out.len();
        self.attack.add(now, &pen, out);
        self.lies += (out.len() - before) as u64;
    }

    /// As [`Replica::next_wake`].
    pub fn next_wake(&self) -> Option<Instant> {
        [self.honest.next_wake(), self.attack.wake()].into_iter().flatten().min()
    }

    /// As [`Replica::hello`].
    pub fn hello(&self) -> Hello {
        self.honest.hello()
    }

    /// As [`Replica::stamp`]: nobody believes it anyway.
    pub fn stamp(&mut self, peer: ReplicaId, now: Instant) -> Stamp {
        self.honest.stamp(peer, now)
    }

    /// As [`Replica::glance`] at the honest replica within.
    pub fn glance(&self) -> Glance {
        self.honest.glance()
    }

    /// As [`Replica::keyring`].
    pub fn keyring(&self) -> &Keyring<S> {
        self.honest.keyring()
    }

    /// As [`Replica::status`]: what the honest replica within would say.
    pub fn status(&self, now: Now) -> Status {
        self.honest.status(now)
    }

    fn twist(&mut self, now: Now, action: Action) -> Option<Action> {
        match action {
            Action::ToPeer { peer, lane, frame } => {
                let frame = self.twist_proposal(now, peer, frame)?;
                Some(Action::ToPeer { peer, lane, frame })
            }
            Action::ToClient { link, .. } | Action::CloseClient { link, .. }
                if link.0 >= INVENTED =>
            {
                None
            }
            Action::ToClient { link, frame } => {
                let frame = self.twist_replies(now, link, frame)?;
                Some(Action::ToClient { link, frame })
            }
            other => Some(other),
        }
    }

    fn twist_proposal(&mut self, now: Now, to: ReplicaId, frame: Bytes) -> Option<Bytes> {
        let Some(own) = self.own_proposal(&frame) else { return Some(frame) };
        let mut proposal = own.peek().clone();
        match self.attack.proposal(now, to, &mut proposal) {
            Fate::Keep => Some(frame),
            Fate::Changed => {
                self.lies += 1;
                let signed = Verified::sign::<S>(proposal, &self.keyring, &self.signer);
                Some(signed.to_frame(self.group).into())
            }
            Fate::Drop => {
                self.lies += 1;
                None
            }
        }
    }

    // Those of others are passed on as they are: nobody can sign them anew.
    fn own_proposal(&self, frame: &Bytes) -> Option<Unverified<Proposal>> {
        let parsed = Frame::parse(frame.clone()).ok().filter(|f| f.kind == Kind::Proposal)?;
        let proposal = Unverified::<Proposal>::from_body(&parsed.body).ok()?;
        (proposal.peek().replica == self.id).then_some(proposal)
    }

    fn twist_replies(&mut self, now: Now, to: LinkId, frame: Bytes) -> Option<Bytes> {
        let Ok(Frame { kind, body, .. }) = Frame::parse(frame.clone()) else { return Some(frame) };
        let (fate, changed) = match kind {
            Kind::Replies => {
                let Ok(mut replies) = Replies::from_body(&body) else { return Some(frame) };
                let fate = self.attack.replies(now, to, &mut replies);
                (fate, replies.to_frame(self.group))
            }
            Kind::Digests => {
                let Ok(mut digests) = Digests::from_body(&body) else { return Some(frame) };
                let fate = self.attack.digests(now, to, &mut digests);
                (fate, digests.to_frame(self.group))
            }
            _ => return Some(frame),
        };
        self.lies += u64::from(fate != Fate::Keep);
        match fate {
            Fate::Keep => Some(frame),
            Fate::Changed => Some(changed.into()),
            Fate::Drop => None,
        }
    }
}
