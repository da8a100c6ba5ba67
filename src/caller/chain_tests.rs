//! Step tables of a chain's client. The master's group is played here: it answers at once, if
//! `master` is set, with the configuration of `said`.

use super::*;
use crate::caller::{Answer, CallError};
use crate::types::{ClientId, Ensemble, OrderLimits};
use crate::voter::Verdict;
use crate::wire::{
    ChainMember, ChainQuery, FrameDecoder, Hello, Note, NoteKind, Outcome, PROTOCOL_VERSION,
    Refusal, Replies, Request, RequestBody,
};
use bytes::Bytes;

const SESSION: SessionId = SessionId(77);
const MS: u64 = 1_000_000;

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn config(number: u64, members: &[u8]) -> ChainConfig {
    let member = |m: &u8| ChainMember { replica: r(*m), incarnation: 1 };
    ChainConfig { number, members: members.iter().map(member).collect(), joining: None }
}

fn setup() -> ChainSetup {
    let setup = Setup {
        mode: Mode::Vote,
        ordered: false,
        assurance: crate::types::Assurance::Majority,
        ensemble: Ensemble::new(1).unwrap(),
        roster: 3,
        context: Context { cluster: Digest([9; 32]), group: GroupId::CHAIN },
        client: ClientId([5; 32]),
        session: SESSION,
        limits: OrderLimits { window: 8, max_commands: 4, ..OrderLimits::default() },
        repeat_after: Duration::from_millis(160),
        repeat_cap: Duration::from_millis(400),
        timeout: Duration::from_millis(3000),
        receipts: None,
        pipeline: 4,
        gather: Duration::ZERO,
    };
    let (master, ask_every) = (GroupId::MAIN, Duration::from_millis(1000));
    ChainSetup { setup, master, chain: 0, reads_any: false, ask_every }
}

#[derive(Clone, Debug, PartialEq)]
enum Sent {
    Update(Request),
    Query(ChainQuery),
}

/// The session that was said over which link.
type Said = (u8, SessionId);

struct World {
    caller: ChainCaller,
    now: u64,
    sent: Vec<(u8, Sent)>,
    announced: Vec<Said>,
    done: Vec<(u64, Result<Answer, CallError>)>,
    closed: Vec<u8>,
    up: Vec<u8>,
    // What the master says to those who ask, if it answers, and how often it was asked.
    master: bool,
    said: ChainConfig,
    shows: u32,
}

impl World {
    fn dark(setup: ChainSetup) -> Self {
        let caller = ChainCaller::new(setup, Instant(0));
        let (sent, done, closed, up) = (vec![], vec![], vec![], vec![]);
        let said = config(3, &[2, 1]);
        let announced = vec![];
        World { caller, now: 0, sent, announced, done, closed, up, master: true, said, shows: 0 }
    }

    /// All links are up, and the client knows the chain: R2 is the head and R1 the tail.
    fn new(setup: ChainSetup) -> Self {
        let mut w = Self::dark(setup);
        (1..=3).for_each(|i| w.up(i));
        w.drained();
        w
    }

    /// And its session is open.
    fn open() -> Self {
        let mut w = Self::new(setup());
        w.execute(1, "first");
        let open = w.last_update();
        w.reply(1, &open, 1, &Outcome::Opened);
        w.drained();
        let first = w.last_update();
        w.reply(1, &first, 2, &executed("1"));
        w.sent.clear();
        w.done.clear();
        w
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
        assert!(self.up.contains(&to.number()), "sent to {to} without a link");
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let mut asked = vec![];
        while let Some(frame) = decoder.next_frame().unwrap() {
            match (frame.group, frame.kind) {
                (GroupId::MAIN, _) => asked.push(Request::from_body(&frame.body).unwrap()),
                (_, Kind::Request) => {
                    let request = Request::from_body(&frame.body).unwrap();
                    self.sent.push((to.number(), Sent::Update(request)));
                }
                (_, Kind::ChainSession) => {
                    let said = ChainSession::from_body(&frame.body).unwrap();
                    self.announced.push((to.number(), said.session));
                }
                (_, Kind::ChainQuery) => {
                    let query = ChainQuery::from_body(&frame.body).unwrap();
                    self.sent.push((to.number(), Sent::Query(query)));
                }
                other => panic!("{other:?}"),
            }
        }
        for request in asked {
            if self.master {
                self.master_answers(to, &request);
            }
        }
    }

