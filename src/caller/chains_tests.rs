//! Step tables of the client of several chains. The master's group is played here: it answers at
//! once, if `master` is set, with the configurations of `said`.

use super::*;
use crate::caller::{Answer, Mode, Setup};
use crate::config::{ChainEntry, Share};
use crate::crypto::Context;
use crate::service::kv;
use crate::types::{ClientId, Digest, Ensemble, OrderLimits, Round, SessionId};
use crate::wire::{
    ChainAnswer, ChainConfig, ChainMember, ChainQuery, FrameDecoder, Hello, Kind, Message, Outcome,
    PROTOCOL_VERSION, Replies, Reply, Request, RequestBody, StepPosition,
};
use bytes::Bytes;
use std::time::Duration;

const MS: u64 = 1_000_000;
/// Slots 976 and 152: chain 1 and chain 0.
const ONE: &str = "colour";
const ZERO: &str = "a";

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn config(number: u64, members: &[u8]) -> ChainConfig {
    let member = |m: &u8| ChainMember { replica: r(*m), incarnation: 1 };
    ChainConfig { number, members: members.iter().map(member).collect(), joining: None }
}

fn setup() -> ChainsSetup {
    let chain = |chain: u32| ChainSetup {
        setup: Setup {
            ordered: false,
            assurance: crate::types::Assurance::Majority,
            mode: Mode::Vote,
            ensemble: Ensemble::new(1).unwrap(),
            roster: 3,
            context: Context { cluster: Digest([9; 32]), group: GroupId::of_chain(chain) },
            client: ClientId([5; 32]),
            session: SessionId(70 + u64::from(chain)),
            limits: OrderLimits::default(),
            repeat_after: Duration::from_millis(160),
            repeat_cap: Duration::from_millis(400),
            timeout: Duration::from_millis(3000),
            receipts: None,
            pipeline: 1,
            gather: Duration::ZERO,
        },
        master: GroupId::MAIN,
        chain,
        reads_any: false,
        ask_every: Duration::from_millis(1000),
    };
    let share = |number: u32| {
        let slots = [(0, 511), (512, 1023)][number as usize];
        ChainEntry { number, share: Share::Slots(vec![slots]), length: 2, members: Vec::new() }
    };
    ChainsSetup {
        chains: vec![chain(0), chain(1)],
        map: KeyMap::new(&[share(0), share(1)]),
        touches: TouchesOf::built_in("kv").unwrap(),
    }
}

#[derive(Clone, Debug)]
enum Sent {
    Update(Request),
    Query(ChainQuery),
}

struct World {
    caller: ChainsCaller,
    now: u64,
    sent: Vec<(u8, u32, Sent)>,
    done: Vec<(u64, Result<Answer, CallError>)>,
    closed: Vec<u8>,
    master: bool,
    /// What the master says of chain 0 and of chain 1.
    said: [ChainConfig; 2],
    /// The chains that it was asked about, one entry a question to R1.
    asked: Vec<Vec<u32>>,
}

impl World {
    /// All links are up. Chain 0 is R1 > R2, chain 1 R2 > R3, and the client knows it.
    fn new() -> Self {
        let mut w = Self {
            caller: ChainsCaller::new(setup(), Instant(0)),
            now: 0,
            sent: vec![],
            done: vec![],
            closed: vec![],
            master: true,
            said: [config(3, &[1, 2]), config(5, &[2, 3])],
            asked: vec![],
        };
        (1..=3).for_each(|i| w.up(i));
        w.input(Input::Drained);
        w
    }

    fn up(&mut self, i: u8) {
        let (cluster, fields, groups) = (Digest([9; 32]), vec![], vec![]);
        let (version, incarnation, restarted) = (PROTOCOL_VERSION, 1, false);
        let replica = r(i);
        let hello = Hello { version, cluster, replica, incarnation, restarted, fields, groups };
        self.input(Input::Up { replica, hello });
    }

    fn input(&mut self, input: Input) {
        let mut out = Actions::new();
        self.caller.handle(Instant(self.now * MS), input, &mut out);
        for action in out {
            match action {
                Action::Send { replica, frame } => self.take(replica, frame),
                Action::Receipt { token, result } => panic!("{token:?}: {result:?}"),
                Action::Done { token, result } => self.done.push((token.0, result)),
                Action::Close { replica, .. } => self.closed.push(replica.number()),
                Action::Numbered { .. } | Action::Over { .. } => {}
            }
        }
    }

    fn take(&mut self, to: ReplicaId, bytes: Bytes) {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let mut asked = vec![];
        while let Some(frame) = decoder.next_frame().unwrap() {
            match (frame.group.chain(), frame.kind) {
                (None, _) => asked.push(Request::from_body(&frame.body).unwrap()),
                (Some(chain), Kind::Request) => {
                    let update = Sent::Update(Request::from_body(&frame.body).unwrap());
                    self.sent.push((to.number(), chain, update));
                }
                // What names a session is looked at in the tests of one chain.
                (Some(_), Kind::ChainSession) => {}
                (Some(chain), _) => {
                    let query = Sent::Query(ChainQuery::from_body(&frame.body).unwrap());
                    self.sent.push((to.number(), chain, query));
                }
            }
        }
        for request in asked {
            self.master_answers(to, &request);
        }
    }

