//! The loop of a replica: one event in, actions out.

use super::allowance::Allowance;
use super::answers::{Answers, Asker};
use super::bodies::Bodies;
use super::epochs::Needed;
use super::executor::{Executed, Executor};
use super::fetch::Fetch;
use super::heard::Heard;
use super::journal::Journal;
use super::keys::{first_pins, recorded_keys};
use super::links::{Client, Links};
use super::meter::Meter;
use super::quarantine::Quarantine;
use super::reads::Reads;
use super::receipts::Receipts;
use super::replies::Due;
use super::report::{Counters, report};
use super::rolled::Rolled;
use super::transfer::{Download, Maker, Pacer, Shelf, Whole};
use super::undo::Undo;
use super::{Action, Actions, CloseReason, Event, Input, Lane, Recovered, Setup};
use crate::crypto::{Keyring, PublicKey, Scheme, Unverified};
use crate::ordering::{self, Core};
use crate::service::Service;
use crate::types::marks::mark;
use crate::types::{Digest, DiskState, Durability, GroupId, Instant, LinkId, Now};
use crate::types::{OrderLimits, Quotas, ReplicaId, Round, Timing};
use crate::wire::{Body, Frame, GroupState, Hello, Kind, Leaves, Message};
use crate::wire::{PROTOCOL_VERSION, Ping, Pong, Proposal, Stamp};
use crate::wire::{Record, Want, WantBody, WantHistory, WantLeaves};
use bytes::Bytes;

/// One replica of one group.
pub struct Replica<S: Scheme> {
    pub(super) id: ReplicaId,
    pub(super) group: GroupId,
    pub(super) keyring: Keyring<S>,
    /// How many changes the core's keyring had when it was copied.
    pub(super) key_news: u32,
    pub(super) pins: Vec<Option<PublicKey>>,
    pub(super) timing: Timing,
    pub(super) limits: OrderLimits,
    pub(super) quotas: Quotas,
    pub(super) incarnation: u64,
    pub(super) fields: Vec<(String, Digest)>,
    pub(super) core: Core<S>,
    pub(super) executor: Executor,
    pub(super) bodies: Bodies,
    pub(super) links: Links,
    /// What it measures of Δ.
    pub(super) meter: Meter,
    /// The last checkpoint that each replica attests, by roster place.
    pub(super) attested: Vec<(Round, Digest)>,
    pub(super) stable: Round,
    /// The last round that each replica attests to have executed, by roster place.
    pub(super) executed_by: Vec<Round>,
    /// Who has other results than others, and what came of that (§6).
    pub(super) quarantine: Quarantine,
    pub(super) fetch: Fetch,
    pub(super) answers: Answers,
    /// Signatures that peers may have checked.
    pub(super) allowance: Allowance,
    /// What peers said last.
    pub(super) heard: Heard,
    /// Snapshots kept for others, and what makes them into bytes.
    pub(super) shelf: Shelf,
    pub(super) pacer: Pacer,
    pub(super) maker: Maker,
    /// The snapshot that this replica is fetching.
    pub(super) download: Download,
    /// One that is complete and waits for an opening.
    pub(super) whole: Option<Box<Whole>>,
    /// The bodies that an opening needs.
    pub(super) needed: Needed,
    /// A call is promised and its epoch not entered: nothing is executed (E4).
    pub(super) paused: bool,
    /// Requests that an opening has just made void, or whose turn as void ones it has been.
    pub(super) void: Vec<Digest>,
    pub(super) rolled: Rolled,
    pub(super) undo: Undo,
    /// The mark does not say yet that this disk holds all that was signed.
    pub(super) unmarked: bool,
    pub(super) halt_reported: bool,
    /// What goes to the disk, and what waits for it.
    pub(super) journal: Journal,
    pub(super) reads: Reads,
    pub(super) receipts: Receipts,
    /// What was found on the disk, until it is told.
    pub(super) recovered: Option<Box<Recovered>>,
    pub(super) counters: Counters,
}

