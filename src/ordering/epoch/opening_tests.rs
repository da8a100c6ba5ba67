//! One test a sentence of F1 to F3, and of M1 and M4, which follow from openings.

use super::*;
use crate::crypto::{Keyed, Keyring, PublicKey, Scheme, SecretKey, Unverified, Verified};
use crate::ordering::{Reason, order::Order};
use crate::types::{Ensemble, GroupId, OrderLimits, Root};
use crate::wire::{
    Attestation, Candidate, Change, Header, Proof, Proposal, Report, ReportHeader, StepPosition,
    vector_hash,
};

type Signed<T> = Vec<Unverified<T>>;

fn id(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn secret(who: ReplicaId) -> SecretKey {
    SecretKey::from_seed([who.number(); 32])
}

fn keyring(t: u8) -> Keyring<Keyed> {
    let ensemble = Ensemble::new(t).unwrap();
    let keys = ensemble.replicas().map(|r| Keyed::public(&Keyed::signer(&secret(r))));
    let keys: Vec<PublicKey> = keys.collect();
    let context = Context { cluster: Digest([9; 32]), group: GroupId::MAIN };
    Keyring::new(context, ensemble, keys).unwrap()
}

fn sign<T: crate::crypto::Signable>(t: u8, who: ReplicaId, message: T) -> Verified<T> {
    Verified::sign(message, &keyring(t), &Keyed::signer(&secret(who)))
}

fn call(t: u8, number: (u32, u32), accused: &[u8]) -> Call {
    let root = Root { generation: number.0, resets: number.1 };
    let list = Ensemble::new(t).unwrap().all();
    Call { root, list, accused: accused.iter().map(|n| id(*n)).collect() }
}

/// What a Report says, but for the call and who says it.
#[derive(Clone, Default)]
struct Says {
    /// The Reports that opened the epoch that it entered; none for the first.
    entered: Vec<Arc<Checked>>,
    /// The proposals of the vector that it names.
    vector: Vec<Verified<Proposal>>,
    proofs: Vec<Proof>,
    restarts: Members,
    lacks: Vec<Digest>,
}

fn report(t: u8, call: Call, who: u8, says: Says) -> Arc<Checked> {
    let keyring = keyring(t);
    let of = match says.entered.first() {
        None => (Epoch::GENESIS, keyring.ensemble().all(), Digest([7; 32])),
        Some(first) => {
            let call = first.header.call;
            let opening = Opening::of(call, &says.entered, &keyring.context());
            (call.number(), call.members(), opening.digest)
        }
    };
    let bare = ReportHeader::bare(call, id(who), of);
    let hashes: Vec<Digest> = says.vector.iter().map(|p| p.digest()).collect();
    let round = says.vector.first().map_or(Round(0), |p| p.round);
    let vector = match hashes.is_empty() {
        true => Digest::ZERO,
        false => vector_hash(&keyring.context(), of.0, round, &hashes),
    };
    let header = ReportHeader { round, vector, restarts: says.restarts, ..bare };
    let certificate: Signed<ReportHeader> =
        says.entered.iter().map(|r| r.signed_header().into()).collect();
    let headers: Signed<Header> = says.vector.iter().map(|p| p.header().into()).collect();
    let lacks = crate::wire::Lacks::Some(says.lacks);
    let report = Report::new(header, certificate, headers, says.proofs, Vec::new(), lacks);
    Arc::new(Checked::new(sign(t, id(who), report), &keyring, 4096).expect("it holds"))
}

fn proposal(t: u8, who: u8, round: u64, now: u64) -> Verified<Proposal> {
    let proposal = Proposal {
        epoch: Epoch::GENESIS,
        members: Ensemble::new(t).unwrap().all(),
        round: Round(round),
        replica: id(who),
        choice: Vec::new(),
        candidates: Vec::new(),
        changes: Vec::new(),
        now,
        attestation: Attestation::default(),
    };
    sign(t, id(who), proposal)
}

/// A complete vector of the first epoch, in which one replica signed for a clock of its own.
fn vector(t: u8, round: u64, (liar, now): (u8, u64)) -> Vec<Verified<Proposal>> {
    let n = Ensemble::new(t).unwrap().n() as u8;
    (1..=n).map(|r| proposal(t, r, round, if r == liar { now } else { 10 })).collect()
}

/// That this replica signed two proposals for one round.
fn proof(t: u8, liar: u8) -> Proof {
    let [one, other] = [1, 2].map(|now| proposal(t, liar, 1, now).header().into());
    Proof::Equivocation(one, other)
}

fn open(t: u8, reports: &[Arc<Checked>]) -> Opening {
    Opening::of(reports[0].header.call, reports, &keyring(t).context())
}

fn with_vector(vector: &[Verified<Proposal>]) -> Says {
    Says { vector: vector.to_vec(), ..Says::default() }
}

fn base(opening: &Opening) -> Option<u64> {
    opening.base.as_ref().map(|b| b.round.0)
}

#[test]
fn f1_the_highest_epoch_entered_counts() {
    let first = call(1, (0, 0), &[3]);
    let opened: Vec<_> = [1, 2].map(|r| report(1, first, r, Says::default())).into();
    let second = call(1, (0, 1), &[]);
    let further = Says { entered: opened, ..Says::default() };
    let behind = with_vector(&vector(1, 9, (3, 10)));
    let reports = [
        report(1, second, 1, further),
        report(1, second, 2, behind.clone()),
        report(1, second, 3, behind),
    ];
    let opening = open(1, &reports);
    // Two name a vector of a high round, but of an epoch that is over.
    assert_eq!((opening.from.0, base(&opening)), (first.number(), None));
}

#[test]
fn f2_the_base_is_what_most_members_chose_and_only_then_the_smallest_hash() {
    for now in 11..19 {
        let (one, other) = (vector(2, 4, (5, 10)), vector(2, 4, (5, now)));
        let call = call(2, (0, 0), &[5]);
        let says = [&one, &one, &one, &other].map(|v| with_vector(v));
        let reports: Vec<_> = (1..).zip(says).map(|(r, says)| report(2, call, r, says)).collect();
        let named: Vec<Digest> = one.iter().map(|p| p.digest()).collect();
        assert_eq!(open(2, &reports).base.expect("a base").hashes, named);
    }
}

#[test]
fn f2_a_report_of_a_proven_liar_does_not_speak_of_the_base() {
    let call = call(2, (0, 0), &[5]);
    let low = with_vector(&vector(2, 4, (5, 10)));
    let high = with_vector(&vector(2, 5, (5, 10)));
    let knows = Says { proofs: vec![proof(2, 4)], ..low.clone() };
    let says = [knows, low.clone(), low, high];
    let reports: Vec<_> = (1..).zip(says).map(|(r, says)| report(2, call, r, says)).collect();
    assert_eq!(base(&open(2, &reports)), Some(4));
}

/// The order after the opening that says why R3 is out.
fn without_r3(says: Says) -> Order {
    let mut order = Order::new(Ensemble::new(1).unwrap(), OrderLimits::default(), 5, Digest::ZERO);
    open_on(&mut order, call(1, (0, 0), &[3]), &[1, 2], says);
    order
}

fn open_on(order: &mut Order, call: Call, members: &[u8], says: Says) {
    let reports = members.iter().map(|r| report(1, call, *r, says.clone()));
    order.open(&open(1, &reports.collect::<Vec<_>>()));
}

fn may_join(order: &Order, who: u8, now: u64) -> Result<(), &'static str> {
    let position = StepPosition { round: Round(1), vector: Digest::ZERO };
    let join = Change::Join { replica: id(who), incarnation: 1, position };
    order.roster.effect(&join, Round(1), crate::types::AgreedTime(now))
}