    fn master_answers(&mut self, from: ReplicaId, request: &Request) {
        let mut chains = vec![];
        let mut outcome = Outcome::Opened;
        if request.number > 0 {
            let body = RequestBody::parse(&request.body).unwrap();
            let answer = |c: &Command| {
                let asked = master::Command::parse(&c.bytes).unwrap();
                chains.push(asked.chain());
                assert_eq!(asked, master::Command::Show { chain: asked.chain() });
                let config = self.said[asked.chain() as usize].clone();
                let (wanted, down, replicas) = (2, false, vec![]);
                master::Answer::Chain { config, wanted, down, replicas }.encode().into()
            };
            outcome = Outcome::Executed(body.commands.iter().map(answer).collect());
            if from == r(1) {
                self.asked.push(chains);
            }
        }
        if self.master {
            self.reply(from.number(), GroupId::MAIN, request, &outcome);
        }
    }

    fn reply(&mut self, i: u8, group: GroupId, request: &Request, outcome: &Outcome) {
        let position = StepPosition { round: Round(9), vector: Digest::ZERO };
        let (session, number, outcome) = (request.session, request.number, outcome.to_bytes());
        let replies = vec![Reply { session, number, index: 0, outcome }];
        self.frame(i, Replies { position, rolled: false, replies }.to_frame(group));
    }

    fn frame(&mut self, i: u8, bytes: Vec<u8>) {
        let frames = vec![Frame::parse(bytes.into()).unwrap()];
        self.input(Input::Frames { replica: r(i), frames });
        self.input(Input::Drained);
    }

    fn call(&mut self, token: u64, commands: &[kv::Command<'_>]) {
        let command = |c: &kv::Command<'_>| {
            let reads = c.is_read_only();
            let kind = if reads { CommandKind::Query } else { CommandKind::Execute };
            Command { kind, bytes: c.encode().into() }
        };
        let commands = commands.iter().map(command).collect();
        self.input(Input::Call { token: Token(token), commands, coalesce: true });
        self.input(Input::Drained);
    }

    /// Takes what was sent to somebody of a chain last, which must be an update.
    fn update(&mut self, to: u8, chain: u32) -> Request {
        let place = self.sent.iter().rposition(|(t, c, _)| (*t, *c) == (to, chain));
        let found = place.unwrap_or_else(|| panic!("nothing to R{to} of {chain}: {:?}", self.sent));
        match self.sent.remove(found).2 {
            Sent::Update(request) => request,
            Sent::Query(query) => panic!("{query:?}"),
        }
    }

    fn executed(&mut self, i: u8, chain: u32, request: &Request) {
        let group = GroupId::of_chain(chain);
        let outcome = match request.number {
            0 => Outcome::Opened,
            _ => Outcome::Executed(vec![kv::Output::Done.encode().into()]),
        };
        self.reply(i, group, request, &outcome);
    }

    fn tick(&mut self, later: u64) {
        self.now += later;
        self.input(Input::Tick);
        self.input(Input::Drained);
    }

    fn result(&self, token: u64) -> Option<&Result<Answer, CallError>> {
        self.done.iter().find(|(t, _)| *t == token).map(|(_, result)| result)
    }
}

/// CH-K1: each chain has a session of its own at its own head, and one that is silent holds up
/// nothing of the other.
#[test]
fn calls_go_to_the_chain_of_their_keys_and_do_not_wait_for_another() {
    let mut w = World::new();
    assert_eq!(w.asked, [[0, 1]], "one question for both");
    w.call(1, &[kv::Command::put(ZERO, "x")]);
    w.call(2, &[kv::Command::put(ONE, "y")]);
    let (zero, one) = (w.update(1, 0), w.update(2, 1));
    assert_eq!((zero.number, one.number), (0, 0));
    assert_eq!((zero.session, one.session), (SessionId(70), SessionId(71)));
    assert!(w.sent.is_empty(), "to the heads alone: {:?}", w.sent);
    // Chain 0 says nothing.
    w.executed(3, 1, &one);
    let put = w.update(2, 1);
    w.executed(3, 1, &put);
    let answer = w.result(2).unwrap().as_ref().unwrap();
    assert_eq!((answer.request.session, answer.explanation.of_chain), (SessionId(71), Some(1)));
    assert_eq!(answer.explanation.chain.as_ref().unwrap().number, 5);
    assert!(answer.explanation.to_string().starts_with("chain 1 of configuration 5: R2 (head)"));
    assert_eq!(w.result(1), None);
    assert_eq!(w.caller.explain(Token(1)).unwrap().of_chain, Some(0));
    assert_eq!(w.caller.explain(Token(2)), None);
    // A query goes to the tail of its chain.
    w.sent.clear();
    w.call(3, &[kv::Command::get(ONE), kv::Command::ping("x")]);
    let [(3, 1, Sent::Query(query))] = w.sent.as_slice() else { panic!("{:?}", w.sent) };
    let outcome = Outcome::Executed(vec![Bytes::new(), Bytes::new()]).to_bytes();
    let answer = ChainAnswer::Answer { id: query.id, number: 1, outcome };
    w.frame(3, answer.to_frame(GroupId::of_chain(1)));
    assert!(w.result(3).unwrap().is_ok());
    let stats = w.caller.stats();
    assert_eq!((stats.accepted, stats.outstanding, stats.queued, stats.sessions), (3, 1, 1, 1));
    w.tick(3000);
    let failed = w.result(1).unwrap().as_ref().unwrap_err();
    assert_eq!(failed.explanation().unwrap().of_chain, Some(0));
}

