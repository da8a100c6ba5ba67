//! Disks looked at without their replicas: surveys, executing again, snapshots as files.
//!
//! The disks are those of three replicas that are driven here by hand, without a network: what one
//! sends the other gets at once, and what is written is durable at once.

use bytes::Bytes;
use quorate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, Unverified, sha256};
use quorate::daemon::check_determinism;
use quorate::offline::{
    Backup, BackupError, Judge, Kind, Listed, Lockstep, LogSurvey, Player, Problem, Watch, survey,
};
use quorate::replica::{Action, Actions, Input, OpenedSnapshot, Replica, Setup, Stored};
use quorate::service::kv::{Command, Kv};
use quorate::service::{RestoreError, Service};
use quorate::storage::{Disk, Entry, Limits, Log, MemoryDisk, Options, Overlay, Position, Space};
use quorate::types::plant::plant;
use quorate::types::{
    AgreedTime, ClientId, ClockKind, Digest, DiskState, Durability, Ensemble, Epoch, GroupId,
    Instant, LinkId, Now, OrderLimits, Quotas, ReplicaId, Role, SessionId, Timing, Wall,
};
use quorate::wire::{
    Command as Asked, CommandKind, Frame, LogEntry, Message, Request, RequestBody,
};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const LINK: LinkId = LinkId(1);
const CLIENT: ClientId = ClientId([9; 32]);

type Make = fn() -> Box<dyn Service>;

fn secret(index: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(index).unwrap() + 1; 32])
}

fn context() -> Context {
    Context { cluster: sha256(b"a cluster"), group: GroupId::MAIN }
}

