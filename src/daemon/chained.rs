//! A replica's part in one chain: the core and its disk.

use super::DaemonError;
use super::chain_disk::{ChainDisk, ChainOpened, ChainOpening};
use super::disk::Done;
use super::encoder::beside;
use super::initial::Initial;
use crate::chain::{Actions, Chain, ChainLimits, Encoding, Event, Input, MakeService, Setup};
use crate::config::{ChainEntry, Cluster, Reads};
use crate::master::{Master, Terms};
use crate::replica::{ChainRole, ChainStatus};
use crate::service::{Inherited, Service};
use crate::types::{ClientId, DiskState, Durability, GroupId, Instant, LinkId, Now, ReplicaId};
use crate::types::{Role, SessionId};
use crate::wire::{ChainConfig, ChainMember, ChainMessage, ChainQuery, ChainSession};
use crate::wire::{Frame, Kind, Message, Note, NoteKind, Request, RequestBody};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// Sessions of which a link is remembered, at most: those that it said last. Clients have one.
const SESSIONS: usize = 64;

/// The master of a cluster's chains, as it begins. Replicas that may be in chains and are no
/// members of one are its spares.
pub fn master_of(cluster: &Cluster) -> Master {
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let chains = cluster.chains;
    let terms = Terms { lease: micros(chains.lease), margin: micros(chains.margin) };
    cluster.each_chain().into_iter().fold(Master::new(terms), |master, chain| {
        let ChainEntry { number, length, members, .. } = chain;
        let hosts = cluster.hosts().iter().map(|r| r.id);
        let others = hosts.filter(|r| !members.contains(r));
        let spares = others.collect();
        let master = master.with_chain(number, length, members, spares);
        master.expect("a roster is no longer than a chain may be, and no number is there twice")
    })
}

/// The bytes of a state, by the name of what asked for them.
type State = (u64, Bytes);

/// What comes from beside the loop.
pub(super) enum Own {
    Disk(Done),
    State(u64, Bytes),
}

/// A client's link.
struct ClientLink {
    client: ClientId,
    role: Role,
    /// Its sessions, the one heard of last at the end.
    sessions: VecDeque<SessionId>,
}

pub(super) struct Chained {
    chain: Chain,
    actions: Actions,
    disk: ChainDisk,
    done: mpsc::UnboundedReceiver<Done>,
    /// From the threads that make them.
    states: (mpsc::UnboundedSender<State>, mpsc::UnboundedReceiver<State>),
    number: u32,
    links: BTreeMap<LinkId, ClientLink>,
    by_client: BTreeMap<ClientId, Vec<LinkId>>,
}

