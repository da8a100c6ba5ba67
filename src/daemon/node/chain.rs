//! What the loop does for its part in a chain, in the fail-stop model.

use super::Node;
use crate::chain::{Action, Event, Input};
use crate::config::FaultModel;
use crate::crypto::PublicKey;
use crate::daemon::chained::{self, News};
use crate::daemon::gate::{self, Sender};
use crate::transport::Lane;
use crate::types::{ClientId, Digest, GroupId, LinkId, ReplicaId, Role, Round};
use crate::wire::{
    ChainAnswer, ChainConfig, Frame, Kind, Message, Note, Replies, Request, StepPosition,
};
use tracing::warn;

/// Actions that wait at most before they are done.
const ACTIONS: usize = 4096;

impl Node {
    /// An event for the chain, if there is one.
    pub(super) fn chain_input(&mut self, input: Input) {
        let now = self.clock.now();
        let Some(chained) = &mut self.chain else { return };
        chained.input(now, input);
        self.act_if_much_waits();
    }

    fn act_if_much_waits(&mut self) {
        if self.chain.as_ref().is_some_and(|c| c.waiting() > ACTIONS) {
            self.act_for_chain();
        }
    }

    pub(super) fn chain_news(&mut self, news: News) {
        let now = self.clock.now();
        let Some(chained) = &mut self.chain else { return };
        if let Err(why) = chained.news(now, news) {
            self.failed = Some(why);
        }
    }

    /// Takes a replica's frame, if it is for the chain.
    pub(super) fn chain_peer_frame(&mut self, peer: ReplicaId, frame: &Frame) -> bool {
        let now = self.clock.now();
        let Some(chained) = self.chain.as_mut().filter(|_| frame.group == GroupId::CHAIN) else {
            return false;
        };
        if let Err(why) = chained.peer_frame(now, peer, frame)
            && let Some(open) = self.peers.get_mut(&peer)
            && open.fault(&why)
        {
            warn!(%peer, why, "closing the link");
        }
        self.act_if_much_waits();
        true
    }

    pub(super) fn chain_client_up(&mut self, link: LinkId, client: ClientId, role: Role) {
        if let Some(chained) = &mut self.chain {
            chained.client_up(link, client, role);
        }
    }

    pub(super) fn chain_client_down(&mut self, link: LinkId) {
        if let Some(chained) = &mut self.chain {
            chained.client_down(link);
        }
    }

    /// Takes a client's frame, if it is for the chain, or something that its sender may not ask of
    /// the master.
    pub(super) fn chain_client_frame(&mut self, link: LinkId, frame: &Frame) -> bool {
        let now = self.clock.now();
        let Some(chained) = &mut self.chain else { return false };
        if frame.group != GroupId::CHAIN {
            return frame.kind == Kind::Request && self.is_kept_from_master(link, frame);
        }
        match chained.client_frame(now, link, frame) {
            Ok(None) => {}
            Ok(Some(note)) => self.note(link, note, GroupId::CHAIN),
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
        self.note(link, Note { session, number, kind }, GroupId::MAIN);
        true
    }

    /// CH-F5: who waits for a replica that has stopped learns at once who takes its place.
    fn tell_clients(&mut self, config: ChainConfig) {
        let frame = ChainAnswer::Config(config).to_frame(GroupId::CHAIN);
        let links: Vec<LinkId> = self.clients.keys().copied().collect();
        links.into_iter().for_each(|link| self.send_to_client(link, &frame));
    }

    fn note(&mut self, link: LinkId, note: Note, group: GroupId) {
        self.send_to_client(link, &note.to_frame(group));
    }

    fn send_to_client(&mut self, link: LinkId, frame: &[u8]) {
        if let Some(open) = self.clients.get_mut(&link) {
            // Who does not read its answers gets no more of them.
            open.closing |= !open.link.send(Lane::Protocol, frame);
            self.touched_clients.insert(link);
        }
    }

    /// Does what the chain asks for; links are flushed by [`Node::act`].
    pub(super) fn act_for_chain(&mut self) {
        let Some(chained) = &mut self.chain else { return };
        for action in chained.take() {
            self.do_for_chain(action);
        }
    }

    fn do_for_chain(&mut self, action: Action) {
        let Some(chained) = &self.chain else { return };
        match action {
            Action::ToPeer { peer, message } => {
                // In one lane, so that what is said comes in order.
                if let Some(open) = self.peers.get(&peer) {
                    open.link.send(Lane::Protocol, &message.to_frame(GroupId::CHAIN));
                    self.touched_peers.insert(peer);
                }
            }
            Action::Reply { client, number, reply } => {
                let links = chained.links_of(&client, reply.session);
                let position = StepPosition { round: Round(number), vector: Digest::ZERO };
                let replies = Replies { position, rolled: false, replies: vec![reply] };
                let frame = replies.to_frame(GroupId::CHAIN);
                links.into_iter().for_each(|link| self.send_to_client(link, &frame));
            }
            Action::Answer { link, answer } => {
                self.send_to_client(link, &answer.to_frame(GroupId::CHAIN));
            }
            Action::Renew { serial, command } => chained.renew(serial, command),
            Action::Append { sequence, entries } => chained.disk().append(sequence, entries),
            Action::Save { sequence, number, state, anew } => {
                chained.disk().save(sequence, number, state, anew);
            }
            Action::Encode { id, work } => chained.encode(id, work),
            Action::Event(event) => {
                chained::log(&event);
                if let Event::Configured { config } = event {
                    self.tell_clients(config);
                }
            }
        }
    }
}

/// Whether a key without an entry as a client may open a client's link: replicas ask the master
/// for their leases.
pub(in crate::daemon) fn asks_the_master(model: FaultModel, owner: Option<ReplicaId>) -> bool {
    model == FaultModel::FailStop && owner.is_some()
}

/// The name under which a key asks.
pub(in crate::daemon) fn client_of(key: &PublicKey) -> ClientId {
    ClientId(key.0)
}
