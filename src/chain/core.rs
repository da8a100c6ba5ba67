//! The door of a chain's replica, and what it holds.

use super::downstream::Downstream;
use super::encoding::Maker;
use super::executor::Executor;
use super::history::History;
use super::lease::Lease;
use super::log::Log;
use super::pending::Pending;
use super::queries::Queries;
use super::recovered::Recovered;
use super::upstream::Upstream;
use super::{Action, Actions, Event, Found, Input, Setup, Stats};
use crate::types::plant::planted;
use crate::types::{Digest, Instant, Now, ReplicaId};
use crate::wire::{
    ChainConfig, ChainGrant, ChainMember, ChainMessage, ChainPosition, ChainRenewal,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// One replica of a chain as a state machine. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) setup: Setup,
    pub(super) config: ChainConfig,
    pub(super) lease: Lease,
    pub(super) history: History,
    pub(super) executor: Executor,
    pub(super) log: Log,
    pub(super) maker: Maker,
    pub(super) up: Upstream,
    pub(super) down: Downstream,
    pub(super) queries: Queries,
    /// The updates of the history that are not executed: repeats of them wait (CH-U1).
    pub(super) pending: Pending,
    /// Whether, as the tail, it may answer: no other tail does any more.
    pub(super) open: bool,
    pub(super) stats: Stats,
    /// Links that are up, with the last configuration that was told over each.
    links: BTreeMap<ReplicaId, u64>,
    /// Whether its disk is another than in an earlier life, and lacks what it had.
    lost: bool,
    /// Whether that may be so, and the master has not answered yet.
    unsure: bool,
    /// Whether nothing says on the disk that its directory has all that it ever had.
    unnoted: bool,
    halted: Option<String>,
}

impl Chain {
    /// A replica that goes on from what its disk has. It serves nobody until the master has made
    /// it a member: in this life it is none yet, whatever it was in an earlier one (CH-F6).
    ///
    /// # Errors
    /// If what was found cannot be read. It is not used then; the replica may be started on an
    /// empty directory, after the operator has said to the master that it is lost.
    pub fn new(setup: Setup, found: Found) -> Result<Self, String> {
        let Recovered { executor, history } = Recovered::new(
            (setup.service.clone(), setup.inherited.clone()),
            (setup.order, setup.context),
            &found,
        )?;
        let pending = Pending::of(history.unexecuted());
        let mut maker = Maker::default();
        maker.begin_anew(found.state.as_ref().map_or(0, |state| state.len()));
        Ok(Self {
            config: ChainConfig::default(),
            lease: Lease::new(setup.lease, setup.margin),
            log: Log::new(history.last().number),
            maker,
            up: Upstream::default(),
            down: Downstream::default(),
            queries: Queries::default(),
            open: false,
            stats: Stats::default(),
            links: BTreeMap::new(),
            halted: None,
            lost: setup.lost || setup.unsure && !planted("ch-fresh-is-sure"),
            unsure: setup.unsure,
            unnoted: setup.unsure,
            setup,
            history,
            executor,
            pending,
        })
    }

    /// The same replica in a later life, with what its disk has then.
    ///
    /// # Errors
    /// As [`Chain::new`].
    pub fn next_life(&self, incarnation: u64, found: Found) -> Result<Self, String> {
        let (lost, unsure) = (self.lost && !self.unnoted, self.unnoted);
        Self::new(Setup { incarnation, lost, unsure, ..self.setup.clone() }, found)
    }

    /// Handles one event and gives what is to be done.
    pub fn handle(&mut self, now: Now, input: Input) -> Actions {
        let mut out = Actions::new();
        if self.halted.is_some() {
            return out;
        }
        match input {
            Input::PeerUp { peer } => self.peer_up(peer, &mut out),
            Input::PeerDown { peer } => self.peer_down(peer, &mut out),
            Input::Peer { peer, message } => self.peer(peer, message, &mut out),
            Input::Update { link, client, request } => {
                self.update(now, link, client, request, &mut out);
            }
            Input::Query { link, client, query } => {
                self.query(now, link, client, &query, &mut out);
            }
            Input::Renewed { serial, output } => {
                if let Ok(grant) = ChainGrant::parse(&output) {
                    self.renewed(now, serial, grant, &mut out);
                }
            }
            Input::Synced { sequence } => {
                if self.log.synced(sequence) {
                    self.resume(&mut out);
                }
            }
            Input::Encoded { id, state } => self.encoded(id, state, &mut out),
            Input::Tick => {}
            Input::Drained => self.drained(now, &mut out),
        }
        self.renew(now, &mut out);
        out
    }

    /// When it wants to be woken with [`Input::Tick`] and [`Input::Drained`] at the latest.
    pub fn next_wake(&self) -> Instant {
        let queries = self.queries_wake();
        self.lease.next_wake().min(queries.unwrap_or(Instant(u64::MAX)))
    }