impl<S: Scheme> Replica<S> {
    /// A replica in epoch (0,0,0), running `service`.
    pub fn new(mut setup: Setup<S>, service: Box<dyn Service>, now: Now) -> Self {
        for change in recorded_keys(&setup.recovered) {
            // An unusable key is never accepted, so none was written down.
            let _ = setup.keyring.replace(change);
        }
        let ensemble = setup.keyring.ensemble();
        let (keeps, disk) = (setup.durability != Durability::None, setup.disk);
        let core = ordering::Setup {
            id: setup.id,
            keyring: setup.keyring.clone(),
            signer: setup.signer,
            genesis: setup.genesis,
            timing: setup.timing,
            clock: setup.clock,
            limits: setup.limits,
            seed: setup.seed,
            disk,
            // What cannot be read was not written by this version.
            recovered: setup.recovered.iter().filter_map(|r| Record::parse(r).ok()).collect(),
            replays: keeps,
            strict: setup.durability == Durability::Strict,
            incarnation: setup.incarnation,
        };
        let executor = Executor::new(service, setup.limits, setup.seed, setup.trace);
        let mut replica = Self {
            executor: executor.inheriting(setup.inherited),
            id: setup.id,
            group: setup.keyring.context().group,
            timing: setup.timing,
            limits: setup.limits,
            quotas: setup.quotas,
            incarnation: setup.incarnation,
            fields: setup.fields,
            core: Core::new(core, now),
            reads: Reads::default(),
            receipts: Receipts::default(),
            bodies: Bodies::new(setup.quotas, setup.seed),
            links: Links::new(ensemble.replicas().filter(|r| *r != setup.id), now.monotonic),
            meter: Meter::new(setup.id, ensemble, setup.timing.delta, now.monotonic),
            attested: vec![(Round(0), Digest::ZERO); ensemble.n()],
            stable: Round(0),
            executed_by: vec![Round(0); ensemble.n()],
            quarantine: Quarantine::new(ensemble),
            fetch: Fetch::default(),
            answers: Answers::default(),
            allowance: Allowance::new(setup.quotas.peer_signatures),
            heard: Heard::default(),
            shelf: Shelf::new(setup.encode_at_once),
            pacer: Pacer::new(setup.quotas.transfer_rate),
            maker: Maker::new(setup.encode_at_once),
            download: Download::new(&setup.quotas, ensemble.majority()),
            whole: None,
            needed: Needed::default(),
            paused: false,
            void: Vec::new(),
            rolled: Rolled::recorded(&setup.recovered),
            undo: Undo::default(),
            unmarked: disk != DiskState::Known,
            halt_reported: false,
            journal: Journal::new(setup.durability, setup.quotas.log_bytes),
            recovered: None,
            counters: Counters::default(),
            key_news: 0,
            pins: first_pins(&setup.keyring),
            keyring: setup.keyring,
        };
        replica.recover(now, setup.stored, disk);
        replica
    }

