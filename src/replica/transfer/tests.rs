//! Three replicas whose messages are handed over by hand, one of which loses its state.

use super::*;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, SecretKey};
use crate::replica::bodies::Held;
use crate::replica::{Action, Input, Setup, Stored};
use crate::service::kv::{Command, Kv};
use crate::types::{ClientId, ClockKind, Digest, Ensemble, GroupId, Instant, LinkId, OrderLimits};
use crate::types::{DiskState, Durability, Quotas, Role, SessionId, Timing, Wall};
use crate::wire::{CommandKind, Frame, Hello, Kind, Request, RequestBody, SnapshotShape};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

const CLIENT: ClientId = ClientId([7; 32]);
const LINK: LinkId = LinkId(1);
const NOT_ATTESTED: &str = "it is not the state that was attested";
/// The one that loses its state.
const LOSER: usize = 2;

fn id(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

fn replica(index: usize, quotas: Quotas, restarted: bool) -> Replica<Keyed> {
    let secret = |i: usize| SecretKey::from_seed([i as u8 + 1; 32]);
    let keys: Vec<PublicKey> = (0..3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    let setup = Setup::<Keyed> {
        inherited: None,
        id: id(index),
        keyring: Keyring::new(context, Ensemble::new(1).unwrap(), keys).unwrap(),
        signer: Keyed::signer(&secret(index)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits { checkpoint_every: 4, ..OrderLimits::default() },
        quotas,
        seed: 5,
        incarnation: 1,
        disk: if restarted { DiskState::Known } else { DiskState::New },
        recovered: vec![],
        durability: Durability::None,
        stored: Stored::default(),
        fields: vec![],
        encode_at_once: usize::MAX,
        trace: false,
    };
    Replica::new(setup, Box::new(Kv::new()), Now::default())
}

/// What a source answers.
#[derive(Clone)]
enum Given {
    Offer(SnapshotOffer),
    Part(SnapshotPart),
}

/// What becomes of it on its way.
enum Fate {
    Arrives(Given),
    Lost,
    /// Its link breaks.
    Broken,
}

/// What becomes of all that sources answer.
type Fates = Box<dyn FnMut(usize, Given) -> Fate>;

struct Group {
    replicas: Vec<Replica<Keyed>>,
    ms: u64,
    number: u64,
    fate: Fates,
    /// What the one that lost its state reported.
    events: Vec<Event>,
    /// Bytes of replies and notes to clients.
    answers: usize,
    /// Whose bytes are being made, under which number.
    encoding: Vec<(usize, u64, Encoding)>,
}

fn is_of_transfer(event: &Event) -> bool {
    matches!(
        event,
        Event::SnapshotWanted | Event::SnapshotInstalled { .. } | Event::SnapshotRefused { .. }
    )
}

impl Group {
    fn new(quotas: Quotas, always: bool) -> Self {
        let mut replicas: Vec<_> = (0..3).map(|i| replica(i, quotas, false)).collect();
        replicas.iter_mut().for_each(|r| r.shelf.always = always);
        let fate = Box::new(|_, given| Fate::Arrives(given));
        let mut group =
            Self { replicas, ms: 1, number: 0, fate, events: vec![], answers: 0, encoding: vec![] };
        for i in 0..3 {
            (0..3).filter(|j| *j != i).for_each(|j| group.link(i, j));
            group.input(i, Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        group
    }

    /// A group that has executed some requests and keeps a snapshot of several parts; then one
    /// replica loses everything and comes back.
    fn after_a_loss() -> Self {
        let mut group = Self::new(Quotas::default(), true);
        group.request(Bytes::new());
        for key in ["a", "b", "c", "d", "e", "f", "g"] {
            group.request(body(&Command::put(key, &vec![key.as_bytes()[0]; 60_000])));
        }
        group.run(10_000);
        let newest = group.replicas[0].shelf.newest();
        assert!(newest > Some(Round(8)) && newest == group.replicas[1].shelf.newest());
        let mut empty = replica(LOSER, Quotas::default(), true);
        empty.shelf.always = true;
        group.replicas[LOSER] = empty;
        group.events.clear();
        group.input(LOSER, Input::Tick);
        for other in (0..3).filter(|i| *i != LOSER) {
            group.input(other, Input::PeerDown { peer: id(LOSER) });
            group.link(other, LOSER);
            group.link(LOSER, other);
        }
        assert!(group.events.contains(&Event::SnapshotWanted), "it says what it lost and wants");
        group.events.clear();
        group
    }

    fn link(&mut self, at: usize, to: usize) {
        let hello: Hello = self.replicas[to].hello();
        self.input(at, Input::PeerUp { peer: id(to), hello });
    }

    fn now(&self) -> Now {
        Now { monotonic: Instant(self.ms * 1_000_000), wall: Wall(self.ms * 1000) }
    }

    /// Gives an input and delivers all that follows from it.
    fn input(&mut self, to: usize, input: Input) {
        let mut waiting = VecDeque::from([(to, input)]);
        while let Some((i, input)) = waiting.pop_front() {
            let (now, mut out) = (self.now(), Actions::new());
            self.replicas[i].handle(now, input, &mut out);
            for action in out {
                match action {
                    Action::ToPeer { peer, frame, .. } => {
                        let frame = Frame::parse(frame).unwrap();
                        waiting.extend(self.deliver(i, peer.index(), frame));
                    }
                    Action::ToClient { frame, .. } => self.answers += frame.len(),
                    Action::Event(event) if i == LOSER && is_of_transfer(&event) => {
                        self.events.push(event);
                    }
                    Action::Event(_) | Action::MarkKnown => {}
                    Action::Persist { sequence, .. } => {
                        waiting.push_back((i, Input::Synced { sequence }));
                    }
                    Action::Encode { number, work } => self.encoding.push((i, number, work)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// What is being made is ready.
    fn encode(&mut self) {
        for (at, number, work) in std::mem::take(&mut self.encoding) {
            self.input(at, Input::Encoded { number, made: work.run() });
        }
    }

    fn deliver(&mut self, from: usize, to: usize, frame: Frame) -> Option<(usize, Input)> {
        let peer = id(from);
        // Here it is about the transfer alone: that the one who lost its state is put out of the
        // epoch meanwhile is another matter.
        let of_epochs = [Kind::Blame, Kind::Call, Kind::Report, Kind::Restarted, Kind::Stalled];
        if of_epochs.contains(&frame.kind) {
            return None;
        }
        let given = match frame.kind {
            Kind::SnapshotOffer => Given::Offer(SnapshotOffer::from_body(&frame.body).unwrap()),
            Kind::SnapshotPart => Given::Part(SnapshotPart::from_body(&frame.body).unwrap()),
            _ => return Some((to, Input::PeerFrame { peer, frame })),
        };
        match (self.fate)(from, given) {
            Fate::Arrives(given) => {
                let frame = match given {
                    Given::Offer(offer) => offer.to_frame(GroupId::MAIN),
                    Given::Part(part) => part.to_frame(GroupId::MAIN),
                };
                let frame = Frame::parse(frame.into()).unwrap();
                Some((to, Input::PeerFrame { peer, frame }))
            }
            Fate::Lost => None,
            Fate::Broken => Some((to, Input::PeerDown { peer })),
        }
    }

    fn run(&mut self, ms: u64) {
        let until = self.ms + ms;
        while self.ms < until {
            self.ms += 5;
            (0..3).for_each(|i| self.input(i, Input::Drained));
        }
    }

    /// Sends the client's next request to all and lets it be executed.
    fn request(&mut self, body: Bytes) {
        let request = request(self.number, body);
        self.number += 1;
        let frame = Frame::parse(request.to_frame(GroupId::MAIN).into()).unwrap();
        for i in 0..3 {
            self.input(i, Input::ClientFrames { link: LINK, frames: vec![frame.clone()] });
        }
        self.run(60);
    }

    fn counter(&self, at: usize, name: &str) -> u64 {
        self.replicas[at].status(self.now()).counters[name]
    }

    /// The whole snapshot that a replica gives to others.
    fn given_by(&mut self, at: usize) -> (Round, Vec<u8>) {
        let (shelf, now) = (&mut self.replicas[at].shelf, Instant(0));
        shelf.choose(id(1), Round(0), (now, Duration::ZERO));
        if let Some(state) = shelf.unmade() {
            let made = Encoding::new(state.clone(), true).run();
            shelf.set_bytes(made, now);
        }
        let offer = shelf.offer(id(1), Round(0), (now, None));
        let shape = SnapshotShape::new(offer.total).unwrap();
        let mut bytes = Vec::new();
        for chunk in 0..shape.chunks() {
            let want = WantSnapshot { round: offer.round, piece: Piece::Chunk(chunk) };
            bytes.extend_from_slice(&shelf.part(id(1), want, (now, None)).bytes);
        }
        (offer.round, bytes)
    }

    /// Runs until a snapshot is in and checks that it is that of R1. Gives whom it refused and
    /// why, and whose pieces it took.
    fn recovered(&mut self) -> (Vec<(ReplicaId, &'static str)>, Vec<ReplicaId>) {
        self.run(5_000);
        let expected = self.given_by(0);
        assert_eq!(self.given_by(LOSER), expected, "it can give it to others in turn");
        let (round, bytes) = expected;
        assert!(bytes.len() > SnapshotPart::MAX, "it takes several parts");
        let loser = &self.replicas[LOSER];
        assert_eq!(loser.executor.position().round, round);
        assert_eq!(loser.executor.freeze().unwrap().to_bytes(), bytes);
        assert_eq!((loser.stable, loser.executor.executed()), (round, self.number));
        assert_eq!(loser.status(self.now()).transfer, None);
        let Some((Event::SnapshotInstalled { round: of, bytes: length, from }, before)) =
            self.events.split_last()
        else {
            panic!("{:?}", self.events);
        };
        assert_eq!((*of, *length), (round, bytes.len() as u64));
        let refused = before.iter().map(|event| match event {
            Event::SnapshotRefused { from, why, .. } => (*from, *why),
            other => panic!("{other:?}"),
        });
        (refused.collect(), from.iter().collect())
    }
}

fn request(number: u64, body: Bytes) -> Request {
    Request { session: SessionId(1), number, low: number.min(1), body }
}

fn body(command: &Command<'_>) -> Bytes {
    let bytes = command.encode().into();
    RequestBody { commands: vec![crate::wire::Command { kind: CommandKind::Execute, bytes }] }
        .to_bytes()
}

/// Changes what one replica gives of a chunk.
fn forge_chunk(
    from: usize,
    number: u32,
    forge: fn(&mut Vec<u8>),
) -> impl FnMut(usize, Given) -> Fate {
    move |source, given| match given {
        Given::Part(part) if source == from && part.piece == Piece::Chunk(number) => {
            let mut bytes = part.bytes.to_vec();
            forge(&mut bytes);
            Fate::Arrives(Given::Part(SnapshotPart { bytes: bytes.into(), ..part }))
        }
        given => Fate::Arrives(given),
    }
}

/// One replica gives another snapshot than it has, with a list that fits.
fn forge_all(from: usize, right: Vec<u8>, at: usize) -> impl FnMut(usize, Given) -> Fate {
    let mut bytes = right;
    bytes[at] ^= 1;
    let list = ChunkList::of(&bytes).unwrap();
    let bytes = Bytes::from(bytes);
    move |source, given| {
        if source != from {
            return Fate::Arrives(given);
        }
        Fate::Arrives(match given {
            Given::Offer(offer) if offer.total > 0 => {
                Given::Offer(SnapshotOffer { pages: list.digests().to_vec(), ..offer })
            }
            Given::Part(part) => {
                let bytes = match part.piece {
                    Piece::Page(number) => list.page(number).unwrap().clone(),
                    Piece::Chunk(number) => {
                        let start = number as usize * SnapshotPart::MAX;
                        bytes.slice(start..bytes.len().min(start + SnapshotPart::MAX))
                    }
                    Piece::Offer => part.bytes,
                };
                Given::Part(SnapshotPart { bytes, ..part })
            }
            given => given,
        })
    }
}

#[test]
fn a_replica_that_lost_its_state_takes_it_in_from_all_others_at_once() {
    let mut group = Group::after_a_loss();
    let pieces = SnapshotShape::new(group.given_by(0).1.len() as u64).unwrap().chunks() + 1;
    assert_eq!(group.recovered(), (vec![], vec![id(0), id(1)]));
    let given = [0, 1].map(|source| group.counter(source, "snapshot_parts_sent"));
    assert_eq!(given[0] + given[1], u64::from(pieces), "each piece once");
    assert_eq!(group.counter(LOSER, "snapshots_installed"), 1);
}

/// Wherever a source that forges a list changes a byte: it is found out and named, and the state
/// is taken from the other.
#[test]
fn a_source_that_forges_all_of_a_snapshot_is_named_and_the_others_is_taken() {
    // The magic, the head, the service's state. Of two sources that contradict each other the one
    // with the higher number is asked first.
    let rows = [
        (0, "its bytes are no snapshot"),
        (8, "it is of another round"),
        (60, NOT_ATTESTED),
        (SnapshotPart::MAX + 1_000, NOT_ATTESTED),
    ];
    for (at, why) in rows {
        let mut group = Group::after_a_loss();
        group.fate = Box::new(forge_all(1, group.given_by(0).1, at));
        assert_eq!(group.recovered(), (vec![(id(1), why)], vec![id(0)]), "byte {at}");
        assert_eq!(group.counter(LOSER, "transfer_lies"), 1);
    }
    // The liar is asked for nothing, but it is known afterwards that it lied.
    let mut group = Group::after_a_loss();
    group.fate = Box::new(forge_all(0, group.given_by(0).1, 60));
    let why = "its list of chunks is not that of the attested state";
    assert_eq!(group.recovered(), (vec![(id(0), why)], vec![id(1)]));
    let lies = group.replicas[LOSER].status(group.now()).transfer_lies;
    assert_eq!(lies.iter().map(|lie| (lie.replica, &*lie.why)).collect::<Vec<_>>(), [(1, why)]);
}

#[test]
fn a_source_that_lies_in_the_middle_or_is_silent_is_named_and_the_transfer_ends() {
    let chunk = "it gave a chunk that does not match its own list";
    let few = |source, given| match given {
        Given::Offer(mut offer) if source == 0 => {
            offer.proof.truncate(1);
            Fate::Arrives(Given::Offer(offer))
        }
        given => Fate::Arrives(given),
    };
    let silent = |source, given| if source == 0 { Fate::Lost } else { Fate::Arrives(given) };
    let rows: [(Fates, _); 4] = [
        (Box::new(forge_chunk(0, 0, |bytes| bytes[9] ^= 1)), vec![chunk]),
        (Box::new(forge_chunk(0, 0, |bytes| bytes.truncate(9))), vec![chunk]),
        (Box::new(few), vec!["too few attest it"]),
        (Box::new(silent), vec![]),
    ];
    for (fate, why) in rows {
        let mut group = Group::after_a_loss();
        group.fate = fate;
        let (refused, from) = group.recovered();
        assert_eq!(refused, why.into_iter().map(|why| (id(0), why)).collect::<Vec<_>>());
        assert!(from.contains(&id(1)));
    }
}

/// D20: what came over a link that breaks is not fetched again.
#[test]
fn a_transfer_whose_link_breaks_goes_on_elsewhere() {
    let mut group = Group::after_a_loss();
    let pieces = SnapshotShape::new(group.given_by(0).1.len() as u64).unwrap().chunks() + 1;
    let mut broken = false;
    group.fate = Box::new(move |source, given| match given {
        Given::Part(part) if source == 0 && part.piece != Piece::Page(0) && !broken => {
            broken = true;
            Fate::Broken
        }
        given => Fate::Arrives(given),
    });
    let (refused, from) = group.recovered();
    assert_eq!((refused, from), (vec![], vec![id(0), id(1)]), "and nobody is blamed");
    let given = [0, 1].map(|source| group.counter(source, "snapshot_parts_sent"));
    let lost = given[0] - 1;
    assert_eq!(given[0] + given[1], u64::from(pieces) + lost, "only what was lost is given twice");
}

#[test]
fn while_both_sources_fail_it_says_how_far_it_is_and_asks_again_later() {
    let mut group = Group::after_a_loss();
    group.fate = Box::new(|_, given| match given {
        Given::Part(SnapshotPart { piece: Piece::Chunk(1..), .. }) => Fate::Lost,
        given => Fate::Arrives(given),
    });
    group.run(50);
    let status = group.replicas[LOSER].status(group.now()).transfer.unwrap();
    assert_eq!((status.from, status.bytes), (vec![1, 2], SnapshotPart::MAX as u64));
    assert_eq!(status.total, group.given_by(0).1.len() as u64);
    group.run(3_000);
    let silent = |number| Event::SnapshotRefused {
        from: id(number),
        why: "it does not answer",
        lied: false,
    };
    assert!(group.events.contains(&silent(0)) || group.events.contains(&silent(1)));
    let before = [0, 1].map(|source| group.counter(source, "snapshot_parts_sent"));
    group.events.clear();
    group.fate = Box::new(|_, given| Fate::Arrives(given));
    let (refused, _) = group.recovered();
    assert!(refused.len() <= 1, "{refused:?}");
    let after = [0, 1].map(|source| group.counter(source, "snapshot_parts_sent"));
    assert!(after[0] + after[1] - before[0] - before[1] <= 3, "what had come had stayed");
}

/// What others fetch is given as fast as the quota allows, to all together (in virtual time).
#[test]
fn snapshots_are_given_no_faster_than_the_quota_allows() {
    let quotas = Quotas { transfer_rate: 1 << 20, ..Quotas::default() };
    let mut group = Group::new(quotas, true);
    group.request(Bytes::new());
    for key in ["a", "b", "c", "d", "e"] {
        group.request(body(&Command::put(key, &vec![1; 60_000])));
    }
    group.run(10_000);
    let give = |group: &mut Group, peer: usize, want: WantSnapshot| {
        let frame = Frame::parse(want.to_frame(GroupId::MAIN).into()).unwrap();
        let (now, mut out) = (group.now(), Actions::new());
        group.replicas[0].handle(now, Input::PeerFrame { peer: id(peer), frame }, &mut out);
        out
    };
    let bytes = |out: &Actions| -> usize {
        out.iter()
            .map(|a| {
                if let Action::ToPeer { lane: Lane::Bulk, frame, .. } = a { frame.len() } else { 0 }
            })
            .sum()
    };
    let offer = WantSnapshot { round: Round(0), piece: Piece::Offer };
    (1..3).for_each(|peer| drop(give(&mut group, peer, offer)));
    let round = group.replicas[0].shelf.newest().unwrap();
    let chunk = WantSnapshot { round, piece: Piece::Chunk(0) };
    let (mut given, began) = (0, group.ms);
    while group.ms < began + 3_000 {
        for peer in 1..3 {
            given += bytes(&give(&mut group, peer, chunk));
        }
        let (now, mut out) = (group.now(), Actions::new());
        group.replicas[0].handle(now, Input::Tick, &mut out);
        given += bytes(&out);
        group.ms += 5;
    }
    let (least, most) = (3 << 20, (3 << 20) + (1 << 20));
    assert!((least..most).contains(&given), "{given} bytes in three seconds at 1 MiB/s");
    assert!(
        group.counter(0, "snapshot_wants_dropped") > 100,
        "whoever asks for more gets no answer"
    );
}

/// A question has a few bytes and its answer a quarter of a megabyte.
#[test]
fn whoever_asks_for_thousands_of_pieces_in_one_batch_gets_a_few() {
    let mut group = Group::after_a_loss();
    let round = group.replicas[0].shelf.newest().unwrap();
    let want = WantSnapshot { round, piece: Piece::Chunk(0) };
    let frame = Frame::parse(want.to_frame(GroupId::MAIN).into()).unwrap();
    let (now, mut out) = (group.now(), Actions::new());
    for _ in 0..2_000 {
        let input = Input::PeerFrame { peer: id(LOSER), frame: frame.clone() };
        group.replicas[0].handle(now, input, &mut out);
    }
    let bytes = |action: &Action| match action {
        Action::ToPeer { lane: Lane::Bulk, frame, .. } => frame.len(),
        other => panic!("{other:?}"),
    };
    let total: usize = out.iter().map(bytes).sum();
    assert!((1..1 << 20).contains(&total), "{total} bytes wait to be sent");
}

/// A forged snapshot may cost the state that there was: then nobody is answered from it.
#[test]
fn a_replica_without_a_state_answers_no_request() {
    let mut group = Group::after_a_loss();
    let mut forge = forge_all(0, group.given_by(0).1, 60);
    group.fate =
        Box::new(move |from, given| if from == 0 { forge(from, given) } else { Fate::Lost });
    group.run(1_000);
    assert!(group.replicas[LOSER].executor.is_lost());
    let lied = Event::SnapshotRefused { from: id(0), why: NOT_ATTESTED, lied: true };
    assert!(group.events.contains(&lied), "{:?}", group.events);
    let standing = group.replicas[LOSER].status(group.now()).standing;
    assert_eq!(standing, crate::replica::Standing::Restarted);
    group.fate = Box::new(|_, given| Fate::Arrives(given));
    group.run(5_000);
    assert!(!group.replicas[LOSER].executor.is_lost());
    assert_eq!(group.given_by(LOSER), group.given_by(0));
}

/// Bodies that came before the snapshot did: no quota stays used up by what has run under it.
#[test]
fn bodies_of_requests_that_ran_under_the_snapshot_are_released() {
    let mut group = Group::after_a_loss();
    let context = group.replicas[LOSER].keyring.context();
    for number in [3, 99] {
        let request = request(number, body(&Command::put("x", "y")));
        let digest = request.digest(&context, &CLIENT);
        let held = Held {
            client: CLIENT,
            request,
            origin: Some(LINK),
            executed: false,
            logged: false,
            again: false,
        };
        group.replicas[LOSER].bodies.insert(digest, held);
    }
    group.recovered();
    assert_eq!(group.replicas[LOSER].status(group.now()).outstanding, 1, "number 99 is open");
}

#[test]
fn a_replica_that_can_follow_after_all_gives_up_the_transfer() {
    let mut group = Group::new(Quotas::default(), true);
    group.request(Bytes::new());
    group.run(10_000);
    let position = group.replicas[LOSER].executor.position();
    group.replicas[LOSER].behind(&mut Actions::new());
    group.run(5);
    assert!(group.replicas[LOSER].download.is_wanted(), "the others have nothing newer");
    group.run(3_000);
    assert!(!group.replicas[LOSER].download.is_wanted());
    assert!(group.replicas[LOSER].executor.position() > position);
    assert_eq!(group.events.iter().filter(|e| !matches!(e, Event::Stable { .. })).count(), 0);
}

#[test]
fn snapshots_are_kept_while_somebody_may_need_one_and_bodies_since_then_with_them() {
    let mut group = Group::new(Quotas::default(), false);
    group.request(Bytes::new());
    group.run(10_000);
    assert_eq!(group.counter(0, "snapshots_taken"), 0);
    let executed = group.replicas[0].bodies_needed_until();
    assert!(executed > Round(4), "all members have executed so much");
    group.replicas[0].shelf.always = true;
    assert_eq!(group.replicas[0].bodies_needed_until(), Round(0), "there is none yet");
    group.run(9_000);
    let newest = group.replicas[0].shelf.newest().unwrap();
    assert!(newest > executed && group.counter(0, "snapshots_taken") > 0);
    let needed = group.replicas[0].bodies_needed_until();
    assert_eq!(needed, Round(newest.0 - 4), "since the checkpoint before it");
    group.replicas[0].shelf.always = false;
    group.run(3_000);
    assert_eq!(group.replicas[0].shelf.newest(), None, "all are members again");
}

/// Asks for a state while others run, and takes in what is given once its bytes are made.
fn a_state_is_given_as_it_was_attested() {
    let mut group = Group::new(Quotas::default(), true);
    group.replicas.iter_mut().for_each(|r| r.maker = Maker::new(0));
    group.request(Bytes::new());
    let put = |n: u8| body(&Command::put(&[n], &[n; 1000]));
    for n in 0..30 {
        group.request(put(n));
    }
    let (asker, want) = (id(1), WantSnapshot { round: Round(0), piece: Piece::Offer });
    let frame = Frame::parse(want.to_frame(GroupId::MAIN).into()).unwrap();
    let newest = group.replicas[0].shelf.newest();
    let patience = 2 * group.replicas[0].timing.patience;
    group.input(0, Input::PeerFrame { peer: asker, frame: frame.clone() });
    assert_eq!(group.encoding.len(), 1, "it is not done at once");
    group.input(0, Input::PeerFrame { peer: asker, frame });
    assert_eq!(group.encoding.len(), 1, "it is being done");
    for n in 0..10 {
        group.request(put(n + 5));
    }
    assert!(group.replicas[0].shelf.newest() > newest, "there is a newer one");
    group.encode();
    let now = (group.now().monotonic, Some(patience));
    let shelf = &mut group.replicas[0].shelf;
    shelf.choose(asker, Round(0), (now.0, patience));
    let offer = shelf.offer(asker, Round(0), now);
    assert_eq!(Some(offer.round), newest, "what was made is given");
    let want = WantSnapshot { round: offer.round, piece: Piece::Chunk(0) };
    let part = shelf.part(asker, want, now);
    let keyring = &group.replicas[0].keyring;
    let (round, state) = proof::check(&offer.proof, keyring).unwrap();
    assert_eq!((round, offer.total), (offer.round, part.bytes.len() as u64));
    let snapshot = Snapshot::parse(&part.bytes).unwrap();
    let mut taker = replica(LOSER, Quotas::default(), true);
    taker.executor.restore(&snapshot, &state).expect("it is the state that was attested");
}

#[test]
fn a_state_whose_bytes_take_long_is_given_as_it_was_attested() {
    a_state_is_given_as_it_was_attested();
}

#[cfg(feature = "plant")]
#[test]
fn a_planted_state_that_follows_is_noticed() {
    use crate::types::plant::plant;
    plant(Some("s7-frozen-follows"));
    let caught = std::panic::catch_unwind(a_state_is_given_as_it_was_attested);
    plant(None);
    let why = caught.unwrap_err();
    let why = why.downcast_ref::<String>().expect("a message");
    assert!(why.contains(NOT_ATTESTED), "{why}");
}

/// Whoever has nobody to serve and no log to cut makes no bytes.
#[test]
fn no_bytes_are_made_that_nobody_wants() {
    let mut group = Group::new(Quotas::default(), true);
    group.replicas.iter_mut().for_each(|r| r.maker = Maker::new(0));
    group.request(Bytes::new());
    group.run(10_000);
    assert!(group.counter(0, "snapshots_taken") > 1 && group.replicas[0].shelf.newest().is_some());
    assert!(group.encoding.is_empty());
}

/// What is changed after a snapshot is copied, so none is taken while one is fetched; but who asks
/// for an offer only may need a newer one.
#[test]
fn no_other_snapshot_is_taken_while_parts_of_one_are_given() {
    let mut group = Group::new(Quotas::default(), true);
    for replica in &mut group.replicas {
        replica.shelf = Shelf::new(0);
        replica.shelf.always = true;
    }
    group.request(Bytes::new());
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        group.request(body(&Command::put(key, &[7; 60_000])));
    }
    group.run(10_000);
    let newest = group.replicas[0].shelf.newest().unwrap();
    let taken = |group: &Group| [0, 1].map(|i| group.counter(i, "snapshots_taken"));
    // A part or an offer as often as there may be a checkpoint, and what is taken meanwhile.
    let mut ask = |piece| {
        let before = taken(&group);
        for n in 0..8u8 {
            let want = WantSnapshot { round: newest, piece };
            let frame = Frame::parse(want.to_frame(GroupId::MAIN).into()).unwrap();
            group.input(0, Input::PeerFrame { peer: id(1), frame });
            group.request(body(&Command::put(&[n], &[n; 10])));
        }
        let after = taken(&group);
        [0, 1].map(|i| after[i] - before[i])
    };
    ask(Piece::Offer);
    let [asked, other] = ask(Piece::Chunk(0));
    assert!(asked == 0 && other > 1, "{asked} {other}");
    let [asked, other] = ask(Piece::Offer);
    assert!(asked > 0 && asked + 1 >= other, "{asked} {other}");
}

#[test]
fn a_snapshot_above_the_quota_is_not_kept() {
    let mut group = Group::new(Quotas { snapshot_bytes: 100, ..Quotas::default() }, true);
    group.run(10_000);
    assert!(group.counter(0, "snapshots_too_large") > 0);
    assert_eq!((group.counter(0, "snapshots_taken"), group.replicas[0].shelf.newest()), (0, None));
}
