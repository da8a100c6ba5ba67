//! What becomes of a number that is withdrawn (rule C2), and of names (rule O6).

use super::*;
use crate::types::Round;
use crate::types::plant::plant;
use crate::wire::Outcome;

const CLIENT: ClientId = ClientId([1; 32]);
const OTHER: ClientId = ClientId([2; 32]);
const LIMITS: SessionLimits = SessionLimits { max_sessions: 3, window: 4, reply_bytes: 1 << 20 };
const SESSION: SessionId = SessionId(5);

fn request(number: u64, low: u64, body: &'static str) -> Request {
    Request { session: SESSION, number, low, body: Bytes::from_static(body.as_bytes()) }
}

fn digest(request: &Request) -> Digest {
    let mut name = [request.body.len() as u8; 32];
    (name[0], name[1]) = (request.number as u8, request.low as u8);
    Digest(name)
}

/// Orders a request as executors do, and says what its client gets: where it ran first, and with
/// which outcome.
fn order(t: &mut SessionTable, client: &ClientId, request: &Request) -> Option<(u64, Outcome)> {
    let name = digest(request);
    let outcome = match t.take(client, request, &name) {
        Admission::Open => Outcome::Opened,
        Admission::Fresh if request.withdraws() => Outcome::Withdrawn,
        Admission::Fresh => Outcome::Executed(vec![request.body.clone()]),
        Admission::Repeat(stored) => {
            let outcome = Outcome::parse(&stored.outcome).unwrap();
            return Some((stored.position.round.0, outcome));
        }
        Admission::Nothing => return None,
        Admission::Refused(why) => return Some((0, Outcome::Refused(why))),
    };
    let position = StepPosition { round: Round(t.uses), vector: Digest([9; 32]) };
    let reply = StoredReply { position, index: 0, outcome: outcome.to_bytes() };
    let name = if request.withdraws() { SessionTable::ANY_REQUEST } else { name };
    t.record(client, request.session, request.number, &name, reply);
    Some((position.round.0, outcome))
}

fn opened() -> SessionTable {
    let mut t = SessionTable::new(LIMITS);
    assert_eq!(order(&mut t, &CLIENT, &request(0, 0, "")), Some((1, Outcome::Opened)));
    t
}

fn ran(body: &'static str) -> Outcome {
    Outcome::Executed(vec![Bytes::from_static(body.as_bytes())])
}

/// Whether a request that comes after its number was withdrawn runs.
fn late_copy_runs() -> bool {
    let mut t = opened();
    order(&mut t, &CLIENT, &request(1, 1, ""));
    order(&mut t, &CLIENT, &request(1, 1, "late")).is_some_and(|(_, o)| o == ran("late"))
}

#[test]
fn c2_a_withdrawn_number_never_runs_and_everybody_is_told() {
    let mut t = opened();
    let withdrawn = Some((2, Outcome::Withdrawn));
    assert_eq!(order(&mut t, &CLIENT, &request(1, 1, "")), withdrawn);
    assert_eq!(order(&mut t, &CLIENT, &request(1, 1, "late")), withdrawn, "its late copy");
    assert_eq!(order(&mut t, &CLIENT, &request(1, 0, "")), withdrawn, "asked again, otherwise");
    let late = request(1, 1, "late");
    assert!(matches!(t.find(&CLIENT, &late, &digest(&late)), Lookup::Reply(_)));
    assert_eq!(order(&mut t, &CLIENT, &request(2, 1, "next")), Some((5, ran("next"))));
    assert!(!late_copy_runs());
}

#[test]
fn c2_what_ran_is_the_answer_to_a_withdrawal_whatever_it_was() {
    let mut t = opened();
    assert_eq!(order(&mut t, &CLIENT, &request(1, 1, "a")), Some((2, ran("a"))));
    for low in [0, 1] {
        let asks = request(1, low, "");
        assert_eq!(order(&mut t, &CLIENT, &asks), Some((2, ran("a"))));
        assert!(matches!(t.find(&CLIENT, &asks, &digest(&asks)), Lookup::Reply(_)));
    }
    // A request is not answered with what another one gave.
    let other = request(1, 1, "other");
    assert_eq!(order(&mut t, &CLIENT, &other), None);
    assert!(matches!(t.find(&CLIENT, &other, &digest(&other)), Lookup::Another(_)));
    assert_eq!(order(&mut t, &CLIENT, &request(1, 1, "a")), Some((2, ran("a"))));
}

