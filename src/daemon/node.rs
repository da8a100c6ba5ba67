//! The loop: what has arrived goes into the core, what it asks for is done.

mod chain;
mod pace;
mod player;
mod status;

pub(super) use chain::{client_of, gives_leases};

use super::chains::Chains;
use super::clock::Clock;
use super::disk::{Disk, Done};
use super::encoder::Encoder;
use super::inlets::{Inlets, Piece};
use super::parts::{Parts, seed_of};
use super::peers::{self, Introduced, Open, Party};
use super::pending::Pending;
use super::pins::Pins;
use super::places::{Place, Places};
use super::{DaemonError, halted, journal, mark};
use crate::config::{Cluster, FaultModel, ReplicaEntry};
use crate::crypto::{Ed25519, PublicKey, Scheme};
use crate::replica::{self, Action, Event, Input, Status};
use crate::transport::{Accepted, Endpoint, Lane, LinkClass, LinkEvent};
use crate::types::{GroupId, LinkId, ReplicaId};
use crate::wire::{Frame, Mark};
use pace::Pace;
use player::Player;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Events of links taken in one go before the core acts.
const BATCH: usize = 512;
/// Frames of clients among them: replicas must not wait longer than these take.
const CLIENT_FRAMES: usize = 2048;
/// Frames of a client that the core is handed at once.
const TOGETHER: usize = 16;
/// Frames of each other replica that are taken before clients have their turn: what is signed in
/// them takes a few milliseconds to check. Nobody lies to a chain, and its frames carry updates.
const SHARE: usize = 64;
const CHAIN_SHARE: usize = 4096;
/// Events of clients that wait at most; beyond, their readers wait.
const WAITING: usize = 1024;

/// What others in the process ask of the loop.
pub(super) enum Request {
    Status(oneshot::Sender<Status>),
    Stop,
}

/// A link's name: replicas' links are numbered too, so that the end of an old one is not taken
/// for the end of its successor.
type PeerKey = (ReplicaId, u64);

pub(super) struct Node {
    cluster: Arc<Cluster>,
    id: ReplicaId,
    replica: Player,
    clock: Clock,
    pace: Pace,
    started: Instant,
    disk: Disk,
    synced: mpsc::UnboundedReceiver<Done>,
    encoder: Encoder,
    endpoint: Arc<Endpoint>,
    inbox: mpsc::Receiver<Request>,
    peers: BTreeMap<ReplicaId, Open>,
    /// Since when the link to another replica is down, if it was up.
    down: BTreeMap<ReplicaId, Instant>,
    inlets: Inlets<PeerKey>,
    clients: BTreeMap<LinkId, Open>,
    places: Places,
    serial: u64,
    pending: Pending,
    touched_peers: BTreeSet<ReplicaId>,
    touched_clients: BTreeSet<LinkId>,
    /// Tells the task that dials a replica that its link is gone.
    gone: BTreeMap<ReplicaId, mpsc::Sender<()>>,
    pins: Pins,
    file_behind: bool,
    mark: Mark,
    directory: PathBuf,
    /// Its parts in chains, in the fail-stop model, unless it is of the master alone.
    chains: Option<Chains>,
    /// Why it cannot go on, if it cannot.
    failed: Option<DaemonError>,
}

