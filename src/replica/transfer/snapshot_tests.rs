//! Two executors: what one has executed the other takes in as a snapshot.

use super::*;
use crate::crypto::Context;
use crate::ordering::{Checkpoint, Ordered, Step};
use crate::replica::bodies::{Bodies, Held};
use crate::replica::executor::{Executed, Executor};
use crate::service::counter::Counter;
use crate::service::kv::{Command, Kv};
use crate::service::{RestoreError, Service};
use crate::types::{ClientId, Cuid, GroupId, LinkId, Members, OrderLimits, Quotas, ReplicaId};
use crate::types::{Round, SessionId, Uid};
use crate::wire::{CommandKind, Outcome, Request, RequestBody};

const CLIENT: ClientId = ClientId([7; 32]);

/// An executor with its bodies.
struct Side {
    executor: Executor,
    bodies: Bodies,
}

impl Side {
    fn new(service: Box<dyn Service>) -> Self {
        let bodies = Bodies::new(Quotas::default(), 5);
        Self { executor: Executor::new(service, OrderLimits::default(), 5, false), bodies }
    }

    fn kv() -> Self {
        Self::new(Box::new(Kv::new()))
    }

    /// Executes these requests in one step, which is a checkpoint.
    fn step(&mut self, round: u64, requests: &[Request]) -> Option<Executed> {
        let digests = requests.iter().map(|r| self.hold(r)).collect();
        self.executor.push(step(round, digests));
        self.executor.run_next(&mut self.bodies)
    }

    fn hold(&mut self, request: &Request) -> Digest {
        let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
        let digest = request.digest(&context, &CLIENT);
        let (request, origin) = (request.clone(), Some(LinkId(1)));
        let held =
            Held { client: CLIENT, request, origin, executed: false, logged: false, again: false };
        if self.bodies.get(&digest).is_none() {
            self.bodies.insert(digest, held);
        }
        digest
    }

    fn bytes(&self) -> Bytes {
        self.executor.freeze().unwrap().to_bytes()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::parse(&self.bytes()).unwrap()
    }

    fn state(&self) -> Digest {
        self.executor.checkpoint().1
    }
}

fn step(round: u64, digests: Vec<Digest>) -> Box<Step> {
    let cuid = Cuid { clock: 1, replica: ReplicaId::from_index(0) };
    let (uid, accepted, holders) = (Uid::of(cuid), Round(round), Members::NONE);
    let ordered = |digest| Ordered { digest, uid, accepted, holders, void: false };
    Box::new(Step {
        position: StepPosition { round: Round(round), vector: Digest([round as u8; 32]) },
        time: AgreedTime(round * 1_000),
        requests: digests.into_iter().map(ordered).collect(),
        forgotten: vec![],
        over_quota: vec![],
        changes: vec![],
        proposals: vec![],
        checkpoint: Some(Checkpoint::of(Bytes::from(format!("order after {round}")))),
    })
}

fn request(number: u64, low: u64, commands: &[Command<'_>]) -> Request {
    let command = |c: &Command<'_>| crate::wire::Command {
        kind: CommandKind::Execute,
        bytes: c.encode().into(),
    };
    let body = RequestBody { commands: commands.iter().map(command).collect() };
    let body = if number == 0 { Bytes::new() } else { body.to_bytes() };
    Request { session: SessionId(1), number, low, body }
}

/// A side with sessions, stored replies and values; a request refused, a number left out.
fn worked() -> Side {
    let mut a = Side::kv();
    a.step(1, &[request(0, 0, &[])]).unwrap();
    let puts = [Command::put("a", "1"), Command::put("b", "2"), Command::incr("n", 5)];
    a.step(2, &[request(1, 1, &puts), request(3, 1, &[Command::delete("b")])]).unwrap();
    let unknown = Request { session: SessionId(2), ..request(1, 1, &[Command::get("a")]) };
    a.step(3, &[unknown, request(4, 2, &[Command::scan("", 10)])]).unwrap();
    a
}

fn outcomes(executed: &Executed) -> Vec<Outcome> {
    let replies = executed.replies.values().flatten().map(|due| &due.reply);
    let repeats = executed.repeats.iter().map(|(_, _, reply)| reply);
    replies.chain(repeats).map(|r| Outcome::parse(&r.outcome).unwrap()).collect()
}

#[test]
fn what_was_restored_is_the_same_state_and_goes_on_alike() {
    let (mut a, mut b) = (worked(), Side::kv());
    let bytes = a.bytes();
    let snapshot = Snapshot::parse(&bytes).unwrap();
    assert_eq!(snapshot, a.snapshot());
    b.executor.restore(&snapshot, &a.state()).unwrap();
    assert_eq!(b.bytes(), bytes);
    assert_eq!(b.executor.running_at(Round(3)), Some(a.executor.running()));
    // A new number, one left out before, a repeat, one that is taken, one below the low-water mark.
    let next = [
        request(5, 2, &[Command::incr("n", 1), Command::get("a"), Command::ping("")]),
        request(2, 2, &[Command::cas("a", Some(b"1"), "3")]),
        request(4, 2, &[Command::scan("", 10)]),
        request(3, 2, &[Command::put("b", "other")]),
        request(1, 2, &[Command::put("c", "late")]),
    ];
    let (of_a, of_b) = (a.step(4, &next).unwrap(), b.step(4, &next).unwrap());
    assert_eq!(outcomes(&of_a), outcomes(&of_b));
    assert_eq!(outcomes(&of_a).len(), 4, "all but the one whose number is taken");
    assert_eq!((of_a.replies, of_a.repeats), (of_b.replies, of_b.repeats));
    assert_eq!(a.executor.checkpoint(), b.executor.checkpoint());
    assert_eq!(a.executor.running(), b.executor.running());
    assert_eq!(a.bytes(), b.bytes());
}

