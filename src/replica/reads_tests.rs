//! Queries that need no ordering, at three replicas whose messages are handed over by hand (Q1).

use super::*;
use crate::wire::{ChainQuery, Command, CommandKind, Note, NoteKind, RequestBody};

fn body(kinds: &[CommandKind]) -> Bytes {
    let command = |kind: &CommandKind| {
        let bytes = match kind {
            CommandKind::Query => Counter::read(),
            CommandKind::Execute => Counter::add(1),
            CommandKind::Look => unreachable!("no test asks for it"),
        };
        Command { kind: *kind, bytes: bytes.into() }
    };
    RequestBody { commands: kinds.iter().map(command).collect() }.to_bytes()
}

/// What one replica says to a query, if it says something by itself.
fn ask(trio: &mut Trio, to: usize, id: u64, body: Bytes) -> Vec<Action> {
    let frame = ChainQuery { id, body }.to_frame(GroupId::MAIN);
    let frames = vec![Frame::parse(frame.into()).unwrap()];
    let (now, mut out) = (trio.now(), Actions::new());
    trio.replicas[to].handle(now, Input::ClientFrames { link: LINK, frames }, &mut out);
    trio.replicas[to].handle(now, Input::Drained, &mut out);
    out
}

fn answer(actions: &[Action]) -> Option<Result<u64, NoteKind>> {
    let said = actions.iter().find_map(|action| match action {
        Action::ToClient { frame, .. } => Frame::parse(frame.clone()).ok(),
        _ => None,
    })?;
    if said.kind == Kind::Note {
        return Some(Err(Note::from_body(&said.body).unwrap().kind));
    }
    let reply = Replies::from_body(&said.body).unwrap().replies.remove(0);
    assert_eq!(reply.session, SessionId::QUERIES);
    match Outcome::parse(&reply.outcome).unwrap() {
        Outcome::Executed(outputs) => Some(Ok(Counter::parse(&outputs[0]).unwrap())),
        other => panic!("{other:?}"),
    }
}

fn counted(to: u64) -> Trio {
    let mut trio = Trio::new(OrderLimits::default());
    trio.send(1, 0, Bytes::new()).unwrap();
    (1..=to).for_each(|number| drop(trio.send(1, number, add_one()).unwrap()));
    trio
}

#[test]
fn a_member_answers_from_its_state() {
    let mut trio = counted(3);
    for i in 0..3 {
        assert_eq!(answer(&ask(&mut trio, i, 9, body(&[CommandKind::Query]))), Some(Ok(3)));
    }
    let outstanding = trio.replicas[0].core.complete();
    trio.run(50);
    assert_eq!(trio.replicas[0].core.complete(), outstanding, "no round runs for a query");
}

/// O8, on this way too: nothing that may write, whoever asks.
#[test]
fn a_query_writes_nothing() {
    let mut trio = counted(1);
    for kinds in [&[CommandKind::Execute][..], &[CommandKind::Query, CommandKind::Execute]] {
        let said = ask(&mut trio, 0, 9, body(kinds));
        assert_eq!(answer(&said), Some(Err(NoteKind::Unacceptable)));
    }
    let said = ask(&mut trio, 0, 9, Bytes::from_static(b"no commands"));
    assert_eq!(answer(&said), Some(Err(NoteKind::Unacceptable)));
    assert_eq!(answer(&ask(&mut trio, 0, 9, body(&[CommandKind::Query]))), Some(Ok(1)));
}

#[test]
fn who_has_lost_its_state_or_has_halted_says_so() {
    let mut trio = counted(1);
    trio.replicas[1].executor.lose();
    let said = ask(&mut trio, 1, 9, body(&[CommandKind::Query]));
    assert_eq!(answer(&said), Some(Err(NoteKind::NotMember)));
}