impl Node {
    pub(super) fn new(parts: Parts) -> Self {
        let clock = Clock::start();
        let state = parts.disk_state();
        let Parts { cluster, id, key, service, lie, mark, endpoint, inbox, .. } = parts;
        let (disk, synced) = parts.disk;
        let keyring = cluster.keyring(GroupId::MAIN).expect("the parser checks every key");
        let setup = replica::Setup {
            id,
            keyring,
            signer: Ed25519::signer(&key),
            genesis: cluster.genesis(GroupId::MAIN),
            timing: cluster.timing,
            clock: cluster.clock,
            limits: cluster.limits,
            quotas: cluster.quotas,
            seed: seed_of(&key),
            incarnation: mark.incarnation,
            disk: state,
            recovered: parts.recovered,
            durability: cluster.durability,
            inherited: parts.inherited,
            stored: parts.stored,
            fields: cluster.fields(),
            encode_at_once: replica::ENCODE_AT_ONCE,
            trace: false,
        };
        let (now, delta) = (clock.now(), cluster.timing.delta);
        let share = match cluster.fault_model {
            FaultModel::Byzantine => SHARE,
            FaultModel::FailStop => CHAIN_SHARE,
        };
        let replica = match cluster.ensemble.contains(id) {
            true => Player::voting(setup, (service, &key), lie, now),
            false => Player::host(&cluster, id, mark.incarnation),
        };
        Self {
            places: Places::new(cluster.quotas.links_per_client),
            cluster: Arc::new(cluster),
            id,
            replica,
            clock,
            pace: Pace::new(delta, now.monotonic),
            started: Instant::now(),
            disk,
            synced,
            encoder: Encoder::new(),
            endpoint: Arc::new(endpoint),
            inbox,
            peers: BTreeMap::new(),
            down: BTreeMap::new(),
            inlets: Inlets::new(share),
            clients: BTreeMap::new(),
            serial: 0,
            pending: Pending::default(),
            touched_peers: BTreeSet::new(),
            touched_clients: BTreeSet::new(),
            gone: BTreeMap::new(),
            pins: parts.pins,
            file_behind: parts.file_behind,
            mark,
            directory: parts.directory,
            chains: parts.chains,
            failed: None,
        }
    }

    /// Runs until it is asked to stop.
    ///
    /// # Errors
    /// What is wrong with the disk, if anything becomes wrong with it; or that it has to start
    /// again.
    pub(super) async fn run(mut self) -> Result<(), DaemonError> {
        let (introduced_to, mut introduced) = mpsc::channel(64);
        let (client_to, mut from_clients) = mpsc::channel::<(LinkId, LinkEvent)>(WAITING);
        self.start_dialling(&introduced_to);
        let endpoint = self.endpoint.clone();
        let timer = tokio::time::sleep_until(self.wake());
        tokio::pin!(timer);
        while self.failed.is_none() {
            tokio::select! {
                biased;
                Some(done) = self.synced.recv() => self.event(Input::Synced { sequence: done? }),
                news = Chains::next(&mut self.chains) => self.chain_news(news),
                Some(encoded) = self.encoder.next() => self.event(encoded),
                // What is rare goes before what may never end; that is taken in turns below.
                Some(request) = self.inbox.recv() => match request {
                    Request::Status(answer) => drop(answer.send(self.status())),
                    Request::Stop => break,
                },
                Some(new) = introduced.recv() => self.introduce(new, &client_to),
                Some(accepted) = endpoint.accept() => self.open(accepted, &introduced_to),
                () = self.inlets.ready() => {}
                Some((link, event)) = from_clients.recv() => self.client_event(link, event),
                () = &mut timer => {}
                else => break,
            }
            self.take_what_waits(&mut from_clients);
            self.event(Input::Drained);
            self.chain_input(crate::chain::Input::Drained);
            self.act_for_chain();
            self.act();
            let wake = self.wake();
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
        }
        info!(replica = %self.id, "stopping");
        // Ends the tasks that dial.
        drop(introduced);
        self.endpoint.close("the replica was stopped").await;
        self.failed.map_or(Ok(()), Err)
    }

    /// Replicas go before clients, but none of them gives more than its share.
    fn take_what_waits(&mut self, from_clients: &mut mpsc::Receiver<(LinkId, LinkEvent)>) {
        self.inlets.begin();
        let mut client_frames = 0;
        for _ in 0..BATCH {
            if let Some((key, piece)) = self.inlets.take() {
                self.peer_piece(key, piece);
            } else if client_frames < CLIENT_FRAMES
                && let Ok((link, event)) = from_clients.try_recv()
            {
                if let LinkEvent::Frames { frames, .. } = &event {
                    client_frames += frames.len();
                }
                self.client_event(link, event);
            } else {
                return;
            }
        }
    }

    // --- links --------------------------------------------------------------------------------

    /// A replica dials those with lower ids; the others dial it.
    fn start_dialling(&mut self, introduced: &mpsc::Sender<Introduced>) {
        let linked = |r: &&ReplicaEntry| r.id < self.id && self.cluster.are_linked(r.id, self.id);
        for entry in self.cluster.replicas.iter().filter(linked) {
            let (tell, gone) = mpsc::channel(1);
            self.gone.insert(entry.id, tell);
            let (endpoint, introduced) = (self.endpoint.clone(), introduced.clone());
            let target = (entry.clone(), self.pins.clone());
            tokio::spawn(peers::keep_dialling(endpoint, target, introduced, gone));
        }
    }

