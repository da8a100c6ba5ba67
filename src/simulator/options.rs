//! What a simulated run is made of.

use super::{ClientLie, Fault, Given, RandomFaults, Workload, WorldOptions};
use crate::adversary::{Lie, Sides};
use crate::replica::ENCODE_AT_ONCE;
use crate::types::{
    Assurance, ClockKind, Durability, Members, OrderLimits, Quotas, ReplicaId, Timing,
};
use crate::wire::{Change, Frame};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// A run, but for its seed. The default is a cluster of three without faults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the test that runs it: part of the command that runs a seed again.
    pub name: &'static str,
    /// How many replicas may be bad; there are `2t + 1`.
    pub t: u8,
    /// Where candidate ids come from.
    pub clock: ClockKind,
    /// Δ and the timers.
    pub timing: Timing,
    /// Network, timers and limits of the world.
    pub world: WorldOptions,
    /// Limits that all replicas share.
    pub limits: OrderLimits,
    /// Limits of each replica.
    pub quotas: Quotas,
    /// As [`crate::replica::Setup::encode_at_once`]: with 0 all snapshots are made into bytes
    /// beside the replicas, which takes its time.
    pub encode_at_once: usize,
    /// What replicas have on their disks before they say something.
    pub durability: Durability,
    /// Correct clients.
    pub clients: u32,
    /// What each of them does.
    pub workload: Workload,
    /// What clients want of an answer before they believe it.
    pub assurance: Assurance,
    /// Of a thousand calls so many only read, and are answered without ordering if they can be.
    /// With 0 all that is asked is ordered.
    pub queries: u32,
    /// Whether clients want receipts, and of what.
    pub receipts: Receipts,
    /// How long a call may take before its client gives up.
    pub call_timeout: Duration,
    /// The same for the first client, whose calls may fail then.
    pub impatience: Option<Duration>,
    /// Lying replicas, by place in the roster from 0, and their lies.
    pub liars: Vec<(usize, Lie)>,
    /// When they begin to lie; until then they are honest (B34). Until then two processes with one
    /// key hear and say the same.
    pub lies_from: Duration,
    /// Replicas, by place from 0, that start again with a disk that lacks the last so many records
    /// (B36): what they promised binds them no more, so they count as liars.
    pub old_disks: Vec<(usize, usize)>,
    /// Replicas, by place from 0, that are two processes with one key (B33). They count as liars.
    pub doubled: Vec<(usize, Sides)>,
    /// What liars give to whoever asks for the body of what they gave candidates for (O7); nothing
    /// said: what was asked for.
    pub bodies: Option<Given>,
    /// Replicas, by place from 0, whose service computes wrongly. Their word does not count.
    pub wrong_services: Vec<(usize, WrongService)>,
    /// Whether the service panics, at all replicas, on commands that it cannot read.
    pub panics: Option<AfterPanic>,
    /// Whether the last two correct clients are two processes with one key (K15).
    pub twins: Option<Twins>,
    /// Lying clients.
    pub lying_clients: Vec<ClientLie>,
    /// How often each of them lies.
    pub client_acts: u32,
    /// Wall clocks differ by up to this.
    pub clock_spread: Duration,
    /// Wall clocks drift by up to so many parts per million.
    pub drift_ppm: u64,
    /// Monotonic clocks are wrong by up to so many parts per million.
    pub rate_ppm: u64,
    /// What an operator commands when.
    pub commands: Vec<(Duration, Change)>,
    /// Whether a replica that starts again has the cluster file of that time, with the keys that
    /// others know, and not the one of the beginning (M3).
    pub new_files: bool,
    /// What happens when.
    pub faults: Vec<(Duration, Fault)>,
    /// What happens at random besides.
    pub random_faults: RandomFaults,
    /// Which of the faults at random happen, by their places in [`super::plan`]; all if `None`.
    pub only_faults: Option<BTreeSet<usize>>,
    /// Replicas whose word does not count, besides the liars.
    pub bad: Members,
    /// Whether all calls must be answered and all good replicas must end up equal.
    pub must_finish: bool,
    /// Whether a run is judged by the [`super::Cell`] that it turns out to be in: what is not
    /// promised there is not asked for. Otherwise all of it is, in every run.
    pub by_cell: bool,
    /// When all faults end, if that is not left to each of them. The run lasts until then.
    pub heal_at: Option<Duration>,
    /// How long a call may wait after that.
    pub heal_bound: Option<Duration>,
    /// What must be durable before something is sent, if that is checked.
    pub persist_rule: Option<PersistRule>,
    /// How long an answered call may have waited.
    pub bound: Option<Duration>,
    /// Whether order fairness is checked.
    pub fairness: bool,
    /// Whether the clients' history is searched for an order, apart from the witness.
    pub search: bool,
    /// How long a run goes on after the last answer, so that everybody catches up.
    pub settle: Duration,
    /// The end of a run that does not finish, by the world's clock.
    pub time_limit: Duration,
}