#[test]
fn f3_who_lied_is_out_as_a_liar_even_if_it_restarted() {
    let restarts = [id(3)].into_iter().collect();
    let says = Says { proofs: vec![proof(1, 3)], restarts, ..Says::default() };
    let order = without_r3(says);
    assert_eq!(order.roster.standings[2].out, Some(Reason::Lied));
    assert!(may_join(&order, 3, u64::MAX).is_err());
    let order = without_r3(Says { restarts, ..Says::default() });
    assert_eq!(order.roster.standings[2].out, Some(Reason::Restarted));
    let order = without_r3(Says::default());
    assert_eq!(order.roster.standings[2].out, Some(Reason::Silent));
}

#[test]
fn m1_who_was_silent_joins_after_its_wait() {
    let order = without_r3(Says::default());
    let wait = order.roster.limits.join_wait;
    assert!(may_join(&order, 3, wait - 1).is_err());
    assert!(may_join(&order, 3, wait).is_ok());
    assert!(may_join(&order, 1, wait).is_err(), "it is a member");
}

#[test]
fn m4_a_wait_is_twice_as_long_each_time() {
    let mut order = without_r3(Says::default());
    let wait = order.roster.limits.join_wait;
    open_on(&mut order, call(1, (0, 1), &[]), &[1, 2, 3], Says::default());
    assert_eq!(order.roster.standings[2].out, None);
    open_on(&mut order, call(1, (0, 1), &[3]), &[1, 2], Says::default());
    assert_eq!(order.roster.standings[2].may_join.0, 2 * wait);
}