    fn hello(&self) -> Vec<u8> {
        self.replica.hello()
    }

    /// A place for a link that somebody dialled, or why it gets none.
    fn place_for(&self, accepted: &Accepted) -> Result<Place, String> {
        let (key, class) = (accepted.peer(), accepted.class());
        if class == LinkClass::Replica
            && let Some(lower) = self.pins.owner(&key).filter(|r| *r < self.id)
        {
            return Err(format!("{} dials {lower}, not the other way round", self.id));
        }
        self.places.take(key, class)
    }

    /// Somebody dialled us: we introduce ourselves first.
    fn open(&self, accepted: Accepted, introduced: &mpsc::Sender<Introduced>) {
        let place = match self.place_for(&accepted) {
            Ok(place) => Some(place),
            Err(why) => {
                let (remote, class) = (accepted.remote(), accepted.class());
                debug!(%remote, %class, why, "turned away");
                return accepted.refuse(&why);
            }
        };
        let (hello, introduced) = (self.hello(), introduced.clone());
        tokio::spawn(async move {
            let (remote, class) = (accepted.remote(), accepted.class());
            let opened = async {
                let mut link = accepted.open(&hello).await?;
                let first = link.first().await?;
                Ok::<_, crate::transport::LinkError>(Introduced {
                    link,
                    first,
                    place,
                    dialled: None,
                })
            };
            match opened.await {
                Ok(new) => drop(introduced.send(new).await),
                // It may have refused our hello: then it says what of it does not fit.
                Err(why) if class == LinkClass::Replica => {
                    info!(%remote, %why, "a replica's link did not open");
                }
                Err(why) => debug!(%remote, %why, "a link did not open"),
            }
        });
    }

    fn introduce(&mut self, mut new: Introduced, clients: &mpsc::Sender<(LinkId, LinkEvent)>) {
        let party = match peers::judge((&self.cluster, &self.pins, self.id), &new) {
            Ok(party) => party,
            Err(why) => {
                let remote = new.link.remote();
                warn!(%remote, key = %new.link.peer().fingerprint(), why, "refused");
                new.link.fault(&format!("refused: {why}"));
                self.dialled_link_is_gone(&new);
                return;
            }
        };
        self.serial += 1;
        let serial = self.serial;
        match party {
            Party::Replica(peer, hello) => {
                if new.dialled() {
                    new.link.send(Lane::Protocol, &self.hello());
                    new.link.flush();
                }
                new.link.start(self.inlets.open((peer, serial)), (peer, serial));
                let open = Open::new(serial, new.link, new.place);
                if let Some(old) = self.peers.insert(peer, open) {
                    old.link.close("replaced by a newer link");
                    self.event(Input::PeerDown { peer });
                    self.chain_input(crate::chain::Input::PeerDown { peer });
                }
                info!(%peer, incarnation = hello.incarnation, "link up");
                self.event(Input::PeerUp { peer, hello: *hello });
                self.chain_input(crate::chain::Input::PeerUp { peer });
            }
            Party::Client(client, role) => {
                let link = LinkId(serial);
                new.link.start(clients.clone(), link);
                debug!(%client, remote = %new.link.remote(), "client link up");
                self.clients.insert(link, Open::new(serial, new.link, new.place));
                self.event(Input::ClientUp { link, client, role });
                self.chain_client_up(link, client, role);
            }
        }
    }

    fn dialled_link_is_gone(&self, new: &Introduced) {
        if let Some(gone) = new.dialled.and_then(|replica| self.gone.get(&replica)) {
            // A full channel has told it already.
            let _ = gone.try_send(());
        }
    }

    fn peer_piece(&mut self, (peer, serial): PeerKey, piece: Piece) {
        let is_open = |open: &Open| open.serial == serial && !open.closing;
        match piece {
            Piece::Frames(frames) => {
                for frame in frames {
                    if !self.peers.get(&peer).is_some_and(is_open) {
                        return;
                    }
                    if !self.chain_peer_frame(peer, &frame) {
                        self.event(Input::PeerFrame { peer, frame });
                    }
                }
            }
            Piece::Closed(reason) => {
                if self.peers.get(&peer).is_some_and(|open| open.serial == serial) {
                    self.peers.remove(&peer);
                    self.down.insert(peer, Instant::now());
                    info!(%peer, reason, "link down");
                    self.event(Input::PeerDown { peer });
                    self.chain_input(crate::chain::Input::PeerDown { peer });
                    if let Some(gone) = self.gone.get(&peer) {
                        let _ = gone.try_send(());
                    }
                }
            }
        }
    }

