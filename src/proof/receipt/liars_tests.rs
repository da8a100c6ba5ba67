//! Liars with `t` keys, who see everything that honest replicas sign, try to make receipts.

use super::world::*;
use super::*;
use crate::crypto::{Keyed, Unverified};
use crate::types::plant::plant;
use crate::wire::{Attestation, LaterStep, ReceiptProof};
use proptest::prelude::*;

type Ring = Keyring<Keyed>;
type Signed = Unverified<Header>;

/// What liars know: one group's history, what honest replicas signed of it and elsewhere.
struct Scene {
    keyring: Ring,
    past: Past,
    /// Of other clusters and groups of the same replicas, in which other things happened.
    elsewhere: Vec<(Ring, Past)>,
    /// All that honest replicas have signed, wherever.
    seen: Vec<Signed>,
    honest: Members,
    liars: Vec<ReplicaId>,
}

impl Scene {
    /// With so many liars among `2t + 1`.
    fn new(t: u8, liars: usize, dice: &mut Dice) -> Self {
        let keyring = keyring(t);
        let mut order: Vec<ReplicaId> = keyring.ensemble().replicas().collect();
        (0..order.len()).for_each(|i| order.swap(i, dice.roll(i + 1)));
        let honest = order.split_off(liars).into_iter().collect();
        let mut past = Past::new(keyring.context());
        past.grow("main", 4 + dice.roll(8), dice);
        let mut scene =
            Self { keyring, past, elsewhere: vec![], seen: vec![], honest, liars: order };
        for other in [keyring_of(t, "another", 0), keyring_of(t, "cluster", 1)] {
            let mut past = Past::new(other.context());
            past.grow("else", 4, dice);
            scene.elsewhere.push((other, past));
        }
        scene.sign_all(dice);
        scene
    }

    /// Honest replicas attest what they have executed, some of it nothing, over several epochs.
    fn sign_all(&mut self, dice: &mut Dice) {
        let all = self.keyring.ensemble().all();
        let here = (self.keyring.clone(), self.past.clone());
        for (keyring, past) in std::iter::once(&here).chain(&self.elsewhere) {
            for who in self.honest.iter() {
                let mut epoch = Epoch::GENESIS;
                let mut members = all;
                for at in 0..past.steps.len() {
                    if dice.once_in(4) {
                        epoch.accused += 1;
                        members = all;
                        members.remove(replica(dice.roll(all.len())));
                        members.insert(who);
                    }
                    if dice.once_in(3) {
                        continue;
                    }
                    let attestation = match dice.roll(8) {
                        0 => Attestation::default(),
                        1 => Attestation { rolled: true, ..past.attest(at) },
                        _ => past.attest(at),
                    };
                    let header = Header { epoch, ..header(who, attestation, members) };
                    self.seen.push(sign(header, keyring, 0));
                }
            }
        }
    }

    /// Whether this was answered by honest replicas of this group.
    fn was_given(&self, receipt: &Receipt) -> bool {
        let Receipt { client, request, outcome, proof } = receipt;
        let step = self.past.steps.iter().find(|s| s.position == proof.position);
        let ran = step.and_then(|s| s.ran.get(proof.index as usize));
        ran.is_some_and(|r| {
            (r.client, &r.request, &r.outcome) == (*client, request, &Some(outcome.clone()))
        })
    }

    /// A receipt of this history or of another one, with headers that were seen.
    fn begin(&self, dice: &mut Dice) -> Option<Receipt> {
        let past = match dice.roll(6) {
            0 => &dice.pick(&self.elsewhere).1,
            _ => &self.past,
        };
        let all: Vec<(usize, usize)> = match dice.roll(3) {
            // Those of what had no outcome too.
            0 => {
                let steps = past.steps.iter().enumerate();
                steps.flat_map(|(at, s)| (0..s.ran.len()).map(move |i| (at, i))).collect()
            }
            _ => past.given(),
        };
        let place = *all.get(dice.roll(all.len()))?;
        let last = place.0 + dice.roll(past.steps.len() - place.0);
        Some(past.receipt(place, last, &[], &self.keyring))
    }

