//! Step tables of E1's budget: whom one member of three charges for waits, and when it blames.

use super::*;
use crate::types::Lag;
use crate::types::plant::plant;
use crate::wire::Restarted;

/// A usual wait is 5 × 5 ms + 10 ms.
const USUAL: u64 = 35;
const LAG: Lag = Lag { delta: Duration::from_millis(5), budget: Duration::from_millis(100) };

/// Three members behind the first vector of their epoch, with work; the first has a budget.
fn group() -> Vec<Core<Keyed>> {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores[0].timing.lag = Some(LAG);
    cores.iter_mut().for_each(|c| see(c, 1, 1));
    round(&mut cores, 1);
    cores
}

/// Runs a round that begins at `ms`. The first hears the third `wait` after that; gives whom it
/// blamed until then, and when. It is ticked when it asks for that, as it would be.
fn late_round(cores: &mut [Core<Keyed>], ms: u64, wait: u64, n: u8) -> Vec<(u64, u8)> {
    cores.iter_mut().for_each(|c| see(c, ms, n));
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, ms)).collect();
    for i in [1, 2] {
        (0..3).filter(|j| *j != i).for_each(|j| drop(give(&mut cores[i], ms, &sent[j])));
    }
    let one = &mut cores[0];
    let mut blamed = Vec::new();
    let mut said = give(one, ms, &sent[1]);
    for now in ms..ms + wait {
        // What a tick begins may ask for another one at once.
        for _ in 0..3 {
            if is_due(one, now) {
                said.extend(act(one, now, Input::Tick));
            }
        }
        blamed.extend(blames(&said).map(|who| (now - ms, who)));
        said.clear();
        assert!(!is_due(one, now), "{now}: it would be woken without end");
    }
    give(one, ms + wait, &sent[2]);
    blamed
}

fn is_due(core: &Core<Keyed>, now: u64) -> bool {
    core.next_wake().is_some_and(|due| due <= at(now).monotonic)
}

fn blames(said: &[Action]) -> impl Iterator<Item = u8> {
    said.iter().filter_map(|a| match a {
        Action::Event(Event::Blamed { accused, .. }) => Some(accused.number()),
        _ => None,
    })
}

/// What R1 has charged R3.
fn charged(one: &Core<Keyed>, ms: u64) -> Duration {
    one.lag_of(ReplicaId::from_index(2), at(ms).monotonic)
}

/// A budget of 100 ms comes back by 1 ms in 100.
#[test]
fn who_is_late_is_blamed_once_its_budget_is_spent() {
    let mut cores = group();
    // What a usual wait is costs nothing; 1 % of the rest comes back meanwhile.
    assert_eq!(late_round(&mut cores, 100, USUAL + 60, 2), []);
    assert_eq!(charged(&cores[0], 100 + USUAL + 60), Duration::from_micros(59_400));
    // 41.4 are left, of which it has 5 from look to look; patience would be 510 ms.
    assert_eq!(late_round(&mut cores, 200, 400, 3), [(USUAL + 45, 3)]);
    // Who has nothing left is blamed at the next look, and not in the turn in which it is seen.
    assert_eq!(late_round(&mut cores, 650, 400, 4), [(USUAL + 5, 3)]);
    // Of a complete round that is not said again.
    let up = Input::PeerUp { peer: ReplicaId::from_index(1), complete: Round(4) };
    let said = act(&mut cores[0], 1100, up);
    assert!(!said.iter().any(|a| matches!(a, Action::Tell { what: Statement::Blame(_), .. })));
    assert!(cores[0].change.blamed.is_empty());
}

/// What is no more than the budget in ten seconds is never too much, and what is more becomes so.
#[test]
fn usual_waits_cost_nothing_and_a_budget_comes_back() {
    let mut cores = group();
    for n in 2..102_u8 {
        let ms = 100 + u64::from(n) * (USUAL + 10);
        assert_eq!(late_round(&mut cores, ms, USUAL - 1, n), []);
    }
    assert_eq!(charged(&cores[0], 10_000), Duration::ZERO);
    let every = |cores: &mut [Core<Keyed>], from: u64, late: u64| {
        let each = |n: u8| (from + u64::from(n) * 2300, n);
        let mut rounds = (102..172).map(each);
        rounds.position(|(ms, n)| !late_round(cores, ms, USUAL + late, n).is_empty())
    };
    // 92 ms and 101 ms in ten seconds.
    assert_eq!(every(&mut cores, 0, 21), None);
    assert!(charged(&cores[0], 171 * 2300 + USUAL + 21) < Duration::from_millis(30));
    let mut cores = group();
    assert!(every(&mut cores, 0, 45).is_some_and(|rounds| rounds < 10));
}

