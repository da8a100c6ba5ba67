//! E2: what convinces one good replica convinces another one, whatever liars had said to it before.

use super::*;
use crate::ordering::epoch::Checked;
use crate::types::Call;
use crate::types::plant::plant;
use crate::wire::{Evidence, Lacks, Report, ReportHeader};

const L1: usize = 3;
const L2: usize = 4;

fn five(i: usize) -> Core<Keyed> {
    let mut core = core_of(i, 2, false);
    (0..5).filter(|o| *o != i).for_each(|o| drop(act(&mut core, 0, up(o, 0))));
    core
}

/// A Blame of R1 for a round that will never be.
fn junk(from: usize, nth: u64) -> Input {
    let (epoch, members) = (Epoch::GENESIS, keyring(2).ensemble().all());
    let [accused, by] = [0, from].map(ReplicaId::from_index);
    let blame = Blame { epoch, members, step: BlameStep::Round(Round(1000 + nth)), accused, by };
    Input::Blame(Arc::new(Verified::sign(blame, &keyring(2), &Keyed::signer(&secret(from)))))
}

/// What R1 shows of its call, which it takes as R2 and the liar L2 blame L1 with it.
fn shown_by_one() -> Vec<Input> {
    let mut one = five(0);
    for from in [0, 1, L2] {
        act(&mut one, 1, blamed(from));
    }
    let out = act(&mut one, 1, Input::Lacks(Vec::new()));
    let synced = out.iter().find_map(|a| match a {
        Action::Persist { sequence, .. } => Some(Input::Synced { sequence: *sequence }),
        _ => None,
    });
    let said = act(&mut one, 1, synced.expect("promise and Report are written"));
    let keyring = keyring(2);
    let heard = said.into_iter().flat_map(|a| match a {
        Action::TellAll(Statement::Report(report)) => vec![Input::Report(report)],
        Action::TellAll(Statement::Call(_, evidence)) => {
            let blames = evidence.into_iter().map(|one| match one {
                Evidence::Blame(blame) => Input::Blame(Arc::new(blame.verify(&keyring).unwrap())),
                other => panic!("{other:?}"),
            });
            Input::together(blames.collect())
        }
        _ => Vec::new(),
    });
    heard.collect()
}

/// L1 has shown its first proposal to R3 only, which holds the round complete and would go on.
/// Whether R3 comes to R1's call all the same, with so much junk of each liar before.
fn is_convinced(said: u64) -> bool {
    let mut cores: Vec<_> = (0..5).map(five).collect();
    cores.iter_mut().for_each(|c| see(c, 1, 7));
    let sent: Vec<Held> = cores.iter_mut().flat_map(|c| drain(c, 1)).collect();
    let third = &mut cores[2];
    sent.iter().for_each(|p| drop(give(third, 1, p)));
    assert_eq!(third.complete(), Round(1));
    for from in [L1, L2] {
        (0..said).for_each(|nth| drop(act(third, 1, junk(from, nth))));
    }
    let heard = shown_by_one();
    assert!(matches!(&heard[..], [Input::Blames(b), Input::Report(_)] if b.len() == 3));
    heard.into_iter().for_each(|input| drop(act(third, 2, input)));
    third.promise().accused == 1
}

#[test]
fn e2_liars_that_have_said_much_keep_nobody_from_what_convinced_another() {
    for said in [0, 63, 64, 128, 200] {
        assert!(is_convinced(said), "{said}");
    }
    // Those that came first stayed once, and others were refused.
    plant(Some("e1-blames-stay"));
    let convinced = (is_convinced(63), is_convinced(64));
    plant(None);
    assert_eq!(convinced, (true, false));
}

/// E2, E4: R2 lies with two Reports, for a call that accuses R6 and for one that accuses R7, too.
/// What R6 is blamed for counts by the first of them already, and what R7 is by the second only.
/// Which of them are shown with the call that accuses both.
fn shown_of_two_reports() -> Vec<u8> {
    let (mut one, keyring) = (core_of(0, 3, false), keyring(3));
    let place = ReplicaId::from_index;
    let (epoch, members, root) = (Epoch::GENESIS, one.members, Epoch::GENESIS.root());
    let sign_blame = |accused: usize, by: usize| {
        let (accused, step) = (place(accused), BlameStep::Round(Round(1)));
        let blame = Blame { epoch, members, step, accused, by: place(by) };
        Arc::new(Verified::sign(blame, &keyring, &Keyed::signer(&secret(by))))
    };
    let blames = [5, 6].map(|accused| (0..4).map(move |by| (accused, by)));
    let blames = blames.into_iter().flatten().map(|(accused, by)| sign_blame(accused, by));
    act(&mut one, 1, Input::Blames(blames.collect()));
    let call = |accused: &[usize]| {
        let accused = accused.iter().map(|i| place(*i)).collect();
        Call { root, list: members, accused }
    };
    for accused in [&[5][..], &[5, 6]] {
        let of = (epoch, members, Digest([1; 32]));
        let header = ReportHeader::bare(call(accused), place(1), of);
        let none = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let report = Report::new(header, none.0, none.1, none.2, none.3, Lacks::Some(Vec::new()));
        let report = Verified::sign(report, &keyring, &Keyed::signer(&secret(1)));
        let report = Checked::new(report, &keyring, 4096).expect("it holds");
        act(&mut one, 1, Input::Report(Arc::new(report)));
    }
    one.change.promise = call(&[5, 6]);
    let mut out = Vec::new();
    one.show_call(None, &mut out);
    let reports = out.iter().filter_map(|action| match action {
        Action::TellAll(Statement::Report(report)) => Some(report.header.call.accused.len() as u8),
        _ => None,
    });
    reports.collect()
}

#[test]
fn e4_two_reports_of_a_liar_are_both_shown_if_each_makes_a_charge_count() {
    assert_eq!(shown_of_two_reports(), [1, 2]);
    plant(Some("e4-one-report-each"));
    let one = shown_of_two_reports();
    plant(None);
    assert_eq!(one, [1]);
}
