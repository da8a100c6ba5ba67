//! E2: what convinces one good replica convinces another one, whatever liars had said to it before.

use super::*;
use crate::types::plant::plant;
use crate::wire::Evidence;

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