/// Bytes may be made at any later time.
#[test]
fn a_frozen_state_gives_the_bytes_of_its_checkpoint_whatever_runs_later() {
    let mut a = worked();
    let (frozen, bytes, state) = (a.executor.freeze().unwrap(), a.bytes(), a.state());
    assert!(frozen.size_hint() >= bytes.len());
    let later = [
        request(5, 5, &[Command::put("a", "later"), Command::incr("n", 1)]),
        request(6, 5, &[Command::delete("a"), Command::put("z", "new")]),
    ];
    a.step(4, &later).unwrap();
    assert_ne!(a.bytes(), bytes);
    assert_eq!((frozen.round(), frozen.to_bytes()), (Round(3), bytes.clone()));
    let mut b = Side::kv();
    b.executor.restore(&Snapshot::parse(&bytes).unwrap(), &state).unwrap();
    assert_eq!(b.bytes(), bytes);
}

#[test]
fn an_empty_state_can_be_taken_in() {
    let (mut a, mut b) = (Side::kv(), worked());
    assert_eq!(a.executor.freeze(), None, "before the first checkpoint there is none");
    for round in 1..=9 {
        a.step(round, &[]).unwrap();
    }
    b.executor.restore(&a.snapshot(), &a.state()).unwrap();
    assert_eq!(b.snapshot(), a.snapshot());
    assert_eq!(b.executor.executed(), 0);
}

/// No byte of a snapshot can be changed, and none left out: what is attested covers all.
#[test]
fn a_snapshot_with_any_bit_changed_is_refused() {
    let (a, mut b) = (worked(), Side::kv());
    let (bytes, state) = (a.bytes(), a.state());
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = match Snapshot::parse(&flipped.into()) {
            Ok(snapshot) => b.executor.restore(&snapshot, &state).is_err(),
            Err(_) => true,
        };
        assert!(refused, "bit {bit} of {}", 8 * bytes.len());
    }
    for end in 0..bytes.len() {
        assert!(Snapshot::parse(&bytes.slice(..end)).is_err(), "cut to {end} bytes");
    }
    let longer = Bytes::from([&bytes[..], &[0]].concat());
    assert!(Snapshot::parse(&longer).is_err());
    assert!(b.executor.is_lost() && b.executor.freeze().is_none());
    b.executor.restore(&Snapshot::parse(&bytes).unwrap(), &state).unwrap();
    assert_eq!(b.snapshot(), a.snapshot(), "and a good one heals it");
}

/// What is found out before the service has taken anything in costs nothing.
#[test]
fn a_snapshot_that_cannot_be_read_leaves_the_state_as_it_was() {
    let (a, mut b) = (worked(), Side::kv());
    b.step(1, &[request(0, 0, &[])]).unwrap();
    let before = b.snapshot();
    let good = a.snapshot();
    let no_sessions = Snapshot { sessions: Bytes::from_static(b"quose/1\n"), ..good.clone() };
    let no_service = Snapshot { service: Bytes::from_static(b"something"), ..good };
    for bad in [no_sessions, no_service] {
        b.executor.restore(&bad, &a.state()).unwrap_err();
        assert!(!b.executor.is_lost());
        assert_eq!(b.snapshot(), before);
    }
}

#[test]
fn steps_that_the_snapshot_holds_are_dropped_and_later_ones_run() {
    let (mut a, mut b) = (worked(), Side::kv());
    let later = request(5, 2, &[Command::get("a")]);
    // The body of round 2 never came.
    b.step(1, &[request(0, 0, &[])]).unwrap();
    for (round, digests) in [(2, vec![Digest([1; 32])]), (3, vec![]), (4, vec![b.hold(&later)])] {
        b.executor.push(step(round, digests));
    }
    assert!(b.executor.run_next(&mut b.bodies).is_none() && b.executor.is_waiting_for_bodies());
    assert_eq!((b.executor.backlog(), b.executor.waiting().len()), (2, 2));
    b.executor.restore(&a.snapshot(), &a.state()).unwrap();
    assert_eq!((b.executor.backlog(), b.executor.is_waiting_for_bodies()), (1, false));
    b.executor.run_next(&mut b.bodies).unwrap();
    a.step(4, &[later]).unwrap();
    assert_eq!(a.executor.running(), b.executor.running());
    assert_eq!(a.state(), b.state());
}

/// A counter that cannot stand forged bytes.
struct Brittle(Counter);

impl Service for Brittle {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.0.execute(time, client, command)
    }

    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.0.query(time, client, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        assert_ne!(snapshot, b"forged", "planted for this test");
        self.0.restore(snapshot)
    }

    fn digest(&mut self) -> Digest {
        self.0.digest()
    }
}

#[test]
fn a_service_that_panics_over_forged_bytes_stops_nothing() {
    let (mut a, mut b) =
        (Side::new(Box::new(Counter::new())), Side::new(Box::new(Brittle(Counter::new()))));
    a.step(1, &[]).unwrap();
    let forged = Snapshot { service: Bytes::from_static(b"forged"), ..a.snapshot() };
    b.executor.restore(&forged, &a.state()).unwrap_err();
    assert!(b.executor.is_lost() && b.step(1, &[]).is_none(), "nothing runs without a state");
    b.executor.restore(&a.snapshot(), &a.state()).unwrap();
    b.step(2, &[]).unwrap();
    a.step(2, &[]).unwrap();
    assert_eq!(a.state(), b.state());
}