/// Commits a vector in which these members give request 1 a candidate. Gives how many requests run.
fn commit(order: &mut Order, members: &[u8], givers: &[u8]) -> usize {
    let round = order.round().next();
    let give = |who: &u8| {
        let clock = 10 * round.0 + u64::from(*who);
        let candidate = Candidate { clock, request: Digest([1; 32]) };
        let candidates = if givers.contains(who) { vec![candidate] } else { Vec::new() };
        let of = members.iter().map(|n| id(*n)).collect();
        let plain = proposal(1, *who, round.0, clock).message().clone();
        Proposal { candidates, members: of, ..plain }
    };
    let proposals: Vec<Proposal> = members.iter().map(give).collect();
    let vector = crate::ordering::order::Vector {
        position: StepPosition { round, vector: Digest::ZERO },
        members: members.iter().map(|n| id(*n)).collect(),
        hashes: vec![Digest::ZERO; members.len()],
        changes: Vec::new(),
        proposals: proposals.iter().collect(),
    };
    order.commit(&vector).requests.len()
}

#[test]
fn o1_candidates_of_who_goes_are_dropped() {
    let new = || Order::new(Ensemble::new(1).unwrap(), OrderLimits::default(), 5, Digest::ZERO);
    let accepted = |order: &Order| !order.unexecuted_bodies().is_empty();
    let mut order = new();
    commit(&mut order, &[1, 2, 3], &[3]);
    open_on(&mut order, call(1, (0, 0), &[3]), &[1, 2], Says::default());
    commit(&mut order, &[1, 2], &[1]);
    assert!(!accepted(&order), "only one member vouches for it");
    assert_eq!(commit(&mut order, &[1, 2], &[2]), 1);
}

#[test]
fn o7_a_request_whose_body_nobody_has_is_void() {
    let mut order = Order::new(Ensemble::new(1).unwrap(), OrderLimits::default(), 5, Digest::ZERO);
    commit(&mut order, &[1, 2, 3], &[1, 3]);
    let without = call(1, (0, 0), &[3]);
    let lacks = Says { lacks: vec![Digest([1; 32])], ..Says::default() };
    let opening = |says: [Says; 2]| {
        let reports = (1..).zip(says).map(|(r, says)| report(1, without, r, says));
        open(1, &reports.collect::<Vec<_>>())
    };
    let has = opening([Says::default(), lacks.clone()]);
    assert!(order.clone().open(&has).0.is_empty());
    let lost = opening([lacks.clone(), lacks]);
    assert_eq!(order.open(&lost).0, [Digest([1; 32])]);
}

#[cfg(feature = "plant")]
#[test]
fn the_planted_bugs_of_openings_change_who_is_a_member() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 8] = [
        ("f1-lowest-entered", f1_the_highest_epoch_entered_counts),
        (
            "f2-smallest-hash",
            f2_the_base_is_what_most_members_chose_and_only_then_the_smallest_hash,
        ),
        ("f2-liars-count", f2_a_report_of_a_proven_liar_does_not_speak_of_the_base),
        ("f3-liar-is-silent", f3_who_lied_is_out_as_a_liar_even_if_it_restarted),
        ("m1-join-at-once", m1_who_was_silent_joins_after_its_wait),
        ("m4-no-doubling", m4_a_wait_is_twice_as_long_each_time),
        ("o1-keep-dropped", o1_candidates_of_who_goes_are_dropped),
        ("o7-nothing-is-void", o7_a_request_whose_body_nobody_has_is_void),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}

/// §7: the replica is told that others have gone on without it also where nobody knows since when.
#[test]
fn one_whose_history_parts_from_the_others_somewhere_is_astray() {
    use crate::ordering::{Action, Core, Setup};
    let first = call(1, (0, 0), &[3]);
    let opened: Vec<_> = [1, 2].map(|r| report(1, first, r, Says::default())).into();
    let second = call(1, (0, 1), &[]);
    let further = Says { entered: opened, ..Says::default() };
    let reports = [1, 2, 3].map(|r| report(1, second, r, further.clone()));
    let setup = Setup::<Keyed> {
        id: id(1),
        keyring: keyring(1),
        signer: Keyed::signer(&secret(id(1))),
        genesis: Digest([7; 32]),
        timing: crate::types::Timing::from_delta(std::time::Duration::from_millis(20)),
        clock: crate::types::ClockKind::Hybrid,
        limits: OrderLimits::default(),
        seed: 1,
        disk: crate::types::DiskState::New,
        recovered: Vec::new(),
        replays: false,
        strict: false,
        incarnation: 1,
    };
    let now = crate::types::Now::default();
    let mut core = Core::new(setup, now);
    let mut out = Vec::new();
    core.go_astray(now, &Arc::new(open(1, &reports)), &mut out);
    let said = out.iter().filter_map(|action| match action {
        Action::Astray { keep, epoch } => Some((*keep, *epoch)),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(None, second.number())]);
}