#[test]
fn c2_what_is_no_longer_kept_is_said_to_be_gone() {
    let mut t = opened();
    let refused = |why| Some((0, Outcome::Refused(why)));
    for number in 1..=4 {
        order(&mut t, &CLIENT, &request(number, 1, "x"));
    }
    assert_eq!(order(&mut t, &CLIENT, &request(5, 1, "")), refused(Refusal::BeyondWindow));
    assert_eq!(t.low(&CLIENT, SESSION), Some(1), "a withdrawal that is refused changes nothing");
    t.limits.reply_bytes = 2 * (SessionLimits::REPLY_OVERHEAD + 20);
    order(&mut t, &CLIENT, &request(5, 2, "x"));
    assert_eq!(order(&mut t, &CLIENT, &request(1, 1, "")), refused(Refusal::BelowLowWater));
    assert_eq!(order(&mut t, &CLIENT, &request(2, 1, "")), refused(Refusal::ReplyGone));
    assert_eq!(t.look(&CLIENT, SESSION, 1), Looked::Gone);
    assert_eq!(t.look(&CLIENT, SESSION, 2), Looked::Gone);
    assert_eq!(order(&mut t, &OTHER, &request(1, 1, "")), refused(Refusal::UnknownSession));
}

#[test]
fn c2_a_look_changes_nothing() {
    let mut t = opened();
    order(&mut t, &CLIENT, &request(1, 1, "a"));
    order(&mut t, &CLIENT, &request(3, 1, ""));
    let before = t.digest();
    assert_eq!(t.look(&CLIENT, SESSION, 2), Looked::NotYet);
    assert_eq!(t.look(&CLIENT, SESSION, 900), Looked::NotYet);
    assert_eq!(t.look(&CLIENT, SessionId(6), 1), Looked::NoSession { evicted: false });
    for (number, outcome) in [(1, ran("a")), (3, Outcome::Withdrawn)] {
        let Looked::Stored { outcome: bytes, .. } = t.look(&CLIENT, SESSION, number) else {
            panic!("{number} is stored");
        };
        assert_eq!(Outcome::parse(&bytes), Ok(outcome));
    }
    assert_eq!(t.digest(), before);
}

/// Opens a session of this nonce.
fn open(t: &mut SessionTable, client: &ClientId, nonce: u64, low: u64) -> Outcome {
    let request = Request { session: SessionId(nonce), ..request(0, low, "") };
    order(t, client, &request).expect("openings are answered").1
}

/// Opens a session, has it evicted, and opens it cautiously: whether that succeeds.
fn name_is_used_again() -> bool {
    let mut t = opened();
    (10..13).for_each(|nonce| drop(open(&mut t, &CLIENT, nonce, 0)));
    assert!(!t.knows(&CLIENT, SESSION));
    open(&mut t, &CLIENT, SESSION.0, 1) == Outcome::Opened
}

#[test]
fn o6_a_name_is_opened_only_while_nothing_of_its_client_was_evicted() {
    let mut t = opened();
    assert_eq!(open(&mut t, &CLIENT, 6, 1), Outcome::Opened);
    assert_eq!(open(&mut t, &CLIENT, 6, 7), Outcome::Opened, "it is open already");
    let quiet = t.digest();
    (10..13).for_each(|nonce| drop(open(&mut t, &CLIENT, nonce, 0)));
    let unknown = Outcome::Refused(Refusal::UnknownSession);
    assert_eq!(open(&mut t, &CLIENT, SESSION.0, 1), unknown);
    assert_eq!(t.look(&CLIENT, SESSION, 1), Looked::NoSession { evicted: true });
    // Of another client nothing was evicted, so what is not there never was.
    assert_eq!(t.look(&OTHER, SESSION, 1), Looked::NoSession { evicted: false });
    let mut restored = SessionTable::new(LIMITS);
    restored.restore(&t.snapshot()).unwrap();
    assert_eq!(open(&mut restored, &CLIENT, 77, 1), unknown, "a snapshot has that too");
    assert_eq!(open(&mut t, &OTHER, SESSION.0, 1), Outcome::Opened);
    // Who knows that it is the first time says so, and is not asked again.
    assert_eq!(open(&mut t, &CLIENT, 77, 0), Outcome::Opened);
    assert_eq!(open(&mut t, &CLIENT, 77, 1), Outcome::Opened);
    assert_ne!(t.digest(), quiet);
    assert!(!name_is_used_again());
}

#[test]
fn planted_bugs_of_withdrawals_and_names_are_caught() {
    type Happens = fn() -> bool;
    let caught: [(&str, Happens); 3] = [
        ("c2-withdrawal-spends-nothing", late_copy_runs),
        ("c2-withdrawn-runs", late_copy_runs),
        ("o6-name-used-again", name_is_used_again),
    ];
    for (bug, happens) in caught {
        plant(Some(bug));
        let seen = happens();
        plant(None);
        assert!(seen, "{bug}");
    }
}
