//! Replicas whose results are not those of the others, and services that are not deterministic
//! (docs/protocol.md §6, B23). Messages are handed over by hand, in the order in which they come.

use bytes::Bytes;
use quorate::Service;
use quorate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, sha256};
use quorate::proof::{Divergence, DivergenceFile};
use quorate::replica::{Action, Actions, Event, Input, Replica, Setup, Standing, Status, Stored};
use quorate::service::kv::{Command, Kv, Output};
use quorate::service::{Frozen, RestoreError};
use quorate::types::plant::plant;
use quorate::types::{
    AgreedTime, ClientId, ClockKind, Digest, DiskState, Durability, Ensemble, GroupId, Instant,
    LinkId, Now, OrderLimits, Quotas, ReplicaId, Role, SessionId, Timing, Wall,
};
use quorate::wire::{
    CommandKind, Frame, Kind, Message, Note, NoteKind, Outcome, Replies, Request, RequestBody,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const CLIENT: ClientId = ClientId([7; 32]);
const LINK: LinkId = LinkId(1);
const SESSION: SessionId = SessionId(1);

/// In which way a service is wrong, from its n-th command on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Not,
    /// A value changes behind its back, once.
    Flip(u64),
    /// One output is wrong, once.
    Output(u64),
    /// All outputs are wrong, and no other state heals that.
    Broken(u64),
    /// All outputs depend on which replica it is.
    OwnOutputs(u64, u8),
    /// The state depends on which replica it is, and no output shows it.
    OwnState(u64, u8),
}

struct Faulty {
    wrong: Wrong,
    commands: u64,
    kv: Kv,
}

impl Service for Faulty {
    fn name(&self) -> &'static str {
        Kv::NAME
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.commands += 1;
        let (now, right) = (self.commands, self.kv.execute(time, client, command));
        let mut put = |value: String| {
            let command = Command::put("flipped", &value).encode();
            self.kv.execute(time, client, &command);
        };
        match self.wrong {
            Wrong::Output(at) if now == at => Output::Number(-77).encode(),
            Wrong::Broken(from) if now >= from => Output::Number(-77).encode(),
            Wrong::OwnOutputs(from, id) if now >= from => Output::Number(id.into()).encode(),
            Wrong::Flip(at) if now == at => {
                put("x".to_owned());
                right
            }
            Wrong::OwnState(at, id) if now == at => {
                put(format!("of {id}"));
                right
            }
            _ => right,
        }
    }

    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        self.kv.query(time, client, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.kv.snapshot()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.kv.freeze()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.kv.restore(snapshot)
    }

    fn digest(&mut self) -> Digest {
        self.kv.digest()
    }
}

/// All replicas of a group and one client.
struct Group {
    ensemble: Ensemble,
    replicas: Vec<Replica<Keyed>>,
    /// A bug that only this one has.
    bugs: Vec<Option<&'static str>>,
    ms: u64,
    number: u64,
    events: Vec<(usize, Event)>,
    evidence: Vec<(usize, DivergenceFile)>,
    /// What a replica wrote down when it halted for good.
    kept: BTreeMap<usize, String>,
    /// Who answered what to the last request.
    told: BTreeMap<usize, (Replies, Outcome)>,
    notes: Vec<(usize, NoteKind)>,
}