    /// One of the ways to make something else of a receipt.
    fn tamper(&self, receipt: &mut Receipt, dice: &mut Dice) {
        let other = self.begin(dice);
        let proof = &mut receipt.proof;
        match dice.roll(18) {
            0 => receipt.outcome = executed("a lie"),
            1 => receipt.outcome = other.map_or(Outcome::Opened.to_bytes(), |o| o.outcome),
            2 => receipt.client = client(dice.roll(5) as u8),
            3 => receipt.request.number = dice.roll(40) as u64,
            4 => receipt.request.low += 1,
            5 => receipt.request = other.map_or(request(1, 1, "lie"), |o| o.request),
            6 => proof.index = dice.roll(6) as u32,
            7 => {
                proof.index = dice.roll(6) as u32;
                proof.path.place = proof.index;
                proof.path.leaves = proof.index + 1 + dice.roll(4) as u32;
            }
            8 => proof.position.round = Round(1 + dice.roll(12) as u64),
            9 => proof.before = self.some_digest(dice),
            10 => match dice.roll(3) {
                0 => {
                    proof.path.siblings.pop();
                }
                1 => proof.path.siblings.push(self.some_digest(dice)),
                _ => proof.path.siblings.iter_mut().for_each(|s| *s = self.some_digest(dice)),
            },
            11 => proof.path = other.map_or(proof.path.clone(), |o| o.proof.path),
            12 => match dice.roll(3) {
                0 if !proof.later.is_empty() => {
                    proof.later.remove(0);
                }
                1 => {
                    proof.later.pop();
                }
                _ => proof.later.clear(),
            },
            13 => proof.later = other.map_or(vec![], |o| o.proof.later),
            14 => {
                let root = self.some_digest(dice);
                let round = proof.later.last().map_or(proof.position, |l| l.position).round.next();
                let position = StepPosition { round, vector: self.some_digest(dice) };
                proof.later.push(LaterStep { position, root });
            }
            15 => {
                if let Some(step) = proof.later.first_mut() {
                    step.root = self.some_digest(dice);
                }
            }
            16 => proof.position = other.map_or(proof.position, |o| o.proof.position),
            // A tree of its own, in which the lie stands.
            _ => {
                let ran = Ran {
                    client: receipt.client,
                    request: receipt.request.clone(),
                    outcome: Some(receipt.outcome.clone()),
                };
                let mut fake = Past::new(self.past.context);
                fake.add_at(proof.position, proof.before, vec![ran.clone(), ran]);
                let index = dice.roll(2);
                (proof.index, proof.path) =
                    (index as u32, fake.steps[0].tree.path(index as u32).expect("two leaves"));
            }
        }
    }

    /// One that liars may know, or make up.
    fn some_digest(&self, dice: &mut Dice) -> Digest {
        let step = dice.pick(&self.past.steps);
        let ran = step.ran.first().map(|r| r.request.digest(&self.past.context, &r.client));
        let made_up = digest(&format!("{}", dice.roll(1000)));
        dice.pick(&[
            Digest::ZERO,
            made_up,
            step.running,
            step.before,
            step.tree.root(),
            step.position.vector,
            ran.unwrap_or(made_up),
        ])
    }

    /// All liars sign whatever the receipt leads to, and it takes along what fits or might.
    fn attest(&self, receipt: &mut Receipt, dice: &mut Dice) {
        let steps = way(receipt, &self.keyring.context());
        let mut signed: Vec<Signed> = Vec::new();
        for liar in &self.liars {
            for _ in 0..1 + dice.roll(2) {
                let step = steps.as_ref().map(|steps| dice.pick(steps));
                let attestation = step.map_or(self.past.attest(0), |step| Attestation {
                    position: step.position,
                    running: step.running,
                    delta_held: true,
                    ..Attestation::default()
                });
                let epoch = Epoch {
                    generation: dice.roll(3) as u32,
                    resets: dice.roll(3) as u32,
                    accused: dice.roll(3) as u32,
                };
                let all = self.keyring.ensemble().all();
                let members = match dice.roll(3) {
                    0 => all,
                    1 => self.liars.iter().copied().collect(),
                    _ => [*liar].into_iter().collect(),
                };
                signed.push(sign(
                    Header { epoch, ..header(*liar, attestation, members) },
                    &self.keyring,
                    0,
                ));
            }
        }
        let fits = |h: &Signed| {
            let a = h.peek().attestation;
            steps.as_ref().is_ok_and(|steps| {
                steps.iter().any(|s| (s.position, s.running) == (a.position, a.running))
            })
        };
        for seen in &self.seen {
            if fits(seen) || dice.once_in(40) {
                signed.push(seen.clone());
            }
        }
        self.bend(&mut signed, steps.ok().and_then(|s| s.last().copied()), dice);
        if !dice.once_in(4) {
            // As a decoder wants it. Which of one replica's headers stays is chance.
            let mut by: Vec<Vec<Signed>> = vec![Vec::new(); 31];
            signed.into_iter().for_each(|h| by[h.peek().replica.index()].push(h));
            signed = by.iter().filter(|of| !of.is_empty()).map(|of| dice.pick(of)).collect();
        }
        signed.truncate(31);
        receipt.proof.signed = signed;
    }

