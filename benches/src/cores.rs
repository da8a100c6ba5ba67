//! The bare ordering core: three of them hand each other proposals.

use crate::samples::{N, at, digest, keyring, secret};
use quorate::crypto::{Keyed, Scheme};
use quorate::ordering::{Action, Core, Input, Setup};
use quorate::types::{
    ClockKind, Digest, DiskState, Instant, Now, OrderLimits, ReplicaId, Round, Timing,
};
use std::time::Duration;

/// Microseconds between two rounds: more than the candidates of one round, which have a clock value
/// each.
const STEP: u64 = 5_000;

/// Three cores whose signatures are keyed hashes, so that what is measured is the ordering.
pub struct Cores {
    cores: Vec<Core<Keyed>>,
    micros: u64,
    requests: u64,
    /// Requests that each core has given for execution.
    executed: [u64; N],
}

/// A core just before the proposal with which it decides what is due.
#[derive(Clone)]
pub struct Due {
    core: Core<Keyed>,
    now: Now,
    last: Input,
    due: usize,
}

impl Default for Cores {
    fn default() -> Self {
        Self::new()
    }
}

impl Cores {
    /// Cores that know each other and have ordered nothing.
    pub fn new() -> Self {
        let mut cores: Vec<_> = (0..N).map(core).collect();
        for (i, core) in cores.iter_mut().enumerate() {
            for other in (0..N).filter(|other| *other != i) {
                let (peer, complete) = (ReplicaId::from_index(other), Round(0));
                core.handle(at(1), Input::PeerUp { peer, complete }, &mut Vec::new());
            }
        }
        Self { cores, micros: STEP, requests: 0, executed: [0; N] }
    }

    /// Requests that every core has given for execution so far.
    pub fn executed(&self) -> u64 {
        self.executed.into_iter().min().unwrap_or(0)
    }

    /// One round in which all see the same so many new requests.
    ///
    /// # Panics
    /// If a core sends no proposal, so that the round is none.
    pub fn round(&mut self, candidates: u64) {
        let new: Vec<Digest> = self.new_requests(candidates);
        (0..N).for_each(|i| self.see(i, &new));
        let sent = self.propose();
        for i in 0..N {
            let others = sent.iter().enumerate().filter(|(from, _)| *from != i);
            others.for_each(|(_, proposal)| self.give(i, proposal.clone()));
        }
    }

    /// The first core at the point at which its next input commits a vector with so many
    /// candidates, seen by the first `seen_by` members.
    ///
    /// # Panics
    /// If that input does not make exactly these requests due where all have seen them.
    pub fn due(candidates: u64, seen_by: usize) -> Due {
        let mut cores = Self::new();
        // So that tables have their usual size and what is forgotten is forgotten.
        (0..100).for_each(|_| cores.round(candidates));
        (0..4).for_each(|_| cores.round(1));
        let new = cores.new_requests(candidates);
        let filler = cores.new_requests(1);
        (0..seen_by).for_each(|i| cores.see(i, &new));
        (seen_by..N).for_each(|i| cores.see(i, &filler));
        let sent = cores.propose();
        for i in 0..N {
            let others = sent.iter().enumerate().filter(|(from, _)| *from != i);
            others.for_each(|(_, proposal)| cores.give(i, proposal.clone()));
        }
        let sent = cores.propose();
        cores.give(0, sent[1].clone());
        let now = cores.now();
        let mut due = Due { core: cores.cores.swap_remove(0), now, last: sent[2].clone(), due: 0 };
        due.due = due.clone().decide().2;
        assert!(seen_by < N || due.due as u64 == candidates, "all are due: {}", due.due);
        due
    }

    fn now(&self) -> Now {
        at(self.micros)
    }

    fn new_requests(&mut self, count: u64) -> Vec<Digest> {
        let first = self.requests;
        self.requests += count;
        (first..self.requests).map(digest).collect()
    }

    fn see(&mut self, i: usize, requests: &[Digest]) {
        for request in requests {
            self.input(i, Input::Seen { request: *request });
        }
    }

    /// Lets all propose, after a while, and gives what each sent.
    fn propose(&mut self) -> Vec<Input> {
        self.micros += STEP;
        let propose = |i| {
            let sent = self.input(i, Input::Drained);
            assert_eq!(sent.len(), 1, "everybody has work");
            sent
        };
        (0..N).flat_map(propose).collect()
    }

    fn give(&mut self, i: usize, proposal: Input) {
        self.input(i, proposal);
    }

    /// Gives the proposals that the core sends.
    fn input(&mut self, i: usize, input: Input) -> Vec<Input> {
        let (now, mut out) = (self.now(), Vec::new());
        self.cores[i].handle(now, input, &mut out);
        let mut sent = Vec::new();
        for action in out {
            match action {
                Action::Broadcast(proposal) => sent.push(Input::Proposal(proposal)),
                Action::Committed(step) => self.executed[i] += step.requests.len() as u64,
                Action::Log(_) => {}
                other => panic!("an orderly round asks for {other:?}"),
            }
        }
        sent
    }
}

impl Due {
    /// How many requests become due by the decision.
    pub fn requests(&self) -> usize {
        self.due
    }

    /// Takes the last proposal: the vector is committed and what is due is given for execution.
    /// Gives the core and its actions back, so that whoever measures need not drop them, and how
    /// many requests are due.
    pub fn decide(mut self) -> (Core<Keyed>, Vec<Action>, usize) {
        let mut out = Vec::new();
        self.core.handle(self.now, self.last, &mut out);
        let due = out.iter().map(|action| match action {
            Action::Committed(step) => step.requests.len(),
            _ => 0,
        });
        let due = due.sum();
        (self.core, out, due)
    }
}

fn core(i: usize) -> Core<Keyed> {
    let setup = Setup {
        id: ReplicaId::from_index(i),
        keyring: keyring(1),
        signer: Keyed::signer(&secret(i)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits::default(),
        seed: 5,
        disk: DiskState::New,
        recovered: Vec::new(),
        replays: false,
        strict: false,
        incarnation: 1,
    };
    Core::new(setup, Now { monotonic: Instant(0), ..at(0) })
}
