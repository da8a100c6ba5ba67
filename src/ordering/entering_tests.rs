//! Step tables of E6: what keeps a member from entering an epoch.

use super::*;

const R3: usize = 2;

/// The first round stops: R1 and R2 blame R3.
fn blames() -> [Input; 2] {
    [0, 1].map(|from| {
        let blame = Blame {
            epoch: Epoch::GENESIS,
            members: keyring(1).ensemble().all(),
            step: BlameStep::Round(Round(1)),
            accused: ReplicaId::from_index(R3),
            by: ReplicaId::from_index(from),
        };
        Input::Blame(Arc::new(Verified::sign(blame, &keyring(1), &Keyed::signer(&secret(from)))))
    })
}

fn written(out: &[Action]) -> Option<Input> {
    out.iter().find_map(|action| match action {
        Action::Persist { sequence, .. } => Some(Input::Synced { sequence: *sequence }),
        _ => None,
    })
}

/// Whether the opening is being written, once the bodies for it are there.
fn enters(core: &mut Core<Keyed>, ms: u64, out: &[Action]) -> bool {
    let asked = out.iter().find_map(|action| match action {
        Action::NeedBodies { opening, .. } => Some(Input::Bodies { opening: *opening }),
        _ => None,
    });
    asked.is_some_and(|bodies| written(&act(core, ms, bodies)).is_some())
}

/// R1 and R2, each with a Report for the call without R3 that has been out since then.
fn reporting(ms: u64) -> [(Core<Keyed>, Input); 2] {
    [0, 1].map(|i| {
        let mut core = ready(i);
        let mut out = Vec::new();
        blames().into_iter().for_each(|blame| out.extend(act(&mut core, ms, blame)));
        assert!(counts(&out), "it takes the call");
        let synced = written(&act(&mut core, ms, Input::Lacks(Vec::new())));
        let said = act(&mut core, ms, synced.expect("promise and Report are written"));
        let report = said.into_iter().find_map(|action| match action {
            Action::TellAll(Statement::Report(report)) => Some(Input::Report(report)),
            _ => None,
        });
        (core, report.expect("its Report leaves"))
    })
}

/// E6: one that was blamed wrongly, too, has Δ to make its call known.
#[test]
fn e6_with_blames_the_own_report_is_out_for_delta_first() {
    let [(mut core, _), (_, report)] = reporting(10);
    let out = act(&mut core, 20, report);
    assert!(!enters(&mut core, 20, &out), "all Reports are there");
    assert_eq!(core.next_wake(), Some(at(110).monotonic));
    let out = act(&mut core, 109, Input::Tick);
    assert!(!enters(&mut core, 109, &out));
    let out = act(&mut core, 110, Input::Tick);
    assert!(enters(&mut core, 110, &out));
    assert_eq!(core.epoch().accused, 1);
}

/// E6: with two lists in one root two calls of one number could be complete.
#[test]
fn e6_another_list_of_the_same_root_stalls_it() {
    let [(mut core, _), (_, report)] = reporting(10);
    let (root, list) = (Root::GENESIS, [0, 1].map(ReplicaId::from_index).into_iter().collect());
    core.change.lists.entry(root).or_default().insert(list);
    let out = act(&mut core, 20, report);
    let stalled = |a: &Action| matches!(a, Action::Event(Event::Stalled { root: r }) if *r == root);
    assert!(out.iter().any(stalled), "{out:?}");
    let out = act(&mut core, 110, Input::Tick);
    assert!(!enters(&mut core, 110, &out));
}

#[cfg(feature = "plant")]
#[test]
fn the_planted_bugs_of_entering_are_noticed() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 2] = [
        ("e6-enters-at-once", e6_with_blames_the_own_report_is_out_for_delta_first),
        ("e6-any-list", e6_another_list_of_the_same_root_stalls_it),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}