impl Chained {
    /// Takes up what the disk has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn start(
        (cluster, me, number): (&Cluster, ReplicaId, u32),
        (data, disk): (&Path, Option<DiskState>),
        (service, inherited): (MakeService, Option<Inherited>),
    ) -> Result<Self, DaemonError> {
        let durable = cluster.durability != Durability::None;
        let id = cluster.id();
        let alone = !cluster.ensemble.contains(me);
        let opening =
            ChainOpening { cluster: id, replica: me, chain: number, disk, durable, alone };
        let opened = ChainDisk::open(data, opening)?;
        let ChainOpened { disk, found, life, blank, unsure, done } = opened;
        let limits = limits_of(cluster);
        let setup = Setup {
            me,
            incarnation: life,
            chain: number,
            context: cluster.context(GroupId::of_chain(number)),
            lease: cluster.chains.lease,
            margin: cluster.chains.margin,
            durable,
            lost: blank && !alone,
            unsure,
            trace: false,
            reads_any: cluster.chains.reads == Reads::Any,
            order: cluster.limits,
            limits,
            inherited,
            service,
        };
        let failed = |reason| DaemonError::Data { path: data.to_owned(), reason };
        let chain = Chain::new(setup, found).map_err(|why| {
            let remedy = "if other members of the chain are well, move this data directory away \
                          and start once with --replace-disk: the replica joins as a spare";
            failed(format!("the chain's log does not fit together: {why}; {remedy}"))
        })?;
        info!(
            replica = %me, chain = number, life, executed = chain.executed().number,
            last = chain.last().number,
            "has its part of the chain; nobody is served before the master gives a lease"
        );
        if blank && !alone {
            warn!(
                replica = %me, chain = number,
                "this disk stands in for one that is lost: if the whole chain is down, it waits \
                 until an operator says so (`quorate admin chain remove`)"
            );
        }
        let (links, by_client) = (BTreeMap::new(), BTreeMap::new());
        let (actions, states) = (Actions::new(), mpsc::unbounded_channel());
        Ok(Self { chain, actions, disk, done, states, number, links, by_client })
    }

    /// What its disk says next, or a state's bytes that are made; pending for ever once these have
    /// ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Own> {
        if let Poll::Ready(Some(done)) = self.done.poll_recv(cx) {
            return Poll::Ready(Own::Disk(done));
        }
        match self.states.1.poll_recv(cx) {
            Poll::Ready(Some((id, state))) => Poll::Ready(Own::State(id, state)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Makes a state's bytes beside the loop.
    pub(super) fn encode(&self, id: u64, work: Encoding) {
        let (say, chain) = (self.states.0.clone(), self.number);
        beside(move || {
            let begun = std::time::Instant::now();
            let state = work.run();
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let number = work.number();
            info!(chain, number, bytes = state.len(), ms, "made the bytes of a state");
            // Who no longer listens does not need them.
            drop(say.send((id, state)));
        });
    }

    /// Its number at the master.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The newest configuration that it knows.
    pub(super) fn config(&self) -> &ChainConfig {
        self.chain.config()
    }

    pub(super) fn input(&mut self, now: Now, input: Input) {
        let mut actions = self.chain.handle(now, input);
        self.actions.append(&mut actions);
    }

    pub(super) fn next_wake(&self) -> Instant {
        self.chain.next_wake()
    }

    /// What is to be done.
    pub(super) fn take(&mut self) -> Actions {
        std::mem::take(&mut self.actions)
    }

    /// How many actions wait.
    pub(super) fn waiting(&self) -> usize {
        self.actions.len()
    }

    pub(super) fn disk(&self) -> &ChainDisk {
        &self.disk
    }

    // --- replicas ------------------------------------------------------------------------------

    /// A frame of another replica.
    ///
    /// # Errors
    /// Why its link is to be closed.
    pub(super) fn peer_frame(
        &mut self,
        now: Now,
        peer: ReplicaId,
        frame: &Frame,
    ) -> Result<(), String> {
        if frame.kind != Kind::Chain {
            return Err(format!("{:?} is no message between replicas of a chain", frame.kind));
        }
        let message = ChainMessage::from_body(&frame.body);
        let message = message.map_err(|e| format!("a malformed message of a chain: {e}"))?;
        self.input(now, Input::Peer { peer, message });
        Ok(())
    }

    // --- clients -------------------------------------------------------------------------------

    pub(super) fn client_up(&mut self, link: LinkId, client: ClientId, role: Role) {
        self.links.insert(link, ClientLink { client, role, sessions: VecDeque::new() });
        self.by_client.entry(client).or_default().push(link);
    }

    pub(super) fn client_down(&mut self, link: LinkId) {
        let Some(ClientLink { client, .. }) = self.links.remove(&link) else { return };
        if let Some(links) = self.by_client.get_mut(&client) {
            links.retain(|l| *l != link);
            if links.is_empty() {
                self.by_client.remove(&client);
            }
        }
    }

    /// A client's frame; gives what it is told at once, if anything.
    ///
    /// # Errors
    /// Why its link is to be closed.
    pub(super) fn client_frame(
        &mut self,
        now: Now,
        link: LinkId,
        frame: &Frame,
    ) -> Result<Option<Note>, String> {
        let Some(at) = self.links.get_mut(&link) else { return Ok(None) };
        let client = at.client;
        match frame.kind {
            Kind::Request => {
                let request = Request::from_body(&frame.body);
                let request = request.map_err(|e| format!("a malformed request: {e}"))?;
                at.heard(request.session);
                let (session, number) = (request.session, request.number);
                if at.role == Role::Read && !only_reads(&request) {
                    return Ok(Some(Note { session, number, kind: NoteKind::Forbidden }));
                }
                self.input(now, Input::Update { link, client, request });
            }
            Kind::ChainQuery => {
                let query = ChainQuery::from_body(&frame.body);
                let query = query.map_err(|e| format!("a malformed query: {e}"))?;
                self.input(now, Input::Query { link, client, query });
            }
            Kind::ChainSession => {
                let said = ChainSession::from_body(&frame.body);
                at.heard(said.map_err(|e| format!("a malformed session: {e}"))?.session);
            }
            other => return Err(format!("{other:?} is nothing that a client asks of a chain")),
        }
        Ok(None)
    }

    /// Where the reply to a session's request goes.
    pub(super) fn links_of(&self, client: &ClientId, session: SessionId) -> Vec<LinkId> {
        let all = self.by_client.get(client).map_or(&[][..], Vec::as_slice);
        ways(&self.links, all, session)
    }

    // --- for people ----------------------------------------------------------------------------

    pub(super) fn status(&self, now: Now) -> ChainStatus {
        let (chain, config) = (&self.chain, self.chain.config());
        let place = config.members.iter().position(|m| *m == chain.member());
        let role = match place {
            Some(0) if config.members.len() == 1 => ChainRole::Alone,
            Some(0) => ChainRole::Head,
            Some(place) if place + 1 == config.members.len() => ChainRole::Tail,
            Some(_) => ChainRole::Middle,
            None if config.joining == Some(chain.member()) => ChainRole::Joining,
            None => ChainRole::Spare,
        };
        let number = |m: &ChainMember| m.replica.number();
        ChainStatus {
            number: self.number,
            role,
            config: config.number,
            members: config.members.iter().map(number).collect(),
            joining: config.joining.as_ref().map(number),
            executed: chain.executed().number,
            last: chain.last().number,
            durable: chain.durable(),
            pending: chain.pending() as u64,
            open: chain.is_open(),
            lease_ms: u64::try_from(chain.lease_left(now).as_millis()).unwrap_or(u64::MAX),
            lost: chain.is_lost() && !chain.is_unsure(),
            halted: chain.halted().map(str::to_owned),
        }
    }

    /// All counters by name.
    pub(super) fn counters(&self) -> [(&'static str, u64); 18] {
        let s = self.chain.stats();
        [
            ("chain_taken", s.taken),
            ("chain_waiting_repeats", s.waiting_repeats),
            ("chain_answered_repeats", s.answered_repeats),
            ("chain_busy", s.busy),
            ("chain_refused", s.refused),
            ("chain_forwarded", s.forwarded),
            ("chain_batches", s.batches),
            ("chain_executed", s.executed),
            ("chain_answered", s.answered),
            ("chain_asked", s.asked),
            ("chain_other_config", s.other_config),
            ("chain_unfit", s.unfit),
            ("chain_resumed", s.resumed),
            ("chain_states_given", s.states_given),
            ("chain_states_taken", s.states_taken),
            ("chain_dropped", s.dropped),
            ("chain_leases_lost", s.leases_lost),
            ("chain_renewals", s.renewals),
        ]
    }
}

/// Of all links of a client the one on which the session was heard of last. While there is none,
/// those that have said nothing of any session yet, since a reply can overtake that; if there are
/// none of these either, all.
fn ways(links: &BTreeMap<LinkId, ClientLink>, all: &[LinkId], session: SessionId) -> Vec<LinkId> {
    let is = |l: &LinkId, what: fn(&ClientLink, SessionId) -> bool| {
        links.get(l).is_some_and(|link| what(link, session))
    };
    let knows = |l: &&LinkId| is(l, |link, session| link.sessions.contains(&session));
    if let Some(link) = all.iter().rev().find(knows) {
        return vec![*link];
    }
    let silent = all.iter().copied().filter(|l| is(l, |link, _| link.sessions.is_empty()));
    let silent: Vec<LinkId> = silent.collect();
    if silent.is_empty() { all.to_vec() } else { silent }
}

impl ClientLink {
    fn heard(&mut self, session: SessionId) {
        if self.sessions.contains(&session) {
            return;
        }
        if self.sessions.len() >= SESSIONS {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session);
    }
}

fn only_reads(request: &Request) -> bool {
    let is_of_session = request.number == 0 || request.withdraws();
    is_of_session || RequestBody::parse(&request.body).is_ok_and(|body| body.only_reads())
}

/// New services that begin as this cluster's does, and what goes with that.
pub(super) fn beginning_with(
    make: MakeService,
    initial: Option<Initial>,
) -> (MakeService, Option<Inherited>) {
    let Some(Initial { service: state, inherited }) = initial else { return (make, None) };
    let fresh = move || -> Box<dyn Service> {
        let mut service = (make.0)();
        service.restore(&state).expect("the service has read this state when the replica started");
        service
    };
    (MakeService(std::sync::Arc::new(fresh)), inherited)
}

/// What bounds one of a cluster's chains: all that the process may hold is shared by them.
fn limits_of(cluster: &Cluster) -> ChainLimits {
    let (quotas, chains) = (cluster.quotas, cluster.each_chain().len());
    let half = |bytes: u64| usize::try_from(bytes / 2).unwrap_or(usize::MAX);
    let default = ChainLimits::default();
    // A link closes when more than its limit waits in it; but one request must fit.
    let least = cluster.limits.max_request as usize;
    ChainLimits {
        pending: (default.pending.min(quotas.global as usize) / chains).max(1),
        pending_bytes: (default.pending_bytes.min(half(quotas.link_bytes)) / chains).max(least),
        // Who is close needs no state.
        window_bytes: (default.window_bytes.min(half(quotas.link_bytes)) / chains).max(least),
        kept_bytes: usize::try_from(quotas.kept_bytes).unwrap_or(usize::MAX) / chains,
        log_bytes: quotas.log_bytes / chains as u64,
        kept: (default.kept / chains).max(2 * default.close as usize),
        per_client: quotas.per_client as usize,
        snapshot_bytes: quotas.snapshot_bytes,
        ..default
    }
}

/// Logs an event of a chain in words that a person can act on.
pub(super) fn log(chain: u32, event: &Event) {
    match event {
        Event::Configured { config } => {
            let members = config.members.iter().map(|m| m.replica.to_string());
            let members = members.collect::<Vec<_>>().join(" > ");
            let joining = config.joining.map_or("nobody".to_owned(), |m| m.replica.to_string());
            let number = config.number;
            info!(chain, number, %members, joining, "the chain has a configuration");
        }
        Event::LeaseLost => {
            warn!(chain, "the lease is over, and no new one has come: serves nobody until then");
        }
        Event::Open { config } => info!(chain, config, "answers as the tail"),
        Event::Dropped { updates } => {
            info!(
                chain,
                updates, "dropped updates that were never committed; their clients repeat them"
            );
        }
        Event::TookState { number } => info!(chain, number, "took in the state of its predecessor"),
        Event::DiskLost => {
            warn!(
                chain,
                "THE DISK IS ANOTHER ONE: this replica was a member of the chain before, and what \
                 it had is not here. Put its data directory back if it is not lost. If it is, and \
                 the whole chain is down, the chain waits for it until an operator says so \
                 (`quorate admin chain remove`, then `add`)"
            );
        }
        Event::Executed { .. } => {}
        Event::Halted { why } => error!(chain, why, "this replica's part in the chain has halted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(sessions: &[u64]) -> ClientLink {
        let mut link =
            ClientLink { client: ClientId([1; 32]), role: Role::Write, sessions: VecDeque::new() };
        sessions.iter().for_each(|s| link.heard(SessionId(*s)));
        link
    }

    #[test]
    fn a_reply_goes_to_the_link_that_has_said_its_session() {
        let all = [LinkId(1), LinkId(2), LinkId(3)];
        let links = |said: [&[u64]; 3]| all.into_iter().zip(said.map(link)).collect();
        for (said, expected) in [
            ([&[7][..], &[8], &[]], &[1][..]),
            // Its client has come back over another link.
            ([&[7], &[8], &[7]], &[3]),
            // Nobody yet: whoever has said nothing may have sent it.
            ([&[6], &[8], &[]], &[3]),
            ([&[], &[8], &[]], &[1, 3]),
            ([&[6], &[8], &[9]], &[1, 2, 3]),
        ] {
            let to = ways(&links(said), &all, SessionId(7));
            assert_eq!(to.iter().map(|l| l.0).collect::<Vec<_>>(), expected, "{said:?}");
        }
        assert_eq!(ways(&BTreeMap::new(), &[], SessionId(7)), []);
    }

    #[test]
    fn a_link_is_remembered_for_so_many_sessions_and_no_more() {
        let many: Vec<u64> = (0..10_000).collect();
        let mut link = link(&many);
        assert_eq!(link.sessions.len(), SESSIONS);
        assert!(
            link.sessions.contains(&SessionId(9_999)) && !link.sessions.contains(&SessionId(0))
        );
        link.heard(SessionId(9_999));
        assert_eq!(link.sessions.len(), SESSIONS, "what is said twice counts once");
    }
}