/// In which way a service computes wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongService {
    /// Some outputs are others than they should be.
    Outputs,
    /// Some commands leave another state behind.
    State,
    /// Once, a value changes in its memory.
    Flip,
}

/// What a service says of its state after a panic (K8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterPanic {
    /// It is as before: the request is refused.
    Unchanged,
    /// It is in doubt: every replica has to halt, which the judge takes for granted then.
    InDoubt,
}

/// Two processes with one key (K15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twins {
    /// Each has a session of its own, as they should.
    OtherSessions,
    /// They use one session at the same time, which spoils it for both.
    OneSession,
}

/// Whether clients want receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Receipts {
    /// They want none.
    #[default]
    None,
    /// They want one of each call.
    OfCalls,
    /// They ask every replica for the proof of whatever it has answered, believed or not, and make
    /// of what comes all receipts that can be made.
    OfReplies,
}

/// Says of a frame of the protocol stream that a replica sends, and of all records that are
/// durable on its disk at that moment, what is wrong with sending it (§7).
pub type PersistRule = fn(&Frame, &[Bytes]) -> Result<(), String>;

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "simulation",
            t: 1,
            clock: ClockKind::Hybrid,
            timing: Timing::from_delta(Duration::from_millis(20)),
            world: WorldOptions::default(),
            limits: OrderLimits::default(),
            quotas: Quotas::default(),
            encode_at_once: ENCODE_AT_ONCE,
            durability: Durability::None,
            clients: 3,
            workload: Workload::default(),
            queries: 0,
            assurance: Assurance::Majority,
            receipts: Receipts::None,
            call_timeout: Duration::from_secs(60),
            impatience: None,
            liars: Vec::new(),
            lies_from: Duration::ZERO,
            old_disks: Vec::new(),
            doubled: Vec::new(),
            bodies: None,
            wrong_services: Vec::new(),
            panics: None,
            twins: None,
            lying_clients: Vec::new(),
            client_acts: 30,
            clock_spread: Duration::from_millis(2),
            drift_ppm: 50,
            rate_ppm: 0,
            commands: Vec::new(),
            new_files: false,
            faults: Vec::new(),
            random_faults: RandomFaults::NONE,
            only_faults: None,
            bad: Members::NONE,
            must_finish: true,
            by_cell: false,
            heal_at: None,
            heal_bound: None,
            persist_rule: None,
            bound: None,
            fairness: false,
            search: false,
            settle: Duration::from_millis(1200),
            time_limit: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// A run for the test of this name.
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Whether agreed time must keep to the good replicas' wall clocks: not if it counts ticks,
    /// if clocks are stepped or if frames are late.
    pub fn checks_time(&self) -> bool {
        let calm = self.random_faults.count() == 0 && !self.by_cell;
        self.clock != ClockKind::Logical && calm && self.faults.is_empty() && self.must_finish
    }

    /// The replicas that are good all the time.
    pub fn good(&self) -> Members {
        let n = 2 * usize::from(self.t) + 1;
        let wrong = |place: usize| self.wrong_services.iter().any(|(wrong, _)| *wrong == place);
        let lies = |place: usize| {
            self.liars.iter().any(|(liar, _)| *liar == place)
                || self.doubled.iter().any(|(double, _)| *double == place)
                || self.old_disks.iter().any(|(old, _)| *old == place)
        };
        let good = (0..n).filter(|place| !lies(*place) && !wrong(*place));
        good.map(ReplicaId::from_index).filter(|r| !self.bad.contains(*r)).collect()
    }

    /// Which client's key a client has: its own, but for twins.
    pub fn key_of(&self, client: u32) -> u32 {
        let second = self.twins.is_some() && client + 1 == self.clients;
        if second { client.saturating_sub(1) } else { client }
    }

    /// Whether a correct client's calls may fail: what twins do to one session is their affair,
    /// and so is how long one waits.
    pub fn may_fail(&self, client: u32) -> bool {
        let twin = client < self.clients && client + 2 >= self.clients;
        let impatient = client == 0 && self.impatience.is_some();
        impatient || twin && self.twins == Some(Twins::OneSession)
    }
}