#[test]
fn without_a_budget_patience_counts() {
    let mut cores = group();
    cores[0].timing.lag = None;
    assert_eq!(late_round(&mut cores, 100, 509, 2), []);
    assert_eq!(late_round(&mut cores, 700, 520, 3), [(510, 3)]);
}

/// A budget that is longer than patience: then that counts, and the wait is charged once.
#[test]
fn one_that_is_blamed_after_patience_is_charged_once() {
    let mut cores = group();
    cores[0].timing.lag = Some(Lag { budget: Duration::from_millis(1000), ..LAG });
    assert_eq!(late_round(&mut cores, 100, 600, 2), [(510, 3)]);
    let spent = charged(&cores[0], 700);
    // A tenth comes back. Once it is blamed nobody looks any more, so the last 90 ms count for 10.
    let (least, most) = (Duration::from_millis(420), Duration::from_millis(430));
    assert!((least..most).contains(&spent), "{spent:?}");
}

/// Rounds in which both others come together `late` after this replica sent its own.
fn both_late(cores: &mut [Core<Keyed>], ms: u64, late: u64, n: u8) {
    cores.iter_mut().for_each(|c| see(c, ms, n));
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, ms)).collect();
    for i in [1, 2] {
        (0..3).filter(|j| *j != i).for_each(|j| drop(give(&mut cores[i], ms, &sent[j])));
    }
    let mut said = act(&mut cores[0], ms + late - 1, Input::Tick);
    [1, 2].iter().for_each(|i| said.extend(give(&mut cores[0], ms + late, &sent[*i])));
    assert_eq!(blames(&said).count(), 0);
}

/// With more than t missing it is this replica, its network or all that is slow.
#[test]
fn nobody_is_charged_while_more_than_t_are_missing() {
    let mut cores = group();
    for (ms, n) in [(100, 2), (1000, 3), (2000, 4)] {
        both_late(&mut cores, ms, 300, n);
        assert_eq!(charged(&cores[0], ms + 300), Duration::ZERO);
    }
}

/// What came while this replica did not run is no wait, whether it had seen before that somebody is
/// late or not.
#[test]
fn a_replica_that_did_not_run_charges_nobody_for_that() {
    let slept = |seen: bool| {
        let mut cores = group();
        for (ms, n) in [(100, 2), (1000, 3), (2000, 4)] {
            cores.iter_mut().for_each(|c| see(c, ms, n));
            let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, ms)).collect();
            for i in [1, 2] {
                (0..3).filter(|j| *j != i).for_each(|j| drop(give(&mut cores[i], ms, &sent[j])));
            }
            give(&mut cores[0], ms, &sent[1]);
            if seen {
                act(&mut cores[0], ms + USUAL, Input::Tick);
            }
            give(&mut cores[0], ms + 400, &sent[2]);
        }
        charged(&cores[0], 2400)
    };
    assert_eq!(slept(false), Duration::ZERO);
    // Twice `lag_delta` each time at most.
    assert!(slept(true) <= Duration::from_millis(30), "{:?}", slept(true));
    plant(Some("e1-lag-asleep"));
    let planted = slept(true);
    plant(None);
    assert!(planted > Duration::from_millis(80), "{planted:?}");
}

/// Members enter an epoch at different times.
#[test]
fn the_first_round_of_an_epoch_costs_nothing() {
    let mut cores: Vec<_> = (0..3).map(ready).collect();
    cores[0].timing.lag = Some(LAG);
    assert_eq!(late_round(&mut cores, 100, 500, 1), []);
    assert_eq!(late_round(&mut cores, 700, USUAL + 99, 2), []);
}

/// Leaves R1 waiting for R3 until `ms + wait`.
fn begin_late(cores: &mut [Core<Keyed>], ms: u64, wait: u64, n: u8) -> Vec<Action> {
    cores.iter_mut().for_each(|c| see(c, ms, n));
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, ms)).collect();
    give(&mut cores[0], ms, &sent[1]);
    (ms..ms + wait).flat_map(|now| act(&mut cores[0], now, Input::Tick)).collect()
}

