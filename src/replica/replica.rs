//! The loop of a replica: one event in, actions out.

use super::answers::{Answers, Asker};
use super::bodies::{Bodies, Held};
use super::executor::{Executed, Executor};
use super::fetch::Fetch;
use super::intake::{self, Decision};
use super::links::{Client, Links};
use super::report::{Counters, report};
use super::{Action, Actions, CloseReason, Event, Input, Lane, Setup};
use crate::crypto::{Keyring, Scheme, Unverified};
use crate::ordering::{self, Core, Step};
use crate::service::Service;
use crate::types::{Digest, GroupId, Instant, LinkId, Members, Now, OrderLimits};
use crate::types::{Quotas, ReplicaId, Round, Timing};
use crate::wire::{Attestation, Body, Frame, GroupState, Hello, Kind, Message, Note, NoteKind};
use crate::wire::{PROTOCOL_VERSION, Ping, Pong, Proposal, Replies, Reply, Request, StepPosition};
use crate::wire::{Want, WantBody};
use bytes::Bytes;

/// One replica of one group.
pub struct Replica<S: Scheme> {
    pub(super) id: ReplicaId,
    pub(super) group: GroupId,
    pub(super) keyring: Keyring<S>,
    pub(super) timing: Timing,
    pub(super) limits: OrderLimits,
    pub(super) quotas: Quotas,
    pub(super) incarnation: u64,
    pub(super) fields: Vec<(String, Digest)>,
    pub(super) core: Core<S>,
    pub(super) executor: Executor,
    pub(super) bodies: Bodies,
    pub(super) links: Links,
    /// The last checkpoint that each replica attests, by roster place.
    pub(super) attested: Vec<(Round, Digest)>,
    pub(super) stable: Round,
    /// The last round that each replica attests to have executed, by roster place.
    pub(super) executed_by: Vec<Round>,
    /// Replicas whose attestation was found to differ from ours.
    pub(super) diverged: Members,
    pub(super) fetch: Fetch,
    pub(super) answers: Answers,
    pub(super) delta_held: bool,
    pub(super) halt_reported: bool,
    pub(super) counters: Counters,
}

impl<S: Scheme> Replica<S> {
    /// A replica in epoch (0,0,0), running `service`.
    pub fn new(setup: Setup<S>, service: Box<dyn Service>, now: Now) -> Self {
        let ensemble = setup.keyring.ensemble();
        let peers = ensemble.replicas().filter(|r| *r != setup.id);
        let core = ordering::Setup {
            id: setup.id,
            keyring: setup.keyring.clone(),
            signer: setup.signer,
            genesis: setup.genesis,
            timing: setup.timing,
            clock: setup.clock,
            limits: setup.limits,
            seed: setup.seed,
            restarted: setup.restarted,
        };
        Self {
            id: setup.id,
            group: setup.keyring.context().group,
            timing: setup.timing,
            limits: setup.limits,
            quotas: setup.quotas,
            incarnation: setup.incarnation,
            fields: setup.fields,
            core: Core::new(core, now),
            executor: Executor::new(service, setup.limits, setup.seed, setup.trace),
            bodies: Bodies::new(setup.quotas, setup.seed),
            links: Links::new(peers, now.monotonic),
            attested: vec![(Round(0), Digest::ZERO); ensemble.n()],
            stable: Round(0),
            executed_by: vec![Round(0); ensemble.n()],
            diverged: Members::NONE,
            fetch: Fetch::default(),
            answers: Answers::default(),
            delta_held: true,
            halt_reported: false,
            counters: Counters::default(),
            keyring: setup.keyring,
        }
    }