/// CH-K2.
#[test]
fn a_call_over_two_chains_is_refused_and_not_sent() {
    let mut w = World::new();
    w.call(1, &[kv::Command::put(ZERO, "x"), kv::Command::put(ONE, "y")]);
    w.call(2, &[kv::Command::scan("", 10)]);
    w.call(3, &[kv::Command::scan("a", 10)]);
    for (token, part) in [(1, "chain 0, key \"colour\" of chain 1"), (2, "2 chains"), (3, "\"a\"")]
    {
        let refused = w.result(token).unwrap().as_ref().unwrap_err();
        assert!(matches!(refused, CallError::Unacceptable(_)), "{refused:?}");
        assert!(refused.to_string().contains(part), "{refused}");
        assert!(!refused.may_have_run());
    }
    assert!(w.sent.is_empty() && w.caller.next_wake().is_none());
}

/// A stop concerns each chain that it was in: those are asked about in one question, and what waits
/// goes to who is next.
#[test]
fn a_lost_link_moves_what_waits_in_every_chain() {
    let mut w = World::new();
    for (token, key, head, chain) in [(1, ZERO, 1, 0), (2, ONE, 2, 1)] {
        w.call(token, &[kv::Command::put(key, "x")]);
        let open = w.update(head, chain);
        w.executed(head, chain, &open);
        w.update(head, chain);
    }
    // R2 is head of the one and tail of the other.
    w.said = [config(4, &[1, 3]), config(6, &[3, 1])];
    w.input(Input::Down { replica: r(2) });
    w.tick(1000);
    w.tick(200);
    assert!(w.asked.len() >= 2 && w.asked[1..].iter().flatten().any(|c| *c == 1), "{:?}", w.asked);
    let moved = w.update(3, 1);
    w.executed(1, 1, &moved);
    assert!(w.result(2).unwrap().is_ok());
    // Chain 0's head is asked again by time.
    let again = w.update(1, 0);
    w.executed(3, 0, &again);
    assert!(w.result(1).unwrap().is_ok());
}

/// What is no message costs its sender the link, in all chains and at the master.
#[test]
fn one_link_is_lost_for_all_and_strangers_are_counted() {
    let mut w = World::new();
    w.call(1, &[kv::Command::put(ZERO, "x")]);
    let open = w.update(1, 0);
    let stray = Replies { position: StepPosition::default(), rolled: false, replies: vec![] };
    w.frame(1, stray.to_frame(GroupId(9)));
    assert_eq!((w.closed.len(), w.caller.stats().replicas[0].strays), (0, 1));
    w.frame(1, stray.to_frame(GroupId::of_chain(1)));
    assert_eq!(w.closed, [1]);
    let stats = w.caller.stats();
    assert!(!stats.replicas[0].up && stats.replicas[0].closed == 1, "{stats:?}");
    // What that link still gives is not listened to.
    w.executed(1, 0, &open);
    assert_eq!(w.caller.stats().accepted, 0);
}

/// Each chain that wants the master's word gets it, one question after the other.
#[test]
fn the_master_is_asked_by_one_client_and_again_while_it_is_silent() {
    let mut w = World::new();
    w.master = false;
    w.input(Input::Down { replica: r(1) });
    w.call(1, &[kv::Command::put(ZERO, "x")]);
    assert_eq!(w.asked.len(), 1, "not again within half a lease");
    w.tick(1000);
    w.up(1);
    w.tick(200);
    let asked = w.asked.len();
    assert!(asked >= 2 && w.asked[1] == [0], "{:?}", w.asked);
    w.master = true;
    w.said[0] = config(4, &[3, 2]);
    for _ in 0..30 {
        w.tick(100);
    }
    let moved = w.update(3, 0);
    assert_eq!(moved.number, 0);
}