    /// Honest signatures under other words, which no longer are theirs.
    fn bend(&self, signed: &mut [Signed], step: Option<ShownStep>, dice: &mut Dice) {
        for one in signed {
            if !dice.once_in(12) {
                continue;
            }
            let mut header = one.peek().clone();
            match (dice.roll(4), step) {
                (0, _) => header.replica = replica(dice.roll(self.keyring.ensemble().n())),
                (1, _) => header.attestation.rolled = false,
                (_, Some(step)) => {
                    header.attestation.position = step.position;
                    header.attestation.running = step.running;
                }
                (_, None) => {}
            }
            *one = Unverified::new(header, *one.signature());
        }
    }
}

/// What came of some attempts.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    /// Valid, and true.
    given: usize,
    /// Valid, and not true.
    forged: usize,
}

fn attempts(scene: &Scene, count: usize, dice: &mut Dice) -> Tally {
    let mut tally = Tally::default();
    let mut proofs: Vec<ReceiptProof> = Vec::new();
    for _ in 0..count {
        let Some(mut receipt) = scene.begin(dice) else { continue };
        (0..dice.roll(4)).for_each(|_| scene.tamper(&mut receipt, dice));
        scene.attest(&mut receipt, dice);
        match judge(&receipt, &scene.keyring) {
            Err(_) => tally.refused += 1,
            Ok(_) if scene.was_given(&receipt) => tally.given += 1,
            Ok(_) => tally.forged += 1,
        }
        // And what a client would make of all that it was told so far.
        proofs.push(receipt.proof.clone());
        let (who, ask) = (receipt.client, &receipt.request);
        let told = &proofs[proofs.len().saturating_sub(4)..];
        match assemble(who, ask, &receipt.outcome, told, &scene.keyring) {
            Err(_) => tally.refused += 1,
            Ok((made, _)) if scene.was_given(&made) => tally.given += 1,
            Ok(_) => tally.forged += 1,
        }
    }
    tally
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 120,
        ..ProptestConfig::default()
    })]

    /// §6: whatever `t` liars do, no receipt of what was not given is valid.
    #[test]
    fn no_t_liars_make_a_receipt_of_what_was_not_given(seed in any::<u64>(), t in 1..=3u8) {
        let mut dice = Dice::new(seed);
        let scene = Scene::new(t, usize::from(t), &mut dice);
        let tally = attempts(&scene, 60, &mut dice);
        prop_assert_eq!(tally.forged, 0);
    }

    /// C4: whatever rolls back in between, two receipts that are `strong` do not contradict.
    #[test]
    fn no_t_liars_make_two_strong_receipts_that_contradict(seed in any::<u64>(), t in 1..=3u8) {
        let [_, strong] = conflicts(t, usize::from(t), &mut Dice::new(seed));
        prop_assert!(!strong);
    }
}

/// The negative control: the same attempts with one liar more succeed, and with `t` many of them
/// are valid where they tell the truth.
#[test]
fn one_liar_more_makes_receipts_of_anything() {
    let (mut few, mut many) = (Tally::default(), Tally::default());
    for seed in 0..40 {
        for (tally, more) in [(&mut few, 0), (&mut many, 1)] {
            let mut dice = Dice::new(seed);
            let t = 1 + (seed % 3) as u8;
            let scene = Scene::new(t, usize::from(t) + more, &mut dice);
            let Tally { refused, given, forged } = attempts(&scene, 60, &mut dice);
            tally.refused += refused;
            tally.given += given;
            tally.forged += forged;
        }
    }
    println!("t liars: {few:?}; t + 1: {many:?}");
    assert!(few.forged == 0 && few.given > 100 && few.refused > 1000, "{few:?}");
    assert!(many.forged > 100, "{many:?}");
}