/// A liar that says that it restarted is out at once, comes back, and has what it left.
#[test]
fn who_leaves_the_epoch_otherwise_is_charged_for_the_wait() {
    let left = || {
        let mut cores = group();
        assert_eq!(blames(&begin_late(&mut cores, 100, USUAL + 60, 2)).count(), 0);
        let (epoch, members) = (Epoch::GENESIS, cores[0].members);
        let replica = ReplicaId::from_index(2);
        let restarted = Restarted { epoch, members, replica, incarnation: 2 };
        let signer = Keyed::signer(&secret(2));
        let restarted = Arc::new(Verified::sign(restarted, &keyring(1), &signer));
        let said = act(&mut cores[0], 100 + USUAL + 60, Input::Restarted(restarted));
        let called = |a: &Action| matches!(a, Action::Event(Event::Called { .. }));
        assert!(said.iter().any(called), "{said:?}");
        charged(&cores[0], 100 + USUAL + 60)
    };
    assert_eq!(left(), Duration::from_micros(59_400));
    plant(Some("e1-lag-unsettled"));
    let unsettled = left();
    plant(None);
    assert!(unsettled < Duration::from_millis(59), "{unsettled:?}");
}

/// A liar that is late for one good replica at a time is blamed by one alone in round after round.
/// What that one says counts all the same once another one says it, too.
#[test]
fn a_hundred_blames_in_vain_do_not_use_up_the_next() {
    let accused = || {
        let mut cores = group();
        for n in 2..102_u8 {
            let ms = u64::from(n) * 500;
            let blamed = late_round(&mut cores, ms, 400, n);
            assert_eq!(blamed.len(), 1, "{n}");
        }
        let said = begin_late(&mut cores, 60_000, 400, 102);
        assert_eq!(blames(&said).collect::<Vec<_>>(), [3]);
        let (epoch, members) = (Epoch::GENESIS, cores[0].members);
        let step = BlameStep::Round(cores[0].complete().next());
        let [by, accused] = [1, 2].map(ReplicaId::from_index);
        let blame = Blame { epoch, members, step, accused, by };
        let blame = Arc::new(Verified::sign(blame, &keyring(1), &Keyed::signer(&secret(1))));
        let said = act(&mut cores[0], 60_400, Input::Blame(blame));
        said.iter().any(|a| matches!(a, Action::Event(Event::Called { .. })))
    };
    assert!(accused());
    plant(Some("e1-blames-stay"));
    let in_vain = accused();
    plant(None);
    assert!(!in_vain);
}

/// E1: what was blamed in vain, or ended an epoch, is not said again for ever: it would use up what
/// others check of this replica.
#[test]
fn what_was_blamed_in_an_epoch_that_is_over_is_not_said_again() {
    let mut one = group().remove(0);
    let next = Epoch { accused: 1, ..Epoch::GENESIS };
    let charge = |epoch, round| {
        (epoch, one.members, BlameStep::Round(Round(round)), ReplicaId::from_index(2))
    };
    let (past, here) = (charge(Epoch::GENESIS, 70), charge(next, 70));
    one.epoch = next;
    assert_eq!([past, here].map(|c| one.is_overtaken(&c)), [true, false]);
    plant(Some("e1-blames-again"));
    let again = !one.is_overtaken(&past);
    plant(None);
    assert!(again);
    // Without budgets nobody blames so often, and nothing is left out.
    one.timing.lag = None;
    assert!(!one.is_overtaken(&past));
}

/// E4: where too much was blamed, each of the accused is shown with what accuses it.
#[test]
fn all_of_the_accused_are_shown_with_why() {
    use crate::wire::{Evidence, MAX_EVIDENCE};
    // Of 31 R21 is accused in the first epoch, and eleven others in each of the next six.
    let mut one = core_of(0, 15, false);
    let (keyring, members) = (keyring(15), one.members);
    let [first, others] = [20..21, 21..31].map(|places: std::ops::Range<usize>| {
        places.map(ReplicaId::from_index).collect::<Members>()
    });
    let mut blames = Vec::new();
    for (by, accused) in (0..16).flat_map(|by| (0..7).map(move |accused| (by, accused))) {
        let by = ReplicaId::from_index(by);
        let epoch = Epoch { accused, ..Epoch::GENESIS };
        for accused in if accused == 0 { first } else { others }.iter() {
            let blame = Blame { epoch, members, step: BlameStep::Round(Round(1)), accused, by };
            let signer = Keyed::signer(&secret(by.index()));
            blames.push(Arc::new(Verified::sign(blame, &keyring, &signer)));
        }
    }
    act(&mut one, 1, Input::Blames(blames));
    assert_eq!(one.stats.blames, 16 * 61);
    let root = Epoch::GENESIS.root();
    let call = crate::types::Call { root, list: members, accused: first.union(others) };
    let all_are_shown = |one: &Core<Keyed>| {
        let evidence = one.evidence_of(&call);
        assert!(evidence.len() <= MAX_EVIDENCE);
        let blamed = |x| {
            let on = |e: &&Evidence| matches!(e, Evidence::Blame(b) if b.peek().accused == x);
            evidence.iter().filter(on).count()
        };
        call.accused.iter().all(|x| blamed(x) >= 16)
    };
    assert!(all_are_shown(&one));
    plant(Some("e4-evidence-cut"));
    let cut = !all_are_shown(&one);
    plant(None);
    assert!(cut);
}

