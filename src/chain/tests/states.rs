//! States whose bytes are made beside.

use super::*;

impl Line {
    /// The states that were asked for, by their names.
    fn works(&self) -> Vec<(u64, Encoding)> {
        let of = |action: &Action| match action {
            Action::Encode { id, work } => Some((*id, work.clone())),
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }

    fn made(&mut self, at: usize, (id, work): &(u64, Encoding)) {
        self.take(at, Input::Encoded { id: *id, state: work.run() });
    }

    /// The states that were saved: their numbers, and whether the log begins anew behind them.
    fn saves(&self) -> Vec<(u64, bool)> {
        let of = |action: &Action| match action {
            Action::Save { number, anew, .. } => Some((*number, *anew)),
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }

    /// Updates with these numbers of the session, executed everywhere.
    fn execute(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.update(0, number);
            self.deliver();
            self.sync_all();
        }
    }

    fn states_on_their_way(&self) -> usize {
        let state =
            |(_, _, m): &&(usize, usize, ChainMessage)| matches!(m, ChainMessage::Snapshot { .. });
        self.waiting.iter().filter(state).count()
    }
}

/// A state is due after the first so many updates.
fn limits(updates: usize) -> ChainLimits {
    let log_bytes = (updates * (ChainEntry::OVERHEAD + put().len()) - put().len()) as u64;
    ChainLimits { pending: 9, log_bytes, kept: 1, close: 1, ..ChainLimits::default() }
}

/// D37: what counts is how long the log is, and how large the state: that is not saved again before
/// the log is as long.
#[test]
fn a_state_is_due_when_the_log_is_as_long_as_it_may_be_or_as_the_state_before() {
    let put = |line: &mut Line, number: u64, key: &str, bytes: usize| {
        let command = KvCommand::put(key, &vec![7; bytes]).encode();
        let commands = vec![Command { kind: CommandKind::Execute, bytes: command.into() }];
        line.update_with(0, number, RequestBody { commands }.to_bytes());
        line.sync_all();
        line.works().len()
    };
    let mut line = Line::with(1, ChainLimits { log_bytes: 10_000, ..limits(1) });
    line.execute(0..1);
    let counts: Vec<_> = (1..5).map(|n| put(&mut line, n, &format!("k{n}"), 3000)).collect();
    assert_eq!(counts, [0, 0, 0, 1], "after 12 kB");
    let work = line.works()[0].clone();
    assert!(work.1.run().len() > 12_000);
    line.made(0, &work);
    let counts: Vec<_> = (5..10).map(|n| put(&mut line, n, "k1", 3000)).collect();
    assert_eq!(counts, [1, 1, 1, 1, 2], "the state is larger than that");
    // So it is after a start from that state.
    let found = Found { state: Some(work.1.run()), log: vec![] };
    let mut again = Line::of(vec![Chain::new(line.chains[0].setup.clone(), found).unwrap()]);
    let counts: Vec<_> = (5..10).map(|n| put(&mut again, n, "k1", 3000)).collect();
    assert_eq!(counts, [0, 0, 0, 0, 1]);
}

#[test]
fn updates_are_executed_while_a_state_is_made_and_it_is_that_of_before() {
    let mut line = Line::with(1, limits(2));
    line.execute(0..2);
    let [work] = &line.works()[..] else { panic!("{:?}", line.works()) };
    assert_eq!(work.1.number(), 2);
    line.execute(2..7);
    assert_eq!((line.chains[0].executed().number, line.saves()), (7, vec![]));
    assert_eq!(line.works().len(), 1, "one at a time");
    line.made(0, work);
    assert_eq!(line.saves(), [(2, false)]);
    assert_eq!(line.works().last().map(|(_, work)| work.number()), Some(7), "the next");
    let found = Found { state: Some(work.1.run()), log: vec![] };
    let mut other = Line::with(1, limits(2));
    other.execute(0..2);
    let mut restored = Chain::new(setup(1), found).unwrap();
    assert_eq!(restored.executed(), ChainPosition { config: 1, number: 2 });
    assert_eq!(restored.state_digest(), other.chains[0].state_digest());
}

/// What is cut off was not executed, so it is in no state.
#[test]
fn a_state_that_is_made_outlives_a_cut() {
    let mut line = Line::with(2, limits(2));
    line.execute(0..2);
    let works = line.works();
    assert_eq!(works.len(), 2, "one of each member");
    line.update(0, 2);
    line.deliver();
    assert_eq!(line.chains[1].last().number, 3);
    // A head that has started again without it.
    line.take(1, Input::PeerDown { peer: replica(1) });
    line.take(1, Input::PeerUp { peer: replica(1) });
    line.waiting.clear();
    let message = ChainMessage::Forward { config: 1, after: 2, durable: 2, entries: Vec::new() };
    line.take(1, Input::Peer { peer: replica(1), message });
    assert_eq!(line.chains[1].last().number, 2, "it is cut off");
    line.made(1, &works[1]);
    assert_eq!(line.saves(), [(2, false)]);
}

/// CH-F4: it would be saved behind one that is newer, in a log that began anew.
#[test]
fn a_state_that_arrives_outdates_the_one_that_is_made() {
    let mut source = Line::with(1, limits(9));
    source.execute(0..9);
    let state = source.works()[0].1.run();
    let mut line = Line::with(2, limits(2));
    line.execute(0..2);
    let works = line.works();
    line.take(1, Input::PeerDown { peer: replica(1) });
    line.take(1, Input::PeerUp { peer: replica(1) });
    let size = state.len() as u64;
    let message = ChainMessage::Snapshot { config: 1, number: 9, size, offset: 0, bytes: state };
    line.take(1, Input::Peer { peer: replica(1), message });
    assert_eq!((line.chains[1].executed().number, line.saves()), (9, vec![(9, true)]));
    line.made(1, &works[1]);
    assert_eq!(line.saves(), [(9, true)], "the other one is dropped");
}

/// A tail with five updates, of which it keeps one, and a spare that is to join behind it.
fn joining() -> Line {
    let mut line = Line::with(2, limits(100));
    line.configure(config(2, &[1]));
    line.waiting.clear();
    line.execute(0..5);
    let member = |n| ChainMember { replica: replica(n), incarnation: 1 };
    line.configure(ChainConfig { joining: Some(member(2)), ..config(3, &[1]) });
    line.deliver();
    line
}

/// CH-F4: the tail goes on while the state for who joins is made.
#[test]
fn who_joins_gets_a_state_once_it_is_made_and_what_was_executed_meanwhile() {
    let mut line = joining();
    let works = line.works();
    assert_eq!(works.iter().map(|(_, w)| w.number()).collect::<Vec<_>>(), [5]);
    (5..9).for_each(|number| {
        line.update(0, number);
        line.sync(0);
    });
    assert_eq!((line.chains[0].executed().number, line.states_on_their_way()), (9, 0));
    line.made(0, &works[0]);
    line.deliver();
    assert_eq!((line.chains[1].executed().number, line.chains[1].last().number), (5, 5));
    assert!(line.waiting.is_empty(), "what is not durable yet is not spoken of");
    line.sync(1);
    line.deliver();
    assert_eq!(line.chains[1].last().number, 9);
    assert_eq!(line.saves(), [(5, true)], "by who joins alone");
}

#[test]
fn a_state_for_who_is_gone_goes_nowhere_and_who_asks_again_gets_it() {
    let mut line = joining();
    let works = line.works();
    line.take(0, Input::PeerDown { peer: replica(2) });
    line.made(0, &works[0]);
    assert_eq!(line.states_on_their_way(), 0);
    for (at, peer) in [(0, 2), (1, 1)] {
        line.take(at, Input::PeerUp { peer: replica(peer) });
    }
    line.waiting.clear();
    line.take(1, Input::PeerDown { peer: replica(1) });
    line.take(1, Input::PeerUp { peer: replica(1) });
    line.deliver();
    assert_eq!(line.works().len(), 2);
    let next = line.works().pop().unwrap();
    line.made(0, &works[0]);
    assert_eq!(line.states_on_their_way(), 0, "an old one has come twice");
    // The link breaks once more, but the state is still being made: it serves the next question.
    line.take(1, Input::PeerDown { peer: replica(1) });
    line.take(0, Input::PeerDown { peer: replica(2) });
    for (at, peer) in [(0, 2), (1, 1)] {
        line.take(at, Input::PeerUp { peer: replica(peer) });
    }
    line.deliver();
    assert_eq!(line.works().len(), 2);
    line.made(0, &next);
    line.deliver();
    line.sync(1);
    line.deliver();
    assert_eq!(line.chains[1].last().number, 5);
}