fn keyring() -> Keyring<Keyed> {
    let keys = (0..3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    Keyring::new(context(), Ensemble::new(1).unwrap(), keys).unwrap()
}

fn limits() -> OrderLimits {
    OrderLimits { checkpoint_every: 4, ..OrderLimits::default() }
}

fn setup(index: usize, stored: Stored, seed: u64) -> Setup<Keyed> {
    Setup {
        inherited: None,
        encode_at_once: quorate::replica::ENCODE_AT_ONCE,
        id: ReplicaId::from_index(index),
        keyring: keyring(),
        signer: Keyed::signer(&secret(index)),
        genesis: sha256(b"genesis"),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: limits(),
        quotas: Quotas { log_bytes: 20_000, ..Quotas::default() },
        seed,
        incarnation: 1,
        disk: DiskState::New,
        recovered: Vec::new(),
        durability: Durability::Reply,
        stored,
        fields: Vec::new(),
        trace: false,
    }
}

/// What one replica has written.
#[derive(Default)]
struct Written {
    log: Vec<Bytes>,
    snapshot: Option<(u64, Bytes, Bytes)>,
}

impl Written {
    /// As a start would find it from the beginning, or from its snapshot.
    fn stored(&self, from_snapshot: bool) -> Stored {
        let snapshot = self.snapshot.as_ref().filter(|_| from_snapshot);
        let first = snapshot.map_or(0, |(first, ..)| *first);
        Stored {
            snapshot: snapshot.map(|(_, head, state)| (head.clone(), state.clone())),
            first,
            log: self.log[usize::try_from(first).unwrap()..].to_vec(),
            next: self.log.len() as u64,
            damage: None,
        }
    }
}

struct Group {
    replicas: Vec<Replica<Keyed>>,
    written: Vec<Written>,
    ms: u64,
    number: u64,
}

impl Group {
    fn new(make: Make) -> Self {
        let now = Now::default();
        let replica = |i| Replica::new(setup(i, Stored::default(), 5), make(), now);
        let replicas: Vec<_> = (0..3).map(replica).collect();
        let written = (0..3).map(|_| Written::default()).collect();
        let mut group = Self { replicas, written, ms: 1, number: 0 };
        for at in 0..3 {
            for to in (0..3).filter(|to| *to != at) {
                let (peer, hello) = (ReplicaId::from_index(to), group.replicas[to].hello());
                group.input(at, Input::PeerUp { peer, hello });
            }
            group.input(at, Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        group.request(Bytes::new());
        group
    }

    /// A group that has executed these commands, one a request, and rests.
    fn after(make: Make, commands: &[Vec<u8>]) -> Self {
        let mut group = Self::new(make);
        for command in commands {
            let asked = Asked { kind: CommandKind::Execute, bytes: command.clone().into() };
            group.request(RequestBody { commands: vec![asked] }.to_bytes());
        }
        group.run(8_000);
        group
    }

    fn input(&mut self, to: usize, input: Input) {
        let mut waiting = VecDeque::from([(to, input)]);
        while let Some((i, input)) = waiting.pop_front() {
            let now = Now { monotonic: Instant(self.ms * 1_000_000), wall: Wall(self.ms * 1000) };
            let mut out = Actions::new();
            self.replicas[i].handle(now, input, &mut out);
            for action in out {
                match action {
                    Action::ToPeer { peer, frame, .. } => {
                        let (from, frame) =
                            (ReplicaId::from_index(i), Frame::parse(frame).unwrap());
                        waiting.push_back((peer.index(), Input::PeerFrame { peer: from, frame }));
                    }
                    Action::Persist { sequence, .. } => {
                        waiting.push_back((i, Input::Synced { sequence }));
                    }
                    Action::Append { sequence, entries, .. } => {
                        self.written[i].log.extend(entries);
                        waiting.push_back((i, Input::Synced { sequence }));
                    }
                    Action::Save { sequence, first, head, state, .. } => {
                        self.written[i].snapshot = Some((first, head, state));
                        waiting.push_back((i, Input::Synced { sequence }));
                    }
                    Action::ToClient { .. } | Action::Event(_) | Action::MarkKnown => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn run(&mut self, ms: u64) {
        let until = self.ms + ms;
        while self.ms < until {
            self.ms += 5;
            (0..3).for_each(|i| self.input(i, Input::Drained));
        }
    }

    fn request(&mut self, body: Bytes) {
        let (session, number, low) = (SessionId(7), self.number, self.number.max(1));
        self.number += 1;
        let frame = Request { session, number, low, body }.to_frame(GroupId::MAIN);
        for i in 0..3 {
            let frames = vec![Frame::parse(frame.clone().into()).unwrap()];
            self.input(i, Input::ClientFrames { link: LINK, frames });
        }
        self.run(100);
    }
}

fn kv() -> Box<dyn Service> {
    Box::new(Kv::new())
}

fn puts(n: u32) -> Vec<Vec<u8>> {
    (0..n).map(|i| Command::put(&format!("k{}", i % 7), &i.to_string()).encode()).collect()
}

fn player(stored: Stored, service: Box<dyn Service>, watch: Watch) -> Player<Keyed> {
    Player::new(setup(0, stored, 1), service, watch).unwrap()
}

/// What a group has logged, with what attests a state and that state, for other tests.
pub fn written() -> (Vec<Bytes>, Bytes, Bytes) {
    let group = Group::after(kv, &puts(40));
    let written = &group.written[0];
    let (_, head, state) = written.snapshot.clone().expect("the log has grown enough for one");
    (written.log.clone(), head, state)
}

/// What each replica of a group has logged, for other tests.
pub fn logs() -> Vec<Vec<Bytes>> {
    Group::after(kv, &puts(60)).written.into_iter().map(|written| written.log).collect()
}

fn play(player: &mut Player<Keyed>) -> u64 {
    std::iter::from_fn(|| player.next()).count() as u64
}

#[test]
fn a_log_is_executed_again_to_the_roots_that_were_attested() {
    let group = Group::after(kv, &puts(40));
    let now = Now { monotonic: Instant(group.ms * 1_000_000), wall: Wall(group.ms * 1000) };
    let status = group.replicas[0].status(now);
    let written = &group.written[0];
    assert!(written.snapshot.is_some(), "the log has grown enough for one");
    let mut whole = player(written.stored(false), kv(), Watch::NOTHING);
    let mut rest = player(written.stored(true), kv(), Watch::NOTHING);
    let (all, later) = (play(&mut whole), play(&mut rest));
    assert!(rest.began().0 > 0 && later < all, "{later} of {all} steps are behind the snapshot");
    for player in [&whole, &rest] {
        assert_eq!(player.failed(), None);
        assert_eq!(player.running().to_hex(), status.running);
        assert_eq!(player.position().round.0, status.executed_round);
        assert_eq!((player.executed(), player.lacking()), (status.executed, 0));
        let attested = player.attested();
        assert_eq!((attested.refuted, attested.dissenters.len()), (None, 0));
        // What was executed last is attested in rounds that are not there yet.
        assert!(attested.roots.unwrap().0 + 3 > status.executed_round, "{attested:?}");
        assert!(attested.checkpoint.unwrap().0 + 8 > status.executed_round, "{attested:?}");
    }
    assert_eq!(whole.service_digest(), rest.service_digest());
    let mut both = Kv::new();
    puts(40).iter().for_each(|c| drop(both.execute(AgreedTime(1), &CLIENT, c)));
    assert_eq!(whole.service_digest(), both.digest());
}

/// A key-value store that goes wrong at one command: what a broken machine does.
struct Wrong {
    kv: Kv,
    at: Vec<u8>,
    in_output: bool,
}

impl Service for Wrong {
    fn name(&self) -> &'static str {
        Kv::NAME
    }
    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        let mut output = self.kv.execute(time, client, command);
        if command == self.at && self.in_output {
            output.push(0);
        } else if command == self.at {
            self.kv.execute(time, client, &Command::put("x", "y").encode());
        }
        output
    }
    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.kv.query(time, client, command)
    }
    fn snapshot(&self) -> Vec<u8> {
        self.kv.snapshot()
    }
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.kv.restore(snapshot)
    }
    fn digest(&mut self) -> Digest {
        self.kv.digest()
    }
}

#[test]
fn the_first_command_that_differs_is_named_and_refuted_by_what_was_signed() {
    let commands = puts(20);
    let group = Group::after(kv, &commands);
    for (in_output, what) in [(true, "the output"), (false, "the state behind it")] {
        let wrong = Wrong { kv: Kv::new(), at: commands[11].clone(), in_output };
        let right = player(group.written[0].stored(false), kv(), Watch::DIGESTS);
        let wrong = player(group.written[1].stored(false), Box::new(wrong), Watch::DIGESTS);
        let (mut both, mut lockstep) = ([right, wrong], Lockstep::new());
        let difference = loop {
            let which = lockstep.needs().unwrap();
            let step = both[which].next().expect("they differ before the end");
            if let Some(found) = lockstep.take(which, step) {
                break found;
            }
        };
        assert_eq!(difference.what, what);
        let (number, command) = difference.command.expect("it is a command that differs");
        assert_eq!((number, &command[..]), (0, &commands[11][..]));
        assert_eq!(difference.request.unwrap().number, 12);
        for player in &mut both {
            play(player);
        }
        assert_eq!(both[0].attested().refuted, None);
        let refuted = both[1].attested().refuted.expect("all have signed something else");
        // A root tells of outputs at once, the state only of checkpoints.
        assert!(refuted.0 >= difference.round, "{refuted:?}");
        assert_eq!(both[1].attested().dissenters.len(), 3);
    }
}

/// A service with a random hash map, which must not be: its answers or its snapshots depend on
/// the seed.
#[derive(Default)]
struct Random {
    set: HashMap<Vec<u8>, ()>,
    honest_answers: bool,
}

impl Random {
    fn listed(&self, in_order: bool) -> Vec<u8> {
        let mut keys: Vec<&[u8]> = self.set.keys().map(Vec::as_slice).collect();
        if in_order {
            keys.sort_unstable();
        }
        keys.concat()
    }
}

impl Service for Random {
    fn name(&self) -> &'static str {
        "random"
    }
    fn execute(&mut self, _: AgreedTime, _: &ClientId, command: &[u8]) -> Vec<u8> {
        if command != b"list" {
            self.set.insert(command.to_vec(), ());
            return Vec::new();
        }
        self.listed(self.honest_answers)
    }
    fn query(&self, _: AgreedTime, _: &ClientId, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn snapshot(&self) -> Vec<u8> {
        self.listed(false)
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Err(RestoreError("not for this test".to_owned()))
    }
    fn digest(&mut self) -> Digest {
        sha256(&self.listed(true))
    }
}

#[test]
fn a_service_that_is_not_deterministic_is_caught_at_its_first_command() {
    // The more of them there are, the less can two orders be the same by chance.
    let mut commands: Vec<Vec<u8>> = (0..20u8).map(|i| vec![b'a' + i]).collect();
    commands.push(b"list".to_vec());
    commands.push(b"z".to_vec());
    let runs = |honest_answers: bool| {
        let random = Random { honest_answers, ..Random::default() };
        // What was once answered and attested does not matter here.
        let group = Group::after(kv, &commands);
        let stored = group.written[0].stored(false);
        let make = move |seed| {
            let service = Random { honest_answers: random.honest_answers, ..Random::default() };
            Ok(Player::new(setup(0, stored.clone(), seed), Box::new(service), Watch::ALL).unwrap())
        };
        check_determinism::<Keyed>(&make).unwrap()
    };
    let difference = runs(false).difference.expect("two random orders of twenty");
    assert!(["the output", "the service's snapshot"].contains(&difference.what));
    let difference = runs(true).difference.expect("a snapshot in a random order");
    assert_eq!(difference.what, "the service's snapshot");
}

#[test]
fn a_service_that_is_deterministic_is_not_accused() {
    let group = Group::after(kv, &puts(30));
    let stored = group.written[2].stored(true);
    let make =
        move |seed| Ok(Player::new(setup(2, stored.clone(), seed), kv(), Watch::ALL).unwrap());
    let runs = check_determinism::<Keyed>(&make).unwrap();
    assert_eq!((runs.difference, runs.failed), (None, None));
    assert!(runs.compared.0 > 10 && runs.compared.1 > 0, "{:?}", runs.compared);
}

fn options() -> Options {
    let limits = Limits { segment_bytes: 8 << 20, record_bytes: 4 << 20, reserve_bytes: 8 << 20 };
    let (owner, secret) = (Digest([1; 32]), Digest([2; 32]));
    Options { owner, secret, first: Position(0), known: Position(0), limits }
}

/// A disk with these entries.
fn disk(entries: &[Bytes]) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = Log::open(&mut disk, options(), &mut |_| {}).unwrap();
    for payload in entries {
        let entry = Entry { kind: payload[0], payload };
        log.append(&mut disk, &[entry], Space::Ordinary).unwrap();
    }
    log.sync(&mut disk).unwrap();
    log.mark(&mut disk).unwrap();
    disk
}

fn look(disk: MemoryDisk, visit: &mut dyn FnMut(&Listed)) -> LogSurvey {
    let keyring = keyring();
    let judge = Judge::new(&keyring, limits().max_candidates);
    survey(&mut Overlay::new(disk), options(), context(), Some(judge), visit).unwrap()
}

#[test]
fn a_log_is_surveyed_entry_by_entry() {
    let commands = puts(12);
    let group = Group::after(kv, &commands);
    let log = &group.written[0].log;
    let mut asked = Vec::new();
    let found = look(disk(log), &mut |listed| {
        for (_, body, request) in &listed.requests {
            assert_eq!((listed.kind, body.client), (Kind::Bodies, CLIENT));
            let body = RequestBody::parse(&request.as_ref().unwrap().body);
            asked.extend(body.into_iter().flat_map(|body| body.commands));
        }
    });
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.found.records, log.len() as u64);
    let asked: Vec<&[u8]> = asked.iter().map(|c| &c.bytes[..]).collect();
    assert_eq!(asked, commands.iter().map(Vec::as_slice).collect::<Vec<_>>());
    // The first request opens the session.
    assert_eq!((found.requests.entries, found.commands), (13, 12));
    let vectors = found.kinds[&Kind::Vector];
    let (first, last) = found.rounds.unwrap();
    assert_eq!((first.0, last.0, found.epochs), (1, vectors.entries, 1));
    assert_eq!(found.signatures, 3 * vectors.entries);
    assert_eq!(found.kinds[&Kind::Bodies].entries, 13);
    assert!(found.chain.is_some() && found.found.damages.is_empty());
}

#[test]
fn what_is_broken_on_the_disk_is_told_with_its_place() {
    let group = Group::after(kv, &puts(6));
    let log = &group.written[0].log;
    let mut broken = disk(log);
    let file = broken.list().unwrap().pop().unwrap();
    let middle = broken.length(&file).unwrap() / 2;
    assert!(broken.flip(&file, middle, 3));
    let mut places = Vec::new();
    let found = look(broken, &mut |listed| places.push(listed.place.0));
    assert!(!found.is_sound());
    let [damage] = &found.found.damages[..] else { panic!("{:?}", found.found.damages) };
    assert!(damage.file == file && damage.offset <= middle);
    // All but what is lost is read.
    assert_eq!(places.len() + 1, log.len());
    assert!(!places.contains(&damage.first.0));
}

#[test]
fn entries_that_nobody_signed_or_that_certify_nothing_are_told() {
    let group = Group::after(kv, &puts(6));
    let log = &group.written[0].log;
    let is_vector = |entry: &Bytes| matches!(LogEntry::parse(entry), Ok(LogEntry::Vector(_)));
    let place = log.iter().rposition(is_vector).unwrap();
    let Ok(LogEntry::Vector(good)) = LogEntry::parse(&log[place]) else { panic!("it is one") };
    let problems = |entry: LogEntry| {
        let mut log = log.clone();
        log[place] = entry.to_bytes().into();
        let found = look(disk(&log), &mut |_| {});
        assert!(found.problems.iter().all(|(at, _)| at.0 == place as u64));
        found.problems.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
    };
    assert_eq!(problems(LogEntry::Vector(good.clone())), []);
    let replica = ReplicaId::from_index(1);
    let mut forged = good.clone();
    let mut proposal = forged[1].peek().clone();
    proposal.now += 1;
    forged[1] = Unverified::new(proposal, *good[1].signature());
    assert_eq!(problems(LogEntry::Vector(forged.clone())), [Problem::Signature { replica }]);
    let mut otherwise = good.clone();
    let mut proposal = otherwise[1].peek().clone();
    proposal.choice[0] = Digest([1; 32]);
    otherwise[1] = Unverified::new(proposal, *good[1].signature());
    let both = [Problem::Signature { replica }, Problem::ChoosesOtherwise { replica }];
    assert_eq!(problems(LogEntry::Vector(otherwise)), both);
    let fewer = good[..2].to_vec();
    assert_eq!(problems(LogEntry::Vector(fewer)), [Problem::NotComplete]);
    // Executing it stops there, too.
    let mut stored = group.written[0].stored(false);
    stored.log[place] = LogEntry::Vector(forged).to_bytes().into();
    let mut stopped = player(stored, kv(), Watch::NOTHING);
    play(&mut stopped);
    assert!(stopped.failed().unwrap().contains(&format!("entry {place} of the log")));
}

#[test]
fn a_snapshot_is_made_from_the_log_and_believed_only_as_it_was_attested() {
    let group = Group::after(kv, &puts(20));
    let mut player = player(group.written[0].stored(false), kv(), Watch::NOTHING);
    player.keep_snapshots();
    play(&mut player);
    let (head, state) = player.attested_snapshot().expect("a checkpoint every four rounds");
    let opened = OpenedSnapshot::parse(&head, &state).unwrap();
    // What the last vector attests counts for a snapshot once that is committed.
    let last = player.attested().checkpoint.unwrap();
    assert!((last.0 - 4..=last.0).contains(&opened.position().round.0), "{last}");
    let attested = opened.proven(&keyring()).unwrap();
    assert_eq!(opened.gives(&attested, kv(), limits()), Ok(()));
    assert_eq!((opened.attestations.len(), opened.sessions(&limits())), (2, Some(1)));
    let mut store = Kv::new();
    store.restore(opened.service()).unwrap();
    assert_eq!(store.get(b"k0"), Some(&b"14"[..]));

    // Another roster, too few, other bytes.
    let keys = (3..6).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let others = Keyring::<Keyed>::new(context(), Ensemble::new(1).unwrap(), keys).unwrap();
    assert!(opened.proven(&others).is_err());
    let mut bytes = state.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = OpenedSnapshot::parse(&head, &bytes.into()).unwrap();
    assert!(forged.gives(&attested, kv(), limits()).is_err());

    let backup = Backup { cluster: context().cluster, head, state };
    let bytes = backup.to_bytes();
    assert_eq!(Backup::parse(&bytes.clone().into()), Ok(backup));
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 0x20;
        assert!(Backup::parse(&bad.into()).is_err(), "byte {place}");
    }
    for length in [0, 7, 8, 11, 12, 43, 44, 48, bytes.len() - 32, bytes.len() - 1] {
        let cut = Bytes::copy_from_slice(&bytes[..length]);
        assert!(Backup::parse(&cut).is_err(), "{length} bytes");
    }
    let longer = [&bytes[..], b"x"].concat();
    let refused = Backup::parse(&longer.into());
    assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
}

