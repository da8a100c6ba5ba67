//! Which replies go out whole, and which by their digests (C3), at three replicas whose messages
//! are handed over by hand.

use super::*;
use crate::wire::{ChainQuery, Command, CommandKind, RequestBody};

/// Three to whom every outcome is large, with an open session.
fn trio() -> Trio {
    let mut trio = Trio::new(OrderLimits::default());
    trio.send(3, 0, Bytes::new()).unwrap();
    trio.told.clear();
    trio.replicas.iter_mut().for_each(|replica| replica.quotas.whole_bytes = 0);
    trio
}

/// Who has told the whole and who its digest since the last look.
fn told(trio: &mut Trio) -> (Vec<usize>, Vec<usize>) {
    let outcome = trio.told.first().map(|(_, m)| m.replies[0].outcome.clone());
    for (_, message) in &trio.digests {
        let digest = outcome.as_ref().map(|o| OutcomeDigest::of(o));
        assert!(digest.is_none_or(|d| d == message.digests[0].outcome));
    }
    let mut who: (Vec<usize>, Vec<usize>) = (
        trio.told.drain(..).map(|(i, _)| i).collect(),
        trio.digests.drain(..).map(|(i, _)| i).collect(),
    );
    who.0.sort_unstable();
    who.1.sort_unstable();
    who
}

fn frame(number: u64) -> Frame {
    let request = Request { session: SessionId(3), number, low: 1, body: add_one() };
    Frame::parse(request.to_frame(GroupId::MAIN).into()).unwrap()
}

#[test]
fn c3_replicas_take_turns_with_the_whole() {
    let mut trio = trio();
    for number in 1..=6 {
        trio.send(3, number, add_one());
        // Session 3 and this number, over three.
        let whole = number as usize % 3;
        let named = trio.digests.iter().map(|(_, m)| m.digests[0].whole.index());
        assert!(named.clone().all(|named| named == whole), "{:?}", named.collect::<Vec<_>>());
        let others = (0..3).filter(|i| *i != whole).collect();
        assert_eq!(told(&mut trio), (vec![whole], others), "{number}");
    }
    let counters = trio.replicas[0].status(trio.now()).counters;
    assert_eq!((counters["replies_digested"], counters["replies_whole"]), (4, 3));
}

#[test]
fn c3_small_results_are_told_whole_by_all() {
    let mut trio = trio();
    trio.replicas.iter_mut().for_each(|replica| replica.quotas.whole_bytes = 17);
    trio.send(3, 1, add_one()).unwrap();
    assert_eq!(told(&mut trio), (vec![0, 1, 2], vec![]), "a byte, two counts and a number");
    trio.replicas.iter_mut().for_each(|replica| replica.quotas.whole_bytes = 16);
    trio.send(3, 2, add_one());
    assert_eq!(told(&mut trio).1.len(), 2);
}

/// C2, C3: also if the repeat comes before the request has run.
#[test]
fn c3_what_is_asked_again_is_told_whole() {
    let mut trio = trio();
    trio.send(3, 1, add_one());
    told(&mut trio);
    let input = || Input::ClientFrames { link: LINK, frames: vec![frame(1)] };
    (0..3).for_each(|i| trio.input(i, input()));
    assert_eq!(told(&mut trio), (vec![0, 1, 2], vec![]));
    // The first gets it twice, and the others once.
    for i in [0, 0, 1, 2] {
        trio.input(i, Input::ClientFrames { link: LINK, frames: vec![frame(2)] });
    }
    trio.run(60);
    assert_eq!(told(&mut trio), (vec![0, 2], vec![1]), "it is the third's turn");
}

/// Q1, C3: the same about answers from the state.
#[test]
fn c3_answers_to_queries_take_turns_and_are_whole_if_asked_for() {
    let mut trio = trio();
    let bytes = Bytes::from(Counter::read());
    let body = RequestBody { commands: vec![Command { kind: CommandKind::Query, bytes }] };
    let turn = |id| (SessionId::QUERIES.0.wrapping_add(id) % 3) as usize;
    for id in 1..=3 {
        let query = ChainQuery { id, body: body.to_bytes() };
        let frame = query.to_frame(GroupId::MAIN);
        let again = WholeQuery(query).to_frame(GroupId::MAIN);
        for frame in [frame, again].map(|f| Frame::parse(f.into()).unwrap()) {
            for i in 0..3 {
                let frames = vec![frame.clone()];
                trio.input(i, Input::ClientFrames { link: LINK, frames });
                trio.input(i, Input::Drained);
            }
            let others = (0..3).filter(|i| *i != turn(id)).collect();
            match frame.kind {
                Kind::WholeQuery => assert_eq!(told(&mut trio), (vec![0, 1, 2], vec![])),
                _ => assert_eq!(told(&mut trio), (vec![turn(id)], others), "{id}"),
            }
        }
    }
}

#[cfg(feature = "plant")]
#[test]
fn a_planted_repeat_by_a_digest_is_caught() {
    use crate::types::plant::plant;
    plant(Some("c3-repeat-digested"));
    let caught = std::panic::catch_unwind(c3_what_is_asked_again_is_told_whole).is_err();
    plant(None);
    assert!(caught);
}