    /// The newest configuration that it knows.
    pub fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The last executed update.
    pub fn executed(&self) -> ChainPosition {
        self.executor.at()
    }

    /// The last update of its history.
    pub fn last(&self) -> ChainPosition {
        self.history.last()
    }

    /// Where the entry with this number stands, if it still is here.
    pub fn position_at(&self, number: u64) -> Option<ChainPosition> {
        self.history.position_at(number)
    }

    /// Whether all before it in the chain have taken this configuration up, so that its history
    /// goes on (CH-F3).
    pub fn is_ready(&self) -> bool {
        self.up.ready
    }

    /// Whether it is the tail, and no other tail answers any more.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it would answer a query as the tail now.
    pub fn answers(&self, now: Now) -> bool {
        self.open && self.serves(now)
    }

    /// The last number up to which its disk has all.
    pub fn durable(&self) -> u64 {
        if self.setup.durable { self.log.durable() } else { self.history.last().number }
    }

    /// Whether its disk stands in for a lost one, and it has not been a member since.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether it may only be so: the master has not said yet whether an earlier life was a member.
    pub fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// For how long it may serve yet (CH-L1); nothing if it may not.
    pub fn lease_left(&self, now: Now) -> Duration {
        self.lease.left(now.monotonic)
    }

    /// Updates that it has and that are not executed here.
    pub fn pending(&self) -> usize {
        self.history.pending()
    }

    /// Why it has stopped itself, if it has.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// A digest of the state: of sessions and service.
    pub fn state_digest(&mut self) -> Digest {
        self.executor.digest()
    }

    // --- who it is -----------------------------------------------------------------------------

    /// Which replica it is, and in which of its lives.
    pub fn member(&self) -> ChainMember {
        ChainMember { replica: self.setup.me, incarnation: self.setup.incarnation }
    }

    pub(super) fn place(&self) -> Option<usize> {
        let this = self.member();
        self.config.members.iter().position(|m| *m == this)
    }

    pub(super) fn is_joining(&self) -> bool {
        self.config.joining == Some(self.member())
    }

    pub(super) fn is_head(&self) -> bool {
        self.config.head() == Some(self.member())
    }

    pub(super) fn is_tail(&self) -> bool {
        self.config.tail() == Some(self.member())
    }

    /// From whom updates come.
    pub(super) fn predecessor(&self) -> Option<ReplicaId> {
        if self.is_joining() {
            return self.config.tail().map(|m| m.replica);
        }
        let before = self.place()?.checked_sub(1)?;
        self.config.members.get(before).map(|m| m.replica)
    }

    /// To whom updates go: the next member, or who joins behind the tail.
    pub(super) fn successor(&self) -> Option<ReplicaId> {
        let next = self.config.members.get(self.place()? + 1).copied();
        next.or(self.config.joining).map(|m| m.replica)
    }

    /// Whether it may do what clients see (CH-L1).
    pub(super) fn serves(&self, now: Now) -> bool {
        self.place().is_some() && self.lease.holds(now.monotonic)
    }

    pub(super) fn links(&self) -> &BTreeMap<ReplicaId, u64> {
        &self.links
    }

    pub(super) fn is_linked(&self, peer: ReplicaId) -> bool {
        self.links.contains_key(&peer)
    }

    // --- links and configurations --------------------------------------------------------------

    fn peer_up(&mut self, peer: ReplicaId, out: &mut Actions) {
        self.links.insert(peer, 0);
        if Some(peer) == self.successor() {
            self.down.lost();
        }
        if Some(peer) == self.predecessor() {
            self.resume(out);
        }
    }

    fn peer_down(&mut self, peer: ReplicaId, out: &mut Actions) {
        self.links.remove(&peer);
        if Some(peer) == self.successor() {
            self.down.lost();
        }
        if self.config.tail().is_some_and(|tail| tail.replica == peer) {
            self.give_up_queries(out);
        }
    }

    fn peer(&mut self, peer: ReplicaId, message: ChainMessage, out: &mut Actions) {
        // What comes without a link was sent over one that is gone.
        if !self.is_linked(peer) {
            return;
        }
        if let ChainMessage::Config(config) | ChainMessage::Resume { config, .. } = &message
            && config.number > self.config.number
        {
            self.configure(config.clone(), out);
        }
        let theirs = message.config();
        if theirs != self.config.number {
            // CH-F5: who is behind is told; who is ahead tells when it sees that this one is not.
            self.stats.other_config += 1;
            self.tell_config(peer, theirs, out);
            return;
        }
        match message {
            ChainMessage::Config(_) => {}
            ChainMessage::Resume { executed, runs, .. } => self.resumed(peer, executed, runs),
            ChainMessage::Forward { after, durable, entries, .. } => {
                self.forwarded(peer, after, durable, entries, out);
            }
            ChainMessage::Ack { committed, .. } => self.acked(peer, committed),
            ChainMessage::Snapshot { number, size, offset, bytes, .. } => {
                self.state_part(peer, number, size, (offset, &bytes), out);
            }
            ChainMessage::More { number, offset, .. } => self.more(peer, number, offset, out),
            ChainMessage::AskCommitted { id, .. } => self.questioned(peer, id),
            ChainMessage::Committed { id, number, .. } => self.queries.answered(id, number),
        }
    }

