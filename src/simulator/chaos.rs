//! Faults at random times and places.

use super::network::nanos;
use super::{CrashPoint, Dice, Fault, NodeId, Options};
use std::time::Duration;

/// The stream of the seed that faults are drawn from; kinds that came later have others.
const STREAM: u64 = 2;

/// How many of each kind happen, at random times and places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomFaults {
    /// Links broken.
    pub breaks: u32,
    /// Replicas paused.
    pub pauses: u32,
    /// Directions slowed.
    pub slows: u32,
    /// Wall clocks set forward or back.
    pub steps: u32,
    /// Replicas crashed and started again.
    pub crashes: u32,
    /// Replicas crashed around a write to their disk.
    pub crash_points: u32,
    /// All replicas crashed at once.
    pub power_cuts: u32,
    /// Disks slowed.
    pub slow_disks: u32,
    /// Directions cut, the other one going on; half of them until the link breaks.
    pub cuts: u32,
    /// Directions with a delay a little below or above Δ.
    pub edges: u32,
    /// Replicas with all their links broken.
    pub isolations: u32,
    /// Wall clocks that run up to 10 % too fast or slow.
    pub drifts: u32,
    /// Monotonic clocks that run up to 20 % too fast or slow.
    pub rates: u32,
    /// All of them start within this time.
    pub within: Duration,
    /// Each lasts up to this (a clock's step is up to this, too).
    pub lasts: Duration,
}

impl RandomFaults {
    /// None at all.
    pub const NONE: RandomFaults = RandomFaults {
        breaks: 0,
        pauses: 0,
        slows: 0,
        steps: 0,
        crashes: 0,
        crash_points: 0,
        power_cuts: 0,
        slow_disks: 0,
        cuts: 0,
        edges: 0,
        isolations: 0,
        drifts: 0,
        rates: 0,
        within: Duration::ZERO,
        lasts: Duration::ZERO,
    };

    /// How many faults there are in all.
    pub fn count(&self) -> u32 {
        let old = self.breaks + self.pauses + self.slows + self.steps;
        old + self.newer().into_iter().sum::<u32>()
    }

    fn newer(&self) -> [u32; 9] {
        [
            self.crashes,
            self.crash_points,
            self.power_cuts,
            self.slow_disks,
            self.cuts,
            self.edges,
            self.drifts,
            self.rates,
            self.isolations,
        ]
    }
}

/// The random faults of a run in a fixed order, each with its time: also those that
/// [`Options::only_faults`] leaves out.
pub fn plan(seed: u64, options: &Options) -> Vec<(Duration, Fault)> {
    let all = draw(options, &Dice::new(seed, 0), STREAM);
    all.into_iter().map(|(at, fault)| (Duration::from_nanos(at), fault)).collect()
}

/// The random faults that happen in a run.
pub(super) fn chosen(seed: u64, options: &Options) -> Vec<(u64, Fault)> {
    let all = draw(options, &Dice::new(seed, 0), STREAM).into_iter().enumerate();
    let wanted = |n: &usize| options.only_faults.as_ref().is_none_or(|only| only.contains(n));
    all.filter(|(n, _)| wanted(n)).map(|(_, fault)| fault).collect()
}

/// The faults of a run, each with its time in nanoseconds. Kinds draw from streams of their own,
/// so that leaving one out does not move the others.
fn draw(options: &Options, dice: &Dice, stream: u64) -> Vec<(u64, Fault)> {
    let mut out = older(options, &mut dice.stream(stream));
    for (kind, count) in options.random_faults.newer().into_iter().enumerate() {
        let mut dice = dice.stream(stream + 10 + kind as u64);
        for _ in 0..count {
            let at = dice.below(nanos(options.random_faults.within));
            out.push((at, newer(options, kind, &mut dice)));
        }
    }
    out
}

fn older(options: &Options, dice: &mut Dice) -> Vec<(u64, Fault)> {
    let faults = &options.random_faults;
    let (n, clients) = (replicas(options), u64::from(options.clients));
    let mut out = Vec::new();
    let kinds = [faults.breaks, faults.pauses, faults.slows, faults.steps];
    for (kind, count) in kinds.into_iter().enumerate() {
        for _ in 0..count {
            let at = dice.below(nanos(faults.within));
            let lasts = Duration::from_nanos(dice.between(1, nanos(faults.lasts)));
            let one = dice.below(n);
            let other = (one + 1 + dice.below(n - 1 + clients)) % (n + clients);
            let (a, b) = (node(one, n), node(other, n));
            let fault = match kind {
                0 => Fault::Break(a, b, lasts),
                1 => Fault::Pause(a, lasts),
                2 => Fault::Slow { from: a, to: b, extra: lasts, lasts },
                _ => {
                    let micros = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
                    Fault::Step(a, if dice.chance(500) { micros } else { -micros })
                }
            };
            out.push((at, fault));
        }
    }
    out
}

fn newer(options: &Options, kind: usize, dice: &mut Dice) -> Fault {
    let n = replicas(options);
    let most = nanos(options.random_faults.lasts);
    let lasts = Duration::from_nanos(dice.between(1, most));
    let one = dice.below(n);
    let other = (one + 1 + dice.below(n - 1)) % n;
    let (from, to) = (node(one, n), node(other, n));
    match kind {
        0 => Fault::Crash(from, lasts),
        1 => {
            let point = *dice.pick(&CrashPoint::ALL);
            Fault::CrashAt { node: from, point, nth: dice.between(1, 3), down_for: lasts }
        }
        2 => Fault::PowerCut { from: Duration::from_millis(1), to: lasts },
        3 => {
            let extra = Duration::from_nanos(dice.between(1, 4 * nanos(options.timing.delta)));
            Fault::SlowDisk { node: from, extra, lasts }
        }
        4 => {
            let breaks_after = dice.chance(500).then(|| lasts / 2);
            Fault::Cut { from, to, lasts, breaks_after }
        }
        5 => {
            let (delta, below) = (nanos(options.timing.delta), dice.chance(500));
            let off = dice.between(1, delta / 10);
            let takes = if below { delta - off } else { delta + off };
            Fault::Edge { from, to, takes: Duration::from_nanos(takes), below, lasts }
        }
        6 => Fault::Drift(from, parts(dice, 100_000)),
        7 => Fault::Rate(from, parts(dice, 200_000)),
        _ => Fault::Isolate(from, lasts),
    }
}

// Up to so many parts per million more or less.
fn parts(dice: &mut Dice, most: i64) -> i64 {
    i64::try_from(dice.between(0, 2 * most.unsigned_abs())).unwrap_or(0) - most
}

fn replicas(options: &Options) -> u64 {
    2 * u64::from(options.t) + 1
}

// Replicas first, then clients.
fn node(place: u64, replicas: u64) -> NodeId {
    if place < replicas {
        NodeId::replica(usize::try_from(place).expect("at most 31"))
    } else {
        NodeId::Client(u32::try_from(place - replicas).expect("few clients"))
    }
}