/// E4: liars blame on whom a call accuses more than fits into a message. The call is shown with
/// what it rests on.
#[test]
fn what_a_call_rests_on_fits_into_a_message() {
    use crate::wire::{CallMessage, Evidence, MAX_EVIDENCE, Message};
    // Of 17 with t = 8: R2 to R9 and R1 itself blame R17 for a round, and liars for many more.
    let mut one = core_of(0, 8, false);
    (1..17).for_each(|other| drop(act(&mut one, 0, up(other, 0))));
    let (epoch, members, accused) = (Epoch::GENESIS, one.members, ReplicaId::from_index(16));
    let blame = |by: usize, round: u64| {
        let (by, step) = (ReplicaId::from_index(by), BlameStep::Round(Round(round)));
        let blame = Blame { epoch, members, step, accused, by };
        Arc::new(Verified::sign(blame, &keyring(8), &Keyed::signer(&secret(by.index()))))
    };
    for (nth, by) in (0..100).flat_map(|nth| (1..16).map(move |by| (nth, by))) {
        act(&mut one, 1, Input::Blame(blame(by, 2000 + 20 * nth + by as u64)));
    }
    let said = act(&mut one, 2, Input::Blames((0..9).map(|by| blame(by, 1)).collect()));
    let called = |a: &Action| matches!(a, Action::Event(Event::Called { .. }));
    assert!(said.iter().any(called));
    let call = one.change.promise;
    let shown = |one: &Core<Keyed>| {
        let evidence = one.evidence_of(&call);
        let blames = evidence.iter().filter(
            |e| matches!(e, Evidence::Blame(b) if b.peek().step == BlameStep::Round(Round(1))),
        );
        let frame = CallMessage { call, evidence: evidence.clone() }.to_frame(GroupId::MAIN);
        let body = crate::wire::Frame::parse(frame.into()).unwrap().body;
        (evidence.len(), blames.count(), CallMessage::from_body(&body).is_ok())
    };
    assert_eq!(shown(&one), (9, 9, true));
    plant(Some("e4-evidence-unbounded"));
    let (many, _, readable) = shown(&one);
    plant(None);
    assert!(many > MAX_EVIDENCE && !readable, "{many}");
}

/// R6: another one's request may still be on its way here, but a round that was started is joined
/// after `join_delay`, 10 ms: others count with that (E1).
#[test]
fn r6_one_that_gathers_joins_in_time() {
    let woken = || {
        let mut cores = group();
        cores.iter_mut().for_each(|c| see(c, 100, 2));
        see(&mut cores[1], 100, 3);
        let sent: Vec<Held> = (1..3).flat_map(|i| drain(&mut cores[i], 100)).collect();
        let one = &mut cores[0];
        give(one, 100, &sent[1]);
        // What R2 names and R1 has not seen is gathered for as long again.
        one.timing.gather = one.timing.join_delay;
        give(one, 105, &sent[0]);
        one.next_wake()
    };
    assert_eq!(woken(), Some(at(110).monotonic));
    plant(Some("r6-gather-first"));
    let planted = woken();
    plant(None);
    assert_eq!(planted, Some(at(115).monotonic));
}

#[test]
fn planted_mistakes_about_budgets_are_noticed() {
    plant(Some("e1-lag-unbudgeted"));
    let unbudgeted = late_round(&mut group(), 100, USUAL + 60, 2);
    plant(Some("e1-lag-uncounted"));
    let mut cores = group();
    late_round(&mut cores, 100, USUAL + 60, 2);
    let uncounted = late_round(&mut cores, 200, USUAL + 90, 3);
    plant(None);
    assert_eq!(unbudgeted, [(USUAL, 3)]);
    assert_eq!(uncounted, []);
}
