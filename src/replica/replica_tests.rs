//! Three replicas whose messages are handed over by hand.

use super::*;
use crate::crypto::{Context, Keyed, PublicKey, SecretKey};
use crate::replica::{Setup, Stored};
use crate::service::counter::Counter;
use crate::types::{ClientId, ClockKind, DiskState, Ensemble, Quotas, Role, SessionId, Wall};
use crate::wire::{
    Digests, Outcome, OutcomeDigest, ReceiptAnswer, Refusal, Replies, Request, StepPosition,
    WholeQuery,
};
use std::time::Duration;

const CLIENT: ClientId = ClientId([7; 32]);
const LINK: LinkId = LinkId(1);

struct Trio {
    replicas: Vec<Replica<Keyed>>,
    ms: u64,
    /// What the client was told, by whom.
    told: Vec<(usize, Replies)>,
    /// What it was shown for receipts, by whom.
    shown: Vec<(usize, ReceiptAnswer)>,
    /// What it was told by digests.
    digests: Vec<(usize, Digests)>,
    /// Who does not hear what.
    deaf_to: Option<(usize, Kind)>,
    /// Whose disk does nothing, and what it was told to write.
    stuck: Option<usize>,
    unwritten: Vec<u64>,
}

impl Trio {
    fn new(limits: OrderLimits) -> Self {
        Self::on_disks(limits, Durability::None)
    }

