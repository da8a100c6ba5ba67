//! Which promise a run falls under: that follows from what really happened in it, of which
//! replicas know nothing.

use super::meter::Meter;
use crate::types::{Ensemble, Members, ReplicaId};
use std::fmt;
use std::time::Duration;

/// A row of what is promised. Runs are put into the weakest that may be theirs: whoever lied,
/// stopped or was late once counts for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// At most t replicas lied or stopped, and all others kept to Δ: everything is promised.
    InModel,
    /// Nobody lied, but more were late or stopped: safety, and liveness once that is over.
    Honest,
    /// At most t replicas lied, stopped or were late: everything is promised, a late one counting
    /// as bad.
    Budget,
    /// Somebody lied, and more than t were bad in all: no crash, and no false accusation.
    Anarchy,
    /// More than t lied: no crash.
    Lost,
}

impl Cell {
    /// All of them.
    pub const ALL: [Cell; 5] =
        [Cell::InModel, Cell::Honest, Cell::Budget, Cell::Anarchy, Cell::Lost];

    /// The cell of a run with these liars, as far as the world has measured it.
    pub fn of(ensemble: Ensemble, liars: Members, meter: &Meter, delta: Duration) -> Self {
        let t = ensemble.t();
        if liars.len() > t {
            return Cell::Lost;
        }
        let stopped = meter.crashed().minus(liars);
        let others = ensemble.all().minus(liars).minus(stopped);
        let late = meter.late(others, delta);
        let bad = liars.len() + stopped.len();
        match t.checked_sub(bad).map(|rest| is_covered(&late, Members::NONE, rest)) {
            Some(true) if late.is_empty() => Cell::InModel,
            Some(true) => Cell::Budget,
            _ if liars.is_empty() => Cell::Honest,
            _ => Cell::Anarchy,
        }
    }

    /// Whether no two good replicas may differ and no client may be deceived.
    pub fn is_safe(self) -> bool {
        matches!(self, Cell::InModel | Cell::Honest | Cell::Budget)
    }

    /// Whether every call must be answered, whatever goes on.
    pub fn is_live(self) -> bool {
        matches!(self, Cell::InModel | Cell::Budget)
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Cell::InModel => "C0 in the model",
            Cell::Honest => "C1 nobody lies",
            Cell::Budget => "C2 within the budget",
            Cell::Anarchy => "C3 beyond the budget",
            Cell::Lost => "C4 too many liars",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// Whether leaving out at most so many replicas leaves no late pair: one of each pair has to go.
fn is_covered(late: &[(ReplicaId, ReplicaId)], out: Members, most: usize) -> bool {
    let open = late.iter().find(|(a, b)| !out.contains(*a) && !out.contains(*b));
    let Some((a, b)) = open else { return true };
    most > 0
        && [*a, *b].into_iter().any(|replica| {
            let mut out = out;
            out.insert(replica);
            is_covered(late, out, most - 1)
        })
}

#[cfg(test)]
mod tests {
    use super::super::NodeId;
    use super::*;

    const DELTA: Duration = Duration::from_millis(20);
    const MS: u64 = 1_000_000;

    fn some(places: &[usize]) -> Members {
        places.iter().map(|p| ReplicaId::from_index(*p)).collect()
    }

    fn cell(t: u8, liars: &[usize], crashed: &[usize], late: &[(usize, usize)]) -> Cell {
        let mut meter = Meter::default();
        crashed.iter().for_each(|p| meter.on_crashed(NodeId::replica(*p)));
        for (from, to) in late {
            meter.on_transit(NodeId::replica(*from), NodeId::replica(*to), 20 * MS + 1);
        }
        Cell::of(Ensemble::new(t).unwrap(), some(liars), &meter, DELTA)
    }

    #[test]
    fn the_cell_follows_from_who_lied_stopped_and_was_late() {
        assert_eq!(cell(1, &[], &[], &[]), Cell::InModel);
        assert_eq!(cell(1, &[0], &[], &[]), Cell::InModel);
        assert_eq!(cell(1, &[], &[2], &[(2, 0), (1, 2)]), Cell::InModel);
        // One of the two counts as bad.
        assert_eq!(cell(1, &[], &[], &[(0, 1)]), Cell::Budget);
        assert_eq!(cell(1, &[], &[], &[(1, 0), (2, 1)]), Cell::Budget);
        assert_eq!(cell(1, &[], &[], &[(1, 0), (2, 1), (0, 2)]), Cell::Honest);
        assert_eq!(cell(1, &[], &[0, 1], &[]), Cell::Honest);
        assert_eq!(cell(1, &[0], &[1], &[]), Cell::Anarchy);
        assert_eq!(cell(1, &[0], &[], &[(1, 2)]), Cell::Anarchy);
        assert_eq!(cell(2, &[0], &[], &[(1, 2)]), Cell::Budget);
        assert_eq!(cell(2, &[0], &[], &[(1, 2), (3, 4)]), Cell::Anarchy);
        assert_eq!(cell(2, &[0], &[0], &[(1, 2), (0, 4)]), Cell::Budget, "counted once");
        assert_eq!(cell(1, &[0, 1], &[], &[]), Cell::Lost);
        // A star is covered by its middle, four crossing pairs by no two.
        let star: Vec<_> = (1..7).map(|p| (0, p)).collect();
        assert_eq!(cell(3, &[1], &[2], &star), Cell::Budget);
        assert_eq!(cell(3, &[6], &[], &[(0, 1), (2, 3), (4, 5)]), Cell::Anarchy);
    }

    #[test]
    fn exactly_delta_is_in_time_with_what_holds_up_either_end() {
        let (a, b) = (NodeId::replica(0), NodeId::replica(1));
        let late = |meter: &Meter| meter.late(some(&[0, 1, 2]), DELTA).len();
        let mut meter = Meter::default();
        meter.on_transit(a, b, 15 * MS);
        meter.on_held(a, 2 * MS);
        meter.on_held(b, 3 * MS);
        assert_eq!(late(&meter), 0);
        meter.on_held(b, 3 * MS + 1);
        assert_eq!(late(&meter), 1);
        meter.on_held(NodeId::replica(2), 50 * MS);
        assert_eq!(late(&meter), 3, "paused for longer than Δ");
        meter.on_lost(NodeId::Client(1), a);
        let mut meter = Meter::default();
        meter.on_lost(b, a);
        assert_eq!(late(&meter), 1);
    }
}
