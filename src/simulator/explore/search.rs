//! The search: every run with at most so many deviations.

use super::ghost::Violation;
use super::moves::{Move, in_delta};
use super::world::{Options, World};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which, and how.
    pub violation: Violation,
    /// The moves that lead there; deviations are marked.
    pub moves: Vec<(Move, bool)>,
    /// The run in words, one line for each move.
    pub trace: String,
}

/// What a search has seen.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    /// States in which deviations were tried, each once.
    pub states: u64,
    /// Moves made.
    pub moves: u64,
    /// Runs that were gone through to their end, and from there on in a friendly world.
    pub probes: u64,
    /// Whether all runs were seen, within the limit of states.
    pub whole: bool,
    /// The first run found that breaks a promise.
    pub found: Option<Found>,
    /// What happened how often in the runs that were gone through to their end.
    pub counts: BTreeMap<&'static str, u64>,
}

/// How long a friendly world may take until a new request is executed, in moves. Patience for
/// one who is silent, another for the report step, and two for a stalled root take some hundred.
const FRIENDLY: usize = 5_000;

struct Search {
    limit: u64,
    probe_every: u64,
    visited: BTreeMap<u128, u8>,
    path: Vec<(Move, bool)>,
    out: Searched,
}

/// Goes through all runs with up to the options' number of deviations, few first, at most `limit`
/// states for each number. Every `probe_every`-th run is followed to see whether it gets stuck.
pub fn search(options: &Options, limit: u64, probe_every: u64) -> Searched {
    let mut last = Searched::default();
    for deviations in 0..=options.deviations {
        let out = Searched { whole: true, ..Searched::default() };
        let (visited, path) = (BTreeMap::new(), Vec::new());
        let mut search = Search { limit, probe_every, visited, path, out };
        search.run(World::new(options), deviations);
        last = search.out;
        if let Some(found) = &mut last.found {
            found.trace = tell(options, &found.moves);
        }
        if last.found.is_some() || !last.whole {
            break;
        }
    }
    last
}

impl Search {
    fn run(&mut self, mut world: World, left: u8) {
        let depth = self.path.len();
        loop {
            if self.out.found.is_some() || self.out.states >= self.limit {
                self.out.whole &= self.out.states < self.limit;
                break;
            }
            let print = world.fingerprint();
            if self.visited.get(&print).is_some_and(|known| *known >= left) {
                break;
            }
            self.visited.insert(print, left);
            self.out.states += 1;
            if left > 0 {
                self.deviate(&world, left);
            }
            let step = world.next().filter(|_| !world.is_over());
            let Some(step) = step else {
                self.end(world);
                break;
            };
            if !self.make(&mut world, step, false) {
                break;
            }
        }
        if self.out.found.is_none() {
            self.path.truncate(depth);
        }
    }

    fn deviate(&mut self, world: &World, left: u8) {
        for step in world.deviations() {
            let mut other = world.clone();
            if self.make(&mut other, step, true) {
                self.run(other, left - 1);
            }
            if self.out.found.is_some() {
                return;
            }
            self.path.pop();
        }
    }

    /// Makes a move; false if that broke a promise.
    fn make(&mut self, world: &mut World, step: Move, deviation: bool) -> bool {
        self.path.push((step.clone(), deviation));
        self.out.moves += 1;
        match world.apply(&step) {
            Ok(()) => true,
            Err(violation) => {
                self.found(violation);
                false
            }
        }
    }

    fn found(&mut self, violation: Violation) {
        let moves = self.path.clone();
        self.out.found = Some(Found { violation, moves, trace: String::new() });
    }

    fn end(&mut self, world: World) {
        for (what, count) in &world.ghost.counts {
            *self.out.counts.entry(what).or_default() += u64::from(*count);
        }
        self.out.probes += 1;
        if self.out.probes.is_multiple_of(self.probe_every)
            && let Err((violation, moves)) = settles(world)
        {
            self.path.extend(moves);
            self.found(violation);
        }
    }
}

/// Whether a new request is executed by every good replica that is up once nothing goes wrong any
/// more. If not, what happened until then.
pub(super) fn settles(mut world: World) -> Result<(), (Violation, Vec<(Move, bool)>)> {
    let mut moves = Vec::new();
    let good = world.up();
    let mut step = Some(Move::Calm);
    while let Some(next) = step.filter(|_| moves.len() < FRIENDLY) {
        moves.push((next.clone(), false));
        world.apply(&next).map_err(|violation| (violation, moves.clone()))?;
        let new = world.last_request.expect("it came with the first move");
        if good.iter().all(|r| world.ghost.has_executed(r, &new)) {
            return Ok(());
        }
        step = world.next();
    }
    let mut how = String::from("a new request is not executed by all:");
    for at in good.iter() {
        let Some(core) = world.core_of(at) else { continue };
        let call = core.promised().map_or("nothing".to_owned(), |c| c.to_string());
        let _ = write!(
            how,
            " {at} in {} at {:?}, {:?} committed, promised {call}, restarted {};",
            core.epoch(),
            core.complete(),
            core.committed(),
            core.is_restarted(),
        );
    }
    moves.truncate(400);
    Err((Violation { what: "nothing gets stuck", how }, moves))
}

/// A run in words.
pub(super) fn tell(options: &Options, moves: &[(Move, bool)]) -> String {
    let mut world = World::new(options);
    let mut out = String::new();
    for (step, deviation) in moves {
        let mark = if *deviation { '*' } else { ' ' };
        let _ = writeln!(out, "{mark} {} {}", in_delta(world.elapsed()), words(&world, step));
        let ended = world.apply(step);
        for said in &world.ghost.said {
            let _ = writeln!(out, "            {said}");
        }
        if let Err(violation) = ended {
            let _ = writeln!(out, "! {violation}");
        }
    }
    out
}

/// A move in words, with the message that it delivers.
pub(super) fn words(world: &World, step: &Move) -> String {
    let carried = match step {
        Move::Deliver { from, to } => world.link(*from, *to).packets.front(),
        Move::Relay { from, to, nth } => world.link(*from, *to).packets.get(*nth),
        _ => None,
    };
    carried.map_or_else(|| step.to_string(), |packet| format!("{step}: {}", packet.msg))
}
