//! Random walks: for larger groups and longer runs than a search can go through.

use super::moves::Move;
use super::search::{Found, settles, tell};
use super::world::{Options, World};
use crate::simulator::Dice;
use std::collections::BTreeMap;

/// What random walks have seen.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Walks.
    pub walks: u64,
    /// Moves made.
    pub moves: u64,
    /// The first walk that broke a promise, with its number.
    pub found: Option<(u64, Found)>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Goes on `walks` random walks from a seed. Each has up to the options' number of deviations, at
/// random places.
pub fn walk(options: &Options, seed: u64, walks: u64) -> Walked {
    let mut out = Walked::default();
    for number in 0..walks {
        let mut dice = Dice::new(seed, number);
        let found = one(options, &mut dice, &mut out);
        out.walks += 1;
        if let Some(found) = found {
            let mut found = shrink(options, found);
            found.trace = tell(options, &found.moves);
            out.found = Some((number, found));
            break;
        }
    }
    out
}

fn one(options: &Options, dice: &mut Dice, out: &mut Walked) -> Option<Found> {
    let mut world = World::new(options);
    let mut moves = Vec::new();
    let mut left = u64::from(options.deviations);
    // Walks differ in how early their deviations come.
    let chance = u32::try_from(dice.between(5, 300)).unwrap_or(300);
    while !world.is_over() {
        let deviate = left > 0 && dice.chance(chance);
        let step = match deviate {
            true => {
                let all = world.deviations();
                let at = dice.below(all.len() as u64);
                usize::try_from(at).ok().and_then(|at| all.into_iter().nth(at))
            }
            false => world.next(),
        };
        let Some(step) = step else { break };
        left -= u64::from(deviate);
        out.moves += 1;
        moves.push((step.clone(), deviate));
        if let Err(violation) = world.apply(&step) {
            return Some(Found { violation, moves, trace: String::new() });
        }
    }
    for (what, count) in &world.ghost.counts {
        *out.counts.entry(what).or_default() += u64::from(*count);
    }
    let (violation, more) = settles(world).err()?;
    moves.extend(more);
    Some(Found { violation, moves, trace: String::new() })
}

/// The same broken promise with as few deviations as can be found by leaving out one at a time.
fn shrink(options: &Options, mut found: Found) -> Found {
    let mut at = 0;
    while at < deviations(&found.moves).len() {
        let mut fewer = deviations(&found.moves);
        fewer.remove(at);
        match replay(options, &fewer) {
            Some(again) if again.violation.what == found.violation.what => (found, at) = (again, 0),
            _ => at += 1,
        }
    }
    found
}

/// Each deviation with the number of other moves before it.
fn deviations(moves: &[(Move, bool)]) -> Vec<(usize, Move)> {
    let mut before = 0;
    let mut out = Vec::new();
    for (step, deviation) in moves {
        match deviation {
            true => out.push((before, step.clone())),
            false => before += 1,
        }
    }
    out
}

/// A run with these deviations, if it breaks a promise.
fn replay(options: &Options, script: &[(usize, Move)]) -> Option<Found> {
    let mut world = World::new(options);
    let mut moves = Vec::new();
    let mut script = script.iter().peekable();
    let mut before = 0;
    while !world.is_over() {
        let deviation = script.next_if(|(at, _)| *at <= before).map(|(_, step)| step.clone());
        let deviates = deviation.is_some();
        let Some(step) = deviation.or_else(|| world.next()) else { break };
        before += usize::from(!deviates);
        moves.push((step.clone(), deviates));
        if let Err(violation) = world.apply(&step) {
            return Some(Found { violation, moves, trace: String::new() });
        }
    }
    let (violation, more) = settles(world).err()?;
    moves.extend(more);
    Some(Found { violation, moves, trace: String::new() })
}
