//! Step tables: large results that come by digests, and what is done when the whole does not (C3).

use super::*;
use crate::wire::{Digests, ReplyDigest};

const LARGE: &str = "a large result";

impl World {
    /// A digest of this output in place of the outcome; the whole is the turn of another.
    fn digest(&mut self, i: u8, request: &Request, output: &str, whole: u8) {
        let (session, number) = (request.session, request.number);
        let outcome = executed(&[output]).to_bytes();
        let reply = Reply { session, number, index: 0, outcome };
        let position = StepPosition { round: Round(self.round), vector: Digest([1; 32]) };
        let digests = vec![ReplyDigest::of(&reply, r(whole))];
        let message = Digests { position, rolled: false, digests };
        self.frame(i, Kind::Digests, body_of(&message));
        self.drained();
    }

    fn whole(&mut self, i: u8, request: &Request, output: &str) {
        self.say(i, request, &executed(&[output]));
        self.drained();
    }

    /// Who was sent something since the last look.
    fn asked(&mut self) -> Vec<u8> {
        self.sends.drain(..).map(|(to, _)| to).collect()
    }
}

fn called() -> (World, Request) {
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    w.sends.clear();
    (w, q)
}

#[test]
fn c3_one_whole_and_one_digest_are_an_answer() {
    let (mut w, q) = called();
    w.digest(1, &q, LARGE, 3);
    assert!(w.done.is_empty());
    w.whole(3, &q, LARGE);
    assert_eq!(w.outputs(1), [LARGE.as_bytes()]);
    w.digest(2, &q, LARGE, 3);
    assert!(w.asked().is_empty());
    let stats = w.caller.stats();
    assert_eq!((stats.repeats, stats.outstanding), (0, 0));
    let replies: Vec<u64> = stats.replicas.iter().map(|r| r.replies - 1).collect();
    assert_eq!(replies, [1, 1, 1], "besides those to the opening");
    assert!(stats.replicas.iter().all(|r| r.dissent == 0 && r.strays == 0));
}

#[test]
fn c3_a_late_digest_of_something_else_is_dissent() {
    for first in [1, 2] {
        let (mut w, q) = called();
        // Accepted by two wholes, nothing of it was hashed; or with a digest.
        w.whole(3, &q, LARGE);
        match first {
            1 => w.whole(1, &q, LARGE),
            _ => w.digest(1, &q, LARGE, 3),
        }
        (0..2).for_each(|_| w.digest(2, &q, "another result", 3));
        let dissent: Vec<u64> = w.caller.stats().replicas.iter().map(|r| r.dissent).collect();
        assert_eq!(dissent, [0, 1, 0]);
    }
}

#[test]
fn c3_the_whole_is_waited_for_and_then_asked_for() {
    let (mut w, q) = called();
    w.now = 7;
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    w.at(31);
    assert!(w.asked().is_empty(), "a quarter of the time of a repeat");
    w.at(32);
    assert_eq!(w.asked(), [1, 2], "who agree are asked again");
    w.whole(2, &q, LARGE);
    assert_eq!(w.outputs(1), [LARGE.as_bytes()]);
    // The third is not waited for in the next while.
    w.now = 40;
    let q = w.call(2, "get");
    w.sends.clear();
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    assert_eq!(w.asked(), [1, 2], "at once");
    w.whole(3, &q, LARGE);
    assert_eq!(w.outputs(2), [LARGE.as_bytes()], "it came after all");
    // After that it is.
    w.now = 2000;
    let q = w.call(3, "get");
    w.sends.clear();
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    assert!(w.asked().is_empty());
}

#[test]
fn c3_who_has_no_link_is_not_waited_for() {
    let (mut w, q) = called();
    w.down(3);
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    assert_eq!(w.asked(), [1, 2], "at once");
    w.digest(1, &q, LARGE, 3);
    assert!(w.asked().is_empty(), "once");
    w.whole(1, &q, LARGE);
    assert_eq!(w.outputs(1), [LARGE.as_bytes()]);
    // It goes while it is waited for.
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    w.sends.clear();
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    assert!(w.asked().is_empty());
    w.down(3);
    w.drained();
    assert_eq!(w.asked(), [1, 2]);
}

#[test]
fn c3_who_has_said_something_else_is_not_waited_for() {
    // Another whole, before or after the others; a digest of its own; a note.
    for case in 0..4 {
        let (mut w, q) = called();
        match case {
            0 => w.whole(3, &q, "a large resulT"),
            2 => w.digest(3, &q, LARGE, 2),
            3 => w.note(3, &q, NoteKind::Busy),
            _ => {}
        }
        w.digest(1, &q, LARGE, 3);
        if case != 2 {
            w.digest(2, &q, LARGE, 3);
        }
        if case == 1 {
            assert!(w.asked().is_empty());
            w.whole(3, &q, "a large resulT");
        }
        if case == 2 {
            // The third says that it is the turn of the second, who has said nothing.
            assert!(w.asked().is_empty());
            w.note(2, &q, NoteKind::Busy);
            w.drained();
            assert_eq!(w.asked(), [1, 3]);
        } else {
            assert_eq!(w.asked(), [1, 2], "{case}");
        }
        w.whole(1, &q, LARGE);
        assert_eq!(w.outputs(1), [LARGE.as_bytes()]);
    }
}

/// Whoever agrees and then gives nothing whole is asked until another does.
#[test]
fn c3_it_is_asked_for_until_it_comes() {
    let (mut w, q) = called();
    w.digest(1, &q, LARGE, 3);
    w.digest(2, &q, LARGE, 3);
    w.at(25);
    assert_eq!(w.asked(), [1, 2]);
    // The second gives its digest again and again, the first is slow.
    w.digest(2, &q, LARGE, 3);
    assert!(w.asked().is_empty());
    w.at(125);
    assert_eq!(w.asked(), [1, 2, 3], "and who has not spoken");
    w.whole(1, &q, LARGE);
    assert_eq!(w.outputs(1), [LARGE.as_bytes()]);
}

#[test]
fn c3_a_digest_larger_than_any_result_is_no_vote() {
    let limits = OrderLimits { max_output: 100, ..setup(1).limits };
    let mut w = World::open(Setup { limits, ..setup(1) });
    let q = w.call(1, "get");
    let long = "x".repeat(200);
    w.digest(1, &q, &long, 3);
    w.digest(2, &q, &long, 3);
    w.whole(3, &q, &long);
    assert!(w.done.is_empty());
    let strays: Vec<u64> = w.caller.stats().replicas.iter().map(|r| r.strays).collect();
    assert_eq!(strays, [1, 1, 1]);
}

#[test]
fn c3_digests_of_what_was_never_asked_are_strays() {
    let (mut w, q) = called();
    w.digest(1, &Request { number: 99, ..q.clone() }, LARGE, 3);
    w.digest(1, &Request { session: SessionId(4), ..q }, LARGE, 3);
    assert_eq!(w.caller.stats().replicas[0].strays, 2);
    w.frame(2, Kind::Digests, Bytes::from_static(b"garbage"));
    assert_eq!(w.closed.len(), 1, "what is no message closes the link");
}
