//! The world around the cores: links, disks, time, and what is known of the past.

use super::book::Book;
use super::ghost::Ghost;
use super::moves::Msg;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey, hash};
use crate::ordering::{Core, Fingerprint, Input, Setup};
use crate::types::{
    ClockKind, Digest, DiskState, Ensemble, Epoch, GroupId, Instant, Members, MembershipLimits,
    Now, OrderLimits, ReplicaId, Round, Timing, Wall,
};
use crate::wire::Record;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What is explored.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many replicas may be bad; there are `2t + 1`.
    pub t: u8,
    /// Who lies.
    pub liars: Members,
    /// Crashes that may happen, each a deviation; who crashed may come back.
    pub crashes: u8,
    /// Whether messages between good replicas arrive within Δ.
    pub within_delta: bool,
    /// Whether a disk may be slow: writing takes up to Δ then, each a deviation.
    pub slow_disks: bool,
    /// Whether members may ask to leave, each a deviation.
    pub leaves: bool,
    /// Deviations in one run at most.
    pub deviations: u8,
    /// How long a run goes, in Δ.
    pub horizon: u32,
    /// When requests come to all replicas, in halves of Δ.
    pub requests: Vec<u32>,
    /// Whether a good replica accused, a proof against one or a run that gets stuck is reported,
    /// too. Where Δ is broken the first two may happen.
    pub strict: bool,
}

impl Options {
    /// Three replicas, one of which lies, Δ holds.
    pub fn one_liar(deviations: u8) -> Self {
        Self {
            t: 1,
            liars: [ReplicaId::from_index(2)].into_iter().collect(),
            crashes: 0,
            within_delta: true,
            slow_disks: false,
            leaves: false,
            deviations,
            horizon: 16,
            requests: vec![0, 3, 14],
            strict: true,
        }
    }

    /// Three replicas of which nobody lies; one may crash, Δ holds.
    pub fn one_crash(deviations: u8) -> Self {
        Self { liars: Members::NONE, crashes: 1, horizon: 24, ..Self::one_liar(deviations) }
    }

    /// Three replicas of which nobody lies or crashes; messages may take for ever.
    pub fn no_delta(deviations: u8) -> Self {
        let strict = false;
        Self { within_delta: false, crashes: 0, strict, ..Self::one_crash(deviations) }
    }
}

/// Δ in the explored worlds, nanoseconds; of no meaning but in relation to the timers.
pub(super) const DELTA: u64 = 10_000_000;

/// The timers: the smallest patience that the protocol allows (§1), which is the hardest case.
pub(super) fn timing() -> Timing {
    let delta = Duration::from_nanos(DELTA);
    Timing {
        delta,
        patience: 4 * delta + delta / 2 + Timing::TIMER_GRAIN,
        join_delay: delta / 2,
        gather: Duration::ZERO,
        heartbeat: 100_000 * delta,
        ping_every: 100_000 * delta,
        lag: None,
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) msg: Arc<Msg>,
    /// When it arrives at the latest.
    pub(super) deadline: u64,
    pub(super) print: u128,
}

/// A link from one replica to another; what is sent on it arrives in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) packets: VecDeque<Packet>,
    /// Everything takes as long as it may.
    pub(super) slow: bool,
}

/// A replica that does not lie.
#[derive(Clone)]
pub(super) struct Node {
    /// None while it is down.
    pub(super) core: Option<Arc<Core<Keyed>>>,
    pub(super) incarnation: u64,
    /// What is on its disk, in order.
    pub(super) disk: Arc<Vec<Bytes>>,
    /// What is being written: sequence and records.
    pub(super) writing: VecDeque<(u64, Vec<Bytes>)>,
    /// When what is being written is on disk at the latest; 0 while the disk is fast.
    pub(super) slow_disk: bool,
    pub(super) sync_due: u64,
    /// It has asked for the state of another.
    pub(super) behind: bool,
    /// Its timers were looked at at this instant.
    pub(super) ticked: bool,
}

/// What a liar does of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Habit {
    /// To whom it does not send proposals.
    pub(super) withholds: Members,
    /// To whom it does not send Reports.
    pub(super) mute: Members,
}

/// The state of an explored world.
#[derive(Clone)]
pub struct World {
    pub(super) options: Arc<Options>,
    pub(super) keyring: Keyring<Keyed>,
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    /// By `from * n + to`.
    pub(super) links: Vec<Link>,
    pub(super) habits: Vec<Habit>,
    /// What liars have said as honest ones would: who, to whom, in which step.
    pub(super) said: BTreeSet<(ReplicaId, ReplicaId, (Epoch, Round))>,
    pub(super) crashes_left: u8,
    pub(super) requests_given: usize,
    /// The request that comes when nothing goes wrong any more.
    pub(super) last_request: Option<Digest>,
    pub(super) book: Arc<Book>,
    pub(super) ghost: Arc<Ghost>,
}