    fn master_answers(&mut self, from: ReplicaId, request: &Request) {
        let outcome = if request.number == 0 {
            Outcome::Opened
        } else {
            self.shows += u32::from(from == r(1));
            let body = RequestBody::parse(&request.body).unwrap();
            let asked = master::Command::parse(&body.commands[0].bytes).unwrap();
            assert_eq!(asked, master::Command::Show { chain: 0 });
            let config = self.said.clone();
            let (wanted, down, replicas) = (2, false, vec![]);
            let answer = master::Answer::Chain { config, wanted, down, replicas };
            Outcome::Executed(vec![answer.encode().into()])
        };
        self.say(from.number(), GroupId::MAIN, request, 9, &outcome);
        self.input(Input::Drained);
    }

    fn say(&mut self, i: u8, group: GroupId, request: &Request, number: u64, outcome: &Outcome) {
        let position = StepPosition { round: Round(number), vector: Digest::ZERO };
        let (session, outcome) = (request.session, outcome.to_bytes());
        let reply = Reply { session, number: request.number, index: 0, outcome };
        let message = Replies { position, rolled: false, replies: vec![reply] };
        self.frame(i, message.to_frame(group));
    }

    fn reply(&mut self, i: u8, request: &Request, number: u64, outcome: &Outcome) {
        self.say(i, GroupId::CHAIN, request, number, outcome);
    }

    fn frame(&mut self, i: u8, bytes: Vec<u8>) {
        let frames = vec![Frame::parse(bytes.into()).unwrap()];
        self.input(Input::Frames { replica: r(i), frames });
    }

    fn answer(&mut self, i: u8, id: u64, number: u64, output: &str) {
        let outcome = executed(output).to_bytes();
        let answer = ChainAnswer::Answer { id, number, outcome };
        self.frame(i, answer.to_frame(GroupId::CHAIN));
    }

    fn refuse(&mut self, i: u8, sent: &Sent, why: ChainRefusal, config: &ChainConfig) {
        let asked = match sent {
            Sent::Update(q) => ChainAsked::Update { session: q.session, number: q.number },
            Sent::Query(q) => ChainAsked::Query { id: q.id },
        };
        let answer = ChainAnswer::Refused { asked, why, config: config.clone() };
        self.frame(i, answer.to_frame(GroupId::CHAIN));
    }