    /// Handles one event. Appends what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Actions) {
        let before = out.len();
        self.take(now, input, out);
        self.measure(now, before, out);
    }

    fn take(&mut self, now: Now, input: Input, out: &mut Actions) {
        out.extend(self.recovered.take().map(|r| Action::Event(Event::Recovered(r))));
        if self.is_ending(&input, out) {
            return;
        }
        self.look_at_recovered(now, out);
        self.write_rolled(out);
        match input {
            Input::PeerUp { peer, hello } => self.peer_up(now, peer, &hello, out),
            Input::PeerDown { peer } => {
                self.links.peer_down(peer, now.monotonic);
                self.meter.relinked(peer);
                self.transfer_link_down(now, peer);
            }
            Input::PeerFrame { peer, frame } => self.peer_frame(now, peer, &frame, out),
            Input::ClientUp { link, client, role } => {
                let client = Client { id: client, role };
                if !self.links.client_up(link, client, self.quotas.links_per_client) {
                    let reason = CloseReason::TooManyLinks;
                    out.push(Action::CloseClient { link, reason });
                }
            }
            Input::ClientDown { link } => {
                self.links.client_down(link);
                self.receipts.link_down(link);
            }
            Input::ClientFrames { link, frames } => {
                for frame in frames {
                    self.client_frame(now, link, &frame, out);
                }
            }
            Input::Synced { sequence } => {
                self.meter.synced(sequence, now, self.core.members());
                self.synced(now, sequence, out);
            }
            Input::Away { since, late } => self.away(now, since, late),
            Input::Encoded { number, made } => self.encoded(now, number, made, out),
            Input::Leave => self.core(now, ordering::Input::Leave, out),
            Input::Tick => {
                self.look_at_pings(now);
                self.core(now, ordering::Input::Tick, out);
                self.ping_and_fetch(now, out);
            }
            Input::Drained => {
                self.answers.end_batch();
                self.look_at_pings(now);
                self.core(now, ordering::Input::Drained, out);
                self.ping_and_fetch(now, out);
                self.answer_reads(out);
                self.answer_wishes(now, out);
                out.extend(self.journal.flush(self.executor.position().round));
            }
        }
    }

    /// When [`Input::Tick`] is needed at the latest.
    pub fn next_wake(&self) -> Option<Instant> {
        let cores = [self.core.next_wake(), self.links.next_ping()];
        let fetch = self.fetch.next_wake().filter(|_| !self.paused);
        let receipts = self.receipts.next_wake();
        let search = self.quarantine.next_wake(self.timing.patience);
        let more = [fetch, self.transfer_wake(), self.needed_wake(), receipts, search];
        let wakes = cores.into_iter().chain(more);
        wakes.flatten().min()
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
                promise: self.core.promise(),
                round: self.core.complete(),
            }],
        }
    }

    // --- replicas -----------------------------------------------------------------------------

    fn peer_up(&mut self, now: Now, peer: ReplicaId, hello: &Hello, out: &mut Actions) {
        self.links.peer_up(peer, now.monotonic);
        self.meter.relinked(peer);
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
                let (clock, answered) = (now.monotonic.0, now.wall.0);
                let pong = Pong { sent: ping.sent, clock, answered };
                out.push(to_peer(peer, Lane::Protocol, pong.to_frame(self.group)));
            }),
            Kind::Pong => Pong::from_body(body).map(|pong| self.pong(now, peer, pong)),
            Kind::Stamp => Stamp::from_body(body).map(|stamp| self.stamped(now, peer, stamp)),
            Kind::WantBody => WantBody::from_body(body).map(|w| self.want_body(peer, &w, out)),
            Kind::Body => Body::from_body(body).map(|body| self.body(now, body, out)),
            Kind::WantSnapshot | Kind::SnapshotPart | Kind::SnapshotOffer => {
                self.transfer_frame(now, peer, frame, out)
            }
            Kind::WantLeaves => WantLeaves::from_body(body).map(|w| self.want_leaves(peer, w, out)),
            Kind::Leaves => Leaves::from_body(body).map(|l| self.leaves(now, peer, &l, out)),
            Kind::Open | Kind::Hello => Ok(()),
            Kind::Blame
            | Kind::Call
            | Kind::Report
            | Kind::Restarted
            | Kind::Stalled
            | Kind::Change
            | Kind::WantHistory
            | Kind::Gone => self.epoch_frame(now, peer, frame, out),
            Kind::Greeting
            | Kind::Request
            | Kind::Replies
            | Kind::Note
            | Kind::OperatorChange
            | Kind::Chain
            | Kind::ChainQuery
            | Kind::ChainAnswer
            | Kind::ChainSession
            | Kind::WantReceipt
            | Kind::Receipt
            | Kind::Digests
            | Kind::WholeQuery => {
                self.close_peer(peer, CloseReason::Malformed("a message for others"), out);
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
        let p = proposal.peek();
        if self.core.is_ahead(p) {
            // Only a hint, from whoever is at the other end: what it leads to is checked.
            let (epoch, round) = (p.epoch, p.round);
            self.core(now, ordering::Input::Ahead { peer, epoch, round }, out);
        }
        if !self.core.is_news(proposal.peek()) {
            return;
        }
        if self.waits_too_much() && self.core.only_follows() {
            mark("R7 rounds were left for later as too much waited");
            return;
        }
        match proposal.verify_ref(&self.keyring) {
            Ok(verified) => {
                self.core(now, ordering::Input::Proposal(verified.into()), out);
            }
            Err(_) => self.bad_signature(peer, proposal.peek(), out),
        }
    }

    pub(super) fn close_peer(&mut self, peer: ReplicaId, reason: CloseReason, out: &mut Actions) {
        if self.links.is_up(peer) {
            out.push(Action::ClosePeer { peer, reason });
        }
    }

    // --- order and execution ------------------------------------------------------------------

    pub(super) fn core(&mut self, now: Now, input: ordering::Input, out: &mut Actions) {
        let mut actions = Vec::new();
        self.core.saw_delta(self.meter.holds());
        self.core.handle(now, input, &mut actions);
        self.mark_known(now, out);
        self.follow_keys();
        for action in actions {
            match action {
                ordering::Action::Broadcast(proposal) => {
                    self.meter.proposed();
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
                ordering::Action::Committed(step) => self.committed(now, step, out),
                ordering::Action::Behind => self.behind(out),
                ordering::Action::TellAll(what) => self.tell(None, &what, out),
                ordering::Action::Tell { to, what } => self.tell(Some(to), &what, out),
                ordering::Action::Show { to, what } => self.show(to, &what, out),
                // More would only wait, until it is too much; the core asks again.
                ordering::Action::AskHistory { .. } if self.waits_too_much() => {}
                ordering::Action::AskHistory { from, after } => {
                    let want = WantHistory { after };
                    out.push(to_peer(from, Lane::Protocol, want.to_frame(self.group)));
                }
                ordering::Action::Gone { to } => self.gone(to, out),
                ordering::Action::Persist { sequence, records } => {
                    let executed = self.executor.position().round;
                    out.extend(self.journal.flush(executed));
                    out.push(self.journal.persist(Some(sequence), records, executed));
                }
                ordering::Action::Log(logged) => self.log(&logged),
                ordering::Action::Count { requests } => self.count_bodies(now, requests, out),
                ordering::Action::NeedBodies { opening, bodies, void } => {
                    self.need_bodies(now, opening, (bodies, &void), out);
                }
                ordering::Action::Opened(opened) => self.opened(&opened, out),
                ordering::Action::Astray { keep, epoch } => self.astray(keep, epoch, out),
                ordering::Action::Event(event) => {
                    if let ordering::Event::Proven { proof, .. } = &event {
                        self.proven(proof, out);
                    }
                    out.extend(report(event).map(Action::Event));
                }
            }
        }
        self.see_again(now, out);
        self.execute(now, out);
    }

    pub(super) fn execute(&mut self, now: Now, out: &mut Actions) {
        let mut ran = false;
        if self.paused || !self.core.may_execute() {
            return;
        }
        while let Some(executed) = self.executor.run_next(&mut self.bodies) {
            ran = true;
            let Executed { position, replies, repeats, trace, ran: requests, void } = executed;
            self.void.extend(void);
            self.log_bodies(position.round, &requests);
            for (link, replies) in replies {
                self.reply(link, position, replies, out);
            }
            for (link, position, reply) in repeats {
                self.reply(link, position, vec![Due::again(reply)], out);
            }
            let told = self.core.may_answer();
            out.extend(trace.map(|trace| Action::Event(Event::Step { trace, told })));
            self.fetch.end();
            self.take_snapshot();
        }
        if self.executor.is_waiting_for_bodies() {
            mark("O7 execution waited for a body");
            self.fetch.begin(now.monotonic, &self.timing);
        }
        if let Some(why) = self.executor.halted().filter(|_| !self.halt_reported) {
            out.push(Action::Event(Event::Halted { why: why.to_owned() }));
            self.halt_reported = true;
        }
        if ran {
            self.attest();
        }
        self.see_again(now, out);
    }

    fn ping_and_fetch(&mut self, now: Now, out: &mut Actions) {
        for (peer, ping) in self.links.due_pings(now, &self.timing) {
            out.push(to_peer(peer, Lane::Protocol, ping.to_frame(self.group)));
        }
        self.transfer(now, out);
        self.search_difference(now, out);
        self.look_at_needed(now, out);
        self.ask_for_bodies(now, out);
    }
}

pub(super) fn to_peer(peer: ReplicaId, lane: Lane, frame: Vec<u8>) -> Action {
    Action::ToPeer { peer, lane, frame: frame.into() }
}

pub(super) fn to_client(link: LinkId, frame: Vec<u8>) -> Action {
    Action::ToClient { link, frame: frame.into() }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