    /// Handles one event. Appends what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Actions) {
        match input {
            Input::PeerUp { peer, hello } => self.peer_up(now, peer, &hello, out),
            Input::PeerDown { peer } => self.links.peer_down(peer, now.monotonic),
            Input::PeerFrame { peer, frame } => self.peer_frame(now, peer, &frame, out),
            Input::ClientUp { link, client, role } => {
                let client = Client { id: client, role };
                if !self.links.client_up(link, client, self.quotas.links_per_client) {
                    let reason = CloseReason::TooManyLinks;
                    out.push(Action::CloseClient { link, reason });
                }
            }
            Input::ClientDown { link } => self.links.client_down(link),
            Input::ClientFrames { link, frames } => {
                for frame in frames {
                    self.client_frame(now, link, &frame, out);
                }
            }
            Input::Tick => {
                self.core(now, ordering::Input::Tick, out);
                self.ping_and_fetch(now, out);
            }
            Input::Drained => {
                self.answers.end_batch();
                self.core(now, ordering::Input::Drained, out);
                self.ping_and_fetch(now, out);
            }
        }
    }

    /// When [`Input::Tick`] is needed at the latest.
    pub fn next_wake(&self) -> Option<Instant> {
        let wakes = [self.core.next_wake(), self.links.next_ping(), self.fetch.next_wake()];
        wakes.into_iter().flatten().min()
    }

    /// How this replica introduces itself on a new link.
    pub fn hello(&self) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: self.keyring.context().cluster,
            replica: self.id,
            incarnation: self.incarnation,
            restarted: self.core.is_restarted(),
            fields: self.fields.clone(),
            groups: vec![GroupState {
                group: self.group,
                promise: self.core.epoch(),
                round: self.core.complete(),
            }],
        }
    }

    // --- replicas -----------------------------------------------------------------------------

    fn peer_up(&mut self, now: Now, peer: ReplicaId, hello: &Hello, out: &mut Actions) {
        self.links.peer_up(peer, now.monotonic);
        let here = hello.groups.iter().find(|g| g.group == self.group);
        let complete = here.map_or(Round(0), |g| g.round);
        self.core(now, ordering::Input::PeerUp { peer, complete }, out);
    }

    fn peer_frame(&mut self, now: Now, peer: ReplicaId, frame: &Frame, out: &mut Actions) {
        if frame.group != self.group {
            self.counters.unknown_group += 1;
            return;
        }
        let body = &frame.body;
        let result = match frame.kind {
            Kind::Proposal => Unverified::from_body(body).map(|p| self.proposal(now, peer, p, out)),
            Kind::Want => Want::from_body(body).map(|want| {
                self.core(now, ordering::Input::Want { from: peer, want }, out);
            }),
            Kind::Ping => Ping::from_body(body).map(|ping| {
                let pong = Pong { sent: ping.sent, wall: ping.wall, answered: now.wall.0 };
                out.push(to_peer(peer, Lane::Protocol, pong.to_frame(self.group)));
            }),
            Kind::Pong => Pong::from_body(body)
                .map(|pong| self.links.pong(peer, &pong, now, self.timing.delta)),
            Kind::WantBody => WantBody::from_body(body).map(|w| self.want_body(peer, &w, out)),
            Kind::Body => Body::from_body(body).map(|body| self.body(now, body, out)),
            Kind::Open | Kind::Hello => Ok(()),
            Kind::Greeting | Kind::Request | Kind::Replies | Kind::Note => {
                self.close_peer(peer, CloseReason::Malformed("a client's message"), out);
                Ok(())
            }
        };
        if let Err(e) = result {
            self.counters.malformed += 1;
            self.close_peer(peer, CloseReason::Malformed(e.what), out);
        }
    }

    fn proposal(
        &mut self,
        now: Now,
        peer: ReplicaId,
        proposal: Unverified<Proposal>,
        out: &mut Actions,
    ) {
        if !self.core.is_news(proposal.peek()) {
            return;
        }
        match proposal.verify(&self.keyring) {
            Ok(verified) => {
                self.core(now, ordering::Input::Proposal(verified.into()), out);
            }
            Err(_) => {
                self.counters.bad_signatures += 1;
                self.close_peer(peer, CloseReason::BadSignature, out);
            }
        }
    }

    fn want_body(&mut self, peer: ReplicaId, want: &WantBody, out: &mut Actions) {
        for held in want.digests.iter().filter_map(|d| self.bodies.get(d)) {
            if !self.answers.may(Asker::Peer(peer), held.request.body.len()) {
                break;
            }
            let mut request = crate::wire::Writer::new();
            held.request.encode(&mut request);
            let body = Body { client: held.client, request: request.into_bytes().into() };
            self.counters.bodies_sent += 1;
            out.push(to_peer(peer, Lane::Bulk, body.to_frame(self.group)));
        }
    }

    /// O7: takes a body that a step waits for; its digest says whether it is the right one.
    fn body(&mut self, now: Now, body: Body, out: &mut Actions) {
        if !self.executor.is_waiting_for_bodies() {
            return;
        }
        let Ok(request) = Request::from_body(&body.request) else {
            self.counters.malformed += 1;
            return;
        };
        let digest = request.digest(&self.keyring.context(), &body.client);
        if !self.executor.lacks(&digest) || self.bodies.get(&digest).is_some() {
            return;
        }
        self.counters.bodies_received += 1;
        let held = Held { client: body.client, request, origin: None, executed: false };
        self.bodies.insert(digest, held);
        self.executor.found(&digest);
        self.fetch.arrived(now.monotonic);
        self.execute(now, out);
    }

    fn close_peer(&mut self, peer: ReplicaId, reason: CloseReason, out: &mut Actions) {
        if self.links.is_up(peer) {
            out.push(Action::ClosePeer { peer, reason });
        }
    }

    // --- clients ------------------------------------------------------------------------------

    fn client_frame(&mut self, now: Now, link: LinkId, frame: &Frame, out: &mut Actions) {
        let Some(client) = self.links.client(link) else { return };
        if frame.group != self.group {
            self.counters.unknown_group += 1;
            return;
        }
        let result = match frame.kind {
            Kind::Request => Request::from_body(&frame.body)
                .map(|request| self.request(now, link, client, request, out)),
            Kind::Ping => Ping::from_body(&frame.body).map(|ping| {
                let pong = Pong { sent: ping.sent, wall: ping.wall, answered: now.wall.0 };
                out.push(to_client(link, pong.to_frame(self.group)));
            }),
            Kind::Greeting => Ok(()),
            _ => {
                let reason = CloseReason::Malformed("not a client's message");
                out.push(Action::CloseClient { link, reason });
                Ok(())
            }
        };
        if let Err(e) = result {
            self.counters.malformed += 1;
            out.push(Action::CloseClient { link, reason: CloseReason::Malformed(e.what) });
        }
    }

    fn request(
        &mut self,
        now: Now,
        link: LinkId,
        client: Client,
        request: Request,
        out: &mut Actions,
    ) {
        self.counters.requests += 1;
        let Request { session, number, .. } = request;
        let away = if self.executor.halted().is_some() {
            Some(NoteKind::Halted)
        } else {
            self.core.is_restarted().then_some(NoteKind::Restarted)
        };
        if let Some(kind) = away {
            let note = Note { session, number, kind };
            out.push(to_client(link, note.to_frame(self.group)));
            return;
        }
        let context = self.keyring.context();
        let (bodies, executor) = (&mut self.bodies, &self.executor);
        let is_ordered = |digest: &Digest| self.core.is_executed(digest);
        let from = (link, client);
        match intake::decide(from, request, &context, &self.limits, bodies, executor, is_ordered) {
            Decision::Admit(request) => {
                self.core(now, ordering::Input::Seen { request }, out);
            }
            Decision::Again(stored) => {
                self.counters.repeats += 1;
                let (index, outcome) = (stored.index, stored.outcome);
                if !self.answers.may(Asker::Client(link), outcome.len()) {
                    return;
                }
                let reply = Reply { session, number, index, outcome };
                self.reply(link, stored.position, vec![reply], out);
            }
            Decision::UnderWay => self.counters.repeats += 1,
            Decision::WasMissing(digest) => {
                self.executor.found(&digest);
                self.execute(now, out);
            }
            Decision::Note(note) => {
                match note.kind {
                    NoteKind::Busy => self.counters.busy += 1,
                    NoteKind::Forbidden => self.counters.forbidden += 1,
                    _ => self.counters.unacceptable += 1,
                }
                out.push(to_client(link, note.to_frame(self.group)));
            }
        }
    }

    // --- order and execution ------------------------------------------------------------------

    fn core(&mut self, now: Now, input: ordering::Input, out: &mut Actions) {
        let mut actions = Vec::new();
        self.core.handle(now, input, &mut actions);
        for action in actions {
            match action {
                ordering::Action::Broadcast(proposal) => {
                    self.delta_held = self.links.delta_held();
                    let frame = Bytes::from(proposal.to_frame(self.group));
                    for peer in self.links.up_peers() {
                        let (lane, frame) = (Lane::Protocol, frame.clone());
                        out.push(Action::ToPeer { peer, lane, frame });
                    }
                }
                ordering::Action::Send { to, proposal } => {
                    let frame = proposal.to_frame(self.group);
                    if self.answers.may(Asker::Peer(to), frame.len()) {
                        out.push(to_peer(to, Lane::Protocol, frame));
                    }
                }
                ordering::Action::Ask(want) => {
                    let frame = Bytes::from(want.to_frame(self.group));
                    for peer in self.links.up_peers() {
                        let (lane, frame) = (Lane::Protocol, frame.clone());
                        out.push(Action::ToPeer { peer, lane, frame });
                    }
                }
                ordering::Action::Committed(step) => self.committed(step, out),
                ordering::Action::Event(event) => out.extend(report(event).map(Action::Event)),
            }
        }
        self.execute(now, out);
    }

    fn committed(&mut self, step: Box<Step>, out: &mut Actions) {
        self.counters.forgotten += step.forgotten.len() as u64;
        for (digest, _) in step.forgotten.iter().filter(|(_, had)| had.contains(self.id)) {
            self.bodies.forget(digest);
        }
        for (replica, digest) in &step.over_quota {
            self.counters.over_quota += 1;
            if *replica == self.id {
                self.bodies.forget(digest);
            }
        }
        for (replica, attestation) in &step.attestations {
            self.compare(*replica, attestation, out);
        }
        // Another may lack a body until it has executed it. Until state can be transferred, a
        // body that nobody has any more would stop that replica for ever.
        let all = self.core.members().iter().map(|m| self.executed_by[m.index()]).min();
        self.bodies.executed_by_all(all.unwrap_or_default());
        self.executor.push(step);
    }

    /// Looks at what another has executed: checkpoints that become stable, outputs that differ.
    fn compare(&mut self, replica: ReplicaId, attestation: &Attestation, out: &mut Actions) {
        let round = attestation.position.round;
        self.executed_by[replica.index()] = round;
        let ours = self.executor.running_at(round);
        let (checkpoint, state) = self.executor.checkpoint();
        let other_state = attestation.checkpoint == checkpoint && attestation.state != state;
        let differs = other_state || ours.is_some_and(|o| o != attestation.running);
        if differs && !self.diverged.contains(replica) {
            self.diverged.insert(replica);
            out.push(Action::Event(Event::Diverged { replica, round }));
        }
        let latest = (attestation.checkpoint, attestation.state);
        if std::mem::replace(&mut self.attested[replica.index()], latest) == latest {
            return;
        }
        let agreeing = self.attested.iter().filter(|a| **a == latest).count();
        if latest.0 > self.stable && agreeing >= self.keyring.ensemble().majority() {
            self.stable = latest.0;
            let (round, state) = latest;
            out.push(Action::Event(Event::Stable { round, state }));
        }
    }

    fn execute(&mut self, now: Now, out: &mut Actions) {
        let mut ran = false;
        while let Some(executed) = self.executor.run_next(&mut self.bodies) {
            ran = true;
            let Executed { position, replies, repeats, trace } = executed;
            for (link, replies) in replies {
                self.reply(link, position, replies, out);
            }
            for (link, position, reply) in repeats {
                self.reply(link, position, vec![reply], out);
            }
            out.extend(trace.map(Action::Event));
            self.fetch.end();
        }
        if self.executor.is_waiting_for_bodies() {
            self.fetch.begin(now.monotonic, &self.timing);
        }
        if let Some(why) = self.executor.halted().filter(|_| !self.halt_reported) {
            out.push(Action::Event(Event::Halted { why: why.to_owned() }));
            self.halt_reported = true;
        }
        if ran {
            let attestation = self.attestation();
            self.core.handle(now, ordering::Input::Attest(attestation), &mut Vec::new());
        }
    }

    fn attestation(&self) -> Attestation {
        let (checkpoint, state) = self.executor.checkpoint();
        Attestation {
            position: self.executor.position(),
            running: self.executor.running(),
            checkpoint,
            state,
            rolled: false,
            delta_held: self.delta_held,
        }
    }

    /// Replies of one step to one client, in as many messages as their sizes need.
    fn reply(&self, link: LinkId, position: StepPosition, replies: Vec<Reply>, out: &mut Actions) {
        if self.links.client(link).is_none() {
            return;
        }
        let mut message = Replies { position, rolled: false, replies: Vec::new() };
        let mut bytes = 0;
        for reply in replies {
            let size = reply.outcome.len() + Reply::OVERHEAD;
            if bytes + size > Replies::MAX_BYTES && !message.replies.is_empty() {
                out.push(to_client(link, message.to_frame(self.group)));
                message.replies.clear();
                bytes = 0;
            }
            bytes += size;
            message.replies.push(reply);
        }
        out.push(to_client(link, message.to_frame(self.group)));
    }

    fn ping_and_fetch(&mut self, now: Now, out: &mut Actions) {
        for (peer, ping) in self.links.due_pings(now, &self.timing) {
            out.push(to_peer(peer, Lane::Protocol, ping.to_frame(self.group)));
        }
        if !self.fetch.is_due(now.monotonic) {
            return;
        }
        let missing = self.executor.missing();
        let asks = self.fetch.ask(now.monotonic, &self.timing, self.id, &missing);
        for (peer, digests) in asks {
            self.counters.bodies_asked += digests.len() as u64;
            let want = WantBody { digests };
            out.push(to_peer(peer, Lane::Protocol, want.to_frame(self.group)));
        }
    }
}

fn to_peer(peer: ReplicaId, lane: Lane, frame: Vec<u8>) -> Action {
    Action::ToPeer { peer, lane, frame: frame.into() }
}

fn to_client(link: LinkId, frame: Vec<u8>) -> Action {
    Action::ToClient { link, frame: frame.into() }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
