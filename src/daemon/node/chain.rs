//! What the loop does for its parts in chains, in the fail-stop model.

use super::Node;
use crate::chain::{Action, Event, Input};
use crate::config::{Cluster, FaultModel};
use crate::crypto::PublicKey;
use crate::daemon::chained;
use crate::daemon::chains::{Chains, News};
use crate::daemon::gate::{self, Sender};
use crate::daemon::mark;
use crate::transport::Lane;
use crate::types::{ClientId, Digest, GroupId, LinkId, ReplicaId, Role, Round};
use crate::wire::{
    ChainAnswer, ChainConfig, Frame, Kind, Message, Note, Replies, Request, StepPosition,
};
use tracing::warn;

/// Actions that wait at most before they are done.
const ACTIONS: usize = 4096;

impl Node {
    /// An event for every chain.
    pub(super) fn chain_input(&mut self, input: Input) {
        let Some(chains) = &mut self.chains else { return };
        chains.input(self.clock.now(), &input);
        self.act_if_much_waits();
    }

    fn act_if_much_waits(&mut self) {
        if self.chains.as_ref().is_some_and(|c| c.waiting() > ACTIONS) {
            self.act_for_chain();
        }
    }

    pub(super) fn chain_news(&mut self, news: News) {
        let Some(chains) = &mut self.chains else { return };
        if let Err(why) = chains.news(self.clock.now(), news) {
            self.failed = Some(why);
        }
    }

    /// Takes a replica's frame, if it is for a chain.
    pub(super) fn chain_peer_frame(&mut self, peer: ReplicaId, frame: &Frame) -> bool {
        let Some(chains) = &mut self.chains else { return false };
        let taken = chains.peer_frame(self.clock.now(), peer, frame);
        let Some(taken) = taken else { return false };
        if let Err(why) = taken
            && let Some(open) = self.peers.get_mut(&peer)
            && open.fault(&why)
        {
            warn!(%peer, why, "closing the link");
        }
        self.act_if_much_waits();
        true
    }

    pub(super) fn chain_client_up(&mut self, link: LinkId, client: ClientId, role: Role) {
        if let Some(chains) = &mut self.chains {
            chains.client_up(link, client, role);
        }
    }

    pub(super) fn chain_client_down(&mut self, link: LinkId) {
        if let Some(chains) = &mut self.chains {
            chains.client_down(link);
        }
    }

    /// Takes a client's frame, if it is for a chain, or something that its sender may not ask of
    /// the master.
    pub(super) fn chain_client_frame(&mut self, link: LinkId, frame: &Frame) -> bool {
        // The clock is read for a chain only: with each frame it was a part of all that was done.
        let clock = self.clock;
        let of_chain = |chains: &mut Chains| chains.client_frame(clock.now(), link, frame);
        let taken = self.chains.as_mut().and_then(of_chain);
        let Some(taken) = taken else {
            let is_asked = self.cluster.fault_model == FaultModel::FailStop;
            return is_asked
                && frame.kind == Kind::Request
                && self.is_kept_from_master(link, frame);
        };
        match taken {
            Ok(None) => {}
            Ok(Some(told)) => self.send_to_client(link, &told),
            Err(why) => {
                if let Some(open) = self.clients.get_mut(&link)
                    && open.fault(&why)
                {
                    let remote = open.link.remote();
                    warn!(link = link.0, %remote, why, "closing the link");
                }
            }
        }
        self.act_if_much_waits();
        true
    }

    /// Whether a request for the master is not let in; its sender is told.
    fn is_kept_from_master(&mut self, link: LinkId, frame: &Frame) -> bool {
        // What is no request is the core's to judge.
        let Ok(request) = Request::from_body(&frame.body) else { return false };
        let Some(open) = self.clients.get(&link) else { return true };
        let key = open.link.peer();
        let sender = match (self.pins.owner(&key), self.cluster.client_with_key(&key)) {
            (Some(replica), _) => Sender::Replica(replica),
            (None, Some(client)) => Sender::Client(client.role),
            (None, None) => Sender::Client(Role::Read),
        };
        let Err(kind) = gate::judge(sender, &request) else { return false };
        let (session, number) = (request.session, request.number);
        let note = Note { session, number, kind };
        self.send_to_client(link, &note.to_frame(GroupId::MAIN));
        true
    }

    /// CH-F5: who waits for a replica that has stopped learns at once who takes its place.
    fn tell_clients(&mut self, chain: u32, config: ChainConfig) {
        let frame = ChainAnswer::Config(config).to_frame(GroupId::of_chain(chain));
        let links: Vec<LinkId> = self.clients.keys().copied().collect();
        links.into_iter().for_each(|link| self.send_to_client(link, &frame));
    }

    fn send_to_client(&mut self, link: LinkId, frame: &[u8]) {
        if let Some(open) = self.clients.get_mut(&link) {
            // Who does not read its answers gets no more of them.
            open.closing |= !open.link.send(Lane::Protocol, frame);
            self.touched_clients.insert(link);
        }
    }

    /// Does what the chains ask for; links are flushed by [`Node::act`].
    pub(super) fn act_for_chain(&mut self) {
        while let Some((chain, actions)) = self.chains.as_mut().and_then(|chains| chains.take()) {
            for action in actions {
                // What is not noted must not be told.
                if self.failed.is_some() {
                    return;
                }
                self.do_for_chain(chain, action);
            }
        }
    }

    fn do_for_chain(&mut self, chain: u32, action: Action) {
        let Some(chains) = &self.chains else { return };
        let Some(chained) = chains.get(chain) else { return };
        let group = GroupId::of_chain(chain);
        match action {
            Action::ToPeer { peer, message } => {
                // In one lane, so that what is said comes in order.
                if let Some(open) = self.peers.get(&peer) {
                    open.link.send(Lane::Protocol, &message.to_frame(group));
                    self.touched_peers.insert(peer);
                }
            }
            Action::Reply { client, number, reply } => {
                let links = chained.links_of(&client, reply.session);
                let position = StepPosition { round: Round(number), vector: Digest::ZERO };
                let replies = Replies { position, rolled: false, replies: vec![reply] };
                let frame = replies.to_frame(group);
                links.into_iter().for_each(|link| self.send_to_client(link, &frame));
            }
            Action::Answer { link, answer } => {
                self.send_to_client(link, &answer.to_frame(group));
            }
            Action::Renew { serial, command } => chains.renew(chain, serial, command),
            Action::Append { sequence, entries } => chained.disk().append(sequence, entries),
            Action::Save { sequence, number, state, anew } => {
                chained.disk().save(sequence, number, state, anew);
            }
            Action::Encode { id, work } => chained.encode(id, work),
            Action::Begun => {
                let noted = chained.disk().begun();
                match noted.and_then(|()| mark::known(&self.directory, self.mark)) {
                    Ok(mark) => self.mark = mark,
                    Err(why) => self.failed = Some(why),
                }
            }
            Action::Event(event) => {
                chained::log(chain, &event);
                if let Event::Configured { config } = event {
                    self.tell_clients(chain, config);
                }
            }
        }
    }
}

/// Whether replicas ask this one for their leases: over links of clients, though their keys have no
/// entries as clients.
pub(in crate::daemon) fn gives_leases(cluster: &Cluster, me: ReplicaId) -> bool {
    cluster.fault_model == FaultModel::FailStop && cluster.ensemble.contains(me)
}

/// The name under which a key asks.
pub(in crate::daemon) fn client_of(key: &PublicKey) -> ClientId {
    ClientId(key.0)
}