    fn client_event(&mut self, link: LinkId, event: LinkEvent) {
        match event {
            LinkEvent::Frames { frames, .. } => {
                // A few at a time, so that answers reach the link, and its limit, in between.
                let mut frames = frames.into_iter();
                while frames.len() > 0 {
                    if self.clients.get(&link).is_none_or(|open| open.closing) {
                        return;
                    }
                    let few = frames.by_ref().take(TOGETHER);
                    let frames: Vec<Frame> =
                        few.filter(|frame| !self.chain_client_frame(link, frame)).collect();
                    if !frames.is_empty() {
                        self.event(Input::ClientFrames { link, frames });
                    }
                }
            }
            LinkEvent::Closed { reason, .. } => {
                debug!(link = link.0, reason, "client link down");
                self.clients.remove(&link);
                self.event(Input::ClientDown { link });
                self.chain_client_down(link);
            }
        }
    }

    // --- actions ------------------------------------------------------------------------------

    /// Does what the core asked for; every link that was written to is flushed once.
    fn act(&mut self) {
        for action in self.pending.take() {
            if self.failed.is_some() {
                return;
            }
            match action {
                Action::ToPeer { peer, lane, frame } => {
                    if let Some(open) = self.peers.get(&peer) {
                        open.link.send(lane.into(), &frame);
                        self.touched_peers.insert(peer);
                    }
                }
                Action::ToClient { link, frame } => {
                    if let Some(open) = self.clients.get_mut(&link) {
                        // Who does not read its answers gets no more of them.
                        open.closing |= !open.link.send(Lane::Protocol, &frame);
                        self.touched_clients.insert(link);
                    }
                }
                Action::ClosePeer { peer, reason } => {
                    if self.peers.get_mut(&peer).is_some_and(|open| open.fault(&reason)) {
                        warn!(%peer, %reason, "closing the link");
                    }
                }
                Action::CloseClient { link, reason } => {
                    if let Some(open) = self.clients.get_mut(&link)
                        && open.fault(&reason)
                    {
                        let remote = open.link.remote();
                        warn!(link = link.0, %remote, %reason, "closing the link");
                    }
                }
                Action::Encode { number, work } => self.encoder.make(number, work),
                Action::Persist { sequence, records } => self.disk.persist(sequence, records),
                Action::Append { sequence, entries, urgent } => {
                    self.disk.append(sequence, entries, urgent);
                }
                Action::Save { sequence, round, first, head, state } => {
                    self.disk.save(sequence, round.0, first, head, state);
                }
                Action::StartAgain => self.failed = Some(DaemonError::StartAgain),
                Action::Evidence { name, bytes } => self.disk.keep(name, bytes),
                Action::KeepHalted { words } => halted::keep(&self.directory, &words),
                Action::Pin { replica, key } => self.pin(replica, key),
                Action::MarkKnown => match mark::known(&self.directory, self.mark) {
                    Ok(mark) => self.mark = mark,
                    Err(why) => self.failed = Some(why),
                },
                Action::Event(event) => self.tell(&event),
            }
        }
        self.flush();
    }

    fn tell(&mut self, event: &Event) {
        journal::log(event);
        if matches!(event, Event::DiskLost) {
            let (id, path) = (self.id.number(), self.directory.clone());
            self.failed = Some(DaemonError::DiskLost { id, path });
        }
    }

    /// M3: a replica's key is replaced. A link with another key is of the one before.
    fn pin(&mut self, replica: ReplicaId, key: Option<PublicKey>) {
        let fingerprint = key.map_or("none".to_owned(), |key| key.fingerprint());
        warn!(%replica, key = fingerprint, "its key is being replaced: it has this one now");
        self.pins.set(replica, key);
        self.file_behind |= self.cluster.replica(replica).map(|r| Some(r.public_key)) != Some(key);
        if let Some(open) = self.peers.get_mut(&replica)
            && key != Some(open.link.peer())
        {
            open.fault(&"the key of this replica is being replaced");
        }
    }
}