    fn on_disks(limits: OrderLimits, durability: Durability) -> Self {
        let ensemble = Ensemble::new(1).unwrap();
        let secret = |i: usize| SecretKey::from_seed([i as u8 + 1; 32]);
        let keys: Vec<PublicKey> =
            (0..3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
        let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
        let make = |i: usize| {
            let setup = Setup::<Keyed> {
                inherited: None,
                id: ReplicaId::from_index(i),
                keyring: Keyring::new(context, ensemble, keys.clone()).unwrap(),
                signer: Keyed::signer(&secret(i)),
                genesis: Digest([1; 32]),
                timing: Timing::from_delta(Duration::from_millis(100)),
                clock: ClockKind::Hybrid,
                limits,
                quotas: Quotas::default(),
                seed: 5,
                incarnation: 1,
                disk: DiskState::New,
                recovered: Vec::new(),
                durability,
                stored: Stored::default(),
                fields: vec![],
                encode_at_once: crate::replica::ENCODE_AT_ONCE,
                trace: false,
            };
            Replica::new(setup, Box::new(Counter::new()), Now::default())
        };
        let mut trio = Self {
            replicas: (0..3).map(make).collect(),
            ms: 1,
            told: vec![],
            shown: vec![],
            digests: vec![],
            deaf_to: None,
            stuck: None,
            unwritten: vec![],
        };
        let hellos: Vec<Hello> = trio.replicas.iter().map(Replica::hello).collect();
        for i in 0..3 {
            for j in (0..3).filter(|j| *j != i) {
                let (peer, hello) = (ReplicaId::from_index(j), hellos[j].clone());
                trio.input(i, Input::PeerUp { peer, hello });
            }
            trio.input(i, Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        trio
    }

    fn now(&self) -> Now {
        Now { monotonic: Instant(self.ms * 1_000_000), wall: Wall(self.ms * 1000) }
    }

    /// Gives an input and delivers all that follows from it.
    fn input(&mut self, to: usize, input: Input) {
        let mut waiting = std::collections::VecDeque::from([(to, input)]);
        while let Some((i, input)) = waiting.pop_front() {
            let (now, mut out) = (self.now(), Actions::new());
            self.replicas[i].handle(now, input, &mut out);
            for action in out {
                match action {
                    Action::ToPeer { peer, frame, .. } => {
                        let frame = Frame::parse(frame).unwrap();
                        let from = ReplicaId::from_index(i);
                        if self.deaf_to != Some((peer.index(), frame.kind)) {
                            let input = Input::PeerFrame { peer: from, frame };
                            waiting.push_back((peer.index(), input));
                        }
                    }
                    Action::ToClient { frame, .. } => {
                        let frame = Frame::parse(frame).unwrap();
                        match frame.kind {
                            Kind::Replies => {
                                self.told.push((i, Replies::from_body(&frame.body).unwrap()));
                            }
                            Kind::Receipt => {
                                self.shown
                                    .push((i, ReceiptAnswer::from_body(&frame.body).unwrap()));
                            }
                            _ => {}
                        }
                        if frame.kind == Kind::Digests {
                            self.digests.push((i, Digests::from_body(&frame.body).unwrap()));
                        }
                    }
                    Action::Append { sequence, .. } | Action::Persist { sequence, .. } => {
                        match self.stuck == Some(i) {
                            true => self.unwritten.push(sequence),
                            false => waiting.push_back((i, Input::Synced { sequence })),
                        }
                    }
                    Action::Event(_) | Action::MarkKnown => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Lets rounds run for a while; with `ms` of seconds also idle ones.
    fn run(&mut self, ms: u64) {
        let until = self.ms + ms;
        while self.ms < until {
            self.ms += 5;
            (0..3).for_each(|i| self.input(i, Input::Drained));
        }
    }

    /// Sends a request to all and gives what the first replica answered to it.
    fn send(&mut self, session: u64, number: u64, body: Bytes) -> Option<(StepPosition, Outcome)> {
        self.told.clear();
        let low = number.min(1);
        let request = Request { session: SessionId(session), number, low, body };
        let frame = Frame::parse(request.to_frame(GroupId::MAIN).into()).unwrap();
        for i in 0..3 {
            self.input(i, Input::ClientFrames { link: LINK, frames: vec![frame.clone()] });
        }
        self.run(60);
        let first = self.told.iter().find(|(i, _)| *i == 0)?;
        let outcome = Outcome::parse(&first.1.replies[0].outcome).unwrap();
        Some((first.1.position, outcome))
    }

    fn outstanding(&self) -> Vec<u64> {
        self.replicas.iter().map(|r| r.status(self.now()).outstanding).collect()
    }
}

fn add_one() -> Bytes {
    let bytes = Counter::add(1).into();
    let command = crate::wire::Command { kind: crate::wire::CommandKind::Execute, bytes };
    crate::wire::RequestBody { commands: vec![command] }.to_bytes()
}

/// No session remembers a refusal, and its body goes when all have executed it. Whoever repeats
/// the request is told again, and no quota is used up by that.
#[test]
fn a_refused_request_that_is_repeated_is_refused_again_and_holds_nothing() {
    let mut trio = Trio::new(OrderLimits::default());
    let first = trio.send(9, 3, add_one()).unwrap();
    assert_eq!(first.1, Outcome::Refused(Refusal::UnknownSession));
    trio.run(4000);
    assert_eq!(trio.send(9, 3, add_one()).unwrap(), first, "with its first position");
    assert_eq!(trio.outstanding(), [0, 0, 0]);
}

/// What the order has executed gets no candidate, so a body that came again would never leave.
#[test]
fn a_request_of_an_evicted_session_that_is_repeated_holds_nothing() {
    let mut trio = Trio::new(OrderLimits { max_sessions: 1, ..OrderLimits::default() });
    assert_eq!(trio.send(1, 0, Bytes::new()).unwrap().1, Outcome::Opened);
    assert!(matches!(trio.send(1, 1, add_one()).unwrap().1, Outcome::Executed(_)));
    assert_eq!(trio.send(2, 0, Bytes::new()).unwrap().1, Outcome::Opened);
    trio.run(4000);
    assert_eq!(trio.send(1, 1, add_one()), None, "it ran, and its reply went with the session");
    assert_eq!(trio.outstanding(), [0, 0, 0]);
    assert!(trio.replicas.iter().all(|r| r.status(trio.now()).executed == 3));
}

/// What the third of three replicas answers when the two others have lost their states.
#[cfg(feature = "plant")]
fn answer_of_the_last() -> Option<Outcome> {
    let mut trio = Trio::new(OrderLimits::default());
    trio.send(1, 0, Bytes::new()).unwrap();
    for replica in &mut trio.replicas[..2] {
        replica.executor.lose();
        replica.attest();
    }
    assert_eq!(trio.send(1, 1, add_one()), None, "the first has no state");
    let last = trio.told.iter().find(|(i, _)| *i == 2)?;
    Some(Outcome::parse(&last.1.replies[0].outcome).unwrap())
}

/// §7, O1: the others may be too few to accept it.
#[cfg(feature = "plant")]
#[test]
fn members_without_a_state_give_candidates() {
    use crate::types::plant::plant;
    assert!(matches!(answer_of_the_last(), Some(Outcome::Executed(_))));
    plant(Some("o3-lost-gives-none"));
    let answer = answer_of_the_last();
    plant(None);
    assert_eq!(answer, None);
}

/// How many snapshots the first takes while the third, a member, has no state or has one.
#[cfg(feature = "plant")]
fn snapshots_taken(lost: bool) -> u64 {
    let limits = OrderLimits { checkpoint_every: 4, ..OrderLimits::default() };
    let mut trio = Trio::new(limits);
    trio.send(1, 0, Bytes::new()).unwrap();
    for number in 1..6 {
        trio.send(1, number, add_one()).unwrap();
    }
    if lost {
        trio.replicas[2].executor.lose();
        trio.replicas[2].attest();
    }
    let before = trio.replicas[0].counters.snapshots_taken;
    for number in 6..12 {
        trio.send(1, number, add_one()).unwrap();
    }
    trio.replicas[0].counters.snapshots_taken - before
}

/// §7: a member that has lost its state needs that of the others.
#[cfg(feature = "plant")]
#[test]
fn members_take_snapshots_for_one_of_them_without_a_state() {
    use crate::types::plant::plant;
    assert_eq!(snapshots_taken(false), 0);
    assert!(snapshots_taken(true) > 0);
    plant(Some("s7-members-have-a-state"));
    let taken = snapshots_taken(true);
    plant(None);
    assert_eq!(taken, 0);
}

#[path = "reads_tests.rs"]
mod reads;

#[path = "receipts_tests.rs"]
mod receipts;

/// Whether a replica says that it rolled back when it learns that others have gone on without it,
/// and where `keep` says how far it went with them.
fn says_rolled(keep: Option<(crate::types::Epoch, Round)>) -> bool {
    let mut trio = Trio::new(OrderLimits::default());
    trio.send(1, 0, Bytes::new()).unwrap();
    let position = trio.send(1, 1, add_one()).unwrap().0;
    let executed = trio.replicas[0].executor.position().round;
    assert!(executed >= position.round);
    let keep = keep.map(|(epoch, before)| (epoch, Round(executed.0 - before.0)));
    let epoch = crate::types::Epoch { resets: 1, ..crate::types::Epoch::GENESIS };
    trio.replicas[0].astray(keep, epoch, &mut Actions::new());
    trio.replicas[0].rolled.is_on()
}

/// §7: who cannot tell how far its history and that of the others are the same cannot say that it
/// gave up nothing of what it answered.
#[test]
fn who_does_not_know_what_it_gave_up_says_that_it_was_something() {
    let genesis = crate::types::Epoch::GENESIS;
    assert!(says_rolled(None), "nobody knows");
    assert!(says_rolled(Some((genesis, Round(1)))), "its last step");
    assert!(!says_rolled(Some((genesis, Round(0)))), "nothing");
}

#[cfg(feature = "plant")]
#[test]
fn who_takes_what_it_does_not_know_for_nothing_is_noticed() {
    crate::types::plant::plant(Some("s7-unknown-is-none"));
    let test = who_does_not_know_what_it_gave_up_says_that_it_was_something;
    let caught = std::panic::catch_unwind(test).is_err();
    crate::types::plant::plant(None);
    assert!(caught);
}
#[path = "replies_tests.rs"]
mod replies;