    /// Tells a peer the configuration, once on each link unless it shows that it does not know it.
    fn tell_config(&mut self, peer: ReplicaId, theirs: u64, out: &mut Actions) {
        let ours = self.config.number;
        let Some(told) = self.links.get_mut(&peer) else { return };
        let is_news = *told < ours || theirs > ours;
        if is_news {
            *told = ours;
            out.push(Action::ToPeer { peer, message: ChainMessage::Config(self.config.clone()) });
        }
    }

    fn renewed(&mut self, now: Now, serial: u64, grant: ChainGrant, out: &mut Actions) {
        if grant.granted {
            self.lease.granted(now.monotonic, serial);
            self.make_sure(&grant.config, out);
        }
        self.lease.again(now.monotonic, Duration::from_micros(grant.again));
        if grant.config.number > self.config.number {
            self.configure(grant.config, out);
        }
    }

    /// CH-F6, where nobody else knows of a lost disk: if the master has no earlier life of this
    /// replica for a member, this directory has all that it ever had to report. Who was granted a
    /// lease is in the last life that the master knows, so an earlier one can become a member no
    /// more.
    fn make_sure(&mut self, config: &ChainConfig, out: &mut Actions) {
        if !std::mem::take(&mut self.unsure) {
            return;
        }
        let this = self.member();
        let earlier = |m: &ChainMember| {
            m.replica == this.replica && m.incarnation > 0 && m.incarnation != this.incarnation
        };
        if config.members.iter().any(earlier) {
            out.push(Action::Event(Event::DiskLost));
        } else {
            (self.lost, self.unnoted) = (false, false);
            out.push(Action::Begun);
            // The report that counts need not wait for a quarter of a lease.
            self.lease.hurry();
        }
    }

    /// Takes up a newer configuration (CH-F1 to CH-F4).
    fn configure(&mut self, config: ChainConfig, out: &mut Actions) {
        let was_open = self.open && self.is_tail();
        self.config = config;
        // Who was the tail and still is one goes on answering: while it is a member nobody else
        // gets ready as the tail of another configuration without its knowing.
        self.open = was_open && self.is_tail();
        self.up.reset();
        self.down.reset();
        out.push(Action::Event(Event::Configured { config: self.config.clone() }));
        self.give_up_queries(out);
        if self.is_head() {
            // CH-F1.
            self.up.ready = true;
            if planted("ch-head-forgets-sent") {
                self.drop_above(self.history.executed(), out);
            }
        }
        // Who is made a member has all that was committed.
        self.lost &= self.place().is_none();
        if self.place().is_some() && std::mem::take(&mut self.unnoted) {
            self.unsure = false;
            out.push(Action::Begun);
        }
        self.resume(out);
    }

    /// Drops what is above a number and was never committed.
    pub(super) fn drop_above(&mut self, number: u64, out: &mut Actions) {
        let updates = self.history.cut(number);
        if updates > 0 {
            self.log.cut(self.history.last().number);
            self.pending = Pending::of(self.history.unexecuted());
            self.stats.dropped += updates;
            out.push(Action::Event(Event::Dropped { updates }));
        }
    }

    // --- the lease -----------------------------------------------------------------------------

    fn renew(&mut self, now: Now, out: &mut Actions) {
        if self.lease.lost(now.monotonic) {
            self.stats.leases_lost += 1;
            out.push(Action::Event(Event::LeaseLost));
            self.give_up_queries(out);
        }
        let Some(serial) = self.lease.due(now.monotonic) else { return };
        self.stats.renewals += 1;
        let durable = self.durable();
        let renewal = ChainRenewal {
            chain: self.setup.chain,
            replica: self.setup.me,
            incarnation: self.setup.incarnation,
            last: self.history.position_at(durable).unwrap_or_default(),
            paired: if self.down.is_paired() { self.config.number } else { 0 },
            lost: self.lost,
        };
        out.push(Action::Renew { serial, command: renewal.to_command().into() });
    }

    // --- execution -----------------------------------------------------------------------------

    pub(super) fn halt(&mut self, why: String, out: &mut Actions) {
        out.push(Action::Event(Event::Halted { why: why.clone() }));
        self.halted = Some(why);
    }

    /// A state from another is in place of everything here.
    pub(super) fn begin_anew(&mut self, state: bytes::Bytes, out: &mut Actions) {
        let at = self.executor.at();
        self.history = History::new(at);
        self.pending.clear();
        self.maker.begin_anew(state.len());
        self.log.begin_anew(at.number, state, out);
    }
}