fn id(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

fn keyring(ensemble: Ensemble) -> Keyring<Keyed> {
    let key = |r: ReplicaId| Keyed::public(&Keyed::signer(&secret(r)));
    let keys = ensemble.replicas().map(key).collect();
    let context = Context { cluster: sha256(b"a cluster"), group: GroupId::MAIN };
    Keyring::new(context, ensemble, keys).expect("usable keys")
}

fn secret(replica: ReplicaId) -> SecretKey {
    SecretKey::from_seed([replica.number(); 32])
}

fn replica(ensemble: Ensemble, replica: ReplicaId, wrong: Wrong) -> Replica<Keyed> {
    let setup = Setup {
        inherited: None,
        id: replica,
        keyring: keyring(ensemble),
        signer: Keyed::signer(&secret(replica)),
        genesis: sha256(b"genesis"),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits { checkpoint_every: 8, ..OrderLimits::default() },
        quotas: Quotas::default(),
        seed: 1,
        incarnation: 1,
        disk: DiskState::New,
        recovered: Vec::new(),
        durability: Durability::None,
        stored: Stored::default(),
        fields: Vec::new(),
        encode_at_once: usize::MAX,
        trace: false,
    };
    let service = Faulty { wrong, commands: 0, kv: Kv::new() };
    Replica::new(setup, Box::new(service), Now::default())
}

impl Group {
    /// A group with these services, whose client has opened its session.
    fn new(services: &[Wrong]) -> Self {
        let ensemble = Ensemble::new((services.len() / 2) as u8).expect("2t + 1 services");
        let one = |(i, wrong): (usize, &Wrong)| replica(ensemble, id(i), *wrong);
        let mut group = Self {
            ensemble,
            replicas: services.iter().enumerate().map(one).collect(),
            bugs: vec![None; services.len()],
            ms: 1,
            number: 0,
            events: Vec::new(),
            evidence: Vec::new(),
            kept: BTreeMap::new(),
            told: BTreeMap::new(),
            notes: Vec::new(),
        };
        let n = ensemble.n();
        for i in 0..n {
            for j in (0..n).filter(|j| *j != i) {
                let (peer, hello) = (id(j), group.replicas[j].hello());
                group.input(i, Input::PeerUp { peer, hello });
            }
            group.input(i, Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        group.ask(Bytes::new());
        group
    }

    fn now(&self) -> Now {
        Now { monotonic: Instant(self.ms * 1_000_000), wall: Wall(self.ms * 1000) }
    }

    /// Gives an input and delivers all that follows from it.
    fn input(&mut self, to: usize, input: Input) {
        let mut waiting = VecDeque::from([(to, input)]);
        while let Some((i, input)) = waiting.pop_front() {
            let (now, mut out) = (self.now(), Actions::new());
            plant(self.bugs[i]);
            self.replicas[i].handle(now, input, &mut out);
            plant(None);
            for action in out {
                match action {
                    Action::ToPeer { peer, frame, .. } => {
                        let (peer, to) = (id(i), peer.index());
                        let frame = Frame::parse(frame).expect("a frame");
                        waiting.push_back((to, Input::PeerFrame { peer, frame }));
                    }
                    Action::ToClient { frame, .. } => self.hear(i, &frame),
                    Action::Persist { sequence, .. } => {
                        waiting.push_back((i, Input::Synced { sequence }));
                    }
                    Action::Event(event) => self.events.push((i, event)),
                    Action::Evidence { bytes, .. } => {
                        let file = DivergenceFile::parse(&bytes).expect("it can be read");
                        self.evidence.push((i, file));
                    }
                    Action::KeepHalted { words } => drop(self.kept.insert(i, words)),
                    Action::MarkKnown => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn hear(&mut self, from: usize, frame: &Bytes) {
        let frame = Frame::parse(frame.clone()).expect("a frame");
        match frame.kind {
            Kind::Replies => {
                let replies = Replies::from_body(&frame.body).expect("replies");
                let last = replies.replies.last().expect("at least one").clone();
                if last.number == self.number {
                    let outcome = Outcome::parse(&last.outcome).expect("an outcome");
                    self.told.insert(from, (replies, outcome));
                }
            }
            Kind::Note => {
                let note = Note::from_body(&frame.body).expect("a note");
                self.notes.push((from, note.kind));
            }
            _ => {}
        }
    }

    fn run(&mut self, ms: u64) {
        let until = self.ms + ms;
        while self.ms < until {
            self.ms += 5;
            for i in 0..self.replicas.len() {
                self.input(i, Input::Tick);
                self.input(i, Input::Drained);
            }
        }
    }

    /// Sends the client's next request to all, and gives what it may believe: what `t + 1` answer.
    fn ask(&mut self, body: Bytes) -> Option<Outcome> {
        self.told.clear();
        self.notes.clear();
        let number = self.number;
        let request = Request { session: SESSION, number, low: number.min(1), body };
        let frame = Frame::parse(request.to_frame(GroupId::MAIN).into()).expect("a frame");
        for i in 0..self.replicas.len() {
            let frames = vec![frame.clone()];
            self.input(i, Input::ClientFrames { link: LINK, frames });
        }
        self.run(60);
        self.number += 1;
        let votes = |one: &(Replies, Outcome)| {
            self.told.values().filter(|o| o.1 == one.1 && o.0.position == one.0.position).count()
        };
        let majority = self.ensemble.majority();
        self.told.values().find(|one| votes(one) >= majority).map(|one| one.1.clone())
    }

    fn incr(&mut self) -> Option<Outcome> {
        self.ask(body(&Command::incr("n", 1)))
    }

    /// Counts up so often; each time the client gets the right answer.
    fn count(&mut self, from: i64, to: i64) {
        for n in from..=to {
            assert_eq!(self.incr(), Some(number(n)), "{:?}", self.events.last());
        }
    }

    /// The same, with some time after each, in which states are fetched.
    fn count_slowly(&mut self, from: i64, to: i64) {
        for n in from..=to {
            self.count(n, n);
            self.run(200);
        }
    }

    fn status(&self, at: usize) -> Status {
        self.replicas[at].status(self.now())
    }

    fn standing(&self, at: usize) -> Standing {
        self.status(at).standing
    }

    fn count_events(&self, of: impl Fn(usize, &Event) -> bool) -> usize {
        self.events.iter().filter(|(at, event)| of(*at, event)).count()
    }

    /// Nobody but these was quarantined, and nobody has halted.
    fn only_these_were_quarantined(&self, these: &[usize]) {
        for (at, event) in &self.events {
            let ok = match event {
                Event::Quarantined { .. } => these.contains(at),
                Event::Halted { .. } | Event::Nondeterministic { .. } => false,
                _ => true,
            };
            assert!(ok, "R{} says {event:?}", at + 1);
        }
    }

    /// All have executed the same and give the same answers.
    fn all_are_equal(&mut self, next: i64) {
        assert_eq!(self.incr(), Some(number(next)));
        assert_eq!(self.told.len(), self.ensemble.n(), "all answer");
        assert!(self.told.values().all(|(_, outcome)| *outcome == number(next)));
        let of = |at: usize| (self.status(at).running, self.status(at).standing);
        let all: Vec<_> = (0..self.replicas.len()).map(of).collect();
        assert!(all.iter().all(|one| *one == all[0] && one.1 == Standing::Member), "{all:?}");
    }

    /// What all evidence shows that replicas keep.
    fn shown(&self) -> Vec<Divergence> {
        let ring = keyring(self.ensemble);
        let judge = |file: &DivergenceFile| file.judge(&ring).expect("it shows something");
        self.evidence.iter().map(|(_, file)| judge(file)).collect()
    }
}

fn body(command: &Command<'_>) -> Bytes {
    let bytes = command.encode().into();
    let command = quorate::wire::Command { kind: CommandKind::Execute, bytes };
    RequestBody { commands: vec![command] }.to_bytes()
}

fn number(n: i64) -> Outcome {
    Outcome::Executed(vec![Output::Number(n).encode().into()])
}

fn is_about(shown: &Divergence, whom: usize) -> bool {
    matches!(shown, Divergence::Minority { differ, .. } if differ.iter().eq([id(whom)]))
}

/// A value changes in one replica's memory. At the next checkpoint it finds itself in the minority,
/// answers nobody, takes up the others' state, and answers again, all by itself.
#[test]
fn whose_memory_flips_is_quarantined_and_comes_back_right() {
    for services in [
        vec![Wrong::Not, Wrong::Not, Wrong::Flip(3)],
        vec![Wrong::Not, Wrong::Flip(5), Wrong::Not, Wrong::Not, Wrong::Not],
    ] {
        let broken = services.iter().position(|w| *w != Wrong::Not).expect("one is");
        let mut group = Group::new(&services);
        let mut n = 0;
        while group.standing(broken) != Standing::Quarantined {
            n += 1;
            group.count(n, n);
            assert!(n < 20, "it is noticed at a checkpoint");
        }
        // It is one without a state now: it says so, and the others go on.
        n += 1;
        group.count(n, n);
        if group.standing(broken) == Standing::Quarantined {
            assert!(!group.told.contains_key(&broken), "it answers nobody");
            assert!(group.notes.contains(&(broken, NoteKind::Quarantined)));
        }
        group.count_slowly(n + 1, n + 20);
        assert_eq!(group.count_events(|at, e| at == broken && is_quarantine(e)), 1);
        assert_eq!(group.count_events(|at, e| at == broken && is_release(e)), 1);
        group.only_these_were_quarantined(&[broken]);
        group.all_are_equal(n + 21);
        let (shown, all) = (group.shown(), services.len());
        assert!(shown.len() >= all && shown.iter().all(|d| is_about(d, broken)), "{shown:?}");
        let place = &group.status(0).standings[broken];
        assert!(place.rolled, "it may have answered what it does not stand by any more");
        assert_eq!(group.status(broken).counters["quarantines"], 1);
        assert_eq!(group.status(0).counters["diverged"], 0, "that is over");
    }
}

fn is_quarantine(event: &Event) -> bool {
    matches!(event, Event::Quarantined { .. })
}

fn is_release(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

/// A wrong output shows at once, without a checkpoint.
#[test]
fn a_wrong_output_is_noticed_two_rounds_later() {
    let mut group = Group::new(&[Wrong::Output(2), Wrong::Not, Wrong::Not]);
    group.count(1, 3);
    let Some((0, Event::Quarantined { times: 1, .. })) =
        group.events.iter().find(|(_, event)| is_quarantine(event))
    else {
        panic!("{:?}", group.events);
    };
    group.count_slowly(4, 24);
    group.only_these_were_quarantined(&[0]);
    group.all_are_equal(25);
}

/// What cannot be healed is not tried for ever.
#[test]
fn a_broken_service_halts_after_three_quarantines_and_the_others_go_on() {
    let mut group = Group::new(&[Wrong::Not, Wrong::Broken(4), Wrong::Not]);
    group.count_slowly(1, 60);
    assert_eq!(group.count_events(|at, e| at == 1 && is_quarantine(e)), 3);
    assert_eq!(group.standing(1), Standing::Halted);
    let why = group.status(1).halted.expect("it says why");
    assert!(why.contains("3 times within an hour") && why.contains("broken"), "{why}");
    assert!(group.notes.contains(&(1, NoteKind::Halted)));
    assert!(group.kept.is_empty(), "another machine may do better: it may be started again");
    assert_eq!(group.count_events(|at, e| at != 1 && matches!(e, Event::Halted { .. })), 0);
}

/// All halt, nothing more is answered, and each names the first command with different results.
#[test]
fn a_service_that_is_not_deterministic_is_stopped_and_the_command_is_named() {
    for n in [3, 5] {
        let services: Vec<Wrong> = (0..n).map(|i| Wrong::OwnOutputs(3, i)).collect();
        let mut group = Group::new(&services);
        group.count(1, 2);
        assert_eq!(group.incr(), None, "no t + 1 answers are equal");
        assert_eq!(group.incr(), None);
        assert_eq!(group.ask(body(&Command::put("k", "v"))), None);
        assert!(group.told.is_empty(), "nobody answers any more");
        group.run(1000);
        for at in 0..usize::from(n) {
            assert_eq!(group.standing(at), Standing::Halted);
            let words = &group.kept[&at];
            assert_eq!(group.status(at).halted.as_ref(), Some(words), "status says it too");
            // The third command is the client's third request after the opening of its session.
            assert!(words.contains("the service is not deterministic"), "{words}");
            assert!(words.contains(", number 3 of session"), "{words}");
            assert!(words.contains(": incr n 1; "), "{words}");
            for other in 0..usize::from(n) {
                assert!(words.contains(&format!("{} gave ", id(other))), "{words}");
            }
            let named = |e: &Event| matches!(e, Event::Nondeterministic { .. });
            assert_eq!(group.count_events(|of, e| of == at && named(e)), 1);
        }
        let shown = group.shown();
        assert!(shown.iter().any(|d| matches!(d, Divergence::Split { .. })), "{shown:?}");
    }
}

/// Where no output shows it the next checkpoint does: the command is to be found offline.
#[test]
fn states_that_differ_stop_all_and_say_where_to_look() {
    let services: Vec<Wrong> = (0..3).map(|i| Wrong::OwnState(12, i)).collect();
    let mut group = Group::new(&services);
    let mut n = 0;
    while group.incr() == Some(number(n + 1)) {
        n += 1;
        assert!(n < 30, "it is noticed at a checkpoint");
    }
    group.run(1000);
    for at in 0..3 {
        let words = &group.kept[&at];
        assert!(words.contains("states after round"), "{words}");
        assert!(words.contains("quorate replay") && words.contains("t + 1 agree on"), "{words}");
    }
}

/// A single replica that attests what it likes, all the time, puts nobody out and stops nobody;
/// not when one of five is broken besides, which is healed.
#[test]
fn a_liar_neither_quarantines_nor_stops_anybody() {
    const LIAR: &str = "s6-attests-garbage+s6-quarantine-answers";
    for services in
        [vec![Wrong::Not; 3], vec![Wrong::Not, Wrong::Not, Wrong::Flip(4), Wrong::Not, Wrong::Not]]
    {
        let mut group = Group::new(&services);
        group.bugs[0] = Some(LIAR);
        group.count_slowly(1, 30);
        let broken: Vec<usize> =
            (0..services.len()).filter(|i| services[*i] != Wrong::Not).collect();
        group.only_these_were_quarantined(&broken);
        let healed = group.count_events(|_, event| is_release(event));
        assert_eq!(healed, broken.len());
        // What it attests is contradicted, under its signature, by t + 1.
        let shown = group.shown();
        assert!(shown.iter().any(|d| is_about(d, 0)), "{shown:?}");
        let by_one = group.evidence.iter().filter(|(at, _)| *at == 1).count();
        assert!(by_one <= 8 * (1 + broken.len()), "{by_one} files");
    }
}

/// The tests notice what they are for.
#[test]
fn planted_bugs_of_quarantines_are_noticed() {
    // With t that agree, a liar puts a good one out.
    let mut group = Group::new(&[Wrong::Not; 3]);
    group.bugs[0] = Some("s6-attests-garbage+s6-quarantine-answers");
    group.bugs[1] = Some("s6-compares-with-t");
    group.bugs[2] = Some("s6-compares-with-t");
    (0..12).for_each(|_| drop(group.incr()));
    assert!(group.count_events(|at, event| at > 0 && is_quarantine(event)) > 0);
    // One that keeps its state is never right again.
    let mut group = Group::new(&[Wrong::Not, Wrong::Not, Wrong::Output(3)]);
    group.bugs[2] = Some("s6-quarantine-answers");
    group.count(1, 30);
    assert_eq!(group.count_events(|_, event| is_quarantine(event)), 0);
    assert!(group.told.contains_key(&2), "it goes on answering");
    assert_ne!(group.status(2).running, group.status(0).running);
}