/// The same attempts find each planted bug in the judging.
#[test]
fn the_attempts_find_planted_bugs() {
    let names =
        ["s6-signer-counts-twice", "s6-list-believed", "s6-index-unbound", "s6-rounds-apart"];
    for name in names {
        let found = (0..60u64).find(|seed| {
            let mut dice = Dice::new(*seed);
            let scene = Scene::new(1, 1, &mut dice);
            plant(Some(name));
            let tally = attempts(&scene, 60, &mut dice);
            plant(None);
            tally.forged > 0
        });
        println!("{name}: seed {found:?}");
        assert!(found.is_some(), "{name} is not found");
    }
}

// --- two histories ------------------------------------------------------------------------------

/// Whether receipts of `majority`, and of `strong`, come about that contradict each other, where
/// honest replicas go over from one history to another, in any number, and say so afterwards.
fn conflicts(t: u8, liars: usize, dice: &mut Dice) -> [bool; 2] {
    let keyring = keyring(t);
    let common = 1 + dice.roll(3);
    let mut past = Past::new(keyring.context());
    past.grow("both", common, dice);
    let forks = ["left", "right"].map(|fork| {
        let mut past = past.clone();
        let ran = |i| Ran {
            client: client(1),
            request: request(9, i, "ask"),
            outcome: Some(executed(fork)),
        };
        (0..4).for_each(|i| past.add(fork, vec![ran(i)]));
        past
    });
    let mut told: [Vec<Signed>; 2] = Default::default();
    for (place, who) in keyring.ensemble().replicas().enumerate() {
        if place < liars {
            for (fork, told) in forks.iter().zip(&mut told) {
                told.push(signed(who, fork.attest(common), &keyring));
            }
            continue;
        }
        let (mut on, mut height, mut rolled) = (dice.roll(2), common, false);
        for _ in 0..8 {
            match dice.roll(3) {
                // It gives up what it has of one history, and goes on with the other.
                0 => {
                    rolled |= height > common;
                    (on, height) = (1 - on, common);
                }
                1 => height = (height + 1).min(common + 4),
                _ if height > common => {
                    let attestation = Attestation { rolled, ..forks[on].attest(height - 1) };
                    told[on].push(signed(who, attestation, &keyring));
                }
                _ => {}
            }
        }
    }
    let made = [0, 1].map(|on| {
        let mut proof = forks[on].proof((common, 0), common + 3);
        proof.signed = told[on].clone();
        let ran = &forks[on].steps[common].ran[0];
        let outcome = ran.outcome.clone().expect("it was executed");
        let made = assemble(ran.client, &ran.request, &outcome, &[proof], &keyring);
        made.ok().map(|(_, judged)| judged)
    });
    let [Some(left), Some(right)] = made else { return [false; 2] };
    assert!(left.contradicts(&right).is_some());
    let strong = [&left, &right].iter().all(|j| j.assurance == Assurance::Strong);
    [true, strong]
}

/// The negative controls: `majority` receipts do contradict then, and strong ones with one liar
/// more, or if what replicas say of having rolled back is passed over.
#[test]
fn receipts_of_a_majority_contradict_when_honest_replicas_rolled_back() {
    let count = |more: usize, name: Option<&'static str>| {
        let mut found = [0, 0];
        plant(name);
        for seed in 0..2000u64 {
            let t = 1 + (seed % 3) as u8;
            let conflict = conflicts(t, usize::from(t) + more, &mut Dice::new(seed));
            found = [0, 1].map(|i| found[i] + usize::from(conflict[i]));
        }
        plant(None);
        found
    };
    let right = count(0, None);
    let [_, one_more] = count(1, None);
    let [_, planted] = count(0, Some("s6-rolled-is-strong"));
    println!("{right:?} contradict, strong {one_more} with t + 1 liars, {planted} with the plant");
    assert!(right[0] > 100 && right[1] == 0, "{right:?}");
    assert!(one_more > 0 && planted > 0, "{one_more} {planted}");
}