#[test]
fn what_was_given_up_is_not_executed_again() {
    let group = Group::after(kv, &puts(20));
    let log = &group.written[0].log;
    let ends_at = |log: &[Bytes]| {
        let stored = Stored { log: log.to_vec(), next: log.len() as u64, ..Stored::default() };
        let mut player = player(stored, kv(), Watch::NOTHING);
        play(&mut player);
        assert_eq!(player.failed(), None);
        (player.position(), player.running())
    };
    let is_vector = |entry: &Bytes| matches!(LogEntry::parse(entry), Ok(LogEntry::Vector(_)));
    let half = (log.len() / 2..).find(|place| is_vector(&log[*place])).unwrap();
    let (kept, all) = (ends_at(&log[..half]), ends_at(log));
    assert!(kept.0.round < all.0.round);
    let epoch = Epoch { resets: 1, ..Epoch::GENESIS };
    let undone = LogEntry::Undone { from: half as u64, epoch }.to_bytes();
    let mut given_up = log.clone();
    given_up.push(undone.into());
    assert_eq!(ends_at(&given_up), kept);
    plant(Some("s7-undone-is-read"));
    let read = ends_at(&given_up);
    plant(None);
    assert_eq!(read, all, "the planted mistake is noticed");
    // The others went on with the same vectors after all: they come behind it, and the requests
    // of what was given up are still there.
    let again = log[half..].iter().filter(|entry| is_vector(entry));
    given_up.extend(again.cloned());
    assert_eq!(ends_at(&given_up), all);
}