impl World {
    /// All replicas have just started and met.
    pub fn new(options: &Options) -> Self {
        let ensemble = Ensemble::new(options.t).expect("options name a t of 1 to 15");
        let keyring = keyring(ensemble);
        let n = ensemble.n();
        let mut world = Self {
            options: Arc::new(options.clone()),
            now: 1000 * DELTA,
            nodes: Vec::new(),
            links: vec![Link::default(); n * n],
            habits: vec![Habit::default(); n],
            said: BTreeSet::new(),
            crashes_left: options.crashes,
            requests_given: 0,
            last_request: None,
            book: Arc::new(Book::default()),
            ghost: Arc::new(Ghost::new(n)),
            keyring,
        };
        for id in ensemble.replicas() {
            let honest = !options.liars.contains(id);
            let core = honest.then(|| Arc::new(world.core(id, 1, Vec::new())));
            world.nodes.push(Node {
                core,
                incarnation: 1,
                disk: Arc::default(),
                writing: VecDeque::new(),
                slow_disk: false,
                sync_due: 0,
                behind: false,
                ticked: false,
            });
        }
        for id in world.honest().iter() {
            for peer in ensemble.replicas().filter(|p| *p != id) {
                let up = Input::PeerUp { peer, complete: Round(0) };
                world.feed(id, up).expect("nothing is wrong with a new world");
            }
        }
        world.give_requests().expect("nothing is wrong with a new world");
        world
    }

    pub(super) fn core(&self, id: ReplicaId, incarnation: u64, disk: Vec<Record>) -> Core<Keyed> {
        // Ticks: replicas that were out come back within the time that is explored.
        let membership =
            MembershipLimits { join_wait: 2, join_wait_cap: 8, good_service: 20, join_lag: 64 };
        let limits = OrderLimits { checkpoint_every: 1, membership, ..OrderLimits::default() };
        let setup = Setup {
            id,
            keyring: self.keyring.clone(),
            signer: signer(id),
            genesis: genesis(),
            timing: timing(),
            clock: ClockKind::Logical,
            limits,
            seed: 5,
            disk: if incarnation > 1 { DiskState::Known } else { DiskState::New },
            recovered: disk,
            strict: false,
            replays: false,
            incarnation,
        };
        Core::new(setup, self.clock())
    }

    pub(super) fn ensemble(&self) -> Ensemble {
        self.keyring.ensemble()
    }

    pub(super) fn clock(&self) -> Now {
        Now { monotonic: Instant(self.now), wall: Wall(1) }
    }

    /// All that do not lie, down or not.
    pub(super) fn honest(&self) -> Members {
        self.ensemble().all().minus(self.options.liars)
    }

    /// All that do not lie and are up.
    pub(super) fn up(&self) -> Members {
        self.honest().iter().filter(|r| self.nodes[r.index()].core.is_some()).collect()
    }

    pub(super) fn core_of(&self, id: ReplicaId) -> Option<&Arc<Core<Keyed>>> {
        self.nodes[id.index()].core.as_ref()
    }

    pub(super) fn link(&self, from: ReplicaId, to: ReplicaId) -> &Link {
        &self.links[from.index() * self.nodes.len() + to.index()]
    }

    pub(super) fn link_mut(&mut self, from: ReplicaId, to: ReplicaId) -> &mut Link {
        let n = self.nodes.len();
        &mut self.links[from.index() * n + to.index()]
    }

    /// Whether the run has gone on for as long as the options say.
    pub fn is_over(&self) -> bool {
        self.elapsed() > u64::from(self.options.horizon) * DELTA
    }

    /// Time since the start, nanoseconds.
    pub(super) fn elapsed(&self) -> u64 {
        self.now - 1000 * DELTA
    }

    /// When the next request comes.
    pub(super) fn next_request(&self) -> Option<u64> {
        let halves = *self.options.requests.get(self.requests_given)?;
        Some(1000 * DELTA + u64::from(halves) * DELTA / 2)
    }

    /// All that decides how the world goes on, as one number.
    pub fn fingerprint(&self) -> u128 {
        let horizon = 2 * u64::try_from(timing().patience.as_nanos()).unwrap_or(u64::MAX) + DELTA;
        let mut f = Fingerprint::new(Instant(self.now), horizon);
        for node in &self.nodes {
            if let Some(core) = &node.core {
                core.fingerprint(&mut f);
            }
            f.add(&(node.incarnation, node.writing.len(), node.slow_disk, node.behind));
            f.add(&(node.ticked, Instant(node.sync_due), node.disk.len()));
        }
        for link in &self.links {
            f.add(&link.slow);
            for packet in &link.packets {
                f.bytes(&packet.print.to_le_bytes());
                f.add(&Instant(packet.deadline));
            }
        }
        f.add(&(&self.habits, &self.said, self.crashes_left, self.requests_given));
        f.bytes(&self.book.print().to_le_bytes());
        f.bytes(&self.ghost.print().to_le_bytes());
        f.value()
    }
}

pub(super) fn signer(id: ReplicaId) -> <Keyed as Scheme>::Signer {
    Keyed::signer(&SecretKey::from_seed([id.number(); 32]))
}

pub(super) fn genesis() -> Digest {
    Digest([1; 32])
}

/// The request that comes at the `nth` time.
pub(super) fn request(nth: usize) -> Digest {
    let nth = u64::try_from(nth).expect("few requests");
    hash(crate::crypto::Domain::Request, &nth.to_le_bytes())
}

fn keyring(ensemble: Ensemble) -> Keyring<Keyed> {
    let keys: Vec<PublicKey> = ensemble.replicas().map(|r| Keyed::public(&signer(r))).collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    Keyring::new(context, ensemble, keys).expect("there is a key for each replica")
}