/// What is ordered and lacks its body is not executed: the query waits with it.
#[test]
fn a_query_waits_for_what_is_ordered_and_lacks_its_body() {
    let mut trio = counted(1);
    // The third does not hear of the next request, and nobody gives it the body.
    trio.told.clear();
    let (session, body_of) = (SessionId(1), add_one());
    let request = Request { session, number: 2, low: 1, body: body_of };
    let frame = Frame::parse(request.to_frame(GroupId::MAIN).into()).unwrap();
    for i in 0..2 {
        trio.input(i, Input::ClientFrames { link: LINK, frames: vec![frame.clone()] });
    }
    trio.deaf_to = Some((2, Kind::Body));
    trio.run(60);
    assert!(trio.told.iter().any(|(i, _)| *i == 0), "the others have answered it");
    assert!(trio.replicas[2].executor.is_waiting_for_bodies());
    assert_eq!(answer(&ask(&mut trio, 2, 9, body(&[CommandKind::Query]))), None);
    assert_eq!(answer(&ask(&mut trio, 0, 9, body(&[CommandKind::Query]))), Some(Ok(2)));
    // The body comes from the client itself.
    let mut out = Actions::new();
    let now = trio.now();
    trio.replicas[2].handle(now, Input::ClientFrames { link: LINK, frames: vec![frame] }, &mut out);
    trio.replicas[2].handle(now, Input::Drained, &mut out);
    let said = out.iter().filter(|action| is_query(action));
    let said = said.filter_map(|action| answer(std::slice::from_ref(action)));
    assert_eq!(said.collect::<Vec<_>>(), [Ok(2)]);
}

/// §7: nobody is shown what a power cut can take back.
#[test]
fn a_query_is_answered_when_what_it_shows_is_on_the_disk() {
    let mut trio = Trio::on_disks(OrderLimits::default(), Durability::Reply);
    trio.send(1, 0, Bytes::new()).unwrap();
    trio.send(1, 1, add_one()).unwrap();
    assert_eq!(answer(&ask(&mut trio, 0, 9, body(&[CommandKind::Query]))), Some(Ok(1)));
    trio.stuck = Some(0);
    assert!(trio.send(1, 2, add_one()).is_none(), "the first has not answered");
    assert!(trio.told.iter().any(|(i, _)| *i == 1), "the others have");
    assert_eq!(answer(&ask(&mut trio, 1, 9, body(&[CommandKind::Query]))), Some(Ok(2)));
    assert_eq!(answer(&ask(&mut trio, 0, 10, body(&[CommandKind::Query]))), None);
    let (now, mut out) = (trio.now(), Actions::new());
    for sequence in std::mem::take(&mut trio.unwritten) {
        trio.replicas[0].handle(now, Input::Synced { sequence }, &mut out);
    }
    let said = out.iter().filter(|action| is_query(action));
    let said = said.filter_map(|action| answer(std::slice::from_ref(action)));
    assert_eq!(said.collect::<Vec<_>>(), [Ok(2)]);
}

#[cfg(feature = "plant")]
#[test]
fn an_answer_that_is_not_on_the_disk_is_noticed() {
    use crate::types::plant::plant;
    plant(Some("q1-unsynced-answers"));
    let test = a_query_is_answered_when_what_it_shows_is_on_the_disk;
    let caught = std::panic::catch_unwind(test).is_err();
    plant(None);
    assert!(caught);
}

/// What is more than a link gets at one time is refused, so that its client need not wait.
#[test]
fn more_answers_than_a_link_gets_at_one_time_are_refused() {
    let mut trio = counted(1);
    assert!(trio.replicas[0].answers.may(Asker::Client(LINK), 4 << 20));
    let frame = ChainQuery { id: 9, body: body(&[CommandKind::Query]) }.to_frame(GroupId::MAIN);
    let frames = vec![Frame::parse(frame.into()).unwrap()];
    let (now, mut out) = (trio.now(), Actions::new());
    let replica = &mut trio.replicas[0];
    replica.handle(now, Input::ClientFrames { link: LINK, frames }, &mut out);
    replica.answer_reads(&mut out);
    assert_eq!(answer(&out), Some(Err(NoteKind::Busy)));
}

fn is_query(action: &Action) -> bool {
    let Action::ToClient { frame, .. } = action else { return false };
    let frame = Frame::parse(frame.clone()).unwrap();
    Replies::first_session(&frame.body) == Some(SessionId::QUERIES)
}