    fn up(&mut self, i: u8) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: Digest([9; 32]),
            replica: r(i),
            incarnation: 1,
            restarted: false,
            fields: vec![],
            groups: vec![],
        };
        self.up.push(i);
        self.input(Input::Up { replica: r(i), hello });
    }

    fn down(&mut self, i: u8) {
        self.up.retain(|up| *up != i);
        self.input(Input::Down { replica: r(i) });
    }

    fn drained(&mut self) {
        self.input(Input::Drained);
    }

    /// Time passes, and the client is called only when it asked for it.
    fn until(&mut self, ms: u64) {
        while let Some(wake) = self.caller.next_wake().filter(|w| w.0 <= ms * MS) {
            self.now = self.now.max(wake.0.div_ceil(MS));
            self.input(Input::Tick);
            self.drained();
        }
        self.now = ms;
    }

    fn call(&mut self, token: u64, kind: CommandKind, text: &str) {
        let commands = vec![Command { kind, bytes: Bytes::copy_from_slice(text.as_bytes()) }];
        self.input(Input::Call { token: Token(token), commands, coalesce: false });
        self.drained();
    }

    fn execute(&mut self, token: u64, text: &str) {
        self.call(token, CommandKind::Execute, text);
    }

    fn query(&mut self, token: u64, text: &str) {
        self.call(token, CommandKind::Query, text);
    }

    fn to(&self, i: u8) -> Vec<Sent> {
        self.sent.iter().filter(|(to, _)| *to == i).map(|(_, sent)| sent.clone()).collect()
    }

    fn last(&self) -> (u8, Sent) {
        self.sent.last().expect("something was sent").clone()
    }

    fn last_update(&self) -> Request {
        match self.last().1 {
            Sent::Update(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn result(&self, token: u64) -> &Result<Answer, CallError> {
        &self.done.iter().find(|(t, _)| *t == token).expect("the call is over").1
    }

    fn output(&self, token: u64) -> &[u8] {
        &self.result(token).as_ref().unwrap().outputs[0]
    }

    fn parts(&self, token: u64) -> Vec<Verdict> {
        let explanation = match self.result(token) {
            Ok(answer) => &answer.explanation,
            Err(error) => error.explanation().unwrap(),
        };
        explanation.ballots.iter().map(|b| b.verdict.clone()).collect()
    }
}

fn executed(output: &str) -> Outcome {
    Outcome::Executed(vec![Bytes::copy_from_slice(output.as_bytes())])
}

const NOT_ASKED: Verdict = Verdict::NotAsked;
const SILENT: Verdict = Verdict::Silent { down_for: None };

// Who is asked.

#[test]
fn ch_f5_the_master_says_who_is_in_the_chain_before_there_is_a_call() {
    let mut w = World::dark(setup());
    w.up(1);
    w.drained();
    assert_eq!(w.caller.config().number, 0, "one replica of the master's group is no majority");
    w.up(2);
    w.drained();
    assert_eq!(*w.caller.config(), config(3, &[2, 1]));
    assert_eq!(w.shows, 1);
    assert!(w.sent.is_empty(), "nobody has called: no session is opened");
    assert_eq!(w.caller.next_wake(), None);
}

/// Where the master is a group of its own, only its words say who is in the chain, and only the
/// others are told of sessions and updates.
#[test]
fn a_replica_without_a_vote_says_nothing_of_the_master_and_gets_what_is_the_chains() {
    let setup = setup();
    let mut w = World::dark(ChainSetup { setup: Setup { roster: 6, ..setup.setup }, ..setup });
    (w.master, w.said) = (false, config(3, &[5, 4]));
    w.up(1);
    w.drained();
    // What R1 alone says of the master, and somebody without a vote after it.
    let (session, body) = (SESSION, Bytes::new());
    let opening = Request { session, number: 0, low: 0, body };
    w.say(1, GroupId::MAIN, &opening, 9, &Outcome::Opened);
    w.up(6);
    w.say(6, GroupId::MAIN, &opening, 9, &Outcome::Opened);
    w.drained();
    assert_eq!(w.caller.config().number, 0);
    assert_eq!(w.caller.stats().replicas[5].strays, 1);
    w.master = true;
    (2..=5).for_each(|i| w.up(i));
    w.drained();
    w.until(400);
    assert_eq!(*w.caller.config(), config(3, &[5, 4]));
    w.execute(1, "x");
    assert_eq!(w.last().0, 5, "the head");
    let opening = w.last_update();
    w.reply(4, &opening, 1, &Outcome::Opened);
    w.drained();
    let update = w.last_update();
    w.reply(4, &update, 2, &executed("done"));
    assert_eq!(w.output(1), b"done");
    let told: Vec<u8> = w.announced.iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [4, 5, 6]);
    assert_eq!(w.parts(1).len(), 6);
    w.query(2, "y");
    let (to, Sent::Query(query)) = w.last() else { panic!("{:?}", w.last()) };
    w.answer(to, query.id, 2, "seen");
    assert_eq!((to, w.output(2)), (4, &b"seen"[..]), "the tail");
}

#[test]
fn ch_u1_updates_go_to_the_head_and_one_reply_is_the_answer() {
    let mut w = World::new(setup());
    w.execute(1, "x");
    let open = Request { session: SESSION, number: 0, low: 0, body: Bytes::new() };
    assert_eq!(w.sent, [(2, Sent::Update(open.clone()))]);
    w.reply(1, &open, 1, &Outcome::Opened);
    w.drained();
    assert_eq!((w.sent.len(), w.last().0, w.last_update().number), (2, 2, 1));
    w.reply(1, &w.last_update(), 2, &executed("out"));
    assert_eq!(w.output(1), b"out");
    let answer = w.result(1).as_ref().unwrap();
    assert_eq!((answer.position.round, answer.position.vector), (Round(2), Digest::ZERO));
    assert_eq!(answer.explanation.chain, Some(config(3, &[2, 1]).into()));
    assert_eq!((answer.explanation.needed, answer.explanation.sends), (1, 1));
    assert_eq!(w.parts(1), [Verdict::Answers, Verdict::Asked, NOT_ASKED]);
    let text = answer.explanation.to_string();
    assert!(text.starts_with("chain of configuration 3: R2 (head), R1 (tail)\nR1 answers after"));
    assert!(text.contains("\"out\" (update 2)\nR2 was asked\nR3 was not asked"), "{text}");
    // The head's repeat of it changes nothing.
    w.reply(2, &w.last_update(), 2, &executed("out"));
    assert_eq!((w.done.len(), w.caller.stats().accepted), (1, 2));
}

#[test]
fn ch_q1_queries_go_to_the_tail_without_a_session() {
    let mut w = World::new(setup());
    w.query(1, "read");
    let (to, Sent::Query(query)) = w.last() else { panic!("{:?}", w.last()) };
    assert_eq!((to, w.sent.len()), (1, 1));
    assert_eq!(RequestBody::parse(&query.body).unwrap().commands[0].bytes, "read");
    w.answer(1, query.id, 41, "value");
    assert_eq!(w.output(1), b"value");
    assert_eq!(w.result(1).as_ref().unwrap().position.round, Round(41));
    assert_eq!(w.parts(1), [Verdict::Answers, NOT_ASKED, NOT_ASKED]);
    assert_eq!(w.caller.next_wake(), None);
    // The answer comes again, and one to a question that nobody asked.
    w.answer(1, query.id, 42, "other");
    w.answer(1, query.id + 5, 42, "other");
    assert_eq!((w.done.len(), w.caller.stats().replicas[0].strays), (1, 1));
}

#[test]
fn ch_q2_queries_are_spread_over_all_members_if_all_answer() {
    let mut w = World::new(ChainSetup { reads_any: true, ..setup() });
    (1..=4).for_each(|i| w.query(i, "read"));
    assert_eq!((w.to(1).len(), w.to(2).len(), w.to(3).len()), (2, 2, 0));
    w.down(1);
    w.drained();
    assert_eq!((w.to(1).len(), w.to(2).len()), (2, 4), "what may be lost is asked of the other");
    let ids = w.to(2).into_iter().map(|sent| match sent {
        Sent::Query(query) => query.id,
        other => panic!("{other:?}"),
    });
    ids.collect::<Vec<_>>().into_iter().for_each(|id| w.answer(2, id, 1, "v"));
    assert_eq!((w.done.len(), w.caller.stats().moved), (4, 2));
}

/// Those that leave at one time go together: a member answers several for little more than one.
#[test]
fn queries_that_leave_together_go_to_one_member_and_the_next_ones_to_another() {
    let limits = OrderLimits { window: 400, max_commands: 4, ..OrderLimits::default() };
    let one = setup();
    let wide = Setup { limits, pipeline: 400, ..one.setup };
    let mut w = World::new(ChainSetup { reads_any: true, setup: wide, ..one });
    let mut token = 0;
    let mut ask = |w: &mut World, queries: usize| {
        w.sent.clear();
        for _ in 0..queries {
            token += 1;
            let (kind, bytes) = (CommandKind::Query, Bytes::from_static(b"read"));
            let commands = vec![Command { kind, bytes }];
            w.input(Input::Call { token: Token(token), commands, coalesce: false });
        }
        w.drained();
        [w.to(1).len(), w.to(2).len()]
    };
    let (first, second) = (ask(&mut w, 5), ask(&mut w, 7));
    assert!((first, second) == ([5, 0], [0, 7]) || (first, second) == ([0, 5], [7, 0]));
    let mut many = ask(&mut w, 150);
    many.sort_unstable();
    assert_eq!(many, [64, 86], "64 for one, 64 for the other, and the rest for the first");
}

#[test]
fn mixed_calls_are_updates_and_queries_overtake() {
    let mut w = World::open();
    w.execute(2, "slow");
    let slow = w.last_update();
    w.query(3, "quick");
    let (1, Sent::Query(query)) = w.last() else { panic!("{:?}", w.last()) };
    w.answer(1, query.id, 2, "old");
    assert_eq!(w.output(3), b"old");
    w.reply(1, &slow, 3, &executed("done"));
    assert_eq!(w.output(2), b"done");
    let command = |kind| Command { kind, bytes: Bytes::from_static(b"c") };
    let commands = vec![command(CommandKind::Query), command(CommandKind::Execute)];
    w.input(Input::Call { token: Token(4), commands, coalesce: false });
    w.drained();
    assert_eq!((w.last().0, w.last_update().number), (2, 3));
    w.input(Input::Call { token: Token(5), commands: vec![], coalesce: false });
    assert!(matches!(w.result(5), Err(CallError::Unacceptable(_))));
}

// Another head or tail.

#[test]
fn ch_f1_with_a_newer_configuration_the_same_numbers_go_to_the_new_head_at_once() {
    let mut w = World::open();
    w.execute(2, "a");
    w.execute(3, "b");
    let before = w.to(2);
    w.refuse(2, &before[0], ChainRefusal::NotHead, &config(4, &[3, 1]));
    assert!(w.to(3).is_empty(), "nothing is sent before Drained");
    w.drained();
    assert_eq!(w.to(3), before, "both, bit for bit");
    assert_eq!(w.caller.stats().moved, 2);
    // One was executed before and answered by the tail, the other by the new head as a repeat.
    let of = |sent: &Sent| match sent {
        Sent::Update(request) => request.clone(),
        other => panic!("{other:?}"),
    };
    w.reply(1, &of(&before[0]), 3, &executed("1"));
    w.reply(3, &of(&before[1]), 4, &executed("2"));
    assert_eq!((w.output(2), w.output(3)), (&b"1"[..], &b"2"[..]));
    let refused = Verdict::Refuses(ChainRefusal::NotHead);
    assert_eq!(w.parts(2), [Verdict::Answers, refused, Verdict::Asked]);
}

/// A replica that learns another configuration says so unasked.
#[test]
fn ch_f5_who_is_told_of_a_new_head_goes_to_it_without_waiting() {
    let mut w = World::open();
    w.execute(7, "second");
    w.drained();
    let (to, before) = (w.last().0, w.last_update());
    assert_eq!(to, 2);
    let shows = w.shows;
    w.frame(3, ChainAnswer::Config(config(4, &[1, 3])).to_frame(GroupId::CHAIN));
    w.drained();
    assert_eq!((w.last().0, w.last_update(), w.shows), (1, before, shows));
    w.sent.clear();
    w.frame(3, ChainAnswer::Config(config(3, &[2, 1])).to_frame(GroupId::CHAIN));
    w.drained();
    assert!(w.sent.is_empty(), "an older one is no news: {:?}", w.sent);
}

#[test]
fn ch_f5_an_older_configuration_is_no_news() {
    let mut w = World::open();
    w.execute(2, "a");
    let sent = w.last().1;
    w.refuse(2, &sent, ChainRefusal::NotServing, &config(2, &[3]));
    w.drained();
    assert_eq!((*w.caller.config()).clone(), config(3, &[2, 1]));
    assert!(w.to(3).is_empty());
    assert_eq!(w.shows, 1, "half a lease is not over");
    w.until(1001);
    assert_eq!(w.shows, 2, "then the master is asked");
}

#[test]
fn ch_f1_without_a_link_to_the_head_the_master_is_asked_every_half_lease() {
    let mut w = World::open();
    w.execute(2, "a");
    let sent = w.last().1;
    w.down(2);
    w.until(2500);
    assert_eq!(w.shows, 3, "once at the start, at 1000 and at 2000");
    w.said = config(4, &[1]);
    w.sent.clear();
    w.until(2990);
    assert!(w.sent.is_empty());
    w.done.clear();
    // The call has waited for its whole time but a little.
    w.until(3000);
    assert!(matches!(w.result(2), Err(CallError::NoMajority { .. })));
    let error = w.result(2).as_ref().unwrap_err();
    assert!(error.may_have_run());
    let text = error.to_string();
    assert_eq!(text, "no answer of the chain in time; the request may still be executed");
    assert!(matches!(w.parts(2)[1], Verdict::Silent { down_for: Some(_) }));
    drop(sent);
}

#[test]
fn ch_f1_what_the_master_says_moves_what_waits() {
    let mut w = World::open();
    w.execute(2, "a");
    let sent = w.last().1;
    w.down(2);
    w.said = config(4, &[1]);
    w.until(1010);
    assert_eq!(w.last(), (1, sent), "the tail is the head now");
    w.reply(1, &w.last_update(), 3, &executed("1"));
    assert_eq!(w.output(2), b"1");
}

#[test]
fn an_idle_client_leaves_the_master_alone() {
    let mut w = World::open();
    w.down(2);
    w.until(60_000);
    assert_eq!((w.shows, w.caller.next_wake()), (1, None));
}

#[test]
fn ch_f5_silence_is_repeated_with_the_same_bytes_and_reported_to_the_master() {
    let mut w = World::open();
    w.execute(2, "a");
    let sent = w.last();
    let mut times = vec![];
    for ms in 1..2990 {
        w.sent.clear();
        w.until(ms);
        assert!(w.sent.iter().all(|s| *s == sent));
        times.extend(w.sent.iter().map(|_| ms));
    }
    assert_eq!(times, [160, 480, 880, 1280, 1680, 2080, 2480, 2880]);
    assert_eq!(w.shows, 3);
    w.until(3001);
    assert_eq!(w.parts(2), [SILENT, SILENT, NOT_ASKED], "the tail should have answered");
}

#[test]
fn ch_q1_a_silent_tail_makes_the_client_ask_another_who_names_the_new_one() {
    let mut w = World::open();
    w.query(2, "read");
    let sent = w.last().1;
    w.until(160);
    assert_eq!(w.last(), (2, sent.clone()));
    w.refuse(2, &sent, ChainRefusal::NotTail, &config(4, &[2, 3]));
    w.drained();
    assert_eq!(w.last(), (3, sent.clone()));
    let Sent::Query(query) = sent else { panic!() };
    // The old one was only slow: what it says is as good.
    w.answer(1, query.id, 2, "v");
    assert_eq!(w.output(2), b"v");
    let refused = Verdict::Refuses(ChainRefusal::NotTail);
    assert_eq!(w.parts(2), [Verdict::Answers, refused, Verdict::Asked]);
    w.answer(3, query.id, 2, "v");
    assert_eq!(w.done.len(), 1);
}

#[test]
fn a_link_that_comes_back_gets_what_is_unanswered() {
    let mut w = World::open();
    w.execute(2, "a");
    let sent = w.last();
    w.down(2);
    w.drained();
    w.execute(3, "b");
    assert_eq!(w.sent, std::slice::from_ref(&sent), "what comes meanwhile waits");
    w.up(2);
    w.drained();
    assert_eq!(w.to(2)[1], sent.1);
    assert_eq!((w.to(2).len(), w.last_update().number), (3, 3));
}

// Refusals.

#[test]
fn who_does_not_serve_or_is_busy_is_asked_again_at_growing_distances() {
    for why in [ChainRefusal::NotServing, ChainRefusal::Busy] {
        let mut w = World::open();
        w.execute(2, "a");
        let sent = w.last();
        let mut times = vec![];
        for ms in 0..700 {
            w.until(ms);
            if !w.sent.is_empty() {
                assert_eq!(w.sent, std::slice::from_ref(&sent), "with the same number");
                w.sent.clear();
                times.push(ms);
                w.refuse(2, &sent.1, why, &config(3, &[2, 1]));
            }
        }
        assert_eq!(times, [0, 10, 30, 70, 150, 310, 470, 630]);
        w.until(1100);
        let asked = if why == ChainRefusal::Busy { 1 } else { 2 };
        assert_eq!(w.shows, asked, "{why}");
        w.reply(1, &w.last_update(), 3, &executed("1"));
        assert_eq!(w.output(2), b"1");
    }
}

#[test]
fn a_final_refusal_ends_the_call() {
    let cases = [
        (ChainRefusal::NumberTaken, NoteKind::NumberTaken, true),
        (ChainRefusal::Unacceptable, NoteKind::Unacceptable, false),
    ];
    for (why, kind, may_have_run) in cases {
        let mut w = World::open();
        w.execute(2, "a");
        let sent = w.last().1;
        w.refuse(2, &sent, why, &config(3, &[2, 1]));
        let error = w.result(2).as_ref().unwrap_err();
        assert!(matches!(error, CallError::NotTaken { why, .. } if *why == kind), "{error}");
        assert_eq!(error.may_have_run(), may_have_run);
        assert_eq!(w.parts(2)[1], Verdict::Refuses(why));
    }
}

#[test]
fn a_key_that_may_only_read_queries_and_is_told_when_it_writes() {
    let mut w = World::new(setup());
    w.execute(1, "a");
    let open = w.last_update();
    let note = Note { session: open.session, number: 0, kind: NoteKind::Forbidden };
    w.frame(2, note.to_frame(GroupId::CHAIN));
    let error = w.result(1).as_ref().unwrap_err();
    assert!(matches!(error, CallError::NotTaken { why: NoteKind::Forbidden, .. }), "{error}");
    assert!(!error.may_have_run());
    let text = error.explanation().unwrap().to_string();
    assert!(text.contains("R2 refuses (") && !text.contains("vote"), "{text}");
    w.query(2, "read");
    let (1, Sent::Query(query)) = w.last() else { panic!("{:?}", w.last()) };
    w.answer(1, query.id, 1, "v");
    assert_eq!(w.output(2), b"v");
}

#[test]
fn o6_a_lost_session_fails_what_is_outstanding_and_queries_go_on() {
    let mut w = World::open();
    w.execute(2, "a");
    let first = w.last_update();
    w.execute(3, "b");
    w.query(4, "read");
    let Sent::Query(query) = w.last().1 else { panic!() };
    w.reply(1, &first, 3, &Outcome::Refused(Refusal::UnknownSession));
    let why = |token: u64| w.result(token).as_ref().unwrap_err();
    assert!(matches!(why(2), CallError::Refused { why: Refusal::UnknownSession, .. }));
    assert!(matches!(why(3), CallError::SessionLost { .. }));
    w.answer(1, query.id, 3, "v");
    assert_eq!(w.output(4), b"v");
    w.execute(5, "c");
    let open = w.last_update();
    assert_eq!((open.number, open.session == SESSION), (0, false));
    w.reply(1, &open, 4, &Outcome::Opened);
    w.drained();
    assert_eq!((w.last().0, w.last_update().number), (2, 1));
}

/// CH-U3: the tail answers, and knows by this where to.
#[test]
fn a_session_is_said_once_on_each_link_before_its_first_update_leaves() {
    let mut w = World::new(setup());
    w.query(1, "read");
    assert_eq!(w.announced, [], "queries have none");
    w.execute(2, "x");
    let of = |session: SessionId| (1..=3).map(|i| (i, session)).collect::<Vec<Said>>();
    assert_eq!(w.announced, of(SESSION));
    w.execute(3, "y");
    assert_eq!(w.announced.len(), 3, "once");
    w.down(1);
    w.drained();
    w.up(1);
    w.drained();
    assert_eq!(w.announced[3..], [(1, SESSION)], "a new link has not heard it");
    w.announced.clear();
    let open = Request { session: SESSION, number: 0, low: 0, body: Bytes::new() };
    w.reply(1, &open, 1, &Outcome::Opened);
    w.drained();
    w.reply(1, &w.last_update(), 2, &Outcome::Refused(Refusal::UnknownSession));
    w.execute(4, "z");
    let next = w.last_update().session;
    assert_ne!(next, SESSION);
    assert_eq!(w.announced, of(next));
}

// Time, and what is no message.

#[test]
fn without_the_masters_word_nothing_is_sent_and_the_error_says_so() {
    let mut w = World::dark(setup());
    w.master = false;
    (1..=2).for_each(|i| w.up(i));
    w.execute(1, "a");
    w.query(2, "b");
    w.until(3000);
    assert!(w.sent.is_empty());
    for token in [1, 2] {
        let error = w.result(token).as_ref().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the master has not said who is in the chain"), "{text}");
        assert!(text.ends_with("the request was never sent") && !error.may_have_run(), "{text}");
    }
    let late = w.parts(1);
    assert_eq!((late[0].clone(), late[1].clone()), (NOT_ASKED, NOT_ASKED));
    assert!(matches!(late[2], Verdict::Silent { down_for: Some(_) }));
    // When the master answers at last the next call is done.
    w.master = true;
    w.execute(3, "c");
    w.until(9000);
    assert_eq!(w.caller.config().number, 3);
}

#[test]
fn queries_are_bounded_and_over_in_time_as_calls_are() {
    let mut w = World::open();
    (2..=9).for_each(|i| w.query(i, "read"));
    assert_eq!((w.sent.len(), w.caller.stats().queued), (4, 4), "a pipeline of 4");
    let Sent::Query(first) = w.sent[0].1.clone() else { panic!() };
    w.answer(1, first.id, 2, "v");
    w.drained();
    assert_eq!(w.caller.stats().queued, 3);
    w.input(Input::Forget { token: Token(9) });
    w.until(3001);
    assert_eq!((w.done.len(), w.caller.stats().outstanding), (7, 0));
    assert_eq!(w.caller.explain(Token(9)), None);
}

#[test]
fn what_is_no_message_closes_the_link_for_all_three() {
    let mut w = World::open();
    w.query(2, "read");
    let Sent::Query(query) = w.last().1 else { panic!() };
    let mut bad = ChainAnswer::Answer { id: query.id, number: 1, outcome: Bytes::new() }
        .to_frame(GroupId::CHAIN);
    bad.pop();
    let whole = Frame::parse(bad.clone().into());
    assert!(whole.is_err(), "its length does not fit");
    let body = Bytes::from_static(&[9, 9, 9]);
    let frames = vec![Frame { kind: Kind::ChainAnswer, group: GroupId::CHAIN, body }];
    w.input(Input::Frames { replica: r(1), frames });
    assert_eq!(w.closed, [1]);
    w.up.retain(|i| *i != 1);
    w.answer(1, query.id, 2, "too late");
    assert!(w.done.is_empty(), "what it still sends is ignored");
    let frames = vec![Frame { kind: Kind::Hello, group: GroupId::MAIN, body: Bytes::new() }];
    w.input(Input::Frames { replica: r(3), frames });
    assert_eq!(w.closed, [1, 3]);
    w.up.retain(|i| *i != 3);
    w.drained();
    let up: Vec<bool> = w.caller.stats().replicas.iter().map(|r| r.up).collect();
    assert_eq!(up, [false, true, false]);
}
